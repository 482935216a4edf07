//! `watch`: a death is noticed at once, in all queues of the process.

#![allow(unsafe_code)]

mod common;

use common::{Child, Sandbox, hear, tell, timed, until};
use ringway::{Consumer, GetError, Options, Pod, PodQueue, admin};
use std::fs::File;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const ROLES: &[common::Role] = &[("hold", role_hold), ("closes", role_closes)];

const LONG: Duration = Duration::from_secs(20);

/// Well below a slice, on a machine that does other things too.
const PROMPT: Duration = Duration::from_millis(60);

/// Holds a lease of one queue, and is the only producer of another.
fn role_hold(_: &[String]) {
    let leased = PodQueue::<u64>::open("leased").expect("it is there");
    let fed = PodQueue::<u64>::open("fed").expect("it is there").producer().expect("a place");
    let _lease = leased.lease().expect("a message");
    fed.put(7).expect("room");
    tell("ready");
    hear();
}

/// Watches, closes all descriptors, uses their numbers for files of its own, and watches again.
fn role_closes(_: &[String]) {
    let own = std::process::id();
    ringway::watch(common::pidfd(own)).expect("a pidfd");
    // SAFETY: touches no memory. Nothing here uses a descriptor above 2 afterwards that it
    // has opened before, but for the library, whose business this is.
    let closed = unsafe { libc::close_range(3, u32::MAX, 0) };
    assert_eq!(closed, 0);
    let files: Vec<File> = (0..30).map(|_| tempfile::tempfile_in("/dev/shm").expect("writable")).collect();
    let (mut unread, mut filled) = std::io::pipe().expect("a pipe");
    filled.write_all(b"unread").expect("room");
    // The thread of the first call notices, and ends.
    until(|| watchers() == 0);
    ringway::watch(common::pidfd(own)).expect("a pidfd");
    ringway::watch(common::pidfd(own)).expect("a pidfd");
    until(|| watchers() == 1);
    for file in &files {
        assert_eq!(file.metadata().expect("still open").len(), 0, "somebody has written to a file that is not theirs");
    }
    let mut bytes = [0; 6];
    unread.read_exact(&mut bytes).expect("nobody has read it");
    assert_eq!(&bytes, b"unread");
    tell("nothing was touched");
}

/// Threads that wait for processes.
fn watchers() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.trim_end() == "ringway-watch").count()
}

/// A child that has both queues, which this process has too.
fn held(sandbox: &Sandbox, round: u64) -> (PodQueue<u64>, Consumer<Pod<u64>>, Child) {
    let leased = PodQueue::<u64>::create("leased", sandbox.options(4)).expect("a free name");
    let options = Options::peers_gone(sandbox.options(4), true);
    let fed = PodQueue::<u64>::create("fed", options).expect("a free name").consumer().expect("a place");
    leased.put(round).expect("room");
    let mut child = sandbox.child("hold", &[]);
    child.expect("ready");
    ringway::watch(common::pidfd(child.pid())).expect("a pidfd");
    assert_eq!(fed.get(), Ok(7));
    (leased, fed, child)
}

/// Of many deaths enough: now and then the machine itself is slower than that. That none is missed,
/// the next test says.
#[test]
fn a_watched_death_is_noticed_at_once() {
    const ROUNDS: u64 = 40;
    const ENOUGH: usize = 5;
    let mut took = Vec::new();
    for round in 0..ROUNDS {
        let sandbox = Sandbox::new();
        let (leased, fed, child) = held(&sandbox, round);
        let (tell, told) = std::sync::mpsc::channel();
        let time = std::thread::scope(|scope| {
            let awaited = "who is to wait says so";
            let other = tell.clone();
            let leased = scope.spawn(move || {
                tell.send(common::thread_id()).expect(awaited);
                (leased.get_timeout(LONG), Instant::now())
            });
            let fed = scope.spawn(move || {
                other.send(common::thread_id()).expect(awaited);
                (fed.get_timeout(LONG), Instant::now())
            });
            // Whoever is not asleep yet would look once more.
            told.iter().take(2).for_each(|thread| common::until_asleep(std::process::id(), thread));
            let killed = Instant::now();
            child.kill();
            let [leased, fed] = [leased, fed].map(|waiter| waiter.join().expect("no panic"));
            assert_eq!((leased.0, fed.0), (Ok(round), Err(GetError::PeersGone)));
            leased.1.max(fed.1) - killed
        });
        took.push(time);
        if took.iter().filter(|time| **time < PROMPT).count() == ENOUGH {
            return;
        }
    }
    panic!("{ROUNDS} deaths were noticed late: {took:?}");
}

/// Also where nobody waits, nor calls anything: `inspect` only reads.
#[test]
fn every_watched_death_is_looked_after() {
    for round in 0..10 {
        let sandbox = Sandbox::new();
        let (_leased, _fed, child) = held(&sandbox, round);
        let look = |name: &str| {
            let seen = admin::inspect(Some(sandbox.path()), &name.parse().expect("a name")).expect("a queue");
            (seen.participants.len(), seen.leases.first().and_then(|lease| lease.holder))
        };
        assert_is!(look("leased"), (2, Some(_)));
        child.kill();
        let killed = Instant::now();
        while (look("leased"), look("fed")) != ((1, None), (1, None)) {
            assert!(killed.elapsed() < LONG / 4, "nobody has looked: {:?}, {:?}", look("leased"), look("fed"));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Without it, within a slice, by who waits: nobody comes, and nobody asks.
#[test]
fn an_unwatched_death_is_noticed_within_a_slice() {
    const ROUNDS: usize = 5;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let sandbox = Sandbox::new();
        let leased = PodQueue::<u64>::create("leased", sandbox.options(4)).expect("a free name");
        let _fed = PodQueue::<u64>::create("fed", sandbox.options(4)).expect("a free name");
        // The first call of a handle looks for the dead: not what is asked here.
        assert_eq!(leased.try_get(), Err(GetError::Empty));
        leased.put(1).expect("room");
        let mut child = sandbox.child("hold", &[]);
        child.expect("ready");
        let (tell, told) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            tell.send(common::thread_id()).expect("awaited");
            leased.get_timeout(LONG)
        });
        common::until_asleep(std::process::id(), told.recv().expect("it starts"));
        let (got, time) = timed(|| {
            child.kill();
            waiter.join().expect("no panic")
        });
        assert_eq!(got, Ok(1));
        took.push(time);
    }
    took.sort();
    // A slice is 100 ms, and the kernel takes some to let go of a lock.
    assert!(took[ROUNDS / 2] < Duration::from_millis(180), "{took:?}");
}

/// After `close_range` its numbers are other files: it neither writes to them, nor reads
/// from them, nor closes them.
#[test]
fn files_that_are_not_its_own_are_left_alone() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("closes", &[]);
    child.expect("nothing was touched");
    child.succeed();
}

#[test]
fn what_is_no_pidfd_is_refused() {
    let refused = ringway::watch(std::io::stdin()).expect_err("no pidfd");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
}

/// A watcher that sleeps on is found.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    common::control::fails_with_seeds("a_watched_death_is_noticed_at_once", &[(16, &["were noticed late"])]);
    common::control::fails_with_seeds("every_watched_death_is_looked_after", &[(16, &["nobody has looked"])]);
}
