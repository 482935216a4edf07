//! What goes along with the start of a child: while its arguments are encoded, each handle in
//! them adds a participant for the child (see `segment/handed.rs`) and names it by its number; while the
//! child decodes them, each handle takes its own.
//!
//! Both are known to the thread only: a handle is serialised somewhere inside of a value of the
//! user's, and serde has no other way to tell it for whom.

use crate::error::SetupError;
use crate::segment::Handed;
use std::cell::{Cell, RefCell};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// One thing that goes along.
pub(crate) enum Item {
    Participant(Handed),
    Memory(OwnedFd),
}

impl Item {
    /// The child has it.
    pub(crate) fn delivered(self) {
        match self {
            Item::Participant(handed) => handed.delivered(),
            Item::Memory(_) => {}
        }
    }
}

impl AsFd for Item {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Item::Participant(handed) => handed.as_fd(),
            Item::Memory(descriptor) => descriptor.as_fd(),
        }
    }
}

/// What goes along.
#[derive(Default)]
pub(crate) struct Luggage {
    /// By number.
    pub(crate) items: Vec<Item>,
    /// Why a handle could not be handed over; serde keeps the text only.
    pub(crate) failure: Option<SetupError>,
}

thread_local! {
    static PACKED: RefCell<Option<Luggage>> = const { RefCell::new(None) };
    static ARRIVED: RefCell<Vec<Option<OwnedFd>>> = const { RefCell::new(Vec::new()) };
    static DECODED: Cell<Decoded> = const { Cell::new(Decoded::Nothing) };
}

/// Puts back what was there, also when the user's code panics.
struct Restore(Option<Luggage>);

impl Drop for Restore {
    fn drop(&mut self) {
        let before = self.0.take();
        let _ = PACKED.try_with(|packed| packed.replace(before));
    }
}

/// What `encode` hands over goes along, instead of being found by the receiver.
pub(crate) fn packing<T>(encode: impl FnOnce() -> T) -> (T, Luggage) {
    let _restore = Restore(PACKED.replace(Some(Luggage::default())));
    let done = encode();
    (done, PACKED.take().unwrap_or_default())
}

/// Whether this thread encodes the arguments of a child.
pub(crate) fn is_packing() -> bool {
    PACKED.with_borrow(Option::is_some)
}

/// Adds something for the child: under which number. None if nobody packs.
pub(crate) fn hand(item: Item) -> Option<u32> {
    PACKED.with_borrow_mut(|packed| {
        let packed = packed.as_mut()?;
        let number = u32::try_from(packed.items.len()).ok()?;
        packed.items.push(item);
        Some(number)
    })
}

/// A handle could not be handed over.
pub(crate) fn fail(error: SetupError) {
    PACKED.with_borrow_mut(|packed| {
        if let Some(packed) = packed {
            packed.failure = Some(error);
        }
    });
}

/// What became of the handles in the message that this thread decodes, whose decoder can only say it as text.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Decoded {
    /// None is being decoded.
    #[default]
    Nothing,
    Message,
    Unreached,
}

/// Decodes a message. If that fails, [`was_not_reached`] says once whether for want of a queue.
pub(crate) fn decoding<T>(decode: impl FnOnce() -> Option<T>) -> Option<T> {
    let outer = DECODED.replace(Decoded::Message);
    let value = decode();
    if value.is_some() || DECODED.get() == Decoded::Message {
        DECODED.set(outer);
    }
    value
}

/// A handle could not be opened.
pub(crate) fn not_reached() {
    if DECODED.get() == Decoded::Message {
        DECODED.set(Decoded::Unreached);
    }
}

/// Whether a handle of the last message that could not be decoded leads nowhere.
pub(crate) fn was_not_reached() -> bool {
    DECODED.take() != Decoded::Nothing
}

/// Handles that `decode` makes take what has arrived; what nobody took is closed.
pub(crate) fn unpacking<T>(arrived: Vec<OwnedFd>, decode: impl FnOnce() -> T) -> T {
    struct Close;
    impl Drop for Close {
        fn drop(&mut self) {
            let _ = ARRIVED.try_with(|arrived| arrived.take());
        }
    }
    let _close = Close;
    ARRIVED.replace(arrived.into_iter().map(Some).collect());
    decode()
}

/// Takes what has arrived under this number, once.
pub(crate) fn take(number: u32) -> Option<OwnedFd> {
    ARRIVED.with_borrow_mut(|arrived| arrived.get_mut(number as usize)?.take())
}
