//! What the dead leave behind goes, and nothing else does (C3, C4, C7): the sweep of every open
//! and create, and `admin::clean`.

#![allow(unsafe_code)]

mod common;

use common::holder::{HOLD, TOIL, hold, toil};
use common::load::Dice;
use common::{Child, Role, Sandbox, is_root, tell, until};
use ringway::admin::{self, Cleaning, Life, Location, Outcome};
use ringway::{ByteQueue, Lifetime, Options, PodQueue};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[HOLD, TOIL, ("clean", role_clean), ("race", role_race), ("default", role_default)];

/// How often what can go wrong seldom is tried: the usual number, or that of the environment.
fn rounds(variable: &str, usual: u32) -> u32 {
    std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn limit(variable: &str) -> Duration {
    Duration::from_secs(if std::env::var_os(variable).is_some() { 1800 } else { 80 })
}

const RACES: &str = "RINGWAY_CLEAN_RACES";
const ROUNDS: &str = "RINGWAY_KILL_ROUNDS";

/// Opening or creating anything sweeps.
fn open_anything(sandbox: &Sandbox) {
    drop(PodQueue::<u32>::open_or_create("visitor", sandbox.options(1)).expect("a free name"));
}

fn clean(sandbox: &Sandbox, cleaning: Cleaning) -> Vec<(String, Outcome)> {
    let cleaned = admin::clean(Some(sandbox.path()), cleaning).expect("the directory is ours");
    cleaned.into_iter().map(|one| (one.name, one.outcome)).collect()
}

fn forget(sandbox: &Sandbox, names: &[&str]) {
    names.iter().for_each(|name| fs::remove_file(sandbox.file(name)).expect("it is there"));
}

// ---- what goes ----

/// C3. Kill all at once: the next open of anything leaves nothing stale behind.
#[test]
fn nothing_is_left_after_all_were_killed_at_once() {
    let sandbox = Sandbox::with_limit(limit(ROUNDS));
    drop(hold(&sandbox, &["p-kept"]));
    let rounds = rounds(ROUNDS, 50);
    for round in 0..rounds {
        let names: Vec<[String; 3]> =
            (0..3).map(|child| [0, 1, 2].map(|queue| format!("e{}-{child}-{queue}", round % 2))).collect();
        let children = names.iter().map(|own| {
            let shared = ["e-shared", "p-kept"];
            let names: Vec<&str> = own.iter().map(String::as_str).chain(shared).collect();
            hold(&sandbox, &names)
        });
        let children: Vec<Child> = children.collect();
        assert_eq!(sandbox.files().len(), 9 + 2, "round {round}");
        let queue = (round % 3 == 0).then(|| PodQueue::<u32>::create("e-live", sandbox.options(1)).expect("free"));
        for child in &children {
            // SAFETY: touches no memory; our own child, not yet waited for.
            unsafe { libc::kill(child.pid() as i32, libc::SIGKILL) };
        }
        children.into_iter().for_each(Child::kill);
        // By creating, by opening.
        match round % 2 {
            0 => open_anything(&sandbox),
            _ => drop(PodQueue::<u32>::open_with("p-kept", sandbox.here()).expect("it is persistent")),
        }
        let live: &[&str] = if queue.is_some() { &["e-live", "p-kept"] } else { &["p-kept"] };
        assert_eq!(sandbox.files(), live, "round {round} of {rounds}");
    }
    forget(&sandbox, &["p-kept"]);
}

/// The same where they are in the middle of something: of a put, a get or a lease, of making a queue or
/// of leaving one. What they shared works on.
#[test]
fn nothing_is_left_after_all_were_killed_at_work() {
    const SOON: Duration = Duration::from_secs(2);
    let sandbox = Sandbox::with_limit(limit(ROUNDS));
    drop(hold(&sandbox, &["p-kept"]));
    let rounds = rounds(ROUNDS, 50);
    let mut dice = Dice::new(7);
    let mut most = 0;
    for round in 0..rounds {
        let names: Vec<[String; 2]> =
            (0..3).map(|child| [0, 1].map(|queue| format!("e{}-{child}-{queue}", round % 2))).collect();
        let children = names.iter().map(|[a, b]| toil(&sandbox, &[a, b, "e-shared-2", "e-shared-3", "p-kept"]));
        let mut children: Vec<Child> = children.collect();
        // They work a while; asleep, this process leaves them the processors.
        std::thread::sleep(Duration::from_micros(dice.below(3000)));
        assert!(!children.iter_mut().any(Child::has_ended), "round {round}: somebody has failed");
        for child in &children {
            // SAFETY: touches no memory; our own child, not yet waited for.
            unsafe { libc::kill(child.pid() as i32, libc::SIGKILL) };
        }
        children.into_iter().for_each(Child::kill);
        most = most.max(sandbox.files().len());
        if round % 2 == 0 {
            open_anything(&sandbox);
            assert_eq!(sandbox.files(), ["p-kept"], "round {round} of {rounds}");
        }
        let kept = PodQueue::<u32>::open_with("p-kept", sandbox.here()).expect("it is persistent");
        assert_eq!(sandbox.files(), ["p-kept"], "round {round} of {rounds}");
        // Nothing that the dead had begun is in the way.
        let left = kept.try_iter().collect::<Result<Vec<_>, _>>().expect("whole").len();
        // Eight, and what each had by lease, which takes no place in the ring.
        assert!(left <= 8 + 3 && kept.is_empty(), "{left} messages");
        (0..8).for_each(|n| kept.put_timeout(n, SOON).expect("there is room"));
        assert!((0..8).all(|n| kept.get_timeout(SOON) == Ok(n)), "round {round} of {rounds}");
    }
    println!("up to {most} names were left by three that were killed");
    forget(&sandbox, &["p-kept"]);
}

#[test]
fn clean_says_what_it_removes_and_why_it_keeps_the_rest() {
    let sandbox = Sandbox::new();
    hold(&sandbox, &["e-dead", "p-dead"]).kill();
    let live = hold(&sandbox, &["e-live", "p-live"]);
    for cleaning in [Cleaning::DryRun, Cleaning::Remove] {
        // The second child's creations have swept already.
        hold_dead(&sandbox);
        let found = clean(&sandbox, cleaning);
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["e-dead", "e-live", "p-dead", "p-live"]);
        assert_is!(&found[0].1, Outcome::Removed { bytes } if *bytes > 4096);
        assert_is!(&found[1].1, Outcome::InUse);
        assert_is!(&found[2].1, Outcome::Persistent);
        assert_is!(&found[3].1, Outcome::Persistent);
        assert_eq!(sandbox.file("e-dead").exists(), cleaning == Cleaning::DryRun);
        for (name, outcome) in &found {
            assert_eq!(outcome.is_removed(), name == "e-dead");
            assert!(outcome.to_string().len() > 5);
        }
    }
    live.succeed();
    forget(&sandbox, &["p-dead", "p-live"]);
    assert!(clean(&sandbox, Cleaning::Remove).is_empty());
}

