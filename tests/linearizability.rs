//! Histories of several processes on a small queue, each explained by a queue that does
//! one thing at a time; also those of processes that are killed meanwhile.
//!
//! A round is one queue and some fifty operations. Its workers are processes that stay
//! for many rounds; in some rounds one of them is killed by a timer at any instruction.
//! At the end the queue is drained, and the history of all with the draining checked.
//!
//! `RINGWAY_HISTORIES=100000` sets how many rounds there are.

#![allow(unsafe_code)]

#[path = "linearizability/checker.rs"]
mod checker;
mod common;
#[path = "linearizability/log.rs"]
mod log;
#[path = "common/shared.rs"]
mod shared;

use checker::{AT_REST, Call, Operation, violation};
use common::{Child, DIRECTORY_VARIABLE, MODES, Role, Sandbox, hear, tell};
use log::Log;
use ringway::{GetError, Options, PodQueue, PutError, Side};
use shared::{Random, now_ns};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[("worker", role_worker)];

/// Rounds, unless `RINGWAY_HISTORIES` says otherwise.
const HISTORIES: usize = 3000;

/// What the workers of a round do: put, get, or both.
fn crews((producers, consumers): (Side, Side)) -> &'static [&'static [&'static str]] {
    match (producers, consumers) {
        (Side::Single, Side::Single) => &[&["put", "get"]],
        (Side::Single, _) => &[&["put", "get", "get"], &["both", "get"]],
        (_, Side::Single) => &[&["put", "put", "get"], &["put", "both"]],
        _ => &[&["both", "both"], &["put", "put", "get", "get"], &["both", "both", "both"]],
    }
}

// ---- the workers ----

/// Arguments: number. Each line it hears is a round: what to do, seed, when to begin,
/// how many operations, after how many microseconds to die (0: not).
fn role_worker(arguments: &[String]) {
    let number: u64 = arguments[0].parse().expect("a number");
    let directory = PathBuf::from(std::env::var_os(DIRECTORY_VARIABLE).expect("it is set"));
    let mut log = Log::open(&directory.join(format!("log{number}")));
    tell("ready");
    loop {
        let line = hear();
        let words: Vec<&str> = line.split(' ').collect();
        let [work, seed, start, count, death] = words[..] else { return };
        let parse = |word: &str| -> u64 { word.parse().expect("a number") };
        let (seed, start, count, death) = (parse(seed), parse(start), parse(count), parse(death));
        let queue = PodQueue::<u64>::open_with("q", Options::default()).expect("it was created");
        let mut random = Random::new(seed + number);
        if work != "get" {
            // A Single side is taken before the round begins.
            let _ = queue.try_put_many(&[]);
        }
        log.clear();
        tell("here");
        while now_ns() < start {
            std::hint::spin_loop();
        }
        if death > 0 {
            die_in(Duration::from_micros(death));
        }
        for operation in 0..count {
            let puts = work == "put" || work == "both" && random.below(2) == 0;
            let timeout = Duration::from_micros(random.pick(&[0, 0, 0, 30, 300]));
            if puts {
                let value = number << 32 | (operation + 1);
                log.put(value, || match queue.put_timeout(value, timeout) {
                    Ok(()) => true,
                    Err(PutError::TimedOut(_)) => false,
                    Err(other) => panic!("a put said {other:?}"),
                });
            } else {
                log.get(|| match queue.get_timeout(timeout) {
                    Ok(value) => Some(value),
                    Err(GetError::TimedOut) => None,
                    Err(other) => panic!("a get said {other:?}"),
                });
            }
            (0..random.below(60)).for_each(|_| std::hint::spin_loop());
        }
        // A killed one must not be killed between two rounds, in which nobody expects it.
        if death > 0 {
            loop {
                std::thread::park();
            }
        }
        drop(queue);
        tell("over");
    }
}

/// The kernel kills this process after a while, at whatever it does then.
fn die_in(time: Duration) {
    common::signal_after(libc::SIGKILL, time, Duration::ZERO);
}

