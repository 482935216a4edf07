//! The pool's own thread: starts workers, finds out that one has ended, ends those that are at a job for
//! too long, takes reports when nobody else does. Nothing of the user's runs here.

use super::core::Core;
use super::error::{JobFailure, PoolError};
use super::ledger::{self, Stage};
use super::state::{MOST_IDLE_ENDS, Phase, State, pause};
use super::worker::Assignment;
use crate::process::{Child, ProcessError};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a worker may take to end after it was told to.
const GRACE: Duration = Duration::from_millis(500);

/// While jobs are under way it looks around so often, should a death not have been told.
const ROUND: Duration = Duration::from_secs(1);

/// Between two attempts to put what there is no room for.
const AGAIN: Duration = Duration::from_millis(5);

/// A message that was handed out so often, each time to a worker that died before it had it, is what they die of.
const MOST_DELIVERIES: u32 = 3;

/// Until the last worker has ended.
pub(super) fn supervise(core: &Core) {
    if catch_unwind(AssertUnwindSafe(|| run(core))).is_err() {
        core.break_down("its thread has panicked");
        let mut state = core.lock();
        for child in state.workers.iter().filter_map(|worker| worker.child.as_ref()) {
            let _ = child.kill();
        }
        state.phase = Phase::Ended;
        drop(state);
        core.changed.notify_all();
    }
}

fn run(core: &Core) {
    let (mut killing_at, mut looked) = (None, None);
    loop {
        let all_reported = find_ended(core);
        let has_nudged = core.nudge_again();
        core.put_the_rest();
        let broken = core.lock().broken.clone();
        if let Some(reason) = broken.filter(|_| !is_ending(core)) {
            core.break_down(&reason);
        }
        take_the_poison(core, &mut looked);
        let next_start = start_due(core);
        let next_end = core.end_overdue();
        kill_the_ending(core);
        let phase = see_to_the_end(core, &mut killing_at);
        let is_late = !all_reported || !has_nudged || !core.lock().unput.is_empty() || !core.callbacks.have_a_thread();
        let again = is_late.then(|| Instant::now() + AGAIN);
        let next = match phase {
            Some(Phase::Ended) => return core.callbacks.call_the_rest(),
            Some(Phase::Terminating) => killing_at,
            _ => next_start,
        };
        wait(core, next.into_iter().chain(next_end).chain(again).min());
    }
}

fn is_ending(core: &Core) -> bool {
    matches!(core.lock().phase, Phase::Terminating | Phase::Ended)
}

/// Reports those that have ended. (P1) False: not all of them, for now.
fn find_ended(core: &Core) -> bool {
    let mut state = core.lock();
    state.look = false;
    core.publish(&state);
    let children: Vec<_> = state.workers.iter().map(|w| w.child.clone().filter(|_| !w.is_over)).collect();
    drop(state);
    let mut all = true;
    for (at, child) in children.iter().enumerate() {
        match child.as_ref().map(Child::exit_status) {
            None | Some(Ok(None)) => continue,
            Some(Ok(Some(_))) => {}
            Some(Err(error)) => {
                lose(core, at, &error);
                continue;
            }
        }
        if let Some(worker) = core.lock().workers.get_mut(at) {
            worker.is_over = true;
        }
        if !core.report_end(at) {
            all = false;
            if let Some(worker) = core.lock().workers.get_mut(at) {
                worker.is_over = false;
            }
        }
    }
    all
}

/// Nobody can be told any more whether this worker lives, so its job is not given to another. It ends when it finds
/// its pool ended.
fn lose(core: &Core, at: usize, error: &ProcessError) {
    if let Some(worker) = core.lock().workers.get_mut(at) {
        worker.is_over = true;
    }
    core.break_down(&format!(
        "whether a worker lives cannot be found out: {error}; let the process keep the descriptors that it has not \
         opened itself while it has a pool"
    ));
}

/// A worker that is to be killed for its job may not have been known yet when that was decided.
fn kill_the_ending(core: &Core) {
    let state = core.lock();
    for (at, worker) in (0..).zip(&state.workers) {
        kill_if_ending(core, at, worker.child.as_ref());
    }
}

