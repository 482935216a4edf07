//! Chunks: the slots of a ring that grows lie in a sparse file, and a chunk of them has
//! pages while it has messages; some keep them a little longer (rules G1 to G9, G11, G12). Which part of
//! the file is a chunk's, its place, changes: the next chunk takes the pages of one that is drained.
//!
//! Here are the words and who may change them. Allocating pages and giving them back is
//! the caller's, between two of the steps: this folder knows no file.
//!
//! | pair | release | acquire | carries |
//! |---|---|---|---|
//! | CHUNK | every exchange | `Chunks::load`, every exchange | the stamps that were laid out; the pages |
//! | PLACE | `Chunks::move_to` | `Chunks::place` | "the chunk's word is not READY of that lap any more" |
//! | HAZARD | `Ring::touch_place` and the light barrier | the heavy barrier and `is_watched` | "I look at this place" |

mod punch;
mod spare;

pub(crate) use punch::Punch;
#[cfg(not(loom))]
pub(crate) use spare::place_of;

use super::position::{Position, Stamp, Tag};
use super::{Participant, Ring, state};
use crate::primitive::{AtomicU64, Fences, Ordering, light_barrier, seeded};
use core::cell::Cell;
use core::ops::Range;

/// What a chunk's word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkState {
    /// No pages, or none that anybody may count on.
    Hole,
    /// Its owner allocates its pages.
    Backing { owner: u32 },
    /// Its slots can be used.
    Ready,
    /// All of its messages were committed.
    Drained,
    /// Its owner gives its pages back.
    Punching { owner: u32 },
    /// No word that anybody writes.
    Nonsense,
}

/// `state << 61 | owner << 51 | lap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkWord(u64);

impl ChunkWord {
    const STATE_SHIFT: u32 = 61;
    const OWNER_SHIFT: u32 = 51;
    const LAP_MASK: u64 = (1 << ChunkWord::OWNER_SHIFT) - 1;

    const fn make(state: u64, owner: u32, lap: u64) -> ChunkWord {
        ChunkWord(
            state << ChunkWord::STATE_SHIFT
                | (owner as u64 & 0x3ff) << ChunkWord::OWNER_SHIFT
                | lap & ChunkWord::LAP_MASK,
        )
    }

    const fn hole(lap: u64) -> ChunkWord {
        ChunkWord::make(1, 0, lap)
    }

    const fn backing(lap: u64, owner: u32) -> ChunkWord {
        ChunkWord::make(2, owner, lap)
    }

    const fn ready(lap: u64) -> ChunkWord {
        ChunkWord::make(3, 0, lap)
    }

    const fn drained(lap: u64) -> ChunkWord {
        ChunkWord::make(4, 0, lap)
    }

    const fn punching(lap: u64, owner: u32) -> ChunkWord {
        ChunkWord::make(5, owner, lap)
    }

    pub(crate) const fn from_raw(raw: u64) -> ChunkWord {
        ChunkWord(raw)
    }

    pub(crate) const fn lap(self) -> u64 {
        self.0 & ChunkWord::LAP_MASK
    }

    pub(crate) const fn state(self) -> ChunkState {
        let owner = (self.0 >> ChunkWord::OWNER_SHIFT) as u32 & 0x3ff;
        match self.0 >> ChunkWord::STATE_SHIFT {
            1 => ChunkState::Hole,
            2 => ChunkState::Backing { owner },
            3 => ChunkState::Ready,
            4 => ChunkState::Drained,
            5 => ChunkState::Punching { owner },
            _ => ChunkState::Nonsense,
        }
    }

    /// Whether nothing of `lap` was put into the chunk yet.
    const fn is_before(self, lap: u64) -> bool {
        match self.state() {
            ChunkState::Hole | ChunkState::Backing { .. } => self.lap() <= lap,
            _ => self.lap() < lap,
        }
    }
}

/// The chunks of one ring. Copyable: it owns nothing.
#[derive(Clone, Copy)]
pub(crate) struct Chunks<'m> {
    words: &'m [AtomicU64],
    /// As many: in which place a chunk lies, and above that which place it is being exchanged for.
    places: &'m [AtomicU64],
    /// Slots of each; 0: the ring has no chunks, and does not grow.
    pub(crate) slots: u64,
    /// Which hazard word looks use: two threads of one participant may look.
    pub(crate) look: usize,
}

