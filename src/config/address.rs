//! Addresses to listen on: written as such, or with a name that is looked up.

use std::net::{SocketAddr, ToSocketAddrs as _};

/// The address that a text stands for. Of several that a name has, one of version 4 is taken if
/// there is any.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub(super) fn resolved(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let parts =
        text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '/', '[', ']', ' ']);
    let (host, port) = parts.filter(|(host, _)| is_name(host)).ok_or_else(|| {
        format!("`{text}` is not an address and a port, such as 0.0.0.0:3000 or localhost:3000")
    })?;
    let found = (host, port).to_socket_addrs();
    let all: Vec<SocketAddr> =
        found.map_err(|error| format!("the name `{host}` cannot be looked up: {error}"))?.collect();
    let first = all.iter().find(|address| address.is_ipv4()).or(all.first());
    first.copied().ok_or_else(|| format!("the name `{host}` has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_itself_and_a_name_is_looked_up() {
        assert_eq!(resolved("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        assert_eq!(resolved("localhost:3000"), Ok("127.0.0.1:3000".parse().unwrap()));
    }

    #[test]
    fn anything_else_is_refused_with_what_is_wrong() {
        for text in
            ["", "3000", ":3000", "localhost", "localhost:http", "::1:80:x", "[::1]", "h:70000"]
        {
            assert!(resolved(text).unwrap_err().contains("is not an address and a port"), "{text}");
        }
        let unknown = resolved("nowhere.invalid:80").unwrap_err();
        assert!(
            unknown.starts_with("the name `nowhere.invalid` cannot be looked up: "),
            "{unknown}"
        );
    }
}
