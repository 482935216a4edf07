//! `ringway list`, `inspect`, `clean` and `rm`: which queues and pools there are, what is in one,
//! and removing what nobody uses.
//!
//! The library looks (`ringway::admin`, `ringway::PoolStats`); this folder parses flags, asks, and writes: `table`
//! for a person, `json` for a program (its schema is in `docs/tool.md`).

mod json;
mod pool;
mod table;

use clap::Args;
use ringway::admin::{self, Cleaning, Location};
use ringway::{PoolStats, SetupError, SetupErrorKind};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Flags of all four.
#[derive(Debug, Args)]
pub struct Common {
    /// The directory of the named queues, instead of RINGWAY_DIR.
    #[arg(long, value_name = "PATH")]
    dir: Option<PathBuf>,

    /// Write JSON to FILE; alone, to standard output (the table then goes to standard error).
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The queue: its name, or PID/FD of an anonymous one or of a pool, as `list` shows it.
    #[arg(value_name = "NAME|PID/FD")]
    queue: Option<String>,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct CleanArgs {
    /// Only say what would be removed.
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The queue's name.
    #[arg(value_name = "NAME")]
    name: Option<String>,

    #[command(flatten)]
    common: Common,
}

/// Why a command did not do what it was asked to.
pub enum Trouble {
    /// The command line makes no sense: exit code 2.
    Usage(String),
    /// Exit code 1.
    Failed(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::Failed(format!("writing the result: {error}"))
    }
}

type Outcome = Result<ExitCode, Trouble>;

impl Common {
    fn dir(&self) -> Option<&Path> {
        self.dir.as_deref()
    }

    fn path(&self) -> PathBuf {
        admin::directory_path(self.dir())
    }

    /// `--json NAME`, without another name: the name was meant, and JSON on standard output.
    fn name<'a>(&'a self, given: &'a Option<String>, what: &str) -> Result<(&'a str, Option<&'a Path>), Trouble> {
        let json = self.json.as_deref();
        let missing = || Trouble::Usage(format!("which queue? Give {what}; `ringway list` shows what is there"));
        match (given, json) {
            (Some(name), json) => Ok((name, json)),
            (None, Some(json)) if json != Path::new("-") => {
                Ok((json.to_str().ok_or_else(missing)?, Some(Path::new("-"))))
            }
            (None, _) => Err(missing()),
        }
    }
}

pub fn list(args: &ListArgs) -> Outcome {
    let common = &args.common;
    let mut queues = admin::list(common.dir()).map_err(|e| failed("", common, &e))?;
    queues.extend(admin::list_anonymous());
    let pools = PoolStats::list();
    let path = common.path();
    write_out(common.json.as_deref(), &json::list(&path, &queues, &pools), |colours| {
        table::list(&path, &queues, colours) + &pool::list(&pools, colours)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn inspect(args: &InspectArgs) -> Outcome {
    let common = &args.common;
    let (name, json) = common.name(&args.queue, "a name, or PID/FD")?;
    let location: Location = name.parse().map_err(|e| failed(name, common, &e))?;
    // What the system says against it, `admin::inspect` says, too.
    if let Ok(Some(stats)) = PoolStats::at(&location) {
        write_out(json, &json::inspect_pool(&location, &stats), |colours| pool::inspect(&location, &stats, colours))?;
        return Ok(ExitCode::SUCCESS);
    }
    let seen = admin::inspect(common.dir(), &location).map_err(|e| failed(name, common, &e))?;
    write_out(json, &json::inspect(&location, &seen), |colours| table::inspect(&location, &seen, colours))?;
    Ok(ExitCode::SUCCESS)
}

pub fn clean(args: &CleanArgs) -> Outcome {
    let common = &args.common;
    let cleaning = if args.dry_run { Cleaning::DryRun } else { Cleaning::Remove };
    let cleaned = admin::clean(common.dir(), cleaning).map_err(|e| failed("", common, &e))?;
    let path = common.path();
    write_out(common.json.as_deref(), &json::clean(&path, args.dry_run, &cleaned), |colours| {
        table::clean(&path, args.dry_run, &cleaned, colours)
    })?;
    Ok(ExitCode::SUCCESS)
}

pub fn remove(args: &RemoveArgs) -> Outcome {
    let common = &args.common;
    let (name, json) = common.name(&args.name, "its name")?;
    match name.parse() {
        Ok(Location::Anonymous { .. }) => {
            let why = "an anonymous queue has no name to remove; it goes with the last process that has it";
            return Err(Trouble::Usage(format!("{name}: {why}")));
        }
        Ok(_) => admin::remove(common.dir(), name).map_err(|e| failed(name, common, &e))?,
        Err(error) => return Err(failed(name, common, &error)),
    }
    let path = common.path();
    write_out(json, &json::remove(&path, name), |_| format!("removed {}\n", table::plain(name)))?;
    Ok(ExitCode::SUCCESS)
}

/// What went wrong, and what to do next.
fn failed(name: &str, common: &Common, error: &SetupError) -> Trouble {
    let path = common.path();
    let about = table::plain(name);
    let file = table::plain(&path.join(name).display().to_string()).into_owned();
    match error.kind() {
        SetupErrorKind::InvalidName { .. } => Trouble::Usage(format!("{about}: {error}")),
        SetupErrorKind::NotFound if name.contains('/') => Trouble::Failed(format!(
            "{about}: there is no such process, or it has no such descriptor; `ringway list` shows the queues"
        )),
        SetupErrorKind::NotFound => Trouble::Failed(format!(
            "{about}: there is no such queue in {}; `ringway list` shows the queues, --dir chooses another directory",
            path.display()
        )),
        SetupErrorKind::NotASegment { reason } => Trouble::Failed(format!(
            "{about} is not a queue that can be read: {reason}; if nobody needs it, remove the file {file}"
        )),
        SetupErrorKind::VersionMismatch { found, .. } => Trouble::Failed(format!(
            "{about} was made by another version of ringway (layout {found}): use that version's command, or, \
             if no program uses the queue any more, remove the file {file}"
        )),
        _ if name.is_empty() => Trouble::Failed(error.to_string()),
        _ => Trouble::Failed(format!("{about}: {error}")),
    }
}

/// Writes what a program and what a person reads to where each belongs.
fn write_out(json: Option<&Path>, value: &impl serde::Serialize, table: impl Fn(bool) -> String) -> io::Result<()> {
    let Some(target) = json else {
        let out = io::stdout();
        return quiet(out.lock().write_all(table(colours(&out)).as_bytes()));
    };
    let mut text = serde_json::to_string_pretty(value)?;
    text.push('\n');
    if target != Path::new("-") {
        std::fs::write(target, text)?;
        let out = io::stdout();
        return quiet(out.lock().write_all(table(colours(&out)).as_bytes()));
    }
    let err = io::stderr();
    quiet(err.lock().write_all(table(colours(&err)).as_bytes()))?;
    quiet(io::stdout().lock().write_all(text.as_bytes()))
}

fn colours(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none()
}

/// A reader that has seen enough is no error.
fn quiet(written: io::Result<()>) -> io::Result<()> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
