//! What follows from the numbers. Pure: knows neither rows nor words.

use crate::bench::probe::agree;
use crate::bench::stats::median;

/// How to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    Park,
    Spin { budget_us: u64 },
}

/// Longer than any wake-up of a machine that is not busy.
const LONGEST_BUDGET_US: u64 = 1000;

/// Spinning for as long as a sleep and its wake-up take of the processors never costs more than twice what the best
/// choice would have, however long the wait is; nothing is better without knowing how long it is.
///
/// `sleep_wake_ns` is that processor time, `hand_over_ns` what it takes one way between two that spin. Sleeping is
/// right where no other processor can end the wait, and where a hand-over takes as long as the sleep would.
/// None: not known.
pub fn waiting(processors: usize, sleep_wake_ns: Option<f64>, hand_over_ns: Option<f64>) -> Option<Waiting> {
    if processors < 2 {
        return Some(Waiting::Park);
    }
    let cost = sleep_wake_ns.filter(|ns| ns.is_finite() && *ns > 0.0)?;
    if hand_over_ns.is_some_and(|ns| ns >= cost) {
        return Some(Waiting::Park);
    }
    Some(Waiting::Spin { budget_us: ((cost / 1000.0).ceil() as u64).clamp(1, LONGEST_BUDGET_US) })
}

/// A capacity with what goes through it, and the most that went through any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    pub slots: u64,
    pub rate: f64,
    pub best: f64,
}

/// So much of the best is enough.
pub const ENOUGH: f64 = 0.95;

/// The smallest capacity that is as good as the best. None: none was measured.
pub fn smallest_capacity(rates: &[(u64, f64)]) -> Option<Capacity> {
    let measured = || rates.iter().copied().filter(|(_, rate)| rate.is_finite() && *rate > 0.0);
    let best = measured().map(|(_, rate)| rate).reduce(f64::max)?;
    let enough = measured().filter(|(_, rate)| *rate >= best * ENOUGH);
    enough.min_by_key(|(slots, _)| *slots).map(|(slots, rate)| Capacity { slots, rate, best })
}

/// Messages a second of one length, in the slots and in blocks, where they were measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Length {
    pub bytes: usize,
    pub inline: Option<f64>,
    pub blocks: Option<f64>,
}

impl Length {
    /// How many times faster in the slots.
    pub fn times(self) -> Option<f64> {
        let positive = |rate: Option<f64>| rate.filter(|rate| rate.is_finite() && *rate > 0.0);
        Some(positive(self.inline)? / positive(self.blocks)?)
    }
}

/// What the slots have room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// The default, which has room for those that are better off in slots.
    Default,
    Bytes(usize),
}

/// The room in a slot if nothing is stated.
pub const DEFAULT_INLINE: usize = 52;
/// Bytes of all slots together: what the arena of a queue takes by default, too.
pub const MOST_BYTES: u64 = 64 << 20;
/// In the slots it must be so much faster: they take memory whether or not they are used.
const WORTH: f64 = 1.05;

/// The longest length up to which slots are worth their memory, in a queue of so many. One that was not measured
/// ends it: nothing is known from there on. None: none was measured.
pub fn inline(lengths: &[Length], slots: u64) -> Option<Inline> {
    let mut sorted = lengths.to_vec();
    sorted.sort_by_key(|length| length.bytes);
    sorted.first()?.times()?;
    let fits = |bytes: usize| slots.saturating_mul(bytes as u64) <= MOST_BYTES;
    let worth = sorted.iter().take_while(|length| length.times().is_some_and(|t| t >= WORTH) && fits(length.bytes));
    Some(match worth.last() {
        Some(length) if length.bytes > DEFAULT_INLINE => Inline::Bytes(length.bytes),
        _ => Inline::Default,
    })
}

/// Round trips of pairs of cores: the least, the middle, the most, and which pair is nearest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pairs {
    pub nearest: [usize; 2],
    pub min: f64,
    pub median: f64,
    pub max: f64,
}

pub fn pairs(round_trips: &[([usize; 2], f64)]) -> Option<Pairs> {
    let (nearest, min) = round_trips.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1))?;
    let times: Vec<f64> = round_trips.iter().map(|(_, ns)| *ns).collect();
    Some(Pairs { nearest, min, median: median(&times)?, max: times.iter().copied().fold(min, f64::max) })
}

