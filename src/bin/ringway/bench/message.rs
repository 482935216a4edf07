//! What is sent, and how the receiver proves that it got all of it.
//!
//! A message is known by its *number*: the producer in the upper bits, a count
//! from 0 in the lower ones. Word i of the payload is number + i, so a payload
//! put together from two messages never passes, and the receiver reads all of
//! it. Knows nothing of the systems that carry messages.

use serde::{Deserialize, Serialize};

const COUNT_BITS: u32 = 48;

/// Says to the receiver that no more messages follow.
pub const STOP: u64 = u64::MAX - (1 << 20);

/// The number of a producer's message `count`.
pub fn number(producer: u32, count: u64) -> u64 {
    u64::from(producer) << COUNT_BITS | count
}

/// Writes a message over all of `bytes` (at least eight).
#[inline(always)]
pub fn fill(bytes: &mut [u8], number: u64) {
    let mut words = bytes.chunks_exact_mut(8);
    let mut word = number;
    for chunk in &mut words {
        chunk.copy_from_slice(&word.to_le_bytes());
        word = word.wrapping_add(1);
    }
    let tail = words.into_remainder();
    tail.copy_from_slice(&word.to_le_bytes()[..tail.len()]);
}

/// The message's number, if every word is right.
#[inline(always)]
pub fn check(bytes: &[u8]) -> Option<u64> {
    let mut words = bytes.chunks_exact(8);
    let mut first = None;
    let mut wrong = 0;
    let mut expected = 0u64;
    for chunk in &mut words {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        expected = if first.is_none() { word } else { expected };
        first = first.or(Some(word));
        wrong |= word ^ expected;
        expected = expected.wrapping_add(1);
    }
    for (byte, expected) in words.remainder().iter().zip(expected.to_le_bytes()) {
        wrong |= u64::from(byte ^ expected);
    }
    first.filter(|_| wrong == 0)
}

/// How long payloads are: a constant where the compiler should unroll copies.
pub trait Length: Copy {
    fn bytes(self) -> usize;
}

#[derive(Clone, Copy)]
pub struct Fixed<const N: usize>;

impl<const N: usize> Length for Fixed<N> {
    #[inline(always)]
    fn bytes(self) -> usize {
        N
    }
}

#[derive(Clone, Copy)]
pub struct Any(pub usize);

impl Length for Any {
    #[inline(always)]
    fn bytes(self) -> usize {
        self.0
    }
}

/// A plain-data message, made and checked in registers: a payload written to the
/// stack word by word and read back in wider pieces would make store forwarding
/// fail, and that would be measured instead.
pub trait Payload: ringway::Plain {
    fn build(number: u64) -> Self;
    fn check(&self) -> Option<u64>;
}

macro_rules! payloads {
    ($($size:literal)*) => {$(
        impl Payload for [u8; $size] {
            #[inline(always)]
            fn build(number: u64) -> Self {
                let words: [u64; $size / 8] = core::array::from_fn(|i| number.wrapping_add(i as u64));
                bytemuck::cast(words)
            }

            #[inline(always)]
            fn check(&self) -> Option<u64> {
                let words: [u64; $size / 8] = bytemuck::cast(*self);
                let wrong = words.iter().enumerate().fold(0, |wrong, (i, &word)| {
                    wrong | (word ^ words[0].wrapping_add(i as u64))
                });
                (wrong == 0).then_some(words[0])
            }
        }
    )*};
}

payloads!(8 16 32 56 64 128 256 512 1024 4096);

/// Evaluates `$then` with `$N` as a constant for the sizes that are compiled in.
macro_rules! with_payload_size {
    ($size:expr, $N:ident => $then:expr, else $otherwise:expr) => {
        crate::bench::message::with_payload_size!(@ $size, $N, $then, $otherwise,
            8 16 32 56 64 128 256 512 1024 4096)
    };
    (@ $size:expr, $N:ident, $then:expr, $otherwise:expr, $($literal:literal)*) => {
        match $size {
            $($literal => { const $N: usize = $literal; $then })*
            _ => $otherwise,
        }
    };
}

