//! Where the ring's words lie. Layout only: no algorithm.
//!
//! ```text
//! Control (512 bytes)                  Participant (256 bytes each)
//! +0    tail    claimed by producers   +0    put intent: start, length
//! +128  head    claimed by consumers   +16   get intent: start, length
//! +256  taken   Single consumer's      +32   puts, gets so far, +48 hazards
//!                                      +128  who: pid, roles, attached, sleeps, ...
//!               exact cursor
//! +384  holders of the Single sides, end
//! ```
//!
//! `head` and `tail` are the claim words of `Multi` sides; of a `Single`
//! consumer `head` is the lagging copy of `taken`; a `Single` producer has no use
//! for `tail`. Each word that one side stores on every operation has
//! two cache lines of its own.

use crate::primitive::{AtomicU64, Line};

/// The shared words of one ring.
#[repr(C)]
pub(crate) struct Control {
    pub(super) tail: Line<AtomicU64>,
    pub(super) head: Line<AtomicU64>,
    pub(super) taken: Line<AtomicU64>,
    pub(crate) seldom: Line<Seldom>,
}

/// What no operation touches while a queue is open.
#[repr(C)]
pub(crate) struct Seldom {
    /// Pids of the holders of Single sides, for display only: `[producer, consumer]`.
    pub(crate) holders: [AtomicU64; 2],
    /// Where the queue ends, once that is decided; 0 before. (S2, S3)
    pub(super) end: AtomicU64,
}

/// One participant's own lines; only it stores here while it lives.
#[repr(C)]
pub(crate) struct Participant {
    pub(super) intents: Line<Intents>,
    pub(crate) who: Line<Who>,
}

/// What the participant has announced before claiming it. (R3)
#[repr(C)]
pub(crate) struct Intents {
    pub(super) put_start: AtomicU64,
    pub(super) put_len: AtomicU64,
    pub(super) get_start: AtomicU64,
    pub(super) get_len: AtomicU64,
    /// For people who look inside: what it has put and got on `Multi` sides so far.
    pub(super) puts: AtomicU64,
    pub(super) gets: AtomicU64,
    /// Chunks, plus one, whose slots it looks at: for a put, for a get, and for two who
    /// look for the dead. 0: none. (G2)
    pub(super) hazards: [AtomicU64; 4],
}

/// For people who look inside; but `roles` also says whether there is anybody to wait for.
#[repr(C)]
pub(crate) struct Who {
    pub(crate) pid: AtomicU64,
    /// [`PUTS`] and [`GETS`]; 0 once it has left.
    pub(crate) roles: AtomicU64,
    /// Seconds since the Unix epoch.
    pub(crate) attached: AtomicU64,
    pub(crate) sleeps: AtomicU64,
    pub(crate) wakes: AtomicU64,
    /// CLOCK_MONOTONIC of when it fell asleep, in nanoseconds; 0: it is awake.
    pub(crate) asleep_since: AtomicU64,
    /// Where it took over a `Single` side, producers' and consumers': what it has put or
    /// got is counted from there. 0: it has not.
    pub(crate) single_from: [AtomicU64; 2],
}

/// Bits of [`Who::roles`].
pub(crate) const PUTS: u64 = 1;
pub(crate) const GETS: u64 = 2;
/// Beside them where somebody asks for a broadcast; never stored.
pub(crate) const CAST: u64 = 4;

pub(crate) const PARTICIPANT_SIZE: usize = 256;

#[cfg(not(loom))]
const _: () = {
    assert!(size_of::<Control>() == 512);
    assert!(core::mem::offset_of!(Control, head) == 128);
    assert!(core::mem::offset_of!(Control, taken) == 256);
    assert!(core::mem::offset_of!(Control, seldom) == 384);
    assert!(size_of::<Participant>() == PARTICIPANT_SIZE);
    assert!(core::mem::offset_of!(Participant, who) == 128);
};

impl Control {
    /// The words of a fresh ring: every position below `capacity` is history.
    #[cfg(loom)]
    pub(crate) fn new(capacity: u64) -> Control {
        let word = |value| Line(AtomicU64::new(value));
        Control {
            tail: word(capacity),
            head: word(capacity),
            taken: word(capacity),
            seldom: Line(Seldom { holders: [AtomicU64::new(0), AtomicU64::new(0)], end: AtomicU64::new(0) }),
        }
    }

    /// Sets a ring whose memory is zero to its first state; nobody else has it yet.
    pub(crate) fn initialise(&self, capacity: u64) {
        use crate::primitive::Ordering::Relaxed;
        for word in [&self.tail.0, &self.head.0, &self.taken.0] {
            word.store(capacity, Relaxed);
        }
    }
}

impl Who {
    /// Of a participant that has just come.
    pub(crate) fn reset(&self, pid: u32, roles: u64) {
        use crate::primitive::Ordering::{Relaxed, Release};
        self.pid.store(u64::from(pid), Relaxed);
        for word in [&self.sleeps, &self.wakes, &self.asleep_since, &self.single_from[0], &self.single_from[1]] {
            word.store(0, Relaxed);
        }
        self.roles.store(roles, Release);
    }
}

#[cfg(loom)]
impl Participant {
    pub(crate) fn new() -> Participant {
        let zero = || AtomicU64::new(0);
        Participant {
            intents: Line(Intents {
                put_start: zero(),
                put_len: zero(),
                get_start: zero(),
                get_len: zero(),
                puts: zero(),
                gets: zero(),
                hazards: [zero(), zero(), zero(), zero()],
            }),
            who: Line(Who {
                pid: zero(),
                roles: zero(),
                attached: zero(),
                sleeps: zero(),
                wakes: zero(),
                asleep_since: zero(),
                single_from: [zero(), zero()],
            }),
        }
    }
}
