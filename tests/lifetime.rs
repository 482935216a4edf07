//! How long a name and its messages live: ephemeral ones as long as one
//! participant, persistent ones until somebody unlinks them, anonymous ones
//! without leaving anything.

mod common;

use common::{MODES, Role, Sandbox, hear, kind, role_unlink, tell};
use ringway::{ByteQueue, GetError, Lifetime, Options, PodQueue, SetupErrorKind as K};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

const ROLES: &[Role] =
    &[("unlink", role_unlink), ("fill", role_fill), ("attach", role_attach), ("anonymous", role_anonymous)];

const NAME: &str = "q";

/// Creates the queue, puts three messages, and stays until it is told to go.
fn role_fill(arguments: &[String]) {
    let lifetime = if arguments[0] == "persistent" { Lifetime::Persistent } else { Lifetime::Ephemeral };
    let mode = MODES[arguments[1].parse::<usize>().expect("a number")];
    let options = Options::new(4).producers(mode.0).consumers(mode.1).lifetime(lifetime);
    let queue = PodQueue::<u32>::create(NAME, options).expect("a free name");
    queue.put_many(&[1, 2, 3]).expect("there is room");
    tell("filled");
    hear();
}

/// A queue whose only participant was killed.
fn bereaved(sandbox: &Sandbox, lifetime: &str, mode: usize) {
    let mut child = sandbox.child("fill", &[lifetime, &mode.to_string()]);
    child.expect("filled");
    child.kill();
    assert_eq!(sandbox.files(), [NAME]);
}

fn open(sandbox: &Sandbox) -> Result<PodQueue<u32>, ringway::SetupError> {
    PodQueue::open_with(NAME, sandbox.here())
}

fn drain(queue: &PodQueue<u32>) -> Vec<u32> {
    queue.try_iter().collect::<Result<_, _>>().expect("good messages")
}

// ---- ephemeral ----

#[test]
fn an_ephemeral_name_goes_with_its_last_participant() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let first = PodQueue::<u32>::create(NAME, sandbox.mode(4, mode)).expect("a free name");
        first.put(1).expect("there is room");
        let second = open(&sandbox).expect("it is there");
        drop(first);
        assert_eq!(sandbox.files(), [NAME]);
        second.put(2).expect("there is room");
        let (producer, consumer) = second.split().expect("both are free");
        drop(producer);
        assert_eq!(sandbox.files(), [NAME]);
        let last = open(&sandbox).expect("an end keeps it alive");
        assert_eq!(consumer.get(), Ok(1));
        drop(consumer);
        let clone = last.try_clone().expect("a place");
        drop(last);
        assert_eq!(sandbox.files(), [NAME]);
        assert_eq!(clone.get(), Ok(2));
        drop(clone);
        assert!(sandbox.files().is_empty());
        assert!(open(&sandbox).expect_err("gone").is_not_found());
    }
}

#[test]
fn a_child_that_ends_is_the_last_participant_too() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("fill", &["ephemeral", "0"]);
    child.expect("filled");
    let queue = open(&sandbox).expect("it is there");
    drop(queue);
    assert_eq!(sandbox.files(), [NAME]);
    child.succeed();
    assert!(sandbox.files().is_empty());
}

#[test]
fn open_adopts_what_the_dead_have_left() {
    for mode in 0..MODES.len() {
        let sandbox = Sandbox::new();
        bereaved(&sandbox, "ephemeral", mode);
        let queue = open(&sandbox).expect("it is adopted");
        assert_eq!((queue.participants(), queue.len()), (1, 3));
        queue.put(4).expect("there is room");
        assert_eq!(drain(&queue), [1, 2, 3, 4]);
        queue.put(5).expect("it goes on");
        assert_eq!(queue.get(), Ok(5));
        drop(queue);
        assert!(sandbox.files().is_empty());
    }
}

#[test]
fn create_replaces_what_the_dead_have_left() {
    for mode in 0..MODES.len() {
        let sandbox = Sandbox::new();
        bereaved(&sandbox, "ephemeral", mode);
        let queue = PodQueue::<u64>::create(NAME, sandbox.options(9)).expect("the name is free");
        assert_eq!((queue.capacity(), queue.len()), (9, 0));
        assert_eq!(queue.try_get(), Err(GetError::Empty));
    }
}

#[test]
fn open_or_create_adopts_what_fits() {
    let sandbox = Sandbox::new();
    bereaved(&sandbox, "ephemeral", 0);
    let queue = PodQueue::<u32>::open_or_create(NAME, sandbox.options(4)).expect("it is adopted");
    assert_eq!(drain(&queue), [1, 2, 3]);
}

#[test]
fn open_or_create_replaces_what_the_dead_have_left_and_does_not_fit() {
    let sandbox = Sandbox::new();
    bereaved(&sandbox, "ephemeral", 0);
    let queue = PodQueue::<u32>::open_or_create(NAME, sandbox.options(5)).expect("it is replaced");
    assert_eq!((queue.capacity(), queue.len()), (5, 0));
}

