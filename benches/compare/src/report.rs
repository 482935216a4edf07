//! The table, and the same as JSON.

use crate::job::{Job, Kind};
use crate::measure::{Outcome, Pair};
use crate::probe::Class;
use crate::rows::Row;
use serde_json::{Value, json};

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Spread> {
        let mut sorted: Vec<f64> = values.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = match sorted.len() {
            0 => return None,
            n if n % 2 == 1 => sorted[middle],
            _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
        };
        Some(Spread { median, min: sorted[0], max: *sorted.last()? })
    }

    pub fn json(self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

/// The figures of one row, or of one of its classes.
struct Figures {
    ours: Spread,
    rival: Spread,
    ratio: Spread,
    count: usize,
}

fn figures(pairs: &[Pair], choose: impl Fn(&Pair) -> bool) -> Option<Figures> {
    let chosen: Vec<&Pair> = pairs.iter().filter(|pair| choose(pair)).collect();
    Some(Figures {
        ours: Spread::of(chosen.iter().map(|pair| pair.ours))?,
        rival: Spread::of(chosen.iter().map(|pair| pair.rival))?,
        ratio: Spread::of(chosen.iter().map(|pair| pair.ratio()))?,
        count: chosen.len(),
    })
}

/// `None`: there is no target, or nothing was measured.
pub fn met(row: &Row, outcome: &Outcome) -> Option<bool> {
    Some(figures(&outcome.pairs, |_| true)?.ratio.median >= row.target?)
}

fn show(job: &Job, per_second: f64) -> String {
    match job.kind {
        Kind::RoundTrip | Kind::Latency if per_second < 1e6 => format!("{:.1} µs", 1e6 / per_second),
        Kind::RoundTrip | Kind::Latency => format!("{:.0} ns", 1e9 / per_second),
        Kind::Throughput if per_second < 1e6 => format!("{:.1} k/s", per_second / 1e3),
        Kind::Throughput if per_second < 1e7 => format!("{:.2} M/s", per_second / 1e6),
        Kind::Throughput => format!("{:.0} M/s", per_second / 1e6),
    }
}

/// As long as the longest name of a row.
const NAME_WIDTH: usize = 68;

fn line(name: &str, row: &Row, figures: &Figures, target: &str, verdict: &str) -> String {
    let Figures { ours, rival, ratio, count } = figures;
    format!(
        "{name:<NAME_WIDTH$} {:>10} {:>10}  {:>6.2} [{:.2}..{:.2}]{:>width$} {count:>4}  {target:>6}  {verdict}",
        show(&row.ours, ours.median),
        show(&row.rival, rival.median),
        ratio.median,
        ratio.min,
        ratio.max,
        "",
        width = 14_usize.saturating_sub(format!("[{:.2}..{:.2}]", ratio.min, ratio.max).len()),
    )
    .trim_end()
    .to_owned()
}

pub fn head() -> String {
    format!(
        "{:<NAME_WIDTH$} {:>10} {:>10}  {:>6} {:<14} {:>4}  {:>6}  met",
        "row", "ours", "rival", "ratio", "[min..max]", "n", "target"
    )
}

fn disturbed(outcome: &Outcome) -> usize {
    outcome.pairs.iter().filter(|pair| pair.disturbed).count()
}

/// One row of the table, with a line for each class if there were several.
pub fn table_row(row: &Row, outcome: &Outcome) -> String {
    let mut lines = Vec::new();
    if let Some(all) = figures(&outcome.pairs, |_| true) {
        let target = row.target.map_or("-".to_owned(), |target| format!("{target:.1}"));
        let verdict = match met(row, outcome) {
            None => "-",
            Some(true) => "yes",
            Some(false) => "NO",
        };
        lines.push(line(&row.name, row, &all, &target, verdict));
        for class in Class::ALL {
            if let Some(some) = figures(&outcome.pairs, |pair| pair.class == class) {
                lines.push(line(&format!("    {}", class.name()), row, &some, "", ""));
            }
        }
    } else {
        lines.push(format!("{:<NAME_WIDTH$} not measured", row.name));
    }
    if outcome.discarded > 0 {
        lines.push(format!("    {} pairs left out: the processors moved in between", outcome.discarded));
    }
    let disturbed = disturbed(outcome);
    if disturbed > 0 {
        lines.push(format!("    {disturbed} pairs disturbed: other programs used the same processors"));
        if let Some(some) = figures(&outcome.pairs, |pair| !pair.disturbed) {
            lines.push(line("    undisturbed", row, &some, "", ""));
        }
    }
    if let Some(error) = &outcome.error {
        lines.push(format!("    error: {error}"));
    }
    lines.join("\n")
}

fn figures_json(figures: &Figures) -> Value {
    json!({
        "ours_per_s": figures.ours.json(),
        "rival_per_s": figures.rival.json(),
        "ratio": figures.ratio.json(),
        "pairs": figures.count,
    })
}

/// One row for `--json`.
pub fn json_row(row: &Row, outcome: &Outcome) -> Value {
    let classes: Vec<Value> = Class::ALL
        .into_iter()
        .filter_map(|class| {
            let mut value = figures_json(&figures(&outcome.pairs, |pair| pair.class == class)?);
            value["class"] = json!(class.name());
            Some(value)
        })
        .collect();
    json!({
        "bench": "compare",
        "row": row.name,
        "kind": row.ours.kind.name(),
        "system": row.ours.system.name(),
        "rival": row.rival.system.name(),
        "mode": if row.ours.single { "spsc" } else { "mpmc" },
        "wait": if row.ours.patient { "default" } else { "spin" },
        "size": row.ours.bytes,
        "capacity": row.ours.capacity,
        "producers": row.ours.pairs,
        "consumers": row.ours.pairs + row.ours.listeners,
        "batch": row.ours.batch,
        "all": figures(&outcome.pairs, |_| true).as_ref().map(figures_json),
        "classes": classes,
        "discarded": outcome.discarded,
        "disturbed": disturbed(outcome),
        "undisturbed": figures(&outcome.pairs, |pair| !pair.disturbed).as_ref().map(figures_json),
        "target": row.target,
        "met": met(row, outcome),
        "error": outcome.error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread() {
        assert_eq!(Spread::of(std::iter::empty()), None);
        let spread = Spread::of([3.0, 1.0, 2.0, 4.0].into_iter()).unwrap();
        assert_eq!(spread, Spread { median: 2.5, min: 1.0, max: 4.0 });
    }
}
