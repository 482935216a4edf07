//! Spare chunks: drained ones, whose pages the next chunk takes (G11).

use super::{ChunkJob, ChunkState, ChunkWord, Chunks};
use crate::primitive::{Ordering, seeded};
use crate::ring::Ring;

/// So many chunks right behind the consumers are kept, of a ring that has many.
const MOST_SPARES: u64 = 16;
/// Of one that has few: this part of them, but one at least.
const SPARE_PART: u64 = 4;

/// In a place word, above the place: the place that it is exchanged for, plus one; 0: none.
const PARTNER_SHIFT: u32 = 32;
const PLACE_MASK: u64 = (1 << PARTNER_SHIFT) - 1;

/// Which place a place word names, of `count`: one that there is, whatever was read.
pub(crate) fn place_of(word: u64, count: usize) -> usize {
    ((word & PLACE_MASK) as usize).min(count.saturating_sub(1))
}

impl Chunks<'_> {
    /// Where the slots of a chunk lie.
    pub(super) fn place(self, chunk: usize) -> usize {
        // Pair PLACE: a later word of the chunk is seen from here on.
        place_of(self.places.get(chunk).map_or(0, |place| place.load(Ordering::Acquire)), self.places.len())
    }

    /// The place that a chunk's is being exchanged for.
    fn partner(self, chunk: usize) -> Option<usize> {
        let word = self.places.get(chunk)?.load(Ordering::Acquire);
        let place = usize::try_from(word >> PARTNER_SHIFT).ok()?.checked_sub(1)?;
        (place < self.places.len()).then_some(place)
    }

    /// Of a chunk that this participant, or the dead one that it keeps, has as BACKING or PUNCHING.
    fn move_to(self, chunk: usize, place: usize, partner: Option<usize>) {
        if let Some(word) = self.places.get(chunk) {
            let partner = partner.map_or(0, |partner| partner as u64 + 1);
            // Pair PLACE.
            word.store(partner << PARTNER_SHIFT | place as u64, Ordering::Release);
        }
    }
}

impl Ring<'_> {
    /// How many chunks behind the consumers are spare.
    fn spares(&self) -> u64 {
        (self.chunks.words.len() as u64 / SPARE_PART).clamp(1, MOST_SPARES)
    }

    /// Of a chunk that a consumer has left, those to look at: the one before may have been held up, and
    /// another is no longer among the spares.
    pub(crate) fn chunks_around(&self, chunk: usize) -> [usize; 3] {
        let count = self.chunks.words.len().max(1);
        let before = |back: usize| (chunk + count - back % count) % count;
        [before(1), chunk, before(self.spares() as usize)]
    }

    /// G6. Whether it is drained just now.
    pub(crate) fn look_whether_drained(&self, chunk: usize) -> bool {
        let word = self.chunks.load(chunk);
        word.state() == ChunkState::Ready && self.drain(chunk, word, None)
    }

    /// Whether a chunk is too far behind the consumers to be a spare once it is drained.
    pub(crate) fn is_surplus(&self, chunk: usize) -> bool {
        let base = self.chunk_base(chunk, self.chunks.load(chunk).lap());
        let behind = base.until(self.control.load_head()) / self.chunks.slots.max(1);
        behind > self.spares()
    }

    /// The chunks behind the consumers, the last one first, with what their words say.
    fn behind(&self) -> impl Iterator<Item = (usize, u64, ChunkWord)> {
        let next = self.control.load_head().get() / self.chunks.slots.max(1);
        let count = self.chunks.words.len() as u64;
        (1..=self.spares()).filter_map(move |back| next.checked_sub(back)).map(move |number| {
            let chunk = (number % count) as usize;
            (chunk, number / count, self.chunks.load(chunk))
        })
    }

    /// Before a sleep: might the next chunk be made of another?
    pub(crate) fn has_spare(&self) -> bool {
        self.behind().enumerate().any(|(at, seen)| self.is_drained_by_now(at, seen))
    }

    /// Whether the chunk that is `at` behind the last one is drained: the last one its consumers may not
    /// have left yet.
    fn is_drained_by_now(&self, at: usize, (chunk, lap, word): (usize, u64, ChunkWord)) -> bool {
        word == ChunkWord::drained(lap) || at == 0 && word == ChunkWord::ready(lap) && self.drain(chunk, word, None)
    }

    /// G11. Exchanges the place of a chunk that this participant backs for that of one that is
    /// drained, and opens it. None: there is none. False: somebody has scribbled.
    pub(super) fn take_spare(&self, job: &ChunkJob) -> Option<bool> {
        let (spare, lap, taken) = self.behind().enumerate().find_map(|(at, seen)| {
            let (chunk, lap, _) = seen;
            let (drained, taken) = (ChunkWord::drained(lap), ChunkWord::punching(lap, self.index));
            let is_spare = chunk != job.chunk && self.is_drained_by_now(at, seen);
            (is_spare && self.chunks.exchange(chunk, drained, taken)).then_some((chunk, lap, taken))
        })?;
        let (own, its) = (job.place, self.chunks.place(spare));
        if !seeded(64) {
            self.chunks.move_to(spare, its, Some(own));
        }
        self.chunks.move_to(job.chunk, its, None);
        self.chunks.move_to(spare, own, None);
        let is_open = self.chunks.exchange(job.chunk, job.word, ChunkWord::ready(job.word.lap()));
        let _ = self.chunks.exchange(spare, taken, ChunkWord::hole(lap + 1));
        Some(is_open)
    }

    /// G8. The places of the chunks that a dead participant was exchanging, as they were before.
    #[cfg(not(loom))]
    pub(super) fn finish_exchange(&self, dead: u32) {
        let owned = |chunk: &usize| match self.chunks.load(*chunk).state() {
            ChunkState::Backing { owner } => (owner == dead).then_some(true),
            ChunkState::Punching { owner } => (owner == dead).then_some(false),
            _ => None,
        };
        let mut all = 0..self.chunks.words.len();
        let backed = all.clone().find(|chunk| owned(chunk) == Some(true));
        for spare in all.by_ref().filter(|chunk| owned(chunk) == Some(false)) {
            let Some(partner) = self.chunks.partner(spare) else { continue };
            if let Some(backed) = backed {
                self.chunks.move_to(backed, partner, None);
            }
            self.chunks.move_to(spare, self.chunks.place(spare), None);
        }
    }
}
