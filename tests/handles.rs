//! What the compiler knows of handles: they may move to another thread, and two
//! threads may not use one.

mod common;

use common::Role;
use ringway::{Bytes, Consumer, Handle, Iter, Options, Pod, Producer, PutManyError, SetupError};
use std::marker::PhantomData;

const ROLES: &[Role] = &[];

/// What a probe says, unless it has an inherent constant of that name, which a
/// bound on its type makes exist.
trait Otherwise {
    const IS_SYNC: bool = false;
    const IS_SEND: bool = false;
    const IS_CLONE: bool = false;
}

struct SyncProbe<T>(PhantomData<T>);
struct SendProbe<T>(PhantomData<T>);
struct CloneProbe<T>(PhantomData<T>);

impl<T> Otherwise for SyncProbe<T> {}
impl<T> Otherwise for SendProbe<T> {}
impl<T> Otherwise for CloneProbe<T> {}

impl<T: Sync> SyncProbe<T> {
    const IS_SYNC: bool = true;
}
impl<T: Send> SendProbe<T> {
    const IS_SEND: bool = true;
}
impl<T: Clone> CloneProbe<T> {
    const IS_CLONE: bool = true;
}

macro_rules! may_move_and_not_be_shared {
    ($($type:ty),* $(,)?) => {
        $(
            const _: () = assert!(<SendProbe<$type>>::IS_SEND, "Send");
            const _: () = assert!(!<SyncProbe<$type>>::IS_SYNC, "not Sync");
            // Cloning takes a place in the table, and may fail: `try_clone`.
            const _: () = assert!(!<CloneProbe<$type>>::IS_CLONE, "not Clone");
        )*
    };
}

may_move_and_not_be_shared!(
    Handle<Bytes>,
    Handle<Pod<u64>>,
    Producer<Bytes>,
    Producer<Pod<u64>>,
    Consumer<Bytes>,
    Consumer<Pod<u64>>,
);

// The probes are probed: they do say yes and no.
const _: () = assert!(<SyncProbe<u8>>::IS_SYNC && !<SyncProbe<std::cell::Cell<u8>>>::IS_SYNC);
const _: () = assert!(<SendProbe<u8>>::IS_SEND && !<SendProbe<std::rc::Rc<u8>>>::IS_SEND);
const _: () = assert!(<CloneProbe<u8>>::IS_CLONE && !<CloneProbe<std::fs::File>>::IS_CLONE);

// An iterator borrows what must not be shared; options and errors are plain values.
const _: () = assert!(!<SendProbe<Iter<'static, Bytes>>>::IS_SEND);
const _: () = assert!(<SendProbe<Options>>::IS_SEND && <SyncProbe<Options>>::IS_SYNC);
const _: () = assert!(<SendProbe<SetupError>>::IS_SEND && <SyncProbe<SetupError>>::IS_SYNC);
const _: () = assert!(<SendProbe<PutManyError>>::IS_SEND && <SyncProbe<PutManyError>>::IS_SYNC);

#[test]
fn a_handle_moves_to_another_thread_with_what_it_holds() {
    let queue = Handle::<Pod<u64>>::bounded(2).expect("memory");
    queue.put(1).expect("there is room");
    let queue = std::thread::spawn(move || {
        assert_eq!(queue.get(), Ok(1));
        queue.put(2).expect("there is room");
        queue
    });
    assert_eq!(queue.join().expect("no panic").get(), Ok(2));
}
