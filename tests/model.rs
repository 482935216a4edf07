//! A queue does what a `VecDeque` does: random sequences of operations by
//! several participants, in every mode, against the naive model.
//!
//! One thread does it all, so every answer is known: also who holds a `Single`
//! side, when the table of participants is full, and when the queue is gone.

mod common;

use common::{MODES, Role, Sandbox, kind};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use ringway::{Bytes, Consumer, GetError, Handle, Lifetime, Pod, Producer, PutError, SetupErrorKind as K, Side};
use std::collections::VecDeque;
use std::time::Duration;

const ROLES: &[Role] = &[];

const CAPACITIES: [usize; 5] = [1, 2, 3, 7, 64];

/// Random sequences for each mode, capacity and kind of message.
const CASES: u32 = 30;
const STEPS: usize = 120;

const PLACES: usize = 5;

/// One step. `at` chooses among the participants that there are.
#[derive(Clone, Copy, Debug)]
enum Step {
    Put(How),
    PutMany(How, usize),
    Get(How),
    GetMany(How, usize),
    GetInto,
    Look,
    Close,
    Clone,
    Open { or_create: bool },
    TakeProducer,
    TakeConsumer,
    Split,
    Drop,
}

/// Whether an operation may wait. It is left out where it would wait for ever.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Wait,
    Try,
    Timeout,
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let how = || prop_oneof![Just(How::Wait), Just(How::Try), Just(How::Timeout)];
    let count = || prop_oneof![0..5_usize, 0..80_usize];
    let step = prop_oneof![
        12 => how().prop_map(Step::Put),
        8 => (how(), count()).prop_map(|(how, count)| Step::PutMany(how, count)),
        12 => how().prop_map(Step::Get),
        8 => (how(), count()).prop_map(|(how, count)| Step::GetMany(how, count)),
        3 => Just(Step::GetInto),
        4 => Just(Step::Look),
        1 => Just(Step::Close),
        2 => Just(Step::Clone),
        2 => any::<bool>().prop_map(|or_create| Step::Open { or_create }),
        2 => Just(Step::TakeProducer),
        2 => Just(Step::TakeConsumer),
        1 => Just(Step::Split),
        4 => Just(Step::Drop),
    ];
    (0..PLACES, step)
}

/// What an operation on messages must say.
#[derive(Clone, Debug, PartialEq)]
enum Answer {
    /// Done, with so many messages put.
    Put(usize),
    Got(Vec<u64>),
    Full,
    Empty,
    TimedOut,
    Closed,
    SideTaken,
}

/// The naive queue, and what each participant may do.
struct Model {
    mode: (Side, Side),
    capacity: usize,
    messages: VecDeque<u64>,
    closed: bool,
    /// The close has refused a put. A Single producer's may have left a
    /// tombstone, which `len` counts, as its documentation says, until a get.
    refused: bool,
    next: u64,
    /// Who has begun to put, and to get.
    puts: Vec<bool>,
    gets: Vec<bool>,
}

impl Model {
    fn numbers(&mut self, count: usize) -> Vec<u64> {
        self.next += count as u64;
        (self.next - count as u64..self.next).collect()
    }

    fn producers_side_is_free_for(&self, at: usize) -> bool {
        self.mode.0 == Side::Multi || (0..self.puts.len()).all(|other| other == at || !self.puts[other])
    }

    fn consumers_side_is_free_for(&self, at: usize) -> bool {
        self.mode.1 == Side::Multi || (0..self.gets.len()).all(|other| other == at || !self.gets[other])
    }

    /// None: it would wait for ever.
    fn put(&mut self, at: usize, how: How, numbers: &[u64]) -> Option<Answer> {
        if self.closed {
            self.refused = true;
            return Some(Answer::Closed);
        }
        if !self.producers_side_is_free_for(at) {
            return Some(Answer::SideTaken);
        }
        let fits = numbers.len().min(self.capacity - self.messages.len());
        if how == How::Wait && fits < numbers.len() {
            return None;
        }
        self.puts[at] = true;
        self.messages.extend(&numbers[..fits]);
        Some(Answer::Put(fits))
    }

