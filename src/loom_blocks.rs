//! Messages in blocks of the arena under loom: no block is handed out twice, none is lost
//! with the dead, and no message with a block. The bytes of each block are a tracked cell:
//! whoever reads or writes them beside another fails the model.
//!
//! Deaths, and giving way, as in `loom_crashes`.

#![allow(unsafe_code)]

use crate::loom_crashes::{Kernel, MAIN, Manners, RESCUER, VICTIM, for_every_access, give_way};
use crate::loom_models::{Memory, model};
use crate::primitive::Payload;
use crate::primitive::crash::{die_at, outcome};
use crate::primitive::with_seed;
use crate::ring::{Get, GetCursor, Hints, IN_A_BLOCK, Placing, Position, Put, PutCursor, Ring, Side, Sink, Taken};
use bytemuck::Zeroable;
use loom::sync::Arc;
use loom::sync::atomic::Ordering;
use loom::thread;
use std::sync::atomic::Ordering as StdOrdering;

const LEN: usize = size_of::<u64>();
const BLOCKS: u32 = 2;

/// What a slot named, and what became of it.
#[derive(Default)]
struct Named {
    block: Option<u32>,
    taken: Option<Taken>,
}

impl Sink for Named {
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        let mut word = [0; size_of::<u32>()];
        // SAFETY: four bytes of a local.
        unsafe { payload.read(0, word.as_mut_ptr(), word.len()) };
        self.block = Some(u32::from_ne_bytes(word) & !IN_A_BLOCK);
        word.len()
    }

    fn keep(&mut self, ring: &Ring<'_>, _at: u64, position: Position, _count: u32) {
        self.taken = self.block.and_then(|block| ring.arena.take(block, ring.index, position));
    }

    fn block(&mut self, _at: u64) -> Option<u32> {
        self.block
    }

    fn found(&mut self, _at: u64, taken: Option<Taken>) {
        self.taken = taken;
    }

    fn is_husk(&self) -> bool {
        self.taken.is_none()
    }
}

/// Puts `value` in a block. None: there was no block, or no room.
fn put(ring: &Ring<'_>, cursor: &PutCursor, value: u64) -> Option<()> {
    let block = ring.arena.reserve_block(ring.index, LEN, &Hints::zeroed())?;
    let bytes = value.to_ne_bytes();
    // SAFETY: eight bytes of a local, and every block has room for them.
    unsafe { ring.arena.payload(block)?.write_bulk(0, bytes.as_ptr(), LEN) };
    ring.arena.set_len(block, LEN);
    let placing = Placing::new(block);
    match ring.try_put(cursor, &placing, true) {
        Put::Done => Some(()),
        Put::Damaged => panic!("the ring contradicts itself"),
        Put::Full | Put::Closed | Put::Grow => {
            assert!(placing.take_back(ring), "nobody scribbles");
            ring.arena.cancel_block(block, ring.index);
            None
        }
    }
}

