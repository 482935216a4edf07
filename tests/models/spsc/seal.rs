//! The seal (rule S3), and the opener, who asks whether the queue is finished.

use super::{Bug, Freedom, OPENER, Out, Spsc, State, step};

/// A seal under way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Seal {
    Barrier,
    Load,
    /// For [`Freedom::BarrierIfUnset`].
    BarrierUnset,
    ReadTaken,
    /// Where the scan began, and the position in work.
    Scan(u8, u8),
    /// The whole window of this `taken` is published.
    ReadTakenAgain(u8),
    /// For [`Bug::ScanBeforeBarrier`].
    BarrierLate(u8),
    Swap(u8),
    /// E.
    Known(u8),
}

impl Seal {
    pub fn what(self) -> &'static str {
        match self {
            Seal::Barrier | Seal::BarrierUnset | Seal::BarrierLate(_) => "makes the membarrier",
            Seal::Load => "loads end",
            Seal::ReadTaken => "reads taken",
            Seal::Scan(..) => "scans a stamp",
            Seal::ReadTakenAgain(_) => "reads taken again",
            Seal::Swap(_) => "end 0 -> E'",
            Seal::Known(_) => "knows E",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Opener {
    Idle,
    /// For the bugs that do something before the load of `closed`: the `taken` it has read.
    Early(u8),
    /// The `taken` it has read before, or 0.
    Seal(Seal, u8),
    /// The membarrier has reached the producer, or else the consumer.
    Half(Seal, u8, bool),
    /// It knows E.
    Compare(u8),
    Done,
}

impl Spsc {
    /// The first step of a seal, `closed` being seen.
    pub fn first(&self) -> Seal {
        if self.bug(Bug::ScanBeforeBarrier) {
            Seal::ReadTaken
        } else if self.bug(Bug::BarrierBeforeClosed) || self.free_to(Freedom::BarrierIfUnset) {
            Seal::Load
        } else {
            Seal::Barrier
        }
    }

    /// One step of a seal. `base` is the `taken` that is known already, or 0. (An opener makes its membarriers by
    /// [`Spsc::half_barrier`].)
    pub fn seal(&self, t: &mut State, seal: Seal, base: u8, consumer: bool) -> Seal {
        let found = |pos| match self.bug(Bug::ScanBeforeBarrier) {
            true => Seal::BarrierLate(pos),
            false => Seal::Swap(pos),
        };
        match seal {
            Seal::Barrier | Seal::BarrierUnset | Seal::BarrierLate(_) => {
                self.membarrier(t);
                self.after_barrier(seal, base)
            }
            Seal::Load if t.end != 0 => Seal::Known(t.end),
            Seal::Load if self.free_to(Freedom::BarrierIfUnset) => Seal::BarrierUnset,
            Seal::Load => self.from(base),
            Seal::ReadTaken => self.scan(if base == 0 { t.taken } else { base }),
            Seal::Scan(_, pos) if !self.published(t, pos) => found(pos),
            Seal::Scan(base, pos) if pos + 1 < base + self.0.cells => Seal::Scan(base, pos + 1),
            // The consumer's own `taken` does not move while it seals.
            Seal::Scan(base, pos) => {
                let once = self.free_to(Freedom::ScanOnce) || self.bug(Bug::StaleTaken);
                if consumer || once { found(pos + 1) } else { Seal::ReadTakenAgain(base) }
            }
            Seal::ReadTakenAgain(base) if t.taken != base => self.scan(t.taken),
            Seal::ReadTakenAgain(base) if self.bug(Bug::ScansForEver) => self.scan(base),
            Seal::ReadTakenAgain(base) => found(base + self.0.cells),
            Seal::Swap(pos) => {
                if consumer {
                    self.drain_get(t);
                }
                if t.end == 0 || self.bug(Bug::SealedByStore) {
                    t.end = pos;
                }
                Seal::Known(t.end)
            }
            Seal::Known(end) => Seal::Known(end),
        }
    }

    fn scan(&self, base: u8) -> Seal {
        if self.bug(Bug::NoScan) { Seal::Swap(base) } else { Seal::Scan(base, base) }
    }

    fn from(&self, base: u8) -> Seal {
        if base == 0 { Seal::ReadTaken } else { self.scan(base) }
    }

    fn after_barrier(&self, seal: Seal, base: u8) -> Seal {
        match seal {
            Seal::BarrierUnset => self.from(base),
            Seal::BarrierLate(pos) => Seal::Swap(pos),
            _ => Seal::Load,
        }
    }

    /// The first half of the opener's membarrier, in either order.
    fn half_barrier(&self, s: &State, seal: Seal, base: u8, out: &mut Out) {
        for producer in [true, false] {
            let mut t = *s;
            self.reach_one(&mut t, producer);
            t.opener = Opener::Half(seal, base, producer);
            step(out, OPENER, "begins the membarrier", t);
        }
    }

    /// The membarrier drains one of the buffers.
    fn reach_one(&self, t: &mut State, producer: bool) {
        match producer {
            _ if !self.has_barrier() => {}
            true => self.drain_put(t),
            false => self.drain_get(t),
        }
    }

    pub fn opener(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        let what = match s.opener {
            Opener::Idle if self.bug(Bug::StaleTaken) => {
                t.opener = Opener::Early(s.taken);
                "reads taken too early"
            }
            Opener::Idle if self.bug(Bug::BarrierBeforeClosed) => {
                self.membarrier(&mut t);
                t.opener = Opener::Early(0);
                "makes the membarrier early"
            }
            Opener::Idle if s.closed => {
                t.opener = Opener::Seal(self.first(), 0);
                "reads closed"
            }
            Opener::Early(base) if s.closed => {
                t.opener = Opener::Seal(self.first(), base);
                "reads closed"
            }
            Opener::Seal(seal @ (Seal::Barrier | Seal::BarrierUnset | Seal::BarrierLate(_)), base) => {
                return self.half_barrier(s, seal, base, out);
            }
            Opener::Half(seal, base, producer) => {
                self.reach_one(&mut t, !producer);
                t.opener = Opener::Seal(self.after_barrier(seal, base), base);
                "ends the membarrier"
            }
            Opener::Seal(seal, base) => {
                t.opener = match self.seal(&mut t, seal, base, false) {
                    Seal::Known(end) => Opener::Compare(end),
                    next => Opener::Seal(next, base),
                };
                seal.what()
            }
            Opener::Compare(end) => {
                t.over |= s.taken >= end;
                t.opener = Opener::Done;
                "compares taken with E"
            }
            Opener::Idle | Opener::Early(_) | Opener::Done => return,
        };
        step(out, OPENER, what, t);
    }
}
