//! `ringway bench load`: what messages cost that come at their own time, seldom or often.
//!
//! `arrivals` (when messages are due) → `ends` (the two processes) → `tally` (rows) and
//! `saturation` (which rate is too much); this file decides which run when. Unlike the other
//! benches it compares rows by nothing but their numbers, so it needs no rounds with limits.

mod arrivals;
mod ends;
mod saturation;
mod tally;
#[cfg(test)]
mod tests;

pub use ends::{Got, Sent, processor_ns, work};

use super::plan::{Bench, Cell, Group, Request, load as groups};
use super::report::Row;
use super::runner::{self, Trouble};
use super::workspace::Workspace;
use anyhow::Result;
use saturation::{Trial, search};
use std::time::{Duration, Instant};
use tally::{Run, Tally};

/// What was measured.
pub struct Outcome {
    pub rows: Vec<Row>,
    /// The placement probes of all runs.
    pub probes: Vec<f64>,
    pub failed: bool,
    pub interrupted: bool,
}

/// A rate is sustained if so many of a hundred messages arrive within [`BOUND`] of their moments.
const BOUND: Duration = Duration::from_millis(1);
const DEFAULT_RATES: [u64; 4] = [10, 1_000, 100_000, 1_000_000];

fn rates(request: &Request) -> &[u64] {
    if request.rates.is_empty() { &DEFAULT_RATES } else { &request.rates }
}

/// How long a run of this rate sends: some messages must be due.
fn stretch(rate: u64, quick: bool) -> Duration {
    let (messages, shortest, longest) = if quick { (300.0, 0.2, 1.0) } else { (1000.0, 0.5, 2.0) };
    let rate = rate as f64;
    Duration::from_secs_f64((messages / rate).clamp(shortest, longest).max(3.0 / rate))
}

/// How many rows and runs of rows there will be, for who shows progress.
pub fn steps(request: &Request) -> u64 {
    let cells: usize = groups(request).iter().map(Vec::len).sum();
    (cells * (rates(request).len() * request.runs as usize + 2)) as u64
}

/// Measures all of it; `progress` hears of each step before.
pub fn run(request: &Request, workspace: &Workspace, progress: impl FnMut(&Cell)) -> Result<Outcome> {
    let mut conductor = Conductor { workspace, progress, probes: Vec::new(), failed: false, interrupted: false };
    let mut rows = Vec::new();
    for group in groups(request) {
        conductor.group(&group, request, &mut rows)?;
    }
    let Conductor { probes, failed, interrupted, .. } = conductor;
    Ok(Outcome { rows, probes, failed, interrupted })
}

struct Conductor<'w, P> {
    workspace: &'w Workspace,
    progress: P,
    probes: Vec<f64>,
    failed: bool,
    interrupted: bool,
}

impl<P: FnMut(&Cell)> Conductor<'_, P> {
    /// The rows of one size: every rate, what is too much, and waiting for nothing.
    fn group(&mut self, group: &Group, request: &Request, rows: &mut Vec<Row>) -> Result<()> {
        let at_rate = |&rate: &u64| group.iter().map(move |cell| Cell { rate: Some(rate), ..cell.clone() });
        let loads: Vec<Cell> = rates(request).iter().flat_map(at_rate).collect();
        let mut tallies: Vec<Tally> = loads.iter().map(|_| Tally::default()).collect();
        // Round by round, so that a change of the machine meets all rows.
        for _ in 0..request.runs {
            for (cell, tally) in loads.iter().zip(&mut tallies) {
                self.step(cell, tally, stretch(cell.rate.unwrap_or(1), request.quick));
            }
        }
        for (cell, tally) in loads.iter().zip(&tallies) {
            rows.push(tally.row(cell)?);
        }
        for cell in group {
            let tally = self.saturation(cell, request.quick);
            rows.push(tally.row(cell)?);
        }
        for cell in group {
            let (idle, mut tally) = (Cell { bench: Bench::Idle, ..cell.clone() }, Tally::default());
            self.step(&idle, &mut tally, Duration::from_millis(if request.quick { 300 } else { 2000 }));
            rows.push(tally.row(&idle)?);
        }
        Ok(())
    }

    /// One more run of a row, unless one has failed.
    fn step(&mut self, cell: &Cell, tally: &mut Tally, time: Duration) {
        if self.interrupted || tally.trouble.is_some() {
            return;
        }
        (self.progress)(cell);
        match self.once(cell, time) {
            Ok(run) => tally.runs.push(run),
            Err(trouble) => tally.trouble = Some(trouble),
        }
    }

    fn saturation(&mut self, cell: &Cell, quick: bool) -> Tally {
        if self.interrupted {
            return Tally::default();
        }
        (self.progress)(cell);
        let (time, all) = if quick { (60, 1000) } else { (150, 5000) };
        let end = Instant::now() + Duration::from_millis(all);
        let trial = |rate| {
            let run = self.once(&Cell { rate: Some(rate), ..cell.clone() }, Duration::from_millis(time))?;
            Ok(Trial { sustained: u128::from(run.p99_ns()) <= BOUND.as_nanos(), found: run })
        };
        match search(trial, || Instant::now() < end) {
            Ok(Some((_, run))) => Tally { runs: vec![run], trouble: None },
            Ok(None) => {
                let text = format!("no rate was found at which 99 % of the messages take at most {BOUND:?}");
                Tally { runs: vec![], trouble: Some(Trouble::Unsupported(text)) }
            }
            Err(trouble) => Tally { runs: vec![], trouble: Some(trouble) },
        }
    }

    fn once(&mut self, cell: &Cell, time: Duration) -> Result<Run, Trouble> {
        let run = runner::answers(cell, self.workspace, time).and_then(|(parts, probes)| {
            if self.workspace.pinned() {
                self.probes.extend([probes.0, probes.1]);
            }
            Run::of(cell, &parts).map_err(|error| Trouble::Failed(format!("{error:#}")))
        });
        self.interrupted |= matches!(run, Err(Trouble::Interrupted));
        self.failed |= cell.system.is_ringway() && matches!(run, Err(Trouble::Failed(_)));
        run
    }
}

/// What is needed to read the table of loads, or of waiting.
pub fn footer(bench: Bench) -> String {
    if bench == Bench::Idle {
        return "a receiver that waits in `get` while nothing comes: its share of one processor, and how often it \
                goes to sleep in a second\n"
            .into();
    }
    format!(
        "p50 to max: us one way, from the moment at which a message was due (not its sending) until it was received\n\
         late: p99 of how many us after that moment its sending began; this is part of p50 to max\n\
         send s/M, recv s/M: seconds of processor time for a million messages, or us for one:\n\
         of the sender without its waiting for the moments, of the receiver with its waiting\n\
         rate: messages that are due in a second; most: the greatest that was found with p99 of at most {BOUND:?}\n\
         achieved: !: less than {} % of the rate; the times grow with the length of the run\n",
        SUSTAINED * 100.0
    )
}

/// A row that achieves less of its rate says so.
pub const SUSTAINED: f64 = 0.9;
