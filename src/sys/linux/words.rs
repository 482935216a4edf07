//! Words that a process shares with its children: an anonymous file that nobody can resize, mapped
//! whole.

#![allow(unsafe_code)]

use super::mem::generation;
use super::{mem, shm};
use memmap2::MmapRaw;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicU64;

/// In a forked child there are none: it does not have the mapping.
pub(crate) struct Words {
    map: ManuallyDrop<MmapRaw>,
    file: File,
    count: usize,
    /// Of the process that has it mapped.
    born: u64,
}

impl Drop for Words {
    fn drop(&mut self) {
        // What is there in a forked child is not ours to unmap.
        if !self.is_forked() {
            // SAFETY: once, and it is not used after that.
            unsafe { ManuallyDrop::drop(&mut self.map) }
        }
    }
}

// SAFETY: of the mapping only atomic words are handed out.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// All zero.
    pub(crate) fn create(count: usize) -> io::Result<Words> {
        let file = File::from(shm::above_the_streams(shm::create_anonymous()?.into())?);
        let bytes = count.checked_mul(size_of::<u64>()).ok_or(io::ErrorKind::InvalidInput)?;
        shm::allocate(&file, bytes as u64, &[])?;
        shm::seal_size(&file)?;
        let map = mem::map_shared(&file, bytes)?;
        Ok(Words { map: ManuallyDrop::new(map), file, count, born: generation::current()? })
    }

    /// Those of another process. An error: it is another kind of file.
    pub(crate) fn open(descriptor: OwnedFd) -> io::Result<Words> {
        let file = File::from(descriptor);
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW;
        // Whoever could shrink it could have us killed.
        if !SealFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GET_SEALS)?).contains(seals) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let bytes = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        let map = mem::map_shared(&file, bytes)?;
        let born = generation::current()?;
        Ok(Words { map: ManuallyDrop::new(map), file, count: bytes / size_of::<u64>(), born })
    }

    pub(crate) fn descriptor(&self) -> io::Result<OwnedFd> {
        shm::above_the_streams(self.file.try_clone()?.into())
    }

    /// Whether this process is a fork of the one that has it.
    pub(crate) fn is_forked(&self) -> bool {
        !generation::current().is_ok_and(|now| now == self.born)
    }

    /// None: there are not so many, or this process is a fork.
    pub(crate) fn get(&self, at: usize) -> Option<&AtomicU64> {
        // SAFETY: this process has mapped it; in bounds of a mapping that begins with a page and lives as long as `self`; its file cannot
        // shrink. Whoever has it stores whole words only, or is one that may store anything, which an
        // atomic integer survives.
        (at < self.count && !self.is_forked()).then(|| unsafe { &*self.map.as_ptr().cast::<AtomicU64>().add(at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::Ordering;

    #[test]
    fn two_mappings_are_one_memory_and_end_where_they_end() {
        let ours = Words::create(3).expect("memory");
        let theirs = Words::open(ours.descriptor().expect("a descriptor")).expect("the same file");
        ours.get(2).expect("there are three").store(7, Ordering::Relaxed);
        assert_eq!(theirs.get(2).map(|word| word.load(Ordering::Relaxed)), Some(7));
        assert!(ours.get(3).is_none() && theirs.get(3).is_none());
    }

    #[test]
    fn a_file_that_can_shrink_is_refused() {
        let file = shm::create_anonymous().expect("memory");
        shm::allocate(&file, 4096, &[]).expect("memory");
        assert!(Words::open(file.into()).is_err());
    }
}
