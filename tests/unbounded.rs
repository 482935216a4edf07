//! Queues that grow in shared memory and give it back: below the cap a put never waits, at
//! the cap and where the system has no memory it is `Full`, and nothing ever faults.

#![allow(unsafe_code)]

mod common;
#[path = "unbounded/free.rs"]
mod free;

use common::small::Small;
use common::{Role, Sandbox, hear, kind, tell};
use ringway::{
    ByteQueue, GetError, Lifetime, Options, PodQueue, PutError, SetupErrorKind as K, Side, Ticket, WaitPolicy,
};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("unlink", common::role_unlink),
    ("putter", role_putter),
    ("getter", role_getter),
    ("taker", role_taker),
    ("peer", role_peer),
    ("fork", role_fork),
];

type Line = [u64; 7];

const MIB: u64 = 1 << 20;
const SLICE: Duration = Duration::from_millis(120);

/// Bytes of memory that a named queue has.
fn backed(directory: &Path, name: &str) -> u64 {
    std::fs::metadata(directory.join(name)).expect("it has a name").blocks() * 512
}

fn growing(sandbox: &Sandbox, cap: u64) -> Options {
    Options::unbounded().cap(cap).directory(sandbox.path())
}

/// Those of a queue at rest: somebody has waited for a slice, or has asked.
fn at_rest<T: ringway::Plain + std::fmt::Debug>(queue: &PodQueue<T>) {
    assert!(matches!(queue.get_timeout(Duration::from_millis(1)), Err(GetError::TimedOut)));
    queue.recover().expect("alive");
}

/// Drained chunks that are kept for a moment, of a queue that has many.
const SPARES: u64 = 16;

fn is_back(start: u64, now: u64) {
    assert!(now <= start + start / 10, "{now} bytes at rest, {start} at the start");
}

/// Exactly as many messages as the capacity says, without a wait; then all memory is given
/// back, lap after lap. In the long form: of a gigabyte.
#[test]
fn it_grows_to_its_cap_and_shrinks_again() {
    let sandbox = Sandbox::new();
    let cap = if common::is_long() { 1024 * MIB } else { 16 * MIB };
    let queue = PodQueue::<Line>::create("q", growing(&sandbox, cap)).expect("memory");
    let capacity = queue.capacity() as u64;
    assert_eq!(capacity * 64, cap);
    let start = backed(sandbox.path(), "q");
    assert!(start < MIB, "{start} bytes at the start");
    for lap in 0..3 {
        for number in 0..capacity {
            queue.try_put([lap * capacity + number; 7]).expect("below the cap");
        }
        assert!(queue.is_full() && queue.len() as u64 == capacity);
        assert_eq!(queue.try_put([0; 7]), Err(PutError::Full([0; 7])));
        assert_eq!(queue.put_timeout([0; 7], Duration::from_millis(20)), Err(PutError::TimedOut([0; 7])));
        let peak = backed(sandbox.path(), "q");
        assert!((cap..cap + MIB).contains(&peak), "{peak} bytes when full");
        for number in 0..capacity {
            assert_eq!(queue.get(), Ok([lap * capacity + number; 7]));
        }
        // Who gets gives it back, all but a few chunks for the next messages, and who waits those.
        let seen = ringway::admin::inspect(Some(sandbox.path()), &"q".parse().expect("a name")).expect("a queue");
        let chunk = seen.growth.expect("it grows").chunk;
        let now = backed(sandbox.path(), "q");
        assert!(now <= start + (SPARES + 2) * chunk, "{now} bytes after the last get, {start} at the start");
        assert_eq!(queue.get_timeout(Duration::from_millis(250)), Err(GetError::TimedOut));
        is_back(start, backed(sandbox.path(), "q"));
        at_rest(&queue);
        assert!(queue.is_empty());
        let now = backed(sandbox.path(), "q");
        println!("{start} bytes at the start, {peak} when full, {now} when drained");
        is_back(start, now);
    }
}

