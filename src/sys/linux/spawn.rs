//! Starting this very program again, as a child.
//!
//! As `posix_spawn` does it: the child shares our memory, on a stack of its own, until it
//! executes; so the size of this process costs nothing. Unlike it, the kernel gives a pidfd
//! together with the child: no pid is ever looked up, which somebody else may have reaped.
//!
//! Nothing but what it is given stays open in the child.

#![allow(unsafe_code)]

use super::mem::page_size;
use super::shm::FIRST_NUMBER;
use super::signals::Blocked;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

/// What is executed: the file of this process, whatever its name means by now.
const PROGRAM: &CStr = c"/proc/self/exe";

/// Bytes of the child's stack. What runs there makes system calls only.
const STACK: usize = 64 << 10;

/// Digits of the longest pid, and a NUL byte.
const DIGITS: usize = 11;

/// What a child is started with.
pub(crate) struct Plan<'p> {
    pub(crate) arguments: &'p [CString],
    /// `NAME=value`.
    pub(crate) environment: &'p [CString],
    /// One variable more; the child's own pid is added at its end, which makes it worthless to any
    /// other process that inherits it.
    pub(crate) token: Vec<u8>,
    /// What becomes its standard streams, where they are not ours.
    pub(crate) streams: [Option<BorrowedFd<'p>>; 3],
    /// What it keeps open under its number. None of them is a standard stream of ours.
    pub(crate) kept: &'p [BorrowedFd<'p>],
}

pub(crate) struct Spawned {
    pub(crate) pid: u32,
    pub(crate) pidfd: OwnedFd,
}

/// What the child reads, in our memory.
struct Orders {
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    /// Where its pid is to be written.
    digits: *mut u8,
    streams: [RawFd; 3],
    kept: Vec<RawFd>,
    last_descriptor: RawFd,
    /// Why it could not execute.
    error: libc::c_int,
}

/// Starts the child. It executes the program, or there is none and an error.
pub(crate) fn spawn(plan: &Plan<'_>) -> io::Result<Spawned> {
    let pointers = |list: &[CString]| list.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
    let mut token = plan.token.clone();
    let at = token.len();
    token.resize(at + DIGITS, 0);
    let mut orders = Orders {
        arguments: pointers(plan.arguments),
        environment: pointers(plan.environment),
        digits: token.as_mut_ptr().wrapping_add(at),
        streams: plan.streams.map(|stream| stream.map_or(-1, |fd| fd.as_raw_fd())),
        kept: plan.kept.iter().map(AsRawFd::as_raw_fd).collect(),
        last_descriptor: last_descriptor(),
        error: 0,
    };
    orders.arguments.push(null());
    orders.environment.push(token.as_ptr().cast());
    orders.environment.push(null());
    let stack = Stack::new()?;
    let mut pidfd: libc::c_int = -1;
    let blocked = Blocked::all();
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: the stack is ours and large enough, and `become_program` neither returns nor
    // unwinds. It has this thread's memory for itself: the thread waits until it has
    // executed or ended (`CLONE_VFORK`), and no signal handler runs in either. `orders` and
    // `pidfd` outlive it.
    let pid = unsafe {
        let orders = (&raw mut orders).cast();
        libc::clone(
            become_program,
            stack.top(),
            flags,
            orders,
            &raw mut pidfd,
            null_mut::<libc::c_void>(),
            null_mut::<libc::c_void>(),
        )
    };
    let failed = io::Error::last_os_error();
    drop(blocked);
    let Ok(pid) = u32::try_from(pid) else { return Err(failed) };
    // SAFETY: the kernel made it for us just now.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    if orders.error != 0 {
        let _ = super::children::reap(&pidfd, true);
        return Err(io::Error::from_raw_os_error(orders.error));
    }
    Ok(Spawned { pid, pidfd })
}

/// Whether a copy that the C library does not know of works with it: glibc needs no more than
/// the number of the thread.
pub(crate) const CAN_COPY: bool = cfg!(target_env = "gnu");

