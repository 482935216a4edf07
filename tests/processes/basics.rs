//! Start, join, results, names, and what a child is started with.

use super::common::Piped;
use ringway::{ExitStatus, Process, ProcessError, Run, active_children, current_process, parent_process};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

fn sum(a: u64, b: u64) -> u64 {
    a + b
}

#[test]
fn a_function_returns() {
    let mut process = Process::new(sum, (2, 3));
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), 5);
    assert_eq!(process.result().expect("can be asked again"), 5);
    assert_eq!(process.exit_status().expect("ended"), Some(ExitStatus::Exited(0)));
    assert!(!process.is_alive());
}

#[test]
fn functions_of_no_and_of_eight_arguments_run() {
    let mut none = Process::new(|| 1_u8, ());
    let mut eight = Process::new(
        |a: u8, b: u16, c: u32, d: u64, e: i8, f: char, g: String, h: Vec<u8>| {
            format!("{a}{b}{c}{d}{e}{f}{g}{}", h.len())
        },
        (1, 2, 3, 4, -5, '6', "7".to_owned(), vec![0; 8]),
    );
    none.start().expect("starts");
    eight.start().expect("starts");
    assert_eq!(none.result().expect("returns"), 1);
    assert_eq!(eight.result().expect("returns"), "1234-5678");
}

#[derive(Serialize, Deserialize)]
struct Countdown {
    from: u32,
}

impl Run for Countdown {
    type Output = Vec<u32>;

    fn run(self) -> Vec<u32> {
        (0..self.from).rev().collect()
    }
}

#[test]
fn a_task_runs() {
    let mut process = Process::of(Countdown { from: 3 });
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), [2, 1, 0]);
}

#[test]
fn a_pointer_is_called() {
    let table: [fn(i64) -> i64; 2] = [|x| x + 1, i64::abs];
    for (function, expected) in table.into_iter().zip([-4, 5]) {
        let mut process = Process::by_pointer(function, -5);
        process.start().expect("starts");
        assert_eq!(process.result().expect("returns"), expected);
    }
}

#[test]
fn large_arguments_and_results_go_through() {
    let large: Vec<u32> = (0..4 << 20).collect();
    let expected: u64 = large.iter().map(|&x| u64::from(x)).sum();
    let mut process = Process::new(
        |mut large: Vec<u32>| {
            large.push(1);
            large
        },
        (large,),
    );
    process.start().expect("starts");
    let back = process.result().expect("returns");
    assert_eq!(back.iter().map(|&x| u64::from(x)).sum::<u64>(), expected + 1);
}

#[test]
fn a_result_may_be_an_error_or_nothing() {
    let mut failing = Process::new(|| -> Result<u8, String> { Err("no".to_owned()) }, ());
    failing.start().expect("starts");
    assert_eq!(failing.result().expect("returns"), Err("no".to_owned()));
    let mut nothing = Process::new(|| (), ());
    nothing.start().expect("starts");
    nothing.result().expect("returns");
}

#[test]
fn before_the_start_there_is_nothing_to_wait_for() {
    let process = Process::new(sum, (1, 1));
    assert!(matches!(process.join(), Err(ProcessError::NotStarted)));
    assert!(matches!(process.join_timeout(Duration::ZERO), Err(ProcessError::NotStarted)));
    assert!(matches!(process.terminate(), Err(ProcessError::NotStarted)));
    assert!(matches!(process.kill(), Err(ProcessError::NotStarted)));
    assert!(matches!(process.exit_status(), Err(ProcessError::NotStarted)));
    assert!(matches!(process.result(), Err(ProcessError::NotStarted)));
    assert!(!process.is_alive());
    assert!(process.pid().is_none() && process.child().is_none());
}

#[test]
fn a_process_starts_once() {
    let mut process = Process::new(sum, (1, 1));
    process.start().expect("starts");
    assert!(matches!(process.start(), Err(ProcessError::AlreadyStarted)));
    process.join().expect("joins");
    assert!(matches!(process.start(), Err(ProcessError::AlreadyStarted)));
}

#[test]
fn joining_with_a_timeout_says_whether_it_has_ended() {
    let mut process = Process::new(std::thread::park, ());
    process.start().expect("starts");
    assert!(!process.join_timeout(Duration::from_millis(20)).expect("waits"));
    assert!(process.is_alive());
    assert_eq!(process.exit_status().expect("is asked"), None);
    process.terminate().expect("ends it");
    assert!(process.join_timeout(Duration::from_secs(60)).expect("waits"));
    assert_eq!(process.join().expect("joins"), ExitStatus::Signaled(libc::SIGTERM));
    process.terminate().expect("nothing happens to the dead");
    process.kill().expect("nothing happens to the dead");
}

#[test]
fn several_threads_wait_for_one_child() {
    let mut process = Process::new(std::thread::park, ());
    process.start().expect("starts");
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let child = process.child().expect("started");
            std::thread::spawn(move || child.join())
        })
        .collect();
    process.kill().expect("kills");
    for thread in waiting {
        assert_eq!(thread.join().expect("no panic").expect("joins"), ExitStatus::Signaled(libc::SIGKILL));
    }
}

// ---- who is who ----

fn who() -> (String, u32, Option<(String, u32, bool)>, bool) {
    let me = current_process();
    let parent = parent_process().map(|parent| (parent.name().to_owned(), parent.pid(), parent.is_alive()));
    (me.name().to_owned(), me.pid(), parent, me.is_daemon())
}

