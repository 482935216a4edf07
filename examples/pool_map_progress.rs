//! A map that takes long, with a progress bar.
//!
//! ```text
//! cargo run --features progress --example pool_map_progress
//! cargo run --features progress --example pool_map_progress -- --fast    # 50 times faster
//! ```

use ringway::Pool;
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

/// How many numbers below `n` divide it.
fn divisors(n: u64) -> usize {
    sleep(Duration::from_millis(20) / if fast() { 50 } else { 1 });
    (1..n).filter(|d| n.is_multiple_of(*d)).count()
}

/// A worker is started with the arguments of its parent, so it hurries, too.
fn fast() -> bool {
    std::env::args().any(|argument| argument == "--fast")
}

fn main() -> Result<(), Box<dyn Error>> {
    ringway::init();
    let pool = Pool::new(4)?;
    // Shown on a terminal, and only if it takes more than two seconds.
    let counts = pool.progress("numbers").map(divisors, 1..=1000)?;
    let primes = counts.iter().filter(|count| **count == 1).count();
    println!("there are {primes} primes up to 1000");
    pool.close();
    pool.join()?;
    Ok(())
}
