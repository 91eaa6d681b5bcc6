//! The rules, each broken once.

use std::time::Duration;

use super::*;

/// The key and the rule that a change of the defaults breaks.
fn broken(change: impl FnOnce(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    change(&mut config);
    config.check().errors.iter().map(|f| format!("{}: {}", f.keys[0], f.message)).collect()
}

#[test]
fn the_defaults_break_no_rule() {
    assert_eq!(Config::default().check(), Check::default());
}

#[test]
fn a_name_of_the_wrong_form_is_refused() {
    assert!(broken(|c| c.path = "socket.io".into())[0].starts_with("path: must start with"));
    for id in ["a.b", "ä", "a b", &"x".repeat(33)] {
        assert!(broken(|c| c.node_id = Some(id.into()))[0].starts_with("node_id: "), "{id}");
    }
    assert_eq!(broken(|c| c.node_id = Some("eu-1_A".into())), [""; 0]);
    for address in [
        "host",
        ":1",
        "a b:1",
        "host:0",
        "host:70000",
        "http://host:1",
        "u@h:1",
        "0.0.0.0:3000",
        "[::]:3000",
        "::1:3000",
        "host:1/path",
    ] {
        let found = broken(|c| c.edge.advertise = Some(address.into()));
        assert!(found.first().is_some_and(|found| found.contains("and a port")), "{address}");
    }
    for address in ["10.0.0.5:3000", "node-1.example:3000", "[2001:db8::5]:3000"] {
        assert_eq!(broken(|c| c.edge.advertise = Some(address.into())), [""; 0]);
    }
    assert!(broken(|c| c.users.room_prefix.clear())[0].contains("users.room_prefix"));
}

#[test]
fn a_pattern_for_a_reserved_room_is_refused() {
    for pattern in ["user:*", "user:alice", "authenticated"] {
        let found = broken(|c| c.rooms.may_join = vec![pattern.parse().unwrap()]);
        assert!(found[0].starts_with("rooms.may_join: "), "{pattern}");
    }
}

#[test]
fn origins_are_origins_and_any_stands_alone() {
    let with = |list: &[&str]| {
        broken(|c| c.engine.cors_origins = list.iter().map(ToString::to_string).collect())
    };
    assert!(with(&["*", "https://a.example"])[0].contains("must stand alone"));
    assert!(with(&["a.example"])[0].contains("is not an origin"));
    assert!(with(&["https://a.example/"])[0].contains("is not an origin"));
    assert_eq!(with(&["https://a.example:8443", "http://localhost:5173"]), [""; 0]);
}

#[test]
fn a_time_or_size_out_of_range_is_refused() {
    let zero = Duration::ZERO;
    assert_eq!(
        broken(|c| c.engine.ping_timeout = zero),
        ["engine.ping_timeout: must be more than 0"]
    );
    assert_eq!(broken(|c| c.engine.max_payload = 0).len(), 1);
    assert_eq!(broken(|c| c.engine.transports.clear()).len(), 1);
    assert_eq!(broken(|c| c.workers = 2000).len(), 1);
    assert_eq!(broken(|c| c.auth.leeway = zero), [""; 0]);
    assert_eq!(
        broken(|c| c.drain.spread = Duration::from_secs(31)),
        ["drain.spread: must not be longer than drain.timeout, together with drain.grace"]
    );
}

#[test]
fn a_contradiction_is_refused() {
    assert!(broken(|c| c.auth.mode = AuthMode::Required)[0].contains("there is no key"));
    assert!(
        broken(|c| c.admin_listen = Some("0.0.0.0:3001".parse().unwrap()))[0].contains("api_keys")
    );
    assert!(broken(|c| c.listen = "0.0.0.0:3001".parse().unwrap())[0].contains("public port"));
    assert_eq!(
        broken(|c| c.tls.cert_file = Some("c".into())),
        ["tls.cert_file: needs tls.key_file"]
    );
    assert_eq!(
        broken(|c| c.tls.key_file = Some("k".into())),
        ["tls.key_file: needs tls.cert_file"]
    );
}

#[test]
fn traces_go_to_a_url_and_a_ratio_is_one() {
    for endpoint in ["collector:4318", "grpc://collector:4317", "https://u:p@h", "http://"] {
        let found = broken(|c| c.traces.endpoint = Some(endpoint.into()));
        assert!(found[0].starts_with("traces.endpoint: must be a URL"), "{found:?}");
    }
    let mut config = Config::default();
    config.traces.endpoint = Some("http://collector:4318".into());
    for (can_export, refused) in [(true, 0), (false, 1)] {
        let mut check = Check::default();
        config.check_traces(&mut check, can_export);
        assert_eq!(check.errors.len(), refused);
        let named = |found: &Finding| found.message.contains("the cargo feature `otlp`");
        assert!(check.errors.iter().all(named), "{:?}", check.errors);
    }
    for ratio in [-0.1, 1.1, f64::NAN] {
        assert_eq!(broken(|c| c.traces.sample_ratio = ratio).len(), 1, "{ratio}");
    }
    config.traces.endpoint = Some("http://collector:4317/".into());
    assert!(config.check().warnings[0].message.contains("gRPC"));
}

#[test]
fn every_broken_rule_is_named() {
    let found = broken(|c| {
        c.path.clear();
        c.engine.ping_interval = Duration::ZERO;
        c.auth.mode = AuthMode::Required;
    });
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn a_short_secret_is_unwise_and_no_error() {
    let mut config = Config::default();
    config.auth.hs256_secret = ["short"].into_iter().collect();
    let check = config.check();
    assert!(check.errors.is_empty());
    assert_eq!(check.warnings[0].keys, ["auth.hs256_secret"]);
}
