//! A ring of chunks: growing, draining, giving pages back, exchanging places (`PROTOCOL.md`, G1 to G9, G11, G12), Multi
//! producers and consumers, claims of one message or of two, leases.
//!
//! Of *runs* it rests on these:
//!
//! 1. A claim is a run inside of one chunk, under one hazard (G3, G12). A batch that goes on behind the border makes
//!    another claim there, once all of the first is published; if there is no chunk (G4, G5), the batch ends early.
//! 2. The intent names all of the run before the claim: first its length, then its start (R3, D1). So a torn one is the
//!    old start with the new length, and may cross the border.
//! 3. It stands after a claim that is done, or was lost, until the next one or until it is withdrawn (R5).
//! 4. A run of gets ends before the first position that has no message; a tombstone is taken alone (R6).
//! 5. Puts are published from the front, gets are committed from the front (R4, R7). Of a dead one's puts those are
//!    looked at that are not published (D5); a chunk that is not READY of the lap meant has nothing of it (C12).
//! 6. Of a dead one's run each position is finished under a hazard of its own, from the front. What a live one may have
//!    claimed is left, and the index is kept again later. Of puts the first that is left ends the look: with a
//!    tombstone behind it, it would pass for published (rule 5). Gets behind it are finished (D5).
//!
//! And of *leases*:
//!
//! 7. Row WRITING, then the claim (L1); row HELD, then the commit (L2). From then on a lease has no hazard and no slot:
//!    its chunk may be drained and punched.
//! 8. HELD is acknowledged, given back, or brought back (L3, L5); BACK is taken by one exchange, by whoever leases or
//!    gets (L4).
//! 9. A keeper keeps the chunks first, then the claims (a slot whose message is in a row is a husk), then rows (L5).
//!
//! What is merged: a message's payload with its stamp (C1 is `slices`' matter); the pages of a place, which come and go
//! at once, after which its stamps read 0; the barrier before the hazards are read (memory is sequentially consistent
//! here; that the light and the heavy barrier give that order is C11); what a keeper reads of what nobody but itself
//! can change, which is the dead one's intent, chunk words and pairs; `tail` or `head` with the chunk word that is read
//! next (as long as that word is of use, the cursor stands, or stood when the word became so); a withdrawal of an
//! intent with the look that found nothing; the intent of a redelivery with its hazard; what a keeper reads of the rows
//! with the stamp (of a position only the dead one that claimed it makes a row); the look at a row with its exchange.
//!
//! What is left out: attempts (no reader dies twice on one position), blocks, which of several spares is taken (any), a
//! place that is remembered from one operation to the next, the alert (who is idle sees every BACK); and where claims
//! are of one message, intents that stand or are torn (rules 2 and 3).
//!
//! Faults: a touch of a page that is not there; a claim of a slot that is not free; a message twice (handed out after
//! it was consumed); two at one chunk; two chunks in one place.

use super::engine::{Kind, Next};
use super::{NONE, Stamp, Tag};

mod gets;
mod keeper;
mod puts;
mod search;

pub const SLOTS: usize = 4;
const CHUNKS: usize = 3;
const ACTORS: usize = 4;
const ROWS: usize = 2;

