//! Zero-copy: messages written and read where they lie.

mod common;

use common::{Role, Sandbox};
use ringway::{ByteQueue, GetError, Options, PutError, RangeError, Side};
use std::time::Duration;

const ROLES: &[Role] = &[("hold", hold)];

/// Reads a message in place, and holds a block, until it is killed.
fn hold(arguments: &[String]) {
    let queue = ByteQueue::open(&arguments[0]).expect("it is there");
    let message = queue.get_ref().expect("there");
    let reserved: Vec<_> = std::iter::from_fn(|| queue.try_reserve(60_000).ok()).collect();
    common::tell(format_args!("{} {}", message.len(), !reserved.is_empty()));
    common::hear();
    drop((message, reserved));
}

fn queue() -> ByteQueue {
    ByteQueue::with_options(Options::new(4).max_message(100_000)).expect("memory")
}

#[test]
fn what_is_written_in_place_is_read_in_place() {
    for producers in [Side::Single, Side::Multi] {
        for consumers in [Side::Single, Side::Multi] {
            let options = Options::new(4).max_message(100_000).producers(producers).consumers(consumers);
            let queue = ByteQueue::with_options(options).expect("memory");
            for len in [0, 1, 7, 52, 53, 4096, 100_000] {
                let mut message = queue.reserve(len).expect("room");
                assert_eq!((message.len(), message.is_empty()), (len, len == 0));
                message.fill(0xaa);
                if len > 2 {
                    message.write_at(len - 2, &[1, 2]).expect("in range");
                }
                message.commit().expect("room");
                let message = queue.get_ref().expect("there");
                assert_eq!(message.len(), len);
                assert_eq!(message.get(len), None);
                if len > 2 {
                    assert_eq!(message.get(len - 1), Some(2));
                    let mut end = [0; 3];
                    message.copy_to_slice(len - 3, &mut end).expect("in range");
                    assert_eq!(end, [0xaa, 1, 2]);
                }
                let copied: Vec<u8> = message.chunks(1000).flatten().collect();
                assert_eq!(copied, message.to_vec());
                message.ack().expect("ours");
            }
        }
    }
}

/// A plain get takes what was written in place, and `get_ref` what was put.
#[test]
fn both_kinds_of_both_ends_mix() {
    let queue = queue();
    for len in [3, 52, 5000] {
        let mut message = queue.reserve(len).expect("room");
        message.fill(len as u8);
        message.commit().expect("room");
        assert_eq!(queue.get().expect("there"), vec![len as u8; len]);
        queue.put(&vec![9; len]).expect("room");
        assert_eq!(queue.get_ref().expect("there").to_vec(), vec![9; len]);
    }
}

/// Where every message fits a slot there are no blocks, and a guard is memory of its own.
#[test]
fn a_queue_without_an_arena_can_be_written_in_place() {
    for options in [Options::new(2).max_message(40), Options::unbounded().cap(1 << 20).max_message(40)] {
        let queue = ByteQueue::with_options(options).expect("memory");
        for round in 0..3u8 {
            for len in [0, 1, 39, 40] {
                let mut message = queue.reserve(len).expect("room");
                assert_eq!(message.len(), len);
                message.fill(round);
                if len > 0 {
                    message.write_at(len - 1, b"!").expect("in range");
                }
                message.commit().expect("room");
                let got = queue.get_ref().expect("there").to_vec();
                let mut want = vec![round; len];
                want.iter_mut().last().into_iter().for_each(|last| *last = b'!');
                assert_eq!(got, want);
            }
        }
        let refused = queue.reserve(41).map(drop);
        assert!(matches!(refused, Err(PutError::TooLarge { len: 41, max: 40, .. })), "{refused:?}");
        drop(queue.reserve(40).expect("room"));
        assert!(queue.is_empty());
        let mut kept = queue.reserve(40).expect("room");
        kept.truncate(2);
        kept.copy_from_slice(b"ok").expect("in range");
        queue.close();
        let (kept, refused) = match kept.commit() {
            Err(PutError::Closed(kept)) => (kept, queue.reserve(1).map(drop)),
            other => panic!("{other:?}"),
        };
        assert_eq!((kept.len(), refused), (2, Err(PutError::Closed(()))));
    }
    let queue = ByteQueue::with_options(Options::new(1).max_message(8)).expect("memory");
    queue.put(b"first").expect("room");
    let mut second = queue.try_reserve(8).expect("room");
    second.fill(2);
    let second = match second.try_commit() {
        Err(PutError::Full(second)) => second,
        other => panic!("{other:?}"),
    };
    assert_eq!(queue.get().as_deref(), Ok(&b"first"[..]));
    second.commit().expect("room");
    assert_eq!(queue.get().as_deref(), Ok(&[2; 8][..]));
}

