//! Peers that are killed and runtimes that end while futures wait.

use super::*;
use common::{hear, tell};
use ringway::GetError;

/// Holds the only putting end of queue `q`, and says nothing.
pub fn role_mute(_: &[String]) {
    let _producer = Numbers::open("q").expect("it is there").producer().expect("free");
    tell("ready");
    hear();
}

/// Holds a lease of queue `q`.
pub fn role_hold(_: &[String]) {
    let queue = Numbers::open("q").expect("it is there");
    let _lease = queue.lease().expect("a message");
    tell("ready");
    hear();
}

/// Nobody wakes the future then: it is woken at the end of its slice, and looks.
#[test]
fn the_last_producer_is_killed_while_a_future_waits() {
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for mode in MODES {
            let queue = Numbers::create("q", sandbox.mode(4, mode).peers_gone(true)).expect("a free name");
            let mut child = sandbox.child("mute", &[]);
            child.expect("ready");
            let mut consumer = getter(queue.consumer().expect("free"), &driver);
            drop(queue);
            let waits = tokio::spawn(async move { tokio::time::timeout(Duration::from_secs(8), consumer.get()).await });
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!waits.is_finished());
            child.kill();
            let outcome = waits.await.expect("no panic").expect("nobody noticed that the peer was killed");
            assert_eq!(outcome, Err(GetError::PeersGone), "{how} {mode:?}");
        }
    });
}

#[test]
fn what_a_killed_process_had_leased_comes_to_a_future() {
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for mode in [MODES[0], MODES[1]] {
            let queue = Numbers::create("q", sandbox.mode(4, mode)).expect("a free name");
            queue.put(7).expect("room");
            let mut child = sandbox.child("hold", &[]);
            child.expect("ready");
            let mut consumer = getter(queue.consumer().expect("free"), &driver);
            let waits = tokio::spawn(async move { consumer.get().await });
            tokio::time::sleep(Duration::from_millis(20)).await;
            child.kill();
            assert_eq!(waits.await.expect("no panic"), Ok(7), "{how} {mode:?}");
        }
    });
}

/// A handle in a task that gives it away when it ends: a handle that leaves would wake others itself.
struct Kept {
    end: Option<Getter>,
    keeper: std::sync::mpsc::Sender<Option<Getter>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.keeper.send(self.end.take());
    }
}

/// A runtime in which three futures wait, and are not polled again: whoever wakes one of them gets no
/// further than to its task.
struct Sleepers {
    runtime: tokio::runtime::Runtime,
    /// How often a task was woken.
    woken: Arc<AtomicUsize>,
    /// Has their handles when they have ended.
    kept: std::sync::mpsc::Receiver<Option<Getter>>,
}

fn sleepers(queue: &Numbers, how: &'static str) -> Sleepers {
    let runtime = runtime();
    let woken = Arc::new(AtomicUsize::new(0));
    let mut asleep = Vec::new();
    let (keeper, kept) = std::sync::mpsc::channel();
    for _ in 0..3 {
        let (consumer, woken, keeper) = (queue.consumer().expect("free"), Arc::clone(&woken), keeper.clone());
        let (says, hears) = tokio::sync::oneshot::channel();
        runtime.spawn(async move {
            let driver = driver(how);
            let mut consumer = Kept { end: Some(getter(consumer, &driver)), keeper };
            let mut get = pin!(consumer.end.as_mut().expect("there until it ends").get());
            assert!(std::future::poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx))).await.is_pending());
            let _ = says.send(());
            let mut polls = 0;
            std::future::poll_fn(|_| {
                woken.fetch_add(polls, Ordering::AcqRel);
                polls = 1;
                Poll::<()>::Pending
            })
            .await;
        });
        asleep.push(hears);
    }
    runtime.block_on(async {
        for asleep in asleep {
            asleep.await.expect("it is polled");
        }
    });
    if how == "thread" {
        until_the_watcher_sleeps();
    }
    Sleepers { runtime, woken, kept }
}

