//! How a panic in a child arrives, also in a program where panics abort: this one is compiled both
//! ways (`RUSTFLAGS="-C panic=abort" CARGO_TARGET_DIR=target/abort cargo test --test process_panics`).

#![allow(unsafe_code)]

use ringway::{ExitStatus, Process, ProcessError, Stream};

#[path = "common/limit.rs"]
mod limit;

fn fails(number: u32) -> u32 {
    panic!("number {number} is too much");
}

fn fails_elsewhere() {
    let thread = std::thread::spawn(|| panic!("in a thread"));
    let _ = thread.join();
}

fn main() {
    ringway::init();
    let aborts = cfg!(panic = "abort");
    for warm in [false, true] {
        let mut process = Process::new(fails, (7,)).stderr(Stream::Null).warm(warm);
        process.start().expect("it starts");
        let status = process.join().expect("it is ours");
        let ExitStatus::Panicked { message, location: Some(location) } = &status else { panic!("{status:?}") };
        assert_eq!(message, "number 7 is too much");
        assert!(location.contains("process_panics.rs:"), "{location}");
        let result = process.result();
        assert!(matches!(&result, Err(ProcessError::NoResult { status: said }) if *said == status), "{result:?}");

        let mut process = Process::new(fails_elsewhere, ()).stderr(Stream::Null).warm(warm);
        process.start().expect("it starts");
        match process.join().expect("it is ours") {
            ExitStatus::Exited(0) if !aborts => {}
            ExitStatus::Panicked { message, .. } if aborts && message == "in a thread" => {}
            status => panic!("{status:?}"),
        }

        let mut process = Process::new(|| 5, ()).warm(warm);
        process.start().expect("it starts");
        assert_eq!(process.result().expect("it returns"), 5);
    }
    println!("panics {} in children: as told", if aborts { "that abort" } else { "that unwind" });
}
