//! Rings of blocks, laid out byte by byte.

use super::*;

fn single(capacity: usize) -> (Heap, PutCursor, GetCursor) {
    fenced(capacity, Fences::Asymmetric)
}

fn fenced(capacity: usize, fences: Fences) -> (Heap, PutCursor, GetCursor) {
    let mut heap = Heap::new(capacity, Side::Single, Side::Single);
    heap.fences = fences;
    let (p, g) = cursors(&heap);
    (heap, p, g)
}

const FENCES: [Fences; 3] = [Fences::Asymmetric, Fences::Symmetric, Fences::Blind];

/// The stamp of a block says up to which position it is published.
#[test]
fn golden_blocks() {
    let (heap, p, g) = single(9);
    assert_eq!(heap.words(16), [0; 16]);
    (0..9).for_each(|value| assert_eq!(put(&heap, &p, 100 + value), Put::Done));
    let golden = [16, 100, 101, 102, 103, 104, 105, 106, 18, 107, 108, 0, 0, 0, 0, 0];
    assert_eq!(heap.words(16), golden);
    assert_eq!(put(&heap, &p, 0), Put::Full);
    (0..9).for_each(|value| assert_eq!(get(&heap, &g), Ok(100 + value)));
    assert_eq!(get(&heap, &g), Err(Get::Empty));
    assert_eq!(heap.words(16), golden, "a consumer changes nothing here");
    assert_eq!(heap.control.load_taken(), Position::new(18));
    assert_eq!(put(&heap, &p, 200), Put::Done);
    assert_eq!(heap.words(2), [19, 200]);
}

/// A stamp may be of the next lap already, while its block's last message is not
/// yet taken.
#[test]
fn a_stamp_a_lap_ahead_vouches_for_its_own_block_only() {
    for (capacity, fences) in (1..20).flat_map(|capacity| FENCES.map(|fences| (capacity, fences))) {
        let (heap, p, g) = fenced(capacity, fences);
        let mut next = 0;
        for value in 0..200 {
            while put(&heap, &p, value) == Put::Full {
                assert_eq!(get(&heap, &g), Ok(next), "capacity {capacity}");
                next += 1;
            }
        }
        (next..200).for_each(|value| assert_eq!(get(&heap, &g), Ok(value)));
    }
}

/// Whatever runs are put and taken: first in, first out, and never too many.
#[test]
fn runs_of_any_length() {
    for (capacity, fences) in [1, 2, 7, 8, 20].into_iter().flat_map(|n| FENCES.map(|fences| (n, fences))) {
        let (heap, p, g) = fenced(capacity, fences);
        let (mut sent, mut taken) = (0, 0);
        for round in 0..400_u64 {
            let wanted = round * 7 % 25;
            let (done, how) = heap.ring().try_put_run(&p, wanted, true, |offset| Word(sent + offset));
            sent += done;
            assert!(sent - taken <= capacity as u64);
            assert_eq!(how == Put::Full, done < wanted);
            let mut batch = Batch(Vec::new());
            let (got, _) = heap.ring().try_get_run(&g, round * 5 % 23, &mut batch);
            assert_eq!(batch.0, (taken..taken + got).collect::<Vec<_>>());
            taken += got;
            assert_eq!(heap.ring().depth(), sent - taken);
        }
        assert!(taken > 400 || capacity == 1);
    }
}

struct Batch(Vec<u64>);

impl Sink for Batch {
    unsafe fn read(&mut self, at: u64, payload: Payload) -> usize {
        assert_eq!(at, self.0.len() as u64);
        let mut word = Word(0);
        // SAFETY: the same contract.
        let used = unsafe { word.read(at, payload) };
        self.0.push(word.0);
        used
    }
}

/// What a producer leaves that was killed between payload and stamp is nothing; what
/// it leaves behind the stamp is a message.
#[test]
fn a_successor_goes_on_at_the_stamp() {
    let (heap, first, g) = single(9);
    (0..8).for_each(|value| assert_eq!(put(&heap, &first, value), Put::Done));
    (0..8).for_each(|value| assert_eq!(get(&heap, &g), Ok(value)));
    // Position 17 is the second message of the second block.
    heap.word(10).store(77, Ordering::Relaxed);
    let second = PutCursor::zeroed();
    heap.ring().start_put(&second);
    assert_eq!(put(&heap, &second, 8), Put::Done);
    assert_eq!(get(&heap, &g), Ok(8));
    // Killed behind the stamp, in the next lap.
    heap.word(1).store(9, Ordering::Relaxed);
    heap.word(0).store(19, Ordering::Relaxed);
    let third = PutCursor::zeroed();
    heap.ring().start_put(&third);
    assert_eq!(put(&heap, &third, 10), Put::Done);
    assert_eq!((get(&heap, &g), get(&heap, &g), get(&heap, &g)), (Ok(9), Ok(10), Err(Get::Empty)));
}

#[test]
fn a_consuming_successor_repeats_nothing() {
    let (heap, p, first) = single(64);
    (0..10).for_each(|value| assert_eq!(put(&heap, &p, value), Put::Done));
    (0..3).for_each(|value| assert_eq!(get(&heap, &first), Ok(value)));
    assert_eq!(heap.control.load_head(), Position::new(64), "the copy lags");
    let second = GetCursor::zeroed();
    heap.ring().start_get(&second);
    (3..10).for_each(|value| assert_eq!(get(&heap, &second), Ok(value)));
}

