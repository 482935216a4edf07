//! What producers and consumers do, one access to shared memory a step.

use super::super::engine::Kind;
use super::super::{NONE, Stamp, Tag};
use super::{Bug, Cell, Cells, Fault, Mode, Out, Payload, Pc, Size, State};

impl Cells {
    /// One step of producer `who` (rule C1).
    pub(super) fn producer(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        let mut t = *s;
        let put = self.0.script.len() as u8 - s.left[me];
        let message = who * self.0.script.len() as u8 + put;
        let what = match s.pc[me] {
            Pc::Idle if s.left[me] == 0 => return,
            Pc::Idle if self.0.script[usize::from(put)] == Size::Large && s.hand[me] == NONE => {
                for cell in self.cells().skip(self.rows().len()) {
                    if s.cells[cell] == Cell::Free {
                        let mut t = *s;
                        t.cells[cell] = Cell::Writing(who);
                        t.bytes[cell] = message;
                        t.hand[me] = cell as u8;
                        self.step(out, who, "block FREE -> W, bytes", t);
                    }
                }
                return;
            }
            Pc::Idle => {
                let stamp = s.stamps[self.slot(s.tail)];
                if stamp == Stamp::new(s.tail, Tag::Free) {
                    t.pc[me] = Pc::Intend(stamp);
                    "sees a free slot at tail"
                } else if s.intents[me] != NONE {
                    t.intents[me] = NONE;
                    "full: clears its intent"
                } else {
                    return;
                }
            }
            Pc::Intend(stamp) => {
                t.intents[me] = stamp.pos;
                t.pc[me] = Pc::Claim(stamp);
                "stores its put intent"
            }
            Pc::Claim(stamp) if s.tail != stamp.pos => {
                t.pc[me] = Pc::Idle;
                "fails to claim tail"
            }
            Pc::Claim(stamp) => {
                t.tail += 1;
                let attach = s.hand[me] != NONE && !self.bug(Bug::BlockStaysWriting);
                t.pc[me] = if attach { Pc::Attach(stamp.pos) } else { Pc::Publish(stamp.pos) };
                "claims tail"
            }
            Pc::Attach(pos) => {
                let cell = usize::from(s.hand[me]);
                if s.cells[cell] != Cell::Writing(who) {
                    t.fail(Fault::CellNotOurs);
                }
                t.cells[cell] = Cell::At(pos);
                t.pc[me] = Pc::Publish(pos);
                "block W -> AT"
            }
            Pc::Publish(pos) => {
                let slot = self.slot(pos);
                if s.stamps[slot] != Stamp::new(pos, Tag::Free) {
                    t.fail(Fault::SlotNotFree);
                }
                t.stamps[slot] = Stamp::new(pos, Tag::Full);
                t.payloads[slot] = match s.hand[me] {
                    NONE => Payload::Message(message),
                    block => Payload::Block(block),
                };
                t.published |= 1 << message;
                t.left[me] -= 1;
                t.hand[me] = NONE;
                t.pc[me] = Pc::Idle;
                "payload, FULL"
            }
            other => unreachable!("a producer at {other:?}"),
        };
        self.step(out, who, what, t);
    }

