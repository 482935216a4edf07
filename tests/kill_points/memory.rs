//! How much memory a queue that grows has.

use super::NAME;
use ringway::admin;
use std::path::Path;

/// The bytes of memory that the queue has.
pub fn memory(directory: &Path) -> Result<u64, String> {
    look(directory).map(|(growth, _)| growth.backed)
}

/// The same without that of chunks that are used, or may be next, and of blocks that are used.
pub fn idle_memory(directory: &Path) -> Result<u64, String> {
    let (growth, used_by_blocks) = look(directory)?;
    Ok(growth.backed.saturating_sub((growth.ready + growth.drained) * growth.chunk + used_by_blocks))
}

fn look(directory: &Path) -> Result<(admin::Growth, u64), String> {
    let name = NAME.parse().map_err(|_| "no name")?;
    let seen = admin::inspect(Some(directory), &name).map_err(|error| error.to_string())?;
    let used = seen.blocks.iter().map(|class| (class.count - class.free) * class.size).sum();
    Ok((seen.growth.ok_or("a queue that grows")?, used))
}
