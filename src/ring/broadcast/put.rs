//! The producers' half (rules M1, M3, M4).

#![allow(unsafe_code)]

use super::super::position::{Position, Stamp};
use super::super::{Pace, Put, Ring, Side, Source, state};
use super::Cast;
use crate::primitive::{Backoff, Ordering, SlotMemory, light_barrier};
use core::cell::Cell;

/// What a producer knows privately. All zeros, as a forked child finds it, means "not
/// started".
#[repr(C)]
pub(crate) struct CastPut {
    /// Single producer: the next position. Multi: above every limit, so that the hot path
    /// is not taken.
    next: Cell<u64>,
    /// Positions below it may be written.
    limit: Cell<u64>,
    /// The position of slot 0 in the current lap.
    lap_base: Cell<u64>,
    announced: Cell<u64>,
    polls: Cell<u64>,
    started: Cell<bool>,
}

// SAFETY: plain cells of integers and bools; all zeros is a valid value.
unsafe impl bytemuck::Zeroable for CastPut {}

/// Claims that may fail in a row before an operation says that it is in somebody's way.
const CLAIM_ATTEMPTS: u32 = 1 << 14;

/// Failed polls in a row between two looks at the exact cursors, which are the subscribers'
/// hot lines; and rings below this always ask them. As in a queue.
const EXACT_EVERY: u64 = 2048;
const SMALL: u64 = 32;

/// Everybody on the roll counts.
fn everybody(_: u32) -> bool {
    true
}

impl CastPut {
    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    /// From here on only the slow path is taken.
    pub(crate) fn stop_fast_path(&self) {
        self.next.set(u64::MAX);
    }
}

