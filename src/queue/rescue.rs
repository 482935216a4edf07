//! Looking after the dead: where the proof of a death (segment), what is to be done about
//! it (ring) and who is to be told (wait) meet.

use super::port::{Port, Refusal};
use super::view::View;
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::{Ordering, coarse_now_ns, now_ns, seeded};
use crate::ring::{GETS, Living, PUTS, Rescue, Ring};
use crate::segment::{Proof, Role, Segment};
use crate::wait::Attention;
use std::cell::Cell;
use std::sync::Arc;

/// What a rescuer needs of a queue.
#[derive(Clone, Copy)]
pub(super) struct Scene {
    pub(super) ring: Ring<'static>,
    pub(super) for_producers: &'static Attention,
    pub(super) for_consumers: &'static Attention,
}

/// The time that a look may take, so that no forged intents keep a timed call much longer
/// than it asked for. What was claimed in earnest takes some ten nanoseconds a position.
const LOOK_LIMIT_NS: u64 = 20_000_000;
/// The same for each place that a newcomer tries.
const NEWCOMER_LIMIT_NS: u64 = 2_000_000;
/// The same for those who ask for it.
const RECOVER_LIMIT_NS: u64 = 1_000_000_000;

/// Who lives, by proof, and how much longer to ask.
struct Witness<'p> {
    proof: &'p Proof<'p>,
    until: u64,
    asked: Cell<u32>,
}

/// Questions between two looks at the clock.
const PER_CLOCK: u32 = 16;

impl<'p> Witness<'p> {
    fn new(proof: &'p Proof<'p>, limit_ns: u64) -> Witness<'p> {
        Witness { proof, until: now_ns().saturating_add(limit_ns), asked: Cell::new(0) }
    }
}

impl Living for Witness<'_> {
    fn is_alive(&self, index: u32) -> bool {
        self.proof.is_alive(index)
    }

    fn has_single_producer(&self) -> bool {
        self.proof.has_holder(Role::Producer)
    }

    fn may_go_on(&self) -> bool {
        self.asked.set(self.asked.get().wrapping_add(1));
        !self.asked.get().is_multiple_of(PER_CLOCK) || now_ns() < self.until
    }
}

impl Scene {
    /// A newcomer's: it finishes what the last owner of its index left, before it has an
    /// index. False: not now.
    pub(super) fn keep_for_newcomer(segment: &Arc<Segment>, proof: &Proof<'_>, index: u32) -> bool {
        let plan = &segment.header().plan;
        // Whose regions make no sense is refused later, with the reason.
        let Ok(view) = View::of(segment) else { return true };
        let Some(ring) = view.ring(plan, index) else { return true };
        let scene = Scene { ring, for_producers: view.for_producers, for_consumers: view.for_consumers };
        let (is_vacant, rescue) = scene.keep(&Witness::new(proof, NEWCOMER_LIMIT_NS), index);
        if is_vacant || rescue.changed_anything() {
            scene.wake_everybody();
        }
        is_vacant
    }

    /// Finds the dead and finishes what they left; `thorough`ly: in the whole window,
    /// whoever claimed there. Wakes everybody if something has changed.
    ///
    /// `own` is a participant of this process, on which `proof` was tested.
    pub(super) fn look(&self, segment: &Arc<Segment>, proof: &Proof<'_>, own: u32, thorough: bool) -> Rescue {
        let sum = Cell::new(Rescue::default());
        let note = |rescue: Rescue| {
            let mut all = sum.get();
            all.add(rescue);
            sum.set(all);
        };
        let witness = Witness::new(proof, if thorough { RECOVER_LIMIT_NS } else { LOOK_LIMIT_NS });
        for dead in segment.dead(proof, own) {
            let is_vacant = segment.keep(proof, dead, &|_, _, index| {
                let (is_vacant, rescue) = self.keep(&witness, index);
                note(rescue);
                is_vacant
            });
            note(Rescue { vacated: u64::from(is_vacant), ..Rescue::default() });
        }
        if thorough {
            let rescue = self.ring.finish_all(&witness);
            self.tell(rescue);
            note(rescue);
        }
        let rescue = sum.get();
        if rescue.found_back > 0 && !rescue.changed_anything() {
            self.wake_everybody();
        }
        if rescue.changed_anything() {
            crate::event!(
                "{} participants had died: {} claims finished, {} messages brought back, {} left for later",
                rescue.vacated,
                rescue.finished,
                rescue.brought_back,
                rescue.left
            );
            self.wake_everybody();
        }
        rescue
    }

    /// D5. Everything that dead participant `index` left; the caller holds its keep byte.
    /// Says whether the index is vacant.
    fn keep(&self, witness: &Witness<'_>, index: u32) -> (bool, Rescue) {
        let rescue = self.ring.finish_intents(index, witness);
        // Before the index is vacant: until then the next one who looks repeats it.
        self.tell(rescue);
        if rescue.left > 0 {
            return (false, rescue);
        }
        // After the claims: a slot whose message is in a row is released by then.
        let rescue = Rescue { brought_back: rescue.brought_back + self.ring.keep_rows(index), ..rescue };
        self.tell(rescue);
        let Some(dead) = self.ring.everyone.get(index as usize) else { return (true, rescue) };
        dead.clear_intents();
        // Whatever it could do: it may have been leaving, and have died before it said so.
        self.say_departed(PUTS | GETS);
        dead.who.roles.store(0, Ordering::Release);
        (true, rescue)
    }

