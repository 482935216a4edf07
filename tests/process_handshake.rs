//! A start, of which the parent or the child is killed at every step.
//!
//! A step is the beginning of a system call: between two of them nothing is done that another
//! process could see, but for what is written to shared memory, which has its own tests (`kill_points`).
//! Those that set the action of a signal are not counted: nobody sees that either.
//! The test traces a *starter*, which starts a child with an end of a queue; the other end is
//! the test's. Whoever is killed: the others go on, all descriptors and places are free again, the
//! message of the child arrives once or not at all.

#![allow(unsafe_code)]

use ringway::{Consumer, ExitStatus, GetError, Options, Pod, PodQueue, Process, Producer};
use std::io::{PipeReader, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

ringway::test_support!();

/// Steps of one start, more than there are.
const MOST_STEPS: u32 = 5000;

fn starter(go: Consumer<Pod<u8>>, end: Producer<Pod<u8>>) -> String {
    go.get().expect("the test says when");
    let mut child = Process::new(|end: Producer<Pod<u8>>| end.put(1).map_err(|e| e.to_string()), (end,));
    match child.start() {
        Ok(()) => child.join().expect("the child ends").to_string(),
        Err(error) => error.to_string(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    Parent,
    Child,
}

/// What came of one start whose victim was killed at its nth step.
struct Course {
    /// It has come that far.
    killed: bool,
    /// What the starter said of its child, if it lived.
    told: Option<String>,
    messages: u32,
}

fn wait(pid: i32) -> (i32, i32) {
    let mut status = 0;
    // SAFETY: writes to the local. Only what this thread has started or traces.
    let pid = unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL | libc::__WNOTHREAD) };
    (pid, status)
}

fn ptrace(request: libc::c_uint, pid: i32, data: i64) -> bool {
    // SAFETY: none of the requests here touches memory of ours.
    unsafe { libc::ptrace(request, pid, 0, data) == 0 }
}

/// Runs what is traced until all of it has ended. `victim` is killed at step `at`.
fn trace(starter: i32, victim: Victim, at: u32) -> bool {
    let (mut child, mut steps, mut killed) = (None, 0, false);
    let mut living = 1;
    while living > 0 {
        let (pid, status) = wait(-1);
        if pid < 0 {
            break;
        }
        if !libc::WIFSTOPPED(status) {
            if pid == starter || Some(pid) == child {
                living -= 1;
            }
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if event == libc::PTRACE_EVENT_VFORK {
            let mut number: libc::c_ulong = 0;
            // SAFETY: writes to the local.
            unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, &raw mut number) };
            child = i32::try_from(number).ok();
            living += 1;
        }
        let is_process = pid == starter || Some(pid) == child || child.is_none();
        if !is_process || (event == libc::PTRACE_EVENT_STOP && pid != starter && victim == Victim::Parent) {
            // A thread; or a child that is not the victim.
            if Some(pid) == child {
                living -= 1;
            }
            ptrace(libc::PTRACE_DETACH, pid, 0);
            continue;
        }
        let is_victim = (pid == starter) == (victim == Victim::Parent);
        let is_step = event == libc::PTRACE_EVENT_VFORK || (signal == libc::SIGTRAP | 0x80 && is_beginning(pid));
        if is_victim && is_step && child_or_parent(victim, child) {
            steps += 1;
            if steps == at {
                killed = true;
                // SAFETY: a tracee that has not been reaped, so the number is its own.
                unsafe { libc::kill(pid, libc::SIGKILL) };
                continue;
            }
        }
        let passed = if event == 0 && signal != libc::SIGTRAP | 0x80 && signal != libc::SIGTRAP { signal } else { 0 };
        ptrace(libc::PTRACE_SYSCALL, pid, passed.into());
    }
    killed
}

