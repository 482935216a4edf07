//! Who is attached, and the proof of it.
//!
//! Participant i holds a write lock on *life byte* i of the segment's inode,
//! through a description of its own that only a mapping keeps alive (an
//! *anchor*). The kernel releases it when the address space goes, whatever
//! killed it, and nothing else does. Nobody but its owner ever locks a life
//! byte; others test it. The holder of a Single side has that side's *role
//! byte* locked in the same way.
//!
//! Whoever does something about index i that is not its own (finishing what a dead
//! participant left, taking the index) holds *keep byte* i for it, through a
//! description of its own, and lets go of it at once. An index is taken only after what its last owner
//! left was finished.
//!
//! While a description has a descriptor (from opening it until its anchor is mapped), a `fork`
//! in another thread would copy that, and the lock would outlive us until the child executes
//! or ends. So forks are held off meanwhile. One that cannot be (`clone` by hand,
//! a window that lasts too long) makes a *ghost*, which is told from a living participant by
//! the attachment marks only if it has left.

use super::header::{MARKS_LEN, MARKS_OFFSET};
use super::lifecycle::Segment;
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::{Ordering, seeded};
use crate::sys::fork::{self, HoldOff};
use crate::sys::lock::{self, Kind};
use crate::sys::mem::Anchor;
use crate::sys::shm;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Held shared while attaching, exclusively while unlinking.
pub(super) const ADMIN_BYTE: u64 = 0;
const ROLE_BYTE: u64 = 1;
const LIFE_BYTE: u64 = 16;
const KEEP_BYTE: u64 = LIFE_BYTE + MARKS_LEN as u64;

/// How long a newcomer looks for a place, when what keeps some from being taken will pass.
const JOIN_LIMIT: Duration = Duration::from_millis(250);
const JOIN_PAUSE: Duration = Duration::from_millis(1);

/// Finishes what the dead owner of an index left, for a newcomer or a survivor who holds
/// its keep byte. False: not now, a live participant is in the way.
pub(crate) type Keeper<'k> = &'k dyn Fn(&Arc<Segment>, &Proof<'_>, u32) -> bool;

/// No fork copies a description that will have locks while this lives.
pub(super) fn unforked() -> Option<HoldOff> {
    (!seeded(13)).then(fork::hold_off)
}

/// A side of which there is one holder at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
}

impl Role {
    pub(super) fn byte(self) -> u64 {
        match self {
            Role::Producer => ROLE_BYTE,
            Role::Consumer => ROLE_BYTE + 1,
        }
    }
}

/// One participant: its index, its proof of life, the roles it holds.
pub(crate) struct Member {
    segment: Arc<Segment>,
    index: u32,
    life: Option<Anchor>,
    roles: [Option<Anchor>; 2],
}

impl Member {
    /// Takes the first free index. The caller holds the admin byte shared, or the
    /// segment has no name yet.
    pub(super) fn join(segment: Arc<Segment>, keeper: Keeper<'_>) -> Result<Member, SetupError> {
        let (description, index, _unforked) = Member::take_place(&segment, keeper)?;
        match Anchor::new(&description) {
            Ok(life) => Ok(Member::new(segment, index, life)),
            Err(error) => {
                segment.mark(index, false);
                Err(SetupError::system("anchoring a life lock", error))
            }
        }
    }

    pub(super) fn new(segment: Arc<Segment>, index: u32, life: Anchor) -> Member {
        Member { segment, index, life: Some(life), roles: [None, None] }
    }

