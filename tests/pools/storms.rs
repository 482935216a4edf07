//! Workers that die in every way there is, and all the time.

use super::common::{quiet, until};
use ringway::{ExitStatus, JobError, JobFailure, Options, Pool, PoolBuilder, Queue};
use std::collections::{HashSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_millis(300);

/// The longest that a handle may keep whoever asks it, once its job is at the head.
const SOON: Duration = Duration::from_secs(1);

fn is_long() -> bool {
    std::env::var_os("RINGWAY_LONG").is_some()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Panic,
    Abort,
    Exit0,
    Exit3,
    Kill,
    Segv,
    Overflow,
    Endless,
    Return,
}

const WAYS: [Way; 8] =
    [Way::Panic, Way::Abort, Way::Exit0, Way::Exit3, Way::Kill, Way::Segv, Way::Overflow, Way::Endless];

/// Two in a hundred of each.
fn way_of(n: u32) -> Way {
    // Spread, so that no pattern of the pool's agrees with it.
    let place = n.wrapping_mul(2_654_435_761) % 100;
    WAYS.get(place as usize / 2).copied().unwrap_or(Way::Return)
}

#[allow(unconditional_recursion)]
fn overflow(depth: u64) -> u64 {
    let block = std::hint::black_box([depth; 64]);
    overflow(depth + 1) + block[7]
}

fn signal_self(signal: i32) {
    // SAFETY: touches no memory.
    unsafe { libc::kill(libc::getpid(), signal) };
    loop {
        std::thread::park();
    }
}

fn run(n: u32) -> u64 {
    match way_of(n) {
        Way::Panic => panic!("job {n}"),
        Way::Abort => std::process::abort(),
        Way::Exit0 => std::process::exit(0),
        Way::Exit3 => std::process::exit(3),
        Way::Kill => signal_self(libc::SIGKILL),
        Way::Segv => signal_self(libc::SIGSEGV),
        Way::Overflow => return overflow(0),
        Way::Endless => loop {
            std::thread::park();
        },
        Way::Return => {}
    }
    u64::from(n) * 3
}

fn check(n: u32, result: &Result<u64, JobError>) {
    let is_so = match (way_of(n), result) {
        (Way::Return, result) => return assert_eq!(*result, Ok(u64::from(n) * 3)),
        (way, Err(error)) => {
            assert_eq!(error.attempts(), 1, "{way:?}: {error:?}");
            let signaled = |signal| *error.cause() == JobFailure::Died { status: ExitStatus::Signaled(signal) };
            let exited = |code| *error.cause() == JobFailure::Died { status: ExitStatus::Exited(code) };
            match way {
                Way::Panic => {
                    matches!(error.cause(), JobFailure::Panicked { message, .. } if *message == format!("job {n}"))
                }
                Way::Abort => signaled(libc::SIGABRT),
                Way::Exit0 => exited(0),
                Way::Exit3 => exited(3),
                Way::Kill => signaled(libc::SIGKILL),
                Way::Segv | Way::Overflow => signaled(libc::SIGSEGV),
                Way::Endless => *error.cause() == JobFailure::TimedOut { limit: LIMIT },
                Way::Return => false,
            }
        }
        _ => false,
    };
    assert!(is_so, "{:?}: {result:?}", way_of(n));
}

/// Every handle says the true cause soon, all others are right, and all workers are there again.
#[test]
fn eight_ways_to_die() {
    let jobs: u32 = if is_long() { 100_000 } else { 2_000 };
    let pool = Pool::builder().workers(4).task_timeout(LIMIT).initializer(quiet, ()).build().expect("a pool");
    let mut under_way = VecDeque::new();
    let mut slowest = Duration::ZERO;
    let mut take = |under_way: &mut VecDeque<(u32, ringway::Job<u64>)>| {
        let Some((n, job)) = under_way.pop_front() else { return };
        let begun = Instant::now();
        check(n, &job.get_timeout(10 * SOON));
        slowest = slowest.max(begun.elapsed());
    };
    for n in 0..jobs {
        if under_way.len() == 8 {
            take(&mut under_way);
        }
        under_way.push_back((n, pool.apply_async(run, (n,)).expect("it is open")));
    }
    while !under_way.is_empty() {
        take(&mut under_way);
    }
    println!("{jobs} jobs; the slowest handle {slowest:?}; {:?}", pool.stats());
    assert!(slowest < SOON, "{slowest:?}");
    until("all workers are there again", || pool.stats().workers.iter().all(|worker| worker.pid.is_some()));
    let stats = pool.stats();
    let failed = (0..jobs).filter(|n| way_of(*n) != Way::Return).count() as u64;
    assert_eq!((stats.done, stats.failed), (u64::from(jobs) - failed, failed));
    // The last of them may still be starting.
    assert_eq!(pool.map(|n: u64| n, 0..100), Ok((0..100).collect()));
    pool.close();
    pool.join().expect("it is closed");
}

/// SIGKILL for random workers all the time, and not one job is lost, doubled or wrong.
#[test]
fn workers_are_killed_while_jobs_run() {
    kill_while_jobs_run(Pool::builder());
}

/// The same where all memory is there from the start.
#[test]
fn workers_are_killed_while_jobs_run_in_an_arena() {
    kill_while_jobs_run(Pool::builder().arena(16 << 20).window(2_000));
}

fn kill_while_jobs_run(builder: PoolBuilder) {
    let (least, enough): (u64, u64) = if is_long() { (1_000_000, 2_000) } else { (50_000, 200) };
    let pool = builder.workers(4).retries(1_000).build().expect("a pool");
    let (done, kills, busy) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(HashSet::new()));
    struct Stop<'s>(&'s AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let jobs = std::thread::scope(|scope| {
        let killer = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // One that has done a job: those that never come so far end the pool, in the end.
                let busy = std::mem::take(&mut *busy.lock().expect("nobody panics here"));
                for worker in pool.stats().workers {
                    if let Some(pid) = worker.pid.filter(|pid| busy.contains(pid)) {
                        // SAFETY: touches no memory. A pid that is reused within the moment since it was a
                        // worker's would be a newer child of this test.
                        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
                        kills.fetch_add(1, Ordering::Relaxed);
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        });
        // Also if this panics.
        let stop = Stop(&done);
        let mut under_way = VecDeque::new();
        let take = |(n, job): (u64, ringway::Job<(u64, u32)>)| {
            let (result, pid) = job.get_timeout(20 * SOON).expect("it is tried again");
            assert_eq!(result, n + 1);
            busy.lock().expect("nobody panics here").insert(pid);
        };
        let mut jobs = 0;
        while jobs < least || kills.load(Ordering::Relaxed) < enough {
            let n = jobs;
            jobs += 1;
            if under_way.len() == 1_000 {
                take(under_way.pop_front().expect("there are many"));
            }
            under_way.push_back((n, pool.apply_async(|n: u64| (n + 1, std::process::id()), (n,)).expect("it is open")));
        }
        under_way.into_iter().for_each(take);
        drop(stop);
        killer.join().expect("no panic");
        jobs
    });
    let kills = kills.into_inner();
    let stats = pool.stats();
    println!("{jobs} jobs, {kills} kills: {stats:?}");
    assert_eq!((stats.done, stats.failed, stats.queued), (jobs, 0, 0));
    // With what they killed, the queues are whole.
    assert_eq!(pool.map(|n: u64| n, 0..10_000), Ok((0..10_000).collect()));
    pool.close();
    pool.join().expect("it is closed");
}

