//! The arena: blocks in which messages lie that no slot has room for (rules B1 to B5).
//!
//! A block is a cell (`cells.rs`). Its message is written before a position of the ring
//! is claimed, and read after the position was released, so that nobody waits for the
//! copy of a large message; the slot holds the number of the block. There is no free
//! list that a death could tear: whoever needs a block looks for a free one, from a
//! private hint.
//!
//! Blocks are of a few sizes, four times as large each. A message takes one of the
//! smallest size that has room for it, or, if none is free, of a larger one: but never
//! the first of that size, so that small messages cannot keep a large one out for ever.

#![allow(unsafe_code)]

use super::Ring;
use super::cells::{CellNote, CellState, CellWord, Cells, Holding};
use super::position::{Position, Stamp};
use super::{Side, Source, state};
use crate::primitive::{ArenaMemory, AtomicU64, Ordering, Payload};
use core::cell::Cell;

/// What is known of a block: a cache line of its own.
#[repr(C, align(64))]
pub(crate) struct BlockHead {
    word: AtomicU64,
    pub(crate) note: CellNote,
    /// Of the message that was written there last, in bytes.
    pub(crate) len: AtomicU64,
    /// Of an arena that grows: a [`Memory`](super::reach::Memory). Its owner's to say. (G10)
    pub(super) backed: AtomicU64,
}

impl BlockHead {
    /// Where its state word is.
    pub(crate) const WORD_AT: u64 = core::mem::offset_of!(BlockHead, word) as u64;

    /// Of a free block.
    #[cfg(loom)]
    pub(crate) fn new() -> BlockHead {
        let zero = || AtomicU64::new(0);
        BlockHead { word: zero(), note: CellNote { id: zero(), since: zero() }, len: zero(), backed: zero() }
    }
}

/// Blocks of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Class {
    /// Bytes of each.
    pub(crate) size: u64,
    /// How many blocks of other classes are numbered before these.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Where the first of them begins.
    pub(super) offset: u64,
}

/// How an arena is cut into blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Classes {
    all: [Class; Classes::MOST],
    count: usize,
    /// Bytes of the longest message.
    longest: u64,
}

impl Classes {
    pub(crate) const MOST: usize = 12;
    const SMALLEST: u64 = 256;
    const PAGE: u64 = 4096;

    /// Bytes of the smallest block, where slots have room for messages of `inline` bytes.
    pub(crate) fn smallest(inline: u64) -> u64 {
        let mut size = Classes::SMALLEST;
        while size <= inline && size < 1 << 40 {
            size *= 4;
        }
        size
    }

    /// Bytes of the largest block.
    pub(crate) fn largest(max_message: u64) -> u64 {
        let least = max_message.clamp(1, 1 << 40);
        least.next_multiple_of(if least >= Classes::PAGE { Classes::PAGE } else { 64 })
    }

    /// Cuts `bytes` into blocks: one of the largest size in any case; of the smallest as
    /// many as the ring has slots, unless that is more than half of the rest; and half of
    /// what then remains to each size, from the largest down.
    pub(crate) fn cut(capacity: u64, inline: u64, max_message: u64, bytes: u64) -> Classes {
        let largest = Classes::largest(max_message);
        let mut sizes = [0; Classes::MOST];
        let mut count = 0;
        let mut size = Classes::smallest(inline);
        while size < largest && count + 1 < Classes::MOST {
            sizes[count] = size;
            count += 1;
            size *= 4;
        }
        sizes[count] = largest;
        count += 1;

        let mut counts = [0; Classes::MOST];
        counts[count - 1] = 1;
        let mut rest = bytes.saturating_sub(largest);
        if count > 1 {
            counts[0] = capacity.min(rest / 2 / sizes[0]);
            rest -= counts[0] * sizes[0];
        }
        for class in (0..count).rev() {
            let share = if class == 0 { rest } else { rest / 2 };
            let more = share / sizes[class];
            counts[class] += more;
            rest -= more * sizes[class];
        }

        // The largest first: those of a page or more then begin on one.
        let mut classes = Classes { all: [Class::default(); Classes::MOST], count, longest: max_message };
        let (mut first, mut offset) = (0u64, 0);
        for class in (0..count).rev() {
            let number = counts[class].min(u64::from(u32::MAX >> 1).saturating_sub(first));
            classes.all[class] = Class { size: sizes[class], first: first as u32, count: number as u32, offset };
            first += number;
            offset += number * sizes[class];
        }
        classes
    }

