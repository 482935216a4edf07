//! The limit of a round trip: a flag with the payload right behind it, a line of
//! memory each way, without any queue. `Flags` spins, `Futexes` sleeps.
//!
//! Turns: whoever stored the last flag waits; the other one owns both payloads
//! until it stores its flag.

#![allow(unsafe_code)]

use crate::bench::control::{Control, Lane, futex_wait, futex_wake_all};
use crate::bench::latency::Link;
use crate::bench::message::{Length, check, fill};
use crate::bench::worker::{Session, Side, Spin, Unsupported};
use anyhow::Result;
use std::sync::atomic::Ordering;

/// Bytes of a payload that is not made in place.
const LONG: usize = 2048;

/// Both directions of either kind.
struct Lanes<'c, L> {
    out: Lane<'c>,
    back: Lane<'c>,
    turn: u64,
    length: L,
    got: Vec<u8>,
}

impl<'c, L: Length> Lanes<'c, L> {
    fn new(session: &'c Session, length: L) -> Result<Self> {
        let control: &Control = &session.control;
        let (out, back) = match session.order.side {
            Side::First => (control.lane(0), control.lane(1)),
            Side::Second => (control.lane(1), control.lane(0)),
        };
        if length.bytes() > out.room() {
            return Err(Unsupported(format!("at most {} bytes", out.room())).into());
        }
        Ok(Lanes { out, back, turn: 1, length, got: vec![0; length.bytes()] })
    }

    #[inline(always)]
    fn write(&mut self, number: u64) {
        // A long payload is faster made at home and copied over, as queues do.
        if self.length.bytes() > LONG {
            fill(&mut self.got, number);
            return self.write_back();
        }
        // SAFETY: it is our turn (head of this file).
        unsafe { self.out.payload(self.length.bytes(), |bytes| fill(bytes, number)) }
    }

    #[inline(always)]
    fn read(&mut self) {
        let got = &mut self.got[..self.length.bytes()];
        // SAFETY: the caller has just seen the other side's flag.
        unsafe { self.back.payload(self.length.bytes(), |bytes| got.copy_from_slice(bytes)) }
    }

    #[inline(always)]
    fn write_back(&mut self) {
        let got = &self.got[..self.length.bytes()];
        // SAFETY: it is our turn.
        unsafe { self.out.payload(self.length.bytes(), |bytes| bytes.copy_from_slice(got)) }
    }

    #[inline(always)]
    fn number(&self) -> Option<u64> {
        check(&self.got[..self.length.bytes()])
    }
}

/// Spinning on flags.
pub struct Flags<'c, L>(Lanes<'c, L>);

impl<'c, L: Length> Flags<'c, L> {
    pub fn new(session: &'c Session, length: L) -> Result<Self> {
        Lanes::new(session, length).map(Flags)
    }
}

impl<L: Length> Link for Flags<'_, L> {
    type Got = ();

    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        self.0.write(number);
        self.0.out.flag().store(self.0.turn, Ordering::Release);
        Ok(())
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<()> {
        let mut spin = Spin::default();
        while self.0.back.flag().load(Ordering::Acquire) != self.0.turn {
            spin.turn();
        }
        self.0.turn += 1;
        self.0.read();
        Ok(())
    }

    #[inline(always)]
    fn check(&self, (): &()) -> Option<u64> {
        self.0.number()
    }

    #[inline(always)]
    fn send_back(&mut self, (): ()) -> Result<()> {
        self.0.write_back();
        self.0.out.flag().store(self.0.turn - 1, Ordering::Release);
        Ok(())
    }
}

/// Sleeping on futexes: every message costs a wake, every wait a sleep.
pub struct Futexes<'c, L>(Lanes<'c, L>);

impl<'c, L: Length> Futexes<'c, L> {
    pub fn new(session: &'c Session, length: L) -> Result<Self> {
        Lanes::new(session, length).map(Futexes)
    }

    fn publish(&self, turn: u64) {
        let word = self.0.out.futex();
        word.store(turn as u32, Ordering::Release);
        futex_wake_all(word);
    }
}

impl<L: Length> Link for Futexes<'_, L> {
    type Got = ();

    fn send(&mut self, number: u64) -> Result<()> {
        self.0.write(number);
        self.publish(self.0.turn);
        Ok(())
    }

    fn receive(&mut self) -> Result<()> {
        let word = self.0.back.futex();
        loop {
            let seen = word.load(Ordering::Acquire);
            if seen == self.0.turn as u32 {
                break;
            }
            futex_wait(word, seen);
        }
        self.0.turn += 1;
        self.0.read();
        Ok(())
    }

    fn check(&self, (): &()) -> Option<u64> {
        self.0.number()
    }

    fn send_back(&mut self, (): ()) -> Result<()> {
        self.0.write_back();
        self.publish(self.0.turn - 1);
        Ok(())
    }
}
