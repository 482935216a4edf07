//! Until when an operation may wait.

use crate::primitive::{now_ns, seeded};
use std::time::{Duration, Instant};

/// Until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(hidden)]
pub enum Deadline {
    /// For ever.
    Never,
    /// Nanoseconds of CLOCK_MONOTONIC.
    At(u64),
}

impl Deadline {
    /// `timeout` from now; one too long for the clock means for ever.
    pub(crate) fn after(timeout: Duration) -> Deadline {
        let late = Duration::from_millis(if seeded(36) { 200 } else { 0 });
        u64::try_from(timeout.saturating_add(late).as_nanos())
            .ok()
            .and_then(|ns| now_ns().checked_add(ns))
            .map_or(Deadline::Never, Deadline::At)
    }

    /// The instant `at`; one in the past has passed.
    pub(crate) fn at(at: Instant) -> Deadline {
        Deadline::after(at.saturating_duration_since(Instant::now()))
    }

    /// Whether there is time to make a peer's work easier first.
    pub(crate) fn is_far(self) -> bool {
        const FAR_NS: u64 = 100_000;
        match self {
            Deadline::Never => true,
            Deadline::At(ns) => ns.saturating_sub(now_ns()) > FAR_NS,
        }
    }

    pub(crate) fn passed(self) -> bool {
        match self {
            Deadline::Never => false,
            Deadline::At(ns) => now_ns() >= ns && !seeded(31),
        }
    }

    /// How long a sleep may be, at most, in whole milliseconds: not less than is left, up to a
    /// minute. None: as long as it takes.
    #[cfg(feature = "serde")]
    pub(crate) fn milliseconds(self) -> Option<u16> {
        const MOST: u64 = 60_000;
        match self {
            Deadline::Never => None,
            Deadline::At(ns) => Some(ns.saturating_sub(now_ns()).div_ceil(1_000_000).min(MOST) as u16),
        }
    }

    /// The end of a sleep that must not be longer than `slice_ns`.
    pub(crate) fn slice(self, slice_ns: u64) -> u64 {
        let slice = now_ns().saturating_add(slice_ns);
        match self {
            Deadline::Never => slice,
            Deadline::At(ns) => ns.min(slice),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_too_long_for_the_clock_is_for_ever() {
        assert_eq!(Deadline::after(Duration::MAX), Deadline::Never);
    }

    #[test]
    fn a_deadline_in_the_past_has_passed() {
        let past = Instant::now() - Duration::from_millis(5);
        assert!(Deadline::at(past).passed());
        assert!(Deadline::after(Duration::ZERO).passed());
        assert!(!Deadline::after(Duration::from_secs(60)).passed());
    }

    #[test]
    fn a_slice_never_ends_after_the_deadline() {
        let soon = Deadline::after(Duration::from_millis(1));
        let Deadline::At(end) = soon else { panic!("a millisecond fits the clock") };
        assert_eq!(soon.slice(1_000_000_000), end);
        assert!(Deadline::Never.slice(1000) <= now_ns() + 1000);
    }
}
