//! Who waits on which word: what the thread and the ring have in common. Pure bookkeeping,
//! without a system call.
//!
//! No waker is woken or dropped in here: both run code of the executor's, which may come back
//! to the table. They are handed out, and the lock is let go of first.

use crate::queue::{Bed, Berth};
use std::collections::HashMap;
use std::task::Waker;

/// Everybody who waits, by word.
#[derive(Default)]
pub(super) struct Table {
    words: HashMap<usize, Word>,
    last: u64,
}

struct Word {
    berth: Berth,
    waiters: Vec<Waiting>,
    /// The kernel is told when this word is woken, or is about to be asked to.
    is_watched: bool,
    /// Nobody waits, but somebody did a moment ago and will again.
    lingers: bool,
}

struct Waiting {
    key: u64,
    epoch: u32,
    until: u64,
    state: State,
}

enum State {
    Asleep(Waker),
    /// Its wait is over; true: by a wake-up, which it must use or pass on (A3).
    Over(bool),
}

impl Waiting {
    fn is_asleep(&self) -> bool {
        matches!(self.state, State::Asleep(_))
    }

    fn end(&mut self, is_wake_up: bool, wakers: &mut Vec<Waker>) {
        if let State::Asleep(waker) = std::mem::replace(&mut self.state, State::Over(is_wake_up)) {
            wakers.push(waker);
        }
    }
}

/// A place in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) address: usize,
    key: u64,
}

/// What came of entering somebody in a table.
pub(super) enum Entered {
    At(Place),
    /// The word has moved: there is no need to sleep.
    Moved,
    /// There is no room, or nobody who looks at the table any more.
    Elsewhere,
}

/// How a wait stands, as far as can be said with the lock held.
pub(super) enum Asked {
    Asleep,
    /// It is over; true: by a wake-up.
    Over(bool),
    /// It would wake another one than it is to.
    AnotherWaker,
}

/// Whether a wait is over, and if so whether by a wake-up. If not, `waker` is the one that is
/// woken from now on. `look` calls [`Table::ask`].
pub(super) fn ask(waker: &Waker, look: impl Fn(&mut Option<Waker>, &mut Vec<Waker>) -> Asked) -> Option<bool> {
    let (mut rest, mut fresh) = (Vec::new(), None);
    loop {
        match look(&mut fresh, &mut rest) {
            Asked::Asleep => return None,
            Asked::Over(was_woken) => return Some(was_woken),
            // With no lock held.
            Asked::AnotherWaker => fresh = Some(waker.clone()),
        }
    }
}

/// A word to be watched, from the epoch on that its waiters have seen.
pub(super) struct Watch {
    pub(super) berth: Berth,
    pub(super) epoch: u32,
}

impl Table {
    /// Somebody more sleeps. Says where, and whether the kernel watches that word already. The
    /// waker comes back if the word has moved since the sleeper looked (A4).
    pub(super) fn add(&mut self, bed: &Bed, until: u64, waker: Waker) -> Result<(Place, bool), Waker> {
        if bed.berth.epoch() != bed.epoch {
            return Err(waker);
        }
        self.last += 1;
        let (address, key) = (bed.berth.address(), self.last);
        let word = self.words.entry(address).or_insert_with(|| Word {
            berth: bed.berth.clone(),
            waiters: Vec::new(),
            is_watched: false,
            lingers: false,
        });
        word.waiters.push(Waiting { key, epoch: bed.epoch, until, state: State::Asleep(waker) });
        Ok((Place { address, key }, word.is_watched))
    }

    /// How a wait stands. `fresh` is a clone of `waker`, if one was asked for before; a waker that
    /// is not needed any more is put into `rest`, to be dropped outside.
    pub(super) fn ask(
        &mut self,
        place: Place,
        waker: &Waker,
        fresh: &mut Option<Waker>,
        rest: &mut Vec<Waker>,
    ) -> Asked {
        let waiters = self.words.get_mut(&place.address).map(|word| &mut word.waiters);
        let waiting = waiters.and_then(|all| all.iter_mut().find(|one| one.key == place.key));
        match waiting.map(|waiting| &mut waiting.state) {
            Some(State::Asleep(known)) if known.will_wake(waker) => Asked::Asleep,
            Some(State::Asleep(known)) => match fresh.take() {
                Some(fresh) => {
                    rest.push(std::mem::replace(known, fresh));
                    Asked::Asleep
                }
                None => Asked::AnotherWaker,
            },
            Some(State::Over(_)) => Asked::Over(self.remove(place, rest)),
            None => Asked::Over(false),
        }
    }

