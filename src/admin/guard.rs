//! Access to the API: for any client with a key, or, where no key is set, for programs of this
//! host. A browser is no such program: its pages come from elsewhere.

use std::net::IpAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, Uri, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::Problem;
use crate::{config::Secrets, server::Switchboard};

/// Decides before anything of the request is read.
#[derive(Clone)]
pub(super) struct Guard {
    server: Switchboard,
    exposed: bool,
}

impl Guard {
    pub(super) fn new(server: Switchboard, exposed: bool) -> Self {
        Self { server, exposed }
    }

    fn admit(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
        let keys = self.server.api_keys();
        // If the port is open to other hosts, removing all keys admits nobody.
        if !keys.is_empty() || self.exposed {
            return shows_a_key(headers, &keys);
        }
        is_of_this_host(uri, headers)
    }
}

/// Asks the guard. A refused request goes no further.
pub(super) async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.admit(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            tracing::debug!(path = request.uri().path(), "request to the API refused");
            problem.into_response()
        }
    }
}

fn shows_a_key(headers: &HeaderMap, keys: &Secrets) -> Result<(), Problem> {
    const SCHEME: &str = "Bearer realm=\"switchboard\"";
    let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = shown
        .and_then(|shown| shown.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, key)| key.trim())
        .ok_or_else(|| {
            Problem::unauthorized("an API key is needed: Authorization: Bearer <key>", SCHEME)
        })?;
    // All keys are compared, so that the time does not tell which one was nearly right.
    if keys.iter().fold(false, |found, known| found | known.matches(key)) {
        return Ok(());
    }
    const INVALID: &str = "Bearer realm=\"switchboard\", error=\"invalid_token\"";
    Err(Problem::unauthorized("this API key is not known", INVALID))
}

/// A foreign page can make a browser send requests here, by this address or by a name of its own
/// that resolves to it. The first request has an `Origin`, the second a foreign `Host`.
fn is_of_this_host(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    if headers.contains_key(header::ORIGIN) {
        return Err(Problem::forbidden(
            "pages may not use this API while admin.api_keys is not set",
        ));
    }
    let named = headers.get(header::HOST).map(|host| host.to_str().unwrap_or("?"));
    match named.or_else(|| uri.host()).is_none_or(is_loopback) {
        true => Ok(()),
        false => Err(Problem::forbidden(
            "the Host header must name this host while admin.api_keys is not set",
        )),
    }
}

/// Whether a host, with or without a port, is this one.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_this_one_by_its_names() {
        for host in ["localhost", "LOCALHOST:3001", "127.0.0.1:3001", "[::1]", "[::1]:3001"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:3001", "10.0.0.1", "", "[::2]:1"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
