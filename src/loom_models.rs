//! The ring and the sleep protocol under loom: every interleaving and every
//! weak-memory outcome of two or three threads on a tiny ring.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test --release --lib loom_models`. The
//! preemption bound is 2 (`LOOM_MAX_PREEMPTIONS` overrides it). loom always
//! checks the symmetric form of the fences; the asymmetric one has its own
//! explicit-state model in `tests/models/`.

#![allow(unsafe_code)]

use crate::primitive::with_seed;
use crate::primitive::{ArenaMemory, AtomicU64, BlockMemory, Fences, Payload, SlotMemory};
use crate::ring::{Arena, BlockHead, Chunks, Classes, Control, Get, GetCursor, Growth, Participant, Put, PutCursor};
use crate::ring::{Ring, Rows, Side, Sink, Source};
use crate::wait::{Attention, Deadline, park};
use bytemuck::Zeroable;
use loom::sync::Arc;
use loom::thread;
use std::mem::ManuallyDrop;

/// The shared memory of one queue, on the heap.
pub(super) struct Memory {
    control: Control,
    participants: [Participant; 3],
    pub(super) for_producers: Attention,
    pub(super) for_consumers: Attention,
    slots: ManuallyDrop<SlotMemory>,
    blocks: ManuallyDrop<BlockMemory>,
    no_rows: ManuallyDrop<SlotMemory>,
    heads: Vec<BlockHead>,
    arena: ManuallyDrop<SlotMemory>,
    /// Of an arena that grows: how far its blocks reach.
    reach: Vec<AtomicU64>,
    capacity: u64,
    /// Of a ring that grows: its chunks, and how many slots each has.
    words: Vec<AtomicU64>,
    chunk: u64,
    free: Option<Box<dyn FnOnce()>>,
    sides: (Side, Side),
}

