//! In place: a message written and read where it lies in shared memory.
//!
//! What a peer may write meanwhile is never behind a Rust reference, but for the two
//! `unsafe` accessors, which say what their callers must know.

#![allow(unsafe_code)]

use super::bytes::LENGTH_SIZE;
use super::error::{GetError, PutError, RangeError};
use super::large::{Line, Reservation, line_buffer};
use super::message::{Plain, has_no_bad_bits};
use super::port::{Port, Refusal, Wait};
use crate::primitive::{Payload, now_ns};
use crate::ring::{Holding, IN_A_BLOCK, Ring, Sink, Taken};
use crate::wait::Deadline;
use std::cell::{Cell, OnceCell};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::time::Duration;

/// A piece of shared memory to write a message into, and then to put it without copying.
///
/// It holds a block of the queue's arena, not a place in the queue: others put and get
/// meanwhile. [`commit`](Reserved::commit) puts the message; dropping the guard gives the
/// block back, and so does the death of the process. What is not written has whatever
/// bytes earlier messages left there. A guard that is forgotten (`mem::forget`) keeps its
/// block until its handle is dropped. One that `fork` copied has no room, and its commit says `Forked`.
///
/// A message that fits a slot ([`inline`](super::Options::inline)) and has at most 1 KiB takes no
/// block and waits for none: the guard is memory of this process, and `commit` copies it, which
/// costs much less. The same goes for longer ones of a queue of which every message fits
/// a slot (`max_message` is `inline`), as it has no arena.
///
/// ```
/// let queue = ringway::ByteQueue::bounded(4)?;
/// let mut message = queue.reserve(100_000)?;
/// message.fill(7);
/// message.write_at(10, b"here")?;
/// // The error has the guard, which `?` cannot carry out of this function.
/// message.commit().map_err(|refused| refused.map(drop))?;
/// let message = queue.get_ref()?;
/// assert_eq!((message.len(), message.get(9), message.get(10)), (100_000, Some(7), Some(b'h')));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot outlive its handle:
///
/// ```compile_fail,E0505
/// let queue = ringway::ByteQueue::bounded(4)?;
/// let message = queue.reserve(10)?;
/// drop(queue);
/// drop(message);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it puts nothing"]
pub struct Reserved<'q, E: Plain = u8> {
    block: Reservation<'q>,
    len: usize,
    kind: PhantomData<fn(E) -> E>,
}

impl<'q, E: Plain> Reserved<'q, E> {
    /// How many elements the message will have.
    pub fn len(&self) -> usize {
        if self.block.is_forked() { 0 } else { self.len }
    }

    /// Whether it will have none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the message shorter. Longer it cannot be: then nothing happens.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Writes elements from number `at` on.
    ///
    /// # Errors
    ///
    /// `RangeError` if they are more than there is room for; then nothing is written.
    pub fn write_at(&mut self, at: usize, from: &[E]) -> Result<(), RangeError> {
        RangeError::check(at, from.len(), self.len())?;
        // SAFETY: checked against the length, which fits the block and is 0 where that is not
        // mapped; elements of a plain type have no uninitialised bytes.
        unsafe { self.block.payload().write_bulk(at * size_of::<E>(), from.as_ptr().cast(), size_of_val(from)) };
        Ok(())
    }

    /// Writes elements from the first on.
    ///
    /// # Errors
    ///
    /// As [`write_at`](Reserved::write_at).
    pub fn copy_from_slice(&mut self, from: &[E]) -> Result<(), RangeError> {
        self.write_at(0, from)
    }

    /// Makes every element `value`.
    pub fn fill(&mut self, value: E) {
        const PIECE: usize = 64;
        let piece = [value; PIECE];
        let mut at = 0;
        let len = self.len();
        while at < len {
            let count = PIECE.min(len - at);
            // Inside by the loop's condition.
            let _ = self.write_at(at, &piece[..count]);
            at += count;
        }
    }

