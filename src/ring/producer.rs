//! The producers' half of the algorithm (rules R1 to R5).

#![allow(unsafe_code)]

use super::chunks::Window;
use super::position::{Position, Stamp};
use super::spsc::Walk;
use super::{Damaged, Ring, Side, Source, state};
use crate::primitive::{Backoff, Fences, Ordering, SlotMemory, light_barrier, seeded};
use core::cell::Cell;

/// How an attempt to put ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Put {
    /// Published.
    Done,
    /// No free position, or another operation is in the way.
    Full,
    /// Closed before the claim; nothing was put.
    Closed,
    /// The next position has no memory yet: it is to be made first
    /// ([`Ring::start_growth`]).
    Grow,
    /// The ring's words contradict each other.
    Damaged,
}

/// What a producer knows privately. All zeros, as a forked child finds it, means
/// "not started": every operation then takes the slow path, which sees why.
#[repr(C)]
pub(crate) struct PutCursor {
    /// Single/Single: where this producer stands.
    pub(super) walk: Walk,
    /// With a Single consumer: positions below it are free.
    pub(super) limit: Cell<u64>,
    /// The position of slot 0 in the current lap.
    lap_base: Cell<u64>,
    pub(super) announced: Cell<u64>,
    /// Single producer, Multi consumers: the next position.
    next: Cell<u64>,
    polls: Cell<u64>,
    started: Cell<bool>,
    /// The fast path may be taken: for Single/Single, for Multi/Multi, for one of each.
    pub(super) fast: Cell<bool>,
    multi_fast: Cell<bool>,
    mixed_fast: Cell<bool>,
    /// The same for a ring of chunks, and the chunk that it is in.
    pub(super) chunk_fast: Cell<bool>,
    pub(super) window: Window,
}

// SAFETY: plain cells of integers and bools; all zeros is a valid value.
unsafe impl bytemuck::Zeroable for PutCursor {}

/// Claims that may fail in a row before an operation says that it is in somebody's way.
const CLAIM_ATTEMPTS: u32 = 1 << 14;

/// Failed polls in a row of a full ring between two looks at the exact cursor: some
/// fifty microseconds. A look takes the consumer's hot line away from it, and a
/// consumer that runs moves `head` long before (measured, every 64 polls: up to a
/// factor of three of a stream's speed).
const EXACT_EVERY: u64 = 2048;

/// Rings below this always ask the exact cursor.
const SMALL: u64 = 32;

impl PutCursor {
    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    /// From here on only the slow path is taken.
    pub(crate) fn stop_fast_path(&self) {
        self.fast.set(false);
        self.walk.known.set(0);
        self.multi_fast.set(false);
        self.mixed_fast.set(false);
        self.chunk_fast.set(false);
    }

    /// Whether there is space for the next chunk, as far as this handle knows.
    pub(crate) fn set_no_space(&self, none: bool) {
        self.window.no_space.set(none);
    }
}

