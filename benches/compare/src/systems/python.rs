//! Python's `multiprocessing.Queue`, measured by a program of its own: it puts tuples of
//! a number and a text in one process and gets them in another, and says how many a
//! second.

use super::Failure;
use crate::job::Job;
use crate::workload::Rate;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

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

/// Runs it once.
pub fn rate(job: &Job) -> Result<Rate, Failure> {
    let milliseconds = (job.warm_up_ms + job.measure_ms).to_string();
    let output = python().args(["-c", PROGRAM, &milliseconds]).output().map_err(Failure::new)?;
    let text = String::from_utf8_lossy(&output.stdout);
    match text.trim().parse::<f64>() {
        Ok(per_second) if output.status.success() && per_second > 0.0 => Ok(Rate { per_second, share: 1.0 }),
        _ => Err(Failure::new(format!("it ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr)))),
    }
}
