//! Memory files that come from another process: found through `/proc`, inherited, or
//! received. Nothing here trusts a number: what it means is examined as a mere place
//! (`O_PATH`) before it is opened, and what is not an anonymous segment never is.

#![allow(unsafe_code)]

use super::shm::{self, FIRST_NUMBER, FileKind, Kept};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, SealFlag, fcntl, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// What the kernel says that the link of an anonymous segment's descriptor means.
const LINK: &[u8] = b"/memfd:ringway (deleted)";

/// What became of looking for a descriptor.
pub(crate) enum Found {
    /// It means a memory file of ringway's: a description of our own for it.
    Yes(File),
    /// There is no such process.
    NoProcess,
    /// The process has no such descriptor.
    NoDescriptor,
    /// It means something else, or a file that we must not have; nothing was opened.
    Other(&'static str),
}

/// Opens what descriptor `fd` of process `pid` means, if that is a memory file of ringway's.
/// Never waits, whatever it is.
pub(crate) fn of_process(pid: u32, fd: u32) -> io::Result<Found> {
    let process = format!("/proc/{pid}");
    let found = through(&format!("{process}/fd/{fd}"))?;
    Ok(match found {
        Found::NoDescriptor if !Path::new(&process).exists() => Found::NoProcess,
        found => found,
    })
}

/// Opens a description of our own for the file of a descriptor that we have, if it is a
/// memory file of ringway's.
pub(crate) fn of_descriptor(fd: impl AsFd) -> io::Result<Found> {
    through(&format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()))
}

fn through(path: &str) -> io::Result<Found> {
    // The link first: following one could ask a file system that does not answer.
    match std::fs::read_link(path) {
        Ok(link) if link.as_os_str().as_bytes() == LINK => {}
        Ok(_) => return Ok(Found::Other("it is another file")),
        Err(e) => return absent(e),
    }
    let place = match open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()) {
        Ok(place) => place,
        Err(e) => return absent(e.into()),
    };
    // It may mean another file by now; what we have is the place that was found.
    let place_path = format!("/proc/self/fd/{}", place.as_raw_fd());
    if std::fs::read_link(&place_path)?.as_os_str().as_bytes() != LINK {
        return Ok(Found::Other("it is another file"));
    }
    let stat = shm::stat(&place)?;
    if stat.kind != FileKind::Regular || stat.links != 0 || fstatfs(&place)?.filesystem_type() != TMPFS_MAGIC {
        return Ok(Found::Other("it is another file"));
    }
    if stat.owner != shm::user() && stat.owner != 0 {
        return Ok(Found::Other("it belongs to another user"));
    }
    let file = File::from(open(place_path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?);
    let seals = SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS)?);
    let wanted = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    if !seals.contains(wanted) {
        return Ok(Found::Other("its size is not sealed"));
    }
    Ok(Found::Yes(file))
}

fn absent(error: io::Error) -> io::Result<Found> {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => Ok(Found::NoDescriptor),
        _ => Err(error),
    }
}

/// Makes every process that `command` starts inherit `file`, and nobody else: the number of
/// the descriptor, there as here. The command keeps `file` open.
pub(crate) fn inherit(command: &mut Command, file: File) -> io::Result<u32> {
    // A lower one would be overwritten by a standard stream.
    let file = File::from(shm::above_the_streams(file.into())?);
    let number = file.as_raw_fd() as u32;
    let kept = Kept::new(file)?;
    let keep_open = move || {
        // In the child, whose table of descriptors is its own. Somebody may have closed ours.
        if !kept.is_intact() {
            return Err(Errno::EBADF.into());
        }
        fcntl(&*kept, FcntlArg::F_SETFD(FdFlag::empty()))?;
        Ok(())
    };
    // SAFETY: two system calls that are safe after fork; nothing is allocated or locked, and
    // no error with a message is made.
    unsafe { command.pre_exec(keep_open) };
    Ok(number)
}

/// A descriptor that this process was started with.
pub(crate) struct Inherited(BorrowedFd<'static>);

impl Inherited {
    /// Whether descriptor `fd` may be an inherited one that nobody took yet: those alone
    /// would be inherited further. None: it is not.
    ///
    /// # Safety
    ///
    /// No other thread takes inherited descriptors as long as the result is there.
    pub(crate) unsafe fn find(fd: u32) -> Option<Inherited> {
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= FIRST_NUMBER)?;
        // SAFETY: touches no memory; of a number that means nothing it says so.
        let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
        if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
            return None;
        }
        // SAFETY: it is open, and whoever else could close it would not be this module.
        Some(Inherited(unsafe { BorrowedFd::borrow_raw(fd) }))
    }

    pub(crate) fn open(&self) -> io::Result<Found> {
        of_descriptor(self.0)
    }

    /// It has served.
    ///
    /// # Safety
    ///
    /// It means an anonymous segment of which this process was told that it inherits it
    /// under this number, and nobody else in it was.
    pub(crate) unsafe fn close(self) {
        // SAFETY: the caller vouches that it is ours to close.
        drop(unsafe { OwnedFd::from_raw_fd(self.0.as_raw_fd()) });
    }
}
