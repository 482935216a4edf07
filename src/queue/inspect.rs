//! A queue as a bystander sees it: what stands in its segment, decoded.
//!
//! Reads copies that [`Survey`] makes; what the words mean, `ring` knows.

mod broadcast;
mod cells;
mod chunks;

pub use chunks::Growth;

pub use broadcast::SubscriberState;

use super::options::{SlowConsumers, regions, slots_size, stride};
use crate::primitive::{BlockShape, now_ns};
use crate::ring::{
    CONTROL_SIZE, ControlLook, GETS, PARTICIPANT_SIZE, PUTS, ParticipantLook, Pending, RingLook, Side, Unfinished,
};
use crate::segment::{Lifetime, MessageKind, Plan, Presence, RegionKind, Role, Survey};
use crate::wait::{Attention, CLOSED};
use std::fmt;
use std::time::{Duration, SystemTime};

/// Between the two looks at what is unfinished.
const LOOKS_APART: Duration = Duration::from_millis(20);

/// Looks at words that contradict each other, which may be because they are being changed.
const LOOKS_AT_NONSENSE: u32 = 3;

/// Unfinished positions that are told one by one.
const MOST_UNFINISHED: usize = 64;

/// What the messages of a queue are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Messages {
    /// Bytes of any length up to [`max_message`](Facts::max_message).
    Bytes,
    /// Plain data, all of one type.
    Plain {
        /// What both sides call the type.
        tag: String,
        /// Its size, in bytes.
        size: u64,
        /// Its alignment, in bytes.
        align: u32,
    },
    /// One type, encoded by serde.
    Encoded {
        /// What both sides call the type.
        tag: String,
    },
}

impl fmt::Display for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Messages::Bytes => f.write_str("bytes"),
            Messages::Plain { tag, .. } | Messages::Encoded { tag } => f.write_str(tag),
        }
    }
}

/// What is fixed when a queue is created.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Facts {
    /// What the messages are.
    pub messages: Messages,
    /// Of a broadcast: what happens when a subscriber is slow. `None`: it is a queue.
    pub broadcast: Option<SlowConsumers>,
    /// How many handles may put at once.
    pub producers: Side,
    /// How many handles may get at once.
    pub consumers: Side,
    /// How many messages fit.
    pub capacity: u64,
    /// The longest message, in bytes.
    pub max_message: u64,
    /// How many handles may be attached at once.
    pub max_participants: u32,
    /// When the name goes away; an anonymous queue has none to lose.
    pub lifetime: Lifetime,
    /// Bytes of shared memory.
    pub size: u64,
    /// A random number that no other segment has.
    pub identity: u128,
    /// When it was created, by the wall clock of then.
    pub created: SystemTime,
    /// The process that created it, for display.
    pub creator: u32,
}

impl Facts {
    pub(super) fn of(survey: &Survey) -> Facts {
        let header = &survey.header;
        let plan = &header.plan;
        let element = &plan.element;
        let messages = match plan.kind {
            MessageKind::Bytes => Messages::Bytes,
            MessageKind::Serde => Messages::Encoded { tag: element.tag.clone() },
            MessageKind::Pod => Messages::Plain { tag: element.tag.clone(), size: element.size, align: element.align },
        };
        Facts {
            messages,
            broadcast: broadcast::policy(plan),
            producers: side(plan.single_producer),
            consumers: side(plan.single_consumer),
            capacity: plan.capacity,
            max_message: plan.max_message,
            max_participants: plan.max_participants,
            lifetime: plan.lifetime,
            size: survey.size,
            identity: header.identity,
            created: since_epoch(header.created).unwrap_or(SystemTime::UNIX_EPOCH),
            creator: header.creator,
        }
    }

    /// How long ago it was created; zero if the clock was set back since.
    pub fn age(&self) -> Duration {
        SystemTime::now().duration_since(self.created).unwrap_or_default()
    }
}

