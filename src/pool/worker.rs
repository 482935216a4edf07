//! What a worker does, in its own process.
//!
//! It takes the message of a job as a lease, makes the job its own (`ledger`), calls the function, says
//! what came of it, and acknowledges the lease. It may be killed anywhere in between.

use super::error::Fault;
use super::ledger::{About, Id, Shared, Stage, report_head, task};
use crate::primitive::{coarse_now_ns, seeded};
use crate::process::{Callee, Function, NotDone, catch, recall};
use crate::queue::{Bytes, Consumer, GetError, Lease, Producer, PutError};
use crate::wait::WaitPolicy;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a worker is started with.
#[derive(Serialize, Deserialize)]
pub(super) struct Assignment {
    pub(super) tasks: Consumer<Bytes>,
    pub(super) reports: Producer<Bytes>,
    pub(super) ledger: Shared,
    /// Its number.
    pub(super) worker: u32,
    /// After so many jobs it ends.
    pub(super) most: Option<u64>,
    pub(super) policy: Policy,
    /// Whether it says that it has arrived.
    pub(super) says_so: bool,
}

/// A [`WaitPolicy`], to be sent.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum Policy {
    Spin,
    SpinThenPark(Duration),
    Park,
}

impl From<WaitPolicy> for Policy {
    fn from(policy: WaitPolicy) -> Policy {
        match policy {
            WaitPolicy::Spin => Policy::Spin,
            WaitPolicy::SpinThenPark { budget } => Policy::SpinThenPark(budget),
            WaitPolicy::Park => Policy::Park,
        }
    }
}

impl From<Policy> for WaitPolicy {
    fn from(policy: Policy) -> WaitPolicy {
        match policy {
            Policy::Spin => WaitPolicy::Spin,
            Policy::SpinThenPark(budget) => WaitPolicy::SpinThenPark { budget },
            Policy::Park => WaitPolicy::Park,
        }
    }
}

/// The initializer's arguments, which every worker gets.
pub(super) struct Arguments<A>(pub(super) Arc<Mutex<A>>);

impl<A: Serialize> Serialize for Arguments<A> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // A panic of theirs leaves what they are made of.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).serialize(serializer)
    }
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for Arguments<A> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Arguments<A>, D::Error> {
        A::deserialize(deserializer).map(|arguments| Arguments(Arc::new(Mutex::new(arguments))))
    }
}

/// The exit code where a worker cannot go on.
const FAILED: i32 = 1;

/// Of a pool without an initializer.
pub(super) fn nothing() {}

/// The function of a worker's process. `F` is the initializer.
pub(super) fn work<F, A>(assignment: Assignment, Arguments(arguments): Arguments<A>)
where
    F: Function<A, Output = ()>,
    A: DeserializeOwned + 'static,
{
    let Assignment { tasks, reports, ledger, worker, most, policy, says_so } = assignment;
    tasks.set_wait_policy(policy.into());
    reports.set_wait_policy(policy.into());
    let Some(arguments) = Arc::into_inner(arguments).and_then(|mutex| mutex.into_inner().ok()) else { return };
    let number = u64::from(worker);
    if let Err(panic) = catch(|| recall::<F>().call(arguments)) {
        let reason = match panic.location {
            Some(place) => format!("it panicked at {place}: {}", panic.message),
            None => format!("it panicked: {}", panic.message),
        };
        let report = [&report_head(About::NotArrived, number)[..], reason.as_bytes()].concat();
        let _ = reports.put(&report);
        return;
    }
    if says_so && reports.put(&report_head(About::Arrived, number)).is_err() {
        std::process::exit(FAILED);
    }
    ledger.arrive(worker);
    let me = Worker { reports, ledger, worker, out: Cell::default() };
    let mut done = 0;
    while most != Some(done) {
        match tasks.lease() {
            Ok(lease) => done += u64::from(me.one(lease)),
            // Somebody has scribbled over it.
            Err(GetError::Undecodable) => {}
            Err(GetError::Closed | GetError::PeersGone) => return,
            Err(_) => std::process::exit(FAILED),
        }
    }
}

struct Worker {
    reports: Producer<Bytes>,
    ledger: Shared,
    worker: u32,
    /// Room for a report, of the job before.
    out: Cell<Vec<u8>>,
}

/// Bytes of a report whose room is kept for the next one.
const MOST_KEPT: usize = 4096;

impl Worker {
    /// Whether a job was done. Its message is the queue's until then.
    fn one(&self, lease: Lease<'_, Bytes>) -> bool {
        if seeded(81) {
            return lease.ack().is_ok_and(|message| self.take(&message));
        }
        let done = self.take(&lease);
        let _ = lease.ack();
        done
    }

