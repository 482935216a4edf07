//! What can be chosen when a queue is created.

mod broadcast;
mod regions;

use super::bytes::LENGTH_SIZE;
use super::growth::{self, Geometry};
use super::message::Message;
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::Fences;
use crate::ring::{Classes, Side};
use crate::segment::{Directory, Lifetime, Place, Plan, Segment, SegmentName, max_tag};
use crate::wait::WaitPolicy;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;

pub use broadcast::SlowConsumers;
pub(super) use broadcast::{cursors_size, regions_with_cursors};
use regions::rows_size;
pub(super) use regions::{ARENA_ALIGN, classes, regions, slots_size, stride};

/// How to create a queue, and what must be true of one that is opened.
///
/// Creating needs a capacity ([`Options::new`]); everything else has a default.
/// Opening an existing queue takes its properties from the segment, and whatever
/// was stated here explicitly must match, else `Mismatch`.
///
/// | option | default | range |
/// |---|---|---|
/// | [`capacity`](Options::new) | none | 1 to 2^40 messages, exactly |
/// | [`cap`](Options::cap) | a quarter of what is free | [`unbounded`](Options::unbounded) only: bytes |
/// | [`producers`](Options::producers), [`consumers`](Options::consumers) | `Multi` | |
/// | [`max_message`](Options::max_message) | 1 MiB | bytes only: 0 to 1 GiB |
/// | [`inline`](Options::inline) | 52 bytes, or less by `max_message` | bytes only: 4 bytes to 64 MiB, kept in every slot |
/// | [`arena`](Options::arena) | see there, at most 64 MiB | bytes only: room for longer messages |
/// | [`max_participants`](Options::max_participants) | 64 | 1 to 1024 |
/// | [`leases`](Options::leases) | 8 | 0 to 1024 for each handle |
/// | [`joinable`](Options::joinable) | no | needs at least one of `leases` |
/// | [`slow_consumers`](Options::slow_consumers) | `Block` | broadcasts only |
/// | [`lifetime`](Options::lifetime) | `Ephemeral` | named queues only |
/// | [`prefault`](Options::prefault) | 64 MiB | bytes touched at once |
/// | [`type_tag`](Options::type_tag) | the type's last path segment | at most 120 bytes |
/// | [`directory`](Options::directory) | `RINGWAY_DIR`, else `/dev/shm/ringway-UID` | yours, on a tmpfs |
/// | [`wait_policy`](Options::wait_policy) | [`WaitPolicy::default`] | of this handle only |
/// | [`peers_gone`](Options::peers_gone) | anonymous: yes, named: no | of this handle only |
///
/// ```
/// use ringway::{Lifetime, Options, PodQueue, Side};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// let options = Options::new(1000).consumers(Side::Single).lifetime(Lifetime::Persistent);
/// # let options = options.directory(dir.path());
/// let queue = PodQueue::<u64>::create("jobs", options)?;
/// assert_eq!(queue.capacity(), 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(super) capacity: Option<u64>,
    pub(super) unbounded: bool,
    pub(super) cap: Option<u64>,
    pub(super) producers: Option<Side>,
    pub(super) consumers: Option<Side>,
    pub(super) max_message: Option<usize>,
    pub(super) inline: Option<usize>,
    pub(super) arena: Option<u64>,
    pub(super) max_participants: Option<u32>,
    pub(super) lifetime: Option<Lifetime>,
    pub(super) prefault: Option<u64>,
    pub(super) type_tag: Option<String>,
    pub(super) directory: Option<PathBuf>,
    pub(super) wait_policy: Option<WaitPolicy>,
    pub(super) peers_gone: Option<bool>,
    pub(super) leases: Option<u32>,
    pub(super) joinable: Option<bool>,
    pub(super) broadcast: bool,
    pub(super) slow_consumers: Option<SlowConsumers>,
}

/// Bytes inline in a slot of the default byte queue: with its stamp and length
/// it fills one cache line.
const DEFAULT_INLINE: usize = 52;
/// The number of a block has to fit.
const SMALLEST_INLINE: usize = 4;
const LARGEST_INLINE: usize = 64 << 20;
const DEFAULT_MAX_MESSAGE: usize = 1 << 20;
const LARGEST_MAX_MESSAGE: usize = 1 << 30;
const DEFAULT_ARENA_LIMIT: u64 = 64 << 20;
/// Bytes for more than two of the longest messages.
const SEVERAL_LIMIT: u64 = 16 << 20;
const LARGEST_ARENA: u64 = 1 << 44;
const LARGEST_CAPACITY: u64 = 1 << 40;
const DEFAULT_MAX_PARTICIPANTS: u32 = 64;
const LARGEST_MAX_PARTICIPANTS: u32 = 1024;
const DEFAULT_LEASES: u32 = 8;
const LARGEST_LEASES: u32 = 1024;
/// Bytes of all rows together, where leases were asked for, and where not.
const ROWS_LIMIT: u64 = 64 << 20;
const DEFAULT_ROWS_LIMIT: u64 = 64 << 10;
const DEFAULT_PREFAULT: u64 = 64 << 20;

