//! What can be done with a child through its pidfd, which means that process and no other.

#![allow(unsafe_code)]

use super::pidfd::{Event, wait_for_any};
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// A pidfd for this process.
pub(crate) fn of_this_process() -> io::Result<OwnedFd> {
    // SAFETY: touches no memory; the descriptor is made for us.
    unsafe {
        match libc::syscall(libc::SYS_pidfd_open, libc::getpid(), 0) {
            fd if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd as libc::c_int)),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// How a child has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    Exited(i32),
    Signaled(i32),
    /// Somebody else has reaped it, or the system did (SIGCHLD is ignored).
    Unknown,
    /// It is no child of this process.
    Foreign,
}

/// How the child has ended, once: the kernel forgets it then. None: it has not.
///
/// Of a child that lives nothing is asked: where this process traces it, the kernel would take that for
/// the question why it has stopped, and answer only once.
pub(crate) fn reap(pidfd: impl AsFd, wait: bool) -> io::Result<Option<Ended>> {
    let pidfd = pidfd.as_fd();
    if !wait && !has_died(pidfd)? {
        return Ok(None);
    }
    let flags = libc::WEXITED | if wait { 0 } else { libc::WNOHANG };
    loop {
        // SAFETY: plain data, which the kernel fills in.
        let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
        // SAFETY: writes to the local.
        let result = unsafe { libc::waitid(libc::P_PIDFD, pidfd.as_raw_fd() as u32, &raw mut info, flags) };
        if result == 0 {
            // SAFETY: the kernel has filled in what belongs to a child; zeros if it has not.
            let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
            return Ok((pid != 0).then_some(match info.si_code {
                libc::CLD_EXITED => Ended::Exited(status),
                libc::CLD_KILLED | libc::CLD_DUMPED => Ended::Signaled(status),
                _ => return Ok(None),
            }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::ECHILD) => return Ok(Some(if has_died(pidfd)? { Ended::Unknown } else { Ended::Foreign })),
            _ => return Err(error),
        }
    }
}

/// Whether the process has died.
pub(crate) fn has_died(pidfd: impl AsFd) -> io::Result<bool> {
    Ok(wait_for_any(&[pidfd.as_fd()], Some(0))?.first() == Some(&Event::Readable))
}

/// Sends a signal to the process. False: it has ended.
pub(crate) fn signal(pidfd: impl AsFd, signal: i32) -> io::Result<bool> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, none, 0) } {
        0 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
            error => Err(error),
        },
    }
}
