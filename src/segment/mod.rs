//! A named piece of shared memory and its life: the file, its name, its header,
//! who is attached and how that is proven.
//!
//! It must not know what its regions are used for.

mod arrival;
mod directory;
mod ground;
mod guard;
#[cfg(feature = "serde")]
mod handed;
mod header;
mod lifecycle;
mod members;
mod stale;
mod survey;
mod watch;

pub(crate) use arrival::Arrival;
pub(crate) use directory::{Directory, SegmentName};
pub use guard::sigbus_guard;
#[cfg(feature = "serde")]
pub(crate) use handed::{Delivered, Handed};
pub(crate) use header::Header;
pub use header::Lifetime;
pub(crate) use header::{Identity, MessageKind, Plan, RegionKind, max_tag};
pub(crate) use lifecycle::{Place, Segment, unix_seconds};
pub(crate) use members::{Keeper, LookedAfter, Member, Proof, Role};
pub(crate) use stale::{Kept, Verdict, clean};
pub(crate) use survey::{Presence, Survey, anonymous, names};
pub(crate) use watch::{Attached, watch};
#[cfg(feature = "serde")]
pub(crate) use watch::{after_deaths, watch_pidfd};

// Private memory that a forked child finds wiped: how a handle learns of it.
pub(crate) use crate::sys::mem::Wiped;
