//! Positions and stamps: the two numbers of the protocol.

/// A message's place in the queue's history. Starts at the capacity (0 is no
/// position), only grows, and has 58 bits: at 10^9 messages a second it lasts
/// nine years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Position(u64);

impl Position {
    pub(crate) const BITS: u32 = 58;

    /// Keeps the bits a position has, whatever was read.
    #[inline(always)]
    pub(crate) const fn new(value: u64) -> Position {
        Position(value & ((1 << Position::BITS) - 1))
    }

    /// A number that only this process has touched: no bits to clear.
    #[inline(always)]
    pub(crate) const fn private(value: u64) -> Position {
        Position(value)
    }

    #[inline(always)]
    pub(crate) const fn get(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn plus(self, count: u64) -> Position {
        Position(self.0.wrapping_add(count))
    }

    /// How far this is behind `later`; 0 if it is not.
    pub(crate) const fn until(self, later: Position) -> u64 {
        later.0.saturating_sub(self.0)
    }
}

/// What a slot says: `position << 6 | tag << 4 | attempt`.
///
/// Ordered as numbers: for one position FREE < CLAIM < FULL < TOMB < BACK, and
/// everything of a position is below everything of the next lap.
///
/// | stamp | meaning | who writes it |
/// |---|---|---|
/// | `FREE(p)` | nothing yet at p | the commit of p - capacity (of a chunk, p - its slots), creation |
/// | `CLAIM(p)` = `FREE(p) + 1` | the `Single` producer is writing p | it |
/// | `FULL(p)` (+ attempt) | message p | its producer; a consumer that takes a redelivery |
/// | `TOMB(p)` | p was claimed and has no message | the producer that found the queue closed; recovery |
/// | `BACK(p)` (+ attempt) | message p, its reader died | recovery |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(transparent)]
pub(crate) struct Stamp(u64);

/// The part of a stamp that says what state its position is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Free,
    Full,
    Tomb,
    Back,
}

impl Stamp {
    const POSITION_SHIFT: u32 = 6;
    const TAG_SHIFT: u32 = 4;

    const fn make(position: Position, tag: u64) -> Stamp {
        Stamp(position.0 << Stamp::POSITION_SHIFT | tag << Stamp::TAG_SHIFT)
    }

    #[inline(always)]
    pub(crate) const fn free(position: Position) -> Stamp {
        Stamp::make(position, 0)
    }

    #[inline(always)]
    pub(crate) const fn claim(position: Position) -> Stamp {
        Stamp(Stamp::free(position).0 | 1)
    }

    #[inline(always)]
    pub(crate) const fn full(position: Position) -> Stamp {
        Stamp::make(position, 1)
    }

    #[inline(always)]
    pub(crate) const fn tomb(position: Position) -> Stamp {
        Stamp::make(position, 2)
    }

    /// BACK of the attempt that `self` is FULL of.
    pub(crate) const fn brought_back(self) -> Stamp {
        Stamp(self.0 | 3 << Stamp::TAG_SHIFT)
    }

    /// FULL of the attempt after the one that `self` is BACK of. The count wraps
    /// after sixteen.
    pub(crate) const fn taken_again(self) -> Stamp {
        Stamp(Stamp::full(self.position()).0 | (self.0.wrapping_add(1) & 0xf))
    }

    /// How many readers of this message have died, modulo 16.
    pub(crate) const fn attempt(self) -> u32 {
        (self.0 & 0xf) as u32
    }

    #[inline(always)]
    pub(crate) const fn from_raw(raw: u64) -> Stamp {
        Stamp(raw)
    }

    #[inline(always)]
    pub(crate) const fn raw(self) -> u64 {
        self.0
    }

    pub(crate) const fn position(self) -> Position {
        Position(self.0 >> Stamp::POSITION_SHIFT)
    }

    pub(crate) const fn tag(self) -> Tag {
        match (self.0 >> Stamp::TAG_SHIFT) & 3 {
            0 => Tag::Free,
            1 => Tag::Full,
            2 => Tag::Tomb,
            _ => Tag::Back,
        }
    }

    /// FREE of `position` or of an earlier one: where chunks change their places. (G3)
    #[inline(always)]
    pub(crate) const fn is_free_for(self, position: Position) -> bool {
        // By how many positions it is earlier. The bits below a position come out on top, as does the
        // sign: of a stamp that is not FREE, or a later one, the result is large.
        let earlier = Stamp::free(position).0.wrapping_sub(self.0).rotate_right(Stamp::POSITION_SHIFT);
        earlier >> (Position::BITS - 1) == 0
    }

    /// FULL of `position`, in whatever attempt: the message can be claimed.
    #[inline(always)]
    pub(crate) const fn is_full(self, position: Position) -> bool {
        self.0 & !0xf == Stamp::full(position).0
    }

    /// BACK of `position`, in whatever attempt: the message is to be taken again.
    pub(crate) const fn is_back(self, position: Position) -> bool {
        self.0 & !0xf == Stamp::full(position).brought_back().0
    }

    /// Nothing of `position` was published yet.
    #[inline(always)]
    pub(crate) const fn is_before(self, position: Position) -> bool {
        self.0 < Stamp::full(position).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_of_a_position_are_ordered_by_state() {
        let p = Position::new(12);
        let next_lap = Stamp::free(p.plus(1));
        let back = Stamp::full(p).brought_back();
        let states = [Stamp::free(p), Stamp::claim(p), Stamp::full(p), Stamp::tomb(p), back, next_lap];
        assert!(states.is_sorted());
        assert!(states.windows(2).all(|w| w[0] != w[1]));
        assert!(states[..5].iter().all(|stamp| stamp.position() == p));
        assert!(Stamp::from_raw(Stamp::full(p).raw() | 0xf).is_full(p));
        assert!(!Stamp::tomb(p).is_full(p));
        assert!(Stamp::claim(p).is_before(p) && !Stamp::full(p).is_before(p));
    }

    #[test]
    fn free_for_later_positions_too() {
        let p = Position::new(1000);
        assert!(Stamp::free(p).is_free_for(p) && Stamp::free(p).is_free_for(p.plus(1 << 40)));
        assert!(!Stamp::free(p.plus(1)).is_free_for(p) && !Stamp::free(p.plus(1 << 40)).is_free_for(p));
        for used in [Stamp::full(p), Stamp::tomb(p), Stamp::full(p).brought_back(), Stamp::claim(p)] {
            assert!(!used.is_free_for(p) && !used.is_free_for(p.plus(7)) && !used.is_free_for(Position::new(7)));
        }
    }

    #[test]
    fn every_redelivery_is_another_stamp() {
        let p = Position::new(12);
        let mut stamp = Stamp::full(p);
        for death in 1..=20 {
            let back = stamp.brought_back();
            assert!(
                back.is_back(p) && !back.is_full(p) && back.tag() == Tag::Back && back.attempt() == stamp.attempt()
            );
            let again = back.taken_again();
            assert!(again.is_full(p) && again != stamp && again.attempt() == death % 16);
            stamp = again;
        }
    }

    #[test]
    fn a_scribbled_position_keeps_its_bits_only() {
        assert_eq!(Position::new(u64::MAX).get(), (1 << 58) - 1);
        assert_eq!(Stamp::free(Position::new(u64::MAX)).raw() & 0x3f, 0);
    }
}
