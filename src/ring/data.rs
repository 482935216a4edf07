//! The private side of a payload copy.
//!
//! Between a claim and its publication or commit there is no user code, no
//! allocation and nothing that panics: what a message needs is prepared before
//! (`Source`) and judged after (`Sink`).

#![allow(unsafe_code)]

use super::Ring;
use super::arena::Taken;
use super::position::Position;
use crate::primitive::{BlockMemory, Payload, SlotMemory};

/// A message ready to be copied into a slot.
pub(crate) trait Source {
    /// The slots as this kind of message sees them: where the stride is known at
    /// compile time, the hot path does not multiply.
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        slots
    }

    /// The same for blocks.
    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        blocks
    }

    /// The first word of the message, if it has one that can be stored along with
    /// a claim.
    #[inline(always)]
    fn first_word(&self) -> Option<u64> {
        None
    }

    /// The message will be written to `position` next.
    #[inline(always)]
    fn place(&self, _ring: &Ring<'_>, _position: Position) {}

    /// Writes the message, but for its first `skip` bytes: 0, or 8 where
    /// `first_word` gave some.
    ///
    /// # Safety
    ///
    /// The message fits the payload.
    unsafe fn write(&self, payload: Payload, skip: usize);
}

impl<S: Source> Source for &S {
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        S::slots(slots)
    }

    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        S::blocks(blocks)
    }

    #[inline(always)]
    fn first_word(&self) -> Option<u64> {
        S::first_word(self)
    }

    #[inline(always)]
    fn place(&self, ring: &Ring<'_>, position: Position) {
        S::place(self, ring, position);
    }

    #[inline(always)]
    unsafe fn write(&self, payload: Payload, skip: usize) {
        // SAFETY: the same contract.
        unsafe { S::write(self, payload, skip) }
    }
}

/// Private memory ready to take a message out of a slot.
pub(crate) trait Sink {
    /// As [`Source::slots`].
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        slots
    }

    /// As [`Source::blocks`].
    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        blocks
    }

    /// Copies the payload of message `at` of this call, counted from 0, into `self`.
    /// Says how many of its bytes it looked at.
    ///
    /// # Safety
    ///
    /// `self` was made for payloads of this room, and for more than `at` messages.
    unsafe fn read(&mut self, at: u64, payload: Payload) -> usize;

    /// Message `at`, which was just read, is the one of `position`, whose readers have
    /// died `count` times. Called before its slot is released.
    #[inline(always)]
    fn keep(&mut self, _ring: &Ring<'_>, _at: u64, _position: Position, _count: u32) {}

    /// The block of the arena in which message `at`, which was just read, lies, if the
    /// slot has only said so.
    #[inline(always)]
    fn block(&mut self, _at: u64) -> Option<u32> {
        None
    }

    /// Message `at` lies in this block, which is this participant's now. None: it does not
    /// lie anywhere any more.
    #[inline(always)]
    fn found(&mut self, _at: u64, _taken: Option<Taken>) {}

    /// Whether the one message that was read was a husk.
    #[inline(always)]
    fn is_husk(&self) -> bool {
        false
    }
}
