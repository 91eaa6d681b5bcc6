//! The peers that are measured, by name.

use std::{
    env,
    path::{Path, PathBuf},
};

use bench_support::{
    result::Result,
    server::{Program, Spec},
};

pub(crate) const HELP: &str = "  \
  --peer NAME       what to measure; may be repeated. The ratios are to `sio` and `node`.
                    sio            socketioxide with socketioxide-redis
                    sio-thread     the same on a current-thread runtime (not a default)
                    node           socket.io with @socket.io/redis-adapter
                    node-sharded   the same, sharded
                    interest       Switchboard, classic format, a channel for each room
                    all            the same, one pattern for all rooms
                    sharded        Switchboard, sharded format, a channel for each room
                    NAME=PATH[,VARIABLE=VALUE]…  another build of bench_server";

pub(crate) const USUAL: &[&str] = &["sio", "node", "node-sharded", "interest", "all", "sharded"];

pub(crate) fn peer(name: &str) -> Result<Spec> {
    // The script puts the build directory here; Cargo's layout is the same everywhere.
    let examples =
        env::var_os("BENCH_SERVERS").map_or_else(|| "target/release".into(), PathBuf::from);
    let switchboard = examples.join("examples/bench_server");
    let own = env::current_exe()?;
    let sio = own.parent().unwrap_or(Path::new(".")).join("socketioxide_redis");
    let node = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/server.mjs");
    let at =
        |path: PathBuf, variables: &[(&str, &str)]| Spec::new(name, Program::At(path), variables);
    let mut spec = match name {
        "sio" => at(sio, &[]),
        "sio-thread" => at(sio, &[("THREADS", "0")]),
        "node" => at(node, &[("PROTOCOL", "classic")]),
        "node-sharded" => at(node, &[("PROTOCOL", "sharded")]),
        "interest" => at(switchboard, &[("PROTOCOL", "classic"), ("SUBSCRIBE", "interest")]),
        "all" => at(switchboard, &[("PROTOCOL", "classic"), ("SUBSCRIBE", "all")]),
        "sharded" => at(switchboard, &[("PROTOCOL", "sharded"), ("SUBSCRIBE", "interest")]),
        other => Spec::parse(other)?,
    };
    // socketioxide promises no order.
    spec.keeps_order = !name.starts_with("sio");
    match &spec.program {
        Program::At(path) if !path.exists() => {
            Err(format!("{} is not there; benches/cluster.sh builds it", path.display()).into())
        }
        _ => Ok(spec),
    }
}
