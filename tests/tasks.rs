//! Joinable queues: what was taken counts until it is done, whoever dies.

mod common;

#[path = "tasks/kills.rs"]
mod kills;

use common::{Child, MODES, Role, Sandbox, hear, kind, tell, thread_id, timed, until_asleep};
use ringway::{ByteQueue, GetError, Options, PodQueue, SetupErrorKind as K, Side, TaskError};
use std::collections::BTreeSet;
use std::time::Duration;

const ROLES: &[Role] = &[("worker", role_worker), ("drudge", role_drudge), kills::ROLE];

type Numbers = PodQueue<u64>;

const MOMENT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(20);

/// Takes and ends tasks of queue `q` as it is told.
fn role_worker(_: &[String]) {
    let consumer = Numbers::open("q").expect("it is there").consumer().expect("the side is free");
    tell("ready");
    loop {
        match hear().as_str() {
            "take" => tell(consumer.get_timeout(LONG).expect("a message")),
            "done" => {
                consumer.task_done().expect("a task");
                tell("done");
            }
            "" => break,
            other => panic!("no order {other}"),
        }
    }
}

fn ask(child: &mut Child, order: &str) -> String {
    child.tell(order);
    child.line()
}

fn worker(sandbox: &Sandbox) -> Child {
    let mut child = sandbox.child("worker", &[]);
    child.expect("ready");
    child
}

#[test]
fn join_waits_until_all_is_done() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::create("q", sandbox.mode(4, mode).joinable(true)).expect("a free name");
        queue.join().expect("nothing was put");
        let mut child = worker(&sandbox);
        queue.join().expect("nothing was put");
        queue.put_many(&[1, 2, 3]).expect("room");
        for taken in ["1", "2", "3"] {
            assert_eq!(queue.join_timeout(MOMENT), Err(TaskError::TimedOut), "{mode:?}");
            assert_eq!(ask(&mut child, "take"), taken);
        }
        assert_eq!(queue.len(), 0, "what is being worked on does not count");
        for _ in 0..3 {
            assert_eq!(queue.join_timeout(MOMENT), Err(TaskError::TimedOut), "{mode:?}");
            assert_eq!(ask(&mut child, "done"), "done");
        }
        queue.join().expect("all is done");
        // More than a lap.
        for number in 0..20 {
            queue.put(number).expect("room");
            assert_eq!(ask(&mut child, "take"), number.to_string());
            assert_eq!(queue.join_timeout(Duration::ZERO), Err(TaskError::TimedOut));
            assert_eq!(ask(&mut child, "done"), "done");
            queue.join().expect("all is done");
        }
        child.succeed();
        queue.join().expect("all is done, whoever is there");
    }
}

/// The end of the last task wakes those who wait; they would look by themselves after a slice of
/// 100 ms only.
#[test]
fn the_end_of_the_last_task_wakes() {
    const ROUNDS: u32 = 20;
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::create("q", sandbox.mode(4, mode).joinable(true)).expect("a free name");
        let mut child = worker(&sandbox);
        let mut waited = Duration::ZERO;
        for _ in 0..ROUNDS {
            queue.put_many(&[1, 2]).expect("room");
            let (telling, told) = std::sync::mpsc::channel();
            let other = queue.try_clone().expect("a place");
            let joiner = std::thread::spawn(move || {
                telling.send(thread_id()).expect("somebody listens");
                other.join()
            });
            ask(&mut child, "take");
            ask(&mut child, "take");
            ask(&mut child, "done");
            until_asleep(std::process::id(), told.recv().expect("it says so"));
            assert!(!joiner.is_finished());
            ask(&mut child, "done");
            let (joined, took) = timed(|| joiner.join());
            joined.expect("no panic").expect("all is done");
            waited += took;
        }
        assert!(waited < ROUNDS * Duration::from_millis(30), "{mode:?}: {waited:?} for {ROUNDS}");
        child.succeed();
    }
}

