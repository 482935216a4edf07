//! The scribbler: what it writes, and where.

use crate::board::Board;
use crate::common::{DIRECTORY_VARIABLE, hear, tell};
use crate::shared::{Random, map};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A part of the segment, in words.
#[derive(Clone, Copy)]
struct Part {
    start: usize,
    len: usize,
}

/// The segment as its bytes say that it is: words, and what some of them are.
pub struct Segment {
    words: *mut u8,
    count: usize,
    pristine: Vec<u64>,
    capacity: u64,
    ring: Part,
    wait: Part,
    participants: Part,
    slots: Part,
    rows: Part,
    /// Of the blocks, if there are any.
    heads: Part,
    chunks: Part,
    /// Of a broadcast: who subscribes, and where they are.
    cursors: Part,
    /// Words from stamp to stamp.
    stride: usize,
    row_stride: usize,
}

const POSITION_BITS: u32 = 58;
/// Where the marks of who is attached begin.
const MARKS: usize = 128;
const CONTROL_WORDS: [usize; 7] = [0, 16, 32, 48, 49, 50, 51];

impl Segment {
    pub fn map(path: &Path) -> Segment {
        let (words, len) = map(path);
        let mut segment = Segment {
            words,
            count: len / 8,
            pristine: Vec::new(),
            capacity: 0,
            ring: Part { start: 0, len: 0 },
            wait: Part { start: 0, len: 0 },
            participants: Part { start: 0, len: 0 },
            slots: Part { start: 0, len: 0 },
            rows: Part { start: 0, len: 0 },
            heads: Part { start: 0, len: 0 },
            chunks: Part { start: 0, len: 0 },
            cursors: Part { start: 0, len: 0 },
            stride: 1,
            row_stride: 1,
        };
        segment.pristine = (0..segment.count).map(|at| segment.load(at)).collect();
        let word = |at: usize| segment.pristine[at / 8];
        let regions = (word(56) >> 32) as usize;
        let parts: Vec<(u32, Part)> = (0..regions)
            .map(|region| {
                let at = 264 + 24 * region;
                let part = Part { start: word(at + 8) as usize / 8, len: word(at + 16) as usize / 8 };
                (word(at) as u32, part)
            })
            .collect();
        let part =
            |kind: u32| parts.iter().find(|part| part.0 == kind).map_or(Part { start: 0, len: 0 }, |part| part.1);
        let (capacity, payload, single) = (word(64), word(72) as usize, word(56) & 3);
        let size = payload + 8;
        let slot = if size <= 64 { size.next_power_of_two() } else { size.next_multiple_of(64) };
        segment.row_stride = slot / 8;
        let stride = match single {
            // Blocks of one line, or of as many as a message takes.
            3 if payload <= 56 => 64,
            3 => size.next_multiple_of(64),
            _ => slot,
        };
        (segment.ring, segment.wait, segment.participants, segment.slots) = (part(1), part(2), part(3), part(4));
        (segment.rows, segment.heads, segment.chunks) = (part(6), part(7), part(12));
        segment.cursors = part(9);
        assert!([segment.ring, segment.wait, segment.participants, segment.slots].iter().all(|part| part.len > 0));
        (segment.capacity, segment.stride) = (capacity, stride / 8);
        segment
    }

    fn word(&self, at: usize) -> &AtomicU64 {
        assert!(at < self.count);
        // SAFETY: in bounds, aligned, and mapped for good.
        unsafe { AtomicU64::from_ptr(self.words.cast::<u64>().add(at)) }
    }

    pub fn load(&self, at: usize) -> u64 {
        self.word(at).load(Ordering::Relaxed)
    }

    pub fn store(&self, at: usize, value: u64) {
        self.word(at).store(value, Ordering::Relaxed);
    }

    /// Of the first eight participants; says what stood there.
    pub fn forge_marks(&self, marks: u64) -> u64 {
        self.word(MARKS).swap(marks, Ordering::SeqCst)
    }

    pub fn first_stamp(&self) -> usize {
        self.slots.start
    }

    /// The words that operations decide by, with a name each; of the stamps the first.
    pub fn decisive(&self) -> Vec<(&'static str, usize)> {
        let ring = ["tail", "head", "taken", "holder", "holder", "end"].into_iter().zip([0, 16, 32, 48, 49, 50]);
        let wait = ["news and armed", "epoch", "news and armed", "epoch"].into_iter().zip([0, 1, 16, 17]);
        let ring = ring.map(|(name, at)| (name, self.ring.start + at));
        let wait = wait.map(|(name, at)| (name, self.wait.start + at));
        ring.chain(wait).chain([("stamp", self.slots.start)]).collect()
    }

