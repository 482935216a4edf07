//! What these tests share.

use std::time::{Duration, Instant};

/// An initializer: what workers say on their way out is nobody's business, they leave no core files, and
/// no panic takes the time of a backtrace.
pub fn quiet() {
    let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: plain calls; the string ends with a NUL, the limit is there.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        assert!(null >= 0 && libc::dup2(null, 2) == 2);
        libc::close(null);
        libc::setrlimit(libc::RLIMIT_CORE, &raw const limit);
        // The other thread of a worker only waits for its parent's death.
        std::env::set_var("RUST_BACKTRACE", "0");
    }
}

/// Waits for something that can only be asked for.
pub fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Whether that process is there, and has not ended.
pub fn lives(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
}
