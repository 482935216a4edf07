//! The examples of `Process` do what they say: the snippets of a first lesson on Python's
//! `multiprocessing`.

#[path = "common/example.rs"]
mod example;

use example::example;
use std::collections::BTreeSet;
use std::process::Command;

/// What it printed; it ends well and complains of nothing.
fn run(name: &str) -> Vec<String> {
    let output = Command::new(example(name)).arg("--fast").output().expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("they print text");
    let (said, complaints) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success() && complaints.is_empty(), "{said}{complaints}");
    said.lines().map(str::to_owned).collect()
}

/// The processes that say `what`, and what comes after it.
fn of_process(lines: &[String], what: &str) -> (BTreeSet<u32>, Vec<String>) {
    let parts = lines.iter().filter_map(|line| line.split_once(what));
    let parts: Vec<(u32, String)> =
        parts.map(|(pid, rest)| (pid.trim().parse().expect("a process id"), rest.trim().to_owned())).collect();
    (parts.iter().map(|(pid, _)| *pid).collect(), parts.into_iter().map(|(_, rest)| rest).collect())
}

fn numbers(count: u32) -> Vec<String> {
    (0..count).map(|n| n.to_string()).collect()
}

#[test]
fn process_start() {
    let lines = run("process_start");
    // The second is the longer name.
    let second: Vec<String> = lines.iter().filter(|line| line.ends_with("test2")).cloned().collect();
    let first: Vec<String> = lines.iter().filter(|line| !line.ends_with("test2")).cloned().collect();
    assert_eq!((first.len(), second.len()), (12, 100));
    let (one, _) = of_process(&first, "this is test");
    let (other, _) = of_process(&second, "this is test2");
    assert_eq!((one.len(), other.len()), (1, 1));
    assert_ne!(one, other);
}

#[test]
fn process_join_timeout() {
    let lines = run("process_join_timeout");
    let (processes, items) = of_process(&lines, "this is test");
    assert_eq!((processes.len(), items), (1, numbers(12)));
    let main = lines.iter().position(|line| line == "This is main ... (has it ended? false)").expect("main goes on");
    assert!(main < lines.len() - 1, "before the process ends: {lines:?}");
}

#[test]
fn process_terminate() {
    let lines = run("process_terminate");
    let (_, items) = of_process(&lines, "this is test");
    assert!((1..12).contains(&items.len()) && items == numbers(items.len() as u32), "{lines:?}");
    let end = ["This is main ...", "it was ended by signal 15 (SIGTERM)"];
    assert_eq!(lines[lines.len() - 2..], end);
}

#[test]
fn process_run_trait() {
    let mut lines = run("process_run_trait");
    let main = lines.iter().position(|line| line == "this is main...").expect("main goes on");
    lines.remove(main);
    assert_eq!((lines.len(), lines.iter().collect::<BTreeSet<_>>().len()), (10, 1));
    assert!(lines[0].starts_with("the process id is "), "{lines:?}");
}

#[test]
fn globals_are_not_shared() {
    assert_eq!(run("globals_are_not_shared"), ["2", "2", "here it is still 1"]);
}

#[test]
fn queue_between_processes() {
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        let lines = run("queue_between_processes");
        let after = |start: &str| -> Vec<String> {
            lines.iter().filter_map(|line| line.strip_prefix(start)).map(str::to_owned).collect()
        };
        let got = after("got element ");
        assert_eq!(got, numbers(got.len() as u32));
        // On a busy machine the consumer may come before the producer's next element is there, and
        // end, as in the original; then again.
        if got.len() == 4 {
            assert_eq!(after("put element "), numbers(4));
            return;
        }
    }
    panic!("the consumer ended too early {TRIES} times in a row");
}
