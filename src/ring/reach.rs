//! The arena of a ring that grows (rule G10): how far the blocks reach, and which of them have
//! memory. Allocating it and giving it back is the caller's.

use super::arena::{Arena, BlockHead, Hints};
use super::cells::{CellWord, Cells};
use crate::primitive::{AtomicU64, Ordering};
use core::cell::Cell;
use core::ops::Range;

/// Blocks of a class that are added at a time: a page of heads, or an eighth of what there are.
const STEP: u32 = if cfg!(loom) { 1 } else { 64 };
const PART: u32 = 8;

/// So many bytes of each class keep their memory while they are free, but for those whose blocks
/// are larger.
const KEPT_BYTES: u64 = 64 << 10;

/// What memory a block has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    None = 0,
    All = 1,
    /// It is being given or taken, or whoever was at that has died: nobody may count on any.
    Some = 2,
}

/// More blocks of a class, once their heads have memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    class: usize,
    first: u32,
    from: u32,
    to: u32,
}

impl Extension {
    /// Where the new heads lie, in bytes from the first head.
    pub(crate) fn heads(self) -> Range<u64> {
        let at = |block: u32| u64::from(self.first + block) * size_of::<BlockHead>() as u64;
        at(self.from)..at(self.to)
    }
}

impl<'m> Arena<'m> {
    /// Whether blocks get their memory when they are needed.
    pub(crate) fn grows(&self) -> bool {
        !self.reach.is_empty()
    }

    /// How many blocks of a class there are so far.
    pub(crate) fn reach_of(&self, class: usize) -> u32 {
        let count = self.classes.at(class).count;
        // Pair REACH: their heads have memory.
        self.reach.get(class).map_or(count, |reach| {
            let reach = reach.load(Ordering::Acquire);
            u32::try_from(reach).unwrap_or(u32::MAX).min(count)
        })
    }

    /// The head of a block, if there is one so far: whatever a slot says.
    pub(super) fn head(&self, block: usize) -> Option<&'m BlockHead> {
        let is_there = || {
            let number = u32::try_from(block).ok()?;
            let class = self.classes.iter().position(|class| number.wrapping_sub(class.first) < class.count)?;
            (number - self.classes.at(class).first < self.reach_of(class)).then_some(())
        };
        if self.grows() {
            is_there()?;
        }
        #[cfg(ringway_seeded)]
        if crate::primitive::seeded(37) {
            return self.head_unchecked(block);
        }
        self.heads.get(block)
    }

    /// All blocks that there are so far.
    pub(super) fn reached(&self) -> impl Iterator<Item = usize> {
        let whole = if self.grows() { 0..0 } else { 0..self.heads.len() };
        whole.chain(self.reached_for(0))
    }

    /// Of an arena that grows: those that a message of class `fitting` may take. (B1)
    pub(super) fn reached_by(&self, fitting: usize) -> impl Iterator<Item = usize> {
        let classes = if self.grows() { self.classes.iter().count() } else { 0 };
        (fitting..classes).flat_map(move |class| {
            let first = self.classes.at(class).first as usize;
            first + usize::from(class > fitting)..first + self.reach_of(class) as usize
        })
    }

    /// Of an arena that grows: those of a class, and of all larger ones.
    pub(super) fn reached_for(&self, class: usize) -> impl Iterator<Item = usize> {
        let classes = if self.grows() { self.classes.iter().count() } else { 0 };
        (class..classes).flat_map(move |class| {
            let first = self.classes.at(class).first as usize;
            first..first + self.reach_of(class) as usize
        })
    }

    /// How many that is.
    pub(crate) fn blocks_so_far(&self) -> u32 {
        u32::try_from(self.reached().count()).unwrap_or(u32::MAX)
    }

    /// B1 where the arena grows: a free one of the smallest size there is, among those that
    /// there are so far; but none of a larger size while there may be more of a smaller, and
    /// never the first of a larger size.
    pub(super) fn reserve_reached(&self, me: u32, fitting: usize, hints: &Hints) -> Option<u32> {
        for class in fitting..self.classes.iter().count() {
            let (own, reach) = (self.classes.at(class), self.reach_of(class));
            let hint = hints.0.get(class)?;
            for at in hint.order(reach).filter(|at| *at > 0 || class == fitting) {
                let cell = (own.first + at) as usize;
                if self.reserve_among(core::iter::once(cell), me).is_some() {
                    hint.found(at, reach);
                    return Some(own.first + at);
                }
            }
            if reach < own.count {
                return None;
            }
        }
        None
    }

    /// What can be added for messages of `len` bytes.
    pub(crate) fn extension(&self, len: usize) -> Option<Extension> {
        if !self.grows() {
            return None;
        }
        (self.classes.of_len(len)..self.classes.iter().count()).find_map(|class| {
            let (own, from) = (self.classes.at(class), self.reach_of(class));
            let to = from.saturating_add((from / PART).max(STEP)).min(own.count);
            (from < to).then_some(Extension { class, first: own.first, from, to })
        })
    }

    /// The new heads have memory, in which nobody has written: zeros, which is FREE.
    pub(crate) fn extend(&self, extension: Extension) {
        if let Some(reach) = self.reach.get(extension.class) {
            // Pair REACH. If somebody else was faster, there are as many or more.
            let (from, to) = (u64::from(extension.from), u64::from(extension.to));
            let _ = reach.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    fn backed_word(&self, block: u32) -> Option<&'m AtomicU64> {
        self.head(block as usize).map(|head| &head.backed)
    }

    fn memory_word(&self, block: u32) -> u64 {
        self.backed_word(block).map_or(Memory::None as u64, |word| word.load(Ordering::Relaxed))
    }

    /// Whether a block, which is this participant's, has memory.
    pub(crate) fn has_memory(&self, block: u32) -> bool {
        !self.grows() || self.memory_word(block) == Memory::All as u64
    }

    /// Whether it has, or may have some.
    pub(crate) fn may_have_memory(&self, block: u32) -> bool {
        !self.grows() || self.memory_word(block) != Memory::None as u64
    }

    /// What a block, which is this participant's, has now, or `Some` before that changes.
    pub(crate) fn set_memory(&self, block: u32, memory: Memory) {
        if let Some(word) = self.backed_word(block) {
            word.store(memory as u64, Ordering::Relaxed);
        }
    }

    /// Where a block lies, in bytes from the first.
    pub(crate) fn bytes_of(&self, block: u32) -> Range<u64> {
        self.classes.of_block(block).map_or(0..0, |class| {
            let start = class.offset + u64::from(block - class.first) * class.size;
            start..start + class.size
        })
    }

    /// Makes a free block that has memory, or may have some, this participant's, to take that: looks at `most`
    /// blocks, on from where it stopped last; `all` of them, or none of those that are kept.
    pub(crate) fn reserve_idle(&self, me: u32, next: &Cell<u32>, most: u32, all: bool) -> Option<u32> {
        let count = self.reached().count().max(1);
        let start = next.get() as usize % count;
        for cell in self.reached().chain(self.reached()).skip(start).take(most.min(count as u32) as usize) {
            next.set((next.get() + 1) % count as u32);
            let block = cell as u32;
            let kept = self
                .classes
                .of_block(block)
                .is_some_and(|class| u64::from(block - class.first) < KEPT_BYTES / class.size.max(1));
            let is_idle = self.load(cell) == CellWord::FREE && self.may_have_memory(block);
            if (all || !kept) && is_idle && self.reserve_among(core::iter::once(cell), me).is_some() {
                if self.may_have_memory(block) {
                    return Some(block);
                }
                self.cancel_block(block, me);
            }
        }
        None
    }
}
