//! What passes a queue to another process: the ticket, a text that says where its segment
//! is, the frame in which it goes through a socket, and the list of what goes along with the
//! start of a child.
//!
//! It must not know what a handle is, or what the messages of a queue are.

mod frame;
#[cfg(feature = "serde")]
mod luggage;
mod ticket;

pub(crate) use frame::{receive, send};
#[cfg(feature = "serde")]
pub(crate) use luggage::{
    Item, Luggage, decoding, fail, hand, is_packing, not_reached, packing, take, unpacking, was_not_reached,
};
#[cfg(feature = "serde")]
pub(crate) use ticket::Given;
pub use ticket::Ticket;
pub(crate) use ticket::Whereabouts;
