//! Consumers: gets and redeliveries (G2); and whoever drains (G6) and punches (G7).

use super::*;

impl Chunks {
    pub(super) fn get(&self, mut turn: Turn<'_>) {
        let bug = self.0.bug;
        let pos = turn.actor.pos;
        let (chunk, lap) = (self.chunk(pos), self.lap(pos));
        let word = turn.state.words[chunk];
        match turn.actor.at {
            At::Idle => {
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
                    a.intent = pos;
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
                if is_there { a.at = At::GetIntent } else { a.idle() }
            }),
            At::GetIntent => turn.push("intent", |_, a| (a.intent, a.at) = (pos, At::GetClaim)),
            At::GetClaim => turn.push("claims", |s, a| {
                if s.head == pos {
                    s.head = pos + 1;
                    a.claim(At::Release, &self.0);
                } else {
                    a.idle();
                }
            }),
            At::BackTake => turn.push("takes it again", |s, a| {
                self.touch(s, a.place);
                let stamp = &mut s.stamps[self.index(a.place, pos)];
                if (stamp.pos, stamp.tag) == (pos, Tag::Back) {
                    (stamp.tag, stamp.attempt) = (Tag::Full, stamp.attempt + 1);
                    a.claim(At::Release, &self.0);
                } else {
                    a.idle();
                }
            }),
            At::Release => turn.push("releases", |s, a| {
                self.touch(s, a.place);
                let slot = self.index(a.place, pos);
                let stamp = s.stamps[slot];
                if stamp.pos != pos || !matches!(stamp.tag, Tag::Full | Tag::Tomb) {
                    s.fault = Some(NOT_THERE);
                }
                if stamp.tag == Tag::Full {
                    if s.got & (1 << s.messages[slot]) != 0 {
                        s.fault = Some(TWICE);
                    }
                    s.got |= 1 << s.messages[slot];
                }
                s.stamps[slot] = stamp.released(self.commit());
                (a.intent, a.hazard, a.at) = (NONE, NONE, At::DrainHazard(Word::Ready(lap)));
            }),
            _ => {}
        }
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
