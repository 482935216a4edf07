//! SIGSTOP at random under load (K4; A5, A10): a stopped participant is alive. Wherever it
//! was stopped, nobody takes what it has claimed, whoever looks for the dead meanwhile;
//! timed calls of others return in time; and when it goes on, nothing is lost, doubled or
//! out of order.

mod common;

use common::load::{Blocks, CONSUMER, Content, Dice, Load, PRODUCER, Shape, Wide};
use common::{Role, Sandbox};
use ringway::Side::{self, Multi, Single};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[PRODUCER, CONSUMER];

/// How late a timed call may return.
fn late_limit() -> Duration {
    Duration::from_millis(if common::is_long() { 20 } else { 100 })
}

fn stops<T: Content>(sides: (Side, Side), workers: usize, capacity: u64, batch: u64, stops: usize) {
    let shape = Shape { sides, producers: workers, consumers: workers, capacity, batch, leases: false, watched: false };
    stops_of::<T>(shape, stops);
}

fn stops_of<T: Content>(shape: Shape, stops: usize) {
    let factor = if common::is_long() { 20 } else { 1 };
    let sandbox = Sandbox::with_limit(Duration::from_secs(60 * factor as u64));
    let Shape { sides, capacity, batch, leases, .. } = shape;
    let mut load = Load::<T>::start(&sandbox, shape);
    let mut dice = Dice::new(capacity * 3 + batch);
    let mut in_the_way = 0;
    let is_wide = ![u64::WIDTH, Blocks::WIDTH].contains(&T::WIDTH);
    let wants_holders = is_wide && !leases && sides != (Single, Single);
    let mut stopped = 0;
    // On a machine that does other things too it takes longer until one is stopped there.
    while stopped < stops * factor || wants_holders && in_the_way == 0 && stopped < 5 * stops * factor {
        stopped += 1;
        load.pump_for(Duration::from_micros(200 + dice.below(1500)));
        let seat = dice.below(load.seats() as u64) as usize;
        load.stop(seat);
        let is_holder = load.side(seat) == Single && !load.is_standby(seat);
        // Long ones: those who wait look for the dead once in 100 ms.
        let until = Instant::now() + Duration::from_millis(if dice.below(10) == 0 { 250 } else { dice.below(6) });
        let held_up = !is_holder && load.holds_others_up(seat, Duration::from_millis(3));
        in_the_way += u32::from(held_up);
        loop {
            assert_eq!(load.queue.recover().expect("a descriptor"), 0, "nobody has died: {}", load.describe());
            load.spare_the_held_up();
            load.pump();
            if Instant::now() > until {
                break;
            }
        }
        load.go_on(seat);
    }
    let (late, timed_out) = (load.latest(), load.timed_out());
    let (verdict, _) = load.settle();
    println!(
        "{} {shape:?}\n  {in_the_way} held others up, {timed_out} calls timed out, the latest {late:?} late",
        T::WIDTH
    );
    println!("  {verdict:?}");
    assert_eq!((verdict.doubled, verdict.missing), (0, 0), "{verdict:?}");
    assert_eq!((verdict.inverted, verdict.invented, verdict.late_acknowledged), (0, 0, 0), "{verdict:?}");
    assert!(late < late_limit(), "a timed call returned {late:?} late");
    assert!(timed_out > 0, "nobody has waited in vain");
    assert_eq!(verdict.again, 0, "a lease of the stopped was given to somebody else: {verdict:?}");
    assert!(!wants_holders || in_the_way > 0, "some were stopped between a claim and its end");
}

#[test]
fn both_sides_multi() {
    stops::<Wide>((Multi, Multi), 3, 8, 1, 150);
    stops::<Wide>((Multi, Multi), 2, 16, 8, 100);
    stops::<u64>((Multi, Multi), 2, 64, 1, 100);
    stops::<Blocks>((Multi, Multi), 3, 8, 1, 100);
}

#[test]
fn one_side_single() {
    stops::<Wide>((Multi, Single), 2, 8, 1, 100);
    stops::<Wide>((Single, Multi), 2, 8, 1, 100);
}

/// Whoever is stopped with a lease keeps it.
#[test]
fn with_leases() {
    let shape = Shape {
        sides: (Multi, Multi),
        producers: 2,
        consumers: 3,
        capacity: 8,
        batch: 1,
        leases: true,
        watched: false,
    };
    stops_of::<Wide>(shape, 100);
    stops_of::<Blocks>(shape, 50);
    stops_of::<Wide>(Shape { sides: (Multi, Single), consumers: 1, ..shape }, 50);
}

#[test]
fn both_sides_single() {
    stops::<Wide>((Single, Single), 1, 8, 1, 50);
    stops::<u64>((Single, Single), 1, 64, 8, 50);
}

/// Bugs that rob the stopped, or take the living for dead, are found here.
#[cfg(ringway_seeded)]
mod controls {
    use super::*;

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test stops -- --ignored"]
    fn wide() {
        stops::<Wide>((Multi, Multi), 3, 8, 1, 150);
    }

    /// Where everybody waits for the one who is stopped.
    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test stops -- --ignored"]
    fn single() {
        stops::<Wide>((Single, Single), 1, 8, 1, 100);
    }

    #[test]
    fn seeded_bugs_are_found() {
        use common::control::fails_with_seeds;
        const ROBBED: &[&str] = &["nobody has died"];
        fails_with_seeds("controls::wide", &[(4, ROBBED), (7, ROBBED)]);
        fails_with_seeds("controls::single", &[(36, &["a timed call returned"])]);
    }
}
