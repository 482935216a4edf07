//! Messages of any type that serde knows: encoded with postcard, a compact and stable
//! format (<https://postcard.jamesmunns.com>).
//!
//! User code (`Serialize`, `Deserialize`) runs before a place in the queue is claimed and
//! after it was released, never between. What is short is encoded on the stack, what is
//! long straight into its block: it is first measured, then encoded. So a put allocates nothing,
//! with one exception: what is longer than the stack has room for and yet fits a slot (a larger
//! [`inline`](crate::Options::inline), broadcasts) is encoded into a `Vec` before it is copied, since
//! a claim must not wait for user code.

use super::bytes::{Bytes, BytesRoom};
use super::error::{EncodeError, PutError, PutManyError};
use super::message::{Message, Sealed, Shape, last_segment};
use super::port::{Port, Wait};
use crate::handover;
use crate::primitive::Payload;
use crate::ring::{Arena, Taken};
use crate::segment::{Identity, MessageKind};
use postcard::ser_flavors::{Flavor, Size};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// Messages of one type that serde can encode and decode.
pub struct Serde<T>(PhantomData<fn(T) -> T>);

impl<T> Sealed for Serde<T> {}

/// Longest message that is encoded on the stack, in bytes.
const SMALL: usize = 256;

// SAFETY: all bytes are copied by `Bytes`.
#[allow(unsafe_code)]
unsafe impl<T: Serialize + DeserializeOwned + 'static> Message for Serde<T> {
    type In<'a> = T;
    type Back = T;
    type Out = T;
    type Room = BytesRoom;

    fn shape(type_tag: Option<String>) -> Shape {
        let tag = type_tag.unwrap_or_else(|| last_segment(std::any::type_name::<T>()).to_owned());
        // Not what one compiler makes of the type: both sides only agree on the encoding.
        let element = Identity { size: 0, align: 1, tag };
        Shape { kind: MessageKind::Serde, element, fixed_payload: None }
    }

    fn cast_through(port: &Port, value: T, wait: Wait) -> Result<(), PutError<T>> {
        cast_encoded(port, &value, wait).map_err(|refused| refused.map(|()| value))
    }

    fn cast_many_through(port: &Port, values: &[T], wait: Wait) -> Result<usize, PutManyError> {
        one_by_one(values, wait, |value| cast_encoded(port, value, wait))
    }

    const FIXED_LEN: bool = false;

    fn put_through(port: &Port, value: T, wait: Wait) -> Result<(), PutError<T>> {
        put_encoded(port, &value, wait).map_err(|refused| refused.map(|()| value))
    }

    /// Encodes it anew each time.
    fn put_again(port: &Port, value: &T) -> Result<(), PutError<()>> {
        put_encoded(port, value, Wait::No)
    }

    fn put_many_through(port: &Port, values: &[T], wait: Wait) -> Result<usize, PutManyError> {
        one_by_one(values, wait, |value| put_encoded(port, value, wait))
    }

    fn len(_: &T) -> usize {
        0
    }

    fn give_back(value: T) -> T {
        value
    }

    fn touch(_: &T) {}

    fn touch_all(_: &[T]) {}

    unsafe fn write(_: &T, _: Payload, _: usize) {}

    fn room(payload: usize) -> BytesRoom {
        Bytes::room(payload)
    }

    #[inline(always)]
    unsafe fn read(room: &mut BytesRoom, payload: Payload) -> usize {
        // SAFETY: the contract of this function.
        unsafe { Bytes::read(room, payload) }
    }

    #[inline(always)]
    fn block(room: &BytesRoom) -> Option<u32> {
        Bytes::block(room)
    }

    fn found(room: &mut BytesRoom, taken: Option<Taken>) {
        Bytes::found(room, taken);
    }

    #[inline(always)]
    fn fetch(room: &mut BytesRoom, arena: &Arena<'_>) -> bool {
        Bytes::fetch(room, arena)
    }

    #[inline(always)]
    fn is_husk(room: &BytesRoom) -> bool {
        Bytes::is_husk(room)
    }

    fn decode(room: BytesRoom) -> Option<T> {
        let bytes = Bytes::decode(room)?;
        handover::decoding(|| {
            // All of it, or it was another type's.
            let (value, rest) = postcard::take_from_bytes(&bytes).ok()?;
            rest.is_empty().then_some(value)
        })
    }

    type Batch = Vec<BytesRoom>;

    fn batch(out: &mut Vec<T>, count: usize, payload: usize) -> Self::Batch {
        out.reserve(count);
        (0..count).map(|_| Bytes::room(payload)).collect()
    }

    fn room_of(rooms: &mut Self::Batch, at: usize) -> Option<&mut BytesRoom> {
        rooms.get_mut(at)
    }

    #[inline(always)]
    unsafe fn read_at(rooms: &mut Self::Batch, at: usize, payload: Payload) -> usize {
        // SAFETY: the contract of this function.
        unsafe { Bytes::read_at(rooms, at, payload) }
    }

    unsafe fn finish_batch(rooms: Self::Batch, filled: usize, out: &mut Vec<T>) -> usize {
        let mut bad = 0;
        for room in rooms.into_iter().take(filled).filter(|room| !Bytes::is_husk(room)) {
            match Self::decode(room) {
                Some(value) => out.push(value),
                None => {
                    // A batch only counts them.
                    handover::was_not_reached();
                    bad += 1;
                }
            }
        }
        bad
    }
}

