//! What must never be, and what rest means.

use super::super::{NONE, Tag, unfinished};
use super::{Cell, Cells, Life, State};

impl Cells {
    /// Published, not delivered, and neither in the ring nor in a cell nor in the hands of a live reader.
    pub(super) fn lost(&self, s: &State, message: u8) -> bool {
        let open = (s.published & !s.consumed) & 1 << message != 0;
        let in_ring = |slot: usize| {
            matches!(s.stamps[slot].tag, Tag::Full | Tag::Back) && self.message_in(s, slot) == Some(message)
        };
        let in_cell = |cell: usize| {
            let kept = match s.cells[cell] {
                Cell::Held { no_return, .. } => !no_return,
                Cell::Back { .. } => true,
                _ => false,
            };
            kept && s.bytes[cell] == message
        };
        open && s.holder[usize::from(message)] == NONE
            && !(0..usize::from(self.0.capacity)).any(in_ring)
            && !self.cells().any(in_cell)
    }

    /// Everything was put and delivered, nothing is leaked.
    pub(super) fn empty(&self, s: &State) -> bool {
        let put = self.producers().map(usize::from).all(|i| s.life[i] != Life::Alive || s.left[i] == 0);
        put && s.head == s.tail
            && s.published == s.consumed
            && s.stamps[..usize::from(self.0.capacity)].iter().all(|stamp| stamp.tag == Tag::Free)
            && s.cells.iter().all(|&cell| cell == Cell::Free)
            && s.hand.iter().all(|&hand| hand == NONE)
    }

    /// Nobody is left to consume, but no position and no cell is half-way.
    pub(super) fn half_done(&self, s: &State) -> bool {
        let slots = s.stamps[..usize::from(self.0.capacity)].iter().all(|&stamp| !unfinished(stamp, s.tail, s.head));
        let cells = self.cells().all(|cell| match s.cells[cell] {
            Cell::Free | Cell::Back { .. } => true,
            Cell::Writing(owner) => s.hand[usize::from(owner)] == cell as u8,
            Cell::At(pos) => {
                let stamp = s.stamps[self.slot(pos)];
                stamp.pos == pos && matches!(stamp.tag, Tag::Full | Tag::Back)
            }
            Cell::Held { .. } => false,
        });
        slots && cells
    }
}
