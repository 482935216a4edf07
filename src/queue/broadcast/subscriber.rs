//! The getting end of a broadcast.

use super::{StartAt, broadcast_methods, open};
use crate::error::SetupError;
use crate::queue::bytes::{Bytes, BytesRoom};
use crate::queue::error::GetError;
use crate::queue::handover::handover_methods;
use crate::queue::message::{InPlace, Message, Plain, Pod};
use crate::queue::options::{Options, SlowConsumers};
use crate::queue::port::{Port, Wait};
use crate::ring::{CAST, GETS};
use crate::wait::Deadline;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// One subscriber of a broadcast: a participant with a cursor of its own.
///
/// Taken with [`Publisher::subscribe`](super::Publisher::subscribe), or [`open`](Subscriber::open)ed by name. It can move to another
/// thread. Dropping it ends the subscription; one that dies is looked after by whoever waits
/// for it. One that is only stopped (a debugger, SIGSTOP) is alive: under
/// [`SlowConsumers::Block`] producers wait for it. Handed over, it is a way to subscribe: the
/// receiver begins with what is put from then on.
pub struct Subscriber<M: Message> {
    port: Port,
    kind: PhantomData<fn() -> M>,
}

impl<M: Message> Subscriber<M> {
    pub(super) fn join(port: Port, start: StartAt) -> Result<Self, SetupError> {
        port.subscribe(start == StartAt::Oldest);
        Ok(Subscriber { port, kind: PhantomData })
    }

    /// Subscribes to a named broadcast, without a handle that could put.
    ///
    /// # Errors
    ///
    /// As [`Publisher::open`](super::Publisher::open); one that is closed admits subscribers.
    pub fn open(name: impl AsRef<OsStr>, start: StartAt) -> Result<Self, SetupError> {
        Self::open_with(name, start, Options::default())
    }

    /// As [`open`](Self::open); what `options` states must be true of the broadcast.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and `Mismatch` for each option.
    pub fn open_with(name: impl AsRef<OsStr>, start: StartAt, options: Options) -> Result<Self, SetupError> {
        Self::join(open::<M>(name.as_ref(), options, GETS)?, start)
    }

    /// Takes the next message, waiting while there is none.
    ///
    /// Other subscribers get it too. A process killed inside takes its subscription along and
    /// nothing else.
    ///
    /// # Errors
    ///
    /// `Closed` once it is closed and this subscriber has seen all, `Lagged` once for each gap
    /// ([`SlowConsumers::DropOldest`]), `PeersGone`, `Undecodable`, `Forked`, `Corrupt`,
    /// `RecoveryUnavailable`. No panics.
    #[inline(always)]
    pub fn get(&self) -> Result<M::Out, GetError> {
        self.port.hear::<M>(Wait::Until(Deadline::Never))
    }

    /// Takes the next message if there is one, without waiting.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and `Empty`.
    #[inline(always)]
    pub fn try_get(&self) -> Result<M::Out, GetError> {
        self.port.hear::<M>(Wait::No)
    }

    /// As [`get`](Self::get), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and `TimedOut`.
    #[inline]
    pub fn get_timeout(&self, timeout: Duration) -> Result<M::Out, GetError> {
        self.port.hear::<M>(Wait::Until(Deadline::after(timeout)))
    }

    /// As [`get`](Self::get), waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get), and `TimedOut`.
    #[inline]
    pub fn get_deadline(&self, deadline: Instant) -> Result<M::Out, GetError> {
        self.port.hear::<M>(Wait::Until(Deadline::at(deadline)))
    }

