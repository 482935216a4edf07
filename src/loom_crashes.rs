//! Deaths under loom: a victim that stops at its k-th atomic access, for every k, while
//! two others go on and recover, in every interleaving up to the preemption bound.
//!
//! The loop over k is outside of the model. It ends with the first k that the victim's
//! operation never reaches.
//!
//! loom alone does not try every order: where a thread reads a word that another exchanges
//! later, it may leave out the run in which the exchange comes first. So each model also
//! runs with its survivors giving way at their beginning, in every combination.

use crate::loom_models::{Memory, Word, model};
use crate::primitive::crash::{die_at, outcome};
use crate::primitive::with_seed;
use crate::ring::{Get, GetCursor, Living, Put, PutCursor, Side};
use bytemuck::Zeroable;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;
use std::sync::atomic::{AtomicBool as StdBool, Ordering as StdOrdering};

pub(super) const VICTIM: u32 = 0;

/// What the kernel knows.
pub(super) struct Kernel {
    pub(super) victim_died: AtomicBool,
}

impl Living for Arc<Kernel> {
    fn is_alive(&self, index: u32) -> bool {
        index != VICTIM || !self.victim_died.load(Ordering::Acquire)
    }

    fn has_single_producer(&self) -> bool {
        self.is_alive(VICTIM)
    }

    fn may_go_on(&self) -> bool {
        true
    }
}

impl Kernel {
    pub(super) fn new() -> Arc<Kernel> {
        Arc::new(Kernel { victim_died: AtomicBool::new(false) })
    }
}

/// Which survivors give way first: bit 0 the main thread, bit 1 the rescuer.
pub(super) type Manners = u8;

pub(super) fn give_way(manners: Manners, who: Manners) {
    if manners & who != 0 {
        thread::yield_now();
    }
}

pub(super) const MAIN: Manners = 1;
pub(super) const RESCUER: Manners = 2;

