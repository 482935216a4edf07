//! Jobs that end their worker in the worst ways: each costs itself, and says why.
//!
//! ```text
//! cargo run --example pool_survives_a_crash
//! ```

use ringway::{Job, JobFailure, Pool};
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

/// One in five goes wrong.
fn work(n: u32) -> u32 {
    sleep(Duration::from_millis(2));
    match n {
        3 => panic!("I do not like {n}"),
        8 => std::process::abort(),
        13 => std::process::exit(4),
        18 => sleep(Duration::from_secs(1000)),
        _ => {}
    }
    n * n
}

fn main() -> Result<(), Box<dyn Error>> {
    ringway::init();
    let pool = Pool::builder().workers(2).task_timeout(Duration::from_millis(500)).build()?;
    let jobs: Result<Vec<Job<u32>>, _> = (0..20).map(|n| pool.apply_async(work, (n,))).collect();
    let mut sum = 0;
    for (n, job) in jobs?.iter().enumerate() {
        match job.get() {
            Ok(square) => sum += square,
            Err(error) => match error.cause() {
                JobFailure::Panicked { message, .. } => println!("job {n} panicked: {message}"),
                _ => println!("job {n}: {error}"),
            },
        }
    }
    println!("the others: {sum}");
    println!("workers that were replaced: {}", pool.stats().restarted);
    pool.close();
    pool.join()?;
    Ok(())
}
