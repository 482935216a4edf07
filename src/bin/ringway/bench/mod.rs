//! `ringway bench`: ringway beside the limit of the machine and what the kernel
//! offers, measured in processes of their own.
//!
//! `args` → `plan` (cells) → `schedule` (rounds, ratios) → `runner` (one run:
//! processes) → `worker` (in the process: `latency` or `throughput` drive
//! `ringway_parts` or a `baseline`, between two `probe`s) → `report` → `table`,
//! JSON and `page`, into `sinks`; `load` has rounds of its own, `scale` cells of `throughput`, `tune` draws conclusions.
//! It must not know the library's insides.

mod args;
mod baseline;
mod control;
mod latency;
mod load;
mod machine;
mod message;
mod output;
mod page;
mod plan;
mod pools;
mod probe;
mod processes;
mod report;
mod ringway_parts;
mod runner;
mod scale;
mod schedule;
mod sinks;
mod stats;
mod table;
mod throughput;
mod tune;
mod worker;
mod workspace;

pub use args::{BenchArgs, settle_json_flag};
pub use runner::WORKER_COMMAND;
pub use worker::work;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use plan::{Bench, Cell, Group, Request};
use report::{Report, Row};
use schedule::Budget;
use sinks::Sinks;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;
use workspace::Workspace;

/// What one bench may take: the promise is 20 s and 3 minutes for both.
const QUICK_BUDGET: Duration = Duration::from_millis(9_000);
const FULL_BUDGET: Duration = Duration::from_secs(85);
/// What scaling may take: the promise is 15 s and 3 minutes.
const QUICK_SCALE_BUDGET: Duration = Duration::from_millis(11_500);
const FULL_SCALE_BUDGET: Duration = Duration::from_secs(150);
/// What tuning may take.
const QUICK_TUNE_BUDGET: Duration = Duration::from_secs(4);
const FULL_TUNE_BUDGET: Duration = Duration::from_secs(50);
/// A run never measures longer.
const LONGEST_RUN: Duration = Duration::from_millis(400);
/// What a run may take that starts processes.
const USUAL_PROCESS_RUN: Duration = Duration::from_secs(3);
/// What a run takes if the number of runs was stated.
const USUAL_RUN: Duration = Duration::from_millis(400);

