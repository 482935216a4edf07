//! Rivals between processes that carry bytes: cloudtoid-interprocess, ipmpsc, ipc-channel.

use super::buffers::{Incoming, Outgoing};
use super::rival::{Retry, Rival, Way};
use super::{Failure, Put, Take};
use cloudtoid_interprocess::{Error, Options, Publisher, Subscriber};
use ipc_channel::ipc::{IpcBytesReceiver, IpcBytesSender, IpcOneShotServer, IpcSender, bytes_channel};
use ipmpsc::{Receiver, Sender, SharedRingBuffer};
use serde_bytes::Bytes;

/// Polls: its `recv` sleeps at most five milliseconds at a time on a semaphore.
pub struct Cloudtoid;

pub struct CloudtoidSending {
    queue: Publisher,
    retry: Retry,
    out: Outgoing,
}

pub struct CloudtoidReceiving {
    queue: Subscriber,
    retry: Retry,
    into: Incoming,
}

fn options(way: &Way) -> Options {
    Options::new(&way.global_name, way.room(8)).with_path(way.directory)
}

impl Rival<u64> for Cloudtoid {
    /// What is in the queue goes with the last end.
    type Kept = Subscriber;
    type Sending = CloudtoidSending;
    type Receiving = CloudtoidReceiving;

    fn create(way: &Way) -> Result<Subscriber, Failure> {
        Subscriber::open(&options(way)).map_err(Failure::new)
    }

    fn sending(way: &Way) -> Result<CloudtoidSending, Failure> {
        let queue = Publisher::open(&options(way)).map_err(Failure::new)?;
        Ok(CloudtoidSending { queue, retry: Retry::polls(way), out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<CloudtoidReceiving, Failure> {
        let queue = Subscriber::open(&options(way)).map_err(Failure::new)?;
        Ok(CloudtoidReceiving { queue, retry: Retry::polls(way), into: Incoming::new(way.job) })
    }
}

impl Put<u64> for CloudtoidSending {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let message = self.out.message(word);
        self.retry.until_ok(|| match self.queue.try_send(message) {
            Ok(()) => Ok(Some(())),
            Err(Error::Full) => Ok(None),
            Err(error) => Err(error),
        })
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Take<u64> for CloudtoidReceiving {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        let CloudtoidReceiving { queue, retry, into } = self;
        let len = retry.until_ok(|| queue.try_recv_into(&mut into.buffer))?;
        into.word_of(&into.buffer[..len])
    }
}

/// Messages are read where they lie, as its documentation says; they are copied in.
pub struct Ipmpsc;

pub struct IpmpscSending {
    queue: Sender,
    out: Outgoing,
}

pub struct IpmpscReceiving {
    queue: Receiver,
    into: Incoming,
}

fn open_ring(way: &Way) -> Result<SharedRingBuffer, Failure> {
    let path = way.path();
    SharedRingBuffer::open(path.to_str().ok_or(Failure::new("a directory that is no text"))?).map_err(Failure::new)
}

impl Rival<u64> for Ipmpsc {
    type Kept = SharedRingBuffer;
    type Sending = IpmpscSending;
    type Receiving = IpmpscReceiving;

    fn create(way: &Way) -> Result<SharedRingBuffer, Failure> {
        let path = way.path();
        let path = path.to_str().ok_or(Failure::new("a directory that is no text"))?;
        // A message has two lengths before it, and lies in one piece: one more may not fit at the end.
        let size = u32::try_from(way.room(12) + way.job.bytes + 64).map_err(Failure::new)?;
        SharedRingBuffer::create(path, size).map_err(Failure::new)
    }

    fn sending(way: &Way) -> Result<IpmpscSending, Failure> {
        Ok(IpmpscSending { queue: Sender::new(open_ring(way)?), out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<IpmpscReceiving, Failure> {
        Ok(IpmpscReceiving { queue: Receiver::new(open_ring(way)?), into: Incoming::new(way.job) })
    }
}

impl Put<u64> for IpmpscSending {
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        self.queue.send(&Bytes::new(self.out.message(word))).map_err(Failure::new)
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Take<u64> for IpmpscReceiving {
    fn take(&mut self) -> Result<u64, Failure> {
        // Looked at in place: what is copied by the others is not here.
        let mut context = self.queue.zero_copy_context();
        let message: &[u8] = context.recv().map_err(Failure::new)?;
        self.into.word_of(message)
    }
}

/// Its channel of bytes, which does not serialise. The receiver offers a server, by a name in a file of ours, and the
/// sender sends the other end of its channel there.
pub struct IpcChannel;

pub struct IpcSending {
    queue: IpcBytesSender,
    out: Outgoing,
}

pub struct IpcReceiving {
    queue: IpcBytesReceiver,
    into: Incoming,
}

impl Rival<u64> for IpcChannel {
    type Kept = ();
    type Sending = IpcSending;
    type Receiving = IpcReceiving;

    fn create(_: &Way) -> Result<(), Failure> {
        Ok(())
    }

    fn sending(way: &Way) -> Result<IpcSending, Failure> {
        let name = way.until(|| std::fs::read_to_string(way.path()).ok())?;
        let first: IpcSender<IpcBytesReceiver> = IpcSender::connect(name).map_err(Failure::new)?;
        let (queue, other) = bytes_channel().map_err(Failure::new)?;
        first.send(other).map_err(Failure::new)?;
        Ok(IpcSending { queue, out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<IpcReceiving, Failure> {
        let (server, name) = IpcOneShotServer::<IpcBytesReceiver>::new().map_err(Failure::new)?;
        let (path, whole) = (way.path().with_extension("new"), way.path());
        std::fs::write(&path, name).and_then(|()| std::fs::rename(path, whole)).map_err(Failure::new)?;
        let (_, queue) = server.accept().map_err(Failure::new)?;
        Ok(IpcReceiving { queue, into: Incoming::new(way.job) })
    }
}

impl Put<u64> for IpcSending {
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        self.queue.send(self.out.message(word)).map_err(Failure::new)
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Take<u64> for IpcReceiving {
    fn take(&mut self) -> Result<u64, Failure> {
        let message = self.queue.recv().map_err(|error| Failure::new(format!("{error:?}")))?;
        self.into.word_of(&message)
    }
}
