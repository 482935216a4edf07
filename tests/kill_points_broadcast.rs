//! Kills a process at every instruction of the operations of a broadcast: SIGKILL after each single
//! step, in both policies, with one producer and with several. Then the survivors go on: every
//! subscriber gets what was put, in order, what the victim put is there once or not at all, and
//! nobody waits for the dead.
//!
//! - `cargo test --release --test kill_points_broadcast`: a sample of each operation; without
//!   `--release` a smaller one.
//! - `KILL_POINTS=full cargo test --release --test kill_points_broadcast -- --nocapture`: all points
//!   of short operations, and some hundred of those that open or close.
//! - `KILL_POINT='put,wrap,block,single,17' cargo test --release --test kill_points_broadcast replay`:
//!   one point again, as a failure names it.
//!
//! The steps are those of x86-64 under `ptrace`: on other processors there is nothing here.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

mod common;

#[path = "kill_points/step.rs"]
#[allow(dead_code)] // It has more than is needed here.
mod step;

use common::{Role, Sandbox};
use ringway::{GetError, Options, Pod, PodBroadcast, PutError, Side, SlowConsumers, StartAt, Subscriber, WaitPolicy};
use std::time::{Duration, Instant};
use step::{At, Said, Tracee, Trail};

const ROLES: &[Role] = &[("victim", role_victim)];

const CAPACITY: u64 = 5;
/// The longest that a survivor may wait for anything.
const LIMIT: Duration = Duration::from_secs(5);

/// Three words, so that a torn one shows.
type Message = [u64; 3];
type Publisher = PodBroadcast<Message>;
type Listener = Subscriber<Pod<Message>>;

/// The victim's numbers begin here.
const VICTIMS: u64 = 1000;

fn message(number: u64) -> Message {
    [number, !number, number.wrapping_mul(3)]
}

/// Operation, messages put before it, and how many of its own an ended one leaves.
const OPERATIONS: [(&str, u64, u64); 13] = [
    ("put", 0, 1),
    ("put", 7, 1),
    ("put_many", 4, 3),
    ("try_put_full", 5, 0),
    ("get", 3, 0),
    ("get_lagged", 13, 0),
    ("get_many", 4, 0),
    ("subscribe_now", 7, 0),
    ("subscribe_oldest", 7, 0),
    ("drop_subscriber", 3, 0),
    ("drop_publisher", 3, 0),
    ("close", 3, 0),
    ("recover", 3, 0),
];

/// One cell: operation, messages before it, policy, producers.
#[derive(Clone, Copy)]
struct Cell {
    operation: &'static str,
    before: u64,
    most: u64,
    policy: SlowConsumers,
    producers: Side,
}

impl Cell {
    fn name(&self) -> String {
        let policy = if self.policy == SlowConsumers::Block { "block" } else { "drop" };
        format!("{},{},{policy},{}", self.operation, self.before, common::side_name(self.producers))
    }

    fn all() -> Vec<Cell> {
        let mut all = Vec::new();
        for (operation, before, most) in OPERATIONS {
            for policy in [SlowConsumers::Block, SlowConsumers::DropOldest] {
                for producers in [Side::Single, Side::Multi] {
                    let fits = match operation {
                        "try_put_full" => policy == SlowConsumers::Block,
                        "get_lagged" => policy == SlowConsumers::DropOldest,
                        _ => true,
                    };
                    if fits {
                        all.push(Cell { operation, before, most, policy, producers });
                    }
                }
            }
        }
        all
    }
}

// ---- the victim ----

