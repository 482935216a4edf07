//! What a program reads. Every key is always there; what does not apply or is not known is
//! null. Later versions add keys and values; the number of the schema says when one changes
//! its meaning. `docs/tool.md` describes it.

use super::table::{broadcast, life, lifetime, operation, side, state};
use ringway::PoolStats;
use ringway::admin::{
    BlockClass, Cleaned, Facts, Growth, Holder, Intent, LeaseState, Listed, Location, Messages, Outcome, Participant,
    Pause, RingState, Snapshot, SubscriberState,
};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;
use std::time::SystemTime;

const SCHEMA: u32 = 1;

fn unix(time: SystemTime) -> Option<u64> {
    time.duration_since(SystemTime::UNIX_EPOCH).ok().map(|since| since.as_secs())
}

/// What `list` and `inspect` say of a queue.
#[derive(Serialize)]
struct Queue {
    queue: String,
    pid: Option<u32>,
    fd: Option<u32>,
    messages: Option<&'static str>,
    #[serde(rename = "type")]
    tag: Option<String>,
    element_size: Option<u64>,
    element_align: Option<u32>,
    broadcast: Option<&'static str>,
    producers: Option<&'static str>,
    consumers: Option<&'static str>,
    capacity: Option<u64>,
    max_message: Option<u64>,
    max_participants: Option<u32>,
    lifetime: Option<&'static str>,
    bytes: Option<u64>,
    identity: Option<String>,
    created: Option<u64>,
    age_s: Option<u64>,
    creator: Option<u32>,
}

fn queue(location: &Location, facts: Option<&Facts>) -> Queue {
    let (pid, fd) = match location {
        Location::Anonymous { pid, fd } => (Some(*pid), Some(*fd)),
        _ => (None, None),
    };
    let plain = facts.and_then(|facts| match &facts.messages {
        Messages::Plain { tag, size, align } => Some((tag.clone(), *size, *align)),
        _ => None,
    });
    let encoded = facts.and_then(|facts| match &facts.messages {
        Messages::Encoded { tag } => Some(tag.clone()),
        _ => None,
    });
    let messages = facts.map(|facts| match facts.messages {
        Messages::Plain { .. } => "plain data",
        Messages::Encoded { .. } => "encoded",
        _ => "bytes",
    });
    Queue {
        queue: location.to_string(),
        pid,
        fd,
        messages,
        tag: plain.as_ref().map(|(tag, ..)| tag.clone()).or(encoded),
        element_size: plain.as_ref().map(|(_, size, _)| *size),
        element_align: plain.as_ref().map(|(_, _, align)| *align),
        broadcast: facts.and_then(broadcast),
        producers: facts.map(|f| side(f.producers)),
        consumers: facts.map(|f| side(f.consumers)),
        capacity: facts.map(|f| f.capacity),
        max_message: facts.map(|f| f.max_message),
        max_participants: facts.map(|f| f.max_participants),
        lifetime: facts.map(|f| lifetime(location, f)),
        bytes: facts.map(|f| f.size),
        identity: facts.map(|f| format!("{:032x}", f.identity)),
        created: facts.and_then(|f| unix(f.created)),
        age_s: facts.map(|f| f.age().as_secs()),
        creator: facts.map(|f| f.creator),
    }
}

/// A row of `list`.
#[derive(Serialize)]
struct Row {
    #[serde(flatten)]
    queue: Queue,
    state: &'static str,
    depth: Option<u64>,
    closed: Option<bool>,
    alive: Option<u32>,
    dead: Option<u32>,
    error: Option<String>,
}

pub fn list(path: &Path, queues: &[Listed], pools: &[(Location, PoolStats)]) -> Value {
    let row = |listed: &Listed| match &listed.queue {
        Ok(summary) => Row {
            queue: queue(&listed.location, Some(&summary.facts)),
            state: state(&listed.location, summary),
            depth: summary.depth,
            closed: Some(summary.closed),
            alive: Some(summary.alive),
            dead: Some(summary.dead),
            error: summary.problem.clone(),
        },
        Err(error) => Row {
            queue: queue(&listed.location, None),
            state: "unreadable",
            depth: None,
            closed: None,
            alive: None,
            dead: None,
            error: Some(error.to_string()),
        },
    };
    let queues: Vec<Row> = queues.iter().map(row).collect();
    let pools: Vec<Value> = pools.iter().map(|(location, stats)| pool(location, stats)).collect();
    json!({ "schema": SCHEMA, "directory": path.to_string_lossy(), "queues": queues, "pools": pools })
}

fn pool(location: &Location, stats: &PoolStats) -> Value {
    let workers: Vec<Value> = stats
        .workers
        .iter()
        .map(|worker| {
            let running_s = worker.running_for.map(|time| time.as_secs_f64());
            json!({ "pid": worker.pid, "job": worker.job, "running_s": running_s })
        })
        .collect();
    json!({
        "pool": location.to_string(),
        "name": stats.name,
        "pid": stats.pid,
        "queued": stats.queued,
        "running": stats.running,
        "done": stats.done,
        "failed": stats.failed,
        "restarted": stats.restarted,
        "unasked": stats.unasked,
        "callbacks_panicked": stats.callbacks_panicked,
        "workers": workers,
    })
}