#[test]
fn a_dead_consumer_does_not_hang_join() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::create("q", sandbox.mode(4, mode).joinable(true)).expect("a free name");
        queue.put_many(&[1, 2]).expect("room");
        let mut child = worker(&sandbox);
        assert_eq!(ask(&mut child, "take"), "1");
        assert_eq!(ask(&mut child, "take"), "2");
        assert_eq!(ask(&mut child, "done"), "done");
        child.kill();
        // What it had is not done.
        assert_eq!(queue.join_timeout(Duration::from_millis(300)), Err(TaskError::TimedOut), "{mode:?}");
        assert_eq!(queue.len(), 1, "{mode:?}: who joins has brought it back");
        std::thread::scope(|scope| {
            let other = queue.try_clone().expect("a place");
            let joiner = scope.spawn(move || other.join_timeout(LONG));
            let mut child = worker(&sandbox);
            assert_eq!(ask(&mut child, "take"), "2");
            assert!(!joiner.is_finished());
            assert_eq!(ask(&mut child, "done"), "done");
            joiner.join().expect("no panic").expect("all is done");
            child.succeed();
        });
    }
}

#[test]
fn task_done_too_often_is_an_error() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::with_options(sandbox.mode(4, mode).joinable(true)).expect("memory");
        assert_eq!(queue.task_done(), Err(TaskError::NoTask));
        queue.put_many(&[1, 2]).expect("room");
        assert_eq!(queue.task_done(), Err(TaskError::NoTask));
        assert_eq!((queue.get(), queue.task_done(), queue.task_done()), (Ok(1), Ok(()), Err(TaskError::NoTask)));
        assert_eq!(queue.join_timeout(Duration::ZERO), Err(TaskError::TimedOut));
        assert_eq!((queue.get(), queue.task_done(), queue.task_done()), (Ok(2), Ok(()), Err(TaskError::NoTask)));
        queue.join().expect("all is done");
    }
}

#[test]
fn a_queue_that_is_not_joinable_says_so() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("memory");
    queue.put(1).expect("room");
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.task_done(), Err(TaskError::NotJoinable));
    assert_eq!(queue.join(), Err(TaskError::NotJoinable));
    assert_eq!(queue.producer().expect("a side").join_timeout(LONG), Err(TaskError::NotJoinable));
    let refused = kind(Numbers::with_options(Options::new(4).joinable(true).leases(0)));
    assert_is!(refused, K::InvalidOptions { reason } if reason.contains("joinable"));
}

#[test]
fn being_joinable_is_fixed_at_creation() {
    let sandbox = Sandbox::new();
    let queue = Numbers::create("q", sandbox.options(4).joinable(true)).expect("a free name");
    let refused = kind(Numbers::open_with("q", sandbox.here().joinable(false)));
    assert_is!(refused, K::Mismatch { what: "being joinable", .. });
    let same = Numbers::open_with("q", sandbox.here()).expect("the same");
    let handed = Numbers::open_ticket(&queue.ticket().expect("a handle")).expect("the same");
    queue.put_many(&[1, 2]).expect("room");
    assert_eq!((same.get(), handed.get()), (Ok(1), Ok(2)));
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(TaskError::TimedOut));
    same.task_done().expect("a task");
    assert_eq!(queue.join_timeout(Duration::ZERO), Err(TaskError::TimedOut));
    handed.task_done().expect("a task");
    queue.join().expect("all is done");
}

#[test]
fn a_handle_has_as_many_open_tasks_as_leases() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::with_options(sandbox.mode(8, mode).joinable(true).leases(2)).expect("memory");
        queue.put_many(&[1, 2, 3, 4]).expect("room");
        assert_eq!((queue.get(), queue.get()), (Ok(1), Ok(2)));
        for refused in [queue.get(), queue.try_get(), queue.get_timeout(LONG)] {
            assert_eq!(refused, Err(GetError::TooManyLeases));
        }
        queue.task_done().expect("a task");
        assert_eq!(queue.get(), Ok(3));
        assert_eq!(queue.try_get(), Err(GetError::TooManyLeases));
        queue.task_done().expect("a task");
        queue.task_done().expect("a task");
        let lease = queue.lease().expect("4");
        assert_eq!(queue.join_timeout(Duration::ZERO), Err(TaskError::TimedOut), "a lease is not done either");
        assert_eq!(lease.ack(), Ok(4));
        queue.join().expect("all is done");
    }
}

