//! Tickets that lead somewhere else, and sockets at whose other end is something else: typed
//! errors, at once, and nothing of others is opened, read or kept.

#![allow(unsafe_code)]

mod common;

use common::{Role, Sandbox, hear, is_root, kind, role_unlink, tell, timed};
use ringway::{Lifetime, PodQueue, SetupErrorKind as K, Ticket};
use std::ffi::CStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

const ROLES: &[Role] = &[
    ("somebody-else", role_somebody_else),
    ("stranger", role_stranger),
    ("unlink", role_unlink),
    ("no-proc", role_no_proc),
];

type Numbers = PodQueue<u64>;

/// A user that is not us, for root.
const SOMEBODY_ELSE: u32 = 65534;

/// The parts of a ticket: version, identity, place.
fn parts(queue: &Numbers) -> (String, String) {
    let text = queue.ticket().expect("a handle").to_string();
    let mut parts = text.split(':').skip(1).map(str::to_owned);
    (parts.next().expect("an identity"), parts.next().expect("a place"))
}

fn forge(identity: &str, place: &str) -> Ticket {
    format!("rw1:{identity}:{place}").parse().expect("a well-formed ticket")
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("proc is mounted").count()
}

/// Opens a forged ticket in all forms: the same error, soon, and nothing is left open.
#[track_caller]
fn refuse(ticket: &Ticket) -> K {
    let before = open_descriptors();
    let (found, took) = timed(|| kind(Numbers::open_ticket(ticket)));
    assert!(took < Duration::from_secs(5), "{ticket} took {took:?}");
    assert_eq!(open_descriptors(), before, "{ticket}");
    found
}

#[track_caller]
fn refuse_as_unreachable(ticket: &Ticket, why: &str) {
    assert_is!(refuse(ticket), K::HandleUnreachable { reason } if reason.contains(why));
}

fn owned(fd: i32) -> OwnedFd {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    // SAFETY: just made.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn open_path(path: &CStr, flags: i32) -> OwnedFd {
    // SAFETY: the string ends with NUL.
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) })
}

fn memory_file(name: &CStr) -> File {
    // SAFETY: the string ends with NUL.
    File::from(owned(unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) }))
}

fn seal(file: &File, seals: i32) {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }, 0);
}

const SIZE_SEALS: i32 = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

/// A ticket for a descriptor of this process.
fn here(identity: &str, fd: impl AsFd) -> Ticket {
    forge(identity, &format!("{}/{}", std::process::id(), fd.as_fd().as_raw_fd()))
}

// ---- tickets ----

#[test]
fn a_ticket_for_another_file_is_refused() {
    let sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let (identity, place) = parts(&queue);
    let path = |name: &str| std::ffi::CString::new(sandbox.file(name).to_str().expect("UTF-8")).expect("no NUL");
    fs::write(sandbox.file("plain"), b"mine").expect("writable");
    // SAFETY: the string ends with NUL.
    assert_eq!(unsafe { libc::mkfifo(path("fifo").as_ptr(), 0o600) }, 0);
    let before = fs::metadata(sandbox.file("plain")).expect("there");
    let (reader, mut writer) = std::io::pipe().expect("pipes are to be had");
    writer.write_all(b"kept").expect("there is room");
    let (socket, _other) = UnixStream::pair().expect("sockets are to be had");
    // SAFETY: none of them touches memory.
    let (event, epoll) = unsafe { (owned(libc::eventfd(0, 0)), owned(libc::epoll_create1(0))) };
    let foreign_memory = memory_file(c"other");
    let files: Vec<OwnedFd> = vec![
        open_path(&path("plain"), libc::O_RDWR),
        open_path(&path("plain"), libc::O_PATH),
        // To open it for reading or for writing would wait for another end.
        open_path(&path("fifo"), libc::O_PATH),
        open_path(c"/dev/shm", libc::O_RDONLY),
        open_path(c"/dev/zero", libc::O_RDWR),
        open_path(c"/proc/self/maps", libc::O_RDONLY),
        event,
        epoll,
        socket.into(),
        foreign_memory.into(),
    ];
    for file in files.iter().map(AsFd::as_fd).chain([reader.as_fd(), writer.as_fd()]) {
        refuse_as_unreachable(&here(&identity, file), "another file");
    }
    if let Ok(terminal) = fs::OpenOptions::new().read(true).write(true).open("/dev/ptmx") {
        refuse_as_unreachable(&here(&identity, &terminal), "another file");
    }
    let mut kept = [0; 4];
    (&reader).read_exact(&mut kept).expect("nobody has taken it");
    assert_eq!(&kept, b"kept");
    let after = fs::metadata(sandbox.file("plain")).expect("there");
    assert_eq!((after.mtime_nsec(), after.atime_nsec()), (before.mtime_nsec(), before.atime_nsec()));
    assert_eq!(fs::read(sandbox.file("plain")).expect("readable"), b"mine");
    for name in ["plain", "fifo"] {
        fs::remove_file(sandbox.file(name)).expect("ours");
    }
    drop(Numbers::open_ticket(&forge(&identity, &place)).expect("the true one works"));
    assert_eq!(queue.participants(), 1);
}

