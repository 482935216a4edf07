//! Negative controls: queues that lose, repeat, swap or tear one message must
//! be noticed by every kind of check, and sound ones must pass.

use crate::job::{Job, System};
use crate::measure::once;
use crate::rows::{Times, rows};
use crate::systems::faulty::Fault;
use crate::systems::{aeron, boost};

/// Says what happened, a line each. True: all as it must be. `installs`: what a rival needs is installed.
pub fn run(installs: bool) -> bool {
    let base = rows(Times { warm_up_ms: 20, measure_ms: 20 }, false).swap_remove(0).ours;
    let mut good = true;
    let mut check = |job: Job| {
        let result = once(&job);
        let expected = result.is_err() == job.fault.is_some();
        let said = match &result {
            Ok(_) => "all messages arrived".to_owned(),
            Err(failure) => failure.to_string(),
        };
        let fault = job.fault.map_or("sound".to_owned(), |fault| format!("{fault:?}").to_lowercase());
        let verdict = if expected { "ok  " } else { "FAIL" };
        let (name, pairs, receivers) = (job.system.name(), job.pairs, job.pairs + job.listeners);
        println!("{verdict} {name:<18} {pairs}x{receivers} {:>5} B  {fault:<10} {said}", job.bytes);
        good &= expected;
    };
    // One message in torn pieces is one with another word where there is only one word: it is
    // noticed as a message that nobody sent.
    let each = |fault| [None].into_iter().chain(Fault::ALL.map(Some)).chain(fault);
    for (system, pairs, bytes, listeners) in [
        (System::Ringway, 1, 8, 0),
        (System::Ringway, 1, 56, 0),
        (System::Ringway, 2, 8, 0),
        (System::RingwayThreads, 2, 56, 0),
        (System::Rtrb, 1, 8, 0),
        (System::ArrayQueue, 2, 8, 0),
        (System::CrossbeamChannel, 1, 64, 0),
        (System::Textbook, 1, 8, 0),
        (System::Ringfire, 1, 64, 0),
        (System::Promisqs, 1, 1024, 0),
        (System::Unbounded, 1, 56, 0),
        (System::Broadcast, 1, 56, 0),
        (System::Broadcast, 1, 56, 1),
        (System::BytesOwned, 1, 36, 0),
        (System::Serde, 1, 36, 0),
    ] {
        for fault in each(None) {
            let patient = pairs + listeners > 1;
            check(Job { system, pairs, listeners, bytes, fault, single: pairs == 1, patient, ..base });
        }
    }
    for system in [
        System::Bytes,
        System::InPlace,
        System::Slices,
        System::Copy,
        System::Iceoryx2,
        System::Iceoryx2InPlace,
        System::Cloudtoid,
        System::Ipmpsc,
        System::IpcChannel,
        System::Pipe,
        System::Unix,
    ] {
        for fault in each(Some(Some(Fault::Scratch))) {
            check(Job { system, bytes: 4096, whole: true, single: true, capacity: 64, fault, ..base });
        }
    }
    match boost::refusal() {
        Some(reason) => println!("-    boost: {reason}"),
        None => each(Some(Some(Fault::Scratch))).for_each(|fault| {
            check(Job { system: System::Boost, bytes: 4096, whole: true, capacity: 64, fault, ..base });
        }),
    }
    // Those of 64 KiB come in fragments.
    for (system, bytes) in [(System::Aeron, 4096), (System::Aeron, 1 << 16), (System::AeronInPlace, 4096)] {
        if let Some(reason) = aeron::refusal(system, bytes, installs) {
            println!("-    {}: {reason}", system.name());
            continue;
        }
        for fault in each(Some(Some(Fault::Scratch))) {
            check(Job { system, bytes, whole: true, single: true, capacity: 64, fault, ..base });
        }
    }
    for fault in each(Some(Some(Fault::Scratch))) {
        check(Job { system: System::Mq, bytes: 1024, whole: true, capacity: 8, fault, ..base });
    }
    // Benchmarks that lose a little, and such that count calls. How long a million messages take nobody knows.
    for fault in [Fault::Rare, Fault::FailedPuts, Fault::EmptyPolls] {
        let run = |fault, measure_ms| once(&Job { fault, measure_ms, ..base });
        let noticed = [400, 1600, 6400].into_iter().find_map(|ms| Some((ms, run(Some(fault), ms).err()?)));
        let sound = noticed.filter(|(ms, _)| run(None, *ms).is_ok());
        good &= sound.is_some();
        match sound {
            Some((ms, said)) => println!("ok   ringway, {ms} ms: {fault:?}: {said}"),
            None => println!("FAIL ringway: {fault:?}: not noticed, or the same without it fails, too"),
        }
    }
    good
}
