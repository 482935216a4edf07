//! Keeps the shape of the crate true: which layer may use which, where unsafe code
//! may live, how long a file may be. Each rule says why.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// `DIRECTORY -> what it may name with crate::`. Reading order equals dependency
/// order; an arrow that is not here is a mistake in the design of a change.
/// `error` and `event` serve all layers from `segment` up.
const ARROWS: &[(&str, &[&str])] = &[
    ("sys", &[]),
    ("primitive", &["sys"]),
    ("ring", &["primitive"]),
    ("wait", &["primitive"]),
    ("segment", &["sys", "primitive", "error", "event"]),
    ("process", &["queue", "handover", "segment", "wait", "primitive", "sys", "error", "event"]),
    ("pool", &["process", "queue", "wait", "primitive", "error", "event"]),
    ("handover", &["segment", "sys", "error"]),
    ("asyncio", &["queue", "wait", "sys", "event"]),
    ("queue", &["segment", "ring", "wait", "handover", "primitive", "error", "event"]),
];

/// What `primitive` may use of `sys`: the rest belongs to `segment`.
const SYS_OF_PRIMITIVE: [&str; 4] = ["futex", "membarrier", "clock", "cpu"];

/// The files that may contain unsafe code. Elsewhere the compiler denies it.
const UNSAFE_FILES: &[&str] = &[
    "src/loom_blocks.rs",
    "src/loom_growth.rs",
    "src/loom_models.rs",
    "src/primitive/block.rs",
    "src/primitive/cell.rs",
    "src/primitive/bulk.rs",
    "src/primitive/payload.rs",
    "src/primitive/words.rs",
    "src/queue/broadcast/calls.rs",
    "src/queue/bytes.rs",
    "src/queue/get.rs",
    "src/queue/guards.rs",
    "src/queue/large.rs",
    "src/queue/message.rs",
    "src/queue/port.rs",
    "src/queue/put.rs",
    "src/queue/serde.rs",
    "src/queue/view.rs",
    "src/ring/arena.rs",
    "src/ring/broadcast/get.rs",
    "src/ring/broadcast/put.rs",
    "src/ring/chunked.rs",
    "src/ring/consumer.rs",
    "src/ring/data.rs",
    "src/ring/pace.rs",
    "src/ring/producer.rs",
    "src/ring/rows.rs",
    "src/ring/spsc.rs",
    "src/ring/state.rs",
    "src/ring/tests.rs",
    "src/segment/arrival.rs",
    "src/segment/header.rs",
    "src/segment/lifecycle.rs",
    "src/process/function.rs",
    "src/process/server.rs",
    "src/process/startup.rs",
    "src/process/task.rs",
    "src/sys/linux/children.rs",
    "src/sys/linux/clock.rs",
    "src/sys/linux/cpu.rs",
    "src/sys/linux/fork.rs",
    "src/sys/linux/futex.rs",
    "src/sys/linux/image.rs",
    "src/sys/linux/mem.rs",
    "src/sys/linux/membarrier.rs",
    "src/sys/linux/own.rs",
    "src/sys/linux/passing.rs",
    "src/sys/linux/shm.rs",
    "src/sys/linux/sigbus.rs",
    "src/sys/linux/signals.rs",
    "src/sys/linux/socket.rs",
    "src/sys/linux/spawn.rs",
    "src/sys/linux/uring.rs",
    "src/sys/linux/words.rs",
];

/// A longer file is two files.
const LONGEST_FILE: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                rust_files(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn files_in(folders: &[&str]) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for folder in folders {
        rust_files(&root().join(folder), &mut paths);
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(root()).unwrap_or(path).display().to_string();
    paths.iter().map(|path| (name(path), fs::read_to_string(path).expect("a source file"))).collect()
}

/// The code without comments and without the test module at its end.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The names that follow `prefix` in `code`.
fn names_after<'t>(code: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    let word = |rest: &'t str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    code.match_indices(prefix).map(|(at, _)| word(&code[at + prefix.len()..])).filter(|name| !name.is_empty()).collect()
}

