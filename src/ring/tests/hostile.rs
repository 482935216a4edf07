//! Words that no protocol wrote: every operation on every kind of ring is over soon,
//! and touches nothing but its ring. (E1, E3, E4)
//!
//! Debug assertions stand before every access; the lines around the ring's memory are
//! looked at besides.

use super::*;
use crate::primitive::Backoff;
use std::time::Duration;

/// Ten times of what the longest operation here has been seen to take: a claim that is
/// lost over and over.
const LIMIT: Duration = Duration::from_millis(50);

const GUARD: u64 = 0x5afe_5afe_5afe_5afe;

/// xorshift64* (G. Marsaglia, S. Vigna)
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 16) % limit
    }

    /// Mostly open, or soon everything says Closed.
    fn pick_news(&mut self) -> u32 {
        [0, 0, 0, 0, 1, 2, 3, u32::MAX][self.below(8) as usize]
    }

    /// A word that is near a position, a stamp of one, or anything.
    fn word(&mut self, near: u64) -> u64 {
        let position = near.wrapping_add(self.below(40)).wrapping_sub(20);
        match self.below(8) {
            0 => self.next(),
            1 => [0, 1, u64::MAX, 1 << 63, 1 << 62, 1 << 58, (1 << 58) - 1, i64::MAX as u64][self.below(8) as usize],
            2 => position | 1 << (58 + self.below(6)),
            3 => position,
            _ => position << 6 | self.below(64),
        }
    }
}

/// A ring whose memory has a line before and behind it that nobody may touch.
struct Guarded(Heap);

impl Guarded {
    fn new(capacity: usize, sides: (Side, Side)) -> Guarded {
        let mut heap = Heap::new(capacity, sides.0, sides.1);
        heap.lines.push(CacheLine([GUARD; 8]));
        Guarded(heap)
    }

    fn words(&self) -> usize {
        8 * (self.0.lines.len() - 1)
    }

    fn is_intact(&self) -> bool {
        (self.words()..self.words() + 8).all(|at| self.0.word(at).load(Ordering::Relaxed) == GUARD)
    }

    /// Every word anew, or a few of them.
    fn scribble(&self, random: &mut Random, most: u64) {
        let near = self.0.capacity as u64 * (1 + random.below(3));
        let Control { tail, head, taken, seldom } = &*self.0.control;
        let rows = self.0.rows();
        let control = [&tail.0, &head.0, &taken.0, &seldom.end];
        for _ in 0..most {
            let word = random.word(near);
            match random.below(8) {
                0 if random.below(2) == 0 => {
                    let intents = &self.0.participants[random.below(PARTICIPANTS as u64) as usize].intents;
                    let (start, len) = if random.below(2) == 0 {
                        (&intents.put_start, &intents.put_len)
                    } else {
                        (&intents.get_start, &intents.get_len)
                    };
                    start.store(word, Ordering::Relaxed);
                    len.store([0, 1, 2, near, u64::MAX, 1 << 58][random.below(6) as usize], Ordering::Relaxed);
                }
                0 => control[random.below(4) as usize].store(word, Ordering::Relaxed),
                // The state of a row: of somebody, near a position, or anything.
                1 if random.below(2) == 0 => {
                    let row = random.below(8) << 61 | random.below(5) << 51 | random.below(128) << 44;
                    let word = if random.below(4) == 0 { word } else { row | near };
                    // SAFETY: there are so many rows.
                    let state = unsafe { rows.memory.stamp(random.below(ROWS as u64) as usize) };
                    state.store(word, Ordering::Relaxed);
                }
                1 => self.0.news.store(random.pick_news(), Ordering::Relaxed),
                _ => self.0.word(random.below(self.words() as u64) as usize).store(word, Ordering::Relaxed),
            }
        }
    }

