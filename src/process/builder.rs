//! [`Process`]: a function, its arguments, and the child that runs it.

use super::child::{Child, ExitStatus};
use super::error::ProcessError;
use super::function::{self, Function, Run};
use super::message::{Outcome, Progress};
use super::start::{self, Order};
use super::stream::Stream;
use crate::wait::Deadline;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ffi::OsString;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

/// A function that runs in a process of its own, as in Python's `multiprocessing`.
///
/// It is made with its arguments, set up, [`start`](Process::start)ed once, and then waited for,
/// ended, asked for its result. The function is one of this program, called by its path or written as a
/// closure that captures nothing; arguments and result are values that serde knows and postcard can
/// carry, queue handles included.
///
/// ```
/// use ringway::{Process, Producer, Queue, Serde};
///
/// fn count(to: Producer<Serde<u32>>, most: u32) {
///     for number in 0..most {
///         to.put(number).expect("somebody listens");
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// ringway::init();
/// let queue = Queue::<u32>::unbounded()?;
/// let mut process = Process::new(count, (queue.producer()?, 3));
/// process.start()?;
/// assert_eq!([queue.get()?, queue.get()?, queue.get()?], [0, 1, 2]);
/// assert!(process.join()?.success());
/// # Ok(())
/// # }
/// ```
///
/// # What the child is
///
/// This program, executed again (`/proc/self/exe`, also if the file was replaced meanwhile), with its
/// arguments and environment: not a copy of this process. Globals are as at the start of the program, threads are
/// not there, and of the open descriptors only the standard streams are, what belongs to queue handles
/// among the arguments, and three that ringway needs itself. How large this process is costs nothing.
///
/// # Who ends whom
///
/// | what happens | what follows |
/// |---|---|
/// | this process exits normally | children are waited for; *daemonic* ones are terminated, and killed after a second |
/// | this process dies | children are terminated at once, and killed if they are still there after half a second, unless they [outlive](Process::outlives_parent) it |
/// | a child dies, in whatever way | the queues that this process has handles of are looked after at once, others within 100 ms: nobody hangs, and what it had not committed comes back |
/// | the handle is dropped | nothing; the child runs on |
/// | Ctrl-C on a terminal | every process of the group gets it once from the terminal, and ends if it does nothing about it |
///
/// A [`Subscriber`](crate::Subscriber) among the arguments is a way to subscribe: the child hears what is put from
/// the moment on when it has decoded its arguments.
///
/// A child that waits for its parent (to put something into a queue, say) while its parent exits and waits
/// for it is a mistake that ringway only notices if the handles were dropped: [`std::process::exit`] does
/// not drop them.
///
/// No SIGCHLD handler is installed, and nobody else's children are waited for.
pub struct Process<R> {
    order: Order,
    /// Until they are sent.
    arguments: Option<Box<dyn Arguments>>,
    child: Option<Child>,
    result: PhantomData<fn() -> R>,
}

/// What can be encoded, whatever it is.
pub(super) trait Arguments: Send {
    fn encode(&self) -> Result<Vec<u8>, String>;
}

impl<A: Serialize + Send> Arguments for A {
    fn encode(&self) -> Result<Vec<u8>, String> {
        postcard::to_stdvec(self).map_err(|error| error.to_string())
    }
}

