//! Growing and shrinking: where the ring's words about memory meet the segment that has it.

use super::growth::{blocks_at, heads_at, slots_at};
use super::port::Port;
use super::rescue::Scene;
use crate::primitive::{coarse_now_ns, seeded, spin_hint, yield_now};
use crate::ring::{ChunkJob, Growth, Memory, Punch, Put, Source};
use crate::segment::Segment;
use std::cell::Cell;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::Arc;

/// After there was no space: so long until one operation asks the system again. Another one asks
/// at once.
const NO_SPACE_PAUSE_NS: u64 = 4_000_000;

/// How often the next chunk may turn out to be lacking again before an attempt says `Full`: each
/// time another producer has filled a whole one meanwhile.
const MOST_GROWTHS: u32 = 64;

/// How long one attempt waits for another put that allocates the next chunk: some ten
/// microseconds, as that takes. Whoever waits makes more attempts; the last one, and one that
/// does not wait, has more patience, as the other may have lost its processor.
const BUSY_TURNS: u32 = 64;
const LAST_BUSY_TURNS: u32 = 4096;
const BUSY_HINTS: u32 = 32;

/// How often a waiter looks for chunks and blocks that have memory and no messages.
const TRIM_EVERY_NS: u64 = 95_000_000;

/// Blocks that are looked at when one was freed.
const TRIM_STEP: u32 = 64;
/// The same at the end of a waiter's slice, after each that has given its memory back.
const TRIM_LOOKS: u32 = 4096;
/// When one was freed, so many give their memory back.
const TRIM_BLOCKS: u32 = 2;

/// What a handle of a queue that grows remembers.
#[derive(Debug, Default)]
pub(super) struct Growing {
    slots_at: u64,
    heads_at: u64,
    blocks_at: u64,
    /// When there was no space the last time; 0: never.
    no_space: Cell<u64>,
    /// Why memory cannot be asked for at all.
    failed: Cell<Option<ErrorKind>>,
    last_trim: Cell<u64>,
    next_block: Cell<u32>,
}

impl Growing {
    pub(super) fn of(segment: &Segment) -> Growing {
        let header = segment.header();
        Growing {
            slots_at: slots_at(header),
            heads_at: heads_at(header),
            blocks_at: blocks_at(header),
            ..Growing::default()
        }
    }

    /// What an attempt that failed for want of memory is to say instead of `Full`.
    pub(super) fn failure(&self) -> Option<ErrorKind> {
        self.failed.take()
    }

    /// An operation begins.
    #[inline]
    pub(super) fn begin(&self) {
        self.no_space.set(0);
    }

    fn has_just_failed(&self) -> bool {
        let then = self.no_space.get();
        then != 0 && coarse_now_ns().saturating_sub(then) < NO_SPACE_PAUSE_NS
    }
}

/// What a block has while its memory is given or taken.
fn changing() -> Memory {
    if seeded(62) { Memory::None } else { Memory::Some }
}

fn moved(part: Range<u64>, by: u64) -> Range<u64> {
    part.start.saturating_add(by)..part.end.saturating_add(by)
}

impl Port {
    fn ground(&self) -> Arc<Segment> {
        Arc::clone(self.member.borrow().segment())
    }

    /// One attempt at one message, with the memory that it needs.
    pub(super) fn try_put<S: Source>(&self, source: &S, exact: bool) -> Put {
        match self.ring.try_put(&self.cursors.put, source, exact) {
            Put::Grow => self.growing(exact, || self.ring.try_put(&self.cursors.put, source, exact)),
            how => how,
        }
    }

    /// An attempt found that there is no memory for the next position: makes it, and tries again.
    #[cold]
    #[inline(never)]
    fn growing(&self, is_last: bool, mut attempt: impl FnMut() -> Put) -> Put {
        for _ in 0..MOST_GROWTHS {
            if !self.grow(is_last) {
                break;
            }
            match attempt() {
                Put::Grow => {}
                how => return how,
            }
        }
        Put::Full
    }

