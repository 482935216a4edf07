//! The first page of a segment: written once before the segment is published,
//! validated once by everybody who opens it, never read again.
//!
//! ```text
//! +0     magic "ringway\x01"        +64   capacity, inline size, max message
//! +8     layout version, size       +88   element size, alignment, tag length
//! +16    layout hash                +104  participants, creator, created, leases, rows
//! +24    identity (128 bits)        +128  arena, chunk, element tag (120 bytes)
//! +40    total size, page size      +264  region directory (16 x 24 bytes)
//! +52    message kind, flags        +1024 attachment marks (1024 bytes)
//! ```
//!
//! The marks are the one part that changes: byte i is 1 from when participant i
//! has attached until it leaves. They are a hint for the living, never a proof.

#![allow(unsafe_code)]

use crate::error::{SetupError, SetupErrorKind};
use bytemuck::{Pod, Zeroable};

/// The first eight bytes of every segment; the last one is the header's own format.
const MAGIC: [u8; 8] = *b"ringway\x01";

/// Changes whenever a region, a word or a rule about one changes.
pub(crate) const LAYOUT_VERSION: u32 = 7;

/// Bytes of the header, a page.
pub(crate) const HEADER_SIZE: usize = 4096;

const MAX_REGIONS: usize = 16;
const MAX_TAG: usize = 120;

/// Where the attachment marks begin: one byte for each possible participant.
pub(crate) const MARKS_OFFSET: u64 = 1024;
pub(crate) const MARKS_LEN: usize = 1024;
const _: () = assert!(RAW_SIZE as u64 <= MARKS_OFFSET && MARKS_OFFSET as usize + MARKS_LEN <= HEADER_SIZE);

/// Regions begin at multiples of this.
pub(crate) const REGION_ALIGN: u64 = 128;

/// What a region is for. Later versions add kinds; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum RegionKind {
    /// The ring's shared words.
    Ring = 1,
    /// The attention lines of both sides.
    Wait = 2,
    /// One line pair per participant.
    Participants = 3,
    /// The slots.
    Slots = 4,
    /// What is known of each lease.
    Notes = 5,
    /// Where leased messages lie.
    Rows = 6,
    /// What is known of each block of the arena.
    BlockHeads = 7,
    /// The blocks.
    Arena = 8,
    /// Who subscribes to a broadcast, and how far they are.
    Cursors = 9,
    /// Two words for each chunk of slots, where those come and go: the states of all, then the
    /// places of all.
    Chunks = 12,
    /// How far the blocks of each size reach, where those come and go.
    Reach = 13,
}

/// A part of the segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(crate) struct Region {
    kind: u32,
    version: u32,
    pub(crate) offset: u64,
    pub(crate) len: u64,
}

/// How messages are represented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MessageKind {
    Bytes,
    Pod,
    Serde,
}

impl MessageKind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            MessageKind::Bytes => "bytes",
            MessageKind::Pod => "plain data",
            MessageKind::Serde => "encoded by serde",
        }
    }
}

/// When a named segment goes away.
///
/// ```
/// use ringway::{Lifetime, Options};
///
/// let survives_its_users = Options::new(1024).lifetime(Lifetime::Persistent);
/// # let _ = survives_its_users;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// With its last live participant, like a pipe. The default.
    Ephemeral,
    /// When somebody unlinks it.
    Persistent,
}

/// What the elements of a queue are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) size: u64,
    pub(crate) align: u32,
    pub(crate) tag: String,
}

/// Everything that is fixed when a segment is made, but for where its regions lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: MessageKind,
    pub(crate) element: Identity,
    pub(crate) capacity: u64,
    pub(crate) inline_size: u64,
    pub(crate) max_message: u64,
    pub(crate) max_participants: u32,
    /// How many leases one handle may hold.
    pub(crate) leases: u32,
    /// Rows for the leases of all handles together.
    pub(crate) rows: u32,
    /// Bytes that the arena was cut from; 0: there is none.
    pub(crate) arena: u64,
    /// Slots that get their memory together, and give it back; 0: all have it from the start.
    pub(crate) chunk: u64,
    pub(crate) single_producer: bool,
    pub(crate) single_consumer: bool,
    pub(crate) lifetime: Lifetime,
    /// Everybody uses full fences: the creator could not register for membarrier.
    pub(crate) symmetric_fences: bool,
    /// Messages are taken as leases, and count until they are acknowledged.
    pub(crate) joinable: bool,
    /// Every message is for every subscriber.
    pub(crate) broadcast: bool,
    /// Of a broadcast: slow subscribers miss messages.
    pub(crate) drops_oldest: bool,
}

