//! What the other tests rely on is tested too: the sandbox sees what is left
//! behind, the watchdog bites, and a child can be nothing but its role.

mod common;

use common::{Role, Sandbox, hear, tell};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

const ROLES: &[Role] = &[("hang", role_hang), ("fail", role_fail), ("echo", role_echo)];

#[test]
fn a_file_that_is_left_fails_the_test() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.file("litter"), "").expect("writable");
    let path = sandbox.path().to_owned();
    let outcome = catch_unwind(AssertUnwindSafe(|| drop(sandbox)));
    let message = outcome.expect_err("litter is seen").downcast::<String>().expect("a message");
    assert!(message.contains("litter"), "{message}");
    assert!(!path.exists(), "and removed all the same");
}

/// Takes longer than its own sandbox allows.
fn role_hang(_: &[String]) {
    let sandbox = Sandbox::with_limit(Duration::from_millis(30));
    tell(sandbox.path().display());
    hear();
}

#[test]
fn a_test_that_hangs_is_aborted() {
    let sandbox = Sandbox::new();
    let mut command = sandbox.command("hang", &[]);
    command.stderr(std::process::Stdio::null());
    let mut child = common::Child::start(command);
    let left = child.line();
    // The pipe is still open: nothing but the watchdog ends the child.
    assert!(child.line().is_empty());
    let (status, _) = child.end();
    assert_eq!(status.signal(), Some(6), "{status}");
    std::fs::remove_dir(left).expect("aborting removes nothing");
}

fn role_fail(_: &[String]) {
    panic!("on purpose");
}

fn role_echo(arguments: &[String]) {
    arguments.iter().for_each(tell);
    tell(hear());
}

#[test]
fn a_child_says_how_it_ended() {
    let sandbox = Sandbox::new();
    for (role, code) in [("fail", 101), ("there is no such role", 97)] {
        let mut command = sandbox.command(role, &[]);
        command.stderr(std::process::Stdio::null());
        let (status, said) = common::Child::start(command).end();
        assert_eq!((status.code(), said.as_slice()), (Some(code), &b""[..]), "{role}");
    }
    let mut child = sandbox.child("echo", &["one", "two words"]);
    child.expect("one");
    child.expect("two words");
    child.tell("three");
    child.expect("three");
    assert!(child.succeed().is_empty());
    sandbox.child("echo", &[]).kill();
}
