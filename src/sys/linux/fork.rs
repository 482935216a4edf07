//! `fork` waits while another thread has a descriptor that no child should get a copy of.
//!
//! `O_CLOEXEC` is enough where the child executes another program; one that does not keeps the
//! copy, and with it the locks of the description, for as long as it lives. Only `fork` itself
//! is held off, through `pthread_atfork`: `clone` called by hand is not.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// So long a fork waits, and a thread for a fork: they may be stopped, or at something slow.
const PATIENCE: Duration = Duration::from_millis(20);

/// Threads that hold forks off.
static HOLDERS: AtomicU32 = AtomicU32::new(0);
/// Threads that are about to fork.
static FORKING: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// No other thread forks while this lives, or for `PATIENCE`.
#[must_use]
pub(crate) struct HoldOff(PhantomData<*const ()>);

pub(crate) fn hold_off() -> HoldOff {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the handlers use atomics, the clock and `sched_yield` only, which a fork allows
        // before and after. Where there is no memory for them, forks are not held off.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after_in_child)) };
    });
    if DEPTH.replace(DEPTH.get() + 1) == 0 {
        let begun = Instant::now();
        loop {
            // Each side says that it comes, then looks for the other: one of them sees both.
            HOLDERS.fetch_add(1, SeqCst);
            if FORKING.load(SeqCst) == 0 || begun.elapsed() > PATIENCE {
                break;
            }
            HOLDERS.fetch_sub(1, SeqCst);
            std::thread::yield_now();
        }
    }
    HoldOff(PhantomData)
}

impl Drop for HoldOff {
    fn drop(&mut self) {
        if DEPTH.replace(DEPTH.get().saturating_sub(1)) == 1 {
            // Not below zero in a child, where everything was set back.
            let _ = HOLDERS.fetch_update(SeqCst, SeqCst, |holders| holders.checked_sub(1));
        }
    }
}

extern "C" fn before() {
    FORKING.fetch_add(1, SeqCst);
    let begun = Instant::now();
    // Whoever forks while it holds forks off itself does not wait for itself.
    let own = u32::from(DEPTH.try_with(Cell::get).unwrap_or(0) > 0);
    while HOLDERS.load(SeqCst) > own && begun.elapsed() < PATIENCE {
        std::thread::yield_now();
    }
}

extern "C" fn after() {
    FORKING.fetch_sub(1, SeqCst);
}

/// The threads that were at something are not here.
extern "C" fn after_in_child() {
    FORKING.store(0, SeqCst);
    HOLDERS.store(0, SeqCst);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// Whether a fork begins while another thread holds forks off; nothing is forked here.
    #[test]
    fn a_fork_waits_for_the_holders() {
        let held = hold_off();
        let nested = hold_off();
        drop(nested);
        assert!(HOLDERS.load(SeqCst) > 0);
        let waited = std::thread::spawn(|| {
            let begun = Instant::now();
            before();
            after();
            begun.elapsed()
        });
        assert!(waited.join().expect("no panic") >= PATIENCE);
        let begun = Instant::now();
        before();
        assert!(begun.elapsed() < PATIENCE, "not for itself");
        after();
        drop(held);
    }
}
