//! The flags of `ringway bench`, and what they ask for.
//!
//! Knows the command line and nothing of how anything is measured.

use super::plan::{FASTEST, Mode, Request, Shape, Wait};
use super::scale::Over;
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,

    /// Fewer cells and shorter runs: all of it in at most 20 s.
    #[arg(long, global = true)]
    quick: bool,

    /// Write JSON to FILE; alone, to standard output (the table then goes to standard error).
    #[arg(long, global = true, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,

    /// Write one page with all plots and numbers to FILE; it needs no network.
    #[arg(long, global = true, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write every plot to a file of its own in DIR, which is made if it is missing.
    #[arg(long, global = true, value_name = "DIR")]
    svg: Option<PathBuf>,

    /// Payload sizes in bytes, up to 4 MiB; beyond 4096 in queues of bytes only.
    #[arg(long, global = true, value_name = "BYTES", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(8..=LONGEST_MESSAGE))]
    size: Vec<u32>,

    /// Which sides of the queue have several ends.
    #[arg(long, global = true, value_delimiter = ',')]
    mode: Vec<Mode>,

    /// Runs of each cell; the medians are reported.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    runs: Option<u32>,

    /// How ringway waits.
    #[arg(long, global = true, value_delimiter = ',')]
    wait: Vec<Wait>,

    /// Capacity of the queue, in messages.
    #[arg(long, global = true, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u64).range(1..=1 << 24))]
    capacity: Vec<u64>,

    /// Producing processes (throughput, scale).
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    producers: Option<u32>,

    /// Consuming processes (throughput, scale).
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    consumers: Option<u32>,

    /// Messages per put_many and get_many; 1 is put and get (throughput).
    #[arg(long, global = true, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Vec<u32>,

    /// Messages per second, with or without k or M (load).
    #[arg(long, global = true, value_name = "R", value_delimiter = ',', value_parser = rate)]
    rate: Vec<u64>,

    /// What grows; by default each of them (scale).
    #[arg(long, global = true, value_delimiter = ',')]
    over: Vec<Over>,
}

const LONGEST_MESSAGE: i64 = 4 << 20;
/// The most that each process holds of a batch at once.
const LARGEST_BATCH_BYTES: u64 = 256 << 20;

/// `10`, `1k`, `2M`.
fn rate(text: &str) -> Result<u64, String> {
    let (digits, unit) = match text.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => text.strip_suffix('M').map_or((text, 1), |digits| (digits, 1_000_000)),
    };
    let per_second = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let Some(per_second) = per_second.filter(|rate| (1..=FASTEST).contains(rate)) else {
        return Err("a rate is 1 to 100M messages per second: 10, 1k, 2M".into());
    };
    Ok(per_second)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
enum What {
    /// Round trips over two queues, and their percentiles.
    Latency,
    /// Messages and bytes per second through one queue.
    Throughput,
    /// Starting processes and waiting for them, beside `std::process::Command` and Python.
    Process,
    /// Jobs of a pool, beside rayon's threads and Python's pools.
    Pool,
    /// Messages that come at fixed times, seldom or often: how late, and what they cost.
    Load,
    /// Throughput over the number of processes, the size of messages and the capacity.
    Scale,
    /// What this machine's caches and wake-ups cost, and which options follow from that.
    Tune,
}

