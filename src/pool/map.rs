//! Many jobs that are one: `map` and its relatives, over chunks of calls.
//!
//! A chunk is one job. Its size follows the time that the calls take: about a millisecond's worth, so that
//! what a chunk costs beside them is next to nothing, and workers share long calls evenly. Only so many
//! chunks are under way at once, whether they are done or not: so an iterator is read no faster than
//! its results are taken, and memory stays constant.

use super::Pool;
use super::chunk::{Chunk, Encode, Results, encode};
use super::core::Core;
use super::error::{JobError, JobFailure};
use super::job::{Arrivals, JobState};
use super::map_async::{MapJob, map_async};
use crate::process::{Callee, Function, many_of};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt;
use std::iter::Fuse;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

/// What a chunk is to take.
const TARGET: Duration = Duration::from_millis(1);
/// The most calls of a chunk whose size was not stated.
pub(super) const MOST_CALLS: usize = 8192;
/// Bytes of arguments after which such a chunk ends.
pub(super) const MOST_BYTES: usize = 256 << 10;
/// Chunks under way at once, for each worker.
const AHEAD: usize = 8;

/// How a pool is asked for many calls at once; comes from [`Pool::chunksize`].
#[derive(Clone, Copy, Debug)]
pub struct Chunked<'p> {
    pub(super) pool: &'p Pool,
    /// If it was stated.
    pub(super) size: Option<usize>,
    /// Of the progress bar, if there is to be one.
    #[cfg(feature = "progress")]
    label: Option<&'p str>,
}

impl Pool {
    /// The same maps with `size` calls in each job (0 counts as 1), instead of as many as take about a millisecond.
    ///
    /// A larger chunk costs less beside its calls; a job is what fails or is retried as one, and what
    /// [`task_timeout`](crate::PoolBuilder::task_timeout) is the limit of.
    pub fn chunksize(&self, size: usize) -> Chunked<'_> {
        Chunked { size: Some(size.max(1)), ..self.automatic() }
    }

    /// The same maps with a progress bar on standard error, if that is a terminal and they take more than two
    /// seconds: `map` and `starmap` (feature `progress`).
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let pool = ringway::Pool::new(2)?;
    /// let squares = pool.progress("squares").map(|n: u64| n * n, 0..1000)?;
    /// # assert_eq!(squares[999], 999 * 999);
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "progress")]
    pub fn progress<'p>(&'p self, label: &'p str) -> Chunked<'p> {
        Chunked { label: Some(label), ..self.automatic() }
    }

    pub(super) fn automatic(&self) -> Chunked<'_> {
        Chunked {
            pool: self,
            size: None,
            #[cfg(feature = "progress")]
            label: None,
        }
    }

    /// Calls `f` with each of `items`, and waits for all results, which come in the order of the items.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let pool = ringway::Pool::new(2)?;
    /// assert_eq!(pool.map(|n: u64| n * n, 1..=4)?, [1, 4, 9, 16]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// The first one in the order of the items; what waits behind it does not run any more, chunks that run do, for
    /// nothing. One call that panics or dies costs all results of its chunk, and a chunk that is tried again calls all of
    /// its items again. See [`JobFailure`].
    pub fn map<F, I>(&self, f: F, items: I) -> Result<Vec<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().map(f, items)
    }

    /// The same for functions of several arguments: the items are tuples.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let pool = ringway::Pool::new(2)?;
    /// assert_eq!(pool.starmap(|a: u32, b: u32| a + b, [(1, 2), (3, 4)])?, [3, 7]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`map`](Self::map).
    pub fn starmap<F, I>(&self, f: F, items: I) -> Result<Vec<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<I::Item>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().starmap(f, items)
    }

    /// As [`map`](Self::map), without waiting: all items are encoded now and lie in this process until there is room, however
    /// many. What is too large is told by `get`.
    ///
    /// # Errors
    ///
    /// `ArgumentsUnencodable`, `NotThisProgram`, `Closed`, `Terminated`, `Broken`, `Forked`.
    pub fn map_async<F, I>(&self, f: F, items: I) -> Result<MapJob<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().map_async(f, items)
    }

    /// The same for functions of several arguments: the items are tuples.
    ///
    /// # Errors
    ///
    /// As [`map_async`](Self::map_async).
    pub fn starmap_async<F, I>(&self, f: F, items: I) -> Result<MapJob<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<I::Item>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().starmap_async(f, items)
    }

    /// Calls `f` with each of `items`; an iterator over the results in the order of the items.
    ///
    /// It is lazy: nothing runs before the first `next`, then up to eight chunks a worker are under way, about 256 KiB of
    /// arguments each, and memory stays constant. So close the pool only after the iteration. An error stands for
    /// all calls of its chunk, and the iteration goes on after it (after an item that cannot be encoded it ends): where
    /// each call is to fail alone, state [`chunksize`](Self::chunksize) 1, or let the function return a `Result`. Dropping
    /// the iterator withdraws what has not begun.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let pool = ringway::Pool::new(2)?;
    /// let mut squares = pool.imap(|n: u64| n * n, 0..); // without end
    /// assert_eq!(squares.nth(1000).transpose()?, Some(1_000_000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn imap<F, I>(&self, f: F, items: I) -> Imap<I::IntoIter, F::Output>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().imap(f, items)
    }

    /// The same, with the results as they come.
    pub fn imap_unordered<F, I>(&self, f: F, items: I) -> ImapUnordered<I::IntoIter, F::Output>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        self.automatic().imap_unordered(f, items)
    }
}

