//! A map that nobody waits for yet.

use super::Pool;
use super::chunk::{Chunk, Results, encode};
use super::core::Core;
use super::error::{JobError, JobFailure};
use super::job::{JobState, Outcome};
use super::map::{MOST_BYTES, MOST_CALLS};
use crate::process::Callee;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Calls of a chunk where neither their number nor what they take is known.
const UNKNOWN_CALLS: usize = 64;

pub(super) fn map_async<T, I, R>(
    pool: &Pool,
    stated: Option<usize>,
    callee: &'static Callee,
    items: I,
) -> Result<MapJob<R>, JobError>
where
    I: IntoIterator<Item = T>,
    T: Serialize,
{
    let mut items = items.into_iter().fuse();
    let mut carried = None;
    // Nothing is known of the calls: as many chunks as share them evenly, if their number is known.
    let even = match items.size_hint() {
        _ if pool.core().limits.task_timeout.is_some() => 1,
        (least, Some(most)) if least == most => least.div_ceil(4 * pool.workers()).clamp(1, MOST_CALLS),
        _ => UNKNOWN_CALLS,
    };
    let (calls, bytes) =
        stated.map_or((even, MOST_BYTES.min(pool.core().limits.longest / 2)), |calls| (calls, usize::MAX));
    let (mut messages, mut counts) = (Vec::new(), Vec::new());
    loop {
        let longest = pool.core().limits.longest;
        let (chunk, failed) = Chunk::of(&mut items, encode, calls, bytes, (longest, &mut carried));
        if let Some(error) = failed {
            return Err(error);
        }
        let Some(Chunk { message, calls }) = chunk else { break };
        messages.push(message);
        counts.push(calls);
    }
    let jobs = pool.core().submit_all(callee, messages)?;
    Ok(MapJob {
        core: Arc::clone(pool.core()),
        jobs: jobs.into_iter().zip(counts).collect(),
        #[cfg(feature = "async")]
        done: 0,
        result: PhantomData,
    })
}

/// Many calls under way; comes from [`Pool::map_async`]: Python's `MapResult`.
///
/// Dropping it is legal: the calls run all the same. It may outlive its pool: what is not done then is `Terminated`. As a
/// future it is used up by `await`: wait for `&mut job` to keep it.
#[must_use = "dropping it gives up the results; the calls run all the same"]
pub struct MapJob<R> {
    core: Arc<Core>,
    jobs: Vec<(Arc<JobState>, usize)>,
    /// Of a future: so many are known to be done.
    #[cfg(feature = "async")]
    done: usize,
    result: PhantomData<fn() -> R>,
}

/// All results in order, or the first error.
fn gather<R: DeserializeOwned>(outcomes: impl Iterator<Item = (Outcome, usize)>) -> Result<Vec<R>, JobError> {
    let mut all = Vec::new();
    for (outcome, calls) in outcomes {
        let report = outcome.as_ref().as_ref().map_err(JobError::clone)?;
        let (mut results, _) = Results::new(report.clone(), calls);
        while let Some(result) = results.next() {
            all.push(result?);
        }
    }
    Ok(all)
}

