//! Every transition of a shared word of the ring, and the memory orderings.
//!
//! No other file of the crate compares and exchanges a ring word. The named
//! pairs, one line each; grep for the name to find both ends:
//!
//! | pair | release | acquire | carries |
//! |---|---|---|---|
//! | FULL | `publish` | `load_stamp` | the payload, to its reader |
//! | FREE | `release_slot` | `load_stamp` | "payload was copied out", to the next lap's writer |
//! | TAIL | `claim_tail` | `load_tail` | the put intent of the claimer, to recovery |
//! | HEAD | `claim_head`, `publish_head` | `load_head` | the get intent; for a Single consumer the copies it made |
//! | BLOCK | `publish_block` | `load_block` | the payloads, to their reader |
//! | END | `decide_end` | `decide_end`, `load_end` | the stamps below the end, to who obeys it |
//! | TAKEN | `commit_taken` | `load_taken` | the copies a Single consumer made |
//! | OVERWRITE | `begin_overwrite` | `is_unchanged` | "this payload is being written over", to its reader |
//! | INTENT | `announce_*` | recovery | "this claim is mine", before the claim |

#![allow(unsafe_code)]

use super::layout::{Control, Participant};
use super::position::{Position, Stamp};
use crate::primitive::{AtomicU64, BlockMemory, Ordering, SlotMemory, fence, seeded};

use core::ops::Range;

const CLOSED: u64 = 1 << 63;

/// What `tail` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    raw: u64,
}

impl Tail {
    #[inline(always)]
    pub(super) fn position(self) -> Position {
        Position::new(self.raw)
    }

    #[inline(always)]
    pub(super) fn is_closed(self) -> bool {
        self.raw & CLOSED != 0
    }
}

impl Control {
    #[inline(always)]
    pub(super) fn load_tail(&self) -> Tail {
        // Pair TAIL.
        Tail { raw: self.tail.load(Ordering::Acquire) }
    }

