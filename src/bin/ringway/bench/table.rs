//! The tables that a person reads. Knows rows, and whether it writes to a
//! terminal.

use super::load::SUSTAINED;
use super::plan::{Bench, System};
use super::report::Row;
use super::scale::Over;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{Cell, CellAlignment, Table};

const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

const LATENCY: [&str; 13] =
    ["system", "mode", "wait", "bytes", "p50 ns", "p90", "p99", "p99.9", "max", "x limit", "x pipe", "spread", "runs"];
const THROUGHPUT: [&str; 11] =
    ["system", "mode", "wait", "bytes", "PxC", "capacity", "batch", "M msg/s", "MB/s", "of limit", "x pipe"];
const PROCESS: [&str; 10] =
    ["system", "parent MB", "p50 us", "p90", "p99", "p99.9", "max", "x command", "spread", "runs"];
const POOL: [&str; 11] =
    ["system", "wait", "bytes", "p50 us", "p90", "p99", "max", "a second", "x limit", "spread", "runs"];
const LOAD: [&str; 16] = [
    "system", "mode", "wait", "bytes", "slots", "rate", "achieved", "p50 us", "p90", "p99", "p99.9", "max", "late",
    "send s/M", "recv s/M", "msgs",
];
const IDLE: [&str; 7] = ["system", "mode", "wait", "bytes", "slots", "idle cpu", "sleeps/s"];
const SCALE: [&str; 13] = [
    "over", "system", "mode", "wait", "bytes", "PxC", "capacity", "M msg/s", "MB/s", "ratio", "target", "spread",
    "runs",
];
const TUNE: [&str; 13] = [
    "system",
    "cores",
    "bytes",
    "mode",
    "slots",
    "inline",
    "p50 ns",
    "call ns",
    "to run ns",
    "cpu ns",
    "M msg/s",
    "spread",
    "runs",
];
const THROUGHPUT_TAIL: [&str; 2] = ["spread", "runs"];

/// The rows of `bench` as text, with colours if they are wanted.
pub fn render(bench: Bench, rows: &[Row], colours: bool) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.cell.bench == bench).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    let header: Vec<&str> = match bench {
        Bench::Latency => LATENCY.to_vec(),
        Bench::Throughput => [&THROUGHPUT[..], &THROUGHPUT_TAIL].concat(),
        Bench::Process => PROCESS.to_vec(),
        Bench::Pool => POOL.to_vec(),
        Bench::Load => LOAD.to_vec(),
        Bench::Idle => IDLE.to_vec(),
        Bench::Scale => SCALE.to_vec(),
        Bench::Tune => TUNE.to_vec(),
    };
    let lefts = match bench {
        Bench::Process => 1,
        Bench::Scale => 4,
        Bench::Pool | Bench::Tune => 2,
        Bench::Latency | Bench::Throughput | Bench::Load | Bench::Idle => 3,
    };
    let aligned = |(k, text): (usize, String)| {
        let alignment = if k < lefts { CellAlignment::Left } else { CellAlignment::Right };
        Cell::new(text).set_alignment(alignment)
    };
    table.set_header(header.iter().map(|&h| h.to_owned()).enumerate().map(aligned).collect::<Vec<_>>());
    for row in &rows {
        let cells = match bench {
            Bench::Latency => latency(row),
            Bench::Throughput => throughput(row),
            Bench::Process => process(row),
            Bench::Pool => pool(row),
            Bench::Load => load(row),
            Bench::Idle => idle(row),
            Bench::Scale => scale(row),
            Bench::Tune => tune(row),
        };
        table.add_row(cells.into_iter().enumerate().map(aligned).collect::<Vec<_>>());
    }
    let mut text = String::new();
    let mut lines = 0;
    for line in table.lines() {
        // The lines between rows only take room; groups keep theirs.
        let ruled = line.starts_with(['─', '═', '╌', '-', '=']);
        let after = lines.max(1) - 1;
        let group = |row: &Row| {
            let shape = row.cell.processes();
            let over = row.scale.over;
            (over, row.cell.size, row.cell.rate, (over == Some(Over::Capacity)).then_some(shape))
        };
        let group_ends = after == 0 || after >= rows.len() || group(rows[after - 1]) != group(rows[after]);
        if !ruled {
            lines += 1;
        } else if !group_ends && lines > 1 {
            continue;
        }
        text.push_str(&coloured(line.trim_end(), lines, ruled, &rows, colours));
        text.push('\n');
    }
    let mut errors: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            Some(format!("{} of {} bytes: {}", row.cell.system.name(), row.cell.size, row.error.as_ref()?))
        })
        .collect();
    // What hinders one row often hinders its neighbours.
    errors.dedup();
    for error in errors {
        let (on, off) = if colours { (RED, PLAIN) } else { ("", "") };
        text.push_str(&format!("{on}{error}{off}\n"));
    }
    text
}

