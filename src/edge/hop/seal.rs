//! The seal of a hop: it proves that a request comes from a node with the cluster's secrets, and that
//! an answer comes from the node that was asked.
//!
//! A seal is the header [`HEADER`]. In a request it is `1.<ms>.<nonce>.<digest>.<tag>`: the time of
//! sending, something new, the SHA-256 of the body (`-` if the body is not sealed), and an HMAC-SHA256
//! of these and of the request. In an answer it is `1.<digest>.<tag>`, with an HMAC of the request's
//! tag, the status and the digest. Binary parts are base64url.

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue, StatusCode};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::millis::since_epoch;

/// The header that holds a seal.
pub(in crate::edge) const HEADER: HeaderName = HeaderName::from_static("x-switchboard-hop");

/// How far the clocks of two nodes may be apart, the way of the request included.
const CLOCKS: Duration = Duration::from_secs(60);

/// Longest seal, in bytes. A correct one has 131.
const LONGEST: usize = 256;

// They keep apart what the same secrets sign for other purposes.
const OF_REQUEST: &[u8] = b"switchboard hop request\0";
const OF_ANSWER: &[u8] = b"switchboard hop answer\0";
const OF_STAMP: &[u8] = b"switchboard stamp\0";

/// Bytes of a stamp.
const STAMP: usize = 12;

/// A body that is not sealed.
const NO_DIGEST: &str = "-";

/// The sealed parts of a request.
#[derive(Clone, Copy)]
pub(super) struct Sealed<'a> {
    /// The name of the node that is asked.
    pub(super) node: &'a str,
    pub(super) method: &'a str,
    /// Path and query.
    pub(super) target: &'a str,
    /// The address of the client, as the request names it. Empty without a client.
    pub(super) client: &'a str,
}

/// The proof of a request, with which its answer is sealed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    tag: Vec<u8>,
    /// Which of the keys it was.
    key: usize,
    /// What the body has to be.
    digest: String,
}

/// The keys of a cluster.
pub(super) struct Seals {
    keys: Vec<Hmac<Sha256>>,
}

impl Seals {
    /// The first of the secrets seals, all verify.
    pub(super) fn new(secrets: &[Vec<u8>]) -> Self {
        let key = |secret: &Vec<u8>| {
            Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
        };
        Self { keys: secrets.iter().map(key).collect() }
    }

    /// Seals a request. `None` without secrets.
    pub(super) fn seal(
        &self,
        sealed: Sealed<'_>,
        body: Option<&[u8]>,
        now: SystemTime,
    ) -> Option<(HeaderValue, Proof)> {
        let time = since_epoch(now).to_string();
        let nonce = BASE64.encode(rand::random::<[u8; 12]>());
        let digest = digest_of(body);
        let tag = request_tag(self.keys.first()?, sealed, [&time, &nonce, &digest]);
        let header = format!("1.{time}.{nonce}.{digest}.{}", BASE64.encode(&tag));
        Some((header.parse().ok()?, Proof { tag, key: 0, digest }))
    }

    /// Verifies the seal of a request. `None`: no node of this cluster has made it for this request
    /// just now.
    pub(super) fn verify(
        &self,
        sealed: Sealed<'_>,
        seal: &HeaderValue,
        now: SystemTime,
    ) -> Option<Proof> {
        let seal = seal.to_str().ok().filter(|seal| seal.len() <= LONGEST)?;
        let mut parts = seal.split('.');
        let mut next = || parts.next();
        let ("1", time, nonce, digest, given) = (next()?, next()?, next()?, next()?, next()?)
        else {
            return None;
        };
        if parts.next().is_some() {
            return None;
        }
        let given = BASE64.decode(given).ok()?;
        let tags = self.keys.iter().map(|key| request_tag(key, sealed, [time, nonce, digest]));
        let (tag, key) = fitting(tags, &given)?;
        let sent: u64 = time.parse().ok()?;
        let apart = since_epoch(now).abs_diff(sent);
        (u128::from(apart) <= CLOCKS.as_millis()).then(|| Proof {
            tag,
            key,
            digest: digest.to_owned(),
        })
    }

