//! Broadcasts of which somebody is stopped or killed, and gaps under load: nobody waits for the
//! dead, nobody robs the living, and whoever lives to the end has seen the same.
//!
//! `RINGWAY_LONG=1` makes the random kills 33 times as many: 12,000.

#![allow(unsafe_code)]

mod common;

#[path = "broadcast/talk.rs"]
mod talk;

use common::{Child, Role, Sandbox, timed};
use ringway::{GetError, Options, PutError, Side, SlowConsumers, StartAt};
use std::time::{Duration, Instant};
use talk::*;

const ROLES: &[Role] = &[("listener", role_listener), ("speaker", role_speaker), ("idle", role_idle)];

#[test]
fn a_killed_subscriber_holds_nobody_up() {
    for (side, capacity) in shapes() {
        let sandbox = Sandbox::new();
        let publisher = create(&sandbox, Options::new(capacity).producers(side));
        let mine = publisher.subscribe(StartAt::Now).expect("a place");
        let dead = idle(&sandbox);
        for number in 0..capacity {
            publisher.put(message(0, number)).expect("there is room");
            mine.get().expect("it was put");
        }
        assert_eq!(publisher.try_put(message(0, 0)), Err(PutError::Full(message(0, 0))));
        dead.kill();
        let (put, time) = timed(|| publisher.put_timeout(message(0, capacity), SOON));
        assert_eq!(put, Ok(()), "{side:?} {capacity}");
        assert!(time < Duration::from_secs(3), "{time:?}");
        assert_eq!((publisher.subscribers(), parts(&mine.get().expect("it was put")).1), (1, capacity));
    }
}

/// K4: it is alive, however long it has been stopped.
#[test]
fn a_stopped_subscriber_is_not_robbed() {
    let sandbox = Sandbox::new();
    let publisher = create(&sandbox, Options::new(4));
    let stopped = listen(&sandbox, &["b", "now"]);
    signal(&stopped, libc::SIGSTOP);
    let mut number = 0;
    // It may have been stopped before or after it saw some.
    while publisher.put_timeout(message(0, number), Duration::from_millis(300)).is_ok() {
        number += 1;
        assert!(number <= 4);
    }
    assert_eq!(publisher.recover().expect("a descriptor"), 0);
    assert_eq!((publisher.subscribers(), number), (1, 4));
    assert!(publisher.try_put(message(0, 4)).is_err());
    signal(&stopped, libc::SIGCONT);
    publisher.put_timeout(message(0, 4), SOON).expect("it goes on");
    publisher.close();
    assert_eq!(heard(stopped).0.count, 5);
}

/// Got and missed are together what was sent, whatever the speeds.
#[test]
fn gaps_are_counted_exactly() {
    const EACH: u64 = 40_000;
    for (side, capacity) in [(Side::Single, 64), (Side::Multi, 64), (Side::Single, 1), (Side::Multi, 5)] {
        let sandbox = Sandbox::new();
        let options = Options::new(capacity).producers(side).slow_consumers(SlowConsumers::DropOldest);
        let publisher = create(&sandbox, options);
        let listeners: Vec<Child> = ["0", "100"].iter().map(|pause| listen(&sandbox, &["b", "now", pause])).collect();
        let speakers: u64 = if side == Side::Multi { 2 } else { 1 };
        let speak = |n: u64| sandbox.child("speaker", &["b", &n.to_string(), &EACH.to_string()]);
        let mut children: Vec<Child> = (0..speakers).map(speak).collect();
        children.iter_mut().for_each(|child| child.expect("spoken"));
        children.into_iter().for_each(|child| drop(child.succeed()));
        publisher.close();
        for listener in listeners {
            let (seen, missed) = heard(listener);
            println!("{side:?} {capacity}: {} got, {missed} missed", seen.count);
            assert_eq!(seen.count + missed, speakers * EACH, "{side:?} {capacity}");
        }
    }
}

