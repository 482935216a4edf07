//! `ringway bench tune` from outside: its JSON, its exit codes, and that it ends.
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
    command.args(["bench", "tune"]).args(arguments.split(' ')).env(common::DIRECTORY_VARIABLE, sandbox.path());
    command
}

fn of<'r>(rows: &'r [Value], system: &str) -> Vec<&'r Value> {
    rows.iter().filter(|row| row["system"] == system).collect()
}

/// The capacities that were measured.
fn capacities(rows: &[Value]) -> Vec<u64> {
    of(rows, "ringway").iter().map(|row| row["capacity"].as_u64().expect("a capacity")).collect()
}

/// Rows and suggestion agree with each other, whatever the numbers are.
#[track_caller]
fn check(report: &Value, rows: &[Value], one_processor: bool) {
    assert!(rows.iter().all(|row| row["bench"] == "tune" && row["error"].is_null()), "{rows:#?}");
    let parked = of(rows, "futex");
    assert_eq!(parked.len(), 1);
    for key in ["wake_call_ns", "wake_to_run_ns", "sleep_wake_cpu_ns"] {
        let edges = ["min", "median", "max"].map(|edge| parked[0][key][edge].as_f64().expect(key));
        assert!(edges[0] > 0.0 && edges.is_sorted(), "{key}: {edges:?}");
        assert!(rows.iter().all(|row| row["system"] == "futex" || row[key].is_null()), "{key}");
    }
    let (trip, to_run) = (parked[0]["p50"].as_f64(), parked[0]["wake_to_run_ns"]["median"].as_f64());
    assert!(trip.zip(to_run).is_some_and(|(trip, half)| (trip - 2.0 * half).abs() <= trip * 0.01), "{parked:#?}");
    // Everything that is stated is there twice: in the slots, and in blocks.
    for row in of(rows, "ringway-bytes") {
        assert!(row["msgs_per_s"].as_f64().is_some_and(|rate| rate > 0.0), "{row:#?}");
        assert!(row["inline"] == row["size"] || row["inline"] == 4, "{row:#?}");
    }
    assert_eq!(of(rows, "ringway-bytes").len() % 2, 0);

    let suggestion = &report["suggestion"];
    let chosen = suggestion["capacity"].as_u64().expect("a capacity");
    let rate = |slots: u64| of(rows, "ringway").iter().find(|row| row["capacity"] == slots)?["msgs_per_s"].as_f64();
    let best = capacities(rows).into_iter().filter_map(rate).fold(0.0, f64::max);
    let enough = |slots: &u64| rate(*slots).is_some_and(|rate| rate >= 0.95 * best);
    assert_eq!(capacities(rows).into_iter().filter(enough).min(), Some(chosen), "{rows:#?}");
    let options = suggestion["options"].as_str().expect("options");
    assert!(options.starts_with(&format!("Options::new({chosen})")), "{options}");
    match suggestion["wait"].as_str() {
        Some("park") => assert!(options.contains("WaitPolicy::Park") && suggestion["budget_us"].is_null()),
        Some("spin then park") => {
            let budget = suggestion["budget_us"].as_u64().expect("a budget");
            assert!(budget > 0 && options.contains(&format!("Duration::from_micros({budget})")), "{options}");
        }
        other => panic!("to wait: {other:?}"),
    }
    if one_processor {
        assert_eq!(suggestion["wait"], "park");
        assert!(suggestion["caveats"][0].as_str().is_some_and(|text| text.starts_with("one processor")));
    }
    let reasons = suggestion["reasons"].as_array().expect("reasons");
    assert_eq!(reasons.len(), 3, "{reasons:#?}");
}