    /// A stamp on a text that this cluster makes for its clients.
    pub(super) fn stamp(&self, text: &str) -> Option<String> {
        Some(stamp_of(self.keys.first()?, text))
    }

    /// Whether a node of this cluster has made this stamp.
    pub(super) fn has_stamped(&self, text: &str, given: &str) -> bool {
        let is_it = |key| stamp_of(key, text).as_bytes().ct_eq(given.as_bytes()).into();
        self.keys.iter().any(is_it)
    }

    /// Seals the answer to a verified request.
    pub(super) fn seal_answer(
        &self,
        proof: &Proof,
        status: StatusCode,
        body: Option<&[u8]>,
    ) -> Option<HeaderValue> {
        let digest = digest_of(body);
        let tag = answer_tag(self.keys.get(proof.key)?, proof, status, &digest);
        format!("1.{digest}.{}", BASE64.encode(tag)).parse().ok()
    }

    /// Verifies the seal of an answer. `body`: what it has to be sealed with.
    pub(super) fn verify_answer(
        &self,
        proof: &Proof,
        status: StatusCode,
        body: Option<&[u8]>,
        seal: Option<&HeaderValue>,
    ) -> bool {
        let read = || {
            let seal = seal?.to_str().ok().filter(|seal| seal.len() <= LONGEST)?;
            let (digest, given) = seal.strip_prefix("1.")?.split_once('.')?;
            let given = BASE64.decode(given).ok()?;
            let tags = self.keys.iter().map(|key| answer_tag(key, proof, status, digest));
            fitting(tags, &given)?;
            Some(digest == digest_of(body))
        };
        read().unwrap_or(false)
    }
}

impl Proof {
    /// Whether this body was sealed with the request.
    pub(super) fn covers(&self, body: &[u8]) -> bool {
        self.digest == digest_of(Some(body))
    }
}

/// The tag that was given, and its number. Every key is tried, so that the time tells nothing.
fn fitting(tags: impl Iterator<Item = Vec<u8>>, given: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut found = None;
    for (at, tag) in tags.enumerate() {
        if bool::from(tag.ct_eq(given)) {
            found = Some((tag, at));
        }
    }
    found
}

fn stamp_of(key: &Hmac<Sha256>, text: &str) -> String {
    BASE64.encode(&tag(key, OF_STAMP, &[text.as_bytes()])[..STAMP])
}

fn request_tag(key: &Hmac<Sha256>, sealed: Sealed<'_>, rest: [&str; 3]) -> Vec<u8> {
    let Sealed { node, method, target, client } = sealed;
    let [time, nonce, digest] = rest;
    let parts = [node, method, target, client, time, nonce, digest].map(str::as_bytes);
    tag(key, OF_REQUEST, &parts)
}

fn answer_tag(key: &Hmac<Sha256>, proof: &Proof, status: StatusCode, digest: &str) -> Vec<u8> {
    tag(key, OF_ANSWER, &[&proof.tag, status.as_str().as_bytes(), digest.as_bytes()])
}

