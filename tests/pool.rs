//! `Pool`: jobs in worker processes.

#![allow(unsafe_code)]

ringway::test_support!();

#[path = "pools/bad_input.rs"]
mod bad_input;
#[path = "pools/basics.rs"]
mod basics;
#[path = "pools/common.rs"]
mod common;
#[cfg(ringway_seeded)]
#[path = "common/control.rs"]
mod control;
#[path = "pools/cpython.rs"]
mod cpython;
#[path = "pools/crashes.rs"]
mod crashes;
#[path = "pools/ends.rs"]
mod ends;
#[cfg(feature = "async")]
#[path = "pools/futures.rs"]
mod futures;
#[path = "common/limit.rs"]
mod limit;
#[path = "pools/more.rs"]
mod more;
#[path = "pools/options.rs"]
mod options;
#[path = "pools/restarts.rs"]
mod restarts;
#[path = "common/skip.rs"]
mod skip;
#[path = "pools/storms.rs"]
mod storms;
#[path = "pools/waits.rs"]
mod waits;

#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    control::fails_with_seeds("storms::all_workers_at_once", &[(80, &["NotReady"])]);
    control::fails_with_seeds("storms::workers_are_killed_while_jobs_run", &[(81, &["NotReady"])]);
    control::fails_with_seeds("waits::the_end_of_a_map_that_waits_for_memory", &[(82, &["has no end"])]);
}
