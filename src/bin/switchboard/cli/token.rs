//! `switchboard token`: a signed token, for tests and scripts, and what a token is worth.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use switchboard::{
    Authenticate, Jwt,
    auth::sign_hs256,
    config::{Auth, AuthMode, Secret, load, parse_duration},
};

use super::{Answer, Environment, args::TokenArgs, load_with_keys, refuse_config};

/// Claims that other flags or settings set.
const TAKEN: [&str; 6] = ["sub", "iat", "exp", "iss", "aud", "rooms"];

pub(super) fn run(args: &TokenArgs, env: Environment) -> Result<Answer, Answer> {
    let loaded = load(&args.sources(env)).map_err(|errors| refuse_config(&errors))?;
    let auth = &loaded.config.auth;
    let secret = auth.hs256_secret.first().ok_or_else(|| {
        Answer::refusal(
            "auth.hs256_secret: not set, so there is nothing to sign with (or use --dev)",
        )
    })?;
    let claims = claims(args, auth, SystemTime::now()).map_err(Answer::refusal)?;
    let token = sign_hs256(&claims, secret.expose().as_bytes());
    // A token that the server would refuse is worse than none.
    Jwt::check_claims(auth, claims).map_err(|fault| Answer::refusal(fault.message()))?;
    Ok(Answer::data(format!("{token}\n")))
}

/// A token, and the settings by which it is judged.
#[derive(Debug)]
pub(crate) struct Check {
    auth: Auth,
    token: String,
}

pub(super) fn to_check(args: &TokenArgs, env: Environment) -> Result<Check, Answer> {
    let loaded = load_with_keys(&args.sources(env))?;
    let auth = loaded.config.auth;
    if auth.effective_mode() == AuthMode::None {
        return Err(Answer::refusal(
            "auth: no key is set, or auth.mode is \"none\", so tokens are not looked at here (or use --dev)",
        ));
    }
    let token = match args.check.as_deref() {
        Some("-") => std::io::read_to_string(std::io::stdin())
            .map_err(|error| Answer::refusal(format!("cannot read standard input: {error}")))?,
        token => token.unwrap_or_default().to_owned(),
    };
    Ok(Check { auth, token })
}

/// What a server with these settings makes of the token: as data what it allows, for people whether
/// it is taken, and why not. Says nothing of the keys, and not the token itself.
pub(crate) async fn check(check: &Check) -> Answer {
    let Check { auth, token } = check;
    let verified = match Authenticate::from_config(auth) {
        Ok(authenticate) => authenticate.verify(token.trim()).await,
        Err(error) => return Answer::refusal(error),
    };
    let identity = match verified {
        Ok(identity) => identity,
        Err(fault) => return Answer::failure(format!("refused: {fault}")),
    };
    let expires = identity.expires_at().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let data = json!({
        "user": identity.user_id().map(|user| &**user),
        "rooms": identity.rooms(),
        "may_join": identity.may_join(),
        "expires_at": expires.map(|expires| expires.as_secs()),
    });
    let left = identity.expires_at().map(|at| at.duration_since(SystemTime::now()));
    let until = match left {
        None => "it does not expire".to_owned(),
        Some(Ok(left)) => format!("it expires in {}s", left.as_secs()),
        // Within the leeway.
        Some(Err(_)) => "it has expired just now, within auth.leeway".to_owned(),
    };
    let (data, messages) = (format!("{data:#}\n"), format!("accepted: {until}\n"));
    Answer { data, messages, ..Answer::default() }
}

fn claims(args: &TokenArgs, auth: &Auth, now: SystemTime) -> Result<Map<String, Value>, String> {
    let ttl = parse_duration(&args.ttl).map_err(|error| format!("--ttl: {error}"))?;
    if ttl.as_secs() == 0 {
        return Err("--ttl: must be at least 1s".into());
    }
    // clap ensures that there is one.
    let user = args.user.as_deref().unwrap_or_default();
    let mut claims = usual_claims(auth, user, now, ttl);
    for claim in &args.claims {
        let (key, value) = further_claim(claim, &auth.user_claim)?;
        if claims.insert(key.to_owned(), value).is_some() {
            return Err(format!("--claim: `{key}` is given twice"));
        }
    }
    if !args.rooms.is_empty() {
        claims.insert("rooms".into(), json!(args.rooms));
    }
    Ok(claims)
}

/// A token for `user`, signed with `secret`, that a server with these settings takes.
pub(crate) fn for_user(auth: &Auth, secret: &Secret, user: &str, ttl: Duration) -> String {
    let claims = usual_claims(auth, user, SystemTime::now(), ttl);
    sign_hs256(&claims, secret.expose().as_bytes())
}

/// The claims of every token: its user, its lifetime, and the claims that the settings demand.
fn usual_claims(auth: &Auth, user: &str, now: SystemTime, ttl: Duration) -> Map<String, Value> {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut claims = Map::new();
    claims.insert(auth.user_claim.clone(), user.into());
    claims.insert("iat".into(), now.into());
    claims.insert("exp".into(), (now + ttl.as_secs()).into());
    for (claim, value) in [("iss", &auth.issuer), ("aud", &auth.audience)] {
        if let Some(value) = value {
            claims.insert(claim.into(), value.as_str().into());
        }
    }
    claims
}

fn further_claim<'a>(claim: &'a str, user_claim: &str) -> Result<(&'a str, Value), String> {
    let (key, json) = claim
        .split_once('=')
        .filter(|(key, _)| !key.is_empty())
        .ok_or_else(|| format!("--claim: `{claim}` is not of the form key=json"))?;
    if TAKEN.contains(&key) || key == user_claim {
        return Err(format!(
            "--claim: `{key}` is decided by --user, --ttl, --rooms or the settings"
        ));
    }
    let value = serde_json::from_str(json).map_err(|error| {
        format!("--claim: the value of `{key}` is not JSON ({error}); a text needs quotes: '{key}=\"text\"'")
    })?;
    Ok((key, value))
}
