//! Futures: nothing is lost with one that is dropped, nobody waits for what is there or for the
//! dead, and it makes no difference who wakes them.

#![cfg(feature = "async")]
#![allow(unsafe_code)]

mod common;
#[path = "asynchronous/conformance.rs"]
mod conformance;
#[path = "asynchronous/deaths.rs"]
mod deaths;
#[path = "asynchronous/measure.rs"]
mod measure;
#[path = "asynchronous/refusal.rs"]
mod refusal;
#[path = "asynchronous/selecting.rs"]
mod selecting;

use common::{MODES, Role, Sandbox, thread_id, timed, until, until_asleep};
use ringway::{
    Async, ByteQueue, Consumer, Driver, Handle, Message, Options, Pod, PodQueue, Producer, Side, WaitPolicy,
};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

const ROLES: &[Role] = &[
    ("echo", role_echo),
    ("mute", deaths::role_mute),
    ("hold", deaths::role_hold),
    ("refused", refusal::role_refused),
    ("measured", measure::role_measured),
    ("unlink", common::role_unlink),
];

type Numbers = PodQueue<u64>;
type Getter = Async<Consumer<Pod<u64>>>;

/// Much longer than anything here takes, and shorter than the watchdog.
const LONG: Duration = Duration::from_secs(30);

/// Who wakes the futures of a test.
const WAKERS: [&str; 2] = ["thread", "ring"];

// ---- runtimes ----

/// A driver that is dispatched by the runtime, or none.
fn driver(how: &str) -> Option<Driver> {
    if how == "thread" {
        return None;
    }
    let driver = Driver::new().expect("a descriptor");
    assert_eq!(driver.uses_io_uring(), refusal::kernel_would_wake(), "io_uring is used where it can be");
    // SAFETY: a driver's descriptor is always the same one, and open while a clone is there.
    let watched = unsafe { AsyncFd::register_with_interest(driver.clone(), Interest::READABLE) };
    let watched = watched.expect("it can be watched");
    tokio::spawn(async move {
        while let Ok(mut ready) = watched.readable().await {
            watched.get_ref().dispatch();
            ready.clear_ready();
        }
    });
    Some(driver)
}

fn getter<M: Message>(end: Consumer<M>, driver: &Option<Driver>) -> Async<Consumer<M>> {
    match driver {
        Some(driver) => end.into_async_on(driver),
        None => end.into_async(),
    }
}

