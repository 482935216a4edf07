//! Closing in the middle of a stream, and producers of Single sides that are killed in
//! the middle of one: between real processes.

mod common;

use common::{MODES, Role, Sandbox, side_name, tell};
use ringway::{Consumer, GetError, Pod, PodQueue, Side};

const ROLES: &[Role] = &[("put-until-closed", role_put), ("get-until-closed", role_get)];

/// 24 bytes: two of them share a line where both sides are Single.
type Message = [u64; 3];

fn message(number: u64) -> Message {
    [number, number ^ u64::MAX, number.wrapping_mul(3)]
}

fn number(message: Message) -> u64 {
    assert_eq!(message, self::message(message[0]), "torn");
    message[0]
}

/// Puts numbers from the first on until it is refused, singly or in batches, and tells
/// the number after the last that went in.
fn role_put(arguments: &[String]) {
    let first: u64 = arguments[0].parse().expect("a number");
    let batch: u64 = arguments[1].parse().expect("a number");
    let queue = PodQueue::<Message>::open("q").expect("it is there").producer().expect("the side is free");
    tell("ready");
    let mut next = first;
    loop {
        let run: Vec<Message> = (next..next + batch).map(message).collect();
        if batch > 1 {
            match queue.put_many(&run) {
                Ok(()) => next += batch,
                Err(error) => {
                    assert!(error.cause.is_closed(), "{error}");
                    next += error.put as u64;
                    break;
                }
            }
        } else if let Err(refused) = queue.put(run[0]) {
            assert!(refused.is_closed(), "{refused}");
            assert_eq!(number(refused.into_value()), next);
            break;
        } else {
            next += 1;
        }
    }
    tell(next);
}

/// Takes numbers until the end, checks their order, and tells the one after the last.
fn role_get(arguments: &[String]) {
    let batch: usize = arguments[0].parse().expect("a number");
    let queue = PodQueue::<Message>::open("q").expect("it is there").consumer().expect("the side is free");
    tell("ready");
    let (mut next, mut taken) = (0, Vec::new());
    loop {
        taken.clear();
        let result = if batch == 1 {
            queue.get().map(|message| taken.push(message))
        } else {
            queue.get_many(&mut taken, batch).map(|_| ())
        };
        match result {
            Ok(()) => taken.iter().for_each(|message| {
                assert_eq!(number(*message), next);
                next += 1;
            }),
            Err(GetError::Closed) => break,
            Err(error) => panic!("{error}"),
        }
    }
    tell(next);
}

/// What was acknowledged is delivered before `Closed`, and what was refused is not.
#[test]
fn closing_a_stream_neither_loses_nor_invents() {
    for mode in MODES {
        for (capacity, batch) in [(1, 1), (5, 1), (64, 1), (64, 24)] {
            let what = format!("{} {} {capacity} {batch}", side_name(mode.0), side_name(mode.1));
            let sandbox = Sandbox::new();
            let queue = PodQueue::<Message>::create("q", sandbox.mode(capacity, mode)).expect("a free name");
            let mut consumer = sandbox.child("get-until-closed", &[&batch.to_string()]);
            let mut producer = sandbox.child("put-until-closed", &["0", &batch.to_string()]);
            consumer.expect("ready");
            producer.expect("ready");
            common::until(|| !queue.is_empty());
            queue.close();
            let (put, got) = (producer.line(), consumer.line());
            assert_eq!(put, got, "{what}");
            producer.succeed();
            consumer.succeed();
        }
    }
}

/// The same many times between threads, with somebody who opens the queue while it
/// ends, and so may be the one who decides where.
#[test]
fn closing_at_any_moment() {
    for round in 0..400_u64 {
        let sandbox = Sandbox::new();
        let mode = (Side::Single, Side::Single);
        let queue = PodQueue::<u64>::create("q", sandbox.mode(1 + round % 9, mode)).expect("a free name");
        let (producer, consumer) = (queue.producer().expect("free"), queue.consumer().expect("free"));
        std::thread::scope(|scope| {
            let put = scope.spawn(move || (0..).take_while(|&n| producer.put(n).is_ok()).count());
            let got = scope.spawn(move || consumer.iter().filter(Result::is_ok).count());
            (0..round % 50 * 20).for_each(|_| std::hint::spin_loop());
            queue.close();
            drop(PodQueue::<u64>::open_with("q", sandbox.here()));
            assert_eq!(put.join().expect("no panic"), got.join().expect("no panic"), "round {round}");
        });
    }
}

/// Takes what is there, which must go on at `next`.
fn drain(consumer: &Consumer<Pod<Message>>, next: &mut u64) {
    for message in consumer.try_iter() {
        assert_eq!(number(message.expect("a message")), *next);
        *next += 1;
    }
}

/// Of a killed producer's messages a prefix is there, whole; its successor goes on, and
/// the consumer sees one stream. Twenty rounds, killed while it runs.
#[test]
fn a_killed_producer_leaves_a_prefix_and_its_successor_goes_on() {
    for round in 0..20_u64 {
        let sandbox = Sandbox::new();
        let mode = (Side::Single, Side::Single);
        let queue = PodQueue::<Message>::create("q", sandbox.mode(50, mode)).expect("a free name");
        let consumer = queue.consumer().expect("the side is free");
        let mut next = 0;
        for turn in 0..3 {
            let batch = if (round + turn) % 2 == 0 { "1" } else { "17" };
            let mut producer = sandbox.child("put-until-closed", &[&next.to_string(), batch]);
            producer.expect("ready");
            let enough = next + 500 + round * 37;
            common::until(|| {
                drain(&consumer, &mut next);
                next >= enough
            });
            producer.kill();
            drain(&consumer, &mut next);
        }
        let mut last = sandbox.child("put-until-closed", &[&next.to_string(), "1"]);
        last.expect("ready");
        common::until(|| !queue.is_empty());
        queue.close();
        let put: u64 = last.line().parse().expect("a number");
        last.succeed();
        drain(&consumer, &mut next);
        assert_eq!((next, consumer.get()), (put, Err(GetError::Closed)), "round {round}");
    }
}
