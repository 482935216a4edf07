//! Bad names, bad options, bad sizes, bad times: each is a typed error, and
//! nothing that was there is lost.

mod common;

use common::{MODES, Role, Sandbox, kind, role_unlink, tell, thread_id, timed, until_asleep};
use ringway::{ByteQueue, GetError, Options, PodQueue, PutError, SetupErrorKind as K};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[("unlink", role_unlink), ("unlink-bytes", role_unlink_bytes), ("open", role_open)];

// ---- names ----

/// Names that are no names, as bytes.
fn bad_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> =
        [&b""[..], b".", b"..", b"/", b"a/b", b"/a", b"a/", b"../a", b"a\0b", b"\0", b"\xff\xfe", b"a\xc3"]
            .map(<[u8]>::to_vec)
            .to_vec();
    names.push(vec![b'x'; 201]);
    // 200 characters, but more bytes.
    names.push("é".repeat(200).into_bytes());
    names
}

#[test]
fn a_bad_name_is_refused_everywhere() {
    let sandbox = Sandbox::new();
    for bytes in bad_names() {
        let name = OsStr::from_bytes(&bytes);
        assert_is!(kind(ByteQueue::create(name, sandbox.options(4))), K::InvalidName { .. });
        assert_is!(kind(ByteQueue::open_with(name, sandbox.here())), K::InvalidName { .. });
        assert_is!(kind(ByteQueue::open_or_create(name, sandbox.options(4))), K::InvalidName { .. });
    }
    let mut child = sandbox.child("unlink-bytes", &[]);
    child.expect("all refused");
    child.succeed();
}

/// What goes by `RINGWAY_DIR` only.
fn role_unlink_bytes(_: &[String]) {
    for bytes in bad_names() {
        let name = OsStr::from_bytes(&bytes);
        assert_is!(kind(ringway::unlink(name)), K::InvalidName { .. });
        assert_is!(kind(ByteQueue::open(name)), K::InvalidName { .. });
        assert_is!(kind(ByteQueue::open_timeout(name, Duration::MAX)), K::InvalidName { .. });
    }
    tell("all refused");
}

#[test]
fn unusual_names_are_fine() {
    let sandbox = Sandbox::new();
    for name in ["x", "...", "-rf", "über queue", "日本語", " ", "a\nb", "x.tmp", &"x".repeat(200), &"é".repeat(100)]
    {
        let queue = PodQueue::<u8>::create(name, sandbox.options(1)).expect(name);
        assert_eq!(queue.name().as_deref(), Some(name));
        queue.put(7).expect("there is room");
        assert_eq!(PodQueue::<u8>::open_with(name, sandbox.here()).expect(name).get(), Ok(7));
    }
}

#[test]
fn a_name_that_exists_is_not_created_again() {
    let sandbox = Sandbox::new();
    let first = PodQueue::<u32>::create("taken", sandbox.options(4)).expect("a free name");
    first.put(1).expect("there is room");
    assert_is!(kind(PodQueue::<u32>::create("taken", sandbox.options(4))), K::AlreadyExists);
    assert_is!(kind(ByteQueue::create("taken", sandbox.options(9))), K::AlreadyExists);
    assert!(PodQueue::<u32>::create("taken", sandbox.options(4)).expect_err("taken").is_already_exists());
    assert_eq!(first.get(), Ok(1));
    assert_eq!(first.participants(), 1);
}

#[test]
fn a_name_that_is_missing_is_not_found() {
    let sandbox = Sandbox::new();
    assert_is!(kind(ByteQueue::open_with("missing", sandbox.here())), K::NotFound);
    assert!(ByteQueue::open_with("missing", sandbox.here()).expect_err("missing").is_not_found());
    assert_eq!(sandbox.unlink("missing"), "NotFound");
    let mut child = sandbox.child("open", &["missing", "30"]);
    child.expect("TimedOut");
    child.succeed();
}