impl Options {
    /// A queue of `capacity` messages; it is full after exactly that many.
    pub fn new(capacity: u64) -> Options {
        Options { capacity: Some(capacity), ..Options::default() }
    }

    /// How many handles may put at once.
    pub fn producers(mut self, side: Side) -> Options {
        self.producers = Some(side);
        self
    }

    /// How many handles may get at once.
    pub fn consumers(mut self, side: Side) -> Options {
        self.consumers = Some(side);
        self
    }

    /// The longest message of a queue of bytes. What is longer is `TooLarge`.
    pub fn max_message(mut self, bytes: usize) -> Options {
        self.max_message = Some(bytes);
        self
    }

    /// The longest message that lies in the ring itself, which is the fastest place.
    /// Every slot has room for it: `capacity` times this much memory. Longer ones lie in
    /// a block of the arena, which costs more: with 56 bytes, both sides `Single`, two
    /// processes passed 41 million messages a second inline and 6 million in blocks. So where
    /// most messages are a little longer than the default, state it.
    pub fn inline(mut self, bytes: usize) -> Options {
        self.inline = Some(bytes);
        self
    }

    /// Bytes of the arena, where messages lie that are longer than
    /// [`inline`](Options::inline): while it is full, `put` waits as on a full ring.
    ///
    /// It is cut into blocks of 256 bytes and four, sixteen, ... times as much, up to
    /// `max_message`; a message takes a block. There is always one block for the longest
    /// message, so this is raised to `max_message` if it is less. By default there is room
    /// for `capacity` of the smallest blocks and twice `max_message`; where `max_message` is stated,
    /// for eight times as much (of short queues twice `capacity`), as far as that is within 16 MiB; but in all for no
    /// more than 64 MiB. The longest messages get about half of it: for four of them at a time state eight times
    /// `max_message`. With one block, producer and consumer take turns at it, which for messages of 1 MiB takes five times
    /// as long as with four.
    pub fn arena(mut self, bytes: u64) -> Options {
        self.arena = Some(bytes);
        self
    }

    /// How many handles may be attached at once, in all processes together.
    pub fn max_participants(mut self, count: u32) -> Options {
        self.max_participants = Some(count);
        self
    }

    /// How many leases one handle may hold at once.
    ///
    /// There is room for as many leases of every participant that there may be, each as
    /// large as a slot, but of all together at most 64 MiB if this is stated and 64 KiB if
    /// it is not (and always that of one handle). Where messages are large the room may
    /// be used up before every handle holds what it may: `TooManyLeases`.
    pub fn leases(mut self, count: u32) -> Options {
        self.leases = Some(count);
        self
    }

    /// Whether the queue counts what is being worked on: a message taken is a *task* until the
    /// taker calls [`task_done`](crate::Handle::task_done), and
    /// [`join`](crate::Handle::join) waits until there are none.
    ///
    /// Every `get` of such a queue is a lease: it costs a copy more, and one handle has at
    /// most [`leases`](Options::leases) open tasks; there is as much room for them as if that had
    /// been stated. A queue without this pays nothing.
    ///
    /// ```
    /// use ringway::{Options, PodQueue};
    ///
    /// let queue = PodQueue::<u32>::with_options(Options::new(8).joinable(true))?;
    /// queue.put_many(&[1, 2])?;
    /// for _ in 0..2 {
    ///     let task = queue.get()?;
    ///     println!("{task}");
    ///     queue.task_done()?;
    /// }
    /// queue.join()?; // usually in another process
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn joinable(mut self, joinable: bool) -> Options {
        self.joinable = Some(joinable);
        self
    }

    /// When a named queue goes away.
    pub fn lifetime(mut self, lifetime: Lifetime) -> Options {
        self.lifetime = Some(lifetime);
        self
    }

