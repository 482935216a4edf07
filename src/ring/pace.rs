//! The pace of a stream whose one side has caught up with the other.
//!
//! A consumer that runs faster than its producers ends up reading the very line
//! that one of them is writing, and a producer that runs into a full ring writes the
//! very line that is being read. Then every line crosses between the cores twice or
//! more instead of once, neither side fails or waits for long, and the stream
//! settles at a fraction of its speed. So a *blocking* operation that has to wait in
//! the middle of a stream lets the other side get ahead by a lead of messages before
//! it goes on, and never waits longer for that than some twenty microseconds; one or
//! two, and ever more seldom, if the other side is slow.
//!
//! A lone message (request and reply) is never delayed: its run has length 1. (Of a
//! `Multi` side the run is that of all its participants together.)
//! Measured: `docs/benchmarks.md`.

use super::position::{Position, Stamp};
use super::{GetCursor, PutCursor, Ring, Side};
use crate::primitive::spin_hint;
use core::cell::Cell;

/// A run shorter than this is no stream.
const STREAM: u64 = 16;

/// The lead to wait for, in messages; half the ring if that is less.
const LEAD: u64 = 4096;

/// Looks at the other side's progress, and spin hints between two of them: some
/// twenty microseconds in all, as the processor takes 16 to 40 ns for a hint.
const LOOKS: u32 = 96;
const HINTS: u32 = 8;

/// In every so many looks, one to two microseconds, the other side must come a
/// `STREAM` further: one that puts or gets less than some ten million messages a
/// second gains nothing by a lead, and one that has stopped waits for us.
const STEP: u32 = 8;

/// So many waits are left out, at most, after some that were in vain.
const LONGEST_REST: u32 = 64;

/// What one side remembers between two waits.
#[repr(C)]
pub(crate) struct Pace {
    run_start: Cell<u64>,
    /// Waits to leave out, and how many it was last time.
    rest: Cell<u32>,
    last_rest: Cell<u32>,
}

// SAFETY: plain cells of integers; all zeros is a valid value.
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for Pace {}

impl Pace {
    /// The operation at `next` has to wait: perhaps until the other side has got past
    /// more positions, as `passed` says.
    #[cold]
    pub(super) fn let_ahead(&self, capacity: u64, next: u64, passed: impl Fn(Position) -> bool) {
        let start = self.run_start.replace(next);
        let run = next.wrapping_sub(start);
        if start == 0 || run < STREAM || capacity < 4 * STREAM {
            return;
        }
        if self.rest.get() > 0 {
            self.rest.set(self.rest.get() - 1);
            return;
        }
        let at = |ahead: u64| Position::new(next.wrapping_add(ahead - 1));
        let lead = LEAD.min(capacity / 2);
        for look in 0..LOOKS {
            if passed(at(lead)) {
                break;
            }
            let due = u64::from(look / STEP) * STREAM;
            if look.is_multiple_of(STEP) && due > 0 && due < lead && !passed(at(due)) {
                let rest = (2 * self.last_rest.get()).clamp(1, LONGEST_REST);
                self.last_rest.set(rest);
                self.rest.set(rest);
                return;
            }
            (0..HINTS).for_each(|_| spin_hint());
        }
        self.last_rest.set(0);
    }
}

impl Ring<'_> {
    /// Whether the producers are done with `position`.
    fn is_past_publication(&self, position: Position) -> bool {
        match (self.producers, self.consumers) {
            (Side::Single, Side::Single) => self.is_published(position),
            _ => !self.stamp_at(position).is_before(position),
        }
    }

    /// Whether the consumers have made room for `position`.
    fn is_past_commit(&self, position: Position) -> bool {
        match self.consumers {
            Side::Single => self.control.load_head().plus(self.capacity()) > position,
            // Which slot it will lie in is not known yet.
            Side::Multi if self.is_chunked() => self.control.load_head().plus(self.capacity()) > position,
            Side::Multi => self.stamp_at(position) >= Stamp::free(position),
        }
    }

    /// What the producers still have to publish is not there yet: lets them get ahead.
    pub(crate) fn let_producers_ahead(&self, pace: &Pace, cursor: &GetCursor) {
        pace.let_ahead(self.capacity(), self.get_position(cursor), |position| self.is_past_publication(position));
    }

    /// There is no room: lets the consumers get ahead.
    pub(crate) fn let_consumers_ahead(&self, pace: &Pace, cursor: &PutCursor) {
        pace.let_ahead(self.capacity(), self.put_position(cursor), |position| self.is_past_commit(position));
    }
}