fn side(single: bool) -> Side {
    if single { Side::Single } else { Side::Multi }
}

fn since_epoch(seconds: u64) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

/// Whether a participant lives, and how that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Life {
    /// Its life byte is locked, which the kernel undoes when its process ends.
    Alive,
    /// It has attached, it has not left, and its life byte is free.
    Dead,
    /// It has left, or is just attaching, and its life byte is locked: usually a copy of the
    /// descriptor in a process that was just started, and that will not keep it.
    Ghost,
}

/// Positions that a participant has said to claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Intent {
    /// The first one.
    pub start: u64,
    /// How many.
    pub len: u64,
    /// Which of them are unfinished, by anybody: if no other intent names them, by this
    /// participant. At most 64.
    pub unfinished: Vec<u64>,
}

/// One participant: a handle or an end of the queue, in some process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Participant {
    /// Its place in the table of participants.
    pub index: u32,
    /// The process that it says it is in, for display: pids are used again, and differ
    /// between containers.
    pub pid: u32,
    /// It can put.
    pub is_producer: bool,
    /// It can get.
    pub is_consumer: bool,
    /// Messages it has put so far.
    pub puts: u64,
    /// Messages it has got so far, leased ones included.
    pub gets: u64,
    /// Whether it lives.
    pub life: Life,
    /// Since when it is attached, if that is known.
    pub attached: Option<SystemTime>,
    /// What it has announced to put. It stays there after a finished put.
    pub put_intent: Option<Intent>,
    /// What it has announced to get. It stays there after a finished get.
    pub get_intent: Option<Intent>,
    /// How often it has slept.
    pub sleeps: u64,
    /// How often it has woken others.
    pub wakes: u64,
    /// For how long it has been asleep, exactly; `None`: it is awake.
    pub asleep_for: Option<Duration>,
    /// How many blocks it has reserved or copies out; those of its leases are not counted.
    pub blocks: u64,
}

/// Which operation is unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// A position is claimed for a message that is not there yet.
    Put,
    /// A message is claimed, and its place is not given back yet.
    Get,
}

/// A position at which an operation was begun and has not ended, in two looks in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pause {
    /// Where.
    pub position: u64,
    /// What.
    pub operation: Operation,
    /// The participants, by index, that may be at it: exactly one, as a rule. None: whoever
    /// was at it has gone, and recovery has not looked yet.
    pub holders: Vec<u32>,
    /// When it was seen first: there are no clocks in the queue, so it may be older.
    pub since: SystemTime,
}

/// Who has a `Single` side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// Its process, for display.
    pub pid: u32,
    /// Whether it lives: the side's role byte is locked.
    pub alive: bool,
}

/// The words of a queue. Positions count messages from the beginning, and the first one is
/// the capacity.
///
/// In a queue in use these were read one after the other, not at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RingState {
    /// Messages put and not taken, without those that came back.
    pub depth: u64,
    /// No put succeeds any more.
    pub closed: bool,
    /// Where a closed queue with both sides `Single` ends, once that is decided.
    pub end: Option<u64>,
    /// Consumers have claimed everything below; with `Single` consumers a lagging copy of
    /// `taken`.
    pub head: u64,
    /// `Multi` producers have claimed everything below.
    pub tail: Option<u64>,
    /// A `Single` consumer has taken everything below.
    pub taken: Option<u64>,
    /// Positions claimed or published since the creation.
    pub puts: u64,
    /// Positions claimed or taken since the creation.
    pub gets: u64,
    /// Who has the producers' side, where that is `Single`.
    pub producer: Option<Holder>,
    /// Who has the consumers' side, where that is `Single`.
    pub consumer: Option<Holder>,
    /// What is begun and not ended, oldest first, at most 64.
    pub unfinished: Vec<Pause>,
    /// Messages that came back from a consumer that died in `get`, and wait to be taken
    /// again; those of a lease are among [`leases`](Snapshot::leases).
    pub redeliveries: u64,
    /// The queue is so long that not all of it was searched for what is unfinished.
    pub partly_searched: bool,
}

