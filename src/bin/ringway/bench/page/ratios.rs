//! How fast ringway is beside its limits and its rivals: ratios above 1 where it is faster. Knows
//! which rows can be compared; nothing of pages.

use super::axis::Axis;
use super::draw::{Bar, Bars, Plot};
use super::palette::{OTHERS, OURS, WARN};
use super::plots::{Figure, MOST_BARS, Names, by_size, is_ours, slug};
use super::row::{self, Row, Span};

/// One comparison.
pub struct Ratio {
    /// What was compared, as a figure has it.
    pub group: String,
    pub ours: String,
    pub against: String,
    pub times: Span,
    /// What it is compared with is the least that the machine allows: nobody is faster.
    pub is_limit: bool,
    /// How the ratio was taken.
    pub how: &'static str,
    pub target: Option<f64>,
    pub met: Option<bool>,
}

const SAME_ROUNDS: &str = "median of ratios of the same round";
const OF_MEDIANS: &str = "ratio of medians";

/// The group of what is compared with ringway itself.
const MODES: &str = "ringway's own modes";

impl Ratio {
    /// A rival is faster.
    pub fn is_behind(&self) -> bool {
        !self.is_limit && self.group != MODES && self.times.median < 1.0
    }
}

pub fn ratios(rows: &[Row]) -> Vec<Ratio> {
    let of = |bench: &'static str| rows.iter().copied().filter(move |row| row.is("bench", bench)).collect::<Vec<_>>();
    let mut all = own(&of("latency"), "round trips", "p50", false);
    all.extend(own(&of("throughput"), "throughput", "msgs_per_s", true));
    let bases = [("ratio", "beside"), ("ratio_safe", "beside_safe")];
    all.extend(of("field").into_iter().flat_map(|row| bases.into_iter().filter_map(move |keys| field(row, keys))));
    let mut compared: Vec<Ratio> = of("compare").into_iter().filter_map(compare).collect();
    // Rivals, then the limit, then the modes.
    compared.sort_by_key(|ratio| (ratio.group == MODES, ratio.is_limit));
    all.extend(compared);
    all
}

fn exactly(value: f64) -> Span {
    Span { median: value, min: value, max: value }
}

/// The limit and the kernel's ways, of each size. Rates and their ratios to the limit are better
/// when higher; times when lower.
fn own(rows: &[Row], what: &str, key: &str, higher: bool) -> Vec<Ratio> {
    let mut ratios = Vec::new();
    let oriented = |ratio: f64| if higher { ratio } else { 1.0 / ratio };
    for (size, rows) in by_size(rows) {
        let names = Names::of(&rows);
        for &row in rows.iter().filter(|row| is_ours(**row)) {
            let (group, ours) = (format!("{what}, {}", row::bytes(size)), names.name(row));
            let limit = match (higher, row.is("wait", "park")) {
                (true, _) => "copy",
                (false, true) => "futex",
                (false, false) => "raw",
            };
            let mut add = |against: &str, ratio: f64, how| {
                let (group, ours, is_limit) = (group.clone(), ours.clone(), against == limit);
                let (against, times) = (against.to_owned(), exactly(ratio));
                ratios.push(Ratio { group, ours, against, times, is_limit, how, target: None, met: None });
            };
            if let Some(ratio) = row.positive("ratio_limit") {
                add(limit, oriented(ratio), SAME_ROUNDS);
            }
            if let Some(ratio) = row.positive("ratio_pipe") {
                add("pipe", ratio, SAME_ROUNDS);
            }
            for rival in ["unix", "mq"] {
                let same = |other: &&Row| other.is("system", rival) && batch(**other) == batch(row);
                let other = rows.iter().find(same).and_then(|other| other.positive(key));
                if let (Some(own), Some(other)) = (row.positive(key), other) {
                    add(rival, oriented(own / other), OF_MEDIANS);
                }
            }
        }
    }
    ratios
}

fn batch(row: Row) -> f64 {
    row.number("batch").unwrap_or(1.0)
}

/// The keys of the ratio, and of which row of ringway's it is.
fn field(row: Row, (ratio, beside): (&str, &str)) -> Option<Ratio> {
    let times = row.span(ratio).filter(|_| !is_ours(row))?;
    let words = row.inner(beside).map(|ours| ["system", "mode", "wait"].map(|key| ours.text(key)));
    let ours = words.map(|words| words.into_iter().flatten().collect::<Vec<_>>().join(" "));
    let words = [row.text("kind"), row.text("way"), row.number("size").map(row::bytes)];
    Some(Ratio {
        group: format!("field, {}", words.into_iter().flatten().collect::<Vec<_>>().join(", ")),
        ours: ours.filter(|ours| !ours.is_empty()).unwrap_or_else(|| "ringway".into()),
        against: row.text("system")?,
        times,
        is_limit: false,
        how: SAME_ROUNDS,
        target: None,
        met: None,
    })
}