    /// The same blocks, for messages that do not fill the largest.
    pub(crate) fn no_longer_than(self, longest: u64) -> Classes {
        Classes { longest, ..self }
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Class> {
        self.all.iter().take(self.count)
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        self.iter().map(|class| u64::from(class.count)).sum()
    }

    /// Bytes of all of them.
    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|class| u64::from(class.count) * class.size).sum()
    }

    /// The smallest that there are blocks of with room for `len` bytes.
    pub(super) fn of_len(&self, len: usize) -> usize {
        self.iter().position(|class| class.size >= len as u64 && class.count > 0).unwrap_or(self.count)
    }

    pub(super) fn of_block(&self, block: u32) -> Option<&Class> {
        self.iter().find(|class| block.checked_sub(class.first).is_some_and(|at| at < class.count))
    }

    /// The class at an index of its own, from the smallest.
    pub(super) fn at(&self, class: usize) -> Class {
        self.all.get(class).copied().filter(|_| class < self.count).unwrap_or_default()
    }
}

/// The blocks of one queue. Copyable: it owns nothing.
#[derive(Clone, Copy)]
pub struct Arena<'m> {
    pub(super) heads: &'m [BlockHead],
    memory: ArenaMemory,
    pub(super) classes: Classes,
    /// Whether who has read a message stores to its lines.
    adopts: bool,
    /// Of an arena that grows: how many blocks of each class there are so far. (G10)
    pub(super) reach: &'m [AtomicU64],
}

/// Where a producer looks first. All zeros are valid.
#[derive(Default)]
pub(crate) struct Hints(pub(super) [Hint; Classes::MOST]);

// SAFETY: plain cells of integers; all zeros is a valid value.
unsafe impl bytemuck::Zeroable for Hints {}

#[derive(Default)]
pub(super) struct Hint {
    next: Cell<u32>,
    /// Blocks beyond it are not used while some below it are free: they would be cold.
    window: Cell<u32>,
    /// How often in a row the first look found one.
    lucky: Cell<u32>,
}

impl Hint {
    const LEAST: u32 = 4;
    const LUCKY: u32 = 64;

    /// What to look at, in order, of `count` blocks.
    pub(super) fn order(&self, count: u32) -> impl Iterator<Item = u32> + use<> {
        let window = self.window.get().max(Hint::LEAST).min(count);
        let next = if self.next.get() < window { self.next.get() } else { 0 };
        (next..window).chain(0..next).chain(window..count)
    }

    pub(super) fn found(&self, block: u32, count: u32) {
        let window = self.window.get().max(Hint::LEAST).min(count);
        let is_lucky = self.next.get() == block;
        self.lucky.set(if is_lucky { self.lucky.get() + 1 } else { 0 });
        self.next.set(block + 1);
        if block >= window {
            self.window.set((2 * window).max(block + 1).min(count));
        } else if self.lucky.get() >= Hint::LUCKY {
            self.lucky.set(0);
            self.window.set(window / 2);
        } else {
            self.window.set(window);
        }
    }
}

/// A block whose message is this participant's to read.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    block: u32,
    word: CellWord,
    is_lease: bool,
}

impl Taken {
    pub(super) fn of_lease(holding: Holding) -> Taken {
        Taken { block: holding.cell as u32, word: holding.word, is_lease: true }
    }
}

