//! A victim of a broadcast: as `victim.rs`, with one handle that puts and one that hears.

use crate::common::{hear, tell};
use crate::victim::{CALLS_PER_HANDLE, CORRUPT, End, NOT_NOW, POLICIES, Victim, get_end, put_end};
use ringway::{GetError, Pod, PodBroadcast, PutError, SetupError, SetupErrorKind, StartAt, Subscriber};
use std::time::Duration;

type Word = [u64; 7];
type Listener = Subscriber<Pod<Word>>;

/// What was made; none where the words say that there is no place.
fn made<T>(result: Result<T, SetupError>) -> Option<T> {
    if let Err(error) = &result {
        assert!(!matches!(error.kind(), SetupErrorKind::System { .. }), "a new handle: {error}");
    }
    result.ok()
}

impl Victim<'_> {
    fn step_of_broadcast(&mut self, publisher: &PodBroadcast<Word>, listener: &Listener) -> Option<End> {
        let long = if self.random.below(200) == 0 { 30_000 } else { 0 };
        let timeout = Duration::from_micros(long + self.random.pick(&[0, 0, 20, 50, 50, 100, 200, 200, 1000, 1000]));
        let most = self.random.below(40) as usize;
        let values = [[self.random.next(); 7]; 12];
        let values = &values[..self.random.below(13) as usize];
        let choice = self.random.below(100);
        let end = match choice {
            0..=12 if self.puts => {
                put_end(self.call("put_timeout", timeout, |_| publisher.put_timeout([7; 7], timeout)))
            }
            13..=26 if self.puts => put_end(self.call("try_put", Duration::ZERO, |_| publisher.try_put([8; 7]))),
            27..=33 if self.puts => {
                let result = self.call("put_many_timeout", timeout, |_| publisher.put_many_timeout(values, timeout));
                put_end(result.map_err(|error| error.cause))
            }
            34..=40 if self.puts => {
                let result = self.call("try_put_many", Duration::ZERO, |_| publisher.try_put_many(values));
                assert!(!matches!(result, Ok(put) if put > values.len()), "more than there were");
                put_end(result.map(drop).map_err(|error| error.cause))
            }
            41..=55 => get_end(self.call("get_timeout", timeout, |_| listener.get_timeout(timeout)), |_| ()),
            56..=72 => get_end(self.call("try_get", Duration::ZERO, |_| listener.try_get()), |_| ()),
            73..=86 => {
                let mut out = Vec::new();
                let result = if choice < 80 {
                    self.call("get_many_timeout", timeout, |_| listener.get_many_timeout(&mut out, most, timeout))
                } else {
                    self.call("try_get_many", Duration::ZERO, |_| listener.try_get_many(&mut out, most))
                };
                get_end(result, |count| assert!(*count == out.len() && *count <= most))
            }
            87 if self.random.below(200) == 0 => {
                let _ = self.call("recover", Duration::from_secs(2), |_| listener.recover());
                return None;
            }
            88 if self.random.below(40) == 0 => {
                self.call("close", Duration::ZERO, |_| publisher.close());
                return None;
            }
            89 if self.random.below(20) == 0 => {
                let alive = self.call("participants", Duration::ZERO, |_| publisher.participants());
                assert!(alive <= 64);
                return None;
            }
            90..=92 => {
                self.call("lag", Duration::ZERO, |_| listener.lag());
                return None;
            }
            93..=95 => {
                self.call("missed", Duration::ZERO, |_| listener.missed());
                return None;
            }
            96..=98 => {
                self.call("debug", Duration::ZERO, |_| format!("{publisher:?} {listener:?}"));
                return None;
            }
            99 => {
                self.call("is_closed", Duration::ZERO, |_| listener.is_closed());
                return None;
            }
            _ => return None,
        };
        self.board.count_end(self.number, end);
        Some(end)
    }

    pub fn hear(&mut self, root: PodBroadcast<Word>) {
        tell("ready");
        hear();
        while !self.board.must_stop() && !self.board.is_done() {
            let second = Duration::from_secs(1);
            let Some(publisher) = made(self.call("clone", second, |_| root.try_clone())) else { continue };
            let start = self.random.pick(&[StartAt::Now, StartAt::Oldest]);
            let Some(listener) = made(self.call("subscribe", second, |_| root.subscribe(start))) else { continue };
            publisher.set_wait_policy(self.random.pick(&POLICIES));
            listener.set_wait_policy(self.random.pick(&POLICIES));
            for _ in 0..CALLS_PER_HANDLE {
                if self.step_of_broadcast(&publisher, &listener).unwrap_or(NOT_NOW) == CORRUPT {
                    // Whichever it was says so for good.
                    let (put, got) = (publisher.try_put([9; 7]), listener.try_get());
                    let is_poisoned = matches!(put, Err(PutError::Corrupt(_))) || got == Err(GetError::Corrupt);
                    assert!(is_poisoned, "{put:?} and {got:?} of poisoned handles");
                    break;
                }
                if self.board.must_stop() || self.board.is_done() {
                    break;
                }
            }
        }
    }
}
