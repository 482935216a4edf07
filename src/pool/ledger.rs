//! Whose a job is: one word for each job that is under way, on a board that the pool and its workers
//! share; and what they tell each other in messages.
//!
//! ```text
//! QUEUED ─► RUNNING(w) ─► FINISHED(w)                     the usual way
//! QUEUED ─► WITHDRAWN                                     cancelled before it ran
//!           RUNNING(w) ─► ENDING(w)                       cancelled or timed out: w is killed
//!           RUNNING(w), FINISHED(w), ENDING(w) ─► QUEUED    w has died: another attempt
//!           RUNNING(w), FINISHED(w), ENDING(w) ─► WITHDRAWN the same: no other attempt
//! ```
//!
//! Each word carries the number of the job's *generation*, of those that had its slot one after the other. A word of
//! an earlier one says QUEUED of this one: so the pool writes nothing when a job is submitted or is over, and
//! the line of the word stays with the worker that has it.
//!
//! W1. A worker calls a job's function only after it has exchanged QUEUED for RUNNING(w). So a job is
//! its worker's before it runs, and a worker that dies costs its own job and no other.
//! W2. A worker says what came of a job only after it has exchanged RUNNING(w) for FINISHED(w). The pool
//! kills a worker only after it has exchanged RUNNING(w) for ENDING(w). So nobody is killed for
//! a job that it is done with; and who finds ENDING takes no other job.
//! W3. A slot is given to the next job when the one before is over. A message of that one which is still about
//! finds a word that is not QUEUED, or one of a later job: nobody runs it.
//! W4. Before it says RUNNING(w) a worker writes the job's number on its own line, and wipes it out after it
//! has said what came of it. So of a dead worker the pool finds the job by looking at one line.
//!
//! The message of a job is leased while it runs: of a worker that dies in between it comes back to the
//! queue, and the next worker that gets it finds by the word what to do about it: run it (QUEUED), forget it
//! (a later job's), drop it and say so (WITHDRAWN), or give it to the pool (anything else: the pool knows what has
//! become of it, now or soon).
//!
//! | pair | release | acquire | carries |
//! |---|---|---|---|
//! | JOB | every exchange of a word, `set` | every exchange, `stage` | the worker's line |

use super::MOST_WORKERS;
use super::outside::{self, NOTICE, Tally};
use crate::process::Board;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names one job while it is under way: a slot, and its generation. Never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id(u64);

impl Id {
    const SLOT_BITS: u32 = 20;
    /// The most jobs that may be under way.
    pub(super) const MOST: usize = 1 << Id::SLOT_BITS;

    pub(super) fn new(slot: u32, generation: u64) -> Id {
        Id(generation << Id::SLOT_BITS | u64::from(slot))
    }

    pub(super) fn slot(self) -> usize {
        (self.0 & (Id::MOST as u64 - 1)) as usize
    }

    pub(super) fn generation(self) -> u64 {
        self.0 >> Id::SLOT_BITS
    }

    pub(super) fn raw(self) -> u64 {
        self.0
    }
}

/// What the word of a job says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Queued,
    Withdrawn,
    Running(u32),
    Finished(u32),
    Ending(u32),
}

const WORKER_BITS: u32 = 20;
const STAGE_BITS: u32 = 4;
const GENERATION_SHIFT: u32 = WORKER_BITS + STAGE_BITS;
/// After so many jobs in one slot the numbers begin again.
const GENERATIONS: u64 = 1 << (64 - GENERATION_SHIFT);
/// So many generations back is before, and more is after.
const MOST_BEFORE: u64 = GENERATIONS / 2;

/// The generation after this one. Never 0.
pub(super) fn next_generation(generation: u64) -> u64 {
    (generation + 1) % GENERATIONS + u64::from(generation + 1 == GENERATIONS)
}

