//! Which plots there are: rows in, figures out, in the order of the page. Knows what the keys of
//! rows mean; nothing of pages.

use super::axis::Axis;
use super::draw::{Bar, Bars, Lines, Plot, Series};
use super::palette::{Colour, OTHERS, OURS};
use super::row::{self, Row};
use std::collections::BTreeSet;

/// One plot with what stands around it.
pub struct Figure {
    /// The name of its file, and its place in the page.
    pub id: String,
    pub title: String,
    pub caption: String,
    pub plot: Plot,
}

/// More would not be read; the tables have all.
pub const MOST_BARS: usize = 48;
pub const MOST_LINES: usize = 14;

/// A setting of a row: the key and how its value is written in a name.
const SETTINGS: [(&str, &str); 8] = [
    ("mode", ""),
    ("wait", ""),
    ("way", ""),
    ("cpus", ""),
    ("capacity", "capacity "),
    ("inline", "inline "),
    ("batch", "batch "),
    ("size", "B"),
];

pub fn is_ours(row: Row) -> bool {
    let system = row.text("system").unwrap_or_default();
    system.starts_with("ringway") || system.starts_with("pool-")
}

fn value(row: Row, key: &str) -> Option<String> {
    row.text(key).or_else(|| row.number(key).map(row::digits_whole)).or_else(|| row.numbers(key))
}

fn shape(row: Row) -> Option<String> {
    Some(format!("{}×{}", value(row, "producers")?, value(row, "consumers")?))
}

/// Names rows by their system and by what differs between them.
pub struct Names {
    varying: Vec<(&'static str, &'static str)>,
    shapes: bool,
}

impl Names {
    pub fn of(rows: &[Row]) -> Names {
        let differs = |of: &dyn Fn(Row) -> Option<String>| {
            rows.iter().filter_map(|&row| of(row)).collect::<BTreeSet<_>>().len() > 1
        };
        let varying = SETTINGS.into_iter().filter(|(key, _)| differs(&|row| value(row, key))).collect();
        Names { varying, shapes: differs(&shape) }
    }

    pub fn name(&self, row: Row) -> String {
        self.without(row, &[])
    }

    /// The name without what these keys say.
    pub fn without(&self, row: Row, keys: &[&str]) -> String {
        let mut words = vec![row.text("system").unwrap_or_else(|| "unnamed".into())];
        words.extend(shape(row).filter(|_| self.shapes && !keys.contains(&"producers")));
        for &(key, unit) in self.varying.iter().filter(|(key, _)| !keys.contains(key)) {
            words.extend(match key {
                "size" => row.number(key).map(row::bytes),
                _ => value(row, key).map(|value| format!("{unit}{value}")),
            });
        }
        words.join(" ")
    }
}

/// The rows of each size, smallest first.
pub fn by_size<'v>(rows: &[Row<'v>]) -> Vec<(f64, Vec<Row<'v>>)> {
    by(rows, "size")
}

/// The rows of each number that a key has, smallest first.
pub fn by<'v>(rows: &[Row<'v>], key: &str) -> Vec<(f64, Vec<Row<'v>>)> {
    let mut numbers: Vec<f64> = rows.iter().filter_map(|row| row.number(key)).collect();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    let of = |number: f64| rows.iter().copied().filter(|row| row.number(key) == Some(number)).collect();
    numbers.into_iter().map(|number| (number, of(number))).collect()
}

fn figure(id: String, title: String, caption: &str, plot: Plot) -> Figure {
    Figure { id, title, caption: caption.into(), plot }
}

pub fn slug(text: &str) -> String {
    let plain = text.chars().take(40).map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    plain.collect::<String>().trim_matches('-').to_owned()
}

