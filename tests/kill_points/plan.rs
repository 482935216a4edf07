//! Which points there are, and two lanes that share them.

use super::kind::{ROWS, has_mode};
use super::table::{MODES, STATES, Share, fits, operation};
use crate::common::{Child, Sandbox};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

/// What a lane does next.
pub enum Work {
    /// Finds out how many steps there are from the start of `cell` to its end, then the
    /// points, if it `is_whole` those of survivors in each way. A cell is a point without its last
    /// number.
    Cell { cell: String, share: Share, is_whole: bool },
    /// For the second death: a first one at each of some points, then the cell of the
    /// second operation there.
    Pairs { cell: String, second: &'static str, first: u64, each: u64 },
    /// From the claim of the operation to its end, in each of these ways.
    Alone { cell: String, hows: &'static [&'static str] },
    /// Points just before the claim of one operation shows, after which nobody is told.
    Unpublished { cell: String },
    /// Runs them.
    Points(Vec<String>),
}

/// How many points of each kind.
#[derive(Clone, Copy)]
pub struct Size {
    pub some: u64,
    pub few: u64,
    /// For each kind of point that is only taken in rows of which all points are.
    pub more: u64,
    /// Waits, in one of so many cells.
    pub waits: (u64, usize),
}

#[derive(Default)]
pub struct Result {
    pub points: usize,
    pub failed: Vec<String>,
    pub absent: Vec<String>,
    /// Steps of each cell.
    pub lengths: Vec<(String, u64)>,
}

struct State {
    work: VecDeque<Work>,
    busy: usize,
    cells: usize,
    result: Result,
}

/// In so many steps a put claims a position and publishes it, about.
const UNPUBLISHED: u64 = 64;

/// Evenly spread over 0 to `end`, both included.
fn sample(end: u64, count: u64) -> Vec<u64> {
    if count > end {
        return (0..=end).collect();
    }
    if count < 2 {
        return (0..count).map(|_| end / 2).collect();
    }
    (0..count).map(|index| index * end / (count - 1)).collect()
}

/// All cells of the table.
pub fn cells() -> Vec<Work> {
    let wanted = std::env::var("KILL_ROWS").unwrap_or_default();
    let mut cells = Vec::new();
    for (name, states, share) in ROWS.iter().filter(|(name, _, _)| name.starts_with(&wanted)) {
        for state in *states {
            for (mode, sides) in MODES.iter().filter(|(_, sides)| has_mode(*sides)) {
                let operation = operation(name).expect("of the table");
                let found = STATES.iter().find(|known| known.name == *state).expect("of the table");
                if fits(operation, found, *sides) {
                    let cell = format!("{name},{state},{mode}");
                    cells.push(Work::Cell { cell, share: *share, is_whole: *share == Share::All });
                }
            }
        }
    }
    cells
}

const CHUNK: usize = 40;
const LANES: usize = 2;

/// Failures after which a run ends: more say no more.
pub const ENOUGH: usize = 30;

/// Does all of `work` in lanes whose environment has `variables` too.
pub fn run(sandbox: &Sandbox, work: Vec<Work>, size: Size, enough: usize, variables: &[(&str, &str)]) -> Result {
    let state = State { work: work.into(), busy: 0, cells: 0, result: Result::default() };
    let shared = (Mutex::new(state), Condvar::new());
    std::thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| Driver { shared: &shared, sandbox, size, enough, variables, lane: None }.work());
        }
    });
    shared.0.into_inner().unwrap_or_else(PoisonError::into_inner).result
}

struct Driver<'r> {
    shared: &'r (Mutex<State>, Condvar),
    sandbox: &'r Sandbox,
    size: Size,
    enough: usize,
    variables: &'r [(&'r str, &'r str)],
    lane: Option<Child>,
}

