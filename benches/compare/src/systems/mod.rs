//! The queues under test, behind two small traits. Each waits the way its row
//! says; none knows what is measured, or how.

pub mod aeron;
pub mod all;
pub mod boost;
pub mod buffers;
pub mod bytes;
pub mod copy;
pub mod faulty;
pub mod iceoryx;
pub mod in_process;
pub mod kernel;
pub mod large;
pub mod ours;
pub mod python;
pub mod rival;
pub mod textbook;
pub mod values;

use std::fmt;

/// Why a worker stopped. Small and `Copy`, so that the hot loops carry no
/// destructor; a benchmark that fails may leak a few bytes of text.
#[derive(Clone, Copy, Debug)]
pub struct Failure(&'static str);

impl Failure {
    pub const ABORTED: Failure = Failure("stopped because another worker failed");

    /// Whether it only says that somebody else failed.
    pub fn is_aborted(&self) -> bool {
        self.0 == Failure::ABORTED.0
    }

    #[cold]
    pub fn new(text: impl fmt::Display) -> Failure {
        Failure(Box::leak(text.to_string().into_boxed_str()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Failure {}

/// The sending end.
pub trait Put<T> {
    fn put(&mut self, value: T) -> Result<(), Failure>;

    /// Sends all, in order; rivals are measured unbatched.
    fn put_run(&mut self, values: &[T]) -> Result<(), Failure>
    where
        T: Copy,
    {
        values.iter().try_for_each(|value| self.put(*value))
    }

    /// One attempt, for negative controls. False: there is no room.
    fn try_put(&mut self, _: T) -> Result<bool, Failure> {
        Err(Failure::new("its attempts are not measured"))
    }

    /// A negative control: one byte in the middle of the next message is to be wrong, where it is made here.
    fn tear(&mut self) {}

    /// After a failure: wakes whoever waits for this end, where that is possible.
    fn give_up(&mut self) {}
}

/// The receiving end.
pub trait Take<T> {
    fn take(&mut self) -> Result<T, Failure>;

    /// Appends between one and `max` messages.
    fn take_run(&mut self, out: &mut Vec<T>, max: usize) -> Result<(), Failure> {
        debug_assert!(max > 0);
        out.push(self.take()?);
        Ok(())
    }

    /// One attempt, for negative controls. None: there is nothing.
    fn try_take(&mut self) -> Result<Option<T>, Failure> {
        Err(Failure::new("its attempts are not measured"))
    }

    /// As [`Put::give_up`].
    fn give_up(&mut self) {}
}
