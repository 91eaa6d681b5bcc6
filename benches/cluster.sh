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

build
measure "cluster results" "$own/release/cluster" "$@"
