//! Consumers: gets, leases and redeliveries (G2, L1 to L4); and whoever drains (G6) and punches (G7).

use super::*;

impl Chunks {
    pub(super) fn get(&self, mut turn: Turn<'_>) {
        let bug = self.0.bug;
        let pos = turn.actor.pos;
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        let word = turn.state.words[chunk];
        let (who, leases) = (turn.who, self.0.leases(turn.who));
        match turn.actor.at {
            At::Idle => {
                self.withdraw(&mut turn);
                if self.rows(&mut turn) {
                    return;
                }
                let chunk = self.chunk(turn.state.head);
                let is_ready = turn.state.words[chunk] == Word::Ready(self.lap(turn.state.head));
                if is_ready || bug == Bug::PlaceBeforeReady {
                    turn.push("reads head, a chunk word", |s, a| (a.pos, a.at) = (s.head, At::GetPlace(false)));
                }
                for slot in 0..usize::from(self.capacity()) {
                    if turn.state.stamps[slot].tag == Tag::Back {
                        turn.push("sees BACK", |s, a| (a.pos, a.at) = (s.stamps[slot].pos, At::GetPlace(true)));
                    }
                }
            }
            At::GetPlace(again) => turn.push("reads the place", |s, a| {
                (a.place, a.at) = (s.places[chunk].0, At::GetHazard(again));
            }),
            At::GetHazard(again) => turn.push("hazard", |_, a| {
                (a.hazard, a.at) = (self.hazard(chunk, a.place), At::GetReRead(again));
                if again {
                    (a.intent, a.len) = (pos, 1);
                }
            }),
            At::GetReRead(again) => turn.push("reads again", |_, a| {
                let goes_on = word == Word::Ready(lap) || bug == Bug::NoReRead;
                match again {
                    _ if !goes_on => a.idle(),
                    true => a.at = At::BackTake,
                    false => a.at = At::GetStamp,
                }
            }),
            At::GetStamp => turn.push("reads the stamp", |s, a| {
                self.touch(s, a.place);
                let stamp = s.stamps[self.index(a.place, pos)];
                let is_there = stamp.pos == pos && matches!(stamp.tag, Tag::Full | Tag::Tomb);
                let goes_on = self.goes_on(pos) || bug == Bug::HazardOfTheFirst;
                let is_run = self.0.batch > 1 && stamp.tag == Tag::Full && goes_on && !leases;
                match is_there {
                    true => (a.run, a.at) = (1, if is_run { At::GetRun } else { At::GetIntent }),
                    false => a.idle(),
                }
            }),
            At::GetRun if self.goes_on(pos) => turn.push("reads the stamp behind", |s, a| {
                self.touch(s, a.place);
                self.lengthen(s, a, a.place);
            }),
            At::GetRun => turn.push("reads the next chunk's word and place", |s, a| {
                let (chunk, lap) = (self.chunk(pos + 1), self.lap(pos + 1));
                let is_ready = s.words[chunk] == Word::Ready(lap);
                a.at = if is_ready { At::GetOver(s.places[chunk].0) } else { At::GetIntent };
            }),
            At::GetOver(place) => turn.push("reads a stamp over the border", |s, a| {
                self.touch(s, place);
                self.lengthen(s, a, place);
            }),
            At::GetIntent => turn.push("intent", |_, a| self.announce(a, At::GetStart, At::GetClaim)),
            At::GetStart => turn.push("where it begins", |_, a| self.announce(a, At::GetStart, At::GetClaim)),
            At::GetClaim => turn.push("claims", |s, a| {
                if s.head == pos {
                    s.head = pos + a.run;
                    a.claim(self.after_claim(leases), &self.0);
                } else {
                    a.done();
                }
            }),
            At::BackTake => turn.push("takes it again", |s, a| {
                self.touch(s, a.place);
                let stamp = &mut s.stamps[self.index(a.place, pos)];
                if (stamp.pos, stamp.tag) == (pos, Tag::Back) {
                    (stamp.tag, stamp.attempt) = (Tag::Full, stamp.attempt + 1);
                    a.run = 1;
                    a.claim(self.after_claim(leases), &self.0);
                } else {
                    a.idle();
                }
            }),
            At::Hold => turn.push("HELD", |s, a| {
                let Some(row) = self.has_row(s, who) else { return a.idle() };
                if bug == Bug::HeldAfterCommit {
                    s.rows[row].0 = Row::Held(who as u8, pos);
                    return a.idle();
                }
                self.touch(s, a.place);
                let slot = self.index(a.place, pos);
                if s.stamps[slot].tag == Tag::Full {
                    self.hand_out(s, s.messages[slot], false);
                    s.rows[row] = (Row::Held(who as u8, pos), s.messages[slot]);
                }
                a.at = At::Release;
            }),
            At::RowTake(row, its) => turn.push("stores HELD", |s, a| {
                s.rows[usize::from(row)].0 = Row::Held(who as u8, its);
                a.idle();
            }),
            At::Release => turn.push("releases", |s, a| {
                self.touch(s, a.place);
                let slot = self.index(a.place, pos);
                let stamp = s.stamps[slot];
                if stamp.pos != pos || !matches!(stamp.tag, Tag::Full | Tag::Tomb) {
                    s.fault = Some(NOT_THERE);
                }
                if stamp.tag == Tag::Full && !leases {
                    self.hand_out(s, s.messages[slot], true);
                }
                s.stamps[slot] = stamp.released(self.commit());
                if a.run > 1 {
                    self.advance(s, a);
                } else if leases && bug == Bug::HeldAfterCommit && stamp.tag == Tag::Full {
                    if let Some(row) = self.has_row(s, who) {
                        s.rows[row].1 = s.messages[slot];
                    }
                    a.at = At::Hold;
                } else {
                    (a.run, a.hazard, a.at) = (0, NONE, At::DrainHazard(Word::Ready(lap)));
                }
            }),
            _ => {}
        }
    }