fn putter<M: Message>(end: Producer<M>, driver: &Option<Driver>) -> Async<Producer<M>> {
    match driver {
        Some(driver) => end.into_async_on(driver),
        None => end.into_async(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

/// Runs a test with each of those who can wake it.
fn with_each<F: Future<Output = ()>>(test: impl Fn(&'static str) -> F) {
    for how in WAKERS {
        runtime().block_on(async {
            tokio::time::timeout(2 * LONG, test(how)).await.expect("it ends");
        });
    }
}

/// Counts how often it is woken.
#[derive(Default)]
struct Counter(AtomicUsize);

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

impl Counter {
    fn new() -> (Arc<Counter>, Waker) {
        let counter = Arc::new(Counter::default());
        (Arc::clone(&counter), Waker::from(counter))
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }
}

/// Polls once.
fn poll<F: Future>(future: F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

// ---- both directions, every kind ----

/// Sends everything back.
fn role_echo(arguments: &[String]) {
    let policy = common::policy_named(&arguments[0]);
    let open = |name| Numbers::open_with(name, Options::default().wait_policy(policy)).expect("it is there");
    let (there, back) = (open("there").consumer().expect("free"), open("back").producer().expect("free"));
    for number in there.iter() {
        back.put(number.expect("a message")).expect("nobody closes");
    }
}

#[test]
fn futures_can_be_moved_between_threads() {
    fn is_send<T: Send>(_: &T) {}
    let _sandbox = Sandbox::new();
    let mut queue = Numbers::bounded(1).expect("memory").into_async();
    is_send(&queue);
    is_send(&queue.put(1));
    is_send(&queue.get());
    let mut bytes = ByteQueue::bounded(1).expect("memory").into_async();
    is_send(&bytes.put(b"x"));
    is_send(&bytes.into_sink::<Vec<u8>>());
}

#[test]
fn a_stream_of_messages_crosses_every_mode() {
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for mode in MODES {
            let queue = Numbers::with_options(sandbox.mode(4, mode)).expect("memory");
            let mut producer = putter(queue.producer().expect("free"), &driver);
            let mut consumer = getter(queue.consumer().expect("free"), &driver);
            let puts = tokio::spawn(async move {
                for number in 0..2000 {
                    producer.put(number).await.expect("nobody closes");
                }
                producer.into_inner().close();
            });
            let gets = tokio::spawn(async move {
                let mut all = Vec::new();
                while consumer.get_many(&mut all, 3).await.is_ok() {}
                all
            });
            puts.await.expect("no panic");
            assert_eq!(gets.await.expect("no panic"), (0..2000).collect::<Vec<u64>>(), "{how} {mode:?}");
        }
    });
}

/// Of a large message that no block is free for, the put waits for a block.
#[test]
fn bytes_of_every_length_wait_for_slots_and_blocks() {
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for mode in MODES {
            // Room for few of the large ones.
            let options = sandbox.mode(8, mode).max_message(1 << 16).arena(1 << 16);
            let queue = ByteQueue::with_options(options).expect("memory");
            let mut producer = putter(queue.producer().expect("free"), &driver);
            let mut consumer = getter(queue.consumer().expect("free"), &driver);
            let lengths = [0, 1, 52, 53, 300, 5000, 1 << 16, 7, 1 << 16, 60_000, 40];
            let puts = tokio::spawn(async move {
                for round in 0..20u8 {
                    for len in lengths {
                        producer.put(&vec![round; len]).await.expect("nobody closes");
                    }
                }
                let refused = producer.put(&vec![0; (1 << 16) + 1]).await;
                assert!(matches!(refused, Err(ringway::PutError::TooLarge { .. })));
            });
            let gets = tokio::spawn(async move {
                for round in 0..20u8 {
                    for len in lengths {
                        assert_eq!(consumer.get().await, Ok(vec![round; len]), "{len}");
                    }
                }
            });
            puts.await.expect("no panic");
            gets.await.expect("no panic");
        }
    });
}

#[cfg(feature = "serde")]
#[test]
fn values_come_back_with_the_error() {
    with_each(|how| async move {
        let _sandbox = Sandbox::new();
        let driver = driver(how);
        let queue = ringway::Queue::<String>::bounded(1).expect("memory");
        let mut producer = putter(queue.producer().expect("free"), &driver);
        producer.put("first".to_owned()).await.expect("room");
        let (_, waker) = Counter::new();
        let mut put = producer.put("second".to_owned());
        assert!(poll(&mut put, &waker).is_pending());
        assert_eq!(put.cancel(), Some("second".to_owned()));
        let long = "x".repeat(5000);
        let mut put = producer.put(long.clone());
        assert!(poll(&mut put, &waker).is_pending());
        queue.close();
        let mut refused = None;
        until(|| match poll(&mut put, &waker) {
            Poll::Ready(outcome) => {
                refused = outcome.err();
                true
            }
            Poll::Pending => false,
        });
        let refused = refused.expect("closed");
        assert!(refused.is_closed());
        assert_eq!(refused.into_value(), long);
    });
}

#[test]
fn a_joinable_queue_hands_out_tasks() {
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let queue = Numbers::with_options(sandbox.options(4).joinable(true)).expect("memory");
        let mut consumer = getter(queue.consumer().expect("free"), &driver(how));
        let taker = tokio::spawn(async move {
            for number in 0..3 {
                assert_eq!(consumer.get().await, Ok(number));
            }
            consumer
        });
        queue.put_many(&[0, 1, 2]).expect("room");
        let consumer = taker.await.expect("no panic");
        assert_eq!(queue.join_timeout(Duration::ZERO), Err(ringway::TaskError::TimedOut));
        (0..3).for_each(|_| consumer.inner().task_done().expect("a task"));
        queue.join().expect("all is done");
    });
}

