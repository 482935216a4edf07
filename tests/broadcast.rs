//! Broadcasts: who sees what, where a subscriber starts, what is counted, what is refused.

#![allow(unsafe_code)]

mod common;

#[path = "broadcast/talk.rs"]
mod talk;

use common::{Child, Role, Sandbox, kind, until_asleep};
use ringway::{
    ByteBroadcast, GetError, Options, Pod, PodBroadcast, PodQueue, PutError, SetupErrorKind as K, Side, SlowConsumers,
    StartAt, Subscriber, WaitPolicy, admin,
};
use std::time::{Duration, Instant};
use talk::*;

const ROLES: &[Role] = &[
    ("listener", role_listener),
    ("sleeper", role_sleeper),
    ("speaker", role_speaker),
    ("fork", role_fork),
    ("idle", role_idle),
];

#[test]
fn every_subscriber_sees_every_message_in_order() {
    const EACH: u64 = 6000;
    for (side, capacity) in shapes() {
        let sandbox = Sandbox::new();
        let publisher = create(&sandbox, Options::new(capacity).producers(side));
        let listeners: Vec<Child> = (0..4).map(|_| listen(&sandbox, &["b", "now"])).collect();
        assert_eq!(publisher.subscribers(), 4);
        let speakers: u64 = if side == Side::Multi { 2 } else { 1 };
        let speak = |n: u64| sandbox.child("speaker", &["b", &n.to_string(), &EACH.to_string(), "batches"]);
        let mut children: Vec<Child> = (0..speakers).map(speak).collect();
        children.iter_mut().for_each(|child| child.expect("spoken"));
        children.into_iter().for_each(|child| drop(child.succeed()));
        publisher.close();
        let all: Vec<(Seen, u64)> = listeners.into_iter().map(heard).collect();
        assert_eq!((all[0].0.count, all[0].1), (speakers * EACH, 0), "{side:?} {capacity}");
        assert!(all.iter().all(|seen| *seen == all[0]), "{all:?}");
    }
}

#[test]
fn a_subscriber_starts_now_or_at_the_oldest() {
    for policy in POLICIES {
        for (side, capacity) in shapes() {
            let sandbox = Sandbox::new();
            let publisher = create(&sandbox, Options::new(capacity).producers(side).slow_consumers(policy));
            let numbers = |subscriber: &Listener| -> Vec<u64> {
                subscriber.try_iter().map(|got| parts(&got.expect("no gap")).1).collect()
            };
            let none: Vec<u64> = Vec::new();
            let first = publisher.subscribe(StartAt::Oldest).expect("a place");
            assert_eq!(numbers(&first), none);
            drop(first);
            for number in 0..3 * capacity + 1 {
                publisher.put(message(0, number)).expect("nobody stands in the way");
            }
            let now = publisher.subscribe(StartAt::Now).expect("a place");
            let oldest = publisher.subscribe(StartAt::Oldest).expect("a place");
            let held: Vec<u64> = (2 * capacity + 1..3 * capacity + 1).collect();
            assert_eq!((now.lag(), oldest.lag()), (0, capacity), "{policy:?} {side:?}");
            assert_eq!((numbers(&now), numbers(&oldest)), (none.clone(), held), "{policy:?} {side:?} {capacity}");
            publisher.put(message(0, 99)).expect("there is room");
            assert_eq!((numbers(&now), numbers(&oldest)), (vec![99], vec![99]));
            assert_eq!((now.missed(), oldest.missed()), (0, 0));
        }
    }
}

