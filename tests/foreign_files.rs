//! Names and directories that belong to something else: refused with a typed
//! error, and left exactly as they were.

#![allow(unsafe_code)]

mod common;

use common::{Role, Sandbox, is_root, kind, role_unlink, tell};
use ringway::{ByteQueue, Lifetime, Options, PodQueue, SetupErrorKind as K, Side};
use std::ffi::CStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;

const ROLES: &[Role] = &[
    ("unlink", role_unlink),
    ("masked", role_masked),
    ("no-shm", role_no_shm),
    ("no-proc", role_no_proc),
    ("default-directory", role_default_directory),
    ("small-shm", role_small_shm),
];

/// A user that is not us, for root.
const SOMEBODY_ELSE: u32 = 65534;

/// Where the header has the last byte of its magic, its format.
const FORMAT_AT: usize = 7;
/// Where the header has its layout version.
const VERSION_AT: usize = 8;
/// Where the header has the capacity.
const CAPACITY_AT: usize = 64;

/// The bytes of a real queue's file.
fn real_segment(sandbox: &Sandbox) -> Vec<u8> {
    let queue = PodQueue::<u32>::create("real", sandbox.options(4)).expect("a free name");
    queue.put(1).expect("there is room");
    fs::read(sandbox.file("real")).expect("the file can be read")
}

/// Everything about a file that an attempt to open it must not change.
fn fingerprint(path: &Path) -> (u64, u32, u32, u64, u64, Option<Vec<u8>>) {
    let meta = fs::symlink_metadata(path).expect("still there");
    let content = meta.is_file().then(|| fs::read(path).expect("readable"));
    (meta.ino(), meta.mode(), meta.uid(), meta.nlink(), meta.size(), content)
}

/// Tries everything on the file `x`; `expect` judges the errors of opening.
fn refuse(sandbox: &Sandbox, expect: impl Fn(&K) -> bool) {
    let path = sandbox.file("x");
    let before = fingerprint(&path);
    for _ in 0..2 {
        for found in [
            kind(PodQueue::<u32>::open_with("x", sandbox.here())),
            kind(PodQueue::<u32>::open_or_create("x", sandbox.options(4))),
            kind(ByteQueue::open_with("x", sandbox.here())),
        ] {
            assert!(expect(&found), "{found:?}");
        }
        assert_eq!(kind(PodQueue::<u32>::create("x", sandbox.options(4))), K::AlreadyExists);
    }
    let unlinked = sandbox.unlink("x");
    assert_ne!(unlinked, "removed");
    assert_eq!(fingerprint(&path), before);
}

fn refuse_as_foreign(sandbox: &Sandbox, reason: &str) {
    refuse(sandbox, |found| matches!(found, K::NotASegment { reason: why } if why.contains(reason)));
}

/// Fills the file `x`, tries, and removes it.
fn refuse_bytes(bytes: &[u8], expect: impl Fn(&K) -> bool) {
    let sandbox = Sandbox::new();
    fs::write(sandbox.file("x"), bytes).expect("writable");
    refuse(&sandbox, expect);
    fs::remove_file(sandbox.file("x")).expect("ours");
}

#[test]
fn a_file_without_our_header_is_not_a_segment() {
    let foreign = |found: &K| matches!(found, K::NotASegment { .. });
    for bytes in [&b""[..], b"x", b"ringway", b"ringway\x01", &[0; 100], &[0; 4096], &[0xff; 10_000]] {
        refuse_bytes(bytes, foreign);
    }
    let real = real_segment(&Sandbox::new());
    for len in [1, 8, 128, 639, 640, 4095, 4096, real.len() - 1] {
        refuse_bytes(&real[..len], foreign);
    }
    let mut damaged = real.clone();
    damaged[CAPACITY_AT..CAPACITY_AT + 4].copy_from_slice(&[0xff; 4]);
    refuse_bytes(&damaged, foreign);
}

#[test]
fn every_flipped_bit_of_the_header_is_found() {
    let sandbox = Sandbox::new();
    let real = real_segment(&sandbox);
    const HEADER: usize = 640;
    for at in 0..HEADER {
        let mut damaged = real.clone();
        damaged[at] ^= 0x10;
        fs::write(sandbox.file("x"), &damaged).expect("writable");
        let found = kind(PodQueue::<u32>::open_with("x", sandbox.here()));
        assert!(matches!(found, K::NotASegment { .. } | K::VersionMismatch { .. }), "byte {at}: {found:?}");
    }
    // The check itself is checked: the undamaged copy does open.
    fs::write(sandbox.file("x"), &real).expect("writable");
    assert_eq!(PodQueue::<u32>::open_with("x", sandbox.here()).expect("a whole copy").get(), Ok(1));
}

