//! A ring of chunks: growing, draining, giving pages back (`PROTOCOL.md`, G1 to G9), Multi producers and consumers,
//! one message a claim.
//!
//! What is merged: a message's payload with its stamp (C1 is `slices`' matter); the pages of a chunk, which come and go
//! at once, after which its stamps read 0; the barrier before the hazards are read (memory is sequentially consistent
//! here; that the light and the heavy barrier give that order is C8). What is left out: attempts (no reader dies twice on
//! one position), batches, blocks.
//!
//! Faults: a touch of a page that is not there; a claim of a slot that is not free; a message twice; two at one chunk.

use super::engine::{Kind, Next};
use super::{NONE, Stamp, Tag};

mod search;

pub const SLOTS: usize = 4;
const CHUNKS: usize = 3;
const ACTORS: usize = 4;

pub const PUNCHED: &str = "touched a page that is not there";
pub const NOT_FREE: &str = "claimed a slot that is not free";
pub const NOT_THERE: &str = "got from a slot without the message";
pub const TWICE: &str = "a message was got twice";
pub const TWO_OWNERS: &str = "two at one chunk";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    None,
    /// G2: the word is not read again behind the hazard.
    NoReRead,
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
    PutHazard,
    PutReRead,
    PutStamp,
    PutIntent,
    PutClaim,
    Publish,
    Open(Word),
    StartBacking,
    Allocate,
    LayOut(u8),
    MakeReady,
    GiveBackLook(u8),
    GiveBack(bool),
    /// Gets.
    GetHazard,
    GetReRead,
    GetStamp,
    GetIntent,
    GetClaim,
    Release,
    BackHazard,
    BackReRead,
    BackTake,
    /// Draining and punching chunk `pos`, of the lap in the word.
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
    KeepHazards,
    KeepIntent,
    KeepTouch,
    KeepReRead,
    KeepStamp(u8),
    KeepExchange(Stamp),
    KeepChunks(u8),
    KeepLook(u8, u8),
    KeepPunch(u8, bool),
    KeepWord(u8),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Actor {
    at: At,
    pos: u8,
    intent: u8,
    hazard: u8,
    left: u8,
    dead: bool,
    /// Kept: nothing of it is left.
    vacant: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    stamps: [Stamp; SLOTS],
    messages: [u8; SLOTS],
    words: [Word; CHUNKS],
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
const NOBODY: Actor = Actor { at: At::Idle, pos: 0, intent: NONE, hazard: NONE, left: 0, dead: false, vacant: false };

impl Chunks {
    fn capacity(&self) -> u8 {
        self.0.chunks * self.0.slots
    }

    fn index(&self, pos: u8) -> usize {
        usize::from(pos % self.capacity())
    }

    fn chunk(&self, pos: u8) -> usize {
        self.index(pos) / usize::from(self.0.slots)
    }

    fn lap(&self, pos: u8) -> u8 {
        pos / self.capacity()
    }

    fn slots_of(&self, chunk: usize) -> std::ops::Range<usize> {
        let slots = usize::from(self.0.slots);
        chunk * slots..(chunk + 1) * slots
    }

    fn first(&self, chunk: usize, lap: u8) -> u8 {
        lap * self.capacity() + chunk as u8 * self.0.slots
    }

    fn touch(&self, state: &mut State, chunk: usize) {
        if state.pages & (1 << chunk) == 0 {
            state.fault = Some(PUNCHED);
        }
    }

    fn take_pages(&self, state: &mut State, chunk: usize) {
        state.pages &= !(1 << chunk);
        for slot in self.slots_of(chunk) {
            (state.stamps[slot], state.messages[slot]) = (ZERO, 0);
        }
    }

    /// One step of actor `who`: 0 to the number of actors.
    fn step(&self, state: &State, who: usize, out: &mut Vec<Next<State>>) {
        let config = &self.0;
        let actor = state.actors[who];
        let producer = who < config.producers;
        let (pos, me) = (actor.pos, who as u8);
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        let word = state.words[chunk];
        let mut push = |what: &'static str, change: &dyn Fn(&mut State, &mut Actor)| {
            let mut next = *state;
            let mut mine = actor;
            change(&mut next, &mut mine);
            next.actors[who] = mine;
            out.push(Next { state: next, kind: Kind::Step, who: me, what });
        };
        let idle = |actor: &mut Actor| (actor.at, actor.pos, actor.intent, actor.hazard) = (At::Idle, 0, NONE, NONE);
        match actor.at {
            At::Idle if producer && actor.left > 0 => {
                push("reads tail", &|s, a| (a.pos, a.at) = (s.tail, At::Gate));
            }
            At::Idle if producer => {}
            At::Idle => {
                push("reads head", &|s, a| (a.pos, a.at) = (s.head, At::GetHazard));
                for slot in 0..usize::from(self.capacity()) {
                    if state.stamps[slot].tag == Tag::Back {
                        push("sees BACK", &|s, a| (a.pos, a.at) = (s.stamps[slot].pos, At::BackHazard));
                    }
                }
            }
            At::Gate => push("reads the chunk word", &|_, a| match word {
                Word::Ready(its) if its == lap => a.at = At::PutHazard,
                Word::Ready(its) if its + 1 == lap && config.bug == Bug::ClaimWithoutReady => a.at = At::PutStamp,
                Word::Ready(its) if its + 1 == lap => a.at = At::DrainHazard(word),
                Word::Drained(its) if its + 1 == lap => a.at = At::Open(word),
                Word::Hole(its) if its == lap || config.bug == Bug::HoleWithoutLap => a.at = At::StartBacking,
                _ => idle(a),
            }),
            At::Open(seen) => push("opens", &|s, a| {
                if s.words[chunk] == seen {
                    s.words[chunk] = Word::Ready(lap);
                }
                a.at = At::Gate;
            }),
            At::PutHazard => push("hazard", &|_, a| (a.hazard, a.at) = (chunk as u8, At::PutReRead)),
            At::PutReRead => push("reads again", &|_, a| {
                if word == Word::Ready(lap) || config.bug == Bug::NoReRead { a.at = At::PutStamp } else { idle(a) }
            }),
            At::PutStamp => push("reads the stamp", &|s, a| {
                self.touch(s, chunk);
                if s.stamps[self.index(pos)] == Stamp::new(pos, Tag::Free) { a.at = At::PutIntent } else { idle(a) }
            }),
            At::PutIntent => push("intent", &|_, a| (a.intent, a.at) = (pos, At::PutClaim)),
            At::PutClaim => push("claims", &|s, a| {
                if s.tail == pos { (s.tail, a.at) = (pos + 1, At::Publish) } else { idle(a) }
            }),
            At::Publish => push("publishes", &|s, a| {
                self.touch(s, chunk);
                let slot = self.index(pos);
                if s.stamps[slot] != Stamp::new(pos, Tag::Free) {
                    s.fault = Some(NOT_FREE);
                }
                (s.stamps[slot], s.messages[slot]) = (Stamp::new(pos, Tag::Full), s.next_message);
                s.published |= 1 << s.next_message;
                s.next_message += 1;
                a.left -= 1;
                idle(a);
            }),
            At::StartBacking => push("BACKING", &|s, a| match s.words[chunk] {
                Word::Hole(its) if its == lap || config.bug == Bug::HoleWithoutLap => {
                    (s.words[chunk], a.at) = (Word::Backing(lap, me), At::Allocate);
                }
                _ => idle(a),
            }),
            At::Allocate => {
                if config.space_may_lack {
                    let look =
                        if config.bug == Bug::GivenBackUnseen { At::GiveBack(true) } else { At::GiveBackLook(0) };
                    push("no space", &|_, a| a.at = look);
                }
                push("allocates", &|s, a| {
                    s.pages |= 1 << chunk;
                    a.at = At::LayOut(0);
                    if config.bug == Bug::ReadyBeforeStamps {
                        s.words[chunk] = Word::Ready(lap);
                    }
                });
            }
            At::LayOut(slot) => push("lays a stamp out", &|s, a| {
                let first = self.first(chunk, lap);
                s.stamps[self.index(first + slot)] = Stamp::new(first + slot, Tag::Free);
                a.at = if slot + 1 == config.slots { At::MakeReady } else { At::LayOut(slot + 1) };
            }),
            At::MakeReady => push("READY", &|s, a| {
                if config.bug != Bug::ReadyBeforeStamps {
                    if s.words[chunk] != Word::Backing(lap, me) {
                        s.fault = Some(TWO_OWNERS);
                    }
                    s.words[chunk] = Word::Ready(lap);
                }
                idle(a);
            }),
            At::GiveBackLook(other) => push("reads a hazard", &|s, a| {
                let others = config.actors();
                let is_keeper = usize::from(other) == others;
                let hazard = if is_keeper { s.keeper.hazard } else { s.actors[usize::from(other)].hazard };
                a.at = match hazard == chunk as u8 {
                    true => At::GiveBack(false),
                    false if is_keeper => At::GiveBack(true),
                    false => At::GiveBackLook(other + 1),
                };
            }),
            At::GiveBack(punches) => push("HOLE again", &|s, a| {
                if punches {
                    self.take_pages(s, chunk);
                }
                s.words[chunk] = Word::Hole(lap);
                idle(a);
            }),
            At::GetHazard => push("hazard", &|_, a| (a.hazard, a.at) = (chunk as u8, At::GetReRead)),
            At::GetReRead => push("reads again", &|_, a| {
                if word == Word::Ready(lap) || config.bug == Bug::NoReRead { a.at = At::GetStamp } else { idle(a) }
            }),
            At::GetStamp => push("reads the stamp", &|s, a| {
                self.touch(s, chunk);
                let stamp = s.stamps[self.index(pos)];
                let is_there = stamp.pos == pos && matches!(stamp.tag, Tag::Full | Tag::Tomb);
                if is_there { a.at = At::GetIntent } else { idle(a) }
            }),
            At::GetIntent => push("intent", &|_, a| (a.intent, a.at) = (pos, At::GetClaim)),
            At::GetClaim => push("claims", &|s, a| {
                if s.head == pos { (s.head, a.at) = (pos + 1, At::Release) } else { idle(a) }
            }),
            At::BackHazard => push("hazard, intent", &|_, a| {
                (a.hazard, a.intent, a.at) = (chunk as u8, pos, At::BackReRead);
            }),
            At::BackReRead => push("reads again", &|_, a| {
                if word == Word::Ready(lap) { a.at = At::BackTake } else { idle(a) }
            }),
            At::BackTake => push("takes it again", &|s, a| {
                self.touch(s, chunk);
                let stamp = &mut s.stamps[self.index(pos)];
                if (stamp.pos, stamp.tag) == (pos, Tag::Back) {
                    (stamp.tag, stamp.attempt, a.at) = (Tag::Full, stamp.attempt + 1, At::Release);
                } else {
                    idle(a);
                }
            }),
            At::Release => push("releases", &|s, a| {
                self.touch(s, chunk);
                let slot = self.index(pos);
                let stamp = s.stamps[slot];
                if stamp.pos != pos || !matches!(stamp.tag, Tag::Full | Tag::Tomb) {
                    s.fault = Some(NOT_THERE);
                }
                if stamp.tag == Tag::Full {
                    if s.got & (1 << s.messages[slot]) != 0 {
                        s.fault = Some(TWICE);
                    }
                    s.got |= 1 << s.messages[slot];
                }
                s.stamps[slot] = stamp.released(self.capacity());
                (a.intent, a.hazard, a.at) = (NONE, NONE, At::DrainHazard(Word::Ready(lap)));
            }),
            At::DrainHazard(seen) => {
                push("hazard", &|_, a| (a.hazard, a.at) = (chunk as u8, At::DrainReRead(seen)));
                if !producer {
                    push("leaves it to others", &|_, a| idle(a));
                }
            }
            At::DrainReRead(seen) => push("reads again", &|_, a| {
                let from = if config.bug == Bug::DrainedByTheLast { config.slots - 1 } else { 0 };
                match word {
                    _ if word == seen => a.at = At::DrainScan(seen, from),
                    Word::Drained(_) if !producer => (a.hazard, a.at) = (NONE, At::StartPunch(word)),
                    _ => idle(a),
                }
            }),
            At::DrainScan(seen, slot) => push("looks whether it is free", &|s, a| {
                self.touch(s, chunk);
                let Word::Ready(its) = seen else { return idle(a) };
                let expected = self.first(chunk, its + 1) + slot;
                if s.stamps[self.index(expected)] != Stamp::new(expected, Tag::Free) {
                    idle(a);
                } else if slot + 1 < config.slots {
                    a.at = At::DrainScan(seen, slot + 1);
                } else {
                    (a.hazard, a.at) = (NONE, At::Drain(seen));
                }
            }),
            At::Drain(seen) => push("DRAINED", &|s, a| {
                let Word::Ready(its) = seen else { return idle(a) };
                if s.words[chunk] == seen {
                    s.words[chunk] = Word::Drained(its);
                }
                if producer { a.at = At::Gate } else { a.at = At::StartPunch(Word::Drained(its)) }
            }),
            At::StartPunch(seen) => push("PUNCHING", &|s, a| {
                let Word::Drained(its) = seen else { return idle(a) };
                if s.words[chunk] == seen {
                    (s.words[chunk], a.at) = (Word::Punching(its, me), At::Hazards(0));
                    // From here on it is about the chunk, in that lap.
                    a.pos = self.first(chunk, its);
                } else {
                    idle(a);
                }
            }),
            At::Hazards(other) => push("reads a hazard", &|s, a| {
                let others = config.actors();
                let is_keeper = usize::from(other) == others;
                let hazard = if is_keeper { s.keeper.hazard } else { s.actors[usize::from(other)].hazard };
                a.at = match hazard == chunk as u8 && config.bug != Bug::NoHazards {
                    true => At::UnPunch,
                    false if is_keeper => At::Punch,
                    false => At::Hazards(other + 1),
                };
            }),
            At::UnPunch => push("DRAINED again", &|s, a| {
                s.words[chunk] = Word::Drained(lap);
                idle(a);
            }),
            At::Punch => push("punches", &|s, a| {
                self.take_pages(s, chunk);
                a.at = At::MakeHole;
            }),
            At::MakeHole => push("HOLE", &|s, a| {
                if s.words[chunk] != Word::Punching(lap, me) {
                    s.fault = Some(TWO_OWNERS);
                }
                s.words[chunk] = Word::Hole(lap + 1);
                idle(a);
            }),
            _ => {}
        }
    }

    /// One step of the keeper, which has the keep byte of one dead actor at a time.
    fn keep(&self, state: &State, out: &mut Vec<Next<State>>) {
        let config = &self.0;
        let keeper = state.keeper;
        let who = config.actors() as u8;
        let mut push = |what: &'static str, change: &dyn Fn(&mut State, &mut Actor)| {
            let mut next = *state;
            let mut mine = keeper;
            change(&mut next, &mut mine);
            next.keeper = mine;
            out.push(Next { state: next, kind: Kind::Step, who, what });
        };
        let owner = keeper.left;
        let dead = usize::from(owner);
        let pos = keeper.pos;
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        // Nothing was found at the position, or it is finished.
        let done = |a: &mut Actor| (a.hazard, a.at) = (NONE, At::KeepChunks(0));
        // Somebody alive is in the way: later.
        let later = |a: &mut Actor| *a = NOBODY;
        match keeper.at {
            At::Idle => {
                for dead in 0..config.actors() {
                    if state.actors[dead].dead && !state.actors[dead].vacant {
                        push("begins to keep", &|_, a| (a.left, a.at) = (dead as u8, At::KeepHazards));
                    }
                }
            }
            At::KeepHazards => push("withdraws its hazards", &|s, a| {
                if config.bug != Bug::HazardsStand {
                    s.actors[dead].hazard = NONE;
                }
                a.at = At::KeepIntent;
            }),
            At::KeepIntent => push("reads its intent", &|s, a| match s.actors[dead].intent {
                NONE => done(a),
                intent => (a.pos, a.at) = (intent, At::KeepTouch),
            }),
            At::KeepTouch => push("hazard", &|_, a| (a.hazard, a.at) = (chunk as u8, At::KeepReRead)),
            At::KeepReRead => push("reads again", &|s, a| {
                if s.words[chunk] == Word::Ready(lap) { a.at = At::KeepStamp(0) } else { done(a) }
            }),
            At::KeepStamp(_) => push("reads the stamp and the intents", &|s, a| {
                self.touch(s, chunk);
                let stamp = s.stamps[self.index(pos)];
                let unfinished = stamp.pos == pos && super::unfinished(stamp, s.tail, s.head);
                let gets = |other: usize| other >= config.producers;
                let alive = |other: &usize| {
                    let its = s.actors[*other];
                    !its.dead && its.intent == pos && gets(*other) != (stamp.tag == Tag::Free)
                };
                if !unfinished {
                    done(a);
                } else if (0..config.actors()).any(|other| alive(&other)) {
                    later(a);
                } else {
                    a.at = At::KeepExchange(stamp);
                }
            }),
            At::KeepExchange(seen) => push("finishes the position", &|s, a| {
                self.touch(s, chunk);
                let stamp = &mut s.stamps[self.index(pos)];
                if *stamp == seen {
                    *stamp = match seen.tag {
                        Tag::Free => seen.tagged(Tag::Tomb),
                        Tag::Full => seen.tagged(Tag::Back),
                        _ => seen.released(self.capacity()),
                    };
                }
                done(a);
            }),
            At::KeepChunks(chunk) if chunk == config.chunks => push("vacates", &|s, a| {
                (s.actors[dead].vacant, s.actors[dead].intent) = (true, NONE);
                *a = NOBODY;
            }),
            At::KeepChunks(chunk) => push("reads a chunk word", &|s, a| {
                a.at = match s.words[usize::from(chunk)] {
                    _ if config.bug == Bug::ChunksForgotten => At::KeepChunks(chunk + 1),
                    Word::Backing(_, its) if its == owner && config.bug == Bug::BackingUnseen => {
                        At::KeepPunch(chunk, true)
                    }
                    Word::Backing(_, its) if its == owner => At::KeepLook(chunk, 0),
                    Word::Punching(its_lap, its) if its == owner && config.bug == Bug::DrainedAfterPunching => {
                        s.words[usize::from(chunk)] = Word::Drained(its_lap);
                        At::KeepChunks(chunk + 1)
                    }
                    Word::Punching(_, its) if its == owner => At::KeepLook(chunk, 0),
                    _ => At::KeepChunks(chunk + 1),
                };
            }),
            At::KeepLook(chunk, other) => push("reads a hazard", &|s, a| {
                let is_last = usize::from(other) + 1 == config.actors();
                let watched = other != owner && s.actors[usize::from(other)].hazard == chunk;
                a.at = match watched {
                    true => At::KeepPunch(chunk, false),
                    false if is_last => At::KeepPunch(chunk, true),
                    false => At::KeepLook(chunk, other + 1),
                };
            }),
            At::KeepPunch(chunk, punches) => push("punches, perhaps", &|s, a| {
                if punches {
                    self.take_pages(s, usize::from(chunk));
                }
                a.at = At::KeepWord(chunk);
            }),
            At::KeepWord(chunk) => push("HOLE", &|s, a| {
                let word = &mut s.words[usize::from(chunk)];
                *word = match *word {
                    Word::Backing(lap, its) if its == owner => Word::Hole(lap),
                    Word::Punching(lap, its) if its == owner => Word::Hole(lap + 1),
                    other => other,
                };
                a.at = At::KeepChunks(chunk + 1);
            }),
            _ => {}
        }
    }
}
