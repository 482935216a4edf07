//! Waiting: who sleeps costs nothing, wakes at once, and not too early; and
//! nobody asks the system for anything while nobody sleeps.

#![allow(unsafe_code)]

mod common;

use common::{Child, POLICIES, Role, Sandbox, hear, policy_named, tell, thread_id, timed, until_asleep};
use ringway::{GetError, Options, PodQueue, PutError, Side, WaitPolicy};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROLES: &[Role] = &[
    ("idle", role_idle),
    ("sleep", role_sleep),
    ("sleep-for-ever", role_sleep_for_ever),
    ("million", role_million),
    ("stormed", role_stormed),
];

// ---- sleeping costs nothing ----

/// The processor time that this process, which has one thread, has used.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/schedstat").expect("proc is mounted");
    Duration::from_nanos(stat.split(' ').next().and_then(|n| n.parse().ok()).expect("nanoseconds first"))
}

/// Blocks in one operation until the queue is closed, and says what it cost.
fn role_idle(arguments: &[String]) {
    let [name, policy] = arguments else { panic!("two arguments") };
    let options = Options::default().wait_policy(policy_named(policy));
    let queue = PodQueue::<u32>::open_with(name, options).expect("it is there");
    tell("begun");
    let (before, begun) = (processor_time(), Instant::now());
    match name.as_str() {
        "empty" => assert_eq!(queue.get(), Err(GetError::Closed)),
        _ => assert_eq!(queue.put(1), Err(PutError::Closed(1))),
    }
    let used = processor_time().saturating_sub(before);
    tell(format_args!("{} {}", used.as_nanos(), begun.elapsed().as_nanos()));
}

#[test]
fn who_sleeps_uses_next_to_no_processor_time() {
    const LIMIT: f64 = 0.002;
    // Interrupts and other programs are charged to whoever they interrupt, so a
    // sleeper may look busier than it is, never idler: the least of three counts.
    let mut least: Vec<(String, f64)> = Vec::new();
    for _ in 0..3 {
        let shares = idle_shares(Duration::from_secs(3));
        if least.is_empty() {
            least = shares;
        } else {
            least.iter_mut().zip(shares).for_each(|(least, (_, share))| least.1 = least.1.min(share));
        }
        if least.iter().all(|(_, share)| *share < LIMIT) {
            break;
        }
    }
    for (what, share) in least {
        println!("{what}: {:.4} % of a core", share * 100.0);
        assert!(share < LIMIT, "{what}: {share}");
    }
}

/// The share of a core that sleepers of each kind use.
fn idle_shares(idle: Duration) -> Vec<(String, f64)> {
    let sandbox = Sandbox::new();
    let empty = PodQueue::<u32>::create("empty", sandbox.options(4)).expect("a free name");
    let full = PodQueue::<u32>::create("full", sandbox.options(1)).expect("a free name");
    full.put(0).expect("there is room");
    let mut children = Vec::new();
    for name in ["empty", "full"] {
        for policy in ["default", "park"] {
            let mut child = sandbox.child("idle", &[name, policy]);
            child.expect("begun");
            children.push((format!("{name}, {policy}"), child));
        }
    }
    std::thread::sleep(idle);
    empty.close();
    full.close();
    let mut shares = Vec::new();
    for (what, mut child) in children {
        let line = child.line();
        let numbers: Vec<f64> = line.split(' ').map(|n| n.parse().expect("nanoseconds")).collect();
        child.succeed();
        shares.push((what, numbers[0] / numbers[1]));
    }
    shares
}

#[test]
fn the_measure_of_processor_time_sees_who_spins() {
    let sandbox = Sandbox::new();
    let empty = PodQueue::<u32>::create("empty", sandbox.options(4)).expect("a free name");
    let mut child = sandbox.child("idle", &["empty", "spin"]);
    child.expect("begun");
    std::thread::sleep(Duration::from_millis(200));
    empty.close();
    let line = child.line();
    let numbers: Vec<f64> = line.split(' ').map(|n| n.parse().expect("nanoseconds")).collect();
    child.succeed();
    assert!(numbers[0] / numbers[1] > 0.1, "{line}");
}

// ---- being woken ----

/// Sleeps in one operation after the other, and says what each brought.
fn role_sleep(arguments: &[String]) {
    let [what, policy] = arguments else { panic!("two arguments") };
    let options = Options::default().wait_policy(policy_named(policy));
    let queue = PodQueue::<u32>::open_with("q", options).expect("it is there");
    tell(thread_id());
    loop {
        let outcome = match what.as_str() {
            "get" => queue.get().map(|value| value.to_string()).map_err(|error| format!("{error:?}")),
            _ => queue.put(7).map(|()| "put".to_owned()).map_err(|error| format!("{error:?}")),
        };
        match outcome {
            Ok(brought) => tell(brought),
            Err(error) => return tell(error),
        }
    }
}

