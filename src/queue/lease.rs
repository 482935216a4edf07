//! Leases: messages that stay the queue's until they are acknowledged.

use super::error::GetError;
use super::get::MOST_HUSKS;
use super::message::{Message, RoomFor};
use super::port::{Port, Refusal, Wait};
use crate::primitive::{now_ns, spin_hint};
use crate::ring::{Get, Holding, Leased, Sink};

/// A message that was handed out and is still the queue's.
///
/// [`ack`](Lease::ack) consumes it. Dropping the lease gives the message back, and when the
/// process dies the queue takes it back: in both cases somebody gets it again, before
/// all other messages, with a [`redelivered`](Lease::redelivered) count. So a message is
/// never lost between taking it and being done with it; it may be seen twice, and then says
/// so. The queue goes on meanwhile: a lease does not hold up the messages behind it.
///
/// Its message is there by `Deref`. What other participants see of it: `len` does not count
/// it, and a closed queue is not drained while somebody else holds it.
///
/// ```
/// let queue = ringway::ByteQueue::bounded(4)?;
/// queue.put(b"job")?;
/// let lease = queue.lease()?;
/// assert_eq!((lease.as_slice(), lease.redelivered()), (&b"job"[..], 0));
/// drop(lease); // not done: somebody gets it again
/// let lease = queue.lease()?;
/// assert_eq!(lease.redelivered(), 1);
/// assert_eq!(lease.ack()?, b"job");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a lease gives its message back"]
pub struct Lease<'q, M: Message> {
    guard: Guard<'q>,
    value: M::Out,
}

/// What gives the message back.
struct Guard<'q> {
    port: &'q Port,
    holding: Option<Holding>,
    id: u64,
    redelivered: u32,
}

impl<M: Message> Lease<'_, M> {
    /// The message's number, unique for the life of the queue's segment and the same each
    /// time it is handed out: to recognise one that was seen before.
    pub fn id(&self) -> u64 {
        self.guard.id
    }

    /// How often this message was handed out before, to somebody who died or gave it back.
    /// A count that has reached 127 stays there; of readers that died inside a `get`,
    /// before they had it, sixteen count as none.
    pub fn redelivered(&self) -> u32 {
        self.guard.redelivered
    }

    /// The message is consumed, and the caller's. Never blocks.
    ///
    /// # Errors
    ///
    /// `Forked`: the lease was inherited by `fork`, and is still its owner's. `Corrupt`: a
    /// peer has scribbled over it, or the handle said `Corrupt` before. No panics.
    pub fn ack(mut self) -> Result<M::Out, GetError> {
        self.guard.port.usable().map_err(Refusal::into_get)?;
        if let Some(holding) = self.guard.holding.take() {
            self.guard.port.acknowledge(holding)?;
        }
        Ok(self.value)
    }
}

impl<M: Message> std::ops::Deref for Lease<'_, M> {
    type Target = M::Out;

    fn deref(&self) -> &M::Out {
        &self.value
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if let Some(holding) = self.holding.take() {
            self.port.give_back(holding);
        }
    }
}

impl<M: Message> std::fmt::Debug for Lease<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lease")
            .field("id", &self.id())
            .field("redelivered", &self.redelivered())
            .finish_non_exhaustive()
    }
}

