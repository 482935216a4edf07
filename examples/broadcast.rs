//! A ticker: every subscriber sees every price, in a process of its own.
//!
//! One subscriber is slow, one is killed in the middle. The publisher waits for the slow
//! one (nobody misses a price), and not for the dead one. With `--drop` it waits for nobody, and
//! the slow one is told how many prices it has missed.
//!
//! ```text
//! cargo run --example broadcast
//! cargo run --example broadcast -- --drop
//! ```

use ringway::{GetError, Options, Pod, PodBroadcast, SlowConsumers, StartAt, Subscriber};
use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

const PRICES: u64 = 2000;
const ROOM: u64 = 64;

/// A number and a price: plain data, copied as it is.
#[derive(Clone, Copy, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
#[repr(C)]
struct Tick {
    number: u64,
    cents: u64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => publish(SlowConsumers::Block),
        ["--drop"] => publish(SlowConsumers::DropOldest),
        ["subscriber", name, how] => subscribe(name, how),
        _ => Err("usage: broadcast [--drop]".into()),
    }
}

fn publish(policy: SlowConsumers) -> Result<(), Box<dyn Error>> {
    let name = format!("ticker-{}", std::process::id());
    let ticker = PodBroadcast::<Tick>::create(&name, Options::new(ROOM).slow_consumers(policy))?;
    let start = |how: &str| -> Result<Child, Box<dyn Error>> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.args(["subscriber", &name, how]).stdout(Stdio::piped()).spawn()?;
        // It says when it has subscribed; what it says at the end comes later.
        let mut line = String::new();
        let mut out = BufReader::with_capacity(1, child.stdout.take().ok_or("it was piped")?);
        out.read_line(&mut line)?;
        child.stdout = Some(out.into_inner());
        Ok(child)
    };
    let (fast, slow, mut doomed) = (start("fast")?, start("slow")?, start("doomed")?);
    println!("{} subscribers", ticker.subscribers());
    for number in 0..PRICES {
        if number == PRICES / 2 {
            doomed.kill()?;
            doomed.wait()?;
        }
        ticker.put(Tick { number, cents: 10_000 + number % 97 })?;
    }
    ticker.close();
    for child in [fast, slow] {
        let output = child.wait_with_output()?;
        std::io::stdout().write_all(&output.stdout)?;
    }
    Ok(())
}

fn subscribe(name: &str, how: &str) -> Result<(), Box<dyn Error>> {
    let ticks = Subscriber::<Pod<Tick>>::open(name, StartAt::Now)?;
    println!("ready");
    let (mut seen, mut gaps) = (0, 0);
    for tick in ticks.iter() {
        match tick {
            Ok(_) => seen += 1,
            Err(GetError::Lagged) => gaps += 1,
            Err(error) => return Err(error.into()),
        }
        if how == "slow" && seen % 100 == 0 {
            sleep(Duration::from_millis(1));
        }
    }
    let missed = ticks.missed();
    println!(
        "{how}: {seen} prices, {missed} missed, together {}{}",
        seen + missed,
        if gaps > 0 { " (gaps)" } else { "" }
    );
    Ok(())
}
