//! The keeper, which has the keep byte of one dead actor at a time (G8, D5, L5).

use super::*;

impl Chunks {
    /// One step of it.
    pub(super) fn keep(&self, state: &State, out: &mut Vec<Next<State>>) {
        let turn = Turn { state, actor: state.keeper, who: self.0.actors(), is_keeper: true, has_runs: false, out };
        match turn.actor.at {
            At::KeepBacked(_) | At::KeepSpare(_) => self.keep_places(turn),
            At::KeepRow(_) | At::KeepVacates | At::KeepLook(..) | At::KeepPunch(..) | At::KeepWord(_) => {
                self.keep_chunks(turn)
            }
            _ => self.keep_intent(turn),
        }
    }

    /// What else has it left at chunks? If nothing, its claims are next, and then its rows.
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
        let chunk = chunk.filter(|_| self.0.bug != Bug::ChunksForgotten);
        let first = if self.0.bug == Bug::RollBackReversed { At::KeepSpare } else { At::KeepBacked };
        match (pair, chunk) {
            (Some(spare), _) => (keeper.place, keeper.at) = (state.places[spare].1, first(spare as u8)),
            (None, Some(chunk)) => keeper.at = self.keep_chunk(chunk as u8, state.words[chunk], owner),
            (None, None) => self.next_claim(state, keeper),
        }
    }

    /// Its chunks are done with. Has it claims?
    fn next_claim(&self, state: &State, keeper: &mut Actor) {
        let too_early = self.has_row(state, usize::from(keeper.left)).filter(|_| self.0.bug == Bug::RowsFirst);
        (keeper.pos, keeper.run, keeper.at) = self.intent_of(state, keeper);
        match too_early {
            Some(row) => keeper.at = At::KeepRow(row as u8),
            None if keeper.run == 0 => self.next_row(state, keeper),
            None => {}
        }
    }

    /// The position is done with, or left for later.
    fn next_position(&self, state: &State, keeper: &mut Actor) {
        (keeper.place, keeper.hazard) = (NONE, NONE);
        if keeper.run > 1 && self.0.bug != Bug::EndsAtTheFinished {
            // Behind no position comes none that anybody has claimed.
            (keeper.pos, keeper.run, keeper.at) =
                (keeper.pos.wrapping_add(1), keeper.run - 1, At::KeepFirstLook(false));
        } else if keeper.len > 0 && self.0.bug != Bug::LeftForgotten {
            *keeper = NOBODY;
        } else {
            self.next_row(state, keeper);
        }
    }

    /// Its claims are finished. Has it rows?
    fn next_row(&self, state: &State, keeper: &mut Actor) {
        let row = self.has_row(state, usize::from(keeper.left)).filter(|_| self.0.bug != Bug::RowsForgotten);
        (keeper.pos, keeper.run, keeper.len) = (0, 0, 0);
        keeper.at = row.map_or(At::KeepVacates, |row| At::KeepRow(row as u8));
    }

    /// What its intent names: from where, how many, and what to ask first. Of a run of puts that is the last one:
    /// if it is published, all are. (The code searches for the first that is not.)
    fn intent_of(&self, state: &State, keeper: &Actor) -> (u8, u8, At) {
        let dead = state.actors[usize::from(keeper.left)];
        match dead.len {
            0 => (0, 0, At::KeepVacates),
            len => {
                let is_search = len > 1 && usize::from(keeper.left) < self.0.producers;
                (dead.intent, len, At::KeepFirstLook(is_search))
            }
        }
    }

    /// Where the work on a chunk begins that is its.
    fn keep_chunk(&self, chunk: u8, word: Word, owner: u8) -> At {
        match (word, self.0.bug) {
            (Word::Backing(..), Bug::BackingUnseen) => At::KeepPunch(chunk, true),
            (Word::Punching(..), Bug::DrainedAfterPunching) => At::KeepWord(chunk),
            _ => At::KeepLook(chunk, self.next_look(0, owner)),
        }
    }

    /// The position that its intent names.
    fn keep_intent(&self, mut turn: Turn<'_>) {
        let config = &self.0;
        let state = turn.state;
        let is_search = match turn.actor.at {
            At::KeepFirstLook(it) | At::KeepPlace(it) | At::KeepTouch(it) | At::KeepReRead(it) | At::KeepStamp(it) => {
                it
            }
            _ => false,
        };
        // Where there is none, none of this is looked at.
        let pos = turn.actor.pos.wrapping_add(if is_search { turn.actor.run - 1 } else { 0 });
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        let (word, is_put) = (state.words[chunk], usize::from(turn.actor.left) < config.producers);
        // The chunk is not READY of that lap: nothing of it was put yet, or all is done.
        let not_ready = |s: &State, a: &mut Actor| {
            let is_before = match word {
                Word::Hole(its) | Word::Backing(its, _) => its <= lap,
                Word::Ready(its) | Word::Drained(its) | Word::Punching(its, _) => its < lap,
            };
            (a.place, a.hazard) = (NONE, NONE);
            match is_search {
                true if is_before => a.at = At::KeepFirstLook(false),
                // What is published is not looked at.
                true => {
                    a.run = 1;
                    self.next_position(s, a);
                }
                false => self.next_position(s, a),
            }
        };
        match turn.actor.at {
            At::Idle => {
                for dead in 0..config.actors() {
                    if !state.actors[dead].dead || state.actors[dead].vacant {
                        continue;
                    }
                    turn.push("withdraws its hazards, reads its words", |s, a| {
                        if config.bug != Bug::HazardsStand {
                            s.actors[dead].hazard = NONE;
                        }
                        a.left = dead as u8;
                        self.next_job(s, a);
                    });
                }
            }
            At::KeepFirstLook(_) => turn.push("reads the chunk word", |s, a| {
                let goes_on = word == Word::Ready(lap) || config.bug == Bug::PlaceBeforeReady;
                if goes_on { a.at = At::KeepPlace(is_search) } else { not_ready(s, a) }
            }),
            At::KeepPlace(_) => turn.push("reads the place", |s, a| {
                (a.place, a.at) = (s.places[chunk].0, At::KeepTouch(is_search));
            }),
            At::KeepTouch(_) => turn.push("hazard", |_, a| {
                (a.hazard, a.at) = (self.hazard(chunk, a.place), At::KeepReRead(is_search));
            }),
            At::KeepReRead(_) => turn.push("reads again", |s, a| {
                if word == Word::Ready(lap) { a.at = At::KeepStamp(is_search) } else { not_ready(s, a) }
            }),
            At::KeepStamp(true) => turn.push("reads the last stamp of its run", |s, a| {
                self.touch(s, a.place);
                let is_published = !is_free_for(s.stamps[self.index(a.place, pos)], pos);
                (a.place, a.hazard, a.at) = (NONE, NONE, At::KeepFirstLook(false));
                if is_published {
                    a.run = 1;
                    self.next_position(s, a);
                }
            }),
            At::KeepStamp(false) => turn.push("reads the stamp, the intents, the rows", |s, a| {
                self.touch(s, a.place);
                let stamp = s.stamps[self.index(a.place, pos)];
                let unfinished = match stamp.tag {
                    Tag::Free => is_put && is_free_for(stamp, pos) && pos < s.tail,
                    _ => !is_put && stamp.pos == pos && crate::models::unfinished(stamp, s.tail, s.head),
                };
                let its_side = |other: usize| (other < config.producers) == is_put;
                let alive = |other: usize| !s.actors[other].dead && s.actors[other].covers(pos) && its_side(other);
                if !unfinished {
                    self.next_position(s, a);
                } else if (0..config.actors()).any(alive) {
                    // Somebody alive may be at it: later, and of puts the rest, too.
                    a.len = 1;
                    if is_put && config.bug != Bug::GoesOnBehindTheLeft {
                        a.run = 1;
                    }
                    self.next_position(s, a);
                } else {
                    let is_husk = s.rows.iter().any(|(row, _)| row.keeps(pos)) && config.bug != Bug::HuskForgotten;
                    a.at = At::KeepExchange(stamp, is_husk);
                }
            }),
            At::KeepExchange(seen, is_husk) => turn.push("finishes the position", |s, a| {
                self.touch(s, a.place);
                let stamp = &mut s.stamps[self.index(a.place, pos)];
                if *stamp == seen {
                    *stamp = match seen.tag {
                        Tag::Free => Stamp::new(pos, Tag::Tomb),
                        Tag::Full if !is_husk => seen.tagged(Tag::Back),
                        _ => seen.released(self.commit()),
                    };
                }
                self.next_position(s, a);
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
            At::KeepRow(row) => turn.push("keeps a row", |s, a| {
                let row = &mut s.rows[usize::from(row)];
                match row.0 {
                    Row::Held(_, pos) => row.0 = Row::Back(pos),
                    _ => *row = (Row::Free, 0),
                }
                match config.bug {
                    Bug::RowsFirst => self.next_claim(s, a),
                    _ => self.next_row(s, a),
                }
            }),
            At::KeepVacates => turn.push("vacates", |s, a| {
                (s.actors[dead].vacant, s.actors[dead].intent, s.actors[dead].len) = (true, NONE, 0);
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
