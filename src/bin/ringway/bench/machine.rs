//! Where and when the numbers were taken. Reads files and asks `rustc` and
//! `git`; what cannot be found out is "unknown".

use serde::Serialize;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub cpu: String,
    pub cores: usize,
    pub rustc: String,
    pub commit: String,
    /// UTC, RFC 3339.
    pub date: String,
    pub pinned: bool,
}

const UNKNOWN: &str = "unknown";

impl Machine {
    pub fn look(pinned: bool) -> Machine {
        let or_unknown = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.into());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        Machine {
            kernel: or_unknown(line_of("/proc/sys/kernel/osrelease")),
            cpu: or_unknown(std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| cpu_model(&text))),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get()),
            rustc: or_unknown(option_env!("RUSTC_VERSION").map(String::from).or_else(|| said("rustc", &["--version"]))),
            commit: or_unknown(commit()),
            date: rfc3339(now),
            pinned,
        }
    }
}

fn line_of(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// x86 says "model name", others have similar lines.
fn cpu_model(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    ["model name", "cpu model", "Model", "Hardware", "uarch"].iter().find_map(|key| value(key))
}

/// The commit of the source tree that this was built from, if it is still there; `-dirty` where files differ from it.
fn commit() -> Option<String> {
    let tree = env!("CARGO_MANIFEST_DIR");
    let in_git = Path::new(tree).join(".git").exists();
    let git = |arguments: &[&str]| said("git", &[&["-C", tree], arguments].concat());
    let commit = if in_git { git(&["rev-parse", "--short", "HEAD"]) } else { None };
    // Files that git does not know are left out: the report may be one.
    let changed = commit.is_some() && git(&["status", "--porcelain", "--untracked-files=no"]).is_some();
    let asked = commit.map(|commit| commit + if changed { "-dirty" } else { "" });
    asked.or_else(|| option_env!("RINGWAY_COMMIT").map(String::from))
}

/// The first line that a command prints, if it succeeds.
fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned).filter(|line| output.status.success() && !line.is_empty())
}

/// Seconds since 1970 as a date, by the proleptic Gregorian calendar counted
/// from 1 March 0000, so that leap days end a year.
fn rfc3339(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468; // from 0000-03-01 to 1970-01-01
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_735_689_599), "2024-12-31T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }

    #[test]
    fn cpu_models() {
        assert_eq!(cpu_model("processor\t: 0\nmodel\t: 1\nmodel name\t: AMD EPYC: x\n"), Some("AMD EPYC: x".into()));
        assert_eq!(cpu_model("processor\t: 0\n"), None);
    }
}
