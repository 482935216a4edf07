//! Looking inside a queue from outside: in use, dead, damaged, anonymous; with what is unfinished
//! and who has it.

mod common;

use common::holder::{HOLD, hold};
use common::load::Dice;
use common::{MODES, Role, Sandbox, hear, side_name, tell, until};
use ringway::admin::{self, Life, Location};
use ringway::{ByteQueue, Lifetime, Options, PodQueue, Side, WaitPolicy};
use std::fs;
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[HOLD, ("anonymous", role_anonymous), ("work", role_work)];

fn forget(sandbox: &Sandbox, names: &[&str]) {
    names.iter().for_each(|name| fs::remove_file(sandbox.file(name)).expect("it is there"));
}

/// The bytes of a queue's file. Where it lived nobody else has been.
fn segment(options: &Options) -> Vec<u8> {
    let elsewhere = tempfile::tempdir_in("/dev/shm").expect("writable");
    let queue = PodQueue::<u32>::create("q", options.clone().directory(elsewhere.path())).expect("a free name");
    queue.put(7).expect("there is room");
    fs::read(elsewhere.path().join("q")).expect("readable")
}

fn inspect(sandbox: &Sandbox, name: &str) -> admin::Snapshot {
    admin::inspect(Some(sandbox.path()), &name.parse().expect("a name")).expect("a queue")
}

#[test]
fn a_queue_in_use_is_shown_as_it_is() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.mode(5, mode)).expect("a free name");
        let (producer, consumer) = queue.split().expect("both are free");
        // More than a lap, so that every word has moved.
        for n in 0..7 {
            producer.put(n).expect("there is room");
            assert_eq!(consumer.get(), Ok(n));
        }
        (0..3).for_each(|n| producer.put(n).expect("there is room"));
        let seen = inspect(&sandbox, "q");
        assert!(seen.problems.is_empty(), "{mode:?}: {:?}", seen.problems);
        assert_eq!((seen.facts.producers, seen.facts.consumers), mode);
        assert_eq!((seen.facts.capacity, seen.facts.creator), (5, std::process::id()));
        assert!(seen.facts.age() < Duration::from_secs(60));
        let ring = seen.ring.expect("it has its words");
        assert_eq!((ring.depth, ring.puts, ring.gets, ring.closed), (3, 10, 7, false), "{mode:?}");
        assert!(ring.unfinished.is_empty() && !ring.partly_searched, "{mode:?} {ring:?}");
        assert_eq!(ring.producer.map(|h| (h.pid, h.alive)), holder(mode.0), "{mode:?}");
        assert_eq!(ring.consumer.map(|h| (h.pid, h.alive)), holder(mode.1), "{mode:?}");
        assert_eq!(seen.participants.len(), 2);
        for one in &seen.participants {
            assert_eq!((one.pid, one.life), (std::process::id(), Life::Alive));
            assert!(one.attached.is_some() && one.asleep_for.is_none());
            let done = if one.is_producer { (10, 0) } else { (0, 7) };
            assert_eq!((one.puts, one.gets, one.is_consumer), (done.0, done.1, !one.is_producer), "{mode:?}");
        }
        producer.close();
        let listed = admin::list(Some(sandbox.path())).expect("the directory is ours").remove(0);
        let summary = listed.queue.expect("a queue");
        assert_eq!((summary.depth, summary.closed, summary.alive, summary.dead), (Some(3), true, 2, 0), "{mode:?}");
        assert_eq!(summary.facts, seen.facts);
    }
}

fn holder(side: Side) -> Option<(u32, bool)> {
    (side == Side::Single).then_some((std::process::id(), true))
}

