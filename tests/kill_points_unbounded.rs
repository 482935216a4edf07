//! The same as `kill_points`, for queues that grow and give their memory back: see there.
//!
//! - `KILL_POINT='put,empty,mm,17' cargo test --release --test kill_points_unbounded replay`:
//!   one point again.

#![cfg(target_arch = "x86_64")]
#![allow(unsafe_code)]

mod common;

#[path = "kill_points/account.rs"]
mod account;
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

#[path = "kill_points/unbounded.rs"]
mod kind;
#[path = "kill_points/run.rs"]
mod run;

use run::*;

/// The test can fail: this mistake in the library shows at some point.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_caught() {
    let cell = "try_put,full,mm";
    assert!(!shows("0", some_of(cell)));
    assert!(shows("61", all_of(cell)));
    assert!(shows("64", all_of("put,wrap,mm")));
}