impl<R: Serialize + DeserializeOwned + 'static> Process<R> {
    /// A process that will call `f` with `arguments`, a tuple.
    ///
    /// A function item, or a closure that captures nothing:
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let mut process = ringway::Process::new(|a: u32, b: u32| a + b, (2, 3));
    /// process.start()?;
    /// assert_eq!(process.result()?, 5);
    /// # Ok(())
    /// # }
    /// ```
    pub fn new<F, A>(f: F, arguments: A) -> Process<R>
    where
        F: Function<A, Output = R>,
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        Process::with(function::entry_of::<F, A>(f), None, arguments)
    }

    /// A process that will [`run`](Run::run) `task`.
    pub fn of<T: Run<Output = R>>(task: T) -> Process<R> {
        Process::new(<T as Run>::run, (task,))
    }

    /// A process that will call a function that is known as a pointer only: out of a table, for
    /// instance. It takes one argument.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # ringway::init();
    /// let steps: [fn(f64) -> f64; 2] = [|x| x.sqrt(), |x| x.exp()];
    /// let mut process = ringway::Process::by_pointer(steps[0], 9.0);
    /// process.start()?;
    /// assert_eq!(process.result()?, 3.0);
    /// # Ok(())
    /// # }
    /// ```
    pub fn by_pointer<A>(f: fn(A) -> R, argument: A) -> Process<R>
    where
        A: Serialize + DeserializeOwned + Send + 'static,
    {
        Process::with(function::entry_of_pointers::<A, R>(), Some(f as usize), argument)
    }

    fn with(entry: usize, pointer: Option<usize>, arguments: impl Arguments + 'static) -> Process<R> {
        Process {
            order: Order::new(entry, pointer),
            arguments: Some(Box::new(arguments)),
            child: None,
            result: PhantomData,
        }
    }

    /// The name that its panics show, that [`current_process`](crate::current_process) says, and, cut off
    /// after 15 bytes, that `ps` and `top` show. Default: `Process-N`, and for the children of children
    /// `Process-N:M`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.order.name = Some(name.into());
        self
    }

    /// Whether it is terminated when this process exits, instead of waited for. Default: `false`.
    #[must_use]
    pub fn daemon(mut self, daemon: bool) -> Self {
        self.order.daemon = daemon;
        self
    }

    /// Whether it goes on when this process has exited or died. Nobody waits for it then. Default:
    /// `false`.
    #[must_use]
    pub fn outlives_parent(mut self, outlives: bool) -> Self {
        self.order.outlives = outlives;
        self
    }

    /// Whether it is a copy of a *fork server*, instead of this program executed again. Default:
    /// `false`.
    ///
    /// The server is started with the first such process: this program, executed once before it has any
    /// thread. It copies itself for each child, which is faster (`ringway bench process`); the children are
    /// this process' own, and nothing else tells them from others. What a child has from the one that
    /// made it, it has from the server, as it was when that was started: environment, working directory, user and
    /// groups, limits, umask, ignored signals, priority and processors (from which `nice` and `affinity` go
    /// on). A process that gives up rights after its first warm start must not start more. The server ends
    /// with this process.
    ///
    /// Where a copy would not work (a C library other than glibc, a program that has threads before
    /// [`init`](crate::init)), the program is executed after all.
    #[must_use]
    pub fn warm(mut self, warm: bool) -> Self {
        self.order.warm = warm;
        self
    }

    /// A variable of its environment, which is otherwise this process' at the time of the start. A name
    /// that is empty or has a `=`, and a NUL byte in either, is `InvalidOptions` when it is started.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.order.environment.push((name.into(), value.into()));
        self
    }

    /// Its standard input. Default: this process'.
    #[must_use]
    pub fn stdin(mut self, stream: impl Into<Stream>) -> Self {
        self.order.streams[0] = stream.into();
        self
    }

    /// Its standard output. Default: this process'.
    #[must_use]
    pub fn stdout(mut self, stream: impl Into<Stream>) -> Self {
        self.order.streams[1] = stream.into();
        self
    }

    /// Its standard error. Default: this process'.
    #[must_use]
    pub fn stderr(mut self, stream: impl Into<Stream>) -> Self {
        self.order.streams[2] = stream.into();
        self
    }

    /// By how much its priority is lower than this process' (as `nice(1)`: 19 is the lowest).
    #[must_use]
    pub fn nice(mut self, by: i32) -> Self {
        self.order.nice = Some(by);
        self
    }

    /// The processors that it may run on, by number. Default: those of this process.
    #[must_use]
    pub fn affinity(mut self, processors: impl Into<Vec<usize>>) -> Self {
        self.order.affinity = Some(processors.into());
        self
    }

    /// Starts the child. Returns when it executes the program, before it has reached `init`.
    ///
    /// The arguments are encoded and let go of. A queue handle among them becomes a participant of the
    /// child's at this moment: whoever waits for that side does not find it gone until
    /// the child has taken it over, or has died.
    ///
    /// # Errors
    ///
    /// `AlreadyStarted`, `NotInitialised`, `InvalidOptions`, `NotThisProgram`, `NotExecutable`,
    /// `Queue`, `ArgumentsUnencodable`, and `System` with the cause: no descriptors (`EMFILE`), no processes
    /// (`EAGAIN`) or memory are left; `Forked` where this cannot be told. The arguments are still there
    /// after an error, and `start` can be called again. No panics but those of the arguments' own
    /// `Serialize` and `Drop`.
    pub fn start(&mut self) -> Result<(), ProcessError> {
        let Some(arguments) = self.arguments.as_deref().filter(|_| self.child.is_none()) else {
            return Err(ProcessError::AlreadyStarted);
        };
        let started = start::start(&self.order, arguments)?;
        self.child = Some(Child(started.child));
        self.order.streams = Default::default();
        // Its Single sides are free for the child, which waits for that: also if a `Drop` panics.
        let gate = started.gate;
        self.arguments = None;
        drop(gate);
        Ok(())
    }

    fn started(&self) -> Result<&Child, ProcessError> {
        self.child.as_ref().ok_or(ProcessError::NotStarted)
    }

    /// The child, for those who do not care for the result. `None` before the start.
    pub fn child(&self) -> Option<Child> {
        self.child.clone()
    }

    /// Its process id, for display. `None` before the start.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    /// Whether it runs. Never blocks.
    pub fn is_alive(&self) -> bool {
        self.child.as_ref().is_some_and(Child::is_alive)
    }

    /// Waits until it has ended: how. Ended by a signal, too; that is no error.
    ///
    /// # Errors
    ///
    /// `NotStarted`, `Forked`; `System` if somebody has closed this process' descriptors. No panics.
    pub fn join(&self) -> Result<ExitStatus, ProcessError> {
        self.started()?.join()
    }

    /// Waits until it has ended, at most for `timeout`: whether it has.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, ProcessError> {
        self.started()?.join_timeout(timeout)
    }

    /// How it has ended; `None` while it runs. Never blocks.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn exit_status(&self) -> Result<Option<ExitStatus>, ProcessError> {
        self.started()?.exit_status()
    }

    /// Asks it to end (SIGTERM), which it does at once unless it handles or ignores that. The queues
    /// that it was at stay whole. Nothing happens if it has ended. Does not wait.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn terminate(&self) -> Result<(), ProcessError> {
        self.started()?.terminate()
    }

    /// Ends it (SIGKILL), which it cannot prevent. The queues that it was at stay whole. Nothing happens if it
    /// has ended. Does not wait.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join).
    pub fn kill(&self) -> Result<(), ProcessError> {
        self.started()?.kill()
    }

    /// Waits until it has ended, and decodes what the function has returned. Can be asked again.
    ///
    /// A handle of an anonymous queue cannot be a result: its process has ended. One of a named queue
    /// can.
    ///
    /// # Errors
    ///
    /// As [`join`](Self::join); `NoResult` with its [`ExitStatus`] if the function did not return (it
    /// has panicked, called `exit`, was killed); `ArgumentsUndecodable`, `NotSetUp`, `NeverBegun` if it
    /// was not called; `ResultUnencodable`, `ResultUndecodable`. No panics but those of the
    /// result's own `Deserialize`.
    pub fn result(&self) -> Result<R, ProcessError> {
        let Child(started) = self.started()?;
        let status = started.wait(Deadline::Never)?.unwrap_or(ExitStatus::Unknown);
        match started.mailbox.read().map_err(ProcessError::system("reading a result"))? {
            Progress::Nothing => Err(ProcessError::NeverBegun { status }),
            Progress::Begun => Err(ProcessError::NoResult { status }),
            Progress::Done(outcome, bytes) => match outcome {
                Outcome::Returned => {
                    postcard::from_bytes(&bytes).map_err(|e| ProcessError::ResultUndecodable { reason: e.to_string() })
                }
                Outcome::Panicked { .. } => Err(ProcessError::NoResult { status }),
                Outcome::ArgumentsUndecodable(reason) => Err(ProcessError::ArgumentsUndecodable { reason }),
                Outcome::ResultUnencodable(reason) => Err(ProcessError::ResultUnencodable { reason }),
                Outcome::NotSetUp(reason) => Err(ProcessError::NotSetUp { reason }),
            },
        }
    }
}

impl<R> fmt::Debug for Process<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("order", &self.order).field("child", &self.child).finish_non_exhaustive()
    }
}