/// Evaluates `$then` with `$length` bound to the [`Length`] of payloads of `$size`
/// bytes: a constant for the sizes of the default rows.
macro_rules! with_length {
    ($size:expr, $length:ident => $then:expr) => {
        match $size {
            8 => {
                let $length = crate::bench::message::Fixed::<8>;
                $then
            }
            52 => {
                let $length = crate::bench::message::Fixed::<52>;
                $then
            }
            56 => {
                let $length = crate::bench::message::Fixed::<56>;
                $then
            }
            1024 => {
                let $length = crate::bench::message::Fixed::<1024>;
                $then
            }
            other => {
                let $length = crate::bench::message::Any(other);
                $then
            }
        }
    };
}

pub(super) use {with_length, with_payload_size};

/// The longest plain-data message that is compiled in: an array that goes by value, through the stack.
pub const LONGEST_PAYLOAD: usize = 4096;

/// Whether plain-data messages of this size are compiled in.
pub fn is_payload(size: usize) -> bool {
    with_payload_size!(size, N => N == size, else false)
}

/// What one consumer got of one producer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The lowest count that may follow.
    next: u64,
    messages: u64,
    sum: u64,
    squares: u64,
}

/// Takes every message's number as it arrives; says whether it may be this one.
pub trait Checker {
    fn accept(&mut self, number: u64) -> bool;
    fn receipts(&self) -> Vec<Receipt>;
}

/// For one producer and one consumer: exactly the next.
#[derive(Debug, Default)]
pub struct Exact {
    next: u64,
}

impl Checker for Exact {
    #[inline(always)]
    fn accept(&mut self, number: u64) -> bool {
        let right = number == self.next;
        self.next += 1;
        right
    }

    fn receipts(&self) -> Vec<Receipt> {
        vec![Receipt::of_all(self.next)]
    }
}

/// For several: each producer's messages in its order, some of them elsewhere.
#[derive(Debug)]
pub struct Ledger {
    rows: Vec<Receipt>,
}

impl Ledger {
    pub fn new(producers: u32) -> Ledger {
        Ledger { rows: vec![Receipt::default(); producers as usize] }
    }
}

impl Checker for Ledger {
    #[inline(always)]
    fn accept(&mut self, number: u64) -> bool {
        let count = number & ((1 << COUNT_BITS) - 1);
        let Some(row) = self.rows.get_mut((number >> COUNT_BITS) as usize) else { return false };
        let in_order = count >= row.next;
        row.next = count + 1;
        row.messages += 1;
        row.sum = row.sum.wrapping_add(count);
        row.squares = row.squares.wrapping_add(count.wrapping_mul(count));
        in_order
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.rows.clone()
    }
}

impl Receipt {
    /// What all messages from 0 to `sent` - 1 add up to, modulo 2^64.
    fn of_all(sent: u64) -> Receipt {
        let n = u128::from(sent);
        let below = n.saturating_sub(1);
        // `sent` has at most 48 bits, so that only the cubic product can exceed
        // 128 bits; it is divided first.
        let sum = n * below / 2;
        let squares = match (n * below / 2) % 3 {
            0 => (n * below / 2 / 3).wrapping_mul(2 * n - n.min(1)),
            _ => (n * below / 2).wrapping_mul((2 * n - n.min(1)) / 3),
        };
        Receipt { next: sent, messages: sent, sum: sum as u64, squares: squares as u64 }
    }

    fn plus(self, other: Receipt) -> Receipt {
        Receipt {
            next: self.next.max(other.next),
            messages: self.messages + other.messages,
            sum: self.sum.wrapping_add(other.sum),
            squares: self.squares.wrapping_add(other.squares),
        }
    }
}

