//! Who counts as alive (B1, B2, B4, B5, A11): a participant whose descriptors are closed
//! lives, and works; so does one whose first thread has ended; a dead one is dead, whoever has copies of its descriptors or was
//! forked from it; places of the dead are used again, without end; processes that have the
//! same number in namespaces of their own are not mistaken for each other.
//!
//! Not tested: a process that is killed and writes a core dump, or is in uninterruptible
//! sleep, is alive until that is over, for it may hold its memory until then (A10).

#![allow(unsafe_code)]

mod common;

use common::{Child, Role, Sandbox, hear, is_root, tell};
use ringway::admin::{self, Life};
use ringway::{GetError, Options, Plain, PodQueue, PutError, SetupErrorKind as K};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("closing-all", role_closing_all),
    ("closing-anonymous", role_closing_anonymous),
    ("leaking", role_leaking),
    ("forking", role_forking),
    ("outliving-its-first-thread", role_outliving_its_first_thread),
    ("hammer", role_hammer),
    ("hammer-in-namespace", role_hammer_in_namespace),
    ("hammer-slabs-in-namespace", role_hammer_slabs_in_namespace),
    ("look-in-namespace", role_look_in_namespace),
];

/// Deaths of which none is missed.
const KILLS: u32 = 200;

/// So long a killed process may take to be known as dead.
const DYING: Duration = Duration::from_secs(2);

