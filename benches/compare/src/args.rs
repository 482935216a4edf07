//! The command line.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

pub const HELP: &str = "\
ringway beside what a user would pick instead: ratios, measured in one run

usage: compare [options]

  --quick            3 short runs of each row instead of 9
  --runs N           so many pairs of measurements a row
  --only SUBSTRING   rows and groups whose name contains it
  --targets          only the rows that have targets
  --field            only the field: every system at the same work
  --threads          each one-way row once more, with ringway between threads
  --json [FILE]      JSON to FILE, or to standard output (then the table goes to
                     standard error)
  --without-recovery PROGRAM
                     what recovery costs: only rows against PROGRAM, this very
                     program built with RUSTFLAGS='--cfg ringway_without_recovery'
  --self-test        break the queues on purpose: every fault must be noticed
  --help             this text
";

pub enum JsonTo {
    Stdout,
    File(File),
}

impl JsonTo {
    pub fn write(&mut self, text: &str) -> io::Result<()> {
        match self {
            JsonTo::Stdout => writeln!(io::stdout(), "{text}"),
            JsonTo::File(file) => writeln!(file, "{text}"),
        }
    }
}

#[derive(Default)]
pub struct Args {
    pub quick: bool,
    pub runs: Option<usize>,
    pub only: Option<String>,
    pub targets: bool,
    pub field: bool,
    pub threads: bool,
    pub json: Option<JsonTo>,
    pub self_test: bool,
    pub without_recovery: Option<PathBuf>,
    pub help: bool,
}

impl Args {
    /// Errors are texts for the user. The file for the JSON is made here: it is
    /// better to hear before the run that it cannot be written.
    pub fn parse(arguments: impl Iterator<Item = String>) -> Result<Args, String> {
        let mut args = Args::default();
        let mut rest = arguments.peekable();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--quick" => args.quick = true,
                "--targets" => args.targets = true,
                "--field" => args.field = true,
                "--threads" => args.threads = true,
                "--self-test" => args.self_test = true,
                "--help" | "-h" => args.help = true,
                "--without-recovery" => {
                    let program = PathBuf::from(rest.next().ok_or("--without-recovery needs a program")?);
                    let program = program.canonicalize().map_err(|e| format!("{}: {e}", program.display()))?;
                    args.without_recovery = Some(program);
                }
                "--only" => args.only = Some(rest.next().ok_or("--only needs a part of a row's name")?),
                "--runs" => {
                    let runs = rest.next().and_then(|n| n.parse().ok()).filter(|n| (1..=10_000).contains(n));
                    args.runs = Some(runs.ok_or("--runs needs a number from 1 to 10000")?);
                }
                "--json" => {
                    args.json = Some(match rest.next_if(|next| !next.starts_with('-')) {
                        None => JsonTo::Stdout,
                        Some(path) => {
                            JsonTo::File(File::create(&path).map_err(|e| format!("{path} cannot be written: {e}"))?)
                        }
                    });
                }
                // What `cargo bench` adds.
                "--bench" => {}
                other => return Err(format!("unknown argument {other}; see --help")),
            }
        }
        if args.targets && args.field {
            return Err("--targets and --field exclude each other".to_owned());
        }
        Ok(args)
    }
}
