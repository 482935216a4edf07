//! Looking after the dead: where the proof of a death (segment), what is to be done about
//! it (ring) and who is to be told (wait) meet.

use super::port::{Port, Refusal};
use super::view::View;
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::{Ordering, coarse_now_ns, now_ns, seeded};
use crate::ring::{BY_BYSTANDER, GETS, Living, PUTS, Rescue, Ring};
use crate::segment::{LookedAfter, Proof, Role, Segment};
use crate::wait::Attention;
use std::cell::Cell;
use std::sync::Arc;

/// What a rescuer needs of a queue.
#[derive(Clone, Copy)]
pub(super) struct Scene<'s> {
    pub(super) ring: Ring<'s>,
    pub(super) for_producers: &'s Attention,
    pub(super) for_consumers: &'s Attention,
    pub(super) for_blocks: &'s Attention,
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

impl<'s> Scene<'s> {
    /// As participant `own` sees it; `None` if the segment's regions make no sense.
    pub(super) fn of(segment: &'s Segment, own: u32) -> Option<Scene<'s>> {
        let view = View::of(segment).ok()?;
        let mut ring = view.ring(&segment.header().plan, own)?;
        // The participant may be looking itself.
        ring.chunks.look = BY_BYSTANDER;
        let View { for_producers, for_consumers, for_blocks, .. } = view;
        Some(Scene { ring, for_producers, for_consumers, for_blocks })
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
            let kept = segment.keep(proof, dead, &|_, _, index| {
                let (is_vacant, rescue) = self.keep(segment, &witness, index);
                note(rescue);
                is_vacant
            });
            match kept {
                LookedAfter::Vacated => note(Rescue { vacated: 1, ..Rescue::default() }),
                LookedAfter::NotNow => {}
                // Whoever looks after it may be stopped: its claims hold others up, and
                // need no lock.
                LookedAfter::ByAnother => {
                    let rescue = self.ring.finish_intents(dead, &witness);
                    self.tell(rescue);
                    note(rescue);
                }
            }
        }
        // The bytes of a dead one need not be let go of all at once: its side may have been
        // held a moment longer than its life.
        note(self.ring.finish_single_producer(&witness));
        if thorough {
            let mut rescue = self.ring.finish_all(&witness);
            rescue.found_back += self.ring.cells_waiting();
            self.tell(rescue);
            note(rescue);
        }
        let rescue = sum.get();
        if rescue.changed_anything() || rescue.found_back > 0 {
            self.wake_everybody();
        }
        rescue
    }

    /// Whoever closed the queue may have died before it told everybody. Says whether it had.
    pub(super) fn finish_close(&self) -> bool {
        let all_know = self.for_producers.is_closed() && self.for_consumers.is_closed();
        let untold = !all_know && self.ring.is_closed();
        if untold {
            self.spread_close();
        }
        untold
    }

    /// Tells the consumers of the close, and wakes everybody.
    #[cold]
    pub(super) fn spread_close(&self) {
        self.for_producers.set_closed();
        self.for_consumers.set_closed();
        self.wake_everybody();
    }

    /// D5. Everything that dead participant `index` left; the caller holds its keep byte.
    /// Says whether the index is vacant.
    fn keep(&self, segment: &Segment, witness: &Witness<'_>, index: u32) -> (bool, Rescue) {
        // M7: nobody else can have the index before this is done.
        if let Some(cast) = &self.ring.cast {
            cast.strike_off(index);
        }
        // First, so that it looks at no chunk any more while others wait for that.
        let chunks = self.keep_chunks(segment, index);
        let mut rescue = self.ring.finish_intents(index, witness);
        rescue.finished += chunks;
        // Before the index is vacant: until then the next one who looks repeats it.
        self.tell(rescue);
        if rescue.left > 0 {
            return (false, rescue);
        }
        // After the claims: a slot whose message is in a row is released by then.
        let given_back = self.ring.keep_cells(index);
        rescue.add(given_back);
        // Whoever gave a row back may have died before it told anybody, and its word no
        // longer says who that was.
        rescue.found_back += self.ring.cells_waiting().saturating_sub(given_back.brought_back);
        self.tell(rescue);
        if rescue.left > 0 {
            return (false, rescue);
        }
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
        for attention in [self.for_producers, self.for_consumers, self.for_blocks] {
            attention.wake_all();
        }
    }

