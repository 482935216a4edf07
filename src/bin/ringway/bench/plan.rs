//! What is measured: the cells of the table, in their groups.
//!
//! A *cell* is one row. A *group* is what is compared: its cells run one after
//! the other in every round, so that a change of the machine meets all of them.
//! Knows nothing of processes and clocks.

use super::message::is_payload;
use super::scale::Over;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bench {
    Latency,
    Throughput,
    /// Starting processes; the size is the memory of the one that starts them.
    Process,
    /// Jobs of a pool; the size is that of what one job is given.
    Pool,
    /// Messages at fixed times.
    Load,
    /// Waiting for a message that does not come.
    Idle,
    /// Throughput over processes, sizes and capacities.
    Scale,
    /// What this machine needs to know before a queue is made.
    Tune,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// Ping-pong on two cache lines, with the payload: the limit of latency.
    Raw,
    /// The same, sleeping in the kernel: the limit of latency when parked.
    Futex,
    /// One core writes, the other copies out: the limit of throughput.
    Copy,
    Pipe,
    Unix,
    Mq,
    Ringway,
    RingwayBytes,
    /// `std::process::Command` of `/bin/true`: what a start is measured beside.
    Command,
    /// With a fork server.
    RingwayWarm,
    /// From a child's last act to the return of `join`.
    RingwayDeath,
    PythonFork,
    PythonSpawn,
    PythonForkserver,
    PoolApply,
    PoolAsync,
    PoolMap,
    PoolSlices,
    PoolCpu,
    /// One copy from buffer to buffer.
    Memcpy,
    /// Two processes that do what the pool's workers do.
    ProcessesCpu,
    /// Threads: the ceiling.
    RayonAsync,
    RayonMap,
    PythonPoolApply,
    PythonPoolAsync,
    PythonPoolMap,
    PythonExecutorApply,
    PythonExecutorAsync,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Raw => "raw",
            System::Futex => "futex",
            System::Copy => "copy",
            System::Pipe => "pipe",
            System::Unix => "unix",
            System::Mq => "mq",
            System::Ringway => "ringway",
            System::RingwayBytes => "ringway-bytes",
            System::Command => "command",
            System::RingwayWarm => "ringway-warm",
            System::RingwayDeath => "ringway-death",
            System::PythonFork => "python-fork",
            System::PythonSpawn => "python-spawn",
            System::PythonForkserver => "python-forkserver",
            System::PoolApply => "pool-apply",
            System::PoolAsync => "pool-async",
            System::PoolMap => "pool-map",
            System::PoolSlices => "pool-slices",
            System::PoolCpu => "pool-cpu",
            System::Memcpy => "memcpy",
            System::ProcessesCpu => "processes-cpu",
            System::RayonAsync => "rayon-async",
            System::RayonMap => "rayon-map",
            System::PythonPoolApply => "python-pool-apply",
            System::PythonPoolAsync => "python-pool-async",
            System::PythonPoolMap => "python-pool-map",
            System::PythonExecutorApply => "python-executor-apply",
            System::PythonExecutorAsync => "python-executor-async",
        }
    }

    pub fn is_ringway(self) -> bool {
        use System::*;
        let of_pools = matches!(self, PoolApply | PoolAsync | PoolMap | PoolSlices | PoolCpu);
        of_pools || matches!(self, Ringway | RingwayBytes | RingwayWarm | RingwayDeath)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Spsc,
    Mpsc,
    Spmc,
    Mpmc,
}

impl Mode {
    pub fn name(self) -> &'static str {
        match self {
            Mode::Spsc => "spsc",
            Mode::Mpsc => "mpsc",
            Mode::Spmc => "spmc",
            Mode::Mpmc => "mpmc",
        }
    }

    pub fn single_producer(self) -> bool {
        matches!(self, Mode::Spsc | Mode::Spmc)
    }

    pub fn single_consumer(self) -> bool {
        matches!(self, Mode::Spsc | Mode::Mpsc)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    Spin,
    Default,
    Park,
}

impl Wait {
    pub fn name(self) -> &'static str {
        match self {
            Wait::Spin => "spin",
            Wait::Default => "default",
            Wait::Park => "park",
        }
    }
}

/// A mode with so many processes at each side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub mode: Mode,
    pub producers: u32,
    pub consumers: u32,
}

impl Shape {
    /// One, two and four processes on every side that allows it.
    pub fn usual(mode: Mode) -> Vec<Shape> {
        let counts: &[u32] = if mode == Mode::Spsc { &[1] } else { &[1, 2, 4] };
        let side = |single, n| if single { 1 } else { n };
        let shape =
            |&n| Shape { mode, producers: side(mode.single_producer(), n), consumers: side(mode.single_consumer(), n) };
        counts.iter().map(shape).collect()
    }
}

