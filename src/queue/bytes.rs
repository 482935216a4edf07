//! Messages of bytes: a length and the bytes, in the slot or in a block of the arena.

#![allow(unsafe_code)]

use super::error::{PutError, PutManyError};
use super::message::{Message, Sealed, Shape, touch_pages};
use super::port::{Port, Wait};
use crate::primitive::{HEAD_SIZE, Payload};
use crate::ring::{Arena, IN_A_BLOCK, Position, Ring, Sink, Taken};
use crate::segment::{Identity, MessageKind};
use std::borrow::BorrowMut;

/// Messages of bytes, of any length up to the queue's `max_message`.
#[derive(Debug)]
pub enum Bytes {}

impl Sealed for Bytes {}

/// Bytes of a byte slot's payload that hold the message's length, or the number of the
/// block in which it lies.
pub(crate) const LENGTH_SIZE: usize = HEAD_SIZE;

/// What messages are copied by.
const WORD: usize = 8;

/// A byte message on its way out, into a vector or a caller's.
#[doc(hidden)]
#[derive(Debug)]
pub struct BytesRoom<B = Vec<u8>> {
    bytes: B,
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

impl<B: BorrowMut<Vec<u8>>> BytesRoom<B> {
    /// Uses a buffer, which is emptied and grown to the longest message of a slot first, in whole words.
    #[inline(always)]
    pub(crate) fn of(mut buffer: B, payload: usize) -> BytesRoom<B> {
        let longest = payload.saturating_sub(LENGTH_SIZE);
        let bytes = buffer.borrow_mut();
        bytes.clear();
        bytes.reserve_exact(longest.next_multiple_of(WORD));
        BytesRoom { bytes: buffer, longest, found: Found::Message }
    }

    /// Whether the buffer has a message.
    #[inline(always)]
    pub(crate) fn has_message(&self) -> bool {
        matches!(self.found, Found::Message)
    }

    /// Copies the message of a slot, or learns what else is there. Says how much of the payload was
    /// looked at.
    ///
    /// # Safety
    ///
    /// This was made for payloads of that room.
    #[inline(always)]
    unsafe fn read_from(&mut self, payload: Payload) -> usize {
        let words = payload.room() / WORD;
        if words == 0 {
            self.found = Found::Nonsense;
            return 0;
        }
        // SAFETY: there is a word.
        let first = unsafe { payload.read_word(0) };
        let [l0, l1, l2, l3, ..] = first.to_ne_bytes();
        // Read once, then clamped: a peer may have written anything.
        let claimed = u32::from_ne_bytes([l0, l1, l2, l3]);
        let len = claimed as usize;
        if len > self.longest.min(words * WORD - LENGTH_SIZE) {
            self.found = BytesRoom::not_inline(claimed);
            return WORD;
        }
        let bytes = self.bytes.borrow_mut();
        // SAFETY: the message lies in the payload; and it is no longer than the longest, for which
        // `of` made room, for whole words of it. So the first `len` bytes are initialised.
        unsafe {
            payload.read_headed(first, bytes.as_mut_ptr(), len);
            bytes.set_len(len);
        }
        self.found = Found::Message;
        (LENGTH_SIZE + len).next_multiple_of(WORD)
    }

    /// The block in which the slot says that the message lies.
    #[inline(always)]
    fn names(&self) -> Option<u32> {
        if let Found::InBlock(block) = self.found { Some(block) } else { None }
    }

    /// What became of that block.
    fn has_found(&mut self, taken: Option<Taken>) {
        self.found = taken.map_or(Found::Husk, Found::Taken);
    }

    /// Gets the message out of its block, if it lies in one.
    #[inline(always)]
    pub(crate) fn fetch(&mut self, arena: &Arena<'_>) -> bool {
        let Found::Taken(taken) = self.found else { return false };
        let bytes = self.bytes.borrow_mut();
        bytes.clear();
        self.found = if arena.fetch(taken, bytes) { Found::Message } else { Found::Nonsense };
        true
    }

    #[inline(always)]
    fn was_husk(&self) -> bool {
        matches!(self.found, Found::Husk)
    }
}

impl BytesRoom {
    /// What a length that no slot has room for means.
    #[cold]
    fn not_inline(claimed: u32) -> Found {
        if claimed & IN_A_BLOCK != 0 { Found::InBlock(claimed & !IN_A_BLOCK) } else { Found::Nonsense }
    }
}

/// As `RoomFor`, but of a caller's buffer.
impl Sink for BytesRoom<&mut Vec<u8>> {
    #[inline(always)]
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        // SAFETY: it was made for this queue.
        unsafe { self.read_from(payload) }
    }

    #[inline(always)]
    fn keep(&mut self, ring: &Ring<'_>, _at: u64, position: Position, _count: u32) {
        if let Some(block) = self.names() {
            self.has_found(ring.arena.take(block, ring.index, position));
        }
    }

    fn block(&mut self, _at: u64) -> Option<u32> {
        self.names()
    }

    fn found(&mut self, _at: u64, taken: Option<Taken>) {
        self.has_found(taken);
    }

    #[inline(always)]
    fn is_husk(&self) -> bool {
        self.was_husk()
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
        let head = (input.len() as u32).to_ne_bytes();
        // SAFETY: the contract of this function: the length and the bytes fit the payload, which
        // is `LENGTH_SIZE` longer than the longest message, in whole words.
        unsafe { payload.write_headed(head, input.as_ptr(), input.len()) };
    }

    fn room(payload: usize) -> BytesRoom {
        BytesRoom::of(Vec::new(), payload)
    }

    #[inline(always)]
    unsafe fn read(room: &mut BytesRoom, payload: Payload) -> usize {
        // SAFETY: the contract of this function.
        unsafe { room.read_from(payload) }
    }

    #[inline(always)]
    fn block(room: &BytesRoom) -> Option<u32> {
        room.names()
    }

    fn found(room: &mut BytesRoom, taken: Option<Taken>) {
        room.has_found(taken);
    }

    #[inline(always)]
    fn fetch(room: &mut BytesRoom, arena: &Arena<'_>) -> bool {
        room.fetch(arena)
    }

    #[inline(always)]
    fn is_husk(room: &BytesRoom) -> bool {
        room.was_husk()
    }

    fn decode(room: BytesRoom) -> Option<Vec<u8>> {
        room.has_message().then_some(room.bytes)
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// A room is read into again where what came before was a husk, or torn.
    #[test]
    fn a_message_after_a_husk_is_one() {
        let mut slot = [0u64; 8];
        // SAFETY: so many bytes are there, and nobody else uses them meanwhile.
        let payload = unsafe { Payload::new(slot.as_mut_ptr().cast(), size_of_val(&slot)) };
        let mut room = BytesRoom::of(Vec::new(), size_of_val(&slot));
        for before in [IN_A_BLOCK | 7, IN_A_BLOCK - 1] {
            // SAFETY: both were made for this payload.
            unsafe {
                payload.write_headed(before.to_ne_bytes(), std::ptr::null(), 0);
                room.read_from(payload);
                if room.names().is_some() {
                    room.has_found(None);
                }
                assert!(!room.has_message());
                payload.write_headed(3u32.to_ne_bytes(), b"abc".as_ptr(), 3);
                room.read_from(payload);
            }
            assert!(room.has_message() && !room.was_husk() && room.bytes == b"abc");
        }
    }
}
