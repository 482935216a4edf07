//! E1 to E5: a peer that writes anything anywhere, at any time, while others use the
//! queue. Nobody crashes, panics or hangs; every call returns by its deadline.
//!
//! A child, the *scribbler*, maps the segment's file and writes single words: random
//! ones, and ones made to be believed (stamps near the current position, cursors at
//! the ends of their ranges, closed flags, armed words, intents, lengths). Two other
//! children, the *victims*, work all the while with deadlines. A victim's handle that
//! says `Corrupt` must say so for good, and the next handle of the same process works.
//!
//! A million words are written here; `RINGWAY_SCRIBBLES=100000000` is the long form. It may be had in parts, of
//! 100,000 words a round: `RINGWAY_SCRIBBLES_FROM` is the number of the first round.
//! `tests/scribbler_asan.sh` runs it under AddressSanitizer.

#![allow(unsafe_code)]

#[path = "scribbler/board.rs"]
mod board;
mod common;
#[path = "scribbler/listener.rs"]
mod listener;
#[path = "scribbler/scribble.rs"]
mod scribble;
#[path = "common/shared.rs"]
mod shared;
#[path = "scribbler/victim.rs"]
mod victim;

use board::Board;
use common::{Child, MODES, Role, Sandbox, side_name, until};
use ringway::{ByteQueue, GetError, Options, PodBroadcast, PodQueue, PutError, Side, SlowConsumers};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("prober", victim::role_prober),
    ("victim", victim::role),
    ("scribbler", scribble::role),
    ("hammer", scribble::role_hammer),
];

/// What the messages are: their shapes differ in how they lie in the segment.
const KINDS: [&str; 5] = ["bytes", "blocks", "bool", "word", "line"];

/// Words that are written in all, unless `RINGWAY_SCRIBBLES` says otherwise.
const SCRIBBLES: u64 = 1_000_000;

/// The most that one segment gets: a child must not live for long.
const ROUND: u64 = 100_000;

/// A victim that does not end a call so long after its deadline is stuck.
const STUCK: Duration = Duration::from_secs(8);

fn create(kind: &str, options: Options) {
    // Ephemeral: it goes with the last victim; so it is kept by a handle until they have it.
    let created = match kind {
        "bytes" => ByteQueue::create("q", options.max_message(victim::LONGEST)).map(drop),
        // Most messages lie in blocks.
        "blocks" => ByteQueue::create("q", options.inline(12).max_message(victim::LONGEST)).map(drop),
        "cast" => PodBroadcast::<[u64; 7]>::create("q", options).map(drop),
        "cast-drop" => {
            let options = options.slow_consumers(SlowConsumers::DropOldest);
            PodBroadcast::<[u64; 7]>::create("q", options).map(drop)
        }
        "bool" => PodQueue::<bool>::create("q", options).map(drop),
        "word" => PodQueue::<u64>::create("q", options).map(drop),
        _ => PodQueue::<[u64; 7]>::create("q", options).map(drop),
    };
    created.expect("a free name");
}

/// What happened in a round, or in several.
#[derive(Default)]
struct Score {
    scribbled: u64,
    calls: u64,
    ends: [u64; board::ENDS.len()],
}

impl std::ops::AddAssign for Score {
    fn add_assign(&mut self, other: Score) {
        self.scribbled += other.scribbled;
        self.calls += other.calls;
        self.ends.iter_mut().zip(other.ends).for_each(|(sum, more)| *sum += more);
    }
}

impl std::fmt::Display for Score {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} words scribbled, {} calls meanwhile", self.scribbled, self.calls)?;
        board::ENDS.iter().zip(self.ends).try_for_each(|(end, count)| write!(f, ", {count} {end}"))
    }
}

/// A child that has a seeded bug, if this build has any.
fn start(sandbox: &Sandbox, role: &str, arguments: &[&str], bug: Option<u32>) -> Child {
    let mut command = sandbox.command(role, arguments);
    if let Some(bug) = bug {
        command.env("RINGWAY_SEEDED", bug.to_string());
    }
    Child::start(command)
}

