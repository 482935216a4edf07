//! States laid out byte by byte: what a peer left, and what we make of it.

#![allow(unsafe_code)]

use super::position::{Position, Stamp};
use super::*;
use crate::primitive::{AtomicU64, BlockShape, Ordering, Payload};
use bytemuck::Zeroable;

mod chunks;
mod hostile;
mod recover;
mod spsc;

#[derive(Clone)]
#[repr(C, align(64))]
struct CacheLine([u64; 8]);

/// One ring on the heap: 16 bytes a slot, or blocks of seven words.
struct Heap {
    control: Box<Control>,
    participants: Box<[Participant; PARTICIPANTS]>,
    news: Box<AtomicU32>,
    lines: Vec<CacheLine>,
    row_lines: Vec<CacheLine>,
    notes: Box<[CellNote; ROWS]>,
    capacity: usize,
    shape: BlockShape,
    fences: Fences,
    sides: (Side, Side),
}

const STRIDE: usize = 16;
const PARTICIPANTS: usize = 4;
const ROWS: usize = 4;

impl Heap {
    fn new(capacity: usize, producers: Side, consumers: Side) -> Heap {
        // SAFETY: atomics are valid as zeros.
        let (control, participants, notes) =
            unsafe { (Box::new(std::mem::zeroed()), Box::new(std::mem::zeroed()), Box::new(std::mem::zeroed())) };
        let heap = Heap {
            control,
            participants,
            news: Box::new(AtomicU32::new(0)),
            lines: vec![CacheLine([0; 8]); capacity.div_ceil(4)],
            row_lines: vec![CacheLine([0; 8]); ROWS.div_ceil(4)],
            notes,
            capacity,
            shape: BlockShape::of(8),
            fences: Fences::Asymmetric,
            sides: (producers, consumers),
        };
        heap.control.initialise(capacity as u64);
        Ring::initialise_slots(heap.slots(), capacity);
        heap
    }

    fn uses_blocks(&self) -> bool {
        self.sides == (Side::Single, Side::Single)
    }

    fn base(&self) -> *mut u8 {
        self.lines.as_ptr().cast_mut().cast()
    }

    fn slots(&self) -> SlotMemory {
        let count = if self.uses_blocks() { 0 } else { self.capacity };
        // SAFETY: the lines live as long as `self`, and are accessed only here.
        unsafe { SlotMemory::new(self.base(), count, STRIDE) }
    }

    fn blocks(&self) -> BlockMemory {
        let count = if self.uses_blocks() { self.capacity } else { 0 };
        // SAFETY: as in `slots`.
        unsafe { BlockMemory::new(self.base(), count, self.shape) }
    }

    fn rows(&self) -> Rows<'_> {
        let base = self.row_lines.as_ptr().cast_mut().cast();
        // SAFETY: as in `slots`.
        let memory = unsafe { SlotMemory::new(base, ROWS, STRIDE) };
        Rows { memory, notes: &*self.notes, per_handle: 2 }
    }

    fn ring(&self) -> Ring<'_> {
        self.ring_of(0)
    }

    fn ring_of(&self, participant: usize) -> Ring<'_> {
        Ring {
            control: &self.control,
            me: &self.participants[participant],
            index: participant as u32,
            everyone: &*self.participants,
            rows: self.rows(),
            arena: Arena::none(),
            news: &self.news,
            news_to_consumers: &self.news,
            capacity: self.capacity as u64,
            chunks: Chunks::none(),
            slots: self.slots(),
            blocks: self.blocks(),
            producers: self.sides.0,
            consumers: self.sides.1,
            fences: self.fences,
            read_ahead: 0,
            write_ahead: 0,
            adopts: true,
            cast: None,
        }
    }

    /// Word `at` of the memory.
    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < 8 * self.lines.len());
        // SAFETY: in bounds; the reference does not outlive `self`.
        unsafe { AtomicU64::from_ptr(self.base().cast::<u64>().add(at)) }
    }

    fn words(&self, count: usize) -> Vec<u64> {
        (0..count).map(|at| self.word(at).load(Ordering::Relaxed)).collect()
    }

    fn stamp(&self, index: usize) -> &AtomicU64 {
        self.word(index * STRIDE / 8)
    }

    fn set(&self, index: usize, stamp: Stamp) {
        self.stamp(index).store(stamp.raw(), Ordering::Relaxed);
    }
}