/// Whose hazard word.
pub(super) const BY_PUT: usize = 0;
pub(super) const BY_GET: usize = 1;
/// Of the participant's own thread, and of whoever looks on its behalf.
pub(crate) const BY_LOOK: usize = 2;
pub(crate) const BY_BYSTANDER: usize = 3;

impl<'m> Chunks<'m> {
    /// `words` are two for each chunk: all chunk words, then all place words.
    pub(crate) fn new(words: &'m [AtomicU64], slots: u64) -> Chunks<'m> {
        let (words, places) = words.split_at(words.len() / 2);
        Chunks { words, places, slots, look: BY_LOOK }
    }

    /// Of a ring that does not grow.
    #[cfg(all(test, not(loom)))]
    pub(crate) const fn none() -> Chunks<'m> {
        Chunks { words: &[], places: &[], slots: 0, look: BY_LOOK }
    }

    /// First words: nothing has pages but the first chunk.
    pub(crate) fn initialise(self) {
        for (chunk, word) in self.words.iter().enumerate() {
            let first = if chunk == 0 { ChunkWord::ready(1) } else { ChunkWord::hole(1) };
            word.store(first.0, Ordering::Relaxed);
        }
        for (chunk, place) in self.places.iter().enumerate() {
            place.store(chunk as u64, Ordering::Relaxed);
        }
    }

    fn load(self, chunk: usize) -> ChunkWord {
        // Pair CHUNK. There is no such chunk: a state that nobody acts on.
        ChunkWord(self.words.get(chunk).map_or(0, |word| word.load(Ordering::Acquire)))
    }

    #[must_use]
    fn exchange(self, chunk: usize, seen: ChunkWord, to: ChunkWord) -> bool {
        // Pair CHUNK.
        self.words
            .get(chunk)
            .is_some_and(|word| word.compare_exchange(seen.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }
}

/// A chunk that this participant backs or punches, and its place.
#[derive(Debug)]
pub(crate) struct ChunkJob {
    chunk: usize,
    word: ChunkWord,
    place: usize,
}

/// The next chunk, before its pages are there.
#[derive(Debug)]
#[must_use]
pub(crate) enum Growth {
    /// Somebody has made it.
    Open,
    /// It has the pages of a chunk that was drained. Tell who has waited for either.
    Reused,
    /// The words contradict each other.
    Damaged,
    /// Allocate its pages, then [`Ring::lay_out`] or [`Ring::abandon`].
    Mine(ChunkJob),
    /// Another participant is at it.
    Busy,
}

/// What a producer finds at the position that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// The chunk has no pages.
    Grow,
    /// Another participant backs or punches it.
    Busy,
    /// Its messages of the lap before are not all committed.
    Full,
    /// It belongs to a later lap: the position is no longer the next one.
    Moved,
}

/// Slots of a place may be touched while this lives. (G2)
#[must_use]
pub(super) struct Touch<'m> {
    hazard: Option<&'m AtomicU64>,
    place: usize,
}

impl Drop for Touch<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if let Some(hazard) = self.hazard {
            // Pair HAZARD: what was read was read before.
            hazard.store(0, Ordering::Release);
        }
    }
}

/// The chunk that a side is in. All zeros: none.
#[derive(Default)]
pub(super) struct Window {
    base: Cell<u64>,
    len: Cell<u64>,
    first: Cell<usize>,
    chunk: Cell<usize>,
    /// What its word says while it may be touched.
    ready: Cell<u64>,
    place: Cell<usize>,
    /// A chunk that was left, plus one: it may be drained.
    left: Cell<usize>,
    /// So many slots of a chunk were found free for the positions from here on.
    found_free: Cell<u64>,
    found_from: Cell<u64>,
    /// There was no space for the next chunk.
    pub(super) no_space: Cell<bool>,
}

impl Window {
    /// The slot of a position of this chunk, and how many positions the chunk has from there.
    #[inline(always)]
    pub(super) fn slot(&self, position: Position) -> Option<(usize, u64)> {
        let offset = position.get().wrapping_sub(self.base.get());
        (offset < self.len.get()).then(|| (self.first.get() + offset as usize, self.len.get() - offset))
    }

    fn leave(&self) {
        if self.len.replace(0) > 0 {
            self.left.set(self.chunk.get() + 1);
        }
    }

    pub(super) fn has_left(&self, chunk: usize) {
        self.left.set(chunk + 1);
    }
}

impl Participant {
    /// Of a participant that is dead, or has just come: it looks at nothing. (G8)
    fn withdraw_hazards(&self) {
        for hazard in &self.intents.hazards {
            hazard.store(0, Ordering::Release);
        }
    }
}

