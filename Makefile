# `make run` and `make test` do all the set-up on a machine that has Rust, Node.js and npm.
# `make help` lists the rest.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
CHROMIUM := /usr/bin/chromium
REDIS_SERVER := /usr/bin/redis-server
REDIS := $(REDIS_SERVER) /usr/bin/redis-sentinel
POSTGRES := /usr/share/postgresql-common/pg_wrapper
PGBOUNCER := /usr/sbin/pgbouncer
PROXIES := /usr/sbin/nginx /usr/sbin/haproxy /usr/sbin/apache2 /usr/bin/caddy /usr/sbin/varnishd
PYTHON_CLIENT := /usr/lib/python3/dist-packages/socketio/__init__.py
PROMTOOL := target/tools/promtool
OTHER_REDIS := target/tools/redis
CARGO_DENY := target/tools/bin/cargo-deny
FUZZ_TARGETS := frames bodies clients classic sharded streams sessions returning
# Each of them is to be had alone.
FEATURES := admin admin-ui config-file conformance jwt otlp postgres redis sqlite testing tls
PORT ?= 3000
ADMIN ?= http://127.0.0.1:3001
REDIS_PORT ?= 6379
POSTGRES_PORT ?= 5432

.PHONY: help run redis postgres test test-rust test-clients test-operators demo page lint msrv deny bench fuzz fuzz-smoke docker

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Whoever waits without knowing for how long takes it for stuck.
ANNOUNCE = @[ -e target/release/switchboard ] || echo "The first build takes some minutes: about seven on two cores. Later ones are quick."

run: ## the server for development: says where it is, gives two tokens, and what to do next
	$(ANNOUNCE)
	cargo run --release -- --dev --listen 127.0.0.1:$(PORT)

redis: $(REDIS_SERVER) ## a Redis between nodes for development, on port 6379, that keeps nothing
	@if redis-cli -p $(REDIS_PORT) ping 2>/dev/null | grep -q PONG; \
	then echo "A Redis answers on port $(REDIS_PORT) already."; \
	else exec $(REDIS_SERVER) --bind 127.0.0.1 --port $(REDIS_PORT) --save "" --appendonly no; fi

postgres: $(POSTGRES) ## a Postgres as a store for development, on port 5432, that keeps nothing
	@if (exec 3<>/dev/tcp/127.0.0.1/$(POSTGRES_PORT)) 2>/dev/null; \
	then echo "Something listens on port $(POSTGRES_PORT) already; POSTGRES_PORT=… chooses another one."; exit 1; fi; \
	echo "postgres://postgres@127.0.0.1:$(POSTGRES_PORT)/postgres, until Ctrl-C; it is removed then."; \
	stopped() { exit 0; }; trap stopped INT TERM; \
	{ echo start; sleep infinity; } | tests/kit/postgres.sh "$$(mktemp -d)" $(POSTGRES_PORT)

test: test-rust test-clients ## all tests; installs what they need

# With every feature, as the Docker image has it; `lint` sees to it that there is nothing wrong without.
test-rust: $(REDIS) $(POSTGRES) ## unit, property, integration and documentation tests
	cargo test --features otlp
	cargo test --no-default-features --test features
	cargo test --locked --manifest-path benches/Cargo.toml --target-dir target/benches --lib

test-clients: tests/clients/node_modules client-demo/node_modules $(CHROMIUM) $(PYTHON_CLIENT) $(REDIS) $(POSTGRES) ## the real clients and a browser against the real binary
	$(MAKE) --silent $(PROMTOOL) || echo "The alerts are not looked at by promtool, which cannot be had here."
	cargo build --bins --examples --features otlp
	cd tests/clients && node --test --test-concurrency=2

test-operators: tests/clients/node_modules $(PROXIES) $(REDIS) $(POSTGRES) $(PGBOUNCER) ## what operators put beside a node: proxies, kinds and versions of Redis; installs them
	$(MAKE) --silent $(OTHER_REDIS) || echo "Other versions of Redis than the installed one are not tried; they cannot be had here."
	cargo build --bins --features otlp
	cd tests/operators && node --test

demo: client-demo/node_modules ## the story of alice, bob and a guest, against a server of its own
	$(ANNOUNCE)
	cargo build --release
	tests/with-server.sh node client-demo/demo.mjs

page: client-demo/node_modules ## the demo's web page, beside a server of `make run`
	node client-demo/page.mjs --server http://127.0.0.1:$(PORT) --admin $(ADMIN)

