//! Writes the page. Everything that comes from rows is escaped here, or by plotters in the plots.
//! Knows sections and figures; not what they mean.

use super::draw::{Drawing, FONT, Width};
use super::plots::Figure;
use super::ratios::{self, Ratio};
use super::row::{self, Row, clean};
use super::{Report, Section, palette, prose};
use serde_json::Value;
use std::fmt::Write as _;

const STYLE: &str = include_str!("page.css");

/// Copies the JSON; all else works without.
const SCRIPT: &str = "document.getElementById('copy').onclick=function(){\
    var b=this,t=document.getElementById('json');\
    function done(){b.textContent='Copied'}\
    function select(){var r=document.createRange(),s=getSelection();r.selectNodeContents(t);s.removeAllRanges();\
    s.addRange(r);if(document.execCommand('copy'))done()}\
    if(navigator.clipboard)navigator.clipboard.writeText(t.textContent).then(done,select);else select()}";

pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in clean(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Words between backticks are code.
fn prose(text: &str) -> String {
    let parts = text.split('`').enumerate();
    parts.map(|(k, part)| if k % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) }).collect()
}

pub fn page(report: &Report, sections: &[Section]) -> String {
    let machine = Row(report.machine);
    let cpu = machine.text("cpu").unwrap_or_else(|| "an unknown machine".into());
    let ratios = ratios::ratios(&report.rows.iter().map(Row).collect::<Vec<_>>());
    let title = if report.has_rivals() { "ringway and its rivals" } else { "ringway bench" };
    let mut out = String::new();
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}: {}</title>\n\
         <style>\n{}{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escaped(&cpu),
        palette::style(),
        prose::WHAT
    );
    if report.interrupted {
        let _ = writeln!(out, "<p class=\"warn\" role=\"status\">{}</p>", prose::INTERRUPTED);
    }
    out.push_str(&machine_list(machine, most_processes(report)));
    out.push_str("<nav aria-label=\"Sections\">\n");
    for section in sections {
        let _ = writeln!(out, "<a href=\"#{}\">{}</a>", section.id, section.title);
    }
    out.push_str("<a href=\"#numbers\">Numbers</a>\n</nav>\n");
    for section in sections {
        let _ = writeln!(out, "<section>\n<h2 id=\"{}\">{}</h2>", section.id, section.title);
        let _ = writeln!(out, "<p class=\"how\">{}</p>", prose(section.how));
        section.figures.iter().for_each(|one| out.push_str(&figure(one)));
        if section.id == "ratios" {
            out.push_str(&ratio_table(&ratios));
        }
        out.push_str("</section>\n");
    }
    out.push_str(&numbers(report));
    let _ = write!(out, "</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n");
    out
}

/// Of one measurement.
fn most_processes(report: &Report) -> f64 {
    let ends = |row: &Value| {
        let row = Row(row);
        row.number("producers").unwrap_or(1.0) + row.number("consumers").unwrap_or(1.0)
    };
    report.rows.iter().map(ends).fold(0.0, f64::max)
}

fn machine_list(machine: Row, processes: f64) -> String {
    let shared = machine.number("cores").is_some_and(|cores| processes > cores);
    let pinned = machine.0.get("pinned").and_then(Value::as_bool).map(|yes| match (yes, shared) {
        (false, _) => "not pinned",
        (true, false) => "pinned to processors",
        (true, true) => "pinned to processors, sharing them where there are more processes",
    });
    let facts = [
        ("Processor", machine.text("cpu")),
        ("Cores", machine.number("cores").map(row::digits_whole)),
        ("Processes", pinned.map(str::to_owned)),
        ("Kernel", machine.text("kernel").map(|text| format!("Linux {text}"))),
        ("Compiler", machine.text("rustc")),
        ("Commit", machine.text("commit")),
        ("Date", machine.text("date")),
    ];
    let mut out = String::from("<dl>\n");
    for (name, fact) in facts {
        let fact = fact.unwrap_or_else(|| "unknown".into());
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escaped(&fact));
    }
    out.push_str("</dl>\n");
    out
}

