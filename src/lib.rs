#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// A rare event, for the `log` facade: never on the hot path.
macro_rules! event {
    ($($argument:tt)*) => {{
        #[cfg(feature = "log")]
        log::info!($($argument)*);
        #[cfg(not(feature = "log"))]
        let _ = format_args!($($argument)*);
    }};
}
pub(crate) use event;

mod error;
mod primitive;
mod queue;
mod ring;
mod segment;
mod sys;
mod wait;

pub use error::{SetupError, SetupErrorKind};
pub use queue::{
    ByteQueue, Bytes, Consumer, GetError, Handle, Iter, Message, Options, Plain, Pod, PodQueue, Producer, PutError,
    PutManyError, TryIter, unlink,
};
pub use ring::Side;
pub use segment::Lifetime;
pub use wait::WaitPolicy;
