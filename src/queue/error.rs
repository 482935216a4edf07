//! The errors of one put and of one get.

use std::fmt;
use std::io;

const UNAVAILABLE: &str = "another participant is in the way, and this process cannot find out whether it has died: \
                           its descriptor of the segment was closed; open the queue again";

/// Why a message was not put. Gives it back: `V` is the value for typed queues,
/// `()` where it was borrowed.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PutError<V> {
    /// `try_put` only: there is no room right now.
    Full(V),
    /// The deadline passed while the queue was full.
    TimedOut(V),
    /// The queue is closed.
    Closed(V),
    /// The message is longer than the queue's `max_message`: it can never be put.
    TooLarge {
        /// The message.
        value: V,
        /// Its length in bytes.
        len: usize,
        /// The longest message that this queue takes.
        max: usize,
    },
    /// Another live handle holds the `Single` producers' side.
    SideTaken {
        /// The message.
        value: V,
        /// The holder's process, for display only.
        holder: Option<u32>,
    },
    /// The system refused what the call needed of it: a descriptor to take the `Single` side, a
    /// thread or a ring to wait asynchronously, or (other than for want of space) memory for
    /// a queue that grows.
    System {
        /// The message.
        value: V,
        /// What it said.
        kind: io::ErrorKind,
    },
    /// This handle was inherited by `fork`: open the queue anew in the child.
    Forked(V),
    /// The segment contradicts itself: a peer has scribbled in it. This handle
    /// says so from now on; others may go on.
    Corrupt(V),
    /// Every handle that could get has left or died. Only where the option
    /// [`peers_gone`](crate::Options::peers_gone) is on, as it is for anonymous queues.
    PeersGone(V),
    /// Another participant is in the way, and whether it has died cannot be found out:
    /// the segment's descriptor was closed behind our back. Open the queue again.
    RecoveryUnavailable(V),
    /// The message could not be encoded; nothing was put.
    Unencodable {
        /// The message.
        value: V,
        /// Why.
        source: EncodeError,
    },
}

/// Why a message could not be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodeError {
    pub(super) what: &'static str,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

impl std::error::Error for EncodeError {}

impl<V> PutError<V> {
    /// The message that was not put.
    pub fn into_value(self) -> V {
        match self {
            PutError::Full(v)
            | PutError::TimedOut(v)
            | PutError::Closed(v)
            | PutError::Forked(v)
            | PutError::Corrupt(v)
            | PutError::PeersGone(v)
            | PutError::RecoveryUnavailable(v)
            | PutError::Unencodable { value: v, .. }
            | PutError::TooLarge { value: v, .. }
            | PutError::SideTaken { value: v, .. }
            | PutError::System { value: v, .. } => v,
        }
    }

    /// The same error about another value: `map(drop)` makes one that `?` can carry out of
    /// a function where the value cannot go.
    ///
    /// ```
    /// use ringway::PutError;
    ///
    /// assert_eq!(PutError::Full("long").map(str::len), PutError::Full(4));
    /// ```
    pub fn map<W>(self, f: impl FnOnce(V) -> W) -> PutError<W> {
        match self {
            PutError::Full(v) => PutError::Full(f(v)),
            PutError::TimedOut(v) => PutError::TimedOut(f(v)),
            PutError::Closed(v) => PutError::Closed(f(v)),
            PutError::Forked(v) => PutError::Forked(f(v)),
            PutError::Corrupt(v) => PutError::Corrupt(f(v)),
            PutError::PeersGone(v) => PutError::PeersGone(f(v)),
            PutError::RecoveryUnavailable(v) => PutError::RecoveryUnavailable(f(v)),
            PutError::TooLarge { value, len, max } => PutError::TooLarge { value: f(value), len, max },
            PutError::Unencodable { value, source } => PutError::Unencodable { value: f(value), source },
            PutError::SideTaken { value, holder } => PutError::SideTaken { value: f(value), holder },
            PutError::System { value, kind } => PutError::System { value: f(value), kind },
        }
    }

    /// No room right now.
    pub fn is_full(&self) -> bool {
        matches!(self, PutError::Full(_))
    }

    /// The queue takes no more messages.
    pub fn is_closed(&self) -> bool {
        matches!(self, PutError::Closed(_))
    }

    /// The deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, PutError::TimedOut(_))
    }

    /// The other side was there and is gone.
    pub fn is_peers_gone(&self) -> bool {
        matches!(self, PutError::PeersGone(_))
    }

    fn kind(&self) -> io::ErrorKind {
        match self {
            PutError::Full(_) => io::ErrorKind::WouldBlock,
            PutError::TimedOut(_) => io::ErrorKind::TimedOut,
            PutError::Closed(_) | PutError::PeersGone(_) => io::ErrorKind::BrokenPipe,
            PutError::TooLarge { .. } | PutError::Unencodable { .. } => io::ErrorKind::InvalidInput,
            PutError::SideTaken { .. } => io::ErrorKind::ResourceBusy,
            PutError::System { kind, .. } => *kind,
            PutError::Forked(_) | PutError::RecoveryUnavailable(_) => io::ErrorKind::Unsupported,
            PutError::Corrupt(_) => io::ErrorKind::InvalidData,
        }
    }
}

