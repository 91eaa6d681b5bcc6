//! Secret values, which are used but never shown.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq as _;

/// The text shown in place of a secret.
const MASK: &str = "***";

/// A secret. Printed, logged or serialized it is `***`; only [`expose`](Self::expose) shows it.
///
/// ```
/// use switchboard::config::Secret;
///
/// let secret = Secret::new("correct horse battery staple");
/// assert_eq!(format!("{secret:?}"), "***");
/// assert!(secret.matches("correct horse battery staple"));
/// assert_eq!(secret.expose().len(), 28);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself. Not for logs, messages or errors.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret. The time does not tell where they differ.
    pub fn matches(&self, candidate: &str) -> bool {
        self.0.as_bytes().ct_eq(candidate.as_bytes()).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        usable(String::deserialize(deserializer)?)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// Any number of secrets: the first signs and all verify.
///
/// In the configuration this is a string or a list of strings; the empty string means none.
///
/// ```
/// use switchboard::config::{Secret, Secrets};
///
/// let secrets = Secrets::from_iter(["new", "old"]);
/// assert_eq!(secrets.first().map(Secret::expose), Some("new"));
/// assert_eq!(secrets.len(), 2);
/// assert!(secrets.iter().any(|secret| secret.matches("old")));
/// assert!(Secrets::default().is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// The signing secret.
    pub fn first(&self) -> Option<&Secret> {
        self.0.first()
    }

    /// All secrets, the signing one first.
    pub fn iter(&self) -> std::slice::Iter<'_, Secret> {
        self.0.iter()
    }

    /// The number of secrets.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Serializes as it was written: one as a string, several as a list.
    pub(crate) fn serialize_one_or_many<S: Serializer>(
        &self,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [] => serializer.serialize_str(""),
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<T: Into<String>> FromIterator<T> for Secrets {
    fn from_iter<I: IntoIterator<Item = T>>(secrets: I) -> Self {
        Self(secrets.into_iter().map(Secret::new).collect())
    }
}

impl<'a> IntoIterator for &'a Secrets {
    type Item = &'a Secret;
    type IntoIter = std::slice::Iter<'a, Secret>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'de> Deserialize<'de> for Secrets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrMany)
    }
}

struct OneOrMany;

impl<'de> de::Visitor<'de> for OneOrMany {
    type Value = Secrets;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or a list of strings")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Secrets, E> {
        if text.is_empty() {
            return Ok(Secrets::default());
        }
        usable(text.to_owned()).map(|secret| Secrets(vec![secret]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Secrets, A::Error> {
        let mut secrets = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            secrets.push(usable(text)?);
        }
        Ok(Secrets(secrets))
    }
}

/// The errors do not quote the text.
fn usable<E: de::Error>(text: String) -> Result<Secret, E> {
    match text.as_str() {
        "" => Err(E::custom("a secret must not be empty")),
        MASK => Err(E::custom("`***` is what is shown in place of a secret, not a secret")),
        _ => Ok(Secret(text)),
    }
}

/// A URL that may hold a secret. Printed or serialized, its password is `***`. So is the part
/// before `@` if there is no user, and, with `http` or `https`, everything after `?`.
///
/// ```
/// use switchboard::config::SecretUrl;
///
/// let url = SecretUrl::new("redis://app:hunter2@10.0.0.9/1");
/// assert_eq!(url.to_string(), "redis://app:***@10.0.0.9/1");
/// assert_eq!(url.expose(), "redis://app:hunter2@10.0.0.9/1");
/// assert!(url.has_secret());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

impl SecretUrl {
    /// Takes the text as it is.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URL as it is. Not for logs, messages or errors.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the URL has a hidden part.
    pub fn has_secret(&self) -> bool {
        self.masked() != self.0
    }

    /// Whether a secret is the mask itself, copied from the server's output.
    fn is_masked(&self) -> bool {
        [":***@", "//***@", "?***"].iter().any(|mask| self.0.contains(mask))
    }

    /// The URL without its password: from the first `:` after each `://` to the last `@` before the
    /// next. Greedy, since a password that was not encoded may hold `:`, `,` and `@`.
    fn masked(&self) -> String {
        let is_http = self.0.starts_with("http:") || self.0.starts_with("https:");
        let (url, has_query) = match self.0.split_once('?') {
            Some((url, _)) if is_http => (url, true),
            _ => (self.0.as_str(), false),
        };
        let mut shown = String::new();
        let mut rest = url;
        while let Some(start) = rest.find("://").map(|at| at + 3) {
            shown.push_str(&rest[..start]);
            rest = &rest[start..];
            let end =
                rest.find("://").and_then(|next| rest[..next].rfind(',')).unwrap_or(rest.len());
            let (seed, next) = rest.split_at(end);
            match seed.rsplit_once('@').map(|(who, host)| (who.split_once(':'), host)) {
                Some((Some((user, _)), host)) if !is_http => {
                    shown.extend([user, ":", MASK, "@", host]);
                }
                // A single word before `@` may be the password.
                Some((_, host)) => shown.extend([MASK, "@", host]),
                None => shown.push_str(seed),
            }
            rest = next;
        }
        shown.push_str(rest);
        if has_query {
            shown.push('?');
            shown.push_str(MASK);
        }
        shown
    }
}

impl<T: Into<String>> From<T> for SecretUrl {
    fn from(url: T) -> Self {
        Self::new(url)
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SecretUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let url = Self(String::deserialize(deserializer)?);
        match url.is_masked() {
            true => Err(de::Error::custom("`***` is what is shown in place of the password")),
            false => Ok(url),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secrets: Secrets = ["correct horse"].into_iter().collect();
        let seen = format!("{secrets:?} {}", secrets.first().unwrap());
        assert_eq!(seen, "Secrets([***]) ***");
        assert!(secrets.first().unwrap().matches("correct horse"));
        assert!(!secrets.first().unwrap().matches("correct horsf"));
    }

    #[test]
    fn a_password_in_a_url_is_never_printed() {
        for (url, shown) in [
            ("redis://10.0.0.1:6379/0", "redis://10.0.0.1:6379/0"),
            ("redis://:pw@h", "redis://:***@h"),
            ("rediss://u:pw@h:6379/1", "rediss://u:***@h:6379/1"),
            ("redis://u:p@w,x:y@h", "redis://u:***@h"),
            ("redis://u:p1@a:1,redis://u:p2@b:2", "redis://u:***@a:1,redis://u:***@b:2"),
            ("redis://u:p1@a:1,b:2", "redis://u:***@a:1,b:2"),
            ("redis://pw@h", "redis://***@h"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
            ("https://id.example/jwks", "https://id.example/jwks"),
            ("https://u:p@id.example/jwks", "https://***@id.example/jwks"),
            ("https://token@id.example", "https://***@id.example"),
            ("https://id.example/jwks?key=k@y", "https://id.example/jwks?***"),
        ] {
            assert_eq!(SecretUrl::new(url).to_string(), shown);
        }
    }
}
