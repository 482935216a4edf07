//! The pump: whoever takes reports, one thread at a time (P2 of `core`). It waits for nothing else.

use super::core::Core;
use super::job::{JobState, Report, Reported};
use super::ledger::{self, About};
use super::state::{BATCH, Inbox, Phase, State};
use crate::queue::GetError;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Instant;

/// Whoever has this takes the reports.
pub(super) struct Pump<'c> {
    core: &'c Core,
    /// Gone when it has gone back.
    inbox: Option<Box<Inbox>>,
}

impl Core {
    /// The caller is it from now on, unless somebody is.
    pub(super) fn pump(&self, state: &mut State) -> Option<Pump<'_>> {
        let mut inbox = state.inbox.take()?;
        inbox.expects_one = state.live <= 1;
        Some(Pump { core: self, inbox: Some(inbox) })
    }

    /// Waits until a slot may be free: takes reports meanwhile, if nobody does.
    pub(super) fn wait_for_room<'c>(&'c self, mut state: MutexGuard<'c, State>) -> MutexGuard<'c, State> {
        let Some(mut pump) = self.pump(&mut state) else {
            state.waiting += 1;
            let mut state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
            return state;
        };
        drop(state);
        pump.take_some(None);
        drop(pump);
        self.lock()
    }

    /// Takes the reports that are there, if nobody else does.
    pub(super) fn help(&self) {
        let mut state = self.lock();
        let pump = self.pump(&mut state);
        drop(state);
        if let Some(mut pump) = pump {
            pump.take_some(Some(Instant::now()));
        }
    }

    /// Waits until it `is_so`: takes reports, if nobody does, else `sleep`s, which returns when it may be so.
    /// False: the time is over.
    pub(super) fn wait_until(&self, deadline: Option<Instant>, is_so: impl Fn() -> bool, sleep: impl Fn()) -> bool {
        loop {
            if is_so() {
                return true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
            let mut state = self.lock();
            let pump = self.pump(&mut state);
            drop(state);
            match pump {
                None => sleep(),
                Some(mut pump) => while !is_so() && pump.take_some(deadline) {},
            }
        }
    }
}

impl Pump<'_> {
    /// Puts a message for which there is room now. False: whoever asks puts it in another way, or hears why not.
    pub(super) fn put_at_once(&self, message: &[u8]) -> bool {
        let tasks = self.inbox.as_ref().and_then(|inbox| inbox.tasks.as_ref());
        tasks.is_some_and(|tasks| tasks.try_put(message).is_ok())
    }

    /// Waits for reports until `deadline`, and does what they say. False: the time is over.
    pub(super) fn take_some(&mut self, deadline: Option<Instant>) -> bool {
        let heard = self.wait(deadline);
        if heard {
            self.dispatch(None);
        }
        heard
    }

    /// Does so until that job is resolved. Its outcome, if nobody else can ask for it and it came this way.
    pub(super) fn take_own(mut self, job: &Arc<JobState>) -> Option<Reported> {
        while !job.is_ready() && self.wait(None) {
            let outcome = self.dispatch(Some(job));
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }

    fn wait(&mut self, deadline: Option<Instant>) -> bool {
        let Some(inbox) = self.inbox.as_deref_mut() else { return false };
        let Inbox { consumer, expects_one, batch, .. } = inbox;
        let got = match deadline {
            None if *expects_one => consumer.get().map(|report| batch.push(report)),
            None => consumer.get_many(batch, BATCH).map(drop),
            Some(deadline) => consumer.get_many_deadline(batch, BATCH, deadline).map(drop),
        };
        match got {
            Ok(()) | Err(GetError::Undecodable) => true,
            Err(GetError::TimedOut | GetError::Empty) => false,
            Err(error) => {
                self.core.break_down(&error.to_string());
                false
            }
        }
    }

    /// Does what the reports say. What they say of `own` is the caller's, who ends with it: nobody else is told, and
    /// if there is nobody else to tell, nothing else is done.
    fn dispatch(&mut self, own: Option<&Arc<JobState>>) -> Option<Reported> {
        let core = self.core;
        let Inbox { expects_one, batch, effects, .. } = self.inbox.as_deref_mut()?;
        let mut state = core.lock();
        let mut outcome = None;
        for message in batch.drain(..) {
            let Some((about, number)) = ledger::report(&message) else { continue };
            let is_own = about == About::Returned && own.is_some_and(|own| own.id() == Some(ledger::id_of(number)));
            if !is_own {
                state.hear(&core.limits, &core.ledger, about, number, message, effects);
            } else if let Some(attempts) = state.take_returned(ledger::id_of(number)) {
                outcome = Some(Ok(Report { message, attempts }));
            }
        }
        state.fill(core.limits.window, effects);
        *expects_one = state.live <= 1;
        core.publish(&state);
        if state.phase == Phase::Closed && state.live == 0 {
            state.look = true;
        }
        state.look |= core.limits.task_timeout.is_some() && !state.is_timed && state.live > 0;
        let changed = state.waiting > 0 || !state.is_built;
        if outcome.is_none() {
            let of_own = own.and_then(|own| effects.resolved.iter().position(|(job, _)| Arc::ptr_eq(job, own)));
            outcome = of_own.map(|at| effects.resolved.swap_remove(at).1);
        }
        let rings = if outcome.is_some() && effects.is_empty() && state.unput.is_empty() {
            self.give_back(&mut state)
        } else {
            let (rings, effects) = (state.look, std::mem::take(effects));
            core.carry_out(state, effects);
            rings
        };
        if rings {
            core.bell.notify_one();
        }
        if changed {
            core.changed.notify_all();
        }
        outcome
    }

    /// Whether somebody else has to be it. (P2)
    fn give_back(&mut self, state: &mut State) -> bool {
        let Some(inbox) = self.inbox.take() else { return false };
        state.inbox = Some(inbox);
        state.needs_pump() || state.look
    }
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        if self.inbox.is_none() {
            return;
        }
        let mut state = self.core.lock();
        let needed = self.give_back(&mut state);
        drop(state);
        if needed {
            self.core.bell.notify_one();
        }
    }
}