    fn take(&self, message: &[u8]) -> bool {
        let Some((id, place, arguments)) = task(message) else { return false };
        let begun = self.ledger.begin(id, self.worker, coarse_now_ns());
        if begun {
            self.run(id, place, arguments);
        } else {
            match self.ledger.stage(id) {
                None => {}
                Some(Stage::Withdrawn) => self.insist(&report_head(About::Dropped, id.raw())),
                Some(_) => self.insist(&[&report_head(About::CameBack, id.raw())[..], message].concat()),
            }
        }
        begun
    }

    fn run(&self, id: Id, place: u64, arguments: &[u8]) {
        let mut out = self.out.take();
        out.clear();
        out.extend_from_slice(&report_head(About::Returned, id.raw()));
        let called = catch(|| match Callee::at(place) {
            Some(callee) => callee.call(arguments, out),
            None => Err(NotDone::Arguments("there is no such function in this program".to_owned())),
        });
        let called = match called {
            Ok(Ok(message)) => Ok(message),
            Ok(Err(NotDone::Arguments(reason))) => Err(Fault::Arguments(reason)),
            Ok(Err(NotDone::Result(reason))) => Err(Fault::Result(reason)),
            Err(panic) => Err(Fault::Panicked { message: panic.message, location: panic.location }),
        };
        if !self.ledger.finish(id, self.worker) {
            // W2: whoever wrote ENDING is about to kill this process.
            while self.ledger.stage(id) == Some(Stage::Ending(self.worker)) {
                std::thread::sleep(Duration::from_millis(100));
            }
            return;
        }
        let message = match called {
            Ok(message) => match self.say(&message) {
                Ok(()) => message,
                Err(Unsaid { reason, .. }) => {
                    self.insist(&failed(id, &Fault::Result(reason)));
                    Vec::new()
                }
            },
            Err(fault) => self.admit(id, fault),
        };
        self.ledger.has_done(self.worker);
        if message.capacity() <= MOST_KEPT {
            self.out.set(message);
        }
    }

    /// Says why there is no result; what is too long for that is cut. The message, for its room.
    fn admit(&self, id: Id, mut fault: Fault) -> Vec<u8> {
        let message = failed(id, &fault);
        if let Err(Unsaid { excess, .. }) = self.say(&message) {
            cut(fault.text(), excess);
            self.insist(&failed(id, &fault));
        }
        message
    }

    /// A worker that cannot say this cannot go on: its message comes back.
    fn insist(&self, message: &[u8]) {
        if self.say(message).is_err() {
            std::process::exit(FAILED);
        }
    }

    /// Fails if another message can be said.
    fn say(&self, message: &[u8]) -> Result<(), Unsaid> {
        match self.reports.put(message) {
            Ok(()) => Ok(()),
            Err(PutError::TooLarge { len, max, .. }) => {
                let reason = format!("it has {len} bytes, a message at most {max}");
                Err(Unsaid { reason, excess: len.saturating_sub(max) })
            }
            Err(PutError::System { kind, .. }) => {
                let reason = format!("there is no memory for it: {kind}");
                Err(Unsaid { reason, excess: message.len().saturating_sub(MOST_WITHOUT_MEMORY) })
            }
            // The pool is gone, or its memory is damaged.
            Err(_) => std::process::exit(FAILED),
        }
    }
}

/// Why something could not be said, and how many of its bytes are too many.
struct Unsaid {
    reason: String,
    excess: usize,
}

/// So much is said where there is no memory for more.
const MOST_WITHOUT_MEMORY: usize = 256;

/// Cuts so many bytes off the end, or a few more, and says that something is missing.
fn cut(text: &mut String, excess: usize) {
    const MARK: char = '…';
    let mut keep = text.len().saturating_sub(excess + MARK.len_utf8());
    while !text.is_char_boundary(keep) {
        keep -= 1;
    }
    text.truncate(keep);
    text.push(MARK);
}

fn failed(id: Id, fault: &Fault) -> Vec<u8> {
    let head = report_head(About::Failed, id.raw());
    postcard::to_extend(fault, head.to_vec()).unwrap_or_else(|_| head.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_text_and_shorter() {
        let long = "aä€😀".repeat(20);
        for excess in 1..long.len() + 9 {
            let mut text = long.clone();
            cut(&mut text, excess);
            let kept = text.strip_suffix('…').expect("it says so");
            assert!(
                long.starts_with(kept) && (text.len() + excess <= long.len() || kept.is_empty()),
                "{excess}: {text}"
            );
        }
    }
}
