//! A limit of time for a whole test binary and for each of its children: what hangs is ended, and
//! says so (SIGALRM).

/// Seconds; the tests of one binary take a small part of it.
const LIMIT_S: u32 = 600;
/// The same for their long forms.
const LONG_LIMIT_S: u32 = 3600;

#[used]
// SAFETY: the loader calls it once, before `main` and before any child begins, after it has set up the
// C library.
#[unsafe(link_section = ".init_array.00100")]
static LIMIT: extern "C" fn() = limit;

extern "C" fn limit() {
    // SAFETY: nobody else runs yet who could change the environment; an alarm touches no memory.
    unsafe {
        let is_long = !libc::getenv(c"RINGWAY_LONG".as_ptr()).is_null();
        libc::alarm(if is_long { LONG_LIMIT_S } else { LIMIT_S })
    };
}
