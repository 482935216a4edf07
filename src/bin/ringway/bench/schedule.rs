//! The rounds: which run when, for how long, and against which limit it counts.
//!
//! In every round each group runs all its cells, one after the other. A run
//! whose two placement probes disagree is repeated; a ratio is taken against a
//! run of the limit in the same round and on the same placement, and if there is
//! none yet, the limit runs again. All of it inside a time budget.
//! Knows runs by their keys; nothing of processes.

use super::plan::{Bench, Cell, Group};
use super::probe::agree;
use super::runner::{Measured, Trouble};
use super::stats::median;
use std::time::{Duration, Instant};

/// All runs of one cell.
#[derive(Debug, Default)]
pub struct History {
    pub runs: Vec<Measured>,
    pub limit_ratios: Vec<f64>,
    pub pipe_ratios: Vec<f64>,
    pub trouble: Option<Trouble>,
    /// Ratios across placements: used if there are no others.
    pub mismatched_ratios: Vec<f64>,
}

/// What the rounds have brought.
pub struct Outcome {
    /// Of each cell, in the order of the groups.
    pub histories: Vec<Vec<History>>,
    /// The placement probes of all runs.
    pub probes: Vec<f64>,
    pub interrupted: bool,
}

/// How often a run is repeated because the machine changed under it.
const REPEATS: u32 = 3;

/// What a run may take, all in all.
pub struct Budget {
    end: Instant,
    runs_left: u32,
    longest: Duration,
}

impl Budget {
    /// The shortest measurement that says anything.
    const SHORTEST: Duration = Duration::from_millis(20);
    /// What a run takes beside its measurement, roughly: starting, warming up.
    const OVERHEAD: Duration = Duration::from_millis(25);

    pub fn new(total: Duration, runs: u32, longest: Duration) -> Budget {
        Budget { end: Instant::now() + total, runs_left: runs, longest }
    }

    /// How long the next run may measure.
    fn next(&self) -> Duration {
        let left = self.end.saturating_duration_since(Instant::now());
        let share = left / self.runs_left.max(1);
        share.saturating_sub(Budget::OVERHEAD).mul_f64(0.8).clamp(Budget::SHORTEST, self.longest)
    }

    fn ran(&mut self) {
        self.runs_left = self.runs_left.saturating_sub(1);
    }

    /// Whether there is time for a run that was not planned.
    fn allows_extra(&self) -> bool {
        let left = self.end.saturating_duration_since(Instant::now());
        left > (Budget::SHORTEST + Budget::OVERHEAD) * (self.runs_left + 1)
    }

    fn exhausted(&self) -> bool {
        Instant::now() >= self.end
    }
}

/// A run of a limit in this round: where it ran, and its key.
#[derive(Clone, Copy, Debug)]
struct Reference {
    probe: f64,
    key: f64,
}

fn placement(run: &Measured) -> f64 {
    (run.probes.0 * run.probes.1).sqrt()
}

/// The reference on the placement nearest to `probe`.
fn nearest(references: &[Reference], probe: f64) -> Option<Reference> {
    let distance = |reference: &Reference| (reference.probe / probe).ln().abs();
    references.iter().copied().min_by(|a, b| distance(a).total_cmp(&distance(b)))
}

/// Runs everything; `execute` makes one run, `progress` hears of each before.
/// Stops early if interrupted.
pub fn rounds(
    groups: &[Group],
    count: u32,
    budget: Budget,
    execute: impl FnMut(&Cell, Duration) -> Result<Measured, Trouble>,
    mut progress: impl FnMut(&Cell),
) -> Outcome {
    let mut histories: Vec<Vec<History>> =
        groups.iter().map(|group| group.iter().map(|_| History::default()).collect()).collect();
    let mut conductor = Conductor { budget, execute, probes: Vec::new(), interrupted: false };
    for round in 0..count {
        for (group, histories) in groups.iter().zip(&mut histories) {
            if !conductor.interrupted {
                conductor.round(round == 0, group, histories, &mut progress);
            }
        }
    }
    Outcome { histories, probes: conductor.probes, interrupted: conductor.interrupted }
}

