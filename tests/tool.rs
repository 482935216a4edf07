//! The commands `list`, `inspect`, `clean` and `rm`, as a shell runs them: what they print,
//! their JSON, their exit codes.
#![cfg(feature = "cli")]

mod common;

use common::{MODES, Role, Sandbox, hear, tell};
use ringway::{ByteQueue, Lifetime, Options, PodQueue, Side};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

const ROLES: &[Role] = &[("hold", role_hold), ("anonymous", role_anonymous)];

/// Creates the named queues, `p...` persistent, and stays until it is told to go.
fn role_hold(names: &[String]) {
    let create = |name: &String| {
        let lifetime = if name.starts_with('p') { Lifetime::Persistent } else { Lifetime::Ephemeral };
        ByteQueue::create(name, Options::new(8).lifetime(lifetime)).expect("a free name")
    };
    let held: Vec<ByteQueue> = names.iter().map(create).collect();
    held.iter().for_each(|queue| queue.put(b"left").expect("there is room"));
    tell("holding");
    hear();
}

fn role_anonymous(_: &[String]) {
    let queue = PodQueue::<u16>::bounded(16).expect("memory");
    queue.put(1).expect("there is room");
    tell("ready");
    hear();
}

/// Queues whose only participant was killed.
fn bereave(sandbox: &Sandbox, names: &[&str]) {
    let mut child = sandbox.child("hold", names);
    child.expect("holding");
    child.kill();
}

/// What a run of the command gave.
struct Run {
    code: i32,
    out: String,
    err: String,
}

fn command(sandbox: &Sandbox, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.args(arguments).env(common::DIRECTORY_VARIABLE, sandbox.path());
    command
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    let output = command(sandbox, arguments).output().expect("the command can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    let run =
        Run { code: output.status.code().expect("no signal"), out: text(output.stdout), err: text(output.stderr) };
    assert!(!run.out.contains('\x1b') && !run.err.contains('\x1b'), "colours only on a terminal: {arguments:?}");
    run
}

#[track_caller]
fn json(sandbox: &Sandbox, arguments: &[&str]) -> Value {
    let run = run(sandbox, arguments);
    assert_eq!(run.code, 0, "{arguments:?}: {}", run.err);
    assert!(!run.err.is_empty(), "the table goes to standard error");
    let value: Value = serde_json::from_str(&run.out).expect("JSON alone");
    assert_eq!(value["schema"], 1);
    value
}

/// The row of a queue in a list.
fn row<'v>(list: &'v Value, queue: &str) -> &'v Value {
    let rows = list["queues"].as_array().expect("rows");
    rows.iter().find(|row| row["queue"] == queue).unwrap_or_else(|| panic!("{queue} is not in {list}"))
}

fn forget(sandbox: &Sandbox, names: &[&str]) {
    names.iter().for_each(|name| fs::remove_file(sandbox.file(name)).expect("it is there"));
}

