//! The keeper, which has the keep byte of one dead actor at a time (D5, G8).

use super::*;

impl Chunks {
    /// One step of it.
    pub(super) fn keep(&self, state: &State, out: &mut Vec<Next<State>>) {
        let turn = Turn { state, actor: state.keeper, who: self.0.actors(), is_keeper: true, out };
        match turn.actor.at {
            At::KeepBacked(_) | At::KeepSpare(_) => self.keep_places(turn),
            At::KeepVacates | At::KeepLook(..) | At::KeepPunch(..) | At::KeepWord(_) => self.keep_chunks(turn),
            _ => self.keep_intent(turn),
        }
    }

    /// The dead one's position is finished, or there is none. What else has it left?
    fn next_job(&self, state: &State, keeper: &mut Actor) {
        (keeper.pos, keeper.place, keeper.hazard) = (0, NONE, NONE);
        let owner = keeper.left;
        let is_pair = |spare: &usize| {
            matches!(state.words[*spare], Word::Punching(_, its) if its == owner) && state.places[*spare].1 != NONE
        };
        let is_its = |word: Word| matches!(word, Word::Backing(_, its) | Word::Punching(_, its) if its == owner);
        let chunks = 0..usize::from(self.0.chunks);
        let pair = chunks.clone().find(is_pair).filter(|_| self.0.bug != Bug::NoRollBack);
        let chunk = chunks.clone().find(|chunk| is_its(state.words[*chunk]));
        let first = if self.0.bug == Bug::RollBackReversed { At::KeepSpare } else { At::KeepBacked };
        (keeper.place, keeper.at) = match (pair, chunk) {
            (Some(spare), _) => (state.places[spare].1, first(spare as u8)),
            (None, Some(chunk)) => (NONE, self.keep_chunk(chunk as u8, state.words[chunk], owner)),
            (None, None) => (NONE, At::KeepVacates),
        };
    }

    /// Where the work on a chunk begins that is its.
    fn keep_chunk(&self, chunk: u8, word: Word, owner: u8) -> At {
        match (word, self.0.bug) {
            (_, Bug::ChunksForgotten) => At::KeepVacates,
            (Word::Backing(..), Bug::BackingUnseen) => At::KeepPunch(chunk, true),
            (Word::Punching(..), Bug::DrainedAfterPunching) => At::KeepWord(chunk),
            _ => At::KeepLook(chunk, self.next_look(0, owner)),
        }
    }

    /// The position that its intent names.
    fn keep_intent(&self, mut turn: Turn<'_>) {
        let config = &self.0;
        let state = turn.state;
        let pos = turn.actor.pos;
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        // Somebody alive is in the way: later.
        let later = |a: &mut Actor| *a = NOBODY;
        match turn.actor.at {
            At::Idle => {
                for dead in 0..config.actors() {
                    if !state.actors[dead].dead || state.actors[dead].vacant {
                        continue;
                    }
                    turn.push("withdraws its hazards, reads its intent", |s, a| {
                        if config.bug != Bug::HazardsStand {
                            s.actors[dead].hazard = NONE;
                        }
                        a.left = dead as u8;
                        match s.actors[dead].intent {
                            NONE => self.next_job(s, a),
                            intent => (a.pos, a.at) = (intent, At::KeepFirstLook),
                        }
                    });
                }
            }
            At::KeepFirstLook => turn.push("reads the chunk word", |s, a| {
                let goes_on = s.words[chunk] == Word::Ready(lap) || config.bug == Bug::PlaceBeforeReady;
                if goes_on { a.at = At::KeepPlace } else { self.next_job(s, a) }
            }),
            At::KeepPlace => turn.push("reads the place", |s, a| {
                (a.place, a.at) = (s.places[chunk].0, At::KeepTouch);
            }),
            At::KeepTouch => turn.push("hazard", |_, a| {
                (a.hazard, a.at) = (self.hazard(chunk, a.place), At::KeepReRead);
            }),
            At::KeepReRead => turn.push("reads again", |s, a| {
                if s.words[chunk] == Word::Ready(lap) { a.at = At::KeepStamp } else { self.next_job(s, a) }
            }),
            At::KeepStamp => turn.push("reads the stamp and the intents", |s, a| {
                self.touch(s, a.place);
                let stamp = s.stamps[self.index(a.place, pos)];
                let is_free = is_free_for(stamp, pos);
                let unfinished = match stamp.tag {
                    Tag::Free => is_free && pos < s.tail,
                    _ => stamp.pos == pos && crate::models::unfinished(stamp, s.tail, s.head),
                };
                let gets = |other: usize| other >= config.producers;
                let alive = |other: &usize| {
                    let its = s.actors[*other];
                    !its.dead && its.intent == pos && gets(*other) != is_free
                };
                if !unfinished {
                    self.next_job(s, a);
                } else if (0..config.actors()).any(|other| alive(&other)) {
                    later(a);
                } else {
                    a.at = At::KeepExchange(stamp);
                }
            }),
            At::KeepExchange(seen) => turn.push("finishes the position", |s, a| {
                self.touch(s, a.place);
                let stamp = &mut s.stamps[self.index(a.place, pos)];
                if *stamp == seen {
                    *stamp = match seen.tag {
                        Tag::Free => Stamp::new(pos, Tag::Tomb),
                        Tag::Full => seen.tagged(Tag::Back),
                        _ => seen.released(self.commit()),
                    };
                }
                self.next_job(s, a);
            }),
            _ => {}
        }
    }

