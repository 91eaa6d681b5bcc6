//! The hosts of a URL, tried one after the other, each for a part of the time.
//!
//! The library would wait for a host that takes a connection and says nothing until the caller gives up,
//! and never come to the next one.

use std::{future::pending, time::Duration};

use deadpool_postgres::Connect;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{
    Client, Config, Connection, Error, Socket,
    config::{Host, LoadBalanceHosts},
    tls::MakeTlsConnect,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{PATIENCE, error::TargetError};
use crate::future::BoxFuture;

type Tls = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// All hosts of a URL.
#[derive(Clone)]
pub(super) struct Hosts {
    each: Vec<Config>,
    /// How long one of them is waited for.
    patience: Duration,
    tls: MakeRustlsConnect,
}

impl Hosts {
    pub(super) fn of(config: &Config, tls: MakeRustlsConnect) -> Result<Self, TargetError> {
        let (names, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        let count = names.max(addresses);
        if names.min(addresses) > 0 && names != addresses {
            return Err(TargetError::Parameter("hostaddr".into()));
        }
        if config.get_ports().len() > 1 && config.get_ports().len() != count {
            return Err(TargetError::Parameter("port".into()));
        }
        let share = share(count);
        let patience = config.get_connect_timeout().map_or(share, |given| share.min(*given));
        Ok(Self { each: (0..count).map(|place| alone(config, place)).collect(), patience, tls })
    }

    /// A connection to the first one that is a primary. If none of them says anything this never ends.
    pub(super) async fn connect(&self) -> Result<(Client, Connection<Socket, Tls>), Error> {
        let mut last = None;
        for place in self.order() {
            let connecting = self.each[place].connect(self.tls.clone());
            match timeout(self.patience, connecting).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => last = Some(error),
                Err(_) => {}
            }
        }
        match last {
            Some(error) => Err(error),
            None => pending().await,
        }
    }

    fn order(&self) -> Vec<usize> {
        let all = 0..self.each.len();
        match self.each.first().map(Config::get_load_balance_hosts) {
            Some(LoadBalanceHosts::Random) => {
                rand::seq::index::sample(&mut rand::rng(), all.len(), all.len()).into_vec()
            }
            _ => all.collect(),
        }
    }
}

impl Connect for Hosts {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        Box::pin(async {
            let (client, connection) = self.connect().await?;
            let driven = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to Postgres has ended");
                }
            });
            Ok((client, driven))
        })
    }
}

/// So that the last one has its time, too, before the caller gives up.
fn share(hosts: usize) -> Duration {
    match u32::try_from(hosts) {
        Ok(0 | 1) => PATIENCE,
        Ok(hosts) => PATIENCE / hosts.saturating_add(1),
        Err(_) => Duration::ZERO,
    }
}

/// The same for one of its hosts.
fn alone(all: &Config, place: usize) -> Config {
    let mut one = Config::new();
    match all.get_hosts().get(place) {
        Some(Host::Tcp(name)) => _ = one.host(name),
        Some(Host::Unix(path)) => _ = one.host_path(path),
        None => {}
    }
    if let Some(address) = all.get_hostaddrs().get(place) {
        one.hostaddr(*address);
    }
    if let Some(port) = all.get_ports().get(place).or(all.get_ports().first()) {
        one.port(*port);
    }
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    if let Some(time) = all.get_connect_timeout() {
        one.connect_timeout(*time);
    }
    if let Some(time) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(*time);
    }
    if let Some(time) = all.get_keepalives_interval() {
        one.keepalives_interval(time);
    }
    if let Some(count) = all.get_keepalives_retries() {
        one.keepalives_retries(count);
    }
    one.keepalives(all.get_keepalives())
        .keepalives_idle(all.get_keepalives_idle())
        .ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .channel_binding(all.get_channel_binding())
        .load_balance_hosts(all.get_load_balance_hosts())
        .target_session_attrs(all.get_target_session_attrs());
    one
}

#[cfg(test)]
mod tests {
    use test_kit::postgres::PostgresServer;
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::postgres::Target;

    /// As a primary that is frozen, or a balancer with nobody behind it.
    #[tokio::test]
    async fn a_host_that_says_nothing_does_not_keep_from_the_next_one() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = silent.local_addr().expect("an address").port();
        let url = PostgresServer::shared().url().replace('@', &format!("@127.0.0.1:{port},"));
        let target = Target::parse(&url).expect("a URL");
        let (client, connection) = target.connect().await.expect("the other one answers");
        tokio::spawn(connection);
        client.query_typed("SELECT 1", &[]).await.expect("it works");
    }

    #[test]
    fn all_hosts_together_take_no_longer_than_the_patience() {
        assert_eq!(share(1), PATIENCE);
        for hosts in 2..6 {
            let count = u32::try_from(hosts).expect("few");
            assert!(share(hosts) * count < PATIENCE, "{hosts}");
        }
    }

    #[test]
    fn one_host_has_all_settings_and_its_own_port() {
        let url = "postgres://u:p%40w@a:1,b:2/d?options=-c%20x%3Dy&application_name=n&connect_timeout=3\
            &tcp_user_timeout=4&keepalives=0&keepalives_idle=5&keepalives_interval=6\
            &keepalives_retries=7&sslmode=require&channel_binding=disable\
            &target_session_attrs=read-write";
        let all: Config = url.parse().expect("a URL");
        let alone = alone(&all, 1);
        let expected: Config = url.replace("a:1,", "").parse().expect("a URL");
        assert_eq!(alone, expected);
    }
}
