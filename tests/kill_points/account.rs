//! The exact checker: which messages may have come out, given what was acknowledged
//! and where the dead were.

use super::step::Said;
use super::table::DONE_KIND;

/// A process that was killed in an operation, or after it.
#[derive(Clone, Debug)]
pub struct Dead {
    /// The messages that it may have put: a prefix of them.
    pub puts: Vec<u64>,
    pub takes: usize,
    pub loses: usize,
    /// What its operation returned, if it did.
    pub said: Option<Said>,
}

/// A message in the order of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Acknowledged.
    Sure(u64),
    /// One of those that a dead process may have put.
    Maybe { dead: usize, index: usize },
}

/// What is known of one queue.
#[derive(Clone, Debug, Default)]
pub struct Account {
    pub queue: Vec<Entry>,
    pub dead: Vec<Dead>,
    /// What one survivor got, in its order, and what others got.
    pub got: Vec<u64>,
    pub aside: Vec<u64>,
}

impl Account {
    /// Whether a message that a dead one may have taken has not come.
    pub fn may_miss(&self, got: &[u64]) -> bool {
        let first = self.queue.iter().filter_map(|entry| match entry {
            Entry::Sure(message) => Some(*message),
            Entry::Maybe { .. } => None,
        });
        let came = |message: &u64| got.contains(message) || self.got.contains(message) || self.aside.contains(message);
        first.take(self.takes()).any(|message| !came(&message))
    }

    fn takes(&self) -> usize {
        self.dead.iter().map(|dead| dead.takes).sum()
    }

    /// Whether what came out is possible; `orderly`: the dead were looked after before
    /// anybody took anything.
    pub fn check(&self, orderly: bool) -> Result<(), String> {
        let mut why = Vec::new();
        for counts in self.counts() {
            let queue: Vec<u64> = self.queue.iter().filter_map(|entry| self.present(entry, &counts)).collect();
            match self.explains(&queue, orderly) {
                Ok(()) => return Ok(()),
                Err(reason) => why.push(format!("if {counts:?} were put: {reason}")),
            }
        }
        Err(format!("{}; {self:?}", why.join("; ")))
    }

    /// How many each of the dead may have put.
    fn counts(&self) -> Vec<Vec<usize>> {
        let mut all = vec![Vec::new()];
        for dead in &self.dead {
            let possible = match dead.said {
                Some(said) if !dead.puts.is_empty() => said.count as usize..=said.count as usize,
                _ => 0..=dead.puts.len(),
            };
            all = all
                .iter()
                .flat_map(|counts| possible.clone().map(move |n| [counts.as_slice(), &[n]].concat()))
                .collect();
        }
        all
    }

    fn present(&self, entry: &Entry, counts: &[usize]) -> Option<u64> {
        match *entry {
            Entry::Sure(message) => Some(message),
            Entry::Maybe { dead, index } if index < counts[dead] => Some(self.dead[dead].puts[index]),
            Entry::Maybe { .. } => None,
        }
    }

    fn explains(&self, queue: &[u64], orderly: bool) -> Result<(), String> {
        let all: Vec<u64> = self.got.iter().chain(&self.aside).copied().collect();
        for (index, message) in all.iter().enumerate() {
            if all[..index].contains(message) {
                return Err(format!("doubled: {message:#x}"));
            }
            if !queue.contains(message) {
                return Err(format!("never put: {message:#x}"));
            }
        }
        let missing: Vec<usize> = (0..queue.len()).filter(|&index| !all.contains(&queue[index])).collect();
        let takers: Vec<&Dead> = self.dead.iter().filter(|dead| dead.takes > 0).collect();
        let lost = |least: usize, most: usize| {
            if missing.len() > most || missing.iter().any(|&index| index >= self.takes()) {
                Err(format!("lost: numbers {missing:?} of the queue"))
            } else if missing.len() < least {
                Err(format!("{least} were taken, {} are gone: one came twice", missing.len()))
            } else {
                Ok(())
            }
        };
        let most = takers.iter().map(|dead| dead.said.map_or(dead.loses, |said| said.count as usize)).sum();
        let least = takers.iter().filter_map(|dead| dead.said).map(|said| said.count as usize).sum();
        lost(least, most)?;
        if let [taker] = takers[..] {
            if missing.iter().enumerate().any(|(index, &number)| index != number) {
                return Err(format!("lost from the middle: {missing:?}"));
            }
            if let Some(said) = taker.said.filter(|said| said.kind == DONE_KIND && said.count > 0)
                && queue[0] != said.first
            {
                return Err(format!("it took {:#x} before {:#x}", said.first, queue[0]));
            }
        }
        // What a dead reader may have had comes again, earlier or later; all else comes
        // in order.
        let again = &queue[..self.takes().min(queue.len())];
        let place = |message: &u64| queue.iter().position(|other| other == message);
        let places: Vec<_> = self.got.iter().filter(|message| !again.contains(message)).map(place).collect();
        if !places.is_sorted() {
            return Err("out of order".to_owned());
        }
        let late = |message: &u64| again.contains(message);
        if orderly && self.aside.is_empty() && self.got.iter().skip_while(|message| late(message)).any(late) {
            return Err("a redelivery came after what was behind it".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(got: &[u64], takes: usize, said: Option<Said>) -> Account {
        Account {
            queue: vec![Entry::Sure(1), Entry::Sure(2), Entry::Maybe { dead: 0, index: 0 }, Entry::Sure(4)],
            dead: vec![Dead { puts: vec![3], takes, loses: takes, said }],
            got: got.to_vec(),
            aside: Vec::new(),
        }
    }

    /// The checker sees loss, doubling, invention and disorder, and allows what may be.
    #[test]
    fn the_checker_checks() {
        let inside = |got: &[u64], takes| account(got, takes, None).check(true);
        let after = |got: &[u64]| account(got, 0, Some(Said { count: 1, kind: 0, first: 0 })).check(true);
        for fine in [&[1, 2, 3, 4][..], &[1, 2, 4]] {
            assert_eq!(inside(fine, 0), Ok(()));
        }
        assert_eq!(after(&[1, 2, 3, 4]), Ok(()));
        assert!(after(&[1, 2, 4]).is_err(), "acknowledged and lost");
        for bad in [&[2, 3, 4][..], &[1, 2], &[1, 1, 2, 4], &[2, 1, 4], &[1, 2, 4, 5]] {
            assert!(inside(bad, 0).is_err(), "{bad:?}");
        }
        assert_eq!(inside(&[2, 3, 4], 1), Ok(()), "the one it was taking");
        assert!(inside(&[3, 4], 1).is_err(), "more than it was taking");
        assert!(inside(&[1, 3, 4], 1).is_err(), "another than it was taking");
        assert!(inside(&[2, 1, 4], 1).is_err(), "a redelivery comes first");
    }
}
