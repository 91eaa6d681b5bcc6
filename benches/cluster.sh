#!/bin/sh
# Builds what the benchmark of clusters needs and runs it. Arguments go to the benchmark, see
# benches/README.md.
#   benches/cluster.sh                     everything
#   benches/cluster.sh --quick             one short repetition of a part, less than three minutes
#   benches/cluster.sh --only "user emit"  some scenarios
#   benches/cluster.sh --write-readme      everything, and the tables go into benches/README.md
set -eu
cd "$(dirname "$0")/.."
. benches/support/script.sh

if ! command -v redis-server >/dev/null; then
    echo "redis-server is not installed: apt-get install redis-server" >&2
    exit 1
fi

BENCH_SERVERS=${CARGO_TARGET_DIR:-target}/release
export BENCH_SERVERS
own=${CARGO_TARGET_DIR:-target}/cluster

cargo build --release --example bench_server
cargo build --release --locked --manifest-path benches/cluster/Cargo.toml --target-dir "$own"
if [ ! -d benches/node/node_modules ]; then
    (cd benches/node && npm ci --no-progress)
fi

measure "cluster results" "$own/release/bench-cluster" "$@"
