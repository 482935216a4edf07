//! `ringway bench load` from outside: its JSON, its exit codes, and that it ends.
#![cfg(feature = "cli")]
#![allow(unsafe_code)]

mod common;

use common::bench::{on_one_processor, orders, rows};
use common::{Role, Sandbox};
use serde_json::Value;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No child of these tests is this program.
const ROLES: &[Role] = &[];

fn bench(sandbox: &Sandbox, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(["bench", "load"]).args(arguments.split(' ')).env(common::DIRECTORY_VARIABLE, sandbox.path());
    command
}

fn ringway(rows: &[Value], bench: &str) -> Vec<Value> {
    rows.iter().filter(|row| row["bench"] == bench && row["system"] == "ringway").cloned().collect()
}

/// All that there is, once; the other tests of this file are part of it, so that none disturbs another.
#[test]
fn a_load_is_measured() {
    let begun = Instant::now();
    let output = bench(&Sandbox::new(), "--quick --json -").output().expect("the command can be started");
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
    let (_, rows) = rows(&output);
    let loads = ringway(&rows, "load");
    // Four rates and the most, each with three ways to wait.
    assert_eq!(loads.len(), 15, "{loads:#?}");
    for row in &loads {
        // On a busy machine the search may end with nothing.
        if row["rate"].is_null() && !row["error"].is_null() {
            continue;
        }
        assert!(row["error"].is_null(), "{row:#?}");
        let times: Vec<u64> = ["p50", "p90", "p99", "p999", "max"].map(|key| row[key].as_u64().expect(key)).into();
        assert!(times.is_sorted() && times[0] > 0, "{row:#?}");
        for key in ["achieved_per_s", "cpu_s_per_million_sender", "cpu_s_per_million_receiver", "late_p99"] {
            assert!(row[key].is_number(), "{key} of {row:#?}");
        }
        let distribution = row["distribution"].as_array().expect("points");
        assert_eq!((&distribution[0][0], &distribution[distribution.len() - 1][0]), (&0.0.into(), &100.0.into()));
        assert_eq!(distribution[distribution.len() - 1][1], row["max"]);
        if let Some(rate) = row["rate"].as_f64() {
            assert!(row["achieved_per_s"].as_f64().is_some_and(|achieved| achieved <= rate * 1.001), "{row:#?}");
            assert!(row["samples"].as_u64().is_some_and(|samples| samples > 0));
        }
    }
    // One that spins takes a processor all the time, for ten messages a second.
    let spins = loads.iter().find(|row| row["rate"] == 10 && row["wait"] == "spin").expect("a row");
    assert!(spins["cpu_s_per_million_receiver"].as_f64().is_some_and(|cost| cost > 5_000.0), "{spins:#?}");
    let idle = ringway(&rows, "idle");
    let share = |wait: &str| {
        idle.iter().find(|row| row["wait"] == wait).and_then(|row| row["idle_cpu_share"].as_f64()).expect("a share")
    };
    // All of a processor, but others may want it, too.
    assert!(share("spin") > 0.1 && share("spin") < 1.1, "{idle:#?}");
    assert!(share("park") < 0.1 && share("default") < 0.1, "{idle:#?}");
    assert!(share("spin") > 10.0 * share("park"), "{idle:#?}");
    for words in ["achieved", "p50 us", "recv s/M", "idle cpu", "was due"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
    one_processor_is_enough();
    an_interruption_leaves_what_there_is();
}

fn one_processor_is_enough() {
    let sandbox = Sandbox::new();
    let mut command = bench(&sandbox, "--quick --rate 100,50k --wait default,spin --json -");
    on_one_processor(&mut command);
    let output = command.output().expect("the command can be started");
    let (report, rows) = rows(&output);
    assert_eq!(report["machine"]["pinned"], false);
    let loads = ringway(&rows, "load");
    let paced: Vec<&Value> = loads.iter().filter(|row| !row["rate"].is_null()).collect();
    assert_eq!(paced.len(), 4);
    assert!(paced.iter().all(|row| row["error"].is_null() && row["max"].is_u64()), "{paced:#?}");
}

fn an_interruption_leaves_what_there_is() {
    let sandbox = Sandbox::new();
    let mut command = bench(&sandbox, "--rate 10,1000 --wait park --json -");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command can be started");
    // Where the second rate has begun, the rows of the first have a run.
    let begun = Instant::now();
    while !orders(child.id()).iter().any(|order| order.contains(r#""rate":1000}"#)) {
        assert!(begun.elapsed() < Duration::from_secs(40), "the second rate begins");
        std::thread::sleep(Duration::from_millis(20));
    }
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    let sent = Instant::now();
    let (mut out, mut err) = (Vec::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_end(&mut out).expect("readable");
    child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("readable");
    let status = child.wait().expect("it ends");
    assert!(sent.elapsed() < Duration::from_secs(5), "{:?}", sent.elapsed());
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("interrupted: this is what there is so far"), "{err}");
    let (_, rows) = rows(&Output { status, stdout: out, stderr: Vec::new() });
    assert!(rows[..2].iter().all(|row| row["rate"] == 10 && row["max"].is_u64()), "{rows:#?}");
    assert!(rows.iter().any(|row| row["error"] == "interrupted"), "{rows:#?}");
    // The directory of the queues is gone, and the workers with it: they die with their parent.
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

#[test]
fn wrong_usage_is_refused() {
    let sandbox = Sandbox::new();
    for (arguments, hint) in [
        ("--rate 0", "1 to 100M"),
        ("--rate 101M", "1 to 100M"),
        ("--rate 1x", "1 to 100M"),
        ("--rate 99999999999999999999k", "1 to 100M"),
        ("--producers 2", "--producers"),
        ("--consumers 2", "--consumers"),
        ("--batch 2", "--batch"),
    ] {
        let output = bench(&sandbox, arguments).output().expect("the command can be started");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(hint) && output.stdout.is_empty(), "{arguments}: {text}");
    }
    for what in ["latency", "throughput", "pool", "process"] {
        let output = Command::new(env!("CARGO_BIN_EXE_ringway"))
            .args(["bench", what, "--rate", "10"])
            .output()
            .expect("the command can be started");
        assert_eq!(output.status.code(), Some(2), "{what}");
    }
}
