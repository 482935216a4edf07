//! What a person reads of pools. Nothing here decides anything.

use super::table::{BOLD, lines, paint, plain};
use ringway::PoolStats;
use ringway::admin::Location;
use std::fmt::Write as _;
use std::time::Duration;

/// Nothing where there are none.
pub fn list(pools: &[(Location, PoolStats)], colours: bool) -> String {
    if pools.is_empty() {
        return String::new();
    }
    let header = ["pool", "name", "pid", "workers", "queued", "running", "done", "failed", "restarted"];
    let row = |(location, stats): &(Location, PoolStats)| {
        let there = stats.workers.iter().filter(|worker| worker.pid.is_some()).count();
        let workers = match stats.workers.len() {
            all if all == there => all.to_string(),
            all => format!("{there} of {all}"),
        };
        let counts = [stats.queued as u64, stats.running as u64, stats.done, stats.failed, stats.restarted];
        let mut row = vec![location.to_string(), plain(&stats.name).into_owned(), stats.pid.to_string(), workers];
        row.extend(counts.map(|count| count.to_string()));
        (row, "")
    };
    format!("\n{}", lines(&header, pools.iter().map(row).collect(), &[2, 3, 4, 5, 6, 7, 8], colours))
}

pub fn inspect(location: &Location, stats: &PoolStats, colours: bool) -> String {
    let mut text = paint(&format!("{location}"), BOLD, colours) + "\n";
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<14}{value}");
    };
    line("pool", format!("{}, of process {}", plain(&stats.name), stats.pid));
    line(
        "jobs",
        format!("{} queued, {} running, {} done, {} failed", stats.queued, stats.running, stats.done, stats.failed),
    );
    line("workers", format!("{}, restarted {} times", stats.workers.len(), stats.restarted));
    if stats.unasked > 0 || stats.callbacks_panicked > 0 {
        let what = format!("{} errors, {} panics of callbacks", stats.unasked, stats.callbacks_panicked);
        line("unasked for", what);
    }
    let rows = stats.workers.iter().zip(1..).map(|(worker, number)| {
        let or_none = |text: Option<String>, none: &str| text.unwrap_or_else(|| none.into());
        let pid = or_none(worker.pid.map(|pid| pid.to_string()), "being replaced");
        let job = or_none(worker.job.map(|job| job.to_string()), "idle");
        let since = or_none(worker.running_for.map(span), "");
        (vec![format!("{number}"), pid, job, since], "")
    });
    let rows = rows.collect();
    text + "\n" + &lines(&["worker", "pid", "job", "for"], rows, &[0, 1, 2, 3], colours)
}

fn span(time: Duration) -> String {
    if time < Duration::from_secs(10) {
        format!("{:.3} s", time.as_secs_f64())
    } else {
        format!("{} s", time.as_secs())
    }
}