#[test]
fn committing_less_is_a_shorter_message() {
    let queue = queue();
    let mut message = queue.reserve(1000).expect("room");
    message.copy_from_slice(b"short").expect("in range");
    message.truncate(5);
    message.truncate(50);
    message.commit().expect("room");
    assert_eq!(queue.get().expect("there"), b"short");
}

#[test]
fn ranges_are_checked() {
    let queue = queue();
    let mut message = queue.reserve(10).expect("room");
    let out = RangeError::OutOfRange { at: 8, count: 3, len: 10 };
    assert_eq!(message.write_at(8, &[0; 3]), Err(out));
    assert_eq!(
        message.write_at(usize::MAX, &[0; 3]),
        Err(RangeError::OutOfRange { at: usize::MAX, count: 3, len: 10 })
    );
    assert!(message.copy_from_slice(&[0; 11]).is_err());
    message.fill(1);
    message.commit().expect("room");
    let message = queue.get_ref().expect("there");
    assert_eq!(message.copy_to_slice(8, &mut [0; 3]), Err(out));
}

#[test]
fn elements_of_other_types() {
    let queue = queue();
    let mut message = queue.reserve(24).expect("room").cast::<f64>().expect("three of them");
    message.copy_from_slice(&[1.5, 2.5, 3.5]).expect("in range");
    message.commit().expect("room");
    let message = queue.get_ref().expect("there").cast::<f64>().expect("three of them");
    assert_eq!((message.len(), message.get(2)), (3, Some(3.5)));
    // SAFETY: nobody else writes here, and every pattern is a number.
    #[allow(unsafe_code)]
    let slice = unsafe { message.as_slice() };
    assert_eq!(slice, [1.5, 2.5, 3.5]);
    drop(message);
    assert_eq!(queue.reserve(10).expect("room").cast::<u64>().expect_err("not whole").len(), 10);
    queue.put(&[1, 2, 0]).expect("room");
    let message = queue.get_ref().expect("there").cast::<bool>().expect("bytes");
    assert_eq!((message.get(0), message.get(1), message.get(2)), (Some(true), None, Some(false)));
    assert_eq!(message.copy_to_slice(0, &mut [false; 3]), Err(RangeError::BadPattern { at: 1 }));
    assert_eq!(message.chunks(1).count(), 1);
}

#[test]
fn a_refused_commit_gives_the_guard_back() {
    let queue = ByteQueue::with_options(Options::new(1).max_message(5000)).expect("memory");
    queue.put(b"full").expect("room");
    let mut message = queue.reserve(5000).expect("a block");
    message.fill(3);
    let refused = message.try_commit().expect_err("full");
    assert!(refused.is_full());
    let refused = refused.into_value().commit_timeout(Duration::from_millis(5)).expect_err("full");
    assert!(refused.is_timed_out());
    let message = refused.into_value();
    assert_eq!(queue.get().expect("there"), b"full");
    message.commit().expect("room");
    assert_eq!(queue.get().expect("there"), vec![3; 5000]);
    let message = queue.reserve(100).expect("a block");
    queue.close();
    let refused = message.commit().expect_err("closed");
    assert!(refused.is_closed());
    drop(refused);
    assert_eq!(queue.try_reserve(100).map(drop), Err(PutError::Closed(())));
}

#[test]
fn too_much_is_refused() {
    let queue = queue();
    assert_is!(queue.reserve(100_001), Err(PutError::TooLarge { value: (), len: 100_001, max: 100_000 }));
}

