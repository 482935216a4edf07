//! Handles and ends that go to another process: tickets, sockets, children.

use super::message::Message;
use super::options::Options;
use super::port::Port;
use super::rescue::Newcomer;
use crate::error::{SetupError, SetupErrorKind};
use crate::handover::{self, Ticket, Whereabouts};
use crate::primitive::Fences;
use crate::segment::{Arrival, Directory, Header, Keeper, Place, Segment, SegmentName};
use std::ffi::OsStr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

impl Port {
    pub(super) fn ticket<M: Message>(&self) -> Result<Ticket, SetupError> {
        let segment = self.segment()?;
        let place = match segment.place() {
            Some(place) => {
                let (directory, name) = (place.directory.path.clone(), place.name.as_str().to_owned());
                Whereabouts::Named { directory, name }
            }
            None => Whereabouts::Process { pid: std::process::id(), fd: segment.findable()? },
        };
        Ok(self.ticket_to::<M>(&segment, place))
    }

    fn ticket_to<M: Message>(&self, segment: &Segment, place: Whereabouts) -> Ticket {
        let element = M::shape(None).element.tag;
        let usual = Options::default().reports_gone(segment.place().is_none());
        Ticket {
            identity: segment.header().identity,
            place,
            reports_gone: (self.reports_gone != usual).then_some(self.reports_gone),
            element: (element != segment.header().plan.element.tag).then_some(element),
            given: None,
        }
    }

    /// What a handle is serialised as: its ticket, and among the arguments of a child a
    /// participant that can do what `roles` says.
    #[cfg(feature = "serde")]
    pub(super) fn serialised<M: Message>(&self, roles: u64) -> Result<Ticket, SetupError> {
        let mut ticket = self.ticket::<M>()?;
        if handover::is_packing() {
            let segment = self.segment()?;
            let (_, roles) = Options::default().for_roles(roles);
            let newcomer = Newcomer::default();
            let keeper: Keeper<'_> = &|segment, proof, index| newcomer.keep(segment, proof, index);
            let introduce = |index| {
                let damaged = || SetupError::not_a_segment("its regions do not fit its geometry");
                let ring = super::view::View::of(&segment)?.ring(&segment.header().plan, index).ok_or_else(damaged)?;
                super::port::introduce(&ring, roles);
                Ok(())
            };
            let handed = segment.hand(keeper, introduce)?;
            let index = handed.index();
            ticket.given =
                handover::hand(handover::Item::Participant(handed)).map(|number| handover::Given { number, index });
        }
        Ok(ticket)
    }

    pub(super) fn inherit<M: Message>(&self, command: &mut Command) -> Result<Ticket, SetupError> {
        let segment = self.segment()?;
        if segment.place().is_some() {
            return self.ticket::<M>();
        }
        let fd = segment.inherit(command)?;
        Ok(self.ticket_to::<M>(&segment, Whereabouts::Inherited { fd }))
    }

    pub(super) fn send_over<M: Message>(&self, stream: &UnixStream) -> Result<(), SetupError> {
        // Before the ticket is made: a child would find that its number means nothing.
        let segment = self.segment()?;
        handover::send(stream, &self.ticket::<M>()?, &segment)
    }

    pub(super) fn receive_from<M: Message>(stream: &UnixStream, roles: u64) -> Result<Port, SetupError> {
        let (ticket, arrival) = handover::receive(stream)?;
        Port::by_ticket::<M>(&ticket, arrival, Options::default(), roles)
    }

    pub(super) fn open_ticket<M: Message>(ticket: &Ticket, options: Options, roles: u64) -> Result<Port, SetupError> {
        Port::by_ticket::<M>(ticket, None, options, roles)
    }