/// Somebody who subscribes has room made for it: what it finds at the oldest it gets whole.
#[test]
fn the_oldest_are_kept_for_who_joins_in_the_middle() {
    for (side, capacity) in shapes() {
        let sandbox = Sandbox::new();
        let publisher = create(&sandbox, Options::new(capacity).producers(side));
        let fast = publisher.subscribe(StartAt::Now).expect("a place");
        for number in 0..5 * capacity + 2 {
            publisher.put(message(0, number)).expect("there is room");
            fast.get().expect("it was put");
        }
        let late = publisher.subscribe(StartAt::Oldest).expect("a place");
        let (sent, held) = (5 * capacity + 2, late.lag());
        assert!(held >= capacity - (capacity / 4).max(1) && held <= capacity, "{held} of {capacity}");
        let mut expected = sent - held;
        // As many as fit, and no more.
        let room = capacity - held;
        (0..room).for_each(|n| publisher.try_put(message(0, sent + n)).expect("there is room"));
        assert_eq!(publisher.try_put(message(1, 0)), Err(PutError::Full(message(1, 0))));
        for got in late.try_iter() {
            assert_eq!(parts(&got.expect("no gap")), (0, expected));
            expected += 1;
        }
        assert_eq!(expected, sent + room);
    }
}

#[test]
fn nobody_waits_where_the_oldest_is_dropped() {
    for (side, capacity) in shapes() {
        let sandbox = Sandbox::new();
        let options = Options::new(capacity).producers(side).slow_consumers(SlowConsumers::DropOldest);
        let publisher = create(&sandbox, options);
        let slow = publisher.subscribe(StartAt::Now).expect("a place");
        let sent = 4 * capacity + 1;
        for number in 0..sent {
            publisher.try_put(message(0, number)).expect("nobody is waited for");
        }
        assert_eq!(slow.lag(), sent);
        assert_eq!(slow.try_get(), Err(GetError::Lagged));
        let got: Vec<u64> = slow.try_iter().map(|got| parts(&got.expect("one gap")).1).collect();
        assert_eq!(got.len() as u64 + slow.missed(), sent, "{side:?} {capacity}");
        assert_eq!((got[0], got.last().copied()), (slow.missed(), Some(sent - 1)));
        assert!(got.len() as u64 >= capacity - capacity / 8, "a gap is no longer than it must be");
    }
}

/// A gap in the middle of a batch is told by the next call.
#[test]
fn a_batch_ends_at_a_gap() {
    let options = Options::new(4).slow_consumers(SlowConsumers::DropOldest);
    let publisher = PodBroadcast::<u32>::with_options(options).expect("memory");
    let slow = publisher.subscribe(StartAt::Now).expect("a place");
    publisher.put_many(&[1, 2]).expect("open");
    let mut out = Vec::new();
    assert_eq!(slow.get_many(&mut out, 10), Ok(2));
    publisher.put_many(&[3, 4, 5, 6, 7, 8]).expect("open");
    assert_eq!(slow.get_many(&mut out, 10), Err(GetError::Lagged));
    assert_eq!((slow.get_many(&mut out, 10), slow.missed()), (Ok(4), 2));
    assert_eq!(out, [1, 2, 5, 6, 7, 8]);
    assert_eq!(slow.get_many(&mut out, 0), Ok(0));
}

#[test]
fn a_closed_one_is_heard_to_its_end() {
    for policy in POLICIES {
        for (side, capacity) in shapes() {
            let sandbox = Sandbox::new();
            let publisher = create(&sandbox, Options::new(capacity).producers(side).slow_consumers(policy));
            let (one, other) = (publisher.subscribe(StartAt::Now), publisher.subscribe(StartAt::Now));
            let (one, other) = (one.expect("a place"), other.expect("a place"));
            (0..capacity).for_each(|number| publisher.put(message(0, number)).expect("there is room"));
            publisher.close();
            assert_eq!(publisher.put(message(0, 9)), Err(PutError::Closed(message(0, 9))));
            assert_eq!(publisher.put_many(&[message(0, 9)]).map_err(|error| error.put), Err(0));
            let late = Listener::open_with("b", StartAt::Oldest, sandbox.here()).expect("subscribers are admitted");
            for subscriber in [one, other, late] {
                let all: Result<Vec<Message>, GetError> = subscriber.iter().collect();
                assert_eq!(all.map(|all| all.len() as u64), Ok(capacity));
                assert_eq!((subscriber.get(), subscriber.try_get()), (Err(GetError::Closed), Err(GetError::Closed)));
            }
            let now = publisher.subscribe(StartAt::Now).expect("a place");
            assert_eq!(now.get(), Err(GetError::Closed));
            assert!(publisher.is_closed() && now.is_closed());
        }
    }
}

