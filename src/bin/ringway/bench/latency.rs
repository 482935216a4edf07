//! Round trips: drives one end of a pair of links, and times every exchange.
//!
//! Knows the shape of a link, not what it is made of.

use super::message::STOP;
use super::worker::{Part, Session, Side};
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};

/// One end of a two-way link, one message under way at a time.
pub trait Link {
    /// A message as it came out of the system: taken, not yet checked.
    type Got;
    fn send(&mut self, number: u64) -> Result<()>;
    fn receive(&mut self) -> Result<Self::Got>;
    /// The message's number, if every word of it is right.
    fn check(&self, got: &Self::Got) -> Option<u64>;
    /// Sends a received message back.
    fn send_back(&mut self, got: Self::Got) -> Result<()>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

/// Times in nanoseconds and how often each was measured: what a histogram is made of.
pub type Counts = Vec<(u64, u64)>;

/// The slowest round trip that is told from slower ones.
const LONGEST: Duration = Duration::from_secs(60);
const WARM_UP_ROUNDS: u64 = 200;
/// Of long messages fewer rounds, of so many bytes together.
const WARM_UP_BYTES: u64 = 32 << 20;

pub fn drive<L: Link>(session: &Session, link: L) -> Result<(Part, Option<(f64, f64)>)> {
    match session.order.side {
        Side::First => ping(session, link),
        Side::Second => pong(session, link),
    }
}

fn ping<L: Link>(session: &Session, mut link: L) -> Result<(Part, Option<(f64, f64)>)> {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).context("histogram")?;
    let clock_ns = clock_overhead();
    session.start();
    let measure = session.order.measure;
    let warm_until = Instant::now() + measure / 10;
    let rounds = WARM_UP_ROUNDS.min((WARM_UP_BYTES / session.order.cell.size.max(1) as u64).max(1));
    let mut number = 0;
    while number < rounds || Instant::now() < warm_until {
        exchange(&mut link, number)?;
        number += 1;
    }
    let end = Instant::now() + measure;
    loop {
        let took = exchange(&mut link, number)?;
        histogram.saturating_record(took.as_nanos() as u64);
        number += 1;
        // A second look at the clock, outside the interval that counts.
        if Instant::now() >= end {
            break;
        }
    }
    exchange(&mut link, STOP)?;
    let probes = session.end();
    let tick_ns = clock_tick();
    let at = |quantile| percentile(&histogram, quantile, tick_ns);
    let percentiles = Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: histogram.max() };
    Ok((Part::Ping { percentiles, samples: histogram.len(), clock_ns, counts: counts(&histogram) }, probes))
}

#[inline(always)]
fn exchange<L: Link>(link: &mut L, number: u64) -> Result<Duration> {
    let start = Instant::now();
    link.send(std::hint::black_box(number))?;
    let got = link.receive()?;
    let took = start.elapsed();
    match link.check(&got) {
        Some(n) if n == number => Ok(took),
        Some(n) => bail!("message {n} came back instead of {number}"),
        None => bail!("message {number} came back damaged"),
    }
}

fn pong<L: Link>(session: &Session, mut link: L) -> Result<(Part, Option<(f64, f64)>)> {
    session.start();
    let mut expected = 0;
    loop {
        let got = link.receive()?;
        let number = link.check(&got);
        link.send_back(got)?;
        match number {
            Some(STOP) => break,
            Some(n) if n == expected => expected += 1,
            Some(n) => bail!("message {n} arrived instead of {expected}"),
            None => bail!("message {expected} arrived damaged"),
        }
    }
    Ok((Part::Pong, session.end()))
}

/// What taking the time costs: the median of pairs of readings.
fn clock_overhead() -> f64 {
    let mut readings: Vec<u128> = (0..1001).map(|_| Instant::now().elapsed().as_nanos()).collect();
    readings.sort_unstable();
    readings[readings.len() / 2] as f64
}

/// The smallest step of the clock: 1 ns on some processors, 10 ns on others.
fn clock_tick() -> u64 {
    let start = Instant::now();
    let readings: Vec<u128> = (0..2000).map(|_| start.elapsed().as_nanos()).collect();
    let steps = readings.windows(2).map(|pair| pair[1] - pair[0]).filter(|&step| step > 0);
    steps.min().map_or(1, |step| step as u64)
}

