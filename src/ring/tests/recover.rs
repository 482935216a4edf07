//! What the dead left, laid out byte by byte, and what recovery makes of it.

use super::*;

/// Who lives, by index; whether somebody holds a Single producers' side.
struct Alive(&'static [u32], bool);

impl Living for Alive {
    fn is_alive(&self, index: u32) -> bool {
        self.0.contains(&index)
    }

    fn has_single_producer(&self) -> bool {
        self.1
    }

    fn may_go_on(&self) -> bool {
        true
    }
}

const NOBODY: Alive = Alive(&[], false);

impl Heap {
    /// Participant `who` announces a put and claims it, and does no more.
    fn claim_put(&self, who: usize, len: u64) {
        let ring = self.ring_of(who);
        let tail = ring.control.load_tail();
        ring.me.announce_put(tail.position(), len, &Default::default());
        assert!(ring.control.claim_tail(tail, len));
    }

    fn claim_get(&self, who: usize, len: u64) {
        let ring = self.ring_of(who);
        let head = ring.control.load_head();
        ring.me.announce_get(head, len, &Default::default());
        assert!(ring.control.claim_head(head, len));
    }

    fn stamps(&self) -> Vec<Stamp> {
        (0..self.capacity).map(|index| Stamp::from_raw(self.stamp(index).load(Ordering::Relaxed))).collect()
    }
}

fn rescue(finished: u64, brought_back: u64, left: u64) -> Rescue {
    Rescue { finished, brought_back, left, ..Rescue::default() }
}

#[test]
fn a_dead_writers_claims_become_tombstones_and_the_rest_is_read() {
    for consumers in [Side::Multi, Side::Single] {
        let heap = Heap::new(4, Side::Multi, consumers);
        let (p, g) = cursors(&heap);
        assert_eq!(put(&heap, &p, 1), Put::Done);
        heap.claim_put(1, 2);
        assert_eq!(put(&heap, &p, 2), Put::Done);
        assert_eq!(get(&heap, &g), Ok(1));
        assert_eq!(get(&heap, &g), Err(Get::Unfinished));
        assert_eq!(heap.ring().finish_intents(1, &Alive(&[0], false)), rescue(2, 0, 0));
        assert_eq!(heap.ring().finish_intents(1, &NOBODY), rescue(0, 0, 0), "once is enough");
        assert_eq!(get(&heap, &g), Ok(2));
        // The whole ring can be used again.
        for lap in 0..3 {
            (0..4).for_each(|value| assert_eq!(put(&heap, &p, lap * 4 + value), Put::Done));
            assert_eq!(put(&heap, &p, 0), Put::Full);
            (0..4).for_each(|value| assert_eq!(get(&heap, &g), Ok(lap * 4 + value)));
        }
    }
}

#[test]
fn a_dead_readers_message_comes_back_once() {
    let heap = Heap::new(4, Side::Multi, Side::Multi);
    let (p, g) = cursors(&heap);
    (1..=3).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
    heap.claim_get(1, 2);
    assert_eq!(get(&heap, &g), Ok(3));
    assert_eq!(heap.ring().finish_intents(1, &Alive(&[0], false)), rescue(0, 2, 0));
    let again = Rescue { found_back: 2, ..Rescue::default() };
    assert_eq!(heap.ring().finish_intents(1, &NOBODY), again, "the hint is repeated until it is vacant");
    let mut sink = Word(0);
    assert_eq!((heap.ring().take_back(&g, 1, &mut sink), sink.0), (1, 1));
    assert_eq!((heap.ring().take_back(&g, 1, &mut sink), sink.0), (1, 2));
    assert_eq!(heap.ring().take_back(&g, 1, &mut sink), 0);
    assert!(heap.stamps().iter().all(|stamp| stamp.tag() == position::Tag::Free), "all is released");
}

/// Each look has time for three positions: the next one goes on where it stopped.
#[test]
fn a_long_batch_of_a_dead_writer_is_finished_in_several_looks() {
    struct Hasty(core::cell::Cell<u32>);
    impl Living for Hasty {
        fn is_alive(&self, index: u32) -> bool {
            index == 0
        }
        fn has_single_producer(&self) -> bool {
            false
        }
        fn may_go_on(&self) -> bool {
            self.0.replace(self.0.get().saturating_sub(1)) > 0
        }
    }
    for consumers in [Side::Multi, Side::Single] {
        let heap = Heap::new(16, Side::Multi, consumers);
        let (p, g) = cursors(&heap);
        (0..3).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
        heap.claim_put(1, 10);
        assert_eq!(put(&heap, &p, 3), Put::Done);
        let looks: Vec<_> = (0..5).map(|_| heap.ring().finish_intents(1, &Hasty(core::cell::Cell::new(3)))).collect();
        let expected = [rescue(3, 0, 1), rescue(3, 0, 1), rescue(3, 0, 1), rescue(1, 0, 0), rescue(0, 0, 0)];
        assert_eq!(looks, expected);
        (0..4).for_each(|value| assert_eq!(get(&heap, &g), Ok(value)));
    }
}

#[test]
fn the_living_are_not_robbed() {
    let heap = Heap::new(4, Side::Multi, Side::Multi);
    let (p, _) = cursors(&heap);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.claim_put(1, 2);
    heap.claim_get(2, 1);
    let before = heap.stamps();
    // 3 is dead, and its intents name the same positions: it lost the race for them.
    heap.ring_of(3).me.announce_put(Position::new(5), 2, &Default::default());
    heap.ring_of(3).me.announce_get(Position::new(4), 1, &Default::default());
    let living = Alive(&[0, 1, 2], false);
    // Of puts the first that is left ends the look.
    assert_eq!(heap.ring().finish_intents(3, &living), rescue(0, 0, 2));
    assert_eq!(heap.ring().finish_all(&living), rescue(0, 0, 2));
    assert_eq!(heap.stamps(), before);
    assert_eq!(heap.ring().finish_all(&NOBODY), rescue(2, 1, 0));
}

/// Found by `tests/models/chunks.rs`: with a tombstone behind it, the one that was left passed for published.
#[test]
fn what_is_left_of_a_dead_writers_batch_is_found_again() {
    for whole_window in [false, true] {
        let heap = Heap::new(4, Side::Multi, Side::Multi);
        let (p, g) = cursors(&heap);
        heap.claim_put(1, 2);
        // 2 wanted the first of them, is alive, and has not lost it yet.
        heap.ring_of(2).me.announce_put(Position::new(4), 1, &Default::default());
        let living = Alive(&[0, 2], false);
        let ring = heap.ring();
        let first = if whole_window { ring.finish_all(&living) } else { ring.finish_intents(1, &living) };
        assert_eq!(first, rescue(0, 0, 1));
        assert_eq!(ring.finish_intents(1, &living), rescue(0, 0, 1), "it is not forgotten");
        heap.ring_of(2).me.announce_put(Position::new(6), 1, &Default::default());
        assert_eq!(ring.finish_intents(1, &living), rescue(2, 0, 0));
        assert_eq!(put(&heap, &p, 7), Put::Done);
        assert_eq!(get(&heap, &g), Ok(7));
    }
}

#[test]
fn a_reader_that_dies_on_a_tombstone_or_a_redelivery_is_followed_by_another() {
    let heap = Heap::new(2, Side::Multi, Side::Multi);
    let (p, g) = cursors(&heap);
    heap.claim_put(1, 1);
    assert_eq!(heap.ring().finish_all(&NOBODY), rescue(1, 0, 0));
    heap.claim_get(2, 1);
    assert_eq!(heap.ring().finish_all(&NOBODY), rescue(1, 0, 0), "the tombstone is released");
    assert_eq!(put(&heap, &p, 7), Put::Done);
    heap.claim_get(2, 1);
    for death in 0..20 {
        assert_eq!(heap.ring().finish_all(&NOBODY), rescue(0, 1, 0));
        let index = 1;
        let back = Stamp::from_raw(heap.stamp(index).load(Ordering::Relaxed));
        assert_eq!(back.attempt(), death % 16);
        // Claimed again by somebody who dies again.
        assert!(state::take_again(heap.slots(), index, back));
    }
    assert_eq!(heap.ring().finish_all(&NOBODY), rescue(0, 1, 0));
    let mut sink = Word(0);
    assert_eq!((heap.ring().take_back(&g, 5, &mut sink), sink.0), (1, 7));
}

#[test]
fn a_dead_single_producers_claim_is_buried_when_nobody_has_the_side() {
    let heap = Heap::new(4, Side::Single, Side::Multi);
    let (p, g) = cursors(&heap);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.set(1, Stamp::claim(Position::new(5)));
    assert_eq!(heap.ring().finish_all(&Alive(&[], true)), rescue(0, 0, 0));
    assert_eq!(heap.ring().finish_all(&NOBODY), rescue(1, 0, 0));
    assert_eq!(get(&heap, &g), Ok(1));
    assert_eq!(get(&heap, &g), Err(Get::Empty));
    assert!(heap.ring().is_at_rest());
    let (p, _) = cursors(&heap);
    assert_eq!(put(&heap, &p, 2), Put::Done, "the successor goes on behind it");
    assert_eq!(get(&heap, &g), Ok(2));
}

/// Whatever the words say: bounded, and no index out of bounds.
#[test]
fn scribbled_intents_and_stamps_end() {
    let values = [0, 1, 5, 63, (1 << 58) - 1, 1 << 63, u64::MAX];
    for &start in &values {
        for &len in &values {
            for &tail in &values {
                let heap = Heap::new(3, Side::Multi, Side::Multi);
                heap.control.tail.0.store(tail, Ordering::Relaxed);
                heap.control.head.0.store(tail, Ordering::Relaxed);
                heap.stamp(0).store(start, Ordering::Relaxed);
                heap.stamp(1).store(Stamp::full(Position::new(start)).brought_back().raw(), Ordering::Relaxed);
                let intents = &heap.participants[1].intents;
                for (word, value) in [(&intents.put_start, start), (&intents.put_len, len)] {
                    word.store(value, Ordering::Relaxed);
                }
                for (word, value) in [(&intents.get_start, start), (&intents.get_len, len)] {
                    word.store(value, Ordering::Relaxed);
                }
                let ring = heap.ring();
                let _ = (ring.finish_intents(1, &NOBODY), ring.finish_intents(99, &NOBODY), ring.finish_all(&NOBODY));
                let (_, g) = cursors(&heap);
                assert!(ring.take_back(&g, 9, &mut Word(0)) <= 3);
            }
        }
    }
}
