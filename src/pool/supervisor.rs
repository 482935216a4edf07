//! The pool's own thread: starts workers, finds out that one has ended, ends those that are at a job for
//! too long, calls callbacks, takes reports when nobody else does.

use super::core::Core;
use super::error::{JobFailure, PoolError};
use super::state::{MOST_IDLE_ENDS, Phase, State, pause};
use super::worker::Assignment;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker may take to end after it was told to.
const GRACE: Duration = Duration::from_millis(500);

/// While jobs are under way it looks around so often, should a death not have been told.
const ROUND: Duration = Duration::from_secs(1);

/// Until the last worker has ended.
pub(super) fn supervise(core: &Core) {
    let mut killing_at = None;
    loop {
        find_ended(core);
        call_back(core);
        let broken = core.lock().broken.clone();
        if let Some(reason) = broken.filter(|_| !is_ending(core)) {
            core.break_down(&reason);
        }
        let next_start = start_due(core);
        let next_end = core.end_overdue();
        match see_to_the_end(core, &mut killing_at) {
            Some(Phase::Ended) => return,
            Some(Phase::Terminating) => wait(core, killing_at.into_iter().chain(next_end).min()),
            _ => wait(core, next_start.into_iter().chain(next_end).min()),
        }
    }
}

fn is_ending(core: &Core) -> bool {
    matches!(core.lock().phase, Phase::Terminating | Phase::Ended)
}

/// Reports those that have ended. (P1)
fn find_ended(core: &Core) {
    let mut ended = Vec::new();
    let mut state = core.lock();
    state.look = false;
    for (at, worker) in state.workers.iter_mut().enumerate() {
        if !worker.is_over && worker.child.as_ref().is_some_and(|child| !child.is_alive()) {
            worker.is_over = true;
            ended.push(at);
        }
    }
    drop(state);
    ended.into_iter().for_each(|at| core.report_end(at));
}

/// One after the other.
fn call_back(core: &Core) {
    loop {
        let Some(callback) = core.lock().callbacks.pop_front() else { return };
        if catch_unwind(AssertUnwindSafe(callback)).is_err() {
            core.lock().counts.callbacks_panicked += 1;
            crate::event!("pool {}: a callback has panicked", core.limits.name);
        }
    }
}

/// Starts the workers whose time has come. Says when the next one's does.
fn start_due(core: &Core) -> Option<Instant> {
    let mut next: Option<Instant> = None;
    let workers = core.lock().workers.len();
    for at in 0..workers {
        let state = core.lock();
        let is_wanted =
            state.phase == Phase::Open || state.phase == Phase::Closed && state.live + state.backlog.len() > 0;
        let due = state.workers.get(at).and_then(|worker| worker.start_at.filter(|_| worker.child.is_none()));
        drop(state);
        let Some(due) = due.filter(|_| is_wanted) else { continue };
        if due > Instant::now() {
            next = Some(next.map_or(due, |other| other.min(due)));
            continue;
        }
        match start(core, at) {
            Ok(()) => core.lock().counts.restarted += 1,
            Err(error) => {
                let mut state = core.lock();
                let Some(worker) = state.workers.get_mut(at) else { continue };
                worker.idle_ends += 1;
                let (ends, again) = (worker.idle_ends, Instant::now() + pause(worker.idle_ends));
                worker.start_at = Some(again);
                next = Some(next.map_or(again, |other| other.min(again)));
                if ends >= MOST_IDLE_ENDS && !state.has_workers(&core.ledger) {
                    state.broken.get_or_insert_with(|| format!("workers cannot be started: {error}"));
                    state.look = true;
                }
            }
        }
    }
    next
}

/// Starts the process of worker `at`.
pub(super) fn start(core: &Core, at: usize) -> Result<(), PoolError> {
    let queues = core.queues.lock().unwrap_or_else(PoisonError::into_inner);
    let assignment = Assignment {
        tasks: queues.tasks.consumer().map_err(PoolError::Queue)?,
        reports: queues.reports.producer().map_err(PoolError::Queue)?,
        ledger: core.ledger.of_worker(),
        worker: at as u32,
        most: core.limits.max_tasks_per_child,
        policy: queues.tasks.wait_policy().into(),
        says_so: core.limits.has_initializer,
    };
    let mut process = (queues.recipe)(assignment).name(format!("{}-{}", core.limits.name, at + 1)).daemon(true);
    drop(queues);
    process.start().map_err(PoolError::Process)?;
    let mut state = core.lock();
    if core.limits.has_initializer {
        state.arriving += 1;
    }
    if let Some(worker) = state.workers.get_mut(at) {
        worker.child = process.child();
        (worker.is_over, worker.start_at) = (false, None);
    }
    // It may have ended before anybody knew of it.
    state.look = true;
    Ok(())
}

/// Brings the end about when it is due. Says what it has come to.
fn see_to_the_end(core: &Core, killing_at: &mut Option<Instant>) -> Option<Phase> {
    let state = core.lock();
    let (phase, is_idle) = (state.phase, state.live + state.backlog.len() == 0);
    let children: Vec<_> = state.workers.iter().filter(|w| !w.is_over).filter_map(|w| w.child.clone()).collect();
    drop(state);
    match phase {
        Phase::Open => return None,
        Phase::Closed if !is_idle => return None,
        // No pills: who finds the queue closed and empty goes home.
        Phase::Closed => core.queues.lock().unwrap_or_else(PoisonError::into_inner).tasks.close(),
        Phase::Terminating | Phase::Ended => {
            let now = Instant::now();
            let due = *killing_at.get_or_insert_with(|| {
                core.queues.lock().unwrap_or_else(PoisonError::into_inner).tasks.close();
                for child in &children {
                    let _ = child.terminate();
                }
                now + GRACE
            });
            if now >= due {
                for child in &children {
                    let _ = child.kill();
                }
                *killing_at = Some(now + GRACE);
            }
        }
    }
    if !children.is_empty() {
        return Some(phase);
    }
    core.lock().phase = Phase::Ended;
    core.changed.notify_all();
    Some(Phase::Ended)
}

/// Until something is to be done, or until then. Takes reports if nobody does. (P2)
fn wait(core: &Core, until: Option<Instant>) {
    let has_work = |state: &State| state.look || !state.callbacks.is_empty();
    let mut state = core.lock();
    loop {
        if has_work(&state) || until.is_some_and(|until| Instant::now() >= until) {
            return;
        }
        if state.needs_pump() && !state.is_pumped {
            let mut pump = core.pump(&mut state);
            drop(state);
            let round = Instant::now() + ROUND;
            let deadline = until.map_or(round, |until| until.min(round));
            loop {
                let heard = pump.take_some(Some(deadline));
                let state = core.lock();
                if has_work(&state) || !state.needs_pump() || !heard {
                    break;
                }
            }
            drop(pump);
            state = core.lock();
            if state.needs_pump() && Instant::now() >= round {
                return;
            }
            continue;
        }
        state = sleep(core, state, until);
    }
}

fn sleep<'c>(core: &'c Core, state: MutexGuard<'c, State>, until: Option<Instant>) -> MutexGuard<'c, State> {
    match until {
        None => core.bell.wait(state).unwrap_or_else(PoisonError::into_inner),
        Some(until) => {
            let rest = until.saturating_duration_since(Instant::now());
            core.bell.wait_timeout(state, rest).unwrap_or_else(PoisonError::into_inner).0
        }
    }
}

/// What is left when the pool is gone.
pub(super) fn abandon(core: &Core) {
    core.end_all(&JobFailure::Terminated, None);
}
