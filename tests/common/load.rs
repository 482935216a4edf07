//! Load under which participants are killed and stopped: workers that put or get as
//! fast as they can and write it down, and the parent that keeps the book.

pub use super::content::{Blocks, Call, Content, Huge, InPlace, Wide};
use super::ledger::message;
use super::notes::{Book, Notes, Seat, Unexplained, Verdict};
use super::rest::unrest;
use super::{Child, Sandbox};
use ringway::{GetError, Handle, Options, PutError, Side};
use std::sync::atomic::Ordering::*;
use std::time::{Duration, Instant};

pub const NAME: &str = "q";

/// The longest time in which a worker that is not stopped may get nothing done.
pub const HANG: Duration = Duration::from_secs(2);

/// Random numbers, good enough to choose whom to kill and when (xorshift64*).
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// 0 to `n` - 1.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }
}

// ---- the workers ----

/// The roles of workers, for a table of roles.
pub const PRODUCER: super::Role = ("load-producer", role_producer);
pub const CONSUMER: super::Role = ("load-consumer", role_consumer);

struct Worker<T: Content> {
    notes: Notes,
    seat: usize,
    /// Messages in one call, at most; 1: calls of one message each.
    batch: u64,
    leases: bool,
    dice: Dice,
    queue: Handle<T::Kind>,
}

impl<T: Content> Worker<T> {
    fn new(arguments: &[String]) -> Worker<T> {
        let [_, notes, seat, batch, leases] = arguments else { panic!("five arguments") };
        Worker {
            notes: Notes::open(notes),
            seat: seat.parse().expect("a number"),
            batch: batch.parse().expect("a number"),
            leases: leases == "true",
            dice: Dice::new(u64::from(std::process::id())),
            queue: Handle::open(NAME).expect("there is always a place"),
        }
    }

    fn seat(&self) -> &Seat {
        self.notes.seat(self.seat)
    }

    /// A timed call has returned: how late is that. Not where this worker itself was
    /// stopped meanwhile.
    fn timed(&self, stops: u64, begun: Instant, timeout: Duration, timed_out: bool) {
        // In this order: whoever is stopped after the first is not late.
        let late = begun.elapsed().saturating_sub(timeout);
        self.seat().timed_out.fetch_add(u64::from(timed_out), Relaxed);
        if self.seat().stops.load(SeqCst) != stops {
            return;
        }
        self.seat().late_ns.fetch_max(late.as_nanos() as u64, Relaxed);
    }

    fn returned(&self, done: u64) {
        let seat = self.seat();
        seat.standby.store(0, Relaxed);
        seat.done.fetch_add(done, Relaxed);
        seat.calls.fetch_add(1, Relaxed);
    }