#[test]
fn another_layout_version_is_named() {
    let mut newer = real_segment(&Sandbox::new());
    newer[VERSION_AT] = 77;
    refuse_bytes(&newer, |found| *found == K::VersionMismatch { expected: 7, found: 77 });
    let mut other_format = real_segment(&Sandbox::new());
    other_format[FORMAT_AT] = 9;
    refuse_bytes(&other_format, |found| matches!(found, K::VersionMismatch { .. }));
}

#[test]
fn a_directory_is_not_a_segment() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.file("x")).expect("writable");
    refuse_as_foreign(&sandbox, "directory");
    fs::remove_dir(sandbox.file("x")).expect("empty");
}

#[test]
fn a_symlink_is_not_followed() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::create("real", sandbox.options(4)).expect("a free name");
    for target in ["real", "nothing", "x"] {
        symlink(target, sandbox.file("x")).expect("writable");
        refuse_as_foreign(&sandbox, "symbolic link");
        fs::remove_file(sandbox.file("x")).expect("ours");
    }
    drop(queue);
}

#[test]
fn a_fifo_does_not_block() {
    let sandbox = Sandbox::new();
    nix::unistd::mkfifo(&sandbox.file("x"), nix::sys::stat::Mode::S_IRWXU).expect("writable");
    refuse_as_foreign(&sandbox, "FIFO");
    fs::remove_file(sandbox.file("x")).expect("ours");
}

#[test]
fn a_file_with_two_names_is_refused() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::create("real", sandbox.options(4)).expect("a free name");
    queue.put(3).expect("there is room");
    fs::hard_link(sandbox.file("real"), sandbox.file("x")).expect("writable");
    refuse_as_foreign(&sandbox, "hard links");
    assert_is!(kind(PodQueue::<u32>::open_with("real", sandbox.here())), K::NotASegment { .. });
    fs::remove_file(sandbox.file("x")).expect("ours");
    assert_eq!(PodQueue::<u32>::open_with("real", sandbox.here()).expect("one name again").get(), Ok(3));
}

#[test]
fn a_file_of_another_user_is_refused() {
    if !is_root() {
        common::skip("only root can give files away");
        return;
    }
    let sandbox = Sandbox::new();
    let real = real_segment(&sandbox);
    fs::write(sandbox.file("x"), real).expect("writable");
    chown(sandbox.file("x"), Some(SOMEBODY_ELSE), None).expect("root may");
    refuse_as_foreign(&sandbox, "belongs to user 65534");
    fs::remove_file(sandbox.file("x")).expect("ours");
}

#[test]
fn what_is_stated_must_match() {
    let sandbox = Sandbox::new();
    let options = sandbox.options(4).producers(Side::Single);
    let queue = PodQueue::<u32>::create("q", options.clone()).expect("a free name");
    queue.put(9).expect("there is room");
    let mismatch = |found: K, wanted: &str, asked: &str, has: &str| match found {
        K::Mismatch { what, expected, found } => {
            assert_eq!((what, expected.as_str(), found.as_str()), (wanted, asked, has));
        }
        other => panic!("{other:?}"),
    };
    let open = |options: Options| kind(PodQueue::<u32>::open_with("q", options));
    mismatch(open(sandbox.options(5)), "capacity", "5", "4");
    mismatch(open(sandbox.here().producers(Side::Multi)), "producers' side", "Multi", "Single");
    mismatch(open(sandbox.here().consumers(Side::Single)), "consumers' side", "Single", "Multi");
    mismatch(open(sandbox.here().max_participants(65)), "limit of participants", "65", "64");
    mismatch(open(sandbox.here().lifetime(Lifetime::Persistent)), "lifetime", "Persistent", "Ephemeral");
    mismatch(open(sandbox.here().type_tag("price")), "element type", "price", "u32");
    mismatch(kind(PodQueue::<f32>::open_with("q", sandbox.here())), "element type", "f32", "u32");
    mismatch(kind(ByteQueue::open_with("q", sandbox.here())), "kind of messages", "bytes", "plain data");
    let renamed = sandbox.here().type_tag("u32");
    mismatch(kind(PodQueue::<u64>::open_with("q", renamed.clone())), "element size", "8", "4");
    mismatch(kind(PodQueue::<[u8; 4]>::open_with("q", renamed)), "element alignment", "1", "4");
    mismatch(kind(PodQueue::<u32>::open_or_create("q", sandbox.options(5))), "capacity", "5", "4");
    // Neither the queue nor the table of participants has suffered.
    assert_eq!(queue.participants(), 1);
    let same = PodQueue::<u32>::open_with("q", options).expect("all as stated");
    assert_eq!(same.get(), Ok(9));
}