    /// Appends up to `max` messages to `out`, in order: waits for the first, takes what else is
    /// there. Says how many (0 only if `max` is 0).
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get). A gap ends a batch, and the next call says it. Messages of a batch
    /// that are no valid value are left out; the next calls say `Undecodable`, once for each.
    #[inline]
    pub fn get_many(&self, out: &mut Vec<M::Out>, max: usize) -> Result<usize, GetError> {
        self.port.hear_many::<M>(out, max, Wait::Until(Deadline::Never))
    }

    /// As [`get_many`](Self::get_many), without waiting.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Self::get_many), and `Empty`.
    #[inline]
    pub fn try_get_many(&self, out: &mut Vec<M::Out>, max: usize) -> Result<usize, GetError> {
        self.port.hear_many::<M>(out, max, Wait::No)
    }

    /// As [`get_many`](Self::get_many), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`get_many`](Self::get_many), and `TimedOut`.
    #[inline]
    pub fn get_many_timeout(&self, out: &mut Vec<M::Out>, max: usize, timeout: Duration) -> Result<usize, GetError> {
        self.port.hear_many::<M>(out, max, Wait::Until(Deadline::after(timeout)))
    }

    /// Messages as they come, until the broadcast is closed and all was seen. Other errors are
    /// items: the iteration goes on after `Lagged` and `Undecodable`, and ends after any other.
    pub fn iter(&self) -> Hearing<'_, M> {
        Hearing { subscriber: Some(self), wait: Wait::Until(Deadline::Never) }
    }

    /// The messages that are there now, without waiting.
    pub fn try_iter(&self) -> Hearing<'_, M> {
        Hearing { subscriber: Some(self), wait: Wait::No }
    }

    /// How many messages this subscriber has missed so far, exactly: those that were overwritten
    /// before it came to them. (What a dead publisher had claimed and never put counts as one, if
    /// it lies in a gap.) 0 under [`SlowConsumers::Block`].
    pub fn missed(&self) -> u64 {
        self.port.cursors.cast_get.missed()
    }

    /// How many messages were put that this subscriber has not taken. While others put, an
    /// estimate; under [`SlowConsumers::DropOldest`] it may be more than the ring holds. 0 in a
    /// forked child. Never blocks.
    pub fn lag(&self) -> u64 {
        if self.port.usable().is_err() { 0 } else { self.port.ring.lag(&self.port.cursors.cast_get) }
    }

    broadcast_methods!();
    handover_methods!(GETS | CAST, |port| Self::join(port, StartAt::Now));
}

impl Subscriber<Bytes> {
    /// As [`get`](Self::get), into a buffer that is used again: it is cleared, grown to the
    /// longest message once, and filled. Says the length.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); the buffer is then empty.
    pub fn get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
        let mut room = BytesRoom::of(&mut *buffer, self.port.payload());
        match self.port.hear_into(&mut room, Wait::Until(Deadline::Never)) {
            Ok(()) if room.has_message() => Ok(buffer.len()),
            how => {
                buffer.clear();
                Err(how.err().unwrap_or(GetError::Undecodable))
            }
        }
    }
}

impl<T: Plain> Subscriber<Pod<T>> {
    /// As [`get`](Self::get), straight into `out`: one copy, where returning a value may cost
    /// several.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); `out` is then as it was, but after `Lagged`, where it may be any
    /// value.
    #[inline(always)]
    pub fn get_into(&self, out: &mut T) -> Result<(), GetError> {
        if let Some(mut in_place) = InPlace::new(out) {
            return self.port.hear_into(&mut in_place, Wait::Until(Deadline::Never));
        }
        *out = self.get()?;
        Ok(())
    }
}

impl<M: Message> Drop for Subscriber<M> {
    fn drop(&mut self) {
        self.port.unsubscribe();
    }
}

/// Messages as they come; see [`Subscriber::iter`] and [`Subscriber::try_iter`].
pub struct Hearing<'s, M: Message> {
    subscriber: Option<&'s Subscriber<M>>,
    wait: Wait,
}

impl<M: Message> Iterator for Hearing<'_, M> {
    type Item = Result<M::Out, GetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.subscriber?.port.hear::<M>(self.wait);
        if result.as_ref().is_err_and(|error| !error.costs_one_message() && !error.is_lagged()) {
            self.subscriber = None;
        }
        match result {
            Err(GetError::Closed | GetError::Empty) => None,
            other => Some(other),
        }
    }
}

impl<M: Message> std::iter::FusedIterator for Hearing<'_, M> {}

impl<M: Message> std::fmt::Debug for Hearing<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hearing").field("ended", &self.subscriber.is_none()).finish()
    }
}

impl<M: Message> std::fmt::Debug for Subscriber<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscriber")
            .field("name", &self.name())
            .field("capacity", &self.capacity())
            .field("lag", &self.lag())
            .field("missed", &self.missed())
            .finish()
    }
}
