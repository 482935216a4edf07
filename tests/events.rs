//! Rare events go to the `log` facade, and nothing of the hot path does.

#![cfg(feature = "log")]
#![allow(unsafe_code)]

mod common;

use common::{Sandbox, hear, refuse::refuse, tell};
use ringway::{GetError, PodQueue};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

#[cfg(feature = "serde")]
ringway::test_support!();

const ROLES: &[common::Role] =
    &[("hold", role_hold), ("poisoned", role_poisoned), ("refused", role_refused), ("closing", role_closing)];

/// Holds a lease of a queue.
fn role_hold(arguments: &[String]) {
    let queue = PodQueue::<u64>::open(&arguments[0]).expect("it is there");
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

fn begin_to_log() {
    log::set_logger(&Collector).expect("the only one");
    log::set_max_level(log::LevelFilter::Trace);
}

/// Says all that was logged, on one line.
fn tell_events() {
    tell(seen().join("; "));
}

/// Every stamp of queue `q` says what cannot be.
fn damage(path: &Path) {
    let bytes = std::fs::read(path).expect("readable");
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    let regions = (0..(word(56) >> 32) as usize).map(|region| 264 + 24 * region);
    let slots = regions.into_iter().find(|at| word(*at) as u32 == 4).expect("it has slots");
    let words = vec![u64::MAX >> 1; word(slots + 16) as usize / 8];
    let file = std::fs::OpenOptions::new().write(true).open(path).expect("writable");
    file.write_all_at(bytemuck::cast_slice(&words), word(slots + 8)).expect("writable");
}

/// A handle that meets a contradiction says so once.
fn role_poisoned(arguments: &[String]) {
    begin_to_log();
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    damage(Path::new(&arguments[0]));
    for _ in 0..3 {
        assert_eq!(queue.try_get(), Err(GetError::Corrupt));
    }
    tell_events();
}

/// Without membarrier sleeps are short.
fn role_refused(_: &[String]) {
    if !refuse(libc::SYS_membarrier, libc::EPERM) {
        return tell("no filters");
    }
    begin_to_log();
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    queue.put(1).expect("room");
    tell_events();
}

/// Somebody closes descriptors that are not his.
fn role_closing(_: &[String]) {
    begin_to_log();
    let queue = PodQueue::<u64>::open("q").expect("it is there");
    // SAFETY: closes the descriptors of this process, which has one thread and uses none
    // above the standard ones but through what is tested here.
    assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) }, 0);
    assert_eq!(queue.recover().expect("opened again"), 0);
    tell_events();
}

#[test]
fn poisoned_handles_and_fall_backs_are_logged() {
    for (role, event) in [
        ("poisoned", "contradicts itself: this handle gives up"),
        ("refused", "membarrier is refused here"),
        ("closing", "was closed behind our back"),
    ] {
        let sandbox = Sandbox::new();
        let _queue = PodQueue::<u64>::create("q", sandbox.options(4)).expect("a free name");
        let mut child = sandbox.child(role, &[&sandbox.file("q").display().to_string()]);
        let events = child.line();
        child.succeed();
        if events == "no filters" {
            common::skip("no filters here");
            continue;
        }
        assert_eq!(events.matches(event).count(), 1, "{role}: {events}");
    }
}

#[test]
fn recoveries_and_sweeps_are_logged_and_operations_are_not() {
    begin_to_log();
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
    let mut child = sandbox.child("hold", &["q"]);
    child.expect("ready");
    child.kill();
    assert_eq!(queue.recover().map_err(|error| error.to_string()), Ok(1));
    let events = seen();
    assert!(events.iter().any(|event| event.contains("1 participants had died")), "{events:?}");
    assert_eq!(queue.get(), Ok(7));
    // What the watcher's thread does of itself is told, too.
    queue.put(9).expect("room");
    let mut child = sandbox.child("hold", &["q"]);
    child.expect("ready");
    ringway::watch(common::pidfd(child.pid())).expect("a thread");
    child.kill();
    common::until(|| seen().iter().any(|event| event.contains("1 participants had died")));
    assert_eq!(queue.get(), Ok(9));
    // So does a newcomer, who takes the place of a dead one.
    let small = PodQueue::<u64>::create("small", sandbox.options(4).max_participants(2)).expect("a free name");
    small.put(5).expect("room");
    let mut child = sandbox.child("hold", &["small"]);
    child.expect("ready");
    child.kill();
    assert_eq!(seen(), [""; 0]);
    let newcomer = small.try_clone().expect("the dead one's place");
    let events = seen();
    assert!(events.iter().any(|event| event.contains("1 participants had died")), "{events:?}");
    assert_eq!(newcomer.get(), Ok(5));
    // The last participant dies: the next queue that is made sweeps.
    queue.put(8).expect("room");
    let mut child = sandbox.child("hold", &["q"]);
    child.expect("ready");
    drop(queue);
    child.kill();
    assert_eq!(seen(), [""; 0]);
    drop(PodQueue::<u64>::create("other", sandbox.options(4)).expect("a free name"));
    let events = seen();
    assert!(events.iter().any(|event| event.contains("removed stale segment q")), "{events:?}");
}

/// What a child of `Process` logs begins with its name.
#[cfg(feature = "serde")]
#[test]
fn the_lines_of_a_child_carry_its_name() {
    let poisoned = |directory: String| {
        begin_to_log();
        let options = ringway::Options::new(4).directory(&directory);
        let queue = PodQueue::<u64>::create("q", options).expect("there is room");
        damage(&Path::new(&directory).join("q"));
        assert_eq!(queue.try_get(), Err(GetError::Corrupt));
        seen()
    };
    let sandbox = Sandbox::new();
    let directory = sandbox.path().to_str().expect("plain").to_owned();
    let mut process = ringway::Process::new(poisoned, (directory,)).name("Unlucky");
    process.start().expect("starts");
    let lines = process.result().expect("returns");
    assert!(!lines.is_empty() && lines.iter().all(|line| line.starts_with("Unlucky: ")), "{lines:?}");
}

/// What a pool keeps from its callers: that a callback panics, and errors that nobody asks for.
#[cfg(feature = "serde")]
#[test]
fn what_a_pool_keeps_to_itself_is_logged() {
    fn swallows() -> (Vec<String>, u64) {
        begin_to_log();
        let pool = ringway::Pool::builder().workers(1).name("Ours").build().expect("a pool");
        for n in 0..10_u32 {
            let job = pool.apply_async(|n: u32| n, (n,)).expect("it is open");
            job.on_done(move |result| assert!(n % 4 != 1, "{result:?} is not to my taste"));
        }
        drop(pool.apply_async(|| -> () { panic!("unheard") }, ()).expect("it is open"));
        pool.close();
        // Which waits for the callbacks, too.
        pool.join().expect("it is closed");
        (seen(), pool.stats().callbacks_panicked)
    }
    let mut process = ringway::Process::new(swallows, ()).stderr(ringway::Stream::Null);
    process.start().expect("starts");
    let (lines, counted) = process.result().expect("returns");
    let about = |what: &str| lines.iter().filter(|line| line.contains(what)).count() as u64;
    assert_eq!((about("a callback of a pool has panicked"), counted), (3, 3), "{lines:?}");
    assert_eq!(about("pool Ours: a job that nobody asked for has failed: the function panicked"), 1, "{lines:?}");
    assert_eq!(lines.len(), 4, "and nothing else: {lines:?}");
}
