use rustls::{CertificateError, pki_types::UnixTime};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;
use test_kit::{free_port, redis::RedisServer};

use crate::link::redis::testing::target;

/// The words for a server that cannot be reached, or refuses.
async fn said(url: &str) -> String {
    let target = target(url);
    let error = target.connect(&target.config()).await.map(drop).unwrap_err();
    let error = link_error(&target, &error);
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    format!("{error} {source}")
}

/// A server that answers each greeting with these bytes, and hangs up.
async fn somebody(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    format!("redis://:s3cret@127.0.0.1:{port}")
}

#[tokio::test]
async fn what_is_no_redis_of_today_is_told_so() {
    for (answer, words) in [
        (&b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..], "is not Redis"),
        (b"-ERR unknown command `HELLO`, with args beginning with: `3`\r\n", "HELLO"),
        (b"-ERR unknown command 'HELLO'\r\n", "HELLO"),
        (b"-ERR max number of clients reached\r\n", "maxclients"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading its data"),
        (b"-DENIED Redis is running in protected mode\r\n", "protected mode"),
        (b"", "twemproxy"),
    ] {
        let text = said(&somebody(answer).await).await;
        assert!(text.contains(words), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert_eq!(text.contains("cannot reach"), answer.is_empty(), "{text}");
    }
}

#[tokio::test]
async fn nobody_and_nowhere_are_named() {
    let text = said(&format!("redis://127.0.0.1:{}", free_port())).await;
    assert!(text.contains("nobody listens at 127.0.0.1:"), "{text}");
    let text = said("redis://nowhere.invalid:1").await;
    assert!(text.contains("the name in nowhere.invalid:1 is not known"), "{text}");
    let text = said("unix:/nowhere/redis.sock").await;
    assert!(text.contains("there is no /nowhere/redis.sock"), "{text}");
}

#[tokio::test]
async fn a_redis_that_refuses_says_why() {
    let server = RedisServer::with(&["--requirepass", "right", "--maxclients", "2"]).await;
    let url = |login: &str| format!("redis://{login}127.0.0.1:{}", server.port);
    let text = said(&url("")).await;
    assert!(text.contains("asks for a login") && !text.contains("cannot reach"), "{text}");
    let text = said(&url(":wr0ng@")).await;
    assert!(text.contains("password of the user \"default\"") && !text.contains("wr0ng"), "{text}");
    let full = target(&url(":right@"));
    let _first = full.connect(&full.config()).await.unwrap();
    let _second = full.connect(&full.config()).await.unwrap();
    let text = said(&url(":right@")).await;
    assert!(text.contains("maxclients"), "{text}");
}

#[test]
fn a_certificate_out_of_its_time_is_told_in_days() {
    let target = target("rediss://h:1");
    let at = |days: u64| UnixTime::since_unix_epoch(std::time::Duration::from_secs(days * 86_400));
    let expired = CertificateError::ExpiredContext { time: at(20_003), not_after: at(20_000) };
    let early = CertificateError::NotValidYetContext { time: at(20_000), not_before: at(20_001) };
    for (error, words) in
        [(expired, "has expired 3 d 0 h ago"), (early, "not valid yet, for 1 d 0 h")]
    {
        let error =
            io::Error::new(io::ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error));
        let text = explain(&target, &error.into());
        assert!(text.ends_with(words), "{text}");
    }
}