/// A message that is leased, or was and waits to be taken again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaseState {
    /// The participant that has it, by index; `None`: it came back, and waits.
    pub holder: Option<u32>,
    /// The message's position: what [`Lease::id`](crate::Lease::id) says.
    pub position: u64,
    /// How often it came back, at most 127.
    pub redelivered: u32,
    /// For how long it has been leased, exactly.
    pub held_for: Option<Duration>,
}

/// A queue as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What is fixed; if the header is damaged, what could be read of it.
    pub facts: Facts,
    /// What is wrong with the segment, for a person to read; empty if nothing is.
    pub problems: Vec<String>,
    /// The words of the queue, if the file has them.
    pub ring: Option<RingState>,
    /// Everybody who is there or has died there, by index.
    pub participants: Vec<Participant>,
    /// The messages that are leased or came back from a lease, oldest first.
    pub leases: Vec<LeaseState>,
    /// The blocks of the arena, by size; empty if there is none. Of an unbounded queue
    /// those that there are so far.
    pub blocks: Vec<BlockClass>,
    /// Those who subscribe to a broadcast, by index.
    pub subscribers: Vec<SubscriberState>,
    /// What memory an unbounded queue has; `None` for all others.
    pub growth: Option<Growth>,
}

/// The blocks of one size, where messages lie that no slot has room for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlockClass {
    /// Bytes of each.
    pub size: u64,
    /// How many there are.
    pub count: u64,
    /// Of these, how many nobody uses.
    pub free: u64,
    /// How many are reserved by a put that is not in the queue yet.
    pub writing: u64,
    /// How many have a message of the queue.
    pub queued: u64,
    /// How many have a message that is leased, or came back from a lease.
    pub leased: u64,
    /// How many are being copied out.
    pub reading: u64,
}

/// What `list` needs of the ring: `(depth, closed)`.
pub(super) fn outline(survey: &Survey) -> Option<(u64, bool)> {
    let ring = ring_of(survey)?;
    Some((ring.depth()?, ring.is_closed()))
}

pub(super) fn snapshot(survey: &Survey) -> Snapshot {
    let mut problems: Vec<String> = survey.damage.iter().map(ToString::to_string).collect();
    let since = SystemTime::now();
    let mut ring = ring_of(survey);
    let mut pending = ring.as_ref().map(|ring| ring.stamps().pending).unwrap_or_default();
    if !pending.is_empty() {
        std::thread::sleep(LOOKS_APART);
        ring = ring_of(survey);
    }
    for _ in 1..LOOKS_AT_NONSENSE {
        if ring.as_ref().is_some_and(|ring| !ring.contradictions().is_empty()) {
            ring = ring_of(survey);
        }
    }
    let stamps = ring.as_ref().map(RingLook::stamps).unwrap_or_default();
    pending.retain(|pending| stamps.pending.contains(pending));
    let looks = participants(survey);
    match &ring {
        None => problems.push("the words of its queue cannot be read: they lie outside of the file".into()),
        Some(ring) => problems.extend(ring.contradictions()),
    }
    let reached = ring.as_ref().map_or([0, 0], |ring| [ring.produced().unwrap_or(0), ring.consumed()]);
    let state = ring.map(|ring| RingState {
        depth: ring.depth().unwrap_or(0),
        closed: ring.is_closed(),
        end: ring.control.end,
        head: ring.control.head,
        tail: (ring.producers == Side::Multi).then_some(ring.control.tail),
        taken: (ring.consumers == Side::Single).then_some(ring.control.taken),
        puts: ring.produced().unwrap_or(0).saturating_sub(ring.capacity),
        gets: ring.consumed().saturating_sub(ring.capacity),
        producer: holder(survey, ring.producers, ring.control.holders[0], Role::Producer),
        consumer: holder(survey, ring.consumers, ring.control.holders[1], Role::Consumer),
        unfinished: pending.iter().take(MOST_UNFINISHED).map(|at| pause(at, &ring, &looks, since)).collect(),
        redeliveries: stamps.back,
        partly_searched: stamps.incomplete,
    });
    let of_one = |(presence, look): &(Presence, ParticipantLook)| {
        let singles = [0, 1].map(|side| on_a_single_side(look, &looks, side, reached[side]));
        participant(*presence, look, &pending, singles)
    };
    let mut participants: Vec<Participant> = looks.iter().map(of_one).collect();
    let cells::CellsLook { leases, blocks, owners } = cells::look(survey);
    for one in &mut participants {
        one.blocks = owners.iter().filter(|owner| **owner == one.index).count() as u64;
    }
    let presences: Vec<Presence> = looks.iter().map(|(presence, _)| *presence).collect();
    let subscribers = broadcast::subscribers(survey, reached[0], &presences);
    let growth = chunks::look(survey);
    Snapshot { facts: Facts::of(survey), problems, ring: state, participants, leases, blocks, growth, subscribers }
}

