//! The opt-in guard against files that are cut.

use crate::sys::sigbus;

/// Turns the truncation of a *named* queue's file by another process into `Corrupt`.
///
/// Whoever may write a named queue's file may also cut it, and the kernel then sends
/// SIGBUS to every process that touches what is gone; by default that ends the process.
/// After this call, operations on such a queue end in `Corrupt`: those that wait, within a
/// tenth of a second. A message that is just being copied may come out with zeros in it,
/// as if the peer had written them; nothing is read or written out of bounds.
///
/// It installs a handler for SIGBUS, for the whole process and for good. Faults elsewhere go
/// to the handler that was installed before; install others first, or have them chain
/// likewise. Calling it again does nothing. Anonymous queues need none of it: their
/// files are sealed and cannot be cut.
///
/// # Errors
///
/// Whatever the system says to `sigaction`; it has no reason to.
///
/// ```
/// ringway::sigbus_guard()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sigbus_guard() -> std::io::Result<()> {
    sigbus::install()
}
