//! A handle that `fork` copied: every operation says `Forked`, dropping it harms
//! nobody, and the parent goes on.
//!
//! The forks are made by children of the tests, which have one thread.

#![allow(unsafe_code)]

mod common;

use common::{MODES, Role, Sandbox, kind, policy_named, tell};
use ringway::{
    ByteQueue, Consumer, GetError, Options, Pod, PodQueue, Producer, PutError, SetupErrorKind as K, TaskError,
};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("fork", role_fork),
    ("fork-dropping", role_fork_dropping),
    ("fork-reopening", role_reopen),
    ("fork-holding", role_holding),
];

type Put = Producer<Pod<u32>>;
type Get = Consumer<Pod<u32>>;

/// Runs `f` in a fork of this process, which must have one thread, and says
/// whether it went well there. The fork leaves without running anything of ours.
fn forked(f: impl FnOnce()) -> bool {
    let threads = std::fs::read_dir("/proc/self/task").expect("proc is mounted").count();
    assert_eq!(threads, 1, "only a process with one thread may fork and go on");
    // SAFETY: the process has one thread, so the child may do whatever it could.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork failed");
    if pid == 0 {
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f));
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(outcome.is_err())) };
    }
    let mut status = 0;
    // SAFETY: `status` is ours to write.
    let ended = unsafe { libc::waitpid(pid, &mut status, 0) };
    if status != 0 {
        eprintln!("the fork ended with wait status {status:#x}");
    }
    ended == pid && status == 0
}

fn all_puts_say_forked(end: &Put) {
    let now = Instant::now();
    let moment = Duration::from_millis(1);
    for refused in [
        end.put(1),
        end.try_put(1),
        end.put_timeout(1, moment),
        end.put_timeout(1, Duration::MAX),
        end.put_deadline(1, now),
    ] {
        assert_eq!(refused, Err(PutError::Forked(1)));
    }
    for refused in [
        end.put_many(&[1, 2]),
        end.try_put_many(&[1, 2]).map(|_| ()),
        end.put_many_timeout(&[1, 2], moment),
        end.put_many_deadline(&[1, 2], now),
    ] {
        let error = refused.expect_err("forked");
        assert_eq!((error.put, error.cause), (0, PutError::Forked(())));
    }
    assert_eq!(kind(end.recover()), K::Forked);
    assert_eq!(kind(end.try_clone()), K::Forked);
    assert_eq!(kind(end.ticket()), K::Forked);
    assert_eq!(end.join(), Err(TaskError::Forked));
    assert_eq!(kind(end.inherit(&mut std::process::Command::new("true"))), K::Forked);
    let (here, _there) = std::os::unix::net::UnixStream::pair().expect("sockets are to be had");
    assert_eq!(kind(end.send_over(&here)), K::Forked);
    assert_eq!((end.len(), end.is_empty(), end.is_full(), end.is_closed()), (0, true, false, false));
    end.close();
}

fn all_gets_say_forked(end: &Get) {
    let now = Instant::now();
    let moment = Duration::from_millis(1);
    let mut out = Vec::new();
    for refused in
        [end.get(), end.try_get(), end.get_timeout(moment), end.get_timeout(Duration::MAX), end.get_deadline(now)]
    {
        assert_eq!(refused, Err(GetError::Forked));
    }
    for refused in [
        end.get_many(&mut out, 3),
        end.try_get_many(&mut out, 3),
        end.get_many_timeout(&mut out, 3, moment),
        end.get_many_deadline(&mut out, 3, now),
    ] {
        assert_eq!(refused, Err(GetError::Forked));
    }
    assert!(out.is_empty());
    for refused in [
        end.lease(),
        end.try_lease(),
        end.lease_timeout(moment),
        end.lease_timeout(Duration::MAX),
        end.lease_deadline(now),
    ] {
        assert_eq!(refused.map(|lease| *lease), Err(GetError::Forked));
    }
    assert_eq!(kind(end.recover()), K::Forked);
    assert_eq!(end.iter().collect::<Vec<_>>(), [Err(GetError::Forked)]);
    assert_eq!(end.try_iter().next(), Some(Err(GetError::Forked)));
    assert_eq!(kind(end.try_clone()), K::Forked);
    assert_eq!((end.len(), end.is_empty(), end.is_full(), end.is_closed()), (0, true, false, false));
    end.close();
}

