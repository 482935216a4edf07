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

    /// Copies `len` bytes into the payload at `offset`, a multiple of 8.
    ///
    /// # Safety
    ///
    /// `index < count`, `offset + len <= room`, `from` is readable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, index: usize, offset: usize, from: *const u8, len: usize) {
        debug_assert!(offset + len <= self.room());
        let to = self.slot(index).wrapping_add(STAMP_SIZE + offset);
        // SAFETY: both ranges are valid by the contract; `to` lies in the
        // mapping, which no reference covers. Slots are aligned to 8.
        unsafe {
            // The first word on its own: the rest of the slot is then aligned to 16,
            // and put and get cut a message into the same pieces, so that a message
            // that was just received can be forwarded to a put from the store queue.
            let first = if offset == 0 && len >= 8 { 8 } else { 0 };
            copy_words_in::<u64>(to, from, first);
            copy_in(to.add(first), from.add(first), len - first);
        }
    }

    /// Copies `len` bytes of the payload at `offset`, a multiple of 8, out.
    ///
    /// # Safety
    ///
    /// `index < count`, `offset + len <= room`, `to` is writable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, index: usize, offset: usize, to: *mut u8, len: usize) {
        debug_assert!(offset + len <= self.room());
        let from = self.slot(index).wrapping_add(STAMP_SIZE + offset);
        // SAFETY: as in `write`.
        unsafe {
            let first = if offset == 0 && len >= 8 { 8 } else { 0 };
            copy_words_out::<u64>(to, from, first);
            copy_out(to.add(first), from.add(first), len - first);
        }
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

/// Private to shared, for a `to` aligned to 8, with as few stores as the
/// processor allows: sixteen bytes at a time, then words, then bytes.
///
/// A stream of puts is bound by how many *lines* wait in the store queue for the
/// consumer's core to give them up, so by the number of store instructions per
/// message (measured: half as many stores, up to twice the throughput). The
/// message is read by plain loads, so that one that was built in registers
/// never touches the stack. (A volatile copy of a whole array becomes byte moves.)
///
/// # Safety
///
/// `to` and `from` are valid for `len` bytes, and `to` is aligned to 8.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize) {
    let pairs = if cfg!(target_arch = "x86_64") { len / 16 } else { 0 };
    // SAFETY: every access lies in both ranges.
    unsafe {
        for k in 0..pairs {
            let pair = from.add(16 * k).cast::<[u64; 2]>().read_unaligned();
            store_pair(to.add(16 * k), pair);
        }
        copy_words_in::<u64>(to.add(16 * pairs), from.add(16 * pairs), len - 16 * pairs);
    }
}

/// Shared to private, for a `from` aligned to 8.
///
/// # Safety
///
/// `to` and `from` are valid for `len` bytes, and `from` is aligned to 8.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_out(to: *mut u8, from: *const u8, len: usize) {
    let pairs = if cfg!(target_arch = "x86_64") { len / 16 } else { 0 };
    // SAFETY: every access lies in both ranges.
    unsafe {
        for k in 0..pairs {
            let pair = load_pair(from.add(16 * k));
            to.add(16 * k).cast::<[u64; 2]>().write_unaligned(pair);
        }
        copy_words_out::<u64>(to.add(16 * pairs), from.add(16 * pairs), len - 16 * pairs);
    }
}

/// Stores two words with one instruction (on x86-64, where SSE2 is a given). Each
/// word is stored whole; the two may become visible one after the other.
///
/// # Safety
///
/// `to` is valid for 16 bytes and aligned to 8.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn store_pair(to: *mut u8, pair: [u64; 2]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an aligned-word store to shared memory that no reference covers,
    // in assembly because the language has no racy 16-byte store.
    unsafe {
        let pair = core::arch::x86_64::_mm_set_epi64x(pair[1] as i64, pair[0] as i64);
        core::arch::asm!("movups [{to}], {pair}", to = in(reg) to, pair = in(xmm_reg) pair,
            options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the contract.
    unsafe {
        to.cast::<u64>().write_volatile(pair[0]);
        to.add(8).cast::<u64>().write_volatile(pair[1]);
    }
}

/// Loads two words with one instruction.
///
/// # Safety
///
/// `from` is valid for 16 bytes and aligned to 8.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn load_pair(from: *const u8) -> [u64; 2] {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `store_pair`; the two words may be of different moments, as
    // two loads would be.
    unsafe {
        let pair: core::arch::x86_64::__m128i;
        core::arch::asm!("movups {pair}, [{from}]", from = in(reg) from, pair = out(xmm_reg) pair,
            options(nostack, preserves_flags, readonly));
        core::mem::transmute(pair)
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the contract.
    unsafe {
        [from.cast::<u64>().read_volatile(), from.add(8).cast::<u64>().read_volatile()]
    }
}

/// # Safety
///
/// `to` and `from` are valid for `len` bytes, and `to` is aligned to `W`.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_words_in<W: Copy>(to: *mut u8, from: *const u8, len: usize) {
    let size = size_of::<W>();
    let words = len / size;
    // SAFETY: every access lies in both ranges; `to` is aligned by the contract.
    unsafe {
        for k in 0..words {
            to.add(size * k).cast::<W>().write_volatile(from.add(size * k).cast::<W>().read_unaligned());
        }
        for k in size * words..len {
            to.add(k).write_volatile(from.add(k).read());
        }
    }
}

/// # Safety
///
/// `to` and `from` are valid for `len` bytes, and `from` is aligned to `W`.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_words_out<W: Copy>(to: *mut u8, from: *const u8, len: usize) {
    let size = size_of::<W>();
    let words = len / size;
    // SAFETY: as in `copy_words_in`, with the sides swapped.
    unsafe {
        for k in 0..words {
            to.add(size * k).cast::<W>().write_unaligned(from.add(size * k).cast::<W>().read_volatile());
        }
        for k in size * words..len {
            to.add(k).write(from.add(k).read_volatile());
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
#[derive(Debug)]
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
            unsafe { (&mut *bytes)[offset..offset + len].copy_from_slice(std::slice::from_raw_parts(from, len)) }
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

    pub(crate) fn with_stride(self, _stride: usize) -> SlotMemory {
        self
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn write_claim(&self, index: usize, claim: u64, first_word: u64) {
        self.slots[index].stamp.store(claim, super::Ordering::Relaxed);
        // SAFETY: eight bytes of a local.
        unsafe { self.write(index, 0, (&first_word as *const u64).cast(), 8) }
    }

    pub(crate) fn prefetch_read(&self, _index: usize, _bytes: usize) {}

    pub(crate) fn prefetch_write(&self, _index: usize, _bytes: usize) {}
}
