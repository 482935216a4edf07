//! The sleeper's side of the protocol.

use super::{Attention, Deadline};
use crate::primitive::{Fences, heavy_barrier};

/// No sleep is longer than this, so that whatever a dead waker left undone is
/// found by its survivors.
const SLICE_NS: u64 = 100_000_000;

/// The slice of a process that cannot reach the wakers' light fences.
const BLIND_SLICE_NS: u64 = 1_000_000;

/// How a park ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Parked {
    /// The question was answered yes, or somebody woke us: try again.
    TryAgain,
    /// A slice ended with nobody's help: look after the dead, then try again.
    SliceEnded,
    /// The deadline has passed.
    TimedOut,
}

/// Sleeps until `ready` may be true, a slice has ended or the deadline passed.
///
/// S1 read the epoch, S2 arm, S3 heavy fence, S4 ask again, S5 sleep while the
/// epoch stands. The whole sequence runs once per park; the caller parks again
/// after a slice.
#[cold]
pub(crate) fn park(
    attention: &Attention,
    fences: Fences,
    deadline: Deadline,
    mut ready: impl FnMut() -> bool,
) -> Parked {
    if deadline.passed() {
        return Parked::TimedOut;
    }
    let epoch = attention.epoch();
    attention.arm();
    let reached = heavy_barrier(fences);
    if ready() {
        return Parked::TryAgain;
    }
    let slice = if reached { SLICE_NS } else { BLIND_SLICE_NS };
    let until = deadline.slice(slice);
    attention.sleep(epoch, until);
    if attention.epoch() != epoch || ready() {
        Parked::TryAgain
    } else if deadline.passed() {
        Parked::TimedOut
    } else {
        Parked::SliceEnded
    }
}
