//! `compare`: ringway beside what a user would pick instead, as ratios.
//!
//! - `rows` says what is compared and what is asked of it;
//! - `field` is every system at the same work, beside ringway;
//! - `measure` takes pairs of measurements, `probe` says where the processors are;
//! - `processes` and `threads` run one measurement, `workload` has its loops,
//!   `payload` and `verify` make and check the messages, `systems` are the queues;
//! - `guard` sees to it that nothing hangs and nothing stays;
//! - `report`, `machine` write it down, `sinks`, `output` and `page`, which are those of `ringway bench`, into files;
//!   `self_test` has the negative controls.

mod args;
mod control;
mod cpus;
mod field;
mod guard;
mod job;
mod machine;
mod measure;
#[path = "../../../src/bin/ringway/bench/output.rs"]
mod output;
#[path = "../../../src/bin/ringway/bench/page/mod.rs"]
mod page;
mod payload;
mod probe;
mod processes;
mod report;
mod rows;
mod self_test;
#[path = "../../../src/bin/ringway/bench/sinks.rs"]
mod sinks;
mod systems;
mod threads;
mod verify;
mod workload;

use args::{Args, HELP};
use serde_json::json;
use sinks::Sinks;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

/// What a group of the field may take.
const GROUP_LIMIT: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [first, orders] = arguments.as_slice()
        && first == processes::WORKER_ARGUMENT
    {
        return ExitCode::from(u8::from(processes::worker(orders).is_err()));
    }
    let args = match Args::parse(arguments.into_iter()) {
        Ok(args) => args,
        Err(text) => {
            eprintln!("compare: {text}");
            return ExitCode::from(USAGE);
        }
    };
    if args.help {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    // What cannot be written in the end is said now.
    let json = args.json.iter().flatten().next().map(PathBuf::as_path);
    let sinks = match Sinks::open(json, args.html.as_deref(), args.svg.as_deref()) {
        Ok(sinks) => sinks,
        Err(error) => {
            eprintln!("compare: {error:#}");
            return ExitCode::from(FAILED);
        }
    };
    let guard = match guard::Guard::new() {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("compare: no private directory under /dev/shm: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let code = if args.self_test { u8::from(!self_test::run(!args.quick)) } else { run(args, sinks) };
    drop(guard);
    ExitCode::from(if guard::interrupted() { INTERRUPTED } else { code })
}

fn run(mut args: Args, sinks: Sinks) -> u8 {
    let (times, row_limit) = if args.quick {
        (rows::Times { warm_up_ms: 8, measure_ms: 50 }, Duration::from_secs(3))
    } else {
        (rows::Times { warm_up_ms: 10, measure_ms: 80 }, Duration::from_secs(60))
    };
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 9 });
    let without_recovery = args.without_recovery.take();
    let is_field_wanted = without_recovery.is_none() && !args.targets;
    let mut rows = match without_recovery {
        Some(program) => {
            processes::use_without_recovery(program);
            rows::price_of_recovery(times)
        }
        None if args.field => Vec::new(),
        None => rows::rows(times, args.threads),
    };
    let mut groups = if is_field_wanted { field::groups(rows::base(times)) } else { Vec::new() };
    if let Some(part) = &args.only {
        rows.retain(|row| row.name.contains(part.as_str()));
        groups.retain(|group| group.name.contains(part.as_str()));
    }
    if rows.is_empty() && groups.is_empty() {
        eprintln!("compare: no row and no group has that in its name");
        return USAGE;
    }
    // JSON alone has standard output for itself.
    let to_stdout = matches!(args.json, Some(None));
    let table = |text: &str| if to_stdout { eprintln!("{text}") } else { println!("{text}") };
    let machine = machine::describe();
    table(&machine::line(&machine));
    if cpus::is_alone() {
        table("one processor: all processes share it, and nobody spins; what is measured is mostly its scheduler");
    }
    let mut results = Vec::new();
    let mut failed = false;
    if !rows.is_empty() {
        table(&report::head());
    }
    for row in &rows {
        if guard::interrupted() {
            break;
        }
        let outcome = measure::compare(row, runs, row_limit, |done| progress(&format!("{} {done}/{runs}", row.name)));
        progress("");
        failed |= outcome.failed;
        table(&report::table_row(row, &outcome));
        results.push(report::json_row(row, &outcome));
    }
    for group in &mut groups {
        group.prepare(!args.quick);
    }
    // Rounds have many members: in the quick form one each.
    let rounds = if args.quick && args.runs.is_none() { 1 } else { runs };
    for group in &groups {
        if guard::interrupted() {
            break;
        }
        let outcome =
            field::measure(group, rounds, GROUP_LIMIT, |done| progress(&format!("{} {done}/{rounds}", group.name)));
        progress("");
        failed |= outcome.failed(group);
        table(&field::table(group, &outcome));
        results.extend(field::json_rows(group, &outcome));
    }
    if !groups.is_empty() {
        table(&format!("\nhow each was used:\n{}", field::legend()));
    }
    if guard::interrupted() {
        table("interrupted: this is what there is so far");
    }
    let report = json!({"schema": 1, "machine": machine, "runs": runs, "results": results});
    if to_stdout {
        println!("{report:#}");
    }
    if let Err(error) = sinks.write(&format!("{report:#}\n"), &report, guard::interrupted()) {
        eprintln!("compare: {error:#}");
        failed = true;
    }
    if failed { FAILED } else { 0 }
}

/// One changing line, for people only.
fn progress(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[K{text}");
        let _ = stderr.flush();
    }
}
