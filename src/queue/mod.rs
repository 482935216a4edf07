//! The product: the only place where segment, ring and wait meet.
//!
//! A [`Handle`] is one participant that can put and get; a [`Producer`] or a
//! [`Consumer`] is one that can do one of both. All three are thin: a
//! [`port::Port`] does the work for every kind of message, and [`message`] says
//! how a kind is copied.

pub mod admin;
mod broadcast;
mod bytes;
mod consumer;
mod end;
mod error;
mod get;
mod grow;
mod growth;
mod guards;
mod handle;
mod handover;
mod inspect;
mod large;
mod lease;
mod message;
mod methods;
mod options;
mod port;
mod producer;
mod put;
mod rescue;
mod select;
#[cfg(feature = "serde")]
mod serde;
mod tasks;
mod view;
mod waiting;
mod watch;

#[cfg(feature = "serde")]
pub use self::serde::Serde;
#[cfg(feature = "serde")]
pub use broadcast::Broadcast;
pub use broadcast::{ByteBroadcast, Hearing, PodBroadcast, Publisher, StartAt, Subscriber};
pub use bytes::Bytes;
pub use consumer::{Consumer, Iter, TryIter};
pub use end::{End, Gets, Puts};
pub use error::{EncodeError, GetError, PutError, PutManyError, RangeError};
#[cfg(feature = "serde")]
pub(crate) use growth::free_share;
pub use guards::{Ref, Reserved};
#[cfg(feature = "serde")]
pub use handle::Queue;
pub use handle::{ByteQueue, Handle, PodQueue};
pub use lease::Lease;
pub use message::{Message, Plain, Pod};
pub use options::{Options, SlowConsumers, unlink};
pub use producer::Producer;
pub use select::Select;
pub use tasks::TaskError;
pub use watch::watch;
#[cfg(feature = "serde")]
pub(crate) use watch::watch_child;

// For futures over the same queues.
#[cfg(feature = "async")]
pub(crate) use port::Port;
#[cfg(feature = "async")]
pub(crate) use select::next_turn;
#[cfg(feature = "async")]
pub(crate) use waiting::{Bed, Berth, Now, Want};
