//! ringway with messages of any length: copied, in place, or of a serde type.

#![allow(unsafe_code)]

use super::buffers::{Incoming, Outgoing, torn};
use super::rival::{Rival, Way};
use super::{Failure, Put, Take};
use crate::job::{Job, System};
use crate::payload::{fill, is_filled};
use ringway::{ByteQueue, Bytes, Consumer, GetError, Options, Producer, PutError, Queue, Serde, Side, WaitPolicy};

const WORD: usize = size_of::<u64>();
const PAGE: usize = 4096;
/// Whole messages are made and read in place in pieces that stay in the nearest cache: ringway gives no reference to
/// bytes that a peer may write.
const PIECE: usize = 4096;

/// The text of every serde message: 32 bytes.
const TEXT: &str = "the quick brown fox jumped over.";

/// A queue is closed only by a worker that failed.
#[cold]
fn not_put<V>(error: PutError<V>) -> Failure {
    if error.is_closed() { Failure::ABORTED } else { Failure::new(error) }
}

#[cold]
fn not_taken(error: GetError) -> Failure {
    if matches!(error, GetError::Closed) { Failure::ABORTED } else { Failure::new(error) }
}

#[cold]
fn refused(error: impl std::fmt::Display) -> Failure {
    Failure::new(error)
}

/// Copies the caller's buffer.
pub struct Sending {
    queue: Producer<Bytes>,
    out: Outgoing,
}

