//! Putting, for every kind of message: the hot path, and waiting for room. What no slot
//! has room for is `large.rs`'s.

use super::error::{PutError, PutManyError};
use super::message::{Encoded, Message};
use super::port::{Port, Refusal, Wait};
use super::rescue::Unprovable;
use crate::primitive::{Fences, Ordering, now_ns};
use crate::ring::{Put, Side, Source};
use crate::wait::{Attention, Deadline, Parked, Spinner, park};

/// What a put waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lacking {
    Slot,
    /// A block of the arena for so many bytes.
    Block(usize),
}

impl Port {
    #[inline(always)]
    pub(super) fn put<'v, M: Message>(&self, value: M::In<'v>, wait: Wait) -> Result<(), PutError<M::Back>>
    where
        // A closure that owned a large message would move it about.
        M::In<'v>: Copy,
    {
        M::touch(&value);
        if self.ring.put_fast(&self.cursors.put, &Encoded::<M>(&value)) {
            if self.for_producers.stirred(Fences::Asymmetric) && self.stirred_put(1) == 0 {
                return Err(PutError::Closed(M::give_back(value)));
            }
            return Ok(());
        }
        // A copy, so that on the fast path of Multi sides the message need not lie in memory.
        let copy = value;
        self.put_slow::<M>(&copy, wait).map_err(|refused| refused.map(|()| M::give_back(copy)))
    }

    #[inline(never)]
    fn put_slow<M: Message>(&self, value: &M::In<'_>, wait: Wait) -> Result<(), PutError<()>> {
        self.put_source(&Encoded::<M>(value), wait)
    }

    pub(super) fn put_source<S: Source>(&self, source: &S, wait: Wait) -> Result<(), PutError<()>> {
        self.ready_to_put().map_err(Refusal::into_put)?;
        self.needs_consumers()?;
        self.growth.begin();
        match self.try_put(source, wait == Wait::No) {
            Put::Done => self.put_is_in(),
            Put::Full => {
                let Wait::Until(deadline) = wait else {
                    // What is in the way may be a dead one's.
                    if self.look_before_full()? && self.try_put(source, true) == Put::Done {
                        return self.put_is_in();
                    }
                    self.lacking.set(Lacking::Slot);
                    return Err(self.refused(Put::Full).unwrap_or(PutError::Full(())));
                };
                self.wait_to_put(Lacking::Slot, deadline, |exact| match self.try_put(source, exact) {
                    Put::Done => self.put_is_in().map(|()| true),
                    how => self.refused(how).map_or(Ok(false), Err),
                })
            }
            how => self.refused(how).map_or(Ok(()), Err),
        }
    }

    /// What a put that was not done means, unless it means waiting.
    fn refused(&self, how: Put) -> Option<PutError<()>> {
        match how {
            Put::Full if self.is_torn() => self.refused(Put::Damaged),
            // Not even memory can be asked for.
            Put::Full | Put::Grow => self.growth.failure().map(|kind| PutError::System { value: (), kind }),
            Put::Done => None,
            Put::Closed => {
                // A claim that was refused may be a tombstone now: news for a consumer.
                if self.for_producers.wanted(self.ring.fences) {
                    self.wake(self.for_producers, 1);
                }
                Some(PutError::Closed(()))
            }
            Put::Damaged => {
                self.poison();
                Some(PutError::Corrupt(()))
            }
        }
    }

    /// One message was published: is it in the queue?
    fn put_is_in(&self) -> Result<(), PutError<()>> {
        match self.after_put(1) {
            _ if self.is_torn() => self.refused(Put::Damaged).map_or(Ok(()), Err),
            1 => Ok(()),
            _ => Err(PutError::Closed(())),
        }
    }

    /// `count` messages were published. Says how many of them are in the queue: all,
    /// unless it is being closed.
    #[inline(always)]
    fn after_put(&self, count: u64) -> u64 {
        if self.for_producers.stirred(self.ring.fences) { self.stirred_put(count) } else { count }
    }

    #[cold]
    #[inline(never)]
    fn stirred_put(&self, count: u64) -> u64 {
        let settles = self.ring.producers == Side::Single && self.ring.consumers == Side::Single;
        let is_in =
            if settles && self.for_producers.is_closed() { self.ring.settle(&self.cursors.put, count) } else { count };
        if self.for_producers.wanted(self.ring.fences) {
            self.wake(self.for_producers, u32::try_from(count).unwrap_or(u32::MAX));
        }
        is_in
    }

    /// Spins, then sleeps, until `attempt` says that it is done. The last attempt
    /// before giving up is an exact one: the ring has the last word, not the clock.
    #[inline(never)]
    pub(super) fn wait_to_put(
        &self,
        lacking: Lacking,
        deadline: Deadline,
        mut attempt: impl FnMut(bool) -> Result<bool, PutError<()>>,
    ) -> Result<(), PutError<()>> {
        let policy = self.policy.get();
        if policy.spins() && deadline.is_far() {
            self.ring.let_consumers_ahead(&self.cursors.put_pace, &self.cursors.put);
        }
        let mut spinner = Spinner::new(policy, &self.patience);
        let mut slept = false;
        loop {
            if attempt(false)? {
                spinner.succeeded();
                // Others may sleep on the same word, and only one was woken.
                if slept
                    && lacking == Lacking::Slot
                    && self.ring.may_put(&self.cursors.put)
                    && self.for_consumers.wanted(self.ring.fences)
                {
                    self.wake(self.for_consumers, 1);
                }
                return Ok(());
            }
            if spinner.turn() {
                if spinner.deadline_due() && deadline.passed() {
                    return self.last_put(attempt);
                }
                // Who never sleeps has slices all the same.
                if spinner.slice_due() {
                    self.needs_consumers()?;
                    self.look_before_waiting()?;
                }
                continue;
            }
            let alert = self.for_producers.alerted();
            self.ring.rest_put(&self.cursors.put);
            self.needs_consumers()?;
            if self.look_before_waiting()? {
                continue;
            }
            self.sleeping();
            let parked = park(self.room_line(lacking), self.ring.fences, deadline, || self.may_put(lacking, alert));
            self.awake();
            match parked {
                // Somebody woke us: more room may come soon.
                Parked::TryAgain => spinner.reset(),
                Parked::SliceEnded => {}
                Parked::TimedOut => return self.last_put(attempt),
            }
            slept = true;
        }
    }

    /// Where a consumer's wake-up comes, and what it is about.
    pub(super) fn room_line(&self, lacking: Lacking) -> &'static Attention {
        if lacking == Lacking::Slot { self.for_consumers } else { self.for_blocks }
    }

    /// S4 of a put that has found nothing free, after it saw `alert`.
    pub(super) fn may_put(&self, lacking: Lacking, alert: Option<u32>) -> bool {
        let has_room = match lacking {
            Lacking::Slot => self.ring.may_put(&self.cursors.put),
            Lacking::Block(len) => self.may_have_block(len) || self.for_producers.is_closed(),
        };
        has_room || self.for_producers.alerted() != alert
    }

    /// The deadline has passed: the last attempt is an exact one, and what is in the way
    /// may be a dead one's.
    fn last_put(&self, mut attempt: impl FnMut(bool) -> Result<bool, PutError<()>>) -> Result<(), PutError<()>> {
        if attempt(true)? || self.look_before_full()? && attempt(true)? {
            return Ok(());
        }
        Err(PutError::TimedOut(()))
    }

    /// Fails if no consumer is left, and that is an error. A closed queue says so itself.
    #[inline]
    pub(super) fn needs_consumers(&self) -> Result<(), PutError<()>> {
        if self.for_producers.alerted().is_some() && !self.for_producers.is_closed() && self.consumers_are_gone() {
            self.ring.rest_put(&self.cursors.put);
            return Err(PutError::PeersGone(()));
        }
        Ok(())
    }

    /// The queue is full, and this put waits. True: try again, a dead one was in the way.
    pub(super) fn look_before_waiting(&self) -> Result<bool, PutError<()>> {
        match self.look_if_due(false) {
            Ok(changed) => Ok(changed),
            Err(Unprovable) if self.ring.is_held_up(&self.cursors.put) => Err(PutError::RecoveryUnavailable(())),
            Err(Unprovable) => Ok(false),
        }
    }

    /// The same for a put that does not wait.
    pub(super) fn look_before_full(&self) -> Result<bool, PutError<()>> {
        let is_held_up = self.ring.is_held_up(&self.cursors.put);
        match self.look_if_due(is_held_up) {
            Ok(changed) => Ok(changed),
            Err(Unprovable) if is_held_up => Err(PutError::RecoveryUnavailable(())),
            Err(Unprovable) => Ok(false),
        }
    }

    /// Counts a sleep, for those who look inside.
    pub(super) fn sleeping(&self) {
        let who = &self.ring.me.who;
        who.sleeps.store(who.sleeps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        who.asleep_since.store(now_ns(), Ordering::Relaxed);
    }

    /// It is over.
    pub(super) fn awake(&self) {
        self.ring.me.who.asleep_since.store(0, Ordering::Relaxed);
    }

    /// Wakes who waits on `attention`, and counts it.
    #[cold]
    pub(super) fn wake(&self, attention: &Attention, count: u32) {
        let wakes = &self.ring.me.who.wakes;
        wakes.store(wakes.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        attention.wake(count);
    }

    pub(super) fn put_many<M: Message>(&self, values: &[M::In<'_>], wait: Wait) -> Result<usize, PutManyError> {
        let fail = |put: u64, cause| PutManyError { put: put as usize, cause };
        // Nothing that can be known beforehand stops a batch in its middle.
        if !M::FIXED_LEN
            && let Some(long) = values.iter().map(M::len).find(|len| *len > self.max_message)
        {
            return Err(fail(0, PutError::TooLarge { value: (), len: long, max: self.max_message }));
        }
        M::touch_all(values);
        self.ready_to_put().map_err(|refusal| fail(0, refusal.into_put()))?;
        self.needs_consumers().map_err(|cause| fail(0, cause))?;
        self.growth.begin();
        let total = values.len() as u64;
        let mut done = 0;
        let once = |exact: bool, done: &mut u64| {
            let rest = values.get(*done as usize..).unwrap_or_default();
            let (put, how) = self.ring.try_put_run(&self.cursors.put, rest.len() as u64, exact, |offset| {
                // SAFETY: the ring asks for offsets below the count it was given.
                #[allow(unsafe_code)]
                Encoded::<M>(unsafe { rest.get_unchecked(offset as usize) })
            });
            let is_in = if put > 0 { self.after_put(put) } else { 0 };
            *done += is_in;
            (*done, if is_in < put { Put::Closed } else { how })
        };
        let mut attempt = |exact: bool| self.growing_run(&mut done, |done| once(exact, done));
        let (so_far, how) = attempt(wait == Wait::No);
        match (self.refused(how), wait) {
            (Some(cause), _) => return Err(fail(so_far, cause)),
            (None, Wait::No) if so_far < total && self.look_before_full().map_err(|cause| fail(so_far, cause))? => {
                let (so_far, how) = attempt(true);
                return self.refused(how).map_or(Ok(so_far as usize), |cause| Err(fail(so_far, cause)));
            }
            (None, Wait::No) => return Ok(so_far as usize),
            (None, Wait::Until(deadline)) if so_far < total => {
                let mut reached = so_far;
                let ended = self.wait_to_put(Lacking::Slot, deadline, |exact| {
                    let (so_far, how) = attempt(exact);
                    reached = so_far;
                    self.refused(how).map_or(Ok(so_far == total), Err)
                });
                ended.map_err(|cause| fail(reached, cause))?;
            }
            _ => {}
        }
        Ok(values.len())
    }
}
