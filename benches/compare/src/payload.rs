//! What is sent: every byte written by the producer, every byte checked by the consumer.
//!
//! A message is a *word* and the words that follow it (`word + 1`, ...), as many
//! as fit. The word carries who sent it, whether it is the sender's last, and a
//! sequence number: bits 56 to 63, bit 55, bits 0 to 54.

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
pub trait Payload: ringway::Plain + Send + 'static {
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

impl Payload for [u64; 7] {
    #[inline(always)]
    fn of(word: u64) -> Self {
        [word, word + 1, word + 2, word + 3, word + 4, word + 5, word + 6]
    }

    #[inline(always)]
    fn is(&self, word: u64) -> bool {
        // One by one: wider loads of what was just stored word by word would wait
        // for the store buffer.
        (0..7).all(|k| self[k] == word.wrapping_add(k as u64))
    }

    #[inline(always)]
    fn word(&self) -> u64 {
        self[0]
    }
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
    fn the_word_keeps_its_parts() {
        let end = word(3, 77 | END);
        assert_eq!((source(end), sequence(end), end & END), (3, 77, END));
    }
}
