//! The Linux backend. Knows files, locks and words; nothing of queues.

pub(crate) mod clock;
pub(crate) mod cpu;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod lock;
pub(crate) mod look;
pub(crate) mod mem;
pub(crate) mod membarrier;
pub(crate) mod passing;
pub(crate) mod pidfd;
pub(crate) mod shm;
pub(crate) mod sigbus;
pub(crate) mod socket;
#[cfg(all(feature = "async", not(loom)))]
pub(crate) mod uring;