/// Percentiles of every size: of what, and of which rows (`how`), the title says.
pub fn distributions(rows: &[Row], id: &str, what: &str, how: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (size, rows) in by_size(rows) {
        let rows: Vec<Row> = rows.into_iter().filter(|row| row.distribution().len() > 1).collect();
        let names = Names::of(&rows);
        for (part, rows) in rows.chunks(MOST_LINES).enumerate() {
            let all = rows.iter().flat_map(|row| row.distribution()).filter(|(at, _)| *at >= 50.0);
            let Some(y) = Axis::log("time, logarithmic", all.map(|(_, ns)| ns), row::time) else {
                continue;
            };
            let series = rows.iter().map(|&row| Series {
                name: names.name(row),
                strong: is_ours(row),
                points: row.distribution(),
                marks: marks(&row.distribution()),
            });
            let more = if part == 0 { String::new() } else { format!("-{}", part + 1) };
            figures.push(figure(
                format!("{id}-distribution-{size}{more}"),
                format!("Distribution of {what} of {}{how}", row::bytes(size)),
                "How long the slowest of so many take: at 99, one of a hundred takes longer. Lower is better. \
                 Thick lines are ringway.",
                Plot::Lines(Lines { x: Axis::percentile(), y, series: series.collect() }),
            ));
        }
    }
    figures
}

/// The points nearest to the percentiles that the axis names.
fn marks(points: &[(f64, f64)]) -> Vec<f64> {
    let nearest = |wanted: f64| {
        let distance = |at: f64| ((100.0 - at).max(1e-6) / (100.0 - wanted).max(1e-6)).ln().abs();
        points.iter().map(|point| point.0).min_by(|a, b| distance(*a).total_cmp(&distance(*b)))
    };
    [50.0, 90.0, 99.0, 99.9, 99.99, 100.0].into_iter().filter_map(nearest).collect()
}

fn colour_of(row: Row) -> Colour {
    if is_ours(row) { OURS } else { OTHERS }
}

/// One bar a row; linear unless the values are far apart.
fn bars(rows: &[Row], title: &str, key: &str, whisker: Option<&str>, format: fn(f64) -> String) -> Option<Plot> {
    let names = Names::of(rows);
    let shown: Vec<Row> = rows.iter().copied().filter(|row| row.positive(key).is_some()).take(MOST_BARS).collect();
    let high_of = |row: Row| whisker.and_then(|key| row.positive(key));
    let values = || shown.iter().flat_map(|row| row.positive(key).into_iter().chain(high_of(*row)));
    let (low, high) = values().fold((f64::MAX, 0f64), |(low, high), v| (low.min(v), high.max(v)));
    let axis = if high > low * 20.0 {
        // A bar's length says nothing on such an axis unless even the least has one.
        Axis::log(&format!("{title}, logarithmic"), values(), format)?.including(low / 2.0)
    } else {
        Axis::linear(title, values(), format)?
    };
    let bar = |&row: &Row| {
        let value = row.positive(key)?;
        let whisker = high_of(row).map(|high| (value, high));
        Some(Bar { name: names.name(row), value, whisker, text: format(value), colour: colour_of(row) })
    };
    let bars: Vec<Bar> = shown.iter().filter_map(bar).collect();
    (!bars.is_empty()).then_some(Plot::Bars(Bars { axis, from: None, bars }))
}

/// What a round trip, a start or a job takes, at each size.
pub fn time_bars(rows: &[Row], bench: &str, what: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (size, rows) in by_size(rows) {
        if let Some(plot) = bars(&rows, "median", "p50", Some("p99"), row::time) {
            let of = if bench == "process" { format!("{:.0} MB", size / 1e6) } else { row::bytes(size) };
            figures.push(figure(
                format!("{bench}-bars-{size}"),
                format!("{what} of {of}"),
                "Bars: medians; the whisker ends at the 99th percentile. Shorter is better. Blue is ringway.",
                plot,
            ));
        }
    }
    figures
}

/// Messages per second, at each size.
pub fn rate_bars(rows: &[Row], bench: &str, what: &str) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (size, rows) in by_size(rows) {
        let unit = if bench == "pool" { "jobs a second" } else { "messages a second" };
        if let Some(plot) = bars(&rows, unit, "msgs_per_s", None, row::rate) {
            figures.push(figure(
                format!("{bench}-rate-{size}"),
                format!("{what} of {}", row::bytes(size)),
                "Medians of the runs. Longer is better. Blue is ringway; P×C are producing and consuming processes.",
                plot,
            ));
        }
    }
    figures
}

