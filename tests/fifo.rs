//! Between real processes no message is lost, doubled, torn, or taken out of its
//! producer's order: in every mode, at small and large capacities, one by one
//! and in batches, under every wait policy.
//!
//! Each run is boxed in time, not in messages, so that the whole stays short on
//! a busy machine and moves millions of messages on a free one.

mod common;

use common::ledger::{Fault, Ledger, message, settle};
use common::{MODES, POLICIES, Role, Sandbox, hear, policy_named, side_name, tell};
use ringway::{Bytes, Consumer, GetError, Handle, Message, Options, Plain, Pod, Producer, PutManyError, Side};
use std::io::Write;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[("put", role_put), ("get", role_get)];

/// How long the producers of one run put.
const BOX: Duration = Duration::from_millis(40);

/// Each puts this many, however long it takes.
const AT_LEAST: u64 = 500;

/// The same where more processes spin than the machine has processors: a
/// hand-over may then take some time slices of the scheduler.
const AT_LEAST_CROWDED: u64 = 12;

/// So that ledgers stay small.
const AT_MOST: u64 = 1_000_000;

const BATCH: usize = 32;
const CAPACITIES: [u64; 4] = [1, 2, 64, 1024];

// ---- what is sent ----

/// Messages that carry a number, and whose bytes all follow from it.
trait Numbered: Message + Sized {
    const NAME: &'static str;
    fn put(end: &Producer<Self>, number: u64);
    fn put_many(end: &Producer<Self>, numbers: &[u64]) -> Result<(), PutManyError>;
    /// The number, if the rest fits.
    fn number(message: &Self::Out) -> Option<u64>;
}

/// A plain-data type that can be filled from a number.
trait Filled: Plain + PartialEq {
    const NAME: &'static str;
    fn filled(number: u64) -> Self;
    fn number(&self) -> u64;
}

impl Filled for u64 {
    const NAME: &'static str = "word";
    fn filled(number: u64) -> u64 {
        number
    }
    fn number(&self) -> u64 {
        *self
    }
}

/// One slot of exactly a cache line.
impl Filled for [u64; 7] {
    const NAME: &'static str = "line";
    fn filled(number: u64) -> [u64; 7] {
        std::array::from_fn(|at| number.wrapping_mul(at as u64 * 2 + 1))
    }
    fn number(&self) -> u64 {
        self[0]
    }
}

/// One slot of several cache lines.
impl Filled for [u64; 20] {
    const NAME: &'static str = "lines";
    fn filled(number: u64) -> [u64; 20] {
        std::array::from_fn(|at| number.wrapping_mul(at as u64 * 2 + 1))
    }
    fn number(&self) -> u64 {
        self[0]
    }
}

impl<T: Filled + 'static> Numbered for Pod<T> {
    const NAME: &'static str = T::NAME;
    fn put(end: &Producer<Self>, number: u64) {
        end.put(T::filled(number)).expect("nobody closes before the producers have ended");
    }
    fn put_many(end: &Producer<Self>, numbers: &[u64]) -> Result<(), PutManyError> {
        let values: Vec<T> = numbers.iter().map(|number| T::filled(*number)).collect();
        end.put_many(&values)
    }
    fn number(message: &T) -> Option<u64> {
        (*message == T::filled(message.number())).then_some(message.number())
    }
}

/// Bytes of a length that follows from the number too.
fn bytes_of(number: u64) -> Vec<u8> {
    const NUMBER_SIZE: usize = size_of::<u64>();
    const MAX_FILLER: u64 = 44;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(NUMBER_SIZE + (number % (MAX_FILLER + 1)) as usize, number as u8);
    bytes
}

impl Numbered for Bytes {
    const NAME: &'static str = "bytes";
    fn put(end: &Producer<Self>, number: u64) {
        end.put(&bytes_of(number)).expect("nobody closes before the producers have ended");
    }
    fn put_many(end: &Producer<Self>, numbers: &[u64]) -> Result<(), PutManyError> {
        let owned: Vec<Vec<u8>> = numbers.iter().map(|number| bytes_of(*number)).collect();
        let borrowed: Vec<&[u8]> = owned.iter().map(Vec::as_slice).collect();
        end.put_many(&borrowed)
    }
    fn number(message: &Vec<u8>) -> Option<u64> {
        let number = u64::from_le_bytes(message.get(..8)?.try_into().ok()?);
        (*message == bytes_of(number)).then_some(number)
    }
}

const KINDS: [&str; 4] = [<u64 as Filled>::NAME, <[u64; 7] as Filled>::NAME, <[u64; 20] as Filled>::NAME, Bytes::NAME];

/// Calls a generic function with the kind of this name.
macro_rules! with_kind {
    ($name:expr, $function:ident($($argument:expr),*)) => {
        match $name {
            "word" => $function::<Pod<u64>>($($argument),*),
            "line" => $function::<Pod<[u64; 7]>>($($argument),*),
            "lines" => $function::<Pod<[u64; 20]>>($($argument),*),
            "bytes" => $function::<Bytes>($($argument),*),
            other => panic!("there is no kind {other}"),
        }
    };
}

