//! What a transport between processes has to be for the loops that measure it: two ends that are opened by name.

use super::{Failure, Put, Take};
use crate::control::Control;
use crate::job::Job;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// One direction, from a sender to a receiver.
pub struct Way<'a> {
    pub job: &'a Job,
    pub control: &'a Arc<Control>,
    /// The run's own, which goes with it.
    pub directory: &'a Path,
    /// Within that directory.
    pub name: String,
    /// For systems whose names stand in one place for all.
    pub global_name: String,
}

impl Way<'_> {
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.name)
    }

    /// Bytes for as many messages as the capacity says, each with so much beside it and padded to 8.
    pub fn room(&self, beside: usize) -> usize {
        self.job.capacity as usize * (self.job.bytes + beside).next_multiple_of(8)
    }

    /// Tries until the other end has come far enough.
    pub fn until<R>(&self, mut attempt: impl FnMut() -> Option<R>) -> Result<R, Failure> {
        /// Longer than any worker takes to start.
        const ATTEMPTS: u32 = 10_000;
        for _ in 0..ATTEMPTS {
            if let Some(result) = attempt() {
                return Ok(result);
            }
            if self.control.aborted() {
                return Err(Failure::ABORTED);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Err(Failure::new("the other end did not come"))
    }
}

/// Used as its documentation recommends, and so that it loses nothing. Both ends poll where the system can.
///
/// Of two directions whoever sends first opens its sending end first, and the other its receiving end: opening may
/// wait for the other side.
pub trait Rival<T> {
    /// What whoever measures keeps until all workers have ended.
    type Kept;
    type Sending: Put<T>;
    type Receiving: Take<T>;

    /// Before any worker starts.
    fn create(way: &Way) -> Result<Self::Kept, Failure>;
    fn sending(way: &Way) -> Result<Self::Sending, Failure>;
    fn receiving(way: &Way) -> Result<Self::Receiving, Failure>;
}

/// What to do between two attempts.
#[derive(Clone)]
pub struct Retry {
    pub control: Arc<Control>,
    /// Give way to other threads instead of spinning.
    pub yields: bool,
}

impl Retry {
    /// Spins where both ends have a processor each.
    pub fn polls(way: &Way) -> Retry {
        Retry { control: Arc::clone(way.control), yields: crate::cpus::is_alone() }
    }

    #[inline(always)]
    fn pause(&self) -> Result<(), Failure> {
        if self.yields {
            std::thread::yield_now()
        } else {
            std::hint::spin_loop()
        }
        if self.control.aborted() { Err(Failure::ABORTED) } else { Ok(()) }
    }

    #[inline(always)]
    pub fn until_some<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Result<T, Failure> {
        loop {
            if let Some(value) = attempt() {
                return Ok(value);
            }
            self.pause()?;
        }
    }

    /// The same for attempts that can fail.
    #[inline(always)]
    pub fn until_ok<T, E: std::fmt::Display>(
        &self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Result<T, Failure> {
        self.until_some(|| attempt().transpose())?.map_err(Failure::new)
    }
}