#[test]
fn one_put_wakes_all_who_sleep() {
    let sandbox = Sandbox::new();
    let publisher = create(&sandbox, Options::new(8));
    let mut sleepers: Vec<Child> = (0..4).map(|_| sandbox.child("sleeper", &["b"])).collect();
    for sleeper in &mut sleepers {
        let thread = sleeper.line().parse().expect("a thread id");
        until_asleep(sleeper.pid(), thread);
    }
    let begun = Instant::now();
    publisher.put(message(0, 5)).expect("there is room");
    sleepers.iter_mut().for_each(|sleeper| sleeper.expect("5"));
    // Each sleep ends by itself within 100 ms, so that this is no proof, but of four together.
    println!("four were awake after {:?}", begun.elapsed());
    sleepers.into_iter().for_each(|sleeper| drop(sleeper.succeed()));
}

#[test]
fn a_producer_that_sleeps_is_woken_by_the_slowest() {
    let sandbox = Sandbox::new();
    let publisher = create(&sandbox, Options::new(2));
    let (slow, fast) = (publisher.subscribe(StartAt::Now), publisher.subscribe(StartAt::Now));
    let (slow, fast) = (slow.expect("a place"), fast.expect("a place"));
    let other = publisher.try_clone().expect("a place");
    let putting = std::thread::spawn(move || {
        other.set_wait_policy(WaitPolicy::Park);
        (0..100).for_each(|number| other.put_timeout(message(0, number), SOON).expect("there will be room"));
    });
    for number in 0..100 {
        assert_eq!(parts(&fast.get_timeout(SOON).expect("a message")).1, number);
        assert_eq!(parts(&slow.get_timeout(SOON).expect("a message")).1, number);
    }
    putting.join().expect("it does not panic");
    // Who leaves is waited for no longer.
    publisher.put_many(&[message(0, 0), message(0, 1)]).expect("there is room");
    let other = publisher.try_clone().expect("a place");
    let putting = std::thread::spawn(move || other.put_timeout(message(0, 2), SOON));
    drop(slow);
    (0..2).for_each(|number| assert_eq!(parts(&fast.get().expect("it was put")), (0, number)));
    assert_eq!(putting.join().expect("it does not panic"), Ok(()));
}

#[test]
fn no_subscriber_is_no_error_and_no_publisher_is_one() {
    let publisher = PodBroadcast::<u32>::bounded(4).expect("memory");
    let subscriber = publisher.subscribe(StartAt::Now).expect("a place");
    let other = publisher.subscribe(StartAt::Now).expect("a place");
    drop(other);
    (0..4).for_each(|number| publisher.put(number).expect("there is room"));
    drop(publisher);
    assert_eq!(subscriber.try_iter().take(4).collect::<Result<Vec<_>, _>>(), Ok(vec![0, 1, 2, 3]));
    assert_eq!(subscriber.get(), Err(GetError::PeersGone));
    let publisher = PodBroadcast::<u32>::bounded(4).expect("memory");
    drop(publisher.subscribe(StartAt::Now).expect("a place"));
    (0..40).for_each(|number| publisher.put(number).expect("that nobody listens is no error"));
}