/// A job that kills whoever runs it is tried as often as was said, and takes nobody else down.
#[test]
fn a_fatal_job_is_given_up() {
    let pool = Pool::builder().workers(2).retries(2).initializer(quiet, ()).build().expect("a pool");
    let others: Vec<_> = (0..100).map(|n: u64| pool.apply_async(|n: u64| n, (n,)).expect("it is open")).collect();
    let fatal = pool.apply_async(|| -> () { std::process::abort() }, ()).expect("it is open");
    let error = fatal.get().expect_err("it aborts");
    assert_eq!(error.attempts(), 3);
    assert_eq!(*error.cause(), JobFailure::Died { status: ExitStatus::Signaled(libc::SIGABRT) });
    assert!(error.to_string().contains("3 attempts"), "{error}");
    for (n, job) in (0..).zip(others) {
        assert_eq!(job.get(), Ok(n));
    }
}

/// A retry that works.
#[test]
fn a_job_that_fails_once_is_tried_again() {
    let pool = Pool::builder().workers(2).retries(1).initializer(quiet, ()).build().expect("a pool");
    // Its consumers die all the time.
    let turns = Queue::<u32>::with_options(Options::new(4).peers_gone(false)).expect("a queue");
    for n in 0..20 {
        turns.put(0).expect("there is room");
        let once = |turns: Queue<u32>, n: u64| {
            if turns.try_get().is_ok() {
                std::process::abort();
            }
            n
        };
        assert_eq!(pool.apply(once, (turns.try_clone().expect("a handle"), n)), Ok(n));
    }
}

#[test]
fn all_workers_at_once() {
    let pool = Pool::builder().workers(4).initializer(quiet, ()).build().expect("a pool");
    for round in 0..5 {
        let jobs: Vec<_> = (0..4)
            .map(|_| pool.apply_async(|| std::thread::sleep(Duration::from_secs(100)), ()).expect("it is open"))
            .collect();
        until("they run", || pool.stats().running == 4);
        for worker in pool.stats().workers {
            // SAFETY: touches no memory; nobody has reaped it.
            unsafe { libc::kill(worker.pid.expect("it runs") as i32, libc::SIGKILL) };
        }
        for job in jobs {
            let error = job.get_timeout(SOON).expect_err("killed");
            assert_eq!(*error.cause(), JobFailure::Died { status: ExitStatus::Signaled(libc::SIGKILL) });
        }
        assert_eq!(pool.apply(|n: u64| n, (round,)), Ok(round));
    }
}