// ---- the rounds ----

/// A worker that is there for the next round, and its log.
struct Worker {
    child: Child,
    log: Log,
}

struct Floor<'s> {
    sandbox: &'s Sandbox,
    workers: Vec<Option<Worker>>,
    random: Random,
    bug: Option<u32>,
}

impl<'s> Floor<'s> {
    fn new(sandbox: &'s Sandbox, seed: u64, bug: Option<u32>) -> Floor<'s> {
        Floor { sandbox, workers: (0..4).map(|_| None).collect(), random: Random::new(seed), bug }
    }

    fn hire(&mut self, number: usize) -> &mut Worker {
        let (sandbox, bug) = (self.sandbox, self.bug);
        self.workers[number].get_or_insert_with(|| {
            let log = Log::create(&sandbox.file(&format!("log{number}")));
            let mut command = sandbox.command("worker", &[&number.to_string()]);
            if let Some(bug) = bug {
                command.env("RINGWAY_SEEDED", bug.to_string());
            }
            let mut child = Child::start(command);
            child.expect("ready");
            Worker { child, log }
        })
    }

    /// One queue: its history, sorted by time.
    fn round(&mut self, mode: (Side, Side), crew: &[&str], capacity: u64, kills: bool) -> Vec<Operation> {
        let root = PodQueue::<u64>::create("q", self.sandbox.mode(capacity, mode)).expect("a free name");
        let count = 48 / crew.len();
        let victim = if kills { self.random.below(crew.len() as u64) as usize } else { usize::MAX };
        for number in 0..crew.len() {
            self.hire(number);
        }
        let start = now_ns() + 400_000;
        for (number, work) in crew.iter().enumerate() {
            let (seed, moment) = (self.random.next() >> 8, 1 + self.random.below(120));
            let death = if number == victim { moment } else { 0 };
            self.hire(number).child.tell(&format!("{work} {seed} {start} {count} {death}"));
        }
        for number in 0..crew.len() {
            self.hire(number).child.expect("here");
        }
        let mut history = Vec::new();
        for number in 0..crew.len() {
            if number == victim {
                let worker = self.workers[number].take().expect("it was hired");
                let (_, rest) = worker.child.end();
                assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
                history.extend(worker.log.operations(number));
            } else {
                let worker = self.hire(number);
                worker.child.expect("over");
                history.extend(worker.log.operations(number));
            }
        }
        root.recover().expect("deaths can be proven");
        let mut drain = Log::create(&self.sandbox.file("drain"));
        while drain.get(|| root.try_get().ok()).is_some() {}
        history.extend(drain.operations(crew.len()).into_iter().map(|operation| match operation.call {
            Call::Nothing => Operation { process: AT_REST, ..operation },
            _ => operation,
        }));
        std::fs::remove_file(self.sandbox.file("drain")).expect("it was made");
        history.sort_by_key(|operation| operation.invoked);
        history
    }
}

impl Drop for Floor<'_> {
    fn drop(&mut self) {
        for (number, worker) in self.workers.drain(..).enumerate() {
            if worker.is_some() {
                drop(worker);
            }
            let _ = std::fs::remove_file(self.sandbox.file(&format!("log{number}")));
        }
    }
}

/// What a number of rounds showed.
#[derive(Default)]
struct Tally {
    histories: usize,
    operations: usize,
    overlapping: usize,
    killed_in_put: usize,
    killed_in_get: usize,
    violations: Vec<String>,
}