/// Calls `check(k)` for k = 1, 2, ... until the victim survives k in every execution.
pub(super) fn for_every_access(check: impl Fn(u32, &'static StdBool, Manners)) {
    for k in 1..200 {
        let died: &'static StdBool = Box::leak(Box::new(StdBool::new(false)));
        (0..=MAIN | RESCUER).for_each(|manners| check(k, died, manners));
        if !died.load(StdOrdering::Relaxed) {
            assert!(k > 4, "an operation has some accesses");
            return;
        }
    }
    panic!("the operation does not end");
}

/// One look for the dead, as a house-keeper's.
fn rescue(memory: &Memory, participant: usize, kernel: &Arc<Kernel>) {
    if kernel.is_alive(VICTIM) {
        return;
    }
    let rescue = memory.ring(participant).finish_intents(VICTIM, kernel);
    if rescue.brought_back + rescue.found_back > 0 {
        memory.for_consumers.alert();
    }
}

/// Whether a message was taken: of those that came back first.
fn take(memory: &Memory, participant: usize, cursor: &GetCursor) -> Option<u64> {
    let ring = memory.ring(participant);
    let mut word = Word(0);
    if let Some(seen) = memory.for_consumers.alerted() {
        if ring.take_back(cursor, 1, &mut word) == 1 {
            return Some(word.0);
        }
        memory.for_consumers.all_clear(seen);
    }
    match ring.try_get(cursor, &mut word) {
        Get::Item => Some(word.0),
        Get::Damaged => panic!("the ring contradicts itself"),
        _ => None,
    }
}

fn start_rescuer(memory: &Arc<Memory>, kernel: &Arc<Kernel>, manners: Manners) -> thread::JoinHandle<()> {
    let (memory, kernel) = (Arc::clone(memory), Arc::clone(kernel));
    thread::spawn(move || {
        give_way(manners, RESCUER);
        rescue(&memory, 2, &kernel);
    })
}

/// A survivor, and what it took at its first try.
fn start_consumer(memory: &Memory, manners: Manners) -> (GetCursor, Vec<u64>) {
    let cursor = GetCursor::zeroed();
    memory.ring(1).start_get(&cursor);
    give_way(manners, MAIN);
    let taken = take(memory, 1, &cursor).into_iter().collect();
    (cursor, taken)
}

/// The victim dies in a put; another producer's message gets through, and the victim's
/// was put once or not at all.
fn death_in_put(producers: Side, consumers: Side) {
    for_every_access(|k, died, manners| {
        model(move || {
            let (memory, kernel) = (Memory::new(2, producers, consumers), Kernel::new());
            let (its, told) = (Arc::clone(&memory), Arc::clone(&kernel));
            let victim = thread::spawn(move || {
                let ring = its.ring(VICTIM as usize);
                let cursor = PutCursor::zeroed();
                ring.start_put(&cursor);
                die_at(k);
                let put = outcome(|| ring.try_put(&cursor, &Word(7), true));
                if put.is_none() {
                    died.store(true, StdOrdering::Relaxed);
                }
                told.victim_died.store(true, Ordering::Release);
                put
            });
            let rescuer = start_rescuer(&memory, &kernel, manners);
            let (cursor, mut taken) = start_consumer(&memory, manners);
            let put = victim.join().unwrap();
            rescuer.join().unwrap();
            rescue(&memory, 1, &kernel);
            if producers == Side::Single {
                memory.ring(1).finish_all(&kernel);
            }
            // The survivors go on: another producer, twice around the ring.
            let (ring, put_cursor) = (memory.ring(2), PutCursor::zeroed());
            ring.start_put(&put_cursor);
            for number in 10..15 {
                while let Some(message) = take(&memory, 1, &cursor) {
                    taken.push(message);
                }
                assert_eq!(ring.try_put(&put_cursor, &Word(number), true), Put::Done, "a position is lost");
            }
            taken.extend(take(&memory, 1, &cursor));
            let sevens = taken.iter().filter(|message| **message == 7).count();
            taken.retain(|message| *message != 7);
            assert_eq!(taken, [10, 11, 12, 13, 14]);
            assert!(sevens <= 1 && (put != Some(Put::Done) || sevens == 1), "acknowledged is kept, once");
        });
    });
}

#[test]
fn a_death_in_put_costs_nobody_else() {
    death_in_put(Side::Multi, Side::Multi);
    death_in_put(Side::Multi, Side::Single);
    death_in_put(Side::Single, Side::Multi);
}

/// The victim dies in a get; its message was taken by it before, or by a survivor after.
fn death_in_get(producers: Side, came_back: bool) {
    for_every_access(|k, died, manners| {
        model(move || {
            let (memory, kernel) = (Memory::new(2, producers, Side::Multi), Kernel::new());
            let (ring, put_cursor) = (memory.ring(2), PutCursor::zeroed());
            ring.start_put(&put_cursor);
            assert_eq!(ring.try_put(&put_cursor, &Word(7), true), Put::Done);
            if came_back {
                // Somebody before the victim has died with it.
                die_with_a_claim(&memory, &kernel);
            }
            let (its, told) = (Arc::clone(&memory), Arc::clone(&kernel));
            let victim = thread::spawn(move || {
                let cursor = GetCursor::zeroed();
                its.ring(VICTIM as usize).start_get(&cursor);
                die_at(k);
                let got = outcome(|| take(&its, VICTIM as usize, &cursor));
                if got.is_none() {
                    died.store(true, StdOrdering::Relaxed);
                }
                told.victim_died.store(true, Ordering::Release);
                got.flatten()
            });
            let rescuer = start_rescuer(&memory, &kernel, manners);
            let (cursor, mut taken) = start_consumer(&memory, manners);
            taken.extend(victim.join().unwrap());
            rescuer.join().unwrap();
            rescue(&memory, 1, &kernel);
            while let Some(message) = take(&memory, 1, &cursor) {
                taken.push(message);
            }
            assert!(taken.is_empty() && died.load(StdOrdering::Relaxed) || taken == [7], "{taken:?}");
            assert!(memory.ring(1).is_at_rest(), "nothing is left half done");
            for number in 10..13 {
                assert_eq!(ring.try_put(&put_cursor, &Word(number), true), Put::Done);
                assert_eq!(take(&memory, 1, &cursor), Some(number));
            }
        });
    });
}

/// Participant 0 claims the next message and dies of it; it is brought back, and its index
/// is vacant again.
fn die_with_a_claim(memory: &Memory, kernel: &Arc<Kernel>) {
    let cursor = GetCursor::zeroed();
    let ring = memory.ring(VICTIM as usize);
    ring.start_get(&cursor);
    ring.claim_and_die(&cursor);
    kernel.victim_died.store(true, Ordering::Release);
    rescue(memory, 1, kernel);
    memory.ring(VICTIM as usize).me.clear_intents();
    kernel.victim_died.store(false, Ordering::Release);
}

#[test]
fn a_death_in_get_loses_nothing_but_what_was_taken() {
    death_in_get(Side::Multi, false);
    death_in_get(Side::Single, false);
}

#[test]
fn a_death_with_a_redelivery_is_followed_by_another() {
    death_in_get(Side::Multi, true);
}

/// A death of the rescuer: the next one finishes what it began.
#[test]
fn a_rescuer_may_die_too() {
    rescuer_dies();
}

fn rescuer_dies() {
    for_every_access(|k, died, manners| {
        model(move || {
            let (memory, kernel) = (Memory::new(2, Side::Multi, Side::Multi), Kernel::new());
            let (ring, put_cursor) = (memory.ring(2), PutCursor::zeroed());
            ring.start_put(&put_cursor);
            assert_eq!(ring.try_put(&put_cursor, &Word(7), true), Put::Done);
            let victims = GetCursor::zeroed();
            memory.ring(VICTIM as usize).start_get(&victims);
            memory.ring(VICTIM as usize).claim_and_die(&victims);
            kernel.victim_died.store(true, Ordering::Release);
            let (its, asks) = (Arc::clone(&memory), Arc::clone(&kernel));
            let rescuer = thread::spawn(move || {
                give_way(manners, RESCUER);
                die_at(k);
                if outcome(|| rescue(&its, 2, &asks)).is_none() {
                    died.store(true, StdOrdering::Relaxed);
                }
            });
            let (cursor, mut taken) = start_consumer(&memory, manners);
            rescuer.join().unwrap();
            rescue(&memory, 1, &kernel);
            taken.extend(take(&memory, 1, &cursor));
            assert_eq!(taken, [7]);
            assert!(memory.ring(1).is_at_rest());
        });
    });
}

// Negative controls: mistakes of the library, by number (`primitive::seed`).

/// 1: what the dead have claimed to put is not buried.
#[test]
#[should_panic(expected = "a position is lost")]
fn a_claim_that_stays_is_caught() {
    with_seed(1, || death_in_put(Side::Multi, Side::Multi));
}

/// 2: what the dead have claimed to get is released.
#[test]
#[should_panic(expected = "left: []")]
fn a_message_that_does_not_come_back_is_caught() {
    with_seed(2, rescuer_dies);
}

/// Negative control: a rescuer that does not ask whether the claimer lives robs it.
#[test]
#[should_panic(expected = "twice")]
fn robbing_the_living_is_caught() {
    model(|| {
        let (memory, kernel) = (Memory::new(2, Side::Multi, Side::Multi), Kernel::new());
        let (ring, put_cursor) = (memory.ring(2), PutCursor::zeroed());
        ring.start_put(&put_cursor);
        assert_eq!(ring.try_put(&put_cursor, &Word(7), true), Put::Done);
        let its = Arc::clone(&memory);
        let reader = thread::spawn(move || {
            let cursor = GetCursor::zeroed();
            its.ring(VICTIM as usize).start_get(&cursor);
            take(&its, VICTIM as usize, &cursor)
        });
        thread::yield_now();
        // The bug: it lives, and is taken for dead.
        kernel.victim_died.store(true, Ordering::Release);
        if memory.ring(1).finish_intents(VICTIM, &kernel).brought_back > 0 {
            memory.for_consumers.alert();
        }
        let cursor = GetCursor::zeroed();
        memory.ring(1).start_get(&cursor);
        let taken: Vec<u64> = take(&memory, 1, &cursor).into_iter().chain(reader.join().unwrap()).collect();
        assert!(taken.len() <= 1, "delivered twice");
    });
}