    /// How many bytes of the segment are mapped in before the first operation,
    /// so that none of them faults. All memory is allocated in any case; of an
    /// [`unbounded`](Options::unbounded) queue only the bookkeeping is, and mapped in.
    pub fn prefault(mut self, bytes: u64) -> Options {
        self.prefault = Some(bytes);
        self
    }

    /// What the elements are called; both sides must agree. State it when two
    /// programs name the same type differently.
    pub fn type_tag(mut self, tag: impl Into<String>) -> Options {
        self.type_tag = Some(tag.into());
        self
    }

    /// Where the named segment lives, instead of `RINGWAY_DIR`.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Options {
        self.directory = Some(directory.into());
        self
    }

    /// How this handle, and ends taken from it, wait.
    pub fn wait_policy(mut self, policy: WaitPolicy) -> Options {
        self.wait_policy = Some(policy);
        self
    }

    /// Whether this handle, and ends taken from it, say `PeersGone` when the other side
    /// was there and is gone. If not, they wait for a newcomer.
    pub fn peers_gone(mut self, report: bool) -> Options {
        self.peers_gone = Some(report);
        self
    }

    /// The same, unless something else was stated.
    pub(super) fn or_peers_gone(mut self, report: bool) -> Options {
        self.peers_gone.get_or_insert(report);
        self
    }

    /// The tag of a segment that is known to fit, unless something else was stated.
    pub(super) fn or_type_tag(mut self, tag: &str) -> Options {
        self.type_tag.get_or_insert_with(|| tag.to_owned());
        self
    }

    pub(super) fn reports_gone(&self, is_anonymous: bool) -> bool {
        self.peers_gone.unwrap_or(is_anonymous)
    }

    pub(super) fn policy(&self) -> WaitPolicy {
        self.wait_policy.unwrap_or_default()
    }

    pub(super) fn prefault_bytes(&self) -> u64 {
        self.prefault.unwrap_or(DEFAULT_PREFAULT)
    }

    pub(super) fn place(&self, name: &OsStr) -> Result<Place, SetupError> {
        let name = SegmentName::new(name)?;
        let directory = Arc::new(Directory::open(self.directory.as_deref())?);
        Ok(Place { directory, name })
    }

    /// Checks every option against its range and completes it with defaults.
    pub(super) fn plan<M: Message>(&self) -> Result<Plan, SetupError> {
        self.check_growth()?;
        if self.broadcast || self.slow_consumers.is_some() {
            return self.plan_broadcast::<M>();
        }
        let capacity = match self.capacity {
            None if self.unbounded => LARGEST_CAPACITY,
            None => return Err(SetupError::options("creating a queue needs a capacity: Options::new(n)")),
            Some(n) if (1..=LARGEST_CAPACITY).contains(&n) => n,
            Some(n) => return Err(SetupError::options(format!("capacity is {n}; it must be 1 to {LARGEST_CAPACITY}"))),
        };
        let max_participants = self.max_participants.unwrap_or(DEFAULT_MAX_PARTICIPANTS);
        if !(1..=LARGEST_MAX_PARTICIPANTS).contains(&max_participants) {
            return Err(SetupError::options(format!(
                "max_participants is {max_participants}; it must be 1 to {LARGEST_MAX_PARTICIPANTS}"
            )));
        }
        let leases = self.leases.unwrap_or(DEFAULT_LEASES);
        if leases > LARGEST_LEASES {
            return Err(SetupError::options(format!("leases is {leases}; it must be at most {LARGEST_LEASES}")));
        }
        let joinable = self.joinable == Some(true);
        if joinable && leases == 0 {
            return Err(SetupError::options("leases is 0; a joinable queue needs at least 1"));
        }
        let shape = M::shape(self.type_tag.clone());
        if shape.element.tag.len() > max_tag() {
            return Err(SetupError::options(format!(
                "the type tag has {} bytes, at most {} are kept; set a shorter one with type_tag",
                shape.element.tag.len(),
                max_tag()
            )));
        }
        let sizes = match shape.fixed_payload {
            Some(size) => self.fixed_sizes(size)?,
            None => self.sizes(capacity)?,
        };
        let payload = sizes.payload;
        let grown = match self.unbounded {
            true => growth::geometry(self.cap.unwrap_or(0), stride(payload), sizes.max_message, sizes.arena > 0)?,
            false => Geometry { capacity, chunk: 0, arena: sizes.arena },
        };
        let Geometry { capacity, chunk, arena } = grown;
        let plan = Plan {
            kind: shape.kind,
            element: shape.element,
            capacity,
            inline_size: payload,
            max_message: sizes.max_message,
            arena,
            chunk,
            max_participants,
            leases,
            rows: rows(max_participants, self.leases.or(joinable.then_some(leases)), stride(payload)),
            single_producer: self.producers == Some(Side::Single),
            single_consumer: self.consumers == Some(Side::Single),
            lifetime: self.lifetime.unwrap_or(Lifetime::Ephemeral),
            symmetric_fences: Fences::of_this_process(false) == Fences::Blind,
            joinable,
            broadcast: false,
            drops_oldest: false,
        };
        if [slots_size(&plan), rows_size(&plan)].iter().any(|size| size.is_none_or(|bytes| bytes > 1 << 46)) {
            return Err(SetupError::options(format!("{capacity} slots of {payload} bytes exceed the address space")));
        }
        Ok(plan)
    }

    /// Of messages that all have `size` bytes.
    fn fixed_sizes(&self, size: u64) -> Result<Sizes, SetupError> {
        for (what, stated) in [("max_message", self.max_message), ("inline", self.inline)] {
            if let Some(stated) = stated.filter(|stated| *stated as u64 != size) {
                return Err(SetupError::options(format!("{what} is {stated}, but the type has {size} bytes")));
            }
        }
        if self.arena.is_some_and(|bytes| bytes > 0) {
            return Err(SetupError::options("an arena is for messages of bytes: these all fit their slots"));
        }
        Ok(Sizes { payload: size, max_message: size, arena: 0 })
    }

    /// Of messages of bytes.
    fn sizes(&self, capacity: u64) -> Result<Sizes, SetupError> {
        let max_message = self.max_message.unwrap_or_else(|| DEFAULT_MAX_MESSAGE.max(self.inline.unwrap_or(0)));
        if max_message > LARGEST_MAX_MESSAGE {
            return Err(SetupError::options(format!(
                "max_message is {max_message}; it must be at most {LARGEST_MAX_MESSAGE}"
            )));
        }
        let inline = self.inline.unwrap_or(DEFAULT_INLINE.min(max_message));
        if inline > max_message {
            return Err(SetupError::options(format!("inline is {inline}, more than max_message, {max_message}")));
        }
        if inline > LARGEST_INLINE {
            return Err(SetupError::options(format!("inline is {inline}; it must be at most {LARGEST_INLINE}")));
        }
        let payload = (inline + LENGTH_SIZE) as u64;
        if inline == max_message {
            if self.arena.is_some_and(|bytes| bytes > 0) {
                return Err(SetupError::options("an arena, but max_message is not more than inline"));
            }
            return Ok(Sizes { payload, max_message: max_message as u64, arena: 0 });
        }
        if inline < SMALLEST_INLINE {
            return Err(SetupError::options(format!("inline is {inline}; with an arena at least {SMALLEST_INLINE}")));
        }
        let (inline, max_message) = (inline as u64, max_message as u64);
        let arena = self.arena.unwrap_or_else(|| {
            let small = capacity.saturating_mul(Classes::smallest(inline));
            let least = 2 * max_message;
            let several = if self.max_message.is_some() { capacity.min(4) * least } else { least };
            small.saturating_add(several.min(SEVERAL_LIMIT).max(least)).min(DEFAULT_ARENA_LIMIT)
        });
        if arena > LARGEST_ARENA {
            return Err(SetupError::options(format!("arena is {arena}; it must be at most {LARGEST_ARENA}")));
        }
        Ok(Sizes { payload, max_message, arena: arena.max(Classes::largest(max_message)) })
    }

    /// Whether a capacity was stated, or something that only makes sense with one.
    fn is_sized(&self) -> bool {
        self.capacity.is_some() || self.arena.is_some()
    }

    /// What was stated must be true of a segment that is opened.
    pub(super) fn check<M: Message>(&self, found: &Plan) -> Result<(), SetupError> {
        let shape = M::shape(self.type_tag.clone());
        self.check_broadcast(found)?;
        same("kind of messages", shape.kind.name(), found.kind.name())?;
        same("element type", &shape.element.tag, &found.element.tag)?;
        same("element size", shape.element.size, found.element.size)?;
        same("element alignment", shape.element.align, found.element.align)?;
        let stated_inline = self.inline.map(|inline| (inline + LENGTH_SIZE) as u64);
        stated("payload of a slot", shape.fixed_payload.or(stated_inline), found.inline_size)?;
        let side = |single| if single { Side::Single } else { Side::Multi };
        stated("capacity", self.capacity, found.capacity)?;
        same("being unbounded", self.unbounded || !self.is_sized() && found.chunk > 0, found.chunk > 0)?;
        if self.unbounded && self.cap.is_some() {
            let cap = self.cap.unwrap_or(0);
            let expected = growth::geometry(cap, stride(found.inline_size), found.max_message, found.arena > 0)?;
            same("messages that the cap allows", expected.capacity, found.capacity)?;
            same("bytes that the cap allows for long messages", expected.arena, found.arena)?;
        }
        stated("longest message", self.max_message.map(|n| n as u64), found.max_message)?;
        stated(
            "bytes of the arena",
            self.arena.map(|_| self.sizes(found.capacity)).transpose()?.map(|s| s.arena),
            found.arena,
        )?;
        stated("limit of participants", self.max_participants, found.max_participants)?;
        stated("leases of a handle", self.leases, found.leases)?;
        stated("being joinable", self.joinable, found.joinable)?;
        stated_debug("producers' side", self.producers, side(found.single_producer))?;
        stated_debug("consumers' side", self.consumers, side(found.single_consumer))?;
        stated_debug("lifetime", self.lifetime, found.lifetime)
    }
}

