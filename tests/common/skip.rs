//! Tests that need what a machine may lack.

/// Something is missing here that this test needs: it passes, and says so. Where `RINGWAY_STRICT` is set
/// nothing may be missing.
#[track_caller]
pub fn skip(why: impl std::fmt::Display) {
    let is_strict = std::env::var_os("RINGWAY_STRICT").is_some_and(|value| !value.is_empty());
    assert!(!is_strict, "skipped where RINGWAY_STRICT is set: {why}");
    println!("skipped: {why}");
}