/// Of how many cells the probes of different runs disagree: the processors were moved, or others wanted them.
pub fn moved(probes: &[Vec<f64>]) -> usize {
    let edges = |of: &Vec<f64>| Some((of.iter().copied().reduce(f64::min)?, of.iter().copied().reduce(f64::max)?));
    probes.iter().filter_map(edges).filter(|(least, most)| !agree(*least, *most)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_pays_for_as_long_as_a_sleep_costs() {
        assert_eq!(waiting(2, Some(5_200.0), Some(60.0)), Some(Waiting::Spin { budget_us: 6 }));
        assert_eq!(waiting(2, Some(300.0), None), Some(Waiting::Spin { budget_us: 1 }));
        assert_eq!(waiting(64, Some(9e9), Some(60.0)), Some(Waiting::Spin { budget_us: LONGEST_BUDGET_US }));
    }

    #[test]
    fn spinning_never_pays_alone_or_with_one_who_is_as_slow() {
        assert_eq!(waiting(1, Some(5_200.0), Some(60.0)), Some(Waiting::Park));
        assert_eq!(waiting(1, None, None), Some(Waiting::Park));
        assert_eq!(waiting(0, None, None), Some(Waiting::Park));
        assert_eq!(waiting(2, Some(5_200.0), Some(5_200.0)), Some(Waiting::Park));
    }

    #[test]
    fn how_to_wait_is_not_guessed() {
        for unknown in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(f64::INFINITY)] {
            assert_eq!(waiting(2, unknown, Some(60.0)), None, "{unknown:?}");
        }
    }

    #[test]
    fn the_smallest_capacity_that_is_as_good_as_the_best() {
        let chosen = |rates: &[(u64, f64)]| smallest_capacity(rates).map(|c| c.slots);
        assert_eq!(chosen(&[(16, 5.0), (256, 94.9), (1024, 95.0), (4096, 100.0)]), Some(1024));
        assert_eq!(chosen(&[(4096, 100.0), (16, 99.0)]), Some(16), "in any order");
        assert_eq!(chosen(&[(16, 10.0), (64, 100.0), (256, 50.0)]), Some(64), "the best may be in the middle");
        assert_eq!(chosen(&[(64, 7.0)]), Some(64));
        let all = smallest_capacity(&[(16, 96.0), (64, 100.0)]);
        assert_eq!(all, Some(Capacity { slots: 16, rate: 96.0, best: 100.0 }));
    }

    #[test]
    fn a_capacity_that_failed_is_not_chosen() {
        assert_eq!(smallest_capacity(&[]), None);
        assert_eq!(smallest_capacity(&[(16, 0.0), (64, f64::NAN)]), None);
        assert_eq!(smallest_capacity(&[(16, f64::INFINITY), (64, 3.0)]).map(|c| c.slots), Some(64));
    }

    fn length((bytes, inline, blocks): (usize, f64, f64)) -> Length {
        let known = |rate: f64| (rate > 0.0).then_some(rate);
        Length { bytes, inline: known(inline), blocks: known(blocks) }
    }

    fn chosen(lengths: &[(usize, f64, f64)], slots: u64) -> Option<Inline> {
        inline(&lengths.iter().copied().map(length).collect::<Vec<_>>(), slots)
    }

    #[test]
    fn slots_hold_what_is_faster_in_them() {
        let lengths = [(16, 40.0, 8.0), (56, 30.0, 8.0), (256, 12.0, 7.0), (1024, 4.0, 3.9)];
        assert_eq!(chosen(&lengths, 1024), Some(Inline::Bytes(256)));
        let reversed: Vec<_> = lengths.iter().rev().copied().collect();
        assert_eq!(chosen(&reversed, 1024), Some(Inline::Bytes(256)), "in any order");
        assert_eq!(chosen(&lengths[..1], 1024), Some(Inline::Default), "the default has room for 16");
        assert_eq!(chosen(&lengths[3..], 1024), Some(Inline::Default), "too little is gained");
        let gap = [(56, 30.0, 8.0), (120, 8.0, 8.0), (256, 12.0, 7.0)];
        assert_eq!(chosen(&gap, 1024), Some(Inline::Bytes(56)), "what follows a length that gains nothing is chance");
    }

    #[test]
    fn slots_do_not_take_all_memory() {
        let lengths = [(56, 30.0, 8.0), (65_536, 2.0, 1.0)];
        assert_eq!(chosen(&lengths, 1024), Some(Inline::Bytes(65_536)));
        assert_eq!(chosen(&lengths, 1025), Some(Inline::Bytes(56)));
        assert_eq!(chosen(&lengths, u64::MAX), Some(Inline::Default));
    }

    #[test]
    fn a_length_that_failed_ends_it() {
        assert_eq!(chosen(&[], 1024), None);
        assert_eq!(chosen(&[(56, 0.0, 0.0), (120, 0.0, 0.0)], 1024), None);
        assert_eq!(chosen(&[(56, 30.0, 0.0), (120, 9.0, 1.0)], 1024), None);
        assert_eq!(chosen(&[(56, 30.0, 8.0), (120, 0.0, 8.0), (256, 9.0, 1.0)], 1024), Some(Inline::Bytes(56)));
    }

    #[test]
    fn the_nearest_pair() {
        assert_eq!(pairs(&[]), None);
        let found = pairs(&[([0, 1], 120.0), ([0, 2], 50.0), ([1, 2], 300.0)]);
        assert_eq!(found, Some(Pairs { nearest: [0, 2], min: 50.0, median: 120.0, max: 300.0 }));
    }

    #[test]
    fn a_cell_that_was_moved_between_its_runs() {
        assert_eq!(moved(&[]), 0);
        assert_eq!(moved(&[vec![], vec![100.0], vec![100.0, 110.0, 120.0]]), 0);
        assert_eq!(moved(&[vec![100.0, 120.0, 140.0], vec![50.0, 50.0]]), 1);
    }
}
