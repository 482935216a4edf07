//! Who may put and who may get: `Single` sides, the table of participants, and
//! how soon a place that was freed is seen.

mod common;

use common::{MODES, Role, SIDES, Sandbox, hear, kind, tell, thread_id, timed, until_asleep};
use ringway::{GetError, Options, PodQueue, PutError, SetupErrorKind as K, Side};
use std::time::Duration;

const ROLES: &[Role] = &[("hold", role_hold), ("attach", role_attach)];

/// One slice of a sleep: the longest that a freed place may go unnoticed.
const SLICE: Duration = Duration::from_millis(100);

fn me() -> Option<u32> {
    Some(std::process::id())
}

#[test]
fn a_second_producer_of_a_single_side_is_told_who_has_it() {
    for consumers in SIDES {
        let sandbox = Sandbox::new();
        let first = PodQueue::<u8>::create("q", sandbox.mode(4, (Side::Single, consumers))).expect("a free name");
        let second = PodQueue::<u8>::open_with("q", sandbox.here()).expect("a handle holds no side");
        let third = second.try_clone().expect("a place");
        let end = first.producer().expect("nobody has it");
        let taken = K::SideTaken { holder: me() };
        assert_eq!(kind(first.producer()), taken);
        assert_eq!(kind(second.producer()), taken);
        assert_eq!(kind(end.try_clone()), taken);
        assert_eq!(kind(third.split()), taken);
        let refused = |value| PutError::SideTaken { value, holder: me() };
        assert_eq!(first.put(1), Err(refused(1)));
        assert_eq!(second.try_put(2), Err(refused(2)));
        assert_eq!(second.put_timeout(3, Duration::MAX), Err(refused(3)));
        let error = second.put_many(&[4, 5]).expect_err("taken");
        assert_eq!((error.put, error.cause), (0, PutError::SideTaken { value: (), holder: me() }));
        end.put(6).expect("the holder may");
        drop(end);
        // The first put of a handle takes the side, and keeps it.
        second.put(7).expect("it is free again");
        assert_eq!(first.put(8), Err(refused(8)));
        drop(second);
        first.put(9).expect("it is free again");
        assert_eq!((0..3).map(|_| first.try_get()).collect::<Result<Vec<_>, _>>(), Ok(vec![6, 7, 9]));
    }
}

#[test]
fn a_second_consumer_of_a_single_side_is_told_who_has_it() {
    for producers in SIDES {
        let sandbox = Sandbox::new();
        let first = PodQueue::<u8>::create("q", sandbox.mode(4, (producers, Side::Single))).expect("a free name");
        let second = PodQueue::<u8>::open_with("q", sandbox.here()).expect("a handle holds no side");
        first.put_many(&[1, 2, 3]).expect("there is room");
        let end = first.consumer().expect("nobody has it");
        let taken = K::SideTaken { holder: me() };
        assert_eq!(kind(first.consumer()), taken);
        assert_eq!(kind(second.consumer()), taken);
        assert_eq!(kind(end.try_clone()), taken);
        let refused = GetError::SideTaken;
        assert_eq!(first.get(), Err(refused));
        assert_eq!(second.try_get(), Err(refused));
        assert_eq!(second.get_timeout(Duration::MAX), Err(refused));
        assert_eq!(second.get_many(&mut Vec::new(), 9), Err(refused));
        assert_eq!(second.iter().collect::<Vec<_>>(), [Err(refused)]);
        assert_eq!(end.get(), Ok(1));
        drop(end);
        assert_eq!(second.get(), Ok(2));
        assert_eq!(first.get(), Err(refused));
        drop(second);
        assert_eq!(first.get(), Ok(3));
    }
}

#[test]
fn splitting_a_handle_gives_both_ends() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u8>::create("q", sandbox.mode(2, mode)).expect("a free name");
        queue.put(1).expect("there is room");
        assert_eq!(queue.get(), Ok(1));
        let (producer, consumer) = queue.split().expect("the handle gives its sides up");
        producer.put(2).expect("there is room");
        assert_eq!(consumer.get(), Ok(2));
        assert_eq!(producer.participants(), 2);
        drop(producer);
        assert_eq!(consumer.participants(), 1);
        assert_eq!(consumer.try_get(), Err(GetError::Empty));
    }
}

/// Takes a side and waits until it is told to end.
fn role_hold(arguments: &[String]) {
    let queue = PodQueue::<u8>::open("q").expect("it is there");
    match arguments[0].as_str() {
        "producer" => queue.put(1).expect("the side is free"),
        _ => drop(queue.try_get().expect("the side is free, and a message there")),
    }
    tell("held");
    hear();
}

