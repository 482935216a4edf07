//! How long to look before sleeping.

use crate::primitive::spin_hint;
use crate::sys::cpu;
use std::time::{Duration, Instant};

/// What a blocked operation does until its turn comes.
///
/// A wake-up through the kernel costs between two microseconds (same core) and
/// seventy (another core that went idle); a look at shared memory costs a tenth
/// of one. So the spin budget decides the latency, and the CPU it may burn.
///
/// ```
/// use ringway::{ByteQueue, WaitPolicy};
/// use std::time::Duration;
///
/// let queue = ByteQueue::bounded(8)?;
/// queue.set_wait_policy(WaitPolicy::SpinThenPark { budget: Duration::from_micros(20) });
/// # Ok::<(), ringway::SetupError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitPolicy {
    /// Never sleep: the lowest latency, a whole core. On a
    /// machine with one processor it sleeps all the same.
    Spin,
    /// Look for at most `budget`, first spinning, then giving way to other
    /// threads between looks, then sleep. The default; see
    /// [`WaitPolicy::default`] for the budget.
    SpinThenPark {
        /// How long to look before sleeping.
        budget: Duration,
    },
    /// Look once, then sleep: next to no CPU, the latency of the kernel.
    Park,
}

impl WaitPolicy {
    /// Spinning pays as long as it is not longer than the wake-up it saves.
    const DEFAULT_BUDGET: Duration = Duration::from_micros(50);
}

impl Default for WaitPolicy {
    /// `SpinThenPark` with a budget of 50 µs, about the cost of one cross-core
    /// wake-up; `Park` on a machine with one processor.
    fn default() -> Self {
        if cpu::online() > 1 {
            WaitPolicy::SpinThenPark { budget: WaitPolicy::DEFAULT_BUDGET }
        } else {
            WaitPolicy::Park
        }
    }
}

/// Spin hints between two looks at the clock.
const HINTS_PER_TURN: u32 = 16;

/// Pure spinning before giving way: longer than any hand-over between two
/// running processes, shorter than a time slice that a preempted peer needs.
const PURE_SPIN: Duration = Duration::from_micros(3);

/// One wait's spinning.
pub(crate) struct Spinner {
    policy: WaitPolicy,
    turns: u32,
    since: Option<Instant>,
}

impl Spinner {
    pub(crate) fn new(policy: WaitPolicy) -> Self {
        let policy = if cpu::online() > 1 { policy } else { WaitPolicy::Park };
        Spinner { policy, turns: 0, since: None }
    }

    /// Spends one turn. False: the budget is used up, sleep.
    #[inline]
    pub(crate) fn turn(&mut self) -> bool {
        match self.policy {
            WaitPolicy::Park => return false,
            WaitPolicy::Spin => {
                self.turns = self.turns.wrapping_add(1);
                spin_hint();
            }
            WaitPolicy::SpinThenPark { budget } => {
                self.turns = self.turns.wrapping_add(1);
                if self.turns % HINTS_PER_TURN != 0 {
                    spin_hint();
                    return true;
                }
                let waited = self.since.get_or_insert_with(Instant::now).elapsed();
                if waited >= budget {
                    return false;
                }
                if waited >= PURE_SPIN {
                    cpu::yield_now();
                }
            }
        }
        true
    }

    /// Whether the last turn looked at the clock: time to look at the deadline.
    #[inline]
    pub(crate) fn clock_was_read(&self) -> bool {
        self.turns.is_multiple_of(HINTS_PER_TURN)
    }

    /// Starts over, after progress.
    pub(crate) fn reset(&mut self) {
        self.turns = 0;
        self.since = None;
    }
}
