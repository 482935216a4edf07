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
        }
    }

    pub fn uses_processes(self) -> bool {
        matches!(self, System::Ringway | System::Textbook | System::WithoutRecovery)
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
    /// Payload: 8 or 56.
    pub bytes: usize,
    pub capacity: u64,
    /// So many senders, and so many receivers.
    pub pairs: usize,
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
        2 * self.pairs as u32
    }

    /// Messages between two looks at the clock: so many that the look does not
    /// count, so few that the slowest system stops in time.
    pub fn stride(&self) -> u64 {
        match (self.kind, self.system) {
            (Kind::RoundTrip, _) | (_, System::Textbook) => 64,
            (Kind::Throughput, _) => 1024,
        }
    }
}