impl<'p> Chunked<'p> {
    /// The same with a progress bar; see [`Pool::progress`].
    #[cfg(feature = "progress")]
    #[must_use]
    pub fn progress(self, label: &'p str) -> Chunked<'p> {
        Chunked { label: Some(label), ..self }
    }
}

impl Chunked<'_> {
    #[cfg_attr(not(feature = "progress"), allow(unused_variables))]
    fn gather<R>(
        &self,
        expected: Option<usize>,
        results: impl Iterator<Item = Result<R, JobError>>,
    ) -> Result<Vec<R>, JobError> {
        #[cfg(feature = "progress")]
        if let Some(label) = self.label {
            return super::progress::Watched::new(label, expected, results).collect();
        }
        results.collect()
    }

    /// As [`Pool::map`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn map<F, I>(&self, f: F, items: I) -> Result<Vec<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        let items = items.into_iter();
        let expected = items.size_hint().1;
        self.gather(expected, self.imap(f, items))
    }

    /// As [`Pool::starmap`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map`].
    pub fn starmap<F, I>(&self, f: F, items: I) -> Result<Vec<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<I::Item>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        let items = items.into_iter();
        let expected = items.size_hint().1;
        self.gather(expected, Imap::new(self.pool, self.size, many_of::<F, I::Item>(f), items, encode))
    }

    /// As [`Pool::map_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    pub fn map_async<F, I>(&self, f: F, items: I) -> Result<MapJob<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        map_async(self.pool, self.size, many_of::<F, (I::Item,)>(f), items)
    }

    /// As [`Pool::starmap_async`].
    ///
    /// # Errors
    ///
    /// As [`Pool::map_async`].
    pub fn starmap_async<F, I>(&self, f: F, items: I) -> Result<MapJob<F::Output>, JobError>
    where
        I: IntoIterator,
        F: Function<I::Item>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        map_async(self.pool, self.size, many_of::<F, I::Item>(f), items)
    }

    /// As [`Pool::imap`].
    pub fn imap<F, I>(&self, f: F, items: I) -> Imap<I::IntoIter, F::Output>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        Imap::new(self.pool, self.size, many_of::<F, (I::Item,)>(f), items.into_iter(), encode)
    }

    /// As [`Pool::imap_unordered`].
    pub fn imap_unordered<F, I>(&self, f: F, items: I) -> ImapUnordered<I::IntoIter, F::Output>
    where
        I: IntoIterator,
        F: Function<(I::Item,)>,
        I::Item: Serialize + DeserializeOwned + 'static,
    {
        ImapUnordered { inner: self.imap(f, items), arrivals: Arc::default() }
    }
}

/// Results in the order of the items; comes from [`Pool::imap`].
#[must_use = "an iterator takes items only as its results are taken"]
pub struct Imap<I: Iterator, R> {
    core: Arc<Core>,
    callee: &'static Callee,
    encode: Encode<I::Item>,
    items: Option<Fuse<I>>,
    /// Calls of a chunk, if that was stated.
    stated: Option<usize>,
    /// What calls have taken so far, and how long a result is.
    pace: Option<Duration>,
    result_bytes: usize,
    /// The arguments of a call that did not fit the chunk before.
    carried: Option<Vec<u8>>,
    ahead: usize,
    /// Of each chunk under way its number, its job, and how many calls it has.
    chunks: VecDeque<(u64, Arc<JobState>, usize)>,
    next_number: u64,
    results: Results,
    failed: Option<JobError>,
    result: PhantomData<fn() -> R>,
}

impl<I: Iterator, R: DeserializeOwned> Imap<I, R> {
    fn new(pool: &Pool, stated: Option<usize>, callee: &'static Callee, items: I, encode: Encode<I::Item>) -> Self {
        let core = Arc::clone(pool.core());
        let ahead = (AHEAD * pool.workers()).min(core.limits.window);
        Imap {
            core,
            callee,
            encode,
            items: Some(items.fuse()),
            stated,
            pace: None,
            result_bytes: 0,
            carried: None,
            ahead,
            chunks: VecDeque::new(),
            next_number: 0,
            results: Results::default(),
            failed: None,
            result: PhantomData,
        }
    }

    /// The last item may go beyond it.
    fn most_bytes(&self) -> usize {
        MOST_BYTES.min(self.core.limits.longest / 2)
    }

