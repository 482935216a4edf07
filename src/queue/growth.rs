//! How a queue that grows is laid out: into how many slots, chunks and blocks its cap is cut,
//! and which parts of its file have no memory at first.

use super::options::{ARENA_ALIGN, Options, slots_size, stride};
use crate::error::SetupError;
use crate::ring::{BlockHead, Classes, Side};
use crate::segment::{Header, Place, Plan, RegionKind, Segment};
use std::ops::Range;

impl Options {
    /// A queue that grows in shared memory as it is filled, and gives the memory back as it
    /// is drained. Both of its sides are `Multi`.
    ///
    /// Its file has the size of the [`cap`](Options::cap) from the start, and no memory but
    /// for its bookkeeping and a first chunk. Below the cap a `put` never waits for a `get` (of bytes
    /// and values: below its part of the cap, see below); at the cap it waits as on a full queue, and
    /// likewise where the system has no more memory to give. Room comes back a chunk at a time, some
    /// hundred KiB each. A quarter of all chunks, but at least one and at most 16, are kept for the messages
    /// to come when they are drained: until somebody has waited, or asked in vain, for a tenth of a second, or a
    /// consumer leaves.
    ///
    /// What it costs: a `put` or `get` is a little slower than in a queue of fixed capacity, and
    /// one in some thousand takes over a drained chunk, allocates one or frees one. Of a queue of bytes or
    /// values a quarter of the cap is for the slots; the rest is for messages longer than
    /// [`inline`](Options::inline), each of which takes at least a page while it is queued, and is divided among their sizes: of the
    /// longest alone about a fifth of the cap can be queued. So where most messages are a little longer than
    /// `inline`, state it: with a cap of 1 GiB some hundred thousand messages of 100 bytes can be queued, and with
    /// `inline(100)` two million. The 64 bytes of bookkeeping of each
    /// block that there ever was stay.
    ///
    /// `Single` sides are refused: what they save is known of memory that stays.
    ///
    /// ```
    /// use ringway::{Options, PodQueue};
    ///
    /// let queue = PodQueue::<u64>::with_options(Options::unbounded().cap(64 << 20))?;
    /// for i in 0..100_000 {
    ///     queue.put(i)?; // nobody reads
    /// }
    /// assert_eq!((queue.len(), queue.get()?), (100_000, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn unbounded() -> Options {
        Options { unbounded: true, ..Options::default() }
    }

    /// The most bytes of shared memory that the messages of an
    /// [`unbounded`](Options::unbounded) queue take. By default a quarter of what is free on
    /// the machine, in the control group and, for a named queue, on its file system, when
    /// the queue is created.
    pub fn cap(mut self, bytes: u64) -> Options {
        self.cap = Some(bytes);
        self
    }

    /// With a cap, if the queue needs one and none was stated.
    pub(super) fn or_cap(&self, place: Option<&Place>) -> Options {
        let cap = self.cap.or_else(|| self.unbounded.then(|| default_cap(place)));
        Options { cap, ..self.clone() }
    }

    /// What of the other options makes no sense with a queue that grows, or one that does not.
    pub(super) fn check_growth(&self) -> Result<(), SetupError> {
        if self.unbounded && (self.capacity.is_some() || self.arena.is_some()) {
            return Err(SetupError::options("an unbounded queue has a cap, and neither capacity nor arena"));
        }
        if !self.unbounded && self.cap.is_some() {
            return Err(SetupError::options("a cap is for Options::unbounded(): this queue has a capacity"));
        }
        if self.unbounded && [self.producers, self.consumers].contains(&Some(Side::Single)) {
            return Err(SetupError::options("an unbounded queue has no Single sides; leave both Multi"));
        }
        Ok(())
    }
}

/// Into what a cap is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Messages: a multiple of `chunk`.
    pub(super) capacity: u64,
    /// Slots of a chunk.
    pub(super) chunk: u64,
    /// Bytes of the arena.
    pub(super) arena: u64,
}

/// Pages of chunks and blocks are whole ones.
const PAGE: u64 = 4096;
/// A chunk is as large as this, or smaller where the cap is small, or larger where there would
/// be more than `MOST_CHUNKS`.
const CHUNK_BYTES: u64 = 256 << 10;
const MOST_CHUNKS: u64 = 1 << 15;
/// So many chunks, if a page each is enough.
const FEW_CHUNKS: u64 = 8;
const FEWEST_CHUNKS: u64 = 2;
const LARGEST_CAP: u64 = 1 << 44;
const LARGEST_CAPACITY: u64 = 1 << 40;
/// The part of the cap that is for slots, where there is an arena.
const SLOTS_SHARE: u64 = 4;
/// The default cap: this part of what is free, or so much where that is not known.
const FREE_SHARE: u64 = 4;
const UNKNOWN_CAP: u64 = 64 << 20;

/// The default cap of an anonymous queue that grows.
#[cfg(feature = "serde")]
pub(crate) fn free_share() -> u64 {
    default_cap(None)
}

