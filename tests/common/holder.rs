//! A process that has queues open, for tests of what others see of them.

use super::{Child, MODES, Role, Sandbox, hear, tell};
use ringway::{Lifetime, Options, PodQueue};

/// For the table of roles.
pub const HOLD: Role = ("hold", role_hold);

/// Creates queues, `e...` ephemeral and `p...` persistent ones, and stays until it is told to go.
fn role_hold(names: &[String]) {
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
    tell("holding");
    hear();
}

/// Starts one, and waits until it has all of them.
pub fn hold(sandbox: &Sandbox, names: &[&str]) -> Child {
    let mut child = sandbox.child("hold", names);
    child.expect("holding");
    child
}
