//! Callbacks, limits, threads, pools in pools, orders of maps.

use super::common::until;
use proptest::prelude::*;
use ringway::{Job, JobFailure, Options, Pool, Producer, Queue, Serde};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// Whoever waits at it comes and goes.
fn gate() -> Queue<u32> {
    Queue::with_options(Options::new(4).peers_gone(false)).expect("a queue")
}

#[test]
fn callbacks_come_one_at_a_time_and_may_go_wrong() {
    let pool = Arc::new(Pool::new(2).expect("a pool"));
    let (told, hears) = mpsc::channel();
    let inside = Arc::new(AtomicUsize::new(0));
    for n in 0..50_u32 {
        let job = pool.apply_async(|n: u32| if n == 7 { panic!("seven") } else { n }, (n,)).expect("it is open");
        let (told, inside) = (told.clone(), Arc::clone(&inside));
        job.on_done(move |result| {
            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            let _ = told.send((n, result));
            inside.fetch_sub(1, Ordering::SeqCst);
            if n == 9 {
                panic!("a callback");
            }
        });
    }
    let mut seen = HashMap::new();
    for _ in 0..50 {
        let (n, result) = hears.recv_timeout(Duration::from_secs(20)).expect("all are told");
        seen.insert(n, result.ok());
    }
    assert!((0..50).all(|n| seen[&n] == (n != 7).then_some(n)), "{seen:?}");
    until("it is counted", || pool.stats().callbacks_panicked == 1);
    // One that submits a job, of a job that is done.
    let job = pool.apply_async(|n: u32| n, (1,)).expect("it is open");
    job.wait();
    let again = Arc::downgrade(&pool);
    let (told, hears) = mpsc::channel();
    job.on_done(move |result| {
        let next = result.expect("it returns") + 1;
        let sum = again.upgrade().expect("it is there").apply(|n: u32| n + 40, (next,));
        let _ = told.send(sum);
    });
    assert_eq!(hears.recv_timeout(Duration::from_secs(20)).expect("it is called"), Ok(42));
    pool.close();
    pool.join().expect("it is closed");
}

#[test]
fn a_callback_may_drop_the_pool() {
    let pool = Pool::new(1).expect("a pool");
    let job = pool.apply_async(|| (), ()).expect("it is open");
    let (told, hears) = mpsc::channel();
    job.on_done(move |_| {
        drop(pool);
        let _ = told.send(());
    });
    hears.recv_timeout(Duration::from_secs(20)).expect("it is called");
}

#[test]
fn a_worker_retires_after_its_share() {
    let pool = Pool::builder().workers(2).max_tasks_per_child(5).build().expect("a pool");
    let jobs: Vec<_> = (0..50).map(|_| pool.apply_async(std::process::id, ()).expect("it is open")).collect();
    let mut done: HashMap<u32, u32> = HashMap::new();
    for job in jobs {
        *done.entry(job.get().expect("it returns")).or_default() += 1;
    }
    assert!(done.len() >= 10 && done.values().all(|jobs| *jobs <= 5), "{done:?}");
    assert_eq!(pool.stats().failed, 0);
}

#[test]
fn a_window_holds_submitters_back() {
    let pool = Pool::builder().workers(1).window(3).build().expect("a pool");
    let gate = gate();
    let wait = |gate: Queue<u32>| gate.get().expect("somebody opens");
    let first = pool.apply_async(wait, (gate.try_clone().expect("a handle"),)).expect("there is room");
    let others: Vec<_> = (0..2).map(|n: u32| pool.apply_async(|n: u32| n, (n,)).expect("there is room")).collect();
    let late = std::thread::scope(|scope| {
        let submitter = scope.spawn(|| pool.apply_async(|n: u32| n, (9,)).expect("in the end"));
        std::thread::sleep(Duration::from_millis(50));
        assert!(!submitter.is_finished() && !first.ready());
        gate.put(5).expect("there is room");
        submitter.join().expect("no panic")
    });
    assert_eq!((first.get(), late.get()), (Ok(5), Ok(9)));
    assert!(others.iter().zip(0..).all(|(job, n)| job.get() == Ok(n)));
    // What does not wait, waits inside, and can be cancelled there.
    let stuck = pool.apply_async(wait, (gate.try_clone().expect("a handle"),)).expect("there is room");
    let many = pool.chunksize(1).map_async(|n: u32| n, 0..20).expect("it does not wait");
    let stats = pool.stats();
    assert!(!many.ready() && stats.queued + stats.running == 21, "{stats:?}");
    gate.put(6).expect("there is room");
    assert_eq!((stuck.get(), many.get()), (Ok(6), Ok((0..20).collect())));
}