    fn tell(&self, rescue: Rescue) {
        if rescue.brought_back + rescue.found_back > 0 && !seeded(8) {
            self.for_consumers.alert();
        }
    }

    /// Somebody who could do this has left or died: whoever waits for the other side
    /// must see who is left.
    pub(super) fn say_departed(&self, roles: u64) {
        if roles & PUTS != 0 {
            self.for_consumers.has_departed();
        }
        if roles & GETS != 0 {
            self.for_producers.alert();
        }
    }

    pub(super) fn wake_everybody(&self) {
        self.for_producers.wake_all();
        self.for_consumers.wake_all();
    }

    /// Whether a participant other than `own` that can do this lives.
    pub(super) fn lives_another(&self, proof: &Proof<'_>, own: u32, role: u64) -> bool {
        let others = self.ring.everyone.iter().zip(0..).filter(|(_, index)| *index != own);
        let able = others.filter(|(participant, _)| participant.who.roles.load(Ordering::Acquire) & role != 0);
        able.map(|(_, index)| index).any(|index| proof.is_alive(index))
    }
}

/// How often a handle that has nothing to do looks for the dead: once a slice.
const LOOK_EVERY_NS: u64 = 95_000_000;

/// How often one that finds a claimed and unfinished position in its way, and may not
/// wait, does.
const BLOCKED_LOOK_EVERY_NS: u64 = 100_000;

/// There is no descriptor (any more) to prove deaths with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unprovable;

impl Port {
    pub(super) fn scene(&self) -> Scene {
        Scene { ring: self.ring, for_producers: self.for_producers, for_consumers: self.for_consumers }
    }

    /// Looks for the dead now, everywhere.
    pub(super) fn recover(&self) -> Result<usize, SetupError> {
        match self.usable() {
            Err(Refusal::Forked) => return Err(SetupError::new(SetupErrorKind::Forked)),
            Err(_) => return Err(SetupError::not_a_segment("its shared memory contradicts itself")),
            Ok(()) => {}
        }
        let rescue = self.look(true).map_err(|Unprovable| SetupError::new(SetupErrorKind::RecoveryUnavailable))?;
        Ok((rescue.finished + rescue.brought_back) as usize)
    }

    /// What a predecessor left comes first.
    #[cold]
    pub(super) fn look_before_starting(&self) {
        let _ = self.look(false);
    }

    #[cold]
    pub(super) fn look(&self, thorough: bool) -> Result<Rescue, Unprovable> {
        self.last_look.set(coarse_now_ns());
        let member = self.member.borrow();
        let (segment, own) = (member.segment(), member.index());
        let told = self.finish_close();
        let proof = segment.proof(own).ok_or(Unprovable)?;
        let mut rescue = self.scene().look(segment, &proof, own, thorough);
        rescue.finished += u64::from(told);
        Ok(rescue)
    }

    /// Whoever closed the queue may have died before it told everybody.
    fn finish_close(&self) -> bool {
        let all_know = self.for_producers.is_closed() && self.for_consumers.is_closed();
        let untold = !all_know && self.ring.is_closed();
        if untold {
            crate::event!("somebody who closed the queue had died before it told everybody");
            self.spread_close();
        }
        untold
    }

    /// Looks for the dead, unless this handle just has. True: try again, something has
    /// changed.
    #[cold]
    #[inline(never)]
    pub(super) fn look_if_due(&self, is_blocked: bool) -> Result<bool, Unprovable> {
        let every = if is_blocked { BLOCKED_LOOK_EVERY_NS } else { LOOK_EVERY_NS };
        if coarse_now_ns().saturating_sub(self.last_look.get()) < every {
            return Ok(false);
        }
        self.look(false).map(Rescue::changed_anything)
    }

    /// Whether no live handle but this one can get, though one could once. Asked where
    /// the answer matters, or the alert would cost every put the slow path.
    #[cold]
    pub(super) fn consumers_are_gone(&self) -> bool {
        let Some(seen) = self.for_producers.alerted() else { return false };
        // Where it is no error, puts go on without a system call each.
        let now = coarse_now_ns();
        if !self.reports_gone && now.saturating_sub(self.peers_looked.get()) < LOOK_EVERY_NS {
            return false;
        }
        self.peers_looked.set(now);
        if self.lives_another(GETS) {
            self.for_producers.all_clear(seen);
            return false;
        }
        self.reports_gone
    }

    /// The same for handles that can put.
    #[cold]
    pub(super) fn producers_are_gone(&self) -> bool {
        let seen = self.for_consumers.departed();
        if seen == 0 || !self.reports_gone {
            return false;
        }
        if self.lives_another(PUTS) {
            self.for_consumers.is_there(seen);
            return false;
        }
        true
    }

    /// Not certain: yes.
    fn lives_another(&self, role: u64) -> bool {
        let member = self.member.borrow();
        let proof = member.segment().proof(member.index());
        proof.is_none_or(|proof| self.scene().lives_another(&proof, member.index(), role))
    }

    /// This port can do what `roles` says from now on, and what else it could not any more.
    pub(super) fn set_roles(&self, roles: u64) {
        let before = self.ring.me.who.roles.swap(roles, Ordering::AcqRel);
        let given_up = before & !roles;
        if given_up != 0 {
            self.scene().say_departed(given_up);
            if self.for_producers.wanted(self.ring.fences) || self.for_consumers.wanted(self.ring.fences) {
                self.scene().wake_everybody();
            }
        }
    }
}