pub fn inspect_pool(location: &Location, stats: &PoolStats) -> Value {
    json!({ "schema": SCHEMA, "pool": pool(location, stats) })
}

pub fn inspect(location: &Location, seen: &Snapshot) -> Value {
    json!({
        "schema": SCHEMA,
        "queue": queue(location, Some(&seen.facts)),
        "problems": seen.problems,
        "ring": seen.ring.as_ref().map(ring),
        "participants": seen.participants.iter().map(participant).collect::<Vec<_>>(),
        "leases": seen.leases.iter().map(lease).collect::<Vec<_>>(),
        "growth": seen.growth.as_ref().map(growth),
        "blocks": seen.blocks.iter().map(block_class).collect::<Vec<_>>(),
        "subscribers": seen.subscribers.iter().map(subscriber).collect::<Vec<_>>(),
    })
}

fn subscriber(one: &SubscriberState) -> Value {
    json!({
        "index": one.index,
        "state": one.life.map(|one| life(one).0),
        "position": one.position,
        "lag": one.lag,
        "missed": one.missed,
    })
}

fn growth(growth: &Growth) -> Value {
    json!({
        "cap": growth.cap,
        "backed": growth.backed,
        "chunk": growth.chunk,
        "chunks": growth.chunks,
        "holes": growth.holes,
        "ready": growth.ready,
        "drained": growth.drained,
        "backing": growth.backing,
        "punching": growth.punching,
    })
}

fn block_class(class: &BlockClass) -> Value {
    json!({
        "size": class.size,
        "count": class.count,
        "free": class.free,
        "writing": class.writing,
        "queued": class.queued,
        "leased": class.leased,
        "reading": class.reading,
    })
}

fn ring(ring: &RingState) -> Value {
    let holder = |holder: Option<Holder>| holder.map(|h| json!({ "pid": h.pid, "alive": h.alive }));
    json!({
        "depth": ring.depth,
        "closed": ring.closed,
        "puts": ring.puts,
        "gets": ring.gets,
        "head": ring.head,
        "tail": ring.tail,
        "taken": ring.taken,
        "end": ring.end,
        "producer": holder(ring.producer),
        "consumer": holder(ring.consumer),
        "redeliveries": ring.redeliveries,
        "unfinished": ring.unfinished.iter().map(pause).collect::<Vec<_>>(),
        "partly_searched": ring.partly_searched,
    })
}

fn pause(pause: &Pause) -> Value {
    json!({
        "position": pause.position,
        "operation": operation(pause.operation),
        "holders": pause.holders,
        "since": unix(pause.since),
    })
}

fn participant(one: &Participant) -> Value {
    let (state, how) = life(one.life);
    json!({
        "index": one.index,
        "pid": one.pid,
        "producer": one.is_producer,
        "consumer": one.is_consumer,
        "puts": one.puts,
        "gets": one.gets,
        "state": state,
        "known_because": how,
        "attached": one.attached.and_then(unix),
        "sleeps": one.sleeps,
        "wakes": one.wakes,
        "asleep_s": one.asleep_for.map(|time| time.as_secs_f64()),
        "put_intent": one.put_intent.as_ref().map(intent),
        "get_intent": one.get_intent.as_ref().map(intent),
        "blocks": one.blocks,
    })
}

fn lease(lease: &LeaseState) -> Value {
    json!({
        "holder": lease.holder,
        "position": lease.position,
        "redelivered": lease.redelivered,
        "held_for_s": lease.held_for.map(|time| time.as_secs_f64()),
    })
}

fn intent(intent: &Intent) -> Value {
    json!({ "start": intent.start, "len": intent.len, "unfinished": intent.unfinished })
}

pub fn clean(path: &Path, dry_run: bool, cleaned: &[Cleaned]) -> Value {
    let row = |one: &Cleaned| {
        json!({
            "name": one.name,
            "removed": one.outcome.is_removed() && !dry_run,
            "reason": reason(&one.outcome),
            "text": one.outcome.to_string(),
            "bytes": match one.outcome {
                Outcome::Removed { bytes } => Some(bytes),
                _ => None,
            },
        })
    };
    let names: Vec<Value> = cleaned.iter().map(row).collect();
    json!({ "schema": SCHEMA, "directory": path.to_string_lossy(), "dry_run": dry_run, "names": names })
}

fn reason(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Removed { .. } => "stale",
        Outcome::Persistent => "persistent",
        Outcome::InUse => "in use",
        Outcome::Ghosts => "ghosts",
        Outcome::Busy => "busy",
        Outcome::OtherVersion { .. } => "other version",
        Outcome::Gone => "gone",
        _ => "unreadable",
    }
}

pub fn remove(path: &Path, name: &str) -> Value {
    json!({ "schema": SCHEMA, "directory": path.to_string_lossy(), "removed": [name] })
}
