//! What a broadcast can be told when it is created, and what it cannot.

use super::{Options, regions, same, stated_debug};
use crate::error::SetupError;
use crate::queue::message::Message;
use crate::ring::{CAST, PLACE_SIZE, ROLL_SIZE, Side};
use crate::segment::{Plan, RegionKind};

/// What happens when a subscriber of a broadcast is slower than the producers.
///
/// Fixed when the broadcast is created.
///
/// ```
/// use ringway::{Options, PodBroadcast, SlowConsumers, StartAt};
///
/// let options = Options::new(2).slow_consumers(SlowConsumers::DropOldest);
/// let ticks = PodBroadcast::<u32>::with_options(options)?;
/// let slow = ticks.subscribe(StartAt::Now)?;
/// ticks.put_many(&[1, 2, 3])?;
/// assert!(slow.get().unwrap_err().is_lagged());
/// assert_eq!((slow.missed(), slow.get()?, slow.get()?), (1, 2, 3));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SlowConsumers {
    /// Producers wait for the slowest subscriber: nobody misses a message. One that is stopped
    /// is waited for, one that has died is not. The default.
    Block,
    /// Producers never wait for subscribers: the oldest messages are overwritten, and whoever
    /// had not come to them is told so ([`GetError::Lagged`](crate::GetError::Lagged)).
    DropOldest,
}

/// The longest message of bytes where none was stated: a slot is a KiB then.
const DEFAULT_LARGEST: usize = 1012;

impl Options {
    /// What happens when a subscriber of a broadcast is slow. Queues have no such option: there it is
    /// `InvalidOptions`.
    pub fn slow_consumers(mut self, policy: SlowConsumers) -> Options {
        self.slow_consumers = Some(policy);
        self
    }

    /// The same options, of a broadcast.
    pub(in crate::queue) fn for_broadcast(mut self) -> Options {
        self.broadcast = true;
        self
    }

    /// The options and the roles of a participant, of which [`CAST`] says what it is one of.
    pub(in crate::queue) fn for_roles(self, roles: u64) -> (Options, u64) {
        if roles & CAST == 0 { (self, roles) } else { (self.for_broadcast(), roles & !CAST) }
    }

    pub(super) fn plan_broadcast<M: Message>(&self) -> Result<Plan, SetupError> {
        if !self.broadcast {
            return Err(SetupError::options("slow_consumers is for broadcasts; a queue's message is taken once"));
        }
        if self.consumers == Some(Side::Single) {
            return Err(SetupError::options("a broadcast has any number of subscribers: consumers cannot be Single"));
        }
        if self.unbounded {
            return Err(SetupError::options("a broadcast keeps its last messages: it has a capacity"));
        }
        if self.joinable == Some(true) {
            return Err(SetupError::options("a broadcast is not joinable: its messages are nobody's task"));
        }
        if self.leases.is_some_and(|leases| leases > 0) {
            return Err(SetupError::options("a broadcast has no leases: its messages are nobody's alone"));
        }
        if self.arena.is_some_and(|bytes| bytes > 0) {
            return Err(SetupError::options("a broadcast has no arena: every message lies in its slot"));
        }
        let mut plain = self.clone();
        (plain.broadcast, plain.slow_consumers, plain.leases) = (false, None, Some(0));
        if M::shape(None).fixed_payload.is_none() {
            let largest = match (self.inline, self.max_message) {
                (Some(inline), Some(max)) if inline != max => {
                    return Err(SetupError::options(format!(
                        "inline is {inline} and max_message {max}; a broadcast keeps every message in its slot, so \
                         state one of them"
                    )));
                }
                (inline, max) => inline.or(max).unwrap_or(DEFAULT_LARGEST),
            };
            (plain.inline, plain.max_message) = (Some(largest), Some(largest));
        }
        let mut plan = plain.plan::<M>()?;
        plan.broadcast = true;
        plan.drops_oldest = self.slow_consumers == Some(SlowConsumers::DropOldest);
        Ok(plan)
    }

