//! Looking into the cells: leases, and the blocks of the arena.

use super::{BlockClass, LeaseState, is_sane, region_start};
use crate::primitive::now_ns;
use crate::queue::options::{classes, regions, stride};
use crate::ring::{BlockHead, CellNote, CellState, CellWord};
use crate::segment::{RegionKind, Survey};
use core::mem::offset_of;
use std::time::Duration;

/// More blocks than this are not looked at.
const MOST_BLOCKS: u64 = 1 << 22;

/// What is in the cells.
#[derive(Default)]
pub(super) struct CellsLook {
    pub(super) leases: Vec<LeaseState>,
    pub(super) blocks: Vec<BlockClass>,
    /// Who writes or copies out a block: once for each.
    pub(super) owners: Vec<u32>,
}

pub(super) fn look(survey: &Survey) -> CellsLook {
    let plan = &survey.header.plan;
    if !is_sane(plan) {
        return CellsLook::default();
    }
    let word = |at: u64| {
        let mut word = [0; 8];
        survey.read(at, &mut word).then(|| u64::from_ne_bytes(word))
    };
    let now = now_ns();
    let lease = |state: CellState, note: u64| {
        let (holder, count) = match state {
            CellState::Held { owner, count, .. } => (Some(owner), count),
            CellState::Back { count, .. } => (None, count),
            _ => return None,
        };
        let position = word(note.saturating_add(offset_of!(CellNote, id) as u64))?;
        let since = word(note.saturating_add(offset_of!(CellNote, since) as u64))?;
        let held_for = holder.map(|_| Duration::from_nanos(now.saturating_sub(since)));
        Some(LeaseState { holder, position, redelivered: count, held_for })
    };
    let start = |kind| {
        let len = regions(plan).into_iter().find(|(its, _)| *its == kind)?.1;
        region_start(survey, kind, len)
    };
    let state = |at: u64| word(at).map(|word| CellWord::from_raw(word).state());

    let mut leases = Vec::new();
    if let (Some(notes), Some(rows)) = (start(RegionKind::Notes), start(RegionKind::Rows)) {
        for row in 0..u64::from(plan.rows) {
            let at = rows.saturating_add(row.saturating_mul(stride(plan.inline_size)));
            let note = notes.saturating_add(row.saturating_mul(size_of::<CellNote>() as u64));
            leases.extend(state(at).and_then(|state| lease(state, note)));
        }
    }
    let (mut blocks, mut owners) = (Vec::new(), Vec::new());
    if let Some(heads) = start(RegionKind::BlockHeads) {
        let reach = if plan.chunk > 0 { start(RegionKind::Reach) } else { None };
        for (class, at) in classes(plan).iter().zip(0..) {
            let so_far = reach.map_or(u64::MAX, |reach| word(reach.saturating_add(at * 8)).unwrap_or(0));
            let all = u64::from(class.count).min(so_far);
            let count = all.min(MOST_BLOCKS);
            let mut seen = BlockClass { size: class.size, count: all, ..BlockClass::default() };
            for block in u64::from(class.first)..u64::from(class.first) + count {
                let head = heads.saturating_add(block.saturating_mul(size_of::<BlockHead>() as u64));
                let Some(state) = state(head.saturating_add(BlockHead::WORD_AT)) else { continue };
                match state {
                    CellState::Free => seen.free += 1,
                    CellState::Writing { .. } => seen.writing += 1,
                    CellState::Placed { .. } => seen.queued += 1,
                    CellState::Held { .. } | CellState::Back { .. } => seen.leased += 1,
                    CellState::Taken { .. } => seen.reading += 1,
                    CellState::Nonsense => {}
                }
                if let CellState::Writing { owner } | CellState::Taken { owner, .. } = state {
                    owners.push(owner);
                }
                leases.extend(lease(state, head.saturating_add(offset_of!(BlockHead, note) as u64)));
            }
            if class.count > 0 {
                blocks.push(seen);
            }
        }
    }
    leases.sort_by_key(|lease| lease.position);
    CellsLook { leases, blocks, owners }
}
