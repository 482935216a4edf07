//! Where reports go: opened before anything is measured, filled when all is.
//!
//! A file is written beside its name and takes the name at the end, so that a run that is ended
//! half-way leaves what was there before. Knows nothing of what is written.

use anyhow::{Context, Result, ensure};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// A file to be written, once.
pub struct Output {
    path: PathBuf,
    file: File,
    /// The name until it is whole; none of what cannot be replaced, such as a pipe or a device.
    temporary: Option<PathBuf>,
}

impl Output {
    /// Fails if the file could not be written in the end.
    pub fn open(path: &Path) -> Result<Output> {
        let failed = || format!("{} cannot be written", path.display());
        // Of a link what it leads to is replaced.
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        ensure!(!target.is_dir(), "{} cannot be written: it is a directory", path.display());
        if target.exists() {
            // Opened and not cut: what is in it stays until there is something better.
            let file = OpenOptions::new().write(true).open(&target).with_context(failed)?;
            if !file.metadata().with_context(failed)?.is_file() {
                return Ok(Output { path: target, file, temporary: None });
            }
        }
        let temporary = beside(&target);
        let file = File::create(&temporary).with_context(failed)?;
        if let Ok(old) = fs::metadata(&target) {
            let _ = fs::set_permissions(&temporary, old.permissions());
        }
        Ok(Output { path: target, file, temporary: Some(temporary) })
    }

    pub fn write(mut self, text: &str) -> Result<()> {
        let failed = || format!("writing {}", self.path.display());
        self.file.write_all(text.as_bytes()).with_context(failed)?;
        if let Some(temporary) = &self.temporary {
            fs::rename(temporary, &self.path).with_context(failed)?;
            self.temporary = None;
        }
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            let _ = fs::remove_file(temporary);
        }
    }
}

fn beside(target: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}.part", std::process::id()));
    target.with_file_name(name)
}

/// A directory for files, made if it is missing.
pub struct Directory(PathBuf);

impl Directory {
    /// Fails if no file could be made in it.
    pub fn open(path: &Path) -> Result<Directory> {
        fs::create_dir_all(path).with_context(|| format!("the directory {} cannot be made", path.display()))?;
        Output::open(&path.join("plot.svg"))?;
        Ok(Directory(path.to_owned()))
    }

    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        Output::open(&self.0.join(name))?.write(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable").flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_only_when_there_is_a_better_one() {
        let directory = tempfile::tempdir().expect("writable");
        let path = directory.path().join("a");
        fs::write(&path, "old").expect("writable");
        drop(Output::open(&path).expect("writable"));
        assert_eq!(fs::read_to_string(&path).expect("there"), "old");
        Output::open(&path).expect("writable").write("new").expect("writable");
        assert_eq!(
            (fs::read_to_string(&path).expect("there").as_str(), names(directory.path())),
            ("new", vec!["a".into()])
        );
    }

    #[test]
    fn a_link_and_a_device_stay_what_they_are() {
        let directory = tempfile::tempdir().expect("writable");
        let (link, file) = (directory.path().join("link"), directory.path().join("file"));
        fs::write(&file, "old").expect("writable");
        std::os::unix::fs::symlink(&file, &link).expect("writable");
        Output::open(&link).expect("writable").write("new").expect("writable");
        assert_eq!(fs::read_to_string(&file).expect("there"), "new");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        Output::open(Path::new("/dev/null")).expect("writable").write("gone").expect("writable");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
    }

    #[test]
    fn what_cannot_be_written_is_said_at_once() {
        let directory = tempfile::tempdir().expect("writable");
        let missing = directory.path().join("no/such");
        for path in [directory.path(), &missing, Path::new("/proc/ringway")] {
            let error = Output::open(path).err().expect("not writable");
            assert!(format!("{error:#}").contains(&path.display().to_string()), "{error:#}");
        }
        fs::write(directory.path().join("file"), "").expect("writable");
        assert!(Directory::open(&directory.path().join("file/below")).is_err());
        assert!(Directory::open(&missing).is_ok_and(|made| made.write("x.svg", "x").is_ok()));
        assert_eq!(names(&missing), ["x.svg"]);
    }
}