// ---- the children ----

fn role_put(arguments: &[String]) {
    with_kind!(arguments[0].as_str(), put_numbers(&arguments[1..]));
}

fn put_numbers<M: Numbered>(arguments: &[String]) {
    let [producer, batch, policy, at_least] = arguments else { panic!("four arguments") };
    let producer: usize = producer.parse().expect("a number");
    let at_least: u64 = at_least.parse().expect("a number");
    let options = Options::default().wait_policy(policy_named(policy));
    let end: Producer<M> = Handle::<M>::open_with("fifo", options).expect("it is there").producer().expect("free");
    tell("ready");
    assert_eq!(hear(), "go");
    let deadline = Instant::now() + BOX;
    let mut number = 0;
    while number < AT_MOST && (number < at_least || Instant::now() < deadline) {
        if batch == "batch" {
            // Of changing sizes, so that runs meet the ring's end everywhere.
            let count = 1 + number * 7 % BATCH as u64;
            let numbers: Vec<u64> = (number..number + count).map(|number| message(producer, number)).collect();
            M::put_many(&end, &numbers).expect("nobody closes before the producers have ended");
            number += count;
        } else {
            for _ in 0..BATCH.min(at_least as usize) {
                M::put(&end, message(producer, number));
                number += 1;
            }
        }
    }
    tell(number);
}

fn role_get(arguments: &[String]) {
    with_kind!(arguments[0].as_str(), get_numbers(&arguments[1..]));
}

fn get_numbers<M: Numbered>(arguments: &[String]) {
    let [producers, batch, policy] = arguments else { panic!("three arguments") };
    let options = Options::default().wait_policy(policy_named(policy));
    let end: Consumer<M> = Handle::<M>::open_with("fifo", options).expect("it is there").consumer().expect("free");
    tell("ready");
    let mut ledger = Ledger::new(producers.parse().expect("a number"));
    let mut note = |message: M::Out| {
        let number = M::number(&message).expect("a message is what was put, whole");
        ledger.note(number).unwrap_or_else(|fault| panic!("{fault}"));
    };
    let closed = loop {
        if batch == "batch" {
            let mut messages = Vec::new();
            match end.get_many(&mut messages, BATCH) {
                Ok(count) => assert_eq!(count, messages.len()),
                Err(error) => break error,
            }
            messages.into_iter().for_each(&mut note);
        } else {
            match end.get() {
                Ok(message) => note(message),
                Err(error) => break error,
            }
        }
    };
    assert_eq!(closed, GetError::Closed);
    std::io::stdout().write_all(&ledger.to_bytes()).expect("the parent listens");
}

// ---- the runs ----

/// One run: who takes part, and how.
struct Run {
    mode: (Side, Side),
    producers: usize,
    consumers: usize,
    capacity: u64,
    batch: bool,
    policy: &'static str,
    kind: &'static str,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run { mode, producers, consumers, capacity, batch, policy, kind } = self;
        let (from, to) = (side_name(mode.0), side_name(mode.1));
        let how = if *batch { "batches" } else { "one by one" };
        write!(f, "{producers}x{consumers} {from} to {to}, capacity {capacity}, {how}, {policy}, {kind}")
    }
}

impl Run {
    /// Runs it, and says how many messages went through.
    fn go(&self) -> u64 {
        with_kind!(self.kind, run(self))
    }
}

fn run<M: Numbered>(run: &Run) -> u64 {
    let sandbox = Sandbox::new();
    let queue: Handle<M> = Handle::create("fifo", sandbox.mode(run.capacity, run.mode)).expect("a free name");
    let batch = if run.batch { "batch" } else { "single" };
    let crowded = run.policy == "spin" && run.producers + run.consumers > 2;
    let at_least = if crowded { AT_LEAST_CROWDED } else { AT_LEAST }.to_string();
    let producers = run.producers.to_string();
    let mut getters: Vec<_> =
        (0..run.consumers).map(|_| sandbox.child("get", &[M::NAME, &producers, batch, run.policy])).collect();
    let mut putters: Vec<_> = (0..run.producers)
        .map(|index| sandbox.child("put", &[M::NAME, &index.to_string(), batch, run.policy, &at_least]))
        .collect();
    getters.iter_mut().chain(&mut putters).for_each(|child| child.expect("ready"));
    putters.iter_mut().for_each(|child| child.tell("go"));
    let put: Vec<u64> =
        putters.iter_mut().map(|child| child.line().parse().expect("a producer tells a number")).collect();
    putters.into_iter().for_each(|child| drop(child.succeed()));
    queue.close();
    let ledgers: Vec<Ledger> = getters.into_iter().map(|child| Ledger::from_bytes(&child.succeed())).collect();
    settle(&put, &ledgers).unwrap_or_else(|fault| panic!("{run}: {fault}"));
    assert!(queue.is_empty() && queue.is_closed(), "{run}");
    assert_eq!(queue.len(), 0, "{run}");
    put.iter().sum()
}

