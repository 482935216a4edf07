//! The textbook queue: what one writes in an afternoon on the crates
//! `shared_memory` and `raw_sync`.
//!
//! A ring in shared memory under a process-shared mutex, and two events that are
//! signalled when the ring stops being empty or full. One sender, one receiver.
//! The events are sticky and reset by a wait, so a signal between the look and
//! the wait is not lost.

#![allow(unsafe_code)]

use super::rival::{Rival, Way};
use super::{Failure, Put, Take};
use crate::payload::Payload;
use raw_sync::Timeout;
use raw_sync::events::{Event, EventImpl, EventInit, EventState};
use raw_sync::locks::{LockImpl, LockInit, Mutex};
use shared_memory::{Shmem, ShmemConf};
use std::marker::PhantomData;

const LINE: usize = 64;
/// Room for a mutex or an event, each on lines of its own.
const PRIMITIVE: usize = 4 * LINE;
const RING: usize = 3 * PRIMITIVE;

#[repr(C, align(64))]
struct Counts {
    put: u64,
    taken: u64,
}

pub struct Textbook<T> {
    mutex: Box<dyn LockImpl>,
    not_empty: Box<dyn EventImpl>,
    not_full: Box<dyn EventImpl>,
    capacity: u64,
    /// Last: what is above points into it.
    memory: Shmem,
    kind: PhantomData<fn(T) -> T>,
}

impl<T: Payload> Textbook<T> {
    fn size(capacity: u64) -> usize {
        RING + size_of::<Counts>() + capacity as usize * size_of::<T>()
    }

    /// Makes the segment `name`; it goes when this value is dropped.
    pub fn create(name: &str, capacity: u64) -> Result<Self, Failure> {
        let memory = ShmemConf::new().os_id(name).size(Self::size(capacity)).create().map_err(Failure::new)?;
        let base = memory.as_ptr();
        const { assert!(align_of::<T>() <= align_of::<Counts>()) };
        // SAFETY: the mapping is new, page-aligned and `size` bytes long: the
        // three primitives and the ring lie within it, apart from one another,
        // and the name is known to nobody yet.
        unsafe {
            base.add(RING).cast::<Counts>().write(Counts { put: 0, taken: 0 });
            let mutex = Mutex::new(base, base.add(RING)).map_err(Failure::new)?.0;
            let not_empty = Event::new(base.add(PRIMITIVE), true).map_err(Failure::new)?.0;
            let not_full = Event::new(base.add(2 * PRIMITIVE), true).map_err(Failure::new)?.0;
            Ok(Textbook { mutex, not_empty, not_full, capacity, memory, kind: PhantomData })
        }
    }

    /// Opens it, in another process.
    pub fn open(name: &str, capacity: u64) -> Result<Self, Failure> {
        let memory = ShmemConf::new().os_id(name).open().map_err(Failure::new)?;
        if memory.len() < Self::size(capacity) {
            return Err(Failure::new("the textbook segment is too short"));
        }
        let base = memory.as_ptr();
        // SAFETY: as in `create`, which has finished: the parent starts workers
        // afterwards.
        unsafe {
            let mutex = Mutex::from_existing(base, base.add(RING)).map_err(Failure::new)?.0;
            let not_empty = Event::from_existing(base.add(PRIMITIVE)).map_err(Failure::new)?.0;
            let not_full = Event::from_existing(base.add(2 * PRIMITIVE)).map_err(Failure::new)?.0;
            Ok(Textbook { mutex, not_empty, not_full, capacity, memory, kind: PhantomData })
        }
    }

    /// Runs `step` under the mutex until it returns a value, waiting for `event`
    /// in between.
    #[inline(always)]
    fn when<R>(
        &self,
        event: &dyn EventImpl,
        mut step: impl FnMut(&mut Counts, *mut T) -> Option<R>,
    ) -> Result<R, Failure> {
        loop {
            {
                let _guard = self.mutex.lock().map_err(Failure::new)?;
                // SAFETY: the ring lies at `RING`, initialised by `create`, and
                // only the holder of the mutex touches it.
                let (counts, slots) = unsafe {
                    let counts = self.memory.as_ptr().add(RING).cast::<Counts>();
                    (&mut *counts, counts.add(1).cast::<T>())
                };
                if let Some(result) = step(counts, slots) {
                    return Ok(result);
                }
            }
            event.wait(Timeout::Infinite).map_err(Failure::new)?;
        }
    }
}

/// As a [`Rival`].
pub struct Ring;

impl<T: Payload> Rival<T> for Ring {
    type Kept = Textbook<T>;
    type Sending = Textbook<T>;
    type Receiving = Textbook<T>;

    fn create(way: &Way) -> Result<Textbook<T>, Failure> {
        Textbook::create(&way.global_name, way.job.capacity)
    }

    fn sending(way: &Way) -> Result<Textbook<T>, Failure> {
        Textbook::open(&way.global_name, way.job.capacity)
    }

    fn receiving(way: &Way) -> Result<Textbook<T>, Failure> {
        Textbook::open(&way.global_name, way.job.capacity)
    }
}

impl<T: Payload> Put<T> for Textbook<T> {
    #[inline(always)]
    fn put(&mut self, value: T) -> Result<(), Failure> {
        let was_empty = self.when(&*self.not_full, |counts, slots| {
            let used = counts.put - counts.taken;
            if used == self.capacity {
                return None;
            }
            // SAFETY: `slots` holds `capacity` messages, and we hold the mutex.
            unsafe { slots.add((counts.put % self.capacity) as usize).write(value) };
            counts.put += 1;
            Some(used == 0)
        })?;
        if was_empty { self.not_empty.set(EventState::Signaled).map_err(Failure::new) } else { Ok(()) }
    }
}

impl<T: Payload> Take<T> for Textbook<T> {
    #[inline(always)]
    fn take(&mut self) -> Result<T, Failure> {
        let (value, was_full) = self.when(&*self.not_empty, |counts, slots| {
            let used = counts.put - counts.taken;
            if used == 0 {
                return None;
            }
            // SAFETY: as in `put`; the slot was written before `put` grew past it,
            // by a program that writes only valid values of `T`.
            let value = unsafe { slots.add((counts.taken % self.capacity) as usize).read() };
            counts.taken += 1;
            Some((value, used == self.capacity))
        })?;
        if was_full {
            self.not_full.set(EventState::Signaled).map_err(Failure::new)?;
        }
        Ok(value)
    }
}