impl BenchArgs {
    /// What was asked for, or why it makes no sense.
    pub fn plan(&self) -> Result<Request, String> {
        let latency = matches!(self.what, None | Some(What::Latency));
        let throughput = matches!(self.what, None | Some(What::Throughput));
        let (process, pool) = (self.what == Some(What::Process), self.what == Some(What::Pool));
        let (load, scale) = (self.what == Some(What::Load), self.what == Some(What::Scale));
        let tune = self.what == Some(What::Tune);
        if !scale && !self.over.is_empty() {
            return Err("--over applies to scale: nothing grows in the others".into());
        }
        if !load && !self.rate.is_empty() {
            return Err("--rate applies to load; the others send as soon as they can".into());
        }
        if process || pool {
            let of_queues = [
                ("--size", self.size.is_empty()),
                ("--mode", self.mode.is_empty()),
                ("--wait", self.wait.is_empty()),
                ("--capacity", self.capacity.is_empty()),
                ("--batch", self.batch.is_empty()),
                ("--producers", self.producers.is_none()),
                ("--consumers", self.consumers.is_none()),
            ];
            if let Some((flag, _)) = of_queues.iter().find(|(_, absent)| !absent) {
                return Err(format!("{flag} is about queues; neither starting processes nor a pool's jobs have it"));
            }
        }
        if tune && !self.wait.is_empty() {
            return Err("--wait is what tune finds out: it measures how long spinning pays".into());
        }
        if tune && self.mode.len() > 1 {
            return Err("tune suggests options for one queue: state one --mode".into());
        }
        if !throughput {
            let stray = [
                ("--producers", self.producers.is_some() && !scale),
                ("--consumers", self.consumers.is_some() && !scale),
                ("--batch", !self.batch.is_empty()),
            ];
            if let Some((flag, _)) = stray.iter().find(|(_, given)| *given) {
                let ends = if scale { "" } else { "one process is at each end, with " };
                return Err(format!("{flag} applies to throughput; here {ends}one message goes at a time"));
            }
        }
        let largest = |values: &[u32]| u64::from(values.iter().copied().max().unwrap_or(1));
        if largest(&self.size) * largest(&self.batch) > LARGEST_BATCH_BYTES {
            return Err(format!(
                "--batch times --size is at most {LARGEST_BATCH_BYTES} bytes, which a process holds at once"
            ));
        }
        Ok(Request {
            latency,
            throughput,
            process,
            pool,
            load,
            scale,
            tune,
            quick: self.quick,
            json: self.json.clone(),
            html: self.html.clone(),
            svg: self.svg.clone(),
            sizes: self.size.iter().map(|&s| s as usize).collect(),
            modes: self.mode.clone(),
            waits: self.wait.clone(),
            capacities: self.capacity.clone(),
            // Each kind of growth has shapes of its own for the modes.
            shapes: if scale && self.producers.is_none() && self.consumers.is_none() { vec![] } else { self.shapes()? },
            batches: self.batch.clone(),
            rates: self.rate.clone(),
            over: self.over.clone(),
            runs: self.runs.unwrap_or(match (load, self.quick) {
                (false, quick) => {
                    if quick {
                        3
                    } else {
                        5
                    }
                }
                (true, quick) => {
                    if quick {
                        1
                    } else {
                        3
                    }
                }
            }),
            runs_stated: self.runs.is_some(),
        })
    }

    /// The combinations of mode and processes that throughput is measured with;
    /// empty: the defaults.
    fn shapes(&self) -> Result<Vec<Shape>, String> {
        if self.producers.is_none() && self.consumers.is_none() {
            return Ok(self.mode.iter().flat_map(|&mode| Shape::usual(mode)).collect());
        }
        let (producers, consumers) = (self.producers.unwrap_or(1), self.consumers.unwrap_or(1));
        let default = match (producers, consumers) {
            (1, 1) => vec![Mode::Spsc, Mode::Mpmc],
            _ => vec![Mode::Mpmc],
        };
        let modes = if self.mode.is_empty() { default } else { self.mode.clone() };
        modes
            .into_iter()
            .map(|mode| {
                if mode.single_producer() && producers > 1 || mode.single_consumer() && consumers > 1 {
                    let name = mode.name();
                    return Err(format!("--mode {name} cannot have {producers} producers and {consumers} consumers"));
                }
                Ok(Shape { mode, producers, consumers })
            })
            .collect()
    }
}

/// Subcommands of `bench`, which `--json` must not take for its file.
const SUBCOMMANDS: [&str; 7] = ["latency", "throughput", "process", "pool", "load", "scale", "tune"];

/// Makes a bare `--json` before a subcommand an explicit `--json=-`. A file of
/// such a name is `--json=latency`.
pub fn settle_json_flag(mut arguments: Vec<OsString>) -> Vec<OsString> {
    for k in 1..arguments.len() {
        if arguments[k - 1] == "--json" && SUBCOMMANDS.iter().any(|&name| arguments[k] == name) {
            arguments[k - 1] = "--json=-".into();
        }
    }
    arguments
}
