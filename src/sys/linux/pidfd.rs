//! pidfds: descriptors that become readable when a process has died.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Whether a descriptor refers to a process.
pub(crate) fn is_pidfd(fd: impl AsFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()));
    info.is_ok_and(|info| info.lines().any(|line| line.starts_with("Pid:")))
}

/// What has happened to a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Nothing,
    /// It can be read; of a pidfd: the process has died.
    Readable,
    /// It is none, or its other end is gone.
    Gone,
}

/// Waits until something happens to the descriptor, without taking memory for it.
#[cfg(feature = "serde")]
pub(crate) fn wait_for(fd: BorrowedFd<'_>) -> io::Result<Event> {
    let mut polled = [PollFd::new(fd, PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::NONE) {
        Ok(_) => {}
        Err(nix::errno::Errno::EINTR) => return Ok(Event::Nothing),
        Err(error) => return Err(error.into()),
    }
    Ok(polled.first().map_or(Event::Nothing, event))
}

fn event(fd: &PollFd<'_>) -> Event {
    match fd.revents() {
        Some(flags) if flags.is_empty() => Event::Nothing,
        Some(flags) if flags.contains(PollFlags::POLLIN) => Event::Readable,
        _ => Event::Gone,
    }
}

/// Waits until something happens to one of the descriptors, or `milliseconds` are over.
/// A signal ends the wait early, with nothing.
pub(crate) fn wait_for_any(fds: &[BorrowedFd<'_>], milliseconds: Option<u16>) -> io::Result<Vec<Event>> {
    let mut polled: Vec<PollFd<'_>> = fds.iter().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
    let timeout = milliseconds.map_or(PollTimeout::NONE, PollTimeout::from);
    match poll(&mut polled, timeout) {
        Ok(_) => {}
        Err(nix::errno::Errno::EINTR) => return Ok(vec![Event::Nothing; fds.len()]),
        Err(error) => return Err(error.into()),
    }
    Ok(polled.iter().map(event).collect())
}
