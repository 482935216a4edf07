//! Forgiving reading of a row of the JSON report: what is missing, of another type or no number
//! is absent, and never a panic. Knows JSON; nothing of benches.

use serde_json::Value;

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'v>(pub &'v Value);

/// A median with the lowest and the highest of what it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl<'v> Row<'v> {
    /// A text that can stand in XML.
    pub fn text(self, key: &str) -> Option<String> {
        self.0.get(key)?.as_str().map(clean).filter(|text| !text.is_empty())
    }

    pub fn is(self, key: &str, text: &str) -> bool {
        self.0.get(key).and_then(Value::as_str) == Some(text)
    }

    pub fn number(self, key: &str) -> Option<f64> {
        number(self.0.get(key)?)
    }

    /// Several of them, as one word.
    pub fn numbers(self, key: &str) -> Option<String> {
        let numbers = self.0.get(key)?.as_array()?.iter().filter_map(number).map(digits_whole);
        Some(numbers.collect::<Vec<_>>().join("-")).filter(|text| !text.is_empty())
    }

    /// A number of which a logarithm can be taken.
    pub fn positive(self, key: &str) -> Option<f64> {
        self.number(key).filter(|&value| value > 0.0)
    }

    pub fn span(self, key: &str) -> Option<Span> {
        span(self.0.get(key)?)
    }

    /// What an object inside has, as a row of its own.
    pub fn inner(self, key: &str) -> Option<Row<'v>> {
        self.0.get(key).filter(|value| value.is_object()).map(Row)
    }

    /// Percentiles and nanoseconds: the whole distribution, or the few that the row has.
    pub fn distribution(self) -> Vec<(f64, f64)> {
        let pair = |pair: &Value| Some((number(pair.get(0)?)?, number(pair.get(1)?)?));
        let whole = self.0.get("distribution").and_then(Value::as_array);
        let mut points: Vec<(f64, f64)> = whole.into_iter().flatten().filter_map(pair).collect();
        if points.is_empty() {
            let few = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p999", 99.9), ("max", 100.0)];
            points = few.iter().filter_map(|&(key, at)| Some((at, self.number(key)?))).collect();
        }
        points.retain(|&(at, ns)| (0.0..=100.0).contains(&at) && ns > 0.0);
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points
    }
}

pub fn span(value: &Value) -> Option<Span> {
    let of = |key| value.get(key).and_then(number).filter(|&n| n > 0.0);
    let median = of("median")?;
    Some(Span { median, min: of("min").unwrap_or(median).min(median), max: of("max").unwrap_or(median).max(median) })
}

/// Far beyond what anything takes; what lies further out is no measurement, and no axis has it.
const HUGE: f64 = 1e30;

fn number(value: &Value) -> Option<f64> {
    value.as_f64().filter(|n| n.is_finite() && n.abs() < HUGE)
}

/// Without what XML does not allow.
pub fn clean(text: &str) -> String {
    let allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    text.chars().map(|c| if allowed(c) { c } else { '\u{fffd}' }).collect()
}

/// Nanoseconds, as a person reads them.
pub fn time(ns: f64) -> String {
    match ns {
        ns if ns < 999.5 => format!("{} ns", digits(ns)),
        ns if ns < 999.5e3 => format!("{} µs", digits(ns / 1e3)),
        ns if ns < 999.5e6 => format!("{} ms", digits(ns / 1e6)),
        ns => format!("{} s", digits(ns / 1e9)),
    }
}

/// So many a second.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", count(per_second))
}

pub fn bytes_rate(per_second: f64) -> String {
    match per_second {
        n if n < 999.5 => format!("{} B/s", digits(n)),
        n if n < 999.5e3 => format!("{} kB/s", digits(n / 1e3)),
        n if n < 999.5e6 => format!("{} MB/s", digits(n / 1e6)),
        n => format!("{} GB/s", digits(n / 1e9)),
    }
}

pub fn count(n: f64) -> String {
    match n {
        n if n < 999.5 => digits(n),
        n if n < 999.5e3 => format!("{} k", digits(n / 1e3)),
        n if n < 999.5e6 => format!("{} M", digits(n / 1e6)),
        n => format!("{} G", digits(n / 1e9)),
    }
}

pub fn bytes(n: f64) -> String {
    match n {
        n if n >= 1048576.0 && n % 1048576.0 == 0.0 => format!("{} MiB", digits(n / 1048576.0)),
        n if n >= 1024.0 && n % 1024.0 == 0.0 => format!("{} KiB", digits(n / 1024.0)),
        n => format!("{n:.0} B"),
    }
}

pub fn times(ratio: f64) -> String {
    format!("{} ×", digits(ratio))
}

pub fn seconds(s: f64) -> String {
    time(s * 1e9)
}

pub fn percent(share: f64) -> String {
    format!("{} %", digits(share * 100.0))
}

/// All digits of a whole number.
pub fn digits_whole(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { digits(value) }
}

/// Three significant digits, without zeros at the end.
pub fn digits(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 1e6 => format!("{value:.2e}"),
        v if v >= 99.95 => return format!("{value:.0}"),
        v if v >= 9.995 => format!("{value:.1}"),
        v if v >= 0.0995 => format!("{value:.2}"),
        0.0 => return "0".into(),
        v if v >= 1e-4 => format!("{value:.4}"),
        _ => format!("{value:.2e}"),
    };
    if text.contains('e') || !text.contains('.') {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
