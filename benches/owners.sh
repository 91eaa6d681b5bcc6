#!/bin/sh
# Who owns the memory of an idle websocket: `owners.sh [COUNT [SERVER]]`. Bytes and allocations that live
# for each of COUNT connections (5,000), by the last function of ours or of the engine before the
# allocation. By default of bench_server, built for this with the system's allocator: heaptrack sees no
# other. Needs heaptrack and Node.js.
set -eu
cd "$(dirname "$0")/.."
count=${1:-5000}
server=${2:-}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
ulimit -n "$(ulimit -H -n)"

if [ -z "$server" ]; then
    CARGO_PROFILE_RELEASE_DEBUG=1 RUSTFLAGS="${RUSTFLAGS:-} --cfg system_allocator" \
        cargo build --release --example bench_server --target-dir target/owners
    server=target/owners/release/examples/bench_server
fi
port=${PORT:-3957}
PORT=$port WORKERS=0 heaptrack -o "$out/heap" "$server" >"$out/log" 2>&1 &
heaptrack=$!
until node -e "require('node:net').connect($port).on('error', () => process.exit(1)).on('connect', () => process.exit(0))"; do
    sleep 0.2
done
mkfifo "$out/stay"
node benches/node/hold.mjs "$port" "$count" <"$out/stay" >"$out/clients" &
exec 3>"$out/stay"
until grep -q "all are here" "$out/clients"; do sleep 0.2; done
sleep 3 # what connecting has left in queues is gone
# Killed, so that heaptrack finds at the end what lives now.
kill -9 "$(pgrep -P $heaptrack -x "$(basename "$server")")"
wait $heaptrack || true
heaptrack_print -f "$out/heap.zst" -F "$out/stacks" --flamegraph-cost-type leaked -a 0 -p 0 -T 0 -l 0 >/dev/null

# A line of it is `outermost;…;innermost bytes`.
awk -v count="$count" '
    function plain(frame) {
        gsub(/::h[0-9a-f]+( |$)| \([^)]*\)|_?\$(LT|GT|u7b|u7d|C|RF|u20)\$|::_::/, " ", frame)
        return frame
    }
    {
        bytes = $NF
        sub(/ [0-9]+$/, "")
        frames = split($0, frame, ";")
        owner = "before the first client"
        for (at = frames; at > 0; at--)
            if (frame[at] ~ /^(_\$LT\$)?(engineioxide|socketioxide|switchboard|hyper|floor)/) {
                owner = plain(frame[at]) (frame[at + 1] ~ /spawn|OwnedTasks|task::/ ? " a task" : "")
                break
            }
        sum[owner] += bytes
        all += bytes
    }
    END {
        printf "%8.0f all\n", all / count
        for (owner in sum) if (sum[owner] / count >= 4) printf "%8.0f %s\n", sum[owner] / count, owner
    }
' "$out/stacks" | sort -rn
