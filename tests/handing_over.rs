//! Queues that are handed to other processes: as data, through sockets, at the start of a
//! child. What was forged is in `forged_tickets.rs`.

#![allow(unsafe_code)]

#[cfg(feature = "serde")]
#[path = "handing_over/as_values.rs"]
mod as_values;
mod common;

use common::{Child, MODES, Role, Sandbox, hear, kind, role_command, tell, until};
use ringway::{
    ByteQueue, Consumer, GetError, Lease, Options, Pod, PodQueue, Producer, SetupErrorKind as K, Side, Ticket,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

const ROLES: &[Role] = &[
    ("peer", role_peer),
    ("consumer", role_consumer),
    ("producer", role_producer),
    ("parent", role_parent),
    ("orphan", role_orphan),
    #[cfg(feature = "serde")]
    ("unpack", as_values::role_unpack),
    #[cfg(feature = "serde")]
    ("pack", as_values::role_pack),
];

type Numbers = PodQueue<u64>;

// ---- a process that has a queue ----

/// How a process comes by its queue. The argument says where to look.
fn come_by(form: &str, argument: &str) -> Result<Numbers, ringway::SetupError> {
    match form {
        "make" => Numbers::bounded(8),
        #[cfg(feature = "serde")]
        "json" => Ok(serde_json::from_str(&hear()).expect("a queue")),
        "text" => Numbers::open_ticket(&hear().parse()?),
        "argument" => Numbers::open_ticket(&argument.parse()?),
        "mistaken" => {
            // What it inherited is not lost by a mistake.
            assert_is!(kind(ByteQueue::open_ticket(&argument.parse()?)), K::Mismatch { .. });
            Numbers::open_ticket(&argument.parse()?)
        }
        "socket" => Numbers::receive_from(&UnixStream::connect(argument).expect("somebody listens")),
        "queue" => {
            let post = ByteQueue::open(argument)?;
            let text = String::from_utf8(post.get().expect("there is a ticket")).expect("a ticket is text");
            Numbers::open_ticket(&text.parse()?)
        }
        other => panic!("no form {other}"),
    }
}

/// Comes by a queue and does what it is told.
fn role_peer(arguments: &[String]) {
    let [form, argument] = arguments else { panic!("two arguments") };
    if argument == "later" {
        hear();
    }
    let queue = match come_by(form, argument) {
        Ok(queue) => queue,
        Err(error) => return tell(format_args!("{:?}", error.kind())),
    };
    tell("open");
    let mut leases: Vec<Lease<'_, Pod<u64>>> = Vec::new();
    loop {
        let order = hear();
        match order.split_once(' ').unwrap_or((&order, "")) {
            ("", _) => break,
            ("put", value) => {
                queue.put(value.parse().expect("a number")).expect("there is room");
                tell("done");
            }
            ("get", _) => tell(queue.get().expect("there is a message")),
            ("lease", _) => {
                leases.push(queue.lease().expect("there is a message"));
                tell(**leases.last().expect("just leased"));
            }
            ("ticket", _) => tell(queue.ticket().expect("a handle")),
            ("participants", _) => tell(queue.participants()),
            ("descriptors", _) => tell(descriptors().len()),
            ("again", ticket) => {
                tell(format_args!("{:?}", kind(Numbers::open_ticket(&ticket.parse().expect("a ticket")))));
            }
            ("blind", _) => {
                // SAFETY: what is closed is not used again, but for the standard streams.
                assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
                tell("done");
            }
            _ => panic!("no order {order}"),
        }
    }
}

/// The descriptors of this process that mean anonymous queues.
fn descriptors() -> Vec<String> {
    let all = std::fs::read_dir("/proc/self/fd").expect("proc is mounted");
    let link = |entry: std::io::Result<std::fs::DirEntry>| std::fs::read_link(entry.ok()?.path()).ok();
    let links = all.filter_map(link).map(|link| link.to_string_lossy().into_owned());
    links.filter(|link| link.starts_with("/memfd:ringway")).collect()
}

fn peer(sandbox: &Sandbox, form: &str, argument: &str) -> Child {
    sandbox.child("peer", &[form, argument])
}

fn ask(child: &mut Child, order: &str) -> String {
    child.tell(order);
    child.line()
}

/// Messages go both ways, the participants see each other, and the peer goes.
#[track_caller]
fn converse(queue: &Numbers, mut child: Child) {
    child.expect("open");
    assert_eq!(queue.participants(), 2);
    queue.put(7).expect("there is room");
    assert_eq!(ask(&mut child, "get"), "7");
    assert_eq!(ask(&mut child, "put 8"), "done");
    assert_eq!(queue.get(), Ok(8));
    assert_eq!(ask(&mut child, "participants"), "2");
    child.succeed();
    assert_eq!(queue.participants(), 1);
}

// ---- as data ----

#[test]
fn a_queue_goes_over_a_pipe_as_text() {
    let sandbox = Sandbox::new();
    let named = Numbers::create("q", sandbox.options(4)).expect("a free name");
    for queue in [named, Numbers::bounded(4).expect("there is memory")] {
        let mut child = peer(&sandbox, "text", "");
        child.tell(&queue.ticket().expect("a handle").to_string());
        converse(&queue, child);
    }
}

#[cfg(feature = "serde")]
#[test]
fn a_queue_goes_over_a_pipe_serialised() {
    let sandbox = Sandbox::new();
    let named = Numbers::create("q", sandbox.options(4)).expect("a free name");
    for queue in [named, Numbers::bounded(4).expect("there is memory")] {
        let mut child = peer(&sandbox, "json", "");
        child.tell(&serde_json::to_string(&queue).expect("a handle"));
        converse(&queue, child);
    }
}

#[test]
fn a_queue_goes_through_another_queue() {
    let sandbox = Sandbox::new();
    let post = ByteQueue::create("post", sandbox.options(1).max_message(200)).expect("a free name");
    let queue = Numbers::bounded(4).expect("there is memory");
    post.put(queue.ticket().expect("a handle").to_string().as_bytes()).expect("there is room");
    converse(&queue, peer(&sandbox, "queue", "post"));
}

#[test]
fn a_queue_goes_through_a_socket() {
    let sandbox = Sandbox::new();
    let path = sandbox.file("socket");
    let listener = UnixListener::bind(&path).expect("a free name");
    let named = Numbers::create("q", sandbox.options(4)).expect("a free name");
    let anonymous = Numbers::bounded(4).expect("there is memory");
    for queue in [named, anonymous] {
        let child = peer(&sandbox, "socket", path.to_str().expect("UTF-8"));
        let (stream, _) = listener.accept().expect("the child connects");
        queue.send_over(&stream).expect("the child listens");
        converse(&queue, child);
    }
    // What is on its way does not need its sender.
    let child = peer(&sandbox, "socket", path.to_str().expect("UTF-8"));
    let (stream, _) = listener.accept().expect("the child connects");
    let queue = Numbers::bounded(4).expect("there is memory");
    queue.put(9).expect("there is room");
    let (here, there) = UnixStream::pair().expect("sockets are to be had");
    queue.send_over(&here).expect("there is room");
    drop((queue, here));
    let queue = Numbers::receive_from(&there).expect("it is in the socket");
    assert_eq!(queue.get(), Ok(9));
    queue.send_over(&stream).expect("the child listens");
    converse(&queue, child);
    std::fs::remove_file(path).expect("ours");
}

#[test]
fn a_stream_can_be_used_for_something_else_before_and_after() {
    use std::io::{Read, Write};
    let _sandbox = Sandbox::new();
    let (mut here, mut there) = UnixStream::pair().expect("sockets are to be had");
    let queues = [1, 2].map(|_| Numbers::bounded(4).expect("there is memory"));
    here.write_all(b"before").expect("there is room");
    queues[0].send_over(&here).expect("there is room");
    queues[1].producer().expect("a Multi side").send_over(&here).expect("there is room");
    here.write_all(b"after").expect("there is room");
    let mut bytes = [0; 6];
    there.read_exact(&mut bytes).expect("it is there");
    assert_eq!(&bytes, b"before");
    let first = Numbers::receive_from(&there).expect("it is there");
    let second = Producer::<Pod<u64>>::receive_from(&there).expect("it is there");
    there.read_exact(&mut bytes[..5]).expect("it is there");
    assert_eq!(&bytes[..5], b"after");
    first.put(1).expect("there is room");
    second.put(2).expect("there is room");
    assert_eq!((queues[0].get(), queues[1].get()), (Ok(1), Ok(2)));
}

// ---- all sides, ends, types ----

#[test]
fn every_mode_can_be_handed_over() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        let queue = Numbers::with_options(sandbox.mode(4, mode)).expect("there is memory");
        let mut child = peer(&sandbox, "text", "");
        child.tell(&queue.ticket().expect("a handle").to_string());
        child.expect("open");
        for value in 0..20 {
            queue.put(value).expect("the child takes them");
            assert_eq!(ask(&mut child, "get"), value.to_string());
        }
        child.succeed();
    }
}

