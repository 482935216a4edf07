//! What users and the world do wrong.

use super::common::{lives, quiet, until};
use super::skip::skip;
use ringway::{ExitStatus, JobError, JobFailure, Pool, PoolError, Process, Producer, Queue, Serde};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::{Duration, Instant};

#[test]
fn options_that_make_no_sense_are_refused() {
    let refused = |pool: Result<Pool, PoolError>| {
        let error = pool.expect_err("refused");
        assert!(matches!(error, PoolError::InvalidOptions { .. }), "{error:?}");
    };
    refused(Pool::new(0));
    refused(Pool::new(501));
    refused(Pool::builder().window(0).build());
    refused(Pool::builder().window((1 << 20) + 1).build());
    refused(Pool::builder().max_tasks_per_child(0).build());
    refused(Pool::builder().task_timeout(Duration::ZERO).build());
}

struct Picky {
    encodes: bool,
}

impl Serialize for Picky {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.encodes { 1_u8.serialize(serializer) } else { Err(serde::ser::Error::custom("not today")) }
    }
}

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Picky, D::Error> {
        let n = u8::deserialize(deserializer)?;
        if n == 0 { Ok(Picky { encodes: false }) } else { Err(serde::de::Error::custom("not this one")) }
    }
}

#[test]
fn what_cannot_be_encoded_or_decoded_is_told() {
    let pool = Pool::new(1).expect("a pool");
    let said = |error: JobError| (error.cause().clone(), error.attempts());
    // Here.
    let (cause, attempts) = said(pool.apply(|_: Picky| (), (Picky { encodes: false },)).expect_err("refused"));
    assert!(matches!(cause, JobFailure::ArgumentsUnencodable { .. }) && attempts == 0, "{cause:?}");
    // There.
    let (cause, attempts) = said(pool.apply(|_: Picky| (), (Picky { encodes: true },)).expect_err("refused"));
    assert!(matches!(cause, JobFailure::ArgumentsUndecodable { .. }) && attempts == 1, "{cause:?}");
    // The way back.
    let (cause, _) = said(pool.apply(|| Picky { encodes: false }, ()).map(|_| ()).expect_err("refused"));
    assert!(matches!(cause, JobFailure::ResultUnencodable { .. }), "{cause:?}");
    let (cause, _) = said(pool.apply(|| Picky { encodes: true }, ()).map(|_| ()).expect_err("refused"));
    assert!(matches!(cause, JobFailure::ResultUndecodable { .. }), "{cause:?}");
    // In the middle of a map: the rest was not begun.
    let error = pool.map(|n: Picky| u8::from(n.encodes), [Picky { encodes: true }]).expect_err("refused");
    assert!(matches!(error.cause(), JobFailure::ArgumentsUndecodable { .. }), "{error:?}");
    assert_eq!(pool.apply(|n: u8| n, (7,)), Ok(7), "the worker goes on");
    assert_eq!(pool.stats().restarted, 0);
}

#[test]
fn what_is_larger_than_its_memory_is_told() {
    let pool = Pool::builder().workers(1).memory(16 << 20).build().expect("a pool");
    let large = |bytes: usize| vec![7_u8; bytes];
    assert_eq!(pool.apply(large, (1 << 20,)).map(|bytes| bytes.len()), Ok(1 << 20));
    let error = pool.apply(large, (64 << 20,)).map(|bytes| bytes.len()).expect_err("too large");
    assert!(matches!(error.cause(), JobFailure::ResultUnencodable { .. }), "{error:?}");
    let error = pool.apply(|bytes: Vec<u8>| bytes.len(), (large(64 << 20),)).expect_err("too large");
    assert!(matches!(error.cause(), JobFailure::ArgumentsUnencodable { .. }), "{error:?}");
    // More than the memory at once, one after the other.
    let pieces: Vec<Vec<u8>> = (0..40).map(|_| large(1 << 20)).collect();
    let jobs: Vec<_> =
        pieces.into_iter().map(|piece| pool.apply_async(|p: Vec<u8>| p, (piece,)).expect("it waits")).collect();
    assert!(jobs.iter().all(|job| job.get().is_ok_and(|piece| piece.len() == 1 << 20)));
}

