//! Queue handles of every kind among the arguments.

use super::common::until;
use ringway::{
    ByteBroadcast, ByteQueue, Consumer, ExitStatus, GetError, Options, Pod, PodBroadcast, PodQueue, Process, Producer,
    PutError, Queue, Serde, Side, StartAt, Subscriber,
};
use std::time::Duration;

const SIDES: [Side; 2] = [Side::Multi, Side::Single];

#[test]
fn ends_go_to_children_whatever_the_sides() {
    for producers in SIDES {
        for consumers in SIDES {
            let options = Options::new(4).producers(producers).consumers(consumers);
            let numbers = Queue::<u64>::with_options(options.clone()).expect("a queue");
            let sums = Queue::<u64>::bounded(1).expect("a queue");
            let mut putting = Process::new(
                |to: Producer<Serde<u64>>| (0..1000).for_each(|n| to.put(n).expect("somebody gets")),
                (numbers.producer().expect("an end"),),
            );
            let mut getting = Process::new(
                |from: Consumer<Serde<u64>>, to: Producer<Serde<u64>>| {
                    let sum = std::iter::from_fn(|| from.get().ok()).sum();
                    to.put(sum).expect("there is room");
                },
                (numbers.consumer().expect("an end"), sums.producer().expect("an end")),
            );
            drop(numbers);
            putting.start().expect("starts");
            getting.start().expect("starts");
            // The consumer ends when the producer is gone, and nobody was before.
            assert_eq!(sums.get().expect("a sum"), 499_500, "{producers:?} {consumers:?}");
            assert!(putting.join().expect("joins").success());
            assert!(getting.join().expect("joins").success());
        }
    }
}

#[test]
fn handles_of_every_kind_go_to_children() {
    let bytes = ByteQueue::bounded(8).expect("a queue");
    let plain = PodQueue::<u32>::unbounded().expect("a queue");
    let (byte_cast, plain_cast) = (ByteBroadcast::bounded(8), PodBroadcast::<u32>::bounded(8));
    let (byte_cast, plain_cast) = (byte_cast.expect("a broadcast"), plain_cast.expect("a broadcast"));
    let hears_bytes = byte_cast.subscribe(StartAt::Now).expect("a subscriber");
    let joinable = Queue::<u32>::with_options(Options::new(4).joinable(true)).expect("a queue");
    joinable.put(3).expect("there is room");
    let mut process = Process::new(
        |bytes: ByteQueue,
         plain: PodQueue<u32>,
         cast: ByteBroadcast,
         heard: Subscriber<Pod<u32>>,
         tasks: Queue<u32>| {
            bytes.put(b"bytes").expect("there is room");
            cast.put(b"cast").expect("there is room");
            plain.put(heard.get().expect("it was put")).expect("there is room");
            plain.put(tasks.get().expect("it was put")).expect("there is room");
            tasks.task_done().expect("it was taken");
        },
        (
            bytes.try_clone().expect("a handle"),
            plain.try_clone().expect("a handle"),
            byte_cast.try_clone().expect("a publisher"),
            plain_cast.subscribe(StartAt::Now).expect("a subscriber"),
            joinable.try_clone().expect("a handle"),
        ),
    );
    process.start().expect("starts");
    assert_eq!(bytes.get().expect("it was put"), b"bytes");
    assert_eq!(hears_bytes.get().expect("it was put"), b"cast");
    plain_cast.put(7).expect("there is room");
    assert_eq!(plain.get().expect("it was put"), 7);
    assert_eq!(plain.get().expect("it was put"), 3);
    joinable.join().expect("it was done");
    assert!(process.join().expect("joins").success());
}

#[test]
fn named_queues_go_to_children_and_are_gone_with_the_last() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let options = Options::new(4).directory(directory.path());
    let queue = Queue::<String>::create("jobs", options).expect("a queue");
    let mut process = Process::new(
        |queue: Queue<String>| {
            let name = queue.name().expect("it has a name");
            let said = queue.get().expect("it was put");
            queue.put(format!("{name} {said}")).expect("there is room");
        },
        (queue.try_clone().expect("a handle"),),
    );
    queue.put("hello".to_owned()).expect("there is room");
    process.start().expect("starts");
    process.join().expect("joins");
    assert_eq!(queue.get().expect("it was put"), "jobs hello");
    drop(queue);
    assert_eq!(std::fs::read_dir(directory.path()).expect("it is there").count(), 0);
}

