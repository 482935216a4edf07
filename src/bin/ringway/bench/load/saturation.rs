//! The greatest rate that a pair of processes can sustain: doubling, then halving the distance.
//!
//! Pure: what a trial is, and how long all may take, the caller says.

use crate::bench::plan::FASTEST;

/// What one rate brought.
pub struct Trial<T> {
    pub sustained: bool,
    pub found: T,
}

const FIRST: u64 = 100_000;
/// Percent between what was sustained and what was not, at which the search ends.
const PRECISE: u64 = 5;
/// One pre-emption must not decide.
const TRIES: u32 = 2;
/// Enough from one message a second to `FASTEST`.
const MOST_STEPS: u32 = 40;

/// The greatest rate that was sustained, and what it brought; none if none was. Ends early when `goes_on` says so.
pub fn search<T, E>(
    mut trial: impl FnMut(u64) -> Result<Trial<T>, E>,
    mut goes_on: impl FnMut() -> bool,
) -> Result<Option<(u64, T)>, E> {
    let mut best: Option<(u64, T)> = None;
    let mut too_much = None;
    let mut rate = FIRST;
    for _ in 0..MOST_STEPS {
        let mut sustained = None;
        for _ in 0..TRIES {
            if sustained.is_none() && goes_on() {
                sustained = Some(trial(rate)?).filter(|trial| trial.sustained);
            }
        }
        match sustained {
            Some(trial) => best = Some((rate, trial.found)),
            None => too_much = Some(rate),
        }
        rate = match (best.as_ref().map(|(rate, _)| *rate), too_much) {
            (Some(best), None) if best < FASTEST => (best * 2).min(FASTEST),
            (None, Some(too_much)) if too_much > 1 => too_much / 2,
            (Some(best), Some(too_much)) if too_much > best + best * PRECISE / 100 => {
                (best as f64 * too_much as f64).sqrt() as u64
            }
            _ => break,
        };
        if !goes_on() {
            break;
        }
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pair that can do so much, but for the trials that are spoiled.
    fn find(limit: u64, spoiled: &[usize], most: usize) -> (Option<u64>, usize) {
        let tried = std::cell::Cell::new(0);
        let trial = |rate| {
            tried.set(tried.get() + 1);
            Ok::<_, ()>(Trial { sustained: rate <= limit && !spoiled.contains(&tried.get()), found: rate })
        };
        let best = search(trial, || tried.get() < most).unwrap();
        assert!(best.is_none_or(|(rate, found)| rate == found));
        (best.map(|(rate, _)| rate), tried.get())
    }

    #[test]
    fn the_limit_is_found_from_below() {
        for limit in [3, 999, 100_000, 131_072, 5_400_000, 99_000_000] {
            let (found, tried) = find(limit, &[], usize::MAX);
            let found = found.unwrap();
            assert!(found <= limit && limit <= found + found / 20 + 1, "{found} of {limit}");
            assert!(tried <= 60, "{tried} trials for {limit}");
        }
        assert_eq!(find(u64::MAX, &[], usize::MAX).0, Some(FASTEST));
        assert_eq!(find(0, &[], usize::MAX).0, None);
    }

    #[test]
    fn one_spoiled_trial_does_not_decide() {
        let steady = find(5_400_000, &[], usize::MAX).0;
        assert_eq!(find(5_400_000, &[1, 4], usize::MAX).0, steady);
    }

    #[test]
    fn the_end_of_the_time_leaves_what_there_is() {
        assert_eq!(find(5_400_000, &[], 3), (Some(400_000), 3));
        assert_eq!(find(5_400_000, &[], 0), (None, 0));
    }

    #[test]
    fn a_failure_ends_it() {
        assert_eq!(search(|_| Err::<Trial<()>, _>("lost"), || true), Err("lost"));
    }
}
