//! Descriptors through a connected Unix socket (`SCM_RIGHTS`), and who is at its other end.

#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The user whose process connected, listened or made the pair.
pub(crate) fn peer(socket: impl AsFd) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to locals of the sizes that are given.
    let result = unsafe {
        let value = (&raw mut peer).cast();
        libc::getsockopt(socket.as_fd().as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED, value, &raw mut len)
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if len as usize != size_of::<libc::ucred>() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(peer.uid)
}

/// Room for control messages; aligned as their headers must be.
type Control = [u64; 16];

/// A control message that carries a descriptor of the sender's process (`SO_PASSPIDFD`).
const SCM_PIDFD: libc::c_int = 4;

fn message(iov: &mut libc::iovec, control: *mut Control, control_len: usize) -> libc::msghdr {
    // SAFETY: integers and pointers, for which zeros are valid.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = iov;
    message.msg_iovlen = 1;
    if control_len > 0 {
        message.msg_control = control.cast();
        message.msg_controllen = control_len as _;
    }
    message
}

/// So many descriptors go with one message.
pub(crate) const MOST_PASSED: usize = 24;

/// Sends all of `bytes`, and with the first of them `passed`, at most [`MOST_PASSED`]. A peer that is
/// gone is an error, not a signal.
pub(crate) fn send(socket: impl AsFd, mut bytes: &[u8], mut passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    if passed.len() > MOST_PASSED {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    while !bytes.is_empty() {
        let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control: Control = [0; 16];
        let size = (passed.len() * size_of::<libc::c_int>()) as u32;
        // SAFETY: arithmetic only.
        let (space, len) = unsafe { (libc::CMSG_SPACE(size), libc::CMSG_LEN(size)) };
        let room = if passed.is_empty() { 0 } else { space as usize };
        let message = message(&mut iov, &raw mut control, room);
        if !passed.is_empty() {
            // SAFETY: `control` is aligned, zeroed and large enough for one header and
            // `MOST_PASSED` numbers, so the first header exists and its data lie in it.
            unsafe {
                let header = libc::CMSG_FIRSTHDR(&raw const message);
                (*header).cmsg_level = libc::SOL_SOCKET;
                (*header).cmsg_type = libc::SCM_RIGHTS;
                (*header).cmsg_len = len as _;
                let numbers = libc::CMSG_DATA(header).cast::<libc::c_int>();
                for (at, fd) in passed.iter().enumerate() {
                    numbers.add(at).write_unaligned(fd.as_raw_fd());
                }
            }
        }
        // SAFETY: the message points to locals and to `bytes`, which is only read.
        let sent = unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) };
        match usize::try_from(sent) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(sent) => {
                passed = &[];
                bytes = bytes.get(sent..).unwrap_or_default();
            }
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

/// What came with some bytes.
#[derive(Default)]
pub(crate) struct Arrived {
    pub(crate) passed: Vec<OwnedFd>,
    /// There were more than there was room for, in the message or in this process.
    pub(crate) cut_off: bool,
}

/// Fills `bytes`, and no more: what the peer sends after them stays in the socket.
/// `UnexpectedEof`: the peer is gone.
pub(crate) fn receive(socket: impl AsFd, mut bytes: &mut [u8], arrived: &mut Arrived) -> io::Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    while !bytes.is_empty() {
        let mut iov = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        let mut control: Control = [0; 16];
        let mut message = message(&mut iov, &raw mut control, size_of::<Control>());
        // SAFETY: the message points to locals and to `bytes`, which is ours to write.
        let received = unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) };
        match usize::try_from(received) {
            Ok(received) => {
                // Before anything else: they are open.
                take(&message, &mut arrived.passed);
                arrived.cut_off |= message.msg_flags & libc::MSG_CTRUNC != 0;
                if received == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                bytes = std::mem::take(&mut bytes).get_mut(received..).unwrap_or_default();
            }
            Err(_) => match io::Error::last_os_error() {
                e if e.kind() == io::ErrorKind::Interrupted => {}
                e => return Err(e),
            },
        }
    }
    Ok(())
}

/// Takes the descriptors of a message that the kernel has just filled in.
fn take(message: &libc::msghdr, passed: &mut Vec<OwnedFd>) {
    // SAFETY: the kernel has written the headers and says in `msg_controllen` how far; the
    // macros stay inside of that. Each number is a descriptor that was made for us just now.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(found) = header.as_ref() {
            let descriptors = found.cmsg_type == libc::SCM_RIGHTS || found.cmsg_type == SCM_PIDFD;
            if found.cmsg_level == libc::SOL_SOCKET && descriptors {
                // Not a usize in every C library.
                #[allow(clippy::unnecessary_cast)]
                let bytes = (found.cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                let numbers = libc::CMSG_DATA(found).cast::<libc::c_int>();
                for at in 0..bytes / size_of::<libc::c_int>() {
                    let fd = OwnedFd::from_raw_fd(numbers.add(at).read_unaligned());
                    if found.cmsg_type == libc::SCM_RIGHTS {
                        passed.push(fd);
                    }
                }
            }
            header = libc::CMSG_NXTHDR(message, found);
        }
    }
}
