//! Create, open, unlink: from nothing to a mapped segment, and back.
//!
//! | step | who owns the memory afterwards |
//! |---|---|
//! | create | the creator; named segments also their name |
//! | open | every participant, equally |
//! | leave (drop) | the others; the last one unlinks an ephemeral name |
//! | unlink | whoever still has it mapped; then nobody |
//!
//! A segment is built without a name, whole, with its first participant's life
//! lock held, and only then linked: no opener ever sees half of it, and a
//! creator killed on the way leaves nothing.

#![allow(unsafe_code)]

use super::directory::{Directory, SegmentName};
use super::header::{HEADER_SIZE, Header, Lifetime, MARKS_LEN, MARKS_OFFSET, Plan, Region, RegionKind};
use super::members::{ADMIN_BYTE, Keeper, Member, Population, unforked};
use crate::error::{SetupError, SetupErrorKind};
use crate::primitive::seeded;
use crate::sys::lock::{self, Kind};
use crate::sys::mem::{self, generation};
use crate::sys::shm::{self, FileKind, Kept, Stat};
use crate::sys::sigbus::Watched;
use memmap2::MmapRaw;
use std::fs::File;
use std::mem::ManuallyDrop;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::time::Duration;

/// Attempts at a name that others create and remove meanwhile.
const NAME_ATTEMPTS: u32 = 64;

/// Attempts at the admin byte while somebody unlinks.
const ADMIN_ATTEMPTS: u32 = 2000;
const ADMIN_PAUSE: Duration = Duration::from_micros(100);

/// How long the last one to leave waits for processes that were just started to
/// let go of what they inherited: 50 ms at most.
pub(super) const GHOST_ATTEMPTS: u32 = 250;
const GHOST_PAUSE: Duration = Duration::from_micros(200);

/// Where a named segment is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) directory: Arc<Directory>,
    pub(crate) name: SegmentName,
}

/// A mapped segment.
pub(crate) struct Segment {
    map: ManuallyDrop<MmapRaw>,
    /// Gone before the mapping is.
    watched: ManuallyDrop<Watched>,
    /// For tests, listing and hand-over. It owns no lock, ever.
    file: Kept,
    header: Header,
    place: Option<Place>,
    born: u64,
}

impl Segment {
    /// Makes a segment: under a name, or anonymous. `initialise` sets up the
    /// regions, which are zero; nobody else sees them yet. All of it has memory, but for
    /// the parts of the file that are `holes` of its header.
    pub(crate) fn create(
        place: Option<&Place>,
        plan: Plan,
        regions: &[(RegionKind, u64)],
        holes: impl Fn(&Header) -> Vec<Range<u64>>,
        prefault: u64,
        initialise: impl Fn(&Segment),
        keeper: Keeper<'_>,
    ) -> Result<Member, SetupError> {
        if !shm::proc_mounted() {
            return Err(SetupError::new(SetupErrorKind::NoProc));
        }
        if let Some(place) = place {
            // Before: what the dead have left may be the room that we need.
            super::stale::sweep(place);
        }
        for _ in 0..NAME_ATTEMPTS {
            if let Some(place) = place {
                Segment::make_room(place)?;
            }
            let header = Header::new(plan.clone(), random_identity()?, unix_seconds(), regions)?;
            let file = match place {
                Some(place) => shm::create_nameless(&place.directory.file),
                None => shm::create_anonymous(),
            }
            .map_err(|e| SetupError::system("making a shared-memory file", e))?;
            reserve(&file, header.total_size, &holes(&header), place.is_some())?;
            file.write_all_at(&header.to_bytes(), 0).map_err(|e| SetupError::system("writing the header", e))?;
            if place.is_none() {
                shm::seal_size(&file).map_err(|e| SetupError::system("sealing the segment", e))?;
            }
            let segment = Arc::new(Segment::map(file, header, place.cloned(), prefault)?);
            initialise(&segment);
            let member = Member::join(Arc::clone(&segment), keeper)?;
            let Some(place) = place else { return Ok(member) };
            let published = shm::publish(&segment.file, &place.directory.file, place.name.as_str())
                .map_err(|e| SetupError::system("naming the segment", e))?;
            if published {
                return Ok(member);
            }
        }
        Err(SetupError::new(SetupErrorKind::Busy))
    }

