//! Who is attached, and the proof of it.
//!
//! Participant i holds a write lock on *life byte* i of the segment's inode,
//! through a description of its own that only a mapping keeps alive (an
//! *anchor*). The kernel releases it when the address space goes, whatever
//! killed it, and nothing else does. Nobody but its owner ever locks a life
//! byte; others test it. The holder of a Single side has that side's *role
//! byte* locked in the same way.

use super::lifecycle::Segment;
use crate::error::{SetupError, SetupErrorKind};
use crate::sys::lock::{self, Kind};
use crate::sys::mem::Anchor;
use crate::sys::shm;
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
    fn byte(self) -> u64 {
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
        // Roles first: who finds the life byte free finds the role free too.
        anchors.for_each(drop);
        self.segment.retire_if_deserted();
    }
}

impl Segment {
    /// How many life bytes are held: the live participants.
    pub(crate) fn count_alive(&self) -> u32 {
        let end = LIFE_BYTE + u64::from(self.header().plan.max_participants);
        let (mut byte, mut alive) = (LIFE_BYTE, 0);
        while byte < end {
            match lock::first_held(self.test_file(), byte, end - byte) {
                Ok(Some(held)) => {
                    alive += 1;
                    byte = held + 1;
                }
                _ => break,
            }
        }
        alive
    }

    /// Whether any life or role byte is held, seen through `file`, whose own
    /// description holds none of them.
    pub(super) fn anybody_alive(file: &std::fs::File, max_participants: u32) -> bool {
        let len = LIFE_BYTE + u64::from(max_participants) - ROLE_BYTE;
        // An error proves nothing: assume life.
        !matches!(lock::first_held(file, ROLE_BYTE, len), Ok(None))
    }

    /// A description of our own for the segment's inode.
    pub(super) fn own_description(&self) -> Result<std::fs::File, SetupError> {
        shm::reopen(self.test_file()).map_err(|e| {
            if shm::proc_mounted() {
                SetupError::system("re-opening the segment", e)
            } else {
                SetupError::new(SetupErrorKind::NoProc)
            }
        })
    }
}
