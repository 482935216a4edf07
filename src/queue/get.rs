//! Getting, for every kind of message: the hot path, waiting, and the end of a
//! closed queue.

use super::error::GetError;
use super::message::{BatchFor, InPlace, Message, Plain, Pod, RoomFor};
use super::port::{Port, Refusal, Wait};
use super::rescue::Unprovable;
use crate::primitive::{Fences, heavy_barrier, spin_hint};
use crate::ring::{Damaged, Get, Side, Sink};
use crate::wait::{Parked, Spinner, WaitPolicy, park};
use std::time::Duration;

/// Once per handle, and only where membarrier is refused.
const BLIND_PAUSE: Duration = Duration::from_millis(1);

/// How long a get that may not wait gives a producer that is just publishing: some
/// hundred nanoseconds.
const UNFINISHED_TURNS: u32 = 64;

/// So many in a row are no death's, but somebody's who scribbles: time to look at the
/// deadline.
pub(super) const MOST_HUSKS: u32 = 256;

/// Room for this many plain messages is reserved without asking how many there are.
const CHEAP_BATCH: usize = 1024;

impl Port {
    #[inline(always)]
    pub(super) fn get<M: Message>(&self, wait: Wait) -> Result<M::Out, GetError> {
        let mut room = RoomFor::<M>(M::room(self.payload));
        if self.ring.get_fast(&self.cursors.get, &mut room) {
            self.after_get(1, Fences::Asymmetric);
            if !room.is_husk() {
                return self.unpack::<M>(room);
            }
        }
        // Moved, so that on the fast path the room need not lie in memory.
        let mut room = room;
        self.get_slow(&mut room, wait)?;
        self.unpack::<M>(room)
    }

    /// Makes a message of what the ring gave.
    #[inline(always)]
    fn unpack<M: Message>(&self, mut room: RoomFor<M>) -> Result<M::Out, GetError> {
        self.fetch::<M>(&mut room.0);
        M::decode(room.0).ok_or_else(|| self.undecodable_task())
    }

    /// Gets a message out of its block, if it lies in one.
    #[inline(always)]
    pub(super) fn fetch<M: Message>(&self, room: &mut M::Room) {
        if M::fetch(room, &self.ring.arena) {
            self.block_freed();
        }
    }

