//! The limit of a stream: one core writes a buffer full of messages, the other
//! copies it out, two buffers in turn, without any queue. The reader checks its
//! copy, as every receiver does.
//!
//! Turns: a buffer is the writer's while its answer equals its flag, else the
//! reader's.

#![allow(unsafe_code)]

use crate::bench::control::Lane;
use crate::bench::message::{Checker, Length, check, fill};
use crate::bench::throughput::{Receiver, Sender, accept};
use crate::bench::worker::{Session, Spin, Unsupported};
use anyhow::Result;
use std::sync::atomic::Ordering;

/// A flag with this bit says that the stream has ended.
const END: u64 = 1 << 63;

struct Buffers<'c, L> {
    lanes: [Lane<'c>; 2],
    /// Buffers used so far.
    turn: u64,
    length: L,
    messages: usize,
}

impl<'c, L: Length> Buffers<'c, L> {
    fn new(session: &'c Session, length: L, messages: usize) -> Result<Self> {
        let lanes = [session.control.lane(0), session.control.lane(1)];
        if length.bytes() * messages > lanes[0].room() {
            return Err(Unsupported(format!("at most {} bytes", lanes[0].room())).into());
        }
        Ok(Buffers { lanes, turn: 0, length, messages })
    }

    fn bytes(&self) -> usize {
        self.length.bytes() * self.messages
    }

    fn lane(&self) -> Lane<'c> {
        self.lanes[(self.turn % 2) as usize]
    }

    /// The flag's value in this turn of its buffer.
    fn value(&self) -> u64 {
        self.turn / 2 + 1
    }

    fn wait_until_free(&self) -> Lane<'c> {
        let lane = self.lane();
        let mut spin = Spin::default();
        while lane.answer().load(Ordering::Acquire) != self.value() - 1 {
            spin.turn();
        }
        lane
    }
}

pub struct Writer<'c, L>(Buffers<'c, L>);

impl<'c, L: Length> Writer<'c, L> {
    pub fn new(session: &'c Session, length: L, messages: usize) -> Result<Self> {
        Buffers::new(session, length, messages).map(Writer)
    }
}

impl<L: Length> Sender for Writer<'_, L> {
    fn send(&mut self, first: u64) -> Result<()> {
        let lane = self.0.wait_until_free();
        let size = self.0.length.bytes();
        // SAFETY: the buffer is ours (head of this file).
        unsafe {
            lane.payload(self.0.bytes(), |bytes| {
                bytes.chunks_exact_mut(size).zip(first..).for_each(|(message, number)| fill(message, number));
            });
        }
        lane.flag().store(self.0.value(), Ordering::Release);
        self.0.turn += 1;
        Ok(())
    }

    fn end(self, _last: bool) -> Result<()> {
        self.0.wait_until_free().flag().store(END, Ordering::Release);
        Ok(())
    }
}

pub struct Reader<'c, L> {
    buffers: Buffers<'c, L>,
    copy: Vec<u8>,
}

impl<'c, L: Length> Reader<'c, L> {
    pub fn new(session: &'c Session, length: L, messages: usize) -> Result<Self> {
        let buffers = Buffers::new(session, length, messages)?;
        let copy = vec![0; buffers.bytes()];
        Ok(Reader { buffers, copy })
    }
}

impl<L: Length> Receiver for Reader<'_, L> {
    fn receive<C: Checker>(&mut self, _max: u64, checker: &mut C) -> Result<u64> {
        let lane = self.buffers.lane();
        let mut spin = Spin::default();
        loop {
            let flag = lane.flag().load(Ordering::Acquire);
            if flag == self.buffers.value() {
                break;
            }
            if flag == END {
                return Ok(0);
            }
            spin.turn();
        }
        let copy = &mut self.copy;
        // SAFETY: the buffer is ours until we answer.
        unsafe { lane.payload(self.buffers.bytes(), |bytes| copy.copy_from_slice(bytes)) }
        lane.answer().store(self.buffers.value(), Ordering::Release);
        self.buffers.turn += 1;
        for message in self.copy.chunks_exact(self.buffers.length.bytes()) {
            accept(checker, check(message))?;
        }
        Ok(self.buffers.messages as u64)
    }
}