/// A dead queue that no open has seen since: the bytes of one.
fn hold_dead(sandbox: &Sandbox) {
    let bytes = segment(&sandbox.options(8));
    fs::write(sandbox.file("e-dead"), bytes).expect("writable");
}

/// The bytes of a queue's file. Where it lived nobody else has been.
fn segment(options: &Options) -> Vec<u8> {
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("writable");
    let queue = PodQueue::<u32>::create("q", options.clone().directory(elsewhere.path())).expect("a free name");
    queue.put(7).expect("there is room");
    fs::read(elsewhere.path().join("q")).expect("readable")
}

#[test]
fn every_name_gets_its_turn_however_many_there_are() {
    const LIVE: usize = 2000;
    let sandbox = Sandbox::new();
    // So many persistent names that one sweep cannot look at all of them.
    let kept = segment(&Options::new(1).lifetime(Lifetime::Persistent).max_participants(1));
    (0..LIVE).for_each(|n| fs::write(sandbox.file(&format!("p{n:04}")), &kept).expect("writable"));
    let dead = segment(&Options::new(1).max_participants(1));
    (0..100).for_each(|n| fs::write(sandbox.file(&format!("e{n:04}")), &dead).expect("writable"));
    let queue = PodQueue::<u32>::create("visited", sandbox.options(1)).expect("a free name");
    let mut opens = 0;
    until(|| {
        opens += 1;
        drop(PodQueue::<u32>::open_with("visited", sandbox.here()).expect("it is there"));
        sandbox.files().len() == LIVE + 1
    });
    println!("100 stale names among {LIVE}: gone after {opens} opens");
    drop(queue);
    (0..LIVE).for_each(|n| fs::remove_file(sandbox.file(&format!("p{n:04}"))).expect("it is there"));
}

/// A sweep is over after a millisecond, and after the name that it looks at then: the median open,
/// beside the same one in an empty directory.
#[test]
fn a_sweep_takes_a_millisecond_or_little_more() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::create("visited", sandbox.options(1)).expect("a free name");
    let median = || {
        let mut times: Vec<Duration> = (0..101)
            .map(|_| {
                let start = Instant::now();
                drop(PodQueue::<u32>::open_with("visited", sandbox.here()).expect("it is there"));
                start.elapsed()
            })
            .collect();
        times.sort();
        times[50]
    };
    let alone = median();
    let kept = segment(&Options::new(1).lifetime(Lifetime::Persistent).max_participants(1));
    (0..20).for_each(|n| fs::write(sandbox.file(&format!("p{n:04}")), &kept).expect("writable"));
    let among_few = median();
    (20..3000).for_each(|n| fs::write(sandbox.file(&format!("p{n:04}")), &kept).expect("writable"));
    let among_many = median();
    println!("an open: {alone:?} alone, {among_few:?} beside 20 names, {among_many:?} beside 3000");
    // Some more for a machine that does something else at the same time.
    assert!(among_many < alone + Duration::from_millis(4), "{alone:?} and {among_many:?}");
    drop(queue);
    (0..3000).for_each(|n| fs::remove_file(sandbox.file(&format!("p{n:04}"))).expect("it is there"));
}

