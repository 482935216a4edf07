//! The right way: one process puts, another gets.
//!
//! The producer puts four elements, one second apart. The consumer looks every one and a half
//! seconds, without waiting, and ends when it finds nothing.
//!
//! ```text
//! cargo run --example queue_between_processes
//! cargo run --example queue_between_processes -- --fast    # 50 times faster
//! ```

use ringway::{Consumer, Process, Producer, Queue, Serde};
use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

fn set(q: Producer<Serde<u32>>) {
    for item in 0..4 {
        println!("put element {item}");
        if q.put(item).is_err() {
            return; // the consumer has ended, and nobody else can get it
        }
        sleep(seconds(1.0));
    }
}

fn get(q: Consumer<Serde<u32>>) {
    loop {
        sleep(seconds(1.5));
        match q.try_get() {
            Ok(num) => println!("got element {num}"),
            Err(_) => break,
        }
    }
}

/// A child is started with the arguments of its parent, so it hurries, too.
fn seconds(seconds: f64) -> Duration {
    let fast = std::env::args().any(|argument| argument == "--fast");
    Duration::from_secs_f64(seconds / if fast { 50.0 } else { 1.0 })
}

fn main() -> Result<(), Box<dyn Error>> {
    ringway::init();
    let q = Queue::unbounded()?;
    let mut p1 = Process::new(set, (q.producer()?,));
    let mut p2 = Process::new(get, (q.consumer()?,));
    p1.start()?;
    p2.start()?;
    Ok(())
}