/// Waits for a name, for some milliseconds or for ever.
fn role_open(arguments: &[String]) {
    let timeout = arguments[1].parse().map_or(Duration::MAX, Duration::from_millis);
    let (opened, took) = timed(|| PodQueue::<u32>::open_timeout(&arguments[0], timeout));
    match opened {
        Ok(queue) => tell(format_args!("{:?}", queue.get())),
        Err(error) => {
            assert!(took >= timeout, "{took:?}");
            tell(format_args!("{:?}", error.kind()));
        }
    }
}

#[test]
fn a_name_can_be_waited_for() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("open", &["later", "for ever"]);
    let queue = PodQueue::<u32>::create("later", sandbox.options(4)).expect("a free name");
    queue.put(5).expect("there is room");
    child.expect("Ok(5)");
    child.succeed();
}

// ---- options ----

#[test]
fn every_capacity_from_one_is_kept_exactly() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        for capacity in [1, 2, 3, 5, 7, 64, 100] {
            let queue = PodQueue::<u64>::create("q", sandbox.mode(capacity, mode)).expect("a free name");
            assert_eq!(queue.capacity() as u64, capacity);
            for round in 0..3 {
                for value in 0..capacity {
                    assert!(!queue.is_full());
                    queue.try_put(value + round).expect("there is room");
                }
                assert!(queue.is_full());
                assert_eq!(queue.try_put(99), Err(PutError::Full(99)));
                for value in 0..capacity {
                    assert_eq!(queue.try_get(), Ok(value + round));
                }
                assert_eq!(queue.try_get(), Err(GetError::Empty));
            }
        }
    }
}

#[test]
fn options_out_of_range_are_refused() {
    let sandbox = Sandbox::new();
    let good = || sandbox.options(4);
    let tag = "t".repeat(121);
    let bad = [
        ("no capacity", sandbox.here()),
        ("capacity 0", sandbox.options(0)),
        ("capacity", sandbox.options((1 << 40) + 1)),
        ("capacity", sandbox.options(u64::MAX)),
        ("participants 0", good().max_participants(0)),
        ("participants", good().max_participants(1025)),
        ("participants", good().max_participants(u32::MAX)),
        ("tag", good().type_tag(tag)),
        ("max_message", good().max_message((1 << 30) + 1)),
        ("max_message", good().max_message(usize::MAX)),
        ("inline", good().inline((64 << 20) + 1)),
        ("inline", good().inline(5000).max_message(4999)),
        ("inline", good().inline(3)),
        ("arena", good().arena(1 << 45)),
        ("arena", good().max_message(52).arena(1)),
        ("product", sandbox.options(1 << 40).inline(64 << 20)),
    ];
    for (what, options) in bad {
        assert_is!(kind(ByteQueue::create("q", options.clone())), K::InvalidOptions { .. });
        assert_is!(kind(ByteQueue::open_or_create("q", options.clone())), K::InvalidOptions { .. });
        assert_is!(kind(ByteQueue::with_options(options)), K::InvalidOptions { .. });
        assert!(sandbox.files().is_empty(), "{what}");
    }
    assert_is!(kind(ByteQueue::bounded(0)), K::InvalidOptions { .. });
    assert_is!(kind(PodQueue::<u64>::create("q", good().max_message(9))), K::InvalidOptions { .. });
    // The ends of the ranges are in them.
    let edge = good().max_participants(1024).type_tag("t".repeat(120)).max_message(0);
    assert_eq!(ByteQueue::create("q", edge).expect("all in range").max_message(), 0);
    PodQueue::<u64>::create("q", good().max_message(8).max_participants(1)).expect("all in range");
}

// ---- more than there is ----

