//! Blocks: one stamp and the payloads that share it, for rings in which one
//! writer publishes all of a block's messages.

#![allow(unsafe_code)]

use super::payload::Payload;
use super::{AtomicU64, STAMP_SIZE};

/// How messages of one size lie in blocks. A message of up to 24 bytes shares a
/// cache line, and its stamp, with others; a larger one has lines of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockShape {
    /// Bytes from payload to payload, a multiple of 8.
    cell: usize,
    /// Messages in a block.
    per_block: usize,
    /// Bytes from block to block, a multiple of the cache line.
    stride: usize,
}

impl BlockShape {
    const LINE: usize = 64;

    /// The shape for messages of `payload` bytes.
    pub(crate) const fn of(payload: usize) -> BlockShape {
        let cell = if payload == 0 { 8 } else { payload.next_multiple_of(8) };
        let room = BlockShape::LINE - STAMP_SIZE;
        if cell <= room {
            BlockShape { cell, per_block: room / cell, stride: BlockShape::LINE }
        } else {
            BlockShape { cell, per_block: 1, stride: (STAMP_SIZE + cell).next_multiple_of(BlockShape::LINE) }
        }
    }

    /// Bytes from block to block.
    pub(crate) const fn stride(self) -> usize {
        self.stride
    }

    /// Messages in a block.
    pub(crate) const fn per_block(self) -> usize {
        self.per_block
    }

    /// Bytes that `count` messages take.
    pub(crate) const fn size(self, count: u64) -> Option<u64> {
        count.div_ceil(self.per_block as u64).checked_mul(self.stride as u64)
    }
}

/// The blocks of one ring. Copyable: it owns nothing.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct BlockMemory {
    base: *mut u8,
    count: usize,
    blocks: usize,
    shape: BlockShape,
}

// SAFETY: an address and some numbers. What is behind the address is accessed
// through atomics and volatile copies only, from any thread.
#[cfg(not(loom))]
unsafe impl Send for BlockMemory {}

#[cfg(not(loom))]
impl BlockMemory {
    /// # Safety
    ///
    /// `base` is aligned to a cache line and `shape.size(count)` bytes from it stay
    /// mapped readable and writable for as long as any copy of the result is used.
    /// Other threads and processes access these bytes only through atomics or
    /// volatile copies.
    pub(crate) unsafe fn new(base: *mut u8, count: usize, shape: BlockShape) -> Self {
        BlockMemory { base, count, blocks: count.div_ceil(shape.per_block), shape }
    }

    /// The same blocks, for callers that know the shape at compile time.
    #[inline(always)]
    pub(crate) fn with_shape(self, shape: BlockShape) -> BlockMemory {
        debug_assert!(self.count == 0 || shape == self.shape);
        BlockMemory { shape, ..self }
    }

    #[inline(always)]
    pub(crate) fn per_block(&self) -> usize {
        self.shape.per_block
    }

    #[inline(always)]
    fn block(&self, block: usize) -> *mut u8 {
        debug_assert!(block < self.blocks);
        // Wrapping, because the prefetch hints may run past the end.
        self.base.wrapping_add(block.wrapping_mul(self.shape.stride))
    }

    /// The stamp of a block.
    ///
    /// # Safety
    ///
    /// `block < self.blocks()`.
    #[inline(always)]
    pub(crate) unsafe fn stamp(&self, block: usize) -> &AtomicU64 {
        // SAFETY: in bounds by the contracts of `new` and of this function, and
        // aligned; all access to these 8 bytes is atomic.
        unsafe { AtomicU64::from_ptr(self.block(block).cast()) }
    }

    /// One of a block's payloads.
    ///
    /// # Safety
    ///
    /// `block < self.blocks()` and `cell < self.len_of(block)`.
    #[inline(always)]
    pub(crate) unsafe fn payload(&self, block: usize, cell: usize) -> Payload {
        debug_assert!(cell < self.len_of(block));
        let at = self.block(block).wrapping_add(STAMP_SIZE + cell.wrapping_mul(self.shape.cell));
        // SAFETY: in bounds by the contracts of `new` and of this function.
        unsafe { Payload::new(at, self.shape.cell).unclaimed() }
    }

