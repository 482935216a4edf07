//! A Single producer without `tail`: the claim of a position is a stamp in the slot's own line.
//!
//! ```text
//! floor < FREE(p) < CLAIM(p) = FREE(p) | 1 < FULL(p) < TOMB(p)
//! Single consumer: the floor is FREE(p) of a new ring, or FULL(p - n) or TOMB(p - n); free(p) is p - taken < n.
//! Multi consumers: free(p) is stamp(p) = FREE(p), stamped by the commit of p - n.
//! ```
//!
//! # Rules
//!
//! - **P1** `put` at its private cursor t: free check, stamp ← CLAIM(t), *then* read `closed`, payload, stamp ← FULL(t).
//!   Plain stores, no fence, one line; `put_many` does the same for each message.
//! - **P2** If P1 finds it closed: stamp ← TOMB(t), and `Closed(v)`. A put that is not free and finds it closed says
//!   `Closed(v)` too. No put follows one that saw closed.
//! - **P3** A successor takes the role byte, then looks for its start: from `taken` (`head` with Multi consumers) the
//!   first p with stamp(p) < FULL(p). CLAIM(p), left by the dead: one CAS to TOMB(p), and whatever that says, start at
//!   p + 1. Else start at p. So CLAIM(p) never comes back.
//! - **R1** Anybody may tombstone a dead claim, at any time: read CLAIM(p), *then* find the role byte free, *then* one
//!   CAS CLAIM(p) → TOMB(p). While the queue is open nobody has to.
//! - **R2** A dead consumer's position h < `head` (Multi): read the stamp, then every get intent; if one covers h and
//!   its byte is held: later. Else one CAS: FULL → BACK, TOMB → FREE(h + n).
//! - **G1** A consumer that reads less than FULL at its head and sees `closed` makes the membarrier (once per handle,
//!   after it saw closed), and decides by what it reads after that: FULL and TOMB as ever; CLAIM: wait, or R1; floor:
//!   `Closed`.
//! - **G2** Multi consumers: `Closed` only if every slot of the window h..h + n (`head` read after the membarrier) reads
//!   exactly FREE of its position, without attempt bits.
//! - **G3** Single: the commit is the store of `taken`. Multi: get intent, CAS of `head` (or of BACK_a to FULL_{a+1}),
//!   copy; the commit is FREE(h + n) *without attempt bits* (with them it could say CLAIM). The intent is cleared when
//!   a claim fails and when a call returns without work.
//! - **L1** `len` is a binary search from `taken` or `head` for the first p with stamp(p) < FULL(p).
//! - **F1** Fence mode: no membarrier; the producer fences between CLAIM and the load of `closed`.
//!
//! Every seeded [`Bug`] names the rule it breaks.
//!
//! # Checked
//!
//! Once a get has said `Closed`, every acknowledged message is delivered, and none is acknowledged later; no message is
//! delivered twice; a Single consumer gets them in order; a slot's stamp only grows; `len` is an end that the queue had
//! while it was searched. At rest (reachable from everywhere without a further death): every live consumer has said
//! `Closed`, or, if nobody closes, has delivered every acknowledged message; the producer is through.
//!
//! # Store buffers
//!
//! Under [`Memory::Tso`] the producer's stores go through a buffer that reaches memory in order, one at a time and at
//! any time; so does a Single consumer's `taken`. A CAS and the membarrier drain them, and so does a death: the kernel
//! frees the role byte after the last thread is gone, and loses no retired store. Multi consumers are sequentially
//! consistent. A message counts as acknowledged when FULL enters the buffer, which is stricter than the return of put.
//!
//! # Left out
//!
//! Sleeping and waking (a waiter asks again and again); the published `tail`, which no rule reads; cached bounds (they
//! lag, which only makes "not free" last longer); torn intents, re-use of an index, cells; weaker memory than TSO.
//! A recoverer stands for any process that looks, and stops between any two steps: so its death adds nothing. A handle
//! that leaves alive looks like a death between calls.
//!
//! Merged steps, none of which loses a behaviour: the free check and the CLAIM (what is free stays free, the store is
//! private); reading `head`, the stamps there and storing the get intent (the claim succeeds only if nothing moved);
//! `head` and the stamp in R2 (`head` only grows); reading an intent and testing its life byte.

mod consumers;
mod lookers;
mod producer;
#[cfg(test)]
mod tests;

use super::engine::{Kind, Model, Next};
use super::{NONE, Stamp, Tag};
use consumers::{Consumer, Get};
use lookers::{Len, Recoverer};
use producer::{Put, Store};

