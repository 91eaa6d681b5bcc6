#!/bin/sh
# What counting costs: bench_server as it is beside the same without counters and without the clock
# around handlers (--cfg uncounted), in one run of the benchmark. Arguments go to it, by default
# `--only echo --only events --only "room of 10" --reps 7`.
set -eu
cd "$(dirname "$0")/.."
. benches/support/script.sh

build
RUSTFLAGS="${RUSTFLAGS:-} --cfg uncounted" \
    cargo build --release --example bench_server --target-dir target/uncounted

[ $# -gt 0 ] || set -- --only echo --only events --only "room of 10" --reps 7
exec "$own/release/benches" --server floor --server w0 \
    --server uncounted="$PWD/target/uncounted/release/examples/bench_server",WORKERS=0 "$@"