    /// The same memory as elements of another type. Gives the guard back if they do not
    /// fill it exactly.
    pub fn cast<F: Plain>(self) -> Result<Reserved<'q, F>, Self> {
        match elements::<F>(self.len * size_of::<E>()) {
            Some(len) => Ok(Reserved { block: self.block, len, kind: PhantomData }),
            None => Err(self),
        }
    }

    /// The memory itself, which begins at a multiple of 64 bytes.
    ///
    /// # Safety
    ///
    /// No other process writes these bytes while the slice is used. Well-behaved ones do
    /// not, as the block is this guard's; one that scribbles makes it undefined behaviour.
    /// All bytes that are there must be valid elements, or be written before they are read.
    pub unsafe fn as_mut_slice(&mut self) -> &mut [E] {
        // SAFETY: `len` elements fit the block, which is aligned to more than any plain type
        // that fits it needs (checked by `elements`); the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts_mut(self.block.payload().as_ptr().cast(), self.len()) }
    }

    /// Puts the message, waiting for a place in the queue as `put` does.
    ///
    /// # Errors
    ///
    /// As of `put`; the error has the guard.
    pub fn commit(self) -> Result<(), PutError<Self>> {
        self.commit_with(Wait::Until(Deadline::Never))
    }

    /// Puts the message if there is a place now.
    ///
    /// # Errors
    ///
    /// As of `try_put`; the error has the guard.
    pub fn try_commit(self) -> Result<(), PutError<Self>> {
        self.commit_with(Wait::No)
    }

    /// Puts the message, waiting at most so long.
    ///
    /// # Errors
    ///
    /// As of `put_timeout`; the error has the guard.
    pub fn commit_timeout(self, timeout: Duration) -> Result<(), PutError<Self>> {
        self.commit_with(Wait::Until(Deadline::after(timeout)))
    }

    fn commit_with(self, wait: Wait) -> Result<(), PutError<Self>> {
        let Reserved { block, len, kind } = self;
        block
            .put(len * size_of::<E>(), wait)
            .map_err(|(block, refused)| refused.map(|()| Reserved { block, len, kind }))
    }
}

impl<E: Plain> std::fmt::Debug for Reserved<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserved").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// How many elements so many bytes are exactly. Blocks are aligned to 64.
fn elements<E>(bytes: usize) -> Option<usize> {
    (size_of::<E>() > 0 && align_of::<E>() <= 64 && bytes.is_multiple_of(size_of::<E>()))
        .then(|| bytes / size_of::<E>())
}

/// A message read where it lies in shared memory.
///
/// The queue goes on meanwhile: the message is out of the ring. Dropping the guard consumes
/// it. When the process dies first, somebody else gets it, as with a
/// [`Lease`](super::Lease), and a guard counts as one of the handle's leases. A guard that
/// is forgotten (`mem::forget`) gives its message back when its handle is dropped. One that
/// `fork` copied is empty: the message is the parent's.
///
/// See [`Reserved`] for an example. It cannot outlive its handle:
///
/// ```compile_fail,E0505
/// let queue = ringway::ByteQueue::bounded(4)?;
/// queue.put(b"x")?;
/// let message = queue.get_ref()?;
/// drop(queue);
/// drop(message);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it consumes the message"]
pub struct Ref<'q, E: Plain = u8> {
    holder: Holder<'q>,
    /// Bytes before the message.
    offset: usize,
    len: usize,
    kind: PhantomData<fn() -> E>,
}

/// What consumes the message.
struct Holder<'q> {
    port: &'q Port,
    holding: Option<Holding>,
    id: u64,
    redelivered: u32,
    payload: Payload,
    /// Bytes from the front that were copied out, or may have been looked at.
    read: Cell<usize>,
    /// Of a message that begins where its elements may not.
    copy: OnceCell<Box<[Line]>>,
}

impl Holder<'_> {
    /// That many bytes from `at` on were copied out.
    fn has_read(&self, at: usize, len: usize) {
        if at <= self.read.get() {
            self.read.set(self.read.get().max(at + len));
        }
    }

    fn acknowledge(&mut self) -> Result<(), GetError> {
        let Some(holding) = self.holding.take() else { return Ok(()) };
        if holding.is_block && self.port.ring.arena.adopting_pays(self.read.get()) {
            // SAFETY: the block is HELD by us: nobody else touches it; what was read of it
            // lies in it.
            unsafe { self.payload.adopt_front(self.read.get()) };
        }
        self.port.acknowledge(holding)
    }
}

impl Drop for Holder<'_> {
    fn drop(&mut self) {
        if self.port.usable().is_ok() {
            // A scribbled word has poisoned the handle, which will say so.
            let _ = self.acknowledge();
        }
    }
}

