//! Nobody waits for what does not come. Where the deaths of other tests' workers would help, the pool is in a
//! process of its own.

use super::common::{quiet, until};
use ringway::{ExitStatus, Job, JobFailure, Options, Pool, Process, Queue};
use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

/// A function of [`ALL`].
fn alone(which: usize) {
    let mut process = Process::new(|which: usize| ALL[which](), (which,));
    process.start().expect("starts");
    assert!(process.join_timeout(2 * SOON).expect("it is ours"), "it hangs");
    assert_eq!(process.join().expect("it is ours"), ExitStatus::Exited(0));
}

const ALL: [fn(); 4] = [idle, idle_async, no_limit, lazy];

fn forever() {
    std::thread::sleep(Duration::from_secs(1000));
}

fn idle() {
    let limit = Duration::from_millis(50);
    let pool = Pool::builder().workers(1).task_timeout(limit).build().expect("a pool");
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    let error = pool.apply(forever, ()).expect_err("it never ends");
    assert_eq!(error.cause(), &JobFailure::TimedOut { limit });
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
}

fn idle_async() {
    let limit = Duration::from_millis(50);
    let pool = Pool::builder().workers(1).task_timeout(limit).build().expect("a pool");
    for _ in 0..3 {
        let begun = Instant::now();
        let job = pool.apply_async(forever, ()).expect("it is open");
        assert_eq!(job.get().expect_err("it never ends").cause(), &JobFailure::TimedOut { limit });
        assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
        assert_eq!(pool.apply(|n: u8| n, (1,)), Ok(1));
        std::thread::sleep(Duration::from_millis(120));
    }
}

fn no_limit() {
    let pool = Pool::builder().workers(1).task_timeout(Duration::MAX).build().expect("a pool");
    assert_eq!(pool.apply(|n: u8| n, (1,)), Ok(1));
    let died = pool.apply(|| -> () { std::process::exit(7) }, ()).expect_err("it exits");
    assert_eq!(died.cause(), &JobFailure::Died { status: ExitStatus::Exited(7) });
    assert_eq!(pool.apply(|n: u8| n, (2,)), Ok(2));
}

/// Bytes of this process that are in memory, but for what it shares.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("it is said");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

/// Bytes of shared memory that the queues and boards of this process have.
fn shared() -> u64 {
    use std::os::unix::fs::MetadataExt;
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("/proc is there");
    let paths = descriptors.filter_map(|entry| Some(entry.ok()?.path()));
    let ours = paths
        .filter(|path| std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:ringway")));
    // Of several descriptions of one file each says the same.
    let files: HashMap<u64, u64> =
        ours.filter_map(|path| path.metadata().ok()).map(|file| (file.ino(), 512 * file.blocks())).collect();
    assert!(files.len() >= 3, "two queues and a board: {files:?}");
    files.values().sum()
}

fn lazy() {
    let calls: u64 = if std::env::var_os("RINGWAY_LONG").is_some() { 10_000_000 } else { 1_000_000 };
    let pool = Pool::new(2).expect("a pool");
    // All arguments together are 49 MB and more, and so are all results.
    let items = (0..calls).map(|n| vec![n; 16]);
    let mut results = pool.imap(|item: Vec<u64>| item, items);
    assert_eq!(results.next(), Some(Ok(vec![0; 16])));
    let (before, mut most) = ((resident(), shared()), (0, 0));
    for (n, result) in (1..).zip(results) {
        assert_eq!(result, Ok(vec![n; 16]));
        if n % 50_000 == 0 {
            until("all that may be done is done", || pool.stats().running + pool.stats().queued == 0);
        }
        if n % 10_000 == 0 {
            most = (most.0.max(resident()), most.1.max(shared()));
        }
    }
    println!("bytes of its own and shared: {before:?} at the start, {most:?} at most");
    assert!(most.0.saturating_sub(before.0) < 16 << 20, "of its own: {before:?} at the start, {most:?} at most");
    assert!(most.1.saturating_sub(before.1) < 16 << 20, "shared: {before:?} at the start, {most:?} at most");
}

#[test]
fn a_limit_holds_in_a_pool_that_was_idle() {
    (0..3).for_each(alone);
}

#[test]
fn who_takes_results_slowly_needs_no_memory() {
    alone(3);
}

/// What waits in a callback holds up other callbacks, and nothing else.
#[test]
fn a_callback_that_waits_holds_up_nobody() {
    let pool = Pool::builder().workers(2).task_timeout(Duration::from_millis(200)).build().expect("a pool");
    let (told, hears) = mpsc::sync_channel(0);
    let first = pool.apply_async(|n: u8| n, (1,)).expect("it is open");
    first.on_done(move |_| {
        let _ = told.send(());
    });
    first.wait();
    let late = pool.apply_async(forever, ()).expect("it is open");
    std::thread::scope(|scope| {
        for n in 0..4_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for m in 0..50 {
                    assert_eq!(pool.apply(|n: u64, m: u64| n * m, (n, m)), Ok(n * m));
                }
                assert!(pool.apply(|| -> () { std::process::exit(1) }, ()).is_err());
            });
        }
    });
    assert!(matches!(late.get().expect_err("too long").cause(), JobFailure::TimedOut { .. }));
    hears.recv_timeout(SOON).expect("it still waits there");
    pool.close();
    pool.join().expect("it is closed");
}

