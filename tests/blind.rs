//! Blind participants: processes to which a seccomp filter refuses `membarrier`, so that
//! they cannot reach the light fences of others. Real processes: in a segment whose
//! others rely on `membarrier`, and in one that a blind process has made.

#![allow(unsafe_code)]

mod common;

use common::ledger::{PRODUCER_SHIFT, message};
use common::load::Dice;
use common::refuse::refuse;
use common::{Child, MODES, Role, Sandbox, hear, policy_named, tell, timed};
use ringway::{GetError, Options, PodQueue, Side, WaitPolicy};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("probe", role_probe),
    ("producer", role_producer),
    ("consumer", role_consumer),
    ("maker", role_maker),
    ("flow", role_flow),
    ("idle", role_idle),
];

// ---- blindness ----

/// How a process is refused `membarrier`: as by an old kernel, as by a container's
/// profile, and by a filter that came only after its first use of ringway.
const KINDS: [&str; 3] = ["ENOSYS", "EPERM", "late"];
const ORDINARY: &str = "ordinary";

/// Refuses `membarrier` to this process from now on. False: there are no filters here.
fn refuse_membarrier(error: libc::c_int) -> bool {
    refuse(libc::SYS_membarrier, error)
}

/// What `membarrier` says to a question that changes nothing.
fn membarrier_error() -> Option<i32> {
    // SAFETY: membarrier takes no pointers.
    let answer = unsafe { libc::syscall(libc::SYS_membarrier, 0, 0u32, 0) };
    (answer < 0).then(|| std::io::Error::last_os_error().raw_os_error().expect("there is a reason"))
}

/// Before the first use of ringway.
fn become_blind(kind: &str) {
    let error = match kind {
        "ENOSYS" => libc::ENOSYS,
        "EPERM" => libc::EPERM,
        _ => return,
    };
    assert!(refuse_membarrier(error), "filters are to be had");
    assert_eq!(membarrier_error(), Some(error));
}

/// After it.
fn become_blind_late(kind: &str) {
    if kind == "late" {
        assert_eq!(membarrier_error(), None, "it was to be had");
        assert!(refuse_membarrier(libc::EPERM), "filters are to be had");
        assert_eq!(membarrier_error(), Some(libc::EPERM));
    }
}

fn role_probe(_: &[String]) {
    tell(if membarrier_error().is_none() && refuse_membarrier(libc::EPERM) { "yes" } else { "no" });
}

/// Whether processes can be made blind here, and are not anyway.
fn can_be_blinded(sandbox: &Sandbox) -> bool {
    let mut child = sandbox.child("probe", &[]);
    let can = child.line() == "yes";
    child.succeed();
    if !can {
        common::skip("no membarrier here, or no filters that refuse it");
    }
    can
}

// ---- the end of a stream ----

/// For queue after queue: puts until it is refused, and says how many went in.
fn role_producer(arguments: &[String]) {
    let [kind, seat, batch] = arguments else { panic!("three arguments") };
    let (seat, batch): (usize, u64) = (seat.parse().expect("a number"), batch.parse().expect("a number"));
    become_blind(kind);
    for_each_queue(kind, |queue| {
        let producer = queue.producer().expect("the side is free");
        tell("ready");
        let mut next = 0;
        loop {
            let run: Vec<u64> = (next..next + batch).map(|number| message(seat, number)).collect();
            let outcome = if batch == 1 {
                producer.put(run[0]).map(|()| 1).map_err(|error| (0, error.is_closed()))
            } else {
                producer.put_many(&run).map(|()| batch).map_err(|error| (error.put as u64, error.cause.is_closed()))
            };
            match outcome {
                Ok(put) => next += put,
                Err((put, is_closed)) => {
                    assert!(is_closed);
                    return next + put;
                }
            }
        }
    });
}

/// For queue after queue: gets to the end, and says how many. There is no other consumer:
/// of each producer, one number follows the other.
fn role_consumer(arguments: &[String]) {
    let [kind, producers, batch] = arguments else { panic!("three arguments") };
    let (producers, batch): (usize, usize) = (producers.parse().expect("a number"), batch.parse().expect("a number"));
    become_blind(kind);
    for_each_queue(kind, |queue| {
        let consumer = queue.consumer().expect("the side is free");
        tell("ready");
        let (mut next, mut taken) = (vec![0; producers], Vec::new());
        loop {
            taken.clear();
            let outcome = if batch == 1 {
                consumer.get().map(|message| taken.push(message))
            } else {
                consumer.get_many(&mut taken, batch).map(drop)
            };
            match outcome {
                Ok(()) => taken.iter().for_each(|message| {
                    let next = &mut next[(message >> PRODUCER_SHIFT) as usize];
                    assert_eq!(message & ((1 << PRODUCER_SHIFT) - 1), *next);
                    *next += 1;
                }),
                Err(GetError::Closed) => return next.iter().sum(),
                Err(error) => panic!("{error}"),
            }
        }
    });
}