/// The only other participant is on its way: nobody says that it is gone.
#[test]
fn a_child_counts_from_the_start_on() {
    for _ in 0..20 {
        let queue = Queue::<u8>::bounded(1).expect("a queue");
        let mut process = Process::new(
            |to: Producer<Serde<u8>>| to.put(1).expect("there is room"),
            (queue.producer().expect("an end"),),
        );
        let from = queue.consumer().expect("an end");
        drop(queue);
        process.start().expect("starts");
        // Neither before the child is there, nor while it is about to attach.
        assert_eq!(from.get().expect("it comes"), 1);
        assert!(matches!(from.get(), Err(GetError::PeersGone)));
    }
}

/// It has nothing to do with the queue, and dies before it could.
#[test]
fn a_child_that_dies_before_it_has_attached_is_gone_at_once() {
    let queue = Queue::<u8>::bounded(1).expect("a queue");
    let mut process = Process::new(|_: Consumer<Serde<u8>>| (), (queue.consumer().expect("an end"),))
        // It cannot be set up, so it ends before it decodes its arguments.
        .affinity([1 << 30]);
    let to = queue.producer().expect("an end");
    drop(queue);
    to.put(1).expect("there is room");
    process.start().expect("starts");
    assert!(matches!(to.put_timeout(2, Duration::from_secs(60)), Err(PutError::PeersGone(2))));
    assert_eq!(process.join().expect("joins"), ExitStatus::Exited(1));
}

#[test]
fn a_child_that_never_starts_was_never_there() {
    struct Unwilling;
    impl serde::Serialize for Unwilling {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no"))
        }
    }
    impl<'de> serde::Deserialize<'de> for Unwilling {
        fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Unwilling, D::Error> {
            Ok(Unwilling)
        }
    }
    let queue = Queue::<u8>::with_options(Options::new(1).max_participants(3)).expect("a queue");
    let end = queue.producer().expect("an end");
    let mut process = Process::new(|_: Producer<Serde<u8>>, _: Unwilling| (), (end, Unwilling));
    for _ in 0..10 {
        process.start().expect_err("it cannot be encoded");
        assert_eq!(queue.participants(), 2);
    }
}

#[test]
fn a_queue_that_was_closed_meanwhile_says_so_to_the_child() {
    let queue = Queue::<u8>::bounded(1).expect("a queue");
    let mut process = Process::new(
        |to: Producer<Serde<u8>>, from: Consumer<Serde<u8>>| {
            (matches!(to.put(1), Err(PutError::Closed(1))), matches!(from.get(), Err(GetError::Closed)))
        },
        (queue.producer().expect("an end"), queue.consumer().expect("an end")),
    );
    queue.close();
    process.start().expect("starts");
    assert_eq!(process.result().expect("returns"), (true, true));
}

/// In the middle of puts and gets, over and over.
#[test]
fn terminated_children_harm_no_queue() {
    for round in 0..20 {
        let queue = PodQueue::<u64>::with_options(Options::new(16).peers_gone(false)).expect("a queue");
        let forever = |to: Producer<Pod<u64>>| (1..u64::MAX).for_each(|n| to.put(n).expect("somebody gets"));
        let sink = |from: Consumer<Pod<u64>>| while from.get().is_ok() {};
        let mut putting = Process::new(forever, (queue.producer().expect("an end"),));
        let mut getting = Process::new(sink, (queue.consumer().expect("an end"),));
        putting.start().expect("starts");
        getting.start().expect("starts");
        for _ in 0..100 + round {
            queue.get().expect("they go on");
        }
        if round % 2 == 0 { putting.terminate() } else { putting.kill() }.expect("it can be ended");
        getting.terminate().expect("it can be ended");
        putting.join().expect("joins");
        getting.join().expect("joins");
        until("the dead are looked after", || queue.participants() == 1);
        while queue.get_timeout(Duration::from_millis(1)).is_ok() {}
        queue.put(0).expect("it goes on");
        assert_eq!(queue.get().expect("it goes on"), 0);
    }
}

#[test]
fn a_handle_of_a_named_queue_can_be_a_result() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let mut process = Process::new(
        |directory: String| {
            let options = Options::new(4).directory(directory).lifetime(ringway::Lifetime::Persistent);
            let queue = Queue::<u8>::create("made-there", options).expect("a queue");
            queue.put(9).expect("there is room");
            queue
        },
        (directory.path().to_str().expect("plain").to_owned(),),
    );
    process.start().expect("starts");
    let queue = process.result().expect("returns");
    assert_eq!(queue.get().expect("it was put"), 9);
    drop(queue);
    // An anonymous one has gone with its process.
    let mut process = Process::new(|| Queue::<u8>::bounded(1).expect("a queue"), ());
    process.start().expect("starts");
    assert!(matches!(process.result(), Err(ringway::ProcessError::ResultUndecodable { .. })));
}
