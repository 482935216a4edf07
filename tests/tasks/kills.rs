//! Workers of a joinable queue are killed at random, with several tasks in their hands: `join` returns when all
//! is done and not before, every task is done once, and nothing of the dead is left.
//!
//! `RINGWAY_LONG=1` makes it twenty times as long.

use super::common::load::{Content, Dice, HANG, InPlace};
use super::common::notes::Notes;
use super::common::rest::unrest;
use super::common::{Child, Role, Sandbox, is_long};
use ringway::Side::{self, Multi, Single};
use ringway::{GetError, Handle, PutError};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

pub const ROLE: Role = ("killed worker", role_worker);

/// A worker has at most so many tasks that are not done.
const OPEN: usize = 3;
/// In one round.
const TASKS: u64 = 100;
/// Noted before `task_done`, and behind it; a task that is only noted was taken.
const WORKED: u64 = 1 << 62;
const DONE: u64 = 1 << 61;

fn role_worker(arguments: &[String]) {
    match arguments[0].as_str() {
        InPlace::WIDTH => work::<InPlace>(arguments),
        _ => work::<u64>(arguments),
    }
}

/// Takes some, works, ends some, until the queue is closed.
fn work<T: Content>(arguments: &[String]) {
    let notes = Notes::open(&arguments[1]);
    let seat = notes.seat(arguments[2].parse().expect("a number"));
    let queue = Handle::<T::Kind>::open("q").expect("there is always a place");
    seat.begun.store(u64::from(std::process::id()), SeqCst);
    let mut dice = Dice::new(u64::from(std::process::id()));
    let mut open = VecDeque::new();
    loop {
        let got = match open.is_empty() {
            true => queue.get(),
            false => queue.try_get(),
        };
        match got {
            Ok(task) => {
                open.push_back(T::message(&task));
                seat.note(open[open.len() - 1]);
                if open.len() < OPEN && dice.below(3) > 0 {
                    continue;
                }
            }
            Err(GetError::Closed) if open.is_empty() => return,
            Err(GetError::Closed | GetError::Empty) => {}
            Err(error) => panic!("a get said {error:?}"),
        }
        for task in open.drain(..1 + dice.below(open.len() as u64) as usize) {
            let (begun, time) = (Instant::now(), Duration::from_micros(dice.below(100)));
            while begun.elapsed() < time {
                std::hint::spin_loop();
            }
            seat.note(task | WORKED);
            queue.task_done().expect("it was taken");
            seat.note(task | DONE);
        }
    }
}

// ---- the book ----

#[derive(Clone, Copy, Default)]
struct Fate {
    taken: u64,
    worked: u64,
    done: u64,
    /// So many had it in their hands when they were killed.
    died: u64,
}

/// What became of the tasks of a round.
#[derive(Default)]
struct Book {
    fates: BTreeMap<u64, Fate>,
    /// By worker: what it has taken, and not noted as done.
    hands: Vec<BTreeSet<u64>>,
}

impl Book {
    fn new(workers: usize) -> Book {
        Book { hands: vec![BTreeSet::new(); workers], ..Book::default() }
    }

    fn note(&mut self, worker: usize, word: u64) {
        let task = word & !(WORKED | DONE);
        let fate = self.fates.entry(task).or_default();
        match word & (WORKED | DONE) {
            0 => {
                fate.taken += 1;
                self.hands[worker].insert(task);
            }
            WORKED => fate.worked += 1,
            _ => {
                fate.done += 1;
                self.hands[worker].remove(&task);
            }
        }
    }

    fn died(&mut self, worker: usize) {
        for task in std::mem::take(&mut self.hands[worker]) {
            self.fates.entry(task).or_default().died += 1;
        }
    }

    /// Whether somebody has worked on all of them.
    fn is_worked(&self, tasks: std::ops::Range<u64>) -> bool {
        tasks.into_iter().all(|task| self.fates.get(&task).is_some_and(|fate| fate.worked > 0))
    }

