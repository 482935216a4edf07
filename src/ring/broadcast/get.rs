//! The subscribers' half (rules M5, M6, M8).

#![allow(unsafe_code)]

use super::super::position::{Position, Stamp};
use super::super::{Pace, Ring, Sink, state};
use super::{Cast, LEAD_PART};
use crate::primitive::{Ordering, fence, seeded};
use core::cell::Cell;

/// How an attempt to get ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Heard {
    /// The sink has the message.
    Item,
    /// Nothing there.
    Empty,
    /// A producer has claimed the position in our way and is not finished.
    Unfinished,
    /// Messages were overwritten before this subscriber came to them; the sink may have
    /// been written to.
    Lagged,
    /// The ring's words contradict each other.
    Damaged,
}

/// What a subscriber knows privately. All zeros, as a forked child finds it, means "not
/// started".
#[repr(C)]
pub(crate) struct CastGet {
    next: Cell<u64>,
    /// The position of slot 0 in the current lap.
    lap_base: Cell<u64>,
    /// The position at which `shown` is due next.
    show_due: Cell<u64>,
    /// What `shown` says.
    shown: Cell<u64>,
    missed: Cell<u64>,
    ready: Cell<bool>,
    /// A gap was found in the middle of a batch, and is to be told by the next call.
    untold: Cell<bool>,
    /// Nobody else was on the roll when this was last asked.
    alone: Cell<bool>,
}

// SAFETY: plain cells of integers and bools; all zeros is a valid value.
unsafe impl bytemuck::Zeroable for CastGet {}

impl CastGet {
    pub(crate) fn is_ready(&self) -> bool {
        self.ready.get()
    }

    /// Nothing more is taken.
    pub(crate) fn stop(&self) {
        self.ready.set(false);
    }

    /// The next call says that there was a gap, before anything else.
    pub(crate) fn leave_gap_untold(&self) {
        self.ready.set(false);
        self.untold.set(true);
    }

    /// Whether there is such a gap. It is told then.
    pub(crate) fn tells_gap(&self) -> bool {
        let untold = self.untold.replace(false);
        if untold {
            self.ready.set(true);
        }
        untold
    }

    /// Of the message that comes next.
    pub(crate) fn position(&self) -> u64 {
        self.next.get()
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed.get()
    }
}

