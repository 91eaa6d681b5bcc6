//! The rules between settings: each in one line, with the keys that it is about.

mod admin_ui;
mod finding;
mod store;

pub(crate) use admin_ui::check_namespace;
pub use finding::{Check, Finding};
pub(crate) use store::is_postgres;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{AuthMode, Config, Cookie, SecretUrl, redis_url};

/// The refusal of a build without TLS.
const NEEDS_TLS: &str = "needs the cargo feature `tls`, which this build does not have";

impl Config {
    /// Checks the rules that the types alone can't hold: ranges and contradictions. All broken
    /// rules are named, not just the first.
    ///
    /// ```
    /// use switchboard::Config;
    ///
    /// let mut config = Config::default();
    /// config.engine.max_payload = 0;
    /// let check = config.check();
    /// assert_eq!(check.errors[0].keys, ["engine.max_payload"]);
    /// assert_eq!(check.errors[0].message, "must be more than 0");
    /// ```
    pub fn check(&self) -> Check {
        let mut check = Check::default();
        self.check_server(&mut check);
        self.check_access(&mut check);
        self.check_admin_ui(&mut check);
        self.check_advice(&mut check);
        check
    }

    /// The rules that a program's server breaks. Such a server chooses its own listener and has its
    /// own middlewares, so it needs no keys here.
    pub(crate) fn broken_for_server(&self) -> Vec<Finding> {
        let mut check = Check::default();
        self.check_server(&mut check);
        check.errors
    }

    fn check_server(&self, check: &mut Check) {
        self.check_names(check);
        self.check_times(check);
        self.check_sizes(check);
        self.check_tls(check);
        self.check_traces(check, cfg!(feature = "otlp"));
        self.check_store(check);
    }

