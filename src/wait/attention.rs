//! The words by which one side asks for the other's attention.

use crate::primitive::{AtomicU32, Fences, FutexWord, Ordering, light_barrier, seeded};

/// What the *other* side reads after each of its operations, in one line of its
/// own: producers read the line of the consumers that may sleep, and the other
/// way round. Both lines stay shared in every cache while nobody sleeps.
///
/// `armed` is a request, not a count: not zero means "somebody may be asleep
/// on `epoch`". The kernel's queue is the list of sleepers, so a dead one
/// leaves nothing to repair.
///
/// Requests and alerts are taken back by an exchange from what was seen, so each is a number that
/// was not there before.
#[repr(C)]
pub(crate) struct Attention {
    /// What the readers of this line must know before they go on: bit 0 says that the
    /// queue is closed (a copy; for `Single` producers the truth), the rest is an
    /// *alert*, not zero while there may be something to look for.
    /// Producers: the consumers may be gone. Consumers: there may be redeliveries.
    pub(crate) news: AtomicU32,
    armed: AtomicU32,
    epoch: FutexWord,
    /// The same as the alert: the side that writes this line may be gone.
    /// Read where there is nothing to do.
    pub(crate) departures: AtomicU32,
    /// How many requests and alerts there were.
    numbers: AtomicU32,
}

/// Bit 0 of `news`.
pub(crate) const CLOSED: u32 = 1;
/// The least alert.
const ALERT: u32 = 2;

/// Exchanges that fail in a row before somebody is taken for a scribbler.
const ATTEMPTS: u32 = 1 << 10;

/// Takes an alert back, unless it was raised since it was `seen`.
fn settle(word: &AtomicU32, seen: u32, to: u32) {
    let _ = word.compare_exchange(seen, to, Ordering::AcqRel, Ordering::Relaxed);
}

impl Attention {
    #[cfg(loom)]
    pub(crate) fn new() -> Self {
        Attention {
            news: AtomicU32::new(0),
            armed: AtomicU32::new(0),
            epoch: FutexWord::new(),
            departures: AtomicU32::new(0),
            numbers: AtomicU32::new(0),
        }
    }

    /// A number that neither a request nor an alert had before (in the last 2^31); never 0.
    fn number(&self) -> u32 {
        let number = || self.numbers.fetch_add(1, Ordering::Relaxed).wrapping_add(1) << 1;
        match number() {
            // Another one has the number 0 next only if all have been through meanwhile.
            0 => number().max(ALERT),
            some => some,
        }
    }

    /// Raises an alert, beside the bits that are `kept`.
    fn raise(&self, word: &AtomicU32, kept: u32) {
        let number = self.number();
        let mut seen = word.load(Ordering::Relaxed);
        for _ in 0..ATTEMPTS {
            // Pair NEWS: what there is to look for was stored before.
            match word.compare_exchange(seen, number | seen & kept, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        word.fetch_or(number, Ordering::Release);
    }

    /// W1. After a publication: is anybody to be woken? One relaxed load where
    /// the sleepers make the heavy fence.
    #[inline(always)]
    pub(crate) fn wanted(&self, fences: Fences) -> bool {
        light_barrier(fences);
        self.armed.load(Ordering::Relaxed) != 0
    }

    /// Whether the queue was closed, as far as this line knows.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        // Pair CLOSED.
        self.news.load(Ordering::Acquire) & CLOSED != 0
    }

    /// Copies the close to the readers of this line.
    pub(crate) fn set_closed(&self) {
        // Pair CLOSED.
        if self.news.load(Ordering::Relaxed) & CLOSED == 0 {
            self.news.fetch_or(CLOSED, Ordering::Release);
        }
    }

    /// There is something that the readers of this line must look for.
    pub(crate) fn alert(&self) {
        self.raise(&self.news, CLOSED);
    }

    /// What stands in `news`, if that is an alert.
    pub(crate) fn alerted(&self) -> Option<u32> {
        // Pair NEWS.
        let news = self.news.load(Ordering::Acquire);
        (news >= ALERT).then_some(news)
    }

    /// The alert that was `seen` has been looked into: nothing is there.
    pub(crate) fn all_clear(&self, seen: u32) {
        settle(&self.news, seen, seen & CLOSED);
    }

    /// Somebody of the side that writes this line has left or died.
    pub(crate) fn has_departed(&self) {
        self.raise(&self.departures, 0);
    }

    /// Not zero: somebody of that side has left or died, and nobody has found another since.
    pub(crate) fn departed(&self) -> u32 {
        // Pair NEWS.
        self.departures.load(Ordering::Acquire)
    }

    /// After the departures `seen`, somebody of that side is there.
    pub(crate) fn is_there(&self, seen: u32) {
        settle(&self.departures, seen, 0);
    }

    /// W1, and whether the queue was closed: the two words of this line that matter
    /// after an operation, in one question.
    #[inline(always)]
    pub(crate) fn stirred(&self, fences: Fences) -> bool {
        light_barrier(fences);
        (self.armed.load(Ordering::Relaxed) | self.news.load(Ordering::Relaxed)) != 0
    }

    /// W2 to W4. Wakes at most `count` sleepers.
    #[cold]
    #[inline(never)]
    pub(crate) fn wake(&self, count: u32) {
        // Before the epoch moves: whoever armed no later than this has read the old one (S1). A
        // request that is read behind W2 may be one of the new epoch, whose sleeper W3 misses.
        let armed = self.armed.load(Ordering::Relaxed);
        // Pair EPOCH: what was published before this is seen by a sleeper that
        // finds the epoch moved.
        self.epoch.bump(Ordering::Release);
        let count = if seeded(34) { i32::MAX as u32 } else { count.max(1) };
        if self.epoch.wake(count) == 0 && armed != 0 && !seeded(35) {
            // Nobody was asleep. A sleeper that armed since makes this fail, as its request has
            // another number; one that armed before and is not yet asleep sees the new epoch.
            let _ = self.armed.compare_exchange(armed, 0, Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// Wakes everybody: after a close, a recovery, a redelivery.
    #[cold]
    pub(crate) fn wake_all(&self) {
        self.wake(i32::MAX as u32);
    }

    /// S1. The epoch to sleep on, read before everything else.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        // Pair EPOCH.
        self.epoch.load(Ordering::Acquire)
    }

    /// S2. Asks to be woken, by what is not zero and was never there before. (A store would do; but
    /// loom lets one slip between the halves of an earlier exchange, see tokio-rs/loom#254.)
    pub(super) fn arm(&self) {
        let _ = self.armed.swap(self.number(), Ordering::Relaxed);
    }

    /// A seeded bug for the models: S1, S2, S4, S5 without S3.
    #[cfg(all(test, loom))]
    pub(crate) fn sleep_without_fence(&self, ready: impl Fn() -> bool) {
        let epoch = self.epoch();
        self.arm();
        if !ready() {
            self.sleep(epoch, u64::MAX);
        }
    }

    /// What S5 sleeps on, for those who have the kernel watch it.
    #[cfg(not(loom))]
    pub(crate) fn word(&self) -> &FutexWord {
        &self.epoch
    }

    /// S5.
    pub(super) fn sleep(&self, epoch: u32, until_ns: u64) {
        self.epoch.wait(epoch, until_ns);
    }
}
