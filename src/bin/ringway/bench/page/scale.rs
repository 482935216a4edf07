//! Figures of how throughput scales: rates over processes, sizes and capacities. Knows the keys of these rows;
//! nothing of pages.

use super::draw::Plot;
use super::plots::{Figure, Names, by_name, by_size, lines};
use super::row::{self, Row};

pub fn figures(rows: &[Row]) -> Vec<Figure> {
    let of = |over: &str| rows.iter().copied().filter(|row| row.is("over", over)).collect::<Vec<_>>();
    let mut figures = Vec::new();
    let processes = of("processes");
    let names = Names::of(&processes);
    for (size, rows) in by_size(&processes) {
        figures.extend(named(
            &format!("scale-processes-{size}"),
            &format!("Messages a second over processes, {}", row::bytes(size)),
            "N producing and N consuming processes, or N on one side and one on the other. Higher is better.",
            ("processes, logarithmic", row::digits_whole),
            ("messages a second", row::rate),
            by_name(&rows, |row| side_name(row, &names), most_processes, "msgs_per_s", f64::max),
        ));
    }
    let sizes = of("size");
    let rates = [
        ("msgs_per_s", "Messages", "messages a second", row::rate as fn(f64) -> String),
        ("bytes_per_s", "Bytes", "bytes a second", row::bytes_rate),
    ];
    for (key, title, unit, format) in rates {
        let names = Names::of(&sizes);
        figures.extend(named(
            &format!("scale-size-{}", title.to_lowercase()),
            &format!("{title} a second over size, queues of bytes"),
            "The greatest of its settings at each size; copy is the limit. Higher is better.",
            ("payload, logarithmic", row::bytes),
            (unit, format),
            by_name(&sizes, |row| names.without(row, &["size", "capacity"]), |row| row.positive("size"), key, f64::max),
        ));
    }
    let capacities = of("capacity");
    let names = Names::of(&capacities);
    figures.extend(named(
        "scale-capacity",
        "Messages a second over capacity",
        "Slots of the queue. Higher is better.",
        ("capacity, logarithmic", row::digits_whole),
        ("messages a second", row::rate),
        by_name(
            &capacities,
            |row| names.without(row, &["capacity"]),
            |row| row.positive("capacity"),
            "msgs_per_s",
            f64::max,
        ),
    ));
    figures
}

/// `lines` with every place on the horizontal axis named.
fn named(
    id: &str,
    title: &str,
    caption: &str,
    x: (&str, fn(f64) -> String),
    y: (&str, fn(f64) -> String),
    series: Vec<super::draw::Series>,
) -> Option<Figure> {
    let mut places: Vec<f64> = series.iter().flat_map(|one| one.marks.iter().copied()).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut figure = lines(id, title, caption, x, y, series)?;
    if let Plot::Lines(lines) = &mut figure.plot {
        lines.x = lines.x.clone().naming(places.into_iter());
    }
    Some(figure)
}

/// Those of the side that has more.
fn most_processes(row: Row) -> Option<f64> {
    Some(row.positive("producers")?.max(row.positive("consumers")?))
}

/// Which sides grow. One on each side begins the line of both.
fn side_name(row: Row, names: &Names) -> String {
    let (producers, consumers) = (row.number("producers"), row.number("consumers"));
    let shape = match (producers, consumers) {
        (Some(producers), Some(consumers)) if producers > consumers => "N×1",
        (Some(producers), Some(consumers)) if producers < consumers => "1×N",
        _ => "N×N",
    };
    format!("{} {shape}", names.without(row, &["producers", "size"]))
}