/// More words than the kernel takes in one call.
#[test]
fn hundreds_of_queues_are_waited_for() {
    const COUNT: u64 = 300;
    with_each(|how| async move {
        let _sandbox = Sandbox::new();
        let driver = driver(how);
        let mut queues = Vec::new();
        let mut tasks = Vec::new();
        for _ in 0..COUNT {
            let queue = Numbers::with_options(Options::new(1).max_participants(4)).expect("memory");
            let mut consumer = getter(queue.consumer().expect("free"), &driver);
            queues.push(queue);
            tasks.push(tokio::spawn(async move { consumer.get().await }));
        }
        for (number, queue) in queues.iter().enumerate().rev() {
            queue.put(number as u64).expect("room");
        }
        for (number, task) in (0..).zip(tasks) {
            assert_eq!(task.await.expect("no panic"), Ok(number));
        }
    });
}

// ---- cancellation ----

/// Numbers that say when to stop polling.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % limit
    }
}

/// A get that is dropped after any number of polls, also after it was woken, has taken nothing
/// or has said what.
#[test]
fn a_get_that_is_dropped_anywhere_loses_nothing() {
    const COUNT: u64 = 3000;
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for mode in MODES {
            let queue = Numbers::with_options(sandbox.mode(2, mode)).expect("memory");
            let (producer, consumer) = queue.split().expect("both are free");
            let mut consumer = getter(consumer, &driver);
            let puts = std::thread::spawn(move || {
                (0..COUNT).for_each(|number| producer.put(number).expect("nobody closes"));
                producer.close();
            });
            let (mut next, mut dropped, mut dice) = (0, 0u32, Dice(7));
            while next < COUNT {
                let polls = dice.below(4);
                let (counter, waker) = Counter::new();
                let mut get = consumer.get();
                let mut got = None;
                for at in 0..polls {
                    if at > 0 && dice.below(2) == 0 {
                        // Woken, and perhaps not polled again.
                        let limit = Instant::now() + Duration::from_micros(dice.below(200));
                        while counter.count() == 0 && Instant::now() < limit {
                            tokio::task::yield_now().await;
                        }
                    }
                    if let Poll::Ready(outcome) = poll(&mut get, &waker) {
                        got = Some(outcome.expect("a message"));
                        break;
                    }
                }
                drop(get);
                match got {
                    Some(number) => {
                        assert_eq!(number, next, "{how} {mode:?}");
                        next += 1;
                    }
                    None => dropped += 1,
                }
            }
            assert!(dropped > 100, "it was tried: {dropped}");
            puts.join().expect("no panic");
            assert_eq!(consumer.get().await, Err(ringway::GetError::Closed));
        }
    });
}

/// A put that is dropped after any number of polls has put nothing.
#[test]
fn a_put_that_is_dropped_anywhere_puts_nothing() {
    const COUNT: u64 = 2000;
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for (mode, len) in MODES.into_iter().flat_map(|mode| [(mode, 8), (mode, 3000)]) {
            let options = sandbox.mode(2, mode).max_message(4096).arena(4096);
            let (producer, consumer) = ByteQueue::with_options(options).expect("memory").split().expect("free");
            let mut producer = putter(producer, &driver);
            let gets = std::thread::spawn(move || {
                let mut next: u64 = 0;
                for message in consumer.iter() {
                    let message = message.expect("a message");
                    assert_eq!(message[..8], next.to_ne_bytes());
                    assert_eq!(message.len(), len);
                    next += 1;
                }
                next
            });
            let (mut next, mut dice, mut message) = (0u64, Dice(11), vec![0; len]);
            while next < COUNT {
                message[..8].copy_from_slice(&next.to_ne_bytes());
                let polls = dice.below(3);
                let (counter, waker) = Counter::new();
                let mut put = producer.put(&message);
                let mut is_in = false;
                for at in 0..polls {
                    if at > 0 && dice.below(2) == 0 {
                        let limit = Instant::now() + Duration::from_micros(dice.below(200));
                        while counter.count() == 0 && Instant::now() < limit {
                            tokio::task::yield_now().await;
                        }
                    }
                    if let Poll::Ready(outcome) = poll(&mut put, &waker) {
                        outcome.expect("nobody closes");
                        is_in = true;
                        break;
                    }
                }
                drop(put);
                next += u64::from(is_in);
            }
            producer.inner().close();
            assert_eq!(gets.join().expect("no panic"), COUNT, "{how} {mode:?} {len}");
        }
    });
}

