//! What a person reads. Nothing here decides anything.

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use ringway::admin::{
    BlockClass, Cleaned, Facts, Growth, Intent, LeaseState, Life, Listed, Location, Messages, Participant, Snapshot,
    SubscriberState, Summary,
};
use ringway::{Lifetime, Side, SlowConsumers};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

pub const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const YELLOW: &str = "\x1b[33m";
const GREEN: &str = "\x1b[32m";
const OFF: &str = "\x1b[0m";

/// What comes from a file, fit for a terminal: without control characters.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return text.into();
    }
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(shown).collect::<String>().into()
}

pub fn paint(text: &str, colour: &str, colours: bool) -> String {
    if colours && !colour.is_empty() { format!("{colour}{text}{OFF}") } else { text.to_owned() }
}

/// Lines under a bold header; a line has the colour of its row.
pub fn lines(header: &[&str], rows: Vec<(Vec<String>, &str)>, right: &[usize], colours: bool) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    let cell = |(k, text): (usize, String)| {
        let alignment = if right.contains(&k) { CellAlignment::Right } else { CellAlignment::Left };
        Cell::new(text).set_alignment(alignment)
    };
    table.set_header(header.iter().map(|&h| h.to_owned()).enumerate().map(cell).collect::<Vec<_>>());
    let paints: Vec<&str> = std::iter::once(BOLD).chain(rows.iter().map(|(_, colour)| *colour)).collect();
    for (row, _) in rows {
        table.add_row(row.into_iter().enumerate().map(cell).collect::<Vec<_>>());
    }
    let painted = table.lines().zip(paints).map(|(line, colour)| paint(line.trim_end(), colour, colours) + "\n");
    painted.collect()
}

pub fn side(side: Side) -> &'static str {
    match side {
        Side::Single => "single",
        Side::Multi => "multi",
    }
}

/// What happens when a subscriber of a broadcast is slow; `None`: it is a queue.
pub fn broadcast(facts: &Facts) -> Option<&'static str> {
    facts.broadcast.map(|policy| match policy {
        SlowConsumers::Block => "block",
        SlowConsumers::DropOldest => "drop oldest",
    })
}

fn mode(facts: &Facts) -> String {
    match broadcast(facts) {
        Some(_) => format!("{}/broadcast", side(facts.producers)),
        None => format!("{}/{}", side(facts.producers), side(facts.consumers)),
    }
}

pub fn lifetime(location: &Location, facts: &Facts) -> &'static str {
    match (location, facts.lifetime) {
        (Location::Anonymous { .. }, _) => "anonymous",
        (_, Lifetime::Ephemeral) => "ephemeral",
        (_, Lifetime::Persistent) => "persistent",
    }
}

/// In one word, for table and JSON.
pub fn state(location: &Location, summary: &Summary) -> &'static str {
    match (summary.alive, lifetime(location, &summary.facts)) {
        _ if summary.problem.is_some() => "damaged",
        (0, "ephemeral") => "stale",
        (0, _) => "idle",
        _ if summary.closed => "closed",
        _ => "in use",
    }
}

fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

fn ago(then: SystemTime) -> String {
    format!("{} ago", span(SystemTime::now().duration_since(then).unwrap_or_default()))
}

fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count >> 10),
        _ => format!("{} MiB", count >> 20),
    }
}

pub fn list(path: &Path, queues: &[Listed], colours: bool) -> String {
    let header =
        ["queue", "messages", "prod/cons", "depth", "capacity", "alive", "dead", "lifetime", "age", "size", "state"];
    let mut rows = Vec::new();
    let mut strange = String::new();
    for queue in queues {
        let location = plain(&queue.location.to_string()).into_owned();
        match &queue.queue {
            Ok(summary) => rows.push((row(location, &queue.location, summary), colour(&queue.location, summary))),
            Err(error) => {
                let _ = writeln!(strange, "{}", paint(&format!("{location}: {error}"), YELLOW, colours));
            }
        }
    }
    let mut text = String::new();
    if rows.is_empty() {
        let _ = writeln!(text, "no queues: none in {}, and no process of yours has an anonymous one", path.display());
    } else {
        text = lines(&header, rows, &[3, 4, 5, 6, 8, 9], colours);
    }
    text + &strange
}