impl Put<u64> for Sending {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        self.queue.put(self.out.message(word)).map_err(not_put)
    }

    fn tear(&mut self) {
        self.out.tear();
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

/// Copies into the caller's buffer, or into a vector for each.
pub struct Receiving {
    queue: Consumer<Bytes>,
    into: Incoming,
    owned: bool,
}

impl Take<u64> for Receiving {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        if self.owned {
            return self.into.word_of(&self.queue.get().map_err(not_taken)?);
        }
        let len = self.queue.get_into(&mut self.into.buffer).map_err(not_taken)?;
        self.into.word_of(&self.into.buffer[..len])
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

/// Writes and reads where the message lies.
pub struct InPlace<Q> {
    queue: Q,
    len: usize,
    whole: bool,
    touched: bool,
    as_slices: bool,
    torn: bool,
}

impl<Q> InPlace<Q> {
    fn new(queue: Q, job: &Job) -> InPlace<Q> {
        let touched = job.system == System::InPlaceTouched;
        let as_slices = job.system == System::Slices;
        InPlace { queue, len: job.bytes, whole: job.whole, touched, as_slices, torn: false }
    }

    fn pages(&self) -> impl Iterator<Item = usize> + use<Q> {
        let end = if self.touched { self.len } else { 0 };
        (PAGE..end).step_by(PAGE)
    }

    fn pieces(&self) -> impl Iterator<Item = (usize, usize)> + use<Q> {
        let len = self.len;
        (0..len).step_by(PIECE).map(move |at| (at, PIECE.min(len - at)))
    }
}

impl Put<u64> for InPlace<Producer<Bytes>> {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let mut block = self.queue.reserve(self.len).map_err(not_put)?;
        if self.as_slices {
            // SAFETY: nobody but this worker writes the block, as the worker at the other end reads only what was put;
            // any bytes are bytes.
            let slice = unsafe { block.as_mut_slice() };
            fill(slice, 0, word);
            if std::mem::take(&mut self.torn) {
                slice[self.len / 2] = 0xff;
            }
        } else if self.whole {
            let mut piece = [0; PIECE];
            for (at, len) in self.pieces() {
                fill(&mut piece[..len], at, word);
                block.write_at(at, &piece[..len]).map_err(refused)?;
            }
            if std::mem::take(&mut self.torn) {
                block.write_at(self.len / 2, &[0xff]).map_err(refused)?;
            }
        } else {
            block.write_at(0, &word.to_ne_bytes()).map_err(refused)?;
            for at in self.pages() {
                block.write_at(at, &[word as u8]).map_err(refused)?;
            }
        }
        block.commit().map_err(not_put)
    }

    fn tear(&mut self) {
        self.torn = true;
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

impl Take<u64> for InPlace<Consumer<Bytes>> {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        let message = self.queue.get_ref().map_err(not_taken)?;
        if self.as_slices {
            // SAFETY: nobody writes the block until this worker gives it back; any bytes are bytes.
            let slice = unsafe { message.as_slice() };
            let first = slice.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
            let sound = |word: &u64| slice.len() == self.len && is_filled(slice, 0, *word);
            return first.filter(sound).ok_or_else(torn);
        }
        let mut word = [0; WORD];
        message.copy_to_slice(0, &mut word).map_err(refused)?;
        let word = u64::from_ne_bytes(word);
        if message.len() != self.len || self.pages().any(|at| message.get(at) != Some(word as u8)) {
            return Err(torn());
        }
        if self.whole {
            let mut piece = [0; PIECE];
            for (at, len) in self.pieces() {
                message.copy_to_slice(at, &mut piece[..len]).map_err(refused)?;
                if !is_filled(&piece[..len], at, word) {
                    return Err(torn());
                }
            }
        }
        Ok(word)
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

/// `(u64, String)`.
pub struct Tuples<Q>(Q);

impl Put<u64> for Tuples<Producer<Serde<(u64, String)>>> {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        self.0.put((word, TEXT.to_owned())).map_err(not_put)
    }

    fn give_up(&mut self) {
        self.0.close();
    }
}

impl Take<u64> for Tuples<Consumer<Serde<(u64, String)>>> {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        let (word, text) = self.0.get().map_err(not_taken)?;
        if text == TEXT { Ok(word) } else { Err(Failure::new("another text")) }
    }

    fn give_up(&mut self) {
        self.0.close();
    }
}

fn policy(job: &Job) -> WaitPolicy {
    if job.patient { WaitPolicy::default() } else { WaitPolicy::Spin }
}

fn options(way: &Way) -> Options {
    let side = if way.job.single { Side::Single } else { Side::Multi };
    let options = Options::new(way.job.capacity).producers(side).consumers(side);
    options.wait_policy(policy(way.job)).directory(way.directory)
}

/// The byte queue, copying.
pub struct Copying;
/// The byte queue, in place.
pub struct ByteQueueInPlace;
/// `Queue<(u64, String)>`.
pub struct TupleQueue;

/// As the documentation of `Options::inline` says, where all messages are of one length that is not long.
const LONGEST_INLINE: usize = 1024;

fn create(way: &Way) -> Result<ByteQueue, Failure> {
    let Job { bytes, whole, system, .. } = *way.job;
    let options = options(way);
    let options = match system {
        _ if whole && bytes <= LONGEST_INLINE => options.max_message(bytes.max(52)).inline(bytes.max(52)),
        // Longer than what is inline: a block is reserved for each.
        System::InPlace | System::InPlaceTouched | System::Slices => options.max_message(bytes.max(PAGE)),
        _ => options.max_message(bytes.max(52)),
    };
    ByteQueue::create(&way.name, options).map_err(refused)
}

fn open(way: &Way) -> Result<ByteQueue, Failure> {
    let options = Options::default().wait_policy(policy(way.job)).directory(way.directory);
    ByteQueue::open_with(&way.name, options).map_err(refused)
}

fn open_tuples(way: &Way) -> Result<Queue<(u64, String)>, Failure> {
    let options = Options::default().wait_policy(policy(way.job)).directory(way.directory);
    Queue::open_with(&way.name, options).map_err(refused)
}

impl Rival<u64> for Copying {
    type Kept = ByteQueue;
    type Sending = Sending;
    type Receiving = Receiving;

    fn create(way: &Way) -> Result<ByteQueue, Failure> {
        create(way)
    }

    fn sending(way: &Way) -> Result<Sending, Failure> {
        Ok(Sending { queue: open(way)?.producer().map_err(refused)?, out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Receiving, Failure> {
        let queue = open(way)?.consumer().map_err(refused)?;
        Ok(Receiving { queue, into: Incoming::new(way.job), owned: way.job.system == System::BytesOwned })
    }
}

impl Rival<u64> for ByteQueueInPlace {
    type Kept = ByteQueue;
    type Sending = InPlace<Producer<Bytes>>;
    type Receiving = InPlace<Consumer<Bytes>>;

    fn create(way: &Way) -> Result<ByteQueue, Failure> {
        create(way)
    }

    fn sending(way: &Way) -> Result<Self::Sending, Failure> {
        Ok(InPlace::new(open(way)?.producer().map_err(refused)?, way.job))
    }

    fn receiving(way: &Way) -> Result<Self::Receiving, Failure> {
        Ok(InPlace::new(open(way)?.consumer().map_err(refused)?, way.job))
    }
}

impl Rival<u64> for TupleQueue {
    type Kept = Queue<(u64, String)>;
    type Sending = Tuples<Producer<Serde<(u64, String)>>>;
    type Receiving = Tuples<Consumer<Serde<(u64, String)>>>;

    fn create(way: &Way) -> Result<Self::Kept, Failure> {
        Queue::create(&way.name, options(way)).map_err(refused)
    }

    fn sending(way: &Way) -> Result<Self::Sending, Failure> {
        Ok(Tuples(open_tuples(way)?.producer().map_err(refused)?))
    }

    fn receiving(way: &Way) -> Result<Self::Receiving, Failure> {
        Ok(Tuples(open_tuples(way)?.consumer().map_err(refused)?))
    }
}
