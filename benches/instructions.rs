//! How many instructions an operation takes, counted by `valgrind --tool=callgrind`, where time would be noise:
//! each against `instructions.txt`, which is kept here. More than the tolerance is a failure, and so is less: then
//! write the file anew.
//!
//! `cargo bench --bench instructions` compares, `-- --write` writes. Each case runs in a process of its own, one thread
//! that puts, then gets; only the operations are counted. Another compiler makes other code: where it is not the
//! one that the file names, what differs is told and nothing fails. Without valgrind nothing is counted,
//! which fails where `RINGWAY_STRICT` is set.

use ringway::{Bytes, Consumer, Handle, Message, Options, Pod, Producer, Side};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Of what is expected, and one instruction in any case.
const TOLERANCE: f64 = 0.03;

const CAPACITY: u64 = 1024;
/// Operations between two turns.
const RUN: u64 = 512;
/// Turns that are counted: several laps, so that what is done once in a while is in it.
const TURNS: u64 = 64;
const BATCH: usize = 32;

const MODES: [(&str, Side, Side); 4] = [
    ("1p1c", Side::Single, Side::Single),
    ("np1c", Side::Multi, Side::Single),
    ("1pnc", Side::Single, Side::Multi),
    ("npnc", Side::Multi, Side::Multi),
];

const OPERATIONS: [&str; 4] = ["put", "get", "put_many", "get_many"];

/// What is called here, and all that it calls, is counted: the name says so.
#[inline(never)]
fn counted(mut operation: impl FnMut()) {
    operation();
}

/// One kind of message.
trait Kind {
    type Message: Message;
    const NAME: &'static str;

    fn put(producer: &Producer<Self::Message>, n: u64);
    fn get(consumer: &Consumer<Self::Message>, room: &mut Vec<u8>);
    fn put_many(producer: &Producer<Self::Message>);
    fn get_many(consumer: &Consumer<Self::Message>) -> u64;
}

struct Word;

impl Kind for Word {
    type Message = Pod<u64>;
    const NAME: &'static str = "u64";

    fn put(producer: &Producer<Pod<u64>>, n: u64) {
        producer.put(n).expect("there is room");
    }

    fn get(consumer: &Consumer<Pod<u64>>, _: &mut Vec<u8>) {
        black_box(consumer.get().expect("it is there"));
    }

    fn put_many(producer: &Producer<Pod<u64>>) {
        producer.put_many(&[7; BATCH]).expect("there is room");
    }

    fn get_many(consumer: &Consumer<Pod<u64>>) -> u64 {
        let mut out = Vec::with_capacity(BATCH);
        let got = consumer.get_many(&mut out, BATCH).expect("they are there");
        black_box(out);
        got as u64
    }
}

struct Text;

const TEXT: &[u8] = b"forty-eight bytes that are copied into the slots";

impl Kind for Text {
    type Message = Bytes;
    const NAME: &'static str = "bytes";

    fn put(producer: &Producer<Bytes>, _: u64) {
        producer.put(TEXT).expect("there is room");
    }

    fn get(consumer: &Consumer<Bytes>, room: &mut Vec<u8>) {
        room.clear();
        consumer.get_into(room).expect("it is there");
    }

    fn put_many(producer: &Producer<Bytes>) {
        producer.put_many(&[TEXT; BATCH]).expect("there is room");
    }

    fn get_many(consumer: &Consumer<Bytes>) -> u64 {
        let mut out = Vec::with_capacity(BATCH);
        let got = consumer.get_many(&mut out, BATCH).expect("they are there");
        black_box(out);
        got as u64
    }
}

fn run<K: Kind>(options: Options, operation: &str) {
    let queue = Handle::<K::Message>::with_options(options).expect("memory");
    let (producer, consumer) = queue.split().expect("both sides are free");
    let mut room = Vec::with_capacity(64);
    let (put, get) = (operation == "put", operation == "get");
    let (put_many, get_many) = (operation == "put_many", operation == "get_many");
    // The first turn makes everything ready.
    for turn in 0..=TURNS {
        let counts = |is_it: bool| is_it && turn > 0;
        if operation.ends_with("many") {
            let puts = || (0..RUN / BATCH as u64).for_each(|_| K::put_many(&producer));
            if counts(put_many) {
                counted(puts)
            } else {
                puts()
            }
            let gets = || {
                let mut left = RUN;
                while left > 0 {
                    left -= K::get_many(&consumer);
                }
            };
            if counts(get_many) { counted(gets) } else { gets() }
        } else {
            let puts = || (0..RUN).for_each(|n| K::put(&producer, n));
            if counts(put) {
                counted(puts)
            } else {
                puts()
            }
            let mut gets = || (0..RUN).for_each(|_| K::get(&consumer, &mut room));
            if counts(get) { counted(gets) } else { gets() }
        }
    }
}

