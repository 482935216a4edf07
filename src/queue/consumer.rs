//! The getting end, and its iterators.

use super::bytes::{Bytes, BytesRoom};
use super::error::GetError;
use super::guards::Ref;
use super::handover::handover_methods;
use super::message::{Message, Plain, Pod};
use super::methods::{common_methods, get_bytes_methods, get_methods, get_plain_methods};
use super::port::{Port, Wait};
use super::tasks::{join_methods, task_methods};
use crate::error::SetupError;
use crate::ring::GETS;
use crate::wait::Deadline;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The getting end of a queue: a participant of its own.
///
/// Taken with [`Handle::consumer`](super::Handle::consumer) or
/// [`Handle::split`](super::Handle::split). It can move to another thread; for a
/// second one at the same time take another end. On a `Single` side it holds the
/// side until it is dropped.
pub struct Consumer<M: Message> {
    port: Port,
    kind: PhantomData<fn(M)>,
}

impl<M: Message> Consumer<M> {
    pub(super) fn new(port: Port) -> Result<Self, SetupError> {
        port.become_consumer()?;
        Ok(Consumer { port, kind: PhantomData })
    }

    /// Another consumer of the same queue, one participant more.
    ///
    /// # Errors
    ///
    /// `SideTaken` if the side is `Single`; `TooManyParticipants`, `Forked`.
    pub fn try_clone(&self) -> Result<Self, SetupError> {
        Consumer::new(self.port.another(GETS)?)
    }

    get_methods!();
    common_methods!();
    join_methods!();
    task_methods!();
    handover_methods!(GETS, Self::new);
}

impl Consumer<Bytes> {
    get_bytes_methods!();
}

impl<T: Plain> Consumer<Pod<T>> {
    get_plain_methods!();
}

impl<M: Message> std::fmt::Debug for Consumer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.port.fmt("Consumer", f)
    }
}

/// `get` into the caller's buffer.
pub(super) fn get_into(port: &Port, buffer: &mut Vec<u8>, wait: Wait) -> Result<usize, GetError> {
    let mut room = BytesRoom::of(&mut *buffer, port.payload());
    let result = port.get_into_room(&mut room, wait);
    if result.is_ok() && room.fetch(&port.ring.arena) {
        port.block_freed();
    }
    match result {
        Ok(()) if room.has_message() => Ok(buffer.len()),
        result => {
            buffer.clear();
            Err(result.err().unwrap_or_else(|| port.undecodable_task()))
        }
    }
}

/// Messages as they come; see [`Consumer::iter`].
pub struct Iter<'q, M: Message> {
    port: Option<&'q Port>,
    kind: PhantomData<fn() -> M>,
}

impl<'q, M: Message> Iter<'q, M> {
    pub(super) fn new(port: &'q Port) -> Self {
        Iter { port: Some(port), kind: PhantomData }
    }
}

impl<M: Message> Iterator for Iter<'_, M> {
    type Item = Result<M::Out, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.port?.get::<M>(Wait::Until(Deadline::Never));
        if result.as_ref().is_err_and(|error| !error.costs_one_message()) {
            self.port = None;
        }
        match result {
            Err(GetError::Closed) => None,
            other => Some(other),
        }
    }
}

impl<M: Message> std::iter::FusedIterator for Iter<'_, M> {}

impl<M: Message> std::fmt::Debug for Iter<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Iter").field("ended", &self.port.is_none()).finish()
    }
}

/// The messages that are there now; see [`Consumer::try_iter`].
pub struct TryIter<'q, M: Message> {
    port: &'q Port,
    kind: PhantomData<fn() -> M>,
}

impl<'q, M: Message> TryIter<'q, M> {
    pub(super) fn new(port: &'q Port) -> Self {
        TryIter { port, kind: PhantomData }
    }
}

impl<M: Message> Iterator for TryIter<'_, M> {
    type Item = Result<M::Out, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.port.get::<M>(Wait::No) {
            Err(GetError::Empty | GetError::Closed) => None,
            other => Some(other),
        }
    }
}

impl<M: Message> std::fmt::Debug for TryIter<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TryIter").finish_non_exhaustive()
    }
}
