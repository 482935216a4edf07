//! What one invocation owns: a directory for its queues, and the processors to
//! pin to.
//!
//! The directory is removed at the end, on Ctrl-C too. It is locked as long as
//! its owner lives; whoever starts later removes those that nobody locks (their
//! owners were killed). Knows nothing of cells and runs.

#![allow(unsafe_code)]

use anyhow::{Context, Result};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

const PREFIX: &str = "ringway-bench-";

pub struct Workspace {
    pub directory: PathBuf,
    lock: Option<Flock<File>>,
    /// In the order of their use; empty: do not pin.
    pub cpus: Vec<usize>,
}

impl Workspace {
    pub fn new() -> Result<Workspace> {
        let base = std::env::var_os("RINGWAY_DIR").map_or_else(|| PathBuf::from("/dev/shm"), PathBuf::from);
        remove_abandoned(&base);
        let directory = base.join(format!("{PREFIX}{}", std::process::id()));
        DirBuilder::new()
            .recursive(!base.exists())
            .mode(0o700)
            .create(&directory)
            .with_context(|| format!("making the directory {} for the queues", directory.display()))?;
        let lock = lock(&directory);
        if lock.is_none() {
            let _ = fs::remove_dir(&directory);
            anyhow::bail!("{} cannot be locked", directory.display());
        }
        Ok(Workspace { directory, lock, cpus: processors() })
    }

    pub fn pinned(&self) -> bool {
        !self.cpus.is_empty()
    }

    /// Where process `index` of a side runs, of `first` + `second`. With enough
    /// processors each has its own; else both sides are spread over all.
    pub fn cpu(&self, second_side: bool, index: u32, (first, second): (u32, u32)) -> Option<usize> {
        if self.cpus.is_empty() {
            return None;
        }
        let offset = match second_side {
            false => 0,
            true if (first + second) as usize <= self.cpus.len() => first,
            true => 1,
        };
        Some(self.cpus[(offset + index) as usize % self.cpus.len()])
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
        drop(self.lock.take());
    }
}

fn lock(directory: &Path) -> Option<Flock<File>> {
    Flock::lock(File::open(directory).ok()?, FlockArg::LockExclusiveNonblock).ok()
}

/// Removes directories of killed invocations; errors do not matter (others may
/// be doing the same, or they are not ours).
fn remove_abandoned(base: &Path) {
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| {
            name.strip_prefix(PREFIX).is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit()))
        });
        // The lock says that its owner is dead; the age, that it is not one that
        // is just being made.
        let old = entry.metadata().and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        if ours && old.is_some_and(|age| age.as_secs() >= 2) && lock(&entry.path()).is_some() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The processors that we may use, one of each core first; none if there are not two.
fn processors() -> Vec<usize> {
    // SAFETY: a cpu_set_t is a plain bit mask; all zeros is the empty one.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid and of the stated size; 0 is this process.
    if unsafe { libc::sched_getaffinity(0, size_of_val(&set), &mut set) } != 0 {
        return Vec::new();
    }
    // SAFETY: the index is inside the set.
    let allowed = (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) });
    let with_siblings = allowed.map(|cpu| (cpu, siblings(cpu))).collect::<Vec<_>>();
    let cpus = cores_first(&with_siblings);
    if cpus.len() < 2 { Vec::new() } else { cpus }
}

/// The text that names the hardware threads of this processor's core.
fn siblings(cpu: usize) -> String {
    let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
    fs::read_to_string(path).unwrap_or_else(|_| cpu.to_string())
}

/// One hardware thread of every core, then the others.
fn cores_first(processors: &[(usize, String)]) -> Vec<usize> {
    let mut seen = Vec::new();
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for (cpu, core) in processors {
        if seen.contains(&core) {
            rest.push(*cpu);
        } else {
            seen.push(core);
            first.push(*cpu);
        }
    }
    first.extend(rest);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_of_one_core_come_last() {
        let threads = [(0, "0-1".to_owned()), (1, "0-1".to_owned()), (2, "2-3".to_owned()), (3, "2-3".to_owned())];
        assert_eq!(cores_first(&threads), [0, 2, 1, 3]);
    }

    #[test]
    fn processes_are_spread() {
        let workspace = |cpus| Workspace { directory: PathBuf::from("/nonexistent/ringway"), lock: None, cpus };
        let two = workspace(vec![0, 1]);
        assert_eq!((two.cpu(false, 0, (1, 1)), two.cpu(true, 0, (1, 1))), (Some(0), Some(1)));
        let spread = |side| (0..4).map(|k| two.cpu(side, k, (4, 4)).unwrap()).collect::<Vec<_>>();
        assert_eq!((spread(false), spread(true)), (vec![0, 1, 0, 1], vec![1, 0, 1, 0]));
        let four = workspace(vec![4, 5, 6, 7]);
        assert_eq!((four.cpu(false, 1, (2, 2)), four.cpu(true, 1, (2, 2))), (Some(5), Some(7)));
        assert_eq!(workspace(vec![]).cpu(true, 0, (1, 1)), None);
    }
}
