//! Jobs as futures.

use super::common::quiet;
use ringway::{Job, JobFailure, Pool};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_are_futures() {
    let pool = Pool::builder().workers(2).initializer(quiet, ()).build().expect("a pool");
    let jobs: Vec<Job<u64>> = (0..200).map(|n| pool.apply_async(|n: u64| n * 2, (n,)).expect("it is open")).collect();
    let tasks: Vec<_> = jobs.into_iter().map(|job| tokio::spawn(job)).collect();
    for (n, task) in (0..).zip(tasks) {
        assert_eq!(task.await.expect("no panic"), Ok(n * 2));
    }
    let died = pool.apply_async(|| -> () { std::process::abort() }, ()).expect("it is open").await;
    assert!(matches!(died.expect_err("it aborts").cause(), JobFailure::Died { .. }));
    // Whoever gives up loses nothing but the result.
    let slow = || std::thread::sleep(std::time::Duration::from_millis(100));
    let slow = pool.apply_async(slow, ()).expect("it is open");
    assert!(tokio::time::timeout(std::time::Duration::from_millis(5), slow).await.is_err());
    assert_eq!(pool.apply_async(|n: u64| n, (1,)).expect("it is open").await, Ok(1));
    // A map is one, too: all results, or the first error.
    let mut many = pool.map_async(|n: u64| n * 2, 0..1000).expect("it is open");
    assert_eq!((&mut many).await, Ok((0..1000).map(|n| n * 2).collect()));
    assert_eq!(many.await.map(|all| all.len()), Ok(1000));
    let fails = |n: u64| assert_ne!(n, 5, "on purpose");
    let failed = pool.chunksize(1).map_async(fails, 0..10).expect("it is open").await.expect_err("it panics");
    assert!(matches!(failed.cause(), JobFailure::Panicked { .. }));
    // One that has failed says so again, whatever comes after it.
    let fails_or_stays =
        |n: u64| if n == 0 { panic!("on purpose") } else { std::thread::sleep(std::time::Duration::from_secs(1000)) };
    let mut failed = pool.chunksize(1).map_async(fails_or_stays, 0..2).expect("it is open");
    assert!((&mut failed).await.is_err() && (&mut failed).await.is_err() && failed.cancel());
    assert_eq!(pool.map_async(|n: u64| n, []).expect("it is open").await, Ok(Vec::new()));
    let ended = pool.apply_async(|| std::thread::sleep(std::time::Duration::from_secs(1000)), ()).expect("it is open");
    pool.terminate();
    assert_eq!(ended.await.expect_err("terminated").cause(), &JobFailure::Terminated);
}
