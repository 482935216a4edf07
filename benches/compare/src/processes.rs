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
use crate::systems::faulty::Faulty;
use crate::systems::large::{self, Copying, InPlace, Tuples};
use crate::systems::textbook::Textbook;
use crate::systems::{Failure, Put, Take, copy, iceoryx, ours};
use crate::threads::first_cause;
use crate::workload::{Report, ping, pong, receive, send};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use ringway::StartAt;
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::PathBuf;
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

/// Queues are called after the way the messages go.
fn there(name: &str) -> String {
    format!("{name}-there")
}

fn back(name: &str) -> String {
    format!("{name}-back")
}

/// Runs `job`, whose queues are called after `id`.
pub fn run<T: Payload>(job: &Job, control: &Arc<Control>, id: &str) -> Result<Vec<Report>, Failure> {
    let shared_memory_name = guard::shared_memory_name(id);
    let names: &[fn(&str) -> String] = if job.kind == Kind::RoundTrip { &[there, back] } else { &[there] };
    match job.system {
        System::Copy => {
            copy::create(job, &copy_path(id))?;
            let reports = start_all(job, control, id, shared_memory_name);
            let _ = std::fs::remove_file(copy_path(id));
            reports
        }
        System::Iceoryx2 => {
            let _alive = iceoryx::service(job, guard::directory(), id)?;
            start_all(job, control, id, shared_memory_name)
        }
        system if system.carries_words_only() => {
            let queues = names.iter().map(|name| large::create(job, guard::directory(), &name(id)));
            let _alive = queues.collect::<Result<Vec<_>, _>>()?;
            start_all(job, control, id, shared_memory_name)
        }
        System::Broadcast => {
            let _alive = ours::create_broadcast::<T>(job, guard::directory(), &there(id))?;
            start_all(job, control, id, shared_memory_name)
        }
        System::Textbook => {
            let queues = names.iter().map(|name| Textbook::<T>::create(&name(&shared_memory_name), job.capacity));
            let _alive = queues.collect::<Result<Vec<_>, _>>()?;
            start_all(job, control, id, shared_memory_name)
        }
        _ => {
            let queues = names.iter().map(|name| ours::create::<T>(job, guard::directory(), &name(id)));
            let _alive = queues.collect::<Result<Vec<_>, _>>()?;
            start_all(job, control, id, shared_memory_name)
        }
    }
}