#[test]
fn list_shows_every_queue() {
    let sandbox = Sandbox::new();
    bereave(&sandbox, &["p-idle"]);
    bereave(&sandbox, &["e-stale"]);
    let queue = PodQueue::<u64>::create("q", sandbox.mode(5, (Side::Single, Side::Multi))).expect("a free name");
    queue.put(1).expect("there is room");
    // Creating it has swept: a dead one that nobody has seen yet.
    fs::copy(sandbox.file("q"), sandbox.file("e-stale")).expect("writable");
    fs::write(sandbox.file("x"), b"hello").expect("writable");
    let mut child = sandbox.child("anonymous", &[]);
    child.expect("ready");

    let list = json(&sandbox, &["list", "--json"]);
    assert_eq!(list["directory"], sandbox.path().to_str().expect("UTF-8"));
    let q = row(&list, "q");
    let facts = ["messages", "type", "producers", "consumers", "lifetime", "state"].map(|key| q[key].as_str());
    assert_eq!(facts, ["plain data", "u64", "single", "multi", "ephemeral", "in use"].map(Some));
    let numbers = ["depth", "capacity", "alive", "dead", "element_size"].map(|key| q[key].as_u64());
    assert_eq!(numbers, [1, 5, 1, 0, 8].map(Some));
    assert!(q["age_s"].as_u64().is_some_and(|age| age < 60) && q["error"].is_null());
    assert_eq!(
        (row(&list, "p-idle")["state"].as_str(), row(&list, "p-idle")["dead"].as_u64()),
        (Some("idle"), Some(1))
    );
    assert_eq!(row(&list, "e-stale")["state"], "stale");
    assert_eq!(row(&list, "x")["state"], "unreadable");
    assert!(row(&list, "x")["error"].is_string() && row(&list, "x")["depth"].is_null());
    let rows = list["queues"].as_array().expect("rows");
    let own = rows.iter().find(|row| row["pid"] == child.pid()).expect("its anonymous queue");
    assert_eq!((own["lifetime"].as_str(), own["type"].as_str()), (Some("anonymous"), Some("u16")));
    // Every row has every key.
    let keys = |row: &Value| row.as_object().expect("an object").keys().cloned().collect::<Vec<_>>();
    assert!(rows.iter().all(|row| keys(row) == keys(q)));

    let table = run(&sandbox, &["list"]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    for word in ["queue", "single/multi", "u64", "in use", "stale", "idle", "x: ", "anonymous"] {
        assert!(table.out.contains(word), "{word} is not in\n{}", table.out);
    }
    child.succeed();
    forget(&sandbox, &["e-stale", "p-idle", "x"]);
}

#[test]
fn a_broadcast_is_shown_with_its_subscribers() {
    let sandbox = Sandbox::new();
    let options = sandbox.options(4).slow_consumers(ringway::SlowConsumers::DropOldest);
    let news = ringway::PodBroadcast::<u64>::create("news", options).expect("a free name");
    let subscriber = news.subscribe(ringway::StartAt::Now).expect("a place");
    (0..6).for_each(|number| news.put(number).expect("nobody is waited for"));
    assert!(subscriber.get().is_err_and(|error| error.is_lagged()));
    let list = json(&sandbox, &["list", "--json"]);
    assert_eq!(row(&list, "news")["broadcast"], "drop oldest");
    let seen = json(&sandbox, &["inspect", "news", "--json"]);
    assert_eq!(
        (&seen["queue"]["broadcast"], seen["subscribers"].as_array().map(Vec::len)),
        (&"drop oldest".into(), Some(1))
    );
    let one = &seen["subscribers"][0];
    let numbers = ["lag", "missed", "position"].map(|key| one[key].as_u64());
    assert_eq!((numbers, &one["state"]), ([Some(4), Some(2), Some(6)], &"alive".into()));
    let list = run(&sandbox, &["list"]).out;
    assert!(list.contains("multi/broadcast"), "{list}");
    let text = run(&sandbox, &["inspect", "news"]).out;
    for words in ["slow subscribers: drop oldest", "subscriber", "missed"] {
        assert!(text.contains(words), "{words} is not in\n{text}");
    }
}

#[test]
fn an_empty_or_missing_directory_is_no_failure() {
    let sandbox = Sandbox::new();
    let missing = sandbox.file("missing");
    for directory in [sandbox.path(), &missing] {
        let directory = directory.to_str().expect("UTF-8");
        let list = json(&sandbox, &["list", "--dir", directory, "--json"]);
        assert!(list["queues"].as_array().expect("rows").iter().all(|row| row["pid"].is_u64()));
        let clean = json(&sandbox, &["clean", "--dir", directory, "--json"]);
        assert_eq!(clean["names"].as_array().map(Vec::len), Some(0));
    }
    assert!(!missing.exists());
}

#[test]
fn inspect_shows_the_inside() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let queue = PodQueue::<u64>::create("q", sandbox.mode(5, mode)).expect("a free name");
        (0..3).for_each(|n| queue.put(n).expect("there is room"));
        assert_eq!(queue.get(), Ok(0));
        let seen = json(&sandbox, &["inspect", "q", "--json"]);
        let ring = &seen["ring"];
        let numbers = ["depth", "puts", "gets"].map(|key| ring[key].as_u64());
        assert_eq!(numbers, [2, 3, 1].map(Some), "{mode:?}");
        assert_eq!(ring["producer"]["alive"].as_bool(), (mode.0 == Side::Single).then_some(true));
        assert_eq!(ring["unfinished"].as_array().map(Vec::len), Some(0));
        let one = &seen["participants"][0];
        assert_eq!((one["pid"].as_u64(), one["state"].as_str()), (Some(std::process::id().into()), Some("alive")));
        assert!(one["known_because"].as_str().is_some_and(|why| why.contains("life byte")));
        assert!(seen["problems"].as_array().is_some_and(Vec::is_empty) && seen["leases"].is_array());
        let table = run(&sandbox, &["inspect", "q"]);
        assert_eq!(table.code, 0);
        for word in ["q\n", "depth", "2 of 5", "alive", "life byte is held", "unfinished    nothing"] {
            assert!(table.out.contains(word), "{word} is not in\n{}", table.out);
        }
    }
}

