//! The parent's side of a start.
//!
//! | step | if this process dies here | if it fails here |
//! |---|---|---|
//! | encode the arguments, with participants for the child | those are dead participants, looked after like any | they are taken back |
//! | write them down, sealed | | |
//! | clone, execute | the child finds the parent dead as soon as it looks | no child: `System` |
//! | let go of the arguments, open the gate | the lock goes with us, the gate is open | |
//!
//! What the child does meanwhile: `startup`.

use super::builder::Arguments;
use super::child::Started;
use super::current::{current_process, parent_process};
use super::error::ProcessError;
use super::family::{self, family};
use super::message::{Mailbox, Start, VERSION};
use super::server::{self, Asked};
use super::startup::{self, VARIABLE};
use super::stream::Stream;
use crate::handover::{self, Item, Luggage};
use crate::sys::image::Image;
use crate::sys::mem::{PerProcess, generation};
use crate::sys::shm::Kept;
use crate::sys::spawn::{self, Plan, Spawned};
use crate::sys::{children, shm};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// What was asked for.
#[derive(Debug)]
pub(super) struct Order {
    entry: usize,
    pointer: Option<usize>,
    pub(super) name: Option<String>,
    pub(super) daemon: bool,
    pub(super) outlives: bool,
    pub(super) warm: bool,
    pub(super) environment: Vec<(OsString, OsString)>,
    pub(super) streams: [Stream; 3],
    pub(super) nice: Option<i32>,
    pub(super) affinity: Option<Vec<usize>>,
}

impl Order {
    pub(super) fn new(entry: usize, pointer: Option<usize>) -> Order {
        Order {
            entry,
            pointer,
            name: None,
            daemon: false,
            outlives: false,
            warm: false,
            environment: Vec::new(),
            streams: Default::default(),
            nice: None,
            affinity: None,
        }
    }
}

impl Order {
    fn check(&self) -> Result<(), ProcessError> {
        let invalid = |reason| Err(ProcessError::InvalidOptions { reason });
        for (name, value) in &self.environment {
            let (name, value) = (name.as_bytes(), value.as_bytes());
            if name.is_empty() || name.contains(&b'=') {
                return invalid("the name of a variable is empty or has a '='");
            }
            if name.contains(&0) || value.contains(&0) {
                return invalid("a variable has a NUL byte");
            }
            if name == VARIABLE.as_bytes() {
                return invalid("the variable RINGWAY_CHILD is ringway's own");
            }
        }
        Ok(())
    }
}

/// A child that runs, and waits at the gate.
pub(super) struct AtTheGate {
    pub(super) child: Arc<Started>,
    pub(super) gate: Gate,
}

/// The arguments are still here.
pub(super) struct Gate(Option<Arc<Started>>);

impl Drop for Gate {
    /// They are not any more.
    fn drop(&mut self) {
        if let Some(child) = &self.0 {
            child.mailbox.open();
        }
    }
}

pub(super) fn start(order: &Order, arguments: &dyn Arguments) -> Result<AtTheGate, ProcessError> {
    if !startup::is_ready() {
        return Err(ProcessError::NotInitialised);
    }
    let system = ProcessError::system;
    order.check()?;
    let program = program()?;
    let place = |address| program.image.offset_of(address).ok_or(ProcessError::NotThisProgram);
    let (entry, pointer) = (place(order.entry)?, order.pointer.map(place).transpose()?);
    let born = generation::current().map_err(system("detecting forks"))?;
    let family = family().ok_or(ProcessError::Forked)?;
    let name = order.name.clone().unwrap_or_else(|| usual_name(family.next()));
    let start = Start {
        version: VERSION,
        fingerprint: program.fingerprint,
        entry,
        pointer,
        name: name.clone(),
        daemon: order.daemon,
        outlives: order.outlives,
        parent_name: current_process().name().to_owned(),
        parent_pid: std::process::id(),
        nice: order.nice,
        affinity: order.affinity.clone(),
        environment: if order.warm { order.environment.clone() } else { Vec::new() },
        serves: false,
    };
    let (encoded, luggage) = handover::packing(|| arguments.encode());
    let Luggage { items: luggage, failure } = luggage;
    if let Some(error) = failure {
        return Err(ProcessError::Queue(error));
    }
    let encoded = encoded.map_err(|reason| ProcessError::ArgumentsUnencodable { reason })?;
    let writing = "writing to a memory file";
    let letter = start.seal(&encoded).map_err(system(writing))?;
    drop(encoded);
    let [stdin, stdout, stderr] = order.streams.each_ref().map(Stream::open);
    let opening = "opening a standard stream";
    let streams = [stdin.map_err(system(opening))?, stdout.map_err(system(opening))?, stderr.map_err(system(opening))?];
    let streams = streams.each_ref().map(|stream| stream.as_ref().map(AsFd::as_fd));
    let bags: Vec<BorrowedFd<'_>> = luggage.iter().map(AsFd::as_fd).collect();
    let is_shut = order.warm || !luggage.is_empty();
    let mailbox = || Mailbox::new(is_shut).map_err(system(writing));
    let (mailbox, spawned) = if order.warm {
        copied(&letter, mailbox, streams, &bags, &order.environment)?
    } else {
        let (mailbox, reply) = mailbox()?;
        (mailbox, execute(&letter, reply.as_fd(), &bags, streams, &order.environment))
    };
    let spawned = spawned.map_err(|error| {
        let doing = match error.raw_os_error() {
            // What valgrind says, and qemu; a kernel would not.
            Some(libc::ENOSYS | libc::EINVAL) => {
                "starting a process (which valgrind, qemu and other emulators do not support)"
            }
            _ => "starting a process",
        };
        system(doing)(error)
    })?;
    let pidfd = Kept::new(File::from(spawned.pidfd)).map_err(system("examining a pidfd"))?;
    drop(bags);
    luggage.into_iter().for_each(Item::delivered);
    let child = Arc::new(Started {
        name,
        daemon: order.daemon,
        outlives: order.outlives,
        pid: spawned.pid,
        pidfd,
        mailbox,
        status: Mutex::new(None),
        born,
    });
    family.add(&child);
    // Without a thread for it the queues look by themselves, and whoever starts or asks reaps.
    if crate::queue::watch_child(&*child.pidfd, family::after_a_death).is_err() {
        family.reap();
    }
    let gate = Gate(is_shut.then(|| Arc::clone(&child)));
    Ok(AtTheGate { child, gate })
}