fn every_operation_says_forked(queue: PodQueue<u32>, put: Put, get: Get, bytes: &ByteQueue) {
    all_puts_say_forked(&put);
    all_gets_say_forked(&get);
    assert_eq!(queue.put(1), Err(PutError::Forked(1)));
    assert_eq!(queue.get(), Err(GetError::Forked));
    assert_eq!(kind(queue.try_clone()), K::Forked);
    assert_eq!(kind(queue.producer()), K::Forked);
    assert_eq!(kind(queue.consumer()), K::Forked);
    assert_eq!(bytes.put(b"x"), Err(PutError::Forked(())));
    assert_eq!(bytes.get(), Err(GetError::Forked));
    let mut buffer = Vec::new();
    assert_eq!(bytes.get_into(&mut buffer), Err(GetError::Forked));
    assert_eq!(bytes.try_get_into(&mut buffer), Err(GetError::Forked));
    let _ = (format!("{queue:?} {put:?} {get:?}"), queue.name(), queue.capacity());
    assert_eq!(kind(queue.split()), K::Forked);
}

/// One parent, used before and after its forks.
fn role_fork(arguments: &[String]) {
    for (index, mode) in MODES.into_iter().enumerate() {
        for named in [true, false] {
            let options = Options::new(4).producers(mode.0).consumers(mode.1).wait_policy(policy_named(&arguments[0]));
            let queue = match named {
                true => PodQueue::<u32>::create(format!("q{index}"), options),
                false => PodQueue::<u32>::with_options(options),
            }
            .expect("a free name");
            let bytes = ByteQueue::bounded(2).expect("memory");
            let (put, get) = (queue.producer().expect("free"), queue.consumer().expect("free"));
            put.put_many(&[7, 8]).expect("there is room");
            assert_eq!(get.get(), Ok(7));
            bytes.put(b"kept").expect("there is room");
            for _ in 0..2 {
                // SAFETY: each is copied bit by bit for the fork alone, as fork
                // itself copies everything else; here they are dropped once.
                let copies = unsafe { (std::ptr::read(&queue), std::ptr::read(&put), std::ptr::read(&get)) };
                let mut copies = std::mem::ManuallyDrop::new(copies);
                let fine = forked(|| {
                    // SAFETY: the fork never returns to where the originals are dropped.
                    let (queue, put, get) = unsafe { std::mem::ManuallyDrop::take(&mut copies) };
                    every_operation_says_forked(queue, put, get, &bytes);
                });
                assert!(fine, "in the fork");
                assert_eq!(put.participants(), 3);
                assert!(!put.is_closed());
            }
            put.put_many(&[9, 10, 11]).expect("there is room");
            assert_eq!(get.iter().take(4).collect::<Result<Vec<_>, _>>(), Ok(vec![8, 9, 10, 11]));
            assert_eq!(bytes.get().as_deref(), Ok(&b"kept"[..]));
        }
    }
    tell("all well");
}

#[test]
fn every_operation_of_a_forked_handle_is_refused() {
    let sandbox = Sandbox::new();
    for policy in common::POLICIES {
        let mut child = sandbox.child("fork", &[policy]);
        child.expect("all well");
        child.succeed();
    }
}

/// Forks that do nothing but drop what they inherited, while the parent works.
fn role_fork_dropping(_: &[String]) {
    let queue = PodQueue::<u32>::create("q", Options::new(2)).expect("a free name");
    for value in 0..20 {
        queue.put(value).expect("there is room");
        // SAFETY: as above.
        let mut copy = std::mem::ManuallyDrop::new(unsafe { std::ptr::read(&queue) });
        // SAFETY: as above.
        let fine = forked(|| drop(unsafe { std::mem::ManuallyDrop::take(&mut copy) }));
        assert!(fine, "in the fork");
        assert_eq!(queue.participants(), 1);
        assert_eq!(queue.get(), Ok(value));
    }
    assert!(PodQueue::<u32>::open("q").is_ok(), "the name is still there");
    tell("all well");
}

#[test]
fn dropping_a_forked_handle_harms_nobody() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("fork-dropping", &[]);
    child.expect("all well");
    child.succeed();
}

/// A fork opens the queue anew, and is a participant like any other.
fn role_reopen(_: &[String]) {
    let queue = PodQueue::<u32>::create("q", Options::new(4)).expect("a free name");
    queue.put(1).expect("there is room");
    let fine = forked(|| {
        assert_eq!(queue.put(2), Err(PutError::Forked(2)));
        let anew = PodQueue::<u32>::open("q").expect("the parent lives");
        assert_eq!(anew.participants(), 2);
        assert_eq!(anew.get(), Ok(1));
        anew.put(3).expect("there is room");
    });
    assert!(fine, "in the fork");
    assert_eq!(queue.participants(), 1);
    assert_eq!(queue.get(), Ok(3));
    tell("all well");
}