struct Word(u64);

impl Source for Word {
    unsafe fn write(&self, payload: Payload, _skip: usize) {
        // SAFETY: eight bytes of a local.
        unsafe { payload.write(0, (&self.0 as *const u64).cast(), 8) }
    }
}

impl Sink for Word {
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        // SAFETY: eight bytes of a local.
        unsafe { payload.read(0, (&mut self.0 as *mut u64).cast(), 8) };
        8
    }
}

fn put(heap: &Heap, cursor: &PutCursor, value: u64) -> Put {
    let ring = heap.ring();
    if ring.put_fast(cursor, &Word(value)) { Put::Done } else { ring.try_put(cursor, &Word(value), true) }
}

fn get(heap: &Heap, cursor: &GetCursor) -> Result<u64, Get> {
    let ring = heap.ring();
    let mut word = Word(0);
    if ring.get_fast(cursor, &mut word) {
        return Ok(word.0);
    }
    match ring.try_get(cursor, &mut word) {
        Get::Item => Ok(word.0),
        why => Err(why),
    }
}

/// Those whose messages lie in slots.
const SLOTS: [(Side, Side); 3] = [(Side::Single, Side::Multi), (Side::Multi, Side::Single), (Side::Multi, Side::Multi)];

const SIDES: [(Side, Side); 4] = [(Side::Single, Side::Single), SLOTS[0], SLOTS[1], SLOTS[2]];

fn cursors(heap: &Heap) -> (PutCursor, GetCursor) {
    let (put, get) = (PutCursor::zeroed(), GetCursor::zeroed());
    heap.ring().start_put(&put);
    heap.ring().start_get(&get);
    (put, get)
}

/// Golden bytes after a put, a get and a second lap.
#[test]
fn golden_states() {
    for (producers, consumers) in SLOTS {
        let heap = Heap::new(2, producers, consumers);
        let (p, g) = cursors(&heap);
        assert_eq!(heap.words(4), [2 << 6, 0, 3 << 6, 0]);
        assert_eq!(put(&heap, &p, 7), Put::Done);
        assert_eq!(heap.words(4), [2 << 6 | 1 << 4, 7, 3 << 6, 0]);
        assert_eq!(get(&heap, &g), Ok(7));
        let committed = if consumers == Side::Multi { 4 << 6 } else { 2 << 6 | 1 << 4 };
        assert_eq!(heap.words(1), [committed], "{producers:?} {consumers:?}");
        assert_eq!(heap.ring().depth(), 0);
        for value in [8, 9] {
            assert_eq!(put(&heap, &p, value), Put::Done);
        }
        assert_eq!(heap.words(4), [4 << 6 | 1 << 4, 9, 3 << 6 | 1 << 4, 8]);
        assert_eq!(put(&heap, &p, 10), Put::Full);
        assert_eq!((get(&heap, &g), get(&heap, &g), get(&heap, &g)), (Ok(8), Ok(9), Err(Get::Empty)));
    }
}

/// The seed's trap: with stamps p and p + 1 a ring of one slot loses messages.
#[test]
fn one_slot_is_a_queue_of_one() {
    for (producers, consumers) in SIDES {
        let heap = Heap::new(1, producers, consumers);
        let (p, g) = cursors(&heap);
        for value in 0..100 {
            assert_eq!(put(&heap, &p, value), Put::Done);
            assert_eq!(put(&heap, &p, value), Put::Full);
            assert_eq!(get(&heap, &g), Ok(value));
            assert_eq!(get(&heap, &g), Err(Get::Empty));
        }
    }
}

