//! What Python's users know of a pool.
//!
//! The situations are those of CPython's tests of `multiprocessing.Pool` (<https://github.com/python/cpython>, PSF-2.0:
//! `Lib/test/_test_multiprocessing.py`, `_TestPool`, `_TestPoolWorkerErrors` and `_TestPoolWorkerLifetime`), written
//! anew. What is Python's alone (references, garbage, `with`) has no counterpart.

use super::common::{quiet, until};
use ringway::{Job, JobError, JobFailure, Pool, PoolError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Far more than a callback takes.
const SOON: Duration = Duration::from_secs(60);

fn sqr(x: u64) -> u64 {
    x * x
}

fn slow_sqr(x: u64, ms: u64) -> u64 {
    std::thread::sleep(Duration::from_millis(ms));
    x * x
}

fn squares(range: std::ops::Range<u64>) -> Vec<u64> {
    range.map(sqr).collect()
}

fn pool(workers: usize) -> Pool {
    Pool::builder().workers(workers).initializer(quiet, ()).build().expect("a pool")
}

/// `test_apply`, `test_map`, `test_starmap`, `test_starmap_async`, `test_map_async`.
#[test]
fn calls_and_maps() {
    let pool = pool(4);
    assert_eq!(pool.apply(sqr, (5,)), Ok(25));
    assert_eq!(pool.map(sqr, 0..10), Ok(squares(0..10)));
    assert_eq!(pool.chunksize(20).map(sqr, 0..100), Ok(squares(0..100)));
    let mul = |x: u64, y: u64| x * y;
    let tuples = || (0..100_u64).map(|n| (n, 99 - n));
    let products: Vec<u64> = tuples().map(|(x, y)| x * y).collect();
    assert_eq!(pool.starmap(mul, tuples()).as_ref(), Ok(&products));
    assert_eq!(pool.chunksize(20).starmap(mul, tuples()).as_ref(), Ok(&products));
    assert_eq!(pool.starmap_async(mul, tuples()).expect("it is open").get().as_ref(), Ok(&products));
    assert_eq!(pool.chunksize(7).starmap_async(mul, tuples()).expect("it is open").get(), Ok(products));
    assert_eq!(pool.map_async(sqr, 0..10).expect("it is open").get(), Ok(squares(0..10)));
}

/// `test_map_async_callbacks`, `test_async_error_callback`.
#[test]
fn callbacks_get_all_results_or_the_first_error() {
    let pool = pool(2);
    let (told, hears) = mpsc::channel();
    let parse = |text: String| -> i64 { text.parse().expect("a number") };
    let good = pool.map_async(parse, ["1".to_owned(), "2".to_owned()]).expect("it is open");
    let tell = told.clone();
    good.on_done(move |all| tell.send(all).expect("somebody waits"));
    good.wait();
    assert_eq!(hears.recv_timeout(SOON), Ok(Ok(vec![1, 2])));
    let texts = ["1", "a", "b"].map(str::to_owned);
    let bad = pool.chunksize(1).map_async(parse, texts).expect("it is open");
    let tell = told.clone();
    bad.on_done(move |all| tell.send(all).expect("somebody waits"));
    bad.wait();
    assert_eq!((bad.ready(), bad.successful()), (true, Some(false)));
    let error = hears.recv_timeout(SOON).expect("it is told").expect_err("it panics");
    assert!(matches!(error.cause(), JobFailure::Panicked { message, .. } if message.contains("a number")), "{error}");
    // Also one that comes late, and of nothing at all.
    let tell = told.clone();
    good.on_done(move |all| tell.send(all).expect("somebody waits"));
    assert_eq!(hears.recv_timeout(SOON), Ok(Ok(vec![1, 2])));
    let nothing = pool.map_async(parse, []).expect("it is open");
    nothing.on_done(move |all| told.send(all).expect("somebody waits"));
    assert_eq!(hears.recv_timeout(SOON), Ok(Ok(Vec::new())));
    assert_eq!(pool.stats().unasked, 0);
}

/// `test_map_unplicklable`.
#[test]
fn what_cannot_be_encoded_does_not_hang() {
    #[derive(Clone)]
    struct Never;
    impl Serialize for Never {
        fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("never"))
        }
    }
    impl<'de> Deserialize<'de> for Never {
        fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Never, D::Error> {
            Ok(Never)
        }
    }
    let pool = pool(2);
    let is_that = |error: JobError| matches!(error.cause(), JobFailure::ArgumentsUnencodable { .. });
    let items = || std::iter::repeat_n(Never, 10);
    assert!(is_that(pool.map(|_: Never| (), items()).expect_err("it fails")));
    assert!(is_that(pool.map_async(|_: Never| (), items()).map(drop).expect_err("it fails")));
    assert!(is_that(pool.imap(|_: Never| (), items()).next().expect("one error").expect_err("it fails")));
    // `test_unpickleable_result`: workers are not lost over it.
    for _ in 0..20 {
        let (told, hears) = mpsc::channel();
        let job = pool.apply_async(|| Never, ()).expect("it is open");
        job.on_done(move |result| told.send(result.map(drop)).expect("somebody waits"));
        for result in [job.get().map(drop), hears.recv_timeout(SOON).expect("it is told")] {
            assert!(matches!(result.expect_err("it fails").cause(), JobFailure::ResultUnencodable { .. }));
        }
    }
    assert_eq!(pool.stats().restarted, 0);
}

