//! The address of this host towards Redis, which is most often the one towards the other nodes, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use redis::ConnectionAddr;
use tokio::net::{UdpSocket, lookup_host};

use super::{Place, Target};

impl Target {
    /// The local address of a connection to Redis. Nothing is sent for it. `None` if the host of
    /// Redis cannot be looked up, or not be reached from here.
    pub(crate) async fn local_address(&self) -> Option<IpAddr> {
        let nodes = match &self.place {
            Place::Single(node) => std::slice::from_ref(node),
            Place::Cluster(nodes) | Place::Sentinel { sentinels: nodes, .. } => nodes,
        };
        for node in nodes {
            let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
                node
            else {
                return Some(Ipv4Addr::LOCALHOST.into()); // a file of this host
            };
            let Ok(addresses) = lookup_host((host.as_str(), *port)).await else { continue };
            for address in addresses {
                let any: IpAddr = match address {
                    std::net::SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    std::net::SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                // "Connecting" such a socket only looks up the route.
                let Ok(socket) = UdpSocket::bind((any, 0)).await else { continue };
                if socket.connect(address).await.is_ok()
                    && let Ok(local) = socket.local_addr()
                {
                    return Some(local.ip());
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::link::redis::testing::target;

    #[tokio::test]
    async fn the_way_to_redis_begins_at_an_address() {
        for (url, local) in [
            ("redis://127.0.0.1:6379", Some("127.0.0.1")),
            ("redis://[::1]:6379", Some("::1")),
            ("redis://nowhere.invalid", None),
            ("redis://nowhere.invalid,127.0.0.1:1", Some("127.0.0.1")),
            ("redis+sentinel://127.0.0.1:1/main", Some("127.0.0.1")),
            ("unix:/nowhere", Some("127.0.0.1")),
        ] {
            let found = target(url).local_address().await.map(|address| address.to_string());
            assert_eq!(found.as_deref(), local, "{url}");
        }
    }
}