/// Long before the slice ends in which a missed wake-up would be found.
const PROMPT: Duration = Duration::from_millis(25);

/// Waits until the thread that wakes futures sleeps in the kernel.
fn until_the_watcher_sleeps() {
    until(|| {
        let tasks = std::fs::read_dir("/proc/self/task").expect("proc is mounted");
        tasks.flatten().any(|task| {
            let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            read("comm").trim() == "ringway-async"
                && read("syscall").split(' ').next() == Some(&libc::SYS_futex_waitv.to_string())
        })
    });
}

/// Of two sleepers one is woken; if that is a future that is dropped, it must be the other's.
#[test]
fn a_wake_up_of_a_dropped_future_goes_to_the_next_sleeper() {
    const ROUNDS: usize = 11;
    let sandbox = Sandbox::new();
    let queue = Numbers::with_options(sandbox.options(4)).expect("memory");
    let mut first = queue.consumer().expect("free").into_async();
    let second = queue.consumer().expect("free");
    second.set_wait_policy(WaitPolicy::Park);
    let (begin, begins) = std::sync::mpsc::channel::<()>();
    let (says, hears) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        says.send(thread_id() as u64).expect("awaited");
        while begins.recv().is_ok() {
            says.send(second.get_timeout(LONG).expect("a message")).expect("awaited");
        }
    });
    let tid = hears.recv().expect("it starts") as i32;
    let mut took = Vec::new();
    for number in 0..ROUNDS as u64 {
        let (counter, waker) = Counter::new();
        let mut get = first.get();
        assert!(poll(&mut get, &waker).is_pending());
        until_the_watcher_sleeps();
        begin.send(()).expect("it listens");
        until_asleep(std::process::id(), tid);
        // A new slice of the future's may have begun since, behind the other sleeper.
        if counter.count() > 0 {
            let _ = poll(&mut get, &waker);
        }
        let before = counter.count();
        let ((), time) = timed(|| {
            queue.put(number).expect("room");
            let limit = Instant::now() + PROMPT;
            while counter.count() == before && Instant::now() < limit {
                std::hint::spin_loop();
            }
            drop(get);
            assert_eq!(hears.recv(), Ok(number));
        });
        took.push(time);
    }
    drop(begin);
    thread.join().expect("no panic");
    took.sort();
    assert!(took[ROUNDS / 2] < PROMPT, "the other one was left asleep: {took:?}");
}

// ---- no wake-up is lost ----

/// A peer that answers at once, in the moment in which the future looks and goes to sleep.
#[test]
fn no_wake_up_is_lost_to_a_future() {
    const ROUNDS: u64 = 6000;
    const SLOW: Duration = Duration::from_millis(90);
    for (how, mode) in [("thread", MODES[0]), ("ring", MODES[0]), ("thread", MODES[3]), ("ring", MODES[3])] {
        let sandbox = Sandbox::new();
        let there = Numbers::create("there", sandbox.mode(2, mode)).expect("a free name");
        let back = Numbers::create("back", sandbox.mode(2, mode)).expect("a free name");
        let child = sandbox.child("echo", &["spin"]);
        let slow = runtime().block_on(async {
            let driver = driver(how);
            let mut puts = putter(there.producer().expect("free"), &driver);
            let mut gets = getter(back.consumer().expect("free"), &driver);
            tokio::spawn(async move {
                let mut slow = 0;
                for number in 0..ROUNDS {
                    let begun = Instant::now();
                    puts.put(number).await.expect("nobody closes");
                    assert_eq!(gets.get().await, Ok(number));
                    slow += u32::from(begun.elapsed() > SLOW && number > 0);
                    if slow > 20 {
                        break;
                    }
                }
                slow
            })
            .await
            .expect("no panic")
        });
        there.close();
        child.succeed();
        assert!(slow < 5, "{how} {mode:?}: {slow} answers came a slice late");
    }
}

