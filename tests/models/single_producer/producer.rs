//! The producer, its successors and its store buffer (rules P1 to P3, F1).

use super::{BUFFER, Bug, CONSUMER, Memory, Out, PRODUCER, SingleProducer, State};
use super::{Kind, Stamp, claim, free, full, push, step, tomb};

/// The holder of the role; what it does next. The position is its private cursor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Put {
    /// Nobody: the role byte is free.
    Gone,
    /// A successor that holds the byte and knows nothing yet.
    Arrived,
    Scan(u8),
    Inherit(u8),
    /// Between calls.
    Idle(u8),
    Claim(u8),
    ReadClosed(u8),
    Write(u8),
    Publish(u8),
    Hint(u8),
    Refuse(u8),
    /// It has said `Closed(v)`.
    Refused,
}

/// One place of the store buffer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Store {
    Nothing,
    Stamp(Stamp),
    /// The position and the message.
    Payload(u8, u8),
    Tail(u8),
}

impl SingleProducer {
    pub fn producer(&self, s: &State, out: &mut Out) {
        match s.put {
            Put::Gone if s.successors > 0 => {
                let mut t = *s;
                t.successors -= 1;
                t.put = Put::Arrived;
                push(out, Kind::Arrival, PRODUCER, "takes the role byte", t);
            }
            Put::Gone => return,
            Put::Arrived | Put::Scan(_) | Put::Inherit(_) => self.succeed(s, out),
            _ => self.put(s, out),
        }
        if s.producer_deaths > 0 && s.put != Put::Gone {
            self.producer_dies(s, out);
        }
    }

    /// Rule P3.
    fn succeed(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        let what = match s.put {
            Put::Arrived if self.bug(Bug::SuccessorTrustsHint) => {
                t.put = Put::Idle(s.tail);
                "starts at the hint"
            }
            Put::Scan(p) => {
                let seen = self.stamp(s, p);
                t.put = if seen >= full(p) {
                    Put::Scan(p + 1)
                } else if seen != claim(p) || self.bug(Bug::SuccessorOverwrites) {
                    Put::Idle(p)
                } else if self.bug(Bug::SuccessorSkips) {
                    Put::Idle(p + 1)
                } else {
                    Put::Inherit(p)
                };
                "scans a stamp"
            }
            Put::Inherit(p) => {
                self.bury(&mut t, p, false);
                t.put = Put::Idle(p + 1);
                "tombstones the dead claim"
            }
            _ => {
                t.put = Put::Scan(s.head);
                "reads its base"
            }
        };
        step(out, PRODUCER, what, t);
    }

    /// Rules P1 and P2.
    fn put(&self, s: &State, out: &mut Out) {
        let no_claim = self.bug(Bug::NoClaim);
        let late_claim = self.bug(Bug::ClosedBeforeClaim);
        let mut t = *s;
        let what = match s.put {
            Put::Idle(p) => {
                let open = !s.closed || self.bug(Bug::FullNeverClosed);
                if s.next == self.0.messages || !self.is_free(s, p) && open {
                    return;
                } else if !self.is_free(s, p) {
                    t.put = Put::Refused;
                    "is full, and Closed"
                } else {
                    if !no_claim && !late_claim {
                        self.store(&mut t, Store::Stamp(claim(p)));
                    }
                    t.put = Put::ReadClosed(p);
                    "stores CLAIM"
                }
            }
            Put::ReadClosed(p) => {
                let fence = self.0.memory == Memory::Fence && !self.bug(Bug::NoFence);
                if fence && s.buffer[0] != Store::Nothing {
                    return;
                }
                t.put = match s.closed {
                    true if no_claim || late_claim => Put::Refused,
                    true => Put::Refuse(p),
                    false if late_claim => Put::Claim(p),
                    false => Put::Write(p),
                };
                "reads closed"
            }
            Put::Claim(p) => {
                self.store(&mut t, Store::Stamp(claim(p)));
                t.put = Put::Write(p);
                "stores CLAIM, too late"
            }
            Put::Write(p) => {
                self.store(&mut t, Store::Payload(p, s.next));
                t.put = Put::Publish(p);
                "stores the payload"
            }
            Put::Publish(p) => {
                self.store(&mut t, Store::Stamp(full(p)));
                t.acked |= 1 << s.next;
                t.next += 1;
                let hint = self.bug(Bug::ClosedByHint) || self.bug(Bug::SuccessorTrustsHint);
                t.put = if hint { Put::Hint(p) } else { Put::Idle(p + 1) };
                "stores FULL: Ok"
            }
            Put::Hint(p) => {
                self.store(&mut t, Store::Tail(p + 1));
                t.put = Put::Idle(p + 1);
                "publishes the hint"
            }
            Put::Refuse(p) => {
                if !self.bug(Bug::RefusedClaimStays) {
                    self.store(&mut t, Store::Stamp(tomb(p)));
                }
                t.next += 1;
                t.put = Put::Refused;
                "stores TOMB: Closed"
            }
            Put::Gone | Put::Arrived | Put::Scan(_) | Put::Inherit(_) | Put::Refused => return,
        };
        step(out, PRODUCER, what, t);
    }

    fn is_free(&self, s: &State, pos: u8) -> bool {
        if self.0.multi { self.stamp(s, pos) == free(pos) } else { pos < s.head + self.0.capacity }
    }

    fn producer_dies(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        self.drain(&mut t);
        t.producer_deaths -= 1;
        t.put = Put::Gone;
        t.next += match s.put {
            // The message dies with its put.
            Put::Claim(_) | Put::ReadClosed(_) | Put::Write(_) => 1,
            Put::Publish(_) | Put::Refuse(_) => 1,
            _ => 0,
        };
        push(out, Kind::Death, PRODUCER, "is killed", t);
    }

    fn store(&self, s: &mut State, store: Store) {
        if self.0.memory == Memory::Sequential {
            return self.reach(s, store);
        }
        let mut places = s.buffer.iter_mut();
        let place = places.find(|place| **place == Store::Nothing);
        *place.expect("as many places as stores in flight") = store;
    }

    fn reach(&self, s: &mut State, store: Store) {
        match store {
            Store::Nothing => {}
            Store::Stamp(stamp) => self.set(s, stamp),
            Store::Payload(pos, message) => s.payloads[self.slot(pos)] = message,
            Store::Tail(tail) => s.tail = tail,
        }
    }

    fn drain_one(&self, s: &mut State) {
        let store = s.buffer[0];
        s.buffer.rotate_left(1);
        s.buffer[BUFFER - 1] = Store::Nothing;
        self.reach(s, store);
    }

    pub fn drain(&self, s: &mut State) {
        while s.buffer[0] != Store::Nothing {
            self.drain_one(s);
        }
    }

    /// Stores reach memory whenever they like.
    pub fn store_buffers(&self, s: &State, out: &mut Out) {
        if s.buffer[0] != Store::Nothing {
            let mut t = *s;
            self.drain_one(&mut t);
            step(out, PRODUCER, "a store reaches memory", t);
        }
        let mut t = *s;
        self.settle(&mut t);
        if t.head != s.head {
            step(out, CONSUMER, "taken reaches memory", t);
        }
    }
}
