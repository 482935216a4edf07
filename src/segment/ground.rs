//! The memory under a segment's file, where that comes and goes: allocated before anybody
//! touches it, given back by punching holes. Both work under the seals of an anonymous
//! segment, since its size never changes.

use super::lifecycle::{Place, Segment};
use crate::sys::{mem, shm};
use std::io;
use std::ops::Range;

impl Segment {
    /// Gives a part of the file its memory: all or nothing, `StorageFull` where there is none.
    pub(crate) fn back(&self, part: Range<u64>) -> io::Result<()> {
        let file = self.descriptor()?;
        shm::back(file.file(), part.clone()).map_err(|error| match error.raw_os_error() {
            Some(libc::ENOSPC | libc::ENOMEM | libc::EDQUOT | libc::EFBIG) => {
                io::Error::from(io::ErrorKind::StorageFull)
            }
            _ => error,
        })?;
        mem::populate(self.map_of(), part.start as usize, (part.end - part.start) as usize);
        Ok(())
    }

    /// Gives the memory of a part of the file back.
    pub(crate) fn punch(&self, part: Range<u64>) -> io::Result<()> {
        shm::punch(self.descriptor()?.file(), part)
    }

    /// What could be allocated at most for a segment there, as far as is known.
    pub(crate) fn free_bytes(place: Option<&Place>) -> Option<u64> {
        let (machine, group) = shm::free_memory();
        let file_system = place.and_then(|place| shm::free_on(&*place.directory.file).ok());
        [machine, group, file_system].into_iter().flatten().min()
    }
}
