//! What a job of a pool costs, beside what else runs jobs.
//!
//! Each run happens in a process of its own, which makes the pool. Every result is checked. Knows nothing of
//! rounds and tables.

use super::latency::Percentiles;
use super::plan::{Cell, System, Wait};
use super::runner::{INTERRUPTED, Measured, Value};
use super::worker::Unsupported;
use super::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;
use rayon::prelude::*;
use ringway::{Pool, PoolBuilder, Process, WaitPolicy};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LONGEST: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(50);
const WORKERS: usize = 2;
/// Jobs that are submitted one by one, and calls of a map, of one round of each.
const JOBS: u64 = 1_000_000;
const CALLS: u64 = 10_000_000;
/// Python takes a minute for a million.
const PYTHON_JOBS: u64 = 50_000;
pub const SLICES_BYTES: usize = 64 << 20;
/// Memory that stays, for slices.
const ARENA: u64 = 32 << 20;
/// Steps of a job that takes about ten milliseconds.
const STEPS: u64 = 6_000_000;
const HEAVY_JOBS: u64 = 40;

/// What was measured, to be sent.
#[derive(Serialize, Deserialize)]
enum Found {
    Times(Percentiles),
    PerSecond(f64),
}

pub fn run(cell: &Cell, workspace: &Workspace, measure: Duration) -> Result<Measured> {
    let (found, samples) = match python(cell.system) {
        Some(what) => run_python(what, cell.system, measure)?,
        None => {
            let cpus = [workspace.cpu(false, 0, (1, 1)), workspace.cpu(true, 0, (1, 1))];
            let mut runner = Process::new(measured, (cell.clone(), cpus, measure)).name("ringway-bench");
            // Only a round trip has one side on either processor.
            if let (System::PoolApply, Some(cpu)) = (cell.system, cpus[0]) {
                runner = runner.affinity([cpu]);
            }
            runner.start()?;
            super::processes::answer(&runner, measure)?
        }
    };
    let value = match found {
        Found::Times(percentiles) => Value::RoundTrip(percentiles),
        Found::PerSecond(rate) => Value::Rate(rate),
    };
    Ok(Measured { value, samples, probes: (1.0, 1.0), clock_ns: None, counts: Vec::new(), wake: None })
}

// ---- in the process that has the pool ----

type Answer = Result<(Found, u64), String>;

fn measured(cell: Cell, cpus: [Option<usize>; 2], measure: Duration) -> Answer {
    measure_one(&cell, cpus, measure).map_err(|error| format!("{error:#}"))
}

fn measure_one(cell: &Cell, cpus: [Option<usize>; 2], measure: Duration) -> Result<(Found, u64)> {
    match cell.system {
        System::PoolApply => apply(cell.wait.unwrap_or(Wait::Default), cpus[1], measure),
        System::PoolAsync => {
            let pool = Pool::new(WORKERS)?;
            rate(measure, JOBS, || {
                let jobs: Vec<_> = (0..JOBS).map(|n| pool.apply_async(same, (n,))).collect::<Result<_, _>>()?;
                for (n, job) in (0..).zip(jobs) {
                    ensure!(job.get()? == n, "a wrong result");
                }
                Ok(())
            })
        }
        System::RayonAsync => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build()?;
            rate(measure, JOBS, || {
                let (told, hears) = mpsc::channel();
                for n in 0..JOBS {
                    let told = told.clone();
                    pool.spawn(move || {
                        let _ = told.send(same(n));
                    });
                }
                drop(told);
                ensure!(hears.iter().sum::<u64>() == JOBS * (JOBS - 1) / 2, "a wrong result");
                Ok(())
            })
        }
        System::PoolMap => {
            let pool = Pool::new(WORKERS)?;
            rate(measure, CALLS, || {
                let results = pool.map(same, 0..CALLS)?;
                ensure!(results.into_iter().eq(0..CALLS), "a wrong result");
                Ok(())
            })
        }
        System::RayonMap => {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(WORKERS).build()?;
            rate(measure, CALLS, || {
                let results: Vec<u64> = pool.install(|| (0..CALLS).into_par_iter().map(same).collect());
                ensure!(results.into_iter().eq(0..CALLS), "a wrong result");
                Ok(())
            })
        }
        System::Memcpy => {
            let from = vec![1_u64; SLICES_BYTES / 8];
            let mut to = vec![0_u64; from.len()];
            rate(measure, 1, || {
                to.copy_from_slice(std::hint::black_box(&from));
                std::hint::black_box(&to);
                Ok(())
            })
        }
        System::PoolSlices => {
            let pool = Pool::builder().workers(WORKERS).arena(ARENA).build()?;
            let data: Vec<u64> = (0..SLICES_BYTES as u64 / 8).collect();
            rate(measure, 1, || {
                let ends = pool.map_slices(|part: &[u64]| part[0] + part[part.len() - 1], &data)?;
                ensure!(ends.first().is_some_and(|sum| *sum > 0), "a wrong result");
                Ok(())
            })
        }
        System::PoolCpu => {
            let pool = Pool::new(WORKERS)?;
            rate(measure, HEAVY_JOBS, || {
                let jobs: Vec<_> = (0..HEAVY_JOBS).map(|n| pool.apply_async(heavy, (n,))).collect::<Result<_, _>>()?;
                for job in jobs {
                    job.get()?;
                }
                Ok(())
            })
        }
        System::ProcessesCpu => rate(measure, HEAVY_JOBS, || {
            let half = |_: u64| (0..HEAVY_JOBS / 2).map(heavy).fold(0, u64::wrapping_add);
            let mut both = [Process::new(half, (0,)), Process::new(half, (1,))];
            both.iter_mut().try_for_each(Process::start)?;
            for process in both {
                process.result()?;
            }
            Ok(())
        }),
        other => bail!("{} has no pool", other.name()),
    }
}

