//! `ringway bench scale` from outside: its JSON, long messages, its exit codes, and that nothing is left.
#![cfg(feature = "cli")]
#![allow(unsafe_code)]

mod common;

use common::{Role, Sandbox};
use serde_json::Value;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// No child of these tests is this program.
const ROLES: &[Role] = &[];

fn bench(sandbox: &Sandbox, arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("bench").args(arguments.split(' ')).env(common::DIRECTORY_VARIABLE, sandbox.path());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[track_caller]
fn rows(output: &Output) -> Vec<Value> {
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(value["schema"], 1);
    value["results"].as_array().expect("rows").clone()
}

/// The rows of a run that succeeds, and its table.
#[track_caller]
fn measured(sandbox: &Sandbox, arguments: &str) -> (Vec<Value>, String) {
    let output = bench(sandbox, arguments).output().expect("the command can be started");
    assert!(output.status.success(), "{arguments}: {}", text(&output.stderr));
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
    (rows(&output), text(&output.stderr))
}

#[track_caller]
fn is_whole(row: &Value) {
    assert!(row["error"].is_null() && row["bench"] == "scale", "{row:#?}");
    for key in ["msgs_per_s", "bytes_per_s", "ratio_base"] {
        assert!(row[key].as_f64().is_some_and(|number| number > 0.0), "{key} of {row:#?}");
    }
    assert!(row["samples"].as_u64().is_some_and(|samples| samples > 0), "{row:#?}");
}

fn sides(row: &Value) -> (u64, u64) {
    (row["producers"].as_u64().unwrap_or(0), row["consumers"].as_u64().unwrap_or(0))
}

/// All that there is, as briefly as it goes.
#[test]
fn everything_grows() {
    let sandbox = Sandbox::new();
    let begun = Instant::now();
    let (rows, table) = measured(&sandbox, "scale --quick --runs 1 --json -");
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let over = |what: &str| rows.iter().filter(|row| row["over"] == what).collect::<Vec<_>>();
    rows.iter().for_each(is_whole);
    let processes: Vec<(u64, u64)> = over("processes").into_iter().map(sides).collect();
    assert_eq!(processes, [(2, 2), (1, 1), (4, 4), (8, 8), (16, 16), (1, 16), (16, 1)]);
    assert_eq!(over("processes")[0]["ratio_base"], 1.0);
    let sizes: Vec<u64> = over("size")
        .iter()
        .filter(|row| row["system"] == "ringway-bytes")
        .filter_map(|row| row["size"].as_u64())
        .collect();
    assert_eq!(sizes, [8, 64, 1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20]);
    for row in over("size") {
        assert_eq!(row["system"] == "copy", row["ratio_base"] == 1.0 && row["capacity"].is_null(), "{row:#?}");
    }
    let best = over("capacity").iter().filter(|row| row["ratio_base"] == 1.0).count();
    assert!(over("capacity").len() == 10 && best >= 2, "the best of each shape");
    let target: Vec<&Value> = rows.iter().filter(|row| !row["target"].is_null()).collect();
    assert_eq!(target.len(), 1);
    let ratio = target[0]["ratio_base"].as_f64().expect("a ratio");
    assert_eq!((sides(target[0]), &target[0]["target"]), ((8, 8), &0.5.into()));
    assert_eq!(target[0]["met"], ratio >= 0.5);
    let verdict = if ratio >= 0.5 { "met" } else { "missed" };
    assert!(
        table.lines().any(|line| line.starts_with("target 8x8 >= 0.5 x 2x2") && line.ends_with(verdict)),
        "{table}"
    );
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    assert_eq!(table.contains("fewer cores than processes"), cores < 32, "{table}");
}

#[test]
fn long_messages_go_through_bytes_and_the_kernel() {
    let sandbox = Sandbox::new();
    for what in ["throughput", "latency"] {
        let flags = "--quick --runs 1 --size 4194304 --mode mpmc --wait default --capacity 16 --json -";
        let flags = format!("{what} {flags}{}", if what == "throughput" { " --batch 1,2" } else { "" });
        let (rows, _) = measured(&sandbox, &flags);
        let of = |system: &str| rows.iter().filter(|row| row["system"] == system).collect::<Vec<_>>();
        let key = if what == "latency" { "p50" } else { "msgs_per_s" };
        let limit = if what == "latency" { "raw" } else { "copy" };
        for system in ["ringway-bytes", "pipe", "unix", limit] {
            assert!(!of(system).is_empty(), "{system}");
            for row in of(system) {
                assert!(row["error"].is_null() && row[key].as_f64().is_some_and(|n| n > 0.0), "{row:#?}");
            }
        }
        for (system, why) in [("mq", "mq_open"), ("ringway", "at most 4096 bytes")] {
            let errors: Vec<&str> = of(system).iter().filter_map(|row| row["error"].as_str()).collect();
            assert!(errors.len() == of(system).len() && errors[0].contains(why), "{system}: {errors:?}");
        }
    }
}

#[test]
fn too_little_memory_is_a_row_that_says_so() {
    let sandbox = Sandbox::new();
    // 64 GiB of slots, unless the machine has them.
    let flags = "scale --quick --runs 1 --over capacity --producers 1 --mode mpmc --size 4096 --json -";
    let (rows, table) = measured(&sandbox, &format!("{flags} --capacity 16,16777216"));
    let free = nix::sys::statvfs::statvfs(sandbox.path()).map(|fs| fs.blocks_available() * fs.fragment_size());
    assert_eq!(rows.len(), 2);
    is_whole(&rows[0]);
    if free.is_ok_and(|free| free < 64 << 30) {
        let error = rows[1]["error"].as_str().expect("an error");
        assert!(error.contains("needs") && error.contains("left") && table.contains(error), "{error}");
        assert!(rows[1]["msgs_per_s"].is_null() && rows[1]["ratio_base"].is_null());
    }
}

/// The workers of this process.
fn workers(pid: u32) -> Vec<u32> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn a_death_among_many_is_noticed() {
    let sandbox = Sandbox::new();
    let flags = "scale --runs 1 --over processes --size 8 --producers 16 --consumers 16 --json -";
    let child =
        bench(&sandbox, flags).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it can be started");
    let begun = Instant::now();
    let victim = loop {
        let workers = workers(child.id());
        if workers.len() == 32 {
            break workers[20];
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "32 processes are started");
        std::thread::sleep(Duration::from_millis(1));
    };
    // SAFETY: a signal to a process of ours; its parent has not waited for it, unless all have ended.
    unsafe { libc::kill(victim as libc::pid_t, libc::SIGKILL) };
    let output = child.wait_with_output().expect("it ends");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    let rows = rows(&output);
    let (base, many) = (&rows[0], &rows[1]);
    assert!(base["error"].is_null(), "{base:#?}");
    assert!(many["error"].as_str().is_some_and(|error| error.contains("died without an answer")), "{many:#?}");
    assert!(sandbox.files().is_empty(), "{:?}", sandbox.files());
}

#[test]
fn wrong_usage_is_refused() {
    let sandbox = Sandbox::new();
    for (arguments, hint) in [
        ("scale --size 4194305", "4194304"),
        ("scale --over nothing", "--over"),
        ("scale --batch 2", "--batch"),
        ("scale --rate 10", "--rate"),
        ("scale --mode spsc --consumers 2", "--mode spsc"),
        ("scale --producers 65", "64"),
        ("latency --over size", "--over"),
        ("throughput --over size", "--over"),
        ("load --over size", "--over"),
        ("throughput --size 4194304 --batch 4096", "--batch"),
    ] {
        let output = bench(&sandbox, arguments).output().expect("the command can be started");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {said}");
        assert!(said.contains(hint) && output.stdout.is_empty(), "{arguments}: {said}");
    }
}