    /// One step of consumer `who` (rules C2 to C5, R2).
    pub(super) fn consumer(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        let mut t = *s;
        let what = match s.pc[me] {
            Pc::Idle => {
                self.between_calls(s, who, out);
                return self.seek(s, who, out);
            }
            Pc::Retired => return,
            Pc::Seek => return self.seek(s, who, out),
            Pc::Intend(stamp) => {
                t.intents[me] = stamp.pos;
                t.failed[me] = false;
                t.pc[me] = Pc::Claim(stamp);
                "stores its get intent"
            }
            Pc::Claim(stamp) => {
                let slot = self.slot(stamp.pos);
                let back = stamp.tag == Tag::Back;
                let won = if back { s.stamps[slot] == stamp } else { s.head == stamp.pos };
                if won {
                    let mut ours = stamp;
                    if back {
                        ours.tag = Tag::Full;
                        ours.attempt += u8::from(!self.bug(Bug::NoAttemptBits));
                        t.stamps[slot] = ours;
                    } else {
                        t.head += 1;
                    }
                    if let Some(message) = self.message_in(s, slot) {
                        t.hand_out(message, who);
                    }
                    t.pc[me] = Pc::Own(ours);
                    "claims a position"
                } else {
                    t.failed[me] = true;
                    t.pc[me] = Pc::Seek;
                    "fails to claim a position"
                }
            }
            Pc::Own(stamp) => {
                self.own(s, &mut t, who, stamp);
                "reads its slot"
            }
            Pc::Hold { stamp, cell } => {
                let at = usize::from(cell);
                let row = cell == s.hand[me];
                let ours = if row {
                    s.cells[at] == Cell::Writing(who)
                } else {
                    s.cells[at] == Cell::At(stamp.pos) || self.bug(Bug::BlockStaysWriting)
                };
                if !ours || s.bytes[at] == NONE {
                    t.fail(Fault::CellNotOurs);
                } else {
                    let no_return = s.hand[me] == NONE;
                    t.hold(at, who, stamp.pos, stamp.attempt, no_return);
                }
                t.pc[me] = if self.bug(Bug::SlotBeforeHeld) {
                    self.after_hold(&mut t, who, cell)
                } else if self.bug(Bug::CellFreedBeforeSlot) && !row {
                    t.free_cell(at);
                    Pc::Release { stamp, cell: NONE }
                } else {
                    Pc::Release { stamp, cell }
                };
                "cell -> HELD"
            }
            Pc::Release { stamp, cell } => {
                let slot = self.slot(stamp.pos);
                if s.stamps[slot] != stamp {
                    t.fail(Fault::SlotNotOurs);
                }
                self.release(&mut t, stamp);
                t.pc[me] = if stamp.tag == Tag::Tomb {
                    Pc::Seek
                } else if cell == NONE {
                    if let Payload::Message(message) = s.payloads[slot] {
                        t.consume(message);
                    }
                    Pc::Idle
                } else if self.bug(Bug::SlotBeforeHeld) {
                    Pc::Hold { stamp, cell }
                } else {
                    self.after_hold(&mut t, who, cell)
                };
                "releases its slot"
            }
            Pc::Take { cell, seen, no_return } => {
                let at = usize::from(cell);
                let Cell::Back { pos, count } = seen else { unreachable!("only BACK cells are taken") };
                if s.cells[at] == seen || self.bug(Bug::TakeByStore) {
                    if s.bytes[at] == NONE {
                        t.fail(Fault::CellNotOurs);
                    } else {
                        t.hand_out(s.bytes[at], who);
                        t.hold(at, who, pos, count + 1, no_return);
                    }
                    t.pc[me] = if no_return { Pc::FreeCell(cell) } else { self.return_from_cell(s, who) };
                    "cell BACK -> HELD"
                } else {
                    t.pc[me] = Pc::Seek;
                    "finds the BACK cell taken"
                }
            }
            Pc::FreeCell(cell) => {
                let at = usize::from(cell);
                if !matches!(s.cells[at], Cell::Held { owner, .. } if owner == who) {
                    t.fail(Fault::CellNotOurs);
                }
                t.free_cell(at);
                t.pc[me] = self.return_from_cell(s, who);
                "copied out, cell -> FREE"
            }
            Pc::Settle { clear } if s.hand[me] != NONE => {
                let at = usize::from(s.hand[me]);
                if s.cells[at] != Cell::Writing(who) {
                    t.fail(Fault::CellNotOurs);
                }
                t.free_cell(at);
                t.hand[me] = NONE;
                t.pc[me] = if clear { s.pc[me] } else { Pc::Idle };
                "gives its row back"
            }
            Pc::Settle { .. } => {
                t.intents[me] = NONE;
                t.failed[me] = false;
                t.pc[me] = Pc::Idle;
                "clears its intent"
            }
            other => unreachable!("a consumer at {other:?}"),
        };
        self.step(out, who, what, t);
    }

