//! One measurement between threads of this process.

use crate::control::Control;
use crate::cpus::{of_worker, pin};
use crate::guard;
use crate::job::{Job, Kind, System};
use crate::payload::Payload;
use crate::systems::faulty::Faulty;
use crate::systems::in_process::{Retry, array_queue, ringfire, rtrb};
use crate::systems::{Failure, Put, Take, ours};
use crate::workload::{Report, receive, send};
use std::sync::Arc;

/// Runs `job`, whose queues are called after `id`.
pub fn run<T: Payload>(job: &Job, control: &Arc<Control>, id: &str) -> Result<Vec<Report>, Failure> {
    if job.kind != Kind::Throughput {
        return Err(Failure::new("round trips are measured between processes"));
    }
    let retry = Retry { control: Arc::clone(control), yields: job.patient };
    match job.system {
        System::Rtrb => {
            let (producer, consumer) = rtrb::<T>(job.capacity, &retry);
            between(job, control, vec![producer], vec![consumer])
        }
        System::Ringfire => {
            let (producer, consumer) = ringfire::<T>(job.capacity, &retry, &guard::directory().join(id))?;
            between(job, control, vec![producer], vec![consumer])
        }
        System::ArrayQueue => {
            let mut ends = array_queue::<T>(job.capacity, &retry, 2 * job.pairs);
            let receivers = ends.split_off(job.pairs);
            between(job, control, ends, receivers)
        }
        System::Ringway | System::RingwayThreads => {
            let queue = ours::create::<T>(job, guard::directory(), id)?;
            let producers = (0..job.pairs).map(|_| queue.producer()).collect::<Result<_, _>>();
            let consumers = (0..job.pairs).map(|_| queue.consumer()).collect::<Result<_, _>>();
            between(job, control, producers.map_err(Failure::new)?, consumers.map_err(Failure::new)?)
        }
        _ => Err(Failure::new("this queue is measured between processes only")),
    }
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
                        send::<T, _>(job, control, index, Faulty { inner: end, fault, victim: job.victim() })
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
        let results: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Failure::new("a worker panicked"))))
            .collect();
        first_cause(results)
    })
}

/// All reports, or the failure that made the others stop.
pub fn first_cause(results: Vec<Result<Report, Failure>>) -> Result<Vec<Report>, Failure> {
    let cause = results.iter().filter_map(|result| result.as_ref().err()).min_by_key(|failure| failure.is_aborted());
    match cause {
        Some(failure) => Err(*failure),
        None => Ok(results.into_iter().flatten().collect()),
    }
}