    /// Another worker has the Single side: waits for it to die.
    fn stand_by(&self) {
        self.seat().standby.store(1, Relaxed);
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn role_producer(arguments: &[String]) {
    match arguments[0].as_str() {
        Blocks::WIDTH => produce::<Blocks>(arguments),
        InPlace::WIDTH => produce::<InPlace>(arguments),
        Wide::WIDTH => produce::<Wide>(arguments),
        Huge::WIDTH => produce::<Huge>(arguments),
        _ => produce::<u64>(arguments),
    }
}

fn produce<T: Content>(arguments: &[String]) {
    let mut worker = Worker::<T>::new(arguments);
    let mut number = worker.seat().begun.load(Relaxed);
    worker.seat().acknowledged.store(number, Relaxed);
    while !worker.notes.is_finishing() {
        let (batch, call) = (1 + worker.dice.below(worker.batch), Call::any(&mut worker.dice));
        let (queue, timeout) = (&worker.queue, call.timeout);
        let values: Vec<T> = (number..number + batch).map(|number| T::of(message(worker.seat, number))).collect();
        let wires: Vec<_> = values.iter().map(T::wire).collect();
        worker.seat().begun.store(number + batch, SeqCst);
        let (stops, begun) = (worker.seat().stops.load(Relaxed), Instant::now());
        let (put, outcome) = if worker.batch == 1 {
            let outcome = values[0].put(queue, call, &mut worker.dice);
            (u64::from(outcome.is_ok()), outcome)
        } else {
            let outcome = match call.way {
                0 => queue.try_put_many(&wires).map(|put| put as u64),
                1 | 2 => queue.put_many_timeout(&wires, timeout).map(|()| batch),
                _ => queue.put_many(&wires).map(|()| batch),
            };
            match outcome {
                Ok(put) => (put, Ok(())),
                Err(error) => (error.put as u64, Err(error.cause)),
            }
        };
        number += put;
        worker.seat().acknowledged.store(number, SeqCst);
        if call.is_timed() {
            worker.timed(stops, begun, timeout, matches!(outcome, Err(PutError::TimedOut(_))));
        }
        match outcome {
            Ok(()) | Err(PutError::TimedOut(_)) => worker.returned(put),
            Err(PutError::Full(_)) => std::thread::yield_now(),
            Err(PutError::SideTaken { .. }) => worker.stand_by(),
            Err(error) => panic!("a put said {error:?}"),
        }
    }
    // What was begun is what was acknowledged: nothing is left over.
    worker.seat().begun.store(number, SeqCst);
}

fn role_consumer(arguments: &[String]) {
    match arguments[0].as_str() {
        Blocks::WIDTH => consume::<Blocks>(arguments),
        InPlace::WIDTH => consume::<InPlace>(arguments),
        Wide::WIDTH => consume::<Wide>(arguments),
        Huge::WIDTH => consume::<Huge>(arguments),
        _ => consume::<u64>(arguments),
    }
}

fn consume<T: Content>(arguments: &[String]) {
    let mut worker = Worker::<T>::new(arguments);
    let mut out = Vec::new();
    loop {
        let call = Call::any(&mut worker.dice);
        let (queue, timeout) = (&worker.queue, call.timeout);
        out.clear();
        let (stops, begun) = (worker.seat().stops.load(Relaxed), Instant::now());
        let outcome = if worker.leases {
            let seat = worker.notes.seat(worker.seat);
            T::hold(queue, call, &mut worker.dice, |word| seat.note(word))
        } else if worker.batch == 1 {
            let outcome = match call.way {
                0 => queue.try_get(),
                1 | 2 => queue.get_timeout(timeout),
                _ => queue.get(),
            };
            outcome.map(|message| out.push(message))
        } else {
            let outcome = match call.way {
                0 => queue.try_get_many(&mut out, worker.batch as usize),
                1 | 2 => queue.get_many_timeout(&mut out, worker.batch as usize, timeout),
                _ => queue.get_many(&mut out, worker.batch as usize),
            };
            outcome.map(drop)
        };
        if call.is_timed() {
            worker.timed(stops, begun, timeout, matches!(outcome, Err(GetError::TimedOut)));
        }
        match outcome {
            Ok(()) => {
                out.iter().for_each(|message| worker.seat().note(T::message(message)));
                worker.returned(out.len().max(1) as u64);
            }
            Err(GetError::TimedOut) => worker.returned(0),
            Err(GetError::Empty) => std::thread::yield_now(),
            Err(GetError::SideTaken) => worker.stand_by(),
            Err(GetError::Closed) => return,
            Err(error) => panic!("a get said {error:?}"),
        }
    }
}

// ---- the parent ----

/// Who works, and how.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub sides: (Side, Side),
    pub producers: usize,
    pub consumers: usize,
    /// 0: of a queue that grows.
    pub capacity: u64,
    /// Messages in one call, at most.
    pub batch: u64,
    pub leases: bool,
    /// Whether the parent watches its children, which tells everybody of a death at once.
    pub watched: bool,
}

struct Hand {
    /// None: between a death and its successor.
    child: Option<Child>,
    is_stopped: bool,
    /// By producer, the last number got; of this consumer's life only.
    last: Vec<Option<u64>>,
    calls: u64,
    /// What had been written down, by producer, before the call began that it is in.
    floor: Vec<u64>,
    /// At the start of this worker.
    calls_before: u64,
    since: Instant,
}

/// A queue under load.
pub struct Load<'s, T: Content> {
    sandbox: &'s Sandbox,
    pub shape: Shape,
    pub queue: Handle<T::Kind>,
    notes: Notes,
    hands: Vec<Hand>,
    book: Book,
    /// What had been written down when the calls were last looked at.
    reached: Vec<u64>,
    /// How many producers and consumers were killed.
    pub killed: [u64; 2],
}

