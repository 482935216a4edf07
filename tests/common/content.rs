//! What is put under load: numbered messages of several sizes and kinds, and how one is put and held.

use super::load::Dice;
use super::notes::REDELIVERED;
use ringway::{ByteQueue, Bytes, GetError, Handle, Message, Options, Pod, PutError, Ref};
use std::time::{Duration, Instant};

/// Of calls that can be made in three ways: which, and for how long.
#[derive(Clone, Copy)]
pub struct Call {
    /// 0: without waiting; 1 and 2: waiting for a time; else for ever.
    pub way: u64,
    pub timeout: Duration,
}

impl Call {
    pub fn any(dice: &mut Dice) -> Call {
        Call { way: dice.below(8), timeout: Duration::from_millis(dice.below(40)) }
    }

    pub fn is_timed(&self) -> bool {
        matches!(self.way, 1 | 2)
    }
}

/// What is put: a numbered message, small or so large that much of the time is spent
/// between a claim and its end.
pub trait Content: Sized {
    type Kind: Message;
    const WIDTH: &'static str;
    /// The bytes of one.
    const SIZE: usize;
    /// So many at least are a load that is worth the name.
    const WORTH: u64 = 1000;
    fn fit(options: Options) -> Options {
        options
    }
    /// Of a queue that does not grow.
    fn with_arena(options: Options) -> Options {
        options
    }
    fn of(message: u64) -> Self;
    fn wire(&self) -> <Self::Kind as Message>::In<'_>;
    /// The message, if it is whole.
    fn message(out: &<Self::Kind as Message>::Out) -> u64;

    /// Puts it.
    fn put(&self, queue: &Handle<Self::Kind>, call: Call, _dice: &mut Dice) -> Result<(), PutError<()>> {
        let outcome = match call.way {
            0 => queue.try_put(self.wire()),
            1 | 2 => queue.put_timeout(self.wire(), call.timeout),
            _ => queue.put(self.wire()),
        };
        outcome.map_err(|error| error.map(drop))
    }

    /// Takes one message by lease, notes it, and acknowledges it only then.
    fn hold(
        queue: &Handle<Self::Kind>,
        call: Call,
        _dice: &mut Dice,
        mut note: impl FnMut(u64),
    ) -> Result<(), GetError> {
        let lease = match call.way {
            0 => queue.try_lease(),
            1 | 2 => queue.lease_timeout(call.timeout),
            _ => queue.lease(),
        }?;
        if call.way == 3 && lease.id() % 16 == 0 && lease.redelivered() == 0 {
            // Given back: somebody gets it again.
            return Ok(());
        }
        note(Self::message(&lease) | if lease.redelivered() > 0 { REDELIVERED } else { 0 });
        lease.ack().map(drop)
    }
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

/// Messages of many lengths, most of them in blocks of several sizes, written and read where they lie.
pub struct InPlace(Vec<u8>);

impl InPlace {
    /// So many a consumer holds at once.
    const HELD: usize = 3;

    /// The message, and bytes that follow from it: how many, too.
    fn bytes(message: u64) -> Vec<u8> {
        let dice = &mut Dice::new(message);
        let most = [60, 300, 1500, 1500, Self::SIZE as u64][dice.below(5) as usize];
        let len = 8 + dice.below(most - 7) as usize;
        let words =
            (0..len.div_ceil(8) as u64).map(|at| message.rotate_left(at as u32 % 64) ^ at.wrapping_mul(message));
        let mut bytes: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
        bytes.truncate(len);
        bytes
    }

    /// For a while, so that some are killed with something in their hands.
    fn dwell(dice: &mut Dice) {
        (0..dice.below(2000)).for_each(|_| std::hint::spin_loop());
    }

    fn noted(held: &Ref<'_>) -> u64 {
        Self::message(&held.to_vec()) | if held.redelivered() > 0 { REDELIVERED } else { 0 }
    }
}

impl Content for InPlace {
    type Kind = Bytes;
    const WIDTH: &'static str = "in place";
    const SIZE: usize = 16 << 10;
    const WORTH: u64 = 100;
    fn fit(options: Options) -> Options {
        options.max_message(Self::SIZE)
    }
    fn with_arena(options: Options) -> Options {
        options.arena(400_000)
    }
    fn of(message: u64) -> InPlace {
        InPlace(InPlace::bytes(message))
    }
    fn wire(&self) -> &[u8] {
        &self.0
    }
    fn message(out: &Vec<u8>) -> u64 {
        let first = out.first_chunk().expect("a message has eight bytes");
        let message = u64::from_ne_bytes(*first);
        assert!(*out == InPlace::bytes(message), "a message is whole: {message:x}, {} bytes", out.len());
        message
    }

    /// Reserves and commits; now and then what is given up comes before it, or the guard is longer at first.
    fn put(&self, queue: &ByteQueue, call: Call, dice: &mut Dice) -> Result<(), PutError<()>> {
        let (begun, len) = (Instant::now(), self.0.len());
        if dice.below(4) == 0 {
            match queue.try_reserve(1 + dice.below(Self::SIZE as u64) as usize) {
                Ok(mut place) => place.fill(0xa5),
                Err(PutError::Full(())) => {}
                Err(error) => return Err(error),
            }
        }
        let room = if dice.below(4) == 0 { Self::SIZE } else { len };
        let mut place = match call.way {
            0 => queue.try_reserve(room),
            1 | 2 => queue.reserve_timeout(room, call.timeout),
            _ => queue.reserve(room),
        }?;
        let (front, back) = self.0.split_at(dice.below(len as u64) as usize);
        place.write_at(front.len(), back).and(place.write_at(0, front)).expect("it was reserved");
        place.truncate(len);
        Self::dwell(dice);
        let outcome = match call.way {
            0 => place.try_commit(),
            1 | 2 => place.commit_timeout(call.timeout.saturating_sub(begun.elapsed())),
            _ => place.commit(),
        };
        // What was refused is given up.
        outcome.map_err(|refused| refused.map(drop))
    }

    /// Takes some, notes each while it is held, and ends them in any order.
    fn hold(queue: &ByteQueue, call: Call, dice: &mut Dice, mut note: impl FnMut(u64)) -> Result<(), GetError> {
        let first = match call.way {
            0 => queue.try_get_ref(),
            1 | 2 => queue.get_ref_timeout(call.timeout),
            _ => queue.get_ref(),
        }?;
        note(Self::noted(&first));
        let mut held = vec![first];
        while held.len() < Self::HELD && dice.below(2) == 0 {
            // Without waiting: those who wait for a block wait for these here.
            let Ok(next) = queue.try_get_ref() else { break };
            note(Self::noted(&next));
            held.push(next);
        }
        while !held.is_empty() {
            Self::dwell(dice);
            let one = held.swap_remove(dice.below(held.len() as u64) as usize);
            if dice.below(2) == 0 { one.ack()? } else { drop(one) }
        }
        Ok(())
    }
}
