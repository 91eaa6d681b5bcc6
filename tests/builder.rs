//! Building a server in a program: what is refused, and by what name.

use std::time::Duration;

use switchboard::{
    Config, Switchboard,
    config::{AuthMode, SecretUrl, WireProtocol},
    server::{BuildError, PublishError, Publisher},
};

/// What a program may set is what a file may say; nothing is taken for something else in silence.
#[tokio::test]
async fn a_program_with_settings_that_cannot_be_used_is_told_so_by_name() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Switchboard::builder().config(config).build().err().map(|error| error.to_string())
    };
    assert_eq!(refused(|_| {}), None);
    // A program listens and authenticates in its own way.
    assert_eq!(refused(|config| config.auth.mode = AuthMode::Required), None);
    assert_eq!(refused(|config| config.admin_listen = Some(config.listen)), None);
    let start = "the configuration cannot be used: ";
    type Change = fn(&mut Config);
    let named: [(Change, &str); 8] = [
        (
            |config| config.recovery.max_disconnection = Duration::ZERO,
            "recovery.max_disconnection: must be more than 0",
        ),
        (|config| config.edge.advertise = Some("a".into()), "edge.advertise: must be a host"),
        (|config| config.drain.timeout = Duration::ZERO, "drain.timeout: must be more than 0"),
        (|config| config.redis.stream_count = 0, "redis.stream_count: must be 1 to 100"),
        (|config| config.redis.stream_max_len = 0, "redis.stream_max_len: must be more than 0"),
        (|config| config.redis.stream_name = String::new(), "redis.stream_name: must not be empty"),
        // It would have listened without TLS.
        (
            |config| config.tls.cert_file = Some("cert.pem".into()),
            "tls.cert_file: needs tls.key_file",
        ),
        (
            |config| config.tls.key_file = Some("key.pem".into()),
            "tls.key_file: needs tls.cert_file",
        ),
    ];
    for (change, reason) in named {
        let said = refused(change).expect(reason);
        assert!(said.starts_with(&format!("{start}{reason}")), "{said}");
    }
}

/// Who emits from outside of the cluster speaks a format, too.
#[tokio::test]
async fn a_publisher_with_settings_that_cannot_be_used_is_told_so_by_name() {
    let config = Config::with(|config| {
        config.redis.url = Some(SecretUrl::new("redis://127.0.0.1:1"));
        config.redis.protocol = WireProtocol::Streams;
        config.redis.stream_count = 101;
    });
    let refused = Publisher::connect(&config).await.expect_err("it cannot be used");
    assert!(matches!(refused, PublishError::Config(_)), "{refused}");
    assert!(refused.to_string().contains("redis.stream_count: must be"), "{refused}");
}

#[test]
fn a_program_without_a_runtime_is_told_so() {
    let built = Switchboard::builder().build();
    assert!(matches!(built, Err(BuildError::NoRuntime)));
}
