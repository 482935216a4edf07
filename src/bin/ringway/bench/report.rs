//! The rows: what is known of each cell after all rounds, in the form of the
//! JSON report. Every key is always there; what does not apply is null.

use super::machine::Machine;
use super::plan::{Bench, Cell, Group};
use super::runner::{Trouble, Value};
use super::scale::Over;
use super::schedule::{History, Outcome};
use super::stats::{median, rounded, spread};
use super::tune::{Suggestion, WakeUp};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub struct Report {
    pub schema: u32,
    pub machine: Machine,
    pub results: Vec<Row>,
    /// What tuning makes of them.
    pub suggestion: Option<Suggestion>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Row {
    #[serde(flatten)]
    pub cell: Cell,
    pub p50: Option<u64>,
    pub p90: Option<u64>,
    pub p99: Option<u64>,
    pub p999: Option<u64>,
    pub max: Option<u64>,
    pub msgs_per_s: Option<f64>,
    pub bytes_per_s: Option<f64>,
    pub runs: usize,
    pub samples: u64,
    pub spread: Option<f64>,
    pub ratio_limit: Option<f64>,
    pub ratio_pipe: Option<f64>,
    pub error: Option<String>,
    /// Percentiles, 0 to 100, and their nanoseconds.
    pub distribution: Option<Vec<(f64, u64)>>,
    #[serde(flatten)]
    pub load: Figures,
    #[serde(flatten)]
    pub scale: Scaling,
    #[serde(flatten)]
    pub wake: WakeUp,
}

/// What only rows of scaling have.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Scaling {
    pub over: Option<Over>,
    /// Times the rate of what it is compared with.
    pub ratio_base: Option<f64>,
    pub target: Option<f64>,
    pub met: Option<bool>,
}

/// What only messages at fixed times have, and waiting for none.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub achieved_per_s: Option<f64>,
    /// Nanoseconds.
    pub late_p99: Option<u64>,
    pub cpu_s_per_million_sender: Option<f64>,
    pub cpu_s_per_million_receiver: Option<f64>,
    pub idle_cpu_share: Option<f64>,
    pub idle_sleeps_per_s: Option<f64>,
}

impl Row {
    /// Nothing is known of it yet.
    pub fn of(cell: &Cell) -> Row {
        let (p50, p90, p99, p999, max) = (None, None, None, None, None);
        let (msgs_per_s, bytes_per_s, spread, ratio_limit, ratio_pipe) = (None, None, None, None, None);
        let (cell, runs, samples, error, distribution) = (cell.clone(), 0, 0, None, None);
        let (load, scale, wake) = (Figures::default(), Scaling::default(), WakeUp::default());
        Row {
            cell,
            p50,
            p90,
            p99,
            p999,
            max,
            msgs_per_s,
            bytes_per_s,
            runs,
            samples,
            spread,
            ratio_limit,
            ratio_pipe,
            error,
            distribution,
            load,
            scale,
            wake,
        }
    }
}

const SCHEMA: u32 = 1;

impl Report {
    pub fn new(machine: Machine, results: Vec<Row>) -> Report {
        Report { schema: SCHEMA, machine, results, suggestion: None }
    }
}

/// The rows of one bench, in the order of its groups.
pub fn rows(groups: &[Group], outcome: &Outcome) -> Vec<Row> {
    let cells = groups.iter().flatten();
    cells.zip(outcome.histories.iter().flatten()).map(|(cell, history)| row(cell, history)).collect()
}

fn row(cell: &Cell, history: &History) -> Row {
    let keys: Vec<f64> = history.runs.iter().map(|run| run.value.key()).collect();
    let trips: Vec<_> = history
        .runs
        .iter()
        .filter_map(|run| match run.value {
            Value::RoundTrip(percentiles) => Some(percentiles),
            Value::Rate(_) => None,
        })
        .collect();
    let rates: Vec<f64> = history
        .runs
        .iter()
        .filter_map(|run| match run.value {
            Value::Rate(rate) => Some(rate),
            Value::RoundTrip(_) => None,
        })
        .collect();
    let of = |percentile: fn(&super::latency::Percentiles) -> u64| {
        median(&trips.iter().map(|trip| percentile(trip) as f64).collect::<Vec<_>>()).map(|ns| ns.round() as u64)
    };
    let rate = median(&rates).map(f64::round);
    // One wrong message makes the row's numbers worthless.
    let error = match &history.trouble {
        Some(Trouble::Unsupported(text) | Trouble::Failed(text)) => Some(text.clone()),
        Some(Trouble::Interrupted) | None if history.runs.is_empty() => Some("interrupted".into()),
        _ => None,
    };
    let good = error.is_none();
    Row {
        p50: of(|p| p.p50).filter(|_| good),
        p90: of(|p| p.p90).filter(|_| good),
        p99: of(|p| p.p99).filter(|_| good),
        p999: of(|p| p.p999).filter(|_| good),
        max: trips.iter().map(|trip| trip.max).max().filter(|_| good),
        msgs_per_s: rate.filter(|_| good),
        bytes_per_s: rate.filter(|_| good).map(|rate| rate * cell.size as f64),
        runs: history.runs.len(),
        samples: history.runs.iter().map(|run| run.samples).sum(),
        spread: spread(&keys).filter(|_| good).map(rounded),
        ratio_limit: history.limit_ratio().filter(|_| good).map(rounded),
        ratio_pipe: history.pipe_ratio().filter(|_| good).map(rounded),
        error,
        distribution: Some(super::latency::distribution(history.runs.iter().map(|run| &run.counts)))
            .filter(|points| good && !points.is_empty()),
        wake: if good { WakeUp::of(&history.runs) } else { WakeUp::default() },
        ..Row::of(cell)
    }
}

