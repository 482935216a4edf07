//! The buffers of those who carry bytes: what a sender hands over, and what a receiver was given.

use super::Failure;
use crate::job::Job;
use crate::payload::{fill, is_filled};

const WORD: usize = size_of::<u64>();

/// Made anew for each message.
pub struct Outgoing {
    buffer: Vec<u8>,
    whole: bool,
    torn: bool,
}

impl Outgoing {
    pub fn new(job: &Job) -> Outgoing {
        // Where only the ends are written, the pages between them are there all the same.
        Outgoing { buffer: vec![7; job.bytes], whole: job.whole, torn: false }
    }

    /// A negative control: one byte in the middle of the next message is wrong.
    pub fn tear(&mut self) {
        self.torn = true;
    }

    /// The message of that word.
    #[inline(always)]
    pub fn message(&mut self, word: u64) -> &[u8] {
        let len = self.buffer.len();
        if self.whole {
            fill(&mut self.buffer, 0, word);
        } else {
            self.buffer[..WORD].copy_from_slice(&word.to_ne_bytes());
            self.buffer[len - WORD..].copy_from_slice(&word.to_ne_bytes());
        }
        if std::mem::take(&mut self.torn) {
            self.buffer[len / 2] ^= 0x40;
        }
        &self.buffer
    }
}

/// Where a message is copied to.
pub struct Incoming {
    pub buffer: Vec<u8>,
    whole: bool,
}

impl Incoming {
    pub fn new(job: &Job) -> Incoming {
        Incoming { buffer: vec![0; job.bytes], whole: job.whole }
    }

    /// The word of the message in the buffer.
    #[inline(always)]
    pub fn word(&self) -> Result<u64, Failure> {
        self.word_of(&self.buffer)
    }

    /// The same of one that lies elsewhere.
    #[inline(always)]
    pub fn word_of(&self, message: &[u8]) -> Result<u64, Failure> {
        let len = self.buffer.len();
        let at = |at: usize| message.get(at..at + WORD)?.try_into().ok().map(u64::from_ne_bytes);
        let (Some(first), Some(last)) = (at(0), at(len - WORD)) else { return Err(torn()) };
        let sound = if self.whole { is_filled(message, 0, first) } else { first == last };
        if sound && message.len() == len { Ok(first) } else { Err(torn()) }
    }
}

#[cold]
pub fn torn() -> Failure {
    Failure::new("a message that is cut or torn")
}
