//! The fork server: for those who start many.
//!
//! V1. It is this program, executed again before it has any thread and with nothing open but a
//! socket to its parent and a pidfd of it. It runs nothing of the user's.
//! V2. Asked for a child, it copies itself; the copy belongs to the server's parent (`CLONE_PARENT`),
//! which gets the pidfd: from then on nothing tells it from a child that was executed.
//! V3. The copy waits at the gate until the parent has its pidfd. If the server dies before it could
//! send that, the parent forbids the reply: the function does not run.
//! V4. It ends when its parent has died or has closed the socket.
//!
//! A request is a head, and descriptors: the start message, the reply, three standard streams, and
//! what goes along with the arguments. The answer is a pid or an error number, and a pidfd.

#![allow(unsafe_code)]

use super::message::Start;
use super::startup;
use crate::sys::children;
use crate::sys::mem::PerProcess;
use crate::sys::own;
use crate::sys::pidfd::{self, Event};
use crate::sys::shm::{self, Kept};
use crate::sys::socket::{self, Arrived, MOST_PASSED};
use crate::sys::spawn::{self, Spawned};
use crate::wait::Deadline;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the answer to a request may take. A server that is stopped for longer is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// The start message, the reply, three streams.
const FIXED: usize = 5;

type Head = [u8; 4];
type Answer = [u8; 8];

/// What it is called.
pub(super) const NAME: &str = "ringway-server";

/// The answer where the server has threads: somebody has started one before `init`.
const CANNOT_COPY: i32 = libc::ENOTSUP;

/// What has come of a request.
pub(super) enum Asked {
    Made(Spawned),
    /// There is no child.
    Refused(io::Error),
    /// There is none, and never will be: the program is to be executed.
    CannotCopy,
}

/// The parent's end.
struct Server {
    socket: UnixStream,
    /// What the socket was: somebody may close it, and its number come to mean something else.
    place: Kept,
    pidfd: Kept,
}

static SERVER: PerProcess<Mutex<Option<Server>>> = PerProcess::new();

