//! `switchboard emit`: checked like any emit, but there is no link to send it through yet.

use serde_json::Value;
use switchboard::reserved::is_reserved_event;

use super::{Answer, args::EmitArgs};

pub(super) fn run(args: &EmitArgs) -> Result<Answer, Answer> {
    check(args).map_err(Answer::refusal)?;
    Err(Answer::refusal(
        "not available yet: emitting from outside goes through Redis and needs redis.url, and this \
         version runs as one node, in memory",
    ))
}

fn check(args: &EmitArgs) -> Result<(), String> {
    let EmitArgs { target: _, namespace, event, args } = args;
    if event.is_empty() {
        return Err("the name of the event is empty".into());
    }
    if is_reserved_event(event) {
        return Err(format!("`{event}` is a name that Socket.IO keeps for itself"));
    }
    if !namespace.starts_with('/') {
        return Err(format!("`{namespace}` is not a namespace: it must start with `/`"));
    }
    for arg in args {
        if let Err(error) = serde_json::from_str::<Value>(arg) {
            return Err(format!("`{arg}` is not JSON ({error}); a text needs quotes: '\"text\"'"));
        }
    }
    Ok(())
}
