//! When messages are due, and the sender that keeps to it.
//!
//! An open loop: when a message is due does not depend on how the ones before it fared. Who is
//! late sends at once, and what is late counts from the moment at which it was due. Knows nothing
//! of queues and processes.

#![allow(unsafe_code)]

use crate::bench::control;
use anyhow::{Context, Result};
use hdrhistogram::Histogram;

const SECOND: u64 = 1_000_000_000;
/// The longest time that is told from longer ones.
const LONGEST_NS: u64 = 60 * SECOND;
/// The sender sleeps until so long before a message is due, then it spins.
const SPIN_NS: u64 = 100_000;

/// What a look at the clock never takes, unless the process is pre-empted.
const STEP_NS: u64 = 10_000;

/// How long things took, in nanoseconds, to three digits.
pub type Times = Histogram<u64>;

pub fn times() -> Result<Times> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).context("histogram")
}

/// The moments at which messages are due: one in each period, somewhere inside it, so that they
/// do not beat with timers. Whoever knows the rate knows them all.
#[derive(Clone, Copy, Debug)]
pub struct Arrivals {
    per_second: u64,
    period_ns: u64,
}

impl Arrivals {
    /// At most one in a nanosecond; `plan::FASTEST` is below that.
    pub fn new(per_second: u64) -> Arrivals {
        let per_second = per_second.clamp(1, SECOND);
        Arrivals { per_second, period_ns: SECOND / per_second }
    }

    /// When message `i` is due, in nanoseconds from the start. Grows with every message. For less
    /// than 18 thousand million messages.
    #[inline(always)]
    pub fn at(self, i: u64) -> u64 {
        i * SECOND / self.per_second + ((u64::from(scattered(i)) * self.period_ns) >> 32)
    }

    /// How long it takes until `messages` are due.
    pub fn span(self, messages: u64) -> u64 {
        messages * SECOND / self.per_second
    }
}

/// A number that looks random, and is the same for everybody (splitmix64).
#[inline(always)]
fn scattered(i: u64) -> u32 {
    let mut x = i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 32) as u32
}

/// The time, and sleeping until one.
pub trait Clock {
    fn now(&self) -> u64;
    /// May return a little later, or earlier.
    fn sleep_until(&self, ns: u64);
}

/// The clock that all processes share.
pub struct Monotonic;

impl Clock for Monotonic {
    #[inline(always)]
    fn now(&self) -> u64 {
        control::now_ns()
    }

    fn sleep_until(&self, ns: u64) {
        let until = libc::timespec { tv_sec: (ns / SECOND) as libc::time_t, tv_nsec: (ns % SECOND) as libc::c_long };
        // SAFETY: `until` is a valid time, and nobody asks for what would remain of it.
        unsafe {
            libc::clock_nanosleep(libc::CLOCK_MONOTONIC, libc::TIMER_ABSTIME, &raw const until, std::ptr::null_mut());
        }
    }
}

/// Makes this process's timers exact: by default they may be 50 µs late.
pub fn exact_timers() {
    // SAFETY: sets a number of this thread; if it is refused, the sender spins less, and is late more often.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong, 0, 0, 0) };
}

/// What the sender did.
pub struct Kept {
    pub messages: u64,
    /// How long after its moment each was begun to be sent.
    pub late: Times,
    /// How long it spun before moments, and had the processor.
    pub spun_ns: u64,
    /// How long it was sending.
    pub sending_ns: u64,
}

