//! Callbacks: called one at a time, on a thread of their own, so that one that takes its time holds up nothing
//! else. The thread is there as long as there is something to call, and a moment longer.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

pub(super) type Call = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Callbacks {
    inner: Mutex<Inner>,
    more: Condvar,
    /// The last one has returned.
    idle: Condvar,
    panicked: AtomicU64,
}

#[derive(Default)]
struct Inner {
    queue: VecDeque<Call>,
    /// One is being called.
    is_calling: bool,
    thread: Option<ThreadId>,
    has_thread: bool,
}

/// How long the thread waits for another one.
const LINGER: Duration = Duration::from_millis(500);

impl Callbacks {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // None is called while it is held.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: no thread is to be had for them.
    pub(super) fn push(self: &Arc<Self>, calls: Vec<Call>) -> bool {
        if calls.is_empty() {
            return true;
        }
        let mut inner = self.lock();
        inner.queue.extend(calls);
        if std::mem::replace(&mut inner.has_thread, true) {
            drop(inner);
            self.more.notify_one();
            return true;
        }
        drop(inner);
        self.start()
    }

    fn start(self: &Arc<Self>) -> bool {
        let of_thread = Arc::clone(self);
        let thread = std::thread::Builder::new().name("ringway-calls".into()).spawn(move || of_thread.run());
        if thread.is_err() {
            self.lock().has_thread = false;
        }
        thread.is_ok()
    }

    /// By the last one who could: calls those that there is no thread for.
    pub(super) fn call_the_rest(self: &Arc<Self>) {
        while !self.have_a_thread() {
            self.lock().has_thread = true;
            self.run();
        }
    }

    /// False: some wait, and no thread was to be had, now again.
    pub(super) fn have_a_thread(self: &Arc<Self>) -> bool {
        let mut inner = self.lock();
        if !inner.queue.is_empty() && !inner.has_thread {
            inner.has_thread = true;
            drop(inner);
            self.start();
            inner = self.lock();
        }
        inner.queue.is_empty() || inner.has_thread
    }

    fn run(&self) {
        let mut inner = self.lock();
        inner.thread = Some(std::thread::current().id());
        loop {
            if let Some(call) = inner.queue.pop_front() {
                inner.is_calling = true;
                drop(inner);
                let panicked = catch_unwind(AssertUnwindSafe(call)).map_err(std::mem::forget).is_err();
                if panicked {
                    self.panicked.fetch_add(1, Ordering::Relaxed);
                    crate::event!("a callback of a pool has panicked");
                }
                inner = self.lock();
                inner.is_calling = false;
                continue;
            }
            self.idle.notify_all();
            let waited = self.more.wait_timeout(inner, LINGER).unwrap_or_else(PoisonError::into_inner);
            inner = waited.0;
            if inner.queue.is_empty() && waited.1.timed_out() {
                (inner.has_thread, inner.thread) = (false, None);
                return;
            }
        }
    }

    /// Waits until all have been called that are known now; at once in one of them. False: the time is over.
    pub(super) fn wait(self: &Arc<Self>, deadline: Option<Instant>) -> bool {
        let mut inner = self.lock();
        while (!inner.queue.is_empty() || inner.is_calling) && inner.thread != Some(std::thread::current().id()) {
            let rest = deadline.map_or(LINGER, |deadline| deadline.saturating_duration_since(Instant::now()));
            if rest.is_zero() {
                return false;
            }
            inner = self.idle.wait_timeout(inner, rest.min(LINGER)).unwrap_or_else(PoisonError::into_inner).0;
            drop(inner);
            self.have_a_thread();
            inner = self.lock();
        }
        true
    }

    pub(super) fn panicked(&self) -> u64 {
        self.panicked.load(Ordering::Relaxed)
    }
}
