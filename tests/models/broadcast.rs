//! A broadcast: every subscriber has a cursor of its own, producers wait for the slowest or overwrite the oldest.
//!
//! # Rules
//!
//! M1 to M9 of `src/ring/PROTOCOL.md`. In short:
//!
//! - **M1** A producer writes below its `limit` only: it looks at the cursors, stores the limit, looks again, and
//!   takes the lesser.
//! - **M2** Who joins stores its cursor, sets its bit, then reads `tail` again and (oldest) everybody's limit,
//!   and `tail` once more.
//! - **M3** A Multi producer stores its intent, claims by exchange, and asks before that whether whoever had the slot a
//!   lap ago is done with it. A Single one claims by a store.
//! - **M4** To overwrite: CLAIM first, then the payload, then FULL.
//! - **M5** A copy is believed if the stamp is the same after it; then the cursor moves on.
//! - **M6** Behind a gap: at `tail` - n.
//! - **M7** A dead subscriber's bit is cleared before its place can be taken again; a producer may leave it out before
//!   that, in both looks. What a dead producer has claimed and not published becomes a tombstone.
//! - **M9** Who leaves clears its bit.
//!
//! # Checked
//!
//! Block: nobody finds a position that it has not seen written over. Both: what is copied and believed is the message of
//! that position, whole (a payload has two words). Who joins *now* misses nothing that is put after it has joined. No live
//! claim is buried. At rest everything is put and every live subscriber has seen all; this can always be reached without
//! another death.
//!
//! # Left out
//!
//! Sleeping and closing (as in queues), the lagging copies of cursors (older values of words that only grow), weak memory
//! (the fences of C8 and C9 make these steps what they are).
//!
//! Merged steps: a bit and the cursor of its owner in one look (the cursor is stored before the bit; an older cursor is only more
//! careful); tail, stamp and intents in what a rescuer reads (its exchange compares the stamp again).

mod events;

use super::engine::{Kind, Model, Next};
use super::{NONE, Stamp, Tag};

/// Seeded bugs and the rule each one breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// M2: who joins does not read the tail again.
    NoReread,
    /// M2: who joins at the oldest does not ask for the limits.
    LimitsNotAsked,
    /// M2: nor reads the tail once more behind the limits.
    TailNotReadLast,
    /// M1: a producer does not look again.
    NoSecondLook,
    /// M1: a producer looks again before it stores its limit.
    LimitAfterLooks,
    /// M2: the bit is never set.
    NoBit,
    /// M3: the slot of a lap ago is not asked for.
    StampNotAsked,
    /// M4: the payload is overwritten under the old stamp.
    NoClaim,
    /// M5: the stamp is not read again.
    NoRecheck,
    /// M5: the cursor moves on before the payload is copied.
    CursorBeforeCopy,
    /// M7: a dead subscriber's bit stays.
    NeverStruck,
    /// M7: who was found dead in the first look is left out of the second one too.
    LeftOutUnasked,
    /// M7: live intents are not asked for.
    LiveIntentsIgnored,
}

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub capacity: u8,
    pub producers: u8,
    /// The one producer has no intent and claims by a store.
    pub single: bool,
    pub subscribers: u8,
    pub drops: bool,
    /// Who joins begins at the oldest.
    pub oldest: bool,
    /// Messages of each producer.
    pub messages: u8,
    pub deaths: u8,
    /// How often somebody joins on a place that another has left, or died on.
    pub rejoins: u8,
    pub leaves: u8,
    /// Producers leave out whom they find dead.
    pub leaves_out: bool,
    pub bug: Option<Bug>,
}

impl Config {
    /// Two producers that wait for one subscriber, one slot, one death.
    pub const SMALL: Config = Config {
        capacity: 1,
        producers: 2,
        single: false,
        subscribers: 1,
        drops: false,
        oldest: false,
        messages: 2,
        deaths: 1,
        rejoins: 0,
        leaves: 0,
        leaves_out: false,
        bug: None,
    };
}

const MOST: usize = 2;
const SLOTS: usize = 3;

