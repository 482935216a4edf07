//! Rings of chunks, word by word: two chunks of two slots, and what their words allow.

use super::*;
use crate::ring::chunks::{BY_GET, BY_PUT, ChunkState, ChunkWord};

const SLOTS: u64 = 2;
const CHUNKS: usize = 2;
const CAPACITY: usize = CHUNKS * SLOTS as usize;

struct Growing {
    heap: Heap,
    words: Vec<AtomicU64>,
}

impl Growing {
    fn new() -> Growing {
        Growing::of(CHUNKS)
    }

    fn of(chunks: usize) -> Growing {
        let growing = Growing {
            heap: Heap::new(chunks * SLOTS as usize, Side::Multi, Side::Multi),
            words: (0..2 * chunks).map(|_| AtomicU64::new(0)).collect(),
        };
        growing.ring_of(0).chunks.initialise();
        growing
    }

    fn ring_of(&self, participant: usize) -> Ring<'_> {
        Ring { chunks: Chunks::new(&self.words, SLOTS), ..self.heap.ring_of(participant) }
    }

    fn state(&self, chunk: usize) -> (ChunkState, u64) {
        let word = ChunkWord::from_raw(self.words[chunk].load(Ordering::Relaxed));
        (word.state(), word.lap())
    }

    fn places(&self) -> Vec<u64> {
        self.words[self.words.len() / 2..].iter().map(|word| word.load(Ordering::Relaxed)).collect()
    }

    fn hazards(&self) -> usize {
        let all = self.heap.participants.iter().flat_map(|participant| &participant.intents.hazards);
        all.filter(|hazard| hazard.load(Ordering::Relaxed) != 0).count()
    }
}

fn put(ring: &Ring<'_>, cursor: &PutCursor, value: u64) -> Put {
    loop {
        match ring.try_put(cursor, &Word(value), true) {
            Put::Grow => {
                let Growth::Mine(job) = ring.start_growth() else { panic!("nobody else is there") };
                assert!(ring.lay_out(&job));
            }
            how => return how,
        }
    }
}

fn cursors(ring: &Ring<'_>) -> (PutCursor, GetCursor) {
    let cursors = (PutCursor::zeroed(), GetCursor::zeroed());
    ring.start_put(&cursors.0);
    ring.start_get(&cursors.1);
    cursors
}

#[test]
fn a_chunk_is_touched_only_behind_its_word() {
    let memory = Growing::new();
    let ring = memory.ring_of(0);
    assert!(ring.touch(BY_PUT, 0, 1).is_some());
    // A hole, another lap, no chunk at all.
    assert!(ring.touch(BY_PUT, 1, 1).is_none(), "a hole was touched");
    assert!(ring.touch(BY_GET, 0, 2).is_none() && ring.touch(BY_GET, 7, 1).is_none());
    assert_eq!(memory.hazards(), 0);
}

#[test]
fn chunks_go_round() {
    let memory = Growing::new();
    let ring = memory.ring_of(0);
    let (put_cursor, get_cursor) = cursors(&ring);
    for lap in 1..5 {
        for number in 0..CAPACITY as u64 {
            assert_eq!(put(&ring, &put_cursor, number), Put::Done);
        }
        assert_eq!(put(&ring, &put_cursor, 9), Put::Full);
        assert!(ring.is_full() && ring.depth() == CAPACITY as u64 && !ring.is_empty());
        assert!((0..CHUNKS).all(|chunk| memory.state(chunk) == (ChunkState::Ready, lap)));
        let mut word = Word(0);
        for number in 0..CAPACITY as u64 {
            assert_eq!(ring.try_get(&get_cursor, &mut word), Get::Item);
            assert_eq!(word.0, number);
        }
        assert_eq!(ring.try_get(&get_cursor, &mut word), Get::Empty);
        assert!(ring.is_empty() && ring.is_at_rest());
        // The one that comes next is kept; of the other the memory is taken.
        assert_eq!(ring.idle_chunks().collect::<Vec<_>>(), [0, 1]);
        assert!(ring.start_punch(0).mine().is_none());
        let job = ring.start_punch(1).mine().expect("nobody looks");
        assert_eq!(memory.state(1), (ChunkState::Punching { owner: 0 }, lap));
        ring.finish_punch(&job);
        assert_eq!(memory.state(1), (ChunkState::Hole, lap + 1));
        assert_eq!(memory.state(0), (ChunkState::Drained, lap));
    }
    assert_eq!(memory.hazards(), 0);
}

