//! The field: every system at the same work, a group for each kind and size, in turn and in the same rounds.
//!
//! A rival is compared with ringway in its own form (values of one type, bytes that are copied, bytes in place) and
//! mode, and only with what was measured in the same round. One that fails, or that cannot carry a size, is a row
//! that says so.

use crate::cpus::is_alone;
use crate::guard;
use crate::job::{Job, Kind, System};
use crate::measure::timed;
use crate::probe::{self, Class};
use crate::report::Spread;
use crate::systems::{aeron, boost, python};
use crate::workload::histogram;
use comfy_table::{CellAlignment, Table, presets};
use hdrhistogram::Histogram;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How messages are handed over and taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// As values of a type that is known when the program is built.
    Values,
    /// Copied from the sender's buffer, and into the receiver's.
    Bytes,
    /// Written and read where they lie, in pieces: no reference to memory that another process may write.
    Pieces,
    /// The same by references, as one who trusts that process.
    InPlace,
}

struct Entry {
    system: System,
    form: Form,
    /// One sender and one receiver is all that it allows, or ringway's `Single` sides.
    single: bool,
    /// It waits without sleeping.
    polls: bool,
    how: &'static str,
}

const fn entry(system: System, form: Form, single: bool, how: &'static str) -> Entry {
    Entry { system, form, single, polls: false, how }
}

const fn polled(system: System, form: Form, single: bool, how: &'static str) -> Entry {
    Entry { system, form, single, polls: true, how }
}

/// All of them. Of ringway's rows, rivals are compared with the one of their form and mode, and, where there are both,
/// of their way to wait. Values are so short that nobody comes to sleep.
const SYSTEMS: &[Entry] = &[
    entry(System::Ringway, Form::Values, true, "PodQueue, both sides Single, default wait"),
    entry(System::Ringway, Form::Values, false, "PodQueue, both sides Multi, default wait"),
    entry(
        System::Bytes,
        Form::Bytes,
        true,
        "ByteQueue, put and get_into, inline up to 1 KiB, both sides Single, default wait",
    ),
    entry(
        System::Bytes,
        Form::Bytes,
        false,
        "ByteQueue, put and get_into, inline up to 1 KiB, both sides Multi, default wait",
    ),
    polled(System::Bytes, Form::Bytes, true, "ByteQueue, the same, both sides Single, WaitPolicy::Spin"),
    polled(System::Bytes, Form::Bytes, false, "ByteQueue, the same, both sides Multi, WaitPolicy::Spin"),
    entry(System::InPlace, Form::Pieces, true, "ByteQueue, reserve and get_ref, both sides Single, default wait"),
    entry(System::InPlace, Form::Pieces, false, "ByteQueue, reserve and get_ref, both sides Multi, default wait"),
    entry(
        System::Slices,
        Form::InPlace,
        true,
        "ByteQueue, reserve and get_ref as slices (unsafe), both sides Single, default wait",
    ),
    entry(
        System::Slices,
        Form::InPlace,
        false,
        "ByteQueue, reserve and get_ref as slices (unsafe), both sides Multi, default wait",
    ),
    polled(System::Slices, Form::InPlace, true, "ByteQueue, the same slices, both sides Single, WaitPolicy::Spin"),
    polled(System::Slices, Form::InPlace, false, "ByteQueue, the same slices, both sides Multi, WaitPolicy::Spin"),
    polled(System::Ringfire, Form::Values, true, "lossless ring of values, blocking push, try_recv polled"),
    polled(System::Promisqs, Form::Values, false, "try_push and try_pop polled"),
    entry(System::Textbook, Form::Values, true, "process-shared mutex and two events (shared_memory, raw_sync)"),
    polled(System::Rtrb, Form::Values, true, "two threads of one process: a ceiling; push and pop polled"),
    polled(System::ArrayQueue, Form::Values, false, "two threads of one process: a ceiling; push and pop polled"),
    entry(System::CrossbeamChannel, Form::Values, false, "two threads of one process: a ceiling; bounded, blocking"),
    polled(System::Iceoryx2, Form::Bytes, true, "publish and subscribe, no overflow, copied; receive polled"),
    polled(System::Iceoryx2InPlace, Form::InPlace, true, "publish and subscribe, no overflow, loaned; receive polled"),
    polled(
        System::Aeron,
        Form::Bytes,
        true,
        "aeron:ipc, exclusive publication, offer, terms of 16 MiB, read where it lies or was assembled; polled",
    ),
    polled(
        System::AeronInPlace,
        Form::InPlace,
        true,
        "aeron:ipc, exclusive publication, try_claim, terms of 16 MiB, read where it lies; polled",
    ),
    polled(System::Cloudtoid, Form::Bytes, false, "try_send and try_recv_into polled"),
    polled(System::Boost, Form::Bytes, false, "Boost.Interprocess message_queue, try_send and try_receive polled"),
    entry(
        System::Ipmpsc,
        Form::Bytes,
        false,
        "serde_bytes, copied in, read where it lies (zero-copy context), blocking",
    ),
    entry(System::IpcChannel, Form::Bytes, false, "channel of bytes, blocking"),
    entry(System::Pipe, Form::Bytes, false, "named pipe with a buffer of 1 MiB, blocking"),
    entry(System::Unix, Form::Bytes, true, "stream socket, blocking"),
    entry(System::Mq, Form::Bytes, false, "POSIX message queue as deep as allowed, blocking"),
    entry(
        System::PythonQueue,
        Form::Bytes,
        false,
        "Python's multiprocessing.Queue of bytes, whose rest is always the same",
    ),
    entry(System::FasterFifo, Form::Bytes, false, "Python's faster_fifo.Queue of such bytes, put and get_many"),
];

