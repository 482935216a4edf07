//! The payload of one message in shared memory.
//!
//! It is copied in and out by volatile word accesses on raw pointers, never
//! through a reference: whatever a peer scribbles meanwhile, we get some bytes,
//! once.

#![allow(unsafe_code)]

#[cfg(not(loom))]
use super::bulk::copy_bulk;

/// The bytes of one message's place. Copyable: it owns nothing.
#[cfg(not(loom))]
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    at: *mut u8,
    room: usize,
    /// No atomic exchange comes before the copy in. A constant wherever it matters.
    is_unclaimed: bool,
}

#[cfg(not(loom))]
impl Payload {
    /// # Safety
    ///
    /// `at` is aligned to 8, lies in shared memory or is this process' own, and `room` bytes from it stay
    /// mapped readable and writable for as long as any copy of the result is used;
    /// others access them only through atomics or volatile copies.
    #[inline(always)]
    pub(crate) unsafe fn new(at: *mut u8, room: usize) -> Payload {
        Payload { at, room, is_unclaimed: false }
    }

    /// The same, to be written without an exchange that claims it before.
    #[inline(always)]
    pub(crate) fn unclaimed(self) -> Payload {
        Payload { is_unclaimed: true, ..self }
    }

    /// How many bytes there are.
    #[inline(always)]
    pub(crate) fn room(self) -> usize {
        self.room
    }