/// Takes a message, of those that came back first. None: nothing is there, or what was
/// is somebody else's.
fn take(memory: &Memory, ring: &Ring<'_>, cursor: &GetCursor) -> Option<u64> {
    let mut named = Named::default();
    let mut got = false;
    if let Some(seen) = memory.for_consumers.alerted() {
        got = ring.take_back(cursor, 1, &mut named) == 1;
        if !got {
            memory.for_consumers.all_clear(seen);
        }
    }
    if !got {
        match ring.try_get(cursor, &mut named) {
            Get::Item => {}
            Get::Damaged => panic!("the ring contradicts itself"),
            _ => return None,
        }
    }
    let mut bytes = Vec::new();
    assert!(ring.arena.fetch(named.taken?, &mut bytes), "nobody scribbles");
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

/// One look for the dead by whoever holds the victim's keep byte.
fn rescue(memory: &Memory, participant: usize, kernel: &Arc<Kernel>) {
    use crate::ring::Living;
    if kernel.is_alive(VICTIM) {
        return;
    }
    let ring = memory.ring(participant);
    let single = ring.finish_single_producer(kernel);
    let claims = ring.finish_intents(VICTIM, kernel);
    let given_back = if claims.left == 0 { ring.keep_cells(VICTIM).brought_back } else { 0 };
    if single.brought_back + claims.brought_back + claims.found_back + given_back > 0 {
        memory.for_consumers.alert();
    }
}

fn all_blocks_are_free(memory: &Memory) {
    let ring = memory.ring(1);
    for _ in 0..BLOCKS {
        assert!(ring.arena.reserve_block(1, LEN, &Hints::zeroed()).is_some(), "a block is lost");
    }
}

fn start_rescuer(memory: &Arc<Memory>, kernel: &Arc<Kernel>, manners: Manners) -> thread::JoinHandle<()> {
    let (memory, kernel) = (Arc::clone(memory), Arc::clone(kernel));
    thread::spawn(move || {
        give_way(manners, RESCUER);
        rescue(&memory, 2, &kernel);
    })
}

/// The victim dies while it puts: its message is there once or not at all, and so is its
/// block.
fn death_in_put(producers: Side, consumers: Side) {
    for_every_access(|k, died, manners| {
        model(move || {
            let (memory, kernel) = (Memory::with_arena(2, producers, consumers, BLOCKS), Kernel::new());
            let (its, told) = (Arc::clone(&memory), Arc::clone(&kernel));
            let victim = thread::spawn(move || {
                let (ring, cursor) = (its.ring(VICTIM as usize), PutCursor::zeroed());
                ring.start_put(&cursor);
                die_at(k);
                let put = outcome(|| put(&ring, &cursor, 7));
                if put.is_none() {
                    died.store(true, StdOrdering::Relaxed);
                }
                told.victim_died.store(true, Ordering::Release);
                put.flatten()
            });
            let rescuer = start_rescuer(&memory, &kernel, manners);
            let (ring, cursor) = (memory.ring(1), GetCursor::zeroed());
            ring.start_get(&cursor);
            give_way(manners, MAIN);
            let mut taken: Vec<u64> = take(&memory, &ring, &cursor).into_iter().collect();
            let acknowledged = victim.join().unwrap();
            rescuer.join().unwrap();
            rescue(&memory, 1, &kernel);
            // The survivors go on.
            let (other, put_cursor) = (memory.ring(2), PutCursor::zeroed());
            other.start_put(&put_cursor);
            for number in 10..13 {
                while let Some(message) = take(&memory, &ring, &cursor) {
                    taken.push(message);
                }
                assert!(put(&other, &put_cursor, number).is_some(), "a block or a position is lost");
            }
            taken.extend(take(&memory, &ring, &cursor));
            let sevens = taken.iter().filter(|message| **message == 7).count();
            taken.retain(|message| *message != 7);
            assert_eq!(taken, [10, 11, 12]);
            assert!(sevens <= 1 && (acknowledged.is_none() || sevens == 1), "acknowledged is kept, once");
            all_blocks_are_free(&memory);
        });
    });
}

#[test]
fn a_death_in_put_keeps_no_block() {
    death_in_put(Side::Multi, Side::Multi);
    death_in_put(Side::Multi, Side::Single);
    death_in_put(Side::Single, Side::Multi);
    death_in_put(Side::Single, Side::Single);
}

/// The victim dies while it gets: the message was its own, or is somebody else's; the
/// block is free in any case.
fn death_in_get(producers: Side) {
    for_every_access(|k, died, manners| {
        model(move || {
            let (memory, kernel) = (Memory::with_arena(2, producers, Side::Multi, BLOCKS), Kernel::new());
            let (other, put_cursor) = (memory.ring(2), PutCursor::zeroed());
            other.start_put(&put_cursor);
            put(&other, &put_cursor, 7).expect("there is room");
            let (its, told) = (Arc::clone(&memory), Arc::clone(&kernel));
            let victim = thread::spawn(move || {
                let (ring, cursor) = (its.ring(VICTIM as usize), GetCursor::zeroed());
                ring.start_get(&cursor);
                die_at(k);
                let got = outcome(|| take(&its, &ring, &cursor));
                if got.is_none() {
                    died.store(true, StdOrdering::Relaxed);
                }
                told.victim_died.store(true, Ordering::Release);
                got.flatten()
            });
            let rescuer = start_rescuer(&memory, &kernel, manners);
            let (ring, cursor) = (memory.ring(1), GetCursor::zeroed());
            ring.start_get(&cursor);
            give_way(manners, MAIN);
            let mut taken: Vec<u64> = take(&memory, &ring, &cursor).into_iter().collect();
            taken.extend(victim.join().unwrap());
            rescuer.join().unwrap();
            rescue(&memory, 1, &kernel);
            while let Some(message) = take(&memory, &ring, &cursor) {
                taken.push(message);
            }
            assert!(taken.is_empty() && died.load(StdOrdering::Relaxed) || taken == [7], "{taken:?}");
            for number in 10..13 {
                put(&other, &put_cursor, number).expect("a block or a position is lost");
                assert_eq!(take(&memory, &ring, &cursor), Some(number));
            }
            all_blocks_are_free(&memory);
        });
    });
}

#[test]
fn a_death_in_get_keeps_no_block() {
    death_in_get(Side::Multi);
    death_in_get(Side::Single);
}

/// Two producers want the only block, which a consumer frees meanwhile.
#[test]
fn nobody_is_given_the_block_of_another() {
    let both = |manners| [(Side::Multi, manners), (Side::Single, manners)];
    for (consumers, manners) in (0..=MAIN | RESCUER).flat_map(both) {
        model(move || {
            let memory = Memory::with_arena(2, Side::Multi, consumers, 1);
            let producers = [0, 2].map(|participant| {
                let memory = Arc::clone(&memory);
                thread::spawn(move || {
                    give_way(if participant == 2 { manners } else { 0 }, RESCUER);
                    let (ring, cursor) = (memory.ring(participant), PutCursor::zeroed());
                    ring.start_put(&cursor);
                    put(&ring, &cursor, participant as u64 + 10).map(|()| participant as u64 + 10)
                })
            });
            let (ring, cursor) = (memory.ring(1), GetCursor::zeroed());
            ring.start_get(&cursor);
            give_way(manners, MAIN);
            let mut taken: Vec<u64> = take(&memory, &ring, &cursor).into_iter().collect();
            let mut sent: Vec<u64> = producers.into_iter().filter_map(|producer| producer.join().unwrap()).collect();
            while let Some(message) = take(&memory, &ring, &cursor) {
                taken.push(message);
            }
            taken.sort_unstable();
            sent.sort_unstable();
            assert_eq!(taken, sent);
            assert!(!sent.is_empty(), "one of them had the block");
        });
    }
}

// Negative controls: mistakes of the library, by number (`primitive::seed`).

/// 9: blocks that the dead had reserved, or copied out of, stay theirs.
#[test]
#[should_panic(expected = "is lost")]
fn a_block_that_stays_with_the_dead_is_caught() {
    with_seed(9, || death_in_get(Side::Multi));
}

/// 10: blocks that the dead had placed and never published stay theirs.
#[test]
#[should_panic(expected = "is lost")]
fn a_block_that_was_never_published_is_caught() {
    with_seed(10, || death_in_put(Side::Multi, Side::Multi));
}

/// Negative control: a reader that frees the block before it has copied the message out
/// shares it with the next writer.
#[test]
#[should_panic(expected = "Causality violation")]
fn a_block_that_is_freed_too_early_is_caught() {
    model(|| {
        let memory = Memory::with_arena(2, Side::Multi, Side::Multi, 1);
        let (other, put_cursor) = (memory.ring(2), PutCursor::zeroed());
        other.start_put(&put_cursor);
        put(&other, &put_cursor, 7).expect("there is room");
        let its = Arc::clone(&memory);
        let reader = thread::spawn(move || {
            let (ring, cursor) = (its.ring(1), GetCursor::zeroed());
            ring.start_get(&cursor);
            let mut named = Named::default();
            if ring.try_get(&cursor, &mut named) == Get::Item
                && let Some(taken) = named.taken
            {
                // The bug: the other way round.
                ring.arena.free_before_reading(taken);
                let mut bytes = Vec::new();
                let _ = ring.arena.fetch(taken, &mut bytes);
            }
        });
        // As in `loom_crashes`: loom alone would not try it after the exchange.
        thread::yield_now();
        let _ = put(&other, &put_cursor, 8);
        reader.join().unwrap();
    });
}