pub const PUNCHED: &str = "touched a page that is not there";
pub const NOT_FREE: &str = "claimed a slot that is not free";
pub const NOT_THERE: &str = "got from a slot without the message";
pub const TWICE: &str = "a message was got twice";
pub const TWO_OWNERS: &str = "two at one chunk";
pub const SAME_PLACE: &str = "two chunks in one place";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    None,
    /// G2: the word is not read again behind the hazard.
    NoReRead,
    /// G2: the place is read before the word says READY.
    PlaceBeforeReady,
    /// G2, G7, G8: hazards name chunks, and are compared with chunks.
    HazardsNameChunks,
    /// G2: they name chunks, but are compared with places.
    ChunksAnnounced,
    /// G7, G8: they name places, but are compared with chunks.
    ChunksCompared,
    /// G8: PUNCHING of a dead one becomes DRAINED.
    DrainedAfterPunching,
    /// G3, G4: a producer claims where the word says READY of the lap before.
    ClaimWithoutReady,
    /// G7: the hazards are not looked at.
    NoHazards,
    /// G5: READY before the stamps are laid out.
    ReadyBeforeStamps,
    /// G6: drained when its last slot is free.
    DrainedByTheLast,
    /// G4, G6: drained when its slots are free for the next lap.
    DrainedIfFree,
    /// R7: the commit leaves FREE of the next lap, as where no place changes.
    FreeOfTheNextLap,
    /// G1: a hole is backed for whatever lap the producer wants.
    HoleWithoutLap,
    /// G8: a dead one's chunks are not kept.
    ChunksForgotten,
    /// G8: its hazards are not withdrawn.
    HazardsStand,
    /// G8: the pages of BACKING are given back whatever the hazards say.
    BackingUnseen,
    /// G5: the same where there is no space.
    GivenBackUnseen,
    /// G8: an exchange of places is not put back.
    NoRollBack,
    /// G8: it is put back in the wrong order.
    RollBackReversed,
    /// G11: no partner is written, and the spare chunk gets its place only after the other is READY.
    NoPartner,
    /// G11: a chunk is a spare once `head` has passed it, whatever its commits.
    SpareNotDrained,
    /// Rule 1: a run of gets goes over the border, with the hazard of its first chunk only.
    HazardOfTheFirst,
    /// Rule 2: the intent names the first position of a run only.
    FirstNamed,
    /// Rule 1: the intent of the next part of a batch is stored before this one is published.
    IntentMovesOn,
    /// Rule 3: an intent that was stored for a claim that was lost is never withdrawn.
    NeverWithdrawn,
    /// Rule 4: a run of gets does not ask behind its first position.
    RunUnasked,
    /// Rule 5: a run is published from behind.
    PublishedFromBehind,
    /// Rule 6: the keeper ends at the first position of a run that is finished.
    EndsAtTheFinished,
    /// Rule 6: puts behind one that was left for later are finished.
    GoesOnBehindTheLeft,
    /// Rule 6: a position that was left for later is forgotten.
    LeftForgotten,
    /// Rule 6, G6: what a dead one has claimed counts as committed.
    DeadCountAsCommitted,
    /// Rule 7: the row is HELD after the commit.
    HeldAfterCommit,
    /// Rule 8: BACK is taken by a store.
    TakenByStore,
    /// Rule 9: a husk is brought back.
    HuskForgotten,
    /// Rule 9: rows before claims.
    RowsFirst,
    /// Rule 9: rows are not kept.
    RowsForgotten,
}

#[derive(Clone, Copy)]
pub struct Config {
    pub producers: usize,
    pub consumers: usize,
    pub chunks: u8,
    pub slots: u8,
    /// Of each producer.
    pub messages: u8,
    /// So many fewer of the second one.
    pub fewer: u8,
    pub deaths: u8,
    pub keeper_deaths: u8,
    pub newcomers: u8,
    pub space_may_lack: bool,
    /// Hazards are withdrawn with the claim, not with the publication or the commit.
    pub unguarded: bool,
    /// Most messages of a claim: 1 or 2.
    pub batch: u8,
    /// So many consumers, from the first on, lease and do not get.
    pub leasing: usize,
    pub rows: usize,
    pub bug: Bug,
}

impl Config {
    pub const SMALL: Config = Config {
        producers: 1,
        consumers: 1,
        chunks: 2,
        slots: 1,
        messages: 4,
        fewer: 0,
        deaths: 1,
        keeper_deaths: 1,
        newcomers: 0,
        space_may_lack: false,
        unguarded: false,
        batch: 1,
        leasing: 0,
        rows: 0,
        bug: Bug::None,
    };

    fn actors(&self) -> usize {
        self.producers + self.consumers
    }

    fn leases(&self, who: usize) -> bool {
        (self.producers..self.producers + self.leasing).contains(&who)
    }

    /// Whether intents stand and are torn, as they do where runs differ in length.
    fn has_runs(&self) -> bool {
        self.batch > 1
    }
}

/// A row's word.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Row {
    Free,
    Writing(u8),
    Held(u8, u8),
    Back(u8),
}

impl Row {
    fn is_of(self, who: usize) -> bool {
        matches!(self, Row::Writing(its) | Row::Held(its, _) if usize::from(its) == who)
    }

