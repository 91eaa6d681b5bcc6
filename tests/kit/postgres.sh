#!/bin/bash
# A Postgres for tests, as mortal as whoever started it: ended and removed when the standard input ends.
#
#   postgres.sh DIR PORT [key=value]...
#
# Reads commands, a line each, and answers each with a line: `ok`, or what is wrong.
#   start            starts it, and makes its files the first time
#   follow PORT      makes the files as those of a standby of another one, and starts it
#   stop             ends it as a crash does
#   promote          a standby becomes a primary
#   freeze, thaw     stops all its processes as a debugger does
#
# The folder DIR holds everything. With `tls=FOLDER` the server takes cert.pem and key.pem from there.
# The superuser is `postgres`, without a password; members of the role `locked` need theirs.

set -uo pipefail
# Ctrl-C is meant for the test. This goes on until the test has ended.
trap '' INT TERM HUP

dir=$1 port=$2
shift 2
data=$dir/data
settings=(
  "port=$port" "listen_addresses=127.0.0.1" "unix_socket_directories="
  # What is lost is lost with the machine alone, and nobody needs it then.
  "fsync=off" "shared_buffers=32MB" "max_connections=80" "wal_level=replica"
)
tls=
for setting in "$@"; do
  case $setting in
    tls=*) tls=${setting#tls=} ;;
    *) settings+=("$setting") ;;
  esac
done
if [ -n "$tls" ]; then
  settings+=("ssl=on" "ssl_cert_file=$dir/cert.pem" "ssl_key_file=$dir/key.pem")
fi
options=
for setting in "${settings[@]}"; do options+=" -c '$setting'"; done

for tools in /usr/lib/postgresql/*/bin; do PATH=$tools:$PATH; done

# Postgres refuses to be root.
as() {
  if [ "$(id -u)" = 0 ]; then
    local user=postgres
    id postgres >/dev/null 2>&1 || user=nobody
    setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups env HOME="$dir" "$@"
  else
    "$@"
  fi
}

prepare() {
  mkdir -p "$dir"
  if [ "$(id -u)" = 0 ]; then
    chown "$(as id -u):$(as id -g)" "$dir"
  fi
  if [ -n "$tls" ]; then
    # Its owner must be the server, and nobody else may read it.
    for file in cert key; do
      as sh -c "umask 077 && cat > '$dir/$file.pem'" < "$tls/$file.pem"
    done
  fi
}

accept() {
  as sh -c "cat > '$data/pg_hba.conf'" <<'HBA'
host all +locked 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
host replication all 127.0.0.1/32 trust
HBA
}

run() {
  cd "$dir" && as pg_ctl start -w -t 30 -s -D "$data" -l "$dir/log" -o "$options"
}

start() {
  if [ ! -e "$data/PG_VERSION" ]; then
    prepare
    as initdb -D "$data" -U postgres -A trust -E UTF8 --locale=C --no-sync --no-instructions && accept || return
    run && as psql -h 127.0.0.1 -p "$port" -U postgres -qc 'CREATE ROLE locked' postgres
  else
    run
  fi
}

follow() {
  prepare
  as pg_basebackup -h 127.0.0.1 -p "$1" -U postgres -D "$data" -R -X stream -c fast --no-sync && run
}

stop() {
  [ -e "$data/postmaster.pid" ] || return 0
  as pg_ctl stop -w -t 30 -s -m immediate -D "$data"
}

signal() {
  local main
  main=$(head -1 "$data/postmaster.pid")
  # The first one before its children, so that there are no new ones. Each has a session of its own.
  kill "$1" "$main" && kill "$1" $(ps -o pid= --ppid "$main")
}

answer() {
  local said
  if said=$("$@" 2>&1 </dev/null); then
    echo ok
  else
    echo "failed: $*: $(echo "$said" | tr '\n' ' ') $(tail -n 5 "$dir/log" 2>/dev/null | tr '\n' ' ')"
  fi
}

while read -r command argument; do
  case $command in
    start) answer start ;;
    follow) answer follow "$argument" ;;
    stop) answer stop ;;
    promote) answer as pg_ctl promote -w -t 30 -s -D "$data" ;;
    freeze) answer signal -STOP ;;
    thaw) answer signal -CONT ;;
    *) echo "unknown: $command" ;;
  esac
done

signal -CONT 2>/dev/null
stop >/dev/null 2>&1
rm -rf "$dir"
