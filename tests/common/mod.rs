//! What the integration tests share: a directory of its own for every test, a
//! watchdog, and children that are this very test binary in another role.
//!
//! A child is started with [`Sandbox::child`]: the test binary executes itself
//! again with the role's name in the environment, and [`start_role`] runs the
//! role before the test harness gets to see anything. So a child has one thread,
//! prints nothing of the harness, and cannot start the tests again, whatever
//! happens in it. Every test crate lists its roles in `crate::ROLES`.

#![allow(unsafe_code)]
// Every test crate uses a part of this.
#![allow(dead_code)]

#[cfg(feature = "cli")]
pub mod bench;
pub mod content;
#[cfg(ringway_seeded)]
pub mod control;
pub mod holder;
pub mod ledger;
pub mod load;
pub mod notes;
pub mod refuse;
mod skip;

pub use skip::skip;
pub mod rest;
pub mod small;

use ringway::{Options, Side, WaitPolicy};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a child does, by name. It gets the arguments it was started with.
pub type Role = (&'static str, fn(&[String]));

/// Names the role of a child; nobody but [`Sandbox::command`] sets it.
const ROLE_VARIABLE: &str = "RINGWAY_TEST_ROLE";

/// Names the directory of a child's queues, see `ringway::Options::directory`.
pub const DIRECTORY_VARIABLE: &str = "RINGWAY_DIR";

/// Seconds after which a child ends itself, whatever its parent does.
const CHILD_LIMIT_S: u32 = 100;

/// The longest that one test may take, unless it says otherwise.
const TEST_LIMIT: Duration = Duration::from_secs(80);

/// What the environment variable says that asks for the long form of the tests.
pub fn is_long() -> bool {
    std::env::var_os("RINGWAY_LONG").is_some()
}

/// So many times these.
fn patience() -> u32 {
    if is_long() { 20 } else { 1 }
}

pub const SIDES: [Side; 2] = [Side::Multi, Side::Single];

/// The four combinations of sides: producers, consumers.
pub const MODES: [(Side, Side); 4] = [
    (Side::Multi, Side::Multi),
    (Side::Single, Side::Multi),
    (Side::Multi, Side::Single),
    (Side::Single, Side::Single),
];

// ---- children ----

#[used]
// SAFETY: the loader calls the functions listed in this section once, before
// `main`, after it has set up the C library.
#[unsafe(link_section = ".init_array")]
static START_ROLE: extern "C" fn() = start_role;

/// Runs the role of a child and ends the process; returns in any other process.
extern "C" fn start_role() {
    let Some(wanted) = std::env::var_os(ROLE_VARIABLE) else { return };
    // SAFETY: neither touches memory. A child goes with its parent, and in any
    // case after a while.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::alarm(CHILD_LIMIT_S * patience());
    }
    let role = crate::ROLES.iter().find(|(name, _)| *name == wanted);
    let Some((_, run)) = role else {
        eprintln!("there is no role {wanted:?}");
        std::process::exit(97);
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = std::panic::catch_unwind(|| run(&arguments));
    std::process::exit(if outcome.is_ok() { 0 } else { 101 });
}

/// How to start this test binary in a role, with its queues in `directory`. For a
/// child that starts children; a test has [`Sandbox::command`].
pub fn role_command(role: &str, arguments: &[&str], directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("a test knows its binary"));
    command.args(arguments).env(ROLE_VARIABLE, role).env(DIRECTORY_VARIABLE, directory);
    command
}

/// Says one line to the parent.
pub fn tell(line: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).expect("the parent listens");
}

/// Waits for one line of the parent's; empty if it has closed the pipe.
pub fn hear() -> String {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).expect("the parent's pipe can be read");
    line.trim_end().to_owned()
}

/// A child process; killed when it is dropped before it was waited for.
pub struct Child {
    process: std::process::Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Child {
    pub fn start(mut command: Command) -> Child {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a child can be started");
        let stdin = process.stdin.take();
        let stdout = BufReader::new(process.stdout.take().expect("it was piped"));
        Child { process, stdin, stdout }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the next line that the child says; empty if it ends instead.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("the child's pipe can be read");
        line.trim_end().to_owned()
    }

    /// Whether the child says something, or ends, within this time.
    pub fn speaks_within(&mut self, limit: Duration) -> bool {
        if !self.stdout.buffer().is_empty() {
            return true;
        }
        let mut asked = libc::pollfd { fd: self.stdout.get_ref().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: `asked` is a local, and is one.
        unsafe { libc::poll(&mut asked, 1, limit.as_millis() as i32) > 0 }
    }

    /// Waits until the child says exactly this.
    #[track_caller]
    pub fn expect(&mut self, line: &str) {
        assert_eq!(self.line(), line, "child {}", self.pid());
    }

    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("still open");
        writeln!(stdin, "{line}").expect("the child listens");
    }

    /// Waits for the end of the child, and says all that it had still to say.
    pub fn end(mut self) -> (ExitStatus, Vec<u8>) {
        self.stdin = None;
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).expect("the child's pipe can be read");
        (self.process.wait().expect("a child can be waited for"), rest)
    }

