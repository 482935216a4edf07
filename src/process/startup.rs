//! The child's side: from `main` to the function and to the exit.
//!
//! S1. A child is recognised by one environment variable that ends in its own pid, which nobody
//! but the one that executed it could write; in anything that inherits the variable it is
//! worthless, and it is removed at once where there is one thread. It names the descriptors that came along,
//! which no one else in the process knows.
//! S2. Nothing of the message is trusted before its fingerprint is that of this program; then its places are
//! those of functions of this program (FAILURES F8).
//! S3. From then on the parent's death ends this process, unless it may outlive it (F2, F3): a pidfd
//! of the parent came along, and a thread of its own waits for it. It tells the process to end, and ends
//! it if that does not help.
//! S4. The reply is written last. After it only the exit is left.

#![allow(unsafe_code)]

use super::current;
use super::function;
use super::message::{Outcome, Reply, Start, VERSION};
use super::server;
use crate::handover;
use crate::primitive::seeded;
use crate::sys::children;
use crate::sys::image::Image;
use crate::sys::own;
use crate::sys::pidfd::{self, Event};
use crate::sys::shm::Kept;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::cell::Cell;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// `RINGWAY_CHILD=START,REPLY,PARENT[,MORE...]:PID`
pub(super) const VARIABLE: &str = "RINGWAY_CHILD";

/// The exit code after a panic, as everywhere in Rust.
pub(super) const PANICKED: i32 = 101;
/// The exit code where the function was not reached, or its result could not be sent.
pub(super) const FAILED: i32 = 1;

/// How long a process may take to end after its parent has died.
const GRACE: Duration = Duration::from_millis(500);
/// How often it is asked where no descriptor says it.
const PAUSE: Duration = Duration::from_millis(200);

static IS_READY: AtomicBool = AtomicBool::new(false);

/// Makes this program able to start processes: the first line of `main`.
///
/// In a child it does not return: it runs the function there, and exits. In any other process it
/// only notes that it was called. Call it before anything that a child should not do too, and while
/// there is one thread. In a test crate use [`test_support!`](crate::test_support). Whoever forgets it
/// gets [`ProcessError::NotInitialised`](crate::ProcessError::NotInitialised), and no child:
///
/// ```
/// let mut process = ringway::Process::new(|| println!("never"), ());
/// let error = process.start().expect_err("nobody has called init");
/// assert!(matches!(error, ringway::ProcessError::NotInitialised));
/// ```
///
/// ```
/// fn main() -> Result<(), ringway::ProcessError> {
///     ringway::init();
///     let mut process = ringway::Process::new(|| println!("hello from a process"), ());
///     process.start()?;
///     process.join()?;
///     Ok(())
/// }
/// ```
pub fn init() {
    start_up();
}

/// Lets tests start processes: once in each test binary (each file under `tests/`; the library itself under
/// `#[cfg(test)]`), outside of any function.
///
/// The test harness has the `main` of a test binary, so this does before `main` what
/// [`init`](crate::init) does: a child runs its function and exits before the harness gets to see anything.
/// The function runs before Rust's own start-up then: a stack that overflows says nothing before it ends
/// the process.
///
/// ```standalone_crate
/// ringway::test_support!();
///
/// // One of the tests:
/// fn a_process_answers() -> Result<(), ringway::ProcessError> {
///     let mut process = ringway::Process::new(|| 42, ());
///     process.start()?;
///     assert_eq!(process.result()?, 42);
///     Ok(())
/// }
/// # fn main() { a_process_answers().unwrap() }
/// ```
#[macro_export]
macro_rules! test_support {
    () => {
        #[allow(unsafe_code)]
        const _: () = {
            #[used]
            // SAFETY: the loader calls the functions in this section once, before `main` and after it
            // has set up the C library.
            #[unsafe(link_section = ".init_array")]
            static START_UP: extern "C" fn() = $crate::start_up;
        };
    };
}

/// What [`init`] does, as the loader calls it.
#[doc(hidden)]
pub extern "C" fn start_up() {
    // A child may have children, too; it is one once.
    let again = IS_READY.swap(true, Ordering::Relaxed);
    if let Some(numbers) = inherited().filter(|_| !again) {
        let code = become_child(&numbers).unwrap_or_else(|reason| {
            eprintln!("ringway: this process was started as a child, but cannot be one: {reason}");
            FAILED
        });
        std::process::exit(code);
    }
}

