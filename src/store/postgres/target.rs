//! The place of Postgres: what `store.url` says.

use std::{path::PathBuf, time::Duration};

use tokio::time::timeout;
use tokio_postgres::{
    Client, Config, Connection, Socket,
    config::{Host, SslMode, TargetSessionAttrs},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    PATIENCE,
    error::{self, TargetError},
    hosts::Hosts,
    tls::{self, Trust},
};
use crate::store::StoreError;

/// Where Postgres is, and how it is reached.
pub(crate) struct Target {
    config: Config,
    tls: MakeRustlsConnect,
    hosts: Hosts,
}

type Tls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

impl Target {
    /// Reads the URL. What it does not say has a default, if there can be one.
    pub(crate) fn parse(url: &str) -> Result<Self, TargetError> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        // The first @ would end the password, whichever was meant.
        if base.matches('@').count() > 1 || query.contains('@') {
            return Err(TargetError::Ambiguous);
        }
        let (mut mode, mut root) = (None, None);
        let mut config: Config = base.parse().map_err(|_| TargetError::NoUrl)?;
        let mut rest = form_urlencoded::Serializer::new(String::new());
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" => root = Some(PathBuf::from(&*value)),
                "password" => return Err(TargetError::Password),
                _ => {
                    let one = form_urlencoded::Serializer::new(String::new())
                        .append_pair(&name, &value)
                        .finish();
                    // Alone, so that the fault has a name.
                    if format!("postgres://h?{one}").parse::<Config>().is_err() {
                        return Err(TargetError::Parameter(name.into_owned()));
                    }
                    rest.append_pair(&name, &value);
                }
            }
        }
        let rest = rest.finish();
        if !rest.is_empty() {
            config = format!("{base}?{rest}").parse().map_err(|_| TargetError::NoUrl)?;
        }
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(TargetError::NoHost);
        }
        let mode = mode.as_deref().unwrap_or("prefer");
        let trust = match mode {
            "verify-full" => Trust::Authorities(root),
            _ if root.is_some() => return Err(TargetError::RootCertificate),
            _ => Trust::Anybody,
        };
        config.ssl_mode(match mode {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" | "verify-full" => SslMode::Require,
            other => return Err(TargetError::SslMode(other.into())),
        });
        if config.get_application_name().is_none() {
            config.application_name("switchboard");
        }
        // A standby is of no use. Of several hosts the primary is looked for.
        config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        // A host that is gone without a word is noticed, even on a connection that only listens.
        config
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
        let tls = MakeRustlsConnect::new(tls::client(&trust)?);
        let hosts = Hosts::of(&config, tls.clone())?;
        Ok(Self { config, tls, hosts })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    pub(super) fn tls(&self) -> &MakeRustlsConnect {
        &self.tls
    }

    /// A connection outside of any pool, which the caller drives.
    pub(crate) async fn connect(&self) -> Result<(Client, Connection<Socket, Tls>), StoreError> {
        match timeout(PATIENCE, self.hosts.connect()).await {
            Ok(connected) => connected.map_err(|error| error::store_error(&error)),
            Err(_) => Err(StoreError::Unavailable("no connection in time".into())),
        }
    }

    /// Its hosts, for people.
    pub(crate) fn address(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self.config.get_hosts().iter().enumerate().map(|(place, host)| {
            let port = ports.get(place).or(ports.last()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => format!("{name}:{port}"),
                Host::Unix(path) => path.display().to_string(),
            }
        });
        hosts.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        match Target::parse(url) {
            Ok(_) => panic!("{url} is taken"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn hosts_are_named_without_the_password() {
        for (url, address) in [
            ("postgres://u:pw@db/x", "db:5432"),
            ("postgresql://a:1,b:2/x", "a:1,b:2"),
            ("postgres://u@%2Frun%2Fpostgres/x", "/run/postgres"),
            ("postgres://a/x?connect_timeout=3&sslmode=disable", "a:5432"),
        ] {
            assert_eq!(Target::parse(url).map(|it| it.address()).expect(url), address);
        }
    }

    #[test]
    fn a_fault_is_named_and_the_url_is_not() {
        for (url, fault) in [
            ("postgres://u:s3cret@h:x/y", "is no URL of Postgres"),
            ("postgres://", "names no host"),
            ("postgres://u:a@s3cret@h/y", "an @ or a ? in the user, the password"),
            ("postgres://u:12?s3cret@h/y", "an @ or a ? in the user, the password"),
            (
                "postgres://u:s3cret@h/y?application_name=a@b",
                "an @ or a ? in the user, the password",
            ),
            (
                "postgres://a:1,b:2,c:3/y?port=4",
                "has an unknown parameter or one with a wrong value: port",
            ),
            ("postgres://h/x?password=s3cret", "the password belongs before the @"),
            ("postgres://h/x?sslmode=verify-ca", "sslmode: must be"),
            ("postgres://h/x?sslmode=require&sslrootcert=/a", "sslrootcert: needs"),
            (
                "postgres://h/x?colour=blue",
                "has an unknown parameter or one with a wrong value: colour",
            ),
            ("postgres://h/x?sslmode=verify-full&sslrootcert=/nowhere", "sslrootcert: cannot read"),
        ] {
            let said = refused(url);
            assert!(said.starts_with(fault), "{said}");
            assert!(!said.contains("s3cret"), "{said}");
        }
    }

    #[test]
    fn encryption_is_tried_unless_the_url_says_otherwise() {
        for (url, mode) in [
            ("postgres://h/x", SslMode::Prefer),
            ("postgres://h/x?sslmode=disable", SslMode::Disable),
            ("postgres://h/x?sslmode=require", SslMode::Require),
        ] {
            let target = Target::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
            assert_eq!(target.config().get_ssl_mode(), mode);
        }
    }
}
