//! The methods that handles and ends share.
//!
//! A [`Handle`](super::Handle) can do what a producer and a consumer can, as
//! inherent methods (no trait to import). Each is written and documented here
//! once; the macros contain signatures and one-line forwards to the port,
//! nothing else.

/// What can be asked of any handle or end.
macro_rules! common_methods {
    () => {
        pub(super) fn its_port(&self) -> &Port {
            &self.port
        }

        pub(super) fn its_port_mut(&mut self) -> &mut Port {
            &mut self.port
        }

        /// How many messages the queue holds when full: exactly what was asked for. Of an
        /// [`unbounded`](crate::Options::unbounded) one, how many its cap allows: it is
        /// full after these, if the system has the memory.
        pub fn capacity(&self) -> usize {
            self.port.capacity()
        }

        /// Messages put and not yet taken. Never blocks. While others put and get, an
        /// estimate: the two ends are read one after the other; at most
        /// [`capacity`](Self::capacity). 0 in a forked child.
        pub fn len(&self) -> usize {
            self.port.len()
        }

        /// Whether `try_get` would say `Empty` right now. Final only for the one
        /// producer of a queue, while it does not put.
        pub fn is_empty(&self) -> bool {
            self.port.is_empty()
        }

        /// Whether `try_put` would say `Full` right now: of bytes, to one message or another, as a short one may
        /// have room where a long one lacks a block. Final only for the one
        /// consumer of a queue, while it does not get.
        pub fn is_full(&self) -> bool {
            self.port.is_full()
        }

        /// Whether the queue was closed. True is final.
        pub fn is_closed(&self) -> bool {
            self.port.is_closed()
        }

        /// Closes the queue for good, in every process. Puts under way are
        /// delivered or refused, later ones get `Closed` and their value back;
        /// everybody who sleeps wakes. Consumers drain what is there, then get
        /// `Closed`. Never blocks; closing twice is fine; nothing happens in a
        /// forked child.
        pub fn close(&self) {
            self.port.close()
        }

        /// Looks for participants that have died, now, and finishes what they left: says
        /// how many claims were finished and messages brought back.
        ///
        /// Nobody needs to call this: whoever waits looks once in 100 ms, and whoever
        /// finds a dead one's claim in its way does. It is for those who learn of a
        /// death earlier. Never waits; reads every slot once.
        ///
        /// # Errors
        ///
        /// `RecoveryUnavailable` if the segment's descriptor was closed behind our back and
        /// it cannot be opened again; `Forked`; `NotASegment` if the handle said `Corrupt`.
        ///
        /// ```
        /// let queue = ringway::PodQueue::<u64>::bounded(4)?;
        /// assert_eq!(queue.recover()?, 0);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn recover(&self) -> Result<usize, crate::SetupError> {
            self.port.recover()
        }

        /// The longest message that can be put, in bytes.
        pub fn max_message(&self) -> usize {
            self.port.max_message()
        }

        /// The queue's name; `None` if it is anonymous.
        pub fn name(&self) -> Option<String> {
            self.port.name()
        }

        /// Live handles and ends on this queue, in all processes, this one
        /// included. Stale as soon as it is returned. One system call per
        /// participant.
        pub fn participants(&self) -> usize {
            self.port.participants()
        }

        /// How this handle waits.
        pub fn wait_policy(&self) -> crate::WaitPolicy {
            self.port.wait_policy()
        }

        /// Changes how this handle waits, from its next operation on.
        pub fn set_wait_policy(&self, policy: crate::WaitPolicy) {
            self.port.set_wait_policy(policy)
        }
    };
}

