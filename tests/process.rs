//! `Process`: functions that run in processes of their own.
//!
//! Whatever is a parent here that is to exit or to die is a child of the test.

#![allow(unsafe_code)]

ringway::test_support!();

#[path = "processes/basics.rs"]
mod basics;
#[path = "processes/common.rs"]
mod common;
#[path = "processes/endings.rs"]
mod endings;
#[path = "processes/lifetime.rs"]
mod lifetime;
#[path = "processes/queues.rs"]
mod queues;
#[path = "processes/warm.rs"]
mod warm;