    /// None: it would wait for ever.
    fn get(&mut self, at: usize, how: How, max: usize) -> Option<Answer> {
        if !self.consumers_side_is_free_for(at) {
            return Some(Answer::SideTaken);
        }
        if self.messages.is_empty() && !self.closed && max > 0 && how == How::Wait {
            return None;
        }
        self.gets[at] = true;
        Some(match how {
            _ if max == 0 => Answer::Got(Vec::new()),
            _ if !self.messages.is_empty() => {
                Answer::Got(self.messages.drain(..max.min(self.messages.len())).collect())
            }
            _ if self.closed => Answer::Closed,
            How::Timeout => Answer::TimedOut,
            _ => Answer::Empty,
        })
    }

    fn may_have_a_tombstone(&self) -> bool {
        self.refused && self.mode.0 == Side::Single
    }

    fn remove(&mut self, at: usize) {
        self.puts.swap_remove(at);
        self.gets.swap_remove(at);
    }

    fn add(&mut self, puts: bool, gets: bool) {
        self.puts.push(puts);
        self.gets.push(gets);
    }
}

fn got<T>(outcome: Result<T, GetError>, numbers: impl FnOnce(T) -> Vec<u64>) -> Answer {
    match outcome {
        Ok(messages) => Answer::Got(numbers(messages)),
        Err(GetError::Empty) => Answer::Empty,
        Err(GetError::TimedOut) => Answer::TimedOut,
        Err(GetError::Closed) => Answer::Closed,
        Err(GetError::SideTaken) => Answer::SideTaken,
        Err(error) => panic!("{error:?}"),
    }
}

fn put<B: std::fmt::Debug>(outcome: Result<usize, PutError<B>>, back: impl FnOnce(B)) -> Answer {
    let (value, answer) = match outcome {
        Ok(count) => return Answer::Put(count),
        Err(PutError::Full(value)) => (value, Answer::Full),
        Err(PutError::TimedOut(value)) => (value, Answer::TimedOut),
        Err(PutError::Closed(value)) => (value, Answer::Closed),
        Err(PutError::SideTaken { value, holder }) if holder == Some(std::process::id()) => (value, Answer::SideTaken),
        Err(error) => panic!("{error:?}"),
    };
    back(value);
    answer
}

/// A byte message whose length and bytes follow from its number.
fn bytes_of(number: u64) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(8 + (number % 45) as usize, number as u8);
    bytes
}

fn number_of(bytes: &[u8]) -> u64 {
    let number = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"));
    assert_eq!(bytes, bytes_of(number));
    number
}