impl<'m> Ring<'m> {
    /// Whether the ring grows and shrinks.
    #[inline(always)]
    pub(crate) fn is_chunked(&self) -> bool {
        self.chunks.slots > 0
    }

    /// The chunk and the lap of a position: divisions.
    pub(super) fn chunk_of(&self, position: Position) -> (usize, u64) {
        let lap = position.get() / self.capacity;
        let index = position.get() % self.capacity;
        ((index / self.chunks.slots.max(1)) as usize, lap)
    }

    /// The first position of a chunk in a lap.
    fn chunk_base(&self, chunk: usize, lap: u64) -> Position {
        Position::new(lap.wrapping_mul(self.capacity).wrapping_add(chunk as u64 * self.chunks.slots))
    }

    fn slots_of_place(&self, place: usize) -> Range<usize> {
        let first = place * self.chunks.slots as usize;
        first..(first + self.chunks.slots as usize).min(self.slots.count())
    }

    /// How far from a position is the one whose FREE its commit leaves. (R7)
    #[inline(always)]
    pub(super) fn step(&self) -> u64 {
        if self.is_chunked() { self.chunks.slots } else { self.capacity }
    }

    /// The slot of a position that is in the chunk that is touched; of any, where there are none.
    pub(super) fn index_under(&self, touch: &Touch<'_>, position: Position) -> usize {
        if !self.is_chunked() {
            return self.index_of(position);
        }
        touch.place * self.chunks.slots as usize + (position.get() % self.chunks.slots) as usize
    }

