//! A put that waits for a block or a chunk, not for a position, is woken by whoever frees one. It
//! would look by itself only when its slice of 100 ms ends.

mod common;

use common::small::Small;
use common::{MODES, Role, Sandbox, thread_id, timed, until_asleep};
use ringway::{ByteQueue, Bytes, Message, Options, PodQueue, Producer, PutError, WaitPolicy};
use std::thread::JoinHandle;
use std::time::Duration;

const ROLES: &[Role] = &[];

const ROUNDS: usize = 11;

/// Well below a slice.
const PROMPT: Duration = Duration::from_millis(30);

const LONG: Duration = Duration::from_secs(20);

/// A thread that has gone to sleep over a put; it gives the producer back.
fn sleeper<M: Message + 'static>(
    producer: Producer<M>,
    put: impl FnOnce(&Producer<M>) -> bool + Send + 'static,
) -> JoinHandle<Producer<M>>
where
    Producer<M>: Send,
{
    producer.set_wait_policy(WaitPolicy::Park);
    let (telling, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        telling.send(thread_id()).expect("somebody listens");
        assert!(put(&producer), "room comes");
        producer
    });
    until_asleep(std::process::id(), told.recv().expect("it says so"));
    assert!(!thread.is_finished());
    thread
}

#[track_caller]
fn assert_prompt(mut took: Vec<Duration>, what: impl std::fmt::Debug) {
    took.sort();
    assert!(took[took.len() / 2] < PROMPT, "{what:?}: nobody woke it: {took:?}");
}

// ---- blocks ----

const LARGE: [u8; 16_000] = [7; 16_000];

/// Of these lengths no slot has room for one.
fn few_blocks(options: Options) -> ByteQueue {
    let queue = ByteQueue::with_options(options.max_message(LARGE.len())).expect("memory");
    queue.set_wait_policy(WaitPolicy::Park);
    queue
}

/// Until there is no block, though there are positions.
fn fill(producer: &Producer<Bytes>, queue: &ByteQueue) {
    while producer.try_put(&LARGE).is_ok() {}
    assert!(queue.len() < queue.capacity() && producer.try_put(b"short") == Ok(()), "blocks are short, not positions");
}

fn put_large(producer: &Producer<Bytes>) -> bool {
    producer.put_timeout(&LARGE, LONG) == Ok(())
}

/// Copied out, read in place, acknowledged.
const WAYS: [&str; 3] = ["get", "get_ref", "lease"];

fn wakes_of_blocks(queue: ByteQueue, what: impl std::fmt::Debug) {
    let (mut producer, consumer) = (queue.producer().expect("free"), queue.consumer().expect("free"));
    for way in WAYS {
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            fill(&producer, &queue);
            let time;
            (producer, time) = match way {
                "get" => {
                    let thread = sleeper(producer, put_large);
                    timed(|| {
                        assert_eq!(consumer.get().as_deref(), Ok(&LARGE[..]));
                        thread.join().expect("no panic")
                    })
                }
                "get_ref" => {
                    // What is read in place has its block still, and its position no more.
                    let message = consumer.get_ref().expect("a message");
                    let thread = sleeper(producer, put_large);
                    timed(|| {
                        drop(message);
                        thread.join().expect("no panic")
                    })
                }
                _ => {
                    let lease = consumer.lease().expect("a message");
                    let thread = sleeper(producer, put_large);
                    timed(|| {
                        lease.ack().expect("ours");
                        thread.join().expect("no panic")
                    })
                }
            };
            took.push(time);
            while consumer.try_get().is_ok() {}
        }
        assert_prompt(took, (way, &what));
    }
}

#[test]
fn who_frees_a_block_wakes() {
    let sandbox = Sandbox::new();
    for mode in MODES {
        wakes_of_blocks(few_blocks(sandbox.mode(64, mode).arena(100_000)), mode);
    }
}

#[test]
fn who_frees_a_block_of_an_arena_that_grows_wakes() {
    let sandbox = Sandbox::new();
    wakes_of_blocks(few_blocks(Options::unbounded().cap(1 << 20).directory(sandbox.path())), "unbounded");
}

/// What was reserved and is not put.
#[test]
fn who_gives_a_reserved_block_back_wakes() {
    let sandbox = Sandbox::new();
    for options in [sandbox.options(64).arena(100_000), Options::unbounded().cap(1 << 20)] {
        let queue = few_blocks(options);
        let mut producer = queue.producer().expect("free");
        let mut took = Vec::new();
        for _ in 0..ROUNDS {
            let reserved = queue.try_reserve(LARGE.len()).expect("a block");
            fill(&producer, &queue);
            let thread = sleeper(producer, put_large);
            let time;
            (producer, time) = timed(|| {
                drop(reserved);
                thread.join().expect("no panic")
            });
            took.push(time);
            while queue.try_get().is_ok() {}
        }
        assert_prompt(took, &queue);
    }
}

// ---- chunks ----

type Line = [u64; 7];
type Lines = PodQueue<Line>;

/// Puts until there is no chunk, has a put wait, and drains the oldest chunk: how long it still waits.
fn wakes_of_chunks(queue: &Lines, chunk: u64) -> Vec<Duration> {
    let (mut producer, consumer) = (queue.producer().expect("free"), queue.consumer().expect("free"));
    let (mut took, mut got) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        while producer.try_put([1; 7]).is_ok() {}
        assert_eq!(producer.try_put([1; 7]), Err(PutError::Full([1; 7])));
        let thread = sleeper(producer, |producer| producer.put_timeout([2; 7], LONG) == Ok(()));
        // All of its messages but one may be got before: a chunk comes back as a whole.
        let rest = chunk - got % chunk;
        for _ in 1..rest {
            consumer.get().expect("a message");
        }
        assert!(!thread.is_finished(), "it waits for a chunk");
        let time;
        (producer, time) = timed(|| {
            consumer.get().expect("a message");
            thread.join().expect("no panic")
        });
        took.push(time);
        got += rest;
        while consumer.try_get().is_ok() {
            got += 1;
        }
    }
    took
}

/// Messages in a chunk of a queue, and how many chunks it has.
fn chunk_of(directory: &std::path::Path) -> (u64, u64) {
    let seen = ringway::admin::inspect(Some(directory), &"q".parse().expect("a name")).expect("a queue");
    let growth = seen.growth.expect("it grows");
    (growth.chunk / size_of::<[u64; 8]>() as u64, growth.chunks)
}

/// At the cap: the chunk that is drained is taken for the next messages.
#[test]
fn who_drains_a_chunk_wakes() {
    let sandbox = Sandbox::new();
    for cap in [64 << 10, 1 << 20] {
        let queue = Lines::create("q", Options::unbounded().cap(cap).directory(sandbox.path())).expect("memory");
        let (chunk, chunks) = chunk_of(sandbox.path());
        assert_eq!(chunk * chunks, queue.capacity() as u64);
        assert_prompt(wakes_of_chunks(&queue, chunk), (cap, chunks));
    }
}

/// Below the cap, where the system has no memory: what is drained is spare, and the next chunk is
/// made of it.
#[test]
fn who_drains_a_chunk_wakes_where_there_is_no_space() {
    let sandbox = Sandbox::new();
    let Some(small) = Small::mount(&sandbox) else { return };
    let queue = Lines::create("q", Options::unbounded().cap(64 << 20).directory(small.path())).expect("memory");
    let (chunk, _) = chunk_of(small.path());
    assert_prompt(wakes_of_chunks(&queue, chunk), "no space");
    drop(queue);
}
