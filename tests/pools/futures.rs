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
    let ended = pool.apply_async(|| std::thread::sleep(std::time::Duration::from_secs(1000)), ()).expect("it is open");
    pool.terminate();
    assert_eq!(ended.await.expect_err("terminated").cause(), &JobFailure::Terminated);
}
