//! The model of chunks as the engine sees it: where it begins, what it must not reach, what comes next.

use super::super::engine::Model;
use super::*;

impl Model for Chunks {
    type State = State;

    fn initial(&self) -> State {
        let config = &self.0;
        let mut actors = [NOBODY; ACTORS];
        actors.iter_mut().take(config.producers).for_each(|actor| actor.left = config.messages);
        if config.producers > 1 {
            actors[1].left -= config.fewer;
        }
        let first = self.capacity();
        State {
            stamps: [ZERO; SLOTS],
            messages: [0; SLOTS],
            words: [Word::Hole(1); CHUNKS],
            places: std::array::from_fn(|chunk| (chunk as u8, NONE)),
            pages: 0,
            rows: [(Row::Free, 0); ROWS],
            tail: first,
            head: first,
            actors,
            keeper: NOBODY,
            deaths: 0,
            keeper_deaths: 0,
            newcomers: 0,
            published: 0,
            got: 0,
            next_message: 0,
            fault: None,
        }
    }

    fn fault(&self, state: &State) -> Option<&'static str> {
        let is_free = |chunk: usize| !matches!(state.words[chunk], Word::Backing(..) | Word::Punching(..));
        let mut pairs = (0..CHUNKS).flat_map(|one| (0..one).map(move |other| (one, other)));
        let in_one_place = pairs.any(|(one, other)| state.places[one].0 == state.places[other].0);
        state.fault.or(((0..CHUNKS).all(is_free) && in_one_place).then_some(SAME_PLACE))
    }

    fn at_rest(&self, state: &State) -> bool {
        let config = &self.0;
        let actors = &state.actors[..config.actors()];
        let kept = actors.iter().all(|actor| !actor.dead || actor.vacant && actor.hazard == NONE);
        if actors[config.producers..].iter().all(|actor| actor.dead) {
            return kept;
        }
        let puts_done = actors[..config.producers].iter().all(|actor| actor.dead || actor.left == 0);
        let nobody_at_a_chunk = state.words.iter().all(|word| !matches!(word, Word::Backing(..) | Word::Punching(..)));
        let no_pairs = state.places.iter().all(|place| place.1 == NONE);
        let no_rows = state.rows.iter().all(|(row, _)| *row == Row::Free);
        puts_done
            && no_rows
            && kept
            && no_pairs
            && nobody_at_a_chunk
            && state.published == state.got
            && state.head == state.tail
    }

    fn successors(&self, state: &State, out: &mut Vec<Next<State>>) {
        let config = &self.0;
        for who in 0..config.actors() {
            let actor = state.actors[who];
            if actor.dead {
                if actor.vacant && state.newcomers < config.newcomers {
                    let mut next = *state;
                    next.newcomers += 1;
                    next.actors[who] = NOBODY;
                    out.push(Next { state: next, kind: Kind::Arrival, who: who as u8, what: "a newcomer" });
                }
                continue;
            }
            self.step(state, who, out);
            if state.deaths < config.deaths {
                let mut next = *state;
                next.deaths += 1;
                // Its words stay as they are, but not where it is.
                next.actors[who] = Actor { at: At::Idle, pos: 0, left: 0, place: NONE, run: 0, dead: true, ..actor };
                out.push(Next { state: next, kind: Kind::Death, who: who as u8, what: "is killed" });
            }
        }
        self.keep(state, out);
        if state.keeper.at != At::Idle && state.keeper_deaths < config.keeper_deaths {
            let mut next = *state;
            next.keeper_deaths += 1;
            next.keeper = NOBODY;
            out.push(Next { state: next, kind: Kind::Death, who: config.actors() as u8, what: "is killed, keeping" });
        }
    }
}