fn for_each_queue(kind: &str, mut each: impl FnMut(PodQueue<u64>) -> u64) {
    let mut is_first = true;
    loop {
        let name = hear();
        if name.is_empty() {
            return;
        }
        let queue = PodQueue::open(&name).expect("it is there");
        if std::mem::take(&mut is_first) {
            become_blind_late(kind);
        }
        tell(each(queue));
    }
}

/// Makes queue after queue, each kept until the next one.
fn role_maker(arguments: &[String]) {
    become_blind(&arguments[0]);
    let mut queue = None;
    loop {
        let line = hear();
        let Some((name, origin)) = line.split_once(' ') else { return };
        queue.replace(open_or_make(name, origin, WaitPolicy::default()));
        tell("made");
    }
}

/// Closes streams in the middle; all that was acknowledged must be got, and no more.
/// The kinds of participants: who makes the queues, who puts, who gets.
fn close_streams(sandbox: &Sandbox, index: usize, [making, producing, consuming]: [&str; 3], rounds: u64) {
    let mode = MODES[index];
    let mut maker = sandbox.child("maker", &[making]);
    let seats = if mode.0 == Side::Multi { 2 } else { 1 };
    for batch in ["1", "5"] {
        let start = |seat: usize| sandbox.child("producer", &[producing, &seat.to_string(), batch]);
        let mut producers: Vec<Child> = (0..seats).map(start).collect();
        let mut consumer = sandbox.child("consumer", &[consuming, &seats.to_string(), batch]);
        let mut dice = Dice::new(rounds);
        let mut total = 0;
        for round in 0..rounds {
            let capacity = [1, 3, 64][round as usize % 3];
            let name = format!("q{round}");
            maker.tell(&format!("{name} {capacity} {index}"));
            maker.expect("made");
            let queue = PodQueue::<u64>::open_with(&name, sandbox.here()).expect("it is there");
            for child in producers.iter_mut().chain([&mut consumer]) {
                child.tell(&name);
            }
            for child in producers.iter_mut().chain([&mut consumer]) {
                child.expect("ready");
            }
            let (begun, flow) = (Instant::now(), Duration::from_micros(dice.below(400)));
            while begun.elapsed() < flow {
                std::hint::spin_loop();
            }
            queue.close();
            let put: u64 = producers.iter_mut().map(count).sum();
            assert_eq!(count(&mut consumer), put, "{mode:?}, {producing} to {consuming}, round {round}");
            total += put;
        }
        assert!(total > rounds, "streams worth the name: {total}");
        producers.into_iter().chain([consumer]).for_each(|child| drop(child.succeed()));
    }
    maker.succeed();
}

fn count(child: &mut Child) -> u64 {
    let line = child.line();
    line.parse().unwrap_or_else(|_| panic!("a child said {line:?}"))
}

/// The same for all modes; `blind` says who is, of maker, producers and consumer.
fn close_blind_streams(blind: [bool; 3]) {
    let rounds = if common::is_long() { 1000 } else { 40 };
    let sandbox = Sandbox::with_limit(Duration::from_secs(200));
    if !can_be_blinded(&sandbox) {
        return;
    }
    // One that makes a queue before it is blind makes an ordinary one.
    for kind in KINDS.into_iter().filter(|kind| !blind[0] || *kind != "late") {
        let kinds = blind.map(|is_blind| if is_blind { kind } else { ORDINARY });
        (0..MODES.len()).for_each(|index| close_streams(&sandbox, index, kinds, rounds));
    }
}

#[test]
fn a_blind_consumer_gets_all_that_was_put_before_the_close() {
    close_blind_streams([false, false, true]);
}

#[test]
fn what_a_blind_producer_has_put_before_the_close_is_got() {
    close_blind_streams([false, true, false]);
}

#[test]
fn the_streams_of_a_queue_made_by_a_blind_process_end_as_well() {
    close_blind_streams([true, false, false]);
    close_blind_streams([true, true, false]);
}

// ---- being woken ----

/// Long before the slice ends in which an ordinary process finds what it missed.
const WOKEN: Duration = Duration::from_millis(50);

const LONGEST_PAUSE_US: u64 = 3000;

/// Puts or gets, with a pause before each or as it is let; says how long the longest took.
fn flow(queue: &PodQueue<u64>, what: &str, messages: u64) -> Duration {
    let mut dice = Dice::new(messages);
    let mut longest = Duration::ZERO;
    for number in 0..messages {
        if what.starts_with("paced") {
            // Half of them hit one who is about to sleep.
            let below = if number % 2 == 0 { LONGEST_PAUSE_US } else { 100 };
            std::thread::sleep(Duration::from_micros(dice.below(below)));
        }
        let ((), took) = timed(|| match what {
            "put" | "paced put" => queue.put(number).expect("it is open"),
            _ => assert_eq!(queue.get(), Ok(number)),
        });
        longest = longest.max(took);
    }
    longest
}

