//! What users of channels between threads rely on, with one end per thread.
//!
//! The situations are those that suites of bounded channels look at, such as
//! crossbeam-channel's `tests/array.rs`; the code is our own. Left out: what is
//! about disconnection, selection and values with destructors. Where a channel
//! shares one end among threads, a queue gives each thread an end of its own.

mod common;

use common::{MODES, Role, Sandbox, thread_id, timed, until_asleep};
use ringway::{Consumer, GetError, Pod, PodQueue, Producer, PutError, Side};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const ROLES: &[Role] = &[];

const MOMENT: Duration = Duration::from_millis(20);

fn queue(capacity: u64) -> PodQueue<usize> {
    PodQueue::bounded(capacity).expect("memory")
}

fn ends(capacity: u64) -> (Producer<Pod<usize>>, Consumer<Pod<usize>>) {
    queue(capacity).split().expect("both are free")
}

/// Starts a thread and waits until it sleeps in its first operation.
fn asleep<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> thread::JoinHandle<R> {
    let (says, hears) = mpsc::channel();
    let sleeper = thread::spawn(move || {
        says.send(thread_id()).expect("awaited");
        f()
    });
    until_asleep(std::process::id(), hears.recv().expect("it starts"));
    sleeper
}

#[test]
fn one_message_at_a_time() {
    let (put, get) = ends(1);
    put.put(7).expect("there is room");
    assert_eq!(get.try_get(), Ok(7));
    put.put(8).expect("there is room");
    assert_eq!(get.get(), Ok(8));
    assert_eq!(get.try_get(), Err(GetError::Empty));
    assert_eq!(get.get_timeout(MOMENT), Err(GetError::TimedOut));
}

#[test]
fn both_ends_know_the_capacity() {
    for capacity in 1..10 {
        let (put, get) = ends(capacity as u64);
        assert_eq!((put.capacity(), get.capacity()), (capacity, capacity));
    }
}

#[test]
fn both_ends_agree_on_how_full_it_is() {
    const CAPACITY: usize = 3;
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<usize>::create("q", sandbox.mode(CAPACITY as u64, mode)).expect("a free name");
        let (put, get) = queue.split().expect("both are free");
        let check = |len: usize| {
            let expected = (len, len == 0, len == CAPACITY);
            assert_eq!((put.len(), put.is_empty(), put.is_full()), expected, "{mode:?}");
            assert_eq!((get.len(), get.is_empty(), get.is_full()), expected, "{mode:?}");
        };
        for _ in 0..3 {
            check(0);
            for len in 1..=CAPACITY {
                put.put(len).expect("there is room");
                check(len);
            }
            for len in (0..CAPACITY).rev() {
                get.get().expect("a message");
                check(len);
            }
        }
    }
}

#[test]
fn the_length_follows_thousands_of_messages() {
    const CAPACITY: usize = 1000;
    const COUNT: usize = 25_000;
    let (put, get) = ends(CAPACITY as u64);
    for _ in 0..CAPACITY / 10 {
        for len in 1..=50 {
            put.put(len).expect("there is room");
            assert_eq!(put.len(), len);
        }
        for len in (0..50).rev() {
            get.get().expect("a message");
            assert_eq!(get.len(), len);
        }
    }
    thread::scope(|scope| {
        scope.spawn(|| {
            let put = put;
            for number in 0..COUNT {
                put.put(number).expect("nobody closes");
                assert!(put.len() <= CAPACITY);
            }
        });
        for number in 0..COUNT {
            assert_eq!(get.get(), Ok(number));
            assert!(get.len() <= CAPACITY);
        }
    });
    assert_eq!((get.len(), get.is_empty()), (0, true));
}

#[test]
fn a_poller_sees_empty_then_the_message_then_closed() {
    let (put, get) = ends(100);
    assert_eq!(get.try_get(), Err(GetError::Empty));
    thread::spawn(move || {
        put.put(7).expect("there is room");
        put.close();
    })
    .join()
    .expect("all well");
    assert_eq!(get.try_get(), Ok(7));
    assert_eq!(get.try_get(), Err(GetError::Closed));
}

#[test]
fn a_sleeping_consumer_gets_all_that_is_put_later() {
    let (put, get) = ends(100);
    let sleeper = asleep(move || get.iter().collect::<Result<Vec<_>, _>>());
    for number in [7, 8, 9] {
        put.put(number).expect("there is room");
    }
    put.close();
    assert_eq!(sleeper.join().expect("no panic"), Ok(vec![7, 8, 9]));
}

#[test]
fn a_consumer_can_try_again_after_its_time_is_up() {
    let (put, get) = ends(100);
    assert_eq!(get.get_timeout(MOMENT), Err(GetError::TimedOut));
    let sleeper = asleep(move || {
        let got = get.get_timeout(Duration::from_secs(60));
        (got, get.get_timeout(Duration::from_secs(60)))
    });
    put.put(7).expect("there is room");
    put.close();
    assert_eq!(sleeper.join().expect("no panic"), (Ok(7), Err(GetError::Closed)));
}

