//! What is sent: every byte written by the producer, every byte checked by the consumer.
//!
//! A message is a *word* and the words that follow it (`word + 1`, ...), as many
//! as fit. The word carries who sent it, whether it is the sender's last, and a
//! sequence number: bits 56 to 63, bit 55, bits 0 to 54.

use promisqs::{FromBytes, Immutable, IntoBytes};

/// Set in the word that ends a sender's stream; its sequence number is then the
/// count of messages before it.
pub const END: u64 = 1 << 55;
const SOURCE_SHIFT: u32 = 56;

/// The word of message `sequence` of sender `source`.
pub fn word(source: usize, sequence: u64) -> u64 {
    (source as u64) << SOURCE_SHIFT | sequence
}

/// Who sent it.
pub fn source(word: u64) -> usize {
    (word >> SOURCE_SHIFT) as usize
}

/// Its sequence number, or for an end the count.
pub fn sequence(word: u64) -> u64 {
    word & (END - 1)
}

/// A message of fixed size: words, not bytes. A `Result<[u8; 56], _>` keeps its
/// array at an odd offset, and taking it apart stalls on the store buffer.
///
/// The bounds are what ringway and a rival ask of plain data.
pub trait Payload: ringway::Plain + FromBytes + IntoBytes + Immutable + Send + 'static {
    /// Made in registers: bytes stored one by one and loaded as words would
    /// measure the store buffer instead of the queue.
    fn of(word: u64) -> Self;
    /// Whether every word is what `of(word)` wrote.
    fn is(&self, word: u64) -> bool;
    /// The first word, not checked.
    fn word(&self) -> u64;
}

impl Payload for u64 {
    #[inline(always)]
    fn of(word: u64) -> Self {
        word
    }

    #[inline(always)]
    fn is(&self, word: u64) -> bool {
        *self == word
    }

    #[inline(always)]
    fn word(&self) -> u64 {
        *self
    }
}

/// Up to so many words are made and looked at one by one: wider loads of what was just stored word by word would wait
/// for the store buffer.
const FEW: usize = 8;

impl<const N: usize> Payload for [u64; N] {
    #[inline(always)]
    fn of(word: u64) -> Self {
        std::array::from_fn(|k| word.wrapping_add(k as u64))
    }

    #[inline(always)]
    fn is(&self, word: u64) -> bool {
        let expected = |k: usize| word.wrapping_add(k as u64);
        if N <= FEW {
            return (0..N).all(|k| self[k] == expected(k));
        }
        self.iter().enumerate().fold(0, |wrong, (k, found)| wrong | (found ^ expected(k))) == 0
    }

    #[inline(always)]
    fn word(&self) -> u64 {
        self[0]
    }
}

/// The same in bytes, which may lie anywhere: the part from byte `at`, a multiple of 8, of a message.
#[inline(always)]
pub fn fill(part: &mut [u8], at: usize, word: u64) {
    let first = word.wrapping_add((at / 8) as u64);
    let (words, rest) = part.as_chunks_mut::<8>();
    for (bytes, k) in words.iter_mut().zip(0..) {
        *bytes = first.wrapping_add(k).to_ne_bytes();
    }
    let last = first.wrapping_add(words.len() as u64).to_ne_bytes();
    rest.copy_from_slice(&last[..rest.len()]);
}

/// Whether the part is as [`fill`] leaves it.
#[inline(always)]
pub fn is_filled(part: &[u8], at: usize, word: u64) -> bool {
    let first = word.wrapping_add((at / 8) as u64);
    let (words, rest) = part.as_chunks::<8>();
    let wrong =
        words.iter().zip(0..).fold(0, |wrong, (bytes, k)| wrong | (u64::from_ne_bytes(*bytes) ^ first.wrapping_add(k)));
    wrong == 0 && first.wrapping_add(words.len() as u64).to_ne_bytes().starts_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_bit_anywhere_is_seen() {
        for bit in 0..56 * 8 {
            let mut message = <[u64; 7]>::of(word(3, 77));
            assert!(message.is(word(3, 77)));
            message[bit / 64] ^= 1 << (bit % 64);
            assert!(!message.is(word(3, 77)), "bit {bit}");
        }
    }

    #[test]
    fn one_wrong_bit_anywhere_is_seen_in_bytes_and_in_long_values() {
        let mut bytes = [0; 75];
        fill(&mut bytes, 16, word(3, 77));
        assert!(is_filled(&bytes, 16, word(3, 77)) && !is_filled(&bytes, 8, word(3, 77)));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_filled(&bytes, 16, word(3, 77)), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let mut long = <[u64; 128]>::of(word(3, 77));
        for bit in 0..128 * 64 {
            long[bit / 64] ^= 1 << (bit % 64);
            assert!(!long.is(word(3, 77)), "bit {bit}");
            long[bit / 64] ^= 1 << (bit % 64);
        }
        assert!(long.is(word(3, 77)));
    }

    #[test]
    fn the_word_keeps_its_parts() {
        let end = word(3, 77 | END);
        assert_eq!((source(end), sequence(end), end & END), (3, 77, END));
    }
}
