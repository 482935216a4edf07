//! The first of several queues, as a future. X1 to X4 of `queue/select.rs` hold.

use super::handle::Async;
use super::waiter::{Standing, Waiter};
use crate::queue::{Gets, Now, Port, Puts, Want, next_turn};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// The asynchronous [`Select`](crate::Select): a future that says from which of several queues
/// something can be got, or to which something can be put.
///
/// It says *which*, by the order in which they were named, and takes nothing; dropping it
/// changes nothing. Follow it with `inner().try_get()` or `try_put`.
///
/// ```
/// use ringway::{AsyncSelect, PodQueue};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let mut numbers = PodQueue::<u64>::bounded(4)?.into_async();
/// let mut letters = PodQueue::<u8>::bounded(4)?.into_async();
/// letters.put(b'x').await?;
/// let ready = AsyncSelect::new().get(&mut numbers).get(&mut letters).await;
/// assert_eq!(ready, 1);
/// assert_eq!(letters.inner().try_get()?, b'x');
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Default)]
pub struct AsyncSelect<'q> {
    waits: Vec<(&'q mut Port, &'q mut Waiter, Want)>,
}

impl<'q> AsyncSelect<'q> {
    /// Of nothing yet: it is never ready.
    pub fn new() -> AsyncSelect<'q> {
        AsyncSelect { waits: Vec::new() }
    }

    /// Also waits until a get from this queue would not wait.
    pub fn get<E: Gets>(mut self, from: &'q mut Async<E>) -> AsyncSelect<'q> {
        let (port, waiter) = from.get_parts();
        waiter.cancel();
        self.waits.push((port, waiter, Want::Get));
        self
    }

    /// Also waits until a put to this queue would not wait for a position. A message that needs
    /// a block of the arena may have to wait for that still.
    pub fn put<E: Puts>(mut self, to: &'q mut Async<E>) -> AsyncSelect<'q> {
        let (port, waiter) = to.put_parts();
        waiter.cancel();
        self.waits.push((port, waiter, Want::Put));
        self
    }

    /// X3. Nobody sleeps any more; wake-ups that had come are passed on.
    fn end(&mut self) {
        for (port, waiter, _) in &mut self.waits {
            waiter.cancel();
            port.woke();
        }
    }
}

impl Future for AsyncSelect<'_> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        let count = self.waits.len();
        if count == 0 {
            return Poll::Pending;
        }
        let (start, mut is_again) = (next_turn() % count, false);
        let mut ready = None;
        for at in (start..count).chain(0..start) {
            let Some((port, waiter, want)) = self.waits.get_mut(at) else { continue };
            let was_woken = match waiter.standing(cx.waker()) {
                Standing::Asleep => continue,
                Standing::Awake(was_woken) => was_woken,
            };
            let now = port.ready_now(*want);
            if was_woken && !matches!(now, Now::Sleep(_)) {
                port.wake_next(*want);
            }
            match now {
                Now::Done(()) => {
                    ready = Some(at);
                    break;
                }
                Now::Again => is_again = true,
                // Whoever cannot sleep is asked again: the operation says what the system said.
                Now::Sleep(bed) => is_again |= !waiter.sleep(&bed, cx.waker()).unwrap_or(false),
            }
        }
        if let Some(ready) = ready {
            self.end();
            return Poll::Ready(ready);
        }
        if is_again {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for AsyncSelect<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

impl std::fmt::Debug for AsyncSelect<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AsyncSelect").field("queues", &self.waits.len()).finish()
    }
}