impl Cells for Arena<'_> {
    const ARE_BLOCKS: bool = true;

    fn count(&self) -> usize {
        self.heads.len()
    }

    fn word(&self, cell: usize) -> Option<&AtomicU64> {
        self.head(cell).map(|head| &head.word)
    }

    fn note(&self, cell: usize) -> Option<&CellNote> {
        self.head(cell).map(|head| &head.note)
    }

    fn all(&self) -> impl Iterator<Item = (usize, CellWord)> {
        self.reached().map(|cell| (cell, self.load(cell)))
    }
}

impl<'m> Arena<'m> {
    /// # Safety
    ///
    /// `memory` has as many bytes as `classes` say, for as long as any copy is used.
    pub(crate) unsafe fn new(
        heads: &'m [BlockHead],
        memory: ArenaMemory,
        classes: Classes,
        reach: &'m [AtomicU64],
    ) -> Arena<'m> {
        debug_assert!(heads.len() as u64 == classes.blocks());
        Arena { heads, memory, classes, adopts: false, reach }
    }

    /// The same blocks; their readers make the next writer's stores cheap.
    pub(crate) fn adopting(self, adopts: bool) -> Arena<'m> {
        Arena { adopts, ..self }
    }

    /// Whether to adopt the lines of a message of `len` bytes. Of longer ones, those that lie in the next three blocks
    /// ([`Hint::LEAST`]) have driven its lines from this core's caches before it is their turn to be written, and the
    /// store would only cost (`docs/benchmarks.md`: 64 KiB 2.3 µs instead of 7.7, 1 MiB 32 instead of 22).
    pub(crate) fn adopting_pays(&self, len: usize) -> bool {
        const LONGEST: usize = 256 << 10;
        self.adopts && len <= LONGEST
    }

    /// Of a ring that has none.
    #[cfg(all(test, not(loom)))]
    pub(crate) fn none() -> Arena<'m> {
        // SAFETY: no bytes.
        let memory = unsafe { ArenaMemory::new(core::ptr::null_mut(), 0) };
        Arena { heads: &[], memory, classes: Classes::default(), adopts: false, reach: &[] }
    }

    /// What nobody does: a negative control of the scribbler.
    #[cfg(ringway_seeded)]
    pub(super) fn head_unchecked(&self, block: usize) -> Option<&'m BlockHead> {
        // SAFETY: none. A slot may name any block. Only a build that has bugs on purpose has this one,
        // and only who chooses it runs it.
        Some(unsafe { &*self.heads.as_ptr().wrapping_add(block) })
    }

    /// Whether there are any blocks.
    pub(crate) fn is_there(&self) -> bool {
        !self.heads.is_empty()
    }

    /// B1. Makes a free block with room for `len` bytes this participant's.
    pub(crate) fn reserve_block(&self, me: u32, len: usize, hints: &Hints) -> Option<u32> {
        let class = self.classes.of_len(len);
        if self.grows() {
            return self.reserve_reached(me, class, hints);
        }
        let (own, hint) = (self.classes.all.get(class)?, hints.0.get(class)?);
        // Producers begin at different blocks.
        let count = u64::from(own.count.max(1));
        let turn = |at: u32| own.first + ((u64::from(at) + u64::from(me) * 16) % count) as u32;
        for at in hint.order(own.count) {
            if self.reserve_among(core::iter::once(turn(at) as usize), me).is_some() {
                hint.found(at, own.count);
                return Some(turn(at));
            }
        }
        let larger = self.classes.iter().skip(class + 1);
        let spare = |class: &Class| class.first as usize + 1..(class.first + class.count.max(1)) as usize;
        larger.map(spare).find_map(|cells| self.reserve_among(cells, me)).map(|cell| cell as u32)
    }

    /// Whether [`Arena::reserve_block`] may find one.
    pub(crate) fn has_room_for(&self, len: usize) -> bool {
        if self.grows() {
            let is_free = |cell: usize| self.load(cell) == CellWord::FREE;
            return self.extension(len).is_some() || self.reached_by(self.classes.of_len(len)).any(is_free);
        }
        let cells = |at: usize, class: &Class| {
            class.first as usize + usize::from(at > 0)..(class.first + class.count.max(1)) as usize
        };
        let fitting = self.classes.iter().skip(self.classes.of_len(len));
        let mut all = fitting.enumerate().flat_map(|(at, class)| cells(at, class));
        all.any(|cell| self.load(cell) == CellWord::FREE)
    }

    /// Whether no block of any size is free.
    pub(crate) fn is_full(&self) -> bool {
        self.is_there() && self.extension(0).is_none() && !self.all().any(|(_, word)| word == CellWord::FREE)
    }

    /// A block that was reserved is not needed.
    pub(crate) fn cancel_block(&self, block: u32, me: u32) {
        self.cancel(block as usize, me);
    }

    /// The bytes of a block.
    pub(crate) fn payload(&self, block: u32) -> Option<Payload> {
        let class = self.classes.of_block(block)?;
        let offset = class.offset + u64::from(block - class.first) * class.size;
        // SAFETY: the block is one of this class, so it lies in the memory that `new` was
        // promised.
        Some(unsafe { self.memory.payload(block as usize, offset, class.size as usize) })
    }

    /// How long the message is that was written to a block.
    pub(crate) fn set_len(&self, block: u32, len: usize) {
        if let Some(head) = self.head(block as usize) {
            head.len.store(len as u64, Ordering::Relaxed);
        }
    }

    /// The same, read once, and no more than there is room for, nor than any message has.
    pub(crate) fn len(&self, block: u32) -> usize {
        let room = self.classes.of_block(block).map_or(0, |class| class.size.min(self.classes.longest));
        self.head(block as usize).map_or(0, |head| head.len.load(Ordering::Relaxed).min(room)) as usize
    }

    /// B2. The message of this block will be at `position`, which this participant has
    /// claimed.
    fn place(&self, block: u32, me: u32, position: Position) {
        if let Some(note) = self.note(block as usize) {
            note.store(position, 0);
        }
        self.set(block as usize, CellWord::placed(me, CellWord::low(position)));
    }

    /// B2. The put was refused after all: the block is its owner's again. False: somebody
    /// has scribbled.
    #[must_use]
    fn displace(&self, block: u32, me: u32, position: Position) -> bool {
        let seen = CellWord::placed(me, CellWord::low(position));
        self.exchange(block as usize, seen, CellWord::writing(me))
    }

    /// What a block says that is at `position` as this reader found it there.
    fn placed_at(&self, block: u32, position: Position) -> Option<CellWord> {
        let seen = self.load(block as usize);
        let CellState::Placed { position: low, .. } = seen.state() else { return None };
        (low == CellWord::low(position)).then_some(seen)
    }

    /// B3. The commit of a plain get. None: it was a husk.
    pub(crate) fn take(&self, block: u32, me: u32, position: Position) -> Option<Taken> {
        let seen = self.placed_at(block, position)?;
        let word = CellWord::taken(me, CellWord::low(position));
        self.exchange(block as usize, seen, word).then_some(Taken { block, word, is_lease: false })
    }

    /// B3. The commit of a lease.
    pub(super) fn hold(&self, block: u32, me: u32, position: Position, count: u32, since: u64) -> Option<Holding> {
        let seen = self.placed_at(block, position)?;
        let word = CellWord::held(me, CellWord::low(position), count);
        if !self.exchange(block as usize, seen, word) {
            return None;
        }
        if let Some(note) = self.note(block as usize) {
            note.since.store(since, Ordering::Relaxed);
        }
        Some(Holding { cell: block as usize, word, is_block: true, id: position.get(), count })
    }

    /// L4 for a plain get.
    pub(super) fn take_back(&self, me: u32) -> Option<Taken> {
        self.all().find_map(|(cell, seen)| {
            let CellState::Back { position, .. } = seen.state() else { return None };
            let word = CellWord::taken(me, position);
            self.exchange(cell, seen, word).then_some(Taken { block: cell as u32, word, is_lease: false })
        })
    }

    /// What nobody does: a negative control of the models.
    #[cfg(loom)]
    pub(crate) fn free_before_reading(&self, taken: Taken) {
        let _ = self.exchange(taken.block as usize, taken.word, CellWord::FREE);
    }

    /// Copies the message out, behind what `into` has. A plain get is then done with the
    /// block. False: somebody has scribbled.
    pub(crate) fn fetch(&self, taken: Taken, into: &mut Vec<u8>) -> bool {
        let len = self.len(taken.block);
        into.reserve_exact(len);
        let before = into.len();
        if let Some(payload) = self.payload(taken.block) {
            // SAFETY: `len` is clamped to the block, and the vector has room for so much,
            // which is then initialised. The block is TAKEN or HELD by us: nobody else
            // touches it, and it begins with a cache line.
            unsafe {
                if self.adopting_pays(len) {
                    payload.read_and_adopt(into.as_mut_ptr().add(before), len);
                } else {
                    payload.read_bulk(0, into.as_mut_ptr().add(before), len);
                }
                into.set_len(before + len);
            }
        }
        taken.is_lease || self.exchange(taken.block as usize, taken.word, CellWord::FREE)
    }
}