/// Messages of every size and number to a stamp, every place in the ring.
#[test]
fn the_depth_is_right_everywhere() {
    fn check<T: ringway::Plain + Default>(sandbox: &Sandbox) {
        for mode in MODES {
            let queue = PodQueue::<T>::create("q", sandbox.mode(9, mode)).expect("a free name");
            for lap in 0..30 {
                for _ in 0..lap % 10 {
                    queue.put(T::default()).expect("there is room");
                }
                let depth = inspect(sandbox, "q").ring.expect("it has its words").depth;
                assert_eq!(depth as usize, queue.len(), "{mode:?} {lap}");
                assert!(queue.try_iter().all(|got| got.is_ok()));
            }
        }
    }
    let sandbox = Sandbox::new();
    check::<u8>(&sandbox);
    check::<[u64; 2]>(&sandbox);
    check::<[u64; 3]>(&sandbox);
    check::<[u64; 15]>(&sandbox);
}

#[test]
fn a_dead_queue_is_shown_as_it_was_left() {
    for (at, mode) in MODES.into_iter().enumerate() {
        let sandbox = Sandbox::new();
        // The role gives the queues of its names the modes in turn.
        let names = ["p0", "p1", "p2", "p3"];
        hold(&sandbox, &names).kill();
        let seen = inspect(&sandbox, names[at]);
        assert_eq!((seen.facts.producers, seen.facts.consumers), mode);
        assert_eq!(seen.facts.lifetime, Lifetime::Persistent);
        let ring = seen.ring.expect("it has its words");
        assert_eq!((ring.depth, ring.puts, ring.gets), (1, 1, 0), "{}/{}", side_name(mode.0), side_name(mode.1));
        assert_eq!(ring.producer.map(|h| h.alive), (mode.0 == Side::Single).then_some(false));
        assert_eq!(seen.participants.len(), 1);
        assert_eq!(seen.participants[0].life, Life::Dead);
        let summary = admin::list(Some(sandbox.path())).expect("ours").remove(at).queue.expect("a queue");
        assert_eq!((summary.alive, summary.dead), (0, 1));
        forget(&sandbox, &names);
    }
}

/// Blocks: what they are used for, and by whom.
#[test]
fn blocks_are_shown_with_who_has_them() {
    let sandbox = Sandbox::new();
    let options = sandbox.options(4).max_message(4096).arena(64 << 10);
    let queue = ByteQueue::create("q", options).expect("a free name");
    let count = |seen: &admin::Snapshot| {
        let sum = |of: fn(&admin::BlockClass) -> u64| seen.blocks.iter().map(of).sum::<u64>();
        [sum(|c| c.free), sum(|c| c.writing), sum(|c| c.queued), sum(|c| c.leased), sum(|c| c.reading)]
    };
    let all = count(&inspect(&sandbox, "q"))[0];
    assert!(all > 6, "{all}");
    (0..3).for_each(|_| queue.put(&[1; 1000]).expect("room"));
    queue.put(b"short").expect("room");
    let other = queue.try_clone().expect("a place");
    let (first, second) = (other.reserve(4096).expect("room"), other.reserve(100).expect("room"));
    let lease = queue.lease().expect("there");
    let seen = inspect(&sandbox, "q");
    assert_eq!(count(&seen), [all - 5, 2, 2, 1, 0]);
    let held: Vec<u64> = seen.participants.iter().map(|one| one.blocks).collect();
    assert_eq!(held, [0, 2], "{:?}", seen.participants);
    assert_eq!(seen.leases.len(), 1);
    drop((first, second, lease));
    assert_eq!(count(&inspect(&sandbox, "q")), [all - 3, 0, 2, 1, 0], "it came back");
    assert_eq!(queue.try_iter().filter(Result::is_ok).count(), 4);
    assert_eq!(count(&inspect(&sandbox, "q")), [all, 0, 0, 0, 0]);
}

