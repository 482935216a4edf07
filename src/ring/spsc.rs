//! The ring whose sides are both `Single` (rules S1 to S7).
//!
//! Messages lie in blocks that share a stamp: how far their block is published.
//! Neither side executes a locked operation or stores to a line that the other
//! stores to, but for the line that carries the message itself.

#![allow(unsafe_code)]

use super::position::Position;
use super::{CLOSED, Damaged, Get, GetCursor, Put, PutCursor, Ring, Sink, Source, state};
use crate::primitive::{BlockMemory, Fences, Ordering, light_barrier};
use core::cell::Cell;

/// Where one side stands in the blocks. Private to it.
///
/// Every store of an operation waits in the store queue behind those to lines that
/// the other core still has to give up, private ones too (`docs/benchmarks.md`). So
/// the hot paths store as few of these words as they can: only `next`.
#[repr(C)]
pub(super) struct Walk {
    /// The next position.
    pub(super) next: Cell<u64>,
    /// Below it the hot path may go ahead: positions are free, or published. Of a
    /// consumer of one message a block: they lie in the current stretch. 0: never.
    pub(super) known: Cell<u64>,
    /// The current stretch: the positions of one block, or, where a block holds one
    /// message, of one lap. From, and up to.
    start: Cell<u64>,
    end: Cell<u64>,
    /// The stretch's first block.
    block: Cell<usize>,
}

impl Walk {
    /// Stands at `position`, whose index in the ring is `index`.
    fn start_at(&self, blocks: BlockMemory, position: Position, index: usize) {
        let (block, cell) = if blocks.per_block() == 1 { (0, index) } else { blocks.locate(index) };
        self.next.set(position.get());
        self.known.set(0);
        self.block.set(block);
        self.start.set(position.get().wrapping_sub(cell as u64));
        self.end.set(self.start.get().wrapping_add(Walk::stretch(blocks, block)));
    }

    fn stretch(blocks: BlockMemory, block: usize) -> u64 {
        if blocks.per_block() == 1 { blocks.blocks() as u64 } else { blocks.len_of(block) as u64 }
    }

    /// Makes the current stretch the one of the next position. True: it is a new one.
    #[inline(always)]
    fn enter(&self, blocks: BlockMemory) -> bool {
        let next = self.next.get();
        if next < self.end.get() {
            return false;
        }
        let block = self.block.get() + 1;
        let block = if blocks.per_block() > 1 && block < blocks.blocks() { block } else { 0 };
        self.block.set(block);
        self.start.set(next);
        self.end.set(next.wrapping_add(Walk::stretch(blocks, block)));
        true
    }

    /// The block of a position in the current stretch, and the place in it: both in
    /// bounds, as `start_at` and `enter` keep the stretch.
    #[inline(always)]
    fn place(&self, blocks: BlockMemory, position: u64) -> (usize, usize) {
        let at = position.wrapping_sub(self.start.get()) as usize;
        if blocks.per_block() == 1 { (at, 0) } else { (self.block.get(), at) }
    }
}

