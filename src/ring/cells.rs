//! Cells: where a message lies outside of the ring, and the state word of each.
//!
//! ```text
//! FREE ─► WRITING(i) ─► HELD(i, h, count)                      a row: a lease
//!         WRITING(i) ─► PLACED(i, p) ─► TAKEN(i, h) ─► FREE    a block: put, got
//!                       PLACED(i, p) ─► HELD(i, h, count)      a block: leased
//! HELD(i, h, count) ─► FREE                                    acknowledged
//! HELD(i, h, count) ─► BACK(h, count)                          given back, or i died
//! BACK(h, count) ─► HELD(j, h, count + 1) or TAKEN(j, h)       handed out again
//! ```
//!
//! There are two tables of them with one machine: rows (`rows.rs`), into which a lease
//! moves a message that lay in its slot, and the blocks of the arena (`arena.rs`), in
//! which a message lies that no slot has room for.
//!
//! | pair | release | acquire | carries |
//! |---|---|---|---|
//! | CELL | `set`, every exchange | `load`, every exchange | the cell's bytes and notes |

use super::position::Position;
use crate::primitive::{AtomicU64, Ordering, seeded};

/// A cell's state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellWord(u64);

/// What a state word says. Positions are the low 44 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellState {
    Free,
    /// Its owner will move a message here, or not.
    Writing {
        owner: u32,
    },
    /// The ring has, or will have, this cell's number at that position.
    Placed {
        owner: u32,
        position: u64,
    },
    Held {
        owner: u32,
        position: u64,
        count: u32,
    },
    Back {
        position: u64,
        count: u32,
    },
    /// Its reader is copying it out: the message is the reader's already.
    Taken {
        owner: u32,
        position: u64,
    },
    /// No word that anybody writes.
    Nonsense,
}

impl CellWord {
    const POSITION_BITS: u32 = 44;
    const COUNT_SHIFT: u32 = CellWord::POSITION_BITS;
    const COUNT_BITS: u32 = 7;
    const OWNER_SHIFT: u32 = CellWord::COUNT_SHIFT + CellWord::COUNT_BITS;
    const STATE_SHIFT: u32 = 61;
    pub(super) const FREE: CellWord = CellWord(0);
    /// The count stays there.
    pub(crate) const MOST: u32 = (1 << CellWord::COUNT_BITS) - 1;

    pub(super) const fn low(position: Position) -> u64 {
        position.get() & ((1 << CellWord::POSITION_BITS) - 1)
    }

    const fn make(state: u64, owner: u32, low: u64) -> CellWord {
        CellWord(state << CellWord::STATE_SHIFT | (owner as u64) << CellWord::OWNER_SHIFT | low)
    }

    pub(super) const fn writing(owner: u32) -> CellWord {
        CellWord::make(1, owner, 0)
    }

    pub(super) const fn held(owner: u32, low: u64, count: u32) -> CellWord {
        let count = if count < CellWord::MOST { count } else { CellWord::MOST };
        CellWord(CellWord::make(2, owner, low).0 | (count as u64) << CellWord::COUNT_SHIFT)
    }

    pub(super) const fn back(low: u64, count: u32) -> CellWord {
        CellWord(CellWord::make(3, 0, low).0 | (count as u64) << CellWord::COUNT_SHIFT)
    }

    pub(super) const fn placed(owner: u32, low: u64) -> CellWord {
        CellWord::make(4, owner, low)
    }

    pub(super) const fn taken(owner: u32, low: u64) -> CellWord {
        CellWord::make(5, owner, low)
    }

    pub(crate) const fn from_raw(raw: u64) -> CellWord {
        CellWord(raw)
    }

    pub(crate) const fn state(self) -> CellState {
        let owner = (self.0 >> CellWord::OWNER_SHIFT) as u32 & 0x3ff;
        let count = (self.0 >> CellWord::COUNT_SHIFT) as u32 & CellWord::MOST;
        let position = self.0 & ((1 << CellWord::POSITION_BITS) - 1);
        match self.0 >> CellWord::STATE_SHIFT {
            0 if self.0 == 0 => CellState::Free,
            1 => CellState::Writing { owner },
            2 => CellState::Held { owner, position, count },
            3 => CellState::Back { position, count },
            4 => CellState::Placed { owner, position },
            5 => CellState::Taken { owner, position },
            _ => CellState::Nonsense,
        }
    }
}

impl CellWord {
    /// Whether the message of `position` is here, and is to be given to somebody or was.
    pub(super) fn keeps(self, position: Position) -> bool {
        let low = CellWord::low(position);
        matches!(self.state(), CellState::Held { position, .. } | CellState::Back { position, .. } if position == low)
    }
}

/// What else is known of a message in a cell; written before the word says so.
#[repr(C)]
pub(crate) struct CellNote {
    /// The message's whole position.
    pub(crate) id: AtomicU64,
    /// CLOCK_MONOTONIC of when it was leased, in nanoseconds; for people who look inside.
    pub(crate) since: AtomicU64,
}

impl CellNote {
    pub(super) fn store(&self, position: Position, since: u64) {
        self.id.store(position.get(), Ordering::Relaxed);
        self.since.store(since, Ordering::Relaxed);
    }
}

/// A message in a cell that this participant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(super) cell: usize,
    pub(super) word: CellWord,
    /// Whether it is a block of the arena; else it is a row.
    pub(crate) is_block: bool,
    /// The message's position.
    pub(crate) id: u64,
    /// How many readers of it have died or given it back.
    pub(crate) count: u32,
}

