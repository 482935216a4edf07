//! What workers write down of what they did, in memory that is their parent's: it is
//! known after a worker was killed in the middle, up to the call it was in.
//!
//! Each worker has a *seat*. A successor takes the seat of the one that was killed.

use super::ledger::PRODUCER_SHIFT;
use memmap2::MmapRaw;
use std::collections::HashSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering::*};

/// Words that a consumer writes ahead of its parent's reading; a power of two.
const LOG_WORDS: usize = 1 << 14;

/// Set in a noted word when the message was flagged as redelivered.
pub const REDELIVERED: u64 = 1 << 63;

/// One worker's page of the notebook.
#[repr(C, align(128))]
pub struct Seat {
    /// A producer's: the number after the last one that it began to put.
    pub begun: AtomicU64,
    /// A producer's: the number after the last one whose put was acknowledged.
    pub acknowledged: AtomicU64,
    /// Calls that returned.
    pub calls: AtomicU64,
    /// Messages put or got.
    pub done: AtomicU64,
    /// 1 while another worker has the Single side and this one waits to take over.
    pub standby: AtomicU64,
    /// How often this worker was stopped.
    pub stops: AtomicU64,
    /// The longest time by which a timed call was late, in nanoseconds.
    pub late_ns: AtomicU64,
    /// How many timed calls ran out.
    pub timed_out: AtomicU64,
    written: AtomicU64,
    read: AtomicU64,
    log: [AtomicU64; LOG_WORDS],
}

impl Seat {
    /// A consumer's: writes a message down, when its parent has read enough.
    pub fn note(&self, word: u64) {
        let at = self.written.load(Relaxed);
        while at - self.read.load(Acquire) >= LOG_WORDS as u64 {
            std::thread::sleep(std::time::Duration::from_micros(20));
        }
        self.log[at as usize % LOG_WORDS].store(word, Relaxed);
        self.written.store(at + 1, Release);
    }

    /// The parent's: takes what was written down since the last time.
    pub fn take(&self, mut each: impl FnMut(u64)) -> usize {
        let (from, to) = (self.read.load(Relaxed), self.written.load(Acquire));
        for at in from..to {
            each(self.log[at as usize % LOG_WORDS].load(Relaxed));
        }
        self.read.store(to, Release);
        (to - from) as usize
    }
}

/// The notebook: memory without a name that a child finds through its parent.
pub struct Notes {
    file: File,
    map: MmapRaw,
}

#[repr(C, align(128))]
struct Common {
    finish: AtomicU64,
}

impl Notes {
    pub fn new(seats: usize) -> Notes {
        let file = nix::sys::memfd::memfd_create(c"notes", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
        let file = File::from(file.expect("memory without a name"));
        file.set_len((size_of::<Common>() + seats * size_of::<Seat>()) as u64).expect("memory");
        Notes::map(file)
    }

    /// A child's: `path` is what the parent's `path()` said.
    pub fn open(path: &str) -> Notes {
        Notes::map(File::options().read(true).write(true).open(path).expect("the parent lives"))
    }

    fn map(file: File) -> Notes {
        let map = MmapRaw::map_raw(&file).expect("it can be mapped");
        Notes { file, map }
    }

    /// For a child whose parent is this process.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    fn common(&self) -> &Common {
        // SAFETY: it lies at the start of the mapping, which is page aligned, is valid for
        // any bytes, and is only accessed as atomics, by every process.
        unsafe { &*self.map.as_mut_ptr().cast() }
    }

    pub fn seat(&self, index: usize) -> &Seat {
        let offset = size_of::<Common>() + index * size_of::<Seat>();
        assert!(offset + size_of::<Seat>() <= self.map.len(), "there is no seat {index}");
        // SAFETY: within the mapping, as was checked, and aligned, since both sizes are
        // multiples of 128; the rest as above.
        unsafe { &*self.map.as_mut_ptr().wrapping_add(offset).cast() }
    }

