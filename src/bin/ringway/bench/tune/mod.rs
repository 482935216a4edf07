//! `ringway bench tune`: what this machine's caches, wake-ups and memory cost, and which options follow from that.
//!
//! This file says what is measured (`groups`); `parked` is the part of a worker that sleeps; `schedule` runs all of
//! it in rounds like any bench. `decide` draws the conclusions, from numbers alone; `advice` finds the numbers in
//! the rows and puts the conclusions into words. It has no ping-pong and no stream of its own: those are
//! `baseline::raw`, `latency` and `throughput`.

mod advice;
mod decide;
mod parked;

pub use advice::{Suggestion, suggest};
pub use parked::{Slept, Wake, WakeUp, add_up, work};

use super::plan::{Bench, Cell, Group, Mode, Request, System, Wait, or};

/// A cache line is handed over, with this much in it.
const LINE_SIZE: usize = 8;
/// What the messages are with which capacities are compared: one fills a cache line with its stamp.
const MESSAGE_SIZE: usize = 56;
/// The capacity with which lengths are compared.
const USUAL_CAPACITY: u64 = 1024;
/// What makes every message go into a block: no slot has less room.
const BLOCKS_ONLY: usize = 4;
/// So many processors have 28 pairs, and 6.
const MOST_PROCESSORS: usize = 8;
const MOST_PROCESSORS_QUICK: usize = 4;

/// The mode of the queue that options are suggested for.
fn mode(request: &Request) -> Mode {
    request.modes.first().copied().unwrap_or(Mode::Mpmc)
}

/// Pairs of cores, a pair that sleeps, capacities, and lengths in slots and in blocks. `cpus` are the processors
/// that may be used, none if there is only one: then there are no pairs, and whoever waits sleeps.
pub fn groups(request: &Request, cpus: &[usize]) -> Vec<Group> {
    let few = if request.quick { MOST_PROCESSORS_QUICK } else { MOST_PROCESSORS };
    let (capacities, lengths): (&[u64], &[usize]) = match request.quick {
        true => (&[16, 256, 4096, 65_536], &[56, 256]),
        false => (&[16, 64, 256, 1024, 4096, 16_384, 65_536], &[16, 56, 120, 256, 1024]),
    };
    let line = |system| Cell::bare(Bench::Tune, system, LINE_SIZE);
    let pairs = pairs(cpus, few).into_iter().map(|pair| Cell { cpus: Some(pair), ..line(System::Raw) });
    let stream = |system, size, capacity, inline| Cell {
        mode: Some(mode(request)),
        wait: Some(if cpus.is_empty() { Wait::Park } else { Wait::Default }),
        capacity: Some(capacity),
        producers: Some(1),
        consumers: Some(1),
        batch: Some(1),
        inline,
        ..Cell::bare(Bench::Tune, system, size)
    };
    let of_capacities = or(&request.capacities, capacities).into_iter();
    let of_capacities = of_capacities.map(|capacity| stream(System::Ringway, MESSAGE_SIZE, capacity, None));
    let of_length = |&size: &usize| {
        [size, BLOCKS_ONLY].map(|inline| stream(System::RingwayBytes, size, USUAL_CAPACITY, Some(inline))).to_vec()
    };
    let mut groups = vec![pairs.collect(), vec![line(System::Futex)], of_capacities.collect()];
    groups.extend(or(&request.sizes, lengths).iter().map(of_length));
    groups.retain(|group: &Group| !group.is_empty());
    groups
}

/// Every two of the first few.
fn pairs(cpus: &[usize], few: usize) -> Vec<[usize; 2]> {
    let cpus = &cpus[..cpus.len().min(few)];
    let with_later = |k: usize| cpus[k + 1..].iter().map(move |&other| [cpus[k], other]);
    (0..cpus.len()).flat_map(with_later).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_of_the_first_few() {
        assert_eq!(pairs(&[], 8), Vec::<[usize; 2]>::new());
        assert_eq!(pairs(&[3, 5], 8), [[3, 5]]);
        assert_eq!(pairs(&[0, 2, 1, 3], 3), [[0, 2], [0, 1], [2, 1]]);
        assert_eq!(pairs(&(0..100).collect::<Vec<_>>(), MOST_PROCESSORS).len(), 28);
        assert_eq!(pairs(&(0..100).collect::<Vec<_>>(), MOST_PROCESSORS_QUICK).len(), 6);
    }
}
