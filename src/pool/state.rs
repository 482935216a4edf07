//! The jobs and workers of a pool, and what each report means for them. Whoever changes them holds the lock
//! on the state; what is to be done outside of it is collected as [`Effects`].

use super::error::{Fault, JobError, JobFailure};
use super::job::{JobState, Report, Reported};
use super::ledger::{self, About, Id, Ledger, REPORT_HEAD, Stage};
use super::outside::Tally;
use crate::primitive::seeded;
use crate::process::{Child, ExitStatus};
use crate::queue::{Bytes, Consumer, Producer};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What was asked for.
pub(super) struct Limits {
    pub(super) name: String,
    pub(super) window: usize,
    pub(super) task_timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) max_tasks_per_child: Option<u64>,
    /// Workers say that they have arrived.
    pub(super) has_initializer: bool,
    /// Bytes of the longest message.
    pub(super) longest: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Open,
    /// Nothing is submitted any more; what is under way is done.
    Closed,
    /// The workers are told to end.
    Terminating,
    /// There are no workers any more.
    Ended,
}

pub(super) struct State {
    pub(super) phase: Phase,
    /// Whoever makes the pool has it. Until then the first failure is one too many.
    pub(super) is_built: bool,
    has_initializer: bool,
    /// Why the pool cannot go on.
    pub(super) broken: Option<String>,
    /// Workers die of a message before they have it: how.
    pub(super) poisoned_by: Option<ExitStatus>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Jobs in slots.
    pub(super) live: usize,
    /// Jobs that wait for one: of `map_async`.
    pub(super) backlog: VecDeque<(Arc<JobState>, Vec<u8>)>,
    pub(super) workers: Vec<Worker>,
    /// Reports of our own that somebody has to take.
    pub(super) unread: usize,
    /// Whoever has it is the pump.
    pub(super) inbox: Option<Box<Inbox>>,
    /// The supervisor is to look around.
    pub(super) look: bool,
    pub(super) counts: Counts,
    /// Threads that wait for room.
    pub(super) waiting: usize,
    /// Messages that there was no room for.
    pub(super) unput: VecDeque<(Id, Vec<u8>)>,
    /// How many there ever were.
    pub(super) unput_ever: u64,
    /// Threads that are about to tell others what was found here.
    pub(super) settling: usize,
    /// The supervisor sleeps no longer than until a job may have taken too long: until then, at least.
    pub(super) is_timed: bool,
    pub(super) timed_until: Option<Instant>,
    /// Slots of jobs that were withdrawn, whose messages no worker has dropped yet.
    withdrawn: usize,
    /// Of a job whose outcome went to its caller straight away: as it was made, but for its number.
    spare: Option<Arc<JobState>>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) restarted: u64,
    pub(super) unasked: u64,
}

struct Slot {
    generation: u64,
    job: Option<UnderWay>,
    /// It waits until a worker has dropped the message: so messages are no more than slots.
    is_withdrawn: bool,
}

pub(super) struct UnderWay {
    pub(super) state: Arc<JobState>,
    /// How often its function was begun by workers that have died.
    attempts: u32,
    /// Its worker is killed for this.
    ended_for: Option<Box<JobFailure>>,
    /// Its message, which came back.
    message: Option<Vec<u8>>,
}

/// One place for a worker.
pub(super) struct Worker {
    pub(super) child: Option<Child>,
    /// Its end was reported.
    pub(super) is_over: bool,
    pub(super) has_arrived: bool,
    pub(super) start_at: Option<Instant>,
    /// Ends in a row without a job, or starts that failed.
    pub(super) idle_ends: u32,
    /// Ends in a row between two jobs, after it had arrived and without a job done.
    ends_of_use: u32,
    /// What its initializer said.
    failed_because: Option<String>,
}

/// The consumer of the reports, and room for some and for what they lead to.
pub(super) struct Inbox {
    pub(super) consumer: Consumer<Bytes>,
    /// For the message of the job that the pump waits for, at no cost of a lock.
    pub(super) tasks: Option<Producer<Bytes>>,
    /// Whether there is one job, and so one report: taking a batch costs more than taking one message.
    pub(super) expects_one: bool,
    pub(super) batch: Vec<Vec<u8>>,
    pub(super) effects: Effects,
}

/// Reports that are taken at once.
pub(super) const BATCH: usize = 64;