/// Long before the slice ends in which a missed wake-up would be found.
const PROMPT: Duration = Duration::from_millis(20);
const WAKES: u32 = 15;

#[test]
fn a_sleeper_in_another_process_is_woken_at_once() {
    for policy in ["default", "park"] {
        for (what, mode) in [
            ("get", (Side::Multi, Side::Multi)),
            ("get", (Side::Single, Side::Single)),
            ("put", (Side::Multi, Side::Multi)),
            ("put", (Side::Single, Side::Single)),
        ] {
            let sandbox = Sandbox::new();
            let queue = PodQueue::<u32>::create("q", sandbox.mode(1, mode)).expect("a free name");
            let mut child = sandbox.child("sleep", &[what, policy]);
            let thread: i32 = child.line().parse().expect("a thread");
            if what == "put" {
                child.expect("put");
            }
            let mut took = Vec::new();
            for value in 0..WAKES {
                until_asleep(child.pid(), thread);
                let expected = if what == "get" { value.to_string() } else { "put".to_owned() };
                let ((), time) = timed(|| {
                    if what == "get" {
                        queue.put(value).expect("there is room");
                    } else {
                        queue.get().expect("a message");
                    }
                    child.expect(&expected);
                });
                took.push(time);
            }
            took.sort();
            assert!(took[took.len() / 2] < PROMPT, "{what}, {policy}, {mode:?}: {took:?}");
            until_asleep(child.pid(), thread);
            let ((), time) = timed(|| {
                queue.close();
                child.expect(if what == "get" { "Closed" } else { "Closed(..)" });
            });
            assert!(time < 5 * PROMPT, "{what}, {policy}, {mode:?}: {time:?} for the close");
            child.succeed();
        }
    }
}

// ---- one message, one sleeper ----

/// How often a thread gave its processor up by itself.
fn times_slept(process: u32, thread: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/task/{thread}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).expect("the kernel counts")
}

/// D2. A message wakes one of those who sleep, and not all.
#[test]
fn a_message_wakes_one_sleeper() {
    const SLEEPERS: usize = 4;
    const MESSAGES: u64 = 40;
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::create("q", sandbox.options(8)).expect("a free name");
    let mut children: Vec<_> = (0..SLEEPERS).map(|_| sandbox.child("sleep", &["get", "park"])).collect();
    let sleepers: Vec<(u32, i32)> =
        children.iter_mut().map(|child| (child.pid(), child.line().parse().expect("a thread"))).collect();
    let all_asleep = || sleepers.iter().for_each(|(process, thread)| until_asleep(*process, *thread));
    let slept = || sleepers.iter().map(|(process, thread)| times_slept(*process, *thread)).sum::<u64>();
    all_asleep();
    let (before, begun) = (slept(), Instant::now());
    for message in 0..MESSAGES {
        queue.put(message as u32).expect("there is room");
        common::until(|| queue.is_empty());
        all_asleep();
    }
    // Each sleeper looks around by itself once in a tenth of a second.
    let slices = (begun.elapsed().as_millis() as u64 / 100 + 1) * SLEEPERS as u64;
    let sleeps = slept() - before;
    println!("{MESSAGES} messages: {sleeps} sleeps, of which {slices} may be slices that have ended");
    assert!(sleeps >= MESSAGES / 2, "the measure sees who is woken: {sleeps}");
    assert!(sleeps <= 2 * MESSAGES + slices, "{sleeps} sleeps for {MESSAGES} messages");
    queue.close();
    children.into_iter().for_each(|child| drop(child.succeed()));
}

// ---- signals ----

static SIGNALS: AtomicU64 = AtomicU64::new(0);

extern "C" fn count_signal(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::Relaxed);
}

/// From here on this process gets a signal every tenth of a millisecond.
fn begin_storm() {
    const EVERY: Duration = Duration::from_micros(100);
    // SAFETY: the struct is valid as zeros and a local; the handler does nothing but count.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        // Without SA_RESTART: each interrupts what is being waited for.
        action.sa_sigaction = count_signal as *const () as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    common::signal_after(libc::SIGUSR1, EVERY, EVERY);
}

