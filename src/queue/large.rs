//! Putting what no slot has room for: a block of the arena first, then a position.
//!
//! Both are waited for one after the other, each where its own kind of wake-up comes, so
//! that nobody is woken for what it does not need. Whoever waits for a position holds its
//! block meanwhile; whoever waits for a block holds nothing.

#![allow(unsafe_code)]

use super::bytes::Bytes;
use super::error::{PutError, PutManyError};
use super::port::{Port, Refusal, Wait};
use super::put::Lacking;
use crate::primitive::Payload;
use crate::ring::Placing;
use std::cell::Cell;

/// The longest message that is written in memory of this process and copied into its slot, where
/// a block would do too: what a block costs more than a slot (its word, its bytes and the list of
/// free ones all cross between the processors) copies so much several times over.
const MOST_OWN: usize = 1024;

/// How often others may have taken all blocks of a size that has just been extended before an
/// attempt finds none.
const MOST_EXTENSIONS: u32 = 64;

/// Room for one message that this handle may write, given back when dropped.
pub(super) struct Reservation<'q> {
    port: &'q Port,
    room: Room,
    payload: Payload,
}

enum Room {
    /// Of the arena.
    Block(u32),
    /// Of a message that fits a slot: memory of this process, copied there in the end.
    Own(Vec<Line>),
}

/// As blocks are aligned.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub(super) struct Line {
    _bytes: [u8; 64],
}

/// Zeros, at least so many bytes.
pub(super) fn line_buffer(bytes: usize) -> Vec<Line> {
    vec![Line { _bytes: [0; 64] }; bytes.div_ceil(size_of::<Line>())]
}

/// Memory of a handle for a message that it makes in place and that will lie in a slot: that of the
/// last one, so that only the first is allocated.
#[derive(Default)]
pub(super) struct Scratch(Cell<Vec<Line>>);

impl Scratch {
    fn take(&self, len: usize) -> Vec<Line> {
        let lines = self.0.take();
        if size_of_val(lines.as_slice()) < len { line_buffer(len) } else { lines }
    }
}

impl Reservation<'_> {
    /// Not to be touched where the handle [is forked](Port::is_forked).
    pub(super) fn payload(&self) -> Payload {
        self.payload
    }

    pub(super) fn is_forked(&self) -> bool {
        self.port.is_forked()
    }

    /// Puts the first `len` bytes of the block. What was refused is this handle's still.
    pub(super) fn put(self, len: usize, wait: Wait) -> Result<(), (Self, PutError<()>)> {
        let port = self.port;
        if let Err(refusal) = port.usable() {
            return Err((self, refusal.into_put()));
        }
        let block = match &self.room {
            Room::Block(block) => *block,
            Room::Own(lines) => {
                let len = len.min(size_of_val(lines.as_slice()));
                // SAFETY: so many bytes are there, all of them once written; nobody writes them
                // while `self` is ours, and the payload's pointer is not used meanwhile.
                let bytes = unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), len) };
                return port.put::<Bytes>(bytes, wait).map_err(|refused| (self, refused));
            }
        };
        port.ring.arena.set_len(block, len);
        let placing = Placing::new(block);
        match port.put_source(&placing, wait) {
            Ok(()) => {
                port.cursors.reserved.set(port.cursors.reserved.get().saturating_sub(1));
                std::mem::forget(self);
                Ok(())
            }
            Err(refused) => {
                if !placing.take_back(&port.ring) {
                    port.poison();
                }
                Err((self, refused))
            }
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let port = self.port;
        match &mut self.room {
            Room::Own(lines) => port.scratch.0.set(std::mem::take(lines)),
            Room::Block(_) if port.usable().is_err() => {}
            Room::Block(block) => {
                port.cursors.reserved.set(port.cursors.reserved.get().saturating_sub(1));
                port.ring.arena.cancel_block(*block, port.ring.index);
                port.block_freed();
            }
        }
    }
}

impl Port {
    #[cold]
    #[inline(never)]
    pub(super) fn put_large(&self, value: &[u8], wait: Wait) -> Result<(), PutError<()>> {
        let len = value.len();
        if len > self.max_message {
            return Err(PutError::TooLarge { value: (), len, max: self.max_message });
        }
        let reserved = self.reserve_block(len, wait)?;
        // SAFETY: the block has room for `len` bytes, and was reserved just now, in this process.
        unsafe { reserved.payload().write_bulk(0, value.as_ptr(), len) };
        reserved.put(len, wait).map_err(|(_, refused)| refused)
    }

