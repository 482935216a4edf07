//! One participant's access to one queue: what every handle and end is made of.
//!
//! The hot path is `put` and `get` here: the ring's fast path, then one look at
//! the other side's attention line. Everything else is in `*_slow`.

use super::error::{GetError, PutError, PutManyError};
use super::message::{BatchFor, Encoded, Message, RoomFor};
use super::options::{Options, regions, stride};
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::{Fences, Line, Ordering, SlotMemory, heavy_barrier};
use crate::ring::{Control, Get, GetCursor, PARTICIPANT_SIZE, Pace, Participant, Put, PutCursor, Ring, Side};
use crate::segment::{Member, Place, Plan, RegionKind, Role, Segment};
use crate::sys::mem::Wiped;
use crate::wait::{Attention, Deadline, Parked, Patience, Spinner, WaitPolicy, park};
use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

/// Once per handle, and only where membarrier is refused.
const BLIND_PAUSE: Duration = Duration::from_millis(1);

/// Whether an operation may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// `try_`: never.
    No,
    /// Until then.
    Until(Deadline),
}

/// What a forked child finds wiped.
#[repr(C, align(128))]
struct Cursors {
    put: Line<PutCursor>,
    get: Line<GetCursor>,
    pace: Pace,
    /// 1 in the process that attached.
    alive: Cell<u64>,
}

// SAFETY: all fields are valid as zeros.
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for Cursors {}

/// Why an operation cannot even be tried.
enum Refusal {
    Forked,
    Corrupt,
    Closed,
    SideTaken(Option<u32>),
    System(i32),
}

/// One participant of one queue.
pub(super) struct Port {
    // `ring` and the attention lines point into the segment that `member` owns
    // a share of; they are private and do not outlive it.
    ring: Ring<'static>,
    for_producers: &'static Attention,
    for_consumers: &'static Attention,
    cursors: Wiped<Cursors>,
    payload: usize,
    max_message: usize,
    policy: Cell<WaitPolicy>,
    patience: Patience,
    poisoned: Cell<bool>,
    /// The queue was seen closed, and the heavy barrier made since.
    close_seen: Cell<bool>,
    /// Messages of a batch that could not be decoded and are yet to be reported.
    undecodable: Cell<usize>,
    member: RefCell<Member>,
}

impl Port {
    /// Creates the segment of a queue and its first participant.
    pub(super) fn create<M: Message>(place: Option<&Place>, options: &Options) -> Result<Port, SetupError> {
        let plan = options.plan::<M>()?;
        let member = Segment::create(place, plan.clone(), &regions(&plan), options.prefault_bytes(), |segment| {
            if let Ok(view) = View::of(segment) {
                view.initialise();
            }
        })?;
        Port::attach(member, options.policy())
    }

    /// Opens a named queue. None: there is no such name.
    pub(super) fn open<M: Message>(place: &Place, options: &Options) -> Result<Option<Port>, SetupError> {
        // Registration comes before the first operation.
        let _ = Fences::of_this_process();
        let opened = Segment::open(place, options.prefault_bytes(), |plan| options.check::<M>(plan))?;
        let Some(member) = opened else { return Ok(None) };
        let port = Port::attach(member, options.policy())?;
        if port.ring.is_closed() && port.is_finished() {
            return Err(SetupError::new(SetupErrorKind::Closed));
        }
        Ok(Some(port))
    }

    /// Another participant of the same queue.
    pub(super) fn another(&self) -> Result<Port, SetupError> {
        if self.cursors.alive.get() == 0 {
            return Err(SetupError::new(SetupErrorKind::Forked));
        }
        let segment = Arc::clone(self.member.borrow().segment());
        Port::attach(segment.join()?, self.policy.get())
    }