fn role_consumer(_: &[String]) {
    let consumer = Consumer::<Pod<u64>>::open_ticket(&hear().parse().expect("a ticket")).expect("a queue");
    tell("open");
    for value in consumer.iter() {
        tell(value.expect("a message"));
    }
    tell("closed");
}

fn role_producer(_: &[String]) {
    let producer = Producer::<Pod<u64>>::open_ticket(&hear().parse().expect("a ticket")).expect("a queue");
    tell("open");
    for value in 0..3 {
        producer.put(value).expect("there is room");
    }
}

#[test]
fn ends_are_handed_over_as_ends() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        let queue = Numbers::with_options(sandbox.mode(8, mode)).expect("there is memory");
        let ticket = queue.ticket().expect("a handle").to_string();
        drop(queue.producer().expect("nobody has the side"));
        let mut consumer = sandbox.child("consumer", &[]);
        consumer.tell(&ticket);
        consumer.expect("open");
        let mut producer = sandbox.child("producer", &[]);
        producer.tell(&ticket);
        producer.expect("open");
        producer.succeed();
        queue.close();
        for line in ["0", "1", "2", "closed"] {
            consumer.expect(line);
        }
        consumer.succeed();
    }
}

#[test]
fn a_single_side_is_handed_over_after_it_was_let_go_of() {
    let sandbox = Sandbox::new();
    let queue = Numbers::with_options(sandbox.mode(8, (Side::Single, Side::Single))).expect("there is memory");
    let (producer, consumer) = queue.split().expect("nobody has the sides");
    let ticket = producer.ticket().expect("an end");
    assert_eq!(ticket, consumer.ticket().expect("an end"));
    let holder = Some(std::process::id());
    assert_eq!(kind(Producer::<Pod<u64>>::open_ticket(&ticket)), K::SideTaken { holder });
    assert_eq!(kind(Consumer::<Pod<u64>>::open_ticket(&ticket)), K::SideTaken { holder });
    assert_eq!(consumer.participants(), 2);
    producer.put(1).expect("there is room");
    drop(producer);
    let producer = Producer::<Pod<u64>>::open_ticket(&ticket).expect("the side is free");
    producer.put(2).expect("there is room");
    assert_eq!((consumer.get(), consumer.get()), (Ok(1), Ok(2)));
}