#[test]
fn a_single_producer_is_one_at_a_time() {
    let sandbox = Sandbox::new();
    let publisher = create(&sandbox, Options::new(4).producers(Side::Single));
    let subscriber = publisher.subscribe(StartAt::Now).expect("a place");
    publisher.put(message(0, 0)).expect("there is room");
    let other = publisher.try_clone().expect("a place");
    let me = std::process::id();
    assert_eq!(other.put(message(1, 0)), Err(PutError::SideTaken { value: message(1, 0), holder: Some(me) }));
    drop(publisher);
    other.put(message(1, 0)).expect("the side is free");
    let got: Vec<(u64, u64)> = subscriber.try_iter().map(|got| parts(&got.expect("a message"))).collect();
    assert_eq!(got, [(0, 0), (1, 0)]);
}

#[test]
fn what_is_too_large_is_said() {
    let publisher = ByteBroadcast::with_options(Options::new(4).max_message(10)).expect("memory");
    let subscriber = publisher.subscribe(StartAt::Now).expect("a place");
    assert_eq!(publisher.max_message(), 10);
    assert_eq!(publisher.put(&[7; 11]), Err(PutError::TooLarge { value: (), len: 11, max: 10 }));
    assert_eq!(publisher.put_many(&[&[1; 3], &[2; 11]]).map_err(|error| error.put), Err(0));
    publisher.put(&[7; 10]).expect("it fits");
    publisher.put(&[]).expect("it fits");
    let mut buffer = Vec::new();
    assert_eq!((subscriber.get_into(&mut buffer), buffer.as_slice()), (Ok(10), &[7; 10][..]));
    assert_eq!(subscriber.get(), Ok(vec![]));
}

#[cfg(feature = "serde")]
#[test]
fn any_type_is_decoded_by_each() {
    let publisher = ringway::Broadcast::<Vec<String>>::with_options(Options::new(4).max_message(300)).expect("memory");
    let (one, other) = (publisher.subscribe(StartAt::Now), publisher.subscribe(StartAt::Now));
    let long = vec!["x".repeat(200)];
    publisher.put_many(&[vec!["a".to_owned()], long.clone()]).expect("they fit");
    for subscriber in [one, other] {
        let subscriber = subscriber.expect("a place");
        let mut out = Vec::new();
        assert_eq!(subscriber.get_many(&mut out, 9), Ok(2));
        assert_eq!(out, [vec!["a".to_owned()], long.clone()]);
    }
    let refused = publisher.put(vec!["x".repeat(400)]).expect_err("too long");
    assert!(matches!(refused, PutError::TooLarge { len: 403, max: 300, .. }), "{refused:?}");
}

#[test]
fn what_is_no_value_is_left_out() {
    let sandbox = Sandbox::new();
    let options = || sandbox.here().type_tag("flag");
    let publisher = PodBroadcast::<u8>::create("b", sandbox.options(8).type_tag("flag")).expect("a free name");
    let subscriber = Subscriber::<Pod<bool>>::open_with("b", StartAt::Now, options()).expect("the same size");
    publisher.put_many(&[1, 2, 0]).expect("there is room");
    assert_eq!(subscriber.get(), Ok(true));
    assert_eq!(subscriber.get(), Err(GetError::Undecodable));
    assert_eq!(subscriber.get(), Ok(false));
    publisher.put_many(&[1, 2, 3, 0]).expect("there is room");
    let mut out = Vec::new();
    assert_eq!(subscriber.get_many(&mut out, 8), Ok(2));
    assert_eq!(out, [true, false]);
    assert_eq!(subscriber.get_many(&mut out, 8), Err(GetError::Undecodable));
    assert_eq!(subscriber.get_many(&mut out, 8), Err(GetError::Undecodable));
    assert_eq!(subscriber.try_get_many(&mut out, 8), Err(GetError::Empty));
}

