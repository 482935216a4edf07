//! What a kernel or a seccomp filter refuses: io_uring, futex_waitv, membarrier.

use super::*;
use common::{refuse::refuse, tell};

/// Echoes with futures, where some calls are refused.
pub fn role_refused(arguments: &[String]) {
    for argument in arguments {
        let (call, error) = match argument.as_str() {
            "io_uring" => (libc::SYS_io_uring_setup, libc::EPERM),
            "futex_waitv" => (libc::SYS_futex_waitv, libc::ENOSYS),
            "membarrier" => (libc::SYS_membarrier, libc::EPERM),
            other => panic!("no call {other}"),
        };
        if !refuse(call, error) {
            return tell("no filters");
        }
    }
    let open = |name| Numbers::open(name).expect("it is there");
    let (there, back) = (open("there").consumer().expect("free"), open("back").producer().expect("free"));
    runtime().block_on(async {
        let driver = driver("ring");
        let uses = driver.as_ref().is_some_and(Driver::uses_io_uring);
        tell(if uses { "io_uring" } else { "thread" });
        let (mut there, mut back) = (getter(there, &driver), putter(back, &driver));
        while let Ok(number) = there.get().await {
            back.put(number).await.expect("nobody closes");
        }
    });
}

#[test]
fn whatever_is_refused_futures_are_woken() {
    const ROUNDS: u64 = 200;
    let sandbox = Sandbox::new();
    for refused in [&[][..], &["io_uring"], &["io_uring", "futex_waitv"], &["membarrier"], &["io_uring", "membarrier"]]
    {
        let there = Numbers::create("there", sandbox.options(2)).expect("a free name");
        let back = Numbers::create("back", sandbox.options(2)).expect("a free name");
        let mut child = sandbox.child("refused", refused);
        match child.line().as_str() {
            "no filters" => return common::skip("no filters here"),
            who if refused.contains(&"io_uring") => assert_eq!(who, "thread"),
            _ => {}
        }
        for number in 0..ROUNDS {
            there.put(number).expect("room");
            assert_eq!(back.get_timeout(LONG), Ok(number), "{refused:?}");
        }
        there.close();
        child.succeed();
    }
}