impl Ring<'_> {
    // ---- the producer ----

    /// S6. There are no claims, so nothing is left to finish.
    pub(super) fn start_put_spsc(&self, cursor: &PutCursor) {
        let start = self.first_unpublished_block();
        cursor.walk.start_at(self.blocks, start, self.index_of(start));
        cursor.fast.set(self.fences == Fences::Asymmetric);
    }

    /// Whether the next position is free by what is known already, and the hot path
    /// may go on.
    #[inline(never)]
    pub(super) fn may_put_next(&self, cursor: &PutCursor) -> bool {
        let walk = &cursor.walk;
        // The cursor first: in a forked child all of it reads zero, and there is no segment.
        if walk.next.get() >= cursor.limit.get() || !cursor.fast.get() {
            return false;
        }
        if walk.enter(self.blocks) && self.write_ahead > 0 {
            self.blocks.prefetch_write(walk.block.get(), self.write_ahead);
        }
        walk.known.set(walk.end.get().min(cursor.limit.get()));
        true
    }

    /// S1, but for the question whether the queue was closed: the caller asks that
    /// after it, and settles. The next position is free and in the current stretch.
    #[inline(always)]
    pub(super) fn put_next<S: Source>(&self, blocks: BlockMemory, cursor: &PutCursor, source: &S) {
        let walk = &cursor.walk;
        let next = walk.next.get();
        let (block, cell) = walk.place(blocks, next);
        source.place(self, Position::private(next));
        // SAFETY: `place` gives what is in bounds; the source was checked against the
        // largest message.
        unsafe { source.write(blocks.payload(block, cell), 0) };
        let after = next.wrapping_add(1);
        state::publish_block(blocks, block, Position::private(after));
        walk.next.set(after);
    }

    /// As many of `count` messages as there is room for; one stamp a block.
    pub(super) fn try_put_run_spsc<S: Source>(
        &self,
        cursor: &PutCursor,
        count: u64,
        exact: bool,
        source: impl Fn(u64) -> S,
    ) -> (u64, Put) {
        if self.is_flagged(Ordering::Relaxed) {
            return (0, Put::Closed);
        }
        let blocks = S::blocks(self.blocks);
        let walk = &cursor.walk;
        let mut done = 0;
        while done < count {
            let position = Position::private(walk.next.get());
            match self.is_free_single(cursor, position, exact) {
                Ok(true) => {}
                Ok(false) => return (done, Put::Full),
                Err(Damaged) => return (done, Put::Damaged),
            }
            walk.enter(blocks);
            let end = walk.end.get().min(cursor.limit.get());
            let run = end.saturating_sub(position.get()).min(count - done);
            for offset in 0..run {
                let next = position.plus(offset);
                let (block, cell) = walk.place(blocks, next.get());
                let source = source(done + offset);
                source.place(self, next);
                // SAFETY: as in `put_next`; the run ends where the stretch does.
                unsafe { source.write(blocks.payload(block, cell), 0) };
                if blocks.per_block() == 1 || offset + 1 == run {
                    state::publish_block(blocks, block, next.plus(1));
                }
            }
            walk.next.set(position.plus(run).get());
            done += run;
        }
        (done, Put::Done)
    }

    /// S2. The queue was seen closed after messages were published: how many of
    /// the latest `count` are in the queue for good. Nothing is put afterwards.
    #[cold]
    pub(crate) fn settle(&self, cursor: &PutCursor, count: u64) -> u64 {
        let next = cursor.walk.next.get();
        let end = self.control.decide_end(Position::private(next)).get();
        cursor.stop_fast_path();
        count.saturating_sub(next.saturating_sub(end))
    }

    // ---- the consumer ----

    pub(super) fn start_get_spsc(&self, cursor: &GetCursor) {
        let taken = self.past_a_lease(self.control.load_taken());
        cursor.walk.start_at(self.blocks, taken, self.index_of(taken));
        cursor.end.set(u64::MAX);
        self.publish_head(cursor, taken);
        cursor.spsc_fast.set(self.fences == Fences::Asymmetric);
    }

    /// The hot path, below `known`, where fences are asymmetric. False: nothing is
    /// published.
    #[inline(always)]
    pub(super) fn get_next<K: Sink>(&self, blocks: BlockMemory, cursor: &GetCursor, sink: &mut K) -> bool {
        let walk = &cursor.walk;
        let next = walk.next.get();
        let place = walk.place(blocks, next);
        let after = next.wrapping_add(1);
        if blocks.per_block() == 1 {
            // Published, and the slot cannot be a lap ahead.
            if state::load_block(blocks, place.0).get() != after || self.is_closing(Fences::Asymmetric) {
                return false;
            }
            if self.read_ahead > 0 {
                blocks.prefetch_read(place.0, self.read_ahead);
            }
        }
        self.read_at(blocks, place, 0, sink);
        sink.keep(self, 0, Position::private(next), 0);
        walk.next.set(after);
        self.control.commit_taken(Position::private(after));
        true
    }

    /// Whether the hot path may go on.
    #[inline(never)]
    pub(super) fn may_get_next(&self, cursor: &GetCursor) -> bool {
        // The cursor first: in a forked child it reads false, and there is no segment.
        if !cursor.spsc_fast.get() {
            return false;
        }
        if self.blocks.per_block() > 1 {
            return self.look(cursor);
        }
        // The hot path looks at each stamp itself, and comes back here when a new lap
        // begins or `head` is due.
        cursor.walk.enter(self.blocks);
        self.publish_head_if_due(cursor);
        cursor.walk.known.set(cursor.walk.end.get().min(cursor.head_due.get().wrapping_add(1)));
        true
    }

    /// Up to where a consumer may go without another look: the end of the stretch or of
    /// the queue, or where `head` is due.
    #[inline(always)]
    fn stretch_end(&self, cursor: &GetCursor) -> u64 {
        cursor.walk.end.get().min(cursor.end.get()).min(cursor.head_due.get().wrapping_add(1))
    }

    /// R8. Everything taken so far is committed.
    fn publish_head_if_due(&self, cursor: &GetCursor) {
        let next = cursor.walk.next.get();
        if next > cursor.head_due.get() {
            self.publish_head(cursor, Position::private(next));
        }
    }

    /// S4. Asked after a stamp was loaded: if not, then all that it says was published
    /// before the close, and lies below the end, wherever that will be.
    #[inline(always)]
    fn is_closing(&self, fences: Fences) -> bool {
        // Ordered behind the stamp by the barrier: who decides the end has stored the
        // flag, made the heavy one, and only then looked at stamps.
        light_barrier(fences);
        // Pair CLOSED.
        self.news_to_consumers.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Whether the queue was closed and this consumer has not asked where it ends.
    #[inline(always)]
    pub(crate) fn is_closing_unawares(&self, cursor: &GetCursor) -> bool {
        cursor.end.get() == u64::MAX && self.is_closing(self.fences)
    }

    /// Looks at the stamp of the next message's block: whether the message is there,
    /// and how many more are. Everything taken so far is committed.
    #[inline(always)]
    fn look(&self, cursor: &GetCursor) -> bool {
        let (blocks, walk) = (self.blocks, &cursor.walk);
        if walk.enter(blocks) && self.read_ahead > 0 {
            blocks.prefetch_read(walk.block.get(), self.read_ahead);
        }
        self.publish_head_if_due(cursor);
        let next = walk.next.get();
        let (block, _) = walk.place(blocks, next);
        let stamp = state::load_block(blocks, block).get();
        // Published, and not further than a producer may be: one compare.
        if stamp.wrapping_sub(next).wrapping_sub(1) >= self.capacity() || next >= cursor.end.get() {
            return false;
        }
        if self.is_closing_unawares(cursor) {
            return false;
        }
        // The stamp may be of the next lap already.
        let end = walk.end.get();
        let known = stamp.min(self.stretch_end(cursor));
        let known = if blocks.per_block() == 1 { next.wrapping_add(1) } else { known };
        // S4. The whole block is there: its line will not be written before its last
        // message is committed.
        if blocks.per_block() > 1 && self.adopts && stamp >= end && next >= cursor.stream_from.get() {
            let (block, last) = walk.place(blocks, end.wrapping_sub(1));
            // SAFETY: `place` gives what is in bounds; the last message is published, and not
            // committed, as it is not below the next one.
            unsafe { blocks.payload(block, last).adopt_lines(0) };
        }
        walk.known.set(known);
        true
    }

    /// Copies a message out, which is there and not yet committed.
    #[inline(always)]
    fn read_at<K: Sink>(&self, blocks: BlockMemory, (block, cell): (usize, usize), at: u64, sink: &mut K) {
        // SAFETY: `place` gives what is in bounds. Nobody writes the payload before the
        // message is committed.
        unsafe {
            let payload = blocks.payload(block, cell);
            let used = sink.read(at, payload);
            if blocks.per_block() == 1 && self.adopts {
                payload.adopt_lines(used);
            }
        }
    }

    /// Takes what is there, up to `max`; a commit for each look.
    pub(super) fn try_get_run_spsc<K: Sink>(&self, cursor: &GetCursor, max: u64, sink: &mut K) -> (u64, Get) {
        let blocks = K::blocks(self.blocks);
        let walk = &cursor.walk;
        let mut taken = 0;
        while taken < max {
            let known = blocks.per_block() > 1 && walk.next.get() < walk.known.get();
            if !known && !self.look(cursor) {
                break;
            }
            let first = walk.next.get();
            let known = if blocks.per_block() == 1 { self.stretch_end(cursor) } else { walk.known.get() };
            let most = known.saturating_sub(first).min(max - taken);
            let mut run = 0;
            while run < most {
                let next = first.wrapping_add(run);
                let place = walk.place(blocks, next);
                // Where each message has a stamp, only the first was looked at.
                if blocks.per_block() == 1
                    && run > 0
                    && (state::load_block(blocks, place.0).get() != next.wrapping_add(1)
                        || self.is_closing_unawares(cursor))
                {
                    break;
                }
                self.read_at(blocks, place, taken + run, sink);
                sink.keep(self, taken + run, Position::private(next), 0);
                run += 1;
            }
            walk.next.set(first.wrapping_add(run));
            self.control.commit_taken(Position::private(walk.next.get()));
            taken += run;
        }
        // Only the hot path may go by what is known, and it has its own meaning of
        // it where a block holds one message.
        if blocks.per_block() == 1 || !cursor.spsc_fast.get() {
            walk.known.set(0);
        }
        if taken == max {
            return (taken, Get::Item);
        }
        self.ran_dry(cursor);
        self.catch_up_head(cursor);
        let next = walk.next.get();
        let stamp = state::load_block(blocks, walk.place(blocks, next).0).get();
        let why = if stamp > next.wrapping_add(self.capacity()) {
            Get::Damaged
        } else if self.is_closing_unawares(cursor) {
            Get::Closing
        } else {
            Get::Empty
        };
        (taken, why)
    }

    /// Whether something is published at the next position, or damaged.
    #[inline(always)]
    pub(super) fn may_get_spsc(&self, cursor: &GetCursor) -> bool {
        let (blocks, walk) = (self.blocks, &cursor.walk);
        let next = walk.next.get();
        if blocks.per_block() > 1 && next < walk.known.get() {
            return true;
        }
        walk.enter(blocks);
        next < cursor.end.get() && state::load_block(blocks, walk.place(blocks, next).0).get() > next
    }

    // ---- the end ----

    /// S3. Decides where a closed queue ends, or learns it. The caller has seen it
    /// closed, has told everybody, and has made the heavy barrier since.
    pub(super) fn seal(&self) -> Result<Position, Damaged> {
        let end = self.control.load_end().unwrap_or_else(|| self.control.decide_end(self.first_unpublished_block()));
        // Everything below a true end is published.
        if end > self.first_unpublished_block() { Err(Damaged) } else { Ok(end) }
    }

    /// The first position without a message, at or after the consumer's: a binary
    /// search, since what is published is a prefix.
    pub(super) fn first_unpublished_block(&self) -> Position {
        let from = self.control.load_taken();
        let (mut low, mut high) = (0, self.capacity());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.is_published(from.plus(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        from.plus(low)
    }

    /// Whether a position not below `taken` was published.
    pub(super) fn is_published(&self, position: Position) -> bool {
        let (block, _) = self.blocks.locate(self.index_of(position));
        state::load_block(self.blocks, block) > position
    }
}
