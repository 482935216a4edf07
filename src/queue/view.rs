//! The regions of a queue's segment, checked and typed.

#![allow(unsafe_code)]

use super::bytes::LENGTH_SIZE;
use super::options::{ARENA_ALIGN, classes, cursors_size, regions, slots_size, stride};
use crate::error::SetupError;
use crate::primitive::{ArenaMemory, AtomicU64, BlockMemory, BlockShape, Fences, Line, SlotMemory, adopting_pays};
use crate::ring::{
    Arena, BlockHead, Cast, CellNote, Chunks, Classes, Control, PARTICIPANT_SIZE, Participant, Place, ROLL_SIZE, Ring,
    Roll, Rows, Side,
};
use crate::segment::{Plan, RegionKind, Segment};
use crate::wait::Attention;

/// Where in the consumers' line the words of those who wait for all tasks begin: in the second of
/// its two cache lines, which is otherwise empty.
const JOINERS_AT: usize = 64;

/// The regions of a segment, as references and pointers.
pub(super) struct View<'s> {
    pub(super) control: &'s Control,
    pub(super) for_producers: &'s Attention,
    pub(super) for_consumers: &'s Attention,
    /// In the consumers' line too, which those who end a task read.
    pub(super) for_joiners: &'s Attention,
    pub(super) for_blocks: &'s Attention,
    everyone: &'s [Participant],
    rows: Rows<'s>,
    arena: Arena<'s>,
    /// Of a broadcast: the roll, and a place for each participant.
    cursors: Option<(&'s Roll, &'s [Place])>,
    chunks: Chunks<'s>,
    /// Of `slots` and `blocks` the one that this kind of ring does not use is empty.
    pub(super) slots: SlotMemory,
    pub(super) blocks: BlockMemory,
    /// Bytes from message to message, or from block to block.
    pub(super) stride: usize,
    capacity: u64,
}

