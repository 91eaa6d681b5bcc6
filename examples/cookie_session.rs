//! Clients who have logged in to an Express application: their session is that of `express-session`,
//! kept in Redis by `connect-redis`. The browser sends its cookie with the first request, so the page
//! needs no token.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379 SESSION_SECRET=… PORT=3000 cargo run --example cookie_session
//! ```
//!
//! `SESSION_SECRET` is the `secret` of express-session. The application writes the user's name into
//! `req.session.user`. Page and socket have one site, or the cookie is `SameSite=None; Secure` and the
//! page says `io(url, { withCredentials: true })`.
//!
//! When the user logs out, the application ends the sockets of the session, too:
//! `emitter.in("session:" + req.session.id).disconnectSockets()` of `@socket.io/redis-emitter`.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use redis::{AsyncCommands as _, RedisError};
use serde::Deserialize;
use sha2::Sha256;
use switchboard::{
    Code, Config, Extension, Fault, Gateway, Handshake, Identity, Socket, State, Switchboard,
    config::SecretUrl, id::UserId,
};

/// The sessions of the Express application.
#[derive(Clone)]
struct Sessions {
    secret: Arc<[u8]>,
    redis: redis::Client,
}

/// What this server reads of a session.
#[derive(Deserialize)]
struct Session {
    /// Whoever has not logged in has a session, too, without a user.
    user: Option<String>,
}

#[derive(Clone)]
struct SessionId(String);

impl Sessions {
    /// The id in a cookie `s:ID.SIGNATURE`, percent-encoded, if the signature is right.
    fn verify(&self, cookie: &str) -> Option<String> {
        // A cookie holds no `=` or `&` that is not encoded, so it is a single name of a query.
        let (signed, _) = form_urlencoded::parse(cookie.as_bytes()).next()?;
        let (id, signature) = signed.strip_prefix("s:")?.rsplit_once('.')?;
        let mut hmac = Hmac::<Sha256>::new_from_slice(&self.secret).ok()?;
        hmac.update(id.as_bytes());
        // Takes as long for a wrong signature as for the right one.
        hmac.verify_slice(&STANDARD_NO_PAD.decode(signature).ok()?).ok()?;
        Some(id.to_owned())
    }

    /// A session that has expired is not in Redis any more.
    async fn find(&self, id: &str) -> Result<Option<Session>, RedisError> {
        // A connection of its own is simple, and never an old one that is broken. With many
        // handshakes a second, share one: `redis::aio::ConnectionManager`.
        let mut redis = self.redis.get_multiplexed_async_connection().await?;
        let found: Option<String> = redis.get(format!("sess:{id}")).await?;
        Ok(found.and_then(|session| serde_json::from_str(&session).ok()))
    }
}

/// Lets in who has logged in. All others get the same answer, so nobody learns what was wrong.
async fn logged_in(handshake: Handshake, State(sessions): State<Sessions>) -> Result<(), Fault> {
    let refused = || Fault::unauthorized("log in first");
    let cookie = handshake.cookie("connect.sid").ok_or_else(refused)?;
    let id = sessions.verify(cookie).ok_or_else(refused)?;
    let session = sessions.find(&id).await.map_err(|error| {
        eprintln!("sessions cannot be looked up: {error}");
        Fault::new(Code::Unavailable, "sessions cannot be looked up right now")
    })?;
    let user = session.and_then(|session| session.user).ok_or_else(refused)?;
    handshake.set_identity(Identity::user(user));
    handshake.socket().extensions().insert(SessionId(id));
    Ok(())
}

fn gateway() -> Gateway {
    Gateway::new("/")
        .middleware(logged_in)
        .on_connect(async |socket: Socket, Extension(SessionId(id)): Extension<SessionId>| {
            socket.join(format!("session:{id}")).await
        })
        .on("whoami", async |user: UserId| user.to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let env = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let redis_url = env("REDIS_URL")?;
    let secret = env("SESSION_SECRET")?.into_bytes().into();
    let redis = redis::Client::open(&*redis_url)?;
    let mut config = Config::default();
    // By the same Redis the application reaches the sockets.
    config.redis.url = Some(SecretUrl::new(redis_url));
    let server = Switchboard::builder()
        .config(config)
        .state(Sessions { secret, redis })
        .gateway(gateway())
        .build()?;
    let port = std::env::var("PORT").unwrap_or_else(|_| "3000".into());
    let bound = server.bind(format!("127.0.0.1:{port}")).await?;
    println!("listening on http://{}", bound.local_addr());
    bound.serve(async { tokio::signal::ctrl_c().await.unwrap_or(()) }).await?;
    Ok(())
}
