//! How throughput scales: over the processes of each side, the size of messages, the capacity.
//!
//! Which cells there are, what each is compared with, and the target. The runs are those of `throughput`, in the
//! rounds of `schedule`; the first cell of a group is what the others are compared with. Knows nothing of processes.

use super::message::is_payload;
use super::plan::{Bench, Cell, Group, Mode, Request, Shape, System, Wait, or};
use super::report::{self, Row, Scaling};
use super::schedule::Outcome;
use super::stats::rounded;
use clap::ValueEnum;
use serde::Serialize;
use std::fmt::Write as _;

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    Processes,
    Size,
    Capacity,
}

impl Over {
    pub fn name(self) -> &'static str {
        match self {
            Over::Processes => "processes",
            Over::Size => "size",
            Over::Capacity => "capacity",
        }
    }
}

/// A group, and what grows in it.
pub type Part = (Over, Group);

/// With more processes than processors a queue keeps at least this part of its rate.
const TARGET: f64 = 0.5;
/// Both sides of what has the target, and of what it is compared with.
const TARGET_SIDES: u32 = 8;
const BASE_SIDES: u32 = 2;

/// The ring and the arena of a queue of any size of the default have less than this.
pub const QUEUE_BYTES: usize = 128 << 20;
const MOST_SLOTS: usize = 1024;

/// Slots for messages of so many bytes. An arena has at most 64 MiB if nothing else is stated, whatever the capacity;
/// the ring, and what long messages would take all at once, is kept to the other half.
fn slots(size: usize) -> u64 {
    (QUEUE_BYTES / 2 / size).clamp(8, MOST_SLOTS) as u64
}

fn cell(system: System, size: usize, shape: Shape, wait: Wait, capacity: u64) -> Cell {
    Cell {
        mode: Some(shape.mode),
        wait: Some(wait),
        capacity: Some(capacity),
        producers: Some(shape.producers),
        consumers: Some(shape.consumers),
        batch: Some(1),
        ..Cell::bare(Bench::Scale, system, size)
    }
}

fn carrier(size: usize) -> System {
    if is_payload(size) { System::Ringway } else { System::RingwayBytes }
}

/// So many processes on each side that may have several.
fn both(mode: Mode, n: u32) -> Shape {
    let side = |single| if single { 1 } else { n };
    Shape { mode, producers: side(mode.single_producer()), consumers: side(mode.single_consumer()) }
}

/// What all are compared with, the same number on both sides, then many on one side.
fn shapes(mode: Mode, request: &Request) -> Vec<Shape> {
    let wide: &[u32] = if request.quick { &[16] } else { &[2, 4, 8, 16] };
    let mut all = vec![both(mode, BASE_SIDES)];
    if !request.shapes.is_empty() {
        all.extend(request.shapes.iter().filter(|shape| shape.mode == mode));
    } else {
        all.extend([1, 2, 4, 8, 16].map(|n| both(mode, n)));
        all.extend(wide.iter().map(|&n| Shape { producers: 1, ..both(mode, n) }));
        all.extend(wide.iter().map(|&n| Shape { consumers: 1, ..both(mode, n) }));
    }
    let mut seen = Vec::new();
    all.retain(|shape| {
        let new = !seen.contains(shape);
        seen.push(*shape);
        new
    });
    all
}