#[test]
fn many_threads_share_a_pool() {
    let pool = Pool::new(2).expect("a pool");
    std::thread::scope(|scope| {
        for thread in 0..6_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..300 {
                    assert_eq!(pool.apply(|a: u64, b: u64| a + b, (thread, n)), Ok(thread + n));
                    let jobs: Vec<Job<u64>> =
                        (0..3).map(|m| pool.apply_async(|m: u64| m, (m,)).expect("it is open")).collect();
                    assert!(jobs.iter().zip(0..).all(|(job, m)| job.get() == Ok(m)));
                }
                let squares: u64 = pool.imap_unordered(|n: u64| n * n, 0..1000).map(|n| n.expect("it returns")).sum();
                assert_eq!(squares, (0..1000).map(|n| n * n).sum());
            });
        }
    });
    let stats = pool.stats();
    assert_eq!((stats.failed, stats.queued, stats.running), (0, 0, 0));
}

#[test]
fn a_job_may_start_a_pool() {
    fn sum(depth: u32, n: u64) -> u64 {
        if depth == 0 {
            return n;
        }
        let pool = Pool::new(2).expect("a pool");
        pool.starmap(sum, (0..3).map(|m| (depth - 1, n + m))).expect("they return").into_iter().sum()
    }
    let pool = Pool::new(2).expect("a pool");
    assert_eq!(pool.apply(sum, (2, 1)), Ok(27));
}