/// Putting.
macro_rules! put_methods {
    () => {
        /// Puts a message, waiting while the queue is full.
        ///
        /// When this returns `Ok`, the message is the queue's: no death of any
        /// process loses it before a consumer has taken it, as long as one
        /// participant lives or the queue is persistent. If this process is killed
        /// inside, the message is there once or not at all.
        ///
        /// # Errors
        ///
        /// `Closed`, `PeersGone`, `TooLarge`, `SideTaken`, `Forked`, `Corrupt`,
        /// `RecoveryUnavailable`, `System`; each gives the message back. No panics.
        ///
        /// ```
        /// let queue = ringway::ByteQueue::bounded(4)?;
        /// queue.put(b"hello")?;
        /// queue.close();
        /// assert!(queue.put(b"too late").unwrap_err().is_closed());
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[inline(always)]
        pub fn put(&self, value: M::In<'_>) -> Result<(), PutError<M::Back>> {
            M::put_through(&self.port, value, Wait::Until(Deadline::Never))
        }

        /// Puts a message if there is room, without waiting.
        ///
        /// It may say `Full` while another put or get is between its claim and
        /// its end at the position in the way.
        ///
        /// # Errors
        ///
        /// As [`put`](Self::put), and `Full`.
        ///
        /// ```
        /// let queue = ringway::PodQueue::<u32>::bounded(1)?;
        /// queue.try_put(1)?;
        /// let refused = queue.try_put(2).unwrap_err();
        /// assert!(refused.is_full());
        /// assert_eq!(refused.into_value(), 2);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[inline(always)]
        pub fn try_put(&self, value: M::In<'_>) -> Result<(), PutError<M::Back>> {
            M::put_through(&self.port, value, Wait::No)
        }

        /// Puts a message, waiting at most `timeout`. A timeout too long for the
        /// clock means for ever; zero tries once. Time in suspend does not count.
        ///
        /// # Errors
        ///
        /// As [`put`](Self::put), and `TimedOut`.
        #[inline]
        pub fn put_timeout(&self, value: M::In<'_>, timeout: Duration) -> Result<(), PutError<M::Back>> {
            M::put_through(&self.port, value, Wait::Until(Deadline::after(timeout)))
        }

        /// Puts a message, waiting until `deadline` at most. One in the past tries once.
        ///
        /// # Errors
        ///
        /// As [`put`](Self::put), and `TimedOut`.
        #[inline]
        pub fn put_deadline(&self, value: M::In<'_>, deadline: Instant) -> Result<(), PutError<M::Back>> {
            M::put_through(&self.port, value, Wait::Until(Deadline::at(deadline)))
        }

        /// Puts all `values`, in order, waiting while the queue is full. They go in
        /// in runs, each claimed at once (those of a `Queue<T>` one by one); messages of other producers may come
        /// between two runs.
        ///
        /// # Errors
        ///
        /// As [`put`](Self::put), with the number of messages that went in: those
        /// are a prefix of `values`. A `TooLarge` one is found before any goes in, but in a `Queue<T>`, where
        /// its turn tells how long it is.
        ///
        /// ```
        /// let queue = ringway::PodQueue::<u32>::bounded(8)?;
        /// queue.put_many(&[1, 2, 3])?;
        /// let mut out = Vec::new();
        /// assert_eq!(queue.get_many(&mut out, 8)?, 3);
        /// assert_eq!(out, [1, 2, 3]);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[inline]
        pub fn put_many(&self, values: &[M::In<'_>]) -> Result<(), PutManyError> {
            M::put_many_through(&self.port, values, Wait::Until(Deadline::Never)).map(|_| ())
        }

        /// Puts as many of `values` as there is room for, from the front, and says
        /// how many (0 if the queue is full). Never waits.
        ///
        /// # Errors
        ///
        /// As [`put_many`](Self::put_many), but never for want of room.
        #[inline]
        pub fn try_put_many(&self, values: &[M::In<'_>]) -> Result<usize, PutManyError> {
            M::put_many_through(&self.port, values, Wait::No)
        }

        /// As [`put_many`](Self::put_many), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`put_many`](Self::put_many), and `TimedOut`.
        #[inline]
        pub fn put_many_timeout(&self, values: &[M::In<'_>], timeout: Duration) -> Result<(), PutManyError> {
            M::put_many_through(&self.port, values, Wait::Until(Deadline::after(timeout))).map(|_| ())
        }

        /// As [`put_many`](Self::put_many), waiting until `deadline` at most.
        ///
        /// # Errors
        ///
        /// As [`put_many`](Self::put_many), and `TimedOut`.
        #[inline]
        pub fn put_many_deadline(&self, values: &[M::In<'_>], deadline: Instant) -> Result<(), PutManyError> {
            M::put_many_through(&self.port, values, Wait::Until(Deadline::at(deadline))).map(|_| ())
        }
    };
}

/// Getting.
macro_rules! get_methods {
    () => {
        /// Takes the next message, waiting while the queue is empty.
        ///
        /// When this returns a message, it is the caller's alone: nobody else gets
        /// it. A process killed inside leaves it to somebody else, or takes it
        /// along if it was killed after the commit.
        ///
        /// # Errors
        ///
        /// `Closed` once the queue is closed and drained, `PeersGone`, `Undecodable`, `HandleUnreachable`,
        /// `SideTaken`, `Forked`, `Corrupt`, `RecoveryUnavailable`, `System`. No panics.
        ///
        /// ```
        /// let queue = ringway::ByteQueue::bounded(4)?;
        /// queue.put(b"hello")?;
        /// assert_eq!(queue.get()?, b"hello");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[inline(always)]
        pub fn get(&self) -> Result<M::Out, GetError> {
            self.port.get::<M>(Wait::Until(Deadline::Never))
        }

        /// Takes the next message if there is one, without waiting.
        ///
        /// It may say `Empty` while a producer is between its claim and its end at
        /// the next position.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get), and `Empty`.
        #[inline(always)]
        pub fn try_get(&self) -> Result<M::Out, GetError> {
            self.port.get::<M>(Wait::No)
        }

        /// Takes the next message, waiting at most `timeout`. A timeout too long for
        /// the clock means for ever; zero tries once. Time in suspend does not count.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get), and `TimedOut`.
        ///
        /// ```
        /// # use std::time::Duration;
        /// let queue = ringway::PodQueue::<u64>::bounded(4)?;
        /// assert!(queue.get_timeout(Duration::from_millis(5)).unwrap_err().is_timed_out());
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[inline]
        pub fn get_timeout(&self, timeout: Duration) -> Result<M::Out, GetError> {
            self.port.get::<M>(Wait::Until(Deadline::after(timeout)))
        }

        /// Takes the next message, waiting until `deadline` at most. One in the past
        /// tries once.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get), and `TimedOut`.
        #[inline]
        pub fn get_deadline(&self, deadline: Instant) -> Result<M::Out, GetError> {
            self.port.get::<M>(Wait::Until(Deadline::at(deadline)))
        }

        /// Appends up to `max` messages to `out`, in order: waits for the first,
        /// takes what else is there. Says how many (0 only if `max` is 0).
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get). Messages of a batch that are no valid value are
        /// consumed and left out; the next calls say `Undecodable`, once for each (also of those whose handles lead nowhere).
        #[inline]
        pub fn get_many(&self, out: &mut Vec<M::Out>, max: usize) -> Result<usize, GetError> {
            self.port.get_many::<M>(out, max, Wait::Until(Deadline::Never))
        }

        /// As [`get_many`](Self::get_many), without waiting.
        ///
        /// # Errors
        ///
        /// As [`get_many`](Self::get_many), and `Empty`.
        #[inline]
        pub fn try_get_many(&self, out: &mut Vec<M::Out>, max: usize) -> Result<usize, GetError> {
            self.port.get_many::<M>(out, max, Wait::No)
        }

        /// As [`get_many`](Self::get_many), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`get_many`](Self::get_many), and `TimedOut`.
        #[inline]
        pub fn get_many_timeout(
            &self,
            out: &mut Vec<M::Out>,
            max: usize,
            timeout: Duration,
        ) -> Result<usize, GetError> {
            self.port.get_many::<M>(out, max, Wait::Until(Deadline::after(timeout)))
        }

        /// As [`get_many`](Self::get_many), waiting until `deadline` at most.
        ///
        /// # Errors
        ///
        /// As [`get_many`](Self::get_many), and `TimedOut`.
        #[inline]
        pub fn get_many_deadline(
            &self,
            out: &mut Vec<M::Out>,
            max: usize,
            deadline: Instant,
        ) -> Result<usize, GetError> {
            self.port.get_many::<M>(out, max, Wait::Until(Deadline::at(deadline)))
        }

        /// Leases the next message, waiting while the queue is empty: it stays the queue's
        /// until [`ack`](crate::Lease::ack), and comes back if this process dies or drops
        /// the lease. Redelivered messages come first.
        ///
        /// A lease costs a copy more than a `get`. Each handle holds at most
        /// [`leases`](crate::Options::leases) at once.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get), and `TooManyLeases`, at once.
        ///
        /// ```
        /// let queue = ringway::PodQueue::<u32>::bounded(4)?;
        /// queue.put_many(&[1, 2])?;
        /// let (first, second) = (queue.lease()?, queue.lease()?);
        /// assert_eq!((*first, *second), (1, 2));
        /// second.ack()?;
        /// drop(first);
        /// assert_eq!(queue.get()?, 1);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn lease(&self) -> Result<crate::Lease<'_, M>, GetError> {
            self.port.lease::<M>(Wait::Until(Deadline::Never))
        }

        /// As [`lease`](Self::lease), without waiting.
        ///
        /// # Errors
        ///
        /// As [`lease`](Self::lease), and `Empty`.
        pub fn try_lease(&self) -> Result<crate::Lease<'_, M>, GetError> {
            self.port.lease::<M>(Wait::No)
        }

        /// As [`lease`](Self::lease), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`lease`](Self::lease), and `TimedOut`.
        pub fn lease_timeout(&self, timeout: Duration) -> Result<crate::Lease<'_, M>, GetError> {
            self.port.lease::<M>(Wait::Until(Deadline::after(timeout)))
        }

        /// As [`lease`](Self::lease), waiting until `deadline` at most.
        ///
        /// # Errors
        ///
        /// As [`lease`](Self::lease), and `TimedOut`.
        pub fn lease_deadline(&self, deadline: Instant) -> Result<crate::Lease<'_, M>, GetError> {
            self.port.lease::<M>(Wait::Until(Deadline::at(deadline)))
        }

        /// Messages as they come, until the queue is closed and drained. Other
        /// errors are items: the iteration goes on after `Undecodable` and ends
        /// after any other.
        ///
        /// ```
        /// let queue = ringway::PodQueue::<u8>::bounded(4)?;
        /// queue.put_many(&[1, 2])?;
        /// queue.close();
        /// let all: Result<Vec<u8>, _> = queue.iter().collect();
        /// assert_eq!(all?, [1, 2]);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn iter(&self) -> Iter<'_, M> {
            Iter::new(&self.port)
        }

        /// The messages that are there now, without waiting.
        pub fn try_iter(&self) -> TryIter<'_, M> {
            TryIter::new(&self.port)
        }
    };
}

