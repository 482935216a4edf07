//! One get and one put as futures.

use super::waiter::{Standing, Waiter};
use crate::queue::{GetError, Message, Now, Port, PutError, Want};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Attempts in one poll: what changes all the time must not keep the executor's thread.
const ATTEMPTS: u32 = 8;

/// A wait of one side: what it belongs to, and what it waits with.
pub(super) struct Wait<'h> {
    port: &'h mut Port,
    waiter: &'h mut Waiter,
}

impl<'h> Wait<'h> {
    pub(super) fn new(port: &'h mut Port, waiter: &'h mut Waiter) -> Wait<'h> {
        Wait { port, waiter }
    }

    /// A2. One attempt after the other, until one is done or there is something to sleep on.
    /// `unable` makes an error of what the system said to the sleep.
    fn poll<T, E>(
        &mut self,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&Port) -> Result<Now<T>, E>,
        unable: impl FnOnce(std::io::ErrorKind) -> E,
        want: Want,
    ) -> Poll<Result<T, E>> {
        let was_woken = match self.waiter.standing(cx.waker()) {
            Standing::Asleep => return Poll::Pending,
            Standing::Awake(was_woken) => was_woken,
        };
        for _ in 0..ATTEMPTS {
            match attempt(self.port) {
                Ok(Now::Done(value)) => {
                    self.port.woke();
                    if was_woken {
                        self.port.wake_next(want);
                    }
                    return Poll::Ready(Ok(value));
                }
                Ok(Now::Again) => {}
                Ok(Now::Sleep(bed)) => match self.waiter.sleep(&bed, cx.waker()) {
                    Ok(true) => return Poll::Pending,
                    Ok(false) => {}
                    Err(error) => {
                        self.port.woke();
                        return Poll::Ready(Err(unable(error.kind())));
                    }
                },
                Err(error) => {
                    self.port.woke();
                    // A message that cannot be decoded was one all the same.
                    if was_woken {
                        self.port.wake_next(want);
                    }
                    return Poll::Ready(Err(error));
                }
            }
        }
        if was_woken {
            self.port.wake_next(want);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    pub(super) fn poll_get<M: Message>(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Out, GetError>> {
        self.poll(cx, Port::get_now::<M>, |kind| GetError::System { kind }, Want::Get)
    }

    fn poll_get_many<M: Message>(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut Vec<M::Out>,
        max: usize,
    ) -> Poll<Result<usize, GetError>> {
        let attempt = |port: &Port| port.get_many_now::<M>(out, max);
        self.poll(cx, attempt, |kind| GetError::System { kind }, Want::Get)
    }

    /// `put` makes one attempt that does not wait.
    pub(super) fn poll_put(
        &mut self,
        cx: &mut Context<'_>,
        mut put: impl FnMut(&Port) -> Result<(), PutError<()>>,
    ) -> Poll<Result<(), PutError<()>>> {
        let attempt = |port: &Port| port.put_now(&mut put);
        self.poll(cx, attempt, |kind| PutError::System { value: (), kind }, Want::Put)
    }

    /// The wait is given up.
    pub(super) fn end(&mut self) {
        self.waiter.cancel();
        self.port.woke();
    }
}

/// A get that waits; see [`Async::get`](super::Async::get).
///
/// Dropping it before it is ready takes nothing from the queue, and a wake-up that had come for
/// it goes to somebody else.
#[must_use = "a future does nothing unless it is awaited"]
pub struct GetFuture<'h, M: Message> {
    wait: Wait<'h>,
    is_done: bool,
    kind: PhantomData<fn() -> M>,
}

impl<'h, M: Message> GetFuture<'h, M> {
    pub(super) fn new(port: &'h mut Port, waiter: &'h mut Waiter) -> Self {
        waiter.cancel();
        GetFuture { wait: Wait::new(port, waiter), is_done: false, kind: PhantomData }
    }
}

impl<M: Message> Future for GetFuture<'_, M> {
    type Output = Result<M::Out, GetError>;

    /// Never ready again after it was.
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.is_done {
            return Poll::Pending;
        }
        let polled = self.wait.poll_get::<M>(cx);
        self.is_done = polled.is_ready();
        polled
    }
}

