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

/// Their tasks are dropped, and with them their futures: others get what comes, at once.
#[test]
fn a_runtime_ends_while_futures_wait() {
    let sandbox = Sandbox::new();
    for how in WAKERS {
        let queue = Numbers::with_options(sandbox.options(2).peers_gone(false)).expect("memory");
        let first = runtime();
        let mut polled = Vec::new();
        for _ in 0..3 {
            let consumer = queue.consumer().expect("free");
            let (says, hears) = tokio::sync::oneshot::channel();
            first.spawn(async move {
                let mut consumer = getter(consumer, &driver(how));
                let mut get = pin!(consumer.get());
                assert!(std::future::poll_fn(|cx| Poll::Ready(get.as_mut().poll(cx))).await.is_pending());
                let _ = says.send(());
                let _ = get.await;
            });
            polled.push(hears);
        }
        first.block_on(async {
            for polled in polled {
                polled.await.expect("it is polled");
            }
        });
        first.shutdown_timeout(LONG);
        queue.put(1).expect("room");
        queue.put(2).expect("room");
        let mut consumer = queue.consumer().expect("free").into_async();
        runtime().block_on(async {
            assert_eq!((consumer.get().await, consumer.get().await), (Ok(1), Ok(2)));
        });
        assert_eq!(queue.participants(), 2, "{how}: the others have left");
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
