//! Rivals between processes that carry values of one type: ringfire's lossless ring, and promisqs.

use super::rival::{Retry, Rival, Way};
use super::{Failure, Put, Take};
use crate::payload::Payload;
use promisqs::{PromisqsError, ShmemQueue};
use ringfire::{FlowControl, RingConsumer, RingProducer, RingProducerBuilder};
use std::path::PathBuf;

/// One end, with its way of waiting.
pub struct End<Q> {
    queue: Q,
    retry: Retry,
}

/// Readers are to be there before the first message: those that come later do not hold the writer back.
pub struct Ringfire;

impl<T: Payload> Rival<T> for Ringfire {
    type Kept = ();
    type Sending = End<RingProducer<T>>;
    type Receiving = End<RingConsumer<T>>;

    fn create(_: &Way) -> Result<(), Failure> {
        Ok(())
    }

    /// The ring's file goes with it.
    fn sending(way: &Way) -> Result<Self::Sending, Failure> {
        let lossless = RingProducerBuilder::new(way.job.capacity).flow_control(FlowControl::LosslessBackpressure);
        let queue = lossless.build(way.path()).map_err(Failure::new)?;
        Ok(End { queue, retry: Retry::polls(way) })
    }

    fn receiving(way: &Way) -> Result<Self::Receiving, Failure> {
        let queue = way.until(|| RingConsumer::builder().start_from_head().attach(way.path()).ok())?;
        Ok(End { queue, retry: Retry::polls(way) })
    }
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

/// Its memory stands under `/dev/shm`, by a name that it makes up and writes into a file of ours.
pub struct Promisqs;

pub struct KeptPromisqs<T: Payload> {
    queue: Option<ShmemQueue<'static, T>>,
    link: PathBuf,
}

impl<T: Payload> Drop for KeptPromisqs<T> {
    fn drop(&mut self) {
        // A worker that was killed leaves it counted: it would stay.
        let name = std::fs::read_to_string(&self.link).unwrap_or_default();
        drop(self.queue.take());
        crate::guard::remove_shared_memory(name.trim());
    }
}

impl<T: Payload> Rival<T> for Promisqs {
    type Kept = KeptPromisqs<T>;
    type Sending = End<ShmemQueue<'static, T>>;
    type Receiving = End<ShmemQueue<'static, T>>;

    fn create(way: &Way) -> Result<Self::Kept, Failure> {
        let link = way.directory.join(format!("{}{}", way.name, crate::guard::LINK));
        let queue = ShmemQueue::create(&link, way.job.capacity as usize).map_err(Failure::new)?;
        Ok(KeptPromisqs { queue: Some(queue), link })
    }

    fn sending(way: &Way) -> Result<Self::Sending, Failure> {
        let link = way.directory.join(format!("{}{}", way.name, crate::guard::LINK));
        Ok(End { queue: ShmemQueue::open(link).map_err(Failure::new)?, retry: Retry::polls(way) })
    }

    fn receiving(way: &Way) -> Result<Self::Receiving, Failure> {
        <Promisqs as Rival<T>>::sending(way)
    }
}

impl<T: Payload> Put<T> for End<ShmemQueue<'static, T>> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        let End { queue, retry } = self;
        retry.until_ok(|| match queue.try_push(&value) {
            Ok(()) => Ok(Some(())),
            Err(PromisqsError::QueueFull | PromisqsError::WouldBlock) => Ok(None),
            Err(error) => Err(error),
        })
    }
}

impl<T: Payload> Take<T> for End<ShmemQueue<'static, T>> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        let End { queue, retry } = self;
        retry.until_ok(|| match queue.try_pop() {
            Err(PromisqsError::WouldBlock) => Ok(None),
            other => other,
        })
    }
}
