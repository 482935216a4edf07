//! Tasks: messages of a joinable queue that were taken and are not done, and waiting until
//! there are none.
//!
//! There is no counter that a death could leave wrong. A taken message is a lease (rules L1 to
//! L6), and all is done when the ring is empty and no row has a message (L7).
//!
//! J1. Who waits sleeps on an attention line of its own, by the protocol of `wait`: arm, heavy
//! barrier, look, sleep.
//! J2. Who has ended a lease (its row is FREE by then) makes a full fence, and if somebody has
//! armed, looks itself whether all is done; then it wakes all of them. Of two who end the
//! last two leases at once, at least one sees both rows FREE, as each has its own exchange
//! before the fence and its look after it. If that one finds nobody armed, its fence came
//! before the sleeper's barrier; the sleeper's look then missed only the other's row, whose
//! fence so comes after that barrier: it finds the sleeper armed, and sees both rows.
//! J3. Whatever else a look finds unfinished is another's task, whose end is J2 again, or a
//! dead one's: who waits looks for the dead in every slice. What the dead had comes back
//! and is a task until somebody else has done it.
//! So ordinary queues pay for none of this: their `get` never comes here, and the end of a lease
//! asks one private word.

use super::error::GetError;
use super::message::{Message, RoomFor};
use super::port::{Port, Refusal, Wait};
use super::rescue::Unprovable;
use crate::primitive::{Fences, light_barrier, now_ns};
use crate::ring::{Holding, Sink};
use crate::segment::Plan;
use crate::wait::{Deadline, Parked, park};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io;

/// Why `task_done` or `join` failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TaskError {
    /// The queue was created without [`joinable`](crate::Options::joinable).
    NotJoinable,
    /// `task_done` was called more often than this handle has taken messages.
    NoTask,
    /// The deadline passed before all was done.
    TimedOut,
    /// Something is not done, and every handle that could get has left or died. Only where the
    /// option [`peers_gone`](crate::Options::peers_gone) is on.
    PeersGone,
    /// This handle was inherited by `fork`: open the queue anew in the child.
    Forked,
    /// The segment contradicts itself: a peer has scribbled in it.
    Corrupt,
    /// Something is not done, and whether its taker has died cannot be found out: the segment's
    /// descriptor was closed behind our back. Open the queue again.
    RecoveryUnavailable,
}

impl fmt::Display for TaskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TaskError::NotJoinable => "the queue counts no tasks; create it with the option joinable",
            TaskError::NoTask => "this handle has no task that is not done; call task_done once for each message",
            TaskError::TimedOut => "the time is over, and something is not done yet",
            TaskError::PeersGone => "something is not done, and everybody who could take it is gone",
            TaskError::Forked => "this handle was inherited by fork; open the queue anew in the child",
            TaskError::Corrupt => "the queue's shared memory contradicts itself; give this queue up",
            TaskError::RecoveryUnavailable => {
                "something is not done, and this process cannot look for the dead any more: its descriptor \
                 of the segment was closed; open the queue again"
            }
        })
    }
}

impl std::error::Error for TaskError {}

impl From<TaskError> for io::Error {
    fn from(error: TaskError) -> io::Error {
        let kind = match error {
            TaskError::NotJoinable | TaskError::NoTask => io::ErrorKind::InvalidInput,
            TaskError::TimedOut => io::ErrorKind::TimedOut,
            TaskError::PeersGone => io::ErrorKind::BrokenPipe,
            TaskError::Forked | TaskError::RecoveryUnavailable => io::ErrorKind::Unsupported,
            TaskError::Corrupt => io::ErrorKind::InvalidData,
        };
        io::Error::new(kind, error)
    }
}

/// What a handle has taken of a joinable queue, oldest first.
pub(super) struct Tasks {
    open: Option<RefCell<VecDeque<Holding>>>,
}

impl Tasks {
    pub(super) fn of(plan: &Plan) -> Tasks {
        Tasks { open: plan.joinable.then(RefCell::default) }
    }

    /// Whether the queue is joinable.
    #[inline]
    pub(super) fn are_counted(&self) -> bool {
        self.open.is_some()
    }

    fn change<R>(&self, f: impl FnOnce(&mut VecDeque<Holding>) -> R) -> Option<R> {
        self.open.as_ref().map(|open| f(&mut open.borrow_mut()))
    }

    fn oldest(&self) -> Option<Holding> {
        self.change(VecDeque::pop_front).flatten()
    }

    fn newest(&self) -> Option<Holding> {
        self.change(VecDeque::pop_back).flatten()
    }
}

impl Port {
    /// A get of a joinable queue.
    #[cold]
    pub(super) fn get_task<K: Sink>(&self, room: &mut K, wait: Wait) -> Result<(), GetError> {
        if self.ring.has_all_leases(&self.cursors.get) {
            return Err(GetError::TooManyLeases);
        }
        // Before the claim: it may fail.
        self.tasks.change(|open| open.reserve(1));
        let since = now_ns();
        let holding = self.hold(wait, since, room)?;
        self.tasks.change(|open| open.push_back(holding));
        Ok(())
    }