#[test]
fn tombstones_are_stepped_over_and_counted_by_nobody() {
    for (producers, consumers) in SLOTS {
        let heap = Heap::new(4, producers, consumers);
        let (p, g) = cursors(&heap);
        (0..3).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
        heap.set(1, Stamp::tomb(Position::new(5)));
        assert_eq!((get(&heap, &g), get(&heap, &g), get(&heap, &g)), (Ok(0), Ok(2), Err(Get::Empty)));
        (3..7).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
        assert_eq!(put(&heap, &p, 7), Put::Full);
    }
}

/// R2: a successor goes on after the last publication, and buries a claim.
#[test]
fn a_successor_starts_where_its_predecessor_stopped() {
    let heap = Heap::new(4, Side::Single, Side::Multi);
    let (first, g) = cursors(&heap);
    (0..3).for_each(|value| assert_eq!(put(&heap, &first, value), Put::Done));
    assert_eq!(get(&heap, &g), Ok(0));
    // Killed in the middle of the put at position 7.
    heap.set(3, Stamp::claim(Position::new(7)));
    let second = PutCursor::zeroed();
    heap.ring().start_put(&second);
    assert_eq!(heap.stamp(3).load(Ordering::Relaxed), Stamp::tomb(Position::new(7)).raw());
    assert_eq!(put(&heap, &second, 3), Put::Done);
    assert_eq!((get(&heap, &g), get(&heap, &g), get(&heap, &g)), (Ok(1), Ok(2), Ok(3)));
    // Killed before the claim: nothing to bury.
    let third = PutCursor::zeroed();
    heap.ring().start_put(&third);
    assert_eq!(put(&heap, &third, 4), Put::Done);
    assert_eq!(get(&heap, &g), Ok(4));
}

/// A Single consumer's successor starts at the exact cursor, not at its copy.
#[test]
fn a_consuming_successor_repeats_nothing() {
    let heap = Heap::new(64, Side::Multi, Side::Single);
    let (p, first) = cursors(&heap);
    (0..10).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
    (0..3).for_each(|value| assert_eq!(get(&heap, &first), Ok(value)));
    assert_eq!(heap.control.load_head(), Position::new(64), "the copy lags");
    let second = GetCursor::zeroed();
    heap.ring().start_get(&second);
    assert_eq!(get(&heap, &second), Ok(3));
}

/// R2a: a consumer that takes one and pauses frees exactly one.
#[test]
fn a_full_ring_sees_every_single_get() {
    let heap = Heap::new(64, Side::Single, Side::Single);
    let (p, g) = cursors(&heap);
    (0..64).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
    for round in 64..300 {
        assert_eq!(put(&heap, &p, round), Put::Full);
        assert_eq!(get(&heap, &g), Ok(round - 64));
        assert_eq!(put(&heap, &p, round), Put::Done);
    }
}

#[test]
fn a_claimed_position_is_not_empty_but_unfinished() {
    let heap = Heap::new(4, Side::Multi, Side::Multi);
    let (_, g) = cursors(&heap);
    heap.control.tail.0.store(5, Ordering::Relaxed);
    assert_eq!(get(&heap, &g), Err(Get::Unfinished));
    assert!(heap.ring().is_empty());
    assert_eq!(heap.ring().depth(), 1);
}

