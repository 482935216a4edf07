//! What fails in every way at every stage of a job, and a pool that goes on.
//!
//! The situations are those of loky's tests of crashes (<https://github.com/joblib/loky>, BSD-3-Clause:
//! `tests/test_reusable_executor.py`, `TestExecutorDeadLock` and `TestTerminateExecutor`), written anew: there a pool
//! that was hit is broken and made again, here it goes on.

use super::common::{quiet, until};
use ringway::{ExitStatus, Job, JobError, JobFailure, Pool};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    ArgumentIsEncoded,
    ArgumentIsDecoded,
    FunctionRuns,
    ArgumentIsDropped,
    ResultIsEncoded,
    ResultIsDropped,
    ResultIsDecoded,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Way {
    Fails,
    Panics,
    Exits,
    ExitsAtOnce,
    Aborts,
    Segfaults,
    IsKilled,
}

use Stage::*;
use Way::*;

const WAYS: [Way; 7] = [Fails, Panics, Exits, ExitsAtOnce, Aborts, Segfaults, IsKilled];

/// Goes off once, at its stage, in the process where that stage belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Trap {
    stage: Stage,
    way: Way,
    /// The pool's process.
    home: u32,
}

impl Trap {
    fn new(stage: Stage, way: Way) -> Trap {
        Trap { stage, way, home: std::process::id() }
    }

    /// The message, if it is to be an error.
    fn spring(self, stage: Stage) -> Result<(), &'static str> {
        let is_at_home = std::process::id() == self.home;
        let belongs_home = matches!(stage, ArgumentIsEncoded | ResultIsDecoded);
        if stage != self.stage || is_at_home != belongs_home {
            return Ok(());
        }
        match self.way {
            Fails => return Err("it fails on purpose"),
            Panics => panic!("it panics on purpose"),
            Exits => std::process::exit(7),
            // SAFETY: ends the process, and touches no memory.
            ExitsAtOnce => unsafe { libc::_exit(0) },
            Aborts => std::process::abort(),
            // SAFETY: as above, by a signal.
            Segfaults => unsafe { libc::kill(libc::getpid(), libc::SIGSEGV) },
            // SAFETY: as above.
            IsKilled => unsafe { libc::kill(libc::getpid(), libc::SIGKILL) },
        };
        loop {
            std::thread::park();
        }
    }
}

struct Argument(Trap);

impl Serialize for Argument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.spring(ArgumentIsEncoded).map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Argument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Argument, D::Error> {
        let trap = Trap::deserialize(deserializer)?;
        trap.spring(ArgumentIsDecoded).map_err(D::Error::custom)?;
        Ok(Argument(trap))
    }
}

impl Drop for Argument {
    fn drop(&mut self) {
        self.0.spring(ArgumentIsDropped).expect("a drop cannot fail");
    }
}

#[derive(Debug)]
struct Outcome(Trap);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.spring(ResultIsEncoded).map_err(S::Error::custom)?;
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Outcome, D::Error> {
        let trap = Trap::deserialize(deserializer)?;
        trap.spring(ResultIsDecoded).map_err(D::Error::custom)?;
        Ok(Outcome(trap))
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.0.spring(ResultIsDropped).expect("a drop cannot fail");
    }
}

fn run(argument: Argument) -> Outcome {
    argument.0.spring(FunctionRuns).expect("a function that fails panics");
    Outcome(argument.0)
}

/// What of all this ends the worker, or the job alone.
fn cases() -> impl Iterator<Item = Trap> {
    let stages = [ArgumentIsDecoded, FunctionRuns, ArgumentIsDropped, ResultIsEncoded, ResultIsDropped];
    stages.into_iter().flat_map(|stage| WAYS.into_iter().map(move |way| Trap::new(stage, way)))
}

fn check(trap: Trap, result: Result<Outcome, JobError>) {
    let error = result.expect_err("it does not return");
    let died = |status| *error.cause() == JobFailure::Died { status };
    let is_so = match (trap.stage, trap.way) {
        (ArgumentIsDecoded, Fails) => matches!(error.cause(), JobFailure::ArgumentsUndecodable { .. }),
        // The codec keeps no text.
        (ResultIsEncoded, Fails) => matches!(error.cause(), JobFailure::ResultUnencodable { .. }),
        (_, Fails | Panics) => {
            let JobFailure::Panicked { message, location } = error.cause() else { panic!("{trap:?}: {error:?}") };
            location.as_ref().is_some_and(|place| place.contains("crashes.rs")) && message.contains("on purpose")
        }
        (_, Exits) => died(ExitStatus::Exited(7)),
        (_, ExitsAtOnce) => died(ExitStatus::Exited(0)),
        (_, Aborts) => died(ExitStatus::Signaled(libc::SIGABRT)),
        (_, Segfaults) => died(ExitStatus::Signaled(libc::SIGSEGV)),
        (_, IsKilled) => died(ExitStatus::Signaled(libc::SIGKILL)),
    };
    assert!(is_so && error.attempts() == 1, "{trap:?}: {error:?}");
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).initializer(quiet, ()).build().expect("a pool")
}

