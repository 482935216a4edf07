//! Anonymous segments that come from another process.
//!
//! Locks hang on open file descriptions (see `members.rs`), so a description is never shared
//! for longer than the hand-over takes:
//!
//! A1. What is passed (a socket, a child) is a description made for that, which owns no lock
//! and is not used for anything else; a receiver that keeps it or locks through it changes
//! nothing for us.
//! A2. Whoever receives a descriptor, or learns of a number in another process, opens a
//! description of its own for the same inode, and closes what it received.
//! A3. Before that, what it means is examined as a mere place: a memory file of ringway's, of
//! this user or root. Of what was opened the seals are tested (nobody can cut it under
//! us), then the identity, and only then it is mapped and joined.
//! A4. Nobody unlinks an anonymous segment, so it is joined without the admin byte. If all its
//! participants have died meanwhile, it is adopted as a named one is: the index is kept first.

#![allow(unsafe_code)]

use super::header::Header;
use super::lifecycle::Segment;
use super::members::{Keeper, Member};
use crate::error::{SetupError, SetupErrorKind};
use crate::sys::mem::PerProcess;
use crate::sys::passing::{self, Found, Inherited};
use crate::sys::shm;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};

/// Where an anonymous segment is to be had.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// That descriptor of a process means it.
    Process { pid: u32, fd: u32 },
    /// This process inherited it under that number.
    Inherited { fd: u32 },
    /// It came through a socket.
    Received(OwnedFd),
    /// It came with the start of this process.
    #[cfg(feature = "serde")]
    Handed,
}

impl fmt::Display for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Arrival::Process { pid, fd } => write!(f, "descriptor {fd} of process {pid}"),
            Arrival::Inherited { fd } => write!(f, "inherited descriptor {fd}"),
            Arrival::Received(_) => f.write_str("the descriptor that was received"),
            #[cfg(feature = "serde")]
            Arrival::Handed => f.write_str("the descriptor that came with the start"),
        }
    }
}

/// One thread at a time takes inherited descriptors.
static TAKING: PerProcess<Mutex<()>> = PerProcess::new();

impl Segment {
    /// Joins the anonymous segment of this `identity`, if it is what `check` wants.
    pub(crate) fn arrive(
        arrival: &Arrival,
        identity: u128,
        prefault: u64,
        check: impl Fn(&Header) -> Result<(), SetupError>,
        keeper: Keeper<'_>,
    ) -> Result<Member, SetupError> {
        if !shm::proc_mounted() {
            return Err(SetupError::new(SetupErrorKind::NoProc));
        }
        let join = |found: io::Result<Found>| {
            let file = examine(found, arrival)?;
            let header = Segment::header_of(&file, identity, arrival)?;
            check(&header)?;
            Member::join(Arc::new(Segment::map(file, header, None, prefault)?), keeper)
        };
        match arrival {
            Arrival::Process { pid, fd } => join(passing::of_process(*pid, *fd)),
            Arrival::Received(fd) => join(passing::of_descriptor(fd)),
            // Such a one is adopted (`handed.rs`).
            #[cfg(feature = "serde")]
            Arrival::Handed => Err(SetupError::unreachable("it is not there any more", None)),
            Arrival::Inherited { fd } => {
                let taking = TAKING.get().map_err(|e| SetupError::system("detecting forks", e))?;
                let _taking = taking.lock().unwrap_or_else(PoisonError::into_inner);
                // SAFETY: only here they are taken, and the lock is ours.
                let Some(inherited) = (unsafe { Inherited::find(*fd) }) else {
                    let reason = format!("{arrival} is not there: it was not inherited, or it was opened already");
                    return Err(SetupError::unreachable(reason, None));
                };
                let member = join(inherited.open())?;
                // SAFETY: it is a segment's of the identity that we were told, and it would be
                // inherited further, as no descriptor is that ringway or the standard library
                // makes for itself.
                unsafe { inherited.close() };
                Ok(member)
            }
        }
    }

    pub(super) fn header_of(file: &File, identity: u128, arrival: &Arrival) -> Result<Header, SetupError> {
        let size = shm::stat(file).map_err(|e| SetupError::system("examining the segment", e))?.size;
        let header = Segment::parse_header(file, size).map_err(|error| match error.kind() {
            SetupErrorKind::NotASegment { reason } => {
                SetupError::unreachable(format!("{arrival} means another file: {reason}"), None)
            }
            _ => error,
        })?;
        if header.identity != identity {
            return Err(SetupError::unreachable(format!("{arrival} means another queue by now"), None));
        }
        Ok(header)
    }

    /// The descriptor of this process under which others find the segment, as long as
    /// the process has a handle.
    pub(crate) fn findable(&self) -> Result<u32, SetupError> {
        let kept = self.test_file();
        if !kept.is_intact() {
            let reason = "this process' descriptor of it was closed by somebody (`close_range`)";
            return Err(SetupError::unreachable(reason, None));
        }
        Ok(kept.as_raw_fd() as u32)
    }

    /// A description to be passed on.
    pub(crate) fn passable(&self) -> Result<File, SetupError> {
        self.own_description()
    }

    /// Makes the processes that `command` starts inherit the segment: under which number.
    pub(crate) fn inherit(&self, command: &mut Command) -> Result<u32, SetupError> {
        passing::inherit(command, self.passable()?).map_err(|e| SetupError::system("preparing a descriptor", e))
    }
}

pub(super) fn examine(found: io::Result<Found>, arrival: &Arrival) -> Result<File, SetupError> {
    let reason = match found {
        Ok(Found::Yes(file)) => return Ok(file),
        Ok(Found::NoProcess) => format!("there is no process of {arrival}"),
        Ok(Found::NoDescriptor) => format!("{arrival} is not there any more"),
        Ok(Found::Other(what)) => format!("{arrival} means something else: {what}"),
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    SetupError::unreachable(format!("{arrival} is not permitted to be opened"), Some(error))
                }
                _ => SetupError::unreachable(format!("{arrival} cannot be opened"), Some(error)),
            });
        }
    };
    Err(SetupError::unreachable(reason, None))
}
