//! What `Stream` and `Sink` promise.

use super::*;
use futures_util::{Sink, SinkExt, Stream, StreamExt, stream::FusedStream};
use ringway::{GetError, PutError};
use std::pin::Pin;

/// Polls a stream once.
fn next<S: Stream + Unpin>(stream: &mut S, waker: &Waker) -> Poll<Option<S::Item>> {
    Pin::new(stream).poll_next(&mut Context::from_waker(waker))
}

#[test]
fn a_stream_wakes_the_last_waker_and_ends_for_good() {
    with_each(|how| async move {
        let sandbox = Sandbox::new();
        let driver = driver(how);
        for mode in MODES {
            let queue = Numbers::with_options(sandbox.mode(4, mode)).expect("memory");
            let producer = queue.producer().expect("free");
            let mut stream = getter(queue.consumer().expect("free"), &driver);
            let ((early, early_waker), (late, late_waker)) = (Counter::new(), Counter::new());
            assert!(next(&mut stream, &early_waker).is_pending());
            assert!(next(&mut stream, &late_waker).is_pending());
            let before = early.count();
            producer.put(1).expect("room");
            tokio::task::spawn_blocking(move || until(|| late.count() > 0)).await.expect("no panic");
            assert_eq!(early.count(), before, "it was replaced");
            assert_eq!(next(&mut stream, &early_waker), Poll::Ready(Some(Ok(1))));
            producer.put_many(&[2, 3]).expect("room");
            producer.close();
            assert!(!stream.is_terminated());
            assert_eq!(next(&mut stream, &early_waker), Poll::Ready(Some(Ok(2))));
            assert_eq!(next(&mut stream, &early_waker), Poll::Ready(Some(Ok(3))));
            for _ in 0..3 {
                assert_eq!(next(&mut stream, &early_waker), Poll::Ready(None), "{how} {mode:?}");
                assert!(stream.is_terminated());
            }
        }
    });
}

#[test]
fn a_stream_goes_on_after_a_message_that_is_no_value() {
    let sandbox = Sandbox::new();
    let queue = PodQueue::<u8>::create("q", sandbox.options(8).type_tag("flag")).expect("a free name");
    let flags = PodQueue::<bool>::open_with("q", sandbox.here().type_tag("flag")).expect("as large");
    queue.put_many(&[1, 2, 0]).expect("room");
    queue.close();
    let all: Vec<_> = runtime().block_on(flags.into_async().collect());
    assert_eq!(all, [Ok(true), Err(GetError::Undecodable), Ok(false)]);
}

/// A stream whose `next` is dropped loses nothing, whether it waited or something had come just then.
#[test]
fn a_stream_is_polled_between_other_things() {
    const BURSTS: u64 = 200;
    const BURST: u64 = 5;
    with_each(|how| async move {
        let _sandbox = Sandbox::new();
        let driver = driver(how);
        let queue = Numbers::bounded(3).expect("memory");
        let mut stream = getter(queue.consumer().expect("free"), &driver);
        let producer = queue.producer().expect("free");
        let (go, goes) = std::sync::mpsc::channel();
        let puts = std::thread::spawn(move || {
            let mut numbers = 0..BURSTS * BURST;
            while goes.recv().is_ok() {
                numbers.by_ref().take(BURST as usize).for_each(|number| producer.put(number).expect("open"));
            }
            assert_eq!(numbers.next(), None, "all of them");
        });
        let (mut expected, mut cancelled) = (0, 0);
        while expected < BURSTS * BURST {
            // Nobody puts until one has been cancelled: it waited.
            let is_idle = expected % BURST == 0;
            let before = cancelled;
            while cancelled == before || !is_idle {
                tokio::select! {
                    biased;
                    got = stream.next() => {
                        assert!(!is_idle, "{how}: {got:?} comes out of nowhere");
                        assert_eq!(got, Some(Ok(expected)), "{how}");
                        expected += 1;
                        break;
                    }
                    () = tokio::task::yield_now() => cancelled += 1,
                }
            }
            if is_idle {
                go.send(()).expect("it listens");
                assert_eq!(stream.next().await, Some(Ok(expected)), "{how}");
                expected += 1;
            }
        }
        drop(go);
        puts.join().expect("no panic");
        assert!(cancelled >= BURSTS, "{how}: {cancelled} were cancelled while they waited");
    });
}

