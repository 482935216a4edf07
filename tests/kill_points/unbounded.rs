//! Messages of a queue that grows: each slot is a chunk, a page of its own, so that every put
//! allocates one and every get gives one back.

pub use super::memory::{idle_memory, memory};
use super::table::{Operation, Share};
use super::{BATCH, Message};
use ringway::{Bytes, Options, Producer, Side};

pub type Kind = Bytes;
pub type Out = Vec<u8>;

const PAGE: u64 = 4096;
/// With its length and its stamp, such a message fills a page.
const INLINE: usize = PAGE as usize - 12;

pub fn options(capacity: u64) -> Options {
    Options::unbounded().inline(INLINE).max_message(INLINE).cap(capacity * PAGE)
}

pub fn has_mode(sides: (Side, Side)) -> bool {
    sides == (Side::Multi, Side::Multi)
}

/// A message as it is put.
#[inline(always)]
pub fn wire(message: &Message) -> &[u8] {
    bytemuck::bytes_of(message)
}

#[inline(always)]
pub fn wires(messages: &[Message; BATCH]) -> [&[u8]; BATCH] {
    messages.each_ref().map(wire)
}

/// A message as it came. One of another length is no message.
#[inline(always)]
pub fn unwire(out: Out) -> Message {
    bytemuck::try_pod_read_unaligned(&out).unwrap_or_default()
}

/// A get commits by releasing its slot, but the chunk may be a dead one's still.
pub const COMMITS_WITH_ITS_SLOT: bool = false;

/// There is nothing but slots.
pub fn nothing_is_kept(_: &Producer<Kind>) -> Result<(), String> {
    Ok(())
}

/// No other operations.
pub const OPERATIONS: &[Operation] = &[];

/// First deaths for those of which two are taken.
pub const PAIRS: &[&str] = &[
    "put,empty,mm",
    "put,lap,mm",
    "put_many,wrap,mm",
    "get,some,mm",
    "get,full,mm",
    "get_many,full,mm",
    "lease,some,mm",
];

/// Which operation in which states.
pub const ROWS: &[(&str, &[&str], Share)] = &[
    ("put", &["empty", "lap", "wrap"], Share::All),
    ("put", &["last", "sleeper", "tomb", "claimed", "back", "taken", "lease-back", "leased"], Share::Some),
    ("try_put", &["empty", "last", "full", "lap", "taken"], Share::Some),
    ("put_waits", &["full"], Share::Few),
    ("put_many", &["wrap", "empty", "lap", "claimed"], Share::Some),
    ("try_put_many", &["last", "full", "taken"], Share::Some),
    ("get", &["some", "full"], Share::All),
    ("get", &["lap-behind", "full-sleeper", "tomb", "back", "lease-back"], Share::Some),
    ("try_get", &["empty", "some", "full", "back", "taken", "claimed"], Share::Some),
    ("get_many", &["some", "full", "wrap-behind", "back"], Share::Some),
    ("lease", &["some", "full-sleeper", "back", "lease-back"], Share::Some),
    ("ack", &["some", "lease-back"], Share::Some),
    ("lease_drop", &["some", "lease-back"], Share::Some),
    ("task_get", &["some", "lease-back"], Share::Some),
    ("task_done", &["some"], Share::Some),
    ("close", &["full", "back", "taken"], Share::Some),
    ("recover", &["some", "full", "claimed", "taken", "leased"], Share::Some),
    ("open", &["some", "taken"], Share::Few),
    ("drop_producer", &["some"], Share::Few),
    ("drop_consumer", &["some"], Share::Few),
];
