//! membarrier(2), the expedited form that crosses processes.
//!
//! It is the *waker's* process that must be registered; every attach registers,
//! before its first operation. An exec forgets the registration and the
//! attachment alike.

#![allow(unsafe_code)]

use std::sync::OnceLock;

const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

fn call(command: libc::c_int) -> bool {
    // SAFETY: membarrier takes no pointers.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0u32, 0) == 0 }
}

/// Registers this process as one whose processors others may fence. A forked
/// child inherits the registration. False: not to be had (seccomp, old kernel).
pub(crate) fn register() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| call(REGISTER_GLOBAL_EXPEDITED))
}

/// A full fence on every processor that runs a thread of a registered process.
pub(crate) fn barrier() -> bool {
    call(GLOBAL_EXPEDITED)
}
