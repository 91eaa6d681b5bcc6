#!/usr/bin/env bash
# Runs a command beside a server of its own: `tests/with-server.sh node client-demo/demo.mjs` gets
# `--admin` with the URL of the admin port and, as its last argument, the server's URL. Its exit code is
# this script's.
set -euo pipefail
cd "$(dirname "$0")/.."
free_port() {
  node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })'
}
port=$(free_port)
admin=$(free_port)
target/release/switchboard --dev --listen "127.0.0.1:$port" --admin-listen "127.0.0.1:$admin" >/dev/null &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true' EXIT
for _ in $(seq 100); do
  curl -fsS -o /dev/null "http://127.0.0.1:$port/healthz" 2>/dev/null && break
  kill -0 "$server" || exit 1
  read -rt 0.1 <> <(:) || true
done
"$@" --admin "http://127.0.0.1:$admin" "http://127.0.0.1:$port"
