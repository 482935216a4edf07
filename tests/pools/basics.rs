//! What is promised where nothing goes wrong.

use ringway::{JobFailure, Pool, PoolError};
use std::time::Duration;

fn square(n: u64) -> u64 {
    n * n
}

#[test]
fn a_job_returns_its_result() {
    let pool = Pool::new(2).expect("a pool");
    for n in 0..1000 {
        assert_eq!(pool.apply(square, (n,)), Ok(n * n));
    }
    let jobs: Vec<_> = (0..1000).map(|n| pool.apply_async(square, (n,)).expect("it is open")).collect();
    for (n, job) in (0..).zip(&jobs) {
        assert_eq!(job.get(), Ok(n * n));
        assert_eq!((job.ready(), job.successful()), (true, Some(true)));
    }
    pool.close();
    pool.join().expect("it is closed");
}

#[test]
fn maps_keep_the_order() {
    let pool = Pool::new(2).expect("a pool");
    let expected: Vec<u64> = (0..100_000).map(|n| n * n).collect();
    assert_eq!(pool.map(square, 0..100_000).as_ref(), Ok(&expected));
    assert_eq!(pool.map_async(square, 0..100_000).expect("it is open").get().as_ref(), Ok(&expected));
    let lazy: Result<Vec<u64>, _> = pool.imap(square, 0..100_000).collect();
    assert_eq!(lazy.as_ref(), Ok(&expected));
    let mut all: Vec<u64> = pool.imap_unordered(square, 0..100_000).collect::<Result<_, _>>().expect("no failures");
    all.sort_unstable();
    assert_eq!(all, expected);
    assert_eq!(pool.starmap(|a: u64, b: u64| a + b, (0..100).map(|n| (n, n))), Ok((0..100).map(|n| 2 * n).collect()));
    assert_eq!(pool.map(|(): ()| (), std::iter::repeat_n((), 1000)), Ok(vec![(); 1000]));
    assert_eq!(pool.map(square, std::iter::empty()), Ok(Vec::new()));
}

#[test]
fn closing_and_joining_come_in_that_order() {
    let pool = Pool::new(1).expect("a pool");
    assert!(matches!(pool.join(), Err(PoolError::NotClosed)));
    let job = pool.apply_async(square, (3,)).expect("it is open");
    pool.close();
    let refused = pool.apply(square, (3,)).expect_err("it is closed");
    assert_eq!((refused.cause(), refused.attempts()), (&JobFailure::Closed, 0));
    pool.join().expect("it is closed");
    assert_eq!(job.get(), Ok(9));
}

#[test]
fn large_arguments_and_results_fit() {
    let pool = Pool::new(2).expect("a pool");
    let bytes = vec![7_u8; 30 << 20];
    let reversed = pool
        .apply(
            |mut bytes: Vec<u8>| {
                bytes.push(8);
                bytes
            },
            (bytes.clone(),),
        )
        .expect("it returns");
    assert_eq!((reversed.len(), &reversed[..bytes.len()] == bytes.as_slice()), (bytes.len() + 1, true));
}

#[test]
fn a_panic_and_a_death_cost_their_job_only() {
    let pool = Pool::new(2).expect("a pool");
    let others: Vec<_> = (0..100).map(|n| pool.apply_async(square, (n,)).expect("it is open")).collect();
    let error = pool.apply(|| -> () { panic!("as planned") }, ()).expect_err("it panics");
    assert!(
        matches!(error.cause(), JobFailure::Panicked { message, location: Some(place) } if message == "as planned" && place.contains("basics.rs")),
        "{error:?}"
    );
    assert_eq!(error.attempts(), 1);
    let error = pool.apply(|| -> () { std::process::exit(3) }, ()).expect_err("it exits");
    assert!(matches!(error.cause(), JobFailure::Died { status: ringway::ExitStatus::Exited(3) }), "{error:?}");
    let error = pool.apply(|| -> () { std::process::abort() }, ()).expect_err("it aborts");
    assert!(matches!(error.cause(), JobFailure::Died { status: ringway::ExitStatus::Signaled(6) }), "{error:?}");
    for (n, job) in (0..).zip(&others) {
        assert_eq!(job.get(), Ok(n * n));
    }
    assert_eq!(pool.apply(square, (4,)), Ok(16));
}

#[test]
fn what_takes_too_long_is_ended() {
    let pool = Pool::builder().workers(1).task_timeout(Duration::from_millis(100)).build().expect("a pool");
    let begun = std::time::Instant::now();
    let error = pool.apply(|| std::thread::sleep(Duration::from_secs(100)), ()).expect_err("it never ends");
    assert_eq!(error.cause(), &JobFailure::TimedOut { limit: Duration::from_millis(100) });
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(pool.apply(square, (4,)), Ok(16));
}

#[test]
fn a_job_can_be_cancelled() {
    let pool = Pool::new(1).expect("a pool");
    let endless = pool.apply_async(|| std::thread::sleep(Duration::from_secs(100)), ()).expect("it is open");
    let waiting = pool.apply_async(square, (5,)).expect("it is open");
    let behind = pool.apply_async(square, (6,)).expect("it is open");
    while pool.stats().running == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(waiting.cancel() && !waiting.cancel());
    assert_eq!(waiting.get().expect_err("cancelled").cause(), &JobFailure::Cancelled);
    assert!(endless.cancel());
    let error = endless.get().expect_err("cancelled");
    assert_eq!((error.cause(), error.attempts()), (&JobFailure::Cancelled, 1));
    assert_eq!(behind.get(), Ok(36));
    assert!(!behind.cancel());
}

#[test]
fn terminating_ends_everything() {
    let pool = Pool::new(2).expect("a pool");
    let jobs: Vec<_> = (0..10)
        .map(|_| pool.apply_async(|| std::thread::sleep(Duration::from_secs(100)), ()).expect("it is open"))
        .collect();
    pool.terminate();
    pool.join().expect("it was terminated");
    for job in jobs {
        assert_eq!(job.get().expect_err("terminated").cause(), &JobFailure::Terminated);
    }
    assert_eq!(pool.apply(square, (1,)).expect_err("terminated").cause(), &JobFailure::Terminated);
}
