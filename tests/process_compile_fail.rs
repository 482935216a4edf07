//! What does not compile, and that the compiler says why.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// The library as it was built for this test: the latest one beside it.
fn library(deps: &Path) -> PathBuf {
    let entries = std::fs::read_dir(deps).expect("a test lies in deps").flatten().map(|entry| entry.path());
    let name = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let built = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let libraries = entries.filter(|path| name(path).starts_with("libringway-") && name(path).ends_with(".rlib"));
    libraries.max_by_key(built).expect("the library was built before its tests")
}

/// Whether a program with this `main` can be built, and what the compiler says.
fn compile(body: &str) -> (bool, String) {
    let own = std::env::current_exe().expect("a test knows its binary");
    let deps = own.parent().expect("it lies in deps");
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("program.rs");
    std::fs::write(&source, format!("fn main() {{\n{body}\n}}\n")).expect("there is room");
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--edition", "2024", "--emit", "obj", "-L"]).arg(format!("dependency={}", deps.display()));
    command.arg("--extern").arg(format!("ringway={}", library(deps).display()));
    let output = command.arg("--out-dir").arg(directory.path()).arg(&source).output().expect("rustc is there");
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn functions_and_closures_that_capture_nothing_compile() {
    let (compiles, said) = compile(
        "fn double(n: u32) -> u32 { n * 2 }
         let _ = ringway::Process::new(double, (2,));
         let _ = ringway::Process::new(|a: String, b: Vec<u8>| a.len() + b.len(), (String::new(), vec![]));
         let _ = ringway::Process::new(|| (), ());",
    );
    assert!(compiles, "{said}");
}

#[test]
fn a_closure_that_captures_does_not_and_the_message_says_why() {
    let (compiles, said) = compile("let here = 1_u32; let _ = ringway::Process::new(move || here, ());");
    assert!(!compiles && said.contains("must not capture anything") && said.contains("argument"), "{said}");
    let (compiles, said) = compile("let here = 1_u32; let _ = ringway::Process::new(|| here, ());");
    assert!(!compiles, "a reference is captured: {said}");
}

#[test]
fn arguments_that_do_not_fit_do_not_compile_and_the_message_says_how_they_are_written() {
    let function = "fn double(n: u32) -> u32 { n * 2 }";
    for arguments in ["2", "()", "(2, 3)", "(\"2\",)"] {
        let (compiles, said) = compile(&format!("{function} let _ = ringway::Process::new(double, {arguments});"));
        assert!(!compiles, "{arguments}");
        let reasons = ["is not a function of the arguments", "Deserialize", "trailing comma", "mismatched types"];
        assert!(reasons.iter().any(|reason| said.contains(reason)), "{arguments}: {said}");
    }
}

#[test]
fn what_cannot_be_sent_does_not_compile() {
    for body in [
        "let _ = ringway::Process::new(|_: std::sync::mpsc::Sender<u8>| (), (std::sync::mpsc::channel().0,));",
        "let _ = ringway::Process::new(|| std::thread::current(), ());",
    ] {
        let (compiles, said) = compile(body);
        assert!(!compiles && said.contains("Serialize"), "{said}");
    }
}
