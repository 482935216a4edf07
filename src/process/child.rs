//! A child as its parent sees it: a pidfd, and the file for its reply.
//!
//! C1. Everything is done through the pidfd, which means this child and no other, however often
//! its pid is used again (FAILURES F9).
//! C2. How it has ended is asked of the kernel once, by whoever comes first, and kept. If somebody else
//! has asked before (`waitpid(-1)`, SIGCHLD ignored), what the child has replied is all that is
//! known (F4).
//! C3. Nobody waits for anything but the child's end or a deadline.

use super::error::ProcessError;
use super::message::{Mailbox, Outcome, Progress};
use crate::sys::children::{self, Ended};
use crate::sys::mem::generation;
use crate::sys::pidfd;
use crate::sys::shm::Kept;
use crate::wait::Deadline;
use std::fmt;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a process has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It has exited with this code; 0 if the function has returned.
    Exited(i32),
    /// A signal has ended it.
    Signaled(i32),
    /// The function has panicked, and nobody caught that.
    Panicked {
        /// What it said.
        message: String,
        /// File, line and column. `None` if the function has replaced the panic hook.
        location: Option<String>,
    },
    /// It has ended, and somebody else was told how: SIGCHLD is ignored in this process, or something in
    /// it waits for any child.
    Unknown,
}

impl ExitStatus {
    /// Whether the function has returned, and nothing went wrong after that.
    pub fn success(&self) -> bool {
        *self == ExitStatus::Exited(0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Exited(code) => write!(f, "exited with code {code}"),
            ExitStatus::Signaled(signal) => match crate::sys::own::signal_name(*signal) {
                Some(name) => write!(f, "was ended by signal {signal} ({name})"),
                None => write!(f, "was ended by signal {signal}"),
            },
            ExitStatus::Panicked { message, location: Some(place) } => write!(f, "panicked at {place}: {message}"),
            ExitStatus::Panicked { message, location: None } => write!(f, "panicked: {message}"),
            ExitStatus::Unknown => f.write_str("ended, nobody knows how"),
        }
    }
}

/// A child that was started: what can be done with it without its result.
///
/// Comes from [`active_children`](crate::active_children) and [`Process::child`](crate::Process::child). Clones mean the
/// same child, for other threads for instance. Dropping it does nothing to the child.
#[derive(Clone, Debug)]
pub struct Child(pub(super) Arc<Started>);

#[derive(Debug)]
pub(super) struct Started {
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) outlives: bool,
    pub(super) pid: u32,
    pub(super) pidfd: Kept,
    pub(super) mailbox: Mailbox,
    pub(super) status: Mutex<Option<ExitStatus>>,
    /// Of the process that started it.
    pub(super) born: u64,
}

impl Started {
    fn known(&self) -> MutexGuard<'_, Option<ExitStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn usable(&self) -> Result<(), ProcessError> {
        match generation::current() {
            Ok(now) if now == self.born => {}
            _ => return Err(ProcessError::Forked),
        }
        if self.pidfd.is_intact() {
            return Ok(());
        }
        let source = std::io::Error::from_raw_os_error(libc::EBADF);
        Err(ProcessError::System { doing: "using a child's pidfd (did somebody close it?)", source })
    }

    /// How it has ended, if it has. Reaps it. (C2)
    pub(super) fn status(&self) -> Result<Option<ExitStatus>, ProcessError> {
        let mut known = self.known();
        if known.is_none() {
            self.usable()?;
            let ended =
                children::reap(&*self.pidfd, false).map_err(ProcessError::system("asking how a child has ended"))?;
            *known = ended.map(|ended| self.interpret(ended)).transpose()?;
        }
        Ok(known.clone())
    }

    fn interpret(&self, ended: Ended) -> Result<ExitStatus, ProcessError> {
        const PANICKED: i32 = super::startup::PANICKED;
        let replied = match ended {
            Ended::Foreign => return Err(ProcessError::Forked),
            Ended::Exited(0) => return Ok(ExitStatus::Exited(0)),
            Ended::Exited(PANICKED) | Ended::Signaled(libc::SIGABRT) | Ended::Unknown => self.mailbox.read().ok(),
            _ => None,
        };
        Ok(match (ended, replied) {
            (_, Some(Progress::Done(Outcome::Panicked { message, location }, _))) => {
                ExitStatus::Panicked { message, location }
            }
            (Ended::Exited(code), _) => ExitStatus::Exited(code),
            (Ended::Signaled(signal), _) => ExitStatus::Signaled(signal),
            (_, Some(Progress::Done(Outcome::Returned, _))) => ExitStatus::Exited(0),
            _ => ExitStatus::Unknown,
        })
    }

    /// Waits until it has ended. None: it has not, and the time is over. (C3)
    pub(super) fn wait(&self, deadline: Deadline) -> Result<Option<ExitStatus>, ProcessError> {
        loop {
            if let Some(status) = self.status()? {
                return Ok(Some(status));
            }
            if deadline.passed() {
                return Ok(None);
            }
            let waiting = ProcessError::system("waiting for a child");
            pidfd::wait_for_any(&[self.pidfd.as_fd()], deadline.milliseconds()).map_err(waiting)?;
        }
    }

    /// Sends it a signal, unless it has ended.
    pub(super) fn signal(&self, signal: i32) -> Result<(), ProcessError> {
        // Held: it is not reaped meanwhile.
        let known = self.known();
        if known.is_some() {
            return Ok(());
        }
        self.usable()?;
        children::signal(&*self.pidfd, signal).map(|_| ()).map_err(ProcessError::system("sending a child a signal"))
    }
}

impl Child {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its process id, for display: it may mean another process once the child has ended.
    pub fn pid(&self) -> u32 {
        self.0.pid
    }

    /// Whether it is daemonic: terminated when this process exits, instead of waited for.
    pub fn is_daemon(&self) -> bool {
        self.0.daemon
    }

    /// Whether it runs. Never blocks. `false` is final.
    pub fn is_alive(&self) -> bool {
        matches!(self.0.status(), Ok(None))
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// `Forked`; `System` if somebody has closed this process' descriptors. No panics.
    pub fn join(&self) -> Result<ExitStatus, ProcessError> {
        Ok(self.0.wait(Deadline::Never)?.unwrap_or(ExitStatus::Unknown))
    }

    /// Waits until it has ended, at most for `timeout`: whether it has.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ProcessError> {
        Ok(self.0.wait(Deadline::after(timeout))?.is_some())
    }

    /// How it has ended; `None` while it runs. Never blocks.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn exit_status(&self) -> Result<Option<ExitStatus>, ProcessError> {
        self.0.status()
    }

    /// Asks it to end (SIGTERM), which it does at once unless it handles or ignores that. Nothing happens
    /// if it has ended. Does not wait.
    ///
    /// # Errors
    ///
    /// `Forked`, `System`.
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.0.signal(libc::SIGTERM)
    }

    /// Ends it (SIGKILL), which it cannot prevent. Nothing happens if it has ended. Does not wait.
    ///
    /// # Errors
    ///
    /// `Forked`, `System`.
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.0.signal(libc::SIGKILL)
    }
}