/// `test_crashes`.
#[test]
fn whatever_happens_in_a_worker_is_told_and_the_pool_goes_on() {
    let pool = pool(2);
    for trap in cases() {
        check(trap, pool.apply(run, (Argument(trap),)));
        assert_eq!(pool.apply(|n: u32| n + 1, (41,)), Ok(42), "{trap:?}");
    }
    // The same, many at once, and in between what is well.
    let jobs: Vec<(Trap, Job<Outcome>, Job<u32>)> = cases()
        .map(|trap| {
            let bad = pool.apply_async(run, (Argument(trap),)).expect("it is open");
            (trap, bad, pool.apply_async(|n: u32| n + 1, (41,)).expect("it is open"))
        })
        .collect();
    for (trap, bad, good) in jobs {
        check(trap, bad.get());
        assert_eq!(good.get(), Ok(42));
    }
    pool.close();
    pool.join().expect("it is closed");
}

/// The stages that are this process's: an error is told, a panic is the caller's own.
#[test]
fn whatever_happens_here_is_the_callers_and_the_pool_goes_on() {
    let pool = pool(2);
    for _ in 0..5 {
        let error = pool.apply(run, (Argument(Trap::new(ArgumentIsEncoded, Fails)),)).expect_err("it fails");
        assert!(matches!(error.cause(), JobFailure::ArgumentsUnencodable { .. }) && error.attempts() == 0);
        let submits = AssertUnwindSafe(|| pool.apply(run, (Argument(Trap::new(ArgumentIsEncoded, Panics)),)));
        assert!(catch_unwind(submits).is_err());
        let job = pool.apply_async(run, (Argument(Trap::new(ResultIsDecoded, Fails)),)).expect("it is open");
        assert!(matches!(job.get().expect_err("it fails").cause(), JobFailure::ResultUndecodable { .. }));
        assert_eq!(job.successful(), Some(true), "it has returned");
        let job = pool.apply_async(run, (Argument(Trap::new(ResultIsDecoded, Panics)),)).expect("it is open");
        assert!(catch_unwind(AssertUnwindSafe(|| job.get())).is_err());
        assert!(
            catch_unwind(AssertUnwindSafe(|| pool.apply(run, (Argument(Trap::new(ResultIsDecoded, Panics)),))))
                .is_err()
        );
        assert_eq!(pool.apply(|n: u32| n + 1, (41,)), Ok(42));
    }
    let stats = pool.stats();
    assert_eq!((stats.queued, stats.running, stats.restarted), (0, 0, 0), "{stats:?}");
}

/// `test_in_callback_submit_with_crash`.
#[test]
fn a_callback_may_submit_what_crashes() {
    let pool = std::sync::Arc::new(pool(2));
    for trap in cases() {
        let (told, hears) = mpsc::channel();
        let again = std::sync::Arc::clone(&pool);
        let first = pool.apply_async(|n: u32| n + 1, (41,)).expect("it is open");
        first.on_done(move |_| {
            let job = again.apply_async(run, (Argument(trap),));
            drop(again);
            told.send(job).expect("somebody waits");
        });
        assert_eq!(first.get(), Ok(42));
        let second = hears.recv_timeout(Duration::from_secs(30)).expect("it is called").expect("it is open");
        check(trap, second.get());
    }
}

/// `test_callback_crash_on_submit`.
#[test]
fn a_callback_that_panics_costs_nothing() {
    let pool = pool(2);
    for n in 0..3 {
        let job = pool.apply_async(|n: u32| n + 1, (n,)).expect("it is open");
        job.on_done(|_| panic!("on purpose"));
        assert_eq!(job.get(), Ok(n + 1));
        assert_eq!(pool.apply(|n: u32| n, (n,)), Ok(n));
    }
    pool.close();
    pool.join().expect("it is closed");
    assert_eq!(pool.stats().callbacks_panicked, 3);
}

/// `test_deadlock_kill`: from outside, while nothing runs.
#[test]
fn an_idle_worker_that_is_killed_is_replaced() {
    let pool = pool(1);
    let pid = pool.stats().workers[0].pid.expect("it is there") as i32;
    // SAFETY: a plain call; it is our child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    assert_eq!(pool.apply(|n: u32| n + 1, (41,)), Ok(42));
    until("it is counted", || pool.stats().restarted == 1);
}