fn figure(figure: &Figure) -> String {
    let mut out = format!("<figure id=\"{}\">\n", escaped(&figure.id));
    let (title, caption) = (escaped(&figure.title), escaped(&figure.caption));
    let _ = writeln!(out, "<figcaption><strong>{title}</strong>{caption}</figcaption>");
    for (width, class) in [(Width::Wide, "wide"), (Width::Narrow, "narrow")] {
        match figure.plot.draw(width) {
            Ok(Drawing { width, height, body }) => {
                let _ = writeln!(
                    out,
                    "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
                     aria-label=\"{title}\" font-family=\"{FONT}\"><title>{title}</title>{body}</svg>"
                );
            }
            Err(error) => {
                let _ = writeln!(out, "<p class=\"warn\">This plot could not be drawn: {}</p>", escaped(&error));
            }
        }
    }
    out.push_str("</figure>\n");
    out
}

/// A plot that stands alone.
pub fn file(figure: &Figure) -> Option<String> {
    let Drawing { width, height, body } = figure.plot.draw(Width::Wide).ok()?;
    let title = escaped(&figure.title);
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\" font-family=\"{FONT}\">\n<title>{title}</title>\n\
         <desc>{}</desc>\n<style>\n{}svg{{background:var(--paper)}}\n</style>\n{body}</svg>\n",
        escaped(&figure.caption),
        palette::style()
    ))
}

/// Rows of texts, some columns to the left; a cell may be marked as bad.
struct Table {
    head: Vec<String>,
    left: Vec<bool>,
    out: String,
}

impl Table {
    fn new(head: Vec<String>, left: Vec<bool>) -> Table {
        Table { head, left, out: String::new() }
    }

    fn row(&mut self, cells: &[String], bad: Option<usize>) {
        self.out.push_str("<tr>");
        for (k, cell) in cells.iter().enumerate() {
            let long = cell.chars().count() > 48;
            let classes = [("l", self.left[k] || long), ("wide", long), ("bad", bad == Some(k))];
            let classes: Vec<&str> = classes.iter().filter(|(_, on)| *on).map(|(class, _)| *class).collect();
            let attribute =
                if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
            let _ = write!(self.out, "<td{attribute}>{}</td>", escaped(cell));
        }
        self.out.push_str("</tr>\n");
    }

    /// A line over the rows that follow.
    fn group(&mut self, name: &str) {
        let _ = writeln!(
            self.out,
            "<tr><th class=\"group\" scope=\"colgroup\" colspan=\"{}\">{}</th></tr>",
            self.head.len(),
            escaped(name)
        );
    }

    fn finish(self, name: &str) -> String {
        let mut head = String::new();
        for (k, cell) in self.head.iter().enumerate() {
            let class = if self.left[k] { " class=\"l\"" } else { "" };
            let _ = write!(head, "<th scope=\"col\"{class}>{}</th>", escaped(cell));
        }
        format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\">\n<table>\n\
             <thead><tr>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table>\n</div>\n",
            escaped(name),
            self.out
        )
    }
}

fn ratio_table(ratios: &[Ratio]) -> String {
    let targets = ratios.iter().any(|ratio| ratio.target.is_some());
    let mut head = vec!["ringway", "times as fast", "against", "lowest", "highest"];
    if targets {
        head.extend(["target", "met"]);
    }
    head.push("how");
    let left = head.iter().map(|name| ["ringway", "against", "how"].contains(name)).collect();
    let mut table = Table::new(head.into_iter().map(String::from).collect(), left);
    let mut group = "";
    for ratio in ratios {
        if group != ratio.group {
            group = &ratio.group;
            table.group(group);
        }
        let against = if ratio.is_limit { format!("{} (the limit)", ratio.against) } else { ratio.against.clone() };
        let single = ratio.times.min == ratio.times.max;
        let edge = |value: f64| if single { "–".into() } else { row::digits(value) };
        let mut cells = vec![ratio.ours.clone(), row::digits(ratio.times.median), against];
        cells.extend([edge(ratio.times.min), edge(ratio.times.max)]);
        if targets {
            cells.push(ratio.target.map_or_else(|| "–".into(), row::digits));
            cells.push(ratio.met.map_or("–", |met| if met { "yes" } else { "no" }).into());
        }
        cells.push(ratio.how.into());
        table.row(&cells, if ratio.met == Some(false) { Some(6) } else { ratio.is_behind().then_some(1) });
    }
    format!("<h3>All ratios</h3>\n{}", table.finish("All ratios"))
}

