//! Messages of any size: what no slot has room for lies in a block of the arena.

mod common;

use common::Role;
use ringway::{ByteQueue, GetError, Options, PutError, Side};
use std::time::Duration;

const ROLES: &[Role] = &[];

const SIDES: [Side; 2] = [Side::Single, Side::Multi];

/// A message that says what it should be.
fn pattern(len: usize, seed: u64) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(31) ^ seed.wrapping_mul(0x9e37) ^ at >> 8) as u8).collect()
}

fn on_all_sides(test: impl Fn(Options)) {
    let _watchdog = common::Sandbox::new();
    for producers in SIDES {
        for consumers in SIDES {
            test(Options::new(8).producers(producers).consumers(consumers));
        }
    }
}

#[test]
fn any_length_up_to_the_largest_goes_through() {
    on_all_sides(|options| {
        let queue = ByteQueue::with_options(options.max_message(300_000)).expect("memory");
        for len in [0, 1, 3, 4, 5, 51, 52, 53, 255, 256, 257, 1024, 1025, 4096, 65_536, 65_537, 299_999, 300_000] {
            for round in 0..20 {
                queue.put(&pattern(len, round)).expect("room");
                assert_eq!(queue.get().expect("there"), pattern(len, round), "{len} bytes");
            }
        }
        assert_eq!(queue.put(&[0; 300_001]), Err(PutError::TooLarge { value: (), len: 300_001, max: 300_000 }));
        assert_eq!(queue.try_get(), Err(GetError::Empty));
    });
}

#[test]
fn order_is_kept_among_lengths() {
    on_all_sides(|options| {
        let queue = ByteQueue::with_options(options).expect("memory");
        let lengths = [10, 100, 0, 5000, 52, 53, 70_000, 1];
        for (seed, len) in lengths.iter().enumerate() {
            queue.put(&pattern(*len, seed as u64)).expect("room");
        }
        assert!(queue.is_full());
        let mut out = Vec::new();
        while out.len() < lengths.len() {
            queue.get_many(&mut out, 3).expect("there");
        }
        for (seed, len) in lengths.iter().enumerate() {
            assert_eq!(out[seed], pattern(*len, seed as u64));
        }
        let batch: Vec<Vec<u8>> = lengths.iter().map(|len| pattern(*len, 9)).collect();
        let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        assert_eq!(queue.try_put_many(&slices).expect("open"), 8);
        let mut buffer = Vec::new();
        for message in &batch {
            assert_eq!(queue.get_into(&mut buffer).expect("there"), message.len());
            assert_eq!(&buffer, message);
        }
    });
}

/// One block of the largest size and no other that is large enough: a second message
/// waits as on a full ring.
#[test]
fn a_put_waits_for_a_block() {
    on_all_sides(|options| {
        let queue = ByteQueue::with_options(options.max_message(100_000).arena(1)).expect("memory");
        let consumer = queue.consumer().expect("a place");
        let producer = queue.producer().expect("a place");
        producer.put(&pattern(100_000, 1)).expect("one block");
        assert_eq!(producer.try_put(&pattern(90_000, 2)), Err(PutError::Full(())));
        let started = std::time::Instant::now();
        assert_eq!(producer.put_timeout(&pattern(90_000, 2), Duration::from_millis(20)), Err(PutError::TimedOut(())));
        assert!(started.elapsed() >= Duration::from_millis(20));
        // Short ones need no block.
        producer.put(b"short").expect("a slot");
        std::thread::scope(|scope| {
            scope.spawn(move || producer.put(&pattern(90_000, 3)).expect("it was waited for"));
            assert_eq!(consumer.get().expect("there"), pattern(100_000, 1));
            assert_eq!(consumer.get().expect("there"), b"short");
            assert_eq!(consumer.get().expect("there"), pattern(90_000, 3));
        });
    });
}

/// Whoever waits for a block learns of a close at once.
#[test]
fn a_close_ends_a_wait_for_a_block() {
    on_all_sides(|options| {
        let queue = ByteQueue::with_options(options.max_message(100_000).arena(1)).expect("memory");
        let producer = queue.producer().expect("a place");
        let consumer = queue.consumer().expect("a place");
        producer.put(&pattern(100_000, 1)).expect("one block");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(move || producer.put(&pattern(90_000, 2)));
            consumer.close();
            assert_eq!(waiting.join().expect("no panic"), Err(PutError::Closed(())));
        });
        assert_eq!(consumer.get().expect("there"), pattern(100_000, 1));
        assert_eq!(consumer.get(), Err(GetError::Closed));
    });
}

/// A put that was refused for lack of a slot gives its block back.
#[test]
fn nothing_is_lost_by_puts_that_fail() {
    on_all_sides(|options| {
        let queue = ByteQueue::with_options(options.max_message(10_000).arena(1)).expect("memory");
        for _ in 0..8 {
            queue.put(b"short").expect("a slot");
        }
        for _ in 0..100 {
            assert_eq!(queue.try_put(&pattern(10_000, 1)), Err(PutError::Full(())));
        }
        while queue.try_get().is_ok() {}
        for round in 0..100 {
            queue.try_put(&pattern(10_000, round)).expect("the block is free");
            assert_eq!(queue.try_get().expect("there"), pattern(10_000, round));
        }
        queue.close();
        assert_eq!(queue.put(&pattern(10_000, 1)), Err(PutError::Closed(())));
    });
}

