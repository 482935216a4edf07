//! Words that a process shares with its children: an anonymous file that nobody can resize, mapped
//! whole.

#![allow(unsafe_code)]

use super::mem::generation;
use super::{look, mem, shm};
use memmap2::MmapRaw;
use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
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

    #[cfg(test)]
    pub(crate) fn descriptor_number(&self) -> u32 {
        use std::os::fd::AsRawFd;
        self.file.as_raw_fd() as u32
    }

    /// Whether this process is a fork of the one that has it.
    pub(crate) fn is_forked(&self) -> bool {
        !generation::current().is_ok_and(|now| now == self.born)
    }

    /// Empty where there are not so many, or in a fork.
    pub(crate) fn run(&self, at: usize, count: usize) -> &[AtomicU64] {
        let is_there = at.checked_add(count).is_some_and(|end| end <= self.count) && !self.is_forked();
        if !is_there {
            return &[];
        }
        // SAFETY: as in `get`, for each of them.
        unsafe { std::slice::from_raw_parts(self.map.as_ptr().cast::<AtomicU64>().add(at), count) }
    }

    /// None: there are not so many, or this process is a fork.
    pub(crate) fn get(&self, at: usize) -> Option<&AtomicU64> {
        // SAFETY: this process has mapped it; in bounds of a mapping that begins with a page and lives as long as `self`; its file cannot
        // shrink. Whoever has it stores whole words only, or is one that may store anything, which an
        // atomic integer survives.
        (at < self.count && !self.is_forked()).then(|| unsafe { &*self.map.as_ptr().cast::<AtomicU64>().add(at) })
    }
}

/// The words of such a file, or of any, read by somebody who does not map it.
pub(crate) struct Glimpse {
    file: File,
    count: usize,
    inode: (u64, u64),
}

impl Glimpse {
    /// None: there is no such process or descriptor, or it is no regular file.
    pub(crate) fn of(pid: u32, fd: u32) -> io::Result<Option<Glimpse>> {
        let Some(looked) = look::descriptor(pid, fd)? else { return Ok(None) };
        let Some(file) = looked.file else { return Ok(None) };
        let count = usize::try_from(looked.stat.size).unwrap_or(usize::MAX) / size_of::<u64>();
        Ok(Some(Glimpse { file, count, inode: (looked.stat.device, looked.stat.inode) }))
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Tells the file from others.
    pub(crate) fn inode(&self) -> (u64, u64) {
        self.inode
    }

    /// None: there are not so many.
    pub(crate) fn words(&self, at: usize, count: usize) -> Option<Vec<u64>> {
        if at.checked_add(count)? > self.count {
            return None;
        }
        let mut bytes = vec![0; count * size_of::<u64>()];
        self.file.read_exact_at(&mut bytes, (at * size_of::<u64>()) as u64).ok()?;
        Some(
            bytes.chunks_exact(8).filter_map(|word| word.first_chunk()).map(|word| u64::from_ne_bytes(*word)).collect(),
        )
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
        assert_eq!((ours.run(1, 2).len(), ours.run(1, 3).len(), ours.run(usize::MAX, 2).len()), (2, 0, 0));
    }

    #[test]
    fn a_file_that_can_shrink_is_refused() {
        let file = shm::create_anonymous().expect("memory");
        shm::allocate(&file, 4096, &[]).expect("memory");
        assert!(Words::open(file.into()).is_err());
    }
}