/// Waits in the storm: in vain, and for messages.
fn role_stormed(arguments: &[String]) {
    const TRIES: usize = 5;
    let options = Options::default().wait_policy(policy_named(&arguments[0]));
    let queue = PodQueue::<u32>::open_with("q", options.clone()).expect("it is there");
    let full = PodQueue::<u32>::open_with("full", options).expect("it is there");
    begin_storm();
    for timeout in [Duration::from_millis(7), Duration::from_millis(130)] {
        let mut latest = Vec::new();
        for _ in 0..TRIES {
            let get = timed(|| assert_eq!(queue.get_timeout(timeout), Err(GetError::TimedOut))).1;
            let put = timed(|| assert_eq!(full.put_timeout(2, timeout), Err(PutError::TimedOut(2)))).1;
            assert!(get >= timeout && put >= timeout, "early: {get:?} and {put:?} of {timeout:?}");
            latest.push(get.max(put));
        }
        latest.sort();
        // A busy machine may make any single one late.
        assert!(latest[0] < timeout + PROMPT, "late: {latest:?} of {timeout:?}");
    }
    assert!(SIGNALS.load(Ordering::Relaxed) > 500, "it storms");
    tell("in time");
    while let Ok(message) = queue.get() {
        tell(message);
    }
}

/// D3. Signals neither end a wait nor prolong it, and lose no wake-up.
#[test]
fn a_storm_of_signals_changes_no_wait() {
    for policy in ["default", "park"] {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u32>::create("q", sandbox.options(4)).expect("a free name");
        let full = PodQueue::<u32>::create("full", sandbox.options(1)).expect("a free name");
        full.put(1).expect("there is room");
        let mut child = sandbox.child("stormed", &[policy]);
        child.expect("in time");
        let begun = Instant::now();
        for message in 0..u32::from(u8::MAX) {
            queue.put(message).expect("there is room");
            child.expect(&message.to_string());
        }
        assert!(begun.elapsed() < PROMPT * 255, "{policy}: {:?} for 255 messages", begun.elapsed());
        queue.close();
        child.succeed();
    }
}

// ---- timed waits ----

#[test]
fn a_timed_wait_ends_in_time() {
    const LATE: Duration = Duration::from_millis(20);
    const TRIES: usize = 5;
    let _sandbox = Sandbox::new();
    for policy in POLICIES.map(policy_named) {
        let queue = PodQueue::<u32>::bounded(1).expect("memory");
        queue.set_wait_policy(policy);
        // Shorter than a slice, and longer than one.
        for timeout in [Duration::from_micros(10), Duration::from_millis(7), Duration::from_millis(130)] {
            let mut fastest = [Duration::MAX; 4];
            let mut try_all = || {
                let empty = timed(|| assert_eq!(queue.get_timeout(timeout), Err(GetError::TimedOut))).1;
                let until = Instant::now() + timeout;
                let deadline = timed(|| assert_eq!(queue.get_deadline(until), Err(GetError::TimedOut))).1;
                assert!(Instant::now() >= until, "{policy:?} {timeout:?}: early");
                queue.put(1).expect("there is room");
                let full = timed(|| assert_eq!(queue.put_timeout(2, timeout), Err(PutError::TimedOut(2)))).1;
                let many = timed(|| queue.put_many_timeout(&[2, 3], timeout).expect_err("full")).1;
                queue.get().expect("a message");
                for (fastest, took) in fastest.iter_mut().zip([empty, deadline + LATE / 100, full, many]) {
                    assert!(took >= timeout, "{policy:?} {timeout:?}: early, after {took:?}");
                    *fastest = took.min(*fastest);
                }
                fastest.iter().all(|took| *took < timeout + LATE)
            };
            // A busy machine may make any single one late.
            let in_time = (0..TRIES).any(|_| try_all());
            assert!(in_time, "{policy:?} {timeout:?}: late, {fastest:?}");
        }
    }
}

#[test]
fn a_message_ends_a_timed_wait() {
    let _sandbox = Sandbox::new();
    for policy in POLICIES.map(policy_named) {
        let queue = PodQueue::<u32>::bounded(1).expect("memory");
        let other = queue.try_clone().expect("a place");
        other.set_wait_policy(policy);
        let (says, hears) = std::sync::mpsc::channel();
        let waiter = std::thread::spawn(move || {
            says.send(thread_id()).expect("awaited");
            timed(|| other.get_timeout(Duration::from_secs(50)))
        });
        let thread = hears.recv().expect("it starts");
        if policy != WaitPolicy::Spin {
            until_asleep(std::process::id(), thread);
        }
        queue.put(1).expect("there is room");
        let (outcome, took) = waiter.join().expect("no panic");
        assert_eq!(outcome, Ok(1));
        assert!(took < Duration::from_secs(40), "{took:?}");
    }
}

// ---- nobody sleeps, nobody calls ----

