//! The same as `kill_points`, for messages in blocks of queues that grow: see there.
//!
//! - `KILL_POINT='put,empty,mm,17' cargo test --release --test kill_points_growing_blocks replay`:
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
#[path = "kill_points/memory.rs"]
mod memory;
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

#[path = "kill_points/growing_blocks.rs"]
mod kind;
#[path = "kill_points/run.rs"]
mod run;

use run::*;

/// The test can fail: this mistake in the library shows at some point.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_caught() {
    let cell = "abort,some,mm";
    assert!(!shows("0", some_of(cell)));
    assert!(shows("62", all_of(cell)));
}