/// Seeded bugs and the rule each one breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// P1: no CLAIM at all.
    NoClaim,
    /// P1: `closed` is read before the CLAIM.
    ClosedBeforeClaim,
    /// P2: the CLAIM stays.
    RefusedClaimStays,
    /// P2: a put that is not free waits on, closed or not.
    FullNeverClosed,
    /// P3: the successor starts at p and claims it again.
    SuccessorOverwrites,
    /// P3: the successor starts at p + 1 and leaves CLAIM(p).
    SuccessorSkips,
    /// P3: the successor starts at the published `tail`.
    SuccessorTrustsHint,
    /// R1: the role byte is not tested.
    ByteNotTested,
    /// R1: the role byte is tested before the stamp is read.
    ByteBeforeStamp,
    /// R1: the TOMB is stored, not swapped.
    TombByStore,
    /// G1: no membarrier.
    NoBarrier,
    /// G1: the membarrier comes before the load of `closed`.
    BarrierBeforeClosed,
    /// G1: what was read before the membarrier decides.
    NoSecondLook,
    /// G1, G2: CLAIM counts as floor.
    ClaimIsFloor,
    /// G1, G2: `Closed` if the head equals the published `tail`.
    ClosedByHint,
    /// G2: only the slot of the head is read.
    HeadSlotOnly,
    /// G3: FREE keeps the attempt bits.
    AttemptKept,
    /// G3: a get returns before `taken` is stored.
    TakenLate,
    /// L1: a CLAIM counts as a message.
    LenCountsClaim,
    /// F1: fence mode without the fence.
    NoFence,
}

/// How stores reach memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// At once.
    Sequential,
    /// Through store buffers; a consumer that saw closed drains them.
    Tso,
    /// Through store buffers; rule F1.
    Fence,
}

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub capacity: u8,
    /// Two Multi consumers, or a Single one.
    pub multi: bool,
    pub memory: Memory,
    /// How many messages are put, by the producer and its successors together.
    pub messages: u8,
    /// The most that one get takes.
    pub batch: u8,
    /// Somebody closes, at any moment.
    pub close: bool,
    pub producer_deaths: u8,
    pub successors: u8,
    pub consumer_deaths: u8,
    /// Consumers that take the place of a dead Single one.
    pub heirs: u8,
    pub recoverers: u8,
    /// Somebody asks for `len` all the time.
    pub observed: bool,
    pub bug: Option<Bug>,
}

const SLOTS: usize = 2;
const CONSUMERS: usize = 2;
/// At most `capacity` positions are in flight, with three stores each.
const BUFFER: usize = 6;

/// Who acts, in traces.
const PRODUCER: u8 = 0;
const CONSUMER: u8 = 1;
const RECOVERER: u8 = 3;
const OBSERVER: u8 = 5;
const CLOSER: u8 = 6;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    stamps: [Stamp; SLOTS],
    payloads: [u8; SLOTS],
    /// `taken` with a Single consumer, `head` with Multi consumers.
    head: u8,
    /// The hint; it moves only for the bugs that read it.
    tail: u8,
    closed: bool,
    put: Put,
    /// The producer's store buffer, oldest first.
    buffer: [Store; BUFFER],
    consumers: [Consumer; CONSUMERS],
    recoverers: [Recoverer; 2],
    len: Len,
    /// The next message to put.
    next: u8,
    producer_deaths: u8,
    successors: u8,
    consumer_deaths: u8,
    heirs: u8,
    // For the checks only:
    acked: u8,
    delivered: u8,
    /// Some get has said `Closed`.
    over: bool,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fault {
    Duplicate,
    Disorder,
    Shrunk,
    WrongLen,
}

pub const LOST: &str = "Closed, and an acknowledged message is undelivered";
pub const DUPLICATE: &str = "a message is delivered twice";
pub const DISORDER: &str = "a message overtakes another";
pub const SHRUNK: &str = "a stamp does not grow";
pub const WRONG_LEN: &str = "len is an end that never was";

fn free(pos: u8) -> Stamp {
    Stamp::new(pos, Tag::Free)
}

fn claim(pos: u8) -> Stamp {
    let attempt = 1;
    Stamp { attempt, ..free(pos) }
}

fn full(pos: u8) -> Stamp {
    Stamp::new(pos, Tag::Full)
}

fn tomb(pos: u8) -> Stamp {
    Stamp::new(pos, Tag::Tomb)
}

/// The model of one configuration.
pub struct SingleProducer(pub Config);