/// Those that are measured. On one processor nobody spins, so ringway's rows that would are left out.
fn entries(alone: bool) -> impl Iterator<Item = &'static Entry> {
    SYSTEMS.iter().filter(move |system| !(alone && system.is_ours() && system.polls))
}

impl Entry {
    fn is_ours(&self) -> bool {
        matches!(self.system, System::Ringway | System::Bytes | System::InPlace | System::Slices)
    }

    /// Which of them is the row of ringway that it is compared with.
    fn beside(&self, members: &[&Entry]) -> Option<usize> {
        let is_alike = |ours: &&Entry| ours.is_ours() && ours.single == self.single && ours.form == self.form;
        let waits_alike = members.iter().position(|ours| is_alike(ours) && ours.polls == self.polls);
        waits_alike.or_else(|| members.iter().position(is_alike))
    }

    /// The same of a rival's references: the row that needs no `unsafe`, which trusts nobody.
    fn safe(&self, members: &[&Entry]) -> Option<usize> {
        let is_safe = |ours: &&Entry| ours.form == Form::Pieces && ours.single == self.single;
        members.iter().position(is_safe).filter(|_| self.form == Form::InPlace && !self.is_ours())
    }

    fn mode(&self) -> &'static str {
        match (self.single, self.is_ours() && self.polls) {
            (true, false) => "1:1",
            (true, true) => "1:1 spin",
            (false, false) => "n:n",
            (false, true) => "n:n spin",
        }
    }

    /// Why it is not measured with messages so long.
    fn refusal(&self, bytes: usize, installs: bool) -> Option<String> {
        let limit = |name: &str| {
            let text = std::fs::read_to_string(format!("/proc/sys/fs/mqueue/{name}")).ok()?;
            text.trim().parse::<usize>().ok()
        };
        match self.system {
            _ if self.form == Form::Values && bytes > LONGEST_VALUE => {
                Some("carries values, which long messages are not".to_owned())
            }
            System::Mq => limit("msgsize_max")
                .filter(|most| bytes > *most)
                .map(|most| format!("messages have at most {most} bytes here")),
            System::Aeron | System::AeronInPlace => aeron::refusal(self.system, bytes, installs),
            System::Boost => boost::refusal(),
            system if system.is_pythons() => python::refusal(system, installs),
            _ => None,
        }
    }
}

/// What somebody would hand over by value.
const LONGEST_VALUE: usize = 1024;

/// Sizes, and as many messages as a queue has room for.
const SIZES: [(usize, u64); 5] = [(8, 1024), (64, 1024), (1024, 256), (64 << 10, 16), (1 << 20, 4)];

pub struct Group {
    pub name: String,
    kind: Kind,
    in_place: bool,
    bytes: usize,
    members: Vec<Member>,
}

struct Member {
    system: &'static Entry,
    job: Job,
    /// Which of the group's members is ours beside it.
    beside: Option<usize>,
    /// Of a rival in place: which is ours without `unsafe`.
    safe: Option<usize>,
    refusal: Option<String>,
}

pub fn groups(base: Job) -> Vec<Group> {
    let mut groups = Vec::new();
    for kind in [Kind::Latency, Kind::Throughput] {
        for (bytes, capacity) in SIZES {
            for in_place in [false, true] {
                let job = Job { kind, bytes, capacity, whole: true, ..base };
                groups.push(group(job, in_place));
            }
        }
    }
    groups
}

