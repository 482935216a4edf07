//! What a waiter looks at: a Multi/Multi ring with batches in which the waiters themselves are the only rescuers.
//!
//! # Rules
//!
//! I: DESIGN §4 "intent log", made stricter; R, S: "Recovery is about positions"; B: "BACK is served first"; N: "a
//! newcomer finishes the intents it finds on its index first", made exact.
//!
//! - **I1** An intent is two words, (start, length): start is stored first, the length only when it changes, both before
//!   the claim. A participant clears its own intent (length 0) before it waits, and before any return from a call if
//!   the claim of that intent failed, also if the call returns with work.
//! - **R1** Recovery of one position: FREE(q) with q < tail, FULL(h) or TOMB(h) with h < head (the bound is read before
//!   the stamp). Read every intent of that side, start then length; if one covers the position and its life byte is
//!   held: *later*. Else one CAS from the stamp that was seen: FREE → TOMB, FULL → BACK, TOMB → released.
//! - **R2** After FULL → BACK everybody is told (`back_epoch`, wake). A rescuer may die before it tells.
//! - **B1** A consumer that was told looks for BACK before it looks at head; BACK_a(h) → FULL_{a+1}(h) by CAS.
//! - **S1** A waiter looks at the position in its way: a consumer at head, a producer at tail − capacity.
//! - **S2** Now and then it looks also at every position that the intents of participants with a free life byte name,
//! - **S3** and at every BACK: a consumer serves it, anybody else tells everybody again.
//! - **N1** A newcomer finishes the positions that the intent on its index names (R1) *before its life byte is held*,
//!   so that what it has found does not read as a live intent. If one ends in *later*, it begins again.
//! - **N2** Then it clears the intent, then it takes the life byte.
//!
//! # Checked
//!
//! No published message is lost, none is delivered twice, nobody publishes into a slot that is not free or reads one
//! that is not its own. At rest: everything is put and delivered, every slot is free, no newcomer is still arriving;
//! and this is reached by the waiters' own looks. If no consumer lives, nothing is asked.
//!
//! # Left out
//!
//! Cells, leases and house-keeping (see `cells`); the words `back_epoch` and `seen` (one bit per consumer, "was told");
//! sleeping: a waiter's slices come for ever. A participant is a producer or a consumer, not both.
//!
//! Merged steps: reading the bound, the intents of the dead and the stamp in the choice of what to look at (it is a
//! choice only: what decides is R1, and the stamp is compared again by its CAS); tail (head) and the stamps that allow a
//! claim (a claim succeeds only if the word did not move); a length that covers and the test of the life byte; the two
//! steps of N2 (killed in between: a dead index with nothing to finish).
//!
//! # Found with this model
//!
//! - **N1** before the life byte is held. Consumers 1 and 2 store the intent h, 2 claims h, both are killed, newcomers
//!   take both indices. With their life bytes held each reads the other's found intent as a live claim of h, and leaves h
//!   for later for ever ([`Bug::LifeByteFirst`]). Clearing first and finishing from a copy is no way out: killed in
//!   between, nothing names h any more ([`Bug::ClearedBeforeFinished`]).
//! - **S3** need not look at the whole window ([`Config::named_backs`]): whoever died between FULL → BACK and telling
//!   leaves a position that an intent still names, of a dead one or of one that a newcomer finds, if that newcomer
//!   tells of it before it clears the intent ([`Bug::BackNotTold`]).
//! - **S1** is there for speed: with N1 the intents of the dead name every position in somebody's way
//!   ([`Config::without_s1`]).

mod calls;
mod looks;

use super::engine::{Kind, Model, Next};
use super::{NONE, Stamp, Tag};

/// Seeded bugs and the rule each one breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// I1: a waiter leaves its own intent standing.
    IntentNotCleared,
    /// I1: a call returns and leaves the intent of its failed claim standing.
    IntentLeftStanding,
    /// I1: a claim without an intent.
    NoIntent,
    /// R1: live intents are not read.
    LiveIntentsIgnored,
    /// R1: FULL_a → BACK_a → FULL_a: the attempt is not counted.
    NoAttemptBits,
    /// S2: a slice looks only at the position in its way, and at BACK.
    OwnPositionOnly,
    /// S2: only the first position of a batch is looked at.
    FirstOfBatchOnly,
    /// S3: BACK is not looked at, only heard of.
    BackNotLooked,
    /// N2 with [`Config::named_backs`]: a BACK that another has made is not told of.
    BackNotTold,
    /// N1: the newcomer clears the intent without finishing it.
    IntentForgotten,
    /// N1: the newcomer clears the intent first and finishes from its copy.
    ClearedBeforeFinished,
    /// N1: the newcomer holds its life byte while it finishes.
    LifeByteFirst,
}

