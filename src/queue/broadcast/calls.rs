//! Putting to and getting from a broadcast, for every kind of message: the hot paths, and waiting.

#![allow(unsafe_code)]

use crate::primitive::{Fences, spin_hint};
use crate::queue::error::{GetError, PutError, PutManyError};
use crate::queue::message::{Encoded, Message, RoomFor};
use crate::queue::port::{Port, Refusal, Wait};
use crate::queue::rescue::Unprovable;
use crate::ring::{Heard, Put, Side, Sink, Source};
use crate::segment::Role;
use crate::wait::{Deadline, Parked, Spinner, park};

/// How long a get that may not wait gives a producer that is just publishing: some
/// hundred nanoseconds.
const UNFINISHED_TURNS: u32 = 64;

/// Putting.
impl Port {
    #[inline(always)]
    pub(in crate::queue) fn cast<M: Message>(&self, value: &M::In<'_>, wait: Wait) -> Result<(), PutError<()>> {
        if !M::FIXED_LEN && M::len(value) > self.longest_cast() {
            return Err(PutError::TooLarge { value: (), len: M::len(value), max: self.longest_cast() });
        }
        M::touch(value);
        match self.ring.cast_fast(&self.cursors.cast_put, &Encoded::<M>(value)) {
            Some(Put::Done) => {
                self.after_cast();
                Ok(())
            }
            _ => self.cast_slow(&Encoded::<M>(value), wait),
        }
    }

    /// Every message lies in its slot, whatever the header of a file that somebody has forged allows.
    #[inline(always)]
    fn longest_cast(&self) -> usize {
        self.max_message.min(self.inline)
    }

    #[inline(always)]
    fn after_cast(&self) {
        if self.for_producers.wanted(self.ring.fences) {
            self.wake_subscribers();
        }
    }

    /// After puts of a slow path. Another producer may sleep until the slot is published that it
    /// wants a lap later (M3).
    fn after_casts(&self) {
        self.after_cast();
        if self.ring.producers == Side::Multi && self.for_consumers.wanted(self.ring.fences) {
            self.wake(self.for_consumers, i32::MAX as u32);
        }
    }

    /// The message is for all of them.
    #[cold]
    #[inline(never)]
    fn wake_subscribers(&self) {
        self.wake(self.for_producers, i32::MAX as u32);
    }

    #[inline]
    fn ready_to_cast(&self) -> Result<(), Refusal> {
        self.usable()?;
        // Whether subscribers are left makes no difference to a put.
        if let Some(seen) = self.for_producers.alerted() {
            self.for_producers.all_clear(seen);
        }
        if self.cursors.cast_put.is_started() {
            return Ok(());
        }
        if self.ring.is_closed() {
            return Err(Refusal::Closed);
        }
        self.take_side(Role::Producer, self.ring.producers)?;
        self.look_before_starting();
        self.ring.start_cast(&self.cursors.cast_put);
        if self.ring.producers == Side::Single {
            self.counts_from(Role::Producer, self.ring.casts_from(&self.cursors.cast_put));
        }
        Ok(())
    }

    #[inline(never)]
    fn cast_slow<S: Source>(&self, source: &S, wait: Wait) -> Result<(), PutError<()>> {
        self.ready_to_cast().map_err(Refusal::into_put)?;
        let attempt = |exact| match self.ring.try_cast_run(&self.cursors.cast_put, 1, exact, |_| source) {
            (1, _) => {
                self.after_casts();
                Ok(true)
            }
            (_, how) => self.cast_refused(how).map_or(Ok(false), Err),
        };
        self.cast_or_wait(wait, attempt)
    }

    /// None: there is no room.
    fn cast_refused(&self, how: Put) -> Option<PutError<()>> {
        match how {
            Put::Closed => {
                // A claim that was refused is a tombstone now: news for subscribers.
                self.after_cast();
                Some(PutError::Closed(()))
            }
            how if how == Put::Damaged || self.is_torn() => {
                self.poison();
                Some(PutError::Corrupt(()))
            }
            _ => None,
        }
    }

    fn cast_or_wait(
        &self,
        wait: Wait,
        mut attempt: impl FnMut(bool) -> Result<bool, PutError<()>>,
    ) -> Result<(), PutError<()>> {
        if attempt(wait == Wait::No)? {
            return Ok(());
        }
        let Wait::Until(deadline) = wait else { return self.last_cast(attempt, PutError::Full(())) };
        self.wait_to_cast(deadline, attempt)
    }

