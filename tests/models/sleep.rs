//! Sleeping and waking (`src/wait/PROTOCOL.md`), with store buffers.
//!
//! - **W0** A waker publishes a message: a plain store, which waits in its store buffer.
//! - **W1** Then, behind a light barrier (which only the compiler sees) or, in the symmetric form, a full fence, it reads
//!   `armed`. 0: done.
//! - **W2** `epoch` += 1. **W3** It wakes one who sleeps on the epoch.
//! - **W4** If nobody slept, it exchanges the `armed` that it has read for 0.
//! - **S1** A sleeper reads `epoch`. **S2** It stores a number into `armed` that was never there before.
//! - **S3** A heavy barrier: every waker passes a full fence (`membarrier`), or, in the symmetric form, the sleeper does.
//! - **S4** It looks once more. **S5** It sleeps if the epoch is still the one of S1.
//! - **P1** Who takes a message and finds more there does W1 to W4.
//!
//! # Left out
//!
//! Slices, deaths and closes: this is about wake-ups that nobody has to make up for. Messages are counted, not named: which
//! one somebody takes makes no difference here. Taking is an exchange, as the rings of several consumers have it. That P1
//! is needed does not show, as every message is published, and asked about, by itself; nor that messages are taken in
//! order, for which the rings have models of their own. Wakes of more than one, and broadcasts.
//!
//! # Merged
//!
//! Drawing a number and storing it into `armed` (only whether numbers are equal matters); W1 and the second read of `armed`
//! that stands before W2 (between the two another request may come: then W4 fails, or W2 tells its sleeper); `membarrier`
//! reaches all wakers at once.
//!
//! # Checked
//!
//! From every state all messages can be taken by ordinary steps: nobody sleeps for ever beside a message.

use super::engine::{Kind, Model, Next};

/// Seeded bugs and the rule each one breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bug {
    /// W1: the compiler reads `armed` before it publishes.
    AskFirst,
    /// W1: no fence in the symmetric form.
    NoFence,
    /// W2: the epoch is raised after the wake.
    EpochAfterWake,
    /// W4: also when somebody was woken.
    ClearAlways,
    /// W2: `armed` is read behind the epoch.
    AskedBehindEpoch,
    /// W4: a store, whatever `armed` says.
    ClearBlindly,
    /// S2: `armed` += 1: after W4 it begins anew.
    CountsAnew,
    /// S1: the epoch is read after the second look.
    EpochLate,
    /// S3: none.
    NoBarrier,
    /// S3: before S2.
    BarrierFirst,
    /// S4: none.
    NoSecondLook,
}

/// One configuration.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    pub wakers: u8,
    pub sleepers: u8,
    /// Messages of each waker.
    pub messages: u8,
    /// Who has taken a message comes no more.
    pub one_each: bool,
    /// Full fences on both sides instead of light and heavy barriers.
    pub symmetric: bool,
    pub bug: Option<Bug>,
}

impl Config {
    pub const SMALL: Config =
        Config { wakers: 1, sleepers: 1, messages: 2, one_each: false, symmetric: false, bug: None };
}

const MOST: usize = 2;

