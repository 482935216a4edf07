//! Broadcasts: every subscriber gets every message.
//!
//! A [`Publisher`] puts, a [`Subscriber`] gets. They share the segment, the ports and the errors of
//! queues; `calls.rs` has what is done with the port, `ring/broadcast.rs` the algorithm.

mod calls;
mod subscriber;

pub use subscriber::{Hearing, Subscriber};

use super::bytes::Bytes;
use super::error::{PutError, PutManyError};
use super::handover::handover_methods;
use super::message::{Message, Pod};
use super::options::{Options, SlowConsumers};
use super::port::{Port, Wait};
use crate::error::{SetupError, SetupErrorKind};
use crate::ring::{CAST, GETS, PUTS};
use crate::wait::Deadline;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// A broadcast of bytes.
///
/// ```
/// use ringway::{ByteBroadcast, StartAt};
///
/// let news = ByteBroadcast::bounded(16)?;
/// let (one, other) = (news.subscribe(StartAt::Now)?, news.subscribe(StartAt::Now)?);
/// news.put(b"hello")?;
/// assert_eq!((one.get()?, other.get()?), (b"hello".to_vec(), b"hello".to_vec()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ByteBroadcast = Publisher<Bytes>;

/// A broadcast of one plain-data type, copied as it is. See [`Plain`](super::Plain) for which
/// types.
///
/// ```
/// use ringway::{PodBroadcast, StartAt};
///
/// let ticks = PodBroadcast::<[f64; 2]>::bounded(16)?;
/// let seen = ticks.subscribe(StartAt::Now)?;
/// ticks.put([1.0, 2.0])?;
/// assert_eq!(seen.get()?, [1.0, 2.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type PodBroadcast<T> = Publisher<Pod<T>>;

/// A broadcast of any type that serde knows; each subscriber decodes a copy of its own. A `put`
/// allocates nothing if the encoded message has at most 256 bytes, else one buffer.
///
/// ```
/// use ringway::{Broadcast, StartAt};
///
/// let news = Broadcast::<(u64, String)>::bounded(16)?;
/// let seen = news.subscribe(StartAt::Now)?;
/// news.put((7, "seven".to_owned()))?;
/// assert_eq!(seen.get()?, (7, "seven".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "serde")]
pub type Broadcast<T> = Publisher<super::Serde<T>>;

/// Where a new subscriber begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StartAt {
    /// It sees every message whose `put` begins after it has subscribed. (One that is just being
    /// put may be the first, or not.)
    Now,
    /// It begins with the oldest message that is held and that it will not lose on the way to the
    /// newest. The ring keeps what it has until it is written over: if nobody subscribes, or
    /// under [`SlowConsumers::DropOldest`], the last `capacity` messages; otherwise at least the
    /// last three quarters of that, as producers may have begun to use the rest.
    Oldest,
}

/// The putting handle of a broadcast: one participant.
///
/// Every [`Subscriber`] gets every message that is put while it subscribes, each at its own pace and
/// in the same order. Without subscribers messages are put all the same, and a later one may
/// still see the last of them ([`StartAt::Oldest`]). What happens when a subscriber is slow is an option,
/// [`slow_consumers`](Options::slow_consumers).
///
/// A message lies in the ring itself, because it has as many readers as there are subscribers and
/// none that could give a block back; so none is longer than the room of a slot,
/// [`max_message`](Options::max_message), which is 1012 bytes if nothing else was stated: longer ones are
/// `TooLarge`.
///
/// When a publisher dies, the messages that it put stay; a put that it was killed in is there once
/// or not at all. When a subscriber dies, nobody waits for it any longer than a tenth of a second.
///
/// It can move to another thread (`Send`); two threads need two handles
/// ([`try_clone`](Publisher::try_clone)). A handle that a `fork` copied says `Forked`: open the
/// broadcast anew in the child.
pub struct Publisher<M: Message> {
    port: Port,
    kind: PhantomData<fn(M) -> M>,
}

