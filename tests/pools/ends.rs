//! How workers end: with the process that has their pool, with the job that has it, and because they are told to.

use super::common::{lives, until};
use super::skip::skip;
use ringway::{ExitStatus, Job, JobFailure, Options, Pool, Process, Producer, Queue, Serde};
use std::collections::HashSet;
use std::ffi::CStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(20);

fn forever() {
    std::thread::sleep(Duration::from_secs(1000));
}

/// Whoever is at it comes and goes.
fn queue(capacity: u64) -> Queue<u32> {
    Queue::with_options(Options::new(capacity).peers_gone(false)).expect("a queue")
}

/// A `/dev/shm` for this thread and whom it starts. False: this machine does not let us have one.
fn have_own_dev_shm() -> bool {
    let mount = |what: &CStr, at: &CStr, kind: Option<&CStr>, flags| {
        let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
        // SAFETY: strings that end with a NUL; no data.
        unsafe { libc::mount(what.as_ptr(), at.as_ptr(), kind, flags, std::ptr::null()) == 0 }
    };
    // SAFETY: touches no memory.
    let is_alone = unsafe { libc::unshare(libc::CLONE_NEWNS) == 0 };
    is_alone
        && mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE)
        && mount(c"none", c"/dev/shm", Some(c"tmpfs"), 0)
}

/// Where the workers of `works_without_end` say that a call has begun.
static TOLD: Mutex<Option<Producer<Serde<u32>>>> = Mutex::new(None);

fn works_without_end(told: Producer<Serde<u32>>) {
    fn keep(told: Producer<Serde<u32>>) {
        *TOLD.lock().expect("nobody panics") = Some(told);
    }
    fn call(n: u64) -> u64 {
        if let Some(told) = &*TOLD.lock().expect("nobody panics") {
            // Once there were enough nobody takes them.
            let _ = told.try_put(std::process::id());
        }
        std::thread::sleep(Duration::from_micros(200));
        n
    }
    let pool = Pool::builder().workers(2).initializer(keep, (told,)).build().expect("a pool");
    let _ = pool.chunksize(5).map(call, 0..u64::MAX);
}

/// Orphans below this process become its children.
fn kills_who_maps() {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }, 0);
    let has_own = have_own_dev_shm();
    let told = queue(64);
    let mut process = Process::new(works_without_end, (told.producer().expect("an end"),));
    process.start().expect("starts");
    // Both are in the middle of it, and results have gone back.
    let mut calls = std::collections::HashMap::<u32, u32>::new();
    while calls.len() < 2 || calls.values().any(|calls| *calls < 50) {
        *calls.entry(told.get_timeout(SOON).expect("they call")).or_default() += 1;
    }
    process.kill().expect("it can be ended");
    assert_eq!(process.join().expect("it is ours"), ExitStatus::Signaled(libc::SIGKILL));
    let ended = Mutex::new(HashSet::new());
    until("all orphans have ended", || {
        // SAFETY: no status is asked for.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        if pid > 0 {
            ended.lock().expect("nobody panics").insert(pid as u32);
        }
        pid < 0
    });
    let ended = ended.into_inner().expect("nobody panics");
    assert_eq!(ended, calls.into_keys().collect(), "its workers, and nobody else");
    if has_own {
        let left: Vec<_> = std::fs::read_dir("/dev/shm").expect("it is there").collect();
        assert!(left.is_empty(), "{left:?}");
    } else {
        skip("a name space of mounts is not to be had here, so nobody has looked what is in /dev/shm");
    }
}

#[test]
fn a_parent_killed_in_the_middle_of_a_map_leaves_nothing() {
    let mut process = Process::new(kills_who_maps, ());
    process.start().expect("starts");
    assert!(process.join_timeout(4 * SOON).expect("it is ours"), "it hangs");
    assert_eq!(process.join().expect("it is ours"), ExitStatus::Exited(0));
}

/// A job that starts a pool, and says who works in it; none of them ends.
fn nest(told: Queue<u32>) {
    let pool = Pool::new(2).expect("a pool");
    for _ in 0..2 {
        drop(pool.apply_async(forever, ()).expect("it is open"));
    }
    until("they work", || pool.stats().running == 2);
    for worker in pool.stats().workers {
        told.put(worker.pid.expect("it runs")).expect("there is room");
    }
    forever();
}

