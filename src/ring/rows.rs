//! Rows: where leased messages lie (rules L1 to L6).
//!
//! A lease moves its message out of the ring into a row, and the slot is released: the
//! ring never waits for a lease. Each row has a state word, exchanged only here.
//!
//! ```text
//! FREE ─► WRITING(i) ─► HELD(i, h, count) ─► FREE                      acknowledged
//!                       HELD(i, h, count) ─► BACK(h, count)            given back, or i died
//!                       BACK(h, count) ─► HELD(j, h, count + 1)        taken again
//! ```
//!
//! | pair | release | acquire | carries |
//! |---|---|---|---|
//! | ROW | `hold`, every exchange | `load`, every exchange | the row's payload and notes |

#![allow(unsafe_code)]

use super::position::Position;
use super::{GetCursor, Ring, Sink};
use crate::primitive::{AtomicU64, BlockMemory, Ordering, Payload, SlotMemory};

/// The rows of one ring. A row's state word is where a slot has its stamp.
#[derive(Clone, Copy)]
pub(crate) struct Rows<'m> {
    pub(crate) memory: SlotMemory,
    /// As many as there are rows.
    pub(crate) notes: &'m [RowNote],
    /// How many one handle may hold at once.
    pub(crate) per_handle: u32,
}

/// What else is known of a leased message; written before the row is HELD.
#[repr(C)]
pub(crate) struct RowNote {
    /// The message's whole position.
    pub(crate) id: AtomicU64,
    /// CLOCK_MONOTONIC of when it was leased, in nanoseconds; for people who look inside.
    pub(crate) since: AtomicU64,
}

/// A row's state word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row(u64);

/// What a state word says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowState {
    Free,
    /// Its owner will move a message here, or not.
    Writing {
        owner: u32,
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
    /// No word that anybody writes.
    Nonsense,
}

impl Row {
    const POSITION_BITS: u32 = 44;
    const COUNT_SHIFT: u32 = Row::POSITION_BITS;
    const COUNT_BITS: u32 = 7;
    const OWNER_SHIFT: u32 = Row::COUNT_SHIFT + Row::COUNT_BITS;
    const STATE_SHIFT: u32 = 61;
    const FREE: Row = Row(0);
    /// The count stays there.
    pub(crate) const MOST: u32 = (1 << Row::COUNT_BITS) - 1;

    const fn low(position: Position) -> u64 {
        position.get() & ((1 << Row::POSITION_BITS) - 1)
    }

    const fn writing(owner: u32) -> Row {
        Row(1 << Row::STATE_SHIFT | (owner as u64) << Row::OWNER_SHIFT)
    }

    const fn held(owner: u32, low: u64, count: u32) -> Row {
        let count = if count < Row::MOST { count } else { Row::MOST };
        Row(2 << Row::STATE_SHIFT | (owner as u64) << Row::OWNER_SHIFT | (count as u64) << Row::COUNT_SHIFT | low)
    }

    const fn back(low: u64, count: u32) -> Row {
        Row(3 << Row::STATE_SHIFT | (count as u64) << Row::COUNT_SHIFT | low)
    }

    pub(crate) const fn from_raw(raw: u64) -> Row {
        Row(raw)
    }

    pub(crate) const fn state(self) -> RowState {
        let owner = (self.0 >> Row::OWNER_SHIFT) as u32 & 0x3ff;
        let count = (self.0 >> Row::COUNT_SHIFT) as u32 & Row::MOST;
        let position = self.0 & ((1 << Row::POSITION_BITS) - 1);
        match self.0 >> Row::STATE_SHIFT {
            0 if self.0 == 0 => RowState::Free,
            1 => RowState::Writing { owner },
            2 => RowState::Held { owner, position, count },
            3 => RowState::Back { position, count },
            _ => RowState::Nonsense,
        }
    }
}

/// A row that this participant holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    index: usize,
    word: Row,
    /// The message's position.
    pub(crate) id: u64,
    /// How many readers of it have died or given it back.
    pub(crate) count: u32,
}

impl<'m> Rows<'m> {
    fn load(self, index: usize) -> Row {
        debug_assert!(index < self.memory.count());
        // SAFETY: every index here comes from `0..count`.
        // Pair ROW.
        Row(unsafe { self.memory.stamp(index) }.load(Ordering::Acquire))
    }