fn group(job: Job, in_place: bool) -> Group {
    let Job { kind, bytes, .. } = job;
    let is_member = |system: &&Entry| matches!(system.form, Form::Pieces | Form::InPlace) == in_place;
    let systems: Vec<&'static Entry> = entries(is_alone()).filter(is_member).collect();
    let member = |system: &&'static Entry| Member {
        system,
        job: Job { system: system.system, single: system.single, patient: system.is_ours() && !system.polls, ..job },
        beside: system.beside(&systems),
        safe: system.safe(&systems),
        refusal: None,
    };
    let what = if in_place { "in place" } else { "copied" };
    let name = format!("{}, {}, {what}", kind.name(), size(bytes));
    Group { name, kind, in_place, bytes, members: systems.iter().map(member).collect() }
}

impl Member {
    fn mode(&self) -> &'static str {
        if self.system.single { "spsc" } else { "mpmc" }
    }

    /// Rivals have their own.
    fn wait(&self) -> Option<&'static str> {
        self.system.is_ours().then_some(if self.job.patient { "default" } else { "spin" })
    }

    /// What a ratio is taken of, as its own row says.
    fn identity(&self) -> Value {
        json!({"system": self.system.system.name(), "mode": self.mode(), "wait": self.wait()})
    }
}

impl Group {
    /// Finds out what cannot be measured. `installs`: what a rival needs is installed, where that is possible.
    pub fn prepare(&mut self, installs: bool) {
        for member in &mut self.members {
            member.refusal = member.system.refusal(self.bytes, installs);
        }
    }
}

fn size(bytes: usize) -> String {
    match bytes {
        bytes if bytes >= 1 << 20 => format!("{} MiB", bytes >> 20),
        bytes if bytes >= 1 << 10 => format!("{} KiB", bytes >> 10),
        bytes => format!("{bytes} B"),
    }
}

/// One measurement of one member.
struct Run {
    round: usize,
    /// Messages or round trips.
    per_second: f64,
    trips: Vec<(u64, u64)>,
}

impl Run {
    /// What ratios are made of: more is better.
    fn speed(&self) -> f64 {
        match merged([self].into_iter()) {
            Some(trips) => 1e9 / trips.value_at_quantile(0.5).max(1) as f64,
            None => self.per_second,
        }
    }
}

/// None: no trips were timed.
fn merged<'r>(runs: impl Iterator<Item = &'r Run>) -> Option<Histogram<u64>> {
    let mut all = histogram().ok()?;
    for (value, count) in runs.flat_map(|run| &run.trips) {
        all.saturating_record_n(*value, *count);
    }
    Some(all).filter(|all| !all.is_empty())
}

/// What came of a member.
#[derive(Default)]
struct History {
    runs: Vec<Run>,
    error: Option<String>,
}

pub struct Outcome {
    histories: Vec<History>,
    /// Rounds during which the processors moved.
    discarded: usize,
    /// Of the others: raw round trips before and after.
    probes: Vec<f64>,
}

/// `wanted` rounds of the group, or as many as fit into `limit`.
pub fn measure(group: &Group, wanted: usize, limit: Duration, progress: impl Fn(usize)) -> Outcome {
    const LARGEST_CHANGE: f64 = 1.3;
    let histories = group.members.iter().map(|_| History::default()).collect();
    let mut outcome = Outcome { histories, discarded: 0, probes: Vec::new() };
    let start = Instant::now();
    let mut kept = 0;
    for attempt in 0..3 * wanted {
        if kept == wanted || guard::interrupted() || start.elapsed() > limit {
            break;
        }
        progress(kept);
        let before = probe::round_trip();
        let count = group.members.len();
        // Who begins changes.
        for at in (0..count).map(|k| (k + attempt) % count) {
            let (member, history) = (&group.members[at], &mut outcome.histories[at]);
            if member.refusal.is_some() || history.error.is_some() || guard::interrupted() {
                continue;
            }
            match timed(&member.job) {
                Ok((rate, trips)) => history.runs.push(Run { round: attempt, per_second: rate.per_second, trips }),
                Err(error) if !guard::interrupted() => history.error = Some(error.to_string()),
                Err(_) => {}
            }
        }
        match (before, probe::round_trip()) {
            (Ok(before), Ok(after)) if before.max(after) <= LARGEST_CHANGE * before.min(after) => {
                outcome.probes.push((before + after) / 2.0);
                kept += 1;
            }
            _ => {
                outcome.discarded += 1;
                for history in &mut outcome.histories {
                    history.runs.retain(|run| run.round != attempt);
                }
            }
        }
    }
    outcome
}

