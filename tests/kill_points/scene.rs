//! One point: sets the state up, kills, and lets the survivors show that nothing is
//! lost, doubled, stuck or left.

use super::account::{Account, Dead, Entry};
use super::kind::{self, Kind, Out, unwire, wire};
use super::step::{At, Tracee, Trail};
use super::table::{AFTER, FAILED_KIND, On, Operation, State};
use super::{BATCH, CAPACITY, How, LIMIT, NAME, message, number, taken};
use crate::common::{Child, role_command, until_asleep};
use ringway::{Consumer, GetError, Handle, Producer, PutError, Side, TaskError, WaitPolicy};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

type Putting = Producer<Kind>;
type Getting = Consumer<Kind>;

/// Who puts: these numbers stand in the messages.
const DRIVER: u64 = 0;
const FIRST_VICTIM: u64 = 1;
const SLEEPER: u64 = 6;
const MARKER: u64 = 7;
const FILLER: u64 = 8;

/// Messages that survivors put to show that they can.
const MARKERS: u64 = 3;

/// So many pass every position.
const LAP: u64 = CAPACITY + 1;
/// More than the ten slices after which a waiter looks everywhere.
const LONG: Duration = Duration::from_millis(1500);

/// Room for the survivors, a sleeper and a victim that have two handles while they
/// start, and one more.
const PLACES: u32 = 8;

/// Some slices, in each of which a waiter looks for the dead.
const AWHILE: Duration = Duration::from_millis(350);

/// A queue with its survivors, and what is known of it.
pub struct Scene {
    directory: PathBuf,
    mode: (Side, Side),
    base: Handle<Kind>,
    producer: Option<Putting>,
    consumer: Option<Getting>,
    account: Account,
    victims: u64,
    driver_put: u64,
    closes: bool,
    /// At the start.
    memory: u64,
}

fn text<T, E: std::fmt::Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error:?}"))
}

impl Scene {
    pub fn new(directory: &Path, mode: (Side, Side), joinable: bool) -> Result<Scene, String> {
        let options = kind::options(CAPACITY).directory(directory).producers(mode.0).consumers(mode.1);
        let base = text("create", Handle::create(NAME, options.max_participants(PLACES).joinable(joinable)))?;
        // Of Multi sides the survivors are there from the beginning.
        let producer = (mode.0 == Side::Multi).then(|| base.producer()).transpose();
        let consumer = (mode.1 == Side::Multi).then(|| base.consumer()).transpose();
        Ok(Scene {
            directory: directory.to_owned(),
            mode,
            producer: text("a producer", producer)?,
            consumer: text("a consumer", consumer)?,
            base,
            account: Account::default(),
            victims: 0,
            driver_put: 0,
            closes: false,
            memory: kind::memory(directory)?,
        })
    }

    fn producer(&mut self) -> Result<&Putting, String> {
        if self.producer.is_none() {
            self.producer = Some(text("taking the producers' side", self.base.producer())?);
        }
        self.producer.as_ref().ok_or_else(String::new)
    }

    fn consumer(&mut self) -> Result<&Getting, String> {
        if self.consumer.is_none() {
            self.consumer = Some(text("taking the consumers' side", self.base.consumer())?);
        }
        self.consumer.as_ref().ok_or_else(String::new)
    }

    /// Takes what is there, for good.
    fn get(&mut self) -> Result<Out, GetError> {
        let consumer = self.consumer().map_err(|_| GetError::SideTaken)?;
        taken(consumer, consumer.try_get())
    }

    fn get_within(&mut self, limit: Duration) -> Result<Out, GetError> {
        let consumer = self.consumer().map_err(|_| GetError::SideTaken)?;
        taken(consumer, consumer.get_timeout(limit))
    }

    /// Leaves the Single sides to others.
    fn step_back(&mut self, on: On) {
        if self.mode.0 == Side::Single && !on.is_consumer() {
            self.producer = None;
        }
        if self.mode.1 == Side::Single && on != On::Producer {
            self.consumer = None;
        }
    }

