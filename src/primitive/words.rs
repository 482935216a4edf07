//! How the words of one message are copied between private and shared memory: by as few stores as
//! the processor allows, and by loads that it can forward. What a message is, it does not know.

#![allow(unsafe_code)]

/// How many bytes to copy before going on by sixteen.
///
/// A message of one line is cut as the compiler cuts it when it is moved on the
/// stack: where sixteen bytes are loaded at once, another cut could not be forwarded from the store queue, and would wait
/// until all stores before it are done. A longer one would cross from line to line
/// with every fourth piece, as payloads start 8 bytes behind the start of a line.
#[inline(always)]
pub(super) const fn first_piece(offset: usize, len: usize) -> usize {
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
#[inline(always)]
pub(super) unsafe fn copy_in(to: *mut u8, from: *const u8, len: usize, is_unclaimed: bool) {
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
#[inline(always)]
pub(super) unsafe fn copy_out(to: *mut u8, from: *const u8, len: usize) {
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
#[inline(always)]
pub(super) unsafe fn load_pair(from: *const u8) -> [u64; 2] {
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

/// Private to shared, `pairs` times two words, each made of the upper half of a word of `from` and the
/// lower half of the next. Gives the word whose upper half comes next.
///
/// # Safety
///
/// `from` is valid for two words more than `to`, which is aligned to 8 and valid for `pairs` times two.
#[inline(always)]
pub(super) unsafe fn copy_pairs_in_moved(to: *mut u64, from: *const u8, pairs: usize) -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the contract; every x86-64 has SSE2.
    unsafe {
        use core::arch::x86_64::{_mm_cvtsi128_si64, _mm_or_si128, _mm_slli_si128, _mm_srli_si128};
        let mut before = load_words(from);
        for at in 0..pairs {
            let after = load_words(from.add(16 * (at + 1)));
            let moved = _mm_or_si128(_mm_srli_si128::<4>(before), _mm_slli_si128::<12>(after));
            core::arch::asm!("movups [{to}], {pair}", to = in(reg) to.add(2 * at), pair = in(xmm_reg) moved,
                options(nostack, preserves_flags));
            before = after;
        }
        _mm_cvtsi128_si64(before) as u64
    }
    #[cfg(not(target_arch = "x86_64"))]
    // SAFETY: the contract.
    unsafe {
        let word = |at: usize| u64::from_le(from.add(8 * at).cast::<u64>().read_unaligned());
        for at in 0..2 * pairs {
            to.add(at).write_volatile((word(at) >> 32 | word(at + 1) << 32).to_le());
        }
        word(2 * pairs)
    }
}

/// Two words by a load for each: see [`copy_pair_in`].
///
/// # Safety
///
/// `from` is valid for 16 bytes.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
unsafe fn load_words(from: *const u8) -> core::arch::x86_64::__m128i {
    // SAFETY: the contract; in assembly because the compiler makes one load of two.
    unsafe {
        let pair;
        core::arch::asm!(
            "movq {pair}, [{from}]",
            "movhps {pair}, [{from} + 8]",
            from = in(reg) from, pair = out(xmm_reg) pair,
            options(nostack, preserves_flags, readonly)
        );
        pair
    }
}

/// Shared to private, `pairs` times two words, each made of the upper half of the one before it, at first
/// of `carried`, and its own lower half. Says how many pairs it has copied: none, where there is no
/// instruction for it.
///
/// # Safety
///
/// `to` and `from` are valid for as many bytes, and `from` is aligned to 8.
#[inline(always)]
pub(super) unsafe fn copy_pairs_moved(to: *mut u64, from: *const u64, pairs: usize, carried: &mut u64) -> usize {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the contract; every x86-64 has SSE2.
    unsafe {
        use core::arch::x86_64::{
            __m128i, _mm_cvtsi128_si64, _mm_or_si128, _mm_set_epi64x, _mm_slli_si128, _mm_srli_si128, _mm_storeu_si128,
            _mm_unpackhi_epi64,
        };
        let mut before = _mm_set_epi64x(*carried as i64, 0);
        for at in 0..pairs {
            let [low, high] = load_pair(from.add(2 * at).cast());
            let pair = _mm_set_epi64x(high as i64, low as i64);
            let moved = _mm_or_si128(_mm_srli_si128::<12>(before), _mm_slli_si128::<4>(pair));
            _mm_storeu_si128(to.add(2 * at).cast::<__m128i>(), moved);
            before = pair;
        }
        *carried = _mm_cvtsi128_si64(_mm_unpackhi_epi64(before, before)) as u64;
        pairs
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (to, from, pairs, carried);
        0
    }
}

/// # Safety
///
/// `to` and `from` are valid for `len` bytes, and `to` is aligned to `W`.
#[inline(always)]
pub(super) unsafe fn copy_words_in<W: Copy>(to: *mut u8, from: *const u8, len: usize) {
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
#[inline(always)]
pub(super) unsafe fn copy_words_out<W: Copy>(to: *mut u8, from: *const u8, len: usize) {
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

#[cfg(test)]
mod tests {
    use crate::primitive::{HEAD_SIZE, Payload};

    /// Whatever stands around the words of a message stays.
    const AROUND: u64 = 0xa5a5_a5a5_a5a5_a5a5;

    #[test]
    fn a_message_of_any_length_lies_behind_its_head_and_comes_out_again() {
        for len in 0..200usize {
            for more in [0, 1, 2, 3] {
                let message: Vec<u8> = (1..=len as u8).collect();
                let words = (HEAD_SIZE + len).div_ceil(8);
                let mut slot = vec![AROUND; words + more + 2];
                let head = (len as u32).to_ne_bytes();
                // SAFETY: so many words are there, and nobody else uses them meanwhile.
                let first = unsafe {
                    let payload = Payload::new(slot.as_mut_ptr().add(1).cast(), 8 * (words + more));
                    payload.write_headed(head, message.as_ptr(), len);
                    payload.read_word(0)
                };
                let mut there: Vec<u8> = [&head[..], &message].concat();
                there.resize(8 * words, 0);
                let written: &[u8] = bytemuck::cast_slice(&slot[1..=words]);
                assert_eq!(written, there, "{len} bytes");
                assert!(slot[..1].iter().chain(&slot[words + 1..]).all(|word| *word == AROUND), "{len} bytes");
                let mut out = vec![AROUND; len.div_ceil(8) + 1];
                // SAFETY: the same, and `out` has the words that the message ends in.
                unsafe {
                    let payload = Payload::new(slot.as_mut_ptr().add(1).cast(), 8 * (words + more));
                    payload.read_headed(first, out.as_mut_ptr().cast(), len);
                }
                assert_eq!(out.pop(), Some(AROUND), "{len} bytes");
                assert_eq!(&bytemuck::cast_slice::<u64, u8>(&out)[..len], message, "{len} bytes");
            }
        }
    }

    #[test]
    fn a_payload_is_copied_to_another_whole() {
        for len in 0..100usize {
            let mut from: Vec<u64> = (0..16).map(|at| at * 0x0101_0101_0101).collect();
            let mut to = vec![AROUND; 16];
            // SAFETY: both have 128 bytes, and nobody else uses them meanwhile.
            unsafe {
                let to = Payload::new(to.as_mut_ptr().cast(), 128);
                Payload::new(from.as_mut_ptr().cast(), 128).copy_to(to, len);
            }
            let (from, to): (&[u8], &[u8]) = (bytemuck::cast_slice(&from), bytemuck::cast_slice(&to));
            assert_eq!(&to[..len], &from[..len]);
            assert!(to[len..].iter().all(|byte| *byte == 0xa5), "{len} bytes");
        }
    }
}
