//! A queue that grows in shared memory while nobody reads, and gives the memory back.
//!
//! ```text
//! cargo run --example unbounded
//! ```

use ringway::{GetError, Options, PodQueue};
use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

const MESSAGES: u64 = 1_000_000;

type Message = [u64; 7];

fn main() -> Result<(), Box<dyn Error>> {
    let (before, queue) = {
        let queue = PodQueue::<Message>::with_options(Options::unbounded())?;
        (shared_memory()?, queue)
    };
    for number in 0..MESSAGES {
        queue.put([number; 7])?; // never waits: nobody reads
    }
    let peak = shared_memory()?;
    for number in 0..MESSAGES {
        assert_eq!(queue.get()?, [number; 7]);
    }
    // Who waits for more looks after the memory, too.
    assert_eq!(queue.get_timeout(Duration::from_millis(200)), Err(GetError::TimedOut));
    let after = shared_memory()?;
    println!("{MESSAGES} messages of {} bytes", size_of::<Message>());
    println!("before: {before} KiB");
    println!("peak:   {peak} KiB");
    println!("after:  {after} KiB");
    Ok(())
}

/// KiB of memory that the anonymous queues of this process have.
fn shared_memory() -> std::io::Result<u64> {
    let mut kib = 0;
    for entry in std::fs::read_dir("/proc/self/fd")? {
        let path = entry?.path();
        if std::fs::read_link(&path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:ringway")) {
            kib += std::fs::metadata(&path)?.blocks() / 2;
        }
    }
    Ok(kib)
}