/// Whatever ends a worker ends the pools of its job, too.
#[test]
fn a_pool_ends_with_the_job_that_has_it() {
    let pool = Pool::builder().workers(2).build().expect("a pool");
    let told = queue(8);
    let kill = |_: &Job<()>, pid: u32| {
        // SAFETY: touches no memory; nobody has reaped it.
        assert_eq!(unsafe { libc::kill(pid as i32, libc::SIGKILL) }, 0);
    };
    let cancel = |job: &Job<()>, _: u32| assert!(job.cancel());
    let killed = JobFailure::Died { status: ExitStatus::Signaled(libc::SIGKILL) };
    type Way<'w> = (&'w dyn Fn(&Job<()>, u32), JobFailure);
    let ways: [Way; 2] = [(&kill, killed), (&cancel, JobFailure::Cancelled)];
    for (restarted, (end, cause)) in (1..).zip(ways) {
        let job = pool.apply_async(nest, (told.try_clone().expect("a handle"),)).expect("it is open");
        let inner = [(); 2].map(|()| told.get_timeout(SOON).expect("an inner worker"));
        assert!(inner.iter().all(|pid| lives(*pid)));
        let outer = pool.stats().workers.into_iter().find(|worker| worker.job.is_some()).expect("one is at it");
        end(&job, outer.pid.expect("it runs"));
        assert_eq!(job.get_timeout(SOON).expect_err("it was ended").cause(), &cause);
        until("the inner workers end", || !inner.iter().any(|pid| lives(*pid)));
        assert_eq!(pool.apply(|n: u32| n, (5,)), Ok(5));
        until("the outer one is replaced, alone", || pool.stats().restarted == restarted);
    }
}

/// Of several that run the workers of those end, and of no other.
#[test]
fn who_is_cancelled_costs_nobody_else() {
    let pool = Pool::new(4).expect("a pool");
    let gate = queue(8);
    let wait = |gate: Queue<u32>| (gate.get().expect("somebody opens"), std::process::id());
    let start = || pool.apply_async(wait, (gate.try_clone().expect("a handle"),)).expect("it is open");
    let pids = || pool.stats().workers.into_iter().filter_map(|worker| worker.pid).collect::<HashSet<u32>>();
    let mut jobs = [(); 4].map(|()| start());
    let behind = start();
    until("they run", || pool.stats().running == 4);
    let before = pids();
    // One that waits, and two that run.
    assert!(behind.cancel() && jobs[1].cancel() && jobs[2].cancel());
    for job in [&jobs[1], &jobs[2]] {
        let error = job.get_timeout(SOON).expect_err("cancelled");
        assert_eq!((error.cause(), error.attempts()), (&JobFailure::Cancelled, 1));
    }
    assert_eq!(behind.get_timeout(SOON).expect_err("cancelled").attempts(), 0);
    until("two are replaced", || pool.stats().restarted == 2 && pids().len() == 4);
    let stayed: HashSet<u32> = before.intersection(&pids()).copied().collect();
    assert!(stayed.len() == 2 && stayed.iter().all(|pid| lives(*pid)), "{stayed:?}");
    assert!(!jobs[0].ready() && !jobs[3].ready());
    // Those who came work as those who stayed do.
    (jobs[1], jobs[2]) = (start(), start());
    until("they run", || pool.stats().running == 4);
    for _ in 0..4 {
        gate.put(1).expect("there is room");
    }
    let done = jobs.each_ref().map(|job| job.get_timeout(SOON).expect("it was not cancelled").1);
    assert!(stayed.contains(&done[0]) && stayed.contains(&done[3]), "{stayed:?}, {done:?}");
    assert_eq!((HashSet::from(done), pool.stats().restarted), (pids(), 2));
}

/// Closes what this process knows its child by.
fn close_pidfd_of(pid: u32) {
    let said = format!("Pid:\t{pid}");
    let numbers = std::fs::read_dir("/proc/self/fd").expect("/proc is there");
    let numbers = numbers.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_its = |number: &i32| {
        let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
        info.lines().any(|line| line == said)
    };
    let its: Vec<i32> = numbers.collect::<Vec<_>>().into_iter().filter(is_its).collect();
    assert!(!its.is_empty(), "it has one");
    for number in its {
        // SAFETY: whoever has it finds out.
        assert_eq!(unsafe { libc::close(number) }, 0);
    }
}

