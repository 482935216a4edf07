//! Who ends whom, and what is left: nothing.

use super::common::{Piped, until};
use ringway::{ExitStatus, Process, active_children};
use std::time::{Duration, Instant};

fn say(what: impl std::fmt::Display) {
    println!("{what}");
}

fn start<R: serde::Serialize + serde::de::DeserializeOwned + 'static>(mut process: Process<R>) -> Process<R> {
    process.start().expect("starts");
    process
}

fn sleep_long() {
    std::thread::sleep(Duration::from_secs(40));
}

fn ignore(signal: i32) {
    // SAFETY: no handler of ours runs.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

// ---- the parent exits ----

#[test]
fn at_a_normal_exit_children_are_waited_for_and_daemons_end() {
    fn parent(exits: bool) {
        let slow = || {
            std::thread::sleep(Duration::from_millis(200));
            say("slow is done");
        };
        // The handles are dropped: that ends nobody.
        start(Process::new(slow, ()));
        start(Process::new(sleep_long, ()).daemon(true));
        if exits {
            std::process::exit(0);
        }
    }
    for exits in [false, true] {
        let mut out = Piped::new();
        let begun = Instant::now();
        let process = start(Process::new(parent, (exits,)).stdout(out.writer()));
        assert_eq!(out.rest(), "slow is done\n");
        assert!(process.join().expect("joins").success());
        assert!(begun.elapsed() < Duration::from_secs(30), "the daemon was not waited for");
    }
}

#[test]
fn a_daemon_that_does_not_want_to_end_is_killed() {
    fn parent() {
        fn stubborn(ready: ringway::Producer<ringway::Pod<u8>>) {
            ignore(libc::SIGTERM);
            ready.put(1).expect("there is room");
            sleep_long();
        }
        let queue = ringway::PodQueue::<u8>::bounded(1).expect("a queue");
        start(Process::new(stubborn, (queue.producer().expect("an end"),)).daemon(true));
        queue.get().expect("it is there");
    }
    let mut out = Piped::new();
    let begun = Instant::now();
    let process = start(Process::new(parent, ()).stdout(out.writer()));
    assert_eq!(out.rest(), "");
    assert!(process.join().expect("joins").success());
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn who_outlives_its_parent_goes_on() {
    fn parent(dies: bool) {
        let patient = || {
            while ringway::parent_process().expect("it had one").is_alive() {
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(700));
            say("alone");
        };
        start(Process::new(patient, ()).outlives_parent(true));
        if dies {
            std::process::abort();
        }
    }
    for dies in [false, true] {
        let mut out = Piped::new();
        let process = start(Process::new(parent, (dies,)).stdout(out.writer()));
        process.join().expect("joins");
        assert_eq!(out.rest(), "alone\n", "dies: {dies}");
    }
}

// ---- the parent dies ----

fn family(ignores: bool) {
    fn child(ignores: bool) {
        if ignores {
            ignore(libc::SIGTERM);
        }
        let _grandchild = start(Process::new(sleep_long, ()));
        say("there");
        sleep_long();
    }
    start(Process::new(child, (ignores,)));
    start(Process::new(child, (ignores,)).daemon(true));
    sleep_long();
}

#[test]
fn when_the_parent_is_killed_all_end() {
    for ignores in [false, true] {
        let mut out = Piped::new();
        let process = start(Process::new(family, (ignores,)).stdout(out.writer()));
        assert_eq!([out.line(), out.line()], ["there", "there"]);
        let killed = Instant::now();
        process.kill().expect("kills");
        assert_eq!(out.rest(), "", "the pipe ends with the last of them");
        // Half a second later those who do not listen, and then their children. They sleep for 40 s.
        assert!(killed.elapsed() < Duration::from_secs(20), "killed.elapsed() is {:?}", killed.elapsed());
        assert_eq!(process.join().expect("joins"), ExitStatus::Signaled(libc::SIGKILL));
    }
}

#[test]
fn a_child_that_has_closed_all_descriptors_still_learns_of_it() {
    fn parent() {
        let child = || {
            // SAFETY: what ringway keeps is checked before each use; nobody else here has any.
            unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) };
            say("closed");
            sleep_long();
        };
        start(Process::new(child, ()));
        sleep_long();
    }
    let mut out = Piped::new();
    let process = start(Process::new(parent, ()).stdout(out.writer()));
    assert_eq!(out.line(), "closed");
    let killed = Instant::now();
    process.kill().expect("kills");
    assert_eq!(out.rest(), "");
    assert!(killed.elapsed() < Duration::from_secs(20), "killed.elapsed() is {:?}", killed.elapsed());
}