/// Whether a measurement failed that should have worked: not where a system
/// cannot carry a size, and not where the machine lacks one to compare with.
pub fn failed(groups: &[Group], outcome: &Outcome) -> bool {
    let cells = groups.iter().flatten().zip(outcome.histories.iter().flatten());
    let own = |cell: &Cell| cell.system.is_ringway() || cell.limit() == cell.system || cell.bench == Bench::Tune;
    cells.into_iter().any(|(cell, history)| own(cell) && matches!(history.trouble, Some(Trouble::Failed(_))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::latency::Percentiles;
    use crate::bench::plan::{Mode, System, Wait};
    use crate::bench::runner::Measured;

    fn cell() -> Cell {
        Cell {
            mode: Some(Mode::Spsc),
            wait: Some(Wait::Park),
            capacity: Some(64),
            ..Cell::bare(Bench::Latency, System::RingwayBytes, 52)
        }
    }

    fn run(p50: u64, max: u64) -> Measured {
        let percentiles = Percentiles { p50, p90: p50, p99: p50, p999: p50, max };
        Measured {
            value: Value::RoundTrip(percentiles),
            samples: 10,
            probes: (1.0, 1.0),
            clock_ns: None,
            counts: Vec::new(),
            wake: None,
        }
    }

    #[test]
    fn a_row_has_every_key_of_the_schema() {
        let row = row(&cell(), &History { runs: vec![run(1, 9), run(2, 7)], ..History::default() });
        let value = serde_json::to_value(&row).unwrap();
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = [
            "bench",
            "system",
            "mode",
            "wait",
            "size",
            "capacity",
            "producers",
            "consumers",
            "batch",
            "p50",
            "p90",
            "p99",
            "p999",
            "max",
            "msgs_per_s",
            "bytes_per_s",
            "runs",
            "samples",
            "spread",
            "ratio_limit",
            "ratio_pipe",
            "error",
            "cpus",
            "inline",
            "rate",
            "distribution",
            "achieved_per_s",
            "late_p99",
            "cpu_s_per_million_sender",
            "cpu_s_per_million_receiver",
            "idle_cpu_share",
            "idle_sleeps_per_s",
            "over",
            "ratio_base",
            "target",
            "met",
            "wake_call_ns",
            "wake_to_run_ns",
            "sleep_wake_cpu_ns",
        ];
        keys.sort_unstable();
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(value["system"], "ringway-bytes");
        assert_eq!(
            (&value["bench"], &value["mode"], &value["wait"]),
            (&"latency".into(), &"spsc".into(), &"park".into())
        );
        assert!(value["msgs_per_s"].is_null() && value["producers"].is_null() && value["error"].is_null());
        assert_eq!(value["max"], 9);
        assert_eq!(value["samples"], 20);
    }

    #[test]
    fn a_report_has_every_key_of_the_schema() {
        let value = serde_json::to_value(Report::new(Machine::look(true), vec![])).unwrap();
        assert_eq!(value["schema"], 1);
        for key in ["kernel", "cpu", "cores", "rustc", "commit", "date", "pinned"] {
            assert!(!value["machine"][key].is_null(), "{key}");
        }
    }

    #[test]
    fn a_failed_run_leaves_no_numbers() {
        let trouble = Some(Trouble::Failed("message lost".into()));
        let row = row(&cell(), &History { runs: vec![run(1, 1)], trouble, ..History::default() });
        assert_eq!((row.p50, row.error.as_deref()), (None, Some("message lost")));
    }

    #[test]
    fn an_interrupted_row_keeps_its_runs() {
        let trouble = Some(Trouble::Interrupted);
        let some = row(&cell(), &History { runs: vec![run(5, 5)], trouble: trouble.clone(), ..History::default() });
        assert_eq!((some.p50, some.error), (Some(5), None));
        let none = row(&cell(), &History { trouble, ..History::default() });
        assert_eq!(none.error.as_deref(), Some("interrupted"));
    }
}
