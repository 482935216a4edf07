//! What can go wrong with a child.

use super::child::ExitStatus;
use crate::error::SetupError;
use std::fmt;
use std::io;

/// Why a child could not be started, or has no result.
///
/// The message says what happened and what to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProcessError {
    /// It was not started yet.
    NotStarted,
    /// It was started before: one process runs once.
    AlreadyStarted,
    /// [`init`](crate::init) was not called in this program.
    NotInitialised,
    /// Something that was asked for makes no sense.
    InvalidOptions {
        /// What.
        reason: &'static str,
    },
    /// The function is not one of the main program's (but of a plug-in's, of a library's, or no
    /// function at all).
    NotThisProgram,
    /// `/proc/self/exe` is not this program: it runs under a loader or an emulator.
    NotExecutable {
        /// Which program it is.
        found: String,
    },
    /// A queue handle among the arguments could not be handed over. The arguments are still there.
    Queue(SetupError),
    /// An argument could not be encoded. The arguments are still there.
    ArgumentsUnencodable {
        /// What its `Serialize` said.
        reason: String,
    },
    /// The child could not decode its arguments, so the function did not run.
    ArgumentsUndecodable {
        /// What `Deserialize` said.
        reason: String,
    },
    /// The function returned something that could not be encoded, or was too large.
    ResultUnencodable {
        /// What its `Serialize` said, or the system.
        reason: String,
    },
    /// The result could not be decoded here.
    ResultUndecodable {
        /// What `Deserialize` said.
        reason: String,
    },
    /// The child could not set itself up as was asked for, so the function did not run.
    NotSetUp {
        /// What failed.
        reason: String,
    },
    /// The function did not return.
    NoResult {
        /// How the child has ended instead.
        status: ExitStatus,
    },
    /// The function did not begin: the child was ended before, or the program did not reach
    /// [`init`](crate::init) when it was executed again.
    NeverBegun {
        /// How it has ended.
        status: ExitStatus,
    },
    /// The handle was inherited by `fork`: the child is not one of this process.
    Forked,
    /// The system refused.
    System {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl ProcessError {
    pub(super) fn system(doing: &'static str) -> impl Fn(io::Error) -> ProcessError {
        move |source| ProcessError::System { doing, source }
    }
}

impl fmt::Display for ProcessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ProcessError as E;
        match self {
            E::NotStarted => f.write_str("the process was not started; call start() first"),
            E::AlreadyStarted => f.write_str("the process was started before; make a new one to run it again"),
            E::NotInitialised => f.write_str(
                "this program cannot start processes yet: call ringway::init() as the first line of main \
                 (in tests: ringway::test_support!() once in the crate)",
            ),
            E::InvalidOptions { reason } => write!(f, "invalid options: {reason}"),
            E::NotThisProgram => f.write_str(
                "the function is not part of the main program, where a child would look for it; \
                 wrap it in a function of the program",
            ),
            E::NotExecutable { found } => write!(
                f,
                "this program cannot be executed again: /proc/self/exe is {found}; \
                 run it directly, not under a loader or an emulator"
            ),
            E::Queue(error) => write!(f, "a queue among the arguments cannot be handed over: {error}"),
            E::ArgumentsUnencodable { reason } => write!(f, "an argument cannot be encoded: {reason}"),
            E::ArgumentsUndecodable { reason } => {
                write!(f, "the child could not decode its arguments, the function did not run: {reason}")
            }
            E::ResultUnencodable { reason } => write!(f, "the result of the function cannot be encoded: {reason}"),
            E::ResultUndecodable { reason } => write!(f, "the result of the function cannot be decoded: {reason}"),
            E::NotSetUp { reason } => write!(f, "the child could not be set up, the function did not run: {reason}"),
            E::NoResult { status } => write!(f, "there is no result: the process {status}"),
            E::NeverBegun { status } => write!(
                f,
                "the process {status} before its function began; if nobody has ended it, look for what runs before \
                 ringway::init(), which is the first line of main"
            ),
            E::Forked => {
                f.write_str("this handle was inherited by fork: only the process that started the child has it")
            }
            E::System { doing, source } => write!(f, "{doing} failed: {source}"),
        }
    }
}

impl std::error::Error for ProcessError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ProcessError::System { source, .. } => Some(source),
            ProcessError::Queue(source) => Some(source),
            _ => None,
        }
    }
}

impl From<ProcessError> for io::Error {
    fn from(error: ProcessError) -> io::Error {
        use ProcessError as E;
        if let E::Queue(error) = error {
            return error.into();
        }
        let kind = match &error {
            E::NotStarted | E::AlreadyStarted | E::NotInitialised | E::InvalidOptions { .. } | E::NotThisProgram => {
                io::ErrorKind::InvalidInput
            }
            E::NotExecutable { .. } | E::Forked | E::Queue(_) => io::ErrorKind::Unsupported,
            E::ArgumentsUnencodable { .. }
            | E::ArgumentsUndecodable { .. }
            | E::ResultUnencodable { .. }
            | E::ResultUndecodable { .. } => io::ErrorKind::InvalidData,
            E::NotSetUp { .. } | E::NoResult { .. } | E::NeverBegun { .. } => io::ErrorKind::Other,
            E::System { source, .. } => source.kind(),
        };
        io::Error::new(kind, error)
    }
}