/// Bytes of a slot's payload, of the longest message, of the arena.
struct Sizes {
    payload: u64,
    max_message: u64,
    arena: u64,
}

fn same<T: PartialEq + ToString>(what: &'static str, expected: T, found: T) -> Result<(), SetupError> {
    if expected == found {
        return Ok(());
    }
    let (expected, found) = (expected.to_string(), found.to_string());
    Err(SetupError::new(SetupErrorKind::Mismatch { what, expected, found }))
}

fn stated<T: PartialEq + ToString>(what: &'static str, stated: Option<T>, found: T) -> Result<(), SetupError> {
    stated.map_or(Ok(()), |expected| same(what, expected, found))
}

fn stated_debug<T: std::fmt::Debug>(what: &'static str, stated: Option<T>, found: T) -> Result<(), SetupError> {
    stated.map_or(Ok(()), |expected| same(what, format!("{expected:?}"), format!("{found:?}")))
}

/// How many rows there are for the leases of all handles, if so many are `stated` for one
/// or, if none are, by default.
fn rows(max_participants: u32, stated: Option<u32>, stride: u64) -> u32 {
    let each = stated.unwrap_or(DEFAULT_LEASES);
    let limit = if stated.is_some() { ROWS_LIMIT } else { DEFAULT_ROWS_LIMIT };
    let fit = u32::try_from(limit / stride.max(1)).unwrap_or(u32::MAX);
    max_participants.saturating_mul(each).min(fit.max(each))
}

