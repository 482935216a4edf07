//! What a waiter and a newcomer look at (S1, S2, N1, N2), and the recovery of one position (R1, R2).

use super::super::engine::{Kind, Next};
use super::super::{Stamp, Tag, unfinished};
use super::{Bug, Job, Life, Look, Out, Pc, Slices, Span, State, step};

impl Slices {
    /// The next position to recover, or the end of the slice (of the arrival).
    pub(super) fn choose(&self, s: &State, who: u8, look: Look, out: &mut Out) {
        let me = usize::from(who);
        let mut t = *s;
        let found = match look {
            Look::Way => {
                self.in_the_way(s, who).map(|stamp| (Look::Way, stamp)).or_else(|| self.named_by_the_dead(s, 0, 0))
            }
            Look::Dead { who, offset } => self.named_by_the_dead(s, who, offset),
            Look::Found { span, offset } => {
                self.named(s, who, span, offset).map(|(offset, stamp)| (Look::Found { span, offset }, stamp))
            }
        };
        let what = if let Some((look, seen)) = found {
            let job = self.scan(seen, self.side(seen).start);
            t.pc[me] = Pc::Slice { look, job };
            "sees an unfinished position"
        } else if let Look::Found { span, .. } = look {
            t.intents[me].len = 0;
            t.life[me] = Life::Alive;
            if !self.0.named_backs {
                t.told[me] = self.consumers().contains(&who);
            }
            if self.0.named_backs && self.back_in(s, span) && !self.bug(Bug::BackNotTold) {
                self.tell(&mut t);
            }
            t.pc[me] = Pc::Call;
            "clears what it found, takes its life byte"
        } else {
            t.pc[me] = Pc::Backs;
            "finds no unfinished position"
        };
        step(out, who, what, t);
    }

    /// S1.
    fn in_the_way(&self, s: &State, who: u8) -> Option<Stamp> {
        let pos = if self.producers().contains(&who) { s.tail - self.0.capacity } else { s.head };
        self.stamp_of(s, pos).filter(|&stamp| unfinished(stamp, s.tail, s.head) && !self.0.without_s1)
    }

    /// S2: the first such position, beginning with `offset` in the intent of `first`.
    fn named_by_the_dead(&self, s: &State, first: u8, offset: u8) -> Option<(Look, Stamp)> {
        if self.bug(Bug::OwnPositionOnly) {
            return None;
        }
        let mut offset = offset;
        for who in first..self.everybody().end {
            if !self.held(s, who) {
                let span = s.intents[usize::from(who)];
                if let Some((offset, stamp)) = self.named(s, who, span, offset) {
                    return Some((Look::Dead { who, offset }, stamp));
                }
            }
            offset = 0;
        }
        None
    }

    /// The first unfinished position of `span`, an intent of `who`.
    fn named(&self, s: &State, who: u8, span: Span, offset: u8) -> Option<(u8, Stamp)> {
        let len = if self.bug(Bug::FirstOfBatchOnly) { span.len.min(1) } else { span.len };
        (offset..len).find_map(|offset| {
            let stamp = self.stamp_of(s, span.start + offset)?;
            let ours = self.side(stamp).contains(&who) && unfinished(stamp, s.tail, s.head);
            ours.then_some((offset, stamp))
        })
    }

    fn scan(&self, seen: Stamp, next: u8) -> Job {
        if next < self.side(seen).end { Job::Start { seen, next } } else { Job::Swap { seen } }
    }

    /// One step of the recovery of one position (R1, R2).
    pub(super) fn recover(&self, s: &State, who: u8, look: Look, job: Job, out: &mut Out) {
        let me = usize::from(who);
        let mut t = *s;
        let done = Pc::Slice {
            look: match look {
                Look::Way => Look::Dead { who: 0, offset: 0 },
                Look::Dead { who, offset } => Look::Dead { who, offset: offset + 1 },
                Look::Found { span, offset } => Look::Found { span, offset: offset + 1 },
            },
            job: Job::Choose,
        };
        let later = match look {
            Look::Found { span, .. } => Pc::Slice { look: Look::Found { span, offset: 0 }, job: Job::Choose },
            _ => done,
        };
        let go_on = |job| Pc::Slice { look, job };
        let what;
        (what, t.pc[me]) = match job {
            Job::Choose => unreachable!("not a step of recovery"),
            Job::Start { seen, next } => {
                let start = s.intents[usize::from(next)].start;
                let job = Job::Length { seen, next, start };
                ("reads where an intent starts", go_on(job))
            }
            Job::Length { seen, next, start } => {
                let len = s.intents[usize::from(next)].len;
                let mine = next == who && s.life[me] == Life::Arriving; // LifeByteFirst only
                let covers = Span { start, len }.covers(seen.pos) && self.held(s, next) && !mine;
                if covers && !self.bug(Bug::LiveIntentsIgnored) {
                    ("finds a live intent: later", later)
                } else {
                    let job = self.scan(seen, next + 1);
                    ("reads the length of an intent", go_on(job))
                }
            }
            Job::Swap { seen } => {
                let slot = self.slot(seen.pos);
                if s.stamps[slot] != seen {
                    ("finds the stamp changed", done)
                } else if seen.tag == Tag::Full {
                    t.stamps[slot] = seen.tagged(Tag::Back);
                    ("FULL -> BACK", go_on(Job::Tell))
                } else if seen.tag == Tag::Free {
                    t.stamps[slot] = seen.tagged(Tag::Tomb);
                    ("FREE -> TOMB", done)
                } else {
                    self.release(&mut t, seen);
                    ("TOMB -> released", done)
                }
            }
            Job::Tell => {
                self.tell(&mut t);
                ("tells everybody", done)
            }
        };
        step(out, who, what, t);
    }

    /// A newcomer takes the index of a dead participant.
    pub(super) fn arrival(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        let mut t = *s;
        t.newcomers -= 1;
        if self.bug(Bug::IntentForgotten) {
            t.intents[me].len = 0;
            t.life[me] = Life::Alive;
            t.told[me] = self.consumers().contains(&who);
        } else {
            let span = s.intents[me];
            t.life[me] = Life::Arriving;
            t.pc[me] = Pc::Slice { look: Look::Found { span, offset: 0 }, job: Job::Choose };
            if self.bug(Bug::ClearedBeforeFinished) {
                t.intents[me].len = 0;
            }
        }
        out.push(Next { state: t, kind: Kind::Arrival, who, what: "a newcomer takes the index" });
    }
}
