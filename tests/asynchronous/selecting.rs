//! `AsyncSelect`, whoever wakes it.

use super::*;
use ringway::{AsyncSelect, GetError};
use std::os::fd::AsRawFd;

/// Ends of four queues, one of each mode; two of them wait on the driver, and two with the thread.
#[test]
fn the_first_of_many_is_named_and_nothing_is_lost() {
    const EACH: u64 = 500;
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        let options = |at: usize| sandbox.mode(2, MODES[at]).peers_gone(false);
        let queues: Vec<_> = (0..4).map(|at| Numbers::with_options(options(at)).expect("memory")).collect();
        let end = |at: usize| {
            let end = queues[at].consumer().expect("free");
            getter(end, if at.is_multiple_of(2) { &driver } else { &None })
        };
        let [mut a, mut b, mut c, mut d] = [0, 1, 2, 3].map(end);
        let threads: Vec<_> = queues
            .into_iter()
            .map(|queue| std::thread::spawn(move || (0..EACH).for_each(|number| queue.put(number).expect("open"))))
            .collect();
        let mut next = [0; 4];
        while next != [EACH; 4] {
            let at = AsyncSelect::new().get(&mut a).get(&mut b).get(&mut c).get(&mut d).await;
            match [&a, &b, &c, &d][at].inner().try_get() {
                Ok(number) => {
                    assert_eq!(number, next[at], "{how}");
                    next[at] += 1;
                }
                Err(error) => assert_eq!(error, GetError::Empty),
            }
        }
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    });
}

/// Waits until a driver has something to say.
fn until_readable(driver: &Driver) {
    let mut asked = libc::pollfd { fd: driver.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: `asked` is a local, and is one.
    let ready = unsafe { libc::poll(&mut asked, 1, LONG.as_millis() as i32) };
    assert_eq!(ready, 1, "the driver becomes readable");
}

/// Of a select whose ends all have the driver nothing else wakes it, and the driver does at once: by
/// any of its queues, for puts and for gets.
#[test]
fn a_select_is_woken_by_its_driver() {
    const ROUNDS: u64 = 11;
    let _sandbox = Sandbox::new();
    if !refusal::kernel_would_wake() {
        return println!("skipped: no io_uring here");
    }
    // Nobody dispatches it but this test.
    let driver = Driver::new().expect("a descriptor");
    assert!(driver.uses_io_uring());
    let [one, two, full] = [(); 3].map(|()| Numbers::bounded(1).expect("memory"));
    let ends = [&one, &two].map(|queue| queue.consumer().expect("free").into_async_on(&driver));
    let ([mut first, mut second], mut third) = (ends, full.producer().expect("free").into_async_on(&driver));
    full.put(0).expect("room");
    for at in 0..3 {
        let mut took = Vec::new();
        for number in 1..=ROUNDS {
            let (counter, waker) = Counter::new();
            let mut select = AsyncSelect::new().get(&mut first).get(&mut second).put(&mut third);
            assert!(poll(&mut select, &waker).is_pending());
            // Old news.
            driver.dispatch();
            let before = counter.count();
            let ((), time) = timed(|| {
                match at {
                    0 => one.put(number).expect("room"),
                    1 => two.put(number).expect("room"),
                    _ => assert!(full.get().is_ok()),
                }
                until_readable(&driver);
            });
            took.push(time);
            assert_eq!(counter.count(), before, "nobody has dispatched");
            driver.dispatch();
            assert_eq!(counter.count(), before + 1);
            assert_eq!(poll(&mut select, &waker), Poll::Ready(at));
            drop(select);
            match at {
                0 => assert_eq!(first.inner().try_get(), Ok(number)),
                1 => assert_eq!(second.inner().try_get(), Ok(number)),
                _ => assert_eq!(third.inner().try_put(number), Ok(())),
            }
        }
        took.sort();
        assert!(took[took.len() / 2] < PROMPT, "queue {at} left it asleep: {took:?}");
    }
}
