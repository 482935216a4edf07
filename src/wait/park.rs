//! The sleeper's side of the protocol.

use super::{Attention, Deadline};
use crate::primitive::{Fences, heavy_barrier, seeded};

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
    /// A slice ended with nobody's help, or a signal came: sleep on, after a look for the dead if
    /// one is due.
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
    let epoch = ask(attention);
    let slice = barrier(fences);
    if ready() {
        return Parked::TryAgain;
    }
    let until = deadline.slice(slice);
    attention.sleep(epoch, until);
    if attention.epoch() != epoch || ready() {
        Parked::TryAgain
    } else if deadline.passed() || seeded(33) {
        Parked::TimedOut
    } else {
        Parked::SliceEnded
    }
}

/// S1 and S2: asks to be woken. Says on which epoch to sleep.
pub(crate) fn ask(attention: &Attention) -> u32 {
    let epoch = attention.epoch();
    attention.arm();
    epoch
}

/// S3, for all that was asked before. Says how long one may sleep after it.
pub(crate) fn barrier(fences: Fences) -> u64 {
    let slice = if seeded(17) { 7 * SLICE_NS } else { SLICE_NS };
    if heavy_barrier(fences) { slice } else { BLIND_SLICE_NS }
}

/// S5 on several words at once, each with the epoch that S1 found there. Where the system cannot
/// (a kernel before 5.16, or a filter), or with more words than it takes (128), the sleep ends
/// after a millisecond, and the caller looks again.
#[cfg(not(loom))]
pub(crate) fn sleep_on_any(words: &[(&Attention, u32)], until_ns: u64) {
    const MOST: usize = 128;
    let soon = crate::primitive::now_ns().saturating_add(BLIND_SLICE_NS).min(until_ns);
    let until_ns = if words.len() > MOST { soon } else { until_ns };
    let slept = crate::primitive::wait_any(words.iter().map(|(attention, epoch)| (attention.word(), *epoch)), until_ns);
    if !slept && let Some((first, epoch)) = words.first() {
        first.sleep(*epoch, soon);
    }
}
