//! Nothing hangs, nothing stays: the private directory under `/dev/shm`, the
//! child processes, Ctrl-C, and the watchdog.

use crate::control::Control;
use crate::cpus::now;
use nix::fcntl::{Flock, FlockArg};
use nix::mqueue::mq_unlink;
use nix::sys::statvfs::statvfs;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

const SHARED_MEMORY: &str = "/dev/shm";
const PREFIX: &str = "ringway-compare-";
/// How names of files end that hold the name of a shared memory which somebody made up.
pub const LINK: &str = ".link";
/// The same of POSIX message queues.
pub const QUEUE: &str = ".mq";
/// How long one measurement may take before everything is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an interrupted run may take to write what there is.
const FAREWELL: Duration = Duration::from_secs(3);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static DEADLINE: AtomicU64 = AtomicU64::new(u64::MAX);
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());
static CONTROL: Mutex<Option<Arc<Control>>> = Mutex::new(None);
static DIRECTORY: OnceLock<PathBuf> = OnceLock::new();

/// The whole run's guard; dropping it removes what is left.
pub struct Guard {
    _lock: Flock<File>,
}

impl Guard {
    pub fn new() -> io::Result<Guard> {
        sweep();
        let path = Path::new(SHARED_MEMORY).join(format!("{PREFIX}{}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        let lock = Flock::lock(File::open(&path)?, FlockArg::LockExclusiveNonblock).map_err(|(_, e)| e)?;
        let _ = DIRECTORY.set(path);
        ctrlc::set_handler(interrupt).map_err(io::Error::other)?;
        std::thread::spawn(watch);
        Ok(Guard { _lock: lock })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        clean_up();
    }
}

/// Where the queues of this run live.
pub fn directory() -> &'static Path {
    DIRECTORY.get().map_or(Path::new(SHARED_MEMORY), PathBuf::as_path)
}

/// Bytes that shared memory has left. None: it has no limit, or does not say.
pub fn room() -> Option<u64> {
    let stat = statvfs(SHARED_MEMORY).ok().filter(|stat| stat.blocks() > 0)?;
    Some(stat.blocks_available() * stat.fragment_size())
}

/// A name directly under `/dev/shm`, for those who cannot use a directory.
pub fn shared_memory_name(id: &str) -> String {
    format!("{PREFIX}{}-{id}", std::process::id())
}

/// Ctrl-C was pressed: finish early.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// Children started by this run, to be ended with it.
pub fn children() -> MutexGuard<'static, Vec<Child>> {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a program to its end, which an interrupted run brings about.
pub fn output(command: &mut Command) -> io::Result<Output> {
    output_with(command, |_| {})
}

fn output_with(command: &mut Command, started: impl FnOnce(u32)) -> io::Result<Output> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (mut stdout, mut stderr, pid) = {
        let mut children = children();
        let mut child = command.spawn()?;
        let (stdout, stderr, pid) = (child.stdout.take(), child.stderr.take(), child.id());
        children.push(child);
        (stdout, stderr, pid)
    };
    started(pid);
    let mut said = Vec::new();
    let errors = std::thread::spawn(move || {
        let mut said = Vec::new();
        let _ = stderr.as_mut().map(|pipe| pipe.read_to_end(&mut said));
        said
    });
    let _ = stdout.as_mut().map(|pipe| pipe.read_to_end(&mut said));
    let stderr = errors.join().unwrap_or_default();
    let child = {
        let mut children = children();
        children.iter().position(|child| child.id() == pid).map(|at| children.swap_remove(at))
    };
    let status = child.ok_or_else(|| io::Error::other("it was ended"))?.wait()?;
    Ok(Output { status, stdout: said, stderr })
}

/// The same of a program that is killed when it takes too long.
pub fn output_within(limit: Duration, command: &mut Command) -> io::Result<Output> {
    let (ended, end) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let output = output_with(command, |pid| {
            scope.spawn(move || {
                if end.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    children().iter_mut().filter(|child| child.id() == pid).for_each(|child| drop(child.kill()));
                }
            });
        });
        drop(ended);
        output
    })
}

/// Removes the files of one measurement, whatever a rival has left there.
pub fn remove_files(id: &str) {
    let prefix = format!("{id}-");
    for entry in fs::read_dir(directory()).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_its = name.to_str().is_some_and(|name| name.starts_with(&prefix));
        if is_its && entry.file_type().is_ok_and(|kind| !kind.is_dir()) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Kills and reaps all children.
pub fn end_children() {
    for mut child in children().drain(..) {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// One measurement under watch, with the block that can stop its workers.
pub struct Watched;

impl Watched {
    pub fn new(control: &Arc<Control>) -> Watched {
        *CONTROL.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(control));
        DEADLINE.store(now() + PATIENCE.as_nanos() as u64, Ordering::Relaxed);
        Watched
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        DEADLINE.store(u64::MAX, Ordering::Relaxed);
        *CONTROL.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn watch() {
    loop {
        std::thread::sleep(Duration::from_millis(250));
        if now() > DEADLINE.load(Ordering::Relaxed) {
            eprintln!("compare: a measurement did not end within {} s; giving up", PATIENCE.as_secs());
            clean_up();
            std::process::exit(1);
        }
    }
}

/// Runs on a thread of its own.
fn interrupt() {
    INTERRUPTED.store(true, Ordering::Relaxed);
    if let Some(control) = &*CONTROL.lock().unwrap_or_else(PoisonError::into_inner) {
        control.abort();
    }
    for child in children().iter_mut() {
        let _ = child.kill();
    }
    std::thread::sleep(FAREWELL);
    clean_up();
    std::process::exit(130);
}

fn clean_up() {
    end_children();
    if let Some(directory) = DIRECTORY.get() {
        remove(directory);
    }
}

/// A name directly under `/dev/shm`, if it is still there.
pub fn remove_shared_memory(name: &str) {
    let name = name.trim_start_matches('/');
    if !name.is_empty() && !name.contains('/') && !name.starts_with('.') {
        let _ = fs::remove_file(Path::new(SHARED_MEMORY).join(name));
    }
}

/// A run's directory, and the names that stand beside it.
fn remove(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ends = |end| name.to_str().is_some_and(|name| name.ends_with(end));
        if ends(LINK) {
            remove_shared_memory(fs::read_to_string(entry.path()).unwrap_or_default().trim());
        } else if ends(QUEUE) {
            let _ = mq_unlink(fs::read_to_string(entry.path()).unwrap_or_default().as_str());
        }
    }
    let _ = fs::remove_dir_all(directory);
    let Some(own) = directory.file_name().and_then(|name| name.to_str()) else { return };
    // The second are the semaphores of a rival.
    let prefixes = [format!("{own}-"), format!("sem.ct3ip.{own}-")];
    for entry in fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
        let starts = |name: &str| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if entry.file_name().to_str().is_some_and(starts) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes what earlier runs left that were killed: directories that nobody
/// locks. A young one may belong to a run that is about to lock it.
fn sweep() {
    const YOUNG: Duration = Duration::from_secs(10);
    for entry in fs::read_dir(SHARED_MEMORY).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        let Ok(metadata) = entry.metadata() else { continue };
        let age = metadata.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok());
        if !ours || !metadata.is_dir() || age.is_none_or(|age| age < YOUNG) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
            remove(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_end_is_ended() {
        let program = |seconds| output_within(Duration::from_millis(500), Command::new("sleep").arg(seconds));
        let start = now();
        assert!(!program("60").expect("a program").status.success());
        assert!(now() - start < 30_000_000_000);
        assert!(program("0").expect("a program").status.success());
    }
}