    /// The last attempt before giving up is an exact one, and what is in the way may be a dead
    /// one's.
    fn last_cast(
        &self,
        mut attempt: impl FnMut(bool) -> Result<bool, PutError<()>>,
        refusal: PutError<()>,
    ) -> Result<(), PutError<()>> {
        let is_held_up = self.ring.is_cast_held_up(&self.cursors.cast_put);
        if attempt(true)? || self.look_for_dead_subscribers(is_held_up)? && attempt(true)? {
            return Ok(());
        }
        Err(refusal)
    }

    /// Spins, then sleeps, until `attempt` says that it is done.
    #[inline(never)]
    fn wait_to_cast(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut(bool) -> Result<bool, PutError<()>>,
    ) -> Result<(), PutError<()>> {
        let cursor = &self.cursors.cast_put;
        let policy = self.policy.get();
        if policy.spins() && deadline.is_far() {
            self.ring.let_subscribers_ahead(&self.cursors.put_pace, cursor);
        }
        let mut spinner = Spinner::new(policy, &self.patience);
        loop {
            if attempt(false)? {
                spinner.succeeded();
                return Ok(());
            }
            if spinner.turn() {
                if spinner.deadline_due() && deadline.passed() {
                    return self.last_cast(attempt, PutError::TimedOut(()));
                }
                // Who never sleeps has slices all the same.
                if spinner.slice_due() {
                    self.look_for_dead_subscribers(false)?;
                }
                continue;
            }
            self.ring.rest_cast(cursor);
            if self.look_for_dead_subscribers(false)? {
                continue;
            }
            self.sleeping();
            // Subscribers wake it; nobody sleeps on the word of the blocks here.
            let parked = park(self.for_consumers, self.ring.fences, deadline, || self.ring.may_cast(cursor));
            self.awake();
            match parked {
                Parked::TryAgain => spinner.reset(),
                Parked::SliceEnded => {}
                Parked::TimedOut => return self.last_cast(attempt, PutError::TimedOut(())),
            }
        }
    }

    /// There is no room. True: try again, a dead one was in the way.
    #[cold]
    fn look_for_dead_subscribers(&self, is_held_up: bool) -> Result<bool, PutError<()>> {
        let unprovable = |Unprovable| PutError::RecoveryUnavailable(());
        let before = self.last_look.get();
        if self.look_if_due(is_held_up).map_err(unprovable)? {
            return Ok(true);
        }
        if self.last_look.get() == before {
            return Ok(false);
        }
        // Whoever looks after a dead one may be stopped, and have its keep byte.
        let (segment, own) = self.place_in_segment();
        let proof = segment.proof(own).ok_or(Unprovable).map_err(unprovable)?;
        Ok(self.ring.leave_out_the_dead(&self.cursors.cast_put, |index| proof.is_alive(index)))
    }

    pub(in crate::queue) fn cast_many<M: Message>(
        &self,
        values: &[M::In<'_>],
        wait: Wait,
    ) -> Result<usize, PutManyError> {
        let fail = |put: u64, cause| PutManyError { put: put as usize, cause };
        if !M::FIXED_LEN
            && let Some(long) = values.iter().map(M::len).find(|len| *len > self.longest_cast())
        {
            return Err(fail(0, PutError::TooLarge { value: (), len: long, max: self.longest_cast() }));
        }
        M::touch_all(values);
        self.ready_to_cast().map_err(|refusal| fail(0, refusal.into_put()))?;
        let total = values.len() as u64;
        let mut done = 0;
        let ended = self.cast_or_wait(wait, |exact| {
            let rest = values.get(done as usize..).unwrap_or_default();
            let (put, how) = self.ring.try_cast_run(&self.cursors.cast_put, rest.len() as u64, exact, |offset| {
                // SAFETY: the ring asks for offsets below the count it was given.
                Encoded::<M>(unsafe { rest.get_unchecked(offset as usize) })
            });
            done += put;
            if put > 0 {
                self.after_casts();
            }
            if how == Put::Done { Ok(done == total) } else { self.cast_refused(how).map_or(Ok(false), Err) }
        });
        match ended {
            Ok(()) => Ok(values.len()),
            Err(PutError::Full(())) => Ok(done as usize),
            Err(cause) => Err(fail(done, cause)),
        }
    }
}

/// Getting.
impl Port {
    #[inline(always)]
    pub(in crate::queue) fn hear<M: Message>(&self, wait: Wait) -> Result<M::Out, GetError> {
        let mut room = RoomFor::<M>(M::room(self.payload));
        self.hear_into(&mut room, wait)?;
        M::decode(room.0).ok_or_else(GetError::of_decoding)
    }

