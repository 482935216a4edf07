//! What the kernel offers: a named pipe, a Unix socket, a POSIX message queue. They sleep where they have to wait.

use super::buffers::{Incoming, Outgoing};
use super::rival::{Rival, Way};
use super::{Failure, Put, Take};
use nix::fcntl::{FcntlArg, fcntl};
use nix::mqueue::{MQ_OFlag, MqAttr, MqdT, mq_open, mq_receive, mq_send, mq_unlink};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

/// A sender of whole messages over a stream of bytes.
pub struct StreamSending<S> {
    stream: S,
    out: Outgoing,
}

pub struct StreamReceiving<S> {
    stream: S,
    into: Incoming,
}

impl<S: Write> Put<u64> for StreamSending<S> {
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        self.stream.write_all(self.out.message(word)).map_err(Failure::new)
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl<S: Read> Take<u64> for StreamReceiving<S> {
    fn take(&mut self) -> Result<u64, Failure> {
        self.stream.read_exact(&mut self.into.buffer).map_err(Failure::new)?;
        self.into.word()
    }
}

/// With as large a buffer as anybody may ask for.
pub struct Pipe;

impl Rival<u64> for Pipe {
    type Kept = ();
    type Sending = StreamSending<File>;
    type Receiving = StreamReceiving<File>;

    fn create(way: &Way) -> Result<(), Failure> {
        mkfifo(&way.path(), Mode::S_IRUSR | Mode::S_IWUSR).map_err(Failure::new)
    }

    fn sending(way: &Way) -> Result<Self::Sending, Failure> {
        const LARGEST: i32 = 1 << 20;
        let stream = OpenOptions::new().write(true).open(way.path()).map_err(Failure::new)?;
        // Else it is as large as it is.
        let _ = fcntl(&stream, FcntlArg::F_SETPIPE_SZ(LARGEST));
        Ok(StreamSending { stream, out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Self::Receiving, Failure> {
        let stream = File::open(way.path()).map_err(Failure::new)?;
        Ok(StreamReceiving { stream, into: Incoming::new(way.job) })
    }
}

/// A stream: a datagram cannot be as long as the longest message.
pub struct Unix;

impl Rival<u64> for Unix {
    type Kept = ();
    type Sending = StreamSending<UnixStream>;
    type Receiving = StreamReceiving<UnixStream>;

    fn create(_: &Way) -> Result<(), Failure> {
        Ok(())
    }

    fn sending(way: &Way) -> Result<Self::Sending, Failure> {
        let stream = way.until(|| UnixStream::connect(way.path()).ok())?;
        Ok(StreamSending { stream, out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Self::Receiving, Failure> {
        let listener = UnixListener::bind(way.path()).map_err(Failure::new)?;
        let (stream, _) = listener.accept().map_err(Failure::new)?;
        Ok(StreamReceiving { stream, into: Incoming::new(way.job) })
    }
}

/// As deep as anybody may ask for, which is ten messages as a rule.
pub struct Mq;

pub struct KeptMq(CString);

impl Drop for KeptMq {
    fn drop(&mut self) {
        let _ = mq_unlink(self.0.as_c_str());
    }
}

pub struct MqSending {
    queue: MqdT,
    out: Outgoing,
}

pub struct MqReceiving {
    queue: MqdT,
    into: Incoming,
}

fn mq_name(way: &Way) -> Result<CString, Failure> {
    CString::new(format!("/{}", way.global_name)).map_err(Failure::new)
}

fn open_mq(way: &Way, flags: MQ_OFlag) -> Result<MqdT, Failure> {
    let limit = |name: &str| std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}")).ok()?.trim().parse().ok();
    let deepest = limit("msg_max").unwrap_or(10).min(way.job.capacity as i64);
    let attributes = MqAttr::new(0, deepest, way.job.bytes as i64, 0);
    mq_open(mq_name(way)?.as_c_str(), flags, Mode::S_IRUSR | Mode::S_IWUSR, Some(&attributes)).map_err(Failure::new)
}

impl Rival<u64> for Mq {
    type Kept = KeptMq;
    type Sending = MqSending;
    type Receiving = MqReceiving;

    fn create(way: &Way) -> Result<KeptMq, Failure> {
        let name = mq_name(way)?;
        // For whoever cleans up after a run that was killed.
        let note = way.directory.join(format!("{}{}", way.name, crate::guard::QUEUE));
        std::fs::write(note, name.as_bytes()).map_err(Failure::new)?;
        open_mq(way, MQ_OFlag::O_CREAT | MQ_OFlag::O_EXCL | MQ_OFlag::O_RDWR)?;
        Ok(KeptMq(name))
    }

    fn sending(way: &Way) -> Result<MqSending, Failure> {
        Ok(MqSending { queue: open_mq(way, MQ_OFlag::O_WRONLY)?, out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<MqReceiving, Failure> {
        Ok(MqReceiving { queue: open_mq(way, MQ_OFlag::O_RDONLY)?, into: Incoming::new(way.job) })
    }
}

impl Put<u64> for MqSending {
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        mq_send(&self.queue, self.out.message(word), 0).map_err(Failure::new)
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Take<u64> for MqReceiving {
    fn take(&mut self) -> Result<u64, Failure> {
        let mut priority = 0;
        let len = mq_receive(&self.queue, &mut self.into.buffer, &mut priority).map_err(Failure::new)?;
        self.into.word_of(&self.into.buffer[..len])
    }
}
