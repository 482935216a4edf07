//! Producers: puts (G2 to G4), backing (G5), and the exchange of places (G11).

use super::*;

impl Chunks {
    pub(super) fn put(&self, mut turn: Turn<'_>) {
        let bug = self.0.bug;
        let pos = turn.actor.pos;
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        let word = turn.state.words[chunk];
        match turn.actor.at {
            At::Idle if turn.actor.left > 0 => {
                self.withdraw(&mut turn);
                turn.push("reads tail, a chunk word", |s, a| {
                    a.pos = s.tail;
                    self.gate(s, a);
                });
            }
            At::Gate => turn.push("reads the chunk word", |s, a| self.gate(s, a)),
            At::Open(seen) => turn.push("opens", |s, a| {
                if s.words[chunk] == seen {
                    s.words[chunk] = Word::Ready(lap);
                }
                a.at = At::Gate;
            }),
            At::PutPlace => turn.push("reads the place", |s, a| (a.place, a.at) = (s.places[chunk].0, At::PutHazard)),
            At::PutHazard => turn.push("hazard", |_, a| {
                (a.hazard, a.at) = (self.hazard(chunk, a.place), At::PutReRead);
            }),
            At::PutReRead => turn.push("reads again", |_, a| {
                if word == Word::Ready(lap) || bug == Bug::NoReRead { a.at = At::PutStamp } else { a.idle() }
            }),
            At::PutStamp => {
                turn.push("reads the stamp", |s, a| self.free_from(s, a, At::PutIntent));
                if self.0.batch.min(turn.actor.left) > 1 && self.goes_on(pos) {
                    turn.push("reads the first stamp", |s, a| self.free_from(s, a, At::PutRun));
                }
            }
            At::PutRun => turn.push("reads the stamp behind", |s, a| {
                self.touch(s, a.place);
                a.run += u8::from(is_free_for(s.stamps[self.index(a.place, pos + 1)], pos + 1));
                a.at = At::PutIntent;
            }),
            At::PutIntent => turn.push("intent", |_, a| self.announce(a, At::PutStart, At::PutClaim)),
            At::PutStart => turn.push("where it begins", |_, a| self.announce(a, At::PutStart, At::PutClaim)),
            At::PutClaim => turn.push("claims", |s, a| {
                if s.tail == pos {
                    s.tail = pos + a.run;
                    a.claim(At::Publish, &self.0);
                    if bug == Bug::IntentMovesOn {
                        a.intent = s.tail;
                    }
                } else {
                    a.done();
                }
            }),
            At::Publish => turn.push("publishes", |s, a| {
                self.touch(s, a.place);
                let is_from_behind = bug == Bug::PublishedFromBehind;
                let pos = if is_from_behind { pos + a.run - 1 } else { pos };
                let slot = self.index(a.place, pos);
                if !is_free_for(s.stamps[slot], pos) {
                    s.fault = Some(NOT_FREE);
                }
                (s.stamps[slot], s.messages[slot]) = (Stamp::new(pos, Tag::Full), s.next_message);
                s.published |= 1 << s.next_message;
                s.next_message += 1;
                a.left -= 1;
                match a.run {
                    1 => a.done(),
                    _ if is_from_behind => a.run -= 1,
                    _ => self.advance(s, a),
                }
            }),
            _ => {}
        }
    }

    /// One position that is free, and what follows.
    fn free_from(&self, state: &mut State, actor: &mut Actor, then: At) {
        self.touch(state, actor.place);
        let is_free = is_free_for(state.stamps[self.index(actor.place, actor.pos)], actor.pos);
        if is_free { (actor.run, actor.at) = (1, then) } else { actor.idle() }
    }

    /// Before it sleeps, or says that nothing is there: no intent of an earlier claim, lost or done, stands. (Rule 3)
    pub(super) fn withdraw(&self, turn: &mut Turn<'_>) {
        if turn.actor.len > 0 && self.0.bug != Bug::NeverWithdrawn {
            turn.push("withdraws its intent", |_, a| a.len = 0);
        }
    }

    fn gate(&self, state: &State, actor: &mut Actor) {
        let bug = self.0.bug;
        let (chunk, lap) = (self.chunk(actor.pos), self.lap(actor.pos));
        let word = state.words[chunk];
        match word {
            Word::Ready(its) if its == lap => actor.at = At::PutPlace,
            Word::Ready(its) if its + 1 == lap && bug == Bug::ClaimWithoutReady => {
                (actor.place, actor.at) = (state.places[chunk].0, At::PutStamp);
            }
            Word::Ready(its) if its + 1 == lap => actor.at = At::DrainPlace(word),
            Word::Drained(its) if its + 1 == lap => actor.at = At::Open(word),
            Word::Hole(its) if its == lap || bug == Bug::HoleWithoutLap => actor.at = At::StartBacking,
            _ if bug == Bug::PlaceBeforeReady => actor.at = At::PutPlace,
            _ => actor.idle(),
        }
    }

