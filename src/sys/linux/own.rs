//! What a process does to itself.

#![allow(unsafe_code)]

use super::shm::FIRST_NUMBER;
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

/// Has `function` called when the process exits normally: after `main`, or in `exit`.
pub(crate) fn at_exit(function: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the function is there as long as the program; it needs no more than any other
    // code of the process, whose threads may still run.
    match unsafe { libc::atexit(function) } {
        0 => Ok(()),
        _ => Err(io::ErrorKind::OutOfMemory.into()),
    }
}

/// What `ps` and `top` show, cut off after 15 bytes.
pub(crate) fn set_name(name: &str) {
    if let Ok(name) = CString::new(name) {
        // SAFETY: a string that ends in NUL, of which the kernel copies at most 16 bytes.
        unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
    }
}

/// Lowers the priority by so much; less than 0 raises it, for which a process needs a right.
pub(crate) fn be_nicer(by: i32) -> io::Result<()> {
    // SAFETY: neither touches memory. -1 may be a priority: the error number says.
    unsafe {
        *libc::__errno_location() = 0;
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        if now == -1 && *libc::__errno_location() != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::setpriority(libc::PRIO_PROCESS, 0, now.saturating_add(by)) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// From now on this process runs on these processors only.
pub(crate) fn run_on(processors: &[usize]) -> io::Result<()> {
    // SAFETY: an array of bits, for which zeros are valid.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    for &processor in processors {
        if processor >= libc::CPU_SETSIZE as usize {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // SAFETY: a number inside of the set.
        unsafe { libc::CPU_SET(processor, &mut set) };
    }
    // SAFETY: reads the local, of the size that is given.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether this process has one thread: nobody else can start one then.
pub(crate) fn is_alone() -> bool {
    std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() == 1)
}

/// The process that this one is a child of, at the moment.
pub(crate) fn parent() -> i32 {
    // SAFETY: touches no memory.
    unsafe { libc::getppid() }
}

/// Takes a descriptor that this process was started with, so that it is not inherited further.
///
/// # Safety
///
/// Whoever started this process has said that it is there for the caller, and nobody else was told.
pub(crate) unsafe fn take_inherited(number: RawFd) -> io::Result<OwnedFd> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    if number < FIRST_NUMBER {
        return Err(invalid());
    }
    // SAFETY: touches no memory; of a number that means nothing it says so. One that is not
    // inherited by children was opened by this process, and is another's.
    unsafe {
        match libc::fcntl(number, libc::F_GETFD) {
            -1 => Err(io::Error::last_os_error()),
            flags if flags & libc::FD_CLOEXEC != 0 => Err(invalid()),
            flags => {
                libc::fcntl(number, libc::F_SETFD, flags | libc::FD_CLOEXEC);
                Ok(OwnedFd::from_raw_fd(number))
            }
        }
    }
}

/// The name of a signal.
pub(crate) fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        libc::SIGHUP => "SIGHUP",
        libc::SIGINT => "SIGINT",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGILL => "SIGILL",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGKILL => "SIGKILL",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGALRM => "SIGALRM",
        libc::SIGTERM => "SIGTERM",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}