/// Of a queue that grows: its memory, its chunks and its blocks, of which one is in each state.
#[test]
fn inspect_shows_growth_and_blocks() {
    const LONG: usize = 70_000;
    let sandbox = Sandbox::new();
    let options = Options::unbounded().cap(16 << 20).max_message(100_000).directory(sandbox.path());
    let queue = ByteQueue::create("q", options).expect("memory");
    let idle = json(&sandbox, &["inspect", "q", "--json"]);
    // More than a chunk of short ones, then long ones: leased, read in place, queued twice, written.
    (0..5000u64).for_each(|number| queue.put(&number.to_ne_bytes()).expect("below the cap"));
    (0..5000).for_each(|_| assert!(queue.get().is_ok()));
    (0..4).for_each(|_| queue.put(&[1; LONG]).expect("below the cap"));
    let _leased = queue.lease().expect("a message");
    let _read = queue.get_ref().expect("a message");
    let _written = queue.reserve(LONG).expect("a block");
    let seen = json(&sandbox, &["inspect", "q", "--json"]);
    let number = |value: &Value, key: &str| value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}"));
    let (before, growth) = (&idle["growth"], &seen["growth"]);
    // A quarter of the cap is for slots, the rest for blocks.
    assert!((15 << 20..=16 << 20).contains(&number(growth, "cap")), "{growth}");
    assert_eq!((number(before, "chunks"), number(before, "ready")), (number(growth, "chunks"), 1), "{before}");
    assert_eq!(number(growth, "chunks") * number(growth, "chunk"), 4 << 20, "{growth}");
    let states = ["ready", "drained", "holes", "backing", "punching"].map(|key| number(growth, key));
    assert_eq!(states.iter().sum::<u64>(), number(growth, "chunks"), "{growth}");
    assert!(states[0] >= 1 && states[1] >= 1 && states[2] >= 1 && states[3..] == [0, 0], "{growth}");
    assert_eq!(number(growth, "backed"), fs::metadata(sandbox.file("q")).expect("a file").blocks() * 512);
    assert!(number(growth, "backed") > number(before, "backed") + 5 * LONG as u64, "{before} {growth}");
    let classes = seen["blocks"].as_array().expect("sizes");
    let class = classes.iter().find(|class| number(class, "size") >= LONG as u64).expect("one for so long ones");
    assert!(number(class, "size") < 2 * LONG as u64, "{class}");
    let uses = ["writing", "queued", "leased", "reading"].map(|key| number(class, key));
    assert_eq!(uses, [1, 2, 2, 0], "what is read in place is as leased: {class}");
    assert_eq!(number(class, "count"), 5 + number(class, "free"), "{class}");
    let others = classes.iter().filter(|other| number(other, "size") != number(class, "size"));
    others.for_each(|other| assert_eq!(number(other, "count"), number(other, "free"), "{other}"));
    assert_eq!(seen["participants"][0]["blocks"], 1, "it is being written");
    let table = run(&sandbox, &["inspect", "q"]).out;
    let cells = |head: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(head));
        line.unwrap_or_else(|| panic!("{head} is not in\n{table}")).split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(cells("memory").contains("messages at most"), "{table}");
    let [ready, drained, holes, ..] = states;
    for part in [format!("{ready} ready"), format!("{drained} drained"), format!("{holes} without memory")] {
        assert!(cells("chunks").contains(&part), "{part} is not in\n{table}");
    }
    assert!(cells("blocks of").ends_with("all free being written in the queue leased being read"), "{table}");
    let row = ["count", "free", "writing", "queued", "leased", "reading"].map(|key| number(class, key).to_string());
    assert!(
        table
            .lines()
            .any(|line| line.split_whitespace().collect::<Vec<_>>().ends_with(&row.each_ref().map(String::as_str))),
        "{row:?} is not in\n{table}"
    );
    assert!(table.contains("participant 0 writes or reads 1 of them"), "{table}");
}

