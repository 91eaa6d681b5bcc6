FROM rust:1-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY examples examples
# Cargo wants to see it, and builds it for tests alone.
COPY tests/kit tests/kit
# With traces, which cost nothing before `traces.endpoint` is set.
RUN cargo build --release --locked --bin switchboard --features otlp

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --no-create-home --uid 10001 switchboard
COPY --from=build /src/target/release/switchboard /usr/local/bin/switchboard
USER switchboard
EXPOSE 3000
# Without curl in the image, the shell asks.
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["bash", "-c", \
  "exec 3<>/dev/tcp/127.0.0.1/${PORT:-3000} && printf 'GET /healthz HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '200 OK' <&3"]
# SIGTERM drains; give it more time than drain.timeout before killing it.
STOPSIGNAL SIGTERM
ENTRYPOINT ["switchboard"]
