//! The thread that sleeps for all futures of this process (and one more for each further 127
//! words that are waited for at the same time, which is what the kernel takes in one call).
//!
//! It is started by the first future that waits, and sleeps in `futex_waitv` on all words at
//! once and on a bell of its own. A word stays on its list for one wake-up after somebody waited
//! there: who waits for the next message a moment later need not ring the bell. Where
//! `futex_waitv` is not to be had (a kernel before 5.16, or a filter), it looks at all words once
//! in a millisecond.

use super::table::{Entered, Place, Table, Watch, ask, wake_all};
use crate::queue::Bed;
use crate::sys::clock::now_ns;
use crate::sys::futex;
use crate::sys::mem::PerProcess;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::task::Waker;

/// The sleepers of this process: a forked child has none of its parent's.
#[derive(Default)]
pub(super) struct Sleepers {
    all: Mutex<Threads>,
}

// They never end, and are never freed.
#[derive(Default)]
struct Threads {
    running: Vec<&'static Sleeper>,
    /// Its thread could not be started.
    spare: Option<&'static Sleeper>,
}

static SLEEPERS: PerProcess<Sleepers> = PerProcess::new();

/// A thread, and who waits for what it hears.
#[derive(Default)]
pub(super) struct Sleeper {
    state: Mutex<State>,
    bell: AtomicU32,
}

#[derive(Default)]
struct State {
    table: Table,
    /// Until when the thread sleeps at most.
    until: u64,
}

/// One is the bell's.
const MOST_WORDS: usize = futex::MOST_WORDS - 1;
/// How long a word lingers on the list, and how long a thread that cannot wait for several words
/// looks away.
const LINGER_NS: u64 = 100_000_000;
const NAP_NS: u64 = 1_000_000;
/// Nobody waits: until the bell rings.
const LONG_NS: u64 = 3600 * 1_000_000_000;

impl Sleepers {
    pub(super) fn here() -> io::Result<&'static Sleepers> {
        SLEEPERS.get()
    }

    fn lock(&self) -> MutexGuard<'_, Threads> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters somebody with a thread that has room for one more word.
    pub(super) fn add(&self, bed: &Bed, waker: &Waker) -> io::Result<(&'static Sleeper, Entered)> {
        // A6. Not under the lock: wakers are cloned there.
        let mut number = 0;
        loop {
            let sleeper = self.number(number)?;
            match sleeper.add(bed, waker) {
                // A new one has room, unless others were quicker.
                Entered::Elsewhere => number += 1,
                entered => return Ok((sleeper, entered)),
            }
        }
    }

    /// The thread of that number, which is started if it is the next one.
    fn number(&self, number: usize) -> io::Result<&'static Sleeper> {
        let mut threads = self.lock();
        if let Some(sleeper) = threads.running.get(number) {
            return Ok(sleeper);
        }
        let sleeper = threads.spare.take().unwrap_or_else(|| Box::leak(Box::default()));
        match std::thread::Builder::new().name("ringway-async".into()).spawn(move || sleeper.run()) {
            Ok(_) => threads.running.push(sleeper),
            Err(error) => {
                threads.spare = Some(sleeper);
                return Err(error);
            }
        }
        Ok(sleeper)
    }
}

impl Sleeper {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; if it did, the table is still a table.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, bed: &Bed, waker: &Waker) -> Entered {
        let until = now_ns().saturating_add(bed.slice_ns);
        let waker = waker.clone();
        let mut state = self.lock();
        if !state.table.has_room(bed.berth.address(), MOST_WORDS) {
            drop(state);
            return Entered::Elsewhere;
        }
        let added = state.table.add(bed, until, waker);
        let is_late = until < state.until;
        drop(state);
        match added {
            Ok((place, is_watched)) => {
                if !is_watched || is_late {
                    self.ring();
                }
                Entered::At(place)
            }
            Err(_waker) => Entered::Moved,
        }
    }

    fn ring(&self) {
        self.bell.fetch_add(1, Ordering::Release);
        futex::wake(&self.bell, 1);
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
        let must_ring = self.lock().table.forget(address);
        if must_ring {
            self.ring();
        }
    }

    fn run(&self) {
        let mut list: Vec<Watch> = Vec::new();
        loop {
            let bell = self.bell.load(Ordering::Acquire);
            let (mut wakers, mut unused) = (Vec::new(), Vec::new());
            let until = {
                let mut state = self.lock();
                let now = now_ns();
                let slice_is_over = state.until <= now;
                for Watch { berth, epoch } in list.drain(..) {
                    let (address, reads) = (berth.address(), berth.epoch());
                    let has_moved = reads != epoch;
                    let told = if has_moved { state.table.moved(address, reads, &mut wakers) } else { 0 };
                    // A3. The wake-up came to this thread, and nobody here waits any more.
                    if has_moved && told == 0 {
                        unused.push(berth);
                    }
                    let lingers = state.table.lingers(address);
                    let lingers = if has_moved { told > 0 } else { lingers && !slice_is_over };
                    state.table.unwatched(address, lingers);
                }
                state.table.slices(now, &mut wakers);
                list = state.table.take_unwatched(&mut wakers);
                let lingering = if list.is_empty() { LONG_NS } else { LINGER_NS };
                state.until = state.table.next_slice().unwrap_or(u64::MAX).min(now.saturating_add(lingering));
                state.until
            };
            wake_all(wakers);
            unused.iter().for_each(|berth| berth.pass_on());
            drop(unused);
            self.sleep(&list, bell, until);
        }
    }

    fn sleep(&self, list: &[Watch], bell: u32, until: u64) {
        let words = list.iter().map(|watch| (watch.berth.word(), watch.epoch));
        if list.is_empty() {
            futex::wait(&self.bell, bell, until);
        } else if !futex::wait_any(words.chain([(&self.bell, bell)]), until) {
            static SAID: Once = Once::new();
            SAID.call_once(|| {
                crate::event!("futex_waitv is not to be had: a thread looks for futures once in a millisecond")
            });
            futex::wait(&self.bell, bell, until.min(now_ns().saturating_add(NAP_NS)));
        }
    }
}