/// Putting in place, for queues of bytes.
macro_rules! put_bytes_methods {
    () => {
        /// Reserves `len` bytes of shared memory to write a message into, waiting while
        /// there are none; see [`Reserved`], also for which messages are copied in the end.
        ///
        /// # Errors
        ///
        /// As [`put`](Self::put), with nothing to give back.
        pub fn reserve(&self, len: usize) -> Result<Reserved<'_>, PutError<()>> {
            self.port.reserve(len, Wait::Until(Deadline::Never))
        }

        /// As [`reserve`](Self::reserve), without waiting.
        ///
        /// # Errors
        ///
        /// As [`reserve`](Self::reserve), and `Full`.
        pub fn try_reserve(&self, len: usize) -> Result<Reserved<'_>, PutError<()>> {
            self.port.reserve(len, Wait::No)
        }

        /// As [`reserve`](Self::reserve), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`reserve`](Self::reserve), and `TimedOut`.
        pub fn reserve_timeout(&self, len: usize, timeout: Duration) -> Result<Reserved<'_>, PutError<()>> {
            self.port.reserve(len, Wait::Until(Deadline::after(timeout)))
        }
    };
}

/// Getting bytes.
macro_rules! get_bytes_methods {
    () => {
        /// Takes the next message without copying it, waiting while the queue is empty;
        /// see [`Ref`].
        ///
        /// # Errors
        ///
        /// As [`lease`](Self::lease).
        pub fn get_ref(&self) -> Result<Ref<'_>, GetError> {
            self.port.get_ref(Wait::Until(Deadline::Never))
        }

        /// As [`get_ref`](Self::get_ref), without waiting.
        ///
        /// # Errors
        ///
        /// As [`get_ref`](Self::get_ref), and `Empty`.
        pub fn try_get_ref(&self) -> Result<Ref<'_>, GetError> {
            self.port.get_ref(Wait::No)
        }

        /// As [`get_ref`](Self::get_ref), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`get_ref`](Self::get_ref), and `TimedOut`.
        pub fn get_ref_timeout(&self, timeout: Duration) -> Result<Ref<'_>, GetError> {
            self.port.get_ref(Wait::Until(Deadline::after(timeout)))
        }

        /// As [`get`](Self::get), into a buffer that is used again: it is cleared,
        /// grown to the longest message once, and filled. Says the length.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get); the buffer is then empty.
        ///
        /// ```
        /// let queue = ringway::ByteQueue::bounded(4)?;
        /// queue.put(b"hello")?;
        /// let mut buffer = Vec::new();
        /// assert_eq!(queue.get_into(&mut buffer)?, 5);
        /// assert_eq!(buffer, b"hello");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        pub fn get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
            super::consumer::get_into(&self.port, buffer, Wait::Until(Deadline::Never))
        }

        /// As [`get_into`](Self::get_into), without waiting.
        ///
        /// # Errors
        ///
        /// As [`get_into`](Self::get_into), and `Empty`.
        pub fn try_get_into(&self, buffer: &mut Vec<u8>) -> Result<usize, GetError> {
            super::consumer::get_into(&self.port, buffer, Wait::No)
        }

        /// As [`get_into`](Self::get_into), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`get_into`](Self::get_into), and `TimedOut`.
        pub fn get_into_timeout(&self, buffer: &mut Vec<u8>, timeout: Duration) -> Result<usize, GetError> {
            super::consumer::get_into(&self.port, buffer, Wait::Until(Deadline::after(timeout)))
        }
    };
}

