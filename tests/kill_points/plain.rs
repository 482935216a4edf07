//! Messages that lie in their slots: plain data.

use super::step::Said;
use super::table::{DONE, FAILED, Operation, REFUSED, Share, get};
use super::{BATCH, Message};
use ringway::{GetError, Options, Pod, Producer, Side};
use std::path::Path;

pub type Kind = Pod<Message>;
pub type Out = Message;

pub fn options(capacity: u64) -> Options {
    Options::new(capacity)
}

/// In all combinations of sides.
pub fn has_mode(_: (Side, Side)) -> bool {
    true
}

/// A message as it is put.
#[inline(always)]
pub fn wire(message: &Message) -> Message {
    *message
}

#[inline(always)]
pub fn wires(messages: &[Message; BATCH]) -> [Message; BATCH] {
    *messages
}

/// A message as it came.
#[inline(always)]
pub fn unwire(out: Out) -> Message {
    out
}

/// A get commits by releasing its slot, so that a full queue shows whether it had.
pub const COMMITS_WITH_ITS_SLOT: bool = true;

/// There is nothing but slots.
pub fn nothing_is_kept(_: &Producer<Kind>) -> Result<(), String> {
    Ok(())
}

/// It has all of its memory, always.
pub fn memory(_: &Path) -> Result<u64, String> {
    Ok(0)
}

pub fn idle_memory(_: &Path) -> Result<u64, String> {
    Ok(0)
}

pub const OPERATIONS: &[Operation] = &[get("get_into", 1, |v| {
    let mut message = Message::default();
    match v.consumer().get_into(&mut message) {
        Ok(()) => Said { count: 1, first: message[0], ..DONE },
        Err(GetError::Empty | GetError::TimedOut) => REFUSED,
        Err(_) => FAILED,
    }
})];

/// First deaths for those of which two are taken.
pub const PAIRS: &[&str] = &[
    "put,empty,mm",
    "put_many,wrap,mm",
    "put_many,empty,ms",
    "get,some,mm",
    // Whose slots a put finds in its way.
    "get,full,mm",
    "get_many,full,sm",
    "put,wrap,sm",
    "lease,some,mm",
    "ack,some,ms",
];

/// Which operation in which states.
pub const ROWS: &[(&str, &[&str], Share)] = &[
    ("put", &["empty", "wrap"], Share::All),
    ("put", &["last", "last-cold", "lap", "sleeper", "tomb", "claimed", "claimed-many"], Share::Some),
    ("put", &["back", "taken", "taken-many", "lease-back", "leased"], Share::Some),
    ("try_put", &["empty", "last", "full", "wrap", "lap", "claimed", "taken"], Share::Some),
    ("put_waits", &["full"], Share::Few),
    ("put_many", &["wrap"], Share::All),
    ("put_many", &["empty", "lap", "sleeper", "tomb", "claimed"], Share::Some),
    ("try_put_many", &["last", "full", "taken", "leased", "back", "lease-back"], Share::Some),
    ("get", &["some", "full", "wrap-behind"], Share::All),
    ("get", &["lap-behind", "full-sleeper", "tomb", "back", "lease-back"], Share::Some),
    ("get", &["claimed", "taken"], Share::Few),
    ("try_get", &["empty", "some", "full", "wrap-behind", "tomb", "claimed", "claimed-many"], Share::Some),
    ("try_get", &["back", "taken", "taken-many", "leased", "lease-back"], Share::Some),
    ("get_waits", &["empty"], Share::Few),
    ("get_many", &["some"], Share::All),
    ("get_many", &["full", "wrap-behind", "full-sleeper", "tomb", "back"], Share::Some),
    ("try_get_many", &["empty", "some", "claimed", "taken-many"], Share::Some),
    ("lease", &["some"], Share::All),
    ("lease", &["full", "wrap-behind", "full-sleeper", "tomb", "back", "lease-back"], Share::Some),
    ("lease", &["claimed", "taken", "leased"], Share::Few),
    ("try_lease", &["empty", "some", "claimed", "taken-many"], Share::Some),
    ("ack", &["some"], Share::All),
    ("ack", &["full", "tomb", "back", "lease-back"], Share::Some),
    ("lease_drop", &["some"], Share::All),
    ("lease_drop", &["lease-back"], Share::Some),
    ("task_get", &["some"], Share::All),
    ("task_get", &["wrap-behind", "full-sleeper", "lease-back"], Share::Some),
    ("task_get", &["claimed", "leased"], Share::Few),
    ("task_get_many", &["some"], Share::Some),
    ("task_done", &["some"], Share::All),
    ("task_done", &["full", "lease-back"], Share::Some),
    ("task_join", &["empty", "some", "leased"], Share::Few),
    ("get_into", &["some", "lease-back"], Share::Some),
    ("close", &["empty", "wrap", "full", "sleeper", "tomb", "claimed", "back", "taken"], Share::Some),
    ("recover", &["some", "claimed", "claimed-many", "taken", "taken-many", "leased"], Share::Some),
    ("open", &["some", "claimed", "taken"], Share::Few),
    ("clone", &["some", "claimed"], Share::Few),
    ("producer", &["some", "claimed"], Share::Few),
    ("consumer", &["some", "taken"], Share::Few),
    ("drop_producer", &["some", "wrap"], Share::Few),
    ("drop_consumer", &["some", "wrap-behind"], Share::Few),
    ("drop_handle", &["some"], Share::Few),
];
