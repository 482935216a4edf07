//! Handles and ends whose operations are futures.

use super::driver::Driver;
use super::futures::{GetFuture, GetManyFuture, PutFuture, Wait};
use super::waiter::Waiter;
use crate::queue::{Consumer, Gets, Handle, Message, Port, Producer, PutError, Puts};

/// An asynchronous [`Handle`]: what [`Handle::into_async`] makes.
pub type AsyncHandle<M> = Async<Handle<M>>;
/// An asynchronous [`Producer`]: what [`Producer::into_async`] makes.
pub type AsyncProducer<M> = Async<Producer<M>>;
/// An asynchronous [`Consumer`]: what [`Consumer::into_async`] makes.
pub type AsyncConsumer<M> = Async<Consumer<M>>;

/// A handle or end whose operations are futures, on the same queue that blocking callers use.
///
/// They work with any executor, and on several threads: operations take `&mut self`, so that
/// a task that holds the handle can be moved (`Send`). While nothing has to be waited for they
/// do what `try_get` and `try_put` do, without a system call. A future that waits sleeps as a
/// blocking caller does, among the same sleepers. It never spins, whatever the handle's wait policy.
///
/// *Who wakes*: after `into_async()` always a thread of this process, one for all futures, also where
/// the kernel has io_uring. io_uring wakes those of `into_async_on(&driver)`, without that thread, if
/// your runtime watches the [`Driver`] and dispatches it. There is no third form with an eventfd.
///
/// What is promised does not change: what was put is kept, nothing is got twice, and nobody
/// hangs when a peer dies: its death is noticed within some 100 ms, as by a blocking caller.
///
/// *Cancellation*: a future may be dropped at any time, as by `select!` or a time limit of the
/// runtime. Then it has done nothing: no message was taken, none was put (the message of a put
/// goes with its future; [`PutFuture::cancel`] gives it back).
///
/// *Fairness*: an operation that is ready at once does not give way to other tasks. A task
/// that drains a long queue does so itself, say with `tokio::task::consume_budget`.
///
/// A consumer is also a `Stream`, which ends when the queue is closed and drained;
/// [`into_sink`](Async::into_sink) makes a `Sink` of a producer. For a time limit use the
/// runtime's.
///
/// ```
/// use ringway::{GetError, PodQueue};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let queue = PodQueue::<u64>::bounded(2)?;
/// let mut producer = queue.producer()?.into_async();
/// let mut consumer = queue.consumer()?.into_async();
/// let puts = async {
///     for number in 0..100 {
///         producer.put(number).await?;
///     }
///     producer.inner().close();
///     Ok::<(), ringway::PutError<u64>>(())
/// };
/// let gets = async {
///     let mut sum = 0;
///     while let Some(number) = consumer.get().await.map(Some).or_else(|error| error.is_closed().then_some(None).ok_or(error))? {
///         sum += number;
///     }
///     Ok::<u64, GetError>(sum)
/// };
/// let (put, sum) = tokio::join!(puts, gets);
/// put?;
/// assert_eq!(sum?, 4950);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Async<E> {
    // Before the end: a wake-up that had come is passed on while the handle is there.
    gets: Waiter,
    puts: Waiter,
    /// As a stream it has ended.
    pub(super) has_ended: bool,
    end: E,
}

impl<E> Async<E> {
    fn new(end: E, driver: Option<&Driver>) -> Async<E> {
        let waiter = || Waiter::on(driver.and_then(Driver::ring));
        Async { gets: waiter(), puts: waiter(), has_ended: false, end }
    }

    /// The blocking handle or end, for what needs no future: `try_get`, `task_done`, `close`,
    /// `len`. Its blocking operations block the thread.
    ///
    /// ```
    /// let queue = ringway::PodQueue::<u64>::bounded(2)?.into_async();
    /// queue.inner().try_put(1)?;
    /// assert_eq!(queue.inner().len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inner(&self) -> &E {
        &self.end
    }

    /// Back to blocking.
    pub fn into_inner(self) -> E {
        self.end
    }
}

