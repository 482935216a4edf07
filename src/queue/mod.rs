//! The product: the only place where segment, ring and wait meet.
//!
//! A [`Handle`] is one participant that can put and get; a [`Producer`] or a
//! [`Consumer`] is one that can do one of both. All three are thin: a
//! [`port::Port`] does the work for every kind of message, and [`message`] says
//! how a kind is copied.

pub mod admin;
mod consumer;
mod error;
mod get;
mod handle;
mod handover;
mod inspect;
mod lease;
mod message;
mod methods;
mod options;
mod port;
mod producer;
mod put;
mod rescue;
mod tasks;
mod view;
mod watch;

pub use consumer::{Consumer, Iter, TryIter};
pub use error::{GetError, PutError, PutManyError};
pub use handle::{ByteQueue, Handle, PodQueue};
pub use lease::Lease;
pub use message::{Bytes, Message, Plain, Pod};
pub use options::{Options, unlink};
pub use producer::Producer;
pub use tasks::TaskError;
pub use watch::watch;