    /// Asks for the line `bytes` behind the start of a block, to read it.
    #[inline(always)]
    pub(crate) fn prefetch_read(&self, block: usize, bytes: usize) {
        crate::sys::cpu::prefetch_read(self.block(block).wrapping_add(bytes));
    }

    /// The same, to write it.
    #[inline(always)]
    pub(crate) fn prefetch_write(&self, block: usize, bytes: usize) {
        crate::sys::cpu::prefetch_write(self.block(block).wrapping_add(bytes));
    }
}

/// The blocks under loom: two messages in each, every payload a tracked cell.
#[cfg(loom)]
#[derive(Clone, Copy, Debug)]
pub struct BlockMemory {
    memory: &'static [LoomBlock],
    count: usize,
    blocks: usize,
    shape: BlockShape,
}

#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct LoomBlock {
    stamp: AtomicU64,
    cells: [loom::cell::UnsafeCell<[u8; Payload::ROOM]>; 2],
}

#[cfg(loom)]
impl BlockMemory {
    pub(crate) fn fresh(count: usize) -> (Self, *mut [LoomBlock]) {
        let cell = || loom::cell::UnsafeCell::new([0; Payload::ROOM]);
        let blocks = count.div_ceil(2);
        let memory: Vec<LoomBlock> =
            (0..blocks).map(|_| LoomBlock { stamp: AtomicU64::new(0), cells: [cell(), cell()] }).collect();
        let raw = Box::into_raw(memory.into_boxed_slice());
        let shape = BlockShape { cell: Payload::ROOM, per_block: 2, stride: BlockShape::LINE };
        // SAFETY: the box was just leaked; the model frees it after its threads ended.
        (BlockMemory { memory: unsafe { &*raw }, count, blocks, shape }, raw)
    }

    pub(crate) fn with_shape(self, _shape: BlockShape) -> BlockMemory {
        self
    }

    pub(crate) fn per_block(&self) -> usize {
        self.shape.per_block
    }

    /// # Safety
    ///
    /// `block < blocks` (checked here).
    pub(crate) unsafe fn stamp(&self, block: usize) -> &AtomicU64 {
        &self.memory[block].stamp
    }

    /// # Safety
    ///
    /// `block < blocks` (checked here).
    pub(crate) unsafe fn payload(&self, block: usize, cell: usize) -> Payload {
        Payload::of(&self.memory[block].cells[cell])
    }

    pub(crate) fn prefetch_read(&self, _block: usize, _bytes: usize) {}

    pub(crate) fn prefetch_write(&self, _block: usize, _bytes: usize) {}
}

impl BlockMemory {
    #[inline(always)]
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// How many messages a block holds: the last one may be shorter.
    #[inline(always)]
    pub(crate) fn len_of(&self, block: usize) -> usize {
        if self.shape.per_block == 1 {
            return 1;
        }
        self.shape.per_block.min(self.count.wrapping_sub(block.wrapping_mul(self.shape.per_block)))
    }

    /// Where message `index` lies: its block and its place in it. A division.
    pub(crate) fn locate(&self, index: usize) -> (usize, usize) {
        debug_assert!(index < self.count);
        (index / self.shape.per_block, index % self.shape.per_block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_messages_share_a_line() {
        let shapes = [(0, 7, 64), (1, 7, 64), (8, 7, 64), (9, 3, 64), (16, 3, 64), (24, 2, 64), (32, 1, 64)];
        let larger = [(56, 1, 64), (57, 1, 128), (120, 1, 128), (1024, 1, 1088)];
        for (payload, per_block, stride) in shapes.into_iter().chain(larger) {
            let shape = BlockShape::of(payload);
            assert_eq!((shape.per_block, shape.stride), (per_block, stride), "payload {payload}");
            assert!(shape.cell >= payload && STAMP_SIZE + shape.cell * per_block <= stride);
        }
        assert_eq!(BlockShape::of(8).size(1024), Some(147 * 64));
        assert_eq!(BlockShape::of(64).size(u64::MAX), None);
    }
}
