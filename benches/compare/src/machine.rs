//! What the figures were measured on.

use crate::cpus::allowed;
use serde_json::{Value, json};
use std::process::{Command, Stdio};

fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The commit of the source tree; `-dirty` where files differ from it.
fn commit() -> Option<String> {
    let git = |arguments: &[&str]| said("git", &[&["-C", env!("CARGO_MANIFEST_DIR")], arguments].concat());
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    // Files that git does not know are left out: the report may be one.
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    Some(commit + if changed { "-dirty" } else { "" })
}

/// The `machine` object of the JSON; null where something is not known.
pub fn describe() -> Value {
    json!({
        "kernel": said("uname", &["-r"]),
        "cpu": cpu(),
        "cores": allowed().len(),
        "rustc": said("rustc", &["--version"]),
        "commit": commit(),
        "date": said("date", &["-u", "+%Y-%m-%dT%H:%M:%SZ"]),
        "pinned": true,
    })
}

/// The same in one line.
pub fn line(machine: &Value) -> String {
    let text = |key: &str| machine[key].as_str().unwrap_or("unknown").to_owned();
    format!(
        "{}, {} processors, Linux {}, {}, commit {}, {}",
        text("cpu"),
        machine["cores"],
        text("kernel"),
        text("rustc"),
        text("commit"),
        text("date")
    )
}
