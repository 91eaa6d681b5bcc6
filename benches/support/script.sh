# Sourced by the scripts that run a benchmark: the option --write-readme, the limit of open files, and
# the way to benches/README.md.

write=
if [ "${1:-}" = --write-readme ]; then
    write=1
    shift
fi

# One file for each connection, and there are up to 5,000 of them. A lower hard limit is reported by
# the benchmark itself.
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)"

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
