//! What the tests of broadcasts share: messages that show when they are torn, speakers and
//! listeners.

// Each test crate uses a part of this.
#![allow(dead_code)]

use super::common::{Child, Sandbox, hear, tell, thread_id};
use ringway::{GetError, Options, Pod, PodBroadcast, Side, SlowConsumers, StartAt, Subscriber, WaitPolicy};
use std::time::Duration;

/// A line, so that a torn one shows.
pub type Message = [u64; 7];
pub type Listener = Subscriber<Pod<Message>>;

pub const SOON: Duration = Duration::from_secs(20);

pub fn message(speaker: u64, number: u64) -> Message {
    let word = speaker << 40 | number;
    [word, !word, word.wrapping_mul(3), word ^ 0x55, word.rotate_left(7), !word ^ 1, word.wrapping_add(9)]
}

pub fn parts(got: &Message) -> (u64, u64) {
    let (speaker, number) = (got[0] >> 40, got[0] & ((1 << 40) - 1));
    assert_eq!(*got, message(speaker, number), "a torn message");
    (speaker, number)
}

/// What one subscriber has seen: how many, and in which order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Seen {
    pub count: u64,
    pub hash: u64,
}

impl Seen {
    pub fn add(&mut self, got: &Message) {
        self.count += 1;
        self.hash = (self.hash.rotate_left(5) ^ got[0]).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

/// The numbers of each speaker follow each other, from the first one that was seen, but for gaps.
#[derive(Default)]
pub struct Order {
    /// By speaker: the last number, and how many gaps there were by then.
    last: std::collections::HashMap<u64, (u64, u64)>,
    pub gaps: u64,
}

impl Order {
    pub fn check(&mut self, got: &Message) {
        let (speaker, number) = parts(got);
        if let Some((last, gaps)) = self.last.insert(speaker, (number, self.gaps)) {
            let follows = number == last + 1 || gaps < self.gaps && number > last;
            assert!(follows, "speaker {speaker}: {number} behind {last}");
        }
    }
}

pub fn start_named(name: &str) -> StartAt {
    if name == "oldest" { StartAt::Oldest } else { StartAt::Now }
}

/// Arguments: the name, where to start, perhaps microseconds between two messages. Says that it
/// listens, then what it has seen until the end.
pub fn role_listener(arguments: &[String]) {
    let subscriber = Listener::open(&arguments[0], start_named(&arguments[1])).expect("it is there");
    let pause = arguments.get(2).map(|pause| Duration::from_micros(pause.parse().expect("a number")));
    tell("listening");
    let (mut seen, mut order) = (Seen::default(), Order::default());
    loop {
        match subscriber.get() {
            Ok(got) => {
                order.check(&got);
                seen.add(&got);
            }
            Err(GetError::Lagged) => order.gaps += 1,
            Err(GetError::Closed) => break,
            Err(error) => panic!("{error:?}"),
        }
        if let Some(pause) = pause.filter(|_| seen.count % 64 == 0) {
            std::thread::sleep(pause);
        }
    }
    tell(format_args!("{} {} {}", seen.count, seen.hash, subscriber.missed()));
}

pub fn listen(sandbox: &Sandbox, arguments: &[&str]) -> Child {
    let mut child = sandbox.child("listener", arguments);
    child.expect("listening");
    child
}

/// What a listener has seen and missed.
pub fn heard(mut child: Child) -> (Seen, u64) {
    let line = child.line();
    let words: Vec<u64> = line.split(' ').map(|word| word.parse().expect("a number")).collect();
    child.succeed();
    (Seen { count: words[0], hash: words[1] }, words[2])
}

/// Subscribes, sleeps until something comes, and says it.
pub fn role_sleeper(arguments: &[String]) {
    let subscriber = Listener::open(&arguments[0], StartAt::Now).expect("it is there");
    subscriber.set_wait_policy(WaitPolicy::Park);
    tell(thread_id());
    let got = subscriber.get_timeout(SOON).expect("a message");
    tell(parts(&got).1);
    hear();
}

/// Arguments: the name, its number, how many messages. Puts them.
pub fn role_speaker(arguments: &[String]) {
    let number = |at: usize| arguments[at].parse::<u64>().expect("a number");
    let publisher = PodBroadcast::<Message>::open(&arguments[0]).expect("it is there");
    let (me, count) = (number(1), number(2));
    let batch = arguments.get(3).is_some();
    let mut next = 0;
    while next < count {
        if batch && next % 3 == 0 && next + 5 <= count {
            let many: Vec<Message> = (next..next + 5).map(|number| message(me, number)).collect();
            publisher.put_many(&many).expect("open");
            next += 5;
        } else {
            publisher.put(message(me, next)).expect("open");
            next += 1;
        }
    }
    tell("spoken");
    hear();
}

/// Subscribes and does nothing.
pub fn role_idle(arguments: &[String]) {
    let subscriber = Listener::open(&arguments[0], StartAt::Now).expect("it is there");
    tell("idle");
    hear();
    drop(subscriber);
}

pub fn idle(sandbox: &Sandbox) -> Child {
    let mut child = sandbox.child("idle", &["b"]);
    child.expect("idle");
    child
}

pub fn signal(child: &Child, signal: i32) {
    // SAFETY: touches no memory; the child is ours and was not waited for.
    assert_eq!(unsafe { libc::kill(child.pid() as i32, signal) }, 0);
}

pub fn create(sandbox: &Sandbox, options: Options) -> PodBroadcast<Message> {
    PodBroadcast::create("b", options.directory(sandbox.path())).expect("a free name")
}

pub const POLICIES: [SlowConsumers; 2] = [SlowConsumers::Block, SlowConsumers::DropOldest];

/// Single, Multi; a small ring, a larger one.
pub fn shapes() -> impl Iterator<Item = (Side, u64)> {
    [Side::Single, Side::Multi].into_iter().flat_map(|side| [1, 3, 64].map(|capacity| (side, capacity)))
}