/// A quarter of what is free.
pub(super) fn default_cap(place: Option<&Place>) -> u64 {
    Segment::free_bytes(place).map_or(UNKNOWN_CAP, |free| free / FREE_SHARE).min(LARGEST_CAP)
}

/// Cuts `cap` bytes into slots of `stride` bytes, and an arena if not every message fits one.
pub(super) fn geometry(cap: u64, stride: u64, max_message: u64, has_arena: bool) -> Result<Geometry, SetupError> {
    if cap > LARGEST_CAP {
        return Err(SetupError::options(format!("cap is {cap}; it must be at most {LARGEST_CAP}")));
    }
    let for_slots = if has_arena { cap / SLOTS_SHARE } else { cap };
    // So many slots fill whole pages.
    let unit = PAGE / gcd(stride, PAGE);
    let bytes = (for_slots / FEW_CHUNKS).min(CHUNK_BYTES).max(for_slots / MOST_CHUNKS);
    let chunk = unit * (bytes / (unit * stride)).max(1);
    let chunks = (for_slots / (chunk * stride)).min(LARGEST_CAPACITY / chunk);
    let arena = if has_arena { cap - for_slots } else { 0 };
    let least_arena = if has_arena { largest(max_message) } else { 0 };
    if chunks < FEWEST_CHUNKS || arena < least_arena {
        let slots = FEWEST_CHUNKS * unit * stride;
        let least = if has_arena {
            (slots * SLOTS_SHARE).max(least_arena * SLOTS_SHARE / (SLOTS_SHARE - 1) + 1)
        } else {
            slots
        };
        return Err(SetupError::options(format!("cap is {cap}; for such messages it must be at least {least}")));
    }
    Ok(Geometry { capacity: chunks * chunk, chunk, arena })
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn largest(max_message: u64) -> u64 {
    Classes::largest(max_message.max(PAGE))
}

/// The blocks of an arena that grows are whole pages.
pub(super) fn classes(plan: &Plan, inline: u64) -> Classes {
    Classes::cut(plan.capacity, inline.max(PAGE - 1), plan.max_message.max(PAGE), plan.arena)
        .no_longer_than(plan.max_message)
}

/// Where the slots begin in the file.
pub(super) fn slots_at(header: &Header) -> u64 {
    header.region(RegionKind::Slots).map_or(0, |region| region.offset.next_multiple_of(ARENA_ALIGN))
}

/// Where the blocks begin.
pub(super) fn blocks_at(header: &Header) -> u64 {
    header.region(RegionKind::Arena).map_or(0, |region| region.offset.next_multiple_of(ARENA_ALIGN))
}

/// Where the heads of the blocks begin.
pub(super) fn heads_at(header: &Header) -> u64 {
    header.region(RegionKind::BlockHeads).map_or(0, |region| region.offset)
}

/// The parts of the file that have no memory at first: all chunks but one, the blocks, and
/// their heads.
pub(super) fn holes(header: &Header) -> Vec<Range<u64>> {
    let plan = &header.plan;
    if plan.chunk == 0 || slots_size(plan).is_none() {
        return Vec::new();
    }
    let stride = stride(plan.inline_size);
    let slots = slots_at(header);
    let classes = super::options::classes(plan);
    let (heads, blocks) = (heads_at(header), blocks_at(header));
    let heads_end = heads + classes.blocks() * size_of::<BlockHead>() as u64;
    let inside =
        |start: u64, end: u64| start.next_multiple_of(PAGE)..(end / PAGE * PAGE).max(start.next_multiple_of(PAGE));
    vec![
        inside(slots + plan.chunk * stride, slots + plan.capacity * stride),
        inside(heads, heads_end),
        inside(blocks, blocks + classes.bytes()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_used_and_not_exceeded() {
        for stride in [8, 16, 64, 128, 1088, 4160, 1 << 20] {
            for cap in [1 << 16, 1_000_000, 1 << 24, 3 << 30, 1 << 40] {
                let Ok(found) = geometry(cap, stride, stride - 8, false) else {
                    assert!(cap < 2 * stride * 64 + 2 * PAGE, "{cap} {stride}");
                    continue;
                };
                let Geometry { capacity, chunk, arena } = found;
                assert!(capacity.is_multiple_of(chunk) && (chunk * stride).is_multiple_of(PAGE) && arena == 0);
                let used = capacity * stride;
                assert!(used <= cap && cap - used < chunk * stride, "{cap} {stride} {found:?}");
                assert!(capacity / chunk >= 2 && capacity / chunk <= 2 * MOST_CHUNKS);
            }
        }
        assert!(geometry(LARGEST_CAP + 1, 64, 56, false).is_err() && geometry(4096, 64, 56, false).is_err());
        let bytes = geometry(64 << 20, 64, 1 << 20, true).expect("large enough");
        assert_eq!((bytes.capacity * 64, bytes.arena), (16 << 20, 48 << 20));
        assert!(geometry(1 << 20, 64, 1 << 20, true).is_err());
    }
}
