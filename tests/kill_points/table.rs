//! What is killed, and in which state: the operations, the states and which of them
//! go together. Adding an operation is one line of [`OPERATIONS`] and one of the rows of a
//! kind of message (`plain.rs`, `blocks.rs`).

use super::kind::{Out, unwire, wire, wires};
use super::step::Said;
use super::victim::Victim;
use super::{BATCH, CAPACITY};
use ringway::{GetError, PutError, Side, TaskError};

/// What an operation is called on: what the victim has when it gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Nothing,
    Handle,
    Producer,
    Consumer,
    /// A consumer that holds a lease.
    Lease,
    /// A consumer of a joinable queue that has a task.
    Task,
}

impl On {
    pub fn is_consumer(self) -> bool {
        matches!(self, On::Consumer | On::Lease | On::Task)
    }
}

/// One public operation.
pub struct Operation {
    pub name: &'static str,
    pub on: On,
    /// Of one call: how many messages it puts, how many it takes, and how many of
    /// those may go with a process that dies in it.
    pub puts: usize,
    pub takes: usize,
    pub loses: usize,
    pub run: fn(&mut Victim) -> Said,
}

impl Operation {
    /// Whether its queue is joinable.
    pub fn joinable(&self) -> bool {
        self.name.starts_with("task")
    }
}

/// Which points of a row the short form of the test takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// All of them.
    All,
    /// A sample, evenly spread: other rows take the same steps in plainer states.
    Some,
    /// Few: an operation with thousands of steps, or one that sleeps for a slice.
    Few,
}

