//! How a panic in a child or in a job of a pool arrives, also in a program where panics abort: this one is compiled both
//! ways (`RUSTFLAGS="-C panic=abort" CARGO_TARGET_DIR=target/abort cargo test --test process_panics`).

#![allow(unsafe_code)]

use ringway::{ExitStatus, JobFailure, Pool, Process, ProcessError, Stream};

#[path = "common/limit.rs"]
mod limit;

fn fails(number: u32) -> u32 {
    panic!("number {number} is too much");
}

fn fails_elsewhere() {
    let thread = std::thread::spawn(|| panic!("in a thread"));
    let _ = thread.join();
}

/// The function's own panic is a death of its worker where panics abort.
fn in_a_pool(aborts: bool) {
    let quiet = || {
        // SAFETY: plain calls; the string ends with a NUL. What a worker says of its panic is nobody's business.
        unsafe {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
            assert!(null >= 0 && libc::dup2(null, 2) == 2);
            libc::close(null);
        }
    };
    let pool = Pool::builder().workers(2).retries(1).initializer(quiet, ()).build().expect("a pool");
    let others: Vec<_> = (0..100).map(|n: u64| pool.apply_async(|n: u64| n, (n,)).expect("it is open")).collect();
    let error = pool.apply(fails, (7,)).expect_err("it panics");
    let (message, location) = match error.cause() {
        JobFailure::Panicked { message, location: Some(location) } if !aborts => (message, location),
        JobFailure::Died { status: ExitStatus::Panicked { message, location: Some(location) } } if aborts => {
            (message, location)
        }
        cause => panic!("{cause:?}"),
    };
    assert_eq!(message, "number 7 is too much");
    assert!(location.contains("process_panics.rs:"), "{location}");
    // A death is tried again, a panic is not.
    let deaths = u64::from(aborts);
    assert_eq!(u64::from(error.attempts()), 1 + deaths);
    // In a map it costs its own call.
    let results: Vec<_> = pool.chunksize(1).imap(|n: u32| if n == 3 { fails(n) } else { n }, 0..6).collect();
    let fine: Vec<_> = results.iter().map(|result| result.as_ref().ok().copied()).collect();
    assert_eq!(fine, [Some(0), Some(1), Some(2), None, Some(4), Some(5)]);
    for (n, job) in (0..).zip(others) {
        assert_eq!(job.get(), Ok(n));
    }
    assert_eq!(pool.apply(|n: u64| n, (7,)), Ok(7));
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.done), (2, 106));
    pool.close();
    pool.join().expect("it is closed");
    assert_eq!(pool.stats().restarted, 4 * deaths, "a worker for each attempt");
    // What panics before the first job is told in the same way.
    let error = Pool::builder()
        .workers(1)
        .initializer(
            || {
                fails(8);
            },
            (),
        )
        .build()
        .expect_err("it panics");
    assert!(error.to_string().contains("number 8 is too much"), "{error}");
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
    in_a_pool(aborts);
    println!("panics {} in children and in pools: as told", if aborts { "that abort" } else { "that unwind" });
}
