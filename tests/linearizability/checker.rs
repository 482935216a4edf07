//! Whether a history is one that a bounded FIFO queue can have.
//!
//! The search of J. Wing and C. Gong (JPDC 1993), which takes an operation of those
//! that may have come first and undoes it where it led nowhere, remembering the states
//! it has been in (G. Lowe, 2017).
//!
//! What the queue promises less of, the checker asks less of:
//!
//! - A pending operation, whose process was killed in it, took effect once or never. A
//!   pending get may have taken a message along, or have had it in its hands until
//!   recovery gave it back: then it is taken later, after messages behind it.
//! - An operation that does not wait (or no longer) may say that it found nothing while
//!   another one that can be in its way is under way: a put claims a position before
//!   it publishes it, a get before it releases it.

use std::collections::{HashSet, VecDeque};

/// What was asked of the queue, and what it said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It is in.
    Put(u64),
    /// `Full`, or a deadline that passed.
    Refused(u64),
    Got(u64),
    /// `Empty`, or a deadline that passed.
    Nothing,
    /// Nobody knows: killed meanwhile.
    MayHavePut(u64),
    MayHaveGot,
}

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub process: usize,
    pub call: Call,
    pub invoked: u64,
    /// `u64::MAX`: never.
    pub returned: u64,
}

impl Operation {
    fn is_pending(&self) -> bool {
        matches!(self.call, Call::MayHavePut(_) | Call::MayHaveGot)
    }

    fn overlaps(&self, other: &Operation) -> bool {
        self.invoked < other.returned && other.invoked < self.returned
    }

    fn puts(&self) -> bool {
        matches!(self.call, Call::Put(_) | Call::Refused(_) | Call::MayHavePut(_))
    }
}

/// The process of an operation that nobody else can be in the way of: all that worked
/// have ended, and what the killed left was recovered.
pub const AT_REST: usize = usize::MAX;

pub const MOST_OPERATIONS: usize = 128;

/// Everything that decides what may come next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    done: u128,
    queue: VecDeque<u64>,
    /// What pending gets had in their hands.
    adrift: Vec<u64>,
}

struct Search<'h> {
    history: &'h [Operation],
    capacity: usize,
    /// Of each operation: whether another was under way that can make it find nothing.
    excused: Vec<bool>,
    /// All operations that have returned.
    completed: u128,
    seen: HashSet<State>,
}

/// None: the history is explained. Some: it is not, and how far the search came.
pub fn violation(history: &[Operation], capacity: usize) -> Option<String> {
    assert!(history.len() <= MOST_OPERATIONS, "{} operations", history.len());
    let excused = history.iter().map(|operation| is_excused(operation, history)).collect();
    let completed = bits(history, |operation| !operation.is_pending());
    let mut search = Search { history, capacity, excused, completed, seen: HashSet::new() };
    let start = State { done: 0, queue: VecDeque::new(), adrift: Vec::new() };
    if search.explains(start) {
        return None;
    }
    let furthest = search.seen.iter().max_by_key(|state| (state.done & completed).count_ones());
    let stuck = furthest.map(|state| {
        let rest: Vec<_> =
            (0..history.len()).filter(|at| (completed & !state.done) >> at & 1 == 1).map(|at| history[at]).collect();
        format!("with {:?} inside and {:?} adrift there is no way on to {rest:#?}", state.queue, state.adrift)
    });
    Some(stuck.unwrap_or_default())
}

fn bits(history: &[Operation], is_set: impl Fn(&Operation) -> bool) -> u128 {
    history.iter().enumerate().filter(|(_, operation)| is_set(operation)).fold(0, |bits, (at, _)| bits | 1 << at)
}

fn is_excused(operation: &Operation, history: &[Operation]) -> bool {
    if operation.process == AT_REST {
        return false;
    }
    let others = history.iter().filter(|other| *other != operation && other.overlaps(operation));
    let mut others = others.filter(|other| other.process != operation.process);
    match operation.call {
        // A get that has claimed and not released; what a killed one leaves until it is
        // recovered, and the tombstone of a killed put, which takes a place.
        Call::Refused(_) => others.any(|other| !other.puts() || other.is_pending()),
        // A put that has claimed and not published; anything that a killed one left.
        Call::Nothing => others.any(|other| other.puts() || other.is_pending()),
        _ => false,
    }
}

