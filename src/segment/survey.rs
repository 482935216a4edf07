//! Looking at a segment from outside: dead, damaged or in full use.
//!
//! Nothing here maps, writes or locks. The file is read into private memory, and
//! locks are only tested, through a description that owns none.

use super::directory::Directory;
use super::header::{HEADER_SIZE, Header, MARKS_LEN};
use super::lifecycle::check_file;
use super::members::{Role, life_byte, marks};
use crate::error::SetupError;
use crate::sys::lock;
use crate::sys::look::{self, Looked};
use crate::sys::shm;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Names of a directory that are looked at.
const MOST_NAMES: usize = 1 << 20;

/// A segment as it was found.
pub(crate) struct Survey {
    file: File,
    /// Bytes that the file has, whatever the header says.
    pub(crate) size: u64,
    pub(crate) header: Header,
    /// Why it cannot be opened as a queue. The header then says what could be saved.
    pub(crate) damage: Option<SetupError>,
}

/// What is known of the participant at an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Presence {
    pub(crate) index: u32,
    /// Its mark says that it has attached and has not left.
    pub(crate) attached: bool,
    /// Its life byte is locked.
    pub(crate) held: bool,
}

impl Survey {
    /// Looks at a name of `directory`. None: there is no such name.
    pub(crate) fn named(directory: &Directory, name: &OsStr) -> Result<Option<Survey>, SetupError> {
        let looked = look::named(&directory.file, name).map_err(|e| SetupError::system("opening the segment", e))?;
        looked.map(Survey::of).transpose()
    }

    /// Looks at what a descriptor of a process means. None: there is no such process
    /// or descriptor.
    pub(crate) fn descriptor(pid: u32, fd: u32) -> Result<Option<Survey>, SetupError> {
        let looked = look::descriptor(pid, fd).map_err(|e| SetupError::system("opening the descriptor", e))?;
        looked.map(Survey::of).transpose()
    }

    fn of(looked: Looked) -> Result<Survey, SetupError> {
        check_file(&looked.stat)?;
        let file = looked.file.ok_or_else(|| SetupError::not_a_segment("it is not a regular file"))?;
        let size = looked.stat.size;
        let mut bytes = [0; HEADER_SIZE];
        let filled = fill(&file, 0, &mut bytes).map_err(|e| SetupError::system("reading the header", e))?;
        let bytes = &bytes[..filled];
        match Header::parse(bytes, size) {
            Ok(header) => Ok(Survey { file, size, header, damage: None }),
            Err(error) => match Header::salvage(bytes) {
                Some(header) => Ok(Survey { file, size, header, damage: Some(error) }),
                None => Err(error),
            },
        }
    }

    /// Copies `bytes.len()` bytes out, from `offset`. False: the file does not have them.
    pub(crate) fn read(&self, offset: u64, bytes: &mut [u8]) -> bool {
        matches!(fill(&self.file, offset, bytes), Ok(filled) if filled == bytes.len())
    }

    /// The indices at which somebody is or was. Empty where the file has no marks, or where
    /// locks cannot be tested.
    pub(crate) fn presences(&self) -> Vec<Presence> {
        let Ok(marks) = marks(&self.file) else { return Vec::new() };
        let max = (self.header.plan.max_participants as usize).min(MARKS_LEN);
        let presence = |index: usize| {
            let held = lock::any_held(&self.file, life_byte(index), 1).ok()?.is_some();
            let attached = marks[index] != 0;
            (attached || held).then_some(Presence { index: index as u32, attached, held })
        };
        (0..max).filter_map(presence).collect()
    }

    /// Whether a Single side's role byte is locked.
    pub(crate) fn is_role_held(&self, role: Role) -> bool {
        matches!(lock::any_held(&self.file, role.byte(), 1), Ok(Some(_)))
    }

    /// Bytes of memory that the file has.
    pub(crate) fn backed(&self) -> u64 {
        shm::backed(&self.file).unwrap_or(0)
    }

    /// Tells the inode from others.
    pub(crate) fn inode(&self) -> Option<(u64, u64)> {
        shm::stat(&self.file).ok().map(|stat| (stat.device, stat.inode))
    }
}

/// Reads until `bytes` is full or the file ends. Says how much that was.
fn fill(file: &File, offset: u64, bytes: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], offset.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// What a directory has, in alphabetical order.
pub(crate) fn names(directory: &Directory) -> Result<Vec<OsString>, SetupError> {
    let listing = |e| SetupError::system("listing the directory", e);
    let entries = look::entries(&directory.file, 0).map_err(listing)?;
    let mut names = Vec::new();
    for entry in entries.take(MOST_NAMES) {
        names.push(entry.map_err(listing)?.0);
    }
    names.sort();
    Ok(names)
}

/// The anonymous segments of this user that some process has a descriptor of: each once,
/// by its first descriptor.
pub(crate) fn anonymous() -> Vec<(u32, u32, Survey)> {
    let mut seen = std::collections::BTreeSet::new();
    let mut found = Vec::new();
    for (pid, fd) in look::anonymous_descriptors() {
        // What has gone meanwhile, or belongs to somebody else, is none of ours.
        let Ok(Some(survey)) = Survey::descriptor(pid, fd) else { continue };
        if survey.inode().is_some_and(|inode| seen.insert(inode)) {
            found.push((pid, fd, survey));
        }
    }
    found
}