impl<'s> View<'s> {
    pub(super) fn of(segment: &'s Segment) -> Result<View<'s>, SetupError> {
        // SAFETY: the segment is borrowed for as long.
        unsafe { View::unbounded(segment) }
    }

    /// # Safety
    ///
    /// The caller keeps the segment alive for as long as it uses the result or anything
    /// that was copied out of it.
    pub(super) unsafe fn unbounded(segment: &Segment) -> Result<View<'s>, SetupError> {
        let header = segment.header();
        let plan: &Plan = &header.plan;
        let damaged = || SetupError::not_a_segment("its regions do not fit its geometry");
        let sane = (1..=1 << 40).contains(&plan.capacity)
            && (1..=1024).contains(&plan.max_participants)
            && plan.inline_size <= 1 << 32
            && plan.leases <= 1024
            && plan.rows <= 1 << 20
            && plan.arena <= 1 << 46
            && (plan.chunk == 0
                || plan.capacity.is_multiple_of(plan.chunk) && !plan.single_producer && !plan.single_consumer)
            && plan.max_message <= if plan.arena > 0 { 1 << 30 } else { plan.inline_size }
            && (plan.arena == 0 || plan.inline_size >= LENGTH_SIZE as u64)
            && !(plan.broadcast && plan.arena > 0);
        if !sane || slots_size(plan).is_none() {
            return Err(damaged());
        }
        let classes = classes(plan);
        let start = |kind: RegionKind, len: u64| {
            let region = header.region(kind)?;
            if region.len < len { Err(damaged()) } else { Ok(segment.region_start(region)) }
        };
        let [(_, ring), (_, wait), (_, participants), (_, slots), (_, notes), (_, row_bytes), rest @ ..] =
            regions(plan);
        let [(_, heads), (_, blocks), (_, chunks), (_, reach)] = rest;
        let control = start(RegionKind::Ring, ring)?.cast::<Control>();
        let attention = start(RegionKind::Wait, wait)?.cast::<Line<Attention>>();
        let participants = start(RegionKind::Participants, participants)?.cast::<Participant>();
        let base = start(RegionKind::Slots, slots)?;
        let notes = start(RegionKind::Notes, notes)?.cast::<CellNote>();
        let row_base = start(RegionKind::Rows, row_bytes)?;
        let heads = start(RegionKind::BlockHeads, heads)?.cast::<BlockHead>();
        let arena = start(RegionKind::Arena, blocks)?;
        let cursors = plan.broadcast.then(|| start(RegionKind::Cursors, cursors_size(plan))).transpose()?;
        let chunk_words = start(RegionKind::Chunks, chunks)?.cast::<AtomicU64>();
        let reach_words = start(RegionKind::Reach, reach)?.cast::<AtomicU64>();
        let (base, reach_count) = match plan.chunk {
            0 => (base, 0),
            _ => (base.wrapping_add(base.align_offset(ARENA_ALIGN as usize)), Classes::MOST),
        };
        let chunk_count = plan.capacity.checked_div(plan.chunk).unwrap_or(0) as usize;
        let row_count = plan.rows as usize;
        let count = plan.capacity as usize;
        let shape = BlockShape::of(plan.inline_size as usize);
        let slot_stride = stride(plan.inline_size) as usize;
        let (slots, blocks, stride) =
            if plan.uses_blocks() { (0, count, shape.stride()) } else { (count, 0, slot_stride) };
        const { assert!(size_of::<Participant>() == PARTICIPANT_SIZE) };
        const { assert!(JOINERS_AT + size_of::<Attention>() <= size_of::<Line<Attention>>()) };
        // SAFETY: `start` has checked that each region lies in the mapping and is
        // large enough, regions are aligned to 128 (the strictest alignment
        // here), and all these types are made of atomics, valid for any bytes.
        // The mapping lives as long as the segment, which the caller keeps.
        unsafe {
            Ok(View {
                control: &*control,
                for_producers: &*attention.cast(),
                for_consumers: &*attention.add(1).cast(),
                for_joiners: &*attention.add(1).byte_add(JOINERS_AT).cast(),
                for_blocks: &*attention.add(2).cast(),
                arena: Arena::new(
                    std::slice::from_raw_parts(heads, classes.blocks() as usize),
                    // Blocks of a page or more begin on one; the region is that much larger.
                    ArenaMemory::new(arena.wrapping_add(arena.align_offset(ARENA_ALIGN as usize)), classes.bytes()),
                    classes,
                    std::slice::from_raw_parts(reach_words, reach_count),
                ),
                chunks: Chunks::new(std::slice::from_raw_parts(chunk_words, 2 * chunk_count), plan.chunk),
                rows: Rows {
                    memory: SlotMemory::new(row_base, row_count, slot_stride),
                    notes: std::slice::from_raw_parts(notes, row_count),
                    per_handle: plan.leases,
                },
                cursors: cursors.map(|roll| {
                    let places = roll.add(ROLL_SIZE).cast::<Place>();
                    (&*roll.cast::<Roll>(), std::slice::from_raw_parts(places, plan.max_participants as usize))
                }),
                everyone: std::slice::from_raw_parts(participants, plan.max_participants as usize),
                slots: SlotMemory::new(base, slots, slot_stride),
                blocks: BlockMemory::new(base, blocks, shape),
                stride,
                capacity: plan.capacity,
            })
        }
    }

    /// The ring as participant `index` uses it; `None` if there is no such index.
    pub(super) fn ring(&self, plan: &Plan, index: u32) -> Option<Ring<'s>> {
        let side = |single| if single { Side::Single } else { Side::Multi };
        let (read_ahead, write_ahead) = Ring::prefetch_distances(self.stride);
        Some(Ring {
            control: self.control,
            me: self.everyone.get(index as usize)?,
            index,
            everyone: self.everyone,
            rows: self.rows,
            arena: self.arena.adopting(adopting_pays()),
            news: &self.for_producers.news,
            news_to_consumers: &self.for_consumers.news,
            capacity: plan.capacity,
            chunks: self.chunks,
            slots: self.slots,
            blocks: self.blocks,
            producers: side(plan.single_producer),
            consumers: side(plan.single_consumer),
            fences: Fences::of_this_process(plan.symmetric_fences),
            read_ahead,
            write_ahead,
            adopts: adopting_pays(),
            cast: match self.cursors {
                Some((roll, places)) => {
                    Some(Cast { roll, places, me: places.get(index as usize)?, drops: plan.drops_oldest })
                }
                None => None,
            },
        })
    }

    /// Sets up the regions of a segment that nobody else has yet.
    pub(super) fn initialise(&self) {
        self.control.initialise(self.capacity);
        let at_first = if self.chunks.slots > 0 { self.chunks.slots } else { self.capacity };
        Ring::initialise_slots(self.slots, at_first as usize);
        self.chunks.initialise();
    }
}
