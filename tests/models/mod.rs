//! Explicit-state models of the ring protocol (`src/ring/PROTOCOL.md`).
//!
//! - [`engine`]: the search; knows nothing of rings.
//! - [`broadcast`]: subscribers with cursors of their own, who join, leave and die; producers that wait or overwrite.
//! - [`cells`]: leases and large messages: rows and blocks as one cell machine, husks, house-keeping, re-use of an index.
//! - [`chunks`]: a ring that grows, gives its pages back, or lets its next chunk take them.
//! - [`single_producer`]: a Single producer that claims in the slot itself, under store buffers.
//! - [`sleep`]: arming, barriers, epochs and wake-ups, under store buffers.
//! - [`slices`]: what a waiter looks at while it waits, batches with torn intents, newcomers that finish intents.
//! - [`spsc`]: a Single producer and a Single consumer, blocks of cells with one stamp, an end that is settled once.
//!
//! A model is a rule book in code: each file begins with its numbered rules, says what it leaves out, and has *seeded
//! bugs*, one broken rule each. A bug that the search does not find fails the test, because then the model proves nothing.
//!
//! Nothing here uses the crate's own code: the models are about the rules, not about the implementation.

pub mod broadcast;
pub mod cells;
pub mod chunks;
pub mod engine;
pub mod single_producer;
pub mod sleep;
pub mod slices;
pub mod spsc;

use engine::{Model, Outcome, Report, explore};
use std::sync::{Mutex, PoisonError};

/// "Nobody", "no position", "no cell".
pub const NONE: u8 = u8::MAX;

/// The upper limit of one search: a default configuration that reaches it fails.
pub const STATE_LIMIT: usize = 6_000_000;

/// The same for the configurations behind `RINGWAY_MODEL_LONG=1`.
pub const STATE_LIMIT_LONG: usize = 40_000_000;

/// What a stamp says about its position. The order is the order in time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tag {
    /// May be claimed by a producer (or is claimed and not yet published).
    Free,
    /// Published.
    Full,
    /// Its writer died: nothing here.
    Tomb,
    /// Its reader died: the message is to be delivered again.
    Back,
}

/// A slot's stamp. `attempt` counts the dead readers of this position.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp {
    pub pos: u8,
    pub tag: Tag,
    pub attempt: u8,
}

impl Stamp {
    pub fn new(pos: u8, tag: Tag) -> Self {
        Stamp { pos, tag, attempt: 0 }
    }

    /// The same position and attempt under another tag.
    pub fn tagged(self, tag: Tag) -> Self {
        Stamp { tag, ..self }
    }

    /// The stamp of a released slot: free for the position one lap later.
    pub fn released(self, capacity: u8) -> Self {
        Stamp::new(self.pos + capacity, Tag::Free)
    }
}

/// Is this stamp's position one that recovery may have to finish? (`tail` and `head` are read before the stamp.)
pub fn unfinished(stamp: Stamp, tail: u8, head: u8) -> bool {
    match stamp.tag {
        Tag::Free => stamp.pos < tail,
        Tag::Full | Tag::Tomb => stamp.pos < head,
        Tag::Back => false,
    }
}

/// True if the larger configurations were asked for.
pub fn long_run() -> bool {
    std::env::var("RINGWAY_MODEL_LONG").is_ok_and(|value| value == "1")
}

/// Searches need much memory: one at a time, whatever the number of test threads.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn search<M: Model>(model: &M, limit: usize) -> Report {
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    explore(model, limit)
}

/// The model must hold, and the search must have seen every state.
pub fn assert_holds<M: Model>(name: &str, model: &M, limit: usize) {
    let report = search(model, limit);
    let (states, elapsed) = (report.states, report.elapsed);
    match report.outcome {
        Outcome::Holds { rests } => {
            println!("{name}: holds, {states} states, {rests} at rest, {elapsed:.2?}");
            assert!(rests > 0, "{name}: no state is at rest");
        }
        Outcome::Fault { what, trace } => panic!("{name}: {what}, {states} states\n{trace}"),
        Outcome::Stuck { trace } => panic!("{name}: stuck, {states} states\n{trace}"),
        Outcome::Limit => panic!("{name}: stopped at {limit} states, nothing is proven"),
    }
}

/// How a seeded bug must show.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Caught {
    /// By this fault.
    Fault(&'static str),
    /// By a state from which rest cannot be reached.
    Stuck,
}

/// The model must fail, and in the expected way.
pub fn assert_caught<M: Model>(name: &str, model: &M, expected: Caught) {
    let report = search(model, STATE_LIMIT);
    let (found, trace) = match report.outcome {
        Outcome::Fault { what, trace } => (Caught::Fault(what), trace),
        Outcome::Stuck { trace } => (Caught::Stuck, trace),
        other => panic!("{name}: not caught: {other:?}, {} states", report.states),
    };
    let steps = trace.lines().count() - 1;
    println!("{name}: caught, {found:?} after {steps} events, {} states, {:.2?}", report.states, report.elapsed);
    if std::env::var("RINGWAY_MODEL_TRACE").is_ok() {
        println!("{trace}");
    }
    assert_eq!(found, expected, "{name}: caught in another way\n{trace}");
}
