//! What one operation costs when nobody else is there: one thread puts, then
//! gets, nothing contended, everything in its own cache. The floor under every
//! other figure; how two processes get on is in `compare` and `ringway bench`.
//!
//! `put` and `get` are shown per 512 operations, their `item/s` per operation;
//! `put_get` is one of each. Quick check: `cargo bench --bench queue -- --test`.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use ringway::{Bytes, Consumer, Handle, Message, Options, Pod, Producer, Side};
use std::fmt;

fn main() {
    divan::main();
}

const CAPACITY: u64 = 1024;
/// Operations of one timed sample: half a ring, so that no put finds it full.
const RUN: usize = 512;
const BATCH: usize = 32;

/// Who may put, and who may get.
#[derive(Clone, Copy)]
struct Mode(Side, Side);

const MODES: [Mode; 4] = [
    Mode(Side::Single, Side::Single),
    Mode(Side::Multi, Side::Single),
    Mode(Side::Single, Side::Multi),
    Mode(Side::Multi, Side::Multi),
];

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letter = |side| if matches!(side, Side::Single) { 's' } else { 'm' };
        write!(f, "{}p{}c", letter(self.0), letter(self.1))
    }
}

/// A kind of message, made in registers and looked at when it comes back.
trait Kind {
    type Message: Message;

    fn put(producer: &Producer<Self::Message>, n: u64);
    fn get(&mut self, consumer: &Consumer<Self::Message>);
    fn put_batch(producer: &Producer<Self::Message>, n: u64);
    /// Returns how many came.
    fn get_batch(&mut self, consumer: &Consumer<Self::Message>) -> usize;
}

struct Words<const BYTES: usize>(Vec<[u8; BYTES]>);

impl<const BYTES: usize> Default for Words<BYTES> {
    fn default() -> Self {
        Words(Vec::with_capacity(BATCH))
    }
}

fn words<const BYTES: usize>(n: u64) -> [u8; BYTES] {
    let mut message = [0; BYTES];
    for (k, word) in message.chunks_exact_mut(8).enumerate() {
        word.copy_from_slice(&(n + k as u64).to_le_bytes());
    }
    message
}

/// Word by word, as they were written: a copy of the whole message in wider steps
/// would wait for the store buffer.
#[inline(always)]
fn follow_one_another<const BYTES: usize>(message: &[u8; BYTES]) -> bool {
    let (words, _) = message.as_chunks::<8>();
    let first = u64::from_le_bytes(words[0]);
    (0..).zip(words).all(|(k, word)| black_box(u64::from_le_bytes(*word)) == first + k)
}

impl<const BYTES: usize> Kind for Words<BYTES> {
    type Message = Pod<[u8; BYTES]>;

    #[inline(always)]
    fn put(producer: &Producer<Self::Message>, n: u64) {
        producer.put(words(black_box(n))).expect("there is room");
    }

    #[inline(always)]
    fn get(&mut self, consumer: &Consumer<Self::Message>) {
        let message = consumer.get().expect("there are messages");
        assert!(follow_one_another(&message));
    }

    #[inline(always)]
    fn put_batch(producer: &Producer<Self::Message>, n: u64) {
        let batch: [[u8; BYTES]; BATCH] = std::array::from_fn(|k| words(black_box(n + k as u64)));
        producer.put_many(&batch).expect("there is room");
    }

    #[inline(always)]
    fn get_batch(&mut self, consumer: &Consumer<Self::Message>) -> usize {
        self.0.clear();
        let count = consumer.get_many(&mut self.0, BATCH).expect("there are messages");
        black_box(&self.0);
        count
    }
}

const TEXT: &[u8; 52] = b"fifty-two bytes fill a cache line with stamp, length";

/// 52 bytes through a queue of any length; `get` into a buffer that is kept.
#[derive(Default)]
struct Text {
    one: Vec<u8>,
    many: Vec<Vec<u8>>,
}

impl Kind for Text {
    type Message = Bytes;

    #[inline(always)]
    fn put(producer: &Producer<Bytes>, _: u64) {
        producer.put(black_box(TEXT)).expect("there is room");
    }