#[test]
fn a_child_knows_itself_and_its_parent() {
    assert_eq!(current_process().name(), "MainProcess");
    assert!(parent_process().is_none());
    let mut process = Process::new(who, ()).name("Worker \u{fc}").daemon(true);
    process.start().expect("starts");
    let parent = Some(("MainProcess".to_owned(), std::process::id(), true));
    let expected = ("Worker \u{fc}".to_owned(), process.pid().expect("started"), parent, true);
    assert_eq!(process.result().expect("returns"), expected);
}

#[test]
fn usual_names_say_whose_child_it_is() {
    fn grandchild() -> (String, String) {
        let mut process = Process::new(who, ());
        process.start().expect("starts");
        (current_process().name().to_owned(), process.result().expect("returns").0)
    }
    let mut process = Process::new(grandchild, ());
    process.start().expect("starts");
    let (child, grandchild) = process.result().expect("returns");
    let number = child.strip_prefix("Process-").expect("a usual name");
    assert!(number.parse::<u64>().is_ok(), "{child}");
    assert_eq!(grandchild, format!("{child}:1"));
}

#[test]
fn the_name_is_what_ps_shows() {
    let mut process = Process::new(|| std::fs::read_to_string("/proc/self/comm").map_err(|e| e.to_string()), ())
        .name("Worker-with-a-long-name");
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns").expect("it can be read"), "Worker-with-a-l\n");
}

#[test]
fn active_children_are_those_that_run() {
    let mut process = Process::new(std::thread::park, ()).name("active_children_are_those_that_run");
    let is_listed = || active_children().iter().any(|child| child.name() == "active_children_are_those_that_run");
    assert!(!is_listed());
    process.start().expect("starts");
    let listed = active_children().into_iter().find(|child| Some(child.pid()) == process.pid()).expect("is listed");
    drop(process);
    assert!(listed.is_alive() && is_listed(), "its handle is gone, the child is not");
    listed.kill().expect("kills");
    assert_eq!(listed.join().expect("joins"), ExitStatus::Signaled(libc::SIGKILL));
    assert!(!is_listed());
}

// ---- what a child is started with ----

#[test]
fn the_environment_is_ours_with_what_is_asked_for() {
    fn variables() -> Vec<Option<String>> {
        ["PATH", "RINGWAY_ONE", "RINGWAY_TWO"].map(|name| std::env::var(name).ok()).to_vec()
    }
    let mut process =
        Process::new(variables, ()).env("RINGWAY_ONE", "1").env("RINGWAY_TWO", "x").env("RINGWAY_TWO", "a=b ");
    process.start().expect("starts");
    let expected = [std::env::var("PATH").ok(), Some("1".to_owned()), Some("a=b ".to_owned())];
    assert_eq!(process.result().expect("returns"), expected);
}

#[test]
fn variables_that_make_no_sense_are_refused() {
    for (name, value) in [("", "x"), ("a=b", "x"), ("a", "x\0y"), ("a\0b", "x")] {
        for warm in [false, true] {
            let mut process = Process::new(|| (), ()).env(name, value).warm(warm);
            assert!(matches!(process.start(), Err(ProcessError::InvalidOptions { .. })), "{name:?}={value:?}");
        }
    }
}

#[test]
fn the_arguments_of_the_program_are_ours() {
    let mut process = Process::new(|| std::env::args().collect::<Vec<_>>(), ());
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), std::env::args().collect::<Vec<_>>());
}

#[test]
fn the_streams_are_what_is_asked_for() {
    fn echo() {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).expect("there is a line");
        print!("out {line}");
        eprint!("err {line}");
    }
    let (input, mut write) = std::io::pipe().expect("a pipe");
    let (mut out, mut err) = (Piped::new(), Piped::new());
    let mut process = Process::new(echo, ()).stdin(input).stdout(out.writer()).stderr(err.writer());
    process.start().expect("starts");
    write.write_all(b"hello\n").expect("the child reads");
    assert_eq!(out.rest(), "out hello\n");
    assert_eq!(err.rest(), "err hello\n");
    assert!(process.join().expect("joins").success());
}

#[test]
fn a_stream_may_be_nothing() {
    fn read_and_write() -> usize {
        println!("nobody sees this");
        std::io::stdin().read_line(&mut String::new()).expect("the end is there")
    }
    let mut process = Process::new(read_and_write, ()).stdin(ringway::Stream::Null).stdout(ringway::Stream::Null);
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), 0);
}

#[test]
fn priority_and_processors_are_what_is_asked_for() {
    fn settings() -> (i32, usize) {
        // SAFETY: touches no memory.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
        (nice, ringway::cpu_count())
    }
    // SAFETY: touches no memory.
    let ours = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) };
    let mut process = Process::new(settings, ()).nice(3).affinity([super::common::a_processor()]);
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), ((ours + 3).min(19), 1));
}

#[test]
fn what_cannot_be_set_up_is_told() {
    let mut process = Process::new(|| (), ()).affinity([1 << 30]);
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ProcessError::NotSetUp { .. })));
    let mut process = Process::new(|| (), ()).affinity([]);
    process.start().expect("starts");
    let error = process.result().expect_err("no processor is left");
    assert!(error.to_string().contains("processors"), "{error}");
}
