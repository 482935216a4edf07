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
use std::collections::BTreeSet;
use std::io::{PipeReader, Read};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

ringway::test_support!();

#[path = "common/limit.rs"]
mod limit;

/// Steps of one start, more than there are.
const MOST_STEPS: u32 = 5000;

fn starter(go: Consumer<Pod<u8>>, end: Producer<Pod<u8>>, warm: bool) -> String {
    go.get().expect("the test says when");
    let child = Process::new(|end: Producer<Pod<u8>>| end.put(1).map_err(|e| e.to_string()), (end,));
    let mut child = child.warm(warm);
    match child.start() {
        Ok(()) => child.join().expect("the child ends").to_string(),
        Err(error) => error.to_string(),
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Victim {
    /// Who starts a child that is executed.
    Parent,
    Child,
    /// Who starts a child by a fork server.
    ParentOfCopy,
    Server,
    /// The server's copy.
    Copy,
}

impl Victim {
    fn is_warm(self) -> bool {
        !matches!(self, Victim::Parent | Victim::Child)
    }
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

/// The processes of one start.
struct Cast {
    starter: i32,
    /// The child, or the server.
    executed: Option<i32>,
    copy: Option<i32>,
}

impl Cast {
    fn victim(&self, victim: Victim) -> Option<i32> {
        match victim {
            Victim::Parent | Victim::ParentOfCopy => Some(self.starter),
            Victim::Child | Victim::Server => self.executed,
            Victim::Copy => self.copy,
        }
    }

    fn has(&self, pid: i32) -> bool {
        [Some(self.starter), self.executed, self.copy].contains(&Some(pid))
    }

    /// A process more: whether its steps matter.
    fn joined_by(&mut self, pid: i32, event: i32, victim: Victim) -> bool {
        let place = match (event, victim) {
            (libc::PTRACE_EVENT_VFORK, Victim::Child | Victim::Server | Victim::Copy) => &mut self.executed,
            (libc::PTRACE_EVENT_FORK, Victim::Copy) => &mut self.copy,
            _ => return false,
        };
        // Of those only the first: the second server is left in peace.
        place.is_none() && place.replace(pid).is_none()
    }
}

/// Runs what is traced until all of it has ended. `victim` is killed at step `at`.
fn trace(starter: i32, victim: Victim, at: u32) -> bool {
    let mut cast = Cast { starter, executed: None, copy: None };
    let (mut steps, mut killed, mut living) = (0, false, 1);
    // Of a new process two things are told, in any order: that it has stopped, and whose it is.
    let (mut stopped, mut strangers) = (BTreeSet::new(), BTreeSet::new());
    // One whose maker was killed just then has yet to stop, and is to be let go of.
    while living > 0 || !strangers.is_empty() {
        let (pid, status) = wait(-1);
        if pid < 0 {
            break;
        }
        if !libc::WIFSTOPPED(status) {
            strangers.remove(&pid);
            living -= u32::from(cast.has(pid));
            continue;
        }
        let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
        if event == libc::PTRACE_EVENT_VFORK || event == libc::PTRACE_EVENT_FORK {
            let mut number: libc::c_ulong = 0;
            // SAFETY: writes to the local.
            unsafe { libc::ptrace(libc::PTRACE_GETEVENTMSG, pid, 0, &raw mut number) };
            let new = i32::try_from(number).expect("a process id");
            let matters = cast.joined_by(new, event, victim);
            living += u32::from(matters);
            match (stopped.remove(&new), matters) {
                (true, true) => _ = ptrace(libc::PTRACE_SYSCALL, new, 0),
                (true, false) => _ = ptrace(libc::PTRACE_DETACH, new, 0),
                (false, true) => {}
                (false, false) => _ = strangers.insert(new),
            }
        } else if !cast.has(pid) {
            if strangers.remove(&pid) {
                ptrace(libc::PTRACE_DETACH, pid, 0);
            } else {
                stopped.insert(pid);
            }
            continue;
        }
        let is_step = event == libc::PTRACE_EVENT_VFORK
            || event == libc::PTRACE_EVENT_FORK
            || (signal == libc::SIGTRAP | 0x80 && is_beginning(pid));
        if is_step && cast.victim(victim) == Some(pid) {
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
    for pid in stopped {
        ptrace(libc::PTRACE_DETACH, pid, 0);
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

fn rest(mut reader: PipeReader) -> String {
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("a pipe can be read");
    rest
}

fn run(victim: Victim, at: u32) -> Course {
    let go = PodQueue::<u8>::bounded(1).expect("a queue");
    let queue = PodQueue::<u8>::with_options(Options::new(4).peers_gone(true)).expect("a queue");
    let (all_ended, inherited) = std::io::pipe().expect("a pipe");
    let ends = (go.consumer().expect("an end"), queue.producer().expect("an end"), victim.is_warm());
    let mut process = Process::new(starter, ends).stdout(inherited);
    process.start().expect("starts");
    let pid = process.pid().expect("started") as i32;
    // Threads are not traced.
    let events = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACEVFORK | libc::PTRACE_O_TRACEFORK;
    let options = i64::from(events | libc::PTRACE_O_EXITKILL);
    assert!(ptrace(libc::PTRACE_SEIZE, pid, options), "{}", std::io::Error::last_os_error());
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
    // The thread that has watched them closes what it had.
    let patience = Instant::now();
    while descriptors() > before {
        assert!(patience.elapsed() < Duration::from_secs(60), "{before} descriptors before, {} after", descriptors());
        std::thread::sleep(Duration::from_millis(1));
    }
    println!("{victim:?}: {} steps in {:?}", courses.len() - 1, begun.elapsed());
    courses
}

fn the_parent_is(victim: Victim) {
    let courses = at_every_step(victim);
    assert!(courses.len() > 50, "{}", courses.len());
    // Killed early it has started nobody; killed late its child had put the message.
    assert_eq!(courses.first().map(|course| course.messages), Some(0));
    assert_eq!(courses.last().map(|course| course.messages), Some(1));
}

fn the_child_is(victim: Victim) {
    let courses = at_every_step(victim);
    assert!(courses.len() > 50, "{}", courses.len());
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

#[test]
fn the_parent_is_killed_at_every_step() {
    the_parent_is(Victim::Parent);
}

#[test]
fn the_child_is_killed_at_every_step() {
    the_child_is(Victim::Child);
}

#[test]
fn the_parent_of_a_copy_is_killed_at_every_step() {
    the_parent_is(Victim::ParentOfCopy);
}

#[test]
fn a_copy_is_killed_at_every_step() {
    the_child_is(Victim::Copy);
}

/// Nobody notices: another server is started, and a copy that nobody knows of does not begin.
#[test]
fn the_server_is_killed_at_every_step() {
    let courses = at_every_step(Victim::Server);
    assert!(courses.len() > 50, "{}", courses.len());
    for (course, at) in courses.iter().zip(1..) {
        assert_eq!((course.told.as_deref(), course.messages), (Some("exited with code 0"), 1), "at {at}");
    }
}
