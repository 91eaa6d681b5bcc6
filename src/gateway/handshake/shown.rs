//! The handshake as Node.js shows it.

use std::time::{SystemTime, UNIX_EPOCH};

use http::header::{self, HeaderName};
use serde_json::{Map, Value as Json, map::Entry};

use super::Handshake;

/// Headers that other nodes do not see.
const SECRET_HEADERS: [HeaderName; 3] =
    [header::AUTHORIZATION, header::COOKIE, header::PROXY_AUTHORIZATION];

impl Handshake {
    /// The handshake for other nodes, in the shape of Node.js. Secrets stay here: no token, no
    /// cookie, no authorization.
    pub(crate) fn shown(&self) -> Map<String, Json> {
        let mut auth = self.payload().as_object().cloned().unwrap_or_default();
        // Secrets: the token, and what recovers a session.
        for secret in ["token", "pid", "offset"] {
            auth.remove(secret);
        }
        let is_public = |name: &str| name != "token" && name != "sid";
        let pairs: Vec<_> = self.query().iter().filter(|(name, _)| is_public(name)).collect();
        let mut url = form_urlencoded::Serializer::new(String::new());
        url.extend_pairs(&pairs);
        let url = format!("{}?{}", self.uri().path(), url.finish());
        let query: Map<String, Json> =
            pairs.into_iter().map(|(name, value)| (name.to_owned(), Json::from(value))).collect();
        self.object(|name| !SECRET_HEADERS.contains(name), url, query, auth.into())
    }

    /// The handshake as `socket.handshake` of Node.js has it, with everything that the client has
    /// sent: its token, its cookies. For this client alone.
    ///
    /// ```
    /// use switchboard::{Gateway, Handshake};
    ///
    /// let gateway = Gateway::new("/").on("handshake", async |handshake: Handshake| handshake.to_json());
    /// ```
    pub fn to_json(&self) -> Json {
        let mut query = Map::new();
        for (name, value) in self.query().iter() {
            match query.entry(name) {
                Entry::Vacant(free) => _ = free.insert(value.into()),
                Entry::Occupied(taken) => match taken.into_mut() {
                    Json::Array(values) => values.push(value.into()),
                    one => *one = Json::Array(vec![one.take(), value.into()]),
                },
            }
        }
        let url = self.uri().path_and_query().map_or_else(String::new, ToString::to_string);
        self.object(|_| true, url, query, self.payload().clone()).into()
    }

    fn object(
        &self,
        is_shown: impl Fn(&HeaderName) -> bool,
        url: String,
        query: Map<String, Json>,
        auth: Json,
    ) -> Map<String, Json> {
        let headers = self.headers();
        let shown: Map<String, Json> = headers
            .keys()
            .filter(|name| is_shown(name))
            .map(|name| {
                let values = headers.get_all(name).iter();
                let values: Vec<_> =
                    values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
                (name.as_str().to_owned(), Json::from(values.join(", ")))
            })
            .collect();
        let connected_at = self.socket.connected_at();
        let issued = connected_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let address = self.peer_addr().map(|address| address.to_string()).unwrap_or_default();
        [
            ("headers", shown.into()),
            ("time", javascript_date(connected_at).into()),
            ("address", address.into()),
            ("xdomain", headers.contains_key(header::ORIGIN).into()),
            ("secure", self.is_secure().into()),
            ("issued", (issued as u64).into()),
            ("url", url.into()),
            ("query", query.into()),
            ("auth", auth),
        ]
        .into_iter()
        .map(|(name, value): (&str, Json)| (name.to_owned(), value))
        .collect()
    }
}

/// A time as JavaScript prints it: `Tue Nov 24 2026 03:22:11 GMT+0000 (Coordinated Universal Time)`.
fn javascript_date(time: SystemTime) -> String {
    // `Tue, 24 Nov 2026 03:22:11 GMT`, always of this length.
    let date = httpdate::fmt_http_date(time);
    let (weekday, day, month, rest) = (&date[..3], &date[5..7], &date[8..11], &date[12..25]);
    format!("{weekday} {month} {day} {rest} GMT+0000 (Coordinated Universal Time)")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_date_reads_as_in_javascript() {
        let time = UNIX_EPOCH + Duration::from_secs(1_795_490_531);
        let printed = "Tue Nov 24 2026 03:22:11 GMT+0000 (Coordinated Universal Time)";
        assert_eq!(javascript_date(time), printed);
    }
}