/// A claim that nobody finishes is told, with the participant that announced it.
#[test]
fn what_is_unfinished_is_found_with_its_holder() {
    let sandbox = Sandbox::new();
    hold(&sandbox, &["p0"]).kill();
    let path = sandbox.file("p0");
    let mut bytes = fs::read(&path).expect("readable");
    // As if it had died in its second put: tail moved, intent at its place, stamp not written.
    let region = |kind: u32| {
        let directory = bytes[264..1024].chunks(24);
        let found = directory.into_iter().find(|region| region[..4] == kind.to_le_bytes()).expect("it has one");
        u64::from_le_bytes(found[8..16].try_into().expect("eight bytes")) as usize
    };
    let (ring, participants) = (region(1), region(3));
    bytes[ring..ring + 8].copy_from_slice(&10u64.to_le_bytes());
    bytes[participants..participants + 8].copy_from_slice(&9u64.to_le_bytes());
    bytes[participants + 8..participants + 16].copy_from_slice(&1u64.to_le_bytes());
    fs::write(&path, &bytes).expect("writable");
    let seen = inspect(&sandbox, "p0");
    let ring = seen.ring.expect("it has its words");
    assert_eq!(ring.unfinished.len(), 1);
    let pause = &ring.unfinished[0];
    assert_eq!((pause.position, pause.operation, pause.holders.as_slice()), (9, admin::Operation::Put, &[0][..]));
    assert_eq!(seen.participants[0].put_intent.as_ref().expect("announced").unfinished, [9]);
    forget(&sandbox, &["p0"]);
}

/// 128 KiB: it takes a while to put and to get.
type Slab = [u64; 16384];

/// Puts and gets without end.
fn role_work(_: &[String]) {
    let queue = PodQueue::<Slab>::open("q").expect("it is there");
    tell("ready");
    loop {
        queue.put([1; 16384]).expect("there is room");
        queue.get().expect("it was put");
    }
}

/// Who is stopped in the middle of a put or a get is shown with it, while it lives, when it is dead, and
/// no more once it was looked after.
#[test]
fn who_is_stopped_or_killed_in_the_middle_is_shown_with_it() {
    use Side::{Multi, Single};
    use admin::Operation::{Get, Put};
    const TRIES: usize = 1000;
    // A Single consumer claims nothing, nor does a Single producer beside one.
    for (sides, wanted) in [
        ((Multi, Multi), Put),
        ((Multi, Multi), Get),
        ((Single, Multi), Put),
        ((Single, Multi), Get),
        ((Multi, Single), Put),
    ] {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<Slab>::create("q", sandbox.mode(4, sides)).expect("a free name");
        let mut dice = Dice::new(9);
        let mut child = sandbox.child("work", &[]);
        child.expect("ready");
        let stopped = (0..TRIES).find_map(|_| {
            child.stop();
            let seen = inspect(&sandbox, "q");
            let is_at_it =
                seen.ring.as_ref().is_some_and(|ring| ring.unfinished.iter().any(|at| at.operation == wanted));
            if !is_at_it {
                // From here it has some way to go before it is stopped again.
                let gets = || inspect(&sandbox, "q").ring.map(|ring| ring.gets);
                let before = gets();
                child.go_on();
                until(|| gets() != before);
                std::thread::sleep(Duration::from_micros(dice.below(200)));
            }
            is_at_it.then_some(seen)
        });
        let what = format!("{sides:?}, {wanted:?}");
        let mut seen = stopped.unwrap_or_else(|| panic!("{what}: not stopped in the middle, in {TRIES} times"));
        let pid = child.pid();
        let look = |seen: &admin::Snapshot, life| {
            let ring = seen.ring.as_ref().expect("it has its words");
            let [at] = &ring.unfinished[..] else { panic!("{what}: {ring:?}") };
            let [holder] = at.holders[..] else { panic!("{what}: {at:?}") };
            let one = seen.participants.iter().find(|one| one.index == holder).expect("it is there");
            assert_eq!((at.operation, one.pid, one.life), (wanted, pid, life), "{what}");
            let is_announced = |intent: &Option<admin::Intent>| intent.as_ref().map(|intent| intent.unfinished.clone());
            let position = Some(vec![at.position]);
            if wanted == Get {
                assert_eq!(is_announced(&one.get_intent), position, "{what}");
            } else if sides.0 == Multi {
                assert_eq!(is_announced(&one.put_intent), position, "{what}");
            } else {
                // Its stamp alone says so.
                let alive = life == Life::Alive;
                assert_eq!(ring.producer.map(|one| (one.pid, one.alive)), Some((pid, alive)), "{what}");
            }
            at.position
        };
        let position = look(&seen, Life::Alive);
        assert_eq!(queue.recover().expect("a descriptor"), 0, "{what}: it lives");
        child.kill();
        seen = inspect(&sandbox, "q");
        assert_eq!(look(&seen, Life::Dead), position, "{what}");
        assert_eq!(queue.recover().expect("a descriptor"), 1, "{what}");
        let ring = inspect(&sandbox, "q").ring.expect("it has its words");
        assert_eq!((ring.unfinished.len(), ring.redeliveries), (0, u64::from(wanted == Get)), "{what}");
    }
}

