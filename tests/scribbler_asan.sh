#!/bin/sh
# The scribbler and the ring's own tests of hostile bytes under AddressSanitizer. Needs a
# nightly toolchain, and says so where there is none. RINGWAY_SCRIBBLES sets how many words are written.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "skipped: AddressSanitizer needs a nightly toolchain"
    exit 0
fi
# A target of its own, so that build scripts are built without the sanitizer.
# Leases are forgotten on purpose.
export ASAN_OPTIONS="detect_leaks=0 ${ASAN_OPTIONS:-}"
export RUSTFLAGS="-Zsanitizer=address ${RUSTFLAGS:-}"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/asan"
cargo +nightly test --target "$host" --lib hostile
exec cargo +nightly test --target "$host" --test scribbler -- --nocapture
