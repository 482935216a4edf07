//! The examples of `Pool` do what they say: the snippets of a first lesson on Python's `multiprocessing`.

#[path = "common/example.rs"]
mod example;

use example::example;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

/// What it printed, and what it complained of; it ends well.
fn run(name: &str) -> (Vec<String>, String) {
    let output = Command::new(example(name)).arg("--fast").output().expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("they print text");
    let (said, complaints) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{said}{complaints}");
    (said.lines().map(str::to_owned).collect(), complaints)
}

/// Of each job the lines that it wrote: their places, and its worker.
fn jobs(lines: &[String]) -> BTreeMap<u32, (Vec<usize>, BTreeSet<String>)> {
    let mut jobs: BTreeMap<u32, (Vec<usize>, BTreeSet<String>)> = BTreeMap::new();
    for (place, line) in lines.iter().enumerate() {
        let Some((job, rest)) = line.strip_prefix("process ").and_then(|rest| rest.split_once(" is at ")) else {
            continue;
        };
        let (step, worker) = rest.split_once(" (").expect("a step and a worker");
        let entry = jobs.entry(job.parse().expect("a number")).or_default();
        assert_eq!(step.parse(), Ok(entry.0.len()), "one step after the other: {lines:?}");
        entry.0.push(place);
        entry.1.insert(worker.to_owned());
    }
    jobs
}

#[test]
fn pool_apply_async() {
    let (lines, complaints) = run("pool_apply_async");
    assert_eq!((lines.first(), lines.last()), (Some(&"main begins ...".into()), Some(&"main ends ...".into())));
    let jobs = jobs(&lines);
    assert!(jobs.keys().eq(&[1, 2, 3, 4, 5]) && complaints.is_empty(), "{lines:?}{complaints}");
    assert!(jobs.values().all(|(steps, workers)| (steps.len(), workers.len()) == (10, 1)), "{jobs:?}");
    let workers: BTreeSet<_> = jobs.values().flat_map(|(_, workers)| workers).collect();
    assert!((2..=3).contains(&workers.len()), "{workers:?}");
    let first = |job: u32| jobs[&job].0[0];
    let last = |job: u32| jobs[&job].0[9];
    // Three at once, and the others when one of those has ended.
    assert!(first(2) < last(1) && first(3) < last(1), "{lines:?}");
    let first_end = (1..=3).map(last).min().expect("there are three");
    assert!(first(4) > first_end && first(5) > first_end, "{lines:?}");
}

#[test]
fn pool_apply() {
    let (lines, complaints) = run("pool_apply");
    assert!(complaints.is_empty(), "{complaints}");
    let jobs = jobs(&lines);
    let places: Vec<usize> = jobs.values().flat_map(|(places, _)| places.iter().copied()).collect();
    assert_eq!(places.len(), 50);
    assert!(places.is_sorted(), "one job after the other: {lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("main ends ..."));
}

#[test]
fn pool_survives_a_crash() {
    let (lines, complaints) = run("pool_survives_a_crash");
    let sum: u32 = (0..20).filter(|n| n % 5 != 3).map(|n| n * n).sum();
    let expected = [
        "job 3 panicked: I do not like 3".to_owned(),
        "job 8: the worker was ended by signal 6 (SIGABRT) while the function ran".to_owned(),
        "job 13: the worker exited with code 4 while the function ran".to_owned(),
        "job 18: the function ran for longer than 500ms; its worker was ended".to_owned(),
        format!("the others: {sum}"),
    ];
    assert_eq!(lines[..5], expected);
    assert!(lines[5].starts_with("workers that were replaced: "), "{lines:?}");
    // The panic, where it happened.
    assert!(complaints.contains("I do not like 3") && complaints.contains("Pool-1-"), "{complaints}");
}

#[cfg(feature = "progress")]
#[test]
fn pool_map_progress() {
    let (lines, complaints) = run("pool_map_progress");
    // Standard error is no terminal here.
    assert_eq!((lines, complaints.as_str()), (vec!["there are 168 primes up to 1000".to_owned()], ""));
}
