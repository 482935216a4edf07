//! `compare`: ringway beside what a user would pick instead, as ratios.
//!
//! - `rows` says what is compared and what is asked of it;
//! - `measure` takes pairs of measurements, `probe` says where the processors are;
//! - `processes` and `threads` run one measurement, `workload` has its loops,
//!   `payload` and `verify` make and check the messages, `systems` are the queues;
//! - `guard` sees to it that nothing hangs and nothing stays;
//! - `report`, `machine` write it down; `self_test` has the negative controls.

mod args;
mod control;
mod cpus;
mod guard;
mod job;
mod machine;
mod measure;
mod payload;
mod probe;
mod processes;
mod report;
mod rows;
mod self_test;
mod systems;
mod threads;
mod verify;
mod workload;

use args::{Args, HELP, JsonTo};
use serde_json::json;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const INTERRUPTED: u8 = 130;

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
    if cpus::allowed().len() < 2 {
        eprintln!("compare: needs two processors; this process may use {}", cpus::allowed().len());
        return ExitCode::from(FAILED);
    }
    let guard = match guard::Guard::new() {
        Ok(guard) => guard,
        Err(error) => {
            eprintln!("compare: no private directory under /dev/shm: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let code = if args.self_test { u8::from(!self_test::run()) } else { run(args) };
    drop(guard);
    ExitCode::from(if guard::interrupted() { INTERRUPTED } else { code })
}

fn run(mut args: Args) -> u8 {
    let (times, row_limit) = if args.quick {
        (rows::Times { warm_up_ms: 8, measure_ms: 50 }, Duration::from_secs(3))
    } else {
        (rows::Times { warm_up_ms: 10, measure_ms: 80 }, Duration::from_secs(60))
    };
    let runs = args.runs.unwrap_or(if args.quick { 3 } else { 9 });
    let mut rows = match args.without_recovery.take() {
        Some(program) => {
            processes::use_without_recovery(program);
            rows::price_of_recovery(times)
        }
        None => rows::rows(times, args.threads),
    };
    if let Some(part) = &args.only {
        rows.retain(|row| row.name.contains(part.as_str()));
    }
    if rows.is_empty() {
        eprintln!("compare: no row has that in its name");
        return USAGE;
    }
    // JSON alone has standard output for itself.
    let table = |text: &str| match args.json {
        Some(JsonTo::Stdout) => eprintln!("{text}"),
        _ => println!("{text}"),
    };
    let machine = machine::describe();
    table(&machine::line(&machine));
    table(&report::head());
    let mut results = Vec::new();
    let mut failed = false;
    for row in &rows {
        if guard::interrupted() {
            break;
        }
        let outcome = measure::compare(row, runs, row_limit, |done| progress(&format!("{} {done}/{runs}", row.name)));
        progress("");
        failed |= outcome.error.is_some();
        table(&report::table_row(row, &outcome));
        results.push(report::json_row(row, &outcome));
    }
    if let Some(to) = &mut args.json {
        let all = json!({"schema": 1, "machine": machine, "runs": runs, "results": results});
        if let Err(error) = to.write(&format!("{all:#}")) {
            eprintln!("compare: the JSON was not written: {error}");
            failed = true;
        }
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
