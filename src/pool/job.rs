//! One job, as whoever submitted it sees it.

use super::callbacks::Call;
use super::core::Core;
use super::error::{JobError, JobFailure};
use super::ledger::{self, Id, REPORT_HEAD};
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What is called with the outcome.
pub(super) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// What a worker has reported of a job that has returned.
#[derive(Clone, Default)]
pub(super) struct Report {
    pub(super) message: Vec<u8>,
    /// How often the job was begun.
    pub(super) attempts: u32,
}

/// That, or why nothing.
pub(super) type Reported = Result<Report, JobError>;

/// The same, for all who ask.
pub(super) type Outcome = Arc<Reported>;

#[derive(Default)]
pub(super) struct JobState {
    /// 0 while it has no slot.
    id: AtomicU64,
    /// Whether there is an outcome; changes under the lock.
    is_resolved: AtomicBool,
    inner: Mutex<Inner>,
    resolved: Condvar,
}

#[derive(Default)]
struct Inner {
    outcome: Option<Outcome>,
    callbacks: Vec<Callback>,
    /// Threads that sleep until it is resolved.
    sleeping: usize,
    /// Somebody has looked at the outcome.
    asked: bool,
    /// Who is told when it is resolved, and under which number.
    arrivals: Option<(Arc<Arrivals>, u64)>,
    #[cfg(feature = "async")]
    wakers: Vec<std::task::Waker>,
}

/// Which of several jobs are resolved, in that order.
#[derive(Default)]
pub(super) struct Arrivals {
    numbers: Mutex<VecDeque<u64>>,
    one_more: Condvar,
}

impl Arrivals {
    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, number: u64) {
        self.lock().push_back(number);
        self.one_more.notify_one();
    }

    pub(super) fn pop(&self) -> Option<u64> {
        self.lock().pop_front()
    }

    /// Waits for one, and takes reports meanwhile, if nobody does.
    pub(super) fn wait(&self, core: &Core) {
        core.wait_until(
            None,
            || !self.lock().is_empty(),
            || {
                let numbers = self.lock();
                if numbers.is_empty() {
                    drop(wait_on(&self.one_more, numbers, None));
                }
            },
        );
    }
}