#[test]
fn an_initializer_that_fails_is_an_error_at_once() {
    let begun = Instant::now();
    let error = Pool::builder().workers(2).initializer(|| panic!("no licence"), ()).build().expect_err("it fails");
    assert!(matches!(&error, PoolError::Initializer { reason } if reason.contains("no licence")), "{error:?}");
    let error = Pool::builder().workers(2).initializer(|| std::process::exit(9), ()).build().expect_err("it fails");
    assert!(matches!(&error, PoolError::Initializer { reason } if reason.contains("code 9")), "{error:?}");
    for _ in 0..20 {
        let pool = Pool::builder().workers(1).initializer(|| std::process::exit(9), ()).build();
        assert!(matches!(pool, Err(PoolError::Initializer { .. })), "{pool:?}");
    }
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}

#[test]
fn an_initializer_that_fails_later_ends_the_pool_in_the_end() {
    fn once(turns: Producer<Serde<u32>>) {
        quiet();
        turns.try_put(0).expect("its turn");
    }
    let turns = Queue::<u32>::bounded(2).expect("a queue");
    let pool = Pool::builder().workers(2).initializer(once, (turns.producer().expect("an end"),)).build();
    let pool = pool.expect("there are two turns");
    let deaths: Vec<_> = (0..2).map(|_| pool.apply_async(|| -> () { std::process::abort() }, ())).collect();
    let waiting = pool.apply_async(|n: u32| n, (1,)).expect("it is open");
    for death in deaths {
        let error = death.expect("it is open").get().expect_err("it aborts");
        assert_eq!(error.cause(), &JobFailure::Died { status: ExitStatus::Signaled(libc::SIGABRT) });
    }
    let error = waiting.get_timeout(Duration::from_secs(60)).expect_err("nobody does it");
    assert!(matches!(error.cause(), JobFailure::Broken { reason } if reason.contains("initializer")), "{error:?}");
    pool.join().expect("it has ended");
    assert!(matches!(pool.apply(|n: u32| n, (1,)).expect_err("broken").cause(), JobFailure::Broken { .. }));
}

#[test]
fn nothing_outlasts_terminate_and_drop() {
    let endless = || std::thread::sleep(Duration::from_secs(1000));
    let pool = Pool::builder().workers(2).build().expect("a pool");
    let jobs: Vec<_> = (0..4).map(|_| pool.apply_async(endless, ()).expect("it is open")).collect();
    until("they run", || pool.stats().running == 2);
    let begun = Instant::now();
    drop(pool);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for job in &jobs {
        assert_eq!(job.get().expect_err("terminated").cause(), &JobFailure::Terminated);
        assert!(!job.cancel() && job.ready());
    }
    // A worker that does not listen.
    fn deaf() {
        // SAFETY: touches no memory.
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    }
    let pool = Pool::builder().workers(2).initializer(deaf, ()).build().expect("a pool");
    let job = pool.apply_async(endless, ()).expect("it is open");
    until("it runs", || pool.stats().running == 1);
    let begun = Instant::now();
    pool.terminate();
    pool.terminate();
    pool.join().expect("it was terminated");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(job.get().expect_err("terminated").cause(), &JobFailure::Terminated);
}

#[test]
fn workers_end_with_their_parent() {
    fn parent(pids: Producer<Serde<u32>>) {
        let pool = Pool::new(2).expect("a pool");
        for worker in pool.stats().workers {
            pids.put(worker.pid.expect("it runs")).expect("somebody listens");
        }
        let slow = |n: u64| {
            std::thread::sleep(Duration::from_millis(1));
            n
        };
        let _ = pool.map(slow, 0..u64::MAX);
    }
    let pids = Queue::<u32>::bounded(2).expect("a queue");
    let mut process = Process::new(parent, (pids.producer().expect("an end"),));
    process.start().expect("starts");
    let workers = [pids.get().expect("a worker"), pids.get().expect("a worker")];
    process.kill().expect("it can be ended");
    process.join().expect("it is ours");
    until("they end", || !workers.iter().any(|pid| lives(*pid)));
}

