//! The kinds of messages, and how each is copied in and out of a slot.

#![allow(unsafe_code)]

use super::error::{PutError, PutManyError};
use super::options::stride;
use super::port::{Port, Wait};
use crate::primitive::{BlockMemory, BlockShape, Payload, SlotMemory};
use crate::ring::{Arena, Position, Ring, Sink, Source, Taken};
use crate::segment::{Identity, MessageKind};
use core::any::TypeId;
use core::marker::PhantomData;
use core::mem::MaybeUninit;

/// A type that can cross processes as plain bytes: no padding, no pointers, and
/// a check of the bit pattern on receipt, so that `bool`s and enums work.
///
/// Implemented for every type with bytemuck's `NoUninit` and
/// `CheckedBitPattern`; derive those.
///
/// ```
/// use ringway::{GetError, PodQueue};
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
/// #[repr(C)]
/// struct Tick {
///     price: u32,
///     kind: Kind,
/// }
///
/// #[derive(Clone, Copy, Debug, PartialEq, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
/// #[repr(u32)]
/// enum Kind {
///     Bid = 1,
///     Ask = 2,
/// }
///
/// let queue = PodQueue::<Tick>::bounded(16)?;
/// queue.put(Tick { price: 101, kind: Kind::Ask })?;
/// assert_eq!(queue.get()?.kind, Kind::Ask);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A type with padding is refused, since what lies there would cross as well: where a derive
/// looks at it
///
/// ```compile_fail,E0080
/// #[derive(Clone, Copy, bytemuck::NoUninit, bytemuck::CheckedBitPattern)]
/// #[repr(C)]
/// struct Gap {
///     small: u8,
///     // Three bytes that nobody writes.
///     large: u32,
/// }
/// ```
///
/// and where it was not asked:
///
/// ```compile_fail,E0277
/// let queue = ringway::PodQueue::<(u8, u32)>::bounded(16);
/// ```
pub trait Plain: bytemuck::NoUninit + bytemuck::CheckedBitPattern {}

impl<T: bytemuck::NoUninit + bytemuck::CheckedBitPattern> Plain for T {}

