//! Recovery: what the dead have claimed and not finished (rules D1 to D6).
//!
//! Everything here is about positions, needs no lock, and may be done by anybody at any
//! time, by several at once, each killed anywhere: every step is one exchange from a
//! value that does not come back. Whether a participant lives is the caller's to say.
//!
//! A ring with both sides `Single` needs none of it.

use super::position::{Position, Stamp};
use super::{Ring, Side, state};
use crate::primitive::seeded;
use core::ops::Range;

/// Attempts at one position: each that fails means that somebody else has finished it, or
/// taken it again.
const EXCHANGES: u32 = 4;

/// Positions behind the consumers that a look at the whole window of a ring of chunks searches
/// for unfinished puts.
const MOST_PUTS: usize = 1 << 16;

/// Who is alive. Asked last, about those whose intent names a position; an answer that
/// is not certain must be "yes".
pub(crate) trait Living {
    /// Whether participant `index` may still store anything.
    fn is_alive(&self, index: u32) -> bool;
    /// Whether the role byte of a `Single` producers' side is held.
    fn has_single_producer(&self) -> bool;
    /// Whether there is time for more. Claims that were made take next to none; intents that
    /// somebody has forged could take for ever.
    fn may_go_on(&self) -> bool;
}

/// What a look for the dead has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rescue {
    /// Claims that were given a tombstone or released.
    pub(crate) finished: u64,
    /// Messages that are to be taken again.
    pub(crate) brought_back: u64,
    /// Messages that another look has brought back and nobody has taken yet: who did it may
    /// have died before it told anybody.
    pub(crate) found_back: u64,
    /// Positions that a live participant may have claimed too: look again later.
    pub(crate) left: u64,
    /// Places of dead participants that are free again.
    pub(crate) vacated: u64,
}

impl Rescue {
    pub(crate) fn add(&mut self, other: Rescue) {
        self.finished += other.finished;
        self.brought_back += other.brought_back;
        self.found_back += other.found_back;
        self.left += other.left;
        self.vacated += other.vacated;
    }

    /// Whether somebody may go on who could not before.
    pub(crate) fn changed_anything(self) -> bool {
        self.finished + self.brought_back + self.vacated > 0
    }
}

