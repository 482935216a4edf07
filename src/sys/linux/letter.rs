//! What a parent and its child tell each other at the start and at the end: memory files. One
//! is written before the child is there and sealed, so it cannot change; the other is the child's to
//! write. Neither has to be read by anybody, so nobody waits for a reader that is gone.

use super::shm::above_the_streams;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};

const FOR_THE_CHILD: &CStr = c"rw-start";
const FOR_THE_PARENT: &CStr = c"rw-reply";

/// The bytes of a file that cannot change any more.
pub(crate) fn sealed(bytes: &[u8]) -> io::Result<File> {
    let mut file = create(FOR_THE_CHILD)?;
    file.write_all(bytes)?;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals()))?;
    Ok(file)
}

/// Reads what [`sealed`] has written. None: it is another kind of file.
pub(crate) fn open(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    match fcntl(&*file, FcntlArg::F_GET_SEALS) {
        Ok(found) if SealFlag::from_bits_retain(found).contains(seals()) => {}
        Ok(_) | Err(Errno::EINVAL) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// An empty file, for the child to write.
pub(crate) fn blank() -> io::Result<File> {
    create(FOR_THE_PARENT)
}

/// Nobody can write to it any more.
pub(crate) fn forbid(file: &File) -> io::Result<()> {
    fcntl(file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_WRITE))?;
    Ok(())
}

fn seals() -> SealFlag {
    SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL
}

fn create(name: &CStr) -> io::Result<File> {
    let base = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let file = match memfd_create(name, base | noexec) {
        // Older kernels do not know that flag.
        Err(Errno::EINVAL) => memfd_create(name, base)?,
        other => other?,
    };
    Ok(File::from(above_the_streams(file)?))
}
