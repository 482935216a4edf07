//! Futures over the same queues: `into_async()`, `Stream`, `Sink` and a select, for any
//! executor.
//!
//! [`wait/PROTOCOL.md`](../wait/PROTOCOL.md) has the rules (A1, A2, ...) by which futures sleep
//! beside blocking callers. A future makes one attempt, and if it finds nothing asks to be woken
//! as a blocking caller does; only the sleep itself (S5) is somebody else's: a thread of this
//! process, or a ring of the kernel's that the user's own runtime watches. This folder must not
//! know what a ring of messages is, nor who may be dead: the queue looks at each attempt.

mod driver;
mod futures;
mod handle;
mod select;
mod sink;
mod sleepers;
mod stream;
mod table;
mod waiter;

pub use driver::Driver;
pub use futures::{GetFuture, GetManyFuture, PutFuture};
pub use handle::{Async, AsyncConsumer, AsyncHandle, AsyncProducer};
pub use select::AsyncSelect;
pub use sink::{Item, PutSink};
