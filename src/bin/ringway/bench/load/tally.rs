//! What the runs of one row add up to.
//!
//! The runs of a row are one distribution: all their messages together, so that there are enough
//! for the high percentiles of a low rate. Knows answers and rows; nothing of processes.

use super::arrivals::{Arrivals, Times, times};
use super::ends::{Counts, all_arrived};
use crate::bench::plan::{Bench, Cell};
use crate::bench::report::{Figures, Row};
use crate::bench::runner::Trouble;
use crate::bench::stats::{rounded, spread};
use crate::bench::worker::Part;
use anyhow::{Context, Result, ensure};

/// One run: everything arrived.
pub struct Run {
    messages: u64,
    /// Until the last message had arrived, or would have been due.
    took_ns: u64,
    latency: Times,
    late: Times,
    sender_ns: u64,
    receiver_ns: u64,
    wall_ns: u64,
    sleeps: u64,
}

impl Run {
    pub fn of(cell: &Cell, parts: &[Part]) -> Result<Run> {
        let sent = parts.iter().find_map(|part| if let Part::Kept(sent) = part { Some(sent) } else { None });
        let got = parts.iter().find_map(|part| if let Part::Timed(got) = part { Some(got) } else { None });
        let (sent, got) = (sent.context("no process has sent")?, got.context("no process has received")?);
        all_arrived(cell, sent, got)?;
        let (latency, late) = (collected(&got.latency)?, collected(&sent.late)?);
        ensure!(latency.len() == sent.messages, "{} messages, {} times", sent.messages, latency.len());
        let planned = Arrivals::new(cell.rate.unwrap_or(1)).span(sent.messages);
        Ok(Run {
            messages: sent.messages,
            took_ns: got.end_ns.saturating_sub(sent.start_ns).max(planned),
            latency,
            late,
            sender_ns: sent.cpu_ns,
            receiver_ns: got.cpu_ns,
            wall_ns: got.wall_ns,
            sleeps: got.sleeps,
        })
    }

    pub fn p99_ns(&self) -> u64 {
        self.latency.value_at_quantile(0.99)
    }
}

fn collected(counts: &Counts) -> Result<Times> {
    let mut all = times()?;
    counts.iter().for_each(|&(value, count)| all.saturating_record_n(value, count));
    Ok(all)
}

/// All runs of one row, and why there are no more.
#[derive(Default)]
pub struct Tally {
    pub runs: Vec<Run>,
    pub trouble: Option<Trouble>,
}

impl Tally {
    pub fn row(&self, cell: &Cell) -> Result<Row> {
        let mut row = Row { runs: self.runs.len(), error: self.error(), ..Row::of(cell) };
        if row.error.is_some() {
            return Ok(row);
        }
        if cell.bench == Bench::Idle {
            row.load = Figures {
                idle_cpu_share: self.ratio(|run| run.receiver_ns, |run| run.wall_ns),
                idle_sleeps_per_s: self.ratio(|run| run.sleeps * 1_000_000_000, |run| run.wall_ns),
                ..Figures::default()
            };
            return Ok(row);
        }
        let (mut latency, mut late) = (times()?, times()?);
        for run in &self.runs {
            latency.add(&run.latency)?;
            late.add(&run.late)?;
        }
        let at = |quantile| Some(latency.value_at_quantile(quantile));
        (row.p50, row.p90, row.p99, row.p999) = (at(0.5), at(0.9), at(0.99), at(0.999));
        row.max = Some(latency.max());
        row.samples = latency.len();
        let medians: Vec<f64> = self.runs.iter().map(|run| run.latency.value_at_quantile(0.5) as f64).collect();
        row.spread = spread(&medians).map(rounded);
        row.distribution = Some(distribution(&latency));
        row.load = Figures {
            achieved_per_s: self.ratio(|run| run.messages * 1_000_000_000, |run| run.took_ns),
            late_p99: Some(late.value_at_quantile(0.99)),
            // Nanoseconds a message are thousandths of seconds a million.
            cpu_s_per_million_sender: self.ratio(|run| run.sender_ns, |run| run.messages * 1000),
            cpu_s_per_million_receiver: self.ratio(|run| run.receiver_ns, |run| run.messages * 1000),
            ..Figures::default()
        };
        Ok(row)
    }

    /// One wrong message makes the row's numbers worthless; an interruption does not.
    fn error(&self) -> Option<String> {
        match &self.trouble {
            Some(Trouble::Unsupported(text) | Trouble::Failed(text)) => Some(text.clone()),
            Some(Trouble::Interrupted) | None if self.runs.is_empty() => Some("interrupted".into()),
            _ => None,
        }
    }