/// `test_map_chunksize`, `test_empty_iterable`.
#[test]
fn a_map_of_nothing_is_done() {
    let pool = pool(1);
    let nothing = || std::iter::empty::<u64>();
    let job = pool.chunksize(1).map_async(sqr, nothing()).expect("it is open");
    assert_eq!(job.get_timeout(Duration::from_secs(10)), Ok(Vec::new()));
    assert_eq!((job.ready(), job.successful(), job.cancel()), (true, Some(true), false));
    assert_eq!(pool.map(sqr, nothing()), Ok(Vec::new()));
    assert_eq!((pool.imap(sqr, nothing()).count(), pool.imap_unordered(sqr, nothing()).count()), (0, 0));
    pool.close();
    pool.join().expect("it is closed");
}

/// `test_map_handle_iterable_exception`, `test_imap_handle_iterable_exception` and its sister: an iterator that
/// panics is its caller's, and the pool goes on.
#[test]
fn an_iterator_that_panics() {
    let pool = pool(2);
    let says_when = |total: u64, when: u64| (0..total).inspect(move |n| assert_ne!(*n, when, "somebody said when"));
    let panics = |f: &dyn Fn()| assert!(catch_unwind(AssertUnwindSafe(f)).is_err());
    for (total, when, chunk) in [(1, 0, 1), (1, 0, 1), (10, 3, 1), (20, 7, 2), (20, 7, 4)] {
        let pool = pool.chunksize(chunk);
        panics(&|| drop(pool.map(sqr, says_when(total, when))));
        panics(&|| drop(pool.map_async(sqr, says_when(total, when))));
        panics(&|| pool.imap(sqr, says_when(total, when)).for_each(drop));
        panics(&|| pool.imap_unordered(sqr, says_when(total, when)).for_each(drop));
    }
    assert_eq!(pool.map(sqr, 0..100), Ok(squares(0..100)));
    pool.close();
    assert_eq!(pool.join_timeout(Duration::from_secs(30)).ok(), Some(true));
}

/// `test_async`, `test_async_timeout`.
#[test]
fn a_handle_waits_no_longer_than_it_was_told() {
    let pool = pool(3);
    let begun = Instant::now();
    let job = pool.apply_async(slow_sqr, (7, 100)).expect("it is open");
    assert_eq!(job.get(), Ok(49));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let begun = Instant::now();
    let job = pool.apply_async(slow_sqr, (6, 100_000)).expect("it is open");
    let late = job.get_timeout(Duration::from_millis(100)).expect_err("it sleeps");
    assert_eq!(late.cause(), &JobFailure::NotReady);
    let all = pool.starmap_async(slow_sqr, [(1, 0), (2, 100_000)]).expect("it is open");
    assert!(!all.wait_timeout(Duration::from_millis(50)) && all.successful().is_none());
    let late = all.get_timeout(Duration::from_millis(50)).expect_err("it sleeps");
    assert_eq!(late.cause(), &JobFailure::NotReady);
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
    // What runs is ended, what is done stays.
    assert!(all.cancel() && !job.ready());
    all.wait();
    assert_eq!(all.get().expect_err("it was cancelled").cause(), &JobFailure::Cancelled);
    pool.terminate();
    pool.join().expect("it is terminated");
}

/// `test_imap`, `test_imap_unordered`.
#[test]
fn iterators_end() {
    let pool = pool(4);
    let mut results = pool.imap(sqr, 0..10);
    for n in 0..10 {
        assert_eq!(results.next(), Some(Ok(n * n)));
    }
    assert_eq!((results.next(), results.next()), (None, None));
    let results: Result<Vec<u64>, JobError> = pool.chunksize(100).imap(sqr, 0..1000).collect();
    assert_eq!(results, Ok(squares(0..1000)));
    let mut results: Vec<u64> = pool.chunksize(100).imap_unordered(sqr, 0..1000).flatten().collect();
    results.sort_unstable();
    assert_eq!(results, squares(0..1000));
}

/// `test_make_pool`, `test_pool_maxtasksperchild_invalid`.
#[test]
fn pools_that_make_no_sense() {
    assert!(matches!(Pool::new(0), Err(PoolError::InvalidOptions { .. })));
    let no_jobs = Pool::builder().workers(3).max_tasks_per_child(0).build();
    assert!(matches!(no_jobs, Err(PoolError::InvalidOptions { .. })));
    let pool = pool(3);
    assert_eq!((pool.workers(), pool.stats().workers.len()), (3, 3));
    pool.close();
    pool.join().expect("it is closed");
}