/// Blocks come back however a guard ends; a forgotten one's when its handle is dropped.
#[test]
fn guards_give_their_blocks_back() {
    // The handles come and go.
    let options = Options::new(4).max_message(4096).arena(1).peers_gone(false);
    let queue = ByteQueue::with_options(options).expect("memory");
    for _ in 0..100 {
        drop(queue.try_reserve(4096).expect("free again"));
    }
    let forgetful = queue.try_clone().expect("a place");
    std::mem::forget(forgetful.try_reserve(4096).expect("free"));
    assert_is!(queue.try_reserve(4096), Err(PutError::Full(())));
    drop(forgetful);
    let mut message = queue.try_reserve(4096).expect("free again");
    message.fill(5);
    message.commit().expect("room");
    let forgetful = queue.try_clone().expect("a place");
    std::mem::forget(forgetful.try_get_ref().expect("there"));
    assert_is!(queue.try_get_ref(), Err(GetError::Empty));
    drop(forgetful);
    let again = queue.try_get_ref().expect("it came back");
    assert_eq!((again.redelivered(), again.get(4095)), (1, Some(5)));
    drop(again);
    assert!(queue.is_empty());
    queue.try_reserve(4096).expect("free again").commit().expect("room");
}

/// The ring goes on while messages are read in place, and guards count as leases.
#[test]
fn the_ring_moves_on() {
    let queue = ByteQueue::with_options(Options::new(2).leases(2)).expect("memory");
    queue.put(b"one").expect("room");
    queue.put(b"two").expect("room");
    let one = queue.get_ref().expect("there");
    let two = queue.get_ref().expect("there");
    queue.put(b"three").expect("their slots are free");
    assert_is!(queue.try_get_ref(), Err(GetError::TooManyLeases));
    assert_eq!((one.to_vec(), two.to_vec()), (b"one".to_vec(), b"two".to_vec()));
    assert_ne!(one.id(), two.id());
    drop(one);
    assert_eq!(queue.get_ref().expect("there").to_vec(), b"three");
}

/// A reader that dies gives its message back.
#[test]
fn what_a_dead_one_reads_is_read_again() {
    let sandbox = Sandbox::new();
    let options = sandbox.options(4).max_message(60_000).arena(400_000);
    let queue = ByteQueue::create("q", options).expect("created");
    queue.put(&[7; 50_000]).expect("room");
    let mut child = sandbox.child("hold", &["q"]);
    child.expect("50000 true");
    assert_is!(queue.try_reserve(60_000), Err(PutError::Full(())));
    child.kill();
    let message = queue.get_ref_timeout(Duration::from_secs(5)).expect("it comes back");
    assert_eq!((message.redelivered(), message.to_vec()), (1, vec![7; 50_000]));
    drop(queue.reserve_timeout(60_000, Duration::from_secs(5)).expect("its block, too"));
}

// ---- blocks, in any order of what may be done with them ----

mod any_order {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::{Config, TestRunner};
    use ringway::{Bytes, Lease, Ref, Reserved};
    use std::collections::VecDeque;

    const LONGEST: usize = 5000;

    #[derive(Clone, Debug)]
    enum Step {
        Reserve(usize),
        Commit(usize, usize),
        Abort(usize),
        Put(usize),
        Get,
        Lease,
        Ack(usize),
        GiveBack(usize),
        GetRef,
        Consume(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let len = prop_oneof![0..60usize, 50..400usize, 0..=LONGEST];
        let which = 0..8usize;
        prop_oneof![
            3 => len.clone().prop_map(Step::Reserve),
            2 => (which.clone(), len.clone()).prop_map(|(at, less)| Step::Commit(at, less)),
            1 => which.clone().prop_map(Step::Abort),
            2 => len.prop_map(Step::Put),
            2 => Just(Step::Get),
            2 => Just(Step::Lease),
            1 => which.clone().prop_map(Step::Ack),
            1 => which.clone().prop_map(Step::GiveBack),
            2 => Just(Step::GetRef),
            2 => which.prop_map(Step::Consume),
        ]
    }

    /// Tells every message from every other, of whatever length.
    fn pattern(id: u64, len: usize) -> Vec<u8> {
        (0..len as u64).map(|at| (id.wrapping_mul(0x9e37_79b9).wrapping_add(at) >> (at % 5)) as u8).collect()
    }

    /// How many of the longest, then how many of the shortest that need a block, are free.
    fn free(queue: &ByteQueue) -> [usize; 2] {
        let mut taken = Vec::new();
        [LONGEST, 53].map(|len| {
            let before = taken.len();
            while let Ok(block) = queue.try_reserve(len) {
                taken.push(block);
            }
            taken.len() - before
        })
    }

