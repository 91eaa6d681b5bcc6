#!/usr/bin/env bash
# Runs a command beside a server of its own: `tests/with-server.sh node client-demo/demo.mjs` gets
# the server's URL as its last argument, and its exit code is this script's.
set -euo pipefail
cd "$(dirname "$0")/.."
port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
target/release/switchboard --dev --listen "127.0.0.1:$port" >/dev/null &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
  curl -fsS -o /dev/null "http://127.0.0.1:$port/healthz" 2>/dev/null && break
  kill -0 "$server" || exit 1
  read -rt 0.1 <> <(:) || true
done
"$@" "http://127.0.0.1:$port"
