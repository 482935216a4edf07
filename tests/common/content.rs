//! What is put under load: numbered messages of several sizes and kinds.

use ringway::{Bytes, Message, Options, Pod};

/// What is put: a numbered message, small or so large that much of the time is spent
/// between a claim and its end.
pub trait Content: Sized {
    type Kind: Message;
    const WIDTH: &'static str;
    /// The bytes of one.
    const SIZE: usize;
    fn fit(options: Options) -> Options {
        options
    }
    fn of(message: u64) -> Self;
    fn wire(&self) -> <Self::Kind as Message>::In<'_>;
    /// The message, if it is whole.
    fn message(out: &<Self::Kind as Message>::Out) -> u64;
}

impl Content for u64 {
    type Kind = Pod<u64>;
    const WIDTH: &'static str = "small";
    const SIZE: usize = size_of::<u64>();
    fn of(message: u64) -> u64 {
        message
    }
    fn wire(&self) -> u64 {
        *self
    }
    fn message(out: &u64) -> u64 {
        *out
    }
}

/// 4 KiB.
pub type Wide = [u64; 512];

/// 64 KiB: whoever is stopped has mostly claimed something.
pub type Huge = [u64; 8192];

macro_rules! content_of_words {
    ($type:ty, $width:literal) => {
        impl Content for $type {
            type Kind = Pod<$type>;
            const WIDTH: &'static str = $width;
            const SIZE: usize = size_of::<$type>();
            fn of(message: u64) -> $type {
                [message; Self::SIZE / 8]
            }
            fn wire(&self) -> $type {
                *self
            }
            fn message(out: &$type) -> u64 {
                first_of_equals(out)
            }
        }
    };
}

content_of_words!(Wide, "wide");
content_of_words!(Huge, "huge");

/// As [`Wide`], in a block of the arena.
pub struct Blocks(Wide);

impl Content for Blocks {
    type Kind = Bytes;
    const WIDTH: &'static str = "blocks";
    const SIZE: usize = size_of::<Wide>();
    fn fit(options: Options) -> Options {
        options.inline(4).max_message(Self::SIZE)
    }
    fn of(message: u64) -> Blocks {
        Blocks(Wide::of(message))
    }
    fn wire(&self) -> &[u8] {
        bytemuck::bytes_of(&self.0)
    }
    fn message(out: &Vec<u8>) -> u64 {
        let words: Wide = bytemuck::try_pod_read_unaligned(out).expect("a message has its length");
        first_of_equals(&words)
    }
}

fn first_of_equals(words: &[u64]) -> u64 {
    assert!(words.iter().all(|word| *word == words[0]), "a message is whole: {:x?}", &words[..8]);
    words[0]
}
