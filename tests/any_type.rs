//! Messages of any type: encoded by serde.

#![cfg(feature = "serde")]

mod common;

use common::Role;
use ringway::{ByteQueue, GetError, Options, PutError, Queue, SetupErrorKind, Side};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const ROLES: &[Role] = &[];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Job {
    Stop,
    Copy { from: String, to: Vec<String> },
    Sum(BTreeMap<u32, Option<f64>>),
}

fn jobs() -> Vec<Job> {
    vec![
        Job::Stop,
        Job::Copy { from: "a".into(), to: vec!["b".into(); 3] },
        Job::Copy { from: "x".repeat(300), to: vec!["y".repeat(100_000)] },
        Job::Sum((0..2000).map(|key| (key, (key % 2 == 0).then_some(f64::from(key)))).collect()),
    ]
}

#[test]
fn values_of_any_size_come_back_equal() {
    for producers in [Side::Single, Side::Multi] {
        for consumers in [Side::Single, Side::Multi] {
            let options = Options::new(8).producers(producers).consumers(consumers);
            let queue = Queue::<Job>::with_options(options).expect("memory");
            for _ in 0..20 {
                for job in jobs() {
                    queue.put(job.clone()).expect("room");
                    assert_eq!(queue.get().expect("there"), job);
                }
            }
            queue.put_many(&jobs()).expect("room");
            let mut out = Vec::new();
            while out.len() < jobs().len() {
                queue.get_many(&mut out, 8).expect("there");
            }
            assert_eq!(out, jobs());
            queue.put(jobs()[2].clone()).expect("room");
            assert_eq!(*queue.lease().expect("there"), jobs()[2]);
            assert_eq!(queue.lease().expect("again").ack().expect("ours"), jobs()[2]);
        }
    }
}

/// Between what is encoded on the stack and what is measured first.
#[test]
fn every_length_around_the_limits() {
    for inline in [4, 52, 300, 1000] {
        let options = Options::new(2).inline(inline).max_message(5000);
        let queue = Queue::<Vec<u8>>::with_options(options).expect("memory");
        for len in (0..1100).chain([4000, 4998]) {
            let value = vec![len as u8; len];
            queue.put(value.clone()).expect("room");
            assert_eq!(queue.get().expect("there"), value);
        }
        let refused = queue.put(vec![0; 5000]).expect_err("too large");
        assert_is!(&refused, PutError::TooLarge { len: 5002, max: 5000, .. });
        assert_eq!(refused.into_value(), vec![0; 5000]);
    }
}

/// A value that is formatted as it is encoded.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(transparent)]
struct Formatted(String);

impl Serialize for Formatted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[test]
fn formatted_values_of_every_length() {
    let queue = Queue::<Formatted>::with_options(Options::new(2).max_message(5000)).expect("memory");
    let cast = ringway::Broadcast::<Formatted>::with_options(Options::new(4).inline(1000)).expect("memory");
    let subscriber = cast.subscribe(ringway::StartAt::Now).expect("a place");
    for len in (0..700).chain([4998]) {
        let value = Formatted("x".repeat(len));
        queue.put(value.clone()).expect("room");
        assert_eq!(queue.get().as_ref(), Ok(&value));
        if len < 998 {
            cast.put(value.clone()).expect("room");
            assert_eq!(subscriber.get(), Ok(value));
        } else {
            assert_is!(cast.put(value), Err(PutError::TooLarge { .. }));
        }
    }
    assert_is!(queue.put(Formatted("x".repeat(4999))), Err(PutError::TooLarge { len: 5001, max: 5000, .. }));
}

#[test]
fn a_full_queue_gives_the_value_back() {
    let queue = Queue::<String>::bounded(1).expect("memory");
    queue.put("one".into()).expect("room");
    let refused = queue.try_put("two".into()).expect_err("full");
    assert!(refused.is_full());
    assert_eq!(refused.into_value(), "two");
    queue.close();
    assert_eq!(queue.put("three".into()), Err(PutError::Closed("three".into())));
    assert_eq!(queue.get().expect("there"), "one");
    assert_eq!(queue.get(), Err(GetError::Closed));
}

