//! The variables of libpq: `PGHOST` and its like fill what a URL of Postgres does not say.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{Config, SecretUrl, check::is_postgres};

/// Those that are understood.
pub(super) const NAMES: [&str; 7] =
    ["PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE", "PGSSLROOTCERT"];

/// The variables that are set.
#[derive(Default)]
pub(super) struct Libpq(BTreeMap<&'static str, String>);

impl Libpq {
    /// Reads each by its name.
    pub(super) fn of(mut read: impl FnMut(&str) -> Option<String>) -> Self {
        Self(NAMES.into_iter().filter_map(|name| Some((name, read(name)?))).collect())
    }

    /// Fills `store.url`. Where a store is needed and none is named, `PGHOST` alone names one.
    pub(super) fn fill(&self, config: &mut Config) {
        let needs_one =
            config.inbox.enabled || config.outbox.enabled || !config.rooms.history.is_empty();
        let url = match &config.store.url {
            Some(url) => url.expose(),
            None if needs_one && self.0.contains_key("PGHOST") => "postgres://",
            None => return,
        };
        if is_postgres(url) {
            config.store.url = Some(SecretUrl::new(self.filled(url)));
        }
    }

    fn filled(&self, url: &str) -> String {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password that is not escaped may hold a slash.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        let (hosts, database) = rest.split_once('/').unwrap_or((rest, ""));
        let mut filled = format!("{scheme}://");
        filled += &self.user(user);
        filled += &self.hosts(hosts);
        if let Some(name) = non_empty(database).or_else(|| self.escaped("PGDATABASE")) {
            filled.extend(["/", &name]);
        }
        let mut query = query.to_owned();
        for (name, variable) in [("sslmode", "PGSSLMODE"), ("sslrootcert", "PGSSLROOTCERT")] {
            let is_given = query.split('&').any(|pair| pair.split('=').next() == Some(name));
            if let Some(value) = self.escaped(variable).filter(|_| !is_given) {
                let and = if query.is_empty() { "" } else { "&" };
                let _ = write!(query, "{and}{name}={value}");
            }
        }
        if !query.is_empty() {
            filled.extend(["?", &query]);
        }
        filled
    }

    /// The part before the host.
    fn user(&self, given: Option<&str>) -> String {
        let (name, password) = match given.map(|given| given.split_once(':').unwrap_or((given, "")))
        {
            Some((name, password)) => (non_empty(name), non_empty(password)),
            None => (None, None),
        };
        let name = name.or_else(|| self.escaped("PGUSER"));
        let password = password.or_else(|| self.escaped("PGPASSWORD"));
        match (name, password) {
            (None, None) => String::new(),
            (Some(name), None) => format!("{name}@"),
            (name, Some(password)) => format!("{}:{password}@", name.unwrap_or_default()),
        }
    }

    fn hosts(&self, given: &str) -> String {
        let named = self.0.get("PGHOST").map(String::as_str).unwrap_or_default();
        // A host of a URL is escaped already.
        let hosts: Vec<String> = match given {
            "" => named.split(',').map(escape).collect(),
            given => given.split(',').map(str::to_owned).collect(),
        };
        let ports = self.0.get("PGPORT").map(String::as_str).unwrap_or_default();
        let ports: Vec<&str> = ports.split(',').collect();
        let with_port = hosts.into_iter().enumerate().map(|(place, host)| {
            let has_port = host.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
            match ports.get(place).or(ports.last()) {
                Some(port) if !has_port && !port.is_empty() && !host.is_empty() => {
                    format!("{host}:{port}")
                }
                _ => host,
            }
        });
        with_port.collect::<Vec<_>>().join(",")
    }

    fn escaped(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|value| escape(value))
    }
}

fn non_empty(text: &str) -> Option<String> {
    Some(text.to_owned()).filter(|text| !text.is_empty())
}

/// A text as a part of a URL. An address of IPv6 stands in brackets.
fn escape(text: &str) -> String {
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return format!("[{text}]");
    }
    let mut escaped = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(url: &str, variables: &[(&'static str, &str)]) -> String {
        let set = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Libpq(set.collect()).filled(url)
    }

    #[test]
    fn what_the_url_says_wins() {
        let all = [
            ("PGHOST", "db"),
            ("PGPORT", "6432"),
            ("PGUSER", "app"),
            ("PGPASSWORD", "p@ss/w:rd"),
            ("PGDATABASE", "main"),
            ("PGSSLMODE", "require"),
        ];
        for (url, expected) in [
            ("postgres://", "postgres://app:p%40ss%2Fw%3Ard@db:6432/main?sslmode=require"),
            (
                "postgres://u:x@h:1/d?sslmode=disable&connect_timeout=2",
                "postgres://u:x@h:1/d?sslmode=disable&connect_timeout=2",
            ),
            (
                "postgresql://u@h,i:2",
                "postgresql://u:p%40ss%2Fw%3Ard@h:6432,i:2/main?sslmode=require",
            ),
        ] {
            assert_eq!(filled(url, &all), expected);
        }
        assert_eq!(filled("postgres://u:x@h/d", &[]), "postgres://u:x@h/d");
    }

    #[test]
    fn hosts_may_be_several_or_folders() {
        let of = |host, port| filled("postgres:///d", &[("PGHOST", host), ("PGPORT", port)]);
        assert_eq!(of("a,b", "1,2"), "postgres://a:1,b:2/d");
        assert_eq!(of("a,b", "1"), "postgres://a:1,b:1/d");
        assert_eq!(of("/run/postgresql", ""), "postgres://%2Frun%2Fpostgresql/d");
        assert_eq!(of("::1", "5433"), "postgres://[::1]:5433/d");
    }
}
