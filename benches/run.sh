#!/bin/sh
# Builds what the benchmark of one node needs and runs it. Arguments go to the benchmark: see
# benches/README.md.
#   benches/run.sh                     everything
#   benches/run.sh --only echo         some scenarios
#   benches/run.sh --write-readme      everything, and the table goes into benches/README.md
set -eu
cd "$(dirname "$0")/.."
. benches/support/script.sh

build
measure results "$own/release/load" "$@"
