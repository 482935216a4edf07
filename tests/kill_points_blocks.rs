//! The same as `kill_points`, for messages that lie in blocks of the arena: see there.
//!
//! - `KILL_POINT='put,empty,mm,17' cargo test --release --test kill_points_blocks replay`:
//!   one point again.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

mod common;

#[path = "kill_points/account.rs"]
mod account;
#[path = "kill_points/in_place.rs"]
mod in_place;
#[path = "kill_points/lane.rs"]
mod lane;
#[path = "kill_points/plan.rs"]
mod plan;
#[path = "kill_points/scene.rs"]
mod scene;
#[path = "kill_points/step.rs"]
mod step;
#[path = "kill_points/survivors.rs"]
mod survivors;
#[path = "kill_points/table.rs"]
mod table;
#[path = "kill_points/victim.rs"]
mod victim;

#[path = "kill_points/blocks.rs"]
mod kind;
#[path = "kill_points/run.rs"]
mod run;

use run::*;

/// The test can fail: each of these mistakes in the library shows at some point.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_caught() {
    for (seed, cell) in [("9", "get,some,mm"), ("10", "put,empty,ss")] {
        assert!(!shows("0", some_of(cell)), "{cell}");
        assert!(shows(seed, all_of(cell)), "seed {seed}");
    }
    assert!(!shows("0", beside_a_successor()));
    assert!(shows("15", beside_a_successor()), "seed 15");
}
