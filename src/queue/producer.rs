//! The putting end.

use super::bytes::Bytes;
use super::error::{PutError, PutManyError};
use super::guards::Reserved;
use super::handover::handover_methods;
use super::message::Message;
use super::methods::{common_methods, put_bytes_methods, put_methods};
use super::port::{Port, Wait};
use super::tasks::join_methods;
use crate::error::SetupError;
use crate::ring::PUTS;
use crate::wait::Deadline;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// The putting end of a queue: a participant of its own.
///
/// Taken with [`Handle::producer`](super::Handle::producer) or
/// [`Handle::split`](super::Handle::split). It can move to another thread; for a
/// second one at the same time take another end. On a `Single` side it holds the
/// side until it is dropped. When its process dies, the messages it put stay.
pub struct Producer<M: Message> {
    port: Port,
    kind: PhantomData<fn(M)>,
}

impl<M: Message> Producer<M> {
    pub(super) fn new(port: Port) -> Result<Self, SetupError> {
        port.become_producer()?;
        Ok(Producer { port, kind: PhantomData })
    }

    /// Another producer of the same queue, one participant more.
    ///
    /// # Errors
    ///
    /// `SideTaken` if the side is `Single`; `TooManyParticipants`, `Closed`, `Forked`.
    pub fn try_clone(&self) -> Result<Self, SetupError> {
        Producer::new(self.port.another(PUTS)?)
    }

    put_methods!();
    common_methods!();
    join_methods!();
    handover_methods!(PUTS, Self::new);
}

impl Producer<Bytes> {
    put_bytes_methods!();
}

impl<M: Message> std::fmt::Debug for Producer<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.port.fmt("Producer", f)
    }
}
