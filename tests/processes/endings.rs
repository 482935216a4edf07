//! However a child ends, its parent is told, and lives on.

use super::common::Piped;
use ringway::{ExitStatus, Process, ProcessError};
use serde::{Deserialize, Serialize};

fn ending<A>(f: fn(A), argument: A) -> ExitStatus
where
    A: Serialize + serde::de::DeserializeOwned + Send + 'static,
{
    let mut process = Process::by_pointer(f, argument).stderr(ringway::Stream::Null);
    process.start().expect("starts");
    let status = process.join().expect("joins");
    if !status.success() {
        match process.result() {
            Err(ProcessError::NoResult { status: told }) => assert_eq!(told, status),
            other => panic!("{other:?}"),
        }
    }
    status
}

#[test]
fn exits_are_told() {
    assert_eq!(ending(|code| std::process::exit(code), 3), ExitStatus::Exited(3));
    assert_eq!(ending(|()| std::process::abort(), ()), ExitStatus::Signaled(libc::SIGABRT));
    // A function that exits with 0 has not returned either.
    let mut process = Process::new(|| std::process::exit(0), ());
    process.start().expect("starts");
    assert_eq!(process.join().expect("joins"), ExitStatus::Exited(0));
    assert!(matches!(process.result(), Err::<(), _>(ProcessError::NoResult { .. })));
    // SAFETY: as any C library's function may be called.
    assert_eq!(ending(|code| unsafe { libc::_exit(code) }, 101), ExitStatus::Exited(101));
}

#[test]
fn signals_are_told() {
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGTERM, libc::SIGPIPE] {
        let raise = |signal: i32| {
            // SAFETY: the default action ends this process, which is what is wanted.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        };
        assert_eq!(ending(raise, signal), ExitStatus::Signaled(signal));
    }
}

#[test]
fn a_stack_that_overflows_is_told() {
    #[allow(unconditional_recursion)]
    fn deep(n: u64) -> u64 {
        std::hint::black_box([n; 64])[0] + deep(n + 1)
    }
    let status = ending(|n| _ = std::hint::black_box(deep(n)), 0);
    // Rust's own handler, where there is one, aborts.
    assert!(matches!(status, ExitStatus::Signaled(libc::SIGABRT | libc::SIGSEGV)), "{status}");
}

/// What the kernel's OOM killer does, as far as a parent can see, and a limit that is reached.
#[test]
fn a_child_without_memory_is_told() {
    let greedy = |limit: u64| {
        let limit = libc::rlimit { rlim_cur: limit, rlim_max: limit };
        // SAFETY: reads the local.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) }, 0);
        std::hint::black_box(vec![1_u8; 4 << 30]);
    };
    assert_eq!(ending(greedy, 1 << 30), ExitStatus::Signaled(libc::SIGABRT));
}

#[test]
fn panics_are_told_with_their_place_and_the_name_of_the_process() {
    let mut stderr = Piped::new();
    let mut process =
        Process::new(|n: u32| -> () { panic!("number {n}") }, (7,)).name("Panicky").stderr(stderr.writer());
    process.start().expect("starts");
    let said = stderr.rest();
    match process.join().expect("joins") {
        ExitStatus::Panicked { message, location } => {
            assert_eq!(message, "number 7");
            assert!(location.expect("is known").contains("endings.rs:"));
        }
        other => panic!("{other}"),
    }
    let first = said.lines().next().expect("it says something");
    assert!(first.starts_with(&format!("process 'Panicky' (pid {})", process.pid().expect("started"))), "{said}");
    assert!(said.contains("number 7"), "{said}");
    let error = process.result().expect_err("no result").to_string();
    assert!(error.contains("number 7") && error.contains("endings.rs"), "{error}");
}

#[test]
fn a_panic_behind_a_hook_of_the_users_is_told_without_its_place() {
    let mut process = Process::new(
        || -> () {
            std::panic::set_hook(Box::new(|_| {}));
            std::panic::panic_any(5)
        },
        (),
    );
    process.start().expect("starts");
    let expected = ExitStatus::Panicked { message: "(no text)".to_owned(), location: None };
    assert_eq!(process.join().expect("joins"), expected);
}

#[test]
fn a_panic_that_is_caught_is_nobodys_business() {
    let mut process = Process::new(
        || {
            let caught = std::panic::catch_unwind(|| panic!("caught")).is_err();
            let thread = std::thread::spawn(|| panic!("in a thread")).join().is_err();
            (caught, thread)
        },
        (),
    )
    .stderr(ringway::Stream::Null);
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), (true, true));
}

// ---- codecs ----

/// Fails to encode where it is told to, and to decode.
struct Stubborn {
    encodes: bool,
}

impl Serialize for Stubborn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.encodes { serializer.serialize_u8(1) } else { Err(serde::ser::Error::custom("I will not")) }
    }
}

impl<'de> Deserialize<'de> for Stubborn {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Stubborn, D::Error> {
        Err(serde::de::Error::custom("I will not"))
    }
}

#[test]
fn arguments_that_cannot_be_encoded_start_nothing() {
    let mut process = Process::new(|_: Stubborn| (), (Stubborn { encodes: false },));
    for _ in 0..2 {
        assert!(matches!(process.start(), Err(ProcessError::ArgumentsUnencodable { .. })));
    }
    assert!(process.pid().is_none());
}

