//! A type that runs as a process: what Python does with a subclass of `Process`.
//!
//! ```text
//! cargo run --example process_run_trait
//! cargo run --example process_run_trait -- --fast    # 50 times faster
//! ```

use ringway::{Process, ProcessError, Run};
use serde::{Deserialize, Serialize};
use std::process::id;
use std::thread::sleep;
use std::time::Duration;

#[derive(Serialize, Deserialize)]
struct MyProcess {
    times: u32,
}

impl Run for MyProcess {
    type Output = ();

    fn run(self) {
        for _ in 0..self.times {
            println!("the process id is {}", id());
            sleep(seconds(1));
        }
    }
}

/// A child is started with the arguments of its parent, so it hurries, too.
fn seconds(seconds: u32) -> Duration {
    let fast = std::env::args().any(|argument| argument == "--fast");
    Duration::from_secs(seconds.into()) / if fast { 50 } else { 1 }
}

fn main() -> Result<(), ProcessError> {
    ringway::init();
    let mut p1 = Process::of(MyProcess { times: 10 });
    p1.start()?;
    println!("this is main...");
    Ok(())
}
