//! Where a client may put its token, and what a missing token means.

use std::borrow::Cow;

use http::{HeaderMap, header::AUTHORIZATION};
use serde_json::Value;

use super::refusal::{self, refuse};
#[cfg(feature = "jwt")]
use super::{AuthMode, Identity, Jwt};
use crate::fault::Fault;

/// What a connection brings along.
///
/// ```
/// use http::HeaderMap;
/// use switchboard::auth::{TokenSources, find_token};
///
/// let headers = HeaderMap::new();
/// let sources = TokenSources { connect_auth: None, query: Some("EIO=4&token=a.b.c"), headers: &headers };
/// assert_eq!(find_token(&sources)?.as_deref(), Some("a.b.c"));
/// # Ok::<(), switchboard::Fault>(())
/// ```
#[derive(Clone, Copy)]
pub struct TokenSources<'a> {
    /// The payload of the CONNECT packet (`auth` of the client).
    pub connect_auth: Option<&'a Value>,
    /// The query of the handshake as it was sent, without `?`.
    pub query: Option<&'a str>,
    /// The headers of the handshake.
    pub headers: &'a HeaderMap,
}

/// The first token among `auth.token`, the query parameter `token` and `Authorization: Bearer`.
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
/// use serde_json::json;
/// use switchboard::auth::{TokenSources, find_token};
///
/// let mut headers = HeaderMap::new();
/// headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer a.b.c"));
/// let from_a_proxy = TokenSources { connect_auth: None, query: None, headers: &headers };
/// assert_eq!(find_token(&from_a_proxy)?.as_deref(), Some("a.b.c"));
///
/// let auth = json!({ "token": 7 });
/// assert!(find_token(&TokenSources { connect_auth: Some(&auth), ..from_a_proxy }).is_err());
/// # Ok::<(), switchboard::Fault>(())
/// ```
///
/// # Errors
/// If the first place that holds anything holds no token: a client with a broken token is not
/// anonymous. `null` counts as nothing.
pub fn find_token<'a>(sources: &TokenSources<'a>) -> Result<Option<Cow<'a, str>>, Fault> {
    match sources.connect_auth.and_then(|auth| auth.get("token")) {
        None | Some(Value::Null) => {}
        Some(Value::String(token)) => return filled(Cow::Borrowed(token.as_str())),
        Some(_) => return Err(refuse(refusal::NOT_TEXT)),
    }
    if let Some(token) = sources.query.and_then(|query| query_parameter(query, "token")) {
        return filled(percent_decoded(token).ok_or_else(|| refuse(refusal::MALFORMED))?);
    }
    for value in sources.headers.get_all(AUTHORIZATION) {
        let bytes = value.as_bytes();
        let scheme = bytes.split(|byte| *byte == b' ').next().unwrap_or_default();
        if scheme.eq_ignore_ascii_case(b"bearer") {
            let value = value.to_str().map_err(|_| refuse(refusal::MALFORMED))?;
            return filled(Cow::Borrowed(value[scheme.len()..].trim()));
        }
        // Another scheme is meant for somebody else, such as a proxy. A token without a scheme is
        // not.
        if scheme.len() == bytes.len() && bytes.iter().filter(|byte| **byte == b'.').count() == 2 {
            return Err(refuse(refusal::SCHEME));
        }
    }
    Ok(None)
}

/// Who a connection belongs to, under the configured mode. Without keys, `optional` is `none`.
///
/// ```
/// use http::HeaderMap;
/// use switchboard::auth::{AuthMode, TokenSources, identify};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let headers = HeaderMap::new();
/// let without_token = TokenSources { connect_auth: None, query: None, headers: &headers };
/// assert!(identify(AuthMode::Optional, None, without_token).await?.is_anonymous());
/// assert!(identify(AuthMode::Required, None, without_token).await.is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// `unauthorized` if a token is missing that is required, or if there is one that is not valid;
/// `unavailable` (try again) if the keys to verify it cannot be fetched.
#[cfg(feature = "jwt")]
pub async fn identify(
    mode: AuthMode,
    jwt: Option<&Jwt>,
    sources: TokenSources<'_>,
) -> Result<Identity, Fault> {
    let jwt = match (mode, jwt) {
        (AuthMode::None, _) | (AuthMode::Optional, None) => return Ok(Identity::anonymous()),
        (_, jwt) => jwt,
    };
    match (find_token(&sources)?, jwt) {
        (Some(token), Some(jwt)) => jwt.verify(&token).await,
        (Some(_), None) => Err(refuse(refusal::UNKNOWN_KEY)),
        (None, _) if mode == AuthMode::Required => Err(refuse(refusal::REQUIRED)),
        (None, _) => Ok(Identity::anonymous()),
    }
}