/// Until it is notified, or until then.
pub(super) fn wait_on<'g, T>(
    condition: &Condvar,
    guard: MutexGuard<'g, T>,
    deadline: Option<Instant>,
) -> MutexGuard<'g, T> {
    match deadline {
        None => condition.wait(guard).unwrap_or_else(PoisonError::into_inner),
        Some(deadline) => {
            let rest = deadline.saturating_duration_since(Instant::now());
            condition.wait_timeout(guard, rest).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

impl JobState {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing of the user's runs while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever asks has the pool's state, as has whoever has set it.
    pub(super) fn id(&self) -> Option<Id> {
        match self.id.load(Ordering::Relaxed) {
            0 => None,
            id => Some(ledger::id_of(id)),
        }
    }

    pub(super) fn set_id(&self, id: Id) {
        self.id.store(id.raw(), Ordering::Relaxed);
    }

    /// Somebody has asked what comes of it, or will be told.
    pub(super) fn is_of_interest(&self) -> bool {
        let inner = self.lock();
        inner.asked || !inner.callbacks.is_empty()
    }

    /// Somebody has asked, and was told of another that belongs to it.
    pub(super) fn ask(&self) {
        self.lock().asked = true;
    }

    pub(super) fn is_ready(&self) -> bool {
        // Whoever finds it so takes the lock for the outcome.
        self.is_resolved.load(Ordering::Relaxed)
    }

    /// Once. What is to be called then.
    pub(super) fn resolve(&self, outcome: Reported) -> Vec<Call> {
        let outcome = Arc::new(outcome);
        let mut inner = self.lock();
        inner.outcome.get_or_insert_with(|| Arc::clone(&outcome));
        self.is_resolved.store(true, Ordering::Relaxed);
        let callbacks = std::mem::take(&mut inner.callbacks);
        let is_awaited = inner.sleeping > 0;
        let arrivals = inner.arrivals.take();
        #[cfg(feature = "async")]
        let wakers = std::mem::take(&mut inner.wakers);
        drop(inner);
        if is_awaited {
            self.resolved.notify_all();
        }
        if let Some((arrivals, number)) = arrivals {
            arrivals.push(number);
        }
        #[cfg(feature = "async")]
        for waker in wakers {
            // An executor's mistake is not to cost the next job its outcome.
            let woken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
            let _ = woken.map_err(std::mem::forget);
        }
        let call = |callback: Callback| -> Call {
            let outcome = Arc::clone(&outcome);
            Box::new(move || callback(outcome))
        };
        callbacks.into_iter().map(call).collect()
    }

    /// Waits until it is resolved, and takes reports meanwhile, if nobody does. False: the time is over.
    pub(super) fn wait(&self, core: &Core, deadline: Option<Instant>) -> bool {
        core.wait_until(deadline, || self.is_ready(), || self.sleep(deadline))
    }

    fn sleep(&self, deadline: Option<Instant>) {
        let mut inner = self.lock();
        if inner.outcome.is_some() {
            return;
        }
        inner.sleeping += 1;
        let mut inner = wait_on(&self.resolved, inner, deadline);
        inner.sleeping -= 1;
    }

    /// Whether it has a result; None while it is not resolved.
    pub(super) fn is_successful(&self) -> Option<bool> {
        self.lock().outcome.as_ref().map(|outcome| outcome.is_ok())
    }

    /// Has it called when this is resolved, or says that it is: with the outcome.
    pub(super) fn call_when_done(&self, callback: Callback) -> Option<(Callback, Outcome)> {
        let mut inner = self.lock();
        inner.asked = true;
        match inner.outcome.clone() {
            Some(outcome) => Some((callback, outcome)),
            None => {
                inner.callbacks.push(callback);
                None
            }
        }
    }

    /// Whether it is resolved; if not, that task is woken when it is.
    #[cfg(feature = "async")]
    pub(super) fn is_ready_or_wakes(&self, context: &std::task::Context<'_>) -> bool {
        let mut inner = self.lock();
        if inner.outcome.is_none() && !inner.wakers.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.wakers.push(context.waker().clone());
        }
        inner.outcome.is_some()
    }

    /// Tells `arrivals` when it is resolved, once.
    pub(super) fn tell(&self, arrivals: &Arc<Arrivals>, number: u64) {
        let mut inner = self.lock();
        if inner.outcome.is_some() {
            drop(inner);
            arrivals.push(number);
        } else {
            inner.arrivals = Some((Arc::clone(arrivals), number));
        }
    }

    /// Its handle is: an error that nobody has asked for is counted.
    pub(super) fn is_dropped(&self, core: &Core) {
        let mut inner = self.lock();
        let unasked = inner.outcome.clone().filter(|outcome| !inner.asked && outcome.is_err());
        inner.asked |= unasked.is_some();
        drop(inner);
        if let Some(Err(error)) = unasked.as_deref() {
            core.nobody_asked(error);
        }
    }

    pub(super) fn outcome(&self) -> Option<Outcome> {
        let mut inner = self.lock();
        inner.asked |= inner.outcome.is_some();
        inner.outcome.clone()
    }
}

/// Decodes what a worker has reported.
pub(super) fn decode<R: DeserializeOwned>(outcome: &Reported) -> Result<R, JobError> {
    match outcome {
        Ok(Report { message, attempts }) => postcard::from_bytes(message.get(REPORT_HEAD..).unwrap_or_default())
            .map_err(|error| JobError::new(JobFailure::ResultUndecodable { reason: error.to_string() }, *attempts)),
        Err(error) => Err(error.clone()),
    }
}

/// A job that was submitted with [`apply_async`](crate::Pool::apply_async): Python's `AsyncResult`.
///
/// Dropping it is legal: the job runs all the same. An error that nobody has asked for is then counted
/// ([`PoolStats`](crate::PoolStats)) and logged once (feature `log`). It may outlive its pool: what is not done then is
/// `Terminated`. As a future it is used up by `await`: wait for `&mut job` to keep it.
#[must_use = "dropping it gives up the result; the job runs all the same"]
pub struct Job<R> {
    core: Arc<Core>,
    state: Arc<JobState>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned + 'static> Job<R> {
    pub(super) fn new(core: Arc<Core>, state: Arc<JobState>) -> Job<R> {
        Job { core, state, result: PhantomData }
    }

    /// The number that [`PoolStats`](crate::PoolStats) has for it while it runs. Another job may have it after it is done.
    pub fn id(&self) -> u64 {
        self.state.id().map_or(0, Id::raw)
    }

    fn result(&self) -> Result<R, JobError> {
        match self.state.outcome() {
            Some(outcome) => decode(&outcome),
            None => Err(JobFailure::NotReady.into()),
        }
    }

    fn await_until(&self, deadline: Option<Instant>) -> Result<bool, JobError> {
        if self.core.ledger.is_forked() {
            return Err(JobFailure::Forked.into());
        }
        Ok(self.state.wait(&self.core, deadline))
    }

    /// Waits for the result. Can be asked again.
    ///
    /// # Errors
    ///
    /// What has become of the job instead: see [`JobFailure`]. No panics but those of the result's own
    /// `Deserialize`.
    pub fn get(&self) -> Result<R, JobError> {
        self.await_until(None)?;
        self.result()
    }

    /// Waits for the result, at most for `timeout`: then `NotReady`, and the job goes on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<R, JobError> {
        self.await_until(Instant::now().checked_add(timeout))?;
        self.result()
    }

    /// Waits until it is done, with a result or without.
    pub fn wait(&self) {
        let _ = self.await_until(None);
    }

    /// Waits until it is done, at most for `timeout`: whether it is.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.await_until(Instant::now().checked_add(timeout)).unwrap_or(false)
    }

    /// Whether it is done. Never blocks.
    pub fn ready(&self) -> bool {
        !self.core.ledger.is_forked() && self.state.is_ready()
    }

    /// Whether it is done and has a result; `None` while it is not done. Never blocks.
    pub fn successful(&self) -> Option<bool> {
        if self.core.ledger.is_forked() {
            return None;
        }
        self.state.is_successful()
    }

    /// Ends it: a job that waits never runs, and the worker that runs it is killed and replaced. The job then
    /// fails with `Cancelled`, once its worker has ended. False: it is done, or is about to say so. Never blocks.
    pub fn cancel(&self) -> bool {
        !self.core.ledger.is_forked() && !self.state.is_ready() && self.core.cancel([&self.state], true)
    }

    /// Has `callback` called with the outcome, on a thread of the pool's, one callback at a time. One that
    /// panics is logged and counted ([`PoolStats`](crate::PoolStats)). It may use the pool, and may take its time:
    /// nothing but other callbacks waits for it.
    pub fn on_done(&self, callback: impl FnOnce(Result<R, JobError>) + Send + 'static) {
        if self.core.ledger.is_forked() {
            return;
        }
        self.core.call_when_done(&self.state, Box::new(move |outcome| callback(decode(&outcome))));
    }
}

impl<R> Drop for Job<R> {
    fn drop(&mut self) {
        if self.core.ledger.is_forked() {
            return;
        }
        self.state.is_dropped(&self.core);
    }
}

impl<R> fmt::Debug for Job<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

#[cfg(feature = "async")]
impl<R: DeserializeOwned + 'static> std::future::Future for Job<R> {
    type Output = Result<R, JobError>;

    /// The pool's own thread takes reports meanwhile. Dropping the future is dropping the job's handle.
    fn poll(self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        use std::task::Poll;
        if self.core.ledger.is_forked() {
            return Poll::Ready(Err(JobFailure::Forked.into()));
        }
        if self.state.is_ready_or_wakes(context) { Poll::Ready(self.result()) } else { Poll::Pending }
    }
}