impl Ring<'_> {
    /// Makes `cursor` usable. Of a Single side the caller holds the role.
    pub(crate) fn start_cast(&self, cursor: &CastPut) {
        let drops = self.cast.as_ref().is_some_and(|cast| cast.drops);
        cursor.limit.set(if drops { u64::MAX } else { 0 });
        cursor.stop_fast_path();
        if self.producers == Side::Single {
            let tail = self.control.load_tail().position();
            // M7: its dead predecessor's claim comes first.
            if let Some((position, seen)) = self.unpublished_before(tail) {
                // Done by us or by another: it is finished.
                let _ = state::bury_dead(self.slots, self.index_of(position), seen, position);
            }
            cursor.next.set(tail.get());
        }
        cursor.lap_base.set(0);
        cursor.started.set(true);
    }

    /// The hot path of a Single producer. None: take [`Ring::try_cast_run`].
    #[inline(always)]
    pub(crate) fn cast_fast<S: Source>(&self, cursor: &CastPut, source: &S) -> Option<Put> {
        let next = cursor.next.get();
        // In a forked child there is no limit, and no segment.
        if next >= cursor.limit.get() {
            return None;
        }
        let cast = self.cast.as_ref()?;
        if self.news.load(Ordering::Relaxed) != 0 {
            return None;
        }
        Some(self.cast_next(cast, cursor, Position::private(next), source))
    }

    /// M3, M4. A Single producer's claim is a store.
    #[inline(always)]
    fn cast_next<S: Source>(&self, cast: &Cast<'_>, cursor: &CastPut, position: Position, source: &S) -> Put {
        let index = self.cast_index(&cursor.lap_base, position);
        let slots = S::slots(self.slots);
        self.control.move_tail(position.plus(1));
        light_barrier(self.fences);
        if self.is_flagged(Ordering::Relaxed) {
            return self.refuse_cast(cursor, position);
        }
        if self.write_ahead > 0 {
            slots.prefetch_write(index, self.write_ahead);
        }
        Ring::fill(cast, slots, index, position, source, false);
        cursor.next.set(position.plus(1).get());
        Put::Done
    }

    /// `position` is this producer's, at `index`, which is bounded; claimed by an exchange or a store.
    #[inline(always)]
    fn fill<S: Source>(
        cast: &Cast<'_>,
        slots: SlotMemory,
        index: usize,
        position: Position,
        source: &S,
        is_exchanged: bool,
    ) {
        if cast.drops {
            state::begin_overwrite(slots, index, position);
        }
        // SAFETY: `cast_index` and `next_index` bound the index; the source was checked
        // against `room`.
        unsafe {
            let payload = slots.payload(index);
            source.write(if is_exchanged { payload } else { payload.unclaimed() }, 0);
        }
        state::publish(slots, index, position);
    }

    /// M3. Closed after the claim: the position stays empty for good.
    #[cold]
    #[inline(never)]
    fn refuse_cast(&self, cursor: &CastPut, position: Position) -> Put {
        state::bury(self.slots, self.index_of(position), position);
        cursor.next.set(position.plus(1).get());
        Put::Closed
    }

    /// M1. Asks the cursors how far this producer may go, which has read this tail.
    fn refresh_reach(&self, cast: &Cast<'_>, cursor: &CastPut, tail: Position, exact: bool) {
        if cast.drops {
            return;
        }
        let polls = cursor.polls.get().wrapping_add(1);
        let before = cursor.limit.get();
        cast.raise(self.capacity(), &cursor.limit, tail, false, &everybody);
        let exact = exact || self.capacity() < SMALL || polls.is_multiple_of(EXACT_EVERY);
        if cursor.limit.get() <= before.max(tail.get()) && exact {
            cast.raise(self.capacity(), &cursor.limit, tail, true, &everybody);
        }
        cursor.polls.set(if cursor.limit.get() > before { 0 } else { polls });
    }

    /// M7. The same without those of whom `is_alive` says no.
    pub(crate) fn leave_out_the_dead(&self, cursor: &CastPut, is_alive: impl Fn(u32) -> bool) -> bool {
        let Some(cast) = self.cast.as_ref().filter(|cast| !cast.drops) else { return false };
        let before = cursor.limit.get();
        cast.raise(self.capacity(), &cursor.limit, self.cast_position(cursor), true, &is_alive);
        cursor.limit.get() > before
    }

    /// The position that is put next.
    fn cast_position(&self, cursor: &CastPut) -> Position {
        match self.producers {
            Side::Single => Position::private(cursor.next.get()),
            Side::Multi => self.control.load_tail().position(),
        }
    }

    /// Puts as many of `count` messages as there is room for, in order. Says how many, and
    /// why no more. `exact`: a refusal must be true of the exact cursors.
    pub(crate) fn try_cast_run<S: Source>(
        &self,
        cursor: &CastPut,
        count: u64,
        exact: bool,
        source: impl Fn(u64) -> S,
    ) -> (u64, Put) {
        let Some(cast) = &self.cast else { return (0, Put::Damaged) };
        let mut done = 0;
        let mut backoff = Backoff::new();
        while done < count {
            let (put, how) = match self.producers {
                Side::Single => self.try_cast_single(cast, cursor, exact, &source(done)),
                Side::Multi => {
                    self.try_cast_multi(cast, cursor, exact, count - done, &mut backoff, |offset| source(done + offset))
                }
            };
            done += put;
            if how != Put::Done {
                return (done, how);
            }
        }
        (done, Put::Done)
    }

    fn try_cast_single<S: Source>(&self, cast: &Cast<'_>, cursor: &CastPut, exact: bool, source: &S) -> (u64, Put) {
        if self.is_flagged(Ordering::Relaxed) {
            return (0, Put::Closed);
        }
        let next = Position::private(cursor.next.get());
        if next.get() >= cursor.limit.get() {
            self.refresh_reach(cast, cursor, next, exact);
        }
        if next.get() >= cursor.limit.get() {
            return (0, Put::Full);
        }
        let how = self.cast_next(cast, cursor, next, source);
        (u64::from(how == Put::Done), how)
    }

    fn try_cast_multi<S: Source>(
        &self,
        cast: &Cast<'_>,
        cursor: &CastPut,
        exact: bool,
        count: u64,
        backoff: &mut Backoff,
        source: impl Fn(u64) -> S,
    ) -> (u64, Put) {
        for _ in 0..CLAIM_ATTEMPTS {
            if backoff.is_spent() {
                break;
            }
            let tail = self.control.load_tail();
            if tail.is_closed() {
                self.me.withdraw_put(&cursor.announced);
                return (0, Put::Closed);
            }
            let start = tail.position();
            let free = self.cast_room(S::slots(self.slots), cast, cursor, start, count, exact);
            if free == 0 {
                // The stamp first: it is no contradiction if the tail has moved.
                let is_overtaken = self.is_overtaken(start);
                if self.control.load_tail() != tail {
                    backoff.lost();
                    continue;
                }
                self.me.withdraw_put(&cursor.announced);
                return (0, if is_overtaken { Put::Damaged } else { Put::Full });
            }
            self.me.announce_put(start, free, &cursor.announced);
            if !self.control.claim_tail(tail, free) {
                backoff.lost();
                continue;
            }
            let slots = S::slots(self.slots);
            let mut index = self.cast_index(&cursor.lap_base, start);
            for offset in 0..free {
                if self.write_ahead > 0 {
                    slots.prefetch_write(index, self.write_ahead);
                }
                Ring::fill(cast, slots, index, start.plus(offset), &source(offset), true);
                index = self.next_index(index);
            }
            self.me.count_puts(free);
            return (free, Put::Done);
        }
        self.me.withdraw_put(&cursor.announced);
        (0, Put::Full)
    }

    /// A stamp beyond the tail, which stands: somebody has scribbled.
    fn is_overtaken(&self, tail: Position) -> bool {
        self.stamp_at(tail) > Stamp::free(tail)
    }

    /// M3. How many of `start..start + count` may be written, from the front.
    fn cast_room(
        &self,
        slots: SlotMemory,
        cast: &Cast<'_>,
        cursor: &CastPut,
        start: Position,
        count: u64,
        exact: bool,
    ) -> u64 {
        let count = count.min(self.capacity());
        if cursor.limit.get() < start.plus(count).get() {
            self.refresh_reach(cast, cursor, start, exact);
        }
        let room = cursor.limit.get().saturating_sub(start.get()).min(count);
        let mut index = self.cast_index(&cursor.lap_base, start);
        for offset in 0..room {
            let position = start.plus(offset);
            let last_lap = Position::new(position.get().saturating_sub(self.capacity()));
            let stamp = state::load_stamp(slots, index);
            // Whoever claimed this slot a lap ago is done with it, or it is still new.
            if stamp.is_before(last_lap) || stamp > Stamp::free(position) {
                return offset;
            }
            index = self.next_index(index);
        }
        room
    }

    /// Before a sleep (R5): might a put succeed, or must it learn of the close?
    pub(crate) fn may_cast(&self, cursor: &CastPut) -> bool {
        let Some(cast) = &self.cast else { return true };
        match self.producers {
            Side::Single => {
                let next = Position::private(cursor.next.get());
                self.refresh_reach(cast, cursor, next, true);
                self.is_flagged(Ordering::Acquire) || next.get() < cursor.limit.get()
            }
            Side::Multi => {
                let tail = self.control.load_tail();
                tail.is_closed() || self.cast_room(self.slots, cast, cursor, tail.position(), 1, true) > 0
            }
        }
    }

    /// Whether the next position waits for a producer that claimed its slot a lap ago.
    pub(crate) fn is_cast_held_up(&self, cursor: &CastPut) -> bool {
        let position = self.cast_position(cursor);
        let last_lap = Position::new(position.get().saturating_sub(self.capacity()));
        self.producers == Side::Multi && self.stamp_at(position).is_before(last_lap)
    }

    /// Nothing of this participant's is announced while it sleeps. (R5)
    pub(crate) fn rest_cast(&self, cursor: &CastPut) {
        self.me.withdraw_put(&cursor.announced);
    }

    /// For those who look inside: where this Single producer is.
    pub(crate) fn casts_from(&self, cursor: &CastPut) -> u64 {
        self.cast_position(cursor).get()
    }

    /// There is no room: lets the subscribers get ahead.
    pub(crate) fn let_subscribers_ahead(&self, pace: &Pace, cursor: &CastPut) {
        let Some(cast) = &self.cast else { return };
        let has_room = |position: Position| {
            cast.slowest(false, &everybody).is_none_or(|slowest| slowest.plus(self.capacity()) > position)
        };
        pace.let_ahead(self.capacity(), self.cast_position(cursor).get(), has_room);
    }
}
