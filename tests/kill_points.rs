//! Kills a process at every instruction of every operation: SIGKILL after each single
//! step, in every interesting state, on all four combinations of sides. After a SIGKILL
//! shared memory is what the victim's stores up to there made it, so that this is all
//! that its death can leave. Then kills the one who looks after the dead, too.
//!
//! What is killed must be the code that ships, so build it as such:
//!
//! - `cargo test --release --test kill_points`: all points of the main operations in
//!   plain states, and samples of the rest. Without `--release` a smaller sample.
//! - `KILL_POINTS=full cargo test --release --test kill_points -- --nocapture`: the long
//!   form: larger samples; says how many points there were.
//! - `KILL_ROWS=task cargo test --release --test kill_points`: only of operations whose names
//!   begin so.
//! - `KILL_POINT='put,empty,mm,17' cargo test --release --test kill_points replay`: one
//!   point again, as a failure names it: operation, state, sides (m Multi, s Single;
//!   producers first), steps; then perhaps the operation and the steps of a second victim;
//!   then perhaps `wait` (nobody asks for a recovery), `join` (first others attach, also
//!   in the dead one's place) or `stop` (the victim is stopped there while others recover
//!   and get, and goes on).
//!
//! The steps are those of x86-64 under `ptrace`: on other processors there is nothing here.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

mod common;

#[path = "kill_points/account.rs"]
mod account;
#[path = "kill_points/lane.rs"]
mod lane;
#[path = "kill_points/plan.rs"]
mod plan;
#[path = "kill_points/scene.rs"]
mod scene;
#[path = "kill_points/step.rs"]
mod step;
#[path = "kill_points/table.rs"]
mod table;
#[path = "kill_points/victim.rs"]
mod victim;

use common::{Role, Sandbox};
use plan::{ENOUGH, Size, Work};
use ringway::{Consumer, GetError, Pod, TaskError};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[("lane", lane::role_lane), ("victim", victim::role_victim), ("sleeper", victim::role_sleeper)];

/// Three words, so that a torn one shows, and two share a line where both sides are Single.
type Message = [u64; 3];

fn message(producer: u64, number: u64) -> Message {
    let word = common::ledger::message(producer as usize, number);
    [word, !word, word.wrapping_mul(3)]
}

/// The word that stands for it.
fn number(message: Message) -> Result<u64, String> {
    let [word, ..] = message;
    if message == [word, !word, word.wrapping_mul(3)] { Ok(word) } else { Err(format!("torn: {message:x?}")) }
}

/// What was got is done, where that is asked for.
fn taken(consumer: &Consumer<Pod<Message>>, got: Result<Message, GetError>) -> Result<Message, GetError> {
    if got.is_ok() {
        let done = consumer.task_done();
        assert!(matches!(done, Ok(()) | Err(TaskError::NotJoinable)), "{done:?}");
    }
    got
}

const NAME: &str = "q";
/// Small and odd: every position is soon met again, and the last block is shorter.
const CAPACITY: u64 = 5;
const BATCH: usize = 3;
/// The longest that a survivor may wait for anything.
const LIMIT: Duration = Duration::from_secs(2);
/// The longest that one point may take, in seconds.
const ALARM_S: u32 = 40;

/// How the dead are found, or whether the victim is not dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Recover,
    Wait,
    Join,
    Stop,
}

fn is_full() -> bool {
    std::env::var("KILL_POINTS").is_ok_and(|size| size == "full")
}

fn size() -> Size {
    if is_full() {
        // Every point of every row would be half a million: hours.
        Size { some: 400, few: 200, more: 400, waits: (3, 1) }
    } else if cfg!(debug_assertions) {
        // Other code than what ships: only whether the test itself works.
        Size { some: 4, few: 2, more: 4, waits: (0, usize::MAX) }
    } else {
        Size { some: 8, few: 4, more: 8, waits: (1, 10) }
    }
}

