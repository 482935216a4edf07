//! The pace of a Single consumer that blocks on a stream.
//!
//! A consumer that runs faster than its producers ends up reading the very line
//! that one of them is writing. Then every line crosses between the cores twice
//! or more instead of once, neither side fails or waits for long, and the stream
//! settles at a fraction of its speed. So a *blocking* get that finds the ring
//! empty after a run of messages lets the producers get ahead before it looks
//! again: the longer, the shorter the runs are, and never longer than some
//! microseconds.
//!
//! A lone message (request and reply) is never delayed: its run has length 1.
//! Measured: `docs/benchmarks.md`.

use super::{GetCursor, Ring};
use crate::primitive::spin_hint;
use core::cell::Cell;

/// A run shorter than this is no stream.
const STREAM: u64 = 16;

/// Spin hints of the longest pause: four to ten microseconds, as the processor
/// takes 16 to 40 ns for one.
const LONGEST_PAUSE: u32 = 256;

/// What is remembered between two runs.
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
    /// A Single consumer found the ring empty: perhaps give the producers a start.
    #[cold]
    pub(crate) fn ran_dry(&self, ring: &Ring<'_>, cursor: &GetCursor) {
        let next = ring.get_position(cursor);
        let run = next.wrapping_sub(self.run_start.replace(next));
        if run < STREAM {
            return;
        }
        let pause = self.pause.get().max(1);
        let pause = if run < ring.capacity() / 4 {
            (pause * 2).min(LONGEST_PAUSE)
        } else if run > ring.capacity() / 2 {
            (pause / 2).max(1)
        } else {
            pause
        };
        self.pause.set(pause);
        for _ in 0..pause {
            spin_hint();
        }
    }
}
