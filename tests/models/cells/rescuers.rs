//! Recovery of positions (R1) and house-keeping of a dead index (K1 to K4).

use super::super::engine::Kind;
use super::super::{NONE, Stamp, Tag, unfinished};
use super::{Bug, Cell, Cells, Life, Out, State};

/// One position being recovered, or one step of house-keeping.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Job {
    Idle,
    /// Reads the intent of the side's participant number `next`.
    Scan {
        seen: Stamp,
        next: u8,
    },
    /// Seeded bug only: reads `tail` last.
    Tail {
        seen: Stamp,
    },
    /// Looks whether cell number `next` holds the position.
    Husk {
        seen: Stamp,
        next: u8,
    },
    Swap {
        seen: Stamp,
        husk: bool,
    },
    KeepIntent,
    /// Reads cell number n.
    KeepCells(u8),
    KeepHusk {
        cell: u8,
        seen: Cell,
    },
    KeepSwap {
        cell: u8,
        seen: Cell,
    },
    KeepClear,
}

/// `keep` is the index whose byte N+i this rescuer holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct Rescuer {
    pub keep: u8,
    pub job: Job,
}

impl Rescuer {
    pub const AT_EASE: Rescuer = Rescuer { keep: NONE, job: Job::Idle };
}

impl Cells {
    /// One step of rescuer `number`, or its death.
    pub(super) fn rescuer(&self, s: &State, number: usize, out: &mut Out) {
        let me = s.rescuers[number];
        let who = 8 + number as u8;
        if me.job == Job::Idle {
            return self.start(s, number, out);
        }
        if s.rescuer_deaths > 0 {
            let mut t = *s;
            t.rescuer_deaths -= 1;
            t.rescuers[number] = Rescuer::AT_EASE;
            self.push(out, who, "rescuer is killed", Kind::Death, t);
        }
        let mut t = *s;
        let mut keep = me.keep;
        let (what, job) = match me.job {
            Job::Idle => unreachable!("handled above"),
            Job::Scan { seen, next } => {
                let owner = usize::from(next);
                let covers = s.intents[owner] == seen.pos && s.life[owner] == Life::Alive;
                if covers && !self.bug(Bug::LiveIntentsIgnored) {
                    keep = NONE;
                    ("finds a live intent: later", Job::Idle)
                } else {
                    ("reads an intent", self.after_scan(seen, next + 1))
                }
            }
            Job::Tail { seen } if seen.pos < s.tail => {
                ("reads tail: the position is claimed", Job::Swap { seen, husk: false })
            }
            Job::Tail { .. } => ("reads tail: not claimed", self.after_position(keep)),
            Job::Husk { seen, next } => {
                let cell = s.cells[usize::from(next)];
                let husk = matches!(cell, Cell::Held { pos, .. } if pos == seen.pos);
                if husk || usize::from(next) + 1 == self.cells().len() {
                    ("searches the cells", Job::Swap { seen, husk })
                } else {
                    let next = next + 1;
                    ("searches the cells", Job::Husk { seen, next })
                }
            }
            Job::Swap { seen, husk } => {
                let what = self.swap(&mut t, seen, husk);
                (what, self.after_position(keep))
            }
            Job::KeepIntent => {
                let pos = s.intents[usize::from(keep)];
                let stamp = s.stamps[self.slot(pos.min(s.tail))];
                if stamp.pos == pos && self.belongs(stamp, keep) && unfinished(stamp, s.tail, s.head) {
                    ("finishes the dead one's intent", self.scan(stamp))
                } else {
                    ("the dead one's intent is finished", self.after_position(keep))
                }
            }
            Job::KeepCells(next) if usize::from(next) == self.cells().len() => {
                if self.bug(Bug::CellsBeforeIntents) {
                    ("all cells kept", Job::KeepIntent)
                } else {
                    ("all cells kept", Job::KeepClear)
                }
            }
            Job::KeepCells(next) => ("reads a cell", self.keep_cell(s, keep, next)),
            Job::KeepHusk { cell, seen } => {
                let Cell::Held { pos, .. } = seen else { unreachable!("only HELD cells have husks") };
                let stamp = s.stamps[self.slot(pos)];
                if stamp.pos == pos && stamp.tag == Tag::Full {
                    self.release(&mut t, stamp);
                }
                let next =
                    if self.bug(Bug::BackBeforeHusk) { Job::KeepCells(cell + 1) } else { Job::KeepSwap { cell, seen } };
                ("releases the husk, if it is one still", next)
            }
            Job::KeepSwap { cell, seen } => {
                self.keep_swap(&mut t, cell, seen);
                let held = matches!(seen, Cell::Held { .. });
                let next = if held && self.bug(Bug::BackBeforeHusk) {
                    Job::KeepHusk { cell, seen }
                } else {
                    Job::KeepCells(cell + 1)
                };
                ("swaps the dead one's cell", next)
            }
            Job::KeepClear => {
                let index = usize::from(keep);
                t.intents[index] = NONE;
                if s.life[index] == Life::Dead {
                    t.life[index] = Life::Vacant;
                }
                keep = NONE;
                ("clears the intents, the index is vacant", Job::Idle)
            }
        };
        t.rescuers[number] = Rescuer { keep, job };
        self.step(out, who, what, t);
    }

