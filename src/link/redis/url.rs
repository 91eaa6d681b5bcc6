//! The parts of `redis.url`, before they mean anything. No error repeats the text.

use super::target_error::TargetError;

/// One `scheme://…`, with one host or several.
#[derive(PartialEq, Eq)]
pub(super) struct Url<'a> {
    pub(super) scheme: &'a str,
    pub(super) user: Option<String>,
    pub(super) password: Option<String>,
    /// Separated by commas; empty for a socket file.
    pub(super) hosts: &'a str,
    /// With its slash.
    pub(super) path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    /// Splits the text at each `scheme://`, and the pieces into their parts.
    pub(super) fn all(text: &'a str) -> Result<Vec<Self>, TargetError> {
        seeds(text).into_iter().map(Self::one).collect()
    }

    fn one(text: &'a str) -> Result<Self, TargetError> {
        // `unix:/path` has no `//`, all others have
        let (scheme, rest) = match text.split_once("://") {
            Some(parts) => parts,
            None => text.split_once(':').ok_or(TargetError::Scheme)?,
        };
        // the last `@`, as where it is masked: a password may hold one
        let (who, rest) = match rest.rsplit_once('@') {
            Some((who, rest)) => (Some(who), rest),
            None => (None, rest),
        };
        let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
            Some((user, password)) => (decoded(user)?, decoded(password)?),
            None => (None, None),
        };
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (hosts, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if rest.contains('#') || query.contains('#') {
            return Err(TargetError::Fragment);
        }
        Ok(Self { scheme, user, password, hosts, path, query })
    }

    /// The value of each of `known`; another key is an error.
    pub(super) fn query<const N: usize>(
        &self,
        known: [&str; N],
    ) -> Result<[Option<String>; N], TargetError> {
        let mut values = [const { None }; N];
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let at = known.iter().position(|name| *name == key).ok_or(TargetError::Query)?;
            values[at] = decoded(value)?;
        }
        Ok(values)
    }
}

/// `a://1,2,b://3` is `a://1,2` and `b://3`: a seed ends at the last comma before the next scheme.
fn seeds(text: &str) -> Vec<&str> {
    let mut seeds = Vec::new();
    let mut rest = text.trim();
    loop {
        let body = rest.find("://").map_or(0, |at| at + 3);
        let end = rest[body..].find("://").and_then(|next| rest[..body + next].rfind(','));
        let Some(end) = end.filter(|end| *end > body) else {
            seeds.push(rest);
            return seeds;
        };
        seeds.push(&rest[..end]);
        rest = rest[end + 1..].trim_start();
    }
}

/// Decodes `%41` to `A`. An empty text is `None`.
fn decoded(text: &str) -> Result<Option<String>, TargetError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(|hex| std::str::from_utf8(hex).ok())
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            // a lone `%` is itself: a password that was not encoded is more likely than a mistake
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| TargetError::NotText)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
