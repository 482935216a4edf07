//! The sender and the stopwatch together, over a real queue: a receiver that stalls is not forgiven.

use super::arrivals::{Arrivals, Clock, Monotonic, Times, keep, times};
use super::ends::Stopwatch;
use super::stretch;
use crate::bench::message::{Checker, Exact, Payload};
use ringway::PodQueue;
use std::time::Duration;

const RATE: u64 = 10_000;
const MESSAGES: u64 = 10_000;
const STALL: Duration = Duration::from_millis(50);
/// Far below the stall, far above what a queue takes.
const SLOW_NS: u64 = 10_000_000;

struct Seen {
    /// From the moment at which a message was due.
    due: Times,
    /// From when it was sent: what a closed loop would have seen.
    sent: Times,
    late: Times,
}

/// A second of messages through a queue of 64, whose receiver once stalls.
fn through_a_stall(stall: Duration) -> Seen {
    let queue = PodQueue::<[u8; 16]>::bounded(64).expect("memory");
    let (producer, consumer) = (queue.producer().expect("an end"), queue.consumer().expect("an end"));
    let arrivals = Arrivals::new(RATE);
    let start_ns = Monotonic.now() + 1_000_000;
    let receiver = std::thread::spawn(move || {
        let mut stopwatch = Stopwatch::new(Exact::default(), 0, arrivals, start_ns).expect("memory");
        let mut received = Vec::new();
        while let Ok(message) = consumer.get() {
            let number = message.check().expect("a whole message");
            assert!(stopwatch.accept(number), "message {number} is not the next");
            received.push(Monotonic.now());
            if number == MESSAGES / 2 {
                std::thread::sleep(stall);
            }
        }
        (stopwatch.latency, received)
    });
    let mut sent = Vec::new();
    let kept = keep(&Monotonic, arrivals, start_ns, MESSAGES, u64::MAX, |i| {
        sent.push(Monotonic.now());
        producer.put(Payload::build(i)).map_err(|error| anyhow::anyhow!("{error}"))
    });
    producer.close();
    let (due, received) = receiver.join().expect("it ends");
    assert_eq!((sent.len(), received.len()), (MESSAGES as usize, MESSAGES as usize));
    let mut naive = times().expect("memory");
    sent.iter().zip(received).for_each(|(sent, received)| naive.saturating_record(received - sent));
    Seen { due, sent: naive, late: kept.expect("all are sent").late }
}

fn slow(times: &Times) -> u64 {
    times.count_between(SLOW_NS, u64::MAX)
}

#[test]
fn messages_that_queue_up_behind_a_stall_count() {
    let seen = through_a_stall(STALL);
    assert_eq!(seen.due.len(), MESSAGES);
    assert!(seen.due.max() >= STALL.as_nanos() as u64 * 999 / 1000, "{}", seen.due.max());
    // Five hundred were due while it stalled, four hundred of them more than 10 ms before its end.
    assert!(slow(&seen.due) >= 350, "{} were slow", slow(&seen.due));
    assert!(seen.due.value_at_quantile(0.99) >= SLOW_NS, "p99 shows them");
    // The queue holds 64, and one is in the receiver's hands: no more were sent, so that no more seem slow.
    assert!(slow(&seen.due) >= 3 * slow(&seen.sent), "{} from their sending", slow(&seen.sent));
    // The sender was held up, and says so.
    assert!(slow(&seen.late) >= 250, "{} were sent late", slow(&seen.late));
}

#[test]
fn a_run_is_long_enough_for_some_messages() {
    for quick in [true, false] {
        let due = |rate| stretch(rate, quick).as_secs_f64() * rate as f64;
        assert!([1, 2, 10, 1_000, 100_000_000].iter().all(|&rate| due(rate) >= 3.0));
        assert!(stretch(10, quick) <= Duration::from_secs(2) && stretch(1, quick) <= Duration::from_secs(3));
    }
}
