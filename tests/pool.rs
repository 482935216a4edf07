//! `Pool`: jobs in worker processes.

#![allow(unsafe_code)]

ringway::test_support!();

#[path = "pools/basics.rs"]
mod basics;
#[path = "pools/common.rs"]
mod common;
#[path = "common/limit.rs"]
mod limit;
#[path = "pools/storms.rs"]
mod storms;
