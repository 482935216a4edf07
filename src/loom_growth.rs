//! An arena that grows, under loom (rule G10): nobody comes to a head that has no memory yet, no block is handed out
//! twice, and nobody writes to a block whose memory is not there, also while another takes the memory of idle ones.
//!
//! Memory itself is a flag for each head and each block, set and cleared where the caller of these rules allocates and
//! gives back; the bytes of each block are a tracked cell, as in `loom_blocks`.

#![allow(unsafe_code)]

use crate::loom_models::{Memory, model};
use crate::primitive::{AtomicU64, Ordering};
use crate::ring::{BlockHead, Extension, Hints, Memory as Backing, Ring};
use bytemuck::Zeroable;
use loom::sync::Arc;
use loom::thread;
use std::cell::Cell;

const LEN: usize = size_of::<u64>();
const BLOCKS: u32 = 2;

/// What has memory.
struct Ground {
    heads: Vec<AtomicU64>,
    blocks: Vec<AtomicU64>,
}

impl Ground {
    fn new() -> Arc<Ground> {
        let none = || (0..BLOCKS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Ground { heads: none(), blocks: none() })
    }

    /// Relaxed, as nothing but the rules may order it.
    fn give_heads(&self, extension: Extension) {
        let size = size_of::<BlockHead>() as u64;
        let range = extension.heads();
        for head in range.start / size..range.end / size {
            self.heads[head as usize].store(1, Ordering::Relaxed);
        }
    }

    fn has_head(&self, block: u32) -> bool {
        self.heads[block as usize].load(Ordering::Relaxed) == 1
    }

    fn set_block(&self, block: u32, is_there: bool) {
        self.blocks[block as usize].store(u64::from(is_there), Ordering::Relaxed);
    }

    fn has_block(&self, block: u32) -> bool {
        self.blocks[block as usize].load(Ordering::Relaxed) == 1
    }
}

/// The mistakes that are to be caught.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// Blocks are announced before their heads have memory.
    EarlyReach,
    /// Who takes the memory of an idle block does not say so in its word.
    SilentTaking,
}

/// A block with memory, as who puts gets one. None: all are somebody's, or were when it was their turn.
fn reserve(ring: &Ring<'_>, ground: &Ground, mistake: Mistake) -> Option<u32> {
    let arena = ring.arena;
    // It may have to add each of them.
    for _ in 0..=BLOCKS {
        if let Some(block) = arena.reserve_block(ring.index, LEN, &Hints::zeroed()) {
            assert!(ground.has_head(block), "a head without memory");
            if !arena.has_memory(block) {
                arena.set_memory(block, Backing::Some);
                ground.set_block(block, true);
                arena.set_memory(block, Backing::All);
            }
            return Some(block);
        }
        let extension = arena.extension(LEN)?;
        if mistake == Mistake::EarlyReach {
            arena.extend(extension);
            ground.give_heads(extension);
        } else {
            ground.give_heads(extension);
            arena.extend(extension);
        }
    }
    None
}

fn write(ring: &Ring<'_>, ground: &Ground, block: u32, value: u64) {
    assert!(ground.has_block(block), "a block without memory");
    let bytes = value.to_ne_bytes();
    let payload = ring.arena.payload(block).expect("it was reserved");
    // SAFETY: eight bytes of a local, and every block has room for them.
    unsafe { payload.write_bulk(0, bytes.as_ptr(), LEN) };
}

/// Takes the memory of an idle block, if there is one.
fn take_idle(ring: &Ring<'_>, ground: &Ground, mistake: Mistake) {
    let arena = ring.arena;
    if let Some(block) = arena.reserve_idle(ring.index, &Cell::new(0), BLOCKS, true) {
        if mistake != Mistake::SilentTaking {
            arena.set_memory(block, Backing::Some);
        }
        ground.set_block(block, false);
        if mistake != Mistake::SilentTaking {
            arena.set_memory(block, Backing::None);
        }
        arena.cancel_block(block, ring.index);
    }
}

/// Two participants each need a block for as long as they write it, twice.
fn two_writers(mistake: Mistake) {
    model(move || {
        let (memory, ground) = (Memory::with_growing_arena(BLOCKS), Ground::new());
        let work = move |memory: &Memory, ground: &Ground, participant: usize| {
            let ring = memory.ring(participant);
            for value in 0..2 {
                // There is one for each of the two, but a look at one after the other may miss it.
                let block = loop {
                    match reserve(&ring, ground, mistake) {
                        Some(block) => break block,
                        None => thread::yield_now(),
                    }
                };
                write(&ring, ground, block, value);
                ring.arena.cancel_block(block, ring.index);
            }
        };
        let other = {
            let (memory, ground) = (Arc::clone(&memory), Arc::clone(&ground));
            thread::spawn(move || work(&memory, &ground, 1))
        };
        work(&memory, &ground, 0);
        other.join().unwrap();
        assert!(memory.ring(0).arena.blocks_so_far() <= BLOCKS);
    });
}

/// One writes to a block after the other, another takes what memory is idle meanwhile.
fn writer_and_taker(mistake: Mistake) {
    model(move || {
        let (memory, ground) = (Memory::with_growing_arena(BLOCKS), Ground::new());
        let taker = {
            let (memory, ground) = (Arc::clone(&memory), Arc::clone(&ground));
            thread::spawn(move || {
                let ring = memory.ring(1);
                for _ in 0..2 {
                    take_idle(&ring, &ground, mistake);
                    thread::yield_now();
                }
            })
        };
        let ring = memory.ring(0);
        for value in 0..3 {
            if let Some(block) = reserve(&ring, &ground, mistake) {
                write(&ring, &ground, block, value);
                ring.arena.cancel_block(block, ring.index);
            }
            thread::yield_now();
        }
        taker.join().unwrap();
        assert!(reserve(&ring, &ground, mistake).is_some(), "a block is lost");
    });
}

#[test]
fn blocks_are_added_with_heads_and_go_to_one() {
    two_writers(Mistake::None);
}

#[test]
fn nobody_writes_where_memory_was_taken() {
    writer_and_taker(Mistake::None);
}

/// Negative control.
#[test]
#[should_panic(expected = "a head without memory")]
fn a_reach_that_comes_before_the_heads_is_caught() {
    two_writers(Mistake::EarlyReach);
}

/// Negative control.
#[test]
#[should_panic(expected = "a block without memory")]
fn memory_that_is_taken_in_silence_is_caught() {
    writer_and_taker(Mistake::SilentTaking);
}
