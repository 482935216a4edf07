//! The payload of one message in shared memory.
//!
//! It is copied in and out by volatile word accesses on raw pointers, never
//! through a reference: whatever a peer scribbles meanwhile, we get some bytes,
//! once.

#![allow(unsafe_code)]

#[cfg(not(loom))]
use super::bulk::copy_bulk;
#[cfg(not(loom))]
use super::words::{
    copy_in, copy_out, copy_pairs_in_moved, copy_pairs_moved, copy_words_in, copy_words_out, first_piece, load_pair,
    store_pair,
};

/// Bytes before a message that say how long it is.
pub(crate) const HEAD_SIZE: usize = 4;

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

    /// Copies a message in, from the start: four bytes of `head`, then `len` bytes, then zeros up to a whole word.
    ///
    /// The caller has just built the message, by whole words of it, and whoever reads it will take it
    /// by such words too. A load of a word that lies across two of them cannot be forwarded from the store
    /// queue, but waits until both have left it, behind all lines that the other core still has to give up. So
    /// what is loaded here is what was stored, and it is moved by four bytes in registers.
    ///
    /// A peer that waits for the message looks at the line meanwhile, and each look may take it away from between two
    /// stores: the fewer there are, the sooner the last one is done.
    ///
    /// # Safety
    ///
    /// `HEAD_SIZE + len`, rounded up to a multiple of 8, is at most the room; `from` is readable for `len` bytes.
    #[inline(always)]
    pub(crate) unsafe fn write_headed(self, head: [u8; HEAD_SIZE], from: *const u8, len: usize) {
        let words = (HEAD_SIZE + len).div_ceil(8);
        debug_assert!(8 * words <= self.room);
        // SAFETY: by the contract every word that is loaded lies in the message, and every one
        // that is stored in the payload.
        unsafe {
            let to = self.at.cast::<u64>();
            // The upper half belongs before the next word.
            let mut carried = u64::from(u32::from_le_bytes(head)) << 32;
            let mut at = 0;
            let next = |index: usize, carried: &mut u64| {
                let rest = len.saturating_sub(8 * index);
                let word = if rest >= 8 {
                    u64::from_le(from.add(8 * index).cast::<u64>().read_unaligned())
                } else {
                    // Byte by byte, as they may have been stored.
                    (0..rest).fold(0, |word, k| word | u64::from(from.add(8 * index + k).read()) << (8 * k))
                };
                (std::mem::replace(carried, word) >> 32 | word << 32).to_le()
            };
            to.write_volatile(next(at, &mut carried));
            at += 1;
            let pairs = (len / 16).saturating_sub(1);
            if pairs > 0 {
                carried = copy_pairs_in_moved(to.add(1), from, pairs);
                at += 2 * pairs;
            }
            while at + 1 < words {
                let pair = [next(at, &mut carried), next(at + 1, &mut carried)];
                store_pair(to.add(at).cast(), pair);
                at += 2;
            }
            if at < words {
                to.add(at).write_volatile(next(at, &mut carried));
            }
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

    /// The word at `offset`, a multiple of 8.
    ///
    /// # Safety
    ///
    /// `offset + 8 <= room`.
    #[inline(always)]
    pub(crate) unsafe fn read_word(self, offset: usize) -> u64 {
        debug_assert!(offset + 8 <= self.room);
        // SAFETY: as in `read`.
        unsafe { self.at.add(offset).cast::<u64>().read_volatile() }
    }

    /// Copies the message of [`write_headed`](Payload::write_headed) out, of which the first word was
    /// read, by whole words of it.
    ///
    /// # Safety
    ///
    /// `HEAD_SIZE + len <= room`, a multiple of 8; `to` is writable for `len` bytes, rounded up to one.
    #[inline(always)]
    pub(crate) unsafe fn read_headed(self, first: u64, to: *mut u8, len: usize) {
        let words = self.room / 8;
        debug_assert!(HEAD_SIZE + len <= 8 * words);
        let wanted = len.div_ceil(8);
        // The last one may end with the payload.
        let inside = wanted.min(words.saturating_sub(1));
        // SAFETY: no word is read that does not lie in the payload, and none is written that the
        // contract has no room for.
        unsafe {
            let from = self.at.cast::<u64>();
            let to = to.cast::<u64>();
            let mut carried = u64::from_le(first);
            let pairs = copy_pairs_moved(to, from.add(1), inside / 2, &mut carried);
            for at in 2 * pairs..inside {
                let word = u64::from_le(from.add(at + 1).read_volatile());
                to.add(at).write_unaligned((carried >> 32 | word << 32).to_le());
                carried = word;
            }
            if inside < wanted {
                to.add(inside).write_unaligned((carried >> 32).to_le());
            }
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
        let (pairs, words) = (len / 16, len / 8);
        // SAFETY: every access lies in both, which are aligned to 8.
        unsafe {
            for at in 0..pairs {
                store_pair(to.at.add(16 * at), load_pair(self.at.add(16 * at)));
            }
            for at in 2 * pairs..words {
                to.at.cast::<u64>().add(at).write_volatile(self.at.cast::<u64>().add(at).read_volatile());
            }
            for at in 8 * words..len {
                to.at.add(at).write_volatile(self.at.add(at).read_volatile());
            }
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
    pub(crate) unsafe fn write_headed(self, head: [u8; HEAD_SIZE], from: *const u8, len: usize) {
        let mut bytes = [0; Payload::ROOM];
        bytes[..HEAD_SIZE].copy_from_slice(&head);
        // SAFETY: the caller vouches for `from`.
        bytes[HEAD_SIZE..HEAD_SIZE + len].copy_from_slice(unsafe { std::slice::from_raw_parts(from, len) });
        // SAFETY: the same contract.
        unsafe { self.write(0, bytes.as_ptr(), bytes.len()) };
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
    pub(crate) unsafe fn read_word(self, offset: usize) -> u64 {
        let mut word = [0; 8];
        // SAFETY: the same contract.
        unsafe { self.read(offset, word.as_mut_ptr(), word.len()) };
        u64::from_ne_bytes(word)
    }

    /// # Safety
    ///
    /// As in the real one.
    pub(crate) unsafe fn read_headed(self, first: u64, to: *mut u8, len: usize) {
        // SAFETY: the caller vouches for `to`.
        let to = unsafe { std::slice::from_raw_parts_mut(to, len) };
        to.copy_from_slice(&first.to_ne_bytes()[HEAD_SIZE..HEAD_SIZE + len]);
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