/// Up to here the histogram keeps every nanosecond apart.
const EXACT_NS: u64 = 2000;

/// A percentile, interpolated inside the tick that it falls into: with a tick of
/// 10 ns the bare reading would move in steps of several percent.
fn percentile(histogram: &Histogram<u64>, quantile: f64, tick_ns: u64) -> u64 {
    let value = histogram.value_at_quantile(quantile);
    if value > EXACT_NS || tick_ns <= 1 {
        return value;
    }
    // Readings of one tick differ by a nanosecond of rounding.
    let from = value.saturating_sub(tick_ns / 2);
    let to = from + tick_ns;
    let below = if from == 0 { 0 } else { histogram.count_between(0, from - 1) };
    let inside = histogram.count_between(from, to - 1).max(1);
    let wanted = quantile * histogram.len() as f64 - below as f64;
    let share = (wanted / inside as f64).clamp(0.0, 1.0);
    from + (share * tick_ns as f64).round() as u64
}

fn counts(histogram: &Histogram<u64>) -> Counts {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

/// Steps of the distribution each time that what is left above halves: some 40 for a million samples.
const STEPS: u32 = 2;

/// Percentiles and nanoseconds of all runs together, the last at 100; empty without any counts.
pub fn distribution<'c>(runs: impl Iterator<Item = &'c Counts>) -> Vec<(f64, u64)> {
    let Ok(mut all) = Histogram::<u64>::new_with_bounds(1, LONGEST.as_nanos() as u64, 3) else { return Vec::new() };
    for &(ns, count) in runs.flatten() {
        all.saturating_record_n(ns, count);
    }
    if all.is_empty() {
        return Vec::new();
    }
    let rounded = |percentile: f64| (percentile * 1e6).round() / 1e6;
    let steps = all.iter_quantiles(STEPS);
    let mut points: Vec<(f64, u64)> =
        steps.map(|step| (rounded(step.quantile_iterated_to() * 100.0), step.value_iterated_to())).collect();
    points.dedup_by_key(|point| point.0);
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[(u64, u64)]) -> Histogram<u64> {
        let mut histogram = Histogram::new_with_bounds(1, LONGEST.as_nanos() as u64, 3).unwrap();
        for &(value, count) in values {
            histogram.record_n(value, count).unwrap();
        }
        histogram
    }

    #[test]
    fn a_percentile_is_interpolated_inside_the_tick() {
        let even = histogram(&[(100, 50), (110, 50)]);
        assert_eq!(percentile(&even, 0.5, 10), 105);
        let mostly_higher = histogram(&[(100, 25), (110, 75)]);
        assert_eq!(percentile(&mostly_higher, 0.5, 10), 108);
        let rounded = histogram(&[(100, 25), (101, 25), (110, 50)]);
        assert_eq!(percentile(&rounded, 0.25, 10), 100);
    }

    #[test]
    fn a_distribution_is_of_all_runs_and_ends_with_the_maximum() {
        let runs =
            [counts(&histogram(&[(100, 600_000), (200, 300_000)])), counts(&histogram(&[(1000, 99_999), (5000, 1)]))];
        let points = distribution(runs.iter());
        assert!((20..=60).contains(&points.len()), "{points:?}");
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1));
        let at = |percentile: f64| points.iter().find(|point| point.0 >= percentile).map(|point| point.1);
        assert_eq!((at(50.0), at(75.0), at(99.0)), (Some(100), Some(200), Some(1000)));
        let (percentile, ns) = points[points.len() - 1];
        assert!(percentile == 100.0 && (5000..=5005).contains(&ns));
        assert!(distribution(std::iter::empty()).is_empty());
    }

    #[test]
    fn a_fine_clock_and_long_times_are_left_alone() {
        assert_eq!(percentile(&histogram(&[(100, 50), (110, 50)]), 0.5, 1), 100);
        let long = histogram(&[(65_000, 10)]);
        assert_eq!(percentile(&long, 0.5, 10), long.value_at_quantile(0.5));
    }
}
