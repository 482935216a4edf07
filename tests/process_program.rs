//! The program that is executed again: deleted, replaced, run by a loader.
//!
//! The program is a copy of this test binary, of which only the test `program` runs: with a word in the
//! environment it is the parent that the others ask for.

#![allow(unsafe_code)]

use ringway::{Process, ProcessError};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

ringway::test_support!();

#[path = "common/limit.rs"]
mod limit;

const WORD: &str = "RINGWAY_PROGRAM";

/// With this one the program has a thread before anything else.
const EARLY: &str = "RINGWAY_EARLY_THREAD";

#[used]
// SAFETY: the loader calls it once, before the functions of the section without a number, after it has
// set up the C library.
#[unsafe(link_section = ".init_array.00101")]
static START_EARLY: extern "C" fn() = start_early;

extern "C" fn start_early() {
    if std::env::var_os(EARLY).is_some() {
        std::thread::spawn(|| std::thread::sleep(std::time::Duration::from_secs(60)));
    }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Waits until it is told to, starts a child, and says what came of it.
#[test]
fn program() {
    if std::env::var_os(WORD).is_none() {
        return;
    }
    println!("\nready");
    std::io::stdin().lines().next();
    for warm in [false, true] {
        let next = |n: u32| if std::env::var_os(EARLY).is_some() { 100 + threads() as u32 } else { n + 1 };
        let mut process = Process::new(next, (1,)).warm(warm);
        match process.start() {
            Ok(()) => println!("\nresult {:?}", process.result().map_err(|error| error.to_string())),
            Err(error) => println!("\nerror {error}"),
        }
    }
}

/// By a program of its own: a file that this one had open for writing would be open in the children that
/// the other tests are starting at that moment, and could not be executed (`ETXTBSY`) until they have.
fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg(from).arg(to).status().expect("cp runs").success(), "there is room");
}

fn copy_to(path: &Path) {
    copy(&std::env::current_exe().expect("a test knows its binary"), path);
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700)).expect("it is ours");
}

/// Runs it, and does something to it before it starts its child.
fn run(mut command: Command, meanwhile: impl FnOnce()) -> Output {
    command.args(["--exact", "program", "--nocapture"]).env(WORD, "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("runs");
    let mut said = BufReader::new(child.stdout.take().expect("it was piped"));
    let mut before = String::new();
    while !before.ends_with("ready\n") {
        assert_ne!(said.read_line(&mut before).expect("a pipe can be read"), 0, "{before}");
    }
    meanwhile();
    child.stdin.take().expect("it was piped").write_all(b"go\n").expect("it listens");
    let mut stdout = Vec::new();
    std::io::Read::read_to_end(&mut said, &mut stdout).expect("a pipe can be read");
    Output { stdout, ..child.wait_with_output().expect("it ends") }
}

fn said(output: &Output) -> Vec<String> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.starts_with("result ") || line.starts_with("error ")).map(str::to_owned).collect()
}

#[test]
fn a_program_that_was_deleted_starts_children() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("program");
    copy_to(&path);
    let output = run(Command::new(&path), || std::fs::remove_file(&path).expect("it is there"));
    assert_eq!(said(&output), ["result Ok(2)", "result Ok(2)"], "{output:?}");
}

#[test]
fn a_program_that_was_replaced_starts_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let (path, other) = (directory.path().join("program"), directory.path().join("other"));
    copy_to(&path);
    copy(Path::new("/bin/true"), &other);
    let output = run(Command::new(&path), || std::fs::rename(&other, &path).expect("it is there"));
    assert_eq!(said(&output), ["result Ok(2)", "result Ok(2)"], "{output:?}");
}

/// The loader that this program names: `/proc/self/exe` is the loader then.
#[test]
fn under_a_loader_nothing_starts_and_the_error_says_why() {
    let own = std::env::current_exe().expect("a test knows its binary");
    let maps = std::fs::read_to_string("/proc/self/maps").expect("/proc is there");
    let loader = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|path| path.contains("/ld-"));
    let Some(loader) = loader else {
        println!("this program has no loader: skipped");
        return;
    };
    let mut command = Command::new(loader);
    command.arg(own);
    let output = run(command, || ());
    let said = said(&output);
    assert_eq!(said.len(), 2, "{output:?}");
    assert!(
        said.iter().all(|line| line.contains("/proc/self/exe is ") && line.contains("run it directly")),
        "{said:?}"
    );
    let error = ProcessError::NotExecutable { found: String::new() };
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::Unsupported);
}

/// They say that `/proc/self/exe` were this program, and do not know the system call.
fn emulated(emulator: &str, arguments: &[&str]) {
    if Command::new(emulator).arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("there is no {emulator}: skipped");
        return;
    }
    let own = std::env::current_exe().expect("a test knows its binary");
    let mut command = Command::new(emulator);
    command.args(arguments).arg(own);
    let output = run(command, || ());
    let said = said(&output);
    assert_eq!(said.len(), 2, "{output:?}");
    assert!(said.iter().all(|line| line.contains("emulators do not support")), "{said:?}");
}

#[test]
fn under_valgrind_nothing_starts_and_the_error_says_why() {
    emulated("valgrind", &["--quiet", "--tool=none", "--"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn under_qemu_nothing_starts_and_the_error_says_why() {
    emulated("qemu-x86_64", &["-cpu", "max"]);
}

/// A copy would lack the threads of the server: the program is executed instead.
#[test]
fn where_threads_come_first_nothing_is_copied() {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command.env(EARLY, "1");
    let output = run(command, || ());
    // Its own, the early one, and the one that waits for the parent's death.
    assert_eq!(said(&output), ["result Ok(103)", "result Ok(103)"], "{output:?}");
}

/// Whoever inherits the variable that makes a child is none.
#[test]
fn the_variable_is_worthless_to_others() {
    let mut process = Process::new(
        || {
            // A second time nothing happens.
            ringway::init();
            let output = Command::new("/proc/self/exe").args(["--list"]).output().expect("runs");
            let listed = String::from_utf8_lossy(&output.stdout).contains("program: test");
            (std::env::var("RINGWAY_CHILD").is_ok(), output.status.success(), listed)
        },
        (),
    );
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), (false, true, true), "gone, and a program like any other");
    // What this process executes in its place has its pid.
    let mut process = Process::new(
        || {
            let mut command = Command::new("/proc/self/exe");
            std::os::unix::process::CommandExt::exec(command.arg("--list")).to_string()
        },
        (),
    )
    .stdout(ringway::Stream::Null);
    process.start().expect("starts");
    assert!(process.join().expect("joins").success());
    // Somebody else's.
    let own = std::env::current_exe().expect("a test knows its binary");
    let output = Command::new(own).arg("--list").env("RINGWAY_CHILD", "3,4,5:1").output().expect("runs");
    assert!(output.status.success() && String::from_utf8_lossy(&output.stdout).contains("program: test"));
    // It cannot be handed on by hand either.
    let mut process = Process::new(|| (), ()).env("RINGWAY_CHILD", "3,4,5:1");
    assert!(matches!(process.start(), Err(ProcessError::InvalidOptions { .. })));
    // Forged: for our own number, with descriptors that nobody passed on.
    let script = "RINGWAY_CHILD=3,4,5:$$ exec \"$0\" --list";
    let own = std::env::current_exe().expect("a test knows its binary");
    let output = Command::new("/bin/sh").args(["-c", script]).arg(own).output().expect("runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be one"), "{output:?}");
}
