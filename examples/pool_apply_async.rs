//! Five jobs for three worker processes.
//!
//! ```text
//! cargo run --example pool_apply_async
//! cargo run --example pool_apply_async -- --fast    # 50 times faster
//! ```

use ringway::{Pool, current_process};
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

fn test(process_name: u32) {
    println!("this is process {process_name}");
    for i in 0..10 {
        println!("process {process_name} is at {i} ({})", current_process().name());
        sleep(seconds(1));
    }
}

/// A worker is started with the arguments of its parent, so it hurries, too.
fn seconds(seconds: u32) -> Duration {
    let fast = std::env::args().any(|argument| argument == "--fast");
    Duration::from_secs(seconds.into()) / if fast { 50 } else { 1 }
}

fn main() -> Result<(), Box<dyn Error>> {
    ringway::init();
    let pool = Pool::new(3)?; // so many run at once
    println!("main begins ...");
    for item in 1..6 {
        // Does not wait. The handle is dropped: nobody asks for the result.
        drop(pool.apply_async(test, (item,))?);
    }
    pool.close(); // nothing can be submitted any more; join comes after it
    pool.join()?;
    println!("main ends ...");
    Ok(())
}