struct Conductor<E> {
    budget: Budget,
    execute: E,
    probes: Vec<f64>,
    interrupted: bool,
}

impl<E: FnMut(&Cell, Duration) -> Result<Measured, Trouble>> Conductor<E> {
    /// Every cell of the group once. Late runs are left out rather than the
    /// promised time exceeded, but for the first ones.
    fn round(&mut self, first: bool, group: &Group, histories: &mut [History], progress: &mut impl FnMut(&Cell)) {
        let mut references: Vec<Vec<Reference>> = vec![Vec::new(); group.len()];
        let mut keys = vec![None; group.len()];
        for (k, cell) in group.iter().enumerate() {
            progress(cell);
            if histories[k].trouble.is_none() && (first || !self.budget.exhausted()) {
                match self.steady(cell) {
                    Err(trouble) => histories[k].trouble = Some(trouble),
                    Ok(run) => {
                        keys[k] = Some(run.value.key());
                        references[k].push(Reference { probe: placement(&run), key: run.value.key() });
                        if let Some(limit) = cell.limit_in(group) {
                            self.compare(&run, &group[limit], &mut references[limit], &mut histories[k]);
                        }
                        histories[k].runs.push(run);
                    }
                }
            }
            self.budget.ran();
            if self.interrupted {
                return;
            }
        }
        for (k, cell) in group.iter().enumerate() {
            let pipe = group.iter().position(|other| cell.compares_with_pipe(other));
            if let (Some(own), Some(pipe)) = (keys[k], pipe.and_then(|pipe| keys[pipe])) {
                histories[k].pipe_ratios.push(times_faster(cell.bench, own, pipe));
            }
        }
    }

    /// A run during which the machine stayed as it was, or the steadiest of some.
    fn steady(&mut self, cell: &Cell) -> Result<Measured, Trouble> {
        let mut best: Option<Measured> = None;
        for _ in 0..=REPEATS {
            let run = match (self.execute)(cell, self.budget.next()) {
                Ok(run) => run,
                Err(trouble) => {
                    self.interrupted |= trouble == Trouble::Interrupted;
                    return Err(trouble);
                }
            };
            self.probes.extend([run.probes.0, run.probes.1]);
            let steadier = best.as_ref().is_none_or(|best| unsteadiness(&run) < unsteadiness(best));
            let done = agree(run.probes.0, run.probes.1) || !self.budget.allows_extra();
            if steadier {
                best = Some(run);
            }
            if done {
                break;
            }
        }
        best.ok_or(Trouble::Failed("no run".into()))
    }

    /// Notes how `run` stands to its limit of this round, which runs again if it
    /// has not yet run on this placement.
    fn compare(&mut self, run: &Measured, limit: &Cell, references: &mut Vec<Reference>, history: &mut History) {
        let probe = placement(run);
        let on_it = |references: &[Reference]| nearest(references, probe).is_some_and(|r| agree(r.probe, probe));
        let unknown = !references.is_empty() && !on_it(references);
        if unknown
            && self.budget.allows_extra()
            && let Ok(again) = self.steady(limit)
        {
            references.push(Reference { probe: placement(&again), key: again.value.key() });
        }
        if let Some(reference) = nearest(references, probe) {
            let ratio = run.value.key() / reference.key;
            let ratios =
                if agree(reference.probe, probe) { &mut history.limit_ratios } else { &mut history.mismatched_ratios };
            ratios.push(ratio);
        }
    }
}

impl History {
    /// Times the limit: above 1 for round trips, below 1 for rates.
    pub fn limit_ratio(&self) -> Option<f64> {
        median(&self.limit_ratios).or_else(|| median(&self.mismatched_ratios))
    }