fn word(generation: u64, stage: Stage) -> u64 {
    let (number, worker) = match stage {
        Stage::Withdrawn => (0, 0),
        Stage::Queued => (1, 0),
        Stage::Running(worker) => (2, worker),
        Stage::Finished(worker) => (3, worker),
        Stage::Ending(worker) => (4, worker),
    };
    generation << GENERATION_SHIFT | number << WORKER_BITS | u64::from(worker)
}

fn read(word: u64) -> (u64, Option<Stage>) {
    let worker = (word & ((1 << WORKER_BITS) - 1)) as u32;
    let stage = match word >> WORKER_BITS & ((1 << STAGE_BITS) - 1) {
        0 => Some(Stage::Withdrawn),
        1 => Some(Stage::Queued),
        2 => Some(Stage::Running(worker)),
        3 => Some(Stage::Finished(worker)),
        4 => Some(Stage::Ending(worker)),
        _ => None,
    };
    (word >> GENERATION_SHIFT, stage)
}

/// What a word says of this job. None: it is that of a later one, or makes no sense.
fn said_of(id: Id, word: u64) -> Option<Stage> {
    let (generation, stage) = read(word);
    match id.generation().wrapping_sub(generation) % GENERATIONS {
        0 => stage,
        1..=MOST_BEFORE => Some(Stage::Queued),
        _ => None,
    }
}

/// Words of a worker's line: a cache line of its own, behind the notice.
const LINE: usize = 8;
const CURRENT: usize = 0;
const SINCE: usize = 1;
const ARRIVED: usize = 2;
const DONE: usize = 3;
const PID: usize = 4;

/// What a worker's line says to those outside.
pub(super) struct WorkerLine {
    pub(super) pid: Option<u32>,
    /// What it runs, and since when.
    pub(super) current: Option<(Id, u64)>,
}

/// The board, and how it is divided.
#[derive(Serialize, Deserialize)]
pub(super) struct Ledger {
    board: Board,
    workers: usize,
}

impl Ledger {
    pub(super) fn create(workers: usize, jobs: usize, name: &str) -> io::Result<Ledger> {
        let size = Ledger::size(workers, jobs).ok_or(io::ErrorKind::InvalidInput)?;
        let board = Board::create(size)?;
        outside::introduce(&board, workers, jobs, name);
        Ok(Ledger { board, workers })
    }

    /// Words of the board. None: there are no such ledgers.
    pub(super) fn size(workers: usize, jobs: usize) -> Option<usize> {
        let is_one = workers <= MOST_WORKERS && jobs <= Id::MOST;
        is_one.then(|| NOTICE + LINE * workers + jobs)
    }

    /// For those who look from outside.
    pub(super) fn publish(&self, tally: Tally) {
        outside::publish(&self.board, tally);
    }

    /// The same board, for a worker.
    pub(super) fn of_worker(self: &std::sync::Arc<Ledger>) -> Shared {
        Shared(std::sync::Arc::clone(self))
    }

    pub(super) fn is_forked(&self) -> bool {
        self.board.is_forked()
    }

    fn job(&self, id: Id) -> Option<&AtomicU64> {
        self.board.word(NOTICE + LINE * self.workers + id.slot())
    }

    fn line(&self, worker: u32, word: usize) -> Option<&AtomicU64> {
        let at = NOTICE + LINE * usize::try_from(worker).ok()?;
        self.board.word(at + word).filter(|_| (worker as usize) < self.workers)
    }

    fn exchange(&self, id: Id, from: Stage, to: Stage) -> bool {
        let Some(job) = self.job(id) else { return false };
        let mut seen = job.load(Ordering::Relaxed);
        // Once, or again if it was the word of an earlier job that has changed.
        for _ in 0..4 {
            if said_of(id, seen) != Some(from) {
                return false;
            }
            // Pair JOB.
            match job.compare_exchange(seen, word(id.generation(), to), Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => seen = now,
            }
        }
        false
    }

