//! One measurement between processes: this program starts itself again, once per
//! worker, with a hidden argument.
//!
//! A worker dies with its parent, is pinned, opens the queue by name, and prints
//! its report as one line.

use crate::control::Control;
use crate::cpus::{now, of_worker, pin};
use crate::guard;
use crate::job::{Job, Kind, System};
use crate::payload::Payload;
use crate::systems::Failure;
use crate::systems::all::{Errand, dispatch};
use crate::systems::faulty::Faulty;
use crate::systems::rival::{Rival, Way};
use crate::threads::first_cause;
use crate::workload::{Report, ping, pong, receive, send};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub const WORKER_ARGUMENT: &str = "--worker";

/// What a worker is told.
#[derive(Serialize, Deserialize)]
pub struct Orders {
    job: Job,
    receiver: bool,
    index: usize,
    cpu: usize,
    directory: PathBuf,
    /// Of this measurement's files.
    id: String,
    /// For systems whose names stand directly under `/dev/shm`.
    shared_memory_name: String,
    parent: i32,
}

/// The two directions of `job`, which is called after `id`; of one-way messages only the first is used.
fn ways<'a>(job: &'a Job, control: &'a Arc<Control>, directory: &'a Path, id: &str, global: &str) -> [Way<'a>; 2] {
    ["there", "back"].map(|way| Way {
        job,
        control,
        directory,
        name: format!("{id}-{way}"),
        global_name: format!("{global}-{way}"),
    })
}

/// Makes the queues, and starts the workers.
struct Start<'a> {
    job: &'a Job,
    control: &'a Arc<Control>,
    id: &'a str,
}

impl Errand for Start<'_> {
    type Output = Vec<Report>;

    fn run<T: Payload, R: Rival<T>>(self) -> Result<Vec<Report>, Failure> {
        let global = guard::shared_memory_name(self.id);
        let ways = ways(self.job, self.control, guard::directory(), self.id, &global);
        let used = if self.job.kind == Kind::Throughput { 1 } else { 2 };
        let _kept = ways[..used].iter().map(R::create).collect::<Result<Vec<_>, _>>()?;
        start_all(self.job, self.control, self.id, global)
    }
}

/// Runs `job`, whose queues are called after `id`.
pub fn run(job: &Job, control: &Arc<Control>, id: &str) -> Result<Vec<Report>, Failure> {
    let (needed, left) = (needed(job), guard::room());
    if let Some(left) = left.filter(|left| *left < needed) {
        let [needed, left] = [needed, left].map(|bytes| bytes.div_ceil(1 << 20));
        return Err(Failure::new(format!("needs {needed} MiB of /dev/shm, where {left} MiB are left")));
    }
    let reports = dispatch(job, Start { job, control, id });
    guard::remove_files(id);
    reports
}

/// Bytes of shared memory, more rather than less. Rivals make files without their blocks: where there are none left, a
/// write is a signal that ends whoever writes, which may be this program. Ringway allocates, and says what is missing.
fn needed(job: &Job) -> u64 {
    let directions = if job.kind == Kind::Throughput { 1 } else { 2 };
    match job.system {
        System::Aeron | System::AeronInPlace => (directions * 64 + 16) << 20,
        system if system.name().starts_with("ringway") => 0,
        _ => directions * (job.capacity * (job.bytes as u64 + 64) * 3 + (4 << 20)),
    }
}

fn start_all(job: &Job, control: &Control, id: &str, shared_memory_name: String) -> Result<Vec<Report>, Failure> {
    for receiver in [false, true] {
        for index in 0..job.pairs + if receiver { job.listeners } else { 0 } {
            let orders = Orders {
                job: *job,
                receiver,
                index,
                cpu: of_worker(receiver, index),
                directory: guard::directory().to_owned(),
                id: id.to_owned(),
                shared_memory_name: shared_memory_name.clone(),
                parent: Pid::this().as_raw(),
            };
            start(&orders).inspect_err(|_| guard::end_children())?;
        }
    }
    collect(job, control)
}

/// Where the build without recovery is, if it is measured.
static WITHOUT_RECOVERY: OnceLock<PathBuf> = OnceLock::new();

/// Its workers are measured as [`System::WithoutRecovery`].
pub fn use_without_recovery(program: PathBuf) {
    let _ = WITHOUT_RECOVERY.set(program);
}

fn start(orders: &Orders) -> Result<(), Failure> {
    let program = match (orders.job.system, WITHOUT_RECOVERY.get()) {
        (System::WithoutRecovery, Some(program)) => program.clone(),
        _ => std::env::current_exe().map_err(Failure::new)?,
    };
    let orders = serde_json::to_string(orders).map_err(Failure::new)?;
    // Under the lock: whoever interrupts the run sees every child.
    let mut children = guard::children();
    let mut command = Command::new(program);
    // What a rival makes up there goes with the run.
    command.args([WORKER_ARGUMENT, &orders]).env("TMPDIR", guard::directory());
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    children.push(child.map_err(Failure::new)?);
    Ok(())
}