impl Holding {
    /// The block it lies in, if it is not a row.
    pub(crate) fn block(&self) -> Option<u32> {
        self.is_block.then_some(self.cell as u32)
    }
}

/// A table of cells.
pub(super) trait Cells: Copy {
    /// Whether these are the blocks of the arena.
    const ARE_BLOCKS: bool;

    fn count(&self) -> usize;
    /// The state word of a cell below the count.
    fn word(&self, cell: usize) -> Option<&AtomicU64>;
    fn note(&self, cell: usize) -> Option<&CellNote>;

    fn load(&self, cell: usize) -> CellWord {
        // Pair CELL. There is no such cell: no state that anybody acts on.
        CellWord(self.word(cell).map_or(u64::MAX, |word| word.load(Ordering::Acquire)))
    }

    #[must_use]
    fn exchange(&self, cell: usize, seen: CellWord, to: CellWord) -> bool {
        // Pair CELL.
        self.word(cell)
            .is_some_and(|word| word.compare_exchange(seen.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok())
    }

    /// Of a cell that is WRITING or PLACED by a live participant, which alone changes it.
    fn set(&self, cell: usize, to: CellWord) {
        if let Some(word) = self.word(cell) {
            // Pair CELL.
            word.store(to.0, Ordering::Release);
        }
    }

    /// All cells with their words.
    fn all(&self) -> impl Iterator<Item = (usize, CellWord)> {
        (0..self.count()).map(move |cell| (cell, self.load(cell)))
    }

    /// L1. Makes a free one of some cells this participant's, to move a message into.
    fn reserve_among(&self, mut cells: impl Iterator<Item = usize>, me: u32) -> Option<usize> {
        cells.find(|&cell| {
            self.load(cell) == CellWord::FREE && self.exchange(cell, CellWord::FREE, CellWord::writing(me))
        })
    }

    /// The cell was not needed.
    fn cancel(&self, cell: usize, me: u32) {
        let _ = self.exchange(cell, CellWord::writing(me), CellWord::FREE);
    }

    /// L4. Takes a message whose holder has died or given it back.
    fn take_again(&self, me: u32, since: u64) -> Option<Holding> {
        self.all().find_map(|(cell, seen)| {
            let CellState::Back { position, count } = seen.state() else { return None };
            let word = CellWord::held(me, position, count + 1);
            if !self.exchange(cell, seen, word) {
                return None;
            }
            let note = self.note(cell)?;
            note.since.store(since, Ordering::Relaxed);
            let id = note.id.load(Ordering::Relaxed);
            Some(Holding { cell, word, is_block: Self::ARE_BLOCKS, id, count: count + 1 })
        })
    }

    /// L3. The message is consumed. False: the cell is no longer ours, which nobody does.
    #[must_use]
    fn acknowledge(&self, holding: Holding) -> bool {
        self.exchange(holding.cell, holding.word, CellWord::FREE)
    }

    /// L3, L5. The message is the queue's again.
    #[must_use]
    fn give_back(&self, cell: usize, seen: CellWord) -> bool {
        let CellState::Held { position, count, .. } = seen.state() else { return false };
        self.exchange(cell, seen, CellWord::back(position, count))
    }

    /// L5. What participant `owner`, who is dead or leaving, has here: says how many
    /// messages are the queue's again. `in_ring` says of a cell that was placed at a
    /// position whether the ring has it.
    fn keep(&self, owner: u32, in_ring: impl Fn(usize, Position) -> bool) -> u64 {
        let mut back = 0;
        for (cell, seen) in self.all() {
            match seen.state() {
                CellState::Writing { owner: its } | CellState::Taken { owner: its, .. } if its == owner => {
                    if seeded(9) {
                        continue;
                    }
                    let _ = self.exchange(cell, seen, CellWord::FREE);
                }
                CellState::Placed { owner: its, position } if its == owner => {
                    let id = self.note(cell).map_or(0, |note| note.id.load(Ordering::Relaxed));
                    let whole = Position::new(id);
                    if (CellWord::low(whole) != position || !in_ring(cell, whole)) && !seeded(10) {
                        let _ = self.exchange(cell, seen, CellWord::FREE);
                    }
                }
                CellState::Held { owner: its, .. } if its == owner && seeded(19) => {
                    let _ = self.exchange(cell, seen, CellWord::FREE);
                }
                CellState::Held { owner: its, .. } if its == owner => {
                    back += u64::from(self.give_back(cell, seen));
                }
                _ => {}
            }
        }
        back
    }

    /// Messages that wait to be taken again.
    fn waiting(&self) -> u64 {
        self.all().filter(|(_, word)| matches!(word.state(), CellState::Back { .. })).count() as u64
    }

    /// Whether any message is here that may come back.
    fn have_any(&self) -> bool {
        self.all().any(|(_, word)| match word.state() {
            CellState::Held { .. } => true,
            CellState::Back { .. } => !seeded(53),
            _ => false,
        })
    }

    /// Whether anybody but `me` has a message here that may come back.
    fn others_hold(&self, me: u32) -> bool {
        self.all().any(|(_, word)| match word.state() {
            CellState::Held { owner, .. } => owner != me,
            CellState::Back { .. } => true,
            _ => false,
        })
    }
}
