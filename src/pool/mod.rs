//! Pools of worker processes: jobs are submitted, run somewhere, and their results come back.
//!
//! Jobs go through one queue that all workers take from, results and everything else that happens come
//! back through another. Whose a job is stands in shared memory (`ledger`), so the death of a worker
//! costs its own job and no other; what a pool does about all that happens is `core`'s, and a
//! thread of its own (`supervisor`) does what nobody waits for.
//!
//! It must not know how a queue or a process works, and has no unsafe code.

mod callbacks;
mod chunk;
mod core;
mod draft;
mod error;
mod job;
mod ledger;
mod map;
mod map_async;
mod outside;
#[cfg(feature = "progress")]
mod progress;
mod pump;
mod puts;
mod slices;
mod state;
mod stats;
mod supervisor;
mod worker;

pub use error::{JobError, JobFailure, PoolError};
pub use job::Job;
pub use map::{Chunked, Imap, ImapUnordered};
pub use map_async::MapJob;
pub use stats::{PoolStats, WorkerStats};

use self::core::{Core, Queues, Recipe};
use crate::Side;
use crate::process::{Function, Process, cpu_count, one_of};
use crate::queue::{Handle, Options, free_share};
use crate::wait::WaitPolicy;
use draft::Draft;
use job::{decode, wait_on};
use ledger::{Id, Ledger};
use serde::Serialize;
use serde::de::DeserializeOwned;
use state::{Limits, Phase};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use worker::{Arguments, Assignment};

/// Worker processes that run functions: Python's `multiprocessing.Pool`.
///
/// ```
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// ringway::init();
/// let pool = ringway::Pool::new(2)?;
/// assert_eq!(pool.apply(square, (7,))?, 49);
/// let job = pool.apply_async(square, (8,))?;
/// assert_eq!(pool.map(square, 0..4)?, [0, 1, 4, 9]);
/// assert_eq!(job.get()?, 64);
/// pool.close();
/// pool.join()?;
/// # Ok(())
/// # }
/// ```
///
/// Functions and arguments are those of a [`Process`](crate::Process): function items and closures that capture
/// nothing; values that serde knows. A queue handle among a job's arguments travels as a
/// [ticket](crate::Ticket): the worker opens it when the job begins, and again if it is tried again. So this process
/// has to keep a handle of an anonymous queue until the job is done, and before the job begins nobody counts it as
/// a peer: make the queue with [`peers_gone(false)`](crate::Options::peers_gone) where that matters. Do not return a
/// handle of a queue that the job has made: its worker lets go of it.
///
/// After a `fork` the child has nothing of the pool: what returns errors says `Forked`, the rest does
/// nothing. The pool has one thread of its own, and one more while there are callbacks.
///
/// # What a death costs
///
/// | what happens | what follows |
/// |---|---|
/// | a job panics | it fails with `Panicked`; its worker goes on |
/// | a worker dies | the job that it was at fails with `Died`, or is tried again if [`retries`](PoolBuilder::retries) says so; all others go on, and the worker is replaced |
/// | a job takes too long | its worker is killed and replaced ([`task_timeout`](PoolBuilder::task_timeout)); it fails with `TimedOut`, or is tried again |
/// | the initializer fails | [`build`](PoolBuilder::build) says so; in a worker that replaces another it is tried again; without any worker the pool ends, `Broken` |
/// | the pool is dropped | jobs that are not done fail with `Terminated`; workers are terminated, and killed after half a second |
/// | this process dies | its workers end |
///
/// A job whose worker died between the end of the function and its report counts as one that died. So a
/// function that is retried may have run to its end before. Where panics abort (`panic = "abort"`) a panic is a
/// death: `Died`, with `ExitStatus::Panicked`.
///
/// Workers are ended with SIGKILL where a job is ended: nothing of theirs is cleaned up, and children that a job has
/// started by other means live on. Ctrl-C on a terminal ends workers, too; a program that handles it, and wants its
/// workers to go on, has an [`initializer`](PoolBuilder::initializer) that ignores SIGINT.
///
/// Any thread may use a pool, and jobs may start pools of their own.
pub struct Pool {
    core: Arc<Core>,
    workers: usize,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// How to make a [`Pool`].
///
/// | option | default |
/// |---|---|
/// | [`workers`](PoolBuilder::workers) | [`cpu_count`](crate::cpu_count) |
/// | [`initializer`](PoolBuilder::initializer) | none |
/// | [`max_tasks_per_child`](PoolBuilder::max_tasks_per_child) | no limit |
/// | [`task_timeout`](PoolBuilder::task_timeout) | none |
/// | [`retries`](PoolBuilder::retries) | 0 |
/// | [`window`](PoolBuilder::window) | 65,536 jobs under way |
/// | [`memory`](PoolBuilder::memory) | a quarter of what is free, each for jobs and for results |
/// | [`arena`](PoolBuilder::arena) | none: memory grows and shrinks |
/// | [`name`](PoolBuilder::name) | `Pool-N` |
/// | [`wait_policy`](PoolBuilder::wait_policy) | [`WaitPolicy::default`] |
/// | [`affinity`](PoolBuilder::affinity) | that of this process |
pub struct PoolBuilder {
    workers: Option<usize>,
    recipe: Recipe,
    has_initializer: bool,
    max_tasks_per_child: Option<u64>,
    task_timeout: Option<Duration>,
    retries: u32,
    window: usize,
    memory: Option<u64>,
    arena: Option<u64>,
    name: Option<String>,
    policy: WaitPolicy,
    affinity: Option<Vec<usize>>,
}

const DEFAULT_WINDOW: usize = 1 << 16;
/// Each has a place among the participants of two queues, and while it is replaced another one.
const MOST_WORKERS: usize = 500;
/// Bytes of the longest arguments, and of the longest result.
const MAX_MESSAGE: usize = 1 << 30;
/// A job's message goes back with a few bytes more, should its worker die.
const SPARE: usize = 64;
/// Less makes no sense.
const LEAST_MESSAGE: usize = 4096;

/// The longest message where all of them have `bytes`.
fn part(bytes: u64, of: u64) -> usize {
    usize::try_from(bytes / of).unwrap_or(MAX_MESSAGE).clamp(LEAST_MESSAGE, MAX_MESSAGE)
}

fn recipe<F, A>(arguments: Arc<Mutex<A>>) -> Recipe
where
    F: Function<A, Output = ()>,
    A: Serialize + DeserializeOwned + Send + 'static,
{
    Box::new(move |assignment: Assignment| {
        Process::new(worker::work::<F, A>, (assignment, Arguments(Arc::clone(&arguments))))
    })
}

fn recipe_of<F, A>(_: F, arguments: A) -> Recipe
where
    F: Function<A, Output = ()>,
    A: Serialize + DeserializeOwned + Send + 'static,
{
    recipe::<F, A>(Arc::new(Mutex::new(arguments)))
}

impl Default for PoolBuilder {
    fn default() -> PoolBuilder {
        PoolBuilder {
            workers: None,
            recipe: recipe_of(worker::nothing, ()),
            has_initializer: false,
            max_tasks_per_child: None,
            task_timeout: None,
            retries: 0,
            window: DEFAULT_WINDOW,
            memory: None,
            arena: None,
            name: None,
            policy: WaitPolicy::default(),
            affinity: None,
        }
    }
}

impl PoolBuilder {
    /// How many worker processes: 1 to 500.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers);
        self
    }

