//! CLOCK_MONOTONIC, the clock of `std::time::Instant` and of futex deadlines.
//! It does not run while the machine is suspended.

#![allow(unsafe_code)]

/// Nanoseconds since some fixed point.
pub(crate) fn now_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid out-pointer; CLOCK_MONOTONIC exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