/// Sends so many messages to its other thread, which spins.
fn role_million(arguments: &[String]) {
    let count: u64 = arguments[0].parse().expect("a number");
    let single = if arguments[1] == "single" { Side::Single } else { Side::Multi };
    let batch = arguments[2] == "batch";
    // No ring full or empty is waited for otherwise than by looking.
    let options = Options::new(1024).producers(single).consumers(single).wait_policy(WaitPolicy::Spin);
    let queue = PodQueue::<u64>::create("q", options).expect("a free name");
    let (producer, consumer) = queue.split().expect("both are free");
    let consumer = std::thread::spawn(move || {
        let mut next = 0;
        let mut out = Vec::with_capacity(64);
        while next < count {
            if batch {
                consumer.get_many(&mut out, 64).expect("nobody closes");
            } else {
                out.push(consumer.get().expect("nobody closes"));
            }
            for value in out.drain(..) {
                assert_eq!(value, next);
                next += 1;
            }
        }
    });
    if batch {
        let values: Vec<u64> = (0..count).collect();
        values.chunks(50).for_each(|chunk| producer.put_many(chunk).expect("nobody closes"));
    } else {
        (0..count).for_each(|value| producer.put(value).expect("nobody closes"));
    }
    consumer.join().expect("no panic");
    hear();
}

/// How many system calls that takes, by `strace`. None: there is no `strace`,
/// or it may not trace.
fn system_calls(sandbox: &Sandbox, arguments: &[&str]) -> Option<u64> {
    let traced = sandbox.command("million", arguments);
    let log = tempfile::NamedTempFile::new().expect("a temporary file");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-c", "-o"]).arg(log.path()).arg(traced.get_program()).args(traced.get_args());
    // Not strace itself: it is not of this test binary.
    strace.envs(traced.get_envs().filter_map(|(name, value)| Some((name, value?))));
    strace.stdin(Stdio::null());
    let output = strace.output().ok()?;
    let table = std::fs::read_to_string(log.path()).ok()?;
    let total = table.lines().find(|line| line.ends_with("total"))?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    total.split_whitespace().nth(3)?.parse().ok()
}

#[test]
fn the_number_of_system_calls_does_not_grow_with_the_messages() {
    const SLACK: u64 = 60;
    let sandbox = Sandbox::new();
    for side in ["single", "multi"] {
        for how in ["one", "batch"] {
            let few = system_calls(&sandbox, &["1000", side, how]);
            let many = system_calls(&sandbox, &["1000000", side, how]);
            let (Some(few), Some(many)) = (few, many) else {
                common::skip("strace is not there, or may not trace");
                return;
            };
            println!("{side}, {how}: {few} system calls for a thousand messages, {many} for a million");
            assert!(few > 20, "strace counts");
            assert!(many < few + SLACK, "{side}, {how}: {few} for a thousand, {many} for a million");
        }
    }
}

fn role_sleep_for_ever(_: &[String]) {
    let queue = PodQueue::<u64>::open_with("q", Options::default().wait_policy(WaitPolicy::Park)).expect("it is there");
    tell("sleeping");
    let _ = queue.get();
}

/// Nobody counts who sleeps: those who died asleep cost nobody a wake-up once they were looked
/// after. (D9)
#[test]
fn dead_sleepers_are_not_woken() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(8)).expect("a free name");
    for round in 0..5 {
        let mut sleepers: Vec<_> = (0..3).map(|_| sandbox.child("sleep-for-ever", &[])).collect();
        for sleeper in &mut sleepers {
            sleeper.expect("sleeping");
            common::until_asleep(sleeper.pid(), sleeper.pid() as i32);
        }
        sleepers.into_iter().for_each(Child::kill);
        common::until(|| queue.participants() == 1);
        queue.recover().expect("a descriptor");
        let wakes = || {
            let name = "q".parse().expect("a name");
            let seen = ringway::admin::inspect(Some(sandbox.path()), &name).expect("a queue");
            seen.participants.iter().map(|one| one.wakes).sum::<u64>()
        };
        let before = wakes();
        for value in 0..1000 {
            queue.put(value).expect("there is room");
            assert_eq!(queue.get(), Ok(value));
        }
        // The first one withdraws what the dead have asked for.
        assert!(wakes() <= before + 2, "round {round}: {} wake-ups for nobody", wakes() - before);
    }
}

/// Either mistake shows.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    common::control::fails_with_seeds("a_storm_of_signals_changes_no_wait", &[(33, &["early", "left == right"])]);
    common::control::fails_with_seeds("a_message_wakes_one_sleeper", &[(34, &["sleeps for 40 messages"])]);
    common::control::fails_with_seeds("dead_sleepers_are_not_woken", &[(35, &["wake-ups for nobody"])]);
}