/// Speakers and listeners are killed at random; those that live to the end have seen the same.
fn soak(side: Side, policy: SlowConsumers, capacity: u64, listeners: usize, rounds: u64) {
    let sandbox = Sandbox::new();
    let publisher = create(&sandbox, Options::new(capacity).producers(side).slow_consumers(policy));
    let gaps = policy == SlowConsumers::DropOldest;
    let survivors: Vec<Child> = (0..listeners).map(|_| listen(&sandbox, &["b", "now"])).collect();
    let observer = publisher.subscribe(StartAt::Now).expect("a place");
    let (mut order, mut seen) = (Order::default(), Seen::default());
    let mut take = |limit: Duration| {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            match observer.get_timeout(Duration::from_millis(1)) {
                Ok(got) => {
                    order.check(&got);
                    seen.add(&got);
                }
                Err(GetError::Lagged) => order.gaps += 1,
                Err(GetError::TimedOut) => {}
                Err(GetError::Closed) => return true,
                Err(error) => panic!("{error:?}"),
            }
        }
        false
    };
    let speakers = if side == Side::Multi { 2 } else { 1 };
    let mut dice = capacity * 7 + listeners as u64;
    for round in 0..rounds {
        // Each speaker is another one, so that its numbers begin anew.
        let speak = |n: u64| sandbox.child("speaker", &["b", &(round * 2 + n).to_string(), "100000000", "batches"]);
        let children: Vec<Child> = (0..speakers).map(speak).collect();
        let start = if round % 2 == 0 { "now" } else { "oldest" };
        let victim = listen(&sandbox, &["b", start]);
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        assert!(!take(Duration::from_micros(2000 + (dice >> 33) % 20_000)));
        victim.kill();
        assert!(!take(Duration::from_micros(1000 + (dice >> 40) % 3000)));
        children.into_iter().for_each(Child::kill);
    }
    // Whatever the dead have left, this gets through: no put waits for anybody but this process.
    let begun = Instant::now();
    while publisher.put_timeout(message(77, 0), Duration::from_millis(5)).is_err() {
        assert!(begun.elapsed() < SOON, "somebody dead stands in the way");
        assert!(!take(Duration::from_millis(5)));
    }
    publisher.close();
    while !take(Duration::from_millis(50)) {}
    for survivor in survivors {
        let (heard, missed) = heard(survivor);
        if gaps {
            // A dead one's claim counts as one where it lies in a gap, and as none elsewhere.
            let (theirs, ours) = (heard.count + missed, seen.count + observer.missed());
            assert!(theirs.abs_diff(ours) <= 2 * rounds, "{side:?} {capacity}: {theirs} {ours}");
        } else {
            assert_eq!((heard, missed), (seen, 0), "{side:?} {capacity}");
        }
    }
    let killed = rounds * (1 + speakers);
    let (count, missed) = (seen.count, observer.missed());
    println!("{side:?} {policy:?} {capacity}: {killed} killed beside {count} messages, {missed} missed");
    assert!(seen.count > 0 && publisher.subscribers() == 1);
}

fn rounds() -> u64 {
    if common::is_long() { 400 } else { 12 }
}

#[test]
fn the_living_see_the_same_whoever_is_killed() {
    for side in [Side::Single, Side::Multi] {
        for (capacity, listeners) in [(3, 1), (64, 1), (5, 4), (64, 4)] {
            soak(side, SlowConsumers::Block, capacity, listeners, rounds());
        }
    }
}

#[test]
fn the_living_miss_what_they_are_told_whoever_is_killed() {
    for side in [Side::Single, Side::Multi] {
        for (capacity, listeners) in [(3, 1), (64, 4)] {
            soak(side, SlowConsumers::DropOldest, capacity, listeners, rounds());
        }
    }
}

/// Mistakes in the library that show here.
#[cfg(ringway_seeded)]
mod controls {
    use super::*;

    #[test]
    fn seeded_bugs_are_found() {
        common::control::fails_with_seeds(
            "a_killed_subscriber_holds_nobody_up",
            &[(50, &["TimedOut", "subscribers", "left: 2", "left: (2"])],
        );
        common::control::fails_with_seeds(
            "gaps_are_counted_exactly",
            &[(51, &["left"]), (52, &["a torn message", " behind "])],
        );
        common::control::fails_with_seeds(
            "the_living_see_the_same_whoever_is_killed",
            &[(50, &["stands in the way", "publisher.subscribers() == 1"])],
        );
    }
}