    #[inline(always)]
    pub(in crate::queue) fn hear_into<K: Sink>(&self, room: &mut K, wait: Wait) -> Result<(), GetError> {
        match self.ring.hear_fast(&self.cursors.cast_get, room) {
            Heard::Item => {
                self.after_hearing();
                Ok(())
            }
            Heard::Lagged => self.lagged(),
            _ => self.hear_slow(room, wait),
        }
    }

    /// The hot path has copied what was being overwritten.
    #[cold]
    fn lagged(&self) -> Result<(), GetError> {
        let how = self.ring.fall_behind(&self.cursors.cast_get);
        self.not_heard(how).and(Err(GetError::Lagged))
    }

    #[inline(always)]
    fn after_hearing(&self) {
        if self.for_consumers.wanted(self.ring.fences) {
            self.wake_casters();
        }
    }

    /// A producer that sleeps may wait for this very subscriber.
    #[cold]
    #[inline(never)]
    fn wake_casters(&self) {
        self.ring.catch_up_cursor(&self.cursors.cast_get);
        self.wake(self.for_consumers, i32::MAX as u32);
    }

    fn ready_to_hear(&self) -> Result<(), GetError> {
        self.usable().map_err(Refusal::into_get)?;
        if self.cursors.cast_get.tells_gap() {
            return Err(GetError::Lagged);
        }
        if self.cursors.cast_get.is_ready() { Ok(()) } else { Err(GetError::Forked) }
    }

    /// One attempt. False: nothing is there.
    fn try_hear<K: Sink>(&self, room: &mut K) -> Result<bool, GetError> {
        let cursor = &self.cursors.cast_get;
        let before = cursor.position();
        match self.ring.try_hear(cursor, room) {
            Heard::Item => {
                self.after_hearing();
                Ok(true)
            }
            how => {
                // Tombstones were passed, or a gap: that makes room, too.
                if cursor.position() != before {
                    self.after_hearing();
                }
                self.not_heard(how)?;
                // M8: seen closed, then the barrier, then the tail.
                if self.for_consumers.is_closed() {
                    self.closing_barrier();
                    if self.ring.has_heard_all(&self.cursors.cast_get) {
                        return Err(GetError::Closed);
                    }
                }
                Ok(false)
            }
        }
    }

    fn not_heard(&self, how: Heard) -> Result<(), GetError> {
        match how {
            Heard::Lagged => Err(GetError::Lagged),
            how if how == Heard::Damaged || self.is_torn() => {
                self.poison();
                Err(GetError::Corrupt)
            }
            how => {
                self.blocked.set(how == Heard::Unfinished);
                Ok(())
            }
        }
    }

    #[inline(never)]
    fn hear_slow<K: Sink>(&self, room: &mut K, wait: Wait) -> Result<(), GetError> {
        self.ready_to_hear()?;
        let cursor = &self.cursors.cast_get;
        let policy = self.policy.get();
        // One that will spin looks at the slot before it makes a full attempt: an attempt that
        // finds nothing asks the producers' line why.
        if (wait == Wait::No || !policy.spins() || self.ring.may_hear(cursor)) && self.try_hear(room)? {
            return Ok(());
        }
        let Wait::Until(deadline) = wait else { return self.last_hear(room, GetError::Empty) };
        self.ring.catch_up_cursor(cursor);
        if policy.spins() && deadline.is_far() {
            self.ring.let_casters_ahead(&self.cursors.get_pace, cursor);
        }
        let mut spinner = Spinner::new(policy, &self.patience);
        loop {
            // Spin on the slot alone; the producers' line is read once the budget has ended.
            let spun_out = loop {
                if self.ring.may_hear(cursor) {
                    break false;
                }
                if !spinner.turn() {
                    break true;
                }
                // Before the question whether it is closed: the last messages of a closed one may
                // wait for a dead one's claim, and who only spins has no other slices.
                if spinner.slice_due() && self.look_before_silence(false)? {
                    break false;
                }
                if spinner.deadline_due() {
                    if deadline.passed() {
                        return self.timed_out_hearing(room);
                    }
                    if self.for_consumers.is_closed() {
                        break false;
                    }
                }
            };
            if self.try_hear(room)? {
                spinner.succeeded();
                return Ok(());
            }
            if !spun_out && spinner.turn() {
                if spinner.deadline_due() && deadline.passed() {
                    return self.timed_out_hearing(room);
                }
                continue;
            }
            let departed = self.for_consumers.departed();
            if self.look_before_silence(false)? {
                continue;
            }
            self.sleeping();
            let ready = || {
                self.ring.may_hear(cursor)
                    || self.for_consumers.is_closed() && !self.close_seen.get()
                    || self.for_consumers.departed() != departed
            };
            let parked = park(self.for_producers, self.ring.fences, deadline, ready);
            self.awake();
            match parked {
                Parked::TryAgain => spinner.reset(),
                Parked::SliceEnded => {}
                Parked::TimedOut => return self.timed_out_hearing(room),
            }
        }
    }

