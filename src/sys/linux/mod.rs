//! The Linux backend. Knows files, locks and words; nothing of queues.

#[cfg(all(feature = "serde", not(loom)))]
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod fork;
pub(crate) mod futex;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) mod image;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) mod letter;
pub(crate) mod lock;
pub(crate) mod look;
pub(crate) mod mem;
pub(crate) mod membarrier;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) mod own;
pub(crate) mod passing;
pub(crate) mod pidfd;
pub(crate) mod shm;
pub(crate) mod sigbus;
pub(crate) mod signals;
pub(crate) mod socket;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) mod spawn;
#[cfg(all(feature = "async", not(loom)))]
pub(crate) mod uring;
#[cfg(all(feature = "serde", not(loom)))]
pub(crate) mod words;