impl Plan {
    /// Whether messages lie in blocks that share a stamp, instead of slots.
    pub(crate) fn uses_blocks(&self) -> bool {
        self.single_producer && self.single_consumer && !self.broadcast
    }
}

#[derive(Clone, Copy)]
#[repr(C)]
struct RawHeader {
    magic: [u8; 8],
    layout_version: u32,
    header_size: u32,
    layout_hash: u64,
    identity: [u64; 2],
    total_size: u64,
    page_size: u32,
    kind: u32,
    flags: u32,
    region_count: u32,
    capacity: u64,
    inline_size: u64,
    max_message: u64,
    element_size: u64,
    element_align: u32,
    tag_len: u32,
    max_participants: u32,
    creator: u32,
    created: u64,
    leases: u32,
    rows: u32,
    arena: u64,
    chunk: u64,
    tag: [u8; MAX_TAG],
    regions: [Region; MAX_REGIONS],
}

/// Where the tag lies in the header.
const TAG_AT: usize = 144;
const RAW_SIZE: usize = size_of::<RawHeader>();
const _: () = assert!(RAW_SIZE == TAG_AT + MAX_TAG + MAX_REGIONS * size_of::<Region>() && RAW_SIZE <= HEADER_SIZE);
const _: () = assert!(core::mem::offset_of!(RawHeader, tag) == TAG_AT);

// SAFETY: integers only; zeros are a valid value.
unsafe impl Zeroable for Region {}
// SAFETY: `repr(C)`, integers only, and the sizes of the fields add up to the
// size of the struct (4 + 4 + 8 + 8): no padding.
unsafe impl Pod for Region {}
const _: () = assert!(size_of::<Region>() == 24);

// SAFETY: integers and arrays of `Pod` only; zeros are a valid value.
unsafe impl Zeroable for RawHeader {}
// SAFETY: `repr(C)`; the sizes of the fields before `tag` add up to `TAG_AT`, which
// is where an assertion above finds it, and the two arrays make up the rest of
// the size: no padding.
unsafe impl Pod for RawHeader {}

const FLAG_SINGLE_PRODUCER: u32 = 1;
const FLAG_SINGLE_CONSUMER: u32 = 2;
const FLAG_PERSISTENT: u32 = 4;
const FLAG_SYMMETRIC_FENCES: u32 = 8;
const FLAG_JOINABLE: u32 = 16;
const FLAG_BROADCAST: u32 = 32;
const FLAG_DROPS_OLDEST: u32 = 64;

/// A validated header: private to this process, never read from the segment again.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) plan: Plan,
    pub(crate) identity: u128,
    pub(crate) total_size: u64,
    pub(crate) created: u64,
    /// For display only.
    pub(crate) creator: u32,
    regions: Vec<Region>,
}

impl Header {
    /// Lays `regions` out one after the other.
    pub(crate) fn new(
        plan: Plan,
        identity: u128,
        created: u64,
        wanted: &[(RegionKind, u64)],
    ) -> Result<Self, SetupError> {
        let too_large = || SetupError::options("the queue would be larger than the address space");
        let mut offset = HEADER_SIZE as u64;
        let mut regions = Vec::new();
        for &(kind, len) in wanted {
            regions.push(Region { kind: kind as u32, version: 1, offset, len });
            offset = offset.checked_add(len).ok_or_else(too_large)?;
            offset = offset.checked_next_multiple_of(REGION_ALIGN).ok_or_else(too_large)?;
        }
        if offset > 1 << 46 {
            return Err(too_large());
        }
        let total_size = offset.next_multiple_of(crate::sys::mem::page_size() as u64);
        Ok(Header { plan, identity, total_size, created, creator: std::process::id(), regions })
    }

