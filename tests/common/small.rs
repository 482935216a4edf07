//! A file system with little room, for queues that find no memory.

use super::Sandbox;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Mounted in a sandbox as long as it is there. Drop what lies in it first.
pub struct Small(PathBuf);

impl Small {
    /// Of 3 MiB. None: nothing can be mounted here.
    pub fn mount(sandbox: &Sandbox) -> Option<Small> {
        let path = sandbox.file("small");
        std::fs::create_dir(&path).expect("a directory");
        let target = CString::new(path.to_str().expect("text")).expect("no zero");
        let options = c"size=3m,mode=700".as_ptr().cast();
        // SAFETY: five strings.
        let mounted = unsafe { libc::mount(c"none".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, options) };
        if mounted != 0 {
            std::fs::remove_dir(&path).expect("empty");
            super::skip("nothing can be mounted here");
            return None;
        }
        Some(Small(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let path = CString::new(self.0.to_str().expect("text")).expect("no zero");
        // SAFETY: a string.
        let unmounted = unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        let removed = std::fs::remove_dir(&self.0);
        if !std::thread::panicking() {
            assert_eq!(unmounted, 0);
            removed.expect("empty");
        }
    }
}