impl<'q, E: Plain> Ref<'q, E> {
    /// How many elements the message has.
    pub fn len(&self) -> usize {
        if self.holder.port.is_forked() { 0 } else { self.len }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// As [`Lease::id`](super::Lease::id).
    pub fn id(&self) -> u64 {
        self.holder.id
    }

    /// As [`Lease::redelivered`](super::Lease::redelivered).
    pub fn redelivered(&self) -> u32 {
        self.holder.redelivered
    }

    /// A copy of element `at`. None: there is no such element, or its bytes are no `E`.
    pub fn get(&self, at: usize) -> Option<E> {
        if at >= self.len() {
            return None;
        }
        let mut bits = MaybeUninit::<E::Bits>::uninit();
        // SAFETY: the element lies in the message; `Bits` has the size of `E`, and any bytes
        // are one.
        let bits = unsafe {
            self.holder.payload.read_bulk(self.offset + at * size_of::<E>(), bits.as_mut_ptr().cast(), size_of::<E>());
            bits.assume_init()
        };
        // SAFETY: a valid `Bits` is a valid `E` of the same size (`CheckedBitPattern`).
        E::is_valid_bit_pattern(&bits).then(|| unsafe { std::mem::transmute_copy::<E::Bits, E>(&bits) })
    }

    /// Copies elements out, from number `at` on, as many as `to` has.
    ///
    /// # Errors
    ///
    /// `RangeError` if there are not so many, or if one of them is no `E`: `to` is then
    /// written in part.
    pub fn copy_to_slice(&self, at: usize, to: &mut [E]) -> Result<(), RangeError> {
        RangeError::check(at, to.len(), self.len())?;
        if has_no_bad_bits::<E>() {
            // SAFETY: the elements lie in the message, and any bytes are some.
            unsafe { self.copy_out(at, to.len(), to.as_mut_ptr()) };
            return Ok(());
        }
        for (offset, place) in to.iter_mut().enumerate() {
            *place = self.get(at + offset).ok_or(RangeError::bad(at + offset))?;
        }
        Ok(())
    }

    /// Copies of up to `size` elements at a time; ends early at one that is no `E`.
    pub fn chunks(&self, size: usize) -> impl Iterator<Item = Vec<E>> {
        let size = size.max(1);
        // Each time: the iterator may be carried through a `fork`.
        (0..self.len()).step_by(size).map_while(move |at| {
            let count = size.min(self.len().checked_sub(at).filter(|rest| *rest > 0)?);
            if has_no_bad_bits::<E>() {
                Some(self.copied(at, count))
            } else {
                (at..at + count).map(|at| self.get(at)).collect()
            }
        })
    }

    /// Elements of a type of which any bytes are one: `count` from number `at` on, which
    /// lie in the message.
    fn copied(&self, at: usize, count: usize) -> Vec<E> {
        let mut elements = Vec::with_capacity(count);
        // SAFETY: the elements lie in the message, the vector has room for them, and the
        // callers ask for such types only.
        unsafe {
            self.copy_out(at, count, elements.as_mut_ptr());
            elements.set_len(count);
        }
        elements
    }

    /// # Safety
    ///
    /// The elements lie in the message, `to` has room for them, and any bytes are an `E`.
    unsafe fn copy_out(&self, at: usize, count: usize, to: *mut E) {
        let (at, len) = (at * size_of::<E>(), count * size_of::<E>());
        // SAFETY: the contract.
        unsafe { self.holder.payload.read_bulk(self.offset + at, to.cast(), len) };
        self.holder.has_read(at, len);
    }

    /// The same bytes as elements of another type. Gives the guard back if they do not
    /// fill it exactly. Where it begins matters to [`as_slice`](Ref::as_slice) alone.
    pub fn cast<F: Plain>(self) -> Result<Ref<'q, F>, Self> {
        match elements::<F>(self.len * size_of::<E>()) {
            Some(len) => {
                let Ref { holder, offset, .. } = self;
                Ok(Ref { holder, offset, len, kind: PhantomData })
            }
            None => Err(self),
        }
    }

    /// The memory itself; or a copy, where it does not begin where an `E` may: a message that lies
    /// in its slot begins at a multiple of 4.
    ///
    /// # Safety
    ///
    /// No other process writes these bytes while the slice is used, as well-behaved ones
    /// do not; and every element is a valid `E`.
    pub unsafe fn as_slice(&self) -> &[E] {
        let (len, bytes) = (self.len(), self.len() * size_of::<E>());
        let there = self.holder.payload.as_ptr().wrapping_add(self.offset).cast_const();
        self.holder.has_read(self.offset, bytes);
        let start = if there.cast::<E>().is_aligned() { there } else { self.aligned(bytes) };
        // SAFETY: in the message or its copy, and aligned; the caller vouches for the rest.
        unsafe { std::slice::from_raw_parts(start.cast::<E>(), len) }
    }