fn row(location: String, place: &Location, summary: &Summary) -> Vec<String> {
    let facts = &summary.facts;
    vec![
        location,
        plain(&facts.messages.to_string()).into_owned(),
        mode(facts),
        summary.depth.map_or_else(|| "?".into(), |depth| depth.to_string()),
        facts.capacity.to_string(),
        summary.alive.to_string(),
        summary.dead.to_string(),
        lifetime(place, facts).into(),
        span(facts.age()),
        bytes(facts.size),
        state(place, summary).into(),
    ]
}

fn colour(location: &Location, summary: &Summary) -> &'static str {
    match state(location, summary) {
        "damaged" => RED,
        "stale" => YELLOW,
        _ => "",
    }
}

pub fn life(life: Life) -> (&'static str, &'static str) {
    match life {
        Life::Alive => ("alive", "its life byte is held"),
        Life::Dead => ("dead", "its life byte is free, and it has not left"),
        _ => ("ghost", "its life byte is held, but it is not attached"),
    }
}

pub fn inspect(location: &Location, seen: &Snapshot, colours: bool) -> String {
    let facts = &seen.facts;
    let mut text = String::new();
    let head = plain(&location.to_string()).into_owned();
    let _ = writeln!(text, "{}", paint(&head, BOLD, colours));
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "  {name:<14}{value}");
    };
    line("messages", messages(facts));
    match broadcast(facts) {
        Some(policy) => {
            line("broadcast", format!("producers {}, slow subscribers: {policy}", side(facts.producers)));
        }
        None => line("sides", format!("producers {}, consumers {}", side(facts.producers), side(facts.consumers))),
    }
    line("capacity", format!("{} messages, {} of shared memory", facts.capacity, bytes(facts.size)));
    line(
        "lifetime",
        format!("{}, created {} by process {}", lifetime(location, facts), ago(facts.created), facts.creator),
    );
    line("participants", format!("at most {}", facts.max_participants));
    line("identity", format!("{:032x}", facts.identity));
    if let Some(ring) = &seen.ring {
        let closed = if ring.closed { ", closed" } else { "" };
        if let Some(growth) = &seen.growth {
            let of = format!(
                "{} of {}, {} of them messages at most",
                bytes(growth.backed),
                bytes(facts.size),
                bytes(growth.cap)
            );
            line("memory", of);
            let Growth { chunks, chunk, ready, drained, backing, punching, holes, .. } = growth;
            let changing =
                format!("{drained} drained, {backing} being allocated, {punching} being freed, {holes} without memory");
            line("chunks", format!("{chunks} of {}: {ready} ready, {changing}", bytes(*chunk)));
        }
        line("depth", format!("{} of {}{closed}", ring.depth, facts.capacity));
        line("so far", format!("{} put, {} got", ring.puts, ring.gets));
        let optional =
            |name: &str, value: Option<u64>| value.map_or_else(String::new, |value| format!(", {name} {value}"));
        let words = [optional("tail", ring.tail), optional("taken", ring.taken), optional("end", ring.end)].concat();
        line("positions", format!("head {}{words}", ring.head));
        for (name, holder) in [("producer", ring.producer), ("consumer", ring.consumer)] {
            if let Some(holder) = holder {
                let alive = if holder.alive { "alive: the role byte is held" } else { "dead: the role byte is free" };
                line(name, format!("process {} ({alive})", holder.pid));
            }
        }
        if ring.redeliveries > 0 {
            line("redeliveries", format!("{} messages of dead consumers wait", ring.redeliveries));
        }
    }
    for problem in &seen.problems {
        let _ = writeln!(text, "{}", paint(&format!("  problem: {}", plain(problem)), RED, colours));
    }
    text.push_str(&unfinished(seen, colours));
    text.push_str(&participants(seen, colours));
    text.push_str(&leases(seen, colours));
    text.push_str(&blocks(seen, colours));
    text.push_str(&subscribers(seen, colours));
    text
}