    fn calls(&self) -> (usize, usize) {
        match (self.stated, self.pace) {
            (Some(calls), _) => (calls, usize::MAX),
            (None, None) => (1, self.most_bytes()),
            (None, Some(pace)) => {
                let fitting = TARGET.as_nanos() / pace.as_nanos().max(1);
                // Its results have to fit one message, too.
                let most = (self.most_bytes() / self.result_bytes.max(1)).clamp(1, MOST_CALLS);
                // A limit of time is one for all of a chunk, and a call may take longer than those before.
                let most = if self.core.limits.task_timeout.is_some() { 1 } else { most };
                (usize::try_from(fitting).unwrap_or(most).clamp(1, most), self.most_bytes())
            }
        }
    }

    /// Submits what may be under way. `told`: whoever is to be told of the ends.
    fn top_up(&mut self, told: Option<&Arc<Arrivals>>) {
        while self.chunks.len() < self.ahead && self.failed.is_none() {
            let (calls, bytes) = self.calls();
            let Some(items) = self.items.as_mut() else { return };
            let longest = self.core.limits.longest;
            let (chunk, failed) = Chunk::of(items, self.encode, calls, bytes, (longest, &mut self.carried));
            // With the last of the items one may be carried to a chunk of its own.
            if chunk.is_none() || failed.is_some() {
                self.items = None;
                self.failed = failed;
            }
            let Some(Chunk { mut message, calls }) = chunk else { return };
            let submitted = self.core.submit(self.callee, &mut message, false).map(|(job, _)| (job, calls));
            match submitted {
                Ok((job, calls)) => {
                    if let Some(arrivals) = told {
                        job.tell(arrivals, self.next_number);
                    }
                    self.chunks.push_back((self.next_number, job, calls));
                    self.next_number += 1;
                }
                Err(error) => {
                    self.items = None;
                    self.failed = Some(error);
                }
            }
        }
    }

    /// What a chunk has come to.
    fn open(&mut self, job: Arc<JobState>, calls: usize) -> Result<(), JobError> {
        let outcome = job.outcome().ok_or(JobFailure::NotReady)?;
        drop(job);
        // Nobody else has it any more.
        let report = Arc::try_unwrap(outcome).unwrap_or_else(|shared| (*shared).clone())?;
        let took;
        (self.results, took) = Results::new(report, calls);
        let each = took / u32::try_from(calls.max(1)).unwrap_or(u32::MAX);
        self.result_bytes = self.result_bytes.max(self.results.len() / calls.max(1));
        // One that took long counts at once, one that was quick by half.
        self.pace = Some(self.pace.map_or(each, |pace| if each > pace { each } else { (pace + each) / 2 }));
        Ok(())
    }
}

impl<I: Iterator, R: DeserializeOwned> Iterator for Imap<I, R> {
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Result<R, JobError>> {
        loop {
            if let Some(result) = self.results.next() {
                return Some(result);
            }
            if self.core.ledger.is_forked() {
                self.items = None;
                self.chunks.clear();
                self.failed.get_or_insert(JobFailure::Forked.into());
            }
            self.top_up(None);
            let Some((_, job, calls)) = self.chunks.pop_front() else { return self.failed.take().map(Err) };
            job.wait(&self.core, None);
            if let Err(error) = self.open(job, calls) {
                return Some(Err(error));
            }
        }
    }
}

impl<I: Iterator, R> Drop for Imap<I, R> {
    /// What was not begun yet is not needed any more.
    fn drop(&mut self) {
        if !self.core.ledger.is_forked() {
            self.core.cancel(self.chunks.iter().map(|(_, job, _)| job), false);
        }
    }
}

impl<I: Iterator, R> fmt::Debug for Imap<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("under_way", &self.chunks.len()).finish_non_exhaustive()
    }
}

/// Results as they come; comes from [`Pool::imap_unordered`].
#[must_use = "an iterator takes items only as its results are taken"]
pub struct ImapUnordered<I: Iterator, R> {
    inner: Imap<I, R>,
    arrivals: Arc<Arrivals>,
}

impl<I: Iterator, R: DeserializeOwned> Iterator for ImapUnordered<I, R> {
    type Item = Result<R, JobError>;

    fn next(&mut self) -> Option<Result<R, JobError>> {
        loop {
            if let Some(result) = self.inner.results.next() {
                return Some(result);
            }
            if self.inner.core.ledger.is_forked() {
                self.inner.items = None;
                self.inner.chunks.clear();
                return self
                    .inner
                    .failed
                    .replace(JobFailure::Forked.into())
                    .is_none()
                    .then(|| Err(JobFailure::Forked.into()));
            }
            self.inner.top_up(Some(&self.arrivals));
            if self.inner.chunks.is_empty() {
                return self.inner.failed.take().map(Err);
            }
            self.arrivals.wait(&self.inner.core);
            let Some(number) = self.arrivals.pop() else { continue };
            let at = self.inner.chunks.iter().position(|(known, _, _)| *known == number);
            let Some((_, job, calls)) = at.and_then(|at| self.inner.chunks.remove(at)) else { continue };
            if let Err(error) = self.inner.open(job, calls) {
                return Some(Err(error));
            }
        }
    }
}

impl<I: Iterator, R> fmt::Debug for ImapUnordered<I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImapUnordered").field("under_way", &self.inner.chunks.len()).finish_non_exhaustive()
    }
}
