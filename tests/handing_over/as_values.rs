//! Handles and ends of every kind are values that a queue of values carries.

use super::*;
use ringway::{Broadcast, Publisher, Queue, Serde, StartAt, Subscriber};

#[derive(serde::Serialize, serde::Deserialize)]
pub struct Parcel {
    numbers: Numbers,
    bytes: ByteQueue,
    texts: Queue<String>,
    producer: Producer<Pod<u64>>,
    consumer: Consumer<Serde<String>>,
    publisher: Publisher<Serde<u32>>,
    subscriber: Subscriber<Serde<u32>>,
}

/// Unpacks what comes, and uses each.
pub fn role_unpack(arguments: &[String]) {
    let post = Queue::<Option<Parcel>>::open(&arguments[0]).expect("it is there");
    let parcel = post.get().expect("a parcel").expect("not empty");
    parcel.numbers.put(1).expect("room");
    parcel.bytes.put(b"two").expect("room");
    parcel.texts.put("three".to_owned()).expect("room");
    parcel.producer.put(4).expect("room");
    tell("used");
    assert_eq!(parcel.consumer.get().as_deref(), Ok("five"));
    parcel.publisher.put(6).expect("room");
    assert_eq!(parcel.subscriber.get(), Ok(6));
    assert_eq!(parcel.subscriber.get(), Ok(7));
    tell("all well");
}

#[test]
fn all_of_them_go_through_a_queue_of_values() {
    let sandbox = Sandbox::new();
    let post = Queue::<Option<Parcel>>::create("post", sandbox.options(2)).expect("a free name");
    let numbers = Numbers::bounded(4).expect("memory");
    let bytes = ByteQueue::create("named", sandbox.options(4)).expect("a free name");
    let texts = Queue::<String>::unbounded().expect("memory");
    let single = Numbers::with_options(Options::new(4).producers(Side::Multi)).expect("memory");
    let others = Queue::<String>::bounded(4).expect("memory");
    let publisher = Broadcast::<u32>::with_options(Options::new(8)).expect("memory");
    let subscriber = publisher.subscribe(StartAt::Now).expect("a place");
    let same = numbers.try_clone().expect("a place");
    let parcel = Parcel {
        numbers: same,
        bytes: bytes.try_clone().expect("a place"),
        texts: texts.try_clone().expect("a place"),
        producer: single.producer().expect("a place"),
        consumer: others.consumer().expect("a place"),
        publisher: publisher.try_clone().expect("a place"),
        subscriber: publisher.subscribe(StartAt::Now).expect("a place"),
    };
    let mut child = sandbox.child("unpack", &["post"]);
    // A value is given back where it is refused; here it must live until it is unpacked.
    post.put(Some(parcel)).expect("room");
    child.expect("used");
    assert_eq!((numbers.get(), single.get()), (Ok(1), Ok(4)));
    assert_eq!((bytes.get().as_deref(), texts.get().as_deref()), (Ok(&b"two"[..]), Ok("three")));
    others.put("five".to_owned()).expect("room");
    assert_eq!(subscriber.get(), Ok(6));
    publisher.put(7).expect("room");
    child.expect("all well");
    child.succeed();
}

/// Puts an anonymous queue, then a number, and ends when it is told to.
pub fn role_pack(_: &[String]) {
    let post = Queue::<(u32, Option<Numbers>)>::open("post").expect("it is there");
    let inner = Numbers::bounded(4).expect("memory");
    post.put((1, Some(inner.try_clone().expect("a place")))).expect("room");
    post.put((2, Some(inner.try_clone().expect("a place")))).expect("room");
    post.put((3, None)).expect("room");
    tell("put");
    hear();
}

/// The bad message says why it is one, and costs itself alone.
#[test]
fn a_handle_whose_holder_died_is_told() {
    let sandbox = Sandbox::new();
    let post = Queue::<(u32, Option<Numbers>)>::create("post", sandbox.options(4)).expect("a free name");
    let mut child = sandbox.child("pack", &[]);
    child.expect("put");
    child.kill();
    let error = post.get().expect_err("its holder is gone");
    assert_eq!(error, GetError::HandleUnreachable);
    assert!(error.to_string().contains("named queue"), "{error}");
    assert_eq!(post.lease().map(drop), Err(GetError::HandleUnreachable));
    assert!(matches!(post.get(), Ok((3, None))));
}
