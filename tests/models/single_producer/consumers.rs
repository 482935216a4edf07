//! The consumers (rules G1 to G3).

use super::{Bug, CONSUMER, Fault, Memory, NONE, Out, SingleProducer, State};
use super::{Kind, Stamp, Tag, claim, free, full, push, step, tomb};

/// What a consumer does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Get {
    Dead,
    /// At the beginning of a get.
    Look,
    /// It has read less than FULL (the stamp is kept for [`Bug::NoSecondLook`] alone).
    ReadClosed(Stamp),
    Barrier(Stamp),
    /// The window of which head, and how many slots of it read as FREE.
    Window(u8, u8),
    TestByte(u8),
    Tomb(u8),
    /// The stamp that was seen, and how many positions.
    Claim(Stamp, u8),
    ClearIntent,
    Copy(Part),
    Commit(Part),
    Closed,
}

/// What one get has taken, and how far it is with it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Part {
    start: u8,
    count: u8,
    done: u8,
}

impl Part {
    fn whole(start: u8, count: u8) -> Self {
        let done = 0;
        Part { start, count, done }
    }

    /// The position in work.
    fn pos(self) -> u8 {
        self.start + self.done
    }

    fn next(self) -> Option<Self> {
        let done = self.done + 1;
        (done < self.count).then_some(Part { done, ..self })
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Consumer {
    pub pc: Get,
    /// Single: its private cursor, which `taken` follows through the store buffer.
    cursor: u8,
    /// It has made the membarrier.
    barred: bool,
    /// The get intent: start and length.
    intent: (u8, u8),
    /// The messages of the get in work.
    hand: [u8; 2],
}

impl Consumer {
    pub fn new(pc: Get, cursor: u8) -> Self {
        Consumer { pc, cursor, barred: false, intent: (0, 0), hand: [NONE; 2] }
    }

    /// Alive, and its intent names `pos`.
    pub fn covers(&self, pos: u8) -> bool {
        let (start, length) = self.intent;
        self.pc != Get::Dead && (start..start + length).contains(&pos)
    }
}

impl SingleProducer {
    pub fn consumer(&self, s: &State, me: usize, out: &mut Out) {
        match s.consumers[me].pc {
            Get::Dead if s.heirs > 0 => {
                let mut t = *s;
                t.heirs -= 1;
                t.consumers[me] = Consumer::new(Get::Look, s.head);
                push(out, Kind::Arrival, CONSUMER, "succeeds the consumer", t);
            }
            Get::Dead => return,
            Get::Look => self.look(s, me, out),
            _ => self.get(s, me, out),
        }
        if s.consumer_deaths > 0 && s.consumers[me].pc != Get::Dead {
            let mut t = *s;
            if !self.bug(Bug::TakenLate) {
                self.settle(&mut t);
            }
            t.consumer_deaths -= 1;
            let cursor = if self.0.multi { s.consumers[me].cursor } else { t.head };
            t.consumers[me] = Consumer::new(Get::Dead, cursor);
            t.consumers[me].intent = s.consumers[me].intent;
            push(out, Kind::Death, CONSUMER + me as u8, "is killed", t);
        }
    }

    /// A get at its beginning: every choice it has.
    fn look(&self, s: &State, me: usize, out: &mut Out) {
        let my = s.consumers[me];
        let go = |out: &mut Out, what, pc, intent| {
            let mut t = *s;
            t.consumers[me] = Consumer { pc, intent, ..my };
            step(out, CONSUMER + me as u8, what, t);
        };
        let multi = self.0.multi;
        let pos = if multi { s.head } else { my.cursor };
        let seen = self.stamp(s, pos);
        if multi {
            for &back in self.stamps(s).iter().filter(|b| b.tag == Tag::Back) {
                go(out, "intends to take BACK", Get::Claim(back, 1), (back.pos, 1));
            }
        }
        if seen == full(pos) {
            for count in 1..=self.run(s, pos) {
                if multi {
                    go(out, "reads FULL, intends", Get::Claim(seen, count), (pos, count));
                } else {
                    go(out, "reads FULL", Get::Copy(Part::whole(pos, count)), (0, 0));
                }
            }
        } else if seen == tomb(pos) && multi {
            go(out, "reads TOMB, intends", Get::Claim(seen, 1), (pos, 1));
        } else if seen == tomb(pos) {
            go(out, "reads TOMB", Get::Commit(Part::whole(pos, 1)), (0, 0));
        } else if my.barred && multi {
            go(out, "begins with the window", Get::Window(pos, 0), (0, 0));
        } else if my.barred {
            go(out, "decides", self.verdict(s, pos, seen), (0, 0));
        } else {
            let kept = self.bug(Bug::NoSecondLook);
            let kept = if kept { seen } else { free(0) };
            let early = self.bug(Bug::BarrierBeforeClosed);
            let pc = if early { Get::Barrier(kept) } else { Get::ReadClosed(kept) };
            go(out, "reads less than FULL", pc, (0, 0));
        }
    }

    /// How many messages one get may take from `pos` on, which reads FULL.
    fn run(&self, s: &State, pos: u8) -> u8 {
        let is_full = |&next: &u8| self.stamp(s, next) == full(next);
        1 + (pos + 1..pos + self.0.batch).take_while(is_full).count() as u8
    }

    /// Rule G1: `seen` at the head of a Single consumer is less than FULL.
    fn verdict(&self, s: &State, pos: u8, seen: Stamp) -> Get {
        if self.bug(Bug::ClosedByHint) {
            if pos == s.tail { Get::Closed } else { Get::Look }
        } else if seen == claim(pos) && !self.bug(Bug::ClaimIsFloor) {
            Get::TestByte(pos)
        } else {
            Get::Closed
        }
    }

    /// Rule G2: one more slot of the window.
    fn window(&self, s: &State, head: u8, done: u8) -> Get {
        let pos = head + done;
        let seen = self.stamp(s, pos);
        if self.bug(Bug::ClosedByHint) {
            self.verdict(s, pos, seen)
        } else if seen == claim(pos) && !self.bug(Bug::ClaimIsFloor) {
            Get::TestByte(pos)
        } else if seen != free(pos) && seen != claim(pos) {
            Get::Look
        } else if done + 1 == self.0.capacity || self.bug(Bug::HeadSlotOnly) {
            Get::Closed
        } else {
            Get::Window(head, done + 1)
        }
    }

    /// A get that is under way.
    fn get(&self, s: &State, me: usize, out: &mut Out) {
        let early = self.bug(Bug::BarrierBeforeClosed);
        let mut t = *s;
        let my = &mut t.consumers[me];
        let what = match my.pc {
            Get::ReadClosed(kept) => {
                my.barred = s.closed && early;
                let seen_closed = s.closed && !early;
                my.pc = if seen_closed { Get::Barrier(kept) } else { Get::Look };
                "reads closed"
            }
            Get::Barrier(kept) => {
                my.barred = !early;
                my.pc = match kept {
                    _ if early => Get::ReadClosed(kept),
                    _ if self.bug(Bug::NoSecondLook) => self.verdict(s, my.cursor, kept),
                    _ => Get::Look,
                };
                if self.0.memory == Memory::Tso && !self.bug(Bug::NoBarrier) {
                    self.drain(&mut t);
                    self.settle(&mut t);
                }
                "makes the membarrier"
            }
            Get::Window(head, done) => {
                my.pc = self.window(s, head, done);
                "reads a slot of the window"
            }
            Get::TestByte(pos) => {
                let tomb = self.byte_is_free(s);
                my.pc = if tomb { Get::Tomb(pos) } else { Get::Look };
                "tests the role byte"
            }
            Get::Tomb(pos) => {
                my.pc = Get::Look;
                self.settle(&mut t);
                self.bury(&mut t, pos, self.bug(Bug::TombByStore));
                "CLAIM -> TOMB"
            }
            Get::Claim(seen, count) => {
                self.claim_head(&mut t, me, seen, count);
                "claims"
            }
            Get::ClearIntent => {
                my.pc = Get::Look;
                my.intent = (0, 0);
                "clears its intent"
            }
            Get::Copy(part) => {
                my.hand[usize::from(part.done)] = s.payloads[self.slot(part.pos())];
                let commit = Get::Commit(Part::whole(part.start, part.count));
                my.pc = part.next().map_or(commit, Get::Copy);
                "copies"
            }
            Get::Commit(part) => {
                self.commit(&mut t, me, part);
                "commits"
            }
            Get::Dead | Get::Look | Get::Closed => return,
        };
        step(out, CONSUMER + me as u8, what, t);
    }

    /// The claim of a Multi consumer: `head`, or BACK_a → FULL_{a+1}.
    fn claim_head(&self, t: &mut State, me: usize, seen: Stamp, count: u8) {
        let part = Part::whole(seen.pos, count);
        let back = seen.tag == Tag::Back;
        let unmoved = if back { self.stamp(t, seen.pos) == seen } else { t.head == seen.pos };
        t.consumers[me].pc = match seen.tag {
            _ if !unmoved => Get::ClearIntent,
            Tag::Tomb => Get::Commit(part),
            _ => Get::Copy(part),
        };
        if unmoved && back {
            let attempt = seen.attempt + 1;
            t.stamps[self.slot(seen.pos)] = Stamp { attempt, ..full(seen.pos) };
        } else if unmoved {
            t.head += count;
        }
    }

    /// Rule G3: Single, all at once by `taken`; Multi, slot by slot.
    fn commit(&self, t: &mut State, me: usize, part: Part) {
        let my = &mut t.consumers[me];
        if self.0.multi {
            let message = std::mem::replace(&mut my.hand[usize::from(part.done)], NONE);
            my.pc = part.next().map_or(Get::Look, Get::Commit);
            let attempt = self.stamp(t, part.pos()).attempt;
            let attempt = if self.bug(Bug::AttemptKept) { attempt } else { 0 };
            let released = free(part.pos() + self.0.capacity);
            self.set(t, Stamp { attempt, ..released });
            self.deliver(t, message);
        } else {
            my.pc = Get::Look;
            my.cursor = part.start + part.count;
            for message in std::mem::replace(&mut my.hand, [NONE; 2]) {
                self.deliver(t, message);
            }
            if self.0.memory == Memory::Sequential {
                self.settle(t);
            }
        }
    }

    /// The queue is done with `message`, or with a tombstone.
    fn deliver(&self, t: &mut State, message: u8) {
        if message == NONE {
            return;
        }
        if t.delivered >> message & 1 == 1 {
            t.fault = Some(Fault::Duplicate);
        } else if t.delivered >> message != 0 && !self.0.multi {
            t.fault = Some(Fault::Disorder);
        }
        t.delivered |= 1 << message;
    }

    /// A Single consumer's `taken` reaches memory.
    pub fn settle(&self, t: &mut State) {
        if !self.0.multi {
            t.head = t.consumers[0].cursor;
        }
    }
}
