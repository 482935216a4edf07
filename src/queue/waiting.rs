//! For those who wait in another way than by sleeping inside one operation: one attempt, and
//! what to sleep on if it found nothing. Who sleeps there, and how, is the caller's.

#[cfg(feature = "async")]
use super::error::{GetError, PutError};
#[cfg(feature = "async")]
use super::message::Message;
use super::port::Port;
#[cfg(feature = "async")]
use super::port::Wait;
use super::put::Lacking;
#[cfg(feature = "async")]
use crate::primitive::seeded;
use crate::wait::Attention;
#[cfg(feature = "async")]
use crate::wait::{ask, barrier};

/// What a select waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    /// A get that would not wait.
    Get,
    /// A put that would not wait for a position.
    Put,
}

/// A word that waiters sleep on, and what keeps it where it is.
#[cfg(feature = "async")]
#[derive(Clone)]
pub(crate) struct Berth {
    attention: &'static Attention,
    // What `attention` points into.
    _segment: std::sync::Arc<crate::segment::Segment>,
}

#[cfg(feature = "async")]
impl Berth {
    /// Tells the words of this process apart.
    pub(crate) fn address(&self) -> usize {
        self.word().as_ptr() as usize
    }

    pub(crate) fn word(&self) -> &std::sync::atomic::AtomicU32 {
        self.attention.word().word()
    }

    pub(crate) fn epoch(&self) -> u32 {
        self.attention.epoch()
    }

    /// A3. A wake-up came here that nobody makes use of: the next sleeper gets it.
    #[cold]
    pub(crate) fn pass_on(&self) {
        if !seeded(40) {
            self.attention.wake(1);
        }
    }
}

/// Everything before S5 is done: where to sleep, on which epoch, and how long at most.
#[cfg(feature = "async")]
pub(crate) struct Bed {
    pub(crate) berth: Berth,
    pub(crate) epoch: u32,
    pub(crate) slice_ns: u64,
}

/// What came of an attempt.
#[cfg(feature = "async")]
pub(crate) enum Now<T> {
    Done(T),
    /// Something has changed since: try again.
    Again,
    /// Nothing: sleep there.
    Sleep(Bed),
}

#[cfg(feature = "async")]
impl Port {
    /// A get that does not wait, and S1 to S4 if it finds nothing.
    pub(crate) fn get_now<M: Message>(&self) -> Result<Now<M::Out>, GetError> {
        self.get_by(|port| port.get::<M>(Wait::No))
    }

    /// The same for several messages.
    pub(crate) fn get_many_now<M: Message>(&self, out: &mut Vec<M::Out>, max: usize) -> Result<Now<usize>, GetError> {
        self.get_by(|port| port.get_many::<M>(out, max, Wait::No))
    }

    fn get_by<T>(&self, get: impl FnOnce(&Port) -> Result<T, GetError>) -> Result<Now<T>, GetError> {
        let departed = self.for_consumers.departed();
        match get(self) {
            Ok(message) => return Ok(Now::Done(message)),
            Err(GetError::Empty) => {}
            Err(error) => return Err(error),
        }
        self.ring.rest_get(&self.cursors.get);
        Ok(self.lie_down(self.for_producers, || self.may_get(departed)))
    }

    /// A put that does not wait, and S1 to S4 if there is no room.
    pub(crate) fn put_now(&self, put: impl FnOnce(&Port) -> Result<(), PutError<()>>) -> Result<Now<()>, PutError<()>> {
        let alert = self.for_producers.alerted();
        match put(self) {
            Ok(()) => return Ok(Now::Done(())),
            Err(PutError::Full(())) => {}
            Err(error) => return Err(error),
        }
        let lacking = self.lacking.get();
        self.ring.rest_put(&self.cursors.put);
        Ok(self.lie_down(self.room_line(lacking), || self.may_put(lacking, alert)))
    }

