//! `switchboard emit`: one event into a cluster, through Redis.

use serde_json::Value;
use switchboard::{
    Config, Payload, config::load, names::events::is_reserved_event, server::Publisher,
    sockets::emitter::Emitter,
};

use super::{
    Answer, Environment,
    args::{EmitArgs, Target},
    refuse_config,
};

/// A valid emit, ready to go.
#[derive(Debug)]
pub(crate) struct Emit {
    pub(crate) config: Config,
    target: Target,
    namespace: String,
    payload: Payload,
}

pub(super) fn prepare(args: EmitArgs, env: Environment) -> Result<Emit, Answer> {
    let payload = check(&args).map_err(Answer::refusal)?;
    let loaded = load(&args.sources(env)).map_err(|errors| refuse_config(&errors))?;
    if loaded.config.redis.url.is_none() {
        return Err(Answer::refusal(
            "redis.url: not set, and an emit goes through Redis (--redis-url, REDIS_URL or --config)",
        ));
    }
    let target = args.target.target();
    Ok(Emit { config: loaded.config, target, namespace: args.namespace, payload })
}

/// Sends the event, and waits until Redis has it.
pub(crate) async fn send(emit: Emit) -> Result<(), Box<dyn std::error::Error>> {
    let Emit { config, target, namespace, payload } = emit;
    let publisher = Publisher::connect(&config).await?;
    let emitter: Emitter = publisher.of(&namespace);
    let emitter = match target {
        Target::User(user) => emitter.to_user(user),
        Target::Room(room) => emitter.to(room),
        Target::Authenticated => emitter.to_authenticated(),
        Target::All => emitter,
    };
    let nodes = publisher.nodes(&namespace).await;
    emitter.emit_payload(payload)?;
    let heard = publisher.close().await?;
    match nodes {
        Ok(0) => Err(format!(
            "nobody hears it: no node serves the namespace {namespace} (redis.key_prefix is {:?})",
            config.redis.key_prefix
        )
        .into()),
        // A room without members, or an absent user, is no mistake.
        _ if heard == Some(0) => {
            eprintln!("switchboard: sent, and nobody is there to hear it");
            Ok(())
        }
        // Redis took the event and does not say who heard it.
        _ => Ok(()),
    }
}

fn check(args: &EmitArgs) -> Result<Payload, String> {
    let EmitArgs { namespace, event, args, .. } = args;
    if event.is_empty() {
        return Err("the name of the event is empty".into());
    }
    if is_reserved_event(event) {
        return Err(format!("`{event}` is a name that Socket.IO keeps for itself"));
    }
    if !namespace.starts_with('/') {
        return Err(format!("`{namespace}` is not a namespace: it must start with `/`"));
    }
    let mut values = Vec::new();
    for arg in args {
        values.push(serde_json::from_str::<Value>(arg).map_err(|error| {
            format!("`{arg}` is not JSON ({error}); a text needs quotes: '\"text\"'")
        })?);
    }
    Payload::event_with(event, values).map_err(|error| error.to_string())
}