/// One segment: victims and the scribbler until `count` words are written. Says what
/// went wrong, if anything did.
fn round(
    sandbox: &Sandbox,
    mode: (Side, Side),
    kind: &str,
    capacity: u64,
    seed: u64,
    count: u64,
    bug: Option<u32>,
) -> Result<Score, String> {
    let options = sandbox.mode(capacity, mode).lifetime(ringway::Lifetime::Persistent);
    if kind == "growing" {
        // Slots come in chunks, blocks by pages.
        let options = Options::unbounded().cap(1 << 17).inline(12).max_message(victim::LONGEST);
        let options = options.directory(sandbox.path()).lifetime(ringway::Lifetime::Persistent);
        ByteQueue::create("q", options).map(drop).expect("a free name");
    } else {
        create(kind, options);
    }
    let board = Board::create(&sandbox.file("board"));
    let outcome = supervise(sandbox, &board, mode, kind, seed, count, bug);
    for file in ["q", "board"] {
        std::fs::remove_file(sandbox.file(file)).expect("it is there");
    }
    let (producers, consumers) = (side_name(mode.0), side_name(mode.1));
    outcome.map_err(|what| format!("{producers}/{consumers} of {kind}, capacity {capacity}, seed {seed}: {what}"))
}

fn supervise(
    sandbox: &Sandbox,
    board: &Board,
    mode: (Side, Side),
    kind: &str,
    seed: u64,
    count: u64,
    bug: Option<u32>,
) -> Result<Score, String> {
    let seed = seed.to_string();
    let (producers, consumers) = (side_name(mode.0), side_name(mode.1));
    let mut victims: Vec<_> =
        ["0", "1"].map(|number| start(sandbox, "victim", &[number, kind, &seed, producers, consumers], bug)).into();
    victims.iter_mut().for_each(|victim| victim.expect("ready"));
    let mut scribbler = start(sandbox, "scribbler", &[&seed, &count.to_string(), kind], bug);
    scribbler.expect("ready");
    victims.iter_mut().for_each(|victim| victim.tell("go"));
    scribbler.tell("go");
    let mut stuck = None;
    while !board.is_done() && stuck.is_none() {
        std::thread::sleep(Duration::from_millis(5));
        // What it died of is told below.
        if victims.iter_mut().any(Child::has_ended) {
            break;
        }
        stuck = (0..victims.len()).find_map(|victim| board.stuck(victim, STUCK));
        // A victim that has died says nothing any more.
        if (0..victims.len()).any(|victim| board.silent_for(victim) > STUCK) {
            stuck = stuck.or(Some("a victim has gone silent".into()));
        }
    }
    board.stop();
    if let Some(what) = stuck {
        return Err(what);
    }
    let (status, _) = scribbler.end();
    if !status.success() {
        return Err(format!("the scribbler itself ended with {status}"));
    }
    for (number, victim) in victims.into_iter().enumerate() {
        let (status, rest) = victim.end();
        if let Some(signal) = status.signal() {
            return Err(format!("victim {number} was killed by signal {signal} in {}", board.call(number)));
        }
        if !status.success() {
            let said = String::from_utf8_lossy(&rest).into_owned();
            return Err(format!("victim {number} ended with {status} in {}: {said}", board.call(number)));
        }
    }
    Ok(Score { scribbled: board.scribbled(), calls: board.calls(), ends: board.ends() })
}

fn wanted() -> u64 {
    std::env::var("RINGWAY_SCRIBBLES").ok().and_then(|count| count.parse().ok()).unwrap_or(SCRIBBLES)
}

