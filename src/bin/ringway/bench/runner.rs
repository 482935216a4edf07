//! One run of one cell: makes its queue or pipe, starts the processes, watches
//! them, adds up their answers.
//!
//! A run ends. A dead process, a wrong message, the deadline or Ctrl-C kill the
//! others, and all are waited for. Knows nothing of rounds and tables.

#![allow(unsafe_code)]

use super::control;
use super::latency::{Counts, Percentiles};
use super::plan::{Bench, Cell, System};
use super::pools;
use super::processes;
use super::ringway_parts as queue;
use super::throughput;
use super::tune;
use super::worker::{Answer, Order, Part, Side, Unsupported};
use super::workspace::Workspace;
use anyhow::{Context, Result, bail, ensure};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Set by the signal handler.
pub static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The hidden subcommand.
pub const WORKER_COMMAND: &str = "bench-worker";

/// What one run has measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Percentiles of round trips, or messages per second.
    pub value: Value,
    pub samples: u64,
    /// The placement probes before and after it.
    pub probes: (f64, f64),
    /// What reading the clock costs, where it was read for every sample.
    pub clock_ns: Option<f64>,
    /// Every time that was measured, where all are kept.
    pub counts: Counts,
    /// What sleeping and waking cost, where both sleep.
    pub wake: Option<tune::Wake>,
}

#[derive(Clone, Copy, Debug)]
pub enum Value {
    RoundTrip(Percentiles),
    Rate(f64),
}

impl Value {
    /// The number that medians, spreads and ratios are made of.
    pub fn key(&self) -> f64 {
        match self {
            Value::RoundTrip(percentiles) => percentiles.p50 as f64,
            Value::Rate(per_second) => *per_second,
        }
    }
}

/// Why a run has no value.
#[derive(Clone, Debug, PartialEq)]
pub enum Trouble {
    /// The system cannot carry this, here: a row with `error`.
    Unsupported(String),
    Failed(String),
    Interrupted,
}

/// For starting, warming up and draining, on a busy machine.
const GRACE: Duration = Duration::from_secs(5);
/// Between two looks at the signal flag and the deadline.
const TICK: Duration = Duration::from_millis(50);

pub fn run(cell: &Cell, workspace: &Workspace, measure: Duration) -> Result<Measured, Trouble> {
    attempt(cell, workspace, measure).map_err(trouble)
}

/// What all processes of a run have seen, and the placement probes.
pub fn answers(cell: &Cell, workspace: &Workspace, measure: Duration) -> Result<(Vec<Part>, (f64, f64)), Trouble> {
    crew(cell, workspace, measure).map_err(trouble)
}

fn trouble(error: anyhow::Error) -> Trouble {
    if INTERRUPTED.load(Ordering::Relaxed) {
        Trouble::Interrupted
    } else if error.is::<Unsupported>() {
        Trouble::Unsupported(format!("{error:#}"))
    } else {
        Trouble::Failed(format!("{error:#}"))
    }
}

fn attempt(cell: &Cell, workspace: &Workspace, measure: Duration) -> Result<Measured> {
    if cell.bench == Bench::Process {
        return processes::run(cell, measure);
    }
    if cell.bench == Bench::Pool {
        // Two of its rows are round trips as everywhere; where they ran is no matter here.
        if !matches!(cell.system, System::Ringway | System::Futex) {
            return pools::run(cell, workspace, measure);
        }
        let round_trip = attempt(&Cell { bench: Bench::Latency, ..cell.clone() }, workspace, measure)?;
        return Ok(Measured { probes: (1.0, 1.0), ..round_trip });
    }
    let (parts, probes) = crew(cell, workspace, measure)?;
    add_up(cell, &parts, probes)
}