    /// Where the one region of this kind lies.
    pub(crate) fn region(&self, kind: RegionKind) -> Result<Region, SetupError> {
        self.regions
            .iter()
            .copied()
            .find(|r| r.kind == kind as u32 && r.version == 1)
            .ok_or_else(|| SetupError::not_a_segment(format!("it has no {kind:?} region of version 1")))
    }

    pub(crate) fn to_bytes(&self) -> [u8; RAW_SIZE] {
        let plan = &self.plan;
        let mut raw = RawHeader::zeroed();
        raw.magic = MAGIC;
        raw.layout_version = LAYOUT_VERSION;
        raw.header_size = HEADER_SIZE as u32;
        raw.identity = [self.identity as u64, (self.identity >> 64) as u64];
        raw.total_size = self.total_size;
        raw.page_size = crate::sys::mem::page_size() as u32;
        raw.kind = match plan.kind {
            MessageKind::Bytes => 1,
            MessageKind::Pod => 2,
            MessageKind::Serde => 3,
        };
        let flag = |set: bool, flag| if set { flag } else { 0 };
        raw.flags = flag(plan.single_producer, FLAG_SINGLE_PRODUCER)
            | flag(plan.single_consumer, FLAG_SINGLE_CONSUMER)
            | flag(plan.lifetime == Lifetime::Persistent, FLAG_PERSISTENT)
            | flag(plan.symmetric_fences, FLAG_SYMMETRIC_FENCES)
            | flag(plan.joinable, FLAG_JOINABLE)
            | flag(plan.broadcast, FLAG_BROADCAST)
            | flag(plan.drops_oldest, FLAG_DROPS_OLDEST);
        raw.region_count = self.regions.len() as u32;
        raw.capacity = plan.capacity;
        raw.inline_size = plan.inline_size;
        raw.max_message = plan.max_message;
        raw.element_size = plan.element.size;
        raw.element_align = plan.element.align;
        raw.max_participants = plan.max_participants;
        raw.leases = plan.leases;
        raw.rows = plan.rows;
        raw.arena = plan.arena;
        raw.chunk = plan.chunk;
        raw.creator = self.creator;
        raw.created = self.created;
        let tag = plan.element.tag.as_bytes();
        raw.tag_len = tag.len() as u32;
        raw.tag[..tag.len()].copy_from_slice(tag);
        raw.regions[..self.regions.len()].copy_from_slice(&self.regions);
        raw.layout_hash = hash(&raw);
        let mut bytes = [0; RAW_SIZE];
        bytes.copy_from_slice(bytemuck::bytes_of(&raw));
        bytes
    }

