#!/bin/sh
# Builds what the benchmark of clusters needs and runs it. Arguments go to the benchmark, see
# benches/README.md.
#   benches/cluster.sh                     everything
#   benches/cluster.sh --quick             one short repetition of a part, less than three minutes
#   benches/cluster.sh --only "user emit"  some scenarios
#   benches/cluster.sh --write-readme      everything, and the tables go into benches/README.md
set -eu
cd "$(dirname "$0")/.."

write=
if [ "${1:-}" = --write-readme ]; then
    write=1
    shift
fi

if ! command -v redis-server >/dev/null; then
    echo "redis-server is not installed: apt-get install redis-server" >&2
    exit 1
fi
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)"

BENCH_SERVERS=${CARGO_TARGET_DIR:-target}/release
export BENCH_SERVERS
own=${CARGO_TARGET_DIR:-target}/cluster

cargo build --release --example bench_server
cargo build --release --locked --manifest-path benches/cluster/Cargo.toml --target-dir "$own"
if [ ! -d benches/node/node_modules ]; then
    (cd benches/node && npm ci --no-progress)
fi

if [ -z "$write" ]; then
    exec "$own/release/bench-cluster" "$@"
fi

table=$(mktemp)
trap 'rm -f "$table" "$table.new"' EXIT
"$own/release/bench-cluster" --markdown "$@" >"$table"
awk -v table="$table" '
    /^<!-- end of the cluster results -->/ { skip = 0 }
    !skip { print }
    /^<!-- cluster results/ { while ((getline line < table) > 0) print line; skip = 1 }
' benches/README.md >"$table.new"
cat "$table.new" >benches/README.md