    /// Tells the producers to end.
    pub fn finish(&self) {
        self.common().finish.store(1, Release);
    }

    pub fn is_finishing(&self) -> bool {
        self.common().finish.load(Relaxed) != 0
    }
}

// ---- who got what ----

const CHUNK: u64 = 4096;

/// Which of 4096 successive messages were got.
#[derive(Clone)]
enum Chunk {
    None,
    Some(Box<([u64; CHUNK as usize / 64], u64)>),
    All,
}

/// What is wrong with what was got; redeliveries that are flagged apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub got: u64,
    /// Got twice, and not flagged as redelivered the second time.
    pub doubled: u64,
    /// Flagged as redelivered.
    pub redelivered: u64,
    /// Of these, got before as well.
    pub again: u64,
    /// Behind a later message of its producer, and not flagged.
    pub inverted: u64,
    /// Acknowledged, and never got.
    pub missing: u64,
    /// Got, and never begun to be put, or by nobody.
    pub invented: u64,
    /// Not acknowledged since the producer was killed, and got all the same.
    pub late_acknowledged: u64,
}

/// What no death explains, of what is missing and of what came late: producer and number.
pub type Unexplained = Vec<(usize, u64)>;

/// What a killed consumer may have had in its hands: for each producer the numbers that it could
/// have been the first to claim in its last call.
///
/// Whoever wrote a number down had claimed it, and a producer's messages are claimed in their order:
/// so what it was the first to claim is above all that were written down before its last call began.
pub type Hands = Vec<std::ops::Range<u64>>;

/// Who got which message, as it is known to the parent.
#[derive(Default)]
pub struct Book {
    got: Vec<Vec<Chunk>>,
    /// By producer, the number after the highest that anybody wrote down.
    reached: Vec<u64>,
    /// The killed consumers.
    dead: Vec<Hands>,
    /// Which messages came behind a later one, unflagged: producer and number.
    late: Vec<(usize, u64)>,
    /// Ranges of messages whose put never returned: each is there once or not at all.
    pending: Vec<Vec<std::ops::Range<u64>>>,
    verdict: Verdict,
}

impl Book {
    pub fn new(producers: usize) -> Book {
        let (got, pending) = (vec![Vec::new(); producers], vec![Vec::new(); producers]);
        Book { got, pending, reached: vec![0; producers], ..Book::default() }
    }

    /// By producer, the number after the highest that anybody wrote down.
    pub fn reached(&self) -> &[u64] {
        &self.reached
    }

    /// A consumer died with no more than these in its hands.
    pub fn died(&mut self, hands: Hands) {
        self.dead.push(hands);
    }

    /// A producer died between the two.
    pub fn pending(&mut self, producer: usize, numbers: std::ops::Range<u64>) {
        if !numbers.is_empty() {
            self.pending[producer].push(numbers);
        }
    }

    /// `last` is the last number that this consumer got of each producer.
    pub fn note(&mut self, last: &mut [Option<u64>], word: u64) {
        let flagged = word & REDELIVERED != 0;
        let (producer, number) = parts(word & !REDELIVERED);
        self.verdict.got += 1;
        self.verdict.redelivered += u64::from(flagged);
        let (Some(chunks), Some(last)) = (self.got.get_mut(producer), last.get_mut(producer)) else {
            self.verdict.invented += 1;
            return;
        };
        if !flagged {
            if last.is_some_and(|last| number < last) {
                self.verdict.inverted += 1;
                self.late.push((producer, number));
            }
            *last = (*last).max(Some(number));
        }
        self.reached[producer] = self.reached[producer].max(number + 1);
        let index = (number / CHUNK) as usize;
        if chunks.len() <= index {
            chunks.resize(index + 1, Chunk::None);
        }
        let chunk = &mut chunks[index];
        if matches!(chunk, Chunk::None) {
            *chunk = Chunk::Some(Box::new(([0; CHUNK as usize / 64], 0)));
        }
        let (word, bit) = ((number % CHUNK / 64) as usize, 1 << (number % 64));
        let some = match chunk {
            Chunk::Some(some) if some.0[word] & bit == 0 => some,
            _ => {
                let twice = if flagged { &mut self.verdict.again } else { &mut self.verdict.doubled };
                *twice += 1;
                return;
            }
        };
        some.0[word] |= bit;
        some.1 += 1;
        if some.1 == CHUNK {
            *chunk = Chunk::All;
        }
    }

