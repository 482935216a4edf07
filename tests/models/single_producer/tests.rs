//! The configurations that must hold, and the seeded bugs that must be caught.

use super::super::{Caught, STATE_LIMIT, STATE_LIMIT_LONG};
use super::super::{assert_caught, assert_holds, long_run};
use super::{Bug, Config, DUPLICATE, LOST, Memory, SingleProducer, WRONG_LEN};

/// A Single consumer, one death of the producer, one successor, one recoverer, close.
const SINGLE: Config = Config {
    capacity: 1,
    multi: false,
    memory: Memory::Tso,
    messages: 3,
    batch: 1,
    close: true,
    producer_deaths: 1,
    successors: 1,
    consumer_deaths: 0,
    heirs: 0,
    recoverers: 1,
    observed: false,
    bug: None,
};

/// The same with two Multi consumers, one of which may die.
const MULTI: Config = Config { multi: true, consumer_deaths: 1, ..SINGLE };

impl Config {
    const fn size(self, capacity: u8, batch: u8, messages: u8) -> Self {
        Config { capacity, batch, messages, ..self }
    }

    /// Each of the dead producers has a successor.
    const fn deaths(self, producer_deaths: u8) -> Self {
        Config { producer_deaths, successors: producer_deaths, ..self }
    }

    /// Each of the dead Single consumers has an heir.
    const fn consumer_deaths(self, consumer_deaths: u8) -> Self {
        Config { consumer_deaths, heirs: if self.multi { 0 } else { consumer_deaths }, ..self }
    }

    const fn recoverers(self, recoverers: u8) -> Self {
        Config { recoverers, ..self }
    }

    const fn memory(self, memory: Memory) -> Self {
        Config { memory, ..self }
    }

    const fn open(self) -> Self {
        let close = false;
        Config { close, ..self }
    }

    const fn observed(self) -> Self {
        let observed = true;
        Config { observed, ..self }
    }
}

fn all_hold(configs: &[(&str, Config)], limit: usize) {
    for &(name, config) in configs {
        assert_holds(name, &SingleProducer(config), limit);
    }
}

#[test]
fn single_consumer() {
    let all = [
        ("S1 n 1, no death", SINGLE.deaths(0).recoverers(0)),
        ("S2 n 1, one death", SINGLE),
        ("S3 n 1, 3 deaths", SINGLE.size(1, 1, 4).deaths(3)),
        ("S4 n 1, 2 deaths, 2 recoverers", SINGLE.deaths(2).recoverers(2)),
        ("S5 n 1, consumer dies", SINGLE.size(1, 1, 4).deaths(2).consumer_deaths(1)),
        ("S6 n 2, 2 deaths, 2 recoverers", SINGLE.size(2, 2, 4).deaths(2).recoverers(2)),
        ("S7 n 2, consumers die", SINGLE.size(2, 2, 4).consumer_deaths(2)),
        ("S8 n 2, open", SINGLE.size(2, 2, 5).deaths(2).consumer_deaths(1).open()),
        ("S9 n 2, fence mode", SINGLE.size(2, 2, 4).deaths(2).memory(Memory::Fence)),
        ("S10 n 2, len", SINGLE.size(2, 2, 4).consumer_deaths(1).recoverers(0).observed()),
        ("S11 n 2, no successor", Config { successors: 0, ..SINGLE.size(2, 2, 4).recoverers(0) }),
    ];
    all_hold(&all, STATE_LIMIT);
}

#[test]
fn multi_consumers() {
    let sc = MULTI.memory(Memory::Sequential);
    let all = [
        ("M1 n 1, no death", MULTI.deaths(0).consumer_deaths(0)),
        ("M2 n 1, each side dies", MULTI),
        ("M3 n 1, sequential, 2 recoverers", sc.size(1, 1, 2).recoverers(2)),
        ("M4 n 1, open", MULTI.deaths(2).open()),
        ("M5 n 1, fence mode", MULTI.size(1, 1, 2).memory(Memory::Fence)),
        ("M6 n 2, batches", MULTI.size(2, 2, 2)),
        ("M7 n 2, len", MULTI.size(2, 2, 2).consumer_deaths(0).recoverers(0).observed()),
        ("M8 n 2, laps", MULTI.size(2, 2, 3).deaths(0)),
        ("M9 n 2, sequential", sc.size(2, 2, 2)),
    ];
    all_hold(&all, STATE_LIMIT);
}

#[test]
fn larger_configurations() {
    if !long_run() {
        return;
    }
    let sc = MULTI.memory(Memory::Sequential);
    let all = [
        ("L1 single n 2, 3 deaths, 2 recoverers", SINGLE.size(2, 2, 5).deaths(3).recoverers(2)),
        ("L2 single n 2, all die", SINGLE.size(2, 2, 5).deaths(2).consumer_deaths(2)),
        ("L3 single n 2, len", SINGLE.size(2, 2, 5).observed()),
        ("L4 multi n 1, 2 deaths", MULTI.size(1, 1, 4).deaths(2)),
        ("L5 multi n 1, 2 recoverers", MULTI.size(1, 1, 3).recoverers(2)),
        ("L6 multi n 2, 2 deaths", MULTI.size(2, 2, 3).deaths(2)),
        ("L7 multi n 2, 2 recoverers", sc.size(2, 2, 2).recoverers(2)),
    ];
    all_hold(&all, STATE_LIMIT_LONG);
}

#[test]
fn seeded_bugs() {
    let lost = Caught::Fault(LOST);
    let fence = SINGLE.memory(Memory::Fence);
    let len = SINGLE.observed();
    let bugs = [
        (Bug::NoClaim, SINGLE, lost),
        (Bug::ClosedBeforeClaim, SINGLE, lost),
        (Bug::RefusedClaimStays, SINGLE, Caught::Stuck),
        (Bug::FullNeverClosed, SINGLE.consumer_deaths(1), Caught::Stuck),
        (Bug::SuccessorOverwrites, SINGLE, lost),
        (Bug::SuccessorOverwrites, MULTI.size(1, 1, 2), Caught::Stuck),
        (Bug::SuccessorSkips, SINGLE, Caught::Stuck),
        (Bug::SuccessorTrustsHint, SINGLE, lost),
        (Bug::ByteNotTested, SINGLE, lost),
        (Bug::ByteBeforeStamp, SINGLE, lost),
        (Bug::TombByStore, SINGLE, lost),
        (Bug::NoBarrier, SINGLE, lost),
        (Bug::NoBarrier, MULTI, lost),
        (Bug::BarrierBeforeClosed, SINGLE, lost),
        (Bug::NoSecondLook, SINGLE, lost),
        (Bug::ClaimIsFloor, SINGLE, lost),
        (Bug::ClaimIsFloor, MULTI, lost),
        (Bug::ClosedByHint, SINGLE, lost),
        (Bug::ClosedByHint, MULTI, lost),
        (Bug::HeadSlotOnly, MULTI.size(2, 1, 3), lost),
        (Bug::AttemptKept, MULTI.size(1, 1, 2).deaths(0), Caught::Stuck),
        (Bug::TakenLate, SINGLE.consumer_deaths(1), Caught::Fault(DUPLICATE)),
        (Bug::LenCountsClaim, len, Caught::Fault(WRONG_LEN)),
        (Bug::NoFence, fence, lost),
    ];
    for (bug, config, expected) in bugs {
        let name = format!("{bug:?}, {}", if config.multi { "multi" } else { "single" });
        let bug = Some(bug);
        assert_caught(&name, &SingleProducer(Config { bug, ..config }), expected);
    }
}
