//! Leases and large messages: rows and blocks as one cell machine, beside a Multi/Multi ring.
//!
//! ```text
//! FREE ─► W(i) ─► AT(p) ─► HELD(i, h, count) ─► FREE          rows skip AT
//!                          HELD ─► BACK(h, count) ─► HELD(j, h, count + 1)
//! ```
//!
//! # Rules
//!
//! C: DESIGN §4 "Cells"; C5: "intent log", made stricter; R: "Recovery is about positions" and "BACK is served first";
//! K: "Dead holder, under byte N+i" and §3 "House-keeping of index i", with the order that was open there.
//!
//! - **C1** Put of a large message: cell FREE → W(i), bytes, claim p, cell AT(p), descriptor, FULL(p).
//! - **C2** Get of a large message: claim h, cell AT(h) → HELD(i, h): the commit. Plain `get` adds *no return*, copies
//!   out and frees the cell. The slot is a *husk* from the commit on, and is released after it, before the cell is freed.
//! - **C3** Lease of an inline message: row FREE → W(i) before the claim, claim h, copy, row HELD(i, h): the commit;
//!   only then the slot is released.
//! - **C4** A BACK cell is taken by CAS from the word that was seen, count + 1.
//! - **C5** Intents: the position is stored before every claim (tail, head or a BACK slot). A call that ends without
//!   having claimed the position its intent names clears the intent, also when it returns with work from a BACK cell.
//! - **R1** Recovery of q < tail (read first) with FREE(q), or h < head with FULL(h) or TOMB(h): read the intents of
//!   that side; if one names the position and its life byte is held: *later*. Else one CAS from the stamp that was
//!   seen: FREE → TOMB; TOMB → released; FULL with a cell HELD(·, h) → released; FULL → BACK. No lock.
//! - **R2** A BACK slot is claimed by CAS BACK_a(h) → FULL_{a+1}(h).
//! - **K1** House-keeping of a dead index i holds its byte N+i from the test of the life byte until the index is vacant.
//! - **K2** First the positions of i's intents are finished (R1). If that ends in *later*, the index stays as it is.
//! - **K3** Then the cells: W(i) → FREE; HELD(i, h, c): release the husk if the slot still says FULL(h), then → BACK(h, c),
//!   or → FREE if *no return*; any AT(p) with TOMB(p), or with p released → FREE.
//! - **K4** Then the intents are cleared and the index is vacant. Only a vacant index is taken by a newcomer.
//!
//! # Checked
//!
//! No acknowledged message is lost (it is in the ring, in a cell that is HELD or BACK, or in the hands of a live
//! reader); none is delivered twice by plain get, acknowledged twice, or handed out while its holder is alive and has
//! not given it back; the redelivery count is exact; no cell or slot is used by two; nobody publishes into a slot that
//! is not free. At rest: every message delivered, every slot and cell free, every dead index vacant; if no consumer is
//! left to call, at least nothing is left half done.
//!
//! # Left out
//!
//! Batches and torn intents, what a waiter looks at, `back_epoch` (see `slices`); sleeping; close; the second word with
//! the full id; size classes. A rescuer is an actor of its own that may act at any time: it stands for any process that
//! looks. A producer's index is never a consumer's.
//!
//! Merged steps, none of which loses a behaviour:
//!
//! - `tail` (`head`) and the stamp of that position: a claim succeeds only if the word did not move, and while it does
//!   not move a stamp that allows the claim stays;
//! - an intent and the test of its life byte: read apart, the pair can only say *later* more often;
//! - in recovery the bound and the stamp (bounds only grow), in K3 a cell AT(p) and its slot (TOMB(p) and released are
//!   final, and no word AT(p) comes twice);
//! - payload and FULL (nobody reads before FULL); a look that finds nothing (it only ends the call); K4.
//!
//! # Found with this model
//!
//! - **C5** must cover calls that return *with* work. Consumers 1 and 2 store the intent h, 1 claims h and is killed; 2's
//!   claim fails, it takes a BACK cell instead, returns, and its program does not call again. Its intent names h and its
//!   life byte is held: h is left for later for ever ([`Bug::IntentLeftStanding`]).
//! - **K2** before **K3**: a writer is killed between AT(p) and FULL(p). If the cells are looked at first, AT(p) is passed
//!   over, since nobody has said TOMB(p) yet; then the intent is finished, the index is vacant, and nobody looks at the
//!   block again ([`Bug::CellsBeforeIntents`]).
//! - With K2 before K3 the husk of a HELD cell is always released already, because the dead one's get intent names it
//!   ([`Config::husk_left_to_k2`]).

mod checks;
mod participants;
mod rescuers;

