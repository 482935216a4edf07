//! Participants that are handed to a child before it runs.
//!
//! H1. From the moment that a handle is encoded for a child, the child's participant is attached:
//! its mark is set and its life byte locked, through a description that is *not* anchored. So
//! nobody finds the peer gone before the child has attached.
//! H2. That description goes to the child and to nobody else; the parent closes its copy once
//! the child has one. Then the lock lives exactly as long as the child's descriptor.
//! H3. The child anchors the very description (it asks the kernel whether it is the one that
//! holds the byte), and closes the descriptor: from now on it is a participant like any other. One that
//! dies before that is a dead participant like any other.
//! H4. If there is no child, the parent takes the mark back before it closes the description.
//!
//! The admin byte is not needed: the parent's own participant keeps the name until H1 holds.

use super::arrival::{Arrival, examine};
use super::header::Header;
use super::lifecycle::{Place, Segment};
use super::members::{Keeper, Member, life_byte};
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::seeded;
use crate::sys::fork::HoldOff;
use crate::sys::lock;
use crate::sys::mem::Anchor;
use crate::sys::{passing, shm};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// A participant without an owner: its life byte is held by `description` alone.
pub(crate) struct Handed {
    segment: Arc<Segment>,
    index: u32,
    description: File,
    /// Whether the child has it.
    gone: bool,
    /// A fork meanwhile would keep the lock.
    _unforked: Option<HoldOff>,
}

impl Handed {
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// The child has a copy of the descriptor: only that counts from now on. (H2)
    pub(crate) fn delivered(mut self) {
        self.gone = true;
    }
}

impl AsFd for Handed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.description.as_fd()
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if !self.gone && !self.segment.is_inherited() {
            self.segment.mark(self.index, false);
        }
    }
}

/// Where a participant that was handed to this process is.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) description: OwnedFd,
    pub(crate) index: u32,
}

impl Member {
    /// Participant `index`, if `description` is what holds its life byte.
    fn adopt(segment: Arc<Segment>, index: u32, description: &File) -> Result<Member, SetupError> {
        let system = |e| SetupError::system("locking", e);
        let byte = life_byte(index as usize);
        // Any other description sees the lock, its own does not.
        let held = index < segment.header().plan.max_participants
            && lock::any_held(&**segment.test_file(), byte, 1).map_err(system)?.is_some()
            && lock::any_held(description, byte, 1).map_err(system)?.is_none();
        if !held {
            return Err(SetupError::unreachable("the descriptor that was handed over is no participant", None));
        }
        let life = Anchor::new(description).map_err(|e| SetupError::system("anchoring a life lock", e))?;
        Ok(Member::new(segment, index, life))
    }
}

impl Segment {
    /// Makes a participant for a child. (H1) `introduce` says what it is before others see it.
    pub(crate) fn hand(
        self: &Arc<Segment>,
        keeper: Keeper<'_>,
        introduce: impl FnOnce(u32) -> Result<(), SetupError>,
    ) -> Result<Handed, SetupError> {
        if self.is_inherited() {
            return Err(SetupError::new(SetupErrorKind::Forked));
        }
        let (description, index, _unforked) = Member::take_place(self, keeper)?;
        let handed = Handed { segment: Arc::clone(self), index, description, gone: false, _unforked };
        introduce(index)?;
        if seeded(70) {
            lock::unlock(&handed.description, life_byte(index as usize));
        }
        Ok(handed)
    }

    /// Becomes the participant that this process was handed. (H3) `place`: the name of the
    /// segment, if it has one.
    pub(crate) fn adopt(
        delivered: Delivered,
        identity: u128,
        place: Option<Place>,
        prefault: u64,
        check: impl Fn(&Header) -> Result<(), SetupError>,
    ) -> Result<Member, SetupError> {
        if !shm::proc_mounted() {
            return Err(SetupError::new(SetupErrorKind::NoProc));
        }
        let Delivered { description, index } = delivered;
        let description = File::from(description);
        let arrival = Arrival::Handed;
        let file = match &place {
            None => examine(passing::of_descriptor(&description), &arrival)?,
            Some(_) => {
                let examining = |e| SetupError::system("examining the segment", e);
                super::lifecycle::check_file(&shm::stat(&description).map_err(examining)?)?;
                shm::reopen(&description).map_err(|e| SetupError::system("re-opening the segment", e))?
            }
        };
        let header = Segment::header_of(&file, identity, &arrival)?;
        check(&header)?;
        Member::adopt(Arc::new(Segment::map(file, header, place, prefault)?), index, &description)
    }
}
