//! The servers that are measured, by name.

use std::{env, path::PathBuf};

use bench_support::{
    result::Result,
    server::{Program, Spec},
};

use crate::{floor, plain};

pub(crate) const HELP: &str = "  \
  --server SPEC     a server to measure, the first one being what the others are compared with;
                    may be repeated. SPEC is `plain`, `floor`, `w0`, `w1`, `w2` (bench_server
                    with WORKERS set), or NAME=PATH[,VARIABLE=VALUE]…, PATH `self` being the plain
                    server. Default: plain floor w0 w1 w2";

pub(crate) fn server(name: &str) -> Result<Spec> {
    if let Some(workers) = name.strip_prefix('w').filter(|workers| workers.parse::<u8>().is_ok()) {
        return Ok(Spec::new(name, Program::At(bench_server()?), &[("WORKERS", workers)]));
    }
    let mut spec = match name {
        "plain" | "floor" => Spec::new(name, Program::At(name.into()), &[]),
        other => Spec::parse(other)?,
    };
    if let Program::At(path) = &spec.program {
        match path.to_str() {
            Some("plain" | "self") => {
                spec.program = Program::Own(plain::ARGUMENT);
                spec.keeps_order = false;
            }
            Some("floor") => spec.program = Program::Own(floor::ARGUMENT),
            _ => {}
        }
    }
    Ok(spec)
}

/// Cargo puts this program into `<profile>/deps` and the example into `<profile>/examples`.
fn bench_server() -> Result<PathBuf> {
    let own = env::current_exe()?;
    let profile = own.parent().and_then(|deps| deps.parent()).ok_or("cannot find target")?;
    let path = profile.join("examples/bench_server");
    if !path.exists() {
        let advice = "bench_server is not built: cargo build --release --example bench_server";
        return Err(advice.into());
    }
    Ok(path)
}
