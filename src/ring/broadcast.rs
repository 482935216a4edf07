//! Broadcast: every subscriber sees every message (rules M1 to M9).
//!
//! This file has the roll, who joins and leaves it, and how far producers may go; `put.rs` and
//! `get.rs` have the two halves of the algorithm.

mod get;
mod put;

pub(crate) use get::{CastGet, Heard};
pub(crate) use put::CastPut;

use super::position::{Position, Stamp};
use super::{Living, Rescue, Ring, Side, state};
use crate::primitive::{AtomicU64, Line, Ordering, fence, seeded};
use core::cell::Cell;

const ROLL_WORDS: usize = 16;

/// Bit i: participant i is a subscriber. Written when somebody joins, leaves or is found
/// dead, read by producers that need to know how far they may go.
#[repr(C)]
pub(crate) struct Roll(Line<[AtomicU64; ROLL_WORDS]>);

/// What one participant says as a subscriber, and as a producer.
#[repr(C)]
pub(crate) struct Place {
    /// Everything below it this subscriber has seen. Stored on every get.
    next: Line<AtomicU64>,
    seldom: Line<Shown>,
}

/// What is stored seldom, and polled by producers.
#[repr(C)]
struct Shown {
    /// A lagging copy of `next`.
    shown: AtomicU64,
    /// As a producer, it writes below this position only. (M1)
    limit: AtomicU64,
    /// For people who look inside: messages that this subscriber has missed.
    missed: AtomicU64,
}

pub(crate) const ROLL_SIZE: usize = 128;
pub(crate) const PLACE_SIZE: usize = 256;
/// Where in a place its words lie.
pub(crate) const SHOWN_AT: usize = 128;
pub(crate) const MISSED_AT: usize = SHOWN_AT + 16;

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Roll>() == ROLL_SIZE);
    assert!(size_of::<Place>() == PLACE_SIZE);
    assert!(core::mem::offset_of!(Place, seldom) == SHOWN_AT);
    assert!(core::mem::offset_of!(Shown, missed) == MISSED_AT - SHOWN_AT);
};

/// The words of a broadcast, as one participant uses them.
#[derive(Clone, Copy)]
pub(crate) struct Cast<'m> {
    pub(crate) roll: &'m Roll,
    /// As many as there may be participants.
    pub(crate) places: &'m [Place],
    pub(crate) me: &'m Place,
    /// Slow subscribers miss messages, and no producer waits for them.
    pub(crate) drops: bool,
}

/// A subscriber takes this part of the ring as a lead when it has fallen behind. (M6)
const LEAD_PART: u64 = 8;
/// A producer goes this part of the ring beyond the tail it has read, at most. (M1)
const LIMIT_PART: u64 = 4;

impl<'m> Cast<'m> {
    fn word(&self, index: u32) -> Option<(&'m AtomicU64, u64)> {
        let word = self.roll.0.get(index as usize / 64)?;
        Some((word, 1 << (index % 64)))
    }

    /// Everybody on the roll.
    fn present(&self) -> impl Iterator<Item = (u32, &'m Place)> {
        let words = self.roll.0.0.iter().zip(self.places.chunks(64)).zip(0u32..);
        words.flat_map(|((word, places), at)| {
            // Pair ROLL: the cursor was stored before.
            let mut bits = word.load(Ordering::Acquire);
            core::iter::from_fn(move || {
                let bit = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                (bit < 64).then_some(bit)
            })
            .filter_map(move |bit| Some((at * 64 + bit, places.get(bit as usize)?)))
        })
    }

    /// How many are on the roll.
    pub(crate) fn subscribers(&self) -> usize {
        self.present().count()
    }

    /// The lowest cursor of those that `count`. None: there is none.
    fn slowest(&self, exact: bool, counts: &impl Fn(u32) -> bool) -> Option<Position> {
        let cursor = |place: &Place| {
            // Pair CURSOR.
            Position::new(if exact { &place.next.0 } else { &place.seldom.shown }.load(Ordering::Acquire))
        };
        self.present().filter(|(index, _)| counts(*index)).map(|(_, place)| cursor(place)).min()
    }

    /// M1. How far a producer may go that has read this tail.
    fn reach(&self, capacity: u64, tail: Position, exact: bool, counts: &impl Fn(u32) -> bool) -> u64 {
        let Some(slowest) = self.slowest(exact, counts) else { return tail.plus(1).get() };
        // Who is ahead of the tail has seen a newer one, or has scribbled.
        let behind_slowest = slowest.min(tail).plus(capacity).get();
        behind_slowest.min(tail.plus((capacity / LIMIT_PART).max(1)).get())
    }

