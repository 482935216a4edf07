//! Messages of bytes: a length and the bytes, in the slot or in a block of the arena.

#![allow(unsafe_code)]

use super::error::{PutError, PutManyError};
use super::message::{Message, Sealed, Shape, touch_pages};
use super::port::{Port, Wait};
use crate::primitive::Payload;
use crate::ring::{Arena, IN_A_BLOCK, Taken};
use crate::segment::{Identity, MessageKind};

/// Messages of bytes, of any length up to the queue's `max_message`.
#[derive(Debug)]
pub enum Bytes {}

impl Sealed for Bytes {}

/// Bytes of a byte slot's payload that hold the message's length, or the number of the
/// block in which it lies.
pub(crate) const LENGTH_SIZE: usize = 4;

/// Bytes of a message that share the first word with its length.
const HEAD_BYTES: usize = 4;

/// A byte message on its way out.
#[doc(hidden)]
#[derive(Debug)]
pub struct BytesRoom {
    bytes: Vec<u8>,
    /// The longest message of a slot: it may have room for a few bytes more.
    longest: usize,
    found: Found,
}

/// What the slot said.
#[derive(Clone, Copy, Debug)]
enum Found {
    /// The message is in the room.
    Message,
    /// Neither a length nor a block.
    Nonsense,
    /// The message lies in that block, if the position fits.
    InBlock(u32),
    /// It does, and it is ours.
    Taken(Taken),
    /// It did, and somebody else has it.
    Husk,
}

impl BytesRoom {
    /// Reuses a buffer, which is grown to the longest message of a slot first.
    pub(crate) fn reuse(mut bytes: Vec<u8>, payload: usize) -> BytesRoom {
        let longest = payload.saturating_sub(LENGTH_SIZE);
        bytes.clear();
        bytes.reserve_exact(longest);
        BytesRoom { bytes, longest, found: Found::Message }
    }

    pub(crate) fn into_buffer(self) -> (Vec<u8>, bool) {
        (self.bytes, matches!(self.found, Found::Message))
    }

    /// What a length that no slot has room for means.
    #[cold]
    fn not_inline(claimed: u32) -> Found {
        if claimed & IN_A_BLOCK != 0 { Found::InBlock(claimed & !IN_A_BLOCK) } else { Found::Nonsense }
    }
}

// SAFETY: `write` and `read` clamp the length to the payload behind it.
unsafe impl Message for Bytes {
    type In<'a> = &'a [u8];
    type Back = ();
    type Out = Vec<u8>;
    type Room = BytesRoom;

    fn shape(type_tag: Option<String>) -> Shape {
        let element = Identity { size: 1, align: 1, tag: type_tag.unwrap_or_else(|| "bytes".into()) };
        Shape { kind: MessageKind::Bytes, element, fixed_payload: None }
    }

    const FIXED_LEN: bool = false;

    #[inline(always)]
    fn put_through(port: &Port, value: &[u8], wait: Wait) -> Result<(), PutError<()>> {
        if value.len() > port.inline { port.put_large(value, wait) } else { port.put::<Bytes>(value, wait) }
    }

    fn put_again(port: &Port, value: &&[u8]) -> Result<(), PutError<()>> {
        Bytes::put_through(port, value, Wait::No)
    }

    fn put_many_through(port: &Port, values: &[&[u8]], wait: Wait) -> Result<usize, PutManyError> {
        let are_short = values.iter().all(|value| value.len() <= port.inline);
        if are_short { port.put_many::<Bytes>(values, wait) } else { port.put_mixed(values, wait) }
    }

    #[inline(always)]
    fn len(input: &&[u8]) -> usize {
        input.len()
    }

    fn give_back(_: &[u8]) {}

    #[inline(always)]
    fn touch(input: &&[u8]) {
        touch_pages(input.as_ptr(), input.len());
    }

    fn touch_all(inputs: &[&[u8]]) {
        inputs.iter().for_each(Bytes::touch);
    }

