//! System calls that a kernel or a container's filter refuses.

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Refuses a system call to this process from now on. False: there are no filters here.
pub fn refuse(call: libc::c_long, error: libc::c_int) -> bool {
    let step = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let (load, equals, give) =
        (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, libc::BPF_RET);
    let mut program = [
        step(load, std::mem::offset_of!(libc::seccomp_data, arch) as u32, 0, 0),
        step(equals, ARCHITECTURE, 0, 3),
        step(load, std::mem::offset_of!(libc::seccomp_data, nr) as u32, 0, 0),
        step(equals, call as u32, 0, 1),
        step(give, libc::SECCOMP_RET_ERRNO | error as u32, 0, 0),
        step(give, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the call, which copies it.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}
