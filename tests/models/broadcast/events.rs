//! What happens to participants, and what others do about the dead (M7, M9).

use super::super::engine::Kind;
use super::super::{NONE, Stamp, Tag};
use super::{Broadcast, Bug, Get, Life, Out, Producer, Put, State, Subscriber, push};

impl Broadcast {
    /// Whoever waits looks after the dead; its steps are those of nobody in particular.
    pub(super) fn rescuers(&self, s: &State, out: &mut Out) {
        const NOBODY: u8 = 9;
        for at in 0..usize::from(self.0.subscribers) {
            let one = s.subscribers[at];
            if one.life == Life::Dead && !self.bug(Bug::NeverStruck) {
                let mut t = *s;
                t.subscribers[at] = Subscriber { life: Life::Vacant, bit: false, pc: Get::Out, ..one };
                push(out, t, Kind::Step, NOBODY, "strikes off a dead subscriber");
            }
        }
        if let Some((pos, seen)) = s.rescue {
            let mut t = *s;
            t.rescue = None;
            if self.stamp(s, pos) == seen {
                t.stamps[self.slot(pos)] = Stamp::new(pos, Tag::Tomb);
            }
            push(out, t, Kind::Step, NOBODY, "buries a claim, if it stands");
            return;
        }
        for at in 0..usize::from(self.0.producers) {
            let one = s.producers[at];
            // Who ignores the living looks at everybody.
            if one.life != Life::Dead && !self.bug(Bug::LiveIntentsIgnored) {
                continue;
            }
            let mut t = *s;
            match self.unfinished(s, &one) {
                Some(pos) if !self.holds(s, pos) || self.bug(Bug::LiveIntentsIgnored) => {
                    t.rescue = Some((pos, self.stamp(s, pos)));
                    push(out, t, Kind::Step, NOBODY, "finds a dead one's claim");
                }
                None if one.life == Life::Dead => {
                    t.producers[at] =
                        Producer { life: Life::Vacant, intent: NONE, claimed: NONE, pc: Put::Call, ..one };
                    push(out, t, Kind::Step, NOBODY, "vacates a place");
                }
                _ => {}
            }
        }
    }

    pub(super) fn events(&self, s: &State, out: &mut Out) {
        for at in 0..usize::from(self.0.subscribers) {
            let one = s.subscribers[at];
            let who = self.0.producers + at as u8;
            let mut t = *s;
            if one.pc == Get::Out && one.life == Life::Alive {
                t.subscribers[at].pc = Get::Tail;
                push(out, t, Kind::Arrival, who, "joins");
            } else if one.life == Life::Alive {
                if s.deaths > 0 {
                    t.deaths -= 1;
                    t.subscribers[at].life = Life::Dead;
                    push(out, t, Kind::Death, who, "dies");
                }
                if s.leaves > 0 && one.pc == Get::Stamp {
                    let mut t = *s;
                    t.leaves -= 1;
                    t.subscribers[at] = Subscriber { life: Life::Vacant, bit: false, pc: Get::Out, ..one };
                    push(out, t, Kind::Leave, who, "leaves");
                }
            } else if one.life == Life::Vacant && s.rejoins > 0 {
                t.rejoins -= 1;
                t.subscribers[at].life = Life::Alive;
                t.subscribers[at].pc = Get::Tail;
                push(out, t, Kind::Arrival, who, "joins on a place that was left");
            }
        }
        for at in 0..usize::from(self.0.producers) {
            let one = s.producers[at];
            let mut t = *s;
            if one.life == Life::Alive && s.deaths > 0 && (one.left > 0 || one.pc != Put::Call) {
                t.deaths -= 1;
                t.producers[at].life = Life::Dead;
                push(out, t, Kind::Death, at as u8, "dies");
            }
            // Where the role byte is free, a successor comes at any time.
            if self.0.single && one.life != Life::Alive && one.left > 0 && s.rejoins > 0 {
                let mut t = *s;
                t.rejoins -= 1;
                // What others may read of the place stays; it knows nothing of it.
                let fresh =
                    Producer { life: Life::Alive, pc: Put::Start, limit: 0, intent: NONE, claimed: NONE, ..one };
                t.producers[at] = fresh;
                push(out, t, Kind::Arrival, at as u8, "a successor");
            }
        }
    }
}