#[test]
fn waiting_has_limits() {
    let pool = Pool::new(1).expect("a pool");
    let gate = gate();
    let job =
        pool.apply_async(|gate: Queue<u32>| gate.get().expect("somebody opens"), (gate.try_clone().expect("one"),));
    let job = job.expect("it is open");
    let begun = Instant::now();
    assert_eq!(job.get_timeout(Duration::from_millis(30)).expect_err("not yet").cause(), &JobFailure::NotReady);
    assert!(!job.wait_timeout(Duration::from_millis(30)) && !job.wait_timeout(Duration::ZERO));
    assert!((60..5000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    assert_eq!((job.ready(), job.successful()), (false, None));
    gate.put(4).expect("there is room");
    assert!(job.wait_timeout(Duration::from_secs(20)));
    assert_eq!((job.get_timeout(Duration::ZERO), job.get(), job.successful()), (Ok(4), Ok(4), Some(true)));
}

#[test]
fn errors_that_nobody_asks_for_are_counted() {
    let pool = Pool::builder().workers(1).initializer(super::common::quiet, ()).build().expect("a pool");
    let fails = || -> () { panic!("unheard") };
    drop(pool.apply_async(fails, ()).expect("it is open"));
    until("it has failed", || pool.stats().failed == 1);
    let late = pool.apply_async(fails, ()).expect("it is open");
    until("it has failed", || late.ready());
    drop(late);
    let asked = pool.apply_async(fails, ()).expect("it is open");
    assert!(asked.get().is_err());
    drop(asked);
    until("two are counted", || pool.stats().unasked == 2);
}

/// Constant memory, and as lazy as it says: items are taken as results are.
#[test]
fn an_iterator_is_taken_as_its_results_are() {
    let pool = Pool::new(2).expect("a pool");
    let taken = AtomicUsize::new(0);
    let items = (0..1_000_000_u64).inspect(|_| {
        taken.fetch_add(1, Ordering::Relaxed);
    });
    let mut results = pool.imap(|n: u64| n + 1, items);
    assert_eq!(taken.load(Ordering::Relaxed), 0);
    for n in 0..100 {
        assert_eq!(results.next(), Some(Ok(n + 1)));
    }
    // Sixteen chunks ahead, at most.
    assert!(taken.load(Ordering::Relaxed) <= 17 * 8192, "{taken:?}");
    drop(results);
    let after = taken.load(Ordering::Relaxed);
    assert_eq!(pool.apply(|n: u64| n, (1,)), Ok(1));
    assert_eq!(taken.load(Ordering::Relaxed), after);
    // An error stands for its chunk, and the iteration goes on.
    let fails = |n: u64| if n == 3 { panic!("three") } else { n };
    let results: Vec<_> = pool.chunksize(1).imap(fails, 0..6).map(Result::ok).collect();
    assert_eq!(results, [Some(0), Some(1), Some(2), None, Some(4), Some(5)]);
}

/// What is under way comes, then that the pool is closed; what had not begun does not begin.
#[test]
fn closing_a_pool_ends_its_lazy_maps() {
    let pool = Pool::new(1).expect("a pool");
    let same = |n: u64| n;
    let mut results = pool.chunksize(1).imap(same, 0..1000);
    let mut others = pool.chunksize(1).imap_unordered(same, 0..1000);
    let not_begun = pool.imap(same, 0..1000);
    assert_eq!((results.next(), others.next()), (Some(Ok(0)), Some(Ok(0))));
    pool.close();
    let causes = |results: Vec<Result<u64, ringway::JobError>>| -> Vec<Result<u64, JobFailure>> {
        results.into_iter().map(|result| result.map_err(|error| error.cause().clone())).collect()
    };
    // Eight for the worker were submitted.
    let expected: Vec<_> = (1..8).map(Ok).chain([Err(JobFailure::Closed)]).collect();
    assert_eq!(causes(results.collect()), expected);
    assert_eq!(causes(others.collect()), expected);
    assert_eq!(causes(not_begun.collect()), [Err(JobFailure::Closed)]);
    assert_eq!(causes(pool.imap(same, 0..1000).collect()), [Err(JobFailure::Closed)]);
    assert_eq!(causes(pool.imap_unordered(same, 0..1000).collect()), [Err(JobFailure::Closed)]);
    pool.join().expect("it is closed");
}

#[test]
fn slices_of_plain_data_go_as_they_are() {
    let data: Vec<u64> = (0..300_000).collect();
    for builder in [Pool::builder(), Pool::builder().arena(4 << 20), Pool::builder().arena(1 << 20)] {
        let pool = builder.workers(2).build().expect("a pool");
        let sums = pool.map_slices(|part: &[u64]| part.iter().sum::<u64>(), &data).expect("they return");
        assert_eq!((sums.iter().sum::<u64>(), sums.len() > 1), (data.iter().sum(), true));
        let firsts = pool.chunksize(1000).map_slices(|part: &[u64]| part[0], &data);
        assert_eq!(firsts, Ok((0..300).map(|n| n * 1000).collect()));
        let pairs: Vec<[u8; 3]> = (0..100_u8).map(|n| [n, n, n]).collect();
        let count = |part: &[[u8; 3]]| part.iter().filter(|[a, b, c]| a == b && b == c).count();
        assert_eq!(pool.map_slices(count, &pairs), Ok(vec![100]));
        assert_eq!(pool.map_slices(count, &[]), Ok(Vec::new()));
        let fails = |part: &[u64]| if part[0] == 3 { panic!("three") } else { part[0] };
        let error = pool.chunksize(1).map_slices(fails, &data[..10]).expect_err("it panics");
        assert!(matches!(error.cause(), JobFailure::Panicked { message, .. } if message == "three"), "{error:?}");
    }
}

/// All of it is there from the start: whoever wants more waits, and what never fits is told.
#[test]
fn an_arena_is_enough_for_what_comes_and_goes() {
    let pool = Pool::builder().workers(2).arena(8 << 20).window(64).build().expect("a pool");
    let bytes = vec![5_u8; 1 << 20];
    let jobs: Vec<_> = (0..50).map(|_| pool.apply_async(|b: Vec<u8>| b, (bytes.clone(),)).expect("it waits")).collect();
    assert!(jobs.iter().all(|job| job.get().as_ref() == Ok(&bytes)));
    let error = pool.apply(|b: Vec<u8>| b.len(), (vec![0_u8; 3 << 20],)).expect_err("too long");
    assert!(matches!(error.cause(), JobFailure::ArgumentsUnencodable { .. }), "{error:?}");
    let error = pool.apply(|| vec![0_u8; 3 << 20], ()).map(|b| b.len()).expect_err("too long");
    assert!(matches!(error.cause(), JobFailure::ResultUnencodable { .. }), "{error:?}");
    assert_eq!(pool.map(|n: u64| n, 0..10_000), Ok((0..10_000).collect()));
    assert!(Pool::builder().arena(1 << 20).memory(1 << 20).build().is_err());
}

#[test]
fn results_come_as_they_come() {
    let pool = Pool::new(2).expect("a pool");
    let gate = gate();
    fn one(n: u32, gate: Option<Queue<u32>>) -> u32 {
        gate.map_or(n, |gate| gate.get().expect("somebody opens"))
    }
    let items = (0..6).map(|n| (n, (n == 0).then(|| gate.try_clone().expect("a handle"))));
    let mut results = pool.chunksize(1).imap_unordered(|(n, gate)| one(n, gate), items);
    let mut early: Vec<u32> = results.by_ref().take(5).map(|result| result.expect("it returns")).collect();
    early.sort_unstable();
    assert_eq!(early, [1, 2, 3, 4, 5]);
    gate.put(77).expect("there is room");
    assert_eq!((results.next(), results.next()), (Some(Ok(77)), None));
}

/// What a killed worker held of the user's queues is whole.
#[test]
fn queues_that_a_killed_worker_held_stay_whole() {
    let pool = Pool::new(2).expect("a pool");
    let queue = Queue::<u64>::bounded(64).expect("a queue");
    let got = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let getting = queue.try_clone().expect("a handle");
        let got = &got;
        scope.spawn(move || {
            while let Ok(n) = getting.get() {
                got.lock().expect("nobody panics").push(n);
            }
        });
        for round in 0..20_u64 {
            let fill =
                |to: Producer<Serde<u64>>, from: u64| (from..u64::MAX).for_each(|n| to.put(n).expect("somebody gets"));
            let to = queue.producer().expect("an end");
            let job = pool.apply_async(fill, (to, round << 32)).expect("it is open");
            until("it puts", || got.lock().expect("nobody panics").last().is_some_and(|n| n >> 32 == round));
            assert!(job.cancel());
            assert_eq!(job.get().expect_err("cancelled").cause(), &JobFailure::Cancelled);
        }
        queue.close();
    });
    // Of each in order, none twice, none missing.
    let got = got.into_inner().expect("nobody panics");
    for round in 0..20 {
        let numbers: Vec<u64> = got.iter().filter(|n| *n >> 32 == round).map(|n| n & 0xffff_ffff).collect();
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "round {round}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn maps_are_in_order_and_complete(workers in 1_usize..5, chunk in proptest::option::of(0_usize..200), len in 0_u32..2000) {
        let pool = Pool::new(workers).expect("a pool");
        let expected: Vec<String> = (0..len).map(|n| format!("<{n}>")).collect();
        let f = |n: u32| format!("<{n}>");
        let (map, lazy, later, mut any);
        if let Some(chunk) = chunk {
            let pool = pool.chunksize(chunk);
            map = pool.map(f, 0..len);
            lazy = pool.imap(f, 0..len).collect::<Result<Vec<_>, _>>();
            later = pool.map_async(f, 0..len).and_then(|job| job.get());
            any = pool.imap_unordered(f, 0..len).collect::<Result<Vec<_>, _>>().expect("they return");
        } else {
            map = pool.map(f, 0..len);
            lazy = pool.imap(f, 0..len).collect::<Result<Vec<_>, _>>();
            later = pool.map_async(f, 0..len).and_then(|job| job.get());
            any = pool.imap_unordered(f, 0..len).collect::<Result<Vec<_>, _>>().expect("they return");
        }
        prop_assert_eq!(map.as_ref(), Ok(&expected));
        prop_assert_eq!(lazy.as_ref(), Ok(&expected));
        prop_assert_eq!(later.as_ref(), Ok(&expected));
        any.sort_unstable_by_key(|text| text.trim_matches(['<', '>']).parse::<u32>().ok());
        prop_assert_eq!(&any, &expected);
    }
}
