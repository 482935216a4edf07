//! One participant's access to one queue: what every handle and end is made of.
//!
//! Attaching, taking sides, closing, asking; `put` and `get` have files of their own.

use super::bytes::LENGTH_SIZE;
use super::error::{GetError, PutError};
use super::grow::Growing;
use super::growth;
use super::large::Scratch;
use super::message::Message;
use super::options::{Options, regions_with_cursors};
use super::put::Lacking;
use super::rescue::Newcomer;
use super::tasks::Tasks;
use super::view::View;
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::{Fences, Line, Ordering, seeded};
use crate::ring::{CastGet, CastPut, GETS, GetCursor, Hints, PUTS, Pace, PutCursor, Ring, Side};
use crate::segment::{Attached, Header, Keeper, Member, Place, Role, Segment, Wiped, unix_seconds};
use crate::wait::{Attention, Deadline, Patience, WaitPolicy};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// Whether an operation may wait.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// `try_`: never.
    No,
    /// Until then.
    Until(Deadline),
}

/// What a forked child finds wiped.
#[repr(C, align(128))]
pub(super) struct Cursors {
    pub(super) put: Line<PutCursor>,
    pub(super) get: Line<GetCursor>,
    pub(super) put_pace: Pace,
    pub(super) get_pace: Pace,
    /// Where to look for free blocks, and how many this handle has reserved.
    pub(super) hints: Hints,
    pub(super) reserved: Cell<u32>,
    /// 1 in the process that attached.
    alive: Cell<u64>,
    /// Of a broadcast.
    pub(super) cast_put: Line<CastPut>,
    pub(super) cast_get: Line<CastGet>,
}

// SAFETY: all fields are valid as zeros.
#[allow(unsafe_code)]
unsafe impl bytemuck::Zeroable for Cursors {}

/// Why an operation cannot even be tried.
pub(super) enum Refusal {
    Forked,
    Corrupt,
    Closed,
    SideTaken(Option<u32>),
    System(std::io::ErrorKind),
}

/// One participant of one queue.
#[doc(hidden)]
pub struct Port {
    // `ring` and the attention lines point into the segment that `member` owns
    // a share of; they are private and do not outlive it.
    pub(super) ring: Ring<'static>,
    pub(super) for_producers: &'static Attention,
    pub(super) for_consumers: &'static Attention,
    pub(super) for_joiners: &'static Attention,
    /// Where producers sleep that lack a block.
    pub(super) for_blocks: &'static Attention,
    pub(super) cursors: Wiped<Cursors>,
    pub(super) payload: usize,
    /// The longest message of bytes that a slot has room for.
    pub(super) inline: usize,
    pub(super) max_message: usize,
    pub(super) policy: Cell<WaitPolicy>,
    pub(super) patience: Patience,
    poisoned: Cell<bool>,
    /// The queue was seen closed, and the heavy barrier made since.
    pub(super) close_seen: Cell<bool>,
    /// Messages of a batch that could not be decoded and are yet to be reported.
    pub(super) undecodable: Cell<usize>,
    /// Whether it is an error that the other side is gone.
    pub(super) reports_gone: bool,
    /// Whether it may become an end of a queue that is closed.
    may_begin_closed: bool,
    /// When this handle last looked for the dead.
    pub(super) last_look: Cell<u64>,
    /// When it last looked whether there are consumers.
    pub(super) peers_looked: Cell<u64>,
    /// The last get found a position that was claimed and not finished.
    pub(super) blocked: Cell<bool>,
    /// What the last put that did not wait found full.
    pub(super) lacking: Cell<Lacking>,
    /// Where messages are made in place that will lie in a slot.
    pub(super) scratch: Scratch,
    /// What this handle has taken and not done.
    pub(super) tasks: Tasks,
    /// Of a queue that grows.
    pub(super) growth: Growing,
    // In this order: once it is not attached, nobody acts for it, and it may leave.
    _attached: Attached,
    pub(super) member: RefCell<Member>,
}

impl Port {
    /// Creates the segment of a queue and its first participant.
    pub(super) fn create<M: Message>(place: Option<&Place>, options: &Options) -> Result<Port, SetupError> {
        let options = &options.or_cap(place);
        let plan = options.plan::<M>()?;
        let initialise = |segment: &Segment| {
            if let Ok(view) = View::of(segment) {
                view.initialise();
            }
        };
        let prefault = options.prefault_bytes();
        let newcomer = Newcomer::default();
        let keeper: Keeper<'_> = &|segment, proof, index| newcomer.keep(segment, proof, index);
        let (regions, holes) = (regions_with_cursors(&plan), growth::holes);
        let member = Segment::create(place, plan.clone(), &regions, holes, prefault, initialise, keeper)?;
        Port::attach(member, options.policy(), options.reports_gone(place.is_none()), PUTS | GETS)
    }

