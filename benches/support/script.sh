# Sourced by the scripts that run a benchmark: what has to be built, the option --write-readme, the limit
# of open files, and the way to benches/README.md.

write=
if [ "${1:-}" = --write-readme ]; then
    write=1
    shift
fi

BENCH_SERVERS=${CARGO_TARGET_DIR:-target}/release
export BENCH_SERVERS
own=${CARGO_TARGET_DIR:-target}/benches

# One file for each connection. Where there may be fewer than a scenario wants, it takes fewer.
ulimit -n "$(ulimit -H -n)"

# build ARGUMENT…: what is measured, and the benchmark that will get these arguments.
build() {
    cargo build --release --locked --manifest-path benches/Cargo.toml --target-dir "$own" --bins
    case " $* " in *" --help "* | *" -h "* | *" --list "*) return ;; esac
    if ! command -v redis-server >/dev/null; then
        echo "redis-server is not installed: apt-get install redis-server" >&2
        exit 1
    fi
    cargo build --release --example bench_server
    if [ ! -d benches/node/node_modules ]; then
        (cd benches/node && npm ci --no-progress)
    fi
}

# measure MARK COMMAND…: runs the command. With --write-readme what it prints goes into
# benches/README.md, between the comments that begin with MARK and end with it.
measure() {
    mark=$1
    shift
    if [ -z "$write" ]; then
        exec "$@"
    fi
    table=$(mktemp)
    trap 'rm -f "$table" "$table.new"' EXIT
    "$@" --markdown >"$table"
    awk -v table="$table" -v mark="$mark" '
        $0 ~ "^<!-- end of the " mark " -->" { skip = 0 }
        !skip { print }
        $0 ~ "^<!-- " mark { while ((getline line < table) > 0) print line; skip = 1 }
    ' benches/README.md >"$table.new"
    cat "$table.new" >benches/README.md
}