impl Outcome {
    /// Whether something of ringway's failed.
    pub fn failed(&self, group: &Group) -> bool {
        group
            .members
            .iter()
            .zip(&self.histories)
            .any(|(member, history)| member.system.is_ours() && history.error.is_some())
    }

    /// Where the processors were, and in how many rounds.
    fn placements(&self) -> Vec<(&'static str, usize)> {
        let rounds = |class: Class| self.probes.iter().filter(|probe| Class::of(**probe) == class).count();
        let all = Class::ALL.into_iter().map(|class| (class.name(), rounds(class)));
        all.filter(|(_, rounds)| *rounds > 0).collect()
    }

    /// Ringway's speed divided by its, of the rounds that have both.
    fn ratio(&self, at: usize, beside: usize) -> Option<Spread> {
        let ours = &self.histories.get(beside)?.runs;
        let pairs = self.histories.get(at)?.runs.iter().filter_map(|run| {
            let ours = ours.iter().find(|ours| ours.round == run.round)?;
            Some(ours.speed() / run.speed())
        });
        Spread::of(pairs)
    }
}

/// For people.
pub fn table(group: &Group, outcome: &Outcome) -> String {
    let trips = group.kind == Kind::Latency;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let figures: &[&str] = if trips { &["p50", "p90", "p99", "p99.9", "max"] } else { &["messages/s", "bytes/s"] };
    let ratios: &[&str] = match group.in_place {
        true => &["ringway is so many times as fast", "its safe form"],
        false => &["ringway is so many times as fast"],
    };
    table.set_header([&["system", "mode"], figures, ratios, &["runs"]].concat());
    for (at, (member, history)) in group.members.iter().zip(&outcome.histories).enumerate() {
        let mut row = vec![member.system.system.name().to_owned(), member.system.mode().to_owned()];
        if let Some(problem) = member.refusal.as_ref().or(history.error.as_ref()) {
            row.push(if member.refusal.is_some() { "-".to_owned() } else { "error".to_owned() });
            row.extend(std::iter::repeat_n(String::new(), figures.len() - 1));
            row.push(problem.clone());
            row.extend(std::iter::repeat_n(String::new(), ratios.len()));
        } else {
            if trips {
                let all = merged(history.runs.iter());
                let value = |quantile| all.as_ref().map_or("-".to_owned(), |all| time(all.value_at_quantile(quantile)));
                row.extend([0.5, 0.9, 0.99, 0.999, 1.0].map(value));
            } else {
                let rate = Spread::of(history.runs.iter().map(|run| run.per_second)).map(|spread| spread.median);
                row.push(rate.map_or("-".to_owned(), |rate| scaled(rate, "")));
                row.push(rate.map_or("-".to_owned(), |rate| scaled(rate * group.bytes as f64, "B")));
            }
            for ours in [member.beside, member.safe].into_iter().take(ratios.len()) {
                let ratio = ours.filter(|ours| *ours != at).and_then(|ours| outcome.ratio(at, ours));
                let text = |ratio: Spread| format!("{:.2} [{:.2}..{:.2}]", ratio.median, ratio.min, ratio.max);
                row.push(ratio.map_or(String::new(), text));
            }
            row.push(history.runs.len().to_string());
        }
        table.add_row(row);
    }
    for column in 2..2 + figures.len() {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let discarded = match outcome.discarded {
        0 => String::new(),
        rounds => format!("\n{rounds} rounds left out: the processors moved in between"),
    };
    let placements = outcome.placements().into_iter().map(|(class, rounds)| format!("{class}: {rounds}"));
    let placements = placements.collect::<Vec<_>>().join("; ");
    format!("\n{}\n{table}\nrounds by placement: {placements}{discarded}", group.name)
}

/// How each of them was used.
pub fn legend() -> String {
    let lines = entries(is_alone()).map(|system| {
        let name = format!("{} {}", system.system.name(), system.mode());
        format!("{name:<26} {}", system.how)
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn time(ns: u64) -> String {
    match ns {
        ns if ns < 10_000 => format!("{ns} ns"),
        ns if ns < 10_000_000 => format!("{:.1} µs", ns as f64 / 1e3),
        ns => format!("{:.1} ms", ns as f64 / 1e6),
    }
}

fn scaled(value: f64, unit: &str) -> String {
    let (value, prefix) = match value {
        value if value >= 1e9 => (value / 1e9, "G"),
        value if value >= 1e6 => (value / 1e6, "M"),
        value if value >= 1e3 => (value / 1e3, "k"),
        value => (value, ""),
    };
    let digits = if value < 10.0 {
        2
    } else if value < 100.0 {
        1
    } else {
        0
    };
    format!("{value:.digits$} {prefix}{unit}").trim_end().to_owned()
}

/// Points of a distribution for plots: percentile and nanoseconds.
fn distribution(trips: &Histogram<u64>) -> Vec<(f64, u64)> {
    const POINTS_PER_HALVING: u32 = 4;
    trips
        .iter_quantiles(POINTS_PER_HALVING)
        .map(|step| (step.quantile_iterated_to() * 100.0, step.value_iterated_to()))
        .collect()
}

/// For `--json`.
pub fn json_rows(group: &Group, outcome: &Outcome) -> Vec<Value> {
    let row = |(at, (member, history)): (usize, (&Member, &History))| {
        // What has failed once is not to be believed.
        let runs = if history.error.is_some() { &[][..] } else { &history.runs[..] };
        let trips = merged(runs.iter());
        let quantile = |quantile| trips.as_ref().map(|trips| trips.value_at_quantile(quantile));
        let compared = |ours: Option<usize>| {
            let ours = ours.filter(|ours| *ours != at && !runs.is_empty())?;
            Some((outcome.ratio(at, ours)?.json(), group.members.get(ours)?.identity()))
        };
        let (ratio, beside) = compared(member.beside).unzip();
        let (ratio_safe, beside_safe) = compared(member.safe).unzip();
        json!({
            "bench": "field",
            "kind": group.kind.name(),
            "way": if group.in_place { "in-place" } else { "copy" },
            "size": group.bytes,
            "capacity": member.job.capacity,
            "system": member.system.system.name(),
            "mode": member.mode(),
            "wait": member.wait(),
            "in_process": member.system.system.is_in_process(),
            "note": member.system.how,
            "runs": runs.len(),
            "per_s": Spread::of(runs.iter().map(|run| run.per_second)).map(Spread::json),
            "ratio": ratio,
            "beside": beside,
            "ratio_safe": ratio_safe,
            "beside_safe": beside_safe,
            "p50": quantile(0.5),
            "p90": quantile(0.9),
            "p99": quantile(0.99),
            "p999": quantile(0.999),
            "max": quantile(1.0),
            "distribution": trips.as_ref().map(distribution),
            "discarded": outcome.discarded,
            "placements": outcome.placements(),
            "skipped": member.refusal,
            "error": history.error,
        })
    };
    group.members.iter().zip(&outcome.histories).enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Times, base};

    #[test]
    fn ratios_name_what_they_are_taken_of() {
        let base = base(Times { warm_up_ms: 1, measure_ms: 1 });
        for (in_place, rival, expected) in [
            (true, "iceoryx2-in-place", [Some(4.0), Some(2.0)]),
            (true, "ringway-slices", [None, None]),
            (false, "boost", [Some(3.0), None]),
        ] {
            let group = group(base, in_place);
            let speed = |member: &Member| match (member.system.form, member.system.is_ours()) {
                (_, false) => 1.0,
                (Form::Pieces, _) => 2.0,
                (Form::InPlace, _) => 4.0,
                _ => 3.0,
            };
            let run = |member| Run { round: 0, per_second: speed(member), trips: Vec::new() };
            let history = |member| History { runs: vec![run(member)], error: None };
            let histories = group.members.iter().map(history).collect();
            let outcome = Outcome { histories, discarded: 0, probes: Vec::new() };
            let rows = json_rows(&group, &outcome);
            let row = rows.iter().rev().find(|row| row["system"] == rival).expect("it is there");
            assert_eq!(["ratio", "ratio_safe"].map(|key| row[key]["median"].as_f64()), expected, "{rival}");
            for (base, ratio) in [("beside", "ratio"), ("beside_safe", "ratio_safe")] {
                let is_it = |ours: &&Value| ["system", "mode", "wait"].iter().all(|key| ours[*key] == row[base][*key]);
                assert_eq!(row[base].is_null(), row[ratio].is_null());
                assert!(row[base].is_null() || rows.iter().filter(is_it).count() == 1, "{rival}: {}", row[base]);
            }
            assert!(table(&group, &outcome).contains("its safe form") == in_place);
        }
    }

    #[test]
    fn nobody_is_called_spinning_on_one_processor() {
        let spinning = |alone| entries(alone).filter(|system| system.mode().ends_with("spin")).count();
        assert_eq!((spinning(true), spinning(false)), (0, 4));
        let members: Vec<&Entry> = entries(true).collect();
        for system in entries(true).filter(|system| !system.is_ours()) {
            assert!(system.beside(&members).is_some(), "{} has no row of ringway's", system.system.name());
        }
    }
}
