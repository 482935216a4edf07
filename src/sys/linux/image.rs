//! The image of the running program: where it lies, and whether the file that would be executed
//! again is the one that it came from.
//!
//! `/proc/self/exe` is another program where the loader was called by hand (`ld.so prog`) and under
//! some emulators. What is compared is what every ELF file has at its beginning, the header and the table of
//! segments, with what the loader says of the image; the note with the linker's build
//! id, where there is one, is part of the fingerprint.

#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of a table of segments that are looked at; programs have about a dozen of 56 bytes.
const MOST_TABLE: usize = 64 * size_of::<libc::Elf64_Phdr>();
const MOST_NOTE: usize = 4096;

/// Types of segments, their rights, and the type of the note.
const LOAD: u32 = 1;
const NOTE: u32 = 4;
const READ_ONLY_AFTER_RELOCATION: u32 = 0x6474_e552;
const EXECUTABLE: u32 = 1;
const WRITABLE: u32 = 2;
const READABLE: u32 = 4;
const BUILD_ID: u32 = 3;

/// The main program, as the loader has mapped it.
pub(crate) struct Image {
    base: usize,
    code: Vec<Range<usize>>,
    /// What nobody can write to, without the code.
    data: Vec<Range<usize>>,
    table: Vec<u8>,
    build_id: Vec<u8>,
}

impl Image {
    pub(crate) fn of_this_process() -> Image {
        let mut image = Image { base: 0, code: Vec::new(), data: Vec::new(), table: Vec::new(), build_id: Vec::new() };
        // SAFETY: `see` takes the pointer for what it is, and does not keep it.
        unsafe { libc::dl_iterate_phdr(Some(see), (&raw mut image).cast()) };
        image
    }

    /// Where in the program `address` lies, if there is code of it there.
    pub(crate) fn offset_of(&self, address: usize) -> Option<u64> {
        let inside = self.code.iter().any(|range| range.contains(&address));
        inside.then(|| address.wrapping_sub(self.base) as u64)
    }

    /// The other way round.
    pub(crate) fn address_of(&self, offset: u64) -> Option<usize> {
        let address = self.base.wrapping_add(usize::try_from(offset).ok()?);
        self.offset_of(address).map(|_| address)
    }

    /// Where in the program `len` bytes at `address` lie, if they are of its read-only data.
    pub(crate) fn offset_of_data(&self, address: usize, len: usize) -> Option<u64> {
        let end = address.checked_add(len)?;
        let inside = self.data.iter().any(|range| range.start <= address && end <= range.end);
        inside.then(|| address.wrapping_sub(self.base) as u64)
    }

    /// The other way round.
    pub(crate) fn address_of_data(&self, offset: u64, len: usize) -> Option<usize> {
        let address = self.base.wrapping_add(usize::try_from(offset).ok()?);
        self.offset_of_data(address, len).map(|_| address)
    }

    /// The same for every process that runs this program, and for no other program's.
    pub(crate) fn fingerprint(&self) -> u64 {
        // FNV-1a (Fowler, Noll, Vo).
        let bytes = self.table.iter().chain(&self.build_id);
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    }

    /// Whether executing `/proc/self/exe` runs this program again.
    pub(crate) fn can_be_executed(&self) -> io::Result<bool> {
        let file = File::open("/proc/self/exe")?;
        let mut header = [0; size_of::<libc::Elf64_Ehdr>()];
        file.read_exact_at(&mut header, 0)?;
        let start = u64::from_le_bytes(field(&header, std::mem::offset_of!(libc::Elf64_Ehdr, e_phoff)));
        let count = u16::from_le_bytes(field(&header, std::mem::offset_of!(libc::Elf64_Ehdr, e_phnum)));
        if usize::from(count) * size_of::<libc::Elf64_Phdr>() != self.table.len() {
            return Ok(false);
        }
        let mut table = vec![0; self.table.len()];
        file.read_exact_at(&mut table, start)?;
        Ok(table == self.table)
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

/// Takes the first image, which is the main program, and stops.
unsafe extern "C" fn see(info: *mut libc::dl_phdr_info, _size: usize, image: *mut libc::c_void) -> libc::c_int {
    // SAFETY: the loader passes a description that is valid during the call, of an image that
    // stays mapped; the other pointer is `of_this_process`'s, which waits. The loadable parts of the
    // main program are readable, its notes lie in them.
    unsafe {
        let (info, image) = (&*info, &mut *image.cast::<Image>());
        image.base = info.dlpi_addr as usize;
        let segments = std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum));
        let len = size_of_val(segments).min(MOST_TABLE);
        image.table = std::slice::from_raw_parts(info.dlpi_phdr.cast::<u8>(), len).to_vec();
        for segment in segments {
            let start = image.base.wrapping_add(segment.p_vaddr as usize);
            let len = segment.p_memsz as usize;
            match segment.p_type {
                LOAD if segment.p_flags & EXECUTABLE != 0 => image.code.push(start..start + len),
                LOAD if segment.p_flags & (READABLE | WRITABLE) == READABLE => image.data.push(start..start + len),
                READ_ONLY_AFTER_RELOCATION => image.data.push(start..start + len),
                NOTE if image.build_id.is_empty() => {
                    let notes = std::slice::from_raw_parts(start as *const u8, len.min(MOST_NOTE));
                    image.build_id = build_id(notes).unwrap_or_default();
                }
                _ => {}
            }
        }
    }
    1
}

/// The build id among these notes: each is the lengths of a name and of a value, a type, and
/// both, in multiples of four bytes.
fn build_id(mut notes: &[u8]) -> Option<Vec<u8>> {
    while notes.len() >= 12 {
        let [name, value, kind] = [0, 4, 8].map(|at| u32::from_le_bytes(field(notes, at)));
        let (name, value) = (name as usize, value as usize);
        let from = 12 + name.next_multiple_of(4);
        let body = notes.get(from..from.checked_add(value)?)?;
        if kind == BUILD_ID && notes.get(12..12 + name)? == b"GNU\0" {
            return Some(body.to_vec());
        }
        notes = notes.get(from + value.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_can_be_executed_again() {
        let image = Image::of_this_process();
        assert!(image.can_be_executed().expect("the file can be read"));
        assert_eq!(image.fingerprint(), Image::of_this_process().fingerprint());
    }

    #[test]
    fn only_its_own_code_has_a_place_in_it() {
        let image = Image::of_this_process();
        let here = only_its_own_code_has_a_place_in_it as fn() as usize;
        let offset = image.offset_of(here).expect("a function of this program");
        assert_eq!(image.address_of(offset), Some(here));
        assert_eq!(image.offset_of(libc::getpid as *const () as usize), None, "the C library is another image");
        assert_eq!(image.offset_of(&raw const image as usize), None, "the stack is none");
        assert_eq!(image.address_of(u64::MAX), None);
    }

    #[test]
    fn the_build_id_is_found_among_other_notes() {
        let note = |name: &[u8], kind: u32, value: &[u8]| {
            let mut bytes = Vec::new();
            for number in [name.len() as u32, value.len() as u32, kind] {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for part in [name, value] {
                bytes.extend_from_slice(part);
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            bytes
        };
        let notes = [note(b"GNU\0", 1, b"abi"), note(b"other\0", BUILD_ID, b"x"), note(b"GNU\0", BUILD_ID, b"12345")];
        assert_eq!(build_id(&notes.concat()), Some(b"12345".to_vec()));
        assert_eq!(build_id(&notes[..2].concat()), None);
        for len in 0..notes.concat().len() {
            let _ = build_id(&notes.concat()[..len]);
        }
    }
}
