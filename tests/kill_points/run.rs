//! What the test crates share: the words of a message, how long anything may take, and the
//! tests. Each crate brings its kind of message (`plain.rs`, `blocks.rs`) as `kind`.

use super::kind;
use super::plan::{ENOUGH, Size, Work};
use super::{lane, plan, table, victim};
use crate::common::{self, Role, Sandbox};
use ringway::{Consumer, GetError, Side, TaskError};
use std::time::{Duration, Instant};

pub const ROLES: &[Role] =
    &[("lane", lane::role_lane), ("victim", victim::role_victim), ("sleeper", victim::role_sleeper)];

/// Three words, so that a torn one shows, and two share a line where both sides are Single.
pub type Message = [u64; 3];

pub fn message(producer: u64, number: u64) -> Message {
    let word = common::ledger::message(producer as usize, number);
    [word, !word, word.wrapping_mul(3)]
}

/// The word that stands for it.
pub fn number(message: Message) -> Result<u64, String> {
    let [word, ..] = message;
    if message == [word, !word, word.wrapping_mul(3)] { Ok(word) } else { Err(format!("torn: {message:x?}")) }
}

/// What was got is done, where that is asked for.
pub fn taken(consumer: &Consumer<kind::Kind>, got: Result<kind::Out, GetError>) -> Result<kind::Out, GetError> {
    if got.is_ok() {
        let done = consumer.task_done();
        assert!(matches!(done, Ok(()) | Err(TaskError::NotJoinable)), "{done:?}");
    }
    got
}

pub const NAME: &str = "q";
/// Small and odd: every position is soon met again, and the last block is shorter.
pub const CAPACITY: u64 = 5;
pub const BATCH: usize = 3;
/// The longest that a survivor may wait for anything.
pub const LIMIT: Duration = Duration::from_secs(2);
/// The longest that one point may take, in seconds.
pub const ALARM_S: u32 = 40;

/// How the dead are found, or whether the victim is not dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Recover,
    Wait,
    /// One consumer waits, and nobody does anything else: for a message behind the dead one's,
    /// or for the end of a queue that was closed before the death.
    Alone {
        spins: bool,
    },
    Closed {
        spins: bool,
    },
    /// Nobody waits, nor asks for a recovery: each call finds what is in its way.
    Try,
    Join,
    Stop,
}

impl How {
    /// Somebody asks for a recovery.
    pub fn is_told(self) -> bool {
        matches!(self, How::Recover | How::Join | How::Stop)
    }

    pub fn is_alone(self) -> bool {
        matches!(self, How::Alone { .. } | How::Closed { .. })
    }
}

fn is_full() -> bool {
    std::env::var("KILL_POINTS").is_ok_and(|size| size == "full")
}

fn size() -> Size {
    if is_full() {
        // Every point of every row would be half a million: hours.
        Size { some: 60, few: 30, more: 60, waits: (2, 1) }
    } else if cfg!(debug_assertions) {
        // Other code than what ships: only whether the test itself works.
        Size { some: 4, few: 2, more: 4, waits: (0, usize::MAX) }
    } else {
        Size { some: 8, few: 4, more: 8, waits: (1, 10) }
    }
}

pub fn limit() -> Duration {
    Duration::from_secs(if is_full() { 3 * 3600 } else { 600 })
}

