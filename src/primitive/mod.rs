//! What a model checker replaces: atomics, cells, fences, the spin hint and the
//! futex word.
//!
//! `ring` and `wait` reach memory and time only through this module, so that
//! the same code runs over a mapping and under loom. It must not know what a
//! ring, a queue or a segment is.

mod cell;
mod fence;
mod futex;

pub use cell::SlotMemory;
pub(crate) use cell::{Line, STAMP_SIZE};
pub(crate) use fence::{Fences, heavy_barrier, light_barrier};
pub(crate) use futex::FutexWord;

// Time and the processor, for the layers above.
pub(crate) use crate::sys::clock::now_ns;
pub(crate) use crate::sys::cpu::{online as processors_online, prefetching_pays, yield_now};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

/// Tells the processor (or the model checker) that this thread only waits.
#[inline(always)]
pub(crate) fn spin_hint() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}