impl Port {
    pub(super) fn lease<M: Message>(&self, wait: Wait) -> Result<Lease<'_, M>, GetError> {
        self.ready_to_get().map_err(Refusal::into_get)?;
        if self.ring.has_all_leases(&self.cursors.get) {
            return Err(GetError::TooManyLeases);
        }
        let mut room = RoomFor::<M>(M::room(self.payload));
        let since = now_ns();
        let holding = self.hold(wait, since, &mut room)?;
        // Copied; the block is the lease's until it ends.
        M::fetch(&mut room.0, &self.ring.arena);
        match M::decode(room.0) {
            Some(value) => {
                let (id, redelivered) = (holding.id, holding.count);
                Ok(Lease { guard: Guard { port: self, holding: Some(holding), id, redelivered }, value })
            }
            None => {
                let error = GetError::of_decoding();
                self.acknowledge(holding)?;
                Err(error)
            }
        }
    }

    /// Waits for a message to lease.
    pub(super) fn hold<K: Sink>(&self, wait: Wait, since: u64, sink: &mut K) -> Result<Holding, GetError> {
        // As in a get, the message that comes is nearly always simply there, and soon.
        let is_there = self.ring.may_get(&self.cursors.get);
        let is_fast = self.ring.may_lease_fast(&self.cursors.get);
        let spins = is_fast && !is_there && wait != Wait::No && self.policy.get().spins();
        if spins {
            self.ran_dry(wait);
        }
        if (is_fast && is_there || spins)
            && let Some(holding) = self.hold_fast(spins, since, sink)
        {
            return Ok(holding);
        }
        self.wait_to_get(wait, spins, || {
            for _ in 0..MOST_HUSKS {
                let held = self.attempt_lease(since, sink);
                self.shrink();
                let held = held?;
                if !matches!(held, Some(None)) {
                    return Ok(held.flatten());
                }
            }
            Ok(None)
        })
    }

    /// A message that is there, or comes while this `spins`.
    fn hold_fast<K: Sink>(&self, spins: bool, since: u64, sink: &mut K) -> Option<Holding> {
        let (mut turn, turns) = (0, if spins { self.patience.turns() } else { 0 });
        let leased = self.ring.lease_fast(&self.cursors.get, since, sink, || {
            turn += 1;
            if turn < turns {
                spin_hint();
            }
            turn < turns
        });
        match leased {
            Leased::Yes(holding) => {
                if spins {
                    self.patience.spin_paid(turn);
                }
                self.leased(Some(holding))
            }
            Leased::Husk => self.leased(None),
            Leased::TooMany | Leased::No(_) => None,
        }
    }

    /// One attempt. None: there was nothing; `Some(None)`: a husk was.
    fn attempt_lease<K: Sink>(&self, since: u64, sink: &mut K) -> Result<Option<Option<Holding>>, GetError> {
        let get = &self.cursors.get;
        if let Some(seen) = self.for_consumers.alerted() {
            match self.ring.lease_back(get, since, sink) {
                Leased::Yes(holding) => return Ok(Some(self.leased(Some(holding)))),
                Leased::Husk => return Ok(Some(self.leased(None))),
                Leased::TooMany => return Err(GetError::TooManyLeases),
                Leased::No(_) => self.nothing_came_back(seen),
            }
        }
        if self.ring.is_closing_unawares(get) && self.has_ended()? {
            return Err(GetError::Closed);
        }
        let mut leased = self.ring.try_lease(get, since, sink);
        if leased == Leased::No(Get::Closing) {
            if self.has_ended()? {
                return Err(GetError::Closed);
            }
            leased = self.ring.try_lease(get, since, sink);
        }
        match leased {
            Leased::Yes(holding) => Ok(Some(self.leased(Some(holding)))),
            Leased::Husk => Ok(Some(self.leased(None))),
            Leased::TooMany => Err(GetError::TooManyLeases),
            Leased::No(why) => self.nothing(why),
        }
    }

    /// A slot was released.
    fn leased(&self, holding: Option<Holding>) -> Option<Holding> {
        self.after_get(1, self.ring.fences);
        holding
    }

    pub(super) fn acknowledge(&self, holding: Holding) -> Result<(), GetError> {
        if !self.ring.acknowledge(&self.cursors.get, holding) {
            self.poison();
            return Err(GetError::Corrupt);
        }
        if holding.is_block {
            self.block_freed();
        }
        self.lease_ended();
        Ok(())
    }

    pub(super) fn give_back(&self, holding: Holding) {
        if self.usable().is_err() {
            return;
        }
        if !self.ring.give_back(&self.cursors.get, holding) {
            return self.poison();
        }
        self.came_back();
        self.lease_ended();
    }

    /// Messages are the queue's again: consumers look for them first.
    pub(super) fn came_back(&self) {
        self.for_consumers.alert();
        // A Single consumer's hot path does not look at the alert.
        self.cursors.get.stop_fast_path();
        if self.for_producers.wanted(self.ring.fences) {
            self.wake(self.for_producers, 1);
        }
    }

    /// While the queue is closed, other consumers may be waiting for this very lease.
    fn lease_ended(&self) {
        if self.for_consumers.is_closed() && self.for_producers.wanted(self.ring.fences) {
            self.for_producers.wake_all();
        }
        self.tell_joiners();
    }
}