    /// Opens a named queue. None: there is no such name.
    pub(super) fn open<M: Message>(place: &Place, options: &Options) -> Result<Option<Port>, SetupError> {
        Port::open_as::<M>(place, options, PUTS | GETS)
    }

    /// The same for a participant that can do what `roles` says.
    pub(super) fn open_as<M: Message>(
        place: &Place,
        options: &Options,
        roles: u64,
    ) -> Result<Option<Port>, SetupError> {
        // Registration comes before the first operation.
        let _ = Fences::of_this_process(false);
        let check = |header: &Header| options.check::<M>(&header.plan);
        let newcomer = Newcomer::default();
        let keeper: Keeper<'_> = &|segment, proof, index| newcomer.keep(segment, proof, index);
        let opened = Segment::open(place, options.prefault_bytes(), check, keeper)?;
        let Some(member) = opened else { return Ok(None) };
        Port::opened(member, options, false, roles).map(Some)
    }

    /// Opens a named queue, or creates it. Of several that do so at once, one creates.
    pub(super) fn open_or_create<M: Message>(place: &Place, options: &Options) -> Result<Port, SetupError> {
        /// Somebody may create between our open and our create, and remove it
        /// again before our next open.
        const ATTEMPTS: u32 = 64;
        for _ in 0..ATTEMPTS {
            let unfit = match Port::open::<M>(place, options) {
                Ok(Some(port)) => return Ok(port),
                Ok(None) => None,
                // Creating replaces it, if it is ephemeral and nobody lives there.
                Err(error) if error.is_mismatch() => Some(error),
                Err(error) => return Err(error),
            };
            match (Port::create::<M>(Some(place), options), unfit) {
                (Err(error), Some(unfit)) if error.is_already_exists() => return Err(unfit),
                (Err(error), None) if error.is_already_exists() => {}
                (other, _) => return other,
            }
        }
        Err(SetupError::new(SetupErrorKind::Busy))
    }

    /// A participant of a queue that was there before, which can do what `roles` says.
    pub(super) fn opened(
        member: Member,
        options: &Options,
        is_anonymous: bool,
        roles: u64,
    ) -> Result<Port, SetupError> {
        let port = Port::attach(member, options.policy(), options.reports_gone(is_anonymous), roles)?;
        // What the dead of an adopted queue left comes first.
        let _ = port.recover();
        if port.ring.is_closed() {
            let damaged = |_| SetupError::not_a_segment("its shared memory contradicts itself");
            if port.is_finished().map_err(damaged)? {
                return Err(SetupError::new(SetupErrorKind::Closed));
            }
        }
        Ok(port)
    }

    /// A participant that was handed to this process. It may have been closed meanwhile: that the
    /// first operation says.
    #[cfg(feature = "serde")]
    pub(super) fn adopted(
        member: Member,
        options: &Options,
        is_anonymous: bool,
        roles: u64,
    ) -> Result<Port, SetupError> {
        let mut port = Port::attach(member, options.policy(), options.reports_gone(is_anonymous), roles)?;
        port.may_begin_closed = true;
        let _ = port.recover();
        Ok(port)
    }

    /// The segment, for this process.
    pub(super) fn segment(&self) -> Result<Arc<Segment>, SetupError> {
        if self.is_forked() {
            return Err(SetupError::new(SetupErrorKind::Forked));
        }
        Ok(Arc::clone(self.member.borrow().segment()))
    }

    /// Another participant of the same queue, which can do what `roles` says.
    pub(super) fn another(&self, roles: u64) -> Result<Port, SetupError> {
        let segment = self.segment()?;
        let newcomer = Newcomer::default();
        let keeper: Keeper<'_> = &|segment, proof, index| newcomer.keep(segment, proof, index);
        Port::attach(segment.join(keeper)?, self.policy.get(), self.reports_gone, roles)
    }