    /// Whether a participant other than `own` that can do this lives.
    pub(super) fn lives_another(&self, proof: &Proof<'_>, own: u32, role: u64) -> bool {
        let others = self.ring.everyone.iter().zip(0..).filter(|(_, index)| *index != own);
        let able = others.filter(|(participant, _)| participant.who.roles.load(Ordering::Acquire) & role != 0);
        able.map(|(_, index)| index).any(|index| proof.is_alive(index))
    }
}

/// What somebody who comes finishes of the dead whose places it tries. It is told when this goes, which
/// is when the newcomer holds no lock any more.
#[derive(Default)]
pub(super) struct Newcomer(Cell<Rescue>);

impl Newcomer {
    /// Finishes what the last owner of an index left, before the newcomer has an index. False: not
    /// now.
    pub(super) fn keep(&self, segment: &Arc<Segment>, proof: &Proof<'_>, index: u32) -> bool {
        // Whose regions make no sense is refused later, with the reason.
        let Some(scene) = Scene::of(segment, index) else { return true };
        let (is_vacant, rescue) = scene.keep(segment, &Witness::new(proof, NEWCOMER_LIMIT_NS), index);
        let rescue = Rescue { vacated: u64::from(is_vacant), ..rescue };
        if rescue.changed_anything() {
            scene.wake_everybody();
            let mut all = self.0.get();
            all.add(rescue);
            self.0.set(all);
        }
        is_vacant
    }
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        if let Some(tidings) = tidings(self.0.get()) {
            crate::event!("{tidings}");
        }
    }
}

/// What there is to tell of a look.
pub(super) fn tidings(rescue: Rescue) -> Option<String> {
    let Rescue { finished, brought_back, left, vacated, .. } = rescue;
    rescue.changed_anything().then(|| {
        format!(
            "{vacated} participants had died: {finished} claims finished, {brought_back} messages brought back, \
             {left} left for later"
        )
    })
}

/// How often a handle that has nothing to do looks for the dead: once a slice.
const LOOK_EVERY_NS: u64 = 95_000_000;

/// How often one that finds a claimed and unfinished position in its way, and may not
/// wait, does: once in a tick of the coarse clock.
const BLOCKED_LOOK_EVERY_NS: u64 = 100_000;

/// There is no descriptor (any more) to prove deaths with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unprovable;