/// Getting plain data.
macro_rules! get_plain_methods {
    () => {
        /// As [`get`](Self::get), straight into `out`: one copy, where returning a
        /// value may cost several. Worth it from a cache line on.
        ///
        /// # Errors
        ///
        /// As [`get`](Self::get); `out` is then as it was.
        ///
        /// ```
        /// let queue = ringway::PodQueue::<[u64; 7]>::bounded(4)?;
        /// queue.put([1; 7])?;
        /// let mut message = [0; 7];
        /// queue.get_into(&mut message)?;
        /// assert_eq!(message, [1; 7]);
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[inline(always)]
        pub fn get_into(&self, out: &mut T) -> Result<(), GetError> {
            self.port.get_into(out, Wait::Until(Deadline::Never))
        }

        /// As [`get_into`](Self::get_into), without waiting.
        ///
        /// # Errors
        ///
        /// As [`get_into`](Self::get_into), and `Empty`.
        #[inline(always)]
        pub fn try_get_into(&self, out: &mut T) -> Result<(), GetError> {
            self.port.get_into(out, Wait::No)
        }

        /// As [`get_into`](Self::get_into), waiting at most `timeout`.
        ///
        /// # Errors
        ///
        /// As [`get_into`](Self::get_into), and `TimedOut`.
        #[inline]
        pub fn get_into_timeout(&self, out: &mut T, timeout: Duration) -> Result<(), GetError> {
            self.port.get_into(out, Wait::Until(Deadline::after(timeout)))
        }
    };
}

pub(super) use {common_methods, get_bytes_methods, get_methods, get_plain_methods, put_bytes_methods, put_methods};