    fn attach(member: Member, policy: WaitPolicy) -> Result<Port, SetupError> {
        let segment = Arc::clone(member.segment());
        let plan = &segment.header().plan;
        let view = View::of(&segment)?;
        let me = view.participant(member.index());
        me.clear_intents();
        me.who.pid.store(u64::from(std::process::id()), Ordering::Relaxed);
        let side = |single| if single { Side::Single } else { Side::Multi };
        let fences = if plan.symmetric_fences { Fences::Symmetric } else { Fences::of_this_process() };
        let (read_ahead, write_ahead) = Ring::prefetch_distances(view.slots);
        let cursors =
            Wiped::<Cursors>::zeroed().map_err(|e| SetupError::system("mapping a handle's private page", e))?;
        cursors.alive.set(1);
        Ok(Port {
            ring: Ring {
                control: view.control,
                me,
                closed: &view.for_producers.closed,
                slots: view.slots,
                producers: side(plan.single_producer),
                consumers: side(plan.single_consumer),
                fences,
                read_ahead,
                write_ahead,
            },
            for_producers: view.for_producers,
            for_consumers: view.for_consumers,
            cursors,
            payload: plan.inline_size as usize,
            max_message: plan.max_message as usize,
            policy: Cell::new(policy),
            patience: Patience::new(),
            poisoned: Cell::new(false),
            close_seen: Cell::new(false),
            undecodable: Cell::new(0),
            member: RefCell::new(member),
        })
    }

    // ---- ends ----

    /// Takes the producers' side now, as an end does, instead of at the first put.
    pub(super) fn become_producer(&self) -> Result<(), SetupError> {
        self.ready_to_put().map_err(Refusal::into_setup)
    }

    /// Takes the consumers' side now.
    pub(super) fn become_consumer(&self) -> Result<(), SetupError> {
        self.ready_to_get().map_err(Refusal::into_setup)
    }

    /// Gives the consumers' side back, if this port took it.
    pub(super) fn stop_consuming(&mut self) {
        let member = self.member.get_mut();
        if self.cursors.alive.get() != 0 && self.cursors.get.is_started() {
            self.ring.catch_up_head(&self.cursors.get);
            self.cursors.get.stop();
            if member.holds(Role::Consumer) {
                self.ring.control.holders[Role::Consumer as usize].store(0, Ordering::Relaxed);
                member.release_role(Role::Consumer);
            }
        }
    }

    #[inline]
    fn ready_to_put(&self) -> Result<(), Refusal> {
        self.usable()?;
        if self.cursors.put.is_started() {
            return Ok(());
        }
        if self.ring.is_closed() {
            return Err(Refusal::Closed);
        }
        self.take_side(Role::Producer, self.ring.producers)?;
        self.ring.start_put(&self.cursors.put);
        Ok(())
    }

    #[inline]
    fn ready_to_get(&self) -> Result<(), Refusal> {
        self.usable()?;
        if self.cursors.get.is_started() {
            return Ok(());
        }
        self.take_side(Role::Consumer, self.ring.consumers)?;
        self.ring.start_get(&self.cursors.get);
        Ok(())
    }

    #[inline]
    fn usable(&self) -> Result<(), Refusal> {
        if self.cursors.alive.get() == 0 {
            Err(Refusal::Forked)
        } else if self.poisoned.get() {
            Err(Refusal::Corrupt)
        } else {
            Ok(())
        }
    }

