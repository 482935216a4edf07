//! What a pool was asked for is so in its workers.

use super::common::until;
use ringway::{Options, Pool, Process, Queue, WaitPolicy, cpu_count};
use std::collections::HashSet;
use std::time::Duration;

/// The processors that this thread may use.
fn processors() -> Vec<usize> {
    // SAFETY: plain data, which the call fills in; the numbers are inside of the set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        assert_eq!(libc::sched_getaffinity(0, size_of_val(&set), &raw mut set), 0);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

/// In every worker, also in one that takes another's place.
#[test]
fn workers_run_where_they_were_told_to() {
    let all = processors();
    let each = |pool: &Pool| {
        let mut places = HashSet::new();
        for _ in 0..4 {
            places.insert(pool.apply(processors, ()).expect("it returns"));
            assert!(pool.apply(|| -> () { std::process::exit(3) }, ()).is_err());
        }
        places
    };
    for processor in [all[0], all[all.len() - 1]] {
        let pool = Pool::builder().workers(2).affinity([processor]).build().expect("a pool");
        assert_eq!(each(&pool), HashSet::from([vec![processor]]));
    }
    assert_eq!(each(&Pool::new(2).expect("a pool")), HashSet::from([all.clone()]), "that of this process");
    // This process itself has moved nowhere.
    assert_eq!(processors(), all);
}

#[test]
fn there_are_as_many_workers_as_processors() {
    fn count() -> (usize, usize, usize) {
        let pool = Pool::builder().build().expect("a pool");
        (pool.workers(), pool.stats().workers.len(), cpu_count())
    }
    let (said, there, processors) = count();
    assert_eq!((said, there), (processors, processors));
    let mut process = Process::new(count, ()).affinity([self::processors()[0]]);
    process.start().expect("starts");
    assert_eq!(process.result().expect("it returns"), (1, 1, 1));
}

/// Milliseconds of a processor's time that the threads of a process have had, or one of them.
fn busy_ms(path: &str) -> u64 {
    let stat = std::fs::read_to_string(path).expect("it is there");
    let (_, rest) = stat.rsplit_once(") ").expect("a name in parentheses");
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum();
    // SAFETY: asks for a number.
    ticks * 1000 / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as u64
}

/// While those who spin get through 200 ms of a processor's time, those who sleep have had next to nothing of it:
/// workers that wait for a job, and callers that wait for a result.
#[test]
fn who_waits_does_it_as_was_said() {
    let gate = Queue::<u32>::with_options(Options::new(8).peers_gone(false)).expect("a queue");
    let pool = |policy| Pool::builder().workers(1).wait_policy(policy).build().expect("a pool");
    let policies = [WaitPolicy::Park, WaitPolicy::SpinThenPark { budget: Duration::from_micros(50) }, WaitPolicy::Spin];
    let pools = policies.map(pool);
    let worker = |pool: &Pool| format!("/proc/{}/stat", pool.stats().workers[0].pid.expect("it runs"));
    for pool in &pools {
        assert_eq!(pool.apply(|n: u32| n, (1,)), Ok(1));
    }
    check_times(&pools.each_ref().map(worker));
    let wait = |gate: Queue<u32>| gate.get().expect("somebody opens");
    std::thread::scope(|scope| {
        let (told, hears) = std::sync::mpsc::channel();
        let callers = pools.each_ref().map(|pool| {
            let (gate, told) = (gate.try_clone().expect("a handle"), told.clone());
            let caller = scope.spawn(move || {
                // SAFETY: asks for a number.
                told.send(unsafe { libc::gettid() }).expect("somebody listens");
                pool.apply(wait, (gate,))
            });
            let thread = hears.recv().expect("it says who it is");
            until("its job runs", || pool.stats().running == 1);
            (format!("/proc/self/task/{thread}/stat"), caller)
        });
        check_times(&callers.each_ref().map(|(path, _)| path.clone()));
        for _ in &callers {
            gate.put(7).expect("there is room");
        }
        assert!(callers.into_iter().all(|(_, caller)| caller.join().expect("no panic") == Ok(7)));
    });
}

/// Of two who sleep, and one who spins.
fn check_times(paths: &[String; 3]) {
    let before = paths.each_ref().map(|path| busy_ms(path));
    until("one spins", || busy_ms(&paths[2]) >= before[2] + 200);
    let sleepers = [busy_ms(&paths[0]) - before[0], busy_ms(&paths[1]) - before[1]];
    assert!(sleepers.iter().all(|busy| *busy <= 50), "{sleepers:?}");
}
