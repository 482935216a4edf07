//! Atomics that a model can stop a thread at, as SIGKILL would: under loom only.
//!
//! A thread that called [`die_at`] dies at the n-th access it makes from then on: it
//! unwinds out of whatever it is in, having done everything before that access and nothing
//! after. The model catches that with [`outcome`]. All accesses of other threads are loom's.

use loom::sync::atomic::{AtomicU32 as LoomU32, AtomicU64 as LoomU64, Ordering};
use std::cell::Cell;

/// What a thread dies of.
struct Killed;

std::thread_local! {
    /// Who is to die, and after how many accesses. loom runs all threads of a model on
    /// one thread of the system.
    static VICTIM: Cell<Option<(loom::thread::ThreadId, u32)>> = const { Cell::new(None) };
}

/// The calling thread dies at its `access`-th access, counted from 1.
pub(crate) fn die_at(access: u32) {
    VICTIM.set(Some((loom::thread::current().id(), access)));
}

/// Runs what the calling thread may die in. None: it has.
pub(crate) fn outcome<R>(body: impl FnOnce() -> R) -> Option<R> {
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
    VICTIM.set(None);
    match ended {
        Ok(result) => Some(result),
        Err(reason) if reason.is::<Killed>() => None,
        Err(other) => std::panic::resume_unwind(other),
    }
}

fn access() {
    let Some((victim, left)) = VICTIM.get() else { return };
    if victim != loom::thread::current().id() {
        return;
    }
    if left <= 1 {
        VICTIM.set(None);
        std::panic::resume_unwind(Box::new(Killed));
    }
    VICTIM.set(Some((victim, left - 1)));
}

macro_rules! atomic {
    ($name:ident, $inner:ident, $value:ty) => {
        #[derive(Debug)]
        pub(crate) struct $name($inner);

        impl $name {
            pub(crate) fn new(value: $value) -> $name {
                $name($inner::new(value))
            }

            pub(crate) fn load(&self, order: Ordering) -> $value {
                access();
                self.0.load(order)
            }

            pub(crate) fn store(&self, value: $value, order: Ordering) {
                access();
                self.0.store(value, order);
            }

            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                access();
                self.0.swap(value, order)
            }

            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                access();
                self.0.fetch_add(value, order)
            }

            pub(crate) fn fetch_or(&self, value: $value, order: Ordering) -> $value {
                access();
                self.0.fetch_or(value, order)
            }

            pub(crate) fn fetch_and(&self, value: $value, order: Ordering) -> $value {
                access();
                self.0.fetch_and(value, order)
            }

            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                access();
                self.0.compare_exchange(current, new, success, failure)
            }
        }
    };
}

atomic!(AtomicU32, LoomU32, u32);
atomic!(AtomicU64, LoomU64, u64);
