//! One process of a run: takes its order, pins itself, does its part, answers.
//!
//! The order is JSON in the argument, the answer JSON on standard output. Knows
//! which part uses which system; how a part is driven and timed is in
//! `latency` and `throughput`. The parent is in `runner`.

#![allow(unsafe_code)]

use super::baseline::{copy, kernel, raw};
use super::control::Control;
use super::message::{Receipt, with_length, with_payload_size};
use super::plan::{Bench, Cell, System};
use super::{latency, load, probe, ringway_parts as queue, throughput, tune};
use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::fd::{FromRawFd, RawFd};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Ping, or a producer.
    First,
    /// Pong, or a consumer.
    Second,
}

/// What one process has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Order {
    pub cell: Cell,
    pub side: Side,
    /// Which of its side.
    pub index: u32,
    pub cpu: Option<usize>,
    pub measure: Duration,
    pub control: RawFd,
    pub receive: Option<RawFd>,
    pub send: Option<RawFd>,
    /// Where the queues are, by the names of [`queue::NAMES`].
    pub directory: PathBuf,
    pub parent: u32,
}

/// What one process has seen.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Part {
    Ping {
        percentiles: latency::Percentiles,
        samples: u64,
        clock_ns: f64,
        counts: latency::Counts,
    },
    Pong,
    Sent {
        messages: u64,
        warm_up: u64,
        start_ns: u64,
    },
    Got {
        receipts: Vec<Receipt>,
        end_ns: u64,
    },
    Kept(load::Sent),
    Timed(load::Got),
    /// Of an end that sleeps: what it is without that, and what sleeping cost it.
    Slept(Box<Part>, tune::Slept),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Done {
        part: Part,
        probes: Option<(f64, f64)>,
    },
    /// This system cannot carry this cell, here.
    Unsupported(String),
    Failed(String),
}

/// An error that makes an `Unsupported` answer.
#[derive(Debug)]
pub struct Unsupported(pub String);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Busy waiting of the baselines: gives way now and then, for a peer that lost
/// its core.
#[derive(Default)]
pub struct Spin(u32);

impl Spin {
    #[inline(always)]
    pub fn turn(&mut self) {
        self.0 = self.0.wrapping_add(1);
        if self.0.is_multiple_of(1 << 14) {
            std::thread::yield_now();
        } else {
            std::hint::spin_loop();
        }
    }
}

/// The main function of a worker process.
pub fn work(order: &str) -> ExitCode {
    let Ok(order) = serde_json::from_str::<Order>(order) else {
        eprintln!("this command is started by `ringway bench`, with an order that it understands");
        return ExitCode::from(2);
    };
    let answer = match run(&order) {
        Ok((part, probes)) => Answer::Done { part, probes },
        Err(error) if error.is::<Unsupported>() => Answer::Unsupported(format!("{error:#}")),
        Err(error) => Answer::Failed(format!("{error:#}")),
    };
    match serde_json::to_string(&answer) {
        Ok(text) => println!("{text}"),
        Err(error) => eprintln!("the answer cannot be written: {error}"),
    }
    if matches!(answer, Answer::Done { .. }) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What a driver needs of its surroundings: the gates, and the probes at the
/// gates.
pub struct Session<'o> {
    pub order: &'o Order,
    pub control: Control,
    before: std::cell::Cell<f64>,
}

const GATE_READY: usize = 0;
const GATE_START: usize = 1;
const GATE_MEASURE: usize = 2;
const GATE_END: usize = 3;
const GATE_EPOCH: usize = 4;

impl Session<'_> {
    /// All are attached; probe; go.
    pub fn start(&self) {
        self.control.meet(GATE_READY);
        self.before.set(self.probe(0));
        self.control.meet(GATE_START);
    }

    /// All have warmed up.
    pub fn measure(&self) {
        self.control.meet(GATE_MEASURE);
    }

    /// Of a load, after `measure`: both know when the first period begins, which the sender says.
    pub fn agree(&self, start_ns: Option<u64>) -> u64 {
        if let Some(ns) = start_ns {
            self.control.set_epoch(ns);
        }
        self.control.meet(GATE_EPOCH);
        self.control.epoch()
    }

    /// All are done; probe. The first process of the first side has both probes.
    pub fn end(&self) -> Option<(f64, f64)> {
        self.control.meet(GATE_END);
        let after = self.probe(1);
        (self.order.side == Side::First && self.order.index == 0).then_some((self.before.get(), after))
    }

    fn probe(&self, turn: u32) -> f64 {
        let timed = matches!(self.order.cell.bench, Bench::Load | Bench::Idle | Bench::Scale | Bench::Tune);
        if timed && self.order.cpu.is_none() {
            // One processor for all: a probe would take seconds, and has nothing to tell.
            return 1.0;
        }
        match (self.order.side, self.order.index) {
            (Side::First, 0) => return probe::ask(&self.control, turn),
            (Side::Second, 0) => probe::answer(&self.control, turn),
            _ => {}
        }
        0.0
    }
}

pub type Done = (Part, Option<(f64, f64)>);