fn same(n: u64) -> u64 {
    n
}

fn heavy(seed: u64) -> u64 {
    (0..STEPS).fold(seed, |x, _| std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1)))
}

fn builder(wait: Wait) -> PoolBuilder {
    Pool::builder().workers(1).wait_policy(match wait {
        Wait::Spin => WaitPolicy::Spin,
        Wait::Default => WaitPolicy::default(),
        Wait::Park => WaitPolicy::Park,
    })
}

fn apply(wait: Wait, cpu: Option<usize>, measure: Duration) -> Result<(Found, u64)> {
    let pool = cpu.map_or_else(|| builder(wait), |cpu| builder(wait).affinity([cpu])).build()?;
    let mut histogram = histogram()?;
    let mut n = 0;
    for _ in 0..1000 {
        pool.apply(same, (0,))?;
    }
    let begun = Instant::now();
    while begun.elapsed() < measure {
        let before = Instant::now();
        let result = pool.apply(same, (n,))?;
        histogram.saturating_record(before.elapsed().as_nanos() as u64);
        ensure!(result == n, "a wrong result");
        n += 1;
    }
    Ok((Found::Times(percentiles(&histogram)), histogram.len()))
}

/// How many of `each` are done in a second, after a first round that does not count.
fn rate(measure: Duration, each: u64, mut round: impl FnMut() -> Result<()>) -> Result<(Found, u64)> {
    round()?;
    let (begun, mut rounds) = (Instant::now(), 0);
    while rounds == 0 || begun.elapsed() < measure {
        round()?;
        rounds += 1;
    }
    Ok((Found::PerSecond((each * rounds) as f64 / begun.elapsed().as_secs_f64()), each * rounds))
}

fn histogram() -> Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).context("histogram")
}

fn percentiles(histogram: &Histogram<u64>) -> Percentiles {
    let at = |quantile| histogram.value_at_quantile(quantile);
    Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: histogram.max() }
}

// ---- Python ----

/// What its program is told to do.
fn python(system: System) -> Option<&'static str> {
    match system {
        System::PythonPoolApply => Some("apply"),
        System::PythonPoolAsync => Some("async"),
        System::PythonPoolMap => Some("map"),
        System::PythonExecutorApply => Some("executor-apply"),
        System::PythonExecutorAsync => Some("executor-async"),
        _ => None,
    }
}

/// Prints nanoseconds of each call, or seconds for all.
const SCRIPT: &str = r#"
import sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import Pool

def same(n):
    return n

def times(call, nanoseconds):
    for n in range(50):
        call(n)
    end = time.perf_counter_ns() + nanoseconds
    while True:
        begun = time.perf_counter_ns()
        assert call(1) == 1
        now = time.perf_counter_ns()
        print(now - begun)
        if now >= end:
            break

def all_at_once(results):
    begun = time.perf_counter()
    assert sum(results()) >= 0
    print(time.perf_counter() - begun)

if __name__ == '__main__':
    what, nanoseconds, jobs, calls = sys.argv[1], *map(int, sys.argv[2:])
    if what.startswith('executor'):
        with ProcessPoolExecutor(2) as executor:
            if what == 'executor-apply':
                times(lambda n: executor.submit(same, n).result(), nanoseconds)
            else:
                executor.submit(same, 1).result()
                all_at_once(lambda: [f.result() for f in [executor.submit(same, n) for n in range(jobs)]])
    else:
        with Pool(2) as pool:
            if what == 'apply':
                times(lambda n: pool.apply(same, (n,)), nanoseconds)
            else:
                pool.apply(same, (1,))
                if what == 'async':
                    all_at_once(lambda: [r.get() for r in [pool.apply_async(same, (n,)) for n in range(jobs)]])
                else:
                    all_at_once(lambda: pool.map(same, range(calls)))
"#;

/// All that it says, so that it never waits for us.
fn listen(stream: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut said = String::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_string(&mut said);
        }
        said
    })
}

fn run_python(what: &str, system: System, measure: Duration) -> Result<(Found, u64)> {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, what, &measure.as_nanos().to_string()]);
    command.args([PYTHON_JOBS.to_string(), CALLS.to_string()]);
    let mut child = match command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(error) => bail!(Unsupported(format!("python3: {error}"))),
    };
    let (said, complained) = (listen(child.stdout.take()), listen(child.stderr.take()));
    let deadline = Instant::now() + measure + GRACE;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if INTERRUPTED.load(Ordering::Relaxed) || Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("python3 did not end in time");
        }
        std::thread::sleep(TICK);
    };
    let said = said.join().unwrap_or_default();
    if !status.success() {
        let complained = complained.join().unwrap_or_default();
        bail!(Unsupported(format!("python3: {}", complained.lines().last().unwrap_or("failed"))));
    }
    let each = match system {
        System::PythonPoolMap => CALLS,
        System::PythonPoolAsync | System::PythonExecutorAsync => PYTHON_JOBS,
        _ => {
            let mut histogram = histogram()?;
            for line in said.lines() {
                histogram.saturating_record(line.trim().parse().context("what python3 printed")?);
            }
            ensure!(!histogram.is_empty(), "python3 printed nothing");
            return Ok((Found::Times(percentiles(&histogram)), histogram.len()));
        }
    };
    let seconds: f64 = said.trim().parse().context("what python3 printed")?;
    Ok((Found::PerSecond(each as f64 / seconds), each))
}
