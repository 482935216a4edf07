//! Children that a fork server has made: as all others.

use super::common::{Piped, until};
use ringway::{Consumer, ExitStatus, Process, ProcessError, Producer, Queue, Serde, active_children, current_process};
use std::time::{Duration, Instant};

fn start<R: serde::Serialize + serde::de::DeserializeOwned + 'static>(process: Process<R>) -> Process<R> {
    let mut process = process.warm(true);
    process.start().expect("starts");
    process
}

#[test]
fn it_runs_the_function_and_returns_the_result() {
    for n in 0..20 {
        let process = start(Process::new(|n: u64| (n * n, std::process::id()), (n,)));
        let (square, pid) = process.result().expect("returns");
        assert_eq!((square, Some(pid)), (n * n, process.pid()));
        assert_eq!(process.join().expect("joins"), ExitStatus::Exited(0));
    }
}

#[test]
fn it_is_what_was_asked_for() {
    fn who() -> (String, Option<String>, String, i32, usize) {
        let parent = ringway::parent_process().expect("it has one");
        assert!(parent.is_alive());
        // SAFETY: touches no memory.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        let variable = std::env::var("RINGWAY_WARM").ok();
        (current_process().name().to_owned(), variable, parent.name().to_owned(), nice, ringway::cpu_count())
    }
    // SAFETY: touches no memory.
    let ours = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let process =
        Process::new(who, ()).name("Warm").env("RINGWAY_WARM", "1").nice(2).affinity([super::common::a_processor()]);
    let expected = ("Warm".to_owned(), Some("1".to_owned()), "MainProcess".to_owned(), (ours + 2).min(19), 1);
    assert_eq!(start(process).result().expect("returns"), expected);
}

#[test]
fn its_streams_are_what_was_asked_for() {
    let (mut out, mut err) = (Piped::new(), Piped::new());
    let both = || {
        println!("out");
        eprintln!("err");
    };
    let process = start(Process::new(both, ()).stdin(ringway::Stream::Null).stdout(out.writer()).stderr(err.writer()));
    assert_eq!((out.rest(), err.rest()), ("out\n".to_owned(), "err\n".to_owned()));
    assert!(process.join().expect("joins").success());
}

#[test]
fn it_is_our_own_child_however_it_ends() {
    let quiet = |process: Process<()>| start(process.stderr(ringway::Stream::Null));
    assert_eq!(quiet(Process::new(|| std::process::exit(3), ())).join().expect("joins"), ExitStatus::Exited(3));
    assert_eq!(quiet(Process::new(|| std::process::abort(), ())).join().expect("joins"), ExitStatus::Signaled(6));
    let panicked = quiet(Process::new(|| -> () { panic!("warm") }, ())).join().expect("joins");
    assert!(matches!(panicked, ExitStatus::Panicked { message, .. } if message == "warm"));
    let process = start(Process::new(std::thread::park, ()).name("it_is_our_own_child"));
    assert!(active_children().iter().any(|child| child.name() == "it_is_our_own_child"));
    process.terminate().expect("it can be ended");
    assert_eq!(process.join().expect("joins"), ExitStatus::Signaled(libc::SIGTERM));
    let foreign = active_children().into_iter().any(|child| child.name() == "ringway-server");
    assert!(!foreign, "the server is nobody's business");
}

#[test]
fn it_has_threads_and_children_like_any_other() {
    let busy = || {
        let threads: Vec<_> = (0..4).map(|n| std::thread::spawn(move || n)).collect();
        let sum: i32 = threads.into_iter().map(|thread| thread.join().expect("no panic")).sum();
        let mut cold = Process::new(|| 4, ());
        cold.start().expect("starts");
        let warm = start(Process::new(|| 5, ()));
        // The C library's notion of this thread is its own.
        // SAFETY: touches no memory; signal 0 is none.
        let known = unsafe { libc::pthread_kill(libc::pthread_self(), 0) } == 0;
        (sum, cold.result().expect("returns"), warm.result().expect("returns"), known)
    };
    assert_eq!(start(Process::new(busy, ())).result().expect("returns"), (6, 4, 5, true));
}

#[test]
fn ends_of_queues_go_to_it() {
    let options = ringway::Options::new(4).producers(ringway::Side::Single).consumers(ringway::Side::Single);
    let numbers = Queue::<u64>::with_options(options).expect("a queue");
    let sums = Queue::<u64>::bounded(1).expect("a queue");
    let putting = Process::new(
        |to: Producer<Serde<u64>>| (0..1000).for_each(|n| to.put(n).expect("somebody gets")),
        (numbers.producer().expect("an end"),),
    );
    let getting = Process::new(
        |from: Consumer<Serde<u64>>, to: Producer<Serde<u64>>| {
            to.put(std::iter::from_fn(|| from.get().ok()).sum()).expect("there is room");
        },
        (numbers.consumer().expect("an end"), sums.producer().expect("an end")),
    );
    drop(numbers);
    let (putting, getting) = (start(putting), start(getting));
    assert_eq!(sums.get().expect("a sum"), 499_500);
    assert!(putting.join().expect("joins").success());
    assert!(getting.join().expect("joins").success());
}

