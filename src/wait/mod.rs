//! Sleep and wake: how one side of the queue waits for the other.
//!
//! [`PROTOCOL.md`](PROTOCOL.md) has the argument that no wake-up is lost. This
//! folder knows words and deadlines. It must not know what is waited for (the
//! caller passes the question as a closure), nor who may be dead.

mod attention;
mod deadline;
mod park;
mod policy;

pub(crate) use attention::{Attention, CLOSED};
pub(crate) use deadline::Deadline;
#[cfg(not(loom))]
pub(crate) use park::sleep_on_any;
pub(crate) use park::{Parked, ask, barrier, park};
pub use policy::WaitPolicy;
pub(crate) use policy::{Patience, Spinner};