fn run(order: &Order) -> Result<Done> {
    // The parent's death kills us (set before exec); unless it died before that.
    ensure!(std::os::unix::process::parent_id() == order.parent, "the parent has ended");
    if let Some(cpu) = order.cpu {
        pin(cpu)?;
    }
    let (first, second) = order.cell.processes();
    let control = Control::attach(order.control, first + second, order.cell.size)?;
    let session = Session { order, control, before: std::cell::Cell::new(0.0) };
    match order.cell.bench {
        Bench::Latency => round_trips(&session),
        Bench::Throughput | Bench::Scale => stream(&session),
        Bench::Load | Bench::Idle => load::work(&session),
        Bench::Tune => tune::work(&session),
        Bench::Process | Bench::Pool => anyhow::bail!("processes and pools have workers of their own"),
    }
}

fn round_trips(session: &Session) -> Result<Done> {
    let order = session.order;
    let size = order.cell.size;
    match order.cell.system {
        System::Raw => with_length!(size, length => latency::drive(session, raw::Flags::new(session, length)?)),
        System::Futex => with_length!(size, length => latency::drive(session, raw::Futexes::new(session, length)?)),
        System::Pipe | System::Unix => {
            latency::drive(session, kernel::Link::new(kernel::Stream::new(receiving(order)?, sending(order)?), size))
        }
        System::Mq => {
            latency::drive(session, kernel::Link::new(kernel::Mq::new(receiving(order)?, sending(order)?), size))
        }
        System::Ringway => with_payload_size!(size,
            N => latency::drive(session, queue::PodLink::<[u8; N]>::open(order)?),
            else Err(queue::no_such_payload(size))),
        System::RingwayBytes => {
            with_length!(size, length => latency::drive(session, queue::BytesLink::open(order, length)?))
        }
        other => bail!("{} has no round trips", other.name()),
    }
}

/// One end of a stream through what the cell names.
pub fn stream(session: &Session) -> Result<Done> {
    let order = session.order;
    let (size, batch) = (order.cell.size, throughput::batch(&order.cell) as usize);
    match (order.cell.system, order.side) {
        (System::Copy, Side::First) => {
            with_length!(size, length => throughput::produce(session, copy::Writer::new(session, length, batch)?))
        }
        (System::Copy, Side::Second) => {
            with_length!(size, length => throughput::consume(session, copy::Reader::new(session, length, batch)?))
        }
        (System::Pipe | System::Unix, Side::First) => {
            let stream = kernel::Stream::to(sending(order)?);
            with_length!(size, length => throughput::produce(session, kernel::Sender::new(stream, length, batch)))
        }
        (System::Pipe | System::Unix, Side::Second) => {
            let stream = kernel::Stream::from(receiving(order)?);
            with_length!(size, length => throughput::consume(session, kernel::Receiver::new(stream, length, batch)))
        }
        (System::Mq, Side::First) => {
            let mq = kernel::Mq::to(sending(order)?, order.cell.processes().1);
            with_length!(size, length => throughput::produce(session, kernel::Sender::new(mq, length, batch)))
        }
        (System::Mq, Side::Second) => {
            let mq = kernel::Mq::from(receiving(order)?);
            with_length!(size, length => throughput::consume(session, kernel::Receiver::new(mq, length, batch)))
        }
        (System::Ringway, Side::First) => with_payload_size!(size, N => {
            let producer = queue::pod_producer::<[u8; N]>(order)?;
            if batch == 1 {
                throughput::produce(session, queue::PutOne(producer))
            } else {
                throughput::produce(session, queue::PutMany::new(producer, batch))
            }
        }, else Err(queue::no_such_payload(size))),
        (System::Ringway, Side::Second) => with_payload_size!(size, N => {
            let consumer = queue::pod_consumer::<[u8; N]>(order)?;
            if batch == 1 {
                throughput::consume(session, queue::GetOne::new(consumer))
            } else {
                throughput::consume(session, queue::GetMany::new(consumer, batch))
            }
        }, else Err(queue::no_such_payload(size))),
        (System::RingwayBytes, Side::First) => {
            with_length!(size, length => throughput::produce(session, queue::PutBytes::open(order, length, batch)?))
        }
        (System::RingwayBytes, Side::Second) => {
            with_length!(size, length => throughput::consume(session, queue::GetBytes::open(order, length, batch)?))
        }
        (other, _) => bail!("{} has no stream", other.name()),
    }
}

pub fn sending(order: &Order) -> Result<File> {
    inherited(order.send.context("no descriptor to send to")?)
}

pub fn receiving(order: &Order) -> Result<File> {
    inherited(order.receive.context("no descriptor to receive from")?)
}

fn inherited(fd: RawFd) -> Result<File> {
    ensure!(fd > 2, "not an inherited descriptor: {fd}");
    // SAFETY: the parent left this descriptor open for us alone; each is taken once.
    Ok(unsafe { File::from_raw_fd(fd) })
}

fn pin(cpu: usize) -> Result<()> {
    // SAFETY: a cpu_set_t is a plain bit mask; all zeros is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    ensure!(cpu < libc::CPU_SETSIZE as usize, "processor {cpu} is beyond the mask");
    // SAFETY: the index is inside the set.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set is valid and of the stated size; 0 is this process.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&set), &set) };
    ensure!(result == 0, "pinning to processor {cpu}: {}", std::io::Error::last_os_error());
    Ok(())
}