/// The same test for a kind of message: `$own` makes one of a number, `$lend`
/// turns that into what `put` takes, `$number` reads one, `$back` checks what a
/// failed put gives back, `$get_into` is the kind's other way to get.
macro_rules! model_test {
    ($name:ident, $kind:ty, $own:expr, $lend:expr, $number:expr, $back:expr, $get_into:expr) => {
        mod $name {
            use super::*;

            enum End {
                Both(Handle<$kind>),
                Put(Producer<$kind>),
                Get(Consumer<$kind>),
            }

            /// Calls a method of a participant that has it, else leaves the step.
            macro_rules! on {
                (any $end:expr, $e:ident => $call:expr) => {
                    match $end {
                        End::Both($e) => $call,
                        End::Put($e) => $call,
                        End::Get($e) => $call,
                    }
                };
                (putting $end:expr, $e:ident => $call:expr) => {
                    match $end {
                        End::Both($e) => $call,
                        End::Put($e) => $call,
                        End::Get(_) => return,
                    }
                };
                (getting $end:expr, $e:ident => $call:expr) => {
                    match $end {
                        End::Both($e) => $call,
                        End::Put(_) => return,
                        End::Get($e) => $call,
                    }
                };
            }

            struct World<'s> {
                sandbox: &'s Sandbox,
                lifetime: Lifetime,
                ends: Vec<End>,
                model: Model,
            }

            impl World<'_> {
                fn options(&self) -> ringway::Options {
                    let options = self.sandbox.mode(self.model.capacity as u64, self.model.mode);
                    options.max_participants(PLACES as u32).lifetime(self.lifetime)
                }

                /// With nobody there, an ephemeral queue is gone and a persistent one stays.
                fn begin(&mut self) {
                    let finished = self.model.closed && self.model.messages.is_empty();
                    let handle = if self.sandbox.files().is_empty() {
                        self.model.messages.clear();
                        self.model.closed = false;
                        self.model.refused = false;
                        Handle::create("q", self.options())
                    } else if finished {
                        if !self.model.may_have_a_tombstone() {
                            assert_eq!(kind(Handle::<$kind>::open_with("q", self.options())), K::Closed);
                        }
                        std::fs::remove_file(self.sandbox.file("q")).expect("ours");
                        return self.begin();
                    } else {
                        assert_eq!(self.lifetime, Lifetime::Persistent);
                        Handle::open_with("q", self.options())
                    };
                    self.ends.push(End::Both(handle.expect("just looked")));
                    self.model.add(false, false);
                }

                fn step(&mut self, at: usize, step: Step) {
                    if self.ends.is_empty() {
                        self.begin();
                    }
                    let at = at % self.ends.len();
                    let model = &mut self.model;
                    let full_table = self.ends.len() == PLACES;
                    match step {
                        Step::Put(how) => {
                            on!(putting &self.ends[at], _end => {});
                            let number = model.numbers(1);
                            let Some(mut expected) = model.put(at, how, &number) else { return };
                            if expected == Answer::Put(0) {
                                expected = if how == How::Try { Answer::Full } else { Answer::TimedOut };
                            }
                            let own = $own(number[0]);
                            let value = $lend(&own);
                            let outcome = on!(putting &self.ends[at], end => match how {
                                How::Wait => end.put(value),
                                How::Try => end.try_put(value),
                                How::Timeout => end.put_timeout(value, Duration::ZERO),
                            });
                            assert_eq!(put(outcome.map(|()| 1), |back| $back(back, number[0])), expected);
                        }
                        Step::PutMany(how, count) => {
                            on!(putting &self.ends[at], _end => {});
                            let numbers = model.numbers(count);
                            // Whether nothing can be put into a closed queue is nobody's business.
                            if count == 0 && model.closed {
                                return;
                            }
                            let Some(expected) = model.put(at, how, &numbers) else { return };
                            let owned: Vec<_> = numbers.iter().map(|number| $own(*number)).collect();
                            let values: Vec<_> = owned.iter().map(|own| $lend(own)).collect();
                            let outcome = on!(putting &self.ends[at], end => match how {
                                How::Wait => end.put_many(&values).map(|()| count),
                                How::Try => end.try_put_many(&values),
                                How::Timeout => end.put_many_timeout(&values, Duration::ZERO).map(|()| count),
                            });
                            let answer = match outcome {
                                Err(error) if error.cause.is_timed_out() => Answer::Put(error.put),
                                other => put(other.map_err(|error| error.cause), |()| {}),
                            };
                            assert_eq!(answer, expected);
                        }
                        Step::Get(how) => {
                            on!(getting &self.ends[at], _end => {});
                            let Some(expected) = model.get(at, how, 1) else { return };
                            let outcome = on!(getting &self.ends[at], end => match how {
                                How::Wait => end.get(),
                                How::Try => end.try_get(),
                                How::Timeout => end.get_timeout(Duration::ZERO),
                            });
                            assert_eq!(got(outcome, |message| vec![$number(&message)]), expected);
                        }
                        Step::GetMany(how, max) => {
                            on!(getting &self.ends[at], _end => {});
                            let Some(expected) = model.get(at, how, max) else { return };
                            // What is there already stays.
                            let mut out = vec![$own(7)];
                            let outcome = on!(getting &self.ends[at], end => match how {
                                How::Wait => end.get_many(&mut out, max),
                                How::Try => end.try_get_many(&mut out, max),
                                How::Timeout => end.get_many_timeout(&mut out, max, Duration::ZERO),
                            });
                            assert_eq!($number(&out.remove(0)), 7);
                            assert_eq!(outcome.unwrap_or(0), out.len());
                            let numbers = |_| out.iter().map(|message| $number(message)).collect();
                            assert_eq!(got(outcome, numbers), expected);
                        }
                        Step::GetInto => {
                            on!(getting &self.ends[at], _end => {});
                            let Some(expected) = model.get(at, How::Try, 1) else { return };
                            let outcome = on!(getting &self.ends[at], end => $get_into(end));
                            assert_eq!(got(outcome, |number| vec![number]), expected);
                        }
                        Step::Look => {}
                        Step::Close => {
                            model.closed = true;
                            on!(any &self.ends[at], end => end.close());
                        }
                        Step::Clone => self.add_clone(at, full_table),
                        Step::Open { .. } if model.may_have_a_tombstone() => {}
                        Step::Open { or_create } => {
                            let options = self.options();
                            let opened = match or_create {
                                true => Handle::<$kind>::open_or_create("q", options),
                                false => Handle::open_with("q", options),
                            };
                            let model = &mut self.model;
                            if full_table {
                                assert_eq!(kind(opened), K::TooManyParticipants { max: PLACES as u32 });
                            } else if model.closed && model.messages.is_empty() {
                                assert_eq!(kind(opened), K::Closed);
                            } else {
                                self.ends.push(End::Both(opened.expect("it is there")));
                                model.add(false, false);
                            }
                        }
                        Step::TakeProducer => {
                            let End::Both(handle) = &self.ends[at] else { return };
                            let end = handle.producer();
                            self.add_producer(end, full_table);
                        }
                        Step::TakeConsumer => {
                            let End::Both(handle) = &self.ends[at] else { return };
                            let end = handle.consumer();
                            self.add_consumer(end, full_table);
                        }
                        Step::Split => self.split(at, full_table),
                        Step::Drop => {
                            drop(self.ends.swap_remove(at));
                            model.remove(at);
                        }
                    }
                    self.look();
                }

                fn add_clone(&mut self, at: usize, full_table: bool) {
                    match &self.ends[at] {
                        End::Both(handle) => match handle.try_clone() {
                            Ok(clone) => {
                                assert!(!full_table);
                                self.ends.push(End::Both(clone));
                                self.model.add(false, false);
                            }
                            Err(error) => {
                                assert!(full_table);
                                assert_eq!(*error.kind(), K::TooManyParticipants { max: PLACES as u32 });
                            }
                        },
                        End::Put(producer) => {
                            let end = producer.try_clone();
                            self.add_producer(end, full_table);
                        }
                        End::Get(consumer) => {
                            let end = consumer.try_clone();
                            self.add_consumer(end, full_table);
                        }
                    }
                }

                fn add_producer(&mut self, end: Result<Producer<$kind>, ringway::SetupError>, full_table: bool) {
                    let free = self.model.producers_side_is_free_for(usize::MAX);
                    if !full_table && !self.model.closed && free {
                        self.ends.push(End::Put(end.expect("it is free")));
                        self.model.add(true, false);
                        return;
                    }
                    let expected = match () {
                        () if full_table => K::TooManyParticipants { max: PLACES as u32 },
                        () if self.model.closed => K::Closed,
                        () => K::SideTaken { holder: Some(std::process::id()) },
                    };
                    assert_eq!(kind(end), expected);
                }

                fn add_consumer(&mut self, end: Result<Consumer<$kind>, ringway::SetupError>, full_table: bool) {
                    let free = self.model.consumers_side_is_free_for(usize::MAX);
                    if !full_table && free {
                        self.ends.push(End::Get(end.expect("it is free")));
                        self.model.add(false, true);
                        return;
                    }
                    let expected = match () {
                        () if full_table => K::TooManyParticipants { max: PLACES as u32 },
                        () => K::SideTaken { holder: Some(std::process::id()) },
                    };
                    assert_eq!(kind(end), expected);
                }

                fn split(&mut self, at: usize, full_table: bool) {
                    if !matches!(self.ends[at], End::Both(_)) {
                        return;
                    }
                    let End::Both(handle) = self.ends.swap_remove(at) else { return };
                    let model = &mut self.model;
                    let had_put = model.puts[at];
                    model.remove(at);
                    let expected = match () {
                        () if full_table => Err(K::TooManyParticipants { max: PLACES as u32 }),
                        () if model.closed && !had_put => Err(K::Closed),
                        () if !model.producers_side_is_free_for(usize::MAX)
                            || !model.consumers_side_is_free_for(usize::MAX) =>
                        {
                            Err(K::SideTaken { holder: Some(std::process::id()) })
                        }
                        () => Ok(()),
                    };
                    match handle.split() {
                        Ok((producer, consumer)) => {
                            assert_eq!(expected, Ok(()));
                            self.ends.push(End::Put(producer));
                            model.add(true, false);
                            self.ends.push(End::Get(consumer));
                            model.add(false, true);
                        }
                        Err(error) => assert_eq!(expected, Err(error.kind().clone())),
                    }
                }

                /// All that can be asked, of everybody.
                fn look(&self) {
                    let model = &self.model;
                    let len = model.messages.len();
                    for end in &self.ends {
                        on!(any end, end => {
                            if model.may_have_a_tombstone() {
                                assert!((len..=len + 1).contains(&end.len()));
                            } else {
                                assert_eq!((end.len(), end.is_empty()), (len, len == 0));
                            }
                            assert_eq!((end.capacity(), end.is_closed()), (model.capacity, model.closed));
                            assert_eq!(end.participants(), self.ends.len());
                            if !model.closed {
                                assert_eq!(end.is_full(), len == model.capacity);
                            }
                        });
                    }
                }
            }

            fn case(sandbox: &Sandbox, mode: (Side, Side), capacity: usize, lifetime: Lifetime, steps: &[(usize, Step)]) {
                let model = Model {
                    mode,
                    capacity,
                    messages: VecDeque::new(),
                    closed: false,
                    refused: false,
                    next: 0,
                    puts: Vec::new(),
                    gets: Vec::new(),
                };
                let mut world = World { sandbox, lifetime, ends: Vec::new(), model };
                for &(at, step) in steps {
                    world.step(at, step);
                }
                let ends = std::mem::take(&mut world.ends);
                drop(ends);
                if lifetime == Lifetime::Persistent {
                    // It is there if a step was made at all.
                    let _ = std::fs::remove_file(sandbox.file("q"));
                }
                assert!(sandbox.files().is_empty());
            }

            #[test]
            fn does_what_the_model_does() {
                for mode in MODES {
                    for capacity in CAPACITIES {
                        let sandbox = Sandbox::new();
                        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
                        let lifetime = prop_oneof![Just(Lifetime::Ephemeral), Just(Lifetime::Persistent)];
                        let cases = (lifetime, proptest::collection::vec(step(), 1..STEPS));
                        let outcome = TestRunner::new(config).run(&cases, |(lifetime, steps)| {
                            // What a failed attempt has left is no failure of the next.
                            let _ = std::fs::remove_file(sandbox.file("q"));
                            case(&sandbox, mode, capacity, lifetime, &steps);
                            Ok(())
                        });
                        if let Err(error) = outcome {
                            panic!("{mode:?}, capacity {capacity}: {error}");
                        }
                    }
                }
            }
        }
    };
}