#[test]
fn the_holder_may_be_another_process_and_its_death_frees_the_side() {
    let sandbox = Sandbox::new();
    let options = sandbox.mode(8, (Side::Single, Side::Single));
    let queue = PodQueue::<u8>::create("q", options).expect("a free name");
    for kill in [true, false] {
        let mut holder = sandbox.child("hold", &["producer"]);
        holder.expect("held");
        let taken = K::SideTaken { holder: Some(holder.pid()) };
        assert_eq!(kind(queue.producer()), taken);
        if kill {
            holder.kill()
        } else {
            drop(holder.succeed())
        }
        let end = queue.producer().expect("it is free again");
        end.put(2).expect("there is room");
        drop(end);
    }
    for kill in [true, false] {
        let mut holder = sandbox.child("hold", &["consumer"]);
        holder.expect("held");
        let taken = K::SideTaken { holder: Some(holder.pid()) };
        assert_eq!(kind(queue.consumer()), taken);
        if kill {
            holder.kill()
        } else {
            drop(holder.succeed())
        }
        let end = queue.consumer().expect("it is free again");
        assert_eq!(end.get(), Ok(2), "the dead one's messages are committed, no more and no less");
        drop(end);
    }
    assert_eq!(queue.try_get(), Err(GetError::Empty));
}

// ---- the table ----

#[test]
fn a_full_table_says_so_and_has_room_again_after_a_drop() {
    let sandbox = Sandbox::new();
    for max in [1, 2, 5] {
        let full = K::TooManyParticipants { max };
        let options = sandbox.options(4).max_participants(max);
        let first = PodQueue::<u8>::create("q", options.clone()).expect("a free name");
        let mut others: Vec<_> = (1..max).map(|_| first.try_clone().expect("a place")).collect();
        for _ in 0..3 {
            assert_eq!(kind(first.try_clone()), full);
            assert_eq!(kind(first.producer()), full);
            assert_eq!(kind(first.consumer()), full);
            assert_eq!(kind(PodQueue::<u8>::open_with("q", sandbox.here())), full);
            assert_eq!(kind(PodQueue::<u8>::open_or_create("q", options.clone())), full);
            assert_eq!(first.participants(), max as usize);
            first.put(1).expect("those that are in go on");
            assert_eq!(first.get(), Ok(1));
            if others.pop().is_some() {
                assert_eq!(first.participants(), max as usize - 1);
                others.push(PodQueue::open_with("q", sandbox.here()).expect("there is a place again"));
            }
        }
    }
}

/// Whichever places are freed and taken again, and in whatever order.
#[test]
fn participants_are_counted_also_after_holes() {
    const PLACES: usize = 6;
    let sandbox = Sandbox::new();
    let first = PodQueue::<u8>::create("q", sandbox.options(4)).expect("a free name");
    let mut others: Vec<_> = (1..PLACES).map(|_| first.try_clone().expect("a place")).collect();
    for round in 0..30 {
        let gone = 1 + round % (PLACES - 2);
        for turn in 0..gone {
            others.remove((round * 7 + turn * 3) % others.len());
            assert_eq!(first.participants(), 1 + others.len(), "round {round}");
        }
        while others.len() < PLACES - 1 {
            others.push(first.try_clone().expect("a place"));
            assert_eq!(first.participants(), 1 + others.len(), "round {round}");
        }
    }
}

/// Attaches as often as told, and waits.
fn role_attach(arguments: &[String]) {
    let count: usize = arguments[0].parse().expect("a number");
    let attach = || PodQueue::<u8>::open_with("q", Options::default()).expect("there is a place");
    let handles: Vec<_> = std::iter::repeat_with(attach).take(count).collect();
    tell("attached");
    hear();
    drop(handles);
}

#[test]
fn a_dead_process_gives_all_its_places_back() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u8>::create("q", sandbox.options(4).max_participants(20)).expect("a free name");
    for _ in 0..3 {
        let mut child = sandbox.child("attach", &["19"]);
        child.expect("attached");
        assert_eq!(queue.participants(), 20);
        assert_eq!(kind(queue.try_clone()), K::TooManyParticipants { max: 20 });
        child.kill();
        assert_eq!(queue.participants(), 1);
    }
}

