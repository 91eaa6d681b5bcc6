//! Access to the Admin UI: by a name and a password, or by a session id that was given for them.
//!
//! Users' tokens play no part. Attempts are limited, at a time and for each address. Passwords are
//! hashed on threads that serve no clients.

mod attempts;
mod sessions;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Instant, SystemTime},
};

use attempts::Attempts;
use parking_lot::Mutex;
use serde::Deserialize;
use sessions::Sessions;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use crate::{
    config,
    config::password::Password,
    fault::{Code, Fault},
};

/// Passwords checked at the same time.
const AT_ONCE: usize = 2;

/// Attempts that may wait for a check.
const WAITING: usize = 16;

/// Longest password that is checked, in bytes.
const LONGEST_ATTEMPT: usize = 1024;

/// The credentials in a page's CONNECT packet. A missing member, or one that is no text, is `None`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Shown {
    username: Option<serde_json::Value>,
    password: Option<serde_json::Value>,
    session_id: Option<serde_json::Value>,
}

/// The credential that let an admin in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The admin gets a session id.
    Password,
    Socket,
}

/// Decides who may enter.
pub(crate) struct Doorkeeper {
    username: Box<str>,
    password: Password,
    sessions: Sessions,
    attempts: Mutex<Attempts>,
    judging: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Doorkeeper {
    /// `secrets` are those of the cluster. There may be none.
    ///
    /// # Errors
    /// If there are no credentials, or the password is not one.
    pub(crate) fn new(config: &config::AdminUi, secrets: &[Vec<u8>]) -> Result<Self, String> {
        let (Some(username), Some(password)) = (&config.username, &config.password) else {
            return Err("a username and a password must be set".into());
        };
        let password = Password::new(username, password)
            .map_err(|unusable| format!("the password {unusable}"))?;
        let sessions = Sessions::new(secrets, username, password.hash(), config.session_ttl);
        Ok(Self {
            username: username.as_str().into(),
            password,
            sessions,
            attempts: Mutex::default(),
            judging: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: AtomicUsize::new(0),
        })
    }

    /// A session id for an admin who gave the password.
    pub(crate) fn new_session(&self) -> String {
        self.sessions.sign(SystemTime::now())
    }

    /// # Errors
    /// `unauthorized`; `rate_limited` if there were too many attempts.
    pub(crate) async fn admit(&self, shown: &Shown, from: Option<IpAddr>) -> Result<By, Fault> {
        if let Some(id) = text(shown.session_id.as_ref())
            && self.sessions.holds(id, SystemTime::now())
        {
            return Ok(By::Socket);
        }
        // Counted as a failure before the check, so that a client that leaves early has tried, too.
        if !self.attempts.lock().tries(from, Instant::now()) {
            return Err(Fault::new(Code::RateLimited, "too many attempts, wait a minute"));
        }
        let username = text(shown.username.as_ref()).unwrap_or_default();
        let password = text(shown.password.as_ref()).unwrap_or_default();
        let is_known: bool = username.as_bytes().ct_eq(self.username.as_bytes()).into();
        let can_be = !password.is_empty() && password.len() <= LONGEST_ATTEMPT;
        // The password is checked for unknown names as well, so that the time tells nothing about
        // them.
        if can_be && self.judge(password).await? && is_known {
            self.attempts.lock().succeeded(from);
            return Ok(By::Password);
        }
        Err(Fault::unauthorized("invalid credentials"))
    }

    async fn judge(&self, attempt: &str) -> Result<bool, Fault> {
        let _place = Place::take(&self.waiting)?;
        let permit = self.judging.clone().acquire_owned().await.map_err(|_| Fault::internal())?;
        let (password, attempt) = (self.password.clone(), attempt.to_owned());
        let judged = tokio::task::spawn_blocking(move || {
            // Held to the end of the work, even if nobody waits for it any more.
            let _permit = permit;
            password.is(&attempt)
        });
        judged.await.map_err(|_| Fault::internal())
    }
}

fn text(value: Option<&serde_json::Value>) -> Option<&str> {
    value?.as_str()
}

/// A place among the waiting attempts, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Result<Self, Fault> {
        let place = Self(waiting);
        match waiting.fetch_add(1, Ordering::Relaxed) < AT_ONCE + WAITING {
            true => Ok(place),
            false => Err(Fault::new(Code::RateLimited, "too many attempts at once, try again")),
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: serde_json::Value) -> Shown {
        serde_json::from_value(value).expect("what is no text does not count")
    }

