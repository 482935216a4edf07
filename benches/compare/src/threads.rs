//! One measurement between threads of this process.

use crate::control::Control;
use crate::cpus::{is_alone, of_worker, pin};
use crate::guard;
use crate::job::{Job, Kind, System};
use crate::payload::Payload;
use crate::systems::faulty::Faulty;
use crate::systems::in_process::{array_queue, channel, rtrb};
use crate::systems::rival::Retry;
use crate::systems::{Failure, Put, Take, ours};
use crate::workload::{Report, ping, pong, receive, send};
use std::sync::Arc;
use std::thread::ScopedJoinHandle;

/// Runs `job`, whose queues are called after `id`.
pub fn run(job: &Job, control: &Arc<Control>, id: &str) -> Result<Vec<Report>, Failure> {
    match job.bytes {
        8 => of_values::<u64>(job, control, id),
        56 => of_values::<[u64; 7]>(job, control, id),
        64 => of_values::<[u64; 8]>(job, control, id),
        1024 => of_values::<[u64; 128]>(job, control, id),
        bytes => Err(Failure::new(format!("no value of {bytes} bytes"))),
    }
}

fn of_values<T: Payload>(job: &Job, control: &Arc<Control>, id: &str) -> Result<Vec<Report>, Failure> {
    let retry = Retry { control: Arc::clone(control), yields: job.patient || is_alone() };
    match job.system {
        System::Rtrb => measure::<T, _, _>(job, control, |_| {
            let (sender, receiver) = rtrb::<T>(job.capacity, &retry);
            Ok((vec![sender], vec![receiver]))
        }),
        System::ArrayQueue => measure::<T, _, _>(job, control, |_| {
            let mut ends = array_queue::<T>(job.capacity, &retry, 2 * job.pairs);
            let receivers = ends.split_off(job.pairs);
            Ok((ends, receivers))
        }),
        System::CrossbeamChannel => measure::<T, _, _>(job, control, |_| {
            let (sender, receiver) = channel::<T>(job.capacity);
            Ok((vec![sender; job.pairs], vec![receiver; job.pairs]))
        }),
        System::RingwayThreads => measure::<T, _, _>(job, control, |way| {
            let queue = ours::create::<T>(job, guard::directory(), &format!("{id}-{way}"))?;
            let senders = (0..job.pairs).map(|_| queue.producer()).collect::<Result<_, _>>();
            let receivers = (0..job.pairs).map(|_| queue.consumer()).collect::<Result<_, _>>();
            Ok((senders.map_err(Failure::new)?, receivers.map_err(Failure::new)?))
        }),
        _ => Err(Failure::new("this queue is measured between processes only")),
    }
}

/// Measures with queues of which `make` makes one, by its senders and its receivers.
fn measure<T: Payload, P: Put<T> + Send, C: Take<T> + Send>(
    job: &Job,
    control: &Control,
    make: impl Fn(&str) -> Result<(Vec<P>, Vec<C>), Failure>,
) -> Result<Vec<Report>, Failure> {
    let (senders, receivers) = make("there")?;
    if job.kind == Kind::Throughput {
        return between(job, control, senders, receivers);
    }
    let (back_senders, back_receivers) = make("back")?;
    let pinned = |receiver| pin(of_worker(receiver, 0)).map_err(Failure::new);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (there, back) in senders.into_iter().zip(back_receivers).take(1) {
            threads.push(scope.spawn(move || {
                let result = pinned(false).and_then(|()| ping::<T, _, _>(job, control, there, back));
                result.inspect_err(|_| control.abort())
            }));
        }
        for (there, back) in receivers.into_iter().zip(back_senders).take(1) {
            threads.push(scope.spawn(move || {
                let result = pinned(true).and_then(|()| pong::<T, _, _>(job, control, there, back));
                result.inspect_err(|_| control.abort())
            }));
        }
        joined(threads)
    })
}

fn between<T: Payload, P: Put<T> + Send, C: Take<T> + Send>(
    job: &Job,
    control: &Control,
    senders: Vec<P>,
    receivers: Vec<C>,
) -> Result<Vec<Report>, Failure> {
    let stop_others = |result: Result<Report, Failure>| result.inspect_err(|_| control.abort());
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (index, end) in senders.into_iter().enumerate() {
            threads.push(scope.spawn(move || {
                stop_others(pin(of_worker(false, index)).map_err(Failure::new).and_then(|()| match job.fault {
                    Some(fault) => {
                        let end = Faulty { inner: end, fault, victim: job.victim(), last: None };
                        send::<T, _>(job, control, index, end)
                    }
                    None => send::<T, _>(job, control, index, end),
                }))
            }));
        }
        for (index, end) in receivers.into_iter().enumerate() {
            threads.push(scope.spawn(move || {
                let pinned = pin(of_worker(true, index)).map_err(Failure::new);
                stop_others(pinned.and_then(|()| receive::<T, _>(job, control, end)))
            }));
        }
        joined(threads)
    })
}

fn joined(threads: Vec<ScopedJoinHandle<Result<Report, Failure>>>) -> Result<Vec<Report>, Failure> {
    let result = |thread: ScopedJoinHandle<_>| thread.join().unwrap_or_else(|_| Err(Failure::new("a worker panicked")));
    first_cause(threads.into_iter().map(result).collect())
}

/// All reports, or the failure that made the others stop.
pub fn first_cause(results: Vec<Result<Report, Failure>>) -> Result<Vec<Report>, Failure> {
    let cause = results.iter().filter_map(|result| result.as_ref().err()).min_by_key(|failure| failure.is_aborted());
    match cause {
        Some(failure) => Err(*failure),
        None => Ok(results.into_iter().flatten().collect()),
    }
}
