//! Putting, getting and clearing intents (I1, B1, S3), one access to shared memory a step.

use super::super::engine::{Kind, Next};
use super::super::{NONE, Stamp, Tag};
use super::{Bug, Fault, Job, Look, Out, Pc, Slices, State, step};

/// The beginning of a slice.
const SLICE: Pc = Pc::Slice { look: Look::Way, job: Job::Choose };

impl Slices {
    /// What a participant waits with: clears its intent, then looks (I1, S1).
    fn wait(&self, s: &State, who: u8) -> Pc {
        if s.intents[usize::from(who)].len > 0 && !self.bug(Bug::IntentNotCleared) {
            Pc::Clear { stop: false }
        } else {
            SLICE
        }
    }

    /// One step of participant `who`.
    pub(super) fn act(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        if s.pc[me] == Pc::Call && self.0.stop {
            let mut t = *s;
            t.pc[me] =
                if s.failed[me] && !self.bug(Bug::IntentLeftStanding) { Pc::Clear { stop: true } } else { Pc::Stopped };
            out.push(Next { state: t, kind: Kind::Leave, who, what: "stops calling" });
        }
        let mut t = *s;
        let what = match s.pc[me] {
            Pc::Call if self.producers().contains(&who) => {
                let most = s.left[me].min(self.0.batch[me]);
                let len = self.run(s, s.tail, &[Tag::Free], most);
                let stamp = Stamp::new(s.tail, Tag::Free);
                if most == 0 {
                    return;
                }
                t.pc[me] = if len > 0 { Pc::Start { stamp, len } } else { self.wait(s, who) };
                "looks at tail"
            }
            Pc::Call if s.told[me] => {
                if let Some(stamp) = self.backs(s).next() {
                    t.pc[me] = Pc::Start { stamp, len: 1 };
                } else {
                    self.hush(&mut t, who);
                }
                "looks for BACK, being told"
            }
            Pc::Call => {
                let len = self.run(s, s.head, &[Tag::Full, Tag::Tomb], self.0.batch[me]);
                let stamp = Stamp::new(s.head, Tag::Full);
                t.pc[me] = if len > 0 { Pc::Start { stamp, len } } else { self.wait(s, who) };
                "looks at head"
            }
            Pc::Start { stamp, len } if self.bug(Bug::NoIntent) => {
                t.pc[me] = Pc::Claim { stamp, len };
                "stores no intent"
            }
            Pc::Start { stamp, len } => {
                t.intents[me].start = stamp.pos;
                t.failed[me] = false;
                t.pc[me] = if s.intents[me].len == len { Pc::Claim { stamp, len } } else { Pc::Length { stamp, len } };
                "stores where its intent starts"
            }
            Pc::Length { stamp, len } => {
                t.intents[me].len = len;
                t.pc[me] = Pc::Claim { stamp, len };
                "stores the length of its intent"
            }
            Pc::Claim { stamp, len } => self.claim(s, &mut t, me, stamp, len),
            Pc::Publish { pos, left } => {
                let slot = self.slot(pos);
                if s.stamps[slot] != Stamp::new(pos, Tag::Free) {
                    t.fail(Fault::SlotNotFree);
                }
                let message = who * self.0.messages + (self.0.messages - s.left[me]);
                t.stamps[slot] = Stamp::new(pos, Tag::Full);
                t.payloads[slot] = message;
                t.published |= 1 << message;
                t.left[me] -= 1;
                t.pc[me] = match left {
                    1 => Pc::Call,
                    _ => Pc::Publish { pos: pos + 1, left: left - 1 },
                };
                "payload, FULL"
            }
            Pc::Copy { attempt, pos, left } => {
                let tomb = Stamp::new(pos, Tag::Tomb);
                if s.stamps[self.slot(pos)] == tomb && attempt == 0 {
                    self.release(&mut t, tomb);
                    t.pc[me] = next_of(pos, left);
                    "releases a tombstone"
                } else {
                    self.check_ours(s, &mut t, attempt, pos);
                    t.pc[me] = Pc::Commit { attempt, pos, left };
                    "copies out"
                }
            }
            Pc::Commit { attempt, pos, left } => {
                self.check_ours(s, &mut t, attempt, pos);
                let message = s.payloads[self.slot(pos)];
                if message == NONE || s.consumed & 1 << message != 0 {
                    t.fail(Fault::Duplicate);
                } else {
                    t.consumed |= 1 << message;
                }
                self.release(&mut t, Stamp::new(pos, Tag::Full));
                t.pc[me] = next_of(pos, left);
                "commits"
            }
            Pc::Clear { stop } => {
                t.intents[me].len = 0;
                t.failed[me] = false;
                t.pc[me] = if stop { Pc::Stopped } else { SLICE };
                "clears its intent"
            }
            Pc::Stopped => return,
            Pc::Slice { look, job: Job::Choose } => return self.choose(s, who, look, out),
            Pc::Slice { look, job } => return self.recover(s, who, look, job, out),
            Pc::Backs => {
                let named = |&stamp: &Stamp| !self.0.named_backs || self.is_named_by_the_dead(s, stamp);
                let back = self.backs(s).find(named).filter(|_| !self.bug(Bug::BackNotLooked));
                t.pc[me] = match back {
                    Some(stamp) if self.consumers().contains(&who) => Pc::Start { stamp, len: 1 },
                    Some(_) => {
                        self.tell(&mut t);
                        Pc::Call
                    }
                    None => Pc::Call,
                };
                "looks for BACK in its slice"
            }
        };
        step(out, who, what, t);
    }

    fn claim(&self, s: &State, t: &mut State, me: usize, stamp: Stamp, len: u8) -> &'static str {
        let pos = stamp.pos;
        let mut attempt = 0;
        let word = match stamp.tag {
            Tag::Free => &mut t.tail,
            Tag::Back => {
                let slot = self.slot(pos);
                if s.stamps[slot] != stamp {
                    t.failed[me] = self.0.stop;
                    t.pc[me] = Pc::Call;
                    return "fails to claim a BACK slot";
                }
                attempt = stamp.attempt + u8::from(!self.bug(Bug::NoAttemptBits));
                t.stamps[slot] = Stamp { attempt, ..stamp.tagged(Tag::Full) };
                t.pc[me] = Pc::Copy { attempt, pos, left: len };
                return "claims a BACK slot";
            }
            _ => &mut t.head,
        };
        if *word != pos {
            t.failed[me] = self.0.stop;
            t.pc[me] = Pc::Call;
            return "fails to claim";
        }
        *word += len;
        t.pc[me] = match stamp.tag {
            Tag::Free => Pc::Publish { pos, left: len },
            _ => Pc::Copy { attempt, pos, left: len },
        };
        "claims"
    }

    fn check_ours(&self, s: &State, t: &mut State, attempt: u8, pos: u8) {
        let ours = Stamp { attempt, ..Stamp::new(pos, Tag::Full) };
        if s.stamps[self.slot(pos)] != ours {
            t.fail(Fault::SlotNotOurs);
        }
    }
}

/// The rest of a consumer's batch.
fn next_of(pos: u8, left: u8) -> Pc {
    match left {
        1 => Pc::Call,
        _ => Pc::Copy { attempt: 0, pos: pos + 1, left: left - 1 },
    }
}
