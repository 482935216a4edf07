//! CLOCK_MONOTONIC, the clock of `std::time::Instant` and of futex deadlines.
//! It does not run while the machine is suspended.

#![allow(unsafe_code)]

/// Nanoseconds since some fixed point.
pub(crate) fn now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// The same clock as of the last timer tick, some milliseconds ago at most: a few
/// nanoseconds instead of some twenty.
pub(crate) fn coarse_now_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `ts` is a valid out-pointer; both clocks exist on every Linux.
    unsafe { libc::clock_gettime(clock, &mut ts) };
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}