    /// Waits for the first message only.
    #[cold]
    pub(super) fn get_many_tasks<M: Message>(
        &self,
        out: &mut Vec<M::Out>,
        max: usize,
        wait: Wait,
    ) -> Result<usize, GetError> {
        let before = out.len();
        while out.len() - before < max {
            out.reserve(1);
            let taken = out.len() - before;
            let mut room = RoomFor::<M>(M::room(self.payload()));
            let got = self.get_task(&mut room, if taken == 0 { wait } else { Wait::No });
            if got.is_ok() {
                self.fetch::<M>(&mut room.0);
            }
            match got.map(|()| M::decode(room.0)) {
                Ok(Some(value)) => out.push(value),
                Ok(None) => {
                    let error = self.undecodable_task();
                    if taken == 0 {
                        return Err(error);
                    }
                    self.undecodable.set(self.undecodable.get() + 1);
                    break;
                }
                Err(error) if taken == 0 => return Err(error),
                // It will be said again.
                Err(_) => break,
            }
        }
        Ok(out.len() - before)
    }

    /// A message that is no value was taken: it is consumed, and nobody's task.
    #[cold]
    pub(super) fn undecodable_task(&self) -> GetError {
        match self.tasks.newest().map(|holding| self.acknowledge(holding)) {
            Some(Err(error)) => error,
            _ => GetError::of_decoding(),
        }
    }

    pub(super) fn task_done(&self) -> Result<(), TaskError> {
        self.may_count()?;
        let holding = self.tasks.oldest().ok_or(TaskError::NoTask)?;
        self.acknowledge(holding).map_err(|_| TaskError::Corrupt)
    }

    /// This handle takes nothing any more.
    pub(super) fn give_tasks_back(&self) {
        while let Some(holding) = self.tasks.oldest() {
            self.give_back(holding);
        }
    }

    /// J2. A lease has ended.
    pub(super) fn tell_joiners(&self) {
        if !self.tasks.are_counted() {
            return;
        }
        light_barrier(Fences::Symmetric);
        if self.for_joiners.wanted(self.ring.fences) && self.ring.is_all_done() {
            self.for_joiners.wake_all();
        }
    }

    pub(super) fn join(&self, deadline: Deadline) -> Result<(), TaskError> {
        self.may_count()?;
        loop {
            if self.ring.is_all_done() {
                return Ok(());
            }
            if self.is_torn() {
                self.poison();
                return Err(TaskError::Corrupt);
            }
            if deadline.passed() {
                return Err(TaskError::TimedOut);
            }
            match self.look_if_due(false) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(Unprovable) => return Err(TaskError::RecoveryUnavailable),
            }
            if self.consumers_are_gone() {
                // The last thing that one of them did may have been to end the last task.
                return if self.ring.is_all_done() { Ok(()) } else { Err(TaskError::PeersGone) };
            }
            self.sleeping();
            let parked = park(self.for_joiners, self.ring.fences, deadline, || self.ring.is_all_done());
            self.awake();
            match parked {
                // Asked once more, at the top.
                Parked::TryAgain | Parked::SliceEnded | Parked::TimedOut => {}
            }
        }
    }

    fn may_count(&self) -> Result<(), TaskError> {
        match self.usable() {
            Err(Refusal::Forked) => Err(TaskError::Forked),
            Err(_) => Err(TaskError::Corrupt),
            Ok(()) if self.tasks.are_counted() => Ok(()),
            Ok(()) => Err(TaskError::NotJoinable),
        }
    }
}

/// Waiting for all tasks.
macro_rules! join_methods {
    () => {
        /// Waits until all is done: every message that was put is taken and acknowledged, by
        /// [`task_done`](crate::Handle::task_done) or [`ack`](crate::Lease::ack). The queue must
        /// be [`joinable`](crate::Options::joinable).
        ///
        /// A taker that dies does not hang it: what it had comes back, and is waited for until
        /// somebody else has done it. The end of a task wakes the waiter at once, a death
        /// within some 100 ms. Messages that are put meanwhile are waited for too.
        ///
        /// # Errors
        ///
        /// `NotJoinable`, `PeersGone`, `RecoveryUnavailable`, `Forked`, `Corrupt`. No panics.
        pub fn join(&self) -> Result<(), crate::TaskError> {
            self.port.join(Deadline::Never)
        }

        /// As [`join`](Self::join), waiting at most `timeout`; zero asks once.
        ///
        /// # Errors
        ///
        /// As [`join`](Self::join), and `TimedOut`.
        ///
        /// ```
        /// use ringway::{Options, PodQueue, TaskError};
        /// use std::time::Duration;
        ///
        /// let queue = PodQueue::<u32>::with_options(Options::new(8).joinable(true))?;
        /// queue.put(1)?;
        /// let soon = Duration::from_millis(5);
        /// assert_eq!(queue.join_timeout(soon), Err(TaskError::TimedOut));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn join_timeout(&self, timeout: Duration) -> Result<(), crate::TaskError> {
            self.port.join(Deadline::after(timeout))
        }
    };
}

/// Ending tasks.
macro_rules! task_methods {
    () => {
        /// The oldest message that this handle has taken from a
        /// [`joinable`](crate::Options::joinable) queue is done. Once for each message,
        /// however it was taken; not for a [`lease`](Self::lease), which is acknowledged itself.
        ///
        /// What is not done when the handle is dropped or its process dies is given to
        /// somebody else. Never blocks.
        ///
        /// # Errors
        ///
        /// `NoTask` if all that this handle took is done; `NotJoinable`, `Forked`, `Corrupt`. No
        /// panics.
        ///
        /// ```
        /// use ringway::{Options, PodQueue, TaskError};
        ///
        /// let queue = PodQueue::<u32>::with_options(Options::new(8).joinable(true))?;
        /// queue.put(1)?;
        /// queue.get()?;
        /// queue.task_done()?;
        /// assert_eq!(queue.task_done(), Err(TaskError::NoTask));
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn task_done(&self) -> Result<(), crate::TaskError> {
            self.port.task_done()
        }
    };
}

pub(super) use {join_methods, task_methods};