/// Arguments: the operation, how many messages to put first. Does it between two markers.
fn role_victim(arguments: &[String]) {
    step::be_traced();
    let operation = arguments[0].as_str();
    let first: u64 = arguments[1].parse().expect("a number");
    let gets = matches!(operation, "get" | "get_many" | "drop_subscriber" | "get_lagged" | "try_put_full");
    let mut subscriber = gets.then(|| Listener::open("b", StartAt::Oldest).expect("it is there"));
    let puts = operation.contains("put") || matches!(operation, "drop_publisher" | "close" | "recover");
    let mut publisher = (puts || first > 0).then(|| Publisher::open("b").expect("it is there"));
    for number in 0..first {
        publisher.as_ref().expect("just opened").try_put(message(number)).expect("there is room");
    }
    if !puts {
        publisher = None;
    }
    let many = [message(VICTIMS), message(VICTIMS + 1), message(VICTIMS + 2)];
    let mut out = Vec::with_capacity(8);
    // The first call of anything may bind it.
    std::hint::black_box(Instant::now());
    step::enter();
    let said = match operation {
        "put" | "try_put_full" => u64::from(publisher.as_ref().is_some_and(|to| to.try_put(many[0]).is_ok())),
        "put_many" => publisher.as_ref().map_or(0, |to| to.try_put_many(&many).unwrap_or(0) as u64),
        "get" | "get_lagged" => u64::from(subscriber.as_ref().is_some_and(|from| from.try_get().is_ok())),
        "get_many" => subscriber.as_ref().map_or(0, |from| from.try_get_many(&mut out, 3).unwrap_or(0) as u64),
        "subscribe_now" => Listener::open("b", StartAt::Now).map(|one| subscriber = Some(one)).is_ok().into(),
        "subscribe_oldest" => Listener::open("b", StartAt::Oldest).map(|one| subscriber = Some(one)).is_ok().into(),
        "drop_subscriber" => subscriber.take().is_some().into(),
        "drop_publisher" => publisher.take().is_some().into(),
        "close" => publisher.as_ref().map_or(0, |of| {
            of.close();
            1
        }),
        _ => publisher.as_ref().and_then(|of| of.recover().ok()).unwrap_or(0) as u64,
    };
    step::exit(Said { count: said, kind: 0, first: 0 });
    std::mem::forget((publisher, subscriber, out));
}

// ---- the survivors ----

/// What the observer, who is there from the beginning, has got.
struct Observer {
    subscriber: Listener,
    got: Vec<u64>,
}