/// Bit of the word where a short message has its length: the rest is a block's number.
pub(crate) const IN_A_BLOCK: u32 = 1 << 31;

/// A message that lies in a block, ready to be put.
pub(crate) struct Placing {
    block: u32,
    at: Cell<Option<Position>>,
}

impl Placing {
    pub(crate) fn new(block: u32) -> Placing {
        Placing { block, at: Cell::new(None) }
    }

    /// After a put that was refused: the block is its owner's again. False: somebody has
    /// scribbled, and it is not.
    #[must_use]
    pub(crate) fn take_back(&self, ring: &Ring<'_>) -> bool {
        self.at.take().is_none_or(|position| ring.arena.displace(self.block, ring.index, position))
    }
}

impl Source for Placing {
    fn place(&self, ring: &Ring<'_>, position: Position) {
        ring.arena.place(self.block, ring.index, position);
        self.at.set(Some(position));
    }

    unsafe fn write(&self, payload: Payload, _skip: usize) {
        let word = (self.block | IN_A_BLOCK).to_ne_bytes();
        // SAFETY: slots of a queue with an arena have room for a length.
        unsafe { payload.write(0, word.as_ptr(), word.len()) }
    }
}

/// Whether the ring has the message of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InRing {
    Yes,
    No,
    /// The claim is there, and a successor that has not begun yet holds the side: it will bury the claim.
    NotYetKnown,
}

