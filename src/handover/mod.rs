//! What passes a queue to another process: the ticket, a text that says where its segment
//! is, and the frame in which it goes through a socket.
//!
//! It must not know what a handle is, or what the messages of a queue are.

mod frame;
mod ticket;

pub(crate) use frame::{receive, send};
pub use ticket::Ticket;
pub(crate) use ticket::Whereabouts;
