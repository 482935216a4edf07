//! Private and shared mappings, and what fork does to them.

#![allow(unsafe_code)]

use memmap2::{Advice, MmapOptions, MmapRaw};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap, mmap_anonymous, munmap};
use std::fs::File;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::ptr::NonNull;

/// The size that mappings are rounded to.
pub(crate) fn page_size() -> usize {
    // SAFETY: sysconf has no preconditions.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Maps the first `len` bytes of `file`, shared; a forked child does not have it.
pub(crate) fn map_shared(file: &File, len: usize) -> io::Result<MmapRaw> {
    let map = MmapOptions::new().len(len).map_raw(file)?;
    map.advise(Advice::DontFork)?;
    Ok(map)
}

/// Touches every page of `map[..len]`, so that no first access faults. Best
/// effort: before Linux 5.14 the kernel does not know the advice.
pub(crate) fn prefault(map: &MmapRaw, len: usize) {
    let _ = map.advise_range(Advice::PopulateWrite, 0, len.min(map.len()));
}

/// Maps in a part of `map` that has pages, so that no first access faults. Best effort.
pub(crate) fn populate(map: &MmapRaw, offset: usize, len: usize) {
    let _ = map.advise_range(Advice::PopulateWrite, offset, len);
}

/// A page that keeps an open file description, and with it its locks, alive for
/// exactly as long as this address space has it: no descriptor is left that
/// could leak, be closed by `close_range` or be inherited.
pub(crate) struct Anchor {
    page: NonNull<libc::c_void>,
    len: usize,
}

// SAFETY: the page is never read or written; unmapping it is allowed from any thread.
unsafe impl Send for Anchor {}
// SAFETY: as above: there is nothing to access.
unsafe impl Sync for Anchor {}

impl Anchor {
    /// Maps one page of `file` without any access right and drops nothing: the
    /// caller closes its descriptor afterwards.
    pub(crate) fn new(file: impl AsFd) -> io::Result<Anchor> {
        let len = page_size();
        let size = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a fresh mapping at an address of the kernel's choice touches
        // no memory that exists; PROT_NONE means nothing can be read through it.
        let page = unsafe { mmap(None, size, ProtFlags::PROT_NONE, MapFlags::MAP_SHARED, file, 0)? };
        let anchor = Anchor { page, len };
        // SAFETY: the range is the page just mapped.
        unsafe { madvise(page, len, MmapAdvise::MADV_DONTFORK)? };
        Ok(anchor)
    }

    /// Gives up without unmapping: in a forked child the page is not ours (it
    /// was not inherited, and something else may be at that address).
    pub(crate) fn forget(self) {
        std::mem::forget(self);
    }
}

impl Drop for Anchor {
    fn drop(&mut self) {
        // SAFETY: the page was mapped by `new` and is unmapped once, here.
        let _ = unsafe { munmap(self.page, self.len) };
    }
}

/// One `T` on a page of its own that a forked child finds full of zeros.
///
/// This is how an inherited handle is detected at no cost: the limits that every
/// operation compares anyway read zero, and the slow path sees why.
pub(crate) struct Wiped<T> {
    page: NonNull<T>,
    len: usize,
}

// SAFETY: `Wiped` owns its `T` as a box does.
unsafe impl<T: Send> Send for Wiped<T> {}

impl<T: bytemuck::Zeroable> Wiped<T> {
    /// A zeroed `T`.
    pub(crate) fn zeroed() -> io::Result<Wiped<T>> {
        let len = size_of::<T>().max(1).next_multiple_of(page_size());
        let size = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: an anonymous mapping at an address of the kernel's choice.
        let page =
            unsafe { mmap_anonymous(None, size, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)? };
        let wiped = Wiped { page: page.cast(), len };
        // SAFETY: the range is the mapping just made.
        unsafe { madvise(page, len, MmapAdvise::MADV_WIPEONFORK)? };
        Ok(wiped)
    }
}

impl<T> std::ops::Deref for Wiped<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: the mapping is page-aligned, large enough, lives as long as
        // `self`, and all-zero bytes are a valid `T` (`Zeroable`).
        unsafe { self.page.as_ref() }
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        // SAFETY: mapped by `zeroed`, unmapped once. A private anonymous page is
        // inherited by fork, so this is right in a child too. `T` is plain cells.
        let _ = unsafe { munmap(self.page.cast(), self.len) };
    }
}

/// Tells processes apart across fork, without a system call: a word that a
/// forked child finds zero.
pub(crate) mod generation {
    use super::Wiped;
    use std::io;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static WORD: OnceLock<Wiped<WordCell>> = OnceLock::new();
    static NEXT: AtomicU64 = AtomicU64::new(1);

    pub(super) struct WordCell(AtomicU64);

    // SAFETY: one atomic integer; zero is a valid value.
    unsafe impl bytemuck::Zeroable for WordCell {}

    // SAFETY: the wiped page holds an atomic, which any thread may use.
    unsafe impl Sync for Wiped<WordCell> {}

    /// This process's number: what was stamped with another one was inherited by fork.
    pub(crate) fn current() -> io::Result<u64> {
        let word = match WORD.get() {
            Some(word) => word,
            None => {
                let fresh = Wiped::<WordCell>::zeroed()?;
                WORD.get_or_init(|| fresh)
            }
        };
        let seen = word.0.load(Ordering::Relaxed);
        if seen != 0 {
            return Ok(seen);
        }
        // The first use in this process. `NEXT` was copied by fork, so the
        // number differs from every one the parent has given out before it.
        let fresh = NEXT.fetch_add(1, Ordering::Relaxed);
        match word.0.compare_exchange(0, fresh, Ordering::Relaxed, Ordering::Relaxed) {
            Ok(_) => Ok(fresh),
            Err(other) => Ok(other),
        }
    }
}

/// One `T` for each process: a forked child makes its own, whatever state (locks that
/// other threads held) its parent's was in. A parent's is never freed.
pub(crate) struct PerProcess<T> {
    current: core::sync::atomic::AtomicPtr<Keyed<T>>,
}

struct Keyed<T> {
    born: u64,
    value: T,
}

impl<T: Default + Send + Sync + 'static> PerProcess<T> {
    pub(crate) const fn new() -> PerProcess<T> {
        PerProcess { current: core::sync::atomic::AtomicPtr::new(core::ptr::null_mut()) }
    }

    pub(crate) fn get(&self) -> io::Result<&'static T> {
        use core::sync::atomic::Ordering;
        let now = generation::current()?;
        loop {
            let found = self.current.load(Ordering::Acquire);
            // SAFETY: what is stored here was leaked below and is never freed; the acquire
            // pairs with the release of the exchange.
            if let Some(keyed) = unsafe { found.as_ref() }.filter(|keyed| keyed.born == now) {
                return Ok(&keyed.value);
            }
            let made = Box::into_raw(Box::new(Keyed { born: now, value: T::default() }));
            if self.current.compare_exchange(found, made, Ordering::AcqRel, Ordering::Relaxed).is_err() {
                // SAFETY: made above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(made) });
            }
        }
    }
}
