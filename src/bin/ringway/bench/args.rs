//! The flags of `ringway bench`, and what they ask for.
//!
//! Knows the command line and nothing of how anything is measured.

use super::plan::{Mode, Request, Shape, Wait};
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

    /// Payload sizes in bytes.
    #[arg(long, global = true, value_name = "BYTES", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(8..=65536))]
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

    /// Producing processes (throughput).
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    producers: Option<u32>,

    /// Consuming processes (throughput).
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    consumers: Option<u32>,

    /// Messages per put_many and get_many; 1 is put and get (throughput).
    #[arg(long, global = true, value_name = "N", value_delimiter = ',',
          value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: Vec<u32>,
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
}

impl BenchArgs {
    /// What was asked for, or why it makes no sense.
    pub fn plan(&self) -> Result<Request, String> {
        let latency = matches!(self.what, None | Some(What::Latency));
        let throughput = matches!(self.what, None | Some(What::Throughput));
        let (process, pool) = (self.what == Some(What::Process), self.what == Some(What::Pool));
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
        if !throughput {
            let stray = [
                ("--producers", self.producers.is_some()),
                ("--consumers", self.consumers.is_some()),
                ("--batch", !self.batch.is_empty()),
            ];
            if let Some((flag, _)) = stray.iter().find(|(_, given)| *given) {
                return Err(format!("{flag} applies to throughput; a round trip has one process at each end"));
            }
        }
        Ok(Request {
            latency,
            throughput,
            process,
            pool,
            quick: self.quick,
            json: self.json.clone(),
            sizes: self.size.iter().map(|&s| s as usize).collect(),
            modes: self.mode.clone(),
            waits: self.wait.clone(),
            capacities: self.capacity.clone(),
            shapes: self.shapes()?,
            batches: self.batch.clone(),
            runs: self.runs.unwrap_or(if self.quick { 3 } else { 5 }),
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
const SUBCOMMANDS: [&str; 4] = ["latency", "throughput", "process", "pool"];

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
