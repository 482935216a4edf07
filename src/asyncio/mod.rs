//! Futures over the same queues: `into_async()`, `Stream`, `Sink` and a select, for any
//! executor.
//!
//! [`wait/PROTOCOL.md`](../wait/PROTOCOL.md) has the rules (A1, A2, ...) by which futures sleep
//! beside blocking callers. A future makes one attempt, and if it finds nothing asks to be woken
//! as a blocking caller does; only the sleep itself (S5) is somebody else's: a thread of this
//! process, or a ring of the kernel's that the user's own runtime watches. This folder must not
//! know what a ring of messages is, nor who may be dead: the queue looks at each attempt.
//!
//! *Who wakes.* `into_async()` alone always uses the thread, also where the kernel has io_uring: an
//! executor is not known here, and nobody else could hear what the kernel says. io_uring is used by
//! `into_async_on(&driver)`, where the caller's loop dispatches the [`Driver`]; if io_uring is refused
//! that is the thread, too. A third form, an eventfd that was handed over, is not built: whoever puts
//! would have to write to it, with a system call for each message, and to have it in every process;
//! the driver's descriptor can be watched wherever an eventfd could.

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