/// One configuration. Participants are numbered producers first.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub capacity: u8,
    pub producers: u8,
    pub consumers: u8,
    /// The largest batch of each participant.
    pub batch: [u8; PARTICIPANTS],
    /// Messages of each producer (a newcomer on its index goes on with the rest).
    pub messages: u8,
    pub deaths: u8,
    pub newcomers: u8,
    /// Anybody may stop calling for ever, alive (`try_put_many` returned with a part, say).
    pub stop: bool,
    /// Rule S1 is left out: it is there for speed.
    pub without_s1: bool,
    /// S3 looks only at a BACK that the intent of a participant with a free life byte names, and N2 tells everybody of
    /// the BACKs that the intent names which it clears: nobody looks at the whole window.
    pub named_backs: bool,
    pub bug: Option<Bug>,
}

impl Config {
    /// One producer, two consumers, one message, one slot, one death.
    pub const SMALL: Config = Config {
        capacity: 1,
        producers: 1,
        consumers: 2,
        batch: [1; PARTICIPANTS],
        messages: 1,
        deaths: 1,
        newcomers: 0,
        stop: false,
        without_s1: false,
        named_backs: false,
        bug: None,
    };
}

pub const PARTICIPANTS: usize = 4;
const SLOTS: usize = 2;

/// `len` positions from `start`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Span {
    start: u8,
    len: u8,
}

impl Span {
    fn covers(self, pos: u8) -> bool {
        self.start <= pos && pos < self.start + self.len
    }
}

/// Why somebody is recovering a position; where it goes on afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Look {
    /// S1.
    Way,
    /// S2: from position number `offset` of the intent of participant `who` on.
    Dead { who: u8, offset: u8 },
    /// N1: position number `offset` of the intent that was found.
    Found { span: Span, offset: u8 },
}

/// The recovery of one position (R1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Job {
    /// Choose what to look at.
    Choose,
    /// Read where the intent of participant `next` starts.
    Start {
        seen: Stamp,
        next: u8,
    },
    /// Read its length, and its life byte if it covers the position.
    Length {
        seen: Stamp,
        next: u8,
        start: u8,
    },
    Swap {
        seen: Stamp,
    },
    Tell,
}

/// Where a participant is; what it does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Pc {
    Call,
    /// Stores the start of its intent; `stamp` is that of the first position.
    Start {
        stamp: Stamp,
        len: u8,
    },
    Length {
        stamp: Stamp,
        len: u8,
    },
    Claim {
        stamp: Stamp,
        len: u8,
    },
    Publish {
        pos: u8,
        left: u8,
    },
    /// Reads the payload of its position (or releases a tombstone).
    Copy {
        attempt: u8,
        pos: u8,
        left: u8,
    },
    Commit {
        attempt: u8,
        pos: u8,
        left: u8,
    },
    /// Clears its intent, then waits, or stops calling.
    Clear {
        stop: bool,
    },
    /// Alive, and never calls again.
    Stopped,
    Slice {
        look: Look,
        job: Job,
    },
    /// S3.
    Backs,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Life {
    Alive,
    Dead,
    /// A newcomer is finishing what it found. Its life byte is free.
    Arriving,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fault {
    None,
    Duplicate,
    SlotNotFree,
    SlotNotOurs,
}

pub const LOST: &str = "a published message is lost";
pub const DUPLICATE: &str = "a message is delivered twice";
pub const SLOT_NOT_FREE: &str = "publish into a slot that is not free";
pub const SLOT_NOT_OURS: &str = "a claimed slot was changed by somebody else";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    tail: u8,
    head: u8,
    stamps: [Stamp; SLOTS],
    payloads: [u8; SLOTS],
    /// The put intent of a producer, the get intent of a consumer.
    intents: [Span; PARTICIPANTS],
    life: [Life; PARTICIPANTS],
    pc: [Pc; PARTICIPANTS],
    /// The claim of the standing intent failed (kept only if somebody may stop).
    failed: [bool; PARTICIPANTS],
    /// Consumers that were told of a BACK and have not looked since.
    told: [bool; PARTICIPANTS],
    /// Messages a producer's index still has to put.
    left: [u8; PARTICIPANTS],
    deaths: u8,
    newcomers: u8,
    // For the checks only:
    published: u8,
    consumed: u8,
    fault: Fault,
}

impl State {
    fn fail(&mut self, fault: Fault) {
        if self.fault == Fault::None {
            self.fault = fault;
        }
    }
}

/// The model of one configuration.
pub struct Slices(pub Config);

type Out = Vec<Next<State>>;

fn step(out: &mut Out, who: u8, what: &'static str, state: State) {
    let kind = Kind::Step;
    out.push(Next { state, kind, who, what });
}

impl Slices {
    fn slot(&self, pos: u8) -> usize {
        usize::from(pos % self.0.capacity)
    }

