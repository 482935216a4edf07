//! The ring's words as a bystander finds them: decoded from a private copy.
//!
//! Nothing here touches shared memory, and nothing is believed: positions keep the bits
//! that they have, scans are bounded, and what contradicts itself is said, not acted upon.
//! A copy of a ring in use is no snapshot: its words were read one after the other.

use super::Side;
use super::layout::{Control, PARTICIPANT_SIZE, Participant};
use super::layout::{Intents, Seldom, Who};
use super::position::{Position, Stamp, Tag};
use core::mem::offset_of;

/// Bytes of the shared words.
pub(crate) const CONTROL_SIZE: usize = size_of::<Control>();

const CLOSED: u64 = 1 << 63;

/// Stamps that one look reads at most: beyond, it says that it did not see all.
const MOST_STAMPS: u64 = 1 << 20;

fn word(bytes: &[u8], at: usize) -> u64 {
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    word.map_or(0, u64::from_ne_bytes)
}

/// The shared words.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlLook {
    pub(crate) tail: u64,
    pub(crate) tail_is_closed: bool,
    pub(crate) head: u64,
    pub(crate) taken: u64,
    /// Pids of the holders of Single sides, 0: nobody.
    pub(crate) holders: [u64; 2],
    pub(crate) end: Option<u64>,
}

impl ControlLook {
    pub(crate) fn of(bytes: &[u8; CONTROL_SIZE]) -> ControlLook {
        let seldom = offset_of!(Control, seldom);
        let position = |at| Position::new(word(bytes, at)).get();
        let holders = seldom + offset_of!(Seldom, holders);
        let end = position(seldom + offset_of!(Seldom, end));
        ControlLook {
            tail: position(offset_of!(Control, tail)),
            tail_is_closed: word(bytes, offset_of!(Control, tail)) & CLOSED != 0,
            head: position(offset_of!(Control, head)),
            taken: position(offset_of!(Control, taken)),
            holders: [word(bytes, holders), word(bytes, holders + 8)],
            end: (end != 0).then_some(end),
        }
    }
}

/// One participant's own lines. An intent is where it starts and how long it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ParticipantLook {
    pub(crate) pid: u64,
    pub(crate) roles: u64,
    pub(crate) attached: u64,
    pub(crate) sleeps: u64,
    pub(crate) wakes: u64,
    pub(crate) asleep_since: u64,
    /// Counted on Multi sides.
    pub(crate) puts: u64,
    pub(crate) gets: u64,
    /// Where it took over Single sides, producers' and consumers'; 0: it has not.
    pub(crate) single_from: [u64; 2],
    pub(crate) put: Option<(u64, u64)>,
    pub(crate) get: Option<(u64, u64)>,
}

impl ParticipantLook {
    pub(crate) fn of(bytes: &[u8; PARTICIPANT_SIZE]) -> ParticipantLook {
        let who = |at| word(bytes, offset_of!(Participant, who) + at);
        let intents = |at| word(bytes, offset_of!(Participant, intents) + at);
        let intent = |start, len| {
            let (start, len) = (Position::new(intents(start)).get(), intents(len));
            (len != 0).then_some((start, len))
        };
        ParticipantLook {
            pid: who(offset_of!(Who, pid)),
            roles: who(offset_of!(Who, roles)),
            attached: who(offset_of!(Who, attached)),
            sleeps: who(offset_of!(Who, sleeps)),
            wakes: who(offset_of!(Who, wakes)),
            asleep_since: who(offset_of!(Who, asleep_since)),
            puts: intents(offset_of!(Intents, puts)),
            gets: intents(offset_of!(Intents, gets)),
            single_from: [0, 8].map(|at| who(offset_of!(Who, single_from) + at)),
            put: intent(offset_of!(Intents, put_start), offset_of!(Intents, put_len)),
            get: intent(offset_of!(Intents, get_start), offset_of!(Intents, get_len)),
        }
    }
}

/// Something that was begun at a position and is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pending {
    pub(crate) position: u64,
    pub(crate) what: Unfinished,
    /// The stamp, to tell whether it is the same at a second look.
    pub(crate) stamp: u64,
}

/// What was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfinished {
    /// Claimed by a producer, not published.
    Put,
    /// Claimed by a consumer, not committed.
    Get,
}