    /// The deadline has passed: the ring has the last word, not the clock.
    #[cold]
    fn timed_out_hearing<K: Sink>(&self, room: &mut K) -> Result<(), GetError> {
        if self.try_hear(room)? { Ok(()) } else { self.last_hear(room, GetError::TimedOut) }
    }

    /// A get that does not wait, or no longer, has found nothing: it looks for the dead, at
    /// times, and tries once more.
    #[cold]
    fn last_hear<K: Sink>(&self, room: &mut K, nothing: GetError) -> Result<(), GetError> {
        if self.blocked.get() {
            for _ in 0..UNFINISHED_TURNS {
                if self.ring.may_hear(&self.cursors.cast_get) {
                    break;
                }
                spin_hint();
            }
        }
        if (self.look_before_silence(self.blocked.get())? || self.blocked.get()) && self.try_hear(room)? {
            return Ok(());
        }
        Err(nothing)
    }

    /// There was nothing, and this get waits, or is about to say so. True: try again.
    fn look_before_silence(&self, is_blocked: bool) -> Result<bool, GetError> {
        // A closed one says so itself, once all is heard.
        if self.producers_are_gone() && !self.ring.is_closed() {
            // Whatever they have left is finished first, then taken, before this is said.
            let looked = self.look(false);
            let all_heard = self.ring.has_heard_all(&self.cursors.cast_get);
            if looked.is_ok_and(|rescue| rescue.left == 0) && all_heard {
                return Err(GetError::PeersGone);
            }
            return Ok(self.ring.may_hear(&self.cursors.cast_get));
        }
        match self.look_if_due(is_blocked) {
            Ok(changed) => Ok(changed),
            Err(Unprovable) if self.blocked.get() => Err(GetError::RecoveryUnavailable),
            Err(Unprovable) => Ok(false),
        }
    }

    /// What is there, up to `max`; waits for the first only.
    pub(in crate::queue) fn hear_many<M: Message>(
        &self,
        out: &mut Vec<M::Out>,
        max: usize,
        wait: Wait,
    ) -> Result<usize, GetError> {
        self.ready_to_hear()?;
        if self.undecodable.get() > 0 {
            self.undecodable.set(self.undecodable.get() - 1);
            return Err(GetError::Undecodable);
        }
        let before = out.len();
        while out.len() - before < max {
            let taken = out.len() - before;
            match self.hear::<M>(if taken == 0 { wait } else { Wait::No }) {
                Ok(value) => out.push(value),
                Err(error) if taken == 0 => return Err(error),
                Err(error) if error.costs_one_message() => self.undecodable.set(self.undecodable.get() + 1),
                // It would not be said again.
                Err(GetError::Lagged) => {
                    self.cursors.cast_get.leave_gap_untold();
                    break;
                }
                // It will be said again.
                Err(_) => break,
            }
        }
        Ok(out.len() - before)
    }

    /// Subscribes: from the next message on, or from the oldest that is held.
    pub(in crate::queue) fn subscribe(&self, oldest: bool) {
        self.ring.join(&self.cursors.cast_get, oldest);
    }

    /// Leaves the roll; producers may have waited for this one.
    pub(in crate::queue) fn unsubscribe(&self) {
        if matches!(self.usable(), Err(Refusal::Forked)) {
            return;
        }
        self.ring.leave(&self.cursors.cast_get);
        if self.for_consumers.wanted(Fences::Symmetric) {
            self.wake(self.for_consumers, i32::MAX as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{Bytes, Options};

    #[test]
    fn a_header_that_promises_more_than_a_slot_admits_no_more() {
        let options = Options::new(4).inline(56).for_broadcast();
        let mut port = Port::create::<Bytes>(None, &options).expect("memory");
        assert_eq!(port.cast::<Bytes>(&&[7; 56][..], Wait::No), Ok(()));
        port.max_message = 1 << 20;
        let too_large = |len| Err(PutError::TooLarge { value: (), len, max: 56 });
        assert_eq!(port.cast::<Bytes>(&&[7; 57][..], Wait::No), too_large(57));
        let many = port.cast_many::<Bytes>(&[&[7; 56], &[7; 100_000]], Wait::No);
        assert_eq!(many.map_err(|error| error.cause), too_large(100_000).map(|()| 0));
    }
}
