//! What it costs to start a process and to wait for it, and how soon a death is noticed.
//!
//! Each run happens in a process of its own, which first takes as much memory as the cell says,
//! and then starts one child after the other. Knows nothing of rounds and tables.

#![allow(unsafe_code)]

use super::latency::Percentiles;
use super::plan::{Cell, System};
use super::runner::{INTERRUPTED, Measured, Value};
use super::worker::Unsupported;
use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use ringway::{ExitStatus, Pod, PodQueue, Process, Producer};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(60);
/// For taking the memory and for the last child.
const GRACE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);
const WARM_UP: u32 = 3;
/// The program beside which a start is measured.
const TRUE: &str = "/bin/true";

pub fn run(cell: &Cell, measure: Duration) -> Result<Measured> {
    let needed = cell.size as u64;
    let free = available_memory();
    if free.is_some_and(|free| free < needed + needed / 4) {
        bail!(Unsupported(format!("needs {} MB of free memory", needed / 1_000_000)));
    }
    let (percentiles, samples) = if python(cell.system).is_some() {
        run_python(cell.system, measure)?
    } else {
        let mut runner = Process::new(measured, (cell.system, cell.size, measure)).name("ringway-bench");
        runner.start()?;
        answer(&runner, measure)?
    };
    Ok(Measured {
        value: Value::RoundTrip(percentiles),
        samples,
        probes: (1.0, 1.0),
        clock_ns: None,
        counts: Vec::new(),
        wake: None,
    })
}

/// What a process that measures for so long has found. It is ended with Ctrl-C.
pub fn answer<T>(runner: &Process<Result<T, String>>, measure: Duration) -> Result<T>
where
    T: Serialize + DeserializeOwned + 'static,
{
    let deadline = Instant::now() + measure + GRACE;
    while !runner.join_timeout(TICK)? {
        if INTERRUPTED.load(Ordering::Relaxed) || Instant::now() > deadline {
            runner.kill()?;
            runner.join()?;
            bail!("it did not end in time");
        }
    }
    runner.result()?.map_err(anyhow::Error::msg)
}

fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? * 1024)
}

// ---- in the process that starts others ----

fn measured(system: System, resident: usize, measure: Duration) -> Result<(Percentiles, u64), String> {
    let memory = vec![1_u8; resident];
    let measured = start_many(system, measure).map_err(|error| format!("{error:#}"));
    std::hint::black_box(memory);
    measured
}

fn start_many(system: System, measure: Duration) -> Result<(Percentiles, u64)> {
    let mut one: Box<dyn FnMut() -> Result<Duration>> = match system {
        System::Command => Box::new(command),
        System::RingwayDeath => {
            let queue = PodQueue::<u64>::bounded(1)?;
            Box::new(move || death(&queue))
        }
        _ => Box::new(move || start_and_join(system == System::RingwayWarm)),
    };
    for _ in 0..WARM_UP {
        one()?;
    }
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).context("histogram")?;
    let begun = Instant::now();
    while begun.elapsed() < measure || histogram.is_empty() {
        histogram.saturating_record(one()?.as_nanos() as u64);
    }
    Ok((percentiles(&histogram), histogram.len()))
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile);
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: histogram.max() }
}

fn start_and_join(warm: bool) -> Result<Duration> {
    let begun = Instant::now();
    let mut process = Process::new(|| (), ()).warm(warm);
    process.start()?;
    let status = process.join()?;
    let took = begun.elapsed();
    ensure!(status.success(), "a child {status}");
    Ok(took)
}

fn command() -> Result<Duration> {
    let begun = Instant::now();
    let status = Command::new(TRUE).status().context(TRUE)?;
    let took = begun.elapsed();
    ensure!(status.success(), "{TRUE} ended with {status}");
    Ok(took)
}

/// From the child's last act to the return of the parent's `join`.
fn death(queue: &PodQueue<u64>) -> Result<Duration> {
    fn die(last: Producer<Pod<u64>>) {
        let _ = last.put(now_ns());
        // SAFETY: ends this process, at once.
        unsafe { libc::_exit(7) }
    }
    let mut process = Process::new(die, (queue.producer()?,));
    process.start()?;
    let status = process.join()?;
    let noticed = now_ns();
    ensure!(status == ExitStatus::Exited(7), "a child {status}");
    Ok(Duration::from_nanos(noticed.saturating_sub(queue.get()?)))
}

/// The clock that all processes share.
fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes to the local.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

// ---- Python ----

/// The start method's name.
fn python(system: System) -> Option<&'static str> {
    match system {
        System::PythonFork => Some("fork"),
        System::PythonSpawn => Some("spawn"),
        System::PythonForkserver => Some("forkserver"),
        _ => None,
    }
}

/// A file, because `spawn` imports it in each child. Prints nanoseconds, a line each.
const SCRIPT: &str = r#"
import multiprocessing, sys, time

def nothing():
    pass

if __name__ == '__main__':
    context = multiprocessing.get_context(sys.argv[1])
    def one():
        begun = time.perf_counter_ns()
        process = context.Process(target=nothing)
        process.start()
        process.join()
        assert process.exitcode == 0
        return time.perf_counter_ns() - begun
    one()
    end = time.perf_counter_ns() + int(sys.argv[2])
    while True:
        print(one())
        if time.perf_counter_ns() >= end:
            break
"#;

fn run_python(system: System, measure: Duration) -> Result<(Percentiles, u64)> {
    let method = python(system).unwrap_or_default();
    let script = tempfile_of(SCRIPT)?;
    let mut command = Command::new("python3");
    command.arg(&script.0).arg(method).arg(measure.as_nanos().to_string());
    let output = match command.stdin(Stdio::null()).stderr(Stdio::piped()).output() {
        Ok(output) => output,
        Err(error) => bail!(Unsupported(format!("python3: {error}"))),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(Unsupported(format!("python3: {}", said.lines().last().unwrap_or("failed"))));
    }
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).context("histogram")?;
    for line in String::from_utf8(output.stdout)?.lines() {
        histogram.saturating_record(line.trim().parse().context("what python3 printed")?);
    }
    ensure!(!histogram.is_empty(), "python3 printed nothing");
    Ok((percentiles(&histogram), histogram.len()))
}

/// Removed when it is dropped.
struct Script(std::path::PathBuf);

fn tempfile_of(text: &str) -> Result<Script> {
    let name = format!("ringway-bench-{}.py", std::process::id());
    let script = Script(std::env::temp_dir().join(name));
    std::fs::write(&script.0, text).with_context(|| format!("writing {}", script.0.display()))?;
    Ok(script)
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