/// What a round is depends on its number.
fn first_round() -> usize {
    std::env::var("RINGWAY_SCRIBBLES_FROM").ok().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[test]
fn whatever_a_peer_writes_nobody_crashes_panics_or_hangs() {
    let wanted = wanted();
    let mut combinations: Vec<_> = MODES.iter().flat_map(|mode| KINDS.map(|kind| (*mode, kind))).collect();
    combinations.push((MODES[0], "growing"));
    // A broadcast has no Single consumer.
    combinations.extend(MODES[..2].iter().flat_map(|mode| ["cast", "cast-drop"].map(|kind| (*mode, kind))));
    let rounds = (wanted.div_ceil(ROUND) as usize).max(combinations.len());
    let count = wanted.div_ceil(rounds as u64);
    let sandbox = Sandbox::with_limit(Duration::from_secs(80 + wanted / 5_000));
    let started = Instant::now();
    let mut total = Score::default();
    let mut faults = Vec::new();
    for number in (first_round()..).take(rounds) {
        let (mode, kind) = combinations[number % combinations.len()];
        let capacity = [7, 1, 64, 2, 100, 33][(number / combinations.len() + number) % 6];
        match round(&sandbox, mode, kind, capacity, number as u64 + 1, count, None) {
            Ok(score) => {
                if std::env::var_os("RINGWAY_SCRIBBLES_VERBOSE").is_some() {
                    println!("{mode:?} {kind} {capacity}: {score}");
                }
                total += score;
            }
            Err(what) => faults.push(what),
        }
    }
    println!("{total}, {:?}", started.elapsed());
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(total.scribbled >= wanted, "{} of {wanted}", total.scribbled);
    assert!(total.calls * 20 > total.scribbled, "the victims did not get to work: {total}");
    assert!(total.ends.iter().take(6).all(|count| *count > 0), "not everything has happened: {total}");
}

/// The latest call of a prober while a word flickers: how late, and which with what.
type Latest = (Duration, String);

/// E4: a word that never stands still. Looks at the words whose name begins with `only`.
fn latest_calls(only: &str, bug: Option<u32>) -> Vec<Latest> {
    let sandbox = Sandbox::new();
    let mut latest = Vec::new();
    'modes: for mode in MODES {
        let queue = PodQueue::<u64>::create("q", sandbox.mode(4, mode)).expect("a free name");
        let segment = scribble::Segment::map(&sandbox.file("q"));
        for (name, at) in segment.decisive().into_iter().filter(|(name, _)| name.starts_with(only)) {
            for values in segment.flickers(at) {
                segment.heal();
                let board = Board::create(&sandbox.file("board"));
                let numbers: Vec<String> = [at as u64].iter().chain(&values).map(u64::to_string).collect();
                let arguments: Vec<&str> = numbers.iter().map(String::as_str).collect();
                let mut prober = start(&sandbox, "prober", &[], bug);
                prober.expect("ready");
                let mut hammer = sandbox.child("hammer", &arguments);
                hammer.expect("ready");
                until(|| board.scribbled() > 0);
                prober.tell("go");
                let said = prober.line();
                prober.end();
                board.stop();
                hammer.succeed();
                let (late, call) = said.split_once(' ').unwrap_or(("1000000000000", "some call for ever"));
                let late = Duration::from_nanos(late.parse().expect("a number"));
                latest.push((late, format!("{call}, {mode:?}, {name} is one of {values:?}")));
                // A seeded bug is looked for until it is found.
                if bug.is_some() && late > victim::GRACE {
                    break 'modes;
                }
            }
        }
        drop(queue);
    }
    std::fs::remove_file(sandbox.file("board")).expect("it is there");
    latest.sort();
    latest.reverse();
    latest
}

/// Whatever an operation decides by it, it is over by its deadline.
#[test]
fn a_word_that_never_stands_still_delays_nobody() {
    let latest = latest_calls("", None);
    println!("{} flickering words; the latest calls: {:#?}", latest.len(), &latest[..3]);
    assert!(latest[0].0 < victim::GRACE, "{:?}", latest[0]);
}

/// The handle that has met a contradiction is poisoned; those beside it are not.
#[test]
fn corrupt_poisons_one_handle_only() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let options = sandbox.mode(4, mode);
        let first = PodQueue::<u64>::create("q", options).expect("a free name");
        let segment = scribble::Segment::map(&sandbox.file("q"));
        first.put(1).expect("there is room");
        assert_eq!(first.get(), Ok(1));
        let stamp = segment.first_stamp();
        let sane = segment.load(stamp);
        // Every stamp says that it is laps ahead.
        segment.stamps().for_each(|at| segment.store(at, u64::MAX >> 1));
        assert_eq!(first.get_timeout(Duration::from_secs(5)), Err(GetError::Corrupt), "{mode:?}");
        assert_eq!(first.try_get(), Err(GetError::Corrupt));
        assert_eq!(first.try_put(9), Err(PutError::Corrupt(9)));
        assert_eq!((first.len(), first.is_closed()), (0, false));
        segment.heal();
        segment.store(stamp, sane);
        assert_eq!(first.try_get(), Err(GetError::Corrupt), "for good");
        drop(first.try_clone().expect("a poisoned handle can be cloned"));
        let second = PodQueue::<u64>::open_with("q", sandbox.here()).expect("it is there");
        drop(first);
        segment.heal();
        second.put(2).expect("the handle beside it works");
        assert_eq!(second.get(), Ok(2));
    }
}

