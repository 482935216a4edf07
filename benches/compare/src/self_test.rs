//! Negative controls: queues that lose, repeat, swap or tear one message must
//! be noticed by every kind of check, and sound ones must pass.

use crate::job::{Job, System};
use crate::measure::once;
use crate::rows::{Times, rows};
use crate::systems::faulty::Fault;

/// Says what happened, a line each. True: all as it must be.
pub fn run() -> bool {
    let base = rows(Times { warm_up_ms: 20, measure_ms: 20 }, false).swap_remove(0).ours;
    let mut good = true;
    let one_each = [
        (System::Ringway, 1, 8),
        (System::Ringway, 1, 56),
        (System::Ringway, 2, 8),
        (System::RingwayThreads, 2, 56),
        (System::Rtrb, 1, 8),
        (System::ArrayQueue, 2, 8),
        (System::Textbook, 1, 8),
        (System::Unbounded, 1, 56),
        (System::Broadcast, 1, 56),
        (System::Bytes, 1, 64 << 10),
        (System::BytesOwned, 1, 36),
        (System::Serde, 1, 36),
        (System::Copy, 1, 64 << 10),
        (System::Iceoryx2, 1, 64 << 10),
    ];
    let one_more = (System::Broadcast, 1, 56, 1);
    let jobs = one_each.map(|(system, pairs, bytes)| (system, pairs, bytes, 0));
    for (system, pairs, bytes, listeners) in jobs.into_iter().chain([one_more]) {
        let patient = pairs + listeners > 1;
        let sound = Job { system, pairs, listeners, bytes, single: pairs == 1, patient, ..base };
        for fault in std::iter::once(None).chain(Fault::ALL.into_iter().map(Some)) {
            // One message in torn pieces is one with another word where there is
            // only one word: it is noticed as a message that nobody sent.
            let result = once(&Job { fault, ..sound });
            let expected = result.is_err() == fault.is_some();
            good &= expected;
            let said = match &result {
                Ok(_) => "all messages arrived".to_owned(),
                Err(failure) => failure.to_string(),
            };
            let fault = fault.map_or("sound".to_owned(), |fault| format!("{fault:?}").to_lowercase());
            let verdict = if expected { "ok  " } else { "FAIL" };
            println!("{verdict} {:<16} {pairs}x{} {bytes:>5} B  {fault:<7} {said}", system.name(), pairs + listeners);
        }
    }
    good
}