/// Waits until only so many participants live.
#[track_caller]
fn until_alive<T: Plain>(queue: &PodQueue<T>, count: usize) {
    let begun = Instant::now();
    while queue.participants() != count {
        assert!(begun.elapsed() < DYING, "{} participants, not {count}", queue.participants());
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn close_everything() {
    // SAFETY: closes the descriptors of this process, which has one thread and uses none
    // above the standard ones but through what is tested here.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) }, 0);
}

// ---- closed descriptors ----

fn role_closing_all(_: &[String]) {
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    close_everything();
    queue.put(1).expect("it works");
    assert_eq!(queue.get(), Ok(1));
    assert_eq!(queue.get_timeout(Duration::from_millis(150)), Err(GetError::TimedOut), "through a slice");
    tell("closed");
    while hear() == "recover" {
        tell(format_args!("{:?}", queue.recover().map_err(|error| error.to_string())));
    }
}

/// Puts and gets without end.
fn role_hammer(_: &[String]) {
    hammer(&PodQueue::open("q").expect("it is there"), 7u64);
}

fn hammer<T: Plain>(queue: &PodQueue<T>, value: T) {
    tell("begun");
    loop {
        match queue.put_timeout(value, Duration::from_millis(3)) {
            Ok(()) | Err(PutError::TimedOut(_)) => {}
            Err(error) => panic!("{error}"),
        }
        match queue.get_timeout(Duration::from_millis(3)) {
            Ok(_) | Err(GetError::TimedOut) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_process_that_has_closed_its_descriptors_lives_and_can_recover_others() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
    let mut closing = sandbox.child("closing-all", &[]);
    closing.expect("closed");
    assert_eq!(queue.participants(), 2);
    for _ in 0..30 {
        let mut victim = sandbox.child("hammer", &[]);
        victim.expect("begun");
        victim.kill();
        queue.recover().expect("a descriptor");
        closing.tell("recover");
        assert!(closing.line().starts_with("Ok("), "it opens the name again");
        assert_eq!(queue.participants(), 2, "it is not taken for dead");
    }
    closing.kill();
    until_alive(&queue, 1);
}

#[test]
fn a_process_that_has_closed_its_descriptors_can_leave() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
    let mut closing = sandbox.child("closing-all", &[]);
    closing.expect("closed");
    closing.tell("end");
    closing.succeed();
    assert_eq!(queue.participants(), 1);
}

/// No name to open it by.
fn role_closing_anonymous(_: &[String]) {
    let queue = PodQueue::<u64>::bounded(2).expect("memory");
    close_everything();
    queue.put(1).expect("it works");
    assert_eq!(queue.get(), Ok(1));
    match queue.recover() {
        // Where the system lets it open its own mapping.
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(*error.kind(), K::RecoveryUnavailable),
    }
    queue.put(2).expect("it goes on");
    assert_eq!(queue.get(), Ok(2));
    drop(queue);
    tell("all well");
}

#[test]
fn an_anonymous_queue_without_descriptors_goes_on() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("closing-anonymous", &[]);
    child.expect("all well");
    child.succeed();
}

// ---- copies of descriptors ----

/// Gives copies of all its descriptors to a program that lives on, or forks a child that does.
fn role_leaking(arguments: &[String]) {
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    queue.put(1).expect("there is room");
    for fd in 3..64 {
        // SAFETY: changes flags of descriptors, of none that is closed meanwhile.
        unsafe { libc::fcntl(fd, libc::F_SETFD, 0) };
    }
    let heir = if arguments[0] == "exec" {
        let mut command = std::process::Command::new("sleep");
        command.arg("60").stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
        command.spawn().expect("it can be started").id() as i32
    } else {
        // SAFETY: this process has one thread; the child does nothing but wait.
        let pid = unsafe { libc::fork() };
        assert!(pid >= 0, "no process is to be had");
        if pid == 0 {
            // SAFETY: waits for signals until it is killed.
            unsafe {
                libc::alarm(60);
                loop {
                    libc::pause();
                }
            }
        }
        pid
    };
    tell(heir);
    hear();
}

#[test]
fn copies_of_descriptors_and_forks_keep_no_dead_participant_alive() {
    for how in ["exec", "fork"] {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.options(4).peers_gone(true)).expect("a free name");
        let mut child = sandbox.child("leaking", &[how]);
        let heir: i32 = child.line().parse().expect("a process");
        assert!(heir > 1, "of all processes that one");
        assert_eq!(queue.participants(), 2);
        child.kill();
        until_alive(&queue, 1);
        // SAFETY: touches no memory.
        assert_eq!(unsafe { libc::kill(heir, 0) }, 0, "the heir lives");
        assert_eq!(queue.get(), Ok(1));
        assert_eq!(queue.get(), Err(GetError::PeersGone), "{how}");
        // SAFETY: as above; the heir is a grandchild that this test has made.
        unsafe { libc::kill(heir, libc::SIGKILL) };
    }
}

/// So many participants, one after the other, while another thread forks children that live on.
const MANY: u32 = 500;

fn role_forking(_: &[String]) {
    use std::sync::atomic::{AtomicBool, Ordering};
    static BEGUN: AtomicBool = AtomicBool::new(false);
    static DONE: AtomicBool = AtomicBool::new(false);
    let forks = std::thread::spawn(|| {
        let mut children = Vec::new();
        while !DONE.load(Ordering::Acquire) && children.len() < 400 {
            // SAFETY: the child waits for signals and does nothing else.
            let pid = unsafe { libc::fork() };
            if pid == 0 {
                // SAFETY: as above.
                unsafe {
                    libc::alarm(60);
                    loop {
                        libc::pause();
                    }
                }
            }
            if pid < 0 {
                break;
            }
            children.push(pid);
            BEGUN.store(true, Ordering::Release);
        }
        BEGUN.store(true, Ordering::Release);
        children
    });
    common::until(|| BEGUN.load(Ordering::Acquire));
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    let copies: Vec<_> = (1..MANY).map(|_| queue.try_clone().expect("a place")).collect();
    DONE.store(true, Ordering::Release);
    let children = forks.join().expect("no panic");
    tell(children.iter().map(i32::to_string).collect::<Vec<_>>().join(" "));
    hear();
    drop(copies);
}

/// Forks that never execute anything keep nobody alive, whenever they were made.
#[test]
fn a_fork_in_the_middle_of_an_attachment_has_no_part_in_it() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(4).max_participants(MANY + 1)).expect("a free name");
    let mut child = sandbox.child("forking", &[]);
    let line = child.line();
    let heirs: Vec<i32> = line.split_whitespace().map(|pid| pid.parse().expect("a process")).collect();
    assert!(heirs.iter().all(|heir| *heir > 1) && !heirs.is_empty(), "no process is to be had: {line}");
    assert_eq!(queue.participants(), 1 + MANY as usize);
    child.kill();
    let begun = Instant::now();
    while queue.participants() != 1 && begun.elapsed() < DYING {
        std::thread::sleep(Duration::from_millis(1));
    }
    let alive = queue.participants() - 1;
    // SAFETY: touches no memory; they are grandchildren that this test has made, and live.
    heirs.iter().for_each(|heir| assert_eq!(unsafe { libc::kill(*heir, libc::SIGKILL) }, 0));
    println!("{} forks", heirs.len());
    assert_eq!(alive, 0, "kept alive by forks");
}

