//! One future's place in a table, and the promise that no wake-up is lost with it.

use super::driver::Ring;
use super::sleepers::{Sleeper, Sleepers};
use super::table::{Entered, Place};
use crate::queue::{Bed, Berth};
use std::io;
use std::sync::Arc;
use std::task::Waker;

/// What one handle waits with, on one side. It outlives the future that waits.
pub(super) struct Waiter {
    ring: Option<Arc<Ring>>,
    asleep: Option<Asleep>,
    /// Where it waited last.
    last: Option<(Home, usize)>,
}

struct Asleep {
    home: Home,
    place: Place,
    berth: Berth,
}

/// Who sleeps for it.
#[derive(Clone)]
enum Home {
    /// The sleepers are those of the process that the place is in.
    Thread(&'static Sleepers, &'static Sleeper),
    Ring(Arc<Ring>),
}

impl Home {
    /// Not in a forked child: somebody may have held the lock when it was made.
    fn is_here(&self) -> bool {
        match self {
            Home::Thread(sleepers, _) => Sleepers::here().is_ok_and(|here| std::ptr::eq(here, *sleepers)),
            Home::Ring(ring) => ring.is_here(),
        }
    }

    fn ask(&self, place: Place, waker: &Waker) -> Option<bool> {
        match self {
            Home::Thread(_, sleeper) => sleeper.ask(place, waker),
            Home::Ring(ring) => ring.ask(place, waker),
        }
    }

    fn remove(&self, place: Place) -> bool {
        match self {
            Home::Thread(_, sleeper) => sleeper.remove(place),
            Home::Ring(ring) => ring.remove(place),
        }
    }
}

/// How a wait stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing has happened: go on sleeping.
    Asleep,
    /// It does not sleep, or no longer; true: it was woken, and has a wake-up in its hands.
    Awake(bool),
}

impl Waiter {
    pub(super) fn on(ring: Option<Arc<Ring>>) -> Waiter {
        Waiter { ring, asleep: None, last: None }
    }

    /// How the wait stands that was begun before, if one was. From now on `waker` is woken.
    pub(super) fn standing(&mut self, waker: &Waker) -> Standing {
        let Some(asleep) = &self.asleep else { return Standing::Awake(false) };
        if !asleep.home.is_here() {
            self.asleep = None;
            return Standing::Awake(false);
        }
        match asleep.home.ask(asleep.place, waker) {
            None => Standing::Asleep,
            Some(was_woken) => {
                self.asleep = None;
                Standing::Awake(was_woken)
            }
        }
    }

    /// Begins to sleep: `waker` will be woken. False: there is no need to, look again.
    pub(super) fn sleep(&mut self, bed: &Bed, waker: &Waker) -> io::Result<bool> {
        self.cancel();
        let (home, entered) = match &self.ring {
            Some(ring) => (Some(Home::Ring(Arc::clone(ring))), ring.add(bed, waker)?),
            None => (None, Entered::Elsewhere),
        };
        let (home, entered) = match (home, entered) {
            (Some(home), entered @ (Entered::At(_) | Entered::Moved)) => (home, entered),
            _ => {
                let sleepers = Sleepers::here()?;
                let (sleeper, entered) = sleepers.add(bed, waker)?;
                (Home::Thread(sleepers, sleeper), entered)
            }
        };
        let Entered::At(place) = entered else { return Ok(false) };
        self.last = Some((home.clone(), place.address));
        self.asleep = Some(Asleep { home, place, berth: bed.berth.clone() });
        Ok(true)
    }

    /// A3. Whoever waited goes away. A wake-up that had come is passed on.
    pub(super) fn cancel(&mut self) {
        if let Some(asleep) = self.asleep.take()
            && asleep.home.is_here()
            && asleep.home.remove(asleep.place)
        {
            asleep.berth.pass_on();
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.cancel();
        match self.last.take() {
            Some((home, address)) if home.is_here() => match home {
                Home::Thread(_, sleeper) => sleeper.forget(address),
                Home::Ring(ring) => ring.forget(address),
            },
            _ => {}
        }
    }
}
