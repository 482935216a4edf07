//! Putting the messages of jobs: by those who submit, who wait for room, and of those that have a slot already,
//! when there is room.

use super::core::Core;
use super::error::JobFailure;
use super::ledger::{self, Id};
use super::pump::Pump;
use super::state::Effects;
use crate::primitive::{seeded, spin_hint};
use crate::queue::{Bytes, Producer, PutError};
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a put waits before it is seen whether anybody takes reports.
const SLICE: Duration = Duration::from_millis(5);

/// So often the pump asks for the producer before it takes reports meanwhile.
const BRIEFLY: u32 = 100;

/// So often the pump finds that somebody has the producer before it has its message wait in line.
const MOST_TRIES: u32 = 8;

impl Core {
    pub(super) fn put_task(&self, message: &[u8], pump: Option<&mut Pump<'_>>) -> Result<(), JobFailure> {
        match pump {
            Some(pump) => self.put_by_pump(message, pump),
            None => self.put_until(|tasks, slice| match tasks.try_put(message) {
                Err(PutError::Full(_)) => tasks.put_timeout(message, slice).map_err(|refused| refused.map(drop)),
                other => other.map_err(|refused| refused.map(drop)),
            }),
        }
    }

    /// Of the pump, who waits for reports only. (P2)
    fn put_by_pump(&self, message: &[u8], pump: &mut Pump<'_>) -> Result<(), JobFailure> {
        // Those that wait for room already come first.
        if !self.has_unput.load(Ordering::Relaxed) && pump.put_at_once(message) {
            return Ok(());
        }
        let (mut turn, mut tries) = (None, 0);
        loop {
            // Mostly somebody is just putting, which takes less than a look for reports.
            let tasks = (0..BRIEFLY).find_map(|_| {
                self.free_tasks().or_else(|| {
                    spin_hint();
                    None
                })
            });
            let Some(tasks) = tasks else {
                // Whoever has them may wait for room, which is made while reports are taken.
                tries += 1;
                if tries > MOST_TRIES {
                    self.put_later(message);
                    return Ok(());
                }
                pump.take_some(Some(Instant::now() + SLICE));
                continue;
            };
            let (is_first, refused) = self.put_waiting(&tasks, &mut turn);
            let put = match is_first {
                true => tasks.try_put(message).map_err(|refused| refused.map(drop)),
                false => Err(PutError::Full(())),
            };
            drop(tasks);
            self.give_up(refused, 0);
            match put {
                Ok(()) => return Ok(()),
                // Whoever is to make room may wait for room itself.
                Err(PutError::Full(_)) => drop(pump.take_some(Some(Instant::now() + SLICE))),
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    /// In line with those that wait for room: whoever puts next puts it before, and else the supervisor.
    fn put_later(&self, message: &[u8]) {
        let Some((id, _, _)) = ledger::task(message) else { return };
        let effects = Effects { puts: vec![(id, message.to_vec())], ..Effects::default() };
        self.carry_out(self.lock(), effects);
    }

    /// None: somebody has them.
    fn free_tasks(&self) -> Option<MutexGuard<'_, Producer<Bytes>>> {
        match self.tasks.try_lock() {
            Ok(tasks) => Some(tasks),
            Err(TryLockError::Poisoned(tasks)) => Some(tasks.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The message is `head` and `body`, which is copied once: to where it lies in the queue.
    pub(super) fn put_in_place(&self, head: &[u8], body: &[u8]) -> Result<(), JobFailure> {
        self.put_until(|tasks, slice| {
            let mut message = tasks.reserve_timeout(head.len() + body.len(), slice)?;
            if message.write_at(0, head).and_then(|()| message.write_at(head.len(), body)).is_err() {
                return Err(PutError::Corrupt(()));
            }
            message.commit_timeout(slice).map_err(|refused| refused.map(drop))
        })
    }

    /// Tries until it is put, and sees that room is made meanwhile.
    fn put_until(
        &self,
        attempt: impl Fn(&Producer<Bytes>, Duration) -> Result<(), PutError<()>>,
    ) -> Result<(), JobFailure> {
        let mut turn = None;
        loop {
            let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that wait for room already come first.
            let (is_first, refused) = self.put_waiting(&tasks, &mut turn);
            let put = if is_first { attempt(&tasks, SLICE) } else { Err(PutError::Full(())) };
            drop(tasks);
            self.give_up(refused, 0);
            if !is_first {
                let waited = self.changed.wait_timeout(self.lock(), SLICE);
                drop(waited.unwrap_or_else(PoisonError::into_inner));
            }
            match put {
                Ok(()) => return Ok(()),
                // Whoever is to make room may wait for room itself.
                Err(PutError::Full(_) | PutError::TimedOut(_)) => self.help(),
                Err(error) => return Err(self.refused(error)),
            }
        }
    }

    /// Why it cannot be put. If nothing can, that is the end.
    fn refused(&self, error: PutError<()>) -> JobFailure {
        let cause = refusal(error);
        if let JobFailure::Broken { reason } = &cause {
            self.break_down(reason);
        }
        cause
    }

    /// Puts what there is room for now. (P2)
    pub(super) fn put_the_rest(&self) {
        loop {
            let Some(tasks) = self.free_tasks() else { return };
            let (_, refused) = self.put_waiting(&tasks, &mut Some(u64::MAX));
            drop(tasks);
            if refused.is_empty() {
                return;
            }
            self.give_up(refused, 0);
        }
    }

    /// Whether nothing waits for room that came before this `turn`, or, without one, before now; and what can never
    /// be put.
    fn put_waiting(&self, tasks: &Producer<Bytes>, turn: &mut Option<u64>) -> (bool, Vec<(Id, JobFailure)>) {
        let mut refused = Vec::new();
        // What becomes true meanwhile comes after this one.
        while self.has_unput.load(Ordering::Relaxed) {
            let mut state = self.lock();
            let turn = *turn.get_or_insert(state.unput_ever);
            let is_later = state.unput_ever - state.unput.len() as u64 >= turn;
            let next = if is_later { None } else { state.unput.pop_front() };
            self.has_unput.store(next.is_some() || !state.unput.is_empty(), Ordering::Relaxed);
            drop(state);
            let Some((id, message)) = next else { return (true, refused) };
            match tasks.try_put(&message) {
                Ok(()) => {}
                Err(PutError::Full(_)) => {
                    if seeded(82) {
                        std::thread::sleep(SLICE);
                    }
                    let mut state = self.lock();
                    state.unput.push_front((id, message));
                    // Whoever has put others in line meanwhile did not see this one.
                    self.has_unput.store(!seeded(82) || self.has_unput.load(Ordering::Relaxed), Ordering::Relaxed);
                    drop(state);
                    return (false, refused);
                }
                Err(error) => refused.push((id, refusal(error))),
            }
        }
        (true, refused)
    }

    /// Jobs whose messages are gone have no results, after so many attempts that nobody has counted.
    pub(super) fn give_up(&self, jobs: Vec<(Id, JobFailure)>, attempts: u32) {
        if jobs.is_empty() {
            return;
        }
        let mut effects = Effects::default();
        let mut state = self.lock();
        for (id, cause) in jobs {
            state.give_up(id, cause, attempts, &self.ledger, &mut effects);
        }
        state.fill(self.limits.window, &mut effects);
        self.queue_puts(&mut state, effects.puts);
        state.settling += 1;
        drop(state);
        for (job, outcome) in effects.resolved {
            self.settle(&job, outcome);
        }
        self.lock().settling -= 1;
        self.changed.notify_all();
        // Whoever waits looks again, and the supervisor puts what is new.
        self.wake();
    }
}

/// Why a message cannot be put, now or later.
fn refusal<V>(error: PutError<V>) -> JobFailure {
    match error {
        PutError::Closed(_) => JobFailure::Terminated,
        PutError::TooLarge { len, max, .. } => {
            let reason = format!("the arguments have {len} bytes, a message at most {max}");
            JobFailure::ArgumentsUnencodable { reason }
        }
        PutError::System { kind, .. } => {
            JobFailure::ArgumentsUnencodable { reason: format!("there is no memory for the arguments: {kind}") }
        }
        error => JobFailure::Broken { reason: error.map(drop).to_string() },
    }
}
