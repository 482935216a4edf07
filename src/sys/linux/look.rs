//! Looking without touching: the entries of a directory, files to be read only,
//! descriptors of other processes.
//!
//! A file is opened twice: first as a mere place (`O_PATH`), which neither waits nor
//! wakes anybody whatever it is, then, once that was found to be a regular file,
//! to be read.

use super::shm::{self, FileKind, Stat};
use nix::dir::{Dir, OwningIter, Type};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::Mode;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What the kernel says that the link of an anonymous segment's descriptor means.
const ANONYMOUS_LINK: &[u8] = b"/memfd:ringway";

/// Descriptors of one process that are looked at.
const MOST_DESCRIPTORS: usize = 1 << 16;

/// The entries of a directory, one by one.
pub(crate) struct Entries(OwningIter);

/// Lists `dir` from a place on: 0 is its beginning, and what else a number means is
/// up to the file system. From any place the end is reached.
pub(crate) fn entries(dir: &File, start: u64) -> io::Result<Entries> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut own = File::from(openat(dir, ".", flags, Mode::empty())?);
    if start > 0 {
        own.seek(SeekFrom::Start(start))?;
    }
    Ok(Entries(Dir::from_fd(OwnedFd::from(own))?.into_iter()))
}

impl Iterator for Entries {
    /// A name, and whether it is that of a regular file, as far as the file system says.
    type Item = io::Result<(OsString, bool)>;

    fn next(&mut self) -> Option<Self::Item> {
        for entry in &mut self.0 {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error.into())),
            };
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                let regular = entry.file_type() == Some(Type::File);
                return Some(Ok((OsStr::from_bytes(name).to_owned(), regular)));
            }
        }
        None
    }
}

/// A file to be read, unless it is something else than a regular file: then only
/// what it is.
pub(crate) struct Looked {
    pub(crate) file: Option<File>,
    pub(crate) stat: Stat,
}

fn look(place: OwnedFd) -> io::Result<Looked> {
    let stat = shm::stat(&place)?;
    if stat.kind != FileKind::Regular {
        return Ok(Looked { file: None, stat });
    }
    let path = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = File::from(open(path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?);
    Ok(Looked { file: Some(file), stat })
}

/// Opens a name in `dir` to read it. None: there is no such name.
pub(crate) fn named(dir: &File, name: &OsStr) -> io::Result<Option<Looked>> {
    match openat(dir, name, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(place) => look(place).map(Some),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Opens what a descriptor of a process means, to read it. None: there is no such
/// process or descriptor.
pub(crate) fn descriptor(pid: u32, fd: u32) -> io::Result<Option<Looked>> {
    let path = format!("/proc/{pid}/fd/{fd}");
    match open(path.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(place) => look(place).map(Some),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// The descriptors of all processes that can be seen and whose link says that
/// they mean an anonymous segment, in order: `(process, descriptor)`.
pub(crate) fn anonymous_descriptors() -> Vec<(u32, u32)> {
    let mut found = Vec::new();
    for pid in numbers_in(Path::new("/proc"), usize::MAX) {
        let descriptors = format!("/proc/{pid}/fd");
        let descriptors = Path::new(&descriptors);
        for fd in numbers_in(descriptors, MOST_DESCRIPTORS) {
            let link = std::fs::read_link(descriptors.join(fd.to_string()));
            if link.is_ok_and(|link| link.as_os_str().as_bytes().starts_with(ANONYMOUS_LINK)) {
                found.push((pid, fd));
            }
        }
    }
    found.sort_unstable();
    found
}

/// The entries of a directory of `/proc` that are numbers. None where we may not look.
fn numbers_in(directory: &Path, most: usize) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let number = |entry: io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse().ok();
    entries.take(most).filter_map(number).collect()
}