/// The command line, understood. Empty lists mean the defaults.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub latency: bool,
    pub throughput: bool,
    pub process: bool,
    pub pool: bool,
    pub load: bool,
    pub scale: bool,
    pub tune: bool,
    pub quick: bool,
    pub json: Option<PathBuf>,
    pub html: Option<PathBuf>,
    pub svg: Option<PathBuf>,
    pub sizes: Vec<usize>,
    pub modes: Vec<Mode>,
    pub waits: Vec<Wait>,
    pub capacities: Vec<u64>,
    pub shapes: Vec<Shape>,
    pub batches: Vec<u32>,
    pub rates: Vec<u64>,
    pub over: Vec<Over>,
    pub runs: u32,
    pub runs_stated: bool,
}

/// One row: what is measured, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    pub bench: Bench,
    pub system: System,
    pub mode: Option<Mode>,
    pub wait: Option<Wait>,
    pub size: usize,
    pub capacity: Option<u64>,
    pub producers: Option<u32>,
    pub consumers: Option<u32>,
    pub batch: Option<u32>,
    /// Where both processes run, if it is not where those of all cells do.
    pub cpus: Option<[usize; 2]>,
    /// Bytes in every slot of a queue of bytes.
    pub inline: Option<usize>,
    /// Messages that are due in a second; of a load without it, as many as go.
    pub rate: Option<u64>,
}

impl Cell {
    pub fn bare(bench: Bench, system: System, size: usize) -> Cell {
        let (mode, wait, capacity, producers, consumers, batch) = (None, None, None, None, None, None);
        let (cpus, inline, rate) = (None, None, None);
        Cell { bench, system, mode, wait, size, capacity, producers, consumers, batch, cpus, inline, rate }
    }

    /// Producing (or ping) and consuming (or pong) processes.
    pub fn processes(&self) -> (u32, u32) {
        (self.producers.unwrap_or(1), self.consumers.unwrap_or(1))
    }

    /// The system whose run of the same size is this cell's limit.
    pub fn limit(&self) -> System {
        match (self.bench, self.wait) {
            // Tuning compares rows of its own, none of which is a limit.
            (Bench::Throughput | Bench::Scale | Bench::Tune, _) => System::Copy,
            (Bench::Latency, Some(Wait::Park)) => System::Futex,
            (Bench::Latency, _) => System::Raw,
            (Bench::Process, _) => System::Command,
            (Bench::Pool, _) => self.limit_of_pools(),
            (Bench::Load | Bench::Idle, _) => System::Pipe,
        }
    }

    /// Which of its group is its limit: of scaling the first, whatever it is.
    pub fn limit_in(&self, group: &[Cell]) -> Option<usize> {
        match self.bench {
            Bench::Scale => (!group.is_empty()).then_some(0),
            _ => group.iter().position(|other| other.system == self.limit()),
        }
    }

    /// What it is measured beside.
    fn limit_of_pools(&self) -> System {
        match (self.system, self.wait) {
            (System::PoolApply, Some(Wait::Spin | Wait::Default)) | (System::Ringway, _) => System::Ringway,
            (System::PoolAsync | System::RayonAsync, _) => System::PythonPoolAsync,
            (System::PythonPoolAsync | System::PythonExecutorAsync, _) => System::PythonPoolAsync,
            (System::PoolMap | System::RayonMap | System::PythonPoolMap, _) => System::PythonPoolMap,
            (System::PoolSlices | System::Memcpy, _) => System::Memcpy,
            (System::PoolCpu | System::ProcessesCpu, _) => System::ProcessesCpu,
            _ => System::Futex,
        }
    }

    /// Whether `pipe` is the pipe row to compare this cell with.
    pub fn compares_with_pipe(&self, pipe: &Cell) -> bool {
        let one = |n: Option<u32>| n.unwrap_or(1);
        pipe.system == System::Pipe
            && pipe.bench == self.bench
            && pipe.size == self.size
            && one(pipe.batch) == one(self.batch)
            && self.system != System::Copy
    }
}

/// Cells of one payload size; the limits come first.
pub type Group = Vec<Cell>;

/// The payload of a byte message that fills a cache line together with its
/// stamp and length.
const BYTES_SIZE: usize = 52;
/// Slots that a ping-pong walks round in.
const LATENCY_CAPACITY: u64 = 64;

