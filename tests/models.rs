//! The explicit-state models of the ring protocol: every configuration must hold, every seeded bug must be caught.
//!
//! - `cargo test --test models -- --nocapture` prints states and times.
//! - `RINGWAY_MODEL_LONG=1` adds the larger configurations (minutes, several GB).
//! - `RINGWAY_MODEL_TRACE=1` prints how each seeded bug shows.
//!
//! In the names: `2P` two producers, `1C` one consumer, `3D` up to three deaths, `2R` two rescuers (one of which may be
//! killed too), `1N` one newcomer on a dead index.

#[path = "models/mod.rs"]
mod models;

mod broadcast {
    use crate::models::broadcast::*;
    use crate::models::{Caught, STATE_LIMIT, STATE_LIMIT_LONG, assert_caught, assert_holds, long_run};

    const BLOCK: Config = Config::SMALL;
    const DROP: Config = Config { drops: true, ..BLOCK };
    const SINGLE: Config = Config { producers: 1, single: true, ..BLOCK };

    fn all_hold(configurations: &[(&str, Config)], limit: usize) {
        for (name, config) in configurations {
            assert_holds(&format!("broadcast: {name}"), &Broadcast(*config), limit);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn broadcast_holds_where_producers_wait() {
        all_hold(&[
            ("block 2P1S 2D 1J", Config { deaths: 2, rejoins: 1, ..BLOCK }),
            ("block 2P1S n 2, oldest, 1D 1J", Config { capacity: 2, oldest: true, rejoins: 1, ..BLOCK }),
            ("block 1P2S n 2, 2D 1J 1L", Config { producers: 1, subscribers: 2, capacity: 2, messages: 4, deaths: 2, rejoins: 1, leaves: 1, ..BLOCK }),
            ("block 1P2S n 2, oldest, 2D 1J 1L", Config { producers: 1, subscribers: 2, capacity: 2, messages: 4, oldest: true, deaths: 2, rejoins: 1, leaves: 1, ..BLOCK }),
            ("block 1P2S n 3, oldest, 1D", Config { producers: 1, subscribers: 2, capacity: 3, messages: 5, oldest: true, ..BLOCK }),
            ("block 2P2S n 1", Config { subscribers: 2, messages: 1, ..BLOCK }),
            ("block single 2S n 2, 1D 1J", Config { subscribers: 2, capacity: 2, messages: 4, rejoins: 1, ..SINGLE }),
            ("block single 1S n 2, oldest, left out, 2D 2J", Config { capacity: 2, messages: 4, oldest: true, leaves_out: true, deaths: 2, rejoins: 2, ..SINGLE }),
            ("block 2P1S left out, 2D 1J", Config { leaves_out: true, deaths: 2, rejoins: 1, ..BLOCK }),
        ], STATE_LIMIT);
    }

    #[test]
    #[rustfmt::skip]
    fn broadcast_holds_where_the_oldest_is_dropped() {
        all_hold(&[
            ("drop 2P1S 2D 1J", Config { deaths: 2, rejoins: 1, ..DROP }),
            ("drop 2P1S n 2, oldest, 1D", Config { capacity: 2, oldest: true, ..DROP }),
            ("drop 1P2S n 2, 1D 1L", Config { producers: 1, subscribers: 2, capacity: 2, messages: 4, leaves: 1, ..DROP }),
            ("drop single 1S n 2, 2D 2J", Config { drops: true, capacity: 2, messages: 5, deaths: 2, rejoins: 2, ..SINGLE }),
            ("drop single 2S n 3, 1D", Config { drops: true, subscribers: 2, capacity: 3, messages: 5, rejoins: 1, ..SINGLE }),
        ], STATE_LIMIT);
    }

    #[test]
    #[rustfmt::skip]
    fn broadcast_catches_seeded_bugs() {
        let oldest = Config { oldest: true, capacity: 2, producers: 1, messages: 4, ..BLOCK };
        let rejoin = Config { rejoins: 1, leaves_out: true, ..oldest };
        let successor = Config { capacity: 2, messages: 4, oldest: true, leaves_out: true, deaths: 2, rejoins: 2, ..SINGLE };
        for (bug, config, expected) in [
            (Bug::NoReread, BLOCK, Caught::Fault(ROBBED)),
            (Bug::LimitsNotAsked, oldest, Caught::Fault(ROBBED)),
            (Bug::NoSecondLook, oldest, Caught::Fault(ROBBED)),
            (Bug::LimitAfterLooks, oldest, Caught::Fault(ROBBED)),
            (Bug::NoBit, BLOCK, Caught::Fault(ROBBED)),
            (Bug::StampNotAsked, DROP, Caught::Fault(BURIED)),
            (Bug::NoClaim, DROP, Caught::Fault(TORN)),
            (Bug::NoRecheck, DROP, Caught::Fault(TORN)),
            (Bug::CursorBeforeCopy, BLOCK, Caught::Fault(TORN)),
            (Bug::NeverStruck, BLOCK, Caught::Stuck),
            (Bug::TailNotReadLast, successor, Caught::Fault(ROBBED)),
            (Bug::LeftOutUnasked, rejoin, Caught::Fault(ROBBED)),
            (Bug::LiveIntentsIgnored, BLOCK, Caught::Fault(BURIED)),
        ] {
            let model = Broadcast(Config { bug: Some(bug), ..config });
            assert_caught(&format!("broadcast: {bug:?}"), &model, expected);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn broadcast_holds_in_large_configurations() {
        if !long_run() {
            return;
        }
        all_hold(&[
            ("block single 2S n 2, 2D 2J", Config { subscribers: 2, capacity: 2, messages: 4, deaths: 2, rejoins: 2, ..SINGLE }),
            ("block 2P2S n 2, 1D", Config { subscribers: 2, capacity: 2, ..BLOCK }),
            ("block 2P2S n 2, oldest", Config { subscribers: 2, capacity: 2, oldest: true, deaths: 0, ..BLOCK }),
            ("drop 2P2S n 2, 1D", Config { subscribers: 2, capacity: 2, ..DROP }),
        ], STATE_LIMIT_LONG);
    }
}

mod cells {
    use crate::models::cells::*;
    use crate::models::{Caught, STATE_LIMIT, STATE_LIMIT_LONG, assert_caught, assert_holds, long_run};
    use Size::{Inline, Large};

    const BASE: Config = Config::SMALL;

    /// Plain get of large messages through one block.
    const LARGE: Config = Config { rows: 0, blocks: 1, mode: Mode::Get, script: &[Large], ..BASE };

    /// Both kinds of message, both kinds of get, one row and one block.
    const MIXED: Config = Config { blocks: 1, mode: Mode::Both, script: &[Large, Inline], ..BASE };

    /// A lease comes back without a death, and consumers stop calling.
    const RETIRE: Config =
        Config { mode: Mode::Both, script: &[Inline, Inline], give_backs: 1, retire: true, rescuer_deaths: 0, ..BASE };

    fn all_hold(configurations: &[(&str, Config)]) {
        for (name, config) in configurations {
            assert_holds(&format!("cells: {name}"), &Cells(*config), STATE_LIMIT);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn cells_hold_for_leases() {
        all_hold(&[
            ("lease 1P2C 3D 2R 2N", Config { deaths: 3, rescuers: 2, newcomers: 2, ..BASE }),
            ("lease 1P3C 2D 2R 1N", Config { consumers: 3, deaths: 2, rescuers: 2, newcomers: 1, ..BASE }),
            ("lease 2P2C 2D 1R 1N", Config { producers: 2, deaths: 2, newcomers: 1, ..BASE }),
            ("lease 1P2C 2D 2R 1N, rescuers before the first death", Config { deaths: 2, rescuers: 2, newcomers: 1, early: true, ..BASE }),
            ("lease 1P2C two messages, capacity 2, two rows, 2D 1R", Config { capacity: 2, rows: 2, deaths: 2, script: &[Inline, Inline], ..BASE }),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn cells_hold_for_large_messages() {
        all_hold(&[
            ("large get 1P2C 2D 2R 1N", Config { deaths: 2, rescuers: 2, newcomers: 1, ..LARGE }),
            ("large get 2P1C 2D 2R 1N", Config { producers: 2, consumers: 1, deaths: 2, rescuers: 2, newcomers: 1, ..LARGE }),
            ("large get 2P2C 2D 1R", Config { producers: 2, deaths: 2, ..LARGE }),
            ("large get 1P2C two messages, capacity 2, one block, 2D 1R 1N", Config { capacity: 2, deaths: 2, newcomers: 1, script: &[Large, Large], ..LARGE }),
            ("large get 1P2C two messages, capacity 2, two blocks, 2D 1R", Config { capacity: 2, blocks: 2, deaths: 2, script: &[Large, Large], ..LARGE }),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn cells_hold_for_everything_mixed() {
        all_hold(&[
            ("mixed 1P2C 2D 1R", Config { deaths: 2, ..MIXED }),
            ("mixed 1P2C 1D 2R", Config { rescuers: 2, ..MIXED }),
            ("mixed 1P2C capacity 2, 1D 1R 1N", Config { capacity: 2, newcomers: 1, script: &[Inline, Large], ..MIXED }),
            ("one large message, get and lease, 1P2C 2D 2R", Config { deaths: 2, rescuers: 2, script: &[Large], ..MIXED }),
            ("given back and retired, 1P2C 1D 1R", RETIRE),
        ]);
    }

    /// The rule of `slices` with cells: nobody looks at the whole window.
    #[test]
    #[rustfmt::skip]
    fn cells_hold_if_only_named_positions_are_looked_at() {
        all_hold(&[
            ("named only, lease 1P2C 3D 2R 2N", Config { named_only: true, deaths: 3, rescuers: 2, newcomers: 2, ..BASE }),
            ("named only, large get 1P2C 2D 2R 1N", Config { named_only: true, deaths: 2, rescuers: 2, newcomers: 1, ..LARGE }),
            ("named only, mixed 1P2C 2D 1R", Config { named_only: true, deaths: 2, ..MIXED }),
            ("named only, given back and retired, 1P2C 1D 1R", Config { named_only: true, ..RETIRE }),
        ]);
    }

    /// K2 finishes the get intent, which names the husk: K3 need not look at the slot of a HELD cell.
    #[test]
    #[rustfmt::skip]
    fn cells_hold_if_k3_leaves_the_husk_to_k2() {
        all_hold(&[
            ("husk left to K2, lease 1P2C 2D 2R 1N", Config { husk_left_to_k2: true, deaths: 2, rescuers: 2, newcomers: 1, ..BASE }),
            ("husk left to K2, large get 1P2C 2D 2R 1N", Config { husk_left_to_k2: true, deaths: 2, rescuers: 2, newcomers: 1, ..LARGE }),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn cells_catch_seeded_bugs() {
        let two_rescuers = Config { rescuers: 2, ..BASE };
        let newcomer = Config { newcomers: 1, ..BASE };
        let get = Config { rows: 0, mode: Mode::Get, ..two_rescuers };
        for (bug, config, expected) in [
            (Bug::SlotBeforeHeld, BASE, Caught::Fault(LOST)),
            (Bug::SlotBeforeHeld, LARGE, Caught::Fault(LOST)),
            (Bug::CellFreedBeforeSlot, LARGE, Caught::Fault(PHANTOM)),
            (Bug::BlockStaysWriting, LARGE, Caught::Fault(LOST)),
            (Bug::TakeByStore, Config { consumers: 3, ..BASE }, Caught::Fault(ROBBED)),
            (Bug::IntentLeftStanding, RETIRE, Caught::Stuck),
            (Bug::LiveIntentsIgnored, BASE, Caught::Fault(SLOT_NOT_FREE)),
            (Bug::TailAfterScan, BASE, Caught::Fault(SLOT_NOT_FREE)),
            (Bug::HuskForgotten, BASE, Caught::Fault(DUPLICATE)),
            (Bug::HuskForgotten, LARGE, Caught::Fault(DUPLICATE)),
            (Bug::RecoverByStore, BASE, Caught::Fault(PHANTOM)),
            (Bug::NoAttemptBits, get, Caught::Fault(SLOT_NOT_OURS)),
            (Bug::KeepWithoutLock, Config { newcomers: 1, ..two_rescuers }, Caught::Fault(SLOT_NOT_FREE)),
            (Bug::IntentsNotFinished, LARGE, Caught::Stuck),
            (Bug::CellsBeforeIntents, LARGE, Caught::Stuck),
            (Bug::WritingNotFreed, BASE, Caught::Stuck),
            (Bug::WritingNotFreed, LARGE, Caught::Stuck),
            (Bug::AtFreedBlindly, LARGE, Caught::Fault(LOST)),
            (Bug::BackBeforeHusk, BASE, Caught::Fault(DUPLICATE)),
            (Bug::NoReturnIgnored, LARGE, Caught::Fault(DUPLICATE)),
            (Bug::EarlyReuse, newcomer, Caught::Fault(DUPLICATE)),
            (Bug::NoHouseKeeping, BASE, Caught::Stuck),
            (Bug::NoHouseKeeping, LARGE, Caught::Stuck),
        ] {
            let model = Cells(Config { bug: Some(bug), ..config });
            assert_caught(&format!("cells: {bug:?}"), &model, expected);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn cells_hold_in_large_configurations() {
        if !long_run() {
            return;
        }
        for (name, config) in [
            ("lease 2P2C 2D 2R 1N", Config { producers: 2, deaths: 2, rescuers: 2, newcomers: 1, ..BASE }),
            ("lease 1P3C 3D 2R 2N", Config { consumers: 3, deaths: 3, rescuers: 2, newcomers: 2, ..BASE }),
            ("lease 1P2C two messages, capacity 2, two rows, 2D 1R 1N", Config { capacity: 2, rows: 2, deaths: 2, newcomers: 1, script: &[Inline, Inline], ..BASE }),
            ("lease 1P2C two messages, capacity 2, two rows, 1D 2R 1N", Config { capacity: 2, rows: 2, rescuers: 2, newcomers: 1, script: &[Inline, Inline], ..BASE }),
            ("large get 2P2C 2D 1R 1N", Config { producers: 2, deaths: 2, newcomers: 1, ..LARGE }),
            ("large get 1P2C two messages, 2D 2R 1N", Config { deaths: 2, rescuers: 2, newcomers: 1, script: &[Large, Large], ..LARGE }),
            ("large get 1P2C two messages, capacity 2, two blocks, 2D 2R 1N", Config { capacity: 2, blocks: 2, deaths: 2, rescuers: 2, newcomers: 1, script: &[Large, Large], ..LARGE }),
            ("mixed 1P2C 2D 2R 1N", Config { deaths: 2, rescuers: 2, newcomers: 1, ..MIXED }),
            ("mixed 1P2C capacity 2, two rows, 2D 1R 1N", Config { capacity: 2, rows: 2, deaths: 2, newcomers: 1, script: &[Inline, Large], ..MIXED }),
            ("one large message, get and lease, 1P2C 2D 2R 1N", Config { deaths: 2, rescuers: 2, newcomers: 1, script: &[Large], ..MIXED }),
            ("given back and retired, capacity 2, two rows, 1P2C 1D 1R 1N", Config { capacity: 2, rows: 2, newcomers: 1, rescuer_deaths: 1, ..RETIRE }),
            ("given back and retired, 1P2C 2D 1R 1N", Config { deaths: 2, newcomers: 1, rescuer_deaths: 1, ..RETIRE }),
            ("given back and retired, 1P2C 2D 2R", Config { deaths: 2, rescuers: 2, rescuer_deaths: 1, ..RETIRE }),
        ] {
            assert_holds(&format!("cells: {name}"), &Cells(config), STATE_LIMIT_LONG);
        }
    }
}

mod slices {
    use crate::models::slices::*;
    use crate::models::{Caught, STATE_LIMIT, STATE_LIMIT_LONG, assert_caught, assert_holds, long_run};

    const BASE: Config = Config::SMALL;

    /// Two messages in one batch of two, capacity two.
    const BATCH: Config = Config { capacity: 2, messages: 2, batch: [2, 2, 1, 1], ..BASE };

    fn all_hold(configurations: &[(&str, Config)]) {
        for (name, config) in configurations {
            assert_holds(&format!("slices: {name}"), &Slices(*config), STATE_LIMIT);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn slices_hold() {
        all_hold(&[
            ("1P2C 3D 2N", Config { deaths: 3, newcomers: 2, ..BASE }),
            ("1P3C 2D 1N", Config { consumers: 3, deaths: 2, newcomers: 1, ..BASE }),
            ("1P3C 3D", Config { consumers: 3, deaths: 3, ..BASE }),
            ("2P2C 2D", Config { producers: 2, deaths: 2, ..BASE }),
            ("anybody may stop calling, 2P1C 2D 1N", Config { producers: 2, consumers: 1, deaths: 2, newcomers: 1, stop: true, ..BASE }),
            ("anybody may stop calling, 1P3C 2D", Config { consumers: 3, deaths: 2, stop: true, ..BASE }),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn slices_hold_for_batches() {
        all_hold(&[
            ("1P2C batches 2/2/1, capacity 2, 2D 1N", Config { deaths: 2, newcomers: 1, ..BATCH }),
            ("1P2C batches 2/2/2, capacity 2, 2D 1N", Config { deaths: 2, newcomers: 1, batch: [2; 4], ..BATCH }),
            ("1P2C batches 2/2/1, three messages, capacity 2, 2D", Config { messages: 3, deaths: 2, ..BATCH }),
            ("2P1C batches 2/1/2, capacity 2, 2D", Config { producers: 2, consumers: 1, deaths: 2, batch: [2, 1, 2, 1], ..BATCH }),
        ]);
    }

    /// S1 is there for speed: the intents of the dead name every position that is in somebody's way.
    #[test]
    #[rustfmt::skip]
    fn slices_hold_without_the_look_at_the_own_way() {
        all_hold(&[
            ("no S1, 1P2C 2D 2N", Config { without_s1: true, deaths: 2, newcomers: 2, ..BASE }),
            ("no S1, 2P2C 2D", Config { without_s1: true, producers: 2, deaths: 2, ..BASE }),
            ("no S1, 1P2C batches 2/2/1, capacity 2, 2D 1N", Config { without_s1: true, deaths: 2, newcomers: 1, ..BATCH }),
        ]);
    }

    /// The rule as it is built: what lies in the window but in no intent of the dead is not looked for.
    #[test]
    #[rustfmt::skip]
    fn slices_hold_if_only_named_redeliveries_are_looked_at() {
        let base = Config { named_backs: true, without_s1: true, ..BASE };
        let batch = Config { named_backs: true, without_s1: true, ..BATCH };
        all_hold(&[
            ("named BACKs, 1P2C 3D 2N", Config { deaths: 3, newcomers: 2, ..base }),
            ("named BACKs, 1P3C 2D 1N", Config { consumers: 3, deaths: 2, newcomers: 1, ..base }),
            ("named BACKs, 2P2C 2D", Config { producers: 2, deaths: 2, ..base }),
            ("named BACKs, stopping, 1P3C 2D", Config { consumers: 3, deaths: 2, stop: true, ..base }),
            ("named BACKs, 1P2C batches 2/2/1, capacity 2, 2D 1N", Config { deaths: 2, newcomers: 1, ..batch }),
        ]);
    }

    #[test]
    #[rustfmt::skip]
    fn slices_catch_seeded_bugs() {
        let three = Config { consumers: 3, ..BASE };
        for (bug, config, expected) in [
            (Bug::IntentNotCleared, BASE, Caught::Stuck),
            (Bug::IntentLeftStanding, Config { producers: 2, consumers: 1, stop: true, ..BASE }, Caught::Stuck),
            (Bug::IntentLeftStanding, Config { consumers: 3, stop: true, ..BASE }, Caught::Stuck),
            (Bug::NoIntent, BASE, Caught::Fault(SLOT_NOT_FREE)),
            (Bug::LiveIntentsIgnored, BASE, Caught::Fault(SLOT_NOT_FREE)),
            (Bug::NoAttemptBits, three, Caught::Fault(SLOT_NOT_OURS)),
            (Bug::OwnPositionOnly, BASE, Caught::Stuck),
            (Bug::FirstOfBatchOnly, Config { batch: [2; 4], ..BATCH }, Caught::Stuck),
            (Bug::BackNotLooked, Config { deaths: 2, ..three }, Caught::Stuck),
            (Bug::BackNotTold, Config { named_backs: true, consumers: 3, deaths: 2, newcomers: 1, ..BASE }, Caught::Stuck),
            (Bug::IntentForgotten, Config { newcomers: 1, ..BASE }, Caught::Stuck),
            (Bug::ClearedBeforeFinished, Config { newcomers: 1, deaths: 2, ..BASE }, Caught::Stuck),
            (Bug::LifeByteFirst, Config { newcomers: 2, deaths: 2, ..BASE }, Caught::Stuck),
        ] {
            let model = Slices(Config { bug: Some(bug), ..config });
            assert_caught(&format!("slices: {bug:?}"), &model, expected);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn slices_hold_in_large_configurations() {
        if !long_run() {
            return;
        }
        for (name, config) in [
            ("1P3C 3D 2N", Config { consumers: 3, deaths: 3, newcomers: 2, ..BASE }),
            ("2P2C 2D 1N", Config { producers: 2, deaths: 2, newcomers: 1, ..BASE }),
            ("2P1C 3D 2N", Config { producers: 2, consumers: 1, deaths: 3, newcomers: 2, ..BASE }),
            ("1P2C 3D 3N", Config { deaths: 3, newcomers: 3, ..BASE }),
            ("anybody may stop calling, 2P2C 2D", Config { producers: 2, deaths: 2, stop: true, ..BASE }),
            ("1P2C batches 2/2/2, capacity 2, 2D 2N", Config { deaths: 2, newcomers: 2, batch: [2; 4], ..BATCH }),
            ("1P2C batches 2/2/1, three messages, capacity 2, 2D 1N", Config { messages: 3, deaths: 2, newcomers: 1, ..BATCH }),
            ("2P1C batches 2/1/2, capacity 2, 2D 1N", Config { producers: 2, consumers: 1, deaths: 2, newcomers: 1, batch: [2, 1, 2, 1], ..BATCH }),
            ("2P2C batches 2/1/2/1, capacity 2, 1D", Config { producers: 2, batch: [2, 1, 2, 1], ..BATCH }),
        ] {
            assert_holds(&format!("slices: {name}"), &Slices(config), STATE_LIMIT_LONG);
        }
    }
}

mod chunks {
    use crate::models::chunks::*;
    use crate::models::{Caught, STATE_LIMIT, STATE_LIMIT_LONG, assert_caught, assert_holds, long_run};

    const BASE: Config = Config::SMALL;

    #[test]
    #[rustfmt::skip]
    fn chunks_hold() {
        let mut all = vec![
            ("1P1C, 2 chunks of 1, 1D, keeper killed", BASE),
            ("1P1C, 2 chunks of 2, 5 messages, 1D 1N", Config { slots: 2, messages: 5, newcomers: 1, ..BASE }),
            ("2P1C, 2 chunks of 1, 1D", Config { producers: 2, messages: 2, keeper_deaths: 0, ..BASE }),
            ("1P2C, 2 chunks of 1, 1D", Config { consumers: 2, messages: 3, keeper_deaths: 0, ..BASE }),
            ("1P1C, 3 chunks of 1, 2D 1N", Config { chunks: 3, deaths: 2, newcomers: 1, ..BASE }),
            ("space lacks, 1P1C, 2 chunks of 1, 1D 1N", Config { space_may_lack: true, newcomers: 1, ..BASE }),
            ("unguarded, 1P2C, 2 chunks of 1, 1D", Config { consumers: 2, messages: 3, keeper_deaths: 0, unguarded: true, ..BASE }),
            ("1P2C, 3 chunks of 1, 4 messages", Config { chunks: 3, consumers: 2, deaths: 0, ..BASE }),
            ("1P2C, 3 chunks of 1, 1D, keeper killed", Config { chunks: 3, consumers: 2, messages: 3, ..BASE }),
            ("2P1C, 3 chunks of 1, 1D", Config { chunks: 3, producers: 2, messages: 2, keeper_deaths: 0, ..BASE }),
        ];
        let limit = if long_run() {
            all.push(("1P2C, 3 chunks of 1, 4 messages, 1D", Config { chunks: 3, consumers: 2, ..BASE }));
            all.push(("unguarded, 1P2C, 3 chunks of 1, 4 messages, 1D", Config { chunks: 3, consumers: 2, unguarded: true, ..BASE }));
            all.push(("space lacks, 1P2C, 3 chunks of 1, 1D", Config { chunks: 3, consumers: 2, messages: 3, space_may_lack: true, ..BASE }));
            all.push(("2P1C, 2 chunks of 1, 2D 1N", Config { producers: 2, messages: 2, deaths: 2, newcomers: 1, ..BASE }));
            all.push(("1P2C, 2 chunks of 1, 2D 1N", Config { consumers: 2, messages: 3, deaths: 2, newcomers: 1, ..BASE }));
            all.push(("2P1C, 3 chunks of 1, 3 messages each", Config { chunks: 3, producers: 2, messages: 3, deaths: 0, ..BASE }));
            all.push(("2P1C, 3 chunks of 1, 2D, keeper killed", Config { chunks: 3, producers: 2, messages: 2, deaths: 2, ..BASE }));
            all.push(("2P2C, 2 chunks of 1, 1D", Config { producers: 2, consumers: 2, messages: 1, keeper_deaths: 0, ..BASE }));
            all.push(("2P2C, 1 chunk of 1, 1D", Config { producers: 2, consumers: 2, chunks: 1, messages: 1, ..BASE }));
            all.push(("space lacks, 1P2C, 2 chunks of 2, 1D", Config { consumers: 2, slots: 2, messages: 5, space_may_lack: true, keeper_deaths: 0, ..BASE }));
            all.push(("1P2C, 2 chunks of 2, 2D 1N", Config { consumers: 2, slots: 2, messages: 5, deaths: 2, newcomers: 1, ..BASE }));
            STATE_LIMIT_LONG
        } else {
            STATE_LIMIT
        };
        for (name, config) in all {
            assert_holds(&format!("chunks: {name}"), &Chunks(config), limit);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn chunks_catch_seeded_bugs() {
        let two = Config { consumers: 2, messages: 3, keeper_deaths: 0, ..BASE };
        let puts = Config { producers: 2, messages: 2, keeper_deaths: 0, ..BASE };
        let pairs = Config { consumers: 2, slots: 2, messages: 5, deaths: 0, keeper_deaths: 0, ..BASE };
        for (bug, config, expected) in [
            (Bug::HazardsNameChunks, Config { deaths: 0, ..two }, Caught::Fault(PUNCHED)),
            (Bug::ChunksAnnounced, Config { deaths: 0, ..two }, Caught::Fault(PUNCHED)),
            (Bug::ChunksCompared, Config { deaths: 0, ..two }, Caught::Fault(PUNCHED)),
            (Bug::PlaceBeforeReady, two, Caught::Fault(PUNCHED)),
            (Bug::NoReRead, two, Caught::Fault(PUNCHED)),
            (Bug::DrainedAfterPunching, two, Caught::Fault(PUNCHED)),
            (Bug::ClaimWithoutReady, pairs, Caught::Fault(PUNCHED)),
            (Bug::NoHazards, two, Caught::Fault(PUNCHED)),
            (Bug::ReadyBeforeStamps, puts, Caught::Fault(NOT_THERE)),
            (Bug::DrainedByTheLast, Config { deaths: 1, ..pairs }, Caught::Fault(NOT_THERE)),
            (Bug::HoleWithoutLap, Config { deaths: 0, ..puts }, Caught::Stuck),
            (Bug::ChunksForgotten, Config { messages: 1, ..puts }, Caught::Stuck),
            (Bug::HazardsStand, Config { messages: 1, ..two }, Caught::Stuck),
            (Bug::BackingUnseen, two, Caught::Fault(PUNCHED)),
            (Bug::GivenBackUnseen, Config { space_may_lack: true, ..two }, Caught::Fault(PUNCHED)),
            (Bug::DrainedIfFree, puts, Caught::Fault(NOT_FREE)),
            (Bug::FreeOfTheNextLap, Config { deaths: 0, ..puts }, Caught::Stuck),
            (Bug::NoRollBack, two, Caught::Fault(SAME_PLACE)),
            (Bug::RollBackReversed, BASE, Caught::Fault(SAME_PLACE)),
            (Bug::NoPartner, two, Caught::Fault(SAME_PLACE)),
            (Bug::SpareNotDrained, Config { messages: 2, ..two }, Caught::Stuck),
        ] {
            assert_caught(&format!("chunks: {bug:?}"), &Chunks(Config { bug, ..config }), expected);
        }
    }

    /// Two chunks of two, claims of up to two.
    const RUNS: Config = Config { slots: 2, messages: 5, batch: 2, keeper_deaths: 0, ..BASE };
    /// Two chunks of one, a consumer that leases, one that gets.
    const LEASES: Config = Config { consumers: 2, messages: 3, leasing: 1, rows: 1, keeper_deaths: 0, ..BASE };

    #[test]
    #[rustfmt::skip]
    fn chunks_hold_for_runs_and_leases() {
        let mut all = vec![
            ("runs, 1P1C, 2 chunks of 2, 1D 1N, keeper killed", Config { newcomers: 1, keeper_deaths: 1, ..RUNS }),
            ("runs, space lacks, 1P1C, 2 chunks of 2, 1D 1N", Config { space_may_lack: true, newcomers: 1, ..RUNS }),
            ("runs, 1P2C, 2 chunks of 2, 3 messages", Config { consumers: 2, messages: 3, deaths: 0, ..RUNS }),
            ("runs, 1P2C, 1 chunk of 2, 2 messages, 1D", Config { consumers: 2, chunks: 1, messages: 2, ..RUNS }),
            ("runs, 2P1C, 1 chunk of 2, 2 and 1 messages, 1D", Config { producers: 2, chunks: 1, messages: 2, fewer: 1, ..RUNS }),
            ("leases, 1P1C, 2 chunks of 1, 1D 1N, keeper killed", Config { consumers: 1, messages: 4, newcomers: 1, keeper_deaths: 1, ..LEASES }),
            ("leases, 1P2C, 2 chunks of 1, 1D", LEASES),
            ("leases and runs, 1P1C, 2 chunks of 2, 1D 1N", Config { leasing: 1, rows: 1, newcomers: 1, ..RUNS }),
        ];
        let limit = if long_run() {
            all.push(("runs, 1P2C, 2 chunks of 2, 3 messages, 1D", Config { consumers: 2, messages: 3, ..RUNS }));
            all.push(("runs, 2P1C, 2 chunks of 2, 2 and 2 messages, 1D", Config { producers: 2, messages: 2, ..RUNS }));
            all.push(("runs, space lacks, 1P2C, 2 chunks of 2, 3 messages, 1D", Config { consumers: 2, messages: 3, space_may_lack: true, ..RUNS }));
            all.push(("leases, 1P2C, two that lease, two rows, 2D 1N", Config { leasing: 2, rows: 2, messages: 2, deaths: 2, newcomers: 1, ..LEASES }));
            all.push(("leases, 1P2C, 3 chunks of 1, 1D, keeper killed", Config { chunks: 3, keeper_deaths: 1, ..LEASES }));
            all.push(("leases and runs, 1P2C, 2 chunks of 2, 3 messages, 1D", Config { consumers: 2, leasing: 1, rows: 1, messages: 3, ..RUNS }));
            STATE_LIMIT_LONG
        } else {
            STATE_LIMIT
        };
        for (name, config) in all {
            assert_holds(&format!("chunks: {name}"), &Chunks(config), limit);
        }
    }

    #[test]
    #[rustfmt::skip]
    fn chunks_catch_seeded_bugs_of_runs_and_leases() {
        let gets = Config { consumers: 2, messages: 3, deaths: 0, ..RUNS };
        let two = Config { consumers: 2, messages: 2, ..RUNS };
        for (bug, config, expected) in [
            (Bug::HazardOfTheFirst, Config { slots: 1, ..gets }, Caught::Fault(PUNCHED)),
            (Bug::FirstNamed, RUNS, Caught::Stuck),
            (Bug::IntentMovesOn, RUNS, Caught::Stuck),
            (Bug::NeverWithdrawn, two, Caught::Stuck),
            (Bug::RunUnasked, RUNS, Caught::Fault(NOT_THERE)),
            (Bug::PublishedFromBehind, RUNS, Caught::Stuck),
            (Bug::EndsAtTheFinished, two, Caught::Stuck),
            (Bug::GoesOnBehindTheLeft, Config { producers: 2, chunks: 1, messages: 2, fewer: 1, ..RUNS }, Caught::Stuck),
            (Bug::LeftForgotten, two, Caught::Stuck),
            (Bug::DeadCountAsCommitted, two, Caught::Stuck),
            (Bug::HeldAfterCommit, Config { messages: 1, ..LEASES }, Caught::Stuck),
            (Bug::TakenByStore, Config { deaths: 0, ..LEASES }, Caught::Fault(TWICE)),
            (Bug::HuskForgotten, LEASES, Caught::Fault(TWICE)),
            (Bug::RowsFirst, LEASES, Caught::Fault(TWICE)),
            (Bug::RowsForgotten, Config { messages: 1, ..LEASES }, Caught::Stuck),
        ] {
            assert_caught(&format!("chunks: {bug:?}"), &Chunks(Config { bug, ..config }), expected);
        }
    }
}

mod sleep {
    use crate::models::sleep::*;
    use crate::models::{Caught, STATE_LIMIT, assert_caught, assert_holds};

    const TWO: Config = Config { wakers: 2, sleepers: 2, messages: 1, ..Config::SMALL };
    const ONE_EACH: Config = Config { sleepers: 2, one_each: true, ..Config::SMALL };
    const FENCES: Config = Config { symmetric: true, ..Config::SMALL };

    #[test]
    fn no_wake_up_is_lost() {
        for (name, config) in [
            ("1W1S", Config { messages: 3, ..Config::SMALL }),
            ("1W2S", Config { sleepers: 2, ..Config::SMALL }),
            ("2W1S", Config { wakers: 2, ..Config::SMALL }),
            ("2W2S", TWO),
            ("1W2S, one each", ONE_EACH),
            ("2W2S, one each", Config { one_each: true, ..TWO }),
            ("1W1S, fences", Config { messages: 3, ..FENCES }),
            ("2W2S, fences", Config { symmetric: true, ..TWO }),
        ] {
            assert_holds(&format!("sleep: {name}"), &Sleep(config), STATE_LIMIT);
        }
    }

    #[test]
    fn seeded_bugs_lose_one() {
        for (bug, config) in [
            (Bug::AskFirst, Config::SMALL),
            (Bug::NoFence, FENCES),
            (Bug::EpochAfterWake, Config::SMALL),
            (Bug::ClearAlways, Config { one_each: true, ..TWO }),
            (Bug::AskedBehindEpoch, Config { messages: 3, ..Config::SMALL }),
            (Bug::ClearBlindly, TWO),
            (Bug::CountsAnew, Config { messages: 3, ..Config::SMALL }),
            (Bug::EpochLate, Config::SMALL),
            (Bug::NoBarrier, Config::SMALL),
            (Bug::BarrierFirst, Config::SMALL),
            (Bug::NoSecondLook, Config::SMALL),
        ] {
            let model = Sleep(Config { bug: Some(bug), ..config });
            assert_caught(&format!("sleep: {bug:?}"), &model, Caught::Stuck);
        }
    }
}