/// Those who subscribe to a broadcast.
fn subscribers(seen: &Snapshot, colours: bool) -> String {
    if seen.subscribers.is_empty() {
        return String::new();
    }
    let row = |one: &SubscriberState| {
        let state = one.life.map_or("nobody", |one| life(one).0);
        let colour = one.life.map_or(YELLOW, state_colour);
        let numbers = [one.position, one.lag, one.missed].map(|number| number.to_string());
        ([one.index.to_string(), state.into()].into_iter().chain(numbers).collect(), colour)
    };
    let rows = seen.subscribers.iter().map(row).collect();
    lines(&["subscriber", "state", "position", "lag", "missed"], rows, &[0, 2, 3, 4], colours)
}

/// The blocks of the arena.
fn blocks(seen: &Snapshot, colours: bool) -> String {
    if seen.blocks.is_empty() {
        return String::new();
    }
    let row = |class: &BlockClass| {
        let counts = [class.count, class.free, class.writing, class.queued, class.leased, class.reading];
        (std::iter::once(bytes(class.size)).chain(counts.map(|count| count.to_string())).collect(), "")
    };
    let heads = ["blocks of", "all", "free", "being written", "in the queue", "leased", "being read"];
    let mut text = lines(&heads, seen.blocks.iter().map(row).collect(), &[0, 1, 2, 3, 4, 5, 6], colours);
    for one in seen.participants.iter().filter(|one| one.blocks > 0) {
        let _ = writeln!(text, "  participant {} writes or reads {} of them", one.index, one.blocks);
    }
    text
}

fn messages(facts: &Facts) -> String {
    match &facts.messages {
        Messages::Plain { tag, size, align } => {
            format!("plain data, {} ({size} bytes, aligned to {align})", plain(tag))
        }
        Messages::Encoded { tag } => format!("encoded, {} (at most {} bytes)", plain(tag), facts.max_message),
        _ => format!("bytes, at most {}", facts.max_message),
    }
}

/// The oldest position that is begun and not ended, and who is at it.
fn unfinished(seen: &Snapshot, colours: bool) -> String {
    let Some(ring) = &seen.ring else { return String::new() };
    let Some(oldest) = ring.unfinished.first() else {
        let note = if ring.partly_searched { " (the queue is too long to search all of it)" } else { "" };
        return format!("  {:<14}nothing{note}\n", "unfinished");
    };
    let holders: Vec<String> = oldest
        .holders
        .iter()
        .filter_map(|index| seen.participants.iter().find(|p| p.index == *index))
        .map(|p| format!("participant {} (process {}, {})", p.index, p.pid, life(p.life).0))
        .collect();
    let holders = if holders.is_empty() { "somebody who has gone".into() } else { holders.join(" or ") };
    let operation = operation(oldest.operation);
    let more = ring.unfinished.len() - 1;
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    let line = format!(
        "  {:<14}{operation} at position {} by {holders}, first seen {}{more}",
        "unfinished",
        oldest.position,
        ago(oldest.since)
    );
    paint(&line, YELLOW, colours) + "\n"
}

pub fn operation(operation: ringway::admin::Operation) -> &'static str {
    match operation {
        ringway::admin::Operation::Put => "put",
        _ => "get",
    }
}

