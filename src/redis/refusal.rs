//! Why there is no link to Redis, in words for who runs the server.

use redis::RedisError;

use super::target::Target;
use crate::cluster::broker::LinkError;

/// What the error means, and what can be done about it. Nothing secret is in it.
pub(crate) fn explain(target: &Target, error: &RedisError) -> String {
    let text = error.to_string();
    let user = target.user();
    let hint = match error.code() {
        Some("NOAUTH") => {
            return "it asks for a login: redis://user:password@host, or \
                                  redis://:password@host for the default user"
                .to_owned();
        }
        Some("WRONGPASS") => {
            return format!(
                "the password of the user {user:?} is not right, or the user is disabled"
            );
        }
        Some("NOPERM") => {
            format!("the user {user:?} lacks a right; docs/redis.md has those that are needed")
        }
        _ if target.is_tls() && is_no_tls(error, &text) => {
            "nobody speaks TLS there? rediss:// does, redis:// does not".to_owned()
        }
        _ if !target.is_tls() && is_tls_alert(&text) => {
            "TLS is spoken there? Then it is rediss://".to_owned()
        }
        _ => return text,
    };
    format!("{text} ({hint})")
}

/// A server without TLS takes a greeting for the start of a command, and waits for its end.
fn is_no_tls(error: &RedisError, text: &str) -> bool {
    error.is_timeout() || text.contains("InvalidContentType") || text.contains("corrupt message")
}

/// A TLS server answers to plain text with an alert, which starts with this byte, or hangs up.
fn is_tls_alert(text: &str) -> bool {
    text.contains("\u{15}") || text.contains("\\u{15}") || text.contains("\\x15")
}

/// Nobody answers at the target, or refuses us.
pub(crate) fn link_error(target: &Target, error: &RedisError) -> LinkError {
    let (address, reason) = (target.address(), explain(target, error));
    match error.code() {
        Some(_) => LinkError::Refused { address, reason },
        None => LinkError::Unreachable { address, source: reason.into() },
    }
}

/// Whether Redis says that we may not do it. From a script it says so in other words.
pub(crate) fn is_of_rights(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|detail| {
            detail.contains("ACL failure in script")
                || detail.contains("executing the script can't run this command")
        })
}
