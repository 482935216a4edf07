//! The engine: breadth-first search over every reachable state of a [`Model`], then one backward pass.
//!
//! What it decides, for a model whose successors are *all* that can happen next:
//!
//! - **Safety**: no reachable state has a [`Model::fault`]. The first one found is at the end of a shortest trace.
//! - **Liveness**: from every reachable state a state of [`Model::at_rest`] can be reached by ordinary steps alone,
//!   that is without one more death, without help from a newcomer and without anybody giving up. (In temporal logic:
//!   AG EF rest, the EF over [`Kind::Step`]. It finds leaks, deadlocks and lost messages; it does not find livelocks,
//!   which need fairness.)
//!
//! Memory is sequentially consistent: one successor is one access to shared memory. Steps that are merged in a model
//! are listed at its head with the reason why nothing is lost.
//!
//! The state is stored once, in a vector; the hash table holds only (tag, index) pairs and grows without hashing again.

use std::fmt::Debug;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// A finite transition system with one initial state.
pub trait Model {
    type State: Copy + Eq + Hash + Debug;

    fn initial(&self) -> Self::State;

    /// What is wrong with this state, if anything.
    fn fault(&self, state: &Self::State) -> Option<&'static str>;

    /// Nothing is left to do and nothing is lost or leaked.
    fn at_rest(&self, state: &Self::State) -> bool;

    /// Pushes everything that can happen next.
    fn successors(&self, state: &Self::State, out: &mut Vec<Next<Self::State>>);
}

/// What kind of event leads to a successor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Somebody alive goes on. Only these count for liveness.
    Step,
    /// Somebody is killed.
    Death,
    /// Somebody new attaches.
    Arrival,
    /// Somebody stops calling for ever, alive.
    Leave,
}

/// One successor: the state, and a label for traces.
#[derive(Clone, Copy)]
pub struct Next<S> {
    pub state: S,
    pub kind: Kind,
    /// Who acts (the model's own numbering) and what it does.
    pub who: u8,
    pub what: &'static str,
}

/// The answer of [`explore`].
#[derive(Debug)]
pub enum Outcome {
    /// Every state was visited; `rests` of them are at rest.
    Holds { rests: usize },
    /// A state with a fault, and how to get there.
    Fault { what: &'static str, trace: String },
    /// A state from which rest cannot be reached any more, and how to get there.
    Stuck { trace: String },
    /// More states than allowed; nothing is proven.
    Limit,
}

#[derive(Debug)]
pub struct Report {
    pub outcome: Outcome,
    pub states: usize,
    pub elapsed: Duration,
}

/// Visits every reachable state, at most `limit` of them.
pub fn explore<M: Model>(model: &M, limit: usize) -> Report {
    let start = Instant::now();
    let mut search = Search::new(model);
    let outcome = search.run(limit);
    Report { outcome, states: search.states.len(), elapsed: start.elapsed() }
}

struct Search<'m, M: Model> {
    model: &'m M,
    states: Vec<M::State>,
    parents: Vec<u32>,
    index: Index,
    /// (to, from) of every ordinary step.
    edges: Vec<(u32, u32)>,
}

impl<'m, M: Model> Search<'m, M> {
    fn new(model: &'m M) -> Self {
        let mut search =
            Search { model, states: Vec::new(), parents: Vec::new(), index: Index::new(), edges: Vec::new() };
        search.visit(model.initial(), 0);
        search
    }

    fn run(&mut self, limit: usize) -> Outcome {
        let mut out = Vec::new();
        let mut at = 0;
        while at < self.states.len() {
            let state = self.states[at];
            if let Some(what) = self.model.fault(&state) {
                let trace = self.trace(at);
                return Outcome::Fault { what, trace };
            }
            out.clear();
            self.model.successors(&state, &mut out);
            let from = as_id(at);
            for next in &out {
                let to = self.visit(next.state, from);
                if next.kind == Kind::Step && to != from {
                    self.edges.push((to, from));
                }
            }
            at += 1;
            if self.states.len() > limit {
                return Outcome::Limit;
            }
        }
        self.live()
    }

    /// The number of `state`, which is stored if it is new.
    fn visit(&mut self, state: M::State, parent: u32) -> u32 {
        let new = as_id(self.states.len());
        let states = &self.states;
        let found = self.index.find_or_insert(hash(&state), new, |id| states[id as usize] == state);
        if found == new {
            self.states.push(state);
            self.parents.push(parent);
        }
        found
    }

    /// Marks backwards from the states at rest; what stays unmarked is stuck.
    fn live(&mut self) -> Outcome {
        let count = self.states.len();
        let mut first = vec![0u32; count + 1];
        for &(to, _) in &self.edges {
            first[to as usize + 1] += 1;
        }
        for at in 0..count {
            first[at + 1] += first[at];
        }
        let mut cursor = first.clone();
        let mut sources = vec![0u32; self.edges.len()];
        for &(to, from) in &self.edges {
            sources[cursor[to as usize] as usize] = from;
            cursor[to as usize] += 1;
        }
        let mut marked: Vec<bool> = self.states.iter().map(|s| self.model.at_rest(s)).collect();
        let mut queue: Vec<u32> = (0..as_id(count)).filter(|&s| marked[s as usize]).collect();
        let rests = queue.len();
        while let Some(to) = queue.pop() {
            let range = first[to as usize] as usize..first[to as usize + 1] as usize;
            for &from in &sources[range] {
                if !marked[from as usize] {
                    marked[from as usize] = true;
                    queue.push(from);
                }
            }
        }
        match marked.iter().position(|&m| !m) {
            None => Outcome::Holds { rests },
            Some(at) => Outcome::Stuck { trace: self.trace(at) },
        }
    }