    fn start(&self, s: &State, number: usize, out: &mut Out) {
        let who = 8 + number as u8;
        if s.deaths == self.0.deaths && !self.0.early {
            return;
        }
        // The bug: the bound is not known yet, so any free slot is a candidate.
        let tail = s.tail + u8::from(self.bug(Bug::TailAfterScan));
        for slot in 0..usize::from(self.0.capacity) {
            let seen = s.stamps[slot];
            if unfinished(seen, tail, s.head) && (!self.0.named_only || self.named(s, seen)) {
                let mut t = *s;
                t.rescuers[number].job = self.scan(seen);
                self.step(out, who, "sees an unfinished position", t);
            }
        }
        for index in self.producers().chain(self.consumers()) {
            let dead = s.life[usize::from(index)] == Life::Dead;
            let taken = s.rescuers.iter().any(|r| r.keep == index);
            if dead && !self.bug(Bug::NoHouseKeeping) && (!taken || self.bug(Bug::KeepWithoutLock)) {
                let job = match self.0.bug {
                    Some(Bug::IntentsNotFinished | Bug::CellsBeforeIntents | Bug::BackBeforeHusk) => Job::KeepCells(0),
                    _ => Job::KeepIntent,
                };
                let mut t = *s;
                t.rescuers[number] = Rescuer { keep: index, job };
                self.step(out, who, "locks N+i of a dead index", t);
            }
        }
    }

    /// Is a position with this stamp claimed by the side of participant `who`?
    fn belongs(&self, stamp: Stamp, who: u8) -> bool {
        (stamp.tag == Tag::Free) == self.producers().contains(&who)
    }

    /// Does the intent of a dead participant name this position?
    fn named(&self, s: &State, stamp: Stamp) -> bool {
        self.producers().chain(self.consumers()).any(|who| {
            let who_at = usize::from(who);
            s.life[who_at] == Life::Dead && s.intents[who_at] == stamp.pos && self.belongs(stamp, who)
        })
    }

    /// The first intent to read for `seen`: R1.
    fn scan(&self, seen: Stamp) -> Job {
        let next = match seen.tag {
            Tag::Free => self.producers().start,
            _ => self.consumers().start,
        };
        Job::Scan { seen, next }
    }

    fn after_scan(&self, seen: Stamp, next: u8) -> Job {
        let end = match seen.tag {
            Tag::Free => self.producers().end,
            _ => self.consumers().end,
        };
        if next < end {
            Job::Scan { seen, next }
        } else if seen.tag == Tag::Free && self.bug(Bug::TailAfterScan) {
            Job::Tail { seen }
        } else if seen.tag == Tag::Full && !self.cells().is_empty() && !self.bug(Bug::HuskForgotten) {
            Job::Husk { seen, next: 0 }
        } else {
            Job::Swap { seen, husk: false }
        }
    }

    /// A position is finished, by us or by somebody else.
    fn after_position(&self, keep: u8) -> Job {
        if keep == NONE {
            Job::Idle
        } else if self.bug(Bug::CellsBeforeIntents) {
            Job::KeepClear
        } else {
            Job::KeepCells(0)
        }
    }

    fn swap(&self, t: &mut State, seen: Stamp, husk: bool) -> &'static str {
        let slot = self.slot(seen.pos);
        if t.stamps[slot] != seen && !self.bug(Bug::RecoverByStore) {
            return "finds the stamp changed";
        }
        match seen.tag {
            Tag::Free => {
                t.stamps[slot] = seen.tagged(Tag::Tomb);
                "FREE -> TOMB"
            }
            Tag::Full if !husk => {
                t.stamps[slot] = seen.tagged(Tag::Back);
                "FULL -> BACK"
            }
            _ => {
                self.release(t, seen);
                "TOMB or husk -> released"
            }
        }
    }

    /// What K3 says about cell number `next` of dead index `keep`.
    fn keep_cell(&self, s: &State, keep: u8, next: u8) -> Job {
        let seen = s.cells[usize::from(next)];
        let swap = Job::KeepSwap { cell: next, seen };
        match seen {
            Cell::Writing(owner) if owner == keep && !self.bug(Bug::WritingNotFreed) => swap,
            Cell::Held { owner, .. } if owner == keep => {
                if self.bug(Bug::BackBeforeHusk) || self.0.husk_left_to_k2 {
                    swap
                } else {
                    Job::KeepHusk { cell: next, seen }
                }
            }
            Cell::At(pos) => {
                let stamp = s.stamps[self.slot(pos)];
                let dead = stamp == Stamp::new(pos, Tag::Tomb) || stamp.pos > pos;
                if dead || self.bug(Bug::AtFreedBlindly) { swap } else { Job::KeepCells(next + 1) }
            }
            _ => Job::KeepCells(next + 1),
        }
    }

    fn keep_swap(&self, t: &mut State, cell: u8, seen: Cell) {
        let at = usize::from(cell);
        if t.cells[at] != seen {
            return;
        }
        match seen {
            Cell::Held { pos, count, no_return, .. } if !no_return || self.bug(Bug::NoReturnIgnored) => {
                t.cells[at] = Cell::Back { pos, count };
            }
            _ => t.free_cell(at),
        }
    }
}
