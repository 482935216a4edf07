//! The consumer and its successors (rules S4 to S6).

use super::seal::Seal;
use super::{Bug, CONSUMER, Fault, Freedom, HAND, NONE, Out, Spsc, State, Store};
use super::{Kind, Next, step};

/// What the consumer does next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Get {
    Dead,
    /// At the beginning of a get.
    Look,
    /// It has copied so many.
    Commit(u8),
    /// For [`Bug::BarrierBeforeClosed`].
    EarlyBarrier,
    /// After a commit if there are messages in hand.
    ReadClosed,
    Seal(Seal),
    /// For [`Bug::CheckBeforeStamp`]: it has found the queue open.
    ReadStamp,
    /// For [`Bug::TakenLate`]: the messages are returned, this is what `taken` will be.
    StoreTaken(u8),
    Closed,
}

impl Spsc {
    pub fn consumer(&self, s: &State, out: &mut Out) {
        match s.get {
            Get::Dead => {
                // As many arrive as have died.
                let mut t = *s;
                t.get = Get::Look;
                t.cursor = s.taken + u8::from(self.bug(Bug::SuccessorSkips));
                out.push(Next { state: t, kind: Kind::Arrival, who: CONSUMER, what: "succeeds the consumer" });
                return;
            }
            Get::Look | Get::ReadStamp => self.look(s, out),
            _ => self.get(s, out),
        }
        if s.consumer_deaths > 0 {
            let mut t = *s;
            self.drain_get(&mut t);
            t.consumer_deaths -= 1;
            t.get = Get::Dead;
            t.cursor = t.taken;
            t.known = 0;
            t.known_end = 0;
            t.hand = [NONE; HAND];
            out.push(Next { state: t, kind: Kind::Death, who: CONSUMER, what: "is killed" });
        }
    }

    /// A get at its beginning: every choice it has.
    fn look(&self, s: &State, out: &mut Out) {
        let pos = s.cursor;
        let limit = if s.known_end == 0 { u8::MAX } else { s.known_end };
        let batch = self.0.batch.min(HAND as u8);
        let after_stamp = match s.known_end {
            0 if self.free_to(Freedom::CheckPerStamp) => Get::ReadClosed,
            _ => Get::Look,
        };
        let mut t = *s;
        if pos >= limit {
            t.get = Get::Closed;
            t.over = true;
            step(out, CONSUMER, "is at the end: Closed", t);
        } else if pos < s.known {
            let known = s.known.min(limit) - pos;
            for count in 1..=batch.min(known) {
                self.copy(s, count, false, out);
                if self.0.adopts {
                    self.copy(s, count, true, out);
                }
            }
            if known < batch && s.known < limit && self.published(s, s.known) {
                t.known = self.range(s, s.known);
                t.get = after_stamp;
                step(out, CONSUMER, "reads the next stamp", t);
            }
        } else if self.bug(Bug::CheckBeforeStamp) && s.known_end == 0 && s.get == Get::Look {
            t.get = if s.closed { Get::Seal(self.first()) } else { Get::ReadStamp };
            step(out, CONSUMER, "reads closed too early", t);
        } else if self.published(s, pos) && s.get == Get::ReadStamp {
            t.known = self.range(s, pos);
            t.get = Get::Look;
            step(out, CONSUMER, "reads the stamp", t);
        } else if self.published(s, pos) {
            t.known = self.range(s, pos);
            t.get = after_stamp;
            step(out, CONSUMER, "reads the stamp", t);
        } else if s.known_end == 0 {
            t.get = self.ask();
            step(out, CONSUMER, "finds nothing published", t);
        }
    }

    /// How it asks whether the queue is closed.
    fn ask(&self) -> Get {
        if self.bug(Bug::BarrierBeforeClosed) { Get::EarlyBarrier } else { Get::ReadClosed }
    }

    /// What the stamp of `pos`, which is published, says: published up to here.
    fn range(&self, s: &State, pos: u8) -> u8 {
        let stamp = s.stamps[self.block(pos)];
        if self.bug(Bug::WholeBlock) {
            self.block_end(pos)
        } else if self.free_to(Freedom::NextLap) {
            stamp
        } else {
            stamp.min(self.block_end(pos))
        }
    }

