//! Who is attached, and the proof of it.
//!
//! Participant i holds a write lock on *life byte* i of the segment's inode,
//! through a description of its own that only a mapping keeps alive (an
//! *anchor*). The kernel releases it when the address space goes, whatever
//! killed it, and nothing else does. Nobody but its owner ever locks a life
//! byte; others test it. The holder of a Single side has that side's *role
//! byte* locked in the same way.
//!
//! One window is left: while a description has a descriptor (from opening it until
//! its anchor is mapped), a `fork` in another thread copies that descriptor, and
//! the lock then outlives us until the child executes or ends. Such a *ghost* is
//! told from a living participant by the attachment marks: it has left.

use super::header::{MARKS_LEN, MARKS_OFFSET};
use super::lifecycle::Segment;
use crate::error::{SetupError, SetupErrorKind};
use crate::sys::lock::{self, Kind};
use crate::sys::mem::Anchor;
use crate::sys::shm;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Held shared while attaching, exclusively while unlinking.
pub(super) const ADMIN_BYTE: u64 = 0;
const ROLE_BYTE: u64 = 1;
const LIFE_BYTE: u64 = 16;

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
    pub(super) fn join(segment: Arc<Segment>) -> Result<Member, SetupError> {
        let max = segment.header().plan.max_participants;
        let description = segment.own_description()?;
        for index in 0..max {
            let byte = LIFE_BYTE + u64::from(index);
            if lock::try_lock(&description, byte, Kind::Exclusive).map_err(|e| SetupError::system("locking", e))? {
                let life = Anchor::new(&description).map_err(|e| SetupError::system("anchoring a life lock", e))?;
                segment.mark(index, true)?;
                return Ok(Member { segment, index, life: Some(life), roles: [None, None] });
            }
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

impl Drop for Member {
    fn drop(&mut self) {
        let anchors = self.roles.iter_mut().map(Option::take).chain([self.life.take()]);
        if self.segment.is_inherited() {
            anchors.flatten().for_each(Anchor::forget);
            return;
        }
        let _ = self.segment.mark(self.index, false);
        // Roles first: who finds the life byte free finds the role free too.
        anchors.for_each(drop);
        self.segment.retire_if_deserted();
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
    fn mark(&self, index: u32, attached: bool) -> Result<(), SetupError> {
        self.test_file()
            .write_all_at(&[u8::from(attached)], MARKS_OFFSET + u64::from(index))
            .map_err(|e| SetupError::system("marking a participant", e))
    }

    /// The live participants: those that are attached and hold their life byte.
    pub(crate) fn count_alive(&self) -> usize {
        let file = self.test_file();
        let attached = marks(file).unwrap_or([0; MARKS_LEN]);
        let alive = |index: &usize| matches!(lock::any_held(file, life_byte(*index), 1), Ok(Some(_)));
        (0..self.header().plan.max_participants as usize).filter(|i| attached.get(*i) == Some(&1)).filter(alive).count()
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

    /// A description of our own for the segment's inode.
    pub(super) fn own_description(&self) -> Result<File, SetupError> {
        shm::reopen(self.test_file()).map_err(|e| {
            if shm::proc_mounted() {
                SetupError::system("re-opening the segment", e)
            } else {
                SetupError::new(SetupErrorKind::NoProc)
            }
        })
    }
}