    #[inline(always)]
    unsafe fn write(input: &&[u8], payload: Payload, _skip: usize) {
        let (start, rest) = input.split_at(input.len().min(HEAD_BYTES));
        let [l0, l1, l2, l3] = (input.len() as u32).to_ne_bytes();
        let [b0, b1, b2, b3] = match start.first_chunk::<HEAD_BYTES>() {
            Some(start) => *start,
            None => std::array::from_fn(|at| start.get(at).copied().unwrap_or(0)),
        };
        let head = [l0, l1, l2, l3, b0, b1, b2, b3];
        // SAFETY: the contract of this function; the length word and the bytes fit
        // the payload, which is `LENGTH_SIZE` longer than the longest message. Of
        // the head only as many bytes are written as the payload has.
        unsafe {
            payload.write(0, head.as_ptr(), head.len().min(payload.room()));
            if !rest.is_empty() {
                payload.write_padded(head.len(), rest.as_ptr(), rest.len());
            }
        }
    }

    fn room(payload: usize) -> BytesRoom {
        BytesRoom::reuse(Vec::new(), payload)
    }

    #[inline(always)]
    unsafe fn read(room: &mut BytesRoom, payload: Payload) -> usize {
        let mut head = [0; LENGTH_SIZE + HEAD_BYTES];
        // SAFETY: the contract of this function; not more than the slot has.
        unsafe { payload.read(0, head.as_mut_ptr(), head.len().min(payload.room())) };
        let (len, start) = head.split_at(LENGTH_SIZE);
        // Read once, then clamped: a peer may have written anything.
        let claimed = len.try_into().map_or(IN_A_BLOCK - 1, u32::from_ne_bytes);
        let longest = payload.room().saturating_sub(LENGTH_SIZE).min(room.longest).min(room.bytes.capacity());
        let fits = claimed as usize <= longest;
        room.found = if fits { Found::Message } else { BytesRoom::not_inline(claimed) };
        let len = if fits { claimed as usize } else { 0 };
        if len <= HEAD_BYTES {
            room.bytes.extend_from_slice(&start[..len]);
        } else {
            // Whole words, where there is room for them: what comes behind the message is not looked at.
            let behind = (payload.room() - head.len()).min(room.bytes.capacity() - HEAD_BYTES);
            let rest = (len - HEAD_BYTES).next_multiple_of(8).min(behind);
            room.bytes.extend_from_slice(start);
            // SAFETY: `len` fits both the slot behind the length word and the
            // capacity of the buffer, and so does `rest`, which is no less than what of `len` is not in
            // the first word: the first `len` bytes are then initialised.
            unsafe {
                payload.read(head.len(), room.bytes.as_mut_ptr().add(HEAD_BYTES), rest);
                room.bytes.set_len(len);
            }
        }
        (LENGTH_SIZE + len).next_multiple_of(8).min(payload.room())
    }

    #[inline(always)]
    fn block(room: &BytesRoom) -> Option<u32> {
        if let Found::InBlock(block) = room.found { Some(block) } else { None }
    }

    fn found(room: &mut BytesRoom, taken: Option<Taken>) {
        room.found = taken.map_or(Found::Husk, Found::Taken);
    }

    #[inline(always)]
    fn fetch(room: &mut BytesRoom, arena: Arena<'_>) -> bool {
        let Found::Taken(taken) = room.found else { return false };
        room.bytes.clear();
        room.found = if arena.fetch(taken, &mut room.bytes) { Found::Message } else { Found::Nonsense };
        true
    }

    #[inline(always)]
    fn is_husk(room: &BytesRoom) -> bool {
        matches!(room.found, Found::Husk)
    }

    fn decode(room: BytesRoom) -> Option<Vec<u8>> {
        matches!(room.found, Found::Message).then_some(room.bytes)
    }

    type Batch = Vec<BytesRoom>;

    fn batch(out: &mut Vec<Vec<u8>>, count: usize, payload: usize) -> Self::Batch {
        out.reserve(count);
        (0..count).map(|_| Bytes::room(payload)).collect()
    }

    fn room_of(rooms: &mut Self::Batch, at: usize) -> Option<&mut BytesRoom> {
        rooms.get_mut(at)
    }

    #[inline(always)]
    unsafe fn read_at(rooms: &mut Self::Batch, at: usize, payload: Payload) -> usize {
        let Some(room) = rooms.get_mut(at) else { return 0 };
        // SAFETY: the contract of this function.
        unsafe { Bytes::read(room, payload) }
    }

    unsafe fn finish_batch(rooms: Self::Batch, filled: usize, out: &mut Vec<Vec<u8>>) -> usize {
        let mut bad = 0;
        for room in rooms.into_iter().take(filled) {
            bad += usize::from(matches!(room.found, Found::Nonsense));
            out.extend(Bytes::decode(room));
        }
        bad
    }
}