/// Measures, and writes table and JSON.
pub fn run(request: &Request) -> Result<ExitCode> {
    ctrlc::set_handler(|| runner::INTERRUPTED.store(true, Ordering::Relaxed)).context("catching Ctrl-C")?;
    // What cannot be written in the end is said now.
    let json = request.json.as_deref().filter(|path| *path != Path::new("-"));
    let sinks = Sinks::open(json, request.html.as_deref(), request.svg.as_deref())?;
    let workspace = Workspace::new()?;
    let mut rows = Vec::new();
    let mut footers = Vec::new();
    let (mut interrupted, mut failed) = (false, false);
    let benches = [
        (Bench::Latency, request.latency, plan::latency as fn(&Request) -> Vec<Group>),
        (Bench::Throughput, request.throughput, plan::throughput),
        (Bench::Process, request.process, plan::process),
        (Bench::Pool, request.pool, plan::pool),
    ];
    for (bench, wanted, groups) in benches {
        if !wanted || interrupted {
            continue;
        }
        let groups = groups(request);
        let outcome = measure(bench, &groups, request, &workspace);
        rows.extend(report::rows(&groups, &outcome));
        failed |= report::failed(&groups, &outcome);
        interrupted |= outcome.interrupted;
        footers.push((bench, footer(bench, &outcome)));
    }
    if request.load {
        let outcome = measure_load(request, &workspace)?;
        failed |= outcome.failed;
        interrupted |= outcome.interrupted;
        let placements = placements(&outcome.probes);
        footers.push((Bench::Load, placements + &load::footer(Bench::Load)));
        footers.push((Bench::Idle, load::footer(Bench::Idle)));
        rows.extend(outcome.rows);
    }
    if request.scale {
        let parts = scale::plan(request);
        let groups: Vec<Group> = parts.iter().map(|(_, group)| group.clone()).collect();
        let outcome = measure(Bench::Scale, &groups, request, &workspace);
        let own = scale::rows(&parts, &outcome);
        failed |= report::failed(&groups, &outcome);
        interrupted |= outcome.interrupted;
        footers.push((Bench::Scale, footer(Bench::Scale, &outcome) + &scale::footer(&own, processors())));
        rows.extend(own);
    }
    let mut suggestion = None;
    if request.tune {
        let groups = tune::groups(request, &workspace.cpus);
        let outcome = measure(Bench::Tune, &groups, request, &workspace);
        rows.extend(report::rows(&groups, &outcome));
        failed |= report::failed(&groups, &outcome);
        interrupted |= outcome.interrupted;
        let advice = tune::suggest(&rows, &outcome, &workspace.cpus);
        footers.push((Bench::Tune, advice.text()));
        suggestion = Some(advice);
    }
    let machine = machine::Machine::look(workspace.pinned());
    drop(workspace);
    let report = Report { suggestion, ..Report::new(machine, rows) };
    write_out(request, sinks, &report, &footers, interrupted)?;
    Ok(if failed || interrupted { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn measure(bench: Bench, groups: &[Group], request: &Request, workspace: &Workspace) -> schedule::Outcome {
    let cells: u32 = groups.iter().map(|group| group.len() as u32).sum();
    let runs = cells.saturating_mul(request.runs);
    let total = match (request.quick, request.runs_stated) {
        // Before each run a process takes its memory, and there are few cells.
        (false, _) if matches!(bench, Bench::Process | Bench::Pool) => USUAL_PROCESS_RUN * runs,
        (true, _) if bench == Bench::Scale => QUICK_SCALE_BUDGET,
        (false, false) if bench == Bench::Scale => FULL_SCALE_BUDGET.min(USUAL_RUN * runs),
        (true, _) if bench == Bench::Tune => QUICK_TUNE_BUDGET,
        (true, _) => QUICK_BUDGET,
        (false, true) => USUAL_RUN * runs,
        (false, false) if bench == Bench::Tune => FULL_TUNE_BUDGET.min(USUAL_RUN * runs),
        (false, false) => FULL_BUDGET.min(USUAL_RUN * runs),
    };
    let bar = progress_bar(u64::from(runs));
    let progress = |cell: &Cell| {
        let (first, second) = cell.processes();
        let sides = if bench == Bench::Scale { format!(" {first}x{second}") } else { String::new() };
        bar.set_message(format!("{} {}{sides} of {} bytes", name(bench), cell.system.name(), cell.size));
        bar.inc(1);
    };
    let execute = |cell: &Cell, time| runner::run(cell, workspace, time);
    let outcome = schedule::rounds(groups, request.runs, Budget::new(total, runs, LONGEST_RUN), execute, progress);
    bar.finish_and_clear();
    outcome
}

fn measure_load(request: &Request, workspace: &Workspace) -> Result<load::Outcome> {
    let bar = progress_bar(load::steps(request));
    let outcome = load::run(request, workspace, |cell| {
        let wait = cell.wait.map_or("", |wait| wait.name());
        let rate = match (cell.bench, cell.rate) {
            (Bench::Idle, _) => "idle".into(),
            (_, Some(rate)) => format!("at {rate} a second"),
            (_, None) => "to find the most".into(),
        };
        bar.set_message(format!("load {} {wait} {rate}", cell.system.name()));
        bar.inc(1);
    });
    bar.finish_and_clear();
    outcome
}

fn progress_bar(steps: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    bar
}

fn name(bench: Bench) -> &'static str {
    match bench {
        Bench::Latency => "latency",
        Bench::Throughput => "throughput",
        Bench::Process => "process",
        Bench::Pool => "pool",
        Bench::Load => "load",
        Bench::Idle => "idle",
        Bench::Scale => "scale",
        Bench::Tune => "tune",
    }
}

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

fn placements(probes: &[f64]) -> String {
    match probe::distribution(probes) {
        empty if empty.is_empty() => empty,
        groups => format!("placement (raw round trip before and after each run): {groups}\n"),
    }
}

/// What is needed to judge the table above it.
fn footer(bench: Bench, outcome: &schedule::Outcome) -> String {
    let mut text = String::new();
    if !matches!(bench, Bench::Process | Bench::Pool) {
        text.push_str(&placements(&outcome.probes));
    }
    let runs = outcome.histories.iter().flatten().flat_map(|history| &history.runs);
    let clocks: Vec<f64> = runs.filter_map(|run| run.clock_ns).collect();
    if let Some(clock) = stats::median(&clocks) {
        let _ = writeln!(text, "every round trip includes about {clock:.0} ns for reading the clock");
    }
    text.push_str(match bench {
        Bench::Latency => "x limit: times the round trip of raw (park: of futex); x pipe: times faster than pipe\n",
        Bench::Throughput => "of limit: share of the rate of copy; x pipe: times faster than pipe (1x1)\n",
        Bench::Process => {
            "start and join of an empty function; ringway-death: from a child's last act to the return of join; \
             x command: times std::process::Command of /bin/true\n"
        }
        Bench::Pool => {
            "apply: one call and its result, a worker; ringway, futex: the round trips beside which it is measured; async: \
             jobs that are submitted one by one, map: calls; slices: copies of 64 MiB; cpu: jobs of some 10 ms; \
             x limit: times the first row of the group\n"
        }
        // These say more.
        Bench::Load | Bench::Idle | Bench::Scale | Bench::Tune => "",
    });
    text
}

fn write_out(
    request: &Request,
    sinks: Sinks,
    report: &Report,
    footers: &[(Bench, String)],
    interrupted: bool,
) -> Result<()> {
    let to_stdout = request.json.as_deref() == Some(Path::new("-"));
    let colours = if to_stdout { std::io::stderr().is_terminal() } else { std::io::stdout().is_terminal() };
    let mut text = tables(&report.results, footers, colours);
    let machine = &report.machine;
    let pinned = if machine.pinned { "pinned" } else { "not pinned" };
    let _ = writeln!(
        text,
        "{}, {} cores ({pinned}), Linux {}, {}, commit {}, {}",
        machine.cpu, machine.cores, machine.kernel, machine.rustc, machine.commit, machine.date
    );
    if interrupted {
        text.push_str("interrupted: this is what there is so far\n");
    }
    // The report first: nobody reads a table into a closed pipe, but the file counts.
    let mut json = serde_json::to_string_pretty(report).context("writing JSON")?;
    json.push('\n');
    if to_stdout {
        std::io::stdout().write_all(json.as_bytes()).context("writing JSON to standard output")?;
    }
    sinks.write(&json, &serde_json::to_value(report).context("making the page")?, interrupted)?;
    if to_stdout {
        std::io::stderr().write_all(text.as_bytes()).context("writing the table")
    } else {
        std::io::stdout().write_all(text.as_bytes()).context("writing the table")
    }
}

fn tables(rows: &[Row], footers: &[(Bench, String)], colours: bool) -> String {
    let mut text = String::new();
    for (bench, footer) in footers {
        text.push_str(&table::render(*bench, rows, colours));
        text.push_str(footer);
        text.push('\n');
    }
    text
}