    /// Takes the first free index. Its life byte is held by the description that is
    /// returned, and goes with it: forks are held off meanwhile.
    pub(super) fn take_place(
        segment: &Arc<Segment>,
        keeper: Keeper<'_>,
    ) -> Result<(File, u32, Option<HoldOff>), SetupError> {
        let max = segment.header().plan.max_participants;
        let start = Instant::now();
        loop {
            let unforked = unforked();
            let description = segment.own_description()?;
            let mut passing = false;
            for index in 0..max {
                if passing && start.elapsed() > JOIN_LIMIT {
                    break;
                }
                match segment.take_index(&description, index, keeper)? {
                    Taken::Yes => return Ok((description, index, unforked)),
                    Taken::Lives => {}
                    Taken::NotNow => passing = true,
                }
            }
            if !passing || start.elapsed() > JOIN_LIMIT {
                break;
            }
            drop(description);
            drop(unforked);
            std::thread::sleep(JOIN_PAUSE);
        }
        Err(SetupError::new(SetupErrorKind::TooManyParticipants { max }))
    }

    pub(crate) fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    pub(crate) fn holds(&self, role: Role) -> bool {
        self.roles[role as usize].is_some()
    }

    /// Takes a Single side, kept until this member leaves. False: somebody alive
    /// has it.
    pub(crate) fn take_role(&mut self, role: Role) -> Result<bool, SetupError> {
        if self.holds(role) {
            return Ok(true);
        }
        let _unforked = unforked();
        let description = self.segment.own_description()?;
        if !lock::try_lock(&description, role.byte(), Kind::Exclusive).map_err(|e| SetupError::system("locking", e))? {
            return Ok(false);
        }
        let anchor = Anchor::new(&description).map_err(|e| SetupError::system("anchoring a role lock", e))?;
        self.roles[role as usize] = Some(anchor);
        Ok(true)
    }

    /// Gives a Single side up, between two operations.
    pub(crate) fn release_role(&mut self, role: Role) {
        self.roles[role as usize] = None;
    }
}

#[cfg(test)]
impl Member {
    /// Its life byte is let go of and nothing else, as in the middle of a death.
    pub(crate) fn lose_life(&mut self) {
        self.life = None;
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let anchors = self.roles.iter_mut().map(Option::take).chain([self.life.take()]);
        if self.segment.is_inherited() {
            anchors.flatten().for_each(Anchor::forget);
            return;
        }
        self.segment.mark(self.index, false);
        // Roles first: who finds the life byte free finds the role free too.
        anchors.for_each(drop);
        self.segment.retire_if_deserted();
    }
}

/// Whether an index could be taken.
enum Taken {
    Yes,
    /// Its owner lives.
    Lives,
    /// Somebody looks after it just now, or what is left there cannot be finished yet.
    NotNow,
}

/// A descriptor through which deaths can be proven: it refers to the segment's own inode,
/// and its description is known to own no life or role byte.
pub(crate) struct Proof<'s> {
    file: Descriptor<'s>,
    max_participants: u32,
    reopened: bool,
    _unforked: Option<HoldOff>,
}

/// What came of looking after an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LookedAfter {
    /// It is vacant now.
    Vacated,
    /// Not now, or its owner lives after all.
    NotNow,
    /// Somebody else is at it.
    ByAnother,
}

/// A descriptor of the segment's own inode.
pub(super) enum Descriptor<'s> {
    Kept(&'s File),
    Reopened(File),
}

impl Descriptor<'_> {
    pub(super) fn file(&self) -> &File {
        match self {
            Descriptor::Kept(file) => file,
            Descriptor::Reopened(file) => file,
        }
    }
}

impl Proof<'_> {
    fn file(&self) -> &File {
        self.file.file()
    }

    /// Whether the descriptor that is kept for it was gone.
    pub(crate) fn had_to_open_again(&self) -> bool {
        self.reopened
    }

    /// Whether participant `index` may still store anything: its life byte is held, or
    /// that cannot be excluded.
    pub(crate) fn is_alive(&self, index: u32) -> bool {
        index < self.max_participants
            && (!matches!(lock::any_held(self.file(), life_byte(index as usize), 1), Ok(None)) || seeded(12))
            && !seeded(7)
    }

    /// Whether somebody holds this Single side.
    pub(crate) fn has_holder(&self, role: Role) -> bool {
        !matches!(lock::any_held(self.file(), role.byte(), 1), Ok(None))
    }
}

