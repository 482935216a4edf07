//! How long to look before sleeping.

use crate::primitive::{processors_online, spin_hint, yield_now};
use std::cell::Cell;
use std::time::{Duration, Instant};

/// What a blocked operation does until its turn comes.
///
/// A wake-up through the kernel costs between two microseconds (same core) and
/// seventy (another core that went idle); a look at shared memory costs a tenth
/// of one. So the spin budget decides the latency, and the CPU it may burn.
///
/// With any policy but `Park`, a blocking operation that catches up with the other
/// side in the middle of a stream (16 messages or more without a wait) first lets it
/// get ahead: for one or two microseconds, for twenty at most while more than some ten
/// million messages a second keep coming. It is what makes streams fast, and it can
/// make one message of a stream that much later. A request and its reply are never
/// delayed by it, and no operation with a deadline within 100 µs is; who cannot have
/// it polls with `try_get`, or parks.
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
    /// Look for about `budget` of processor time, first spinning, then giving way
    /// to other threads between looks, then sleep. The default; see
    /// [`WaitPolicy::default`] for the budget.
    SpinThenPark {
        /// How long to look before sleeping.
        budget: Duration,
    },
    /// Look once, then sleep: next to no CPU, the latency of the kernel.
    Park,
}

impl WaitPolicy {
    /// Whether a wait begins with spinning. Never on one processor.
    pub(crate) fn spins(self) -> bool {
        self != WaitPolicy::Park && processors_online() > 1
    }

    /// Spinning pays as long as it is not longer than the wake-up it saves.
    const DEFAULT_BUDGET: Duration = Duration::from_micros(50);
}

impl Default for WaitPolicy {
    /// `SpinThenPark` with a budget of 50 µs, about the cost of one cross-core
    /// wake-up; `Park` on a machine with one processor.
    fn default() -> Self {
        if processors_online() > 1 {
            WaitPolicy::SpinThenPark { budget: WaitPolicy::DEFAULT_BUDGET }
        } else {
            WaitPolicy::Park
        }
    }
}

/// The longest phase of pure spinning, in spin hints: about a microsecond,
/// longer than any hand-over between two running processes.
const LONGEST_SPIN: u32 = 32;
const SHORTEST_SPIN: u32 = 4;

/// Turns of a wait that never sleeps, between two looks for the dead: some
/// milliseconds.
const SPIN_SLICE: u32 = 1 << 18;

/// What a handle has learnt about how long its peers take, in spin hints.
///
/// Spinning is right while the peer runs on another processor, and wrong when it
/// waits for ours: then giving way at once is right. The one is told from the
/// other by whether spinning has succeeded lately.
pub(crate) struct Patience(Cell<u32>);

impl Patience {
    pub(crate) const fn new() -> Patience {
        Patience(Cell::new(LONGEST_SPIN))
    }

    /// How many turns of pure spinning are worth while.
    pub(crate) fn turns(&self) -> u32 {
        self.0.get()
    }

    /// Spinning has found what it waited for, after so many turns.
    pub(crate) fn spin_paid(&self, turns: u32) {
        let wanted = turns.saturating_mul(2).clamp(SHORTEST_SPIN, LONGEST_SPIN);
        self.0.set(self.0.get().max(wanted));
    }

    fn spin_failed(&self) {
        self.0.set((self.0.get() / 2).max(SHORTEST_SPIN));
    }
}

/// One wait's spinning.
pub(crate) struct Spinner<'h> {
    policy: WaitPolicy,
    patience: &'h Patience,
    turns: u32,
    /// Since when it gives way, and what of that was its own doing.
    since: Option<Instant>,
    spent: Duration,
}

/// A yield that takes longer let somebody else run: that costs nobody anything,
/// and does not count towards the budget.
const IDLE_YIELD: Duration = Duration::from_micros(2);

impl<'h> Spinner<'h> {
    pub(crate) fn new(policy: WaitPolicy, patience: &'h Patience) -> Self {
        let policy = if policy.spins() { policy } else { WaitPolicy::Park };
        Spinner { policy, patience, turns: 0, since: None, spent: Duration::ZERO }
    }

    /// The phase of pure spinning is over already.
    pub(crate) fn has_spun(&mut self) {
        self.turns = self.patience.turns();
    }

    /// Spends one turn. False: the budget is used up, sleep.
    #[inline]
    pub(crate) fn turn(&mut self) -> bool {
        match self.policy {
            WaitPolicy::Park => false,
            WaitPolicy::Spin => {
                self.turns = self.turns.wrapping_add(1);
                spin_hint();
                true
            }
            WaitPolicy::SpinThenPark { budget } => {
                self.turns = self.turns.saturating_add(1);
                if self.turns <= self.patience.0.get() {
                    spin_hint();
                    return true;
                }
                self.give_way(budget)
            }
        }
    }

    /// On a processor that others want too, waiting in the run queue is better
    /// than sleeping: it saves the wake-up. So only yields that came straight back
    /// use the budget up.
    #[cold]
    fn give_way(&mut self, budget: Duration) -> bool {
        if self.spent >= budget {
            return false;
        }
        let start = Instant::now();
        if self.since.is_none() {
            self.since = Some(start);
            self.patience.spin_failed();
        }
        yield_now();
        self.spent += start.elapsed().min(IDLE_YIELD);
        true
    }

    /// Whether it is time to look at the deadline: not on every turn.
    #[inline]
    pub(crate) fn deadline_due(&self) -> bool {
        self.since.is_some() || self.turns.is_multiple_of(LONGEST_SPIN)
    }

    /// Whether a wait that only spins is to look for what the dead left undone.
    #[inline]
    pub(crate) fn slice_due(&self) -> bool {
        self.turns != 0 && self.turns.is_multiple_of(SPIN_SLICE)
    }

    /// What was waited for has come.
    #[inline]
    pub(crate) fn succeeded(&self) {
        match self.since {
            None => self.patience.spin_paid(self.turns),
            // A few looks more would have done: the peer does run elsewhere.
            Some(since) if since.elapsed() < Duration::from_micros(2) => self.patience.spin_paid(LONGEST_SPIN / 2),
            Some(_) => {}
        }
    }

    /// Starts over, after a sleep.
    pub(crate) fn reset(&mut self) {
        self.turns = 0;
        self.since = None;
        self.spent = Duration::ZERO;
    }
}
