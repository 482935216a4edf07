//! The two processes of one run: the sender that keeps to its moments, and the receiver that knows
//! them, too.
//!
//! A run warms up like one of `throughput`. Then the sender says when the first period begins, and
//! each message is timed from the moment at which it was due. Knows nothing of rounds and rows.

#![allow(unsafe_code)]

use super::arrivals::{Arrivals, Clock, Kept, Monotonic, Times, exact_timers, keep, times};
use crate::bench::baseline::kernel;
use crate::bench::message::{Checker, Exact, Receipt, complete, number, with_length, with_payload_size};
use crate::bench::plan::{Bench, Cell, System};
use crate::bench::ringway_parts as queue;
use crate::bench::throughput::{Receiver, Sender};
use crate::bench::worker::{Part, Session, Side, receiving, sending};
use anyhow::{Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A histogram on its way: values, and how often each was there.
pub type Counts = Vec<(u64, u64)>;

/// What the sender has seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sent {
    /// Those of the warm-up not among them.
    pub messages: u64,
    pub start_ns: u64,
    pub late: Counts,
    /// Processor time that the messages took, without that of keeping to their moments.
    pub cpu_ns: u64,
}

/// What the receiver has seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Got {
    receipts: Vec<Receipt>,
    pub latency: Counts,
    pub end_ns: u64,
    /// Processor time, and all time, from the first wait to the end.
    pub cpu_ns: u64,
    pub wall_ns: u64,
    /// How often it went to sleep meanwhile.
    pub sleeps: u64,
}

type Done = (Part, Option<(f64, f64)>);

/// From the meeting of the processes to the first period.
const LEAD_NS: u64 = 1_000_000;

/// What is due in so much time; at least one.
pub fn messages(rate: u64, measure: Duration) -> u64 {
    ((rate as f64 * measure.as_secs_f64()).round() as u64).max(1)
}

pub fn work(session: &Session) -> Result<Done> {
    let order = session.order;
    let size = order.cell.size;
    match (order.cell.system, order.side) {
        (System::Ringway, Side::First) => with_payload_size!(size,
            N => send(session, queue::PutOne(queue::pod_producer::<[u8; N]>(order)?)),
            else Err(queue::no_such_payload(size))),
        (System::Ringway, Side::Second) => with_payload_size!(size,
            N => receive(session, queue::GetOne::new(queue::pod_consumer::<[u8; N]>(order)?)),
            else Err(queue::no_such_payload(size))),
        (System::RingwayBytes, Side::First) => {
            with_length!(size, length => send(session, queue::PutBytes::open(order, length, 1)?))
        }
        (System::RingwayBytes, Side::Second) => {
            with_length!(size, length => receive(session, queue::GetBytes::open(order, length, 1)?))
        }
        (System::Pipe, Side::First) => {
            let stream = kernel::Stream::to(sending(order)?);
            with_length!(size, length => send(session, kernel::Sender::new(stream, length, 1)))
        }
        (System::Pipe, Side::Second) => {
            let stream = kernel::Stream::from(receiving(order)?);
            with_length!(size, length => receive(session, kernel::Receiver::new(stream, length, 1)))
        }
        (other, _) => bail!("{} has no load", other.name()),
    }
}

/// Messages that nobody times: once round the queue.
fn warm_up(cell: &Cell) -> u64 {
    cell.capacity.unwrap_or(0).clamp(1024, 65_536)
}

fn send<S: Sender>(session: &Session, mut sender: S) -> Result<Done> {
    let order = session.order;
    let (warm_up, rate) = (warm_up(&order.cell), order.cell.rate.unwrap_or(1));
    // Of an idle run, none.
    let count = if order.cell.bench == Bench::Idle { 0 } else { messages(rate, order.measure) };
    let arrivals = Arrivals::new(rate);
    exact_timers();
    let keeping = cost_of_keeping(arrivals, count.min(messages(rate, order.measure / 4).max(3)))?;
    session.start();
    for count in 0..warm_up {
        sender.send(number(0, count))?;
    }
    session.measure();
    let start_ns = session.agree(Some(Monotonic.now() + LEAD_NS));
    let put = |i| sender.send(number(0, warm_up + i));
    let (kept, cpu_ns) =
        costing(|| keep(&Monotonic, arrivals, start_ns, count, patience(arrivals, start_ns, count), put))?;
    if count == 0 {
        Monotonic.sleep_until(start_ns + order.measure.as_nanos() as u64);
    }
    sender.end(true)?;
    let cpu_ns = cpu_ns.saturating_sub((keeping * kept.messages as f64) as u64);
    Ok((Part::Kept(Sent { messages: kept.messages, start_ns, late: counts(&kept.late), cpu_ns }), session.end()))
}

