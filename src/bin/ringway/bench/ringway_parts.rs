//! The ends of ringway queues as the drivers want them: round trips and streams
//! over `PodQueue` and `ByteQueue`.
//!
//! Uses the public interface as any program would. Knows nothing of timing.

use super::latency::Link;
use super::message::{Checker, Length, Payload, check, fill};
use super::plan::{Cell, System, Wait};
use super::throughput::{Receiver, Sender, accept};
use super::worker::{Order, Side, Unsupported};
use anyhow::{Context, Result};
use ringway::{Bytes, Consumer, GetError, Handle, Message, Options, Pod, Producer, SetupErrorKind, WaitPolicy};
use std::path::Path;

/// The queues of a run: a stream uses the first one, ping-pong sends there.
pub const NAMES: [&str; 2] = ["there", "back"];

/// What fits the slots of a default byte queue; for longer ones the queue is told their length.
const DEFAULT_INLINE: usize = 52;

fn policy(wait: Option<Wait>) -> WaitPolicy {
    match wait {
        Some(Wait::Spin) => WaitPolicy::Spin,
        Some(Wait::Park) => WaitPolicy::Park,
        Some(Wait::Default) | None => WaitPolicy::default(),
    }
}

/// Keeps the queues of a run in being; the parent's.
pub type Queues = Vec<Box<dyn std::any::Any>>;

/// Creates the queues that `cell` needs.
pub fn create(cell: &Cell, directory: &Path, count: usize) -> Result<Queues> {
    let (first, second) = cell.processes();
    let side = |single| if single { ringway::Side::Single } else { ringway::Side::Multi };
    let mode = cell.mode.context("a ringway cell has a mode")?;
    let mut options = Options::new(cell.capacity.context("a ringway cell has a capacity")?)
        .producers(side(mode.single_producer()))
        .consumers(side(mode.single_consumer()))
        .max_participants(2 * (first + second) + 4)
        .directory(directory);
    if cell.system == System::RingwayBytes {
        if let Some(bytes) = cell.inline {
            options = options.inline(bytes);
        }
        if cell.size > cell.inline.unwrap_or(DEFAULT_INLINE) {
            options = options.max_message(cell.size);
        }
        return create_all::<Bytes>(count, &options);
    }
    super::message::with_payload_size!(cell.size,
        N => create_all::<Pod<[u8; N]>>(count, &options),
        else Err(no_such_payload(cell.size)))
}

fn create_all<M: Message>(count: usize, options: &Options) -> Result<Queues> {
    let mut queues = Queues::new();
    for name in &NAMES[..count] {
        let queue = Handle::<M>::create(name, options.clone()).map_err(|error| match error.kind() {
            // Of the machine, not of the queue: a row that says so.
            SetupErrorKind::NoSpace { .. } => Unsupported(error.to_string()).into(),
            _ => anyhow::Error::new(error).context("creating the queue"),
        })?;
        queues.push(Box::new(queue));
    }
    Ok(queues)
}

/// Why there is no plain-data row of this size.
pub fn no_such_payload(size: usize) -> anyhow::Error {
    let longest = super::message::LONGEST_PAYLOAD;
    Unsupported(format!(
        "plain data goes by value and is compiled for some sizes of at most {longest} bytes, not for {size}; see the \
         ringway-bytes row"
    ))
    .into()
}

fn open<M: Message>(order: &Order, name: &str) -> Result<Handle<M>> {
    let options = Options::default().directory(&order.directory).wait_policy(policy(order.cell.wait));
    Handle::open_with(name, options).with_context(|| format!("opening the queue '{name}'"))
}

/// The sending and the receiving end of this side of a ping-pong.
fn pair<M: Message>(order: &Order) -> Result<(Producer<M>, Consumer<M>)> {
    let (out, back) = match order.side {
        Side::First => (NAMES[0], NAMES[1]),
        Side::Second => (NAMES[1], NAMES[0]),
    };
    Ok((open::<M>(order, out)?.producer()?, open::<M>(order, back)?.consumer()?))
}

