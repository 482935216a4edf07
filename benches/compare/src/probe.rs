//! Where the two processors are right now.
//!
//! A host may move virtual processors between cores while they run: two of them
//! are siblings of one core, then neighbours in a cache, then strangers, and
//! every number moves with them. A raw ping-pong over two cache lines tells.

use crate::cpus::{allowed, is_alone, now, pin};
use crate::systems::Failure;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How near two processors are, by the raw round trip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// There is one processor for all.
    Same,
    Siblings,
    Shared,
    Near,
    Far,
}

impl Class {
    pub const ALL: [Class; 5] = [Class::Same, Class::Siblings, Class::Shared, Class::Near, Class::Far];

    pub fn of(round_trip_ns: f64) -> Class {
        match round_trip_ns {
            ns if ns == SAME => Class::Same,
            ns if ns < 100.0 => Class::Siblings,
            ns if ns < 200.0 => Class::Shared,
            ns if ns < 400.0 => Class::Near,
            _ => Class::Far,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Class::Same => "one processor for all",
            Class::Siblings => "siblings, raw < 100 ns",
            Class::Shared => "shared cache, raw 100 to 200 ns",
            Class::Near => "near, raw 200 to 400 ns",
            Class::Far => "far, raw > 400 ns",
        }
    }
}

#[repr(align(128))]
struct Line(AtomicU64);

const CHUNKS: usize = 20;
const CHUNK: u64 = 100;
const LIMIT: Duration = Duration::from_secs(2);

/// What stands for a round trip where there is nowhere to go.
const SAME: f64 = 1.0;

/// The median round trip in nanoseconds: 2000 of them, in 20 chunks.
pub fn round_trip() -> Result<f64, Failure> {
    if is_alone() {
        return Ok(SAME);
    }
    let (ping, pong) = (Line(AtomicU64::new(0)), Line(AtomicU64::new(0)));
    let total = CHUNKS as u64 * CHUNK;
    let deadline = now() + LIMIT.as_nanos() as u64;
    let await_value = |line: &Line, value| {
        let mut spins = 0_u32;
        while line.0.load(Ordering::Acquire) != value {
            std::hint::spin_loop();
            spins += 1;
            if spins.is_multiple_of(1 << 20) && now() > deadline {
                return Err(Failure::new("the probe's threads do not run at the same time"));
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let echo = scope.spawn(|| {
            pin(allowed()[1]).map_err(Failure::new)?;
            (1..=total).try_for_each(|n| {
                await_value(&ping, n)?;
                pong.0.store(n, Ordering::Release);
                Ok(())
            })
        });
        let caller = scope.spawn(|| {
            pin(allowed()[0]).map_err(Failure::new)?;
            let mut times = Vec::with_capacity(CHUNKS);
            for chunk in 0..CHUNKS as u64 {
                let start = now();
                for n in chunk * CHUNK + 1..=(chunk + 1) * CHUNK {
                    ping.0.store(n, Ordering::Release);
                    await_value(&pong, n)?;
                }
                times.push(now() - start);
            }
            times.sort_unstable();
            Ok(times[CHUNKS / 2] as f64 / CHUNK as f64)
        });
        let round_trip = caller.join().map_err(|_| Failure::new("the probe panicked"))?;
        echo.join().map_err(|_| Failure::new("the probe panicked"))??;
        round_trip
    })
}
