//! `engine.cookie`: a name, or a table with more.

use std::{fmt, time::Duration};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, value::MapAccessDeserializer},
};

use super::units;

/// The session id as a cookie, sent with the handshake of a polling client as Node.js does. It is
/// for load balancers that keep a client on its node by a cookie. Switchboard itself never reads
/// it.
///
/// ```
/// use switchboard::config::{Config, Cookie, SameSite};
///
/// let mut cookie = Cookie::named("node");
/// cookie.secure = true;
/// cookie.same_site = SameSite::None;
/// let mut config = Config::default();
/// config.engine.cookie = Some(cookie);
/// assert!(config.check().errors.is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Cookie {
    /// Its name, a token of RFC 6265. Default `io`.
    pub name: String,
    /// The path below which browsers send it. Default `/`.
    pub path: String,
    /// Whether scripts of the page are kept from reading it. Default true.
    pub http_only: bool,
    /// Whether browsers send it over TLS only. Default false; [`SameSite::None`] needs it.
    pub secure: bool,
    /// Which pages' requests carry it. Default `lax`.
    pub same_site: SameSite,
    /// How long browsers keep it, in whole seconds. Default 0: until they are closed.
    #[serde(with = "units::duration")]
    pub max_age: Duration,
}

/// The pages whose requests carry a cookie.
///
/// ```
/// use switchboard::{Config, config::{Cookie, SameSite}};
///
/// let mut cookie = Cookie::named("io");
/// cookie.same_site = SameSite::None;
/// let config = Config::with(|config| config.engine.cookie = Some(cookie));
/// assert!(!config.check().errors.is_empty(), "browsers take it over TLS only");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SameSite {
    /// Pages of the same site.
    Strict,
    /// Pages of the same site, and links from other sites.
    Lax,
    /// All pages. Browsers take such a cookie over TLS only.
    None,
}

impl Default for Cookie {
    fn default() -> Self {
        Self {
            name: "io".into(),
            path: "/".into(),
            http_only: true,
            secure: false,
            same_site: SameSite::Lax,
            max_age: Duration::ZERO,
        }
    }
}

impl Cookie {
    /// A cookie with this name, and the defaults of Node.js for the rest.
    ///
    /// ```
    /// use switchboard::config::{Config, Cookie};
    ///
    /// let mut config = Config::default();
    /// config.engine.cookie = Some(Cookie::named("io"));
    /// ```
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// The attributes that follow `name=value` in the header.
    pub(crate) fn attributes(&self) -> String {
        let mut attributes = String::new();
        if !self.max_age.is_zero() {
            attributes = format!("; Max-Age={}", self.max_age.as_secs());
        }
        attributes.extend(["; Path=", &self.path]);
        if self.http_only {
            attributes.push_str("; HttpOnly");
        }
        if self.secure {
            attributes.push_str("; Secure");
        }
        attributes.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        attributes
    }

    /// Why browsers would refuse the cookie, as a sentence.
    pub(in crate::config) fn problem(&self) -> Option<&'static str> {
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_path = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b';';
        if self.name.is_empty() || !self.name.bytes().all(is_token) {
            Some("the name of a cookie has letters, digits and signs such as - and _, no spaces")
        } else if !self.path.starts_with('/') || !self.path.bytes().all(is_path) {
            Some("the path of a cookie starts with / and has no semicolon")
        } else if self.same_site == SameSite::None && !self.secure {
            Some("browsers take same_site = \"none\" with secure = true only")
        } else {
            None
        }
    }
}

/// The setting: an empty name for none, a name, or a table.
pub(super) mod setting {
    use serde::Serializer;

    use super::{Cookie, Deserializer, MapAccessDeserializer, Serialize, de, fmt};
    use serde::Deserialize as _;

    pub(in crate::config) fn serialize<S: Serializer>(
        cookie: &Option<Cookie>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match cookie {
            Some(cookie) => cookie.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Cookie>, D::Error> {
        struct Setting;
        impl<'de> de::Visitor<'de> for Setting {
            type Value = Option<Cookie>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name, or { name, path, http_only, secure, same_site, max_age }")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<Cookie>, E> {
                Ok((!name.is_empty()).then(|| Cookie::named(name)))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Option<Cookie>, A::Error> {
                Cookie::deserialize(MapAccessDeserializer::new(map)).map(Some)
            }
        }
        deserializer.deserialize_any(Setting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_those_of_node_in_its_order() {
        // cookie 0.7, as engine.io 6.6 calls it
        assert_eq!(Cookie::default().attributes(), "; Path=/; HttpOnly; SameSite=Lax");
        let full = Cookie {
            name: "sid".into(),
            path: "/chat/".into(),
            http_only: false,
            secure: true,
            same_site: SameSite::None,
            max_age: Duration::from_secs(3600),
        };
        assert_eq!(full.attributes(), "; Max-Age=3600; Path=/chat/; Secure; SameSite=None");
        assert_eq!(full.problem(), None);
    }

    #[test]
    fn what_no_browser_takes_is_a_problem() {
        for cookie in [
            Cookie::named("two words"),
            Cookie::named("a;b"),
            Cookie::named("a=b"),
            Cookie { path: "chat".into(), ..Cookie::default() },
            Cookie { path: "/;x".into(), ..Cookie::default() },
            Cookie { path: "/\r\nX-Own: 1".into(), ..Cookie::default() },
            Cookie { same_site: SameSite::None, ..Cookie::default() },
        ] {
            assert!(cookie.problem().is_some(), "{cookie:?}");
        }
    }
}
