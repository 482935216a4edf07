//! Tasks: functions that a worker is told to call by messages, again and again.
//!
//! A message names the function by the place of its [`Callee`] in the program: read-only data that the
//! compiler has made for that function. Messages lie in memory that others may write, and where a place
//! leads to is executed: so nothing is taken for a callee that does not lie in the program's read-only
//! data and begin with the two words that every callee begins with and nothing else does.

#![allow(unsafe_code)]

use super::function::{Function, recall};
use crate::sys::image::Image;
use bytemuck::AnyBitPattern;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::hint::black_box;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::time::Instant;

/// Why a call has no result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotDone {
    /// The arguments could not be decoded.
    Arguments(String),
    /// The result could not be encoded.
    Result(String),
}

/// Decodes arguments, calls the function, and encodes its result behind what is there.
type Call = fn(&[u8], Vec<u8>) -> Result<Vec<u8>, NotDone>;

/// What a message names.
#[repr(C)]
pub(crate) struct Callee {
    mark: [u64; 2],
    call: Call,
}

const MARK: u64 = 0x9f3a_6cd1_47b2_e805;

const fn callee(call: Call) -> Callee {
    Callee { mark: [MARK, !MARK], call }
}

struct Of<F, A>(PhantomData<(F, A)>);

impl<F: Function<A>, A: DeserializeOwned> Of<F, A> {
    const ONE: &'static Callee = &callee(one::<F, A>);
    const MANY: &'static Callee = &callee(many::<F, A>);
}

/// Bytes before the results of many calls: how long they took, in nanoseconds.
pub(crate) const MANY_HEAD: usize = 8;

struct OfSlices<F, T, R>(PhantomData<(F, T, R)>);

impl<F, T, R> OfSlices<F, T, R>
where
    F: Fn(&[T]) -> R + Copy + Send + Sync + 'static,
    T: AnyBitPattern + Send,
    R: Serialize,
{
    const SLICE: &'static Callee = &callee(slice::<F, T, R>);
}

/// One call with a slice of plain data, whose bytes are the arguments.
pub(crate) fn slice_of<F, T, R>(_: F) -> &'static Callee
where
    F: Fn(&[T]) -> R + Copy + Send + Sync + 'static,
    T: AnyBitPattern + Send,
    R: Serialize,
{
    OfSlices::<F, T, R>::SLICE
}

fn slice<F, T, R>(arguments: &[u8], out: Vec<u8>) -> Result<Vec<u8>, NotDone>
where
    F: Fn(&[T]) -> R + Copy + Send + Sync + 'static,
    T: AnyBitPattern + Send,
    R: Serialize,
{
    let function = recall::<F>();
    // In place, if it lies as a slice of them must.
    if let Ok(data) = bytemuck::try_cast_slice(arguments) {
        return encode(&function(data), out);
    }
    let size = size_of::<T>().max(1);
    if !arguments.len().is_multiple_of(size) {
        return Err(NotDone::Arguments(format!("{} bytes are no elements of {size} bytes", arguments.len())));
    }
    let data: Vec<T> = arguments.chunks_exact(size).map(bytemuck::pod_read_unaligned).collect();
    encode(&function(&data), out)
}

/// One call.
pub(crate) fn one_of<F: Function<A>, A: DeserializeOwned>(_: F) -> &'static Callee {
    Of::<F, A>::ONE
}

/// As many calls as there are arguments.
pub(crate) fn many_of<F: Function<A>, A: DeserializeOwned>(_: F) -> &'static Callee {
    Of::<F, A>::MANY
}

fn one<F: Function<A>, A: DeserializeOwned>(arguments: &[u8], out: Vec<u8>) -> Result<Vec<u8>, NotDone> {
    let arguments = postcard::from_bytes::<A>(arguments).map_err(|error| NotDone::Arguments(error.to_string()))?;
    encode(&recall::<F>().call(arguments), out)
}

/// The number of calls comes before the arguments, the time that they took before the results.
fn many<F: Function<A>, A: DeserializeOwned>(arguments: &[u8], mut out: Vec<u8>) -> Result<Vec<u8>, NotDone> {
    let short = || NotDone::Arguments("the number of calls is missing".to_owned());
    let (count, mut arguments) = arguments.split_first_chunk().ok_or_else(short)?;
    let (function, begun, at) = (recall::<F>(), Instant::now(), out.len());
    out.extend_from_slice(&[0; MANY_HEAD]);
    for _ in 0..u32::from_le_bytes(*count) {
        let (next, rest) = postcard::take_from_bytes::<A>(arguments).map_err(|e| NotDone::Arguments(e.to_string()))?;
        arguments = rest;
        out = encode(&function.call(next), out)?;
    }
    let took = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
    if let Some(head) = out.get_mut(at..at + MANY_HEAD) {
        head.copy_from_slice(&took.to_le_bytes());
    }
    Ok(out)
}

