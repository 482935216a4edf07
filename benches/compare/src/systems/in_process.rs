//! Rivals between two threads of one process: rtrb, ringfire's lossless ring,
//! crossbeam's `ArrayQueue`.

use super::{Failure, Put, Take};
use crate::control::Control;
use crate::payload::Payload;
use crossbeam_queue::ArrayQueue;
use ringfire::{FlowControl, RingConsumer, RingProducer, RingProducerBuilder};
use std::path::Path;
use std::sync::Arc;

/// What to do between two attempts.
#[derive(Clone)]
pub struct Retry {
    pub control: Arc<Control>,
    /// Give way to other threads instead of spinning.
    pub yields: bool,
}

impl Retry {
    #[inline(always)]
    fn pause(&self) -> Result<(), Failure> {
        if self.yields {
            std::thread::yield_now()
        } else {
            std::hint::spin_loop()
        }
        if self.control.aborted() { Err(Failure::ABORTED) } else { Ok(()) }
    }

    #[inline(always)]
    fn until_some<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        loop {
            if let Some(value) = attempt() {
                return Ok(value);
            }
            self.pause()?;
        }
    }
}

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

/// Its blocking `push` waits in its own way: it spins, then yields, then sleeps.
/// If the consumer is gone, it goes on without.
impl<T: Payload> Put<T> for End<RingProducer<T>> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        self.queue.push(&value);
        Ok(())
    }
}

impl<T: Payload> Take<T> for End<RingConsumer<T>> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        let End { queue, retry } = self;
        retry.until_some(|| queue.try_recv())
    }
}

type RingfireEnds<T> = (End<RingProducer<T>>, End<RingConsumer<T>>);

/// The ring's file goes with its producer.
pub fn ringfire<T: Payload>(capacity: u64, retry: &Retry, path: &Path) -> Result<RingfireEnds<T>, Failure> {
    let producer = RingProducerBuilder::new(capacity)
        .flow_control(FlowControl::LosslessBackpressure)
        .build(path)
        .map_err(Failure::new)?;
    let consumer = RingConsumer::builder().start_from_head().attach(path).map_err(Failure::new)?;
    Ok((End { queue: producer, retry: retry.clone() }, End { queue: consumer, retry: retry.clone() }))
}
