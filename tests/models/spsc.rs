//! Single producer, Single consumer: blocks of cells that share one stamp, and an end that is settled once.
//!
//! ```text
//! stamp[b]   positions below it are published in block b; stored by the producer alone, only grows
//! cell[p % n], block(p) = p % n / m
//! taken      the consumer's cursor
//! closed     a flag
//! end        0, or the position at which the queue ends; set once, by CAS 0 -> E
//! ```
//!
//! Positions begin at n. `published(q)` is `stamp[block(q)] > q`; the published positions are a prefix.
//!
//! # Rules
//!
//! - **S1** `put` of k messages from p on, when p + k <= taken + n: the cells, then the stamps in the order of
//!   positions, one store for each piece of the batch that lies in one block *and one lap*; all plain stores, no
//!   fence. *Then* load `closed`: if 0, `Ok`. A put that is not free and finds it closed says `Closed` and has stored
//!   nothing.
//! - **S2** Closed: CAS end 0 -> p + k. E is what `end` then is: below E the batch is in, the rest is given back.
//! - **S3** Anybody who has seen `closed`, and has made the membarrier after that, may seal: load `end`; if 0, scan
//!   from `taken` for the first position that is not published, and CAS end 0 -> that. If all n are published and
//!   `taken` has moved: scan again; if it has not moved, E' = taken + n.
//! - **S4** `get` at p = taken, published up to min(stamp, end of the block in this lap): copy; the consumer may store
//!   the same values back into the cells; taken <- p + k; *then* load `closed`. If it is set: membarrier, S3, and what
//!   lies at E or after is not returned. Once E is known nothing is loaded any more but stamps and cells below E.
//! - **S5** Nothing published at p, and `closed` seen: membarrier, S3; `Closed` if p >= E, else look again.
//! - **S6** A successor of the producer takes the role (a full barrier), refuses if `closed`, and starts at the first
//!   position from `taken` on that is not published. A successor of the consumer starts at `taken`.
//! - **S7** With [`Config::strict`]: a put loads `closed` before its first store, too; if it is set the put says
//!   `Closed` and has stored nothing (so no CAS).
//! - **F1** Fence mode: no membarrier; the producer fences between the last stamp and the load of `closed`.
//!
//! The ring (`src/ring/spsc.rs`, where these are the rules S1 to S7) is stricter: it follows S7, loads `closed` per
//! stamp ([`Freedom::CheckPerStamp`]) instead of S4's load after each commit, and scans once. [`BUILT`] is that form;
//! the weaker ones are kept because they show what each rule is for.
//!
//! Every seeded [`Bug`] names the rule it breaks. A [`Freedom`] is a weaker rule that must hold, too.
//!
//! # Checked
//!
//! An acknowledged message lies below the end, and is committed once `Closed` or "finished" is said; a refused message
//! is never returned; no message is committed twice; messages come in order; a copied cell holds the message of its
//! position; no store of the producer reaches a cell whose position is not committed in memory; what is returned lies
//! below the end; a producer that took the role after the close (S7: any put that began after it) does not say `Ok`.
//! At rest (reachable from everywhere without a further death): a live consumer has said `Closed`, or, if nobody
//! closes, has taken every acknowledged message; the producer and the opener are through.
//!
//! # Store buffers
//!
//! The producer's and the consumer's stores reach memory in order, one at a time and at any time. A CAS drains the own
//! buffer, the membarrier both (an opener's in either order, at two moments), a death that of the dead. A put is
//! acknowledged at its load of `closed`.
//!
//! # Left out
//!
//! Sleeping and waking; cached bounds of the producer (they lag); a consumer that ends alive (as a death between
//! calls); a dead opener (it stores nothing but `end`: as one that never goes on); memory weaker than TSO.
//!
//! Merged steps: the free check and the stores of the cells (what is free stays free, the stores are private until a
//! stamp follows); the copy and the stores back (the cell may not change before the commit: that is a fault of its
//! own); a successor's scan (nobody else stores stamps); reading E and the verdict on the message in hand.

mod consumer;
mod producer;
mod seal;
#[cfg(test)]
mod tests;

use super::NONE;
use super::engine::{Kind, Model, Next};
use consumer::Get;
use producer::{Put, Store};
use seal::Opener;