impl<V> fmt::Display for PutError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PutError::Full(_) => f.write_str("the queue is full; take messages out, or use put to wait"),
            PutError::TimedOut(_) => {
                f.write_str("the queue stayed full until the deadline; are its consumers running?")
            }
            PutError::Closed(_) => f.write_str("the queue is closed and takes no more messages"),
            PutError::Unencodable { source, .. } => {
                write!(f, "the message could not be encoded: {source}; nothing was put")
            }
            PutError::TooLarge { len, max, .. } => {
                write!(
                    f,
                    "a message of {len} bytes cannot be put: this queue takes at most {max}; create it with a larger max_message"
                )
            }
            PutError::SideTaken { holder: Some(pid), .. } => {
                write!(f, "the Single producers' side is held by another handle (process {pid})")
            }
            PutError::SideTaken { holder: None, .. } => {
                f.write_str("the Single producers' side is held by another handle")
            }
            PutError::System { kind, .. } => {
                write!(f, "the system refused what the put needs (a descriptor, a thread, memory): {kind}")
            }
            PutError::Forked(_) => f.write_str("this handle was inherited by fork; open the queue anew in the child"),
            PutError::PeersGone(_) => f.write_str("every consumer of the queue has left or died"),
            PutError::RecoveryUnavailable(_) => f.write_str(UNAVAILABLE),
            PutError::Corrupt(_) => {
                f.write_str("the queue's shared memory contradicts itself; a peer has damaged it, recreate the queue")
            }
        }
    }
}

impl<V> fmt::Debug for PutError<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            PutError::Full(_) => "Full",
            PutError::TimedOut(_) => "TimedOut",
            PutError::Closed(_) => "Closed",
            PutError::TooLarge { len, max, .. } => return write!(f, "TooLarge {{ len: {len}, max: {max}, .. }}"),
            PutError::Unencodable { source, .. } => return write!(f, "Unencodable {{ source: {source:?}, .. }}"),
            PutError::SideTaken { holder, .. } => return write!(f, "SideTaken {{ holder: {holder:?}, .. }}"),
            PutError::System { kind, .. } => return write!(f, "System {{ kind: {kind:?}, .. }}"),
            PutError::Forked(_) => "Forked",
            PutError::Corrupt(_) => "Corrupt",
            PutError::PeersGone(_) => "PeersGone",
            PutError::RecoveryUnavailable(_) => "RecoveryUnavailable",
        };
        write!(f, "{name}(..)")
    }
}

impl<V> std::error::Error for PutError<V> {}

impl<V> From<PutError<V>> for io::Error {
    fn from(error: PutError<V>) -> io::Error {
        io::Error::new(error.kind(), error.map(|_| ()))
    }
}

/// A `put_many` that was interrupted: how many messages went in, and why no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutManyError {
    /// The first `put` messages of the slice are in the queue.
    pub put: usize,
    /// What stopped it.
    pub cause: PutError<()>,
}

impl PutManyError {
    /// After so many that went in before.
    pub(super) fn after(self, before: usize) -> PutManyError {
        PutManyError { put: before + self.put, ..self }
    }
}

impl fmt::Display for PutManyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (after {} messages)", self.cause, self.put)
    }
}

impl std::error::Error for PutManyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.cause)
    }
}

impl From<PutManyError> for io::Error {
    fn from(error: PutManyError) -> io::Error {
        io::Error::new(error.cause.kind(), error)
    }
}

/// Elements that are not there, or bytes that are no element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeError {
    /// Elements `at..at + count` of a message of `len`.
    OutOfRange {
        /// The first of them.
        at: usize,
        /// How many.
        count: usize,
        /// How many there are.
        len: usize,
    },
    /// The bytes of element `at` are none of its type.
    BadPattern {
        /// Which element.
        at: usize,
    },
}

impl RangeError {
    pub(super) fn check(at: usize, count: usize, len: usize) -> Result<(), RangeError> {
        let fits = at <= len && count <= len - at;
        if fits { Ok(()) } else { Err(RangeError::OutOfRange { at, count, len }) }
    }

    pub(super) fn bad(at: usize) -> RangeError {
        RangeError::BadPattern { at }
    }
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RangeError::OutOfRange { at, count, len } => {
                write!(f, "elements {at} to {} of a message that has {len}", at.saturating_add(*count))
            }
            RangeError::BadPattern { at } => write!(f, "the bytes of element {at} are none of its type"),
        }
    }
}

impl std::error::Error for RangeError {}