#[test]
fn leases_are_shown_with_their_holders() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(5)).expect("a free name");
    (0..3).for_each(|n| queue.put(n).expect("there is room"));
    let first = queue.lease().expect("a message");
    let second = queue.lease().expect("a message");
    let id = second.id();
    drop(second);
    let seen = inspect(&sandbox, "q");
    let leases: Vec<_> = seen.leases.iter().map(|lease| (lease.position, lease.holder, lease.redelivered)).collect();
    assert_eq!((leases[0], leases.len()), ((first.id(), Some(0), 0), 2));
    assert_eq!((leases[1].0, leases[1].1), (id, None));
    assert!(seen.leases[0].held_for.is_some_and(|time| time < Duration::from_secs(60)));
    assert_eq!(seen.ring.expect("it has its words").depth, 1);
    first.ack().expect("it is ours");
}

/// Any bytes: an answer, in time, and nothing else happens.
/// What a look says, and what has passed of the test at least and at most when it was made.
fn timed<R>(begun: Instant, look: impl FnOnce() -> R) -> (Duration, R, Duration) {
    let least = begun.elapsed();
    let seen = look();
    (least, seen, begun.elapsed())
}

/// Since when is exact: it lies between two readings of the clock.
#[test]
fn times_are_those_that_have_passed() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.mode(5, MODES[0])).expect("a free name");
    let sleeper = queue.consumer().expect("a place");
    sleeper.set_wait_policy(WaitPolicy::Park);
    let begun = Instant::now();
    const MESSAGES: u64 = 20;
    let thread = std::thread::spawn(move || (0..MESSAGES).map(|_| sleeper.get()).collect::<Result<Vec<_>, _>>());
    let asleep = || {
        let mut seen = inspect(&sandbox, "q").participants;
        let at = seen.iter().position(|one| one.is_consumer && !one.is_producer).expect("it is there");
        let one = seen.swap_remove(at);
        (one.sleeps, one.asleep_for)
    };
    // Two looks at the same sleep, which lasts for a slice.
    loop {
        let (before, (first_sleep, first), until) = timed(begun, asleep);
        std::thread::sleep(Duration::from_millis(5));
        let (from, (second_sleep, second), after) = timed(begun, asleep);
        let (Some(first), Some(second)) = (first, second) else { continue };
        assert!(first <= until && second <= after, "it has slept for longer than it is there");
        if first_sleep == second_sleep {
            let passed = second - first;
            assert!(from - until <= passed && passed <= after - before, "{passed:?} of {from:?} to {after:?}");
            break;
        }
    }
    for number in 0..MESSAGES {
        common::until(|| asleep().1.is_some());
        queue.put(number).expect("there is room");
    }
    assert_eq!(thread.join().expect("no panic"), Ok((0..MESSAGES).collect()));
    let wakes: u64 = inspect(&sandbox, "q").participants.iter().map(|one| one.wakes).sum();
    assert!((1..=MESSAGES).contains(&wakes), "{wakes} of {MESSAGES} puts have woken it");

    queue.put(2).expect("there is room");
    let (least, lease, most) = timed(begun, || queue.lease().expect("a message"));
    std::thread::sleep(Duration::from_millis(5));
    let (from, held, to) = timed(begun, || inspect(&sandbox, "q").leases[0].held_for.expect("it is held"));
    assert!(from - most <= held && held <= to - least, "{held:?} of {from:?} to {to:?}");
    assert_eq!(lease.ack(), Ok(2));
}