fn holder(survey: &Survey, side: Side, pid: u64, role: Role) -> Option<Holder> {
    let alive = side == Side::Single && survey.is_role_held(role);
    let pid = u32::try_from(pid).unwrap_or(0);
    (alive || side == Side::Single && pid != 0).then_some(Holder { pid, alive })
}

fn names_position(intent: Option<(u64, u64)>, position: u64) -> bool {
    intent.is_some_and(|(start, len)| position >= start && position - start < len)
}

fn pause<F: Fn(u64) -> Option<u64>>(
    at: &Pending,
    ring: &RingLook<F>,
    looks: &[(Presence, ParticipantLook)],
    since: SystemTime,
) -> Pause {
    let holds = |look: &ParticipantLook| match (at.what, ring.producers) {
        // Announced by its stamp alone.
        (Unfinished::Put, Side::Single) => look.roles & 1 != 0 && look.pid == ring.control.holders[0],
        (Unfinished::Put, Side::Multi) => names_position(look.put, at.position),
        (Unfinished::Get, _) => names_position(look.get, at.position),
    };
    Pause {
        position: at.position,
        operation: match at.what {
            Unfinished::Put => Operation::Put,
            Unfinished::Get => Operation::Get,
        },
        holders: looks.iter().filter(|(_, look)| holds(look)).map(|(presence, _)| presence.index).collect(),
        since,
    }
}

fn life(presence: Presence) -> Life {
    match (presence.attached, presence.held) {
        (true, true) => Life::Alive,
        (true, false) => Life::Dead,
        (false, _) => Life::Ghost,
    }
}

fn participant(presence: Presence, look: &ParticipantLook, pending: &[Pending], singles: [u64; 2]) -> Participant {
    let intent = |intent: Option<(u64, u64)>, what| {
        intent.map(|(start, len)| Intent {
            start,
            len,
            unfinished: pending
                .iter()
                .filter(|at| at.what == what && names_position(intent, at.position))
                .map(|at| at.position)
                .take(MOST_UNFINISHED)
                .collect(),
        })
    };
    Participant {
        index: presence.index,
        pid: u32::try_from(look.pid).unwrap_or(0),
        is_producer: look.roles & PUTS != 0,
        is_consumer: look.roles & GETS != 0,
        puts: look.puts.saturating_add(singles[0]),
        gets: look.gets.saturating_add(singles[1]),
        life: life(presence),
        attached: (look.attached != 0).then(|| since_epoch(look.attached)).flatten(),
        put_intent: intent(look.put, Unfinished::Put),
        get_intent: intent(look.get, Unfinished::Get),
        sleeps: look.sleeps,
        wakes: look.wakes,
        asleep_for: (look.asleep_since != 0).then(|| Duration::from_nanos(now_ns().saturating_sub(look.asleep_since))),
        blocks: 0,
    }
}

