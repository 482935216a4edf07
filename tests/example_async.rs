//! The example with futures does what it says.

#![cfg(feature = "async")]

mod common;

use common::{DIRECTORY_VARIABLE, Role, Sandbox};
use std::process::Command;

const ROLES: &[Role] = &[];

#[test]
fn async_tokio() {
    let own = std::env::current_exe().expect("a test knows its binary");
    let built = own.ancestors().nth(2).expect("it lies in deps").join("examples/async_tokio");
    if !built.exists() {
        let build = ["build", "--quiet", "--features", "async", "--example", "async_tokio"];
        assert!(Command::new(env!("CARGO")).args(build).status().expect("cargo is there").success());
    }
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&built);
        let output = command.args(arguments).env(DIRECTORY_VARIABLE, sandbox.path()).output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("it prints text");
        (output.status.success(), text(output.stdout), text(output.stderr))
    };
    let (success, said, complaints) = run(&[]);
    assert!(success && complaints.is_empty(), "{said}{complaints}");
    let expected = [
        "client 0: its squares add up to 30",
        "client 1: its squares add up to 730",
        "client 2: its squares add up to 2430",
        "the service ended: exit status: 0",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
    let (success, said, complaints) = run(&["nonsense"]);
    assert!(!success && said.is_empty() && complaints.contains("usage"), "{said}{complaints}");
}
