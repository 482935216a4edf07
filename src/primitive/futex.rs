//! The futex word.

use super::Ordering;

/// A 32-bit word in shared memory that processes can sleep on.
#[cfg(not(loom))]
#[repr(transparent)]
pub(crate) struct FutexWord(super::AtomicU32);

#[cfg(not(loom))]
impl FutexWord {
    #[inline]
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    #[inline]
    pub(crate) fn bump(&self, order: Ordering) {
        self.0.fetch_add(1, order);
    }

    /// Sleeps while the word reads `expected`, until `until_ns` (CLOCK_MONOTONIC).
    pub(crate) fn wait(&self, expected: u32, until_ns: u64) {
        crate::sys::futex::wait(&self.0, expected, until_ns);
    }

    /// Wakes at most `count` sleepers; says how many there were.
    pub(crate) fn wake(&self, count: u32) -> u32 {
        crate::sys::futex::wake(&self.0, count)
    }

    /// The word itself, for those who have the kernel watch it.
    pub(crate) fn word(&self) -> &super::AtomicU32 {
        &self.0
    }
}

/// Sleeps while every word reads what is expected of it, until `until_ns`; of more than 128
/// the rest is not waited for. False: the system cannot.
#[cfg(not(loom))]
pub(crate) fn wait_any<'w>(words: impl Iterator<Item = (&'w FutexWord, u32)>, until_ns: u64) -> bool {
    crate::sys::futex::wait_any(words.map(|(word, expected)| (word.word(), expected)), until_ns)
}

/// The same for loom: the kernel's hash bucket is a mutex that counts sleepers.
/// No time passes in a model, so a wait never times out.
#[cfg(loom)]
pub(crate) struct FutexWord {
    value: super::AtomicU32,
    sleepers: loom::sync::Mutex<u32>,
    wakeup: loom::sync::Condvar,
}

#[cfg(loom)]
impl FutexWord {
    pub(crate) fn new() -> Self {
        FutexWord {
            value: super::AtomicU32::new(0),
            sleepers: loom::sync::Mutex::new(0),
            wakeup: loom::sync::Condvar::new(),
        }
    }

    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.value.load(order)
    }

    pub(crate) fn bump(&self, order: Ordering) {
        self.value.fetch_add(1, order);
    }

    pub(crate) fn wait(&self, expected: u32, _until_ns: u64) {
        let mut sleepers = self.sleepers.lock().unwrap();
        if self.value.load(Ordering::Acquire) == expected {
            *sleepers += 1;
            drop(self.wakeup.wait(sleepers).unwrap());
        }
    }

    pub(crate) fn wake(&self, count: u32) -> u32 {
        let mut sleepers = self.sleepers.lock().unwrap();
        let woken = count.min(*sleepers);
        *sleepers -= woken;
        for _ in 0..woken {
            self.wakeup.notify_one();
        }
        woken
    }
}