/// One line; `lines` counts the rows up to here, the header included.
fn coloured(line: &str, lines: usize, ruled: bool, rows: &[&Row], colours: bool) -> String {
    let row = lines.checked_sub(2).and_then(|k| rows.get(k));
    let colour = match row {
        _ if !colours || ruled => "",
        None => BOLD,
        Some(row) if row.error.is_some() => RED,
        Some(row) if row.cell.system.is_ringway() => CYAN,
        Some(_) => "",
    };
    if colour.is_empty() { line.to_owned() } else { format!("{colour}{line}{PLAIN}") }
}

fn head(row: &Row) -> Vec<String> {
    let cell = &row.cell;
    let mode = cell.mode.map_or("", |mode| mode.name());
    let wait = cell.wait.map_or("", |wait| wait.name());
    vec![cell.system.name().into(), mode.into(), wait.into(), cell.size.to_string()]
}

fn slots(row: &Row) -> String {
    row.cell.capacity.map_or_else(String::new, |n| n.to_string())
}

fn number<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".into(), |value| value.to_string())
}

/// Three digits, or none after the point of larger numbers.
fn short(value: Option<f64>) -> String {
    let Some(value) = value else { return "-".into() };
    match value {
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 10.0 => format!("{v:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{v:.2}"),
        v => format!("{v:.4}"),
    }
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{:.0} %", value * 100.0))
}

fn latency(row: &Row) -> Vec<String> {
    let mut cells = head(row);
    cells.extend([row.p50, row.p90, row.p99, row.p999, row.max].map(number));
    cells.extend([short(row.ratio_limit), short(row.ratio_pipe), percent(row.spread), row.runs.to_string()]);
    cells
}

fn process(row: &Row) -> Vec<String> {
    let mut cells = vec![row.cell.system.name().to_owned(), (row.cell.size / 1_000_000).to_string()];
    cells.extend([row.p50, row.p90, row.p99, row.p999, row.max].map(|ns| number(ns.map(|ns| ns.div_ceil(1000)))));
    cells.extend([short(row.ratio_limit), percent(row.spread), row.runs.to_string()]);
    cells
}

fn pool(row: &Row) -> Vec<String> {
    let wait = row.cell.wait.map_or("", |wait| wait.name());
    let mut cells = vec![row.cell.system.name().to_owned(), wait.to_owned(), row.cell.size.to_string()];
    cells.extend([row.p50, row.p90, row.p99, row.max].map(|ns| short(ns.map(|ns| ns as f64 / 1000.0))));
    cells.extend([row.msgs_per_s.map_or_else(|| "-".into(), |rate| short(Some(rate)))]);
    cells.extend([short(row.ratio_limit), percent(row.spread), row.runs.to_string()]);
    cells
}

