//! The limit of what copies in and out: two buffers in turn, a flag for each. One core
//! copies its own buffer in, the other copies it out.

#![allow(unsafe_code)]

use super::buffers::{Incoming, Outgoing};
use super::rival::{Rival, Way};
use super::{Failure, Put, Take};
use crate::control::Control;
use memmap2::MmapRaw;
use std::fs::OpenOptions;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const BUFFERS: u64 = 2;
/// Flags lie apart from each other and from the buffers.
const FLAG: usize = 256;

/// A flag holds the turn: even, to be written; odd, to be read.
struct Buffers {
    map: MmapRaw,
    len: usize,
    next: u64,
    control: Arc<Control>,
}

/// One end.
pub struct Ends {
    buffers: Buffers,
    out: Outgoing,
    into: Incoming,
}

fn size(len: usize) -> usize {
    BUFFERS as usize * (FLAG + len.next_multiple_of(FLAG))
}

/// As a [`Rival`].
pub struct TwoBuffers;

impl Rival<u64> for TwoBuffers {
    type Kept = ();
    type Sending = Ends;
    type Receiving = Ends;

    /// The memory is all zero, with all its pages.
    fn create(way: &Way) -> Result<(), Failure> {
        std::fs::write(way.path(), vec![0; size(way.job.bytes)]).map_err(Failure::new)
    }

    fn sending(way: &Way) -> Result<Ends, Failure> {
        let file = OpenOptions::new().read(true).write(true).open(way.path()).map_err(Failure::new)?;
        let map = MmapRaw::map_raw(&file).map_err(Failure::new)?;
        if map.len() < size(way.job.bytes) {
            return Err(Failure::new("the copy's memory is too short"));
        }
        let buffers = Buffers { map, len: way.job.bytes, next: 0, control: Arc::clone(way.control) };
        Ok(Ends { buffers, out: Outgoing::new(way.job), into: Incoming::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Ends, Failure> {
        TwoBuffers::sending(way)
    }
}

impl Buffers {
    /// Waits for our turn at the next buffer. The second is what to write into the first when it is handed on.
    #[inline(always)]
    fn turn(&self, odd: u64) -> Result<(&AtomicU64, u64, *mut u8), Failure> {
        let at = (self.next % BUFFERS) as usize * (FLAG + self.len.next_multiple_of(FLAG));
        let turn = 2 * (self.next / BUFFERS) + odd;
        // SAFETY: `at` is within the mapping, whose length `open` checked, and a multiple
        // of 256; both processes use the word as an atomic.
        let flag = unsafe { &*self.map.as_mut_ptr().add(at).cast::<AtomicU64>() };
        let mut spins = 0_u32;
        while flag.load(Ordering::Acquire) != turn {
            crate::cpus::pause();
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(1 << 16) && self.control.aborted() {
                return Err(Failure::ABORTED);
            }
        }
        // SAFETY: the buffer behind the flag lies within the mapping.
        Ok((flag, turn + 1, unsafe { self.map.as_mut_ptr().add(at + FLAG) }))
    }
}

impl Put<u64> for Ends {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let own = self.out.message(word);
        let (flag, next, shared) = self.buffers.turn(0)?;
        // SAFETY: the flag says that the buffer is ours until we hand it on, and it is as
        // long as our own, which is elsewhere.
        unsafe { shared.copy_from_nonoverlapping(own.as_ptr(), own.len()) };
        flag.store(next, Ordering::Release);
        self.buffers.next += 1;
        Ok(())
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Take<u64> for Ends {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        let own = &mut self.into.buffer;
        let (flag, next, shared) = self.buffers.turn(1)?;
        // SAFETY: as above.
        unsafe { shared.copy_to_nonoverlapping(own.as_mut_ptr(), own.len()) };
        flag.store(next, Ordering::Release);
        self.buffers.next += 1;
        self.into.word()
    }
}