// ---- threads ----

/// Its first thread ends, and another works on.
fn role_outliving_its_first_thread(_: &[String]) {
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    std::thread::spawn(move || {
        tell("begun");
        while hear() == "work" {
            queue.put(1).expect("it works");
            tell(format_args!("{:?}", queue.get()));
        }
        std::process::exit(0);
    });
    // SAFETY: ends this thread alone, without a word to the others. Nothing of its stack is lent to them.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// The process table shows such a process as a zombie; its memory, and so its lock, is there
/// until its last thread has ended.
#[test]
fn a_process_lives_as_long_as_its_last_thread() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
    for round in 0..20 {
        let mut child = sandbox.child("outliving-its-first-thread", &[]);
        child.expect("begun");
        let status = format!("/proc/{}/stat", child.pid());
        common::until(|| std::fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") Z ")));
        for _ in 0..3 {
            assert_eq!(queue.recover().expect("a descriptor"), 0, "nobody has died");
            assert_eq!(queue.participants(), 2, "it lives");
            child.tell("work");
            child.expect("Ok(1)");
        }
        if round % 2 == 0 {
            child.kill();
        } else {
            child.tell("end");
            child.succeed();
        }
        until_alive(&queue, 1);
    }
}

// ---- places of the dead ----

#[test]
fn places_of_the_dead_are_used_again() {
    let generations = if common::is_long() { 3000 } else { 150 };
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(2).max_participants(3)).expect("a free name");
    for generation in 0..generations {
        // Both places but ours; never TooManyParticipants: the child would end and say nothing.
        let mut pair = [sandbox.child("hammer", &[]), sandbox.child("hammer", &[])];
        pair.iter_mut().for_each(|child: &mut Child| child.expect("begun"));
        assert_eq!(queue.participants(), 3, "generation {generation}");
        pair.into_iter().for_each(Child::kill);
    }
    until_alive(&queue, 1);
    queue.recover().expect("a descriptor");
    while queue.try_get().is_ok() {}
    for value in 0..10 {
        queue.put_timeout(value, DYING).expect("nothing is in the way");
        assert_eq!(queue.get_timeout(DYING), Ok(value));
    }
}

// ---- namespaces ----

/// Runs as process 1 of a namespace of its own.
fn in_namespace<T: Plain>(run: fn(PodQueue<T>)) {
    // SAFETY: touches no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return tell("refused");
    }
    // SAFETY: this process has one thread.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: touches no memory: the child goes with this process.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        assert_eq!(std::process::id(), 1, "the first process here");
        // A name space of its own for mounts, and a proc that knows its processes.
        // SAFETY: the strings end with a zero, and are only read.
        unsafe {
            let none = std::ptr::null();
            assert_eq!(libc::unshare(libc::CLONE_NEWNS), 0);
            let private = libc::MS_REC | libc::MS_PRIVATE;
            assert_eq!(libc::mount(none, c"/".as_ptr(), none, private, none.cast()), 0);
            assert_eq!(libc::mount(c"proc".as_ptr(), c"/proc".as_ptr(), c"proc".as_ptr(), 0, none.cast()), 0);
        }
        run(PodQueue::open_with("q", Options::default()).expect("it is there"));
        std::process::exit(0);
    }
    let mut status = 0;
    // SAFETY: `status` is ours to write.
    unsafe { libc::waitpid(pid, &mut status, 0) };
}

fn role_hammer_in_namespace(_: &[String]) {
    in_namespace(|queue| hammer(&queue, 7u64));
}

/// 64 KiB: who is killed has mostly claimed something.
type Slab = [u64; 8192];

fn role_hammer_slabs_in_namespace(_: &[String]) {
    in_namespace(|queue| hammer::<Slab>(&queue, [7; 8192]));
}

/// When it is told to: looks for the dead, and says what it has finished and who is there.
fn role_look_in_namespace(_: &[String]) {
    in_namespace(|queue: PodQueue<Slab>| {
        tell("begun");
        while hear() == "look" {
            let finished = queue.recover().expect("a descriptor");
            // What is there belongs to nobody; what was brought back is to be taken.
            while queue.try_get().is_ok() {}
            tell(format_args!("{finished} {}", queue.participants()));
        }
    });
}