/// All that failed, or how many points there were.
fn report(what: &str, begun: Instant, result: &plan::Result) {
    if is_full() || std::env::var_os("KILL_POINTS").is_some() {
        result.lengths.iter().for_each(|(cell, steps)| println!("{cell}: {steps} steps"));
    }
    let absent = &result.absent;
    println!("{what}: {} points in {:.0?}; states that do not exist: {absent:?}", result.points, begun.elapsed());
    assert!(result.failed.is_empty(), "{} failed:\n{}", result.failed.len(), result.failed.join("\n"));
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn at_every_instruction() {
    let mut cells = plan::cells();
    if cfg!(debug_assertions) {
        println!("not the code that ships: a sample; see the head of this file");
        cells.iter_mut().for_each(|cell| {
            if let Work::Cell { share, is_whole, .. } = cell {
                (*share, *is_whole) = (table::Share::Some, false);
            }
        });
    }
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let result = plan::run(&sandbox, cells, size(), ENOUGH, &[]);
    report("killed once", begun, &result);
    let least = if is_full() {
        5_000
    } else if cfg!(debug_assertions) || std::env::var_os("KILL_ROWS").is_some() {
        0
    } else {
        3_000
    };
    assert!(result.points >= least, "{} points", result.points);
}

/// The second victim looks after the first: one that was there before, where its side is not Single,
/// and one who comes.
#[test]
fn the_rescuer_too() {
    let (first, each) = if is_full() {
        (12, 9)
    } else if cfg!(debug_assertions) {
        (2, 1)
    } else {
        (4, 3)
    };
    let mut work = Vec::new();
    for cell in kind::PAIRS {
        for second in ["recover", "try_get", "try_put", "open"] {
            work.push(Work::Pairs { cell: (*cell).to_owned(), second, first, each });
        }
    }
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let result = plan::run(&sandbox, work, size(), ENOUGH, &[]);
    report("killed twice", begun, &result);
    let least = if is_full() {
        1_500
    } else if cfg!(debug_assertions) {
        0
    } else {
        200
    };
    assert!(result.points >= least, "{} points", result.points);
}

/// Whoever comes or begins looks for the dead, and so do all who wait: here one who has begun long ago
/// waits, parked or spinning, and nobody does anything else. Also where the queue was closed, which ends
/// no wait while a dead one is in the way.
#[test]
fn who_waits_alone_finds_the_dead() {
    let modes = table::MODES.iter().filter(|(_, sides)| kind::has_mode(*sides));
    let work = modes.map(|(mode, (producers, _))| Work::Alone {
        cell: format!("put,empty,{mode}"),
        // Behind a Single producer nobody puts.
        hows: if *producers == Side::Multi {
            &["alone", "alone-spin", "closed", "closed-spin"]
        } else {
            &["closed", "closed-spin"]
        },
    });
    report_of("beside one who waits alone", work.collect());
}

/// Whoever succeeds a dead Single producer holds its side before the claim is finished, and looks after the
/// dead then: what was placed there must not be forgotten. In this state the newcomer has a place of its
/// own; otherwise it gets the dead one's, and looks before it holds the side.
pub fn beside_a_successor() -> Vec<Work> {
    let modes = table::MODES.iter().filter(|(_, sides)| kind::has_mode(*sides));
    let single = modes.filter(|(_, sides)| *sides == (Side::Single, Side::Multi));
    single.map(|(mode, _)| Work::Unpublished { cell: format!("put,lease-back,{mode}") }).collect()
}

#[test]
fn a_successor_finishes_everything() {
    report_of("beside a successor", beside_a_successor());
}

/// Does all of `work`, of which each has a few points.
fn report_of(what: &str, work: Vec<Work>) {
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let least = 3 * work.len();
    let result = plan::run(&sandbox, work, size(), ENOUGH, &[]);
    report(what, begun, &result);
    assert!(result.points >= least, "{} points", result.points);
}

#[test]
fn replay() {
    let Ok(point) = std::env::var("KILL_POINT") else { return };
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let result = plan::run(&sandbox, vec![Work::Points(vec![point])], size(), 1, &[]);
    report("replayed", begun, &result);
}

/// Runs points with a mistake in the library, and says whether that showed.
#[cfg(ringway_seeded)]
pub fn shows(seed: &str, work: Vec<Work>) -> bool {
    let sandbox = Sandbox::with_limit(limit());
    let more = if seed == "0" { 20 } else { u64::MAX };
    let size = Size { some: 200, few: 0, more, waits: (0, usize::MAX) };
    let result = plan::run(&sandbox, work, size, 1, &[("RINGWAY_SEEDED", seed)]);
    println!("seed {seed}: {:?} after {} points", result.failed, result.points);
    !result.failed.is_empty()
}

/// All points of a cell.
#[cfg(ringway_seeded)]
pub fn all_of(cell: &str) -> Vec<Work> {
    vec![Work::Cell { cell: cell.to_owned(), share: table::Share::All, is_whole: true }]
}

/// A sample of them: where there is no mistake, none may show one.
#[cfg(ringway_seeded)]
pub fn some_of(cell: &str) -> Vec<Work> {
    vec![Work::Cell { cell: cell.to_owned(), share: table::Share::Some, is_whole: true }]
}