fn limit() -> Duration {
    Duration::from_secs(if is_full() { 3 * 3600 } else { 400 })
}

/// All that failed, or how many points there were.
fn report(what: &str, begun: Instant, result: &plan::Result) {
    if is_full() || std::env::var_os("KILL_POINTS").is_some() {
        result.lengths.iter().for_each(|(cell, steps)| println!("{cell}: {steps} steps"));
    }
    let absent = &result.absent;
    println!("{what}: {} points in {:.0?}; states that do not exist: {absent:?}", result.points, begun.elapsed());
    assert!(result.failed.is_empty(), "{} failed:\n{}", result.failed.len(), result.failed.join("\n"));
    assert!(absent.is_empty(), "{absent:?}");
}

#[test]
fn at_every_instruction() {
    let mut cells = plan::cells();
    if cfg!(debug_assertions) {
        println!("not the code that ships: a sample; see the head of this file");
        cells.iter_mut().for_each(|cell| {
            if let Work::Cell { share, .. } = cell {
                *share = table::Share::Some;
            }
        });
    }
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let result = plan::run(&sandbox, cells, size(), ENOUGH, &[]);
    report("killed once", begun, &result);
    let least = if is_full() {
        25_000
    } else if cfg!(debug_assertions) {
        0
    } else {
        3_000
    };
    assert!(result.points >= least, "{} points", result.points);
}

/// The second victim comes when nobody has looked after the first.
#[test]
fn the_rescuer_too() {
    let (first, each) = if is_full() {
        (24, 14)
    } else if cfg!(debug_assertions) {
        (2, 1)
    } else {
        (4, 3)
    };
    let mut work = Vec::new();
    for cell in [
        "put,empty,mm",
        "put_many,wrap,mm",
        "put_many,empty,ms",
        "get,some,mm",
        "get_many,full,sm",
        "put,wrap,sm",
        "lease,some,mm",
        "ack,some,ms",
    ] {
        for second in ["recover", "try_get", "try_put"] {
            work.push(Work::Pairs { cell: cell.to_owned(), second, first, each });
        }
    }
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let result = plan::run(&sandbox, work, size(), ENOUGH, &[]);
    report("killed twice", begun, &result);
    let least = if is_full() {
        5_000
    } else if cfg!(debug_assertions) {
        0
    } else {
        300
    };
    assert!(result.points >= least, "{} points", result.points);
}

#[test]
fn replay() {
    let Ok(point) = std::env::var("KILL_POINT") else { return };
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let result = plan::run(&sandbox, vec![Work::Points(vec![point])], size(), 1, &[]);
    report("replayed", begun, &result);
}

/// The test can fail: each of these mistakes in the library shows at some point.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_caught() {
    use table::Share::All;
    let seeds: &[(&str, &[&str])] = &[
        ("0", &["put,empty,mm", "get,full,mm", "lease,some,mm"]),
        ("1", &["put,empty,mm"]),
        ("2", &["get,full,mm"]),
        ("6", &["lease,some,mm"]),
    ];
    // Seed 4 robs the living: `stops` shows it. Of seed 3 a recovery that is asked for looks at
    // the whole window, and mends it.
    let mut wrong = Vec::new();
    for (seed, cells) in seeds {
        let sandbox = Sandbox::with_limit(limit());
        let work = cells.iter().map(|cell| Work::Cell { cell: (*cell).to_owned(), share: All }).collect();
        let size = Size { some: 0, few: 0, more: u64::MAX, waits: (0, usize::MAX) };
        let result = plan::run(&sandbox, work, size, 1, &[("RINGWAY_SEEDED", seed)]);
        println!("seed {seed}: {:?} after {} points", result.failed, result.points);
        if result.failed.is_empty() != (*seed == "0") {
            wrong.push(*seed);
        }
    }
    assert!(wrong.is_empty(), "seeds {wrong:?}");
}