fn observe(
    rounds: usize,
    seed: u64,
    kills: bool,
    bug: Option<u32>,
    mut each: impl FnMut(&[Operation], usize),
) -> Tally {
    let sandbox = Sandbox::with_limit(Duration::from_secs(80 + rounds as u64 / 20));
    let mut floor = Floor::new(&sandbox, seed, bug);
    let mut tally = Tally::default();
    for number in 0..rounds {
        let mode = MODES[number % MODES.len()];
        let crew = crews(mode)[number / MODES.len() % crews(mode).len()];
        let capacity = [2, 1, 3, 4][number / 7 % 4];
        let history = floor.round(mode, crew, capacity, kills);
        tally.histories += 1;
        tally.operations += history.len();
        let overlap = |pair: &[Operation]| pair[1].invoked < pair[0].returned && pair[0].process != pair[1].process;
        tally.overlapping += history.windows(2).filter(|pair| overlap(pair)).count();
        let pending = |call: fn(&Call) -> bool| history.iter().filter(|operation| call(&operation.call)).count();
        tally.killed_in_put += pending(|call| matches!(call, Call::MayHavePut(_)));
        tally.killed_in_get += pending(|call| matches!(call, Call::MayHaveGot));
        if let Some(what) = violation(&history, capacity as usize) {
            tally
                .violations
                .push(format!("round {number}, {mode:?}, capacity {capacity}, {crew:?}: {what}\n{history:#?}"));
            if bug.is_some() {
                break;
            }
        }
        each(&history, capacity as usize);
    }
    tally
}