/// What the kernel offers instead (`PR_SET_PDEATHSIG`) takes the one for the other.
#[test]
fn the_end_of_the_thread_that_started_it_is_no_death() {
    let queue = ringway::PodQueue::<u8>::bounded(1).expect("a queue");
    for warm in [false, true] {
        let (from, to) = (queue.consumer().expect("an end"), queue.producer().expect("an end"));
        let answer = |from: ringway::Consumer<ringway::Pod<u8>>| from.get().map_err(|error| error.to_string());
        let started = std::thread::spawn(move || start(Process::new(answer, (from,)).warm(warm)));
        let process = started.join().expect("no panic");
        // The thread is gone, and some time goes by.
        assert!(!process.join_timeout(Duration::from_millis(50)).expect("waits"));
        to.put(1).expect("there is room");
        assert_eq!(process.result().expect("returns"), Ok(1));
    }
}

// ---- signals ----

/// A group of its own, as the shell gives a job.
fn interrupted(handles: bool) {
    extern "C" fn count(_: i32) {
        // SAFETY: one system call, of a local.
        unsafe { libc::write(1, b"once\n".as_ptr().cast(), 5) };
    }
    fn listen(handles: bool) {
        if handles {
            // SAFETY: the handler makes one system call.
            unsafe { libc::signal(libc::SIGINT, count as extern "C" fn(i32) as libc::sighandler_t) };
        }
    }
    fn member(handles: bool, ready: ringway::Producer<ringway::Pod<u8>>) {
        listen(handles);
        ready.put(1).expect("there is room");
        loop {
            std::thread::sleep(Duration::from_secs(10));
        }
    }
    // SAFETY: touches no memory. Whoever started the tests in the background has them ignore it.
    unsafe {
        assert_eq!(libc::setpgid(0, 0), 0);
        libc::signal(libc::SIGINT, libc::SIG_DFL);
    }
    let queue = ringway::PodQueue::<u8>::bounded(2).expect("a queue");
    for _ in 0..2 {
        start(Process::new(member, (handles, queue.producer().expect("an end"))));
    }
    queue.get().expect("one is there");
    queue.get().expect("both are there");
    listen(handles);
    say("ready");
    loop {
        std::thread::sleep(Duration::from_secs(10));
    }
}

#[test]
fn an_interrupt_from_the_terminal_reaches_everybody_once() {
    for handles in [false, true] {
        let (mut out, mut err) = (Piped::new(), Piped::new());
        let process = start(Process::new(interrupted, (handles,)).stdout(out.writer()).stderr(err.writer()));
        assert_eq!(out.line(), "ready");
        let group = process.pid().expect("started") as i32;
        // What the terminal does.
        // SAFETY: touches no memory; the process is not reaped yet, so the number is its own.
        assert_eq!(unsafe { libc::kill(-group, libc::SIGINT) }, 0);
        if handles {
            assert_eq!([out.line(), out.line(), out.line()], ["once"; 3]);
            process.kill().expect("kills");
            process.join().expect("joins");
        } else {
            assert_eq!(process.join().expect("joins"), ExitStatus::Signaled(libc::SIGINT));
        }
        assert_eq!(out.rest(), "", "nobody was told twice");
        assert_eq!(err.rest(), "", "nobody complains");
    }
}

#[test]
fn a_child_can_be_terminated_whatever_its_parent_blocks() {
    let all = ringway_blocked();
    let process = start(Process::new(sleep_long, ()));
    process.terminate().expect("it can be ended");
    assert_eq!(process.join().expect("joins"), ExitStatus::Signaled(libc::SIGTERM));
    drop(all);
}

/// All signals are blocked in this thread while this lives.
fn ringway_blocked() -> impl Drop {
    struct Back(libc::sigset_t);
    impl Drop for Back {
        fn drop(&mut self) {
            // SAFETY: reads the mask.
            unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
        }
    }
    // SAFETY: fills the locals.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        Back(before)
    }
}

// ---- others who reap ----

fn endings() -> Vec<ExitStatus> {
    let returns = start(Process::new(|| 1, ()));
    let panics = start(Process::new(|| -> () { panic!("told") }, ()).stderr(ringway::Stream::Null));
    let killed = start(Process::new(sleep_long, ()));
    killed.kill().expect("kills");
    let mut all = vec![returns.join().expect("joins")];
    assert_eq!(returns.result().expect("returns"), 1);
    all.push(match panics.join().expect("joins") {
        ExitStatus::Panicked { message, .. } => ExitStatus::Panicked { message, location: None },
        other => other,
    });
    all.push(killed.join().expect("joins"));
    all
}

fn shown(all: Vec<ExitStatus>) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn where_sigchld_is_ignored_the_reply_says_how_they_ended() {
    fn parent() -> Vec<String> {
        ignore(libc::SIGCHLD);
        shown(endings())
    }
    let process = start(Process::new(parent, ()));
    let expected = ["exited with code 0", "panicked: told", "ended, nobody knows how"];
    assert_eq!(process.result().expect("returns"), expected);
}

