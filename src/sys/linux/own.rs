//! What a process does to itself.

#![allow(unsafe_code)]

use super::shm::FIRST_NUMBER;
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

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

/// Starts a thread that costs as little as one can: Rust's own has a name, a handle, a second stack
/// for signals and memory of its own before it does anything. All signals are blocked in it.
pub(crate) fn start_bare_thread<T: Send + 'static>(function: fn(T), argument: T) -> io::Result<()> {
    /// The smallest that glibc allows, and some more.
    const STACK: usize = 64 << 10;
    extern "C" fn begin<T>(packed: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: the box that was leaked below, which is this thread's.
        let packed = unsafe { Box::from_raw(packed.cast::<(fn(T), T)>()) };
        let (function, argument) = *packed;
        function(argument);
        std::ptr::null_mut()
    }
    let packed = Box::into_raw(Box::new((function, argument)));
    let _blocked = super::signals::Blocked::all();
    // SAFETY: the attributes are initialised before they are used, and destroyed afterwards; `begin` takes
    // what it is given. `function` does not unwind: it would abort (`extern "C"`).
    let error = unsafe {
        let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
        match libc::pthread_attr_init(attributes.as_mut_ptr()) {
            0 => {
                libc::pthread_attr_setdetachstate(attributes.as_mut_ptr(), libc::PTHREAD_CREATE_DETACHED);
                libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), STACK);
                let mut thread = std::mem::MaybeUninit::<libc::pthread_t>::uninit();
                let error = libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), begin::<T>, packed.cast());
                libc::pthread_attr_destroy(attributes.as_mut_ptr());
                error
            }
            error => error,
        }
    };
    if error != 0 {
        // SAFETY: no thread has it.
        drop(unsafe { Box::from_raw(packed) });
        return Err(io::Error::from_raw_os_error(error));
    }
    Ok(())
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
    // A directory for each of them, besides itself and its parent's entry.
    std::fs::metadata("/proc/self/task").is_ok_and(|tasks| tasks.nlink() == 3)
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