impl Search<'_> {
    fn explains(&mut self, state: State) -> bool {
        if self.completed & !state.done == 0 {
            return true;
        }
        if !self.seen.insert(state.clone()) {
            return false;
        }
        // Whatever comes next was invoked before anything that is left has returned.
        let left = |at: &usize| state.done >> at & 1 == 0;
        let first_return = (0..self.history.len()).filter(left).map(|at| self.history[at].returned).min();
        let first_return = first_return.unwrap_or(u64::MAX);
        let may_be_next = |at: &usize| left(at) && self.history[*at].invoked <= first_return;
        let candidates: Vec<usize> = (0..self.history.len()).filter(may_be_next).collect();
        // What changes nothing can come as soon as it is possible.
        for at in &candidates {
            let is_possible = match self.history[*at].call {
                Call::Refused(_) => state.queue.len() >= self.capacity || self.excused[*at],
                Call::Nothing => state.queue.is_empty() || self.excused[*at],
                _ => false,
            };
            if is_possible {
                return self.explains(State { done: state.done | 1 << at, ..state });
            }
        }
        candidates.into_iter().any(|at| self.after(&state, at).into_iter().any(|next| self.explains(next)))
    }

    /// The states that operation `at` may lead to.
    fn after(&self, state: &State, at: usize) -> Vec<State> {
        let mut next = State { done: state.done | 1 << at, ..state.clone() };
        match self.history[at].call {
            Call::Put(value) | Call::MayHavePut(value) => {
                if next.queue.len() >= self.capacity {
                    return Vec::new();
                }
                next.queue.push_back(value);
                vec![next]
            }
            Call::Got(value) => {
                if next.queue.front() == Some(&value) {
                    next.queue.pop_front();
                    vec![next]
                } else if let Some(place) = next.adrift.iter().position(|adrift| *adrift == value) {
                    next.adrift.remove(place);
                    vec![next]
                } else {
                    Vec::new()
                }
            }
            Call::MayHaveGot => match next.queue.pop_front() {
                Some(value) => {
                    next.adrift.push(value);
                    next.adrift.sort_unstable();
                    vec![next]
                }
                None => Vec::new(),
            },
            Call::Refused(_) | Call::Nothing => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation of process `process` from `invoked` to `returned`.
    fn op(process: usize, call: Call, invoked: u64, returned: u64) -> Operation {
        Operation { process, call, invoked, returned }
    }

    #[test]
    fn what_can_be_explained_is() {
        use Call::*;
        let explained: [&[Operation]; 6] = [
            &[op(0, Put(1), 0, 1), op(0, Put(2), 2, 3), op(1, Got(1), 4, 5), op(1, Got(2), 6, 7)],
            // At the same time: either may have come first.
            &[op(0, Put(1), 0, 5), op(1, Put(2), 0, 5), op(2, Got(2), 6, 7), op(2, Got(1), 8, 9)],
            // A put under way is in the way of an answer.
            &[
                op(0, Put(1), 0, 9),
                op(1, Put(2), 1, 2),
                op(2, Nothing, 3, 4),
                op(2, Got(1), 5, 12),
                op(2, Got(2), 13, 14),
            ],
            &[op(0, Put(1), 0, 1), op(0, Put(2), 2, 3), op(0, Refused(3), 4, 5), op(1, Got(1), 6, 7)],
            // A killed get gives its message back, later.
            &[
                op(0, Put(1), 0, 1),
                op(0, Put(2), 2, 3),
                op(1, MayHaveGot, 4, u64::MAX),
                op(2, Got(2), 5, 6),
                op(2, Got(1), 7, 8),
            ],
            // Or takes it along. A killed put may have put.
            &[op(0, MayHavePut(1), 0, u64::MAX), op(1, MayHaveGot, 4, u64::MAX), op(2, Nothing, 5, 6)],
        ];
        for history in explained {
            assert_eq!(violation(history, 2), None);
        }
    }

    #[test]
    fn what_cannot_be_explained_is_not() {
        use Call::*;
        let wrong: [&[Operation]; 9] = [
            // Lost.
            &[op(0, Put(1), 0, 1), op(1, Nothing, 2, 3)],
            // Doubled.
            &[op(0, Put(1), 0, 1), op(1, Got(1), 2, 3), op(2, Got(1), 4, 5)],
            // Out of order.
            &[op(0, Put(1), 0, 1), op(0, Put(2), 2, 3), op(1, Got(2), 4, 5), op(1, Got(1), 6, 7)],
            // Never put, or not yet.
            &[op(1, Got(7), 4, 5)],
            &[op(1, Got(1), 0, 1), op(0, Put(1), 2, 3)],
            // One too many, and one too few.
            &[op(0, Put(1), 0, 1), op(0, Put(2), 2, 3), op(0, Put(3), 4, 5)],
            &[op(0, Put(1), 0, 1), op(0, Refused(2), 2, 3)],
            // Lost, whoever was killed in a put.
            &[op(0, Put(1), 0, 1), op(1, MayHavePut(2), 0, u64::MAX), op(AT_REST, Nothing, 2, 3)],
            // A killed get takes one message along, not two.
            &[
                op(0, Put(1), 0, 1),
                op(0, Put(2), 2, 3),
                op(1, MayHaveGot, 4, 5),
                op(2, Nothing, 6, 7),
                op(2, Nothing, 8, 9),
            ],
        ];
        for (number, history) in wrong.into_iter().enumerate() {
            assert!(violation(history, 2).is_some(), "history {number}");
        }
    }
}