#[test]
fn numbers_that_mean_nothing_are_refused() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let (identity, place) = parts(&queue);
    let (pid, _) = place.split_once('/').expect("PID/FD");
    for fd in ["999999", "2147483647", "2147483648", "4294967295"] {
        refuse_as_unreachable(&forge(&identity, &format!("{pid}/{fd}")), "not there any more");
        refuse_as_unreachable(&forge(&identity, &format!("inherited/{fd}")), "was not inherited");
    }
    for pid in ["0", "4194305", "2147483648", "4294967295"] {
        refuse_as_unreachable(&forge(&identity, &format!("{pid}/3")), "no process");
    }
    // Whoever that is and whatever it has, it is not this queue.
    for fd in 0..20 {
        assert_is!(refuse(&forge(&identity, &format!("1/{fd}"))), K::HandleUnreachable { .. });
    }
    // The standard streams are inherited, and our own descriptors are not.
    for fd in 0..20 {
        assert_is!(refuse(&forge(&identity, &format!("inherited/{fd}"))), K::HandleUnreachable { .. });
    }
    assert_eq!(queue.participants(), 1);
}

#[test]
fn a_number_that_means_another_queue_by_now_is_refused() {
    let _sandbox = Sandbox::new();
    for _ in 0..100 {
        let first = Numbers::bounded(4).expect("there is memory");
        let (ticket, (_, place)) = (first.ticket().expect("a handle"), parts(&first));
        drop(first);
        let second = Numbers::bounded(4).expect("there is memory");
        if parts(&second).1 != place {
            // Another thread had use for the number.
            continue;
        }
        refuse_as_unreachable(&ticket, "another queue by now");
        assert_eq!(second.participants(), 1);
        drop(Numbers::open_ticket(&second.ticket().expect("a handle")).expect("its own ticket works"));
        return;
    }
    panic!("numbers are used again");
}

/// A copy of a true segment, as somebody could make it who knows the identity.
fn copy_of(queue: &Numbers) -> File {
    let (_, place) = parts(queue);
    let (pid, fd) = place.split_once('/').expect("PID/FD");
    let bytes = fs::read(format!("/proc/{pid}/fd/{fd}")).expect("ours");
    let copy = memory_file(c"ringway");
    copy.write_all_at(&bytes, 0).expect("there is memory");
    copy
}

#[test]
fn a_memory_file_whose_size_is_not_sealed_is_refused() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    queue.put(5).expect("there is room");
    let (identity, _) = parts(&queue);
    let all = [libc::F_SEAL_SHRINK, libc::F_SEAL_GROW, libc::F_SEAL_SEAL];
    for missing in all {
        let copy = copy_of(&queue);
        refuse_as_unreachable(&here(&identity, &copy), "not sealed");
        seal(&copy, SIZE_SEALS & !missing);
        refuse_as_unreachable(&here(&identity, &copy), "not sealed");
    }
    // Nothing else was wrong with it. What stands in it about others is not believed.
    let copy = copy_of(&queue);
    seal(&copy, SIZE_SEALS);
    let taken = Numbers::open_ticket(&here(&identity, &copy)).expect("it is a segment");
    assert_eq!((taken.get(), taken.participants()), (Ok(5), 1));
    // One that cannot be written is none.
    let copy = copy_of(&queue);
    seal(&copy, SIZE_SEALS | libc::F_SEAL_WRITE);
    assert_is!(refuse(&here(&identity, &copy)), K::System { .. });
}