    /// A run of gets is one longer if there is a message behind.
    fn lengthen(&self, state: &State, actor: &mut Actor, place: u8) {
        let behind = actor.pos + 1;
        let is_there = state.stamps[self.index(place, behind)] == Stamp::new(behind, Tag::Full);
        actor.run += u8::from(is_there || self.0.bug == Bug::RunUnasked);
        actor.at = At::GetIntent;
    }

    fn after_claim(&self, leases: bool) -> At {
        if leases && self.0.bug != Bug::HeldAfterCommit { At::Hold } else { At::Release }
    }

    /// What an idle consumer does with rows. True: it looks at no slot now.
    fn rows(&self, turn: &mut Turn<'_>) -> bool {
        let (who, me, leases) = (turn.who, turn.who as u8, self.0.leases(turn.who));
        let by_store = self.0.bug == Bug::TakenByStore;
        let mine = self.has_row(turn.state, who);
        if let Some((row, (word, message))) = mine.map(|row| (row, turn.state.rows[row])) {
            let Row::Held(_, pos) = word else {
                turn.push("needs no row", |s, _| s.rows[row].0 = Row::Free);
                return false;
            };
            turn.push("acknowledges", |s, _| {
                self.hand_out(s, message, true);
                s.rows[row] = (Row::Free, if by_store { message } else { 0 });
            });
            if leases {
                turn.push("gives back", |s, _| s.rows[row].0 = Row::Back(pos));
            }
            return true;
        }
        for row in 0..self.0.rows {
            match turn.state.rows[row].0 {
                Row::Back(pos) if by_store => turn.push("sees a row BACK", |_, a| a.at = At::RowTake(row as u8, pos)),
                Row::Back(pos) => turn.push("takes a row", |s, _| {
                    self.hand_out(s, s.rows[row].1, false);
                    s.rows[row].0 = Row::Held(me, pos);
                }),
                Row::Free if leases => turn.push("reserves a row", |s, _| s.rows[row].0 = Row::Writing(me)),
                _ => {}
            }
        }
        leases
    }