    #[cold]
    fn take_side(&self, role: Role, side: Side) -> Result<(), Refusal> {
        let mut member = self.member.borrow_mut();
        let bit = 1 << role as u64;
        let roles = &self.ring.me.who.roles;
        roles.store(roles.load(Ordering::Relaxed) | bit, Ordering::Relaxed);
        if side == Side::Multi {
            return Ok(());
        }
        let holder = &self.ring.control.holders[role as usize];
        match member.take_role(role) {
            Ok(true) => {
                holder.store(u64::from(std::process::id()), Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => {
                let pid = u32::try_from(holder.load(Ordering::Relaxed)).ok();
                Err(Refusal::SideTaken(pid.filter(|pid| *pid != 0)))
            }
            Err(error) => Err(Refusal::System(error.errno())),
        }
    }

    #[cold]
    fn poison(&self) {
        self.poisoned.set(true);
        self.cursors.put.stop_fast_path();
        self.cursors.get.stop_fast_path();
        crate::event!("the shared memory of a queue contradicts itself: this handle gives up");
    }

    // ---- put ----

    #[inline(always)]
    pub(super) fn put<M: Message>(&self, value: M::In<'_>, wait: Wait) -> Result<(), PutError<M::Back>> {
        if !M::FIXED_LEN && M::len(&value) > self.max_message {
            return Err(self.too_large::<M>(value));
        }
        M::touch(&value);
        if self.ring.put_fast(&self.cursors.put, &Encoded::<M>(&value)) {
            if self.for_producers.wanted(Fences::Asymmetric) {
                self.for_producers.wake(1);
            }
            return Ok(());
        }
        self.put_slow::<M>(&value, wait).map_err(|refused| refused.map(|()| M::give_back(value)))
    }

    #[cold]
    fn too_large<M: Message>(&self, value: M::In<'_>) -> PutError<M::Back> {
        let len = M::len(&value);
        PutError::TooLarge { value: M::give_back(value), len, max: self.max_message }
    }

    #[inline(never)]
    fn put_slow<M: Message>(&self, value: &M::In<'_>, wait: Wait) -> Result<(), PutError<()>> {
        self.ready_to_put().map_err(Refusal::into_put)?;
        let source = Encoded::<M>(value);
        match self.ring.try_put(&self.cursors.put, &source, wait == Wait::No) {
            Put::Done => {
                self.after_put(1);
                Ok(())
            }
            Put::Full => {
                let Wait::Until(deadline) = wait else { return Err(PutError::Full(())) };
                self.wait_to_put(deadline, || match self.ring.try_put(&self.cursors.put, &source, false) {
                    Put::Done => {
                        self.after_put(1);
                        Ok(true)
                    }
                    how => self.refused(how).map_or(Ok(false), Err),
                })
            }
            how => self.refused(how).map_or(Ok(()), Err),
        }
    }

    /// What a put that was not done means, unless it means waiting.
    fn refused(&self, how: Put) -> Option<PutError<()>> {
        match how {
            Put::Done | Put::Full => None,
            Put::Closed => {
                // A claim that was refused is a tombstone now: news for a consumer.
                self.after_put(1);
                Some(PutError::Closed(()))
            }
            Put::Damaged => {
                self.poison();
                Some(PutError::Corrupt(()))
            }
        }
    }

    #[inline(always)]
    fn after_put(&self, count: u32) {
        if self.for_producers.wanted(self.ring.fences) {
            self.for_producers.wake(count);
        }
    }

    /// Spins, then sleeps, until `attempt` says that it is done.
    #[inline(never)]
    fn wait_to_put(
        &self,
        deadline: Deadline,
        mut attempt: impl FnMut() -> Result<bool, PutError<()>>,
    ) -> Result<(), PutError<()>> {
        let mut spinner = Spinner::new(self.policy.get(), &self.patience);
        let mut slept = false;
        loop {
            if attempt()? {
                spinner.succeeded();
                // Others may sleep on the same word, and only one was woken.
                if slept && self.ring.may_put(&self.cursors.put) && self.for_consumers.wanted(self.ring.fences) {
                    self.for_consumers.wake(1);
                }
                return Ok(());
            }
            if spinner.turn() {
                if spinner.deadline_due() && deadline.passed() {
                    return Err(PutError::TimedOut(()));
                }
                continue;
            }
            self.ring.rest_put(&self.cursors.put);
            self.sleeping();
            match park(self.for_consumers, self.ring.fences, deadline, || self.ring.may_put(&self.cursors.put)) {
                Parked::TryAgain | Parked::SliceEnded => {}
                // The last word has the ring, not the clock.
                Parked::TimedOut => return if attempt()? { Ok(()) } else { Err(PutError::TimedOut(())) },
            }
            slept = true;
            spinner.reset();
        }
    }

    /// Counts a sleep, for those who look inside.
    fn sleeping(&self) {
        let sleeps = &self.ring.me.who.sleeps;
        sleeps.store(sleeps.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    pub(super) fn put_many<M: Message>(&self, values: &[M::In<'_>], wait: Wait) -> Result<usize, PutManyError> {
        let fail = |put: u64, cause| PutManyError { put: put as usize, cause };
        // Nothing that can be known beforehand stops a batch in its middle.
        if !M::FIXED_LEN {
            if let Some(long) = values.iter().map(M::len).find(|len| *len > self.max_message) {
                return Err(fail(0, PutError::TooLarge { value: (), len: long, max: self.max_message }));
            }
        }
        M::touch_all(values);
        self.ready_to_put().map_err(|refusal| fail(0, refusal.into_put()))?;
        let total = values.len() as u64;
        let mut done = 0;
        let mut attempt = |exact: bool| {
            let rest = values.get(done as usize..).unwrap_or_default();
            let (put, how) = self.ring.try_put_run(&self.cursors.put, rest.len() as u64, exact, |offset| {
                // SAFETY: the ring asks for offsets below the count it was given.
                #[allow(unsafe_code)]
                Encoded::<M>(unsafe { rest.get_unchecked(offset as usize) })
            });
            done += put;
            if put > 0 {
                self.after_put(put.min(u64::from(u32::MAX)) as u32);
            }
            (done, how)
        };
        let (so_far, how) = attempt(wait == Wait::No);
        match (self.refused(how), wait) {
            (Some(cause), _) => return Err(fail(so_far, cause)),
            (None, Wait::No) => return Ok(so_far as usize),
            (None, Wait::Until(deadline)) if so_far < total => {
                let mut reached = so_far;
                let ended = self.wait_to_put(deadline, || {
                    let (so_far, how) = attempt(false);
                    reached = so_far;
                    self.refused(how).map_or(Ok(so_far == total), Err)
                });
                ended.map_err(|cause| fail(reached, cause))?;
            }
            _ => {}
        }
        Ok(values.len())
    }

    // ---- get ----

    #[inline(always)]
    pub(super) fn get<M: Message>(&self, wait: Wait) -> Result<M::Out, GetError> {
        let mut room = RoomFor::<M>(M::room(self.payload));
        self.get_into_room(&mut room, wait)?;
        M::decode(room.0).ok_or(GetError::Undecodable)
    }

    #[inline(always)]
    pub(super) fn get_into_room<M: Message>(&self, room: &mut RoomFor<M>, wait: Wait) -> Result<(), GetError> {
        if !self.ring.get_fast(&self.cursors.get, room) {
            return self.get_slow(room, wait);
        }
        self.cursors.pace.took(1);
        if self.for_consumers.wanted(Fences::Asymmetric) {
            self.wake_producers(1);
        }
        if self.ring.consumers == Side::Multi && self.for_consumers.closed.load(Ordering::Relaxed) != 0 {
            self.for_producers.wake_all();
        }
        Ok(())
    }

    /// R8: a producer that sleeps reads `head` first, so bring it up to date.
    #[cold]
    fn wake_producers(&self, count: u32) {
        self.ring.catch_up_head(&self.cursors.get);
        self.for_consumers.wake(count);
    }

    #[inline(always)]
    fn after_get(&self, count: u32) {
        self.cursors.pace.took(u64::from(count));
        if self.for_consumers.wanted(self.ring.fences) {
            self.wake_producers(count);
        }
        // While closed, every commit may be the one that others wait for.
        if self.ring.consumers == Side::Multi && self.for_consumers.closed.load(Ordering::Relaxed) != 0 {
            self.for_producers.wake_all();
        }
    }

    #[inline(never)]
    fn get_slow<M: Message>(&self, room: &mut RoomFor<M>, wait: Wait) -> Result<(), GetError> {
        self.ready_to_get().map_err(Refusal::into_get)?;
        self.wait_to_get(wait, || match self.ring.try_get(&self.cursors.get, room) {
            Get::Item => {
                self.after_get(1);
                Ok(Some(()))
            }
            how => self.nothing(how),
        })
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
        self.wait_to_get(wait, || {
            // Room is made before the claim, and for what is there only.
            let count = if M::FIXED_LEN { max } else { max.min(self.ring.len().max(1) as usize) };
            let count = count.min(self.ring.capacity() as usize);
            let mut batch = BatchFor::<M>(M::batch(out, count, self.payload));
            let (taken, how) = self.ring.try_get_run(&self.cursors.get, count as u64, &mut batch);
            if taken == 0 {
                return self.nothing(how);
            }
            let bad = M::finish_batch(batch.0, out);
            self.undecodable.set(bad);
            self.after_get(taken as u32);
            Ok(Some(taken as usize - bad))
        })
        .and_then(|taken| if taken > 0 { Ok(taken) } else { self.report_undecodable() })
    }

    fn report_undecodable(&self) -> Result<usize, GetError> {
        self.undecodable.set(self.undecodable.get().saturating_sub(1));
        Err(GetError::Undecodable)
    }

    /// What a get that found nothing means: None is "wait".
    fn nothing<R>(&self, how: Get) -> Result<Option<R>, GetError> {
        match how {
            Get::Damaged => {
                self.poison();
                Err(GetError::Corrupt)
            }
            _ if self.for_consumers.closed.load(Ordering::Acquire) != 0 && self.is_finished() => Err(GetError::Closed),
            _ => Ok(None),
        }
    }

    /// R10. After the flag, the barrier: every put that was under way has either
    /// shown its claim or will see the flag.
    #[cold]
    fn is_finished(&self) -> bool {
        if !self.close_seen.replace(true) && !heavy_barrier(self.ring.fences) {
            // The producers' processors cannot be reached (membarrier is refused
            // here, and was not when they attached). What a store buffer holds is
            // visible long before this.
            std::thread::sleep(BLIND_PAUSE);
        }
        if !self.cursors.get.is_started() {
            return self.ring.is_empty() && self.ring.len() == 0;
        }
        self.ring.is_drained(&self.cursors.get)
    }

    /// Spins, then sleeps, until `attempt` has something.
    fn wait_to_get<R>(
        &self,
        wait: Wait,
        mut attempt: impl FnMut() -> Result<Option<R>, GetError>,
    ) -> Result<R, GetError> {
        let policy = self.policy.get();
        // A blocking get looks at the slot before it makes a full attempt: an
        // attempt that finds nothing asks the producers' line why.
        if wait == Wait::No || policy == WaitPolicy::Park || self.ring.may_get(&self.cursors.get) {
            if let Some(found) = attempt()? {
                return Ok(found);
            }
        }
        let Wait::Until(deadline) = wait else { return Err(GetError::Empty) };
        let mut spinner = Spinner::new(policy, &self.patience);
        if policy != WaitPolicy::Park {
            self.cursors.pace.ran_dry(self.ring.capacity());
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
                if spinner.deadline_due() {
                    if deadline.passed() {
                        return attempt()?.ok_or(GetError::TimedOut);
                    }
                    if self.for_consumers.closed.load(Ordering::Relaxed) != 0 {
                        break false;
                    }
                }
            };
            if let Some(found) = attempt()? {
                spinner.succeeded();
                if slept && self.ring.may_get(&self.cursors.get) && self.for_producers.wanted(self.ring.fences) {
                    self.for_producers.wake(1);
                }
                return Ok(found);
            }
            if !spun_out && spinner.turn() {
                continue;
            }
            self.ring.rest_get(&self.cursors.get);
            self.sleeping();
            let ready = || {
                self.ring.may_get(&self.cursors.get)
                    || self.for_consumers.closed.load(Ordering::Acquire) != 0 && !self.close_seen.get()
            };
            match park(self.for_producers, self.ring.fences, deadline, ready) {
                Parked::TryAgain => {}
                // Whoever closed may have died before it told the consumers.
                Parked::SliceEnded if self.ring.is_closed() => self.spread_close(),
                Parked::SliceEnded => {}
                Parked::TimedOut => return attempt()?.ok_or(GetError::TimedOut),
            }
            slept = true;
            spinner.reset();
        }
    }

    // ---- the rest ----

    pub(super) fn close(&self) {
        if self.usable().is_err() {
            return;
        }
        self.ring.close();
        self.spread_close();
    }

    /// Tells the consumers of the close, and wakes everybody.
    #[cold]
    fn spread_close(&self) {
        self.for_producers.closed.store(1, Ordering::Release);
        self.for_consumers.closed.store(1, Ordering::Release);
        self.for_producers.wake_all();
        self.for_consumers.wake_all();
    }

    pub(super) fn len(&self) -> usize {
        if self.usable().is_ok() { self.ring.len() as usize } else { 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.usable().is_err() || self.ring.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.usable().is_ok() && self.ring.is_full()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.usable().is_ok() && self.ring.is_closed()
    }

    pub(super) fn capacity(&self) -> usize {
        self.ring.capacity() as usize
    }

    pub(super) fn max_message(&self) -> usize {
        self.max_message
    }

    pub(super) fn payload(&self) -> usize {
        self.payload
    }

    pub(super) fn name(&self) -> Option<String> {
        self.member.borrow().segment().place().map(|place| place.name.as_str().to_owned())
    }

    pub(super) fn participants(&self) -> usize {
        self.member.borrow().segment().count_alive() as usize
    }

    pub(super) fn wait_policy(&self) -> WaitPolicy {
        self.policy.get()
    }

    pub(super) fn set_wait_policy(&self, policy: WaitPolicy) {
        self.policy.set(policy);
    }

    pub(super) fn fmt(&self, what: &str, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct(what)
            .field("name", &self.name())
            .field("capacity", &self.capacity())
            .field("producers", &self.ring.producers)
            .field("consumers", &self.ring.consumers)
            .field("len", &self.len())
            .finish()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.cursors.alive.get() == 0 {
            return;
        }
        let member = self.member.get_mut();
        if member.holds(Role::Consumer) {
            self.ring.catch_up_head(&self.cursors.get);
        }
        for role in [Role::Producer, Role::Consumer] {
            if member.holds(role) {
                self.ring.control.holders[role as usize].store(0, Ordering::Relaxed);
            }
        }
        self.ring.me.clear_intents();
        self.ring.me.who.roles.store(0, Ordering::Relaxed);
    }
}

impl Refusal {
    fn into_put(self) -> PutError<()> {
        match self {
            Refusal::Forked => PutError::Forked(()),
            Refusal::Corrupt => PutError::Corrupt(()),
            Refusal::Closed => PutError::Closed(()),
            Refusal::SideTaken(holder) => PutError::SideTaken { value: (), holder },
            Refusal::System(errno) => PutError::System { value: (), errno },
        }
    }

    fn into_get(self) -> GetError {
        match self {
            Refusal::Forked => GetError::Forked,
            Refusal::Corrupt => GetError::Corrupt,
            Refusal::Closed => GetError::Closed,
            Refusal::SideTaken(holder) => GetError::SideTaken { holder },
            Refusal::System(errno) => GetError::System { errno },
        }
    }

    fn into_setup(self) -> SetupError {
        match self {
            Refusal::Forked => SetupError::new(SetupErrorKind::Forked),
            Refusal::Corrupt => SetupError::not_a_segment("its shared memory contradicts itself"),
            Refusal::Closed => SetupError::new(SetupErrorKind::Closed),
            Refusal::SideTaken(holder) => SetupError::new(SetupErrorKind::SideTaken { holder }),
            Refusal::System(errno) => {
                SetupError::system("taking a Single side", std::io::Error::from_raw_os_error(errno))
            }
        }
    }
}

/// The regions of a segment, as references and pointers.
struct View {
    control: &'static Control,
    for_producers: &'static Attention,
    for_consumers: &'static Attention,
    participants: *const Participant,
    max_participants: u32,
    slots: SlotMemory,
    capacity: u64,
}

impl View {
    /// The lifetimes are a promise of the caller's: it keeps the segment alive
    /// for as long as it uses any of this.
    fn of(segment: &Segment) -> Result<View, SetupError> {
        let header = segment.header();
        let plan: &Plan = &header.plan;
        let damaged = || SetupError::not_a_segment("its regions do not fit its geometry");
        let sane = (1..=1 << 40).contains(&plan.capacity)
            && (1..=1024).contains(&plan.max_participants)
            && plan.inline_size <= 1 << 32
            && plan.max_message <= plan.inline_size;
        if !sane || plan.capacity.checked_mul(stride(plan.inline_size)).is_none() {
            return Err(damaged());
        }
        let start = |kind: RegionKind, len: u64| {
            let region = header.region(kind)?;
            if region.len < len { Err(damaged()) } else { Ok(segment.region_start(region)) }
        };
        let [(_, ring), (_, wait), (_, participants), (_, slots)] = regions(plan);
        let control = start(RegionKind::Ring, ring)?.cast::<Control>();
        let attention = start(RegionKind::Wait, wait)?.cast::<Line<Attention>>();
        let participants = start(RegionKind::Participants, participants)?.cast::<Participant>();
        let base = start(RegionKind::Slots, slots)?;
        let stride = stride(plan.inline_size) as usize;
        // SAFETY: `start` has checked that each region lies in the mapping and is
        // large enough, regions are aligned to 128 (the strictest alignment
        // here), and all these types are made of atomics, valid for any bytes.
        // The mapping lives as long as the segment, which `Port` keeps.
        #[allow(unsafe_code)]
        unsafe {
            Ok(View {
                control: &*control,
                for_producers: &*attention.cast(),
                for_consumers: &*attention.add(1).cast(),
                participants,
                max_participants: plan.max_participants,
                slots: SlotMemory::new(base, plan.capacity as usize, stride),
                capacity: plan.capacity,
            })
        }
    }

    fn participant(&self, index: u32) -> &'static Participant {
        debug_assert!(index < self.max_participants);
        const { assert!(size_of::<Participant>() == PARTICIPANT_SIZE) };
        // SAFETY: `Member::join` gives indices below the limit, for which the
        // region has room; otherwise as in `of`.
        #[allow(unsafe_code)]
        unsafe {
            &*self.participants.add(index as usize)
        }
    }

    /// Sets up the regions of a segment that nobody else has yet.
    fn initialise(&self) {
        self.control.initialise(self.capacity);
        Ring::initialise_slots(self.slots);
    }
}