    /// The same for a batch: `attempt` says how many are in so far. As many chunks as it takes.
    pub(super) fn growing_run(&self, done: &mut u64, mut attempt: impl FnMut(&mut u64) -> (u64, Put)) -> (u64, Put) {
        let mut in_vain = 0;
        loop {
            let before = *done;
            let (so_far, how) = attempt(done);
            in_vain = if so_far > before { 0 } else { in_vain + 1 };
            match how {
                Put::Grow if in_vain < MOST_GROWTHS && self.grow(true) => {}
                Put::Grow => return (so_far, Put::Full),
                how => return (so_far, how),
            }
        }
    }

    /// Somebody asks again whether a put might succeed: there may be space now.
    pub(super) fn forget_no_space(&self) {
        if !self.growth.has_just_failed() {
            self.cursors.put.set_no_space(false);
        }
    }

    /// Before a sleep: whether there may be a block with room for `len` bytes.
    pub(super) fn may_have_block(&self, len: usize) -> bool {
        !self.growth.has_just_failed() && self.ring.arena.has_room_for(len)
    }

    /// G5. Makes the next chunk, or waits a moment for whoever does. False: there is none.
    #[cold]
    pub(super) fn grow(&self, is_last: bool) -> bool {
        // What is spare needs none.
        if self.growth.has_just_failed() && !self.ring.has_spare() {
            return false;
        }
        for turn in 0..if is_last { LAST_BUSY_TURNS } else { BUSY_TURNS } {
            match self.ring.start_growth() {
                Growth::Open => return true,
                Growth::Reused => {
                    self.chunk_changed();
                    return true;
                }
                Growth::Damaged => {
                    self.poison();
                    return false;
                }
                Growth::Busy if turn % BUSY_HINTS == BUSY_HINTS - 1 => yield_now(),
                Growth::Busy => (0..BUSY_HINTS).for_each(|_| spin_hint()),
                Growth::Mine(job) if self.growth.has_just_failed() => return self.give_up(&job),
                Growth::Mine(job) => {
                    let part = moved(self.ring.bytes_of(&job), self.growth.slots_at);
                    let segment = self.ground();
                    if self.allocate(&segment, part.clone()) {
                        if !self.ring.lay_out(&job) {
                            self.poison();
                            return false;
                        }
                        self.chunk_changed();
                        return true;
                    }
                    if self.ring.may_give_back(&job) {
                        let _ = segment.punch(part);
                    }
                    return self.give_up(&job);
                }
            }
        }
        // Whoever is at it may be dead, or stopped.
        matches!(self.look_if_due(true), Ok(true))
    }

    /// There is no memory for the chunk. Who waits for it would find none either, and its slice is soon
    /// enough, unless another has been drained meanwhile.
    fn give_up(&self, job: &ChunkJob) -> bool {
        self.ring.abandon(job);
        if self.ring.has_spare() {
            self.chunk_changed();
        }
        false
    }

    /// A chunk that was backed or punched is not any more: producers may have gone to sleep
    /// meanwhile.
    fn chunk_changed(&self) {
        if self.for_consumers.wanted(self.ring.fences) {
            self.wake(self.for_consumers, u32::MAX);
        }
    }

    /// Asks the system for memory; notes what it said.
    fn allocate(&self, segment: &Segment, part: Range<u64>) -> bool {
        let mut backed = segment.back(part.clone());
        if backed.as_ref().is_err_and(|error| error.kind() == ErrorKind::StorageFull) {
            // Perhaps there is some that nobody uses.
            self.trim(true);
            backed = segment.back(part);
        }
        match backed {
            Ok(()) => {
                self.growth.no_space.set(0);
                self.cursors.put.set_no_space(false);
                true
            }
            Err(error) => {
                if error.kind() != ErrorKind::StorageFull {
                    self.growth.failed.set(Some(error.kind()));
                }
                self.growth.no_space.set(coarse_now_ns().max(1));
                self.cursors.put.set_no_space(true);
                false
            }
        }
    }

    /// A consumer may have left a chunk: if it is drained, a later one may take its memory, and that of
    /// another that nobody has taken is given back.
    #[inline]
    pub(super) fn shrink(&self) {
        if self.ring.is_chunked()
            && let Some(chunk) = self.ring.left_chunk(&self.cursors.get)
        {
            self.shrink_chunk(chunk);
        }
    }

    #[cold]
    fn shrink_chunk(&self, chunk: usize) {
        let segment = self.ground();
        let mut has_drained = false;
        for chunk in self.ring.chunks_around(chunk) {
            if self.ring.is_surplus(chunk) {
                self.punch_chunk(&segment, chunk);
            } else {
                has_drained |= self.ring.look_whether_drained(chunk);
            }
        }
        if has_drained {
            self.chunk_changed();
        }
    }