impl<M: Message> Drop for GetFuture<'_, M> {
    fn drop(&mut self) {
        if !self.is_done {
            self.wait.end();
        }
    }
}

/// A get of several messages; see [`Async::get_many`](super::Async::get_many).
///
/// Dropping it before it is ready takes nothing from the queue.
#[must_use = "a future does nothing unless it is awaited"]
pub struct GetManyFuture<'h, M: Message> {
    wait: Wait<'h>,
    is_done: bool,
    out: &'h mut Vec<M::Out>,
    max: usize,
}

impl<'h, M: Message> GetManyFuture<'h, M> {
    pub(super) fn new(port: &'h mut Port, waiter: &'h mut Waiter, out: &'h mut Vec<M::Out>, max: usize) -> Self {
        waiter.cancel();
        GetManyFuture { wait: Wait::new(port, waiter), is_done: false, out, max }
    }
}

impl<M: Message> Future for GetManyFuture<'_, M> {
    type Output = Result<usize, GetError>;

    /// Never ready again after it was.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.is_done {
            return Poll::Pending;
        }
        let polled = this.wait.poll_get_many::<M>(cx, this.out, this.max);
        this.is_done = polled.is_ready();
        polled
    }
}

impl<M: Message> Drop for GetManyFuture<'_, M> {
    fn drop(&mut self) {
        if !self.is_done {
            self.wait.end();
        }
    }
}

impl<M: Message> std::fmt::Debug for GetManyFuture<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetManyFuture").field("is_done", &self.is_done).finish_non_exhaustive()
    }
}

/// A put that waits; see [`Async::put`](super::Async::put).
///
/// Dropping it before it is ready puts nothing: the message goes with the future. A wake-up that
/// had come for it goes to somebody else.
#[must_use = "a future does nothing unless it is awaited"]
pub struct PutFuture<'h, 'v, M: Message> {
    wait: Wait<'h>,
    // None: it is done.
    value: Option<M::In<'v>>,
}

impl<'h, 'v, M: Message> PutFuture<'h, 'v, M> {
    pub(super) fn new(port: &'h mut Port, waiter: &'h mut Waiter, value: M::In<'v>) -> Self {
        waiter.cancel();
        PutFuture { wait: Wait::new(port, waiter), value: Some(value) }
    }

    /// Gives the put up, and the message back.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let mut queue = ringway::PodQueue::<u64>::bounded(1)?.into_async();
    /// queue.put(1).await?;
    /// let mut put = queue.put(2);
    /// tokio::select! {
    ///     biased;
    ///     _ = &mut put => unreachable!("the queue is full"),
    ///     () = std::future::ready(()) => {}
    /// }
    /// assert_eq!(put.cancel(), Some(2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cancel(mut self) -> Option<M::Back> {
        let value = self.value.take();
        if value.is_some() {
            self.wait.end();
        }
        value.map(M::give_back)
    }
}

// Nothing in it is pinned.
impl<M: Message> Unpin for PutFuture<'_, '_, M> {}

impl<M: Message> Future for PutFuture<'_, '_, M> {
    type Output = Result<(), PutError<M::Back>>;

    /// Never ready again after it was.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(value) = &this.value else { return Poll::Pending };
        match this.wait.poll_put(cx, |port| M::put_again(port, value)) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(outcome) => {
                let value = this.value.take();
                Poll::Ready(match (outcome, value) {
                    (Err(refused), Some(value)) => Err(refused.map(|()| M::give_back(value))),
                    _ => Ok(()),
                })
            }
        }
    }
}

impl<M: Message> Drop for PutFuture<'_, '_, M> {
    fn drop(&mut self) {
        if self.value.is_some() {
            self.wait.end();
        }
    }
}

impl<M: Message> std::fmt::Debug for GetFuture<'_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GetFuture").field("is_done", &self.is_done).finish()
    }
}

impl<M: Message> std::fmt::Debug for PutFuture<'_, '_, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PutFuture").field("is_done", &self.value.is_none()).finish()
    }
}