/// Whoever asks for something else has not become a participant: the messages
/// are still there for one who asks rightly.
#[test]
fn a_refused_open_leaves_the_messages_of_the_dead() {
    let sandbox = Sandbox::new();
    bereaved(&sandbox, "ephemeral", 0);
    for found in [
        kind(PodQueue::<u64>::open_with(NAME, sandbox.here())),
        kind(ByteQueue::open_with(NAME, sandbox.here())),
        kind(PodQueue::<u32>::open_with(NAME, sandbox.options(5))),
    ] {
        assert_is!(found, K::Mismatch { .. });
    }
    let queue = open(&sandbox).expect("it is still there");
    assert_eq!(drain(&queue), [1, 2, 3]);
}

#[test]
fn names_are_used_again_and_again() {
    let sandbox = Sandbox::new();
    for round in 0..200 {
        let queue = PodQueue::<u32>::create(NAME, sandbox.options(2)).expect("a free name");
        assert_eq!(queue.try_get(), Err(GetError::Empty));
        queue.put(round).expect("there is room");
    }
    assert!(sandbox.files().is_empty());
}

// ---- persistent ----

#[test]
fn a_persistent_queue_stays_until_it_is_unlinked() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let options = sandbox.mode(4, mode).lifetime(Lifetime::Persistent);
        let queue = PodQueue::<u32>::create(NAME, options.clone()).expect("a free name");
        queue.put_many(&[1, 2]).expect("there is room");
        drop(queue);
        assert_eq!(kind(PodQueue::<u32>::create(NAME, options.clone())), K::AlreadyExists);
        let queue = PodQueue::<u32>::open_or_create(NAME, options).expect("it is there");
        assert_eq!(queue.get(), Ok(1));
        drop(queue);
        assert_eq!(drain(&open(&sandbox).expect("it is there")), [2]);
        assert_eq!(sandbox.unlink(NAME), "removed");
        assert!(sandbox.files().is_empty());
        assert_eq!(sandbox.unlink(NAME), "NotFound");
    }
}

#[test]
fn a_persistent_queue_survives_the_death_of_all() {
    for mode in 0..MODES.len() {
        let sandbox = Sandbox::new();
        bereaved(&sandbox, "persistent", mode);
        assert_eq!(kind(PodQueue::<u32>::create(NAME, sandbox.options(4))), K::AlreadyExists);
        drop(open(&sandbox).expect("it is there"));
        assert_eq!(drain(&open(&sandbox).expect("it is there")), [1, 2, 3]);
        assert_eq!(sandbox.unlink(NAME), "removed");
    }
}

// ---- unlink ----

/// Opens the queue, and gets what comes until it is closed.
fn role_attach(_: &[String]) {
    let queue = PodQueue::<u32>::open(NAME).expect("it is there");
    tell("attached");
    let got = queue.iter().collect::<Result<Vec<_>, _>>().expect("good messages");
    tell(format_args!("{got:?}"));
}

#[test]
fn those_who_are_in_go_on_after_unlink() {
    for lifetime in [Lifetime::Ephemeral, Lifetime::Persistent] {
        let sandbox = Sandbox::new();
        let old = PodQueue::<u32>::create(NAME, sandbox.options(4).lifetime(lifetime)).expect("a free name");
        let mut child = sandbox.child("attach", &[]);
        child.expect("attached");
        assert_eq!(sandbox.unlink(NAME), "removed");
        assert!(open(&sandbox).expect_err("gone").is_not_found());
        let new = PodQueue::<u32>::create(NAME, sandbox.options(4)).expect("the name is free");
        new.put(100).expect("there is room");
        let end = old.producer().expect("clones are of the old one");
        end.put(1).expect("there is room");
        old.put(2).expect("there is room");
        old.close();
        child.expect("[1, 2]");
        child.succeed();
        drop((old, end));
        // The last one of the old queue leaves the new one's name alone.
        assert_eq!(sandbox.files(), [NAME]);
        assert_eq!(open(&sandbox).expect("it is there").get(), Ok(100));
        assert!(!new.is_closed());
    }
}

// ---- anonymous ----

#[test]
fn an_anonymous_queue_leaves_nothing() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("anonymous", &[]);
    child.expect("nothing left");
    child.succeed();
}

/// Nobody can change its size and, where the kernel knows that seal, nobody can run it.
#[test]
fn an_anonymous_queue_is_sealed() {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    use nix::sys::memfd::{MFdFlags, memfd_create};
    const F_SEAL_EXEC: i32 = 0x20;
    let _sandbox = Sandbox::new();
    let _queue = PodQueue::<u32>::bounded(4).expect("memory");
    let mut wanted = (SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL).bits();
    match memfd_create("probe", MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL)) {
        Ok(_) => wanted |= F_SEAL_EXEC,
        Err(_) => println!("not looked for: this kernel does not know MFD_NOEXEC_SEAL"),
    }
    let mut found = 0;
    for entry in std::fs::read_dir("/proc/self/fd").expect("readable").flatten() {
        let is_ours = |link: std::path::PathBuf| link.to_string_lossy().starts_with("/memfd:ringway");
        if std::fs::read_link(entry.path()).is_ok_and(is_ours) {
            let file = std::fs::File::open(entry.path()).expect("it can be read");
            let seals = fcntl(&file, FcntlArg::F_GET_SEALS).expect("a memory file");
            assert_eq!(seals & wanted, wanted, "{:#x}", seals);
            found += 1;
        }
    }
    assert!(found > 0, "the handle keeps a descriptor");
}