#[test]
fn arguments_that_cannot_be_decoded_are_told() {
    let mut process = Process::new(|_: Stubborn| (), (Stubborn { encodes: true },));
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ProcessError::ArgumentsUndecodable { .. })));
    assert_eq!(process.join().expect("joins"), ExitStatus::Exited(1));
}

#[test]
fn results_that_cannot_be_encoded_or_decoded_are_told() {
    let mut process = Process::new(|| Stubborn { encodes: false }, ());
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ProcessError::ResultUnencodable { .. })));
    let mut process = Process::new(|| Stubborn { encodes: true }, ());
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ProcessError::ResultUndecodable { .. })));
    assert!(process.join().expect("joins").success());
}

#[test]
fn a_result_for_which_there_is_no_room_is_told() {
    let too_large = || {
        let limit = libc::rlimit { rlim_cur: 1 << 20, rlim_max: 1 << 20 };
        // SAFETY: reads the local; the signal is ignored, so writing fails instead.
        unsafe {
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
            libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
        }
        vec![1_u8; 4 << 20]
    };
    let mut process = Process::new(too_large, ());
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ProcessError::ResultUnencodable { .. })));
    assert_eq!(process.join().expect("joins"), ExitStatus::Exited(1));
}

// ---- starts that fail ----

#[test]
fn a_pointer_that_is_not_of_this_program_starts_nothing() {
    // SAFETY: never called here: it is only looked at where it lies.
    let foreign: fn(()) = unsafe { std::mem::transmute::<*const (), fn(())>(libc::getpid as *const ()) };
    let mut process = Process::by_pointer(foreign, ());
    assert!(matches!(process.start(), Err(ProcessError::NotThisProgram)));
}

/// In a process of its own, whose limit it is.
#[test]
fn without_descriptors_nothing_starts_and_nothing_is_lost() {
    fn short_of_descriptors(warm: bool) -> Vec<String> {
        let queue = ringway::Queue::<u32>::bounded(4).expect("a queue");
        let mut said = Vec::new();
        let mut process = Process::new(
            |to: ringway::Producer<ringway::Serde<u32>>| to.put(1).expect("there is room"),
            (queue.producer().expect("an end"),),
        )
        .warm(warm);
        let set = |most| {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: 4096 };
            // SAFETY: reads the local.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }, 0);
        };
        let open = || std::fs::read_dir("/proc/self/fd").expect("/proc is there").count() as u64;
        let before = open();
        for more in 0.. {
            set(before - 1 + more);
            match process.start() {
                Ok(()) => break,
                Err(ProcessError::System { source, .. }) => {
                    assert_eq!(source.raw_os_error(), Some(libc::EMFILE), "{source}");
                    said.push(source.to_string());
                }
                Err(ProcessError::Queue(error)) => {
                    let text = error.to_string();
                    let source = std::io::Error::from(error).kind();
                    assert_eq!(source, std::io::Error::from_raw_os_error(libc::EMFILE).kind(), "{text}");
                    said.push(text);
                }
                Err(other) => panic!("{other}"),
            }
            set(4096);
            assert_eq!(queue.participants(), 2, "those here, nobody for a child");
        }
        set(4096);
        assert!(process.join().expect("joins").success());
        assert_eq!(queue.get().expect("it has put"), 1);
        said
    }
    for warm in [false, true] {
        let mut process = Process::new(short_of_descriptors, (warm,));
        process.start().expect("starts");
        let said = process.result().expect("returns");
        assert!(said.len() > 2, "descriptors were short at several places: {said:?}");
    }
}

/// No processes are left, or the kernel refuses what a start needs; then there are some again.
#[test]
fn without_processes_nothing_starts_and_nothing_is_lost() {
    fn refused(call: i64, warm: bool) -> (bool, Option<i32>, usize) {
        let queue = ringway::Queue::<u32>::bounded(4).expect("a queue");
        let open = || std::fs::read_dir("/proc/self/fd").expect("/proc is there").count();
        let end = queue.producer().expect("an end");
        let mut process =
            Process::new(|to: ringway::Producer<ringway::Serde<u32>>| to.put(1).map_err(|e| e.to_string()), (end,));
        process = process.warm(warm);
        let before = open();
        if !super::refuse::refuse(call, libc::EAGAIN) {
            return (false, Some(libc::EAGAIN), 2);
        }
        let error = match process.start() {
            Err(ProcessError::System { source, .. }) => source.raw_os_error(),
            other => panic!("{other:?}"),
        };
        // One of ours for the children to come may be kept.
        assert!(open() <= before + 1, "{before} descriptors before, {} after", open());
        (true, error, queue.participants())
    }
    for warm in [false, true] {
        for call in [libc::SYS_clone, libc::SYS_memfd_create, libc::SYS_pidfd_open] {
            let mut process = Process::new(refused, (call, warm));
            process.start().expect("starts");
            let (could, error, participants) = process.result().expect("returns");
            if !could {
                println!("there are no filters of system calls here: skipped");
            }
            assert_eq!((error, participants), (Some(libc::EAGAIN), 2), "system call {call}, warm: {warm}");
        }
    }
}