impl<'s, T: Content> Load<'s, T> {
    pub fn start(sandbox: &'s Sandbox, shape: Shape) -> Self {
        let seats = shape.producers + shape.consumers;
        // Room for all and for the parent, and not for one more: the dead ones' places
        // must be free again for their successors.
        let options: Options = match shape.capacity {
            // So little that it grows and shrinks all the time, and is full at times; longer
            // messages need more.
            0 => Options::unbounded().cap(if T::SIZE > 8 { 1 << 20 } else { 64 << 10 }).directory(sandbox.path()),
            capacity => T::with_arena(sandbox.mode(capacity, shape.sides)),
        };
        let options = T::fit(options).max_participants(seats as u32 + 1);
        let queue = Handle::create(NAME, options).expect("a free name");
        let hand = || Hand {
            child: None,
            is_stopped: false,
            last: vec![None; shape.producers],
            calls: 0,
            floor: vec![0; shape.producers],
            calls_before: 0,
            since: Instant::now(),
        };
        let hands = std::iter::repeat_with(hand).take(seats).collect();
        let (notes, book) = (Notes::new(seats), Book::new(shape.producers));
        let reached = vec![0; shape.producers];
        let mut load = Load { sandbox, shape, queue, notes, hands, book, reached, killed: [0; 2] };
        (0..seats).for_each(|seat| load.occupy(seat));
        load.pump_until(HANG, "everybody begins", |load| (0..seats).all(|seat| load.has_begun(seat)));
        load
    }

    pub fn seats(&self) -> usize {
        self.hands.len()
    }

    pub fn is_producer(&self, seat: usize) -> bool {
        seat < self.shape.producers
    }

    /// The side of this seat.
    pub fn side(&self, seat: usize) -> Side {
        if self.is_producer(seat) { self.shape.sides.0 } else { self.shape.sides.1 }
    }

    pub fn is_standby(&self, seat: usize) -> bool {
        self.notes.seat(seat).standby.load(Relaxed) != 0
    }

    /// Whether the worker on this seat has returned from a call, or stands by.
    pub fn has_begun(&self, seat: usize) -> bool {
        self.calls(seat) != self.hands[seat].calls_before || self.is_standby(seat)
    }

    fn calls(&self, seat: usize) -> u64 {
        self.notes.seat(seat).calls.load(Relaxed)
    }

    pub fn pid(&self, seat: usize) -> i32 {
        self.hands[seat].child.as_ref().map_or(0, |child| child.pid() as i32)
    }

    /// The messages that one side's workers have put or got, but for one worker's.
    pub fn done(&self, producers: bool, but: usize) -> u64 {
        let seats = (0..self.seats()).filter(|seat| self.is_producer(*seat) == producers && *seat != but);
        seats.map(|seat| self.notes.seat(seat).done.load(Relaxed)).sum()
    }

    /// Starts a worker on a seat, the first one or a successor.
    pub fn occupy(&mut self, seat: usize) {
        let role = if self.is_producer(seat) { PRODUCER.0 } else { CONSUMER.0 };
        let (batch, leases) = (self.shape.batch.to_string(), self.shape.leases.to_string());
        let child = self.sandbox.child(role, &[T::WIDTH, &self.notes.path(), &seat.to_string(), &batch, &leases]);
        if self.shape.watched {
            ringway::watch(super::pidfd(child.pid())).expect("a child can be watched");
        }
        let calls = self.calls(seat);
        let hand = &mut self.hands[seat];
        hand.calls_before = calls;
        hand.last.fill(None);
        hand.floor.copy_from_slice(self.book.reached());
        hand.since = Instant::now();
        hand.child = Some(child);
    }

