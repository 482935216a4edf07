//! `Pool`: jobs in worker processes.

#![allow(unsafe_code)]

ringway::test_support!();

#[path = "pools/bad_input.rs"]
mod bad_input;
#[path = "pools/basics.rs"]
mod basics;
#[path = "pools/common.rs"]
mod common;
#[cfg(feature = "async")]
#[path = "pools/futures.rs"]
mod futures;
#[path = "common/limit.rs"]
mod limit;
#[path = "pools/more.rs"]
mod more;
#[path = "pools/storms.rs"]
mod storms;
