//! The block that the workers of one measurement share: where they meet, and the
//! word that says it is over. A small file in the private directory, mapped by
//! processes and threads alike.

#![allow(unsafe_code)]

use crate::systems::Failure;
use memmap2::MmapRaw;
use nix::fcntl::posix_fallocate;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

#[repr(C)]
#[derive(Default)]
struct Words {
    abort: AtomicU32,
    arrived: [AtomicU32; Control::MEETINGS],
}

pub struct Control {
    map: MmapRaw,
    workers: u32,
}

impl Control {
    pub const MEETINGS: usize = 2;

    /// Makes the block, all zero.
    pub fn create(path: &Path, workers: u32) -> io::Result<Control> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        // With its blocks: without them a write would end whoever writes.
        posix_fallocate(&file, 0, size_of::<Words>() as i64)?;
        Ok(Control { map: MmapRaw::map_raw(&file)?, workers })
    }

    /// Opens the block that the parent made.
    pub fn open(path: &Path, workers: u32) -> io::Result<Control> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let map = MmapRaw::map_raw(&file)?;
        if map.len() < size_of::<Words>() {
            return Err(io::Error::other("the control block is too short"));
        }
        Ok(Control { map, workers })
    }

    fn words(&self) -> &Words {
        // SAFETY: the mapping is page-aligned, at least as long as `Words` (set
        // by `create`, checked by `open`) and lives as long as `self`; `Words` is
        // atomics only, valid for any bits, and nobody accesses it otherwise.
        unsafe { &*self.map.as_ptr().cast::<Words>() }
    }

    /// Tells all workers to stop.
    pub fn abort(&self) {
        self.words().abort.store(1, Ordering::Relaxed);
    }

    #[inline]
    pub fn aborted(&self) -> bool {
        self.words().abort.load(Ordering::Relaxed) != 0
    }

    /// Waits until all workers are here.
    pub fn meet(&self, meeting: usize) -> Result<(), Failure> {
        const PURE_SPINS: u32 = 10_000;
        let arrived = &self.words().arrived[meeting];
        arrived.fetch_add(1, Ordering::AcqRel);
        let mut spins = 0_u32;
        while arrived.load(Ordering::Acquire) < self.workers {
            if self.aborted() {
                return Err(Failure::ABORTED);
            }
            spins = spins.saturating_add(1);
            if spins < PURE_SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        Ok(())
    }
}