#[test]
fn another_element_type_is_a_mismatch() {
    let sandbox = Sandbox::new();
    for named in [false, true] {
        let queue = match named {
            true => PodQueue::<u32>::create("q", sandbox.options(4)),
            false => PodQueue::<u32>::bounded(4),
        };
        let queue = queue.expect("a free name, or memory");
        let ticket = queue.ticket().expect("a handle");
        assert_is!(kind(PodQueue::<f32>::open_ticket(&ticket)), K::Mismatch { what: "element type", .. });
        assert_is!(kind(ByteQueue::open_ticket(&ticket)), K::Mismatch { what: "kind of messages", .. });
        let stated = Options::new(5);
        assert_is!(kind(PodQueue::<u32>::open_ticket_with(&ticket, stated)), K::Mismatch { what: "capacity", .. });
        assert_eq!(queue.participants(), 1);
        PodQueue::<u32>::open_ticket_with(&ticket, Options::new(4)).expect("all as stated");
    }
}

/// What a queue calls its elements goes with the ticket, for the same type only.
#[test]
fn a_stated_type_tag_goes_along() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u32>::create("q", sandbox.options(4).type_tag("price: %")).expect("a free name");
    let ticket: Ticket = queue.ticket().expect("a handle").to_string().parse().expect("a ticket");
    PodQueue::<u32>::open_ticket(&ticket).expect("the same type").put(5).expect("there is room");
    assert_eq!(queue.get(), Ok(5));
    assert_is!(kind(PodQueue::<f32>::open_ticket(&ticket)), K::Mismatch { what: "element type", .. });
    let stated = Options::default().type_tag("price");
    assert_is!(kind(PodQueue::<u32>::open_ticket_with(&ticket, stated)), K::Mismatch { what: "element type", .. });
    let stated = Options::default().type_tag("price: %");
    PodQueue::<u32>::open_ticket_with(&ticket, stated).expect("as stated");
}

#[test]
fn whether_peers_are_missed_goes_along() {
    let sandbox = Sandbox::new();
    for named in [false, true] {
        for report in [None, Some(false), Some(true)] {
            let options = report.map_or(sandbox.options(4), |report| sandbox.options(4).peers_gone(report));
            let queue = match named {
                true => Numbers::create("q", options),
                false => Numbers::with_options(options),
            };
            let queue = queue.expect("a free name, or memory");
            let same = Numbers::open_ticket(&queue.ticket().expect("a handle")).expect("the same queue");
            assert_eq!(same.ticket().expect("a handle"), queue.ticket().expect("a handle").with_place_of(&same));
            drop(queue);
            let expected = if report.unwrap_or(!named) { GetError::PeersGone } else { GetError::TimedOut };
            assert_eq!(same.get_timeout(Duration::from_millis(300)), Err(expected), "{named} {report:?}");
        }
    }
}

