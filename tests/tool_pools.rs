//! Pools from outside: `ringway list` and `inspect`, and `PoolStats` for programs.
#![cfg(feature = "cli")]
#![allow(unsafe_code)]

ringway::test_support!();

#[path = "common/limit.rs"]
mod limit;

use ringway::{ExitStatus, Options, Pool, PoolStats, Process, Producer, Queue, Serde};
use serde_json::Value;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

fn tool(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringway")).args(arguments).output().expect("the command can be started")
}

fn json(arguments: &[&str]) -> Value {
    let output = tool(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(value["schema"], 1);
    value
}

fn listed(name: &str) -> Option<Value> {
    let list = json(&["list", "--json"]);
    let pools = list["pools"].as_array().expect("pools");
    pools.iter().find(|pool| pool["name"] == name).cloned()
}

fn outside(name: &str) -> PoolStats {
    let mut pools = PoolStats::list().into_iter().map(|(_, stats)| stats);
    pools.find(|stats| stats.name == name).expect("it is there")
}

fn gate() -> Queue<u32> {
    Queue::with_options(Options::new(8).peers_gone(false)).expect("memory")
}

#[test]
fn a_pool_is_seen_from_outside() {
    let name = format!("tool-{}", std::process::id());
    let pool = Pool::builder().workers(2).name(&name).build().expect("a pool");
    assert_eq!(pool.map(|n: u32| n, 0..10), Ok((0..10).collect()));
    assert!(pool.apply(|| -> () { std::process::exit(3) }, ()).is_err());
    let begun = Instant::now();
    while pool.stats().restarted == 0 || outside(&name) != pool.stats() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is replaced: {:?}", pool.stats());
    }
    let (here, gate) = (gate(), gate());
    let wait = |here: Queue<u32>, gate: Queue<u32>| {
        here.put(std::process::id()).expect("there is room");
        gate.get().expect("somebody opens")
    };
    let arguments = || (here.try_clone().expect("a handle"), gate.try_clone().expect("a handle"));
    let job = pool.apply_async(wait, arguments()).expect("it is open");
    let runs_in = here.get_timeout(Duration::from_secs(30)).expect("it begins");
    let row = listed(&name).expect("it is there");
    assert_eq!((row["pid"].as_u64(), row["running"].as_u64()), (Some(std::process::id().into()), Some(1)), "{row}");
    assert_eq!((row["queued"].as_u64(), row["failed"].as_u64()), (Some(0), Some(1)), "{row}");
    assert!(row["done"].as_u64().is_some_and(|done| done > 0), "{row}");
    let location = row["pool"].as_str().expect("PID/FD").to_owned();
    assert!(location.starts_with(&format!("{}/", std::process::id())), "at the pool's process, not at a worker's");
    let seen = &json(&["inspect", &location, "--json"])["pool"];
    let workers = seen["workers"].as_array().expect("workers");
    let busy: Vec<&Value> = workers.iter().filter(|worker| !worker["job"].is_null()).collect();
    assert!(workers.len() == 2 && busy.len() == 1, "{seen}");
    assert_eq!((busy[0]["pid"].as_u64(), busy[0]["job"].as_u64()), (Some(runs_in.into()), Some(job.id())), "{seen}");
    assert!(busy[0]["running_s"].as_f64().is_some_and(|time| (0.0..60.0).contains(&time)), "{seen}");
    // For a person.
    let text = String::from_utf8(tool(&["inspect", &location]).stdout).expect("UTF-8");
    assert!(text.contains(&name) && text.contains("1 running") && text.contains(&runs_in.to_string()), "{text}");
    let text = String::from_utf8(tool(&["list"]).stdout).expect("UTF-8");
    assert!(text.lines().any(|line| line.trim_start().starts_with(&location) && line.contains(&name)), "{text}");
    // What the pool says of itself is the same.
    let (own, outside) = (pool.stats(), PoolStats::at(&location.parse().expect("PID/FD")));
    let outside = outside.expect("it is ours").expect("it is there");
    let with_a_clock = |mut stats: PoolStats| {
        stats.workers.iter_mut().for_each(|worker| worker.running_for = None);
        stats
    };
    assert_eq!(with_a_clock(own), with_a_clock(outside));
    gate.put(7).expect("there is room");
    assert_eq!(job.get(), Ok(7));
    // A handle of a job keeps the board, too.
    drop((job, pool));
    assert!(listed(&name).is_none(), "it is gone");
}

/// What is seen of a pool whose process was killed is no more than its workers leave.
#[test]
fn a_pool_whose_process_is_killed_is_soon_gone() {
    fn parent(name: String, ready: Producer<Serde<u32>>) {
        let pool = Pool::builder().workers(2).name(name).build().expect("a pool");
        let endless = pool.apply_async(|| std::thread::sleep(Duration::from_secs(1000)), ()).expect("it is open");
        ready.put(1).expect("there is room");
        endless.wait();
    }
    let name = format!("killed-{}", std::process::id());
    let ready: Queue<u32> = Queue::bounded(1).expect("memory");
    let mut process = Process::new(parent, (name.clone(), ready.producer().expect("a handle")));
    process.start().expect("a process");
    assert_eq!(ready.get(), Ok(1));
    let location = listed(&name).expect("it is there")["pool"].as_str().expect("PID/FD").to_owned();
    process.kill().expect("it runs");
    assert!(
        process.join().is_ok() && process.exit_status().ok().flatten() == Some(ExitStatus::Signaled(libc::SIGKILL))
    );
    let begun = Instant::now();
    while listed(&name).is_some() {
        assert!(begun.elapsed() < Duration::from_secs(30), "its workers end with it");
    }
    let gone = tool(&["inspect", &location]);
    let text = String::from_utf8_lossy(&gone.stderr).into_owned();
    assert!(gone.status.code() == Some(1) && text.contains("ringway list"), "{text}");
}
