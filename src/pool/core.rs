//! What a pool knows: its jobs, its workers, and what is to be done about them.
//!
//! P1. Everything that happens to a job is a *report*, a message in one queue: what workers say, and that
//! a worker has ended. A worker's end is reported after its death was proved, so everything that it has
//! said comes before.
//! P2. One thread at a time takes reports, the *pump* (`pump`): whoever waits for a job, if nobody is there yet; else the
//! supervisor, as long as any job is under way. Who stops while there are jobs wakes the supervisor, which runs
//! nothing of the user's and never waits for anything else. The pump waits for reports only: a message that there is
//! no room for is put later.
//! P3. Nothing waits while it holds the state; no code of the user's runs then, and no handle of a queue
//! is dropped.
//! P4. A job is resolved once: by who takes it out of its slot. Whoever waits is told after that, and the pump is
//! nudged after that.

use super::callbacks::{Call, Callbacks};
use super::error::{JobError, JobFailure};
use super::job::{Callback, JobState, Reported};
use super::ledger::{self, About, Id, Ledger, Stage, TASK_HEAD, report_head};
use super::pump::Pump;
use super::state::{Effects, Inbox, Limits, Phase, State};
use super::worker::Assignment;
use crate::process::{AfterDeaths, Callee, Process};
use crate::queue::{Bytes, Handle, Producer, PutError};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a worker's process is made.
pub(super) type Recipe = Box<dyn Fn(Assignment) -> Process<()> + Send>;

pub(super) struct Core {
    pub(super) limits: Limits,
    pub(super) callbacks: Arc<Callbacks>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) tasks: Mutex<Producer<Bytes>>,
    own_reports: Mutex<Producer<Bytes>>,
    /// For the ends of workers, and to close.
    pub(super) queues: Mutex<Queues>,
    pub(super) state: Mutex<State>,
    /// Whether messages may wait for room, for those who do not have the state.
    pub(super) has_unput: AtomicBool,
    /// A nudge could not be said yet.
    owes_nudge: AtomicBool,
    /// The supervisor waits here while another thread is the pump, or none.
    pub(super) bell: Condvar,
    /// Whoever waits for room, for the workers' arrival or for the end.
    pub(super) changed: Condvar,
}

pub(super) struct Queues {
    pub(super) tasks: Handle<Bytes>,
    pub(super) reports: Handle<Bytes>,
    pub(super) recipe: Recipe,
}

