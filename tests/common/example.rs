//! Where the examples are, for those who run them.

use std::path::PathBuf;
use std::process::Command;

/// Where cargo has put an example. `cargo test` builds all of them; if only this
/// test was asked for, it has them built.
pub fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its binary");
    let built = own.ancestors().nth(2).expect("it lies in deps").join("examples").join(name);
    if !built.exists() {
        let status = Command::new(env!("CARGO")).args(["build", "--quiet", "--example", name]).status();
        assert!(status.expect("cargo is there").success());
    }
    built
}
