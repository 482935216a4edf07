//! The limit of what copies in and out: two buffers in turn, a flag for each. One core
//! copies its own buffer in, the other copies it out.

#![allow(unsafe_code)]

use super::large::{mark, marked};
use super::{Failure, Put, Take};
use crate::control::Control;
use crate::job::Job;
use memmap2::MmapRaw;
use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFERS: u64 = 2;
/// Flags lie apart from each other and from the buffers.
const FLAG: usize = 256;

/// One end. A flag holds the turn: even, to be written; odd, to be read.
pub struct Ends {
    map: MmapRaw,
    own: Vec<u8>,
    next: u64,
    control: Arc<Control>,
}

fn size(len: usize) -> usize {
    BUFFERS as usize * (FLAG + len.next_multiple_of(FLAG))
}

/// Makes the memory, all zero, with all its pages.
pub fn create(job: &Job, path: &Path) -> Result<(), Failure> {
    std::fs::write(path, vec![0; size(job.bytes)]).map_err(Failure::new)
}

impl Ends {
    pub fn open(job: &Job, path: &Path, control: Arc<Control>) -> Result<Ends, Failure> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(Failure::new)?;
        let map = MmapRaw::map_raw(&file).map_err(Failure::new)?;
        if map.len() < size(job.bytes) {
            return Err(Failure::new("the copy's memory is too short"));
        }
        Ok(Ends { map, own: vec![7; job.bytes], next: 0, control })
    }

    /// Waits for our turn at the next buffer, copies, and hands it on.
    #[inline(always)]
    fn turn(&mut self, copy: impl FnOnce(*mut u8, &mut [u8]), odd: u64) -> Result<(), Failure> {
        let at = (self.next % BUFFERS) as usize * (FLAG + self.own.len().next_multiple_of(FLAG));
        let turn = 2 * (self.next / BUFFERS) + odd;
        // SAFETY: `at` is within the mapping, whose length `open` checked, and a multiple
        // of 256; both processes use the word as an atomic.
        let flag = unsafe { &*self.map.as_mut_ptr().add(at).cast::<AtomicU64>() };
        let mut spins = 0_u32;
        while flag.load(Ordering::Acquire) != turn {
            std::hint::spin_loop();
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(1 << 16) && self.control.aborted() {
                return Err(Failure::ABORTED);
            }
        }
        // SAFETY: the buffer behind the flag lies within the mapping.
        copy(unsafe { self.map.as_mut_ptr().add(at + FLAG) }, &mut self.own);
        flag.store(turn + 1, Ordering::Release);
        self.next += 1;
        Ok(())
    }
}

impl Put<u64> for Ends {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        mark(&mut self.own, word);
        // SAFETY: the flag says that the buffer is ours until we hand it on, and it is as
        // long as our own, which is elsewhere.
        self.turn(|shared, own| unsafe { shared.copy_from_nonoverlapping(own.as_ptr(), own.len()) }, 0)
    }
}

impl Take<u64> for Ends {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        // SAFETY: as above.
        self.turn(|shared, own| unsafe { shared.copy_to_nonoverlapping(own.as_mut_ptr(), own.len()) }, 1)?;
        marked(&self.own, self.own.len())
    }
}