// SAFETY: as shared memory: everything in it is atomic or tracked by loom.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    pub(super) fn new(capacity: u64, producers: Side, consumers: Side) -> Arc<Memory> {
        Memory::made(capacity, (producers, consumers), (0, false), 0)
    }

    /// With so many blocks for messages that no slot has room for.
    pub(super) fn with_arena(capacity: u64, producers: Side, consumers: Side, blocks_of_arena: u32) -> Arc<Memory> {
        Memory::made(capacity, (producers, consumers), (blocks_of_arena, false), 0)
    }

    /// With none of so many blocks so far.
    pub(super) fn with_growing_arena(blocks_of_arena: u32) -> Arc<Memory> {
        Memory::made(2, (Side::Multi, Side::Multi), (blocks_of_arena, true), 0)
    }

    /// In chunks of so many slots, of which the first has memory.
    pub(super) fn growing(capacity: u64, producers: Side, consumers: Side, chunk: u64) -> Arc<Memory> {
        Memory::made(capacity, (producers, consumers), (0, false), chunk)
    }

    fn made(capacity: u64, (producers, consumers): (Side, Side), arena: (u32, bool), chunk: u64) -> Arc<Memory> {
        let (blocks_of_arena, arena_grows) = arena;
        let in_blocks = (producers, consumers) == (Side::Single, Side::Single);
        let (slot_count, block_count) = if in_blocks { (0, capacity) } else { (capacity, 0) };
        let is_there = move |position| chunk == 0 || position < capacity + chunk;
        let first_stamps =
            (capacity..capacity + slot_count).map(move |position| if is_there(position) { position << 6 } else { 0 });
        let words: Vec<AtomicU64> =
            (0..2 * capacity.checked_div(chunk).unwrap_or(0)).map(|_| AtomicU64::new(0)).collect();
        Chunks::new(&words, chunk).initialise();
        let (slots, raw_slots) = SlotMemory::from_stamps(first_stamps);
        let (no_rows, raw_rows) = SlotMemory::from_stamps(0..0);
        let (arena, raw_arena) = SlotMemory::from_stamps((0..blocks_of_arena).map(u64::from));
        let (blocks, raw_blocks) = BlockMemory::fresh(block_count as usize);
        Arc::new(Memory {
            control: Control::new(capacity),
            participants: [Participant::new(), Participant::new(), Participant::new()],
            for_producers: Attention::new(),
            for_consumers: Attention::new(),
            slots: ManuallyDrop::new(slots),
            blocks: ManuallyDrop::new(blocks),
            no_rows: ManuallyDrop::new(no_rows),
            heads: (0..blocks_of_arena).map(|_| BlockHead::new()).collect(),
            arena: ManuallyDrop::new(arena),
            reach: (0..u32::from(arena_grows)).map(|_| AtomicU64::new(0)).collect(),
            capacity,
            words,
            chunk,
            // SAFETY: all came from boxes, and nobody has the memory any more.
            free: Some(Box::new(move || unsafe {
                drop((Box::from_raw(raw_slots), Box::from_raw(raw_blocks)));
                drop((Box::from_raw(raw_rows), Box::from_raw(raw_arena)));
            })),
            sides: (producers, consumers),
        })
    }

    pub(super) fn ring(&self, participant: usize) -> Ring<'_> {
        Ring {
            control: &self.control,
            me: &self.participants[participant],
            index: participant as u32,
            everyone: &self.participants,
            rows: Rows { memory: *self.no_rows, notes: &[], per_handle: 0 },
            arena: self.arena(),
            news: &self.for_producers.news,
            news_to_consumers: &self.for_consumers.news,
            capacity: self.capacity,
            chunks: Chunks::new(&self.words, self.chunk),
            slots: *self.slots,
            blocks: *self.blocks,
            producers: self.sides.0,
            consumers: self.sides.1,
            fences: Fences::Symmetric,
            read_ahead: 0,
            write_ahead: 0,
            adopts: true,
            cast: None,
        }
    }

    fn arena(&self) -> Arena<'_> {
        const SIZE: u64 = 64;
        let classes = match self.heads.len() as u64 {
            0 => Classes::default(),
            count => Classes::cut(self.capacity, 0, SIZE, count * SIZE),
        };
        // SAFETY: as many cells as the classes have blocks.
        unsafe { Arena::new(&self.heads, ArenaMemory { cells: *self.arena }, classes, &self.reach) }.adopting(true)
    }

    /// What a producer asks after a publication.
    fn is_in(&self, ring: &Ring<'_>, cursor: &PutCursor) -> bool {
        let stirred = self.for_producers.stirred(Fences::Symmetric);
        let settles = self.sides == (Side::Single, Side::Single);
        !settles || !stirred || !self.for_producers.is_closed() || ring.settle(cursor, 1) == 1
    }

    fn close(&self) {
        self.ring(2).close();
        self.for_consumers.set_closed();
        self.for_producers.wake_all();
        self.for_consumers.wake_all();
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            free();
        }
    }
}

pub(super) struct Word(pub(super) u64);

impl Source for Word {
    fn first_word(&self) -> Option<u64> {
        Some(self.0)
    }

    unsafe fn write(&self, payload: Payload, skip: usize) {
        // SAFETY: eight bytes of a local, less those written.
        unsafe { payload.write(skip, (&self.0 as *const u64).cast::<u8>().add(skip), 8 - skip) }
    }
}

impl Sink for Word {
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        // SAFETY: eight bytes of a local.
        unsafe { payload.read(0, (&mut self.0 as *mut u64).cast(), 8) };
        8
    }
}

/// A producer that tries until each message is in; sleeps while there is no room
/// if `sleep`. Stops at the first refusal, and says how many went in.
pub(super) fn produce(memory: &Memory, participant: usize, messages: &[u64], sleep: bool) -> usize {
    let ring = memory.ring(participant);
    let cursor = PutCursor::zeroed();
    ring.start_put(&cursor);
    for (done, message) in messages.iter().enumerate() {
        loop {
            match ring.try_put(&cursor, &Word(*message), true) {
                Put::Done if memory.is_in(&ring, &cursor) => break,
                Put::Done => return done,
                Put::Closed => return done,
                Put::Damaged => panic!("the ring contradicts itself"),
                Put::Full if sleep => {
                    ring.rest_put(&cursor);
                    let _ = park(&memory.for_consumers, Fences::Symmetric, Deadline::Never, || ring.may_put(&cursor));
                }
                Put::Full => thread::yield_now(),
                Put::Grow => match ring.start_growth() {
                    Growth::Mine(job) => assert!(ring.lay_out(&job), "two at one chunk"),
                    Growth::Open | Growth::Reused => {}
                    Growth::Damaged => panic!("two at one chunk"),
                    Growth::Busy => thread::yield_now(),
                },
            }
        }
        if memory.for_producers.wanted(Fences::Symmetric) {
            memory.for_producers.wake(1);
        }
    }
    messages.len()
}