pub fn or<T: Clone>(stated: &[T], default: &[T]) -> Vec<T> {
    if stated.is_empty() { default.to_vec() } else { stated.to_vec() }
}

/// The sizes with their ringway systems: plain-data rows, and the bytes row
/// beside them.
fn sizes(request: &Request, default: &[usize]) -> Vec<(usize, Vec<System>)> {
    if !request.sizes.is_empty() {
        let both = |&size: &usize| (size, vec![System::Ringway, System::RingwayBytes]);
        return request.sizes.iter().map(both).collect();
    }
    let mut all: Vec<_> = default.iter().map(|&size| (size, vec![System::Ringway])).collect();
    all.push((BYTES_SIZE, vec![System::RingwayBytes]));
    all.sort_by_key(|(size, _)| *size);
    all
}

pub fn latency(request: &Request) -> Vec<Group> {
    let modes = or(&request.modes, &[Mode::Spsc, Mode::Mpmc]);
    let waits = or(&request.waits, &[Wait::Spin, Wait::Default, Wait::Park]);
    let capacities = or(&request.capacities, &[LATENCY_CAPACITY]);
    let mut groups = Vec::new();
    for (size, systems) in sizes(request, &[8, 56, 1024]) {
        let baselines = [System::Raw, System::Futex, System::Pipe, System::Unix, System::Mq];
        let mut group: Group = baselines.iter().map(|&s| Cell::bare(Bench::Latency, s, size)).collect();
        for &system in &systems {
            for &mode in &modes {
                for &wait in &waits {
                    for &capacity in &capacities {
                        let bare = Cell::bare(Bench::Latency, system, size);
                        group.push(Cell { mode: Some(mode), wait: Some(wait), capacity: Some(capacity), ..bare });
                    }
                }
            }
        }
        groups.push(group);
    }
    groups
}

/// Starting processes, beside what else does.
pub fn process(request: &Request) -> Vec<Group> {
    /// Bytes that the process which starts them has resident.
    const SMALL: usize = 10_000_000;
    const LARGE: usize = 4_000_000_000;
    let ours = [System::Command, System::Ringway, System::RingwayWarm];
    let others = [System::RingwayDeath, System::PythonFork, System::PythonSpawn, System::PythonForkserver];
    let group = |systems: &[System], size| systems.iter().map(|&s| Cell::bare(Bench::Process, s, size)).collect();
    let mut groups = vec![group(&[&ours[..], &others[..]].concat(), SMALL)];
    if !request.quick {
        groups.push(group(&ours, LARGE));
    }
    groups
}

/// Jobs of pools, each kind beside what it is measured with.
pub fn pool(_: &Request) -> Vec<Group> {
    const SIZE: usize = 8;
    let bare = |system, size| Cell::bare(Bench::Pool, system, size);
    let waits = |system, wait| Cell { wait: Some(wait), ..bare(system, SIZE) };
    let round_trip =
        Cell { mode: Some(Mode::Mpmc), capacity: Some(LATENCY_CAPACITY), ..waits(System::Ringway, Wait::Spin) };
    let many = |systems: &[System]| systems.iter().map(|&system| bare(system, SIZE)).collect();
    let large = super::pools::SLICES_BYTES;
    vec![
        vec![round_trip, waits(System::PoolApply, Wait::Spin), waits(System::PoolApply, Wait::Default)],
        vec![
            bare(System::Futex, SIZE),
            waits(System::PoolApply, Wait::Park),
            bare(System::PythonPoolApply, SIZE),
            bare(System::PythonExecutorApply, SIZE),
        ],
        many(&[System::PythonPoolAsync, System::PoolAsync, System::PythonExecutorAsync, System::RayonAsync]),
        many(&[System::PythonPoolMap, System::PoolMap, System::RayonMap]),
        vec![bare(System::Memcpy, large), bare(System::PoolSlices, large)],
        many(&[System::ProcessesCpu, System::PoolCpu]),
    ]
}