    /// Before creating: the name must be free, or belong to a dead ephemeral
    /// segment, which is removed.
    fn make_room(place: &Place) -> Result<(), SetupError> {
        let taken = || SetupError::new(SetupErrorKind::AlreadyExists);
        let Some(file) = shm::open_named(&place.directory.file, place.name.as_str()).map_err(|_| taken())? else {
            return Ok(());
        };
        let header = Segment::read_header(&file).map_err(|_| taken())?;
        if header.plan.lifetime == Lifetime::Persistent {
            return Err(taken());
        }
        if Segment::unlink_if_deserted(&file, place, header.plan.max_participants, GHOST_ATTEMPTS) {
            crate::event!("removed dead ephemeral segment {}", place.name.as_str());
            return Ok(());
        }
        Err(taken())
    }

    /// Opens a named segment, if it is what `check` wants. None: there is no such
    /// name.
    pub(crate) fn open(
        place: &Place,
        prefault: u64,
        check: impl Fn(&Header) -> Result<(), SetupError>,
        keeper: Keeper<'_>,
    ) -> Result<Option<Member>, SetupError> {
        if !shm::proc_mounted() {
            return Err(SetupError::new(SetupErrorKind::NoProc));
        }
        for _ in 0..NAME_ATTEMPTS {
            let opened = shm::open_named(&place.directory.file, place.name.as_str());
            let Some(file) = opened.map_err(|e| what_it_is_instead(place, e))? else {
                return Ok(None);
            };
            let header = Segment::read_header(&file)?;
            // Before joining: a participant that leaves at once could be the last
            // one, and take a dead queue's messages along.
            check(&header)?;
            // The description that holds the admin byte shared, until we are in.
            let unforked = unforked();
            let admin = shm::reopen(&file).map_err(|e| SetupError::system("re-opening the segment", e))?;
            let admin = AdminLock::take(admin, Kind::Shared)?;
            if !names_this(place, &file)? {
                continue;
            }
            let segment = Arc::new(Segment::map(file, header, Some(place.clone()), prefault)?);
            let member = Member::join(segment, keeper)?;
            drop(admin);
            drop(unforked);
            super::stale::sweep(place);
            return Ok(Some(member));
        }
        Err(SetupError::new(SetupErrorKind::Busy))
    }

    /// Another participant of a segment that this process has mapped.
    pub(crate) fn join(self: &Arc<Segment>, keeper: Keeper<'_>) -> Result<Member, SetupError> {
        if self.is_inherited() {
            return Err(SetupError::new(SetupErrorKind::Forked));
        }
        // The caller is a participant already, so nobody unlinks meanwhile.
        Member::join(Arc::clone(self), keeper)
    }

    /// Removes a name, whoever uses it: participants keep their mapping.
    pub(crate) fn unlink(place: &Place) -> Result<(), SetupError> {
        for _ in 0..NAME_ATTEMPTS {
            let opened = shm::open_named(&place.directory.file, place.name.as_str());
            let Some(file) = opened.map_err(|e| what_it_is_instead(place, e))? else {
                return Err(SetupError::new(SetupErrorKind::NotFound));
            };
            Segment::read_header(&file)?;
            let _unforked = unforked();
            let admin = shm::reopen(&file).map_err(|e| SetupError::system("re-opening the segment", e))?;
            let _admin = AdminLock::take(admin, Kind::Exclusive)?;
            if names_this(place, &file)? {
                return shm::unlink_named(&place.directory.file, place.name.as_str())
                    .map_err(|e| SetupError::system("removing the name", e));
            }
        }
        Err(SetupError::new(SetupErrorKind::Busy))
    }

    pub(super) fn read_header(file: &File) -> Result<Header, SetupError> {
        let stat = shm::stat(file).map_err(|e| SetupError::system("examining the segment", e))?;
        check_file(&stat)?;
        Segment::parse_header(file, stat.size)
    }

