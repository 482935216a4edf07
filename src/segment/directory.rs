//! Where named segments live, and what a name may be.

use crate::error::{SetupError, SetupErrorKind};
use crate::sys::shm::{self, FileKind, Kept};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Names the directory of named segments.
const DIRECTORY_VARIABLE: &str = "RINGWAY_DIR";

const SHARED_MEMORY: &str = "/dev/shm";

/// A checked queue name: one path component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SegmentName(String);

impl SegmentName {
    const MAX_LEN: usize = 200;

    pub(crate) fn new(name: &OsStr) -> Result<SegmentName, SetupError> {
        let invalid = |reason| SetupError::new(SetupErrorKind::InvalidName { reason });
        let name = name.to_str().ok_or_else(|| invalid("it is not UTF-8"))?;
        match name {
            "" => Err(invalid("it is empty")),
            "." | ".." => Err(invalid("it is a directory's own name")),
            _ if name.len() > SegmentName::MAX_LEN => Err(invalid("it is longer than 200 bytes")),
            _ if name.contains('/') => Err(invalid("it contains '/'")),
            _ if name.contains('\0') => Err(invalid("it contains a NUL byte")),
            _ => Ok(SegmentName(name.to_owned())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The open directory of one user's named segments.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) file: Kept,
    /// To open it again, should somebody close the descriptor.
    pub(crate) path: PathBuf,
}

impl Directory {
    /// The given directory, else `RINGWAY_DIR`, else the user's own under
    /// `/dev/shm`. One deterministic place, never a fall-back.
    pub(crate) fn path(explicit: Option<&Path>) -> PathBuf {
        match explicit {
            Some(path) => path.to_owned(),
            None => match std::env::var_os(DIRECTORY_VARIABLE) {
                Some(path) => PathBuf::from(path),
                None => Path::new(SHARED_MEMORY).join(format!("ringway-{}", shm::user())),
            },
        }
    }

    /// Opens the directory of [`path`](Directory::path), and makes it if it is not there.
    pub(crate) fn open(explicit: Option<&Path>) -> Result<Directory, SetupError> {
        let path = Directory::path(explicit);
        if path.starts_with(SHARED_MEMORY) && !Path::new(SHARED_MEMORY).is_dir() {
            return Err(SetupError::directory(format!("{SHARED_MEMORY} does not exist"), None));
        }
        shm::make_private_dir(&path)
            .map_err(|e| SetupError::directory(format!("{} cannot be made", path.display()), Some(e)))?;
        Directory::examine(&path)
    }

    /// The same, for somebody who only looks: None if it is not there.
    pub(crate) fn existing(explicit: Option<&Path>) -> Result<Option<Directory>, SetupError> {
        let path = Directory::path(explicit);
        match std::fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            _ => Directory::examine(&path).map(Some),
        }
    }

    fn examine(path: &Path) -> Result<Directory, SetupError> {
        let refuse = |why: &str, source| SetupError::directory(format!("{} {why}", path.display()), source);
        let file = shm::open_dir(path).map_err(|e| refuse("is not a directory that can be opened", Some(e)))?;
        let stat = shm::stat(&file).map_err(|e| refuse("cannot be examined", Some(e)))?;
        if stat.kind != FileKind::Directory {
            return Err(refuse("is not a directory", None));
        }
        if stat.owner != shm::user() {
            return Err(refuse(&format!("belongs to user {}, not to user {}", stat.owner, shm::user()), None));
        }
        if stat.mode & 0o022 != 0 {
            return Err(refuse("can be written by other users", None));
        }
        if !shm::is_tmpfs(&file).map_err(|e| refuse("cannot be examined", Some(e)))? {
            return Err(refuse("is not on a tmpfs", None));
        }
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let file = Kept::new(file)
            .map_err(|e| SetupError::directory(format!("{} cannot be examined", path.display()), Some(e)))?;
        Ok(Directory { file, path })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn names_are_one_component() {
        let bad: [&[u8]; 8] = [b"", b".", b"..", b"a/b", b"/a", b"a\0b", b"\xff\xfe", &[b'x'; 201]];
        for name in bad {
            let error = SegmentName::new(OsStr::from_bytes(name)).unwrap_err();
            assert!(matches!(error.kind(), SetupErrorKind::InvalidName { .. }), "{name:?}: {error}");
        }
        for name in ["a", "...", "über-queue", &"x".repeat(200)] {
            assert_eq!(SegmentName::new(OsStr::new(name)).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = Directory::open(Some(dir.path())).unwrap_err();
        assert!(error.to_string().contains("can be written by other users"), "{error}");
    }

    #[test]
    fn a_directory_elsewhere_than_on_a_tmpfs_is_refused() {
        let error = Directory::open(Some(Path::new("/proc/self"))).unwrap_err();
        assert!(matches!(error.kind(), SetupErrorKind::Directory { .. }), "{error}");
    }
}