#[test]
fn inspect_works_on_the_dead_the_damaged_and_the_anonymous() {
    let sandbox = Sandbox::new();
    bereave(&sandbox, &["p-dead"]);
    let seen = json(&sandbox, &["inspect", "--json", "p-dead"]);
    assert_eq!(seen["participants"][0]["state"], "dead");
    assert!(run(&sandbox, &["inspect", "p-dead"]).out.contains("dead: its life byte is free"));
    let whole = fs::read(sandbox.file("p-dead")).expect("readable");
    fs::write(sandbox.file("cut"), &whole[..4096]).expect("writable");
    let mut bytes = whole;
    bytes[64] ^= 1;
    fs::write(sandbox.file("damaged"), &bytes).expect("writable");
    for name in ["cut", "damaged"] {
        let seen = json(&sandbox, &["inspect", name, "--json"]);
        assert!(!seen["problems"].as_array().expect("some").is_empty(), "{name}");
        assert!(run(&sandbox, &["inspect", name]).out.contains("problem: "), "{name}");
    }
    assert!(json(&sandbox, &["inspect", "cut", "--json"])["ring"].is_null());
    let mut child = sandbox.child("anonymous", &[]);
    child.expect("ready");
    let list = json(&sandbox, &["list", "--json"]);
    let rows = list["queues"].as_array().expect("rows");
    let own = rows.iter().find(|row| row["pid"] == child.pid()).expect("its anonymous queue");
    let seen = json(&sandbox, &["inspect", own["queue"].as_str().expect("PID/FD"), "--json"]);
    assert_eq!((seen["queue"]["capacity"].as_u64(), seen["ring"]["depth"].as_u64()), (Some(16), Some(1)));
    assert_eq!(seen["queue"]["identity"], own["identity"]);
    child.succeed();
    forget(&sandbox, &["cut", "damaged", "p-dead"]);
}

#[test]
fn clean_removes_what_is_stale_and_says_so() {
    let sandbox = Sandbox::new();
    bereave(&sandbox, &["e-dead", "p-dead"]);
    let mut live = sandbox.child("hold", &["p-live"]);
    live.expect("holding");
    // The second child has swept.
    bereave(&sandbox, &["e-dead"]);
    let names = |value: &Value| {
        let row = |row: &Value| {
            let text = |key: &str| row[key].as_str().expect("a text").to_owned();
            (text("name"), text("reason"), row["removed"] == true)
        };
        value["names"].as_array().expect("rows").iter().map(row).collect::<Vec<_>>()
    };
    for dry_run in [true, false] {
        let arguments: &[&str] = if dry_run { &["clean", "--dry-run", "--json"] } else { &["clean", "--json"] };
        let found = names(&json(&sandbox, arguments));
        let expected =
            [("e-dead", "stale", !dry_run), ("p-dead", "persistent", false), ("p-live", "persistent", false)];
        assert_eq!(found, expected.map(|(name, reason, removed)| (name.to_owned(), reason.to_owned(), removed)));
        assert_eq!(sandbox.file("e-dead").exists(), dry_run);
    }
    let table = run(&sandbox, &["clean"]);
    assert_eq!((table.code, table.err.as_str()), (0, ""));
    assert!(table.out.contains("kept p-live: persistent") && table.out.contains("removed 0 of 2"), "{}", table.out);
    live.succeed();
    forget(&sandbox, &["p-dead", "p-live"]);
}