/// Waits for all workers. The first that fails stops the others.
fn collect(job: &Job, control: &Control) -> Result<Vec<Report>, Failure> {
    const GRACE_NS: u64 = 500_000_000;
    const LIMIT_NS: u64 = 15_000_000_000;
    let deadline = now() + LIMIT_NS;
    let mut give_up = deadline;
    std::thread::sleep(Duration::from_millis(job.warm_up_ms + job.measure_ms));
    loop {
        let mut running = 0;
        for child in guard::children().iter_mut() {
            match child.try_wait() {
                Ok(None) => running += 1,
                Ok(Some(status)) if status.success() => {}
                _ => {
                    control.abort();
                    give_up = give_up.min(now() + GRACE_NS);
                }
            }
        }
        if running == 0 || now() > give_up {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let late = now() > deadline;
    let mut results = Vec::new();
    for mut child in guard::children().drain(..) {
        let killed = matches!(child.try_wait(), Ok(None)) && child.kill().is_ok();
        let mut line = String::new();
        if let Some(mut output) = child.stdout.take() {
            let _ = output.read_to_string(&mut line);
        }
        let status = child.wait().map_err(Failure::new)?;
        results.push(match serde_json::from_str::<Result<Report, String>>(&line) {
            Ok(result) => result.map_err(Failure::new),
            Err(_) if killed && late => Err(Failure::new("a worker did not end in time")),
            Err(_) if killed => Err(Failure::ABORTED),
            Err(_) => Err(Failure::new(format!("a worker ended without a report: {status}"))),
        });
    }
    first_cause(results)
}

/// The whole life of a worker process.
pub fn worker(orders: &str) -> Result<(), Failure> {
    let orders: Orders = serde_json::from_str(orders).map_err(Failure::new)?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(Failure::new)?;
    if Pid::parent().as_raw() != orders.parent {
        return Err(Failure::new("the parent is gone"));
    }
    let result = prepare(&orders).and_then(|control| {
        let work = Work { orders: &orders, control: &control };
        dispatch(&orders.job, work)
    });
    let text = result.as_ref().map_err(ToString::to_string);
    println!("{}", serde_json::to_string(&text).map_err(Failure::new)?);
    result.map(|_| ())
}

fn prepare(orders: &Orders) -> Result<Arc<Control>, Failure> {
    pin(orders.cpu).map_err(Failure::new)?;
    let path = orders.directory.join(format!("{}-control", orders.id));
    Control::open(&path, orders.job.workers()).map(Arc::new).map_err(Failure::new)
}

/// Opens its ends, and runs its loop.
struct Work<'a> {
    orders: &'a Orders,
    control: &'a Arc<Control>,
}

impl Errand for Work<'_> {
    type Output = Report;

    fn run<T: Payload, R: Rival<T>>(self) -> Result<Report, Failure> {
        let Orders { job, receiver, index, directory, id, shared_memory_name, .. } = self.orders;
        let [there, back] = ways(job, self.control, directory, id, shared_memory_name);
        let faulty = |fault| (fault, job.victim());
        match (job.kind, receiver) {
            (Kind::Throughput, false) => {
                let sending = R::sending(&there)?;
                match job.fault.filter(|fault| !fault.is_the_receivers()).map(faulty) {
                    Some((fault, victim)) => {
                        let sending = Faulty { inner: sending, fault, victim, last: None };
                        send::<T, _>(job, self.control, *index, sending)
                    }
                    None => send::<T, _>(job, self.control, *index, sending),
                }
            }
            (Kind::Throughput, true) => {
                let receiving = R::receiving(&there)?;
                match job.fault.filter(|fault| fault.is_the_receivers()).map(faulty) {
                    Some((fault, victim)) => {
                        let receiving = Faulty { inner: receiving, fault, victim, last: None };
                        receive::<T, _>(job, self.control, receiving)
                    }
                    None => receive::<T, _>(job, self.control, receiving),
                }
            }
            // Opening may wait for the other side.
            (_, false) => {
                let sending = R::sending(&there)?;
                ping::<T, _, _>(job, self.control, sending, R::receiving(&back)?)
            }
            (_, true) => {
                let receiving = R::receiving(&there)?;
                pong::<T, _, _>(job, self.control, receiving, R::sending(&back)?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard;
    use crate::rows::{Times, base};

    #[test]
    fn a_rival_without_room_is_refused_before_it_makes_anything() {
        let Some(left) = guard::room() else { return };
        let small = base(Times { warm_up_ms: 1, measure_ms: 1 });
        let job = Job { system: System::Copy, bytes: 1 << 40, ..small };
        let path = std::env::temp_dir().join(format!("ringway-compare-room-{}", std::process::id()));
        let control = Arc::new(Control::create(&path, job.workers()).expect("a file"));
        let refused = run(&job, &control, "room").map(|_| ()).expect_err("there is no such room").to_string();
        std::fs::remove_file(&path).expect("it is there");
        assert!(refused.starts_with("needs ") && refused.contains("/dev/shm"), "{refused}");
        assert_eq!(needed(&Job { system: System::Ringway, ..job }), 0);
        assert!(needed(&Job { system: System::Copy, ..small }) < 8 << 20 && left < needed(&job));
    }
}
