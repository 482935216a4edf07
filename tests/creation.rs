//! Many processes create, open, drop and remove the same names at once: one
//! creates, all meet, and nobody ever sees half a queue.

mod common;

use common::{Child, Role, Sandbox, hear, tell};
use ringway::{Options, PodQueue, SetupError, SetupErrorKind as K};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("create", role_create),
    ("meet", role_meet),
    ("churn", role_churn),
    ("visit", role_visit),
    ("churn-for-ever", role_churn_for_ever),
];

const PROCESSES: usize = 6;
const ROUNDS: usize = 150;

fn start_together(sandbox: &Sandbox, role: &str, count: usize) -> Vec<Child> {
    let mut children: Vec<_> = (0..count).map(|index| sandbox.child(role, &[&index.to_string()])).collect();
    children.iter_mut().for_each(|child| child.expect("ready"));
    children.iter_mut().for_each(|child| child.tell("go"));
    children
}

fn get_ready() {
    tell("ready");
    assert_eq!(hear(), "go");
}

// ---- one creates ----

/// Creates all names that it can, and keeps them until it is told to end.
fn role_create(arguments: &[String]) {
    let own: u64 = arguments[0].parse().expect("a number");
    get_ready();
    let mut won = Vec::new();
    for round in 0..ROUNDS {
        match PodQueue::<u64>::create(format!("race-{round}"), Options::new(4)) {
            Ok(queue) => {
                queue.put(own).expect("there is room");
                won.push((round, queue));
            }
            Err(error) => assert_eq!(*error.kind(), K::AlreadyExists),
        }
    }
    let rounds: Vec<String> = won.iter().map(|(round, _)| round.to_string()).collect();
    tell(rounds.join(" "));
    hear();
}

#[test]
fn exactly_one_of_many_creates() {
    let sandbox = Sandbox::new();
    let mut children = start_together(&sandbox, "create", PROCESSES);
    let mut winners = vec![Vec::new(); ROUNDS];
    for (index, child) in children.iter_mut().enumerate() {
        for round in child.line().split_whitespace() {
            winners[round.parse::<usize>().expect("a number")].push(index as u64);
        }
    }
    for (round, winners) in winners.iter().enumerate() {
        let [winner] = winners[..] else { panic!("round {round} was won by {winners:?}") };
        let queue = PodQueue::<u64>::open_with(format!("race-{round}"), sandbox.here()).expect("kept by its creator");
        assert_eq!((queue.try_get(), queue.len()), (Ok(winner), 0));
    }
    children.into_iter().for_each(|child| drop(child.succeed()));
}

// ---- all meet ----

/// Opens or creates all names, and leaves its number in each.
fn role_meet(arguments: &[String]) {
    let own: u64 = arguments[0].parse().expect("a number");
    get_ready();
    let queues: Vec<_> = (0..ROUNDS)
        .map(|round| {
            let options = Options::new(PROCESSES as u64);
            let queue = PodQueue::<u64>::open_or_create(format!("meet-{round}"), options).expect("one or the other");
            queue.try_put(own).expect("there is room for all");
            queue
        })
        .collect();
    tell("met");
    hear();
    drop(queues);
}

#[test]
fn all_who_open_or_create_meet_in_one_queue() {
    let sandbox = Sandbox::new();
    let mut children = start_together(&sandbox, "meet", PROCESSES);
    children.iter_mut().for_each(|child| child.expect("met"));
    for round in 0..ROUNDS {
        let queue = PodQueue::<u64>::open_with(format!("meet-{round}"), sandbox.here()).expect("kept by all");
        let mut met = queue.try_iter().collect::<Result<Vec<_>, _>>().expect("numbers");
        met.sort_unstable();
        assert_eq!(met, (0..PROCESSES as u64).collect::<Vec<_>>(), "round {round}");
        assert_eq!(queue.participants(), 1 + PROCESSES);
    }
    children.into_iter().for_each(|child| drop(child.succeed()));
}