impl Core {
    pub(super) fn new(
        limits: Limits,
        workers: usize,
        ledger: Ledger,
        queues: Queues,
        policy: crate::wait::WaitPolicy,
    ) -> Result<Core, crate::error::SetupError> {
        let (tasks, own) = (queues.tasks.producer()?, queues.reports.producer()?);
        let consumer = queues.reports.consumer()?;
        consumer.set_wait_policy(policy);
        // Where there is but one, it is shared.
        let second = queues.tasks.producer().ok();
        Ok(Core {
            ledger: Arc::new(ledger),
            tasks: Mutex::new(tasks),
            own_reports: Mutex::new(own),
            queues: Mutex::new(queues),
            state: Mutex::new(State::new(workers, limits.has_initializer, Inbox::new(consumer, second))),
            has_unput: AtomicBool::new(false),
            owes_nudge: AtomicBool::new(false),
            callbacks: Arc::default(),
            bell: Condvar::new(),
            changed: Condvar::new(),
            limits,
        })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of the user's runs while it is held. (P3)
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For those who look from outside.
    pub(super) fn publish(&self, state: &State) {
        self.ledger.publish(state.tally(self.callbacks.panicked()));
    }

    // ---- submitting ----

    /// Hands a job to the workers: `message` has room for the head, and the arguments. Waits while the window is
    /// full. `pumps`: the caller will wait for it, and takes reports if nobody does; says whether it
    /// is to.
    pub(super) fn submit(
        &self,
        callee: &'static Callee,
        message: &mut [u8],
        pumps: bool,
    ) -> Result<(Arc<JobState>, Option<Pump<'_>>), JobError> {
        if self.ledger.is_forked() {
            return Err(JobFailure::Forked.into());
        }
        let place = callee.place().ok_or(JobFailure::NotThisProgram)?;
        let (job, id, mut pump) = self.enter(pumps)?;
        message[..TASK_HEAD].copy_from_slice(&ledger::task_head(id, place));
        match self.put_task(message, pump.as_mut()) {
            Ok(()) => Ok((job, pump)),
            Err(cause) => {
                drop(pump);
                Err(self.leave(id, cause))
            }
        }
    }

    /// The same for arguments that are plain bytes.
    pub(super) fn submit_in_place(&self, callee: &'static Callee, arguments: &[u8]) -> Result<Arc<JobState>, JobError> {
        if self.ledger.is_forked() {
            return Err(JobFailure::Forked.into());
        }
        let place = callee.place().ok_or(JobFailure::NotThisProgram)?;
        let (job, id, _) = self.enter(false)?;
        let put = self.put_in_place(&ledger::task_head(id, place), arguments);
        put.map(|()| job).map_err(|cause| self.leave(id, cause))
    }

    /// A job with a slot, whose message is put next.
    fn enter(&self, pumps: bool) -> Result<(Arc<JobState>, Id, Option<Pump<'_>>), JobError> {
        let fresh = if pumps { None } else { Some(Arc::default()) };
        let mut state = self.lock();
        let job = fresh.or_else(|| state.spare()).unwrap_or_default();
        let id = loop {
            state.accepts()?;
            if let Some(id) = state.take_slot(&job, self.limits.window) {
                break id;
            }
            state = self.wait_for_room(state);
        };
        let (mut pump, was_pumped) = (None, state.is_pumped());
        // The supervisor sleeps without a limit while there is nothing to watch.
        let needs_timer = self.limits.task_timeout.is_some() && !state.is_timed;
        state.look |= needs_timer;
        if pumps {
            pump = self.pump(&mut state);
        }
        let rings = needs_timer || !state.is_pumped() && state.live == 1;
        self.publish(&state);
        drop(state);
        if rings {
            self.bell.notify_one();
        }
        if needs_timer && was_pumped {
            // It may be the supervisor who waits for reports.
            self.nudge();
        }
        Ok((job, id, pump))
    }

    /// Its message could not be put.
    fn leave(&self, id: Id, cause: JobFailure) -> JobError {
        let mut effects = Effects::default();
        let mut state = self.lock();
        // Unless somebody has resolved it meanwhile.
        let _ = state.take(id);
        state.fill(self.limits.window, &mut effects);
        self.carry_out(state, effects);
        self.changed.notify_all();
        self.wake();
        cause.into()
    }

    /// The same for jobs that do not wait for room: what finds none is put when there is.
    pub(super) fn submit_all(
        &self,
        callee: &'static Callee,
        messages: Vec<Vec<u8>>,
    ) -> Result<Vec<Arc<JobState>>, JobError> {
        if self.ledger.is_forked() {
            return Err(JobFailure::Forked.into());
        }
        let place = callee.place().ok_or(JobFailure::NotThisProgram)?;
        let mut effects = Effects::default();
        let mut state = self.lock();
        state.accepts()?;
        let mut jobs = Vec::with_capacity(messages.len());
        for mut message in messages {
            let job = Arc::new(JobState::default());
            jobs.push(Arc::clone(&job));
            // The rest of the head is written when it has a slot.
            message[8..TASK_HEAD].copy_from_slice(&place.to_le_bytes());
            state.backlog.push_back((job, message));
        }
        state.fill(self.limits.window, &mut effects);
        self.carry_out(state, effects);
        self.wake();
        Ok(jobs)
    }

    // ---- reports of the pool's own ----

    /// Has whoever takes reports look around.
    pub(super) fn nudge(&self) {
        if !self.report(&report_head(About::Nudge, 0)) {
            // Who has many does not wait; but it may be memory that is wanting.
            self.owes_nudge.store(true, Ordering::Relaxed);
            self.lock().look = true;
            self.bell.notify_one();
        }
    }

    /// Of the supervisor. False: it could not be said now, either.
    pub(super) fn nudge_again(&self) -> bool {
        if !self.owes_nudge.swap(false, Ordering::Relaxed) {
            return true;
        }
        let is_said = self.report(&report_head(About::Nudge, 0));
        self.owes_nudge.fetch_or(!is_said, Ordering::Relaxed);
        is_said
    }

    /// Wakes the supervisor, wherever it waits.
    pub(super) fn wake(&self) {
        let mut state = self.lock();
        state.look = true;
        let is_pumped = state.is_pumped();
        drop(state);
        self.bell.notify_one();
        if is_pumped {
            self.nudge();
        }
    }

    /// A report of the pool's own. False: there is no room for it now.
    fn report(&self, report: &[u8]) -> bool {
        let own = self.own_reports.lock().unwrap_or_else(PoisonError::into_inner);
        match own.try_put(report) {
            Ok(()) => true,
            Err(PutError::Full(_) | PutError::System { .. }) => false,
            // Nobody takes reports of a damaged queue; whoever tries finds out.
            Err(_) => true,
        }
    }

    /// A worker's end, after everything that it has said. (P1) False: not now.
    pub(super) fn report_end(&self, worker: usize) -> bool {
        self.lock().unread += 1;
        let reported = self.report(&report_head(About::Ended, worker as u64));
        if !reported {
            self.lock().unread -= 1;
        }
        reported
    }

    /// They are put when there is room, in this order.
    pub(super) fn queue_puts(&self, state: &mut State, puts: Vec<(Id, Vec<u8>)>) {
        state.unput_ever += puts.len() as u64;
        state.unput.extend(puts);
        // A hint for `put_waiting`, which looks at the state then.
        self.has_unput.store(!state.unput.is_empty(), Ordering::Relaxed);
    }

    /// Does what is to be done outside of the state.
    pub(super) fn carry_out(&self, mut state: MutexGuard<'_, State>, effects: Effects) {
        let Effects { resolved, puts } = effects;
        self.queue_puts(&mut state, puts);
        let has_puts = !state.unput.is_empty();
        if resolved.is_empty() && !has_puts {
            return;
        }
        state.settling += 1;
        drop(state);
        for (job, outcome) in resolved {
            self.settle(&job, outcome);
        }
        if has_puts {
            self.put_the_rest();
        }
        let mut state = self.lock();
        state.settling -= 1;
        // Whoever waits for the end waits for that, too; and the supervisor puts what is left.
        let rings = state.settling == 0 && state.phase != Phase::Open || !state.unput.is_empty();
        state.look |= rings;
        drop(state);
        if rings {
            self.bell.notify_one();
        }
    }

    pub(super) fn settle(&self, job: &Arc<JobState>, outcome: Reported) {
        let unasked = match &outcome {
            // Nobody has a handle of it any more.
            Err(error) if Arc::strong_count(job) == 1 && !job.is_of_interest() => Some(error.clone()),
            _ => None,
        };
        if let Some(error) = unasked {
            self.nobody_asked(&error);
        }
        self.call(job.resolve(outcome));
    }

    /// At once, if it is done already.
    pub(super) fn call_when_done(&self, job: &JobState, callback: Callback) {
        if let Some((callback, outcome)) = job.call_when_done(callback) {
            self.call(vec![Box::new(move || callback(outcome))]);
        }
    }

    pub(super) fn call(&self, calls: Vec<Call>) {
        if !self.callbacks.push(calls) {
            // There is no thread for them now; the supervisor tries again.
            self.wake();
        }
    }

    /// An error that nobody asked for is counted, and logged once.
    pub(super) fn nobody_asked(&self, error: &JobError) {
        let mut state = self.lock();
        state.counts.unasked += 1;
        self.publish(&state);
        drop(state);
        crate::event!("pool {}: a job that nobody asked for has failed: {error}", self.limits.name);
    }

    // ---- ends ----

    /// The pool cannot go on: whatever waits for it is told.
    pub(super) fn break_down(&self, reason: &str) {
        let cause = JobFailure::Broken { reason: reason.to_owned() };
        self.end_all(&cause, Some(reason));
    }

    /// Resolves all jobs with `cause`, and ends the workers.
    pub(super) fn end_all(&self, cause: &JobFailure, broken: Option<&str>) {
        let mut effects = Effects::default();
        let mut state = self.lock();
        if let Some(reason) = broken {
            state.broken.get_or_insert_with(|| reason.to_owned());
        }
        if matches!(state.phase, Phase::Open | Phase::Closed) {
            state.phase = Phase::Terminating;
        }
        state.resolve_all(cause, &self.ledger, &mut effects);
        self.carry_out(state, effects);
        // Whoever waits for room there gives up.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner).tasks.close();
        self.changed.notify_all();
        self.wake();
    }

    /// Whether any of the jobs will have no result: it will not run, or, if that `kills`, its worker is ended.
    pub(super) fn cancel<'j>(&self, jobs: impl IntoIterator<Item = &'j Arc<JobState>>, kills: bool) -> bool {
        let (mut effects, mut cancelled) = (Effects::default(), false);
        let mut state = self.lock();
        for job in jobs {
            cancelled |= match job.id() {
                Some(id) => state.cancel(id, kills, &self.ledger, &mut effects),
                None => state.cancel_waiting(job, &mut effects),
            };
        }
        state.fill(self.limits.window, &mut effects);
        self.carry_out(state, effects);
        if cancelled {
            self.changed.notify_all();
            self.wake();
        }
        cancelled
    }

