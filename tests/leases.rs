//! Leases: what is not acknowledged comes back, once, first, and says so.

mod common;

use common::{MODES, Sandbox, hear, tell};
use ringway::{ByteQueue, GetError, Options, PodQueue, PutError, Side};
use std::time::Duration;

const ROLES: &[common::Role] = &[("hold-leases", role_hold_leases)];

const LONG: Duration = Duration::from_secs(20);

/// Leases so many messages of queue `q`, says their numbers, and holds them.
fn role_hold_leases(arguments: &[String]) {
    let count: usize = arguments[0].parse().expect("a count");
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    let consumer = queue.consumer().expect("the side is free");
    let leases: Vec<_> = (0..count).map(|_| consumer.lease().expect("a message")).collect();
    let numbers: Vec<String> = leases.iter().map(|lease| format!("{}:{}", **lease, lease.redelivered())).collect();
    tell(numbers.join(" "));
    hear();
}

#[test]
fn what_is_given_back_comes_first_and_says_so() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.mode(8, mode)).expect("a free name");
        queue.put_many(&[1, 2, 3, 4]).expect("room");
        let (one, two) = (queue.lease().expect("1"), queue.lease().expect("2"));
        assert_eq!((*one, *two, one.redelivered()), (1, 2, 0));
        assert_eq!(queue.len(), 2, "leased messages do not count");
        let id = one.id();
        assert_ne!(id, two.id());
        drop(one);
        assert_eq!(queue.len(), 3);
        assert!(!queue.is_empty());
        let again = queue.try_lease().expect("it came back");
        assert_eq!((*again, again.id(), again.redelivered()), (1, id, 1));
        assert_eq!(again.ack(), Ok(1));
        drop(two);
        // A plain get takes it too, and does not ask how often.
        assert_eq!(queue.get(), Ok(2));
        assert_eq!((queue.get(), queue.get()), (Ok(3), Ok(4)));
        assert_eq!(queue.try_get(), Err(GetError::Empty), "{mode:?}");
        assert_eq!(queue.try_lease().map(|_| ()).unwrap_err(), GetError::Empty);
    }
}

#[test]
fn a_lease_does_not_hold_the_ring_up() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.mode(2, mode)).expect("a free name");
        queue.put(0).expect("room");
        let held = queue.lease().expect("0");
        for n in 1..100 {
            queue.put(n).expect("room");
            assert_eq!(queue.get(), Ok(n));
        }
        queue.put_many(&[100, 101]).expect("exactly the capacity is free");
        assert!(queue.try_put(102).is_err_and(|refused| refused.is_full()));
        drop(held);
        let mut all = Vec::new();
        while all.len() < 3 {
            queue.try_get_many(&mut all, 8).expect("there is more");
        }
        assert_eq!(all, [0, 100, 101], "{mode:?}");
    }
}

#[test]
fn too_many_leases_are_refused_at_once() {
    let queue = ByteQueue::with_options(Options::new(8).leases(2)).expect("memory");
    (0..4u8).for_each(|n| queue.put(&[n]).expect("room"));
    let (first, _second) = (queue.lease().expect("one"), queue.lease().expect("two"));
    for refused in [queue.lease(), queue.try_lease(), queue.lease_timeout(LONG)] {
        assert_eq!(refused.map(|_| ()).unwrap_err(), GetError::TooManyLeases);
    }
    // Another handle has its own.
    let other = queue.try_clone().expect("a place");
    assert_eq!(*other.lease().expect("three"), [2]);
    first.ack().expect("ours");
    assert_eq!(*queue.lease().expect("a place is free again"), [2], "the other has given it back");
    let none = ByteQueue::with_options(Options::new(8).leases(0)).expect("memory");
    none.put(b"x").expect("room");
    assert_eq!(none.lease().map(|_| ()).unwrap_err(), GetError::TooManyLeases);
    assert_eq!(none.get(), Ok(b"x".to_vec()));
}

#[test]
fn a_closed_queue_waits_for_the_leases_of_others_only() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.mode(4, mode)).expect("a free name");
        queue.put(1).expect("room");
        let own = queue.lease().expect("a message");
        queue.close();
        assert_eq!(queue.get(), Err(GetError::Closed));
        drop(own);
        assert_eq!(queue.get(), Ok(1), "{mode:?}");
        assert_eq!(queue.get(), Err(GetError::Closed));
    }
    let queue = PodQueue::<u64>::bounded(4).expect("memory");
    let other = queue.try_clone().expect("a place");
    queue.put_many(&[1, 2]).expect("room");
    let (one, two) = (other.lease().expect("1"), other.lease().expect("2"));
    queue.close();
    assert_eq!(queue.try_get(), Err(GetError::Empty));
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || (queue.get_timeout(LONG), queue.get_timeout(LONG)));
        drop(two);
        one.ack().expect("ours");
        assert_eq!(waiter.join().expect("no panic"), (Ok(2), Err(GetError::Closed)));
    });
}