fn kill_if_ending(core: &Core, at: u32, child: Option<&Child>) {
    if let Some((id, _)) = core.ledger.current(at)
        && core.ledger.stage(id) == Some(Stage::Ending(at))
        && let Some(child) = child
    {
        let _ = child.kill();
    }
}

/// Workers die of a message before they have it, of arguments that no memory is there for: the first in the
/// queue, so all of them would. It is looked at where it lies.
fn take_the_poison(core: &Core, looked: &mut Option<(u64, u32)>) {
    let Some(status) = core.lock().poisoned_by.take() else { return };
    let queues = core.queues.lock().unwrap_or_else(PoisonError::into_inner);
    let Ok(consumer) = queues.tasks.consumer() else { return };
    drop(queues);
    let Ok(message) = consumer.try_get_ref() else { return };
    let mut number = [0; 8];
    let is_readable = message.copy_to_slice(0, &mut number).is_ok();
    let id = ledger::id_of(u64::from_le_bytes(number));
    // Of some it died while it ran the job, and others were looks.
    let looks = looked.filter(|(message_id, _)| *message_id == message.id()).map_or(0, |(_, looks)| looks);
    let unbegun = message.redelivered().saturating_sub(core.lock().attempts_of(id)).saturating_sub(looks);
    if !is_readable || unbegun < MOST_DELIVERIES {
        *looked = Some((message.id(), looks + 1));
        // It goes back with its participant; to drop it would be to take it.
        std::mem::forget(message);
        return;
    }
    if message.ack().is_ok() {
        core.give_up(vec![(id, JobFailure::Died { status })], unbegun);
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
        match start(core, at, true) {
            Ok(()) => {}
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

/// Starts the process of worker `at`, in the place of another if it `replaces` one.
pub(super) fn start(core: &Core, at: usize, replaces: bool) -> Result<(), PoolError> {
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
    let child = process.child();
    core.ledger.started(at as u32, child.as_ref().map_or(0, Child::pid));
    let mut state = core.lock();
    // From here on whoever ends the pool ends it, too.
    if matches!(state.phase, Phase::Terminating | Phase::Ended) {
        let _ = child.map(|child| child.kill());
        return Ok(());
    }
    state.counts.restarted += u64::from(replaces);
    kill_if_ending(core, at as u32, child.as_ref());
    if let Some(worker) = state.workers.get_mut(at) {
        (worker.child, worker.is_over, worker.start_at) = (child, false, None);
    }
    drop(state);
    // It may have ended before anybody knew of it.
    core.wake();
    Ok(())
}

/// Brings the end about when it is due. Says what it has come to.
fn see_to_the_end(core: &Core, killing_at: &mut Option<Instant>) -> Option<Phase> {
    let state = core.lock();
    let (phase, is_idle) = (state.phase, state.live + state.backlog.len() == 0);
    let is_settled = state.settling == 0;
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
    if !children.is_empty() || !is_settled {
        return Some(phase);
    }
    core.lock().phase = Phase::Ended;
    core.changed.notify_all();
    Some(Phase::Ended)
}

/// Until something is to be done, or until then. Takes reports if nobody does. (P2)
fn wait(core: &Core, until: Option<Instant>) {
    let round = Instant::now() + ROUND;
    let mut state = core.lock();
    loop {
        let deadline = match (until, state.needs_pump()) {
            (Some(until), true) => Some(until.min(round)),
            (None, true) => Some(round),
            (until, false) => until,
        };
        if state.look || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return;
        }
        let pump = if state.needs_pump() { core.pump(&mut state) } else { None };
        let Some(mut pump) = pump else {
            state = sleep(core, state, deadline);
            continue;
        };
        drop(state);
        loop {
            let heard = pump.take_some(deadline);
            let state = core.lock();
            let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if state.look || !state.needs_pump() || !heard || is_late {
                break;
            }
        }
        drop(pump);
        state = core.lock();
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
