//! What it costs to sleep and to be woken: the round trips of two processes that sleep between, with the waker's
//! call timed and the processor time of both counted.
//!
//! The ping-pong is that of `latency` over `baseline::raw`; here is only what looks on. Knows nothing of decisions.

use crate::bench::baseline::raw;
use crate::bench::latency::{self, Link};
use crate::bench::load::processor_ns;
use crate::bench::message::Fixed;
use crate::bench::plan::System;
use crate::bench::runner::Measured;
use crate::bench::stats::{median, rounded};
use crate::bench::worker::{Done, Part, Session, stream};
use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::time::Instant;

/// What sleeping and waking took one of two processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slept {
    /// The median of the calls that woke the other one.
    call_ns: f64,
    /// Processor time for each round trip: one call, one sleep, one wake-up.
    cpu_ns: f64,
}

/// What one run has found, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Wake {
    /// The waker's system call.
    pub call_ns: f64,
    /// From the waker's call to the other one running.
    pub to_run_ns: f64,
    /// Processor time of a sleep and the wake-up that ends it, both sides together.
    pub cpu_ns: f64,
}

/// The median of the runs, with the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Span {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Span {
    fn of(values: &[f64]) -> Option<Span> {
        let edge = |pick: fn(f64, f64) -> f64| values.iter().copied().reduce(pick).map(rounded);
        Some(Span { median: rounded(median(values)?), min: edge(f64::min)?, max: edge(f64::max)? })
    }
}

/// What a row has of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WakeUp {
    pub wake_call_ns: Option<Span>,
    pub wake_to_run_ns: Option<Span>,
    pub sleep_wake_cpu_ns: Option<Span>,
}

impl WakeUp {
    pub fn of(runs: &[Measured]) -> WakeUp {
        let span = |of: fn(&Wake) -> f64| {
            Span::of(&runs.iter().filter_map(|run| run.wake.as_ref().map(of)).collect::<Vec<_>>())
        };
        WakeUp {
            wake_call_ns: span(|wake| wake.call_ns),
            wake_to_run_ns: span(|wake| wake.to_run_ns),
            sleep_wake_cpu_ns: span(|wake| wake.cpu_ns),
        }
    }
}

/// The part of a worker process.
pub fn work(session: &Session) -> Result<Done> {
    match session.order.cell.system {
        System::Raw => latency::drive(session, raw::Flags::new(session, Fixed::<8>)?),
        System::Futex => sleeping(session),
        _ => stream(session),
    }
}

fn sleeping(session: &Session) -> Result<Done> {
    let seen = RefCell::new(Seen::default());
    let link = Watched { link: raw::Futexes::new(session, Fixed::<8>)?, seen: &seen };
    let (part, probes) = latency::drive(session, link)?;
    Ok((Part::Slept(Box::new(part), seen.into_inner().slept()?), probes))
}

/// Round trips between two looks at the processor time, which is a system call. The first look is after as many, so
/// that starting does not count.
const LOOK_EVERY: u64 = 32;

#[derive(Default)]
struct Seen {
    calls: Vec<f64>,
    trips: u64,
    /// Round trips, and processor time.
    first: Option<(u64, u64)>,
    last: (u64, u64),
}

impl Seen {
    fn trip(&mut self) {
        self.trips += 1;
        if self.trips.is_multiple_of(LOOK_EVERY) {
            self.last = (self.trips, processor_ns());
            self.first.get_or_insert(self.last);
        }
    }

    fn slept(&self) -> Result<Slept> {
        let (trips, ns) = self.first.context("no round trips")?;
        ensure!(self.last.0 > trips, "too few round trips to count their processor time");
        let cpu_ns = (self.last.1 - ns) as f64 / (self.last.0 - trips) as f64;
        Ok(Slept { call_ns: median(&self.calls).context("no calls")?, cpu_ns })
    }
}

/// A link with somebody who looks on. Sending is writing a few bytes and waking the other one.
struct Watched<'s, L> {
    link: L,
    seen: &'s RefCell<Seen>,
}

impl<L> Watched<'_, L> {
    fn timed(&mut self, send: impl FnOnce(&mut L) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        send(&mut self.link)?;
        let took = start.elapsed();
        let mut seen = self.seen.borrow_mut();
        seen.calls.push(took.as_nanos() as f64);
        seen.trip();
        Ok(())
    }
}

impl<L: Link> Link for Watched<'_, L> {
    type Got = L::Got;

    fn send(&mut self, number: u64) -> Result<()> {
        self.timed(|link| link.send(number))
    }

    fn receive(&mut self) -> Result<L::Got> {
        self.link.receive()
    }

    fn check(&self, got: &L::Got) -> Option<u64> {
        self.link.check(got)
    }

    fn send_back(&mut self, got: L::Got) -> Result<()> {
        self.timed(|link| link.send_back(got))
    }
}

/// What both sides have said: their round trips, and what sleeping cost.
pub fn add_up(parts: &[Part]) -> Result<(Vec<Part>, Wake)> {
    let (mut inner, mut slept) = (Vec::new(), Vec::new());
    for part in parts {
        if let Part::Slept(part, of_side) = part {
            inner.push(Part::clone(part));
            slept.push(of_side);
        }
    }
    ensure!(slept.len() == 2, "{} sides have slept", slept.len());
    let trip = inner.iter().find_map(|part| match part {
        Part::Ping { percentiles, .. } => Some(percentiles.p50 as f64),
        _ => None,
    });
    // A round trip has two calls, two sleeps and two wake-ups: half of it is one of each.
    let mean = |of: fn(&Slept) -> f64| slept.iter().map(|side| of(side)).sum::<f64>() / 2.0;
    let wake = Wake {
        call_ns: mean(|side| side.call_ns),
        to_run_ns: trip.context("no round trips")? / 2.0,
        cpu_ns: mean(|side| side.cpu_ns),
    };
    Ok((inner, wake))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::latency::Percentiles;

    #[test]
    fn half_a_round_trip_is_one_wake_up() {
        let percentiles = Percentiles { p50: 9000, p90: 0, p99: 0, p999: 0, max: 0 };
        let ping = Part::Ping { percentiles, samples: 1, clock_ns: 0.0, counts: vec![] };
        let side = |part, call_ns, cpu_ns| Part::Slept(Box::new(part), Slept { call_ns, cpu_ns });
        let parts = [side(ping, 1000.0, 5000.0), side(Part::Pong, 2000.0, 7000.0)];
        let (inner, wake) = add_up(&parts).unwrap();
        assert_eq!(inner.len(), 2);
        assert_eq!(wake, Wake { call_ns: 1500.0, to_run_ns: 4500.0, cpu_ns: 6000.0 });
        assert!(add_up(&parts[..1]).is_err() && add_up(&parts[1..]).is_err() && add_up(&[]).is_err());
    }

    #[test]
    fn the_start_does_not_count() {
        let seen = Seen { calls: vec![3.0, 1.0, 2.0], trips: 99, first: Some((32, 5_000)), last: (96, 6_280) };
        let slept = seen.slept().unwrap();
        assert_eq!((slept.call_ns, slept.cpu_ns), (2.0, 20.0));
        assert!(Seen::default().slept().is_err());
        let short = Seen { calls: vec![1.0], trips: 40, first: Some((32, 5_000)), last: (32, 5_000) };
        assert!(short.slept().is_err());
    }

    #[test]
    fn spans() {
        assert_eq!(Span::of(&[3.0, 1.0, 2.0]), Some(Span { median: 2.0, min: 1.0, max: 3.0 }));
        assert_eq!(Span::of(&[]), None);
    }
}
