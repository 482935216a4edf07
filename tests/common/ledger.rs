//! Who got which message: finds every message that is lost, doubled or out of
//! its producer's order, among any number of consumers.

use std::fmt;

/// A message: which producer it is from, and its number there.
pub fn message(producer: usize, number: u64) -> u64 {
    (producer as u64) << PRODUCER_SHIFT | number
}

pub const PRODUCER_SHIFT: u32 = 40;
const WORD_BITS: u64 = 64;

/// What is wrong with what the consumers got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// From no producer of this test.
    Unknown { message: u64 },
    /// One consumer got a producer's messages not in their order, or one twice.
    OutOfOrder { producer: usize, number: u64, after: u64 },
    /// Two consumers got the same message.
    Doubled { producer: usize, number: u64 },
    /// Nobody got it.
    Lost { producer: usize, number: u64 },
    /// It was never put.
    Invented { producer: usize, number: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// What one consumer got: one bit for every message, by producer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    got: Vec<Vec<u64>>,
    last: Vec<Option<u64>>,
}

impl Ledger {
    pub fn new(producers: usize) -> Ledger {
        Ledger { got: vec![Vec::new(); producers], last: vec![None; producers] }
    }

    /// Notes a message, in the order of getting.
    pub fn note(&mut self, message: u64) -> Result<(), Fault> {
        let producer = (message >> PRODUCER_SHIFT) as usize;
        let number = message & ((1 << PRODUCER_SHIFT) - 1);
        let (Some(bits), Some(last)) = (self.got.get_mut(producer), self.last.get_mut(producer)) else {
            return Err(Fault::Unknown { message });
        };
        if let Some(after) = last.filter(|last| *last >= number) {
            return Err(Fault::OutOfOrder { producer, number, after });
        }
        *last = Some(number);
        let word = (number / WORD_BITS) as usize;
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << (number % WORD_BITS);
        Ok(())
    }

    /// For a pipe: for every producer the number of words, then the words.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = self.got.iter().flat_map(|bits| [bits.len() as u64].into_iter().chain(bits.iter().copied()));
        words.flat_map(u64::to_le_bytes).collect()
    }

    pub fn from_bytes(bytes: &[u8]) -> Ledger {
        let mut words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
        let mut got = Vec::new();
        while let Some(len) = words.next() {
            got.push(words.by_ref().take(len as usize).collect());
        }
        let last = vec![None; got.len()];
        Ledger { got, last }
    }
}

/// Checks that the consumers together got each message once, where `put` says
/// how many each producer put.
pub fn settle(put: &[u64], consumers: &[Ledger]) -> Result<(), Fault> {
    for (producer, &count) in put.iter().enumerate() {
        let mut all: Vec<u64> = Vec::new();
        for bits in consumers.iter().filter_map(|ledger| ledger.got.get(producer)) {
            all.resize(all.len().max(bits.len()), 0);
            for (word, (seen, new)) in all.iter_mut().zip(bits).enumerate() {
                if *seen & new != 0 {
                    let number = number_of(word, (*seen & new).trailing_zeros());
                    return Err(Fault::Doubled { producer, number });
                }
                *seen |= new;
            }
        }
        all.resize(all.len().max(count.div_ceil(WORD_BITS) as usize), 0);
        for (word, &seen) in all.iter().enumerate() {
            let start = word as u64 * WORD_BITS;
            let expected = match count.saturating_sub(start) {
                n if n >= WORD_BITS => u64::MAX,
                n => (1 << n) - 1,
            };
            if seen & !expected != 0 {
                let number = number_of(word, (seen & !expected).trailing_zeros());
                return Err(Fault::Invented { producer, number });
            }
            if expected & !seen != 0 {
                let number = number_of(word, (expected & !seen).trailing_zeros());
                return Err(Fault::Lost { producer, number });
            }
        }
    }
    Ok(())
}

fn number_of(word: usize, bit: u32) -> u64 {
    word as u64 * WORD_BITS + u64::from(bit)
}