impl Port {
    pub(super) fn scene(&self) -> Scene<'_> {
        Scene {
            ring: self.ring,
            for_producers: self.for_producers,
            for_consumers: self.for_consumers,
            for_blocks: self.for_blocks,
        }
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
        let (segment, own) = self.place_in_segment();
        let told = self.scene().finish_close();
        let proof = segment.proof(own).ok_or(Unprovable)?;
        let mut rescue = self.scene().look(&segment, &proof, own, thorough);
        rescue.finished += u64::from(told);
        let had_to_open_again = proof.had_to_open_again();
        drop(proof);
        self.trim(thorough);
        if had_to_open_again {
            crate::event!("the descriptor of a segment was closed behind our back, and was opened again");
        }
        if told {
            crate::event!("somebody who closed the queue had died before it told everybody");
        }
        if let Some(tidings) = tidings(rescue) {
            crate::event!("{tidings}");
        }
        Ok(rescue)
    }

    /// Copies: a logger may use this very handle.
    pub(super) fn place_in_segment(&self) -> (Arc<Segment>, u32) {
        let member = self.member.borrow();
        (Arc::clone(member.segment()), member.index())
    }

    /// Looks for the dead, unless this handle just has. True: try again, something has
    /// changed.
    #[cold]
    #[inline(never)]
    pub(super) fn look_if_due(&self, is_blocked: bool) -> Result<bool, Unprovable> {
        let every = if is_blocked { BLOCKED_LOOK_EVERY_NS } else { LOOK_EVERY_NS };
        if coarse_now_ns().saturating_sub(self.last_look.get()) < every || seeded(14) {
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
        let (segment, own) = self.place_in_segment();
        segment.proof(own).is_none_or(|proof| self.scene().lives_another(&proof, own, role))
    }

    /// This port can do what `roles` says from now on, and what else it could not any more.
    pub(super) fn set_roles(&self, roles: u64) {
        let before = self.ring.me.who.roles.swap(roles, Ordering::AcqRel);
        let given_up = before & !roles;
        if given_up != 0 {
            self.scene().say_departed(given_up);
            let lines = [self.for_producers, self.for_consumers, self.for_blocks];
            if lines.iter().any(|line| line.wanted(self.ring.fences)) {
                self.scene().wake_everybody();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::message::Pod;
    use crate::queue::options::Options;
    use crate::queue::port::Wait;
    use crate::queue::{GetError, PutError};
    use crate::ring::{Leased, Side};
    use crate::wait::{Deadline, WaitPolicy};
    use std::time::Duration;

    type Number = Pod<u64>;

    fn soon() -> Wait {
        Wait::Until(Deadline::after(Duration::from_secs(10)))
    }

    fn queue(options: &Options) -> Port {
        Port::create::<Number>(None, options).expect("memory")
    }

    fn put(port: &Port, value: u64) -> Result<(), PutError<u64>> {
        port.put::<Number>(value, Wait::No)
    }

    impl Port {
        /// As in the middle of a death: no thread of it runs, its life byte is free.
        fn dies(&self) {
            self.member.borrow_mut().lose_life();
        }
    }

    /// What the exchange of a lost claim left must not protect a dead one's claim from those
    /// who would recover it, also while its owner only spins.
    #[test]
    fn a_get_that_spins_does_not_protect_the_claim_that_it_lost() {
        let spinner = queue(&Options::new(4));
        let dead = spinner.another(GETS).expect("a place");
        assert!(put(&spinner, 7).is_ok());
        assert!(spinner.ready_to_get().is_ok() && dead.ready_to_get().is_ok());
        spinner.ring.announce_and_lose(&spinner.cursors.get);
        dead.ring.claim_and_die(&dead.cursors.get);
        dead.dies();
        spinner.policy.set(WaitPolicy::Spin);
        assert_eq!(spinner.get::<Number>(soon()), Ok(7));
    }

    /// A side that was let go of after its holder's life: the holder's place is vacant by
    /// then, and its claim is found all the same.
    #[test]
    fn a_claim_is_found_when_the_side_is_let_go_of_last() {
        let survivor = queue(&Options::new(4).producers(Side::Single));
        let dead = survivor.another(PUTS).expect("a place");
        assert!(dead.become_producer().is_ok() && survivor.ready_to_get().is_ok());
        assert!(put(&dead, 7).is_ok());
        dead.ring.claim_slot_and_die(&dead.cursors.put);
        dead.dies();
        assert_eq!(survivor.look(false).map(|rescue| rescue.vacated), Ok(1));
        survivor.close();
        assert_eq!(survivor.get::<Number>(Wait::No), Ok(7));
        assert_eq!(survivor.get::<Number>(Wait::No), Err(GetError::Empty), "a put may be under way");
        dead.member.borrow_mut().release_role(Role::Producer);
        assert_eq!(survivor.get::<Number>(soon()), Err(GetError::Closed));
    }

    /// Who gives a lease back and dies before it says so leaves a row that names nobody.
    #[test]
    fn a_lease_given_back_in_silence_is_found() {
        let survivor = queue(&Options::new(4));
        let dead = survivor.another(GETS).expect("a place");
        assert!(put(&survivor, 7).is_ok());
        assert!(survivor.ready_to_get().is_ok() && dead.ready_to_get().is_ok());
        let mut room = crate::queue::message::RoomFor::<Number>(<Number as crate::queue::Message>::room(8));
        let Leased::Yes(holding) = dead.ring.try_lease(&dead.cursors.get, 0, &mut room) else { panic!("a message") };
        assert!(dead.ring.give_back(&dead.cursors.get, holding));
        dead.dies();
        assert_eq!(survivor.get::<Number>(soon()), Ok(7));
        survivor.close();
        assert_eq!(survivor.get::<Number>(soon()), Err(GetError::Closed));
    }

    /// The keep byte of a dead one is held by somebody who does not get on: what it had
    /// claimed is finished all the same, and its place waits.
    #[test]
    fn a_rescuer_that_is_stopped_holds_nobody_up() {
        let survivor = queue(&Options::new(4));
        let dead = survivor.another(GETS).expect("a place");
        assert!(put(&survivor, 7).is_ok());
        assert!(survivor.ready_to_get().is_ok() && dead.ready_to_get().is_ok());
        dead.ring.claim_and_die(&dead.cursors.get);
        dead.dies();
        let (segment, own) = survivor.place_in_segment();
        let proof = segment.proof(own).expect("it can be opened");
        let index = dead.ring.index;
        let kept = segment.keep(&proof, index, &|_, _, _| {
            // Here it is stopped, with the byte in its hands.
            assert_eq!(survivor.get::<Number>(soon()), Ok(7));
            false
        });
        assert_eq!(kept, LookedAfter::NotNow);
        assert_eq!(survivor.look(false).map(|rescue| rescue.vacated), Ok(1));
    }
}
