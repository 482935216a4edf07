//! What the processes of one round tell each other, beside the queue: counts, and
//! what each victim is doing until when.

use crate::shared::now_ns;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SIZE: usize = 4096;
const VICTIMS: usize = 2;

/// The words of one victim, and those of all.
#[repr(C)]
struct Words {
    stop: AtomicU64,
    done: AtomicU64,
    scribbled: AtomicU64,
    _spare: [AtomicU64; 5],
    victims: [Victim; VICTIMS],
}

#[repr(C, align(128))]
struct Victim {
    /// Calls made so far.
    calls: AtomicU64,
    /// The call that is made now, as an index into `CALLS`.
    call: AtomicU64,
    /// When it must be back, 0 if none is made (ns of CLOCK_MONOTONIC).
    due: AtomicU64,
    /// When this victim was last here.
    seen: AtomicU64,
    /// How its calls ended, by `ENDS`.
    ends: [AtomicU64; ENDS.len()],
}

/// How a put or get may end.
pub const ENDS: [&str; 7] = ["done", "full or empty", "timed out", "closed", "undecodable", "corrupt", "refused"];

pub const CALLS: [&str; 28] = [
    "subscribe",
    "missed",
    "lag",
    "reserve_timeout",
    "commit_timeout",
    "get_ref_timeout",
    "recover",
    "lease_timeout",
    "try_lease",
    "ack",
    "put_timeout",
    "try_put",
    "put_many_timeout",
    "try_put_many",
    "get_timeout",
    "try_get",
    "get_many_timeout",
    "try_get_many",
    "get_into_timeout",
    "len",
    "is_empty",
    "is_full",
    "is_closed",
    "close",
    "try_iter",
    "participants",
    "clone",
    "debug",
];

pub struct Board {
    words: *const Words,
}

impl Board {
    pub fn create(path: &Path) -> Board {
        std::fs::write(path, [0; SIZE]).expect("a file can be written");
        Board::open(path)
    }

    pub fn open(path: &Path) -> Board {
        let map = crate::shared::map(path);
        assert!(size_of::<Words>() <= map.1);
        Board { words: map.0.cast() }
    }

    fn words(&self) -> &Words {
        // SAFETY: the file is that long and stays mapped; only atomics.
        unsafe { &*self.words }
    }

    pub fn stop(&self) {
        self.words().stop.store(1, Ordering::SeqCst);
    }

    pub fn must_stop(&self) -> bool {
        self.words().stop.load(Ordering::Relaxed) != 0
    }

    pub fn done(&self) {
        self.words().done.store(1, Ordering::SeqCst);
    }

    pub fn is_done(&self) -> bool {
        self.words().done.load(Ordering::Relaxed) != 0
    }

    pub fn add_scribbled(&self, count: u64) {
        self.words().scribbled.fetch_add(count, Ordering::Relaxed);
    }

    pub fn scribbled(&self) -> u64 {
        self.words().scribbled.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> u64 {
        self.words().victims.iter().map(|victim| victim.calls.load(Ordering::Relaxed)).sum()
    }

    pub fn count_end(&self, victim: usize, end: usize) {
        self.words().victims[victim].ends[end].fetch_add(1, Ordering::Relaxed);
    }

    pub fn ends(&self) -> [u64; ENDS.len()] {
        std::array::from_fn(|end| self.words().victims.iter().map(|v| v.ends[end].load(Ordering::Relaxed)).sum())
    }

    /// A victim is about to make a call that must be back at `due`.
    pub fn enter(&self, victim: usize, call: usize, due: u64) {
        let words = &self.words().victims[victim];
        words.seen.store(now_ns(), Ordering::Relaxed);
        words.call.store(call as u64, Ordering::Relaxed);
        words.due.store(due, Ordering::Relaxed);
    }

    /// It is back.
    pub fn leave(&self, victim: usize) {
        let words = &self.words().victims[victim];
        words.due.store(0, Ordering::Relaxed);
        words.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub fn call(&self, victim: usize) -> &'static str {
        let call = self.words().victims[victim].call.load(Ordering::Relaxed);
        CALLS.get(call as usize).copied().unwrap_or("no call")
    }

    /// What a victim is stuck in, if it should have been back `limit` ago.
    pub fn stuck(&self, victim: usize, limit: Duration) -> Option<String> {
        let due = self.words().victims[victim].due.load(Ordering::Relaxed);
        let late = Duration::from_nanos(now_ns().saturating_sub(due));
        (due != 0 && late > limit).then(|| format!("victim {victim} is stuck in {}, {late:?} late", self.call(victim)))
    }

    pub fn silent_for(&self, victim: usize) -> Duration {
        let seen = self.words().victims[victim].seen.load(Ordering::Relaxed);
        if seen == 0 { Duration::ZERO } else { Duration::from_nanos(now_ns().saturating_sub(seen)) }
    }
}