    #[derive(Default)]
    struct Held<'q> {
        reserved: Vec<(Reserved<'q>, Vec<u8>)>,
        leases: Vec<Lease<'q, Bytes>>,
        refs: Vec<(Ref<'q>, Vec<u8>)>,
        queue: VecDeque<Vec<u8>>,
        back: Vec<Vec<u8>>,
    }

    impl Held<'_> {
        /// A message came: it must be one that came back, or the next.
        fn came(&mut self, bytes: &[u8]) -> Result<(), TestCaseError> {
            if let Some(at) = self.back.iter().position(|one| one == bytes) {
                self.back.remove(at);
                return Ok(());
            }
            prop_assert!(self.back.is_empty(), "what came back comes first");
            let next = self.queue.pop_front();
            prop_assert_eq!(next.as_deref(), Some(bytes));
            Ok(())
        }

        /// Nobody has written where somebody else is.
        fn check(&self) -> Result<(), TestCaseError> {
            for (message, expected) in &self.refs {
                prop_assert_eq!(&message.to_vec(), expected, "it has changed under its reader");
            }
            Ok(())
        }
    }

    fn run(queue: &ByteQueue, steps: &[Step]) -> Result<(), TestCaseError> {
        let mut held = Held::default();
        for (id, step) in (0..).zip(steps) {
            let at = |len: usize, which: usize| (len > 0).then(|| which % len.max(1));
            match *step {
                Step::Reserve(len) => {
                    if let Ok(mut block) = queue.try_reserve(len) {
                        block.copy_from_slice(&pattern(id, len)).expect("as long as that");
                        held.reserved.push((block, pattern(id, len)));
                    }
                }
                Step::Commit(which, less) => {
                    let Some(at) = at(held.reserved.len(), which) else { continue };
                    let (mut block, mut bytes) = held.reserved.swap_remove(at);
                    block.truncate(less);
                    bytes.truncate(less);
                    match block.try_commit() {
                        Ok(()) => held.queue.push_back(bytes),
                        Err(PutError::Full(block)) => held.reserved.push((block, bytes)),
                        Err(error) => panic!("{error:?}"),
                    }
                }
                Step::Abort(which) => {
                    let Some(at) = at(held.reserved.len(), which) else { continue };
                    drop(held.reserved.swap_remove(at));
                }
                Step::Put(len) => {
                    if queue.try_put(&pattern(id, len)).is_ok() {
                        held.queue.push_back(pattern(id, len));
                    }
                }
                Step::Get => match queue.try_get() {
                    Ok(bytes) => held.came(&bytes)?,
                    Err(error) => prop_assert!(error.is_empty() && held.queue.is_empty() && held.back.is_empty()),
                },
                Step::Lease => {
                    if let Ok(lease) = queue.try_lease() {
                        held.came(&lease)?;
                        held.leases.push(lease);
                    }
                }
                Step::Ack(which) => {
                    let Some(at) = at(held.leases.len(), which) else { continue };
                    held.leases.swap_remove(at).ack().expect("ours");
                }
                Step::GiveBack(which) => {
                    let Some(at) = at(held.leases.len(), which) else { continue };
                    let lease = held.leases.swap_remove(at);
                    held.back.push(lease.to_vec());
                }
                Step::GetRef => {
                    if let Ok(message) = queue.try_get_ref() {
                        let bytes = message.to_vec();
                        held.came(&bytes)?;
                        held.refs.push((message, bytes));
                    }
                }
                Step::Consume(which) => {
                    let Some(at) = at(held.refs.len(), which) else { continue };
                    held.refs.swap_remove(at).0.ack().expect("ours");
                }
            }
            held.check()?;
        }
        Ok(())
    }

    #[test]
    fn no_block_has_two_owners_and_none_is_lost() {
        let _watchdog = Sandbox::new();
        let small = || Options::new(6).max_message(LONGEST).arena(40_000).leases(4);
        let all = [
            small(),
            small().producers(Side::Single),
            small().consumers(Side::Single),
            small().producers(Side::Single).consumers(Side::Single),
            Options::unbounded().cap(200_000).max_message(LONGEST).leases(4),
        ];
        for options in all {
            let grows = format!("{options:?}").contains("unbounded: true");
            let queue = ByteQueue::with_options(options).expect("memory");
            let at_rest = free(&queue);
            let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
            let outcome = runner.run(&proptest::collection::vec(step(), 1..200), |steps| {
                // What was held is given back; what was not taken is taken.
                run(&queue, &steps)?;
                while queue.try_get().is_ok() {}
                prop_assert!(queue.is_empty());
                prop_assert_eq!(free(&queue), at_rest);
                Ok(())
            });
            outcome.unwrap_or_else(|error| panic!("grows: {grows}: {error}"));
        }
    }
}