/// What surrounds the operation.
pub struct State {
    pub name: &'static str,
    /// Messages that were put before, and how many of them were taken.
    pub put: u64,
    pub got: u64,
    /// The victim has done its side's part of that itself.
    pub warm: bool,
    /// Messages that are put after.
    pub behind: u64,
    /// A process that was killed in the middle of this, and whether somebody has
    /// looked after it before the victim comes.
    pub earlier: Option<(&'static str, bool)>,
    /// Another process sleeps on the other side.
    pub sleeper: bool,
}

const PLAIN: State = State { name: "", put: 0, got: 0, warm: true, behind: 0, earlier: None, sleeper: false };

pub const STATES: &[State] = &[
    State { name: "empty", ..PLAIN },
    State { name: "some", put: 2, ..PLAIN },
    State { name: "last", put: CAPACITY - 1, ..PLAIN },
    State { name: "last-cold", put: CAPACITY - 1, warm: false, ..PLAIN },
    State { name: "full", put: CAPACITY, ..PLAIN },
    State { name: "wrap", put: CAPACITY - 1, got: CAPACITY - 1, ..PLAIN },
    State { name: "wrap-behind", put: CAPACITY - 1, got: CAPACITY - 1, behind: 3, ..PLAIN },
    State { name: "lap", put: CAPACITY, got: CAPACITY, ..PLAIN },
    State { name: "lap-behind", put: CAPACITY, got: CAPACITY, behind: 2, ..PLAIN },
    State { name: "sleeper", sleeper: true, ..PLAIN },
    State { name: "full-sleeper", put: CAPACITY, sleeper: true, ..PLAIN },
    // A dead writer's position at the head, buried and not.
    State { name: "tomb", behind: 1, earlier: Some(("put", true)), ..PLAIN },
    State { name: "claimed", behind: 1, earlier: Some(("put", false)), ..PLAIN },
    State { name: "claimed-many", behind: 1, earlier: Some(("put_many", false)), ..PLAIN },
    // A dead reader's message, brought back and not.
    State { name: "back", put: 3, warm: false, earlier: Some(("get", true)), ..PLAIN },
    State { name: "taken", put: 3, warm: false, earlier: Some(("get", false)), ..PLAIN },
    State { name: "taken-many", put: 3, warm: false, earlier: Some(("get_many", false)), ..PLAIN },
    // A dead one's lease, looked after and not.
    State { name: "lease-back", put: 3, warm: false, earlier: Some(("lease", true)), ..PLAIN },
    State { name: "leased", put: 3, warm: false, earlier: Some(("lease", false)), ..PLAIN },
];

/// After a death at any point, of which nobody has taken notice.
pub const AFTER: State = State { name: "after", earlier: Some(("", false)), ..PLAIN };

/// What leads to the death in the middle of an earlier operation.
pub fn before_earlier(state: &State) -> State {
    State { name: "before", put: state.put, warm: false, ..PLAIN }
}

const B: usize = BATCH;

pub const fn put(name: &'static str, puts: usize, run: fn(&mut Victim) -> Said) -> Operation {
    Operation { name, on: On::Producer, puts, takes: 0, loses: 0, run }
}

pub const fn get(name: &'static str, takes: usize, run: fn(&mut Victim) -> Said) -> Operation {
    Operation { name, on: On::Consumer, puts: 0, takes, loses: takes, run }
}

const fn other(name: &'static str, on: On, run: fn(&mut Victim) -> Said) -> Operation {
    Operation { name, on, puts: 0, takes: 0, loses: 0, run }
}

pub const OPERATIONS: &[Operation] = &[
    put("put", 1, |v| put_said(v.producer().put(wire(&v.batch[0])))),
    put("try_put", 1, |v| put_said(v.producer().try_put(wire(&v.batch[0])))),
    put("put_waits", 1, |v| put_said(v.producer().put_timeout(wire(&v.batch[0]), v.patience))),
    put("put_many", B, |v| put_many_said(v.producer().put_many(&wires(&v.batch)).map(|()| B))),
    put("try_put_many", B, |v| put_many_said(v.producer().try_put_many(&wires(&v.batch)))),
    get("get", 1, |v| get_said(v.consumer().get())),
    get("try_get", 1, |v| get_said(v.consumer().try_get())),
    get("get_waits", 1, |v| get_said(v.consumer().get_timeout(v.patience))),
    get("get_many", B, |v| {
        let mut out = std::mem::take(&mut v.out);
        let result = v.consumer().get_many(&mut out, B);
        get_many_said(result, out)
    }),
    get("try_get_many", B, |v| {
        let mut out = std::mem::take(&mut v.out);
        let result = v.consumer().try_get_many(&mut out, B);
        get_many_said(result, out)
    }),
    // What a dead one has leased comes back, always.
    Operation { loses: 0, ..get("lease", 1, |v| lease_said(v.consumer().lease())) },
    Operation { loses: 0, ..get("try_lease", 1, |v| lease_said(v.consumer().try_lease())) },
    Operation { on: On::Lease, ..get("ack", 1, |v| get_said(v.lease().ack())) },
    Operation {
        on: On::Lease,
        loses: 0,
        ..get("lease_drop", 1, |v| {
            drop(v.lease());
            DONE
        })
    },
    // On a joinable queue: what was taken and is not done comes back.
    Operation { loses: 0, ..get("task_get", 1, |v| task_said(v.consumer().get())) },
    Operation {
        loses: 0,
        ..get("task_get_many", B, |v| {
            let mut out = std::mem::take(&mut v.out);
            task_said(v.consumer().get_many(&mut out, B))
        })
    },
    Operation {
        on: On::Task,
        ..get("task_done", 1, |v| match (v.consumer().task_done(), v.task.take()) {
            (Ok(()), Some(task)) => get_said(Ok(task)),
            _ => FAILED,
        })
    },
    other("task_join", On::Handle, |v| match v.handle().join_timeout(v.patience) {
        Ok(()) => DONE,
        Err(TaskError::TimedOut) => REFUSED,
        Err(_) => FAILED,
    }),
    other("close", On::Handle, |v| {
        v.handle().close();
        DONE
    }),
    other("recover", On::Handle, |v| setup_said(v.handle().recover())),
    other("open", On::Nothing, |v| setup_said(v.open())),
    other("clone", On::Handle, |v| setup_said(v.handle().try_clone().map(std::mem::forget))),
    other("producer", On::Handle, |v| setup_said(v.handle().producer().map(std::mem::forget))),
    other("consumer", On::Handle, |v| setup_said(v.handle().consumer().map(std::mem::forget))),
    other("drop_producer", On::Producer, |v| {
        v.producer = None;
        DONE
    }),
    other("drop_consumer", On::Consumer, |v| {
        v.consumer = None;
        DONE
    }),
    other("drop_handle", On::Handle, |v| {
        v.handle = None;
        DONE
    }),
];

/// Sides by name: producers, consumers.
pub const MODES: &[(&str, (Side, Side))] = &[
    ("mm", (Side::Multi, Side::Multi)),
    ("sm", (Side::Single, Side::Multi)),
    ("ms", (Side::Multi, Side::Single)),
    ("ss", (Side::Single, Side::Single)),
];

/// Whether the state can be had on these sides: a Single consumer claims nothing, and
/// neither does a producer of a queue whose sides are both Single.
pub fn fits(operation: &Operation, state: &State, (producers, consumers): (Side, Side)) -> bool {
    match state.earlier.map(|(op, _)| op) {
        // A Single producer claims one position at a time, and its successor, which
        // is the victim or must put what lies behind, buries that before all else.
        Some("put" | "put_many") if producers == Side::Single => {
            consumers == Side::Multi
                && state.name == "claimed"
                && !matches!(
                    operation.name,
                    "get" | "get_many" | "lease" | "ack" | "lease_drop" | "task_get" | "task_get_many" | "task_done"
                )
        }
        Some("get" | "get_many") => consumers == Side::Multi,
        _ => true,
    }
}

// ---- what an operation said ----

pub const DONE_KIND: u64 = 0;
/// Full, Empty, TimedOut: nothing was put or taken.
pub const REFUSED_KIND: u64 = 1;
pub const FAILED_KIND: u64 = 2;

pub const DONE: Said = Said { count: 0, kind: DONE_KIND, first: 0 };
pub const REFUSED: Said = Said { count: 0, kind: REFUSED_KIND, first: 0 };
pub const FAILED: Said = Said { count: 0, kind: FAILED_KIND, first: 0 };

pub fn put_said<V>(result: Result<(), PutError<V>>) -> Said {
    match result {
        Ok(()) => Said { count: 1, ..DONE },
        Err(PutError::Full(_) | PutError::TimedOut(_)) => REFUSED,
        Err(_) => FAILED,
    }
}

fn put_many_said(result: Result<usize, ringway::PutManyError>) -> Said {
    match result {
        Ok(count) => Said { count: count as u64, ..DONE },
        Err(_) => FAILED,
    }
}

fn get_said(result: Result<Out, GetError>) -> Said {
    match result {
        Ok(message) => Said { count: 1, first: unwire(message)[0], ..DONE },
        Err(GetError::Empty | GetError::TimedOut) => REFUSED,
        Err(_) => FAILED,
    }
}

fn get_many_said(result: Result<usize, GetError>, mut out: Vec<Out>) -> Said {
    match result {
        Ok(count) if count > 0 => Said { count: count as u64, first: unwire(out.swap_remove(0))[0], ..DONE },
        Ok(_) => DONE,
        Err(GetError::Empty) => REFUSED,
        Err(_) => FAILED,
    }
}

/// A lease that is kept: with its process it goes back.
fn lease_said<M: ringway::Message>(result: Result<ringway::Lease<'_, M>, GetError>) -> Said {
    match result {
        Ok(lease) => {
            std::mem::forget(lease);
            DONE
        }
        Err(GetError::Empty | GetError::TimedOut) => REFUSED,
        Err(_) => FAILED,
    }
}

/// The same for a task that is not done.
fn task_said<T>(result: Result<T, GetError>) -> Said {
    match result {
        Ok(_) => DONE,
        Err(GetError::Empty | GetError::TimedOut) => REFUSED,
        Err(_) => FAILED,
    }
}

fn setup_said<T>(result: Result<T, ringway::SetupError>) -> Said {
    if result.is_ok() { DONE } else { FAILED }
}

pub fn operation(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().chain(super::kind::OPERATIONS).find(|operation| operation.name == name)
}

pub fn state(name: &str) -> Option<&'static State> {
    STATES.iter().find(|state| state.name == name)
}