    /// Whether what is wanted would not wait, and S1 to S4 if it would.
    pub(crate) fn ready_now(&self, want: Want) -> Now<()> {
        let (departed, alert) = (self.for_consumers.departed(), self.for_producers.alerted());
        if self.is_ready(want) {
            return Now::Done(());
        }
        match want {
            Want::Get => self.lie_down(self.for_producers, || self.may_get(departed)),
            Want::Put => self.lie_down(self.for_consumers, || self.may_put(Lacking::Slot, alert)),
        }
    }

    fn lie_down<T>(&self, attention: &'static Attention, ready: impl FnOnce() -> bool) -> Now<T> {
        let Ok(segment) = self.segment() else { return Now::Again };
        let epoch = ask(attention);
        let slice_ns = barrier(self.ring.fences);
        let slice_ns = if seeded(42) { u64::MAX } else { slice_ns };
        if !seeded(41) && ready() {
            return Now::Again;
        }
        self.sleeping();
        Now::Sleep(Bed { berth: Berth { attention, _segment: segment }, epoch, slice_ns })
    }

    /// A future that slept has something, or goes: for those who look inside.
    pub(crate) fn woke(&self) {
        if self.usable().is_ok() {
            self.awake();
        }
    }

    /// Who had slept has what it wants: only one sleeper was woken, and there may be more.
    pub(crate) fn wake_next(&self, want: Want) {
        let is_more = self.usable().is_ok()
            && match want {
                Want::Get => self.ring.may_get(&self.cursors.get),
                Want::Put => self.ring.may_put(&self.cursors.put),
            };
        let line = self.line_of(want);
        if is_more && line.wanted(self.ring.fences) {
            self.wake(line, 1);
        }
    }
}

impl Port {
    /// Whether what is wanted would not wait, as far as can be said without doing it; looks for
    /// the dead where nothing is ready. An error is ready too: the operation will say it.
    pub(super) fn is_ready(&self, want: Want) -> bool {
        match want {
            Want::Get if self.would_get() => true,
            Want::Get => {
                self.ring.rest_get(&self.cursors.get);
                match self.look_before_nothing(false) {
                    Ok(changed) => changed && self.would_get(),
                    Err(_) => true,
                }
            }
            Want::Put if self.would_put() => true,
            Want::Put => {
                self.ring.rest_put(&self.cursors.put);
                match self.look_before_waiting() {
                    Ok(_) => {
                        // Nobody here makes an attempt, which would find out.
                        self.forget_no_space();
                        self.would_put()
                    }
                    Err(_) => true,
                }
            }
        }
    }

    fn would_get(&self) -> bool {
        self.ready_to_get().is_err()
            || self.tasks.are_counted() && self.ring.has_all_leases(&self.cursors.get)
            || self.is_torn()
            || self.ring.may_get(&self.cursors.get)
            || self.for_consumers.alerted().is_some()
            || self.may_have_ended() && self.has_ended() != Ok(false)
    }

    fn may_have_ended(&self) -> bool {
        self.for_consumers.is_closed() || self.ring.is_closing_unawares(&self.cursors.get)
    }

    fn would_put(&self) -> bool {
        self.ready_to_put().is_err()
            || self.needs_consumers().is_err()
            || self.is_torn()
            || self.ring.may_put(&self.cursors.put)
    }

    /// Where a sleeper who wants that is woken.
    pub(super) fn line_of(&self, want: Want) -> &'static Attention {
        match want {
            Want::Get => self.for_producers,
            Want::Put => self.for_consumers,
        }
    }

    /// S4 of a select, of what it had seen before it asked [`Port::is_ready`].
    pub(super) fn may_be_ready(&self, want: Want, (departed, alert): (u32, Option<u32>)) -> bool {
        match want {
            Want::Get => self.may_get(departed),
            Want::Put => self.may_put(Lacking::Slot, alert),
        }
    }

    pub(super) fn seen(&self) -> (u32, Option<u32>) {
        (self.for_consumers.departed(), self.for_producers.alerted())
    }
}
