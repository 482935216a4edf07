//! The configurations that must hold, and the seeded bugs that must be caught.

use super::super::{Caught, STATE_LIMIT};
use super::super::{assert_caught, assert_holds};
use super::*;

/// Two cells with a stamp each, three messages, close, nobody dies.
const BASE: Config = Config {
    cells: 2,
    block: 1,
    memory: Memory::Tso,
    messages: 3,
    batch: 1,
    close: true,
    producer_deaths: 0,
    consumer_deaths: 0,
    opener: false,
    adopts: false,
    strict: false,
    bug: None,
    freedoms: &[],
};

impl Config {
    const fn size(self, cells: u8, block: u8, batch: u8, messages: u8) -> Self {
        Config { cells, block, batch, messages, ..self }
    }

    const fn deaths(self, producer_deaths: u8, consumer_deaths: u8) -> Self {
        Config { producer_deaths, consumer_deaths, ..self }
    }

    const fn memory(self, memory: Memory) -> Self {
        Config { memory, ..self }
    }

    const fn opener(self) -> Self {
        Config { opener: true, ..self }
    }

    const fn adopts(self) -> Self {
        Config { adopts: true, ..self }
    }

    const fn strict(self) -> Self {
        Config { strict: true, ..self }
    }

    const fn open(self) -> Self {
        Config { close: false, ..self }
    }
}

/// Each configuration as the rules stand, and as the ring is built.
fn all_hold(configs: &[(&str, Config)]) {
    for &(name, config) in configs {
        assert_holds(&format!("spsc: {name}"), &Spsc(config), STATE_LIMIT);
        let built = Config { strict: true, freedoms: BUILT, ..config };
        assert_holds(&format!("spsc: {name}, as built"), &Spsc(built), STATE_LIMIT);
    }
}

#[test]
fn everybody_lives() {
    all_hold(&[
        ("A1 n 1", BASE.size(1, 1, 1, 4).opener().adopts()),
        ("A2 n 2 m 1, batches", BASE.size(2, 1, 2, 3).opener()),
        ("A3 n 2 m 2, batches", BASE.size(2, 2, 2, 4).opener()),
        ("A4 n 2 m 2, stores back", BASE.size(2, 2, 2, 3).opener().adopts()),
        ("A5 n 3 m 2, batches of 2", BASE.size(3, 2, 2, 4).opener()),
        ("A6 n 3 m 2, batches of 3, which wrap", BASE.size(3, 2, 3, 4)),
        ("A7 n 3 m 1", BASE.size(3, 1, 2, 4)),
        ("A8 n 2 m 2, open", BASE.size(2, 2, 2, 5).open().adopts()),
        ("A9 n 2 m 2, fence mode", BASE.size(2, 2, 2, 4).opener().memory(Memory::Fence)),
        ("A10 n 3 m 2, sequential", BASE.size(3, 2, 3, 5).opener().memory(Memory::Sequential)),
    ]);
}

#[test]
fn some_die() {
    all_hold(&[
        ("D1 n 1, each dies", BASE.size(1, 1, 1, 3).deaths(1, 1).opener()),
        ("D2 n 1, producers die", BASE.size(1, 1, 1, 4).deaths(2, 0).opener()),
        ("D3 n 1, consumers die", BASE.size(1, 1, 1, 4).deaths(0, 2).opener().adopts()),
        ("D4 n 2 m 1, producer dies", BASE.size(2, 1, 2, 3).deaths(1, 0).opener()),
        ("D5 n 2 m 2, each dies", BASE.size(2, 2, 2, 3).deaths(1, 1).opener()),
        ("D6 n 2 m 2, consumers die", BASE.size(2, 2, 2, 3).deaths(0, 2).opener().adopts()),
        ("D7 n 3 m 2, producers die", BASE.size(3, 2, 3, 4).deaths(2, 0)),
        ("D8 n 3 m 2, each dies", BASE.size(3, 2, 2, 4).deaths(1, 1)),
        ("D9 n 2 m 2, open", BASE.size(2, 2, 2, 4).deaths(1, 1).open().adopts()),
        ("D10 n 2 m 2, fence mode", BASE.size(2, 2, 2, 3).deaths(1, 1).opener().memory(Memory::Fence)),
        ("D11 n 2 m 2, sequential", BASE.size(2, 2, 2, 3).deaths(1, 1).opener().memory(Memory::Sequential)),
    ]);
}

/// All freedoms at once.
const ALL: &[Freedom] = &[
    Freedom::PublishesOn,
    Freedom::ScanOnce,
    Freedom::BarrierIfUnset,
    Freedom::NextLap,
    Freedom::CheckPerStamp,
    Freedom::SuccessorUnchecked,
];