fn cases() -> Vec<String> {
    let mut cases = Vec::new();
    for kind in [Word::NAME, Text::NAME] {
        let modes = MODES.iter().map(|(mode, ..)| *mode).chain(["growing"]);
        cases.extend(modes.flat_map(|mode| OPERATIONS.map(|operation| format!("{kind} {mode} {operation}"))));
    }
    cases
}

fn run_case(case: &str) -> Option<()> {
    let mut words = case.split(' ');
    let (kind, mode, operation) = (words.next()?, words.next()?, words.next()?);
    let options = match MODES.iter().find(|(name, ..)| *name == mode) {
        Some((_, producers, consumers)) => Options::new(CAPACITY).producers(*producers).consumers(*consumers),
        None => Options::unbounded().cap(64 << 20),
    };
    match kind {
        "u64" => run::<Word>(options, operation),
        _ => run::<Text>(options.max_message(TEXT.len()), operation),
    }
    Some(())
}

/// Instructions of one operation.
fn count(case: &str) -> Result<f64, String> {
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted*", "--callgrind-out-file=/dev/null", "--"])
        .arg(this)
        .args(["--case", case])
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        return Err(format!("{case}: {}: {said}", output.status));
    }
    let collected = said.lines().find_map(|line| line.split("Collected :").nth(1)).unwrap_or_default();
    let instructions: f64 = collected.trim().parse().map_err(|_| format!("{case}: valgrind said {said}"))?;
    if instructions == 0.0 {
        return Err(format!("{case}: nothing was counted"));
    }
    Ok(instructions / (RUN * TURNS) as f64)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions.txt")
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(rustc).arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&said).trim().to_owned()
}

fn write(counts: &[(String, f64)]) -> std::io::Result<()> {
    let mut text = "# Instructions of one operation; of the batches of 32, of one message. Written by\n\
                    # `cargo bench --bench instructions -- --write`.\n"
        .to_owned();
    text += &format!("# {}\n", compiler());
    for (case, count) in counts {
        text += &format!("{case} {count:.2}\n");
    }
    fs::write(file(), text)
}

/// Says what differs, and whether anything does.
fn differs(expected: &str, counts: &[(String, f64)]) -> bool {
    let mut any = false;
    for (case, count) in counts {
        let line = expected.lines().find_map(|line| line.strip_prefix(case.as_str())?.strip_prefix(' '));
        let Some(expected) = line.and_then(|count| count.trim().parse::<f64>().ok()) else {
            println!("{case}: {count:.2}, and instructions.txt does not have it");
            any = true;
            continue;
        };
        let is_off = (count - expected).abs() > (expected * TOLERANCE).max(1.0);
        println!("{case:<24}{count:>8.2}{expected:>10.2}{}", if is_off { "   <-- differs" } else { "" });
        any |= is_off;
    }
    any
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--case") {
        let ran = arguments.get(at + 1).and_then(|case| run_case(case));
        return if ran.is_some() { ExitCode::SUCCESS } else { ExitCode::from(2) };
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("skipped: there is no valgrind to count with");
        let is_strict = std::env::var_os("RINGWAY_STRICT").is_some_and(|value| !value.is_empty());
        return if is_strict { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let counts: Result<Vec<(String, f64)>, String> =
        cases().into_iter().map(|case| count(&case).map(|count| (case, count))).collect();
    let counts = match counts {
        Ok(counts) => counts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.iter().any(|argument| argument == "--write") {
        return match write(&counts) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}: {error}", file().display());
                ExitCode::FAILURE
            }
        };
    }
    let expected = fs::read_to_string(file()).unwrap_or_default();
    let differs = differs(&expected, &counts);
    if !differs {
        return ExitCode::SUCCESS;
    }
    if !expected.lines().any(|line| line.strip_prefix("# ") == Some(compiler().as_str())) {
        println!("counted with {}, which is not the compiler of instructions.txt: told, and no failure", compiler());
        return ExitCode::SUCCESS;
    }
    println!(
        "an operation takes more or fewer instructions than instructions.txt says; if that is meant, write it anew"
    );
    ExitCode::FAILURE
}
