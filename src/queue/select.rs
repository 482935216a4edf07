//! Waiting for the first of several queues.
//!
//! X1. A select takes nothing: it says which operation would not wait now. Whoever competes for
//! it may be faster.
//! X2. It sleeps by the protocol of `wait`, on all lines at once: S1 and S2 on each, one S3, S4
//! on each, then S5 on all words.
//! X3. Since it takes nothing, it keeps no wake-up: before it returns, those that have ended its
//! sleep are passed on, each to the next sleeper of its line. A spare wake-up costs that one a
//! look. Before it sleeps again there is nothing to pass on: what the wake-up was about is gone.
//! X4. It begins to ask at another queue each time, so that a busy one does not hide the others.

use super::end::{Gets, Puts};
use super::port::Port;
use super::waiting::Want;
use crate::primitive::Fences;
use crate::wait::{Attention, Deadline, WaitPolicy, ask, barrier, sleep_on_any};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the next select begins to ask (X4).
static TURN: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn next_turn() -> usize {
    TURN.fetch_add(1, Ordering::Relaxed)
}

/// Waits for the first of several queues from which something can be got, or to which
/// something can be put.
///
/// It says *which*, by the order in which they were named, and does nothing itself: follow it
/// with `try_get` or `try_put`, which may say `Empty` or `Full` where others compete for the
/// same queue and were faster; then select again. What would be an error (closed and drained,
/// peers gone) is ready too, and the operation says it.
///
/// On a `Single` side it takes the side, as the operation would.
///
/// It is fair: of several that are ready it does not always name the same one.
///
/// ```
/// use ringway::{PodQueue, Select};
///
/// let (numbers, letters) = (PodQueue::<u64>::bounded(4)?, PodQueue::<u8>::bounded(4)?);
/// letters.put(b'x')?;
/// let ready = Select::new().get(&numbers).get(&letters).wait();
/// assert_eq!(ready, Some(1));
/// assert_eq!(letters.try_get()?, b'x');
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Default)]
#[must_use = "it waits for nothing until `wait` is called"]
pub struct Select<'q> {
    waits: Vec<(&'q Port, Want)>,
}

impl<'q> Select<'q> {
    /// Of nothing yet.
    pub fn new() -> Select<'q> {
        Select { waits: Vec::new() }
    }

    /// Also waits until a get from this queue would not wait.
    pub fn get<E: Gets>(mut self, from: &'q E) -> Select<'q> {
        self.waits.push((from.port(), Want::Get));
        self
    }

    /// Also waits until a put to this queue would not wait for a position. A message that needs
    /// a block of the arena may have to wait for that still.
    pub fn put<E: Puts>(mut self, to: &'q E) -> Select<'q> {
        self.waits.push((to.port(), Want::Put));
        self
    }

    /// Waits for the first that is ready, and says which: 0 is the one that was named first. None
    /// at once if none was named.
    ///
    /// It sleeps in the kernel, on all queues at once: with
    /// [`WaitPolicy::Spin`](crate::WaitPolicy) of the first one it only looks. A peer that dies
    /// is noticed as by `get` and `put`. Of more than 128 queues, and on kernels before 5.16, it
    /// looks once in a millisecond.
    pub fn wait(&mut self) -> Option<usize> {
        self.until(Deadline::Never)
    }

    /// As [`wait`](Self::wait), for at most `timeout`. None: none was ready by then.
    ///
    /// ```
    /// use ringway::{PodQueue, Select};
    /// use std::time::Duration;
    ///
    /// let queue = PodQueue::<u64>::bounded(1)?;
    /// assert_eq!(Select::new().get(&queue).wait_timeout(Duration::from_millis(1)), None);
    /// assert_eq!(Select::new().get(&queue).put(&queue).wait_timeout(Duration::ZERO), Some(1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_timeout(&mut self, timeout: Duration) -> Option<usize> {
        self.until(Deadline::after(timeout))
    }

    /// As [`wait`](Self::wait), until `deadline` at most.
    pub fn wait_deadline(&mut self, deadline: Instant) -> Option<usize> {
        self.until(Deadline::at(deadline))
    }

    fn until(&mut self, deadline: Deadline) -> Option<usize> {
        let (first, _) = self.waits.first()?;
        let spins = first.wait_policy() == WaitPolicy::Spin && first.wait_policy().spins();
        let start = next_turn() % self.waits.len();
        let order = || (start..self.waits.len()).chain(0..start);
        let mut words: Vec<(&Attention, u32)> = Vec::with_capacity(self.waits.len());
        let mut seen = Vec::with_capacity(self.waits.len());
        loop {
            seen.clear();
            seen.extend(self.waits.iter().map(|(port, _)| port.seen()));
            let ready = order().find(|at| self.waits.get(*at).is_some_and(|(port, want)| port.is_ready(*want)));
            if ready.is_some() || deadline.passed() {
                self.pass_on(&words);
                return ready;
            }
            words.clear();
            if spins {
                crate::primitive::spin_hint();
                continue;
            }
            // X2.
            words.extend(self.waits.iter().map(|(port, want)| {
                let line = port.line_of(*want);
                (line, ask(line))
            }));
            let slice = self.barriers();
            let mut all = self.waits.iter().zip(&seen);
            if all.any(|((port, want), seen)| port.may_be_ready(*want, *seen)) {
                words.clear();
                continue;
            }
            self.waits.iter().for_each(|(port, _)| port.sleeping());
            sleep_on_any(&words, deadline.slice(slice));
            self.waits.iter().for_each(|(port, _)| port.awake());
        }
    }

    /// S3, once for each form that the queues use. The shortest sleep that any allows.
    fn barriers(&self) -> u64 {
        let forms = [Fences::Asymmetric, Fences::Symmetric, Fences::Blind];
        let used = forms.into_iter().filter(|form| self.waits.iter().any(|(port, _)| port.ring.fences == *form));
        used.map(barrier).min().unwrap_or_default()
    }

    /// X3.
    fn pass_on(&self, slept_on: &[(&Attention, u32)]) {
        for (line, epoch) in slept_on {
            if line.epoch() != *epoch {
                line.wake(1);
            }
        }
    }
}

impl std::fmt::Debug for Select<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Select").field("queues", &self.waits.len()).finish()
    }
}
