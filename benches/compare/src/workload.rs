//! The loops that are measured. Every worker runs a short warm-up first, then the
//! measurement; a stream ends in band, so that no receiver asks the clock.
//!
//! Each sender closes its stream with one end message, and each receiver stops at
//! the first end it gets. There are as many of one as of the other, and the last
//! message in the queue is an end: all messages are taken.

use crate::control::Control;
use crate::cpus::{now, used};
use crate::job::{Job, Kind};
use crate::payload::{END, Payload, word};
use crate::systems::{Failure, Put, Take};
use crate::verify::{Stream, Tally, all_arrived, take_next};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::hint::black_box;

/// What one worker saw of the measurement.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    pub start: u64,
    pub end: u64,
    /// How much of its processor the worker had, 0 to 1.
    pub share: f64,
    /// A sender's messages.
    pub sent: Option<u64>,
    /// A receiver's streams, by sender.
    pub received: Option<Vec<Stream>>,
    /// Round trips that were timed one by one: nanoseconds, and how many took so long.
    pub trips: Vec<(u64, u64)>,
}

/// Warm up together, then measure together.
fn twice(job: &Job, control: &Control, mut run: impl FnMut(u64) -> Result<Report, Failure>) -> Result<Report, Failure> {
    let mut report = Report::default();
    for (meeting, milliseconds) in [job.warm_up_ms, job.measure_ms].into_iter().enumerate() {
        control.meet(meeting)?;
        let (start, used_before) = (now(), used());
        report = run(start + milliseconds * 1_000_000)?;
        report.start = start;
        report.share = (used() - used_before) as f64 / (now() - start).max(1) as f64;
    }
    Ok(report)
}

/// A sender of one-way messages.
pub fn send<T: Payload, P: Put<T>>(
    job: &Job,
    control: &Control,
    index: usize,
    mut queue: P,
) -> Result<Report, Failure> {
    let result = twice(job, control, |until| {
        let mut sent = 0;
        if job.batch > 1 {
            let mut run = Vec::with_capacity(job.batch);
            while now() < until {
                for _ in 0..job.stride().div_ceil(job.batch as u64) {
                    run.clear();
                    run.extend((0..job.batch as u64).map(|k| T::of(black_box(word(index, sent + k)))));
                    queue.put_run(&run)?;
                    sent += job.batch as u64;
                }
            }
        } else {
            while now() < until {
                for _ in 0..job.stride() {
                    queue.put(T::of(black_box(word(index, sent))))?;
                    sent += 1;
                }
            }
        }
        queue.put(T::of(word(index, sent | END)))?;
        Ok(Report { end: now(), sent: Some(sent), ..Report::default() })
    });
    result.inspect_err(|_| queue.give_up())
}

/// A receiver of one-way messages.
pub fn receive<T: Payload, C: Take<T>>(job: &Job, control: &Control, mut queue: C) -> Result<Report, Failure> {
    let result = twice(job, control, |_| {
        let streams = match (job.pairs, job.batch) {
            (1, 1) => {
                let mut next = 0;
                while !take_next(next, &queue.take()?)? {
                    next += 1;
                }
                vec![Stream::complete(next)]
            }
            (1, batch) => vec![Stream::complete(receive_runs(&mut queue, batch)?)],
            (senders, _) => {
                let mut tally = Tally::new(senders);
                while !tally.take(&queue.take()?)? {}
                tally.into_streams()
            }
        };
        Ok(Report { end: now(), received: Some(streams), ..Report::default() })
    });
    result.inspect_err(|_| queue.give_up())
}

fn receive_runs<T: Payload, C: Take<T>>(queue: &mut C, batch: usize) -> Result<u64, Failure> {
    let mut next = 0;
    let mut run = Vec::with_capacity(batch);
    loop {
        run.clear();
        queue.take_run(&mut run, batch)?;
        for message in &run {
            if take_next(next, message)? {
                return Ok(next);
            }
            next += 1;
        }
    }
}

/// Of nanoseconds, to one percent; no measurement takes longer.
pub fn histogram() -> Result<Histogram<u64>, Failure> {
    const LONGEST: u64 = 60_000_000_000;
    const DIGITS: u8 = 2;
    Histogram::new_with_bounds(1, LONGEST, DIGITS).map_err(Failure::new)
}

/// Sends one message and waits for its echo, over and over.
pub fn ping<T: Payload, P: Put<T>, C: Take<T>>(
    job: &Job,
    control: &Control,
    mut there: P,
    mut back: C,
) -> Result<Report, Failure> {
    let result = twice(job, control, |until| {
        let (mut sent, mut trips) = (0, histogram()?);
        if job.kind == Kind::Latency {
            // One look at the clock for each: where one ends the next begins.
            let mut before = now();
            while before < until {
                trip(sent, &mut there, &mut back)?;
                sent += 1;
                let after = now();
                trips.saturating_record(after - before);
                before = after;
            }
        } else {
            while now() < until {
                for _ in 0..job.stride() {
                    trip(sent, &mut there, &mut back)?;
                    sent += 1;
                }
            }
        }
        let end = now();
        there.put(T::of(sent | END))?;
        let trips = trips.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect();
        Ok(Report { end, sent: Some(sent), trips, ..Report::default() })
    });
    result.inspect_err(|_| (there.give_up(), back.give_up()).0)
}

#[inline(always)]
fn trip<T: Payload, P: Put<T>, C: Take<T>>(sent: u64, there: &mut P, back: &mut C) -> Result<(), Failure> {
    there.put(T::of(black_box(sent)))?;
    if take_next(sent, &back.take()?)? {
        return Err(Failure::new("an echo that was not sent"));
    }
    Ok(())
}

/// The echo: checks each message and writes it anew.
pub fn pong<T: Payload, P: Put<T>, C: Take<T>>(
    job: &Job,
    control: &Control,
    mut there: C,
    mut back: P,
) -> Result<Report, Failure> {
    let result = twice(job, control, |_| {
        let mut next = 0;
        while !take_next(next, &there.take()?)? {
            back.put(T::of(black_box(next)))?;
            next += 1;
        }
        // The measurement ends with the ping, before the end message.
        Ok(Report { end: 0, received: Some(vec![Stream::complete(next)]), ..Report::default() })
    });
    result.inspect_err(|_| (there.give_up(), back.give_up()).0)
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Messages or round trips per second, of all workers together.
    pub per_second: f64,
    /// The least that any worker had of its processor.
    pub share: f64,
}

/// The result, if nothing is missing. `each`: every receiver has to have everything.
pub fn rate(reports: &[Report], each: bool) -> Result<Rate, Failure> {
    let sent: Vec<u64> = reports.iter().filter_map(|report| report.sent).collect();
    let received: Vec<_> = reports.iter().filter_map(|report| report.received.clone()).collect();
    let mut total = all_arrived(&sent, if each { received.get(..1).unwrap_or_default() } else { &received })?;
    for one in received.get(1..).filter(|_| each).unwrap_or_default() {
        total = total.min(all_arrived(&sent, std::slice::from_ref(one))?);
    }
    let start = reports.iter().map(|report| report.start).min().unwrap_or(0);
    let end = reports.iter().map(|report| report.end).max().unwrap_or(0);
    if end <= start {
        return Err(Failure::new("the clock did not move"));
    }
    let share = reports.iter().map(|report| report.share).fold(1.0, f64::min);
    Ok(Rate { per_second: total as f64 * 1e9 / (end - start) as f64, share })
}