    /// What each worker calls before its first job. If it panics or ends the worker, there is no pool:
    /// [`build`](Self::build) says so. Where it fails later, in a worker that takes another's place, it is tried
    /// again, with growing pauses; after eight times in a row, more than a second, while no other worker takes jobs, the
    /// pool ends, with `Broken`. There is no limit of time for it. The arguments stay with the pool, for the
    /// workers to come; a queue handle among them keeps this process a peer.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// use std::sync::atomic::{AtomicU32, Ordering};
    ///
    /// static BASE: AtomicU32 = AtomicU32::new(0);
    ///
    /// let pool = ringway::Pool::builder()
    ///     .workers(2)
    ///     .initializer(|base: u32| BASE.store(base, Ordering::Relaxed), (40,))
    ///     .build()?;
    /// assert_eq!(pool.apply(|n: u32| BASE.load(Ordering::Relaxed) + n, (2,))?, 42);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn initializer<F, A>(mut self, f: F, arguments: A) -> Self
    where
        F: Function<A, Output = ()>,
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        self.recipe = recipe_of(f, arguments);
        self.has_initializer = true;
        self
    }

    /// After so many jobs a worker ends, and another takes its place.
    #[must_use]
    pub fn max_tasks_per_child(mut self, jobs: u64) -> Self {
        self.max_tasks_per_child = Some(jobs);
        self
    }

    /// The longest that a job may run; it is ended up to 20 ms later. Of the maps a chunk is a job: one whose size was not
    /// [stated](Pool::chunksize) is one call then.
    #[must_use]
    pub fn task_timeout(mut self, limit: Duration) -> Self {
        self.task_timeout = Some(limit);
        self
    }

    /// How often a job is begun again whose worker has died or was ended because it took too long. A job that
    /// panics is not: it would again.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How many jobs may be under way, submitted and not done: 1 to 1,048,576. Whoever submits more waits. A cancelled one
    /// counts until a worker has passed over its message; a result that nobody has taken does not, and lies in this
    /// process until its handle is dropped.
    #[must_use]
    pub fn window(mut self, jobs: usize) -> Self {
        self.window = jobs;
        self
    }

    /// The most bytes of shared memory that arguments which wait take; and the same for results. Whoever
    /// submits more waits. The arguments of one job, and its result, have at most half of it, and
    /// at most 1 GiB.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Memory that is there from the start and stays, instead of such that grows and shrinks: so many bytes for
    /// arguments that are longer than 52 bytes, the same for results, and 64 bytes for each job of the window.
    ///
    /// For pools that move much data all the time: growing means asking the system for pages. The arguments of one
    /// job, and its result, have at most a quarter of it.
    #[must_use]
    pub fn arena(mut self, bytes: u64) -> Self {
        self.arena = Some(bytes);
        self
    }

    /// What it is called; its workers are called that and a number.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How workers wait for jobs, and callers for results.
    #[must_use]
    pub fn wait_policy(mut self, policy: WaitPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// The processors that workers may run on, by number.
    #[must_use]
    pub fn affinity(mut self, processors: impl Into<Vec<usize>>) -> Self {
        self.affinity = Some(processors.into());
        self
    }

    /// Starts the workers. With an initializer it waits until all of them are through that.
    ///
    /// # Errors
    ///
    /// `InvalidOptions`; `Process` if a worker cannot be started (`NotInitialised` among others), `Queue` if there
    /// is no memory, `Initializer` if that has failed, `System`. Nothing is left then. No panics.
    pub fn build(self) -> Result<Pool, PoolError> {
        let invalid = |reason| Err(PoolError::InvalidOptions { reason });
        let workers = self.workers.unwrap_or_else(|| cpu_count().min(MOST_WORKERS));
        if !(1..=MOST_WORKERS).contains(&workers) {
            return invalid("a pool has 1 to 500 workers");
        }
        if !(1..=Id::MOST).contains(&self.window) {
            return invalid("a window is 1 to 1048576 jobs");
        }
        if self.max_tasks_per_child == Some(0) {
            return invalid("a worker does at least one job: max_tasks_per_child is 0");
        }
        if self.task_timeout == Some(Duration::ZERO) {
            return invalid("task_timeout is 0: every job would be ended");
        }
        static POOLS: AtomicU64 = AtomicU64::new(0);
        let number = POOLS.fetch_add(1, Ordering::Relaxed) + 1;
        let participants = (2 * workers + 16) as u32;
        let (tasks, reports) = match (self.arena, self.memory) {
            (Some(_), Some(_)) => return invalid("memory is for a pool without an arena"),
            (Some(bytes), None) => {
                let room = |jobs: usize| Options::new(jobs as u64).arena(bytes).max_message(part(bytes, 4));
                let shorter = part(bytes, 4) - SPARE;
                // Reports of the pool's own come between those of jobs.
                let reports = room(self.window + 4 * workers + 64);
                (room(self.window).max_message(shorter).producers(Side::Single), reports.consumers(Side::Single))
            }
            (None, memory) => {
                let bytes = memory.unwrap_or_else(free_share);
                let grows = Options::unbounded().cap(bytes).max_message(part(bytes, 2));
                (grows.clone().max_message(part(bytes, 2) - SPARE), grows)
            }
        };
        let all = |options: Options| options.max_participants(participants).peers_gone(false).wait_policy(self.policy);
        let affinity = self.affinity;
        let inner = self.recipe;
        let recipe: Recipe = Box::new(move |assignment| match &affinity {
            Some(processors) => inner(assignment).affinity(processors.clone()),
            None => inner(assignment),
        });
        let queues = Queues {
            tasks: Handle::with_options(all(tasks).leases(1)).map_err(PoolError::Queue)?,
            reports: Handle::with_options(all(reports).leases(0)).map_err(PoolError::Queue)?,
            recipe,
        };
        let system = |doing| move |source| PoolError::System { doing, source };
        let name = self.name.unwrap_or_else(|| format!("Pool-{number}"));
        let ledger = Ledger::create(workers, self.window, &name).map_err(system("making shared memory"))?;
        let limits = Limits {
            name,
            window: self.window,
            // One beyond all clocks is none.
            task_timeout: self.task_timeout.filter(|limit| Instant::now().checked_add(*limit).is_some()),
            retries: self.retries,
            max_tasks_per_child: self.max_tasks_per_child,
            has_initializer: self.has_initializer,
            longest: queues.tasks.max_message(),
        };
        let core = Arc::new(Core::new(limits, workers, ledger, queues, self.policy).map_err(PoolError::Queue)?);
        let listener: std::sync::Weak<dyn crate::process::AfterDeaths> = Arc::<Core>::downgrade(&core);
        crate::process::after_deaths(listener);
        let of_thread = Arc::clone(&core);
        let thread = std::thread::Builder::new().name("ringway-pool".into());
        let supervisor =
            thread.spawn(move || supervisor::supervise(&of_thread)).map_err(system("starting a thread"))?;
        // Whatever fails from here on, dropping it ends what there is.
        let pool = Pool { core, workers, supervisor: Mutex::new(Some(supervisor)) };
        for at in 0..workers {
            if pool.core.lock().broken.is_some() {
                break;
            }
            supervisor::start(&pool.core, at, false)?;
        }
        pool.wait_for_arrival()?;
        Ok(pool)
    }
}