#[test]
fn callbacks_may_close_and_join_and_come_after_the_end() {
    let pool = std::sync::Arc::new(Pool::new(1).expect("a pool"));
    let job = pool.apply_async(|n: u8| n, (5,)).expect("it is open");
    let (told, hears) = mpsc::channel();
    // Of several on one job each is called, whatever the first does.
    job.on_done(|_| panic!("the first"));
    let (of_callback, second) = (std::sync::Arc::clone(&pool), told.clone());
    job.on_done(move |result| {
        of_callback.close();
        of_callback.join().expect("it is closed");
        let _ = second.send(result);
    });
    assert_eq!(hears.recv_timeout(SOON).expect("it is called"), Ok(5));
    pool.join().expect("it is closed");
    job.on_done(move |result| drop(told.send(result)));
    assert_eq!(hears.recv_timeout(SOON).expect("also after the end"), Ok(5));
    assert_eq!(pool.stats().callbacks_panicked, 1);
}

/// The memory has room for one of these at a time, so two of them wait for it, one of whom nobody would miss.
#[test]
fn a_pool_without_room_keeps_its_limits() {
    fn work(bytes: Vec<u8>) -> usize {
        if bytes[0] == 1 {
            forever();
        }
        bytes.len()
    }
    let limit = Duration::from_millis(300);
    let pool = Pool::builder().workers(1).memory(16 << 20).window(2).task_timeout(limit).build().expect("a pool");
    let items = (0..6_u8).map(|n| vec![n; 6 << 20]);
    let many = pool.chunksize(1).map_async(work, items).expect("it is open");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                assert_eq!(pool.apply(work, (vec![9; 6 << 20],)), Ok(6 << 20));
            }
        });
        let error = many.get_timeout(SOON).expect_err("the second takes too long");
        assert_eq!(error.cause(), &JobFailure::TimedOut { limit });
    });
    let stuck: Vec<Job<usize>> =
        (0..2).map(|_| pool.apply_async(work, (vec![1; 6 << 20],)).expect("it is open")).collect();
    let begun = Instant::now();
    drop(pool);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(stuck.iter().all(|job| job.get().is_err()));
}

#[test]
fn what_is_withdrawn_makes_room_and_no_heap() {
    let pool = Pool::builder().workers(1).window(4).build().expect("a pool");
    let gate = Queue::<u32>::with_options(Options::new(4).peers_gone(false)).expect("a queue");
    let wait = |gate: Queue<u32>| gate.get().expect("somebody opens");
    let busy = pool.apply_async(wait, (gate.try_clone().expect("a handle"),)).expect("it is open");
    until("it runs", || pool.stats().running == 1);
    for _ in 0..3 {
        assert!(pool.apply_async(|n: u8| n, (1,)).expect("there is room").cancel());
    }
    // Its message is still there: one more would be one too many.
    let later = pool.chunksize(1).map_async(|n: u8| n, 0..10).expect("it waits inside");
    std::thread::scope(|scope| {
        let one_more = scope.spawn(|| pool.apply(|n: u8| n, (7,)));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!one_more.is_finished() && !later.ready());
        gate.put(3).expect("there is room");
        assert_eq!(one_more.join().expect("no panic"), Ok(7));
    });
    assert_eq!((busy.get(), later.get()), (Ok(3), Ok((0..10).collect())));
    // A free slot goes to who waits inside, also if nobody hears of it.
    let pool = Pool::builder().workers(1).window(1).build().expect("a pool");
    let busy = pool.apply_async(forever, ()).expect("it is open");
    let later = pool.map_async(|n: u8| n, 0..3).expect("it waits inside");
    until("it runs", || pool.stats().running == 1);
    assert!(busy.cancel());
    assert_eq!(later.get(), Ok(vec![0, 1, 2]));
    pool.close();
    pool.join().expect("it is closed");
}

/// Whoever takes this message dies before it has it: it is given up, and the others go on.
#[test]
fn a_message_that_kills_its_reader_is_given_up() {
    fn narrow() {
        quiet();
        let pages = std::fs::read_to_string("/proc/self/statm").expect("/proc is there");
        let pages: u64 = pages.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        let bytes = pages * 4096 + (64 << 20);
        let limit = libc::rlimit { rlim_cur: bytes, rlim_max: bytes };
        // SAFETY: a plain call; the limit is there.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
    }
    let pool = Pool::builder().workers(2).initializer(narrow, ()).build().expect("a pool");
    let poison = pool.apply_async(|bytes: Vec<u8>| bytes.len(), (vec![0; 100 << 20],)).expect("it is open");
    let others: Vec<_> = (0..20).map(|n: u8| pool.apply_async(|n: u8| n, (n,)).expect("it is open")).collect();
    let error = poison.get_timeout(SOON).expect_err("there is no room for it");
    assert!(matches!(error.cause(), JobFailure::Died { .. }) && error.attempts() >= 3, "{error:?}");
    for (n, job) in (0..).zip(others) {
        assert_eq!(job.get_timeout(SOON), Ok(n));
    }
}