    /// A wait is given up. True: a wake-up had come.
    pub(super) fn remove(&mut self, place: Place, rest: &mut Vec<Waker>) -> bool {
        let Some(word) = self.words.get_mut(&place.address) else { return false };
        let Some(at) = word.waiters.iter().position(|one| one.key == place.key) else { return false };
        match word.waiters.swap_remove(at).state {
            State::Asleep(waker) => {
                rest.push(waker);
                false
            }
            State::Over(is_wake_up) => is_wake_up,
        }
    }

    /// A word reads `epoch` now: ends the waits that have seen another one. Says how many.
    pub(super) fn moved(&mut self, address: usize, epoch: u32, wakers: &mut Vec<Waker>) -> usize {
        self.words.get_mut(&address).map_or(0, |word| word.moved(epoch, wakers))
    }

    /// The kernel does not watch a word any more.
    pub(super) fn unwatched(&mut self, address: usize, lingers: bool) -> Option<Berth> {
        let word = self.words.get_mut(&address)?;
        (word.is_watched, word.lingers) = (false, lingers);
        Some(word.berth.clone())
    }

    /// Ends the waits whose slice is over.
    pub(super) fn slices(&mut self, now: u64, wakers: &mut Vec<Waker>) {
        for waiting in self.words.values_mut().flat_map(|word| &mut word.waiters) {
            if waiting.until <= now {
                waiting.end(false, wakers);
            }
        }
    }

    /// Ends all waits, as if their slices were over.
    pub(super) fn end_all(&mut self, wakers: &mut Vec<Waker>) {
        self.words.values_mut().flat_map(|word| &mut word.waiters).for_each(|one| one.end(false, wakers));
    }

    /// Nothing is watched any more: the words that were.
    pub(super) fn let_go(&mut self) -> Vec<Berth> {
        let mut watched = Vec::new();
        for word in self.words.values_mut().filter(|word| word.is_watched) {
            (word.is_watched, word.lingers) = (false, false);
            watched.push(word.berth.clone());
        }
        watched
    }

    /// What is to be watched and is not; marks it as watched. Ends what has moved meanwhile, and
    /// forgets words that nobody needs.
    pub(super) fn take_unwatched(&mut self, wakers: &mut Vec<Waker>) -> Vec<Watch> {
        let mut watches = Vec::new();
        self.words.retain(|_, word| {
            let epoch = word.berth.epoch();
            word.moved(epoch, wakers);
            if !word.is_watched && (word.lingers || word.waiters.iter().any(Waiting::is_asleep)) {
                word.is_watched = true;
                watches.push(Watch { berth: word.berth.clone(), epoch });
            }
            word.is_watched || !word.waiters.is_empty()
        });
        watches
    }

    /// Nobody of this process will wait there soon. True: nobody does now, so whoever watches
    /// the words is to let go of this one.
    pub(super) fn forget(&mut self, address: usize) -> bool {
        let Some(word) = self.words.get_mut(&address) else { return false };
        word.lingers = false;
        word.waiters.is_empty()
    }

    /// Whether a word is watched for those who will wait there again.
    pub(super) fn lingers(&self, address: usize) -> bool {
        self.words.get(&address).is_some_and(|word| word.lingers)
    }

    /// When the next slice ends.
    pub(super) fn next_slice(&self) -> Option<u64> {
        let all = self.words.values().flat_map(|word| &word.waiters);
        all.filter(|one| one.is_asleep()).map(|one| one.until).min()
    }

    /// Whether a word is there, or there are fewer than `most`.
    pub(super) fn has_room(&self, address: usize, most: usize) -> bool {
        self.words.len() < most || self.words.contains_key(&address)
    }
}

impl Word {
    fn moved(&mut self, epoch: u32, wakers: &mut Vec<Waker>) -> usize {
        let concerned = self.waiters.iter_mut().filter(|one| one.is_asleep() && one.epoch != epoch);
        concerned.map(|one| one.end(true, wakers)).count()
    }
}