    /// Validates a private copy of the first bytes of a file of `file_size` bytes.
    pub(crate) fn parse(bytes: &[u8], file_size: u64) -> Result<Header, SetupError> {
        let not_ours = SetupError::not_a_segment;
        let Some(bytes) = bytes.get(..RAW_SIZE) else {
            return Err(not_ours(format!("it has only {} bytes", bytes.len())));
        };
        let raw: RawHeader = bytemuck::pod_read_unaligned(bytes);
        if raw.magic[..7] != MAGIC[..7] {
            return Err(not_ours("it does not begin with ringway's magic".into()));
        }
        if raw.magic[7] != MAGIC[7] || raw.layout_version != LAYOUT_VERSION {
            return Err(SetupError::new(SetupErrorKind::VersionMismatch {
                expected: LAYOUT_VERSION,
                found: raw.layout_version,
            }));
        }
        if raw.layout_hash != hash(&raw) {
            return Err(not_ours("its header is damaged (the layout hash does not fit)".into()));
        }
        if raw.total_size < HEADER_SIZE as u64 {
            return Err(not_ours("its header is damaged (it is larger than the segment)".into()));
        }
        if raw.total_size > file_size {
            return Err(not_ours(format!("it was cut to {file_size} of {} bytes", raw.total_size)));
        }
        if u64::from(raw.page_size) != crate::sys::mem::page_size() as u64 {
            return Err(not_ours(format!("it was made for pages of {} bytes", raw.page_size)));
        }
        let kind = match raw.kind {
            1 => MessageKind::Bytes,
            2 => MessageKind::Pod,
            3 => MessageKind::Serde,
            other => return Err(not_ours(format!("its messages are of an unknown kind, {other}"))),
        };
        let tag = raw.tag.get(..raw.tag_len as usize).and_then(|tag| std::str::from_utf8(tag).ok());
        let tag = tag.ok_or_else(|| not_ours("its element tag is damaged".into()))?;
        let regions = raw.regions.get(..raw.region_count as usize);
        let regions = regions.ok_or_else(|| not_ours("its region directory is damaged".into()))?;
        for region in regions {
            let end = region.offset.checked_add(region.len);
            let inside = region.offset >= HEADER_SIZE as u64
                && region.offset.is_multiple_of(REGION_ALIGN)
                && end.is_some_and(|end| end <= raw.total_size);
            if !inside {
                return Err(not_ours("a region lies outside of it".into()));
            }
        }
        Ok(Header {
            plan: Plan {
                kind,
                element: Identity { size: raw.element_size, align: raw.element_align, tag: tag.to_owned() },
                capacity: raw.capacity,
                inline_size: raw.inline_size,
                max_message: raw.max_message,
                max_participants: raw.max_participants,
                leases: raw.leases,
                rows: raw.rows,
                arena: raw.arena,
                chunk: raw.chunk,
                single_producer: raw.flags & FLAG_SINGLE_PRODUCER != 0,
                single_consumer: raw.flags & FLAG_SINGLE_CONSUMER != 0,
                lifetime: if raw.flags & FLAG_PERSISTENT != 0 { Lifetime::Persistent } else { Lifetime::Ephemeral },
                symmetric_fences: raw.flags & FLAG_SYMMETRIC_FENCES != 0,
                joinable: raw.flags & FLAG_JOINABLE != 0,
                broadcast: raw.flags & FLAG_BROADCAST != 0,
                drops_oldest: raw.flags & FLAG_DROPS_OLDEST != 0,
            },
            identity: u128::from(raw.identity[0]) | u128::from(raw.identity[1]) << 64,
            total_size: raw.total_size,
            created: raw.created,
            creator: raw.creator,
            regions: regions.to_vec(),
        })
    }

    /// What a header says that [`parse`](Header::parse) refuses because it is damaged
    /// or the file was cut: for display only, never to map anything by. None if it
    /// is not a header of this version at all.
    pub(crate) fn salvage(bytes: &[u8]) -> Option<Header> {
        let mut raw: RawHeader = bytemuck::pod_read_unaligned(bytes.get(..RAW_SIZE)?);
        if raw.magic != MAGIC || raw.layout_version != LAYOUT_VERSION {
            return None;
        }
        raw.page_size = crate::sys::mem::page_size() as u32;
        let tag = raw.tag.get(..raw.tag_len as usize).and_then(|tag| std::str::from_utf8(tag).ok());
        if tag.is_none() {
            raw.tag_len = 0;
        }
        let total = raw.total_size;
        let inside = |r: &&Region| {
            r.offset >= HEADER_SIZE as u64
                && r.offset.is_multiple_of(REGION_ALIGN)
                && r.offset.checked_add(r.len).is_some_and(|end| end <= total)
        };
        let regions: Vec<Region> = raw.regions.iter().filter(inside).copied().collect();
        raw.regions = [Region::zeroed(); MAX_REGIONS];
        raw.regions[..regions.len()].copy_from_slice(&regions);
        raw.region_count = regions.len() as u32;
        raw.layout_hash = hash(&raw);
        Header::parse(bytemuck::bytes_of(&raw), u64::MAX).ok()
    }
}

/// Longest element tag, in bytes.
pub(crate) fn max_tag() -> usize {
    MAX_TAG
}