/// `test_crash_races`: workers kill each other.
#[test]
fn workers_that_kill_each_other() {
    for workers in [1, 2, 5, 13] {
        let pool = pool(workers);
        let pids: Vec<u32> = pool.stats().workers.iter().filter_map(|worker| worker.pid).collect();
        assert_eq!(pids.len(), workers);
        let kill = |pid: u32| {
            // SAFETY: a plain call. A process that is gone is not there to be killed.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        };
        let killed = JobFailure::Died { status: ExitStatus::Signaled(libc::SIGKILL) };
        let jobs: Vec<Job<()>> =
            pids.iter().rev().map(|pid| pool.apply_async(kill, (*pid,)).expect("it is open")).collect();
        for job in jobs {
            let result = job.get();
            assert!(result.as_ref().is_ok_and(|()| true) || result.is_err_and(|error| *error.cause() == killed));
        }
        let there =
            |workers: usize| pool.stats().workers.iter().filter(|worker| worker.pid.is_some()).count() == workers;
        until("all are there again", || there(workers));
        assert_eq!(pool.map(|n: u64| n, 0..100), Ok((0..100).collect()));
    }
}

/// `test_queue_full_deadlock`.
#[test]
fn what_cannot_be_encoded_takes_no_place() {
    let pool = Pool::builder().workers(1).window(4).initializer(quiet, ()).build().expect("a pool");
    for _ in 0..100 {
        let refused = pool.apply_async(run, (Argument(Trap::new(ArgumentIsEncoded, Fails)),));
        assert!(matches!(refused.expect_err("it fails").cause(), JobFailure::ArgumentsUnencodable { .. }));
    }
    let jobs: Vec<Job<u32>> = (0..100).map(|n| pool.apply_async(|n: u32| n, (n,)).expect("it is open")).collect();
    assert!(jobs.iter().zip(0..).all(|(job, n)| job.get() == Ok(n)));
}

/// `test_shutdown_kill`.
#[test]
fn terminating_waits_for_nothing_that_runs() {
    let pool = pool(5);
    let nap = |n: u32, ms: u64| {
        std::thread::sleep(Duration::from_millis(ms));
        n
    };
    assert_eq!(pool.starmap(nap, (0..100).map(|n| (n, 1))), Ok((0..100).collect()));
    let long = pool.chunksize(1).starmap_async(nap, (0..100).map(|n| (n, 100_000))).expect("it is open");
    let begun = Instant::now();
    pool.terminate();
    pool.join().expect("it is terminated");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(long.get().expect_err("it was ended").cause(), &JobFailure::Terminated);
}

/// `test_shutdown_deadlock`.
#[test]
fn a_worker_that_dies_while_the_pool_closes_holds_up_nothing() {
    for round in 0..20 {
        let pool = pool(2);
        let victim = pool.stats().workers[round % 2].pid.expect("it is there") as i32;
        let jobs: Vec<Job<u32>> = (0..10).map(|n| pool.apply_async(|n: u32| n, (n,)).expect("it is open")).collect();
        // SAFETY: a plain call; it is our child.
        unsafe { libc::kill(victim, libc::SIGKILL) };
        pool.close();
        assert_eq!(pool.join_timeout(Duration::from_secs(30)).ok(), Some(true));
        let killed = JobFailure::Died { status: ExitStatus::Signaled(libc::SIGKILL) };
        for (job, n) in jobs.iter().zip(0..) {
            let result = job.get_timeout(Duration::ZERO);
            assert!(result == Ok(n) || result.as_ref().is_err_and(|error| *error.cause() == killed), "{result:?}");
        }
    }
}

/// What a panic says is cut where it is longer than a message may be, and nothing else becomes of it.
#[test]
fn a_panic_with_a_long_text_is_a_panic() {
    let pools = [Pool::builder().memory(1 << 20), Pool::builder().arena(1 << 20)];
    for builder in pools {
        let pool = builder.workers(1).initializer(quiet, ()).build().expect("a pool");
        let long = || -> () { panic!("{}", "ä".repeat(1 << 19)) };
        let error = pool.apply(long, ()).expect_err("it panics");
        let JobFailure::Panicked { message, location: Some(place) } = error.cause() else { panic!("{error:?}") };
        let kept = message.strip_suffix('…').expect("it says that it was cut");
        assert!(kept.len() > 200 << 10 && kept.chars().all(|c| c == 'ä') && place.contains("crashes.rs"), "{place}");
        let short = pool.apply(|| -> () { panic!("no") }, ()).expect_err("it panics");
        assert!(matches!(short.cause(), JobFailure::Panicked { message, .. } if message == "no"), "{short:?}");
        assert_eq!((pool.apply(|n: u8| n, (7,)), pool.stats().restarted), (Ok(7), 0), "its worker goes on");
    }
}