    pub(super) fn drain(&self, mut turn: Turn<'_>) {
        let config = &self.0;
        let producer = turn.who < config.producers;
        let chunk = self.chunk(turn.actor.pos);
        let word = turn.state.words[chunk];
        match turn.actor.at {
            At::DrainPlace(seen) => turn.push("reads the place", |s, a| {
                (a.place, a.at) = (s.places[chunk].0, At::DrainHazard(seen));
            }),
            At::DrainHazard(seen) => {
                turn.push("hazard", |_, a| (a.hazard, a.at) = (self.hazard(chunk, a.place), At::DrainReRead(seen)));
                if !producer {
                    turn.push("leaves it to others", |_, a| a.idle());
                }
            }
            At::DrainReRead(seen) => turn.push("reads again", |_, a| {
                let from = if config.bug == Bug::DrainedByTheLast { config.slots - 1 } else { 0 };
                match word {
                    _ if word == seen => a.at = At::DrainScan(seen, from),
                    Word::Drained(_) if !producer => {
                        (a.hazard, a.place, a.at) = (NONE, NONE, At::StartPunch(word));
                    }
                    _ => a.idle(),
                }
            }),
            At::DrainScan(seen, slot) => turn.push("looks whether it is committed", |s, a| {
                self.touch(s, a.place);
                let Word::Ready(its) = seen else { return a.idle() };
                let its_own = self.first(chunk, its) + slot;
                let stamp = s.stamps[self.index(a.place, its_own)];
                let is_committed = match config.bug {
                    Bug::DrainedIfFree => is_free_for(stamp, its_own + self.capacity()),
                    Bug::DeadCountAsCommitted
                        if s.actors.iter().any(|its| its.dead && !its.vacant && its.covers(its_own)) =>
                    {
                        true
                    }
                    _ => stamp == Stamp::new(its_own + self.commit(), Tag::Free),
                };
                if !is_committed {
                    a.idle();
                } else if slot + 1 < config.slots {
                    a.at = At::DrainScan(seen, slot + 1);
                } else {
                    (a.hazard, a.place, a.at) = (NONE, NONE, At::Drain(seen));
                }
            }),
            At::Drain(seen) => turn.push("DRAINED", |s, a| {
                let Word::Ready(its) = seen else { return a.idle() };
                if s.words[chunk] == seen {
                    s.words[chunk] = Word::Drained(its);
                }
                if producer { a.at = At::Gate } else { a.at = At::StartPunch(Word::Drained(its)) }
            }),
            _ => {}
        }
    }

    pub(super) fn punch(&self, mut turn: Turn<'_>) {
        let (pos, me) = (turn.actor.pos, turn.who as u8);
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        match turn.actor.at {
            At::StartPunch(seen) => {
                turn.push("PUNCHING", |s, a| {
                    let Word::Drained(its) = seen else { return a.idle() };
                    if s.words[chunk] == seen {
                        (s.words[chunk], a.at) = (Word::Punching(its, me), At::Hazards(self.next_look(0, me)));
                        // From here on it is about the chunk, in that lap.
                        a.pos = self.first(chunk, its);
                    } else {
                        a.idle();
                    }
                });
                turn.push("leaves a spare", |_, a| a.idle());
            }
            At::Hazards(other) => turn.push("reads a hazard", |s, a| {
                let (hazard, is_last) = self.hazard_of(s, other);
                a.at = match self.names(s, hazard, chunk) && self.0.bug != Bug::NoHazards {
                    true => At::UnPunch,
                    false if is_last => At::Punch,
                    false => At::Hazards(self.next_look(other + 1, me)),
                };
            }),
            At::UnPunch => turn.push("DRAINED again", |s, a| {
                s.words[chunk] = Word::Drained(lap);
                a.idle();
            }),
            At::Punch => turn.push("punches", |s, a| {
                self.take_pages(s, chunk);
                a.at = At::MakeHole;
            }),
            At::MakeHole => turn.push("HOLE", |s, a| {
                if s.words[chunk] != Word::Punching(lap, me) {
                    s.fault = Some(TWO_OWNERS);
                }
                s.words[chunk] = Word::Hole(lap + 1);
                a.idle();
            }),
            _ => {}
        }
    }
}