    /// An exchange of places that the dead one has not finished.
    fn keep_places(&self, mut turn: Turn<'_>) {
        let (owner, bug) = (turn.actor.left, self.0.bug);
        match turn.actor.at {
            At::KeepBacked(spare) => turn.push("puts the backed one back", |s, a| {
                let backed = s.words.iter().position(|word| matches!(*word, Word::Backing(_, its) if its == owner));
                if let Some(backed) = backed {
                    s.places[backed] = (a.place, NONE);
                }
                if bug == Bug::RollBackReversed { self.next_job(s, a) } else { a.at = At::KeepSpare(spare) }
            }),
            At::KeepSpare(spare) => turn.push("puts the spare one back", |s, a| {
                s.places[usize::from(spare)].1 = NONE;
                if bug == Bug::RollBackReversed { a.at = At::KeepBacked(spare) } else { self.next_job(s, a) }
            }),
            _ => {}
        }
    }

    /// Its chunks, one after the other.
    fn keep_chunks(&self, mut turn: Turn<'_>) {
        let config = &self.0;
        let owner = turn.actor.left;
        let dead = usize::from(owner);
        match turn.actor.at {
            At::KeepVacates => turn.push("vacates", |s, a| {
                (s.actors[dead].vacant, s.actors[dead].intent) = (true, NONE);
                *a = NOBODY;
            }),
            At::KeepLook(chunk, other) => turn.push("reads a hazard", |s, a| {
                let next = self.next_look(other + 1, owner);
                let hazard = s.actors[usize::from(other)].hazard;
                a.at = match self.names(s, hazard, usize::from(chunk)) {
                    true => At::KeepPunch(chunk, false),
                    false if usize::from(next) >= config.actors() => At::KeepPunch(chunk, true),
                    false => At::KeepLook(chunk, next),
                };
            }),
            At::KeepPunch(chunk, punches) => turn.push("punches, perhaps", |s, a| {
                if punches {
                    self.take_pages(s, usize::from(chunk));
                }
                a.at = At::KeepWord(chunk);
            }),
            At::KeepWord(chunk) => turn.push("HOLE", |s, a| {
                let drained = config.bug == Bug::DrainedAfterPunching;
                let word = &mut s.words[usize::from(chunk)];
                *word = match *word {
                    Word::Backing(lap, its) if its == owner => Word::Hole(lap),
                    Word::Punching(lap, its) if its == owner && drained => Word::Drained(lap),
                    Word::Punching(lap, its) if its == owner => Word::Hole(lap + 1),
                    other => other,
                };
                self.next_job(s, a);
            }),
            _ => {}
        }
    }
}
