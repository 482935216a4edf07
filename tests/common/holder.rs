//! A process that has queues open, for tests of what others see of them.

use super::{Child, MODES, Role, Sandbox, hear, tell};
use ringway::{GetError, Lifetime, Options, PodQueue, PutError};

/// For the table of roles.
pub const HOLD: Role = ("hold", role_hold);
pub const TOIL: Role = ("toil", role_toil);

/// Creates queues, `e...` ephemeral and `p...` persistent ones.
fn open_all(names: &[String]) -> Vec<PodQueue<u32>> {
    let mut held = Vec::new();
    for (at, name) in names.iter().enumerate() {
        let (producers, consumers) = MODES[at % MODES.len()];
        let lifetime = if name.starts_with('p') { Lifetime::Persistent } else { Lifetime::Ephemeral };
        let options = Options::new(8).producers(producers).consumers(consumers).lifetime(lifetime);
        let queue = PodQueue::<u32>::open_or_create(name, options).expect("a queue");
        // One that others use may be full, or its side taken.
        let _ = queue.try_put(1);
        held.push(queue);
    }
    held
}

/// Opens them, and stays until it is told to go.
fn role_hold(names: &[String]) {
    let _held = open_all(names);
    tell("holding");
    hear();
}

/// Opens them and works on them without end, while more queues come and go.
fn role_toil(names: &[String]) {
    let held = open_all(names);
    let own = format!("e-passing-{}", std::process::id());
    tell("holding");
    for round in 0.. {
        for queue in &held {
            match queue.try_put(round) {
                Ok(()) | Err(PutError::Full(_) | PutError::SideTaken { .. }) => {}
                Err(error) => panic!("a put said {error:?}"),
            }
            let got = if round % 3 == 0 { queue.try_lease().map(drop) } else { queue.try_get().map(drop) };
            match got {
                Ok(()) | Err(GetError::Empty | GetError::SideTaken) => {}
                Err(error) => panic!("a get said {error:?}"),
            }
        }
        if round % 16 == 0 {
            PodQueue::<u32>::create(&own, Options::new(8)).expect("a free name").put(round).expect("there is room");
        }
    }
}

/// Starts one that stays, and waits until it has all of them.
pub fn hold(sandbox: &Sandbox, names: &[&str]) -> Child {
    start(sandbox, HOLD, names)
}

/// The same, of one that works.
pub fn toil(sandbox: &Sandbox, names: &[&str]) -> Child {
    start(sandbox, TOIL, names)
}

fn start(sandbox: &Sandbox, (role, _): Role, names: &[&str]) -> Child {
    let mut child = sandbox.child(role, names);
    child.expect("holding");
    child
}