/// Removes the name of a queue, whoever uses it: handles that have it go on.
///
/// Blocks for at most 0.2 s while others attach. Errors: `NotFound`,
/// `NotASegment`, `InvalidName`, `Directory`, `Busy`.
///
/// ```
/// use ringway::{ByteQueue, Lifetime, Options};
///
/// # let dir = tempfile::tempdir_in("/dev/shm")?;
/// # // SAFETY: this doc test has one thread.
/// # unsafe { std::env::set_var("RINGWAY_DIR", dir.path()) };
/// ByteQueue::create("kept", Options::new(4).lifetime(Lifetime::Persistent))?;
/// ringway::unlink("kept")?;
/// assert!(ByteQueue::open("kept").unwrap_err().is_not_found());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn unlink(name: impl AsRef<OsStr>) -> Result<(), SetupError> {
    Segment::unlink(&Options::default().place(name.as_ref())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::bytes::Bytes;
    use crate::queue::message::Pod;
    use crate::segment::Header;

    /// What a queue takes beyond its slots and its arena: at most 16 KiB, 256 bytes for each
    /// participant, the room for leases, and 64 bytes for each block.
    #[test]
    fn bookkeeping_is_bounded() {
        let bound = |plan: &Plan| {
            let slots = plan.capacity * stride(plan.inline_size);
            let (stride, rows) = (stride(plan.inline_size), u64::from(plan.rows));
            assert!(rows >= 8 && rows * stride <= (64 << 10).max(8 * stride));
            let arena = plan.arena + 64 * classes(plan).blocks();
            (16 << 10) + 256 * u64::from(plan.max_participants) + rows * (stride + 16) + slots + arena
        };
        for capacity in [1, 3, 1000, 65536] {
            for participants in [1, 64, 1024] {
                let options = Options::new(capacity).max_participants(participants);
                let plans = [options.plan::<Pod<u64>>(), options.plan::<Bytes>(), options.plan::<Pod<[u8; 1000]>>()];
                for plan in plans.map(|plan| plan.expect("options in range")) {
                    let total = Header::new(plan.clone(), 0, 0, &regions(&plan)).expect("fits").total_size;
                    assert!(total <= bound(&plan), "{total} bytes for {plan:?}");
                }
            }
        }
    }

    #[test]
    fn options_out_of_range_are_refused() {
        let refused = [
            Options::default(),
            Options::new(0),
            Options::new(u64::MAX),
            Options::new(1).max_participants(0),
            Options::new(1).max_participants(1025),
            Options::new(1).leases(1025),
            Options::new(1).max_message((1 << 30) + 1),
            Options::new(1).inline((64 << 20) + 1),
            Options::new(1).inline(100).max_message(99),
            Options::new(1).inline(3),
            Options::new(1).inline(100).max_message(100).arena(4096),
            Options::new(1).arena(1 << 45),
            Options::new(1 << 40).inline(1 << 20),
            Options::new(1).type_tag("x".repeat(121)),
        ];
        for options in refused {
            let error = options.plan::<Bytes>().expect_err("out of range");
            assert!(matches!(error.kind(), SetupErrorKind::InvalidOptions { .. }), "{options:?}: {error}");
        }
        assert!(Options::new(1).max_message(9).plan::<Pod<u64>>().is_err());
        assert!(Options::new(1).max_message(8).plan::<Pod<u64>>().is_ok());
        assert!(Options::new(1).arena(4096).plan::<Pod<u64>>().is_err());
    }

    /// An arena is no larger than was asked for, unless the longest message needs it, and
    /// most of it is used.
    #[test]
    fn an_arena_is_cut_into_blocks() {
        for capacity in [1, 64, 1 << 20] {
            for max_message in [53, 100, 256, 257, 4096, 65536, 100_000, 1 << 20] {
                for bytes in [0, 1, 10_000, 1 << 20, 5_000_000, 64 << 20] {
                    let options = Options::new(capacity).max_message(max_message).arena(bytes);
                    let plan = options.plan::<Bytes>().expect("options in range");
                    let classes = classes(&plan);
                    let total = classes.bytes();
                    assert!(total <= plan.arena && plan.arena <= bytes.max(max_message as u64 + 4096));
                    let waste = plan.arena - total;
                    assert!(
                        waste < Classes::smallest(52).max(Classes::largest(max_message as u64)),
                        "{waste} of {plan:?}"
                    );
                    let sizes: Vec<_> = classes.iter().map(|class| class.size).collect();
                    assert!(sizes.is_sorted() && sizes.last().is_some_and(|size| *size >= max_message as u64));
                    assert!(classes.iter().last().is_some_and(|class| class.count > 0));
                }
            }
        }
        let plan = Options::new(1000).plan::<Bytes>().expect("defaults");
        assert!(plan.arena < 3 << 20, "who does not say how long messages are, does not pay for long ones: {plan:?}");
        let classes: Vec<_> = classes(&plan).iter().map(|class| (class.size, class.count)).collect();
        assert_eq!(classes[0].0, 256);
        assert!(classes[0].1 >= 1000, "{classes:?}");
    }

    /// Producer and consumer do not take turns at one block, where the longest message was stated.
    #[test]
    fn an_arena_has_several_blocks_for_the_longest_message() {
        for (capacity, max_message, least) in [
            (4, 64 << 10, 4),
            (1000, 64 << 10, 4),
            (4, 1 << 20, 4),
            (1000, 1 << 20, 4),
            (2, 1 << 20, 2),
            (1, 1 << 20, 1),
            (1000, 4 << 20, 2),
            (1000, 16 << 20, 1),
        ] {
            let plan = Options::new(capacity).max_message(max_message).plan::<Bytes>().expect("options in range");
            let largest = classes(&plan).iter().last().map_or(0, |class| class.count);
            assert!(largest >= least, "{largest} of {max_message}: {plan:?}");
            assert!(plan.arena <= DEFAULT_ARENA_LIMIT);
        }
    }

    #[test]
    fn a_slot_that_fits_a_line_never_crosses_one() {
        let strides = [(0, 8), (1, 16), (8, 16), (24, 32), (40, 64), (56, 64), (57, 128), (120, 128), (1024, 1088)];
        for (payload, expected) in strides {
            assert_eq!(stride(payload), expected, "payload {payload}");
        }
    }
}