/// When a sender that cannot keep up gives up: a quarter after its time, and no run ends because of
/// one pre-emption.
fn patience(arrivals: Arrivals, start_ns: u64, count: u64) -> u64 {
    start_ns + arrivals.span(count) / 4 * 5 + 50_000_000
}

/// What the messages of `f` take of the processor: the time that it sends, but for what it sleeps
/// because the queue is full, or because others have the processor.
fn costing(f: impl FnOnce() -> Result<Kept>) -> Result<(Kept, u64)> {
    let before = processor_ns();
    let kept = f()?;
    let cpu_ns = (processor_ns() - before).saturating_sub(kept.spun_ns).min(kept.sending_ns);
    Ok((kept, cpu_ns))
}

/// What [`keep`] itself takes of the processor, without a queue: nanoseconds a message.
fn cost_of_keeping(arrivals: Arrivals, count: u64) -> Result<f64> {
    let start_ns = Monotonic.now() + LEAD_NS;
    let nothing = |i| {
        std::hint::black_box(number(0, i));
        Ok(())
    };
    let stop_ns = patience(arrivals, start_ns, count);
    let (kept, cpu_ns) = costing(|| keep(&Monotonic, arrivals, start_ns, count, stop_ns, nothing))?;
    Ok(cpu_ns as f64 / kept.messages.max(1) as f64)
}

fn receive<R: Receiver>(session: &Session, mut receiver: R) -> Result<Done> {
    let order = session.order;
    let warm_up = warm_up(&order.cell);
    let mut exact = Exact::default();
    session.start();
    for _ in 0..warm_up {
        ensure!(receiver.receive(1, &mut exact)? == 1, "the stream ended during the warm-up");
    }
    session.measure();
    let start_ns = session.agree(None);
    let (begun, before, slept) = (Monotonic.now(), processor_ns(), sleeps());
    let arrivals = Arrivals::new(order.cell.rate.unwrap_or(1));
    let mut stopwatch = Stopwatch::new(exact, warm_up, arrivals, start_ns)?;
    while receiver.receive(1, &mut stopwatch)? > 0 {}
    let got = Got {
        receipts: stopwatch.receipts(),
        latency: counts(&stopwatch.latency),
        end_ns: stopwatch.last_ns,
        cpu_ns: processor_ns() - before,
        wall_ns: Monotonic.now() - begun,
        sleeps: sleeps() - slept,
    };
    Ok((Part::Timed(got), session.end()))
}

/// Takes the time of every message that is right, from the moment at which it was due.
pub struct Stopwatch {
    exact: Exact,
    /// The count of the first message that is timed.
    first: u64,
    arrivals: Arrivals,
    start_ns: u64,
    /// When the last one arrived.
    last_ns: u64,
    pub latency: Times,
}

impl Stopwatch {
    pub fn new(exact: Exact, first: u64, arrivals: Arrivals, start_ns: u64) -> Result<Stopwatch> {
        Ok(Stopwatch { exact, first, arrivals, start_ns, last_ns: start_ns, latency: times()? })
    }
}

impl Checker for Stopwatch {
    #[inline(always)]
    fn accept(&mut self, number: u64) -> bool {
        self.last_ns = Monotonic.now();
        let right = self.exact.accept(number);
        if right {
            let due = self.start_ns + self.arrivals.at(number - self.first);
            self.latency.saturating_record(self.last_ns.saturating_sub(due));
        }
        right
    }

    fn receipts(&self) -> Vec<Receipt> {
        self.exact.receipts()
    }
}

/// Whether all of a run arrived, each once.
pub fn all_arrived(cell: &Cell, sent: &Sent, got: &Got) -> Result<()> {
    complete(&[warm_up(cell) + sent.messages], std::slice::from_ref(&got.receipts)).map_err(anyhow::Error::msg)
}

fn counts(times: &Times) -> Counts {
    times.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

/// What this process has taken of the processors.
pub fn processor_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// How often this process has gone to sleep.
fn sleeps() -> u64 {
    // SAFETY: plain integers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is a valid place for the answer.
    unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    usage.ru_nvcsw as u64
}