/// What can be said of all participants together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Population {
    /// No lock is held: everybody has left or died.
    Nobody,
    /// Somebody lives, or that cannot be excluded.
    Alive,
    /// Locks are held, but none by a participant that is attached: a process that
    /// was just started has copies of descriptors that it will not keep.
    Ghosts,
}

/// A keep byte, let go of explicitly: a forked child may have a copy of the descriptor.
struct KeepLock<'f> {
    description: &'f File,
    index: u32,
}

impl<'f> KeepLock<'f> {
    /// None: somebody else has it, and does what is to be done.
    fn take(description: &'f File, index: u32) -> Option<KeepLock<'f>> {
        let byte = KEEP_BYTE + u64::from(index);
        let taken = matches!(lock::try_lock(description, byte, Kind::Exclusive), Ok(true));
        taken.then_some(KeepLock { description, index })
    }
}

impl Drop for KeepLock<'_> {
    fn drop(&mut self) {
        lock::unlock(self.description, KEEP_BYTE + u64::from(self.index));
    }
}

/// The marks of a segment's participants.
pub(super) fn marks(file: &File) -> io::Result<[u8; MARKS_LEN]> {
    let mut marks = [0; MARKS_LEN];
    file.read_exact_at(&mut marks, MARKS_OFFSET)?;
    Ok(marks)
}

pub(super) fn life_byte(index: usize) -> u64 {
    LIFE_BYTE + index as u64
}