    fn put_before(&mut self, count: u64) -> Result<(), String> {
        for _ in 0..count {
            let sent = message(DRIVER, self.driver_put);
            text("a put before", self.producer()?.try_put(wire(&sent)))?;
            self.driver_put += 1;
            self.account.queue.push(Entry::Sure(sent[0]));
        }
        Ok(())
    }

    fn get_before(&mut self, count: u64) -> Result<(), String> {
        for _ in 0..count {
            let got = unwire(text("a get before", self.get())?);
            if self.account.queue.first() != Some(&Entry::Sure(got[0])) {
                return Err(format!("a get before got {got:?}"));
            }
            self.account.queue.remove(0);
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.base.len()
    }

    pub fn recover(&self) -> Result<usize, String> {
        text("recover", self.base.recover())
    }

    /// Starts a process for `operation` in `state` and lets it run up to it. The
    /// survivors do their part of the state.
    pub fn victim(&mut self, operation: &Operation, state: &State) -> Result<Tracee, String> {
        let warm_producer = state.warm && operation.on == On::Producer;
        let warm_consumer = state.warm && operation.on.is_consumer();
        if state.earlier.is_none() {
            if !warm_producer {
                self.put_before(state.put)?;
                if !warm_consumer {
                    self.get_before(state.got)?;
                }
            }
        } else {
            // A Single producer would bury what the state is about.
            let buries = self.mode.0 == Side::Single;
            self.put_before(if buries { 0 } else { state.behind })?;
        }
        self.step_back(operation.on);
        self.closes |= operation.name == "close";
        let puts = if state.earlier.is_none() && warm_producer { state.put } else { 0 };
        let gets = if state.earlier.is_none() && warm_consumer { state.got } else { 0 };
        let (victim, me) = self.start(operation, state, puts, gets)?;
        self.account.queue.extend((0..puts).map(|number| Entry::Sure(message(me, number)[0])));
        self.account.queue.drain(..gets as usize);
        if state.earlier.is_none() && warm_producer {
            self.get_before(state.got)?;
        }
        if state.earlier.is_none() {
            self.put_before(state.behind)?;
        }
        self.enroll(operation, me, puts);
        Ok(victim)
    }

    /// A process that is to do `operation`, once it has put and got so much; and its number.
    fn start(&mut self, operation: &Operation, state: &State, puts: u64, gets: u64) -> Result<(Tracee, u64), String> {
        let me = FIRST_VICTIM + self.victims;
        self.victims += 1;
        // Where a dead one is in the way of a wait, only the end of a slice looks for it.
        let waits = operation.name.ends_with("waits") || matches!(state.earlier, Some((_, false)));
        let policy = if waits { "park" } else { "spin" };
        let arguments = [operation.name, &me.to_string(), &puts.to_string(), &gets.to_string(), policy];
        let mut command = role_command("victim", &arguments, &self.directory);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok((Tracee::start(command)?, me))
    }

    /// From here on it may have done what it does, after the `puts` messages that it put before.
    fn enroll(&mut self, operation: &Operation, me: u64, puts: u64) {
        let dead = self.account.dead.len();
        let puts_of_it = (0..operation.puts).map(|index| message(me, puts + index as u64)[0]).collect();
        self.account.queue.extend((0..operation.puts).map(|index| Entry::Maybe { dead, index }));
        self.account.dead.push(Dead {
            puts: puts_of_it,
            takes: operation.takes,
            loses: operation.loses,
            committed: None,
            said: None,
        });
    }

    /// Whether `operation` is of a Single side, and somebody is in the middle of something on it.
    pub fn takes_over(&self, operation: &Operation, is_busy: bool) -> bool {
        let side = if operation.on.is_consumer() { self.mode.1 } else { self.mode.0 };
        is_busy && side == Side::Single && !matches!(operation.on, On::Handle | On::Nothing)
    }

    /// Somebody who is attached before the victim comes, and looks after it when it has died:
    /// a newcomer would do so before it is at its operation. None: the side is Single.
    pub fn rescuer(&mut self, operation: &Operation) -> Result<Option<Rescuer>, String> {
        let is_free = match operation.on {
            On::Producer => self.mode.0 == Side::Multi,
            On::Nothing => false,
            On::Handle => true,
            _ => self.mode.1 == Side::Multi,
        };
        let start = || self.start(operation, &AFTER, 0, 0).map(|(tracee, me)| Rescuer { tracee, me });
        is_free.then(start).transpose()
    }

    /// It begins.
    pub fn send(&mut self, operation: &Operation, rescuer: Rescuer) -> Tracee {
        self.closes |= operation.name == "close";
        self.enroll(operation, rescuer.me, 0);
        rescuer.tracee
    }

    /// Takes a victim `steps` steps further. Says whether it is at its exit.
    pub fn advance(&mut self, victim: &mut Tracee, steps: u64) -> Result<At, String> {
        let at = victim.step(steps)?;
        self.note(at)?;
        Ok(at)
    }

    /// As `advance`, from its start and along a trail.
    pub fn advance_along(&mut self, victim: &mut Tracee, trail: &Trail, steps: u64) -> Result<At, String> {
        let at = victim.step_along(trail, steps)?;
        self.note(at)?;
        Ok(at)
    }

    /// As `advance`, to its exit. Says in which step it claimed something, if that shows.
    pub fn record(&mut self, victim: &mut Tracee) -> Result<(At, Trail, Option<u64>), String> {
        let (base, before, mut claimed) = (&self.base, self.base.len(), None);
        let (at, trail) = victim.record(|steps| {
            if claimed.is_none() && base.len() != before {
                claimed = Some(steps);
            }
        })?;
        self.note(at)?;
        Ok((at, trail, claimed))
    }

    pub fn run_out(&mut self, victim: &mut Tracee) -> Result<(), String> {
        let at = victim.run_out()?;
        self.note(at)
    }

    fn note(&mut self, at: At) -> Result<(), String> {
        let At::Exit(_, said) = at else { return Ok(()) };
        if said.kind == FAILED_KIND {
            return Err("the victim's operation failed with an error".to_owned());
        }
        let dead = self.account.dead.last_mut().ok_or("no victim")?;
        dead.said = Some(said);
        Ok(())
    }

    /// Somebody who sleeps on the side that the operation is not on.
    pub fn sleeper(&mut self, operation: &Operation) -> Result<Sleeper, String> {
        let puts = operation.on.is_consumer();
        self.step_back(if puts { On::Producer } else { On::Consumer });
        if !puts && self.mode.1 == Side::Single {
            self.consumer = None;
        }
        if puts && self.mode.0 == Side::Single {
            self.producer = None;
        }
        let arguments = [if puts { "put" } else { "get" }, &SLEEPER.to_string()];
        let mut child = Child::start(role_command("sleeper", &arguments, &self.directory));
        let thread: i32 = text("a thread id", child.line().parse())?;
        until_asleep(child.pid(), thread);
        Ok(Sleeper { child, puts })
    }

    /// Whether a victim that died in a get of a full queue had committed: there is room.
    pub fn look_at_commit(&mut self) {
        let committed = !self.base.is_full();
        if kind::COMMITS_WITH_ITS_SLOT
            && let Some(dead) = self.account.dead.last_mut()
        {
            dead.committed = Some(committed);
        }
    }

    /// While the victim is stopped: others recover, and take what they can. Nothing of
    /// its own may be taken away.
    pub fn go_on_beside(&mut self, operation: &Operation) -> Result<(), String> {
        self.recover()?;
        if operation.on.is_consumer() && self.mode.1 == Side::Single || operation.on == On::Handle {
            return Ok(());
        }
        self.account.mixed = true;
        match self.get() {
            Ok(got) => self.account.got.push(number(unwire(got))?),
            Err(GetError::Empty) => {}
            Err(error) => return Err(format!("a get beside the victim: {error:?}")),
        }
        Ok(())
    }

    /// What the survivors do after the last death, and what must come of it.
    pub fn settle(mut self, sleeper: Option<Sleeper>, how: How, steps: u64) -> Result<(), String> {
        let mut newcomers = Vec::new();
        if how == How::Join {
            // They take all places but two, the dead one's among them.
            while self.base.participants() < PLACES as usize - 2 {
                newcomers.push(text("a newcomer", self.base.try_clone())?);
            }
        }
        if how.is_told() {
            // What a recovery that is asked for finds in the whole window, others find in what the
            // dead have said that they would claim.
            if steps.is_multiple_of(2) && self.newcomer_looks() {
                match self.recover()? {
                    0 => {}
                    late => return Err(format!("a newcomer has not found {late} positions that recover() finds")),
                }
            }
            self.recover()?;
        }
        if let Some(sleeper) = sleeper {
            self.wake(sleeper, how)?;
        }
        let closed = match how {
            How::Wait | How::Spin => self.go_on_waiting(how)?,
            _ => self.go_on(how)?,
        };
        if !how.is_told() {
            match self.recover()? {
                0 => {}
                late => return Err(format!("nobody has found {late} positions that recover() finds")),
            }
        }
        self.account.check(how.is_told())?;
        drop(newcomers);
        if !closed {
            self.fill()?;
        }
        self.finish()
    }

    /// Somebody comes who looks for the dead, and goes. False: it found no Multi side, or the end.
    fn newcomer_looks(&self) -> bool {
        match self.mode {
            (_, Side::Multi) => self.base.consumer().is_ok(),
            (Side::Multi, _) => self.base.producer().is_ok(),
            _ => false,
        }
    }

    fn wake(&mut self, sleeper: Sleeper, how: How) -> Result<(), String> {
        let Sleeper { mut child, puts } = sleeper;
        let mut closed = false;
        // What there is for it, it finds by itself: it was woken, or its slice has ended.
        let woke = child.speaks_within(AWHILE);
        let has_room = puts && how.is_told() && !self.base.is_full();
        if !woke && has_room && !self.closes {
            return Err("the sleeper sleeps beside room for its message".to_owned());
        }
        if woke {
        } else if puts {
            let got = text("a get beside the sleeper", self.get_within(LIMIT))?;
            self.account.got.push(number(unwire(got))?);
            // Where nobody has looked for the dead, that was a later message than the one in
            // the sleeper's way, which comes back while the two wait.
            let more = if how.is_told() { 0 } else { CAPACITY };
            for _ in 0..more {
                match self.get_within(AWHILE) {
                    Ok(got) => self.account.got.push(number(unwire(got))?),
                    Err(GetError::TimedOut) => break,
                    Err(error) => return Err(format!("more gets beside the sleeper: {error:?}")),
                }
            }
        } else {
            let sent = message(MARKER, 2 * LAP);
            let result = self.producer().map(|producer| producer.put_timeout(wire(&sent), LIMIT));
            match result {
                Ok(Ok(())) => self.account.queue.push(Entry::Sure(sent[0])),
                Ok(Err(PutError::Closed(_))) if self.closes => closed = true,
                Err(_) if self.closes && self.base.is_closed() => closed = true,
                other => return Err(format!("a put beside the sleeper: {other:?}")),
            }
        }
        let begun = Instant::now();
        let said = child.line();
        if begun.elapsed() > LIMIT {
            return Err(format!("the sleeper slept for {:?}, then said {said}", begun.elapsed()));
        }
        match said.as_str() {
            "put" if puts => self.account.queue.push(Entry::Sure(message(SLEEPER, 0)[0])),
            "Closed" if self.closes && (closed || self.base.is_closed()) => {}
            _ => match said.parse() {
                Ok(got) if !puts && !woke && got != message(MARKER, 2 * LAP)[0] => {
                    return Err(format!("the sleeper slept beside {got:#x}"));
                }
                Ok(got) if !puts => self.account.aside.push(got),
                _ => return Err(format!("the sleeper said {said}")),
            },
        }
        child.succeed();
        Ok(())
    }

    /// Puts and gets without waiting until all that is there came out. Says whether the
    /// queue turned out closed.
    fn go_on(&mut self, how: How) -> Result<bool, String> {
        let begun = Instant::now();
        // All slots, where nobody has looked for the dead: theirs are in the way.
        let markers = if how.is_told() { MARKERS } else { LAP };
        let (mut sent, mut seen, mut closed) = (0, 0, false);
        loop {
            if sent < markers && !closed {
                let marker = message(MARKER, sent);
                match self.producer().map(|producer| producer.try_put(wire(&marker))) {
                    Ok(Ok(())) => {
                        self.account.queue.push(Entry::Sure(marker[0]));
                        sent += 1;
                    }
                    Ok(Err(PutError::Full(_))) => {}
                    Ok(Err(PutError::Closed(_))) if self.closes => closed = true,
                    Err(_) if self.closes && self.base.is_closed() => closed = true,
                    other => return Err(format!("a survivor's put: {other:?}")),
                }
            }
            match self.get() {
                Ok(got) => {
                    let got = number(unwire(got))?;
                    seen += u64::from(got == message(MARKER, seen)[0]);
                    self.account.got.push(got);
                }
                Err(GetError::Empty) if seen == markers => {
                    let comes_late = !how.is_told() && self.account.may_miss(&[]);
                    if !comes_late || begun.elapsed() > AWHILE {
                        break;
                    }
                }
                Err(GetError::Empty) => {}
                Err(GetError::Closed) if self.closes => {
                    closed = true;
                    break;
                }
                Err(error) => return Err(format!("a survivor's get: {error:?}")),
            }
            if begun.elapsed() > LIMIT {
                return Err(format!("no progress: {sent} put, {:?} got, closed {closed}", self.account.got));
            }
        }
        Ok(closed)
    }

    /// The same by waiting only: nobody asks for a recovery.
    fn go_on_waiting(&mut self, how: How) -> Result<bool, String> {
        let producer = match self.producer().map(|_| ()) {
            Ok(()) => self.producer.take(),
            Err(_) if self.closes && self.base.is_closed() => None,
            Err(error) => return Err(error),
        };
        self.consumer()?;
        let consumer = self.consumer.take().ok_or("a consumer")?;
        if how == How::Spin {
            consumer.set_wait_policy(WaitPolicy::Spin);
        }
        let closes = self.closes;
        let put = move || {
            let Some(producer) = producer else { return Ok((None, 0)) };
            for number in 0..LAP {
                match producer.put_timeout(wire(&message(MARKER, number)), LIMIT) {
                    Ok(()) => {}
                    Err(PutError::Closed(_)) if closes => return Ok((Some(producer), number)),
                    Err(error) => return Err(format!("a survivor's put, waiting: {error:?}")),
                }
            }
            Ok((Some(producer), LAP))
        };
        let thread = std::thread::spawn(put);
        let (mut got, mut seen, mut closed) = (Vec::new(), 0, false);
        let failed = loop {
            let last = seen == LAP;
            if last && !self.account.may_miss(&got) {
                break None;
            }
            match taken(&consumer, consumer.get_timeout(if last { LONG } else { LIMIT })) {
                Ok(message) => got.push(number(unwire(message))?),
                Err(GetError::TimedOut) if last => break None,
                Err(GetError::Closed) if closes => {
                    closed = true;
                    break None;
                }
                Err(error) => break Some(format!("a survivor's get, waiting: {error:?}")),
            }
            seen += u64::from(got.last() == Some(&message(MARKER, seen)[0]));
        };
        let (producer, sent) = thread.join().map_err(|_| "the putting thread panicked")??;
        if let Some(failed) = failed {
            return Err(format!("{failed} after {got:?}"));
        }
        self.account.queue.extend((0..sent).map(|number| Entry::Sure(message(MARKER, number)[0])));
        self.account.got.extend(got);
        (self.producer, self.consumer) = (producer, Some(consumer));
        Ok(closed || sent < LAP)
    }

    /// The whole capacity is there, through ends that are new where that is possible.
    fn fill(&mut self) -> Result<(), String> {
        if self.mode.0 == Side::Multi {
            self.producer = Some(text("a new producer", self.base.producer())?);
        }
        if self.mode.1 == Side::Multi {
            self.consumer = Some(text("a new consumer", self.base.consumer())?);
        }
        if (self.base.is_empty(), self.base.len()) != (true, 0) {
            return Err(format!("drained, yet {} long and is_empty() {}", self.base.len(), self.base.is_empty()));
        }
        for number in 0..CAPACITY {
            text("filling", self.producer()?.try_put(wire(&message(FILLER, number))))?;
        }
        match self.producer()?.try_put(wire(&message(FILLER, CAPACITY))) {
            Err(PutError::Full(_)) => {}
            other => return Err(format!("one more than the capacity: {other:?}")),
        }
        for number in 0..CAPACITY {
            let got = unwire(text("draining", self.get())?);
            if got != message(FILLER, number) {
                return Err(format!("after {number} of the filling came {got:?}"));
            }
        }
        match self.consumer()?.try_get() {
            Err(GetError::Empty) => {}
            other => return Err(format!("after all of the filling: {other:?}")),
        }
        match self.base.join_timeout(LIMIT) {
            Ok(()) | Err(TaskError::NotJoinable) => {}
            Err(error) => return Err(format!("all is done, but join says {error:?}")),
        }
        kind::nothing_is_kept(self.producer()?)?;
        self.recover()?;
        match kind::memory(&self.directory)? {
            now if now <= self.memory => Ok(()),
            now => Err(format!("{now} bytes of memory at rest, {} at the start", self.memory)),
        }
    }

    /// Closing works, every place among the participants is free again, and nothing
    /// is left.
    fn finish(mut self) -> Result<(), String> {
        let alive = 1 + usize::from(self.producer.is_some()) + usize::from(self.consumer.is_some());
        if self.base.participants() != alive {
            return Err(format!("{} participants, {alive} are alive", self.base.participants()));
        }
        let more: Vec<_> = (alive..PLACES as usize).map(|_| self.base.try_clone()).collect();
        if let Some(error) = more.iter().find_map(|place| place.as_ref().err()) {
            return Err(format!("a place is not free again: {error:?}"));
        }
        drop(more);
        self.base.close();
        if let Some(producer) = &self.producer {
            match producer.try_put(wire(&message(FILLER, 0))) {
                Err(PutError::Closed(_)) => {}
                other => return Err(format!("a put after the close: {other:?}")),
            }
        }
        match self.consumer()?.get_timeout(LIMIT) {
            Err(GetError::Closed) => {}
            other => return Err(format!("a get after the close: {other:?}")),
        }
        let directory = self.directory.clone();
        drop(self);
        let left: Vec<_> =
            text("listing", std::fs::read_dir(&directory))?.flatten().map(|entry| entry.path()).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {left:?}")) }
    }
}

/// Another process, at the beginning of its operation.
pub struct Rescuer {
    tracee: Tracee,
    me: u64,
}

/// Another process, asleep.
pub struct Sleeper {
    child: Child,
    puts: bool,
}

const _: () = assert!(BATCH < CAPACITY as usize);