pub fn plan(request: &Request) -> Vec<Part> {
    let modes = or(&request.modes, &[Mode::Mpmc]);
    let waits = or(&request.waits, &[Wait::Default]);
    let wanted = or(&request.over, &[Over::Processes, Over::Size, Over::Capacity]);
    let mut parts = Vec::new();
    if wanted.contains(&Over::Processes) {
        let sizes: &[usize] = if request.quick { &[8] } else { &[8, 56] };
        for size in or(&request.sizes, sizes) {
            for capacity in or(&request.capacities, &[slots(size)]) {
                for (&mode, &wait) in modes.iter().flat_map(|mode| waits.iter().map(move |wait| (mode, wait))) {
                    let of = |shape| cell(carrier(size), size, shape, wait, capacity);
                    parts.push((Over::Processes, shapes(mode, request).into_iter().map(of).collect()));
                }
            }
        }
    }
    // Elsewhere the processes are few, unless they are stated.
    let shapes = |default: &[u32]| {
        let usual = modes.iter().flat_map(|&mode| default.iter().map(move |&n| both(mode, n)));
        let mut all = if !request.shapes.is_empty() { request.shapes.clone() } else { usual.collect() };
        all.dedup();
        all
    };
    if wanted.contains(&Over::Size) {
        const KIB: usize = 1024;
        let sizes = [8, 64, KIB, 16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB, 4096 * KIB];
        for size in or(&request.sizes, &sizes) {
            let mut group = vec![Cell::bare(Bench::Scale, System::Copy, size)];
            for shape in shapes(&[1]) {
                for capacity in or(&request.capacities, &[slots(size)]) {
                    group.extend(waits.iter().map(|&wait| cell(System::RingwayBytes, size, shape, wait, capacity)));
                }
            }
            parts.push((Over::Size, group));
        }
    }
    if wanted.contains(&Over::Capacity) {
        let capacities = or(&request.capacities, &[16, 256, 4096, 65_536, 1_048_576]);
        for size in or(&request.sizes, &[8]) {
            for shape in shapes(&[1, 2]) {
                for &wait in &waits {
                    let of = |&capacity: &u64| cell(carrier(size), size, shape, wait, capacity);
                    parts.push((Over::Capacity, capacities.iter().map(of).collect()));
                }
            }
        }
    }
    parts
}

fn has_target(over: Over, cell: &Cell) -> bool {
    let sides = (cell.producers, cell.consumers);
    over == Over::Processes
        && cell.mode == Some(Mode::Mpmc)
        && cell.wait == Some(Wait::Default)
        && sides == (Some(TARGET_SIDES), Some(TARGET_SIDES))
}

/// The rows, each with its ratio to 2x2, to the limit or to the best capacity: medians over the rounds.
pub fn rows(parts: &[Part], outcome: &Outcome) -> Vec<Row> {
    let groups: Vec<Group> = parts.iter().map(|(_, group)| group.clone()).collect();
    let mut rows = report::rows(&groups, outcome);
    let mut rest = &mut rows[..];
    for (over, group) in parts {
        let (own, others) = rest.split_at_mut(group.len());
        rest = others;
        judge(*over, own);
    }
    rows
}

fn judge(over: Over, group: &mut [Row]) {
    // So far it is the ratio to the first of the group.
    let best = group.iter().filter_map(|row| row.ratio_limit).reduce(f64::max);
    let base = if over == Over::Capacity { best } else { Some(1.0) };
    for row in group {
        let ratio = row.ratio_limit.zip(base).map(|(ratio, base)| rounded(ratio / base));
        let target = has_target(over, &row.cell).then_some(TARGET);
        let met = ratio.zip(target).map(|(ratio, target)| ratio >= target);
        row.scale = Scaling { over: Some(over), ratio_base: ratio, target, met };
        if over != Over::Size {
            row.ratio_limit = None;
        }
    }
}