    /// Sends a signal to a worker.
    pub fn signal(&self, seat: usize, signal: libc::c_int) {
        // SAFETY: touches no memory; the child was not waited for, so the pid is its own.
        let sent = unsafe { libc::kill(self.pid(seat), signal) };
        assert_eq!(sent, 0, "a child can be signalled");
    }

    /// SIGKILL was sent: waits for the end, and takes what the dead one wrote down.
    pub fn bury(&mut self, seat: usize) {
        let child = self.hands[seat].child.take().expect("somebody was there");
        child.kill();
        self.hands[seat].is_stopped = false;
        self.drain(seat);
        self.killed[usize::from(!self.is_producer(seat))] += 1;
        let page = self.notes.seat(seat);
        page.standby.store(0, Relaxed);
        if self.is_producer(seat) {
            // No more than a batch, so whoever was killed is the reason of no more than that.
            self.book.pending(seat, page.acknowledged.load(SeqCst)..page.begun.load(SeqCst));
        } else {
            self.look_at_calls(seat);
            let begun = (0..self.shape.producers).map(|seat| self.notes.seat(seat).begun.load(SeqCst));
            self.book.died(self.hands[seat].floor.iter().copied().zip(begun).map(|(from, to)| from..to).collect());
        }
    }

    /// Stops a worker, and waits until it is.
    pub fn stop(&mut self, seat: usize) {
        self.signal(seat, libc::SIGSTOP);
        let mut status = 0;
        // SAFETY: `status` is ours to write; a stop is no end, so the child is still to be
        // waited for.
        let waited = unsafe { libc::waitpid(self.pid(seat), &mut status, libc::WUNTRACED) };
        assert!(waited == self.pid(seat) && libc::WIFSTOPPED(status), "seat {seat} ended by itself: {status:#x}");
        self.hands[seat].is_stopped = true;
        self.notes.seat(seat).stops.fetch_add(1, SeqCst);
    }

    pub fn go_on(&mut self, seat: usize) {
        self.signal(seat, libc::SIGCONT);
        self.hands[seat].is_stopped = false;
        self.hands[seat].since = Instant::now();
    }

    /// While somebody is stopped, untimed calls of others may wait for it: that is no hang.
    pub fn spare_the_held_up(&mut self) {
        self.hands.iter_mut().for_each(|hand| hand.since = Instant::now());
    }

    fn drain(&mut self, seat: usize) -> usize {
        let (book, last) = (&mut self.book, &mut self.hands[seat].last);
        self.notes.seat(seat).take(|word| book.note(last, word))
    }

    /// Whether this worker has returned from a call since the last look. The call that it is in was
    /// then begun after that look, when `reached` had been written down.
    fn look_at_calls(&mut self, seat: usize) -> bool {
        let calls = self.calls(seat);
        let hand = &mut self.hands[seat];
        let is_new = std::mem::replace(&mut hand.calls, calls) != calls;
        if is_new {
            hand.floor.copy_from_slice(&self.reached);
        }
        is_new
    }

