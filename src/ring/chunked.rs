//! Putting and getting where the ring has chunks (rules G2 to G4): the hot paths, and what
//! the other files ask about the next position.

#![allow(unsafe_code)]

use super::chunks::{BY_GET, BY_PUT, Gate};
use super::position::{Position, Stamp};
use super::{Get, GetCursor, Put, PutCursor, Ring, Sink, Source, state};
use crate::primitive::{Fences, Ordering};

impl Put {
    /// What is in the way of a put where the next chunk is not open.
    pub(super) fn at(gate: Gate) -> Put {
        match gate {
            Gate::Full => Put::Full,
            Gate::Grow | Gate::Busy => Put::Grow,
            // The tail stands, so the word should be one of the others.
            Gate::Open | Gate::Moved => Put::Damaged,
        }
    }
}

impl Ring<'_> {
    /// The Multi/Multi hot path in a chunk: as `put_fast_multi`, under a hazard (G2, G3).
    #[inline(always)]
    pub(super) fn put_fast_chunk<S: Source>(&self, cursor: &PutCursor, source: &S) -> bool {
        let tail = self.control.load_tail();
        if tail.is_closed() || self.news.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let position = tail.position();
        let Some((index, _)) = cursor.window.slot(position) else { return false };
        let Some(_touch) = self.touch_window(BY_PUT, &cursor.window, Fences::Asymmetric) else { return false };
        let slots = S::slots(self.slots);
        if !state::load_stamp(slots, index).is_free_for(position) {
            return false;
        }
        self.me.announce_put(position, 1, &cursor.announced);
        if !self.control.claim_tail(tail, 1) {
            return false;
        }
        source.place(self, position);
        // SAFETY: a window lies inside of the slots; the source was checked against `room`.
        unsafe { source.write(slots.payload(index), 0) };
        state::publish(slots, index, position);
        self.me.count_puts(1);
        true
    }

    /// The same as `get_fast_multi`.
    #[inline(always)]
    pub(super) fn get_fast_chunk<K: Sink>(&self, cursor: &GetCursor, sink: &mut K) -> bool {
        // Redeliveries come first.
        if self.is_alerted() {
            return false;
        }
        let head = self.control.load_head();
        let Some((index, _)) = cursor.window.slot(head) else { return false };
        let Some(_touch) = self.touch_window(BY_GET, &cursor.window, Fences::Asymmetric) else { return false };
        let slots = K::slots(self.slots);
        if !state::load_stamp(slots, index).is_full(head) {
            return false;
        }
        self.me.announce_get(head, 1, &cursor.announced);
        if !self.control.claim_head(head, 1) {
            return false;
        }
        // SAFETY: a window lies inside of the slots.
        let used = unsafe { sink.read(0, slots.payload(index)) };
        sink.keep(self, 0, head, 0);
        self.adopt_further(slots, index, used);
        state::release_slot(slots, index, head.plus(self.chunks.slots));
        self.me.count_gets(1);
        true
    }

    /// Before a sleep: might a put to `position`, which is the next, succeed?
    pub(super) fn may_put_in_chunk(&self, cursor: &PutCursor, position: Position) -> bool {
        match self.gate(position, Some(&cursor.window)) {
            // Put meanwhile: then the next one may be free.
            Gate::Open => {
                let stamp = self.stamp_at(position);
                stamp.is_free_for(position) || !stamp.is_before(position)
            }
            // Trying again and again would not make any.
            Gate::Grow => !cursor.window.no_space.get() || self.has_spare(),
            Gate::Full | Gate::Busy => false,
            Gate::Moved => true,
        }
    }

    /// The stamp of the position that is got next.
    #[inline]
    pub(super) fn stamp_in_window(&self, cursor: &GetCursor, position: Position) -> Stamp {
        if let Some((index, _)) = cursor.window.slot(position)
            && let Some(_touch) = self.touch_window(BY_GET, &cursor.window, self.fences)
        {
            return state::load_stamp(self.slots, index);
        }
        self.stamp_in_chunk(position)
    }

    /// The chunk of `head` is not open, or was not just now. The word was read before the tail.
    pub(super) fn why_not_in_chunk(&self, head: Position) -> Get {
        match self.why_not(head) {
            // What is claimed is in a chunk that is READY: is that still so?
            Get::Unfinished if self.is_missing(head) => Get::Damaged,
            other => other,
        }
    }

    /// A slot was released that need not be in the chunk that this consumer is in.
    pub(super) fn has_released(&self, cursor: &GetCursor, position: Position) {
        if self.is_chunked() {
            cursor.window.has_left(self.chunk_of(position).0);
        }
    }

    /// The chunk that this consumer has left since it was asked last: it may be drained.
    pub(crate) fn left_chunk(&self, cursor: &GetCursor) -> Option<usize> {
        self.take_left(&cursor.window)
    }
}
