//! Messages as they come, as a `Stream`.

use super::handle::Async;
use crate::queue::{GetError, Gets, Message};
use futures_core::stream::{FusedStream, Stream};
use std::pin::Pin;
use std::task::{Context, Poll};

// Nothing in it is pinned.
impl<E> Unpin for Async<E> {}

/// The messages as they come, until the queue is closed and drained. Other errors are items: the
/// stream goes on after `Undecodable` and `HandleUnreachable`, and ends after any other.
impl<E: Gets> Stream for Async<E> {
    type Item = Result<<E::Kind as Message>::Out, GetError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(got) = self.get_wait().poll_get::<E::Kind>(cx) else { return Poll::Pending };
        self.has_ended = got.as_ref().is_err_and(|error| !error.costs_one_message());
        Poll::Ready(if matches!(got, Err(GetError::Closed)) { None } else { Some(got) })
    }
}

impl<E: Gets> FusedStream for Async<E> {
    fn is_terminated(&self) -> bool {
        self.has_ended
    }
}
