//! Messages that lie in blocks of the arena.

use super::step::Said;
use super::table::{DONE, FAILED, Operation, REFUSED, Share, get, put, put_said};
use super::{BATCH, Message};
use ringway::{Bytes, Options, Producer, PutError, Side};
use std::path::Path;

pub type Kind = Bytes;
pub type Out = Vec<u8>;

/// Blocks of the one size that there is: for a full queue, what the dead hold until they
/// are looked after, a sleeper's.
const BLOCKS: usize = 12;

pub fn options(capacity: u64) -> Options {
    let size = size_of::<Message>();
    Options::new(capacity).inline(4).max_message(size).arena((BLOCKS * size.next_multiple_of(64)) as u64)
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

/// All blocks are free.
pub fn nothing_is_kept(producer: &Producer<Kind>) -> Result<(), String> {
    let mut free = Vec::new();
    loop {
        match producer.try_reserve(size_of::<Message>()) {
            Ok(block) => free.push(block),
            Err(PutError::Full(())) if free.len() == BLOCKS => return Ok(()),
            other => return Err(format!("{} of {BLOCKS} blocks are free: {other:?}", free.len())),
        }
    }
}

/// It has all of its memory, always.
pub fn memory(_: &Path) -> Result<u64, String> {
    Ok(0)
}

pub const OPERATIONS: &[Operation] = &[
    put("commit", 1, |v| {
        let reserved = v.producer().reserve(size_of::<Message>());
        let Ok(mut block) = reserved else { return FAILED };
        if block.copy_from_slice(wire(&v.batch[0])).is_err() {
            return FAILED;
        }
        put_said(block.commit())
    }),
    put("try_commit", 1, |v| {
        let Ok(mut block) = v.producer().try_reserve(size_of::<Message>()) else { return FAILED };
        if block.copy_from_slice(wire(&v.batch[0])).is_err() {
            return FAILED;
        }
        put_said(block.try_commit())
    }),
    put("abort", 0, |v| {
        drop(v.producer().reserve(size_of::<Message>()));
        DONE
    }),
    get("get_into", 1, |v| {
        let mut message = v.out.pop().unwrap_or_default();
        match v.consumer().get_into(&mut message) {
            Ok(_) => Said { count: 1, first: unwire(message)[0], ..DONE },
            Err(ringway::GetError::Empty) => REFUSED,
            Err(_) => FAILED,
        }
    }),
    // What a dead one has not let go of comes back; what it has is consumed.
    get("get_ref", 1, |v| match v.consumer().get_ref() {
        Ok(message) => {
            let mut first = [0; 8];
            if message.copy_to_slice(0, &mut first).is_err() {
                return FAILED;
            }
            drop(message);
            Said { count: 1, first: u64::from_ne_bytes(first), ..DONE }
        }
        Err(ringway::GetError::Empty) => REFUSED,
        Err(_) => FAILED,
    }),
    Operation {
        loses: 0,
        ..get("keep_ref", 1, |v| match v.consumer().try_get_ref() {
            Ok(message) => {
                std::mem::forget(message);
                DONE
            }
            Err(ringway::GetError::Empty) => REFUSED,
            Err(_) => FAILED,
        })
    },
];

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
    ("commit", &["empty", "lap", "sleeper"], Share::Some),
    ("try_commit", &["some"], Share::Some),
    ("abort", &["some"], Share::Some),
    ("get_ref", &["some", "full-sleeper", "back", "lease-back"], Share::Some),
    ("keep_ref", &["some", "lease-back"], Share::Some),
    ("close", &["full", "back", "taken"], Share::Some),
    ("task_get", &["some", "lease-back"], Share::Some),
    ("task_get_many", &["some"], Share::Some),
    ("task_done", &["some", "lease-back"], Share::Some),
    ("recover", &["some", "claimed", "taken", "leased"], Share::Some),
    ("drop_producer", &["some"], Share::Few),
    ("drop_consumer", &["some"], Share::Few),
];
