//! `Process`: functions that run in processes of their own.

ringway::test_support!();

#[path = "processes/basics.rs"]
mod basics;