/// Their tasks are dropped, and with them their futures: what comes wakes others, at once, whether it
/// came before, and to one of them, or after.
#[test]
fn a_runtime_ends_while_futures_wait() {
    const ROUNDS: u64 = 7;
    let sandbox = Sandbox::new();
    for (how, is_woken_before) in WAKERS.iter().flat_map(|how| [(*how, false), (*how, true)]) {
        let queue = Numbers::with_options(sandbox.options(2).peers_gone(false)).expect("memory");
        let mut took = Vec::new();
        for number in 0..ROUNDS {
            let first = sleepers(&queue, how);
            // Behind them in the line.
            let parked = queue.consumer().expect("free");
            parked.set_wait_policy(WaitPolicy::Park);
            let (says, hears) = std::sync::mpsc::channel();
            let thread = std::thread::spawn(move || {
                says.send(thread_id()).expect("awaited");
                parked.get_timeout(LONG)
            });
            until_asleep(std::process::id(), hears.recv().expect("it starts"));
            let (got, time) = timed(|| {
                if is_woken_before {
                    queue.put(number).expect("room");
                    let limit = Instant::now() + PROMPT / 2;
                    while first.woken.load(Ordering::Acquire) == 0 && Instant::now() < limit {
                        std::thread::yield_now();
                    }
                }
                first.runtime.shutdown_timeout(LONG);
                if !is_woken_before {
                    queue.put(number).expect("room");
                }
                thread.join().expect("no panic")
            });
            assert_eq!(got, Ok(number), "{how}");
            assert_eq!(first.kept.iter().flatten().count(), 3);
            took.push(time);
        }
        took.sort();
        let middle = took[took.len() / 2];
        assert!(middle < PROMPT, "{how}, woken before: {is_woken_before}: it was left asleep: {took:?}");
        assert_eq!(queue.participants(), 1, "{how}: the others have left");
    }
}

/// A handle outlives the runtime, and the driver, that it was made for.
#[test]
fn a_handle_is_used_after_its_driver_is_gone() {
    let _sandbox = Sandbox::new();
    if !Driver::new().expect("a descriptor").uses_io_uring() {
        return println!("skipped: no io_uring here");
    }
    let queue = Numbers::bounded(2).expect("memory");
    let first = runtime();
    let mut consumer = first.block_on(async { getter(queue.consumer().expect("free"), &driver("ring")) });
    let (counter, waker) = Counter::new();
    let mut get = consumer.get();
    assert!(poll(&mut get, &waker).is_pending());
    first.shutdown_timeout(LONG);
    until(|| counter.count() > 0);
    // It waits with the thread from now on.
    assert!(poll(&mut get, &waker).is_pending());
    until_the_watcher_sleeps();
    let before = counter.count();
    queue.put(5).expect("room");
    until(|| counter.count() > before);
    assert!(matches!(poll(&mut get, &waker), Poll::Ready(Ok(5))));
}

/// A waker that panics takes nobody's wake-up along.
#[test]
fn a_waker_that_panics_harms_nobody() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new(()));
        }
    }
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("memory");
    let (mut bad, mut good) = (queue.consumer().expect("free").into_async(), queue.consumer().expect("free"));
    assert!(poll(bad.get(), &Waker::from(Arc::new(Panics))).is_pending());
    let mut get = bad.get();
    assert!(poll(&mut get, &Waker::from(Arc::new(Panics))).is_pending());
    let mut good_one = good.try_clone().expect("a place").into_async();
    queue.put(1).expect("room");
    let got = runtime().block_on(async { tokio::time::timeout(LONG, good_one.get()).await });
    assert_eq!(got.expect("in time"), Ok(1));
    drop(get);
    good = good_one.into_inner();
    assert_eq!(good.try_get(), Err(GetError::Empty));
}