#[test]
fn a_broadcast_is_no_queue() {
    let sandbox = Sandbox::new();
    let publisher = PodBroadcast::<u32>::create("b", sandbox.options(4)).expect("a free name");
    assert_is!(kind(PodQueue::<u32>::open_with("b", sandbox.here())), K::Mismatch { .. });
    let ticket = publisher.ticket().expect("a ticket");
    assert_is!(kind(PodQueue::<u32>::open_ticket(&ticket)), K::Mismatch { .. });
    let there = Subscriber::<Pod<u32>>::open_ticket(&ticket).expect("the same");
    publisher.put(7).expect("there is room");
    assert_eq!(there.get(), Ok(7));
    let queue = PodQueue::<u32>::create("q", sandbox.options(4)).expect("a free name");
    assert_is!(kind(PodBroadcast::<u32>::open_with("q", sandbox.here())), K::Mismatch { .. });
    assert_is!(kind(Subscriber::<Pod<u32>>::open_with("q", StartAt::Now, sandbox.here())), K::Mismatch { .. });
    assert_is!(kind(PodBroadcast::<u32>::open_ticket(&queue.ticket().expect("a ticket"))), K::Mismatch { .. });
    let stated = sandbox.here().slow_consumers(SlowConsumers::DropOldest);
    assert_is!(kind(PodBroadcast::<u32>::open_with("b", stated)), K::Mismatch { .. });
    assert_is!(kind(PodBroadcast::<u32>::open_with("none", sandbox.here())), K::NotFound);
}

/// Anonymous: by a ticket through a socket, as any handle.
#[test]
fn a_subscriber_comes_from_a_socket() {
    let (here, there) = std::os::unix::net::UnixStream::pair().expect("sockets are to be had");
    let publisher = PodBroadcast::<u32>::bounded(4).expect("memory");
    publisher.send_over(&here).expect("it is ours");
    let subscriber = Subscriber::<Pod<u32>>::receive_from(&there).expect("it was sent");
    publisher.put(7).expect("there is room");
    assert_eq!(subscriber.get(), Ok(7));
}

fn role_fork(_: &[String]) {
    let publisher = PodBroadcast::<u32>::bounded(4).expect("memory");
    let subscriber = publisher.subscribe(StartAt::Now).expect("a place");
    publisher.put(1).expect("there is room");
    assert_eq!(subscriber.get(), Ok(1));
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            assert_eq!(publisher.put(2), Err(PutError::Forked(2)));
            assert_eq!(publisher.try_put(2), Err(PutError::Forked(2)));
            assert_eq!(publisher.put_many(&[2]).map_err(|error| error.cause), Err(PutError::Forked(())));
            assert_eq!((subscriber.get(), subscriber.try_get()), (Err(GetError::Forked), Err(GetError::Forked)));
            assert_eq!(subscriber.get_many(&mut Vec::new(), 2), Err(GetError::Forked));
            assert_eq!((subscriber.lag(), publisher.subscribers()), (0, 0));
            assert_eq!(kind(publisher.subscribe(StartAt::Now)), K::Forked);
            publisher.close();
            drop((subscriber, publisher));
        }));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is ours to write.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert_eq!(status, 0);
    publisher.put(3).expect("there is room");
    assert_eq!((subscriber.get(), publisher.subscribers(), publisher.is_closed()), (Ok(3), 1, false));
}

#[test]
fn a_fork_has_neither() {
    let sandbox = Sandbox::new();
    sandbox.child("fork", &[]).succeed();
}

