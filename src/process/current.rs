//! Who this process is, and whose child.

use super::message::Start;
use crate::sys::children;
use crate::sys::shm::Kept;
use std::fs::File;
use std::num::NonZero;
use std::sync::OnceLock;

/// What a child was told of itself.
pub(super) struct Origin {
    name: String,
    daemon: bool,
    parent: Option<(String, u32, Option<Kept>)>,
}

static ORIGIN: OnceLock<Origin> = OnceLock::new();

const MAIN: &str = "MainProcess";

/// This process was started by ringway. `parent`: a pidfd.
pub(super) fn is_child(start: &Start, parent: File) {
    let parent = Kept::new(parent).ok();
    let parent = Some((start.parent_name.clone(), start.parent_pid, parent));
    let _ = ORIGIN.set(Origin { name: start.name.clone(), daemon: start.daemon, parent });
}

/// This process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentProcess {
    name: &'static str,
    daemon: bool,
}

impl CurrentProcess {
    /// What it was called by whoever started it; `MainProcess` if that was not ringway.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        std::process::id()
    }

    /// Whether it is terminated when its parent exits.
    pub fn is_daemon(&self) -> bool {
        self.daemon
    }
}

/// This process. A child made by a plain `fork` says what its parent would.
///
/// ```
/// assert_eq!(ringway::current_process().name(), "MainProcess");
/// assert_eq!(ringway::current_process().pid(), std::process::id());
/// ```
pub fn current_process() -> CurrentProcess {
    match ORIGIN.get() {
        Some(origin) => CurrentProcess { name: &origin.name, daemon: origin.daemon },
        None => CurrentProcess { name: MAIN, daemon: false },
    }
}

/// The process that has started this one.
#[derive(Clone, Copy, Debug)]
pub struct ParentProcess {
    name: &'static str,
    pid: u32,
    pidfd: Option<&'static Kept>,
}

impl ParentProcess {
    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its process id, for display: it may mean another process once the parent has ended.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Whether it lives. Never blocks. `false` is final, unless somebody has closed this process'
    /// descriptors (`close_range`): then it is all that can be said.
    pub fn is_alive(&self) -> bool {
        self.pidfd.is_some_and(|pidfd| pidfd.is_intact() && matches!(children::has_died(&**pidfd), Ok(false)))
    }
}

/// The process that has started this one; `None` if that was not ringway.
///
/// ```
/// assert!(ringway::parent_process().is_none());
/// ```
pub fn parent_process() -> Option<ParentProcess> {
    let (name, pid, pidfd) = ORIGIN.get()?.parent.as_ref()?;
    Some(ParentProcess { name, pid: *pid, pidfd: pidfd.as_ref() })
}

/// How many processors this process may use: what its affinity and its control group leave of
/// the machine's. At least 1.
///
/// ```
/// assert!(ringway::cpu_count() >= 1);
/// ```
pub fn cpu_count() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}
