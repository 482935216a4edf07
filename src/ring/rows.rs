//! Leases, and the rows where the messages of most of them lie (rules L1 to L7).
//!
//! A lease moves its message out of the ring into a row, and the slot is released: the
//! ring never waits for a lease. (One that lies in a block of the arena stays there.)

#![allow(unsafe_code)]

use super::arena::{InRing, Taken};
use super::cells::{CellNote, CellWord, Cells, Holding};
use super::position::Position;
use super::{Get, GetCursor, Rescue, Ring, Side, Sink};
use crate::primitive::{AtomicU64, BlockMemory, Payload, SlotMemory, seeded};
use core::cell::Cell;

/// The rows of one ring. A row's state word is where a slot has its stamp.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'m> {
    pub(crate) memory: SlotMemory,
    /// As many as there are rows.
    pub(crate) notes: &'m [CellNote],
    /// How many leases one handle may hold at once.
    pub(crate) per_handle: u32,
}

impl Cells for Rows<'_> {
    const ARE_BLOCKS: bool = false;

    fn count(&self) -> usize {
        // Two views of one region; a smaller one bounds both.
        self.memory.count().min(self.notes.len())
    }

    fn word(&self, cell: usize) -> Option<&AtomicU64> {
        // SAFETY: in bounds, as was just asked.
        (cell < self.memory.count()).then(|| unsafe { self.memory.stamp(cell) })
    }

    fn note(&self, cell: usize) -> Option<&CellNote> {
        self.notes.get(cell)
    }
}

impl Rows<'_> {
    fn payload(self, row: usize) -> Option<Payload> {
        // SAFETY: in bounds, as was just asked.
        (row < self.memory.count()).then(|| unsafe { self.memory.payload(row) })
    }

    /// L1. Makes a free row this participant's, to move a message into.
    fn reserve(self, me: u32) -> Option<usize> {
        let count = self.count();
        let first = (me as usize).saturating_mul(self.per_handle as usize) % count.max(1);
        self.reserve_among((first..count).chain(0..first), me)
    }

    /// L2. The message is in the row: from here on it is the lease's, not the ring's.
    fn hold(self, row: usize, me: u32, position: Position, since: u64, count: u32) -> Holding {
        let word = CellWord::held(me, CellWord::low(position), count);
        if let Some(note) = self.note(row) {
            note.store(position, since);
        }
        self.set(row, word);
        Holding { cell: row, word, is_block: false, id: position.get(), count }
    }
}

/// Takes a message into private memory and into a row at once.
struct IntoRow<'s, 'm, K> {
    sink: &'s mut K,
    rows: Rows<'m>,
    row: usize,
    me: u32,
    since: u64,
    held: Option<Holding>,
}

impl<K: Sink> Sink for IntoRow<'_, '_, K> {
    fn slots(slots: SlotMemory) -> SlotMemory {
        K::slots(slots)
    }

    fn blocks(blocks: BlockMemory) -> BlockMemory {
        K::blocks(blocks)
    }

    unsafe fn read(&mut self, at: u64, payload: Payload) -> usize {
        // SAFETY: the contract of this function.
        let used = unsafe { self.sink.read(at, payload) };
        if let Some(row) = self.rows.payload(self.row) {
            // SAFETY: no more than either has.
            unsafe { payload.copy_to(row, used.min(payload.room()).min(row.room())) };
        }
        used
    }

    /// Before the slot is released: from now on the message is in the row. One that lies
    /// in a block stays there; one that no longer does was a husk.
    fn keep(&mut self, ring: &Ring<'_>, _at: u64, position: Position, count: u32) {
        self.held = match self.sink.block(0) {
            None => Some(self.rows.hold(self.row, self.me, position, self.since, count)),
            Some(block) => {
                let held = ring.arena.hold(block, self.me, position, count, self.since);
                self.sink.found(0, held.map(Taken::of_lease));
                held
            }
        };
    }
}

/// How an attempt at a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Leased {
    /// The sink has a copy, and the row is ours.
    Yes(Holding),
    /// This handle holds all that it may, or no row is free.
    TooMany,
    /// The slot was released, and its message is somebody else's.
    Husk,
    /// Nothing there; as a get would say it.
    No(Get),
}

