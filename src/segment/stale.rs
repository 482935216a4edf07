//! What the dead have left: ephemeral names whose participants are all gone.
//!
//! Whoever opens or creates a queue sweeps its directory for a moment, and `clean` does all
//! of it. Both remove a name by the one proof there is (no life or role byte is held, seen
//! again under the admin byte, and the name still means this inode), and keep everything
//! else: what is persistent, in use or just being opened, what has an unreadable header, and
//! what another layout version made. Where *its* life bytes are is not ours to guess.

use super::directory::{Directory, SegmentName};
use super::header::{Lifetime, MARKS_LEN};
use super::lifecycle::{GHOST_ATTEMPTS, Place, Segment, check_file};
use super::members::Population;
use super::survey;
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::seeded;
use crate::sys::look;
use crate::sys::shm;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What looking for stale names may add to an open or a create.
const SWEEP_TIME: Duration = Duration::from_millis(1);

/// Names that a sweep looks at without asking the clock: a process that was just not running
/// has still looked at some. They cost less than a tenth of its time.
const UNTIMED_NAMES: u32 = 16;

/// What became of a name.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// It is removed, or would have been; it had this many bytes.
    Removed(u64),
    Kept(Kept),
}

/// Why a name stays.
#[derive(Debug)]
pub(crate) enum Kept {
    Persistent,
    /// Somebody is attached.
    Alive,
    /// Nobody is attached, but a process that was just started still has a copy of a lock.
    Ghosts,
    /// Somebody opens or removes it right now.
    Busy,
    OtherVersion(u32),
    /// Damaged, or no segment of ours.
    Unreadable(SetupError),
    /// It went away meanwhile.
    Gone,
}

/// How to judge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Sweep,
    Clean,
    DryRun,
}

/// Removes what is stale beside `place`, for at most about a millisecond. It begins somewhere
/// else each time, so that every name gets its turn, however many there are.
pub(super) fn sweep(place: &Place) {
    if seeded(22) {
        return;
    }
    let start = random_start();
    let mut sweep =
        Sweep { place, deadline: Instant::now() + SWEEP_TIME, untimed: UNTIMED_NAMES, first: OsString::new() };
    if sweep.from(start) && start > 0 {
        sweep.from(0);
    }
}

struct Sweep<'p> {
    place: &'p Place,
    deadline: Instant,
    untimed: u32,
    /// The first name that was met, which ends the second half. Empty: none yet.
    first: OsString,
}

impl Sweep<'_> {
    /// From a place in the directory to its end. False: there was no time for that.
    fn from(&mut self, start: u64) -> bool {
        let Ok(entries) = look::entries(&self.place.directory.file, start) else { return true };
        for entry in entries {
            if self.is_over() {
                return false;
            }
            let Ok((name, regular)) = entry else { return true };
            if name == self.first {
                return true;
            }
            if self.first.is_empty() {
                self.first.clone_from(&name);
            }
            if regular && name != OsStr::new(self.place.name.as_str()) {
                self.look_at(&name);
            }
        }
        true
    }

    fn look_at(&self, name: &OsStr) {
        let Ok(name) = SegmentName::new(name) else { return };
        let other = Place { directory: Arc::clone(&self.place.directory), name };
        if let Verdict::Removed(bytes) = judge(&other, Mode::Sweep) {
            crate::event!("removed stale segment {} ({bytes} bytes): nobody is attached", other.name.as_str());
        }
    }

    fn is_over(&mut self) -> bool {
        if self.untimed > 0 {
            self.untimed -= 1;
            return false;
        }
        Instant::now() >= self.deadline
    }
}

/// A place in a directory. What the numbers mean is the file system's business (a count of
/// entries, or a number that each entry gets when it is made), so the magnitude is random too.
fn random_start() -> u64 {
    // The only source of random numbers in the standard library; it costs no system call.
    let random = std::hash::RandomState::new().build_hasher().finish();
    let bits = (random >> 56) % 33;
    random & ((1 << bits) - 1)
}

/// Looks at everything in the directory, and removes what is stale, unless this is only a
/// rehearsal.
pub(crate) fn clean(directory: Arc<Directory>, dry_run: bool) -> Result<Vec<(String, Verdict)>, SetupError> {
    let mode = if dry_run { Mode::DryRun } else { Mode::Clean };
    let judged = survey::names(&directory)?.into_iter().map(|name| {
        let verdict = match SegmentName::new(&name) {
            Ok(name) => judge(&Place { directory: Arc::clone(&directory), name }, mode),
            Err(error) => Verdict::Kept(Kept::Unreadable(error)),
        };
        if let Verdict::Removed(bytes) = verdict
            && !dry_run
        {
            crate::event!("removed stale segment {} ({bytes} bytes): nobody is attached", name.display());
        }
        (name.to_string_lossy().into_owned(), verdict)
    });
    Ok(judged.collect())
}

/// Removes a name if it is stale.
fn judge(place: &Place, mode: Mode) -> Verdict {
    try_judge(place, mode).unwrap_or_else(|error| {
        Verdict::Kept(match error.kind() {
            SetupErrorKind::VersionMismatch { found, .. } => Kept::OtherVersion(*found),
            _ => Kept::Unreadable(error),
        })
    })
}

fn try_judge(place: &Place, mode: Mode) -> Result<Verdict, SetupError> {
    let examining = |e| SetupError::system("examining the file", e);
    let directory = &place.directory.file;
    // Opening what is no file could wake somebody; a sweep has asked the directory.
    if mode != Mode::Sweep {
        match shm::stat_named(directory, place.name.as_str()).map_err(examining)? {
            None => return Ok(Verdict::Kept(Kept::Gone)),
            Some(stat) => check_file(&stat)?,
        }
    }
    let Some(file) = shm::open_named(directory, place.name.as_str()).map_err(examining)? else {
        return Ok(Verdict::Kept(Kept::Gone));
    };
    let seeded = seeded(20) && mode != Mode::DryRun;
    if mode == Mode::Sweep && !seeded && Segment::population(&file, MARKS_LEN as u32) == Population::Alive {
        // The usual case, at the price of one question.
        return Ok(Verdict::Kept(Kept::Alive));
    }
    let header = Segment::read_header(&file)?;
    if header.plan.lifetime == Lifetime::Persistent {
        return Ok(Verdict::Kept(Kept::Persistent));
    }
    let max = header.plan.max_participants;
    let stale = match mode {
        _ if seeded => shm::unlink_named(directory, place.name.as_str()).is_ok(),
        Mode::Sweep => Segment::unlink_if_deserted(&file, place, max, 0),
        Mode::Clean => Segment::unlink_if_deserted(&file, place, max, GHOST_ATTEMPTS),
        Mode::DryRun => Segment::population(&file, max) == Population::Nobody,
    };
    if stale {
        return Ok(Verdict::Removed(header.total_size));
    }
    Ok(Verdict::Kept(match Segment::population(&file, max) {
        Population::Alive => Kept::Alive,
        Population::Ghosts => Kept::Ghosts,
        Population::Nobody if shm::stat(&file).is_ok_and(|now| now.links == 0) => Kept::Gone,
        Population::Nobody => Kept::Busy,
    }))
}
