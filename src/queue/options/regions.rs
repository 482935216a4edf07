//! Where the parts of a queue lie in its segment, and how large each is.

use crate::primitive::{BlockShape, STAMP_SIZE};
use crate::queue::bytes::LENGTH_SIZE;
use crate::queue::growth;
use crate::ring::{Classes, PARTICIPANT_SIZE};
use crate::segment::{Plan, RegionKind};

const CACHE_LINE: u64 = 64;
/// Blocks of a page or more begin on one.
pub(in crate::queue) const ARENA_ALIGN: u64 = 4096;

/// Bytes from slot to slot: a slot that fits a cache line never crosses one.
pub(in crate::queue) const fn stride(payload: u64) -> u64 {
    let size = payload + STAMP_SIZE as u64;
    if size <= CACHE_LINE { size.next_power_of_two() } else { size.next_multiple_of(CACHE_LINE) }
}

/// Bytes of all slots or blocks together.
pub(in crate::queue) fn slots_size(plan: &Plan) -> Option<u64> {
    if plan.uses_blocks() {
        BlockShape::of(usize::try_from(plan.inline_size).ok()?).size(plan.capacity)
    } else {
        // Chunks begin on a page; the region is that much larger.
        let slack = if plan.chunk > 0 { ARENA_ALIGN } else { 0 };
        plan.capacity.checked_mul(stride(plan.inline_size))?.checked_add(slack)
    }
}

/// Bytes of all rows together.
pub(super) fn rows_size(plan: &Plan) -> Option<u64> {
    u64::from(plan.rows).checked_mul(stride(plan.inline_size))
}

/// How the arena of a queue is cut into blocks.
pub(in crate::queue) fn classes(plan: &Plan) -> Classes {
    if plan.arena == 0 {
        return Classes::default();
    }
    let inline = plan.inline_size.saturating_sub(LENGTH_SIZE as u64);
    if plan.chunk > 0 {
        return growth::classes(plan, inline);
    }
    Classes::cut(plan.capacity, inline, plan.max_message, plan.arena)
}

/// The regions of a queue, in the order in which they lie.
pub(in crate::queue) fn regions(plan: &Plan) -> [(RegionKind, u64); 10] {
    let classes = classes(plan);
    let arena = if classes.blocks() > 0 { classes.bytes() + ARENA_ALIGN } else { 0 };
    [
        (RegionKind::Ring, size_of::<crate::ring::Control>() as u64),
        (RegionKind::Wait, 3 * size_of::<crate::primitive::Line<crate::wait::Attention>>() as u64),
        (RegionKind::Participants, u64::from(plan.max_participants) * PARTICIPANT_SIZE as u64),
        (RegionKind::Slots, slots_size(plan).unwrap_or(u64::MAX)),
        (RegionKind::Notes, u64::from(plan.rows) * size_of::<crate::ring::CellNote>() as u64),
        (RegionKind::Rows, rows_size(plan).unwrap_or(u64::MAX)),
        (RegionKind::BlockHeads, classes.blocks() * size_of::<crate::ring::BlockHead>() as u64),
        (RegionKind::Arena, arena),
        (RegionKind::Chunks, plan.capacity.checked_div(plan.chunk).unwrap_or(0) * 2 * 8),
        (RegionKind::Reach, if plan.chunk > 0 { Classes::MOST as u64 * 8 } else { 0 }),
    ]
}