impl Inbox {
    pub(super) fn new(consumer: Consumer<Bytes>, tasks: Option<Producer<Bytes>>) -> Box<Inbox> {
        let (batch, effects) = (Vec::with_capacity(BATCH), Effects::default());
        Box::new(Inbox { consumer, tasks, expects_one: false, batch, effects })
    }
}

/// What is to be done when the state is let go of.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) resolved: Vec<(Arc<JobState>, Reported)>,
    pub(super) puts: Vec<(Id, Vec<u8>)>,
}

impl Effects {
    pub(super) fn is_empty(&self) -> bool {
        self.resolved.is_empty() && self.puts.is_empty()
    }
}

impl State {
    /// Of an open pool whose workers are not there yet.
    pub(super) fn new(workers: usize, has_initializer: bool, inbox: Box<Inbox>) -> State {
        let worker = || Worker {
            child: None,
            is_over: true,
            has_arrived: false,
            start_at: None,
            idle_ends: 0,
            ends_of_use: 0,
            failed_because: None,
        };
        State {
            phase: Phase::Open,
            is_built: false,
            has_initializer,
            broken: None,
            poisoned_by: None,
            slots: Vec::new(),
            free: Vec::new(),
            live: 0,
            backlog: VecDeque::new(),
            workers: (0..workers).map(|_| worker()).collect(),
            unread: 0,
            inbox: Some(inbox),
            look: false,
            counts: Counts::default(),
            waiting: 0,
            unput: VecDeque::new(),
            unput_ever: 0,
            settling: 0,
            is_timed: false,
            timed_until: None,
            withdrawn: 0,
            spare: None,
        }
    }

    /// What is told of it.
    pub(super) fn tally(&self, callbacks_panicked: u64) -> Tally {
        Tally {
            under_way: (self.live + self.backlog.len()) as u64,
            done: self.counts.done,
            failed: self.counts.failed,
            restarted: self.counts.restarted,
            unasked: self.counts.unasked,
            callbacks_panicked,
        }
    }

    /// Whether something may be submitted.
    pub(super) fn accepts(&self) -> Result<(), JobError> {
        match (&self.broken, self.phase) {
            (Some(reason), _) => Err(JobFailure::Broken { reason: reason.clone() }.into()),
            (None, Phase::Open) => Ok(()),
            (None, Phase::Closed) => Err(JobFailure::Closed.into()),
            (None, Phase::Terminating | Phase::Ended) => Err(JobFailure::Terminated.into()),
        }
    }

    /// Whether somebody takes reports.
    pub(super) fn is_pumped(&self) -> bool {
        self.inbox.is_none()
    }

    /// Whether somebody has to take reports.
    pub(super) fn needs_pump(&self) -> bool {
        self.live + self.backlog.len() + self.withdrawn + self.unread > 0 || self.arriving() > 0
    }

    pub(super) fn take_slot(&mut self, job: &Arc<JobState>, window: usize) -> Option<Id> {
        let at = match self.free.pop() {
            Some(at) => at,
            None if self.slots.len() < window => {
                self.slots.push(Slot { generation: 1, job: None, is_withdrawn: false });
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let slot = self.slots.get_mut(at as usize)?;
        slot.job = Some(UnderWay { state: Arc::clone(job), attempts: 0, ended_for: None, message: None });
        self.live += 1;
        let id = Id::new(at, slot.generation);
        job.set_id(id);
        Some(id)
    }

    fn under_way(&mut self, id: Id) -> Option<&mut UnderWay> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation())?;
        slot.job.as_mut()
    }

    fn is_under_way(&self, id: Id) -> bool {
        self.slots.get(id.slot()).is_some_and(|slot| slot.generation == id.generation() && slot.job.is_some())
    }

