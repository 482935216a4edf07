//! Points by name, and the process that runs them one after the other: one thread, so
//! that nothing of one point is inherited by a child of another.

use super::scene::Scene;
use super::step::{self, At, Tracee, Trail};
use super::table::{AFTER, MODES, On, Operation, State, before_earlier, operation, state};
use super::{ALARM_S, How};
use crate::common::{DIRECTORY_VARIABLE, hear, tell};
use ringway::Side;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// How far from there a claim may begin and end.
const AROUND: u64 = 20;

/// Reading the clock takes a few steps more now and then.
const ATTEMPTS: u32 = 10;

/// So many steps that every operation ends before.
const TO_THE_END: u64 = u64::MAX;

/// `operation,state,mode,k[,operation,j][,how]`, where k and j are steps or `end`.
#[derive(Clone)]
pub struct Point {
    operation: &'static Operation,
    state: &'static State,
    mode: &'static str,
    sides: (Side, Side),
    steps: u64,
    then: Option<(&'static Operation, u64)>,
    how: How,
}

impl Point {
    pub fn parse(text: &str) -> Option<Point> {
        let mut words: Vec<&str> = text.trim().split(',').collect();
        let how = match words.last().copied() {
            Some("wait") => How::Wait,
            Some("alone") => How::Alone { spins: false },
            Some("alone-spin") => How::Alone { spins: true },
            Some("closed") => How::Closed { spins: false },
            Some("closed-spin") => How::Closed { spins: true },
            Some("try") => How::Try,
            Some("stop") => How::Stop,
            Some("join") => How::Join,
            _ => How::Recover,
        };
        if how != How::Recover {
            words.pop();
        }
        let steps = |word: &str| if word == "end" { Some(TO_THE_END) } else { word.parse().ok() };
        let then = match words[..] {
            [_, _, _, _] => None,
            [_, _, _, _, second, j] => Some((operation(second)?, steps(j)?)),
            _ => return None,
        };
        let (mode, sides) = MODES.iter().find(|(name, _)| *name == words[2])?;
        let (operation, state) = (operation(words[0])?, state(words[1])?);
        Some(Point { operation, state, mode, sides: *sides, steps: steps(words[3])?, then, how })
    }
}

/// How a point went.
enum Outcome {
    /// It holds; the last victim ended after so many steps, if it got there, and the first one had
    /// claimed after so many (0: that did not show).
    Holds(Option<(u64, u64)>),
    /// There is no such state.
    None,
}

/// What a lane has found out.
struct Lane {
    directory: PathBuf,
    /// In which step an operation has claimed and not finished.
    windows: HashMap<(&'static str, &'static str, bool), Option<u64>>,
    /// How the latest operation went in the latest state.
    trail: (Row, Rc<Trail>),
}

/// Operation, state and sides.
type Row = [&'static str; 3];

impl Lane {
    /// A step after which `name` has claimed and not finished, in a plain run of it: near
    /// where the length of the queue changes.
    fn window(&mut self, point: &Point, name: &'static str) -> Result<Option<u64>, String> {
        let key = (name, point.mode, point.operation.joinable());
        if let Some(known) = self.windows.get(&key) {
            return Ok(*known);
        }
        let earlier = operation(name).ok_or("an operation")?;
        let mut scene = Scene::new(&self.directory, point.sides, point.operation.joinable())?;
        let mut victim = scene.victim(earlier, &before_earlier(point.state))?;
        let (steps, _) = until_the_length_changes(&mut scene, &mut victim)?;
        drop((victim, scene));
        let mut hits = Vec::new();
        for steps in steps.saturating_sub(AROUND)..steps + AROUND {
            let mut scene = Scene::new(&self.directory, point.sides, point.operation.joinable())?;
            let mut victim = scene.victim(earlier, &before_earlier(point.state))?;
            scene.advance(&mut victim, steps)?;
            victim.kill();
            if scene.recover()? > 0 {
                hits.push(steps);
            }
        }
        let middle = hits.get(hits.len() / 2).copied();
        self.windows.insert(key, middle);
        Ok(middle)
    }

    /// A queue in the state that the point asks for; and who is to die first, in the middle of
    /// something, if nobody is to look after that before the victim does.
    fn state_of(&mut self, point: &Point) -> Result<Option<(Scene, Option<Tracee>)>, String> {
        let scene = |lane: &Lane| Scene::new(&lane.directory, point.sides, point.operation.joinable());
        let Some((name, buried)) = point.state.earlier else {
            return Ok(Some((scene(self)?, None)));
        };
        // A lease reads the clock, which takes more steps now and then: not a step but what
        // it does says when it has claimed, and from then on it has.
        let by_event = name == "lease";
        let steps = if by_event { None } else { self.window(point, name)? };
        if steps.is_none() && !by_event {
            return Ok(None);
        }
        let earlier = operation(name).ok_or("an operation")?;
        for _ in 0..ATTEMPTS {
            let mut scene = scene(self)?;
            let mut victim = scene.victim(earlier, &before_earlier(point.state))?;
            match steps {
                Some(steps) => {
                    scene.advance(&mut victim, steps)?;
                }
                None => {
                    if until_the_length_changes(&mut scene, &mut victim)?.1 == At::Inside {
                        scene.advance(&mut victim, AROUND)?;
                    }
                }
            }
            if !buried {
                return Ok(Some((scene, Some(victim))));
            }
            victim.kill();
            if scene.recover()? > 0 {
                return Ok(Some((scene, None)));
            }
        }
        Err(format!("{name} has claimed nothing after {steps:?} steps"))
    }

    fn run(&mut self, point: &Point) -> Result<Outcome, String> {
        let row = [point.operation.name, point.state.name, point.mode];
        if point.steps != TO_THE_END && self.trail.0 != row {
            // Another lane has measured it.
            self.run(&Point { steps: TO_THE_END, then: None, how: How::Recover, ..point.clone() })?;
        }
        let trail = if point.steps == TO_THE_END { Rc::default() } else { Rc::clone(&self.trail.1) };
        if let Some(outcome) = self.along(&trail, point)? {
            return Ok(outcome);
        }
        self.along(&Trail::default(), point)?.ok_or_else(|| "it strays where there is no trail".to_owned())
    }

    /// `None`: it went another way.
    fn along(&mut self, trail: &Trail, point: &Point) -> Result<Option<Outcome>, String> {
        let Some((mut scene, mut earlier)) = self.state_of(point)? else { return Ok(Some(Outcome::None)) };
        // Who comes when somebody is dead looks after that one before it begins: so the victim
        // is there before, unless it takes a Single side over, or opens.
        if point.operation.on == On::Nothing || scene.takes_over(point.operation, earlier.is_some()) {
            earlier.take().into_iter().for_each(Tracee::kill);
        }
        let rescuer = match point.then {
            Some((second, _)) => scene.rescuer(second)?,
            None => None,
        };
        if point.how.is_alone() {
            scene.begin_to_get()?;
        }
        let mut victim = scene.victim(point.operation, point.state)?;
        earlier.into_iter().for_each(Tracee::kill);
        let sleeper = if point.state.sleeper { Some(scene.sleeper(point.operation)?) } else { None };
        let mut claimed = 0;
        let mut at = if point.steps == TO_THE_END {
            let (at, trail, claim) = scene.record(&mut victim)?;
            claimed = claim.unwrap_or(0);
            self.trail = ([point.operation.name, point.state.name, point.mode], Rc::new(trail));
            at
        } else {
            scene.advance_along(&mut victim, trail, point.steps)?
        };
        if at == At::Astray {
            return Ok(None);
        }
        match point.how {
            How::Stop => {
                scene.go_on_beside(point.operation)?;
                scene.run_out(&mut victim)?;
            }
            How::Alone { .. } => scene.put_behind()?,
            How::Closed { .. } => scene.close_beside(),
            _ => {}
        }
        victim.kill();
        if matches!(point.operation.name, "get" | "try_get") && point.state.name == "full" && point.then.is_none() {
            scene.look_at_commit();
        }
        if let Some((second, steps)) = point.then {
            let mut victim = match rescuer {
                Some(rescuer) => scene.send(second, rescuer),
                None => scene.victim(second, &AFTER)?,
            };
            at = scene.advance(&mut victim, steps)?;
            victim.kill();
        }
        scene.settle(sleeper, point.how, point.steps)?;
        Ok(Some(Outcome::Holds(match at {
            At::Exit(steps, _) => Some((steps, claimed)),
            At::Inside | At::Astray => None,
        })))
    }
}

/// Steps `victim` to where the length of the queue changes, or to its exit: how many steps
/// before, and where it is.
fn until_the_length_changes(scene: &mut Scene, victim: &mut Tracee) -> Result<(u64, At), String> {
    let (before, mut steps) = (scene.len(), 0_u64);
    loop {
        let at = scene.advance(victim, 1)?;
        if at != At::Inside || scene.len() != before {
            return Ok((steps, at));
        }
        steps += 1;
    }
}

/// Hears points, and says `end STEPS CLAIMED`, `ok`, `none` or `fail WHY` to each.
pub fn role_lane(_: &[String]) {
    step::fix_addresses();
    let directory = std::env::var_os(DIRECTORY_VARIABLE).expect("a directory for the queues");
    let directory = Path::new(&directory).join(format!("lane-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("a directory of its own");
    let mut lane = Lane { directory: directory.clone(), windows: HashMap::new(), trail: ([""; 3], Rc::default()) };
    tell("ready");
    loop {
        let text = hear();
        let Some(point) = Point::parse(&text) else {
            if text.is_empty() {
                break;
            }
            tell("fail no such point");
            continue;
        };
        // SAFETY: touches no memory. The lane ends with whatever hangs.
        unsafe { libc::alarm(ALARM_S) };
        let outcome = catch_unwind(AssertUnwindSafe(|| lane.run(&point)));
        // It may be long until the next one.
        // SAFETY: as above.
        unsafe { libc::alarm(0) };
        match outcome.unwrap_or_else(|_| Err("a panic, see above".to_owned())) {
            Ok(Outcome::Holds(Some((steps, claimed)))) => tell(format_args!("end {steps} {claimed}")),
            Ok(Outcome::Holds(None)) => tell("ok"),
            Ok(Outcome::None) => tell("none"),
            Err(why) => tell(format_args!("fail {}", why.replace('\n', " "))),
        }
    }
    std::fs::remove_dir(directory).expect("nothing is left in it");
}