/// Seeded bugs and the rule each one breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// S1: `closed` is loaded before the stores alone.
    ClosedBeforeStamp,
    /// S1: the stamps are stored before the cells.
    StampBeforeCell,
    /// S1: one stamp for each block of a batch, though two pieces lie in different laps of it.
    StampPerBlock,
    /// S1: free is p + k <= taken + n + 1.
    OneTooMany,
    /// S1: a put that is not free waits on, closed or not.
    FullNeverClosed,
    /// S2: `Closed` without the CAS.
    RefusedWithoutCas,
    /// S2: E = p + k counts as refused.
    EqualIsRefused,
    /// S2: a batch of which a part is in is `Ok` as a whole.
    PartIsWhole,
    /// S2: a batch of which a part is in is `Closed` as a whole.
    PartIsNothing,
    /// S2: `end` is loaded, and stored if it was 0.
    SettledByStore,
    /// S3: the same for the seal.
    SealedByStore,
    /// S3: no membarrier.
    NoBarrier,
    /// S3: the membarrier comes before the load of `closed`.
    BarrierBeforeClosed,
    /// S3: the scan comes before the membarrier, the CAS after it.
    ScanBeforeBarrier,
    /// S3: the opener's `taken` is loaded before `closed`, and a full window is not scanned again.
    StaleTaken,
    /// S3: E' is `taken`.
    NoScan,
    /// S3: a full window is scanned again though `taken` has not moved.
    ScansForEver,
    /// S4: `closed` is not loaded. (Harmless if nobody seals but one consumer that never dies; so is the next.)
    NoCheck,
    /// S4: `closed` is loaded, but the position is not compared with E.
    NoCompare,
    /// [`Freedom::CheckPerStamp`]: `closed` is loaded before the stamp.
    CheckBeforeStamp,
    /// S4: the values are stored back after the commit.
    AdoptsAfterCommit,
    /// S4: the stamp is stored back, too. (Harmless with m = 1.)
    AdoptsStamp,
    /// S4: known is everything up to the end of the block.
    WholeBlock,
    /// S4: the message is returned before `taken` is stored.
    TakenLate,
    /// S6: a successor of the producer does not load `closed`. (Its puts may say `Ok`; nothing is lost.)
    SuccessorUnchecked,
    /// S6: a successor of the producer starts at `taken`.
    SuccessorAtTaken,
    /// S6: a successor of the consumer starts at taken + 1.
    SuccessorSkips,
    /// S7: `closed` is not loaded before the stores.
    NoCheckBefore,
    /// F1: fence mode without the fence.
    NoFence,
}

/// Weaker rules that hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freedom {
    /// S1: the producer goes on publishing after it saw closed; S2 refuses each put.
    PublishesOn,
    /// S3: a full window gives E' = taken + n at once, whether `taken` has moved or not.
    ScanOnce,
    /// S3: `end` is loaded first, and the membarrier is made only if it is 0.
    BarrierIfUnset,
    /// S4: known is everything below the stamp, past the end of the block too.
    NextLap,
    /// S4: `closed` is loaded after each load of a stamp, and not after each commit. (`taken` then never passes E.)
    CheckPerStamp,
    /// S6, with S7: a successor of the producer does not load `closed`.
    SuccessorUnchecked,
}

/// What the ring makes use of, together with [`Config::strict`].
pub const BUILT: &[Freedom] = &[Freedom::ScanOnce, Freedom::CheckPerStamp];

/// How stores reach memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Memory {
    /// At once.
    Sequential,
    /// Through store buffers; the membarrier drains them.
    Tso,
    /// Through store buffers; rule F1.
    Fence,
}

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// n.
    pub cells: u8,
    /// m.
    pub block: u8,
    pub memory: Memory,
    /// How many messages are put, by the producer and its successors together.
    pub messages: u8,
    /// The most that one put stores and one get takes (a get no more than two).
    pub batch: u8,
    /// Somebody closes, at any moment.
    pub close: bool,
    /// Each of the dead may have a successor.
    pub producer_deaths: u8,
    pub consumer_deaths: u8,
    /// Somebody asks, once and at any moment, whether the queue is finished.
    pub opener: bool,
    /// The consumer may store values back.
    pub adopts: bool,
    /// Rule S7.
    pub strict: bool,
    pub bug: Option<Bug>,
    pub freedoms: &'static [Freedom],
}

const CELLS: usize = 3;
const HAND: usize = 2;
/// At most n positions are in flight on either side, with two stores each.
const BUFFER: usize = 6;

/// Who acts, in traces.
const PRODUCER: u8 = 0;
const CONSUMER: u8 = 1;
const OPENER: u8 = 2;
const CLOSER: u8 = 3;

/// The message in a cell, and the position it was put at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Cell {
    pos: u8,
    message: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    stamps: [u8; CELLS],
    cells: [Cell; CELLS],
    taken: u8,
    closed: bool,
    end: u8,
    put: Put,
    put_buffer: [Store; BUFFER],
    get: Get,
    /// The consumer's own cursor, which `taken` follows through the store buffer.
    cursor: u8,
    /// Positions below it are published, the consumer knows.
    known: u8,
    /// E, if the consumer knows it.
    known_end: u8,
    /// The messages of the get in work, the last of which is at cursor - 1 once it is committed.
    hand: [u8; HAND],
    get_buffer: [Store; BUFFER],
    opener: Opener,
    /// The next message to put.
    next: u8,
    producer_deaths: u8,
    consumer_deaths: u8,
    // For the checks only:
    /// The put in work must not say `Ok`, because it came after the close.
    late: bool,
    late_role: bool,
    acked: u8,
    acked_end: u8,
    refused: u8,
    committed: u8,
    returned: u8,
    returned_end: u8,
    /// Somebody has said `Closed` or "finished".
    over: bool,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fault {
    Duplicate,
    Disorder,
    Refused,
    WrongCell,
    Overrun,
    LateOk,
}