    fn slots(&self) -> std::ops::Range<usize> {
        0..usize::from(self.0.capacity)
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

    fn everybody(&self) -> std::ops::Range<u8> {
        0..self.consumers().end
    }

    /// The side whose intents protect a position with this stamp.
    fn side(&self, stamp: Stamp) -> std::ops::Range<u8> {
        match stamp.tag {
            Tag::Free => self.producers(),
            _ => self.consumers(),
        }
    }

    /// Does the life byte of `who` read as held?
    fn held(&self, s: &State, who: u8) -> bool {
        match s.life[usize::from(who)] {
            Life::Alive => true,
            Life::Dead => false,
            Life::Arriving => self.bug(Bug::LifeByteFirst),
        }
    }

    fn backs(&self, s: &State) -> impl Iterator<Item = Stamp> {
        let stamps = s.stamps;
        self.slots().map(move |slot| stamps[slot]).filter(|stamp| stamp.tag == Tag::Back)
    }

    fn back_in(&self, s: &State, span: Span) -> bool {
        self.backs(s).any(|stamp| span.covers(stamp.pos))
    }

    /// Whether the intent of a consumer with a free life byte names it.
    fn is_named_by_the_dead(&self, s: &State, stamp: Stamp) -> bool {
        self.consumers().any(|who| !self.held(s, who) && s.intents[usize::from(who)].covers(stamp.pos))
    }

    fn tell(&self, t: &mut State) {
        for consumer in self.consumers() {
            t.told[usize::from(consumer)] = t.life[usize::from(consumer)] == Life::Alive || self.0.named_backs;
        }
    }

    /// Consumer `who` has found none. With [`Config::named_backs`] the hint is one word for all, whoever dies.
    fn hush(&self, t: &mut State, who: u8) {
        if self.0.named_backs { t.told = [false; PARTICIPANTS] } else { t.told[usize::from(who)] = false }
    }

    fn release(&self, t: &mut State, stamp: Stamp) {
        let slot = self.slot(stamp.pos);
        t.stamps[slot] = stamp.released(self.0.capacity);
        t.payloads[slot] = NONE;
    }

    /// The stamp in the slot of `pos`, if it is that position's.
    fn stamp_of(&self, s: &State, pos: u8) -> Option<Stamp> {
        Some(s.stamps[self.slot(pos)]).filter(|stamp| stamp.pos == pos)
    }

    /// How many positions from `first` on have one of `tags`, up to `most`.
    fn run(&self, s: &State, first: u8, tags: &[Tag], most: u8) -> u8 {
        let fits = |&pos: &u8| self.stamp_of(s, pos).is_some_and(|stamp| tags.contains(&stamp.tag));
        let most = most.min(self.0.capacity);
        (first..first + most).take_while(fits).count() as u8
    }

    fn lost(&self, s: &State, message: u8) -> bool {
        let open = (s.published & !s.consumed) & 1 << message != 0;
        let in_ring = |slot: usize| matches!(s.stamps[slot].tag, Tag::Full | Tag::Back) && s.payloads[slot] == message;
        open && !self.slots().any(in_ring)
    }
}

impl Model for Slices {
    type State = State;

    fn initial(&self) -> State {
        let c = &self.0;
        let mut stamps = [Stamp::new(0, Tag::Free); SLOTS];
        for pos in c.capacity..2 * c.capacity {
            stamps[self.slot(pos)].pos = pos;
        }
        let mut life = [Life::Dead; PARTICIPANTS];
        let mut left = [0; PARTICIPANTS];
        life[..usize::from(c.producers + c.consumers)].fill(Life::Alive);
        left[..usize::from(c.producers)].fill(c.messages);
        State {
            tail: c.capacity,
            head: c.capacity,
            stamps,
            payloads: [NONE; SLOTS],
            intents: [Span { start: 0, len: 0 }; PARTICIPANTS],
            life,
            pc: [Pc::Call; PARTICIPANTS],
            failed: [false; PARTICIPANTS],
            told: [false; PARTICIPANTS],
            left,
            deaths: c.deaths,
            newcomers: c.newcomers,
            published: 0,
            consumed: 0,
            fault: Fault::None,
        }
    }

    fn fault(&self, s: &State) -> Option<&'static str> {
        match s.fault {
            Fault::None => (0..8).any(|message| self.lost(s, message)).then_some(LOST),
            Fault::Duplicate => Some(DUPLICATE),
            Fault::SlotNotFree => Some(SLOT_NOT_FREE),
            Fault::SlotNotOurs => Some(SLOT_NOT_OURS),
        }
    }

    fn at_rest(&self, s: &State) -> bool {
        let calls = |i: usize| s.life[i] != Life::Dead && s.pc[i] != Pc::Stopped;
        if !self.consumers().map(usize::from).any(calls) {
            return true;
        }
        let mut producers = self.producers().map(usize::from);
        producers.all(|i| !calls(i) || s.left[i] == 0)
            && !s.life.contains(&Life::Arriving)
            && s.head == s.tail
            && s.published == s.consumed
            && self.slots().all(|slot| s.stamps[slot].tag == Tag::Free)
    }

    fn successors(&self, s: &State, out: &mut Out) {
        for who in self.everybody() {
            let me = usize::from(who);
            if s.life[me] == Life::Dead {
                if s.newcomers > 0 {
                    self.arrival(s, who, out);
                }
                continue;
            }
            self.act(s, who, out);
            if s.deaths > 0 {
                let mut t = *s;
                t.deaths -= 1;
                t.life[me] = Life::Dead;
                t.failed[me] = false;
                t.told[me] &= self.0.named_backs;
                t.pc[me] = Pc::Call;
                out.push(Next { state: t, kind: Kind::Death, who, what: "is killed" });
            }
        }
    }
}
