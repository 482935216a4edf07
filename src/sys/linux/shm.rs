//! Shared-memory files: nameless ones, their publication under a name, and what
//! memory there is to put them in.

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FallocateFlags, OFlag, fallocate, open, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use nix::sys::statfs::{TMPFS_MAGIC, fstatfs};
use nix::sys::statvfs::fstatvfs;
use nix::unistd::{UnlinkatFlags, ftruncate, geteuid, linkat, unlinkat};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What fstat says that we care about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) links: u64,
    pub(crate) size: u64,
    pub(crate) owner: u32,
    pub(crate) mode: u32,
    pub(crate) kind: FileKind,
}

/// The type of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    Other,
}

impl From<FileStat> for Stat {
    fn from(s: FileStat) -> Stat {
        let kind = match SFlag::from_bits_truncate(s.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => FileKind::Regular,
            SFlag::S_IFDIR => FileKind::Directory,
            SFlag::S_IFLNK => FileKind::Symlink,
            SFlag::S_IFIFO => FileKind::Fifo,
            _ => FileKind::Other,
        };
        Stat {
            device: s.st_dev,
            inode: s.st_ino,
            links: s.st_nlink,
            size: u64::try_from(s.st_size).unwrap_or(0),
            owner: s.st_uid,
            mode: s.st_mode & 0o7777,
            kind,
        }
    }
}

pub(crate) fn stat(file: impl AsFd) -> io::Result<Stat> {
    Ok(fstat(file)?.into())
}

/// The user that owns what we create.
pub(crate) fn user() -> u32 {
    geteuid().as_raw()
}

/// Opens a directory, which must not be a symbolic link.
pub(crate) fn open_dir(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    Ok(File::from(open(path, flags, Mode::empty())?))
}

/// Makes a directory for this user alone. One that exists is fine.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    match mkdirat(AT_FDCWD, path, Mode::S_IRWXU) {
        Err(e) if e != Errno::EEXIST => Err(e.into()),
        _ => Ok(()),
    }
}

/// Whether this directory lies on a memory file system.
pub(crate) fn is_tmpfs(dir: impl AsFd) -> io::Result<bool> {
    Ok(fstatfs(dir)?.filesystem_type() == TMPFS_MAGIC)
}

/// A file without a name, on the file system of `dir`, readable by its owner only.
pub(crate) fn create_nameless(dir: &File) -> io::Result<File> {
    let flags = OFlag::O_TMPFILE | OFlag::O_RDWR | OFlag::O_CLOEXEC;
    let file = openat(dir, ".", flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
    // The umask may have taken bits away; fchmod does not ask it.
    fchmod(&file, Mode::S_IRUSR | Mode::S_IWUSR)?;
    Ok(File::from(file))
}

/// A memory file that never has a name. Sealing is allowed, execution is not
/// (older kernels do not know that flag).
pub(crate) fn create_anonymous() -> io::Result<File> {
    let base = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let noexec = MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    match memfd_create("ringway", base | noexec) {
        Err(Errno::EINVAL) => Ok(File::from(memfd_create("ringway", base)?)),
        other => Ok(File::from(other?)),
    }
}

/// Forbids that anybody, we included, changes the size of an anonymous file.
pub(crate) fn seal_size(file: &File) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, SealFlag, fcntl};
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

/// Gives `file` its size and every page of it that does not lie in one of the `holes`,
/// which are in order.
pub(crate) fn allocate(file: &File, size: u64, holes: &[Range<u64>]) -> io::Result<()> {
    ftruncate(file, offset(size)?)?;
    let mut from = 0;
    for hole in holes {
        back(file, from..hole.start)?;
        from = hole.end;
    }
    back(file, from..size)
}

fn offset(bytes: u64) -> io::Result<i64> {
    i64::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))
}

/// Gives a part of `file` every page, or nothing: a partial allocation is rolled back by
/// the kernel. What has pages keeps them as they are.
pub(crate) fn back(file: &File, part: Range<u64>) -> io::Result<()> {
    change(file, FallocateFlags::empty(), part)
}

/// Takes the pages of a part of `file`, whose size stays: zeros are read there.
pub(crate) fn punch(file: &File, part: Range<u64>) -> io::Result<()> {
    change(file, FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE, part)
}