#[test]
fn a_poller_sees_full_until_one_is_taken() {
    let (put, get) = ends(1);
    assert_eq!(put.try_put(1), Ok(()));
    assert_eq!(put.try_put(2), Err(PutError::Full(2)));
    let other = thread::spawn(move || {
        let got = (get.try_get(), get.try_get());
        (get, got)
    });
    let (get, got) = other.join().expect("no panic");
    assert_eq!(got, (Ok(1), Err(GetError::Empty)));
    assert_eq!(put.try_put(3), Ok(()));
    assert_eq!(get.get(), Ok(3));
    get.close();
    assert_eq!(put.try_put(4), Err(PutError::Closed(4)));
}

#[test]
fn a_sleeping_producer_goes_on_when_one_is_taken() {
    let (put, get) = ends(1);
    let sleeper = asleep(move || {
        put.put(7).and_then(|()| put.put(8)).and_then(|()| put.put(9)).expect("nobody closes yet");
        put.put(10)
    });
    for number in [7, 8, 9] {
        assert_eq!(get.get(), Ok(number));
    }
    assert_eq!(get.get(), Ok(10));
    assert_eq!(sleeper.join().expect("no panic"), Ok(()));
}

#[test]
fn a_producer_can_try_again_after_its_time_is_up() {
    let (put, get) = ends(2);
    assert_eq!(put.put_timeout(1, MOMENT), Ok(()));
    assert_eq!(put.put_timeout(2, MOMENT), Ok(()));
    assert_eq!(put.put_timeout(3, MOMENT), Err(PutError::TimedOut(3)));
    let sleeper = asleep(move || (put.put_timeout(4, Duration::from_secs(60)), put));
    assert_eq!(get.get(), Ok(1));
    let (done, put) = sleeper.join().expect("no panic");
    assert_eq!(done, Ok(()));
    assert_eq!((get.get(), get.get()), (Ok(2), Ok(4)));
    get.close();
    assert_eq!(put.put(5), Err(PutError::Closed(5)));
}

#[test]
fn every_way_of_putting_after_the_close_gives_the_value_back() {
    let (put, get) = ends(100);
    put.put_many(&[1, 2, 3]).expect("there is room");
    get.close();
    assert_eq!(put.put(4), Err(PutError::Closed(4)));
    assert_eq!(put.try_put(5), Err(PutError::Closed(5)));
    assert_eq!(put.put_timeout(6, MOMENT), Err(PutError::Closed(6)));
    assert_eq!(get.iter().collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2, 3]));
}

#[test]
fn closing_wakes_producers_and_consumers() {
    let (put, get) = ends(1);
    put.put(1).expect("there is room");
    let sleeper = asleep(move || put.put(2));
    get.close();
    assert_eq!(sleeper.join().expect("no panic"), Err(PutError::Closed(2)));

    let (put, get) = ends(1);
    let sleeper = asleep(move || get.get());
    put.close();
    assert_eq!(sleeper.join().expect("no panic"), Err(GetError::Closed));
}

#[test]
fn closing_wakes_all_who_sleep() {
    const SLEEPERS: usize = 5;
    let full = queue(1);
    full.put(0).expect("there is room");
    let empty = queue(1);
    let putters: Vec<_> = (0..SLEEPERS)
        .map(|number| {
            let end = full.producer().expect("a place");
            asleep(move || end.put(number))
        })
        .collect();
    let getters: Vec<_> = (0..SLEEPERS)
        .map(|_| {
            let end = empty.consumer().expect("a place");
            asleep(move || end.get())
        })
        .collect();
    full.close();
    empty.close();
    for (number, sleeper) in putters.into_iter().enumerate() {
        assert_eq!(sleeper.join().expect("no panic"), Err(PutError::Closed(number)));
    }
    for sleeper in getters {
        assert_eq!(sleeper.join().expect("no panic"), Err(GetError::Closed));
    }
}

#[test]
fn one_thread_to_another_in_order() {
    const COUNT: usize = 100_000;
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<usize>::create("q", sandbox.mode(3, mode)).expect("a free name");
        let (put, get) = queue.split().expect("both are free");
        let producer = thread::spawn(move || {
            (0..COUNT).for_each(|number| put.put(number).expect("nobody closes"));
            put.close();
        });
        let mut expected = 0;
        for number in get.iter() {
            assert_eq!(number, Ok(expected));
            expected += 1;
        }
        assert_eq!(expected, COUNT);
        producer.join().expect("no panic");
    }
}

#[test]
fn many_threads_get_each_message_once() {
    const COUNT: usize = 25_000;
    const THREADS: usize = 4;
    let queue = queue(3);
    let seen: Vec<AtomicUsize> = (0..COUNT).map(|_| AtomicUsize::new(0)).collect();
    let (putters, getters): (Vec<_>, Vec<_>) =
        (0..THREADS).map(|_| (queue.producer().expect("a place"), queue.consumer().expect("a place"))).unzip();
    thread::scope(|scope| {
        for get in getters {
            let seen = &seen;
            scope.spawn(move || {
                for _ in 0..COUNT {
                    seen[get.get().expect("a message")].fetch_add(1, Relaxed);
                }
            });
        }
        for put in putters {
            scope.spawn(move || (0..COUNT).for_each(|number| put.put(number).expect("nobody closes")));
        }
    });
    assert!(seen.iter().all(|count| count.load(Relaxed) == THREADS));
    assert!(queue.is_empty());
}