/// Futures and blocking callers of several processes take turns on one queue.
#[test]
fn futures_and_threads_share_a_queue() {
    const EACH: u64 = 3000;
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        let queue = Numbers::with_options(sandbox.options(3)).expect("memory");
        let mut gets = Vec::new();
        for _ in 0..2 {
            let mut consumer = getter(queue.consumer().expect("free"), &driver);
            gets.push(tokio::spawn(async move {
                let mut all = Vec::new();
                while let Ok(number) = consumer.get().await {
                    all.push(number);
                }
                all
            }));
        }
        let blocking = queue.consumer().expect("free");
        let thread = std::thread::spawn(move || blocking.iter().map(|got| got.expect("a message")).collect::<Vec<_>>());
        let mut puts = Vec::new();
        for from in 0..2 {
            let mut producer = putter(queue.producer().expect("free"), &driver);
            puts.push(tokio::spawn(async move {
                for number in 0..EACH {
                    producer.put(from * EACH + number).await.expect("nobody closes");
                }
            }));
        }
        let blocking = queue.producer().expect("free");
        let putting = std::thread::spawn(move || (0..EACH).for_each(|n| blocking.put(2 * EACH + n).expect("open")));
        for put in puts {
            put.await.expect("no panic");
        }
        tokio::task::spawn_blocking(|| putting.join().expect("no panic")).await.expect("no panic");
        queue.close();
        let mut all = Vec::new();
        for get in gets {
            all.extend(get.await.expect("no panic"));
        }
        all.extend(tokio::task::spawn_blocking(|| thread.join().expect("no panic")).await.expect("no panic"));
        all.sort();
        assert_eq!(all, (0..3 * EACH).collect::<Vec<u64>>(), "{how}");
    });
}

/// Who waits costs nothing: a future that waits is polled some ten times a second.
#[test]
fn who_waits_is_polled_once_a_slice() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(1).expect("memory");
    let mut consumer: Getter = queue.consumer().expect("free").into_async();
    let polls = AtomicUsize::new(0);
    let mut get = pin!(consumer.get());
    let counted = std::future::poll_fn(|cx| {
        polls.fetch_add(1, Ordering::Relaxed);
        get.as_mut().poll(cx)
    });
    let ended = runtime().block_on(async { tokio::time::timeout(Duration::from_secs(1), counted).await });
    assert!(ended.is_err());
    let polls = polls.load(Ordering::Relaxed);
    assert!((5..40).contains(&polls), "{polls} polls in a second");
}

// ---- handles ----

#[test]
fn a_handle_goes_there_and_back() {
    let _sandbox = Sandbox::new();
    let queue: Handle<Pod<u64>> = Numbers::with_options(Options::new(2).producers(Side::Single)).expect("memory");
    let mut queue = queue.into_async();
    runtime().block_on(async {
        queue.put(1).await.expect("room");
        assert_eq!(queue.get().await, Ok(1));
    });
    let queue = queue.into_inner();
    queue.put(2).expect("room");
    assert_eq!(queue.get(), Ok(2));
    let (producer, consumer) = queue.split().expect("both are free");
    let (mut producer, mut consumer) = (producer.into_async(), consumer.into_async());
    runtime().block_on(async {
        producer.put(3).await.expect("room");
        assert_eq!(consumer.get().await, Ok(3));
    });
}

/// Bugs that only show here.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    use common::control::fails_with_seeds;
    fails_with_seeds("a_wake_up_of_a_dropped_future_goes_to_the_next_sleeper", &[(40, &["left asleep"])]);
    fails_with_seeds("no_wake_up_is_lost_to_a_future", &[(41, &["a slice late"])]);
    fails_with_seeds("deaths::the_last_producer_is_killed_while_a_future_waits", &[(42, &["nobody noticed"])]);
}
