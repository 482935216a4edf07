//! Learning of a child's death at once, instead of within a slice.

use super::rescue::{Scene, tidings};
use crate::segment::{self, Segment};
use std::os::fd::AsFd;
use std::sync::Arc;

/// Has the death of a process noticed at once by all queues of this process: what it
/// left is recovered, and whoever waits for it goes on. Without this, waiting handles
/// look once in 100 ms.
///
/// `pidfd` refers to any process, usually a child (`pidfd_open`, `clone`); it is duplicated,
/// and need not be kept. The first call starts a thread that does nothing until a watched
/// process dies; it is not inherited by `fork`. Nothing is reaped, no signal is handled.
///
/// # Errors
///
/// `InvalidInput` if it is no pidfd; else what the system says to a descriptor or a thread
/// more. No panics.
///
/// ```
/// use std::os::fd::{FromRawFd, OwnedFd};
///
/// let mut child = std::process::Command::new("true").spawn()?;
/// // SAFETY: the call touches no memory; a descriptor that it returns is ours.
/// let pidfd = unsafe {
///     let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
///     assert!(fd >= 0);
///     OwnedFd::from_raw_fd(fd as i32)
/// };
/// ringway::watch(&pidfd)?;
/// child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn watch(pidfd: impl AsFd) -> std::io::Result<()> {
    segment::watch(pidfd, look_at)
}

/// The same for a child of [`Process`](crate::Process)'s; and `tell` is called when one has died.
#[cfg(feature = "serde")]
pub(crate) fn watch_child(pidfd: impl AsFd, tell: fn()) -> std::io::Result<()> {
    segment::after_deaths(tell);
    segment::watch_pidfd(pidfd.as_fd().try_clone_to_owned()?, look_at)
}

fn look_at(segment: &Arc<Segment>, own: u32) -> Option<String> {
    let (scene, proof) = (Scene::of(segment, own)?, segment.proof(own)?);
    scene.finish_close();
    tidings(scene.look(segment, &proof, own, false))
}