/// Round trips of plain data.
pub struct PodLink<P: Payload> {
    out: Producer<Pod<P>>,
    back: Consumer<Pod<P>>,
    got: P,
}

impl<P: Payload> PodLink<P> {
    pub fn open(order: &Order) -> Result<Self> {
        let (out, back) = pair(order)?;
        Ok(PodLink { out, back, got: P::build(0) })
    }
}

impl<P: Payload> Link for PodLink<P> {
    /// The message is in `got`.
    type Got = ();

    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        self.out.put(P::build(number)).map_err(without_value)
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<()> {
        Ok(self.back.get_into(&mut self.got)?)
    }

    #[inline(always)]
    fn check(&self, (): &()) -> Option<u64> {
        self.got.check()
    }

    #[inline(always)]
    fn send_back(&mut self, (): ()) -> Result<()> {
        self.out.put(self.got).map_err(without_value)
    }
}

/// The error of a put, as text: it holds the message, which is not `Sync`.
#[cold]
fn without_value<V>(error: ringway::PutError<V>) -> anyhow::Error {
    anyhow::anyhow!("put: {error}")
}

/// Round trips of bytes.
pub struct BytesLink<L> {
    out: Producer<Bytes>,
    back: Consumer<Bytes>,
    length: L,
    message: Vec<u8>,
    got: Vec<u8>,
}

impl<L: Length> BytesLink<L> {
    pub fn open(order: &Order, length: L) -> Result<Self> {
        let (out, back) = pair(order)?;
        Ok(BytesLink { out, back, length, message: vec![0; length.bytes()], got: Vec::new() })
    }
}

impl<L: Length> Link for BytesLink<L> {
    /// The length; the bytes are in `got`.
    type Got = usize;

    #[inline(always)]
    fn send(&mut self, number: u64) -> Result<()> {
        let message = &mut self.message[..self.length.bytes()];
        fill(message, number);
        self.out.put(message).map_err(without_value)
    }

    #[inline(always)]
    fn receive(&mut self) -> Result<usize> {
        Ok(self.back.get_into(&mut self.got)?)
    }

    #[inline(always)]
    fn check(&self, &len: &usize) -> Option<u64> {
        if len == self.length.bytes() { check(&self.got) } else { None }
    }

    #[inline(always)]
    fn send_back(&mut self, _: usize) -> Result<()> {
        self.out.put(&self.got).map_err(without_value)
    }
}

pub fn pod_producer<P: Payload>(order: &Order) -> Result<Producer<Pod<P>>> {
    Ok(open(order, NAMES[0])?.producer()?)
}

pub fn pod_consumer<P: Payload>(order: &Order) -> Result<Consumer<Pod<P>>> {
    Ok(open(order, NAMES[0])?.consumer()?)
}

pub struct PutOne<P: Payload>(pub Producer<Pod<P>>);

impl<P: Payload> Sender for PutOne<P> {
    #[inline(always)]
    fn send(&mut self, first: u64) -> Result<()> {
        self.0.put(P::build(first)).map_err(without_value)
    }

    fn end(self, last: bool) -> Result<()> {
        if last {
            self.0.close();
        }
        Ok(())
    }
}

pub struct PutMany<P: Payload> {
    producer: Producer<Pod<P>>,
    messages: Vec<P>,
}

impl<P: Payload> PutMany<P> {
    pub fn new(producer: Producer<Pod<P>>, batch: usize) -> Self {
        PutMany { producer, messages: vec![P::build(0); batch] }
    }
}

impl<P: Payload> Sender for PutMany<P> {
    #[inline(always)]
    fn send(&mut self, first: u64) -> Result<()> {
        self.messages.iter_mut().zip(first..).for_each(|(message, number)| *message = P::build(number));
        Ok(self.producer.put_many(&self.messages)?)
    }

    fn end(self, last: bool) -> Result<()> {
        PutOne(self.producer).end(last)
    }
}

pub struct GetOne<P: Payload> {
    consumer: Consumer<Pod<P>>,
    message: P,
}

