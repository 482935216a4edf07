//! The producer and its successors (rules S1, S2, S6, S7, F1), and the store buffers.

use super::{BUFFER, Bug, CONSUMER, Cell, Fault, Freedom, Memory, Out, PRODUCER, Spsc, State};
use super::{Kind, Next, step};

/// The holder of the role; what it does next. The position is its private cursor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Put {
    /// Nobody: the role is free.
    Gone,
    /// A successor that holds the role and knows nothing yet.
    Arrived,
    Scan,
    /// Between calls.
    Idle(u8),
    /// It has found the queue open (rule S7).
    Begin(u8),
    /// The cells are stored; the stamp of this position comes next.
    Publish(Batch, u8),
    ReadClosed(Batch),
    Settle(Batch),
    /// For [`Bug::SettledByStore`]: `end` was 0.
    StoreEnd(Batch),
    /// It has seen that it is closed.
    Done,
}

/// The positions of one put.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Batch {
    start: u8,
    count: u8,
}

impl Batch {
    fn end(self) -> u8 {
        self.start + self.count
    }
}

/// One place of a store buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Store {
    Nothing,
    /// The position and the message, by the producer.
    Cell(u8, u8),
    /// The same, by the consumer.
    Back(u8, u8),
    /// The block and the stamp.
    Stamp(u8, u8),
    Taken(u8),
}

impl Spsc {
    pub fn producer(&self, s: &State, out: &mut Out) {
        match s.put {
            Put::Gone => {
                // As many arrive as have died.
                let mut t = *s;
                t.put = Put::Arrived;
                t.late_role = s.closed;
                out.push(Next { state: t, kind: Kind::Arrival, who: PRODUCER, what: "takes the role" });
                return;
            }
            Put::Arrived | Put::Scan => self.succeed(s, out),
            Put::Idle(_) | Put::Begin(_) => self.begin(s, out),
            _ => self.put(s, out),
        }
        if s.producer_deaths > 0 {
            let mut t = *s;
            self.drain_put(&mut t);
            t.producer_deaths -= 1;
            t.put = Put::Gone;
            t.late = false;
            t.next += match s.put {
                // The messages die with their put, or appear unacknowledged.
                Put::Publish(b, _) | Put::ReadClosed(b) | Put::Settle(b) | Put::StoreEnd(b) => b.count,
                _ => 0,
            };
            out.push(Next { state: t, kind: Kind::Death, who: PRODUCER, what: "is killed" });
        }
    }

    /// Rule S6.
    fn succeed(&self, s: &State, out: &mut Out) {
        let unchecked = self.bug(Bug::SuccessorUnchecked) || self.free_to(Freedom::SuccessorUnchecked);
        let mut t = *s;
        let what = match s.put {
            Put::Arrived if !unchecked => {
                t.put = if s.closed { Put::Done } else { Put::Scan };
                "reads closed"
            }
            _ => {
                let mut start = s.taken;
                let scans = !self.bug(Bug::SuccessorAtTaken);
                while scans && start < s.taken + self.0.cells && self.published(s, start) {
                    start += 1;
                }
                t.put = Put::Idle(start);
                "scans for its start"
            }
        };
        step(out, PRODUCER, what, t);
    }

    /// Rules S1 and S7 up to the stores of the cells.
    fn begin(&self, s: &State, out: &mut Out) {
        let check_before = self.0.strict && !self.bug(Bug::NoCheckBefore) || self.bug(Bug::ClosedBeforeStamp);
        let mut t = *s;
        let (start, begun) = match s.put {
            Put::Begin(start) => (start, true),
            Put::Idle(start) => (start, false),
            _ => return,
        };
        if s.next == self.0.messages {
            return;
        }
        if !begun {
            t.late = s.late_role || self.0.strict && s.closed;
            if check_before {
                if s.closed {
                    self.refuse(&mut t, 1);
                    t.put = Put::Done;
                    t.next += 1;
                } else {
                    t.put = Put::Begin(start);
                }
                step(out, PRODUCER, "reads closed first", t);
                return;
            }
        }
        let spare = u8::from(self.bug(Bug::OneTooMany));
        let free = (s.taken + self.0.cells + spare).saturating_sub(start);
        if free == 0 {
            if s.closed && !self.bug(Bug::FullNeverClosed) {
                self.refuse(&mut t, 1);
                t.put = Put::Done;
                t.next += 1;
                step(out, PRODUCER, "is full, and Closed", t);
            }
            return;
        }
        for count in 1..=free.min(self.0.batch).min(self.0.messages - s.next) {
            let mut t = t;
            let batch = Batch { start, count };
            if self.bug(Bug::StampBeforeCell) {
                self.publish(&mut t, batch, start);
            }
            for at in 0..count {
                self.store_put(&mut t, Store::Cell(start + at, s.next + at));
            }
            t.put = if self.bug(Bug::StampBeforeCell) { Put::ReadClosed(batch) } else { Put::Publish(batch, start) };
            step(out, PRODUCER, "is free, stores the cells", t);
        }
    }

    /// One stamp, which publishes from `at` on; the position after it.
    fn publish(&self, t: &mut State, batch: Batch, at: u8) -> u8 {
        let end = self.block_end(at).min(batch.end());
        let mut stamp = end;
        if self.bug(Bug::StampPerBlock) {
            stamp = (end..batch.end()).filter(|&p| self.block(p) == self.block(at)).map(|p| p + 1).fold(end, u8::max);
        }
        self.store_put(t, Store::Stamp(self.block(at) as u8, stamp));
        end
    }

