//! Waiting for the first of several queues, by blocking callers and by futures.

mod common;

use common::{MODES, Role, Sandbox, hear, tell, thread_id, timed, until};
use ringway::{GetError, Options, PodQueue, Select, WaitPolicy};
use std::time::Duration;

const ROLES: &[Role] = &[("mute", role_mute), ("unlink", common::role_unlink)];

type Numbers = PodQueue<u64>;

const LONG: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(5);

/// Holds the only putting end of queue `q`, and says nothing.
fn role_mute(_: &[String]) {
    let _producer = Numbers::open("q").expect("it is there").producer().expect("free");
    tell("ready");
    hear();
}

fn queues(sandbox: &Sandbox, count: usize) -> Vec<Numbers> {
    (0..count).map(|at| Numbers::with_options(sandbox.mode(2, MODES[at % 4])).expect("memory")).collect()
}

fn all<'q>(queues: impl IntoIterator<Item = &'q Numbers>) -> Select<'q> {
    queues.into_iter().fold(Select::new(), |select, queue| select.get(queue))
}

/// Waits until a thread of this process sleeps on several words.
fn until_asleep_on_many(thread: i32) {
    until(|| {
        let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
        text.split(' ').next() == Some(&libc::SYS_futex_waitv.to_string())
    });
}

#[test]
fn what_is_ready_is_named_at_once() {
    let sandbox = Sandbox::new();
    let queues = queues(&sandbox, 4);
    assert_eq!(Select::new().wait(), None);
    assert_eq!(all(&queues).wait_timeout(Duration::ZERO), None);
    for (at, queue) in queues.iter().enumerate() {
        queue.put(1).expect("room");
        assert_eq!(all(&queues).wait(), Some(at));
        assert_eq!(queue.try_get(), Ok(1));
        assert_eq!(all(&queues).wait_timeout(MOMENT), None);
        assert_eq!(Select::new().put(queue).wait(), Some(0));
        queue.put_many(&[1, 2]).expect("room");
        assert_eq!(Select::new().put(queue).wait_timeout(MOMENT), None);
        assert_eq!(queue.try_get().and(queue.try_get()), Ok(2));
    }
    queues[2].close();
    assert_eq!(all(&queues).wait(), Some(2), "its end is something to get");
    assert_eq!(queues[2].try_get(), Err(GetError::Closed));
    let producer = queues[2].try_clone().expect("a place");
    assert_eq!(Select::new().put(&producer).wait(), Some(0));
}

/// None of several is forgotten while another is always ready.
#[test]
fn a_busy_queue_does_not_hide_the_others() {
    let sandbox = Sandbox::new();
    let queues = queues(&sandbox, 3);
    queues.iter().for_each(|queue| queue.put(1).expect("room"));
    let mut named = [0; 3];
    let mut select = all(&queues);
    for _ in 0..30 {
        named[select.wait().expect("all are")] += 1;
    }
    assert_eq!(named, [10; 3]);
}

#[test]
fn who_sleeps_on_several_is_woken_by_any_of_them() {
    const PROMPT: Duration = Duration::from_millis(20);
    let sandbox = Sandbox::new();
    let queues = queues(&sandbox, 4);
    let ends: Vec<_> = queues.iter().map(|queue| queue.try_clone().expect("a place")).collect();
    let (says, hears) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        says.send(thread_id() as usize).expect("awaited");
        while let Some(at) = all(&ends).wait_timeout(LONG) {
            let got = ends[at].try_get();
            if got == Err(GetError::Closed) {
                break;
            }
            if got.is_ok() {
                says.send(at).expect("awaited");
            }
        }
    });
    let tid = hears.recv().expect("it starts") as i32;
    let mut took = Vec::new();
    for round in 0..20 {
        let at = (round * 7) % 4;
        until_asleep_on_many(tid);
        took.push(
            timed(|| {
                queues[at].put(1).expect("room");
                assert_eq!(hears.recv(), Ok(at));
            })
            .1,
        );
    }
    took.sort();
    assert!(took[took.len() / 2] < PROMPT, "{took:?}");
    until_asleep_on_many(tid);
    queues[1].close();
    thread.join().expect("no panic");
}

