//! A victim: makes every call there is, each with a deadline, and checks what can be
//! checked of a queue whose words mean nothing any more.

use crate::board::{Board, CALLS};
use crate::common::{DIRECTORY_VARIABLE, hear, tell};
use crate::shared::{Random, now_ns};
use ringway::{
    ByteQueue, GetError, Handle, Message, Options, PodBroadcast, PodQueue, PutError, SetupErrorKind, WaitPolicy,
};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

/// The longest message of the bytes queue. Its slots have room for a few bytes more.
pub const LONGEST: usize = 45;

/// How late a call may be, besides the time that this thread had no processor.
pub const GRACE: Duration = Duration::from_millis(100);

/// How many calls a handle makes at most: a new one begins with other cursors.
pub const CALLS_PER_HANDLE: u64 = 4000;

pub const POLICIES: [WaitPolicy; 3] =
    [WaitPolicy::Spin, WaitPolicy::SpinThenPark { budget: Duration::from_micros(50) }, WaitPolicy::Park];

/// What a kind of message needs here.
trait Kind: Message {
    fn with_input<R>(random: &mut Random, f: impl FnOnce(Self::In<'_>) -> R) -> R;
    fn with_inputs<R>(random: &mut Random, f: impl FnOnce(&[Self::In<'_>]) -> R) -> R;
    fn check(out: &Self::Out);
    fn get_into(handle: &Handle<Self>, timeout: Duration) -> Result<(), GetError>
    where
        Self: Sized;
    /// Writes or reads a message where it lies, if that can be done.
    fn in_place(_victim: &mut Victim<'_>, _handle: &Handle<Self>, _timeout: Duration) -> Option<End>
    where
        Self: Sized,
    {
        None
    }
}

impl Kind for ringway::Bytes {
    fn with_input<R>(random: &mut Random, f: impl FnOnce(&[u8]) -> R) -> R {
        f(&[7; LONGEST][..random.below(LONGEST as u64 + 1) as usize])
    }

    fn with_inputs<R>(random: &mut Random, f: impl FnOnce(&[&[u8]]) -> R) -> R {
        f(&[&[8; LONGEST][..random.below(LONGEST as u64 + 1) as usize]; 12][..random.below(13) as usize])
    }

    fn check(out: &Vec<u8>) {
        assert!(out.len() <= LONGEST, "a message of {} bytes", out.len());
    }

    fn get_into(handle: &ByteQueue, timeout: Duration) -> Result<(), GetError> {
        let mut buffer = Vec::with_capacity(200);
        let len = handle.get_into_timeout(&mut buffer, timeout)?;
        assert_eq!(len, buffer.len());
        Self::check(&buffer);
        Ok(())
    }

    fn in_place(victim: &mut Victim<'_>, handle: &ByteQueue, timeout: Duration) -> Option<End> {
        if victim.puts && victim.random.below(2) == 0 {
            let len = victim.random.below(LONGEST as u64 + 1) as usize;
            let reserved = victim.call("reserve_timeout", timeout, |_| handle.reserve_timeout(len, timeout));
            let mut reserved = match reserved {
                Ok(reserved) => reserved,
                Err(error) => return Some(put_end(Err(error))),
            };
            assert_eq!(reserved.len(), len);
            reserved.copy_from_slice(&[9; LONGEST][..len]).expect("as long as it is");
            return Some(match victim.random.below(8) {
                0 => {
                    drop(reserved);
                    NOT_NOW
                }
                1 => {
                    std::mem::forget(reserved);
                    NOT_NOW
                }
                _ => put_end(victim.call("commit_timeout", timeout, |_| {
                    reserved.commit_timeout(timeout).map_err(|error| error.map(drop))
                })),
            });
        }
        if !victim.gets {
            return None;
        }
        let got = victim.call("get_ref_timeout", timeout, |_| handle.get_ref_timeout(timeout));
        let end = get_end(got.as_ref().map_err(|error| *error), |message| Self::check(&message.to_vec()));
        if victim.random.below(16) == 0 {
            std::mem::forget(got);
        }
        Some(end)
    }
}

macro_rules! pod_kind {
    ($type:ty, $make:expr, $zero:expr) => {
        impl Kind for ringway::Pod<$type> {
            fn with_input<R>(random: &mut Random, f: impl FnOnce($type) -> R) -> R {
                f($make(random.next()))
            }

            fn with_inputs<R>(random: &mut Random, f: impl FnOnce(&[$type]) -> R) -> R {
                f(&[$make(random.next()); 12][..random.below(13) as usize])
            }

            fn check(_: &$type) {}

            fn get_into(handle: &PodQueue<$type>, timeout: Duration) -> Result<(), GetError> {
                let mut out: $type = $zero;
                handle.get_into_timeout(&mut out, timeout)
            }
        }
    };
}

pod_kind!(bool, |n: u64| n & 1 == 0, false);
pod_kind!(u64, |n: u64| n, 0);
pod_kind!([u64; 7], |n: u64| [n; 7], [0; 7]);

/// How long this thread has waited for a processor, if the kernel counts that.
pub struct Waits(Option<File>);

impl Waits {
    fn so_far(&self) -> Duration {
        let mut text = [0; 96];
        let Some(file) = &self.0 else { return Duration::ZERO };
        let len = file.read_at(&mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(&text[..len]).unwrap_or_default();
        let waited = text.split(' ').nth(1).and_then(|ns| ns.parse().ok()).unwrap_or(0);
        Duration::from_nanos(waited)
    }
}

pub struct Victim<'b> {
    pub number: usize,
    pub board: &'b Board,
    pub random: Random,
    waits: Waits,
    pub puts: bool,
    gets: bool,
}

/// How a call ended, as an index into `ENDS`.
pub type End = usize;
const DONE: End = 0;
pub const NOT_NOW: End = 1;
const TIMED_OUT: End = 2;
const CLOSED: End = 3;
const UNDECODABLE: End = 4;
pub const CORRUPT: End = 5;
const REFUSED: End = 6;

/// What queues of this kind may say besides.
fn refused(error: impl std::fmt::Debug) -> End {
    let text = format!("{error:?}");
    let known = ["SideTaken", "PeersGone", "RecoveryUnavailable", "TooManyLeases", "Lagged"];
    assert!(known.iter().any(|known| text.starts_with(known)), "a call said {text}");
    REFUSED
}

pub fn put_end<V>(result: Result<(), PutError<V>>) -> End {
    match result {
        Ok(()) => DONE,
        Err(PutError::Full(_)) => NOT_NOW,
        Err(PutError::TimedOut(_)) => TIMED_OUT,
        Err(PutError::Closed(_)) => CLOSED,
        Err(PutError::Corrupt(_)) => CORRUPT,
        Err(other) => refused(other),
    }
}

pub fn get_end<V>(result: Result<V, GetError>, check: impl FnOnce(&V)) -> End {
    match result {
        Ok(value) => {
            check(&value);
            DONE
        }
        Err(GetError::Empty) => NOT_NOW,
        Err(GetError::TimedOut) => TIMED_OUT,
        Err(GetError::Closed) => CLOSED,
        Err(GetError::Undecodable) => UNDECODABLE,
        Err(GetError::Corrupt) => CORRUPT,
        Err(other) => refused(other),
    }
}

impl Victim<'_> {
    /// Makes one call that must be back `timeout` from now.
    pub fn call<R>(&mut self, name: &str, timeout: Duration, f: impl FnOnce(&mut Random) -> R) -> R {
        let call = CALLS.iter().position(|call| *call == name).expect("a call of the list");
        let waited = self.waits.so_far();
        let start = now_ns();
        self.board.enter(self.number, call, start + timeout.as_nanos() as u64);
        let result = f(&mut self.random);
        let took = Duration::from_nanos(now_ns() - start);
        self.board.leave(self.number);
        if took > timeout + GRACE {
            let late = took.saturating_sub(self.waits.so_far() - waited).saturating_sub(timeout);
            assert!(late < GRACE, "{name} with {timeout:?} took {took:?}: {late:?} too late");
        }
        result
    }

    /// One call. How it ended, if it was a put or get.
    fn step<M: Kind>(&mut self, handle: &Handle<M>) -> Option<End> {
        // A long one is seldom: nothing else would be done.
        let long = if self.random.below(200) == 0 { 30_000 } else { 0 };
        let timeout = Duration::from_micros(long + self.random.pick(&[0, 0, 20, 50, 50, 100, 200, 200, 1000, 1000]));
        let most = self.random.below(40) as usize;
        let choice = self.random.below(100);
        let end = match choice {
            0..=11 if self.puts => put_end(self.call("put_timeout", timeout, |random| {
                M::with_input(random, |input| handle.put_timeout(input, timeout))
            })),
            12..=25 if self.puts => put_end(
                self.call("try_put", Duration::ZERO, |random| M::with_input(random, |input| handle.try_put(input))),
            ),
            26..=32 if self.puts => {
                let result = self.call("put_many_timeout", timeout, |random| {
                    M::with_inputs(random, |inputs| handle.put_many_timeout(inputs, timeout))
                });
                put_end(result.map_err(|error| error.cause))
            }
            33..=39 if self.puts => {
                let result = self.call("try_put_many", Duration::ZERO, |random| {
                    M::with_inputs(random, |inputs| {
                        let result = handle.try_put_many(inputs);
                        assert!(!matches!(result, Ok(put) if put > inputs.len()), "more than there were");
                        result
                    })
                });
                put_end(result.map(drop).map_err(|error| error.cause))
            }
            40..=51 if self.gets => {
                get_end(self.call("get_timeout", timeout, |_| handle.get_timeout(timeout)), M::check)
            }
            52..=64 if self.gets => get_end(self.call("try_get", Duration::ZERO, |_| handle.try_get()), M::check),
            65..=78 if self.gets => {
                let mut out = Vec::new();
                let result = if choice < 72 {
                    self.call("get_many_timeout", timeout, |_| handle.get_many_timeout(&mut out, most, timeout))
                } else {
                    self.call("try_get_many", Duration::ZERO, |_| handle.try_get_many(&mut out, most))
                };
                out.iter().for_each(M::check);
                get_end(result, |count| assert!(*count == out.len() && *count <= most))
            }
            79..=83 if self.gets => {
                get_end(self.call("get_into_timeout", timeout, |_| M::get_into(handle, timeout)), |_| ())
            }
            84 if self.gets => {
                let all: Vec<_> = self.call("try_iter", Duration::ZERO, |_| handle.try_iter().take(50).collect());
                all.into_iter().map(|got| get_end(got, M::check)).max().unwrap_or(NOT_NOW)
            }
            85..=86 if self.gets => self.lease(handle, timeout),
            87 if self.random.below(200) == 0 => {
                let _ = self.call("recover", Duration::from_secs(2), |_| handle.recover());
                return None;
            }
            87 => M::in_place(self, handle, timeout)?,
            88 if self.random.below(40) == 0 => {
                self.call("close", Duration::ZERO, |_| handle.close());
                return None;
            }
            89 if self.random.below(20) == 0 => {
                let alive = self.call("participants", Duration::ZERO, |_| handle.participants());
                assert!(alive <= 64);
                return None;
            }
            90..=91 => {
                let len = self.call("len", Duration::ZERO, |_| handle.len());
                assert!(len <= handle.capacity(), "{len} messages of {}", handle.capacity());
                return None;
            }
            92..=94 => {
                self.call("is_empty", Duration::ZERO, |_| handle.is_empty());
                return None;
            }
            95..=97 => {
                self.call("is_full", Duration::ZERO, |_| handle.is_full());
                return None;
            }
            98 => {
                self.call("debug", Duration::ZERO, |_| format!("{handle:?}"));
                return None;
            }
            99 => {
                self.call("is_closed", Duration::ZERO, |_| handle.is_closed());
                return None;
            }
            _ => return None,
        };
        self.board.count_end(self.number, end);
        Some(end)
    }

    /// A few leases, of which some are acknowledged, some given back and some forgotten.
    fn lease<M: Kind>(&mut self, handle: &Handle<M>, timeout: Duration) -> End {
        let mut held = Vec::new();
        let mut end = NOT_NOW;
        for _ in 0..1 + self.random.below(3) {
            let result = if self.random.below(2) == 0 {
                self.call("lease_timeout", timeout, |_| handle.lease_timeout(timeout))
            } else {
                self.call("try_lease", Duration::ZERO, |_| handle.try_lease())
            };
            match result {
                Ok(lease) => {
                    M::check(&lease);
                    held.push(lease);
                }
                Err(error) => end = get_end::<()>(Err(error), |_| ()),
            }
        }
        for lease in held {
            match self.random.below(16) {
                0 => std::mem::forget(lease),
                1..=5 => self.call("ack", Duration::ZERO, |_| drop(lease)),
                _ => end = self.call("ack", Duration::ZERO, |_| get_end(lease.ack(), M::check)),
            }
        }
        end
    }

    /// A poisoned handle says so whatever is asked of it.
    fn is_poisoned<M: Kind>(&mut self, handle: &Handle<M>) {
        if self.puts {
            let refused = M::with_input(&mut self.random, |input| handle.try_put(input).err());
            assert!(matches!(refused, Some(PutError::Corrupt(_))), "a poisoned handle put: {refused:?}");
        }
        if self.gets {
            let refused = handle.get_timeout(Duration::from_secs(9)).err();
            assert_eq!(refused, Some(GetError::Corrupt), "a poisoned handle got");
        }
        assert_eq!(handle.len(), 0);
    }

    fn work<M: Kind>(&mut self, root: Handle<M>) {
        tell("ready");
        hear();
        while !self.board.must_stop() && !self.board.is_done() {
            // A new handle works off the same mapping, whatever the header says by now.
            let handle = match self.call("clone", Duration::from_secs(1), |_| root.try_clone()) {
                Ok(handle) => handle,
                Err(error) => {
                    let kind = error.kind();
                    assert!(!matches!(kind, SetupErrorKind::System { .. }), "cloning: {error}");
                    continue;
                }
            };
            handle.set_wait_policy(self.random.pick(&POLICIES));
            for _ in 0..CALLS_PER_HANDLE {
                if self.step(&handle) == Some(CORRUPT) {
                    self.is_poisoned(&handle);
                    break;
                }
                if self.board.must_stop() || self.board.is_done() {
                    break;
                }
            }
        }
    }
}

/// Arguments: number, kind of messages, seed, both sides.
pub fn role(arguments: &[String]) {
    let [number, kind, seed, producers, consumers] = arguments else { panic!("a victim has five arguments") };
    let number: usize = number.parse().expect("a number");
    let seed: u64 = seed.parse().expect("a number");
    let directory = PathBuf::from(std::env::var_os(DIRECTORY_VARIABLE).expect("it is set"));
    let board = Board::open(&directory.join("board"));
    // Of a Single side one victim is the holder.
    let mut victim = Victim {
        number,
        board: &board,
        random: Random::new(seed * 2 + number as u64),
        waits: Waits(File::open("/proc/thread-self/schedstat").ok()),
        puts: producers == "multi" || number == 0,
        gets: consumers == "multi" || number == 1,
    };
    let options = Options::default();
    match kind.as_str() {
        "bytes" | "blocks" | "growing" => victim.work(ByteQueue::open_with("q", options).expect("it was created")),
        "cast" | "cast-drop" => victim.hear(PodBroadcast::open_with("q", options).expect("it was created")),
        "bool" => victim.work(PodQueue::<bool>::open_with("q", options).expect("it was created")),
        "word" => victim.work(PodQueue::<u64>::open_with("q", options).expect("it was created")),
        _ => victim.work(PodQueue::<[u64; 7]>::open_with("q", options).expect("it was created")),
    }
}

/// Makes the calls that wait, and those that do not, and says how late the latest of
/// them was, and which that was. Ends by itself if one does not come back.
pub fn role_prober(_: &[String]) {
    // SAFETY: touches no memory.
    unsafe { libc::alarm(5) };
    let root = PodQueue::<u64>::open_with("q", Options::default()).expect("it was created");
    tell("ready");
    hear();
    let latest = POLICIES.iter().map(|policy| latest_call(&root, *policy)).max();
    let (late, call) = latest.expect("there are policies");
    tell(format_args!("{} {call}", late.as_nanos()));
}

/// Whatever it was.
fn drop_result<T, E>(_: Result<T, E>) {}

fn latest_call(root: &PodQueue<u64>, policy: WaitPolicy) -> (Duration, &'static str) {
    let waits = Waits(File::open("/proc/thread-self/schedstat").ok());
    let mut latest = (Duration::ZERO, "");
    let mut measure = |name, timeout: Duration, f: &mut dyn FnMut(&PodQueue<u64>)| {
        // A new handle each time: one that has said `Corrupt` decides nothing any more.
        let Ok(handle) = root.try_clone() else { return };
        handle.set_wait_policy(policy);
        let waited = waits.so_far();
        let start = now_ns();
        f(&handle);
        let took = Duration::from_nanos(now_ns() - start);
        let late = took.saturating_sub(timeout).saturating_sub(waits.so_far() - waited);
        latest = latest.max((late, name));
    };
    let timeout = Duration::from_millis(1);
    let many = [5; 40];
    for _ in 0..2 {
        measure("put_timeout", timeout, &mut |handle| drop_result(handle.put_timeout(1, timeout)));
        measure("get_timeout", timeout, &mut |handle| drop_result(handle.get_timeout(timeout)));
        measure("put_many_timeout", timeout, &mut |handle| drop_result(handle.put_many_timeout(&many, timeout)));
        measure("get_many_timeout", timeout, &mut |handle| {
            drop_result(handle.get_many_timeout(&mut Vec::new(), 40, timeout));
        });
        measure("try_put", Duration::ZERO, &mut |handle| drop_result(handle.try_put(1)));
        measure("try_get", Duration::ZERO, &mut |handle| drop_result(handle.try_get()));
        measure("try_put_many", Duration::ZERO, &mut |handle| drop_result(handle.try_put_many(&many)));
        measure("looking", Duration::ZERO, &mut |handle| {
            let _ = (handle.len(), handle.is_empty(), handle.is_full(), handle.is_closed());
        });
    }
    latest
}
