//! `join_timeout` waits for a process, but not for ever: `main` goes on while it runs.
//!
//! ```text
//! cargo run --example process_join_timeout
//! cargo run --example process_join_timeout -- --fast    # 50 times faster
//! ```

use ringway::{Process, ProcessError};
use std::process::id;
use std::thread::sleep;
use std::time::Duration;

fn test(num: u32) {
    for item in 0..num {
        println!("{} this is test {item}", id());
        sleep(seconds(2));
    }
}

/// A child is started with the arguments of its parent, so it hurries, too.
fn seconds(seconds: u32) -> Duration {
    let fast = std::env::args().any(|argument| argument == "--fast");
    Duration::from_secs(seconds.into()) / if fast { 50 } else { 1 }
}

fn main() -> Result<(), ProcessError> {
    ringway::init();
    let mut p1 = Process::new(test, (12,));
    p1.start()?;
    let has_ended = p1.join_timeout(seconds(1))?;
    println!("This is main ... (has it ended? {has_ended})");
    Ok(()) // which waits for it
}
