//! Looking at a broadcast: who subscribes, and how far they are.

use super::{Life, is_sane, region_start};
use crate::queue::options::{SlowConsumers, cursors_size};
use crate::ring::{ControlLook, MISSED_AT, PLACE_SIZE, ROLL_SIZE, Side};
use crate::segment::{Plan, Presence, RegionKind, Survey};

/// A subscriber of a broadcast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscriberState {
    /// Its place in the table of participants.
    pub index: u32,
    /// Whether it lives. A dead one is there until somebody looks after it. `None`: nobody has
    /// this place.
    pub life: Option<Life>,
    /// What it takes next.
    pub position: u64,
    /// Messages put that it has not taken.
    pub lag: u64,
    /// Messages that it has missed so far.
    pub missed: u64,
}

pub(super) fn policy(plan: &Plan) -> Option<SlowConsumers> {
    plan.broadcast.then(|| SlowConsumers::of(plan))
}

/// The subscribers, by index: `(index, next, missed)`.
fn cursors(survey: &Survey) -> Vec<(u32, u64, u64)> {
    let plan = &survey.header.plan;
    if !plan.broadcast || !is_sane(plan) {
        return Vec::new();
    }
    let Some(start) = region_start(survey, RegionKind::Cursors, cursors_size(plan)) else { return Vec::new() };
    let word = |at: u64| {
        let mut word = [0; 8];
        survey.read(start.saturating_add(at), &mut word).then(|| u64::from_ne_bytes(word))
    };
    let of_one = |index: u32| {
        let bits = word(u64::from(index / 64) * 8)?;
        let place = (ROLL_SIZE + index as usize * PLACE_SIZE) as u64;
        let position = |raw: u64| raw & (u64::MAX >> 6);
        (bits >> (index % 64) & 1 == 1).then_some(())?;
        Some((index, position(word(place)?), word(place + MISSED_AT as u64)?))
    };
    (0..plan.max_participants).filter_map(of_one).collect()
}

/// The subscribers, for people.
pub(super) fn subscribers(survey: &Survey, tail: u64, presences: &[Presence]) -> Vec<SubscriberState> {
    let life = |index| presences.iter().find(|presence| presence.index == index).map(|one| super::life(*one));
    let state = |(index, position, missed): (u32, u64, u64)| SubscriberState {
        index,
        life: life(index),
        position,
        lag: tail.saturating_sub(position),
        missed,
    };
    cursors(survey).into_iter().map(state).collect()
}

/// A broadcast's words as those of a queue with claims by exchange and one consumer, the slowest
/// subscriber.
pub(super) fn as_queue(survey: &Survey, mut control: ControlLook, closed: bool) -> (ControlLook, [Side; 2]) {
    let plan = &survey.header.plan;
    let side = |single| if single { Side::Single } else { Side::Multi };
    if !plan.broadcast {
        return (control, [side(plan.single_producer), side(plan.single_consumer)]);
    }
    let slowest = cursors(survey).into_iter().map(|(_, next, _)| next).min().unwrap_or(control.tail);
    control.taken = slowest.clamp(control.tail.saturating_sub(plan.capacity).min(control.tail), control.tail);
    control.tail_is_closed |= closed;
    (control, [Side::Multi, Side::Single])
}