pub fn throughput(request: &Request) -> Vec<Group> {
    let mpmc = |n| Shape { mode: Mode::Mpmc, producers: n, consumers: n };
    let spsc = Shape { mode: Mode::Spsc, producers: 1, consumers: 1 };
    let shapes = or(&request.shapes, &[spsc, mpmc(1), mpmc(2), mpmc(4)]);
    let waits = or(&request.waits, &[Wait::Default]);
    let default_capacities: &[u64] = if request.quick { &[1024] } else { &[1024, 65536] };
    let capacities = or(&request.capacities, default_capacities);
    let batches = or(&request.batches, &[1, 32]);
    let mut groups = Vec::new();
    for (size, systems) in sizes(request, &[8, 56]) {
        let bare = |system| Cell::bare(Bench::Throughput, system, size);
        let mut group: Group = vec![bare(System::Copy)];
        for &batch in &batches {
            // Sockets and message queues have no batches of messages.
            let batched = [System::Pipe];
            let one_by_one = [System::Pipe, System::Unix, System::Mq];
            let baselines: &[System] = if batch == 1 { &one_by_one } else { &batched };
            group.extend(baselines.iter().map(|&system| Cell {
                producers: Some(1),
                consumers: Some(1),
                batch: Some(batch),
                ..bare(system)
            }));
        }
        for &system in &systems {
            for &Shape { mode, producers, consumers } in &shapes {
                for &capacity in &capacities {
                    for &batch in &batches {
                        for &wait in &waits {
                            group.push(Cell {
                                mode: Some(mode),
                                wait: Some(wait),
                                capacity: Some(capacity),
                                producers: Some(producers),
                                consumers: Some(consumers),
                                batch: Some(batch),
                                ..bare(system)
                            });
                        }
                    }
                }
            }
        }
        groups.push(group);
    }
    groups
}

/// The most messages a second that a load can be asked for.
pub const FASTEST: u64 = 100_000_000;
/// Slots of the queue of a load: what may be under way before its sender waits.
const LOAD_CAPACITY: u64 = 1024;

/// Who carries messages at fixed times: a pipe, and ringway with every way to wait. One group of each size.
pub fn load(request: &Request) -> Vec<Group> {
    let modes = or(&request.modes, &[Mode::Mpmc]);
    let waits = or(&request.waits, &[Wait::Spin, Wait::Default, Wait::Park]);
    let capacities = or(&request.capacities, &[LOAD_CAPACITY]);
    let mut groups = Vec::new();
    for size in or(&request.sizes, &[56]) {
        let mut group = vec![Cell::bare(Bench::Load, System::Pipe, size)];
        let system = if is_payload(size) { System::Ringway } else { System::RingwayBytes };
        for &mode in &modes {
            for &wait in &waits {
                for &capacity in &capacities {
                    let bare = Cell::bare(Bench::Load, system, size);
                    group.push(Cell { mode: Some(mode), wait: Some(wait), capacity: Some(capacity), ..bare });
                }
            }
        }
        groups.push(group);
    }
    groups
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn request() -> Request {
        Request {
            latency: true,
            throughput: true,
            process: false,
            pool: false,
            load: false,
            scale: false,
            tune: false,
            quick: false,
            json: None,
            html: None,
            svg: None,
            sizes: vec![],
            modes: vec![],
            waits: vec![],
            capacities: vec![],
            shapes: vec![],
            batches: vec![],
            rates: vec![],
            over: vec![],
            runs: 3,
            runs_stated: false,
        }
    }

    #[test]
    fn latency_has_its_rows_and_their_limits_in_the_same_group() {
        let groups = latency(&request());
        assert_eq!(groups.iter().map(|g| g[0].size).collect::<Vec<_>>(), [8, 52, 56, 1024]);
        for group in &groups {
            assert!(group.iter().all(|cell| group.iter().any(|c| c.system == cell.limit() && c.size == cell.size)));
            assert_eq!(group.iter().filter(|c| c.system.is_ringway()).count(), 6);
        }
    }

    #[test]
    fn throughput_has_every_shape_capacity_and_batch() {
        let groups = throughput(&request());
        for group in &groups {
            assert_eq!(group[0].system, System::Copy);
            assert_eq!(group.iter().filter(|c| c.system.is_ringway()).count(), 4 * 2 * 2);
            for cell in group.iter().filter(|c| c.system.is_ringway()) {
                assert_eq!(group.iter().filter(|c| cell.compares_with_pipe(c)).count(), 1);
            }
        }
    }

    #[test]
    fn rows_of_pools_have_their_limits_in_the_same_group() {
        for group in pool(&request()) {
            assert!(group.iter().all(|cell| group.iter().any(|other| other.system == cell.limit())), "{group:?}");
        }
    }

    #[test]
    fn usual_shapes_respect_single_sides() {
        let counts = |mode| Shape::usual(mode).iter().map(|s| (s.producers, s.consumers)).collect::<Vec<_>>();
        assert_eq!(counts(Mode::Spsc), [(1, 1)]);
        assert_eq!(counts(Mode::Mpsc), [(1, 1), (2, 1), (4, 1)]);
        assert_eq!(counts(Mode::Spmc), [(1, 1), (1, 2), (1, 4)]);
    }
}
