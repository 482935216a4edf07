//! SIGKILL at random under load (K1, K2, K3, K7; A2, A3, A7, A8): workers put and get as
//! fast as they can, one after the other is killed and has a successor, and the books
//! must balance: nothing twice, nothing missing but what a killed consumer had taken and
//! not written down yet, nothing out of order, nobody held up.
//!
//! `RINGWAY_LONG=1` makes it twenty times as long: 10,000 kills.

mod common;

use common::load::{Blocks, CONSUMER, Content, Dice, HANG, Huge, InPlace, Load, PRODUCER, Shape, Wide};
use common::notes::{Unexplained, Verdict};
use common::{Role, Sandbox};
use ringway::Side::{self, Multi, Single};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[PRODUCER, CONSUMER];

/// How long those across must have been idle to count as held up by a stopped one.
const HELD_UP: Duration = Duration::from_millis(5);

/// How many are stopped in search of one that holds others up.
const TRIES: u64 = 6;

/// The 99th percentile of recovery times: by slices, or watched.
fn recovery_limit(watched: bool) -> Duration {
    let limit = if watched { 25 } else { 120 };
    Duration::from_millis(if common::is_long() { limit } else { 5 * limit })
}

/// The median, by slices, or watched: also on a machine that does other things too.
const MEDIAN_LIMIT: [Duration; 2] = [Duration::from_millis(120), Duration::from_millis(25)];

/// One worker after the other is killed; returns how long those that a dead one held up
/// had to wait.
fn kill_at_random(load: &mut Load<'_, impl Content>, kills: usize, dice: &mut Dice) -> Vec<Duration> {
    let mut recovered = Vec::new();
    for _ in 0..kills {
        load.pump_for(Duration::from_micros(500 + dice.below(6000)));
        // Half of the victims are stopped first, and looked for until one is found that
        // holds others up, so that it is known how long these then wait.
        let tries = if dice.below(2) == 0 { TRIES } else { 0 };
        recovered.extend(kill_one(load, tries, dice));
    }
    all_begin(load);
    recovered
}

/// Nobody is to open a queue that is closed meanwhile.
fn all_begin(load: &mut Load<'_, impl Content>) {
    load.pump_until(HANG, "the last successor begins", |load| (0..load.seats()).all(|seat| load.has_begun(seat)));
}

/// Kills one that holds others up, if so many tries find one, or any other, and lets a
/// successor begin. How long those that a dead one held up had to wait, from its kill on.
fn kill_one(load: &mut Load<'_, impl Content>, tries: u64, dice: &mut Dice) -> Option<Duration> {
    let mut victim = dice.below(load.seats() as u64) as usize;
    let mut holds_others_up = false;
    for _ in 0..tries {
        load.stop(victim);
        holds_others_up = load.side(victim) == Multi && load.holds_others_up(victim, HELD_UP);
        if holds_others_up {
            break;
        }
        load.go_on(victim);
        victim = dice.below(load.seats() as u64) as usize;
    }
    let across = !load.is_producer(victim);
    let (before, killed) = (load.done(across, victim), Instant::now());
    load.signal(victim, libc::SIGKILL);
    if holds_others_up {
        let what = format!("somebody gets past seat {victim}, which is dead; {before} done across");
        load.pump_until(HANG, &what, |load| load.done(across, victim) != before);
    }
    let recovered = holds_others_up.then(|| killed.elapsed());
    load.bury(victim);
    if dice.below(4) == 0 {
        load.pump_for(Duration::from_millis(dice.below(20)));
    }
    load.occupy(victim);
    recovered
}

