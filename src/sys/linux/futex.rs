//! futex(2) on shared (never private) words.

#![allow(unsafe_code)]

use std::sync::atomic::AtomicU32;

/// Sleeps while `*word == expected`, until `until_ns` on CLOCK_MONOTONIC.
///
/// Why it ended is not said: woken, another value, a signal, the time; the caller
/// looks for itself. FUTEX_WAIT_BITSET takes an absolute time, so a signal costs
/// nothing but that look.
pub(crate) fn wait(word: &AtomicU32, expected: u32, until_ns: u64) {
    let until =
        libc::timespec { tv_sec: (until_ns / 1_000_000_000) as i64, tv_nsec: (until_ns % 1_000_000_000) as i64 };
    // SAFETY: `word` is a live, aligned 32-bit word; `until` outlives the call.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word.as_ptr(),
            libc::FUTEX_WAIT_BITSET,
            expected,
            &until as *const libc::timespec,
            std::ptr::null::<u32>(),
            libc::FUTEX_BITSET_MATCH_ANY,
        );
    }
}

/// Wakes at most `count` sleepers and says how many there were.
pub(crate) fn wake(word: &AtomicU32, count: u32) -> u32 {
    // SAFETY: FUTEX_WAKE does not read or write the word; the kernel needs its address only.
    let result = unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, count.min(i32::MAX as u32)) };
    u32::try_from(result).unwrap_or(0)
}

/// One word of [`wait_any`]: `struct futex_waitv` of the kernel.
#[repr(C)]
struct WaitWord {
    expected: u64,
    address: u64,
    flags: u32,
    reserved: u32,
}

/// FUTEX2_SIZE_U32, and not FUTEX2_PRIVATE.
pub(crate) const SHARED_U32: u32 = 2;

/// More words cannot be waited for at once.
pub(crate) const MOST_WORDS: usize = 128;

/// Sleeps while each word reads what is expected of it, until `until_ns` on
/// CLOCK_MONOTONIC; of more than [`MOST_WORDS`] the rest is not waited for. As with
/// [`wait`], why it ended is not said. False: futex_waitv(2) is not to be had (a kernel
/// before 5.16, or a filter), and nobody slept.
pub(crate) fn wait_any<'w>(words: impl Iterator<Item = (&'w AtomicU32, u32)>, until_ns: u64) -> bool {
    let word = |(word, expected): (&AtomicU32, u32)| WaitWord {
        expected: u64::from(expected),
        address: word.as_ptr() as u64,
        flags: SHARED_U32,
        reserved: 0,
    };
    let words: Vec<WaitWord> = words.take(MOST_WORDS).map(word).collect();
    let until =
        libc::timespec { tv_sec: (until_ns / 1_000_000_000) as i64, tv_nsec: (until_ns % 1_000_000_000) as i64 };
    // SAFETY: the list and `until` outlive the call, and so do the words, which are live and
    // aligned; the kernel only compares them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_futex_waitv,
            words.as_ptr(),
            words.len() as u32,
            0u32,
            &until as *const libc::timespec,
            libc::CLOCK_MONOTONIC,
        )
    };
    result >= 0
        || !matches!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EINVAL)
        )
}