    fn check_names(&self, check: &mut Check) {
        let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '?' | '#');
        check.rule(
            &["path"],
            self.path.starts_with('/') && self.path.chars().all(is_plain),
            "must start with `/` and hold no blanks, `?` or `#`",
        );
        let is_id = |id: &str| {
            id.len() <= 32
                && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        };
        check.rule(
            &["node_id"],
            self.node_id.as_deref().is_none_or(is_id),
            "must be at most 32 characters of A-Z a-z 0-9 _ -",
        );
        check.rule(
            &["users.room_prefix"],
            !self.users.room_prefix.is_empty(),
            "must not be empty: every room would be a user's",
        );
        for pattern in &self.rooms.may_join {
            let futile = pattern.is_futile(&self.users.room_prefix);
            check.rule(
                &["rooms.may_join", "users.room_prefix"],
                !futile || self.users.room_prefix.is_empty(),
                format!("`{pattern}` names rooms that no client may join"),
            );
        }
        if let Some(url) = &self.redis.url {
            let problem = redis_url::problem(url, &self.redis);
            check.rule(&["redis.url"], problem.is_none(), problem.unwrap_or_default());
        }
        let redis = &self.redis;
        check.rule(&["redis.stream_name"], !redis.stream_name.is_empty(), "must not be empty");
        let is_some_streams = (1..=100).contains(&redis.stream_count);
        check.rule(&["redis.stream_count"], is_some_streams, "must be 1 to 100");
        // In a Redis Cluster braces decide where a key is, and a session has two keys.
        let is_plain = !redis.session_prefix.contains(['{', '}']);
        check.rule(&["redis.session_prefix"], is_plain, "must not hold braces");
        check.rule(&["redis.stream_max_len"], redis.stream_max_len > 0, "must be more than 0");
        check.rule(
            &["redis.cert_file", "redis.key_file"],
            redis.cert_file.is_none() || redis.key_file.is_some() || redis.url.is_some(),
            "needs redis.key_file",
        );
        check.rule(
            &["redis.key_file", "redis.cert_file"],
            redis.key_file.is_none() || redis.cert_file.is_some() || redis.url.is_some(),
            "needs redis.cert_file",
        );
        check.rule(&["redis.key_prefix"], !self.redis.key_prefix.is_empty(), "must not be empty");
        check.rule(&["auth.user_claim"], !self.auth.user_claim.is_empty(), "must not be empty");
        check.rule(
            &["edge.advertise"],
            self.edge.advertise.as_deref().is_none_or(is_reachable),
            "must be a host and a port, such as 10.0.0.5:3000 or [2001:db8::5]:3000",
        );
        self.check_origins(check);
    }

    fn check_origins(&self, check: &mut Check) {
        if let Some(problem) = self.engine.cookie.as_ref().and_then(Cookie::problem) {
            check.rule(&["engine.cookie"], false, problem);
        }
        let origins = &self.engine.cors_origins;
        check.rule(
            &["engine.cors_origins"],
            origins.len() < 2 || !origins.iter().any(|origin| origin == "*"),
            "`*` already allows any origin and must stand alone",
        );
        for origin in origins.iter().filter(|origin| *origin != "*") {
            let host = origin.split_once("://").map_or("", |(_, host)| host);
            let host = host.strip_suffix(":*").unwrap_or(host);
            check.rule(
                &["engine.cors_origins"],
                !host.is_empty() && !host.contains(['/', '*', ' ']),
                format!("`{origin}` is not an origin such as https://app.example.com"),
            );
        }
    }

    fn check_times(&self, check: &mut Check) {
        let positive: [(&'static [&'static str], Duration); 9] = [
            (&["engine.ping_interval"], self.engine.ping_interval),
            (&["engine.ping_timeout"], self.engine.ping_timeout),
            (&["engine.connect_timeout"], self.engine.connect_timeout),
            (&["redis.request_timeout"], self.redis.request_timeout),
            (&["redis.silence_timeout"], self.redis.silence_timeout),
            (&["edge.handshake_timeout"], self.edge.handshake_timeout),
            (&["edge.stall_timeout"], self.edge.stall_timeout),
            (&["recovery.max_disconnection"], self.recovery.max_disconnection),
            (&["drain.timeout"], self.drain.timeout),
        ];
        for (keys, duration) in positive {
            check.rule(keys, !duration.is_zero(), "must be more than 0");
        }
        check.rule(
            &["drain.spread", "drain.grace", "drain.timeout"],
            self.drain.grace.saturating_add(self.drain.spread) <= self.drain.timeout,
            "must not be longer than drain.timeout, together with drain.grace",
        );
    }

    fn check_sizes(&self, check: &mut Check) {
        let engine = &self.engine;
        check.rule(&["workers"], self.workers <= 1024, "must be at most 1024");
        check.rule(&["engine.max_payload"], engine.max_payload > 0, "must be more than 0");
        check.rule(
            &["engine.max_buffered_packets"],
            engine.max_buffered_packets > 0,
            "must be more than 0",
        );
        check.rule(
            &["engine.max_buffered_bytes"],
            engine.max_buffered_bytes > 0,
            "must be more than 0",
        );
        check.rule(
            &["engine.transports"],
            !engine.transports.is_empty(),
            "must name at least one of polling and websocket",
        );
    }

    fn check_access(&self, check: &mut Check) {
        const KEYS: &[&str] =
            &["auth.mode", "auth.hs256_secret", "auth.public_key_file", "auth.jwks_url"];
        check.rule(
            KEYS,
            self.auth.mode != AuthMode::Required || self.auth.has_key(),
            "is `required`, but there is no key: set auth.hs256_secret, auth.public_key_file or \
             auth.jwks_url",
        );
        check.rule(
            &["admin_listen", "admin.api_keys"],
            self.admin_listen.is_none_or(|admin| admin.ip().is_loopback())
                || !self.admin.api_keys.is_empty(),
            "is reachable from other hosts, so admin.api_keys must be set",
        );
        let public = self.listen;
        let shares_port = |admin: SocketAddr| {
            public.port() != 0
                && public.port() == admin.port()
                && (public.ip() == admin.ip()
                    || public.ip().is_unspecified()
                    || admin.ip().is_unspecified())
        };
        check.rule(
            &["admin_listen", "listen"],
            !self.admin_listen.is_some_and(shares_port),
            "must not share the public port of listen",
        );
    }

    fn check_tls(&self, check: &mut Check) {
        check.rule(
            &["tls.cert_file", "tls.key_file"],
            cfg!(feature = "tls") || (self.tls.cert_file.is_none() && self.tls.key_file.is_none()),
            NEEDS_TLS,
        );
        check.rule(
            &["tls.cert_file", "tls.key_file"],
            self.tls.cert_file.is_none() || self.tls.key_file.is_some(),
            "needs tls.key_file",
        );
        check.rule(
            &["tls.key_file", "tls.cert_file"],
            self.tls.key_file.is_none() || self.tls.cert_file.is_some(),
            "needs tls.cert_file",
        );
    }

    fn check_traces(&self, check: &mut Check, can_export: bool) {
        let endpoint = self.traces.endpoint.as_ref().map(SecretUrl::expose);
        let url = endpoint.and_then(|endpoint| endpoint.parse::<http::Uri>().ok());
        let is_url = url.as_ref().is_some_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|host| !host.as_str().contains('@'))
        });
        check.rule(
            &["traces.endpoint"],
            endpoint.is_none() || is_url,
            "must be a URL such as http://collector:4318, without a user or password; \
             OTEL_EXPORTER_OTLP_HEADERS can hold a key",
        );
        check.rule(
            &["traces.endpoint"],
            endpoint.is_none() || can_export,
            "needs the cargo feature `otlp`, which this program was built without",
        );
        check.rule(
            &["traces.sample_ratio"],
            (0.0..=1.0).contains(&self.traces.sample_ratio),
            "must be from 0 to 1",
        );
        check.advice(
            &["traces.endpoint"],
            url.is_none_or(|url| url.port_u16() != Some(4317)),
            "names the port that collectors have for gRPC; OTLP over HTTP is usually on 4318",
        );
    }

    fn check_advice(&self, check: &mut Check) {
        const SHORT: &str = "has a secret shorter than 32 bytes, which can be guessed";
        let long = |secrets: &super::Secrets| secrets.iter().all(|s| s.expose().len() >= 32);
        check.advice(&["auth.hs256_secret"], long(&self.auth.hs256_secret), SHORT);
        check.advice(&["edge.secrets"], long(&self.edge.secrets), SHORT);
        const SHORT_KEY: &str = "has a key shorter than 16 bytes, which can be guessed";
        let long = self.admin.api_keys.iter().all(|key| key.expose().len() >= 16);
        check.advice(&["admin.api_keys"], long, SHORT_KEY);
    }
}

/// Whether an address may be one at which others reach a host: a name or an address, and a port.
fn is_reachable(address: &str) -> bool {
    let authority = address.parse::<http::uri::Authority>();
    authority.is_ok_and(|authority| {
        let host = authority.host();
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
        let is_any = bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        authority.port_u16().is_some_and(|port| port != 0)
            && !address.contains('@')
            && !host.is_empty()
            && !is_any
    })
}

#[cfg(test)]
mod tests;