#[test]
fn the_leases_of_the_dead_come_back() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.mode(8, mode)).expect("a free name");
        let producer = queue.producer().expect("the side is free");
        producer.put_many(&[1, 2, 3]).expect("room");
        for death in 0..4 {
            let mut child = sandbox.child("hold-leases", &["2"]);
            assert_eq!(child.line(), format!("1:{death} 2:{death}"), "{mode:?}");
            child.kill();
        }
        let consumer = queue.consumer().expect("the dead one's side is free");
        // Whoever takes the side over finds it; who waits already, in `watch`.
        let back = consumer.lease_timeout(LONG).expect("it comes back");
        assert_eq!((*back, back.redelivered()), (1, 4), "{mode:?}");
        assert_eq!(consumer.get_timeout(LONG), Ok(2), "{mode:?}");
        assert_eq!(consumer.get_timeout(LONG), Ok(3), "{mode:?}");
        back.ack().expect("ours");
        assert_eq!((consumer.try_get(), queue.len()), (Err(GetError::Empty), 0));
    }
}

/// Who leaves with forgotten leases leaves their messages.
#[test]
fn forgotten_leases_come_back_when_their_handle_goes() {
    let queue = PodQueue::<u64>::bounded(4).expect("memory");
    queue.put_many(&[1, 2]).expect("room");
    let other = queue.consumer().expect("a place");
    std::mem::forget(other.lease().expect("a message"));
    assert_eq!(queue.get(), Ok(2));
    drop(other);
    assert_eq!(queue.lease().expect("it came back").redelivered(), 1);
}

/// Somebody asleep is woken by a message that is given back, at once.
#[test]
fn a_message_given_back_wakes_a_sleeper() {
    const ROUNDS: u32 = 5;
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
    let mut waited = Duration::ZERO;
    for _ in 0..ROUNDS {
        let other = queue.try_clone().expect("a place");
        other.set_wait_policy(ringway::WaitPolicy::Park);
        queue.put(7).expect("room");
        let lease = queue.lease().expect("a message");
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            tell.send(common::thread_id()).expect("awaited");
            other.get_timeout(LONG)
        });
        common::until_asleep(std::process::id(), told.recv().expect("it starts"));
        let (got, took) = common::timed(|| {
            drop(lease);
            waiter.join().expect("no panic")
        });
        assert_eq!(got, Ok(7));
        waited += took;
    }
    // The end of a slice would find it, too.
    assert!(waited < ROUNDS * Duration::from_millis(30), "{waited:?} for {ROUNDS}");
}

/// Some messages are there before they are leased, others come while somebody spins for them; of every fifth one it is
/// given back first. Of every length: each is what was put, in order, and every row is free again.
#[test]
fn who_spins_for_a_lease_has_each_message_as_it_was_put() {
    const MOST: usize = 200;
    for options in [Options::new(4), Options::new(4).arena(1 << 20), Options::unbounded()] {
        let queue = ByteQueue::with_options(options.leases(1)).expect("memory");
        let message = |n: usize| (0..n % MOST).map(|at| (n + 3 * at) as u8).collect::<Vec<u8>>();
        let consumer = queue.consumer().expect("a place");
        consumer.set_wait_policy(ringway::WaitPolicy::Spin);
        let reader = std::thread::spawn(move || {
            for n in 0..10 * MOST {
                if n % 5 == 0 {
                    let lease = consumer.lease().expect("a message");
                    assert_eq!((lease.as_slice(), lease.redelivered()), (&message(n)[..], 0), "{n}");
                }
                let lease = consumer.lease().expect("a message");
                assert_eq!((lease.as_slice(), lease.redelivered()), (&message(n)[..], u32::from(n % 5 == 0)), "{n}");
                assert_eq!(lease.ack(), Ok(message(n)));
            }
            assert!(matches!(consumer.try_lease(), Err(GetError::Empty)));
            consumer
        });
        for n in 0..10 * MOST {
            queue.put(&message(n)).expect("room");
            if n % 3 == 0 {
                std::thread::yield_now();
            }
        }
        let consumer = reader.join().expect("no panic");
        assert!(queue.is_empty() && consumer.try_get() == Err(GetError::Empty));
        queue.put(b"again").expect("room");
        assert_eq!(consumer.lease().expect("a message").ack(), Ok(b"again".to_vec()));
    }
}

/// The option is part of the queue: stated, it must match.
#[test]
fn leases_are_fixed_when_the_queue_is_made() {
    let sandbox = Sandbox::new();
    let queue =
        PodQueue::<u64>::create("q", sandbox.options(4).leases(3).producers(Side::Single)).expect("a free name");
    let wrong = PodQueue::<u64>::open_with("q", sandbox.here().leases(4));
    assert!(matches!(common::kind(wrong), ringway::SetupErrorKind::Mismatch { .. }));
    assert!(PodQueue::<u64>::open_with("q", sandbox.here().leases(3)).is_ok());
    assert!(matches!(queue.try_put(1), Ok(()) | Err(PutError::Full(_))));
    assert_eq!(queue.get(), Ok(1));
}