    fn keeps(self, pos: u8) -> bool {
        matches!(self, Row::Held(_, its) | Row::Back(its) if its == pos)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Word {
    Hole(u8),
    Backing(u8, u8),
    Ready(u8),
    Drained(u8),
    Punching(u8, u8),
}

/// Where an actor is. What follows a step is read at its own step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum At {
    Idle,
    /// Puts.
    Gate,
    PutPlace,
    PutHazard,
    PutReRead,
    PutStamp,
    PutRun,
    PutIntent,
    PutStart,
    PutClaim,
    Publish,
    Open(Word),
    /// Backing the chunk of `pos`, which was at first in `place`.
    StartBacking,
    Allocate,
    LayOut(u8),
    MakeReady,
    GiveBackLook(u8),
    GiveBack(bool),
    /// Exchanging its place for that of this chunk.
    Pair(u8),
    TakePlace(u8),
    GivePlace(u8),
    ExchangedReady(u8),
    ExchangedHole(u8),
    /// Gets, or redeliveries.
    GetPlace(bool),
    GetHazard(bool),
    GetReRead(bool),
    GetStamp,
    GetRun,
    /// Over the border, in this place.
    GetOver(u8),
    GetIntent,
    GetStart,
    GetClaim,
    BackTake,
    Hold,
    Release,
    /// Found BACK, of this position.
    RowTake(u8, u8),
    /// Draining and punching chunk `pos`, of the lap in the word.
    DrainPlace(Word),
    DrainHazard(Word),
    DrainReRead(Word),
    DrainScan(Word, u8),
    Drain(Word),
    StartPunch(Word),
    Hazards(u8),
    UnPunch,
    Punch,
    MakeHole,
    /// Keeping a dead one.
    /// True: it asks whether all of a run is published.
    KeepFirstLook(bool),
    KeepPlace(bool),
    KeepTouch(bool),
    KeepReRead(bool),
    KeepStamp(bool),
    /// True: it is a husk.
    KeepExchange(Stamp, bool),
    KeepRow(u8),
    KeepBacked(u8),
    KeepSpare(u8),
    KeepVacates,
    KeepLook(u8, u8),
    KeepPunch(u8, bool),
    KeepWord(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    pos: u8,
    /// The place that it has read.
    place: u8,
    /// So many positions of its claim are to be done, from `pos` on; the keeper's, of an intent.
    run: u8,
    /// Where its intent begins, and its length; of the keeper: that it has left a position for later.
    intent: u8,
    len: u8,
    hazard: u8,
    left: u8,
    dead: bool,
    /// Kept: nothing of it is left.
    vacant: bool,
}

impl Actor {
    fn claim(&mut self, next: At, config: &Config) {
        self.at = next;
        if config.unguarded {
            self.hazard = NONE;
        }
    }

    /// What it has claimed is done, or somebody else was first: its intent stands.
    fn done(&mut self) {
        (self.at, self.pos, self.place, self.hazard, self.run) = (At::Idle, 0, NONE, NONE, 0);
    }

    /// The same, and its intent is withdrawn.
    fn idle(&mut self) {
        self.done();
        self.len = 0;
    }

    fn covers(&self, pos: u8) -> bool {
        // Where it names no position it may still have a length.
        pos.wrapping_sub(self.intent) < self.len
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// By place, as the messages and the pages.
    stamps: [Stamp; SLOTS],
    messages: [u8; SLOTS],
    words: [Word; CHUNKS],
    /// Of each chunk, and the place that it is being exchanged for.
    places: [(u8, u8); CHUNKS],
    pages: u8,
    /// With their messages.
    rows: [(Row, u8); ROWS],
    tail: u8,
    head: u8,
    actors: [Actor; ACTORS],
    /// The keeper: an actor whose `left` says whom it keeps.
    keeper: Actor,
    deaths: u8,
    keeper_deaths: u8,
    newcomers: u8,
    published: u8,
    got: u8,
    next_message: u8,
    fault: Option<&'static str>,
}

pub struct Chunks(pub Config);

const ZERO: Stamp = Stamp { pos: 0, tag: Tag::Free, attempt: 0 };
const NOBODY: Actor = Actor {
    at: At::Idle,
    pos: 0,
    place: NONE,
    run: 0,
    intent: NONE,
    len: 0,
    hazard: NONE,
    left: 0,
    dead: false,
    vacant: false,
};

/// The turn of one actor, or of the keeper, in one state.
struct Turn<'t> {
    state: &'t State,
    actor: Actor,
    who: usize,
    is_keeper: bool,
    /// Intents stand and are torn.
    has_runs: bool,
    out: &'t mut Vec<Next<State>>,
}

impl Turn<'_> {
    fn push(&mut self, what: &'static str, change: impl Fn(&mut State, &mut Actor)) {
        let mut next = *self.state;
        let mut mine = self.actor;
        change(&mut next, &mut mine);
        if !self.has_runs && !self.is_keeper {
            if matches!(mine.at, At::Idle | At::DrainHazard(_)) {
                mine.len = 0;
            }
            if mine.len == 0 {
                mine.intent = NONE;
            }
        }
        *(if self.is_keeper { &mut next.keeper } else { &mut next.actors[self.who] }) = mine;
        self.out.push(Next { state: next, kind: Kind::Step, who: self.who as u8, what });
    }
}

/// FREE of `pos` or of an earlier one.
fn is_free_for(stamp: Stamp, pos: u8) -> bool {
    stamp.tag == Tag::Free && stamp.pos <= pos
}

impl Chunks {
    fn capacity(&self) -> u8 {
        self.0.chunks * self.0.slots
    }

    fn chunk(&self, pos: u8) -> usize {
        usize::from(pos % self.capacity() / self.0.slots)
    }

    fn lap(&self, pos: u8) -> u8 {
        pos / self.capacity()
    }

    /// The slot of a position whose chunk is in `place`.
    fn index(&self, place: u8, pos: u8) -> usize {
        usize::from(place * self.0.slots + pos % self.0.slots)
    }