/// `test_terminate`: of ten thousand jobs that never end, three have begun.
#[test]
fn terminating_does_not_wait_for_what_never_ends() {
    let pool = pool(3);
    let forever = |_: u32| std::thread::sleep(Duration::from_secs(100_000));
    let all = pool.chunksize(1).map_async(forever, 0..10_000).expect("it is open");
    until("some have begun", || pool.stats().running == 3);
    let begun = Instant::now();
    pool.terminate();
    pool.join().expect("it is terminated");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!((all.ready(), all.successful()), (true, Some(false)));
}

/// `test_context`, `test_enter`: what comes after the end is refused.
#[test]
fn after_the_end_nothing_is_submitted() {
    let pool = pool(2);
    assert_eq!(pool.map_async(sqr, 0..10).expect("it is open").get(), Ok(squares(0..10)));
    pool.close();
    pool.join().expect("it is closed");
    let refused = pool.map_async(sqr, 0..10).map(drop).expect_err("it is closed");
    assert!(matches!(refused.cause(), JobFailure::Closed | JobFailure::Terminated), "{refused}");
    pool.join().expect("and again");
}

/// `test_traceback`, `test_wrapped_exception`: an error says where it was.
#[test]
fn a_panic_says_where_it_was() {
    let pool = pool(1);
    let line = line!() + 1;
    let error = pool.apply(|| -> () { panic!("{}", 123) }, ()).expect_err("it panics");
    let JobFailure::Panicked { message, location: Some(place) } = error.cause() else { panic!("{error:?}") };
    assert!(message == "123" && place.contains(&format!("cpython.rs:{line}:")), "{error}");
    assert!(error.to_string().contains("123") && error.to_string().contains("cpython.rs"));
}

/// `test_map_no_failfast`: errors of a megabyte, and a pool that ends.
#[test]
fn large_errors_do_not_hold_up_the_end() {
    let pool = pool(2);
    let fails = |ms: u64| -> u64 {
        std::thread::sleep(Duration::from_millis(ms));
        panic!("{}", "x".repeat(1 << 20));
    };
    let error = pool.chunksize(1).map(fails, [0, 200, 0, 0]).expect_err("it panics");
    assert!(matches!(error.cause(), JobFailure::Panicked { message, .. } if message.len() == 1 << 20));
    pool.close();
    assert_eq!(pool.join_timeout(Duration::from_secs(30)).ok(), Some(true));
}

/// `test_release_task_refs`: nothing of arguments and results stays.
#[test]
fn arguments_and_results_are_dropped() {
    static ALIVE: AtomicI32 = AtomicI32::new(0);
    struct Counted;
    impl Counted {
        fn new() -> Counted {
            ALIVE.fetch_add(1, Ordering::Relaxed);
            Counted
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            ALIVE.fetch_sub(1, Ordering::Relaxed);
        }
    }
    impl Serialize for Counted {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_unit()
        }
    }
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
            <()>::deserialize(deserializer).map(|()| Counted::new())
        }
    }
    let pool = pool(2);
    let items = || (0..10).map(|_| Counted::new());
    drop(pool.map(|counted: Counted| counted, items()).expect("they return"));
    drop(pool.map_async(|counted: Counted| counted, items()).expect("it is open").get());
    drop(pool.apply(|counted: Counted| counted, (Counted::new(),)));
    assert_eq!(ALIVE.load(Ordering::Relaxed), 0);
    let left = pool.chunksize(1).map(|_: u32| ALIVE.load(Ordering::Relaxed), 0..10).expect("they return");
    assert!(left.iter().all(|count| *count == 0), "{left:?}");
}

/// `test_pool_worker_lifetime`.
#[test]
fn workers_are_replaced_after_so_many_jobs() {
    let pool = Pool::builder().workers(3).max_tasks_per_child(10).initializer(quiet, ()).build().expect("a pool");
    let pids = || -> Vec<Option<u32>> { pool.stats().workers.iter().map(|worker| worker.pid).collect() };
    let before = pids();
    let jobs: Vec<Job<u64>> = (0..100).map(|n| pool.apply_async(sqr, (n,)).expect("it is open")).collect();
    assert!(jobs.iter().zip(0..).all(|(job, n)| job.get() == Ok(n * n)));
    until("all are there", || pids().iter().all(Option::is_some));
    assert!(before.iter().all(Option::is_some) && before != pids());
    until("they are counted", || pool.stats().restarted >= 7);
    pool.close();
    pool.join().expect("it is closed");
}

/// `test_pool_worker_lifetime_early_close`.
#[test]
fn workers_are_replaced_for_what_is_left_at_the_end() {
    let pool = Pool::builder().workers(3).max_tasks_per_child(1).initializer(quiet, ()).build().expect("a pool");
    let jobs: Vec<Job<u64>> = (0..6).map(|n| pool.apply_async(slow_sqr, (n, 30)).expect("it is open")).collect();
    pool.close();
    pool.join().expect("it is closed");
    assert!(jobs.iter().all(Job::ready));
    assert!(jobs.iter().zip(0..).all(|(job, n)| job.get() == Ok(n * n)));
}