    /// Copies `len` bytes in, at `offset`, a multiple of 8.
    ///
    /// # Safety
    ///
    /// `offset + len <= room`, `from` is readable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn write(self, offset: usize, from: *const u8, len: usize) {
        debug_assert!(offset + len <= self.room);
        // SAFETY: both ranges are valid by the contract; `to` lies in the
        // mapping, which no reference covers, and is aligned to 8.
        unsafe {
            let to = self.at.add(offset);
            let first = first_piece(offset, len);
            copy_words_in::<u64>(to, from, first);
            copy_in(to.add(first), from.add(first), len - first, self.is_unclaimed);
        }
    }

    /// As [`write`](Payload::write), by whole words only: bytes behind the message become zero, up to the next
    /// multiple of 8.
    ///
    /// A peer that waits for the message looks at the line meanwhile, and each look may take it away from between two
    /// stores: the fewer there are, the sooner the last one is done.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn write_padded(self, offset: usize, from: *const u8, len: usize) {
        debug_assert!(offset + len <= self.room);
        let (whole, rest) = (len & !7, len & 7);
        let has_room = offset + len.next_multiple_of(8) <= self.room;
        // SAFETY: as in `write`; the last word lies in the payload.
        unsafe {
            if rest == 0 || !has_room {
                return self.write(offset, from, len);
            }
            self.write(offset, from, whole);
            // Byte by byte, as they may have been stored just now, and so in a register.
            let last = (0..rest).fold(0, |last, k| last | u64::from(from.add(whole + k).read()) << (8 * k));
            self.at.add(offset + whole).cast::<u64>().write_volatile(last.to_le());
        }
    }

    /// Copies `len` bytes out, from `offset`, a multiple of 8.
    ///
    /// # Safety
    ///
    /// `offset + len <= room`, `to` is writable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn read(self, offset: usize, to: *mut u8, len: usize) {
        debug_assert!(offset + len <= self.room);
        // SAFETY: as in `write`.
        unsafe {
            let from = self.at.add(offset);
            let first = first_piece(offset, len);
            copy_words_out::<u64>(to, from, first);
            copy_out(to.add(first), from.add(first), len - first);
        }
    }

    /// As [`write`](Payload::write), at any offset, for many bytes.
    ///
    /// # Safety
    ///
    /// `offset + len <= room`, `from` is readable for `len` bytes.
    pub(crate) unsafe fn write_bulk(self, offset: usize, from: *const u8, len: usize) {
        debug_assert!(offset <= self.room && len <= self.room - offset);
        // SAFETY: both ranges are valid by the contract.
        unsafe { copy_bulk(self.at.add(offset), from, len) }
    }

    /// As [`read`](Payload::read), at any offset, for many bytes.
    ///
    /// # Safety
    ///
    /// `offset + len <= room`, `to` is writable for `len` bytes.
    pub(crate) unsafe fn read_bulk(self, offset: usize, to: *mut u8, len: usize) {
        debug_assert!(offset <= self.room && len <= self.room - offset);
        // SAFETY: as in `write_bulk`.
        unsafe { copy_bulk(to, self.at.add(offset), len) }
    }

    /// Copies the first `len` bytes out, and makes their cache lines this core's: see
    /// [`adopt_lines`](Payload::adopt_lines).
    ///
    /// # Safety
    ///
    /// `len <= room`, `to` is writable for `len` bytes, and nobody else writes here
    /// meanwhile. The payload begins with a cache line.
    pub(crate) unsafe fn read_and_adopt(self, to: *mut u8, len: usize) {
        /// Stays in the nearest cache until it is adopted.
        const PIECE: usize = 4096;
        for at in (0..len).step_by(PIECE) {
            let piece = PIECE.min(len - at);
            // SAFETY: the contract, for a part of the message.
            unsafe {
                self.read_bulk(at, to.add(at), piece);
                self.adopt_within(at, piece);
            }
        }
    }

    /// The same for `len` bytes that were copied out before.
    ///
    /// # Safety
    ///
    /// As there.
    pub(crate) unsafe fn adopt_front(self, len: usize) {
        // SAFETY: the contract.
        unsafe { self.adopt_within(0, len.min(self.room)) }
    }

    /// # Safety
    ///
    /// As [`read_and_adopt`](Payload::read_and_adopt); `at` is a multiple of the line.
    unsafe fn adopt_within(self, at: usize, len: usize) {
        for line in (at..at + len).step_by(64).filter(|line| line + 8 <= self.room) {
            // SAFETY: a word of the payload.
            unsafe { self.store_back(line) };
        }
    }

    /// Where the bytes are.
    pub(crate) fn as_ptr(self) -> *mut u8 {
        self.at
    }

    /// Copies the first `len` bytes to another payload, word by word.
    ///
    /// # Safety
    ///
    /// `len` is at most the room of either. Nobody else writes `to` meanwhile.
    pub(crate) unsafe fn copy_to(self, to: Payload, len: usize) {
        debug_assert!(len <= self.room && len <= to.room);
        let mut piece = [0u64; 8];
        let mut at = 0;
        while at < len {
            let count = (len - at).min(size_of_val(&piece));
            // SAFETY: `at + count <= len`, a multiple of 8 begins each piece, and the piece
            // is private memory of that size.
            unsafe {
                self.read(at, piece.as_mut_ptr().cast(), count);
                to.write(at, piece.as_ptr().cast(), count);
            }
            at += count;
        }
    }

    /// Stores one word of each of the payload's first `len` bytes' cache lines back
    /// as it was read, so that these lines belong to this core.
    ///
    /// A line that was written by one core and only read by another is *owned* by
    /// the one and *shared* by the other (MOESI). The writer's next store to it,
    /// a lap later, has to ask the other core to give it up, one store at a time,
    /// and no prefetcher helps, because the line is in its cache. A line that the
    /// reader has written is simply absent there, and streams in. Measured on
    /// Zen 4: 71 ns a line against 4 (`docs/benchmarks.md`).
    ///
    /// The store changes no byte, so it may happen any number of times or not at
    /// all.
    ///
    /// # Safety
    ///
    /// `len <= room`. Nobody else writes here meanwhile. The payload starts `STAMP_SIZE` bytes after a multiple of the
    /// cache line, or does not cross a line.
    #[inline(always)]
    pub(crate) unsafe fn adopt_lines(self, len: usize) {
        if self.room >= 8 {
            // SAFETY: the word lies in the payload; the contract.
            unsafe {
                self.store_back(0);
                self.adopt_further_lines(len);
            }
        }
    }

    /// The same but for the first line.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline(always)]
    pub(crate) unsafe fn adopt_further_lines(self, len: usize) {
        const LINE: usize = 64;
        let mut line = LINE - super::STAMP_SIZE;
        while line < len {
            // SAFETY: `room` and `line` are multiples of 8, so `line < len <= room` leaves
            // room for a word.
            unsafe { self.store_back(line) };
            line += LINE;
        }
    }

    /// # Safety
    ///
    /// `offset + 8 <= room`, `offset` is a multiple of 8.
    #[inline(always)]
    unsafe fn store_back(self, offset: usize) {
        // SAFETY: the contract.
        unsafe {
            let word = self.at.add(offset).cast::<u64>();
            word.write_volatile(word.read_volatile());
        }
    }
}

/// How many bytes to copy before going on by sixteen.
///
/// A message of one line is cut as the compiler cuts it when it is moved on the
/// stack: where sixteen bytes are loaded at once, another cut could not be forwarded from the store queue, and would wait
/// until all stores before it are done. A longer one would cross from line to line
/// with every fourth piece, as payloads start 8 bytes behind the start of a line.
#[cfg(not(loom))]
#[inline(always)]
const fn first_piece(offset: usize, len: usize) -> usize {
    if offset == 0 && len > 56 { 8 } else { 0 }
}

