//! The consumers' half of the algorithm (rules R6 to R8).

#![allow(unsafe_code)]

use super::chunks::Window;
use super::position::{Position, Stamp};
use super::spsc::Walk;
use super::{CLOSED, Ring, Side, Sink, state};
use crate::primitive::{Backoff, Fences, Ordering, SlotMemory};
use core::cell::Cell;

/// How an attempt to get ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Get {
    /// The sink has the message, and it is ours.
    Item,
    /// Nothing there.
    Empty,
    /// A producer has claimed the position in our way and is not finished.
    Unfinished,
    /// The queue was closed, and it is to be asked first where it ends
    /// ([`Ring::is_drained`]).
    Closing,
    /// The ring's words contradict each other.
    Damaged,
}

/// What a consumer knows privately. All zeros, as a forked child finds it, means
/// "not started": every operation then takes the slow path, which sees why.
#[repr(C)]
pub(crate) struct GetCursor {
    /// Single/Single: where this consumer stands.
    pub(super) walk: Walk,
    /// Single consumer, Multi producers: the next position, which is `taken`.
    next: Cell<u64>,
    /// The position of slot 0 in the current lap.
    lap_base: Cell<u64>,
    /// The position at which `head` is due next.
    pub(super) head_due: Cell<u64>,
    /// What `head` says.
    published: Cell<u64>,
    /// From this position on this is a stream.
    pub(super) stream_from: Cell<u64>,
    /// Single/Single: where the queue ends; `u64::MAX` while that is not known.
    pub(super) end: Cell<u64>,
    pub(super) announced: Cell<u64>,
    /// Leases that this handle holds.
    pub(super) held: Cell<u32>,
    started: Cell<bool>,
    /// The fast path may be taken: for Single/Single, for a Single consumer of Multi
    /// producers, for Multi consumers.
    pub(super) spsc_fast: Cell<bool>,
    slots_fast: Cell<bool>,
    multi_fast: Cell<bool>,
    /// The same for a ring of chunks, and the chunk that it is in.
    pub(super) chunk_fast: Cell<bool>,
    pub(super) window: Window,
}

// SAFETY: plain cells of integers and bools; all zeros is a valid value.
unsafe impl bytemuck::Zeroable for GetCursor {}

/// Claims that may fail in a row before an operation says that it is in somebody's way.
const CLAIM_ATTEMPTS: u32 = 1 << 14;

impl GetCursor {
    pub(crate) fn is_started(&self) -> bool {
        self.started.get()
    }

    /// From here on only the slow path is taken.
    pub(crate) fn stop_fast_path(&self) {
        self.spsc_fast.set(false);
        self.walk.known.set(0);
        self.slots_fast.set(false);
        self.multi_fast.set(false);
        self.chunk_fast.set(false);
    }

    /// Whether the slow path has to be taken, though the handle is fine.
    pub(crate) fn is_off_the_fast_path(&self) -> bool {
        let is_fast = self.spsc_fast.get() || self.slots_fast.get() || self.multi_fast.get() || self.chunk_fast.get();
        self.started.get() && !is_fast
    }

    /// Whether this handle has leases that did not end.
    pub(crate) fn holds_leases(&self) -> bool {
        self.held.get() > 0
    }

    /// Back to "not started".
    pub(crate) fn stop(&self) {
        self.stop_fast_path();
        self.started.set(false);
    }
}

/// After how many messages in a row without a wait a consumer takes them for a
/// stream, in which more is about to be written to the line that was read.
const STREAM: u64 = 2;