    fn doorkeeper() -> Doorkeeper {
        // The hash of `secret`, with the lowest cost.
        let hash = bcrypt::hash("secret", 4).expect("a hash");
        Doorkeeper::new(&config::AdminUi::new("admin", hash), &[]).expect("a doorkeeper")
    }

    #[tokio::test]
    async fn the_password_opens_and_so_does_the_session_that_it_gave() {
        let door = doorkeeper();
        let right = shown(json!({ "username": "admin", "password": "secret" }));
        assert_eq!(door.admit(&right, None).await, Ok(By::Password));
        let session = door.new_session();
        for with in [
            json!({ "sessionId": session }),
            json!({ "sessionId": session, "username": "admin", "password": "wrong" }),
        ] {
            assert_eq!(door.admit(&shown(with), None).await, Ok(By::Socket));
        }
    }

    #[tokio::test]
    async fn nothing_else_opens() {
        for (n, wrong) in [
            json!({}),
            json!({ "username": "admin" }),
            json!({ "username": "admin", "password": "" }),
            json!({ "username": "admin", "password": "Secret" }),
            json!({ "username": "Admin", "password": "secret" }),
            json!({ "username": ["admin"], "password": { "$ne": 1 } }),
            json!({ "username": "admin", "password": 7 }),
            json!({ "sessionId": "secret" }),
            json!({ "sessionId": null, "username": null, "password": null }),
            json!({ "token": "secret" }),
            json!({ "username": "admin", "password": "secret".repeat(1000) }),
        ]
        .into_iter()
        .enumerate()
        {
            let refused = doorkeeper().admit(&shown(wrong), None).await;
            assert_eq!(refused, Err(Fault::unauthorized("invalid credentials")), "number {n}");
        }
    }

    #[tokio::test]
    async fn who_guesses_too_often_is_not_listened_to_but_sessions_hold() {
        let door = doorkeeper();
        let from = Some("192.0.2.1".parse().expect("an address"));
        let wrong = shown(json!({ "username": "admin", "password": "guess" }));
        for _ in 0..10 {
            let refused = door.admit(&wrong, from).await.expect_err("wrong");
            assert_eq!(refused.code(), Code::Unauthorized);
        }
        let right = shown(json!({ "username": "admin", "password": "secret" }));
        let refused = door.admit(&right, from).await.expect_err("too many attempts");
        assert_eq!((refused.code(), refused.retry()), (Code::RateLimited, true));
        let with_session = shown(json!({ "sessionId": door.new_session() }));
        assert_eq!(door.admit(&with_session, from).await, Ok(By::Socket));
        assert_eq!(door.admit(&right, None).await, Ok(By::Password));
    }

    #[tokio::test]
    async fn a_crowd_of_attempts_is_turned_away_instead_of_queued() {
        let door = doorkeeper();
        let all = door.judging.acquire_many(AT_ONCE as u32).await.expect("nobody judges");
        let right = shown(json!({ "username": "admin", "password": "secret" }));
        let crowd = (1..=AT_ONCE + WAITING + 1)
            .map(|n| door.admit(&right, Some(IpAddr::from([192, 0, 2, n as u8]))));
        let release = async {
            tokio::task::yield_now().await;
            drop(all);
        };
        let (answers, ()) =
            futures_util::future::join(futures_util::future::join_all(crowd), release).await;
        let turned_away = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(turned_away, 1);
        assert_eq!(door.admit(&right, None).await, Ok(By::Password), "the places are given back");
    }

    #[test]
    fn without_credentials_there_is_no_door() {
        let mut config = config::AdminUi::new("admin", "secret");
        config.password = None;
        assert!(Doorkeeper::new(&config, &[]).is_err());
        assert!(Doorkeeper::new(&config::AdminUi::new("admin", "$2b$10$x"), &[]).is_err());
    }
}