#[test]
fn damaged_queues_can_be_looked_at() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        let whole = segment(&sandbox.mode(64, mode));
        for round in 0..300_usize {
            let mut bytes = whole.clone();
            // Patterns of damage, not random: every word of header, ring and participants in turn.
            let at = (round * 64) % bytes.len();
            let fill = [0x00, 0xff, 0x7f, 0x80][round % 4];
            bytes[at..(at + 64).min(whole.len())].fill(fill);
            if round % 3 == 0 {
                bytes.truncate(whole.len() / (1 + round % 7) + round);
            }
            fs::write(sandbox.file("x"), &bytes).expect("writable");
            let name = "x".parse().expect("a name");
            let _ = admin::inspect(Some(sandbox.path()), &name);
            let _ = admin::list(Some(sandbox.path())).expect("the directory is ours");
            assert_eq!(fs::read(sandbox.file("x")).expect("readable"), bytes, "looking changes nothing");
        }
    }
    forget(&sandbox, &["x"]);
}

#[test]
fn anonymous_queues_are_found_in_their_processes() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("anonymous", &[]);
    child.expect("ready");
    let own = |listed: &admin::Listed| matches!(listed.location, Location::Anonymous { pid, .. } if pid == child.pid());
    let listed: Vec<_> = admin::list_anonymous().into_iter().filter(own).collect();
    assert_eq!(listed.len(), 1, "{listed:?}");
    let summary = listed[0].queue.as_ref().expect("a queue");
    assert_eq!((summary.facts.capacity, summary.depth, summary.alive), (16, Some(2), 3));
    let seen = admin::inspect(None, &listed[0].location.to_string().parse().expect("PID/FD")).expect("a queue");
    assert_eq!(seen.facts, summary.facts);
    assert_eq!(seen.participants.len(), 3);
    for other in [format!("{}/99999", child.pid()), "4000000000/3".into()] {
        let location = other.parse().expect("PID/FD");
        assert!(admin::inspect(None, &location).expect_err("nothing there").is_not_found(), "{other}");
    }
    // Its standard input is a pipe.
    let location = format!("{}/0", child.pid()).parse().expect("PID/FD");
    assert!(admin::inspect(None, &location).is_err());
    child.succeed();
}

fn role_anonymous(_: &[String]) {
    let queue = PodQueue::<u16>::bounded(16).expect("memory");
    let clones = [queue.try_clone().expect("a place"), queue.try_clone().expect("a place")];
    clones.iter().for_each(|clone| clone.put(1).expect("there is room"));
    tell("ready");
    hear();
}

#[test]
fn locations_are_names_or_descriptors() {
    assert_eq!("12/3".parse::<Location>().expect("PID/FD"), named("12/3"));
    assert_eq!("jobs".parse::<Location>().expect("a name").to_string(), "jobs");
    for bad in ["", ".", "..", "a/b", "1/", "/1", "1/2/3", "-1/2", "a\0"] {
        assert!(bad.parse::<Location>().is_err(), "{bad:?}");
    }
}

/// What a location says when it is shown.
fn named(text: &str) -> Location {
    let location: Location = text.parse().expect("a location");
    assert_eq!(location.to_string(), text);
    assert_is!(&location, Location::Anonymous { .. });
    location
}