    /// A queue is no broadcast.
    pub(super) fn check_broadcast(&self, found: &Plan) -> Result<(), SetupError> {
        let kind = |broadcast| if broadcast { "a broadcast" } else { "a queue" };
        same("way of delivery", kind(self.broadcast), kind(found.broadcast))?;
        stated_debug("policy for slow consumers", self.slow_consumers, SlowConsumers::of(found))
    }
}

impl SlowConsumers {
    pub(in crate::queue) fn of(plan: &Plan) -> SlowConsumers {
        if plan.drops_oldest { SlowConsumers::DropOldest } else { SlowConsumers::Block }
    }
}

/// Bytes of the cursors of a broadcast.
pub(in crate::queue) fn cursors_size(plan: &Plan) -> u64 {
    ROLL_SIZE as u64 + u64::from(plan.max_participants) * PLACE_SIZE as u64
}

/// All regions of a queue or a broadcast.
pub(in crate::queue) fn regions_with_cursors(plan: &Plan) -> Vec<(RegionKind, u64)> {
    let mut all = regions(plan).to_vec();
    if plan.broadcast {
        all.push((RegionKind::Cursors, cursors_size(plan)));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SetupErrorKind;
    use crate::queue::bytes::Bytes;
    use crate::queue::message::Pod;

    fn broadcast() -> Options {
        Options::new(8).for_broadcast()
    }

    #[test]
    fn what_a_broadcast_cannot_be_is_refused() {
        let refused = [
            broadcast().joinable(true),
            broadcast().leases(1),
            Options::unbounded().for_broadcast(),
            broadcast().consumers(Side::Single),
            broadcast().arena(4096),
            broadcast().max_message(100).inline(52),
            broadcast().max_message((64 << 20) + 1),
            Options::new(8).slow_consumers(SlowConsumers::Block),
            Options::new(8).slow_consumers(SlowConsumers::DropOldest),
        ];
        for options in refused {
            let error = options.plan::<Bytes>().expect_err("it cannot be");
            assert!(matches!(error.kind(), SetupErrorKind::InvalidOptions { .. }), "{options:?}: {error}");
        }
        assert!(broadcast().max_message(9).plan::<Pod<u64>>().is_err());
    }

    #[test]
    fn every_message_of_a_broadcast_fits_its_slot() {
        let largest = |options: Options| {
            let plan = options.plan::<Bytes>().expect("options in range");
            assert!(plan.broadcast && plan.arena == 0 && plan.rows == 0 && !plan.uses_blocks());
            (plan.max_message, plan.inline_size - 4)
        };
        assert_eq!(largest(broadcast()), (1012, 1012));
        assert_eq!(largest(broadcast().max_message(100)), (100, 100));
        assert_eq!(largest(broadcast().inline(100)), (100, 100));
        assert_eq!(largest(broadcast().inline(100).max_message(100).leases(0).joinable(false)), (100, 100));
        assert_eq!(largest(broadcast().producers(Side::Single)), (1012, 1012));
    }

    /// What was there before broadcasts lies where it lay.
    #[test]
    fn a_queue_has_no_cursors() {
        let plan = Options::new(8).plan::<Bytes>().expect("defaults");
        assert!(!plan.broadcast && !plan.drops_oldest);
        assert_eq!(regions_with_cursors(&plan), regions(&plan));
        let plan = broadcast().plan::<Bytes>().expect("defaults");
        assert_eq!(regions_with_cursors(&plan).last(), Some(&(RegionKind::Cursors, 128 + 64 * 256)));
        assert_eq!(regions_with_cursors(&plan).len(), regions(&plan).len() + 1);
    }

    #[test]
    fn a_broadcast_is_no_queue() {
        let plan = broadcast().slow_consumers(SlowConsumers::DropOldest).plan::<Bytes>().expect("options in range");
        assert!(Options::default().check::<Bytes>(&plan).is_err());
        assert!(Options::default().for_broadcast().check::<Bytes>(&plan).is_ok());
        let block = Options::default().for_broadcast().slow_consumers(SlowConsumers::Block);
        assert!(block.check::<Bytes>(&plan).is_err());
        let queue = Options::new(8).plan::<Bytes>().expect("defaults");
        assert!(Options::default().for_broadcast().check::<Bytes>(&queue).is_err());
    }
}