/// A consumer that leaves gives back what was kept for the next messages.
#[test]
fn who_leaves_keeps_nothing() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<Line>::create("q", growing(&sandbox, 16 * MIB)).expect("memory");
    let start = backed(sandbox.path(), "q");
    let consumer = queue.consumer().expect("a place");
    for number in 0..100_000 {
        queue.try_put([number; 7]).expect("below the cap");
    }
    for number in 0..100_000 {
        assert_eq!(consumer.get(), Ok([number; 7]));
    }
    assert!(backed(sandbox.path(), "q") > start + MIB, "some are kept");
    drop(consumer);
    is_back(start, backed(sandbox.path(), "q"));
}

/// The same in batches, which go over the borders of chunks.
#[test]
fn batches_cross_chunks() {
    let _sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::with_options(Options::unbounded().cap(MIB)).expect("memory");
    let all: Vec<u64> = (0..queue.capacity() as u64).collect();
    for _ in 0..3 {
        queue.put_many(&all).expect("below the cap");
        assert_eq!(queue.try_put_many(&all[..3]).expect("open"), 0);
        let mut got = Vec::new();
        while got.len() < all.len() {
            queue.try_get_many(&mut got, 1000).expect("there is more");
        }
        assert!(got == all);
        assert!(matches!(queue.try_get(), Err(GetError::Empty)));
    }
    // One chunk is free again after that many gets, and a waiting put goes on.
    queue.put_many(&all).expect("below the cap");
    let other = queue.try_clone().expect("a place");
    let thread = std::thread::spawn(move || other.put_timeout(7, Duration::from_secs(10)));
    for number in &all {
        assert_eq!(queue.get(), Ok(*number));
    }
    assert_eq!((thread.join().expect("no panic"), queue.get()), (Ok(()), Ok(7)));
}

/// Messages of all sizes: long ones have blocks that come and go as well.
#[test]
fn long_messages_come_and_go() {
    let sandbox = Sandbox::new();
    let options = growing(&sandbox, 64 * MIB).max_message(1 << 20);
    let queue = ByteQueue::create("q", options).expect("memory");
    let start = backed(sandbox.path(), "q");
    assert!(start < 2 * MIB, "{start} bytes at the start");
    let message = |number: usize| vec![number as u8; [1, 52, 53, 200, 5000, 70_000, 1 << 20][number % 7]];
    for _ in 0..2 {
        for number in 0..70 {
            queue.try_put(&message(number)).expect("below the cap");
        }
        for number in 0..1000 {
            queue.try_put(&[number as u8; 300]).expect("below the cap");
        }
        let peak = backed(sandbox.path(), "q");
        assert!(peak > 14 * MIB, "{peak} bytes");
        for number in 0..70 {
            assert!(queue.get().expect("put") == message(number));
        }
        for number in 0..1000 {
            assert!(queue.get().expect("put") == [number as u8; 300]);
        }
        assert!(matches!(queue.get_timeout(Duration::from_millis(1)), Err(GetError::TimedOut)));
        queue.recover().expect("alive");
        // The heads of the blocks stay.
        is_back(start + 64 * (1000 + 7 * 64), backed(sandbox.path(), "q"));
    }
    // Until there is none left.
    let mut put = 0;
    while queue.try_put(&[1; 1 << 20]).is_ok() {
        put += 1;
    }
    assert!((10..64).contains(&put), "{put} of a MiB in 64");
    assert_eq!(queue.try_put(&[1; 1 << 20]), Err(PutError::Full(())));
    assert_eq!(queue.try_iter().count(), put);
    let len = (1 << 20) + 1;
    assert_eq!(queue.try_put(&vec![0; len]), Err(PutError::TooLarge { value: (), len, max: 1 << 20 }));
    // In place, and given back.
    let mut reserved = queue.reserve(100_000).expect("room");
    reserved.fill(7);
    drop(reserved);
    let lease = {
        queue.put(&[3; 10_000]).expect("room");
        queue.lease().expect("put")
    };
    assert!(lease.as_slice() == [3; 10_000]);
    drop(lease);
    assert!(queue.get_ref().expect("came back").len() == 10_000);
}

