//! A pool as a bystander sees it: what stands on its board, read from the file and never mapped.
//!
//! At the head of the board is a *notice*: what the pool is, and its counts, which it brings up to date as it goes.

use super::ledger::Ledger;
use super::stats::{PoolStats, WorkerStats};
use crate::process::{Board, Glimpse};
use crate::queue::admin::Location;
use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::Ordering;

/// Words before those of the workers: two cache lines that stay, and two that change.
pub(super) const NOTICE: usize = 32;

const MAGIC: u64 = u64::from_le_bytes(*b"RINGPOOL");
/// Of the board.
const LAYOUT: u64 = 1;

const MAGIC_AT: usize = 0;
const LAYOUT_AT: usize = 1;
const WORKERS_AT: usize = 2;
const JOBS_AT: usize = 3;
const PID_AT: usize = 4;
const NAME_LEN_AT: usize = 5;
const NAME_AT: usize = 8;
/// Bytes of a name that are told; of a longer one the rest is missing.
const MOST_NAME: usize = 64;
const COUNTS_AT: usize = 16;

/// What changes, in this order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) under_way: u64,
    pub(super) done: u64,
    pub(super) failed: u64,
    pub(super) restarted: u64,
    pub(super) unasked: u64,
    pub(super) callbacks_panicked: u64,
}

impl Tally {
    const LEN: usize = 6;

    fn words(self) -> [u64; Tally::LEN] {
        [self.under_way, self.done, self.failed, self.restarted, self.unasked, self.callbacks_panicked]
    }

    fn of([under_way, done, failed, restarted, unasked, callbacks_panicked]: [u64; Tally::LEN]) -> Tally {
        Tally { under_way, done, failed, restarted, unasked, callbacks_panicked }
    }
}