/// Whether the consumers together got every producer's messages, each once.
pub fn complete(sent: &[u64], consumers: &[Vec<Receipt>]) -> Result<(), String> {
    for (producer, &sent) in sent.iter().enumerate() {
        let rows = consumers.iter().map(|rows| rows.get(producer).copied().unwrap_or_default());
        let got = rows.fold(Receipt::default(), Receipt::plus);
        if got != Receipt::of_all(sent) {
            let got = got.messages;
            return Err(format!("producer {producer} sent {sent} messages, {got} arrived, or not each of them once"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(numbers: &[u64]) -> (bool, Vec<Receipt>) {
        let mut ledger = Ledger::new(2);
        // All of them, also after the first refusal.
        let accepted = numbers.iter().filter(|&&n| !ledger.accept(n)).count() == 0;
        (accepted, ledger.receipts())
    }

    #[test]
    fn a_payload_passes_whole_and_fails_with_any_byte_changed() {
        for size in [8, 9, 52, 56, 100, 1024] {
            let mut bytes = vec![0; size];
            fill(&mut bytes, number(3, 77));
            assert_eq!(check(&bytes), Some(number(3, 77)));
            for k in 8..size {
                bytes[k] ^= 1;
                assert_eq!(check(&bytes), None, "byte {k} of {size}");
                bytes[k] ^= 1;
            }
        }
    }

    #[test]
    fn a_payload_in_registers_is_the_same_as_one_in_memory() {
        let mut bytes = [0; 56];
        fill(&mut bytes, 99);
        assert_eq!(<[u8; 56]>::build(99), bytes);
        assert_eq!(Payload::check(&bytes), Some(99));
        bytes[24..].copy_from_slice(&<[u8; 56]>::build(100)[24..]);
        assert_eq!(Payload::check(&bytes), None, "a payload of two messages");
    }

    #[test]
    fn plain_data_is_compiled_up_to_the_stated_limit() {
        assert!(is_payload(LONGEST_PAYLOAD));
        assert!((1..=20).all(|k| !is_payload(LONGEST_PAYLOAD << k) && !is_payload(LONGEST_PAYLOAD + 8 * k)));
    }

    #[test]
    fn totals_match_a_naive_count() {
        for sent in [0u64, 1, 2, 3, 4, 5, 100, 1001] {
            let mut exact = Ledger::new(1);
            assert!((0..sent).all(|n| exact.accept(n)));
            assert_eq!(exact.receipts(), [Receipt::of_all(sent)], "{sent}");
        }
    }

    #[test]
    fn a_complete_union_in_producer_order_passes() {
        let (a, b) = (ledger(&[0, number(1, 1), 2]), ledger(&[number(1, 0), 1, number(1, 2), 3]));
        assert!(a.0 && b.0);
        assert_eq!(complete(&[4, 3], &[a.1, b.1]), Ok(()));
    }

    #[test]
    fn dropped_doubled_and_reordered_messages_are_caught() {
        let mut exact = Exact::default();
        assert!(exact.accept(0) && !exact.accept(2), "dropped");
        let mut exact = Exact::default();
        assert!(exact.accept(0) && !exact.accept(0), "doubled");

        let (_, dropped) = ledger(&[0, 1, 3]);
        assert!(complete(&[4, 0], &[dropped]).is_err());
        let (_, last_dropped) = ledger(&[0, 1]);
        assert!(complete(&[3, 0], &[last_dropped]).is_err());
        let (doubled, _) = ledger(&[0, 1, 1, 2]);
        assert!(!doubled);
        let (reordered, _) = ledger(&[0, 2, 1]);
        assert!(!reordered);
        // One lost and one delivered to two consumers: the count alone is right.
        let (one, two) = (ledger(&[0, 1, 3]), ledger(&[1]));
        assert!(one.0 && two.0 && complete(&[4, 0], &[one.1, two.1]).is_err());
        let (stranger, _) = ledger(&[number(2, 0)]);
        assert!(!stranger);
    }
}