    /// As [`end`](Self::end), where only success will do.
    #[track_caller]
    pub fn succeed(self) -> Vec<u8> {
        let pid = self.pid();
        let (status, rest) = self.end();
        assert!(status.success(), "child {pid}: {status}\n{}", String::from_utf8_lossy(&rest));
        rest
    }

    /// Whether it has ended, by itself or not.
    pub fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("a child can be waited for").is_some()
    }

    /// SIGSTOP, and waits until it stands still.
    pub fn stop(&self) {
        let (pid, mut status) = (self.pid() as i32, 0);
        // SAFETY: `status` is ours to write; a stop is no end, so the child is still to be waited for.
        let waited = unsafe {
            libc::kill(pid, libc::SIGSTOP);
            libc::waitpid(pid, &mut status, libc::WUNTRACED)
        };
        assert!(waited == pid && libc::WIFSTOPPED(status), "child {pid} ended by itself: {status:#x}");
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        // SAFETY: touches no memory; the child was not waited for, so the number is its own.
        unsafe { libc::kill(self.pid() as i32, libc::SIGCONT) };
    }

    /// SIGKILL, and waits until the kernel has cleaned up after it.
    pub fn kill(mut self) {
        self.process.kill().expect("a child can be killed");
        self.process.wait().expect("a child can be waited for");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail if the child has been waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// ---- the sandbox ----

/// A test's own directory of named queues, watched: the process is aborted with
/// a message when the test takes too long, and the test fails when it leaves a
/// file behind.
///
/// One test at a time has one: they measure times, fill both processors, and a
/// child that one test starts would inherit what another has open just then.
pub struct Sandbox {
    directory: Option<tempfile::TempDir>,
    _watchdog: Watchdog,
    _turn: MutexGuard<'static, ()>,
}

static TURN: Mutex<()> = Mutex::new(());

impl Sandbox {
    pub fn new() -> Sandbox {
        Sandbox::with_limit(TEST_LIMIT * patience())
    }

    pub fn with_limit(limit: Duration) -> Sandbox {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::Builder::new().prefix("ringway-test-").tempdir_in("/dev/shm");
        let directory = directory.expect("/dev/shm can be written");
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        Sandbox { directory: Some(directory), _watchdog: Watchdog::start(test, limit), _turn: turn }
    }

    pub fn path(&self) -> &Path {
        self.directory.as_ref().expect("taken by drop only").path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Options for creating a queue here.
    pub fn options(&self, capacity: u64) -> Options {
        Options::new(capacity).directory(self.path())
    }

    /// The same, with both sides given.
    pub fn mode(&self, capacity: u64, (producers, consumers): (Side, Side)) -> Options {
        self.options(capacity).producers(producers).consumers(consumers)
    }

    /// Options for opening a queue here.
    pub fn here(&self) -> Options {
        Options::default().directory(self.path())
    }

    /// Names of the files in the directory.
    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path()).expect("the directory can be listed");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("listed").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// How to start this test binary in a role.
    pub fn command(&self, role: &str, arguments: &[&str]) -> Command {
        role_command(role, arguments, self.path())
    }

    /// A child of this test binary in a role, with its queues here.
    pub fn child(&self, role: &str, arguments: &[&str]) -> Child {
        Child::start(self.command(role, arguments))
    }

    /// Removes a name, through a child: `ringway::unlink` knows only `RINGWAY_DIR`.
    pub fn unlink(&self, name: &str) -> String {
        let mut child = self.child("unlink", &[name]);
        let said = child.line();
        child.succeed();
        said
    }
}

/// For the table of roles: removes a name and says how it went.
pub fn role_unlink(arguments: &[String]) {
    match ringway::unlink(&arguments[0]) {
        Ok(()) => tell("removed"),
        Err(error) => tell(format_args!("{:?}", error.kind())),
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        let left = self.files();
        if let Some(directory) = self.directory.take() {
            // Tests may have taken permissions away.
            let _ = directory.close();
        }
        if !std::thread::panicking() {
            assert!(left.is_empty(), "files are left in the directory: {left:?}");
        }
    }
}

/// Aborts the process unless it is dropped in time.
struct Watchdog {
    done: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watchdog {
    fn start(test: String, limit: Duration) -> Watchdog {
        let done = Arc::new((Mutex::new(false), Condvar::new()));
        let watched = Arc::clone(&done);
        let watch = move || {
            let (flag, changed) = &*watched;
            let guard = flag.lock().expect("nobody panics here");
            let (guard, _) = changed.wait_timeout_while(guard, limit, |done| !*done).expect("nobody panics here");
            if !*guard {
                eprintln!("{test} still runs after {limit:?}: giving up");
                std::process::abort();
            }
        };
        Watchdog { done, thread: Some(std::thread::spawn(watch)) }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.done.0.lock().expect("nobody panics here") = true;
        self.done.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// ---- waiting for events that have no handle ----

/// A descriptor of a child that is running, or has ended and was not waited for.
#[allow(unsafe_code)]
pub fn pidfd(pid: u32) -> std::os::fd::OwnedFd {
    use std::os::fd::FromRawFd;
    // SAFETY: the call touches no memory; the descriptor is ours alone.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        assert!(fd >= 0, "this kernel has pidfds");
        std::os::fd::OwnedFd::from_raw_fd(fd as i32)
    }
}

/// Looks until `ready` says yes; the sandbox's watchdog is the limit.
pub fn until(mut ready: impl FnMut() -> bool) {
    while !ready() {
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// This thread's id, for [`until_asleep`].
pub fn thread_id() -> i32 {
    // SAFETY: touches no memory.
    unsafe { libc::gettid() }
}

/// The kernel sends this process a signal after a while (below a second), and then every so often
/// (zero: once).
pub fn signal_after(signal: libc::c_int, first: Duration, every: Duration) {
    // SAFETY: the structs are valid as zeros, all pointers are to locals.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = signal;
        let mut timer: libc::timer_t = std::mem::zeroed();
        assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0);
        let mut when: libc::itimerspec = std::mem::zeroed();
        when.it_value.tv_nsec = first.subsec_nanos().into();
        when.it_interval.tv_nsec = every.subsec_nanos().into();
        assert_eq!(libc::timer_settime(timer, 0, &when, std::ptr::null_mut()), 0);
    }
}

/// Waits until a thread of this or another process sleeps in a futex.
pub fn until_asleep(process: u32, thread: i32) {
    until(|| is_asleep(process, thread));
}

/// Whether a thread sleeps in a futex: in two looks in a row, as the sleep of a
/// lock or an allocator may be passing.
pub fn is_asleep(process: u32, thread: i32) -> bool {
    let in_futex = || {
        let path = format!("/proc/{process}/task/{thread}/syscall");
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split(' ').next() == Some(&libc::SYS_futex.to_string())
    };
    in_futex() && {
        std::thread::sleep(Duration::from_millis(2));
        in_futex()
    }
}

/// Runs `f` and says how long it took.
pub fn timed<R>(f: impl FnOnce() -> R) -> (R, Duration) {
    let start = Instant::now();
    let result = f();
    (result, start.elapsed())
}

// ---- as command-line arguments ----

pub fn side_name(side: Side) -> &'static str {
    match side {
        Side::Single => "single",
        _ => "multi",
    }
}

pub const POLICIES: [&str; 3] = ["spin", "default", "park"];

pub fn policy_named(name: &str) -> WaitPolicy {
    match name {
        "spin" => WaitPolicy::Spin,
        "park" => WaitPolicy::Park,
        _ => WaitPolicy::default(),
    }
}

/// Whether this user may do everything; several tests can only be set up by root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

/// What kind of error this is.
#[track_caller]
pub fn kind<T: std::fmt::Debug>(result: Result<T, ringway::SetupError>) -> ringway::SetupErrorKind {
    let error = result.expect_err("this must fail");
    assert!(error.to_string().len() > 10, "an error says what happened and what to do: {error}");
    error.kind().clone()
}

/// Asserts that a value matches a pattern, and shows it if it does not.
#[macro_export]
macro_rules! assert_is {
    ($value:expr, $pattern:pat $(if $guard:expr)?) => {{
        let value = $value;
        assert!(matches!(&value, $pattern $(if $guard)?), "{value:?} is no {}", stringify!($pattern));
    }};
}
