//! Which chunks may give their pages back, and what the dead have left of that (G5 to G8).

use super::{ChunkJob, ChunkState, ChunkWord};
use crate::primitive::{Ordering, heavy_barrier};
use crate::ring::Ring;
#[cfg(loom)]
use crate::ring::position::Position;
#[cfg(loom)]
use crate::ring::state;
#[cfg(not(loom))]
use core::ops::Range;

/// Whether a chunk gives its pages back.
#[derive(Debug)]
#[must_use]
pub(crate) enum Punch {
    /// Take them, then [`Ring::finish_punch`].
    Mine(ChunkJob),
    /// Not just now. A producer may have seen it begun.
    GivenUp,
    No,
}

#[cfg(any(test, loom))]
impl Punch {
    pub(crate) fn mine(self) -> Option<ChunkJob> {
        if let Punch::Mine(job) = self { Some(job) } else { None }
    }
}

impl Ring<'_> {
    /// Chunks that may have pages and no messages.
    pub(crate) fn idle_chunks(&self) -> impl Iterator<Item = usize> {
        let head = self.control.load_head();
        (0..self.chunks.words.len()).filter(move |chunk| {
            let word = self.chunks.load(*chunk);
            match word.state() {
                ChunkState::Drained => true,
                ChunkState::Ready => self.chunk_base(*chunk, word.lap()).plus(self.chunks.slots) <= head,
                _ => false,
            }
        })
    }

    /// G6, G7. Begins to take the pages of a chunk, if nothing is in it and nobody looks
    /// at it or wants it just now.
    pub(crate) fn start_punch(&self, chunk: usize) -> Punch {
        let mut word = self.chunks.load(chunk);
        if word.state() == ChunkState::Ready && self.drain(chunk, word, None) {
            word = self.chunks.load(chunk);
        }
        if word.state() != ChunkState::Drained {
            return Punch::No;
        }
        let (wanted, _) = self.chunk_of(self.control.load_tail().position());
        if chunk == wanted {
            return Punch::No;
        }
        let punching = ChunkWord::punching(word.lap(), self.index);
        if !self.chunks.exchange(chunk, word, punching) {
            return Punch::No;
        }
        let place = self.chunks.place(chunk);
        if self.is_watched(place, None) {
            let _ = self.chunks.exchange(chunk, punching, word);
            return Punch::GivenUp;
        }
        Punch::Mine(ChunkJob { chunk, word: punching, place })
    }

    /// Takes the pages of a chunk: its stamps read 0 from now on.
    #[cfg(loom)]
    pub(crate) fn take_memory(&self, job: &ChunkJob) {
        self.slots_of_place(job.place).for_each(|index| state::initialise(self.slots, index, Position::new(0)));
    }

    /// G7. Its pages are gone, or may stay until it is backed again.
    pub(crate) fn finish_punch(&self, job: &ChunkJob) {
        let _ = self.chunks.exchange(job.chunk, job.word, ChunkWord::hole(job.word.lap() + 1));
    }

    /// Whether somebody, but for participant `dead`, may be looking at a place, the word of whose
    /// chunk was changed before.
    fn is_watched(&self, place: usize, dead: Option<u32>) -> bool {
        // Pair HAZARD.
        if !heavy_barrier(self.fences) {
            return true;
        }
        let others = self.everyone.iter().zip(0..).filter(|(_, index)| Some(*index) != dead);
        let mut hazards = others.flat_map(|(participant, _)| &participant.intents.hazards);
        hazards.any(|hazard| hazard.load(Ordering::Acquire) == place as u64 + 1)
    }

    /// G8. What a dead participant left of its work on chunks; `punch` gives pages back. The
    /// caller holds its keep byte.
    #[cfg(not(loom))]
    pub(crate) fn keep_chunks(&self, dead: u32, mut punch: impl FnMut(Range<u64>)) -> u64 {
        if !self.is_chunked() {
            return 0;
        }
        if let Some(participant) = self.everyone.get(dead as usize) {
            participant.withdraw_hazards();
        }
        self.finish_exchange(dead);
        let mut finished = 0;
        for chunk in 0..self.chunks.words.len() {
            let word = self.chunks.load(chunk);
            let next = match word.state() {
                ChunkState::Backing { owner } if owner == dead => ChunkWord::hole(word.lap()),
                ChunkState::Punching { owner } if owner == dead => ChunkWord::hole(word.lap() + 1),
                _ => continue,
            };
            let place = self.chunks.place(chunk);
            if !self.is_watched(place, Some(dead)) {
                punch(self.bytes_of_place(place));
            }
            finished += u64::from(self.chunks.exchange(chunk, word, next));
        }
        finished
    }

    /// G5. Whether the pages of a chunk that is being backed may be taken again: somebody may
    /// look at them under a hazard of a lap before.
    #[cfg(not(loom))]
    pub(crate) fn may_give_back(&self, job: &ChunkJob) -> bool {
        !self.is_watched(job.place, None)
    }
}
