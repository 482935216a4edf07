//! Open-file-description byte locks (`F_OFD_SETLK`, Linux 3.15).
//!
//! Such a lock belongs to the description, not to the process: it does not
//! vanish when some other descriptor of the file is closed, it conflicts inside
//! one process too, and it dies with the last reference to its description (a
//! mapping is one). The offsets are names, not data: they need not exist.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::io;
use std::os::fd::AsFd;

/// What a lock request does when another description holds the byte.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

fn region(kind: libc::c_int, start: u64, len: u64) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: start as libc::off_t,
        l_len: len as libc::off_t,
        l_pid: 0,
    }
}

/// Tries to lock one byte through `file`'s own description. False: another holds it.
pub(crate) fn try_lock(file: impl AsFd, byte: u64, kind: Kind) -> io::Result<bool> {
    let kind = match kind {
        Kind::Shared => libc::F_RDLCK,
        Kind::Exclusive => libc::F_WRLCK,
    };
    let lock = region(kind, byte, 1);
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLK(&lock)) {
            Ok(_) => return Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => return Ok(false),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Unlocks one byte of `file`'s own description, for every holder of a copy of the
/// descriptor too.
pub(crate) fn unlock(file: impl AsFd, byte: u64) {
    let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&region(libc::F_UNLCK, byte, 1)));
}

/// Some byte in `start..start + len` that some *other* description has
/// locked, if any (the kernel does not promise that it is the first). Through a
/// description that owns no lock this is the proof of life of the whole range.
pub(crate) fn any_held(file: impl AsFd, start: u64, len: u64) -> io::Result<Option<u64>> {
    let mut lock = region(libc::F_WRLCK, start, len);
    fcntl(&file, FcntlArg::F_OFD_GETLK(&mut lock))?;
    if i32::from(lock.l_type) == libc::F_UNLCK {
        return Ok(None);
    }
    // A lock that begins before the range holds its first byte.
    Ok(Some((lock.l_start as u64).max(start)))
}

/// Waits until nobody else holds the byte, or has died.
#[cfg(feature = "serde")]
pub(crate) fn wait_for(file: impl AsFd, byte: u64) -> io::Result<()> {
    loop {
        match fcntl(&file, FcntlArg::F_OFD_SETLKW(&region(libc::F_WRLCK, byte, 1))) {
            Ok(_) => break,
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
    unlock(&file, byte);
    Ok(())
}
