//! Memory that a peer may write at any time: padded lines, and slots.
//!
//! A slot is a stamp (an atomic word) and payload bytes. The payload is copied
//! in and out by volatile word accesses on raw pointers, never through a
//! reference: whatever a peer scribbles meanwhile, we get some bytes, once.

#![allow(unsafe_code)]

use super::AtomicU64;

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

/// A word of a payload that need not be aligned to anything.
pub(crate) type Pod64 = u64;

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

    /// Copies `N` bytes into the payload at `offset`.
    ///
    /// # Safety
    ///
    /// `index < count`, `offset + len <= room`, `from` is readable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, index: usize, offset: usize, from: *const u8, len: usize) {
        debug_assert!(offset + len <= self.room());
        let to = self.slot(index).wrapping_add(STAMP_SIZE + offset);
        // SAFETY: both ranges are valid by the contract; `to` lies in the
        // mapping, which no reference covers.
        unsafe { copy_in(to, from, len) }
    }

    /// Copies `len` bytes of the payload at `offset` out.
    ///
    /// # Safety
    ///
    /// `index < count`, `offset + len <= room`, `to` is writable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, index: usize, offset: usize, to: *mut u8, len: usize) {
        debug_assert!(offset + len <= self.room());
        let from = self.slot(index).wrapping_add(STAMP_SIZE + offset);
        // SAFETY: as in `write`.
        unsafe { copy_out(to, from, len) }
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

/// Private to shared, by volatile words: eight bytes at a time, then the tail.
/// (A volatile copy of a whole array is turned into byte moves by the compiler:
/// measured, three times slower at 56 bytes.)
///
/// # Safety
///
/// `to` and `from` are valid for `len` bytes.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize) {
    let words = len / 8;
    // SAFETY: every access is inside the two ranges. `to` is 8-aligned for the
    // word accesses whenever `offset` is a multiple of 8; else the unaligned
    // path below is taken.
    unsafe {
        if to.addr().is_multiple_of(8) {
            for k in 0..words {
                let word = from.add(8 * k).cast::<Pod64>().read_unaligned();
                to.add(8 * k).cast::<Pod64>().write_volatile(word);
            }
        } else {
            // The only odd offset is the 4 bytes of a length.
            let halves = len / 4;
            for k in 0..halves {
                let half = from.add(4 * k).cast::<u32>().read_unaligned();
                to.add(4 * k).cast::<u32>().write_volatile(half);
            }
            for k in 4 * halves..len {
                to.add(k).write_volatile(from.add(k).read());
            }
            return;
        }
        let mut k = words * 8;
        if len - k >= 4 {
            let half = from.add(k).cast::<u32>().read_unaligned();
            to.add(k).cast::<u32>().write_volatile(half);
            k += 4;
        }
        while k < len {
            to.add(k).write_volatile(from.add(k).read());
            k += 1;
        }
    }
}

/// Shared to private, the mirror image of [`copy_in`].
///
/// # Safety
///
/// `to` and `from` are valid for `len` bytes.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_out(to: *mut u8, from: *const u8, len: usize) {
    let words = len / 8;
    // SAFETY: as in `copy_in`, with the sides swapped.
    unsafe {
        if from.addr().is_multiple_of(8) {
            for k in 0..words {
                let word = from.add(8 * k).cast::<Pod64>().read_volatile();
                to.add(8 * k).cast::<Pod64>().write_unaligned(word);
            }
        } else {
            let halves = len / 4;
            for k in 0..halves {
                let half = from.add(4 * k).cast::<u32>().read_volatile();
                to.add(4 * k).cast::<u32>().write_unaligned(half);
            }
            for k in 4 * halves..len {
                to.add(k).write(from.add(k).read_volatile());
            }
            return;
        }
        let mut k = words * 8;
        if len - k >= 4 {
            let half = from.add(k).cast::<u32>().read_volatile();
            to.add(k).cast::<u32>().write_unaligned(half);
            k += 4;
        }
        while k < len {
            to.add(k).write(from.add(k).read_volatile());
            k += 1;
        }
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
pub(crate) struct LoomSlot {
    stamp: AtomicU64,
    payload: loom::cell::UnsafeCell<[u8; LOOM_ROOM]>,
}

#[cfg(loom)]
const LOOM_ROOM: usize = 8;

#[cfg(loom)]
impl SlotMemory {
    pub(crate) fn from_stamps(stamps: impl Iterator<Item = u64>) -> (Self, *mut [LoomSlot]) {
        let slots: Vec<LoomSlot> = stamps
            .map(|stamp| LoomSlot {
                stamp: AtomicU64::new(stamp),
                payload: loom::cell::UnsafeCell::new([0; LOOM_ROOM]),
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
        LOOM_ROOM
    }

    /// # Safety
    ///
    /// `index < count` (checked here).
    pub(crate) unsafe fn stamp(&self, index: usize) -> &AtomicU64 {
        &self.slots[index].stamp
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn write(&self, index: usize, offset: usize, from: *const u8, len: usize) {
        self.slots[index].payload.with_mut(|bytes| {
            // SAFETY: the caller vouches for `from`; loom has checked the access.
            unsafe { (*bytes)[offset..offset + len].copy_from_slice(std::slice::from_raw_parts(from, len)) }
        });
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn read(&self, index: usize, offset: usize, to: *mut u8, len: usize) {
        self.slots[index].payload.with(|bytes| {
            // SAFETY: the caller vouches for `to`; loom has checked the access.
            unsafe { std::slice::from_raw_parts_mut(to, len).copy_from_slice(&(&*bytes)[offset..offset + len]) }
        });
    }

    pub(crate) fn prefetch_read(&self, _index: usize, _bytes: usize) {}

    pub(crate) fn prefetch_write(&self, _index: usize, _bytes: usize) {}
}
