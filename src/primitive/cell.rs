//! Memory that a peer may write at any time: padded lines, slots and blocks.
//!
//! A slot is a stamp (an atomic word) and a payload; a block is a stamp and
//! several payloads that share it (`block.rs`).

#![allow(unsafe_code)]

use super::AtomicU64;
use super::payload::Payload;
#[cfg(not(loom))]
use super::words::store_pair;

/// Two cache lines of its own: what is written by one side must not share a
/// line, nor the neighbour that an adjacent-line prefetcher brings along.
#[repr(C, align(128))]
pub(crate) struct Line<T>(pub(crate) T);

impl<T> core::ops::Deref for Line<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The slots of one ring: `count` times `stride` bytes, each beginning with its
/// stamp. Copyable: it owns nothing.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct SlotMemory {
    base: *mut u8,
    count: usize,
    stride: usize,
}

// SAFETY: an address and two numbers. What is behind the address is accessed
// through atomics and volatile copies only, from any thread.
#[cfg(not(loom))]
unsafe impl Send for SlotMemory {}

/// Bytes of a slot before its payload.
pub(crate) const STAMP_SIZE: usize = 8;

#[cfg(not(loom))]
impl SlotMemory {
    /// # Safety
    ///
    /// `base` is aligned to 8 and `count * stride` bytes from it stay mapped
    /// readable and writable for as long as any copy of the result is used;
    /// `stride` is a multiple of 8 and at least 8. Other threads and processes
    /// access these bytes only through atomics or volatile copies.
    pub(crate) unsafe fn new(base: *mut u8, count: usize, stride: usize) -> Self {
        debug_assert!(stride >= STAMP_SIZE && stride.is_multiple_of(8));
        SlotMemory { base, count, stride }
    }

    #[inline(always)]
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Bytes from slot to slot.
    pub(crate) fn stride(&self) -> usize {
        self.stride
    }

    /// Bytes of payload that a slot holds.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        self.stride - STAMP_SIZE
    }

    #[inline(always)]
    fn slot(&self, index: usize) -> *mut u8 {
        debug_assert!(index < self.count);
        // In bounds by the caller's `index < count`; wrapping, because the
        // prefetch hints may run past the end.
        self.base.wrapping_add(index.wrapping_mul(self.stride))
    }

    /// The stamp of slot `index`, which must be below `count`.
    ///
    /// # Safety
    ///
    /// `index < self.count()`.
    #[inline(always)]
    pub(crate) unsafe fn stamp(&self, index: usize) -> &AtomicU64 {
        // SAFETY: in bounds and aligned to 8 by the contracts of `new` and of
        // this function; all access to these 8 bytes is atomic.
        unsafe { AtomicU64::from_ptr(self.slot(index).cast()) }
    }

    /// The same slots, for callers that know the stride at compile time.
    #[inline(always)]
    pub(crate) fn with_stride(self, stride: usize) -> SlotMemory {
        debug_assert!(stride == self.stride);
        SlotMemory { stride, ..self }
    }

    /// Stores a claim into the stamp, and with it the first word of the payload:
    /// on x86-64 one store instruction for both.
    ///
    /// Atomic stores of the stamp elsewhere and this one never tear the stamp's
    /// word. The order of the two words does not matter: nobody reads the
    /// payload before the stamp says FULL.
    ///
    /// # Safety
    ///
    /// `index < count`, and `room` is at least 8.
    #[inline(always)]
    pub(crate) unsafe fn write_claim(&self, index: usize, claim: u64, first_word: u64) {
        debug_assert!(self.room() >= 8);
        // SAFETY: the slot has room for stamp and word, and is aligned to 8.
        unsafe { store_pair(self.slot(index), [claim, first_word]) }
    }

    /// The payload of slot `index`.
    ///
    /// # Safety
    ///
    /// `index < self.count()`.
    #[inline(always)]
    pub(crate) unsafe fn payload(&self, index: usize) -> Payload {
        // SAFETY: the payload of a slot lies behind its stamp, inside the memory
        // that `new` was promised.
        unsafe { Payload::new(self.slot(index).wrapping_add(STAMP_SIZE), self.stride - STAMP_SIZE) }
    }

    /// Whether slot `index` is the last in its cache line.
    #[inline(always)]
    pub(crate) fn ends_line(&self, index: usize) -> bool {
        const LINE: usize = 64;
        (index + 1).wrapping_mul(self.stride).is_multiple_of(LINE)
    }

    /// Asks for the line `bytes` behind the start of slot `index`, to read it.
    #[inline(always)]
    pub(crate) fn prefetch_read(&self, index: usize, bytes: usize) {
        crate::sys::cpu::prefetch_read(self.slot(index).wrapping_add(bytes));
    }

    /// The same, to write it.
    #[inline(always)]
    pub(crate) fn prefetch_write(&self, index: usize, bytes: usize) {
        crate::sys::cpu::prefetch_write(self.slot(index).wrapping_add(bytes));
    }
}