#[test]
fn a_fork_can_open_the_queue_anew() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("fork-reopening", &[]);
    child.expect("all well");
    child.succeed();
}

// ---- guards ----

/// A copy of something for the fork alone, as `fork` itself copies everything else.
fn copied<T>(what: &T) -> std::mem::ManuallyDrop<T> {
    // SAFETY: the copy is dropped in the fork only, which never returns to where the original is.
    std::mem::ManuallyDrop::new(unsafe { std::ptr::read(what) })
}

/// Guards of every kind, held through a fork: what they lead to is not mapped there.
fn role_holding(_: &[String]) {
    let options = Options::new(8).max_message(100_000).arena(1 << 20).joinable(true);
    let queue = ByteQueue::create("q", options).expect("a free name");
    let small = ByteQueue::with_options(Options::new(8).max_message(40)).expect("memory");
    for value in [&[1; 30][..], &[2; 50_000], &[3; 10], &[4; 10]] {
        queue.put(value).expect("there is room");
    }
    queue.put(b"task").expect("there is room");
    let (inline, block) = (queue.get_ref().expect("there"), queue.get_ref().expect("there"));
    let (lease, dropped) = (queue.lease().expect("there"), queue.lease().expect("there"));
    assert_eq!(queue.get().as_deref(), Ok(&b"task"[..]));
    let mut reserved = [queue.reserve(80_000), queue.reserve(9), small.reserve(9)].map(|one| one.expect("room"));
    reserved.iter_mut().for_each(|one| one.fill(5));
    let fine = forked(|| {
        for guard in [copied(&inline), copied(&block)].map(std::mem::ManuallyDrop::into_inner) {
            assert_eq!((guard.len(), guard.is_empty(), guard.get(0)), (0, true, None));
            assert!(guard.copy_to_slice(0, &mut [0]).is_err());
            assert_eq!((guard.to_vec(), guard.chunks(10).count()), (Vec::new(), 0));
            // SAFETY: nobody writes no bytes.
            assert!(unsafe { guard.as_slice() }.is_empty());
            let guard = guard.cast::<u16>().expect("pairs");
            assert_eq!((guard.len(), guard.get(0)), (0, None));
            assert_eq!(guard.ack(), Err(GetError::Forked));
        }
        for mut guard in
            [copied(&reserved[0]), copied(&reserved[1]), copied(&reserved[2])].map(std::mem::ManuallyDrop::into_inner)
        {
            assert_eq!((guard.len(), guard.is_empty()), (0, true));
            assert!(guard.write_at(0, b"x").is_err());
            guard.fill(7);
            guard.truncate(2);
            // SAFETY: nobody writes no bytes.
            assert!(unsafe { guard.as_mut_slice() }.is_empty());
            let moment = Duration::from_millis(1);
            let Err(PutError::Forked(guard)) = guard.commit() else { panic!("not refused") };
            let Err(PutError::Forked(guard)) = guard.try_commit() else { panic!("not refused") };
            let Err(PutError::Forked(guard)) = guard.commit_timeout(moment) else { panic!("not refused") };
            drop(guard);
        }
        let lease = std::mem::ManuallyDrop::into_inner(copied(&lease));
        assert_eq!(lease.ack(), Err(GetError::Forked));
        drop(std::mem::ManuallyDrop::into_inner(copied(&dropped)));
        assert_eq!(queue.task_done(), Err(TaskError::Forked));
        assert_eq!(queue.reserve(1).map(drop), Err(PutError::Forked(())));
        assert_eq!(queue.get_ref().map(drop), Err(GetError::Forked));
    });
    assert!(fine, "in the fork");
    // All of it is the parent's still.
    assert_eq!((inline.to_vec(), block.to_vec()), (vec![1; 30], vec![2; 50_000]));
    assert_eq!((&lease[..], &dropped[..]), (&[3; 10][..], &[4; 10][..]));
    queue.task_done().expect("a task");
    drop(dropped);
    assert_eq!(queue.lease().expect("given back").redelivered(), 1);
    for guard in reserved {
        guard.commit().expect("there is room");
    }
    tell("all well");
}

#[test]
fn guards_that_a_fork_copied_lead_nowhere() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("fork-holding", &[]);
    child.expect("all well");
    child.succeed();
}
