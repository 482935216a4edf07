//! Whether a queue that nobody uses has kept anything of those who used it.

use ringway::admin::{self, Life};
use std::path::Path;

/// What of a queue is not as it is at rest: a message, a lease, a block that is not free, something
/// unfinished, a dead participant. `None`: nothing. Says nothing of who sleeps there.
pub fn unrest(directory: &Path, name: &str) -> Option<String> {
    let seen = admin::inspect(Some(directory), &name.parse().expect("a name")).expect("it is there");
    assert_eq!(seen.problems, Vec::<String>::new(), "a queue that is whole");
    let ring = seen.ring.expect("the file is whole");
    let mut all = Vec::new();
    if ring.depth + ring.redeliveries > 0 {
        all.push(format!("{} messages, and {} that came back", ring.depth, ring.redeliveries));
    }
    if !ring.unfinished.is_empty() {
        all.push(format!("unfinished: {:?}", ring.unfinished));
    }
    if !seen.leases.is_empty() {
        all.push(format!("leases: {:?}", seen.leases));
    }
    all.extend(
        seen.blocks.iter().filter(|class| class.free != class.count).map(|class| format!("not free: {class:?}")),
    );
    all.extend(seen.participants.iter().filter(|one| one.life == Life::Dead).map(|one| format!("dead: {one:?}")));
    (!all.is_empty()).then(|| all.join("; "))
}