#[test]
fn the_largest_table_can_be_filled() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u8>::create("q", sandbox.options(4).max_participants(1024)).expect("a free name");
    let mut children: Vec<_> = (0..3).map(|_| sandbox.child("attach", &["341"])).collect();
    children.iter_mut().for_each(|child| child.expect("attached"));
    assert_eq!(queue.participants(), 1024);
    assert_eq!(kind(queue.try_clone()), K::TooManyParticipants { max: 1024 });
    children.into_iter().for_each(|child| drop(child.succeed()));
    assert_eq!(queue.participants(), 1);
}

// ---- a freed place ----

/// A producer whose ring is full while the consumer takes one and pauses: the
/// one place can be had at once, though a Single consumer publishes where it is
/// only now and then.
#[test]
fn one_taken_message_is_one_free_place() {
    for mode in MODES {
        for capacity in [1, 2, 64, 1024] {
            let sandbox = Sandbox::new();
            let queue = PodQueue::<u64>::create("q", sandbox.mode(capacity, mode)).expect("a free name");
            let (producer, consumer) = queue.split().expect("both are free");
            let mut put = 0;
            while producer.try_put(put).is_ok() {
                put += 1;
            }
            assert_eq!(put, capacity, "{mode:?}");
            for taken in 0..2 * capacity + 3 {
                assert!(producer.is_full());
                assert_eq!(consumer.get(), Ok(taken));
                assert!(!producer.is_full(), "{mode:?} {capacity} after {taken}");
                assert_eq!(producer.try_put(put), Ok(()), "{mode:?} {capacity} after {taken}");
                assert_eq!(producer.try_put(99), Err(PutError::Full(99)), "{mode:?} {capacity} after {taken}");
                put += 1;
            }
        }
    }
}

/// The same for a producer that has not looked since others filled the queue.
#[test]
fn a_place_is_seen_by_a_producer_that_was_idle() {
    for consumers in SIDES {
        for capacity in [1, 2, 64, 1024] {
            for ever_put in [false, true] {
                let sandbox = Sandbox::new();
                let options = sandbox.mode(capacity, (Side::Multi, consumers));
                let queue = PodQueue::<u64>::create("q", options).expect("a free name");
                let (idle, busy) = (queue.producer().expect("a place"), queue.producer().expect("a place"));
                let consumer = queue.consumer().expect("it is free");
                if ever_put {
                    idle.put(0).expect("there is room");
                    assert_eq!(consumer.get(), Ok(0));
                }
                (0..capacity).for_each(|value| busy.try_put(value).expect("there is room"));
                assert_eq!(consumer.get(), Ok(0));
                assert!(!idle.is_full());
                assert_eq!(idle.try_put(capacity), Ok(()), "{consumers:?} {capacity} {ever_put}");
                assert_eq!(idle.try_put(99), Err(PutError::Full(99)));
            }
        }
    }
}

/// The same with a producer that sleeps: it returns within a slice, with room to
/// spare for a busy machine, and far from a missed wake-up's many slices.
#[test]
fn a_sleeping_producer_gets_the_one_free_place() {
    for mode in MODES {
        for capacity in [1, 2, 64, 1024] {
            let sandbox = Sandbox::new();
            let queue = PodQueue::<u64>::create("q", sandbox.mode(capacity, mode)).expect("a free name");
            let (producer, consumer) = queue.split().expect("both are free");
            (0..capacity).for_each(|value| producer.try_put(value).expect("there is room"));
            let (says, hears) = std::sync::mpsc::channel();
            const ROUNDS: u64 = 3;
            let sleeper = std::thread::spawn(move || {
                says.send(thread_id()).expect("awaited");
                for round in 0..ROUNDS {
                    producer.put(capacity + round).expect("nobody closes");
                    says.send(0).expect("awaited");
                }
                // Kept, so that the queue is as full as it was.
                producer
            });
            let thread = hears.recv().expect("it starts");
            let mut fastest = Duration::MAX;
            for round in 0..ROUNDS {
                until_asleep(std::process::id(), thread);
                assert_eq!(consumer.get(), Ok(round));
                let (done, took) = timed(|| hears.recv_timeout(Duration::from_secs(10)));
                done.expect("the put returns");
                fastest = fastest.min(took);
            }
            assert!(fastest <= SLICE, "{mode:?} {capacity}: {fastest:?}");
            let producer = sleeper.join().expect("all as expected");
            assert_eq!(producer.try_put(0), Err(PutError::Full(0)), "exactly one place each time");
        }
    }
}