/// What is needed to judge the table above it.
pub fn footer(rows: &[Row], cores: usize) -> String {
    let mut text = String::from(
        "ratio: over processes to 2x2, over size to copy, over capacity to the best one; medians of ratios of the \
         same round\n",
    );
    let most = rows.iter().map(|row| row.cell.processes()).map(|(first, second)| first + second).max().unwrap_or(0);
    if most as usize > cores {
        let _ = writeln!(text, "fewer cores than processes: {cores} for up to {most}, which take turns on them");
    }
    for row in rows {
        let Some(target) = row.scale.target else { continue };
        let said = match (row.scale.ratio_base, row.scale.met) {
            (Some(ratio), Some(true)) => format!("{ratio:.2} x, met"),
            (Some(ratio), _) => format!("{ratio:.2} x, missed"),
            (None, _) => "not measured".to_owned(),
        };
        let (n, base, size, runs) = (TARGET_SIDES, BASE_SIDES, row.cell.size, row.runs);
        let _ = writeln!(text, "target {n}x{n} >= {target} x {base}x{base}, {size} bytes, {runs} runs: {said}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::tests::request;
    use crate::bench::ringway_parts;
    use crate::bench::runner::{Measured, Trouble, Value};
    use crate::bench::schedule::History;

    fn sides(group: &[Cell]) -> Vec<(u32, u32)> {
        group.iter().map(Cell::processes).collect()
    }

    fn of(over: Over, request: &Request) -> Vec<Group> {
        let parts = plan(request).into_iter().filter(|part| part.0 == over);
        parts.map(|part| part.1).collect()
    }

    #[test]
    fn processes_are_compared_with_two_on_each_side() {
        let groups = of(Over::Processes, &request());
        assert_eq!(groups.iter().map(|group| group[0].size).collect::<Vec<_>>(), [8, 56]);
        for group in &groups {
            let squares = [(2, 2), (1, 1), (4, 4), (8, 8), (16, 16)];
            let wide = [(1, 2), (1, 4), (1, 8), (1, 16), (2, 1), (4, 1), (8, 1), (16, 1)];
            assert_eq!(sides(group), [&squares[..], &wide].concat());
            assert!(group.iter().all(|cell| cell.limit_in(group) == Some(0) && cell.mode == Some(Mode::Mpmc)));
            assert_eq!(group.iter().filter(|cell| has_target(Over::Processes, cell)).count(), 1);
        }
        let quick = of(Over::Processes, &Request { quick: true, ..request() });
        assert_eq!(quick.len(), 1);
        assert_eq!(sides(&quick[0]), [(2, 2), (1, 1), (4, 4), (8, 8), (16, 16), (1, 16), (16, 1)]);
    }

    #[test]
    fn sizes_stand_beside_the_limit_and_capacities_by_themselves() {
        let sizes = of(Over::Size, &request());
        assert_eq!(sizes.len(), 8);
        for group in &sizes {
            let systems: Vec<System> = group.iter().map(|cell| cell.system).collect();
            assert_eq!(systems, [System::Copy, System::RingwayBytes], "{group:?}");
        }
        assert_eq!(sizes.last().map(|group| group[1].size), Some(4 << 20));
        let capacities = of(Over::Capacity, &request());
        assert_eq!(capacities.iter().map(|group| group[0].processes()).collect::<Vec<_>>(), [(1, 1), (2, 2)]);
        for group in capacities {
            let slots: Vec<u64> = group.iter().filter_map(|cell| cell.capacity).collect();
            assert_eq!(slots, [16, 256, 4096, 65_536, 1_048_576]);
        }
    }

    #[test]
    fn what_is_stated_narrows() {
        let shape = Shape { mode: Mode::Mpmc, producers: 8, consumers: 8 };
        let stated = Request { shapes: vec![shape], ..request() };
        assert_eq!(sides(&of(Over::Processes, &stated)[0]), [(2, 2), (8, 8)]);
        assert!(of(Over::Capacity, &stated).iter().all(|group| sides(group) == [(8, 8); 5]));
        let narrow = Request { sizes: vec![64], capacities: vec![16], modes: vec![Mode::Mpsc], ..request() };
        let processes = of(Over::Processes, &narrow);
        assert_eq!(sides(&processes[0]), [(2, 1), (1, 1), (4, 1), (8, 1), (16, 1)]);
        let all = plan(&Request { over: vec![Over::Processes, Over::Capacity], ..narrow });
        assert!(all.iter().flat_map(|part| &part.1).all(|cell| (cell.size, cell.capacity) == (64, Some(16))));
        assert_eq!(
            all.iter().map(|part| part.0).collect::<Vec<_>>(),
            [Over::Processes, Over::Capacity, Over::Capacity]
        );
    }

    #[test]
    fn every_queue_stays_below_the_stated_bytes() {
        let directory = tempfile::tempdir_in("/dev/shm").expect("writable");
        for cell in plan(&request()).iter().flat_map(|part| &part.1).filter(|cell| cell.system.is_ringway()) {
            let queues = ringway_parts::create(cell, directory.path(), 1).expect("memory");
            let file = std::fs::metadata(directory.path().join(ringway_parts::NAMES[0])).expect("a named queue");
            assert!(file.len() < QUEUE_BYTES as u64 && file.len() > 0, "{} bytes of {cell:?}", file.len());
            drop(queues);
        }
    }

    fn outcome(parts: &[Part], rate: impl Fn(Over, &Cell) -> Option<[f64; 3]>) -> Outcome {
        let history = |over, group: &Group, cell: &Cell| {
            let Some(rates) = rate(over, cell) else {
                return History { trouble: Some(Trouble::Failed("broken".into())), ..History::default() };
            };
            let base = rate(over, &group[0]);
            let run = |rate| Measured {
                value: Value::Rate(rate),
                samples: 1,
                probes: (1.0, 1.0),
                clock_ns: None,
                counts: Vec::new(),
                wake: None,
            };
            let ratios = base.iter().flat_map(|base| rates.iter().zip(base).map(|(own, base)| own / base));
            History { runs: rates.map(run).into(), limit_ratios: ratios.collect(), ..History::default() }
        };
        let of_part =
            |(over, group): &Part| group.iter().map(|cell| history(*over, group, cell)).collect::<Vec<History>>();
        Outcome { histories: parts.iter().map(of_part).collect(), probes: vec![], interrupted: false }
    }

    /// Rates of 8x8 beside a 2x2 that moves from round to round.
    fn eight(rates: [f64; 3]) -> Row {
        let parts = plan(&Request { over: vec![Over::Processes], sizes: vec![8], ..request() });
        let rate = |_, cell: &Cell| match cell.processes() {
            (8, 8) => Some(rates),
            (2, 2) => Some([100.0, 10.0, 1000.0]),
            _ => Some([1.0; 3]),
        };
        let rows = rows(&parts, &outcome(&parts, rate));
        let targets: Vec<&Row> = rows.iter().filter(|row| row.scale.target.is_some()).collect();
        assert_eq!(targets.len(), 1);
        targets[0].clone()
    }

    #[test]
    fn the_target_is_met_or_missed_by_the_median_of_the_rounds() {
        let met = eight([60.0, 5.0, 100.0]);
        assert_eq!((met.scale.ratio_base, met.scale.met, met.ratio_limit), (Some(0.5), Some(true), None));
        assert!(footer(&[met], 2).contains("target 8x8 >= 0.5 x 2x2, 8 bytes, 3 runs: 0.50 x, met"));
        // Higher in one round than 2x2 in any.
        let missed = eight([49.0, 4.9, 2000.0]);
        assert_eq!((missed.scale.ratio_base, missed.scale.met), (Some(0.49), Some(false)));
        assert!(footer(&[missed], 2).contains("0.49 x, missed"));
    }

    #[test]
    fn a_base_that_failed_leaves_no_ratio() {
        let parts = plan(&Request { over: vec![Over::Processes], sizes: vec![8], ..request() });
        let rate = |_, cell: &Cell| (cell.processes() != (2, 2)).then_some([1.0; 3]);
        let rows = rows(&parts, &outcome(&parts, rate));
        assert!(rows[0].error.is_some() && rows.iter().all(|row| row.scale.ratio_base.is_none()));
        assert!(rows.iter().all(|row| row.scale.met.is_none()) && footer(&rows, 2).contains("not measured"));
    }

    #[test]
    fn the_best_capacity_is_one_and_sizes_are_shares_of_copy() {
        let parts = plan(&Request { over: vec![Over::Size, Over::Capacity], sizes: vec![8], ..request() });
        let rate = |over, cell: &Cell| match (over, cell.system, cell.capacity) {
            (Over::Size, System::Copy, _) => Some([40.0; 3]),
            (Over::Size, _, _) => Some([30.0; 3]),
            (_, _, Some(16)) => Some([10.0; 3]),
            (_, _, Some(4096)) => Some([50.0; 3]),
            _ => Some([25.0; 3]),
        };
        let rows = rows(&parts, &outcome(&parts, rate));
        let ratios: Vec<f64> = rows.iter().filter_map(|row| row.scale.ratio_base).collect();
        let capacities = [0.2, 0.5, 1.0, 0.5, 0.5];
        assert_eq!(ratios, [&[1.0, 0.75][..], &capacities, &capacities].concat());
        assert_eq!(rows.iter().filter_map(|row| row.ratio_limit).collect::<Vec<_>>(), [1.0, 0.75]);
    }

    #[test]
    fn fewer_cores_than_processes_are_said() {
        let row = |n| Row::of(&cell(System::Ringway, 8, both(Mode::Mpmc, n), Wait::Default, 16));
        assert!(footer(&[row(2), row(16)], 2).contains("fewer cores than processes: 2 for up to 32"));
        assert!(!footer(&[row(1)], 2).contains("fewer cores"));
    }
}