/// Asserts what must hold after the kills.
#[track_caller]
fn balances<T: Content>(shape: Shape, killed: [u64; 2], (verdict, unexplained): (Verdict, Unexplained)) {
    println!("  {killed:?} producers and consumers killed: {verdict:?}");
    assert_eq!((verdict.doubled, verdict.invented), (0, 0), "doubled or invented: {verdict:?}");
    assert!(!shape.leases || verdict.missing == 0, "lost: {verdict:?}");
    // What came back from killed consumers comes after later messages.
    let is_brought_back = !shape.leases && shape.sides.1 == Multi;
    assert!(is_brought_back || verdict.inverted == 0, "out of order: {verdict:?}");
    // What is missing, a killed consumer had taken and not written down; each of them one call's.
    assert_eq!(unexplained, [], "lost or out of order, by more than each that was killed explains: {verdict:?}");
    assert!(verdict.late_acknowledged <= killed[0] * shape.batch, "{verdict:?}");
    assert!(verdict.got > T::WORTH, "a load that is worth the name: {verdict:?}");
}

/// `workers` on each side, who put and get by the batch.
fn plain(sides: (Side, Side), workers: usize, capacity: u64, batch: u64) -> Shape {
    Shape { sides, producers: workers, consumers: workers, capacity, batch, leases: false, watched: false }
}

fn soak<T: Content>(shape: Shape, kills: usize) {
    let factor = if common::is_long() { 20 } else { 1 };
    let sandbox = Sandbox::with_limit(Duration::from_secs(60 * factor as u64));
    let mut load = Load::<T>::start(&sandbox, shape);
    let mut dice = Dice::new(shape.capacity + shape.batch);
    let recovered = kill_at_random(&mut load, kills * factor, &mut dice);
    let killed = load.killed;
    let books = load.settle();
    println!("{} {shape:?}", T::WIDTH);
    balances::<T>(shape, killed, books);
    pool(shape.watched, &recovered);
}

/// All recovery times that this process has measured: by slices, and watched.
static RECOVERED: [Mutex<Vec<Duration>>; 2] = [const { Mutex::new(Vec::new()) }; 2];

/// So few say nothing of a 99th percentile.
const ENOUGH: usize = 50;

/// Adds recovery times to those of all other shapes, and looks at them together.
fn pool(watched: bool, recovered: &[Duration]) {
    let mut all = RECOVERED[usize::from(watched)].lock().unwrap_or_else(PoisonError::into_inner);
    all.extend(recovered);
    all.sort();
    let Some(last) = all.len().checked_sub(1) else { return };
    let [p50, p99, max] = [50, 99, 100].map(|percent| all[last * percent / 100]);
    let (how, count) = (if watched { "watched" } else { "by slices" }, recovered.len());
    println!("  {count} held others up; recovered {how}, {} so far: p50 {p50:?}, p99 {p99:?}, max {max:?}", last + 1);
    assert!(all.len() < ENOUGH || p99 < recovery_limit(watched), "recovered {p99:?} after the kill");
    // In CI the 99th percentile of what is watched may be as long as a slice. The median may not.
    assert!(all.len() < ENOUGH || p50 < MEDIAN_LIMIT[usize::from(watched)], "half recovered {p50:?} after the kill");
}

/// How long others wait for what a dead one has claimed: victims are those that hold
/// others up.
fn recovery_times(watched: bool) {
    recover_often(watched, if common::is_long() { 500 } else { 100 });
}

fn recover_often(watched: bool, samples: usize) {
    let sandbox = Sandbox::with_limit(Duration::from_secs(if common::is_long() { 300 } else { 60 }));
    let shape = Shape { watched, ..plain((Multi, Multi), 2, 2, 1) };
    let mut load = Load::<Huge>::start(&sandbox, shape);
    let (mut dice, mut recovered) = (Dice::new(samples as u64), Vec::new());
    while recovered.len() < samples {
        load.pump_for(Duration::from_micros(500 + dice.below(3000)));
        recovered.extend(kill_one(&mut load, 10 * TRIES, &mut dice));
    }
    all_begin(&mut load);
    let killed = load.killed;
    let books = load.settle();
    println!("{} {shape:?}", Huge::WIDTH);
    balances::<Huge>(shape, killed, books);
    pool(watched, &recovered);
}

#[test]
fn recovery_by_slices() {
    recovery_times(false);
}

#[test]
fn recovery_of_watched_children() {
    recovery_times(true);
}

#[test]
fn four_and_four() {
    soak::<u64>(plain((Multi, Multi), 4, 64, 1), 50);
    soak::<u64>(plain((Multi, Multi), 4, 3, 1), 30);
    soak::<Wide>(plain((Multi, Multi), 4, 16, 1), 60);
}