impl Ring<'_> {
    /// A lease of a message that has come back: of a row, or of a slot whose reader died.
    /// The caller has read the alert before.
    pub(crate) fn lease_back<K: Sink>(&self, cursor: &GetCursor, since: u64, sink: &mut K) -> Leased {
        if self.has_all_leases(cursor) {
            return Leased::TooMany;
        }
        if let Some(holding) = self.take_cell(since, sink) {
            cursor.held.set(cursor.held.get() + 1);
            return Leased::Yes(holding);
        }
        self.lease_with(cursor, since, sink, |into| (self.take_back_slots(cursor, 1, into), Get::Empty))
    }

    /// A lease of the next message.
    pub(crate) fn try_lease<K: Sink>(&self, cursor: &GetCursor, since: u64, sink: &mut K) -> Leased {
        self.lease_with(cursor, since, sink, |into| self.try_get_run(cursor, 1, into))
    }

    /// Whether [`Ring::lease_fast`] may be used. Who waits there has a row already, so there has to be one for every
    /// lease that there may be.
    #[inline]
    pub(crate) fn may_lease_fast(&self, cursor: &GetCursor) -> bool {
        let most = self.everyone.len().saturating_mul(self.rows.per_handle as usize);
        self.consumers == Side::Multi && !cursor.is_off_the_fast_path() && self.rows.count() >= most
    }

    /// A lease of the next message by the hot path of `Multi` consumers, as long as it `goes_on`.
    #[inline(always)]
    pub(crate) fn lease_fast<K: Sink>(
        &self,
        cursor: &GetCursor,
        since: u64,
        sink: &mut K,
        mut goes_on: impl FnMut() -> bool,
    ) -> Leased {
        let leased = self.lease_with(cursor, since, sink, |into| {
            loop {
                if self.get_fast(cursor, into) {
                    return (1, Get::Item);
                }
                if !goes_on() {
                    return (0, Get::Empty);
                }
            }
        });
        if matches!(leased, Leased::No(_)) {
            // R5: another may have claimed what was announced.
            self.me.withdraw_get(&cursor.announced);
        }
        leased
    }

    /// L1, L2: a row, the claim, the copy, HELD, the release.
    #[inline(always)]
    fn lease_with<'r, K: Sink>(
        &'r self,
        cursor: &GetCursor,
        since: u64,
        sink: &mut K,
        get: impl FnOnce(&mut IntoRow<'_, 'r, K>) -> (u64, Get),
    ) -> Leased {
        if self.has_all_leases(cursor) {
            return Leased::TooMany;
        }
        let Some(row) = self.rows.reserve(self.index) else { return Leased::TooMany };
        let mut into = IntoRow { sink, rows: self.rows, row, me: self.index, since, held: None };
        let (got, why) = get(&mut into);
        let held = into.held;
        // Also of one that is held in a block.
        if held.is_none_or(|holding| holding.is_block) {
            self.rows.cancel(row, self.index);
        }
        match held {
            Some(holding) => {
                cursor.held.set(cursor.held.get() + 1);
                Leased::Yes(holding)
            }
            None if got > 0 => Leased::Husk,
            None => Leased::No(why),
        }
    }

    /// Takes a cell that has come back, with its message.
    fn take_cell<K: Sink>(&self, since: u64, sink: &mut K) -> Option<Holding> {
        if let Some(holding) = self.rows.take_again(self.index, since) {
            let payload = self.rows.payload(holding.cell)?;
            // SAFETY: the sink was made for this queue.
            unsafe { sink.read(0, payload) };
            return Some(holding);
        }
        let holding = self.arena.take_again(self.index, since)?;
        sink.found(0, Some(Taken::of_lease(holding)));
        Some(holding)
    }

    /// L4 for a plain get: of a row, held until it is copied, then consumed; a block is
    /// the reader's at once. Says how many, up to `max`, were put into the sink, from
    /// number `at` on.
    pub(super) fn take_back_cells<K: Sink>(&self, at: u64, max: u64, sink: &mut K) -> u64 {
        let mut taken = 0;
        while taken < max {
            let Some(holding) = self.rows.take_again(self.index, 0) else { break };
            let Some(payload) = self.rows.payload(holding.cell) else { break };
            // SAFETY: as in `take_cell`.
            unsafe { sink.read(at + taken, payload) };
            if !self.rows.acknowledge(holding) {
                break;
            }
            taken += 1;
        }
        while taken < max {
            let Some(block) = self.arena.take_back(self.index) else { break };
            sink.found(at + taken, Some(block));
            taken += 1;
        }
        taken
    }

    /// Whether this handle may hold no further lease.
    pub(crate) fn has_all_leases(&self, cursor: &GetCursor) -> bool {
        cursor.held.get() >= self.rows.per_handle
    }

    /// L3. The message is consumed.
    #[must_use]
    pub(crate) fn acknowledge(&self, cursor: &GetCursor, holding: Holding) -> bool {
        cursor.held.set(cursor.held.get().saturating_sub(1));
        if holding.is_block { self.arena.acknowledge(holding) } else { self.rows.acknowledge(holding) }
    }

    /// L3. The message is the queue's again; the caller then raises the consumers' alert.
    #[must_use]
    pub(crate) fn give_back(&self, cursor: &GetCursor, holding: Holding) -> bool {
        cursor.held.set(cursor.held.get().saturating_sub(1));
        let Holding { cell, word, .. } = holding;
        if holding.is_block { self.arena.give_back(cell, word) } else { self.rows.give_back(cell, word) }
    }

    /// The bytes of a leased message's cell.
    pub(crate) fn payload_of(&self, holding: Holding) -> Option<Payload> {
        if holding.is_block { self.arena.payload(holding.cell as u32) } else { self.rows.payload(holding.cell) }
    }

    /// L5. Cells of somebody who is dead, and whose claims were finished, or who leaves. What is
    /// left is placed where a claim of a `Single` producer is not finished yet.
    pub(crate) fn keep_cells(&self, owner: u32) -> Rescue {
        let left = Cell::new(0);
        let in_rows = self.rows.keep(owner, |_, _| false);
        let in_blocks = self.arena.keep(owner, |block, position| {
            let found = self.find_block(block, position);
            left.set(left.get() + u64::from(found == InRing::NotYetKnown && !seeded(15)));
            found != InRing::No
        });
        Rescue { brought_back: in_rows + in_blocks, left: left.get(), ..Rescue::default() }
    }

    /// Whether the message of `position` is in a cell, and what is left in the slot is a
    /// husk.
    pub(super) fn is_in_a_cell(&self, position: Position) -> bool {
        self.rows.all().chain(self.arena.all()).any(|(_, word)| word.keeps(position))
    }

    /// Messages in cells that wait to be taken again.
    pub(crate) fn cells_waiting(&self) -> u64 {
        self.rows.waiting() + self.arena.waiting()
    }

    /// Whether any message is in a cell that may come back.
    pub(super) fn cells_have_any(&self) -> bool {
        self.rows.have_any() || self.arena.have_any()
    }

    /// Whether leases of others may still come back.
    pub(crate) fn others_hold_leases(&self) -> bool {
        self.rows.others_hold(self.index) || self.arena.others_hold(self.index)
    }
}