    /// Straight into the caller's value, where every bit pattern is one.
    #[inline(always)]
    pub(super) fn get_into<T: Plain>(&self, out: &mut T, wait: Wait) -> Result<(), GetError> {
        if let Some(mut in_place) = InPlace::new(out) {
            return self.get_into_room(&mut in_place, wait);
        }
        *out = self.get::<Pod<T>>(wait)?;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn get_into_room<K: Sink>(&self, room: &mut K, wait: Wait) -> Result<(), GetError> {
        if self.ring.get_fast(&self.cursors.get, room) {
            self.after_get(1, Fences::Asymmetric);
            if !room.is_husk() {
                return Ok(());
            }
        }
        self.get_slow(room, wait)
    }

    #[inline(always)]
    pub(super) fn after_get(&self, count: u64, fences: Fences) {
        if self.for_consumers.stirred(fences) {
            self.stirred_get(count);
        }
    }

    #[cold]
    #[inline(never)]
    fn stirred_get(&self, count: u64) {
        // A Single consumer's hot path asks for redeliveries here.
        if self.ring.consumers == Side::Single && self.for_consumers.alerted().is_some() {
            self.cursors.get.stop_fast_path();
        }
        if self.for_consumers.wanted(self.ring.fences) {
            self.wake_producers(u32::try_from(count).unwrap_or(u32::MAX));
        }
        // While the queue is closed, every commit may be the one that other consumers
        // wait for: they sleep where producers would wake them.
        if self.ring.consumers == Side::Multi
            && self.for_consumers.is_closed()
            && self.for_producers.wanted(self.ring.fences)
        {
            self.for_producers.wake_all();
        }
    }

    fn attempt<K: Sink>(&self, max: u64, sink: &mut K) -> Result<(u64, Get), GetError> {
        let attempted = self.attempt_once(max, sink);
        self.shrink();
        attempted
    }

    /// One attempt. A queue that is seen closed is asked first where it ends.
    fn attempt_once<K: Sink>(&self, max: u64, sink: &mut K) -> Result<(u64, Get), GetError> {
        if let Some(seen) = self.for_consumers.alerted() {
            let taken = self.ring.take_back(&self.cursors.get, max, sink);
            if taken > 0 {
                return Ok((taken, Get::Item));
            }
            self.nothing_came_back(seen);
        }
        if self.ring.is_closing_unawares(&self.cursors.get) && self.has_ended()? {
            return Err(GetError::Closed);
        }
        let (taken, why) = self.ring.try_get_run(&self.cursors.get, max, sink);
        if taken > 0 || why != Get::Closing {
            return Ok((taken, why));
        }
        if self.has_ended()? {
            return Err(GetError::Closed);
        }
        Ok(self.ring.try_get_run(&self.cursors.get, max, sink))
    }

    /// The alert that was `seen` has been looked into.
    #[cold]
    pub(super) fn nothing_came_back(&self, seen: u32) {
        self.for_consumers.all_clear(seen);
        if self.cursors.get.is_off_the_fast_path() && !self.tasks.are_counted() {
            self.ring.resume_fast_path(&self.cursors.get);
        }
    }

    /// R8: a producer that sleeps reads `head` first, so bring it up to date.
    #[cold]
    fn wake_producers(&self, count: u32) {
        self.ring.catch_up_head(&self.cursors.get);
        self.wake(self.for_consumers, count);
    }

    #[inline(never)]
    fn get_slow<K: Sink>(&self, room: &mut K, wait: Wait) -> Result<(), GetError> {
        self.ready_to_get().map_err(Refusal::into_get)?;
        if self.tasks.are_counted() {
            return self.get_task(room, wait);
        }
        // A message that is there already was only fought over.
        let spins = wait != Wait::No && self.policy.get().spins() && !self.ring.may_get(&self.cursors.get);
        if spins {
            self.ran_dry(wait);
            // The message that comes is nearly always simply there, and soon: between
            // its arrival and the caller's answer there is nothing but taking it.
            for turn in 0..self.patience.turns() {
                if self.ring.get_fast(&self.cursors.get, room) {
                    self.patience.spin_paid(turn);
                    self.after_get(1, self.ring.fences);
                    if !room.is_husk() {
                        return Ok(());
                    }
                }
                spin_hint();
            }
        }
        self.wait_to_get(wait, spins, || {
            // A husk is nothing, and there may be a message behind it.
            for _ in 0..MOST_HUSKS {
                match self.attempt(1, room)? {
                    (0, why) => return self.nothing(why),
                    _ => self.after_get(1, self.ring.fences),
                }
                if !room.is_husk() {
                    return Ok(Some(()));
                }
            }
            Ok(None)
        })
    }

    /// A get has to wait: what comes next is no stream, or has to get ahead first.
    pub(super) fn ran_dry(&self, wait: Wait) {
        self.ring.ran_dry(&self.cursors.get);
        if matches!(wait, Wait::Until(deadline) if deadline.is_far()) {
            self.ring.let_producers_ahead(&self.cursors.get_pace, &self.cursors.get);
        }
    }

    pub(super) fn get_many<M: Message>(
        &self,
        out: &mut Vec<M::Out>,
        max: usize,
        wait: Wait,
    ) -> Result<usize, GetError> {
        self.ready_to_get().map_err(Refusal::into_get)?;
        if self.undecodable.get() > 0 {
            self.undecodable.set(self.undecodable.get() - 1);
            return Err(GetError::Undecodable);
        }
        if max == 0 {
            return Ok(0);
        }
        if self.tasks.are_counted() {
            return self.get_many_tasks::<M>(out, max, wait);
        }
        self.wait_to_get(wait, false, || {
            // Room is made before the claim. Where it costs, only for what is there;
            // asking how much that is reads the producers' line.
            let cheap = M::FIXED_LEN && max <= CHEAP_BATCH;
            let count = if cheap { max } else { max.min(self.ring.depth().max(1) as usize) };
            let count = count.min(self.ring.capacity() as usize);
            let mut batch = BatchFor::<M>(M::batch(out, count, self.payload));
            let (taken, how) = self.attempt(count as u64, &mut batch)?;
            if taken == 0 {
                return self.nothing(how);
            }
            self.after_get(taken, self.ring.fences);
            for at in 0..taken as usize {
                if let Some(room) = M::room_of(&mut batch.0, at) {
                    self.fetch::<M>(room);
                }
            }
            let before = out.len();
            // SAFETY: the ring has filled so many, from the first on.
            #[allow(unsafe_code)]
            let bad = unsafe { M::finish_batch(batch.0, taken as usize, out) };
            self.undecodable.set(bad);
            // Of husks alone there is nothing to say.
            let good = out.len() - before;
            Ok((good + bad > 0).then_some(good))
        })
        .and_then(|good| if good > 0 { Ok(good) } else { self.report_undecodable() })
    }

    fn report_undecodable(&self) -> Result<usize, GetError> {
        self.undecodable.set(self.undecodable.get().saturating_sub(1));
        Err(GetError::Undecodable)
    }

    /// S4 of a get that has found nothing, after it saw `departed`.
    pub(super) fn may_get(&self, departed: u32) -> bool {
        self.ring.may_get(&self.cursors.get)
            || self.for_consumers.is_closed() && !self.close_seen.get()
            || self.for_consumers.departed() != departed
            || self.for_consumers.alerted().is_some()
    }

    /// What a get that found nothing means: None is "wait".
    #[inline(never)]
    pub(super) fn nothing<R>(&self, how: Get) -> Result<Option<R>, GetError> {
        match how {
            how if how == Get::Damaged || self.is_torn() => {
                self.poison();
                Err(GetError::Corrupt)
            }
            _ if self.for_consumers.is_closed() && self.has_ended()? => Err(GetError::Closed),
            _ => {
                self.blocked.set(how == Get::Unfinished);
                Ok(None)
            }
        }
    }

    /// There was nothing, and this get waits, or is about to say so. True: try again.
    pub(super) fn look_before_nothing(&self, is_blocked: bool) -> Result<bool, GetError> {
        // A closed queue says so itself, once it has ended.
        if self.producers_are_gone() && !self.ring.is_closed() {
            // Whatever they have left is finished first, then taken, before this is said.
            let looked = self.look(false);
            if looked.is_ok_and(|rescue| rescue.left == 0) && self.ring.is_at_rest() {
                return Err(GetError::PeersGone);
            }
            return Ok(self.ring.may_get(&self.cursors.get));
        }
        match self.look_if_due(is_blocked) {
            Ok(changed) => Ok(changed),
            Err(Unprovable) if self.blocked.get() => Err(GetError::RecoveryUnavailable),
            Err(Unprovable) => Ok(false),
        }
    }

    /// A get that does not wait, or no longer, has found nothing: it looks for the dead,
    /// at times, and tries once more.
    #[cold]
    fn last_get<R>(
        &self,
        mut attempt: impl FnMut() -> Result<Option<R>, GetError>,
        nothing: GetError,
    ) -> Result<R, GetError> {
        if self.blocked.get() {
            for _ in 0..UNFINISHED_TURNS {
                if self.ring.may_get(&self.cursors.get) {
                    break;
                }
                spin_hint();
            }
        }
        if (self.look_before_nothing(self.blocked.get())? || self.blocked.get())
            && let Some(found) = attempt()?
        {
            return Ok(found);
        }
        Err(nothing)
    }

    /// The deadline has passed: the queue has the last word, not the clock.
    #[cold]
    fn timed_out<R>(&self, mut attempt: impl FnMut() -> Result<Option<R>, GetError>) -> Result<R, GetError> {
        match attempt()? {
            Some(found) => Ok(found),
            None => self.last_get(attempt, GetError::TimedOut),
        }
    }

    pub(super) fn has_ended(&self) -> Result<bool, GetError> {
        self.is_finished().map_err(|Damaged| {
            self.poison();
            GetError::Corrupt
        })
    }

    /// R10, S3. The queue was seen closed: tells everybody, then makes the barrier,
    /// once. Every put that was under way has then shown what it did, or will see
    /// the flag.
    #[cold]
    pub(super) fn closing_barrier(&self) {
        if self.close_seen.replace(true) {
            return;
        }
        self.set_closed_flags();
        if !heavy_barrier(self.ring.fences) {
            // The producers' processors cannot be reached (membarrier is refused
            // here, and was not when they attached). What a store buffer holds is
            // visible long before this.
            std::thread::sleep(BLIND_PAUSE);
        }
    }

    /// Whether a queue that was seen closed has nothing left.
    #[cold]
    pub(super) fn is_finished(&self) -> Result<bool, Damaged> {
        self.closing_barrier();
        if self.cursors.get.is_started() { self.ring.is_drained(&self.cursors.get) } else { self.ring.is_exhausted() }
    }

    /// Spins, unless the caller has, then sleeps, until `attempt` has something.
    #[inline(always)]
    pub(super) fn wait_to_get<R>(
        &self,
        wait: Wait,
        has_spun: bool,
        mut attempt: impl FnMut() -> Result<Option<R>, GetError>,
    ) -> Result<R, GetError> {
        let policy = self.policy.get();
        // A blocking get looks at the slot before it makes a full attempt: an
        // attempt that finds nothing asks the producers' line why.
        if (wait == Wait::No || policy == WaitPolicy::Park || self.ring.may_get(&self.cursors.get))
            && let Some(found) = attempt()?
        {
            return Ok(found);
        }
        let Wait::Until(deadline) = wait else { return self.last_get(attempt, GetError::Empty) };
        // R5: the hot path may have announced what somebody else then claimed, and a wait that
        // only spins on the slot would leave that standing.
        self.ring.rest_get(&self.cursors.get);
        let mut spinner = Spinner::new(policy, &self.patience);
        if has_spun {
            spinner.has_spun();
        } else if policy.spins() {
            self.ran_dry(wait);
        }
        let mut slept = false;
        loop {
            // Spin on the slot alone; the producers' line is read once the
            // budget has ended.
            let spun_out = loop {
                if self.ring.may_get(&self.cursors.get) {
                    break false;
                }
                if !spinner.turn() {
                    break true;
                }
                if spinner.deadline_due() && deadline.passed() {
                    return self.timed_out(attempt);
                }
                // Who never sleeps has slices all the same, also on a closed queue: what a dead
                // one has claimed there would hold up its end for ever.
                if spinner.slice_due() && (self.look_before_nothing(false)? || self.for_consumers.alerted().is_some()) {
                    break false;
                }
                if spinner.deadline_due() && self.for_consumers.is_closed() {
                    break false;
                }
            };
            if let Some(found) = attempt()? {
                spinner.succeeded();
                if slept && self.ring.may_get(&self.cursors.get) && self.for_producers.wanted(self.ring.fences) {
                    self.wake(self.for_producers, 1);
                }
                return Ok(found);
            }
            if !spun_out && spinner.turn() {
                // A position that always looks as if something were there.
                if spinner.deadline_due() && deadline.passed() {
                    return self.timed_out(attempt);
                }
                continue;
            }
            self.ring.rest_get(&self.cursors.get);
            let departed = self.for_consumers.departed();
            if self.look_before_nothing(false)? {
                continue;
            }
            self.sleeping();
            let parked = park(self.for_producers, self.ring.fences, deadline, || self.may_get(departed));
            self.awake();
            match parked {
                // Somebody woke us: more may come soon.
                Parked::TryAgain => spinner.reset(),
                Parked::SliceEnded => {}
                Parked::TimedOut => return self.timed_out(attempt),
            }
            slept = true;
        }
    }
}
