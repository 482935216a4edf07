//! Measurements that can be believed: each between two probes, ours and the
//! rival's in turn, and a ratio only of neighbours from the same placement.

use crate::control::Control;
use crate::guard::{self, Watched};
use crate::job::{Job, System};
use crate::probe::{self, Class};
use crate::rows::Row;
use crate::systems::{Failure, python};
use crate::workload::{self, Rate, Report};
use crate::{processes, threads};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Two neighbouring measurements from one placement.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Per second.
    pub ours: f64,
    pub rival: f64,
    pub class: Class,
    /// A worker that should have had a processor for itself had less: other
    /// programs were running. Both figures are then too low.
    pub disturbed: bool,
}

impl Pair {
    pub fn ratio(&self) -> f64 {
        self.ours / self.rival
    }
}

/// What came of one row.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pairs: Vec<Pair>,
    /// Pairs whose halves were measured in different placements.
    pub discarded: usize,
    pub error: Option<String>,
    /// It was ringway that failed, or the run was interrupted.
    pub failed: bool,
}

/// Runs `job` once.
pub fn once(job: &Job) -> Result<Rate, Failure> {
    if job.system == System::Python {
        return python::rate(job);
    }
    workload::rate(&reports(job)?, job.listeners > 0)
}

/// Runs `job` once: also how many round trips took so many nanoseconds, if they were timed.
pub fn timed(job: &Job) -> Result<(Rate, Vec<(u64, u64)>), Failure> {
    if job.system.is_pythons() {
        return python::timed(job);
    }
    let reports = reports(job)?;
    let rate = workload::rate(&reports, job.listeners > 0)?;
    Ok((rate, reports.into_iter().flat_map(|report| report.trips).collect()))
}

fn reports(job: &Job) -> Result<Vec<Report>, Failure> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let id = format!("{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let path = guard::directory().join(format!("{id}-control"));
    let control = Arc::new(Control::create(&path, job.workers()).map_err(Failure::new)?);
    let _watched = Watched::new(&control);
    let _removed = Removed(&path);
    if job.system.is_in_process() { threads::run(job, &control, &id) } else { processes::run(job, &control, &id) }
}

struct Removed<'p>(&'p Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(self.0);
    }
}

/// Runs `job` between two probes, again while they differ. `None`: the
/// processors kept moving.
fn steady(job: &Job) -> Result<Option<(Rate, Class)>, Failure> {
    const ATTEMPTS: u32 = 3;
    const LARGEST_CHANGE: f64 = 1.3;
    for _ in 0..ATTEMPTS {
        let before = probe::round_trip()?;
        let rate = once(job)?;
        let after = probe::round_trip()?;
        if guard::interrupted() {
            return Ok(None);
        }
        if before.max(after) <= LARGEST_CHANGE * before.min(after) {
            return Ok(Some((rate, Class::of((before + after) / 2.0))));
        }
    }
    Ok(None)
}

/// `wanted` pairs of `row`, or as many as three times the attempts give within
/// `limit`. The order within a pair changes each time.
pub fn compare(row: &Row, wanted: usize, limit: Duration, progress: impl Fn(usize)) -> Outcome {
    let mut outcome = Outcome::default();
    let start = Instant::now();
    for attempt in 0..3 * wanted {
        if outcome.pairs.len() == wanted || guard::interrupted() || start.elapsed() > limit {
            break;
        }
        progress(outcome.pairs.len());
        match pair(row, attempt % 2 == 1) {
            Ok(Some(pair)) => outcome.pairs.push(pair),
            Ok(None) => outcome.discarded += 1,
            Err((system, error)) => {
                outcome.error = Some(format!("{}: {error}", system.name()));
                outcome.failed = system == row.ours.system;
                break;
            }
        }
    }
    if guard::interrupted() {
        outcome.error = Some("interrupted".to_owned());
        outcome.failed = true;
    }
    outcome
}

/// What a worker that never sleeps gets when it is alone.
const WHOLE_PROCESSOR: f64 = 0.95;

fn pair(row: &Row, rival_first: bool) -> Result<Option<Pair>, (System, Failure)> {
    let named = |job: &Job| steady(job).map_err(|failure| (job.system, failure));
    let (ours, rival) = if rival_first {
        let rival = named(&row.rival)?;
        (named(&row.ours)?, rival)
    } else {
        (named(&row.ours)?, named(&row.rival)?)
    };
    Ok(match (ours, rival) {
        (Some((ours, class)), Some((rival, same))) if class == same => {
            let disturbed = !row.ours.patient && ours.share.min(rival.share) < WHOLE_PROCESSOR;
            Some(Pair { ours: ours.per_second, rival: rival.per_second, class, disturbed })
        }
        _ => None,
    })
}