/// The oldest is done first, and what is not done goes back with the handle.
#[test]
fn a_dropped_handle_gives_its_tasks_back() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::with_options(sandbox.mode(8, mode).joinable(true).peers_gone(false)).expect("memory");
        queue.put_many(&[1, 2, 3]).expect("room");
        let taker = queue.try_clone().expect("a place");
        assert_eq!((taker.get(), taker.get()), (Ok(1), Ok(2)));
        taker.task_done().expect("a task");
        drop(taker);
        let again = queue.lease().expect("it came back");
        assert_eq!((*again, again.redelivered()), (2, 1));
        again.ack().expect("ours");
        // And nothing that comes after it is taken otherwise.
        for number in 4..8 {
            queue.put(number).expect("room");
            assert_eq!((queue.get(), queue.task_done()), (Ok(number - 1), Ok(())), "{mode:?}");
        }
        queue.put(3).expect("room");
        assert_eq!((queue.get(), queue.task_done()), (Ok(7), Ok(())));
        assert_eq!(queue.get(), Ok(3));
        // So does what a handle has that becomes two ends.
        let (producer, consumer) = queue.split().expect("nobody has the sides");
        assert_eq!(producer.join_timeout(Duration::ZERO), Err(TaskError::TimedOut));
        assert_eq!(consumer.task_done(), Err(TaskError::NoTask));
        assert_eq!(consumer.get(), Ok(3), "{mode:?}");
        consumer.task_done().expect("a task");
        producer.join().expect("all is done");
    }
}

#[test]
fn every_way_of_getting_takes_a_task() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let options = sandbox.mode(16, mode).joinable(true).leases(16);
        let queue = Numbers::with_options(options.clone()).expect("memory");
        let numbers: Vec<u64> = (0..12).collect();
        queue.put_many(&numbers).expect("room");
        let mut many = Vec::new();
        assert_eq!(queue.get_many(&mut many, 3), Ok(3));
        assert_eq!(queue.try_get_many(&mut many, 2), Ok(2));
        many.push(queue.try_get().expect("a message"));
        many.push(queue.get_timeout(LONG).expect("a message"));
        let mut one = 0;
        queue.get_into(&mut one).expect("a message");
        many.push(one);
        many.push(queue.iter().next().expect("a message").expect("a message"));
        many.extend(queue.try_iter().map(|got| got.expect("a message")));
        assert_eq!(many, numbers);
        assert_eq!(queue.try_get_many(&mut many, 2), Err(GetError::Empty));
        for _ in 0..12 {
            assert_eq!(queue.join_timeout(Duration::ZERO), Err(TaskError::TimedOut), "{mode:?}");
            queue.task_done().expect("a task");
        }
        assert_eq!(queue.task_done(), Err(TaskError::NoTask));
        queue.join().expect("all is done");

        let bytes = ByteQueue::with_options(options).expect("memory");
        bytes.put_many(&[b"a", b"bc"]).expect("room");
        let mut buffer = Vec::new();
        assert_eq!((bytes.get_into(&mut buffer), bytes.get()), (Ok(1), Ok(b"bc".to_vec())));
        bytes.task_done().and(bytes.task_done()).expect("two tasks");
        bytes.join().expect("all is done");

        // Messages that lie in blocks count as those in rows do.
        let options = sandbox.mode(8, mode).joinable(true).max_message(4096);
        let large = ByteQueue::with_options(options).expect("memory");
        let messages = [vec![1; 4096], vec![2; 1000], vec![3; 10]];
        messages.iter().for_each(|message| large.put(message).expect("room"));
        let taker = large.try_clone().expect("a place");
        assert_eq!((taker.get(), taker.get()), (Ok(messages[0].clone()), Ok(messages[1].clone())));
        taker.task_done().expect("a task");
        drop(taker);
        assert_eq!(large.get().as_ref(), Ok(&messages[1]), "it came back");
        assert_eq!(large.get_into(&mut buffer), Ok(10));
        for _ in 0..2 {
            assert_eq!(large.join_timeout(Duration::ZERO), Err(TaskError::TimedOut));
            large.task_done().expect("a task");
        }
        large.join().expect("all is done");
    }
}