/// The next chunk takes the pages of the one that was drained last, and that chunk its place.
#[test]
fn a_drained_chunk_lends_its_place() {
    let memory = Growing::of(4);
    let ring = memory.ring_of(0);
    let (put_cursor, get_cursor) = cursors(&ring);
    let (mut word, mut made) = (Word(0), 0);
    for number in 0..40 {
        while ring.try_put(&put_cursor, &Word(number), true) == Put::Grow {
            match ring.start_growth() {
                Growth::Mine(job) => {
                    assert!(ring.lay_out(&job));
                    made += 1;
                }
                Growth::Reused => {}
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((ring.try_get(&get_cursor, &mut word), word.0), (Get::Item, number));
        let mut places = memory.places();
        places.sort_unstable();
        assert_eq!(places, [0, 1, 2, 3]);
    }
    assert_eq!(made, 0, "the first one is enough");
    assert_ne!(memory.places(), [0, 1, 2, 3]);
    assert_eq!(memory.hazards(), 0);
}

/// What a producer has found free of one chunk says nothing of the next.
#[test]
fn a_chunk_with_a_claim_is_not_drained() {
    let memory = Growing::new();
    let [(a, a_put, _), (b, b_put, b_get), (c, _, c_get)] = [0, 1, 2].map(|index| {
        let ring = memory.ring_of(index);
        let (put, get) = cursors(&ring);
        (ring, put, get)
    });
    for number in 0..CAPACITY as u64 {
        assert_eq!(put(&b, &b_put, number), Put::Done);
    }
    let mut word = Word(0);
    assert_eq!(b.try_get(&b_get, &mut word), Get::Item);
    // The first slot of chunk 0 is free, the second is not.
    assert_eq!(put(&a, &a_put, 9), Put::Full);
    assert_eq!(b.try_get(&b_get, &mut word), Get::Item);
    assert_eq!((put(&b, &b_put, 4), put(&b, &b_put, 5)), (Put::Done, Put::Done));
    // The first slot of chunk 1 is claimed and not released, the second is free.
    c.claim_and_die(&c_get);
    assert_eq!(b.try_get(&b_get, &mut word), Get::Item);
    assert_eq!(word.0, 3);
    assert_eq!(put(&a, &a_put, 9), Put::Full);
    assert_eq!(memory.state(1), (ChunkState::Ready, 1), "a claimed message was given up");
}

/// Whoever looks at a chunk keeps its pages, and whoever died in changing one is succeeded.
#[test]
fn hazards_and_the_dead() {
    let memory = Growing::new();
    let (ring, other) = (memory.ring_of(0), memory.ring_of(1));
    let (put_cursor, get_cursor) = cursors(&ring);
    let mut word = Word(0);
    for number in 0..3 {
        assert_eq!(put(&ring, &put_cursor, number), Put::Done);
    }
    let looks = other.touch(BY_GET, 0, 1);
    assert!(looks.is_some());
    for _ in 0..3 {
        assert_eq!(ring.try_get(&get_cursor, &mut word), Get::Item);
    }
    assert!(ring.start_punch(0).mine().is_none(), "a chunk was punched under a hazard");
    assert_eq!(memory.state(0), (ChunkState::Drained, 1));
    // It dies there.
    std::mem::forget(looks);
    assert!(ring.start_punch(0).mine().is_none());
    let mut punched = Vec::new();
    assert_eq!(ring.keep_chunks(1, |part| punched.push(part)), 0);
    // Now participant 0 dies in the middle of punching.
    assert!(ring.start_punch(0).mine().is_some());
    assert_eq!(other.keep_chunks(0, |part| punched.push(part)), 1);
    assert_eq!(memory.state(0), (ChunkState::Hole, 2), "what a dead one was punching is a hole");
    assert_eq!(punched.iter().map(|part| (part.start, part.end)).collect::<Vec<_>>(), [(0, SLOTS * STRIDE as u64)]);
    // And in the middle of backing it.
    let (put_cursor, _) = cursors(&other);
    assert_eq!(put(&other, &put_cursor, 7), Put::Done);
    assert!(matches!(ring.start_growth(), Growth::Mine(_)));
    assert_eq!(other.try_put(&put_cursor, &Word(8), true), Put::Grow);
    assert!(matches!(other.start_growth(), Growth::Busy));
    assert_eq!(other.keep_chunks(0, |part| punched.push(part)), 1);
    assert_eq!((memory.state(0), punched.len()), ((ChunkState::Hole, 2), 2));
    assert_eq!(put(&other, &put_cursor, 8), Put::Done);
    assert_eq!(memory.hazards(), 0);
}

/// Whoever died between two steps of exchanging two places leaves each chunk one.
#[test]
fn a_dead_one_leaves_each_chunk_a_place() {
    const LOW: u64 = u32::MAX as u64;
    // The place words of the chunk that was drained and of the one that is backed, after each step.
    for steps in [[0, 1], [2 << 32, 1], [2 << 32, 0], [1, 0]] {
        let memory = Growing::of(4);
        let (ring, dead) = (memory.ring_of(0), memory.ring_of(1));
        let (put_cursor, get_cursor) = cursors(&ring);
        let mut word = Word(0);
        for number in 0..SLOTS {
            assert_eq!(put(&ring, &put_cursor, number), Put::Done);
            assert_eq!(ring.try_get(&get_cursor, &mut word), Get::Item);
        }
        // It has both chunks, in the places 0 and 1.
        ring.look_whether_drained(0);
        assert!(dead.start_punch(0).mine().is_some());
        let hole = memory.words[1].load(Ordering::Relaxed);
        assert!(matches!(dead.start_growth(), Growth::Mine(_)) && memory.words[1].load(Ordering::Relaxed) != hole);
        for (word, step) in memory.words[4..].iter().zip(steps) {
            word.store(step, Ordering::Relaxed);
        }
        let mut punched = Vec::new();
        assert_eq!(ring.keep_chunks(1, |part| punched.push(part.start / STRIDE as u64 / SLOTS)), 2);
        punched.sort_unstable();
        let mut places = memory.places();
        assert!(places.iter().all(|place| *place <= LOW), "{steps:?}");
        places.sort_unstable();
        assert_eq!((places, punched), (vec![0, 1, 2, 3], vec![0, 1]), "{steps:?}");
        assert_eq!((memory.state(0), memory.state(1)), ((ChunkState::Hole, 2), (ChunkState::Hole, 1)));
        for number in 0..4 * SLOTS {
            assert_eq!(put(&ring, &put_cursor, number), Put::Done);
        }
        for number in 0..4 * SLOTS {
            assert_eq!((ring.try_get(&get_cursor, &mut word), word.0), (Get::Item, number));
        }
    }
}

/// A chunk that was held up is given back once it is drained, though it is no spare any more.
#[test]
fn who_is_late_leaves_no_chunk_behind() {
    let memory = Growing::of(8);
    let (ring, late) = (memory.ring_of(0), memory.ring_of(1));
    let (put_cursor, get_cursor) = cursors(&ring);
    let (_, late_cursor) = cursors(&late);
    let mut word = Word(0);
    for number in 0..5 * SLOTS {
        assert_eq!(put(&ring, &put_cursor, number), Put::Done);
    }
    late.claim_and_die(&late_cursor);
    for number in 1..5 * SLOTS {
        assert_eq!((ring.try_get(&get_cursor, &mut word), word.0), (Get::Item, number));
        if let Some(chunk) = ring.left_chunk(&get_cursor) {
            for chunk in ring.chunks_around(chunk) {
                ring.look_whether_drained(chunk);
                if ring.is_surplus(chunk)
                    && let Some(job) = ring.start_punch(chunk).mine()
                {
                    ring.finish_punch(&job);
                }
            }
        }
    }
    // Eight chunks have two spares: of the five one is held up, one was punched, two are kept, one is not left yet.
    assert_eq!(memory.state(0), (ChunkState::Ready, 1));
    assert_eq!(memory.state(1), (ChunkState::Hole, 2));
    assert!((2..4).all(|chunk| memory.state(chunk) == (ChunkState::Drained, 1)));
    // Now it commits.
    state::release_slot(late.slots, 0, Position::new(8 * SLOTS + SLOTS));
    assert!(ring.look_whether_drained(0) && ring.is_surplus(0));
    assert!(ring.start_punch(0).mine().is_some());
}

/// What a dead reader had taken is found in its chunk, and nowhere else is looked.
#[test]
fn redeliveries_keep_their_chunk() {
    let memory = Growing::new();
    let (ring, dead) = (memory.ring_of(0), memory.ring_of(1));
    let (put_cursor, get_cursor) = cursors(&ring);
    let (_, dead_cursor) = cursors(&dead);
    for number in 0..3 {
        assert_eq!(put(&ring, &put_cursor, number), Put::Done);
    }
    dead.claim_and_die(&dead_cursor);
    struct Nobody;
    impl Living for Nobody {
        fn is_alive(&self, index: u32) -> bool {
            index != 1
        }
        fn has_single_producer(&self) -> bool {
            false
        }
        fn may_go_on(&self) -> bool {
            true
        }
    }
    assert_eq!(ring.finish_intents(1, &Nobody).brought_back, 1);
    let mut word = Word(0);
    for number in [1, 2] {
        assert_eq!((ring.try_get(&get_cursor, &mut word), word.0), (Get::Item, number));
    }
    assert!(ring.start_punch(0).mine().is_none());
    memory.heap.news.store(2, Ordering::Relaxed);
    assert_eq!((ring.depth(), ring.take_back(&get_cursor, 5, &mut word), word.0), (1, 1, 0));
    assert!(ring.start_punch(0).mine().is_some());
    assert_eq!(ring.finish_all(&Nobody), Rescue::default());
}

/// Nobody can finish what a participant that does not exist is at: no producer waits for it.
#[test]
fn a_chunk_of_nobody_is_damage() {
    let memory = Growing::new();
    let ring = memory.ring_of(0);
    let (put_cursor, _) = cursors(&ring);
    for number in 0..SLOTS {
        assert_eq!(put(&ring, &put_cursor, number), Put::Done);
    }
    let hole = memory.words[1].load(Ordering::Relaxed);
    let Growth::Mine(job) = ring.start_growth() else { panic!("nobody else is there") };
    assert_eq!(ring.try_put(&put_cursor, &Word(9), true), Put::Grow, "it has to wait");
    let owned = memory.words[1].load(Ordering::Relaxed);
    ring.abandon(&job);
    assert_eq!(memory.words[1].load(Ordering::Relaxed), hole);
    // The owner is all that differs, and is somewhere in the middle of the word.
    let owner_of = |word: u64| match ChunkWord::from_raw(word).state() {
        ChunkState::Backing { owner } => owner,
        other => panic!("{other:?}"),
    };
    let forged = (0..64).map(|bit| owned | 1 << bit).find(|word| {
        let state = ChunkWord::from_raw(*word).state();
        matches!(state, ChunkState::Backing { owner } if owner as usize >= memory.heap.participants.len())
    });
    let forged = forged.expect("there are numbers that no participant has");
    assert!(owner_of(forged) > owner_of(owned));
    memory.words[1].store(forged, Ordering::Relaxed);
    assert_eq!(ring.try_put(&put_cursor, &Word(9), true), Put::Damaged);
}