    /// What a decisive word may flicker between, of a queue in its first state.
    pub fn flickers(&self, at: usize) -> Vec<Vec<u64>> {
        let n = self.capacity;
        let is_wait = at >= self.wait.start && at < self.wait.start + self.wait.len;
        if at == self.slots.start {
            let [free, full] = [n << 6, n << 6 | 1 << 4];
            return vec![vec![free, full], vec![full, n << 6 | 3 << 4], vec![n, n + 1], vec![0, u64::MAX]];
        }
        if is_wait {
            return vec![vec![0, 1], vec![0, 1 << 32], (0..40).map(|k| k << 32 | k).collect()];
        }
        // Bits that no position has: whoever looks at the position alone is deceived.
        let unused = (0..31).map(|k| k << POSITION_BITS | n).collect();
        vec![vec![n, n + 1], vec![n, 2 * n], vec![0, u64::MAX], vec![n | 1 << 60], unused]
    }

    pub fn stamps(&self) -> impl Iterator<Item = usize> {
        (self.slots.start..self.slots.start + self.slots.len).step_by(self.stride)
    }

    /// The first state again, whatever the others believe.
    pub fn heal(&self) {
        // Not the page with the marks of who is attached.
        for at in 512..self.count {
            self.store(at, self.pristine[at]);
        }
    }

    /// A position that somebody may be at.
    fn position(&self, random: &mut Random) -> u64 {
        let at = random.pick(&[0, 16, 32]);
        let near = self.load(self.ring.start + at) & ((1 << POSITION_BITS) - 1);
        let n = self.capacity;
        let distance = match random.below(8) {
            0 => n,
            1 => 2 * n,
            2 => n - 1,
            3 => n + 1,
            4 => random.below(4 * n),
            _ => random.below(3),
        };
        if random.below(2) == 0 { near.wrapping_add(distance) } else { near.wrapping_sub(distance) }
    }

    /// A value that may be believed, or is at the end of a range.
    fn value(&self, at: usize, random: &mut Random) -> u64 {
        let extremes =
            [0, 1, 2, u64::MAX, 1 << 63, 1 << 62, (1 << 58) - 1, 1 << 58, i64::MAX as u64, 1 << 32, 0xffff_ffff];
        match random.below(12) {
            0 => random.next(),
            1 => random.pick(&extremes),
            2 => self.load(at) ^ 1 << random.below(64),
            3 => self.load(at).wrapping_add(random.pick(&[1, 2, 64, 16, self.capacity])),
            4 => self.load(at).wrapping_sub(random.pick(&[1, 2, 64, 16, self.capacity])),
            5 => self.load(random.below(self.count as u64) as usize),
            6 => self.pristine[at],
            7 => self.position(random) | random.pick(&[0, 1 << 63, 1 << 58, 1 << 61]),
            _ => {
                self.position(random) << 6
                    | random.below(4) << 4
                    | [0, 0, 0, 1, 15, random.below(16)][random.below(6) as usize]
            }
        }
    }

    /// A word, the more often the more depends on it.
    fn place(&self, random: &mut Random) -> usize {
        let stamps = self.slots.len.div_ceil(self.stride) as u64;
        if self.heads.len > 0 && random.below(5) == 0 {
            // The state of a block, its note, the length of its message, whether it has memory.
            return self.heads.start + (random.below(24) as usize * 8 + random.below(8) as usize) % self.heads.len;
        }
        if self.chunks.len > 0 && random.below(5) == 0 {
            return self.chunks.start + random.below(self.chunks.len as u64) as usize;
        }
        if self.cursors.len > 0 && random.below(4) == 0 {
            // The roll, and of the first participants what they say.
            return match random.below(3) {
                0 => self.cursors.start,
                _ => self.cursors.start + 16 + (random.below(8) * 32 + random.pick(&[0, 16, 17, 18])) as usize,
            };
        }
        match random.below(100) {
            0..=39 => self.slots.start + random.below(stamps) as usize * self.stride,
            40..=59 => self.ring.start + random.pick(&CONTROL_WORDS),
            60..=71 => self.wait.start + random.pick(&[0, 1, 2, 16, 17, 18]),
            // Intents and whatever else the first participants have.
            72..=79 => self.participants.start + random.below(32 * 8) as usize % self.participants.len,
            // The states of the first leases; their rows are as large as slots.
            80..=82 if self.rows.len > 0 => {
                self.rows.start + random.below(32) as usize * self.row_stride % self.rows.len
            }
            83..=85 => self.slots.start + random.below(self.slots.len as u64) as usize,
            // The message behind a stamp: its length.
            86..=95 => self.slots.start + (random.below(stamps) as usize * self.stride + 1).min(self.slots.len - 1),
            // Who is attached.
            96..=97 => 128 + random.below(128) as usize,
            _ => random.below(self.count as u64) as usize,
        }
    }