    /// Reads what was written down, and looks whether everybody gets on.
    #[track_caller]
    pub fn pump(&mut self) {
        let read: usize = (self.shape.producers..self.seats()).map(|seat| self.drain(seat)).sum();
        for seat in 0..self.seats() {
            let (moved, standby) = (self.look_at_calls(seat), self.is_standby(seat));
            let hand = &mut self.hands[seat];
            let idle = hand.child.is_none() || hand.is_stopped || standby;
            if idle || moved {
                hand.since = Instant::now();
            }
            if hand.since.elapsed() > HANG && !self.notes.is_finishing() {
                panic!("seat {seat} got nothing done in {HANG:?}: {}", self.describe());
            }
        }
        self.reached.copy_from_slice(self.book.reached());
        if read == 0 {
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Pumps for a while.
    pub fn pump_for(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.pump();
        }
    }

    /// Pumps until something is so; says how long it took.
    #[track_caller]
    pub fn pump_until(&mut self, limit: Duration, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        while !is_so(self) {
            self.pump();
            // Asked again: it may be this process that was held up.
            assert!(begun.elapsed() < limit || is_so(self), "not in {limit:?}: {what}: {}", self.describe());
        }
        begun.elapsed()
    }

    /// With this worker stopped: whether those across are held up. They then put or got
    /// nothing in `time`, though everybody but this one works.
    pub fn holds_others_up(&mut self, seat: usize, time: Duration) -> bool {
        let across = !self.is_producer(seat);
        let (begun, before) = (Instant::now(), self.done(across, seat));
        let mut moved = before;
        while begun.elapsed() < time {
            self.pump();
            moved = self.done(across, seat);
            // The first messages may be some that were there.
            if moved > before + 2 * self.shape.capacity + self.shape.batch * self.seats() as u64 {
                return false;
            }
        }
        let settled = moved;
        let begun = Instant::now();
        while begun.elapsed() < time {
            self.pump();
        }
        self.done(across, seat) == settled
    }

    /// How many timed calls ran out.
    pub fn timed_out(&self) -> u64 {
        (0..self.seats()).map(|seat| self.notes.seat(seat).timed_out.load(Relaxed)).sum()
    }

    /// The longest lateness of any timed call.
    pub fn latest(&self) -> Duration {
        let late = (0..self.seats()).map(|seat| self.notes.seat(seat).late_ns.load(Relaxed)).max();
        Duration::from_nanos(late.unwrap_or(0))
    }

    pub fn describe(&self) -> String {
        let seat = |seat: usize| {
            let page = self.notes.seat(seat);
            let (begun, acknowledged) = (page.begun.load(SeqCst), page.acknowledged.load(SeqCst));
            let state = std::fs::read_to_string(format!("/proc/{}/syscall", self.pid(seat))).unwrap_or_default();
            let [calls, done, standby] = [&page.calls, &page.done, &page.standby].map(|word| word.load(Relaxed));
            let (call, pid) = (state.split(' ').next().unwrap_or_default().trim(), self.pid(seat));
            format!(
                "seat {seat}, pid {pid}: {calls} calls, {done} done, standby {standby}, begun {begun}, acknowledged {acknowledged}, system call {call}"
            )
        };
        let seats: Vec<String> = (0..self.seats()).map(seat).collect();
        format!("len {}, participants {}\n{}", self.queue.len(), self.queue.participants(), seats.join("\n"))
    }

    /// Ends everybody in order, and says how the books stand, and what no death explains.
    pub fn settle(mut self) -> (Verdict, Unexplained) {
        self.notes.finish();
        let producers = self.shape.producers;
        self.end(0..producers, "producers end");
        self.come_to_rest();
        self.queue.close();
        self.end(producers..self.seats(), "consumers drain the queue");
        let begun: Vec<u64> = (0..producers).map(|seat| self.notes.seat(seat).begun.load(SeqCst)).collect();
        let verdict = self.book.settle(&begun);
        if verdict.missing > 0 {
            for (producer, &begun) in begun.iter().enumerate() {
                let missing = self.book.missing(producer, begun);
                println!(
                    "  of producer {producer}, {begun} messages, missing: {:?}",
                    &missing[..missing.len().min(20)]
                );
            }
        }
        (verdict, self.book.unexplained(&begun, self.shape.batch as usize))
    }

    /// With the producers gone: the consumers drain the queue, and it has kept nothing of the dead.
    #[track_caller]
    fn come_to_rest(&mut self) {
        self.queue.recover().expect("a descriptor");
        let begun = Instant::now();
        while let Some(unrest) = unrest(self.sandbox.path(), NAME) {
            assert!(begun.elapsed() < 2 * HANG, "not at rest in {:?}: {unrest}: {}", 2 * HANG, self.describe());
            self.pump();
        }
    }

    #[track_caller]
    fn end(&mut self, seats: std::ops::Range<usize>, what: &str) {
        let begun = Instant::now();
        for seat in seats {
            loop {
                self.pump();
                let Some(child) = self.hands[seat].child.as_mut() else { break };
                // Also when it fails: that is then found out below.
                if child.has_ended() {
                    self.hands[seat].child.take().expect("it is there").succeed();
                    break;
                }
                assert!(begun.elapsed() < 2 * HANG, "not in {:?}: {what}: {}", 2 * HANG, self.describe());
            }
            self.drain(seat);
        }
    }
}
