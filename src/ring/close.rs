//! Closing, and the questions that are asked seldom.

use super::chunks::Gate;
use super::position::{Position, Stamp, Tag};
use super::{CLOSED, Damaged, GetCursor, Ring, Side, state};
use crate::primitive::{Ordering, seeded};

impl Ring<'_> {
    /// R9. No put that claims later succeeds. The caller then copies the flag to
    /// the consumers and wakes everybody.
    pub(crate) fn close(&self) {
        if self.producers == Side::Multi {
            self.control.close_tail();
        }
        // Pair CLOSED.
        self.news.fetch_or(CLOSED, Ordering::Release);
    }

    /// Whether puts are refused: the bit of the tail decides, where there is one.
    pub(crate) fn is_closed(&self) -> bool {
        match self.producers {
            Side::Multi => self.control.load_tail().is_closed(),
            // Pair CLOSED.
            Side::Single => self.is_flagged(Ordering::Acquire),
        }
    }

    /// R10. Whether a closed queue has nothing left for this consumer. The
    /// caller has seen it closed and has made the heavy barrier since.
    pub(crate) fn is_drained(&self, cursor: &GetCursor) -> Result<bool, Damaged> {
        // Slots first: a message moves from a slot to a row.
        Ok(self.ring_is_drained(cursor)? && !self.others_hold_leases())
    }

    fn ring_is_drained(&self, cursor: &GetCursor) -> Result<bool, Damaged> {
        Ok(match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => {
                cursor.end.set(self.seal()?.get());
                self.get_position(cursor) >= cursor.end.get()
            }
            (Side::Multi, Side::Single) => self.control.load_tail().position().get() == self.get_position(cursor),
            (Side::Multi, Side::Multi) => {
                self.control.load_tail().position() == self.control.load_head() && self.all_slots_are_free()
            }
            (Side::Single, Side::Multi) => self.all_slots_are_free(),
        })
    }

    fn all_slots_are_free(&self) -> bool {
        self.visit_slots(self.put_end(), |index, _| self.is_slot_free(index))
    }

    /// Messages put and not taken. Exact while nobody moves; else an estimate, since the
    /// two ends are read one after the other.
    pub(crate) fn depth(&self) -> u64 {
        let consumed = self.consumed();
        let end = match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.end_of_blocks(),
            (Side::Single, Side::Multi) => self.first_unpublished(),
            (Side::Multi, _) => self.control.load_tail().position(),
        };
        let most = if seeded(30) { u64::MAX } else { self.capacity() };
        (consumed.until(end) + self.redeliveries()).min(most)
    }

    /// Messages whose readers have died, and that nobody has taken since.
    fn redeliveries(&self) -> u64 {
        if self.news_to_consumers.load(Ordering::Acquire) <= CLOSED {
            return 0;
        }
        let mut in_slots = 0;
        if self.consumers == Side::Multi {
            self.visit_slots(self.control.load_head(), |index, _| {
                in_slots += u64::from(state::load_stamp(self.slots, index).tag() == Tag::Back);
                true
            });
        }
        in_slots + self.cells_waiting()
    }

    /// Single/Single: up to where there are messages.
    fn end_of_blocks(&self) -> Position {
        let published = self.first_unpublished_block();
        self.control.load_end().map_or(published, |end| end.min(published))
    }

    /// The first position that is not consumed and no tombstone.
    fn next_message(&self) -> Position {
        let mut next = self.consumed();
        for _ in 0..self.capacity() {
            if self.stamp_at(next) != Stamp::tomb(next) {
                break;
            }
            next = next.plus(1);
        }
        next
    }

    /// What `try_get` would say.
    pub(crate) fn is_empty(&self) -> bool {
        if (self.producers, self.consumers) == (Side::Single, Side::Single) {
            return self.depth() == 0;
        }
        let next = self.next_message();
        self.stamp_at(next).is_before(next) && self.redeliveries() == 0
    }

    /// As `is_drained`, for somebody who has not consumed here.
    pub(crate) fn is_exhausted(&self) -> Result<bool, Damaged> {
        if self.cast.is_some() {
            // M8: what is held is there for those who join.
            return Ok(false);
        }
        let ring = match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.control.load_taken() >= self.seal()?,
            _ => self.ring_is_at_rest(),
        };
        Ok(ring && !self.others_hold_leases())
    }

    /// Not even one that somebody is about to publish or to commit. Tombstones are none.
    fn no_slot_has_a_message(&self) -> bool {
        self.visit_slots(self.put_end(), |index, _| {
            let stamp = state::load_stamp(self.slots, index);
            stamp == Stamp::free(stamp.position()) || stamp.tag() == Tag::Tomb
        })
    }

    /// Whether nothing is in the queue, and nobody is putting or getting: the dead have
    /// been looked for, and of the living nobody has claimed anything. Asked of an open
    /// queue, and true for that moment only.
    pub(crate) fn is_at_rest(&self) -> bool {
        // Slots first: a message moves from a slot to a row.
        self.ring_is_at_rest() && !self.others_hold_leases()
    }

    /// L7. Whether everything that was put is acknowledged, where messages are taken as leases
    /// only. True only if it was so for everybody at one moment.
    pub(crate) fn is_all_done(&self) -> bool {
        let end = self.put_end();
        // Cheap, and the usual answer.
        let blocks = (self.producers, self.consumers) == (Side::Single, Side::Single);
        (blocks || self.next_message() == end)
            // Slots first: a message moves from a slot to a row.
            && self.ring_is_at_rest()
            && !self.cells_have_any()
            && self.put_end() == end
    }

    /// The first position that is not put yet, or not claimed.
    fn put_end(&self) -> Position {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.first_unpublished_block(),
            (Side::Single, Side::Multi) => self.first_unpublished(),
            (Side::Multi, _) => self.control.load_tail().position(),
        }
    }

    fn ring_is_at_rest(&self) -> bool {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.depth() == 0,
            (Side::Single, Side::Multi) => self.no_slot_has_a_message(),
            (Side::Multi, Side::Single) => self.control.load_tail().position() == self.next_message(),
            (Side::Multi, Side::Multi) => {
                self.control.load_tail().position() == self.next_message() && self.no_slot_has_a_message()
            }
        }
    }

    /// What `try_put` would say.
    pub(crate) fn is_full(&self) -> bool {
        match (self.producers, self.consumers) {
            (Side::Multi, Side::Multi) => {
                let next = self.control.load_tail().position();
                if self.is_chunked() {
                    return matches!(self.gate(next, None), Gate::Full | Gate::Busy);
                }
                self.stamp_at(next) != Stamp::free(next)
            }
            (Side::Single, Side::Multi) => {
                let next = self.first_unpublished();
                self.stamp_at(next) != Stamp::free(next) || self.consumed().until(next) >= self.capacity()
            }
            (_, Side::Single) => self.depth() >= self.capacity(),
        }
    }
}