    fn first(&self, chunk: usize, lap: u8) -> u8 {
        lap * self.capacity() + chunk as u8 * self.0.slots
    }

    /// How far from a position is the one whose FREE its commit leaves.
    fn commit(&self) -> u8 {
        if self.0.bug == Bug::FreeOfTheNextLap { self.capacity() } else { self.0.slots }
    }

    /// What a hazard says of a chunk in a place.
    fn hazard(&self, chunk: usize, place: u8) -> u8 {
        let by_chunk = matches!(self.0.bug, Bug::HazardsNameChunks | Bug::ChunksAnnounced);
        if by_chunk { chunk as u8 } else { place }
    }

    /// Whether a hazard is about the place of this chunk.
    fn names(&self, state: &State, hazard: u8, chunk: usize) -> bool {
        let by_chunk = matches!(self.0.bug, Bug::HazardsNameChunks | Bug::ChunksCompared);
        hazard == if by_chunk { chunk as u8 } else { state.places[chunk].0 }
    }

    /// Whether the position behind is in the same chunk.
    fn goes_on(&self, pos: u8) -> bool {
        !(pos + 1).is_multiple_of(self.0.slots)
    }

    /// A run's next position. (In another chunk only by a bug.)
    fn advance(&self, state: &State, actor: &mut Actor) {
        (actor.pos, actor.run) = (actor.pos + 1, actor.run - 1);
        if !self.goes_on(actor.pos - 1) {
            actor.place = state.places[self.chunk(actor.pos)].0;
        }
    }

    /// Its intent, in one store, or its length, if that changes, before its start.
    fn announce(&self, actor: &mut Actor, len_first: At, then: At) {
        let len = if self.0.bug == Bug::FirstNamed { 1 } else { actor.run };
        if self.0.has_runs() && actor.at != len_first && actor.len != len {
            (actor.len, actor.at) = (len, len_first);
        } else {
            (actor.intent, actor.len, actor.at) = (actor.pos, len, then);
        }
    }

    fn has_row(&self, state: &State, who: usize) -> Option<usize> {
        state.rows.iter().position(|(row, _)| row.is_of(who))
    }

    /// A message is handed out, and consumed.
    fn hand_out(&self, state: &mut State, message: u8, consumes: bool) {
        if state.got & (1 << message) != 0 {
            state.fault = Some(TWICE);
        }
        state.got |= u8::from(consumes) << message;
    }

    fn touch(&self, state: &mut State, place: u8) {
        if state.pages & (1 << place) == 0 {
            state.fault = Some(PUNCHED);
        }
    }

    /// Of the place that a chunk is in.
    fn take_pages(&self, state: &mut State, chunk: usize) {
        let place = state.places[chunk].0;
        state.pages &= !(1 << place);
        for offset in 0..self.0.slots {
            let slot = self.index(place, offset);
            (state.stamps[slot], state.messages[slot]) = (ZERO, 0);
        }
    }

    /// The hazard of an actor, or, behind them all, the keeper's; and whether it is that.
    fn hazard_of(&self, state: &State, other: u8) -> (u8, bool) {
        let is_keeper = usize::from(other) == self.0.actors();
        (if is_keeper { state.keeper.hazard } else { state.actors[usize::from(other)].hazard }, is_keeper)
    }

    /// The next hazard to look at, which is not that of `skipped`.
    fn next_look(&self, other: u8, skipped: u8) -> u8 {
        other + u8::from(other == skipped)
    }

    /// One step of actor `who`: 0 to the number of actors.
    fn step(&self, state: &State, who: usize, out: &mut Vec<Next<State>>) {
        let turn = Turn { state, actor: state.actors[who], who, is_keeper: false, has_runs: self.0.has_runs(), out };
        match turn.actor.at {
            At::Idle if who < self.0.producers => self.put(turn),
            At::Gate | At::PutPlace | At::PutHazard | At::PutReRead | At::PutStamp | At::PutIntent => self.put(turn),
            At::PutRun | At::PutStart | At::PutClaim | At::Publish | At::Open(_) => self.put(turn),
            At::StartBacking | At::Allocate | At::LayOut(_) | At::MakeReady => self.back(turn),
            At::GiveBackLook(_) | At::GiveBack(_) => self.back(turn),
            At::Pair(d) | At::TakePlace(d) | At::GivePlace(d) | At::ExchangedReady(d) | At::ExchangedHole(d) => {
                self.exchange(turn, usize::from(d));
            }
            At::DrainPlace(_) | At::DrainHazard(_) | At::DrainReRead(_) | At::DrainScan(..) => self.drain(turn),
            At::Drain(_) => self.drain(turn),
            At::StartPunch(_) | At::Hazards(_) | At::UnPunch | At::Punch | At::MakeHole => self.punch(turn),
            _ => self.get(turn),
        }
    }
}