/// A consumer that takes `count` messages, or all until the queue is finished.
pub(super) fn consume(memory: &Memory, participant: usize, count: usize, sleep: bool) -> Vec<u64> {
    let ring = memory.ring(participant);
    let cursor = GetCursor::zeroed();
    ring.start_get(&cursor);
    let mut taken = Vec::new();
    while taken.len() < count {
        let mut word = Word(0);
        let got = ring.try_get(&cursor, &mut word);
        if let Some(chunk) = ring.left_chunk(&cursor) {
            punch(&ring, chunk);
        }
        match got {
            Get::Item => {
                taken.push(word.0);
                if memory.for_consumers.wanted(Fences::Symmetric) {
                    ring.catch_up_head(&cursor);
                    memory.for_consumers.wake(1);
                }
            }
            Get::Damaged => panic!("the ring contradicts itself"),
            Get::Empty | Get::Unfinished | Get::Closing => {
                if memory.for_consumers.is_closed() {
                    crate::primitive::heavy_barrier(Fences::Symmetric);
                    if ring.is_drained(&cursor) == Ok(true) {
                        break;
                    }
                    thread::yield_now();
                } else if sleep {
                    ring.rest_get(&cursor);
                    let closed = || memory.for_consumers.is_closed();
                    let ready = || ring.may_get(&cursor) || closed();
                    let _ = park(&memory.for_producers, Fences::Symmetric, Deadline::Never, ready);
                } else {
                    thread::yield_now();
                }
            }
        }
    }
    taken
}

/// Gives a chunk's memory back, if nobody is in the way: its stamps then read zero, which no
/// access may find.
fn punch(ring: &Ring<'_>, chunk: usize) {
    if let Some(job) = ring.start_punch(chunk).mine() {
        ring.take_memory(&job);
        ring.finish_punch(&job);
    }
}

pub(super) fn model(body: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(2));
    builder.check(body);
}

const SIDES: [(Side, Side); 4] = [
    (Side::Single, Side::Single),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Single),
    (Side::Multi, Side::Multi),
];

/// One producer, one consumer, every pair of sides, every lap boundary.
fn fifo(capacity: u64, producers: Side, consumers: Side, sleep: bool) {
    model(move || {
        let memory = Memory::new(capacity, producers, consumers);
        let other = Arc::clone(&memory);
        let producer = thread::spawn(move || produce(&other, 0, &[1, 2, 3], sleep));
        assert_eq!(consume(&memory, 1, 3, sleep), [1, 2, 3]);
        assert_eq!(producer.join().unwrap(), 3);
    });
}

#[test]
fn fifo_of_capacity_1() {
    SIDES.iter().for_each(|&(p, c)| fifo(1, p, c, false));
}

#[test]
fn fifo_of_capacity_2() {
    SIDES.iter().for_each(|&(p, c)| fifo(2, p, c, false));
}

#[test]
fn nobody_sleeps_through_a_message_or_a_free_slot() {
    SIDES.iter().for_each(|&(p, c)| fifo(1, p, c, true));
}

#[test]
fn two_producers() {
    for consumers in [Side::Single, Side::Multi] {
        model(move || {
            let memory = Memory::new(2, Side::Multi, consumers);
            let producers: Vec<_> = [0, 2]
                .map(|participant| {
                    let memory = Arc::clone(&memory);
                    thread::spawn(move || produce(&memory, participant, &[participant as u64 + 10], false))
                })
                .into();
            let mut taken = consume(&memory, 1, 2, false);
            taken.sort_unstable();
            assert_eq!(taken, [10, 12]);
            producers.into_iter().for_each(|p| assert_eq!(p.join().unwrap(), 1));
        });
    }
}

