//! The only place with system calls.
//!
//! One backend is chosen here. What each of its modules must provide is the
//! contract below; everything above `sys` is portable. A second backend (macOS,
//! Windows, on `shared_memory` and `raw_sync`) is one more line in the switch.
//!
//! | module | provides |
//! |---|---|
//! | `shm` | nameless and named shared-memory files, publishing a name, statistics, what memory is left |
//! | `lock` | byte locks that belong to an open file description and die with it; testing one |
//! | `look` | the entries of a directory, files and other processes' descriptors to be read only |
//! | `passing` | anonymous files of other processes: found, inherited |
//! | `socket` | descriptors through a Unix socket, and whose process is at its other end |
//! | `mem` | mappings that a forked child does not inherit, and pages that it finds wiped |
//! | `sigbus` | a list of mappings whose file may be cut, and a handler that puts zeros there |
//! | `futex` | sleep on a shared 32-bit word, or on several, until an absolute monotonic time; wake |
//! | `uring` | a descriptor that says when such a word was woken |
//! | `membarrier` | a full fence on every processor that runs a registered process |
//! | `clock` | the monotonic clock of the futex deadline |
//! | `cpu` | prefetch hints, yield, how many processors this process may use |

#[cfg(not(all(target_os = "linux", target_pointer_width = "64", target_endian = "little")))]
compile_error!(
    "ringway runs on 64-bit little-endian Linux only, so far: the segment's layout and its proof of \
     life rest on it. A backend for other systems goes behind `src/sys/mod.rs`."
);

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub(crate) use linux::*;