    /// M1. Raises the limit, if the cursors allow it. Says what it is.
    fn raise(&self, capacity: u64, limit: &Cell<u64>, tail: Position, exact: bool, counts: &impl Fn(u32) -> bool) {
        let wanted = self.reach(capacity, tail, exact, counts);
        if wanted <= limit.get() {
            return;
        }
        // Pair LIMIT. The fence is the producer's half of C8.
        self.me.seldom.limit.store(wanted, Ordering::Release);
        fence(Ordering::SeqCst);
        let now = self.reach(capacity, tail, exact, counts).min(wanted).max(limit.get());
        if now < wanted {
            self.me.seldom.limit.store(now, Ordering::Release);
        }
        limit.set(now);
    }

    fn show(&self, next: Position) {
        // Pair CURSOR: the payloads before it were copied out.
        self.me.next.store(next.get(), Ordering::Release);
        self.me.seldom.shown.store(next.get(), Ordering::Release);
    }

    /// M7. The bit of a dead subscriber, whose keep byte the caller holds.
    pub(crate) fn strike_off(&self, dead: u32) {
        if let Some((word, bit)) = self.word(dead).filter(|_| !seeded(50)) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }
}

impl Ring<'_> {
    /// M2. Becomes a subscriber, from the next message on or from the oldest that is held.
    pub(crate) fn join(&self, cursor: &CastGet, oldest: bool) {
        let Some(cast) = &self.cast else { return };
        let capacity = self.capacity();
        let first = |tail: Position| if oldest { Position::new(self.oldest_of(tail)) } else { tail };
        let mut start = first(self.control.load_tail().position());
        cast.show(start);
        cast.me.seldom.missed.store(0, Ordering::Relaxed);
        if let Some((word, bit)) = cast.word(self.index) {
            // Pair ROLL.
            word.fetch_or(bit, Ordering::AcqRel);
        }
        // The joiner's half of C8.
        fence(Ordering::SeqCst);
        let mut tail = self.control.load_tail().position();
        start = start.max(first(tail));
        if oldest && !cast.drops {
            for place in cast.places {
                // Pair LIMIT.
                let limit = Position::new(place.seldom.limit.load(Ordering::Acquire)).get();
                start = start.max(Position::new(limit.saturating_sub(capacity)));
            }
            // Whose limit was not read may have left its place to another, whose limit is lower:
            // what it has claimed is below this tail.
            tail = self.control.load_tail().position();
            start = start.max(first(tail));
        }
        let start = start.min(tail);
        cast.show(start);
        self.start_hearing(cursor, start);
    }

    fn oldest_of(&self, tail: Position) -> u64 {
        tail.get().saturating_sub(self.capacity()).max(self.capacity())
    }

    /// M9. No longer a subscriber.
    pub(crate) fn leave(&self, cursor: &CastGet) {
        cursor.stop();
        if let Some((word, bit)) = self.cast.as_ref().and_then(|cast| cast.word(self.index)) {
            word.fetch_and(!bit, Ordering::AcqRel);
        }
    }

    /// M7. What a dead Single producer of a broadcast has claimed: first the tail and the
    /// stamp, then the role byte, then the exchange.
    pub(super) fn finish_single_caster(&self, living: &dyn Living) -> Rescue {
        let Some((position, seen)) = self.unpublished_before(self.control.load_tail().position()) else {
            return Rescue::default();
        };
        if living.has_single_producer() || seeded(1) {
            return Rescue::default();
        }
        let done = state::bury_dead(self.slots, self.index_of(position), seen, position);
        Rescue { finished: u64::from(done), ..Rescue::default() }
    }

    /// The position before the tail and its stamp, if nothing of it is published: all that a
    /// Single producer can have left.
    fn unpublished_before(&self, tail: Position) -> Option<(Position, Stamp)> {
        if tail.get() <= self.capacity() || self.producers != Side::Single {
            return None;
        }
        let position = Position::new(tail.get() - 1);
        let seen = self.stamp_at(position);
        seen.is_before(position).then_some((position, seen))
    }

    /// The slot of a position, with the base of its lap remembered: no division but once a lap.
    #[inline(always)]
    fn cast_index(&self, lap_base: &Cell<u64>, position: Position) -> usize {
        let index = position.get().wrapping_sub(lap_base.get());
        if index < self.capacity() { index as usize } else { self.next_cast_lap(lap_base, position) }
    }

    #[cold]
    fn next_cast_lap(&self, lap_base: &Cell<u64>, position: Position) -> usize {
        let index = self.index_of(position);
        lap_base.set(position.get().wrapping_sub(index as u64));
        index
    }
}
