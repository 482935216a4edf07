//! Negative controls: a sending end that does one thing wrong, once. Whoever
//! measures must notice.

use super::{Failure, Put};
use crate::payload::{END, Payload, sequence, source, word};
use serde::{Deserialize, Serialize};

/// What goes wrong with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    Drop,
    Repeat,
    Swap,
    Tear,
}

impl Fault {
    pub const ALL: [Fault; 4] = [Fault::Drop, Fault::Repeat, Fault::Swap, Fault::Tear];
}

pub struct Faulty<P> {
    pub inner: P,
    pub fault: Fault,
    /// The sequence number of the message that suffers.
    pub victim: u64,
}

impl<T: Payload, P: Put<T>> Put<T> for Faulty<P> {
    fn put(&mut self, value: T) -> Result<(), Failure> {
        let this = value.word();
        if this & END != 0 || sequence(this) != self.victim {
            // The swapped neighbour has gone already.
            let swapped = self.fault == Fault::Swap && this & END == 0 && sequence(this) == self.victim + 1;
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
        }
    }
}

fn flip_last(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(last) = bytes.last_mut() {
        *last ^= 0x40;
    }
    bytes
}