fn filled(token: Cow<'_, str>) -> Result<Option<Cow<'_, str>>, Fault> {
    if token.is_empty() { Err(refuse(refusal::EMPTY)) } else { Ok(Some(token)) }
}

fn query_parameter<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query.split('&').find_map(|pair| match pair.split_once('=') {
        Some((key, value)) => (key == name).then_some(value),
        None => (pair == name).then_some(""),
    })
}

/// `None` if it is not valid, or not UTF-8 inside.
fn percent_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('%') {
        return Some(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(
        auth: Option<&Value>,
        query: Option<&str>,
        header: Option<&str>,
    ) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert(AUTHORIZATION, value.parse().unwrap());
        }
        find_token(&TokenSources { connect_auth: auth, query, headers: &headers })
            .map(|token| token.map(Cow::into_owned))
            .map_err(|fault| fault.to_string())
    }

    #[test]
    fn the_payload_comes_before_the_query_before_the_header() {
        let auth = json!({"token": "a"});
        let some = |token: &str| Ok(Some(token.to_owned()));
        assert_eq!(found(Some(&auth), Some("token=b"), Some("Bearer c")), some("a"));
        assert_eq!(found(Some(&json!({})), Some("EIO=4&token=b"), Some("Bearer c")), some("b"));
        assert_eq!(found(None, Some("EIO=4&mytoken=b"), Some("bearer  c ")), some("c"));
        assert_eq!(found(None, None, None), Ok(None));
    }

    #[test]
    fn nothing_is_absent() {
        for auth in [json!({"token": null}), json!({}), json!(null), json!("token"), json!([1])] {
            assert_eq!(found(Some(&auth), None, None), Ok(None), "{auth}");
        }
    }

    #[test]
    fn what_is_there_but_no_token_is_refused() {
        for token in [json!(1), json!(true), json!(["a"]), json!({})] {
            let auth = json!({"token": token});
            let refusal = found(Some(&auth), None, Some("Bearer c")).unwrap_err();
            assert_eq!(refusal, "unauthorized: token must be a string");
        }
        let empty = "unauthorized: token is empty";
        assert_eq!(found(Some(&json!({"token": ""})), None, None).unwrap_err(), empty);
        for query in ["token=", "token", "a=b&token=&token=x"] {
            assert_eq!(found(None, Some(query), Some("Bearer c")).unwrap_err(), empty);
        }
        for header in ["Bearer", "Bearer ", "bearer   "] {
            assert_eq!(found(None, None, Some(header)).unwrap_err(), empty, "{header:?}");
        }
        let refusal = found(None, None, Some("eyJh.eyJz.c2ln")).unwrap_err();
        assert_eq!(refusal, "unauthorized: authorization must be a bearer token");
    }

    #[test]
    fn what_a_proxy_puts_there_is_not_ours() {
        for header in ["Basic YTpi", "Negotiate", "Basic", "", "Digest a.b.c"] {
            assert_eq!(found(None, None, Some(header)), Ok(None), "{header:?}");
        }
        let mut headers = HeaderMap::new();
        headers.append(AUTHORIZATION, "Basic YTpi".parse().unwrap());
        headers.append(AUTHORIZATION, "Bearer c".parse().unwrap());
        let sources = TokenSources { connect_auth: None, query: None, headers: &headers };
        assert_eq!(find_token(&sources).unwrap().as_deref(), Some("c"));
        let mut headers = HeaderMap::new();
        let unreadable = http::HeaderValue::from_bytes(b"Bearer \xff").unwrap();
        headers.insert(AUTHORIZATION, unreadable);
        let sources = TokenSources { connect_auth: None, query: None, headers: &headers };
        assert!(find_token(&sources).is_err());
    }

    #[test]
    fn a_token_in_the_query_is_percent_decoded() {
        assert_eq!(found(None, Some("token=a%2Eb%2ec"), None), Ok(Some("a.b.c".into())));
        for query in ["token=%", "token=%2", "token=%zz", "token=%+1", "token=%ff"] {
            assert_eq!(
                found(None, Some(query), None).unwrap_err(),
                "unauthorized: token is malformed"
            );
        }
    }
}