/// What can never be put frees its slot for whoever waits.
#[test]
fn what_is_too_large_makes_room() {
    let pool = Pool::builder().workers(1).memory(16 << 20).window(1).build().expect("a pool");
    let large = pool.chunksize(1).map_async(|b: Vec<u8>| b.len(), (0..3).map(|_| vec![0; 20 << 20]));
    let small = pool.map_async(|n: u8| n, 0..3).expect("it waits inside");
    assert_eq!(small.get_timeout(SOON), Ok(vec![0, 1, 2]));
    let error = large.expect("it waits inside").get_timeout(SOON).expect_err("too large");
    assert!(matches!(error.cause(), JobFailure::ArgumentsUnencodable { .. }), "{error:?}");
    let large = pool.chunksize(1).map_async(|b: Vec<u8>| b.len(), (0..3).map(|_| vec![0; 20 << 20]));
    pool.close();
    pool.join().expect("it is closed");
    assert!(large.expect("it waited inside").get().is_err());
}

/// Idle workers that are killed again and again have not died of the next message.
#[test]
fn the_innocent_are_not_given_up() {
    let pool = Pool::builder().workers(1).initializer(quiet, ()).build().expect("a pool");
    for round in 0..8_u64 {
        let pid = || pool.stats().workers[0].pid;
        until("it is there", || pid().is_some());
        std::thread::sleep(Duration::from_millis(5));
        if let Some(pid) = pid() {
            // SAFETY: touches no memory; a child of ours.
            unsafe { libc::kill(pid as i32, libc::SIGKILL) };
        }
        if round % 4 == 3 {
            let jobs: Vec<_> = (0..20).map(|n: u64| pool.apply_async(|n: u64| n, (n,)).expect("it is open")).collect();
            assert!((0..).zip(jobs).all(|(n, job)| job.get_timeout(SOON) == Ok(n)));
        }
    }
}

#[test]
fn what_ran_at_the_end_was_begun() {
    let pool = Pool::new(1).expect("a pool");
    let (running, waiting) = (pool.apply_async(forever, ()), pool.apply_async(forever, ()));
    until("it runs", || pool.stats().running == 1);
    pool.terminate();
    let attempts = |job: Result<Job<()>, _>| job.expect("it was open").get().expect_err("terminated").attempts();
    assert_eq!((attempts(running), attempts(waiting)), (1, 0));
}

/// A map may be longer than its pool's memory; however it ends, nothing is forgotten.
#[test]
fn the_end_of_a_map_that_waits_for_memory() {
    let pool = Pool::builder().workers(2).memory(1 << 20).build().expect("a pool");
    for round in 0..150_u32 {
        let items = || (0..6).map(|n| vec![n as u8; (300 << 10) + round as usize]);
        let lens = pool.chunksize(1).map_async(|bytes: Vec<u8>| bytes.len(), items()).expect("it is open");
        assert!(lens.wait_timeout(SOON), "round {round} has no end: {:?}", pool.stats());
        assert_eq!(lens.get(), Ok(items().map(|bytes| bytes.len()).collect()));
    }
}

/// One thread waits for room with the only producer there is; another, which takes the reports that room is made by,
/// does not wait for that one.
#[test]
fn who_takes_reports_waits_for_nothing_else() {
    const CALLS: u32 = 300;
    let pool = Pool::builder().workers(2).arena(1 << 20).build().expect("a pool");
    let large = |n: u32| vec![n as u8; 200 << 10];
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let jobs = (0..CALLS).map(|n| pool.apply_async(|bytes: Vec<u8>| bytes, (large(n),)).expect("it is open"));
            let jobs: Vec<_> = jobs.collect();
            for (n, job) in (0..).zip(jobs) {
                assert_eq!(job.get_timeout(SOON), Ok(large(n)));
            }
        });
        for n in 0..CALLS {
            assert_eq!(pool.apply(|bytes: Vec<u8>| bytes, (large(n),)), Ok(large(n)));
        }
    });
    println!("{:?}", begun.elapsed());
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

/// Cancelling a million calls takes no longer than submitting them.
#[test]
fn a_long_map_is_cancelled_at_once() {
    let pool = Pool::builder().workers(1).window(100).build().expect("a pool");
    let all = pool.chunksize(1).map_async(|_: u32| std::thread::sleep(Duration::from_secs(1000)), 0..300_000);
    let all = all.expect("it is open");
    let begun = Instant::now();
    assert!(all.cancel());
    all.wait();
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert_eq!(all.get().expect_err("it was cancelled").cause(), &JobFailure::Cancelled);
    assert_eq!(pool.apply(|n: u32| n, (1,)), Ok(1));
}