#[test]
fn four_and_four_in_batches() {
    soak::<u64>(plain((Multi, Multi), 4, 64, 8), 30);
    soak::<Wide>(plain((Multi, Multi), 4, 16, 8), 40);
}

#[test]
fn four_and_four_with_leases() {
    soak::<u64>(Shape { leases: true, ..plain((Multi, Multi), 4, 64, 1) }, 40);
    soak::<Wide>(Shape { leases: true, ..plain((Multi, Multi), 4, 16, 1) }, 60);
}

#[test]
fn four_and_four_watched() {
    soak::<Wide>(Shape { watched: true, ..plain((Multi, Multi), 4, 16, 8) }, 50);
}

#[test]
fn one_and_one_single() {
    soak::<u64>(plain((Single, Single), 1, 64, 1), 30);
    soak::<Wide>(plain((Single, Single), 1, 16, 8), 20);
    soak::<u64>(Shape { leases: true, ..plain((Single, Single), 1, 64, 1) }, 20);
}

/// Blocks that the dead had reserved, placed, claimed or leased are free again, or the
/// arena is soon used up.
#[test]
fn four_and_four_in_blocks() {
    soak::<Blocks>(plain((Multi, Multi), 4, 16, 1), 60);
    soak::<Blocks>(plain((Multi, Multi), 4, 16, 8), 40);
    soak::<Blocks>(Shape { leases: true, ..plain((Multi, Multi), 4, 16, 1) }, 60);
    soak::<Blocks>(plain((Multi, Multi), 4, 0, 1), 40);
    soak::<Blocks>(plain((Single, Single), 1, 16, 1), 20);
}

/// Reserved and committed or given up, and read where it lies by who may die with some in its hands: these come
/// back, and whoever waits for a block gets the ones that the dead had.
#[test]
fn four_and_four_in_place() {
    let held = |sides, workers, capacity| Shape { leases: true, ..plain(sides, workers, capacity, 1) };
    soak::<InPlace>(held((Multi, Multi), 4, 16), 60);
    soak::<InPlace>(held((Multi, Multi), 4, 0), 40);
    soak::<InPlace>(Shape { watched: true, ..held((Multi, Multi), 4, 64) }, 40);
    soak::<InPlace>(held((Single, Multi), 2, 16), 20);
    soak::<InPlace>(held((Multi, Single), 2, 16), 20);
    soak::<InPlace>(held((Single, Single), 1, 16), 20);
}

/// What is compared with the state of a queue at rest, too: everything that may be left is seen.
#[test]
fn what_is_left_is_noticed() {
    use common::rest::unrest;
    let sandbox = Sandbox::new();
    let queue = ringway::ByteQueue::create("q", InPlace::fit(sandbox.options(4))).expect("a free name");
    let (at, part) = (sandbox.path().to_owned(), |what: &str| Some(what.to_owned()));
    let has = |what: &str| unrest(&at, "q").filter(|unrest| unrest.contains(what)).and_then(|_| part(what));
    assert_eq!(unrest(&at, "q"), None);
    let block = queue.reserve(1000).expect("a block");
    assert_eq!(has("writing: 1"), part("writing: 1"));
    block.commit().expect("room");
    assert_eq!((has("1 messages"), has("queued: 1")), (part("1 messages"), part("queued: 1")));
    let held = queue.get_ref().expect("a message");
    assert_eq!((has("leases: ["), has("leased: 1")), (part("leases: ["), part("leased: 1")));
    drop(held);
    assert_eq!(unrest(&at, "q"), None);
}

/// A queue that grows and shrinks all the time: its chunks are a page.
#[test]
fn four_and_four_growing() {
    soak::<u64>(plain((Multi, Multi), 4, 0, 1), 40);
    soak::<u64>(plain((Multi, Multi), 4, 0, 100), 30);
    soak::<Wide>(plain((Multi, Multi), 4, 0, 1), 40);
    soak::<u64>(Shape { leases: true, ..plain((Multi, Multi), 4, 0, 1) }, 40);
}

