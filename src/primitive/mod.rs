//! What a model checker replaces: atomics, cells, fences, the spin hint and the
//! futex word.
//!
//! `ring` and `wait` reach memory and time only through this module, so that
//! the same code runs over a mapping and under loom. It must not know what a
//! ring, a queue or a segment is.

mod block;
#[cfg(not(loom))]
mod bulk;
mod cell;
#[cfg(loom)]
pub(crate) mod crash;
mod fence;
mod futex;
mod payload;
mod seed;
#[cfg(not(loom))]
mod words;

pub use block::BlockMemory;
pub(crate) use block::BlockShape;
pub use cell::{ArenaMemory, SlotMemory};
pub(crate) use cell::{Line, STAMP_SIZE};
pub(crate) use fence::{Fences, heavy_barrier, light_barrier};
pub(crate) use futex::FutexWord;
#[cfg(not(loom))]
pub(crate) use futex::wait_any;
pub(crate) use payload::HEAD_SIZE;
pub use payload::Payload;
pub(crate) use seed::seeded;
#[cfg(all(test, loom))]
pub(crate) use seed::with_seed;

// Time and the processor, for the layers above.
pub(crate) use crate::sys::clock::{coarse_now_ns, now_ns};
pub(crate) use crate::sys::cpu::{adopting_pays, online as processors_online, prefetching_pays, yield_now};

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
#[cfg(loom)]
pub(crate) use crash::{AtomicU32, AtomicU64};
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{Ordering, fence};

/// Tells the processor (or the model checker) that this thread only waits.
#[inline(always)]
pub(crate) fn spin_hint() {
    #[cfg(not(loom))]
    core::hint::spin_loop();
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Steps back after a lost exchange, longer each time: the winner then does
/// several operations while it has the line, instead of losing it to every
/// loser's next attempt. (Exponential back-off: T. Anderson, IEEE TPDS 1990.)
pub(crate) struct Backoff {
    step: u32,
    spent: u32,
}

impl Backoff {
    /// The longest wait is two to this power of spin hints: some microseconds.
    const LAST_STEP: u32 = 8;

    /// All waits together, in spin hints: half a millisecond, seventy lost exchanges.
    const BUDGET: u32 = 1 << 14;

    pub(crate) const fn new() -> Backoff {
        Backoff { step: 0, spent: 0 }
    }

    pub(crate) fn lost(&mut self) {
        let hints = if cfg!(loom) { 1 } else { 1 << self.step };
        for _ in 0..hints {
            spin_hint();
        }
        self.spent += hints;
        self.step = (self.step + 1).min(Backoff::LAST_STEP);
    }

    /// Whoever loses for so long loses to no fair competitor: time to look at the
    /// deadline.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent >= Backoff::BUDGET
    }
}
