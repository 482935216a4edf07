//! What the tests of `ringway bench` share, which run the program itself.

use serde_json::Value;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// A report that is all of standard output, and its rows.
#[track_caller]
pub fn rows(output: &Output) -> (Value, Vec<Value>) {
    let value: Value = serde_json::from_slice(&output.stdout).expect("JSON alone");
    assert_eq!(value["schema"], 1);
    let rows = value["results"].as_array().expect("rows").clone();
    (value, rows)
}

/// The command gets the first of our processors only.
pub fn on_one_processor(command: &mut Command) {
    // SAFETY: between fork and exec it makes two system calls, with memory of its own stack.
    unsafe {
        command.pre_exec(|| {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::sched_getaffinity(0, size_of_val(&set), &mut set);
            let first = (0..libc::CPU_SETSIZE as usize).find(|&cpu| libc::CPU_ISSET(cpu, &set)).unwrap_or(0);
            libc::CPU_ZERO(&mut set);
            libc::CPU_SET(first, &mut set);
            match libc::sched_setaffinity(0, size_of_val(&set), &set) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
}

/// The command lines of its children.
pub fn orders(pid: u32) -> Vec<String> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let order = |child: &str| std::fs::read_to_string(format!("/proc/{child}/cmdline")).unwrap_or_default();
    children.split_whitespace().map(order).collect()
}
