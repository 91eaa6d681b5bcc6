//! Why there is no link to Redis, in words for an operator.

#[cfg(test)]
mod tests;

use std::io;

use redis::{ErrorKind, RedisError};

use super::{
    greeting::{cause, is_hang_up},
    target::Target,
    tls,
};
use crate::link::LinkError;

/// The meaning of the error, and a remedy. Holds no secrets.
pub(crate) fn explain(target: &Target, error: &RedisError) -> String {
    match error.code() {
        Some(code) => refused(target, code, error),
        None if error.kind() == ErrorKind::Parse => "what answers there is not Redis".to_owned(),
        None if error.kind() == ErrorKind::RESP3NotSupported => NO_HELLO.to_owned(),
        None => unreached(target, error).unwrap_or_else(|| plain(error)),
    }
}

/// The same for a link that was up.
pub(crate) fn explain_loss(target: &Target, error: &RedisError) -> String {
    match is_hang_up(error) {
        true => "the connection was closed by the other side".to_owned(),
        false => explain(target, error),
    }
}

/// For a server that answers, but not as Redis 6 and later do.
const NO_HELLO: &str = "it does not know the command HELLO: it is older than Redis 6.2, or a proxy \
                        that knows some commands only, such as twemproxy (nutcracker)";

/// The meaning of an error that Redis answered.
fn refused(target: &Target, code: &str, error: &RedisError) -> String {
    let user = target.user();
    let detail = error.detail().unwrap_or_default();
    let hint = match code {
        "NOAUTH" => {
            return "it asks for a login: redis://user:password@host, or redis://:password@host for \
                    the default user"
                .to_owned();
        }
        "WRONGPASS" => {
            return format!(
                "the password of the user {user:?} is not right, or the user is disabled"
            );
        }
        "LOADING" => return "it is still loading its data".to_owned(),
        "READONLY" => return "it is a replica".to_owned(),
        "ERR" if detail.contains("max number of clients") => {
            return "it has as many clients as it may have (maxclients)".to_owned();
        }
        "ERR" if detail.contains("unknown command") && detail.contains("HELLO") => {
            return NO_HELLO.to_owned();
        }
        "DENIED" => {
            return "it lets in nobody but its own machine: it is in protected mode and has no \
                    password"
                .to_owned();
        }
        "NOPERM" => {
            format!("the user {user:?} lacks a right; docs/redis.md has those that are needed")
        }
        _ => return error.to_string(),
    };
    format!("{error} ({hint})")
}

/// Why there was no answer at all, as far as the error tells.
fn unreached(target: &Target, error: &RedisError) -> Option<String> {
    let text = error.to_string();
    // With several addresses, the driver does not say which one failed.
    let at = match target.is_single() {
        true => format!("at {}", target.address()),
        false => "there".to_owned(),
    };
    if target.is_tls() {
        if is_no_tls(error, &text) {
            return Some(format!(
                "{text} (nobody speaks TLS there? rediss:// does, redis:// does not)"
            ));
        }
        if let Some(reason) = cause(error).and_then(tls::of_certificate) {
            return Some(reason);
        }
    } else if is_tls_alert(&text) {
        return Some(format!("{text} (TLS is spoken there? Then it is rediss://)"));
    }
    if error.is_timeout() {
        return Some("no answer in time".to_owned());
    }
    let io = cause(error)?;
    match io.kind() {
        io::ErrorKind::ConnectionRefused => Some(format!("nobody listens {at}")),
        io::ErrorKind::NotFound => Some(format!("there is no {}", target.address())),
        _ if is_hang_up(error) => Some(format!(
            "what listens {at} hung up at the greeting: perhaps it speaks TLS, or is no \
             Redis, or a proxy that does not know HELLO, such as twemproxy (nutcracker)"
        )),
        _ if text.contains("lookup") => {
            Some(format!("the name in {} is not known: {text}", target.address()))
        }
        _ => None,
    }
}

/// The text of an error of ours or of the driver, without its kind.
fn plain(error: &RedisError) -> String {
    let kind = error.kind();
    let text = error.to_string().replacen(&format!(" - {kind:?}"), "", 1);
    match kind {
        // Our own errors are one sentence.
        ErrorKind::Client => text.replacen(": ", " ", 1),
        _ => text,
    }
}

/// Whether the connection has ended, so that no more questions are possible.
pub(crate) fn is_of_connection(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}

/// Whether the server speaks no TLS. It takes the greeting for the start of a command, and waits
/// for the rest.
fn is_no_tls(error: &RedisError, text: &str) -> bool {
    error.is_timeout() || text.contains("InvalidContentType") || text.contains("corrupt message")
}

/// Whether the server speaks TLS only. It answers plain text with an alert, which starts with this
/// byte, or hangs up.
fn is_tls_alert(text: &str) -> bool {
    text.contains('\u{15}') || text.contains("\\u{15}") || text.contains("\\x15")
}

/// The error for a target that does not answer or refuses us.
pub(crate) fn link_error(target: &Target, error: &RedisError) -> LinkError {
    let (address, reason) = (target.address(), explain(target, error));
    let answers = error.code().is_some()
        || matches!(
            error.kind(),
            ErrorKind::Parse | ErrorKind::RESP3NotSupported | ErrorKind::AuthenticationFailed
        );
    match error.kind() {
        ErrorKind::Client => LinkError::Unfit { address, reason },
        _ if answers => LinkError::Refused { address, reason },
        _ => LinkError::Unreachable { address, source: reason.into() },
    }
}

/// Whether the user lacks a right. Inside a script Redis says so in other words.
pub(crate) fn is_of_rights(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
        || error.detail().is_some_and(|detail| {
            detail.contains("ACL failure in script")
                || detail.contains("executing the script can't run this command")
        })
}