    /// What is wrong, when all these are said to be done and nobody works.
    fn faults(&self, tasks: std::ops::Range<u64>) -> Vec<String> {
        let mut faults = Vec::new();
        for task in tasks.clone() {
            let fate = self.fates.get(&task).copied().unwrap_or_default();
            if fate.worked == 0 {
                faults.push(format!("{task} is not done"));
            }
            if fate.taken > 1 + fate.died || fate.done > 1 {
                faults.push(format!("{task} was taken {} times, and done {}", fate.taken, fate.done));
            }
        }
        let invented = self.fates.keys().filter(|task| !tasks.contains(task));
        faults.extend(invented.map(|task| format!("{task} is nobody's")));
        faults
    }
}

#[test]
fn the_book_of_tasks_notices_everything() {
    let faults = |words: &[(usize, u64)], dies: bool, then: &[(usize, u64)]| {
        let mut book = Book::new(2);
        words.iter().for_each(|(worker, word)| book.note(*worker, *word));
        if dies {
            book.died(0);
        }
        then.iter().for_each(|(worker, word)| book.note(*worker, *word));
        book.faults(7..8).len()
    };
    let whole = [(0, 7), (0, 7 | WORKED), (0, 7 | DONE)];
    let again = whole.map(|(_, word)| (1, word));
    assert_eq!(faults(&whole, false, &[]), 0);
    assert_eq!(faults(&[], false, &[]), 1, "lost");
    assert_eq!(faults(&whole[..1], false, &[]), 1, "taken only");
    assert_eq!(faults(&whole, false, &[(1, 8)]), 1, "invented");
    assert_eq!(faults(&whole, false, &again), 1, "doubled");
    assert_eq!(faults(&whole, true, &again), 1, "it was done when the worker died");
    assert_eq!(faults(&whole[..2], false, &again), 1, "doubled");
    assert_eq!(faults(&whole[..2], true, &again), 0, "it came back");
    assert_eq!(faults(&whole[..2], true, &[]), 0, "killed behind task_done");
    assert_eq!(faults(&whole[..1], true, &[]), 1, "killed before task_done");
}

// ---- the parent ----

struct Storm<'s, T: Content> {
    sandbox: &'s Sandbox,
    queue: Handle<T::Kind>,
    notes: Notes,
    workers: Vec<Option<Child>>,
    book: Book,
    dice: Dice,
    killed: u64,
}