#[test]
fn sealed_rubbish_is_refused() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let (identity, _) = parts(&queue);
    let rubbish: [&dyn Fn(&File); 6] = [
        &|_| {},
        &|file| file.set_len(100).expect("ours"),
        &|file| file.set_len(1 << 20).expect("ours"),
        &|file| file.set_len(1 << 44).expect("sparse"),
        &|file| file.write_all_at(&[0xff; 8192], 0).expect("ours"),
        // Cut in the middle.
        &|file| {
            let copy = copy_of(&queue);
            let mut bytes = vec![0; 4096];
            copy.read_exact_at(&mut bytes, 0).expect("ours");
            file.write_all_at(&bytes, 0).expect("ours");
        },
    ];
    for make in rubbish {
        let file = memory_file(c"ringway");
        make(&file);
        seal(&file, SIZE_SEALS);
        refuse_as_unreachable(&here(&identity, &file), "another file");
    }
    // Every byte of the ring is rubbish, with a true header: it opens or it does not.
    let copy = copy_of(&queue);
    let size = copy.metadata().expect("ours").len();
    copy.write_all_at(&vec![0xa5; (size - 4096) as usize], 4096).expect("ours");
    seal(&copy, SIZE_SEALS);
    if let Ok(strange) = Numbers::open_ticket(&here(&identity, &copy)) {
        let _ = (strange.try_put(1), strange.try_get(), strange.recover(), strange.len());
    }
}

#[test]
fn names_that_mean_another_queue_are_refused() {
    let sandbox = Sandbox::new();
    let first = Numbers::create("q", sandbox.options(4).lifetime(Lifetime::Persistent)).expect("a free name");
    let ticket = first.ticket().expect("a handle");
    let (identity, place) = parts(&first);
    let other = format!("{:032x}", u128::from_str_radix(&identity, 16).expect("digits") ^ 1);
    assert_eq!(refuse(&forge(&other, &place)), K::Replaced);
    assert_eq!(first.participants(), 1);
    assert_eq!(sandbox.unlink("q"), "removed");
    assert_eq!(refuse(&ticket), K::NotFound);
    let second = Numbers::create("q", sandbox.options(4)).expect("a free name");
    assert_eq!(refuse(&ticket), K::Replaced);
    assert_eq!(second.participants(), 1);
    drop(Numbers::open_ticket(&second.ticket().expect("a handle")).expect("its own ticket works"));
    drop(second);
    // It does not make what is not there, and refuses what `open` refuses.
    let nowhere = sandbox.file("nowhere");
    assert_eq!(refuse(&forge(&identity, &format!("{}/q", nowhere.display()))), K::NotFound);
    assert!(!nowhere.exists());
    for directory in ["/proc/self", "/etc", "/dev/null", "/proc/self/fd/0", "/"] {
        assert_is!(refuse(&forge(&identity, &format!("{}/q", directory.trim_end_matches('/')))), K::Directory { .. });
    }
    fs::write(sandbox.file("file"), b"mine").expect("writable");
    assert_is!(refuse(&forge(&identity, &format!("{}/file", sandbox.path().display()))), K::NotASegment { .. });
    assert_eq!(fs::read(sandbox.file("file")).expect("readable"), b"mine");
    fs::remove_file(sandbox.file("file")).expect("ours");
}