impl Observer {
    /// Waits until this message comes.
    fn wait_for(&mut self, last: u64) -> Result<(), String> {
        while self.got.last() != Some(&last) {
            match self.subscriber.get_timeout(LIMIT) {
                Ok(one) if one == message(one[0]) => self.got.push(one[0]),
                Ok(torn) => return Err(format!("torn: {torn:x?}")),
                Err(GetError::Lagged) => {}
                Err(error) => return Err(format!("the observer waits for {last}: {error:?}")),
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<(), String> {
        loop {
            match self.subscriber.try_get() {
                Ok(one) if one == message(one[0]) => self.got.push(one[0]),
                Ok(torn) => return Err(format!("torn: {torn:x?}")),
                Err(GetError::Lagged) => {}
                Err(GetError::Empty | GetError::Closed) => return Ok(()),
                Err(error) => return Err(format!("the observer: {error:?}")),
            }
        }
    }
}

/// Kills a victim of this cell after so many steps of this trail (`None`: lets it end). Says after
/// how many steps and how it came to the end, if nothing stopped it.
fn point(sandbox: &Sandbox, cell: &Cell, steps: Option<(u64, &Trail)>) -> Result<Option<(u64, Trail)>, String> {
    let options = Options::new(CAPACITY).producers(cell.producers).slow_consumers(cell.policy);
    let publisher = Publisher::create("b", options.directory(sandbox.path())).map_err(|error| error.to_string())?;
    let subscriber = publisher.subscribe(StartAt::Now).map_err(|error| error.to_string())?;
    let mut observer = Observer { subscriber, got: Vec::new() };
    let say = |publisher: &Publisher, number: u64, observer: &mut Observer| {
        observer.drain()?;
        publisher.put_timeout(message(number), LIMIT).map_err(|error| format!("putting {number}: {error:?}"))
    };
    // Who is to find a full ring or a gap puts by itself, after it has subscribed.
    let by_victim = matches!(cell.operation, "get_lagged" | "try_put_full" | "get" | "get_many");
    if !by_victim {
        // Another handle, as the victim may need the Single side. Of Multi ones the first put of a
        // handle, which looks for the dead, is to be behind it when somebody dies.
        let another = (cell.producers == Side::Single).then(|| publisher.try_clone()).transpose();
        let another = another.map_err(|error| error.to_string())?;
        let first = another.as_ref().unwrap_or(&publisher);
        (0..cell.before).try_for_each(|number| say(first, number, &mut observer))?;
        observer.drain()?;
    }
    let first = if by_victim { cell.before } else { 0 };
    let mut tracee = Tracee::start(sandbox.command("victim", &[cell.operation, &first.to_string()]))?;
    let (mut whole, mut end, mut done) = (None, None, None);
    let at = match steps {
        Some((steps, trail)) => tracee.step_along(trail, steps)?,
        None => {
            let (at, trail) = tracee.record(|_| ())?;
            whole = Some(trail);
            at
        }
    };
    match at {
        At::Inside => {}
        At::Exit(at, said) => (end, done) = (whole.map(|trail| (at, trail)), Some(said.count)),
        At::Astray => {
            drop((tracee, observer, publisher));
            let no_trail = &Trail::default();
            return point(sandbox, cell, steps.map(|(steps, _)| (steps, no_trail)));
        }
    }
    tracee.kill();
    let begun = Instant::now();
    let mut closed = false;
    // Most are told of the death, some find out by themselves: who waits for a message, parked or not.
    let mut next = 500;
    match steps {
        // Spread over all of an operation, however far its points are from each other.
        Some((steps, _)) if mixed(steps).is_multiple_of(8) => {
            let policy = if mixed(steps).is_multiple_of(16) { WaitPolicy::Park } else { WaitPolicy::Spin };
            observer.subscriber.set_wait_policy(policy);
            let mut put = publisher.try_put(message(next));
            if matches!(put, Err(PutError::Full(_))) {
                // The observer may be in the way itself.
                observer.drain()?;
                put = publisher.put_timeout(message(next), LIMIT);
            }
            match put {
                Ok(()) => observer.wait_for(next)?,
                Err(PutError::Closed(_)) if cell.operation == "close" => closed = true,
                Err(error) => return Err(format!("putting {next}: {error:?}")),
            }
            next += 1;
        }
        _ => drop(publisher.recover().map_err(|error| error.to_string())?),
    }
    for number in next..500 + 2 * CAPACITY + 1 {
        if closed {
            break;
        }
        match say(&publisher, number, &mut observer) {
            Ok(()) => {}
            Err(why) if cell.operation == "close" && why.contains("Closed") => {
                closed = true;
                break;
            }
            Err(why) => return Err(why),
        }
        observer.drain()?;
    }
    if begun.elapsed() > LIMIT {
        return Err(format!("the survivors took {:?}", begun.elapsed()));
    }
    publisher.recover().map_err(|error| error.to_string())?;
    if publisher.subscribers() != 1 {
        return Err(format!("{} subscribers are left", publisher.subscribers()));
    }
    if closed && observer.subscriber.get_timeout(LIMIT) != Err(GetError::Closed) {
        return Err("closed, and the observer does not hear of it".to_owned());
    }
    account(cell, &observer, done, closed)?;
    Ok(end)
}

/// A number that does not follow that of the steps.
fn mixed(steps: u64) -> u64 {
    steps.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40
}

/// Every message once, in order; of the victim's a prefix, all that it had acknowledged.
fn account(cell: &Cell, observer: &Observer, done: Option<u64>, closed: bool) -> Result<(), String> {
    let got = &observer.got;
    let of = |range: std::ops::Range<u64>| -> Vec<u64> { got.iter().copied().filter(|n| range.contains(n)).collect() };
    let (before, after, victims) = (of(0..500), of(500..VICTIMS), of(VICTIMS..VICTIMS + 10));
    let all = [before.clone(), victims.clone(), after.clone()].concat();
    let wrong = || Err(format!("got {got:?}"));
    if all != *got || victims != (VICTIMS..VICTIMS + victims.len() as u64).collect::<Vec<_>>() {
        return wrong();
    }
    let puts = matches!(cell.operation, "put" | "put_many");
    let count = victims.len() as u64;
    if count > cell.most || puts && done.is_some_and(|done| count != done) {
        return wrong();
    }
    let expected = if closed { 0 } else { 2 * CAPACITY + 1 };
    if after != (500..500 + expected).collect::<Vec<_>>() {
        return wrong();
    }
    let missed = observer.subscriber.missed();
    let is_complete = before == (0..cell.before).collect::<Vec<_>>() && missed == 0;
    let may_miss = cell.operation == "get_lagged";
    if is_complete || may_miss && before.len() as u64 + missed == cell.before { Ok(()) } else { wrong() }
}

fn is_full() -> bool {
    std::env::var("KILL_POINTS").is_ok_and(|size| size == "full")
}

fn limit() -> Duration {
    Duration::from_secs(if is_full() { 3600 } else { 400 })
}

/// Runs a cell: to its end, then all points or `most` of them.
fn run(sandbox: &Sandbox, cell: &Cell, most: u64, enough: usize, failed: &mut Vec<String>) -> u64 {
    let (end, trail) = match point(sandbox, cell, None) {
        Ok(end) => end.expect("it came to the end"),
        Err(why) => {
            failed.push(format!("KILL_POINT='{},end': {why}", cell.name()));
            return 1;
        }
    };
    let stride = (end / most.max(1)).max(1);
    let mut points = 1;
    // Not the same phase in every cell.
    let offset = cell.name().len() as u64 % stride;
    for steps in (offset..end).step_by(stride as usize) {
        if let Err(why) = point(sandbox, cell, Some((steps, &trail))) {
            failed.push(format!("KILL_POINT='{},{steps}': {why}", cell.name()));
            if failed.len() >= enough {
                break;
            }
        }
        points += 1;
    }
    if is_full() {
        println!("{}: {end} steps, {points} points", cell.name());
    }
    points
}

#[test]
fn at_every_instruction() {
    step::fix_addresses();
    let most = if is_full() {
        300
    } else if cfg!(debug_assertions) {
        6
    } else {
        40
    };
    let (sandbox, begun) = (Sandbox::with_limit(limit()), Instant::now());
    let mut failed = Vec::new();
    let points: u64 = Cell::all().iter().map(|cell| run(&sandbox, cell, most, 20, &mut failed)).sum();
    println!("{points} points in {:.0?}", begun.elapsed());
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(points > 200, "{points} points");
}

#[test]
fn replay() {
    let Ok(wanted) = std::env::var("KILL_POINT") else { return };
    step::fix_addresses();
    let sandbox = Sandbox::with_limit(limit());
    let (name, steps) = wanted.rsplit_once(',').expect("a point");
    let cell = Cell::all().into_iter().find(|cell| cell.name() == name).expect("a cell");
    let (_, trail) = point(&sandbox, &cell, None).expect("a whole one").expect("it came to the end");
    if let Ok(steps) = steps.parse() {
        point(&sandbox, &cell, Some((steps, &trail))).expect(&wanted);
    }
}

/// The test can fail.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_caught() {
    step::fix_addresses();
    let sandbox = Sandbox::with_limit(limit());
    let cell = |operation: &str| {
        let fits = |cell: &Cell| {
            let plain = (cell.policy, cell.producers) == (SlowConsumers::Block, Side::Multi);
            cell.operation == operation && plain
        };
        Cell::all().into_iter().find(fits).expect("a cell")
    };
    for (seed, operation) in [("0", "get"), ("0", "put"), ("50", "get"), ("1", "put")] {
        let mut failed = Vec::new();
        // The survivors, which look after the dead, are this process.
        let shows = std::env::var("RINGWAY_SEEDED").ok();
        if shows.as_deref() == Some(seed) || seed == "0" && shows.is_none() {
            // A mistake may show in a few instructions only.
            let most = if seed == "0" { 60 } else { u64::MAX };
            run(&sandbox, &cell(operation), most, 1, &mut failed);
            println!("seed {seed}: {failed:?}");
            assert_eq!(failed.is_empty(), seed == "0", "seed {seed}");
        } else if shows.is_none() {
            let mut command = std::process::Command::new(std::env::current_exe().expect("a test knows its binary"));
            command.args(["--exact", "seeded_bugs_are_caught"]).env("RINGWAY_SEEDED", seed);
            assert!(command.status().expect("it can be started").success(), "seed {seed} was not found");
        }
    }
}
