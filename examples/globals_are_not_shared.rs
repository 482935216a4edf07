//! The wrong way: each process has globals of its own, so nothing is counted. (The right way:
//! `queue_between_processes`.)
//!
//! ```text
//! cargo run --example globals_are_not_shared
//! ```

use ringway::{Process, ProcessError};
use std::sync::atomic::{AtomicU32, Ordering};

static A: AtomicU32 = AtomicU32::new(1);

fn test() {
    let before = A.fetch_add(1, Ordering::Relaxed);
    println!("{}", before + 1);
}

fn main() -> Result<(), ProcessError> {
    ringway::init();
    let mut p1 = Process::new(test, ());
    let mut p2 = Process::new(test, ());
    p1.start()?;
    p2.start()?;
    p1.join()?;
    p2.join()?;
    println!("here it is still {}", A.load(Ordering::Relaxed));
    Ok(())
}
