//! One process puts, another gets, as in a first lesson on `multiprocessing`.
//!
//! The producer puts four elements, one second apart. The consumer looks every
//! one and a half seconds, without waiting, and ends when it finds nothing.
//!
//! ```text
//! cargo run --example queue_put_get
//! cargo run --example queue_put_get -- --fast    # 50 times faster
//! ```

use ringway::{GetError, Options, PodQueue};
use std::error::Error;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

const ELEMENTS: u32 = 4;
const BETWEEN_PUTS: Duration = Duration::from_secs(1);
const BETWEEN_GETS: Duration = Duration::from_millis(1500);

/// How much shorter the pauses are with `--fast`.
const FAST: u32 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    let fast = arguments.iter().any(|argument| argument == "--fast");
    arguments.retain(|argument| argument != "--fast");
    let speed = if fast { FAST } else { 1 };
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => start_both(fast),
        ["producer", name] => produce(name, speed),
        ["consumer", name] => consume(name, speed),
        _ => Err("usage: queue_put_get [--fast]".into()),
    }
}

/// Creates the queue and starts this program twice more, once in each role.
fn start_both(fast: bool) -> Result<(), Box<dyn Error>> {
    let name = format!("queue-put-get-{}", std::process::id());
    // Ephemeral: it goes with the last process that has it open.
    let _queue = PodQueue::<u32>::create(&name, Options::new(16))?;
    let mut producer = start("producer", &name, fast)?;
    let mut consumer = start("consumer", &name, fast)?;
    let outcomes = [("producer", producer.wait()?), ("consumer", consumer.wait()?)];
    for (role, status) in outcomes {
        if !status.success() {
            return Err(format!("the {role} failed: {status}").into());
        }
    }
    println!("both are done");
    Ok(())
}

fn start(role: &str, name: &str, fast: bool) -> Result<Child, Box<dyn Error>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([role, name]).args(fast.then_some("--fast"));
    Ok(command.spawn()?)
}

fn produce(name: &str, speed: u32) -> Result<(), Box<dyn Error>> {
    let queue = PodQueue::<u32>::open(name)?;
    for element in 0..ELEMENTS {
        println!("put element {element}");
        queue.put(element)?;
        sleep(BETWEEN_PUTS / speed);
    }
    Ok(())
}

fn consume(name: &str, speed: u32) -> Result<(), Box<dyn Error>> {
    let queue = PodQueue::<u32>::open(name)?;
    loop {
        sleep(BETWEEN_GETS / speed);
        match queue.try_get() {
            Ok(element) => println!("got element {element}"),
            Err(GetError::Empty) => {
                println!("nothing there: the consumer ends");
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        }
    }
}
