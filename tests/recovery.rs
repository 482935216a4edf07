//! What recovery does, step by step, for what random kills under load show too seldom: a
//! victim is killed at a random moment of a long operation, and nobody else is there who
//! could hide what its death left.

mod common;

use common::load::Dice;
use common::{Child, Role, Sandbox, hear, tell};
use ringway::admin::{self, Operation};
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

/// What a dead producer had claimed holds up what was put behind it. Whoever closes the queue looks once:
/// here nobody else does, since `inspect` only reads.
#[test]
fn a_close_finishes_what_the_dead_left() {
    const TRIES: usize = 300;
    let sandbox = Sandbox::new();
    let mut dice = Dice::new(8);
    for _ in 0..TRIES {
        let queue = PodQueue::<Slab>::create("q", sandbox.options(64)).expect("a free name");
        let unfinished = || {
            let seen = admin::inspect(Some(sandbox.path()), &"q".parse().expect("a name")).expect("a queue");
            seen.ring.expect("it has its words").unfinished
        };
        // The first call of a handle looks: not what is asked here.
        queue.put(slab(0)).expect("there is room");
        assert_eq!(queue.get().map(|slab| slab[0]), Ok(0));
        let mut victim = sandbox.child("putter", &[]);
        victim.expect("ready");
        spin(Duration::from_micros(dice.below(500)));
        victim.kill();
        let left = unfinished();
        let [left] = &left[..] else { continue };
        assert_eq!(left.operation, Operation::Put);
        queue.put(slab(2)).expect("there is room");
        assert_eq!(unfinished().len(), 1, "a put that finds room does not look");
        // Two looks of one handle are some ticks of the coarse clock apart.
        std::thread::sleep(Duration::from_millis(20));
        queue.close();
        assert_eq!(unfinished(), [], "the close has not looked");
        let got: Vec<u64> = queue.try_iter().map(|got| got.expect("whole")[0]).collect();
        assert!(got.split_last().is_some_and(|(last, rest)| *last == 2 && rest.iter().all(|n| *n == 1)), "{got:?}");
        return;
    }
    panic!("none of {TRIES} was killed in the middle of a put");
}

/// Bugs that only show here.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    use common::control::fails_with_seeds;
    fails_with_seeds("a_close_finishes_what_the_dead_left", &[(18, &["the close has not looked"])]);
    fails_with_seeds("each_death_on_a_message_counts", &[(5, &["each death counts"])]);
    fails_with_seeds("who_takes_a_dead_ones_place_finishes_its_work_first", &[(6, &["nobody is in the way"])]);
}