    /// G6, G7.
    fn punch_chunk(&self, segment: &Segment, chunk: usize) {
        match self.ring.start_punch(chunk) {
            Punch::Mine(job) => {
                // If it fails, the chunk keeps its memory until it is backed again.
                let _ = segment.punch(moved(self.ring.bytes_of(&job), self.growth.slots_at));
                self.ring.finish_punch(&job);
            }
            Punch::GivenUp => {}
            Punch::No => return,
        }
        self.chunk_changed();
    }

    /// Gives back what memory is idle, at most once in a slice, or now.
    #[cold]
    pub(super) fn trim(&self, now: bool) {
        if !self.ring.is_chunked() {
            return;
        }
        let time = coarse_now_ns();
        if !now && time.saturating_sub(self.growth.last_trim.get()) < TRIM_EVERY_NS {
            return;
        }
        self.growth.last_trim.set(time);
        self.trim_chunks();
        self.trim_blocks(&self.ground(), if now { u32::MAX } else { TRIM_LOOKS }, true);
    }

    /// Gives back the memory of all idle chunks, also of those that were kept for a stream.
    #[cold]
    pub(super) fn trim_chunks(&self) {
        if !self.ring.is_chunked() {
            return;
        }
        let segment = self.ground();
        for chunk in self.ring.idle_chunks() {
            self.punch_chunk(&segment, chunk);
        }
    }

    /// A block was freed: others are looked at.
    #[inline]
    pub(super) fn shrink_arena(&self) {
        if self.ring.arena.grows() {
            let segment = self.ground();
            self.trim_blocks(&segment, TRIM_STEP, false);
        }
    }

    fn trim_blocks(&self, segment: &Segment, most: u32, all: bool) {
        let arena = &self.ring.arena;
        let count = if !arena.grows() {
            0
        } else if all {
            arena.blocks_so_far()
        } else {
            TRIM_BLOCKS
        };
        let mut has_freed = false;
        for _ in 0..count {
            let Some(block) = arena.reserve_idle(self.ring.index, &self.growth.next_block, most, all) else { break };
            arena.set_memory(block, changing());
            if segment.punch(moved(arena.bytes_of(block), self.growth.blocks_at)).is_ok() {
                arena.set_memory(block, Memory::None);
            }
            arena.cancel_block(block, self.ring.index);
            has_freed = true;
        }
        // Somebody may have looked while it was reserved, and gone to sleep.
        if has_freed && self.for_blocks.wanted(self.ring.fences) {
            self.wake(self.for_blocks, u32::MAX);
        }
    }

    /// More blocks with room for `len` bytes. False: there are no more, or no memory for them.
    #[cold]
    pub(super) fn extend_arena(&self, len: usize) -> bool {
        let Some(extension) = self.ring.arena.extension(len) else { return false };
        if self.growth.has_just_failed() {
            return false;
        }
        let segment = self.ground();
        let is_there = self.allocate(&segment, moved(extension.heads(), self.growth.heads_at));
        if is_there {
            self.ring.arena.extend(extension);
        }
        is_there
    }

    /// The memory of a block that this handle has reserved. False: there is none.
    pub(super) fn back_block(&self, block: u32) -> bool {
        let arena = &self.ring.arena;
        if arena.has_memory(block) {
            return true;
        }
        if self.growth.has_just_failed() {
            return false;
        }
        let had_none = !arena.may_have_memory(block);
        arena.set_memory(block, changing());
        let is_there = self.allocate(&self.ground(), moved(arena.bytes_of(block), self.growth.blocks_at));
        if is_there {
            arena.set_memory(block, Memory::All);
        } else if had_none {
            // What came before there was no more was given back by the kernel.
            arena.set_memory(block, Memory::None);
        }
        is_there
    }
}

impl Scene<'_> {
    /// G8. Of dead participant `index`, whose keep byte the caller holds.
    pub(super) fn keep_chunks(&self, segment: &Segment, index: u32) -> u64 {
        let slots_at = slots_at(segment.header());
        self.ring.keep_chunks(index, |part| {
            let _ = segment.punch(moved(part, slots_at));
        })
    }
}
