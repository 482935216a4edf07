//! Messages of types with invalid bit patterns: a bad one is `Undecodable`, is
//! consumed, and the queue goes on.
//!
//! The bad patterns come from a second handle of an integer type of the same
//! size, which claims to be of the same type.

mod common;

use bytemuck::{CheckedBitPattern, NoUninit};
use common::{MODES, Role, Sandbox};
use ringway::{GetError, PodQueue};

const ROLES: &[Role] = &[];

#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(u32)]
enum Side {
    Bid = 1,
    Ask = 2,
}

/// A message with a good and a bad part.
#[derive(Clone, Copy, Debug, PartialEq, NoUninit, CheckedBitPattern)]
#[repr(C)]
struct Order {
    price: u32,
    side: Side,
    live: bool,
    padding: [u8; 3],
}

const BAD: GetError = GetError::Undecodable;

#[test]
fn a_bad_bool_is_consumed_and_the_queue_goes_on() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let bools = PodQueue::<bool>::create("q", sandbox.mode(16, mode)).expect("a free name");
        let raw = PodQueue::<u8>::open_with("q", sandbox.here().type_tag("bool")).expect("the same size");
        raw.put_many(&[0, 1, 2, 1, 255, 3, 0]).expect("there is room");
        let got: Vec<_> = (0..7).map(|_| bools.try_get()).collect();
        assert_eq!(got, [Ok(false), Ok(true), Err(BAD), Ok(true), Err(BAD), Err(BAD), Ok(false)]);
        assert_eq!(bools.try_get(), Err(GetError::Empty));
        raw.put(7).expect("there is room");
        assert_eq!(bools.get(), Err(BAD));
        raw.put(1).expect("there is room");
        assert_eq!((bools.get(), bools.len()), (Ok(true), 0));
        // Every bit pattern there is.
        for pattern in 0..=255 {
            raw.put(pattern).expect("there is room");
            let expected = match pattern {
                0 => Ok(false),
                1 => Ok(true),
                _ => Err(BAD),
            };
            assert_eq!(bools.get(), expected);
        }
    }
}

#[test]
fn a_bad_enum_is_consumed_and_the_queue_goes_on() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let sides = PodQueue::<Side>::create("q", sandbox.mode(8, mode)).expect("a free name");
        let raw = PodQueue::<u32>::open_with("q", sandbox.here().type_tag("Side")).expect("the same size");
        raw.put_many(&[1, 0, 2, 3, u32::MAX, 1]).expect("there is room");
        let got: Vec<_> = sides.try_iter().take(6).collect();
        assert_eq!(got, [Ok(Side::Bid), Err(BAD), Ok(Side::Ask), Err(BAD), Err(BAD), Ok(Side::Bid)]);
        raw.close();
        assert_eq!(sides.get(), Err(GetError::Closed));
    }
}

#[test]
fn one_bad_part_makes_a_bad_message() {
    let sandbox = Sandbox::new();
    let orders = PodQueue::<Order>::create("q", sandbox.options(8)).expect("a free name");
    let raw = PodQueue::<[u32; 3]>::open_with("q", sandbox.here().type_tag("Order")).expect("the same size");
    let good = Order { price: 7, side: Side::Ask, live: true, padding: [0; 3] };
    orders.put(good).expect("there is room");
    for bad in [[7, 3, 1], [7, 2, 2], [7, 0, 0]] {
        raw.put(bad).expect("there is room");
    }
    raw.put([u32::MAX, 1, 0]).expect("there is room");
    assert_eq!(orders.get(), Ok(good));
    assert_eq!([orders.get(), orders.get(), orders.get()], [Err(BAD); 3]);
    assert_eq!(orders.get(), Ok(Order { price: u32::MAX, side: Side::Bid, live: false, padding: [0; 3] }));
}

/// Those of a batch that are bad are left out; the next calls say so, once each.
#[test]
fn bad_ones_inside_a_batch_are_left_out_and_counted() {
    for mode in MODES {
        let sandbox = Sandbox::new();
        let bools = PodQueue::<bool>::create("q", sandbox.mode(16, mode)).expect("a free name");
        let raw = PodQueue::<u8>::open_with("q", sandbox.here().type_tag("bool")).expect("the same size");
        for patterns in [&[2, 1, 0][..], &[1, 2, 0], &[1, 0, 2], &[9, 1, 9, 9, 0, 1, 9], &[0, 1], &[2], &[2, 3, 4]] {
            raw.put_many(patterns).expect("there is room");
            let good: Vec<bool> = patterns.iter().filter(|p| **p < 2).map(|p| *p == 1).collect();
            let bad = patterns.len() - good.len();
            let mut out = vec![true];
            let mut reports = 0;
            // Bad ones only, and the first call says so already.
            match bools.get_many(&mut out, 16) {
                Ok(count) => assert_eq!(count, good.len()),
                Err(error) => {
                    assert_eq!((error, good.len()), (BAD, 0));
                    reports += 1;
                }
            }
            assert_eq!(out[1..], good);
            assert!(bools.is_empty(), "all are consumed");
            while let Err(BAD) = bools.try_get_many(&mut out, 16) {
                reports += 1;
            }
            assert_eq!(reports, bad, "{patterns:?}");
            assert_eq!(out.len(), 1 + good.len());
        }
        // A bad one does not stop what comes after it.
        raw.put_many(&[1, 2, 1, 1]).expect("there is room");
        let mut out = Vec::new();
        assert_eq!(bools.get_many(&mut out, 2), Ok(1));
        assert_eq!(bools.get_many(&mut out, 2), Err(BAD));
        assert_eq!(bools.get_many(&mut out, 2), Ok(2));
        assert_eq!(out, [true; 3]);
    }
}

/// Iterating goes on after a bad one.
#[test]
fn an_iteration_goes_on_after_a_bad_one() {
    let sandbox = Sandbox::new();
    let bools = PodQueue::<bool>::create("q", sandbox.options(8)).expect("a free name");
    let raw = PodQueue::<u8>::open_with("q", sandbox.here().type_tag("bool")).expect("the same size");
    raw.put_many(&[1, 8, 0]).expect("there is room");
    raw.close();
    assert_eq!(bools.iter().collect::<Vec<_>>(), [Ok(true), Err(BAD), Ok(false)]);
}