/// Every capacity, way and policy, with kinds of messages taking turns.
fn runs(mode: (Side, Side), producers: usize, consumers: usize) {
    let mut total = 0;
    let mut kinds = KINDS.iter().cycle();
    for capacity in CAPACITIES {
        for policy in POLICIES {
            for batch in [false, true] {
                let kind = kinds.next().expect("endless");
                total += Run { mode, producers, consumers, capacity, batch, policy, kind }.go();
            }
        }
        // Each way and policy shall meet other kinds at the next capacity.
        kinds.next();
    }
    let (from, to) = (side_name(mode.0), side_name(mode.1));
    println!("{producers}x{consumers} {from} to {to}: {total} messages");
}

#[test]
fn one_to_one_multi_multi() {
    runs(MODES[0], 1, 1);
}

#[test]
fn one_to_one_single_multi() {
    runs(MODES[1], 1, 1);
}

#[test]
fn one_to_one_multi_single() {
    runs(MODES[2], 1, 1);
}

#[test]
fn one_to_one_single_single() {
    runs(MODES[3], 1, 1);
}

#[test]
fn one_to_two() {
    runs((Side::Single, Side::Multi), 1, 2);
}

#[test]
fn two_to_one() {
    runs((Side::Multi, Side::Single), 2, 1);
}

#[test]
fn two_to_two() {
    runs((Side::Multi, Side::Multi), 2, 2);
}

#[test]
fn four_to_four() {
    runs((Side::Multi, Side::Multi), 4, 4);
}

/// A long run for each mode, so that positions wrap round the ring many times.
#[test]
fn millions() {
    let mut total = 0;
    for mode in MODES {
        for kind in KINDS {
            let mut moved = 0;
            while moved < 300_000 {
                let run =
                    Run { mode, producers: 1, consumers: 1, capacity: 1024, batch: true, policy: "default", kind };
                moved += run.go();
            }
            total += moved;
        }
    }
    println!("{total} messages");
    assert!(total > 4_000_000);
}

// ---- the checker is checked ----

/// What two consumers get of two producers' messages if all goes well.
fn flawless() -> (Vec<u64>, [Vec<u64>; 2]) {
    let first = (0..100).map(|n| message(0, n)).chain((0..150).step_by(2).map(|n| message(1, n))).collect();
    let second = (0..150).skip(1).step_by(2).map(|n| message(1, n)).chain((100..130).map(|n| message(0, n))).collect();
    (vec![130, 150], [first, second])
}

fn judge(put: &[u64], got: &[Vec<u64>]) -> Result<(), Fault> {
    let mut ledgers = Vec::new();
    for messages in got {
        let mut ledger = Ledger::new(put.len());
        messages.iter().try_for_each(|message| ledger.note(*message))?;
        ledgers.push(Ledger::from_bytes(&ledger.to_bytes()));
    }
    settle(put, &ledgers)
}

#[test]
fn the_checker_accepts_a_flawless_run() {
    let (put, got) = flawless();
    assert_eq!(judge(&put, &got), Ok(()));
    assert_eq!(judge(&[0, 0], &[vec![], vec![]]), Ok(()));
}

#[test]
fn the_checker_sees_a_lost_message() {
    for position in [0, 50, 99, 174] {
        let (put, mut got) = flawless();
        let lost = got[0].remove(position);
        let (producer, number) = ((lost >> 40) as usize, lost & 0xff);
        assert_eq!(judge(&put, &got), Err(Fault::Lost { producer, number }));
    }
    let (mut put, got) = flawless();
    put[1] += 1;
    assert_eq!(judge(&put, &got), Err(Fault::Lost { producer: 1, number: 150 }));
}

#[test]
fn the_checker_sees_a_doubled_message() {
    let (put, mut got) = flawless();
    let again = got[0][40];
    got[0].insert(41, again);
    assert_eq!(judge(&put, &got), Err(Fault::OutOfOrder { producer: 0, number: 40, after: 40 }));
    let (put, mut got) = flawless();
    got[1].insert(75, message(0, 70));
    assert_eq!(judge(&put, &got), Err(Fault::Doubled { producer: 0, number: 70 }));
}

#[test]
fn the_checker_sees_swapped_messages() {
    let (put, mut got) = flawless();
    got[0].swap(10, 11);
    assert_eq!(judge(&put, &got), Err(Fault::OutOfOrder { producer: 0, number: 10, after: 11 }));
}

#[test]
fn the_checker_sees_messages_that_nobody_put() {
    let (put, mut got) = flawless();
    got[1].push(message(0, 130));
    assert_eq!(judge(&put, &got), Err(Fault::Invented { producer: 0, number: 130 }));
    got[1].push(message(7, 0));
    assert_eq!(judge(&put, &got), Err(Fault::Unknown { message: message(7, 0) }));
}

#[test]
fn a_torn_message_is_seen() {
    let mut line = <[u64; 7]>::filled(12);
    assert_eq!(<Pod<[u64; 7]> as Numbered>::number(&line), Some(12));
    line[6] ^= 1;
    assert_eq!(<Pod<[u64; 7]> as Numbered>::number(&line), None);
    assert_eq!(Bytes::number(&bytes_of(77)), Some(77));
    assert_eq!(Bytes::number(&bytes_of(77)[..20].to_vec()), None);
}