    /// G2. None: the chunk is not READY of that lap, and must not be touched.
    pub(super) fn touch(&self, by: usize, chunk: usize, lap: u64) -> Option<Touch<'m>> {
        let is_ready = self.chunks.load(chunk) == ChunkWord::ready(lap) || seeded(60);
        let ready = ChunkWord::ready(lap).0;
        is_ready.then(|| self.touch_place(by, chunk, ready, self.chunks.place(chunk), self.fences)).flatten()
    }

    /// The same where a look that found READY came before a look at the place.
    #[inline(always)]
    fn touch_place(&self, by: usize, chunk: usize, ready: u64, place: usize, fences: Fences) -> Option<Touch<'m>> {
        let word = self.chunks.words.get(chunk)?;
        let hazard = &self.me.intents.hazards[by];
        // Pair HAZARD.
        hazard.store(if seeded(63) { chunk } else { place } as u64 + 1, Ordering::Relaxed);
        light_barrier(fences);
        let touch = Touch { hazard: Some(hazard), place };
        // Pair CHUNK.
        (word.load(Ordering::Acquire) == ready || seeded(60)).then_some(touch)
    }

    /// The same for the chunk that a side is in.
    #[inline(always)]
    pub(super) fn touch_window(&self, by: usize, window: &Window, fences: Fences) -> Option<Touch<'m>> {
        self.touch_place(by, window.chunk.get(), window.ready.get(), window.place.get(), fences)
    }

    /// For recovery: the slot of a position that was claimed, unless that is finished: its
    /// chunk is then of a later lap, or drained.
    pub(super) fn touch_claimed(&self, position: Position) -> Option<Touch<'m>> {
        if !self.is_chunked() {
            return Some(Touch { hazard: None, place: 0 });
        }
        let (chunk, lap) = self.chunk_of(position);
        self.touch(self.chunks.look, chunk, lap)
    }

    /// What the stamp of a position says, or would say if its chunk had pages.
    #[cold]
    pub(super) fn stamp_in_chunk(&self, position: Position) -> Stamp {
        const LOOKS: u32 = 8;
        let (chunk, lap) = self.chunk_of(position);
        for _ in 0..LOOKS {
            let word = self.chunks.load(chunk);
            if word != ChunkWord::ready(lap) {
                return Stamp::free(if word.is_before(lap) { position } else { position.plus(self.step()) });
            }
            if let Some(touch) = self.touch(self.chunks.look, chunk, lap) {
                return state::load_stamp(self.slots, self.index_under(&touch, position));
            }
        }
        Stamp::free(position)
    }

    /// Calls `visit` with the slots in which a message of a position below `end` may be, and, of a
    /// ring of chunks, which position that is, until it says no. Says whether it never did. (G9)
    pub(super) fn visit_slots(&self, end: Position, mut visit: impl FnMut(usize, Option<Position>) -> bool) -> bool {
        if !self.is_chunked() {
            return (0..self.slots.count()).all(|index| visit(index, None));
        }
        (0..self.chunks.words.len()).all(|chunk| {
            let word = self.chunks.load(chunk);
            let base = self.chunk_base(chunk, word.lap());
            if word.state() != ChunkState::Ready || base >= end {
                return true;
            }
            let Some(touch) = self.touch(self.chunks.look, chunk, word.lap()) else { return true };
            self.slots_of_place(touch.place).zip(0..).all(|(index, offset)| visit(index, Some(base.plus(offset))))
        })
    }

    /// The positions below `end` of chunks that may have unfinished gets. (G9)
    pub(super) fn unfinished_gets(&self, end: Position) -> impl Iterator<Item = Position> {
        let ready = (0..self.chunks.words.len()).filter_map(move |chunk| {
            let word = self.chunks.load(chunk);
            let base = self.chunk_base(chunk, word.lap());
            (word.state() == ChunkState::Ready && base < end).then_some(base.get())
        });
        let slots = self.chunks.slots;
        ready.flat_map(move |base| base..base.saturating_add(slots).min(end.get())).map(Position::new)
    }

    /// G4. What is in the way of a put to `position`, which is the next one.
    pub(super) fn gate(&self, position: Position, window: Option<&Window>) -> Gate {
        const STEPS: u32 = 8;
        let (chunk, lap) = self.chunk_of(position);
        for _ in 0..STEPS {
            let word = self.chunks.load(chunk);
            match (word.state(), word.lap()) {
                (ChunkState::Ready, its) if its == lap => return Gate::Open,
                (ChunkState::Ready, its) if its + 1 == lap => {
                    if seeded(61) {
                        let _ = self.chunks.exchange(chunk, word, ChunkWord::ready(lap));
                    } else if !self.drain(chunk, word, window) && self.chunks.load(chunk) == word {
                        return Gate::Full;
                    }
                }
                (ChunkState::Drained, its) if its + 1 == lap => {
                    let _ = self.chunks.exchange(chunk, word, ChunkWord::ready(lap));
                }
                (ChunkState::Hole, its) if its == lap => return Gate::Grow,
                (ChunkState::Backing { owner }, its) if its == lap && self.is_index(owner) => return Gate::Busy,
                (ChunkState::Punching { owner }, its) if its + 1 == lap && self.is_index(owner) => return Gate::Busy,
                _ => return Gate::Moved,
            }
        }
        Gate::Busy
    }

    /// Whether a participant may have it, which is found if it is dead. (Who scribbles can name one
    /// that is not at it, and hold puts up for good: timed ones end.)
    fn is_index(&self, owner: u32) -> bool {
        (owner as usize) < self.everyone.len()
    }

    /// G3. Enters the chunk of the next position to put.
    #[inline]
    pub(super) fn enter_for_put(&self, window: &Window, position: Position) -> Result<(Touch<'m>, usize, u64), Gate> {
        if window.slot(position).is_none() {
            match self.gate(position, Some(window)) {
                Gate::Open => self.enter(window, position),
                other => return Err(other),
            }
        }
        let (index, rest) = window.slot(position).ok_or(Gate::Moved)?;
        let touch = self.touch_window(BY_PUT, window, self.fences).ok_or(Gate::Moved)?;
        Ok((touch, index, rest))
    }

    /// The same for a get. None: there is nothing at this position.
    #[inline]
    pub(super) fn enter_for_get(&self, window: &Window, position: Position) -> Option<(Touch<'m>, usize, u64)> {
        if window.slot(position).is_none() {
            window.leave();
            let (chunk, lap) = self.chunk_of(position);
            if self.chunks.load(chunk) != ChunkWord::ready(lap) {
                return None;
            }
            self.enter(window, position);
        }
        let (index, rest) = window.slot(position)?;
        Some((self.touch_window(BY_GET, window, self.fences)?, index, rest))
    }

    #[cold]
    fn enter(&self, window: &Window, position: Position) {
        window.leave();
        let (chunk, lap) = self.chunk_of(position);
        window.chunk.set(chunk);
        window.ready.set(ChunkWord::ready(lap).0);
        window.base.set(self.chunk_base(chunk, lap).get());
        window.place.set(self.chunks.place(chunk));
        window.first.set(window.place.get() * self.chunks.slots as usize);
        window.found_free.set(0);
        window.len.set(self.chunks.slots);
    }

    /// Whether the word of a position's chunk contradicts that it was claimed and not yet got.
    #[cold]
    pub(super) fn is_missing(&self, position: Position) -> bool {
        let (chunk, lap) = self.chunk_of(position);
        self.chunks.load(chunk) != ChunkWord::ready(lap)
    }

    /// Whether a chunk's consumers are in the way of the next put, not its messages.
    pub(super) fn is_chunk_held_up(&self, position: Position) -> bool {
        let (chunk, lap) = self.chunk_of(position);
        let word = self.chunks.load(chunk);
        match word.state() {
            ChunkState::Backing { .. } | ChunkState::Punching { .. } => true,
            ChunkState::Ready if word.lap() + 1 == lap => {
                self.chunk_base(chunk, word.lap()).plus(self.chunks.slots) <= self.control.load_head()
            }
            _ => false,
        }
    }

    /// G6. Whether the chunk, whose word was `seen` READY, is drained now; then its word
    /// says so.
    fn drain(&self, chunk: usize, seen: ChunkWord, window: Option<&Window>) -> bool {
        let next = self.chunk_base(chunk, seen.lap()).plus(self.step());
        {
            let Some(touch) = self.touch(self.chunks.look, chunk, seen.lap()) else { return false };
            let seen_here = |window: &&Window| window.found_from.get() == next.get();
            let known = window.filter(seen_here).map_or(0, |window| window.found_free.get());
            let mut free = known;
            for index in self.slots_of_place(touch.place).skip(known as usize) {
                if state::load_stamp(self.slots, index) != Stamp::free(next.plus(free)) {
                    break;
                }
                free += 1;
            }
            if let Some(window) = window {
                window.found_free.set(free);
                window.found_from.set(next.get());
            }
            if free < self.chunks.slots {
                return false;
            }
        }
        self.chunks.exchange(chunk, seen, ChunkWord::drained(seen.lap()))
    }

    /// G5. Begins to back the chunk of the next position.
    pub(crate) fn start_growth(&self) -> Growth {
        let position = self.control.load_tail().position();
        let (chunk, lap) = self.chunk_of(position);
        let seen = ChunkWord::hole(lap);
        match self.gate(position, None) {
            Gate::Grow => {}
            Gate::Busy => return Growth::Busy,
            _ => return Growth::Open,
        }
        let word = ChunkWord::backing(lap, self.index);
        if !self.chunks.exchange(chunk, seen, word) {
            return Growth::Open;
        }
        let job = ChunkJob { chunk, word, place: self.chunks.place(chunk) };
        match self.take_spare(&job) {
            None => Growth::Mine(job),
            Some(true) => Growth::Reused,
            Some(false) => Growth::Damaged,
        }
    }

    /// G5. Its pages are there. False: somebody has scribbled.
    #[must_use]
    pub(crate) fn lay_out(&self, job: &ChunkJob) -> bool {
        let lap = job.word.lap();
        let base = self.chunk_base(job.chunk, lap);
        for (index, offset) in self.slots_of_place(job.place).zip(0..) {
            state::initialise(self.slots, index, base.plus(offset));
        }
        self.chunks.exchange(job.chunk, job.word, ChunkWord::ready(lap))
    }

    /// G5. There was no space, and what came was given back.
    pub(crate) fn abandon(&self, job: &ChunkJob) {
        let _ = self.chunks.exchange(job.chunk, job.word, ChunkWord::hole(job.word.lap()));
    }

    /// Where the slots of a chunk lie, in bytes from the first slot.
    #[cfg(not(loom))]
    pub(crate) fn bytes_of(&self, job: &ChunkJob) -> Range<u64> {
        self.bytes_of_place(job.place)
    }

    #[cfg(not(loom))]
    fn bytes_of_place(&self, place: usize) -> Range<u64> {
        let size = self.chunks.slots * self.slots.stride() as u64;
        place as u64 * size..(place as u64 + 1) * size
    }

    /// The chunk that a consumer has left, once.
    #[inline]
    pub(super) fn take_left(&self, window: &Window) -> Option<usize> {
        window.left.replace(0).checked_sub(1)
    }

    /// Whether a slot has no message: not even one that is about to be put or committed.
    pub(super) fn is_slot_free(&self, index: usize) -> bool {
        let stamp = state::load_stamp(self.slots, index);
        stamp.tag() == Tag::Free && stamp == Stamp::free(stamp.position())
    }
}