#[test]
fn two_consumers() {
    for producers in [Side::Single, Side::Multi] {
        model(move || {
            let memory = Memory::new(2, producers, Side::Multi);
            let other = Arc::clone(&memory);
            let consumer = thread::spawn(move || consume(&other, 1, 1, false));
            assert_eq!(produce(&memory, 0, &[1, 2], false), 2);
            let mut taken = consume(&memory, 2, 1, false);
            taken.extend(consumer.join().unwrap());
            taken.sort_unstable();
            assert_eq!(taken, [1, 2]);
        });
    }
}

/// Two chunks of one slot: each put makes one or opens it for the next lap, each get drains one.
#[test]
fn fifo_of_chunks() {
    model(|| {
        let memory = Memory::growing(2, Side::Multi, Side::Multi, 1);
        let other = Arc::clone(&memory);
        let producer = thread::spawn(move || produce(&other, 0, &[1, 2, 3], false));
        assert_eq!(consume(&memory, 1, 3, false), [1, 2, 3]);
        assert_eq!(producer.join().unwrap(), 3);
    });
}

/// 61: a chunk is opened for the next lap though a message of this one is not committed.
#[test]
#[should_panic(expected = "the ring contradicts itself")]
fn a_chunk_that_is_opened_too_early_is_caught() {
    with_seed(61, fifo_of_chunks);
}

/// 60: nobody looks at a chunk's word behind the hazard.
#[test]
#[should_panic(expected = "a page that is not there")]
fn a_touch_without_a_second_look_is_caught() {
    with_seed(60, a_punched_chunk_is_not_touched);
}

/// Nobody who comes late touches a chunk that was punched meanwhile; `load_stamp` says so.
#[test]
fn a_punched_chunk_is_not_touched() {
    model(|| {
        let memory = Memory::growing(3, Side::Multi, Side::Multi, 1);
        assert_eq!(produce(&memory, 0, &[1, 2], false), 2);
        let (for_get, for_looking) = (Arc::clone(&memory), Arc::clone(&memory));
        let late = thread::spawn(move || {
            let ring = for_get.ring(2);
            let cursor = GetCursor::zeroed();
            ring.start_get(&cursor);
            let mut word = Word(0);
            usize::from(ring.try_get(&cursor, &mut word) == Get::Item)
        });
        let ring = memory.ring(1);
        let cursor = GetCursor::zeroed();
        ring.start_get(&cursor);
        let mut taken = 0;
        for _ in 0..2 {
            taken += usize::from(ring.try_get(&cursor, &mut Word(0)) == Get::Item);
        }
        punch(&ring, 0);
        let _ = for_looking.ring(0).is_empty();
        assert!(taken + late.join().unwrap() <= 2);
    });
}

/// The same where the pages are another chunk's meanwhile.
#[test]
fn a_place_that_was_punched_is_not_touched() {
    model(|| {
        let memory = Memory::growing(3, Side::Multi, Side::Multi, 1);
        let ring = memory.ring(1);
        let cursor = GetCursor::zeroed();
        ring.start_get(&cursor);
        let get = || usize::from(ring.try_get(&cursor, &mut Word(0)) == Get::Item);
        assert_eq!((produce(&memory, 0, &[1], false), get()), (1, 1));
        // Chunk 1 has the place of chunk 0.
        assert_eq!(produce(&memory, 0, &[2], false), 1);
        let for_get = Arc::clone(&memory);
        let late = thread::spawn(move || {
            let ring = for_get.ring(2);
            let cursor = GetCursor::zeroed();
            ring.start_get(&cursor);
            usize::from(ring.try_get(&cursor, &mut Word(0)) == Get::Item)
        });
        let mut taken = get();
        // And now chunk 2, if nobody holds it up.
        assert_eq!(produce(&memory, 0, &[3], false), 1);
        taken += get();
        punch(&ring, 2);
        assert!(taken + late.join().unwrap() <= 2);
    });
}

/// 63: a hazard names the chunk.
#[test]
#[should_panic(expected = "a page that is not there")]
fn a_hazard_for_a_chunk_is_caught() {
    with_seed(63, a_place_that_was_punched_is_not_touched);
}

