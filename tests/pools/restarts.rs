//! How often, and how fast, workers are started again, and jobs begun again.

use super::common::{quiet, until};
use ringway::{ExitStatus, Job, JobError, JobFailure, Options, Pool, Producer, Queue, Serde};
use serde::{Deserialize, Deserializer, Serialize};
use std::sync::mpsc;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);

/// Whoever is at it comes and goes.
fn queue<T: Serialize + serde::de::DeserializeOwned + 'static>(capacity: u64) -> Queue<T> {
    Queue::with_options(Options::new(capacity).peers_gone(false)).expect("a queue")
}

/// Milliseconds of a clock that all processes have.
fn now_ms() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for the time.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) }, 0);
    now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000
}

/// An initializer that says when it was called, and fails where it has no permit.
fn needs_a_permit(permits: Queue<u8>, starts: Producer<Serde<u64>>) {
    quiet();
    starts.try_put(now_ms()).expect("there is room");
    permits.try_get().expect("a permit");
}

/// Of a worker that was started once, died at a job, and then again and again at nothing: the first two starts
/// follow at once, and each further pause is twice the one before it.
fn check_pauses(starts: &[u64]) {
    let pauses = starts.windows(2).skip(2).map(|pair| pair[1] - pair[0]);
    for (pause, least) in pauses.zip([20, 40, 80, 160, 320, 640, 1280]) {
        // Both were rounded.
        assert!(pause + 1 >= least, "{pause} ms instead of {least}: {starts:?}");
    }
}

fn die() {
    std::process::exit(3);
}

fn died<R: std::fmt::Debug>(result: Result<R, JobError>) {
    let error = result.expect_err("it exits");
    assert_eq!(error.cause(), &JobFailure::Died { status: ExitStatus::Exited(3) });
}

/// Eight starts, with longer and longer pauses, and no more.
#[test]
fn an_initializer_that_fails_is_no_storm() {
    let (permits, starts) = (queue::<u8>(4), queue::<u64>(64));
    permits.put(0).expect("there is room");
    let arguments = (permits.try_clone().expect("a handle"), starts.producer().expect("an end"));
    let pool = Pool::builder().workers(1).initializer(needs_a_permit, arguments).build().expect("it has a permit");
    died(pool.apply(die, ()));
    let waiting = pool.apply_async(|| (), ()).expect("it is open");
    let error = waiting.get_timeout(SOON).expect_err("nobody does it");
    assert!(matches!(error.cause(), JobFailure::Broken { .. }), "{error:?}");
    pool.join_timeout(SOON).expect("it has ended");
    let starts: Vec<u64> = std::iter::from_fn(|| starts.try_get().ok()).collect();
    assert_eq!((starts.len() as u64, pool.stats().restarted), (1 + 8, 8));
    check_pauses(&starts);
}

#[test]
fn a_worker_that_dies_at_once_is_no_storm() {
    let (permits, starts) = (queue::<u8>(4), queue::<u64>(64));
    for _ in 0..2 {
        permits.put(0).expect("there is room");
    }
    let arguments = (permits.try_clone().expect("a handle"), starts.producer().expect("an end"));
    let pool =
        Pool::builder().workers(2).initializer(needs_a_permit, arguments).build().expect("there are two permits");
    let first = [starts.get().expect("a start"), starts.get().expect("a start")];
    died(pool.apply(die, ()));
    // The other one works meanwhile.
    let mut later = vec![first[0].max(first[1])];
    while later.len() < 7 {
        assert_eq!(pool.apply(|n: u32| n, (5,)), Ok(5));
        later.extend(starts.try_get());
    }
    check_pauses(&later);
    until("starts are counted", || pool.stats().restarted >= 6);
    // Nothing of this is for ever.
    permits.put(0).expect("there is room");
    until("its worker is there again", || permits.is_empty());
    pool.close();
    pool.join().expect("it is closed");
}

