//! The cap where none is stated: a quarter of what the system says is free.

use super::*;

/// Bytes that a queue could get at most, as the system says it: of the machine, of the control groups,
/// of a file system.
fn free(directory: Option<&Path>) -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let lines = read(Path::new("/proc/meminfo")).expect("proc is mounted");
    let line = lines.lines().find_map(|line| line.strip_prefix("MemAvailable:")).expect("since Linux 3.14");
    let machine = 1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
    let file_system = directory.map(|directory| {
        let seen = nix::sys::statvfs::statvfs(directory).expect("a directory");
        seen.blocks_available() * seen.fragment_size()
    });
    let number = |path: &Path| read(path)?.trim().parse::<u64>().ok();
    let groups = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let left = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (root, most, used) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => return None,
        };
        let group = Path::new(root).join(group.trim_start_matches('/'));
        let up = group.ancestors().take_while(|path| path.starts_with(root));
        up.filter_map(|path| Some(number(&path.join(most))?.saturating_sub(number(&path.join(used))?))).min()
    });
    [Some(machine), file_system].into_iter().flatten().chain(left).min().expect("the machine's")
}

/// Where no cap is stated it is a quarter of what is free: of the machine, and for a name of its file system.
#[test]
fn a_quarter_of_what_is_free_is_the_cap() {
    let sandbox = Sandbox::new();
    let check = |directory: &Path, options: Option<Options>| {
        // Others take and free some meanwhile: as often as it takes until they hold still.
        let mut seen = Vec::new();
        let is_right = (0..50).any(|_| {
            let place = options.is_some().then_some(directory);
            let before = free(place);
            let queue = match options.clone() {
                Some(options) => PodQueue::<Line>::create("q", options.directory(directory)),
                None => PodQueue::<Line>::unbounded(),
            };
            let cap = queue.expect("memory").capacity() as u64 * 64;
            let after = free(place);
            seen.push((before, cap, after));
            // Whole chunks of it.
            let least = before.min(after) / 4 * 99 / 100 - (before / 4 / 32_768).max(256 << 10);
            (least..=before.max(after) / 4 * 101 / 100).contains(&cap)
        });
        assert!(is_right, "a quarter of the bytes that are free is not the cap: {seen:?}");
    };
    check(sandbox.path(), Some(Options::unbounded()));
    check(sandbox.path(), None);
    // And the file system's, where that has less.
    if let Some(small) = Small::mount(&sandbox) {
        check(small.path(), Some(Options::unbounded()));
    }
    let queue = PodQueue::<Line>::create("q", Options::unbounded().directory(sandbox.path())).expect("memory");
    let seen = ringway::admin::inspect(Some(sandbox.path()), &"q".parse().expect("a name")).expect("a queue");
    assert_eq!(seen.growth.expect("it grows").cap, queue.capacity() as u64 * 64);
}
