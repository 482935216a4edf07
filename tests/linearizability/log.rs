//! What one process did, in a file that outlives it: an operation is written down before
//! it is begun, and its answer after it has come.

use crate::checker::{Call, Operation};
use crate::shared::{map, now_ns};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Operations of one process in one round, at most.
pub const LENGTH: usize = 64;

const PUT: u64 = 1;
const GET: u64 = 2;

/// Not yet known; done; refused or nothing there.
const UNKNOWN: u64 = 0;
const DONE: u64 = 1;
const NOT: u64 = 2;

#[repr(C)]
struct Entry {
    kind: AtomicU64,
    value: AtomicU64,
    answer: AtomicU64,
    /// 0: not begun.
    invoked: AtomicU64,
    /// 0: not over.
    returned: AtomicU64,
}

pub struct Log {
    entries: *const Entry,
    len: usize,
}

impl Log {
    pub fn create(path: &Path) -> Log {
        std::fs::write(path, vec![0; LENGTH * size_of::<Entry>()]).expect("a file can be written");
        Log::open(path)
    }

    pub fn open(path: &Path) -> Log {
        Log { entries: map(path).0.cast(), len: 0 }
    }

    fn entry(&self, at: usize) -> &Entry {
        assert!(at < LENGTH);
        // SAFETY: the file is that long and stays mapped; only atomics.
        unsafe { &*self.entries.add(at) }
    }

    /// From the front again, over what is there.
    pub fn clear(&mut self) {
        for at in 0..LENGTH {
            let entry = self.entry(at);
            [&entry.kind, &entry.value, &entry.answer, &entry.invoked, &entry.returned]
                .iter()
                .for_each(|word| word.store(0, Ordering::Relaxed));
        }
        self.len = 0;
    }

    /// A put of `value`; `put` says whether it is in.
    pub fn put(&mut self, value: u64, put: impl FnOnce() -> bool) {
        let at = self.begin(PUT, value);
        let is_in = put();
        self.end(at, value, if is_in { DONE } else { NOT });
    }

    /// A get; `get` says what came.
    pub fn get(&mut self, get: impl FnOnce() -> Option<u64>) -> Option<u64> {
        let at = self.begin(GET, 0);
        let got = get();
        self.end(at, got.unwrap_or(0), if got.is_some() { DONE } else { NOT });
        got
    }

    fn begin(&mut self, kind: u64, value: u64) -> usize {
        let at = self.len;
        self.len += 1;
        let entry = self.entry(at);
        entry.kind.store(kind, Ordering::Relaxed);
        entry.value.store(value, Ordering::Relaxed);
        entry.invoked.store(now_ns(), Ordering::SeqCst);
        at
    }

    fn end(&self, at: usize, value: u64, answer: u64) {
        let now = now_ns();
        let entry = self.entry(at);
        entry.value.store(value, Ordering::Relaxed);
        entry.answer.store(answer, Ordering::Relaxed);
        entry.returned.store(now, Ordering::SeqCst);
    }

    /// What was done, as process `process` of a history.
    pub fn operations(&self, process: usize) -> Vec<Operation> {
        let entries = (0..LENGTH).map(|at| self.entry(at));
        let begun = entries.take_while(|entry| entry.invoked.load(Ordering::SeqCst) != 0);
        begun
            .map(|entry| {
                let load = |word: &AtomicU64| word.load(Ordering::SeqCst);
                let (kind, value, returned) = (load(&entry.kind), load(&entry.value), load(&entry.returned));
                let answer = if returned == 0 { UNKNOWN } else { load(&entry.answer) };
                let call = match (kind, answer) {
                    (PUT, UNKNOWN) => Call::MayHavePut(value),
                    (PUT, DONE) => Call::Put(value),
                    (PUT, _) => Call::Refused(value),
                    (_, UNKNOWN) => Call::MayHaveGot,
                    (_, DONE) => Call::Got(value),
                    _ => Call::Nothing,
                };
                let returned = if returned == 0 { u64::MAX } else { returned };
                Operation { process, call, invoked: load(&entry.invoked), returned }
            })
            .collect()
    }
}