impl Ring<'_> {
    /// B5. Whether the ring has the message of a block that a participant, which is dead
    /// or leaves and whose claims were finished, had placed at `position`.
    pub(super) fn find_block(&self, block: usize, position: Position) -> InRing {
        let known = |is_there| if is_there { InRing::Yes } else { InRing::No };
        if self.consumers == Side::Single && position < self.control.load_taken() {
            return InRing::No;
        }
        if (self.producers, self.consumers) != (Side::Single, Side::Single) {
            let stamp = self.stamp_at(position);
            // CLAIM(p) of a Single producer whose role byte is not free yet, or is a successor's.
            if self.producers == Side::Single && stamp == Stamp::claim(position) {
                return InRing::NotYetKnown;
            }
            return known(stamp.is_full(position) || stamp.is_back(position));
        }
        // There the stamp does not say whose message it is: a successor may have put its
        // own. What is published stands still while it is not taken.
        let (at, cell) = self.blocks.locate(self.index_of(position));
        if state::load_block(self.blocks, at) <= position {
            return InRing::No;
        }
        let mut word = [0; size_of::<u32>()];
        // SAFETY: `locate` gives what is in bounds; a queue with an arena has room for a
        // length.
        unsafe { self.blocks.payload(at, cell).read(0, word.as_mut_ptr(), word.len()) };
        let named = u32::from_ne_bytes(word);
        // Taken meanwhile: then its reader has changed the word of the block.
        known(self.control.load_taken() > position || named == (block as u32 | IN_A_BLOCK))
    }
}
