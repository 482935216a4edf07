//! The asymmetric fence: one side pays so that the other does not.
//!
//! A waker stores a message and then loads `armed`; a sleeper stores `armed`
//! and then looks for a message. One of the two must see the other, which needs
//! a full fence on both sides (Dekker). A full fence in every `put` costs up to
//! six times the throughput, so the waker has only a compiler fence
//! ([`light_barrier`]) and the sleeper makes the kernel run a full fence on
//! every processor that runs a registered process ([`heavy_barrier`], Linux
//! `membarrier(2)`). Where that is not to be had, both sides use a real fence
//! ([`Fences::Symmetric`]), and loom always checks that form.

#[cfg(not(loom))]
use crate::sys;

/// Which of the two forms this handle uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fences {
    /// The light side compiles to nothing; the heavy side is a system call.
    Asymmetric,
    /// Both sides are full fences.
    Symmetric,
    /// A full fence on the light side, for others; but the light sides of others,
    /// which compile to nothing, are out of reach: this process cannot call
    /// membarrier, and those who made the segment can.
    #[cfg(not(loom))]
    Blind,
}

impl Fences {
    /// The form that this process can use in a segment whose participants all use
    /// full fences, or do not. Registers it: before the first operation, or sleepers
    /// elsewhere would not reach it.
    #[cfg(not(loom))]
    pub(crate) fn of_this_process(all_symmetric: bool) -> Fences {
        match sys::membarrier::register() {
            _ if all_symmetric => Fences::Symmetric,
            true => Fences::Asymmetric,
            false => Fences::Blind,
        }
    }
}

/// The side that runs on every operation.
#[inline(always)]
pub(crate) fn light_barrier(fences: Fences) {
    match fences {
        #[cfg(not(loom))]
        Fences::Asymmetric => core::sync::atomic::compiler_fence(super::Ordering::SeqCst),
        _ => super::fence(super::Ordering::SeqCst),
    }
}

/// The side that runs before a sleep and before `Closed` is believed.
///
/// Returns false when the light side of other processes cannot be reached: the
/// caller then bounds its sleeps to a millisecond.
#[cold]
pub(crate) fn heavy_barrier(fences: Fences) -> bool {
    super::fence(super::Ordering::SeqCst);
    match fences {
        #[cfg(not(loom))]
        Fences::Asymmetric => sys::membarrier::barrier(),
        #[cfg(not(loom))]
        Fences::Blind => false,
        _ => true,
    }
}