/// What the stamps say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stamps {
    /// In the order of positions.
    pub(crate) pending: Vec<Pending>,
    /// Messages that a dead consumer's claim gave back and nobody has taken again.
    pub(crate) back: u64,
    /// Not all of them were looked at, or not all could be.
    pub(crate) incomplete: bool,
}

/// A ring of which the stamps can be asked for: by slot, or by block where both sides are
/// Single.
pub(crate) struct RingLook<F: Fn(u64) -> Option<u64>> {
    pub(crate) control: ControlLook,
    /// Not 0.
    pub(crate) capacity: u64,
    pub(crate) producers: Side,
    pub(crate) consumers: Side,
    /// Messages that share a stamp.
    pub(crate) per_stamp: u64,
    /// Of a ring of chunks: nothing older than this is unfinished, and a stamp of zero is
    /// one that has no memory.
    pub(crate) oldest: Option<u64>,
    /// The flag that Single producers read.
    pub(crate) closed_flag: bool,
    pub(crate) stamp: F,
}

impl<F: Fn(u64) -> Option<u64>> RingLook<F> {
    fn is_blocks(&self) -> bool {
        (self.producers, self.consumers) == (Side::Single, Side::Single)
    }

    fn raw_at(&self, position: u64) -> Option<u64> {
        (self.stamp)(position % self.capacity / self.per_stamp.max(1))
    }

    pub(crate) fn is_closed(&self) -> bool {
        match self.producers {
            Side::Multi => self.control.tail_is_closed,
            Side::Single => self.closed_flag,
        }
    }

    /// Everything below it was claimed (Multi) or taken (Single) by consumers.
    pub(crate) fn consumed(&self) -> u64 {
        match self.consumers {
            Side::Multi => self.control.head,
            Side::Single => self.control.taken,
        }
    }

    /// Everything below it was claimed (Multi) or published (Single) by producers. None
    /// where the stamps cannot be read.
    pub(crate) fn produced(&self) -> Option<u64> {
        if self.producers == Side::Multi {
            return Some(self.control.tail);
        }
        let from = self.consumed();
        let (mut low, mut high) = (0, self.capacity);
        while low < high {
            let middle = low + (high - low) / 2;
            let position = Position::new(from.wrapping_add(middle));
            let raw = self.raw_at(position.get())?;
            let published = match self.is_blocks() {
                true => raw > position.get(),
                false => !Stamp::from_raw(raw).is_before(position),
            };
            if published { low = middle + 1 } else { high = middle }
        }
        let produced = from.wrapping_add(low);
        Some(self.control.end.filter(|_| self.is_blocks()).map_or(produced, |end| end.min(produced)))
    }

    /// Messages put and not taken.
    pub(crate) fn depth(&self) -> Option<u64> {
        Some(self.produced()?.saturating_sub(self.consumed()).min(self.capacity))
    }

    /// Reads the stamps of the window.
    pub(crate) fn stamps(&self) -> Stamps {
        let mut found = Stamps::default();
        let Some(produced) = self.produced() else {
            found.incomplete = true;
            return found;
        };
        if self.is_blocks() {
            // Nothing is claimed before it is published, or committed.
            return found;
        }
        let consumed = self.consumed();
        let last = match self.producers {
            Side::Multi => produced,
            // The position that a Single producer may be writing.
            Side::Single => produced.saturating_add(1),
        };
        // Older ones have been written over: a slot that is not released stops its next lap.
        let first = last.saturating_sub(self.capacity).max(self.capacity).max(self.oldest.unwrap_or(0)).min(consumed);
        let count = last.saturating_sub(first);
        found.incomplete = count > MOST_STAMPS;
        for position in (first..last).take(MOST_STAMPS as usize) {
            let Some(raw) = self.raw_at(position) else {
                found.incomplete = true;
                break;
            };
            let stamp = Stamp::from_raw(raw);
            let of_this = stamp.position().get() == position;
            if of_this && stamp.tag() == Tag::Back {
                found.back += 1;
                continue;
            }
            let what = if position < consumed {
                let claimed = self.consumers == Side::Multi && of_this && matches!(stamp.tag(), Tag::Full | Tag::Tomb);
                claimed.then_some(Unfinished::Get)
            } else {
                let claimed = match self.producers {
                    Side::Multi => stamp.is_before(Position::new(position)),
                    Side::Single => stamp == Stamp::claim(Position::new(position)),
                };
                claimed.then_some(Unfinished::Put)
            };
            found.pending.extend(what.map(|what| Pending { position, what, stamp: raw }));
        }
        found
    }

