//! Errors of setting up: creating, opening, taking an end. The errors of one
//! operation (`PutError`, `GetError`) live beside the operations.

use std::fmt;
use std::io;

/// Why a queue could not be created, opened or joined.
///
/// The message says what happened and what to do; [`kind`](SetupError::kind)
/// says it to a program.
#[derive(Debug)]
pub struct SetupError {
    kind: SetupErrorKind,
    source: Option<io::Error>,
}

/// What went wrong while setting up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupErrorKind {
    /// A queue's name is one path component of 1 to 200 bytes of UTF-8, without
    /// `/` or NUL, and not `.` or `..`.
    InvalidName {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An option is out of range.
    InvalidOptions {
        /// Which, and the range.
        reason: String,
    },
    /// `create`: the name is in use.
    AlreadyExists,
    /// `open`: there is no such name.
    NotFound,
    /// `open_timeout`: the name did not appear in time.
    TimedOut,
    /// The name belongs to something that is not a ringway segment of ours.
    NotASegment {
        /// What it is instead.
        reason: String,
    },
    /// The segment was made by another version of ringway.
    VersionMismatch {
        /// The layout version that this library reads.
        expected: u32,
        /// The layout version of the segment.
        found: u32,
    },
    /// The segment is fine, but not what the caller asked for.
    Mismatch {
        /// Which property differs.
        what: &'static str,
        /// What the caller asked for.
        expected: String,
        /// What the segment has.
        found: String,
    },
    /// The directory of named segments cannot be used.
    Directory {
        /// Which directory, and why not.
        reason: String,
    },
    /// Not enough memory, decided before any was taken.
    NoSpace {
        /// Bytes that the segment needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// What sets the limit.
        limited_by: &'static str,
    },
    /// All `max_participants` places are taken by live handles.
    TooManyParticipants {
        /// The segment's limit.
        max: u32,
    },
    /// Another live handle holds this `Single` side.
    SideTaken {
        /// Its process, for display; it proves nothing.
        holder: Option<u32>,
    },
    /// The queue is closed: it has no messages left, or a producer was asked for.
    Closed,
    /// The handle was inherited by `fork`; open the queue anew in the child.
    Forked,
    /// Others kept creating and removing this name, or attaching to it.
    Busy,
    /// `/proc` is not mounted.
    NoProc,
    /// Deaths cannot be proven any more: the segment's descriptor was closed behind our
    /// back (`close_range`, `closefrom`), and it cannot be opened again.
    RecoveryUnavailable,
    /// The anonymous queue of a handle that was handed over cannot be reached: its holder is
    /// gone or not permitted to be looked into, or what was handed over is something else.
    HandleUnreachable {
        /// Which of them.
        reason: String,
    },
    /// The name of a handle that was handed over means another queue by now.
    Replaced,
    /// A text is no ticket of a handle.
    InvalidTicket {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The process at the other end of a socket is none of this user's.
    ForeignPeer {
        /// Its user.
        user: u32,
    },
    /// The system refused something else; see the source.
    System {
        /// What was being done.
        doing: &'static str,
    },
}

impl SetupError {
    pub(crate) fn new(kind: SetupErrorKind) -> SetupError {
        SetupError { kind, source: None }
    }

    pub(crate) fn system(doing: &'static str, source: io::Error) -> SetupError {
        SetupError { kind: SetupErrorKind::System { doing }, source: Some(source) }
    }

    pub(crate) fn directory(reason: String, source: Option<io::Error>) -> SetupError {
        SetupError { kind: SetupErrorKind::Directory { reason }, source }
    }

    pub(crate) fn unreachable(reason: impl Into<String>, source: Option<io::Error>) -> SetupError {
        SetupError { kind: SetupErrorKind::HandleUnreachable { reason: reason.into() }, source }
    }

    pub(crate) fn options(reason: impl Into<String>) -> SetupError {
        SetupError::new(SetupErrorKind::InvalidOptions { reason: reason.into() })
    }

    pub(crate) fn not_a_segment(reason: impl Into<String>) -> SetupError {
        SetupError::new(SetupErrorKind::NotASegment { reason: reason.into() })
    }

    /// What went wrong, for a program.
    pub fn kind(&self) -> &SetupErrorKind {
        &self.kind
    }

    /// The name to open does not exist (yet).
    pub fn is_not_found(&self) -> bool {
        self.kind == SetupErrorKind::NotFound
    }

    /// The queue is not what the caller asked for.
    pub(crate) fn is_mismatch(&self) -> bool {
        matches!(self.kind, SetupErrorKind::Mismatch { .. })
    }

    /// The name to create is taken.
    pub fn is_already_exists(&self) -> bool {
        self.kind == SetupErrorKind::AlreadyExists
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SetupErrorKind as K;
        match &self.kind {
            K::InvalidName { reason } => {
                write!(f, "invalid queue name: {reason}; use 1 to 200 bytes of UTF-8 without '/' or NUL")
            }
            K::InvalidOptions { reason } => write!(f, "invalid options: {reason}"),
            K::AlreadyExists => f.write_str("a queue of this name exists; open it, or remove it first"),
            K::NotFound => f.write_str("no queue of this name; create it first, or wait for it with open_timeout"),
            K::TimedOut => f.write_str("no queue of this name appeared in time; is its creator running?"),
            K::NotASegment { reason } => {
                write!(f, "this name is not a ringway segment: {reason}; choose another name or remove the file")
            }
            K::VersionMismatch { expected, found } => write!(
                f,
                "the segment has layout version {found}, this library reads version {expected}; \
                 use the same ringway version on both sides"
            ),
            K::Mismatch { what, expected, found } => {
                write!(f, "the queue's {what} is {found}, but {expected} was asked for")
            }
            K::Directory { reason } => {
                write!(f, "{reason}; set RINGWAY_DIR to a directory of your own on a tmpfs")
            }
            K::NoSpace { needed, free, limited_by } => write!(
                f,
                "the queue needs {needed} bytes, {limited_by} has {free} left; make it smaller, free memory, \
                 or raise that limit (in a container: --shm-size)"
            ),
            K::TooManyParticipants { max } => write!(
                f,
                "all {max} places of the queue are taken; drop handles, or create it with a larger max_participants"
            ),
            K::SideTaken { holder: Some(pid) } => {
                write!(f, "this Single side is held by another handle (process {pid}); wait for it, or use Side::Multi")
            }
            K::SideTaken { holder: None } => {
                f.write_str("this Single side is held by another handle; wait for it, or use Side::Multi")
            }
            K::Closed => f.write_str("the queue is closed"),
            K::Forked => f.write_str("this handle was inherited by fork; open the queue anew in the child"),
            K::Busy => f.write_str("other processes keep creating and removing this name; try again"),
            K::NoProc => f.write_str("/proc is not mounted, and ringway re-opens its descriptors through it; mount it"),
            K::RecoveryUnavailable => f.write_str(
                "this process cannot look for the dead any more: its descriptor of the segment was closed; \
                 open the queue again, or let another process recover",
            ),
            K::HandleUnreachable { reason } => write!(
                f,
                "the anonymous queue that was handed over cannot be reached: {reason}; keep the sender's handle \
                 until the receiver has opened its own, or use a named queue"
            ),
            K::Replaced => f.write_str(
                "the name of the handle that was handed over means another queue by now; hand the new one over",
            ),
            K::InvalidTicket { reason } => {
                write!(f, "this is no ticket of a handle: {reason}; make one with ticket(), and pass all of it on")
            }
            K::ForeignPeer { user } => write!(
                f,
                "the process at the other end of the socket belongs to user {user}; hand over between processes of \
                 one user, or from root"
            ),
            K::System { doing } => write!(f, "{doing} failed"),
        }?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|e| e as _)
    }
}

impl From<SetupError> for io::Error {
    fn from(error: SetupError) -> io::Error {
        use SetupErrorKind as K;
        use io::ErrorKind as E;
        let kind = match &error.kind {
            K::InvalidName { .. } | K::InvalidOptions { .. } | K::Mismatch { .. } => E::InvalidInput,
            K::AlreadyExists => E::AlreadyExists,
            K::NotFound | K::HandleUnreachable { .. } | K::Replaced => E::NotFound,
            K::TimedOut => E::TimedOut,
            K::NotASegment { .. } | K::VersionMismatch { .. } | K::InvalidTicket { .. } => E::InvalidData,
            K::NoSpace { .. } => E::StorageFull,
            K::SideTaken { .. } | K::TooManyParticipants { .. } | K::Busy => E::ResourceBusy,
            K::Closed => E::BrokenPipe,
            K::Forked | K::NoProc | K::RecoveryUnavailable => E::Unsupported,
            K::Directory { .. } | K::ForeignPeer { .. } => E::PermissionDenied,
            K::System { .. } => error.source.as_ref().map_or(E::Other, io::Error::kind),
        };
        io::Error::new(kind, error)
    }
}