/// A slot whose length has no room in it holds no message that could be decoded; one that names
/// no block, or another message's, holds none at all. Either costs that message, and the queue
/// goes on.
#[test]
fn a_forged_length_or_block_costs_one_message() {
    const IN_A_BLOCK: u64 = 1 << 31;
    let long = [5; victim::LONGEST];
    for forged in [IN_A_BLOCK | 9999, u64::from(u32::MAX), IN_A_BLOCK | 1, victim::LONGEST as u64, 13] {
        let sandbox = Sandbox::new();
        let options = sandbox.options(4).inline(12).max_message(victim::LONGEST);
        let queue = ByteQueue::create("q", options).expect("a free name");
        let segment = scribble::Segment::map(&sandbox.file("q"));
        queue.put(&long).expect("there is room");
        queue.put(&long).expect("there is room");
        let length = segment.first_stamp() + 1;
        let was = segment.load(length);
        assert!(was & IN_A_BLOCK != 0, "it lies in a block: {was:#x}");
        segment.store(length, was & !u64::from(u32::MAX) | forged);
        assert_ne!(forged, was & u64::from(u32::MAX));
        let got: Vec<_> = queue.try_iter().collect();
        let bad = got.iter().filter(|got| **got == Err(GetError::Undecodable)).count();
        assert_eq!(bad, usize::from(forged & IN_A_BLOCK == 0), "{forged:#x}");
        assert_eq!((got.len() - bad, got.last()), (1, Some(&Ok(long.to_vec()))), "{forged:#x}");
        for _ in 0..8 {
            queue.put(b"short").expect("there is room");
            assert_eq!(queue.get().as_deref(), Ok(&b"short"[..]));
        }
    }
}

/// E5. Marks say who has attached, and prove nothing: whatever they say, nobody who lives is
/// looked after, robbed or pushed from its place.
#[test]
fn forged_marks_prove_nothing() {
    const PLACES: usize = 8;
    let sandbox = Sandbox::new();
    let options = sandbox.options(8).max_participants(PLACES as u32);
    let queue = PodQueue::<u64>::create("q", options).expect("a free name");
    let peer = queue.try_clone().expect("a place");
    let segment = scribble::Segment::map(&sandbox.file("q"));
    for marks in [u64::MAX / 255, 0, u64::MAX] {
        (1..4).for_each(|number| queue.put(number).expect("there is room"));
        let lease = peer.lease().expect("a message");
        assert_eq!(*lease, 1);
        let real = segment.forge_marks(marks);
        for _ in 0..3 {
            assert_eq!(queue.recover().expect("proof is possible"), 0, "marks {marks:#x} robbed somebody");
            assert_eq!(peer.recover().expect("proof is possible"), 0, "marks {marks:#x} robbed somebody");
        }
        assert_eq!((queue.get(), queue.get()), (Ok(2), Ok(3)));
        assert_eq!(queue.try_get(), Err(GetError::Empty), "the lease stays where it is");
        let others: Vec<_> = (2..PLACES).map(|_| queue.try_clone().expect("a place of its own")).collect();
        assert!(queue.try_clone().is_err(), "nobody gives way");
        others[0].put(4).expect("there is room");
        assert_eq!(others[1].get(), Ok(4));
        drop(others);
        assert_eq!(lease.ack(), Ok(1));
        // From here on those who leave must be missed.
        segment.forge_marks(real);
        assert_eq!(queue.participants(), 2, "marks {marks:#x}");
    }
}

/// Each bug must be found by what finds the real ones.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    let sandbox = Sandbox::new();
    let found = (0..8)
        .find_map(|number| round(&sandbox, MODES[number % 4], "word", 7, number as u64 + 1, 20_000, Some(30)).err());
    drop(sandbox);
    println!("a length that is not clamped: {found:?}");
    assert!(found.is_some_and(|why| why.contains(" in len")), "for another reason");
    let sandbox = Sandbox::new();
    let found = (0..8)
        .find_map(|number| round(&sandbox, MODES[number % 4], "blocks", 7, number as u64 + 1, 20_000, Some(37)).err());
    drop(sandbox);
    println!("a block's number that is not checked: {found:?}");
    assert!(found.is_some_and(|why| why.contains("killed by signal 11")), "for another reason");
    let latest = latest_calls("holder", Some(31));
    println!("deadlines that never pass: {:?}", latest[0]);
    assert!(latest[0].0 > victim::GRACE);
    common::control::fails_with_seeds("forged_marks_prove_nothing", &[(7, &["robbed somebody"])]);
}