#[test]
fn a_queue_for_one_message_only() {
    const COUNT: usize = 1000;
    for number in 0..COUNT {
        let (put, get) = ends(1);
        let producer = thread::spawn(move || put.put(number));
        assert_eq!(get.get(), Ok(number));
        assert_eq!(producer.join().expect("no panic"), Ok(()));
    }
}

#[test]
fn requests_and_answers_through_two_queues() {
    const COUNT: usize = 50_000;
    let (ask, asked) = ends(1);
    let (answer, answered) = ends(1);
    let client = thread::spawn(move || {
        let mut count = 0;
        while count < COUNT {
            count += answered.try_iter().map(|one| one.expect("an answer")).sum::<usize>();
            ask.put(0).expect("the server closes last");
        }
        ask.close();
    });
    for request in asked.iter() {
        request.expect("a request");
        // The client asks oftener than it listens.
        match answer.try_put(1) {
            Ok(()) | Err(PutError::Full(_)) => {}
            // Its last requests are still there when it has left.
            Err(PutError::PeersGone(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    client.join().expect("no panic");
}

#[test]
fn impatient_threads_lose_nothing() {
    const COUNT: usize = 60;
    let (put, get) = ends(2);
    let impatience = Duration::from_millis(2);
    let producer = thread::spawn(move || {
        for number in 0..COUNT {
            if number % 10 == 0 {
                thread::sleep(3 * impatience);
            }
            while put.put_timeout(number, impatience).is_err() {}
        }
    });
    for number in 0..COUNT {
        if number % 10 == 5 {
            thread::sleep(3 * impatience);
        }
        let got = std::iter::repeat_with(|| get.get_timeout(impatience)).find_map(Result::ok);
        assert_eq!(got, Some(number));
    }
    producer.join().expect("no panic");
}

/// Whoever has put a message and nobody else gets more than was put, finds one.
#[test]
fn who_puts_one_finds_one() {
    const COUNT: usize = 20_000;
    const THREADS: usize = 4;
    let queue = queue(THREADS as u64);
    let handles: Vec<_> = (0..THREADS).map(|_| queue.try_clone().expect("a place")).collect();
    thread::scope(|scope| {
        for handle in handles {
            scope.spawn(move || {
                for number in 0..COUNT {
                    handle.put(number).expect("nobody closes");
                    // A try may also fail while somebody else is in the middle
                    // of the position in the way; a wait does not.
                    handle.get().expect("a message");
                }
            });
        }
    });
    assert!(queue.is_empty());
}

#[test]
fn an_end_moves_through_threads() {
    const COUNT: usize = 100;
    let (mut put, mut get) = ends(1);
    for number in 0..COUNT {
        put = thread::spawn(move || {
            put.put(number).expect("there is room");
            put
        })
        .join()
        .expect("no panic");
        get = thread::spawn(move || {
            assert_eq!(get.get(), Ok(number));
            get
        })
        .join()
        .expect("no panic");
    }
}

/// With two queues that both have messages, a consumer that polls them in turn
/// takes from both alike.
#[test]
fn polling_two_queues_is_fair() {
    const COUNT: usize = 1000;
    let queues = [queue(COUNT as u64), queue(COUNT as u64)];
    for queue in &queues {
        queue.put_many(&[0; COUNT]).expect("there is room");
    }
    let mut hits = [0; 2];
    for turn in 0..COUNT {
        queues[turn % 2].try_get().expect("a message");
        hits[turn % 2] += 1;
    }
    assert_eq!(hits, [COUNT / 2; 2]);
}

#[test]
fn a_batch_larger_than_the_queue_goes_through_in_order() {
    const COUNT: usize = 10_000;
    for (producers, consumers) in [(Side::Multi, Side::Multi), (Side::Single, Side::Single)] {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<usize>::create("q", sandbox.mode(7, (producers, consumers))).expect("a free name");
        let (put, get) = queue.split().expect("both are free");
        let all: Vec<usize> = (0..COUNT).collect();
        let batch = all.clone();
        let producer = thread::spawn(move || put.put_many(&batch));
        let mut got = Vec::new();
        while got.len() < COUNT {
            assert!(get.get_many(&mut got, 50).expect("nobody closes") > 0);
        }
        assert_eq!(producer.join().expect("no panic"), Ok(()));
        assert_eq!(got, all);
    }
}

#[test]
fn a_wait_that_is_over_took_its_time() {
    let (put, get) = ends(1);
    let (outcome, took) = timed(|| get.get_timeout(MOMENT));
    assert_eq!(outcome, Err(GetError::TimedOut));
    assert!(took >= MOMENT);
    put.put(1).expect("there is room");
    let (outcome, took) = timed(|| put.put_timeout(2, MOMENT));
    assert_eq!(outcome, Err(PutError::TimedOut(2)));
    assert!(took >= MOMENT);
}