model_test!(
    plain_data,
    Pod<u64>,
    |number: u64| number,
    |own: &u64| *own,
    |message: &u64| *message,
    |back: u64, number: u64| assert_eq!(back, number),
    |end: &dyn TryGet| end.one()
);

model_test!(
    bytes,
    Bytes,
    bytes_of,
    Vec::as_slice,
    |message: &Vec<u8>| number_of(message),
    |_: (), _: u64| {},
    |end: &dyn TryGet| end.one()
);

/// The kind's own way to get one: `get_into` for bytes.
trait TryGet {
    fn one(&self) -> Result<u64, GetError>;
}

macro_rules! try_get {
    ($($end:ty, $with:expr;)*) => {
        $(impl TryGet for $end {
            fn one(&self) -> Result<u64, GetError> {
                let with: fn(&$end) -> Result<u64, GetError> = $with;
                with(self)
            }
        })*
    };
}

try_get! {
    Handle<Pod<u64>>, |end| end.try_get();
    Consumer<Pod<u64>>, |end| end.try_get();
    Handle<Bytes>, |end| into_buffer(|buffer| end.try_get_into(buffer));
    Consumer<Bytes>, |end| into_buffer(|buffer| end.try_get_into(buffer));
}

fn into_buffer(get_into: impl FnOnce(&mut Vec<u8>) -> Result<usize, GetError>) -> Result<u64, GetError> {
    let mut buffer = vec![0xee; 3];
    let outcome = get_into(&mut buffer);
    assert_eq!(outcome.unwrap_or(0), buffer.len());
    outcome.map(|_| number_of(&buffer))
}
