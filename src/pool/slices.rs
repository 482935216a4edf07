//! Maps over slices of plain data: their bytes are copied into the queue and out of it, and never encoded.

use super::Pool;
use super::error::{JobError, JobFailure};
use super::job::{JobState, decode};
use super::ledger::TASK_HEAD;
use super::map::Chunked;
use crate::process::slice_of;
use bytemuck::{AnyBitPattern, NoUninit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of a chunk whose size was not stated: with the message's head they fill a block, and a processor's
/// own cache has room for them.
const USUAL_BYTES: usize = (256 << 10) - 64;
/// Chunks under way at once, for each worker.
const AHEAD: usize = 4;

impl Pool {
    /// Calls `f` with chunks of `data`, about 256 KiB each, and waits for all results, which come in the order of the
    /// chunks. [`chunksize`](Pool::chunksize) states how many elements a chunk has; the last one has what is left.
    ///
    /// The elements are plain data ([`bytemuck::NoUninit`], [`bytemuck::AnyBitPattern`]: numbers, arrays and `repr(C)`
    /// structs of them). They are copied twice, into shared memory and into the worker's own, and not encoded:
    /// `f` is safe code, and may be handed no reference to memory that another process can write.
    /// With an [`arena`](crate::PoolBuilder::arena) that runs at about the speed of a plain copy; without one, memory is asked for
    /// and given back all the time.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let pool = ringway::Pool::new(2)?;
    /// let data: Vec<f64> = (0..100_000).map(f64::from).collect();
    /// let sums = pool.map_slices(|part: &[f64]| part.iter().sum::<f64>(), &data)?;
    /// assert_eq!(sums.iter().sum::<f64>(), 99_999.0 * 100_000.0 / 2.0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first one in the order of the chunks; what waits behind it does not run any more. See
    /// [`JobFailure`].
    pub fn map_slices<F, T, R>(&self, f: F, data: &[T]) -> Result<Vec<R>, JobError>
    where
        F: Fn(&[T]) -> R + Copy + Send + Sync + 'static,
        T: NoUninit + AnyBitPattern + Send,
        R: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().map_slices(f, data)
    }
}

impl Chunked<'_> {
    /// As [`Pool::map_slices`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_slices`].
    pub fn map_slices<F, T, R>(&self, f: F, data: &[T]) -> Result<Vec<R>, JobError>
    where
        F: Fn(&[T]) -> R + Copy + Send + Sync + 'static,
        T: NoUninit + AnyBitPattern + Send,
        R: Serialize + DeserializeOwned + 'static,
    {
        const { assert!(size_of::<T>() > 0, "elements without bytes cannot be told apart") };
        let (core, callee) = (self.pool.core(), slice_of::<F, T, R>(f));
        let elements = self.size.unwrap_or_else(|| {
            let room = USUAL_BYTES.min(core.limits.longest.saturating_sub(TASK_HEAD));
            (room / size_of::<T>()).max(1)
        });
        let ahead = (AHEAD * self.pool.workers()).min(core.limits.window);
        let mut chunks = data.chunks(elements);
        let mut results = Vec::with_capacity(data.len().div_ceil(elements));
        let mut under_way: VecDeque<Arc<JobState>> = VecDeque::with_capacity(ahead);
        let mut all = || loop {
            while under_way.len() < ahead
                && let Some(chunk) = chunks.next()
            {
                under_way.push_back(core.submit_in_place(callee, bytemuck::cast_slice(chunk))?);
            }
            let Some(job) = under_way.front() else { return Ok(()) };
            job.wait(core, None);
            let outcome = job.outcome().ok_or(JobFailure::NotReady)?;
            under_way.pop_front();
            results.push(decode(&outcome)?);
        };
        let done: Result<(), JobError> = all();
        // In a forked child nothing is, and somebody may have held the state when it was made.
        if !under_way.is_empty() {
            core.cancel(&under_way, false);
        }
        done.map(|()| results)
    }
}