#[test]
fn a_queue_larger_than_memory_is_refused_before_it_takes_any() {
    let sandbox = Sandbox::new();
    let capacity = 1 << 38;
    let check = |found: K| match found {
        K::NoSpace { needed, free, limited_by } => {
            assert!(needed >= capacity * 8 && free > 0 && free < needed && !limited_by.is_empty());
        }
        other => panic!("{other:?}"),
    };
    let (_, took) = timed(|| {
        check(kind(PodQueue::<u64>::create("huge", sandbox.options(capacity))));
        check(kind(PodQueue::<u64>::open_or_create("huge", sandbox.options(capacity))));
        check(kind(PodQueue::<u64>::bounded(capacity)));
    });
    assert!(took < Duration::from_secs(2), "nothing is allocated in vain: {took:?}");
    assert!(sandbox.files().is_empty());
    PodQueue::<u64>::create("small", sandbox.options(1)).expect("there is room for a small one");
}

// ---- messages ----

#[test]
fn a_message_that_is_too_large_comes_back() {
    let sandbox = Sandbox::new();
    let queue = ByteQueue::create("q", sandbox.options(4).max_message(10)).expect("a free name");
    let (fits, large) = (&[1; 10][..], &[2; 11][..]);
    queue.put(fits).expect("it fits");
    let too_large = PutError::TooLarge { value: (), len: 11, max: 10 };
    assert_eq!(queue.put(large), Err(too_large));
    assert_eq!(queue.try_put(large), Err(too_large));
    assert_eq!(queue.put_timeout(large, Duration::MAX), Err(too_large));
    assert_eq!(queue.put_deadline(large, Instant::now()), Err(too_large));
    // Found before any of a batch goes in, also where there is no room.
    for batch in [&[fits, large][..], &[large][..], &[fits, fits, fits, fits, fits, large][..]] {
        let error = queue.put_many(batch).expect_err("too large");
        assert_eq!((error.put, error.cause), (0, too_large));
        assert_eq!(queue.try_put_many(batch).expect_err("too large").put, 0);
    }
    assert_eq!(queue.len(), 1);
    assert_eq!(queue.get().as_deref(), Ok(fits));
}

#[test]
fn a_refused_value_comes_back() {
    let queue = PodQueue::<[u16; 3]>::bounded(1).expect("memory");
    queue.put([1, 2, 3]).expect("there is room");
    let value = [4, 5, 6];
    assert_eq!(queue.try_put(value), Err(PutError::Full(value)));
    assert_eq!(queue.put_timeout(value, Duration::from_millis(1)), Err(PutError::TimedOut(value)));
    let error = queue.put_many_timeout(&[value; 3], Duration::from_millis(1)).expect_err("full");
    assert_eq!((error.put, error.cause), (0, PutError::TimedOut(())));
    queue.close();
    for error in [queue.put(value), queue.try_put(value), queue.put_timeout(value, Duration::MAX)] {
        assert_eq!(error, Err(PutError::Closed(value)));
        assert_eq!(error.expect_err("closed").into_value(), value);
    }
    assert_eq!(queue.get(), Ok([1, 2, 3]));
}

#[test]
fn an_interrupted_batch_says_how_many_went_in() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u8>::create("q", sandbox.mode(3, mode)).expect("a free name");
        let error = queue.put_many_timeout(&[1, 2, 3, 4, 5], Duration::from_millis(1)).expect_err("full");
        assert_eq!((error.put, error.cause), (3, PutError::TimedOut(())));
        assert_eq!(queue.try_put_many(&[6]), Ok(0));
        let mut out = Vec::new();
        assert_eq!(queue.get_many(&mut out, 2), Ok(2));
        assert_eq!(queue.try_put_many(&[4, 5, 6]), Ok(2));
        assert_eq!(queue.get_many(&mut out, 100), Ok(3));
        assert_eq!(out, [1, 2, 3, 4, 5]);
        assert_eq!(queue.try_get_many(&mut out, 100), Err(GetError::Empty));
        assert_eq!(queue.try_put_many(&[]), Ok(0));
        queue.put_many(&[]).expect("nothing always fits");
        assert_eq!(queue.get_many(&mut out, 0), Ok(0));
    }
}

