//! `fork` waits while another thread has a descriptor that no child should get a copy of.
//!
//! `O_CLOEXEC` is enough where the child executes another program; one that does not keeps the
//! copy, and with it the locks of the description, for as long as it lives. Only `fork` itself
//! is held off, through `pthread_atfork`: `clone` called by hand is not.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// So long a fork waits, and a thread for a fork: they may be stopped, or at something slow.
const PATIENCE: Duration = Duration::from_millis(20);
/// And so often it lets others run before it gives up: time also passes while nobody runs.
const TURNS: u32 = 200;

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
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    // Not a `Once`: a child that was forked in the middle of it would wait for ever. Handlers that
    // are there twice count twice, both ways.
    if !REGISTERED.load(SeqCst) {
        // SAFETY: the handlers use atomics, the clock and `sched_yield` only, which a fork allows
        // before and after. Where there is no memory for them, forks are not held off.
        unsafe { libc::pthread_atfork(Some(before), Some(after), Some(after_in_child)) };
        REGISTERED.store(true, SeqCst);
    }
    if DEPTH.replace(DEPTH.get() + 1) == 0 {
        // Each side says that it comes, then looks for the other: one of them sees both.
        HOLDERS.fetch_add(1, SeqCst);
        if FORKING.load(SeqCst) > 0 {
            wait_for_a_fork();
        }
    }
    HoldOff(PhantomData)
}

/// Steps back until nobody forks.
#[cold]
fn wait_for_a_fork() {
    let mut patience = Patience::new();
    loop {
        leave();
        let is_over = !patience.lasts();
        HOLDERS.fetch_add(1, SeqCst);
        if is_over || FORKING.load(SeqCst) == 0 {
            return;
        }
    }
}

fn leave() {
    // Not below zero, whatever a fork has set back.
    let _ = HOLDERS.fetch_update(SeqCst, SeqCst, |holders| holders.checked_sub(1));
}

impl Drop for HoldOff {
    fn drop(&mut self) {
        if DEPTH.replace(DEPTH.get().saturating_sub(1)) == 1 {
            leave();
        }
    }
}

struct Patience {
    begun: Instant,
    turns: u32,
}

impl Patience {
    fn new() -> Patience {
        Patience { begun: Instant::now(), turns: 0 }
    }

    /// Lets others run. False: that was enough.
    fn lasts(&mut self) -> bool {
        std::thread::yield_now();
        self.turns = self.turns.saturating_add(1);
        self.turns < TURNS || self.begun.elapsed() < PATIENCE
    }
}

/// Whoever forks while it holds forks off itself does not wait for itself.
fn own() -> u32 {
    u32::from(DEPTH.try_with(Cell::get).unwrap_or(0) > 0)
}

extern "C" fn before() {
    FORKING.fetch_add(1, SeqCst);
    let (own, mut patience) = (own(), Patience::new());
    while HOLDERS.load(SeqCst) > own && patience.lasts() {}
}

extern "C" fn after() {
    let _ = FORKING.fetch_update(SeqCst, SeqCst, |forking| forking.checked_sub(1));
}

/// The threads that were at something are not here, but for the one that has forked.
extern "C" fn after_in_child() {
    FORKING.store(0, SeqCst);
    HOLDERS.store(own(), SeqCst);
}
