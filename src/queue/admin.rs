//! Looking at queues from outside, and removing what nobody uses: what the command
//! `ringway` does, for programs.
//!
//! | function | does |
//! |---|---|
//! | [`list`], [`list_anonymous`] | every queue in short |
//! | [`inspect`] | one queue in detail |
//! | [`clean`] | removes the ephemeral names whose participants are all gone |
//! | [`remove`] | removes a name, whoever uses it |
//!
//! The first three only look: the files are read, never mapped, written or locked, so that
//! they work on a queue whose users are all dead and on a damaged one, and disturb
//! nobody. That somebody is alive is proven by locks of the kernel, as everywhere in
//! ringway; pids are shown and prove nothing.
//!
//! Every `directory` may be `None`: then it is `RINGWAY_DIR`, else `/dev/shm/ringway-UID`.
//!
//! ```
//! use ringway::{ByteQueue, Options, admin};
//!
//! # let dir = tempfile::tempdir_in("/dev/shm")?;
//! # let path = dir.path();
//! let queue = ByteQueue::create("jobs", Options::new(8).directory(path))?;
//! queue.put(b"one")?;
//! let seen = admin::inspect(Some(path), &"jobs".parse()?)?;
//! assert_eq!(seen.ring.map(|ring| ring.depth), Some(1));
//! assert_eq!(seen.participants[0].life, admin::Life::Alive);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub use super::inspect::{
    BlockClass, Facts, Growth, Holder, Intent, LeaseState, Life, Messages, Operation, Participant, Pause, RingState,
    Snapshot, SubscriberState,
};
use super::inspect::{outline, snapshot};
use super::options::Options;
use crate::error::{SetupError, SetupErrorKind};
use crate::segment::{self, Directory, Kept, Segment, SegmentName, Survey, Verdict};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Where a queue is: its name, or `PID/FD`, a process and one of its descriptors, for an
/// anonymous one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Location {
    /// In the directory, under this name. Where a file's name is not UTF-8, something else
    /// stands for what is not.
    Named(String),
    /// In a process.
    Anonymous {
        /// Its pid.
        pid: u32,
        /// The descriptor.
        fd: u32,
    },
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Location::Named(name) => f.write_str(name),
            Location::Anonymous { pid, fd } => write!(f, "{pid}/{fd}"),
        }
    }
}

impl FromStr for Location {
    type Err = SetupError;

    /// A name has no `/` in it.
    fn from_str(text: &str) -> Result<Location, SetupError> {
        let Some((pid, fd)) = text.split_once('/') else {
            return Ok(Location::Named(SegmentName::new(OsStr::new(text))?.as_str().to_owned()));
        };
        match (pid.parse(), fd.parse()) {
            (Ok(pid), Ok(fd)) => Ok(Location::Anonymous { pid, fd }),
            _ => Err(SetupError::new(SetupErrorKind::InvalidName { reason: "it is neither a name nor PID/FD" })),
        }
    }
}

/// One line of a list.
#[derive(Debug)]
#[non_exhaustive]
pub struct Listed {
    /// Where it is.
    pub location: Location,
    /// What it is, or why it is no queue that this library can read.
    pub queue: Result<Summary, SetupError>,
}

/// A queue in short.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// What is fixed.
    pub facts: Facts,
    /// Messages put and not taken; `None` if that cannot be read.
    pub depth: Option<u64>,
    /// No put succeeds any more.
    pub closed: bool,
    /// Participants that live.
    pub alive: u32,
    /// Participants that have died and were not cleaned up after.
    pub dead: u32,
    /// What is wrong with it, if its header is damaged or the file was cut: nobody can
    /// open it.
    pub problem: Option<String>,
}

/// The directory that `directory` means. It need not exist.
pub fn directory_path(directory: Option<&Path>) -> PathBuf {
    Directory::path(directory)
}

/// Everything in the directory, in alphabetical order; nothing if there is no directory.
///
/// # Errors
///
/// `Directory`, `System`.
pub fn list(directory: Option<&Path>) -> Result<Vec<Listed>, SetupError> {
    let Some(directory) = Directory::existing(directory)? else { return Ok(Vec::new()) };
    let listed = segment::names(&directory)?.into_iter().filter_map(|name| {
        let survey = Survey::named(&directory, &name).transpose()?;
        let location = Location::Named(name.to_string_lossy().into_owned());
        Some(Listed { location, queue: survey.map(|survey| summary(&survey)) })
    });
    Ok(listed.collect())
}

/// The anonymous queues of this user's processes, each once, by the first process that has
/// it. A process that has closed descriptors which are not its own (`close_range`) is not found.
pub fn list_anonymous() -> Vec<Listed> {
    let listed = |(pid, fd, survey): (u32, u32, Survey)| Listed {
        location: Location::Anonymous { pid, fd },
        queue: Ok(summary(&survey)),
    };
    segment::anonymous().into_iter().map(listed).collect()
}

fn summary(survey: &Survey) -> Summary {
    let presences = survey.presences();
    let count = |held| presences.iter().filter(|p| p.attached && p.held == held).count() as u32;
    let outline = outline(survey);
    Summary {
        facts: Facts::of(survey),
        depth: outline.map(|(depth, _)| depth),
        closed: outline.is_some_and(|(_, closed)| closed),
        alive: count(true),
        dead: count(false),
        problem: survey.damage.as_ref().map(ToString::to_string),
    }
}