fn change(file: &File, flags: FallocateFlags, part: Range<u64>) -> io::Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    loop {
        match fallocate(file, flags, offset(part.start)?, offset(part.end - part.start)?) {
            Err(Errno::EINTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Bytes of memory that `file` has.
pub(crate) fn backed(file: impl AsFd) -> io::Result<u64> {
    Ok(u64::try_from(fstat(file)?.st_blocks).unwrap_or(0).saturating_mul(512))
}

/// A description of its own for the same file: locks taken through it conflict
/// with those of every other description. Needs `/proc`.
pub(crate) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::from(open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?))
}

/// The first number that is not one of the standard streams'.
pub(super) const FIRST_NUMBER: i32 = 3;

/// The same descriptor under a number that no standard stream has.
pub(crate) fn above_the_streams(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() >= FIRST_NUMBER {
        return Ok(fd);
    }
    let number = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(FIRST_NUMBER))?;
    // SAFETY: just made, and nobody else knows of it.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// The file that is mapped at exactly these addresses, through `/proc`, where the kernel
/// allows that.
pub(crate) fn open_mapped(range: std::ops::Range<usize>) -> io::Result<File> {
    let path = format!("/proc/self/map_files/{:x}-{:x}", range.start, range.end);
    Ok(File::from(open(path.as_str(), OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?))
}

/// Whether `/proc` is there to re-open descriptors through.
pub(crate) fn proc_mounted() -> bool {
    Path::new("/proc/self/fd").exists()
}

/// Gives a nameless file its name. False: the name is taken.
pub(crate) fn publish(file: &File, dir: &File, name: &str) -> io::Result<bool> {
    let source = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match linkat(AT_FDCWD, &source, dir, name, AtFlags::AT_SYMLINK_FOLLOW) {
        Ok(()) => Ok(true),
        Err(Errno::EEXIST) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Opens a name in `dir` for reading and writing, without following a link or
/// waiting for the other end of a FIFO. None: there is no such name.
pub(crate) fn open_named(dir: &File, name: &str) -> io::Result<Option<File>> {
    let flags = OFlag::O_RDWR | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
    match openat(dir, name, flags, Mode::empty()) {
        Ok(file) => Ok(Some(File::from(file))),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// What `name` means right now, without opening it. None: nothing.
pub(crate) fn stat_named(dir: &File, name: &str) -> io::Result<Option<Stat>> {
    match nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(s) => Ok(Some(s.into())),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Removes a name. The file lives on while it is open or mapped.
pub(crate) fn unlink_named(dir: &File, name: &str) -> io::Result<()> {
    Ok(unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?)
}

/// Bytes free for an unprivileged user on the file system of `file`.
pub(crate) fn free_on(file: impl AsFd) -> io::Result<u64> {
    let s = fstatvfs(file)?;
    Ok(s.blocks_available().saturating_mul(s.fragment_size()))
}

/// Bytes of memory that the machine could still give, and what the control
/// group's limit leaves of them, where each is known.
pub(crate) fn free_memory() -> (Option<u64>, Option<u64>) {
    (meminfo_available(), cgroup_left())
}

fn meminfo_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The tightest `memory.max - memory.current` on the way from our cgroup (v2)
/// to the root, or the v1 limit.
fn cgroup_left() -> Option<u64> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut least: Option<u64> = None;
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let (root, max, current) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max", "memory.current")
        } else if controllers.split(',').any(|c| c == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes")
        } else {
            continue;
        };
        let mut group = Path::new(group.trim_start_matches('/'));
        loop {
            let dir = Path::new(root).join(group);
            if let (Some(max), Some(current)) = (number(dir.join(max)), number(dir.join(current))) {
                let left = max.saturating_sub(current);
                least = Some(least.map_or(left, |l| l.min(left)));
            }
            match group.parent() {
                Some(parent) => group = parent,
                None => break,
            }
        }
    }
    least
}

/// A descriptor that is kept for long. If somebody closes it behind our back
/// (`close_range`), its number may come to mean another file, which is not ours to close.
#[derive(Debug)]
pub(crate) struct Kept {
    file: std::mem::ManuallyDrop<File>,
    /// Device and inode.
    identity: (u64, u64),
}

impl Kept {
    pub(crate) fn new(file: File) -> io::Result<Kept> {
        let stat = stat(&file)?;
        Ok(Kept { file: std::mem::ManuallyDrop::new(file), identity: (stat.device, stat.inode) })
    }

    /// Whether `file` is the same file.
    pub(crate) fn is(&self, file: impl AsFd) -> bool {
        stat(file).is_ok_and(|stat| (stat.device, stat.inode) == self.identity)
    }

    /// Whether the descriptor still means the file.
    pub(crate) fn is_intact(&self) -> bool {
        self.is(&*self.file)
    }
}

impl std::ops::Deref for Kept {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if self.is_intact() {
            // SAFETY: dropped once, here.
            #[allow(unsafe_code)]
            unsafe {
                std::mem::ManuallyDrop::drop(&mut self.file)
            }
        }
    }
}