    /// None: the job is over, or the word makes no sense. Of a job that is over it may say what it last was.
    pub(super) fn stage(&self, id: Id) -> Option<Stage> {
        // Pair JOB.
        said_of(id, self.job(id)?.load(Ordering::Acquire))
    }

    // ---- the pool's ----

    fn set(&self, id: Id, stage: Stage) {
        if let Some(job) = self.job(id) {
            // Pair JOB.
            job.store(word(id.generation(), stage), Ordering::Release);
        }
    }

    /// Of a job whose worker has died, which alone would change the word: it is to run again.
    pub(super) fn queue_again(&self, id: Id) {
        self.set(id, Stage::Queued);
    }

    /// The job is over, whatever its worker still does, and whoever has its message.
    pub(super) fn end_all_attempts(&self, id: Id) {
        self.set(id, Stage::Withdrawn);
    }

    /// Whether it will not run.
    pub(super) fn withdraw(&self, id: Id) -> bool {
        self.exchange(id, Stage::Queued, Stage::Withdrawn)
    }

    /// Who is to be killed, and is not done with the job. (W2)
    pub(super) fn end(&self, id: Id) -> Option<u32> {
        let Some(Stage::Running(worker)) = self.stage(id) else { return None };
        self.exchange(id, Stage::Running(worker), Stage::Ending(worker)).then_some(worker)
    }

    /// What worker `worker` is at, and since when (CLOCK_MONOTONIC, nanoseconds).
    pub(super) fn current(&self, worker: u32) -> Option<(Id, u64)> {
        let id = self.line(worker, CURRENT)?.load(Ordering::Acquire);
        let since = self.line(worker, SINCE)?.load(Ordering::Relaxed);
        (id != 0).then_some((Id(id), since))
    }

    /// The job that worker `worker`, which has died, had and was not done with, unless that job is over. (W4)
    pub(super) fn left_by(&self, worker: u32) -> Option<Id> {
        let (id, _) = self.current(worker)?;
        let is_its = match self.stage(id)? {
            Stage::Running(its) | Stage::Finished(its) | Stage::Ending(its) => its == worker,
            Stage::Withdrawn | Stage::Queued => false,
        };
        is_its.then_some(id)
    }

    /// A new process will have this line.
    pub(super) fn wipe(&self, worker: u32) {
        for at in [CURRENT, SINCE, ARRIVED, DONE, PID] {
            if let Some(word) = self.line(worker, at) {
                word.store(0, Ordering::Relaxed);
            }
        }
    }

    /// For those who look from outside.
    pub(super) fn started(&self, worker: u32, pid: u32) {
        if let Some(word) = self.line(worker, PID) {
            word.store(u64::from(pid), Ordering::Relaxed);
        }
    }

    /// Worker `worker`'s process, and its job and since when, as copies of the board's words say.
    pub(super) fn read_line(
        worker: usize,
        workers: usize,
        words: impl Fn(usize, usize) -> Option<Vec<u64>>,
    ) -> Option<WorkerLine> {
        let line = words(NOTICE + LINE * worker, LINE)?;
        let id = Id(line[CURRENT]);
        let word = words(NOTICE + LINE * workers + id.slot(), 1).and_then(|word| word.first().copied());
        let is_running = word.is_some_and(|word| said_of(id, word) == Some(Stage::Running(worker as u32)));
        let pid = u32::try_from(line[PID]).ok().filter(|pid| *pid != 0);
        Some(WorkerLine { pid, current: (id.0 != 0 && is_running).then_some((id, line[SINCE])) })
    }

    /// How many jobs it has done.
    pub(super) fn jobs_of(&self, worker: u32) -> u64 {
        self.line(worker, DONE).map_or(0, |word| word.load(Ordering::Relaxed))
    }

    /// Whether the worker has come as far as its loop.
    pub(super) fn has_arrived(&self, worker: u32) -> bool {
        self.line(worker, ARRIVED).is_some_and(|word| word.load(Ordering::Relaxed) != 0)
    }

    // ---- a worker's ----