/// Weaker rules than the protocol has.
#[test]
fn freedoms() {
    let all = [
        BASE.size(1, 1, 1, 4).deaths(2, 0).opener(),
        BASE.size(2, 1, 2, 3).deaths(1, 0).opener(),
        BASE.size(2, 2, 2, 3).deaths(0, 1).opener().adopts(),
        BASE.size(3, 2, 3, 4).deaths(1, 0).opener(),
        BASE.size(3, 2, 2, 4).deaths(0, 1).opener(),
    ];
    for freedoms in [
        &[Freedom::PublishesOn] as &[Freedom],
        &[Freedom::ScanOnce],
        &[Freedom::BarrierIfUnset],
        &[Freedom::NextLap],
        &[Freedom::CheckPerStamp],
        &[Freedom::SuccessorUnchecked],
        ALL,
    ] {
        for (at, config) in all.into_iter().enumerate() {
            let strict = freedoms.contains(&Freedom::SuccessorUnchecked);
            let config = Config { freedoms, strict, ..config };
            assert_holds(&format!("spsc: {freedoms:?}, {}", at + 1), &Spsc(config), STATE_LIMIT);
        }
    }
}

#[test]
fn seeded_bugs() {
    let one = BASE.size(1, 1, 1, 3);
    let per_stamp = Config { freedoms: &[Freedom::CheckPerStamp], ..BASE };
    let fence = BASE.memory(Memory::Fence);
    let pair = BASE.size(2, 2, 2, 3);
    let lap = BASE.size(3, 2, 3, 5);
    let fault = Caught::Fault;
    for (bug, config, expected) in [
        (Bug::ClosedBeforeStamp, BASE, fault(LOST)),
        (Bug::ClosedBeforeStamp, BASE.opener(), fault(LOST)),
        (Bug::StampBeforeCell, BASE, fault(WRONG_CELL)),
        (Bug::StampPerBlock, lap.deaths(1, 0), fault(DISORDER)),
        (Bug::OneTooMany, one, fault(OVERRUN)),
        (Bug::OneTooMany, pair, fault(OVERRUN)),
        (Bug::FullNeverClosed, BASE.deaths(0, 1), Caught::Stuck),
        (Bug::RefusedWithoutCas, BASE, fault(REFUSED)),
        (Bug::EqualIsRefused, BASE, fault(REFUSED)),
        (Bug::PartIsWhole, pair, fault(ACKED_BEYOND)),
        (Bug::PartIsWhole, BASE.size(2, 1, 2, 3), fault(ACKED_BEYOND)),
        (Bug::PartIsNothing, BASE.size(2, 1, 2, 3), fault(REFUSED)),
        (Bug::SettledByStore, BASE, fault(LOST)),
        (Bug::SealedByStore, BASE, fault(LOST)),
        (Bug::NoBarrier, BASE, fault(LOST)),
        (Bug::NoBarrier, BASE.opener(), fault(LOST)),
        (Bug::BarrierBeforeClosed, BASE, fault(LOST)),
        (Bug::ScanBeforeBarrier, BASE, fault(LOST)),
        (Bug::StaleTaken, one.opener(), fault(ACKED_BEYOND)),
        (Bug::StaleTaken, BASE.opener(), fault(ACKED_BEYOND)),
        (Bug::NoScan, BASE.opener(), fault(LOST)),
        (Bug::ScansForEver, BASE.opener().deaths(0, 1), Caught::Stuck),
        (Bug::NoCheck, BASE.opener(), fault(RETURNED_BEYOND)),
        (Bug::NoCheck, BASE.deaths(0, 1), fault(RETURNED_BEYOND)),
        (Bug::NoCompare, BASE.opener(), fault(RETURNED_BEYOND)),
        (Bug::NoCompare, BASE.deaths(0, 1), fault(RETURNED_BEYOND)),
        (Bug::CheckBeforeStamp, per_stamp.opener(), fault(RETURNED_BEYOND)),
        (Bug::AdoptsAfterCommit, one.adopts(), fault(WRONG_CELL)),
        (Bug::AdoptsStamp, pair.adopts(), fault(ACKED_BEYOND)),
        (Bug::WholeBlock, pair, fault(WRONG_CELL)),
        (Bug::TakenLate, BASE.deaths(0, 1), fault(DUPLICATE)),
        (Bug::SuccessorUnchecked, BASE.deaths(1, 0), fault(LATE_OK)),
        (Bug::SuccessorAtTaken, BASE.deaths(1, 0), fault(LOST)),
        (Bug::SuccessorSkips, BASE.deaths(0, 1), fault(LOST)),
        (Bug::NoCheckBefore, BASE.strict(), fault(LATE_OK)),
        (Bug::NoFence, fence, fault(LOST)),
    ] {
        let model = Spsc(Config { bug: Some(bug), ..config });
        assert_caught(&format!("spsc: {bug:?}"), &model, expected);
    }
}
