//! The handle: creating, opening, taking ends; and both sides in one.

use super::bytes::Bytes;
use super::consumer::{Consumer, Iter, TryIter};
use super::error::{GetError, PutError, PutManyError};
use super::guards::{Ref, Reserved};
use super::handover::handover_methods;
use super::message::{Message, Plain, Pod};
use super::methods::{
    common_methods, get_bytes_methods, get_methods, get_plain_methods, put_bytes_methods, put_methods,
};
use super::options::Options;
use super::port::{Port, Wait};
use super::producer::Producer;
use super::tasks::{join_methods, task_methods};
use crate::error::{SetupError, SetupErrorKind};
use crate::ring::{GETS, PUTS};
use crate::wait::Deadline;
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

/// A queue of bytes.
///
/// ```
/// let queue = ringway::ByteQueue::bounded(16)?;
/// queue.put(b"one")?;
/// queue.put(b"two")?;
/// assert_eq!(queue.get()?, b"one");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type ByteQueue = Handle<Bytes>;

/// A queue of one plain-data type, copied as it is: no serialisation. See
/// [`Plain`](super::Plain) for which types.
///
/// ```
/// let queue = ringway::PodQueue::<[f32; 3]>::bounded(16)?;
/// queue.put([1.0, 2.0, 3.0])?;
/// assert_eq!(queue.get()?, [1.0, 2.0, 3.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub type PodQueue<T> = Handle<Pod<T>>;

/// A queue of any type that serde knows.
///
/// A message is encoded once, on the stack or straight into shared memory, and decoded once; a
/// `put` allocates nothing. (Encoded messages of 257 bytes and more that fit a slot, because
/// [`inline`](crate::Options::inline) was raised, are the exception: one buffer each.) One that
/// cannot be decoded, because it was another type's, is `Undecodable`: it is consumed, and
/// the queue goes on.
///
/// ```
/// let queue = ringway::Queue::<(u64, String)>::bounded(16)?;
/// queue.put((7, "seven".to_owned()))?;
/// assert_eq!(queue.get()?, (7, "seven".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[cfg(feature = "serde")]
pub type Queue<T> = Handle<super::Serde<T>>;

/// A handle of a queue: one participant that can put and get.
///
/// It can move to another thread (`Send`), but two threads need two handles:
/// [`try_clone`](Handle::try_clone), [`producer`](Handle::producer),
/// [`consumer`](Handle::consumer). On a `Single` side it takes the side with its
/// first operation there, and keeps it until it is dropped.
///
/// A handle that a `fork` copied says `Forked`: open the queue anew in the child.
pub struct Handle<M: Message> {
    port: Port,
    kind: PhantomData<fn(M) -> M>,
}

/// Pause between two looks for a name that is not there yet.
const APPEARANCE_PAUSE: Duration = Duration::from_millis(1);

impl<M: Message> Handle<M> {
    fn from_port(port: Port) -> Self {
        Handle { port, kind: PhantomData }
    }

    /// An anonymous queue of `capacity` messages: nothing under `/dev/shm`, gone
    /// with its last handle.
    ///
    /// # Errors
    ///
    /// `InvalidOptions`, `NoSpace`, `NoProc`, `System`.
    pub fn bounded(capacity: u64) -> Result<Self, SetupError> {
        Self::with_options(Options::new(capacity))
    }