impl<R: DeserializeOwned + 'static> MapJob<R> {
    /// Waits for all results, which come in the order of the items. Can be asked again.
    ///
    /// # Errors
    ///
    /// The first one in the order of the items; see [`JobFailure`]. For the chunks after one that has failed it does not wait.
    pub fn get(&self) -> Result<Vec<R>, JobError> {
        self.get_by(None)
    }

    /// The same, waiting at most for `timeout`: then `NotReady`, and the calls go on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<R>, JobError> {
        self.get_by(Instant::now().checked_add(timeout))
    }

    fn get_by(&self, deadline: Option<Instant>) -> Result<Vec<R>, JobError> {
        if self.core.ledger.is_forked() {
            return Err(JobFailure::Forked.into());
        }
        let mut outcomes = Vec::with_capacity(self.jobs.len());
        for (job, calls) in &self.jobs {
            if !job.wait(&self.core, deadline) {
                return Err(JobFailure::NotReady.into());
            }
            let outcome = job.outcome().ok_or(JobFailure::NotReady)?;
            let has_failed = outcome.is_err();
            outcomes.push((outcome, *calls));
            if has_failed {
                // This one is told of all.
                self.jobs.iter().for_each(|(job, _)| job.ask());
                break;
            }
        }
        gather(outcomes.into_iter())
    }

    /// Waits until all are done, with results or without.
    pub fn wait(&self) {
        self.wait_until(None);
    }

    /// Waits until all are done, at most for `timeout`: whether they are.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.wait_until(Instant::now().checked_add(timeout))
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        !self.core.ledger.is_forked() && self.jobs.iter().all(|(job, _)| job.wait(&self.core, deadline))
    }

    /// Whether all are done. Never blocks.
    pub fn ready(&self) -> bool {
        !self.core.ledger.is_forked() && self.jobs.iter().all(|(job, _)| job.is_ready())
    }

    /// Whether all are done and have results; `None` while one is not done. Never blocks.
    pub fn successful(&self) -> Option<bool> {
        if !self.ready() {
            return None;
        }
        Some(self.jobs.iter().all(|(job, _)| job.is_successful() == Some(true)))
    }

    /// Ends what is not done: what waits never runs, and workers that run it are killed and replaced. What is ended
    /// so fails with `Cancelled`. False: all was done, or is about to say so. Never blocks.
    pub fn cancel(&self) -> bool {
        if self.core.ledger.is_forked() {
            return false;
        }
        // The last come first: what waits is not begun in the place of what is ended.
        self.core.cancel(self.jobs.iter().rev().map(|(job, _)| job).filter(|job| !job.is_ready()), true)
    }

    /// Has `callback` called, once, when all are done, with all results or the first error in the order of the items; as
    /// [`Job::on_done`](crate::Job::on_done).
    pub fn on_done(&self, callback: impl FnOnce(Result<Vec<R>, JobError>) + Send + 'static) {
        if self.core.ledger.is_forked() {
            return;
        }
        if self.jobs.is_empty() {
            return self.core.call(vec![Box::new(move || callback(Ok(Vec::new())))]);
        }
        let waiting: Vec<Option<Outcome>> = vec![None; self.jobs.len()];
        let counts: Vec<usize> = self.jobs.iter().map(|(_, calls)| *calls).collect();
        let shared = Arc::new(Mutex::new((waiting, self.jobs.len(), Some((callback, counts)))));
        for (at, (job, _)) in self.jobs.iter().enumerate() {
            let shared = Arc::clone(&shared);
            let one_is_done = move |outcome| {
                let mut guard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let (waiting, left, then) = &mut *guard;
                waiting[at] = Some(outcome);
                *left -= 1;
                if *left > 0 {
                    return;
                }
                let (waiting, then) = (std::mem::take(waiting), then.take());
                drop(guard);
                if let Some((callback, counts)) = then {
                    callback(gather(waiting.into_iter().flatten().zip(counts)));
                }
            };
            self.core.call_when_done(job, Box::new(one_is_done));
        }
    }
}

impl<R> Drop for MapJob<R> {
    fn drop(&mut self) {
        if !self.core.ledger.is_forked() {
            self.jobs.iter().for_each(|(job, _)| job.is_dropped(&self.core));
        }
    }
}

impl<R> fmt::Debug for MapJob<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapJob").field("jobs", &self.jobs.len()).finish_non_exhaustive()
    }
}

#[cfg(feature = "async")]
impl<R: DeserializeOwned + 'static> std::future::Future for MapJob<R> {
    type Output = Result<Vec<R>, JobError>;

    /// As that of a [`Job`](crate::Job).
    fn poll(mut self: std::pin::Pin<&mut Self>, context: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        use std::task::Poll;
        if self.core.ledger.is_forked() {
            return Poll::Ready(Err(JobFailure::Forked.into()));
        }
        // One after the other: who is woken goes on where it was.
        while let Some((job, _)) = self.jobs.get(self.done) {
            if !job.is_ready_or_wakes(context) {
                return Poll::Pending;
            }
            if job.is_successful() == Some(false) {
                break;
            }
            self.done += 1;
        }
        Poll::Ready(self.get_by(None))
    }
}