/// What can be asked of either.
macro_rules! broadcast_methods {
    () => {
        /// How many messages the ring holds: exactly what was asked for.
        pub fn capacity(&self) -> usize {
            self.port.capacity()
        }

        /// The longest message that can be put, in bytes.
        pub fn max_message(&self) -> usize {
            self.port.max_message()
        }

        /// What happens when a subscriber is slow.
        pub fn slow_consumers(&self) -> SlowConsumers {
            if self.port.ring.cast.is_some_and(|cast| cast.drops) {
                SlowConsumers::DropOldest
            } else {
                SlowConsumers::Block
            }
        }

        /// How many subscribers there are, in all processes: also those that have died and were not
        /// looked after yet. Stale as soon as it is returned; 0 in a forked child. Never blocks.
        pub fn subscribers(&self) -> usize {
            if self.port.usable().is_err() {
                return 0;
            }
            self.port.ring.cast.map_or(0, |cast| cast.subscribers())
        }

        /// The broadcast's name; `None` if it is anonymous.
        pub fn name(&self) -> Option<String> {
            self.port.name()
        }

        /// Live publishers and subscribers, in all processes, this one included. Stale as soon as
        /// it is returned. One system call per participant.
        pub fn participants(&self) -> usize {
            self.port.participants()
        }

        /// Whether it was closed. True is final.
        pub fn is_closed(&self) -> bool {
            self.port.is_closed()
        }

        /// Closes it for good, in every process. Puts under way are delivered or refused, later
        /// ones get `Closed` and their value back; everybody who sleeps wakes. Every subscriber
        /// gets what it has not seen yet, then `Closed`; so do those who subscribe to the oldest
        /// later. Never blocks; closing twice is fine; nothing happens in a forked child.
        pub fn close(&self) {
            self.port.close()
        }

        /// Looks for participants that have died, now, and finishes what they left: says how many
        /// claims were finished. Nobody needs to call this: whoever waits looks once in 100 ms.
        ///
        /// # Errors
        ///
        /// `RecoveryUnavailable`, `Forked`, `NotASegment`, as [`Handle::recover`](crate::Handle::recover).
        pub fn recover(&self) -> Result<usize, SetupError> {
            self.port.recover()
        }

        /// How this handle waits.
        pub fn wait_policy(&self) -> crate::WaitPolicy {
            self.port.wait_policy()
        }

        /// Changes how this handle waits, from its next operation on.
        pub fn set_wait_policy(&self, policy: crate::WaitPolicy) {
            self.port.set_wait_policy(policy)
        }

        /// A new subscriber, one participant more.
        ///
        /// # Errors
        ///
        /// `TooManyParticipants`, `Forked`, `System`.
        pub fn subscribe(&self, start: StartAt) -> Result<Subscriber<M>, SetupError> {
            Subscriber::join(self.port.another(GETS)?, start)
        }
    };
}

impl<M: Message> Publisher<M> {
    fn from_port(port: Port) -> Self {
        Publisher { port, kind: PhantomData }
    }

    /// An anonymous broadcast that holds `capacity` messages: nothing under `/dev/shm`, gone
    /// with its last handle.
    ///
    /// # Errors
    ///
    /// `InvalidOptions`, `NoSpace`, `NoProc`, `System`.
    pub fn bounded(capacity: u64) -> Result<Self, SetupError> {
        Self::with_options(Options::new(capacity))
    }

    /// An anonymous broadcast.
    ///
    /// # Errors
    ///
    /// As [`bounded`](Self::bounded). `InvalidOptions` also for what a broadcast cannot be: joinable,
    /// with leases, with an arena, with `Single` consumers, with
    /// [`inline`](Options::inline) and [`max_message`](Options::max_message) that differ.
    pub fn with_options(options: Options) -> Result<Self, SetupError> {
        Port::create::<M>(None, &options.for_broadcast()).map(Self::from_producing)
    }