#[test]
fn rm_removes_a_name_whoever_uses_it() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u64>::create("q", sandbox.options(5).lifetime(Lifetime::Persistent)).expect("a free name");
    let gone = run(&sandbox, &["rm", "q"]);
    assert_eq!((gone.code, gone.out.as_str()), (0, "removed q\n"));
    assert!(sandbox.files().is_empty());
    // Who has it goes on with it.
    queue.put(1).expect("there is room");
    assert_eq!(queue.get(), Ok(1));
    let again = run(&sandbox, &["rm", "q"]);
    assert_eq!(again.code, 1);
    assert!(again.err.contains("no such queue") && again.err.contains("ringway list"), "{}", again.err);
    let queue = ByteQueue::create("q", sandbox.options(5)).expect("a free name");
    assert_eq!(json(&sandbox, &["rm", "q", "--json"])["removed"][0], "q");
    drop(queue);
}

#[test]
fn what_cannot_be_done_says_what_to_do() {
    let sandbox = Sandbox::new();
    fs::write(sandbox.file("x"), b"hello").expect("writable");
    let queue = ByteQueue::create("q", sandbox.options(5)).expect("a free name");
    let mut bytes = fs::read(sandbox.file("q")).expect("readable");
    drop(queue);
    bytes[8] = 77;
    fs::write(sandbox.file("newer"), bytes).expect("writable");
    let process = format!("{}/99999", std::process::id());
    for (arguments, code, hint) in [
        (&["inspect", "nothing"][..], 1, "ringway list"),
        (&["rm", "nothing"], 1, "ringway list"),
        (&["inspect", "x"], 1, "remove the file"),
        (&["rm", "x"], 1, "remove the file"),
        (&["inspect", "newer"], 1, "layout 77"),
        (&["rm", "newer"], 1, "layout 77"),
        (&["inspect", &process], 1, "no such descriptor"),
        (&["list", "--dir", "/proc"], 1, "RINGWAY_DIR"),
        (&["clean", "--dir", "/proc"], 1, "RINGWAY_DIR"),
        (&["inspect"], 2, "ringway list"),
        (&["inspect", "--json"], 2, "ringway list"),
        (&["rm"], 2, "ringway list"),
        (&["inspect", "a/b"], 2, "PID/FD"),
        (&["inspect", ".."], 2, "directory's own name"),
        (&["rm", "1/2"], 2, "no name to remove"),
        (&["rm", ""], 2, "empty"),
        (&["list", "extra"], 2, "Usage"),
        (&["clean", "--force"], 2, "Usage"),
        (&["no-such-command"], 2, "Usage"),
    ] {
        let run = run(&sandbox, arguments);
        assert_eq!(run.code, code, "{arguments:?}: {}", run.err);
        assert!(run.err.contains(hint) && run.out.is_empty(), "{arguments:?}: {}{}", run.out, run.err);
    }
    assert_eq!(sandbox.files(), ["newer", "x"]);
    forget(&sandbox, &["newer", "x"]);
}

#[test]
fn json_goes_where_it_is_told_to() {
    let sandbox = Sandbox::new();
    let queue = ByteQueue::create("q", sandbox.options(5)).expect("a free name");
    let elsewhere = tempfile::tempdir().expect("writable");
    let file = elsewhere.path().join("out.json");
    let path = file.to_str().expect("UTF-8");
    for arguments in
        [&["list", "--json", path][..], &["inspect", "q", "--json", path], &["inspect", "--json", path, "q"]]
    {
        let run = run(&sandbox, arguments);
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{arguments:?}");
        assert!(run.out.contains('q') && !run.out.contains('{'));
        let value: Value = serde_json::from_slice(&fs::read(&file).expect("written")).expect("JSON");
        assert_eq!(value["schema"], 1);
        fs::remove_file(&file).expect("ours");
    }
    let missing = elsewhere.path().join("no/such/directory");
    assert_eq!(run(&sandbox, &["list", "--json", missing.to_str().expect("UTF-8")]).code, 1);
    drop(queue);
}

