//! What the survivors do after the last death, and what must come of it.

use super::account::Entry;
use super::kind::{self, unwire, wire};
use super::scene::{MARKER, PLACES, SLEEPER, Scene, Sleeper, text};
use super::{CAPACITY, How, LIMIT, message, number, taken};
use ringway::{GetError, PutError, Side, TaskError, WaitPolicy};
use std::time::{Duration, Instant};

/// In the messages that fill the queue at the end, beside those who put before.
const FILLER: u64 = 8;

/// Messages that survivors put to show that they can.
const MARKERS: u64 = 3;

/// So many pass every position.
const LAP: u64 = CAPACITY + 1;
/// More than the ten slices after which a waiter looks everywhere.
const LONG: Duration = Duration::from_millis(1500);

/// Some slices, in each of which a waiter looks for the dead.
const AWHILE: Duration = Duration::from_millis(350);

impl Scene {
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
            if steps.count_ones().is_multiple_of(2) && self.newcomer_looks() {
                match self.recover()? {
                    0 => {}
                    late => return Err(format!("a newcomer has not found {late} positions that recover() finds")),
                }
            }
            self.recover()?;
        }
        if how == How::Recover && sleeper.is_none() {
            // Before anybody uses again what the dead have left.
            match kind::idle_memory(&self.directory)? {
                now if now <= self.idle_memory => {}
                now => {
                    return Err(format!("{now} bytes of memory that nobody uses, {} at the start", self.idle_memory));
                }
            }
        }
        if let Some(sleeper) = sleeper {
            self.wake(sleeper, how)?;
        }
        let closed = match how {
            How::Wait => self.go_on_waiting()?,
            How::Alone { spins } | How::Closed { spins } => self.get_alone(spins)?,
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
        if !woke && puts {
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
        } else if !woke {
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

    /// One consumer waits, parked or not, until it has what lies behind a claim of the dead: a
    /// message, or the end of the queue. Says which.
    fn get_alone(&mut self, spins: bool) -> Result<bool, String> {
        let policy = if spins { WaitPolicy::Spin } else { WaitPolicy::Park };
        let consumer = self.consumer()?;
        consumer.set_wait_policy(policy);
        let mut got = Vec::new();
        let closed = loop {
            match taken(consumer, consumer.get_timeout(LIMIT)) {
                Ok(message) => got.push(number(unwire(message))?),
                Err(GetError::Closed) => break true,
                Err(error) => return Err(format!("who waits alone: {error:?} after {got:?}")),
            }
            if got.last() == Some(&message(MARKER, 0)[0]) {
                break false;
            }
        };
        self.account.got.extend(got);
        Ok(closed)
    }

    /// The same by waiting only: nobody asks for a recovery.
    fn go_on_waiting(&mut self) -> Result<bool, String> {
        let producer = match self.producer().map(|_| ()) {
            Ok(()) => self.producer.take(),
            Err(_) if self.closes && self.base.is_closed() => None,
            Err(error) => return Err(error),
        };
        self.consumer()?;
        let consumer = self.consumer.take().ok_or("a consumer")?;
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
