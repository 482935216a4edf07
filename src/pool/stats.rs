//! What a pool says of itself.

use super::Pool;
use super::ledger::Stage;
use std::time::Duration;

/// A pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
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

impl Pool {
    /// How it is doing. Never blocks for long; workers go on meanwhile, so numbers may be a moment apart.
    pub fn stats(&self) -> PoolStats {
        let core = self.core();
        if core.ledger.is_forked() {
            return PoolStats::default();
        }
        let now = crate::primitive::now_ns();
        let state = core.lock();
        let counts = state.counts;
        let workers: Vec<WorkerStats> = (0..)
            .zip(&state.workers)
            .map(|(at, worker)| {
                let current = core.ledger.current(at);
                let current =
                    current.filter(|(id, _)| matches!(core.ledger.stage(*id), Some(Stage::Running(its)) if its == at));
                WorkerStats {
                    pid: worker.child.as_ref().filter(|_| !worker.is_over).map(crate::process::Child::pid),
                    job: current.map(|(id, _)| id.raw()),
                    running_for: current.map(|(_, since)| Duration::from_nanos(now.saturating_sub(since))),
                }
            })
            .collect();
        let running = workers.iter().filter(|worker| worker.job.is_some()).count();
        PoolStats {
            queued: (state.live + state.backlog.len()).saturating_sub(running),
            running,
            done: counts.done,
            failed: counts.failed,
            restarted: counts.restarted,
            unasked: counts.unasked,
            callbacks_panicked: core.callbacks.panicked(),
            workers,
        }
    }
}