    pub(super) fn parse_header(file: &File, size: u64) -> Result<Header, SetupError> {
        let mut bytes = [0; HEADER_SIZE];
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(SetupError::system("reading the header", e)),
            }
        }
        Header::parse(&bytes[..filled], size)
    }

    pub(super) fn map(file: File, header: Header, place: Option<Place>, prefault: u64) -> Result<Segment, SetupError> {
        let born = generation::current().map_err(|e| SetupError::system("detecting forks", e))?;
        let len =
            usize::try_from(header.total_size).map_err(|_| SetupError::options("larger than the address space"))?;
        // Through another description than the one that is kept for tests.
        let mapped = shm::reopen(&file).map_err(|e| SetupError::system("re-opening the segment", e))?;
        let map = mem::map_shared(&mapped, len).map_err(|e| SetupError::system("mapping the segment", e))?;
        let watched = ManuallyDrop::new(Watched::new(map.as_mut_ptr(), len));
        // Touching a hole would fill it.
        let dense = header.region(RegionKind::Slots).map_or(0, |region| region.offset);
        let prefault = if header.plan.chunk > 0 { prefault.min(dense) } else { prefault };
        mem::prefault(&map, usize::try_from(prefault).unwrap_or(usize::MAX));
        let file = Kept::new(file).map_err(|e| SetupError::system("examining the segment", e))?;
        Ok(Segment { map: ManuallyDrop::new(map), watched, file, header, place, born })
    }

    pub(super) fn map_of(&self) -> &MmapRaw {
        &self.map
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// Whether the file was cut under us, see [`sigbus_guard`](super::sigbus_guard).
    #[inline]
    pub(crate) fn is_torn(&self) -> bool {
        self.watched.is_torn()
    }

    /// The addresses that the segment is mapped at.
    pub(super) fn mapped_range(&self) -> std::ops::Range<usize> {
        let start = self.map.as_ptr() as usize;
        start..start + self.map.len()
    }

    pub(super) fn test_file(&self) -> &Kept {
        &self.file
    }

    /// The attachment marks of all possible participants.
    pub(super) fn marks(&self) -> &[AtomicU8; MARKS_LEN] {
        // SAFETY: the header is a page, and a file that is shorter was refused; the marks
        // lie in it, at any address they are aligned, atomics are valid for any bytes, and
        // nobody accesses them in another way. The mapping lives as long as `self`.
        unsafe { &*self.map.as_mut_ptr().wrapping_add(MARKS_OFFSET as usize).cast() }
    }

    /// The first byte of a region that `header()` vouches for: it lies inside
    /// the mapping. The only maker of pointers into a segment.
    pub(crate) fn region_start(&self, region: Region) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(region.offset as usize)
    }

    /// Whether this process got the segment by fork, and so does not have it.
    pub(crate) fn is_inherited(&self) -> bool {
        generation::current().map_or(true, |now| now != self.born)
    }

    /// The last participant of an ephemeral segment removes its name.
    pub(super) fn retire_if_deserted(&self) {
        let Some(place) = &self.place else { return };
        if self.header.plan.lifetime == Lifetime::Ephemeral {
            let Ok(file) = self.descriptor() else { return };
            Segment::unlink_if_deserted(file.file(), place, self.header.plan.max_participants, GHOST_ATTEMPTS);
        }
    }

    /// Unlinks the name if nobody lives. Whoever finds the admin byte busy leaves
    /// the work to its holder, who looks again after letting go of it: somebody
    /// may have left meanwhile. Ghosts are given `patience` moments to go.
    pub(super) fn unlink_if_deserted(file: &File, place: &Place, max_participants: u32, mut patience: u32) -> bool {
        let mut looks = 2;
        while looks > 0 {
            let unforked = unforked();
            let Ok(own) = shm::reopen(file) else { return false };
            match Segment::population(&own, max_participants) {
                Population::Nobody => looks -= 1,
                Population::Ghosts if patience > 0 => {
                    patience -= 1;
                    drop((own, unforked));
                    std::thread::sleep(GHOST_PAUSE);
                    continue;
                }
                Population::Ghosts | Population::Alive => return false,
            }
            if seeded(21) {
                std::thread::sleep(GHOST_PAUSE);
            }
            if !matches!(lock::try_lock(&own, ADMIN_BYTE, Kind::Exclusive), Ok(true)) {
                return false;
            }
            let gone = (seeded(21) || Segment::population(&own, max_participants) == Population::Nobody)
                && names_this(place, file).unwrap_or(false)
                && shm::unlink_named(&place.directory.file, place.name.as_str()).is_ok();
            lock::unlock(&own, ADMIN_BYTE);
            if gone {
                return true;
            }
        }
        false
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        if !self.is_inherited() {
            // SAFETY: dropped once, here. In a forked child the mapping does not
            // exist, and something else may be at its address.
            unsafe {
                ManuallyDrop::drop(&mut self.watched);
                ManuallyDrop::drop(&mut self.map);
            }
        }
    }
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.place.as_ref().map(|p| p.name.as_str());
        f.debug_struct("Segment").field("name", &name).field("identity", &self.header.identity).finish_non_exhaustive()
    }
}

