//! A map that nobody waits for yet.

use super::Pool;
use super::core::Core;
use super::error::{JobError, JobFailure};
use super::job::JobState;
use super::map::{Chunk, MOST_BYTES, MOST_CALLS, Results, encode};
use crate::process::Callee;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

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
    Ok(MapJob { core: Arc::clone(pool.core()), jobs: jobs.into_iter().zip(counts).collect(), result: PhantomData })
}

/// Many calls under way; comes from [`Pool::map_async`].
///
/// Dropping it is legal: the calls run all the same.
#[must_use = "dropping it gives up the results; the calls run all the same"]
pub struct MapJob<R> {
    core: Arc<Core>,
    jobs: Vec<(Arc<JobState>, usize)>,
    result: PhantomData<fn() -> R>,
}

impl<R: DeserializeOwned> MapJob<R> {
    /// Waits for all results, which come in the order of the items. Can be asked again.
    ///
    /// # Errors
    ///
    /// The first one in the order of the items; see [`JobFailure`].
    pub fn get(&self) -> Result<Vec<R>, JobError> {
        self.get_by(None)
    }

    /// The same, waiting at most for `timeout`: then `NotReady`, and the calls go on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub fn get_timeout(&self, timeout: Duration) -> Result<Vec<R>, JobError> {
        self.get_by(std::time::Instant::now().checked_add(timeout))
    }

    fn get_by(&self, deadline: Option<std::time::Instant>) -> Result<Vec<R>, JobError> {
        if self.core.ledger.is_forked() {
            return Err(JobFailure::Forked.into());
        }
        let mut all = Vec::new();
        for (job, calls) in &self.jobs {
            if !job.wait(&self.core, deadline) {
                return Err(JobFailure::NotReady.into());
            }
            let outcome = job.outcome().ok_or(JobFailure::NotReady)?;
            let report = outcome.as_ref().as_ref().map_err(|error| {
                // This one is told of all.
                self.jobs.iter().for_each(|(job, _)| job.ask());
                error.clone()
            })?;
            let (mut results, _) = Results::new(report.clone(), *calls);
            while let Some(result) = results.next() {
                all.push(result?);
            }
        }
        Ok(all)
    }

    /// Whether all are done. Never blocks.
    pub fn ready(&self) -> bool {
        !self.core.ledger.is_forked() && self.jobs.iter().all(|(job, _)| job.is_ready())
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
