//! What went wrong, in words that hold neither the password nor contents.

use std::error::Error as _;

use deadpool_postgres::PoolError;
use tokio_postgres::{Error, error::SqlState};

use crate::{pem::TlsError, store::StoreError};

/// Why a URL cannot be used. It is not quoted: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TargetError {
    #[error(
        "is no URL of Postgres: postgres://user:password@host:5432/database, where special characters \
         are written as %40 and so on"
    )]
    NoUrl,
    #[error(
        "an @ or a ? in the user, the password or a parameter must be written as %40 or %3F, or it is \
         not clear where the host begins"
    )]
    Ambiguous,
    #[error("has an unknown parameter or one with a wrong value: {0}")]
    Parameter(String),
    #[error("names no host")]
    NoHost,
    #[error("the password belongs before the @, where it is hidden from logs")]
    Password,
    #[error("sslmode: must be disable, prefer, require or verify-full, not `{0}`")]
    SslMode(String),
    #[error("sslrootcert: needs sslmode=verify-full")]
    RootCertificate,
    #[error("sslrootcert: {0}")]
    Tls(#[from] TlsError),
    #[error("sslmode=verify-full: {0}")]
    Roots(String),
    #[error("cannot make a pool of connections")]
    Pool,
}

/// Whether the same statement may well succeed at once: another transaction was in its way.
pub(super) fn is_passing(error: &Error) -> bool {
    let passing = [&SqlState::T_R_SERIALIZATION_FAILURE, &SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| passing.contains(&code))
}

/// Whether the server takes no writes, as a standby does.
pub(super) fn is_of_a_standby(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

pub(crate) fn store_error(error: &Error) -> StoreError {
    let why = in_words(error);
    // Whatever comes without a code is about the connection.
    match error.code().is_none_or(passes_by_itself) {
        true => StoreError::Unavailable(why),
        false => StoreError::Refused(why),
    }
}

pub(super) fn pool_error(error: &PoolError) -> StoreError {
    StoreError::Unavailable(match error {
        // Whatever it is, there is no connection.
        PoolError::Backend(error) => in_words(error),
        _ => "no connection is free".into(),
    })
}

/// Conditions of the server, which an operator or time removes: a connection's end, a login, resources,
/// an operator, the system; a server that has turned to reading only, and a lock that is not to be had.
fn passes_by_itself(code: &SqlState) -> bool {
    const CLASSES: [&str; 7] = ["08", "28", "3D", "40", "53", "57", "58"];
    CLASSES.iter().any(|class| code.code().starts_with(class))
        || [SqlState::READ_ONLY_SQL_TRANSACTION, SqlState::LOCK_NOT_AVAILABLE].contains(code)
}

pub(super) fn in_words(error: &Error) -> String {
    let Some(answer) = error.as_db_error() else {
        // The library's own words: what it was doing, and the system's error.
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !words.contains(&more) {
                words = format!("{words}: {more}");
            }
            cause = error.source();
        }
        return words;
    };
    let code = answer.code().code();
    // Errors of data quote it.
    match code.starts_with("22") {
        true => format!("a value does not fit (SQLSTATE {code})"),
        false => format!("{} (SQLSTATE {code})", answer.message()),
    }
}