fn throughput(row: &Row) -> Vec<String> {
    let cell = &row.cell;
    let mut cells = head(row);
    let (producers, consumers) = cell.processes();
    cells.push(format!("{producers}x{consumers}"));
    cells.push(slots(row));
    cells.extend([cell.batch.map_or_else(String::new, |n| n.to_string())]);
    cells.extend([short(row.msgs_per_s.map(|n| n / 1e6)), short(row.bytes_per_s.map(|n| n / 1e6))]);
    cells.extend([short(row.ratio_limit), short(row.ratio_pipe), percent(row.spread), row.runs.to_string()]);
    cells
}

fn scale(row: &Row) -> Vec<String> {
    let (first, second) = row.cell.processes();
    let scale = &row.scale;
    let mut cells = vec![scale.over.map_or("", |over| over.name()).to_owned()];
    cells.extend(head(row));
    cells.extend([format!("{first}x{second}"), slots(row)]);
    cells.extend([row.msgs_per_s, row.bytes_per_s].map(|n| short(n.map(|n| n / 1e6))));
    let met = scale.met.map_or("", |met| if met { " met" } else { " missed" });
    let target = scale.target.map_or_else(String::new, |target| format!(">= {target}{met}"));
    cells.extend([short(scale.ratio_base), target, percent(row.spread), row.runs.to_string()]);
    cells
}

fn load(row: &Row) -> Vec<String> {
    let mut cells = head(row);
    cells.push(slots(row));
    let (asked, achieved) = (row.cell.rate, row.load.achieved_per_s);
    cells.push(asked.map_or_else(|| "most".into(), |rate| rate.to_string()));
    let behind = asked.zip(achieved).is_some_and(|(asked, achieved)| achieved < asked as f64 * SUSTAINED);
    cells.push(
        achieved.map_or_else(|| "-".into(), |rate| format!("{}{}", short(Some(rate)), if behind { " !" } else { "" })),
    );
    let us = |ns: Option<u64>| short(ns.map(|ns| ns as f64 / 1000.0));
    cells.extend([row.p50, row.p90, row.p99, row.p999, row.max, row.load.late_p99].map(us));
    cells.extend([row.load.cpu_s_per_million_sender, row.load.cpu_s_per_million_receiver].map(short));
    cells.push(row.samples.to_string());
    cells
}

fn idle(row: &Row) -> Vec<String> {
    let mut cells = head(row);
    cells.push(slots(row));
    cells.push(row.load.idle_cpu_share.map_or_else(|| "-".into(), |share| format!("{:.2} %", share * 100.0)));
    cells.push(short(row.load.idle_sleeps_per_s));
    cells
}

fn tune(row: &Row) -> Vec<String> {
    let cell = &row.cell;
    let or_blank = |text: Option<String>| text.unwrap_or_default();
    let mut cells = vec![cell.system.name().to_owned(), or_blank(cell.cpus.map(|[a, b]| format!("{a}-{b}")))];
    cells.push(cell.size.to_string());
    cells.extend([or_blank(cell.mode.map(|mode| mode.name().to_owned())), slots(row)]);
    cells.push(or_blank(cell.inline.map(|bytes| bytes.to_string())));
    let streams = cell.system.is_ringway();
    let only = |here: bool, text: String| if here { text } else { String::new() };
    cells.push(only(!streams, number(row.p50)));
    let wake = &row.wake;
    let parked = cell.system == System::Futex;
    for span in [&wake.wake_call_ns, &wake.wake_to_run_ns, &wake.sleep_wake_cpu_ns] {
        cells.push(only(parked, short(span.as_ref().map(|span| span.median))));
    }
    cells.push(only(streams, short(row.msgs_per_s.map(|n| n / 1e6))));
    cells.extend([percent(row.spread), row.runs.to_string()]);
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        let texts = [234.56, 12.345, 1.2345, 0.012_345].map(|v| short(Some(v)));
        assert_eq!(texts, ["235", "12.3", "1.23", "0.0123"]);
        assert_eq!(short(None), "-");
    }
}