/// S2, S3: who decides first where the queue ends decides for both.
#[test]
fn one_end_for_both() {
    // The producer published, then saw the close, and was first.
    let (heap, p, g) = single(4);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.ring().close();
    assert_eq!(heap.ring().settle(&p, 1), 1);
    assert_eq!(put(&heap, &p, 2), Put::Closed);
    assert_eq!(get(&heap, &g), Err(Get::Closing));
    assert_eq!(heap.ring().is_drained(&g), Ok(false));
    assert_eq!(get(&heap, &g), Ok(1));
    assert_eq!(heap.ring().is_drained(&g), Ok(true));

    // A looker was first: what was published meanwhile is the caller's again, and no
    // consumer returns it.
    let (heap, p, g) = single(4);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.ring().close();
    assert_eq!(heap.ring().is_exhausted(), Ok(false));
    state::publish_block(heap.blocks(), 0, Position::new(7));
    p.walk.next.set(7);
    assert_eq!(heap.ring().settle(&p, 2), 0);
    assert_eq!(heap.ring().depth(), 1);
    assert_eq!(get(&heap, &g), Err(Get::Closing));
    assert_eq!(heap.ring().is_drained(&g), Ok(false));
    assert_eq!((get(&heap, &g), get(&heap, &g)), (Ok(1), Err(Get::Empty)));
    let finished = (heap.ring().is_drained(&g), heap.ring().is_exhausted(), heap.ring().is_empty());
    assert_eq!(finished, (Ok(true), Ok(true), true));

    // Of a run published meanwhile some messages can be in.
    let (heap, p, g) = single(4);
    assert_eq!(heap.ring().try_put_run(&p, 3, true, Word), (3, Put::Done));
    assert_eq!(heap.control.decide_end(Position::new(6)), Position::new(6));
    heap.ring().close();
    assert_eq!(heap.ring().settle(&p, 3), 2);
    assert_eq!(heap.ring().is_drained(&g), Ok(false));
    let mut batch = Batch(Vec::new());
    assert_eq!(heap.ring().try_get_run(&g, 9, &mut batch).0, 2);
    assert_eq!(heap.ring().is_drained(&g), Ok(true));
}

/// S1: a put that begins after the close stores nothing.
#[test]
fn a_put_after_the_close_leaves_no_trace() {
    let (heap, p, _) = single(4);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.ring().close();
    let before = heap.words(8);
    assert_eq!(put(&heap, &p, 2), Put::Closed);
    assert_eq!(heap.ring().try_put_run(&p, 2, true, Word), (0, Put::Closed));
    assert_eq!((heap.words(8), heap.control.load_end()), (before, None));
}

#[test]
fn an_end_beyond_what_is_published_is_damage() {
    let (heap, p, g) = single(4);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    assert_eq!(heap.control.decide_end(Position::new(7)), Position::new(7));
    assert_eq!(get(&heap, &g), Ok(1), "an open queue has no end yet");
    heap.ring().close();
    assert_eq!((heap.ring().is_drained(&g), heap.ring().is_exhausted()), (Err(Damaged), Err(Damaged)));
}

#[test]
fn a_stamp_beyond_the_window_is_damage() {
    let (heap, p, g) = single(4);
    assert_eq!(put(&heap, &p, 1), Put::Done);
    heap.word(0).store(9, Ordering::Relaxed);
    assert_eq!(get(&heap, &g), Err(Get::Damaged));
    heap.word(0).store(8, Ordering::Relaxed);
    assert_eq!(get(&heap, &g), Ok(1));
    // A consumer ahead of its producer.
    heap.control.taken.0.store(99, Ordering::Relaxed);
    heap.control.head.0.store(99, Ordering::Relaxed);
    let first_refusal = (0..9).map(|value| put(&heap, &p, value)).find(|how| *how != Put::Done);
    assert_eq!(first_refusal, Some(Put::Damaged));
}

/// The same ring with a block, and so a stamp, for every message.
#[test]
fn blocks_of_one_message() {
    let (heap, p, g) = single(5);
    // As many lines as messages; the heap has two.
    let mut heap = heap;
    heap.lines = vec![CacheLine([0; 8]); 5];
    heap.shape = BlockShape::of(56);
    heap.ring().start_put(&p);
    heap.ring().start_get(&g);
    let (mut sent, mut taken) = (0, 0);
    for round in 0..200_u64 {
        let (done, _) = heap.ring().try_put_run(&p, round % 7, true, |offset| Word(sent + offset));
        sent += done;
        let mut batch = Batch(Vec::new());
        let (got, _) = heap.ring().try_get_run(&g, round % 4, &mut batch);
        assert_eq!(batch.0, (taken..taken + got).collect::<Vec<_>>());
        taken += got;
        assert_eq!(heap.ring().depth(), sent - taken);
    }
    // Two of the three messages published last lie beyond the end.
    let mut rest = Batch(Vec::new());
    let _ = heap.ring().try_get_run(&g, 9, &mut rest);
    let next = p.walk.next.get();
    assert_eq!(heap.ring().try_put_run(&p, 3, true, Word), (3, Put::Done));
    assert_eq!(heap.control.decide_end(Position::new(next + 1)), Position::new(next + 1));
    heap.ring().close();
    assert_eq!(heap.ring().settle(&p, 3), 1);
    assert_eq!(heap.ring().is_drained(&g), Ok(false));
    let mut last = Batch(Vec::new());
    assert_eq!(heap.ring().try_get_run(&g, 9, &mut last), (1, Get::Empty));
    assert_eq!(heap.ring().is_drained(&g), Ok(true));
}