impl<T: Content> Storm<'_, T> {
    fn hire(&mut self, worker: usize) {
        let arguments = [T::WIDTH, &self.notes.path(), &worker.to_string()];
        self.workers[worker] = Some(self.sandbox.child(ROLE.0, &arguments));
    }

    fn kill(&mut self, worker: usize) {
        let mut child = self.workers[worker].take().expect("it works");
        assert!(!child.has_ended(), "nobody ends by itself");
        child.kill();
        self.killed += 1;
        self.look();
        self.book.died(worker);
    }

    /// Kills one, and hires its successor.
    fn replace_one(&mut self) {
        let worker = self.dice.below(self.workers.len() as u64) as usize;
        self.kill(worker);
        self.hire(worker);
    }

    /// Reads what was noted.
    fn look(&mut self) {
        for worker in 0..self.workers.len() {
            let book = &mut self.book;
            self.notes.seat(worker).take(|word| book.note(worker, word));
        }
    }

    /// Reads until something is so.
    #[track_caller]
    fn look_until(&mut self, what: &str, mut is_so: impl FnMut(&mut Self) -> bool) {
        let begun = Instant::now();
        while !is_so(self) {
            self.look();
            assert!(begun.elapsed() < 4 * HANG, "not in {:?}: {what}: {:?}", 4 * HANG, self.unrest());
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn look_for(&mut self, time: Duration) {
        let begun = Instant::now();
        self.look_until("time passes", |_| begun.elapsed() >= time);
    }

    fn unrest(&self) -> Option<String> {
        unrest(self.sandbox.path(), "q")
    }

    fn put(&mut self, task: u64) {
        let task = T::of(task);
        self.look_until("there is room", |storm| match storm.queue.try_put(task.wire()) {
            Ok(()) => true,
            Err(PutError::Full(_)) => false,
            Err(error) => panic!("a put said {:?}", error.map(drop)),
        });
    }

    fn round(&mut self, round: u64) {
        let tasks = round * TASKS..(round + 1) * TASKS;
        self.book.fates.clear();
        let kills_all = round % 3 == 2;
        for task in tasks.clone() {
            self.put(task);
            if self.dice.below(40) == 0 {
                self.replace_one();
            }
        }
        let other = self.queue.try_clone().expect("a place");
        std::thread::scope(|scope| {
            let joiner = scope.spawn(move || other.join_timeout(Duration::from_secs(30)));
            if kills_all {
                let time = Duration::from_micros(self.dice.below(1500));
                self.look_for(time);
                // Whoever joins is alone then, with what has come back.
                (0..self.workers.len()).for_each(|worker| self.kill(worker));
                let time = Duration::from_millis(self.dice.below(150));
                self.look_for(time);
                let is_early = joiner.is_finished() && !self.book.is_worked(tasks.clone());
                assert!(!is_early, "round {round}: join returned early: {:?}", self.book.faults(tasks.clone()));
                (0..self.workers.len()).for_each(|worker| self.hire(worker));
            } else {
                for _ in 0..self.dice.below(3) {
                    let time = Duration::from_micros(self.dice.below(3000));
                    self.look_for(time);
                    self.replace_one();
                }
            }
            self.look_until("join returns", |_| joiner.is_finished());
            joiner.join().expect("no panic").expect("all is done");
            self.look();
            let faults = self.book.faults(tasks.clone());
            assert!(faults.is_empty(), "round {round}: when join returns: {faults:?}");
        });
        // Also the last one to end a task has noted it then.
        self.look_until("all is noted", |storm| storm.book.hands.iter().all(BTreeSet::is_empty));
        self.look_until("nothing is left", |storm| storm.unrest().is_none());
        assert_eq!(self.book.faults(tasks), Vec::<String>::new(), "round {round}: at rest");
    }
}

fn storm<T: Content>(sides: (Side, Side), workers: usize, rounds: u64) {
    let rounds = if is_long() { 20 * rounds } else { rounds };
    let sandbox = Sandbox::new();
    // Room for the workers, this process, and who joins: the places of the dead must be free again.
    let options = T::fit(T::with_arena(sandbox.mode(16, sides))).joinable(true).max_participants(workers as u32 + 2);
    let queue = Handle::create("q", options).expect("a free name");
    let (notes, dice) = (Notes::new(workers), Dice::new(rounds + workers as u64));
    let vacant = (0..workers).map(|_| None).collect();
    let mut storm =
        Storm::<T> { sandbox: &sandbox, queue, notes, workers: vacant, book: Book::new(workers), dice, killed: 0 };
    (0..workers).for_each(|worker| storm.hire(worker));
    (0..rounds).for_each(|round| storm.round(round));
    // Nobody is to open a queue that is finished.
    let begun = |storm: &Storm<'_, T>, worker: usize| storm.notes.seat(worker).begun.load(SeqCst);
    let pid = |storm: &Storm<'_, T>, worker: usize| storm.workers[worker].as_ref().map_or(0, |child| child.pid());
    storm.look_until("all begin", |storm| (0..workers).all(|at| begun(storm, at) == u64::from(pid(storm, at))));
    storm.queue.close();
    for worker in &mut storm.workers {
        worker.take().expect("it works").succeed();
    }
    println!("{} {sides:?}: {} killed beside {} tasks", T::WIDTH, storm.killed, rounds * TASKS);
    assert!(storm.killed > 2 * rounds, "a storm that is worth the name");
}

#[test]
fn join_returns_when_all_is_done_whoever_is_killed() {
    storm::<u64>((Multi, Multi), 3, 12);
    storm::<u64>((Single, Multi), 3, 9);
    storm::<u64>((Multi, Single), 1, 6);
    storm::<InPlace>((Multi, Multi), 3, 12);
    storm::<InPlace>((Single, Single), 1, 6);
}

/// Mistakes in the library that show here.
#[cfg(ringway_seeded)]
#[test]
fn seeded_bugs_are_found() {
    use super::common::control::fails_with_seeds;
    let test = "kills::join_returns_when_all_is_done_whoever_is_killed";
    fails_with_seeds(
        test,
        &[(19, &["is not done"]), (53, &["early", "is not done"]), (12, &["not in", "there is always a place"])],
    );
}
