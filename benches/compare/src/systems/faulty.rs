//! Negative controls: an end that does something wrong. Whoever measures must notice.

use super::{Failure, Put, Take};
use crate::payload::{END, Payload, sequence, source, word};
use serde::{Deserialize, Serialize};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// One message is lost.
    Drop,
    /// One comes twice.
    Repeat,
    /// One comes before the one before it.
    Swap,
    /// Of one the last byte is wrong.
    Tear,
    /// Of one a byte in the middle is wrong, where messages are bytes.
    Scratch,
    /// One message in a million is lost.
    Rare,
    /// What found no room counts as sent.
    FailedPuts,
    /// What found nothing counts as received.
    EmptyPolls,
}

impl Fault {
    /// Those that any system can have.
    pub const ALL: [Fault; 4] = [Fault::Drop, Fault::Repeat, Fault::Swap, Fault::Tear];

    pub fn is_the_receivers(self) -> bool {
        self == Fault::EmptyPolls
    }
}

/// How rare is rare.
const MILLION: u64 = 1_000_000;

pub struct Faulty<P, T> {
    pub inner: P,
    pub fault: Fault,
    /// The sequence number of the message that suffers.
    pub victim: u64,
    pub last: Option<T>,
}

impl<T: Payload, P: Put<T>> Put<T> for Faulty<P, T> {
    fn put(&mut self, value: T) -> Result<(), Failure> {
        let this = value.word();
        let is_end = this & END != 0;
        match self.fault {
            Fault::Rare if !is_end && sequence(this) % MILLION == MILLION - 1 => return Ok(()),
            Fault::FailedPuts if !is_end => return self.inner.try_put(value).map(|_| ()),
            Fault::Rare | Fault::FailedPuts => return self.inner.put(value),
            _ => {}
        }
        if is_end || sequence(this) != self.victim {
            // The swapped neighbour has gone already.
            let swapped = self.fault == Fault::Swap && !is_end && sequence(this) == self.victim + 1;
            return if swapped { Ok(()) } else { self.inner.put(value) };
        }
        match self.fault {
            Fault::Drop => Ok(()),
            Fault::Repeat => {
                self.inner.put(value)?;
                self.inner.put(value)
            }
            Fault::Swap => {
                self.inner.put(T::of(word(source(this), self.victim + 1)))?;
                self.inner.put(value)
            }
            Fault::Tear => {
                let mut torn = value;
                let bytes = bytemuck::bytes_of(&value).to_vec();
                if let Ok(other) = bytemuck::checked::try_pod_read_unaligned::<T>(&flip_last(bytes)) {
                    torn = other;
                }
                self.inner.put(torn)
            }
            Fault::Scratch => {
                self.inner.tear();
                self.inner.put(value)
            }
            Fault::Rare | Fault::FailedPuts | Fault::EmptyPolls => self.inner.put(value),
        }
    }

    fn give_up(&mut self) {
        self.inner.give_up();
    }
}

impl<T: Payload, C: Take<T>> Take<T> for Faulty<C, T> {
    fn take(&mut self) -> Result<T, Failure> {
        let last = match self.last {
            // It gives what it gave before: as whoever counts calls, not messages.
            Some(last) if self.fault == Fault::EmptyPolls => self.inner.try_take()?.unwrap_or(last),
            _ => self.inner.take()?,
        };
        self.last = Some(last);
        Ok(last)
    }

    fn give_up(&mut self) {
        self.inner.give_up();
    }
}

fn flip_last(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x40;
    }
    bytes
}
