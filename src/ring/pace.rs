//! The pace of a Single consumer that blocks on a stream.
//!
//! A consumer that runs faster than its producer ends up reading the very line
//! that the producer is writing. Then every line crosses between the cores
//! twice or more instead of once, neither side fails or waits, and the
//! stream settles at a half to a fifth of its speed. (This is the slow regime of
//! small rings; `docs/benchmarks.md` has the measurement.) Two things keep it out
//! of that regime, both only inside a *blocking* get, both bounded to about a
//! microsecond, both only in the middle of a stream:
//!
//! - after a run of messages that ended in an empty ring, it lets the producer
//!   get ahead before it looks again, longer the shorter the runs are;
//! - at every mark (a 64th of the ring) it looks a quarter of the ring ahead, and
//!   waits a moment if the producer is not there yet.
//!
//! A lone message (request and reply) is never delayed: its run has length 1.

use super::{GetCursor, Ring};
use crate::primitive::spin_hint;
use core::cell::Cell;

/// A run shorter than this is no stream.
const STREAM: u64 = 16;

/// Spin hints of the longest pause after a run: about ten microseconds where a
/// hint takes 140 cycles, one where it takes 40.
const LONGEST_PAUSE: u32 = 256;

/// Looks at a mark before going on all the same, and the hints between them.
const MARK_LOOKS: u32 = 32;
const HINTS_PER_LOOK: u32 = 4;

/// What is remembered between two gets.
#[repr(C)]
pub(crate) struct Pace {
    run_start: Cell<u64>,
    pause: Cell<u32>,
    _padding: Cell<u32>,
}

// SAFETY: plain cells of integers; all zeros is a valid value.
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for Pace {}

impl Pace {
    /// The ring was found empty at `cursor`: perhaps give the producer a start.
    #[cold]
    pub(crate) fn ran_dry(&self, ring: &Ring<'_>, cursor: &GetCursor) {
        let next = cursor.next();
        let run = next.wrapping_sub(self.run_start.replace(next));
        if run < STREAM {
            return;
        }
        let pause = self.pause.get().max(1);
        let pause = if run < ring.capacity() / 4 {
            (pause * 2).min(LONGEST_PAUSE)
        } else if run > ring.capacity() / 2 {
            pause / 2
        } else {
            pause
        };
        self.pause.set(pause);
        for _ in 0..pause {
            spin_hint();
        }
    }

    /// A mark was passed: keep a quarter of the ring between us and the producer.
    #[cold]
    pub(crate) fn at_mark(&self, ring: &Ring<'_>, cursor: &GetCursor) {
        if cursor.next().wrapping_sub(self.run_start.get()) < STREAM {
            return;
        }
        let ahead = ring.capacity() / 4;
        for _ in 0..MARK_LOOKS {
            if ring.published_ahead(cursor, ahead) {
                return;
            }
            for _ in 0..HINTS_PER_LOOK {
                spin_hint();
            }
        }
    }
}