#[test]
fn a_program_may_end_with_a_pool_that_works() {
    fn parent(exits: bool) {
        let pool = Pool::new(2).expect("a pool");
        drop(pool.apply_async(|| std::thread::sleep(Duration::from_secs(1000)), ()).expect("it is open"));
        until("it runs", || pool.stats().running == 1);
        if exits {
            // Which drops nothing.
            std::process::exit(0);
        }
    }
    for exits in [false, true] {
        let begun = Instant::now();
        let mut process = Process::new(parent, (exits,));
        process.start().expect("starts");
        assert!(process.join().expect("it is ours").success());
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_forked_child_has_no_pool() {
    let pool = Pool::new(1).expect("a pool");
    let job = pool.apply_async(|n: u32| n, (5,)).expect("it is open");
    // SAFETY: the child calls what is checked here, and `_exit`.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let forked = |error: Option<JobError>| error.is_some_and(|error| *error.cause() == JobFailure::Forked);
        let told = forked(pool.apply(|n: u32| n, (5,)).err())
            && forked(pool.apply_async(|n: u32| n, (5,)).err())
            && forked(pool.map(|n: u32| n, 0..5).err())
            && forked(pool.map_async(|n: u32| n, 0..5).err())
            && forked(pool.map_slices(|part: &[u32]| part.len(), &[1, 2]).err())
            && forked(job.get().err())
            && !job.cancel()
            && matches!(pool.join(), Err(PoolError::Forked))
            && pool.stats().workers.is_empty();
        pool.terminate();
        drop((job, pool));
        // SAFETY: ends the child without its parent's destructors.
        unsafe { libc::_exit(i32::from(!told)) };
    }
    let mut status = 1;
    // SAFETY: our own child, and a place for its status.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    assert_eq!(job.get(), Ok(5));
    assert_eq!(pool.apply(|n: u32| n, (6,)), Ok(6));
}

/// A control group with little memory, removed on drop. None: this machine does not let us make one.
struct SmallGroup {
    path: std::path::PathBuf,
    /// Where the kernel counts whom it killed in it.
    events: &'static str,
}

impl SmallGroup {
    const BYTES: &'static str = "67108864";

    fn new() -> Option<SmallGroup> {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
        mounts.lines().find_map(|line| {
            let (place, what) = line.split_once(" - ")?;
            let (mount, is_second) = (place.split(' ').nth(4)?, what.starts_with("cgroup2 "));
            let has_memory = what.rsplit(' ').next()?.split(',').any(|option| option == "memory");
            let is_first = what.starts_with("cgroup ") && has_memory;
            if !is_first && !is_second {
                return None;
            }
            let name = format!("ringway-test-{}", std::process::id());
            let (limit, events) = if is_second {
                ("memory.max", "memory.events")
            } else {
                ("memory.limit_in_bytes", "memory.oom_control")
            };
            let path = std::path::Path::new(mount).join(name);
            std::fs::create_dir(&path).ok()?;
            let group = SmallGroup { path, events };
            std::fs::write(group.path.join(limit), SmallGroup::BYTES).ok()?;
            let _ = std::fs::write(group.path.join("memory.swap.max"), "0");
            Some(group)
        })
    }

    fn killed(&self) -> u64 {
        let said = std::fs::read_to_string(self.path.join(self.events)).expect("it is there");
        let counts = said.lines().filter_map(|line| line.strip_prefix("oom_kill "));
        counts.map(|count| count.parse::<u64>().expect("a number")).sum()
    }
}

impl Drop for SmallGroup {
    fn drop(&mut self) {
        // Who was in it has been reaped, but may be counted a moment longer.
        let mut attempts = 0..1000;
        while std::fs::remove_dir(&self.path).is_err() && attempts.next().is_some() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[test]
fn a_worker_without_memory_is_killed_and_costs_its_job_only() {
    let Some(group) = SmallGroup::new() else {
        return skip("control groups for memory cannot be made here");
    };
    let pool = Pool::builder().workers(2).initializer(quiet, ()).build().expect("a pool");
    let others: Vec<_> = (0..1000).map(|n: u64| pool.apply_async(|n: u64| n * 2, (n,)).expect("it is open")).collect();
    let hungry = |procs: std::path::PathBuf| {
        std::fs::write(procs, "0").expect("it may enter");
        let all = vec![1_u8; 256 << 20];
        std::hint::black_box(all).len()
    };
    let error = pool.apply(hungry, (group.path.join("cgroup.procs"),)).expect_err("it has 64 MiB");
    assert_eq!(error.cause(), &JobFailure::Died { status: ExitStatus::Signaled(libc::SIGKILL) });
    assert_eq!(group.killed(), 1, "the kernel did it");
    until("it is replaced", || pool.stats().restarted == 1);
    for (n, job) in others.into_iter().enumerate() {
        assert_eq!(job.get(), Ok(2 * n as u64));
    }
    assert_eq!(pool.apply(|n: u64| n, (7,)), Ok(7));
}