fn sink_of<I>(queue: &ByteQueue, driver: &Option<Driver>) -> ringway::PutSink<Producer<ringway::Bytes>, I>
where
    I: ringway::Item<ringway::Bytes>,
{
    putter(queue.producer().expect("free"), driver).into_sink()
}

#[test]
fn a_sink_holds_one_item_and_flushes_it() {
    with_each(|how| async move {
        let _sandbox = Sandbox::new();
        let driver = driver(how);
        let queue = ByteQueue::bounded(1).expect("memory");
        let mut sink = sink_of::<Vec<u8>>(&queue, &driver);
        let (counter, waker) = Counter::new();
        let mut cx = Context::from_waker(&waker);
        for (item, is_flushed) in [(vec![1], true), (vec![2; 3000], false)] {
            assert!(matches!(Pin::new(&mut sink).poll_ready(&mut cx), Poll::Ready(Ok(()))));
            Pin::new(&mut sink).start_send(item).expect("it is ready");
            assert_eq!(Pin::new(&mut sink).poll_flush(&mut cx).is_ready(), is_flushed);
        }
        assert!(Pin::new(&mut sink).poll_ready(&mut cx).is_pending());
        // Whoever does not ask first gets it back.
        assert_eq!(Pin::new(&mut sink).start_send(vec![3]), Err(PutError::Full(vec![3])));
        let before = counter.count();
        assert_eq!(queue.get(), Ok(vec![1]));
        tokio::task::spawn_blocking(move || until(|| counter.count() > before)).await.expect("no panic");
        assert!(matches!(Pin::new(&mut sink).poll_flush(&mut cx), Poll::Ready(Ok(()))));
        assert_eq!(queue.get(), Ok(vec![2; 3000]));
        sink.send(vec![4]).await.expect("room");
        assert_eq!(queue.get(), Ok(vec![4]));
        // What it still holds is given back.
        sink.send(vec![5]).await.expect("room");
        Pin::new(&mut sink).start_send(vec![6]).expect("it is ready");
        let (_, held) = sink.into_parts();
        assert_eq!(held, Some(vec![6]));
    });
}

#[test]
fn a_closed_sink_has_flushed_and_leaves_the_queue_open() {
    with_each(|how| async move {
        let _sandbox = Sandbox::new();
        let driver = driver(how);
        let queue = ByteQueue::bounded(1).expect("memory");
        let mut sink = sink_of::<&'static [u8]>(&queue, &driver);
        sink.feed(&b"one"[..]).await.expect("room");
        sink.feed(&b"two"[..]).await.expect("it holds one");
        let getting = queue.consumer().expect("free");
        let gets = std::thread::spawn(move || (getting.get(), getting.get()));
        sink.close().await.expect("it is taken");
        assert!(!queue.is_closed());
        assert_eq!(gets.join().expect("no panic"), (Ok(b"one".to_vec()), Ok(b"two".to_vec())));
        queue.close();
        let refused = sink.send(&b"three"[..]).await.expect_err("closed");
        assert_eq!(refused, PutError::Closed(&b"three"[..]));
    });
}

/// `forward` from one queue to another: every item once, in order.
#[test]
fn a_stream_is_forwarded_to_a_sink() {
    with_each(|how| async move {
        let _sandbox = Sandbox::new();
        let driver = driver(how);
        let (from, to) = (ByteQueue::bounded(3).expect("memory"), ByteQueue::bounded(2).expect("memory"));
        let stream = getter(from.consumer().expect("free"), &driver).map(|got| got.map_err(std::io::Error::from));
        let sink = sink_of::<Vec<u8>>(&to, &driver).sink_map_err(std::io::Error::from);
        let forwards = tokio::spawn(stream.forward(sink));
        let putting = std::thread::spawn(move || {
            (0..1000u32).for_each(|number| from.put(&number.to_ne_bytes()).expect("open"));
            from.close();
        });
        let mut gets = getter(to.consumer().expect("free"), &driver);
        for number in 0..1000u32 {
            assert_eq!(gets.get().await, Ok(number.to_ne_bytes().to_vec()), "{how}");
        }
        putting.join().expect("no panic");
        forwards.await.expect("no panic").expect("all of it");
    });
}
