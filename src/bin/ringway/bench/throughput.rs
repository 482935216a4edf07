//! Streams: drives a producer or a consumer of one run.
//!
//! A run warms up with a fixed number of messages, of which every consumer
//! takes its share, so that all is drained when everybody meets again; then the
//! producers send for a fixed time and end the stream. Only messages that a
//! consumer has checked are counted. Knows nothing of the systems.

use super::control::now_ns;
use super::message::{Checker, Exact, Ledger, Receipt, complete, number};
use super::plan::{Bench, Cell, System};
use super::worker::{Part, Session};
use anyhow::{Result, bail, ensure};
use std::time::Instant;

/// The putting end of a system.
pub trait Sender {
    /// Sends one batch: messages `first`, `first` + 1, ...
    fn send(&mut self, first: u64) -> Result<()>;
    /// Ends the stream, if this is the last producer of the run.
    fn end(self, last: bool) -> Result<()>;
}

/// The getting end of a system.
pub trait Receiver {
    /// Takes at most `max` messages, at most a batch, and shows each to `checker`;
    /// 0: the stream has ended.
    fn receive<C: Checker>(&mut self, max: u64, checker: &mut C) -> Result<u64>;
}

type Done = (Part, Option<(f64, f64)>);

/// Messages between two looks at the clock, or so many bytes of them.
const CLOCK_EVERY: u64 = 1024;
const CLOCK_BYTES: u64 = 1 << 20;
/// A warm-up has no more bytes than these, but for one batch of every producer to every consumer.
const WARM_UP_BYTES: u64 = 32 << 20;
/// Bytes of one of the two buffers that `copy` uses in turn.
pub const COPY_BYTES: usize = 16 << 10;

/// Messages that go in at once.
pub fn batch(cell: &Cell) -> u64 {
    match cell.system {
        System::Copy => (COPY_BYTES / cell.size).max(1) as u64,
        _ => u64::from(cell.batch.unwrap_or(1)),
    }
}

/// Messages that each producer sends before the measurement: together once round
/// the queue, in whole batches, the same number for every consumer.
fn warm_up(cell: &Cell) -> u64 {
    let (producers, consumers) = cell.processes();
    // Where capacities are compared, each has been used to its end.
    let most = if cell.bench == Bench::Scale { 1 << 20 } else { 65536 };
    let total = match cell.capacity {
        Some(capacity) => capacity.clamp(1024, most),
        None => 1024,
    };
    let total = total.min(WARM_UP_BYTES / cell.size as u64).max(1);
    let unit = batch(cell) * u64::from(consumers);
    total.div_ceil(unit * u64::from(producers)) * unit
}

pub fn produce<S: Sender>(session: &Session, mut sender: S) -> Result<Done> {
    let order = session.order;
    let (batch, warm_up) = (batch(&order.cell), warm_up(&order.cell));
    session.start();
    let mut messages = 0;
    while messages < warm_up {
        sender.send(number(order.index, messages))?;
        messages += batch;
    }
    session.measure();
    let size = order.cell.size as u64;
    let batches = CLOCK_EVERY.min((CLOCK_BYTES / size).max(1)).div_ceil(batch);
    let start_ns = now_ns();
    let end = Instant::now() + order.measure;
    while Instant::now() < end {
        for _ in 0..batches {
            sender.send(number(order.index, std::hint::black_box(messages)))?;
            messages += batch;
        }
    }
    sender.end(session.control.last_producer(order.cell.processes().0))?;
    Ok((Part::Sent { messages, warm_up, start_ns }, session.end()))
}

pub fn consume<R: Receiver>(session: &Session, receiver: R) -> Result<Done> {
    match session.order.cell.processes() {
        (1, 1) => consume_checked(session, receiver, Exact::default()),
        (producers, _) => consume_checked(session, receiver, Ledger::new(producers)),
    }
}