#[test]
fn where_somebody_waits_for_any_child_nobody_hangs() {
    fn parent() -> Vec<String> {
        std::thread::spawn(|| {
            loop {
                // SAFETY: writes nothing.
                unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
            }
        });
        let mut seen = Vec::new();
        for _ in 0..20 {
            seen.extend(shown(endings()));
        }
        seen.sort();
        seen.dedup();
        seen
    }
    let process = start(Process::new(parent, ()));
    let possible =
        ["exited with code 0", "panicked: told", "ended, nobody knows how", "was ended by signal 9 (SIGKILL)"];
    for said in process.result().expect("returns") {
        assert!(possible.contains(&said.as_str()), "{said}");
    }
}

// ---- nothing is left ----

#[test]
fn children_whose_handles_are_gone_do_not_stay_as_zombies() {
    fn parent() -> usize {
        for _ in 0..10 {
            start(Process::new(|| (), ()));
        }
        // Nobody asks for them: the thread that watches deaths reaps.
        let children = || std::fs::read_to_string("/proc/thread-self/children").expect("/proc is there");
        until("they are reaped", || children().is_empty());
        active_children().len()
    }
    let process = start(Process::new(parent, ()));
    assert_eq!(process.result().expect("returns"), 0);
}

#[test]
fn only_what_was_declared_is_open_in_a_child() {
    fn descriptors() -> Vec<(u32, String)> {
        let entries = std::fs::read_dir("/proc/self/fd").expect("/proc is there").flatten();
        let number = |entry: &std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
        let link = |entry: &std::fs::DirEntry| Some(std::fs::read_link(entry.path()).ok()?.display().to_string());
        let mut found: Vec<(u32, String)> =
            entries.filter_map(|entry| Some((number(&entry)?, link(&entry)?))).collect();
        found.retain(|(number, link)| *number > 2 && !link.ends_with("/fd"));
        found.sort();
        found
    }
    // One that would be inherited by others.
    let file = std::fs::File::open("/proc/version").expect("/proc is there");
    // SAFETY: touches no memory.
    assert!(unsafe { libc::fcntl(std::os::fd::AsRawFd::as_raw_fd(&file), libc::F_SETFD, 0) } == 0);
    // And of the family: others are alive, a queue goes along.
    let other = start(Process::new(sleep_long, ()));
    let queue = ringway::PodQueue::<u8>::bounded(1).expect("a queue");
    for warm in [false, true] {
        let with = |_: ringway::Producer<ringway::Pod<u8>>| descriptors();
        let process = start(Process::new(with, (queue.producer().expect("an end"),)).warm(warm));
        let found = process.result().expect("returns");
        let count = |kind: &str| found.iter().filter(|(_, link)| link.contains(kind)).count();
        // Of its parent two, for the thread and for `parent_process`; the queue's own.
        assert_eq!((count("pidfd"), count("rw-reply"), count("memfd:ringway")), (2, 1, 1), "{found:?}");
        assert_eq!(found.len(), 4, "{found:?}");
    }
    other.kill().expect("kills");
}

/// Starts from 8 threads, 10,000 with the release profile: nothing is left of them.
#[test]
fn many_starts_from_many_threads_leave_nothing() {
    fn parent(rounds: u32) -> (usize, usize, String) {
        let open = || std::fs::read_dir("/proc/self/fd").expect("/proc is there").count();
        let queue = ringway::Queue::<u32>::bounded(64).expect("a queue");
        // What is there once is there from now on.
        start(Process::new(|| (), ())).join().expect("joins");
        let before = open();
        let threads: Vec<_> = (0..8)
            .map(|thread| {
                let queue = queue.try_clone().expect("a handle");
                std::thread::spawn(move || {
                    for round in 0..rounds {
                        let end = queue.producer().expect("an end");
                        let number = thread * rounds + round;
                        let process = start(Process::new(
                            |to: ringway::Producer<ringway::Serde<u32>>, n: u32| to.put(n).map_err(|e| e.to_string()),
                            (end, number),
                        ));
                        process.result().expect("returns").expect("it could put");
                    }
                })
            })
            .collect();
        let mut seen: Vec<u32> = (0..8 * rounds).map(|_| queue.get().expect("it comes")).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
        seen.sort_unstable();
        assert_eq!(seen, (0..8 * rounds).collect::<Vec<_>>());
        until("they are reaped", || active_children().is_empty());
        until("their places are free", || queue.participants() == 1);
        drop(queue);
        // The thread that has watched them closes what it had; the queue's was there before.
        until("their descriptors are closed", || open() < before);
        let zombies = std::fs::read_to_string("/proc/thread-self/children").expect("/proc is there");
        (before, open() + 1, zombies)
    }
    let rounds = if cfg!(debug_assertions) { 125 } else { 1250 };
    let process = start(Process::new(parent, (rounds,)));
    let (before, after, zombies) = process.result().expect("returns");
    assert!(after <= before, "{before} descriptors before, {after} after");
    assert_eq!(zombies, "");
}