    /// Creates a named broadcast, as [`Handle::create`](crate::Handle::create) does a queue.
    ///
    /// # Errors
    ///
    /// As [`Handle::create`](crate::Handle::create) and [`with_options`](Self::with_options).
    ///
    /// ```
    /// use ringway::{ByteBroadcast, Options, StartAt, Subscriber};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # // SAFETY: this doc test has one thread.
    /// # unsafe { std::env::set_var("RINGWAY_DIR", dir.path()) };
    /// let here = ByteBroadcast::create("news", Options::new(8))?;
    /// here.put(b"hello")?;
    /// let there = Subscriber::<ringway::Bytes>::open("news", StartAt::Oldest)?; // usually in another process
    /// assert_eq!(there.get()?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(name: impl AsRef<OsStr>, options: Options) -> Result<Self, SetupError> {
        let options = options.for_broadcast();
        let place = options.place(name.as_ref())?;
        Port::create::<M>(Some(&place), &options).map(Self::from_producing)
    }

    /// Opens a named broadcast, to put.
    ///
    /// # Errors
    ///
    /// As [`Handle::open`](crate::Handle::open); `Mismatch` if it is a queue.
    pub fn open(name: impl AsRef<OsStr>) -> Result<Self, SetupError> {
        Self::open_with(name, Options::default())
    }

    /// As [`open`](Self::open); what `options` states must be true of the broadcast.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and `Mismatch` for each option.
    pub fn open_with(name: impl AsRef<OsStr>, options: Options) -> Result<Self, SetupError> {
        open::<M>(name.as_ref(), options, PUTS).map(Self::from_port)
    }

    /// Opens a named broadcast, or creates it, as
    /// [`Handle::open_or_create`](crate::Handle::open_or_create) does a queue.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open_with`](Self::open_with), without `AlreadyExists`
    /// and `NotFound`.
    pub fn open_or_create(name: impl AsRef<OsStr>, options: Options) -> Result<Self, SetupError> {
        let options = options.for_broadcast();
        let place = options.place(name.as_ref())?;
        Port::open_or_create::<M>(&place, &options).map(Self::from_producing)
    }

    /// A participant that was made as one of a queue's handles.
    fn from_producing(port: Port) -> Self {
        port.set_roles(PUTS);
        Self::from_port(port)
    }

    /// Another publisher, one participant more.
    ///
    /// # Errors
    ///
    /// `TooManyParticipants`, `Forked`, `System`.
    pub fn try_clone(&self) -> Result<Self, SetupError> {
        self.port.another(PUTS).map(Self::from_port)
    }

    /// Puts a message for all subscribers. Under [`SlowConsumers::Block`] it waits while one of
    /// them is `capacity` messages behind; otherwise, and without subscribers, it waits for nobody
    /// (but for a producer that was stopped in the middle of a put a whole lap ago).
    ///
    /// When this returns `Ok`, every subscriber gets the message, whoever dies. If this process is
    /// killed inside, the message is there for all of them or for none.
    ///
    /// # Errors
    ///
    /// `Closed`, `TooLarge`, `SideTaken`, `Forked`, `Corrupt`, `RecoveryUnavailable`, `System`,
    /// `Unencodable`; each gives the message back. Never `PeersGone`: that nobody listens is no
    /// error. No panics.
    ///
    /// ```
    /// use ringway::{PodBroadcast, StartAt};
    ///
    /// let news = PodBroadcast::<u32>::bounded(4)?;
    /// for number in 0..10 {
    ///     news.put(number)?; // nobody listens
    /// }
    /// let late = news.subscribe(StartAt::Oldest)?;
    /// assert_eq!(late.try_iter().collect::<Result<Vec<_>, _>>()?, [6, 7, 8, 9]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline(always)]
    pub fn put(&self, value: M::In<'_>) -> Result<(), PutError<M::Back>> {
        M::cast_through(&self.port, value, Wait::Until(Deadline::Never))
    }

    /// Puts a message if no subscriber stands in the way, without waiting.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and `Full`.
    #[inline(always)]
    pub fn try_put(&self, value: M::In<'_>) -> Result<(), PutError<M::Back>> {
        M::cast_through(&self.port, value, Wait::No)
    }

    /// As [`put`](Self::put), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and `TimedOut`.
    #[inline]
    pub fn put_timeout(&self, value: M::In<'_>, timeout: Duration) -> Result<(), PutError<M::Back>> {
        M::cast_through(&self.port, value, Wait::Until(Deadline::after(timeout)))
    }

    /// As [`put`](Self::put), waiting until `deadline` at most.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), and `TimedOut`.
    #[inline]
    pub fn put_deadline(&self, value: M::In<'_>, deadline: Instant) -> Result<(), PutError<M::Back>> {
        M::cast_through(&self.port, value, Wait::Until(Deadline::at(deadline)))
    }

    /// Puts all `values`, in order, in runs; messages of other publishers may come between two
    /// runs.
    ///
    /// # Errors
    ///
    /// As [`put`](Self::put), with the number of messages that went in: those are a prefix of
    /// `values`.
    #[inline]
    pub fn put_many(&self, values: &[M::In<'_>]) -> Result<(), PutManyError> {
        M::cast_many_through(&self.port, values, Wait::Until(Deadline::Never)).map(|_| ())
    }

    /// Puts as many of `values` as there is room for, from the front, and says how many.
    ///
    /// # Errors
    ///
    /// As [`put_many`](Self::put_many), but never for want of room.
    #[inline]
    pub fn try_put_many(&self, values: &[M::In<'_>]) -> Result<usize, PutManyError> {
        M::cast_many_through(&self.port, values, Wait::No)
    }

    /// As [`put_many`](Self::put_many), waiting at most `timeout`.
    ///
    /// # Errors
    ///
    /// As [`put_many`](Self::put_many), and `TimedOut`.
    #[inline]
    pub fn put_many_timeout(&self, values: &[M::In<'_>], timeout: Duration) -> Result<(), PutManyError> {
        M::cast_many_through(&self.port, values, Wait::Until(Deadline::after(timeout))).map(|_| ())
    }

    broadcast_methods!();
    handover_methods!(PUTS | CAST, |port| Ok(Self::from_port(port)));
}

use broadcast_methods;

/// Opens a named broadcast, to do what `roles` says.
fn open<M: Message>(name: &OsStr, options: Options, roles: u64) -> Result<Port, SetupError> {
    let options = options.for_broadcast();
    let place = options.place(name)?;
    Port::open_as::<M>(&place, &options, roles)?.ok_or_else(|| SetupError::new(SetupErrorKind::NotFound))
}

impl<M: Message> std::fmt::Debug for Publisher<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher")
            .field("name", &self.name())
            .field("capacity", &self.capacity())
            .field("slow_consumers", &self.slow_consumers())
            .field("subscribers", &self.subscribers())
            .finish()
    }
}