#[test]
fn closed_waits_for_claims_and_for_other_consumers() {
    let heap = Heap::new(4, Side::Single, Side::Multi);
    let (p, g) = cursors(&heap);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.ring().close();
    assert_eq!(put(&heap, &p, 2), Put::Closed);
    assert_eq!(heap.ring().is_drained(&g), Ok(false));
    assert_eq!(get(&heap, &g), Ok(1));
    heap.set(1, Stamp::claim(Position::new(5)));
    assert_eq!(heap.ring().is_drained(&g), Ok(false), "a put is under way");
    heap.set(1, Stamp::tomb(Position::new(5)));
    assert!(heap.ring().is_empty() && heap.ring().is_exhausted() == Ok(true), "a tombstone is no message");
    assert_eq!(get(&heap, &g), Err(Get::Empty));
    assert_eq!(heap.ring().is_drained(&g), Ok(true));

    let heap = Heap::new(4, Side::Multi, Side::Multi);
    let (p, g) = cursors(&heap);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.ring().close();
    assert_eq!(put(&heap, &p, 2), Put::Closed);
    // Another consumer has claimed and not committed.
    heap.control.head.0.store(5, Ordering::Relaxed);
    assert_eq!(get(&heap, &g), Err(Get::Empty));
    assert_eq!(heap.ring().is_drained(&g), Ok(false));
    heap.set(0, Stamp::free(Position::new(8)));
    assert_eq!(heap.ring().is_drained(&g), Ok(true));
}

/// Whatever the words say: bounded time, no panic, no access out of bounds.
#[test]
fn scribbled_words_end_in_an_answer() {
    let values = [0, 1, 63, 64, 1 << 6 | 1 << 4, (1 << 58) - 1, 1 << 63, u64::MAX, 0x8000_0000_0000_0101];
    for (producers, consumers) in SIDES {
        for &a in &values {
            for &b in &values {
                let heap = Heap::new(3, producers, consumers);
                let (p, g) = cursors(&heap);
                assert_eq!(put(&heap, &p, 1), Put::Done);
                heap.control.tail.0.store(a, Ordering::Relaxed);
                heap.control.head.0.store(b, Ordering::Relaxed);
                heap.control.taken.0.store(b, Ordering::Relaxed);
                heap.stamp(0).store(a, Ordering::Relaxed);
                heap.stamp(1).store(b, Ordering::Relaxed);
                for _ in 0..5 {
                    let _ = put(&heap, &p, 2);
                    let _ = get(&heap, &g);
                }
                let ring = heap.ring();
                let _ = (ring.depth() <= 3, ring.is_empty(), ring.is_full(), ring.is_drained(&g), ring.is_closed());
                let late = cursors(&heap);
                let _ = (put(&heap, &late.0, 3), get(&heap, &late.1));
            }
        }
    }
}

/// Positions near every boundary of their 58 bits behave like any others.
#[test]
fn laps_far_along_work_the_same() {
    for start in [1 << 20, (1 << 32) - 6, (1 << 44) - 3, (1 << 57) - 9] {
        for (producers, consumers) in SIDES {
            let heap = Heap::new(3, producers, consumers);
            let start = start - start % 3;
            heap.control.initialise(start);
            if !heap.uses_blocks() {
                (0..3).for_each(|index| heap.set(index, Stamp::free(Position::new(start + index as u64))));
            }
            let (p, g) = cursors(&heap);
            for value in 0..20 {
                assert_eq!(put(&heap, &p, value), Put::Done);
                assert_eq!(get(&heap, &g), Ok(value));
            }
            // A row's word has 44 bits of them.
            for value in 20..40 {
                assert_eq!(put(&heap, &p, value), Put::Done);
                let (ring, mut word) = (heap.ring(), Word(0));
                let mut lease = |again: bool| {
                    let leased = match again {
                        true => ring.lease_back(&g, 0, &mut word),
                        false => ring.try_lease(&g, 0, &mut word),
                    };
                    let Leased::Yes(holding) = leased else { panic!("{start} {value}: {leased:?}") };
                    assert_eq!((word.0, holding.id), (value, start + value), "{producers:?} {consumers:?}");
                    holding
                };
                let first = lease(false);
                assert!(ring.give_back(&g, first));
                let second = lease(true);
                // As of one that dies with it.
                assert_eq!((ring.keep_cells(0).brought_back, g.held.replace(0)), (1, 1));
                let third = lease(true);
                assert_eq!([first.count, second.count, third.count], [0, 1, 2]);
                assert!(ring.acknowledge(&g, third));
                assert_eq!(get(&heap, &g), Err(Get::Empty));
            }
        }
    }
}