use super::engine::{Kind, Model, Next};
use super::{NONE, Stamp, Tag};
use rescuers::{Job, Rescuer};

/// Seeded bugs and the rule each one breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// C2, C3: the slot is released before the cell says HELD.
    SlotBeforeHeld,
    /// C2: plain get frees the cell while its slot is still a husk.
    CellFreedBeforeSlot,
    /// C1: the block stays W(i) instead of AT(p).
    BlockStaysWriting,
    /// C4: a BACK cell is taken by a plain store.
    TakeByStore,
    /// C5: a call that took a BACK cell leaves the intent of its failed claim standing.
    IntentLeftStanding,
    /// R1: live intents are not read.
    LiveIntentsIgnored,
    /// R1: `tail` is read after the intents.
    TailAfterScan,
    /// R1: cells are not searched: a husk goes BACK.
    HuskForgotten,
    /// R1: the stamp is stored, not swapped.
    RecoverByStore,
    /// R2: the attempt is not counted.
    NoAttemptBits,
    /// K1: two may keep the same index.
    KeepWithoutLock,
    /// K2: the cells are kept, the intents are not finished.
    IntentsNotFinished,
    /// K2: the cells are kept before the intents are finished.
    CellsBeforeIntents,
    /// K3: W(i) is not freed.
    WritingNotFreed,
    /// K3: AT(p) is freed whatever the slot says.
    AtFreedBlindly,
    /// K2, K3: the cells are kept first, and HELD goes BACK before the husk is released.
    BackBeforeHusk,
    /// K3: *no return* is ignored.
    NoReturnIgnored,
    /// K4: a newcomer takes an index whose cells were not kept.
    EarlyReuse,
    /// K1 to K4: waiters look at positions and at BACK only, nobody keeps the cells of the dead.
    NoHouseKeeping,
}

/// How a message travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    Inline,
    Large,
}

/// How consumers ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    Get,
    Lease,
    Both,
}

/// One configuration. Participants are numbered producers first.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub capacity: u8,
    pub producers: u8,
    pub consumers: u8,
    /// What each producer puts, in order (a newcomer on its index goes on with the rest).
    pub script: &'static [Size],
    pub rows: u8,
    pub blocks: u8,
    pub mode: Mode,
    pub deaths: u8,
    pub rescuers: u8,
    pub rescuer_deaths: u8,
    pub newcomers: u8,
    /// Leases that may be dropped without an acknowledgement.
    pub give_backs: u8,
    /// Consumers may stop calling for ever, alive and outside any call.
    pub retire: bool,
    /// Rescuers act before the first death too.
    pub early: bool,
    /// Rescuers look only at positions that the intents of the dead name, not at the whole window (see `slices`).
    pub named_only: bool,
    /// K3 leaves the husk to K2, which has released it already.
    pub husk_left_to_k2: bool,
    pub bug: Option<Bug>,
}

impl Config {
    /// One producer, two consumers, one message, one slot, one death.
    pub const SMALL: Config = Config {
        capacity: 1,
        producers: 1,
        consumers: 2,
        script: &[Size::Inline],
        rows: 1,
        blocks: 0,
        mode: Mode::Lease,
        deaths: 1,
        rescuers: 1,
        rescuer_deaths: 1,
        newcomers: 0,
        give_backs: 0,
        retire: false,
        early: false,
        named_only: false,
        husk_left_to_k2: false,
        bug: None,
    };
}

const PARTICIPANTS: usize = 4;
const SLOTS: usize = 2;
const CELLS: usize = 3;
const MESSAGES: usize = 4;

/// The state word of a cell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Cell {
    Free,
    Writing(u8),
    At(u8),
    Held { owner: u8, pos: u8, count: u8, no_return: bool },
    Back { pos: u8, count: u8 },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Payload {
    Nothing,
    Message(u8),
    Block(u8),
}

