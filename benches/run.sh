#!/bin/sh
# Builds what the benchmark needs and runs it. Arguments go to the benchmark: see benches/README.md.
#   benches/run.sh                     everything, about ten minutes
#   benches/run.sh --only echo         some scenarios
#   benches/run.sh --write-readme      everything, and the table goes into benches/README.md
set -eu
cd "$(dirname "$0")/.."

write=
if [ "${1:-}" = --write-readme ]; then
    write=1
    shift
fi

# One file for each connection, and there are up to 5,000 of them. A lower hard limit is reported by
# the benchmark itself.
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)"

cargo build --release --example bench_server
if [ -z "$write" ]; then
    exec cargo bench --bench load -- "$@"
fi

table=$(mktemp)
trap 'rm -f "$table" "$table.new"' EXIT
cargo bench --bench load -- --markdown "$@" >"$table"
awk -v table="$table" '
    /^<!-- end of the results -->/ { skip = 0 }
    !skip { print }
    /^<!-- results/ { while ((getline line < table) > 0) print line; skip = 1 }
' benches/README.md >"$table.new"
cat "$table.new" >benches/README.md