impl fmt::Debug for PoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolBuilder").field("workers", &self.workers).finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of so many worker processes; see [`PoolBuilder`].
    ///
    /// # Errors
    ///
    /// As [`PoolBuilder::build`].
    pub fn new(workers: usize) -> Result<Pool, PoolError> {
        Pool::builder().workers(workers).build()
    }

    /// What can be chosen.
    pub fn builder() -> PoolBuilder {
        PoolBuilder::default()
    }

    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn wait_for_arrival(&self) -> Result<(), PoolError> {
        self.core.wake();
        let mut state = self.core.lock();
        while state.arriving() > 0 && state.broken.is_none() {
            state = self.core.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        match state.broken.clone() {
            Some(reason) => Err(PoolError::Initializer { reason }),
            None => {
                state.is_built = true;
                Ok(())
            }
        }
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Calls `f` with `arguments`, a tuple, in a worker, and waits for the result.
    ///
    /// # Errors
    ///
    /// What has become of it instead: see [`JobFailure`]. No panics but those of the arguments' `Serialize`
    /// and the result's `Deserialize`.
    pub fn apply<F, A>(&self, f: F, arguments: A) -> Result<F::Output, JobError>
    where
        F: Function<A>,
        A: Serialize + DeserializeOwned + 'static,
    {
        let mut draft = Draft::new();
        draft.write(&arguments)?;
        drop(arguments);
        let (job, pump) = self.core.submit(one_of::<F, A>(f), draft.message(), true)?;
        match pump.and_then(|pump| pump.take_own(&job)) {
            Some(outcome) => decode(&outcome),
            None => Job::new(Arc::clone(&self.core), job).get(),
        }
    }

    /// The same without waiting: a handle of the job. Waits only while the [`window`](PoolBuilder::window) or the
    /// memory is full.
    ///
    /// # Errors
    ///
    /// `ArgumentsUnencodable`, `NotThisProgram`, `Closed`, `Terminated`, `Broken`, `Forked`: it will not run.
    pub fn apply_async<F, A>(&self, f: F, arguments: A) -> Result<Job<F::Output>, JobError>
    where
        F: Function<A>,
        A: Serialize + DeserializeOwned + 'static,
    {
        let mut draft = Draft::new();
        draft.write(&arguments)?;
        drop(arguments);
        let (job, _) = self.core.submit(one_of::<F, A>(f), draft.message(), false)?;
        Ok(Job::new(Arc::clone(&self.core), job))
    }

    /// Nothing is submitted any more: what is then is `Closed`. What was submitted before is done, and
    /// the workers end. Does not wait.
    pub fn close(&self) {
        if self.core.ledger.is_forked() {
            return;
        }
        let mut state = self.core.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Closed;
        }
        drop(state);
        self.core.changed.notify_all();
        self.core.wake();
    }

    /// Ends the pool: jobs that are not done fail with `Terminated`, workers are terminated, and killed after half
    /// a second. The queues that they were at stay whole. Does not wait.
    pub fn terminate(&self) {
        if !self.core.ledger.is_forked() {
            supervisor::abandon(&self.core);
        }
    }

    /// Waits until all that was submitted is done, well or not, all workers have ended and all callbacks were called.
    /// In a callback it does not wait for callbacks.
    ///
    /// # Errors
    ///
    /// `NotClosed`: [`close`](Self::close) or [`terminate`](Self::terminate) comes first, or this would
    /// wait for ever. `Forked`. No panics.
    pub fn join(&self) -> Result<(), PoolError> {
        self.join_by(None).map(drop)
    }

    /// The same, waiting at most for `timeout`: whether it has come to that.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, PoolError> {
        self.join_by(Instant::now().checked_add(timeout))
    }

    fn join_by(&self, deadline: Option<Instant>) -> Result<bool, PoolError> {
        if self.core.ledger.is_forked() {
            return Err(PoolError::Forked);
        }
        let mut state = self.core.lock();
        if state.phase == Phase::Open {
            return Err(PoolError::NotClosed);
        }
        while state.phase != Phase::Ended {
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(false);
            }
            state = wait_on(&self.core.changed, state, deadline);
        }
        drop(state);
        Ok(self.core.callbacks.wait(deadline))
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if self.core.ledger.is_forked() {
            // It is our parent's, and so is its thread.
            return;
        }
        supervisor::abandon(&self.core);
        let thread = self.supervisor.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        // A callback may drop the pool.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.core.limits.name)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