    /// `arrival`: where the segment is, if somebody knows better than the ticket.
    fn by_ticket<M: Message>(
        ticket: &Ticket,
        arrival: Option<Arrival>,
        options: Options,
        roles: u64,
    ) -> Result<Port, SetupError> {
        let anonymous = ticket.name().is_none();
        let (options, roles) = options.for_roles(roles);
        let options = match ticket.reports_gone {
            Some(report) => options.or_peers_gone(report),
            None => options,
        };
        // The sender's type goes by the name that its queue was given.
        let same_type = ticket.element.as_ref().is_some_and(|element| *element == M::shape(None).element.tag);
        let check = |header: &Header| {
            if header.identity != ticket.identity {
                return Err(SetupError::new(SetupErrorKind::Replaced));
            }
            if same_type {
                return options.clone().or_type_tag(&header.plan.element.tag).check::<M>(&header.plan);
            }
            options.check::<M>(&header.plan)
        };
        // Registration comes before the first operation.
        let _ = Fences::of_this_process(false);
        let (prefault, newcomer) = (options.prefault_bytes(), Newcomer::default());
        let keeper: Keeper<'_> = &|segment, proof, index| newcomer.keep(segment, proof, index);
        #[cfg(feature = "serde")]
        if let Some(handover::Given { number, index }) = ticket.given
            && let Some(description) = handover::take(number)
        {
            let place = match &ticket.place {
                Whereabouts::Named { directory, name } => Some(existing(directory, name)?),
                _ => None,
            };
            let delivered = crate::segment::Delivered { description, index };
            let member = Segment::adopt(delivered, ticket.identity, place, prefault, check)?;
            return Port::adopted(member, &options, anonymous, roles);
        }
        let arrival = match (&ticket.place, arrival) {
            (_, Some(arrival)) => arrival,
            (Whereabouts::Process { pid, fd }, None) => Arrival::Process { pid: *pid, fd: *fd },
            (Whereabouts::Inherited { fd }, None) => Arrival::Inherited { fd: *fd },
            (Whereabouts::Named { directory, name }, None) => {
                let place = existing(directory, name)?;
                let not_found = || SetupError::new(SetupErrorKind::NotFound);
                let member = Segment::open(&place, prefault, check, keeper)?.ok_or_else(not_found)?;
                return Port::opened(member, &options, anonymous, roles);
            }
        };
        let member = Segment::arrive(&arrival, ticket.identity, prefault, check, keeper)?;
        Port::opened(member, &options, anonymous, roles)
    }
}

/// A ticket makes no directory.
fn existing(directory: &Path, name: &str) -> Result<Place, SetupError> {
    let not_found = || SetupError::new(SetupErrorKind::NotFound);
    let directory = Arc::new(Directory::existing(Some(directory))?.ok_or_else(not_found)?);
    Ok(Place { directory, name: SegmentName::new(OsStr::new(name))? })
}

