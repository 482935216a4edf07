//! The kernel's own ring as the one who sleeps: no thread between the wake-up and the runtime.

use super::sleepers::Sleepers;
use super::table::{Entered, Place, Table, ask, wake_all};
use crate::queue::{Bed, Berth};
use crate::sys::clock::now_ns;
use crate::sys::uring::{Uring, silent_fd};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// Wakes futures from the loop of your own runtime, through io_uring.
///
/// Without one, futures are woken by a thread of this process, which costs one more hand-over
/// between threads for each wake-up. A driver has a descriptor, which becomes readable when
/// something has happened; then somebody must call [`dispatch`](Driver::dispatch). Handles use
/// it that were made with `into_async_on`.
///
/// It needs Linux 6.7. Where the kernel, a setting or a seccomp filter refuses it,
/// [`new`](Driver::new) succeeds all the same: the descriptor then never becomes readable, and
/// the thread does the work, so that no program has to be written twice.
/// [`uses_io_uring`](Driver::uses_io_uring) says which.
///
/// When the last clone of the driver is dropped, as when a runtime is shut down, futures that
/// wait are woken, and wait with the thread from then on. A driver that is kept and never
/// dispatched wakes nobody.
///
/// As with every use of io_uring, a system call in which the thread that polled such a future
/// happens to be may end early (`EINTR`), as after a signal.
///
/// There is no form that takes an eventfd: whoever puts, in every process, would need it and have to
/// write to it, with a system call for each message; the driver's descriptor can be watched wherever
/// an eventfd could, and costs those who put nothing.
///
/// ```no_run
/// use ringway::{ByteQueue, Driver};
/// use tokio::io::{Interest, unix::AsyncFd};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let driver = Driver::new()?;
/// // SAFETY: a driver's descriptor is always the same one, and open while a clone is there.
/// let watched = unsafe { AsyncFd::register_with_interest(driver.clone(), Interest::READABLE)? };
/// tokio::spawn(async move {
///     while let Ok(mut ready) = watched.readable().await {
///         watched.get_ref().dispatch();
///         ready.clear_ready();
///     }
/// });
/// let mut jobs = ByteQueue::open("jobs")?.into_async_on(&driver);
/// let job = jobs.get().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Driver(Arc<Owner>);

/// The driver itself; what its handles have is only the ring.
enum Owner {
    Ring(Arc<Ring>, OwnedFd),
    Refused(OwnedFd),
}

/// A ring of the kernel's, and who waits for what it says.
pub(super) struct Ring {
    home: &'static Sleepers,
    state: Mutex<State>,
}

struct State {
    // None: nobody dispatches any more.
    uring: Option<Uring>,
    table: Table,
    /// When the timer that was asked for last runs out.
    timer: u64,
}

// Requests about words are called by their address, a multiple of 4; timers by the time when they
// run out, made odd; and:
const TAKEN_BACK: u64 = 2;

impl Driver {
    /// A driver of this process.
    ///
    /// # Errors
    ///
    /// What the system says to one descriptor more. Not if io_uring is refused.
    pub fn new() -> io::Result<Driver> {
        let owner = match Uring::new() {
            Ok(uring) => {
                let fd = uring.fd().try_clone_to_owned()?;
                let state = State { uring: Some(uring), table: Table::default(), timer: u64::MAX };
                Owner::Ring(Arc::new(Ring { home: Sleepers::here()?, state: Mutex::new(state) }), fd)
            }
            Err(error) => {
                crate::event!("io_uring cannot be used to wait ({error}): a thread does it");
                Owner::Refused(silent_fd()?)
            }
        };
        Ok(Driver(Arc::new(owner)))
    }

    /// Whether it is the kernel's ring that wakes; if not, it is the thread.
    pub fn uses_io_uring(&self) -> bool {
        matches!(*self.0, Owner::Ring(..))
    }

    /// Wakes the futures for which something has happened. Never blocks. To be called when the
    /// descriptor is readable; at any other time it does nothing.
    pub fn dispatch(&self) {
        if let Owner::Ring(ring, _) = &*self.0 {
            ring.dispatch();
        }
    }

    pub(super) fn ring(&self) -> Option<Arc<Ring>> {
        match &*self.0 {
            Owner::Ring(ring, _) => Some(Arc::clone(ring)),
            Owner::Refused(_) => None,
        }
    }
}

impl AsFd for Driver {
    /// What becomes readable when [`dispatch`](Driver::dispatch) has something to do. Not to be
    /// read.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &*self.0 {
            Owner::Ring(_, fd) | Owner::Refused(fd) => fd.as_fd(),
        }
    }
}

impl AsRawFd for Driver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl std::fmt::Debug for Driver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Driver").field("uses_io_uring", &self.uses_io_uring()).finish()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        if let Owner::Ring(ring, _) = self {
            ring.desert();
        }
    }
}

impl Ring {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_here(&self) -> bool {
        Sleepers::here().is_ok_and(|here| std::ptr::eq(here, self.home))
    }