/// Asks the fork server for a child; another one, if that is lost meanwhile. Where nothing can be copied,
/// the program is executed.
fn copied(
    letter: &File,
    mailbox: impl Fn() -> Result<(Mailbox, File), ProcessError>,
    streams: [Option<BorrowedFd<'_>>; 3],
    luggage: &[BorrowedFd<'_>],
    more: &[(OsString, OsString)],
) -> Result<(Mailbox, io::Result<Spawned>), ProcessError> {
    let serve = |socket: BorrowedFd<'_>, streams: [Option<BorrowedFd<'_>>; 3]| {
        let start = Start { serves: true, name: server::NAME.to_owned(), ..Start::default() };
        execute(&start.seal(&[])?, socket, &[], streams, &[])
    };
    let mut attempts = 0..2;
    loop {
        let (mailbox, reply) = mailbox()?;
        match server::ask(letter, &reply, streams, luggage, serve) {
            Ok(Asked::Made(spawned)) => return Ok((mailbox, Ok(spawned))),
            Ok(Asked::CannotCopy) => {
                let spawned = execute(letter, reply.as_fd(), luggage, streams, more);
                return Ok((mailbox, spawned));
            }
            Ok(Asked::Refused(error)) => return Ok((mailbox, Err(error))),
            Err(lost) => {
                mailbox.forbid();
                if attempts.next().is_none() {
                    return Ok((mailbox, Err(lost)));
                }
            }
        }
    }
}

/// Executes this program with what it needs to be a child.
fn execute(
    letter: &File,
    reply: BorrowedFd<'_>,
    luggage: &[BorrowedFd<'_>],
    streams: [Option<BorrowedFd<'_>>; 3],
    more: &[(OsString, OsString)],
) -> io::Result<Spawned> {
    let own = own_pidfd()?;
    let mut kept = vec![letter.as_fd(), reply, own.as_fd()];
    kept.extend_from_slice(luggage);
    let (arguments, environment) = (own_arguments(), environment(more));
    spawn::spawn(&Plan { arguments: &arguments, environment: &environment, token: token(&kept), streams, kept: &kept })
}

/// `Process-N`; of a child's children its name and the number.
fn usual_name(number: u64) -> String {
    match parent_process() {
        Some(_) => format!("{}:{number}", current_process().name()),
        None => format!("Process-{number}"),
    }
}

struct Program {
    image: Image,
    fingerprint: u64,
}

/// This program, if it can be executed again.
fn program() -> Result<&'static Program, ProcessError> {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let image = Image::of_this_process();
    if image.can_be_executed().map_err(ProcessError::system("reading /proc/self/exe"))? {
        let fingerprint = image.fingerprint();
        return Ok(PROGRAM.get_or_init(|| Program { image, fingerprint }));
    }
    let found = std::fs::read_link("/proc/self/exe");
    Err(ProcessError::NotExecutable { found: found.map_or_else(|e| e.to_string(), |path| path.display().to_string()) })
}

/// A pidfd of this process, for its children.
fn own_pidfd() -> io::Result<Arc<Kept>> {
    static OWN: PerProcess<Mutex<Option<Arc<Kept>>>> = PerProcess::new();
    let mut own = OWN.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kept) = own.as_ref().filter(|kept| kept.is_intact()) {
        return Ok(Arc::clone(kept));
    }
    let fresh = shm::above_the_streams(children::of_this_process()?)?;
    Ok(Arc::clone(own.insert(Arc::new(Kept::new(File::from(fresh))?))))
}

/// As this program was called.
fn own_arguments() -> Vec<CString> {
    let arguments: Vec<_> = std::env::args_os().filter_map(|text| CString::new(text.into_vec()).ok()).collect();
    if arguments.is_empty() { vec![c"ringway".to_owned()] } else { arguments }
}

/// This process' variables, with others in their place or after them.
fn environment(more: &[(OsString, OsString)]) -> Vec<CString> {
    let is_named = |name: &OsStr| name == VARIABLE || more.iter().any(|(other, _)| other == name);
    let ours = std::env::vars_os().filter(|(name, _)| !is_named(name));
    let last = |at: usize, name: &OsStr| more.iter().skip(at + 1).all(|(other, _)| other != name);
    let more = more.iter().enumerate().filter(|(at, (name, _))| last(*at, name)).map(|(_, pair)| pair.clone());
    let variables = ours.chain(more).map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat());
    variables.filter_map(|text| CString::new(text).ok()).collect()
}

/// Names what the child keeps; its pid is added by itself.
fn token(kept: &[BorrowedFd<'_>]) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let numbers: Vec<String> = kept.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
    format!("{VARIABLE}={}:", numbers.join(",")).into_bytes()
}
