//! The memory that the processes of one run share with each other: start gates,
//! the flags of the placement probe, and two lanes for the baselines that are
//! nothing but shared memory.
//!
//! An anonymous file, passed by descriptor: nothing to clean up. Knows nothing
//! of ringway, whose queues have their own memory.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use memmap2::{MmapOptions, MmapRaw};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Two lines, because processors fetch them in pairs.
#[repr(C, align(128))]
struct Line<T>(T);

/// How often all processes of a run meet.
const GATES: usize = 5;

#[repr(C)]
struct Head {
    gates: [Line<AtomicU32>; GATES],
    ended_producers: Line<AtomicU32>,
    probe: [Line<AtomicU32>; 2],
    epoch: Line<AtomicU64>,
}

const HEAD_BYTES: usize = 4096;
/// What a lane has at least: room for the buffers of `copy`.
const LEAST_LANE_BYTES: usize = 128 << 10;
const PAGE: usize = 4096;
const _: () = assert!(size_of::<Head>() <= HEAD_BYTES);

/// Of a lane: its flag, a payload of `size` bytes or buffers of shorter ones, its answer. Whole pages.
fn lane_bytes(size: usize) -> usize {
    (size + 2 * FLAG_BYTES).next_multiple_of(PAGE).max(LEAST_LANE_BYTES)
}

fn total_bytes(size: usize) -> usize {
    HEAD_BYTES + 2 * lane_bytes(size)
}

/// The file behind the shared memory, for payloads of `size` bytes; the parent's.
pub fn create(size: usize) -> Result<OwnedFd> {
    let fd = memfd_create(c"ringway-bench", MFdFlags::MFD_CLOEXEC).context("memfd_create")?;
    let file = File::from(fd);
    file.set_len(total_bytes(size) as u64).context("sizing the control memory")?;
    Ok(file.into())
}

/// The shared memory; each process of the run has its own mapping.
pub struct Control {
    map: MmapRaw,
    processes: u32,
    lane_bytes: usize,
}

impl Control {
    /// Takes over the inherited descriptor; the payloads have `payload` bytes.
    pub fn attach(fd: RawFd, processes: u32, payload: usize) -> Result<Control> {
        anyhow::ensure!(fd > 2, "not a control descriptor: {fd}");
        // SAFETY: the parent left this descriptor open for us alone; nothing else
        // in this process knows it.
        let file = unsafe { File::from_raw_fd(fd) };
        let size = file.metadata().context("control memory")?.len();
        let bytes = total_bytes(payload);
        anyhow::ensure!(size == bytes as u64, "the control memory has {size} bytes");
        let map = MmapOptions::new().len(bytes).populate().map_raw(&file).context("mapping control memory")?;
        Ok(Control { map, processes, lane_bytes: lane_bytes(payload) })
    }

    fn head(&self) -> &Head {
        // SAFETY: the mapping is page-aligned, larger than `Head`, and lives as
        // long as `self`; `Head` consists of atomics, for which every bit pattern
        // is valid, and all processes touch this part through them only.
        unsafe { &*self.map.as_ptr().cast::<Head>() }
    }

    /// Waits until every process of the run is at this gate.
    pub fn meet(&self, gate: usize) {
        let word = &self.head().gates[gate].0;
        if word.fetch_add(1, Ordering::AcqRel) + 1 == self.processes {
            futex_wake_all(word);
            return;
        }
        let mut looks = 0;
        loop {
            let arrived = word.load(Ordering::Acquire);
            if arrived >= self.processes {
                return;
            }
            looks += 1;
            // About 20 µs, for those who come last; the others leave the cores alone.
            if looks < 500 {
                std::hint::spin_loop();
            } else {
                futex_wait(word, arrived);
            }
        }
    }

    /// Whether the caller is the last of the producers to end.
    pub fn last_producer(&self, producers: u32) -> bool {
        self.head().ended_producers.0.fetch_add(1, Ordering::AcqRel) + 1 == producers
    }

    pub fn probe_flag(&self, side: usize) -> &AtomicU32 {
        &self.head().probe[side].0
    }

    /// When the first period of a load begins; said before the processes meet.
    pub fn set_epoch(&self, ns: u64) {
        self.head().epoch.0.store(ns, Ordering::Release);
    }

    pub fn epoch(&self) -> u64 {
        self.head().epoch.0.load(Ordering::Acquire)
    }

    pub fn lane(&self, index: usize) -> Lane<'_> {
        assert!(index < 2);
        // SAFETY: `index` is 0 or 1, and the mapping has a head and two lanes of so many bytes.
        let start = unsafe { self.map.as_mut_ptr().add(HEAD_BYTES + index * self.lane_bytes) };
        Lane { start, bytes: self.lane_bytes, control: std::marker::PhantomData }
    }
}

/// A flag, the payload right behind it, and an answering flag at the far end.
#[derive(Clone, Copy)]
pub struct Lane<'c> {
    start: *mut u8,
    bytes: usize,
    control: std::marker::PhantomData<&'c Control>,
}

/// What either flag has to itself.
const FLAG_BYTES: usize = 128;

impl<'c> Lane<'c> {
    /// The longest payload.
    pub fn room(self) -> usize {
        self.bytes - 2 * FLAG_BYTES
    }

    #[inline(always)]
    pub fn flag(self) -> &'c AtomicU64 {
        // SAFETY: aligned to a page; lives as long as the control memory; all
        // processes use this word as an atomic only.
        unsafe { &*self.start.cast::<AtomicU64>() }
    }

    pub fn answer(self) -> &'c AtomicU64 {
        // SAFETY: as in `flag`; the lane has whole pages, so that the offset is a multiple of 128 inside it.
        unsafe { &*self.start.add(self.bytes - FLAG_BYTES).cast::<AtomicU64>() }
    }

    /// The low half of the flag, as a futex word.
    #[inline(always)]
    pub fn futex(self) -> &'c AtomicU32 {
        // SAFETY: as in `flag`; a lane is used either through `flag` or through
        // this word.
        unsafe { &*self.start.cast::<AtomicU32>() }
    }

    /// Lets `f` read or write the payload.
    ///
    /// # Safety
    ///
    /// It is the caller's turn: between seeing the other side's flag (acquire)
    /// and storing the own one (release).
    #[inline(always)]
    pub unsafe fn payload<R>(self, len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
        assert!(len <= self.room());
        // SAFETY: inside the lane; the caller vouches that nobody else touches
        // these bytes meanwhile.
        f(unsafe { std::slice::from_raw_parts_mut(self.start.add(8), len) })
    }
}

/// Sleeps while `word` is `value`; may return early.
pub fn futex_wait(word: &AtomicU32, value: u32) {
    // SAFETY: the word is aligned and mapped; no timeout.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, std::ptr::null::<libc::timespec>());
    }
}

pub fn futex_wake_all(word: &AtomicU32) {
    // SAFETY: the word is aligned and mapped.
    unsafe {
        libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX);
    }
}

/// Nanoseconds of a clock that all processes share.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