/// For comparing tickets but for where the memory is.
trait WithPlaceOf {
    fn with_place_of(self, other: &Numbers) -> Ticket;
}

impl WithPlaceOf for Ticket {
    fn with_place_of(self, other: &Numbers) -> Ticket {
        let (own, other) = (self.to_string(), other.ticket().expect("a handle").to_string());
        let mut parts: Vec<&str> = own.split(':').collect();
        parts[2] = other.split(':').nth(2).expect("a place");
        parts.join(":").parse().expect("a ticket")
    }
}

#[test]
fn directories_may_be_called_anything() {
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let path = sandbox.path().join(std::ffi::OsStr::from_bytes(b"a:b %2f\xff"));
    let queue = Numbers::create("q: %", Options::new(4).directory(&path)).expect("it is made");
    let ticket: Ticket = queue.ticket().expect("a handle").to_string().parse().expect("a ticket");
    assert_eq!(ticket.name(), Some("q: %"));
    Numbers::open_ticket(&ticket).expect("the same queue").put(3).expect("there is room");
    assert_eq!(queue.get(), Ok(3));
    drop(queue);
    std::fs::remove_dir(path).expect("empty");
}

// ---- deaths ----

#[test]
fn a_holder_that_died_before_is_an_error() {
    let sandbox = Sandbox::new();
    let mut child = peer(&sandbox, "make", "");
    child.expect("open");
    let ticket: Ticket = ask(&mut child, "ticket").parse().expect("a ticket");
    drop(Numbers::open_ticket(&ticket).expect("as long as it lives"));
    child.kill();
    let error = Numbers::open_ticket(&ticket).expect_err("it is gone");
    assert_is!(error.kind(), K::HandleUnreachable { .. });
    let text = error.to_string();
    assert!(text.contains("named queue") && text.contains("no process"), "{text}");
}

#[test]
fn a_handle_that_was_dropped_before_is_an_error() {
    let _sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let ticket = queue.ticket().expect("a handle");
    let other = queue.try_clone().expect("there are places");
    drop(queue);
    drop(Numbers::open_ticket(&ticket).expect("another handle of the process keeps it"));
    drop(other);
    assert_is!(kind(Numbers::open_ticket(&ticket)), K::HandleUnreachable { .. });
}

#[test]
fn a_holder_that_dies_after_is_not_missed() {
    let sandbox = Sandbox::new();
    for killed in [true, false] {
        let mut child = peer(&sandbox, "make", "");
        child.expect("open");
        let ticket: Ticket = ask(&mut child, "ticket").parse().expect("a ticket");
        for value in 1..=4 {
            assert_eq!(ask(&mut child, &format!("put {value}")), "done");
        }
        assert_eq!(ask(&mut child, "lease"), "1");
        let queue = Numbers::open_ticket(&ticket).expect("it lives");
        if killed {
            child.kill();
        } else {
            child.succeed();
        }
        let mut got: Vec<u64> = (0..4).map(|_| queue.get_timeout(Duration::from_secs(20)).expect("kept")).collect();
        got.sort_unstable();
        assert_eq!(got, [1, 2, 3, 4]);
        assert_eq!(queue.participants(), 1);
        let third = Numbers::open_ticket(&queue.ticket().expect("a handle")).expect("it can be handed on");
        third.put(5).expect("there is room");
        assert_eq!(queue.get(), Ok(5));
    }
}

/// The receiver's life hangs on a description of its own: the sender sees it, whatever becomes of
/// descriptors, and sees its death.
#[test]
fn a_receiver_lives_and_dies_by_itself() {
    let sandbox = Sandbox::new();
    let (here, there) = UnixStream::pair().expect("sockets are to be had");
    let queue = Numbers::bounded(4).expect("there is memory");
    // Two ways in one process: through what was passed, and through /proc.
    queue.send_over(&here).expect("there is room");
    let received = Numbers::receive_from(&there).expect("it is there");
    assert_eq!(descriptors().len(), 2, "what was passed is closed");
    assert_eq!((queue.participants(), received.participants()), (2, 2));
    drop(received);
    assert_eq!((queue.participants(), descriptors().len()), (1, 1));
    for blind in [false, true] {
        let mut child = peer(&sandbox, "text", "");
        child.tell(&queue.ticket().expect("a handle").to_string());
        child.expect("open");
        queue.put(1).expect("there is room");
        assert_eq!(ask(&mut child, "lease"), "1");
        if blind {
            assert_eq!(ask(&mut child, "blind"), "done");
        }
        assert_eq!(queue.recover().expect("deaths can be proven"), 0, "nobody has died");
        assert_eq!(queue.participants(), 2);
        assert_eq!(queue.try_get(), Err(GetError::Empty));
        child.kill();
        let lease = queue.lease_timeout(Duration::from_secs(20)).expect("it comes back");
        assert_eq!((*lease, lease.redelivered()), (1, 1));
        lease.ack().expect("it is ours");
        assert_eq!(queue.participants(), 1);
    }
}

