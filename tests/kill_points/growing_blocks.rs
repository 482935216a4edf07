//! Messages in blocks of a queue that grows: each slot is a chunk, a page of its own, and so is
//! each block; pages come and go with every message.

pub use super::in_place::nothing_is_kept;
pub use super::memory::{idle_memory, memory};
use super::table::{Operation, Share};
use super::{BATCH, Message};
use ringway::{Bytes, Options, Side};

pub type Kind = Bytes;
pub type Out = Vec<u8>;

const PAGE: usize = 4096;
/// With its length and its stamp, such a message fills a page: a slot.
const INLINE: usize = PAGE - 12;
/// Bytes of a message: more than that, and all that a block has.
pub const LEN: usize = PAGE;
/// A quarter of the cap is for slots.
pub const BLOCKS: usize = 3 * super::CAPACITY as usize;

pub fn options(capacity: u64) -> Options {
    Options::unbounded().inline(INLINE).max_message(LEN).cap(4 * capacity * PAGE as u64)
}

pub fn has_mode(sides: (Side, Side)) -> bool {
    sides == (Side::Multi, Side::Multi)
}

/// A message as it is put: its words, and zeros.
#[inline(always)]
pub fn wire(message: &Message) -> &'static [u8] {
    padded(message, 0)
}

#[inline(always)]
pub fn wires(messages: &[Message; BATCH]) -> [&'static [u8]; BATCH] {
    std::array::from_fn(|at| padded(&messages[at], at))
}

/// What it returns is put before the same place is asked for again.
fn padded(message: &Message, at: usize) -> &'static [u8] {
    static mut PLACES: [[u8; LEN]; BATCH] = [[0; LEN]; BATCH];
    // SAFETY: victims, sleepers and lanes have one thread, in which nobody has such a slice any
    // more when the next one is made: it lives for one call of a put.
    unsafe {
        let place = (&raw mut PLACES[at]).cast::<u8>();
        place.copy_from_nonoverlapping(message.as_ptr().cast(), size_of::<Message>());
        std::slice::from_raw_parts(place, LEN)
    }
}

/// A message as it came. One of another length, or with something behind it, is no message.
#[inline(always)]
pub fn unwire(out: Out) -> Message {
    let (words, rest) = out.split_at(out.len().min(size_of::<Message>()));
    let is_whole = out.len() == LEN && rest.iter().all(|byte| *byte == 0);
    bytemuck::try_pod_read_unaligned(words).ok().filter(|_| is_whole).unwrap_or_default()
}

/// A get commits in the block, and releases the slot then.
pub const COMMITS_WITH_ITS_SLOT: bool = false;

pub const OPERATIONS: &[Operation] = super::in_place::OPERATIONS;

/// First deaths for those of which two are taken.
pub const PAIRS: &[&str] = &["put,empty,mm", "put_many,wrap,mm", "get,some,mm", "commit,lap,mm", "get_ref,some,mm"];

/// Which operation in which states.
pub const ROWS: &[(&str, &[&str], Share)] = &[
    ("put", &["empty", "wrap", "lap", "sleeper", "tomb", "claimed", "back", "taken", "leased"], Share::Some),
    ("try_put", &["full", "last"], Share::Some),
    ("put_many", &["wrap"], Share::Some),
    ("get", &["some", "full", "full-sleeper", "tomb", "back", "lease-back"], Share::Some),
    ("get_many", &["some", "back"], Share::Some),
    ("lease", &["some", "lease-back"], Share::Some),
    ("ack", &["some", "back"], Share::Some),
    ("lease_drop", &["some"], Share::Some),
    ("get_into", &["some"], Share::Some),
    ("commit", &["empty", "lap", "sleeper"], Share::Some),
    ("try_commit", &["some"], Share::Some),
    // Most steps of the others copy a page.
    ("abort", &["some", "full"], Share::All),
    ("get_ref", &["some"], Share::All),
    ("get_ref", &["full-sleeper", "lease-back"], Share::Some),
    ("keep_ref", &["some"], Share::Some),
    ("task_done", &["some"], Share::Some),
    ("close", &["full", "taken"], Share::Some),
    ("recover", &["some", "claimed", "taken", "leased"], Share::Some),
    ("drop_consumer", &["some"], Share::Few),
];
