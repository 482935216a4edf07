//! When the other side is gone: `PeersGone` and `Closed`.
//!
//! The situations are those of crossbeam-channel's tests of disconnection
//! (<https://github.com/crossbeam-rs/crossbeam>, MIT or Apache-2.0: `tests/array.rs`,
//! `disconnect_wakes_sender`, `disconnect_wakes_receiver`, `try_recv`, `recv_timeout`,
//! `send_timeout`, `send_after_disconnect`, `recv_after_disconnect`), written anew for
//! ends that may be in other processes and may be killed.

mod common;

use common::{MODES, Role, Sandbox, hear, tell, thread_id, timed, until_asleep};
use ringway::{Consumer, GetError, Options, Pod, PodQueue, Producer, PutError, Side};
use std::time::Duration;

const ROLES: &[Role] = &[("hold", role_hold)];

type Put = Producer<Pod<u32>>;
type Get = Consumer<Pod<u32>>;

/// At once: far from a slice, with room for a busy machine.
const AT_ONCE: Duration = Duration::from_millis(60);
/// A slice of 100 ms, and room for a busy machine.
const ONE_SLICE: Duration = Duration::from_millis(300);
const MOMENT: Duration = Duration::from_millis(5);

/// The two ends of an anonymous queue.
fn ends(capacity: u64, (producers, consumers): (Side, Side)) -> (Put, Get) {
    let options = Options::new(capacity).producers(producers).consumers(consumers);
    PodQueue::with_options(options).expect("memory").split().expect("both sides are free")
}

#[test]
fn consumers_drain_what_is_there_and_then_say_that_the_producers_are_gone() {
    let _sandbox = Sandbox::new();
    for mode in MODES {
        let (put, get) = ends(4, mode);
        put.put_many(&[1, 2, 3]).expect("there is room");
        drop(put);
        assert_eq!(get.get(), Ok(1), "{mode:?}");
        assert_eq!(get.try_get(), Ok(2));
        assert_eq!(get.get_timeout(MOMENT), Ok(3));
        for _ in 0..2 {
            assert_eq!(get.get(), Err(GetError::PeersGone), "{mode:?}");
            assert_eq!(get.try_get(), Err(GetError::PeersGone));
            assert_eq!(get.get_timeout(MOMENT), Err(GetError::PeersGone));
            assert_eq!(get.get_many(&mut Vec::new(), 3), Err(GetError::PeersGone));
            assert_eq!(get.lease().map(|lease| *lease), Err(GetError::PeersGone));
        }
    }
}

#[test]
fn a_put_says_that_the_consumers_are_gone_and_gives_the_message_back() {
    let _sandbox = Sandbox::new();
    for mode in MODES {
        let (put, get) = ends(4, mode);
        put.put(1).expect("there is room");
        drop(get);
        assert_eq!(put.put(7), Err(PutError::PeersGone(7)), "{mode:?}");
        assert_eq!(put.try_put(8), Err(PutError::PeersGone(8)));
        assert_eq!(put.put_timeout(9, MOMENT), Err(PutError::PeersGone(9)));
        let error = put.put_many(&[1, 2]).expect_err("nobody is there");
        assert_eq!((error.put, error.cause), (0, PutError::PeersGone(())));
    }
}

/// Neither the first nor one of several to leave: the last.
#[test]
fn one_that_is_left_is_enough() {
    let _sandbox = Sandbox::new();
    let (put, get) = ends(4, (Side::Multi, Side::Multi));
    let (other_put, other_get) = (put.try_clone().expect("a place"), get.try_clone().expect("a place"));
    drop(put);
    assert_eq!(get.try_get(), Err(GetError::Empty));
    assert_eq!(get.get_timeout(MOMENT), Err(GetError::TimedOut));
    drop(get);
    other_put.put(1).expect("a consumer is left");
    assert_eq!(other_get.get(), Ok(1));
    drop(other_put);
    assert_eq!(other_get.get(), Err(GetError::PeersGone));
}

#[test]
fn a_side_on_which_nobody_ever_was_is_not_gone() {
    let _sandbox = Sandbox::new();
    for mode in MODES {
        let options = || Options::new(1).producers(mode.0).consumers(mode.1);
        let queue = PodQueue::<u32>::with_options(options()).expect("memory");
        let put = queue.producer().expect("free");
        put.put(1).expect("nobody has left");
        assert_eq!(put.try_put(2), Err(PutError::Full(2)), "{mode:?}");
        let queue = PodQueue::<u32>::with_options(options()).expect("memory");
        let get = queue.consumer().expect("free");
        assert_eq!(get.try_get(), Err(GetError::Empty), "{mode:?}");
        assert_eq!(get.get_timeout(MOMENT), Err(GetError::TimedOut));
    }
}