/// Each part with its length, so that no two lists of parts are the same text.
fn tag(key: &Hmac<Sha256>, purpose: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = key.clone();
    mac.update(purpose);
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn digest_of(body: Option<&[u8]>) -> String {
    body.map_or_else(|| NO_DIGEST.to_owned(), |body| BASE64.encode(Sha256::digest(body)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seals(secrets: &[&str]) -> Seals {
        Seals::new(&secrets.iter().map(|secret| secret.as_bytes().to_vec()).collect::<Vec<_>>())
    }

    const REQUEST: Sealed<'static> = Sealed {
        node: "n2",
        method: "GET",
        target: "/socket.io/?EIO=4&transport=polling&sid=n2.x",
        client: "203.0.113.7",
    };

    fn sealed(seals: &Seals, body: Option<&[u8]>) -> (HeaderValue, Proof) {
        seals.seal(REQUEST, body, SystemTime::now()).expect("there is a secret")
    }

    #[test]
    fn a_request_proves_itself_to_a_node_with_the_secret() {
        let (seal, sent) = sealed(&seals(&["secret"]), Some(b"body"));
        let proof = seals(&["new", "secret"])
            .verify(REQUEST, &seal, SystemTime::now())
            .expect("while secrets rotate, too");
        assert_eq!((&proof.tag, proof.key), (&sent.tag, 1));
        assert!(proof.covers(b"body"));
        assert!(!proof.covers(b"other") && !proof.covers(b""));
        assert_eq!(seals(&["other"]).verify(REQUEST, &seal, SystemTime::now()), None);
        assert_eq!(seals(&[]).verify(REQUEST, &seal, SystemTime::now()), None);
        assert!(seals(&[]).seal(REQUEST, None, SystemTime::now()).is_none());
    }

    #[test]
    fn a_seal_is_for_one_request() {
        let seals = seals(&["secret"]);
        let (seal, _) = sealed(&seals, None);
        for changed in [
            Sealed { node: "n1", ..REQUEST },
            Sealed { method: "POST", ..REQUEST },
            Sealed { target: "/socket.io/?EIO=4&transport=polling&sid=n2.y", ..REQUEST },
            Sealed { client: "203.0.113.8", ..REQUEST },
            Sealed { node: "n2G", method: "ET", ..REQUEST },
        ] {
            assert_eq!(seals.verify(changed, &seal, SystemTime::now()), None);
        }
    }

    #[test]
    fn a_seal_ages() {
        let seals = seals(&["secret"]);
        let (seal, _) = sealed(&seals, None);
        let at = |seconds: i64| match seconds {
            0.. => SystemTime::now() + Duration::from_secs(seconds.unsigned_abs()),
            _ => SystemTime::now() - Duration::from_secs(seconds.unsigned_abs()),
        };
        for (seconds, is_good) in [(-62, false), (-50, true), (50, true), (62, false)] {
            let verified = seals.verify(REQUEST, &seal, at(seconds)).is_some();
            assert_eq!(verified, is_good, "{seconds} s");
        }
    }

    #[test]
    fn an_answer_proves_that_the_asked_node_gave_it() {
        let (ours, theirs) = (seals(&["secret"]), seals(&["new", "secret"]));
        let (seal, sent) = sealed(&ours, None);
        let proof = theirs.verify(REQUEST, &seal, SystemTime::now()).expect("it is good");
        let ok = StatusCode::OK;
        let answer = theirs.seal_answer(&proof, ok, Some(b"answer")).expect("a header");
        assert!(ours.verify_answer(&sent, ok, Some(b"answer"), Some(&answer)));
        assert!(!ours.verify_answer(&sent, ok, Some(b"other"), Some(&answer)));
        assert!(!ours.verify_answer(&sent, ok, None, Some(&answer)));
        assert!(!ours.verify_answer(&sent, StatusCode::CREATED, Some(b"answer"), Some(&answer)));
        assert!(!ours.verify_answer(&sent, ok, Some(b"answer"), Some(&seal)));
        assert!(!ours.verify_answer(&sent, ok, Some(b"answer"), None));
        let (_, another) = sealed(&ours, None);
        assert!(!ours.verify_answer(&another, ok, Some(b"answer"), Some(&answer)));
    }

    proptest! {
        #[test]
        fn one_changed_character_makes_it_forged(at in 0..81usize, to in "[A-Za-z0-9_.-]") {
            let seals = seals(&["secret"]);
            let (seal, _) = sealed(&seals, None);
            let seal = seal.to_str().expect("text");
            prop_assume!(at < seal.len());
            let forged = format!("{}{to}{}", &seal[..at], &seal[at + 1..]);
            prop_assume!(forged != seal);
            let forged = forged.parse().expect("a value");
            prop_assert_eq!(seals.verify(REQUEST, &forged, SystemTime::now()), None);
        }

        #[test]
        fn anything_else_is_refused_and_harmless(seal in "[ -~]{0,300}") {
            let seal = seal.parse().expect("a value");
            let seals = seals(&["secret"]);
            prop_assert_eq!(seals.verify(REQUEST, &seal, SystemTime::now()), None);
            let (_, sent) = sealed(&seals, None);
            prop_assert!(!seals.verify_answer(&sent, StatusCode::OK, None, Some(&seal)));
        }
    }
}
