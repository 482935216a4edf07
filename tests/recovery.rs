//! What recovery does, step by step, for what random kills under load show too seldom: a
//! victim is killed at a random moment of a long operation, and nobody else is there who
//! could hide what its death left.

mod common;

use common::load::Dice;
use common::{Child, Role, Sandbox, hear, tell};
use ringway::{GetError, PodQueue, PutError};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[("getter", role_getter), ("putter", role_putter)];

/// 128 KiB: it takes a while to put and to get.
type Slab = [u64; 16384];

fn slab(number: u64) -> Slab {
    [number; 16384]
}

/// So long a call may take that has to wait for nothing.
const SOON: Duration = Duration::from_secs(2);

fn open() -> PodQueue<Slab> {
    PodQueue::open("q").expect("it is there")
}

/// Gets one message, a random moment after it has said that it will.
fn role_getter(_: &[String]) {
    let queue = open();
    let mut dice = Dice::new(u64::from(std::process::id()));
    tell("ready");
    spin(Duration::from_micros(dice.below(350)));
    queue.get().expect("it is open");
    hear();
}

/// Puts without end.
fn role_putter(_: &[String]) {
    let queue = open();
    tell("ready");
    loop {
        match queue.put_timeout(slab(1), Duration::from_millis(50)) {
            Ok(()) | Err(PutError::TimedOut(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Every death on a message is counted: the reader of `redelivered()` decides by it
/// whether to go on with a message that kills.
#[test]
fn each_death_on_a_message_counts() {
    let wanted = if common::is_long() { 50 } else { 1 };
    let sandbox = Sandbox::new();
    let queue = PodQueue::<Slab>::create("q", sandbox.options(1)).expect("a free name");
    let mut dice = Dice::new(5);
    let (mut number, mut twice, mut deaths, mut victims) = (0, 0, 0, 0);
    while twice < wanted {
        if queue.is_empty() {
            (number, deaths) = (number + 1, 0);
            queue.put(slab(number)).expect("it is open");
        }
        let mut victim = sandbox.child("getter", &[]);
        victim.expect("ready");
        // Asleep, it leaves its processor to the victim.
        std::thread::sleep(Duration::from_micros(dice.below(200)));
        victim.kill();
        victims += 1;
        // It had claimed the message, or had not, or has got it.
        let brought_back = queue.recover().expect("a descriptor");
        assert!(brought_back <= 1, "there is one message: {brought_back}");
        deaths += brought_back as u32;
        if deaths >= 2 && !queue.is_empty() {
            let lease = queue.try_lease().expect("it was brought back");
            assert_eq!((lease[0], lease.redelivered()), (number, deaths), "each death counts");
            lease.ack().expect("it is open");
            twice += 1;
        }
    }
    println!("{victims} were killed; {twice} messages have seen two deaths");
}

/// Who takes the place of a dead participant finishes first what that one has claimed:
/// afterwards nobody would.
#[test]
fn who_takes_a_dead_ones_place_finishes_its_work_first() {
    let rounds = if common::is_long() { 1000 } else { 60 };
    let sandbox = Sandbox::new();
    let mut dice = Dice::new(6);
    for round in 0..rounds {
        // Room for this process and the victim: its place is the only one.
        let options = sandbox.options(1).max_participants(2);
        let queue = PodQueue::<Slab>::create("q", options).expect("a free name");
        let mut victim: Child = sandbox.child("putter", &[]);
        victim.expect("ready");
        assert_eq!(queue.get().map(|slab| slab[0]), Ok(1));
        spin(Duration::from_micros(dice.below(60)));
        victim.kill();
        let successor = queue.producer().expect("its place is free");
        // What it had put is there; what it had begun is in nobody's way.
        let mut got = queue.get_timeout(Duration::ZERO);
        assert!(matches!(got, Ok(_) | Err(GetError::TimedOut)), "{:?}", got.map(|slab| slab[0]));
        successor.put_timeout(slab(2), SOON).map_err(|_| round).expect("nobody is in the way");
        got = queue.get_timeout(SOON);
        assert_eq!(got.map(|slab| slab[0]), Ok(2), "round {round}");
    }
}

/// Bugs that only show here.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    use common::control::fails_with_seeds;
    fails_with_seeds("each_death_on_a_message_counts", &[(5, &["each death counts"])]);
    fails_with_seeds("who_takes_a_dead_ones_place_finishes_its_work_first", &[(6, &["nobody is in the way"])]);
}
