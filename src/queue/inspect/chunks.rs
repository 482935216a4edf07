//! Looking at the memory of a queue that grows.

use super::{is_sane, region_start};
use crate::queue::growth::slots_at;
use crate::queue::options::{classes, regions, stride};
use crate::ring::{ChunkState, ChunkWord, place_of};
use crate::segment::{Plan, RegionKind, Survey};

/// More chunks than this are not looked at.
const MOST_CHUNKS: u64 = 1 << 20;

/// What an unbounded queue has of the memory that it may have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Growth {
    /// The most bytes that its messages may take.
    pub cap: u64,
    /// Bytes of memory that the whole segment has now.
    pub backed: u64,
    /// Bytes of a chunk of slots.
    pub chunk: u64,
    /// How many chunks there are.
    pub chunks: u64,
    /// Of these, how many have no memory.
    pub holes: u64,
    /// How many have memory and are used.
    pub ready: u64,
    /// How many have memory and no messages.
    pub drained: u64,
    /// How many are just being given memory.
    pub backing: u64,
    /// How many are just giving it back.
    pub punching: u64,
}

/// None: the queue does not grow.
pub(super) fn look(survey: &Survey) -> Option<Growth> {
    let plan = &survey.header.plan;
    if plan.chunk == 0 || !is_sane(plan) {
        return None;
    }
    let stride = stride(plan.inline_size);
    let mut seen = Growth {
        cap: plan.capacity.saturating_mul(stride).saturating_add(classes(plan).bytes()),
        backed: survey.backed(),
        chunk: plan.chunk.saturating_mul(stride),
        chunks: plan.capacity / plan.chunk,
        ..Growth::default()
    };
    for (_, state) in states(survey) {
        match state.state() {
            ChunkState::Hole => seen.holes += 1,
            ChunkState::Ready => seen.ready += 1,
            ChunkState::Drained => seen.drained += 1,
            ChunkState::Backing { .. } => seen.backing += 1,
            ChunkState::Punching { .. } => seen.punching += 1,
            ChunkState::Nonsense => {}
        }
    }
    Some(seen)
}

/// Reads the words of the chunks' region by number: the states of all, then the places of all.
pub(super) fn words(survey: &Survey) -> impl Fn(u64) -> Option<u64> + '_ {
    let plan = &survey.header.plan;
    let len = regions(plan).into_iter().find(|(kind, _)| *kind == RegionKind::Chunks).map_or(0, |(_, len)| len);
    let start = region_start(survey, RegionKind::Chunks, len);
    move |at| {
        let mut word = [0; 8];
        survey.read(start?.saturating_add(at * 8), &mut word).then(|| u64::from_ne_bytes(word))
    }
}

/// All chunk words that can be read.
fn states(survey: &Survey) -> impl Iterator<Item = (u64, ChunkWord)> + '_ {
    let (plan, word) = (&survey.header.plan, words(survey));
    let count = plan.capacity.checked_div(plan.chunk).unwrap_or(0).min(MOST_CHUNKS);
    (0..count).map_while(move |chunk| word(chunk).map(|word| (chunk, ChunkWord::from_raw(word))))
}

/// Where the slot lies that comes at `index` in a lap, in slots from the first; `Some(None)`: it has no
/// memory that counts. Not of a queue without chunks.
pub(super) fn slot_of(plan: &Plan, word: impl Fn(u64) -> Option<u64>, index: u64) -> Option<Option<u64>> {
    let (count, chunk) = (plan.capacity / plan.chunk, index / plan.chunk);
    let state = ChunkWord::from_raw(word(chunk)?).state();
    if !matches!(state, ChunkState::Ready | ChunkState::Drained) {
        return Some(None);
    }
    let place = place_of(word(count + chunk)?, count as usize) as u64;
    Some(Some(place * plan.chunk + index % plan.chunk))
}

/// Where the slots begin in the file: of a queue that grows, on a page.
pub(super) fn slots_start(survey: &Survey, region: u64) -> u64 {
    if survey.header.plan.chunk > 0 { slots_at(&survey.header) } else { region }
}

/// The first position that may be unfinished: of the oldest chunk that is used.
pub(super) fn oldest(survey: &Survey) -> Option<u64> {
    let plan = &survey.header.plan;
    if plan.chunk == 0 {
        return None;
    }
    let ready = states(survey).filter(|(_, word)| word.state() == ChunkState::Ready);
    let base = |(chunk, word): (u64, ChunkWord)| {
        word.lap().saturating_mul(plan.capacity).saturating_add(chunk.saturating_mul(plan.chunk))
    };
    Some(ready.map(base).min().unwrap_or(u64::MAX))
}
