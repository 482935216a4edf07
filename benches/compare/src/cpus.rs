//! Processors and the clock.

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use std::sync::OnceLock;

/// The processors that this process may use, as it was started.
pub fn allowed() -> &'static [usize] {
    static ALLOWED: OnceLock<Vec<usize>> = OnceLock::new();
    ALLOWED.get_or_init(|| {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        (0..CpuSet::count()).filter(|&cpu| set.is_set(cpu).unwrap_or(false)).collect()
    })
}

/// Whether all workers share one processor: then nobody may spin for long.
pub fn is_alone() -> bool {
    allowed().len() < 2
}

/// Between two looks at what somebody else is to write.
#[inline(always)]
pub fn pause() {
    if is_alone() { std::thread::yield_now() } else { std::hint::spin_loop() }
}

/// Where a worker runs. Senders and receivers are mixed on each processor when
/// there are more of them than processors.
pub fn of_worker(receiver: bool, index: usize) -> usize {
    let cpus = allowed();
    let place = 2 * index + (usize::from(receiver) + index) % 2;
    cpus[place % cpus.len()]
}

/// Ties the calling thread to one processor.
pub fn pin(cpu: usize) -> nix::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// Nanoseconds on the clock that all processes share.
pub fn now() -> u64 {
    read(ClockId::CLOCK_MONOTONIC)
}

/// Nanoseconds that the calling thread has run.
pub fn used() -> u64 {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn read(clock: ClockId) -> u64 {
    match clock_gettime(clock) {
        Ok(time) => time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64,
        Err(_) => 0,
    }
}