    /// R4. Takes `tail.position()..+count` for this producer, unless somebody
    /// moved the tail or closed the queue.
    #[inline(always)]
    #[must_use]
    pub(super) fn claim_tail(&self, tail: Tail, count: u64) -> bool {
        // Pair TAIL: release publishes the intent stored before.
        self.tail.compare_exchange(tail.raw, tail.raw.wrapping_add(count), Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// M3. The claim of a broadcast's Single producer: everything below `next` is claimed.
    #[inline(always)]
    pub(super) fn move_tail(&self, next: Position) {
        // Pair TAIL.
        self.tail.store(next.get(), Ordering::Release);
    }

    /// Closes the tail for `Multi` producers: no later claim succeeds.
    pub(super) fn close_tail(&self) {
        self.tail.fetch_or(CLOSED, Ordering::AcqRel);
    }

    #[inline(always)]
    pub(super) fn load_head(&self) -> Position {
        // Pair HEAD.
        Position::new(self.head.load(Ordering::Acquire))
    }

    /// R6. Takes `head..+count` for this consumer, unless somebody else did.
    #[inline(always)]
    #[must_use]
    pub(super) fn claim_head(&self, head: Position, count: u64) -> bool {
        // Pair HEAD: release publishes the intent stored before.
        self.head
            .compare_exchange(head.get(), head.get().wrapping_add(count), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Whether the head has bits that no position has. No exchange succeeds then.
    #[cold]
    pub(super) fn head_is_no_position(&self) -> bool {
        let raw = self.head.load(Ordering::Relaxed);
        raw != Position::new(raw).get()
    }

    /// R8. The Single consumer's lagging copy of `taken`.
    #[inline(always)]
    pub(super) fn publish_head(&self, head: Position) {
        // Pair HEAD: the payloads before it were copied out.
        self.head.store(head.get(), Ordering::Release);
    }

    #[inline(always)]
    pub(super) fn load_taken(&self) -> Position {
        // Pair TAKEN.
        Position::new(self.taken.load(Ordering::Acquire))
    }

    /// R7. The commit of a Single consumer: everything below `next` is its.
    #[inline(always)]
    pub(super) fn commit_taken(&self, next: Position) {
        // Pair TAKEN: the payloads before it were copied out.
        self.taken.store(next.get(), Ordering::Release);
    }

    /// Where the queue ends, if that is decided.
    pub(super) fn load_end(&self) -> Option<Position> {
        // Pair END.
        let end = self.seldom.end.load(Ordering::Acquire);
        (end != 0).then(|| Position::new(end))
    }

    /// S2, S3. Decides that the queue ends at `proposed`, unless that was decided
    /// already. Says what holds.
    pub(super) fn decide_end(&self, proposed: Position) -> Position {
        // Pair END. A locked operation: the stamps stored before it are out.
        match self.seldom.end.compare_exchange(0, proposed.get(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => proposed,
            Err(decided) => Position::new(decided),
        }
    }
}

/// Private copy of the length last announced, so that it is stored only when it
/// changes.
pub(super) type AnnouncedLen = core::cell::Cell<u64>;

impl Participant {
    /// R3. Says, before the claim, what will be claimed by a put.
    #[inline(always)]
    pub(super) fn announce_put(&self, start: Position, len: u64, last: &AnnouncedLen) {
        announce(&self.intents.put_start, &self.intents.put_len, start, len, last);
    }

    /// R3 for a get.
    #[inline(always)]
    pub(super) fn announce_get(&self, start: Position, len: u64, last: &AnnouncedLen) {
        announce(&self.intents.get_start, &self.intents.get_len, start, len, last);
    }

    /// R5. Withdraws the put intent: before sleeping, or returning empty-handed.
    pub(super) fn withdraw_put(&self, last: &AnnouncedLen) {
        if last.replace(0) != 0 {
            self.intents.put_len.store(0, Ordering::Release);
        }
    }

    /// R5 for a get.
    pub(super) fn withdraw_get(&self, last: &AnnouncedLen) {
        if last.replace(0) != 0 {
            self.intents.get_len.store(0, Ordering::Release);
        }
    }

    /// What this participant may have claimed for puts. (D1)
    pub(super) fn put_intent(&self) -> Intent {
        // Pair INTENT.
        Intent::read(&self.intents.put_start, &self.intents.put_len)
    }

    /// What this participant may have claimed for gets. (D1)
    pub(super) fn get_intent(&self) -> Intent {
        // Pair INTENT.
        Intent::read(&self.intents.get_start, &self.intents.get_len)
    }

    /// Counts what was put, in the line that the claim has just stored to.
    #[inline(always)]
    pub(super) fn count_puts(&self, more: u64) {
        count(&self.intents.puts, more);
    }

    /// The same for what was got.
    #[inline(always)]
    pub(super) fn count_gets(&self, more: u64) {
        count(&self.intents.gets, more);
    }

    /// Of a participant that has just come.
    pub(crate) fn reset_counts(&self) {
        self.intents.puts.store(0, Ordering::Relaxed);
        self.intents.gets.store(0, Ordering::Relaxed);
    }

    /// Everything that they name is finished. (D5)
    pub(crate) fn clear_intents(&self) {
        self.intents.put_len.store(0, Ordering::Release);
        self.intents.get_len.store(0, Ordering::Release);
    }
}

/// Positions that a participant may have claimed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent {
    start: Position,
    len: u64,
}

impl Intent {
    fn read(start: &AtomicU64, len: &AtomicU64) -> Intent {
        Intent { start: Position::new(start.load(Ordering::Acquire)), len: len.load(Ordering::Acquire) }
    }

    pub(super) fn covers(self, position: Position) -> bool {
        self.start <= position && self.start.until(position) < self.len
    }

    /// The positions it names among the last `window` before `end`.
    pub(super) fn among_the_last(self, window: u64, end: Position) -> Range<u64> {
        let first = self.start.get().max(end.get().saturating_sub(window));
        let last = self.start.get().saturating_add(self.len).min(end.get());
        first..last.max(first)
    }
}

/// Only its owner stores to it.
#[inline(always)]
fn count(word: &AtomicU64, more: u64) {
    if !cfg!(ringway_without_recovery) {
        word.store(word.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }
}

#[inline(always)]
fn announce(start_word: &AtomicU64, len_word: &AtomicU64, start: Position, len: u64, last: &AnnouncedLen) {
    // What recovery costs is measured against a build without it (benches/compare).
    if cfg!(ringway_without_recovery) {
        return;
    }
    // Pair INTENT.
    if last.get() != len {
        len_word.store(len, Ordering::Release);
        last.set(len);
    }
    start_word.store(start.get(), Ordering::Release);
}

/// The stamp of slot `index`, which the caller has bounded.
#[inline(always)]
pub(super) fn load_stamp(slots: SlotMemory, index: usize) -> Stamp {
    debug_assert!(index < slots.count());
    // SAFETY: `index` comes from a bounds compare or from `% count`.
    // Pairs FULL and FREE.
    let raw = unsafe { slots.stamp(index) }.load(Ordering::Acquire);
    // No stamp: the page of a chunk that was punched. (G2)
    #[cfg(loom)]
    assert_ne!(raw, 0, "touched a page that is not there");
    Stamp::from_raw(raw)
}

/// Everything below the result is published, as far as block `block` goes.
#[inline(always)]
pub(super) fn load_block(blocks: BlockMemory, block: usize) -> Position {
    debug_assert!(block < blocks.blocks());
    // SAFETY: `block` comes from `Walk`, which keeps it below the number of blocks,
    // or from `locate`.
    // Pair BLOCK.
    Position::private(unsafe { blocks.stamp(block) }.load(Ordering::Acquire))
}

/// S1. The messages of `block` below `next` are there.
#[inline(always)]
pub(super) fn publish_block(blocks: BlockMemory, block: usize, next: Position) {
    debug_assert!(block < blocks.blocks());
    // SAFETY: as in `load_block`.
    // Pair BLOCK.
    unsafe { blocks.stamp(block) }.store(next.get(), Ordering::Release);
}

/// The first stamp of a slot that nobody else has yet, or of one whose chunk is being backed.
pub(super) fn initialise(slots: SlotMemory, index: usize, position: Position) {
    // SAFETY: as in `load_stamp`.
    unsafe { slots.stamp(index) }.store(Stamp::free(position).raw(), Ordering::Relaxed);
}

/// The Single producer says that it is about to write `position`, and writes the
/// message's first word along with it. Says how many bytes that were. (R1)
#[inline(always)]
pub(super) fn claim_slot(slots: SlotMemory, index: usize, position: Position, first_word: Option<u64>) -> usize {
    let claim = Stamp::claim(position).raw();
    // SAFETY: as in `load_stamp`; who has a first word has a payload of at least
    // that size. Relaxed: the light barrier that follows, and the heavy one of
    // whoever asks, order it before the read of `closed`.
    unsafe {
        match first_word {
            Some(word) => {
                slots.write_claim(index, claim, word);
                size_of::<u64>()
            }
            None => {
                slots.stamp(index).store(claim, Ordering::Relaxed);
                0
            }
        }
    }
}

/// The message at `position` is there.
#[inline(always)]
pub(super) fn publish(slots: SlotMemory, index: usize, position: Position) {
    let loses = seeded(32) && position.get().is_multiple_of(16);
    let stamp = if loses { Stamp::tomb(position) } else { Stamp::full(position) };
    // SAFETY: as in `load_stamp`.
    // Pair FULL.
    unsafe { slots.stamp(index) }.store(stamp.raw(), Ordering::Release);
}

/// M4. Says that the message of a lap ago, whose slot this is, is being overwritten by
/// that of `position`.
#[inline(always)]
pub(super) fn begin_overwrite(slots: SlotMemory, index: usize, position: Position) {
    // SAFETY: as in `load_stamp`.
    // Release: who sees it and then reads the tail finds the claim there (M6).
    unsafe { slots.stamp(index) }.store(Stamp::claim(position).raw(), Ordering::Release);
    // Pair OVERWRITE: who reads a byte of what is written from here on finds that stamp, or a
    // later one.
    fence(Ordering::Release);
}

/// M5. Whether a payload that was copied under the stamp `seen` was left alone meanwhile.
#[inline(always)]
pub(super) fn is_unchanged(slots: SlotMemory, index: usize, seen: Stamp) -> bool {
    // Pair OVERWRITE: the copy comes before the second look.
    fence(Ordering::Acquire);
    // SAFETY: as in `load_stamp`.
    unsafe { slots.stamp(index) }.load(Ordering::Relaxed) == seen.raw()
}

/// `position` was claimed and will never have a message.
pub(super) fn bury(slots: SlotMemory, index: usize, position: Position) {
    // SAFETY: as in `load_stamp`.
    // Pair FULL: a tombstone is published like a message.
    unsafe { slots.stamp(index) }.store(Stamp::tomb(position).raw(), Ordering::Release);
}

/// The commit of a `Multi` consumer: the slot belongs to the next lap. (R7)
#[inline(always)]
pub(super) fn release_slot(slots: SlotMemory, index: usize, next: Position) {
    // SAFETY: as in `load_stamp`.
    // Pair FREE: the payload was copied out.
    unsafe { slots.stamp(index) }.store(Stamp::free(next).raw(), Ordering::Release);
}

/// D2. A position that a dead producer claimed and never published gets a tombstone,
/// unless its stamp is no longer what was `seen`.
#[must_use]
pub(super) fn bury_dead(slots: SlotMemory, index: usize, seen: Stamp, position: Position) -> bool {
    exchange(slots, index, seen, Stamp::tomb(position))
}

/// D3. The message of a dead reader is to be taken again.
#[must_use]
pub(super) fn bring_back(slots: SlotMemory, index: usize, seen: Stamp) -> bool {
    exchange(slots, index, seen, seen.brought_back())
}

/// D3. What a dead consumer claimed holds no message any more: it belongs to the next lap.
#[must_use]
pub(super) fn release_dead(slots: SlotMemory, index: usize, seen: Stamp, next: Position) -> bool {
    exchange(slots, index, seen, Stamp::free(next))
}

/// D4. Claims a redelivery, whose stamp is `seen`.
#[must_use]
pub(super) fn take_again(slots: SlotMemory, index: usize, seen: Stamp) -> bool {
    let next = seen.taken_again();
    exchange(slots, index, seen, if seeded(5) { Stamp::full(seen.position()) } else { next })
}

fn exchange(slots: SlotMemory, index: usize, seen: Stamp, to: Stamp) -> bool {
    debug_assert!(index < slots.count());
    // SAFETY: as in `load_stamp`. A value that was seen never comes back (C5), so the
    // exchange changes what was meant or nothing.
    // Pairs FULL, FREE and INTENT: recovery and redelivery go on where others stopped.
    unsafe { slots.stamp(index) }.compare_exchange(seen.raw(), to.raw(), Ordering::AcqRel, Ordering::Acquire).is_ok()
}

/// Finishes the claim that a dead Single producer left, so that this stamp never
/// comes back. Whether this call or somebody else's did it does not matter.
pub(super) fn bury_claim(slots: SlotMemory, index: usize, position: Position) {
    // SAFETY: as in `load_stamp`.
    let _ = unsafe { slots.stamp(index) }.compare_exchange(
        Stamp::claim(position).raw(),
        Stamp::tomb(position).raw(),
        Ordering::AcqRel,
        Ordering::Relaxed,
    );
}
