//! Functions that run in processes of their own: started, waited for, ended.
//!
//! A child is this very program, executed again: [`init`] takes it over before `main` does anything,
//! finds the function by its place in the program, and runs it. What goes there and comes back
//! are memory files (`message`); what a parent knows of its child is a pidfd (`child`), and of all
//! its children a list (`family`).
//!
//! It must not know what the segment of a queue looks like, or what runs in the child.

mod board;
mod builder;
mod child;
mod current;
mod error;
mod family;
mod function;
mod message;
mod server;
mod start;
mod startup;
mod stream;
mod task;

pub(crate) use board::{Board, Glimpse};
pub use builder::Process;
pub use child::{Child, ExitStatus};
pub use current::{CurrentProcess, ParentProcess, cpu_count, current_process, parent_process};
pub use error::ProcessError;
pub use family::active_children;
pub(crate) use family::{AfterDeaths, after_deaths};
pub(crate) use function::recall;
pub use function::{Function, Run};
pub(crate) use startup::catch;
pub use startup::init;
#[doc(hidden)]
pub use startup::start_up;
pub use stream::Stream;
pub(crate) use task::{Callee, MANY_HEAD, NotDone, many_of, one_of, slice_of};