#[test]
fn a_message_that_is_no_value_is_nobodys_task() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        let options = sandbox.mode(8, mode).joinable(true).type_tag("flag");
        let queue = PodQueue::<u8>::create("q", options).expect("a free name");
        let flags = PodQueue::<bool>::open_with("q", sandbox.here().type_tag("flag")).expect("as large");
        queue.put_many(&[2, 1, 3, 0, 4]).expect("room");
        assert_eq!(flags.get(), Err(GetError::Undecodable));
        let mut out = Vec::new();
        assert_eq!(flags.get_many(&mut out, 8), Ok(1));
        assert_eq!(flags.get_many(&mut out, 8), Err(GetError::Undecodable));
        assert_eq!(flags.get_many(&mut out, 8), Ok(1));
        assert_eq!(flags.get_many(&mut out, 8), Err(GetError::Undecodable));
        assert_eq!(out, [true, false]);
        flags.task_done().and(flags.task_done()).expect("two tasks");
        assert_eq!(flags.task_done(), Err(TaskError::NoTask));
        queue.join().expect("all is done");
    }
}

#[test]
fn a_closed_queue_is_joined_when_it_is_drained() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::with_options(sandbox.mode(8, mode).joinable(true)).expect("memory");
        queue.put_many(&[1, 2]).expect("room");
        queue.close();
        assert_eq!(queue.join_timeout(MOMENT), Err(TaskError::TimedOut));
        assert_eq!((queue.get(), queue.get(), queue.get()), (Ok(1), Ok(2), Err(GetError::Closed)));
        queue.task_done().expect("its own do not hold the end up");
        assert_eq!(queue.join_timeout(MOMENT), Err(TaskError::TimedOut));
        queue.task_done().expect("a task");
        queue.join().expect("all is done");
    }
}

#[test]
fn who_waits_for_nobody_is_told() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = Numbers::with_options(sandbox.mode(8, mode).joinable(true)).expect("memory");
        let consumer = queue.consumer().expect("nobody has the side");
        queue.put(1).expect("room");
        assert_eq!(consumer.get(), Ok(1));
        assert_eq!(queue.join_timeout(MOMENT), Err(TaskError::TimedOut));
        drop(consumer);
        assert_eq!(queue.join(), Err(TaskError::PeersGone), "{mode:?}");
        assert_eq!(queue.get(), Ok(1));
        queue.task_done().expect("a task");
        queue.join().expect("all is done");
    }
}

// ---- many ----

/// Works until the queue is closed: the result first, then it is done.
fn role_drudge(_: &[String]) {
    let queue = Numbers::open("q").expect("it is there");
    let results = Numbers::open("results").expect("it is there");
    tell("ready");
    for number in queue.iter() {
        results.put(number.expect("a message")).expect("the parent takes them");
        queue.task_done().expect("a task");
    }
}

/// When `join` returns, every result is there, though workers are killed all the time.
#[test]
fn join_is_true_while_workers_are_killed() {
    const ROUNDS: u64 = 30;
    const EACH: u64 = 500;
    let sandbox = Sandbox::new();
    for producers in [Side::Multi, Side::Single] {
        let queue = sandbox.mode(64, (producers, Side::Multi)).joinable(true);
        let queue = Numbers::create("q", queue).expect("a free name");
        let results = Numbers::create("results", sandbox.options(1 << 16)).expect("a free name");
        let drudge = || {
            let mut child = sandbox.child("drudge", &[]);
            child.expect("ready");
            child
        };
        let mut workers: Vec<Child> = (0..3).map(|_| drudge()).collect();
        for round in 0..ROUNDS {
            let numbers: Vec<u64> = (0..EACH).map(|at| round * EACH + at).collect();
            let (before, after) = numbers.split_at((round * 13 % EACH) as usize);
            queue.put_many(before).expect("room comes");
            workers.remove(0).kill();
            queue.put_many(after).expect("room comes");
            workers.push(drudge());
            queue.join().expect("all is done");
            assert_eq!(queue.try_get(), Err(GetError::Empty));
            let done: BTreeSet<u64> = results.try_iter().map(|got| got.expect("a result")).collect();
            let missing: Vec<&u64> = numbers.iter().filter(|number| !done.contains(number)).collect();
            assert!(missing.is_empty(), "round {round}: {missing:?}");
        }
        queue.close();
        for worker in workers {
            worker.succeed();
        }
    }
}