/// Creates a queue under a mask that forbids everything.
fn role_masked(_: &[String]) {
    // SAFETY: this process has one thread, which makes no file but here.
    unsafe { libc::umask(0o777) };
    let queue = PodQueue::<u8>::create("q", Options::new(1)).expect("a free name");
    tell("made");
    common::hear();
    drop(queue);
}

#[test]
fn a_file_is_its_owners_whatever_the_mask() {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child("masked", &[]);
    child.expect("made");
    assert_eq!(fs::metadata(sandbox.file("q")).expect("it is there").mode() & 0o7777, 0o600);
    let queue = PodQueue::<u8>::open_with("q", sandbox.here()).expect("ours");
    child.tell("end");
    child.succeed();
    queue.put(1).expect("there is room");
}

// ---- directories ----

fn refuse_directory(path: &Path, reason: &str) {
    let options = || Options::new(1).directory(path);
    for found in [
        kind(PodQueue::<u8>::create("q", options())),
        kind(PodQueue::<u8>::open_with("q", Options::default().directory(path))),
        kind(PodQueue::<u8>::open_or_create("q", options())),
    ] {
        assert_is!(found, K::Directory { reason: why } if why.contains(reason));
    }
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("d");
    fs::write(&path, "").expect("writable");
    refuse_directory(&path, "is not a directory");
    fs::remove_file(&path).expect("ours");
    refuse_directory(&path.join("e"), "cannot be made");
    fs::create_dir(&path).expect("writable");
    for mode in [0o770, 0o720, 0o702, 0o707, 0o777, 0o1777] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("ours");
        refuse_directory(&path, "can be written by other users");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("ours");
    symlink(&path, sandbox.file("l")).expect("writable");
    refuse_directory(&sandbox.file("l"), "is not a directory");
    refuse_directory(Path::new("/proc/self"), "");
    if is_root() {
        chown(&path, Some(SOMEBODY_ELSE), None).expect("root may");
        refuse_directory(&path, "belongs to user 65534");
        chown(&path, Some(0), None).expect("root may");
    } else {
        common::skip("only root can give directories away");
    }
    // A directory that others can only look into is fine.
    let queue = PodQueue::<u8>::create("q", Options::new(1).directory(&path)).expect("ours alone");
    drop(queue);
    fs::remove_file(sandbox.file("l")).expect("ours");
    fs::remove_dir(&path).expect("empty");
}

// ---- what may be missing ----

/// Goes on in a mount name space of our own, or says why not.
fn alone() -> bool {
    // SAFETY: changes only which mounts this process, with its one thread, sees.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        tell(format_args!("skipped: no mount name space: {}", std::io::Error::last_os_error()));
        return false;
    }
    let private = mount(c"none", c"/", None, libc::MS_REC | libc::MS_PRIVATE, c"");
    if !private {
        tell(format_args!("skipped: mounts cannot be made private: {}", std::io::Error::last_os_error()));
    }
    private
}

fn mount(source: &CStr, target: &CStr, kind: Option<&CStr>, flags: libc::c_ulong, data: &CStr) -> bool {
    let kind = kind.map_or(std::ptr::null(), CStr::as_ptr);
    // SAFETY: all strings end with NUL and outlive the call.
    unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, data.as_ptr().cast()) == 0 }
}

/// Forgets the directory that every child is given. Children have one thread.
fn use_the_default_directory() {
    // SAFETY: the one thread of this process reads no environment meanwhile.
    unsafe { std::env::remove_var(common::DIRECTORY_VARIABLE) };
}

fn in_a_name_space(role: &str) {
    let sandbox = Sandbox::new();
    let mut child = sandbox.child(role, &[]);
    let said = child.line();
    child.succeed();
    if let Some(why) = said.strip_prefix("skipped: ") {
        common::skip(why);
    } else {
        assert_eq!(said, "as expected");
    }
}

#[test]
fn without_dev_shm_there_is_a_clear_error() {
    in_a_name_space("no-shm");
}

fn role_no_shm(_: &[String]) {
    if !alone() {
        return;
    }
    assert!(mount(c"none", c"/dev", Some(c"tmpfs"), 0, c"mode=755"), "an empty /dev hides /dev/shm");
    use_the_default_directory();
    for found in [
        kind(PodQueue::<u8>::create("q", Options::new(1))),
        kind(PodQueue::<u8>::open("q")),
        kind(PodQueue::<u8>::open_or_create("q", Options::new(1))),
        kind(ringway::unlink("q")),
    ] {
        assert_is!(found, K::Directory { reason } if reason.contains("/dev/shm does not exist"));
    }
    tell("as expected");
}