    fn attach(member: Member, policy: WaitPolicy, reports_gone: bool, roles: u64) -> Result<Port, SetupError> {
        let segment = Arc::clone(member.segment());
        let plan = &segment.header().plan;
        // SAFETY: `member` keeps the segment, and is moved into the port, whose private fields
        // are the only copies of what is made of the view.
        #[allow(unsafe_code)]
        let view: View<'static> = unsafe { View::unbounded(&segment) }?;
        let no_index = || SetupError::not_a_segment("its regions do not fit its geometry");
        let ring = view.ring(plan, member.index()).ok_or_else(no_index)?;
        // Before anybody hears of this participant: it may fail.
        let cursors =
            Wiped::<Cursors>::zeroed().map_err(|e| SetupError::system("mapping a handle's private page", e))?;
        cursors.alive.set(1);
        introduce(&ring, roles);
        if roles & GETS != 0
            && let Some(seen) = view.for_producers.alerted()
        {
            view.for_producers.all_clear(seen);
        }
        if ring.fences == Fences::Blind {
            crate::event!("membarrier is refused here: this handle sleeps in slices of a millisecond");
        }
        Ok(Port {
            ring,
            for_producers: view.for_producers,
            for_consumers: view.for_consumers,
            for_joiners: view.for_joiners,
            tasks: Tasks::of(plan),
            for_blocks: view.for_blocks,
            cursors,
            payload: plan.inline_size as usize,
            inline: (plan.inline_size as usize).saturating_sub(LENGTH_SIZE),
            max_message: plan.max_message as usize,
            policy: Cell::new(policy),
            patience: Patience::new(),
            poisoned: Cell::new(false),
            close_seen: Cell::new(false),
            undecodable: Cell::new(0),
            reports_gone,
            may_begin_closed: false,
            last_look: Cell::new(0),
            peers_looked: Cell::new(0),
            blocked: Cell::new(false),
            lacking: Cell::new(Lacking::Slot),
            scratch: Scratch::default(),
            growth: Growing::of(&segment),
            _attached: Attached::new(&segment, member.index()),
            member: RefCell::new(member),
        })
    }

    // ---- ends ----

    /// Takes the producers' side now, as an end does, instead of at the first put.
    pub(super) fn become_producer(&self) -> Result<(), SetupError> {
        match self.ready_to_put() {
            Err(Refusal::Closed) if self.may_begin_closed => {}
            other => other.map_err(Refusal::into_setup)?,
        }
        self.set_roles(PUTS);
        Ok(())
    }

    /// Takes the consumers' side now.
    pub(super) fn become_consumer(&self) -> Result<(), SetupError> {
        self.ready_to_get().map_err(Refusal::into_setup)?;
        self.set_roles(GETS);
        Ok(())
    }

    /// Gives the consumers' side back, if this port took it.
    pub(super) fn stop_consuming(&mut self) {
        self.give_tasks_back();
        let is_forked = self.is_forked();
        let member = self.member.get_mut();
        if !is_forked && self.cursors.get.is_started() {
            self.ring.catch_up_head(&self.cursors.get);
            self.cursors.get.stop();
            if member.holds(Role::Consumer) {
                self.ring.control.seldom.holders[Role::Consumer as usize].store(0, Ordering::Relaxed);
                member.release_role(Role::Consumer);
            }
        }
    }

    #[inline]
    pub(super) fn ready_to_put(&self) -> Result<(), Refusal> {
        self.usable()?;
        if self.cursors.put.is_started() {
            return Ok(());
        }
        if self.ring.is_closed() {
            return Err(Refusal::Closed);
        }
        self.take_side(Role::Producer, self.ring.producers)?;
        self.look_before_starting();
        self.ring.start_put(&self.cursors.put);
        if self.ring.producers == Side::Single {
            self.counts_from(Role::Producer, self.ring.put_position(&self.cursors.put));
        }
        Ok(())
    }

    #[inline]
    pub(super) fn ready_to_get(&self) -> Result<(), Refusal> {
        self.usable()?;
        if self.cursors.get.is_started() {
            return Ok(());
        }
        self.take_side(Role::Consumer, self.ring.consumers)?;
        self.look_before_starting();
        self.ring.start_get(&self.cursors.get);
        if self.ring.consumers == Side::Single {
            self.counts_from(Role::Consumer, self.ring.get_position(&self.cursors.get));
            // Its hot path does not look at the alert.
            if self.for_consumers.alerted().is_some() {
                self.cursors.get.stop_fast_path();
            }
        }
        if self.tasks.are_counted() {
            self.cursors.get.stop_fast_path();
        }
        Ok(())
    }

    /// Whether `fork` copied this handle: its segment is not mapped in this process.
    #[inline]
    pub(super) fn is_forked(&self) -> bool {
        self.cursors.alive.get() == 0
    }

    #[inline]
    pub(super) fn usable(&self) -> Result<(), Refusal> {
        if self.is_forked() {
            Err(Refusal::Forked)
        } else if self.poisoned.get() || self.is_torn() {
            Err(Refusal::Corrupt)
        } else {
            Ok(())
        }
    }

    /// Whether the segment's file was cut; asked wherever there seems to be nothing to do.
    #[inline]
    pub(super) fn is_torn(&self) -> bool {
        self.member.borrow().segment().is_torn()
    }

    /// For those who look inside: where this participant took over a Single side.
    pub(super) fn counts_from(&self, role: Role, position: u64) {
        self.ring.me.who.single_from[role as usize].store(position, Ordering::Relaxed);
    }