pub(super) fn is_ready() -> bool {
    IS_READY.load(Ordering::Relaxed)
}

/// The descriptors of this child; none if this process is no child. (S1)
fn inherited() -> Option<Vec<RawFd>> {
    let token = std::env::var(VARIABLE).ok()?;
    let (numbers, pid) = token.split_once(':')?;
    if pid.parse() != Ok(std::process::id()) {
        return None;
    }
    numbers.split(',').map(|number| number.parse().ok()).collect()
}

fn become_child(numbers: &[RawFd]) -> Result<i32, String> {
    if own::is_alone() {
        // What this process executes in its place, with its pid, is no child.
        // SAFETY: there is no other thread.
        unsafe { std::env::remove_var(VARIABLE) };
    }
    // SAFETY: the one who executed this program says in a variable for this process alone that
    // they are there for us (S1), and this is done once in a process.
    let taken = numbers.iter().map(|number| unsafe { own::take_inherited(*number) });
    let mut taken = taken.collect::<Result<Vec<OwnedFd>, _>>().map_err(|error| error.to_string())?.into_iter();
    let mut next = || taken.next().ok_or("a descriptor is missing".to_owned());
    let (mut letter, reply, parent) = (File::from(next()?), File::from(next()?), File::from(next()?));
    let (start, arguments) = Start::open(&mut letter)?;
    drop(letter);
    if start.serves {
        own::set_name(&start.name);
        return server::serve(reply, parent);
    }
    run(start, arguments, reply, parent, taken.collect())
}

/// What a child does, executed or copied: the exit code.
pub(super) fn run(
    start: Start,
    arguments: Vec<u8>,
    reply: File,
    parent: File,
    luggage: Vec<OwnedFd>,
) -> Result<i32, String> {
    let image = Image::of_this_process();
    if start.version != VERSION || start.fingerprint != image.fingerprint() {
        return Err("its parent runs another program".to_owned());
    }
    // One that was executed has them anyway.
    if !start.environment.is_empty() && own::is_alone() {
        for (name, value) in &start.environment {
            // SAFETY: there is no other thread. The parent has looked at the names.
            unsafe { std::env::set_var(name, value) };
        }
    }
    // (S2)
    let address = |offset| image.address_of(offset).map(|address| address as *const ()).ok_or("no such function");
    let entry = address(start.entry)?;
    let pointer = start.pointer.map(address).transpose()?;
    // (S3)
    let watched = if start.outlives || seeded(71) { Ok(()) } else { end_with(&parent) };
    own::set_name(&start.name);
    crate::event::set_process(&start.name);
    current::is_child(&start, parent);
    let reply = Reply::new(reply).map_err(|error| error.to_string())?;
    let reply = REPLY.get_or_init(|| reply);
    std::panic::set_hook(Box::new(report_panic));
    let set_up = watched.map_err(|error| format!("the thread that waits for its parent's death: {error}"));
    let set_up = set_up
        .and_then(|()| start.nice.map_or(Ok(()), own::be_nicer).map_err(|error| format!("its priority: {error}")));
    let set_up = set_up.and_then(|()| {
        start.affinity.as_deref().map_or(Ok(()), own::run_on).map_err(|error| format!("its processors: {error}"))
    });
    let gate = reply.wait_at_the_gate().and_then(|()| reply.begin());
    if gate.is_err() {
        // Its parent does not know that it is there. (V3)
        return Ok(FAILED);
    }
    if let Err(reason) = set_up {
        return Ok(reply.finish(&Outcome::NotSetUp(reason), None::<&()>).map_or(FAILED, |()| FAILED));
    }
    // SAFETY: the place came from a process that runs this program (the fingerprint), and is that of an
    // entry there: `start` sends no other.
    let entry = unsafe { function::entry_at(entry) };
    Ok(entry(Errand { arguments, luggage, pointer, reply }))
}

/// What the child is there for.
pub(super) struct Errand {
    arguments: Vec<u8>,
    luggage: Vec<OwnedFd>,
    pointer: Option<*const ()>,
    reply: &'static Reply,
}