fn participants(seen: &Snapshot, colours: bool) -> String {
    if seen.participants.is_empty() {
        return "  nobody is attached\n".into();
    }
    let header = [
        "index",
        "process",
        "role",
        "state",
        "attached",
        "puts",
        "gets",
        "sleeps",
        "wakes",
        "asleep",
        "put intent",
        "get intent",
    ];
    let rows = seen.participants.iter().map(|one| (participant(one), state_colour(one.life))).collect();
    let mut text = lines(&header, rows, &[0, 1, 4, 5, 6, 7, 8, 9], colours);
    for state in [Life::Alive, Life::Dead, Life::Ghost] {
        if seen.participants.iter().any(|one| one.life == state) {
            let (name, how) = life(state);
            let _ = writeln!(text, "  {name}: {how}");
        }
    }
    text
}

fn state_colour(life: Life) -> &'static str {
    match life {
        Life::Alive => GREEN,
        Life::Dead => RED,
        _ => YELLOW,
    }
}

fn participant(one: &Participant) -> Vec<String> {
    let role = match (one.is_producer, one.is_consumer) {
        (true, true) => "puts, gets",
        (true, false) => "puts",
        (false, true) => "gets",
        (false, false) => "none yet",
    };
    vec![
        one.index.to_string(),
        one.pid.to_string(),
        role.into(),
        life(one.life).0.into(),
        one.attached.map_or_else(|| "?".into(), ago),
        one.puts.to_string(),
        one.gets.to_string(),
        one.sleeps.to_string(),
        one.wakes.to_string(),
        one.asleep_for.map_or_else(|| "-".into(), span),
        intent(one.put_intent.as_ref()),
        intent(one.get_intent.as_ref()),
    ]
}

/// Leases that are shown one by one.
const MOST_LEASES: usize = 20;

fn leases(seen: &Snapshot, colours: bool) -> String {
    if seen.leases.is_empty() {
        return String::new();
    }
    let row = |lease: &LeaseState| {
        let holder = lease.holder.map_or_else(|| "came back, waits".into(), |index| format!("participant {index}"));
        let time = lease.held_for.map_or_else(|| "-".into(), span);
        (vec![lease.position.to_string(), holder, time, lease.redelivered.to_string()], "")
    };
    let rows = seen.leases.iter().take(MOST_LEASES).map(row).collect();
    let mut text = lines(&["lease of", "held by", "for", "redelivered"], rows, &[0, 2, 3], colours);
    if seen.leases.len() > MOST_LEASES {
        let _ = writeln!(text, "  and {} more leases", seen.leases.len() - MOST_LEASES);
    }
    text
}

fn intent(intent: Option<&Intent>) -> String {
    let Some(intent) = intent else { return "-".into() };
    let state = match intent.unfinished.len() {
        0 => "finished".into(),
        n => format!("{n} unfinished"),
    };
    format!("{}+{} ({state})", intent.start, intent.len)
}

pub fn clean(path: &Path, dry_run: bool, cleaned: &[Cleaned], colours: bool) -> String {
    if cleaned.is_empty() {
        return format!("nothing to clean: {} has no files\n", path.display());
    }
    let verb = if dry_run { "would remove" } else { "removed" };
    let mut text = String::new();
    for one in cleaned {
        let (verb, colour) = if one.outcome.is_removed() { (verb, GREEN) } else { ("kept", "") };
        let _ = writeln!(
            text,
            "{} {}: {}",
            paint(verb, colour, colours),
            plain(&one.name),
            plain(&one.outcome.to_string())
        );
    }
    let removed = cleaned.iter().filter(|one| one.outcome.is_removed()).count();
    let _ = writeln!(text, "{verb} {removed} of {} in {}", cleaned.len(), path.display());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc"), "a\\u{1b}[2Jb\\nc");
        assert_eq!(plain("über queue"), "über queue");
    }

    #[test]
    fn spans_and_sizes_are_short() {
        let texts = [0, 119, 120, 7_199, 7_200, 172_800].map(|s| span(Duration::from_secs(s)));
        assert_eq!(texts, ["0 s", "119 s", "2 min", "119 min", "2 h", "2 d"]);
        assert_eq!([4096, 1 << 20, 1 << 30].map(bytes), ["4096 B", "1024 KiB", "1024 MiB"]);
    }
}