impl Ring<'_> {
    /// D5. Finishes whatever the intents of `dead` name. The caller has proof of its
    /// death, and nobody else acts on this index meanwhile.
    pub(crate) fn finish_intents(&self, dead: u32, living: &dyn Living) -> Rescue {
        let mut rescue = Rescue::default();
        let Some(participant) = self.everyone.get(dead as usize) else { return rescue };
        if self.producers == Side::Multi {
            let tail = self.control.load_tail().position();
            let named = participant.put_intent().among_the_last(self.capacity(), tail);
            // What it claimed at once is published from the front, by it and by whoever finishes
            // it: a look that comes to its end has its successor go on, and not begin anew.
            let rest = self.first_unpublished_of(named.clone())..named.end;
            rescue.add(self.finish_puts(rest.map(Position::new), living));
        }
        if self.consumers == Side::Multi {
            let head = self.control.load_head();
            let named = participant.get_intent().among_the_last(self.capacity(), head);
            rescue.add(self.finish_each(named.map(Position::new), living, Ring::finish_get));
        }
        if self.producers == Side::Single {
            rescue.add(self.finish_single_producer(living));
        }
        rescue
    }

    /// Of positions of which the published ones are a prefix: the first that is not. Those of
    /// earlier laps, and all that consumers have passed, count as published.
    pub(super) fn first_unpublished_of(&self, positions: Range<u64>) -> u64 {
        let (mut low, mut high) = (positions.start, positions.end);
        while low < high {
            let middle = low + (high - low) / 2;
            let position = Position::new(middle);
            if self.stamp_at(position).is_before(position) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        low
    }

    /// D6. Looks at the whole window, whoever has claimed in it.
    pub(crate) fn finish_all(&self, living: &dyn Living) -> Rescue {
        let mut rescue = Rescue::default();
        let capacity = self.capacity();
        if self.is_chunked() {
            // G9.
            let (tail, head) = (self.control.load_tail().position(), self.control.load_head());
            let puts = (head.get()..tail.get()).take(MOST_PUTS).map(Position::new);
            rescue.add(self.finish_puts(puts, living));
            rescue.add(self.finish_each(self.unfinished_gets(head), living, Ring::finish_get));
            return rescue;
        }
        if self.producers == Side::Multi {
            let tail = self.control.load_tail().position().get();
            let positions = (tail.saturating_sub(capacity)..tail).map(Position::new);
            rescue.add(self.finish_puts(positions, living));
        } else {
            rescue.add(self.finish_single_producer(living));
        }
        if self.consumers == Side::Multi {
            let head = self.control.load_head().get();
            let positions = (head.saturating_sub(capacity)..head).map(Position::new);
            rescue.add(self.finish_each(positions, living, Ring::finish_get));
        }
        rescue
    }

    /// From the front, up to the first that is left: what was claimed at once is published in order, or the next
    /// look would take the one that was left for published (`first_unpublished_of`).
    fn finish_puts(&self, positions: impl Iterator<Item = Position>, living: &dyn Living) -> Rescue {
        let mut rescue = Rescue::default();
        for position in positions {
            rescue.add(self.finish_each(core::iter::once(position), living, Ring::finish_put));
            if rescue.left > 0 {
                break;
            }
        }
        rescue
    }

    /// As many as there is time for; the rest is left.
    fn finish_each(
        &self,
        positions: impl Iterator<Item = Position>,
        living: &dyn Living,
        finish: impl Fn(&Self, Position, &dyn Living) -> Rescue,
    ) -> Rescue {
        let mut rescue = Rescue::default();
        for position in positions {
            if !living.may_go_on() {
                rescue.left += 1;
                break;
            }
            rescue.add(finish(self, position, living));
        }
        rescue
    }

    /// D2. `position` is below the tail that was read before.
    fn finish_put(&self, position: Position, living: &dyn Living) -> Rescue {
        let Some(touch) = self.touch_claimed(position) else { return Rescue::default() };
        let index = self.index_under(&touch, position);
        let seen = state::load_stamp(self.slots, index);
        if !seen.is_before(position) || seeded(1) {
            return Rescue::default();
        }
        let claimed = |participant: &super::Participant| participant.put_intent().covers(position);
        if self.some_live_one(living, claimed) {
            return Rescue { left: 1, ..Rescue::default() };
        }
        let done = state::bury_dead(self.slots, index, seen, position);
        Rescue { finished: u64::from(done), ..Rescue::default() }
    }

    /// D3. `position` is below the head that was read before.
    fn finish_get(&self, position: Position, living: &dyn Living) -> Rescue {
        for _ in 0..EXCHANGES {
            if let Some(rescue) = self.try_finish_get(position, living) {
                return rescue;
            }
        }
        Rescue { left: 1, ..Rescue::default() }
    }

    /// One attempt. None: the stamp was changed meanwhile; what it says now matters, too.
    fn try_finish_get(&self, position: Position, living: &dyn Living) -> Option<Rescue> {
        let Some(touch) = self.touch_claimed(position) else { return Some(Rescue::default()) };
        let index = self.index_under(&touch, position);
        let seen = state::load_stamp(self.slots, index);
        let is_tomb = seen == Stamp::tomb(position);
        if seen.is_back(position) {
            return Some(Rescue { found_back: 1, ..Rescue::default() });
        }
        if !seen.is_full(position) && !is_tomb {
            return Some(Rescue::default());
        }
        let claimed = |participant: &super::Participant| participant.get_intent().covers(position);
        if self.some_live_one(living, claimed) {
            return Some(Rescue { left: 1, ..Rescue::default() });
        }
        if is_tomb || self.is_in_a_cell(position) || seeded(2) {
            // A tombstone, or a husk.
            let next = position.plus(self.step());
            let done = state::release_dead(self.slots, index, seen, next);
            return done.then_some(Rescue { finished: 1, ..Rescue::default() });
        }
        let done = state::bring_back(self.slots, index, seen);
        done.then_some(Rescue { brought_back: 1, ..Rescue::default() })
    }

    /// R2, C2. CLAIM(p) of a dead Single producer that has no successor yet: first the
    /// stamp, then the role byte, then the exchange.
    pub(crate) fn finish_single_producer(&self, living: &dyn Living) -> Rescue {
        if self.cast.is_some() {
            return self.finish_single_caster(living);
        }
        if (self.producers, self.consumers) != (Side::Single, Side::Multi) {
            return Rescue::default();
        }
        let position = self.first_unpublished();
        if self.stamp_at(position) != Stamp::claim(position) || living.has_single_producer() || seeded(1) {
            return Rescue::default();
        }
        state::bury_claim(self.slots, self.index_of(position), position);
        Rescue { finished: 1, ..Rescue::default() }
    }

    /// Whether a participant that lives may have claimed it. The stamp was read before
    /// the intents: who published since makes the exchange fail.
    fn some_live_one(&self, living: &dyn Living, claimed: impl Fn(&super::Participant) -> bool) -> bool {
        let named = self.everyone.iter().zip(0..).filter(|(participant, _)| claimed(participant));
        named.map(|(_, index)| index).any(|index| living.is_alive(index)) && !seeded(4)
    }
}