/// After a look for the dead nobody is left whose life lock is gone.
#[track_caller]
fn nobody_was_missed(sandbox: &Sandbox) {
    let begun = Instant::now();
    loop {
        let seen = admin::inspect(Some(sandbox.path()), &"q".parse().expect("a name")).expect("a queue");
        let missed: Vec<_> = seen.participants.iter().filter(|one| one.life == Life::Dead).collect();
        if missed.is_empty() {
            return;
        }
        // Another one may be at it just now.
        assert!(begun.elapsed() < DYING, "a dead one was missed: {missed:?}");
    }
}

/// One process 1 takes the other for alive while it lives, and finishes what it has left
/// when it has died: by itself, this process only watches.
#[test]
fn a_process_recovers_another_that_has_the_same_number() {
    if !is_root() {
        common::skip("only root may make a process namespace");
        return;
    }
    let sandbox = Sandbox::with_limit(Duration::from_secs(300));
    let queue = PodQueue::<Slab>::create("q", sandbox.options(2).max_participants(3)).expect("a free name");
    let mut looker = sandbox.child("look-in-namespace", &[]);
    let line = looker.line();
    if line == "refused" {
        common::skip("a process namespace is refused here");
        return;
    }
    assert_eq!(line, "begun");
    let mut look = || -> (u32, u32) {
        looker.tell("look");
        let line = looker.line();
        let (finished, alive) = line.split_once(' ').unwrap_or_else(|| panic!("it said {line:?}"));
        (finished.parse().expect("a number"), alive.parse().expect("a number"))
    };
    let (mut recovered, mut kills) = (0, 0);
    while recovered < KILLS {
        let mut victim = sandbox.child("hammer-slabs-in-namespace", &[]);
        victim.expect("begun");
        for _ in 0..3 {
            assert_eq!(look(), (0, 3), "nobody has died");
        }
        victim.kill();
        kills += 1;
        assert!(kills < 20 * KILLS, "{kills} kills have left {recovered} unfinished positions");
        until_alive(&queue, 2);
        let (finished, alive) = look();
        assert!(finished <= 2 && alive == 2, "{finished} of two positions, {alive} alive");
        nobody_was_missed(&sandbox);
        assert_eq!(look(), (0, 2), "all is finished");
        recovered += finished;
    }
    println!("{kills} were killed until {recovered} positions were finished");
    looker.kill();
    until_alive(&queue, 1);
}

#[test]
fn equal_process_numbers_in_two_namespaces() {
    if !is_root() {
        common::skip("only root may make a process namespace");
        return;
    }
    let sandbox = Sandbox::with_limit(Duration::from_secs(300));
    let options = sandbox.options(2).max_participants(3);
    let queue = PodQueue::<u64>::create("q", options).expect("a free name");
    let start = || {
        let mut child = sandbox.child("hammer-in-namespace", &[]);
        let line = child.line();
        (child, line)
    };
    let (mut steady, line) = start();
    if line == "refused" {
        common::skip("a process namespace is refused here");
        return;
    }
    assert_eq!(line, "begun");
    for kill in 0..KILLS {
        let (victim, line) = start();
        assert_eq!(line, "begun");
        // While both live, nobody is taken for dead.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(u64::from(3 + kill % 5)) {
            assert_eq!(queue.recover().expect("a descriptor"), 0, "nobody has died");
            assert_eq!(queue.participants(), 3, "nobody has died");
        }
        // Its process 1 goes with it.
        victim.kill();
        until_alive(&queue, 2);
        // A message that was brought back counts until somebody has taken it.
        let begun = Instant::now();
        while queue.recover().expect("a descriptor") != 0 {
            assert!(begun.elapsed() < DYING, "the steady one takes what was brought back");
        }
        nobody_was_missed(&sandbox);
    }
    // The steady one still works.
    assert!(!steady.has_ended());
    steady.kill();
    until_alive(&queue, 1);
}

/// Either mistake about who lives shows.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    let seeds: &[(u32, &[&str])] = &[(13, &["kept alive by forks"])];
    common::control::fails_with_seeds("a_fork_in_the_middle_of_an_attachment_has_no_part_in_it", seeds);
    if !is_root() {
        common::skip("only root may make a process namespace");
        return;
    }
    let seeds: &[(u32, &[&str])] = &[(7, &["nobody has died"]), (12, &["a dead one was missed"])];
    common::control::fails_with_seeds("equal_process_numbers_in_two_namespaces", seeds);
    common::control::fails_with_seeds("a_process_recovers_another_that_has_the_same_number", seeds);
}