    /// Takes a job out of its slot, which is free then. (P4)
    pub(super) fn take(&mut self, id: Id) -> Option<UnderWay> {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation())?;
        let job = slot.job.take()?;
        self.live -= 1;
        self.vacate(id);
        Some(job)
    }

    /// The same for one that has returned, if it is resolved by that and its outcome goes to nobody but its caller,
    /// who has the only handle. How often it was begun.
    pub(super) fn take_returned(&mut self, id: Id) -> Option<u32> {
        let job = self.take(id)?;
        self.counts.done += 1;
        self.spare = Some(job.state);
        Some(job.attempts + 1)
    }

    /// For the next one, if its caller has let go of it.
    pub(super) fn spare(&mut self) -> Option<Arc<JobState>> {
        self.spare.take_if(|job| Arc::strong_count(job) == 1)
    }

    /// The message of a job that was withdrawn is gone.
    pub(super) fn forget(&mut self, id: Id) {
        let slot = self.slots.get_mut(id.slot()).filter(|slot| slot.generation == id.generation());
        if slot.is_some_and(|slot| std::mem::take(&mut slot.is_withdrawn)) {
            self.withdrawn -= 1;
            self.vacate(id);
        }
    }

    /// The slot is free, and messages of this generation mean nothing any more.
    fn vacate(&mut self, id: Id) {
        if let Some(slot) = self.slots.get_mut(id.slot()) {
            slot.generation = ledger::next_generation(slot.generation);
            self.free.push(id.slot() as u32);
        }
    }

    pub(super) fn resolve(
        &mut self,
        id: Id,
        outcome: Result<Vec<u8>, JobFailure>,
        ledger: &Ledger,
        effects: &mut Effects,
    ) {
        let Some(mut job) = self.take(id) else { return };
        match outcome {
            Ok(_) => self.counts.done += 1,
            Err(_) => self.counts.failed += 1,
        }
        let outcome = outcome.map(|message| Report { message, attempts: job.attempts + 1 }).map_err(|cause| {
            let is_cut_off = matches!(cause, JobFailure::Terminated | JobFailure::Broken { .. });
            let begun =
                |id| matches!(ledger.stage(id), Some(Stage::Running(_) | Stage::Finished(_) | Stage::Ending(_)));
            job.attempts += u32::from(is_cut_off && begun(id));
            JobError::new(cause, job.attempts)
        });
        effects.resolved.push((job.state, outcome));
    }

    /// How often the job was begun by workers that have died.
    pub(super) fn attempts_of(&mut self, id: Id) -> u32 {
        self.under_way(id).map_or(0, |job| job.attempts)
    }

    /// The job's message is gone, and it has no result, after so many attempts that nobody has counted.
    pub(super) fn give_up(&mut self, id: Id, cause: JobFailure, attempts: u32, ledger: &Ledger, effects: &mut Effects) {
        if let Some(job) = self.under_way(id) {
            job.attempts += attempts;
        }
        if self.is_under_way(id) {
            self.resolve(id, Err(cause), ledger, effects);
            // A worker that gave its message back and died then has left another one.
            ledger.end_all_attempts(id);
        }
        self.forget(id);
    }

    /// Whatever is under way or waits ends in `cause`.
    pub(super) fn resolve_all(&mut self, cause: &JobFailure, ledger: &Ledger, effects: &mut Effects) {
        let ids = self.slots.iter().zip(0..).filter(|(slot, _)| slot.job.is_some());
        let ids: Vec<Id> = ids.map(|(slot, at)| Id::new(at, slot.generation)).collect();
        for id in ids {
            self.resolve(id, Err(cause.clone()), ledger, effects);
            ledger.end_all_attempts(id);
        }
        self.counts.failed += self.backlog.len() as u64;
        effects.resolved.extend(self.backlog.drain(..).map(|(job, _)| (job, Err(cause.clone().into()))));
    }

    /// Gives free slots to those who wait for one.
    pub(super) fn fill(&mut self, window: usize, effects: &mut Effects) {
        while !self.backlog.is_empty() && (!self.free.is_empty() || self.slots.len() < window) {
            let Some((job, mut message)) = self.backlog.pop_front() else { return };
            let Some(id) = self.take_slot(&job, window) else { return };
            message[..8].copy_from_slice(&id.raw().to_le_bytes());
            effects.puts.push((id, message));
        }
    }

    pub(super) fn hear(
        &mut self,
        limits: &Limits,
        ledger: &Ledger,
        about: About,
        number: u64,
        mut message: Vec<u8>,
        effects: &mut Effects,
    ) {
        match about {
            About::Returned => {
                let id = ledger::id_of(number);
                self.resolve(id, Ok(message), ledger, effects);
            }
            About::Failed => {
                let fault = message.get(REPORT_HEAD..).and_then(|bytes| postcard::from_bytes::<Fault>(bytes).ok());
                let unknown = || Fault::Result("what the worker said of it makes no sense".to_owned());
                let id = ledger::id_of(number);
                if let Some(job) = self.under_way(id) {
                    job.attempts += 1;
                }
                self.resolve(id, Err(fault.unwrap_or_else(unknown).into()), ledger, effects);
            }
            About::CameBack => {
                let id = ledger::id_of(number);
                let stage = ledger.stage(id);
                let Some(job) = self.under_way(id) else { return self.forget(id) };
                message.drain(..REPORT_HEAD.min(message.len()));
                match stage {
                    Some(Stage::Queued) => effects.puts.push((id, message)),
                    _ => job.message = Some(message),
                }
            }
            About::Arrived => {
                if let Some(worker) = usize::try_from(number).ok().and_then(|at| self.workers.get_mut(at)) {
                    worker.has_arrived = true;
                }
            }
            About::Dropped => {
                self.forget(ledger::id_of(number));
            }
            About::NotArrived => {
                let reason = String::from_utf8_lossy(message.get(REPORT_HEAD..).unwrap_or_default()).into_owned();
                if let Some(worker) = usize::try_from(number).ok().and_then(|at| self.workers.get_mut(at)) {
                    worker.failed_because = Some(reason);
                }
            }
            About::Ended => {
                self.unread = self.unread.saturating_sub(1);
                if let Ok(at) = usize::try_from(number) {
                    self.bury(at, limits, ledger, effects);
                }
            }
            About::Nudge => {}
        }
    }

    /// A worker has ended, and everything that it has said was heard.
    fn bury(&mut self, at: usize, limits: &Limits, ledger: &Ledger, effects: &mut Effects) {
        let left = ledger.left_by(at as u32).filter(|id| self.is_under_way(*id) && !seeded(80));
        let Some(worker) = self.workers.get_mut(at).filter(|worker| worker.is_over) else { return };
        let Some(child) = worker.child.take() else { return };
        let status = child.exit_status().ok().flatten().unwrap_or(ExitStatus::Unknown);
        // What came before that is no row with this.
        if ledger.jobs_of(at as u32) > 0 {
            (worker.ends_of_use, worker.idle_ends) = (0, 0);
        }
        let arrived = ledger.has_arrived(at as u32);
        worker.has_arrived = false;
        let retired = left.is_none() && arrived && status.success();
        worker.idle_ends = if left.is_some() || retired { 0 } else { worker.idle_ends + 1 };
        let is_in_between = arrived && !retired && left.is_none();
        worker.ends_of_use = if left.is_some() { 0 } else { worker.ends_of_use + u32::from(is_in_between) };
        let is_poisoned = is_in_between && worker.ends_of_use >= MOST_ENDS_IN_A_LEASE;
        worker.start_at = Some(Instant::now() + pause(worker.idle_ends));
        let (idle_ends, failed_because) = (worker.idle_ends, worker.failed_because.take());
        self.look = true;
        self.poisoned_by = is_poisoned.then(|| status.clone()).or(self.poisoned_by.take());
        let is_hopeless = idle_ends >= MOST_IDLE_ENDS && !self.has_workers(ledger);
        if !arrived && (is_hopeless || limits.has_initializer && !self.is_built) {
            let reason = match failed_because {
                Some(reason) => format!("the initializer failed in a worker: {reason}"),
                None if limits.has_initializer => format!("a worker {status} in its initializer"),
                None => format!(
                    "workers end before they begin (the last one {status}); look for what runs before \
                     ringway::init(), which is the first line of main, and at the pool's affinity"
                ),
            };
            self.broken.get_or_insert(reason);
        }
        if let Some(id) = left {
            self.end_attempt(id, status, limits.retries, ledger, effects);
        }
        ledger.wipe(at as u32);
    }

    /// How many workers have not said yet that they have arrived, where they are to say so.
    pub(super) fn arriving(&self) -> usize {
        let is_there = |worker: &Worker| worker.child.is_some() || worker.start_at.is_some();
        let is_awaited = |worker: &&Worker| is_there(worker) && !worker.has_arrived;
        if self.has_initializer { self.workers.iter().filter(is_awaited).count() } else { 0 }
    }

    /// Whether anybody takes jobs.
    pub(super) fn has_workers(&self, ledger: &Ledger) -> bool {
        (0..).zip(&self.workers).any(|(at, worker)| !worker.is_over && ledger.has_arrived(at))
    }

    /// The worker that ran this job has ended.
    fn end_attempt(&mut self, id: Id, status: ExitStatus, retries: u32, ledger: &Ledger, effects: &mut Effects) {
        let Some(job) = self.under_way(id) else { return };
        job.attempts += 1;
        let cause = cause_of(job.ended_for.take(), status);
        if cause == JobFailure::Cancelled || job.attempts > retries {
            self.resolve(id, Err(cause), ledger, effects);
            ledger.end_all_attempts(id);
            return;
        }
        let message = job.message.take();
        ledger.queue_again(id);
        // Else it comes back to the queue, or with a report.
        effects.puts.extend(message.map(|message| (id, message)));
    }

    pub(super) fn cancel(&mut self, id: Id, kills: bool, ledger: &Ledger, effects: &mut Effects) -> bool {
        if !self.is_under_way(id) {
            return false;
        }
        if ledger.withdraw(id) {
            self.withdraw(id, effects);
            return true;
        }
        if kills {
            self.kill_for(id, JobFailure::Cancelled, ledger);
        }
        // Also one that is ended for another reason is not tried again.
        match self.under_way(id) {
            Some(UnderWay { ended_for: Some(why), .. }) if kills => {
                **why = JobFailure::Cancelled;
                true
            }
            _ => false,
        }
    }

    /// The job will not run. Its message is still there.
    fn withdraw(&mut self, id: Id, effects: &mut Effects) {
        let Some(slot) = self.slots.get_mut(id.slot()) else { return };
        let Some(job) = slot.job.take() else { return };
        slot.is_withdrawn = true;
        self.live -= 1;
        self.withdrawn += 1;
        self.counts.failed += 1;
        effects.resolved.push((job.state, Err(JobError::new(JobFailure::Cancelled, job.attempts))));
    }

    /// The same for a job that waits for a slot.
    pub(super) fn cancel_waiting(&mut self, job: &Arc<JobState>, effects: &mut Effects) -> bool {
        // From the end, where whoever cancels many begins.
        let at = self.backlog.iter().rposition(|(waiting, _)| Arc::ptr_eq(waiting, job));
        let Some((job, _)) = at.and_then(|at| self.backlog.remove(at)) else { return false };
        self.counts.failed += 1;
        effects.resolved.push((job, Err(JobFailure::Cancelled.into())));
        true
    }

    /// Kills the worker that runs the job, unless it is done with it. (W2)
    pub(super) fn kill_for(&mut self, id: Id, cause: JobFailure, ledger: &Ledger) {
        if !self.is_under_way(id) {
            return;
        }
        if let Some(worker) = ledger.end(id) {
            if let Some(job) = self.under_way(id) {
                job.ended_for = Some(Box::new(cause));
            }
            if let Some(child) = self.workers.get(worker as usize).and_then(|worker| worker.child.as_ref()) {
                let _ = child.kill();
            }
        }
    }
}