/// What participant `look` has put (0) or got (1) as the holder of a `Single` side: up to
/// where its successor took over, or to where the side is now.
fn on_a_single_side(look: &ParticipantLook, looks: &[(Presence, ParticipantLook)], side: usize, now: u64) -> u64 {
    let from = look.single_from[side];
    if from == 0 {
        return 0;
    }
    let successors = looks.iter().map(|(_, other)| other.single_from[side]).filter(|other| *other > from);
    successors.min().unwrap_or(now).saturating_sub(from)
}

/// The lines of everybody who is or was there.
fn participants(survey: &Survey) -> Vec<(Presence, ParticipantLook)> {
    let region = survey.header.region(RegionKind::Participants).ok();
    let look = |index: u32| {
        let at = u64::from(index) * PARTICIPANT_SIZE as u64;
        let mut bytes = [0; PARTICIPANT_SIZE];
        // Lines that the file does not have read as zeros.
        if let Some(region) = region.filter(|region| region.len >= at + PARTICIPANT_SIZE as u64) {
            survey.read(region.offset.saturating_add(at), &mut bytes);
        }
        ParticipantLook::of(&bytes)
    };
    survey.presences().into_iter().map(|presence| (presence, look(presence.index))).collect()
}

/// Whether sizes can be computed from it, and bound what is read.
fn is_sane(plan: &Plan) -> bool {
    (1..=1 << 40).contains(&plan.capacity)
        && plan.inline_size <= 1 << 32
        && plan.max_participants <= 1024
        && plan.leases <= 1024
        && plan.rows <= 1 << 20
        && plan.arena <= 1 << 46
        && slots_size(plan).is_some()
}

fn region_start(survey: &Survey, kind: RegionKind, len: u64) -> Option<u64> {
    survey.header.region(kind).ok().filter(|region| region.len >= len).map(|region| region.offset)
}

/// The ring, read anew. None: the file does not have its words, or the header is damaged so
/// that nobody can tell where they are.
fn ring_of(survey: &Survey) -> Option<RingLook<impl Fn(u64) -> Option<u64>>> {
    let plan = &survey.header.plan;
    if !is_sane(plan) {
        return None;
    }
    let [(_, ring), (_, wait), _, (_, slots), ..] = regions(plan);
    let start = |kind, len| region_start(survey, kind, len);
    let mut bytes = [0; CONTROL_SIZE];
    // The line that producers read comes first.
    let closed_at = start(RegionKind::Wait, wait)? + core::mem::offset_of!(Attention, news) as u64;
    let mut closed = [0; 4];
    if !survey.read(start(RegionKind::Ring, ring)?, &mut bytes) || !survey.read(closed_at, &mut closed) {
        return None;
    }
    let slots = chunks::slots_start(survey, start(RegionKind::Slots, slots)?);
    let shape = BlockShape::of(usize::try_from(plan.inline_size).ok()?);
    let (per_stamp, stride) = match plan.uses_blocks() {
        true => (shape.per_block() as u64, shape.stride() as u64),
        false => (1, stride(plan.inline_size)),
    };
    let closed_flag = u32::from_ne_bytes(closed) & CLOSED != 0;
    let chunk_word = chunks::words(survey);
    let (control, sides) = broadcast::as_queue(survey, ControlLook::of(&bytes), closed_flag);
    Some(RingLook {
        control,
        capacity: plan.capacity,
        producers: sides[0],
        consumers: sides[1],
        per_stamp,
        oldest: chunks::oldest(survey),
        closed_flag,
        stamp: move |index| {
            let slot = if plan.chunk > 0 { chunks::slot_of(plan, &chunk_word, index)? } else { Some(index) };
            let Some(index) = slot else { return Some(0) };
            let mut stamp = [0; 8];
            let at = slots.saturating_add(index.saturating_mul(stride));
            survey.read(at, &mut stamp).then(|| u64::from_ne_bytes(stamp))
        },
    })
}