/// In a process of its own, where nobody else opens descriptors.
fn role_anonymous(_: &[String]) {
    let count = |path: &str| std::fs::read_dir(path).expect("readable").count();
    let mappings = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("readable");
        maps.lines().filter(|line| line.contains("memfd:") || line.contains("/dev/shm")).count()
    };
    let directory = std::env::var(common::DIRECTORY_VARIABLE).expect("every child has one");
    let round = |named: bool| {
        let queue = match named {
            true => PodQueue::<u32>::create(NAME, Options::new(4)),
            false => PodQueue::<u32>::bounded(4),
        };
        let queue = queue.expect("memory");
        assert_eq!(queue.name().is_some(), named);
        assert_eq!(Path::new(&directory).join(NAME).exists(), named);
        let clone = queue.try_clone().expect("a place");
        let (producer, consumer) = queue.split().expect("both are free");
        producer.put(1).expect("there is room");
        assert_eq!(clone.participants(), 3);
        assert_eq!(consumer.get(), Ok(1));
        assert!(mappings() > 0, "the count counts");
    };
    // The first queue of a process makes what the process keeps.
    round(false);
    let before = (count("/proc/self/fd"), mappings());
    for named in [false, true] {
        (0..100).for_each(|_| round(named));
    }
    assert_eq!((count("/proc/self/fd"), mappings()), before);
    assert_eq!((before.1, count(&directory)), (0, 0));
    tell("nothing left");
}

/// Somebody who is stopped in the middle of opening or removing a queue holds nobody up for good,
/// and those who are in not at all.
#[test]
fn a_lock_that_is_held_for_long_makes_openers_give_up() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::create(NAME, sandbox.options(4)).expect("a free name");
    let file = std::fs::File::options().read(true).write(true).open(sandbox.file(NAME)).expect("it is there");
    let lock = |kind: libc::c_int| {
        // The byte that who opens holds shared, and who removes alone.
        let byte = libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 1, l_pid: 0 };
        nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_OFD_SETLK(&byte)).expect("nobody holds it");
    };
    lock(libc::F_WRLCK);
    for attempt in [
        |sandbox: &Sandbox| kind(open(sandbox)),
        |sandbox: &Sandbox| kind(PodQueue::<u32>::open_or_create(NAME, sandbox.options(4))),
    ] {
        let (said, took) = common::timed(|| attempt(&sandbox));
        assert_is!(said, K::Busy);
        // Half a second, and whatever this machine does besides.
        assert!(took < Duration::from_secs(3), "{took:?}");
        queue.put(1).expect("there is room");
        assert_eq!(queue.get(), Ok(1));
        assert_eq!(queue.try_clone().expect("a participant is in already").len(), 0);
    }
    lock(libc::F_UNLCK);
    assert_eq!(open(&sandbox).expect("nobody is in the way").len(), 0);
}

/// Dropping any participant first, in any order, leaves a queue that works.
#[test]
fn the_order_of_dropping_does_not_matter() {
    for mode in MODES {
        for order in 0..6 {
            let sandbox = Sandbox::new();
            let handle = PodQueue::<u32>::create(NAME, sandbox.mode(4, mode)).expect("a free name");
            let (producer, consumer) = (handle.producer().expect("free"), handle.consumer().expect("free"));
            producer.put(1).expect("there is room");
            let mut parts: Vec<Box<dyn std::any::Any>> = vec![Box::new(handle), Box::new(producer), Box::new(consumer)];
            drop(parts.remove(order % 3));
            drop(parts.remove(order / 3));
            assert_eq!(sandbox.files(), [NAME]);
            let late = open(&sandbox).expect("one is left");
            drop(parts);
            assert_eq!(drain(&late), [1]);
            drop(late);
            assert!(sandbox.files().is_empty(), "{mode:?} {order}");
        }
    }
}

/// A process that is started by another thread inherits, until it executes its
/// program, whatever is open at that moment. That must not keep a name alive.
#[test]
fn processes_that_start_meanwhile_keep_no_name_alive() {
    const ROUNDS: usize = 2000;
    let sandbox = Sandbox::new();
    let ended = AtomicBool::new(false);
    let (mut left, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Relaxed) {
                std::process::Command::new("/bin/true").status().expect("it can be started");
            }
        });
        for _ in 0..ROUNDS {
            match PodQueue::<u32>::create(NAME, sandbox.options(1)) {
                Ok(queue) => drop(queue),
                Err(_) => refused += 1,
            }
            left += sandbox.files().len();
        }
        ended.store(true, Relaxed);
    });
    // With nobody starting processes any more, the name can be had again.
    drop(PodQueue::<u32>::create(NAME, sandbox.options(1)).expect("free, or nobody lives"));
    assert_eq!((left, refused), (0, 0), "of {ROUNDS} names: left by their last participant, refused to the next");
}
