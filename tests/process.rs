//! `Process`: functions that run in processes of their own.
//!
//! Whatever is a parent here that is to exit or to die is a child of the test.

#![allow(unsafe_code)]

ringway::test_support!();

#[path = "processes/basics.rs"]
mod basics;
#[path = "processes/common.rs"]
mod common;
#[cfg(ringway_seeded)]
#[path = "common/control.rs"]
mod control;
#[path = "processes/endings.rs"]
mod endings;
#[path = "processes/lifetime.rs"]
mod lifetime;
#[path = "common/limit.rs"]
mod limit;
#[path = "processes/queues.rs"]
mod queues;
#[path = "common/refuse.rs"]
mod refuse;
#[path = "processes/warm.rs"]
mod warm;

#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    let lost: &[&str] = &["PeersGone", "it comes"];
    control::fails_with_seeds("queues::a_child_counts_from_the_start_on", &[(70, lost)]);
    control::fails_with_seeds("lifetime::when_the_parent_is_killed_all_end", &[(71, &["killed.elapsed()"])]);
}
