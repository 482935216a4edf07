//! All children of this process, and what becomes of them when it exits.
//!
//! F1. A child is on the list from its start until it was reaped. Whoever learns first that it has
//! ended reaps it: the one who waits for it, the thread that watches deaths, or whoever asks for
//! the list. So none remains as a zombie, also if its handle is gone.
//! F2. The list is this process' own: after a fork the child's is empty.
//! F3. At exit (`exit`, the end of `main`) daemonic children are told to end, the others are
//! waited for, and then daemonic ones that are still there are killed. Those that outlive their parent are let be.

use super::child::{Child, Started};
use crate::sys::mem::PerProcess;
use crate::wait::Deadline;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

/// How long daemonic children may take to end after they were told to.
const GRACE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Family {
    children: Mutex<Vec<Arc<Started>>>,
    started: AtomicU64,
    looks_after: AtomicBool,
    listeners: Mutex<Vec<Weak<dyn AfterDeaths>>>,
}

/// Somebody who is told when a child of this process has died, of whichever.
pub(crate) trait AfterDeaths: Send + Sync {
    /// Must not wait.
    fn somebody_died(&self);
}

/// Tells `listener` of every death, as long as it is there.
pub(crate) fn after_deaths(listener: Weak<dyn AfterDeaths>) {
    if let Some(family) = family() {
        let mut listeners = family.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|known| known.strong_count() > 0);
        listeners.push(listener);
    }
}

static FAMILY: PerProcess<Family> = PerProcess::new();

pub(super) fn family() -> Option<&'static Family> {
    FAMILY.get().ok()
}

impl Family {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Started>>> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of the next child.
    pub(super) fn next(&self) -> u64 {
        self.started.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn add(&self, child: &Arc<Started>) {
        self.lock().push(Arc::clone(child));
        if !self.looks_after.swap(true, Ordering::Relaxed) {
            let _ = crate::sys::own::at_exit(at_exit);
        }
    }

    /// Takes those that have ended from the list. (F1)
    pub(super) fn reap(&self) -> Vec<Arc<Started>> {
        // Not under the lock: whoever waits for one of them would hold it up.
        let all = self.lock().clone();
        let (alive, ended): (Vec<_>, Vec<_>) = all.into_iter().partition(|child| matches!(child.status(), Ok(None)));
        if !ended.is_empty() {
            self.lock().retain(|child| !ended.iter().any(|other| Arc::ptr_eq(child, other)));
        }
        alive
    }
}

/// Somebody of the family has died.
pub(super) fn after_a_death() {
    if let Some(family) = family() {
        family.reap();
        // Not under the lock: what they do is theirs.
        let listeners = family.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
        listeners.iter().filter_map(Weak::upgrade).for_each(|listener| listener.somebody_died());
    }
    super::server::after_a_death();
}

/// The children that this process has started and that still run, in the order of their start.
///
/// Never blocks. Those that have ended meanwhile are reaped. A child that is only about to end may be
/// among them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ringway::init();
/// let mut process = ringway::Process::new(std::thread::park, ()).daemon(true);
/// process.start()?;
/// assert_eq!(ringway::active_children().len(), 1);
/// process.kill()?;
/// process.join()?;
/// assert!(ringway::active_children().is_empty());
/// # Ok(())
/// # }
/// ```
pub fn active_children() -> Vec<Child> {
    family().map(Family::reap).unwrap_or_default().into_iter().map(Child).collect()
}

/// At the normal exit of the process, whatever thread calls it. (F3)
extern "C" fn at_exit() {
    let Some(family) = family() else { return };
    // Other threads may still start some.
    let mut daemons: Vec<Arc<Started>> = Vec::new();
    loop {
        let children = family.reap().into_iter().filter(|child| !child.outlives);
        let (found, others): (Vec<_>, Vec<_>) = children.partition(|child| child.daemon);
        for daemon in found {
            if !daemons.iter().any(|known| Arc::ptr_eq(known, &daemon)) {
                let _ = daemon.signal(libc::SIGTERM);
                daemons.push(daemon);
            }
        }
        if others.is_empty() {
            break;
        }
        for child in others {
            if child.wait(Deadline::Never).is_err() {
                // Somebody has closed our descriptors: nothing is known of it any more.
                return;
            }
        }
    }
    let deadline = Deadline::after(GRACE);
    for daemon in daemons {
        if matches!(daemon.wait(deadline), Ok(None)) {
            let _ = daemon.signal(libc::SIGKILL);
            let _ = daemon.wait(Deadline::Never);
        }
    }
}