    pub fn has(&self, producer: usize, number: u64) -> bool {
        match self.got[producer].get((number / CHUNK) as usize) {
            None | Some(Chunk::None) => false,
            Some(Chunk::All) => true,
            Some(Chunk::Some(some)) => some.0[(number % CHUNK / 64) as usize] & (1 << (number % 64)) != 0,
        }
    }

    /// The first few messages that are missing.
    pub fn missing(&self, producer: usize, begun: u64) -> Vec<u64> {
        let pending = |number: &u64| self.pending[producer].iter().any(|range| range.contains(number));
        let chunks = (0..begun.div_ceil(CHUNK))
            .filter(|index| !matches!(self.got[producer].get(*index as usize), Some(Chunk::All)));
        let numbers = chunks.flat_map(|index| index * CHUNK..((index + 1) * CHUNK).min(begun));
        numbers.filter(|number| !self.has(producer, *number)).filter(|number| !pending(number)).collect()
    }

    /// What is missing or came behind a later one must have been in the hands of somebody who was
    /// killed, and nobody had more than `each` in its hands: so each of them is laid to the charge of one
    /// of the dead, who are charged with no more than that. Who was the first to claim a message is
    /// charged with it, also if it came back and another one took it along.
    pub fn unexplained(&self, begun: &[u64], each: usize) -> Unexplained {
        let missing = (0..begun.len()).flat_map(|of| self.missing(of, begun[of]).into_iter().map(move |n| (of, n)));
        let all: Vec<(usize, u64)> = missing.chain(self.late.iter().copied()).collect();
        let mut charged = vec![Vec::new(); self.dead.len()];
        (0..all.len())
            .filter(|at| !self.charge(&all, *at, each, &mut charged, &mut HashSet::new()))
            .map(|at| all[at])
            .collect()
    }

    /// Finds one of the dead for it, who may have to hand another charge on. (H. Kuhn's matching.)
    fn charge(
        &self,
        all: &[(usize, u64)],
        at: usize,
        each: usize,
        charged: &mut [Vec<usize>],
        asked: &mut HashSet<usize>,
    ) -> bool {
        let (producer, number) = all[at];
        for dead in 0..self.dead.len() {
            if !self.dead[dead][producer].contains(&number) || !asked.insert(dead) {
                continue;
            }
            if charged[dead].len() < each {
                charged[dead].push(at);
                return true;
            }
            for place in 0..each {
                if self.charge(all, charged[dead][place], each, charged, asked) {
                    charged[dead][place] = at;
                    return true;
                }
            }
        }
        false
    }

    /// When all producers have ended, and everything was got: `begun` by producer.
    pub fn settle(&self, begun: &[u64]) -> Verdict {
        let mut verdict = self.verdict;
        for (producer, &begun) in begun.iter().enumerate() {
            verdict.missing += self.missing(producer, begun).len() as u64;
            let end = self.got[producer].len() as u64 * CHUNK;
            verdict.invented += (begun..end.max(begun)).filter(|number| self.has(producer, *number)).count() as u64;
            let pending = self.pending[producer].iter().cloned().flatten();
            verdict.late_acknowledged += pending.filter(|number| self.has(producer, *number)).count() as u64;
        }
        verdict
    }
}

/// The producer and the number of a message.
fn parts(message: u64) -> (usize, u64) {
    ((message >> PRODUCER_SHIFT) as usize, message & ((1 << PRODUCER_SHIFT) - 1))
}
