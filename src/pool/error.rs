//! What can go wrong with a pool, and with one of its jobs.

use crate::error::SetupError;
use crate::process::{ExitStatus, ProcessError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a job has no result: the cause, and how often its function was begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobError {
    cause: JobFailure,
    attempts: u32,
}

impl JobError {
    pub(super) fn new(cause: JobFailure, attempts: u32) -> JobError {
        JobError { cause, attempts }
    }

    /// What happened; of several attempts, what ended the last.
    pub fn cause(&self) -> &JobFailure {
        &self.cause
    }

    /// How often a worker has begun with it. 0: none has; the cause lies before.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// What has become of a job instead of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JobFailure {
    /// The function has panicked. Its worker goes on.
    Panicked {
        /// What it said.
        message: String,
        /// File, line and column. `None` if the function has replaced the panic hook.
        location: Option<String>,
    },
    /// Its worker ended while it ran, or between its end and its report, or because of its arguments before it began. The
    /// worker is replaced.
    Died {
        /// How: by which signal, with which exit code.
        status: ExitStatus,
    },
    /// It ran for longer than the pool's `task_timeout`. Its worker was ended and is replaced. (Of a `get_timeout` that has
    /// waited in vain see `NotReady`.)
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// Somebody has cancelled it.
    Cancelled,
    /// The pool was terminated, or dropped, before it was done.
    Terminated,
    /// The pool was closed before it was submitted.
    Closed,
    /// It is not done yet: `get_timeout` has waited in vain. The job goes on.
    NotReady,
    /// An argument could not be encoded, or is longer than the pool's memory allows, or there was no memory for it.
    ArgumentsUnencodable {
        /// What its `Serialize` said.
        reason: String,
    },
    /// The worker could not decode the arguments.
    ArgumentsUndecodable {
        /// What `Deserialize` said.
        reason: String,
    },
    /// The function returned something that could not be encoded, or is longer than the pool's memory allows, or there was
    /// no memory for it.
    ResultUnencodable {
        /// What its `Serialize` said.
        reason: String,
    },
    /// The result could not be decoded here.
    ResultUndecodable {
        /// What `Deserialize` said.
        reason: String,
    },
    /// The function is not one of the main program's (but of a plug-in's, of a library's).
    NotThisProgram,
    /// The pool cannot go on: its initializer has failed, its workers do not start, its memory is damaged.
    Broken {
        /// Why.
        reason: String,
    },
    /// The handle was inherited by `fork`: the pool is its parent's.
    Forked,
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)?;
        match self.attempts {
            0 | 1 => Ok(()),
            more => write!(f, " (in the last of {more} attempts)"),
        }
    }
}

impl fmt::Display for JobFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use JobFailure as F;
        match self {
            F::Panicked { message, location: Some(place) } => write!(f, "the function panicked at {place}: {message}"),
            F::Panicked { message, location: None } => write!(f, "the function panicked: {message}"),
            F::Died { status } => write!(f, "the worker {status} while the function ran"),
            F::TimedOut { limit } => write!(f, "the function ran for longer than {limit:?}; its worker was ended"),
            F::Cancelled => f.write_str("the job was cancelled"),
            F::Terminated => {
                f.write_str("the pool was terminated or dropped before the job was done; close() and join() it first")
            }
            F::Closed => f.write_str("the pool is closed: nothing can be submitted after close()"),
            F::NotReady => f.write_str("the job is not done yet"),
            F::ArgumentsUnencodable { reason } => write!(f, "an argument cannot be encoded: {reason}"),
            F::ArgumentsUndecodable { reason } => write!(f, "the worker could not decode the arguments: {reason}"),
            F::ResultUnencodable { reason } => write!(f, "the result cannot be encoded: {reason}"),
            F::ResultUndecodable { reason } => write!(f, "the result cannot be decoded: {reason}"),
            F::NotThisProgram => f.write_str(
                "the function is not part of the main program, where a worker would look for it; wrap it in a \
                 function of the program",
            ),
            F::Broken { reason } => write!(f, "the pool cannot go on: {reason}"),
            F::Forked => f.write_str("this handle was inherited by fork: the pool is its parent's"),
        }
    }
}