fn consume_checked<R: Receiver, C: Checker>(session: &Session, mut receiver: R, mut checker: C) -> Result<Done> {
    let cell = &session.order.cell;
    let (producers, consumers) = cell.processes();
    let batch = batch(cell);
    session.start();
    let mut share = warm_up(cell) * u64::from(producers) / u64::from(consumers);
    while share > 0 {
        let got = receiver.receive(share.min(batch), &mut checker)?;
        ensure!(got > 0, "the stream ended during the warm-up");
        share -= got;
    }
    session.measure();
    while receiver.receive(batch, &mut checker)? > 0 {}
    let end_ns = now_ns();
    Ok((Part::Got { receipts: checker.receipts(), end_ns }, session.end()))
}

/// One message arrived: is it whole, and its producer's next?
#[inline(always)]
pub fn accept<C: Checker>(checker: &mut C, number: Option<u64>) -> Result<()> {
    match number {
        Some(number) if checker.accept(number) => Ok(()),
        Some(number) => wrong(number),
        None => bail!("a damaged message arrived"),
    }
}

#[cold]
fn wrong(number: u64) -> Result<()> {
    bail!("message {number:#x} arrived out of its producer's order, or twice, or after a lost one")
}

/// The rate of one run, and how many messages it counted, from all answers.
pub fn rate(parts: &[Part]) -> Result<(f64, u64)> {
    let (mut sent, mut counted, mut receipts): (Vec<u64>, u64, Vec<Vec<Receipt>>) = Default::default();
    let (mut start, mut end) = (u64::MAX, 0);
    for part in parts {
        match part {
            Part::Sent { messages, warm_up, start_ns } => {
                sent.push(*messages);
                counted += messages - warm_up;
                start = start.min(*start_ns);
            }
            Part::Got { receipts: rows, end_ns } => {
                receipts.push(rows.clone());
                end = end.max(*end_ns);
            }
            _ => bail!("an answer of another bench"),
        }
    }
    complete(&sent, &receipts).map_err(anyhow::Error::msg)?;
    ensure!(end > start, "the run took no time");
    Ok((counted as f64 * 1e9 / (end - start) as f64, counted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::plan::{Mode, Wait};

    fn cell(producers: u32, consumers: u32, batch: u32) -> Cell {
        Cell {
            mode: Some(Mode::Mpmc),
            wait: Some(Wait::Default),
            capacity: Some(1024),
            producers: Some(producers),
            consumers: Some(consumers),
            batch: Some(batch),
            ..Cell::bare(Bench::Throughput, System::Ringway, 8)
        }
    }

    #[test]
    fn the_warm_up_is_shared_evenly() {
        for (producers, consumers, batch) in [(1, 1, 1), (1, 1, 32), (2, 3, 32), (4, 4, 7), (3, 1, 1)] {
            let each = warm_up(&cell(producers, consumers, batch));
            assert_eq!(each % u64::from(batch), 0);
            assert_eq!(each * u64::from(producers) % u64::from(consumers), 0);
            assert!(each * u64::from(producers) >= 1024);
        }
    }

    #[test]
    fn the_warm_up_of_long_messages_is_short() {
        for size in [1 << 16, 1 << 20, 4 << 20] {
            let each = warm_up(&Cell { size, ..cell(1, 1, 1) });
            assert_eq!(each * size as u64, WARM_UP_BYTES);
        }
        assert_eq!(warm_up(&Cell { size: 4 << 20, ..cell(4, 4, 32) }), 4 * 32, "a batch to everybody");
        assert_eq!(warm_up(&Cell { capacity: Some(1 << 20), ..cell(1, 1, 1) }), 65536);
        assert_eq!(warm_up(&Cell { bench: Bench::Scale, capacity: Some(1 << 20), ..cell(1, 1, 1) }), 1 << 20);
    }

    #[test]
    fn a_run_counts_what_was_got_after_the_warm_up() {
        let mut ledger = Exact::default();
        assert!((0..100).all(|n| ledger.accept(n)));
        let got = Part::Got { receipts: ledger.receipts(), end_ns: 2_000 };
        let sent = |messages| Part::Sent { messages, warm_up: 50, start_ns: 1_000 };
        let (rate_got, counted) = rate(&[sent(100), got.clone()]).unwrap();
        assert_eq!((rate_got, counted), (5e7, 50));
        assert!(rate(&[sent(101), got.clone()]).is_err(), "one message was dropped at the end");
        assert!(rate(&[sent(99), got]).is_err(), "one message too many");
    }
}
