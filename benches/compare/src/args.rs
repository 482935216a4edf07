//! The command line.

use std::path::PathBuf;

pub const HELP: &str = "\
ringway beside what a user would pick instead: ratios, measured in one run

usage: compare [options]

Without --quick, faster-fifo is installed for python3 beside this program, where there is a python3 and a package
index, and Aeron is built there, where there are cc, cargo and its index. Boost is measured where c++ and its headers
are (Debian: libboost-dev).

  --quick            3 short runs of each row instead of 9
  --runs N           so many pairs of measurements a row
  --only SUBSTRING   rows and groups whose name contains it
  --targets          only the rows that have targets
  --field            only the field: every system at the same work
  --threads          each one-way row once more, with ringway between threads
  --json [FILE]      JSON to FILE, or to standard output (then the table goes to
                     standard error)
  --html FILE        one page with all plots and numbers; it needs no network
  --svg DIR          every plot to a file of its own in DIR
  --without-recovery PROGRAM
                     what recovery costs: only rows against PROGRAM, this very
                     program built with RUSTFLAGS='--cfg ringway_without_recovery'
  --self-test        break the queues on purpose: every fault must be noticed
  --help             this text
";

#[derive(Default)]
pub struct Args {
    pub quick: bool,
    pub runs: Option<usize>,
    pub only: Option<String>,
    pub targets: bool,
    pub field: bool,
    pub threads: bool,
    /// Without a file: standard output.
    pub json: Option<Option<PathBuf>>,
    pub html: Option<PathBuf>,
    pub svg: Option<PathBuf>,
    pub self_test: bool,
    pub without_recovery: Option<PathBuf>,
    pub help: bool,
}

impl Args {
    /// Errors are texts for the user.
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
                "--json" => args.json = Some(rest.next_if(|next| !next.starts_with('-')).map(PathBuf::from)),
                "--html" => args.html = Some(rest.next().map(PathBuf::from).ok_or("--html needs a file")?),
                "--svg" => args.svg = Some(rest.next().map(PathBuf::from).ok_or("--svg needs a directory")?),
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