impl Ring<'_> {
    /// Makes `cursor` usable. Of a Single side the caller holds the role.
    pub(crate) fn start_put(&self, cursor: &PutCursor) {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.start_put_spsc(cursor),
            (Side::Single, Side::Multi) => {
                cursor.next.set(self.successor_start().get());
                cursor.mixed_fast.set(self.fences == Fences::Asymmetric);
            }
            (Side::Multi, Side::Multi) => {
                let fast = if self.is_chunked() { &cursor.chunk_fast } else { &cursor.multi_fast };
                fast.set(self.fences == Fences::Asymmetric);
            }
            (Side::Multi, Side::Single) => cursor.mixed_fast.set(self.fences == Fences::Asymmetric),
        }
        cursor.lap_base.set(0);
        cursor.limit.set(0);
        cursor.started.set(true);
    }

    /// R2. Where a Single producer goes on: the first position that nobody
    /// published. A claim that its dead predecessor left there is finished
    /// first, so that `CLAIM(p)` never comes back.
    fn successor_start(&self) -> Position {
        let start = self.first_unpublished();
        if self.stamp_at(start) == Stamp::claim(start) {
            state::bury_claim(self.slots, self.index_of(start), start);
            return start.plus(1);
        }
        start
    }

    /// With a Single producer: the first position without FULL or TOMB, at or
    /// after the consumers'. Published positions are a prefix (consumed ones
    /// have moved on to a newer lap), so this is a binary search.
    pub(super) fn first_unpublished(&self) -> Position {
        let from = self.consumed();
        Position::new(self.first_unpublished_of(from.get()..from.plus(self.capacity()).get()))
    }

    /// Everything below it has been taken by the consumers.
    pub(super) fn consumed(&self) -> Position {
        match self.consumers {
            Side::Single => self.control.load_taken(),
            Side::Multi => self.control.load_head(),
        }
    }

    /// The hot path of the rings that have one. False: take [`Ring::try_put`].
    #[inline(always)]
    pub(crate) fn put_fast<S: Source>(&self, cursor: &PutCursor, source: &S) -> bool {
        let walk = &cursor.walk;
        if walk.next.get() >= walk.known.get() {
            // In a forked child all of this reads false, and there is no segment.
            if cursor.multi_fast.get() {
                return self.put_fast_multi(cursor, source);
            }
            if cursor.mixed_fast.get() {
                return match self.producers {
                    Side::Single => self.put_fast_single(cursor, source),
                    Side::Multi => self.put_fast_limit(cursor, source),
                };
            }
            if cursor.chunk_fast.get() {
                return self.put_fast_chunk(cursor, source);
            }
            if !self.may_put_next(cursor) {
                return false;
            }
        }
        // S7, and an alert.
        if self.news.load(Ordering::Relaxed) != 0 {
            return false;
        }
        self.put_next(S::blocks(self.blocks), cursor, source);
        true
    }

    /// The Multi/Multi hot path: one exchange. Anything but a free position that
    /// nobody else wants is the slow path's.
    #[inline(always)]
    fn put_fast_multi<S: Source>(&self, cursor: &PutCursor, source: &S) -> bool {
        let tail = self.control.load_tail();
        if tail.is_closed() || self.news.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let position = tail.position();
        let index = self.put_index(cursor, position);
        let slots = S::slots(self.slots);
        if state::load_stamp(slots, index) != Stamp::free(position) {
            return false;
        }
        if !seeded(3) {
            self.me.announce_put(position, 1, &cursor.announced);
        }
        if !self.control.claim_tail(tail, 1) {
            return false;
        }
        if seeded(3) {
            self.me.announce_put(position, 1, &cursor.announced);
        }
        source.place(self, position);
        // SAFETY: `put_index` bounds the index; the source was checked against `room`.
        unsafe { source.write(slots.payload(index), 0) };
        state::publish(slots, index, position);
        self.me.count_puts(1);
        true
    }

    /// The same with a Single consumer: what is free is what its cursor said last.
    #[inline(always)]
    fn put_fast_limit<S: Source>(&self, cursor: &PutCursor, source: &S) -> bool {
        let tail = self.control.load_tail();
        if tail.is_closed() || self.news.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let position = tail.position();
        // A limit further away is that of a consumer ahead of the producers, which the slow path tells.
        if cursor.limit.get().wrapping_sub(position.get()).wrapping_sub(1) >= self.capacity() {
            return false;
        }
        let index = self.put_index(cursor, position);
        let slots = S::slots(self.slots);
        self.me.announce_put(position, 1, &cursor.announced);
        if !self.control.claim_tail(tail, 1) {
            return false;
        }
        if self.write_ahead > 0 {
            slots.prefetch_write(index, self.write_ahead);
        }
        source.place(self, position);
        // SAFETY: `put_index` bounds the index; the source was checked against `room`.
        unsafe { source.write(slots.payload(index), 0) };
        state::publish(slots, index, position);
        self.me.count_puts(1);
        true
    }

    /// A Single producer of Multi consumers: a claim in the slot's own line. (R1)
    #[inline(always)]
    fn put_fast_single<S: Source>(&self, cursor: &PutCursor, source: &S) -> bool {
        if self.news.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let position = Position::private(cursor.next.get());
        // One that was closed after the claim is refused again by the slow path, which says so.
        self.stamp_at_lap(cursor, position) == Stamp::free(position)
            && self.put_single(cursor, position, source) == Put::Done
    }

    #[inline(always)]
    fn put_index(&self, cursor: &PutCursor, position: Position) -> usize {
        let index = position.get().wrapping_sub(cursor.lap_base.get());
        if index < self.capacity() { index as usize } else { self.next_put_lap(cursor, position) }
    }

    #[cold]
    fn next_put_lap(&self, cursor: &PutCursor, position: Position) -> usize {
        let index = self.index_of(position);
        cursor.lap_base.set(position.get().wrapping_sub(index as u64));
        index
    }

    /// R1. Claim in the slot's own line, ask for `closed`, payload, publish.
    fn put_single<S: Source>(&self, cursor: &PutCursor, position: Position, source: &S) -> Put {
        let index = self.put_index(cursor, position);
        let slots = S::slots(self.slots);
        let written = state::claim_slot(slots, index, position, source.first_word());
        light_barrier(self.fences);
        if self.is_flagged(Ordering::Relaxed) {
            return self.refuse_claimed(cursor, position);
        }
        if self.write_ahead > 0 {
            slots.prefetch_write(index, self.write_ahead);
        }
        source.place(self, position);
        // SAFETY: `put_index` bounds the index; the source was checked against `room`.
        unsafe { source.write(slots.payload(index).unclaimed(), written) };
        state::publish(slots, index, position);
        cursor.next.set(position.plus(1).get());
        Put::Done
    }

    /// R1. Closed after the claim: the position stays empty for good.
    #[cold]
    #[inline(never)]
    fn refuse_claimed(&self, cursor: &PutCursor, position: Position) -> Put {
        state::bury(self.slots, self.index_of(position), position);
        cursor.next.set(position.plus(1).get());
        cursor.stop_fast_path();
        Put::Closed
    }

    /// One attempt at one message. `exact`: a refusal must be true of the exact
    /// cursor, not only of its lagging copy.
    #[inline]
    pub(crate) fn try_put<S: Source>(&self, cursor: &PutCursor, source: &S, exact: bool) -> Put {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.try_put_run_spsc(cursor, 1, exact, |_| source).1,
            (Side::Single, Side::Multi) => self.try_put_single(cursor, source, exact),
            (Side::Multi, _) => self.try_put_multi(cursor, exact, 1, &mut Backoff::new(), |_| source).1,
        }
    }

    fn try_put_single<S: Source>(&self, cursor: &PutCursor, source: &S, exact: bool) -> Put {
        if self.is_flagged(Ordering::Relaxed) {
            return Put::Closed;
        }
        let position = Position::private(cursor.next.get());
        match self.is_free_single(cursor, position, exact) {
            Ok(true) => self.put_single(cursor, position, source),
            Ok(false) => Put::Full,
            Err(Damaged) => Put::Damaged,
        }
    }

    /// Whether a Single producer may write `position`.
    pub(super) fn is_free_single(&self, cursor: &PutCursor, position: Position, exact: bool) -> Result<bool, Damaged> {
        if self.consumers == Side::Multi {
            let stamp = self.stamp_at_lap(cursor, position);
            if stamp > Stamp::free(position) {
                return Err(Damaged);
            }
            return Ok(stamp == Stamp::free(position));
        }
        if position.get() < cursor.limit.get() || self.refresh_limit(cursor, position, exact) > position.get() {
            // A limit beyond this would say that the consumer is ahead of us.
            if cursor.limit.get() > position.plus(self.capacity()).get() {
                return Err(Damaged);
            }
            return Ok(true);
        }
        Ok(false)
    }

    #[inline(always)]
    fn stamp_at_lap(&self, cursor: &PutCursor, position: Position) -> Stamp {
        state::load_stamp(self.slots, self.put_index(cursor, position))
    }

    /// With a Single consumer: reads how far it is. Its lagging copy is polled;
    /// the exact cursor, which is its hot line, only now and then.
    fn refresh_limit(&self, cursor: &PutCursor, position: Position, exact: bool) -> u64 {
        let mut limit = self.control.load_head().plus(self.capacity()).get();
        let polls = cursor.polls.get().wrapping_add(1);
        cursor.polls.set(polls);
        // In a small ring the two share every line anyway, and the copy is that of the
        // consumer's last look.
        let exact = exact || self.capacity() < SMALL || polls.is_multiple_of(EXACT_EVERY);
        if limit <= cursor.limit.get().max(position.get()) && exact {
            limit = self.control.load_taken().plus(self.capacity()).get();
        }
        if limit > cursor.limit.get() {
            cursor.limit.set(limit);
            cursor.polls.set(0);
        }
        cursor.limit.get()
    }

    /// R3, R4. Claims up to `count` positions at once and fills them in order.
    /// Says how many were put.
    #[inline]
    fn try_put_multi<S: Source>(
        &self,
        cursor: &PutCursor,
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
            let (mut _touch, mut count) = (None, count);
            let index = if !self.is_chunked() {
                self.put_index(cursor, start)
            } else {
                match self.enter_for_put(&cursor.window, start) {
                    Ok((touch, index, rest)) => {
                        (_touch, count) = (Some(touch), count.min(rest));
                        index
                    }
                    Err(_) if self.control.load_tail() != tail => {
                        backoff.lost();
                        continue;
                    }
                    Err(gate) => {
                        self.me.withdraw_put(&cursor.announced);
                        return (0, Put::at(gate));
                    }
                }
            };
            let free = match self.free_run(S::slots(self.slots), cursor, (start, index), count, exact) {
                Ok(free) => free,
                Err(Damaged) if self.control.load_tail() == tail => {
                    self.me.withdraw_put(&cursor.announced);
                    return (0, Put::Damaged);
                }
                Err(Damaged) => {
                    backoff.lost();
                    continue;
                }
            };
            if free == 0 {
                if self.control.load_tail() != tail {
                    backoff.lost();
                    continue;
                }
                self.me.withdraw_put(&cursor.announced);
                return (0, Put::Full);
            }
            self.me.announce_put(start, free, &cursor.announced);
            if !self.control.claim_tail(tail, free) {
                backoff.lost();
                continue;
            }
            let slots = S::slots(self.slots);
            let mut index = index;
            for offset in 0..free {
                if self.write_ahead > 0 {
                    slots.prefetch_write(index, self.write_ahead);
                }
                let source = source(offset);
                source.place(self, start.plus(offset));
                // SAFETY: `put_index` and `next_index` bound the index; the source was
                // checked against `room`.
                unsafe { source.write(slots.payload(index), 0) };
                state::publish(slots, index, start.plus(offset));
                index = self.next_index(index);
            }
            self.me.count_puts(free);
            return (free, Put::Done);
        }
        self.me.withdraw_put(&cursor.announced);
        (0, Put::Full)
    }

    /// How many of `start..start + count` are free, from the front.
    #[inline(always)]
    fn free_run(
        &self,
        slots: SlotMemory,
        cursor: &PutCursor,
        (start, mut index): (Position, usize),
        count: u64,
        exact: bool,
    ) -> Result<u64, Damaged> {
        let count = count.min(self.capacity());
        if self.consumers == Side::Single {
            let wanted = start.plus(count).get();
            if cursor.limit.get() < wanted {
                self.refresh_limit(cursor, start, exact);
            }
            // As in `is_free_single`: a consumer ahead of the producers, if the tail stands.
            if cursor.limit.get() > start.plus(self.capacity()).get() {
                return Err(Damaged);
            }
            return Ok(cursor.limit.get().saturating_sub(start.get()).min(count));
        }
        for offset in 0..count {
            let position = start.plus(offset);
            let stamp = state::load_stamp(slots, index);
            index = self.next_index(index);
            if stamp != Stamp::free(position) && !(self.is_chunked() && stamp.is_free_for(position)) {
                return if offset == 0 && stamp > Stamp::free(position) { Err(Damaged) } else { Ok(offset) };
            }
        }
        Ok(count)
    }

    /// Puts as many of `count` messages as there is room for, in order. Says how
    /// many, and why no more. `source` is asked for offsets below `count` only,
    /// and must not do anything but point at the message.
    pub(crate) fn try_put_run<S: Source>(
        &self,
        cursor: &PutCursor,
        count: u64,
        exact: bool,
        source: impl Fn(u64) -> S,
    ) -> (u64, Put) {
        let mut done = 0;
        let mut backoff = Backoff::new();
        while done < count {
            let rest = count - done;
            let (put, how) = match (self.producers, self.consumers) {
                (Side::Multi, _) => {
                    self.try_put_multi(cursor, exact, rest, &mut backoff, |offset| source(done + offset))
                }
                (Side::Single, Side::Single) => {
                    self.try_put_run_spsc(cursor, rest, exact, |offset| source(done + offset))
                }
                (Side::Single, Side::Multi) => {
                    let how = self.try_put_single(cursor, &source(done), exact);
                    (u64::from(how == Put::Done), how)
                }
            };
            done += put;
            if how != Put::Done {
                return (done, how);
            }
        }
        (done, Put::Done)
    }

    /// The position that is put next.
    pub(crate) fn put_position(&self, cursor: &PutCursor) -> u64 {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => cursor.walk.next.get(),
            (Side::Single, Side::Multi) => cursor.next.get(),
            (Side::Multi, _) => self.control.load_tail().position().get(),
        }
    }

    /// Before a sleep (R5): might a put succeed, or must it learn of the close?
    pub(crate) fn may_put(&self, cursor: &PutCursor) -> bool {
        match self.producers {
            Side::Single => {
                let position = Position::private(self.put_position(cursor));
                self.is_flagged(Ordering::Acquire) || self.is_free_single(cursor, position, true) != Ok(false)
            }
            Side::Multi => {
                let tail = self.control.load_tail();
                if self.is_chunked() {
                    return tail.is_closed() || self.may_put_in_chunk(cursor, tail.position());
                }
                tail.is_closed() || self.has_free(cursor, tail.position())
            }
        }
    }

    fn has_free(&self, cursor: &PutCursor, position: Position) -> bool {
        self.free_run(self.slots, cursor, (position, self.put_index(cursor, position)), 1, true) != Ok(0)
    }

    /// A Single producer claims the next position and does no more, as who is killed there.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn claim_slot_and_die(&self, cursor: &PutCursor) {
        let position = Position::private(cursor.next.get());
        state::claim_slot(self.slots, self.index_of(position), position, None);
    }

    /// Whether a full ring waits for a position that a consumer has claimed and not
    /// committed, or that is to be redelivered.
    pub(crate) fn is_held_up(&self, cursor: &PutCursor) -> bool {
        if self.consumers == Side::Single {
            return false;
        }
        if self.is_chunked() {
            return self.is_chunk_held_up(self.control.load_tail().position());
        }
        let oldest = Position::new(self.put_position(cursor).saturating_sub(self.capacity()));
        oldest < self.control.load_head() && !self.stamp_at(oldest).is_before(oldest)
    }

    /// Nothing of this participant's is announced while it sleeps. (R5)
    pub(crate) fn rest_put(&self, cursor: &PutCursor) {
        self.me.withdraw_put(&cursor.announced);
    }
}