    pub(super) fn arrive(&self, worker: u32) {
        if let Some(word) = self.line(worker, ARRIVED) {
            word.store(1, Ordering::Relaxed);
        }
    }

    /// W1, W4. Whether the job is this worker's now.
    pub(super) fn begin(&self, id: Id, worker: u32, now: u64) -> bool {
        if let (Some(current), Some(since)) = (self.line(worker, CURRENT), self.line(worker, SINCE)) {
            since.store(now, Ordering::Relaxed);
            // With `since`, for those who look.
            current.store(id.0, Ordering::Release);
        }
        let begun = self.exchange(id, Stage::Queued, Stage::Running(worker));
        if !begun {
            self.rest(worker);
        }
        begun
    }

    /// W2. False: this worker is being ended, or the job is over.
    pub(super) fn finish(&self, id: Id, worker: u32) -> bool {
        self.exchange(id, Stage::Running(worker), Stage::Finished(worker))
    }

    /// It has said what came of the job.
    pub(super) fn has_done(&self, worker: u32) {
        self.rest(worker);
        if let Some(done) = self.line(worker, DONE) {
            // Nobody else writes there.
            done.store(done.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    fn rest(&self, worker: u32) {
        if let Some(current) = self.line(worker, CURRENT) {
            current.store(0, Ordering::Relaxed);
        }
    }
}

/// A ledger that goes to a worker, and stays here.
pub(super) struct Shared(std::sync::Arc<Ledger>);

impl Serialize for Shared {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Shared, D::Error> {
        Ledger::deserialize(deserializer).map(|ledger| Shared(std::sync::Arc::new(ledger)))
    }
}

impl std::ops::Deref for Shared {
    type Target = Ledger;

    fn deref(&self) -> &Ledger {
        &self.0
    }
}

// ---- messages ----

/// Before the arguments: the job's number, and the place of its callee.
pub(super) const TASK_HEAD: usize = 16;

pub(super) fn task_head(id: Id, place: u64) -> [u8; TASK_HEAD] {
    let mut head = [0; TASK_HEAD];
    head[..8].copy_from_slice(&id.0.to_le_bytes());
    head[8..].copy_from_slice(&place.to_le_bytes());
    head
}

/// The job, the place, and the arguments.
pub(super) fn task(message: &[u8]) -> Option<(Id, u64, &[u8])> {
    let (id, rest) = message.split_first_chunk()?;
    let (place, arguments) = rest.split_first_chunk()?;
    Some((Id(u64::from_le_bytes(*id)), u64::from_le_bytes(*place), arguments))
}

/// What a message to the pool is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// What the function has returned follows.
    Returned,
    /// A [`Fault`](super::error::Fault) follows.
    Failed,
    /// The message of the job follows: its worker has died, and the one who got it does not know more.
    CameBack,
    /// The job was withdrawn, and its message is dropped.
    Dropped,
    /// Instead of a job's number: a worker's, which has begun its loop.
    Arrived,
    /// The same: its initializer has failed; the reason follows.
    NotArrived,
    /// The same: it has died, and everything that it has said came before this.
    Ended,
    /// Nothing: whoever waits is to look around.
    Nudge,
}

/// Before what follows.
pub(super) const REPORT_HEAD: usize = 9;

const ABOUTS: [About; 8] = [
    About::Returned,
    About::Failed,
    About::CameBack,
    About::Dropped,
    About::Arrived,
    About::NotArrived,
    About::Ended,
    About::Nudge,
];

pub(super) fn report_head(about: About, number: u64) -> [u8; REPORT_HEAD] {
    let mut head = [0; REPORT_HEAD];
    head[0] = ABOUTS.iter().position(|known| *known == about).unwrap_or(ABOUTS.len()) as u8;
    head[1..].copy_from_slice(&number.to_le_bytes());
    head
}

pub(super) fn report(message: &[u8]) -> Option<(About, u64)> {
    let (about, rest) = message.split_first()?;
    let number = rest.first_chunk()?;
    Some((*ABOUTS.get(usize::from(*about))?, u64::from_le_bytes(*number)))
}

pub(super) fn id_of(number: u64) -> Id {
    Id(number)
}

#[cfg(test)]
impl Ledger {
    pub(super) fn raw(&self, at: usize) -> Option<&AtomicU64> {
        self.board.word(at)
    }

    pub(super) fn place(&self) -> (u32, u32) {
        (std::process::id(), self.board.descriptor_number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_say_what_was_written() {
        for generation in [0, 1, GENERATIONS - 1] {
            for stage in [Stage::Withdrawn, Stage::Queued, Stage::Running(7), Stage::Finished(1023), Stage::Ending(0)] {
                assert_eq!(read(word(generation, stage)), (generation, Some(stage)));
            }
        }
        assert_eq!((next_generation(1), next_generation(GENERATIONS - 1)), (2, 1));
        let id = Id::new(Id::MOST as u32 - 1, GENERATIONS - 1);
        assert_eq!((id.slot(), id.generation()), (Id::MOST - 1, GENERATIONS - 1));
    }

    #[test]
    fn a_job_is_one_workers_and_nobody_is_killed_for_what_is_done() {
        let ledger = Ledger::create(2, 4, "pool").expect("memory");
        let id = Id::new(3, 1);
        assert_eq!(ledger.stage(id), Some(Stage::Queued), "nobody has written anything");
        assert!(ledger.begin(id, 1, 5) && !ledger.begin(id, 0, 6));
        assert_eq!((ledger.current(0), ledger.current(1)), (None, Some((id, 5))));
        assert_eq!((ledger.left_by(0), ledger.left_by(1)), (None, Some(id)));
        assert!(ledger.finish(id, 1) && ledger.end(id).is_none());
        assert_eq!(ledger.left_by(1), Some(id), "it has not said so yet");
        let next = Id::new(3, 2);
        assert!(!ledger.begin(id, 0, 7), "it is over");
        assert_eq!(ledger.stage(next), Some(Stage::Queued), "what was before is over");
        assert!(ledger.begin(next, 0, 7) && !ledger.begin(id, 1, 7) && !ledger.withdraw(next));
        assert_eq!((ledger.stage(id), ledger.left_by(1)), (None, None), "a later one is there");
        assert_eq!(ledger.end(next), Some(0));
        assert!(!ledger.finish(next, 0) && ledger.end(next).is_none());
        ledger.queue_again(next);
        assert!(ledger.begin(next, 1, 8));
        ledger.end_all_attempts(next);
        assert!(!ledger.finish(next, 1) && !ledger.begin(next, 0, 9) && ledger.left_by(1).is_none());
        let gone = Id::new(0, 1);
        assert!(ledger.withdraw(gone) && !ledger.withdraw(gone) && !ledger.begin(gone, 1, 8));
        let (last, first) = (Id::new(1, GENERATIONS - 1), Id::new(1, 1));
        assert!(ledger.begin(Id::new(1, GENERATIONS / 2), 0, 1) && ledger.begin(last, 0, 1));
        assert!(ledger.begin(first, 0, 1) && !ledger.begin(last, 1, 1), "after the last comes the first");
        assert_eq!(ledger.stage(Id::new(9, 1)), None, "there is no such slot");
    }

    #[test]
    fn messages_say_what_was_written_and_nonsense_says_nothing() {
        let id = Id::new(5, 6);
        let message = [&task_head(id, 77)[..], b"arguments"].concat();
        assert_eq!(task(&message), Some((id, 77, &b"arguments"[..])));
        assert_eq!(task(&message[..TASK_HEAD - 1]), None);
        for about in ABOUTS {
            assert_eq!(report(&report_head(about, id.raw())), Some((about, id.raw())));
        }
        assert_eq!((report(&[ABOUTS.len() as u8; REPORT_HEAD]), report(&[])), (None, None));
    }
}
