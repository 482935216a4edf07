//! The `ringway` command.
//!
//! This file parses the command line, calls the subcommand and turns its
//! result into an exit code: 0 done, 1 failed, 2 wrong usage (clap's own code).
//! It knows nothing of what a subcommand does. The command uses the library's
//! public interface only.

mod admin;
mod bench;

use clap::{CommandFactory, Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Shared-memory queues between processes: look inside, clean up, measure.
#[derive(Debug, Parser)]
#[command(name = "ringway", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Measure ringway beside the limit of the machine and what the kernel offers.
    ///
    /// Everything runs in separate processes, pinned to different cores. Without a
    /// subcommand: latency, then throughput.
    Bench(bench::BenchArgs),
    /// Show every queue: those with a name, and the anonymous ones of your processes.
    List(admin::ListArgs),
    /// Show one queue in detail, also if its users are dead or it is damaged.
    Inspect(admin::InspectArgs),
    /// Remove the ephemeral queues whose users have all died.
    Clean(admin::CleanArgs),
    /// Remove a queue's name, whoever uses it: who has it open goes on with it.
    Rm(admin::RemoveArgs),
    /// One process of a measurement: started by `bench`, never by hand.
    #[command(name = bench::WORKER_COMMAND, hide = true)]
    Worker { order: String },
}

fn main() -> ExitCode {
    // Where `bench process` starts processes, they begin here.
    ringway::init();
    let arguments: Vec<OsString> = bench::settle_json_flag(std::env::args_os().collect());
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match cli.command {
        Command::List(args) => finish("list", admin::list(&args)),
        Command::Inspect(args) => finish("inspect", admin::inspect(&args)),
        Command::Clean(args) => finish("clean", admin::clean(&args)),
        Command::Rm(args) => finish("rm", admin::remove(&args)),
        Command::Worker { order } => bench::work(&order),
        Command::Bench(args) => match args.plan() {
            Err(message) => Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit(),
            Ok(request) => match bench::run(&request) {
                Ok(outcome) => outcome,
                Err(error) => {
                    eprintln!("ringway bench: {error:#}");
                    ExitCode::FAILURE
                }
            },
        },
    }
}

/// Says what went wrong, and ends with 1 or, for wrong usage, with 2.
fn finish(command: &str, outcome: Result<ExitCode, admin::Trouble>) -> ExitCode {
    match outcome {
        Ok(code) => code,
        Err(admin::Trouble::Usage(message)) => {
            Cli::command().error(clap::error::ErrorKind::ValueValidation, message).exit()
        }
        Err(admin::Trouble::Failed(message)) => {
            eprintln!("ringway {command}: {message}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let arguments = line.split(' ').map(OsString::from).collect();
        Cli::try_parse_from(bench::settle_json_flag(arguments)).map(|cli| cli.command)
    }

    fn bench_args(line: &str) -> bench::BenchArgs {
        match parse(line) {
            Ok(Command::Bench(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_stand_before_or_after_the_subcommand() {
        let flags = "--quick --size 8,56 --mode spsc --runs 9 --json out.json";
        let before = bench_args(&format!("ringway bench {flags} latency"));
        let after = bench_args(&format!("ringway bench latency {flags}"));
        assert_eq!(format!("{before:?}"), format!("{after:?}"));
        assert_eq!(before.plan().map(|r| r.runs), Ok(9));
    }

    #[test]
    fn json_alone_does_not_swallow_the_subcommand() {
        for line in ["ringway bench --json latency", "ringway bench latency --json"] {
            let request = bench_args(line).plan().unwrap();
            assert_eq!(request.json.as_deref(), Some(std::path::Path::new("-")), "{line}");
            assert!(!request.throughput, "{line}");
        }
        let request = bench_args("ringway bench --json=latency").plan().unwrap();
        assert_eq!(request.json.as_deref(), Some(std::path::Path::new("latency")));
    }

    #[test]
    fn rates_have_units() {
        let request = bench_args("ringway bench --json load --rate 10,1k,2M").plan().unwrap();
        assert_eq!((request.rates, request.runs), (vec![10, 1_000, 2_000_000], 3));
        assert!(request.load && !request.latency && request.json.is_some());
        assert_eq!(bench_args("ringway bench load --quick").plan().map(|r| r.runs), Ok(1));
        assert_eq!(bench_args("ringway bench latency").plan().map(|r| r.load), Ok(false));
    }

    #[test]
    fn scaling_takes_what_narrows_it() {
        let request = bench_args("ringway bench --json scale --quick").plan().unwrap();
        assert!(request.scale && !request.throughput && request.json.is_some() && request.shapes.is_empty());
        let line = "ringway bench scale --over size,capacity --size 4194304 --producers 8 --consumers 8 --mode mpmc";
        let request = bench_args(line).plan().unwrap();
        assert_eq!((request.over.len(), request.sizes, request.shapes.len()), (2, vec![4 << 20], 1));
    }

    #[test]
    fn wrong_usage_is_refused() {
        for line in
            ["ringway", "ringway bench --runs 0", "ringway bench --size 7", "ringway bench --mode x", "ringway x"]
                .into_iter()
                .chain(["ringway bench --size 4194305", "ringway bench scale --over x"])
        {
            assert_eq!(parse(line).expect_err(line).exit_code(), 2, "{line}");
        }
        for line in [
            "ringway bench --mode spsc --producers 2",
            "ringway bench latency --batch 4",
            "ringway bench latency --rate 1k",
            "ringway bench --rate 1k",
            "ringway bench load --consumers 2",
            "ringway bench scale --batch 4",
            "ringway bench scale --mode spsc --producers 2",
            "ringway bench throughput --over size",
            "ringway bench --size 4194304 --batch 65",
            "ringway bench tune --wait spin",
            "ringway bench tune --mode spsc,mpmc",
        ] {
            assert!(bench_args(line).plan().is_err(), "{line}");
        }
    }
}