    /// A value where a position lies: near a position, or not.
    fn scribble(&self, random: &mut Random) {
        let at = self.place(random);
        let is_block = self.stride == 8 && at >= self.slots.start && (at - self.slots.start).is_multiple_of(8);
        let is_cursor = at >= self.ring.start && at < self.ring.start + self.ring.len;
        let is_length = at > self.slots.start && (at - self.slots.start) % self.stride == 1;
        let is_flag = at >= self.wait.start && at < self.wait.start + self.wait.len;
        let is_in = |part: Part| at >= part.start && at < part.start + part.len;
        let is_row = is_in(self.rows) || is_in(self.heads) && (at - self.heads.start).is_multiple_of(8);
        let is_mark = (128..256).contains(&at);
        let value = match random.below(4) {
            0..=2 if is_row => {
                let low = self.position(random) & ((1 << 44) - 1);
                random.below(5) << 61 | random.below(3) << 51 | random.pick(&[0, 1, 127]) << 44 | low
            }
            0..=2 if at == self.cursors.start => random.pick(&[0, 1, 3, 0xff, u64::MAX]),
            0..=2 if is_in(self.cursors) => self.position(random),
            0..=2 if is_in(self.heads) => random.pick(&[0, 1, 12, 45, 64, 4096, u64::MAX, 1 << 31]),
            // Where a chunk lies, and what it is exchanged for.
            0 if is_in(self.chunks) => random.below(5) << 32 | random.below(4),
            1..=2 if is_in(self.chunks) => {
                random.below(7) << 61 | random.pick(&[0, 1, 7, 1023]) << 51 | random.below(4)
            }
            0 if is_length => 1 << 31 | random.below(40),
            0..=2 if is_mark => random.pick(&[0, 1, 0x0101_0101_0101_0101, 0x0100_0000_0001, self.pristine[at]]),
            0 | 1 if is_cursor => self.position(random),
            0 if is_block => self.position(random),
            0 | 1 if is_length => random.pick(&[0, 49, 50, 51, 52, 53, 56, 60, u64::MAX, 0x7fff_ffff, 1 << 31]),
            // Mostly open, or soon everybody has only the end of the queue to see.
            0..=2 if is_flag => [0, 0, 0, 1, 2, 1 << 32, u64::MAX << 32, random.next() << 32][random.below(8) as usize],
            _ => self.value(at, random),
        };
        self.store(at, value);
    }

    /// The same word again and again, faster than anybody can use it.
    fn hammer(&self, random: &mut Random, count: u64) {
        let at = self.place(random);
        let step = random.pick(&[1, 1, 64, self.capacity, 1 << 40]);
        let mut value = self.load(at);
        for _ in 0..count {
            value = value.wrapping_add(step);
            self.store(at, value);
        }
    }
}

/// Arguments: seed, how many words to write, kind of messages.
pub fn role(arguments: &[String]) {
    let [seed, count, ..] = arguments else { panic!("a scribbler has a seed and a count") };
    let (seed, count): (u64, u64) = (seed.parse().expect("a number"), count.parse().expect("a number"));
    let directory = PathBuf::from(std::env::var_os(DIRECTORY_VARIABLE).expect("it is set"));
    let segment = Segment::map(&directory.join("q"));
    let board = Board::open(&directory.join("board"));
    let mut random = Random::new(seed ^ 0x5c21_bb1e);
    tell("ready");
    hear();
    let mut written = 0;
    while written < count && !board.must_stop() {
        // What follows hits a queue in use; else the first burst would stop it for good.
        if random.below(4) == 0 {
            segment.heal();
        }
        await_calls(&board, 1 + random.below(6));
        let burst = match random.below(128) {
            0 => {
                let burst = 100 + random.below(1000);
                segment.hammer(&mut random, burst);
                burst
            }
            1 => {
                let burst = 64 + random.below(300);
                (0..burst).for_each(|_| segment.scribble(&mut random));
                burst
            }
            _ => {
                let burst = 1 + random.below(10);
                (0..burst).for_each(|_| segment.scribble(&mut random));
                burst
            }
        };
        written += burst;
        board.add_scribbled(burst);
    }
    board.done();
}

/// Waits until the victims have made some calls; a moment at most, as they may all wait.
fn await_calls(board: &Board, count: u64) {
    let before = board.calls();
    let start = std::time::Instant::now();
    while board.calls() < before + count && start.elapsed() < std::time::Duration::from_millis(1) && !board.must_stop()
    {
        std::thread::yield_now();
    }
}

/// Writes values in turn to one word until the parent has heard enough.
/// Arguments: the word, the values.
pub fn role_hammer(arguments: &[String]) {
    let [at, values @ ..] = arguments else { panic!("a hammer has a word") };
    let at: usize = at.parse().expect("a number");
    let values: Vec<u64> = values.iter().map(|value| value.parse().expect("a number")).collect();
    let directory = PathBuf::from(std::env::var_os(DIRECTORY_VARIABLE).expect("it is set"));
    let segment = Segment::map(&directory.join("q"));
    let board = Board::open(&directory.join("board"));
    tell("ready");
    while !board.must_stop() {
        for _ in 0..10_000 {
            values.iter().for_each(|value| segment.store(at, *value));
        }
        board.add_scribbled(10_000 * values.len() as u64);
    }
}