    /// Enters somebody; elsewhere if nobody dispatches any more.
    pub(super) fn add(&self, bed: &Bed, waker: &Waker) -> io::Result<Entered> {
        if !self.is_here() {
            // Inherited by a fork: its lock may be held for ever, and its ring is not mapped.
            return Ok(Entered::Elsewhere);
        }
        let until = now_ns().saturating_add(bed.slice_ns);
        let waker = waker.clone();
        let (mut rest, mut unneeded) = (Vec::new(), None);
        let mut state = self.lock();
        if state.uring.is_none() {
            drop(state);
            return Ok(Entered::Elsewhere);
        }
        let entered = match state.table.add(bed, until, waker) {
            Ok((place, is_watched)) => {
                let asked = if is_watched { state.watch_slices() } else { state.watch(&mut rest) };
                if asked.is_err() {
                    state.table.remove(place, &mut rest);
                }
                asked.map(|()| Entered::At(place))
            }
            Err(waker) => {
                unneeded = Some(waker);
                Ok(Entered::Moved)
            }
        };
        drop(state);
        drop(unneeded);
        wake_all(rest);
        entered
    }

    /// As [`table::ask`](ask).
    pub(super) fn ask(&self, place: Place, waker: &Waker) -> Option<bool> {
        ask(waker, |fresh, rest| self.lock().table.ask(place, waker, fresh, rest))
    }

    /// As [`Table::remove`].
    pub(super) fn remove(&self, place: Place) -> bool {
        let mut rest = Vec::new();
        self.lock().table.remove(place, &mut rest)
    }

    /// Nobody will wait on that word soon.
    pub(super) fn forget(&self, address: usize) {
        let mut state = self.lock();
        if state.table.forget(address)
            && let Some(uring) = &mut state.uring
        {
            // If that fails, the next wake-up that comes there is passed on.
            let _ = uring.take_back(address as u64, TAKEN_BACK).and_then(|()| uring.submit());
        }
    }

    fn dispatch(&self) {
        self.hear(false);
    }

    fn desert(&self) {
        self.hear(true);
    }

    /// What the ring has to say; `is_last`: nobody will ask again.
    fn hear(&self, is_last: bool) {
        if !self.is_here() {
            return;
        }
        let (mut wakers, mut unused) = (Vec::new(), Vec::new());
        let mut state = self.lock();
        if is_last {
            // A3. What the kernel still waits for there it lets go of now: the descriptor may have
            // been duplicated, and closing it ends nothing at once. A wake-up may have come there
            // already, whatever the answers say in time: each word is told of one.
            unused = state.let_go();
        }
        let answers = state.uring.as_mut().map(Uring::answers).unwrap_or_default();
        for answer in answers {
            if answer.name % 2 == 1 {
                // Of another timer than the last one there is nothing to say.
                state.timer = if answer.name == state.timer | 1 { u64::MAX } else { state.timer };
            } else if answer.name != TAKEN_BACK {
                let address = answer.name as usize;
                let Some(berth) = state.table.unwatched(address, false) else { continue };
                let told = state.table.moved(address, berth.epoch(), &mut wakers);
                // A3. The wake-up came to this ring, and nobody here waits any more.
                if answer.is_done && told == 0 {
                    unused.push(berth);
                }
            }
        }
        state.table.slices(now_ns(), &mut wakers);
        // They wait elsewhere.
        let closed = if is_last { state.uring.take() } else { None };
        if state.watch(&mut wakers).is_err() || is_last {
            // They try again, and say what the system said.
            state.table.end_all(&mut wakers);
        }
        drop(state);
        drop(closed);
        wake_all(wakers);
        unused.iter().for_each(|berth| berth.pass_on());
    }
}

impl State {
    /// Has the kernel watch nothing any more. Says what it has watched.
    fn let_go(&mut self) -> Vec<Berth> {
        let watched = self.table.let_go();
        if let Some(uring) = &mut self.uring {
            let asked = watched.iter().try_for_each(|berth| uring.take_back(berth.address() as u64, TAKEN_BACK));
            // If that fails, it ends with the ring.
            let _ = asked.and_then(|()| uring.submit());
        }
        watched
    }

    /// Has the kernel watch every word on which somebody sleeps.
    fn watch(&mut self, wakers: &mut Vec<Waker>) -> io::Result<()> {
        let Some(uring) = &mut self.uring else { return Ok(()) };
        let mut asked = Ok(());
        for watch in self.table.take_unwatched(wakers) {
            let address = watch.berth.address();
            if asked.is_ok() {
                asked = uring.sleep_on(watch.berth.word(), watch.epoch, address as u64);
            }
            if asked.is_err() {
                self.table.unwatched(address, false);
            }
        }
        asked?;
        uring.submit()?;
        self.watch_slices()
    }

    /// Has the ring become readable when the next slice ends.
    fn watch_slices(&mut self) -> io::Result<()> {
        /// A timer that runs out so much later is good enough.
        const LATE_NS: u64 = 1_000_000;
        let (Some(uring), Some(until)) = (&mut self.uring, self.table.next_slice()) else { return Ok(()) };
        if until.saturating_add(LATE_NS) < self.timer {
            uring.tell_after(until.saturating_sub(now_ns()).max(1), until | 1)?;
            self.timer = until;
        }
        Ok(())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // A forked child has no mapping of it, and must not undo one.
        if !self.is_here() {
            let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(state.uring.take());
        }
    }
}