#[test]
fn it_is_shown_as_it_is() {
    for (policy, name) in POLICIES.into_iter().zip(["Block", "DropOldest"]) {
        for side in [Side::Single, Side::Multi] {
            let sandbox = Sandbox::new();
            let publisher = create(&sandbox, Options::new(4).producers(side).slow_consumers(policy));
            let mine = publisher.subscribe(StartAt::Now).expect("a place");
            let dead = idle(&sandbox);
            (0..3).for_each(|number| publisher.put(message(0, number)).expect("there is room"));
            mine.get().expect("it was put");
            dead.kill();
            let seen = admin::inspect(Some(sandbox.path()), &"b".parse().expect("a name")).expect("it is there");
            assert!(seen.problems.is_empty(), "{:?}", seen.problems);
            assert_eq!(seen.facts.broadcast, Some(policy), "{name}");
            assert_eq!(seen.facts.producers, side);
            let lives: Vec<_> = seen.subscribers.iter().map(|one| (one.life, one.lag, one.missed)).collect();
            assert_eq!(lives, [(Some(admin::Life::Alive), 2, 0), (Some(admin::Life::Dead), 3, 0)]);
            let ring = seen.ring.expect("it has its words");
            assert_eq!((ring.depth, ring.puts, ring.closed), (3, 3, false), "{side:?}");
            assert!(ring.unfinished.is_empty(), "{ring:?}");
            let summary = || {
                let listed = admin::list(Some(sandbox.path())).expect("the directory is ours").remove(0);
                listed.queue.expect("it can be read")
            };
            let before = summary();
            assert_eq!((before.depth, before.closed, before.alive, before.dead), (Some(3), false, 2, 1));
            assert_eq!(before.facts.broadcast, Some(policy));
            publisher.close();
            publisher.recover().expect("a descriptor");
            let after = summary();
            assert_eq!((after.depth, after.closed, after.alive, after.dead), (Some(2), true, 2, 0));
        }
    }
}

/// K5: whatever stands in the words of the subscribers, nobody reads beyond the ring, waits
/// without an end that was asked for, or panics.
#[test]
fn cursors_that_somebody_has_forged_are_survived() {
    use std::os::unix::fs::FileExt;
    let moment = Duration::from_millis(3);
    for policy in POLICIES {
        for (side, capacity) in shapes() {
            let sandbox = Sandbox::new();
            let publisher = create(&sandbox, Options::new(capacity).producers(side).slow_consumers(policy));
            let file = std::fs::File::options().read(true).write(true).open(sandbox.file("b")).expect("ours");
            let mut header = [0; 1024];
            file.read_exact_at(&mut header, 0).expect("a header");
            let word = |at: usize| u64::from_ne_bytes(header[at..at + 8].try_into().expect("eight bytes"));
            let regions: Vec<usize> = (0..16).map(|k| 264 + 24 * k).collect();
            let region = |kind: u32| {
                let at = regions.iter().find(|at| header[**at..**at + 4] == kind.to_ne_bytes()).expect("its region");
                (word(at + 8), word(at + 16))
            };
            let (ring, cursors) = (region(1), region(9));
            assert_eq!(cursors.1, 128 + 64 * 256);
            let mut dice = 12345u64;
            for round in 0..120u64 {
                let subscriber = publisher.subscribe(StartAt::Oldest);
                let _ = publisher.try_put(message(0, round));
                dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let value = [0, u64::MAX, dice, dice >> 40, 1 << 58, 63 << 58][round as usize % 6];
                let places = cursors.0 + 128;
                for at in (0..cursors.1 - 128).step_by(256) {
                    for word in [0, 128, 136] {
                        file.write_all_at(&value.to_ne_bytes(), places + at + word).expect("it can be written");
                    }
                }
                for at in (0..128).step_by(8) {
                    file.write_all_at(&dice.rotate_left(at as u32).to_ne_bytes(), cursors.0 + at).expect("written");
                }
                if round > 60 {
                    // The tail as well.
                    file.write_all_at(&value.to_ne_bytes(), ring.0).expect("it can be written");
                }
                let _ = (publisher.try_put(message(0, round)), publisher.put_timeout(message(0, round), moment));
                let _ = (publisher.subscribers(), publisher.recover());
                if let Ok(subscriber) = subscriber {
                    let _ = (subscriber.try_get(), subscriber.get_timeout(moment), subscriber.lag());
                    let _ = subscriber.get_many(&mut Vec::new(), 0);
                }
                let _ = admin::inspect(Some(sandbox.path()), &"b".parse().expect("a name"));
            }
        }
    }
}
