//! The placement probe: what a cache line costs between the two cores of a run,
//! right now.
//!
//! Virtual machines move their processors between physical cores, and every
//! number moves with them. A run counts only if the probes before and after it
//! agree. Knows the control memory, nothing of the systems that are measured.

use super::control::Control;
use super::worker::Spin;
use std::sync::atomic::Ordering;
use std::time::Instant;

const BLOCKS: u32 = 40;
const ROUNDS_PER_BLOCK: u32 = 50;
const ROUNDS: u32 = BLOCKS * ROUNDS_PER_BLOCK;

/// A run whose probes differ by more than this factor is repeated.
const TOLERANCE: f64 = 1.3;

/// The asking side: nanoseconds per round trip, the median of blocks (one
/// pre-emption spoils one block).
pub fn ask(control: &Control, turn: u32) -> f64 {
    let (ping, pong) = (control.probe_flag(0), control.probe_flag(1));
    let mut blocks = Vec::with_capacity(BLOCKS as usize);
    let mut value = turn * ROUNDS;
    for _ in 0..BLOCKS {
        let start = Instant::now();
        for _ in 0..ROUNDS_PER_BLOCK {
            value += 1;
            ping.store(value, Ordering::Release);
            let mut spin = Spin::default();
            while pong.load(Ordering::Acquire) != value {
                spin.turn();
            }
        }
        blocks.push(start.elapsed().as_nanos() as f64 / f64::from(ROUNDS_PER_BLOCK));
    }
    blocks.sort_by(f64::total_cmp);
    blocks[blocks.len() / 2]
}

/// The answering side.
pub fn answer(control: &Control, turn: u32) {
    let (ping, pong) = (control.probe_flag(0), control.probe_flag(1));
    for round in 1..=ROUNDS {
        let value = turn * ROUNDS + round;
        let mut spin = Spin::default();
        while ping.load(Ordering::Acquire) != value {
            spin.turn();
        }
        pong.store(value, Ordering::Release);
    }
}

/// Whether two probes were taken on the same placement.
pub fn agree(a: f64, b: f64) -> bool {
    a <= b * TOLERANCE && b <= a * TOLERANCE
}

/// The probes in groups that agree, as text: `120 ns x 31, 500 ns x 8`.
pub fn distribution(probes: &[f64]) -> String {
    let mut sorted = probes.to_vec();
    sorted.sort_by(f64::total_cmp);
    let mut groups: Vec<Vec<f64>> = Vec::new();
    for probe in sorted {
        match groups.last_mut() {
            Some(group) if probe <= group[0] * TOLERANCE => group.push(probe),
            _ => groups.push(vec![probe]),
        }
    }
    let text = |group: &Vec<f64>| format!("{:.0} ns x {}", group[group.len() / 2], group.len());
    groups.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_counted_by_placement() {
        assert_eq!(distribution(&[500.0, 120.0, 118.0, 125.0, 510.0]), "120 ns x 3, 510 ns x 2");
        assert_eq!(distribution(&[]), "");
    }

    #[test]
    fn agreement_is_symmetric() {
        assert!(agree(100.0, 125.0) && agree(125.0, 100.0));
        assert!(!agree(100.0, 140.0) && !agree(140.0, 100.0));
    }
}