/// What encodes as something else each time, or not at all.
#[derive(Debug, PartialEq, Deserialize)]
struct Odd(u32);

thread_local!(static LENGTH: std::cell::Cell<usize> = const { std::cell::Cell::new(0) });

impl Serialize for Odd {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => Err(serde::ser::Error::custom("not today")),
            1 => serializer.collect_seq(std::iter::repeat_n(7u8, 10).filter(|_| true)),
            _ => {
                LENGTH.set(LENGTH.get() + 1000);
                serializer.serialize_bytes(&vec![1; LENGTH.get()])
            }
        }
    }
}

#[test]
fn what_cannot_be_encoded_is_given_back() {
    let queue = Queue::<Odd>::with_options(Options::new(2)).expect("memory");
    for kind in [0, 1, 2] {
        let refused = queue.put(Odd(kind)).expect_err("it cannot be encoded");
        assert_is!(&refused, PutError::Unencodable { .. });
        assert!(refused.to_string().contains("could not be encoded"), "{refused}");
        assert_eq!(refused.into_value(), Odd(kind));
    }
    assert_eq!((queue.len(), queue.try_get()), (0, Err(GetError::Empty)));
    // Nothing was kept of those that were given up half-way.
    for _ in 0..2000 {
        LENGTH.set(0);
        assert!(queue.try_put(Odd(2)).is_err());
    }
}

/// Somebody else's bytes: an error for that message, and the queue goes on.
#[test]
fn an_undecodable_message_is_one_error() {
    let sandbox = common::Sandbox::new();
    let queue = Queue::<Vec<String>>::create("q", sandbox.options(8).type_tag("t")).expect("created");
    let scribbler = Queue::<(u8, u8, u8)>::open_with("q", sandbox.here().type_tag("t")).expect("by that tag");
    scribbler.put((200, 1, 1)).expect("room");
    queue.put(vec!["fine".into()]).expect("room");
    // A prefix is fine, and more follows: that is another type's, too.
    scribbler.put((0, 1, 1)).expect("room");
    assert_eq!(queue.get(), Err(GetError::Undecodable));
    assert_eq!(queue.get().expect("the next one"), ["fine"]);
    assert_eq!(queue.try_get(), Err(GetError::Undecodable));
    assert_eq!(queue.try_get(), Err(GetError::Empty));
}

#[test]
fn kinds_and_types_do_not_mix() {
    let sandbox = common::Sandbox::new();
    let _queue = Queue::<Job>::create("q", sandbox.options(8)).expect("created");
    assert_is!(common::kind(Queue::<String>::open_with("q", sandbox.here())), SetupErrorKind::Mismatch { .. });
    assert_is!(common::kind(ByteQueue::open_with("q", sandbox.here())), SetupErrorKind::Mismatch { .. });
    Queue::<Job>::open_with("q", sandbox.here()).expect("the same type");
}

/// User code that panics loses its message and nothing else.
#[test]
fn a_panic_in_serialize_leaves_nothing_behind() {
    struct Bomb;
    impl Serialize for Bomb {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            LENGTH.set(LENGTH.get() + 1);
            assert!(LENGTH.get() != 3, "as it does");
            serializer.serialize_bytes(&[1; 3000])
        }
    }
    impl<'de> Deserialize<'de> for Bomb {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Vec::<u8>::deserialize(deserializer).map(|_| Bomb)
        }
    }
    let queue = Queue::<Bomb>::with_options(Options::new(2).max_message(4096).arena(1)).expect("memory");
    for _ in 0..50 {
        LENGTH.set(0);
        let put = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| queue.try_put(Bomb).map_err(drop)));
        assert!(put.is_err(), "it is encoded a third time into the block");
    }
    LENGTH.set(3);
    queue.try_put(Bomb).map_err(drop).expect("the one block is free");
    assert!(queue.try_get().is_ok());
}
