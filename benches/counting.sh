#!/bin/sh
# What counting costs: bench_server as it is beside the same without counters and without the clock
# around handlers (--cfg uncounted), in one run of the benchmark. Arguments go to it, by default
# `--only echo --only events --only "room of 10, closed" --reps 7`. PROFILE=dev for a look whether it works.
set -eu
cd "$(dirname "$0")/.."

profile=${PROFILE:-release}
case $profile in dev) directory=debug ;; *) directory=$profile ;; esac
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)"

cargo build --profile "$profile" --example bench_server
RUSTFLAGS="${RUSTFLAGS:-} --cfg uncounted" \
    cargo build --profile "$profile" --example bench_server --target-dir target/uncounted

[ $# -gt 0 ] || set -- --only echo --only events --only "room of 10, closed" --reps 7
case $profile in release) profile=bench ;; esac
exec cargo bench --profile "$profile" --bench load -- \
    --server plain \
    --server counted="$PWD/target/$directory/examples/bench_server",WORKERS=0 \
    --server uncounted="$PWD/target/uncounted/$directory/examples/bench_server",WORKERS=0 \
    "$@"