/// Where a participant is; what it does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Pc {
    /// Outside a call, or at its beginning.
    Idle,
    /// Alive, and never calls again.
    Retired,
    /// Inside a call, nothing claimed.
    Seek,
    Intend(Stamp),
    Claim(Stamp),
    Attach(u8),
    Publish(u8),
    /// The position is ours and its stamp must be this.
    Own(Stamp),
    Hold {
        stamp: Stamp,
        cell: u8,
    },
    Release {
        stamp: Stamp,
        cell: u8,
    },
    Take {
        cell: u8,
        seen: Cell,
        no_return: bool,
    },
    FreeCell(u8),
    /// Gives a spare row back, then clears the intent.
    Settle {
        clear: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Life {
    Alive,
    /// The life byte is free, the index is not kept yet.
    Dead,
    Vacant,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fault {
    None,
    Duplicate,
    Robbed,
    SlotNotFree,
    SlotNotOurs,
    CellNotOurs,
    Phantom,
    WrongCount,
}

pub const LOST: &str = "an acknowledged message is lost";
pub const DUPLICATE: &str = "a message is delivered twice";
pub const ROBBED: &str = "a message is handed out while its holder lives";
pub const SLOT_NOT_FREE: &str = "publish into a slot that is not free";
pub const SLOT_NOT_OURS: &str = "a claimed slot was changed by somebody else";
pub const CELL_NOT_OURS: &str = "a cell was changed by somebody else";
pub const PHANTOM: &str = "a slot without a message is delivered";
pub const WRONG_COUNT: &str = "the redelivery count is wrong";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    tail: u8,
    head: u8,
    stamps: [Stamp; SLOTS],
    payloads: [Payload; SLOTS],
    cells: [Cell; CELLS],
    /// The message in each cell.
    bytes: [u8; CELLS],
    /// The put intent of a producer, the get intent of a consumer.
    intents: [u8; PARTICIPANTS],
    life: [Life; PARTICIPANTS],
    pc: [Pc; PARTICIPANTS],
    /// The cell a participant has W(i).
    hand: [u8; PARTICIPANTS],
    /// The claim of the standing intent failed.
    failed: [bool; PARTICIPANTS],
    /// Messages a producer's index still has to put.
    left: [u8; PARTICIPANTS],
    rescuers: [Rescuer; 2],
    deaths: u8,
    rescuer_deaths: u8,
    newcomers: u8,
    give_backs: u8,
    // For the checks only:
    published: u8,
    consumed: u8,
    /// The live reader that has claimed a message or holds its lease.
    holder: [u8; MESSAGES],
    /// How often a message was claimed.
    handed: [u8; MESSAGES],
    fault: Fault,
}

impl State {
    /// Remembers the first fault.
    fn fail(&mut self, fault: Fault) {
        if self.fault == Fault::None {
            self.fault = fault;
        }
    }

    /// Participant `who` has claimed `message`.
    fn hand_out(&mut self, message: u8, who: u8) {
        let at = usize::from(message);
        if self.holder[at] != NONE {
            self.fail(Fault::Robbed);
        }
        if self.consumed & 1 << message != 0 {
            self.fail(Fault::Duplicate);
        }
        self.holder[at] = who;
        self.handed[at] += 1;
    }

    /// `message` is delivered for good.
    fn consume(&mut self, message: u8) {
        if self.consumed & 1 << message != 0 {
            self.fail(Fault::Duplicate);
        }
        self.consumed |= 1 << message;
        self.holder[usize::from(message)] = NONE;
    }

    fn free_cell(&mut self, cell: usize) {
        self.cells[cell] = Cell::Free;
        self.bytes[cell] = NONE;
    }

    /// Cell → HELD by `owner`; `count` must say how often the message was claimed before.
    fn hold(&mut self, cell: usize, owner: u8, pos: u8, count: u8, no_return: bool) {
        let message = self.bytes[cell];
        self.cells[cell] = Cell::Held { owner, pos, count, no_return };
        if count + 1 != self.handed[usize::from(message)] {
            self.fail(Fault::WrongCount);
        }
        if no_return {
            self.consume(message);
        }
    }
}

/// The model of one configuration.
pub struct Cells(pub Config);

type Out = Vec<Next<State>>;

impl Cells {
    fn slot(&self, pos: u8) -> usize {
        usize::from(pos % self.0.capacity)
    }

    fn bug(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    fn producers(&self) -> std::ops::Range<u8> {
        0..self.0.producers
    }

    fn consumers(&self) -> std::ops::Range<u8> {
        self.0.producers..self.0.producers + self.0.consumers
    }

    fn cells(&self) -> std::ops::Range<usize> {
        0..usize::from(self.0.rows + self.0.blocks)
    }

    fn rows(&self) -> std::ops::Range<usize> {
        0..usize::from(self.0.rows)
    }

    fn push(&self, out: &mut Out, who: u8, what: &'static str, kind: Kind, mut state: State) {
        state.rescuers[..usize::from(self.0.rescuers)].sort_unstable(); // they are alike
        out.push(Next { state, kind, who, what });
    }

    fn step(&self, out: &mut Out, who: u8, what: &'static str, state: State) {
        self.push(out, who, what, Kind::Step, state);
    }

    /// The message that the slot of `pos` carries.
    fn message_in(&self, s: &State, slot: usize) -> Option<u8> {
        match s.payloads[slot] {
            Payload::Nothing => None,
            Payload::Message(message) => Some(message),
            Payload::Block(block) => Some(s.bytes[usize::from(block)]).filter(|&m| m != NONE),
        }
    }

    /// The slot of `stamp` → released.
    fn release(&self, s: &mut State, stamp: Stamp) {
        let slot = self.slot(stamp.pos);
        s.stamps[slot] = stamp.released(self.0.capacity);
        s.payloads[slot] = Payload::Nothing;
    }
}

impl Model for Cells {
    type State = State;

    fn initial(&self) -> State {
        let c = &self.0;
        let mut stamps = [Stamp::new(0, Tag::Free); SLOTS];
        for pos in c.capacity..2 * c.capacity {
            stamps[self.slot(pos)].pos = pos;
        }
        let mut life = [Life::Vacant; PARTICIPANTS];
        let mut left = [0; PARTICIPANTS];
        life[..usize::from(c.producers + c.consumers)].fill(Life::Alive);
        left[..usize::from(c.producers)].fill(c.script.len() as u8);
        State {
            tail: c.capacity,
            head: c.capacity,
            stamps,
            payloads: [Payload::Nothing; SLOTS],
            cells: [Cell::Free; CELLS],
            bytes: [NONE; CELLS],
            intents: [NONE; PARTICIPANTS],
            life,
            pc: [Pc::Idle; PARTICIPANTS],
            hand: [NONE; PARTICIPANTS],
            failed: [false; PARTICIPANTS],
            left,
            rescuers: [Rescuer::AT_EASE; 2],
            deaths: c.deaths,
            rescuer_deaths: c.rescuer_deaths,
            newcomers: c.newcomers,
            give_backs: c.give_backs,
            published: 0,
            consumed: 0,
            holder: [NONE; MESSAGES],
            handed: [0; MESSAGES],
            fault: Fault::None,
        }
    }

    fn fault(&self, s: &State) -> Option<&'static str> {
        match s.fault {
            Fault::None => (0..MESSAGES as u8).any(|message| self.lost(s, message)).then_some(LOST),
            Fault::Duplicate => Some(DUPLICATE),
            Fault::Robbed => Some(ROBBED),
            Fault::SlotNotFree => Some(SLOT_NOT_FREE),
            Fault::SlotNotOurs => Some(SLOT_NOT_OURS),
            Fault::CellNotOurs => Some(CELL_NOT_OURS),
            Fault::Phantom => Some(PHANTOM),
            Fault::WrongCount => Some(WRONG_COUNT),
        }
    }

    fn at_rest(&self, s: &State) -> bool {
        let kept = !s.life.contains(&Life::Dead) || self.bug(Bug::NoHouseKeeping);
        let settled = kept
            && s.rescuers.iter().all(|r| r.job == Job::Idle)
            && s.pc.iter().all(|pc| matches!(pc, Pc::Idle | Pc::Retired));
        let served = self.consumers().map(usize::from).any(|i| s.life[i] == Life::Alive && s.pc[i] != Pc::Retired);
        settled && if served { self.empty(s) } else { self.half_done(s) }
    }

    fn successors(&self, s: &State, out: &mut Out) {
        for who in self.producers().chain(self.consumers()) {
            let me = usize::from(who);
            if s.life[me] != Life::Alive {
                self.arrival(s, who, out);
                continue;
            }
            if self.producers().contains(&who) {
                self.producer(s, who, out);
            } else {
                self.consumer(s, who, out);
            }
            if s.deaths > 0 {
                self.push(out, who, "is killed", Kind::Death, self.killed(s, who));
            }
        }
        for rescuer in 0..usize::from(self.0.rescuers) {
            self.rescuer(s, rescuer, out);
        }
    }
}

impl Cells {
    fn killed(&self, s: &State, who: u8) -> State {
        let me = usize::from(who);
        let mut t = *s;
        t.deaths -= 1;
        t.life[me] = Life::Dead;
        t.pc[me] = Pc::Idle;
        t.hand[me] = NONE;
        t.failed[me] = false;
        for holder in t.holder.iter_mut().filter(|holder| **holder == who) {
            *holder = NONE;
        }
        t
    }

    /// A newcomer takes a vacant index (rule K4).
    fn arrival(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        let kept = s.rescuers.iter().any(|r| r.keep == who);
        let ready = s.life[me] == Life::Vacant || self.bug(Bug::EarlyReuse) && !kept;
        if s.newcomers > 0 && ready {
            let mut t = *s;
            t.newcomers -= 1;
            t.life[me] = Life::Alive;
            t.intents[me] = NONE;
            self.push(out, who, "a newcomer takes the index", Kind::Arrival, t);
        }
    }
}