    fn copy(&self, s: &State, count: u8, adopts: bool, out: &mut Out) {
        let mut t = *s;
        for at in 0..count {
            let pos = s.cursor + at;
            let cell = s.cells[self.cell(pos)];
            if cell.pos != pos {
                t.fault = Some(Fault::WrongCell);
            }
            t.hand[usize::from(at)] = cell.message;
            if adopts && !self.bug(Bug::AdoptsAfterCommit) {
                self.store_get(&mut t, Store::Back(pos, cell.message));
            }
        }
        if adopts && self.bug(Bug::AdoptsStamp) {
            let block = self.block(s.cursor);
            self.store_get(&mut t, Store::Stamp(block as u8, s.stamps[block]));
        }
        t.get = Get::Commit(count);
        step(out, CONSUMER, if adopts { "copies and stores back" } else { "copies" }, t);
    }

    /// A get that is under way.
    fn get(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        let what = match s.get {
            Get::Commit(count) => {
                self.commit(&mut t, count);
                "commits"
            }
            Get::StoreTaken(taken) => {
                self.store_get(&mut t, Store::Taken(taken));
                t.get = Get::Look;
                "stores taken late"
            }
            Get::EarlyBarrier => {
                self.membarrier(&mut t);
                t.get = Get::ReadClosed;
                "makes the membarrier early"
            }
            Get::ReadClosed if s.closed => {
                t.get = Get::Seal(self.first());
                "reads closed"
            }
            Get::ReadClosed => {
                self.give(&mut t, u8::MAX);
                t.get = Get::Look;
                "reads open"
            }
            Get::Seal(seal) => {
                let next = self.seal(&mut t, seal, s.cursor, true);
                t.get = match next {
                    Seal::Known(end) => self.verdict(&mut t, end),
                    next => Get::Seal(next),
                };
                seal.what()
            }
            Get::Dead | Get::Look | Get::ReadStamp | Get::Closed => return,
        };
        step(out, CONSUMER, what, t);
    }

    /// The store of `taken`.
    fn commit(&self, t: &mut State, count: u8) {
        let start = t.cursor;
        t.cursor += count;
        let late = self.bug(Bug::TakenLate);
        if !late {
            self.store_get(t, Store::Taken(t.cursor));
        }
        for at in 0..count {
            let message = t.hand[usize::from(at)];
            if message == NONE {
                continue; // an empty cell, a fault already
            }
            if t.committed >> message & 1 == 1 {
                t.fault = Some(Fault::Duplicate);
            }
            t.committed |= 1 << message;
            if self.0.adopts && self.bug(Bug::AdoptsAfterCommit) {
                self.store_get(t, Store::Back(start + at, message));
            }
        }
        let unchecked = late || self.bug(Bug::NoCheck) || self.free_to(Freedom::CheckPerStamp);
        if t.known_end != 0 || unchecked {
            self.give(t, u8::MAX);
            t.get = if late { Get::StoreTaken(t.cursor) } else { Get::Look };
        } else {
            t.get = self.ask();
        }
    }

    /// The consumer has learnt E.
    fn verdict(&self, t: &mut State, end: u8) -> Get {
        t.known_end = end;
        let limit = if self.bug(Bug::NoCompare) { u8::MAX } else { end };
        if self.give(t, limit) == 0 && t.cursor >= end {
            t.over = true;
            Get::Closed
        } else {
            Get::Look
        }
    }

    /// Returns what is in hand and below `limit`; how many.
    fn give(&self, t: &mut State, limit: u8) -> u8 {
        let held = t.hand.iter().filter(|&&message| message != NONE).count() as u8;
        let start = t.cursor - held;
        let count = limit.saturating_sub(start).min(held);
        for &message in &t.hand[..usize::from(count)] {
            if t.returned >> message != 0 {
                t.fault.get_or_insert(Fault::Disorder);
            }
            t.returned |= 1 << message;
            t.returned_end = t.returned_end.max(start + count);
        }
        t.hand = [NONE; HAND];
        count
    }
}
