//! The report of a benchmark as one page that needs nothing else, and its plots as files.
//!
//! In go the machine and the rows of a JSON report, so that a page can be made again from such a
//! file, and by another program. It must not know anything else of `bench`.
//! `row` (reading) → `palette`, `axis`, `draw` (plotters) → `plots`, `scale`, `ratios` (figures) → `prose`,
//! `html`.

mod axis;
mod draw;
mod html;
mod palette;
mod plots;
mod prose;
mod ratios;
mod row;
mod scale;
#[cfg(test)]
mod tests;

use plots::Figure;
use row::Row;
use serde_json::Value;

/// What a page is made of.
pub struct Report<'v> {
    pub machine: &'v Value,
    pub rows: &'v [Value],
    /// Not everything that was asked for has been measured.
    pub interrupted: bool,
}

/// Figures that belong together, and how their numbers came about.
struct Section {
    id: &'static str,
    title: &'static str,
    how: &'static str,
    figures: Vec<Figure>,
}

impl Report<'_> {
    /// The page.
    pub fn html(&self) -> String {
        html::page(self, &self.sections())
    }

    /// Every plot as a file: its name, and what is in it.
    pub fn svgs(&self) -> Vec<(String, String)> {
        let mut files: Vec<(String, String)> = Vec::new();
        for figure in self.sections().iter().flat_map(|section| &section.figures) {
            let mut name = format!("{}.svg", figure.id);
            let same = files.iter().filter(|(other, _)| other.starts_with(&figure.id)).count();
            if files.iter().any(|(other, _)| *other == name) {
                name = format!("{}-{}.svg", figure.id, same + 1);
            }
            if let Some(svg) = html::file(figure) {
                files.push((name, svg));
            }
        }
        files
    }

    fn of(&self, bench: &str) -> Vec<Row<'_>> {
        self.rows.iter().map(Row).filter(|row| row.is("bench", bench)).collect()
    }

    /// Whether it is of a comparison with other systems.
    fn has_rivals(&self) -> bool {
        ["compare", "field"].iter().any(|bench| !self.of(bench).is_empty())
    }

    /// Those of which there are rows.
    fn sections(&self) -> Vec<Section> {
        let (latency, throughput, load) = (self.of("latency"), self.of("throughput"), self.of("load"));
        let (process, pool, field) = (self.of("process"), self.of("pool"), self.of("field"));
        let mut round_trips = plots::distributions(&latency, "latency", "round trips", "");
        round_trips.extend(plots::time_bars(&latency, "latency", "Round trips"));
        let tune = self.of("tune");
        let mut tuning = plots::time_bars(&tune, "tune", "Round trips");
        tuning.extend(plots::rate_bars(&tune, "tune", "Throughput"));
        let mut jobs = plots::time_bars(&pool, "pool", "Jobs");
        jobs.extend(plots::rate_bars(&pool, "pool", "Jobs a second"));
        let mut field_figures = Vec::new();
        for (way, how) in [("copy", ", copied"), ("in-place", ", in place")] {
            let trips: Vec<Row> = only(&field, "round-trip").into_iter().filter(|row| row.is("way", way)).collect();
            field_figures.extend(plots::distributions(&trips, &format!("field-{way}"), "round trips", how));
        }
        field_figures.extend(plots::field_bars(&field));
        let mut load_figures = plots::load_curves(&load);
        for (rate, rows) in plots::by(&load, "rate") {
            let (id, how) = (format!("load-{rate}"), format!(", {} a second", row::rate(rate)));
            load_figures.extend(plots::distributions(&rows, &id, "the time under way", &how));
        }
        let all: Vec<Row> = self.rows.iter().map(Row).collect();
        let with_idle: Vec<Row> = all.iter().copied().filter(|row| row.number("idle_cpu_share").is_some()).collect();
        let section = |id, title, how, figures| Section { id, title, how, figures };
        let sections = vec![
            section("latency", "Latency", prose::LATENCY, round_trips),
            section(
                "throughput",
                "Throughput",
                prose::THROUGHPUT,
                plots::rate_bars(&throughput, "throughput", "Throughput"),
            ),
            section("size", "Over size", prose::SIZE, plots::size_curves(&throughput)),
            section("scale", "Scaling", prose::SCALE, scale::figures(&self.of("scale"))),
            section("load", "Over rate", prose::LOAD, load_figures),
            section("idle", "Waiting", prose::IDLE, plots::idle_bars(&with_idle).into_iter().collect()),
            section(
                "process",
                "Processes",
                prose::PROCESS,
                plots::time_bars(&process, "process", "Start from a parent"),
            ),
            section("pool", "Pools", prose::POOL, jobs),
            section("tune", "Tuning", prose::TUNE, tuning),
            section("field", "The field", prose::FIELD, field_figures),
            section("ratios", "Ratios", prose::RATIOS, ratios::figures(&ratios::ratios(&all))),
        ];
        sections.into_iter().filter(|section| !section.figures.is_empty()).collect()
    }
}

fn only<'v>(rows: &[Row<'v>], kind: &str) -> Vec<Row<'v>> {
    rows.iter().copied().filter(|row| row.is("kind", kind)).collect()
}