    fn ratio(&self, of: impl Fn(&Run) -> u64, to: impl Fn(&Run) -> u64) -> Option<f64> {
        let (of, to): (u64, u64) = (self.runs.iter().map(of).sum(), self.runs.iter().map(to).sum());
        (to > 0).then(|| rounded(of as f64 / to as f64))
    }
}

/// Points of a distribution, at most about.
const POINTS: u32 = 60;

/// Percentiles and their nanoseconds, closer to each other towards the slowest.
fn distribution(times: &Times) -> Vec<(f64, u64)> {
    // So often the distance to 100 is halved until one message is left.
    let halvings = u64::BITS - times.len().leading_zeros() + 1;
    let steps = times.iter_quantiles((POINTS / halvings).clamp(1, 10));
    let mut points: Vec<(f64, u64)> =
        steps.map(|step| (percent(step.quantile_iterated_to()), step.value_iterated_to())).collect();
    points.dedup();
    points
}

/// Without the last digits, in which there is nothing but how it was computed.
fn percent(quantile: f64) -> f64 {
    (quantile * 1e10).round() / 1e8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::System;

    fn cell(bench: Bench) -> Cell {
        Cell { rate: Some(1000), ..Cell::bare(bench, System::Pipe, 8) }
    }

    fn run(latencies: &[u64]) -> Run {
        let counts: Counts = latencies.iter().map(|&ns| (ns, 1)).collect();
        let messages = latencies.len() as u64;
        Run {
            messages,
            took_ns: 2_000_000 * messages,
            latency: collected(&counts).unwrap(),
            late: collected(&vec![(7, messages)]).unwrap(),
            sender_ns: 3_000 * messages,
            receiver_ns: 500_000,
            wall_ns: 1_000_000,
            sleeps: 2,
        }
    }

    fn row(bench: Bench, runs: Vec<Run>, trouble: Option<Trouble>) -> Row {
        Tally { runs, trouble }.row(&cell(bench)).unwrap()
    }

    #[test]
    fn runs_of_a_row_are_one_distribution() {
        let row = row(Bench::Load, vec![run(&[100; 60]), run(&[200; 40])], None);
        assert_eq!((row.p50, row.p90, row.max, row.samples, row.runs), (Some(100), Some(200), Some(200), 100, 2));
        assert_eq!((row.load.achieved_per_s, row.load.late_p99), (Some(500.0), Some(7)));
        assert_eq!(row.load.cpu_s_per_million_sender, Some(3.0));
        assert_eq!(row.load.cpu_s_per_million_receiver, Some(10.0));
        assert_eq!((row.load.idle_cpu_share, row.error), (None, None));
    }

    #[test]
    fn a_distribution_goes_from_the_fastest_to_the_slowest() {
        for n in [1u64, 7, 60, 10_000, 1_500_000] {
            let mut all = times().unwrap();
            (1..=n).for_each(|ns| all.record(ns).unwrap());
            let points = distribution(&all);
            assert!((1..=70).contains(&points.len()), "{} points of {n}", points.len());
            assert!(points.len() >= 20 || n < 60, "{} points of {n}", points.len());
            assert!(points.is_sorted_by(|a, b| a.0 <= b.0 && a.1 <= b.1), "{points:?}");
            assert_eq!((points[0].0, points[points.len() - 1]), (0.0, (100.0, all.max())));
        }
    }

    #[test]
    fn an_idle_row_has_its_share() {
        let row = row(Bench::Idle, vec![run(&[])], None);
        assert_eq!((row.load.idle_cpu_share, row.load.idle_sleeps_per_s), (Some(0.5), Some(2000.0)));
        assert_eq!((row.p50, row.load.achieved_per_s, row.distribution), (None, None, None));
    }

    #[test]
    fn a_wrong_message_leaves_no_numbers_and_an_interruption_some() {
        let failed = row(Bench::Load, vec![run(&[1])], Some(Trouble::Failed("lost".into())));
        assert_eq!((failed.p50, failed.load.achieved_per_s, failed.error.as_deref()), (None, None, Some("lost")));
        let some = row(Bench::Load, vec![run(&[1])], Some(Trouble::Interrupted));
        assert_eq!((some.p50, some.error), (Some(1), None));
        let none = row(Bench::Load, vec![], Some(Trouble::Interrupted));
        assert_eq!(none.error.as_deref(), Some("interrupted"));
    }
}