    #[must_use]
    fn exchange(self, index: usize, seen: Row, to: Row) -> bool {
        debug_assert!(index < self.memory.count());
        // SAFETY: as in `load`.
        // Pair ROW.
        unsafe { self.memory.stamp(index) }.compare_exchange(seen.0, to.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    pub(super) fn iter(self) -> impl Iterator<Item = (usize, Row)> {
        // Two views of one region; a smaller one bounds both.
        let count = self.memory.count().min(self.notes.len());
        (0..count).map(move |index| (index, self.load(index)))
    }

    fn payload(self, index: usize) -> Payload {
        // SAFETY: as in `load`.
        unsafe { self.memory.payload(index) }
    }

    /// L1. Makes a free row this participant's, to move a message into.
    pub(super) fn reserve(self, me: u32) -> Option<usize> {
        let count = self.memory.count().min(self.notes.len());
        let first = (me as usize).saturating_mul(self.per_handle as usize) % count.max(1);
        let mut rows = (first..count).chain(0..first);
        rows.find(|&index| self.load(index) == Row::FREE && self.exchange(index, Row::FREE, Row::writing(me)))
    }

    /// The row was not needed.
    pub(super) fn cancel(self, index: usize, me: u32) {
        let _ = self.exchange(index, Row::writing(me), Row::FREE);
    }

    /// L2. The message is in the row: from here on it is the lease's, not the ring's.
    fn hold(self, index: usize, me: u32, position: Position, count: u32, since: u64) -> Holding {
        let word = Row::held(me, Row::low(position), count);
        if let Some(note) = self.notes.get(index) {
            note.id.store(position.get(), Ordering::Relaxed);
            note.since.store(since, Ordering::Relaxed);
        }
        // SAFETY: as in `load`.
        // Pair ROW. A store: nobody else changes the row of a live participant.
        unsafe { self.memory.stamp(index) }.store(word.0, Ordering::Release);
        Holding { index, word, id: position.get(), count }
    }

    /// L4. Takes a row whose holder has died or given it back.
    fn take_again(self, me: u32, since: u64) -> Option<Holding> {
        self.iter().find_map(|(index, seen)| {
            let RowState::Back { position, count } = seen.state() else { return None };
            let word = Row::held(me, position, count + 1);
            if !self.exchange(index, seen, word) {
                return None;
            }
            let note = self.notes.get(index)?;
            note.since.store(since, Ordering::Relaxed);
            Some(Holding { index, word, id: note.id.load(Ordering::Relaxed), count: count + 1 })
        })
    }

    /// L3. The message is consumed. False: the row is no longer ours, which nobody does.
    #[must_use]
    pub(super) fn acknowledge(self, holding: Holding) -> bool {
        self.exchange(holding.index, holding.word, Row::FREE)
    }

    /// L3. The message is the queue's again.
    #[must_use]
    pub(super) fn give_back(self, holding: Holding) -> bool {
        self.give_back_row(holding.index, holding.word)
    }

    fn give_back_row(self, index: usize, seen: Row) -> bool {
        let RowState::Held { position, count, .. } = seen.state() else { return false };
        self.exchange(index, seen, Row::back(position, count))
    }

    /// L5. What participant `owner`, who is dead or leaving, has here: says how many
    /// messages are the queue's again.
    pub(super) fn keep(self, owner: u32) -> u64 {
        let mut back = 0;
        for (index, seen) in self.iter() {
            match seen.state() {
                RowState::Writing { owner: its } if its == owner => {
                    let _ = self.exchange(index, seen, Row::FREE);
                }
                RowState::Held { owner: its, .. } if its == owner => {
                    back += u64::from(self.give_back_row(index, seen));
                }
                _ => {}
            }
        }
        back
    }

    /// Whether the message of `position` was moved into a row: what is left in the slot
    /// is a husk.
    pub(super) fn has(self, position: Position) -> bool {
        let low = Row::low(position);
        self.iter().any(|(_, row)| match row.state() {
            RowState::Held { position, .. } | RowState::Back { position, .. } => position == low,
            _ => false,
        })
    }

    /// Messages that wait to be taken again.
    pub(super) fn waiting(self) -> u64 {
        self.iter().filter(|(_, row)| matches!(row.state(), RowState::Back { .. })).count() as u64
    }

    /// Whether any message is here.
    pub(super) fn have_any(self) -> bool {
        self.iter().any(|(_, row)| matches!(row.state(), RowState::Held { .. } | RowState::Back { .. }))
    }

    /// Whether anybody but `me` has a message here that may come back.
    pub(super) fn others_hold(self, me: u32) -> bool {
        self.iter().any(|(_, row)| match row.state() {
            RowState::Held { owner, .. } => owner != me,
            RowState::Back { .. } => true,
            _ => false,
        })
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
        let row = self.rows.payload(self.row);
        // SAFETY: no more than either has.
        unsafe { payload.copy_to(row, used.min(payload.room()).min(row.room())) };
        used
    }

    /// Before the slot is released: from now on the message is in the row.
    fn keep(&mut self, position: Position, count: u32) {
        self.held = Some(self.rows.hold(self.row, self.me, position, count, self.since));
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
    /// Nothing there; as a get would say it.
    No(super::Get),
}

impl Ring<'_> {
    /// A lease of a message that has come back: of a row, or of a slot whose reader died.
    /// The caller has read the alert before.
    pub(crate) fn lease_back<K: Sink>(&self, cursor: &GetCursor, since: u64, sink: &mut K) -> Leased {
        if self.has_all_leases(cursor) {
            return Leased::TooMany;
        }
        if let Some(holding) = self.take_row(since, sink) {
            cursor.held.set(cursor.held.get() + 1);
            return Leased::Yes(holding);
        }
        self.lease_with(cursor, since, sink, |into| (self.take_back_slots(cursor, 1, into), super::Get::Empty))
    }

    /// A lease of the next message.
    pub(crate) fn try_lease<K: Sink>(&self, cursor: &GetCursor, since: u64, sink: &mut K) -> Leased {
        self.lease_with(cursor, since, sink, |into| self.try_get_run(cursor, 1, into))
    }

    /// L1, L2: a row, the claim, the copy, HELD, the release.
    fn lease_with<'r, K: Sink>(
        &'r self,
        cursor: &GetCursor,
        since: u64,
        sink: &mut K,
        get: impl FnOnce(&mut IntoRow<'_, 'r, K>) -> (u64, super::Get),
    ) -> Leased {
        if self.has_all_leases(cursor) {
            return Leased::TooMany;
        }
        let Some(row) = self.rows.reserve(self.index) else { return Leased::TooMany };
        let mut into = IntoRow { sink, rows: self.rows, row, me: self.index, since, held: None };
        let (_, why) = get(&mut into);
        match into.held {
            Some(holding) => {
                cursor.held.set(cursor.held.get() + 1);
                Leased::Yes(holding)
            }
            None => {
                self.rows.cancel(row, self.index);
                Leased::No(why)
            }
        }
    }

    /// Takes a row that has come back, with its message.
    fn take_row<K: Sink>(&self, since: u64, sink: &mut K) -> Option<Holding> {
        let holding = self.rows.take_again(self.index, since)?;
        // SAFETY: `take_again` gives rows in bounds; the sink was made for this queue.
        unsafe { sink.read(0, self.rows.payload(holding.index)) };
        Some(holding)
    }

    /// L4 for a plain get: held until it is copied, then consumed. Says how many, up to
    /// `max`, were put into the sink, from number `at` on.
    pub(super) fn take_back_rows<K: Sink>(&self, at: u64, max: u64, sink: &mut K) -> u64 {
        let mut taken = 0;
        while taken < max {
            let Some(holding) = self.rows.take_again(self.index, 0) else { break };
            // SAFETY: as in `take_row`.
            unsafe { sink.read(at + taken, self.rows.payload(holding.index)) };
            if !self.rows.acknowledge(holding) {
                break;
            }
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
        self.rows.acknowledge(holding)
    }

    /// L3. The message is the queue's again; the caller then raises the consumers' alert.
    #[must_use]
    pub(crate) fn give_back(&self, cursor: &GetCursor, holding: Holding) -> bool {
        cursor.held.set(cursor.held.get().saturating_sub(1));
        self.rows.give_back(holding)
    }

    /// L5. Rows of somebody who is dead, and whose claims were finished, or who leaves.
    pub(crate) fn keep_rows(&self, owner: u32) -> u64 {
        self.rows.keep(owner)
    }

    /// Messages in rows that wait to be taken again.
    pub(crate) fn rows_waiting(&self) -> u64 {
        self.rows.waiting()
    }

    /// Whether leases of others may still come back.
    pub(crate) fn others_hold_leases(&self) -> bool {
        self.rows.others_hold(self.index)
    }
}