#[cfg(feature = "serde")]
#[test]
fn any_type_without_a_reader() {
    let queue = ringway::Queue::<(u64, String)>::unbounded().expect("memory");
    for number in 0..20_000 {
        queue.try_put((number, "x".repeat(number as usize % 500))).expect("below the cap");
    }
    for number in 0..20_000 {
        let (its, text) = queue.get().expect("put");
        assert_eq!((its, text.len()), (number, number as usize % 500));
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    let sandbox = Sandbox::new();
    let refused = [
        Options::unbounded().producers(Side::Single),
        Options::unbounded().consumers(Side::Single),
        Options::unbounded().cap(4096),
        Options::unbounded().cap(1 << 60),
        Options::unbounded().cap(MIB).arena(MIB),
        Options::new(4).cap(MIB),
    ];
    for options in refused {
        let error = PodQueue::<u64>::with_options(options).expect_err("no sense");
        assert!(matches!(error.kind(), K::InvalidOptions { .. }), "{error}");
    }
    let queue = PodQueue::<u64>::create("q", growing(&sandbox, MIB)).expect("memory");
    let capacity = queue.capacity() as u64;
    for fits in [Options::default(), Options::unbounded(), Options::unbounded().cap(MIB), Options::new(capacity)] {
        let opened = PodQueue::<u64>::open_with("q", fits.clone().directory(sandbox.path()));
        assert_eq!(opened.is_ok(), !format!("{fits:?}").contains(&format!("Some({capacity})")), "{fits:?}");
    }
    assert!(matches!(kind(PodQueue::<u64>::open_with("q", growing(&sandbox, 2 * MIB))), K::Mismatch { .. }));
    let bounded = PodQueue::<u64>::create("b", sandbox.options(4)).expect("memory");
    let as_unbounded = PodQueue::<u64>::open_with("b", Options::unbounded().directory(sandbox.path()));
    assert!(matches!(kind(as_unbounded), K::Mismatch { .. }));
    drop(bounded);
}

/// Leases, tasks, giving back, closing: as of a bounded queue, over several laps.
#[test]
fn leases_tasks_and_close() {
    let _sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::with_options(Options::unbounded().cap(64 << 10).joinable(true)).expect("memory");
    let many = queue.capacity() as u64 * 3 / 4;
    for lap in 0..4 {
        queue.put_many(&(0..many).collect::<Vec<_>>()).expect("below the cap");
        assert_eq!(queue.join_timeout(Duration::from_millis(1)), Err(ringway::TaskError::TimedOut), "lap {lap}");
        for number in 0..many {
            assert_eq!(queue.get(), Ok(number));
            queue.task_done().expect("a task");
        }
        queue.join_timeout(Duration::from_secs(5)).expect("all is done");
    }
    let queue = PodQueue::<u64>::with_options(Options::unbounded().cap(64 << 10)).expect("memory");
    queue.put_many(&(0..many).collect::<Vec<_>>()).expect("below the cap");
    let kept = queue.lease().expect("put");
    drop(queue.lease().expect("put"));
    assert_eq!(queue.lease().map(|lease| (lease.redelivered(), lease.ack())), Ok((1, Ok(1))));
    queue.close();
    assert_eq!(queue.try_put(1), Err(PutError::Closed(1)));
    for number in 2..many {
        assert_eq!(queue.get(), Ok(number));
    }
    assert_eq!(kept.ack(), Ok(0));
    assert_eq!(queue.get(), Err(GetError::Closed));
}

/// Where the file system is full a put is `Full`, and goes on when there is room again.
#[test]
fn no_space_is_full_and_no_fault() {
    let sandbox = Sandbox::new();
    let Some(small) = Small::mount(&sandbox) else { return };
    let options = Options::unbounded().cap(64 * MIB).directory(small.path());
    let queue = PodQueue::<Line>::create("q", options.clone()).expect("memory for the start");
    for lap in 0..3 {
        let mut put = 0;
        while queue.try_put([put; 7]).is_ok() {
            put += 1;
        }
        assert!((10_000..49_152).contains(&put), "{put} fit");
        assert_eq!(queue.try_put([0; 7]), Err(PutError::Full([0; 7])));
        // What two chunks had room for is room at once: their memory needs nobody's leave.
        let two = 2 * (256 << 10) / 64;
        for number in 0..two {
            assert_eq!(queue.try_get(), Ok([number; 7]), "lap {lap}");
        }
        for more in 0..two / 2 {
            assert_eq!(queue.try_put([put + more; 7]), Ok(()), "lap {lap}");
        }
        put += two / 2;
        while queue.try_put([put; 7]).is_ok() {
            put += 1;
        }
        let begun = Instant::now();
        assert_eq!(queue.put_timeout([0; 7], SLICE), Err(PutError::TimedOut([0; 7])));
        assert!(begun.elapsed() >= SLICE);
        // A put that waits goes on when there is memory.
        let other = queue.try_clone().expect("a place");
        other.set_wait_policy(WaitPolicy::Park);
        let waits = std::thread::spawn(move || other.put_timeout([u64::MAX; 7], Duration::from_secs(10)));
        for number in two..put {
            assert_eq!(queue.get(), Ok([number; 7]), "lap {lap}");
        }
        assert_eq!((waits.join().expect("no panic"), queue.get()), (Ok(()), Ok([u64::MAX; 7])));
    }
    drop(queue);
    let queue = ByteQueue::create("b", options).expect("memory for the start");
    for _ in 0..2 {
        let mut put = 0;
        while queue.try_put(&[put as u8; 10_000]).is_ok() {
            put += 1;
        }
        assert!((50..300).contains(&put), "{put} fit");
        assert_eq!(queue.put_timeout(&[0; 10_000], SLICE), Err(PutError::TimedOut(())));
        for number in 0..put {
            assert!(queue.get().expect("put") == [number as u8; 10_000]);
        }
    }
}

// ---- several processes ----

fn role_putter(arguments: &[String]) {
    let (from, to) = (arguments[0].parse::<u64>().expect("a number"), arguments[1].parse::<u64>().expect("a number"));
    let queue = PodQueue::<Line>::open("q").expect("it is there");
    for number in from..to {
        queue.try_put([number; 7]).expect("below the cap");
    }
    tell("put");
    hear();
}

fn role_getter(_: &[String]) {
    let (mut count, mut sum) = (0u64, 0u64);
    let queue = match PodQueue::<Line>::open("q") {
        Ok(queue) => queue,
        // The others were faster.
        Err(error) if *error.kind() == K::Closed => return tell("0 0"),
        Err(error) => panic!("{error}"),
    };
    loop {
        match queue.get() {
            Ok(line) => {
                assert!(line.iter().all(|word| *word == line[0]), "torn: {line:?}");
                (count, sum) = (count + 1, sum.wrapping_add(line[0]));
            }
            Err(GetError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    tell(format_args!("{count} {sum}"));
}

fn role_taker(_: &[String]) {
    let queue = PodQueue::<Line>::open("q").expect("it is there");
    for _ in 0..100 {
        queue.get().expect("there are enough");
    }
    tell("took");
    hear();
}

/// What a dead one has said to claim long ago is looked for where the memory was given back
/// since: that must not bring any of it back.
#[test]
fn a_look_brings_no_memory_back() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<Line>::create("q", growing(&sandbox, 16 * MIB)).expect("memory");
    let all = 30_000;
    for number in 0..all {
        queue.try_put([number; 7]).expect("below the cap");
    }
    let mut child = sandbox.child("taker", &[]);
    child.expect("took");
    for number in 100..all {
        assert_eq!(queue.get(), Ok([number; 7]));
    }
    at_rest(&queue);
    let before = backed(sandbox.path(), "q");
    child.kill();
    queue.recover().expect("alive");
    let after = backed(sandbox.path(), "q");
    assert!(after <= before, "{before} bytes before the look, {after} after it");
}

#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    common::control::fails_with_seeds("a_look_brings_no_memory_back", &[(60, &["after it"])]);
}

/// What is seen from outside: how much there may be, how much there is, in which chunks.
#[test]
fn inspect_shows_its_growth() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<Line>::create("q", growing(&sandbox, 16 * MIB)).expect("memory");
    let look = || {
        let seen = ringway::admin::inspect(Some(sandbox.path()), &"q".parse().expect("a name")).expect("a queue");
        assert!(seen.problems.is_empty(), "{:?}", seen.problems);
        let ring = seen.ring.expect("it has its words");
        assert!(ring.unfinished.is_empty() && !ring.partly_searched, "{ring:?}");
        (ring.depth, seen.growth.expect("it grows"))
    };
    let (depth, first) = look();
    assert_eq!((depth, first.cap, first.chunk, first.chunks), (0, 16 * MIB, 256 << 10, 64));
    assert_eq!((first.ready, first.holes), (1, 63));
    for number in 0..20_000 {
        queue.put([number; 7]).expect("below the cap");
    }
    let (depth, then) = look();
    assert_eq!((depth, then.ready, then.holes), (20_000, 5, 59));
    assert_eq!(then.backed, first.backed + 4 * then.chunk);
    for _ in 0..20_000 {
        queue.get().expect("put");
    }
    at_rest(&queue);
    let (depth, last) = look();
    assert_eq!((depth, last.ready + last.drained, last.backed), (0, 1, first.backed));
    let bounded = PodQueue::<u64>::create("b", sandbox.options(4)).expect("memory");
    let seen = ringway::admin::inspect(Some(sandbox.path()), &"b".parse().expect("a name")).expect("a queue");
    assert_eq!(seen.growth, None);
    drop(bounded);
}

/// Four who put at once without a reader, then four who drain: nothing is lost or doubled,
/// and the memory comes back though some who were there are idle.
#[test]
fn processes_fill_it_and_drain_it() {
    const EACH: u64 = 100_000;
    let sandbox = Sandbox::new();
    let queue = PodQueue::<Line>::create("q", growing(&sandbox, 64 * MIB)).expect("memory");
    let start = backed(sandbox.path(), "q");
    let part = |at: u64| [(at * EACH).to_string(), ((at + 1) * EACH).to_string()];
    let mut putters: Vec<_> = (0..4)
        .map(|at| {
            let [from, to] = part(at);
            sandbox.child("putter", &[&from, &to])
        })
        .collect();
    putters.iter_mut().for_each(|child| child.expect("put"));
    assert_eq!(queue.len() as u64, 4 * EACH);
    assert!(backed(sandbox.path(), "q") > 4 * EACH * 64);
    let getters: Vec<_> = (0..4).map(|_| sandbox.child("getter", &[])).collect();
    queue.close();
    let (mut count, mut sum) = (0, 0u64);
    for getter in getters {
        let said = String::from_utf8(getter.succeed()).expect("text");
        let numbers: Vec<u64> = said.split_whitespace().map(|word| word.parse().expect("a number")).collect();
        (count, sum) = (count + numbers[0], sum.wrapping_add(numbers[1]));
    }
    assert_eq!((count, sum), (4 * EACH, (0..4 * EACH).sum()));
    queue.recover().expect("alive");
    is_back(start, backed(sandbox.path(), "q"));
    putters.into_iter().for_each(|child| drop(child.succeed()));
}

/// Somebody who is killed with the memory in his hands leaves it to the others.
#[test]
fn the_dead_leave_no_memory_behind() {
    let sandbox = Sandbox::new();
    let options = growing(&sandbox, 4 * MIB).lifetime(Lifetime::Persistent);
    let queue = PodQueue::<Line>::create("q", options).expect("memory");
    let start = backed(sandbox.path(), "q");
    for lap in 0..5u64 {
        let mut child = sandbox.child("putter", &["0", "20000"]);
        if lap % 2 == 0 {
            child.expect("put");
        } else {
            while queue.len() < 1000 {
                std::thread::yield_now();
            }
        }
        child.kill();
        queue.recover().expect("alive");
        let mut next = 0;
        loop {
            match queue.try_get() {
                Ok(line) => {
                    assert_eq!(line[0], next);
                    next += 1;
                }
                Err(GetError::Empty) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(next >= 1000);
        queue.recover().expect("alive");
        is_back(start, backed(sandbox.path(), "q"));
    }
    drop(queue);
    let queue = PodQueue::<Line>::open_with("q", sandbox.here()).expect("persistent");
    queue.put([1; 7]).expect("below the cap");
    assert_eq!(queue.get(), Ok([1; 7]));
    drop(queue);
    sandbox.unlink("q");
}

/// Takes part in an anonymous queue: fills or drains it as it is told.
fn role_peer(_: &[String]) {
    let ticket: Ticket = hear().parse().expect("a ticket");
    let queue = PodQueue::<Line>::open_ticket(&ticket).expect("the parent is there");
    loop {
        match hear().as_str() {
            "put" => (0..queue.capacity() as u64).for_each(|number| queue.try_put([number; 7]).expect("below the cap")),
            "get" => {
                (0..queue.capacity() as u64).for_each(|number| assert_eq!(queue.try_get(), Ok([number; 7])));
                at_rest(&queue);
            }
            "" => break,
            other => panic!("no order {other}"),
        }
        tell("done");
    }
}

/// Bytes of memory that an anonymous queue of this process has, whose size is sealed.
fn backed_anonymous(ticket: &Ticket) -> u64 {
    let text = ticket.to_string();
    let number = text.split(':').nth(2).and_then(|place| place.split_once('/')).map(|(_, fd)| fd.parse::<i32>());
    let fd = number.expect("PID/FD").expect("a number");
    let size = libc::F_SEAL_GROW | libc::F_SEAL_SHRINK;
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::fcntl(fd, libc::F_GET_SEALS) } & size, size, "it is sealed");
    std::fs::metadata(format!("/proc/self/fd/{fd}")).expect("it is open").blocks() * 512
}

/// An anonymous one, whose file is sealed, grows and shrinks from another process as well: each may give
/// back what the other has made it take.
#[test]
fn it_can_be_handed_over() {
    let sandbox = Sandbox::new();
    let cap = 8 * MIB;
    let queue = PodQueue::<Line>::with_options(Options::unbounded().cap(cap)).expect("memory");
    let ticket = queue.ticket().expect("findable");
    let mut child = sandbox.child("peer", &[]);
    child.tell(&ticket.to_string());
    let start = backed_anonymous(&ticket);
    assert!(start < MIB, "{start} bytes at the start");
    for (puts, gets) in [(true, false), (false, true), (true, true)] {
        let mut order = |what: &str| {
            child.tell(what);
            child.expect("done");
        };
        if puts {
            order("put");
        } else {
            (0..queue.capacity() as u64).for_each(|number| queue.try_put([number; 7]).expect("below the cap"));
        }
        let peak = backed_anonymous(&ticket);
        assert!((cap..cap + MIB).contains(&peak), "{peak} bytes when full");
        if gets {
            order("get");
        } else {
            (0..queue.capacity() as u64).for_each(|number| assert_eq!(queue.try_get(), Ok([number; 7])));
            at_rest(&queue);
        }
        is_back(start, backed_anonymous(&ticket));
    }
    child.succeed();
}

fn role_fork(_: &[String]) {
    let queue = PodQueue::<u64>::with_options(Options::unbounded().cap(MIB)).expect("memory");
    for number in 0..10_000 {
        queue.put(number).expect("below the cap");
    }
    assert_eq!(queue.get(), Ok(0));
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let forked = queue.try_put(1) == Err(PutError::Forked(1)) && queue.try_get() == Err(GetError::Forked);
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!forked)) };
    }
    let mut status = 0;
    // SAFETY: `status` is ours to write.
    assert_eq!((unsafe { libc::waitpid(pid, &mut status, 0) }, status), (pid, 0));
    for number in 1..10_000 {
        assert_eq!(queue.get(), Ok(number));
    }
    queue.put(5).expect("below the cap");
    tell("fine");
}

#[test]
fn a_forked_child_has_no_handle() {
    let sandbox = Sandbox::new();
    sandbox.child("fork", &[]).expect("fine");
}