#[cfg(feature = "serde")]
#[test]
fn what_is_no_ticket_cannot_be_deserialised() {
    let _sandbox = Sandbox::new();
    for json in ["", "1", "null", "{}", "[]", "\"\"", "\"rw1:\"", "\"rw1:0:1/2\"", "\"\\u0000\""] {
        assert!(serde_json::from_str::<Ticket>(json).is_err(), "{json}");
        assert!(serde_json::from_str::<Numbers>(json).is_err(), "{json}");
    }
    let ticket = forge(&"0".repeat(32), "0/0");
    let json = serde_json::to_string(&ticket).expect("a string");
    assert_eq!(serde_json::from_str::<Ticket>(&json).expect("a ticket"), ticket);
    assert_eq!(serde_json::from_slice::<Ticket>(json.as_bytes()).expect("a ticket"), ticket);
    assert_eq!(serde_json::from_reader::<_, Ticket>(json.as_bytes()).expect("a ticket"), ticket);
    let error = serde_json::from_str::<Numbers>(&json).expect_err("there is no such process");
    assert!(error.to_string().contains("named queue"), "{error}");
}

// ---- other users ----

fn become_somebody_else() {
    // SAFETY: none of them touches memory.
    unsafe {
        assert_eq!(libc::setgid(SOMEBODY_ELSE), 0);
        assert_eq!(libc::setuid(SOMEBODY_ELSE), 0);
        // As a program of that user would be, and not as one that gave privileges up.
        assert_eq!(libc::prctl(libc::PR_SET_DUMPABLE, 1), 0);
    }
}

/// Has a queue of another user's; tries one of ours.
fn role_somebody_else(arguments: &[String]) {
    become_somebody_else();
    let queue = Numbers::bounded(4).expect("there is memory");
    tell(queue.ticket().expect("a handle"));
    tell(format_args!("{:?}", kind(Numbers::open_ticket(&arguments[0].parse().expect("a ticket")))));
    hear();
}

#[test]
fn the_process_of_another_user_is_refused() {
    let sandbox = Sandbox::new();
    if !is_root() {
        common::skip("only root can become somebody else");
        return;
    }
    let queue = Numbers::bounded(4).expect("there is memory");
    let ticket = queue.ticket().expect("a handle").to_string();
    let mut child = sandbox.child("somebody-else", &[&ticket]);
    let theirs: Ticket = child.line().parse().expect("a ticket");
    // We may look into it, and do not.
    refuse_as_unreachable(&theirs, "another user");
    let said = child.line();
    assert!(said.contains("HandleUnreachable") && said.contains("not permitted"), "{said}");
    assert_eq!(queue.participants(), 1);
    child.succeed();
}

/// Connects as somebody else, sends what nobody wants, and receives from root.
fn role_stranger(arguments: &[String]) {
    become_somebody_else();
    let address = SocketAddr::from_abstract_name(&arguments[0]).expect("a name");
    let stream = UnixStream::connect_addr(&address).expect("somebody listens");
    let queue = Numbers::bounded(4).expect("there is memory");
    tell(format_args!("{:?}", kind(queue.send_over(&stream))));
    hear();
    let given = Numbers::receive_from(&stream).expect("root may give");
    tell(format_args!("{:?} {}", given.get(), given.participants()));
    hear();
    given.put(2).expect("there is room");
}

#[test]
fn the_peer_at_a_socket_is_checked() {
    let sandbox = Sandbox::new();
    if !is_root() {
        common::skip("only root can become somebody else");
        return;
    }
    let name = format!("ringway-test-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name"));
    let listener = listener.expect("a free name");
    let mut child = sandbox.child("stranger", &[&name]);
    let (stream, _) = listener.accept().expect("the child connects");
    assert_eq!(kind(Numbers::receive_from(&stream)), K::ForeignPeer { user: SOMEBODY_ELSE });
    child.expect("ForeignPeer { user: 0 }");
    // Root may give away what it wants to.
    let queue = Numbers::bounded(4).expect("there is memory");
    queue.put(1).expect("there is room");
    queue.send_over(&stream).expect("root may");
    child.tell("go on");
    child.expect("Ok(1) 2");
    child.tell("go on");
    assert_eq!(queue.get(), Ok(2));
    child.succeed();
}

// ---- sockets ----