    /// Rules S1 and S2 after the cells.
    fn put(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        let what = match s.put {
            Put::Publish(batch, at) => {
                let next = self.publish(&mut t, batch, at);
                if next < batch.end() {
                    t.put = Put::Publish(batch, next);
                } else if self.bug(Bug::ClosedBeforeStamp) {
                    self.answer(&mut t, batch, batch.end(), false);
                } else {
                    t.put = Put::ReadClosed(batch);
                }
                "stores a stamp"
            }
            Put::ReadClosed(batch) => {
                let fence = self.0.memory == Memory::Fence && !self.bug(Bug::NoFence);
                if fence && s.put_buffer[0] != Store::Nothing {
                    return;
                }
                if !s.closed {
                    self.answer(&mut t, batch, batch.end(), false);
                } else if self.bug(Bug::RefusedWithoutCas) {
                    self.answer(&mut t, batch, batch.start, true);
                } else {
                    t.put = Put::Settle(batch);
                }
                "reads closed"
            }
            Put::Settle(batch) => {
                self.drain_put(&mut t);
                if t.end == 0 && self.bug(Bug::SettledByStore) {
                    t.put = Put::StoreEnd(batch);
                } else {
                    if t.end == 0 {
                        t.end = batch.end();
                    }
                    let end = t.end;
                    self.answer(&mut t, batch, end, true);
                }
                "settles the end"
            }
            Put::StoreEnd(batch) => {
                t.end = batch.end();
                self.answer(&mut t, batch, batch.end(), true);
                "stores the end"
            }
            _ => return,
        };
        step(out, PRODUCER, what, t);
    }

    /// The put ends: what is below `end` is in.
    fn answer(&self, t: &mut State, batch: Batch, end: u8, closed: bool) {
        let part = end > batch.start && end < batch.end();
        let count = match end.saturating_sub(batch.start).min(batch.count) {
            _ if part && self.bug(Bug::PartIsWhole) => batch.count,
            _ if part && self.bug(Bug::PartIsNothing) => 0,
            _ if closed && end == batch.end() && self.bug(Bug::EqualIsRefused) => 0,
            count => count,
        };
        if count > 0 {
            t.acked |= ((1 << count) - 1) << t.next;
            t.acked_end = batch.start + count;
            if t.late {
                t.fault = Some(Fault::LateOk);
            }
        }
        t.next += count;
        self.refuse(t, batch.count - count);
        t.next += batch.count - count;
        t.late = false;
        let on = !closed || self.free_to(Freedom::PublishesOn);
        t.put = if on { Put::Idle(batch.end()) } else { Put::Done };
    }

    /// The next `count` messages are given back.
    fn refuse(&self, t: &mut State, count: u8) {
        let messages = ((1 << count) - 1) << t.next;
        if t.returned & messages != 0 {
            t.fault = Some(Fault::Refused);
        }
        t.refused |= messages;
        t.late = false;
    }

    fn store_put(&self, t: &mut State, store: Store) {
        if self.0.memory == Memory::Sequential {
            self.reach(t, store);
        } else {
            append(&mut t.put_buffer, store);
        }
    }

    pub fn store_get(&self, t: &mut State, store: Store) {
        if self.0.memory == Memory::Sequential {
            self.reach(t, store);
        } else {
            append(&mut t.get_buffer, store);
        }
    }

    /// A store reaches memory.
    fn reach(&self, t: &mut State, store: Store) {
        match store {
            Store::Nothing => {}
            Store::Cell(pos, message) => {
                if pos >= t.taken + self.0.cells {
                    t.fault = Some(Fault::Overrun);
                }
                t.cells[self.cell(pos)] = Cell { pos, message };
            }
            Store::Back(pos, message) => t.cells[self.cell(pos)] = Cell { pos, message },
            Store::Stamp(block, stamp) => t.stamps[usize::from(block)] = stamp,
            Store::Taken(taken) => t.taken = taken,
        }
    }

    pub fn drain_put(&self, t: &mut State) {
        while let Some(store) = remove(&mut t.put_buffer) {
            self.reach(t, store);
        }
    }

    pub fn drain_get(&self, t: &mut State) {
        while let Some(store) = remove(&mut t.get_buffer) {
            self.reach(t, store);
        }
    }

    pub fn has_barrier(&self) -> bool {
        self.0.memory == Memory::Tso && !self.bug(Bug::NoBarrier)
    }

    /// Both buffers.
    pub fn membarrier(&self, t: &mut State) {
        if self.has_barrier() {
            self.drain_put(t);
            self.drain_get(t);
        }
    }

    /// Stores reach memory whenever they like.
    pub fn store_buffers(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        if let Some(store) = remove(&mut t.put_buffer) {
            self.reach(&mut t, store);
            step(out, PRODUCER, "a store reaches memory", t);
        }
        let mut t = *s;
        if let Some(store) = remove(&mut t.get_buffer) {
            self.reach(&mut t, store);
            step(out, CONSUMER, "a store reaches memory", t);
        }
    }
}

fn append(buffer: &mut [Store; BUFFER], store: Store) {
    let place = buffer.iter_mut().find(|place| **place == Store::Nothing);
    *place.expect("as many places as stores in flight") = store;
}

/// The oldest store.
fn remove(buffer: &mut [Store; BUFFER]) -> Option<Store> {
    let store = std::mem::replace(&mut buffer[0], Store::Nothing);
    buffer.rotate_left(1);
    (store != Store::Nothing).then_some(store)
}