/// On a Single side one works and the other stands by to take over.
#[test]
fn two_and_two_with_a_single_side() {
    soak::<u64>(plain((Multi, Single), 2, 16, 1), 20);
    soak::<Wide>(plain((Multi, Single), 2, 16, 4), 20);
    soak::<u64>(plain((Single, Multi), 2, 16, 1), 20);
    soak::<Wide>(plain((Single, Multi), 2, 16, 4), 20);
    soak::<u64>(plain((Single, Single), 2, 16, 1), 20);
    soak::<Wide>(Shape { leases: true, ..plain((Multi, Single), 2, 16, 1) }, 20);
    soak::<Wide>(Shape { leases: true, ..plain((Single, Multi), 2, 16, 1) }, 20);
}

/// The book itself: everything that it may say, it says when it is so, and only then.
#[test]
fn the_book_notices_everything() {
    use common::ledger::message;
    use common::notes::{Book, REDELIVERED, Verdict};
    // What two consumers got of two producers, in order, of which nine and 5,000 were put.
    let plain: Vec<u64> = (0..9).map(|n| message(0, n)).chain((0..5000).map(|n| message(1, n))).collect();
    let settle = |words: &[u64], other: &[u64], pending: std::ops::Range<u64>| {
        let mut book = Book::new(2);
        book.pending(0, pending);
        for words in [words, other] {
            let mut last = [None; 2];
            words.iter().for_each(|word| book.note(&mut last, *word));
        }
        book.settle(&[9, 5000])
    };
    let good = Verdict { got: 5009, ..Verdict::default() };
    assert_eq!(settle(&plain, &[], 0..0), good);
    let (evens, odds): (Vec<u64>, Vec<u64>) = plain.iter().partition(|word| *word % 2 == 0);
    assert_eq!(settle(&evens, &odds, 0..0), good);
    for at in [0, 8, 9, 10, 4105, 5008] {
        let mut lost = plain.clone();
        let word = lost.remove(at);
        assert_eq!(settle(&lost, &[], 0..0), Verdict { got: 5008, missing: 1, ..good });
        assert_eq!(settle(&lost, &[word], 0..0), good, "out of the order of another is none");
        let twice = Verdict { got: 5010, ..good };
        assert_eq!(settle(&plain, &[word], 0..0), Verdict { doubled: 1, ..twice });
        let back = Verdict { redelivered: 1, ..good };
        assert_eq!(settle(&lost, &[word | REDELIVERED], 0..0), back);
        assert_eq!(settle(&plain, &[word | REDELIVERED], 0..0), Verdict { again: 1, redelivered: 1, ..twice });
        if ![8, 5008].contains(&at) {
            lost.insert(if at < 9 { 8 } else { 5008 }, word);
            assert_eq!(settle(&lost, &[], 0..0), Verdict { inverted: 1, ..good }, "{at}");
        }
    }
    for invented in [message(0, 9), message(1, 5000), message(2, 0)] {
        assert_eq!(settle(&plain, &[invented], 0..0), Verdict { got: 5010, invented: 1, ..good });
    }
    // A put that was cut short is there, or not.
    let short: Vec<u64> = plain.iter().copied().filter(|word| *word != message(0, 8)).collect();
    assert_eq!(settle(&short, &[], 8..9), Verdict { got: 5008, ..good });
    assert_eq!(settle(&plain, &[], 8..9), Verdict { late_acknowledged: 1, ..good });
}

