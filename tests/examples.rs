//! The examples do what they say. Those of `Process` are in `examples_of_processes`.

mod common;
#[path = "common/example.rs"]
mod example;

use common::{DIRECTORY_VARIABLE, Role, Sandbox};
use example::example;
use std::process::Command;

const ROLES: &[Role] = &[];

/// Runs an example with its queues in the sandbox, and says what it printed.
fn run(sandbox: &Sandbox, name: &str, arguments: &[&str]) -> (bool, String, String) {
    let mut command = Command::new(example(name));
    let output = command.args(arguments).env(DIRECTORY_VARIABLE, sandbox.path()).output().expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("they print text");
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn threads_or_processes() {
    let sandbox = Sandbox::new();
    let (success, said, complaints) = run(&sandbox, "threads_or_processes", &["--fast"]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let lines: Vec<&str> = said.lines().collect();
    let half = lines.len() / 2;
    assert!(lines[0].starts_with("threads of process ") && lines[half].starts_with("processes "), "{said}");
    for part in [&lines[1..half], &lines[half + 1..]] {
        let mut squares: Vec<&str> = part.iter().filter_map(|line| line.split("the square of ").nth(1)).collect();
        squares.sort();
        let expected: Vec<String> = (0..10).map(|n| format!("{n} is {}", n * n)).collect();
        assert_eq!(squares, expected);
        assert_eq!(part.last(), Some(&"  together 285"));
    }
}

#[test]
fn wrong_usage_is_an_error() {
    let sandbox = Sandbox::new();
    let (success, said, complaints) = run(&sandbox, "threads_or_processes", &["nonsense"]);
    assert!(!success && said.is_empty() && complaints.contains("usage"), "{said}{complaints}");
}

#[test]
fn zero_copy() {
    let sandbox = Sandbox::new();
    let (success, said, complaints) = run(&sandbox, "zero_copy", &[]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let expected: Vec<String> = (0..20).map(|n| format!("a frame of 4194304 bytes, all Some({n})")).collect();
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn broadcast() {
    let sandbox = Sandbox::new();
    let (success, said, complaints) = run(&sandbox, "broadcast", &[]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let all = |how| format!("{how}: 2000 prices, 0 missed, together 2000");
    assert_eq!(said.lines().collect::<Vec<_>>(), ["3 subscribers", &all("fast"), &all("slow")]);
    let (success, said, complaints) = run(&sandbox, "broadcast", &["--drop"]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!((lines.len(), lines[0]), (3, "3 subscribers"));
    assert!(lines[1..].iter().all(|line| line.contains("together 2000")), "{said}");
}

#[cfg(feature = "serde")]
#[test]
fn survive_a_crash() {
    let sandbox = Sandbox::new();
    let (success, said, complaints) = run(&sandbox, "survive_a_crash", &[]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..2], ["job 0: done", "job 1: killed in the middle of it"]);
    assert!(lines[2].starts_with("the first worker ended: signal: 9"), "{said}");
    let rest = ["job 1: done (it was handed out before)", "job 2: done", "job 3: done"];
    assert_eq!(lines[3..6], rest);
    assert_eq!(lines[6], "the second worker ended: exit status: 0");
}

#[test]
fn unbounded() {
    let sandbox = Sandbox::new();
    let (success, said, complaints) = run(&sandbox, "unbounded", &[]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let kib = |start: &str| -> u64 {
        let line = said.lines().find_map(|line| line.strip_prefix(start));
        line.and_then(|line| line.trim().strip_suffix(" KiB")).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    let (before, peak, after) = (kib("before:"), kib("peak:"), kib("after:"));
    assert!(peak > 62_500 && before < 4096 && after <= before + before / 10, "{said}");
}