/// Decides before allocating whether there is room, then allocates every page.
fn reserve(file: &File, total: u64, holes: &[Range<u64>], named: bool) -> Result<(), SetupError> {
    let size = total.saturating_sub(holes.iter().map(|hole| hole.end - hole.start).sum());
    let mut limits = Vec::new();
    if named {
        limits.push((shm::free_on(file).ok(), "the shared-memory file system"));
    }
    let (available, cgroup) = shm::free_memory();
    limits.push((available, "the machine's memory"));
    limits.push((cgroup, "the control group's memory limit"));
    let tightest = limits.into_iter().filter_map(|(free, by)| Some((free?, by))).min_by_key(|(free, _)| *free);
    if let Some((free, limited_by)) = tightest
        && size > free
    {
        return Err(SetupError::new(SetupErrorKind::NoSpace { needed: size, free, limited_by }));
    }
    shm::allocate(file, total, holes).map_err(|e| {
        if e.kind() == std::io::ErrorKind::StorageFull || e.raw_os_error() == Some(libc::ENOMEM) {
            let free = shm::free_on(file).unwrap_or(0);
            let limited_by = "the shared-memory file system";
            SetupError::new(SetupErrorKind::NoSpace { needed: size, free, limited_by })
        } else {
            SetupError::system("allocating the segment", e)
        }
    })
}

/// The admin byte, let go of explicitly: a forked child may have a copy of the
/// descriptor, and would keep the lock.
struct AdminLock(File);

impl AdminLock {
    fn take(own: File, kind: Kind) -> Result<AdminLock, SetupError> {
        for _ in 0..ADMIN_ATTEMPTS {
            if lock::try_lock(&own, ADMIN_BYTE, kind).map_err(|e| SetupError::system("locking", e))? {
                return Ok(AdminLock(own));
            }
            std::thread::sleep(ADMIN_PAUSE);
        }
        Err(SetupError::new(SetupErrorKind::Busy))
    }
}

impl Drop for AdminLock {
    fn drop(&mut self) {
        lock::unlock(&self.0, ADMIN_BYTE);
    }
}

/// Whether the name still means this very file.
fn names_this(place: &Place, file: &File) -> Result<bool, SetupError> {
    let examining = |e| SetupError::system("examining the segment", e);
    let ours = shm::stat(file).map_err(examining)?;
    let named = shm::stat_named(&place.directory.file, place.name.as_str()).map_err(examining)?;
    Ok(ours.links > 0 && named.is_some_and(|n| (n.device, n.inode) == (ours.device, ours.inode)))
}

pub(super) fn check_file(stat: &Stat) -> Result<(), SetupError> {
    let not_ours = |reason: &str| Err(SetupError::not_a_segment(reason));
    match stat.kind {
        FileKind::Regular => {}
        FileKind::Directory => return not_ours("it is a directory"),
        FileKind::Symlink => return not_ours("it is a symbolic link"),
        FileKind::Fifo => return not_ours("it is a FIFO"),
        FileKind::Other => return not_ours("it is not a regular file"),
    }
    if stat.owner != shm::user() {
        return Err(SetupError::not_a_segment(format!("it belongs to user {}", stat.owner)));
    }
    if stat.links > 1 {
        return not_ours("it has other names (hard links) too");
    }
    Ok(())
}

/// Explains why a name could not be opened.
fn what_it_is_instead(place: &Place, error: std::io::Error) -> SetupError {
    if let Ok(Some(stat)) = shm::stat_named(&place.directory.file, place.name.as_str())
        && let Err(explained) = check_file(&stat)
    {
        return explained;
    }
    SetupError::system("opening the segment", error)
}

fn random_identity() -> Result<u128, SetupError> {
    use std::io::Read;
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| SetupError::system("reading random bytes", e))?;
    Ok(u128::from_le_bytes(bytes))
}

pub(crate) fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
