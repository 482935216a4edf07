//! The private side of a payload copy.
//!
//! Between a claim and its publication or commit there is no user code, no
//! allocation and nothing that panics: what a message needs is prepared before
//! (`Source`) and judged after (`Sink`).

#![allow(unsafe_code)]

use crate::primitive::SlotMemory;

/// A message ready to be copied into a slot.
pub(crate) trait Source {
    /// Writes the message into the payload of slot `index`.
    ///
    /// # Safety
    ///
    /// `index < slots.count()`, and the message fits `slots.room()`.
    unsafe fn write(&self, slots: SlotMemory, index: usize);
}

impl<S: Source> Source for &S {
    #[inline(always)]
    unsafe fn write(&self, slots: SlotMemory, index: usize) {
        // SAFETY: the same contract.
        unsafe { S::write(self, slots, index) }
    }
}

/// Private memory ready to take a message out of a slot.
pub(crate) trait Sink {
    /// Copies the payload of slot `index` into `self`.
    ///
    /// # Safety
    ///
    /// `index < slots.count()`, and `self` was made for slots of this room.
    unsafe fn read(&mut self, slots: SlotMemory, index: usize);
}
