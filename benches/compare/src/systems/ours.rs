//! ringway, as its users write it: `put` and `get` that wait, every check on.

use super::rival::{Rival, Way};
use super::{Failure, Put, Take};
use crate::job::{Job, System};
use crate::payload::Payload;
use ringway::{
    Consumer, GetError, Options, Pod, PodBroadcast, PodQueue, Producer, PutError, Side, StartAt, Subscriber, WaitPolicy,
};
use std::path::Path;

impl<T: Payload> Put<T> for Producer<Pod<T>> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        Producer::put(self, value).map_err(|error| not_put(&error, error.is_closed()))
    }

    #[inline(always)]
    fn put_run(&mut self, values: &[T]) -> Result<(), Failure> {
        self.put_many(values).map_err(Failure::new)
    }

    fn try_put(&mut self, value: T) -> Result<bool, Failure> {
        match Producer::try_put(self, value) {
            Ok(()) => Ok(true),
            Err(PutError::Full(_)) => Ok(false),
            Err(error) => Err(not_put(&error, error.is_closed())),
        }
    }

    fn give_up(&mut self) {
        self.close();
    }
}

impl<T: Payload> Take<T> for Consumer<Pod<T>> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        self.get().map_err(not_taken)
    }

    #[inline(always)]
    fn take_run(&mut self, out: &mut Vec<T>, max: usize) -> Result<(), Failure> {
        self.get_many(out, max).map(|_| ()).map_err(not_taken)
    }

    fn try_take(&mut self) -> Result<Option<T>, Failure> {
        match self.try_get() {
            Err(GetError::Empty) => Ok(None),
            other => other.map(Some).map_err(not_taken),
        }
    }

    fn give_up(&mut self) {
        self.close();
    }
}

impl<T: Payload> Put<T> for PodBroadcast<T> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        PodBroadcast::put(self, value).map_err(|error| not_put(&error, error.is_closed()))
    }

    fn give_up(&mut self) {
        self.close();
    }
}

impl<T: Payload> Take<T> for Subscriber<Pod<T>> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        self.get().map_err(not_taken)
    }
}

/// The queue is closed only by a worker that failed.
#[cold]
fn not_put(error: &dyn std::fmt::Display, closed: bool) -> Failure {
    if closed { Failure::ABORTED } else { Failure::new(error) }
}

#[cold]
fn not_taken(error: GetError) -> Failure {
    if matches!(error, GetError::Closed) { Failure::ABORTED } else { Failure::new(error) }
}

fn policy(job: &Job) -> WaitPolicy {
    if job.patient { WaitPolicy::default() } else { WaitPolicy::Spin }
}

/// More than is ever waiting in a measurement.
const CAP: u64 = 1 << 30;

/// Makes the named queue that the workers open.
pub fn create<T: Payload>(job: &Job, directory: &Path, name: &str) -> Result<PodQueue<T>, Failure> {
    let side = if job.single { Side::Single } else { Side::Multi };
    let options = match job.system {
        System::Unbounded => Options::unbounded().cap(CAP),
        _ => Options::new(job.capacity).producers(side).consumers(side),
    };
    PodQueue::create(name, options.wait_policy(policy(job)).directory(directory)).map_err(Failure::new)
}

/// Opens it, in another process.
fn open<T: Payload>(way: &Way) -> Result<PodQueue<T>, Failure> {
    let options = Options::default().wait_policy(policy(way.job)).directory(way.directory);
    PodQueue::open_with(&way.name, options).map_err(Failure::new)
}

fn open_broadcast<T: Payload>(way: &Way) -> Result<PodBroadcast<T>, Failure> {
    let options = Options::default().wait_policy(policy(way.job)).directory(way.directory);
    PodBroadcast::open_with(&way.name, options).map_err(Failure::new)
}

/// A queue of values.
pub struct Values;
/// A broadcast of values, slow subscribers waited for.
pub struct Casts;

impl<T: Payload> Rival<T> for Values {
    type Kept = PodQueue<T>;
    type Sending = Producer<Pod<T>>;
    type Receiving = Consumer<Pod<T>>;

    fn create(way: &Way) -> Result<PodQueue<T>, Failure> {
        create(way.job, way.directory, &way.name)
    }

    fn sending(way: &Way) -> Result<Producer<Pod<T>>, Failure> {
        open::<T>(way)?.producer().map_err(Failure::new)
    }

    fn receiving(way: &Way) -> Result<Consumer<Pod<T>>, Failure> {
        open::<T>(way)?.consumer().map_err(Failure::new)
    }
}

impl<T: Payload> Rival<T> for Casts {
    type Kept = PodBroadcast<T>;
    type Sending = PodBroadcast<T>;
    type Receiving = Subscriber<Pod<T>>;

    fn create(way: &Way) -> Result<PodBroadcast<T>, Failure> {
        let side = if way.job.single { Side::Single } else { Side::Multi };
        let options = Options::new(way.job.capacity).producers(side).wait_policy(policy(way.job));
        PodBroadcast::create(&way.name, options.directory(way.directory)).map_err(Failure::new)
    }

    fn sending(way: &Way) -> Result<PodBroadcast<T>, Failure> {
        open_broadcast(way)
    }

    fn receiving(way: &Way) -> Result<Subscriber<Pod<T>>, Failure> {
        open_broadcast::<T>(way)?.subscribe(StartAt::Now).map_err(Failure::new)
    }
}
