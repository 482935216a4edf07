//! Seeded bugs: proof that a test can fail.
//!
//! Only a build with `--cfg ringway_seeded` has them. There, the environment variable
//! `RINGWAY_SEEDED` chooses one by number; each place that asks says what it breaks. Under loom a model
//! chooses its own with [`with_seed`].
//!
//! | seed | what goes wrong |
//! |---|---|
//! | 1 | recovery does not bury a dead producer's claim |
//! | 2 | recovery releases a dead consumer's message instead of bringing it back |
//! | 3 | a put announces its intent only after the claim |
//! | 4 | recovery does not ask whether a live intent covers the position |
//! | 5 | taking a redelivery does not count the attempt |
//! | 6 | an index is vacated before its intents are finished |
//! | 7 | a participant that lives is taken for dead |
//! | 8 | a redelivery is brought back without telling the consumers |
//! | 9 | what the dead reserve or copy out of cells is not freed |
//! | 10 | what the dead had placed and never published is not freed |
//! | 11 | an index is vacated before what it has left is finished |
//! | 12 | a participant that has died is taken for alive |
//! | 13 | a fork may copy a descriptor whose description has locks |
//! | 14 | nobody looks for the dead unless somebody asks for it, joins or opens |
//! | 15 | an index is vacated though a block was placed by a claim that is not finished |
//! | 16 | the watcher does not look for a watched process that has died |
//! | 17 | a slice ends seven times too late |
//! | 18 | closing does not look for the dead |
//! | 19 | what the dead have leased is freed, and does not come back |
//! | 20 | the sweep removes ephemeral names without testing the life bytes |
//! | 21 | a deserted name is removed a moment later, without a second look at the life bytes |
//! | 22 | opening and creating sweep nothing |
//! | 30 | the length of a queue is not clamped to its capacity |
//! | 31 | no deadline ever passes |
//! | 32 | of sixteen positions one is published without its message |
//! | 33 | a sleep that nobody has ended is taken for one that has timed out |
//! | 34 | a wake-up wakes everybody |
//! | 35 | the request of a sleeper that is gone is never withdrawn |
//! | 36 | a deadline passes a fifth of a second late |
//! | 37 | the number of a block that a slot names is used unchecked |
//! | 40 | a future that is dropped with a wake-up in its hands keeps it |
//! | 41 | a future does not look again between asking to be woken and sleeping |
//! | 42 | no slice of a future ever ends |
//! | 50 | a dead subscriber stays on the roll of its broadcast |
//! | 51 | a gap of a broadcast is counted as one message less than it has |
//! | 52 | a subscriber believes a copy without a second look at the stamp |
//! | 53 | who joins does not count the tasks that came back |
//! | 60 | a chunk is touched though its word is not READY behind the hazard |
//! | 61 | a chunk of the lap before is opened though not all of its messages are committed |
//! | 62 | a block is said to have no memory while that is given or taken |
//! | 63 | a hazard names the chunk, not its place |
//! | 64 | who exchanges the places of two chunks does not leave word of it first |
//! | 70 | a participant for a child holds no life byte before the child has it |
//! | 71 | a child does not learn of its parent's death |
//! | 80 | a pool forgets the job of a worker that has died |
//! | 81 | a worker acknowledges the message of a job before it runs it |
//! | 82 | a message of a pool that found no room goes back in line without a hint that one waits there |

/// Whether seeded bug `number` is switched on.
#[cfg(all(ringway_seeded, not(loom)))]
pub(crate) fn seeded(number: u32) -> bool {
    static CHOSEN: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    *CHOSEN.get_or_init(|| std::env::var("RINGWAY_SEEDED").ok().and_then(|n| n.parse().ok()).unwrap_or(0)) == number
}

#[cfg(loom)]
std::thread_local! {
    /// loom runs all threads of a model on one thread of the system.
    static CHOSEN: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// Whether the model that runs on this thread has seeded bug `number`.
#[cfg(loom)]
pub(crate) fn seeded(number: u32) -> bool {
    CHOSEN.get() == number
}

/// Runs a model that has seeded bug `number`.
#[cfg(all(test, loom))]
pub(crate) fn with_seed(number: u32, model: impl FnOnce()) {
    /// Also where the model panics, as it should.
    struct Unchoose;

    impl Drop for Unchoose {
        fn drop(&mut self) {
            CHOSEN.set(0);
        }
    }

    let _unchoose = Unchoose;
    CHOSEN.set(number);
    model();
}

/// Never: this build has no seeded bugs.
#[cfg(not(any(ringway_seeded, loom)))]
#[inline(always)]
pub(crate) const fn seeded(_number: u32) -> bool {
    false
}