/// Columns in this order, then what else there is.
const COLUMNS: [&str; 40] = [
    "row",
    "over",
    "system",
    "rival",
    "cpus",
    "kind",
    "way",
    "mode",
    "wait",
    "size",
    "producers",
    "consumers",
    "capacity",
    "inline",
    "batch",
    "rate",
    "achieved_per_s",
    "p50",
    "p90",
    "p99",
    "p999",
    "max",
    "msgs_per_s",
    "bytes_per_s",
    "per_s",
    "ratio",
    "beside",
    "ratio_safe",
    "beside_safe",
    "ratio_limit",
    "ratio_pipe",
    "ratio_base",
    "target",
    "met",
    "idle_cpu_share",
    "spread",
    "runs",
    "samples",
    "note",
    "error",
];

fn numbers(report: &Report) -> String {
    let mut out = String::from("<section>\n<h2 id=\"numbers\">Numbers</h2>\n");
    out.push_str(
        "<p class=\"how\">As in the JSON: p50 to max in nanoseconds, sizes in bytes, rates in messages and bytes a second; \
         spread is the range of the runs divided by their median.</p>\n",
    );
    let mut benches: Vec<&str> = Vec::new();
    for bench in report.rows.iter().filter_map(|row| row.get("bench")?.as_str()) {
        if !benches.contains(&bench) {
            benches.push(bench);
        }
    }
    for bench in benches {
        let rows: Vec<Row> = report.rows.iter().map(Row).filter(|row| row.is("bench", bench)).collect();
        let _ = write!(out, "<h3>{}</h3>\n{}", escaped(bench), raw_table(bench, &rows));
    }
    let _ = write!(
        out,
        "<details>\n<summary>The whole report as JSON</summary>\n<button id=\"copy\" type=\"button\">Copy</button>\n\
         <pre id=\"json\" tabindex=\"0\">{}</pre>\n</details>\n</section>\n",
        escaped_lines(&json(report))
    );
    out
}

/// The columns that have something in them.
fn raw_table(bench: &str, rows: &[Row]) -> String {
    let keys = rows.iter().filter_map(|row| row.0.as_object()).flat_map(|object| object.keys());
    let mut columns: Vec<&str> = Vec::new();
    for key in COLUMNS.iter().copied().chain(keys.map(String::as_str)) {
        let hidden = ["bench", "distribution"].contains(&key) || columns.contains(&key);
        if !hidden && rows.iter().any(|row| row.0.get(key).is_some_and(|value| !value.is_null())) {
            columns.push(key);
        }
    }
    let text = |key: &&str| rows.iter().any(|row| row.0.get(*key).is_some_and(Value::is_string));
    let left = columns.iter().map(text).collect();
    let mut table = Table::new(columns.iter().map(|&key| key.to_owned()).collect(), left);
    for row in rows {
        let cells: Vec<String> = columns.iter().map(|&key| cell(row.0.get(key))).collect();
        let error = columns.iter().position(|&key| key == "error");
        table.row(&cells, error);
    }
    table.finish(bench)
}

fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "–".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Object(_)) => match value.and_then(row::span) {
            Some(span) => {
                format!("{} [{}..{}]", row::digits(span.median), row::digits(span.min), row::digits(span.max))
            }
            None => value.map(ratio_inside).unwrap_or_default(),
        },
        Some(Value::Number(n)) if n.is_f64() => {
            let value = n.as_f64().unwrap_or_default();
            if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { n.to_string() }
        }
        Some(value) => value.to_string(),
    }
}

/// Of an object of spans each with its key.
fn ratio_inside(value: &Value) -> String {
    let parts = value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let named = parts.map(|(key, value)| match value {
        Value::Object(_) if row::span(value).is_none() => format!("{key} …"),
        value => format!("{key} {}", cell(Some(value))),
    });
    named.collect::<Vec<_>>().join(", ")
}

/// One row a line.
fn json(report: &Report) -> String {
    let rows: Vec<String> = report.rows.iter().map(Value::to_string).collect();
    format!("{{\"schema\": 1,\n\"machine\": {},\n\"results\": [\n{}\n]}}", report.machine, rows.join(",\n"))
}

/// JSON has no control characters of its own but the ends of our lines.
fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}