pub const LOST: &str = "it is over, and an acknowledged message is undelivered";
pub const ACKED_BEYOND: &str = "an acknowledged message lies beyond the end";
pub const RETURNED_BEYOND: &str = "a message beyond the end is returned";
pub const TAKEN_BEYOND: &str = "the cursor lies beyond the end";
pub const DUPLICATE: &str = "a message is taken twice";
pub const DISORDER: &str = "a message overtakes another";
pub const REFUSED: &str = "a message is refused and returned";
pub const WRONG_CELL: &str = "a copied cell holds something else";
pub const OVERRUN: &str = "the producer stores into a cell that is not committed";
pub const LATE_OK: &str = "Ok to a put that came after the close";

/// The model of one configuration.
pub struct Spsc(pub Config);

type Out = Vec<Next<State>>;

fn step(out: &mut Out, who: u8, what: &'static str, state: State) {
    out.push(Next { state, kind: Kind::Step, who, what });
}

impl Spsc {
    fn bug(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    fn free_to(&self, freedom: Freedom) -> bool {
        self.0.freedoms.contains(&freedom)
    }

    fn cell(&self, pos: u8) -> usize {
        usize::from(pos % self.0.cells)
    }

    fn block(&self, pos: u8) -> usize {
        usize::from(pos % self.0.cells / self.0.block)
    }

    /// The end of the block of `pos` in the lap of `pos`.
    fn block_end(&self, pos: u8) -> u8 {
        let cell = pos % self.0.cells;
        let end = (cell / self.0.block + 1) * self.0.block;
        pos - cell + end.min(self.0.cells)
    }

    fn published(&self, s: &State, pos: u8) -> bool {
        s.stamps[self.block(pos)] > pos
    }
}

impl Model for Spsc {
    type State = State;

    fn initial(&self) -> State {
        let start = self.0.cells;
        State {
            stamps: [0; CELLS],
            cells: [Cell { pos: 0, message: NONE }; CELLS],
            taken: start,
            closed: false,
            end: 0,
            put: Put::Idle(start),
            put_buffer: [Store::Nothing; BUFFER],
            get: Get::Look,
            cursor: start,
            known: 0,
            known_end: 0,
            hand: [NONE; HAND],
            get_buffer: [Store::Nothing; BUFFER],
            opener: Opener::Idle,
            next: 0,
            producer_deaths: self.0.producer_deaths,
            consumer_deaths: self.0.consumer_deaths,
            late: false,
            late_role: false,
            acked: 0,
            acked_end: 0,
            refused: 0,
            committed: 0,
            returned: 0,
            returned_end: 0,
            over: false,
            fault: None,
        }
    }

    fn fault(&self, s: &State) -> Option<&'static str> {
        match s.fault {
            None if s.over && s.acked & !s.committed != 0 => Some(LOST),
            None if s.end != 0 && s.acked_end > s.end => Some(ACKED_BEYOND),
            None if s.end != 0 && s.returned_end > s.end => Some(RETURNED_BEYOND),
            None if s.end != 0 && s.cursor > s.end && self.free_to(Freedom::CheckPerStamp) => Some(TAKEN_BEYOND),
            None => (s.refused & s.returned != 0).then_some(REFUSED),
            Some(Fault::Duplicate) => Some(DUPLICATE),
            Some(Fault::Disorder) => Some(DISORDER),
            Some(Fault::Refused) => Some(REFUSED),
            Some(Fault::WrongCell) => Some(WRONG_CELL),
            Some(Fault::Overrun) => Some(OVERRUN),
            Some(Fault::LateOk) => Some(LATE_OK),
        }
    }

    fn at_rest(&self, s: &State) -> bool {
        let deserted = s.get == Get::Dead;
        let put_through = match s.put {
            Put::Gone | Put::Done => true,
            Put::Idle(_) | Put::Begin(_) => s.next == self.0.messages || deserted && !self.0.close,
            _ => false,
        };
        let opener_through = match s.opener {
            Opener::Idle => !self.0.opener || !self.0.close,
            Opener::Done => true,
            _ => false,
        };
        let last = if self.0.close { Get::Closed } else { Get::Look };
        let drained = s.put_buffer[0] == Store::Nothing && s.get_buffer[0] == Store::Nothing;
        let delivered = s.acked & !s.committed == 0;
        put_through && opener_through && drained && (deserted || s.get == last && delivered)
    }

    fn successors(&self, s: &State, out: &mut Out) {
        self.producer(s, out);
        self.consumer(s, out);
        self.store_buffers(s, out);
        if self.0.opener {
            self.opener(s, out);
        }
        if self.0.close && !s.closed {
            let closed = true;
            step(out, CLOSER, "closes", State { closed, ..*s });
        }
    }
}
