//! The words by which one side asks for the other's attention.

use crate::primitive::{AtomicU32, AtomicU64, Fences, FutexWord, Ordering, light_barrier};

/// What the *other* side reads after each of its operations, in one line of its
/// own: producers read the line of the consumers that may sleep, and the other
/// way round. Both lines stay shared in every cache while nobody sleeps.
///
/// `armed` is a request, not a count: not zero means "somebody may be asleep
/// on `epoch`". The kernel's queue is the list of sleepers, so a dead one
/// leaves nothing to repair.
#[repr(C)]
pub(crate) struct Attention {
    /// Not zero: the queue is closed (a copy; for `Single` producers the truth).
    pub(crate) closed: AtomicU32,
    armed: AtomicU32,
    epoch: FutexWord,
    _reserved: AtomicU32,
    /// Raised when a redelivery was put back; a hint.
    pub(crate) back_epoch: AtomicU64,
}

impl Attention {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Attention {
            closed: AtomicU32::new(0),
            armed: AtomicU32::new(0),
            epoch: FutexWord::new(),
            _reserved: AtomicU32::new(0),
            back_epoch: AtomicU64::new(0),
        }
    }

    /// W1. After a publication: is anybody to be woken? One relaxed load where
    /// the sleepers make the heavy fence.
    #[inline(always)]
    pub(crate) fn wanted(&self, fences: Fences) -> bool {
        light_barrier(fences);
        self.armed.load(Ordering::Relaxed) != 0
    }

    /// W1, and whether the queue was closed: the two words of this line that matter
    /// after an operation, in one question.
    #[inline(always)]
    pub(crate) fn stirred(&self, fences: Fences) -> bool {
        light_barrier(fences);
        (self.armed.load(Ordering::Relaxed) | self.closed.load(Ordering::Relaxed)) != 0
    }

    /// W2 to W4. Wakes at most `count` sleepers.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake(&self, count: u32) {
        let armed = self.armed.load(Ordering::Relaxed);
        // Pair EPOCH: what was published before this is seen by a sleeper that
        // finds the epoch moved.
        self.epoch.bump(Ordering::Release);
        if self.epoch.wake(count.max(1)) == 0 && armed != 0 {
            // Nobody was asleep. A sleeper that armed since makes this fail; one
            // that armed before and is not yet asleep sees the new epoch.
            let _ = self.armed.compare_exchange(armed, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Wakes everybody: after a close, a recovery, a redelivery.
    #[cold]
    pub(crate) fn wake_all(&self) {
        self.wake(i32::MAX as u32);
    }

    /// S1. The epoch to sleep on, read before everything else.
    #[inline]
    pub(super) fn epoch(&self) -> u32 {
        // Pair EPOCH.
        self.epoch.load(Ordering::Acquire)
    }

    /// S2. Asks to be woken. Never leaves zero behind.
    pub(super) fn arm(&self) {
        if self.armed.fetch_add(1, Ordering::Relaxed) == u32::MAX {
            self.armed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A seeded bug for the models: S1, S2, S4, S5 without S3.
    #[cfg(all(test, loom))]
    pub(crate) fn sleep_without_fence(&self, ready: impl Fn() -> bool) {
        let epoch = self.epoch();
        self.arm();
        if !ready() {
            self.sleep(epoch, u64::MAX);
        }
    }

    /// S5.
    pub(super) fn sleep(&self, epoch: u32, until_ns: u64) {
        self.epoch.wait(epoch, until_ns);
    }
}