/// What one of the dead lost too much is not hidden by another one that lost nothing.
#[test]
fn each_of_the_dead_explains_its_own() {
    use common::ledger::message;
    use common::notes::Book;
    let put = [100, 100];
    // The other way round where somebody gets these behind all the rest: late, not missing.
    let left = |absent: &[(usize, u64)], dead: &[[std::ops::Range<u64>; 2]], each, comes_late: bool| {
        let mut book = Book::new(2);
        let mut last = [None; 2];
        let all = || (0..2).flat_map(|of| (0..100).map(move |n| (of, n)));
        all().filter(|one| !absent.contains(one)).for_each(|(of, n)| book.note(&mut last, message(of, n)));
        if comes_late {
            absent.iter().for_each(|(of, n)| book.note(&mut last, message(*of, *n)));
        }
        dead.iter().for_each(|hands| book.died(hands.to_vec()));
        book.unexplained(&put, each)
    };
    for comes_late in [false, true] {
        let left = |absent: &[_], dead: &[_], each| left(absent, dead, each, comes_late);
        assert_eq!(left(&[], &[], 1), []);
        assert_eq!(left(&[(0, 7)], &[], 1), [(0, 7)]);
        let (early, late) = ([5..10, 5..10], [50..60, 50..60]);
        // One each, then two of the first, whom the second does not help, unless two were allowed.
        let dead = [early.clone(), late.clone()];
        assert_eq!(left(&[(0, 7), (1, 55)], &dead, 1), []);
        assert_eq!(left(&[(0, 7), (1, 8)], &dead, 1), [(1, 8)]);
        assert_eq!(left(&[(0, 7), (1, 8)], &dead, 2), []);
        assert_eq!(left(&[(0, 7), (0, 10)], &dead, 2), [(0, 10)]);
        // Whom both explain is charged to whom the other one needs less.
        let both = [5..10, 5..60];
        assert_eq!(left(&[(0, 7), (1, 8), (1, 9)], &[early.clone(), both.clone(), early], 1), []);
        let dead = [both.clone(), [0..0, 5..10]];
        assert_eq!(left(&[(1, 8), (0, 7)], &dead, 1), []);
        assert_eq!(left(&[(1, 8), (1, 20)], &dead, 1), []);
        assert_eq!(left(&[(1, 8), (1, 20), (0, 6)], &dead, 1).len(), 1);
    }
}

/// Bugs in recovery are found here. Random kills do not show the others: what goes wrong
/// with 5 needs a rescuer that is overtaken in the middle, or two deaths on one message,
/// and 6 one that joins a queue before anybody has looked (`tests/recovery.rs`; both are
/// also found by the models, and 6 by `tests/kill_points.rs`); 4 needs somebody who lives
/// and is held up (`tests/stops.rs`).
#[cfg(ringway_seeded)]
mod controls {
    use super::*;

    const HUNG: &[&str] = &["got nothing done", "not in 2s"];

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn wide() {
        soak::<Wide>(plain((Multi, Multi), 4, 16, 1), 60);
    }

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn small() {
        soak::<u64>(plain((Multi, Multi), 4, 64, 1), 150);
    }

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn leases() {
        soak::<Wide>(Shape { leases: true, ..plain((Multi, Multi), 4, 16, 1) }, 60);
    }

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn blocks() {
        soak::<Blocks>(plain((Multi, Multi), 4, 16, 1), 100);
    }

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn in_place() {
        soak::<InPlace>(Shape { leases: true, ..plain((Multi, Multi), 4, 16, 1) }, 60);
    }

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn by_slices() {
        recover_often(false, ENOUGH);
    }

    #[test]
    #[ignore = "a part of seeded_bugs_are_found; alone: RUSTFLAGS='--cfg ringway_seeded' cargo test --test soak -- --ignored"]
    fn watched() {
        recover_often(true, ENOUGH);
    }

    #[test]
    fn seeded_bugs_are_found() {
        use common::control::fails_with_seeds;
        fails_with_seeds("controls::by_slices", &[(17, &["recovered"])]);
        fails_with_seeds("controls::watched", &[(16, &["half recovered"])]);
        // 8: also those who wait for room wait for what was brought back.
        fails_with_seeds("controls::wide", &[(1, HUNG), (8, HUNG), (7, &["participants 0", "doubled", "lost"])]);
        fails_with_seeds("controls::leases", &[(2, &["lost:"])]);
        fails_with_seeds("controls::small", &[(3, HUNG)]);
        fails_with_seeds("controls::blocks", &[(9, HUNG)]);
        let left = &["not at rest", "got nothing done", "not in 2s"];
        fails_with_seeds("controls::in_place", &[(9, left), (19, &["lost:"])]);
    }
}