/// Private to shared, for a `to` aligned to 8, with as few stores as the
/// processor allows: sixteen bytes at a time, then words, then bytes.
///
/// A stream of puts is bound by how many *lines* wait in the store queue for the
/// consumer's core to give them up, so by the number of store instructions per
/// message (measured: half as many stores, up to twice the throughput).
///
/// # Safety
///
/// `to` and `from` are valid for `len` bytes, and `to` is aligned to 8.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize, is_unclaimed: bool) {
    let pairs = if cfg!(target_arch = "x86_64") { len / 16 } else { 0 };
    // SAFETY: every access lies in both ranges.
    unsafe {
        for k in 0..pairs {
            let (to, from) = (to.add(16 * k), from.add(16 * k));
            if is_unclaimed {
                copy_pair_in(to, from);
            } else {
                store_pair(to, from.cast::<[u64; 2]>().read_unaligned());
            }
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

/// Copies two words in, by two loads and one store. The caller has just built the message,
/// word by word or by sixteen bytes, as the compiler liked: either is forwarded from the
/// store queue to the load of a word. A load of sixteen bytes would wait until both words had
/// left the queue, behind all lines that wait for the consumer's core (measured: 0.6 of the
/// throughput of messages of 56 bytes). An exchange waits for that anyway.
///
/// # Safety
///
/// `to` and `from` are valid for 16 bytes, and `to` is aligned to 8.
#[cfg(not(loom))]
#[inline(always)]
unsafe fn copy_pair_in(to: *mut u8, from: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: as in `store_pair`; in assembly also because the compiler makes one load of two.
    unsafe {
        core::arch::asm!(
            "movq {pair}, [{from}]",
            "movhps {pair}, [{from} + 8]",
            "movups [{to}], {pair}",
            to = in(reg) to, from = in(reg) from, pair = out(xmm_reg) _,
            options(nostack, preserves_flags)
        );
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the contract.
    unsafe {
        store_pair(to, from.cast::<[u64; 2]>().read_unaligned());
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
pub(super) unsafe fn store_pair(to: *mut u8, pair: [u64; 2]) {
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

/// The payload under loom: a tracked cell, so that two unordered accesses to one
/// payload fail the model.
#[cfg(loom)]
#[derive(Clone, Copy, Debug)]
pub struct Payload {
    cell: &'static loom::cell::UnsafeCell<[u8; Payload::ROOM]>,
}

#[cfg(loom)]
impl Payload {
    pub(super) const ROOM: usize = 8;

    pub(super) fn of(cell: &'static loom::cell::UnsafeCell<[u8; Payload::ROOM]>) -> Payload {
        Payload { cell }
    }

    pub(crate) fn room(self) -> usize {
        Payload::ROOM
    }

    pub(crate) fn unclaimed(self) -> Payload {
        self
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn write(self, offset: usize, from: *const u8, len: usize) {
        self.cell.with_mut(|bytes| {
            // SAFETY: the caller vouches for `from`; loom has checked the access.
            unsafe { (&mut *bytes)[offset..offset + len].copy_from_slice(std::slice::from_raw_parts(from, len)) }
        });
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn write_padded(self, offset: usize, from: *const u8, len: usize) {
        // SAFETY: the same contract.
        unsafe { self.write(offset, from, len) }
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn read(self, offset: usize, to: *mut u8, len: usize) {
        self.cell.with(|bytes| {
            // SAFETY: the caller vouches for `to`; loom has checked the access.
            unsafe { std::slice::from_raw_parts_mut(to, len).copy_from_slice(&(&*bytes)[offset..offset + len]) }
        });
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn read_bulk(self, offset: usize, to: *mut u8, len: usize) {
        // SAFETY: the same contract.
        unsafe { self.read(offset, to, len) }
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn write_bulk(self, offset: usize, from: *const u8, len: usize) {
        // SAFETY: the same contract.
        unsafe { self.write(offset, from, len) }
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn copy_to(self, to: Payload, len: usize) {
        let mut bytes = [0; Payload::ROOM];
        // SAFETY: `bytes` has the size of a payload.
        unsafe {
            self.read(0, bytes.as_mut_ptr(), len);
            to.write(0, bytes.as_ptr(), len);
        }
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn read_and_adopt(self, to: *mut u8, len: usize) {
        // SAFETY: the same contract.
        unsafe {
            self.read(0, to, len);
            self.adopt_lines(len);
        }
    }

    /// # Safety
    ///
    /// As in the real one. One line is all there is.
    pub(crate) unsafe fn adopt_further_lines(self, _len: usize) {}

    /// # Safety
    ///
    /// As in the real one. Here it is a write like any other.
    pub(crate) unsafe fn adopt_lines(self, _len: usize) {
        self.cell.with_mut(|bytes| {
            // SAFETY: loom has checked the access.
            unsafe { std::ptr::write_volatile(bytes, std::ptr::read_volatile(bytes)) }
        });
    }
}
