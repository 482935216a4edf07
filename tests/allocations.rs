//! What a put allocates: nothing, but where it is said. The message is written where it lies.

#![allow(unsafe_code)]

mod common;

use common::{MODES, Role, Sandbox};
use ringway::{ByteQueue, Options, PodQueue};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

const ROLES: &[Role] = &[];

thread_local! {
    /// How often this thread has asked for memory.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // The last thing of a thread may come after its counter is gone.
    let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
}

/// The system's, which counts what each thread asks for.
struct Counting;

// SAFETY: all is the system's; the counter asks for no memory, as it has no destructor and is there
// from the start of a thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller's contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the caller's contract.
        unsafe { System.realloc(old, layout, size) }
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often `f` asks for memory.
fn allocations(f: impl FnOnce()) -> u64 {
    let before = ASKED.get();
    f();
    ASKED.get() - before
}

const ROUNDS: u64 = 50;

/// Bounded ones of each mode, and one that grows.
fn each_kind(sandbox: &Sandbox, test: impl Fn(Options)) {
    MODES.iter().for_each(|mode| test(sandbox.mode(8, *mode)));
    test(Options::unbounded().cap(16 << 20).max_message(1 << 16));
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(vec![1; 10])), 1);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn bytes_and_plain_data_are_put_without_an_allocation() {
    let sandbox = Sandbox::new();
    each_kind(&sandbox, |options| {
        let numbers = PodQueue::<u64>::with_options(options.clone().max_message(8)).expect("memory");
        let bytes = ByteQueue::with_options(options.clone()).expect("memory");
        for round in 0..ROUNDS {
            // The first put takes a side.
            let expected = |asked: u64| assert!(asked == 0 || round == 0, "{asked} in {options:?}");
            expected(allocations(|| numbers.put(round).expect("room")));
            for len in [0, 10, 52, 53, 5000] {
                let message = [1; 5000];
                expected(allocations(|| bytes.put(&message[..len]).expect("room")));
                bytes.get().expect("a message");
            }
            numbers.get().expect("a number");
        }
    });
}

#[cfg(feature = "serde")]
mod values {
    use super::*;
    use ringway::{Broadcast, Queue};
    use std::time::Duration;

    type Value = (u64, String);

    fn value(round: u64, len: usize) -> Value {
        (round, "x".repeat(len))
    }

    /// How often a put asks for memory, of a text that is so long.
    fn of_puts(options: &Options, len: usize) -> u64 {
        let queue = Queue::<Value>::with_options(options.clone()).expect("memory");
        let mut asked = 0;
        for round in 0..ROUNDS {
            let [one, two, three] = [(); 3].map(|()| value(round, len));
            let puts = allocations(|| {
                queue.put(one).expect("room");
                queue.try_put(two).expect("room");
                queue.put_timeout(three, Duration::from_secs(5)).expect("room");
            });
            // The first put takes a side.
            asked += if round == 0 { 0 } else { puts };
            (0..3).for_each(|_| assert_eq!(queue.get(), Ok(value(round, len))));
        }
        asked.div_ceil(3 * (ROUNDS - 1))
    }

    /// In a slot, and straight into a block.
    #[test]
    fn values_are_put_without_an_allocation() {
        let sandbox = Sandbox::new();
        each_kind(&sandbox, |options| {
            for len in [0, 30, 48, 60, 200, 250, 300, 5000] {
                assert_eq!(of_puts(&options, len), 0, "{len} bytes, {options:?}");
            }
            let wide = options.clone().inline(1000);
            for len in [0, 30, 250] {
                assert_eq!(of_puts(&wide, len), 0, "{len} bytes, {wide:?}");
            }
        });
    }

    /// As the documentation says: what is too long for the stack and yet fits a slot, and what all
    /// subscribers get.
    #[test]
    fn where_there_is_one_it_is_said() {
        let sandbox = Sandbox::new();
        each_kind(&sandbox, |options| {
            let wide = options.inline(1000);
            for len in [257, 900] {
                assert_eq!(of_puts(&wide, len), 1, "{len} bytes, {wide:?}");
            }
            // Into a block again.
            assert_eq!(of_puts(&wide, 1100), 0, "{wide:?}");
        });
        let broadcast = Broadcast::<Value>::with_options(sandbox.options(8)).expect("memory");
        for (len, expected) in [(30, 0), (250, 0), (257, 1), (900, 1)] {
            let mut asked = 0;
            for round in 0..ROUNDS {
                let value = value(round, len);
                let put = allocations(|| broadcast.put(value).expect("room"));
                asked += if round == 0 { 0 } else { put };
            }
            assert_eq!(asked, expected * (ROUNDS - 1), "{len} bytes");
        }
    }
}