impl Segment {
    /// Proof of deaths, tested on a participant of this process, which lives: `own`. The
    /// descriptor that is kept may be gone (`close_range`), and its number may mean another
    /// file, or this very one with somebody's life byte; so it is opened anew each time.
    pub(crate) fn proof(&self, own: u32) -> Option<Proof<'_>> {
        let unforked = unforked();
        let kept = self.descriptor().ok()?;
        let reopened = matches!(kept, Descriptor::Reopened(_));
        let file = shm::reopen(kept.file()).ok().filter(|file| self.test_file().is(file))?;
        let lives = matches!(lock::any_held(&file, life_byte(own as usize), 1), Ok(Some(_)));
        let max_participants = self.header().plan.max_participants;
        let file = Descriptor::Reopened(file);
        lives.then_some(Proof { file, max_participants, reopened, _unforked: unforked })
    }

    /// The marked participants that have died, but for `own`.
    pub(crate) fn dead<'p>(&'p self, proof: &'p Proof<'_>, own: u32) -> impl Iterator<Item = u32> + 'p {
        let others = (0..proof.max_participants).filter(move |index| *index != own);
        others.filter(|index| self.is_marked(*index)).filter(|index| !proof.is_alive(*index))
    }

    /// Looks after index `dead`, unless somebody else does or it is no longer dead.
    pub(crate) fn keep(self: &Arc<Segment>, proof: &Proof<'_>, dead: u32, keeper: Keeper<'_>) -> LookedAfter {
        let Some(_keep) = KeepLock::take(proof.file(), dead) else { return LookedAfter::ByAnother };
        // Asked again under the byte: somebody may have finished, and another come.
        if !self.is_marked(dead) || proof.is_alive(dead) {
            return LookedAfter::NotNow;
        }
        if seeded(11) {
            self.mark(dead, false);
        }
        if !(keeper(self, proof, dead) || seeded(6)) {
            return LookedAfter::NotNow;
        }
        self.mark(dead, false);
        LookedAfter::Vacated
    }

    /// Takes an index whose owner is gone, after what it left was finished.
    fn take_index(self: &Arc<Segment>, own: &File, index: u32, keeper: Keeper<'_>) -> Result<Taken, SetupError> {
        let system = |e| SetupError::system("locking", e);
        let byte = life_byte(index as usize);
        if lock::any_held(own, byte, 1).map_err(system)?.is_some() {
            return Ok(Taken::Lives);
        }
        let Some(_keep) = KeepLock::take(own, index) else { return Ok(Taken::NotNow) };
        let max_participants = self.header().plan.max_participants;
        let proof = Proof { file: Descriptor::Kept(own), max_participants, reopened: false, _unforked: unforked() };
        if self.is_marked(index) && !seeded(6) {
            // Of the dead first the claims are finished, then its place is taken.
            if lock::any_held(own, byte, 1).map_err(system)?.is_some() {
                return Ok(Taken::Lives);
            }
            if !keeper(self, &proof, index) {
                return Ok(Taken::NotNow);
            }
        }
        if !lock::try_lock(own, byte, Kind::Exclusive).map_err(system)? {
            return Ok(Taken::Lives);
        }
        self.mark(index, true);
        Ok(Taken::Yes)
    }

    pub(super) fn mark(&self, index: u32, attached: bool) {
        if let Some(mark) = self.marks().get(index as usize) {
            // Pair MARK: what was finished of this index was finished before.
            mark.store(u8::from(attached), Ordering::Release);
        }
    }

    fn is_marked(&self, index: u32) -> bool {
        // Pair MARK.
        self.marks().get(index as usize).is_some_and(|mark| mark.load(Ordering::Acquire) == 1)
    }

    /// The live participants: those that are attached and hold their life byte.
    pub(crate) fn count_alive(&self) -> usize {
        let Ok(descriptor) = self.descriptor() else { return 0 };
        let alive =
            |index: &u32| matches!(lock::any_held(descriptor.file(), life_byte(*index as usize), 1), Ok(Some(_)));
        (0..self.header().plan.max_participants).filter(|index| self.is_marked(*index)).filter(alive).count()
    }

    /// Who is there, seen through `file`, whose own description holds no life or
    /// role byte.
    pub(super) fn population(file: &File, max_participants: u32) -> Population {
        let max = (max_participants as usize).min(MARKS_LEN);
        match lock::any_held(file, ROLE_BYTE, LIFE_BYTE + max as u64 - ROLE_BYTE) {
            Ok(None) => return Population::Nobody,
            Ok(Some(_)) => {}
            // An error proves nothing: assume life.
            Err(_) => return Population::Alive,
        }
        let Ok(marks) = marks(file) else { return Population::Alive };
        let attached = marks.iter().take(max).enumerate().filter(|(_, mark)| **mark != 0);
        let mut held = attached.map(|(index, _)| lock::any_held(file, life_byte(index), 1));
        if held.any(|held| !matches!(held, Ok(None))) { Population::Alive } else { Population::Ghosts }
    }

    /// Another descriptor for the segment, by its name or by its mapping.
    fn open_again(&self) -> Option<File> {
        let by_name = self.place().and_then(|place| {
            let directory = shm::open_dir(&place.directory.path).ok()?;
            shm::open_named(&directory, place.name.as_str()).ok()?
        });
        let by_name = by_name.filter(|file| self.test_file().is(file));
        by_name.or_else(|| shm::open_mapped(self.mapped_range()).ok().filter(|file| self.test_file().is(file)))
    }

    /// The descriptor that is kept for tests, or another where that one is gone.
    pub(super) fn descriptor(&self) -> io::Result<Descriptor<'_>> {
        if self.test_file().is_intact() {
            return Ok(Descriptor::Kept(self.test_file()));
        }
        self.open_again().map(Descriptor::Reopened).ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))
    }

    /// A description of our own for the segment's inode, which a child can inherit.
    pub(super) fn own_description(&self) -> Result<File, SetupError> {
        let own = self.descriptor().and_then(|kept| shm::reopen(kept.file()));
        own.and_then(|own| shm::above_the_streams(own.into())).map(File::from).map_err(|e| {
            if shm::proc_mounted() {
                SetupError::system("re-opening the segment", e)
            } else {
                SetupError::new(SetupErrorKind::NoProc)
            }
        })
    }
}