/// Makes a copy of this process as another child of its *parent*. None: this is the copy.
///
/// # Safety
///
/// This process has one thread, and `CAN_COPY`.
pub(crate) unsafe fn copy_for_parent() -> io::Result<Option<Spawned>> {
    let mut flags = libc::CLONE_PARENT | libc::CLONE_PIDFD | libc::SIGCHLD;
    let mut pidfd: libc::c_int = -1;
    // Where the C library keeps the number of this thread: `fork` would set it anew, too.
    let mut place: *mut libc::pid_t = null_mut();
    // (Elsewhere that word is something else: see `CAN_COPY`.)
    // SAFETY: writes to the local.
    if unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) } == 0 && !place.is_null() {
        flags |= libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID;
    }
    #[cfg(target_arch = "x86_64")]
    let (fourth, fifth) = (place, null_mut::<libc::pid_t>());
    #[cfg(not(target_arch = "x86_64"))]
    let (fourth, fifth) = (null_mut::<libc::pid_t>(), place);
    // SAFETY: without a stack the copy goes on where it is, in memory of its own, as after `fork`;
    // there is no other thread whose locks it would lack (the caller's promise).
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, null_mut::<u8>(), &raw mut pidfd, fourth, fifth) };
    match u32::try_from(pid) {
        Ok(0) => Ok(None),
        // SAFETY: the kernel made it for us just now.
        Ok(pid) => Ok(Some(Spawned { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } })),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

/// Makes `fd` this process' standard stream of that number.
pub(crate) fn become_stream(fd: BorrowedFd<'_>, stream: RawFd) -> io::Result<()> {
    // SAFETY: closes and opens a standard stream, which belongs to nobody.
    if unsafe { libc::dup2(fd.as_raw_fd(), stream) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// In the child: system calls only, nothing that allocates, locks or panics.
extern "C" fn become_program(orders: *mut libc::c_void) -> libc::c_int {
    let orders: *mut Orders = orders.cast();
    // SAFETY: `spawn` passes its `Orders`, which nobody else uses meanwhile; all pointers in it
    // are to strings and lists of its caller's, which end in NUL. Every descriptor is a number,
    // of which the kernel says whether it means something.
    unsafe {
        let orders = &mut *orders;
        if !prepare(orders) {
            orders.error = *libc::__errno_location();
            libc::_exit(127);
        }
        libc::execve(PROGRAM.as_ptr(), orders.arguments.as_ptr(), orders.environment.as_ptr());
        orders.error = *libc::__errno_location();
        libc::_exit(127);
    }
}

/// # Safety
///
/// As [`become_program`] calls it.
unsafe fn prepare(orders: &mut Orders) -> bool {
    // SAFETY: see above. The actions and masks are locals.
    unsafe {
        // No handler of ours may run while the memory is shared.
        for signal in 1..=64 {
            let mut action: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(signal, null(), &raw mut action) == 0
                && action.sa_sigaction != libc::SIG_IGN
                && action.sa_sigaction != libc::SIG_DFL
            {
                action = std::mem::zeroed();
                action.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &raw const action, null_mut());
            }
        }
        let cloexec = libc::CLOSE_RANGE_CLOEXEC;
        if libc::syscall(libc::SYS_close_range, FIRST_NUMBER, u32::MAX, cloexec) != 0 {
            // Before Linux 5.11.
            for fd in FIRST_NUMBER..orders.last_descriptor {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
        for &fd in &orders.kept {
            if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                return false;
            }
        }
        for (stream, &fd) in (0..).zip(&orders.streams) {
            if fd >= 0 && libc::dup2(fd, stream) < 0 {
                return false;
            }
        }
        let mut pid = libc::getpid();
        let mut digits = 1;
        while digits < DIGITS - 1 && 10_i64.pow(digits as u32) <= i64::from(pid) {
            digits += 1;
        }
        for at in (0..digits).rev() {
            orders.digits.add(at).write(b'0' + (pid % 10) as u8);
            pid /= 10;
        }
        // As every program may expect, and so that it can be terminated.
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, null_mut()) == 0
    }
}

/// Above it this process has no descriptors.
fn last_descriptor() -> RawFd {
    const MOST: libc::rlim_t = 1 << 20;
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writes to the local.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } == 0;
    // One above the limit may have been opened before it was lowered.
    if known { limit.rlim_max.min(MOST) as RawFd } else { MOST as RawFd }
}

/// A stack with a page below it that cannot be touched.
struct Stack {
    start: *mut libc::c_void,
    len: usize,
}

impl Stack {
    fn new() -> io::Result<Stack> {
        let (guard, len) = (page_size(), STACK.next_multiple_of(page_size()) + page_size());
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a mapping of its own, at an address of the kernel's choice.
        let start = unsafe { libc::mmap(null_mut(), len, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let stack = Stack { start, len };
        // SAFETY: its first page, which nobody uses.
        if unsafe { libc::mprotect(start, guard, libc::PROT_NONE) } != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(stack)
    }

    /// Stacks grow down.
    fn top(&self) -> *mut libc::c_void {
        self.start.wrapping_byte_add(self.len)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and the child that used it has executed or ended.
        unsafe { libc::munmap(self.start, self.len) };
    }
}