    #[cold]
    pub(super) fn take_side(&self, role: Role, side: Side) -> Result<(), Refusal> {
        if side == Side::Multi {
            return Ok(());
        }
        let mut member = self.member.borrow_mut();
        let holder = &self.ring.control.seldom.holders[role as usize];
        match member.take_role(role) {
            Ok(true) => {
                holder.store(u64::from(std::process::id()), Ordering::Relaxed);
                Ok(())
            }
            Ok(false) => {
                let pid = u32::try_from(holder.load(Ordering::Relaxed)).ok();
                Err(Refusal::SideTaken(pid.filter(|pid| *pid != 0)))
            }
            Err(error) => Err(Refusal::System(std::io::Error::from(error).kind())),
        }
    }

    #[cold]
    pub(super) fn poison(&self) {
        self.poisoned.set(true);
        // R5: this handle lives on, and claims nothing any more.
        self.ring.rest_put(&self.cursors.put);
        self.ring.rest_get(&self.cursors.get);
        self.cursors.put.stop_fast_path();
        self.cursors.get.stop_fast_path();
        self.cursors.cast_put.stop_fast_path();
        self.cursors.cast_get.stop();
        if self.ring.cast.is_some() {
            // It will hear no more, so nobody may wait for it.
            self.unsubscribe();
        }
        crate::event!("the shared memory of a queue contradicts itself: this handle gives up");
    }

    // ---- the rest ----

    pub(super) fn close(&self) {
        if self.usable().is_err() {
            return;
        }
        self.ring.close();
        self.scene().spread_close();
        if !seeded(18) {
            let _ = self.look_if_due(true);
        }
    }

    pub(super) fn set_closed_flags(&self) {
        self.for_producers.set_closed();
        self.for_consumers.set_closed();
    }

    pub(super) fn len(&self) -> usize {
        if self.usable().is_ok() { self.ring.depth() as usize } else { 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.usable().is_err() || self.ring.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.usable().is_ok() && (self.ring.is_full() || self.ring.arena.is_full())
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
        self.member.borrow().segment().count_alive()
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

/// The participant of `ring` is one of this process now, and can do what `roles` says. Whoever
/// was here before, all that it left was finished before its index was taken.
pub(super) fn introduce(ring: &Ring<'_>, roles: u64) {
    ring.me.clear_intents();
    ring.me.reset_counts();
    ring.me.who.reset(std::process::id(), roles);
    ring.me.who.attached.store(unix_seconds(), Ordering::Relaxed);
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.is_forked() {
            return;
        }
        let member = self.member.get_mut();
        if member.holds(Role::Consumer) {
            self.ring.catch_up_head(&self.cursors.get);
        }
        for role in [Role::Producer, Role::Consumer] {
            if member.holds(role) {
                self.ring.control.seldom.holders[role as usize].store(0, Ordering::Relaxed);
            }
        }
        if self.cursors.get.is_started() {
            self.trim_chunks();
        }
        self.ring.me.clear_intents();
        // Of leases and blocks that were forgotten, not dropped.
        if self.cursors.get.holds_leases() || self.cursors.reserved.get() > 0 {
            if self.ring.keep_cells(self.ring.index).brought_back > 0 {
                self.came_back();
            }
            self.block_freed();
        }
        self.set_roles(0);
    }
}

impl Refusal {
    pub(super) fn into_put(self) -> PutError<()> {
        match self {
            Refusal::Forked => PutError::Forked(()),
            Refusal::Corrupt => PutError::Corrupt(()),
            Refusal::Closed => PutError::Closed(()),
            Refusal::SideTaken(holder) => PutError::SideTaken { value: (), holder },
            Refusal::System(kind) => PutError::System { value: (), kind },
        }
    }

    pub(super) fn into_get(self) -> GetError {
        match self {
            Refusal::Forked => GetError::Forked,
            Refusal::Corrupt => GetError::Corrupt,
            Refusal::Closed => GetError::Closed,
            Refusal::SideTaken(_) => GetError::SideTaken,
            Refusal::System(kind) => GetError::System { kind },
        }
    }

    fn into_setup(self) -> SetupError {
        match self {
            Refusal::Forked => SetupError::new(SetupErrorKind::Forked),
            Refusal::Corrupt => SetupError::not_a_segment("its shared memory contradicts itself"),
            Refusal::Closed => SetupError::new(SetupErrorKind::Closed),
            Refusal::SideTaken(holder) => SetupError::new(SetupErrorKind::SideTaken { holder }),
            Refusal::System(kind) => SetupError::system("taking a Single side", kind.into()),
        }
    }
}
