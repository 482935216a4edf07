//! The table of targets: what is compared with what, and how good it must be.

use crate::job::{Job, Kind, System};

pub struct Row {
    pub name: String,
    pub ours: Job,
    pub rival: Job,
    /// Ours per second, divided by the rival's: at least this. `None`: reported only.
    pub target: Option<f64>,
}

/// How long each measurement takes.
#[derive(Clone, Copy)]
pub struct Times {
    pub warm_up_ms: u64,
    pub measure_ms: u64,
}

const SMALL: u64 = 1024;
const LARGE: u64 = 65_536;
const BATCH: usize = 32;

pub fn base(times: Times) -> Job {
    Job {
        system: System::Ringway,
        kind: Kind::Throughput,
        bytes: 8,
        whole: false,
        capacity: SMALL,
        pairs: 1,
        listeners: 0,
        batch: 1,
        single: false,
        patient: crate::cpus::is_alone(),
        warm_up_ms: times.warm_up_ms,
        measure_ms: times.measure_ms,
        fault: None,
    }
}

/// The price of recovery: the same ring with and without it.
pub fn price_of_recovery(times: Times) -> Vec<Row> {
    let base = base(times);
    let mut rows = Vec::new();
    let mut add = |name: String, ours: Job, target: Option<f64>| {
        rows.push(Row { name, ours, rival: Job { system: System::WithoutRecovery, ..ours }, target });
    };
    for bytes in [8, 56] {
        let single = Job { single: true, bytes, ..base };
        add(format!("SPSC {bytes} B, {SMALL}, vs no recovery"), single, Some(0.95));
        add(format!("SPSC {bytes} B, {LARGE}, vs no recovery"), Job { capacity: LARGE, ..single }, Some(0.95));
        let multi = Job { bytes, ..base };
        add(format!("MPMC 1x1 {bytes} B, {SMALL}, vs no recovery"), multi, Some(0.9));
        let name = format!("MPMC 1x1 {bytes} B, {SMALL}, batches of {BATCH}, vs no recovery");
        add(name, Job { batch: BATCH, ..multi }, Some(0.9));
        for pairs in [2, 4] {
            let several = Job { pairs, patient: true, ..multi };
            add(format!("MPMC {pairs}x{pairs} {bytes} B, {SMALL}, default wait, vs no recovery"), several, Some(0.9));
        }
        // The target is 15 ns more, not a ratio: see the two columns.
        for (what, single) in [("SPSC", true), ("MPMC", false)] {
            let trip = Job { kind: Kind::RoundTrip, single, bytes, ..base };
            add(format!("{what} {bytes} B, {SMALL}, round trip, vs no recovery"), trip, None);
        }
    }
    rows
}

/// So many blocks that both sides always have one, so few that they stay in the cache.
const IN_FLIGHT: u64 = 4;
/// A tuple of a number below 2^21 and a text of 32 bytes, encoded.
const ENCODED: usize = 36;