fn copy_path(id: &str) -> PathBuf {
    guard::directory().join(format!("{id}-copy"))
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
    let command =
        Command::new(program).args([WORKER_ARGUMENT, &orders]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    children.push(command.map_err(Failure::new)?);
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
    let result = match orders.job.bytes {
        _ if orders.job.system.carries_words_only() => carry(&orders),
        8 => work::<u64>(&orders),
        56 => work::<[u64; 7]>(&orders),
        bytes => Err(Failure::new(format!("no payload of {bytes} bytes"))),
    };
    let text = result.as_ref().map_err(ToString::to_string);
    println!("{}", serde_json::to_string(&text).map_err(Failure::new)?);
    result.map(|_| ())
}

fn work<T: Payload>(orders: &Orders) -> Result<Report, Failure> {
    let Orders { job, directory, id, shared_memory_name, .. } = orders;
    pin(orders.cpu).map_err(Failure::new)?;
    let control = Control::open(&directory.join(format!("{id}-control")), job.workers()).map_err(Failure::new)?;
    let control = &control;
    let round_trip = job.kind == Kind::RoundTrip;
    match job.system {
        System::Textbook => {
            let open = |name: String| Textbook::<T>::open(&name, job.capacity);
            let first = open(there(shared_memory_name))?;
            match (round_trip, orders.receiver) {
                (true, false) => ping(job, control, first, open(back(shared_memory_name))?),
                (true, true) => pong(job, control, first, open(back(shared_memory_name))?),
                (false, receiver) => one_way(orders, control, receiver, first),
            }
        }
        System::Broadcast => {
            let broadcast = ours::open_broadcast::<T>(job, directory, &there(id))?;
            if orders.receiver {
                let subscriber = broadcast.subscribe(StartAt::Now).map_err(Failure::new)?;
                drop(broadcast);
                receive::<T, _>(job, control, subscriber)
            } else {
                sender::<T, _>(orders, control, broadcast)
            }
        }
        _ => {
            let open = |name: String| ours::open::<T>(job, directory, &name);
            let first = open(there(id))?;
            let producer = |queue: ringway::PodQueue<T>| queue.producer().map_err(Failure::new);
            let consumer = |queue: ringway::PodQueue<T>| queue.consumer().map_err(Failure::new);
            match (round_trip, orders.receiver) {
                (true, false) => ping::<T, _, _>(job, control, producer(first)?, consumer(open(back(id))?)?),
                (true, true) => pong::<T, _, _>(job, control, consumer(first)?, producer(open(back(id))?)?),
                (false, true) => receive::<T, _>(job, control, consumer(first)?),
                (false, false) => sender::<T, _>(orders, control, producer(first)?),
            }
        }
    }
}

fn one_way<T: Payload, Q: Put<T> + Take<T>>(
    orders: &Orders,
    control: &Control,
    receiver: bool,
    queue: Q,
) -> Result<Report, Failure> {
    if receiver { receive(&orders.job, control, queue) } else { sender(orders, control, queue) }
}

fn sender<T: Payload, P: Put<T>>(orders: &Orders, control: &Control, queue: P) -> Result<Report, Failure> {
    match orders.job.fault {
        Some(fault) => {
            send(&orders.job, control, orders.index, Faulty { inner: queue, fault, victim: orders.job.victim() })
        }
        None => send(&orders.job, control, orders.index, queue),
    }
}

/// The same for messages of which only a word is looked at.
fn carry(orders: &Orders) -> Result<Report, Failure> {
    let Orders { job, directory, id, receiver, .. } = orders;
    pin(orders.cpu).map_err(Failure::new)?;
    let control = Control::open(&directory.join(format!("{id}-control")), job.workers()).map_err(Failure::new)?;
    let control = Arc::new(control);
    let open = |name: String| large::open(job, directory, &name);
    match (job.system, receiver) {
        (System::Copy, _) => {
            let ends = copy::Ends::open(job, &directory.join(format!("{id}-copy")), Arc::clone(&control))?;
            one_way::<u64, _>(orders, &control, *receiver, ends)
        }
        (System::Iceoryx2, false) => {
            let sending = iceoryx::Sending::new(iceoryx::service(job, directory, id)?, job)?;
            sender::<u64, _>(orders, &control, sending)
        }
        (System::Iceoryx2, true) => {
            let service = iceoryx::service(job, directory, id)?;
            receive::<u64, _>(job, &control, iceoryx::Receiving::new(service, job, Arc::clone(&control))?)
        }
        (System::Serde, false) => {
            let queue = large::open_tuples(job, directory, &there(id))?.producer();
            sender::<u64, _>(orders, &control, Tuples(queue.map_err(Failure::new)?))
        }
        (System::Serde, true) => {
            let queue = large::open_tuples(job, directory, &there(id))?.consumer();
            receive::<u64, _>(job, &control, Tuples(queue.map_err(Failure::new)?))
        }
        (System::InPlace | System::InPlaceTouched, receiver) => {
            let (first, second) = (open(there(id))?, open(back(id))?);
            if *receiver {
                let ends = (first.consumer().map_err(Failure::new)?, second.producer().map_err(Failure::new)?);
                pong::<u64, _, _>(job, &control, InPlace::new(ends.0, job), InPlace::new(ends.1, job))
            } else {
                let ends = (first.producer().map_err(Failure::new)?, second.consumer().map_err(Failure::new)?);
                ping::<u64, _, _>(job, &control, InPlace::new(ends.0, job), InPlace::new(ends.1, job))
            }
        }
        (_, false) => {
            let queue = open(there(id))?.producer().map_err(Failure::new)?;
            sender::<u64, _>(orders, &control, Copying::new(queue, job))
        }
        (_, true) => {
            let queue = open(there(id))?.consumer().map_err(Failure::new)?;
            receive::<u64, _>(job, &control, Copying::new(queue, job))
        }
    }
}
