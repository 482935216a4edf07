//! The axes of a plot: where a value lies, and which values are named. Pure.

/// An axis, in the unit in which it is drawn: of a logarithmic one, powers of ten.
#[derive(Clone, Debug)]
pub struct Axis {
    pub low: f64,
    pub high: f64,
    pub title: String,
    kind: Kind,
    format: fn(f64) -> String,
    /// What is named instead of round values.
    named: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Linear,
    Log,
    /// 1/(1-q), logarithmic, and at its end what was the most.
    Percentile,
}

/// The percentiles that are named, and the place of the maximum after them.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];
const AT_MOST: f64 = 5.0;

impl Axis {
    /// A logarithmic axis with room around `values`; none without any above zero.
    pub fn log(title: &str, values: impl Iterator<Item = f64>, format: fn(f64) -> String) -> Option<Axis> {
        let logs = values.filter(|&v| v > 0.0 && v.is_finite()).map(f64::log10);
        let (low, high) = logs.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        let room = ((high - low) * 0.06).max(0.08);
        Some(Axis { low: low - room, high: high + room, title: title.into(), kind: Kind::Log, format, named: vec![] })
    }

    /// From zero to a little more than the greatest.
    pub fn linear(title: &str, values: impl Iterator<Item = f64>, format: fn(f64) -> String) -> Option<Axis> {
        let high = values.filter(|v| v.is_finite()).reduce(f64::max)?;
        let high = if high > 0.0 { high * 1.04 } else { 1.0 };
        Some(Axis { low: 0.0, high, title: title.into(), kind: Kind::Linear, format, named: vec![] })
    }

    pub fn percentile() -> Axis {
        let low = place_of(50.0) - 0.05;
        let kind = Kind::Percentile;
        let format = |_| String::new();
        Axis { low, high: AT_MOST + 0.1, title: "percentile".into(), kind, format, named: vec![] }
    }

    pub fn including(mut self, value: f64) -> Axis {
        if let Some(at) = self.place(value) {
            let room = (self.high - self.low) * 0.03;
            self.low = self.low.min(at - room);
            self.high = self.high.max(at + room);
        }
        self
    }

    /// Names these values, as far as there is room for them.
    pub fn naming(mut self, values: impl Iterator<Item = f64>) -> Axis {
        self.named = values.collect();
        self.named.sort_by(f64::total_cmp);
        self
    }

    /// Where a value lies, if it can be shown.
    pub fn place(&self, value: f64) -> Option<f64> {
        let at = match self.kind {
            Kind::Linear => value,
            Kind::Log => value.log10(),
            Kind::Percentile if value < PERCENTILES[0] => return None,
            // Too near to the maximum to be told from it.
            Kind::Percentile if value < 100.0 && place_of(value) > AT_MOST - 0.4 => return None,
            Kind::Percentile => place_of(value),
        };
        at.is_finite().then_some(at)
    }

    /// At most about `most` places, each with its name.
    pub fn ticks(&self, most: usize) -> Vec<(f64, String)> {
        let named = |value: f64| (self.format)(value);
        if !self.named.is_empty() {
            let apart = (self.high - self.low) / most.max(1) as f64;
            let mut ticks: Vec<(f64, String)> = Vec::new();
            for (at, value) in self.named.iter().filter_map(|&value| Some((self.place(value)?, value))) {
                if ticks.last().is_none_or(|(last, _)| at - last >= apart) {
                    ticks.push((at, named(value)));
                }
            }
            return ticks;
        }
        match self.kind {
            Kind::Percentile => {
                let mut ticks: Vec<_> = PERCENTILES.iter().map(|&p| (place_of(p), p.to_string())).collect();
                ticks.push((AT_MOST, "max".into()));
                ticks
            }
            Kind::Linear => {
                let step = nice_step((self.high - self.low) / most.max(1) as f64);
                let all = (0..=most * 2).map(|k| k as f64 * step);
                all.take_while(|&v| v <= self.high).map(|v| (v, named(v))).collect()
            }
            Kind::Log => {
                for multiples in [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]] {
                    let ticks = self.log_ticks(multiples);
                    if ticks.len() <= most {
                        return ticks;
                    }
                }
                let decades = self.log_ticks(&[1.0]);
                let step = decades.len().div_ceil(most.max(1));
                decades.into_iter().step_by(step).collect()
            }
        }
    }

    fn log_ticks(&self, multiples: &[f64]) -> Vec<(f64, String)> {
        let decades = self.low.floor() as i32..=self.high.ceil() as i32;
        let values = decades.flat_map(|decade| multiples.iter().map(move |m| m * 10f64.powi(decade)));
        let placed = values.map(|value| (value.log10(), value));
        let inside = placed.filter(|(at, _)| (self.low..=self.high).contains(at));
        inside.map(|(at, value)| (at, (self.format)(value))).collect()
    }
}

fn place_of(percentile: f64) -> f64 {
    match percentile {
        p if p >= 100.0 => AT_MOST,
        p => -(1.0 - p / 100.0).log10(),
    }
}

/// 1, 2 or 5 times a power of ten, not less than `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let multiple = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= rough * 0.999).unwrap_or(10.0);
    multiple * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(axis: &Axis, most: usize) -> Vec<String> {
        axis.ticks(most).into_iter().map(|(_, name)| name).collect()
    }

    fn plain(value: f64) -> String {
        super::super::row::digits(value)
    }

    #[test]
    fn ticks_are_few_and_round() {
        let axis = Axis::log("", [100.0, 1000.0].into_iter(), plain).unwrap();
        assert_eq!(names(&axis, 6), ["100", "200", "500", "1000"]);
        let wide = Axis::log("", [1.0, 1e12].into_iter(), plain).unwrap();
        assert!(names(&wide, 6).len() <= 6);
        let one = Axis::log("", [7.0].into_iter(), plain).unwrap();
        assert!(one.low < one.high);
        let linear = Axis::linear("", [0.0, 97.0].into_iter(), plain).unwrap();
        assert_eq!(names(&linear, 6), ["0", "20", "40", "60", "80", "100"]);
        let sizes =
            Axis::log("", [8.0, 1024.0].into_iter(), plain).unwrap().naming([8.0, 1024.0, 52.0, 56.0].into_iter());
        assert_eq!(names(&sizes, 6), ["8", "52", "1024"]);
        assert!(Axis::linear("", [0.0].into_iter(), plain).is_some_and(|axis| axis.high > 0.0));
        assert!(Axis::log("", [0.0, -1.0, f64::NAN].into_iter(), plain).is_none());
    }

    #[test]
    fn percentiles_run_to_the_maximum() {
        let axis = Axis::percentile();
        assert_eq!(axis.place(49.0), None);
        assert_eq!(axis.place(100.0), Some(AT_MOST));
        assert!(axis.place(99.0).is_some_and(|at| (at - 2.0).abs() < 1e-9));
        assert_eq!(axis.place(99.999_999), None);
        assert_eq!(names(&axis, 6), ["50", "90", "99", "99.9", "99.99", "max"]);
    }
}