    /// One operation, whatever it makes of the words. True: it said that they are damaged.
    fn operate(&self, random: &mut Random, p: &PutCursor, g: &GetCursor) -> bool {
        let ring = self.0.ring();
        let count = random.below(3 * self.0.capacity as u64 + 2);
        let exact = random.below(2) == 0;
        match random.below(23) {
            0 => {
                ring.put_fast(p, &Word(1));
            }
            1 => return ring.try_put(p, &Word(2), exact) == Put::Damaged,
            2 => {
                let (put, how) = ring.try_put_run(p, count, exact, Word);
                assert!(put <= count);
                return how == Put::Damaged;
            }
            3 => {
                ring.get_fast(g, &mut Word(0));
            }
            4 => return ring.try_get(g, &mut Word(0)) == Get::Damaged,
            5 => {
                // As `get_many`: room for one at least, and not more than a ring.
                let count = count.clamp(1, self.0.capacity as u64);
                let mut room = Room { left: count };
                let (got, why) = ring.try_get_run(g, count, &mut room);
                assert!(got <= count);
                return got == 0 && why == Get::Damaged;
            }
            6 => assert!(ring.depth() <= ring.capacity()),
            7 => {
                let _ = (ring.is_empty(), ring.is_full(), ring.is_closed());
            }
            8 => return ring.is_drained(g).is_err(),
            9 => return ring.is_exhausted().is_err(),
            10 => {
                let _ = (ring.may_put(p), ring.may_get(g));
            }
            11 => ring.catch_up_head(g),
            12 => {
                let pace: (Pace, Pace) = (Pace::zeroed(), Pace::zeroed());
                ring.ran_dry(g);
                ring.let_producers_ahead(&pace.0, g);
                ring.let_consumers_ahead(&pace.1, p);
            }
            13 => {
                ring.rest_put(p);
                ring.rest_get(g);
            }
            14 => {
                ring.finish_all(&Some(random.next()));
            }
            15 => {
                // An index of a segment, as large as they get.
                ring.finish_intents(random.below(1025) as u32, &Some(random.next()));
            }
            16 => {
                let count = count.clamp(1, self.0.capacity as u64);
                assert!(ring.take_back(g, count, &mut Room { left: count }) <= count);
            }
            17 | 18 => {
                let leased = match random.below(2) {
                    0 => ring.try_lease(g, 0, &mut Room { left: 1 }),
                    _ => ring.lease_back(g, 0, &mut Room { left: 1 }),
                };
                let Leased::Yes(holding) = leased else { return leased == Leased::No(Get::Damaged) };
                self.scribble(random, 2);
                return !if random.below(2) == 0 { ring.acknowledge(g, holding) } else { ring.give_back(g, holding) };
            }
            19 => {
                ring.keep_cells(random.below(1025) as u32);
            }
            20 => {
                let _ = (ring.others_hold_leases(), ring.has_all_leases(g));
            }
            21 => {
                let _ = (ring.is_at_rest(), ring.is_held_up(p));
            }
            _ if ring.producers == Side::Single && ring.consumers == Side::Single => {
                assert!(ring.settle(p, count) <= count);
            }
            _ => {}
        }
        false
    }
}

/// Some live, some do not.
impl Living for Option<u64> {
    fn may_go_on(&self) -> bool {
        true
    }

    fn is_alive(&self, index: u32) -> bool {
        self.is_some_and(|bits| bits >> (index % 64) & 1 == 0)
    }

    fn has_single_producer(&self) -> bool {
        self.is_some_and(|bits| bits >> 63 == 0)
    }
}

/// Takes no more messages than it has room for.
struct Room {
    left: u64,
}

impl Sink for Room {
    unsafe fn read(&mut self, _at: u64, payload: Payload) -> usize {
        assert!(self.left > 0, "more messages than there is room for");
        self.left -= 1;
        // SAFETY: the same contract.
        unsafe { Word(0).read(0, payload) }
    }
}

/// Processor time of this thread: what others take of the machine does not count.
fn time_used() -> Duration {
    // SAFETY: zeros are a valid value.
    let mut now: libc::timespec = unsafe { core::mem::zeroed() };
    // SAFETY: a local.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) }, 0);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[test]
fn whatever_the_words_are_every_operation_ends_and_stays_inside() {
    let mut random = Random(0x00dd_b175);
    let (mut operations, mut damaged, mut slowest) = (0, 0, Duration::ZERO);
    for sides in SIDES {
        for capacity in [1, 2, 3, 7, 8, 64] {
            for _ in 0..150 {
                let guarded = Guarded::new(capacity, sides);
                // Sometimes what a newcomer starts from is scribbled already.
                if random.below(2) == 0 {
                    let all = 2 * guarded.words() as u64;
                    guarded.scribble(&mut random, all);
                }
                let (p, g) = cursors(&guarded.0);
                for _ in 0..150 {
                    let most = random.below(4);
                    guarded.scribble(&mut random, most);
                    let start = time_used();
                    damaged += u64::from(guarded.operate(&mut random, &p, &g));
                    slowest = slowest.max(time_used() - start);
                    operations += 1;
                }
                assert!(guarded.is_intact(), "{sides:?} of {capacity} has written beyond its memory");
            }
        }
    }
    println!("{operations} operations, {damaged} found damage, the slowest took {slowest:?}");
    assert!(damaged > operations / 100);
    assert!(slowest < LIMIT, "{slowest:?}");
}

/// Lost exchanges are lost for half a millisecond, not for ever.
#[test]
fn a_backoff_is_spent_some_time() {
    let mut backoff = Backoff::new();
    let mut lost = 0;
    while !backoff.is_spent() {
        backoff.lost();
        lost += 1;
    }
    assert!((32..1000).contains(&lost), "{lost}");
}
