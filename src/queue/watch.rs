//! Learning of a child's death at once, instead of within a slice.

use super::rescue::Scene;
use super::view::View;
use crate::primitive::Ordering;
use crate::segment::{PerProcess, Segment};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// After a death the kernel lets go of the dead one's locks within milliseconds; until
/// then this many looks are made, with pauses that double.
const LOOKS: u32 = 7;

/// Has the death of a process noticed at once by all queues of this process: what it
/// left is recovered, and whoever waits for it goes on. Without this, waiting handles
/// look once in 100 ms.
///
/// `pidfd` refers to any process, usually a child (`pidfd_open`, `clone`); it is duplicated,
/// and need not be kept. The first call starts a thread that does nothing until a watched
/// process dies; it is not inherited by `fork`. Nothing is reaped, no signal is handled.
///
/// # Errors
///
/// `InvalidInput` if it is no pidfd; else what the system says to a descriptor or a thread
/// more. No panics.
///
/// ```
/// use std::os::fd::{FromRawFd, OwnedFd};
///
/// let mut child = std::process::Command::new("true").spawn()?;
/// // SAFETY: the call touches no memory; a descriptor that it returns is ours.
/// let pidfd = unsafe {
///     let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
///     assert!(fd >= 0);
///     OwnedFd::from_raw_fd(fd as i32)
/// };
/// ringway::watch(&pidfd)?;
/// child.wait()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn watch(pidfd: impl AsFd) -> io::Result<()> {
    let pidfd = pidfd.as_fd().try_clone_to_owned()?;
    if !is_pidfd(&pidfd) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "this descriptor is no pidfd"));
    }
    let watcher = WATCHER.get()?;
    let mut state = watcher.lock();
    state.arrivals.push(pidfd);
    // A byte tells the thread to look at the arrivals.
    if state.bell.as_mut().is_some_and(|bell| bell.write_all(&[0]).is_ok()) {
        return Ok(());
    }
    let (ear, bell) = io::pipe()?;
    std::thread::Builder::new().name("ringway-watch".into()).spawn(move || watcher.run(ear))?;
    state.bell = Some(bell);
    Ok(())
}

fn is_pidfd(fd: &OwnedFd) -> bool {
    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
    info.is_ok_and(|info| info.lines().any(|line| line.starts_with("Pid:")))
}

/// What is attached to a queue in this process: where a look starts.
struct Attachment {
    key: u64,
    segment: Weak<Segment>,
    index: u32,
}

#[derive(Default)]
struct Watcher {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    attachments: Vec<Attachment>,
    arrivals: Vec<OwnedFd>,
    /// To the thread, if there is one.
    bell: Option<PipeWriter>,
}

static WATCHER: PerProcess<Watcher> = PerProcess::new();

/// Removes its attachment from the list when it is dropped.
#[derive(Debug)]
pub(super) struct Attached(u64);

impl Attached {
    /// The queues that a death concerns include this one from now on.
    pub(super) fn new(segment: &Arc<Segment>, index: u32) -> Attached {
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
        }
    }
}

impl Watcher {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the lists are still lists.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut ear: PipeReader) {
        let mut watched: Vec<OwnedFd> = Vec::new();
        let mut looks_due = 0;
        loop {
            watched.append(&mut self.lock().arrivals);
            let pause = match looks_due {
                0 => PollTimeout::NONE,
                // 1, 2, 4, ... ms.
                due => PollTimeout::from(1u16 << (LOOKS - due)),
            };
            let mut events = vec![PollFd::new(ear.as_fd(), PollFlags::POLLIN)];
            events.extend(watched.iter().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)));
            match poll(&mut events, pause) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break,
            }
            let happened: Vec<PollFlags> =
                events.iter().map(|event| event.revents().unwrap_or(PollFlags::POLLNVAL)).collect();
            drop(events);
            let any = |flags: &PollFlags| !flags.is_empty();
            if happened.first().is_some_and(any) {
                // The bell, or somebody has closed our descriptors.
                if !happened.first().is_some_and(|flags| flags.contains(PollFlags::POLLIN)) {
                    break;
                }
                let _ = ear.read(&mut [0; 64]);
            }
            let mut flags = happened.iter().skip(1);
            let before = watched.len();
            // What is readable has died; what is no descriptor any more cannot be watched.
            watched.retain(|_| !flags.next().is_some_and(any));
            if watched.len() < before {
                looks_due = LOOKS;
            }
            if looks_due > 0 {
                let found = self.look_everywhere();
                looks_due = if found { 0 } else { looks_due - 1 };
            }
        }
        self.lock().bell = None;
    }

    /// Looks for the dead in all queues of this process. Says whether there was one.
    fn look_everywhere(&self) -> bool {
        let mut here: Vec<(Arc<Segment>, u32)> = Vec::new();
        for attachment in &self.lock().attachments {
            let Some(segment) = attachment.segment.upgrade() else { continue };
            if !here.iter().any(|(known, _)| Arc::ptr_eq(known, &segment)) {
                here.push((segment, attachment.index));
            }
        }
        here.iter().fold(false, |found, (segment, index)| look_at(segment, *index) || found)
    }
}

fn look_at(segment: &Arc<Segment>, own: u32) -> bool {
    let Ok(view) = View::of(segment) else { return false };
    let Some(ring) = view.ring(&segment.header().plan, own) else { return false };
    let Some(proof) = segment.proof(own) else { return false };
    let scene = Scene { ring, for_producers: view.for_producers, for_consumers: view.for_consumers };
    scene.look(segment, &proof, own, false).vacated > 0
}
