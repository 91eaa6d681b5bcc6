//! What a build links, and what a build that lacks a feature says.
//!
//! With `--no-default-features` this file is built on the core alone: the server that it starts has
//! nothing else, and what needs more is refused by name.

use std::{collections::BTreeSet, path::Path, process::Command};

use switchboard::{Data, Gateway, Switchboard, testing::Server};

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The crates that a build with these features links, by their names.
fn linked(features: &[&str]) -> BTreeSet<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["tree", "--offline", "--edges", "normal", "--prefix", "none"]);
    cargo.args(["--no-default-features", "--features", &features.join(",")]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8_lossy(&output.stdout);
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let names: BTreeSet<String> = names.map(str::to_owned).collect();
    for everywhere in ["switchboard", "socketioxide", "engineioxide", "tokio", "hyper"] {
        assert!(names.contains(everywhere), "{everywhere} is in every build: {names:?}");
    }
    names
}

/// What each feature alone brings, and no build without it has.
const BROUGHT: [(&str, &[&str]); 9] = [
    ("redis", &["redis"]),
    ("tls", &["rustls", "tokio-rustls"]),
    ("jwt", &["jsonwebtoken", "reqwest"]),
    ("admin", &["utoipa", "tower-http"]),
    ("admin-ui", &["bcrypt"]),
    ("config-file", &["toml", "strsim"]),
    ("sqlite", &["rusqlite"]),
    ("postgres", &["tokio-postgres"]),
    ("otlp", &["opentelemetry", "opentelemetry-otlp"]),
];

#[test]
fn a_build_with_only_the_core_links_nothing_of_the_features() {
    let core = linked(&[]);
    let others = ["clap", "tracing-subscriber"];
    let brought = BROUGHT.iter().flat_map(|(_, crates)| crates.iter());
    let too_many: Vec<_> = brought.chain(&others).filter(|name| core.contains(**name)).collect();
    assert_eq!(too_many, [&""; 0]);
}

#[test]
fn each_feature_brings_what_the_page_says_and_no_more() {
    for (feature, brings) in BROUGHT {
        let names = linked(&[feature]);
        for name in brings {
            assert!(names.contains(*name), "{feature} brings {name}");
        }
    }
    let over_redis = linked(&["redis"]);
    assert!(!over_redis.contains("rustls"), "Redis without `tls` speaks no TLS: {over_redis:?}");
}

/// The names of the features in `Cargo.toml`, but for `default`.
fn features() -> BTreeSet<String> {
    let manifest = read("Cargo.toml");
    let section = manifest.split("[features]").nth(1).expect("features");
    let lines = section.split("\n[").next().expect("a section").lines();
    let keys = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(" ="));
    keys.map(|(key, _)| key.to_owned()).filter(|key| key != "default").collect()
}

#[test]
fn each_feature_is_described_and_checked_alone() {
    let (page, makefile) = (read("docs/features.md"), read("Makefile"));
    let checked = makefile.lines().find_map(|line| line.strip_prefix("FEATURES := "));
    let checked: BTreeSet<&str> = checked.expect("the list").split(' ').collect();
    for feature in features() {
        assert!(page.contains(&format!("\n| `{feature}` |")), "docs/features.md on {feature}");
        // The binary's own is all the others together.
        assert!(feature == "cli" || checked.contains(&*feature), "`make lint` on {feature}");
    }
}

/// In whatever build this is: a client that connects, asks and is answered.
#[tokio::test]
async fn any_build_serves() {
    let gateway =
        Gateway::new("/").on("greet", async |Data(name): Data<String>| format!("hello {name}"));
    let server = Switchboard::builder().gateway(gateway).build().expect("a server");
    let server = Server::of(server).await;
    let client = server.connect().await.expect("everybody may enter");
    assert_eq!(client.ask::<String>("greet", "ada").await, "hello ada");
}

/// Why this setting cannot be used.
#[cfg(any(not(feature = "redis"), not(feature = "tls"), not(feature = "admin-ui")))]
fn refusal(set: impl FnOnce(&mut switchboard::Config)) -> String {
    let config = switchboard::Config::with(set);
    let errors = config.check().errors;
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(not(feature = "redis"))]
#[tokio::test]
async fn without_redis_its_url_is_refused_by_name() {
    use switchboard::{Config, config::SecretUrl, server::Publisher};

    const REFUSAL: &str =
        "redis.url: needs the cargo feature `redis`, which this build does not have";
    let url = || Some(SecretUrl::new("redis://127.0.0.1"));
    assert_eq!(refusal(|config| config.redis.url = url()), REFUSAL);
    let config = Config::with(|config| config.redis.url = url());
    let refused = Switchboard::builder().config(config.clone()).build().expect_err("no server");
    assert!(refused.to_string().contains(REFUSAL), "{refused}");
    let refused = Publisher::connect(&config).await.expect_err("no publisher");
    assert!(refused.to_string().contains(REFUSAL), "{refused}");
}

#[cfg(not(feature = "admin-ui"))]
#[test]
fn without_the_admin_ui_it_is_refused_by_name() {
    let said = refusal(|config| {
        config.admin_ui = switchboard::config::AdminUi::new("admin", "a long password");
    });
    assert!(said.starts_with("admin_ui.enabled: needs the cargo feature `admin-ui`"), "{said}");
}

#[cfg(not(feature = "tls"))]
#[test]
fn without_tls_its_files_are_refused_by_name() {
    let needs = "needs the cargo feature `tls`, which this build does not have";
    let said = refusal(|config| config.tls.cert_file = Some("cert.pem".into()));
    assert!(said.contains(&format!("tls.cert_file: {needs}")), "{said}");
}

#[cfg(all(feature = "redis", not(feature = "tls")))]
#[test]
fn redis_without_tls_refuses_a_url_with_tls_by_name() {
    let url = |url| Some(switchboard::config::SecretUrl::new(url));
    assert_eq!(refusal(|config| config.redis.url = url("redis://127.0.0.1")), "");
    for rediss in ["rediss://127.0.0.1", "rediss+sentinel://127.0.0.1/main"] {
        let said = refusal(|config| config.redis.url = url(rediss));
        assert!(said.starts_with("redis.url: ") && said.contains("feature `tls`"), "{said}");
    }
}
