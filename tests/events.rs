//! Rare events go to the `log` facade, and nothing of the hot path does.

#![cfg(feature = "log")]

mod common;

use common::{Sandbox, hear, tell};
use ringway::PodQueue;
use std::sync::Mutex;

const ROLES: &[common::Role] = &[("hold", role_hold)];

/// Holds a lease of queue `q`.
fn role_hold(_: &[String]) {
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    let _lease = queue.lease().expect("a message");
    tell("ready");
    hear();
}

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Collector;

impl log::Log for Collector {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        SEEN.lock().expect("nobody panics here").push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn seen() -> Vec<String> {
    std::mem::take(&mut SEEN.lock().expect("nobody panics here"))
}

#[test]
fn recoveries_and_sweeps_are_logged_and_operations_are_not() {
    log::set_logger(&Collector).expect("the only one");
    log::set_max_level(log::LevelFilter::Trace);
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
    for n in 0..1000 {
        queue.put(n).expect("room");
        assert_eq!(queue.lease().expect("a message").ack(), Ok(n));
        queue.put(n).expect("room");
        assert_eq!(queue.get(), Ok(n));
    }
    assert!(queue.try_get().is_err());
    assert_eq!(seen(), [""; 0]);
    queue.put(7).expect("room");
    let mut child = sandbox.child("hold", &[]);
    child.expect("ready");
    child.kill();
    assert_eq!(queue.recover().map_err(|error| error.to_string()), Ok(1));
    let events = seen();
    assert!(events.iter().any(|event| event.contains("1 participants had died")), "{events:?}");
    assert_eq!(queue.get(), Ok(7));
    // What the watcher's thread does of itself is told, too.
    queue.put(9).expect("room");
    let mut child = sandbox.child("hold", &[]);
    child.expect("ready");
    ringway::watch(common::pidfd(child.pid())).expect("a thread");
    child.kill();
    common::until(|| seen().iter().any(|event| event.contains("1 participants had died")));
    assert_eq!(queue.get(), Ok(9));
    // The last participant dies: the next queue that is made sweeps.
    queue.put(8).expect("room");
    let mut child = sandbox.child("hold", &[]);
    child.expect("ready");
    drop(queue);
    child.kill();
    assert_eq!(seen(), [""; 0]);
    drop(PodQueue::<u64>::create("other", sandbox.options(4)).expect("a free name"));
    let events = seen();
    assert!(events.iter().any(|event| event.contains("removed stale segment q")), "{events:?}");
}