#[test]
fn without_proc_there_is_a_clear_error() {
    in_a_name_space("no-proc");
}

fn role_no_proc(_: &[String]) {
    if !alone() {
        return;
    }
    let queue = PodQueue::<u8>::create("before", Options::new(1)).expect("proc is still there");
    assert!(mount(c"none", c"/proc", Some(c"tmpfs"), 0, c""), "an empty file system hides /proc");
    for found in [
        kind(PodQueue::<u8>::create("q", Options::new(1))),
        kind(PodQueue::<u8>::open("before")),
        kind(PodQueue::<u8>::open_or_create("before", Options::new(1))),
        kind(PodQueue::<u8>::bounded(1)),
        kind(queue.try_clone()),
        kind(queue.producer()),
    ] {
        assert_eq!(found, K::NoProc);
    }
    queue.put(1).expect("a queue that is open goes on");
    assert_eq!(queue.get(), Ok(1));
    // SAFETY: the string ends with NUL.
    assert_eq!(unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) }, 0);
    drop(queue);
    tell("as expected");
}

#[test]
fn the_default_directory_cannot_be_squatted() {
    in_a_name_space("default-directory");
}

fn role_default_directory(_: &[String]) {
    if !alone() {
        return;
    }
    assert!(mount(c"none", c"/dev/shm", Some(c"tmpfs"), 0, c"mode=1777"));
    use_the_default_directory();
    let path = format!("/dev/shm/ringway-{}", nix::unistd::geteuid());
    let path = Path::new(&path);
    let refuse = |reason: &str| {
        assert_is!(kind(PodQueue::<u8>::create("q", Options::new(1))), K::Directory { reason: why } if why.contains(reason));
        assert_is!(kind(PodQueue::<u8>::open("q")), K::Directory { reason: why } if why.contains(reason));
    };
    fs::write(path, "").expect("writable");
    refuse("is not a directory");
    fs::remove_file(path).expect("ours");
    fs::create_dir("/dev/shm/trap").expect("writable");
    symlink("/dev/shm/trap", path).expect("writable");
    refuse("is not a directory");
    fs::remove_file(path).expect("ours");
    fs::create_dir(path).expect("writable");
    chown(path, Some(SOMEBODY_ELSE), None).expect("root may");
    refuse("belongs to user 65534");
    chown(path, Some(0), None).expect("root may");
    fs::set_permissions(path, Permissions::from_mode(0o770)).expect("ours");
    refuse("can be written by other users");
    fs::remove_dir(path).expect("empty");
    drop(PodQueue::<u8>::create("q", Options::new(1)).expect("it is made anew"));
    assert_eq!(fs::metadata(path).expect("left standing").mode() & 0o7777, 0o700);
    assert_eq!(fs::read_dir(path).expect("ours").count(), 0);
    tell("as expected");
}

#[test]
fn a_full_file_system_is_found_before_it_is_full() {
    in_a_name_space("small-shm");
}

fn role_small_shm(_: &[String]) {
    const SIZE: u64 = 1 << 20;
    if !alone() {
        return;
    }
    assert!(mount(c"none", c"/dev/shm", Some(c"tmpfs"), 0, c"size=1m,mode=1777"));
    use_the_default_directory();
    match kind(PodQueue::<[u8; 1016]>::create("large", Options::new(1024))) {
        K::NoSpace { needed, free, limited_by } => {
            assert!(needed > SIZE && free <= SIZE, "{needed} {free}");
            assert!(limited_by.contains("shared-memory file system"), "{limited_by}");
        }
        other => panic!("{other:?}"),
    }
    let half = PodQueue::<[u8; 1016]>::create("half", Options::new(512)).expect("there is room for half of it");
    assert_is!(kind(PodQueue::<[u8; 1016]>::create("other", Options::new(512))), K::NoSpace { .. });
    // Every page that was promised is there: no SIGBUS.
    for value in 0..512_u32 {
        half.try_put([value as u8; 1016]).expect("there is room");
    }
    assert!(half.iter().take(512).enumerate().all(|(at, got)| got == Ok([at as u8; 1016])));
    drop(half);
    drop(PodQueue::<[u8; 1016]>::create("other", Options::new(512)).expect("its memory was given back"));
    tell("as expected");
}