impl std::error::Error for JobError {}

impl From<JobFailure> for JobError {
    fn from(cause: JobFailure) -> JobError {
        JobError::new(cause, 0)
    }
}

impl From<JobError> for io::Error {
    fn from(error: JobError) -> io::Error {
        use JobFailure as F;
        let kind = match error.cause {
            F::TimedOut { .. } | F::NotReady => io::ErrorKind::TimedOut,
            F::ArgumentsUnencodable { .. }
            | F::ArgumentsUndecodable { .. }
            | F::ResultUnencodable { .. }
            | F::ResultUndecodable { .. } => io::ErrorKind::InvalidData,
            F::Forked => io::ErrorKind::Unsupported,
            F::NotThisProgram => io::ErrorKind::InvalidInput,
            F::Closed | F::Terminated => io::ErrorKind::BrokenPipe,
            // Not Interrupted, which loops of input and output take for "try again".
            F::Cancelled | F::Panicked { .. } | F::Died { .. } | F::Broken { .. } => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

/// Why there is no pool, or why it cannot do what was asked for.
#[derive(Debug)]
#[non_exhaustive]
pub enum PoolError {
    /// Something that was asked for makes no sense.
    InvalidOptions {
        /// What.
        reason: &'static str,
    },
    /// A worker could not be started.
    Process(ProcessError),
    /// The memory for its tasks and results could not be had.
    Queue(SetupError),
    /// The initializer has failed in a worker, so there is no pool.
    Initializer {
        /// How: its panic, or how its process ended.
        reason: String,
    },
    /// `join` before `close` or `terminate` would wait for ever.
    NotClosed,
    /// The handle was inherited by `fork`: the pool is its parent's.
    Forked,
    /// The system refused.
    System {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use PoolError as E;
        match self {
            E::InvalidOptions { reason } => write!(f, "invalid options: {reason}"),
            E::Process(error) => write!(f, "a worker cannot be started: {error}"),
            E::Queue(error) => write!(f, "there is no memory for tasks and results: {error}"),
            E::Initializer { reason } => f.write_str(reason),
            E::NotClosed => f.write_str("join() before close(): call close() first, or terminate()"),
            E::Forked => f.write_str("this handle was inherited by fork: the pool is its parent's"),
            E::System { doing, source } => write!(f, "{doing} failed: {source}"),
        }
    }
}

impl std::error::Error for PoolError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PoolError::Process(source) => Some(source),
            PoolError::Queue(source) => Some(source),
            PoolError::System { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<PoolError> for io::Error {
    fn from(error: PoolError) -> io::Error {
        let kind = match error {
            PoolError::Process(error) => return error.into(),
            PoolError::Queue(error) => return error.into(),
            PoolError::InvalidOptions { .. } | PoolError::NotClosed => io::ErrorKind::InvalidInput,
            PoolError::Forked => io::ErrorKind::Unsupported,
            PoolError::Initializer { .. } => io::ErrorKind::Other,
            PoolError::System { ref source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}

/// What a worker says of a job that has no result.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Fault {
    Panicked { message: String, location: Option<String> },
    Arguments(String),
    Result(String),
}

impl Fault {
    /// What was said: as long as whoever has said it liked.
    pub(super) fn text(&mut self) -> &mut String {
        match self {
            Fault::Panicked { message: text, .. } | Fault::Arguments(text) | Fault::Result(text) => text,
        }
    }
}

impl From<Fault> for JobFailure {
    fn from(fault: Fault) -> JobFailure {
        match fault {
            Fault::Panicked { message, location } => JobFailure::Panicked { message, location },
            Fault::Arguments(reason) => JobFailure::ArgumentsUndecodable { reason },
            Fault::Result(reason) => JobFailure::ResultUnencodable { reason },
        }
    }
}
