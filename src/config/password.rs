//! The configured password. Only its bcrypt hash is kept, whether it was given as plain text or
//! hash.

use std::str::FromStr;

use bcrypt::HashParts;
use sha2::{Digest, Sha256};

use crate::config::Secret;

/// The length that bcrypt reads, in bytes. It silently ignores the rest.
const LONGEST: usize = 72;

/// The cost of the hash of a plain password. It is paid once at the start and once for each login.
const OWN_COST: u32 = 10;

/// The highest accepted cost. A higher one keeps a node busy for seconds at each attempt.
const HIGHEST_COST: u32 = 15;

/// Why a configured password cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Unusable {
    #[error(
        "looks like a bcrypt hash but is none (is it whole? shells replace what follows a `$`)"
    )]
    BrokenHash,
    #[error("is a bcrypt hash of cost {0}, and the highest taken is {HIGHEST_COST}")]
    TooCostly(u32),
    #[error("looks like a line of a password file: write what follows the name and its colon")]
    WholeLine,
    #[error("is a hash of a kind that is not taken: `htpasswd -nB NAME` makes one that is")]
    OtherHash,
    #[error("is longer than {LONGEST} bytes, of which bcrypt ignores the rest")]
    TooLong,
}

/// The two ways to write a password.
enum Written<'a> {
    Plain(&'a str),
    Hash(&'a str),
}

impl<'a> Written<'a> {
    fn read(password: &'a Secret) -> Result<Self, Unusable> {
        let text = password.expose();
        let is_bcrypt =
            |text: &str| ["$2a$", "$2b$", "$2y$"].iter().any(|kind| text.starts_with(kind));
        // Other hashes that `htpasswd` and `mkpasswd` make.
        let is_other = |text: &str| {
            let kinds = ["$apr1$", "$1$", "$5$", "$6$", "$y$", "$argon2", "{SHA}"];
            kinds.iter().any(|kind| text.starts_with(kind))
        };
        let after_name = text.split_once(':').map(|(_, hash)| hash);
        if after_name.is_some_and(|hash| is_bcrypt(hash) || is_other(hash)) {
            return Err(Unusable::WholeLine);
        }
        if is_other(text) {
            return Err(Unusable::OtherHash);
        }
        if !is_bcrypt(text) {
            return if text.len() > LONGEST {
                Err(Unusable::TooLong)
            } else {
                Ok(Self::Plain(text))
            };
        }
        match HashParts::from_str(text).map(|parts| parts.get_cost()) {
            Ok(4..=HIGHEST_COST) => Ok(Self::Hash(text)),
            Ok(cost) if cost > HIGHEST_COST => Err(Unusable::TooCostly(cost)),
            _ => Err(Unusable::BrokenHash),
        }
    }
}

/// Whether a password can be used, without the work of hashing it.
pub(crate) fn check(password: &Secret) -> Result<(), Unusable> {
    Written::read(password).map(|_| ())
}

/// The hash that attempts are compared with. The same on every node with the same configuration.
#[derive(Clone)]
pub(crate) struct Password(Box<str>);

impl Password {
    /// Hashes a plain password, which takes some 50 ms.
    pub(crate) fn new(username: &str, password: &Secret) -> Result<Self, Unusable> {
        let hash = match Written::read(password)? {
            Written::Hash(hash) => hash.to_owned(),
            Written::Plain(plain) => {
                let mut digest = Sha256::new();
                digest.update(b"switchboard admin ui salt\0");
                digest.update(username);
                let mut salt = [0; 16];
                salt.copy_from_slice(&digest.finalize()[..16]);
                // Only a cost out of range is refused, and ours is in range.
                let parts = bcrypt::hash_with_salt(plain, OWN_COST, salt);
                parts.map_err(|_| Unusable::BrokenHash)?.to_string()
            }
        };
        Ok(Self(hash.into()))
    }

    /// Whether this is the password. Takes as long as the cost says, so not for a thread that
    /// serves.
    pub(crate) fn is(&self, attempt: &str) -> bool {
        bcrypt::verify(attempt, &self.0).unwrap_or(false)
    }

    /// The hash. Only somebody who knows the configuration, or guesses the password, can know it.
    pub(crate) fn hash(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `secret`: by bcryptjs 2.4.3, and twice by crypt(3) of glibc.
    const HASHES: [&str; 3] = [
        "$2a$10$DGtC9o3LExjjpIR79j/bluiyPEaDM6uXXBlWS/SI0nmq0mU8UjQxG",
        "$2b$04$qinhysOrWgqO2nYx5jnvJOboDVD8uJMWRz4S1uUDOCGgRkzX/4Sua",
        "$2y$10$abcdefghijklmnopqrstuuqflPDzB6gcMhKa1rZqKiun2YGL5sa2u",
    ];

    fn password(text: &str) -> Result<Password, Unusable> {
        Password::new("admin", &Secret::new(text))
    }

    #[test]
    fn plain_passwords_and_hashes_of_all_three_names_are_taken() {
        for written in HASHES.iter().copied().chain(["secret"]) {
            let password = password(written).unwrap_or_else(|error| panic!("{written} {error}"));
            assert!(password.is("secret"), "{written}");
            for wrong in ["Secret", "secret ", ""] {
                assert!(!password.is(wrong), "{written}: {wrong}");
            }
        }
        let hash = password(HASHES[0]).expect("a hash");
        assert!(!hash.is(HASHES[0]), "the hash is not the password");
    }

    #[test]
    fn every_node_makes_the_same_hash_of_a_plain_password() {
        let hash = |user: &str, plain| {
            Password::new(user, &Secret::new(plain)).expect("a password").hash().to_owned()
        };
        assert_eq!(hash("admin", "secret"), hash("admin", "secret"));
        assert_ne!(hash("admin", "secret"), hash("other", "secret"));
        assert_ne!(hash("admin", "secret"), hash("admin", "secreT"));
        assert!(!hash("admin", "secret").contains("secret"));
    }

    #[test]
    fn what_is_no_password_is_refused() {
        let refused = |text: &str| check(&Secret::new(text)).err();
        assert_eq!(refused("$2b$10$tooshort"), Some(Unusable::BrokenHash));
        assert_eq!(refused(&HASHES[0].replace("$10$", "$16$")), Some(Unusable::TooCostly(16)));
        assert_eq!(refused(&HASHES[0].replace("$10$", "$03$")), Some(Unusable::BrokenHash));
        assert_eq!(refused(&"x".repeat(73)), Some(Unusable::TooLong));
        assert_eq!(refused(&"x".repeat(72)), None);
        assert_eq!(refused("$2 is what I paid"), None);
        assert_eq!(refused(&format!("ops:{}", HASHES[2])), Some(Unusable::WholeLine));
        assert_eq!(refused("ops:$apr1$7LPTqYVf$1dK8"), Some(Unusable::WholeLine));
        assert_eq!(refused("$apr1$7LPTqYVf$1dK8"), Some(Unusable::OtherHash));
        assert_eq!(refused("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="), Some(Unusable::OtherHash));
        assert_eq!(refused("a colon: in the middle"), None);
    }
}