impl Driver<'_> {
    fn work(mut self) {
        loop {
            let (lock, changed) = self.shared;
            let mut state = lock.lock().expect("nobody panics here");
            let work = loop {
                if state.result.failed.len() >= self.enough {
                    state.work.clear();
                }
                match state.work.pop_front() {
                    Some(work) => break work,
                    None if state.busy == 0 => {
                        drop(state);
                        changed.notify_all();
                        if let Some(lane) = self.lane.take() {
                            lane.succeed();
                        }
                        return;
                    }
                    None => state = changed.wait(state).expect("nobody panics here"),
                }
            };
            state.busy += 1;
            drop(state);
            let more = self.one(work);
            let mut state = lock.lock().expect("nobody panics here");
            state.busy -= 1;
            more.into_iter().rev().for_each(|work| state.work.push_front(work));
            drop(state);
            changed.notify_all();
        }
    }

    fn one(&mut self, work: Work) -> Vec<Work> {
        match work {
            Work::Points(points) => {
                for point in &points {
                    self.point(point);
                }
                Vec::new()
            }
            Work::Cell { cell, share, is_whole } => {
                let Some((end, _)) = self.point(&format!("{cell},end")) else { return Vec::new() };
                let mut state = self.shared.0.lock().expect("nobody panics here");
                state.result.lengths.push((cell.clone(), end));
                state.cells += 1;
                let waits = if state.cells.is_multiple_of(self.size.waits.1) { self.size.waits.0 } else { 0 };
                drop(state);
                let count = match share {
                    Share::All => u64::MAX,
                    Share::Some => self.size.some,
                    Share::Few => self.size.few,
                };
                let mut points: Vec<String> =
                    sample(end - 1, count).into_iter().map(|k| format!("{cell},{k}")).collect();
                // In the middle of an operation that is killed and nobody told.
                points.extend(sample(end, waits).into_iter().map(|k| format!("{cell},{k},wait")));
                if is_whole {
                    let more = |how| sample(end, self.size.more).into_iter().map(move |k| format!("{k},{how}"));
                    points.extend(
                        more("stop").chain(more("join")).chain(more("try")).map(|point| format!("{cell},{point}")),
                    );
                }
                points.chunks(CHUNK).map(|chunk| Work::Points(chunk.to_vec())).collect()
            }
            Work::Alone { cell, hows } => {
                let Some((end, claimed)) = self.point(&format!("{cell},end")) else { return Vec::new() };
                let steps = sample(end - claimed, self.size.some).into_iter().map(|k| claimed + k);
                let points = steps.flat_map(|k| hows.iter().map(move |how| (k, how)));
                vec![Work::Points(points.map(|(k, how)| format!("{cell},{k},{how}")).collect())]
            }
            Work::Unpublished { cell } => {
                let Some((_, claimed)) = self.point(&format!("{cell},end")) else { return Vec::new() };
                let steps = (claimed.saturating_sub(UNPUBLISHED)..=claimed).step_by(4);
                vec![Work::Points(steps.map(|k| format!("{cell},{k},wait")).collect())]
            }
            Work::Pairs { cell, second, first, each } => {
                let Some((end, claimed)) = self.point(&format!("{cell},end")) else { return Vec::new() };
                let few = Size { few: each, more: 0, waits: (0, usize::MAX), ..self.size };
                let mut more = Vec::new();
                // From its claim on, where it has one: before, there is nothing to look after.
                for k in sample(end - claimed, first).into_iter().map(|k| claimed + k) {
                    let Some((end, _)) = self.point(&format!("{cell},{k},{second},end")) else { continue };
                    let points = sample(end.saturating_sub(1), few.few);
                    more.extend(points.into_iter().map(|j| format!("{cell},{k},{second},{j}")));
                }
                more.chunks(CHUNK).map(|chunk| Work::Points(chunk.to_vec())).collect()
            }
        }
    }

    /// Runs one. Says after how many steps it ended, if it did, and after how many it had claimed.
    fn point(&mut self, point: &str) -> Option<(u64, u64)> {
        if self.shared.0.lock().expect("nobody panics here").result.failed.len() >= self.enough {
            return None;
        }
        if self.lane.is_none() {
            let mut command = self.sandbox.command("lane", &[]);
            command.envs(self.variables.iter().copied());
            let mut lane = Child::start(command);
            lane.expect("ready");
            self.lane = Some(lane);
        }
        let lane = self.lane.as_mut().expect("started");
        lane.tell(point);
        let said = lane.line();
        let mut state = self.shared.0.lock().expect("nobody panics here");
        let result = &mut state.result;
        match said.split_once(' ') {
            Some(("end", steps)) => {
                result.points += 1;
                let (steps, claimed) = steps.split_once(' ')?;
                return Some((steps.parse().ok()?, claimed.parse().ok()?));
            }
            None if said == "ok" => result.points += 1,
            None if said == "none" => result.absent.push(point.to_owned()),
            _ => {
                let why = said.strip_prefix("fail ").unwrap_or("the process that ran it has hung or died");
                result.points += 1;
                result.failed.push(format!("KILL_POINT='{point}': {why}"));
                if said.is_empty() {
                    drop(state);
                    let lane = self.lane.take().expect("it was there");
                    let left = self.sandbox.path().join(format!("lane-{}", lane.pid()));
                    drop(lane);
                    let _ = std::fs::remove_dir_all(left);
                }
            }
        }
        None
    }
}
