//! The ticket of a handle: plain data, one line of text.
//!
//! ```text
//! rw1:IDENTITY:/DIRECTORY/NAME      a name
//! rw1:IDENTITY:PID/FD               a descriptor of a process
//! rw1:IDENTITY:inherited/FD         a descriptor that a child inherits
//! ```
//!
//! and after that `:gone` or `:stay` where the handle does other than is usual when its
//! peers are gone, `:given=N/INDEX` where a participant of that index goes along as the Nth
//! descriptor of a child's start, and `:type=T` where the type is called otherwise in the segment.
//! In paths and types, what is not plain is `%XX`.

use crate::error::{SetupError, SetupErrorKind};
use crate::segment::SegmentName;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::str::FromStr;

const VERSION: &str = "rw1";

/// Bytes of the longest text that is looked at.
pub(crate) const MAX_TEXT: usize = 16 << 10;

/// What a handle is handed over as: plain data that says where its queue is.
///
/// Made by [`ticket`](crate::Handle::ticket), used up by nobody: each
/// [`open_ticket`](crate::Handle::open_ticket) is one participant more. It can be sent in any
/// way that data can: its text is one line without spaces (`Display`, `FromStr`), fit for an
/// argument or an environment variable; with the feature `serde` it is that string, and so
/// are the handles and ends themselves.
///
/// A ticket keeps nothing alive:
///
/// | queue | a ticket leads to it as long as |
/// |---|---|
/// | named | its name means the same segment; else `NotFound`, or `Replaced` |
/// | anonymous | the process that made the ticket has a handle of it and lets this user look into it (`/proc/PID/fd`); else `HandleUnreachable` |
/// | anonymous, [`inherit`](crate::Handle::inherit) | the child lives and has not opened it yet; whatever becomes of its parent |
///
/// It is a way to the queue, not a right to it: who may open the memory is the kernel's matter.
/// One that was forged is an error, and nothing else is opened by it, waited for or changed.
///
/// ```
/// use ringway::{PodQueue, Ticket};
///
/// let queue = PodQueue::<u64>::bounded(8)?;
/// let text = queue.ticket()?.to_string();
/// // ... in another process, as long as this one has `queue`:
/// let ticket: Ticket = text.parse()?;
/// let same = PodQueue::<u64>::open_ticket(&ticket)?;
/// same.put(1)?;
/// assert_eq!(queue.get()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(crate) identity: u128,
    pub(crate) place: Whereabouts,
    /// What the handle does when its peers are gone, if that is not the usual.
    pub(crate) reports_gone: Option<bool>,
    /// What the type of the handle is called, if the segment calls it otherwise.
    pub(crate) element: Option<String>,
    /// A participant that goes along, if this is handed to a child.
    pub(crate) given: Option<Given>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Given {
    /// Among what goes along.
    pub(crate) number: u32,
    /// Of the participant.
    pub(crate) index: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Whereabouts {
    Named { directory: PathBuf, name: String },
    Process { pid: u32, fd: u32 },
    Inherited { fd: u32 },
}

impl Ticket {
    /// The name of the queue; `None` if it is anonymous.
    pub fn name(&self) -> Option<&str> {
        match &self.place {
            Whereabouts::Named { name, .. } => Some(name),
            _ => None,
        }
    }
}

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}:{:032x}:", self.identity)?;
        match &self.place {
            Whereabouts::Named { directory, name } => {
                let directory = directory.as_os_str().as_bytes();
                plain(f, directory.strip_suffix(b"/").unwrap_or(directory))?;
                f.write_str("/")?;
                plain(f, name.as_bytes())?;
            }
            Whereabouts::Process { pid, fd } => write!(f, "{pid}/{fd}")?,
            Whereabouts::Inherited { fd } => write!(f, "inherited/{fd}")?,
        }
        match self.reports_gone {
            Some(true) => f.write_str(":gone")?,
            Some(false) => f.write_str(":stay")?,
            None => {}
        }
        if let Some(Given { number, index }) = self.given {
            write!(f, ":given={number}/{index}")?;
        }
        if let Some(element) = &self.element {
            f.write_str(":type=")?;
            plain(f, element.as_bytes())?;
        }
        Ok(())
    }
}