/// Whether the tracee is about to make a system call, one that counts.
fn is_beginning(pid: i32) -> bool {
    // SAFETY: plain data.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    // SAFETY: the kernel writes at most so many bytes.
    let known = unsafe { libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, &raw mut info) } > 0;
    // SAFETY: `op` says that the entry is there.
    known && info.op == libc::PTRACE_SYSCALL_INFO_ENTRY && unsafe { info.u.entry.nr } != libc::SYS_rt_sigaction as u64
}

fn child_or_parent(victim: Victim, child: Option<i32>) -> bool {
    victim == Victim::Parent || child.is_some()
}

fn rest(mut reader: PipeReader) -> String {
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("a pipe can be read");
    rest
}

fn run(victim: Victim, at: u32) -> Course {
    let go = PodQueue::<u8>::bounded(1).expect("a queue");
    let queue = PodQueue::<u8>::with_options(Options::new(4).peers_gone(true)).expect("a queue");
    let (all_ended, inherited) = std::io::pipe().expect("a pipe");
    let ends = (go.consumer().expect("an end"), queue.producer().expect("an end"));
    let mut process = Process::new(starter, ends).stdout(inherited);
    process.start().expect("starts");
    let pid = process.pid().expect("started") as i32;
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    assert!(ptrace(libc::PTRACE_SEIZE, pid, options.into()), "{}", std::io::Error::last_os_error());
    assert!(ptrace(libc::PTRACE_INTERRUPT, pid, 0));
    let from = queue.consumer().expect("an end");
    drop(queue);
    go.put(1).expect("there is room");
    let killed = trace(pid, victim, at);
    // The pipe ends with the last process that has inherited it.
    assert_eq!(rest(all_ended), "");
    let mut messages = 0;
    loop {
        // Now, instead of within a slice.
        from.recover().expect("it can look");
        match from.get_timeout(Duration::from_secs(60)) {
            Ok(message) => messages += u32::from(message),
            Err(GetError::PeersGone) => break,
            Err(other) => panic!("{victim:?} at {at}: {other}"),
        }
    }
    assert_eq!(from.participants(), 1);
    Course { killed, told: process.result().ok(), messages }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc is there").count()
}

fn at_every_step(victim: Victim) -> Vec<Course> {
    /// Both count descriptors.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What is there once is there from now on.
    run(victim, MOST_STEPS);
    let (before, begun) = (descriptors(), Instant::now());
    let mut courses = Vec::new();
    for at in 1..MOST_STEPS {
        let course = run(victim, at);
        assert!(course.messages <= 1, "{victim:?} at {at}");
        let is_last = !course.killed;
        courses.push(course);
        if is_last {
            break;
        }
    }
    assert!(descriptors() <= before, "{before} descriptors before, {} after", descriptors());
    println!("{victim:?}: {} steps in {:?}", courses.len() - 1, begun.elapsed());
    courses
}

#[test]
fn the_parent_is_killed_at_every_step() {
    let courses = at_every_step(Victim::Parent);
    assert!(courses.len() > 50, "{}", courses.len());
    assert!(courses.iter().rev().skip(1).all(|course| course.told.is_none() || course.messages == 1));
    // Killed early it has started nobody; killed late its child had put the message.
    assert_eq!(courses.first().map(|course| course.messages), Some(0));
    assert_eq!(courses.last().map(|course| course.messages), Some(1));
}

#[test]
fn the_child_is_killed_at_every_step() {
    let courses = at_every_step(Victim::Child);
    assert!(courses.len() > 100, "{}", courses.len());
    for (course, at) in courses.iter().zip(1..) {
        // The parent is told how, always.
        let told = course.told.as_deref().unwrap_or_else(|| panic!("at {at} the parent was not told"));
        let expected = [ExitStatus::Signaled(libc::SIGKILL), ExitStatus::Exited(0)].map(|status| status.to_string());
        assert!(expected.iter().any(|expected| expected == told), "at {at}: {told}");
        assert!(course.messages == 1 || told == expected[0], "at {at}: {told}, and no message");
    }
    assert_eq!(courses.first().map(|course| course.messages), Some(0));
    assert_eq!(courses.last().map(|course| course.messages), Some(1));
}
