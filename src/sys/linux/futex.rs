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