    #[inline(always)]
    fn get(&mut self, consumer: &Consumer<Bytes>) {
        let len = consumer.get_into(&mut self.one).expect("there are messages");
        assert_eq!(black_box(len), TEXT.len());
    }

    #[inline(always)]
    fn put_batch(producer: &Producer<Bytes>, _: u64) {
        producer.put_many(&[black_box(&TEXT[..]); BATCH]).expect("there is room");
    }

    #[inline(always)]
    fn get_batch(&mut self, consumer: &Consumer<Bytes>) -> usize {
        self.many.clear();
        let count = consumer.get_many(&mut self.many, BATCH).expect("there are messages");
        black_box(&self.many);
        count
    }
}

type Word = Words<8>;
type Line = Words<56>;

fn ends<K: Kind>(mode: Mode) -> (Producer<K::Message>, Consumer<K::Message>) {
    let options = Options::new(CAPACITY).producers(mode.0).consumers(mode.1);
    let queue = Handle::<K::Message>::with_options(options).expect("an anonymous queue");
    queue.split().expect("both ends are free")
}

fn drain<K: Kind>(consumer: &Consumer<K::Message>) {
    consumer.try_iter().for_each(drop);
}

/// One put and one get: a message at a time.
#[divan::bench(types = [Word, Line, Text], args = MODES)]
fn put_get<K: Kind + Default>(bencher: Bencher, mode: Mode) {
    let (producer, consumer) = ends::<K>(mode);
    let mut kind = K::default();
    let mut n = 0;
    bencher.bench_local(|| {
        K::put(&producer, n);
        kind.get(&consumer);
        n += 1;
    });
    assert!(consumer.is_empty());
}

// In the following a sample is one iteration, so that its untimed preparation
// (emptying or filling the queue) runs right before it.

#[divan::bench(types = [Word, Line, Text], args = MODES, sample_size = 1)]
fn put<K: Kind>(bencher: Bencher, mode: Mode) {
    let (producer, consumer) = ends::<K>(mode);
    bencher.counter(ItemsCount::new(RUN)).with_inputs(|| drain::<K>(&consumer)).bench_local_values(|()| {
        for n in 0..RUN as u64 {
            K::put(&producer, n);
        }
    });
    assert_eq!(consumer.len(), RUN);
}

#[divan::bench(types = [Word, Line, Text], args = MODES, sample_size = 1)]
fn get<K: Kind + Default>(bencher: Bencher, mode: Mode) {
    let (producer, consumer) = ends::<K>(mode);
    let mut kind = K::default();
    let fill = || (0..RUN as u64).for_each(|n| K::put(&producer, n));
    bencher.counter(ItemsCount::new(RUN)).with_inputs(fill).bench_local_values(|()| {
        for _ in 0..RUN {
            kind.get(&consumer);
        }
    });
    assert!(consumer.is_empty());
}

#[divan::bench(types = [Word, Line, Text], args = MODES, sample_size = 1)]
fn put_many<K: Kind>(bencher: Bencher, mode: Mode) {
    let (producer, consumer) = ends::<K>(mode);
    bencher.counter(ItemsCount::new(RUN)).with_inputs(|| drain::<K>(&consumer)).bench_local_values(|()| {
        for n in (0..RUN as u64).step_by(BATCH) {
            K::put_batch(&producer, n);
        }
    });
    assert_eq!(consumer.len(), RUN);
}

#[divan::bench(types = [Word, Line, Text], args = MODES, sample_size = 1)]
fn get_many<K: Kind + Default>(bencher: Bencher, mode: Mode) {
    let (producer, consumer) = ends::<K>(mode);
    let mut kind = K::default();
    let fill = || (0..RUN as u64).for_each(|n| K::put(&producer, n));
    bencher.counter(ItemsCount::new(RUN)).with_inputs(fill).bench_local_values(|()| {
        let mut count = 0;
        while count < RUN {
            count += kind.get_batch(&consumer);
        }
    });
    assert!(consumer.is_empty());
}