    /// How many times faster than the pipe.
    pub fn pipe_ratio(&self) -> Option<f64> {
        median(&self.pipe_ratios)
    }
}

fn unsteadiness(run: &Measured) -> f64 {
    (run.probes.0 / run.probes.1).ln().abs()
}

/// How many times faster `own` is than `other`.
fn times_faster(bench: Bench, own: f64, other: f64) -> f64 {
    match bench {
        Bench::Latency | Bench::Process | Bench::Pool | Bench::Load | Bench::Idle => other / own,
        Bench::Throughput | Bench::Scale | Bench::Tune => own / other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::System;
    use crate::bench::runner::Value;

    fn cell(system: System) -> Cell {
        Cell::bare(Bench::Throughput, system, 8)
    }

    fn measured(rate: f64, probes: (f64, f64)) -> Measured {
        Measured { value: Value::Rate(rate), samples: 1, probes, clock_ns: None, counts: Vec::new(), wake: None }
    }

    fn play(runs: Vec<(System, f64, (f64, f64))>, rounds_wanted: u32) -> Outcome {
        let group = vec![cell(System::Copy), cell(System::Pipe), cell(System::Ringway)];
        let budget = Budget::new(Duration::from_secs(100), 100, Duration::from_secs(1));
        let mut runs = runs.into_iter();
        let execute = |cell: &Cell, _| {
            let (system, rate, probes) = runs.next().ok_or(Trouble::Interrupted)?;
            assert_eq!(cell.system, system);
            Ok(measured(rate, probes))
        };
        rounds(&[group], rounds_wanted, budget, execute, |_| {})
    }

    const NEAR: (f64, f64) = (100.0, 110.0);
    const FAR: (f64, f64) = (500.0, 510.0);

    #[test]
    fn ratios_are_of_the_same_round() {
        let round =
            |copy, ours| vec![(System::Copy, copy, NEAR), (System::Pipe, 2.0, NEAR), (System::Ringway, ours, NEAR)];
        let runs = [round(100.0, 50.0), round(200.0, 100.0), round(10.0, 8.0)].concat();
        let outcome = play(runs, 3);
        let ours = &outcome.histories[0][2];
        assert_eq!((ours.limit_ratio(), ours.pipe_ratio()), (Some(0.5), Some(25.0)));
        assert_eq!(outcome.histories[0][0].limit_ratio(), Some(1.0));
        assert_eq!(outcome.probes.len(), 18);
        assert!(!outcome.interrupted);
    }

    #[test]
    fn a_run_across_a_move_is_repeated() {
        let runs = vec![
            (System::Copy, 100.0, NEAR),
            (System::Pipe, 2.0, NEAR),
            (System::Ringway, 7.0, (100.0, 500.0)),
            (System::Ringway, 50.0, NEAR),
        ];
        let outcome = play(runs, 1);
        assert_eq!(outcome.histories[0][2].runs.len(), 1);
        assert_eq!(outcome.histories[0][2].limit_ratio(), Some(0.5));
    }

    #[test]
    fn the_limit_runs_again_where_it_has_not_run() {
        let runs = vec![
            (System::Copy, 100.0, NEAR),
            (System::Pipe, 2.0, NEAR),
            (System::Ringway, 10.0, FAR),
            (System::Copy, 20.0, FAR),
        ];
        let outcome = play(runs, 1);
        assert_eq!(outcome.histories[0][2].limit_ratio(), Some(0.5));
        assert_eq!(outcome.histories[0][0].runs.len(), 1, "the row of the limit has its own run only");
    }

    #[test]
    fn an_interruption_keeps_what_there_is() {
        let outcome = play(vec![(System::Copy, 100.0, NEAR)], 2);
        assert!(outcome.interrupted);
        assert_eq!(outcome.histories[0][0].runs.len(), 1);
        assert_eq!(outcome.histories[0][1].trouble, Some(Trouble::Interrupted));
    }
}
