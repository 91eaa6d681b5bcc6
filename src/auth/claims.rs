//! The rules for a token's claims, and the identity that the claims make. No keys, no clock: the
//! signature was verified before, and the time is an argument.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::{
    identity::Identity,
    refusal::{self, refuse},
};
use crate::{config, fault::Fault, names::rooms::RoomPattern};

/// Longest user id, in bytes.
const MAX_USER_ID: usize = 255;

/// The rules that claims are held to.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) audience: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) leeway: Duration,
    pub(super) user_claim: String,
}

impl Default for Rules {
    fn default() -> Self {
        let leeway = Duration::from_secs(10);
        Self { audience: None, issuer: None, leeway, user_claim: "sub".into() }
    }
}

impl Rules {
    pub(super) fn from_config(auth: &config::Auth) -> Self {
        Self {
            audience: auth.audience.clone(),
            issuer: auth.issuer.clone(),
            leeway: auth.leeway,
            user_claim: auth.user_claim.clone(),
        }
    }

    pub(super) fn identity(
        &self,
        claims: Map<String, Value>,
        now: SystemTime,
    ) -> Result<Identity, Fault> {
        let expires_at = time(&claims, "exp")?;
        if expires_at.is_some_and(|exp| now >= exp.checked_add(self.leeway).unwrap_or(exp)) {
            return Err(refuse(refusal::EXPIRED));
        }
        let not_before = time(&claims, "nbf")?;
        if not_before.is_some_and(|nbf| nbf > now.checked_add(self.leeway).unwrap_or(now)) {
            return Err(refuse(refusal::NOT_YET_VALID));
        }
        if !self.issuer.as_deref().is_none_or(|issuer| is(claims.get("iss"), issuer)) {
            return Err(refuse(refusal::ISSUER));
        }
        if !self.audience.as_deref().is_none_or(|audience| includes(claims.get("aud"), audience)) {
            return Err(refuse(refusal::AUDIENCE));
        }
        Ok(Identity {
            user: Some(user_id(claims.get(&self.user_claim))?.into()),
            rooms: rooms(claims.get("rooms"))?,
            may_join: may_join(claims.get("may_join"))?,
            expires_at,
            claims,
        })
    }
}

/// A time as RFC 7519 writes it: seconds since 1970, possibly with a fraction.
fn time(claims: &Map<String, Value>, claim: &str) -> Result<Option<SystemTime>, Fault> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let since_1970 = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => Some(Duration::from_secs(seconds)),
        (None, Some(seconds)) => Duration::try_from_secs_f64(seconds.max(0.0)).ok(),
        (None, None) => None,
    };
    since_1970
        .and_then(|d| SystemTime::UNIX_EPOCH.checked_add(d))
        .map(Some)
        .ok_or_else(|| refuse(refusal::MALFORMED))
}

fn is(claim: Option<&Value>, expected: &str) -> bool {
    claim.and_then(Value::as_str) == Some(expected)
}

/// `aud` is one audience or a list of them.
fn includes(claim: Option<&Value>, expected: &str) -> bool {
    match claim {
        Some(Value::Array(list)) => list.iter().any(|one| is(Some(one), expected)),
        one => is(one, expected),
    }
}

fn user_id(claim: Option<&Value>) -> Result<&str, Fault> {
    match claim {
        None | Some(Value::Null) => Err(refuse(refusal::NO_USER)),
        Some(Value::String(id)) if id.is_empty() => Err(refuse(refusal::NO_USER)),
        Some(Value::String(id)) if id.len() <= MAX_USER_ID && !id.contains(char::is_control) => {
            Ok(id)
        }
        Some(Value::String(_)) => Err(refuse(refusal::USER_FORM)),
        Some(_) => Err(refuse(refusal::USER_TYPE)),
    }
}

fn rooms(claim: Option<&Value>) -> Result<Vec<String>, Fault> {
    let name = |value: &Value| value.as_str().filter(|name| !name.is_empty()).map(str::to_owned);
    list(claim, name).ok_or_else(|| refuse(refusal::ROOMS))
}

fn may_join(claim: Option<&Value>) -> Result<Vec<RoomPattern>, Fault> {
    let pattern = |value: &Value| RoomPattern::parse(value.as_str()?).ok();
    list(claim, pattern).ok_or_else(|| refuse(refusal::MAY_JOIN))
}

