//! Messages that lie in blocks of the arena.

pub use super::in_place::nothing_is_kept;
use super::table::{Operation, Share};
use super::{BATCH, Message};
use ringway::{Bytes, Options, Side};
use std::path::Path;

pub type Kind = Bytes;
pub type Out = Vec<u8>;

/// Bytes of a message.
pub const LEN: usize = size_of::<Message>();

/// Blocks of the one size that there is: for a full queue, what the dead hold until they
/// are looked after, a sleeper's.
pub const BLOCKS: usize = 12;

pub fn options(capacity: u64) -> Options {
    Options::new(capacity).inline(4).max_message(LEN).arena((BLOCKS * LEN.next_multiple_of(64)) as u64)
}

/// In all combinations of sides.
pub fn has_mode(_: (Side, Side)) -> bool {
    true
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

/// A get commits in the block, and releases the slot then.
pub const COMMITS_WITH_ITS_SLOT: bool = false;

/// It has all of its memory, always.
pub fn memory(_: &Path) -> Result<u64, String> {
    Ok(0)
}

pub fn idle_memory(_: &Path) -> Result<u64, String> {
    Ok(0)
}

pub const OPERATIONS: &[Operation] = super::in_place::OPERATIONS;

/// First deaths for those of which two are taken.
pub const PAIRS: &[&str] = &[
    "put,empty,mm",
    "put,empty,ss",
    "put_many,wrap,mm",
    "get,some,mm",
    "get,full,mm",
    "get,some,ss",
    "commit,wrap,sm",
    "get_ref,some,ms",
    "ack,some,mm",
];

/// Which operation in which states.
pub const ROWS: &[(&str, &[&str], Share)] = &[
    ("put", &["empty"], Share::All),
    (
        "put",
        &["wrap", "last", "lap", "sleeper", "tomb", "claimed", "back", "taken", "lease-back", "leased"],
        Share::Some,
    ),
    ("try_put", &["last", "full", "taken"], Share::Some),
    ("put_waits", &["full"], Share::Few),
    ("put_many", &["wrap", "claimed"], Share::Some),
    ("try_put_many", &["last", "full", "back", "lease-back"], Share::Some),
    ("get", &["some"], Share::All),
    ("get", &["full", "lap-behind", "full-sleeper", "tomb", "back", "lease-back"], Share::Some),
    ("get", &["claimed", "taken"], Share::Few),
    ("try_get", &["empty", "some", "back", "taken", "lease-back"], Share::Some),
    ("get_many", &["some", "wrap-behind", "full-sleeper", "back"], Share::Some),
    ("lease", &["some", "full-sleeper", "back", "lease-back"], Share::Some),
    ("ack", &["some", "back", "lease-back"], Share::Some),
    ("get_into", &["some", "lease-back"], Share::Some),
    ("lease_drop", &["some", "lease-back"], Share::Some),
    ("commit", &["empty"], Share::All),
    ("commit", &["lap", "sleeper"], Share::Some),
    ("try_commit", &["some"], Share::Some),
    ("abort", &["some"], Share::All),
    ("get_ref", &["some"], Share::All),
    ("get_ref", &["full-sleeper", "back", "lease-back"], Share::Some),
    ("keep_ref", &["some", "lease-back"], Share::Some),
    ("close", &["full", "back", "taken"], Share::Some),
    ("task_get", &["some", "lease-back"], Share::Some),
    ("task_get_many", &["some"], Share::Some),
    ("task_done", &["some", "lease-back"], Share::Some),
    ("recover", &["some", "claimed", "taken", "leased"], Share::Some),
    ("drop_producer", &["some"], Share::Few),
    ("drop_consumer", &["some"], Share::Few),
];
