#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

// Under loom only the algorithm is compiled: `primitive`, `ring` and `wait`.
#[cfg(all(feature = "async", not(loom)))]
mod asyncio;
#[cfg(not(loom))]
mod error;
#[cfg(not(loom))]
mod event;
#[cfg(not(loom))]
mod handover;
#[cfg(all(test, loom))]
mod loom_blocks;
#[cfg(all(test, loom))]
mod loom_crashes;
#[cfg(all(test, loom))]
mod loom_growth;
#[cfg(all(test, loom))]
mod loom_models;
#[cfg(all(feature = "serde", not(loom)))]
mod pool;
#[cfg_attr(loom, allow(dead_code, unused_imports))]
mod primitive;
#[cfg(all(feature = "serde", not(loom)))]
mod process;
#[cfg(not(loom))]
mod queue;
#[cfg_attr(loom, allow(dead_code, unused_imports))]
mod ring;
#[cfg(not(loom))]
mod segment;
#[cfg_attr(loom, allow(dead_code, unused_imports))]
mod sys;
#[cfg_attr(loom, allow(dead_code, unused_imports))]
mod wait;

#[cfg(all(feature = "async", not(loom)))]
pub use asyncio::{
    Async, AsyncConsumer, AsyncHandle, AsyncProducer, AsyncSelect, Driver, GetFuture, GetManyFuture, Item, PutFuture,
    PutSink,
};
#[cfg(not(loom))]
pub use error::{SetupError, SetupErrorKind};
#[cfg(not(loom))]
pub(crate) use event::event;
#[cfg(not(loom))]
pub use handover::Ticket;
#[cfg(all(feature = "serde", not(loom)))]
pub use pool::{
    Chunked, Imap, ImapUnordered, Job, JobError, JobFailure, MapJob, Pool, PoolBuilder, PoolError, PoolStats,
    WorkerStats,
};
#[cfg(all(feature = "serde", not(loom)))]
pub use process::{
    Child, CurrentProcess, ExitStatus, Function, ParentProcess, Process, ProcessError, Run, Stream, active_children,
    cpu_count, current_process, init, parent_process, start_up,
};
#[cfg(all(feature = "serde", not(loom)))]
pub use queue::{Broadcast, Queue, Serde};
#[cfg(not(loom))]
pub use queue::{
    ByteBroadcast, ByteQueue, Bytes, Consumer, EncodeError, End, GetError, Gets, Handle, Hearing, Iter, Lease, Message,
    Options, Plain, Pod, PodBroadcast, PodQueue, Producer, Publisher, PutError, PutManyError, Puts, RangeError, Ref,
    Reserved, Select, SlowConsumers, StartAt, Subscriber, TaskError, TryIter, admin, unlink, watch,
};
#[cfg(all(doctest, feature = "serde", not(loom)))]
#[doc = include_str!("../docs/from-multiprocessing.md")]
struct FromMultiprocessing;

pub use ring::Side;
#[cfg(not(loom))]
pub use segment::{Lifetime, sigbus_guard};
pub use wait::WaitPolicy;