/// A list in which `read` understands every item. Empty if the claim is missing.
fn list<T>(claim: Option<&Value>, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match claim {
        None => Some(Vec::new()),
        Some(claim) => claim.as_array()?.iter().map(read).collect(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn judge(rules: &Rules, claims: Value) -> Result<Identity, Fault> {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        rules.identity(claims, now())
    }

    fn accepted(claims: Value) -> Identity {
        judge(&Rules::default(), claims).unwrap()
    }

    fn refused(claims: Value) -> String {
        judge(&Rules::default(), claims).unwrap_err().message().to_owned()
    }

    #[test]
    fn the_claims_make_the_identity() {
        let identity = accepted(json!({
            "sub": "alice", "exp": NOW + 60, "rooms": ["staff"], "may_join": ["team:*"], "plan": "pro",
        }));
        assert_eq!(identity.user_id().map(|id| &**id), Some("alice"));
        assert_eq!(identity.rooms(), ["staff"]);
        assert!(identity.may_join()[0].matches("team:1"));
        assert_eq!(identity.expires_at(), Some(now() + Duration::from_secs(60)));
        assert_eq!(identity.claims()["plan"], "pro");
    }

    #[test]
    fn a_token_ends_at_exp_and_the_leeway() {
        assert_eq!(accepted(json!({"sub": "a"})).expires_at(), None);
        accepted(json!({"sub": "a", "exp": NOW - 9}));
        assert_eq!(refused(json!({"sub": "a", "exp": NOW - 10})), "token expired");
        accepted(json!({"sub": "a", "exp": NOW as f64 - 9.5}));
        assert_eq!(refused(json!({"sub": "a", "exp": -1})), "token expired");
        for exp in [json!("1800000000"), json!(null), json!(1e300), json!(u64::MAX)] {
            assert_eq!(refused(json!({"sub": "a", "exp": exp})), "token is malformed", "{exp}");
        }
    }

    #[test]
    fn a_token_begins_at_nbf_less_the_leeway() {
        accepted(json!({"sub": "a", "nbf": NOW + 10}));
        assert_eq!(refused(json!({"sub": "a", "nbf": NOW + 11})), "token not yet valid");
        assert_eq!(refused(json!({"sub": "a", "nbf": "soon"})), "token is malformed");
    }

    #[test]
    fn issuer_and_audience_must_fit_where_they_are_configured() {
        let rules = Rules {
            issuer: Some("https://id.example".into()),
            audience: Some("chat".into()),
            ..Rules::default()
        };
        let with = |iss: Value, aud: Value| {
            judge(&rules, json!({"sub": "a", "iss": iss, "aud": aud})).map_err(|f| f.to_string())
        };
        let good = || json!("https://id.example");
        assert!(with(good(), json!("chat")).is_ok());
        assert!(with(good(), json!(["shop", "chat"])).is_ok());
        for aud in [json!("shop"), json!(["shop"]), json!([]), json!(null), json!([["chat"]])] {
            let refusal = with(good(), aud).unwrap_err();
            assert_eq!(refusal, "unauthorized: token has the wrong audience");
        }
        for iss in [json!("https://id.example/"), json!(null), json!(["https://id.example"])] {
            let refusal = with(iss, json!("chat")).unwrap_err();
            assert_eq!(refusal, "unauthorized: token has the wrong issuer");
        }
        accepted(json!({"sub": "a", "iss": "anyone", "aud": "anything"}));
    }

    #[test]
    fn a_user_id_is_a_short_text_without_control_characters() {
        accepted(json!({"sub": "x".repeat(255)}));
        for claims in [json!({}), json!({"sub": ""}), json!({"sub": null})] {
            assert_eq!(refused(claims), "token has no user id");
        }
        for id in [json!(42), json!(["a"]), json!(true)] {
            assert_eq!(refused(json!({"sub": id})), "token user id must be a string");
        }
        for id in ["x".repeat(256), "a\nb".into(), "a\u{0}".into(), "a\u{85}".into()] {
            assert_eq!(refused(json!({"sub": id})), "token user id is not valid");
        }
    }

    #[test]
    fn the_user_may_stand_in_another_claim() {
        let rules = Rules { user_claim: "uid".into(), ..Rules::default() };
        let identity = judge(&rules, json!({"sub": "x", "uid": "alice"})).unwrap();
        assert_eq!(identity.user_id().map(|id| &**id), Some("alice"));
        assert!(judge(&rules, json!({"sub": "x"})).is_err());
    }

    #[test]
    fn rooms_and_patterns_of_the_wrong_type_refuse_the_token() {
        for rooms in [json!("staff"), json!([1]), json!([""]), json!(null), json!({})] {
            let refusal = refused(json!({"sub": "a", "rooms": rooms}));
            assert_eq!(refusal, "token rooms must be a list of names");
        }
        for patterns in [json!("team:*"), json!([1]), json!([""]), json!(["a*b"])] {
            let refusal = refused(json!({"sub": "a", "may_join": patterns}));
            assert_eq!(refusal, "token may_join must be a list of patterns");
        }
    }
}