#[test]
fn messages_without_bytes_are_messages() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let units = PodQueue::<()>::create("units", sandbox.mode(3, mode)).expect("a free name");
        let empties = ByteQueue::create("empties", sandbox.mode(3, mode).max_message(0)).expect("a free name");
        for _ in 0..5 {
            for _ in 0..3 {
                units.put(()).expect("there is room");
                empties.put(b"").expect("there is room");
            }
            assert_eq!(units.try_put(()), Err(PutError::Full(())));
            assert_eq!(empties.try_put(b""), Err(PutError::Full(())));
            assert_eq!((units.len(), empties.len()), (3, 3));
            let (mut out, mut buffer) = (Vec::new(), vec![1]);
            assert_eq!(units.get_many(&mut out, 2), Ok(2));
            assert_eq!(units.get(), Ok(()));
            assert_eq!(empties.get().as_deref(), Ok(&[][..]));
            assert_eq!(empties.get_into(&mut buffer), Ok(0));
            assert!(buffer.is_empty());
            assert_eq!(empties.get_many(&mut Vec::new(), 9), Ok(1));
            assert_eq!(units.try_get(), Err(GetError::Empty));
            assert_eq!(empties.try_get(), Err(GetError::Empty));
        }
        assert_eq!(empties.put(b"x"), Err(PutError::TooLarge { value: (), len: 1, max: 0 }));
    }
}

// ---- times ----

#[test]
fn a_deadline_in_the_past_tries_once() {
    let queue = PodQueue::<u8>::bounded(1).expect("memory");
    let past = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
    assert_eq!(queue.get_deadline(past), Err(GetError::TimedOut));
    assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::TimedOut));
    assert_eq!(queue.get_many_deadline(&mut Vec::new(), 1, past), Err(GetError::TimedOut));
    assert_eq!(queue.put_deadline(1, past), Ok(()));
    assert_eq!(queue.put_deadline(2, past), Err(PutError::TimedOut(2)));
    assert_eq!(queue.put_timeout(2, Duration::ZERO), Err(PutError::TimedOut(2)));
    assert_eq!(queue.put_many_deadline(&[2], past).expect_err("full").cause, PutError::TimedOut(()));
    assert_eq!(queue.get_deadline(past), Ok(1));
    assert_eq!(queue.put_timeout(3, Duration::ZERO), Ok(()));
    assert_eq!(queue.get_timeout(Duration::ZERO), Ok(3));
}

#[test]
fn a_timeout_beyond_the_clock_means_for_ever() {
    let _sandbox = Sandbox::new();
    let queue = PodQueue::<u8>::bounded(1).expect("memory");
    let other = queue.try_clone().expect("a place");
    let (says, hears) = std::sync::mpsc::channel();
    let sleeper = std::thread::spawn(move || {
        says.send(thread_id()).expect("awaited");
        assert_eq!(other.get_timeout(Duration::MAX), Ok(1));
        other.put(2).expect("there is room");
        assert_eq!(other.put_timeout(3, Duration::MAX), Ok(()));
        assert_eq!(other.put_many_timeout(&[4, 5, 6], Duration::MAX), Ok(()));
    });
    let thread = hears.recv().expect("it starts");
    until_asleep(std::process::id(), thread);
    queue.put(1).expect("there is room");
    for expected in [2, 3, 4, 5, 6] {
        until_asleep_or_ended(&sleeper, thread);
        assert_eq!(queue.get_timeout(Duration::MAX), Ok(expected));
    }
    sleeper.join().expect("all as expected");
}

fn until_asleep_or_ended(thread: &std::thread::JoinHandle<()>, id: i32) {
    if !thread.is_finished() {
        let path = format!("/proc/self/task/{id}");
        common::until(|| !std::path::Path::new(&path).exists() || common::is_asleep(std::process::id(), id));
    }
}

// ---- closing ----

