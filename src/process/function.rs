//! Which function runs, and how it is called in a process that has nothing but its place in the
//! program.
//!
//! A function item, or a closure that captures nothing, has no bytes: its type is all there is to
//! it. So the parent sends the place of [`entry`], which the compiler has made for that type, and the
//! child calls it there. A function pointer is sent as a place, too.

#![allow(unsafe_code)]

use super::startup::Errand;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::ptr::NonNull;

/// A function of the arguments `A`, a tuple: of up to eight of them.
///
/// Function items and closures that capture nothing are such functions, and nobody implements this for
/// anything else.
///
/// ```
/// fn greet(name: String, times: u32) -> String {
///     name.repeat(times as usize)
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ringway::init();
/// let mut process = ringway::Process::new(greet, ("ho".to_owned(), 3));
/// process.start()?;
/// assert_eq!(process.result()?, "hohoho");
/// # Ok(())
/// # }
/// ```
///
/// What a closure captures would stay behind in this process, so one that does is refused when it
/// is compiled:
///
/// (One that captures only values without bytes, a `()` for instance, cannot be told from one that captures
/// nothing. Such a value is made anew in the child: do not capture one that stands for something that this
/// process has done.)
///
/// ```compile_fail
/// let here = 1;
/// ringway::Process::new(move || println!("{here}"), ());
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a function of the arguments `{A}`",
    label = "not a function of the arguments `{A}`",
    note = "the arguments are a tuple, also if there is one or none: `Process::new(f, (12,))`, `Process::new(f, ())`"
)]
pub trait Function<A>: Copy + Send + Sync + 'static {
    /// What it returns.
    type Output: Serialize + DeserializeOwned + 'static;

    #[doc(hidden)]
    fn call(self, arguments: A) -> Self::Output;
}

macro_rules! functions_of {
    ($(($($name:ident $argument:ident),*))*) => {$(
        impl<F, R, $($name),*> Function<($($name,)*)> for F
        where
            F: Fn($($name),*) -> R + Copy + Send + Sync + 'static,
            R: Serialize + DeserializeOwned + 'static,
        {
            type Output = R;

            fn call(self, ($($argument,)*): ($($name,)*)) -> R {
                self($($argument),*)
            }
        }
    )*};
}

functions_of! {
    ()
    (A a)
    (A a, B b)
    (A a, B b, C c)
    (A a, B b, C c, D d)
    (A a, B b, C c, D d, E e)
    (A a, B b, C c, D d, E e, G g)
    (A a, B b, C c, D d, E e, G g, H h)
    (A a, B b, C c, D d, E e, G g, H h, I i)
}

/// Something that can be sent to another process and run there: what Python does by overriding
/// `run` of a subclass.
///
/// ```
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Sum {
///     numbers: Vec<u64>,
/// }
///
/// impl ringway::Run for Sum {
///     type Output = u64;
///
///     fn run(self) -> u64 {
///         self.numbers.iter().sum()
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # ringway::init();
/// let mut process = ringway::Process::of(Sum { numbers: vec![1, 2, 3] });
/// process.start()?;
/// assert_eq!(process.result()?, 6);
/// # Ok(())
/// # }
/// ```
pub trait Run: Serialize + DeserializeOwned + Send + 'static {
    /// What it returns.
    type Output: Serialize + DeserializeOwned + 'static;

    /// What the process does.
    fn run(self) -> Self::Output;
}

/// What is called in the child. Returns its exit code.
pub(super) type Entry = fn(Errand) -> i32;

/// The address of the entry of a function.
pub(super) fn entry_of<F: Function<A>, A: DeserializeOwned>(_: F) -> usize {
    captures_nothing::<F>();
    (entry::<F, A> as Entry) as usize
}

/// Does not compile if it does.
fn captures_nothing<F>() {
    const {
        assert!(
            size_of::<F>() == 0,
            "a function for another process must not capture anything: what a closure captures stays behind in this \
             one. Pass it as an argument, or write a function."
        );
    }
}

fn entry<F: Function<A>, A: DeserializeOwned>(errand: Errand) -> i32 {
    errand.run(|arguments: A| recall::<F>().call(arguments))
}

/// The function of this type. Whoever mentions it runs what a parent has asked for, which had a value of `F`.
pub(crate) fn recall<F: Copy + Send + Sync + 'static>() -> F {
    captures_nothing::<F>();
    // SAFETY: reads no bytes, at an aligned address: `F` has none (this does not compile otherwise), is
    // `Copy`, and is inhabited: the parent had a value of it. It is the type of a function item
    // or of a closure that captures nothing, or nothing but values without bytes that are `Copy`, `Send` and
    // `Sync`, of which one is as good as any other.
    unsafe { NonNull::<F>::dangling().read() }
}

/// The address of the entry for any function pointer of this type.
pub(super) fn entry_of_pointers<A: DeserializeOwned, R: Serialize>() -> usize {
    (entry_by_pointer::<A, R> as Entry) as usize
}

fn entry_by_pointer<A: DeserializeOwned, R: Serialize>(errand: Errand) -> i32 {
    let Some(address) = errand.pointer() else { return super::startup::FAILED };
    // SAFETY: the parent had a function pointer of this very type, whose place in the program it has sent;
    // this is the same program (`startup`), and code of it is there.
    let function: fn(A) -> R = unsafe { std::mem::transmute::<*const (), fn(A) -> R>(address) };
    errand.run(function)
}

/// The entry at this address.
///
/// # Safety
///
/// It is the address of an [`Entry`] of this program.
pub(super) unsafe fn entry_at(address: *const ()) -> Entry {
    // SAFETY: the caller vouches for it.
    unsafe { std::mem::transmute::<*const (), Entry>(address) }
}