impl Errand {
    pub(super) fn pointer(&self) -> Option<*const ()> {
        self.pointer
    }

    /// Decodes the arguments, calls the function, sends what comes of it: the exit code.
    pub(super) fn run<A: DeserializeOwned, R: Serialize>(self, function: impl FnOnce(A) -> R) -> i32 {
        let Errand { arguments, luggage, reply, .. } = self;
        let returned = catch(|| {
            let decoded = handover::unpacking(luggage, || postcard::from_bytes::<A>(&arguments));
            drop(arguments);
            decoded.map(function)
        });
        let (outcome, code) = match returned {
            Ok(Ok(result)) => match send(reply, &result) {
                Ok(()) => return 0,
                Err(outcome) => (outcome, FAILED),
            },
            Ok(Err(error)) => (Outcome::ArgumentsUndecodable(error.to_string()), FAILED),
            Err(Panic { message, location }) => (Outcome::Panicked { message, location }, PANICKED),
        };
        if let Err(reason) = reply.finish(&outcome, None::<&()>) {
            eprintln!("ringway: {} could not reply: {reason}", current::current_process().name());
        }
        code
    }
}

/// (S4)
fn send<R: Serialize>(reply: &Reply, result: &R) -> Result<(), Outcome> {
    match catch(|| reply.finish(&Outcome::Returned, Some(result))) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(Outcome::ResultUnencodable(reason)),
        Err(panic) => Err(Outcome::ResultUnencodable(panic.message)),
    }
}

// ---- panics ----

static REPLY: OnceLock<Reply> = OnceLock::new();

thread_local! {
    /// What the hook was told, and where.
    static LAST_PANIC: Cell<Option<(String, String)>> = const { Cell::new(None) };
}

fn message_of(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("(no text)").to_owned()
}

/// A panic that was caught.
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) location: Option<String>,
}

/// Calls it, in a child.
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|payload| {
        let message = message_of(&*payload);
        // A hook of the user's, or `resume_unwind`: ours saw another panic, or none.
        let location = LAST_PANIC.take().filter(|(said, _)| *said == message).map(|(_, location)| location);
        Panic { message, location }
    })
}

fn report_panic(info: &PanicHookInfo<'_>) {
    let message = message_of(info.payload());
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let process = current::current_process();
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    let trace = match backtrace.status() {
        std::backtrace::BacktraceStatus::Captured => format!("\n{backtrace}"),
        _ => String::new(),
    };
    // In one piece: other processes write there too.
    let text = format!(
        "process '{}' (pid {}), thread '{}' panicked at {location}:\n{message}{trace}\n",
        process.name(),
        process.pid(),
        thread.name().unwrap_or("main"),
    );
    let _ = std::io::stderr().write_all(text.as_bytes());
    if cfg!(panic = "abort")
        && let Some(reply) = REPLY.get()
    {
        let location = Some(location.clone());
        let _ = reply.finish(&Outcome::Panicked { message: message.clone(), location }, None::<&()>);
    }
    LAST_PANIC.set(Some((message, location)));
}

// ---- the parent's death ----

/// Ends this process when that one has died. (S3)
fn end_with(parent: &File) -> std::io::Result<()> {
    let parent = Kept::new(parent.try_clone()?)?;
    own::start_bare_thread(wait_for_the_end, (parent, own::parent()))
}

/// `before`: the number of the parent.
fn wait_for_the_end((parent, before): (Kept, i32)) {
    loop {
        if parent.is_intact() {
            match pidfd::wait_for(parent.as_fd()) {
                // On older kernels the number could mean another file by now, unnoticed.
                Ok(Event::Readable) if pidfd::is_pidfd(&*parent) => break,
                Ok(Event::Nothing) => continue,
                _ => {}
            }
        }
        // Somebody has closed our descriptors.
        std::thread::sleep(PAUSE);
        if own::parent() != before {
            break;
        }
    }
    if let Ok(me) = children::of_this_process() {
        let _ = children::signal(&me, libc::SIGTERM);
        std::thread::sleep(GRACE);
        let _ = children::signal(&me, libc::SIGKILL);
    }
    std::process::abort();
}