// ---- nobody sees half a queue ----

const CAPACITY: usize = 17;
const STAMP: [u64; 4] = [1, 2, 3, 4];
const CHURN: Duration = Duration::from_millis(1500);

fn may_fail_with(error: &SetupError, allowed: &[K]) {
    assert!(allowed.contains(error.kind()), "{error}");
}

/// Creates and drops one name as fast as it can. Says how often.
fn role_churn(_: &[String]) {
    get_ready();
    let end = Instant::now() + CHURN;
    let mut created = 0;
    while Instant::now() < end {
        match PodQueue::<[u64; 4]>::create("churn", Options::new(CAPACITY as u64)) {
            Ok(queue) => {
                created += 1;
                queue.put(STAMP).expect("nobody closes, and there is room");
            }
            Err(error) => may_fail_with(&error, &[K::AlreadyExists, K::Busy]),
        }
    }
    tell(created);
}

/// Opens the name as fast as it can. Says how often it was there.
fn role_visit(_: &[String]) {
    get_ready();
    let end = Instant::now() + CHURN;
    let mut opened = 0;
    while Instant::now() < end {
        match PodQueue::<[u64; 4]>::open("churn") {
            Ok(queue) => {
                opened += 1;
                assert_eq!(queue.capacity(), CAPACITY);
                assert!(queue.len() <= CAPACITY && queue.participants() >= 1);
                if let Ok(message) = queue.try_get() {
                    assert_eq!(message, STAMP);
                }
            }
            Err(error) => may_fail_with(&error, &[K::NotFound, K::Busy]),
        }
    }
    tell(opened);
}

fn total(children: &mut [Child]) -> u64 {
    children.iter_mut().map(|child| child.line().parse::<u64>().expect("a count")).sum()
}

#[test]
fn an_opener_never_sees_half_a_queue() {
    let sandbox = Sandbox::new();
    let mut churners: Vec<_> = (0..2).map(|_| sandbox.child("churn", &[])).collect();
    let mut visitors: Vec<_> = (0..3).map(|_| sandbox.child("visit", &[])).collect();
    churners.iter_mut().chain(&mut visitors).for_each(|child| child.expect("ready"));
    churners.iter_mut().chain(&mut visitors).for_each(|child| child.tell("go"));
    let (created, opened) = (total(&mut churners), total(&mut visitors));
    println!("created {created} times, opened {opened} times");
    assert!(created > 0 && opened > 0);
    churners.into_iter().chain(visitors).for_each(|child| drop(child.succeed()));
}

/// Is killed somewhere in the middle.
fn role_churn_for_ever(_: &[String]) {
    tell("begun");
    loop {
        if let Ok(queue) = PodQueue::<[u64; 4]>::create("churn", Options::new(CAPACITY as u64)) {
            queue.put(STAMP).expect("nobody closes, and there is room");
        }
    }
}

#[test]
fn a_creator_killed_anywhere_leaves_nothing_half_made() {
    let sandbox = Sandbox::new();
    let mut adopted = 0;
    for round in 0..100 {
        let mut child = sandbox.child("churn-for-ever", &[]);
        child.expect("begun");
        // At a different moment each time.
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_micros(37 * round % 1500) {
            std::hint::spin_loop();
        }
        child.kill();
        match PodQueue::<[u64; 4]>::open_with("churn", sandbox.here()) {
            Ok(queue) => {
                adopted += 1;
                assert_eq!((queue.capacity(), queue.participants()), (CAPACITY, 1));
                assert!(queue.try_iter().all(|message| message == Ok(STAMP)));
                queue.put(STAMP).expect("it works");
                assert_eq!(queue.get(), Ok(STAMP));
            }
            Err(error) => may_fail_with(&error, &[K::NotFound]),
        }
        assert!(sandbox.files().is_empty(), "round {round}");
    }
    println!("{adopted} of 100 were killed while the name was there");
}