/// Sends `count` messages when they are due from `start_ns` on; none is begun after `stop_ns`.
pub fn keep<C: Clock>(
    clock: &C,
    arrivals: Arrivals,
    start_ns: u64,
    count: u64,
    stop_ns: u64,
    mut send: impl FnMut(u64) -> Result<()>,
) -> Result<Kept> {
    let mut kept = Kept { messages: 0, late: times()?, spun_ns: 0, sending_ns: 0 };
    let mut now = clock.now();
    while kept.messages < count {
        let due = start_ns + arrivals.at(kept.messages);
        if due > now + SPIN_NS {
            clock.sleep_until(due - SPIN_NS);
            now = clock.now();
        }
        while now < due {
            std::hint::spin_loop();
            let before = std::mem::replace(&mut now, clock.now());
            // More than a step: somebody else had the processor.
            kept.spun_ns += if now - before < STEP_NS { now - before } else { 0 };
        }
        if now >= stop_ns {
            break;
        }
        kept.late.saturating_record(now - due);
        send(kept.messages)?;
        kept.messages += 1;
        let after = clock.now();
        kept.sending_ns += after - now;
        now = after;
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const RATES: [u64; 8] = [1, 7, 10, 1_000, 100_000, 1_000_000, 3_141_592, 95_000_000];

    #[test]
    fn every_message_is_due_later_than_the_one_before() {
        for rate in RATES {
            let arrivals = Arrivals::new(rate);
            let mut before = None;
            for i in 0..200_000 {
                let at = arrivals.at(i);
                assert!(before.is_none_or(|before| at > before), "message {i} at {rate} a second");
                before = Some(at);
            }
        }
    }

    #[test]
    fn one_is_due_in_each_period() {
        for rate in RATES {
            let arrivals = Arrivals::new(rate);
            for i in (0..1000).chain(10_000_000_000..10_000_001_000) {
                let (from, to) = (arrivals.span(i), arrivals.span(i + 1));
                assert!((from..to).contains(&arrivals.at(i)), "message {i} at {rate} a second");
            }
            assert_eq!(arrivals.span(rate * 60), 60 * SECOND);
        }
    }

    #[test]
    fn they_are_due_everywhere_in_their_periods() {
        let arrivals = Arrivals::new(1_000);
        let mut tenths = [0; 10];
        (0..10_000).for_each(|i| tenths[(arrivals.at(i) - arrivals.span(i)) as usize / 100_000] += 1);
        assert!(tenths.iter().all(|n| (800..1200).contains(n)), "{tenths:?}");
    }

    /// Stands still but for what it is told, and a nanosecond with each look.
    struct Told(Cell<u64>);

    impl Told {
        fn pass(&self, ns: u64) {
            self.0.set(self.0.get() + ns);
        }
    }

    impl Clock for Told {
        fn now(&self) -> u64 {
            self.pass(1);
            self.0.get()
        }

        fn sleep_until(&self, ns: u64) {
            self.0.set(self.0.get().max(ns));
        }
    }

    #[test]
    fn who_is_in_time_is_not_late() {
        let (clock, arrivals) = (Told(Cell::new(5)), Arrivals::new(1_000));
        let mut sent = Vec::new();
        let kept = keep(&clock, arrivals, 1_000, 300, u64::MAX, |i| {
            assert!(clock.0.get() >= 1_000 + arrivals.at(i), "never before its moment");
            sent.push(i);
            Ok(())
        });
        let kept = kept.unwrap();
        assert_eq!(sent, (0..300).collect::<Vec<_>>());
        assert_eq!((kept.messages, kept.late.len()), (300, 300));
        assert!(kept.late.max() <= 1, "{}", kept.late.max());
        assert!(kept.spun_ns <= 300 * (SPIN_NS + 1), "it sleeps, too: {}", kept.spun_ns);
        assert_eq!(kept.sending_ns, 300, "as long as a look at the clock takes");
    }

    #[test]
    fn what_is_late_is_not_skipped_and_counts() {
        const STALL: u64 = 50_000_000;
        let (clock, arrivals) = (Told(Cell::new(0)), Arrivals::new(1_000));
        let kept = keep(&clock, arrivals, 0, 300, u64::MAX, |i| {
            clock.pass(if i == 100 { STALL } else { 0 });
            Ok(())
        });
        let kept = kept.unwrap();
        assert_eq!(kept.late.len(), 300);
        // Those that were due meanwhile: the first of them waited for nearly all of it.
        let behind = kept.late.count_between(1_000, LONGEST_NS);
        assert!((48..=51).contains(&behind), "{behind}");
        let longest = kept.late.max();
        assert!((STALL - 2_000_000..=STALL).contains(&longest), "{longest}");
        assert_eq!(kept.sending_ns, STALL + 300);
    }

    /// As often as somebody looks, another process has the processor for so long.
    struct Shared(Told, u64);

    impl Clock for Shared {
        fn now(&self) -> u64 {
            self.0.pass(self.1);
            self.0.now()
        }

        fn sleep_until(&self, _: u64) {}
    }

    #[test]
    fn what_others_take_is_not_spinning() {
        let spun = |others| {
            let clock = Shared(Told(Cell::new(0)), others);
            keep(&clock, Arrivals::new(1_000), 0, 100, u64::MAX, |_| Ok(())).unwrap().spun_ns
        };
        assert!(spun(100) > 50_000_000, "{}", spun(100));
        assert_eq!(spun(20_000), 0);
    }

    #[test]
    fn who_cannot_keep_up_stops() {
        let clock = Told(Cell::new(0));
        let send = |_| {
            clock.pass(10_000);
            Ok(())
        };
        let kept = keep(&clock, Arrivals::new(1_000_000), 0, 1_000, 500_000, send).unwrap();
        assert_eq!((kept.messages, kept.spun_ns < 2_000), (50, true));
        let failed = keep(&clock, Arrivals::new(10), 0, 1, u64::MAX, |_| anyhow::bail!("no"));
        assert!(failed.is_err());
    }
}