/// W1 to W4; what comes next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Wake {
    Fence,
    Ask,
    Epoch {
        seen: u8,
    },
    Call {
        seen: u8,
    },
    /// `armed` is read here only.
    AskAgain,
    /// `Call` and `Epoch` the other way round.
    EpochLast {
        seen: u8,
        woke: bool,
    },
    Clear {
        seen: u8,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Put {
    Publish,
    /// Has asked before it publishes.
    PublishLate {
        seen: u8,
    },
    Wake(Wake),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Get {
    Take,
    More,
    Wake(Wake),
    Epoch,
    Arm {
        epoch: u8,
    },
    Barrier {
        epoch: u8,
    },
    /// Before it arms.
    BarrierFirst {
        epoch: u8,
    },
    Look {
        epoch: u8,
    },
    /// Reads the epoch now.
    EpochLate,
    Sleep {
        epoch: u8,
    },
    Asleep,
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Of each waker: left to publish, in its store buffer, in memory.
    left: [u8; MOST],
    buffered: [u8; MOST],
    published: [u8; MOST],
    wakers: [Put; MOST],
    sleepers: [Get; MOST],
    taken: u8,
    epoch: u8,
    armed: u8,
    numbers: u8,
}

impl State {
    fn is_there(&self) -> bool {
        self.published.iter().sum::<u8>() > self.taken
    }
}

pub struct Sleep(pub Config);

type Out = Vec<Next<State>>;

impl Sleep {
    fn bug(&self, bug: Bug) -> bool {
        self.0.bug == Some(bug)
    }

    /// One step of W1 to W4 of `who`, who goes on with `then` at the end. `is_drained`: nothing of its own is in a buffer.
    fn wake(
        &self,
        s: &State,
        who: u8,
        step: Wake,
        is_drained: bool,
        set: impl Fn(&mut State, Option<Wake>),
        out: &mut Out,
    ) {
        let mut push = |mut t: State, next: Option<Wake>, what| {
            set(&mut t, next);
            out.push(Next { state: t, kind: Kind::Step, who, what });
        };
        match step {
            Wake::Fence if is_drained || self.bug(Bug::NoFence) => push(*s, Some(Wake::Ask), "makes a full fence"),
            Wake::Ask if s.armed == 0 => push(*s, None, "finds nobody armed"),
            Wake::Ask => push(*s, Some(self.armed(s.armed)), "finds somebody armed"),
            // Exchanges drain the buffer.
            Wake::Epoch { seen } if is_drained => {
                let mut t = *s;
                t.epoch += 1;
                let next = if self.bug(Bug::AskedBehindEpoch) { Wake::AskAgain } else { Wake::Call { seen } };
                push(t, Some(next), "raises the epoch");
            }
            Wake::AskAgain => push(*s, Some(Wake::Call { seen: s.armed }), "reads who is armed"),
            Wake::Call { seen } => {
                let after = |woke: bool| {
                    if self.bug(Bug::EpochAfterWake) {
                        Some(Wake::EpochLast { seen, woke })
                    } else {
                        self.after_call(seen, woke)
                    }
                };
                let asleep = (0..MOST).filter(|at| s.sleepers[*at] == Get::Asleep);
                for at in asleep.clone() {
                    let mut t = *s;
                    t.sleepers[at] = Get::Take;
                    push(t, after(true), "wakes one");
                }
                if asleep.count() == 0 {
                    push(*s, after(false), "wakes nobody");
                }
            }
            Wake::EpochLast { seen, woke } if is_drained => {
                let mut t = *s;
                t.epoch += 1;
                push(t, self.after_call(seen, woke), "raises the epoch");
            }
            Wake::Clear { seen } if is_drained => {
                let mut t = *s;
                if s.armed == seen || self.bug(Bug::ClearBlindly) {
                    t.armed = 0;
                }
                push(t, None, "takes the request back, if it stands");
            }
            Wake::Fence | Wake::Epoch { .. } | Wake::EpochLast { .. } | Wake::Clear { .. } => {}
        }
    }

    fn armed(&self, seen: u8) -> Wake {
        if self.bug(Bug::EpochAfterWake) { Wake::Call { seen } } else { Wake::Epoch { seen } }
    }

    /// W4 is for when nobody slept.
    fn after_call(&self, seen: u8, woke: bool) -> Option<Wake> {
        (!woke || self.bug(Bug::ClearAlways)).then_some(Wake::Clear { seen })
    }

    fn waker(&self, s: &State, at: usize, out: &mut Out) {
        let who = at as u8;
        let mut push = |t: State, what| out.push(Next { state: t, kind: Kind::Step, who, what });
        if s.buffered[at] > 0 {
            let mut t = *s;
            t.buffered[at] -= 1;
            t.published[at] += 1;
            push(t, "(its store reaches memory)");
        }
        let mut t = *s;
        match s.wakers[at] {
            Put::Publish if s.left[at] == 0 => {}
            Put::Publish if self.bug(Bug::AskFirst) => {
                t.wakers[at] = Put::PublishLate { seen: s.armed };
                push(t, "asks who is armed");
            }
            Put::Publish => {
                t.left[at] -= 1;
                t.buffered[at] += 1;
                t.wakers[at] = Put::Wake(if self.0.symmetric { Wake::Fence } else { Wake::Ask });
                push(t, "publishes");
            }
            Put::PublishLate { seen } => {
                t.left[at] -= 1;
                t.buffered[at] += 1;
                t.wakers[at] = if seen == 0 { Put::Publish } else { Put::Wake(self.armed(seen)) };
                push(t, "publishes");
            }
            Put::Wake(step) => {
                let set = |t: &mut State, next: Option<Wake>| t.wakers[at] = next.map_or(Put::Publish, Put::Wake);
                self.wake(s, who, step, s.buffered[at] == 0, set, out);
            }
        }
    }

    /// Where somebody is who has taken a message.
    fn again(&self) -> Get {
        if self.0.one_each { Get::Gone } else { Get::Take }
    }

    fn sleeper(&self, s: &State, at: usize, out: &mut Out) {
        let who = self.0.wakers + at as u8;
        let mut t = *s;
        let (next, what) = match s.sleepers[at] {
            Get::Take if s.is_there() => {
                t.taken += 1;
                (Get::More, "takes a message")
            }
            Get::Take if self.bug(Bug::EpochLate) => (Get::Arm { epoch: 0 }, "finds nothing"),
            Get::Take => (Get::Epoch, "finds nothing"),
            Get::More => {
                (if s.is_there() { Get::Wake(Wake::Ask) } else { self.again() }, "looks whether there is more")
            }
            Get::Wake(step) => {
                let set = |t: &mut State, next: Option<Wake>| t.sleepers[at] = next.map_or(self.again(), Get::Wake);
                return self.wake(s, who, step, true, set, out);
            }
            Get::Epoch if self.bug(Bug::BarrierFirst) => (Get::BarrierFirst { epoch: s.epoch }, "reads the epoch"),
            Get::Epoch => (Get::Arm { epoch: s.epoch }, "reads the epoch"),
            Get::Arm { epoch } => {
                t.numbers += 1;
                t.armed = if self.bug(Bug::CountsAnew) { s.armed + 1 } else { t.numbers };
                let skips = self.bug(Bug::NoBarrier) || self.bug(Bug::BarrierFirst);
                (if skips { Get::Look { epoch } } else { Get::Barrier { epoch } }, "arms")
            }
            Get::Barrier { epoch } | Get::BarrierFirst { epoch } => {
                if !self.0.symmetric {
                    for waker in 0..MOST {
                        t.published[waker] += s.buffered[waker];
                        t.buffered[waker] = 0;
                    }
                }
                let is_first = matches!(s.sleepers[at], Get::BarrierFirst { .. });
                (if is_first { Get::Arm { epoch } } else { Get::Look { epoch } }, "makes the barrier")
            }
            Get::Look { .. } if s.is_there() && !self.bug(Bug::NoSecondLook) => (Get::Take, "finds something"),
            Get::Look { .. } if self.bug(Bug::EpochLate) => (Get::EpochLate, "finds nothing"),
            Get::Look { epoch } => (Get::Sleep { epoch }, "finds nothing"),
            Get::EpochLate => (Get::Sleep { epoch: s.epoch }, "reads the epoch"),
            Get::Sleep { epoch } if s.epoch == epoch => (Get::Asleep, "sleeps"),
            Get::Sleep { .. } => (Get::Take, "finds the epoch moved"),
            Get::Asleep | Get::Gone => return,
        };
        t.sleepers[at] = next;
        out.push(Next { state: t, kind: Kind::Step, who, what });
    }
}

impl Model for Sleep {
    type State = State;

    fn initial(&self) -> State {
        let mut left = [0; MOST];
        left[..usize::from(self.0.wakers)].fill(self.0.messages);
        State {
            left,
            buffered: [0; MOST],
            published: [0; MOST],
            wakers: [Put::Publish; MOST],
            sleepers: [Get::Take; MOST],
            taken: 0,
            epoch: 0,
            armed: 0,
            numbers: 0,
        }
    }

    fn fault(&self, _: &State) -> Option<&'static str> {
        None
    }

    fn at_rest(&self, s: &State) -> bool {
        s.taken == self.0.wakers * self.0.messages
    }

    fn successors(&self, s: &State, out: &mut Out) {
        (0..usize::from(self.0.wakers)).for_each(|at| self.waker(s, at, out));
        (0..usize::from(self.0.sleepers)).for_each(|at| self.sleeper(s, at, out));
    }
}