    /// A shortest way to a state, one line per event, and the state itself.
    fn trace(&self, end: usize) -> String {
        let mut path = vec![end];
        let mut at = end;
        while at != 0 {
            at = self.parents[at] as usize;
            path.push(at);
        }
        path.reverse();
        let mut text = String::new();
        let mut out = Vec::new();
        for pair in path.windows(2) {
            out.clear();
            self.model.successors(&self.states[pair[0]], &mut out);
            let next = out.iter().find(|n| n.state == self.states[pair[1]]);
            let next = next.expect("a stored step comes from its parent");
            text += &format!("  {:>8} {}: {}\n", format!("{:?}", next.kind), next.who, next.what);
        }
        text + &format!("  in {:?}\n", self.states[end])
    }
}

fn as_id(at: usize) -> u32 {
    u32::try_from(at).expect("fewer than 2^32 states")
}

/// Open addressing over (upper half of the hash, state number + 1); 0 is an empty place.
struct Index {
    places: Vec<u64>,
    used: usize,
}

impl Index {
    fn new() -> Self {
        Index { places: vec![0; 1 << 12], used: 0 }
    }

    /// The number of an equal state, or `new`, which then takes a place.
    fn find_or_insert(&mut self, hash: u64, new: u32, equal: impl Fn(u32) -> bool) -> u32 {
        let tag = hash >> 32;
        let mask = self.places.len() - 1;
        let mut at = tag as usize & mask;
        while self.places[at] != 0 {
            let id = (self.places[at] as u32) - 1;
            if self.places[at] >> 32 == tag && equal(id) {
                return id;
            }
            at = (at + 1) & mask;
        }
        self.places[at] = tag << 32 | u64::from(new + 1);
        self.used += 1;
        if self.used * 2 > self.places.len() {
            self.grow();
        }
        new
    }

    fn grow(&mut self) {
        let wider = vec![0; self.places.len() * 2];
        let old = std::mem::replace(&mut self.places, wider);
        let mask = self.places.len() - 1;
        for entry in old.into_iter().filter(|&entry| entry != 0) {
            let mut at = (entry >> 32) as usize & mask;
            while self.places[at] != 0 {
                at = (at + 1) & mask;
            }
            self.places[at] = entry;
        }
    }
}

fn hash<S: Hash>(state: &S) -> u64 {
    let mut mixer = Mixer(0);
    state.hash(&mut mixer);
    mixer.finish()
}

/// A fast hash for small plain states (multiply and rotate; not for hostile input).
struct Mixer(u64);

impl Mixer {
    fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        let folded = (self.0 ^ self.0 >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        folded ^ folded >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.mix(u64::from(byte));
    }

    fn write_usize(&mut self, word: usize) {
        self.mix(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.mix(word as u64);
    }
}

/// The engine itself, on a counter from 0 to 9 that steps by one.
mod check {
    use super::{Kind, Model, Next, Outcome, explore};

    struct Counter {
        fault_at: Option<u8>,
        rest_at: u8,
        last_is_death: bool,
    }

    const PLAIN: Counter = Counter { fault_at: None, rest_at: 9, last_is_death: false };

    impl Model for Counter {
        type State = u8;

        fn initial(&self) -> u8 {
            0
        }

        fn fault(&self, state: &u8) -> Option<&'static str> {
            (self.fault_at == Some(*state)).then_some("reached")
        }

        fn at_rest(&self, state: &u8) -> bool {
            *state == self.rest_at
        }

        fn successors(&self, state: &u8, out: &mut Vec<Next<u8>>) {
            if *state < 9 {
                let kind = if *state == 8 && self.last_is_death { Kind::Death } else { Kind::Step };
                out.push(Next { state: state + 1, kind, who: 0, what: "counts" });
            }
        }
    }

    #[test]
    fn engine_sees_every_state() {
        let report = explore(&PLAIN, 10);
        assert!(matches!(report.outcome, Outcome::Holds { rests: 1 }));
        assert_eq!(report.states, 10);
        assert!(matches!(explore(&PLAIN, 8).outcome, Outcome::Limit));
    }

    #[test]
    fn engine_finds_faults() {
        let model = Counter { fault_at: Some(4), ..PLAIN };
        match explore(&model, 100).outcome {
            Outcome::Fault { what, trace } => {
                assert_eq!((what, trace.lines().count()), ("reached", 5));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn engine_finds_states_that_cannot_rest() {
        let left = Counter { rest_at: 3, ..PLAIN };
        let deadly = Counter { last_is_death: true, ..PLAIN };
        for model in [left, deadly] {
            let outcome = explore(&model, 100).outcome;
            assert!(matches!(outcome, Outcome::Stuck { .. }), "{outcome:?}");
        }
    }
}
