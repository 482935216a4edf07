//! What the kernel offers for messages between processes: pipes, Unix sockets
//! (both are streams of reads and writes here) and POSIX message queues.

#![allow(unsafe_code)]

use crate::bench::latency;
use crate::bench::message::{Checker, Length, STOP, check, fill};
use crate::bench::throughput::{self, accept};
use crate::bench::worker::Unsupported;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;

/// Sends and receives bytes through one or two descriptors.
pub trait Transport {
    fn send(&mut self, bytes: &[u8]) -> Result<()>;
    /// One or more whole messages of `size` bytes; 0 at the end of the stream.
    fn receive(&mut self, buffer: &mut [u8], size: usize) -> Result<usize>;
    /// After the last message.
    fn end(self, size: usize, last: bool) -> Result<()>;
}

/// A pipe or a socket of sequenced packets.
pub struct Stream {
    receive: Option<File>,
    send: Option<File>,
}

impl Stream {
    pub fn new(receive: File, send: File) -> Stream {
        Stream { receive: Some(receive), send: Some(send) }
    }

    pub fn to(send: File) -> Stream {
        Stream { receive: None, send: Some(send) }
    }

    pub fn from(receive: File) -> Stream {
        Stream { receive: Some(receive), send: None }
    }
}

impl Transport for Stream {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let mut file = self.send.as_ref().context("nothing to send to")?;
        match file.write_all(bytes) {
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {
                Err(Unsupported(format!("a message of {} bytes: {error}", bytes.len())).into())
            }
            other => other.context("write"),
        }
    }

    fn receive(&mut self, buffer: &mut [u8], size: usize) -> Result<usize> {
        let mut file = self.receive.as_ref().context("nothing to receive from")?;
        let mut filled = 0;
        loop {
            match file.read(&mut buffer[filled..]) {
                Ok(0) if filled > 0 => bail!("the stream ended inside a message"),
                Ok(0) => return Ok(0),
                Ok(n) => filled += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("read"),
            }
            if filled.is_multiple_of(size) {
                return Ok(filled);
            }
        }
    }

    /// Closing the last sending end ends the stream.
    fn end(self, _size: usize, _last: bool) -> Result<()> {
        Ok(())
    }
}

/// A POSIX message queue in each direction; on Linux its handles are descriptors.
pub struct Mq {
    receive: Option<File>,
    send: Option<File>,
    consumers: u32,
}

impl Mq {
    pub fn new(receive: File, send: File) -> Mq {
        Mq { receive: Some(receive), send: Some(send), consumers: 1 }
    }

    pub fn to(send: File, consumers: u32) -> Mq {
        Mq { receive: None, send: Some(send), consumers }
    }

    pub fn from(receive: File) -> Mq {
        Mq { receive: Some(receive), send: None, consumers: 1 }
    }
}

impl Transport for Mq {
    fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let fd = self.send.as_ref().context("nothing to send to")?.as_raw_fd();
        // SAFETY: the pointer is valid for the length; `fd` is an open queue.
        let result = unsafe { libc::mq_send(fd, bytes.as_ptr().cast(), bytes.len(), 0) };
        ensure!(result == 0, "mq_send: {}", std::io::Error::last_os_error());
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8], size: usize) -> Result<usize> {
        let fd = self.receive.as_ref().context("nothing to receive from")?.as_raw_fd();
        // SAFETY: the pointer is valid for the length; `fd` is an open queue; no
        // priority is asked for.
        let result = unsafe { libc::mq_receive(fd, buffer.as_mut_ptr().cast(), buffer.len(), std::ptr::null_mut()) };
        ensure!(result >= 0, "mq_receive: {}", std::io::Error::last_os_error());
        ensure!(result as usize == size, "a message of {result} bytes arrived instead of {size}");
        Ok(if check(&buffer[..size]) == Some(STOP) { 0 } else { size })
    }

    /// A message queue has no end: one message to every consumer says it.
    fn end(mut self, size: usize, last: bool) -> Result<()> {
        let mut bytes = vec![0; size];
        fill(&mut bytes, STOP);
        (0..if last { self.consumers } else { 0 }).try_for_each(|_| self.send(&bytes))
    }
}

/// Round trips.
pub struct Link<T> {
    transport: T,
    buffer: Vec<u8>,
}

impl<T> Link<T> {
    pub fn new(transport: T, size: usize) -> Link<T> {
        Link { transport, buffer: vec![0; size] }
    }
}

impl<T: Transport> latency::Link for Link<T> {
    type Got = ();

    fn send(&mut self, number: u64) -> Result<()> {
        fill(&mut self.buffer, number);
        self.transport.send(&self.buffer)
    }

    fn receive(&mut self) -> Result<()> {
        // A message queue says 0 for the message that stops a ping-pong.
        let size = self.buffer.len();
        self.transport.receive(&mut self.buffer, size).map(|_| ())
    }

    fn check(&self, (): &()) -> Option<u64> {
        check(&self.buffer)
    }

    fn send_back(&mut self, (): ()) -> Result<()> {
        self.transport.send(&self.buffer)
    }
}

/// The putting end of a stream.
pub struct Sender<T, L> {
    transport: T,
    length: L,
    buffer: Vec<u8>,
}

impl<T, L: Length> Sender<T, L> {
    pub fn new(transport: T, length: L, batch: usize) -> Self {
        Sender { transport, length, buffer: vec![0; length.bytes() * batch] }
    }
}

impl<T: Transport, L: Length> throughput::Sender for Sender<T, L> {
    fn send(&mut self, first: u64) -> Result<()> {
        let messages = self.buffer.chunks_exact_mut(self.length.bytes());
        messages.zip(first..).for_each(|(message, number)| fill(message, number));
        self.transport.send(&self.buffer)
    }

    fn end(self, last: bool) -> Result<()> {
        self.transport.end(self.length.bytes(), last)
    }
}

/// The getting end of a stream.
pub struct Receiver<T, L> {
    transport: T,
    length: L,
    buffer: Vec<u8>,
}

impl<T, L: Length> Receiver<T, L> {
    pub fn new(transport: T, length: L, batch: usize) -> Self {
        Receiver { transport, length, buffer: vec![0; length.bytes() * batch] }
    }
}

impl<T: Transport, L: Length> throughput::Receiver for Receiver<T, L> {
    fn receive<C: Checker>(&mut self, max: u64, checker: &mut C) -> Result<u64> {
        let size = self.length.bytes();
        let room = &mut self.buffer[..size * max as usize];
        let bytes = self.transport.receive(room, size)?;
        for message in room[..bytes].chunks_exact(size) {
            accept(checker, check(message))?;
        }
        Ok((bytes / size) as u64)
    }
}
