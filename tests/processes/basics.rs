//! Start, join, results, names.

use ringway::{ExitStatus, Process, ProcessError};

fn sum(a: u64, b: u64) -> u64 {
    a + b
}

#[test]
fn a_function_returns() {
    let mut process = Process::new(sum, (2, 3));
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), 5);
    assert_eq!(process.exit_status().expect("ended"), Some(ExitStatus::Exited(0)));
    assert!(matches!(process.start(), Err(ProcessError::AlreadyStarted)));
}

#[test]
fn a_panic_is_told() {
    let mut process = Process::new(|| -> () { panic!("on purpose") }, ()).name("Panicky");
    process.start().expect("starts");
    match process.join().expect("joins") {
        ExitStatus::Panicked { message, location } => {
            assert_eq!(message, "on purpose");
            assert!(location.expect("known").contains("basics.rs:"));
        }
        other => panic!("{other}"),
    }
    let error = process.result().expect_err("no result");
    assert!(error.to_string().contains("on purpose"), "{error}");
}