#[test]
fn a_benchmark_writes_its_report_in_every_form() {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir().expect("writable");
    let path = |name: &str| elsewhere.path().join(name).to_str().expect("UTF-8").to_owned();
    let (html, svg, json) = (path("page.html"), path("made/plots"), path("report.json"));
    let measure = ["bench", "latency", "--quick", "--size", "8", "--mode", "spsc", "--wait", "spin", "--runs", "1"];
    let done = run(&sandbox, &[&measure[..], &["--html", &html, "--svg", &svg, "--json", &json]].concat());
    assert_eq!(done.code, 0, "{}", done.err);
    let report: Value = serde_json::from_slice(&fs::read(&json).expect("written")).expect("JSON");
    let points = |row: &Value| row["distribution"].as_array().map_or(0, Vec::len);
    let rows = report["results"].as_array().expect("rows");
    assert!(rows.iter().all(|row| points(row) > 5 || !row["error"].is_null()), "{rows:?}");
    let page = fs::read_to_string(&html).expect("written");
    assert!(page.starts_with("<!doctype html>") && page.contains("<svg") && page.contains("ringway-bytes"));
    let plots: Vec<_> = fs::read_dir(&svg).expect("made").flatten().map(|entry| entry.path()).collect();
    assert!(plots.iter().any(|path| path.ends_with("latency-distribution-8.svg")), "{plots:?}");
    assert!(plots.iter().all(|path| fs::read_to_string(path).is_ok_and(|text| text.ends_with("</svg>\n"))));
    // Nothing half-written is left beside them.
    assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 3);
}

#[test]
fn what_a_benchmark_cannot_write_is_said_before_it_runs() {
    let sandbox = Sandbox::new();
    let elsewhere = tempfile::tempdir().expect("writable");
    let path = |name: &str| elsewhere.path().join(name).to_str().expect("UTF-8").to_owned();
    let (missing, file, good) = (path("no/such/file"), path("file"), path("good"));
    fs::write(&file, "mine").expect("writable");
    fs::write(&good, "old").expect("writable");
    let below = format!("{file}/below");
    let directory = elsewhere.path().to_str().expect("UTF-8");
    for (flag, at) in
        [("--html", &*missing), ("--json", &missing), ("--html", directory), ("--svg", &file), ("--svg", &below)]
    {
        // A whole one would take most of a minute.
        let began = std::time::Instant::now();
        let kept: &[&str] = if flag == "--json" { &[] } else { &["--json", &good] };
        let refused = run(&sandbox, &[&["bench"], kept, &[flag, at]].concat());
        assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{flag} {at}");
        assert!(refused.err.contains(at) && refused.err.lines().count() == 1, "{}", refused.err);
        assert!(began.elapsed().as_secs() < 10, "{flag} {at}");
    }
    assert_eq!(fs::read_to_string(&good).expect("there"), "old", "what was there stays");
    assert_eq!(fs::read_dir(elsewhere.path()).expect("readable").count(), 2);
}

#[test]
fn names_cannot_write_to_the_terminal() {
    let sandbox = Sandbox::new();
    let name = "red\x1b[31m\nline";
    let queue = ByteQueue::create(name, sandbox.options(5)).expect("a free name");
    // `run` refuses escapes.
    assert_eq!(run(&sandbox, &["list"]).out.lines().filter(|line| line.contains("red")).count(), 1);
    for arguments in [&["inspect", name][..], &["clean"], &["clean", "--json"]] {
        assert_eq!(run(&sandbox, arguments).code, 0, "{arguments:?}");
    }
    assert_eq!(row(&json(&sandbox, &["list", "--json"]), name)["state"], "in use");
    assert_eq!(run(&sandbox, &["rm", name]).code, 0);
    drop(queue);
}

/// `ringway list | head -1`.
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::new();
    let mut child =
        command(&sandbox, &["list"]).stdout(std::process::Stdio::piped()).spawn().expect("the command can be started");
    drop(child.stdout.take());
    assert!(child.wait().expect("it ends").success());
}