/// Opens the queue, or makes it; flows.
fn role_flow(arguments: &[String]) {
    let [kind, origin, what, policy, messages] = arguments else { panic!("five arguments") };
    become_blind(kind);
    let queue = open_or_make("q", origin, policy_named(policy));
    become_blind_late(kind);
    tell("ready");
    tell(flow(&queue, what, messages.parse().expect("a number")).as_micros());
    // Who made it stays until the end.
    hear();
}

/// `origin`: "open", or how to make it: the capacity, and the mode by its number.
fn open_or_make(name: &str, origin: &str, policy: WaitPolicy) -> PodQueue<u64> {
    if origin == "open" {
        let queue = PodQueue::open_with(name, Options::default().wait_policy(policy));
        return queue.expect("it is there");
    }
    let (capacity, mode) = origin.split_once(' ').expect("two words");
    let (producers, consumers) = MODES[mode.parse::<usize>().expect("a number")];
    let options = Options::new(capacity.parse().expect("a number")).wait_policy(policy);
    PodQueue::create(name, options.producers(producers).consumers(consumers)).expect("a free name")
}

/// A blind process and an ordinary one, of which one waits for the other.
fn flows(made_by_blind: bool) {
    let messages = if common::is_long() { 2000 } else { 80 };
    let sandbox = Sandbox::new();
    if !can_be_blinded(&sandbox) {
        return;
    }
    for kind in KINDS.into_iter().filter(|kind| !made_by_blind || *kind != "late") {
        for (index, mode) in MODES.into_iter().enumerate() {
            // What the blind one does, what the ordinary one does, and of how much room.
            for (number, (blind, ordinary, capacity)) in
                [("get", "paced put", 4), ("put", "paced get", 1), ("paced get", "put", 1), ("paced put", "get", 4)]
                    .into_iter()
                    .enumerate()
            {
                let policy = if number % 2 == index % 2 { "park" } else { "default" };
                let here = || sandbox.mode(capacity, mode).wait_policy(policy_named(policy));
                let made = (!made_by_blind).then(|| PodQueue::<u64>::create("q", here()).expect("a free name"));
                let origin = if made_by_blind { format!("{capacity} {index}") } else { "open".to_owned() };
                let mut child = sandbox.child("flow", &[kind, &origin, blind, policy, &messages.to_string()]);
                child.expect("ready");
                let open = || PodQueue::open_with("q", sandbox.here().wait_policy(policy_named(policy)));
                let queue = made.unwrap_or_else(|| open().expect("it is there"));
                let others = flow(&queue, ordinary, messages);
                let own = Duration::from_micros(count(&mut child));
                child.succeed();
                let limit = WOKEN + Duration::from_micros(LONGEST_PAUSE_US);
                assert!(
                    own < limit && others < limit,
                    "{mode:?}, {policy}: {kind} {blind} {own:?}, {ordinary} {others:?}"
                );
            }
        }
    }
}

#[test]
fn blind_and_ordinary_processes_wake_each_other() {
    flows(false);
}

#[test]
fn a_queue_made_by_a_blind_process_works_with_ordinary_ones() {
    flows(true);
}

// ---- which fences are used ----

/// Waits for nothing; says how often it went to sleep for that.
fn role_idle(arguments: &[String]) {
    let [kind, origin] = arguments else { panic!("two arguments") };
    become_blind(kind);
    let queue = open_or_make("q", origin, WaitPolicy::Park);
    become_blind_late(kind);
    let before = sleeps();
    assert_eq!(queue.get_timeout(Duration::from_millis(250)), Err(GetError::TimedOut));
    tell(sleeps() - before);
    hear();
}

/// How often this process, which has one thread, gave its processor up.
fn sleeps() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("a number")
}

/// The tests above mean something: who is blind knows it, and sleeps in short slices;
/// where all fences are full nobody needs to.
#[test]
fn only_who_is_blind_among_others_who_are_not_sleeps_in_short_slices() {
    let sandbox = Sandbox::new();
    if !can_be_blinded(&sandbox) {
        return;
    }
    let idle = |kind: &str, origin: &str| {
        let mut child = sandbox.child("idle", &[kind, origin]);
        let sleeps = count(&mut child);
        (child, sleeps)
    };
    let queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
    let (_, ordinary) = idle(ORDINARY, "open");
    assert!(ordinary < 20, "slept {ordinary} times");
    for kind in KINDS {
        let (child, blind) = idle(kind, "open");
        child.succeed();
        assert!(blind > 50, "{kind} slept {blind} times");
    }
    drop(queue);
    for kind in ["ENOSYS", "EPERM"] {
        let (maker, blind) = idle(kind, "4 0");
        let (child, ordinary) = idle(ORDINARY, "open");
        child.succeed();
        maker.succeed();
        assert!(blind < 20 && ordinary < 20, "slept {blind} and {ordinary} times");
    }
}