impl Ring<'_> {
    pub(super) fn start_hearing(&self, cursor: &CastGet, start: Position) {
        cursor.next.set(start.get());
        cursor.lap_base.set(0);
        cursor.shown.set(start.get());
        // Due at once: that asks who else is there.
        cursor.show_due.set(start.get());
        cursor.ready.set(true);
    }

    /// The hot path: one load of the slot's line, the payload, one store to the own line.
    /// Anything but a message that is there is the slow path's.
    #[inline(always)]
    pub(crate) fn hear_fast<K: Sink>(&self, cursor: &CastGet, sink: &mut K) -> Heard {
        // In a forked child this reads false, and there is no segment.
        if !cursor.ready.get() {
            return Heard::Empty;
        }
        let Some(cast) = &self.cast else { return Heard::Empty };
        let next = Position::private(cursor.next.get());
        let index = self.cast_index(&cursor.lap_base, next);
        if self.read_ahead > 0 {
            K::slots(self.slots).prefetch_read(index, self.read_ahead);
        }
        if state::load_stamp(K::slots(self.slots), index) != Stamp::full(next) {
            return Heard::Empty;
        }
        self.hear_at(cast, cursor, next, index, sink)
    }

    /// M5. Message `next` is there, at `index`, which is bounded.
    #[inline(always)]
    fn hear_at<K: Sink>(&self, cast: &Cast<'_>, cursor: &CastGet, next: Position, index: usize, sink: &mut K) -> Heard {
        let slots = K::slots(self.slots);
        // SAFETY: `cast_index` bounds the index.
        let used = unsafe { sink.read(0, slots.payload(index)) };
        if cast.drops {
            if !state::is_unchanged(slots, index, Stamp::full(next)) && !seeded(52) {
                return Heard::Lagged;
            }
        } else if cursor.alone.get() {
            // No producer writes here before `next` is stored.
            self.adopt_slot(slots, index, used);
        }
        self.pass(cast, cursor, next);
        Heard::Item
    }

    /// This subscriber has done with `position`.
    #[inline(always)]
    fn pass(&self, cast: &Cast<'_>, cursor: &CastGet, position: Position) {
        let next = position.plus(1).get();
        // Pair CURSOR: the payload was copied out.
        cast.me.next.store(next, Ordering::Release);
        cursor.next.set(next);
        if position.get() >= cursor.show_due.get() {
            self.show_cursor(cast, cursor);
        }
    }

    #[cold]
    #[inline(never)]
    fn show_cursor(&self, cast: &Cast<'_>, cursor: &CastGet) {
        let next = cursor.next.get();
        // Pair CURSOR.
        cast.me.seldom.shown.store(next, Ordering::Release);
        cursor.shown.set(next);
        cursor.show_due.set(next.wrapping_add((self.capacity() / 16).max(1) - 1));
        cursor.alone.set(cast.subscribers() == 1);
    }

    /// Brings `shown` up to date: there is nothing to do, or a producer sleeps.
    pub(crate) fn catch_up_cursor(&self, cursor: &CastGet) {
        if let Some(cast) = self.cast.as_ref().filter(|_| cursor.shown.get() != cursor.next.get()) {
            self.show_cursor(cast, cursor);
        }
    }

    /// One attempt at one message. After `Lagged` it goes on behind the gap.
    pub(crate) fn try_hear<K: Sink>(&self, cursor: &CastGet, sink: &mut K) -> Heard {
        let Some(cast) = &self.cast else { return Heard::Damaged };
        // Tombstones are skipped, one lap of them at most.
        for _ in 0..=self.capacity() {
            let next = Position::private(cursor.next.get());
            let index = self.cast_index(&cursor.lap_base, next);
            let stamp = state::load_stamp(K::slots(self.slots), index);
            if stamp == Stamp::full(next) {
                return match self.hear_at(cast, cursor, next, index, sink) {
                    Heard::Lagged => self.fall_behind(cursor),
                    heard => heard,
                };
            }
            if stamp == Stamp::tomb(next) {
                self.pass(cast, cursor, next);
            } else if stamp.is_before(next) {
                self.catch_up_cursor(cursor);
                return self.why_nothing(next, stamp);
            } else if stamp.position() == next || !cast.drops {
                return Heard::Damaged;
            } else {
                return self.fall_behind(cursor);
            }
        }
        Heard::Unfinished
    }

    /// Nothing is published at `next`, whose stamp was `seen` before.
    fn why_nothing(&self, next: Position, seen: Stamp) -> Heard {
        let ahead = next.until(self.control.load_tail().position());
        if ahead == 0 {
            Heard::Empty
        } else if ahead > self.capacity() && self.stamp_at(next) == seen {
            // M3: whoever claimed the next lap of this slot has seen it published.
            Heard::Damaged
        } else {
            Heard::Unfinished
        }
    }

    /// M6. What comes next was overwritten: goes on behind it, and counts the gap.
    #[cold]
    #[inline(never)]
    pub(crate) fn fall_behind(&self, cursor: &CastGet) -> Heard {
        let (Some(cast), next) = (&self.cast, Position::private(cursor.next.get())) else { return Heard::Damaged };
        // The stamp that says so was stored after the tail, and is read before it.
        fence(Ordering::Acquire);
        let tail = self.control.load_tail().position();
        if next.until(tail) <= self.capacity() {
            return Heard::Damaged;
        }
        let lead = self.capacity() / LEAD_PART;
        let start = Position::new(tail.get() - self.capacity() + lead).max(next.plus(1));
        let missed = next.until(start) - u64::from(seeded(51));
        cursor.missed.set(cursor.missed.get().wrapping_add(missed));
        cast.me.seldom.missed.store(cursor.missed.get(), Ordering::Relaxed);
        cursor.next.set(start.get());
        cast.show(start);
        Heard::Lagged
    }

    /// Before a sleep, or to spin on: is a message, a gap or damage in our way?
    #[inline(always)]
    pub(crate) fn may_hear(&self, cursor: &CastGet) -> bool {
        let next = Position::private(cursor.next.get());
        cursor.ready.get() && !state::load_stamp(self.slots, self.cast_index(&cursor.lap_base, next)).is_before(next)
    }

    /// M8. Whether a closed broadcast has nothing left for this subscriber, who has made the heavy
    /// barrier since it saw the close.
    pub(crate) fn has_heard_all(&self, cursor: &CastGet) -> bool {
        self.lag(cursor) == 0
    }

    /// Messages put that this subscriber has not taken.
    pub(crate) fn lag(&self, cursor: &CastGet) -> u64 {
        Position::private(cursor.next.get()).until(self.control.load_tail().position())
    }

    /// What the producers still have to publish is not there yet: lets them get ahead.
    pub(crate) fn let_casters_ahead(&self, pace: &Pace, cursor: &CastGet) {
        let is_there = |position: Position| !self.stamp_at(position).is_before(position);
        pace.let_ahead(self.capacity(), cursor.next.get(), is_there);
    }
}