impl<P: Payload> GetOne<P> {
    pub fn new(consumer: Consumer<Pod<P>>) -> Self {
        GetOne { consumer, message: P::build(0) }
    }
}

impl<P: Payload> Receiver for GetOne<P> {
    #[inline(always)]
    fn receive<C: Checker>(&mut self, _max: u64, checker: &mut C) -> Result<u64> {
        match self.consumer.get_into(&mut self.message) {
            Ok(()) => accept(checker, self.message.check()).map(|()| 1),
            Err(error) => ended(error),
        }
    }
}

/// The number of messages that came with an error: none, at the end.
#[cold]
fn ended(error: GetError) -> Result<u64> {
    if error.is_closed() { Ok(0) } else { Err(error.into()) }
}

pub struct GetMany<P: Payload> {
    consumer: Consumer<Pod<P>>,
    messages: Vec<P>,
}

impl<P: Payload> GetMany<P> {
    pub fn new(consumer: Consumer<Pod<P>>, batch: usize) -> Self {
        GetMany { consumer, messages: Vec::with_capacity(batch) }
    }
}

impl<P: Payload> Receiver for GetMany<P> {
    #[inline(always)]
    fn receive<C: Checker>(&mut self, max: u64, checker: &mut C) -> Result<u64> {
        self.messages.clear();
        match self.consumer.get_many(&mut self.messages, max as usize) {
            Ok(_) => {
                self.messages.iter().try_for_each(|message| accept(checker, message.check()))?;
                Ok(self.messages.len() as u64)
            }
            Err(error) => ended(error),
        }
    }
}

pub struct PutBytes<L> {
    producer: Producer<Bytes>,
    length: L,
    buffer: Vec<u8>,
}

impl<L: Length> PutBytes<L> {
    pub fn open(order: &Order, length: L, batch: usize) -> Result<Self> {
        let producer = open(order, NAMES[0])?.producer()?;
        Ok(PutBytes { producer, length, buffer: vec![0; length.bytes() * batch] })
    }
}

impl<L: Length> Sender for PutBytes<L> {
    #[inline(always)]
    fn send(&mut self, first: u64) -> Result<()> {
        let size = self.length.bytes();
        if self.buffer.len() == size {
            let message = &mut self.buffer[..size];
            fill(message, first);
            return self.producer.put(message).map_err(without_value);
        }
        self.buffer.chunks_exact_mut(size).zip(first..).for_each(|(message, number)| fill(message, number));
        let messages: Vec<&[u8]> = self.buffer.chunks_exact(size).collect();
        Ok(self.producer.put_many(&messages)?)
    }

    fn end(self, last: bool) -> Result<()> {
        if last {
            self.producer.close();
        }
        Ok(())
    }
}

pub struct GetBytes<L> {
    consumer: Consumer<Bytes>,
    length: L,
    many: bool,
    message: Vec<u8>,
    messages: Vec<Vec<u8>>,
}

impl<L: Length> GetBytes<L> {
    pub fn open(order: &Order, length: L, batch: usize) -> Result<Self> {
        let consumer = open(order, NAMES[0])?.consumer()?;
        Ok(GetBytes { consumer, length, many: batch > 1, message: Vec::new(), messages: Vec::new() })
    }

    #[inline(always)]
    fn number(&self, message: &[u8]) -> Option<u64> {
        message.get(..self.length.bytes()).filter(|whole| whole.len() == message.len()).and_then(check)
    }
}

impl<L: Length> Receiver for GetBytes<L> {
    #[inline(always)]
    fn receive<C: Checker>(&mut self, max: u64, checker: &mut C) -> Result<u64> {
        if !self.many {
            return match self.consumer.get_into(&mut self.message) {
                Ok(_) => accept(checker, self.number(&self.message)).map(|()| 1),
                Err(error) => ended(error),
            };
        }
        self.messages.clear();
        match self.consumer.get_many(&mut self.messages, max as usize) {
            Ok(_) => {
                self.messages.iter().try_for_each(|message| accept(checker, self.number(message)))?;
                Ok(self.messages.len() as u64)
            }
            Err(error) => ended(error),
        }
    }
}
