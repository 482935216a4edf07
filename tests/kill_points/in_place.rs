//! What only messages of bytes have: operations in place, and blocks that must all be free in
//! the end.

use super::kind::{BLOCKS, Kind, LEN, unwire, wire};
use super::step::Said;
use super::table::{DONE, FAILED, Operation, REFUSED, get, put, put_said};
use ringway::{Producer, PutError};

/// All blocks are free.
pub fn nothing_is_kept(producer: &Producer<Kind>) -> Result<(), String> {
    let mut free = Vec::new();
    loop {
        match producer.try_reserve(LEN) {
            Ok(block) => free.push(block),
            Err(PutError::Full(())) if free.len() == BLOCKS => return Ok(()),
            other => return Err(format!("{} of {BLOCKS} blocks are free: {other:?}", free.len())),
        }
    }
}

pub const OPERATIONS: &[Operation] = &[
    put("commit", 1, |v| {
        let reserved = v.producer().reserve(LEN);
        let Ok(mut block) = reserved else { return FAILED };
        if block.copy_from_slice(wire(&v.batch[0])).is_err() {
            return FAILED;
        }
        put_said(block.commit())
    }),
    put("try_commit", 1, |v| {
        let Ok(mut block) = v.producer().try_reserve(LEN) else { return FAILED };
        if block.copy_from_slice(wire(&v.batch[0])).is_err() {
            return FAILED;
        }
        put_said(block.try_commit())
    }),
    put("abort", 0, |v| {
        drop(v.producer().reserve(LEN));
        DONE
    }),
    get("get_into", 1, |v| {
        let mut message = v.out.pop().unwrap_or_default();
        match v.consumer().get_into(&mut message) {
            Ok(_) => Said { count: 1, first: unwire(message)[0], ..DONE },
            Err(ringway::GetError::Empty) => REFUSED,
            Err(_) => FAILED,
        }
    }),
    // What a dead one has not let go of comes back; what it has is consumed.
    get("get_ref", 1, |v| match v.consumer().get_ref() {
        Ok(message) => {
            let mut first = [0; 8];
            if message.copy_to_slice(0, &mut first).is_err() {
                return FAILED;
            }
            drop(message);
            Said { count: 1, first: u64::from_ne_bytes(first), ..DONE }
        }
        Err(ringway::GetError::Empty) => REFUSED,
        Err(_) => FAILED,
    }),
    Operation {
        loses: 0,
        ..get("keep_ref", 1, |v| match v.consumer().try_get_ref() {
            Ok(message) => {
                std::mem::forget(message);
                DONE
            }
            Err(ringway::GetError::Empty) => REFUSED,
            Err(_) => FAILED,
        })
    },
];
