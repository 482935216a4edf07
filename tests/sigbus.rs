//! C2: a named queue's file that is cut under those who use it. With the guard it is
//! `Corrupt`, without it SIGBUS; a SIGBUS that has nothing to do with queues goes its
//! way as before. The files of anonymous queues cannot be cut.

#![allow(unsafe_code)]

mod common;
#[path = "common/shared.rs"]
mod shared;

use common::{MODES, Role, Sandbox, hear, tell, until_asleep};
use ringway::{GetError, Options, PodQueue, PutError};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[("user", role_user), ("stranger", role_stranger)];

const PAGE: u64 = 4096;

/// With sixteen bytes a message the slots fill pages of their own.
const CAPACITY: u64 = 8192;

type Message = [u64; 7];

fn open() -> PodQueue<Message> {
    PodQueue::open_with("q", Options::default()).expect("it was created")
}

/// Arguments: guarded or not, what to do.
fn role_user(arguments: &[String]) {
    if arguments[0] == "guarded" {
        ringway::sigbus_guard().expect("the system allows it");
        ringway::sigbus_guard().expect("twice is fine");
    }
    let queue = open();
    let other = PodQueue::<u64>::bounded(4).expect("another queue");
    let work = arguments[1].as_str();
    tell("ready");
    let is_corrupt = match work {
        "get" => queue.get() == Err(GetError::Corrupt),
        "put" => matches!(queue.put([1; 7]), Err(PutError::Corrupt(_))),
        // One that is not blocked when it happens, but touches every message soon.
        "work" => {
            hear();
            (0..4 * CAPACITY).any(|_| {
                let put = queue.put_timeout([1; 7], Duration::from_millis(200));
                let got = queue.get_timeout(Duration::from_millis(200));
                matches!(put, Err(PutError::Corrupt(_))) || got == Err(GetError::Corrupt)
            })
        }
        _ => panic!("no such work"),
    };
    assert!(is_corrupt, "it must end in Corrupt");
    tell("corrupt");
    // For good, for whoever is new on the same mapping too, and for nobody else.
    assert_eq!(queue.try_get(), Err(GetError::Corrupt));
    assert!(matches!(queue.try_put([1; 7]), Err(PutError::Corrupt(_))));
    assert_eq!((queue.len(), queue.is_closed()), (0, false));
    if let Ok(clone) = queue.try_clone() {
        assert_eq!(clone.try_get(), Err(GetError::Corrupt));
    }
    queue.close();
    other.put(3).expect("there is room");
    assert_eq!(other.get(), Ok(3));
}

fn slots_of(path: &Path) -> (u64, u64) {
    let bytes = std::fs::read(path).expect("it is there");
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let entry = (0..16).map(|region| 264 + 24 * region).find(|at| number(*at) as u32 == 4);
    let entry = entry.expect("every queue has slots");
    (number(entry + 8), number(entry + 16))
}