/// Rates over sizes: for each system and mode the fastest setting at each size.
pub fn size_curves(rows: &[Row]) -> Vec<Figure> {
    let curves = [
        ("msgs_per_s", "Messages a second over size", "messages a second", row::rate as fn(f64) -> String),
        ("bytes_per_s", "Bytes a second over size", "bytes a second", row::bytes_rate),
    ];
    let curve = |(key, title, unit, format): (&str, &str, &str, fn(f64) -> String)| {
        let series = grouped(rows, &["system", "mode"], "size", key, f64::max);
        let caption = "For each system and mode the fastest of its settings at each size. Higher is better.";
        let sizes: Vec<f64> = series.iter().flat_map(|one| one.marks.iter().copied()).collect();
        let x = ("payload, logarithmic", row::bytes as fn(f64) -> String);
        let mut figure = lines(&format!("size-{}", slug(unit)), title, caption, x, (unit, format), series)?;
        if let Plot::Lines(lines) = &mut figure.plot {
            lines.x = lines.x.clone().naming(sizes.into_iter());
        }
        Some(figure)
    };
    curves.into_iter().filter_map(curve).collect()
}

/// One series for each value of `keys`: `y` over `x`, of equal places what `pick` picks.
fn grouped(rows: &[Row], keys: &[&str], x: &str, y: &str, pick: fn(f64, f64) -> f64) -> Vec<Series> {
    let name = |row: Row| keys.iter().filter_map(|key| value(row, key)).collect::<Vec<_>>().join(" ");
    by_name(rows, name, |row| row.positive(x), y, pick)
}

/// One series for each name: `y` over the place of a row, of equal places what `pick` picks.
pub fn by_name(
    rows: &[Row],
    name: impl Fn(Row) -> String,
    place: impl Fn(Row) -> Option<f64>,
    y: &str,
    pick: fn(f64, f64) -> f64,
) -> Vec<Series> {
    let mut series: Vec<Series> = Vec::new();
    for &row in rows {
        let (Some(at), Some(value)) = (place(row), row.positive(y)) else { continue };
        let name = name(row);
        let known = series.iter().position(|one| one.name == name).unwrap_or_else(|| {
            series.push(Series { name, strong: is_ours(row), points: vec![], marks: vec![] });
            series.len() - 1
        });
        let points = &mut series[known].points;
        match points.iter_mut().find(|point| point.0 == at) {
            Some(point) => point.1 = pick(point.1, value),
            None => points.push((at, value)),
        }
    }
    for one in &mut series {
        one.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        one.marks = one.points.iter().map(|point| point.0).collect();
    }
    series
}

/// A plot of lines, if at least one has two points.
pub fn lines(
    id: &str,
    title: &str,
    caption: &str,
    x: (&str, fn(f64) -> String),
    y: (&str, fn(f64) -> String),
    mut series: Vec<Series>,
) -> Option<Figure> {
    series.truncate(MOST_LINES);
    if series.iter().all(|one| one.points.len() < 2) {
        return None;
    }
    let points = || series.iter().flat_map(|one| one.points.iter().copied());
    let x = Axis::log(x.0, points().map(|point| point.0), x.1)?;
    let y = Axis::log(&format!("{}, logarithmic", y.0), points().map(|point| point.1), y.1)?;
    Some(figure(id.into(), title.into(), caption, Plot::Lines(Lines { x, y, series })))
}

