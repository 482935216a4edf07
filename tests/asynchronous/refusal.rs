//! What a kernel or a seccomp filter refuses: io_uring, futex_waitv, membarrier.

use super::*;
use common::{refuse::refuse, tell};

/// Whether io_uring can wait for words here, found out without the library and its crate: the three
/// calls are allowed, and the kernel says that it has the request.
pub fn kernel_would_wake() -> bool {
    const REGISTER_PROBE: libc::c_uint = 8;
    const FUTEX_WAIT: usize = 51;
    const IS_SUPPORTED: u16 = 1;
    // Of a request: its number, a spare byte, flags, a spare word; eight bytes. As many come before them.
    const OPS: usize = 64;
    let mut probe = [[0u16; 4]; 2 + OPS];
    let mut parameters = [0u32; 30];
    // SAFETY: the kernel writes 120 bytes of parameters, and a head of sixteen bytes and `OPS` rows of
    // the probe; the descriptor is ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_io_uring_setup, 1, parameters.as_mut_ptr());
        if fd < 0 {
            return false;
        }
        let asked = libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_PROBE, probe.as_mut_ptr(), OPS);
        let entered = libc::syscall(libc::SYS_io_uring_enter, fd, 0, 0, 0, std::ptr::null::<u8>(), 0);
        libc::close(fd as i32);
        asked == 0 && entered == 0 && probe[2 + FUTEX_WAIT][1] & IS_SUPPORTED != 0
    }
}

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
        let rings = !refused.contains(&"io_uring") && kernel_would_wake();
        match child.line().as_str() {
            "no filters" => return common::skip("no filters here"),
            who => assert_eq!(who, if rings { "io_uring" } else { "thread" }, "{refused:?}"),
        }
        for number in 0..ROUNDS {
            there.put(number).expect("room");
            assert_eq!(back.get_timeout(LONG), Ok(number), "{refused:?}");
        }
        there.close();
        child.succeed();
    }
}