impl<E: Gets> Async<E> {
    /// Takes the next message, waiting while the queue is empty.
    ///
    /// What was got is the caller's alone when the future is ready; one that was dropped before
    /// has taken nothing. From a joinable queue it takes a task, as a blocking
    /// [`get`](Consumer::get) does; `inner().task_done()` ends it.
    ///
    /// # Errors
    ///
    /// As a blocking [`get`](Consumer::get). `System` also if the thread that wakes futures
    /// could not be started.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let mut queue = ringway::ByteQueue::bounded(4)?.into_async();
    /// queue.put(b"hello").await?;
    /// assert_eq!(queue.get().await?, b"hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn get(&mut self) -> GetFuture<'_, E::Kind> {
        GetFuture::new(self.end.port_mut(), &mut self.gets)
    }

    /// Appends up to `max` messages to `out`, in order: waits for the first, takes what else is
    /// there. Says how many.
    ///
    /// Dropped before it is ready, it has appended nothing and taken nothing.
    ///
    /// # Errors
    ///
    /// As a blocking [`get_many`](Consumer::get_many), and `System` as [`get`](Async::get).
    pub fn get_many<'h>(
        &'h mut self,
        out: &'h mut Vec<<E::Kind as Message>::Out>,
        max: usize,
    ) -> GetManyFuture<'h, E::Kind> {
        GetManyFuture::new(self.end.port_mut(), &mut self.gets, out, max)
    }

    pub(super) fn get_wait(&mut self) -> Wait<'_> {
        Wait::new(self.end.port_mut(), &mut self.gets)
    }

    pub(super) fn get_parts(&mut self) -> (&mut Port, &mut Waiter) {
        (self.end.port_mut(), &mut self.gets)
    }
}

impl<E: Puts> Async<E> {
    /// Puts a message, waiting while the queue is full.
    ///
    /// When the future is ready with `Ok`, the message is the queue's, as with a blocking
    /// [`put`](Producer::put); one that was dropped before has put nothing.
    ///
    /// # Errors
    ///
    /// As a blocking [`put`](Producer::put); each gives the message back. `System` also if the
    /// thread that wakes futures could not be started.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let mut queue = ringway::PodQueue::<u64>::bounded(4)?.into_async();
    /// queue.put(7).await?;
    /// queue.inner().close();
    /// assert_eq!(queue.put(8).await.unwrap_err().into_value(), 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn put<'v>(&mut self, value: <E::Kind as Message>::In<'v>) -> PutFuture<'_, 'v, E::Kind> {
        PutFuture::new(self.end.port_mut(), &mut self.puts, value)
    }

    pub(super) fn put_wait(&mut self) -> Wait<'_> {
        Wait::new(self.end.port_mut(), &mut self.puts)
    }

    pub(super) fn put_parts(&mut self) -> (&mut Port, &mut Waiter) {
        (self.end.port_mut(), &mut self.puts)
    }

    /// One attempt that does not wait.
    pub(super) fn put_at_once(&self, put: impl FnOnce(&Port) -> Result<(), PutError<()>>) -> Result<(), PutError<()>> {
        put(self.end.port())
    }
}

macro_rules! into_async {
    ($end:ident) => {
        impl<M: Message> $end<M> {
            /// The same, with futures for operations; they are always woken by a thread of this
            /// process, which the first of them that waits starts, and never by io_uring: for that
            /// see [`into_async_on`](Self::into_async_on). See [`Async`].
            pub fn into_async(self) -> Async<$end<M>> {
                Async::new(self, None)
            }

            /// As [`into_async`](Self::into_async), but woken by the kernel through `driver`, which
            /// somebody must dispatch; by the thread where io_uring is refused.
            pub fn into_async_on(self, driver: &Driver) -> Async<$end<M>> {
                Async::new(self, Some(driver))
            }
        }
    };
}

into_async!(Handle);
into_async!(Producer);
into_async!(Consumer);

impl<E: std::fmt::Debug> std::fmt::Debug for Async<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Async").field(&self.end).finish()
    }
}