    pub(super) fn back(&self, mut turn: Turn<'_>) {
        let config = &self.0;
        let (pos, me) = (turn.actor.pos, turn.who as u8);
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        match turn.actor.at {
            At::StartBacking => turn.push("BACKING", |s, a| match s.words[chunk] {
                Word::Hole(its) if its == lap || config.bug == Bug::HoleWithoutLap => {
                    s.words[chunk] = Word::Backing(lap, me);
                    (a.place, a.at) = (s.places[chunk].0, At::Allocate);
                }
                _ => a.idle(),
            }),
            At::Allocate => {
                self.take_a_spare(&mut turn, chunk);
                if config.space_may_lack {
                    let look = if config.bug == Bug::GivenBackUnseen {
                        At::GiveBack(true)
                    } else {
                        At::GiveBackLook(self.next_look(0, me))
                    };
                    turn.push("no space", |_, a| a.at = look);
                }
                turn.push("allocates", |s, a| {
                    s.pages |= 1 << a.place;
                    a.at = At::LayOut(0);
                    if config.bug == Bug::ReadyBeforeStamps {
                        s.words[chunk] = Word::Ready(lap);
                    }
                });
            }
            At::LayOut(slot) => turn.push("lays a stamp out", |s, a| {
                let pos = self.first(chunk, lap) + slot;
                s.stamps[self.index(a.place, pos)] = Stamp::new(pos, Tag::Free);
                a.at = if slot + 1 == config.slots { At::MakeReady } else { At::LayOut(slot + 1) };
            }),
            At::MakeReady => turn.push("READY", |s, a| {
                if config.bug != Bug::ReadyBeforeStamps {
                    self.make_ready(s, pos, me);
                }
                a.idle();
            }),
            At::GiveBackLook(other) => turn.push("reads a hazard", |s, a| {
                let (hazard, is_last) = self.hazard_of(s, other);
                a.at = match self.names(s, hazard, chunk) {
                    true => At::GiveBack(false),
                    false if is_last => At::GiveBack(true),
                    false => At::GiveBackLook(self.next_look(other + 1, me)),
                };
            }),
            At::GiveBack(punches) => turn.push("HOLE again", |s, a| {
                if punches {
                    self.take_pages(s, chunk);
                }
                s.words[chunk] = Word::Hole(lap);
                a.idle();
            }),
            _ => {}
        }
    }

    fn make_ready(&self, state: &mut State, pos: u8, me: u8) {
        let (word, lap) = (&mut state.words[self.chunk(pos)], self.lap(pos));
        if *word != Word::Backing(lap, me) {
            state.fault = Some(TWO_OWNERS);
        }
        *word = Word::Ready(lap);
    }

    /// The exchange that makes another chunk a spare of this producer's: any that is drained.
    fn take_a_spare(&self, turn: &mut Turn<'_>, own: usize) {
        let (config, me) = (&self.0, turn.who as u8);
        for spare in (0..usize::from(config.chunks)).filter(|spare| *spare != own) {
            let lap = match turn.state.words[spare] {
                Word::Drained(lap) => lap,
                Word::Ready(lap)
                    if config.bug == Bug::SpareNotDrained
                        && self.first(spare, lap) + config.slots <= turn.state.head =>
                {
                    lap
                }
                _ => continue,
            };
            let at = if config.bug == Bug::NoPartner { At::TakePlace(spare as u8) } else { At::Pair(spare as u8) };
            turn.push("takes a spare", |s, a| (s.words[spare], a.at) = (Word::Punching(lap, me), at));
        }
    }

    /// The places of the chunk that is backed and of the chunk `spare` are exchanged.
    pub(super) fn exchange(&self, mut turn: Turn<'_>, spare: usize) {
        let (pos, me, which) = (turn.actor.pos, turn.who as u8, spare as u8);
        let has_partner = self.0.bug != Bug::NoPartner;
        match turn.actor.at {
            At::Pair(_) => turn.push("writes the pair", |s, a| {
                (s.places[spare].1, a.at) = (a.place, At::TakePlace(which));
            }),
            At::TakePlace(_) => turn.push("takes the place", |s, a| {
                s.places[self.chunk(pos)] = (s.places[spare].0, NONE);
                a.at = if has_partner { At::GivePlace(which) } else { At::ExchangedReady(which) };
            }),
            At::GivePlace(_) => turn.push("gives its own", |s, a| {
                s.places[spare] = (a.place, NONE);
                a.at = if has_partner { At::ExchangedReady(which) } else { At::ExchangedHole(which) };
            }),
            At::ExchangedReady(_) => turn.push("READY, exchanged", |s, a| {
                self.make_ready(s, pos, me);
                a.at = if has_partner { At::ExchangedHole(which) } else { At::GivePlace(which) };
            }),
            At::ExchangedHole(_) => turn.push("HOLE, exchanged", |s, a| {
                match s.words[spare] {
                    Word::Punching(lap, its) if its == me => s.words[spare] = Word::Hole(lap + 1),
                    _ => s.fault = Some(TWO_OWNERS),
                }
                a.idle();
            }),
            _ => {}
        }
    }
}
