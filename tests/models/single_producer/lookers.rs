//! Those who look at positions from outside: recovery (rules R1, R2) and `len` (rule L1).

use super::{Bug, Fault, OBSERVER, Out, Put, RECOVERER, SingleProducer, State};
use super::{Stamp, Tag, claim, full, step};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Recoverer {
    Idle,
    /// It has read CLAIM of this position.
    TestByte(u8),
    /// For [`Bug::ByteBeforeStamp`]: the byte was free, the stamp comes next.
    ByteWasFree,
    Bury(u8),
    /// It has read this stamp; whose intent comes next.
    Intents(Stamp, u8),
    Swap(Stamp),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Len {
    Idle,
    Search(Search),
}

/// A binary search under way: the end is in `low..=high`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Search {
    base: u8,
    low: u8,
    high: u8,
    /// The end at the beginning.
    least: u8,
}

impl SingleProducer {
    pub fn byte_is_free(&self, s: &State) -> bool {
        s.put == Put::Gone || self.bug(Bug::ByteNotTested)
    }

    pub fn recoverer(&self, s: &State, me: usize, out: &mut Out) {
        let go = |out: &mut Out, what, job| {
            let mut t = *s;
            t.recoverers[me] = job;
            step(out, RECOVERER + me as u8, what, t);
        };
        let claimed = |stamp: &&Stamp| **stamp == claim(stamp.pos);
        let stamps = self.stamps(s).iter();
        let mut t = *s;
        t.recoverers[me] = Recoverer::Idle;
        match s.recoverers[me] {
            Recoverer::Idle if self.bug(Bug::ByteBeforeStamp) => {
                if self.byte_is_free(s) {
                    go(out, "finds the byte free", Recoverer::ByteWasFree);
                }
            }
            Recoverer::Idle => {
                for seen in stamps.clone().filter(claimed) {
                    go(out, "reads CLAIM", Recoverer::TestByte(seen.pos));
                }
                let ours = |seen: &&Stamp| matches!(seen.tag, Tag::Full | Tag::Tomb);
                for &seen in stamps.filter(ours) {
                    if self.0.multi && seen.pos < s.head {
                        go(out, "reads a stamp", Recoverer::Intents(seen, 0));
                    }
                }
            }
            Recoverer::ByteWasFree => {
                go(out, "finds nothing", Recoverer::Idle);
                for seen in stamps.filter(claimed) {
                    go(out, "reads CLAIM", Recoverer::Bury(seen.pos));
                }
            }
            Recoverer::TestByte(pos) if self.byte_is_free(s) => {
                go(out, "finds the byte free", Recoverer::Bury(pos));
            }
            Recoverer::TestByte(_) => go(out, "finds the byte held", Recoverer::Idle),
            Recoverer::Bury(pos) => {
                self.bury(&mut t, pos, self.bug(Bug::TombByStore));
                step(out, RECOVERER + me as u8, "CLAIM -> TOMB", t);
            }
            Recoverer::Intents(seen, next) => {
                let job = match self.consumers(s).get(usize::from(next)) {
                    None => Recoverer::Swap(seen),
                    Some(consumer) if consumer.covers(seen.pos) => Recoverer::Idle,
                    Some(_) => Recoverer::Intents(seen, next + 1),
                };
                go(out, "reads an intent", job);
            }
            Recoverer::Swap(seen) => {
                if self.stamp(s, seen.pos) == seen {
                    let back = seen.tag == Tag::Full;
                    let released = seen.released(self.0.capacity);
                    self.set(&mut t, if back { seen.tagged(Tag::Back) } else { released });
                }
                step(out, RECOVERER + me as u8, "one CAS", t);
            }
        }
    }

    /// The first position whose stamp in memory is less than FULL, as seen from `base`.
    fn end(&self, s: &State, base: u8) -> u8 {
        let after = |stamp: &Stamp| match stamp.tag {
            Tag::Free => stamp.pos + 1 - self.0.capacity,
            _ => stamp.pos + 1,
        };
        let end = self.stamps(s).iter().map(after).max();
        end.expect("a slot at least").min(base + self.0.capacity)
    }

    pub fn observer(&self, s: &State, out: &mut Out) {
        let mut t = *s;
        let what = match s.len {
            Len::Idle => {
                t.len = Len::Search(Search {
                    base: s.head,
                    low: s.head,
                    high: s.head + self.0.capacity,
                    least: self.end(s, s.head),
                });
                "begins len"
            }
            Len::Search(search) if search.low < search.high => {
                let middle = search.low.midpoint(search.high);
                let counts_claim = self.bug(Bug::LenCountsClaim);
                let least = if counts_claim { claim(middle) } else { full(middle) };
                t.len = Len::Search(if self.stamp(s, middle) >= least {
                    let low = middle + 1;
                    Search { low, ..search }
                } else {
                    let high = middle;
                    Search { high, ..search }
                });
                "halves"
            }
            Len::Search(Search { base, low, least, .. }) => {
                if !(least..=self.end(s, base)).contains(&low) {
                    t.fault = Some(Fault::WrongLen);
                }
                t.len = Len::Idle;
                "ends len"
            }
        };
        step(out, OBSERVER, what, t);
    }
}