// ---- at the start of a child ----

#[test]
fn a_child_inherits_a_queue_that_nobody_else_has_any_more() {
    let sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    queue.put(5).expect("there is room");
    let mut command = sandbox.command("peer", &[]);
    let ticket = queue.inherit(&mut command).expect("a handle").to_string();
    command.args(["text", "later"]);
    let mut child = Child::start(command);
    // Another child, started while the command has its descriptor, does not inherit it.
    let mut other = peer(&sandbox, "argument", &ticket);
    assert!(other.line().starts_with("HandleUnreachable"), "it was started without");
    other.succeed();
    assert_is!(kind(Numbers::open_ticket(&ticket.parse().expect("a ticket"))), K::HandleUnreachable { .. });
    drop(queue);
    assert_eq!(descriptors().len(), 0, "the command is gone too");
    child.tell("go on");
    child.tell(&ticket);
    child.expect("open");
    assert_eq!(ask(&mut child, "get"), "5");
    assert_eq!(ask(&mut child, "descriptors"), "1", "what it inherited is closed");
    let again = ask(&mut child, &format!("again {ticket}"));
    assert!(again.starts_with("HandleUnreachable"), "{again}");
    assert_eq!(ask(&mut child, "participants"), "1");
    child.succeed();
}

#[test]
fn every_child_of_a_command_inherits() {
    let sandbox = Sandbox::new();
    let queue = Numbers::bounded(4).expect("there is memory");
    let named = Numbers::create("q", sandbox.options(4)).expect("a free name");
    let mut command = sandbox.command("peer", &[]);
    let ticket = queue.inherit(&mut command).expect("a handle").to_string();
    let same = named.inherit(&mut command).expect("a handle");
    assert_eq!(same, named.ticket().expect("a handle"), "a name needs no descriptor");
    command.args(["mistaken", &ticket]).stdin(std::process::Stdio::null());
    for _ in 0..2 {
        let output = command.output().expect("a child can be started");
        assert!(output.status.success());
        assert_eq!(output.stdout, b"open\n");
    }
}

/// Makes a queue, starts a child that inherits it, and waits to be killed.
fn role_parent(arguments: &[String]) {
    let queue = Numbers::bounded(4).expect("there is memory");
    queue.put(6).expect("there is room");
    let lease = queue.lease().expect("there is a message");
    let mut command = role_command("orphan", &[], Path::new(&arguments[0]));
    let ticket = queue.inherit(&mut command).expect("a handle");
    command.args([ticket.to_string(), std::process::id().to_string()]);
    let mut child = command.spawn().expect("a child can be started");
    hear();
    drop(lease);
    let _ = child.wait();
}

/// Opens what it inherited after its parent has died.
fn role_orphan(arguments: &[String]) {
    let [ticket, parent] = arguments else { panic!("two arguments") };
    // SAFETY: touches no memory. Its limit of time stays.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0) };
    tell("ready");
    // SAFETY: touches no memory.
    until(|| unsafe { libc::getppid() }.to_string() != *parent);
    let queue = Numbers::open_ticket(&ticket.parse().expect("a ticket")).expect("it was inherited");
    let lease = queue.lease_timeout(Duration::from_secs(20)).expect("it came back");
    tell(format_args!("{} again {}", *lease, lease.redelivered()));
}

#[test]
fn a_child_inherits_a_queue_from_a_parent_that_died() {
    let sandbox = Sandbox::new();
    let mut parent = sandbox.child("parent", &[sandbox.path().to_str().expect("UTF-8")]);
    parent.expect("ready");
    // SAFETY: touches no memory; it is our child, and not waited for yet.
    assert_eq!(unsafe { libc::kill(parent.pid() as i32, libc::SIGKILL) }, 0);
    // Killed and waited for: only then its child has another parent.
    until(|| parent.has_ended());
    parent.expect("6 again 1");
    assert_eq!(parent.line(), "", "the orphan has ended");
}