/// Has the server make a child, with these descriptors. It waits at the gate. (V2)
///
/// An error: the server was lost meanwhile, and nobody knows whether there is a child: it is not to
/// begin. (V3)
pub(super) fn ask(
    letter: &File,
    reply: &File,
    streams: [Option<BorrowedFd<'_>>; 3],
    luggage: &[BorrowedFd<'_>],
    execute: impl Fn(BorrowedFd<'_>, [Option<BorrowedFd<'_>>; 3]) -> io::Result<Spawned>,
) -> io::Result<Asked> {
    if !spawn::CAN_COPY {
        return Ok(Asked::CannotCopy);
    }
    let mut server = SERVER.get()?.lock().unwrap_or_else(PoisonError::into_inner);
    if !server.as_ref().is_some_and(Server::is_there) {
        // One that has died is reaped here.
        if let Some(dead) = server.take() {
            dead.end();
        }
        *server = match Server::start(execute) {
            Ok(started) => Some(started),
            Err(error) => return Ok(Asked::Refused(error)),
        };
    }
    let Some(there) = server.as_ref() else { return Err(io::ErrorKind::NotConnected.into()) };
    let null = match null() {
        Ok(null) => null,
        Err(error) => return Ok(Asked::Refused(error)),
    };
    let (input, output, error) = (io::stdin(), io::stdout(), io::stderr());
    let ours = [input.as_fd(), output.as_fd(), error.as_fd()];
    let mut passed = vec![letter.as_fd(), reply.as_fd()];
    // One of ours that is closed is nothing there, too.
    let or_null = |own| if shm::stat(own).is_ok() { own } else { null.as_fd() };
    passed.extend(streams.into_iter().zip(ours).map(|(asked, own)| asked.unwrap_or_else(|| or_null(own))));
    passed.extend_from_slice(luggage);
    let answer = there.ask(&passed);
    if answer.is_err()
        && let Some(lost) = server.take()
    {
        // What it was about to say belongs to nobody any more.
        lost.end();
    }
    answer
}

/// Somebody has died: if it was the server, it does not stay as a zombie.
pub(super) fn after_a_death() {
    // Whoever asks just now looks itself.
    if let Ok(server) = SERVER.get()
        && let Ok(mut server) = server.try_lock()
        && server.as_ref().is_some_and(|server| !server.is_there())
        && let Some(dead) = server.take()
    {
        dead.end();
    }
}

fn null() -> io::Result<OwnedFd> {
    shm::above_the_streams(File::options().read(true).write(true).open("/dev/null")?.into())
}

impl Server {
    /// `execute` starts this program with a socket as its reply.
    fn start(
        execute: impl Fn(BorrowedFd<'_>, [Option<BorrowedFd<'_>>; 3]) -> io::Result<Spawned>,
    ) -> io::Result<Server> {
        let (socket, of_server) = UnixStream::pair()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let of_server = shm::above_the_streams(of_server.into())?;
        let (place, null) = (Kept::new(File::from(OwnedFd::from(socket.try_clone()?)))?, null()?);
        // It keeps nothing of the family's open.
        let spawned = execute(of_server.as_fd(), [Some(null.as_fd()); 3])?;
        let server = Server { socket, place, pidfd: Kept::new(File::from(spawned.pidfd))? };
        // Its death is noticed, also if nobody asks it any more.
        let _ = crate::queue::watch_child(&*server.pidfd, super::family::after_a_death);
        Ok(server)
    }

    fn is_there(&self) -> bool {
        self.place.is(&self.socket) && self.pidfd.is_intact() && matches!(children::has_died(&*self.pidfd), Ok(false))
    }

    /// An error: it is not to be asked again.
    fn ask(&self, passed: &[BorrowedFd<'_>]) -> io::Result<Asked> {
        let count = u16::try_from(passed.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        // There must be room for the pidfd that comes.
        let room = match self.pidfd.try_clone() {
            Ok(room) => room,
            Err(error) => return Ok(Asked::Refused(error)),
        };
        let [low, high] = count.to_le_bytes();
        let head: Head = [b'r', b'w', low, high];
        let mut chunks = passed.chunks(MOST_PASSED);
        socket::send(&self.socket, &head, chunks.next().unwrap_or_default())?;
        for chunk in chunks {
            socket::send(&self.socket, &[0], chunk)?;
        }
        // It answers, or it dies, or it is given up. (FAILURES F7)
        let deadline = Deadline::after(PATIENCE);
        loop {
            let both = [self.socket.as_fd(), self.pidfd.as_fd()];
            match pidfd::wait_for_any(&both, deadline.milliseconds())?.as_slice() {
                [Event::Readable, _] => break,
                [Event::Nothing, Event::Nothing] if deadline.passed() => return Err(io::ErrorKind::TimedOut.into()),
                [Event::Nothing, Event::Nothing] => {}
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
        }
        drop(room);
        let (mut answer, mut arrived): (Answer, Arrived) = Default::default();
        socket::receive(&self.socket, &mut answer, &mut arrived)?;
        let [a, b, c, d, rest @ ..] = answer;
        let (pid, error) = (u32::from_le_bytes([a, b, c, d]), i32::from_le_bytes(rest));
        match (error, arrived.passed.pop()) {
            (0, Some(pidfd)) => Ok(Asked::Made(Spawned { pid, pidfd })),
            // Another thread has taken the room: there is a child, and nobody knows it.
            (0, None) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
            (CANNOT_COPY, _) => Ok(Asked::CannotCopy),
            (error, _) => Ok(Asked::Refused(io::Error::from_raw_os_error(error))),
        }
    }

    /// Ends it, and reaps it.
    fn end(self) {
        if self.pidfd.is_intact() {
            let _ = children::signal(&*self.pidfd, libc::SIGKILL);
            let _ = children::reap(&*self.pidfd, true);
        }
        if !self.place.is(&self.socket) {
            // Its number is another's.
            std::mem::forget(self.socket);
        }
    }
}

/// The server's side. Returns in a copy only: the exit code of that. (V1)
pub(super) fn serve(socket: File, parent: File) -> Result<i32, String> {
    let socket = OwnedFd::from(socket);
    loop {
        let events = pidfd::wait_for_any(&[socket.as_fd(), parent.as_fd()], None);
        match events.map_err(|error| error.to_string())?.as_slice() {
            // (V4)
            [_, Event::Readable | Event::Gone] => return Ok(0),
            [Event::Nothing, _] => continue,
            _ => {}
        }
        let mut arrived = Arrived::default();
        if receive(&socket, &mut arrived).is_err() {
            return Ok(0);
        }
        let complete = !arrived.cut_off && arrived.passed.len() >= FIXED;
        let copied = match (complete, own::is_alone()) {
            // SAFETY: there is one thread, and the server starts none.
            (true, true) => unsafe { spawn::copy_for_parent() },
            (true, false) => Err(io::Error::from_raw_os_error(CANNOT_COPY)),
            (false, _) => Err(io::Error::from_raw_os_error(libc::EMFILE)),
        };
        match copied {
            Ok(None) => {
                drop(socket);
                return begin(arrived.passed, parent);
            }
            Ok(Some(spawned)) => answer(&socket, spawned.pid, 0, &[spawned.pidfd.as_fd()]),
            Err(error) => answer(&socket, 0, error.raw_os_error().unwrap_or(libc::EAGAIN), &[]),
        }
        .map_err(|error| error.to_string())?;
    }
}

fn receive(socket: &OwnedFd, arrived: &mut Arrived) -> io::Result<()> {
    let mut head = Head::default();
    socket::receive(socket, &mut head, arrived)?;
    let [_, _, low, high] = head;
    let chunks = usize::from(u16::from_le_bytes([low, high])).div_ceil(MOST_PASSED);
    for _ in 1..chunks {
        socket::receive(socket, &mut [0], arrived)?;
    }
    Ok(())
}

fn answer(socket: &OwnedFd, pid: u32, error: i32, passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let [a, b, c, d] = pid.to_le_bytes();
    let [e, f, g, h] = error.to_le_bytes();
    let answer: Answer = [a, b, c, d, e, f, g, h];
    socket::send(socket, &answer, passed)
}

/// In a copy: what a child does that was executed.
fn begin(descriptors: Vec<OwnedFd>, parent: File) -> Result<i32, String> {
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or("a descriptor is missing".to_owned());
    let (letter, reply) = (next()?, next()?);
    for stream in 0..3 {
        let asked = next()?;
        spawn::become_stream(asked.as_fd(), stream).map_err(|error| error.to_string())?;
    }
    let mut letter = File::from(letter);
    let (start, arguments) = Start::open(&mut letter)?;
    drop(letter);
    startup::run(start, arguments, File::from(reply), parent, descriptors.collect())
}