#[test]
fn closing_twice_is_fine() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u8>::create("q", sandbox.mode(4, mode)).expect("a free name");
        let other = PodQueue::<u8>::open_with("q", sandbox.here()).expect("it is there");
        queue.put(1).expect("there is room");
        queue.close();
        queue.close();
        other.close();
        assert!(queue.is_closed() && other.is_closed());
        assert_eq!(queue.put(2), Err(PutError::Closed(2)));
        assert_eq!(queue.try_put_many(&[2]).expect_err("closed").cause, PutError::Closed(()));
        assert_eq!(queue.get(), Ok(1));
        for _ in 0..2 {
            assert_eq!(queue.get(), Err(GetError::Closed));
            assert_eq!(queue.try_get(), Err(GetError::Closed));
            assert_eq!(queue.get_timeout(Duration::MAX), Err(GetError::Closed));
            assert_eq!(queue.get_many(&mut Vec::new(), 5), Err(GetError::Closed));
            assert_eq!(queue.iter().next(), None);
        }
        queue.close();
    }
}

/// Also where the producer finds out about the close only while it puts.
#[test]
fn a_put_refused_by_the_close_leaves_nothing_to_get() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u8>::create("q", sandbox.mode(4, mode)).expect("a free name");
        let producer = queue.producer().expect("it is free");
        producer.put(1).expect("there is room");
        queue.close();
        assert_eq!(producer.put(2), Err(PutError::Closed(2)));
        assert_eq!(producer.try_put(3), Err(PutError::Closed(3)));
        assert!(!queue.is_empty());
        assert_eq!(queue.get(), Ok(1));
        assert!(queue.is_empty(), "{mode:?}");
        assert_is!(kind(PodQueue::<u8>::open_with("q", sandbox.here())), K::Closed);
        assert_eq!(queue.get(), Err(GetError::Closed));
        assert_eq!((queue.len(), queue.is_empty()), (0, true));
    }
}

#[test]
fn a_closed_queue_admits_consumers_until_it_is_drained() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u8>::create("q", sandbox.mode(4, mode)).expect("a free name");
        queue.put_many(&[1, 2]).expect("there is room");
        queue.close();
        let late = PodQueue::<u8>::open_with("q", sandbox.here()).expect("not drained yet");
        assert_is!(kind(late.producer()), K::Closed);
        assert_is!(kind(queue.producer()), K::Closed);
        assert_eq!(late.put(3), Err(PutError::Closed(3)));
        assert_is!(kind(late.try_clone().expect("a place").split()), K::Closed);
        let consumer = late.consumer().expect("there is something to consume");
        assert_eq!(consumer.iter().collect::<Result<Vec<_>, _>>(), Ok(vec![1, 2]));
        assert_is!(kind(PodQueue::<u8>::open_with("q", sandbox.here())), K::Closed);
        assert_is!(kind(PodQueue::<u8>::open_or_create("q", sandbox.options(4))), K::Closed);
        assert_eq!(consumer.get(), Err(GetError::Closed));
    }
}

#[test]
fn errors_convert_into_io_errors() {
    use std::io::{Error, ErrorKind};
    let queue = PodQueue::<u8>::bounded(1).expect("memory");
    assert_eq!(Error::from(queue.try_get().expect_err("empty")).kind(), ErrorKind::WouldBlock);
    queue.put(1).expect("there is room");
    assert_eq!(Error::from(queue.try_put(2).expect_err("full")).kind(), ErrorKind::WouldBlock);
    assert_eq!(Error::from(queue.put_timeout(2, Duration::ZERO).expect_err("full")).kind(), ErrorKind::TimedOut);
    queue.close();
    assert_eq!(Error::from(queue.put(2).expect_err("closed")).kind(), ErrorKind::BrokenPipe);
    assert_eq!(Error::from(queue.put_many(&[2]).expect_err("closed")).kind(), ErrorKind::BrokenPipe);
    assert_eq!(Error::from(ByteQueue::bounded(0).expect_err("no room")).kind(), ErrorKind::InvalidInput);
    let missing = ByteQueue::open_with("x", Options::default().directory("/proc/self/x"));
    assert_eq!(Error::from(missing.expect_err("no such place")).kind(), ErrorKind::PermissionDenied);
}