/// Queues that grow, broadcasts, and messages that are copied in and out, in place, or
/// encoded.
fn other_modes(base: Job) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name: &str, ours: Job, rival: Job, target: Option<f64>| {
        rows.push(Row { name: name.to_owned(), ours, rival, target });
    };
    for bytes in [8, 56] {
        let bounded = Job { bytes, capacity: LARGE, ..base };
        let ours = Job { system: System::Unbounded, ..bounded };
        add(&format!("unbounded 1x1 {bytes} B, below its cap, vs MPMC {LARGE}"), ours, bounded, Some(0.7));
    }
    for capacity in [SMALL, LARGE] {
        let ours = Job { system: System::Broadcast, bytes: 56, capacity, single: true, ..base };
        let rival = Job { system: System::Ringfire, ..ours };
        add(&format!("broadcast 1 to 1, 56 B, {capacity}, vs ringfire lossless"), ours, rival, Some(1.0));
        let (one, two) = (Job { patient: true, ..ours }, Job { patient: true, listeners: 1, ..ours });
        add(&format!("broadcast 1 to 2, 56 B, {capacity}, default wait, vs 1 to 1"), two, one, None);
    }
    let copying = Job { system: System::Bytes, bytes: 64 << 10, capacity: IN_FLIGHT, ..base };
    for single in [true, false] {
        let (ours, what) = (Job { single, ..copying }, if single { "SPSC" } else { "MPMC" });
        let copy = Job { system: System::Copy, ..ours };
        add(&format!("{what} 64 KiB copied in and out, vs copy"), ours, copy, Some(0.85));
        let iceoryx = Job { system: System::Iceoryx2, ..ours };
        add(&format!("{what} 64 KiB copied in and out, vs iceoryx2"), ours, iceoryx, Some(1.3));
    }
    for (system, what, target) in [
        (System::InPlace, "not touched", Some(1.0 / 1.5)),
        (System::InPlaceTouched, "a byte of each page touched", None),
    ] {
        let short = Job { system, kind: Kind::RoundTrip, bytes: 64, capacity: IN_FLIGHT, ..base };
        let long = Job { bytes: 4 << 20, ..short };
        add(&format!("round trip in place, {what}, 4 MiB vs 64 B"), long, short, target);
    }
    let serde = Job { system: System::Serde, bytes: ENCODED, ..base };
    let bytes = Job { system: System::BytesOwned, ..serde };
    add("Queue<(u64, String)>, 32 bytes of text, vs bytes", serde, bytes, Some(0.5));
    if crate::systems::python::is_there() {
        let (patient, python) = (Job { patient: true, ..serde }, Job { system: System::Python, ..serde });
        add("Queue<(u64, String)>, 32 bytes of text, vs Python", patient, python, Some(30.0));
    }
    rows
}

/// All rows; with `threads`, each process row stands once more with ringway
/// between threads, without a target.
pub fn rows(times: Times, threads: bool) -> Vec<Row> {
    let base = base(times);
    let mut rows = Vec::new();
    let mut add = |name: String, ours: Job, rival: System, target: Option<f64>| {
        let rival = Job { system: rival, batch: 1, ..ours };
        if threads && ours.kind == Kind::Throughput {
            let name = format!("{name}, threads");
            rows.push(Row { name, ours: Job { system: System::RingwayThreads, ..ours }, rival, target: None });
        }
        rows.push(Row { name, ours, rival, target });
    };
    for capacity in [SMALL, LARGE] {
        let ours = Job { capacity, single: true, ..base };
        add(format!("SPSC 8 B, {capacity}, vs rtrb"), ours, System::Rtrb, Some(1.2));
    }
    for capacity in [SMALL, LARGE] {
        let ours = Job { capacity, single: true, bytes: 56, ..base };
        add(format!("SPSC 56 B, {capacity}, vs ringfire lossless"), ours, System::Ringfire, Some(1.1));
    }
    for capacity in [SMALL, LARGE] {
        let ours = Job { capacity, ..base };
        add(format!("MPMC 1x1 8 B, {capacity}, vs ArrayQueue"), ours, System::ArrayQueue, Some(1.0));
    }
    for pairs in [2, 4] {
        for capacity in [SMALL, LARGE] {
            let ours = Job { capacity, pairs, patient: true, ..base };
            let name = format!("MPMC {pairs}x{pairs} 8 B, {capacity}, default wait, vs ArrayQueue + yield");
            add(name, ours, System::ArrayQueue, Some(1.0));
        }
    }
    for (capacity, target) in [(SMALL, 3.0), (LARGE, 8.0)] {
        let ours = Job { capacity, batch: BATCH, ..base };
        let name = format!("MPMC 1x1 8 B, {capacity}, batches of {BATCH}, vs ArrayQueue unbatched");
        add(name, ours, System::ArrayQueue, Some(target));
    }
    for (bytes, kind, what) in
        [(8, Kind::RoundTrip, "round trip"), (8, Kind::Throughput, "throughput"), (56, Kind::Throughput, "throughput")]
    {
        let ours = Job { bytes, kind, patient: true, ..base };
        add(format!("defaults {bytes} B, {SMALL}, {what}, vs textbook"), ours, System::Textbook, None);
    }
    rows.extend(other_modes(base));
    rows
}