/// The slots under loom: stamps are loom atomics, and each payload is a tracked
/// cell, so that two unordered accesses to one payload fail the model.
#[cfg(loom)]
#[derive(Clone, Copy, Debug)]
pub struct SlotMemory {
    slots: &'static [LoomSlot],
}

#[cfg(loom)]
#[derive(Debug)]
pub(crate) struct LoomSlot {
    stamp: AtomicU64,
    payload: loom::cell::UnsafeCell<[u8; Payload::ROOM]>,
}

#[cfg(loom)]
impl SlotMemory {
    pub(crate) fn from_stamps(stamps: impl Iterator<Item = u64>) -> (Self, *mut [LoomSlot]) {
        let slots: Vec<LoomSlot> = stamps
            .map(|stamp| LoomSlot {
                stamp: AtomicU64::new(stamp),
                payload: loom::cell::UnsafeCell::new([0; Payload::ROOM]),
            })
            .collect();
        let raw = Box::into_raw(slots.into_boxed_slice());
        // SAFETY: the box was just leaked; the model frees it after its threads ended.
        (SlotMemory { slots: unsafe { &*raw } }, raw)
    }

    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn room(&self) -> usize {
        Payload::ROOM
    }

    /// # Safety
    ///
    /// `index < count` (checked here).
    pub(crate) unsafe fn stamp(&self, index: usize) -> &AtomicU64 {
        &self.slots[index].stamp
    }

    /// # Safety
    ///
    /// `index < count` (checked here).
    pub(crate) unsafe fn payload(&self, index: usize) -> Payload {
        Payload::of(&self.slots[index].payload)
    }

    pub(crate) fn with_stride(self, _stride: usize) -> SlotMemory {
        self
    }

    pub(crate) fn ends_line(&self, _index: usize) -> bool {
        true
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn write_claim(&self, index: usize, claim: u64, first_word: u64) {
        self.slots[index].stamp.store(claim, super::Ordering::Relaxed);
        // SAFETY: eight bytes of a local.
        unsafe { self.payload(index).write(0, (&first_word as *const u64).cast(), 8) }
    }

    pub(crate) fn prefetch_read(&self, _index: usize, _bytes: usize) {}

    pub(crate) fn prefetch_write(&self, _index: usize, _bytes: usize) {}
}

/// The blocks of an arena: bytes. Copyable: it owns nothing.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct ArenaMemory {
    base: *mut u8,
    size: u64,
}

// SAFETY: an address and a number. What is behind the address is accessed through
// volatile copies only, from any thread.
#[cfg(not(loom))]
unsafe impl Send for ArenaMemory {}

#[cfg(not(loom))]
impl ArenaMemory {
    /// # Safety
    ///
    /// `base` is aligned to a cache line and `size` bytes from it stay mapped readable and
    /// writable for as long as any copy of the result is used. Other threads and processes
    /// access these bytes only through volatile copies.
    pub(crate) unsafe fn new(base: *mut u8, size: u64) -> Self {
        ArenaMemory { base, size }
    }

    /// The bytes of block `_index`, which begins at `offset`.
    ///
    /// # Safety
    ///
    /// `offset + room <= size`, and `offset` is a multiple of 64.
    pub(crate) unsafe fn payload(&self, _index: usize, offset: u64, room: usize) -> Payload {
        debug_assert!(offset + room as u64 <= self.size);
        // SAFETY: in bounds by the contracts of `new` and of this function.
        unsafe { Payload::new(self.base.wrapping_add(offset as usize), room) }
    }
}

/// The blocks of an arena under loom: tracked cells.
#[cfg(loom)]
#[derive(Clone, Copy, Debug)]
pub struct ArenaMemory {
    pub(crate) cells: SlotMemory,
}

#[cfg(loom)]
impl ArenaMemory {
    /// # Safety
    ///
    /// `index` is below the number of cells (checked there).
    pub(crate) unsafe fn payload(&self, index: usize, _offset: u64, _room: usize) -> Payload {
        // SAFETY: the same contract.
        unsafe { self.cells.payload(index) }
    }
}
