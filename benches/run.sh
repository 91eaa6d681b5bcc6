#!/bin/sh
# Builds what the benchmark needs and runs it. Arguments go to the benchmark: see benches/README.md.
#   benches/run.sh                     everything
#   benches/run.sh --quick             all of it, one short repetition: less than five minutes
#   benches/run.sh --only "room of"    some scenarios
#   benches/run.sh --write-readme      everything, and the tables go into benches/README.md
set -eu
cd "$(dirname "$0")/.."
. benches/support/script.sh

build "$@"
measure results "$own/release/benches" "$@"