    /// An anonymous queue that grows as it is filled and gives its memory back as it is
    /// drained, up to a quarter of the memory that is free now: see
    /// [`Options::unbounded`] for the cap and what it costs.
    ///
    /// # Errors
    ///
    /// As [`bounded`](Self::bounded).
    ///
    /// ```
    /// let queue = ringway::PodQueue::<u64>::unbounded()?;
    /// queue.put_many(&[1, 2, 3])?; // never waits for a `get`
    /// assert_eq!(queue.get()?, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unbounded() -> Result<Self, SetupError> {
        Self::with_options(Options::unbounded())
    }

    /// An anonymous queue.
    ///
    /// # Errors
    ///
    /// As [`bounded`](Self::bounded).
    pub fn with_options(options: Options) -> Result<Self, SetupError> {
        Port::create::<M>(None, &options).map(Self::from_port)
    }

    /// Creates a named queue. Whoever opens the name sees all of it or nothing.
    /// An *ephemeral* queue of that name whose participants have all died is
    /// removed first, with its messages.
    ///
    /// # Errors
    ///
    /// `AlreadyExists`, `InvalidName`, `InvalidOptions`, `Directory`, `NoSpace`,
    /// `NoProc`, `Busy`, `System`.
    ///
    /// ```
    /// use ringway::{ByteQueue, Options};
    ///
    /// # let dir = tempfile::tempdir_in("/dev/shm")?;
    /// # // SAFETY: this doc test has one thread.
    /// # unsafe { std::env::set_var("RINGWAY_DIR", dir.path()) };
    /// let here = ByteQueue::create("greetings", Options::new(8))?;
    /// let there = ByteQueue::open("greetings")?; // usually in another process
    /// here.put(b"hello")?;
    /// assert_eq!(there.get()?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn create(name: impl AsRef<OsStr>, options: Options) -> Result<Self, SetupError> {
        let place = options.place(name.as_ref())?;
        Port::create::<M>(Some(&place), &options).map(Self::from_port)
    }

    /// Opens a named queue; its properties come from the segment. An ephemeral
    /// queue whose participants have all died is adopted, with its messages.
    ///
    /// # Errors
    ///
    /// `NotFound`, `NotASegment`, `VersionMismatch`, `Mismatch` (another element
    /// type), `TooManyParticipants`, `Closed` (closed and drained), `InvalidName`,
    /// `Directory`, `NoProc`, `Busy`, `System`.
    pub fn open(name: impl AsRef<OsStr>) -> Result<Self, SetupError> {
        Self::open_with(name, Options::default())
    }

    /// As [`open`](Self::open); what `options` states must be true of the queue.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and `Mismatch` for each option.
    pub fn open_with(name: impl AsRef<OsStr>, options: Options) -> Result<Self, SetupError> {
        let place = options.place(name.as_ref())?;
        match Port::open::<M>(&place, &options)? {
            Some(port) => Ok(Self::from_port(port)),
            None => Err(SetupError::new(SetupErrorKind::NotFound)),
        }
    }

    /// Opens a named queue, or creates it. Of several that do so at once, one
    /// creates and the others open. An ephemeral queue whose participants have all
    /// died is adopted with its messages if it is what `options` state, and
    /// replaced if it is not.
    ///
    /// # Errors
    ///
    /// As [`create`](Self::create) and [`open_with`](Self::open_with), without
    /// `AlreadyExists` and `NotFound`.
    pub fn open_or_create(name: impl AsRef<OsStr>, options: Options) -> Result<Self, SetupError> {
        let place = options.place(name.as_ref())?;
        Port::open_or_create::<M>(&place, &options).map(Self::from_port)
    }

    /// As [`open`](Self::open), waiting at most `timeout` for the name to appear.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), with `TimedOut` instead of `NotFound`.
    pub fn open_timeout(name: impl AsRef<OsStr>, timeout: Duration) -> Result<Self, SetupError> {
        let name = name.as_ref();
        let deadline = Deadline::after(timeout);
        loop {
            match Self::open(name) {
                Err(error) if error.is_not_found() => {
                    if deadline.passed() {
                        return Err(SetupError::new(SetupErrorKind::TimedOut));
                    }
                    std::thread::sleep(APPEARANCE_PAUSE);
                }
                other => return other,
            }
        }
    }

    /// Another handle of the same queue, one participant more.
    ///
    /// # Errors
    ///
    /// `TooManyParticipants`, `Forked`, `System`.
    pub fn try_clone(&self) -> Result<Self, SetupError> {
        self.port.another(PUTS | GETS).map(Self::from_port)
    }

    /// Takes a putting end: another participant, which holds a `Single` side from now on.
    ///
    /// # Errors
    ///
    /// `SideTaken`, `Closed`, `TooManyParticipants`, `Forked`, `System`.
    pub fn producer(&self) -> Result<Producer<M>, SetupError> {
        Producer::new(self.port.another(PUTS)?)
    }

    /// Takes a getting end: another participant, which holds a `Single` side from now on.
    ///
    /// # Errors
    ///
    /// `SideTaken`, `TooManyParticipants`, `Forked`, `System`.
    pub fn consumer(&self) -> Result<Consumer<M>, SetupError> {
        Consumer::new(self.port.another(GETS)?)
    }

    /// Turns the handle into its two ends.
    ///
    /// # Errors
    ///
    /// As [`producer`](Self::producer) and [`consumer`](Self::consumer).
    pub fn split(mut self) -> Result<(Producer<M>, Consumer<M>), SetupError> {
        let other = self.port.another(GETS)?;
        self.port.stop_consuming();
        Ok((Producer::new(self.port)?, Consumer::new(other)?))
    }

    put_methods!();
    get_methods!();
    common_methods!();
    join_methods!();
    task_methods!();
    handover_methods!(PUTS | GETS, |port| Ok(Self::from_port(port)));
}

impl Handle<Bytes> {
    put_bytes_methods!();
    get_bytes_methods!();
}

impl<T: Plain> Handle<Pod<T>> {
    get_plain_methods!();
}

impl<M: Message> std::fmt::Debug for Handle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.port.fmt("Handle", f)
    }
}