    /// A copy of the message that begins where any element may, made once.
    #[cold]
    fn aligned(&self, bytes: usize) -> *const u8 {
        let copy = self.holder.copy.get_or_init(|| {
            let mut lines = line_buffer(bytes);
            // SAFETY: the bytes lie in the message, and there are as many lines.
            unsafe { self.holder.payload.read_bulk(self.offset, lines.as_mut_ptr().cast(), bytes) };
            lines.into_boxed_slice()
        });
        copy.as_ptr().cast()
    }

    /// Consumes the message, as dropping does, and says whether that went well.
    ///
    /// # Errors
    ///
    /// `Forked`, `Corrupt`.
    pub fn ack(mut self) -> Result<(), GetError> {
        self.holder.port.usable().map_err(Refusal::into_get)?;
        self.holder.acknowledge()
    }
}

impl Ref<'_> {
    /// The message, copied.
    pub fn to_vec(&self) -> Vec<u8> {
        self.copied(0, self.len())
    }
}

impl<E: Plain> std::fmt::Debug for Ref<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ref")
            .field("len", &self.len())
            .field("id", &self.id())
            .field("redelivered", &self.redelivered())
            .finish_non_exhaustive()
    }
}

/// Looks at the length only: the message goes from the slot to a row, or is in a block.
#[derive(Default)]
struct LengthOnly {
    word: u32,
    is_husk: bool,
}

impl Sink for LengthOnly {
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        let mut word = [0; LENGTH_SIZE];
        // SAFETY: slots of bytes have room for a length.
        unsafe { payload.read(0, word.as_mut_ptr(), word.len()) };
        self.word = u32::from_ne_bytes(word);
        let in_block = self.word & IN_A_BLOCK != 0;
        if in_block { LENGTH_SIZE } else { payload.room().min(LENGTH_SIZE + self.word as usize) }
    }

    fn block(&mut self, _at: u64) -> Option<u32> {
        (self.word & IN_A_BLOCK != 0).then_some(self.word & !IN_A_BLOCK)
    }

    fn found(&mut self, _at: u64, taken: Option<Taken>) {
        self.is_husk = taken.is_none();
    }
}

impl Port {
    pub(super) fn reserve(&self, len: usize, wait: Wait) -> Result<Reserved<'_>, PutError<()>> {
        if len > self.max_message {
            return Err(PutError::TooLarge { value: (), len, max: self.max_message });
        }
        let block = self.reserve_room(len, wait)?;
        Ok(Reserved { block, len, kind: PhantomData })
    }

    pub(super) fn get_ref(&self, wait: Wait) -> Result<Ref<'_>, GetError> {
        self.ready_to_get().map_err(Refusal::into_get)?;
        if self.ring.has_all_leases(&self.cursors.get) {
            return Err(GetError::TooManyLeases);
        }
        let mut length = LengthOnly::default();
        let holding = self.hold(wait, now_ns(), &mut length)?;
        let Some((payload, offset, len)) = self.ring.held_bytes(holding, length.word, self.inline) else {
            self.acknowledge(holding)?;
            return Err(GetError::Undecodable);
        };
        let (id, redelivered) = (holding.id, holding.count);
        let (read, copy) = (Cell::new(0), OnceCell::new());
        let holder = Holder { port: self, holding: Some(holding), id, redelivered, payload, read, copy };
        Ok(Ref { holder, offset, len, kind: PhantomData })
    }
}

impl Ring<'_> {
    /// Where the message of a lease lies: payload, offset, length. None: nowhere.
    fn held_bytes(&self, holding: Holding, word: u32, inline: usize) -> Option<(Payload, usize, usize)> {
        let payload = self.payload_of(holding)?;
        if let Some(block) = holding.block() {
            return Some((payload, 0, self.arena.len(block).min(payload.room())));
        }
        let len = word as usize;
        (len <= inline && LENGTH_SIZE + len <= payload.room()).then_some((payload, LENGTH_SIZE, len))
    }
}
