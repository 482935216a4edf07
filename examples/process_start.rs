//! Two functions run at the same time, each in a process of its own; `main` waits for both when it
//! ends.
//!
//! ```text
//! cargo run --example process_start
//! ```

use ringway::{Process, ProcessError};
use std::process::id;

fn test(num: u32) {
    for _ in 0..num {
        println!("{} this is test", id());
    }
}

fn test2() {
    for _ in 0..100 {
        println!("{} this is test2", id());
    }
}

fn main() -> Result<(), ProcessError> {
    ringway::init(); // what `if __name__ == '__main__'` is for in Python
    let mut p1 = Process::new(test, (12,));
    let mut p2 = Process::new(test2, ());
    p1.start()?;
    p2.start()?;
    Ok(())
}