/// A kind of message: [`Bytes`](super::Bytes), [`Pod<T>`](Pod) or `Serde<T>`. Sealed.
///
/// # Safety
///
/// For implementors: `write` and `read` stay inside the payload, of which they
/// may expect as many bytes as `shape` or the options asked for.
pub unsafe trait Message: Sealed + 'static {
    /// What `put` takes.
    type In<'a>;
    /// What a failed `put` gives back: the value, or `()` where it was borrowed.
    type Back;
    /// What `get` returns.
    type Out;

    #[doc(hidden)]
    type Room;
    #[doc(hidden)]
    fn shape(type_tag: Option<String>) -> Shape;
    #[doc(hidden)]
    fn put_through(port: &Port, value: Self::In<'_>, wait: Wait) -> Result<(), PutError<Self::Back>>;
    /// One attempt of a put that keeps the value for the next one, if it says `Full`.
    #[doc(hidden)]
    fn put_again(port: &Port, value: &Self::In<'_>) -> Result<(), PutError<()>>;
    #[doc(hidden)]
    #[inline]
    fn put_many_through(port: &Port, values: &[Self::In<'_>], wait: Wait) -> Result<usize, PutManyError>
    where
        Self: Sized,
    {
        port.put_many::<Self>(values, wait)
    }
    /// As `put_through`, to all subscribers.
    #[doc(hidden)]
    #[inline(always)]
    fn cast_through(port: &Port, value: Self::In<'_>, wait: Wait) -> Result<(), PutError<Self::Back>>
    where
        Self: Sized,
    {
        port.cast::<Self>(&value, wait).map_err(|refused| refused.map(|()| Self::give_back(value)))
    }
    #[doc(hidden)]
    #[inline]
    fn cast_many_through(port: &Port, values: &[Self::In<'_>], wait: Wait) -> Result<usize, PutManyError>
    where
        Self: Sized,
    {
        port.cast_many::<Self>(values, wait)
    }
    /// Whether every message has the length of the slot's payload.
    #[doc(hidden)]
    const FIXED_LEN: bool;
    #[doc(hidden)]
    fn len(input: &Self::In<'_>) -> usize;
    #[doc(hidden)]
    fn give_back(input: Self::In<'_>) -> Self::Back;
    /// Makes sure that reading `input` cannot fault between claim and publication.
    #[doc(hidden)]
    fn touch(input: &Self::In<'_>);
    /// The same for a slice of messages.
    #[doc(hidden)]
    fn touch_all(inputs: &[Self::In<'_>]);
    /// The slots, with the stride made a constant where the kind fixes it.
    #[doc(hidden)]
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        slots
    }
    /// The same for blocks.
    #[doc(hidden)]
    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        blocks
    }
    /// # Safety
    ///
    /// The payload has the room that `shape` or the options asked for, and
    /// `len(input)` fits it; `skip` is 0, or 8 if there is a first word.
    #[doc(hidden)]
    unsafe fn write(input: &Self::In<'_>, payload: Payload, skip: usize);
    /// As [`Source::first_word`].
    #[doc(hidden)]
    #[inline(always)]
    fn first_word(_input: &Self::In<'_>) -> Option<u64> {
        None
    }
    #[doc(hidden)]
    fn room(payload: usize) -> Self::Room;
    /// Says how many bytes of the payload it looked at.
    ///
    /// # Safety
    ///
    /// `room` was made for payloads of this size.
    #[doc(hidden)]
    unsafe fn read(room: &mut Self::Room, payload: Payload) -> usize;
    #[doc(hidden)]
    fn decode(room: Self::Room) -> Option<Self::Out>;
    /// The block in which the message lies, if the slot has only said so.
    #[doc(hidden)]
    #[inline(always)]
    fn block(_room: &Self::Room) -> Option<u32> {
        None
    }
    /// That block is ours; None: somebody else has the message.
    #[doc(hidden)]
    #[inline(always)]
    fn found(_room: &mut Self::Room, _taken: Option<Taken>) {}
    /// Gets the message out of its block, if it lies in one. True: it did.
    #[doc(hidden)]
    #[inline(always)]
    fn fetch(_room: &mut Self::Room, _arena: &Arena<'_>) -> bool {
        false
    }
    /// Somebody else has the message.
    #[doc(hidden)]
    #[inline(always)]
    fn is_husk(_room: &Self::Room) -> bool {
        false
    }

    #[doc(hidden)]
    type Batch;
    /// Room for `count` messages that will be appended to `out`, which must not
    /// be touched before `finish_batch`.
    #[doc(hidden)]
    fn batch(out: &mut Vec<Self::Out>, count: usize, payload: usize) -> Self::Batch;
    /// The room of message `at`, where a message may lie in a block.
    #[doc(hidden)]
    #[inline(always)]
    fn room_of(_batch: &mut Self::Batch, _at: usize) -> Option<&mut Self::Room> {
        None
    }
    /// # Safety
    ///
    /// As `read`, and `at` is below `count`.
    #[doc(hidden)]
    unsafe fn read_at(batch: &mut Self::Batch, at: usize, payload: Payload) -> usize;
    /// Appends the first `filled` messages to the vector that the batch was made for.
    /// Says how many of them could not be decoded.
    ///
    /// # Safety
    ///
    /// `read_at` was called for all of them, and `out` was not touched since.
    #[doc(hidden)]
    unsafe fn finish_batch(batch: Self::Batch, filled: usize, out: &mut Vec<Self::Out>) -> usize;
}

/// What a kind needs when its queue is created.
#[doc(hidden)]
#[derive(Debug)]
pub struct Shape {
    pub(crate) kind: MessageKind,
    pub(crate) element: Identity,
    /// Bytes of payload in every slot, where the kind fixes them.
    pub(crate) fixed_payload: Option<u64>,
}

#[doc(hidden)]
pub trait Sealed {}

/// Messages of one plain-data type.
pub struct Pod<T>(PhantomData<fn(T) -> T>);

impl<T> Sealed for Pod<T> {}

// SAFETY: exactly `size_of::<T>()` bytes are copied, which `shape` asks for.
unsafe impl<T: Plain> Message for Pod<T> {
    type In<'a> = T;
    type Back = T;
    type Out = T;
    type Room = MaybeUninit<T::Bits>;

    fn shape(type_tag: Option<String>) -> Shape {
        let name = core::any::type_name::<T>();
        let tag = type_tag.unwrap_or_else(|| last_segment(name).to_owned());
        let element = Identity { size: size_of::<T>() as u64, align: align_of::<T>() as u32, tag };
        Shape { kind: MessageKind::Pod, element, fixed_payload: Some(size_of::<T>() as u64) }
    }

    const FIXED_LEN: bool = true;

    #[inline(always)]
    fn put_through(port: &Port, value: T, wait: Wait) -> Result<(), PutError<T>> {
        port.put::<Self>(value, wait)
    }

    fn put_again(port: &Port, value: &T) -> Result<(), PutError<()>> {
        port.put_source(&Encoded::<Self>(value), Wait::No)
    }

    #[inline(always)]
    fn len(_: &T) -> usize {
        size_of::<T>()
    }

    #[inline(always)]
    fn give_back(input: T) -> T {
        input
    }

    /// The value lies on our own stack.
    #[inline(always)]
    fn touch(_: &T) {}

    #[inline(always)]
    fn touch_all(inputs: &[T]) {
        touch_pages(inputs.as_ptr().cast(), size_of_val(inputs));
    }

    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        slots.with_stride(const { stride(size_of::<T>() as u64) as usize })
    }

    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        blocks.with_shape(const { BlockShape::of(size_of::<T>()) })
    }

    #[inline(always)]
    fn first_word(input: &T) -> Option<u64> {
        // SAFETY: `T` is that large, and has no padding (`NoUninit`).
        (size_of::<T>() >= 8).then(|| unsafe { (input as *const T).cast::<u64>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn write(input: &T, payload: Payload, skip: usize) {
        let rest = (input as *const T).cast::<u8>().wrapping_add(skip);
        // SAFETY: the contract of this function; `T` has no padding (`NoUninit`),
        // so every byte that is copied is initialised; `skip <= size_of::<T>()`.
        unsafe { payload.write(skip, rest, size_of::<T>() - skip) }
    }

    #[inline(always)]
    fn room(_: usize) -> MaybeUninit<T::Bits> {
        MaybeUninit::uninit()
    }

    #[inline(always)]
    unsafe fn read(room: &mut MaybeUninit<T::Bits>, payload: Payload) -> usize {
        const { assert!(size_of::<T>() == size_of::<T::Bits>()) };
        // SAFETY: the contract of this function; `Bits` has the size of `T`.
        unsafe { payload.read(0, room.as_mut_ptr().cast(), size_of::<T>()) };
        size_of::<T>()
    }

    #[inline(always)]
    fn decode(room: MaybeUninit<T::Bits>) -> Option<T> {
        // SAFETY: `read` has written all bytes, and `Bits` allows every pattern
        // (`AnyBitPattern`).
        let bits = unsafe { room.assume_init() };
        if !T::is_valid_bit_pattern(&bits) {
            return None;
        }
        // SAFETY: `CheckedBitPattern` promises that a valid `Bits` is a valid `T`
        // of the same size.
        Some(unsafe { core::mem::transmute_copy::<T::Bits, T>(&bits) })
    }

    type Batch = PodBatch<T>;

    #[inline(always)]
    fn batch(out: &mut Vec<T>, count: usize, _: usize) -> PodBatch<T> {
        out.reserve(count);
        PodBatch { spare: out.spare_capacity_mut().as_mut_ptr().cast(), room: count }
    }

    #[inline(always)]
    unsafe fn read_at(batch: &mut PodBatch<T>, at: usize, payload: Payload) -> usize {
        debug_assert!(at < batch.room);
        // SAFETY: `spare` has room for `room` values, and `at` is below that by the
        // contract of this function.
        unsafe { payload.read(0, batch.spare.add(at).cast(), size_of::<T>()) };
        size_of::<T>()
    }

    #[inline(always)]
    unsafe fn finish_batch(batch: PodBatch<T>, filled: usize, out: &mut Vec<T>) -> usize {
        let mut bad = 0;
        for k in 0..filled {
            // SAFETY: `read_at` has written this element's bytes, and `Bits`
            // allows every pattern.
            let bits = unsafe { batch.spare.add(k).read_unaligned() };
            if !T::is_valid_bit_pattern(&bits) {
                bad += 1;
            } else if bad > 0 {
                // SAFETY: both are in the spare capacity; closes the gap.
                unsafe { batch.spare.add(k - bad).write_unaligned(bits) };
            }
        }
        // SAFETY: that many valid values stand behind the old length, and `out`
        // was not touched since `batch` reserved them.
        unsafe { out.set_len(out.len() + filled - bad) };
        bad
    }
}

/// The spare capacity of the caller's vector, filled in place.
#[doc(hidden)]
#[derive(Debug)]
pub struct PodBatch<T: Plain> {
    spare: *mut T::Bits,
    room: usize,
}

/// The type's own name without the path, generic arguments kept.
pub(super) fn last_segment(type_name: &str) -> &str {
    let path_end = type_name.find(['<', '[', '(']).unwrap_or(type_name.len());
    match type_name[..path_end].rfind("::") {
        Some(at) => &type_name[at + 2..],
        None => type_name,
    }
}

/// Reads one byte of every page, so that a mapping of the caller's that lost its
/// file faults here and not between a claim and its publication.
#[inline(always)]
pub(super) fn touch_pages(start: *const u8, len: usize) {
    const PAGE: usize = 4096;
    if len > PAGE {
        for at in (0..len).step_by(PAGE) {
            // SAFETY: inside the caller's message.
            unsafe { start.add(at).read_volatile() };
        }
    }
    if len > 0 {
        // SAFETY: as above.
        unsafe { start.add(len - 1).read_volatile() };
    }
}

/// A message as the ring wants it.
pub(crate) struct Encoded<'x, 'y, M: Message>(pub(crate) &'x M::In<'y>);

impl<M: Message> Source for Encoded<'_, '_, M> {
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        M::slots(slots)
    }

    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        M::blocks(blocks)
    }

    #[inline(always)]
    fn first_word(&self) -> Option<u64> {
        M::first_word(self.0)
    }

    #[inline(always)]
    unsafe fn write(&self, payload: Payload, skip: usize) {
        // SAFETY: a payload of this queue; the caller has checked the length.
        unsafe { M::write(self.0, payload, skip) }
    }
}

/// Room for one message, as the ring wants it.
pub(crate) struct RoomFor<M: Message>(pub(crate) M::Room);

impl<M: Message> Sink for RoomFor<M> {
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        M::slots(slots)
    }

    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        M::blocks(blocks)
    }

    #[inline(always)]
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        // SAFETY: the room was made for this queue.
        unsafe { M::read(&mut self.0, payload) }
    }

    #[inline(always)]
    fn keep(&mut self, ring: &Ring<'_>, _at: u64, position: Position, _count: u32) {
        take_block::<M>(&mut self.0, ring, position);
    }

    fn block(&mut self, _at: u64) -> Option<u32> {
        M::block(&self.0)
    }

    fn found(&mut self, _at: u64, taken: Option<Taken>) {
        M::found(&mut self.0, taken);
    }

    #[inline(always)]
    fn is_husk(&self) -> bool {
        M::is_husk(&self.0)
    }
}

/// B3. A message that the slot has only named is this participant's, if it is there still.
#[inline(always)]
fn take_block<M: Message>(room: &mut M::Room, ring: &Ring<'_>, position: Position) {
    if let Some(block) = M::block(room) {
        M::found(room, ring.arena.take(block, ring.index, position));
    }
}

/// A caller's value as room for a message, for types that every bit pattern fits:
/// those whose `Bits` are the type itself.
pub(crate) struct InPlace<'o, T>(&'o mut T);

impl<'o, T: Plain> InPlace<'o, T> {
    /// None: some bit patterns are no `T`, so the message must be checked before
    /// it becomes one.
    #[inline(always)]
    pub(crate) fn new(out: &'o mut T) -> Option<Self> {
        has_no_bad_bits::<T>().then_some(InPlace(out))
    }
}

/// Whether any bytes are a `T`.
#[inline(always)]
pub(crate) fn has_no_bad_bits<T: Plain>() -> bool {
    TypeId::of::<T::Bits>() == TypeId::of::<T>()
}

impl<T: Plain> Sink for InPlace<'_, T> {
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        <Pod<T> as Message>::slots(slots)
    }

    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        <Pod<T> as Message>::blocks(blocks)
    }

    #[inline(always)]
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        // SAFETY: a payload of this queue; `T` may be overwritten by any bytes,
        // as `new` has made sure (`T` is its own `Bits`, which are `AnyBitPattern`).
        unsafe { payload.read(0, (self.0 as *mut T).cast(), size_of::<T>()) };
        size_of::<T>()
    }
}

/// Room for several messages, as the ring wants it.
pub(crate) struct BatchFor<M: Message>(pub(crate) M::Batch);

impl<M: Message> Sink for BatchFor<M> {
    #[inline(always)]
    fn slots(slots: SlotMemory) -> SlotMemory {
        M::slots(slots)
    }

    #[inline(always)]
    fn blocks(blocks: BlockMemory) -> BlockMemory {
        M::blocks(blocks)
    }

    #[inline(always)]
    unsafe fn read(&mut self, at: u64, payload: Payload) -> usize {
        // SAFETY: as in `RoomFor`; the batch was made for as many messages as the ring
        // was asked for.
        unsafe { M::read_at(&mut self.0, at as usize, payload) }
    }

    #[inline(always)]
    fn keep(&mut self, ring: &Ring<'_>, at: u64, position: Position, _count: u32) {
        if let Some(room) = M::room_of(&mut self.0, at as usize) {
            take_block::<M>(room, ring, position);
        }
    }

    fn found(&mut self, at: u64, taken: Option<Taken>) {
        if let Some(room) = M::room_of(&mut self.0, at as usize) {
            M::found(room, taken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_last_path_segment() {
        assert_eq!(last_segment("u64"), "u64");
        assert_eq!(last_segment("a::b::Tick"), "Tick");
        assert_eq!(last_segment("a::b::Pair<c::D>"), "Pair<c::D>");
        assert_eq!(last_segment("[a::b::T; 4]"), "[a::b::T; 4]");
    }

    #[test]
    fn a_bad_bit_pattern_is_no_value() {
        assert_eq!(<Pod<bool> as Message>::decode(MaybeUninit::new(2)), None);
        assert_eq!(<Pod<bool> as Message>::decode(MaybeUninit::new(1)), Some(true));
    }
}
