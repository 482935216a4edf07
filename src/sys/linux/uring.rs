//! io_uring, for sleeping on futex words without a thread that sleeps: its descriptor becomes
//! readable when a word was woken or a timer has run out.

#![allow(unsafe_code)]

use super::futex::SHARED_U32;
use io_uring::{IoUring, opcode, squeue, types};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU32;

/// A ring of the kernel's.
pub(crate) struct Uring(IoUring);

/// What is asked for in one call.
const ENTRIES: u32 = 16;
/// How many answers fit before the kernel keeps a list of its own.
const ANSWERS: u32 = 256;

/// What has come of a request.
pub(crate) struct Answer {
    /// As the request was called.
    pub(crate) name: u64,
    /// It was done, not refused.
    pub(crate) is_done: bool,
}

impl Uring {
    /// Fails where the kernel has no io_uring or none that can sleep on words (before 6.7), and
    /// where a filter or a setting refuses it.
    pub(crate) fn new() -> io::Result<Uring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_cqsize(ANSWERS);
        let mut uring = Uring(builder.build(ENTRIES)?);
        // By trying: what the kernel says that it has may be refused all the same. A word that
        // is not what is expected answers at once.
        let word = AtomicU32::new(0);
        uring.sleep_on(&word, 1, 0)?;
        uring.0.submit_and_wait(1)?;
        let answer = uring.0.completion().next();
        match answer.map(|answer| -answer.result()) {
            Some(libc::EAGAIN) => Ok(uring),
            refused => {
                Err(io::Error::from_raw_os_error(refused.filter(|error| *error > 0).unwrap_or(libc::EOPNOTSUPP)))
            }
        }
    }

    /// Asks to be told, by `name`, when `word` is woken, or reads something else than `expected`
    /// now. Takes effect with [`submit`](Uring::submit), which reads the word.
    pub(crate) fn sleep_on(&mut self, word: &AtomicU32, expected: u32, name: u64) -> io::Result<()> {
        let mask = u64::from(libc::FUTEX_BITSET_MATCH_ANY as u32);
        let request = opcode::FutexWait::new(word.as_ptr().cast_const(), u64::from(expected), mask, SHARED_U32).build();
        self.push(&request.user_data(name))
    }

    /// Asks to be told, by `name`, after so long.
    pub(crate) fn tell_after(&mut self, ns: u64, name: u64) -> io::Result<()> {
        let time = types::Timespec::new().sec(ns / 1_000_000_000).nsec((ns % 1_000_000_000) as u32);
        self.push(&opcode::Timeout::new(&time).build().user_data(name))?;
        // While `time` is there.
        self.submit()
    }

    /// Takes back what was asked by that name.
    pub(crate) fn take_back(&mut self, name: u64, own_name: u64) -> io::Result<()> {
        self.push(&opcode::AsyncCancel::new(name).build().user_data(own_name))
    }

    fn push(&mut self, request: &squeue::Entry) -> io::Result<()> {
        // SAFETY: what a request points to is read in the call that submits it, not later. The
        // callers keep it that long: `tell_after` submits itself; of a word the kernel keeps what
        // it hashes, not the address, so that the mapping may go.
        let pushed = unsafe { self.0.submission().push(request) };
        if pushed.is_ok() {
            return Ok(());
        }
        self.submit()?;
        // SAFETY: as above.
        unsafe { self.0.submission().push(request) }.map_err(|_| io::ErrorKind::ResourceBusy.into())
    }

    /// Hands over what was asked.
    pub(crate) fn submit(&mut self) -> io::Result<()> {
        loop {
            match self.0.submit() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done.map(drop),
            }
        }
    }

    /// The answers that have come.
    pub(crate) fn answers(&mut self) -> Vec<Answer> {
        if self.0.submission().cq_overflow() {
            let _ = self.submit();
        }
        let answer =
            |answer: io_uring::cqueue::Entry| Answer { name: answer.user_data(), is_done: answer.result() >= 0 };
        self.0.completion().map(answer).collect()
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the ring keeps it open while it is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.0.as_raw_fd()) }
    }
}

/// A descriptor that never becomes readable.
pub(crate) fn silent_fd() -> io::Result<OwnedFd> {
    // SAFETY: takes no pointers; what it returns is ours.
    unsafe {
        let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
        if fd < 0 { Err(io::Error::last_os_error()) } else { Ok(OwnedFd::from_raw_fd(fd)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::futex;

    #[test]
    fn a_word_that_is_woken_is_told() {
        let Ok(mut uring) = Uring::new() else { return };
        let word = AtomicU32::new(7);
        uring.sleep_on(&word, 7, 42).and_then(|()| uring.submit()).expect("it was tried");
        assert!(uring.answers().is_empty());
        assert_eq!(futex::wake(&word, 1), 1);
        let answers = uring.answers();
        assert_eq!(answers.iter().map(|answer| (answer.name, answer.is_done)).collect::<Vec<_>>(), [(42, true)]);
        uring.sleep_on(&word, 7, 43).and_then(|()| uring.submit()).expect("it was tried");
        uring.take_back(43, 1).and_then(|()| uring.submit()).expect("it was tried");
        let mut names: Vec<_> = uring.answers().iter().map(|answer| (answer.name, answer.is_done)).collect();
        names.sort();
        assert_eq!(names, [(1, true), (43, false)]);
        assert_eq!(futex::wake(&word, 1), 0);
    }
}