// ---- what stays ----

/// C4, K4. Stopped is not dead.
#[test]
fn the_queue_of_a_stopped_process_stays() {
    let sandbox = Sandbox::new();
    let stopped = hold(&sandbox, &["e-stopped"]);
    stopped.stop();
    for _ in 0..20 {
        open_anything(&sandbox);
        assert_is!(&clean(&sandbox, Cleaning::Remove)[0].1, Outcome::InUse);
    }
    let seen = admin::inspect(Some(sandbox.path()), &"e-stopped".parse().expect("a name")).expect("a queue");
    assert_eq!(seen.participants[0].life, Life::Alive);
    stopped.go_on();
    assert_eq!(PodQueue::<u32>::open_with("e-stopped", sandbox.here()).expect("it stayed").get(), Ok(1));
    stopped.succeed();
}

/// C7, C8. Whatever is not a whole queue of ours and of this version stays, and is said.
#[test]
fn foreign_and_damaged_files_are_left_alone() {
    let sandbox = Sandbox::new();
    let whole = segment(&sandbox.options(8));
    let write = |name: &str, bytes: &[u8]| fs::write(sandbox.file(name), bytes).expect("writable");
    let damaged = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        bytes
    };
    write("a-text", b"hello");
    write("b-empty", b"");
    write("c-cut", &whole[..whole.len() - 1]);
    write("d-header-cut", &whole[..100]);
    write("e-capacity", &damaged(64));
    write("f-version", &damaged(8));
    write("g-magic", &damaged(0));
    symlink("nowhere", sandbox.file("h-link")).expect("writable");
    fs::create_dir(sandbox.file("i-directory")).expect("writable");
    nix::unistd::mkfifo(&sandbox.file("j-fifo"), nix::sys::stat::Mode::S_IRWXU).expect("writable");
    write("k-two-names", &whole);
    fs::hard_link(sandbox.file("k-two-names"), sandbox.file("l-two-names")).expect("writable");
    write("m-foreign", &whole);
    if is_root() {
        std::os::unix::fs::chown(sandbox.file("m-foreign"), Some(65534), None).expect("root may");
    } else {
        forget(&sandbox, &["m-foreign"]);
    }
    let before = sandbox.files();
    for _ in 0..20 {
        open_anything(&sandbox);
    }
    let found = clean(&sandbox, Cleaning::Remove);
    assert_eq!(sandbox.files(), before, "{found:?}");
    assert_eq!(found.len(), before.len());
    for (name, outcome) in &found {
        match name.as_str() {
            "f-version" => assert_is!(outcome, Outcome::OtherVersion { .. }),
            _ => assert_is!(outcome, Outcome::Unreadable(error) if !error.to_string().is_empty()),
        }
    }
    // As such they are listed, too; two of them say something about themselves.
    let listed = admin::list(Some(sandbox.path())).expect("the directory is ours");
    assert_eq!(listed.len(), before.len());
    for one in &listed {
        let name = one.location.to_string();
        match &one.queue {
            Ok(summary) => {
                assert!(["c-cut", "e-capacity"].contains(&name.as_str()), "{name}");
                assert!(summary.problem.is_some(), "{name}");
            }
            Err(error) => assert!(!error.to_string().is_empty(), "{name}"),
        }
    }
    fs::remove_dir(sandbox.file("i-directory")).expect("empty");
    let files: Vec<String> = sandbox.files();
    forget(&sandbox, &files.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn a_directory_that_is_not_there_is_empty() {
    let sandbox = Sandbox::new();
    let missing = sandbox.file("missing");
    assert!(admin::list(Some(&missing)).expect("nothing").is_empty());
    assert!(admin::clean(Some(&missing), Cleaning::Remove).expect("nothing").is_empty());
    let name: Location = "q".parse().expect("a name");
    assert!(admin::inspect(Some(&missing), &name).expect_err("nothing").is_not_found());
    assert!(!missing.exists(), "looking makes nothing");
    assert!(admin::list(Some(Path::new("/proc"))).is_err());
}

/// The directory of the environment is the one that `None` means.
#[test]
fn none_is_the_directory_of_the_environment() {
    let sandbox = Sandbox::new();
    let queue = ByteQueue::create("q", sandbox.options(1)).expect("a free name");
    let mut child = sandbox.child("default", &[]);
    child.expect("seen");
    child.succeed();
    drop(queue);
}

fn role_default(_: &[String]) {
    let listed = admin::list(None).expect("the directory is ours");
    assert_eq!(listed[0].location, Location::Named("q".into()));
    assert_eq!(admin::directory_path(None).as_os_str(), std::env::var_os(common::DIRECTORY_VARIABLE).expect("set"));
    assert_is!(&admin::clean(None, Cleaning::Remove).expect("the directory is ours")[0].outcome, Outcome::InUse);
    admin::remove(None, "q").expect("it is there");
    tell("seen");
}

// ---- races ----

/// Cleans in a loop until it is killed.
fn role_clean(_: &[String]) {
    tell("cleaning");
    loop {
        admin::clean(None, Cleaning::Remove).expect("the directory is ours");
    }
}

/// Adopts a dead queue, again and again, while others clean, and looks whether it ever lost the
/// name of a queue that it had. Says how often it had one, and how often it lost one.
fn role_race(arguments: &[String]) {
    let count: u32 = arguments[0].parse().expect("a number");
    let directory = admin::directory_path(None);
    let dead = segment(&Options::new(8));
    let (mut adopted, mut lost) = (0, 0);
    for round in 0..count {
        // Whole at once, as a queue appears.
        fs::write(directory.join("new.tmp"), &dead[..1]).expect("writable");
        fs::write(directory.join("new.tmp"), &dead).expect("writable");
        if fs::rename(directory.join("new.tmp"), directory.join("q")).is_err() {
            // It was whole, hence stale, for a moment under its other name.
            continue;
        }
        // So that others meet it at every stage of theirs.
        spin(Duration::from_micros(u64::from(round * 37 % 101)));
        let Ok(queue) = PodQueue::<u32>::open("q") else { continue };
        adopted += 1;
        let _ = admin::clean(None, Cleaning::Remove);
        // Whoever found nobody before has acted by now.
        spin(Duration::from_micros(400));
        let kept = PodQueue::<u32>::open("q").is_ok_and(|second| second.get() == Ok(7));
        lost += u32::from(!kept);
        drop(queue);
    }
    tell(format_args!("{adopted} {lost}"));
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

fn race(sandbox: &Sandbox, count: u32, seed: &str) -> (u32, u32) {
    let cleaners: Vec<Child> = (0..2)
        .map(|_| {
            let mut child = Child::start(with_seed(sandbox.command("clean", &[]), seed));
            child.expect("cleaning");
            child
        })
        .collect();
    let mut racer = Child::start(with_seed(sandbox.command("race", &[&count.to_string()]), seed));
    let said = racer.line();
    racer.succeed();
    cleaners.into_iter().for_each(Child::kill);
    let numbers: Vec<u32> = said.split(' ').filter_map(|n| n.parse().ok()).collect();
    (numbers[0], numbers[1])
}

fn with_seed(mut command: std::process::Command, seed: &str) -> std::process::Command {
    command.env("RINGWAY_SEEDED", seed);
    command
}

/// C4. However cleaning and opening meet, who has opened a queue keeps its name.
#[test]
fn cleaning_never_takes_a_live_queue() {
    let sandbox = Sandbox::with_limit(limit(RACES));
    let wanted = rounds(RACES, 1000);
    let (mut tried, mut adopted) = (0, 0);
    while adopted < wanted {
        let (had, lost) = race(&sandbox, wanted, "0");
        assert_eq!(lost, 0, "names of live queues that were removed, of {had}");
        tried += wanted;
        adopted += had;
    }
    println!("{adopted} queues were opened in {tried} races with cleaning, none was lost");
    let _ = clean(&sandbox, Cleaning::Remove);
    let _ = fs::remove_file(sandbox.file("new.tmp"));
}

/// The race is one: without the test of the life bytes it is lost.
#[cfg(ringway_seeded)]
#[test]
fn cleaning_without_the_proof_is_noticed() {
    let sandbox = Sandbox::new();
    for (seed, count) in [("20", 300), ("21", 1000)] {
        let (had, lost) = race(&sandbox, count, seed);
        println!("seed {seed}: {had} queues were opened, {lost} lost their name");
        assert!(lost > 0, "of {had}");
    }
    let _ = fs::remove_file(sandbox.file("q"));
    let _ = fs::remove_file(sandbox.file("new.tmp"));
}

/// Nobody else removes what those who were killed at once have left.
#[cfg(ringway_seeded)]
#[test]
fn opening_without_a_sweep_is_noticed() {
    for test in ["nothing_is_left_after_all_were_killed_at_once", "nothing_is_left_after_all_were_killed_at_work"] {
        common::control::fails_with_seeds(test, &[(22, &["round 0 of"])]);
    }
}
