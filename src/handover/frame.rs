//! A ticket through a connected Unix socket, with the descriptor of an anonymous segment.
//!
//! ```text
//! "rwh1"  length of the text, u16, little endian  text
//! ```
//!
//! The descriptor, if there is one, comes with the first byte. Exactly the frame is read, so
//! that both sides may go on to use the stream for something else.

use super::ticket::{MAX_TEXT, Ticket, Whereabouts};
use crate::error::{SetupError, SetupErrorKind};
use crate::segment::{Arrival, Segment};
use crate::sys::shm;
use crate::sys::socket::{self, Arrived};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

const MAGIC: [u8; 4] = *b"rwh1";

const ROOT: u32 = 0;

/// Sends the ticket, and with it the segment itself if it is an anonymous one.
pub(crate) fn send(stream: &UnixStream, ticket: &Ticket, segment: &Segment) -> Result<(), SetupError> {
    let peer = peer(stream)?;
    if peer != shm::user() && shm::user() != ROOT {
        return Err(SetupError::new(SetupErrorKind::ForeignPeer { user: peer }));
    }
    let passed = match ticket.place {
        Whereabouts::Named { .. } => None,
        _ => Some(segment.passable()?),
    };
    let text = ticket.to_string();
    let len = u16::try_from(text.len()).ok().filter(|len| usize::from(*len) <= MAX_TEXT);
    let len = len.ok_or_else(|| SetupError::new(SetupErrorKind::InvalidTicket { reason: "it is too long" }))?;
    let mut bytes = Vec::with_capacity(MAGIC.len() + 2 + text.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&len.to_le_bytes());
    bytes.extend_from_slice(text.as_bytes());
    socket::send(stream, &bytes, passed.as_ref().map(AsFd::as_fd).as_slice())
        .map_err(|e| SetupError::system("sending a handle", e))
}

/// Waits for a ticket. With that of an anonymous queue comes where it is to be had.
pub(crate) fn receive(stream: &UnixStream) -> Result<(Ticket, Option<Arrival>), SetupError> {
    let peer = peer(stream)?;
    if peer != shm::user() && peer != ROOT {
        return Err(SetupError::new(SetupErrorKind::ForeignPeer { user: peer }));
    }
    let invalid = |reason| SetupError::new(SetupErrorKind::InvalidTicket { reason });
    let receiving = |e| SetupError::system("receiving a handle", e);
    let mut arrived = Arrived::default();
    let mut head = [0; 6];
    socket::receive(stream, &mut head, &mut arrived).map_err(receiving)?;
    let [a, b, c, d, low, high] = head;
    let len = usize::from(u16::from_le_bytes([low, high]));
    if [a, b, c, d] != MAGIC || len > MAX_TEXT {
        return Err(invalid("what came through the socket is something else"));
    }
    let mut text = vec![0; len];
    socket::receive(stream, &mut text, &mut arrived).map_err(receiving)?;
    let text = std::str::from_utf8(&text).map_err(|_| invalid("it is not text"))?;
    let ticket: Ticket = text.parse()?;
    if arrived.cut_off {
        let reason = "its descriptor was cut off on the way: has this process too many open?";
        return Err(SetupError::unreachable(reason, None));
    }
    let mut passed = arrived.passed;
    match (&ticket.place, passed.pop(), passed.len()) {
        (Whereabouts::Named { .. }, None, _) => Ok((ticket, None)),
        (Whereabouts::Process { .. }, Some(fd), 0) => Ok((ticket, Some(Arrival::Received(fd)))),
        _ => Err(SetupError::unreachable("it came with none or too many descriptors", None)),
    }
}

fn peer(stream: &UnixStream) -> Result<u32, SetupError> {
    socket::peer(stream).map_err(|e| SetupError::system("asking who is at the other end of the socket", e))
}