/// Why a job has no result whose worker has ended so, and may have been killed for this.
fn cause_of(ended_for: Option<Box<JobFailure>>, status: ExitStatus) -> JobFailure {
    let was_killed = matches!(status, ExitStatus::Signaled(libc::SIGKILL) | ExitStatus::Unknown);
    match ended_for {
        // It was dying already of something else.
        Some(cause) if !was_killed && matches!(*cause, JobFailure::TimedOut { .. }) => JobFailure::Died { status },
        Some(cause) => *cause,
        None => JobFailure::Died { status },
    }
}

/// Ends in a row of a worker that never came as far as its loop: if no other worker takes jobs meanwhile,
/// none ever will.
pub(super) const MOST_IDLE_ENDS: u32 = 8;

/// Ends in a row of a worker that did come so far, and did nothing: it may be the next message that it dies of.
const MOST_ENDS_IN_A_LEASE: u32 = 3;

/// Before a worker is started again that has ended without a job's doing.
pub(super) fn pause(idle_ends: u32) -> Duration {
    match idle_ends {
        0 | 1 => Duration::ZERO,
        more => Duration::from_millis(5 << more.min(8)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_has_died_of_is_said_also_if_it_was_late() {
        let late = JobFailure::TimedOut { limit: Duration::from_secs(1) };
        let cause = |ended_for: Option<&JobFailure>, status: &ExitStatus| {
            cause_of(ended_for.cloned().map(Box::new), status.clone())
        };
        let panicked = ExitStatus::Panicked { message: "no".to_owned(), location: None };
        for status in [ExitStatus::Exited(0), ExitStatus::Exited(7), ExitStatus::Signaled(libc::SIGSEGV), panicked] {
            let died = JobFailure::Died { status: status.clone() };
            assert_eq!((cause(Some(&late), &status), cause(None, &status)), (died.clone(), died));
            assert_eq!(cause(Some(&JobFailure::Cancelled), &status), JobFailure::Cancelled, "as was asked for");
        }
        for status in [ExitStatus::Signaled(libc::SIGKILL), ExitStatus::Unknown] {
            assert_eq!(cause(Some(&late), &status), late, "it was killed for that");
            assert_eq!(cause(None, &status), JobFailure::Died { status });
        }
    }
}