impl Ring<'_> {
    /// R8. How many messages `head` may lag behind `taken`.
    fn head_lag(&self) -> u64 {
        (self.capacity() / 16).max(1)
    }

    /// Makes `cursor` usable. Of a Single side the caller holds the role.
    pub(crate) fn start_get(&self, cursor: &GetCursor) {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.start_get_spsc(cursor),
            (Side::Multi, Side::Single) => {
                let taken = self.past_a_lease(self.control.load_taken());
                cursor.next.set(taken.get());
                self.publish_head(cursor, taken);
                cursor.slots_fast.set(self.fences == Fences::Asymmetric);
            }
            (_, Side::Multi) => self.resume_fast_path(cursor),
        }
        cursor.lap_base.set(0);
        self.ran_dry(cursor);
        cursor.started.set(true);
    }

    /// The fast path may be taken again: nothing came back.
    pub(crate) fn resume_fast_path(&self, cursor: &GetCursor) {
        let fast = self.fences == Fences::Asymmetric;
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => cursor.spsc_fast.set(fast),
            (Side::Multi, Side::Single) => cursor.slots_fast.set(fast),
            (_, Side::Multi) if self.is_chunked() => cursor.chunk_fast.set(fast),
            (_, Side::Multi) => cursor.multi_fast.set(fast),
        }
    }

    /// L6. Where a Single consumer starts: if its predecessor had leased the first message
    /// from `taken` on and then died, behind it.
    pub(super) fn past_a_lease(&self, taken: Position) -> Position {
        // Its get skipped the tombstones before the message, and commits once.
        let mut next = taken;
        for _ in 0..self.slots.count() {
            if self.stamp_at(next) != Stamp::tomb(next) {
                break;
            }
            next = next.plus(1);
        }
        if !self.is_in_a_cell(next) {
            return taken;
        }
        self.control.commit_taken(next.plus(1));
        next.plus(1)
    }

    /// The position that is taken next.
    pub(crate) fn get_position(&self, cursor: &GetCursor) -> u64 {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => cursor.walk.next.get(),
            (Side::Multi, Side::Single) => cursor.next.get(),
            (_, Side::Multi) => self.control.load_head().get(),
        }
    }

    /// A Single consumer has to wait: what comes next is not a stream yet.
    #[inline]
    pub(crate) fn ran_dry(&self, cursor: &GetCursor) {
        cursor.stream_from.set(self.get_position(cursor).wrapping_add(STREAM));
    }

    /// The hot path of the rings that have one. False: take [`Ring::try_get`].
    #[inline(always)]
    pub(crate) fn get_fast<K: Sink>(&self, cursor: &GetCursor, sink: &mut K) -> bool {
        let walk = &cursor.walk;
        if walk.next.get() >= walk.known.get() {
            // In a forked child all of this reads false, and there is no segment.
            if cursor.multi_fast.get() {
                return self.get_fast_multi(cursor, sink);
            }
            if cursor.slots_fast.get() {
                return self.get_fast_slots(cursor, sink);
            }
            if cursor.chunk_fast.get() {
                return self.get_fast_chunk(cursor, sink);
            }
            if !self.may_get_next(cursor) {
                return false;
            }
        }
        self.get_next(K::blocks(self.blocks), cursor, sink)
    }

    /// A Single consumer of Multi producers: one load of the slot's line, the
    /// payload, one store to its own line.
    #[inline(always)]
    fn get_fast_slots<K: Sink>(&self, cursor: &GetCursor, sink: &mut K) -> bool {
        let next = cursor.next.get();
        let index = self.get_index(cursor, Position::private(next));
        let slots = K::slots(self.slots);
        if self.read_ahead > 0 {
            slots.prefetch_read(index, self.read_ahead);
        }
        let position = Position::private(next);
        if state::load_stamp(slots, index) != Stamp::full(position) {
            return false;
        }
        // SAFETY: `get_index` bounds the index.
        let used = unsafe { sink.read(0, slots.payload(index)) };
        sink.keep(self, 0, position, 0);
        self.adopt_slot(slots, index, used);
        self.control.commit_taken(position.plus(1));
        cursor.next.set(position.plus(1).get());
        if next >= cursor.head_due.get() {
            self.publish_head(cursor, position.plus(1));
        }
        true
    }

    /// The same for Multi consumers: one exchange, and the commit in the slot's
    /// line. Anything but a message that is simply there is the slow path's.
    #[inline(always)]
    fn get_fast_multi<K: Sink>(&self, cursor: &GetCursor, sink: &mut K) -> bool {
        // Redeliveries come first.
        if self.is_alerted() {
            return false;
        }
        let head = self.control.load_head();
        let index = self.get_index(cursor, head);
        let slots = K::slots(self.slots);
        if !state::load_stamp(slots, index).is_full(head) {
            return false;
        }
        self.me.announce_get(head, 1, &cursor.announced);
        if !self.control.claim_head(head, 1) {
            return false;
        }
        // SAFETY: `get_index` bounds the index.
        let used = unsafe { sink.read(0, slots.payload(index)) };
        // Nobody has had what is at the head.
        sink.keep(self, 0, head, 0);
        self.adopt_further(slots, index, used);
        state::release_slot(slots, index, head.plus(self.capacity()));
        self.me.count_gets(1);
        true
    }

    /// A Single consumer adopts the lines that it has read. Of slots that share a line,
    /// any one will do: the last.
    #[inline(always)]
    pub(super) fn adopt_slot(&self, slots: SlotMemory, index: usize, used: usize) {
        if self.adopts && slots.ends_line(index) {
            // SAFETY: the caller bounds the index, the sink has read no more than the
            // payload, and nobody writes the slot before it is committed.
            unsafe { slots.payload(index).adopt_lines(used) };
        }
    }

    /// The same for a Multi consumer, whose commit is a store to the first of the lines.
    #[inline(always)]
    pub(super) fn adopt_further(&self, slots: SlotMemory, index: usize, used: usize) {
        if self.adopts {
            // SAFETY: the caller bounds the index and has claimed the position, the sink has read no more than the
            // payload, and nobody writes the slot before it is released.
            unsafe { slots.payload(index).adopt_further_lines(used) };
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn publish_head(&self, cursor: &GetCursor, head: Position) {
        self.control.publish_head(head);
        cursor.published.set(head.get());
        cursor.head_due.set(head.plus(self.head_lag() - 1).get());
    }

    /// R8. Brings `head` up to date: the ring is empty, a producer sleeps, or
    /// this consumer leaves.
    pub(crate) fn catch_up_head(&self, cursor: &GetCursor) {
        let next = self.get_position(cursor);
        if self.consumers == Side::Single && cursor.published.get() != next {
            self.publish_head(cursor, Position::private(next));
        }
    }

    #[inline(always)]
    fn get_index(&self, cursor: &GetCursor, position: Position) -> usize {
        let index = position.get().wrapping_sub(cursor.lap_base.get());
        if index < self.capacity() { index as usize } else { self.next_get_lap(cursor, position) }
    }

    #[cold]
    fn next_get_lap(&self, cursor: &GetCursor, position: Position) -> usize {
        let index = self.index_of(position);
        cursor.lap_base.set(position.get().wrapping_sub(index as u64));
        index
    }

    /// One attempt at one message, for tests.
    #[cfg(test)]
    pub(crate) fn try_get<K: Sink>(&self, cursor: &GetCursor, sink: &mut K) -> Get {
        match self.try_get_run(cursor, 1, sink) {
            (0, why) => why,
            _ => Get::Item,
        }
    }

    /// Takes what is there, in order, up to `max`. Says how many, and if none, why.
    #[inline]
    pub(crate) fn try_get_run<K: Sink>(&self, cursor: &GetCursor, max: u64, sink: &mut K) -> (u64, Get) {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.try_get_run_spsc(cursor, max, sink),
            (Side::Multi, Side::Single) => self.try_get_single(cursor, max, sink),
            (_, Side::Multi) => self.try_get_multi(cursor, max, sink),
        }
    }

    /// R7. A Single consumer copies, then commits with one store.
    fn try_get_single<K: Sink>(&self, cursor: &GetCursor, max: u64, sink: &mut K) -> (u64, Get) {
        let start = Position::private(cursor.next.get());
        let (mut next, mut taken) = (start, 0);
        let mut why = Get::Empty;
        let slots = K::slots(self.slots);
        // Tombstones count too, so that the loop is bounded by one lap.
        for _ in 0..self.capacity() {
            if taken == max {
                break;
            }
            let index = self.get_index(cursor, next);
            if self.read_ahead > 0 {
                slots.prefetch_read(index, self.read_ahead);
            }
            let stamp = state::load_stamp(slots, index);
            if stamp.is_full(next) {
                // SAFETY: `get_index` bounds the index.
                let used = unsafe { sink.read(taken, slots.payload(index)) };
                sink.keep(self, taken, next, 0);
                self.adopt_slot(slots, index, used);
                taken += 1;
            } else if stamp != Stamp::tomb(next) {
                why = if stamp.is_before(next) { self.why_not(next) } else { Get::Damaged };
                break;
            }
            next = next.plus(1);
        }
        if next != start {
            self.control.commit_taken(next);
            cursor.next.set(next.get());
            if taken < max || next.get().wrapping_sub(cursor.published.get()) >= self.head_lag() {
                self.publish_head(cursor, next);
            }
        } else {
            self.catch_up_head(cursor);
        }
        (taken, why)
    }

    /// Nothing is published at `position`: is somebody at it? (The stamp was read
    /// before the tail.)
    pub(super) fn why_not(&self, position: Position) -> Get {
        if self.producers == Side::Multi && self.control.load_tail().position() > position {
            Get::Unfinished
        } else {
            Get::Empty
        }
    }

    /// R3, R6, R7. Several consumers claim runs; each commit releases its slot.
    fn try_get_multi<K: Sink>(&self, cursor: &GetCursor, max: u64, sink: &mut K) -> (u64, Get) {
        let slots = K::slots(self.slots);
        let mut backoff = Backoff::new();
        for _ in 0..CLAIM_ATTEMPTS {
            if backoff.is_spent() {
                break;
            }
            let head = self.control.load_head();
            let (mut _touch, mut max) = (None, max);
            let index = if !self.is_chunked() {
                self.get_index(cursor, head)
            } else {
                match self.enter_for_get(&cursor.window, head) {
                    Some((touch, index, rest)) => {
                        (_touch, max) = (Some(touch), max.min(rest));
                        index
                    }
                    None => {
                        let why = self.why_not_in_chunk(head);
                        if self.control.load_head() != head {
                            backoff.lost();
                            continue;
                        }
                        self.me.withdraw_get(&cursor.announced);
                        return (0, why);
                    }
                }
            };
            if self.read_ahead > 0 {
                slots.prefetch_write(index, self.read_ahead / 2);
            }
            let stamp = state::load_stamp(slots, index);
            let is_tomb = stamp == Stamp::tomb(head);
            if !stamp.is_full(head) && !is_tomb {
                if self.control.load_head() != head {
                    backoff.lost();
                    continue;
                }
                self.me.withdraw_get(&cursor.announced);
                let why = if stamp.is_before(head) { self.why_not(head) } else { Get::Damaged };
                return (0, why);
            }
            let run = if is_tomb { 1 } else { self.full_run(slots, head, index, max) };
            self.me.announce_get(head, run, &cursor.announced);
            if !self.control.claim_head(head, run) {
                backoff.lost();
                continue;
            }
            let mut index = index;
            for offset in 0..run {
                if !is_tomb {
                    // SAFETY: `get_index` and `next_index` bound the index.
                    let used = unsafe { sink.read(offset, slots.payload(index)) };
                    sink.keep(self, offset, head.plus(offset), 0);
                    self.adopt_further(slots, index, used);
                }
                state::release_slot(slots, index, head.plus(offset + self.step()));
                index = self.next_index(index);
            }
            if !is_tomb {
                self.me.count_gets(run);
                return (run, Get::Item);
            }
        }
        self.me.withdraw_get(&cursor.announced);
        (0, if self.control.head_is_no_position() { Get::Damaged } else { Get::Unfinished })
    }

    /// Announces the next message and does no more, as who loses the exchange to another.
    #[cfg(test)]
    pub(crate) fn announce_and_lose(&self, cursor: &GetCursor) {
        self.me.announce_get(self.control.load_head(), 1, &cursor.announced);
    }

    /// Claims the next message and does no more, as who is killed there.
    #[cfg(test)]
    pub(crate) fn claim_and_die(&self, cursor: &GetCursor) {
        let head = self.control.load_head();
        self.me.announce_get(head, 1, &cursor.announced);
        assert!(self.control.claim_head(head, 1), "nobody else is there");
    }

    /// There may be redeliveries.
    #[inline(always)]
    pub(super) fn is_alerted(&self) -> bool {
        !cfg!(ringway_without_recovery) && self.news_to_consumers.load(Ordering::Relaxed) > CLOSED
    }

    /// D4, L4. Takes up to `max` messages whose readers have died or given them back. The
    /// caller has read the alert before, and takes it back if nothing was there.
    #[cold]
    #[inline(never)]
    pub(crate) fn take_back<K: Sink>(&self, cursor: &GetCursor, max: u64, sink: &mut K) -> u64 {
        let taken = self.take_back_slots(cursor, max, sink);
        taken + self.take_back_cells(taken, max - taken, sink)
    }

    /// D4. Those that are in the ring still.
    pub(super) fn take_back_slots<K: Sink>(&self, cursor: &GetCursor, max: u64, sink: &mut K) -> u64 {
        let slots = K::slots(self.slots);
        let (mut taken, mut stands) = (0, false);
        if self.consumers == Side::Single {
            return taken;
        }
        self.visit_slots(self.control.load_head(), |index, of_chunk| {
            if taken == max {
                return false;
            }
            let seen = state::load_stamp(slots, index);
            let position = seen.position();
            let is_here = of_chunk.map_or_else(|| self.index_of(position) == index, |here| here == position);
            if !seen.is_back(position) || !is_here {
                return true;
            }
            self.me.announce_get(position, 1, &cursor.announced);
            stands = !state::take_again(slots, index, seen);
            if !stands {
                // SAFETY: `index` is below the count.
                unsafe { sink.read(taken, slots.payload(index)) };
                sink.keep(self, taken, position, seen.taken_again().attempt());
                state::release_slot(slots, index, position.plus(self.step()));
                self.has_released(cursor, position);
                taken += 1;
            }
            true
        });
        self.me.count_gets(taken);
        // R5: also of a call that found work elsewhere.
        if taken == 0 || stands {
            self.me.withdraw_get(&cursor.announced);
        }
        taken
    }

    /// How many messages are there from `head`, which is at `index` and is one.
    #[inline(always)]
    fn full_run(&self, slots: SlotMemory, head: Position, mut index: usize, max: u64) -> u64 {
        let max = max.min(self.capacity());
        let mut run = 1;
        while run < max {
            index = self.next_index(index);
            if !state::load_stamp(slots, index).is_full(head.plus(run)) {
                break;
            }
            run += 1;
        }
        run
    }

    /// Before a sleep, or to spin on: is a message (or damage) in our way? Reads
    /// the slot only, never the producers' line.
    #[inline(always)]
    pub(crate) fn may_get(&self, cursor: &GetCursor) -> bool {
        let position = match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => return self.may_get_spsc(cursor),
            (Side::Multi, Side::Single) => Position::private(cursor.next.get()),
            (_, Side::Multi) => self.control.load_head(),
        };
        if self.is_chunked() {
            return !self.stamp_in_window(cursor, position).is_before(position) || self.is_alerted();
        }
        !state::load_stamp(self.slots, self.get_index(cursor, position)).is_before(position)
            || self.consumers == Side::Multi && self.is_alerted()
    }

    /// Nothing of this participant's is announced while it sleeps. (R5)
    pub(crate) fn rest_get(&self, cursor: &GetCursor) {
        self.me.withdraw_get(&cursor.announced);
    }
}