#[test]
fn more_handles_than_one_message_carries_go_to_it() {
    let queues: Vec<Queue<usize>> = (0..60).map(|_| Queue::bounded(1).expect("a queue")).collect();
    let ends: Vec<Producer<Serde<usize>>> = queues.iter().map(|queue| queue.producer().expect("an end")).collect();
    let all = |ends: Vec<Producer<Serde<usize>>>| {
        ends.iter().enumerate().for_each(|(n, end)| end.put(n).expect("there is room"));
    };
    let process = start(Process::new(all, (ends,)));
    for (n, queue) in queues.iter().enumerate() {
        assert_eq!(queue.get().expect("it was put"), n);
    }
    assert!(process.join().expect("joins").success());
}

fn is_zombie(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && line.contains('Z'))
}

fn server() -> Option<i32> {
    let children = std::fs::read_to_string("/proc/thread-self/children").expect("/proc is there");
    let mut pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    pids.find(|pid| {
        std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("ringway-server"))
    })
}

#[test]
fn a_server_that_is_gone_is_started_anew() {
    fn parent() -> Vec<u32> {
        let mut results = Vec::new();
        for n in 0..5 {
            results.push(start(Process::new(|n: u32| n, (n,))).result().expect("returns"));
            signal_server(libc::SIGKILL);
        }
        results
    }
    let mut process = Process::new(parent, ());
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), [0, 1, 2, 3, 4]);
}

fn signal_server(signal: i32) -> i32 {
    let pid = server().expect("it is there");
    // SAFETY: a child that nobody has reaped.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    pid
}

#[test]
fn a_server_that_is_stopped_for_a_moment_answers_later() {
    fn parent() -> u32 {
        start(Process::new(|| (), ())).join().expect("joins");
        let pid = signal_server(libc::SIGSTOP);
        let later = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            // SAFETY: as above; it is not reaped before it has died.
            unsafe { libc::kill(pid, libc::SIGCONT) };
        });
        let result = start(Process::new(|| 7, ())).result().expect("returns");
        later.join().expect("no panic");
        assert_eq!(server(), Some(pid), "the same server");
        result
    }
    let mut process = Process::new(parent, ());
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), 7);
}

/// After its thirty seconds. Nobody hangs, and what the first request was for does not run twice.
#[test]
fn a_server_that_stays_stopped_is_given_up() {
    fn parent() -> (u32, u64, bool) {
        start(Process::new(|| (), ())).join().expect("joins");
        let stopped = signal_server(libc::SIGSTOP);
        let ran = Queue::<u32>::bounded(4).expect("a queue");
        let begun = Instant::now();
        let note = |to: Producer<Serde<u32>>| to.put(std::process::id()).expect("there is room");
        let process = start(Process::new(note, (ran.producer().expect("an end"),)));
        assert!(process.join().expect("joins").success());
        let seconds = begun.elapsed().as_secs();
        let by = ran.try_get().expect("it ran");
        assert_eq!((Some(by), ran.try_get().ok()), (process.pid(), None));
        (by, seconds, server() == Some(stopped))
    }
    let mut process = Process::new(parent, ());
    process.start().expect("starts");
    let (_, seconds, is_there) = process.result().expect("returns");
    assert!((29..50).contains(&seconds) && !is_there, "{seconds} s");
}

#[test]
fn nothing_is_left_when_the_parent_is_gone() {
    fn parent(exits: bool) {
        start(Process::new(|| std::thread::sleep(Duration::from_secs(50)), ()).daemon(true));
        println!("{}", server().expect("it is there"));
        if !exits {
            std::thread::sleep(Duration::from_secs(50));
        }
    }
    for exits in [true, false] {
        let mut out = Piped::new();
        let mut process = Process::new(parent, (exits,)).stdout(out.writer());
        process.start().expect("starts");
        let server = out.line();
        let gone = Instant::now();
        if !exits {
            process.kill().expect("kills");
        }
        assert_eq!(out.rest(), "");
        process.join().expect("joins");
        assert!(gone.elapsed() < Duration::from_secs(20), "{:?}", gone.elapsed());
        // The server, too, which nobody reaps but the system.
        let is_server = || std::fs::read_to_string(format!("/proc/{server}/comm"));
        until("the server ends", || {
            !is_server().is_ok_and(|name| name.starts_with("ringway-server")) || is_zombie(&server)
        });
    }
}

#[test]
fn many_of_them_leave_nothing() {
    fn parent() -> (usize, usize) {
        let open = || std::fs::read_dir("/proc/self/fd").expect("/proc is there").count();
        start(Process::new(|| (), ())).join().expect("joins");
        let before = open();
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(|| {
                    for n in 0..100 {
                        assert_eq!(start(Process::new(|n: u32| n, (n,))).result().expect("returns"), n);
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        until("they are reaped", || active_children().is_empty());
        // The thread that has watched them closes what it had.
        until("their descriptors are closed", || open() <= before);
        (before, open())
    }
    let mut process = Process::new(parent, ());
    process.start().expect("starts");
    let (before, after) = process.result().expect("returns");
    assert!(after <= before, "{before} descriptors before, {after} after");
}

#[test]
fn errors_are_told_as_for_any_other() {
    let mut process = Process::new(|_: u8| (), (1,)).affinity([1 << 30]).warm(true);
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ProcessError::NotSetUp { .. })));
    assert!(matches!(process.start(), Err(ProcessError::AlreadyStarted)));
}