/// Starts the processes of a run, and waits for what they say.
fn crew(cell: &Cell, workspace: &Workspace, measure: Duration) -> Result<(Vec<Part>, (f64, f64))> {
    let control = control::create(cell.size)?;
    let ways = if cell.bench == Bench::Latency { 2 } else { 1 };
    let _queues = if cell.system.is_ringway() { queue::create(cell, &workspace.directory, ways)? } else { vec![] };
    let channels = (0..ways).map(|way| channel(cell, way)).collect::<Result<Vec<_>>>()?;
    let ends = |channel: usize| channels.get(channel).and_then(Option::as_ref);
    let (first, second) = cell.processes();
    let mut crew = Crew(Vec::new());
    for (side, count) in [(Side::First, first), (Side::Second, second)] {
        // The first channel leads from the first side to the second.
        let (out, back) = match side {
            Side::First => (ends(0), ends(1)),
            Side::Second => (ends(1), ends(0)),
        };
        for index in 0..count {
            crew.start(&Order {
                cell: cell.clone(),
                side,
                index,
                cpu: match cell.cpus {
                    Some(cpus) => Some(cpus[usize::from(side == Side::Second)]),
                    None => workspace.cpu(side == Side::Second, index, (first, second)),
                },
                measure,
                control: control.as_raw_fd(),
                receive: back.map(|(receive, _)| receive.as_raw_fd()),
                send: out.map(|(_, send)| send.as_raw_fd()),
                directory: workspace.directory.clone(),
                parent: std::process::id(),
            })?;
        }
    }
    // Their ends must be the only ones, so that the last one's closing is seen.
    drop(channels);
    let answers = crew.finish(Instant::now() + measure + measure / 2 + GRACE)?;
    let (mut parts, mut probes) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Answer::Done { part, probes: seen } => {
                parts.push(part);
                probes = probes.or(seen);
            }
            Answer::Unsupported(text) => return Err(Unsupported(text).into()),
            Answer::Failed(text) => bail!(text),
        }
    }
    Ok((parts, probes.context("no process has probed")?))
}

fn add_up(cell: &Cell, parts: &[Part], probes: (f64, f64)) -> Result<Measured> {
    match cell.bench {
        Bench::Load | Bench::Idle => bail!("a load is added up elsewhere"),
        Bench::Tune if cell.system == System::Futex => {
            let (trips, wake) = tune::add_up(parts)?;
            Ok(Measured { wake: Some(wake), ..round_trips(&trips, probes)? })
        }
        Bench::Tune if cell.system == System::Raw => round_trips(parts, probes),
        Bench::Throughput | Bench::Scale | Bench::Tune => {
            let (rate, samples) = throughput::rate(parts)?;
            Ok(Measured { value: Value::Rate(rate), samples, probes, clock_ns: None, counts: Vec::new(), wake: None })
        }
        Bench::Latency | Bench::Process | Bench::Pool => round_trips(parts, probes),
    }
}

fn round_trips(parts: &[Part], probes: (f64, f64)) -> Result<Measured> {
    let ping = parts.iter().find_map(|part| match part {
        Part::Ping { percentiles, samples, clock_ns, counts } => {
            let (value, clock_ns) = (Value::RoundTrip(*percentiles), Some(*clock_ns));
            Some(Measured { value, samples: *samples, probes, clock_ns, counts: counts.clone(), wake: None })
        }
        _ => None,
    });
    ping.context("no process has timed round trips")
}

/// The receiving and the sending end.
type Ends = (OwnedFd, OwnedFd);

fn channel(cell: &Cell, way: usize) -> Result<Option<Ends>> {
    match cell.system {
        System::Pipe => {
            let (receive, send) = std::io::pipe().context("pipe")?;
            Ok(Some((receive.into(), send.into())))
        }
        System::Unix => socket_pair(cell.size).map(Some),
        System::Mq => message_queue(cell.size, way).map(Some),
        _ => Ok(None),
    }
}

/// The longest message that goes as one packet: longer ones exceed what a socket holds by default.
const LONGEST_PACKET: usize = 64 << 10;

/// Of packets, each a message; long messages go through a stream, in parts.
fn socket_pair(size: usize) -> Result<Ends> {
    let mut fds: [RawFd; 2] = [-1; 2];
    let kind = if size <= LONGEST_PACKET { libc::SOCK_SEQPACKET } else { libc::SOCK_STREAM } | libc::SOCK_CLOEXEC;
    // SAFETY: `fds` has room for two descriptors.
    let result = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) };
    ensure!(result == 0, "socketpair: {}", std::io::Error::last_os_error());
    // SAFETY: both were just made, and are owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