/// Cuts the file of a queue that is empty or full three quarters on, and says how the
/// user ended.
fn cut(mode: (ringway::Side, ringway::Side), guarded: &str, work: &str, at: Cut) -> std::process::ExitStatus {
    let sandbox = Sandbox::new();
    let options = sandbox.mode(CAPACITY, mode).lifetime(ringway::Lifetime::Persistent);
    let queue = PodQueue::<Message>::create("q", options).expect("a free name");
    for _ in 0..CAPACITY * 3 / 4 {
        queue.put([0; 7]).expect("there is room");
        queue.get().expect("it was put");
    }
    if work == "put" {
        (0..CAPACITY).for_each(|_| queue.put([0; 7]).expect("there is room"));
    }
    drop(queue);
    let file = std::fs::OpenOptions::new().write(true).open(sandbox.file("q")).expect("it is there");
    let (start, len) = slots_of(&sandbox.file("q"));
    let mut user = sandbox.child("user", &[guarded, work]);
    user.expect("ready");
    if work != "work" {
        until_asleep(user.pid(), user.pid() as i32);
    }
    let started = Instant::now();
    file.set_len(at(start, len) / PAGE * PAGE).expect("it can be cut");
    if work == "work" {
        user.tell("go");
    }
    if guarded == "guarded" {
        user.expect("corrupt");
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    let (status, _) = user.end();
    std::fs::remove_file(sandbox.file("q")).expect("it is there");
    status
}

/// Where to cut, by where the slots start and how long they are.
type Cut = fn(u64, u64) -> u64;

const CUTS: [(&str, Cut); 3] =
    [("to nothing", |_, _| 0), ("to a page", |_, _| PAGE), ("in the middle", |start, len| start + len / 2)];

/// Whether who does this there comes across the cut. Room is made by a Single consumer
/// in the ring's own words: a put that waits for it does not look at the slots.
fn notices((_, consumers): (ringway::Side, ringway::Side), name: &str, work: &str) -> bool {
    (name, work) != ("in the middle", "put") || consumers == ringway::Side::Multi
}

#[test]
fn with_the_guard_a_cut_file_is_corrupt() {
    for mode in MODES {
        for (name, at) in CUTS {
            for work in ["get", "put", "work"].into_iter().filter(|work| notices(mode, name, work)) {
                let status = cut(mode, "guarded", work, at);
                assert!(status.success(), "{mode:?}, cut {name}, {work}: {status}");
            }
        }
    }
}

/// What the guard is for; and the proof that these tests cut what matters.
#[test]
fn without_the_guard_it_is_fatal() {
    for mode in [MODES[0], MODES[3]] {
        for (name, at) in CUTS {
            for work in ["get", "put", "work"].into_iter().filter(|work| notices(mode, name, work)) {
                let status = cut(mode, "unguarded", work, at);
                assert_eq!(status.signal(), Some(libc::SIGBUS), "{mode:?}, cut {name}, {work}");
            }
        }
    }
}

// ---- other faults ----

extern "C" fn plain(signal: i32) {
    // SAFETY: ends the process.
    unsafe { libc::_exit(if signal == libc::SIGBUS { 41 } else { 40 }) }
}

extern "C" fn with_information(signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the guard hands on what the kernel gave it; ends the process.
    unsafe {
        let is_whole = signal == libc::SIGBUS && !(*info).si_addr().is_null() && !context.is_null();
        libc::_exit(if is_whole { 42 } else { 40 });
    }
}

/// Arguments: the handler that was there before, and how SIGBUS comes about.
fn role_stranger(arguments: &[String]) {
    // SAFETY: valid as zeros, and then an action of the kind that its flags say.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        match arguments[0].as_str() {
            "plain" => action.sa_sigaction = plain as extern "C" fn(i32) as usize,
            "information" => {
                let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = with_information;
                (action.sa_sigaction, action.sa_flags) = (handler as usize, libc::SA_SIGINFO);
            }
            "ignored" => action.sa_sigaction = libc::SIG_IGN,
            _ => action.sa_sigaction = libc::SIG_DFL,
        }
        assert_eq!(libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()), 0);
    }
    let _queues: Vec<_> = (0..70).map(|_| PodQueue::<u64>::bounded(1).expect("a queue")).collect();
    ringway::sigbus_guard().expect("the system allows it");
    if arguments[1] == "sent" {
        // SAFETY: touches no memory.
        unsafe { libc::raise(libc::SIGBUS) };
    } else {
        let file = tempfile::tempfile_in("/dev/shm").expect("a file");
        file.set_len(PAGE).expect("a page");
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a fresh mapping, whose file then loses its page: the access faults.
        unsafe {
            let at = libc::mmap(std::ptr::null_mut(), 4096, access, libc::MAP_SHARED, file.as_raw_fd(), 0);
            assert_ne!(at, libc::MAP_FAILED);
            file.set_len(0).expect("none");
            at.cast::<u8>().read_volatile();
        }
    }
    std::process::exit(43);
}

#[test]
fn other_faults_go_to_who_was_asked_before() {
    let sandbox = Sandbox::new();
    let code = |before: &str, how: &str| {
        let (status, _) = sandbox.child("stranger", &[before, how]).end();
        (status.code(), status.signal())
    };
    for how in ["fault", "sent"] {
        assert_eq!(code("plain", how), (Some(41), None), "{how}");
        assert_eq!(code("default", how), (None, Some(libc::SIGBUS)), "{how}");
    }
    assert_eq!(code("information", "fault"), (Some(42), None));
    assert_eq!(code("ignored", "sent"), (Some(43), None), "it was ignored");
    assert_eq!(code("ignored", "fault"), (None, Some(libc::SIGBUS)), "a fault cannot be ignored");
}

#[test]
fn an_anonymous_queue_cannot_be_cut() {
    let _sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::bounded(64).expect("a queue");
    let links = std::fs::read_dir("/proc/self/fd").expect("/proc is there").flatten();
    let is_ours = |link: &std::fs::DirEntry| {
        std::fs::read_link(link.path()).is_ok_and(|target| target.to_string_lossy().starts_with("/memfd:ringway"))
    };
    let paths: Vec<_> = links.filter(is_ours).map(|link| link.path()).collect();
    assert!(!paths.is_empty(), "the queue has a descriptor");
    for path in paths {
        let file = std::fs::OpenOptions::new().read(true).write(true).open(path).expect("it can be opened again");
        let len = file.metadata().expect("a file").len();
        for wanted in [0, PAGE, len - PAGE, len + PAGE] {
            let refused = file.set_len(wanted).expect_err("the size is sealed");
            assert_eq!(refused.raw_os_error(), Some(libc::EPERM), "{wanted} of {len}");
        }
        // SAFETY: touches no memory.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        let wanted = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        assert_eq!(seals & wanted, wanted);
    }
    queue.put(1).expect("there is room");
    assert_eq!(queue.get(), Ok(1));
}
