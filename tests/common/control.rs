//! Negative controls: a test of this binary is run again with a seeded bug, and must fail
//! for the reason that the bug gives it.

use std::process::Command;

/// Random kills may miss what a bug does: so many runs.
const ATTEMPTS: u32 = 12;

/// Runs one test of this binary by itself. What it complained of, if it failed.
fn run(test: &str, seed: u32) -> Option<String> {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command.args(["--exact", "--include-ignored", test]);
    command.env("RINGWAY_SEEDED", seed.to_string()).env("RUST_BACKTRACE", "0");
    let output = command.output().expect("it can be started");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("running 1 test"), "there is no test {test}: {text}");
    (!output.status.success()).then(|| complaints(&text))
}

/// The messages of panics, of the test and of its children, and the watchdog's.
fn complaints(text: &str) -> String {
    let mut all = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with("thread ") && line.contains(" panicked at ") {
            all.extend(lines.by_ref().take_while(|line| !line.is_empty() && !line.starts_with("note: ")));
        } else if line.contains("still runs after") {
            all.push(line);
        }
    }
    all.join("\n")
}

/// Without a bug the test must pass; with each seed it must complain of one of the things
/// that fit the seed. What a run says that proves neither is shown: on a machine that does
/// something else too, a limit of time may be missed.
#[track_caller]
pub fn fails_with_seeds(test: &str, seeds: &[(u32, &[&str])]) {
    let passes = || {
        let complaint = run(test, 0);
        println!("seed 0, {test}: {}", complaint.as_deref().unwrap_or("passed"));
        complaint.is_none()
    };
    assert!(passes() || passes(), "{test} fails without a seeded bug");
    for (seed, reasons) in seeds {
        let found = (1..=ATTEMPTS).any(|attempt| {
            let complaint = run(test, *seed).unwrap_or_else(|| "passed".to_owned());
            let first: String = complaint.lines().next().unwrap_or_default().chars().take(160).collect();
            println!("seed {seed}, {test}, run {attempt}: {first}");
            reasons.iter().any(|reason| complaint.contains(reason))
        });
        assert!(found, "seeded bug {seed} was not found by {test} in {ATTEMPTS} runs, or not for what it does");
    }
}