/// One queue in detail, also if its users are dead or it is damaged. Where something is
/// unfinished it looks twice, 20 ms apart, and tells what has not moved.
///
/// # Errors
///
/// `NotFound`, `NotASegment` and `VersionMismatch` (there is no header that could be read),
/// `Directory`, `System`.
pub fn inspect(directory: Option<&Path>, location: &Location) -> Result<Snapshot, SetupError> {
    let survey = match location {
        Location::Named(name) => {
            let name = SegmentName::new(OsStr::new(name))?;
            let directory = Directory::existing(directory)?;
            directory.map(|directory| Survey::named(&directory, OsStr::new(name.as_str()))).transpose()?.flatten()
        }
        Location::Anonymous { pid, fd } => Survey::descriptor(*pid, *fd)?,
    };
    let survey = survey.ok_or_else(|| SetupError::new(SetupErrorKind::NotFound))?;
    Ok(snapshot(&survey))
}

/// Whether [`clean`] acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cleaning {
    /// Remove what is stale.
    Remove,
    /// Only say what would be removed.
    DryRun,
}

/// What became of a name in the directory.
#[derive(Debug)]
#[non_exhaustive]
pub struct Cleaned {
    /// The name; something stands for what is not UTF-8.
    pub name: String,
    /// What, and why.
    pub outcome: Outcome,
}

/// Why a name was removed or kept. Its text is one for a person.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Ephemeral, and nobody is attached: removed, or it would have been.
    Removed {
        /// The bytes that it had.
        bytes: u64,
    },
    /// Kept: it is persistent.
    Persistent,
    /// Kept: somebody is attached.
    InUse,
    /// Kept: nobody is attached, but a process that was just started has a copy of a lock.
    Ghosts,
    /// Kept: somebody is opening or removing it right now.
    Busy,
    /// Kept: another version of ringway made it, whose locks this one does not know.
    OtherVersion {
        /// Its layout version.
        found: u32,
    },
    /// Kept: it is damaged, or no queue of ours.
    Unreadable(SetupError),
    /// It went away meanwhile.
    Gone,
}

impl Outcome {
    /// Whether it was removed, or would have been.
    pub fn is_removed(&self) -> bool {
        matches!(self, Outcome::Removed { .. })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Removed { bytes } => write!(f, "ephemeral, and nobody is attached; {bytes} bytes"),
            Outcome::Persistent => f.write_str("persistent: it stays until it is removed by name"),
            Outcome::InUse => f.write_str("in use"),
            Outcome::Ghosts => f.write_str("a process that was just started still has a copy of a lock; try again"),
            Outcome::Busy => f.write_str("somebody is opening or removing it right now; try again"),
            Outcome::OtherVersion { found } => {
                write!(f, "made by another version of ringway (layout {found}): clean with that version")
            }
            Outcome::Unreadable(error) => write!(f, "{error}"),
            Outcome::Gone => f.write_str("it went away meanwhile"),
        }
    }
}

/// Removes every ephemeral name whose participants are all gone, as each open and create
/// does for a moment. Never a live one, a persistent one, or a file that is not a queue of
/// this version. Waits for at most 10 ms for each name that only ghosts hold.
///
/// # Errors
///
/// `Directory`, `System`.
///
/// ```
/// use ringway::admin::{self, Cleaning};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # let path = dir.path();
/// for seen in admin::clean(Some(path), Cleaning::DryRun)? {
///     println!("{}: {}", seen.name, seen.outcome);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn clean(directory: Option<&Path>, cleaning: Cleaning) -> Result<Vec<Cleaned>, SetupError> {
    let Some(directory) = Directory::existing(directory)? else { return Ok(Vec::new()) };
    let judged = segment::clean(Arc::new(directory), cleaning == Cleaning::DryRun)?;
    let cleaned = |(name, verdict)| Cleaned { name, outcome: outcome(verdict) };
    Ok(judged.into_iter().map(cleaned).collect())
}

fn outcome(verdict: Verdict) -> Outcome {
    match verdict {
        Verdict::Removed(bytes) => Outcome::Removed { bytes },
        Verdict::Kept(Kept::Persistent) => Outcome::Persistent,
        Verdict::Kept(Kept::Alive) => Outcome::InUse,
        Verdict::Kept(Kept::Ghosts) => Outcome::Ghosts,
        Verdict::Kept(Kept::Busy) => Outcome::Busy,
        Verdict::Kept(Kept::OtherVersion(found)) => Outcome::OtherVersion { found },
        Verdict::Kept(Kept::Unreadable(error)) => Outcome::Unreadable(error),
        Verdict::Kept(Kept::Gone) => Outcome::Gone,
    }
}

/// As [`unlink`](crate::unlink), in a directory: removes a name, whoever uses it.
///
/// # Errors
///
/// As [`unlink`](crate::unlink).
pub fn remove(directory: Option<&Path>, name: impl AsRef<OsStr>) -> Result<(), SetupError> {
    let options = match directory {
        Some(directory) => Options::default().directory(directory),
        None => Options::default(),
    };
    Segment::unlink(&options.place(name.as_ref())?)
}