/// Wakes them, with no lock held.
pub(super) fn wake_all(wakers: Vec<Waker>) {
    for waker in wakers {
        // An executor that panics must not take the others' wake-ups along.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::{End, Now, Pod, PodQueue};

    type Numbers = PodQueue<u64>;

    fn bed(queue: &Numbers) -> Bed {
        match queue.port().get_now::<Pod<u64>>() {
            Ok(Now::Sleep(bed)) => bed,
            _ => panic!("it is empty"),
        }
    }

    fn entered(table: &mut Table, bed: &Bed, until: u64) -> (Place, bool) {
        table.add(bed, until, Waker::noop().clone()).unwrap_or_else(|_| panic!("nothing has moved"))
    }

    #[test]
    fn all_who_saw_another_epoch_are_woken_and_hold_the_wake_up() {
        let queue = Numbers::bounded(2).expect("memory");
        let (mut table, mut wakers) = (Table::default(), Vec::new());
        let first = bed(&queue);
        let (a, is_watched) = entered(&mut table, &first, 100);
        assert!(!is_watched);
        assert_eq!(table.take_unwatched(&mut wakers).len(), 1);
        let (b, is_watched) = entered(&mut table, &bed(&queue), 100);
        assert!(is_watched, "a word is watched once");
        assert!(table.take_unwatched(&mut wakers).is_empty() && wakers.is_empty());
        queue.put(1).expect("room");
        let address = first.berth.address();
        assert_eq!(table.moved(address, first.berth.epoch(), &mut wakers), 2);
        assert_eq!(table.moved(address, first.berth.epoch(), &mut wakers), 0, "once");
        assert_eq!(wakers.len(), 2);
        assert!(table.remove(a, &mut wakers), "it holds the wake-up");
        assert!(!table.remove(a, &mut wakers));
        let asked = table.ask(b, Waker::noop(), &mut None, &mut wakers);
        assert!(matches!(asked, Asked::Over(true)));
    }

    #[test]
    fn who_looked_before_the_word_moved_is_not_entered() {
        let queue = Numbers::bounded(2).expect("memory");
        let bed = bed(&queue);
        queue.put(1).expect("room");
        assert!(Table::default().add(&bed, 100, Waker::noop().clone()).is_err());
    }

    #[test]
    fn the_end_of_a_slice_is_no_wake_up() {
        let queue = Numbers::bounded(2).expect("memory");
        let (mut table, mut wakers) = (Table::default(), Vec::new());
        let bed = bed(&queue);
        let (early, _) = entered(&mut table, &bed, 100);
        let (late, _) = entered(&mut table, &bed, 200);
        assert_eq!(table.next_slice(), Some(100));
        table.slices(100, &mut wakers);
        assert_eq!((wakers.len(), table.next_slice()), (1, Some(200)));
        assert!(!table.remove(early, &mut wakers));
        assert!(matches!(table.ask(late, Waker::noop(), &mut None, &mut wakers), Asked::Asleep));
    }

    #[test]
    fn what_is_let_go_is_watched_no_more() {
        let queue = Numbers::bounded(2).expect("memory");
        let (mut table, mut wakers) = (Table::default(), Vec::new());
        let bed = bed(&queue);
        entered(&mut table, &bed, 100);
        assert!(table.let_go().is_empty(), "it was not watched yet");
        assert_eq!(table.take_unwatched(&mut wakers).len(), 1);
        assert_eq!(table.let_go().len(), 1);
        assert!(table.let_go().is_empty());
        table.end_all(&mut wakers);
        assert!(table.take_unwatched(&mut wakers).is_empty());
        assert_eq!(wakers.len(), 1);
    }

    #[test]
    fn a_word_is_forgotten_when_nobody_needs_it() {
        let queue = Numbers::bounded(2).expect("memory");
        let (mut table, mut wakers) = (Table::default(), Vec::new());
        let bed = bed(&queue);
        let address = bed.berth.address();
        let (place, _) = entered(&mut table, &bed, 100);
        assert!(!table.forget(address), "nobody is to be told");
        assert_eq!(table.take_unwatched(&mut wakers).len(), 1);
        table.remove(place, &mut wakers);
        assert!(table.forget(address), "the kernel is");
        table.unwatched(address, true);
        assert_eq!(table.take_unwatched(&mut wakers).len(), 1, "it lingers");
        table.unwatched(address, false);
        assert!(table.take_unwatched(&mut wakers).is_empty());
        assert!(table.words.is_empty());
    }
}
