//! A worker is killed in the middle of its job, and nobody notices but the next worker.
//!
//! Jobs are leased, not taken: each is the queue's until it is acknowledged. The first
//! worker kills itself while it holds one. The second gets it again, knows that it was
//! handed out before, and does the rest.
//!
//! ```text
//! cargo run --example survive_a_crash
//! ```

use ringway::{GetError, Options, Queue};
use std::error::Error;
use std::process::Command;

/// What the queue is about.
type Job = (u32, String);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let name = format!("survive-a-crash-{}", std::process::id());
            let queue = Queue::<Job>::create(&name, Options::new(16))?;
            for number in 0..4 {
                queue.put((number, format!("job {number}")))?;
            }
            queue.close();
            let worker = |how: &str| Command::new(std::env::current_exe()?).args([how, &name]).status();
            println!("the first worker ended: {}", worker("clumsy")?);
            println!("the second worker ended: {}", worker("careful")?);
            Ok(())
        }
        ["clumsy", name] => work(&Queue::open(name)?, Some(1)),
        ["careful", name] => work(&Queue::open(name)?, None),
        _ => Err("usage: survive_a_crash".into()),
    }
}

fn work(queue: &Queue<Job>, dies_at: Option<u32>) -> Result<(), Box<dyn Error>> {
    loop {
        let job = match queue.lease() {
            Ok(job) => job,
            Err(GetError::Closed) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let (number, text) = &*job;
        if dies_at == Some(*number) {
            println!("{text}: killed in the middle of it");
            // SIGKILL: no destructor runs, nothing is given back.
            let pid = std::process::id().to_string();
            Command::new("kill").args(["-KILL", &pid]).status()?;
        }
        let again = if job.redelivered() > 0 { " (it was handed out before)" } else { "" };
        println!("{text}: done{again}");
        job.ack()?;
    }
}