#[test]
fn leases_of_large_messages_stay_where_they_are() {
    on_all_sides(|options| {
        let queue = ByteQueue::with_options(options.max_message(10_000).arena(20_480)).expect("memory");
        queue.put(&pattern(10_000, 1)).expect("room");
        let lease = queue.lease().expect("there");
        assert_eq!(*lease, pattern(10_000, 1));
        // Its slot is free, its block is not.
        assert_eq!(queue.len(), 0);
        drop(lease);
        assert_eq!(queue.len(), 1);
        let lease = queue.lease().expect("again");
        assert_eq!((lease.redelivered(), lease.as_slice()), (1, pattern(10_000, 1).as_slice()));
        drop(lease);
        // A plain get takes what came back, too.
        assert_eq!(queue.get().expect("again"), pattern(10_000, 1));
        queue.put(&pattern(9_000, 2)).expect("room");
        assert_eq!(queue.lease().expect("there").ack().expect("ours"), pattern(9_000, 2));
        queue.put(&pattern(9_000, 3)).expect("the block is free again");
        assert_eq!(queue.get().expect("there"), pattern(9_000, 3));
    });
}

/// Leases can hold all blocks: puts wait for them, and go on.
#[test]
fn an_arena_exhausted_by_leases() {
    let options = Options::new(8).max_message(4096).arena(1).peers_gone(false);
    let queue = ByteQueue::with_options(options).expect("memory");
    queue.put(&pattern(4096, 1)).expect("room");
    let lease = queue.lease().expect("there");
    assert_eq!(queue.try_put(&pattern(4096, 2)), Err(PutError::Full(())));
    let timeout = Duration::from_millis(5);
    assert_eq!(queue.put_timeout(&pattern(4096, 2), timeout), Err(PutError::TimedOut(())));
    assert_eq!(queue.reserve_timeout(4096, timeout).map(drop), Err(PutError::TimedOut(())));
    // What fits a slot needs no block.
    queue.put(b"short").expect("room");
    assert_eq!(queue.get().expect("there"), b"short");
    let other = queue.try_clone().expect("a place");
    other.set_wait_policy(ringway::WaitPolicy::Park);
    let (says, hears) = std::sync::mpsc::channel();
    let waiting = std::thread::spawn(move || {
        says.send(common::thread_id()).expect("somebody hears");
        other.put_timeout(&pattern(4096, 2), Duration::from_secs(20))
    });
    common::until_asleep(std::process::id(), hears.recv().expect("it has begun"));
    assert_eq!(lease.ack().expect("ours"), pattern(4096, 1));
    assert_eq!(waiting.join().expect("no panic"), Ok(()));
    assert_eq!(queue.get().expect("there"), pattern(4096, 2));
    queue.try_put(&pattern(4096, 3)).expect("room again");
}

/// A named queue says what it is, and what is stated of it must be true.
#[test]
fn geometry_comes_from_the_segment() {
    let sandbox = common::Sandbox::new();
    let options = || Options::new(4).directory(sandbox.path());
    let queue = ByteQueue::create("q", options().inline(100).max_message(5000).arena(50_000)).expect("created");
    assert_eq!(queue.max_message(), 5000);
    let same = ByteQueue::open_with("q", Options::default().directory(sandbox.path()).inline(100)).expect("the same");
    queue.put(&pattern(5000, 1)).expect("room");
    assert_eq!(same.get().expect("there"), pattern(5000, 1));
    for wrong in [options().inline(99), options().max_message(5001), options().max_message(5000).inline(100).arena(1)] {
        assert_is!(common::kind(ByteQueue::open_with("q", wrong)), ringway::SetupErrorKind::Mismatch { .. });
    }
}

/// Short messages that have taken all that there is, of which the last are still held, keep no long one out.
#[test]
fn short_messages_keep_no_long_one_out() {
    const LONGEST: usize = 100_000;
    let _watchdog = common::Sandbox::new();
    let bounded = Options::new(1 << 14).arena(4 * LONGEST as u64);
    for options in [Options::unbounded().cap(1 << 20), Options::unbounded().cap(4 << 20), bounded] {
        let queue = ByteQueue::with_options(options.max_message(LONGEST)).expect("memory");
        let put = (0..).take_while(|_| queue.try_put(&pattern(60, 1)).is_ok()).count();
        assert!(put > 8, "{put}");
        (8..put).for_each(|_| drop(queue.try_get().expect("there")));
        let leases: Vec<_> = (0..8).map(|_| queue.try_lease().expect("there")).collect();
        queue.try_put(&pattern(LONGEST, 2)).expect("the queue is empty");
        assert_eq!(queue.try_get().expect("there"), pattern(LONGEST, 2));
        drop(leases);
    }
}

/// The smallest arena that there can be takes every message while the queue is empty.
#[test]
fn what_is_admitted_can_always_be_put() {
    on_all_sides(|options| {
        for max_message in [53, 64, 65, 256, 1000, 4096, 5000, 70_000] {
            let queue = ByteQueue::with_options(options.clone().max_message(max_message).arena(0)).expect("memory");
            for len in (53..=max_message).step_by(max_message / 50 + 1).chain([max_message]) {
                queue.try_put(&pattern(len, 5)).expect("the queue is empty");
                assert_eq!(queue.try_get().expect("there"), pattern(len, 5));
            }
        }
    });
}