/// What hands a handle or an end over. The macro has the roles of the type, and what makes one
/// of a port.
macro_rules! handover_methods {
    ($roles:expr, $make:expr) => {
        /// What this is handed over as, in any way that data can be: see
        /// [`Ticket`](crate::Ticket). The receiver opens a handle or an end of its own, and
        /// this one stays what it is. Never blocks.
        ///
        /// Until the receiver has opened it, nobody counts it: if this is the last handle of an
        /// anonymous or ephemeral queue, keep it until then; and who waits for peers may be
        /// told `PeersGone` meanwhile.
        ///
        /// # Errors
        ///
        /// `Forked`; `HandleUnreachable` if the queue is anonymous and somebody has closed this
        /// process' descriptors (`close_range`).
        pub fn ticket(&self) -> Result<crate::Ticket, crate::SetupError> {
            self.port.ticket::<M>()
        }

        #[cfg(feature = "serde")]
        pub(in crate::queue) fn serialised(&self) -> Result<crate::Ticket, crate::SetupError> {
            self.port.serialised::<M>($roles)
        }

        /// Opens the queue of a ticket: one participant more, independent of the sender from
        /// now on, whatever becomes of it. What the sender left unfinished when it
        /// died is looked after first, as when a name is opened.
        ///
        /// It reports `PeersGone` if the sender's handle does. Blocks for at most 0.25 s, while
        /// somebody looks after the places of the dead.
        ///
        /// # Errors
        ///
        /// Named: as [`Handle::open`](crate::Handle::open), and `Replaced` if the name means
        /// another queue by now. Anonymous: `HandleUnreachable` if the sender is gone, has no
        /// handle any more, belongs to another user, or the ticket leads to something
        /// else; `Mismatch`, `VersionMismatch`, `TooManyParticipants`, `Closed`, `NoProc`,
        /// `System`. Of an end also `SideTaken`: a `Single` side must be let go of first.
        pub fn open_ticket(ticket: &crate::Ticket) -> Result<Self, crate::SetupError> {
            Self::open_ticket_with(ticket, crate::Options::default())
        }

        /// As [`open_ticket`](Self::open_ticket); what `options` states must be true of the
        /// queue. Where it is, the ticket says: a directory in `options` is not looked at.
        ///
        /// # Errors
        ///
        /// As [`open_ticket`](Self::open_ticket), and `Mismatch` for each option.
        pub fn open_ticket_with(ticket: &crate::Ticket, options: crate::Options) -> Result<Self, crate::SetupError> {
            let make = $make;
            make(crate::queue::port::Port::open_ticket::<M>(ticket, options, $roles)?)
        }

        /// Makes the children that `command` starts from now on inherit an anonymous queue, and
        /// no other process: the ticket for them. Of a named queue it is the
        /// [`ticket`](Self::ticket).
        ///
        /// Such a child can open the queue even if all of its participants, this process
        /// included, have died by then. It opens it once, which closes the descriptor that
        /// it inherited; one that never does keeps the memory until it ends, and passes
        /// it on to children of its own. The command keeps the memory too, until it is dropped.
        /// Nobody counts the child before it has opened the queue (`PeersGone`).
        ///
        /// # Errors
        ///
        /// `Forked`, `RecoveryUnavailable`, `NoProc`, `System`. If somebody closes the descriptor
        /// that the command keeps, starting it fails (`EBADF`).
        ///
        /// ```
        /// let queue = ringway::ByteQueue::bounded(8)?;
        /// let mut command = std::process::Command::new("true");
        /// let ticket = queue.inherit(&mut command)?;
        /// command.arg(ticket.to_string()); // there: ByteQueue::open_ticket(&argument.parse()?)
        /// assert!(command.status()?.success());
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn inherit(&self, command: &mut std::process::Command) -> Result<crate::Ticket, crate::SetupError> {
            self.port.inherit::<M>(command)
        }

        /// Sends this through a connected Unix socket, an anonymous queue together with its
        /// memory: the receiver gets it with [`receive_from`](Self::receive_from), also if this
        /// process has died meanwhile, and also where it may not look into `/proc`.
        ///
        /// The process at the other end must be one of this user's; root may send to anybody. The
        /// kernel says whose it was when the connection was made. Blocks while the
        /// socket's buffer is full. Nobody counts the receiver before it has opened the queue
        /// (`PeersGone`).
        ///
        /// # Errors
        ///
        /// `ForeignPeer`; `Forked`, `HandleUnreachable`, `NoProc`; `System`, with the cause: the peer
        /// is gone (`BrokenPipe`), a time limit of the stream's, descriptors are short. After
        /// that, part of it may be sent: use the stream no more.
        ///
        /// ```
        /// use ringway::PodQueue;
        /// use std::os::unix::net::UnixStream;
        ///
        /// let (here, there) = UnixStream::pair()?; // usually listen, accept and connect
        /// let queue = PodQueue::<u32>::bounded(8)?;
        /// queue.send_over(&here)?;
        /// let same = PodQueue::<u32>::receive_from(&there)?;
        /// same.put(1)?;
        /// assert_eq!(queue.get()?, 1);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn send_over(&self, stream: &std::os::unix::net::UnixStream) -> Result<(), crate::SetupError> {
            self.port.send_over::<M>(stream)
        }

        /// Receives what [`send_over`](Self::send_over) sends, or waits for it: as long as
        /// the stream does, or its read time limit. Nothing after it is read.
        ///
        /// The sender must be a process of this user's or root's.
        ///
        /// # Errors
        ///
        /// As [`open_ticket`](Self::open_ticket); `ForeignPeer`; `InvalidTicket` or
        /// `HandleUnreachable` if something else came; `System` with the cause
        /// (`UnexpectedEof`: the peer is gone). After an error the stream may be in the middle
        /// of something: use it no more. Whatever came with it is closed.
        pub fn receive_from(stream: &std::os::unix::net::UnixStream) -> Result<Self, crate::SetupError> {
            let make = $make;
            make(crate::queue::port::Port::receive_from::<M>(stream, $roles)?)
        }
    };
}

/// With the feature `serde` a handle or an end is its ticket.
macro_rules! serde_as_ticket {
    ($($what:ident),*) => {$(
        /// As its [`Ticket`]; among the arguments of a [`Process`](crate::Process) together with a
        /// participant for the child. Fails where [`ticket`](crate::Handle::ticket) does.
        #[cfg(feature = "serde")]
        impl<M: Message> serde::Serialize for super::$what<M> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let ticket = self.serialised().map_err(|error| {
                    let text = serde::ser::Error::custom(&error);
                    handover::fail(error);
                    text
                })?;
                ticket.serialize(serializer)
            }
        }

        /// Opens the queue. Fails where [`open_ticket`](crate::Handle::open_ticket) does; of its
        /// error only the text is left, and of a message of a queue, that it is
        /// [`HandleUnreachable`](crate::GetError::HandleUnreachable). Deserialise a [`Ticket`] where the kind matters.
        #[cfg(feature = "serde")]
        impl<'de, M: Message> serde::Deserialize<'de> for super::$what<M> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let ticket = Ticket::deserialize(deserializer)?;
                Self::open_ticket(&ticket).map_err(|error| {
                    handover::not_reached();
                    serde::de::Error::custom(error)
                })
            }
        }
    )*};
}

serde_as_ticket!(Handle, Producer, Consumer, Publisher, Subscriber);

pub(super) use handover_methods;