/// FNV-1a over the header with its hash field zeroed, the word size and the byte
/// order. It detects damage and foreign layouts; it is no protection against
/// anybody.
fn hash(raw: &RawHeader) -> u64 {
    let mut plain = *raw;
    plain.layout_hash = 0;
    let machine = [usize::BITS as u8, u8::from(cfg!(target_endian = "little"))];
    bytemuck::bytes_of(&plain)
        .iter()
        .chain(&machine)
        .fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Header {
        let plan = Plan {
            kind: MessageKind::Pod,
            element: Identity { size: 8, align: 8, tag: "u64".into() },
            capacity: 3,
            inline_size: 8,
            max_message: 8,
            max_participants: 64,
            leases: 8,
            rows: 512,
            arena: 0,
            chunk: 0,
            single_producer: true,
            single_consumer: false,
            lifetime: Lifetime::Persistent,
            symmetric_fences: false,
            joinable: false,
            broadcast: false,
            drops_oldest: false,
        };
        Header::new(plan, 7 << 64 | 9, 1_700_000_000, &[(RegionKind::Ring, 512), (RegionKind::Slots, 48)]).unwrap()
    }

    #[test]
    fn a_header_survives_the_round_trip() {
        let header = sample();
        let parsed = Header::parse(&header.to_bytes(), header.total_size).unwrap();
        assert_eq!(parsed.plan, header.plan);
        assert_eq!(parsed.identity, header.identity);
        assert_eq!(parsed.region(RegionKind::Slots).unwrap(), header.region(RegionKind::Slots).unwrap());
    }

    /// Golden numbers: whoever changes them changes the layout version too.
    #[test]
    fn golden_layout() {
        let bytes = sample().to_bytes();
        assert_eq!(bytes.len(), 648);
        assert_eq!(&bytes[..8], b"ringway\x01");
        assert_eq!(bytes[8..12], 7u32.to_le_bytes());
        assert_eq!(bytes[12..16], 4096u32.to_le_bytes());
        assert_eq!(bytes[24..32], 9u64.to_le_bytes());
        assert_eq!(bytes[40..48], 8192u64.to_le_bytes());
        assert_eq!(bytes[52..60], [2, 0, 0, 0, 5, 0, 0, 0]);
        assert_eq!(bytes[64..72], 3u64.to_le_bytes());
        assert_eq!(&bytes[144..147], b"u64");
        assert_eq!(bytes[264..280], [1, 0, 0, 0, 1, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[288..304], [4, 0, 0, 0, 1, 0, 0, 0, 0, 18, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_damaged_byte_is_noticed() {
        let header = sample();
        let good = header.to_bytes();
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x10;
            assert!(Header::parse(&bad, header.total_size).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_damaged_header_still_says_something() {
        let header = sample();
        let good = header.to_bytes();
        for at in 0..good.len() {
            let mut bad = good;
            bad[at] ^= 0x10;
            let salvaged = Header::salvage(&bad);
            // Magic, version, kind of messages.
            assert_eq!(salvaged.is_none(), at < 12 || (52..56).contains(&at), "byte {at}");
        }
        assert_eq!(Header::salvage(&good).unwrap().plan, header.plan);
    }

    #[test]
    fn short_files_and_other_versions_are_told_apart() {
        let header = sample();
        let good = header.to_bytes();
        for len in [0, 1, RAW_SIZE - 1] {
            let error = Header::parse(&good[..len], len as u64).unwrap_err();
            assert!(matches!(error.kind(), SetupErrorKind::NotASegment { .. }));
        }
        let error = Header::parse(&good, header.total_size - 1).unwrap_err();
        assert!(error.to_string().contains("cut to"), "{error}");
        let mut newer = good;
        newer[8] = LAYOUT_VERSION as u8 + 1;
        let error = Header::parse(&newer, header.total_size).unwrap_err();
        assert_eq!(
            *error.kind(),
            SetupErrorKind::VersionMismatch { expected: LAYOUT_VERSION, found: LAYOUT_VERSION + 1 }
        );
    }
}