    /// Room for a message of `len` bytes, which is no more than the largest.
    pub(super) fn reserve_room(&self, len: usize, wait: Wait) -> Result<Reservation<'_>, PutError<()>> {
        let has_no_arena = self.inline >= self.max_message;
        if len <= self.inline && (len <= MOST_OWN || has_no_arena) {
            self.reserve_own(len)
        } else {
            self.reserve_block(len, wait)
        }
    }

    /// A block with room for `len` bytes, which is no more than the largest message, of a queue
    /// that has an arena.
    pub(super) fn reserve_block(&self, len: usize, wait: Wait) -> Result<Reservation<'_>, PutError<()>> {
        self.ready_to_put().map_err(Refusal::into_put)?;
        self.needs_consumers()?;
        self.growth.begin();
        let mut reserved = None;
        let mut attempt = |_exact: bool| {
            reserved = self.try_reserve_block(len)?;
            Ok(reserved.is_some())
        };
        if !attempt(true)? {
            match wait {
                Wait::No => {
                    // The dead may have some.
                    if !(self.look_before_full()? && attempt(true)?) {
                        self.lacking.set(Lacking::Block(len));
                        return Err(PutError::Full(()));
                    }
                }
                Wait::Until(deadline) => self.wait_to_put(Lacking::Block(len), deadline, attempt)?,
            }
        }
        reserved.ok_or(PutError::Full(()))
    }

    /// Nothing is reserved of a closed or damaged queue.
    fn check_reserving(&self) -> Result<(), PutError<()>> {
        if self.ring.is_closed() {
            return Err(PutError::Closed(()));
        }
        if self.is_torn() {
            self.poison();
            return Err(PutError::Corrupt(()));
        }
        Ok(())
    }

    /// Room in this process, for what fits a slot: nothing to wait for.
    fn reserve_own(&self, len: usize) -> Result<Reservation<'_>, PutError<()>> {
        self.ready_to_put().map_err(Refusal::into_put)?;
        self.needs_consumers()?;
        self.check_reserving()?;
        let mut lines = self.scratch.take(len);
        // SAFETY: the lines stay where they are and are not used otherwise as long as the
        // reservation has both.
        let payload = unsafe { Payload::new(lines.as_mut_ptr().cast(), len) };
        Ok(Reservation { port: self, room: Room::Own(lines), payload })
    }

    fn try_reserve_block(&self, len: usize) -> Result<Option<Reservation<'_>>, PutError<()>> {
        self.check_reserving()?;
        let arena = &self.ring.arena;
        let reserve = || arena.reserve_block(self.ring.index, len, &self.cursors.hints);
        let mut reserved = reserve();
        for _ in 0..MOST_EXTENSIONS {
            if reserved.is_some() || !self.extend_arena(len) {
                break;
            }
            reserved = reserve();
        }
        if let Some(block) = reserved.filter(|block| !self.back_block(*block)) {
            arena.cancel_block(block, self.ring.index);
            reserved = None;
        }
        if let Some(kind) = self.growth.failure() {
            if let Some(block) = reserved {
                arena.cancel_block(block, self.ring.index);
            }
            return Err(PutError::System { value: (), kind });
        }
        let Some(block) = reserved else { return Ok(None) };
        let Some(payload) = arena.payload(block).filter(|payload| payload.room() >= len) else {
            arena.cancel_block(block, self.ring.index);
            return Ok(None);
        };
        self.cursors.reserved.set(self.cursors.reserved.get() + 1);
        Ok(Some(Reservation { port: self, room: Room::Block(block), payload }))
    }

    /// A batch of which some lie in slots and some in blocks.
    #[cold]
    pub(super) fn put_mixed(&self, values: &[&[u8]], wait: Wait) -> Result<usize, PutManyError> {
        // Nothing that can be known beforehand stops a batch in its middle.
        if let Some(long) = values.iter().find(|value| value.len() > self.max_message) {
            let cause = PutError::TooLarge { value: (), len: long.len(), max: self.max_message };
            return Err(PutManyError { put: 0, cause });
        }
        let mut done = 0;
        while let Some(rest) = values.get(done..).filter(|rest| !rest.is_empty()) {
            let run = rest.iter().take_while(|value| value.len() <= self.inline).count();
            if run > 0 {
                let put = self.put_many::<Bytes>(&rest[..run], wait).map_err(|error| error.after(done))?;
                done += put;
                if put < run {
                    break;
                }
            } else {
                match self.put_large(rest[0], wait) {
                    Ok(()) => done += 1,
                    Err(PutError::Full(())) if wait == Wait::No => break,
                    Err(cause) => return Err(PutManyError { put: done, cause }),
                }
            }
        }
        Ok(done)
    }

    /// A block is free: producers may be waiting for one.
    pub(super) fn block_freed(&self) {
        self.shrink_arena();
        if self.for_blocks.wanted(self.ring.fences) {
            self.wake(self.for_blocks, u32::MAX);
        }
    }
}