/// Nobody knows of a worker whose pidfd was closed whether it lives: its job is told so, and runs nowhere else.
fn loses_a_worker() {
    let pool = Pool::builder().workers(2).retries(3).build().expect("a pool");
    let (begun, gate, done) = (queue(8), queue(8), queue(8));
    let call = |begun: Queue<u32>, gate: Queue<u32>, done: Queue<u32>| {
        begun.put(std::process::id()).expect("there is room");
        done.put(gate.get().expect("somebody opens")).expect("there is room");
    };
    let handle = |of: &Queue<u32>| of.try_clone().expect("a handle");
    let job = pool.apply_async(call, (handle(&begun), handle(&gate), handle(&done))).expect("it is open");
    let pid = begun.get_timeout(SOON).expect("it runs");
    close_pidfd_of(pid);
    // Has the pool look at its workers.
    pool.close();
    let error = job.get_timeout(SOON).expect_err("nobody knows what became of it");
    let JobFailure::Broken { reason } = error.cause() else { panic!("{error:?}") };
    assert!(reason.contains("descriptors"), "{reason}");
    assert!(pool.join_timeout(SOON).expect("it is closed"), "it has no end");
    assert!(lives(pid) && begun.try_get().is_err() && pool.stats().restarted == 0, "it went on alone");
    gate.put(5).expect("there is room");
    assert_eq!(done.get_timeout(SOON), Ok(5));
    until("it finds that its pool has ended", || !lives(pid));
}

#[test]
fn a_worker_that_cannot_be_asked_for_is_not_taken_for_dead() {
    let mut process = Process::new(loses_a_worker, ());
    process.start().expect("starts");
    assert!(process.join_timeout(4 * SOON).expect("it is ours"), "it hangs");
    assert_eq!(process.join().expect("it is ours"), ExitStatus::Exited(0));
}

/// Whether this process was told to end.
static WAS_TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn be_told(_: i32) {
    WAS_TOLD.store(true, Ordering::Relaxed);
}

/// Says that it listens, and that it has heard.
fn listens(told: Queue<u32>) {
    // SAFETY: the handler stores a word, and does nothing else.
    unsafe { libc::signal(libc::SIGTERM, be_told as extern "C" fn(i32) as libc::sighandler_t) };
    told.put(1).expect("there is room");
    while !WAS_TOLD.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(1));
    }
    told.put(2).expect("there is room");
}

fn does_not_listen(told: Queue<u32>) {
    // SAFETY: touches no memory.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
    told.put(std::process::id()).expect("there is room");
    forever();
}

/// Two ways to end a pool.
const ENDS: [fn(Pool); 2] = [
    |pool| {
        pool.terminate();
        pool.join().expect("it was terminated");
    },
    drop,
];

#[test]
fn workers_are_told_to_end_before_they_are_killed() {
    for end in ENDS {
        let (pool, told) = (Pool::new(2).expect("a pool"), queue(8));
        let jobs = [(); 2].map(|()| pool.apply_async(listens, (told.try_clone().expect("a handle"),)));
        assert_eq!([(); 2].map(|()| told.get_timeout(SOON).expect("they listen")), [1, 1]);
        end(pool);
        // By now they have ended.
        assert_eq!([(); 2].map(|()| told.try_get().expect("they have heard")), [2, 2]);
        for job in jobs {
            let error = job.expect("it was open").get().expect_err("terminated");
            assert_eq!((error.cause(), error.attempts()), (&JobFailure::Terminated, 1));
        }
    }
}

#[test]
fn workers_that_do_not_listen_are_killed_after_half_a_second() {
    for end in ENDS {
        let (pool, told) = (Pool::new(1).expect("a pool"), queue(8));
        let job = pool.apply_async(does_not_listen, (told.try_clone().expect("a handle"),)).expect("it is open");
        let pid = told.get_timeout(SOON).expect("it runs");
        let begun = Instant::now();
        end(pool);
        let took = begun.elapsed();
        assert!((500..5_000).contains(&took.as_millis()), "{took:?}");
        assert!(!lives(pid));
        assert_eq!(job.get().expect_err("terminated").cause(), &JobFailure::Terminated);
    }
}