lint: ## formatting, clippy and documentation, warnings are errors
	cargo fmt --check
	cargo fmt --check --manifest-path benches/Cargo.toml
	cargo clippy --all-targets --features otlp -- -D warnings
	cargo clippy --bins --examples -- -D warnings
	for features in "" $(FEATURES); do cargo clippy --lib --no-default-features --features "$$features" -- -D warnings; done
	cargo clippy --locked --manifest-path benches/Cargo.toml --target-dir target/benches --all-targets -- -D warnings
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --features otlp

# Node.js is one of the servers to compare with.
bench: $(REDIS) ## CPU and memory beside other servers, in one run; QUICK=1 for five minutes; see benches/README.md
	benches/run.sh $(if $(QUICK),--quick)

fuzz: ## the fuzz targets, a minute each; needs cargo-fuzz
	for target in $(FUZZ_TARGETS); do RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none $$target -- -max_total_time=60 -max_len=400; done

# Without cargo-fuzz they are at least compiled, so that a change of what they drive is noticed.
fuzz-smoke: ## the fuzz targets, a few seconds each; without cargo-fuzz only compiled
	@if cargo fuzz --version >/dev/null 2>&1; \
	then for target in $(FUZZ_TARGETS); do RUSTC_BOOTSTRAP=1 cargo fuzz run --dev --sanitizer none $$target -- -max_total_time=5 -max_len=400; done; \
	else echo "cargo-fuzz is not installed: the fuzz targets are compiled, and not run."; \
	RUSTFLAGS='--cfg fuzzing' cargo check --manifest-path fuzz/Cargo.toml; fi

msrv: ## a build with the oldest Rust that Cargo.toml promises
	@promised=$$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml); \
	if rustc --version | grep -q "^rustc $$promised[. ]"; \
	then echo "This is Rust $$promised, the oldest that is promised: every build here is the check."; \
	elif cargo +$$promised.0 --version >/dev/null 2>&1; \
	then cargo +$$promised.0 check --all-targets --features otlp --target-dir target/msrv; \
	else echo "Rust $$promised is not installed: only clippy has looked for what it does not have yet."; fi

deny: ## licences, sources and known faults of what is linked in; installs cargo-deny
	@if ! $(MAKE) --silent $(CARGO_DENY); \
	then echo "cargo-deny cannot be had here: nobody has looked at licences, sources and known faults."; exit 0; fi; \
	$(CARGO_DENY) check licenses bans sources; \
	if timeout 120 $(CARGO_DENY) fetch db 2>/dev/null; then $(CARGO_DENY) check --disable-fetch advisories; \
	else echo "The database of advisories cannot be had here: nobody has looked for known faults."; fi

docker: ## the image, as switchboard:latest
	docker build -t switchboard .

%/node_modules: %/package-lock.json
	cd $* && npm ci --no-progress
	touch $@

# The tests start their own; the service that the package may start is left alone.
$(REDIS):
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends redis-server redis-sentinel

# The tests start their own. The package would make and start a cluster for everybody: it is told not to.
$(POSTGRES):
	$(SUDO) apt-get update -qq
	$(SUDO) mkdir -p /etc/postgresql-common/createcluster.d
	echo "create_main_cluster = false" | $(SUDO) tee /etc/postgresql-common/createcluster.d/switchboard.conf >/dev/null
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql

# Its service is not used, either.
$(PGBOUNCER):
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends pgbouncer

# The tests start their own; none of the services that the packages may start is used.
$(PROXIES) &:
	$(SUDO) apt-get update -qq
	$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx haproxy apache2 caddy varnish

# Out of Debian's package, which would install a service and a web interface, too.
$(PROMTOOL):
	mkdir -p $(@D)
	cd $(@D) && timeout 60 apt-get download -qq prometheus || { timeout 60 $(SUDO) apt-get update -qq && timeout 60 apt-get download -qq prometheus; }
	cd $(@D) && dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x --strip-components=3 ./usr/bin/promtool && rm prometheus_*.deb

# Of a version that is known to understand deny.toml. Its own build is thrown away.
$(CARGO_DENY):
	cargo install --locked --quiet --version 0.20.2 --root target/tools --target-dir target/tools/build cargo-deny
	rm -rf target/tools/build

# Versions beside the installed one, out of packages of other releases.
$(OTHER_REDIS):
	tests/operators/fetch-redis.sh $@

$(CHROMIUM):
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends chromium

# For Debian's own Python, whatever other one there is.
$(PYTHON_CLIENT):
	$(SUDO) apt-get update -qq
	$(SUDO) apt-get install -y -qq --no-install-recommends python3-socketio python3-requests python3-websocket