fn compare(row: Row) -> Option<Ratio> {
    let times = row.inner("all")?.span("ratio")?;
    let against = row.text("rival").unwrap_or_else(|| "rival".into());
    let is_limit = against == "copy";
    let group = match against.starts_with("ringway") {
        true => MODES,
        false if is_limit => "bytes copied in and out",
        false => "rivals",
    };
    Some(Ratio {
        group: group.into(),
        ours: row.text("row").or_else(|| row.text("system"))?,
        against,
        times,
        is_limit,
        how: SAME_ROUNDS,
        target: row.positive("target"),
        met: row.0.get("met").and_then(|met| met.as_bool()),
    })
}

/// One figure for each group and each kind: limits, rivals.
pub fn figures(ratios: &[Ratio]) -> Vec<Figure> {
    let mut groups: Vec<(&str, bool)> = Vec::new();
    for ratio in ratios {
        if !groups.contains(&(&ratio.group, ratio.is_limit)) {
            groups.push((&ratio.group, ratio.is_limit));
        }
    }
    groups.sort_by_key(|(_, is_limit)| !is_limit);
    let of = |(group, is_limit): (&str, bool)| {
        let chosen: Vec<&Ratio> = ratios.iter().filter(|r| r.group == group && r.is_limit == is_limit).collect();
        let plot = plot(&chosen)?;
        let (title, caption) = if is_limit {
            let caption =
                "1 is the limit: what two processors need at the least to hand over the same bytes. A bar to the right of 1 was faster than the limit as it was measured.".to_owned();
            (format!("To the limit: {group}"), caption)
        } else if group == MODES {
            let caption =
                "Right of 1 what is named first is faster than what it is compared with, left of it slower.".to_owned();
            (format!("Among themselves: {group}"), caption)
        } else {
            (format!("To each rival: {group}"), slower(&chosen))
        };
        let kind = match group == MODES {
            true => "modes",
            false if is_limit => "limit",
            false => "rivals",
        };
        let id = format!("ratio-{kind}-{}", slug(group));
        Some(Figure { id, title, caption, plot })
    };
    groups.into_iter().filter_map(of).collect()
}

fn plot(ratios: &[&Ratio]) -> Option<Plot> {
    let values = ratios.iter().take(MOST_BARS).flat_map(|r| [r.times.min, r.times.max]);
    let axis = Axis::log("times as fast, logarithmic", values, row::times)?.including(0.5).including(2.0);
    let one_of_ours = ratios.iter().all(|ratio| ratio.ours == ratios[0].ours);
    let bars = ratios.iter().take(MOST_BARS).map(|ratio| Bar {
        name: match (ratio.is_limit, one_of_ours) {
            (false, true) if ratio.group != MODES => ratio.against.clone(),
            _ => format!("{} / {}", ratio.ours, ratio.against),
        },
        value: ratio.times.median,
        whisker: (ratio.times.min < ratio.times.max).then_some((ratio.times.min, ratio.times.max)),
        text: row::times(ratio.times.median),
        colour: match ratio.is_limit {
            true => OTHERS,
            false if ratio.is_behind() => WARN,
            false => OURS,
        },
    });
    Some(Plot::Bars(Bars { axis, from: Some(1.0), bars: bars.collect() }))
}

/// Names what was faster than ringway.
fn slower(ratios: &[&Ratio]) -> String {
    let lost: Vec<String> = ratios
        .iter()
        .filter(|ratio| ratio.is_behind())
        .map(|r| format!("{} to {} ({})", r.ours, r.against, row::times(r.times.median)))
        .collect();
    let mut text = "Right of 1 ringway is faster, left of it slower.".to_owned();
    if lost.is_empty() {
        text.push_str(" Here it is slower than none of them.");
    } else {
        let more = lost.len().saturating_sub(8);
        text.push_str(&format!(" Slower: {}", lost[..lost.len() - more].join("; ")));
        text.push_str(&if more > 0 { format!("; and {more} more.") } else { ".".into() });
    }
    text
}
