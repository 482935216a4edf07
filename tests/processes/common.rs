//! What these tests share.

use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::time::{Duration, Instant};

/// A pipe that a process writes to: at its end when all have ended that inherited it.
pub struct Piped {
    reader: BufReader<PipeReader>,
    writer: Option<PipeWriter>,
}

impl Piped {
    pub fn new() -> Piped {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        Piped { reader: BufReader::new(reader), writer: Some(writer) }
    }

    /// For one child.
    pub fn writer(&mut self) -> PipeWriter {
        self.writer.take().expect("it is asked for once")
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a pipe can be read");
        line.trim_end().to_owned()
    }

    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).expect("a pipe can be read");
        rest
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

/// One that this process may use.
pub fn a_processor() -> usize {
    // SAFETY: plain data, which the call fills in.
    let set = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        set
    };
    // SAFETY: a number inside of the set.
    (0..libc::CPU_SETSIZE as usize).find(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).expect("it runs somewhere")
}
