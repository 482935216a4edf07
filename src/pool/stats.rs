//! What a pool says of itself.

use super::Pool;
use super::ledger::{Id, Stage};
use super::outside::Tally;
use std::time::Duration;

/// A pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// What it is called; from outside no more than 64 bytes of that.
    pub name: String,
    /// The process that has it.
    pub pid: u32,
    /// Jobs that wait for a worker.
    pub queued: usize,
    /// Jobs that run.
    pub running: usize,
    /// Jobs that have returned.
    pub done: u64,
    /// Jobs that have no result.
    pub failed: u64,
    /// Workers that were started in the place of others.
    pub restarted: u64,
    /// Errors that nobody has asked for.
    pub unasked: u64,
    /// Callbacks that have panicked.
    pub callbacks_panicked: u64,
    /// Its workers, by number.
    pub workers: Vec<WorkerStats>,
}

/// One worker at that moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Its process id; `None` while it is replaced.
    pub pid: Option<u32>,
    /// The job that it is at: [`Job::id`](crate::Job::id).
    pub job: Option<u64>,
    /// For how long it has been at that.
    pub running_for: Option<Duration>,
}

impl PoolStats {
    pub(super) fn new(name: String, pid: u32, tally: Tally, workers: Vec<WorkerStats>) -> PoolStats {
        let running = workers.iter().filter(|worker| worker.job.is_some()).count();
        PoolStats {
            name,
            pid,
            queued: usize::try_from(tally.under_way).unwrap_or(usize::MAX).saturating_sub(running),
            running,
            done: tally.done,
            failed: tally.failed,
            restarted: tally.restarted,
            unasked: tally.unasked,
            callbacks_panicked: tally.callbacks_panicked,
            workers,
        }
    }
}

impl WorkerStats {
    pub(super) fn new(pid: Option<u32>, current: Option<(Id, u64)>, now: u64) -> WorkerStats {
        WorkerStats {
            pid,
            job: current.map(|(id, _)| id.raw()),
            running_for: current.map(|(_, since)| Duration::from_nanos(now.saturating_sub(since))),
        }
    }
}

impl Pool {
    /// How it is doing. Never blocks for long; workers go on meanwhile, so numbers may be a moment apart. After a `fork` the child
    /// gets an empty one.
    pub fn stats(&self) -> PoolStats {
        let core = self.core();
        if core.ledger.is_forked() {
            return PoolStats::default();
        }
        let now = crate::primitive::now_ns();
        let state = core.lock();
        let tally = state.tally(core.callbacks.panicked());
        let workers = (0..)
            .zip(&state.workers)
            .map(|(at, worker)| {
                let current = core.ledger.current(at);
                let current =
                    current.filter(|(id, _)| matches!(core.ledger.stage(*id), Some(Stage::Running(its)) if its == at));
                let pid = worker.child.as_ref().filter(|_| !worker.is_over).map(crate::process::Child::pid);
                WorkerStats::new(pid, current, now)
            })
            .collect();
        PoolStats::new(core.limits.name.clone(), std::process::id(), tally, workers)
    }
}