type Out = Vec<Next<State>>;

fn push(out: &mut Out, kind: Kind, who: u8, what: &'static str, mut state: State) {
    state.recoverers.sort_unstable_by(|a, b| b.cmp(a)); // they are alike; an unused one stays last
    state.over |= state.consumers.iter().any(|c| c.pc == Get::Closed);
    out.push(Next { state, kind, who, what });
}

fn step(out: &mut Out, who: u8, what: &'static str, state: State) {
    push(out, Kind::Step, who, what, state);
}

impl SingleProducer {
    fn bug(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    fn slot(&self, pos: u8) -> usize {
        usize::from(pos % self.0.capacity)
    }

    /// What the slot of `pos` says in memory.
    fn stamp(&self, s: &State, pos: u8) -> Stamp {
        s.stamps[self.slot(pos)]
    }

    fn stamps<'s>(&self, s: &'s State) -> &'s [Stamp] {
        &s.stamps[..usize::from(self.0.capacity)]
    }

    fn consumers<'s>(&self, s: &'s State) -> &'s [Consumer] {
        &s.consumers[..if self.0.multi { CONSUMERS } else { 1 }]
    }

    /// A stamp reaches memory. (With a seeded bug it is the visible harm that counts, not the stamp that shrinks.)
    fn set(&self, s: &mut State, stamp: Stamp) {
        let slot = self.slot(stamp.pos);
        if stamp <= s.stamps[slot] && self.0.bug.is_none() {
            s.fault = Some(Fault::Shrunk);
        }
        s.stamps[slot] = stamp;
    }

    /// CLAIM(p) → TOMB(p), by CAS.
    fn bury(&self, s: &mut State, pos: u8, by_store: bool) {
        if by_store || self.stamp(s, pos) == claim(pos) {
            self.set(s, tomb(pos));
        }
    }
}

impl Model for SingleProducer {
    type State = State;

    fn initial(&self) -> State {
        let c = &self.0;
        let mut stamps = [free(0); SLOTS];
        for pos in c.capacity..2 * c.capacity {
            stamps[self.slot(pos)] = free(pos);
        }
        let second = if c.multi { Get::Look } else { Get::Dead };
        let consumer = |pc| Consumer::new(pc, c.capacity);
        State {
            stamps,
            payloads: [NONE; SLOTS],
            head: c.capacity,
            tail: c.capacity,
            closed: false,
            put: Put::Idle(c.capacity),
            buffer: [Store::Nothing; BUFFER],
            consumers: [consumer(Get::Look), consumer(second)],
            recoverers: [Recoverer::Idle; 2],
            len: Len::Idle,
            next: 0,
            producer_deaths: c.producer_deaths,
            successors: c.successors,
            consumer_deaths: c.consumer_deaths,
            heirs: c.heirs,
            acked: 0,
            delivered: 0,
            over: false,
            fault: None,
        }
    }

    fn fault(&self, s: &State) -> Option<&'static str> {
        match s.fault {
            None => (s.over && s.acked & !s.delivered != 0).then_some(LOST),
            Some(Fault::Duplicate) => Some(DUPLICATE),
            Some(Fault::Disorder) => Some(DISORDER),
            Some(Fault::Shrunk) => Some(SHRUNK),
            Some(Fault::WrongLen) => Some(WRONG_LEN),
        }
    }

    fn at_rest(&self, s: &State) -> bool {
        let mut living = self.consumers(s).iter().filter(|c| c.pc != Get::Dead);
        let deserted = living.clone().count() == 0;
        let through = match s.put {
            Put::Gone | Put::Refused => true,
            Put::Idle(_) => s.next == self.0.messages || deserted && !self.0.close,
            _ => false,
        };
        let last = if self.0.close { Get::Closed } else { Get::Look };
        through
            && s.buffer[0] == Store::Nothing
            && s.recoverers == [Recoverer::Idle; 2]
            && s.len == Len::Idle
            && living.all(|c| c.pc == last)
            && (deserted || s.acked & !s.delivered == 0)
    }

    fn successors(&self, s: &State, out: &mut Out) {
        self.producer(s, out);
        self.store_buffers(s, out);
        for me in 0..self.consumers(s).len() {
            self.consumer(s, me, out);
        }
        for me in 0..usize::from(self.0.recoverers) {
            self.recoverer(s, me, out);
        }
        if self.0.observed {
            self.observer(s, out);
        }
        if self.0.close && !s.closed {
            let closed = true;
            step(out, CLOSER, "closes", State { closed, ..*s });
        }
    }
}
