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
    Ringfire,
    ArrayQueue,
    Textbook,
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
    /// ringway's `Queue<(u64, String)>`.
    Serde,
    /// Two buffers in turn: one core copies in, the other out.
    Copy,
    Iceoryx2,
    /// `multiprocessing.Queue` of the same tuples.
    Python,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Ringway => "ringway",
            System::RingwayThreads => "ringway-threads",
            System::Rtrb => "rtrb",
            System::Ringfire => "ringfire",
            System::ArrayQueue => "array-queue",
            System::Textbook => "textbook",
            System::WithoutRecovery => "ringway-without-recovery",
            System::Unbounded => "ringway-unbounded",
            System::Broadcast => "ringway-broadcast",
            System::Bytes => "ringway-bytes",
            System::BytesOwned => "ringway-bytes-owned",
            System::InPlace => "ringway-in-place",
            System::InPlaceTouched => "ringway-in-place-touched",
            System::Serde => "ringway-serde",
            System::Copy => "copy",
            System::Iceoryx2 => "iceoryx2",
            System::Python => "python",
        }
    }

    pub fn uses_processes(self) -> bool {
        let by_value =
            [System::Ringway, System::Unbounded, System::Broadcast, System::Textbook, System::WithoutRecovery];
        self.carries_words_only() || by_value.contains(&self)
    }

    /// Messages of any length, of which a word at the front and one at the end are looked
    /// at: what is measured is the way, not the making and the reading.
    pub fn carries_words_only(self) -> bool {
        matches!(
            self,
            System::Bytes
                | System::BytesOwned
                | System::InPlace
                | System::InPlaceTouched
                | System::Serde
                | System::Copy
                | System::Iceoryx2
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Messages per second, one way.
    Throughput,
    /// Round trips per second, over two queues.
    RoundTrip,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Job {
    pub system: System,
    pub kind: Kind,
    /// Payload: 8 or 56, or of the systems that carry words only any from 16 on.
    pub bytes: usize,
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
        if self.bytes > 4096 { 45 } else { 12_345 }
    }

    /// Messages between two looks at the clock: so many that the look does not
    /// count, so few that the slowest system stops in time.
    pub fn stride(&self) -> u64 {
        match (self.kind, self.system) {
            (Kind::RoundTrip, _) | (_, System::Textbook) => 64,
            (Kind::Throughput, _) if self.bytes > 4096 => 64,
            (Kind::Throughput, _) => 1024,
        }
    }
}
