//! What goes to a child and comes back.
//!
//! | file | written by | holds |
//! |---|---|---|
//! | start | the parent, before the child is there; sealed | [`Start`], then the arguments |
//! | reply | the child | a state, the length of what follows, an [`Outcome`] and what belongs to it |
//!
//! The reply's head is written after what it speaks of, so a child that is killed while it
//! writes has said nothing.
//!
//! The parent holds a lock on the reply (through a description that the child does not get) until it
//! has let go of the handles among the arguments: the child waits for that before it decodes
//! them, so the Single side of an end that was handed over is free by then.

use crate::sys::letter;
use crate::sys::lock::{self, Kind};
use crate::sys::shm::{self, Kept};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;

/// Changes with anything in this file.
pub(super) const VERSION: u32 = 1;

/// What a child must know before it runs anything.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) version: u32,
    /// Of the program that both run.
    pub(super) fingerprint: u64,
    /// Where in the program the entry is that decodes the arguments and calls the function.
    pub(super) entry: u64,
    /// Where the function is, if it came as a pointer.
    pub(super) pointer: Option<u64>,
    pub(super) name: String,
    pub(super) daemon: bool,
    pub(super) outlives: bool,
    pub(super) parent_name: String,
    pub(super) parent_pid: u32,
    pub(super) nice: Option<i32>,
    pub(super) affinity: Option<Vec<usize>>,
    /// Variables that it sets itself: a copy is not given any.
    pub(super) environment: Vec<(OsString, OsString)>,
    /// It is a fork server: what would be the reply is its socket.
    pub(super) serves: bool,
}

impl Start {
    /// The file that the child is started with.
    pub(super) fn seal(&self, arguments: &[u8]) -> io::Result<File> {
        let mut bytes = postcard::to_stdvec(self).map_err(io::Error::other)?;
        bytes.extend_from_slice(arguments);
        letter::sealed(&bytes)
    }

    /// What the parent has written, and the arguments.
    pub(super) fn open(file: &mut File) -> Result<(Start, Vec<u8>), String> {
        let bytes = letter::open(file).map_err(|error| error.to_string())?;
        let mut bytes = bytes.ok_or("what came with the start is something else")?;
        let (start, arguments) = postcard::take_from_bytes::<Start>(&bytes).map_err(|error| error.to_string())?;
        let len = bytes.len() - arguments.len();
        bytes.drain(..len);
        Ok((start, bytes))
    }
}

/// What has become of the function.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// Its result follows.
    Returned,
    Panicked {
        message: String,
        location: Option<String>,
    },
    ArgumentsUndecodable(String),
    ResultUnencodable(String),
    NotSetUp(String),
}

/// How far a child has come.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// It has not reached [`init`](crate::init), or was no child of ours at all.
    Nothing,
    Begun,
    /// With the bytes after the outcome.
    Done(Outcome, Vec<u8>),
}

const BEGUN: u64 = 0x6e75_6765_6200_0001;
const DONE: u64 = 0x656e_6f64_0000_0002;
const HEAD: u64 = 16;

/// Longest reply that is looked at, in bytes.
const MOST: u64 = 1 << 40;

/// Locked by the parent as long as it has the arguments.
const GATE_BYTE: u64 = 0;

/// The parent's side of the reply.
#[derive(Debug)]
pub(super) struct Mailbox(Kept);

impl Mailbox {
    /// And the file as the child gets it. `shut`: it waits until the gate is opened.
    pub(super) fn new(shut: bool) -> io::Result<(Mailbox, File)> {
        let own = letter::blank()?;
        if !shut {
            // One description serves both.
            let of_child = own.try_clone()?;
            return Ok((Mailbox(Kept::new(own)?), of_child));
        }
        // Of the locks on a description of its own the child knows nothing.
        let of_child = File::from(shm::above_the_streams(shm::reopen(&own)?.into())?);
        lock::try_lock(&own, GATE_BYTE, Kind::Exclusive)?;
        Ok((Mailbox(Kept::new(own)?), of_child))
    }

    pub(super) fn open(&self) {
        if self.0.is_intact() {
            lock::unlock(&*self.0, GATE_BYTE);
        }
    }

    /// A child that nobody knows, if there is one, is not to begin.
    pub(super) fn forbid(&self) {
        if self.0.is_intact() {
            let _ = letter::forbid(&self.0);
        }
    }

    pub(super) fn read(&self) -> io::Result<Progress> {
        if !self.0.is_intact() {
            return Err(closed());
        }
        let mut head = [0; HEAD as usize];
        let size = self.0.metadata()?.len();
        if size < HEAD {
            return Ok(Progress::Nothing);
        }
        self.0.read_exact_at(&mut head, 0)?;
        let word = |at: usize| head.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b));
        let len = word(8).min(size - HEAD);
        match word(0) {
            BEGUN => Ok(Progress::Begun),
            DONE if len <= MOST => {
                let len = usize::try_from(len).map_err(io::Error::other)?;
                let mut bytes = Vec::new();
                bytes.try_reserve_exact(len).map_err(io::Error::other)?;
                bytes.resize(len, 0);
                self.0.read_exact_at(&mut bytes, HEAD)?;
                match postcard::take_from_bytes::<Outcome>(&bytes) {
                    Ok((outcome, rest)) => Ok(Progress::Done(outcome, rest.to_vec())),
                    Err(_) => Ok(Progress::Begun),
                }
            }
            _ => Ok(Progress::Nothing),
        }
    }
}

/// The child's side.
pub(super) struct Reply(Kept);

/// Somebody has closed our descriptor, and its number may mean another file by now.
fn closed() -> io::Error {
    io::Error::from_raw_os_error(libc::EBADF)
}

impl Reply {
    pub(super) fn new(file: File) -> io::Result<Reply> {
        Kept::new(file).map(Reply)
    }

    fn head(&self, state: u64, len: u64) -> io::Result<()> {
        let mut head = [0; HEAD as usize];
        head[..8].copy_from_slice(&state.to_le_bytes());
        head[8..].copy_from_slice(&len.to_le_bytes());
        self.0.write_all_at(&head, 0)
    }

    /// Fails if the parent does not know of this child.
    pub(super) fn begin(&self) -> io::Result<()> {
        self.head(BEGUN, 0)
    }

    /// Waits until the parent has let go of the arguments, or has died.
    pub(super) fn wait_at_the_gate(&self) -> io::Result<()> {
        lock::wait_for(&*self.0, GATE_BYTE)
    }

    /// What has become of the function, and its result after that.
    pub(super) fn finish<R: Serialize>(&self, outcome: &Outcome, result: Option<&R>) -> Result<(), String> {
        let say = |error: io::Error| error.to_string();
        if !self.0.is_intact() {
            return Err(say(closed()));
        }
        self.0.set_len(HEAD).map_err(say)?;
        let mut file = BufWriter::new(&*self.0);
        file.seek(SeekFrom::Start(HEAD)).map_err(say)?;
        postcard::to_io(outcome, &mut file).map_err(|error| error.to_string())?;
        if let Some(result) = result {
            postcard::to_io(result, &mut file).map_err(|error| error.to_string())?;
        }
        let end = file.flush().and_then(|()| file.stream_position()).map_err(say)?;
        self.head(DONE, end - HEAD).map_err(say)
    }
}