/// One message, and one wake-up, for a select that does not take it: it is the other sleeper's.
#[test]
fn a_select_keeps_no_wake_up() {
    const PROMPT: Duration = Duration::from_millis(25);
    const ROUNDS: usize = 9;
    let sandbox = Sandbox::new();
    let queue = Numbers::with_options(sandbox.options(2).peers_gone(false)).expect("memory");
    let other = Numbers::bounded(2).expect("memory");
    let mut took = Vec::new();
    for round in 0..ROUNDS as u64 {
        let (selects, gets) = (queue.try_clone().expect("a place"), queue.try_clone().expect("a place"));
        gets.set_wait_policy(WaitPolicy::Park);
        let (says, hears) = std::sync::mpsc::channel();
        let ids = says.clone();
        std::thread::scope(|scope| {
            let other = other.try_clone().expect("a place");
            scope.spawn(move || {
                ids.send(thread_id()).expect("awaited");
                assert_eq!(Select::new().get(&selects).get(&other).wait(), Some(0));
            });
            until_asleep_on_many(hears.recv().expect("it starts"));
            let getting = scope.spawn(move || {
                says.send(thread_id()).expect("awaited");
                gets.get_timeout(LONG)
            });
            common::until_asleep(std::process::id(), hears.recv().expect("it starts"));
            let (got, time) = timed(|| {
                queue.put(round).expect("room");
                getting.join().expect("no panic")
            });
            assert_eq!(got, Ok(round));
            took.push(time);
            // If the getter was faster than the select looked, that one sleeps still.
            queue.put(0).expect("room");
        });
        assert_eq!(queue.try_get(), Ok(0));
    }
    took.sort();
    assert!(took[ROUNDS / 2] < PROMPT, "{took:?}");
}

/// More than the kernel takes in one call.
#[test]
fn hundreds_of_queues_are_waited_for() {
    let _sandbox = Sandbox::new();
    let small = || Numbers::with_options(Options::new(1).max_participants(4)).expect("memory");
    let queues: Vec<Numbers> = (0..200).map(|_| small()).collect();
    let last = queues[199].try_clone().expect("a place");
    let thread = std::thread::spawn(move || {
        std::thread::sleep(MOMENT);
        last.put(1).expect("room");
    });
    assert_eq!(all(&queues).wait_timeout(LONG), Some(199));
    thread.join().expect("no panic");
}

#[test]
fn a_killed_peer_ends_a_select() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        let queue = Numbers::create("q", sandbox.mode(2, mode).peers_gone(true)).expect("a free name");
        let mut child = sandbox.child("mute", &[]);
        child.expect("ready");
        let consumer = queue.consumer().expect("free");
        drop(queue);
        let idle = Numbers::bounded(1).expect("memory");
        assert_eq!(Select::new().get(&idle).get(&consumer).wait_timeout(MOMENT), None);
        child.kill();
        assert_eq!(Select::new().get(&idle).get(&consumer).wait_timeout(LONG), Some(1), "{mode:?}");
        assert_eq!(consumer.try_get(), Err(GetError::PeersGone));
    }
}

#[cfg(feature = "async")]
mod futures {
    use super::*;
    use ringway::AsyncSelect;

    fn run<F: std::future::Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads")
            .block_on(async { tokio::time::timeout(LONG, future).await.expect("in time") })
    }

    #[test]
    fn the_first_of_many_is_named_and_nothing_is_lost() {
        const EACH: u64 = 2000;
        let sandbox = Sandbox::new();
        let options = |at: usize| sandbox.mode(2, MODES[at]).peers_gone(false);
        let queues: Vec<_> = (0..4).map(|at| Numbers::with_options(options(at)).expect("memory")).collect();
        let ends: Vec<_> = queues.iter().map(|queue| queue.consumer().expect("free").into_async()).collect();
        let threads: Vec<_> = queues
            .into_iter()
            .map(|queue| std::thread::spawn(move || (0..EACH).for_each(|number| queue.put(number).expect("open"))))
            .collect();
        let [mut a, mut b, mut c, mut d] = <[_; 4]>::try_from(ends).expect("four");
        run(async move {
            let mut next = [0; 4];
            while next != [EACH; 4] {
                let at = AsyncSelect::new().get(&mut a).get(&mut b).get(&mut c).get(&mut d).await;
                let one = [&a, &b, &c, &d][at];
                match one.inner().try_get() {
                    Ok(number) => {
                        assert_eq!(number, next[at]);
                        next[at] += 1;
                    }
                    Err(error) => assert_eq!(error, GetError::Empty),
                }
            }
        });
        threads.into_iter().for_each(|thread| thread.join().expect("no panic"));
    }

    #[test]
    fn room_and_messages_are_waited_for_at_once() {
        let _sandbox = Sandbox::new();
        let (full, empty) = (Numbers::bounded(1).expect("memory"), Numbers::bounded(1).expect("memory"));
        full.put(1).expect("room");
        let (mut puts, mut gets) =
            (full.producer().expect("free").into_async(), empty.consumer().expect("free").into_async());
        run(async {
            let limit = tokio::time::timeout(MOMENT, AsyncSelect::new().put(&mut puts).get(&mut gets)).await;
            assert!(limit.is_err());
            let (taker, mut both) =
                (full.try_clone().expect("a place"), AsyncSelect::new().put(&mut puts).get(&mut gets));
            let thread = std::thread::spawn(move || taker.get());
            assert_eq!((&mut both).await, 0);
            drop(both);
            assert_eq!(thread.join().expect("no panic"), Ok(1));
            empty.put(2).expect("room");
            assert_eq!(AsyncSelect::new().get(&mut gets).await, 0);
            assert_eq!(gets.get().await, Ok(2));
        });
    }
}
