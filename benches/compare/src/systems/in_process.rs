//! Ceilings, between two threads of one process: rtrb, crossbeam's `ArrayQueue` and its channel.

use super::rival::Retry;
use super::{Failure, Put, Take};
use crate::payload::Payload;
use crossbeam_channel::{Receiver, Sender, bounded};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;

/// One end of a rival, with its way of waiting.
pub struct End<Q> {
    queue: Q,
    retry: Retry,
}

impl<T: Payload> Put<T> for End<rtrb::Producer<T>> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        let End { queue, retry } = self;
        retry.until_some(|| queue.push(value).ok())
    }
}

impl<T: Payload> Take<T> for End<rtrb::Consumer<T>> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        let End { queue, retry } = self;
        retry.until_some(|| queue.pop().ok())
    }
}

pub fn rtrb<T: Payload>(capacity: u64, retry: &Retry) -> (End<rtrb::Producer<T>>, End<rtrb::Consumer<T>>) {
    let (producer, consumer) = rtrb::RingBuffer::new(capacity as usize);
    (End { queue: producer, retry: retry.clone() }, End { queue: consumer, retry: retry.clone() })
}

impl<T: Payload> Put<T> for End<Arc<ArrayQueue<T>>> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        self.retry.until_some(|| self.queue.push(value).ok())
    }
}

impl<T: Payload> Take<T> for End<Arc<ArrayQueue<T>>> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        self.retry.until_some(|| self.queue.pop())
    }
}

/// As many ends as asked for, all of one queue.
pub fn array_queue<T: Payload>(capacity: u64, retry: &Retry, ends: usize) -> Vec<End<Arc<ArrayQueue<T>>>> {
    let queue = Arc::new(ArrayQueue::new(capacity as usize));
    (0..ends).map(|_| End { queue: Arc::clone(&queue), retry: retry.clone() }).collect()
}

/// Its `send` and `recv` spin, then yield, then sleep.
impl<T: Payload> Put<T> for Sender<T> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        // The receiver is gone only if it has failed.
        self.send(value).map_err(|_| Failure::ABORTED)
    }
}

impl<T: Payload> Take<T> for Receiver<T> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        self.recv().map_err(|_| Failure::ABORTED)
    }
}

pub fn channel<T: Payload>(capacity: u64) -> (Sender<T>, Receiver<T>) {
    bounded(capacity as usize)
}