    /// What the words say that cannot be.
    pub(crate) fn contradictions(&self) -> Vec<String> {
        let mut found = Vec::new();
        let (consumed, capacity) = (self.consumed(), self.capacity);
        let first = |name: &str, value: u64, found: &mut Vec<String>| {
            if value < capacity {
                found.push(format!("{name} is {value}, but the first position is {capacity}"));
            }
        };
        match self.consumers {
            Side::Multi => first("head", self.control.head, &mut found),
            Side::Single => first("taken", self.control.taken, &mut found),
        }
        if self.producers == Side::Multi {
            let tail = self.control.tail;
            first("tail", tail, &mut found);
            // Read one after the other: only what no order of reading explains counts.
            if tail.saturating_sub(consumed) > capacity.saturating_mul(2) || consumed.saturating_sub(tail) > capacity {
                found.push(format!("tail is {tail} and consumers are at {consumed}, with a capacity of {capacity}"));
            }
        }
        // Stamps are read later, so they may be newer in a ring in use, but never older.
        if let Some(raw) = self.raw_at(consumed).filter(|raw| self.oldest.is_none() || *raw != 0) {
            // A chunk that lends its place leaves it one that nobody had for a while.
            let laps = if self.oldest.is_some() { 2 } else { 1 };
            let oldest = consumed.saturating_sub(capacity.saturating_mul(laps));
            let stale = match self.is_blocks() {
                true => oldest >= capacity && raw <= oldest,
                false => Stamp::from_raw(raw).position().get() < oldest,
            };
            if stale {
                found.push(format!("the stamp of position {consumed} is {raw:#x}, older than a lap"));
            }
        }
        found
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn control(tail: u64, head: u64) -> ControlLook {
        ControlLook { tail, tail_is_closed: false, head, taken: head, holders: [0; 2], end: None }
    }

    fn ring(slots: &[u64], tail: u64, head: u64, sides: (Side, Side)) -> RingLook<impl Fn(u64) -> Option<u64>> {
        RingLook {
            control: control(tail, head),
            capacity: slots.len() as u64,
            producers: sides.0,
            consumers: sides.1,
            per_stamp: 1,
            oldest: None,
            closed_flag: false,
            stamp: |slot| slots.get(slot as usize).copied(),
        }
    }

    fn at(position: u64) -> Position {
        Position::new(position)
    }

    #[test]
    fn what_is_begun_is_found_on_both_sides() {
        // Capacity 4: position 4 is claimed by a consumer, 5 waits, 6 is claimed by a
        // producer, 7 is free.
        let slots =
            [Stamp::full(at(4)), Stamp::full(at(5)), Stamp::free(at(6)), Stamp::free(at(7))].map(|stamp| stamp.raw());
        let ring = ring(&slots, 7, 5, (Side::Multi, Side::Multi));
        assert_eq!(ring.depth(), Some(2));
        let found: Vec<_> = ring.stamps().pending.iter().map(|p| (p.position, p.what)).collect();
        assert_eq!(found, [(4, Unfinished::Get), (6, Unfinished::Put)]);
        assert!(ring.contradictions().is_empty());
    }

    #[test]
    fn a_single_producer_claims_by_its_stamp() {
        let slots = [Stamp::full(at(4)), Stamp::claim(at(5)), Stamp::free(at(6)), Stamp::free(at(7))].map(Stamp::raw);
        let ring = ring(&slots, 4, 4, (Side::Single, Side::Multi));
        assert_eq!((ring.depth(), ring.produced()), (Some(1), Some(5)));
        let found: Vec<_> = ring.stamps().pending.iter().map(|p| (p.position, p.what)).collect();
        assert_eq!(found, [(5, Unfinished::Put)]);
    }

    #[test]
    fn nonsense_ends_and_is_said() {
        for sides in [(Side::Multi, Side::Multi), (Side::Single, Side::Multi), (Side::Multi, Side::Single)] {
            for (tail, head) in [(u64::MAX >> 6, 0), (0, u64::MAX >> 6), (0, 0)] {
                let full = ring(&[u64::MAX; 4], tail, head, sides);
                let _ = (full.depth(), full.stamps(), full.contradictions());
                let ring = ring(&[0; 4], tail, head, sides);
                let _ = (ring.depth(), ring.stamps());
                assert!(!ring.contradictions().is_empty(), "{sides:?} {tail} {head}");
            }
        }
    }
}