fn broken_arrows(file: &str, text: &str) -> Vec<String> {
    let layer = ARROWS.iter().find(|(layer, _)| file.starts_with(&format!("src/{layer}/")));
    let Some((layer, allowed)) = layer else { return Vec::new() };
    // What a macro names is the caller's.
    let code = code(text).replace("$crate::", "");
    let used = names_after(&code, "crate::");
    let lowercase = |name: &&&str| name.starts_with(char::is_lowercase);
    let mut broken: Vec<String> = used
        .iter()
        .filter(lowercase)
        .filter(|name| *name != layer && !allowed.contains(name))
        .map(|name| format!("{file}: {layer} may not use {name}"))
        .collect();
    if *layer == "primitive" {
        let sys = names_after(&code, "sys::");
        let extra = sys.iter().filter(|name| !SYS_OF_PRIMITIVE.contains(name));
        broken.extend(extra.map(|name| format!("{file}: primitive may not use sys::{name}")));
    }
    broken
}

#[test]
fn layers_use_only_what_is_below_them() {
    let broken: Vec<String> = files_in(&["src"]).iter().flat_map(|(file, text)| broken_arrows(file, text)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn unsafe_code_lives_where_it_is_expected() {
    let allowed: BTreeSet<String> = UNSAFE_FILES.iter().map(|file| (*file).to_owned()).collect();
    let found: BTreeSet<String> = files_in(&["src"])
        .into_iter()
        .filter(|(file, text)| !file.starts_with("src/bin") && text.contains("allow(unsafe_code)"))
        .map(|(file, _)| file)
        .collect();
    assert_eq!(found.difference(&allowed).collect::<Vec<_>>(), Vec::<&String>::new(), "files that gained unsafe code");
}

/// `sys` is the seam for a second backend: a system call elsewhere would tear it.
#[test]
fn only_sys_calls_the_system() {
    let outside: Vec<String> = files_in(&["src"])
        .into_iter()
        .filter(|(file, _)| !file.starts_with("src/sys") && !file.starts_with("src/bin"))
        .filter(|(_, text)| code(text).contains("libc::syscall") || code(text).contains("use nix::"))
        .map(|(file, _)| file)
        .collect();
    assert!(outside.is_empty(), "{outside:?}");
}

/// What never proves a life, nor may stand for a lock: signals and numbers of processes (B1, B7),
/// robust mutexes (B3, B6), and locks that go with any descriptor of the process (B4).
const NO_PROOF: &[&str] = &["libc::kill(", "pidfd_send_signal", "pthread_mutex", "robust_list", "F_SETLK", "flock("];

fn false_proofs(file: &str, text: &str) -> Vec<String> {
    let mut code = code(text).replace("F_OFD_SETLK", "");
    if file == "src/sys/linux/children.rs" {
        // It tells an own child to end; nobody takes that for a proof.
        code = code.replace("SYS_pidfd_send_signal", "");
    }
    NO_PROOF.iter().filter(|name| code.contains(**name)).map(|name| format!("{file}: {name}")).collect()
}

#[test]
fn nothing_but_locks_of_open_files_proves_a_life() {
    let files = files_in(&["src"]);
    let found: Vec<String> = files
        .iter()
        .filter(|(file, _)| !file.starts_with("src/bin"))
        .flat_map(|(file, text)| false_proofs(file, text))
        .collect();
    assert!(found.is_empty(), "{found:?}");
    assert!(files.iter().any(|(_, text)| code(text).contains("F_OFD_SETLK")), "the locks are there");
}

#[test]
fn every_file_says_what_it_is_and_is_not_too_long() {
    let mut wrong = Vec::new();
    for (file, text) in files_in(&["src", "tests", "examples", "benches"]) {
        if !text.starts_with("//!") && !text.starts_with("#!") && !text.starts_with("// ") {
            wrong.push(format!("{file} has no head that says what it is"));
        }
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            wrong.push(format!("{file} has {lines} lines, at most {LONGEST_FILE} can be read at once"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rules can fail.
#[test]
fn broken_rules_are_noticed() {
    assert_eq!(broken_arrows("src/ring/x.rs", "use crate::segment::Segment;").len(), 1);
    assert_eq!(broken_arrows("src/ring/x.rs", "// crate::segment is not used\nuse crate::primitive::Line;").len(), 0);
    assert_eq!(broken_arrows("src/primitive/x.rs", "use crate::sys::shm;").len(), 1);
    assert_eq!(broken_arrows("src/sys/linux/x.rs", "use crate::primitive::Line;").len(), 1);
    assert_eq!(false_proofs("src/x.rs", "fcntl(fd, libc::F_SETLK, &lock)").len(), 1);
    assert_eq!(false_proofs("src/x.rs", "fcntl(fd, libc::F_OFD_SETLK, &lock)").len(), 0);
    assert_eq!(broken_arrows("src/queue/x.rs", "use crate::SetupError; use crate::ring::Ring;").len(), 0);
}