/// Sends bytes with descriptors, as anybody could.
fn send(stream: &UnixStream, bytes: &[u8], fds: &[BorrowedFd<'_>]) {
    let mut iov = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let mut control = [0_u64; 64];
    let numbers: Vec<i32> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let size = std::mem::size_of_val(&numbers[..]) as u32;
    // SAFETY: all pointers are to locals that outlive the call, and there is room for one header
    // and up to a hundred numbers.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &mut iov;
        message.msg_iovlen = 1;
        if !fds.is_empty() {
            assert!(libc::CMSG_SPACE(size) as usize <= std::mem::size_of_val(&control));
            message.msg_control = (&raw mut control).cast();
            message.msg_controllen = libc::CMSG_SPACE(size) as _;
            let header = libc::CMSG_FIRSTHDR(&message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size) as _;
            let data = libc::CMSG_DATA(header);
            data.copy_from_nonoverlapping(numbers.as_ptr().cast(), size as usize);
        }
        assert_eq!(libc::sendmsg(stream.as_raw_fd(), &message, 0), bytes.len() as isize);
    }
}

fn frame(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("short").to_le_bytes();
    [b"rwh1", &len[..], text.as_bytes()].concat()
}

/// What the receiver says to a message; whatever came with it is closed.
#[track_caller]
fn receive(bytes: &[u8], fds: &[BorrowedFd<'_>]) -> K {
    let before = open_descriptors();
    let found = {
        let (here, there) = UnixStream::pair().expect("sockets are to be had");
        send(&here, bytes, fds);
        drop(here);
        kind(Numbers::receive_from(&there))
    };
    assert_eq!(open_descriptors(), before, "all that was received is closed");
    found
}

#[test]
fn what_else_comes_through_a_socket_is_refused() {
    let sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let text = queue.ticket().expect("a handle").to_string();
    let named = Numbers::create("q", sandbox.options(4)).expect("a free name");
    let name = named.ticket().expect("a handle").to_string();
    let good = frame(&text);
    let (reader, _writer) = std::io::pipe().expect("pipes are to be had");
    let other = Numbers::bounded(4).expect("there is memory");
    let descriptor = |queue: &Numbers| {
        open_path(
            &std::ffi::CString::new(format!("/proc/{}", parts(queue).1.replace('/', "/fd/"))).expect("no NUL"),
            libc::O_RDWR,
        )
    };
    let (own, others) = (descriptor(&queue), descriptor(&other));
    let unsealed = copy_of(&queue);

    // The true one, to see that the forgeries fail for what is wrong with them.
    let (here, there) = UnixStream::pair().expect("sockets are to be had");
    send(&here, &good, &[own.as_fd()]);
    drop(Numbers::receive_from(&there).expect("all is well"));
    // In two parts, and with the descriptor beside the second.
    send(&here, &good[..3], &[]);
    send(&here, &good[3..], &[own.as_fd()]);
    drop(Numbers::receive_from(&there).expect("all is well"));

    for cut in [1, 5, 6, good.len() - 1] {
        assert_is!(receive(&good[..cut], &[own.as_fd()]), K::System { .. });
    }
    for bytes in [&b"rwh2\x01\0x"[..], b"GET / HTTP/1.1\r\n", &[0; 100], b"rwh1\xff\xff", b"rwh1\x02\0\xff\xff"] {
        assert_is!(receive(bytes, &[]), K::InvalidTicket { .. });
    }
    for bad in ["", "rw1:", &text[..text.len() - 2][..40]] {
        assert_is!(receive(&frame(bad), &[own.as_fd()]), K::InvalidTicket { .. });
    }
    let unreachable = |bytes: &[u8], fds: &[BorrowedFd<'_>], why: &str| {
        assert_is!(receive(bytes, fds), K::HandleUnreachable { reason } if reason.contains(why));
    };
    unreachable(&good, &[], "none or too many");
    unreachable(&good, &[own.as_fd(), own.as_fd()], "none or too many");
    unreachable(&good, &[own.as_fd(), reader.as_fd()], "none or too many");
    unreachable(&good, &[own.as_fd(); 100], "cut off");
    unreachable(&frame(&name), &[own.as_fd()], "none or too many");
    let (identity, _) = parts(&queue);
    unreachable(&frame(&format!("rw1:{identity}:inherited/3")), &[own.as_fd()], "none or too many");
    unreachable(&good, &[reader.as_fd()], "another file");
    unreachable(&good, &[others.as_fd()], "another queue");
    unreachable(&good, &[unsealed.as_fd()], "not sealed");
    assert_eq!((queue.participants(), other.participants(), named.participants()), (1, 1, 1));
}

#[test]
fn a_peer_that_is_gone_is_an_error() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let before = open_descriptors();
    let (here, there) = UnixStream::pair().expect("sockets are to be had");
    drop(there);
    let error = Numbers::receive_from(&here).expect_err("nobody is there");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::UnexpectedEof);
    let error = queue.send_over(&here).expect_err("nobody is there");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::BrokenPipe);
    drop(here);
    let (here, _there) = UnixStream::pair().expect("sockets are to be had");
    here.set_read_timeout(Some(Duration::from_millis(20))).expect("it is a socket");
    let error = Numbers::receive_from(&here).expect_err("nobody sends");
    assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::WouldBlock);
    drop((here, _there));
    assert_eq!(open_descriptors(), before);
}

