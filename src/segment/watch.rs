//! The thread that waits for watched processes to die, and what this process is attached
//! to: where it then has to look.
//!
//! It must not know what a look is: whoever starts it says so.

use super::lifecycle::Segment;
use crate::primitive::seeded;
use crate::sys::mem::PerProcess;
use crate::sys::pidfd::{self, Event};
use crate::sys::shm::Kept;
use crate::sys::signals::Blocked;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// Looks for the dead in a segment that participant `own` of this process is attached to. Says
/// what is worth telling.
pub(crate) type Look = fn(segment: &Arc<Segment>, own: u32) -> Option<String>;

/// After a death the kernel lets go of the dead one's locks within milliseconds, of one
/// segment sooner than of another: so many looks are made, with pauses that double.
const LOOKS: u32 = 7;

struct Attachment {
    key: u64,
    segment: Weak<Segment>,
    index: u32,
}

#[derive(Default)]
struct Watcher {
    state: Mutex<State>,
    /// Held during a look: of two threads at once, both would act for the same participant.
    looking: Mutex<()>,
}

#[derive(Default)]
struct State {
    attachments: Vec<Attachment>,
    arrivals: Vec<Kept>,
    /// To the latest thread, while it runs.
    bell: Option<Kept>,
    /// Told of each death.
    after_deaths: Option<fn()>,
    /// How many threads there were. More than one if somebody has closed our descriptors.
    threads: u64,
}

static WATCHER: PerProcess<Watcher> = PerProcess::new();

/// Removes its attachment from the list when it is dropped.
#[derive(Debug)]
pub(crate) struct Attached(u64);

impl Attached {
    /// A death that is watched for concerns this segment too from now on.
    pub(crate) fn new(segment: &Arc<Segment>, index: u32) -> Attached {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let key = NEXT.fetch_add(1, Ordering::Relaxed);
        if let Ok(watcher) = WATCHER.get() {
            watcher.lock().attachments.push(Attachment { key, segment: Arc::downgrade(segment), index });
        }
        Attached(key)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        if let Ok(watcher) = WATCHER.get() {
            watcher.lock().attachments.retain(|attachment| attachment.key != self.0);
            // A look that has begun may be acting for this participant, whose place another
            // may take as soon as it has left.
            drop(watcher.turn());
        }
    }
}

/// Has `tell` called after each death that is watched for, before anything else is done about it.
#[cfg(feature = "serde")]
pub(crate) fn after_deaths(tell: fn()) {
    if let Ok(watcher) = WATCHER.get() {
        watcher.lock().after_deaths = Some(tell);
    }
}

/// Has `look` called for everything attached when the process dies that `pidfd` refers to.
pub(crate) fn watch(pidfd: impl AsFd, look: Look) -> io::Result<()> {
    let pidfd = pidfd.as_fd().try_clone_to_owned()?;
    if !pidfd::is_pidfd(&pidfd) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this descriptor is no pidfd"));
    }
    watch_pidfd(pidfd, look)
}

/// The same for what is known to be a pidfd.
pub(crate) fn watch_pidfd(pidfd: OwnedFd, look: Look) -> io::Result<()> {
    let watcher = WATCHER.get()?;
    let mut state = watcher.lock();
    state.arrivals.push(Kept::new(File::from(pidfd))?);
    // A byte tells the thread to look at the arrivals.
    if state.bell.as_ref().is_some_and(|bell| bell.is_intact() && (&**bell).write_all(&[0]).is_ok()) {
        return Ok(());
    }
    let (ear, bell) = io::pipe()?;
    let (ear, bell) = (Kept::new(File::from(OwnedFd::from(ear)))?, Kept::new(File::from(OwnedFd::from(bell)))?);
    let number = state.threads + 1;
    // No signal of the user's is handled by this thread.
    let _blocked = Blocked::all();
    std::thread::Builder::new().name("ringway-watch".into()).spawn(move || watcher.run(number, &ear, look))?;
    state.threads = number;
    state.bell = Some(bell);
    Ok(())
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the lists are still lists.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, number: u64, ear: &Kept, look: Look) {
        let mut watched: Vec<Kept> = Vec::new();
        let mut looks_due = 0;
        loop {
            watched.append(&mut self.lock().arrivals);
            // 1, 2, 4, ... ms.
            let pause = (looks_due > 0).then(|| 1 << (LOOKS - looks_due));
            let fds: Vec<_> = [ear.as_fd()].into_iter().chain(watched.iter().map(|fd| fd.as_fd())).collect();
            let Ok(events) = pidfd::wait_for_any(&fds, pause) else { break };
            match events.first() {
                Some(Event::Nothing) => {}
                Some(Event::Readable) if ear.is_intact() => {
                    let _ = (&**ear).read(&mut [0; 64]);
                }
                // Somebody has closed our descriptors.
                _ => break,
            }
            let mut its = events.iter().skip(1);
            let before = watched.len();
            // What is readable has died. A number that means something else by now is dropped
            // too, which does not close it; then looking costs little.
            watched.retain(|fd| its.next().is_none_or(|event| *event == Event::Nothing && fd.is_intact()));
            if watched.len() < before {
                let tell = self.lock().after_deaths;
                tell.into_iter().for_each(|tell| tell());
                looks_due = if seeded(16) { 0 } else { LOOKS };
            }
            if looks_due > 0 {
                looks_due -= 1;
                self.look_everywhere(look);
            }
        }
        let mut state = self.lock();
        // What it watched goes on being watched, as far as it can be, by the next thread.
        state.arrivals.append(&mut watched);
        if state.threads == number {
            state.bell = None;
        }
    }

    /// Nobody else looks meanwhile. Never asked for under `state`.
    fn turn(&self) -> MutexGuard<'_, ()> {
        self.looking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_everywhere(&self, look: Look) {
        let mut here: Vec<Arc<Segment>> = Vec::new();
        for attachment in &self.lock().attachments {
            let Some(segment) = attachment.segment.upgrade() else { continue };
            if !here.iter().any(|known| Arc::ptr_eq(known, &segment)) {
                here.push(segment);
            }
        }
        for segment in here {
            let turn = self.turn();
            let is_its = |attachment: &&Attachment| std::ptr::eq(attachment.segment.as_ptr(), &*segment);
            let index = self.lock().attachments.iter().find(is_its).map(|attachment| attachment.index);
            let tidings = index.and_then(|index| look(&segment, index));
            // A logger may drop a handle.
            drop(turn);
            if let Some(tidings) = tidings {
                crate::event!("{tidings}");
            }
        }
    }
}
