//! Memory that the processes of a test share beside the queue, and their common clock.

#![allow(unsafe_code)]
#![allow(dead_code)]

use std::os::fd::AsRawFd;
use std::path::Path;

/// Maps a file, for good.
pub fn map(path: &Path) -> (*mut u8, usize) {
    let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("it is there");
    let len = file.metadata().expect("it is a file").len() as usize;
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a fresh mapping at an address of the kernel's choice.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, access, libc::MAP_SHARED, file.as_raw_fd(), 0) };
    assert_ne!(at, libc::MAP_FAILED, "a file can be mapped");
    (at.cast(), len)
}

/// CLOCK_MONOTONIC: the same in all processes.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to a local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// A random number, good enough for tests. (xorshift64*, G. Marsaglia, S. Vigna)
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}