/// Latency and cost under load.
pub fn load_curves(rows: &[Row]) -> Vec<Figure> {
    let keys = ["system", "mode", "wait"];
    let mut figures = Vec::new();
    let sizes = by_size(rows);
    let groups = if sizes.is_empty() { vec![(0.0, rows.to_vec())] } else { sizes };
    for (size, rows) in groups {
        let of = if size > 0.0 { format!(" ({})", row::bytes(size)) } else { String::new() };
        for (key, name) in [("p50", "Median"), ("p99", "99th percentile")] {
            figures.extend(lines(
                &format!("load-{key}-{size}"),
                &format!("{name} of the time under way over rate{of}"),
                "From when a message was due to when it was taken. Lower is better.",
                ("messages a second, logarithmic", row::rate),
                ("time", row::time),
                grouped(&rows, &keys, "rate", key, f64::min),
            ));
        }
        for (key, who) in [("cpu_s_per_million_sender", "sender"), ("cpu_s_per_million_receiver", "receiver")] {
            figures.extend(lines(
                &format!("load-{}-{size}", slug(who)),
                &format!("Processor time of the {who} over rate{of}"),
                "Seconds of a processor for a million messages. Lower is better.",
                ("messages a second, logarithmic", row::rate),
                ("for a million messages", row::seconds),
                grouped(&rows, &keys, "rate", key, f64::min),
            ));
        }
    }
    figures
}

/// What waiting costs while nothing comes.
pub fn idle_bars(rows: &[Row]) -> Option<Figure> {
    let idle: Vec<Row> = rows.iter().copied().filter(|row| row.number("idle_cpu_share").is_some()).collect();
    let values = || idle.iter().filter_map(|row| row.number("idle_cpu_share"));
    let axis = Axis::linear("share of one processor", values(), row::percent)?;
    let names = Names::of(&idle);
    let bar = |row: &Row| {
        let value = row.number("idle_cpu_share")?.max(0.0);
        Some(Bar { name: names.name(*row), value, whisker: None, text: row::percent(value), colour: colour_of(*row) })
    };
    let bars: Vec<Bar> = idle.iter().filter_map(bar).take(MOST_BARS).collect();
    (!bars.is_empty()).then(|| {
        let caption = "Processor time of a receiver that waits while nothing is sent. Shorter is better.";
        let plot = Plot::Bars(Bars { axis, from: None, bars });
        figure("idle".into(), "Cost of waiting".into(), caption, plot)
    })
}

/// What systems of the field reach: medians with their range.
pub fn field_bars(rows: &[Row]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let kinds = [("round-trip", "Round trips in the field"), ("throughput", "Messages a second in the field")];
    for (kind, title) in kinds {
        for way in ["copy", "in-place"] {
            let of_kind = |row: &Row| row.is("kind", kind) && row.is("way", way);
            let chosen: Vec<Row> = rows.iter().copied().filter(of_kind).collect();
            for (size, rows) in by_size(&chosen) {
                let id = format!("field-{kind}-{way}-{size}");
                let title = format!("{title}: {}, {way}", row::bytes(size));
                let plot = if kind == "round-trip" && rows.iter().any(|row| row.positive("p50").is_some()) {
                    bars(&rows, "median", "p50", Some("p99"), row::time)
                } else {
                    span_bars(&rows)
                };
                let caption = if kind == "round-trip" {
                    "Bars: medians; the whisker ends at the 99th percentile. Shorter is better. Blue is ringway."
                } else {
                    "Medians; the whisker is the range of the runs. Longer is better. Blue is ringway."
                };
                figures.extend(plot.map(|plot| figure(id, title, caption, plot)));
            }
        }
    }
    figures
}

fn span_bars(rows: &[Row]) -> Option<Plot> {
    let spans: Vec<_> = rows.iter().filter_map(|row| Some((*row, row.span("per_s")?))).take(MOST_BARS).collect();
    let values = || spans.iter().flat_map(|(_, span)| [span.min, span.max]);
    let axis = Axis::log("messages a second, logarithmic", values(), row::rate)?;
    let axis = axis.including(values().fold(f64::MAX, f64::min) / 2.0);
    let names = Names::of(rows);
    let bars = spans.iter().map(|(row, span)| Bar {
        name: names.name(*row),
        value: span.median,
        whisker: Some((span.min, span.max)),
        text: row::rate(span.median),
        colour: colour_of(*row),
    });
    Some(Plot::Bars(Bars { axis, from: None, bars: bars.collect() }))
}