/// Writes what stays.
pub(super) fn introduce(board: &Board, workers: usize, jobs: usize, name: &str) {
    let mut words = [0; COUNTS_AT];
    let mut len = name.len().min(MOST_NAME);
    while !name.is_char_boundary(len) {
        len -= 1;
    }
    for (word, bytes) in words[NAME_AT..].iter_mut().zip(name.as_bytes()[..len].chunks(8)) {
        let mut whole = [0; 8];
        whole[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_le_bytes(whole);
    }
    words[LAYOUT_AT] = LAYOUT;
    (words[WORKERS_AT], words[JOBS_AT]) = (workers as u64, jobs as u64);
    (words[PID_AT], words[NAME_LEN_AT]) = (u64::from(std::process::id()), len as u64);
    words[MAGIC_AT] = MAGIC;
    write(board, 0, &words);
}

/// Writes what changes.
pub(super) fn publish(board: &Board, tally: Tally) {
    write(board, COUNTS_AT, &tally.words());
}

fn write(board: &Board, at: usize, words: &[u64]) {
    for (place, word) in board.words(at, words.len()).iter().zip(words) {
        // Nobody decides anything by them.
        place.store(*word, Ordering::Relaxed);
    }
}

/// A board that others may have scribbled over.
struct Seen {
    glimpse: Glimpse,
    workers: usize,
    notice: Vec<u64>,
}

impl Seen {
    /// None: it is no board.
    fn of(glimpse: Glimpse) -> Option<Seen> {
        let notice = glimpse.words(0, NOTICE)?;
        let is_one = notice[MAGIC_AT] == MAGIC && notice[LAYOUT_AT] == LAYOUT;
        let (workers, jobs) = (usize::try_from(notice[WORKERS_AT]).ok()?, usize::try_from(notice[JOBS_AT]).ok()?);
        let expected = Ledger::size(workers, jobs)?;
        // The file has whole pages.
        (is_one && glimpse.count() >= expected).then_some(Seen { glimpse, workers, notice })
    }

    fn pid(&self) -> u32 {
        self.notice[PID_AT] as u32
    }

    fn name(&self) -> String {
        let bytes: Vec<u8> = self.notice[NAME_AT..COUNTS_AT].iter().flat_map(|word| word.to_le_bytes()).collect();
        let len = usize::try_from(self.notice[NAME_LEN_AT]).unwrap_or(MOST_NAME).min(MOST_NAME);
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    fn stats(&self) -> Option<PoolStats> {
        let now = crate::primitive::now_ns();
        let mut workers = Vec::with_capacity(self.workers);
        for worker in 0..self.workers {
            let line = Ledger::read_line(worker, self.workers, |at, count| self.glimpse.words(at, count))?;
            workers.push(WorkerStats::new(line.pid, line.current, now));
        }
        let counts = self.notice[COUNTS_AT..].first_chunk().copied().map(Tally::of)?;
        Some(PoolStats::new(self.name(), self.pid(), counts, workers))
    }
}

impl PoolStats {
    /// The pools of all processes that may be looked at, each once. Counts may be a moment old, that of callbacks that
    /// panicked as old as what the pool did last. The [`Location`] is a descriptor of the pool's board, where
    /// [`at`](Self::at) and `ringway inspect` find it. Files are read, never mapped or written: nobody is disturbed.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let pool = ringway::Pool::builder().workers(2).name("crunchers").build()?;
    /// let pools = ringway::PoolStats::list();
    /// let (location, stats) = pools.iter().find(|(_, stats)| stats.name == "crunchers").ok_or("it is there")?;
    /// assert_eq!((stats.pid, stats.workers.len()), (std::process::id(), 2));
    /// assert!(ringway::PoolStats::at(location)?.is_some());
    /// # Ok(())
    /// # }
    /// ```
    pub fn list() -> Vec<(Location, PoolStats)> {
        let mut found: BTreeMap<(u64, u64), (u32, u32, Seen)> = BTreeMap::new();
        for (pid, fd) in Board::all() {
            // What has gone meanwhile, or is something else, is none.
            let Ok(Some(glimpse)) = Glimpse::of(pid, fd) else { continue };
            let inode = glimpse.inode();
            let Some(seen) = Seen::of(glimpse) else { continue };
            // The pool's own process, where it can be told from its workers.
            if found.get(&inode).is_none_or(|(known, ..)| *known != seen.pid() && pid == seen.pid()) {
                found.insert(inode, (pid, fd, seen));
            }
        }
        let mut pools: Vec<(Location, PoolStats)> = found
            .into_values()
            .filter_map(|(pid, fd, seen)| Some((Location::Anonymous { pid, fd }, seen.stats()?)))
            .collect();
        pools.sort_by(|(one, _), (other, _)| one.cmp(other));
        pools
    }

    /// The pool whose board that descriptor of a process means; `None`: it means something else, or there is none. Also
    /// that of a pool whose process has died, while a worker is left.
    ///
    /// # Errors
    ///
    /// What the system says of a process that may not be looked at.
    pub fn at(location: &Location) -> io::Result<Option<PoolStats>> {
        let Location::Anonymous { pid, fd } = location else { return Ok(None) };
        Ok(Glimpse::of(*pid, *fd)?.and_then(Seen::of).and_then(|seen| seen.stats()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_a_long_name_is_cut_between_letters() {
        let ledger = Ledger::create(3, 5, &"ü".repeat(40)).expect("memory");
        let tally = Tally { under_way: 4, done: 1, failed: 2, restarted: 3, unasked: 5, callbacks_panicked: 6 };
        ledger.publish(tally);
        let (pid, fd) = ledger.place();
        let seen = Seen::of(Glimpse::of(pid, fd).expect("it is ours").expect("it is there")).expect("it is a board");
        let stats = seen.stats().expect("it is whole");
        assert_eq!((stats.name.as_str(), stats.pid), ("ü".repeat(32).as_str(), std::process::id()));
        assert_eq!((stats.queued, stats.running, stats.done, stats.failed, stats.restarted), (4, 0, 1, 2, 3));
        assert_eq!((stats.unasked, stats.callbacks_panicked, stats.workers.len()), (5, 6, 3));
    }

    #[test]
    fn whatever_stands_there_is_read_or_is_none() {
        let ledger = Ledger::create(2, 5, "pool").expect("memory");
        let (pid, fd) = ledger.place();
        let seen = || Glimpse::of(pid, fd).expect("it is ours").and_then(Seen::of).and_then(|seen| seen.stats());
        for at in 0..NOTICE {
            let word = ledger.raw(at).expect("it is there");
            let before = word.load(Ordering::Relaxed);
            for value in [u64::MAX, 1 << 63, 1 << 32, 501, 0] {
                word.store(value, Ordering::Relaxed);
                if let Some(stats) = seen() {
                    assert!(stats.workers.len() <= 500 && stats.name.len() <= 3 * MOST_NAME, "{at}: {stats:?}");
                }
            }
            word.store(before, Ordering::Relaxed);
        }
        assert_eq!(seen().map(|stats| stats.name), Some("pool".to_owned()));
        assert!(Glimpse::of(pid, 1 << 20).expect("no such descriptor").is_none());
    }
}
