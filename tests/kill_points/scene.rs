//! One point: sets the state up, kills, and lets the survivors show that nothing is
//! lost, doubled, stuck or left.

use super::account::{Account, Dead, Entry};
use super::kind::{self, Kind, Out, unwire, wire};
use super::step::{At, Tracee, Trail};
use super::table::{AFTER, FAILED_KIND, On, Operation, State};
use super::{BATCH, CAPACITY, NAME, message, number, taken};
use crate::common::{Child, role_command, until_asleep};
use ringway::{Consumer, GetError, Handle, Producer, Side};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

type Putting = Producer<Kind>;
type Getting = Consumer<Kind>;

/// Who puts: these numbers stand in the messages.
const DRIVER: u64 = 0;
const FIRST_VICTIM: u64 = 1;
pub(super) const SLEEPER: u64 = 6;
pub(super) const MARKER: u64 = 7;

/// Room for the survivors, a sleeper and a victim that have two handles while they
/// start, and one more.
pub(super) const PLACES: u32 = 8;

/// A queue with its survivors, and what is known of it.
pub struct Scene {
    pub(super) directory: PathBuf,
    pub(super) mode: (Side, Side),
    pub(super) base: Handle<Kind>,
    pub(super) producer: Option<Putting>,
    pub(super) consumer: Option<Getting>,
    pub(super) account: Account,
    victims: u64,
    driver_put: u64,
    pub(super) closes: bool,
    /// At the start.
    pub(super) memory: u64,
    pub(super) idle_memory: u64,
}

pub(super) fn text<T, E: std::fmt::Debug>(what: &str, result: Result<T, E>) -> Result<T, String> {
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
            idle_memory: kind::idle_memory(directory)?,
        })
    }

    pub(super) fn producer(&mut self) -> Result<&Putting, String> {
        if self.producer.is_none() {
            self.producer = Some(text("taking the producers' side", self.base.producer())?);
        }
        self.producer.as_ref().ok_or_else(String::new)
    }

    pub(super) fn consumer(&mut self) -> Result<&Getting, String> {
        if self.consumer.is_none() {
            self.consumer = Some(text("taking the consumers' side", self.base.consumer())?);
        }
        self.consumer.as_ref().ok_or_else(String::new)
    }

    /// Takes what is there, for good.
    pub(super) fn get(&mut self) -> Result<Out, GetError> {
        let consumer = self.consumer().map_err(|_| GetError::SideTaken)?;
        taken(consumer, consumer.try_get())
    }

    pub(super) fn get_within(&mut self, limit: Duration) -> Result<Out, GetError> {
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

    /// The first call of whoever gets, which looks for the dead, is over.
    pub fn begin_to_get(&mut self) -> Result<(), String> {
        match self.get() {
            Err(GetError::Empty) => Ok(()),
            other => Err(format!("a first get: {other:?}")),
        }
    }

    /// While the victim is stopped.
    pub fn put_behind(&mut self) -> Result<(), String> {
        let sent = message(MARKER, 0);
        text("a put behind", self.producer()?.try_put(wire(&sent)))?;
        self.account.queue.push(Entry::Sure(sent[0]));
        Ok(())
    }

    /// The same.
    pub fn close_beside(&mut self) {
        self.closes = true;
        self.base.close();
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
}

/// Another process, at the beginning of its operation.
pub struct Rescuer {
    tracee: Tracee,
    me: u64,
}

/// Another process, asleep.
pub struct Sleeper {
    pub(super) child: Child,
    pub(super) puts: bool,
}

const _: () = assert!(BATCH < CAPACITY as usize);