pub const ROBBED: &str = "a subscriber finds written over what it has not seen";
pub const TORN: &str = "a subscriber believes what is not the message";
pub const LATE: &str = "who has joined misses what is put after that";
pub const BURIED: &str = "a live claim is buried, or a slot has two writers";

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Fault {
    None,
    Robbed,
    Torn,
    Late,
    Buried,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Life {
    Alive,
    Dead,
    /// What was left is finished: another may come.
    Vacant,
}

/// Where a producer is; what it does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Put {
    Call,
    /// Looks at the cursor of `next`; `least` of those before. `wanted`: it is the second look.
    Look {
        tail: u8,
        next: u8,
        least: u8,
        wanted: u8,
        dead: u8,
    },
    /// Stores the limit.
    Limit {
        tail: u8,
        wanted: u8,
        dead: u8,
    },
    /// Asks for the stamp of the slot.
    Ask {
        tail: u8,
    },
    Announce {
        tail: u8,
    },
    Claim {
        tail: u8,
        seen: Stamp,
    },
    /// CLAIM, if it overwrites.
    Mark {
        pos: u8,
    },
    Write {
        pos: u8,
        word: u8,
    },
    Publish {
        pos: u8,
    },
    /// A successor of a Single producer.
    Start,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Producer {
    life: Life,
    pc: Put,
    left: u8,
    /// What others may read, and what it uses.
    shown: u8,
    limit: u8,
    intent: u8,
    /// What it has claimed: for the check only.
    claimed: u8,
}

/// Where a subscriber is; what it does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Get {
    /// Not there.
    Out,
    Tail,
    Cursor {
        start: u8,
    },
    Bit {
        start: u8,
    },
    Again {
        start: u8,
    },
    Limits {
        start: u8,
        tail: u8,
        next: u8,
    },
    Settle {
        start: u8,
    },
    Stamp,
    Copy {
        word: u8,
        first: u8,
    },
    Recheck {
        words: [u8; 2],
    },
    Gap,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Subscriber {
    life: Life,
    pc: Get,
    bit: bool,
    /// The shared word; `own` is what it knows.
    next: u8,
    own: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    tail: u8,
    stamps: [Stamp; SLOTS],
    payloads: [[u8; 2]; SLOTS],
    producers: [Producer; MOST],
    subscribers: [Subscriber; MOST],
    /// What a rescuer has read: position, stamp.
    rescue: Option<(u8, Stamp)>,
    deaths: u8,
    rejoins: u8,
    leaves: u8,
    fault: Fault,
}

/// The model. (`Tag::Back` stands for CLAIM, which a queue's model has no tag for.)
pub struct Broadcast(pub Config);

const CLAIM: Tag = Tag::Back;

type Out = Vec<Next<State>>;

fn push(out: &mut Out, state: State, kind: Kind, who: u8, what: &'static str) {
    out.push(Next { state, kind, who, what });
}

impl Broadcast {
    fn bug(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    fn slot(&self, pos: u8) -> usize {
        usize::from(pos % self.0.capacity)
    }

    fn stamp(&self, s: &State, pos: u8) -> Stamp {
        s.stamps[self.slot(pos)]
    }

    /// Nothing of `pos` is published.
    fn is_before(&self, stamp: Stamp, pos: u8) -> bool {
        stamp.pos < pos || stamp.pos == pos && matches!(stamp.tag, Tag::Free | CLAIM)
    }

    fn holds(&self, s: &State, pos: u8) -> bool {
        let live = |p: &&Producer| p.life == Life::Alive;
        let mut live = s.producers[..usize::from(self.0.producers)].iter().filter(live);
        if self.0.single { live.next().is_some() } else { live.any(|p| p.intent == pos) }
    }

    /// The first position that a dead producer has claimed and not published.
    fn unfinished(&self, s: &State, p: &Producer) -> Option<u8> {
        let pos = if self.0.single { s.tail - 1 } else { p.intent };
        (pos != NONE && pos >= self.0.capacity && pos < s.tail && self.is_before(self.stamp(s, pos), pos))
            .then_some(pos)
    }

    fn producer(&self, s: &State, who: u8, out: &mut Out) {
        let n = self.0.capacity;
        let me = usize::from(who);
        let p = s.producers[me];
        let mut t = *s;
        let (pc, what) = match p.pc {
            Put::Start => {
                // The predecessor's claim first: one exchange, with the stamp that stands.
                if let Some(pos) = self.unfinished(s, &p) {
                    t.stamps[self.slot(pos)] = Stamp::new(pos, Tag::Tomb);
                }
                (Put::Call, "finishes what it finds")
            }
            Put::Call if p.left == 0 => return,
            Put::Call if self.0.drops || p.limit > s.tail => (Put::Ask { tail: s.tail }, "reads the tail"),
            Put::Call => {
                (Put::Look { tail: s.tail, next: 0, least: NONE, wanted: NONE, dead: 0 }, "reads the tail, has no room")
            }
            Put::Look { tail, next, least, wanted, dead } if next < self.0.subscribers => {
                let one = &s.subscribers[usize::from(next)];
                let is_dead = self.0.leaves_out && one.life == Life::Dead;
                let known = self.bug(Bug::LeftOutUnasked) && dead >> next & 1 == 1;
                let dead = dead | u8::from(is_dead) << next;
                let counts = one.bit && !is_dead && !known;
                let least = if counts { least.min(one.next) } else { least };
                (Put::Look { tail, next: next + 1, least, wanted, dead }, "looks at a cursor")
            }
            Put::Look { tail, least, wanted, dead, .. } => {
                let reach = if least == NONE { tail + 1 } else { least.min(tail) + n };
                if wanted == NONE {
                    if reach <= p.limit {
                        (Put::Call, "has no room")
                    } else if self.bug(Bug::NoSecondLook) {
                        t.producers[me].limit = reach;
                        t.producers[me].shown = reach;
                        (Put::Call, "takes what it saw")
                    } else if self.bug(Bug::LimitAfterLooks) {
                        (Put::Look { tail, next: 0, least: NONE, wanted: reach, dead }, "looks again")
                    } else {
                        (Put::Limit { tail, wanted: reach, dead }, "wants more")
                    }
                } else {
                    let now = reach.min(wanted).max(p.limit);
                    t.producers[me].limit = now;
                    t.producers[me].shown = now;
                    (Put::Call, "has a limit")
                }
            }
            Put::Limit { tail, wanted, dead } => {
                t.producers[me].shown = wanted;
                (Put::Look { tail, next: 0, least: NONE, wanted, dead }, "stores its limit")
            }
            Put::Ask { tail } => {
                let stamp = self.stamp(s, tail);
                let fresh = stamp == Stamp::new(tail, Tag::Free);
                let done = fresh || stamp.pos + n == tail && matches!(stamp.tag, Tag::Full | Tag::Tomb);
                if !done && !self.bug(Bug::StampNotAsked) {
                    t.producers[me].intent = NONE;
                    (Put::Call, "finds the slot in use")
                } else if self.0.single {
                    (Put::Claim { tail, seen: stamp }, "may claim")
                } else {
                    (Put::Announce { tail }, "may claim")
                }
            }
            Put::Announce { tail } => {
                t.producers[me].intent = tail;
                (Put::Claim { tail, seen: self.stamp(s, tail) }, "announces")
            }
            Put::Claim { tail, .. } => {
                if s.tail == tail {
                    t.tail = tail + 1;
                    t.producers[me].claimed = tail;
                    (if self.0.drops { Put::Mark { pos: tail } } else { Put::Write { pos: tail, word: 0 } }, "claims")
                } else {
                    t.producers[me].intent = NONE;
                    (Put::Call, "has lost the claim")
                }
            }
            Put::Mark { pos } => {
                if !self.bug(Bug::NoClaim) {
                    t.stamps[self.slot(pos)] = Stamp::new(pos, CLAIM);
                }
                (Put::Write { pos, word: 0 }, "CLAIM")
            }
            Put::Write { pos, word } => {
                t.payloads[self.slot(pos)][usize::from(word)] = pos;
                (if word == 0 { Put::Write { pos, word: 1 } } else { Put::Publish { pos } }, "writes a word")
            }
            Put::Publish { pos } => {
                if !self.is_before(self.stamp(s, pos), pos) {
                    t.fault = Fault::Buried;
                }
                t.stamps[self.slot(pos)] = Stamp::new(pos, Tag::Full);
                t.producers[me].claimed = NONE;
                t.producers[me].left -= 1;
                (Put::Call, "FULL")
            }
        };
        t.producers[me].pc = pc;
        push(out, t, Kind::Step, who, what);
    }

    fn subscriber(&self, s: &State, index: u8, out: &mut Out) {
        let n = self.0.capacity;
        let me = usize::from(index);
        let who = self.0.producers + index;
        let one = s.subscribers[me];
        let first = |tail: u8| if self.0.oldest { n.max(tail.saturating_sub(n)) } else { tail };
        let mut t = *s;
        let mine = &mut t.subscribers[me];
        let (pc, what) = match one.pc {
            Get::Out => return,
            Get::Tail => (Get::Cursor { start: first(s.tail) }, "reads the tail"),
            Get::Cursor { start } => {
                mine.next = start;
                (Get::Bit { start }, "stores its cursor")
            }
            Get::Bit { start } => {
                mine.bit = !self.bug(Bug::NoBit);
                let next = if self.bug(Bug::NoReread) { Get::Settle { start } } else { Get::Again { start } };
                (next, "sets its bit")
            }
            Get::Again { start } => {
                let asks = self.0.oldest && !self.0.drops && !self.bug(Bug::LimitsNotAsked);
                let start = start.max(first(s.tail));
                let next = if asks { Get::Limits { start, tail: s.tail, next: 0 } } else { Get::Settle { start } };
                (next, "reads the tail again")
            }
            Get::Limits { start, tail, next } if next < self.0.producers => {
                let limit = s.producers[usize::from(next)].shown;
                (Get::Limits { start: start.max(limit.saturating_sub(n)), tail, next: next + 1 }, "reads a limit")
            }
            Get::Limits { start, tail, .. } => {
                // Whose limit was not read may have left its place to a successor, whose is lower.
                let tail = if self.bug(Bug::TailNotReadLast) { tail } else { s.tail };
                (Get::Settle { start: start.max(first(tail)).min(tail) }, "has read all limits, and the tail")
            }
            Get::Settle { start } => {
                mine.next = start;
                mine.own = start;
                if start > s.tail {
                    t.fault = Fault::Late;
                }
                (Get::Stamp, "has joined")
            }
            Get::Stamp => {
                let stamp = self.stamp(s, one.own);
                if self.is_before(stamp, one.own) {
                    return;
                }
                if stamp == Stamp::new(one.own, Tag::Full) {
                    if self.bug(Bug::CursorBeforeCopy) {
                        mine.next = one.own + 1;
                    }
                    (Get::Copy { word: 0, first: 0 }, "finds FULL")
                } else if stamp == Stamp::new(one.own, Tag::Tomb) {
                    mine.own += 1;
                    mine.next = mine.own;
                    (Get::Stamp, "skips a tombstone")
                } else if self.0.drops {
                    (Get::Gap, "finds a later lap")
                } else {
                    t.fault = Fault::Robbed;
                    (Get::Stamp, "finds a later lap")
                }
            }
            Get::Copy { word: 0, .. } => {
                (Get::Copy { word: 1, first: s.payloads[self.slot(one.own)][0] }, "copies a word")
            }
            Get::Copy { first, .. } => {
                (Get::Recheck { words: [first, s.payloads[self.slot(one.own)][1]] }, "copies a word")
            }
            Get::Recheck { words } => {
                let same = self.stamp(s, one.own) == Stamp::new(one.own, Tag::Full);
                if self.0.drops && !same && !self.bug(Bug::NoRecheck) {
                    (Get::Gap, "finds the stamp changed")
                } else {
                    if words != [one.own; 2] {
                        t.fault = Fault::Torn;
                    }
                    let mine = &mut t.subscribers[me];
                    mine.own += 1;
                    mine.next = mine.own;
                    (Get::Stamp, "has a message")
                }
            }
            Get::Gap => {
                mine.own = (one.own + 1).max(s.tail.saturating_sub(n));
                mine.next = mine.own;
                (Get::Stamp, "goes on behind the gap")
            }
        };
        t.subscribers[me].pc = pc;
        push(out, t, Kind::Step, who, what);
    }
}

impl Model for Broadcast {
    type State = State;

    fn initial(&self) -> State {
        let n = self.0.capacity;
        let stamp = |slot: usize| Stamp::new(n + slot as u8, Tag::Free);
        let producer = Producer {
            life: Life::Alive,
            pc: Put::Call,
            left: self.0.messages,
            shown: 0,
            limit: 0,
            intent: NONE,
            claimed: NONE,
        };
        let subscriber = Subscriber { life: Life::Alive, pc: Get::Out, bit: false, next: 0, own: 0 };
        State {
            tail: n,
            stamps: [stamp(0), stamp(1), stamp(2)],
            payloads: [[NONE; 2]; SLOTS],
            producers: [producer; MOST],
            subscribers: [subscriber; MOST],
            rescue: None,
            deaths: self.0.deaths,
            rejoins: self.0.rejoins,
            leaves: self.0.leaves,
            fault: Fault::None,
        }
    }

    fn fault(&self, s: &State) -> Option<&'static str> {
        match s.fault {
            Fault::None => None,
            Fault::Robbed => Some(ROBBED),
            Fault::Torn => Some(TORN),
            Fault::Late => Some(LATE),
            Fault::Buried => Some(BURIED),
        }
    }

    fn at_rest(&self, s: &State) -> bool {
        let producers = s.producers[..usize::from(self.0.producers)].iter();
        let subscribers = s.subscribers[..usize::from(self.0.subscribers)].iter();
        s.rescue.is_none()
            && producers.clone().all(|p| match p.life {
                Life::Alive => p.left == 0 && p.pc == Put::Call,
                Life::Dead => false,
                Life::Vacant => true,
            })
            && subscribers.clone().all(|one| match one.life {
                Life::Alive => one.pc == Get::Out || one.pc == Get::Stamp && one.own == s.tail,
                Life::Dead => false,
                Life::Vacant => true,
            })
    }

    fn successors(&self, s: &State, out: &mut Vec<Next<State>>) {
        for who in 0..self.0.producers {
            if s.producers[usize::from(who)].life == Life::Alive {
                self.producer(s, who, out);
            }
        }
        for index in 0..self.0.subscribers {
            if s.subscribers[usize::from(index)].life == Life::Alive {
                self.subscriber(s, index, out);
            }
        }
        self.rescuers(s, out);
        self.events(s, out);
    }
}