    /// Kills the workers of jobs that run for too long. Says when the next may.
    pub(super) fn end_overdue(&self) -> Option<Instant> {
        let limit = self.limits.task_timeout?;
        let (now, clock) = (Instant::now(), crate::primitive::now_ns());
        let mut state = self.lock();
        if state.live == 0 {
            // Whoever submits the next job soon need not ring.
            let until = state.timed_until.filter(|until| *until > now);
            state.is_timed = until.is_some();
            return until;
        }
        let mut next = now.checked_add(limit)?;
        (state.is_timed, state.timed_until) = (true, Some(next));
        for worker in 0..state.workers.len() {
            let Some((id, since)) = self.ledger.current(worker as u32) else { continue };
            let age = Duration::from_nanos(clock.saturating_sub(since));
            // The clock of `since` moves in steps.
            match limit.saturating_add(COARSE).checked_sub(age) {
                Some(rest) if !rest.is_zero() => next = now.checked_add(rest).map_or(next, |end| end.min(next)),
                // Another worker may have it by now, and this one be about to find out.
                _ if self.ledger.stage(id) == Some(Stage::Running(worker as u32)) => {
                    state.kill_for(id, JobFailure::TimedOut { limit }, &self.ledger);
                }
                _ => {}
            }
        }
        Some(next)
    }
}

/// Steps of the coarse clock are not longer.
const COARSE: Duration = Duration::from_millis(10);

impl AfterDeaths for Core {
    fn somebody_died(&self) {
        self.wake();
    }
}
