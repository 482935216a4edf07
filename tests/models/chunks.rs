//! A ring of chunks: growing, draining, giving pages back, exchanging places (`PROTOCOL.md`, G1 to G9 and G11), Multi
//! producers and consumers, one message a claim.
//!
//! What is merged: a message's payload with its stamp (C1 is `slices`' matter); the pages of a place, which come and go
//! at once, after which its stamps read 0; the barrier before the hazards are read (memory is sequentially consistent
//! here; that the light and the heavy barrier give that order is C11); what a keeper reads of what nobody but itself
//! can change, which is the dead one's intent, chunk words and pairs; `tail` or `head` with the chunk word that is read
//! next (as long as that word is of use, the cursor stands, or stood when the word became so).
//!
//! What is left out: attempts (no reader dies twice on one position), batches, blocks, which of several spares is taken
//! (any), a place that is remembered from one operation to the next.
//!
//! Faults: a touch of a page that is not there; a claim of a slot that is not free; a message twice; two at one chunk;
//! two chunks in one place.

use super::engine::{Kind, Next};
use super::{NONE, Stamp, Tag};

mod gets;
mod keeper;
mod puts;
mod search;

pub const SLOTS: usize = 4;
const CHUNKS: usize = 3;
const ACTORS: usize = 4;

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
}

#[derive(Clone, Copy)]
pub struct Config {
    pub producers: usize,
    pub consumers: usize,
    pub chunks: u8,
    pub slots: u8,
    /// Of each producer.
    pub messages: u8,
    pub deaths: u8,
    pub keeper_deaths: u8,
    pub newcomers: u8,
    pub space_may_lack: bool,
    /// Hazards are withdrawn with the claim, not with the publication or the commit.
    pub unguarded: bool,
    pub bug: Bug,
}

impl Config {
    pub const SMALL: Config = Config {
        producers: 1,
        consumers: 1,
        chunks: 2,
        slots: 1,
        messages: 4,
        deaths: 1,
        keeper_deaths: 1,
        newcomers: 0,
        space_may_lack: false,
        unguarded: false,
        bug: Bug::None,
    };

    fn actors(&self) -> usize {
        self.producers + self.consumers
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
    PutIntent,
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
    GetIntent,
    GetClaim,
    BackTake,
    Release,
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
    KeepFirstLook,
    KeepPlace,
    KeepTouch,
    KeepReRead,
    KeepStamp,
    KeepExchange(Stamp),
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
    intent: u8,
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

    fn idle(&mut self) {
        (self.at, self.pos, self.place, self.intent, self.hazard) = (At::Idle, 0, NONE, NONE, NONE);
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
const NOBODY: Actor =
    Actor { at: At::Idle, pos: 0, place: NONE, intent: NONE, hazard: NONE, left: 0, dead: false, vacant: false };

/// The turn of one actor, or of the keeper, in one state.
struct Turn<'t> {
    state: &'t State,
    actor: Actor,
    who: usize,
    is_keeper: bool,
    out: &'t mut Vec<Next<State>>,
}

impl Turn<'_> {
    fn push(&mut self, what: &'static str, change: impl Fn(&mut State, &mut Actor)) {
        let mut next = *self.state;
        let mut mine = self.actor;
        change(&mut next, &mut mine);
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
        let turn = Turn { state, actor: state.actors[who], who, is_keeper: false, out };
        match turn.actor.at {
            At::Idle if who < self.0.producers => self.put(turn),
            At::Gate | At::PutPlace | At::PutHazard | At::PutReRead | At::PutStamp | At::PutIntent => self.put(turn),
            At::PutClaim | At::Publish | At::Open(_) => self.put(turn),
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
