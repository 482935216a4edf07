//! ringway with messages of any length: copied, in place, or of a serde type. A message
//! carries one word, at its front and at its end; both are checked.

use super::{Failure, Put, Take};
use crate::job::{Job, System};
use ringway::{ByteQueue, Bytes, Consumer, GetError, Options, Producer, PutError, Queue, Serde, Side, WaitPolicy};
use std::path::Path;

const WORD: usize = size_of::<u64>();
const PAGE: usize = 4096;

/// The text of every serde message: 32 bytes.
const TEXT: &str = "the quick brown fox jumped over.";

pub fn mark(message: &mut [u8], word: u64) {
    let len = message.len();
    message[..WORD].copy_from_slice(&word.to_ne_bytes());
    message[len - WORD..].copy_from_slice(&word.to_ne_bytes());
}

/// The word of a message of which nothing is missing.
pub fn marked(message: &[u8], len: usize) -> Result<u64, Failure> {
    let word = |at: usize| message.get(at..at + WORD)?.try_into().ok().map(u64::from_ne_bytes);
    match (word(0), word(len - WORD)) {
        (Some(first), Some(last)) if first == last && message.len() == len => Ok(first),
        _ => Err(Failure::new("a message that is cut or torn")),
    }
}

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
pub struct Copying<Q> {
    queue: Q,
    buffer: Vec<u8>,
    owned: bool,
    len: usize,
}

impl<Q> Copying<Q> {
    pub fn new(queue: Q, job: &Job) -> Copying<Q> {
        // What is not the word is written once, so that its pages are there.
        Copying { queue, buffer: vec![7; job.bytes], owned: job.system == System::BytesOwned, len: job.bytes }
    }
}

impl Put<u64> for Copying<Producer<Bytes>> {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        mark(&mut self.buffer, word);
        self.queue.put(&self.buffer).map_err(not_put)
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

impl Take<u64> for Copying<Consumer<Bytes>> {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        if self.owned {
            return marked(&self.queue.get().map_err(not_taken)?, self.len);
        }
        self.queue.get_into(&mut self.buffer).map_err(not_taken)?;
        marked(&self.buffer, self.len)
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

/// Writes and reads where the message lies.
pub struct InPlace<Q> {
    queue: Q,
    len: usize,
    touched: bool,
}

impl<Q> InPlace<Q> {
    pub fn new(queue: Q, job: &Job) -> InPlace<Q> {
        InPlace { queue, len: job.bytes, touched: job.system == System::InPlaceTouched }
    }

    fn pages(&self) -> impl Iterator<Item = usize> + use<Q> {
        let end = if self.touched { self.len } else { 0 };
        (PAGE..end).step_by(PAGE)
    }
}

impl Put<u64> for InPlace<Producer<Bytes>> {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let mut block = self.queue.reserve(self.len).map_err(not_put)?;
        block.write_at(0, &word.to_ne_bytes()).map_err(refused)?;
        for at in self.pages() {
            block.write_at(at, &[word as u8]).map_err(refused)?;
        }
        block.commit().map_err(not_put)
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

impl Take<u64> for InPlace<Consumer<Bytes>> {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        let message = self.queue.get_ref().map_err(not_taken)?;
        let mut word = [0; WORD];
        message.copy_to_slice(0, &mut word).map_err(refused)?;
        let word = u64::from_ne_bytes(word);
        if message.len() != self.len || self.pages().any(|at| message.get(at) != Some(word as u8)) {
            return Err(Failure::new("a message that is cut or torn"));
        }
        Ok(word)
    }

    fn give_up(&mut self) {
        self.queue.close();
    }
}

/// `(u64, String)`.
pub struct Tuples<Q>(pub Q);

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

fn options(job: &Job, directory: &Path) -> Options {
    let side = if job.single { Side::Single } else { Side::Multi };
    let policy = if job.patient { WaitPolicy::default() } else { WaitPolicy::Spin };
    Options::new(job.capacity).producers(side).consumers(side).wait_policy(policy).directory(directory)
}

/// Either kind, kept alive by whoever measures.
pub enum Made {
    Bytes(#[allow(dead_code)] ByteQueue),
    Serde(#[allow(dead_code)] Queue<(u64, String)>),
}

/// Makes the named queue that the workers open.
pub fn create(job: &Job, directory: &Path, name: &str) -> Result<Made, Failure> {
    let options = options(job, directory);
    if job.system == System::Serde {
        return Queue::create(name, options).map(Made::Serde).map_err(refused);
    }
    let options = options.max_message(job.bytes.max(52));
    ByteQueue::create(name, options).map(Made::Bytes).map_err(refused)
}

/// Opens it, in another process.
pub fn open(job: &Job, directory: &Path, name: &str) -> Result<ByteQueue, Failure> {
    let policy = if job.patient { WaitPolicy::default() } else { WaitPolicy::Spin };
    ByteQueue::open_with(name, Options::default().wait_policy(policy).directory(directory)).map_err(refused)
}

/// The same of a queue of tuples.
pub fn open_tuples(job: &Job, directory: &Path, name: &str) -> Result<Queue<(u64, String)>, Failure> {
    let policy = if job.patient { WaitPolicy::default() } else { WaitPolicy::Spin };
    Queue::open_with(name, Options::default().wait_policy(policy).directory(directory)).map_err(refused)
}
