//! The algorithm: a bounded ring of stamped slots, or of blocks with one stamp,
//! `Single` or `Multi` on each side.
//!
//! [`PROTOCOL.md`](PROTOCOL.md) has the rules (R1, R2, ...) and why they hold.
//! This folder borrows memory and never sleeps. It must not know where its
//! memory lives, what a message means, who waits, or how a death is proven.

mod arena;
mod broadcast;
mod cells;
mod chunked;
mod chunks;
mod close;
mod consumer;
mod data;
mod layout;
#[cfg(not(loom))]
mod look;
mod pace;
mod position;
mod producer;
mod reach;
mod recover;
mod rows;
mod spsc;
mod state;
#[cfg(all(test, not(loom)))]
mod tests;

pub use arena::{Arena, Taken};
pub(crate) use arena::{BlockHead, Classes, Hints, IN_A_BLOCK, Placing};
pub(crate) use broadcast::{Cast, CastGet, CastPut, Heard, MISSED_AT, PLACE_SIZE, Place, ROLL_SIZE, Roll};
pub(crate) use cells::{CellNote, CellState, CellWord, Holding};
pub(crate) use chunks::{BY_BYSTANDER, ChunkJob, Chunks, Growth, Punch};
#[cfg(not(loom))]
pub(crate) use chunks::{ChunkState, ChunkWord, place_of};
pub(crate) use consumer::{Get, GetCursor};
pub(crate) use data::{Sink, Source};
pub(crate) use layout::{CAST, Control, GETS, PARTICIPANT_SIZE, PUTS, Participant};
#[cfg(not(loom))]
pub(crate) use look::{CONTROL_SIZE, ControlLook, ParticipantLook, Pending, RingLook, Unfinished};
pub(crate) use pace::Pace;
pub(crate) use position::Position;
use position::Stamp;
pub(crate) use producer::{Put, PutCursor};
#[cfg(all(test, loom))]
pub(crate) use reach::Extension;
pub(crate) use reach::Memory;
pub(crate) use recover::{Living, Rescue};
pub(crate) use rows::{Leased, Rows};

use crate::primitive::{AtomicU32, BlockMemory, Fences, Ordering, SlotMemory};

/// How many handles may act on a side at once.
///
/// Fixed when the queue is created, for each side. `Single` is the faster one;
/// a second holder of a `Single` side is refused with `SideTaken`.
///
/// ```
/// use ringway::{Options, PodQueue, Side};
///
/// let queue = PodQueue::<u64>::with_options(Options::new(64).producers(Side::Single).consumers(Side::Single))?;
/// let (producer, consumer) = queue.split()?;
/// producer.put(7)?;
/// assert_eq!(consumer.get()?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// One handle at a time.
    Single,
    /// Any number of handles, in any processes. The default.
    Multi,
}

/// A view of one ring: shared words, slots and what this handle knows for sure.
///
/// Everything here was validated when the segment was opened and is private to
/// this process; nothing is read from the header again.
#[derive(Clone, Copy)]
pub(crate) struct Ring<'m> {
    pub(crate) control: &'m Control,
    /// This participant's line.
    pub(crate) me: &'m Participant,
    /// This participant's index.
    pub(crate) index: u32,
    /// Everybody's lines, by index.
    pub(crate) everyone: &'m [Participant],
    /// Where leased messages lie.
    pub(crate) rows: Rows<'m>,
    /// Where messages lie that no slot has room for.
    pub(crate) arena: Arena<'m>,
    /// Bit 0 of either: the queue is closed. The rest of the consumers' word: there may
    /// be redeliveries. What one side polls, the other does not.
    pub(crate) news: &'m AtomicU32,
    pub(crate) news_to_consumers: &'m AtomicU32,
    pub(crate) capacity: u64,
    /// Whether and how the slots come and go.
    pub(crate) chunks: Chunks<'m>,
    /// The messages, unless both sides are `Single`.
    pub(crate) slots: SlotMemory,
    /// The messages where both sides are `Single`.
    pub(crate) blocks: BlockMemory,
    pub(crate) producers: Side,
    pub(crate) consumers: Side,
    pub(crate) fences: Fences,
    /// How many bytes ahead a consumer asks for the line it will read; 0: not.
    pub(crate) read_ahead: usize,
    /// How many bytes ahead a producer asks for the line it will write; 0: not.
    pub(crate) write_ahead: usize,
    /// Whether a consumer adopts the lines of a stream.
    pub(crate) adopts: bool,
    /// Of a broadcast: who subscribes, and how far they are.
    pub(crate) cast: Option<Cast<'m>>,
}

/// Bit 0 of the news.
const CLOSED: u32 = 1;

/// How far ahead prefetching pays, where it pays.
const READ_AHEAD_SLOTS: usize = 32;
const WRITE_AHEAD_SLOTS: usize = 8;

/// The words of this ring contradict the protocol: a peer has scribbled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Ring<'_> {
    /// The distances to prefetch over, in bytes, for messages `stride` bytes apart:
    /// `(read, write)`.
    #[cfg(not(loom))]
    pub(crate) fn prefetch_distances(stride: usize) -> (usize, usize) {
        if !crate::primitive::prefetching_pays() {
            return (0, 0);
        }
        (READ_AHEAD_SLOTS * stride, WRITE_AHEAD_SLOTS * stride)
    }

    #[inline(always)]
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Sets the first `these` slots of fresh memory to their first state: everything below
    /// the capacity is history, slot 0 waits for position `capacity`.
    #[cfg(not(loom))]
    pub(crate) fn initialise_slots(slots: SlotMemory, these: usize) {
        let count = slots.count();
        for index in 0..count.min(these) {
            state::initialise(slots, index, Position::new((count + index) as u64));
        }
    }

    /// The slot of a position, for cold paths: a division.
    pub(super) fn index_of(&self, position: Position) -> usize {
        (position.get() % self.capacity()) as usize
    }

    /// Whether the producers' copy of the flag says that the queue is closed; of a
    /// `Single` producer it is the truth.
    #[inline(always)]
    fn is_flagged(&self, order: Ordering) -> bool {
        self.news.load(order) & CLOSED != 0
    }

    /// The index of the position after the one at `index`.
    #[inline(always)]
    pub(super) fn next_index(&self, index: usize) -> usize {
        let next = index + 1;
        if next < self.slots.count() { next } else { 0 }
    }

    /// The stamp at a position, for cold paths (pairs FULL and FREE).
    pub(super) fn stamp_at(&self, position: Position) -> Stamp {
        if self.is_chunked() {
            return self.stamp_in_chunk(position);
        }
        state::load_stamp(self.slots, self.index_of(position))
    }
}