fn rounds() -> usize {
    std::env::var("RINGWAY_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(HISTORIES)
}

#[track_caller]
fn no_violation(tally: &Tally, started: Instant) {
    let Tally { histories, operations, overlapping, killed_in_put, killed_in_get, violations } = tally;
    println!(
        "{histories} histories, {operations} operations, {overlapping} of them beside another, {killed_in_put} killed \
         in a put, {killed_in_get} in a get, {} violations, {:?}",
        violations.len(),
        started.elapsed()
    );
    assert!(violations.is_empty(), "{}", violations[0]);
    assert!(overlapping * 20 > *operations, "hardly anything happened at the same time");
}

#[test]
fn every_history_can_be_explained() {
    let started = Instant::now();
    no_violation(&observe(rounds(), 1, false, None, |_, _| ()), started);
}

#[test]
fn histories_of_the_killed_can_be_explained() {
    let started = Instant::now();
    let tally = observe(rounds() / 2, 2, true, None, |_, _| ());
    no_violation(&tally, started);
    assert!(tally.killed_in_put > 0 && tally.killed_in_get > 0, "nobody was killed in an operation");
}

/// Of these gets the pairs whose messages were put and got one after the other.
fn in_order<'h>(history: &'h [Operation], gets: &'h [usize]) -> impl Iterator<Item = (usize, usize)> + 'h {
    let put_of = |at: usize| {
        let Call::Got(value) = history[at].call else { unreachable!("a get") };
        history.iter().find(|operation| operation.call == Call::Put(value))
    };
    let before = |a: Option<&Operation>, b: Option<&Operation>| a.zip(b).is_some_and(|(a, b)| a.returned < b.invoked);
    let pairs = gets.iter().flat_map(|a| gets.iter().map(move |b| (*a, *b)));
    pairs.filter(move |(a, b)| before(Some(&history[*a]), Some(&history[*b])) && before(put_of(*a), put_of(*b)))
}

/// The same history, but each of two gets has got what the other one has.
fn exchanged(history: &[Operation], a: usize, b: usize) -> Vec<Operation> {
    let mut other = history.to_vec();
    (other[a].call, other[b].call) = (history[b].call, history[a].call);
    other
}

/// The checker notices what was put into a history that is fine without it.
#[test]
fn a_history_with_a_fault_cannot_be_explained() {
    let (mut lost, mut doubled, mut swapped) = (0, 0, 0);
    let mut random = Random::new(9);
    observe(60, 3, false, None, |history, capacity| {
        let gets: Vec<usize> = (0..history.len()).filter(|at| matches!(history[*at].call, Call::Got(_))).collect();
        let Some(end) = history.iter().map(|operation| operation.returned).max() else { return };
        if gets.is_empty() {
            return;
        }
        let one = gets[random.below(gets.len() as u64) as usize];
        // Lost: nobody got it, and the queue was seen empty.
        let mut without = history.to_vec();
        without.remove(one);
        assert!(violation(&without, capacity).is_some(), "a lost message: {without:#?}");
        lost += 1;
        // Doubled: somebody got it again.
        let mut twice = history.to_vec();
        twice.push(Operation { invoked: end + 1, returned: end + 2, ..history[one] });
        assert!(violation(&twice, capacity).is_some(), "a doubled message: {twice:#?}");
        doubled += 1;
        // Out of order: of two that were put and got one after the other.
        if let Some((a, b)) = in_order(history, &gets).next() {
            let other = exchanged(history, a, b);
            assert!(violation(&other, capacity).is_some(), "two messages out of order: {other:#?}");
            swapped += 1;
        }
    });
    println!("noticed: {lost} lost, {doubled} doubled, {swapped} out of order");
    assert!(lost > 40 && doubled > 40 && swapped > 40);
}

/// The same with one who was killed meanwhile: it explains one message that is gone, and no
/// more; and nothing that came twice.
#[test]
fn a_death_explains_no_fault() {
    let (mut lost, mut doubled, mut swapped) = (0, 0, 0);
    let mut random = Random::new(11);
    let tally = observe(60, 5, true, None, |history, capacity| {
        let was_put = |value| history.iter().any(|operation| operation.call == Call::Put(value));
        let gets: Vec<usize> =
            (0..history.len()).filter(|at| matches!(history[*at].call, Call::Got(value) if was_put(value))).collect();
        let ends = history.iter().map(|operation| operation.returned).filter(|end| *end != u64::MAX);
        let end = ends.max().unwrap_or(0);
        let excused = history.iter().filter(|operation| operation.call == Call::MayHaveGot).count();
        let missing = history.iter().filter(|operation| matches!(operation.call, Call::Put(_))).count() - gets.len();
        // What the dead one took is gone; one more than that is too many.
        let taken = excused - missing.min(excused) + 1;
        if gets.len() >= taken {
            let mut without = history.to_vec();
            let first = random.below((gets.len() - taken + 1) as u64) as usize;
            for at in gets[first..first + taken].iter().rev() {
                without.remove(*at);
            }
            assert!(violation(&without, capacity).is_some(), "{taken} lost messages: {without:#?}");
            lost += 1;
        }
        if let Some(one) = gets.first() {
            let mut twice = history.to_vec();
            twice.push(Operation { invoked: end + 1, returned: end + 2, ..history[*one] });
            assert!(violation(&twice, capacity).is_some(), "a doubled message: {twice:#?}");
            doubled += 1;
        }
        // A killed get explains that what it had taken comes late: not what came before it began.
        let dies = history.iter().filter(|operation| operation.call == Call::MayHaveGot);
        let dies = dies.map(|operation| operation.invoked).min().unwrap_or(u64::MAX);
        let before = |at: usize| history[at].returned < dies;
        if let Some((a, b)) = in_order(history, &gets).find(|(a, b)| before(*a) && before(*b)) {
            let other = exchanged(history, a, b);
            assert!(violation(&other, capacity).is_some(), "two messages out of order: {other:#?}");
            swapped += 1;
        }
    });
    let Tally { killed_in_put, killed_in_get, .. } = tally;
    println!(
        "noticed: {lost} lost, {doubled} doubled, {swapped} out of order; {killed_in_put} killed in a put, {killed_in_get} in a get"
    );
    assert!(lost > 40 && doubled > 40 && swapped > 20 && killed_in_put + killed_in_get > 0);
}

/// A bug of the queue itself is noticed, also where somebody is killed meanwhile.
#[cfg(ringway_seeded)]
#[test]
fn a_seeded_bug_is_noticed() {
    for kills in [false, true] {
        let tally = observe(100, 4, kills, Some(32), |_, _| ());
        println!("kills: {kills}; after {} histories", tally.histories);
        assert!(!tally.violations.is_empty());
    }
}
