//! Nothing lost, nothing twice, nothing out of order, nothing torn.
//!
//! One sender and one receiver: each message must be the very next one. Several:
//! each receiver must see each sender's messages in rising order, and at the end
//! the counts, sums and sums of squares over all receivers must be those of 0, 1,
//! ..., n - 1 for every sender.

use crate::payload::{END, Payload, sequence, source};
use crate::systems::Failure;
use serde::{Deserialize, Serialize};

/// What one receiver got from one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub count: u64,
    sum: u64,
    squares: u64,
    /// The lowest sequence number that may come next.
    next: u64,
}

impl Stream {
    /// The messages 0, 1, ..., `count` - 1, modulo 2^64.
    pub fn complete(count: u64) -> Stream {
        let n = u128::from(count);
        let last = n.saturating_sub(1);
        let sum = (last * n / 2) as u64;
        Stream { count, sum, squares: (last * n * (2 * n).saturating_sub(1) / 6) as u64, next: count }
    }

    #[inline(always)]
    fn add(&mut self, sequence: u64) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(sequence);
        self.squares = self.squares.wrapping_add(sequence.wrapping_mul(sequence));
        self.next = sequence + 1;
    }

    fn merge(&mut self, other: &Stream) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
        self.squares = self.squares.wrapping_add(other.squares);
        self.next = self.next.max(other.next);
    }
}

/// What one receiver got, by sender.
#[derive(Debug)]
pub struct Tally(Vec<Stream>);

impl Tally {
    pub fn new(senders: usize) -> Tally {
        Tally(vec![Stream::default(); senders])
    }

    pub fn into_streams(self) -> Vec<Stream> {
        self.0
    }

    /// Counts a message. True: it was a sender's last.
    #[inline(always)]
    pub fn take<T: Payload>(&mut self, message: &T) -> Result<bool, Failure> {
        let word = message.word();
        if !message.is(word) {
            return Err(torn(word));
        }
        let Some(stream) = self.0.get_mut(source(word)) else { return Err(torn(word)) };
        if word & END != 0 {
            return Ok(true);
        }
        if sequence(word) < stream.next {
            return Err(disorder(stream.next, word));
        }
        stream.add(sequence(word));
        Ok(false)
    }
}

/// One sender, one receiver: the message must be number `next`, or the end after
/// exactly so many. True: it was the end.
#[inline(always)]
pub fn take_next<T: Payload>(next: u64, message: &T) -> Result<bool, Failure> {
    if message.is(next) { Ok(false) } else { end_or_error(next, message) }
}

#[cold]
#[inline(never)]
fn end_or_error<T: Payload>(next: u64, message: &T) -> Result<bool, Failure> {
    let word = message.word();
    if !message.is(word) {
        return Err(torn(word));
    }
    if word == next | END { Ok(true) } else { Err(disorder(next, word)) }
}

#[cold]
fn torn(word: u64) -> Failure {
    Failure::new(format!("a message that nobody sent, its first word is {word:#x}"))
}

#[cold]
fn disorder(next: u64, word: u64) -> Failure {
    let what = if word & END == 0 { "message" } else { "the end after" };
    Failure::new(format!("expected message {next}, found {what} {}: lost, repeated or out of order", sequence(word)))
}

/// All that was sent has arrived, once. Returns how many messages that were.
pub fn all_arrived(sent: &[u64], received: &[Vec<Stream>]) -> Result<u64, Failure> {
    for (sender, &count) in sent.iter().enumerate() {
        let mut all = Stream::default();
        for receiver in received {
            all.merge(receiver.get(sender).unwrap_or(&Stream::default()));
        }
        let expected = Stream::complete(count);
        if all.count != count {
            return Err(Failure::new(format!("sender {sender} sent {count} messages, {} arrived", all.count)));
        }
        if all != expected {
            return Err(Failure::new(format!("of sender {sender}'s {count} messages some are lost, others repeated")));
        }
    }
    Ok(sent.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::word;

    fn receive(words: &[u64]) -> Result<Vec<Stream>, Failure> {
        let mut tally = Tally::new(2);
        for &word in words {
            tally.take(&<[u64; 7]>::of(word))?;
        }
        Ok(tally.into_streams())
    }

    #[test]
    fn closed_forms() {
        for count in 0..100 {
            let words: Vec<u64> = (0..count).map(|n| word(1, n)).collect();
            assert_eq!(receive(&words).unwrap()[1], Stream::complete(count));
        }
    }

    #[test]
    fn all_is_well_over_two_receivers() {
        let one = receive(&[word(0, 0), word(1, 0), word(0, 2)]).unwrap();
        let two = receive(&[word(1, 1), word(0, 1)]).unwrap();
        assert_eq!(all_arrived(&[3, 2], &[one, two]).unwrap(), 5);
    }

    #[test]
    fn loss_repetition_and_both_at_once_are_seen() {
        let one = receive(&[word(0, 0), word(0, 2)]).unwrap();
        assert!(all_arrived(&[3, 0], std::slice::from_ref(&one)).is_err(), "lost");
        assert!(all_arrived(&[2, 0], &[receive(&[0, 1]).unwrap(), receive(&[1]).unwrap()]).is_err(), "repeated");
        // 1 and 2 are missing, 0 and 3 came twice: count and sum agree.
        let other = receive(&[0, 3]).unwrap();
        assert!(all_arrived(&[4, 0], &[receive(&[0, 3]).unwrap(), other]).is_err(), "lost and repeated");
    }

    #[test]
    fn disorder_and_tearing_are_seen_at_once() {
        assert!(receive(&[0, 2, 1]).is_err());
        assert!(receive(&[0, 0]).is_err());
        let mut message = <[u64; 7]>::of(0);
        message[6] ^= 1;
        assert!(Tally::new(1).take(&message).is_err());
        assert!(take_next(0, &message).is_err());
        assert!(take_next(5, &u64::of(6)).is_err());
        assert!(take_next(5, &u64::of(END | 6)).is_err());
        assert!(take_next(5, &u64::of(END | 5)).unwrap());
    }
}