/// What a put has acknowledged is delivered before `Closed`; what it refused is not.
#[test]
fn close_neither_loses_nor_invents() {
    for (producers, consumers) in SIDES {
        model(move || {
            let memory = Memory::new(2, producers, consumers);
            let (for_put, for_close) = (Arc::clone(&memory), Arc::clone(&memory));
            let producer = thread::spawn(move || produce(&for_put, 0, &[1], false));
            let closer = thread::spawn(move || for_close.close());
            let taken = consume(&memory, 1, usize::MAX, false);
            closer.join().unwrap();
            let acknowledged = producer.join().unwrap();
            assert_eq!(taken.len(), acknowledged, "{producers:?} {consumers:?}");
        });
    }
}

/// The same while somebody who only asks whether the queue is finished may be the
/// first to decide where it ends.
#[test]
fn an_asker_neither_loses_nor_invents() {
    model(|| {
        let memory = Memory::new(2, Side::Single, Side::Single);
        let (for_put, for_asking) = (Arc::clone(&memory), Arc::clone(&memory));
        let producer = thread::spawn(move || produce(&for_put, 0, &[1], false));
        let asker = thread::spawn(move || {
            for_asking.close();
            crate::primitive::heavy_barrier(Fences::Symmetric);
            for_asking.ring(2).is_exhausted() == Ok(true)
        });
        let taken = consume(&memory, 1, usize::MAX, false);
        let finished = asker.join().unwrap();
        let acknowledged = producer.join().unwrap();
        assert_eq!(taken.len(), acknowledged);
        assert!(acknowledged == 1 || finished || taken.is_empty());
    });
}

#[test]
fn close_wakes_a_sleeping_consumer() {
    for (producers, consumers) in SIDES {
        model(move || {
            let memory = Memory::new(1, producers, consumers);
            let other = Arc::clone(&memory);
            let closer = thread::spawn(move || other.close());
            assert!(consume(&memory, 1, usize::MAX, true).is_empty());
            closer.join().unwrap();
        });
    }
}

/// Negative control: a sleeper that does not fence between arming and asking can
/// sleep through a message. loom reports the deadlock.
#[test]
#[should_panic(expected = "deadlock")]
fn a_sleeper_without_a_fence_is_caught() {
    model(|| {
        let memory = Memory::new(1, Side::Single, Side::Single);
        let other = Arc::clone(&memory);
        let producer = thread::spawn(move || produce(&other, 0, &[1], false));
        let ring = memory.ring(1);
        let cursor = GetCursor::zeroed();
        ring.start_get(&cursor);
        while ring.try_get(&cursor, &mut Word(0)) != Get::Item {
            memory.for_producers.sleep_without_fence(|| ring.may_get(&cursor));
        }
        producer.join().unwrap();
    });
}

/// Negative control: a consumer that believes `Closed` without the barrier and
/// the second look loses an acknowledged message.
#[test]
#[should_panic(expected = "lost")]
fn a_hasty_closed_is_caught() {
    model(|| {
        let memory = Memory::new(2, Side::Single, Side::Single);
        let (for_put, for_close) = (Arc::clone(&memory), Arc::clone(&memory));
        let producer = thread::spawn(move || produce(&for_put, 0, &[1], false));
        let closer = thread::spawn(move || for_close.close());
        let ring = memory.ring(1);
        let cursor = GetCursor::zeroed();
        ring.start_get(&cursor);
        let mut taken = 0;
        loop {
            match ring.try_get(&cursor, &mut Word(0)) {
                Get::Item => taken += 1,
                _ if memory.for_consumers.is_closed() => break,
                _ => thread::yield_now(),
            }
        }
        closer.join().unwrap();
        assert_eq!(taken, producer.join().unwrap(), "a message was lost");
    });
}

/// An all-clear takes back the alert that was looked into, and no later one.
#[test]
fn an_alert_that_is_raised_again_stands() {
    model(|| {
        let line = Attention::new();
        line.alert();
        line.has_departed();
        let (alert, departure) = (line.alerted().expect("it was raised"), line.departed());
        // Another one has looked, too, and was quicker.
        line.all_clear(alert);
        line.is_there(departure);
        line.alert();
        line.has_departed();
        line.all_clear(alert);
        line.is_there(departure);
        assert!(line.alerted().is_some() && line.departed() != 0);
    });
}