/// A POSIX message queue whose name is gone before anybody uses it. On Linux its
/// handle is a descriptor, close-on-exec.
fn message_queue(size: usize, way: usize) -> Result<Ends> {
    const DEPTH: libc::c_long = 10; // the default limit of an unprivileged user
    let name = std::ffi::CString::new(format!("/ringway-bench-{}-{way}", std::process::id()))?;
    // SAFETY: plain integers, for which zero is a value.
    let mut attributes: libc::mq_attr = unsafe { std::mem::zeroed() };
    attributes.mq_maxmsg = DEPTH;
    attributes.mq_msgsize = size as libc::c_long;
    let flags = libc::O_RDWR | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: name and attributes are valid; a mode and a pointer are what
    // O_CREAT makes the function read.
    let fd = unsafe { libc::mq_open(name.as_ptr(), flags, 0o600 as libc::mode_t, &raw mut attributes) };
    if fd < 0 {
        return Err(Unsupported(format!("mq_open for {size} bytes: {}", std::io::Error::last_os_error())).into());
    }
    // SAFETY: the name is valid.
    unsafe { libc::mq_unlink(name.as_ptr()) };
    // SAFETY: just made, and owned by nobody else.
    let queue = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
    Ok((queue.try_clone().context("another descriptor of the message queue")?.into(), queue.into()))
}

/// The processes of one run; dropping it leaves none of them.
struct Crew(Vec<Member>);

struct Member {
    child: Child,
    stdout: ChildStdout,
    said: Vec<u8>,
    ended: bool,
}

impl Crew {
    fn start(&mut self, order: &Order) -> Result<()> {
        let inherited = [Some(order.control), order.receive, order.send];
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("ringway")
            .arg(WORKER_COMMAND)
            .arg(serde_json::to_string(order)?)
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // SAFETY: between fork and exec only system calls are made that may be
        // made there (signal, prctl, fcntl), and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                // Ctrl-C is the parent's to handle; its death is ours.
                libc::signal(libc::SIGINT, libc::SIG_IGN);
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                for fd in inherited.into_iter().flatten() {
                    if libc::fcntl(fd, libc::F_SETFD, 0) != 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                Ok(())
            });
        }
        let mut child = command.spawn().context("starting a process of the measurement")?;
        let Some(stdout) = child.stdout.take() else { bail!("a process without standard output") };
        self.0.push(Member { child, stdout, said: Vec::new(), ended: false });
        Ok(())
    }

    /// Waits for all answers; the first failure ends it.
    fn finish(mut self, deadline: Instant) -> Result<Vec<Answer>> {
        while self.0.iter().any(|member| !member.ended) {
            ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
            if Instant::now() >= deadline {
                let late = self.0.iter().filter(|member| !member.ended).count();
                bail!("{late} of {} processes did not end in time and were killed", self.0.len());
            }
            self.listen()?;
        }
        self.0.iter().map(Member::answer).collect()
    }

    /// Reads what has been said, for a tick at most.
    fn listen(&mut self) -> Result<()> {
        let mut talking: Vec<&mut Member> = self.0.iter_mut().filter(|member| !member.ended).collect();
        let mut polled: Vec<libc::pollfd> = talking
            .iter()
            .map(|member| libc::pollfd { fd: member.stdout.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        // SAFETY: the pointer is valid for so many entries.
        unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, TICK.as_millis() as libc::c_int) };
        for (member, poll) in talking.iter_mut().zip(&polled) {
            if poll.revents != 0 {
                member.hear()?;
            }
        }
        Ok(())
    }
}

impl Member {
    fn hear(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        match self.stdout.read(&mut buffer).context("listening to a process of the measurement")? {
            0 => {
                let status = self.child.wait().context("waiting for a process of the measurement")?;
                self.ended = true;
                ensure!(!self.said.is_empty(), "a process died without an answer ({status})");
                if !status.success() {
                    match self.answer()? {
                        Answer::Done { .. } => bail!("a process ended with {status}"),
                        Answer::Unsupported(text) => return Err(Unsupported(text).into()),
                        Answer::Failed(text) => bail!(text),
                    }
                }
            }
            n => self.said.extend_from_slice(&buffer[..n]),
        }
        Ok(())
    }

    fn answer(&self) -> Result<Answer> {
        serde_json::from_slice(&self.said).context("a process gave no answer that can be understood")
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for member in &mut self.0 {
            if !member.ended {
                let _ = member.child.kill();
                let _ = member.child.wait();
            }
        }
    }
}
