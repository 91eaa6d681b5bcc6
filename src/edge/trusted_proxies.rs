//! The address of the client: that of the TCP connection or, if a trusted proxy made the
//! connection, the one that the proxy names.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Whether `address` is a trusted proxy.
pub(super) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// The address of the client behind `peer`.
///
/// `X-Forwarded-For` is read from its end. An entry is believed only if the next one (at first the
/// connection itself) is a trusted proxy. A client's own entries stand before that of the first
/// trusted proxy and are never reached.
pub(super) fn client_address(
    peer: SocketAddr,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> SocketAddr {
    let mut address = peer.ip().to_canonical();
    let trusts = |address: &IpAddr| is_trusted(*address, trusted);
    if !trusts(&address) {
        return SocketAddr::new(address, peer.port());
    }
    // several headers are one list, in their order
    let mut forwarded = headers
        .get_all(FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(|line| line.to_str().unwrap_or("").rsplit(','));
    let mut port = peer.port();
    while trusts(&address)
        && let Some(said) = forwarded.next().and_then(parse)
    {
        (address, port) = (said, 0); // nobody names the port
    }
    SocketAddr::new(address, port)
}

/// `203.0.113.7`, `203.0.113.7:4711`, `2001:db8::7`, `[2001:db8::7]`, `[2001:db8::7]:4711`.
fn parse(entry: &str) -> Option<IpAddr> {
    let entry = entry.trim();
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    bare.parse::<IpAddr>()
        .or_else(|_| entry.parse::<SocketAddr>().map(|address| address.ip()))
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.9:1234";

    fn address(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().expect("a header value"));
        }
        let trusted: Vec<IpNet> =
            trusted.iter().map(|net| net.parse().expect("a network")).collect();
        client_address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn nobody_is_trusted_unless_named() {
        assert_eq!(address("192.0.2.1:5000", &["203.0.113.7"], &[]), "192.0.2.1:5000");
        assert_eq!(address("192.0.2.1:5000", &["203.0.113.7"], &["10.0.0.0/8"]), "192.0.2.1:5000");
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        assert_eq!(address(PROXY, &["203.0.113.7"], &["10.0.0.0/8"]), "203.0.113.7:0");
        assert_eq!(address(PROXY, &[], &["10.0.0.0/8"]), PROXY);
    }

    #[test]
    fn what_the_client_itself_wrote_is_not_believed() {
        assert_eq!(address(PROXY, &["127.0.0.1, 203.0.113.7"], &["10.0.0.0/8"]), "203.0.113.7:0",);
    }

    #[test]
    fn a_chain_of_trusted_proxies_is_followed_over_several_headers() {
        assert_eq!(
            address(PROXY, &["6.6.6.6", "203.0.113.7, 10.1.1.1", "10.2.2.2"], &["10.0.0.0/8"]),
            "203.0.113.7:0",
        );
    }

    #[test]
    fn nonsense_ends_the_chain_at_who_said_it() {
        assert_eq!(address(PROXY, &["203.0.113.7, unknown"], &["10.0.0.0/8"]), PROXY);
        assert_eq!(address(PROXY, &["203.0.113.7,, 10.1.1.1"], &["10.0.0.0/8"]), "10.1.1.1:0");
    }

    #[test]
    fn ports_and_brackets_are_understood() {
        for said in ["203.0.113.7:4711", " 203.0.113.7 ", "::ffff:203.0.113.7"] {
            assert_eq!(address(PROXY, &[said], &["10.0.0.0/8"]), "203.0.113.7:0", "{said}");
        }
        for said in ["2001:db8::7", "[2001:db8::7]", "[2001:db8::7]:4711"] {
            assert_eq!(address(PROXY, &[said], &["10.0.0.0/8"]), "[2001:db8::7]:0", "{said}");
        }
    }

    #[test]
    fn a_dual_stack_listener_sees_the_same_proxy() {
        assert_eq!(
            address("[::ffff:10.0.0.9]:1", &["203.0.113.7"], &["10.0.0.0/8"]),
            "203.0.113.7:0",
        );
    }
}
