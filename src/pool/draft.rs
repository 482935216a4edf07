//! The message of a job while it is written: on the stack, unless it is long.

use super::error::{JobError, JobFailure};
use super::ledger::TASK_HEAD;
use postcard::ser_flavors::Flavor;
use serde::Serialize;

/// A longer message is on the heap. So many bytes have room in a slot.
const SHORT: usize = 56;

/// Room for the head, then the arguments.
pub(super) struct Draft {
    short: [u8; SHORT],
    len: usize,
    /// All of it, if it is long.
    long: Vec<u8>,
}

impl Draft {
    pub(super) fn new() -> Draft {
        Draft { short: [0; SHORT], len: TASK_HEAD, long: Vec::new() }
    }

    /// Once.
    pub(super) fn write(&mut self, arguments: &impl Serialize) -> Result<(), JobError> {
        postcard::serialize_with_flavor(arguments, self)
            .map_err(|error| JobFailure::ArgumentsUnencodable { reason: error.to_string() }.into())
    }

    pub(super) fn message(&mut self) -> &mut [u8] {
        if self.long.is_empty() { &mut self.short[..self.len] } else { &mut self.long }
    }

    #[cold]
    fn grow(&mut self, more: &[u8]) {
        if self.long.is_empty() {
            self.long.reserve(2 * SHORT + more.len());
            self.long.extend_from_slice(&self.short[..self.len]);
        }
        self.long.extend_from_slice(more);
    }
}

impl Flavor for &mut Draft {
    type Output = ();

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        let end = self.len + bytes.len();
        match self.short.get_mut(self.len..end) {
            Some(room) if self.long.is_empty() => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            _ => self.grow(bytes),
        }
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_however_long_it_is() {
        for len in (0..3 * SHORT).chain([10_000]) {
            let arguments = ("x".repeat(len), vec![7_u8; len], len as u64);
            let mut draft = Draft::new();
            draft.write(&arguments).expect("it can be encoded");
            let expected = postcard::to_extend(&arguments, vec![0; TASK_HEAD]).expect("it can be encoded");
            assert_eq!(draft.message(), expected, "{len}");
        }
    }
}