/// Nothing is left open where descriptors run out, whichever is the one too many.
#[test]
fn a_process_without_descriptors_gets_an_error() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let ticket = queue.ticket().expect("a handle");
    let before = open_descriptors();
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    let highest = |fd: &str| fd.parse::<u64>().unwrap_or(0);
    for spare in 0..8 {
        let (here, there) = UnixStream::pair().expect("sockets are to be had");
        queue.send_over(&here).expect("there is room");
        let open = fs::read_dir("/proc/self/fd").expect("proc is mounted");
        let top = open.map(|entry| highest(&entry.expect("listed").file_name().to_string_lossy())).max();
        let fewer = libc::rlimit { rlim_cur: top.expect("some are open") + spare, ..limit };
        // SAFETY: the pointer is to a local; the limit is this test's alone, by the sandbox.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &fewer) }, 0);
        let results = [Numbers::receive_from(&there), Numbers::open_ticket(&ticket)];
        // SAFETY: as above.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        for result in results {
            match result {
                Ok(same) => assert_eq!(same.participants() - queue.participants(), 0),
                Err(error) => assert_is!(error.kind(), K::HandleUnreachable { .. } | K::System { .. } | K::NoProc),
            }
        }
        drop((here, there));
        assert_eq!((open_descriptors(), queue.participants()), (before, 1), "{spare} to spare");
    }
}

// ---- without /proc ----

#[test]
fn without_proc_there_is_a_clear_error() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("no-proc", &[]);
    let said = child.line();
    child.succeed();
    if let Some(why) = said.strip_prefix("skipped: ") {
        common::skip(why);
    } else {
        assert_eq!(said, "as expected");
    }
}

fn role_no_proc(_: &[String]) {
    // SAFETY: changes only which mounts this process, with its one thread, sees; all strings end
    // with NUL.
    let alone = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                c"none".as_ptr(),
                c"/".as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
    };
    if !alone {
        return tell(format_args!("skipped: no mounts of our own: {}", std::io::Error::last_os_error()));
    }
    let anonymous = Numbers::bounded(4).expect("proc is still there");
    let named = Numbers::create("q", ringway::Options::new(4)).expect("proc is still there");
    let (here, there) = UnixStream::pair().expect("sockets are to be had");
    anonymous.send_over(&here).expect("there is room");
    // SAFETY: all strings end with NUL.
    let hidden = unsafe { libc::mount(c"none".as_ptr(), c"/proc".as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null()) };
    assert_eq!(hidden, 0, "an empty file system hides /proc");
    for queue in [&anonymous, &named] {
        let ticket = queue.ticket().expect("that needs no proc");
        assert_eq!(kind(Numbers::open_ticket(&ticket)), K::NoProc);
    }
    let error = Numbers::receive_from(&there).expect_err("no proc");
    assert!(error.to_string().contains("/proc is not mounted"), "{error}");
    assert_eq!(kind(anonymous.send_over(&here)), K::NoProc);
    assert_eq!(kind(anonymous.inherit(&mut std::process::Command::new("true"))), K::NoProc);
    // SAFETY: the string ends with NUL.
    assert_eq!(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) }, 0);
    tell("as expected");
}