/// Who waits is woken at once when the last one across leaves.
#[test]
fn a_drop_wakes_those_who_wait() {
    let _sandbox = Sandbox::new();
    for mode in MODES {
        let (put, get) = ends(1, mode);
        let took = waits(move || get.get().map(drop), move || drop(put), GetError::PeersGone);
        assert!(took < AT_ONCE, "{mode:?}: {took:?}");
        let (put, get) = ends(1, mode);
        put.put(1).expect("there is room");
        let took = waits(move || put.put(2), move || drop(get), PutError::PeersGone(2));
        assert!(took < AT_ONCE, "{mode:?}: {took:?}");
    }
}

/// Runs `call`, which must wait, in a thread; then `leave`; says how long the call took from there.
fn waits<E: std::fmt::Debug + PartialEq + Send + 'static>(
    call: impl FnOnce() -> Result<(), E> + Send + 'static,
    leave: impl FnOnce(),
    expected: E,
) -> Duration {
    let (says, hears) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || {
        says.send(thread_id()).expect("awaited");
        call()
    });
    until_asleep(std::process::id(), hears.recv().expect("it starts"));
    let (outcome, took) = timed(|| {
        leave();
        waiter.join().expect("it does not panic")
    });
    assert_eq!(outcome, Err(expected));
    took
}

/// Takes one end of a queue and stays.
fn role_hold(arguments: &[String]) {
    let queue = PodQueue::<u32>::open("q").expect("it is there");
    if arguments[0] == "producer" {
        let _end = queue.producer().expect("free");
        drop(queue);
        tell("held");
        hear();
    } else {
        let _end = queue.consumer().expect("free");
        drop(queue);
        tell("held");
        hear();
    }
}

/// The same within a slice when it is killed.
#[test]
fn a_death_wakes_those_who_wait_within_a_slice() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u32>::create("q", sandbox.mode(1, mode).peers_gone(true)).expect("a free name");
        let get = queue.consumer().expect("free");
        let mut child = sandbox.child("hold", &["producer"]);
        child.expect("held");
        // A handle counts on both sides.
        drop(queue);
        let took = waits(move || get.get().map(drop), move || child.kill(), GetError::PeersGone);
        assert!(took < ONE_SLICE, "{mode:?}: {took:?}");
        let queue = PodQueue::<u32>::create("q", sandbox.mode(1, mode).peers_gone(true)).expect("a free name");
        let put = queue.producer().expect("free");
        let mut child = sandbox.child("hold", &["consumer"]);
        child.expect("held");
        drop(queue);
        put.put(1).expect("there is room");
        let took = waits(move || put.put(2), move || child.kill(), PutError::PeersGone(2));
        assert!(took < ONE_SLICE, "{mode:?}: {took:?}");
    }
}

/// Named queues wait for a newcomer, unless they are told otherwise.
#[test]
fn a_named_queue_waits_for_newcomers() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u32>::create("q", sandbox.mode(1, mode)).expect("a free name");
        let (put, get) = queue.split().expect("both are free");
        drop(put);
        assert_eq!(get.try_get(), Err(GetError::Empty), "{mode:?}");
        assert_eq!(get.get_timeout(MOMENT), Err(GetError::TimedOut));
        let told = PodQueue::<u32>::open_with("q", sandbox.here()).expect("it is there");
        told.put(1).expect("a newcomer");
        assert_eq!(get.get(), Ok(1));
    }
}

/// A handle's other end is no peer of its own.
#[test]
fn a_handle_is_not_its_own_peer() {
    let _sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::bounded(4).expect("memory");
    let other = queue.try_clone().expect("a place");
    queue.put(1).expect("there is room");
    other.put(2).expect("there is room");
    assert_eq!((queue.get(), other.get()), (Ok(1), Ok(2)));
    drop(other);
    assert_eq!(queue.get(), Err(GetError::PeersGone), "only this handle could put");
    assert_eq!(queue.put(3), Err(PutError::PeersGone(3)), "only this handle could get");
}

/// Closing comes before: what is there is drained, then `Closed`.
#[test]
fn closed_is_said_before_gone() {
    let _sandbox = Sandbox::new();
    for mode in MODES {
        let (put, get) = ends(4, mode);
        put.put(1).expect("there is room");
        put.close();
        assert_eq!(put.put(2), Err(PutError::Closed(2)));
        drop(put);
        assert_eq!(get.get(), Ok(1), "{mode:?}");
        assert_eq!(get.get(), Err(GetError::Closed), "{mode:?}");
        let (put, get) = ends(4, mode);
        get.close();
        drop(get);
        assert_eq!(put.put(2), Err(PutError::Closed(2)), "{mode:?}");
    }
}