    /// Acknowledges, gives back, retires.
    fn between_calls(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        let mut holds = false;
        for cell in self.cells() {
            let Cell::Held { owner, pos, count, .. } = s.cells[cell] else {
                continue;
            };
            if owner != who {
                continue;
            }
            holds = true;
            let mut t = *s;
            t.consume(s.bytes[cell]);
            t.free_cell(cell);
            self.step(out, who, "acknowledges, cell -> FREE", t);
            if s.give_backs > 0 {
                let mut t = *s;
                t.give_backs -= 1;
                t.holder[usize::from(s.bytes[cell])] = NONE;
                t.cells[cell] = Cell::Back { pos, count };
                self.step(out, who, "gives its lease back, cell -> BACK", t);
            }
        }
        if self.0.retire && !holds {
            let mut t = *s;
            t.pc[me] = Pc::Retired;
            self.push(out, who, "never calls again", Kind::Leave, t);
        }
    }

    /// Inside a call: BACK cells, a row for a lease, BACK slots, the head of the ring.
    fn seek(&self, s: &State, who: u8, out: &mut Out) {
        let me = usize::from(who);
        let before = out.len();
        let row = s.hand[me] != NONE;
        let (get, lease) = (self.0.mode != Mode::Lease, self.0.mode != Mode::Get);
        for cell in self.cells() {
            let seen = s.cells[cell];
            if !matches!(seen, Cell::Back { .. }) {
                continue;
            }
            for no_return in [false, true] {
                if if no_return { get && !row } else { lease } {
                    let mut t = *s;
                    t.pc[me] = Pc::Take { cell: cell as u8, seen, no_return };
                    self.step(out, who, "sees a BACK cell", t);
                }
            }
        }
        let mut ready = false;
        for slot in 0..usize::from(self.0.capacity) {
            let stamp = s.stamps[slot];
            let at_head = stamp.pos == s.head && matches!(stamp.tag, Tag::Full | Tag::Tomb);
            if stamp.tag != Tag::Back && !at_head {
                continue;
            }
            ready = true;
            if row || get {
                let mut t = *s;
                t.pc[me] = Pc::Intend(stamp);
                self.step(out, who, "sees a message or a tombstone", t);
            }
        }
        let mut free = self.rows().filter(|&row| s.cells[row] == Cell::Free);
        if ready
            && lease
            && !row
            && let Some(cell) = free.next()
        {
            let mut t = *s;
            t.cells[cell] = Cell::Writing(who);
            t.hand[me] = cell as u8;
            t.pc[me] = Pc::Seek;
            self.step(out, who, "row FREE -> W", t);
        }
        let standing = row || s.intents[me] != NONE;
        if out.len() == before && (standing || s.pc[me] == Pc::Seek) {
            let mut t = *s;
            t.pc[me] = if standing { Pc::Settle { clear: true } } else { Pc::Idle };
            self.step(out, who, "finds nothing", t);
        }
    }

    fn own(&self, s: &State, t: &mut State, who: u8, stamp: Stamp) {
        let me = usize::from(who);
        let slot = self.slot(stamp.pos);
        if s.stamps[slot] != stamp {
            t.fail(Fault::SlotNotOurs);
            return;
        }
        if stamp.tag == Tag::Full && self.message_in(s, slot).is_none() {
            t.fail(Fault::Phantom);
        }
        let cell = match s.payloads[slot] {
            Payload::Nothing => NONE,
            Payload::Message(message) => {
                if s.hand[me] != NONE {
                    t.bytes[usize::from(s.hand[me])] = message;
                }
                s.hand[me]
            }
            Payload::Block(block) => block,
        };
        let hold_first = stamp.tag == Tag::Full && cell != NONE && !self.bug(Bug::SlotBeforeHeld);
        t.pc[me] = if hold_first { Pc::Hold { stamp, cell } } else { Pc::Release { stamp, cell } };
    }

    /// The cell says HELD and the slot is released.
    fn after_hold(&self, t: &mut State, who: u8, cell: u8) -> Pc {
        let hand = &mut t.hand[usize::from(who)];
        if *hand == NONE {
            return Pc::FreeCell(cell);
        }
        if *hand == cell {
            *hand = NONE;
            return Pc::Idle;
        }
        Pc::Settle { clear: false }
    }

    /// A call ends with work from a cell: C5.
    fn return_from_cell(&self, s: &State, who: u8) -> Pc {
        let me = usize::from(who);
        let clear = s.failed[me] && !self.bug(Bug::IntentLeftStanding);
        if clear || s.hand[me] != NONE { Pc::Settle { clear } } else { Pc::Idle }
    }
}