/// Why no message was taken.
///
/// Two bytes at most, so that the message in a `Result<T, GetError>` keeps a place
/// of its own: a larger error would overlap it, and the compiler then moves the
/// message in odd pieces (measured: 13 to 20 ns for 56 bytes instead of 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GetError {
    /// `try_get` only: there is no message right now.
    Empty,
    /// The deadline passed while the queue was empty.
    TimedOut,
    /// The queue is closed, and everything that was put has been taken.
    Closed,
    /// A message was taken whose bytes are no value of the queue's type. It is
    /// gone; the queue goes on.
    Undecodable,
    /// A message was taken that carries the handle of a queue which cannot be opened here: the process that
    /// put it has dropped that queue, ended, or may not be looked into. The message is gone; this
    /// queue goes on. A named queue can be opened as long as it is there.
    HandleUnreachable,
    /// Another live handle holds the `Single` consumers' side; `consumer()` says
    /// which process.
    SideTaken,
    /// The system refused what the call needed of it: a descriptor to take the `Single` side, or a
    /// thread or a ring to wait asynchronously.
    System {
        /// What it said.
        kind: io::ErrorKind,
    },
    /// This handle was inherited by `fork`: open the queue anew in the child.
    Forked,
    /// The segment contradicts itself: a peer has scribbled in it. This handle
    /// says so from now on; others may go on.
    Corrupt,
    /// The queue is empty, and every handle that could put has left or died. Only where the
    /// option [`peers_gone`](crate::Options::peers_gone) is on, as it is for anonymous
    /// queues.
    PeersGone,
    /// Another participant is in the way, and whether it has died cannot be found out:
    /// the segment's descriptor was closed behind our back. Open the queue again.
    RecoveryUnavailable,
    /// A subscriber of a broadcast was so slow that messages were overwritten before it came to
    /// them: [`missed`](crate::Subscriber::missed) says how many so far. The next call goes on
    /// behind the gap.
    Lagged,
    /// This handle holds as many leases as the queue's option
    /// [`leases`](crate::Options::leases) allows, or the queue has no place for another.
    TooManyLeases,
}

impl GetError {
    /// Of a message that was taken and is no value, after which this thread's decoder has left a note or not.
    pub(super) fn of_decoding() -> GetError {
        #[cfg(feature = "serde")]
        if crate::handover::was_not_reached() {
            return GetError::HandleUnreachable;
        }
        GetError::Undecodable
    }

    /// Whether only one message was bad, and the queue goes on.
    pub(crate) fn costs_one_message(&self) -> bool {
        matches!(self, GetError::Undecodable | GetError::HandleUnreachable)
    }

    /// No message right now.
    pub fn is_empty(&self) -> bool {
        matches!(self, GetError::Empty)
    }

    /// Closed and drained.
    pub fn is_closed(&self) -> bool {
        matches!(self, GetError::Closed)
    }

    /// The deadline passed.
    pub fn is_timed_out(&self) -> bool {
        matches!(self, GetError::TimedOut)
    }

    /// Messages were missed; the next call goes on.
    pub fn is_lagged(&self) -> bool {
        matches!(self, GetError::Lagged)
    }

    /// Empty, and the other side was there and is gone.
    pub fn is_peers_gone(&self) -> bool {
        matches!(self, GetError::PeersGone)
    }
}

impl fmt::Display for GetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GetError::Empty => f.write_str("the queue is empty; use get to wait"),
            GetError::TimedOut => f.write_str("the queue stayed empty until the deadline; are its producers running?"),
            GetError::Closed => f.write_str("the queue is closed and drained"),
            GetError::Undecodable => {
                f.write_str("a message was no valid value of this type and was dropped; the queue goes on")
            }
            GetError::HandleUnreachable => f.write_str(
                "a message carried the handle of a queue that cannot be opened here, and was dropped; \
                 hand over named queues, or keep the handle until it was opened",
            ),
            GetError::SideTaken => f.write_str("the Single consumers' side is held by another handle"),
            GetError::System { kind } => {
                write!(f, "the system refused what the get needs (a descriptor, a thread): {kind}")
            }
            GetError::Forked => f.write_str("this handle was inherited by fork; open the queue anew in the child"),
            GetError::PeersGone => f.write_str("the queue is empty, and every producer has left or died"),
            GetError::RecoveryUnavailable => f.write_str(UNAVAILABLE),
            GetError::Lagged => {
                f.write_str("messages were overwritten before this subscriber came to them; it goes on behind the gap")
            }
            GetError::TooManyLeases => {
                f.write_str("no further lease; acknowledge some, or create the queue with more leases")
            }
            GetError::Corrupt => {
                f.write_str("the queue's shared memory contradicts itself; a peer has damaged it, recreate the queue")
            }
        }
    }
}

impl std::error::Error for GetError {}

impl From<GetError> for io::Error {
    fn from(error: GetError) -> io::Error {
        let kind = match error {
            GetError::Empty => io::ErrorKind::WouldBlock,
            GetError::TimedOut => io::ErrorKind::TimedOut,
            GetError::Closed | GetError::PeersGone => io::ErrorKind::BrokenPipe,
            GetError::HandleUnreachable => io::ErrorKind::NotFound,
            GetError::Undecodable | GetError::Corrupt => io::ErrorKind::InvalidData,
            GetError::SideTaken | GetError::TooManyLeases => io::ErrorKind::ResourceBusy,
            GetError::System { kind } => kind,
            GetError::Lagged => io::ErrorKind::Other,
            GetError::Forked | GetError::RecoveryUnavailable => io::ErrorKind::Unsupported,
        };
        io::Error::new(kind, error)
    }
}

const _: () = assert!(size_of::<GetError>() <= 2);