/// All that there is, once; the other tests of this file are part of it, so that none disturbs another.
#[test]
fn a_machine_is_measured() {
    let sandbox = Sandbox::new();
    let (page, plots) = (sandbox.file("page.html"), sandbox.file("plots"));
    let mut command = bench(&sandbox, "--quick --json -");
    let output =
        command.arg("--html").arg(&page).arg("--svg").arg(&plots).output().expect("the command can be started");
    let text = String::from_utf8(output.stderr.clone()).expect("UTF-8");
    assert!(output.status.success(), "{text}");
    let (report, rows) = rows(&output);
    let one_processor = report["machine"]["pinned"] == false;
    check(&report, &rows, one_processor);
    assert_eq!(capacities(&rows), [16, 256, 4096, 65_536]);
    for row in of(&rows, "raw") {
        assert!(row["p50"].as_u64().is_some_and(|ns| ns > 0) && row["cpus"][0] != row["cpus"][1], "{row:#?}");
    }
    assert_eq!(of(&rows, "raw").is_empty(), one_processor);
    assert!(text.contains("suggested:") && text.contains("Options::new("), "{text}");
    assert!(std::fs::read_to_string(&page).expect("a page").contains("<h2 id=\"tune\">"));
    assert!(std::fs::read_dir(&plots).expect("plots").count() >= 2);
    // The directory of the queues is gone.
    assert_eq!(sandbox.files(), ["page.html", "plots"]);
    std::fs::remove_file(&page).and(std::fs::remove_dir_all(&plots)).expect("ours");
    drop(sandbox);
    on_one();
    an_interruption_leaves_what_there_is();
}

fn on_one() {
    let sandbox = Sandbox::new();
    let mut command = bench(&sandbox, "--quick --capacity 64,8 --size 120 --mode spsc --json -");
    on_one_processor(&mut command);
    let output = command.output().expect("the command can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (report, rows) = rows(&output);
    assert_eq!(report["machine"]["pinned"], false);
    check(&report, &rows, true);
    assert!(of(&rows, "raw").is_empty());
    assert_eq!(capacities(&rows), [64, 8]);
    assert!(of(&rows, "ringway-bytes").iter().all(|row| row["size"] == 120 && row["mode"] == "spsc"), "{rows:#?}");
    let options = report["suggestion"]["options"].as_str().expect("options");
    assert!(options.contains(".producers(Side::Single)\n    .consumers(Side::Single)"), "{options}");
}

fn an_interruption_leaves_what_there_is() {
    let sandbox = Sandbox::new();
    let mut command = bench(&sandbox, "--runs 3 --json -");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the command can be started");
    // Where lengths have begun, everything before has a run.
    let begun = Instant::now();
    while !orders(child.id()).iter().any(|order| order.contains(r#""system":"ringway-bytes""#)) {
        assert!(begun.elapsed() < Duration::from_secs(40), "lengths begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    // SAFETY: a signal to a child that has not been waited for.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    let (mut out, mut err) = (Vec::new(), String::new());
    child.stdout.take().expect("a pipe").read_to_end(&mut out).expect("readable");
    child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("readable");
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("interrupted: this is what there is so far"), "{err}");
    let (report, rows) = rows(&Output { status, stdout: out, stderr: Vec::new() });
    assert!(of(&rows, "ringway").iter().all(|row| row["msgs_per_s"].is_number()), "{rows:#?}");
    assert!(rows.iter().any(|row| row["error"] == "interrupted"), "{rows:#?}");
    assert!(report["suggestion"]["capacity"].is_number() && report["suggestion"]["decisive"] == false, "{report:#?}");
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

#[test]
fn wrong_usage_is_refused() {
    let sandbox = Sandbox::new();
    for (arguments, hint) in [
        ("--wait spin", "--wait"),
        ("--mode spsc,mpmc", "--mode"),
        ("--rate 10", "--rate"),
        ("--producers 2", "--producers"),
        ("--consumers 2", "--consumers"),
        ("--batch 2", "--batch"),
        ("--capacity 0", "--capacity"),
        ("--size 7", "--size"),
        ("--runs 0", "--runs"),
    ] {
        let output = bench(&sandbox, arguments).output().expect("the command can be started");
        let text = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2), "{arguments}: {text}");
        assert!(text.contains(hint) && output.stdout.is_empty(), "{arguments}: {text}");
    }
    let missing = bench(&sandbox, "--quick --json no/such/file").current_dir(sandbox.path()).output().expect("started");
    assert_eq!(missing.status.code(), Some(1), "what cannot be written is said at once");
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}
