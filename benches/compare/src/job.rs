//! One measurement: what is done, with which queue, for how long.

use crate::systems::faulty::Fault;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum System {
    /// ringway between processes.
    Ringway,
    /// ringway between threads of one process.
    RingwayThreads,
    Rtrb,
    ArrayQueue,
    CrossbeamChannel,
    Textbook,
    /// Its lossless ring.
    Ringfire,
    Promisqs,
    /// ringway between processes of another build of this program, which has no recovery.
    WithoutRecovery,
    /// ringway's unbounded queue.
    Unbounded,
    /// ringway's broadcast, slow subscribers waited for.
    Broadcast,
    /// ringway's byte queue; each message is copied in and out, into the caller's buffer.
    Bytes,
    /// The same, each message in a vector of its own.
    BytesOwned,
    /// ringway's messages written and read in place, all but their first word untouched.
    InPlace,
    /// The same, with one byte of every page touched on both sides.
    InPlaceTouched,
    /// ringway's messages made and read as slices of the memory itself, which is `unsafe`: the peer is trusted.
    Slices,
    /// ringway's `Queue<(u64, String)>`.
    Serde,
    /// Two buffers in turn: one core copies in, the other out.
    Copy,
    Iceoryx2,
    /// The same, written and read in place.
    Iceoryx2InPlace,
    Cloudtoid,
    /// Its C client and driver.
    Aeron,
    /// The same, written and read in place.
    AeronInPlace,
    Boost,
    Ipmpsc,
    IpcChannel,
    Pipe,
    Unix,
    Mq,
    /// `multiprocessing.Queue` of the same tuples.
    Python,
    /// The same with bytes.
    PythonQueue,
    FasterFifo,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Ringway => "ringway",
            System::RingwayThreads => "ringway-threads",
            System::Rtrb => "rtrb",
            System::ArrayQueue => "array-queue",
            System::CrossbeamChannel => "crossbeam-channel",
            System::Textbook => "textbook",
            System::Ringfire => "ringfire",
            System::Promisqs => "promisqs",
            System::WithoutRecovery => "ringway-without-recovery",
            System::Unbounded => "ringway-unbounded",
            System::Broadcast => "ringway-broadcast",
            System::Bytes => "ringway-bytes",
            System::BytesOwned => "ringway-bytes-owned",
            System::InPlace => "ringway-in-place",
            System::InPlaceTouched => "ringway-in-place-touched",
            System::Slices => "ringway-slices",
            System::Serde => "ringway-serde",
            System::Copy => "copy",
            System::Iceoryx2 => "iceoryx2",
            System::Iceoryx2InPlace => "iceoryx2-in-place",
            System::Cloudtoid => "cloudtoid",
            System::Aeron => "aeron",
            System::AeronInPlace => "aeron-in-place",
            System::Boost => "boost",
            System::Ipmpsc => "ipmpsc",
            System::IpcChannel => "ipc-channel",
            System::Pipe => "pipe",
            System::Unix => "unix",
            System::Mq => "mq",
            System::Python => "python",
            System::PythonQueue => "python-queue",
            System::FasterFifo => "faster-fifo",
        }
    }

    /// Whether a message takes microseconds.
    fn is_slow(self) -> bool {
        matches!(self, System::Mq | System::Unix | System::Ipmpsc | System::IpcChannel)
    }

    /// Measured by a program of its own.
    pub fn is_pythons(self) -> bool {
        matches!(self, System::Python | System::PythonQueue | System::FasterFifo)
    }

    /// Threads of one process: a ceiling for what goes between processes.
    pub fn is_in_process(self) -> bool {
        matches!(self, System::RingwayThreads | System::Rtrb | System::ArrayQueue | System::CrossbeamChannel)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Messages per second, one way.
    Throughput,
    /// Round trips per second, over two queues.
    RoundTrip,
    /// The same, with the time that each took.
    Latency,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Throughput => "throughput",
            Kind::RoundTrip | Kind::Latency => "round-trip",
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Job {
    pub system: System,
    pub kind: Kind,
    /// Payload: of systems that carry values 8, 56, 64 or 1024, of the others any from 8 on.
    pub bytes: usize,
    /// Of systems that carry bytes: all are written and checked, not only the first and the last word.
    pub whole: bool,
    pub capacity: u64,
    /// So many senders, and so many receivers.
    pub pairs: usize,
    /// Receivers beside them, where each gets everything.
    pub listeners: usize,
    /// Messages per call, ringway only.
    pub batch: usize,
    /// Both sides `Single`, ringway only.
    pub single: bool,
    /// The default wait policy instead of spinning; rivals yield.
    pub patient: bool,
    pub warm_up_ms: u64,
    pub measure_ms: u64,
    /// A negative control.
    pub fault: Option<Fault>,
}

impl Job {
    pub fn workers(&self) -> u32 {
        (2 * self.pairs + self.listeners) as u32
    }

    /// Which message suffers from a fault: one that every run reaches.
    pub fn victim(&self) -> u64 {
        if self.whole || self.bytes > 4096 || self.system.is_slow() { 45 } else { 1_234 }
    }

    /// Messages between two looks at the clock: so many that the look does not
    /// count, so few that the slowest system stops in time.
    pub fn stride(&self) -> u64 {
        match (self.kind, self.system) {
            (Kind::RoundTrip | Kind::Latency, _) | (_, System::Textbook) => 64,
            (Kind::Throughput, _) if self.bytes > 1 << 16 => 8,
            (Kind::Throughput, _) if self.bytes > 4096 || self.system.is_slow() => 64,
            (Kind::Throughput, _) => 1024,
        }
    }
}