fn plain(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    use fmt::Write;
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => f.write_char(byte.into())?,
            _ => write!(f, "%{byte:02x}")?,
        }
    }
    Ok(())
}

fn unplain(text: &str) -> Result<Vec<u8>, SetupError> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => (high << 4 | low) as u8,
                _ => return Err(invalid("a '%' without two digits after it")),
            },
            byte => byte,
        });
    }
    if out.contains(&0) { Err(invalid("a NUL byte")) } else { Ok(out) }
}

fn invalid(reason: &'static str) -> SetupError {
    SetupError::new(SetupErrorKind::InvalidTicket { reason })
}

impl FromStr for Ticket {
    type Err = SetupError;

    /// `InvalidTicket` if the text is none. Whether it leads to a queue shows when it is opened.
    fn from_str(text: &str) -> Result<Ticket, SetupError> {
        if text.len() > MAX_TEXT {
            return Err(invalid("it is too long"));
        }
        let mut parts = text.split(':');
        let (version, identity, place) = (parts.next(), parts.next(), parts.next());
        if version != Some(VERSION) {
            return Err(invalid("it does not begin with rw1: (one of another version of ringway?)"));
        }
        let digits = |text: &&str| text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let identity = identity.filter(digits).and_then(|text| u128::from_str_radix(text, 16).ok());
        let identity = identity.ok_or_else(|| invalid("the identity is not 32 digits"))?;
        let place = whereabouts(place.ok_or_else(|| invalid("it was cut off"))?)?;
        let mut ticket = Ticket { identity, place, reports_gone: None, element: None, given: None };
        for part in parts {
            match part {
                "gone" => ticket.reports_gone = Some(true),
                "stay" => ticket.reports_gone = Some(false),
                _ if part.starts_with("given=") => ticket.given = Some(given(part)?),
                _ => {
                    let element = part.strip_prefix("type=").ok_or_else(|| invalid("a part that has no meaning"))?;
                    let element = String::from_utf8(unplain(element)?).map_err(|_| invalid("a type is not UTF-8"))?;
                    ticket.element = Some(element);
                }
            }
        }
        Ok(ticket)
    }
}

fn number(text: &str) -> Result<Option<u32>, SetupError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| invalid("a number is too large"))
}

fn given(part: &str) -> Result<Given, SetupError> {
    let none = || invalid("what goes along is not N/INDEX");
    let (before, after) = part.trim_start_matches("given=").split_once('/').ok_or_else(none)?;
    Ok(Given { number: number(before)?.ok_or_else(none)?, index: number(after)?.ok_or_else(none)? })
}