impl<T> std::fmt::Debug for Serde<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Serde")
    }
}

fn one_by_one<T>(
    values: &[T],
    wait: Wait,
    put_one: impl Fn(&T) -> Result<(), PutError<()>>,
) -> Result<usize, PutManyError> {
    for (put, value) in values.iter().enumerate() {
        match put_one(value) {
            Ok(()) => {}
            Err(PutError::Full(())) if wait == Wait::No => return Ok(put),
            Err(cause) => return Err(PutManyError { put, cause }),
        }
    }
    Ok(values.len())
}

/// To all subscribers: what no slot has room for is too large.
fn cast_encoded<T: Serialize>(port: &Port, value: &T, wait: Wait) -> Result<(), PutError<()>> {
    let mut small = [0; SMALL];
    let room = port.inline.min(SMALL);
    match postcard::to_slice(value, &mut small[..room]) {
        Ok(bytes) => port.cast::<Bytes>(&&*bytes, wait),
        Err(error) if may_be_too_long(&error) => {
            let len = postcard::serialize_with_flavor(value, Size::default()).map_err(unencodable)?;
            if len > port.inline {
                return Err(PutError::TooLarge { value: (), len, max: port.inline });
            }
            let mut bytes = vec![0; len];
            let bytes = postcard::to_slice(value, &mut bytes).map_err(unencodable)?;
            port.cast::<Bytes>(&&*bytes, wait)
        }
        Err(error) => Err(unencodable(error)),
    }
}

/// Of a text that is formatted as it is encoded (`collect_str`) postcard says no more than that.
fn may_be_too_long(error: &postcard::Error) -> bool {
    matches!(error, postcard::Error::SerializeBufferFull | postcard::Error::CollectStrError)
}

fn unencodable(error: postcard::Error) -> PutError<()> {
    let what = match error {
        postcard::Error::SerializeBufferFull | postcard::Error::CollectStrError => {
            "it was longer when it was encoded than when it was measured"
        }
        postcard::Error::SerializeSeqLengthUnknown => "a sequence does not know its length",
        postcard::Error::SerdeSerCustom => "its `Serialize` refused",
        postcard::Error::WontImplement => "it uses a part of serde that needs a self-describing format",
        _ => "postcard refused",
    };
    PutError::Unencodable { value: (), source: EncodeError { what } }
}

fn put_encoded<T: Serialize>(port: &Port, value: &T, wait: Wait) -> Result<(), PutError<()>> {
    let mut small = [0; SMALL];
    let room = port.inline.min(SMALL);
    match postcard::to_slice(value, &mut small[..room]) {
        Ok(bytes) => Bytes::put_through(port, bytes, wait),
        Err(error) if may_be_too_long(&error) => put_measured(port, value, wait),
        Err(error) => Err(unencodable(error)),
    }
}

#[cold]
#[inline(never)]
fn put_measured<T: Serialize>(port: &Port, value: &T, wait: Wait) -> Result<(), PutError<()>> {
    let len = postcard::serialize_with_flavor(value, Size::default()).map_err(unencodable)?;
    if len > port.max_message {
        return Err(PutError::TooLarge { value: (), len, max: port.max_message });
    }
    if len <= port.inline {
        let mut bytes = vec![0; len];
        let bytes = postcard::to_slice(value, &mut bytes).map_err(unencodable)?;
        return Bytes::put_through(port, bytes, wait);
    }
    let block = port.reserve_block(len, wait)?;
    let writer = BlockWriter { payload: block.payload(), at: 0, len };
    let written = postcard::serialize_with_flavor(value, writer).map_err(unencodable)?;
    block.put(written, wait).map_err(|(_, refused)| refused)
}

/// Encodes into a block.
struct BlockWriter {
    payload: Payload,
    at: usize,
    len: usize,
}

impl Flavor for BlockWriter {
    type Output = usize;

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.try_extend(&[byte])
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        if bytes.len() > self.len - self.at {
            return Err(postcard::Error::SerializeBufferFull);
        }
        // SAFETY: it fits the block, of which `len` bytes were reserved.
        #[allow(unsafe_code)]
        unsafe {
            self.payload.write_bulk(self.at, bytes.as_ptr(), bytes.len())
        };
        self.at += bytes.len();
        Ok(())
    }

    fn finalize(self) -> postcard::Result<usize> {
        Ok(self.at)
    }
}