/// Deaths between jobs are no row: of a worker that has worked nobody waits for the next, and an initializer that
/// fails after many of them is tried again as after none.
#[test]
fn deaths_between_jobs_are_no_failures_in_a_row() {
    let (permits, starts) = (queue::<u8>(16), queue::<u64>(64));
    for _ in 0..11 {
        permits.put(0).expect("there is room");
    }
    let arguments = (permits.try_clone().expect("a handle"), starts.producer().expect("an end"));
    let pool = Pool::builder().workers(1).initializer(needs_a_permit, arguments).build().expect("it has a permit");
    for round in 0..11 {
        assert_eq!(pool.apply(|n: u32| n, (round,)), Ok(round));
        let pid = pool.stats().workers[0].pid.expect("it has worked");
        until("it rests", || pool.stats().running == 0);
        // SAFETY: touches no memory; a child of ours that nobody has reaped.
        unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        until("it has ended", || pool.stats().workers[0].pid != Some(pid));
    }
    // There are no permits now.
    let job = pool.apply_async(|n: u32| n, (7,)).expect("it is open");
    until("two starts have failed", || pool.stats().restarted >= 13 || job.ready());
    permits.put(0).expect("there is room");
    assert_eq!(job.get_timeout(SOON), Ok(7));
}

/// Says that it is tried. As long as there are `turns` it never ends.
fn slow(turns: Queue<u32>, tries: Queue<u32>) -> u32 {
    tries.put(0).expect("there is room");
    if turns.try_get().is_ok() {
        std::thread::sleep(Duration::from_secs(1000));
    }
    7
}

/// Each attempt has the whole limit, and counts.
#[test]
fn a_job_that_takes_too_long_is_tried_again() {
    let limit = Duration::from_millis(300);
    let pool = Pool::builder().workers(1).retries(2).task_timeout(limit).build().expect("a pool");
    let (turns, tries) = (queue::<u32>(8), queue::<u32>(8));
    let arguments = || (turns.try_clone().expect("a handle"), tries.try_clone().expect("a handle"));
    let tried = || std::iter::from_fn(|| tries.try_get().ok()).count();
    for _ in 0..2 {
        turns.put(0).expect("there is room");
    }
    let begun = now_ms();
    assert_eq!(pool.apply(slow, arguments()), Ok(7));
    let took = now_ms() - begun;
    assert!(took >= 600, "{took} ms");
    assert_eq!((tried(), pool.stats().restarted), (3, 2));
    // Once too often.
    for _ in 0..3 {
        turns.put(0).expect("there is room");
    }
    let error = pool.apply(slow, arguments()).expect_err("too long");
    assert_eq!((error.cause(), error.attempts()), (&JobFailure::TimedOut { limit }, 3));
    assert_eq!((tried(), pool.apply(|n: u32| n, (5,))), (3, Ok(5)));
}

/// Cannot be decoded.
#[derive(Debug)]
struct Unreadable;

impl Serialize for Unreadable {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        1_u8.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Unreadable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Unreadable, D::Error> {
        u8::deserialize(deserializer)?;
        Err(serde::de::Error::custom("not this one"))
    }
}

/// Also of a result that cannot be decoded it is told how often its function was begun.
#[test]
fn attempts_count_whatever_comes_of_the_last() {
    let pool = Pool::builder().workers(1).retries(2).initializer(quiet, ()).build().expect("a pool");
    let turns = queue::<u32>(8);
    fn third(turns: Queue<u32>) -> Unreadable {
        if turns.try_get().is_ok() {
            std::process::exit(3);
        }
        Unreadable
    }
    let arguments = || {
        for _ in 0..2 {
            turns.put(0).expect("there is room");
        }
        (turns.try_clone().expect("a handle"),)
    };
    let check = |error: JobError, attempts: u32| {
        assert!(matches!(error.cause(), JobFailure::ResultUndecodable { .. }), "{error:?}");
        assert_eq!(error.attempts(), attempts, "{error:?}");
    };
    check(pool.apply(third, (turns.try_clone().expect("a handle"),)).expect_err("unreadable"), 1);
    check(pool.apply(third, arguments()).expect_err("unreadable"), 3);
    let job: Job<Unreadable> = pool.apply_async(third, arguments()).expect("it is open");
    let (told, hears) = mpsc::channel();
    job.on_done(move |result| drop(told.send(result.expect_err("unreadable"))));
    check(job.get().expect_err("unreadable"), 3);
    check(hears.recv_timeout(SOON).expect("it is called"), 3);
    check(pool.starmap(third, [arguments()]).expect_err("unreadable"), 3);
    let later = pool.starmap_async(third, [arguments()]).expect("it is open");
    check(later.get().expect_err("unreadable"), 3);
}
