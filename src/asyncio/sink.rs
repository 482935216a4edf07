//! Putting as a `Sink`, which has a place for one message of its own.

use super::handle::Async;
#[cfg(feature = "serde")]
use crate::queue::Serde;
use crate::queue::{Bytes, Message, Plain, Pod, Port, PutError, Puts};
use futures_sink::Sink;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What a [`PutSink`] takes for a queue whose messages are of kind `M`: a value of its type, and
/// for bytes whatever is some (`Vec<u8>`, `&[u8]`, `bytes::Bytes`).
pub trait Item<M: Message> {
    #[doc(hidden)]
    fn put_again(&self, port: &Port) -> Result<(), PutError<()>>;
}

impl<T: Plain> Item<Pod<T>> for T {
    fn put_again(&self, port: &Port) -> Result<(), PutError<()>> {
        <Pod<T> as Message>::put_again(port, self)
    }
}

impl<B: AsRef<[u8]>> Item<Bytes> for B {
    fn put_again(&self, port: &Port) -> Result<(), PutError<()>> {
        <Bytes as Message>::put_again(port, &self.as_ref())
    }
}

#[cfg(feature = "serde")]
impl<T: serde::Serialize + serde::de::DeserializeOwned + 'static> Item<Serde<T>> for T {
    fn put_again(&self, port: &Port) -> Result<(), PutError<()>> {
        <Serde<T> as Message>::put_again(port, self)
    }
}

/// A producer as a `Sink`; see [`Async::into_sink`].
#[derive(Debug)]
#[must_use = "a sink does nothing unless it is polled"]
pub struct PutSink<E, I> {
    queue: Async<E>,
    item: Option<I>,
}

impl<E: Puts> Async<E> {
    /// This producer as a `Sink` of items `I`.
    ///
    /// What `start_send` takes is put at once if there is room; else the sink holds it until it
    /// is polled again. So a message is the queue's only after `flush` (`SinkExt::send` does
    /// it); one that the sink still holds when it is dropped was not put,
    /// [`into_parts`](PutSink::into_parts) gives it back. Closing the sink only flushes: the
    /// queue stays open for others.
    ///
    /// An error gives the item back: the sink does not hold it any more.
    ///
    /// ```
    /// use futures_util::{SinkExt, StreamExt};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let queue = ringway::ByteQueue::bounded(4)?;
    /// let mut consumer = queue.consumer()?.into_async();
    /// let mut sink = queue.producer()?.into_async().into_sink();
    /// sink.send(vec![1, 2, 3]).await?;
    /// assert_eq!(consumer.get().await?, [1, 2, 3]);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(example())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_sink<I: Item<E::Kind>>(self) -> PutSink<E, I> {
        PutSink { queue: self, item: None }
    }
}

impl<E, I> PutSink<E, I> {
    /// The producer, and the item that was not put yet.
    pub fn into_parts(self) -> (Async<E>, Option<I>) {
        (self.queue, self.item)
    }

    /// The producer's blocking form.
    pub fn inner(&self) -> &E {
        self.queue.inner()
    }
}

// Nothing in it is pinned.
impl<E, I> Unpin for PutSink<E, I> {}

impl<E: Puts, I: Item<E::Kind>> PutSink<E, I> {
    fn poll_put(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), PutError<I>>> {
        let Some(item) = &self.item else { return Poll::Ready(Ok(())) };
        let Poll::Ready(outcome) = self.queue.put_wait().poll_put(cx, |port| item.put_again(port)) else {
            return Poll::Pending;
        };
        Poll::Ready(match (outcome, self.item.take()) {
            (Err(refused), Some(item)) => Err(refused.map(|()| item)),
            _ => Ok(()),
        })
    }
}

impl<E: Puts, I: Item<E::Kind>> Sink<I> for PutSink<E, I> {
    type Error = PutError<I>;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<I>>> {
        self.poll_put(cx)
    }

    /// `Full` with the item if [`poll_ready`](Sink::poll_ready) was not asked before, and the
    /// sink holds another one.
    fn start_send(mut self: Pin<&mut Self>, item: I) -> Result<(), PutError<I>> {
        if self.item.is_some() {
            return Err(PutError::Full(item));
        }
        match self.queue.put_at_once(|port| item.put_again(port)) {
            Ok(()) => Ok(()),
            Err(PutError::Full(())) => {
                self.item = Some(item);
                Ok(())
            }
            Err(refused) => Err(refused.map(|()| item)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<I>>> {
        self.poll_put(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), PutError<I>>> {
        self.poll_flush(cx)
    }
}
