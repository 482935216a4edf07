//! How long a round trip takes with both sides asleep in between: not a test, and so ignored.
//!
//! ```text
//! cargo test --release --features async --test asynchronous -- --ignored --nocapture measure
//! ```

use super::*;
use common::tell;

/// How each side waits.
const WAYS: [&str; 5] = ["park", "thread, one worker", "ring, one worker", "thread, two workers", "ring, two workers"];

fn runtime_of(way: &str) -> tokio::runtime::Runtime {
    let mut builder = if way.ends_with("two workers") {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.worker_threads(2).enable_all().build().expect("threads")
}

fn who(way: &str) -> &'static str {
    if way.starts_with("ring") { "ring" } else { "thread" }
}

/// Sends everything back, in the given way.
pub fn role_measured(arguments: &[String]) {
    let way = &arguments[0];
    let open = |name| Numbers::open_with(name, Options::default().wait_policy(WaitPolicy::Park)).expect("it is there");
    let (there, back) = (open("there").consumer().expect("free"), open("back").producer().expect("free"));
    tell("ready");
    if way == "park" {
        return there.iter().for_each(|got| back.put(got.expect("a message")).expect("open"));
    }
    runtime_of(way).block_on(async {
        let driver = driver(who(way));
        let (mut there, mut back) = (getter(there, &driver), putter(back, &driver));
        let echo = async move {
            while let Ok(number) = there.get().await {
                back.put(number).await.expect("open");
            }
        };
        tokio::spawn(echo).await.expect("no panic");
    });
}

/// Nanoseconds, of the middle one and of one in a hundred.
fn percentiles(mut took: Vec<Duration>) -> (u128, u128) {
    took.sort();
    (took[took.len() / 2].as_nanos(), took[took.len() * 99 / 100].as_nanos())
}

#[test]
#[ignore = "a measurement: cargo test --release --features async --test asynchronous -- --ignored --nocapture measure"]
fn measure() {
    const ROUNDS: u64 = 20_000;
    let sandbox = Sandbox::new();
    let mut base = None;
    for way in WAYS {
        let options = || sandbox.mode(2, MODES[3]).wait_policy(WaitPolicy::Park);
        let there = Numbers::create("there", options()).expect("a free name");
        let back = Numbers::create("back", options()).expect("a free name");
        let mut child = sandbox.child("measured", &[way]);
        child.expect("ready");
        let (producer, consumer) = (there.producer().expect("free"), back.consumer().expect("free"));
        let mut took = Vec::new();
        if way == "park" {
            for number in 0..ROUNDS {
                took.push(timed(|| producer.put(number).map(|()| consumer.get())).1);
            }
        } else {
            took = runtime_of(way).block_on(async {
                let driver = driver(who(way));
                let (mut puts, mut gets) = (putter(producer, &driver), getter(consumer, &driver));
                let trips = async move {
                    for number in 0..ROUNDS {
                        let begun = Instant::now();
                        puts.put(number).await.expect("open");
                        assert_eq!(gets.get().await, Ok(number));
                        took.push(begun.elapsed());
                    }
                    took
                };
                tokio::spawn(trips).await.expect("no panic")
            });
        }
        there.close();
        child.succeed();
        let (middle, late) = percentiles(took);
        let base = *base.get_or_insert(middle);
        println!("{way}: p50 {middle} ns, p99 {late} ns, {:.2} x park", middle as f64 / base as f64);
    }
}
