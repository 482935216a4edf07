//! Queues of Python's, each measured by a program of its own: `multiprocessing.Queue` and faster-fifo, which is
//! installed beside this program, into an environment of its own.

use super::Failure;
use crate::cpus::of_worker;
use crate::guard;
use crate::job::{Job, System};
use crate::workload::Rate;
use serde::Deserialize;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

/// How long one of them may take, more than they allow themselves.
const LIMIT: Duration = Duration::from_secs(30);
const PROGRAM: &str = include_str!("python.py");

fn python() -> Command {
    let mut command = Command::new("python3");
    command.stdin(Stdio::null());
    command
}

/// Whether there is one to compare with.
pub fn is_there() -> bool {
    static THERE: OnceLock<bool> = OnceLock::new();
    *THERE.get_or_init(|| {
        let asked =
            python().args(["-c", "import multiprocessing"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let there = asked.is_ok_and(|status| status.success());
        if !there {
            eprintln!("compare: no python3 here, so no row against it");
        }
        there
    })
}

/// Tuples of a number and a text through `multiprocessing.Queue`, once.
pub fn rate(job: &Job) -> Result<Rate, Failure> {
    let milliseconds = (job.warm_up_ms + job.measure_ms).to_string();
    let output = guard::output_within(LIMIT, python().args(["-c", PROGRAM, &milliseconds])).map_err(Failure::new)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().parse::<f64>() {
        Ok(per_second) if output.status.success() && per_second > 0.0 => Ok(Rate { per_second, share: 1.0 }),
        _ => Err(Failure::new(format!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))),
    }
}

const FIELD: &str = include_str!("python_field.py");

/// What the program says.
#[derive(Deserialize)]
struct Said {
    per_second: f64,
    trips: Vec<(u64, u64)>,
}

/// Bytes through one of the queues, once.
pub fn timed(job: &Job) -> Result<(Rate, Vec<(u64, u64)>), Failure> {
    let mut command = match job.system {
        System::FasterFifo => Command::new(environment()?.join("bin/python")),
        _ => Command::new("python3"),
    };
    let [size, capacity, warm_up, measure] =
        [job.bytes as u64, job.capacity, job.warm_up_ms, job.measure_ms].map(|number| number.to_string());
    let cpus = [false, true].map(|receiver| of_worker(receiver, 0).to_string());
    let what = [job.system.name(), job.kind.name(), &size, &capacity, &warm_up, &measure, &cpus[0], &cpus[1]];
    let output = guard::output_within(LIMIT, command.args(["-c", FIELD]).args(what)).map_err(Failure::new)?;
    match serde_json::from_slice::<Said>(&output.stdout) {
        Ok(Said { per_second, trips }) if output.status.success() && per_second > 0.0 => {
            Ok((Rate { per_second, share: 1.0 }, trips))
        }
        _ => Err(Failure::new(format!("it ended with {}: {}", output.status, last_line(&output)))),
    }
}

/// What it says of the cause: the last line that calls itself an error, else the last.
fn last_line(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let errors = text.lines().rev().filter(|line| line.starts_with("ERROR") || line.contains("Error: "));
    errors
        .chain(text.lines().rev())
        .map(str::trim)
        .find(|line| !line.is_empty())
        .unwrap_or("it said nothing")
        .to_owned()
}

/// Where faster-fifo is, or would be.
fn environment() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    Ok(program.parent().unwrap_or(&program).join("python-environment"))
}

fn has_faster_fifo() -> bool {
    let Ok(python) = environment().map(|path| path.join("bin/python")) else { return false };
    let mut command = Command::new(python);
    command.args(["-c", "import faster_fifo"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Why a queue of Python's is not measured, if it is not. `installs`: faster-fifo is installed if it is not there.
pub fn refusal(system: System, installs: bool) -> Option<String> {
    if !is_there() {
        return Some("no python3 here".to_owned());
    }
    if system != System::FasterFifo || has_faster_fifo() {
        return None;
    }
    if !installs {
        return Some("not installed yet: a run without --quick installs it".to_owned());
    }
    static INSTALLED: OnceLock<Option<String>> = OnceLock::new();
    INSTALLED.get_or_init(install).clone()
}

/// What is installed.
const FASTER_FIFO: &str = "faster-fifo==1.5.2";

/// Takes a minute: it is compiled.
fn install() -> Option<String> {
    eprintln!("compare: installing faster-fifo for Python");
    let done = |command: &mut Command| match guard::output(command) {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(last_line(&output)),
        Err(error) => Err(error.to_string()),
    };
    let all = || {
        let path = environment().map_err(|failure| failure.to_string())?;
        done(Command::new("python3").args(["-m", "venv"]).arg(&path))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--timeout", "15", FASTER_FIFO];
        done(Command::new(path.join("bin/python")).args(pip))
    };
    all().err().map(|reason| format!("could not be installed: {reason}"))
}
