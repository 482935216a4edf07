//! What happens when the file under a mapping is cut: SIGBUS at the next access, and
//! what a process can do about it.
//!
//! Every mapped segment is entered in a list that a signal handler can read: chunks that
//! are never freed, each entry three words. The handler, once installed, finds the entry
//! that an address lies in, maps zero pages over the rest of that mapping, notes it in
//! the entry and lets the access be made again; any other fault is the previous
//! handler's. It makes system calls and touches atomics, nothing else.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};

/// Entries of one chunk.
const CHUNK: usize = 64;

/// One mapping. `start` is 0 where there is none, and `TAKEN` while it is being entered.
struct Entry {
    start: AtomicUsize,
    len: AtomicUsize,
    is_torn: AtomicBool,
}

const TAKEN: usize = 1;

impl Entry {
    const fn new() -> Entry {
        Entry { start: AtomicUsize::new(0), len: AtomicUsize::new(0), is_torn: AtomicBool::new(false) }
    }
}

struct Chunk {
    entries: [Entry; CHUNK],
    next: AtomicPtr<Chunk>,
}

impl Chunk {
    const fn new() -> Chunk {
        Chunk { entries: [const { Entry::new() }; CHUNK], next: AtomicPtr::new(ptr::null_mut()) }
    }
}

static FIRST: Chunk = Chunk::new();

/// A mapping's place in the list, until it is dropped: before the mapping is.
pub(crate) struct Watched {
    entry: &'static Entry,
}

impl Watched {
    /// Enters the mapping of `len` bytes at `start`.
    pub(crate) fn new(start: *mut u8, len: usize) -> Watched {
        let mut chunk = &FIRST;
        loop {
            let take = |entry: &&Entry| {
                entry.start.load(Ordering::Relaxed) == 0
                    && entry.start.compare_exchange(0, TAKEN, Ordering::Acquire, Ordering::Relaxed).is_ok()
            };
            if let Some(entry) = chunk.entries.iter().find(take) {
                entry.len.store(len, Ordering::Relaxed);
                entry.is_torn.store(false, Ordering::Relaxed);
                entry.start.store(start as usize, Ordering::Release);
                return Watched { entry };
            }
            chunk = chunk.next_or_new();
        }
    }

    /// Whether the file was cut and zero pages lie in its place.
    #[inline]
    pub(crate) fn is_torn(&self) -> bool {
        self.entry.is_torn.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.entry.start.store(0, Ordering::Release);
    }
}

impl Chunk {
    /// The chunk behind this one; they are as many as there were mappings at once.
    fn next_or_new(&self) -> &'static Chunk {
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: what stands in `next` was leaked, and is never freed.
        if let Some(next) = unsafe { next.as_ref() } {
            return next;
        }
        let fresh = Box::into_raw(Box::new(Chunk::new()));
        match self.next.compare_exchange(ptr::null_mut(), fresh, Ordering::AcqRel, Ordering::Acquire) {
            // SAFETY: just leaked.
            Ok(_) => unsafe { &*fresh },
            Err(other) => {
                // SAFETY: `fresh` was shown to nobody; `other` was leaked by whoever was first.
                unsafe {
                    drop(Box::from_raw(fresh));
                    &*other
                }
            }
        }
    }
}

/// The mapping that `address` lies in: its entry, and its end.
fn watched(address: usize) -> Option<(&'static Entry, usize)> {
    let mut chunk = Some(&FIRST);
    while let Some(current) = chunk {
        for entry in &current.entries {
            let start = entry.start.load(Ordering::Acquire);
            let end = start.wrapping_add(entry.len.load(Ordering::Relaxed));
            if start > TAKEN && (start..end).contains(&address) {
                return Some((entry, end));
            }
        }
        // SAFETY: as in `next_or_new`.
        chunk = unsafe { current.next.load(Ordering::Acquire).as_ref() };
    }
    None
}

/// Who is asked about what is not ours. Written once, before our handler is installed.
static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

/// The page size, for the handler.
static PAGE: AtomicUsize = AtomicUsize::new(4096);

/// Installs the handler, once for the process.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: Mutex<bool> = Mutex::new(false);
    let mut installed = INSTALLED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if *installed {
        return Ok(());
    }
    PAGE.store(super::mem::page_size(), Ordering::Relaxed);
    let mut previous = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: asks only, and writes to a local that is valid as zeros.
    let asked = unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), previous.as_mut_ptr()) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: valid as zeros, and filled.
    let previous = unsafe { previous.assume_init() };
    // Leaked: the handler may run as long as the process does.
    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::Release);
    let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = on_sigbus;
    // SAFETY: a `sigaction` is valid as zeros, which is also an empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and does what a
    // signal handler may.
    if unsafe { libc::sigaction(libc::SIGBUS, &action, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    *installed = true;
    Ok(())
}

extern "C" fn on_sigbus(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel gives a valid siginfo; `errno` belongs to this thread.
    let (code, address, errno) = unsafe { ((*info).si_code, (*info).si_addr() as usize, *libc::__errno_location()) };
    let mended = code == libc::BUS_ADRERR && mend(address);
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
    if !mended {
        ask_previous(signal, info, context);
    }
}

/// Maps zero pages where a watched mapping has lost its file.
fn mend(address: usize) -> bool {
    let Some((entry, end)) = watched(address) else { return false };
    let page = PAGE.load(Ordering::Relaxed);
    let from = address - address % page;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_FIXED | libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
    // First, so that whoever finds zeros finds this as well.
    entry.is_torn.store(true, Ordering::SeqCst);
    // SAFETY: the range lies in a mapping of ours, from the page that faulted to its end;
    // its owner unmaps all of it, whatever lies there. A forked child must not get it.
    unsafe {
        let mapped = libc::mmap(from as *mut libc::c_void, end - from, access, kind, -1, 0);
        if mapped == libc::MAP_FAILED {
            return false;
        }
        libc::madvise(mapped, end - from, libc::MADV_DONTFORK);
    }
    true
}

/// Does what would have been done without us.
fn ask_previous(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: set before the handler was installed, and never freed.
    let Some(previous) = (unsafe { PREVIOUS.load(Ordering::Acquire).as_ref() }) else { return };
    // SAFETY: the kernel gives a valid siginfo. Sent by somebody, not made by an access.
    let was_sent = unsafe { (*info).si_code } <= 0;
    match previous.sa_sigaction {
        libc::SIG_IGN if was_sent => {}
        // A fault cannot be ignored: the kernel would kill all the same.
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: the default action, then the signal again: it is blocked until this
            // handler returns.
            unsafe {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, ptr::null_mut());
                libc::syscall(libc::SYS_tgkill, libc::getpid(), libc::syscall(libc::SYS_gettid), signal);
            }
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: with this flag the address is that of such a function.
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag, of such a one.
            let handler: extern "C" fn(i32) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }
}