fn whereabouts(text: &str) -> Result<Whereabouts, SetupError> {
    let nowhere = || invalid("it is neither a path nor PID/FD");
    let (before, after) = text.rsplit_once('/').ok_or_else(nowhere)?;
    if text.starts_with('/') {
        let name = OsString::from_vec(unplain(after)?);
        let name = SegmentName::new(&name).map_err(|_| invalid("the queue's name is none"))?.as_str().to_owned();
        let directory = unplain(if before.is_empty() { "/" } else { before })?;
        return Ok(Whereabouts::Named { directory: PathBuf::from(OsStr::from_bytes(&directory)), name });
    }
    let number = |text| number(text)?.ok_or_else(nowhere);
    let fd = number(after)?;
    match before {
        "inherited" => Ok(Whereabouts::Inherited { fd }),
        pid => Ok(Whereabouts::Process { pid: number(pid)?, fd }),
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Ticket {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Ticket {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Ticket, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Ticket;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the ticket of a ringway handle")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Ticket, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(ticket: &Ticket) -> String {
        let text = ticket.to_string();
        assert_eq!(&text.parse::<Ticket>().expect(&text), ticket, "{text}");
        text
    }

    fn ticket(place: Whereabouts) -> Ticket {
        Ticket { identity: 0xabc, place, reports_gone: None, element: None, given: None }
    }

    #[test]
    fn every_kind_survives_the_round_trip() {
        let id = "00000000000000000000000000000abc";
        assert_eq!(round_trip(&ticket(Whereabouts::Process { pid: 12, fd: 7 })), format!("rw1:{id}:12/7"));
        let largest = ticket(Whereabouts::Process { pid: u32::MAX, fd: u32::MAX });
        assert!(round_trip(&largest).len() < 64);
        assert_eq!(round_trip(&ticket(Whereabouts::Inherited { fd: 7 })), format!("rw1:{id}:inherited/7"));
        let named = |directory: &[u8], name: &str| {
            let directory = PathBuf::from(OsStr::from_bytes(directory));
            ticket(Whereabouts::Named { directory, name: name.into() })
        };
        assert_eq!(round_trip(&named(b"/dev/shm/x", "jobs")), format!("rw1:{id}:/dev/shm/x/jobs"));
        assert_eq!(
            round_trip(&named(b"/a b/%:\xff\n", "\u{fc}: ")),
            format!("rw1:{id}:/a%20b/%25%3a%ff%0a/%c3%bc%3a%20")
        );
        assert_eq!(round_trip(&named(b"/", "q")), format!("rw1:{id}:/q"));
        for reports_gone in [Some(true), Some(false), None] {
            for element in [Some("Option<(u8, [u32; 4])>".to_owned()), Some(String::new()), None] {
                for given in [None, Some(Given { number: 0, index: u32::MAX })] {
                    let ticket = Ticket { reports_gone, element: element.clone(), given, ..named(b"/d", "q") };
                    assert!(round_trip(&ticket).bytes().all(|byte| byte.is_ascii_graphic()));
                }
            }
        }
    }

    #[test]
    fn what_is_no_ticket_is_refused() {
        let id = "0123456789abcdef0123456789abcdef";
        let long = format!("rw1:{id}:/{}", "x".repeat(MAX_TEXT));
        let bad = [
            String::new(),
            "rw1".into(),
            "rw1:".into(),
            "rw2:".into(),
            format!("rw1:{id}"),
            format!("rw1:{id}:"),
            format!("rw0:{id}:1/2"),
            format!("rw1:+{}:1/2", &id[1..]),
            format!("rw1:{}:1/2", &id[1..]),
            format!("rw1:{id}0:1/2"),
            format!("rw1:{id}:1"),
            format!("rw1:{id}:1/"),
            format!("rw1:{id}:-1/2"),
            format!("rw1:{id}:+1/2"),
            format!("rw1:{id}: 1/2"),
            format!("rw1:{id}:1/2/3"),
            format!("rw1:{id}:self/3"),
            format!("rw1:{id}:4294967296/2"),
            format!("rw1:{id}:1/99999999999999999999999"),
            format!("rw1:{id}:1/2:"),
            format!("rw1:{id}:1/2:x"),
            format!("rw1:{id}:1/2:type"),
            format!("rw1:{id}:1/2:type=%f"),
            format!("rw1:{id}:1/2:given="),
            format!("rw1:{id}:1/2:given=1"),
            format!("rw1:{id}:1/2:given=1/x"),
            format!("rw1:{id}:1/2:given=4294967296/1"),
            format!("rw1:{id}:1/2:type=%ff"),
            format!("rw1:{id}:1/2:type=%00"),
            format!("rw1:{id}:/d/"),
            format!("rw1:{id}:/d/.."),
            format!("rw1:{id}:/d/%2f"),
            format!("rw1:{id}:/d/%00"),
            format!("rw1:{id}:/d%00/q"),
            format!("rw1:{id}:/d/%zz"),
            format!("rw1:{id}:/d/{}", "x".repeat(201)),
            long,
        ];
        for text in bad {
            let error = text.parse::<Ticket>().expect_err(&text);
            assert!(matches!(error.kind(), SetupErrorKind::InvalidTicket { .. }), "{text}: {error}");
        }
    }

    /// Any one byte of a ticket may be lost or damaged: nothing panics.
    #[test]
    fn damaged_tickets_are_refused_or_mean_something_else() {
        let element = Some("a%b".to_owned());
        let good = Ticket { element, ..ticket(Whereabouts::Inherited { fd: 7 }) }.to_string();
        for at in 0..good.len() {
            for new in ["", ":", "/", "%", "\u{fc}", "0"] {
                let mut text = good.clone();
                text.replace_range(at..=at, new);
                let _ = text.parse::<Ticket>();
            }
        }
    }
}