fn encode<R: Serialize>(result: &R, out: Vec<u8>) -> Result<Vec<u8>, NotDone> {
    postcard::to_extend(result, out).map_err(|error| NotDone::Result(error.to_string()))
}

fn image() -> &'static Image {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    IMAGE.get_or_init(Image::of_this_process)
}

impl Callee {
    /// Where it is, for other processes that run this program. None: it is not the main program's.
    pub(crate) fn place(&'static self) -> Option<u64> {
        image().offset_of_data(std::ptr::from_ref(self) as usize, size_of::<Callee>())
    }

    /// The one that is there, if one is.
    pub(crate) fn at(place: u64) -> Option<&'static Callee> {
        let address = image().address_of_data(place, size_of::<Callee>())?;
        let callee = address as *const Callee;
        if !callee.is_aligned() {
            return None;
        }
        // Not a constant that the compiler could put beside its complement.
        let mark = black_box(MARK);
        // SAFETY: so many bytes at this aligned address are read-only data of this program, which is never
        // unmapped. Any bytes are two integers.
        let found = unsafe { (&raw const (*callee).mark).read() };
        // SAFETY: as above; and a word followed by its complement, which this word is, is nowhere but
        // in what `callee` has made (by chance: one in 2^128), so a function follows.
        (found == [mark, !mark]).then(|| unsafe { &*callee })
    }

    pub(crate) fn call(&self, arguments: &[u8], out: Vec<u8>) -> Result<Vec<u8>, NotDone> {
        (self.call)(arguments, out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(n: u32) -> u32 {
        2 * n
    }

    #[test]
    fn a_callee_is_found_again_and_called() {
        let callee = one_of::<_, (u32,)>(double);
        let place = callee.place().expect("it is of this program");
        let found = Callee::at(place).expect("it is there");
        assert_eq!(found.call(&[21], vec![9]), Ok(vec![9, 42]));
        assert!(matches!(found.call(&[], Vec::new()), Err(NotDone::Arguments(_))));
        let many = Callee::at(many_of::<_, (u32,)>(double).place().expect("as well")).expect("it is there");
        let results = many.call(&[3, 0, 0, 0, 1, 2, 3], vec![9]).expect("they fit");
        assert_eq!((results[0], &results[1 + MANY_HEAD..]), (9, &[2, 4, 6][..]));
        let sum = slice_of(|numbers: &[u32]| numbers.iter().sum::<u32>());
        let bytes: Vec<u8> = [0_u32, 1, 2, 3].iter().flat_map(|n| n.to_ne_bytes()).collect();
        // However they lie.
        for skip in 0..4 {
            assert!(sum.call(&bytes[skip..][..12], Vec::new()).is_ok());
        }
        assert_eq!(sum.call(&bytes, Vec::new()), Ok(vec![6]));
        assert!(matches!(sum.call(&bytes[1..], Vec::new()), Err(NotDone::Arguments(_))));
        assert!(many.call(&[4, 0, 0, 0, 1, 2, 3], Vec::new()).is_err() && many.call(&[1, 0], Vec::new()).is_err());
    }

    /// Whatever place a peer may write: none but that of a callee is one.
    #[test]
    fn nothing_else_is_a_callee() {
        let place = one_of::<_, (u32,)>(double).place().expect("it is of this program");
        for beside in 1..200 {
            assert!(Callee::at(place + beside).is_none_or(|other| other.mark == [MARK, !MARK]), "{beside}");
        }
        let code = (double as fn(u32) -> u32) as usize;
        let code = image().offset_of(code).expect("code of this program");
        for place in [0, 1, 8, u64::MAX, u64::MAX / 2, code] {
            assert!(Callee::at(place).is_none(), "{place}");
        }
        let mut found = 0;
        for place in (0..1 << 26).step_by(8) {
            found += usize::from(Callee::at(place).is_some());
        }
        // Those that this test binary has made.
        assert!((1..100).contains(&found), "{found}");
    }
}
